#!/usr/bin/env python3
"""End to end over the real binary: e2e.py DRAGOMAN BENCH_LOAD BENCH_BACKEND. Standard library only."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from sidecar import Sidecar, http, raw, wait_for  # noqa: E402  pylint: disable=wrong-import-position

DRAGOMAN, LOAD, BACKEND = (os.path.abspath(p) for p in sys.argv[1:4])


class EndToEnd(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.backend = subprocess.Popen([BACKEND, "--http", "0", "--bolt", "0", "--tcp", "0"], stdout=subprocess.PIPE,
                                       text=True)
        cls.back = {}
        while len(cls.back) < 3:
            line = cls.backend.stdout.readline()
            for proto in ("http", "bolt", "tcp"):
                if m := re.search(rf"{proto}\D+(?:127\.0\.0\.1:)?(\d+)", line):
                    cls.back[proto] = int(m.group(1))

    @classmethod
    def tearDownClass(cls):
        cls.backend.terminate()
        cls.backend.communicate(timeout=10)

    def config(self, extra_routes="", body_max=0):
        return f"""
listeners:
  - {{name: web, address: '127.0.0.1:0', protocol: http1, routes: web, http: {{body_bytes_max: {body_max}}}}}
  - {{name: rpc, address: '127.0.0.1:0', protocol: bolt, cluster: bolt, rpc: {{goaway: true}}}}
  - {{name: raw, address: '127.0.0.1:0', protocol: tcp, cluster: tcp}}
routes:
  - name: web
    routes:
{extra_routes}
      - {{match: {{path: /hello}}, direct_response: {{status: 200, body: hi}}}}
      - {{match: {{path: /old}}, redirect: {{path: /new, status: 302}}}}
      - {{match: {{prefix: /dead}}, cluster: dead}}
      - {{match: {{prefix: /}}, cluster: http}}
clusters:
  - {{name: http, endpoints: ['127.0.0.1:{self.back["http"]}']}}
  - {{name: bolt, endpoints: ['127.0.0.1:{self.back["bolt"]}'], health_check: {{type: heartbeat, interval: 1s}}}}
  - {{name: tcp, endpoints: ['127.0.0.1:{self.back["tcp"]}']}}
  - {{name: dead, endpoints: ['127.0.0.1:1']}}
"""

    def setUp(self):
        self.proxy = Sidecar(DRAGOMAN, self.config())
        self.web = f"http://127.0.0.1:{self.proxy.ports['web']}"

    def tearDown(self):
        self.proxy.close()

    def load(self, proto, listener, *args):
        run = subprocess.run([LOAD, "--proto", proto, "--target", f"127.0.0.1:{self.proxy.ports[listener]}", *args],
                             capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        return run

    def test_routes(self):
        self.assertEqual(http(self.web + "/hello"), (200, b"hi"))
        self.assertEqual(http(self.web + "/anything")[0], 200)
        self.assertEqual(http(self.web + "/dead/x")[0], 503)
        answer = raw(self.proxy.ports["web"], b"GET /old?q=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 302 "), answer)
        self.assertIn(b"location: /new?q=1\r\n", answer)

    def test_bad_http_is_refused_and_counted(self):
        rows = [
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", b"400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", b"400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", b"400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", b"400"),
            (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\nHost: a\n\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n folded: x\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"400"),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", b"505"),
            (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
            (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(101)) + b"\r\n", b"431"),
            (b"\x16\x03\x01\x02\x00\x01", b"400"),
        ]
        for data, status in rows:
            before = self.proxy.metric("dragoman_listener_protocol_errors_total")
            answer = raw(self.proxy.ports["web"], data)
            self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), (data[:60], answer[:80]))
            self.assertEqual(self.proxy.metric("dragoman_listener_protocol_errors_total"), before + 1, data[:60])

    def test_one_byte_at_a_time(self):
        request = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        with socket.create_connection(("127.0.0.1", self.proxy.ports["web"]), timeout=5) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for b in request:
                s.sendall(bytes([b]))
            self.assertTrue(s.recv(65536).startswith(b"HTTP/1.1 200 "))

    def test_pipelined_requests_are_answered_in_order(self):
        one = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
        last = b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        answer = raw(self.proxy.ports["web"], one * 499 + last)
        self.assertEqual(answer.count(b"HTTP/1.1 200 OK\r\n"), 500)

    def test_calls_of_all_protocols_belong_to_their_callers(self):
        self.load("http", "web", "--connections", "16", "--depth", "1", "--max-requests", "5000", "--seconds", "20")
        self.load("bolt", "rpc", "--connections", "50", "--depth", "16", "--max-requests", "100000", "--seconds", "40")
        self.load("tcp", "raw", "--connections", "16", "--depth", "4", "--max-requests", "5000", "--seconds", "20")
        clusters = {c["name"]: c for c in json.loads(self.proxy.admin("/clusters?format=json")[1])["clusters"]}
        self.assertLessEqual(clusters["bolt"]["connections"], 4)
        self.assertEqual(clusters["bolt"]["active_requests"], 0)

    def test_no_request_outlives_an_http2_connection_that_ends_for_abuse(self):
        def frame(kind, flags, stream, payload=b""):
            return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload

        # One backend that takes requests and never answers.
        silent = socket.create_server(("127.0.0.1", 0))
        yaml = f"""
access_log: {{path: /dev/null}}
listeners: [{{name: web, address: '127.0.0.1:0', protocol: http2, routes: web}}]
routes: [{{name: web, routes: [{{match: {{prefix: /}}, cluster: silent, timeout: 1s}}]}}]
clusters: [{{name: silent, endpoints: ['127.0.0.1:{silent.getsockname()[1]}']}}]
"""
        literals = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")]
        block = b"".join(b"\0" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in literals)
        with silent:
            for flags in (5, 4):  # with and without the end of the request
                proxy = Sidecar(DRAGOMAN, yaml)
                try:
                    flood = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
                    for i in range(1100):
                        flood += frame(1, flags, 2 * i + 1, block) + frame(3, 0, 2 * i + 1, (8).to_bytes(4, "big"))
                    said = raw(proxy.ports["web"], flood)
                    self.assertIn((11).to_bytes(4, "big"), said[-40:])
                    wait_for("no request is left", lambda p=proxy: p.metric("dragoman_requests_active") == 0)
                    time.sleep(1.5)  # past the deadline that such a request would have
                    self.assertEqual(proxy.admin("/live")[0], 200)
                finally:
                    code, log = proxy.stop()
                self.assertEqual(code, 0, log)

    def test_call_command(self):
        address = f"127.0.0.1:{self.proxy.ports['rpc']}"
        run = subprocess.run([DRAGOMAN, "call", "bolt", address, "--data", "ping", "--count", "3"], capture_output=True,
                             text=True, timeout=20, check=False)
        self.assertEqual((run.returncode, run.stdout), (0, "SUCCESS (0) ping\n" * 3), run.stderr)

    def test_garbage_on_bolt_closes_and_others_go_on(self):
        self.assertEqual(raw(self.proxy.ports["rpc"], b"\x07garbage" * 10), b"")
        self.load("bolt", "rpc", "--connections", "2", "--depth", "2", "--max-requests", "100", "--seconds", "10")

    def test_admin(self):
        self.assertEqual(self.proxy.admin("/reload")[0], 405)
        self.assertEqual(self.proxy.admin("/nope")[0], 404)
        for page in ("/live", "/stats", "/stats/prometheus", "/clusters", "/listeners", "/config_dump", "/server_info",
                     "/logging", "/help"):
            self.assertEqual(self.proxy.admin(page)[0], 200, page)
        lint = subprocess.run(["promtool", "check", "metrics"], input=self.proxy.admin("/metrics")[1],
                              capture_output=True, check=False)
        self.assertEqual(lint.returncode, 0, lint.stderr)
        answer = raw(self.proxy.admin_port, b"GET /stats HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 403 "))

    def test_reload_under_load(self):
        loads = [subprocess.Popen([LOAD, "--proto", p, "--target", f"127.0.0.1:{self.proxy.ports[l]}", "--connections",
                                   "8", "--seconds", "6"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
                 for p, l in (("http", "web"), ("bolt", "rpc"))]
        route = "      - {match: {path: /new%d}, direct_response: {status: 200, body: 'v%d'}}"
        for i in range(100):
            self.proxy.reload(self.config(route % (i, i)))
        self.assertEqual(http(self.web + "/new99"), (200, b"v99"))
        self.proxy.write("listeners: [{name: web, adress: x}]\n")
        status, text = self.proxy.admin("/reload", "POST")
        self.assertEqual(status, 400)
        self.assertIn(b"did you mean", text)
        self.assertEqual(http(self.web + "/new99"), (200, b"v99"))
        self.assertEqual(self.proxy.metric("dragoman_config_reloads_total", result="failure"), 1)
        for load in loads:
            out, _ = load.communicate(timeout=30)
            self.assertEqual(load.returncode, 0, out.decode())


class Commands(unittest.TestCase):
    def test_exit_codes(self):
        for args, code in ((["version"], 0), (["schema"], 0), (["reference"], 0), (["rnu"], 2), (["run"], 2),
                           (["validate", "/nonexistent"], 1)):
            run = subprocess.run([DRAGOMAN, *args], capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual(run.returncode, code, args)
            if args == ["rnu"]:
                self.assertIn("did you mean 'run'", run.stderr)

    def test_demo_calls(self):
        demo = subprocess.Popen([DRAGOMAN, "run", "--demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        text = ""
        while "Ctrl-C" not in text:
            line = demo.stdout.readline()
            self.assertTrue(line, text)
            text += line
        echo = re.search(r"http://\S+/echo", text).group(0)
        self.assertEqual(http(echo, data=b"some text"), (200, b"some text"))
        bolt = re.search(r"call bolt (\S+)", text).group(1)
        run = subprocess.run([DRAGOMAN, "call", "bolt", bolt, "--service", "demo.Echo:1.0", "--data", "x"],
                             capture_output=True, text=True, timeout=20, check=False)
        self.assertEqual((run.returncode, run.stdout), (0, "SUCCESS (0) x\n"), run.stderr)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=40)
        self.assertEqual(demo.returncode, 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
