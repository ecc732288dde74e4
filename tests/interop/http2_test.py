#!/usr/bin/env python3
"""HTTP/2: curl, nghttp and h2load as clients; nghttpd, python3-h2 and node:http (HTTP/1.1) as servers."""
import json
import os
import re
import socket

from harness import HERE, InteropTest, connects, free_port, main, wait_for


class Http2(InteropTest):
    def h2_server(self, **config):
        """The scripted server; returns (peer, port)."""
        peer = self.peer("/usr/bin/python3", os.path.join(HERE, "peers", "h2_server.py"), json.dumps(config))
        return peer, peer.expect("port")["port"]

    def curl(self, url, *args, h2=True, check=True):
        """Returns (exit code, heads, body)."""
        heads = os.path.join(self.directory(), "heads")
        version = "--http2-prior-knowledge" if h2 else "--http1.1"
        done = self.run_tool("curl", "-sS", "-D", heads, "--max-time", 20, version, *args, url, check=check)
        with open(heads, encoding="latin-1") as f:
            return done.returncode, f.read().lower(), done.stdout

    def start(self, listener, upstream, port, more=""):
        """client -> (listener's protocol) sidecar -> (upstream's protocol) server."""
        sidecar = self.sidecar(
            f"listeners:\n  - {{name: in, address: '127.0.0.1:0', protocol: {listener}, cluster: out}}\n"
            f"clusters:\n  - {{name: out, protocol: {upstream}, endpoints: ['127.0.0.1:{port}']{more}}}\n")
        return sidecar, f"http://127.0.0.1:{sidecar.ports['in']}"

    def test_h2_to_h2(self):
        peer, port = self.h2_server()
        sidecar, url = self.start("http2", "http2", port, ", health_check: {type: heartbeat, interval: 1s}")
        _, heads, body = self.curl(url + "/echo", "-d", "some text", "-H", "X-Mine: 1", "-H", "cookie: a=b")
        self.assertEqual(body, b"some text")
        self.assertIn("http/2 200", heads)
        seen = heads.split("x-seen: ")[1].split("\n")[0].split(",")
        self.assertEqual(seen[:4], [":method", ":scheme", ":authority", ":path"])
        self.assertIn("x-mine", seen)
        self.assertIn("x-forwarded-for", seen)
        self.assertNotIn("host", seen)
        _, heads, body = self.curl(url + "/early")
        self.assertRegex(heads, r"(?s)http/2 103.*link: </a.css>.*http/2 200")
        self.assertEqual(body, b"done")
        self.assertEqual(len(self.curl(url + "/big/3000000")[2]), 3000000)
        out = self.run_tool("nghttp", "-v", url + "/echo").stdout.decode()
        self.assertIn("x-end: 0", out)  # a trailer
        # Errors: a reset answer, a cancelled request, requests that were not touched.
        code, _, _ = self.curl(url + "/reset", check=False)
        self.assertEqual(code, 92)  # CURLE_HTTP2_STREAM
        self.curl(url + "/never", "--max-time", "0.5", check=False)
        wait_for("RST_STREAM(CANCEL) upstream", lambda: [8] == [c for _, c in peer.ask("seen")["resets"]])
        for path in ("/refuse-once", "/goaway-once"):
            _, heads, _ = self.curl(url + path, "-X", "POST", "-d", "")
            self.assertIn("http/2 200", heads)
            self.assertEqual([p for _, _, p in peer.ask("seen")["requests"]].count(path), 2)
        # Many clients, few connections.
        before = peer.ask("seen")["connections"]
        out = self.run_tool("h2load", "-n", 300, "-c", 20, "-m", 5, url + "/echo").stdout.decode()
        self.assertIn("300 succeeded, 0 failed", out)
        self.assertLessEqual(peer.ask("seen")["connections"] - before, 2)  # one for each worker at most
        self.assertGreater(sidecar.metric("dragoman_cluster_codec_events_total", event="goaway"), 0)
        _, heads, _ = self.curl(url + "/%00")
        self.assertIn("http/2 400", heads)
        self.assertEqual(sidecar.metric("dragoman_listener_protocol_errors_total", reason="malformed"), 1)

    def test_h1_to_h2(self):
        _, port = self.h2_server()
        _, url = self.start("http1", "http2", port)
        for args in ((), ("-H", "Transfer-Encoding: chunked")):
            _, heads, body = self.curl(url + "/echo", "-d", "some text", *args, h2=False)
            self.assertEqual(body, b"some text")
            self.assertIn("http/1.1 200 ok", heads)
            self.assertNotIn("transfer-encoding", heads.split("x-seen: ")[1].split("\n")[0])
        self.assertEqual(len(self.curl(url + "/big/3000000", h2=False)[2]), 3000000)
        code, _, _ = self.curl(url + "/reset", h2=False, check=False)
        self.assertIn(code, (18, 56))  # a body without its end

    def test_h2_to_h1(self):
        server = self.node("http_server.js")
        _, url = self.start("http2", "http1", server.expect("port")["port"])
        for args in ((), ("-H", "expect: 100-continue")):
            _, heads, body = self.curl(url + "/echo", "-d", "some text", *args)
            self.assertEqual(body, b"some text")
            self.assertIn("http/2 200", heads)
            for hop in ("connection:", "keep-alive:", "transfer-encoding:"):
                self.assertNotIn(hop, heads)
        seen = json.loads(self.curl(url + "/describe?q=1", "-H", "cookie: a=b; c=d")[2])
        self.assertEqual((seen["method"], seen["url"], seen["version"]), ("GET", "/describe?q=1", "1.1"))
        self.assertEqual(seen["headers"]["host"], url.removeprefix("http://"))
        self.assertEqual(seen["headers"]["cookie"], "a=b; c=d")
        head = self.curl(url + "/big/1000", "-I")[1]
        self.assertIn("content-length: 1000", head)
        big = os.path.join(self.directory(), "big")
        with open(big, "wb") as f:
            f.write(b"z" * 3000000)
        self.assertEqual(self.curl(url + "/echo", "-T", big)[2], b"z" * 3000000)

    def test_concurrency_stays_within_what_the_backend_takes(self):
        _, port = self.h2_server(streams_max=3)
        _, url = self.start("http2", "http2", port, ", health_check: {type: http}")
        out = self.run_tool("h2load", "-n", 40, "-c", 4, "-m", 10, url + "/slow").stdout.decode()
        self.assertIn("40 succeeded, 0 failed", out)

    def test_both_versions_on_one_port_and_the_upgrade_between_them(self):
        _, port = self.h2_server()
        sidecar = self.sidecar(
            "listeners:\n  - {name: in, address: '127.0.0.1:0', protocol: http, cluster: out, http: {upgrade: [h2c]}}\n"
            "  - {name: old, address: '127.0.0.1:0', protocol: http1, cluster: out}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{port}']}}\n")
        url = f"http://127.0.0.1:{sidecar.ports['in']}/echo"
        self.assertIn("http/2 200", self.curl(url)[1])
        self.assertIn("http/1.1 200", self.curl(url, h2=False)[1])
        upgraded = self.run_tool("curl", "-sS", "-i", "--http2", url).stdout.decode().lower()
        self.assertIn("http/1.1 101", upgraded)
        self.assertIn("http/2 200", upgraded)
        stays = self.run_tool("curl", "-sS", "-i", "--http2", f"http://127.0.0.1:{sidecar.ports['old']}/echo").stdout.lower()
        self.assertTrue(stays.startswith(b"http/1.1 200"), stays)

    def test_a_websocket_of_http1_reaches_a_backend_of_http2(self):
        _, port = self.h2_server()
        sidecar, _ = self.start("http1", "http2", port)
        with socket.create_connection(("127.0.0.1", sidecar.ports["in"]), timeout=10) as s:
            s.sendall(b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                      b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
            got = b""
            while b"\r\n\r\n" not in got:
                got += s.recv(4096)
            self.assertTrue(got.startswith(b"HTTP/1.1 101 "), got)
            self.assertIn(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", got)
            s.sendall(b"ping")
            self.assertEqual(s.recv(4096), b"ping")

    def test_drain_loses_no_request_of_a_client_that_listens(self):
        _, port = self.h2_server()
        sidecar, url = self.start("http2", "http2", port)
        load = self.peer("h2load", "-n", 100, "-c", 1, "-m", 4, "--rps", 40, url + "/slow")
        wait_for("requests", lambda: sidecar.metric("dragoman_requests_active") >= 2)
        sidecar.terminate()
        out = load.wait()
        done, ok = map(int, re.search(r"(\d+) done, (\d+) succeeded", out).groups())
        self.assertGreater(ok, 0)
        # What was begun was answered; the rest was never sent, or refused by GOAWAY, which h2load counts as errors of its own.
        self.assertIn(" 0 4xx, 0 5xx", out)

    def test_oddness_is_scored_for_every_version(self):
        _, port = self.h2_server()
        sidecar = self.sidecar(
            "listeners:\n  - {name: one, address: '127.0.0.1:0', protocol: http1, cluster: out, glitches: {burst: 5, per_second: 0}}\n"
            "  - {name: two, address: '127.0.0.1:0', protocol: http2, cluster: out, glitches: {burst: 5, per_second: 0}}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{port}']}}\n")
        request = b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"
        with socket.create_connection(("127.0.0.1", sidecar.ports["one"]), timeout=10) as s:
            got = b""
            try:
                for _ in range(20):
                    s.sendall(b"\r\n" + request)
                    piece = s.recv(65536)
                    if not piece:
                        break
                    got += piece
            except OSError:
                pass
        self.assertLess(got.count(b"HTTP/1.1 200"), 7)
        self.assertEqual(sidecar.metric("dragoman_listener_codec_events_total", listener="one", event="glitch_flood"), 1)
        # Ten requests on one connection, each refused for its path.
        self.run_tool("h2load", "-n", 10, "-c", 1, "-m", 1, f"http://127.0.0.1:{sidecar.ports['two']}/%00", check=False)
        self.assertGreaterEqual(sidecar.metric("dragoman_listener_codec_events_total", listener="two", event="glitch_flood"), 1)
        self.assertGreaterEqual(sidecar.metric("dragoman_listener_protocol_errors_total", listener="two", reason="abuse"), 1)

    def test_nghttpd_through_two_sidecars(self):
        port = free_port()
        root = self.directory()
        with open(os.path.join(root, "file"), "wb") as f:
            f.write(b"y" * 20000)
        self.peer("nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", root, port)
        wait_for("nghttpd listens", lambda: connects(port))
        client, _ = self.pair("http2", port)
        url = f"http://127.0.0.1:{client.ports['in']}/file"
        out = self.run_tool("h2load", "-n", 10000, "-c", 10, "-m", 10, url, seconds=110).stdout.decode()
        self.assertIn("10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored, 0 timeout", out)
        self.assertEqual(client.metric("dragoman_requests_total", outcome="ok"), 10000)


main()
