#!/usr/bin/env python3
"""gRPC-Web: its own client, and requests made by hand over both versions of HTTP, to a gRPC server behind two sidecars."""
import base64
import http.client
import json
import os
import struct

from certificates import Certificates
from harness import HERE, InteropTest, main

TRAILERS = 0x80


def message(payload, flag=0):
    return struct.pack(">BI", flag, len(payload)) + payload


def messages(body):
    """The payloads of a binary body, and the trailers of its last message."""
    payloads, trailers = [], None
    while body:
        flag, size = struct.unpack(">BI", body[:5])
        assert trailers is None and len(body) >= 5 + size, body
        piece, body = body[5:5 + size], body[5 + size:]
        if flag == TRAILERS:
            trailers = dict(line.split(": ", 1) for line in piece.decode().splitlines())
        else:
            payloads.append(piece)
    return payloads, trailers


def texts(body):
    """The bytes of a text body: padded base64 texts, one after the other."""
    assert len(body) % 4 == 0, body
    return b"".join(base64.b64decode(body[i:i + 4], validate=True) for i in range(0, len(body), 4))


class GrpcWeb(InteropTest):
    def between(self, protocol="http1"):
        """Clients speak gRPC-Web to the outer sidecar; everything behind it is gRPC. Browsers may come from shop.example."""
        server = self.peer("/usr/bin/python3", os.path.join(HERE, "peers", "grpc_server.py"))
        cluster_tls, listener_tls = Certificates(self, self.directory()).mutual()
        inner = self.sidecar(
            f"listeners:\n  - {{name: in, address: '127.0.0.1:0', protocol: http2, cluster: out, {listener_tls}}}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{server.expect('port')['port']}']}}\n")
        return self.sidecar(
            f"listeners:\n  - name: in\n    address: 127.0.0.1:0\n    protocol: {protocol}\n    routes: r\n    filters:\n"
            "      - {type: grpc_web}\n"
            "      - type: headers\n        response:\n          set:\n"
            "            access-control-allow-origin: https://shop.example\n"
            "            access-control-allow-headers: content-type,x-grpc-web,x-user-agent,grpc-timeout\n"
            "            access-control-expose-headers: grpc-status,grpc-message\n"
            "routes:\n  - name: r\n    routes:\n"
            "      - {match: {method: [OPTIONS]}, direct_response: {status: 204}}\n"
            "      - {name: says, match: {service: acme.Test, method: [Echo]}, cluster: out}\n"
            "      - {match: {service: acme.Test}, cluster: out}\n"
            f"clusters:\n  - {{name: out, protocol: http2, endpoints: ['127.0.0.1:{inner.ports['in']}'], {cluster_tls}}}\n")

    def post(self, sidecar, path, body, **fields):
        """One request by HTTP/1; the response and its body."""
        connection = http.client.HTTPConnection("127.0.0.1", sidecar.ports["in"], timeout=30)
        self.addCleanup(connection.close)
        connection.request("POST", path, body, {k.replace("_", "-"): v for k, v in fields.items()})
        response = connection.getresponse()
        return response, response.read()

    def test_the_browsers_client(self):
        outer = self.between()
        for form in ("text", "binary"):
            client = self.node("grpc_web_client.js", "peers_grpc", port=outer.ports["in"], format=form)
            unary = client.expect("call", "unary")
            self.assertEqual((unary["got"], unary["code"], unary["seen"]), ("question", 0, "AAEC/w"))
            fail = client.expect("call", "fail")
            self.assertEqual((fail["code"], fail["details"]), (5, "50% schön"))
            unknown = client.expect("call", "unknown")
            self.assertEqual((unknown["code"], unknown["details"]), (12, "no_route"))
            if form == "text":
                self.assertEqual(client.expect("call", "stream")["got"], ["0", "1", "2", "3", "4"])
                self.assertEqual(client.expect("call", "late")["code"], 4)
            client.expect("call", "done")
            client.wait()
        self.assertEqual(outer.metric("dragoman_requests_total", route="says", outcome="ok"), 2)

    def test_both_forms_over_http1(self):
        outer = self.between()
        big = bytes(range(256)) * (4 << 12)
        for payload in (b"question", b"", big):
            response, body = self.post(outer, "/acme.Test/Echo", message(payload), content_type="application/grpc-web+proto")
            self.assertEqual((response.status, response.getheader("content-type")), (200, "application/grpc-web"))
            got, trailers = messages(body)
            self.assertEqual(got, [payload])
            self.assertEqual(trailers["grpc-status"], "0")
            text = base64.b64encode(message(payload))
            response, body = self.post(outer, "/acme.Test/Echo", text, content_type="application/grpc-web-text")
            self.assertEqual(response.getheader("content-type"), "application/grpc-web-text")
            got, trailers = messages(texts(body))
            self.assertEqual(got, [payload])
            self.assertEqual(trailers["grpc-status"], "0")

    def test_streams_cut_anywhere(self):
        outer = self.between()
        # Each message a text of its own, sent in pieces that end inside groups of four.
        text = b"".join(base64.b64encode(message(part)) for part in (b"a", b"bc", b"def"))
        for size in (1, 3, 7):
            pieces = (text[i:i + size] for i in range(0, len(text), size))
            _, body = self.post(outer, "/acme.Test/Join", pieces, content_type="application/grpc-web-text+proto")
            got, trailers = messages(texts(body))
            self.assertEqual((got, trailers["grpc-status"]), ([b"a,bc,def"], "0"))

    def test_over_http2(self):
        outer = self.between("http2")
        for kind, encode, decode in (("", bytes, bytes), ("-text", base64.b64encode, texts)):
            done = self.run_tool("curl", "-sS", "--http2-prior-knowledge", "-H", f"content-type: application/grpc-web{kind}",
                                 "--data-binary", "@-", f"http://127.0.0.1:{outer.ports['in']}/acme.Test/Count",
                                 input=encode(message(b"\x03")))
            got, trailers = messages(decode(done.stdout))
            self.assertEqual((got, trailers["grpc-status"]), ([b"0", b"1", b"2"], "0"))

    def test_failures(self):
        outer = self.between()
        web = {"content_type": "application/grpc-web+proto"}
        # The server's: trailers alone.
        response, body = self.post(outer, "/acme.Test/Fail", message(b"\x05"), **web)
        self.assertEqual((response.status, response.getheader("grpc-status"), body), (200, "5", b""))
        # Ours, before and within an answer.
        response, body = self.post(outer, "/acme.Unknown/Say", message(b""), **web)
        self.assertEqual((response.status, response.getheader("grpc-status"), response.getheader("grpc-message"), body),
                         (200, "12", "no_route", b""))
        self.assertEqual(response.getheader("content-type"), "application/grpc-web+proto")
        response, body = self.post(outer, "/acme.Test/Echo", b"AAAA*", content_type="application/grpc-web-text")
        self.assertEqual((response.getheader("grpc-status"), body), ("13", b""))
        response, body = self.post(outer, "/acme.Test/Never", message(b""), grpc_timeout="500m", **web)
        self.assertEqual(response.getheader("grpc-status"), "4")
        response, body = self.post(outer, "/acme.Test/Drip", message(b""), grpc_timeout="700m", **web)
        got, trailers = messages(body)
        self.assertIn(b"drop", got)
        self.assertEqual(trailers["grpc-status"], "4")

    def test_pages_of_another_origin(self):
        outer = self.between()
        connection = http.client.HTTPConnection("127.0.0.1", outer.ports["in"], timeout=30)
        self.addCleanup(connection.close)
        connection.request("OPTIONS", "/acme.Test/Echo", headers={"origin": "https://shop.example",
                                                                  "access-control-request-method": "POST"})
        preflight = connection.getresponse()
        preflight.read()
        self.assertEqual((preflight.status, preflight.getheader("access-control-allow-origin")), (204, "https://shop.example"))
        for path in ("/acme.Test/Echo", "/acme.Unknown/Say"):  # the server's answer, and one of ours
            response, _ = self.post(outer, path, message(b""), content_type="application/grpc-web")
            self.assertEqual(response.getheader("access-control-allow-origin"), "https://shop.example", path)

    def test_native_grpc_passes_beside_it(self):
        outer = self.between("http")
        client = self.peer("/usr/bin/python3", os.path.join(HERE, "peers", "grpc_client.py"),
                           json.dumps({"port": outer.ports["in"], "run": "kinds"}))
        self.assertEqual(client.expect("call", "chat")["got"], ["re: 0", "re: 1", "re: 2"])
        client.wait()


main()
