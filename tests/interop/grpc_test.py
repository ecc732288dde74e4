#!/usr/bin/env python3
"""gRPC: clients and servers of the C core (python3-grpcio) and of grpc-js, with two sidecars and mutual TLS between them."""
import json
import os
import re
import time

from certificates import Certificates
from harness import HERE, InteropTest, free_port, main, wait_for


class Grpc(InteropTest):
    def python(self, script, **config):
        return self.peer("/usr/bin/python3", os.path.join(HERE, "peers", script), json.dumps(config))

    def js(self, script, **config):
        return self.node(script, "peers_grpc", **config)

    def server(self, js=False):
        peer = self.js("grpc_server.js") if js else self.python("grpc_server.py")
        return peer, peer.expect("port")["port"]

    def client(self, js=False, **config):
        return self.js("grpc_client.js", **config) if js else self.python("grpc_client.py", **config)

    def between(self, port):
        """Two sidecars that know each other by certificates; the outer one routes by service and method."""
        cluster_tls, listener_tls = Certificates(self, self.directory()).mutual()
        inner = self.sidecar(
            f"listeners:\n  - {{name: in, address: '127.0.0.1:0', protocol: http2, cluster: out, {listener_tls}}}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{port}']}}\n")
        outer = self.sidecar(
            "listeners:\n  - {name: in, address: '127.0.0.1:0', protocol: http2, routes: r}\n"
            "routes:\n  - name: r\n    routes:\n"
            "      - {name: says, match: {service: acme.Test, method: [Echo]}, cluster: out}\n"
            "      - {name: rest, match: {service: 'acme.T*'}, cluster: out}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{inner.ports['in']}'], {cluster_tls}}}\n")
        return outer, inner

    def test_all_kinds_of_calls(self):
        self.all_kinds_of_calls(False, False)

    def test_all_kinds_of_calls_by_js(self):
        self.all_kinds_of_calls(True, True)

    def test_all_kinds_of_calls_by_js_to_the_core(self):
        self.all_kinds_of_calls(True, False)

    def test_all_kinds_of_calls_by_the_core_to_js(self):
        self.all_kinds_of_calls(False, True)

    def all_kinds_of_calls(self, client_js, server_js):
        _, port = self.server(server_js)
        outer, inner = self.between(port)
        client = self.client(client_js, port=outer.ports["in"], run="kinds")
        unary = client.expect("call", "unary")
        self.assertTrue(unary["same"] and unary["binary"], unary)
        # gRPC's C core rounds a timeout up to three digits before it sends it: 30.0 s and a bit is 30.1 s.
        self.assertTrue(0 < unary["left"] <= 30.1, unary)
        self.assertTrue(client.expect("call", "big")["same"])
        self.assertEqual(client.expect("call", "server_stream")["got"], ["0", "1", "2", "3", "4"])
        self.assertEqual(client.expect("call", "client_stream")["got"], "a,b,c")
        self.assertEqual(client.expect("call", "chat")["got"], ["re: 0", "re: 1", "re: 2"])
        client.wait()
        self.assertEqual(outer.metric("dragoman_requests_total", outcome="ok"), 5)
        self.assertEqual(outer.metric("dragoman_requests_total", route="says"), 2)
        self.assertGreaterEqual(inner.metric("dragoman_tls_handshakes_total"), 1)

    def test_errors_deadlines_and_cancels(self):
        self.errors_deadlines_and_cancels(False, False)

    def test_errors_deadlines_and_cancels_by_js(self):
        self.errors_deadlines_and_cancels(True, True)

    def test_errors_deadlines_and_cancels_by_js_to_the_core(self):
        self.errors_deadlines_and_cancels(True, False)

    def test_errors_deadlines_and_cancels_by_the_core_to_js(self):
        self.errors_deadlines_and_cancels(False, True)

    def errors_deadlines_and_cancels(self, client_js, server_js):
        peer, port = self.server(server_js)
        outer, inner = self.between(port)
        client = self.client(client_js, port=outer.ports["in"], run="errors")
        failed = client.expect("call", "fail")
        self.assertEqual((failed["code"], failed["details"]), ("NOT_FOUND", "50% schön"))
        unknown = client.expect("call", "unimplemented")
        self.assertEqual((unknown["code"], unknown["details"]), ("UNIMPLEMENTED", "no_route"))
        for call in ("deadline", "drip"):
            late = client.expect("call", call)
            self.assertEqual(late["code"], "DEADLINE_EXCEEDED")
            self.assertLess(late["seconds"], 10)
        self.assertEqual(client.expect("call", "cancel")["code"], "CANCELLED")
        peer.expect("cancelled")
        client.wait()
        wait_for("the end of all calls", lambda: inner.metric("dragoman_requests_active") == 0)
        self.assertGreaterEqual(inner.metric("dragoman_requests_total", outcome="client_error"), 1)

    def test_deadlines_end_calls_whose_clients_do_not(self):
        _, port = self.server()
        outer, _ = self.between(port)
        for method, body in (("Never", b""), ("Drip", b"drop")):
            out = os.path.join(self.directory(), "out")
            call = self.run_tool("curl", "-sS", "--http2-prior-knowledge", "-D", "-", "-o", out, "--max-time", 20,
                                 "-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "grpc-timeout: 700m",
                                 "--data-binary", "@-", f"http://127.0.0.1:{outer.ports['in']}/acme.Test/{method}", input=bytes(5))
            fields = call.stdout.decode()
            self.assertRegex(fields, r"(?s)^HTTP/2 200.*grpc-status: 4\b", method)
            if body:
                with open(out, "rb") as f:
                    self.assertIn(body, f.read())
        wait_for("both deadlines", lambda: outer.metric("dragoman_requests_total", outcome="timeout") == 2)

    def test_nobody_there_is_unavailable(self):
        outer, _ = self.between(free_port())
        client = self.python("grpc_client.py", port=outer.ports["in"], run="once")
        once = client.expect("call", "once")
        self.assertEqual((once["code"], once["details"]), ("UNAVAILABLE", "connect_failure"))

    def test_unavailable_is_repeated_where_the_route_says_so(self):
        _, port = self.server()
        sidecar = self.sidecar(
            "listeners:\n  - {name: in, address: '127.0.0.1:0', protocol: http2, routes: r}\n"
            "routes:\n  - name: r\n    routes:\n"
            "      - {match: {method: [Flaky]}, cluster: out, retry: {attempts: 1, on: [gateway_error], idempotent: true}}\n"
            "      - {match: {prefix: /}, cluster: out}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{port}']}}\n")
        client = self.python("grpc_client.py", port=sidecar.ports["in"], run="once", path="Flaky")
        self.assertEqual(client.expect("call", "once")["code"], "OK")
        self.assertEqual(sidecar.metric("dragoman_cluster_retries_total"), 1)
        self.assertEqual(sidecar.metric("dragoman_cluster_requests_total", outcome="unavailable"), 1)

    def call(self, sidecar, method, request, *more):
        """One call by curl; its grpc-status."""
        frame = b"\0" + len(request).to_bytes(4, "big") + request
        done = self.run_tool("curl", "-sS", "--http2-prior-knowledge", "-D", "-", "-o", "/dev/null", "--max-time", 20,
                             "-H", "content-type: application/grpc", "-H", "te: trailers", *more, "--data-binary", "@-",
                             f"http://127.0.0.1:{sidecar.ports['in']}/acme.Test/{method}", input=frame)
        return int(re.search(r"(?m)^grpc-status: (\d+)", done.stdout.decode()).group(1))

    def test_backends_say_how_long_repeats_wait(self):
        sidecar = self.sidecar(
            "listeners:\n  - {name: in, address: '127.0.0.1:0', protocol: http2, routes: r}\n"
            "routes:\n  - name: r\n    routes:\n"
            "      - {cluster: out, retry: {attempts: 1, on: [gateway_error], idempotent: true, backoff: 1ms, backoff_max: 1ms}}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{self.server()[1]}']}}\n")
        start = time.monotonic()
        self.assertEqual(self.call(sidecar, "Pushback", b"700"), 0)
        self.assertGreaterEqual(time.monotonic() - start, 0.7)
        retries = lambda: sidecar.metric("dragoman_cluster_retries_total")  # noqa: E731
        self.assertEqual(retries(), 1)
        self.assertEqual(self.call(sidecar, "Pushback", b"0"), 0)
        self.assertEqual(retries(), 2)
        # Forbidden, and after the deadline: the backend's own answer.
        self.assertEqual(self.call(sidecar, "Pushback", b"-1"), 14)
        self.assertEqual(self.call(sidecar, "Pushback", b"1"), 0)  # the server's second
        self.assertEqual(self.call(sidecar, "Pushback", b"60000", "-H", "grpc-timeout: 10S"), 14)
        self.assertEqual(retries(), 2)

    def test_which_failures_eject(self):
        for status, ejected in ((14, 1), (4, 1), (2, 0), (13, 0), (5, 0)):
            server = f"'127.0.0.1:{self.server()[1]}'"
            sidecar = self.sidecar(
                "listeners:\n  - {name: in, address: '127.0.0.1:0', protocol: http2, cluster: out}\n"
                f"clusters:\n  - {{name: out, protocol: http2, endpoints: [{server}], "
                "outlier: {consecutive_failures: 3, max_ejection_percent: 100}}\n")
            for _ in range(3):
                self.assertEqual(self.call(sidecar, "Fail", bytes([status])), status)
            self.assertEqual(sidecar.metric("dragoman_cluster_ejections_total"), ejected, status)

    def test_health_checks(self):
        _, port = self.server()
        for service, healthy in (("", 1), ("acme.Test", 1), ("acme.Down", 0), ("acme.Unknown", 0)):
            sidecar = self.sidecar(
                "listeners:\n  - {name: in, address: '127.0.0.1:0', protocol: http2, cluster: out}\n"
                f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{port}'], health_check: {{type: grpc, "
                f"{f'service: {service}, ' if service else ''}interval: 200ms, timeout: 190ms, unhealthy_threshold: 1}}}}\n")
            result = "success" if healthy else "failure"
            wait_for(f"a check of '{service}'", lambda s=sidecar, r=result: s.metric(
                "dragoman_cluster_health_checks_total", result=r) > 0)
            wait_for(f"the verdict on '{service}'", lambda s=sidecar, h=healthy: s.metric(
                "dragoman_cluster_endpoints_healthy") == h)


main()
