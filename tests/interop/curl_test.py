#!/usr/bin/env python3
"""curl against an HTTP server on node:http."""
import hashlib
import json
import os
import subprocess

from harness import InteropTest, free_port, http, main, one_way, tool, wait_for


class Curl(InteropTest):
    def setUp(self):
        self.server = self.node("http_server.js")
        self.port = self.server.expect("port")["port"]
        self.client_side, self.server_side = self.pair("http1", self.port)
        self.url = f"http://127.0.0.1:{self.client_side.ports['in']}"

    def curl(self, *args, **run):
        return self.run_tool("curl", "-sS", "--max-time", "50", *args, **run).stdout

    def json(self, *args, **run):
        return json.loads(self.curl(*args, **run))

    def file(self, size):
        """A file of that size that is not the same everywhere; returns (path, sha256)."""
        data = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(2048)) * (size // 65536 + 1)
        path = os.path.join(self.directory(), "file")
        with open(path, "wb") as f:
            f.write(data[:size])
        return path, hashlib.sha256(data[:size]).hexdigest()

    def status(self, *args):
        return self.curl("-o", "/dev/null", "-w", "%{http_code}", *args).decode()

    def test_the_server_sees_who_calls(self):
        seen = self.json(self.url + "/describe?q=1&r=%2F", "-H", "X-Mine: abc", "-H", "Connection: X-Hop", "-H", "X-Hop: 1", "-H", "TE: trailers")
        self.assertEqual((seen["method"], seen["url"], seen["version"]), ("GET", "/describe?q=1&r=%2F", "1.1"))
        headers = seen["headers"]
        self.assertEqual(headers["x-mine"], "abc")
        self.assertNotIn("x-hop", headers)
        self.assertEqual(headers["host"], self.url.removeprefix("http://"))
        self.assertTrue(headers["user-agent"].startswith("curl/"))
        self.assertEqual(headers["x-forwarded-for"], "127.0.0.1, 127.0.0.1")
        self.assertEqual(headers["x-forwarded-proto"], "http")
        self.assertRegex(headers["x-request-id"], r"^[0-9a-f-]{32,36}$")
        self.assertNotEqual(self.json(self.url + "/describe")["headers"]["x-request-id"], headers["x-request-id"])
        headers = self.json(self.url + "/describe", "-H", "X-Request-Id: mine", "-H", "X-Forwarded-For: 10.0.0.1")["headers"]
        self.assertEqual((headers["x-request-id"], headers["x-forwarded-for"]), ("mine", "10.0.0.1, 127.0.0.1, 127.0.0.1"))

    def test_methods_and_bodies(self):
        self.assertEqual(self.curl(self.url + "/echo", "-d", "some text"), b"some text")
        self.assertEqual(self.curl(self.url + "/echo", "-d", ""), b"")
        for method in ("PUT", "PATCH", "DELETE", "PROPFIND"):
            seen = self.json(self.url + "/digest", "-X", method, "-d", "abc")
            self.assertEqual((seen["method"], seen["bytes"]), (method, 3))
        self.assertEqual(self.status(self.url + "/describe", "-X", "OPTIONS"), "200")
        self.assertEqual(self.status(self.url + "/describe", "-X", "TRACE"), "405")
        head = self.curl("-I", self.url + "/big/1000").decode().lower()
        self.assertTrue(head.startswith("http/1.1 200 "), head)
        self.assertIn("\r\ncontent-length: 1000\r\n", head)
        for status in ("204", "304"):
            self.assertEqual(self.status(f"{self.url}/status/{status}"), status)
        cookies = self.curl("-i", self.url + "/cookies").decode().lower()
        self.assertIn("\r\nset-cookie: a=1; path=/\r\n", cookies)
        self.assertIn("\r\nset-cookie: b=2\r\n", cookies)
        form = self.json(self.url + "/digest", "-F", "a=b", "-F", "c=d")
        self.assertTrue(form["headers"]["content-type"].startswith("multipart/form-data; boundary="), form)

    def test_uploads(self):
        path, sha256 = self.file(32 * 1024 * 1024)
        seen = self.json("-T", path, self.url + "/digest", "-H", "Expect:")
        self.assertEqual((seen["method"], seen["bytes"], seen["sha256"], seen["continued"]), ("PUT", 33554432, sha256, False))
        seen = self.json("-T", path, self.url + "/digest", "-H", "Expect: 100-continue", "--expect100-timeout", "20")
        self.assertEqual((seen["sha256"], seen["continued"]), (sha256, True))
        with open(path, "rb") as f:
            seen = self.json("-T", "-", self.url + "/digest", stdin=f)  # of unknown length: chunked
        self.assertEqual((seen["sha256"], seen["headers"]["transfer-encoding"]), (sha256, "chunked"))
        done = self.run_tool("curl", "-sSv", "-T", path, self.url + "/status/417", "-H", "Expect: 100-continue",
                             "--expect100-timeout", "20")
        self.assertIn(b"< HTTP/1.1 417 ", done.stderr)
        self.assertNotIn(b"100 Continue", done.stderr)
        # An answer before the end of the upload. curl may find the connection closed while it sends.
        early = self.run_tool("curl", "-sS", "-T", path, self.url + "/early", "-w", "%{http_code}", check=False)
        self.assertIn(b"403", early.stdout, early.stderr)
        echoed = os.path.join(os.path.dirname(path), "echoed")
        self.curl("-T", path, self.url + "/echo", "-o", echoed)
        self.run_tool("cmp", path, echoed)

    def test_downloads(self):
        direct, through = (self.curl(f"{url}/{page}/10000000") for url, page in
                           ((f"http://127.0.0.1:{self.port}", "big"), (self.url, "big")))
        self.assertEqual(len(direct), 10000000)
        self.assertTrue(direct == through)
        self.assertTrue(direct == self.curl(self.url + "/chunked/10000000"))
        # Trailers go to those who ask for them (RFC 9110 6.5.1).
        for asks in (["-H", "TE: trailers"], []):
            head = self.curl("-D", "-", "-o", "/dev/null", self.url + "/chunked/70000", *asks).decode().lower()
            self.assertEqual("\r\nx-sum: 70000\r\n" in head, bool(asks), head)

    def test_a_gigabyte_each_way_needs_no_memory(self):
        before = [s.memory_bytes() for s in (self.client_side, self.server_side)]
        with subprocess.Popen([tool("head"), "-c", "1G", "/dev/zero"], stdout=subprocess.PIPE) as zeros:
            self.assertEqual(self.json("-T", "-", self.url + "/count", stdin=zeros.stdout)["bytes"], 1 << 30)
        self.curl(self.url + "/big/1073741824", "-o", "/dev/null")
        for sidecar, bytes_before in zip((self.client_side, self.server_side), before):
            self.assertLess(sidecar.memory_bytes() - bytes_before, 32 << 20)

    def test_a_slow_reader_holds_up_the_server_not_our_memory(self):
        before = self.client_side.memory_bytes()
        self.run_tool("curl", "-sS", "--limit-rate", "100k", "--max-time", "2", self.url + "/big/1073741824", "-o", "/dev/null",
                      check=False)
        self.assertLess(self.client_side.memory_bytes() - before, 16 << 20)
        sent = self.server_side.metric("dragoman_cluster_received_bytes_total", cluster="out")
        self.assertLess(sent, 64 << 20)

    def test_answers_stream(self):
        with subprocess.Popen([tool("curl"), "-sSN", self.url + "/drip/30"], stdout=subprocess.PIPE) as drip:
            self.assertEqual(drip.stdout.readline(), b"line 30\n")
            self.assertIsNone(drip.poll())  # the server needs three seconds for all
            self.assertEqual(drip.stdout.read().splitlines()[-1], b"line 1")
        self.assertEqual(drip.returncode, 0)

    def test_connections_are_kept(self):
        urls = [self.url + "/describe"] * 20
        done = self.run_tool("curl", "-sS", "-w", "%{stderr}%{num_connects} ", *urls)
        self.assertEqual(done.stderr.split(), [b"1"] + [b"0"] * 19)
        for sidecar in (self.client_side, self.server_side):
            self.assertEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), 1)
        # Clients come and go, the connections between the sidecars stay: one for each worker.
        for _ in range(5):
            done = self.run_tool("curl", "-sS", "-H", "Connection: close", "-w", "%{stderr}%{num_connects} ", *urls[:3])
            self.assertEqual(done.stderr.split(), [b"1"] * 3)
        self.assertLessEqual(self.client_side.metric("dragoman_cluster_connections_total", cluster="out"), 2)

    def test_many_at_once(self):
        answers = self.curl("--fail", "-Z", "--parallel-max", "50", f"{self.url}/digest?n=[1-500]", "-d", "abc")
        self.assertEqual(answers.count(b'"bytes":3,'), 500)

    def test_http_1_0(self):
        seen = self.json("--http1.0", self.url + "/describe")
        self.assertEqual(seen["version"], "1.1")
        # A server's chunks are not for a client of that age: the end is the end of the connection.
        whole = self.run_tool("curl", "-sS", "-i", "--raw", "--http1.0", self.url + "/chunked/100000").stdout
        head, _, body = whole.partition(b"\r\n\r\n")
        self.assertNotIn(b"transfer-encoding", head.lower())
        self.assertEqual(len(body), 100000)
        self.assertEqual(self.curl("--http1.0", self.url + "/echo", "-d", "abc"), b"abc")
        done = self.run_tool("curl", "-sS", "--http1.0", "-H", "Connection: keep-alive", "-w", "%{stderr}%{num_connects} ",
                             self.url + "/big/10", self.url + "/big/10")
        self.assertEqual(done.stderr.split(), [b"1", b"0"])

    def test_paths(self):
        for sent, seen in (("/describe/../describe", "/describe"), ("/a/./b/../../describe?x=..", "/describe?x=.."),
                           ("//describe", "/describe")):
            self.assertEqual(self.json("--path-as-is", self.url + sent)["url"], seen)
        self.assertEqual(self.status("--path-as-is", self.url + "/../../etc/passwd"), "400")
        as_is = self.sidecar(f"""
listeners:
  - {{name: in, address: '127.0.0.1:0', protocol: http1, cluster: out, http: {{normalize_path: false}}}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.port}']}}
""")
        url = f"http://127.0.0.1:{as_is.ports['in']}"
        self.assertEqual(self.json("--path-as-is", url + "/describe/../x")["url"], "/describe/../x")

    def test_the_sidecars_own_answers(self):
        dead = free_port()
        sidecar = self.sidecar(f"""
listeners:
  - {{name: in, address: '127.0.0.1:0', protocol: http1, routes: web, http: {{body_bytes_max: 1KiB}}}}
routes:
  - name: web
    routes:
      - {{match: {{path: /hello}}, direct_response: {{status: 200, body: hi}}}}
      - {{match: {{path: /old}}, redirect: {{path: /hello}}}}
      - {{match: {{prefix: /dead}}, cluster: dead}}
      - {{match: {{prefix: /hang}}, cluster: out, timeout: 200ms}}
      - {{match: {{prefix: /cut}}, cluster: out}}
      - {{match: {{prefix: /half}}, cluster: out}}
      - {{match: {{prefix: /count}}, cluster: out}}
      - {{match: {{prefix: /wait}}, cluster: small}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.server_side.ports["in"]}']}}
  - {{name: dead, endpoints: ['127.0.0.1:{dead}']}}
  - {{name: small, endpoints: ['127.0.0.1:{self.server_side.ports["in"]}'], limits: {{requests: 1}}}}
""")
        url = f"http://127.0.0.1:{sidecar.ports['in']}"
        self.assertEqual(self.curl(url + "/hello"), b"hi")
        self.assertEqual(self.curl("-L", url + "/old"), b"hi")
        for path, status, reason in (("/nowhere", "404", "no_route"), ("/dead", "503", "connect_failure"),
                                     ("/hang", "504", "upstream_timeout")):
            before = sidecar.metric("dragoman_request_reasons_total", reason=reason)
            self.assertEqual(self.status(url + path), status)
            self.assertEqual(sidecar.metric("dragoman_request_reasons_total", reason=reason), before + 1, path)
        before = self.server_side.metric("dragoman_request_reasons_total", reason="upstream_reset")
        self.assertIn(self.status("-d", "x", url + "/cut"), ("502", "503"))
        self.assertEqual(self.server_side.metric("dragoman_request_reasons_total", reason="upstream_reset"), before + 1)
        self.assertEqual(self.status(url + "/count", "-d", "x" * 2000), "413")
        with subprocess.Popen([tool("curl"), "-sS", url + "/wait/1000"], stdout=subprocess.PIPE) as slow:
            wait_for("the slow request is under way", lambda: sidecar.cluster("small")["active_requests"] == 1)
            self.assertEqual(self.status(url + "/wait/0"), "503")
            self.assertEqual(slow.stdout.read(), b"waited\n")
        # An answer that breaks off must not look whole: a cut is a reset, of which curl says 56, "failure in receiving".
        half = self.run_tool("curl", "-sS", url + "/half", check=False)
        self.assertEqual((half.returncode, half.stdout), (56, b"half"))

    def test_a_client_that_gives_up_frees_the_server(self):
        gone = self.run_tool("curl", "-sS", "--max-time", "0.5", self.url + "/drip/1000", check=False)
        self.assertEqual(gone.returncode, 28)
        wait_for("the server sees the end", lambda: json.loads(http(f"http://127.0.0.1:{self.port}/seen")[1])["aborted"] == 1)
        for sidecar in (self.client_side, self.server_side):
            wait_for("the reason", lambda s=sidecar: s.metric("dragoman_request_reasons_total", reason="downstream_reset") == 1)

    def test_a_sidecar_is_replaced_under_load(self):
        port = free_port()
        config = one_way("http1", self.server_side.ports["in"]).replace("127.0.0.1:0", f"127.0.0.1:{port}")
        old = self.sidecar(config)
        load = self.peer("curl", "-sS", "--fail", "-Z", "--parallel-max", "16", "-o", "/dev/null", "-w", "%{http_code}\n",
                         f"http://127.0.0.1:{port}/describe?n=[1-3000]")
        wait_for("requests", lambda: old.metric("dragoman_requests_total", listener="in", outcome="ok") > 200)
        new = self.sidecar(config, arguments=("--share-ports",))
        old.terminate()
        old.process.wait(timeout=30)
        output = load.wait()
        self.assertEqual(output.count("200\n"), 3000, output[:2000])
        self.assertGreater(new.metric("dragoman_requests_total", listener="in", outcome="ok"), 0)


if __name__ == "__main__":
    main()
