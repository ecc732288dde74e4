#!/usr/bin/env python3
"""HTTP/2 conformance: h2spec, strict, against listeners that speak it in clear text, beside HTTP/1.1, and in TLS."""
import os
import socketserver
import threading
import xml.etree.ElementTree

import go
from certificates import Certificates
from harness import InteropTest, main

PACKAGE, VERSION = "github.com/summerwind/h2spec/cmd/h2spec", "v2.2.1+incompatible"


class WholeRequests(socketserver.StreamRequestHandler):
    """An HTTP/1.1 server that answers when the whole request is here: an answer that comes before the frame that a case is about
    would end the stream."""

    def handle(self):
        while head := self.rfile.readline():
            chunked, length = False, 0
            while (line := self.rfile.readline().lower()) not in (b"\r\n", b""):
                chunked |= line.startswith(b"transfer-encoding:")
                if line.startswith(b"content-length:"):
                    length = int(line[15:])
            while chunked and (size := int(self.rfile.readline().split(b";")[0] or b"0", 16)):
                self.rfile.read(size + 2)
            while chunked and self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.rfile.read(length)
            body = b"" if head.startswith(b"HEAD") else b"hello"
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + body)


class H2spec(InteropTest):
    def test_every_case_passes(self):
        certificates = Certificates(self, self.directory())
        certificates.issue("server", "DNS:localhost,IP:127.0.0.1")
        server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), WholeRequests)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        tls = f"{{certificates: [{certificates.pair('server')}]}}"
        sidecar = self.sidecar(
            "listeners:\n"
            "  - {name: clear, address: '127.0.0.1:0', protocol: http2, routes: r}\n"
            "  - {name: both, address: '127.0.0.1:0', protocol: http, routes: r}\n"
            f"  - {{name: tls, address: '127.0.0.1:0', protocol: http2, routes: r, tls: {tls}}}\n"
            f"  - {{name: tls_both, address: '127.0.0.1:0', protocol: http, routes: r, tls: {tls}}}\n"
            "routes: [{name: r, routes: [{match: {prefix: /}, cluster: web}]}]\n"
            f"clusters: [{{name: web, protocol: http1, endpoints: ['127.0.0.1:{server.server_address[1]}']}}]\n")
        for name, options in (("clear", []), ("both", []), ("tls", ["-t", "-k"]), ("tls_both", ["-t", "-k"])):
            with self.subTest(listener=name):
                report = os.path.join(self.directory(), name + ".xml")
                run = self.run_tool(PROGRAM, "-S", "-h", "127.0.0.1", "-p", sidecar.ports[name], "-o", 10, "-j", report, *options,
                                    seconds=400, check=False)
                cases = xml.etree.ElementTree.parse(report).getroot().findall(".//testcase")
                failed = {c.get("classname") for c in cases if c.find("failure") is not None or c.find("error") is not None}
                self.assertGreater(len(cases), 140)
                self.assertEqual(failed, set(), run.stdout.decode()[-8000:])


def setUpModule():
    global PROGRAM  # pylint: disable=global-statement
    PROGRAM = go.install(PACKAGE, VERSION, "h2spec")


PROGRAM = ""

if __name__ == "__main__":
    main()
