#!/usr/bin/env python3
"""Mutual TLS between two sidecars that carry HTTP/1 and Bolt on one port; curl and openssl s_client against it."""
import http.server
import os
import re
import subprocess
import threading

from certificates import Certificates
from harness import InteropTest, free_port, main, wait_for

PROTO_KINDS = [("hessian2", "v1"), ("protobuf", "v2-crc")]


class Backend(http.server.ThreadingHTTPServer):
    """Answers with what it got: the body, and whether the request came by TLS."""

    daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.send_header("x-proto", self.headers.get("x-forwarded-proto", "-"))
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class MutualTls(InteropTest):
    def setUp(self):
        self.pki = Certificates(self, self.directory())
        self.pki.issue("server", "URI:spiffe://mesh/ns/shop/sa/server,DNS:server.example")
        self.pki.issue("client", "URI:spiffe://mesh/ns/shop/sa/client")
        self.backend = Backend()
        self.addCleanup(self.backend.shutdown)
        self.sofa = self.node("sofa_server.js", port=free_port(), name="a")
        bolt_port = self.sofa.expect("port")["port"]
        self.access_log = self.pki.path("access.log")
        self.server = self.sidecar(f"""
access_log: {{path: {self.access_log}, template: "%PROTOCOL% %PEER_IDENTITY% %OUTCOME%"}}
listeners:
  - name: in
    address: 127.0.0.1:0
    protocol: auto
    protocols:
      - {{protocol: http1, cluster: web}}
      - {{protocol: bolt, cluster: rpc}}
    tls:
      certificates: [{self.pki.pair("server")}]
      client_certificate: require
      ca: {self.pki.path("ca.pem")}
      peer_names: ["spiffe://mesh/ns/shop/*"]
clusters:
  - {{name: web, endpoints: ['127.0.0.1:{self.backend.server_address[1]}']}}
  - {{name: rpc, endpoints: ['127.0.0.1:{bolt_port}']}}
""")
        self.port = self.server.ports["in"]
        self.client = self.sidecar(self.client_yaml("client", "spiffe://mesh/ns/shop/sa/server"))

    def client_yaml(self, certificate, peer):
        tls = (f"tls: {{ca: {self.pki.path('ca.pem')}, certificate: {self.pki.pair(certificate)}, "
               f"peer_names: ['{peer}']}}")
        return f"""
listeners:
  - name: out
    address: 127.0.0.1:0
    protocol: auto
    protocols:
      - {{protocol: http1, cluster: web}}
      - {{protocol: bolt, cluster: rpc}}
clusters:
  - {{name: web, endpoints: ['127.0.0.1:{self.port}'], {tls}}}
  - {{name: rpc, endpoints: ['127.0.0.1:{self.port}'], {tls}}}
"""

    def curl(self, *args, check=True):
        return self.run_tool("curl", "-sS", "--max-time", "20", *args, check=check).stdout

    def load(self, calls):
        return self.node("sofa_load.js", port=self.client.ports["out"], connections=6, calls=calls, depth=8,
                         kinds=PROTO_KINDS)

    def test_http_and_bolt_on_the_same_ports(self):
        web = f"http://127.0.0.1:{self.client.ports['out']}/"
        answer = self.curl("-D", "-", "--data-binary", "hello", web, web)
        self.assertEqual(answer.count(b"hello"), 2)
        self.assertIn(b"x-proto: http\r\n", answer)  # what the first sidecar saw, kept by the second
        big = self.pki.path("big")
        with open(big, "wb") as f:
            f.write(os.urandom(3_000_000))
        echoed = self.curl("--data-binary", f"@{big}", web)
        with open(big, "rb") as f:
            self.assertTrue(echoed == f.read())
        done = self.load(2000).expect("done", seconds=100)["done"]
        self.assertEqual((done["calls"], done["wrong"], done["errors"]), (12000, 0, {}))
        for sidecar in (self.client, self.server):
            self.assertEqual(sidecar.metric("dragoman_tls_failures_total"), 0)
            self.assertEqual(sidecar.metric("dragoman_detect_connections_total", protocol="unknown"), 0)
        self.assertGreater(self.server.metric("dragoman_detect_connections_total", protocol="bolt"), 0)
        # Bolt's connections are shared: as many handshakes as connections, not as requests.
        self.assertLessEqual(self.client.metric("dragoman_tls_handshakes_total", name="rpc"), 8)
        with open(self.access_log, encoding="utf-8") as f:
            lines = f.read().splitlines()
        self.assertEqual(set(lines), {f"{p} spiffe://mesh/ns/shop/sa/client ok" for p in ("http1", "bolt")})

    def test_rotation_under_load_fails_no_call(self):
        load = self.load(6000)
        load.expect("started")
        for i in range(3):
            self.pki.issue("server", "URI:spiffe://mesh/ns/shop/sa/server", f"server-{i}")
            self.pki.issue("client", "URI:spiffe://mesh/ns/shop/sa/client", f"client-{i}")
            for sidecar, least in ((self.server, i + 1), (self.client, 2 * (i + 1))):
                wait_for("the new certificates",
                         lambda s=sidecar, n=least: s.metric("dragoman_tls_reloads_total", result="success") >= n)
            own = ("-cert", self.pki.path("client.pem"), "-key", self.pki.path("client.key"))
            # A pair may load once with the old half; what counts is that the new one is served in the end.
            wait_for("the new certificate", lambda: f"CN = server-{i}" in self.s_client(*own))
            self.assertEqual(self.curl("--data-binary", "x", f"http://127.0.0.1:{self.client.ports['out']}/"), b"x")
        done = load.expect("done", seconds=100)["done"]
        self.assertEqual((done["wrong"], done["errors"]), (0, {}))

    def test_strangers_are_refused_with_a_reason(self):
        self.pki.issue("stranger", "URI:spiffe://mesh/ns/other/sa/x")
        stranger = self.sidecar(self.client_yaml("stranger", "spiffe://mesh/ns/shop/sa/server"))
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        self.assertEqual(self.curl(*code, f"http://127.0.0.1:{stranger.ports['out']}/"), b"503")
        self.assertEqual(self.server.metric("dragoman_tls_failures_total", reason="tls_peer_name"), 1)
        self.assertEqual(stranger.metric("dragoman_tls_failures_total", reason="tls_peer_alert"), 1)
        # And the other way round: a server that is not who the client wants.
        picky = self.sidecar(self.client_yaml("client", "spiffe://mesh/ns/shop/sa/another"))
        self.assertEqual(self.curl(*code, f"http://127.0.0.1:{picky.ports['out']}/"), b"503")
        self.assertEqual(picky.metric("dragoman_tls_failures_total", reason="tls_peer_name"), 1)
        self.assertEqual(self.server.metric("dragoman_tls_failures_total", reason="tls_peer_alert"), 1)

    def test_curl_with_a_certificate_of_its_own(self):
        own = ("--cacert", self.pki.path("ca.pem"), "--cert", self.pki.path("client.pem"), "--key",
               self.pki.path("client.key"), "--resolve", f"server.example:{self.port}:127.0.0.1")
        answer = self.curl(*own, "-D", "-", "--data-binary", "hi", f"https://server.example:{self.port}/")
        self.assertIn(b"x-proto: https\r\n", answer)
        self.assertTrue(answer.endswith(b"hi"))
        self.assertEqual(self.run_tool("curl", "-sS", *own[:2], *own[6:], f"https://server.example:{self.port}/",
                                       check=False).returncode, 56)  # no certificate: told after the handshake

    def test_alpn_and_first_bytes_choose_the_version_of_http(self):
        both = self.sidecar(f"""
listeners:
  - name: in
    address: 127.0.0.1:0
    protocol: auto
    protocols:
      - {{protocol: http2, cluster: web}}
      - {{protocol: http1, cluster: web}}
    tls: {{mode: permissive, certificates: [{self.pki.pair("server")}]}}
clusters:
  - {{name: web, protocol: http1, endpoints: ['127.0.0.1:{self.backend.server_address[1]}']}}
""")
        port = both.ports["in"]
        trust = ("--cacert", self.pki.path("ca.pem"), "--resolve", f"server.example:{port}:127.0.0.1", "-o", "/dev/null", "-w",
                 "%{http_version} %{http_code}")
        sealed, plain = f"https://server.example:{port}/", f"http://127.0.0.1:{port}/"
        self.assertEqual(self.curl(*trust, "--http2", sealed), b"2 200")
        self.assertEqual(self.curl(*trust, "--http1.1", sealed), b"1.1 200")
        self.assertEqual(self.curl(*trust, "--no-alpn", sealed), b"1.1 200")
        self.assertEqual(self.curl(*trust, "--http2-prior-knowledge", plain), b"2 200")
        self.assertEqual(self.curl(*trust, "--http1.1", plain), b"1.1 200")
        for protocol, times in (("http2", 2), ("http1", 3)):
            self.assertEqual(both.metric("dragoman_detect_connections_total", protocol=protocol), times)

    def s_client(self, *args, said=""):
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-CAfile",
                               self.pki.path("ca.pem"), *args], input=said.encode(), capture_output=True, timeout=30,
                              check=False)
        return (done.stdout + done.stderr).decode(errors="replace")

    def test_openssl_s_client(self):
        own = ("-cert", self.pki.path("client.pem"), "-key", self.pki.path("client.key"))
        request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"

        text = self.s_client(*own, "-alpn", "http/1.1", "-ign_eof", said=request)
        self.assertIn("ALPN protocol: http/1.1", text)
        self.assertIn("Verify return code: 0 (ok)", text)
        self.assertIn("HTTP/1.1 200 OK", text)

        self.assertIn("Protocol  : TLSv1.2", self.s_client(*own, "-tls1_2", "-ign_eof", said=request))
        self.assertRegex(self.s_client(*own, "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"), "alert protocol version")
        self.assertRegex(self.s_client(*own, "-alpn", "nope"), "alert no application protocol")
        self.assertRegex(self.s_client("-tls1_2"), "alert handshake failure")  # no certificate
        for reason in ("tls_version", "tls_alpn", "tls_no_peer_certificate"):
            self.assertEqual(self.server.metric("dragoman_tls_failures_total", reason=reason), 1, reason)

        session = self.pki.path("session")
        for version in ("-tls1_2", "-tls1_3"):
            self.assertIn("New, ", self.s_client(*own, version, "-sess_out", session, "-ign_eof", said=request))
            self.assertIn("Reused, ", self.s_client(*own, version, "-sess_in", session, "-ign_eof", said=request))
        self.assertEqual(self.server.metric("dragoman_tls_resumptions_total", name="in"), 2)

        renegotiated = self.s_client(*own, "-tls1_2", said="R\n")
        self.assertTrue(re.search("RENEGOTIATING", renegotiated), renegotiated)
        wait_for("the refusal", lambda: self.server.metric("dragoman_tls_failures_total", reason="tls_renegotiation") == 1)


if __name__ == "__main__":
    main()
