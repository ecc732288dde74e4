#!/usr/bin/env python3
"""Triple: dubbo-node's clients and servers, both faces, with two sidecars and mutual TLS between them."""
import http.client
import json

from certificates import Certificates
from harness import InteropTest, free_port, main, wait_for


class Triple(InteropTest):
    def setUp(self):
        """Three servers of one service: blue 1.2.3, one without either, and one that speaks HTTP/1. The inner sidecar tells
        them apart."""
        self.peers = {}
        clusters = ""
        for name, version, more in (("blue", "2", {"group": "blue", "version": "1.2.3"}), ("plain", "2", {}),
                                    ("old", "1.1", {"group": "old"})):
            self.peers[name] = self.node("triple_server.js", "peers_grpc", name=name, http=version, **more)
            clusters += (f"  - {{name: {name}, protocol: http{version[0]}, "
                         f"endpoints: ['127.0.0.1:{self.peers[name].expect('port')['port']}']}}\n")
        cluster_tls, listener_tls = Certificates(self, self.directory()).mutual()
        self.inner = self.sidecar(
            f"listeners:\n  - {{name: in, address: '127.0.0.1:0', protocol: http2, routes: r, {listener_tls}}}\n"
            "routes:\n  - name: r\n    routes:\n"
            "      - {match: {service: acme.Hello, group: blue, version: 1.2.3}, cluster: blue, timeout: 60s}\n"
            "      - {match: {service: acme.Hello, group: old}, cluster: old, timeout: 60s}\n"
            "      - {match: {service: acme.Hello, version: 1.0.0}, cluster: plain, timeout: 60s}\n"
            f"clusters:\n{clusters}")
        self.outer = self.sidecar(
            "listeners:\n  - {name: in, address: '127.0.0.1:0', protocol: http, routes: r, filters: [{type: grpc_web}]}\n"
            "routes:\n  - name: r\n    routes:\n"
            "      - {name: says, match: {service: acme.Hello, method: [Say]}, cluster: out, timeout: 60s}\n"
            "      - {match: {service: acme.Hello, method: [Count]}, cluster: out, idle_timeout: 500ms}\n"
            "      - {match: {service: acme.Hello}, cluster: out}\n"
            "      - {match: {service: acme.Nobody}, cluster: nobody}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{self.inner.ports['in']}'], {cluster_tls}}}\n"
            f"  - {{name: nobody, protocol: http2, endpoints: ['127.0.0.1:{free_port()}']}}\n")

    def calls(self, name, face, http_version, json_format=False, **service):
        client = self.node("triple_client.js", "peers_grpc", port=self.outer.ports["in"], face=face, http=http_version,
                           json=json_format, **service)
        unary = client.expect("call", "unary")
        self.assertEqual((unary["text"], unary["binary"]), (f"{name}: hello", "AAEC/w"))
        self.assertEqual(unary["protocol"], "connect" if face == "triple" else "grpc")
        self.assertTrue(client.expect("call", "big")["same"])
        self.assertEqual(client.expect("call", "server_stream")["got"], ["0", "1", "2", "3", "4"])
        cut = client.expect("call", "cut")
        self.assertEqual((cut["code"], cut["details"]), ("DeadlineExceeded", "stream_idle_timeout"))
        self.assertEqual(client.expect("call", "begun")["got"], ["0", "1"])
        if http_version == "2" and name != "old":
            self.assertEqual(client.expect("call", "client_stream")["got"], "a,b,c")
            self.assertEqual(client.expect("call", "chat")["got"], ["re: 0", "re: 1", "re: 2"])
        fail = client.expect("call", "fail")
        self.assertEqual((fail["code"], fail["details"]), ("NotFound", "50% schön"))
        late = client.expect("call", "deadline")
        self.assertEqual(late["code"], "DeadlineExceeded")
        self.assertLess(late["seconds"], 10)
        self.assertEqual(client.expect("call", "cancel")["code"], "Canceled")
        if name != "old":  # over HTTP/1 dubbo-node does not notice that its client has gone
            self.peers[name].expect("cancelled")
        unknown = client.expect("call", "unknown")
        self.assertEqual((unknown["code"], unknown["details"]), ("Unimplemented", "no_route"))
        client.expect("call", "done")
        client.wait()
        wait_for("the end of all calls", lambda: self.inner.metric("dragoman_requests_active") == 0)
        self.assertEqual(self.outer.metric("dragoman_requests_total", route="says", outcome="ok"), 2)

    def test_the_grpc_face(self):
        self.calls("plain", "grpc", "2")

    def test_the_grpc_face_of_a_group(self):
        self.calls("blue", "grpc", "2", group="blue", version="1.2.3")

    def test_grpc_web_over_http1_to_the_grpc_face(self):
        self.calls("blue", "grpc-web", "1.1", group="blue", version="1.2.3")

    def test_grpc_web_over_http2_to_the_grpc_face(self):
        self.calls("plain", "grpc-web", "2")

    def test_the_http_face_over_http1(self):
        self.calls("plain", "triple", "1.1", json_format=True)

    def test_the_http_face_over_http1_of_a_group(self):
        self.calls("blue", "triple", "1.1", group="blue", version="1.2.3")

    def test_the_http_face_over_http2(self):
        self.calls("plain", "triple", "2")

    def test_the_http_face_over_http2_of_a_group(self):
        self.calls("blue", "triple", "2", json_format=True, group="blue", version="1.2.3")

    def test_the_http_face_to_a_server_of_http1(self):
        self.calls("old", "triple", "1.1", group="old")

    def post(self, path, **fields):
        connection = http.client.HTTPConnection("127.0.0.1", self.outer.ports["in"], timeout=30)
        self.addCleanup(connection.close)
        connection.request("POST", path, b"{}", {"content-type": "application/json",
                                                 **{k.replace("_", "-"): v for k, v in fields.items()}})
        response = connection.getresponse()
        self.assertEqual(response.getheader("content-type"), "application/json", path)
        return response.status, json.loads(response.read())

    def test_failures_of_ours_are_the_json_of_its_clients(self):
        self.assertEqual(self.post("/acme.Unknown/Say"), (404, {"status": 12, "message": "no_route"}))
        self.assertEqual(self.post("/acme.Nobody/Say"), (503, {"status": 14, "message": "connect_failure"}))
        self.assertEqual(self.post("/acme.Hello/Never", tri_service_timeout="500"),
                         (504, {"status": 4, "message": "caller_timeout"}))
        # No such group: the inner sidecar's answer.
        self.assertEqual(self.post("/acme.Hello/Say", tri_service_group="red", tri_service_version="3.0.0"),
                         (404, {"status": 12, "message": "no_route"}))


main()
