#!/usr/bin/env python3
"""nginx as the backend: static files for curl, and load from wrk."""
import hashlib
import os
import re

from certificates import Certificates
from harness import InteropTest, free_port, http, main, wait_for


class Nginx(InteropTest):
    def setUp(self):
        self.dir = self.directory()
        self.files = {}
        os.makedirs(os.path.join(self.dir, "www", "folder"))
        for name, size in (("empty.txt", 0), ("small.txt", 1000), ("large.bin", 20_000_000), ("folder/index.html", 300)):
            data = (hashlib.sha256(name.encode()).digest() * (size // 32 + 1))[:size]
            self.files[name] = data
            with open(os.path.join(self.dir, "www", name), "wb") as f:
                f.write(data)

    def nginx(self, extra=""):
        """Starts nginx in the foreground; `extra` goes into its server block. Returns its port."""
        port = free_port()
        path = os.path.join(self.dir, "nginx.conf")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"""
daemon off;
master_process off;
pid {self.dir}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  types {{ text/html html; text/plain txt; }}
  client_body_temp_path {self.dir}/body;
  proxy_temp_path {self.dir}/proxy;
  fastcgi_temp_path {self.dir}/fastcgi;
  uwsgi_temp_path {self.dir}/uwsgi;
  scgi_temp_path {self.dir}/scgi;
  sendfile on;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {self.dir}/www;
    client_max_body_size 1m;
    location /text {{ return 200 "hello\\n"; }}
    location /moved {{ return 301 /small.txt; }}
    location /vary {{ gzip on; gzip_min_length 1; gzip_types text/plain; alias {self.dir}/www/small.txt; default_type text/plain; }}
    {extra}
  }}
}}
""")
        # Only as root does it try to change its user, which "off" keeps it from.
        self.peer("nginx", "-p", self.dir, "-c", path)
        wait_for("nginx answers", lambda: self.answers(port))
        return port

    @staticmethod
    def answers(port):
        try:
            return http(f"http://127.0.0.1:{port}/text")[0] == 200
        except OSError:
            return False

    def curl(self, *args):
        return self.run_tool("curl", "-sS", "--max-time", "30", *args).stdout

    def test_static_files(self):
        client_side, _ = self.pair("http1", self.nginx())
        url = f"http://127.0.0.1:{client_side.ports['in']}"
        for name, data in self.files.items():
            self.assertTrue(self.curl(f"{url}/{name}") == data, name)
        head = self.curl("-I", url + "/large.bin").decode().lower()
        self.assertIn("\r\ncontent-length: 20000000\r\n", head)
        self.assertIn("\r\naccept-ranges: bytes\r\n", head)
        etag = re.search(r"\r\netag: (\S+)\r\n", head).group(1)
        large = self.files["large.bin"]
        for asked, wanted in (("0-99", large[:100]), ("5000000-14999999", large[5000000:15000000]), ("-7", large[-7:])):
            head, _, body = self.curl("-i", "-r", asked, url + "/large.bin").partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 206 "), head)
            self.assertTrue(body == wanted, asked)
        parts = self.curl("-i", "-r", "0-9,20-29", url + "/large.bin")
        self.assertIn(b"multipart/byteranges", parts)
        self.assertTrue(large[20:30] in parts)
        status = lambda *args: self.curl("-o", "/dev/null", "-w", "%{http_code}", *args)
        self.assertEqual(status("-r", "30000000-", url + "/large.bin"), b"416")
        self.assertEqual(status("-H", f"If-None-Match: {etag}", url + "/large.bin"), b"304")
        self.assertEqual(status("-H", "If-None-Match: \"other\"", "-I", url + "/large.bin"), b"200")
        self.assertEqual(status("-T", os.path.join(self.dir, "www", "small.txt"), url + "/small.txt"), b"405")
        self.assertEqual(status("-T", os.path.join(self.dir, "www", "large.bin"), "-X", "POST", url + "/text"), b"413")
        self.assertEqual(status(url + "/none"), b"404")
        # nginx builds the address of a folder from the request's host: ours must have come through.
        moved = self.curl("-i", url + "/folder").decode().lower()
        self.assertTrue(moved.startswith("http/1.1 301 "), moved)
        self.assertEqual(self.curl("-L", url + "/moved"), self.files["small.txt"])
        self.assertEqual(self.curl("--compressed", url + "/vary"), self.files["small.txt"])
        self.assertEqual(self.curl(url + "/vary"), self.files["small.txt"])

    def test_connections_between_sidecar_and_nginx_are_kept(self):
        client_side, server_side = self.pair("http1", self.nginx())
        url = f"http://127.0.0.1:{client_side.ports['in']}"
        self.curl("--fail", f"{url}/small.txt?n=[1-200]", "-o", "/dev/null")
        self.assertLessEqual(server_side.metric("dragoman_cluster_connections_total", cluster="out"), 2)
        self.assertGreaterEqual(server_side.metric("dragoman_cluster_pool_reuses_total", cluster="out"), 198)

    def test_nginx_on_a_unix_socket(self):
        path = os.path.join(self.dir, "nginx.sock")
        self.nginx(f"listen unix:{path};")
        front = os.path.join(self.dir, "front.sock")
        sidecar = self.sidecar(f"""
listeners:
  - {{name: in, address: '127.0.0.1:0', protocol: http1, cluster: out}}
  - {{name: local, address: 'unix:{front}', socket_mode: '0600', protocol: http1, cluster: out}}
clusters: [{{name: out, endpoints: ['unix:{path}'], health_check: {{type: http, path: /text}}}}]
""")
        url = f"http://127.0.0.1:{sidecar.ports['in']}"
        self.assertTrue(self.curl(f"{url}/large.bin") == self.files["large.bin"])
        self.assertTrue(self.curl("--unix-socket", front, "http://nginx/large.bin") == self.files["large.bin"])

    def test_nginx_is_told_the_client(self):
        port = free_port()
        self.nginx(f"listen 127.0.0.1:{port} proxy_protocol; location /client {{ return 200 $proxy_protocol_addr:$proxy_protocol_port; }}")
        listeners, clusters = "", ""
        for version in ("v1", "v2"):
            clusters += f"  - {{name: {version}, proxy_protocol: {version}, endpoints: ['127.0.0.1:{port}'], health_check: {{}}}}\n"
            listeners += f"  - {{name: {version}, address: '127.0.0.1:0', protocol: tcp, cluster: {version}}}\n"
            listeners += f"  - {{name: behind-{version}, address: '127.0.0.1:0', proxy_protocol: {{}}, protocol: tcp, cluster: {version}}}\n"
        sidecar = self.sidecar(f"listeners:\n{listeners}clusters:\n{clusters}")
        for version in ("v1", "v2"):
            said = self.curl("-w", " %{local_ip}:%{local_port}", f"http://127.0.0.1:{sidecar.ports[version]}/client").decode()
            self.assertEqual(*said.split(" "))
            # curl speaks it itself, as a load balancer would.
            said = self.curl("--haproxy-protocol", "-w", " %{local_ip}:%{local_port}",
                             f"http://127.0.0.1:{sidecar.ports['behind-' + version]}/client").decode()
            self.assertEqual(*said.split(" "))

    def test_proxy_headers_come_before_tls(self):
        pki = Certificates(self, self.dir)
        pki.issue("server", "DNS:localhost,IP:127.0.0.1")
        ca, port = pki.path("ca.pem"), free_port()
        self.nginx(f"listen 127.0.0.1:{port} ssl proxy_protocol; ssl_certificate {pki.path('server.pem')}; "
                   f"ssl_certificate_key {pki.path('server.key')}; location /client {{ return 200 $scheme:$proxy_protocol_addr; }} ")
        tls = f"tls: {{certificates: [{pki.pair('server')}]}}"
        sidecar = self.sidecar(f"""
listeners:
  - {{name: opened, address: '127.0.0.1:0', proxy_protocol: {{}}, {tls}, protocol: http, routes: said}}
  - {{name: passed, address: '127.0.0.1:0', proxy_protocol: {{}}, protocol: auto,
      protocols: [{{protocol: tls, cluster: plain}}, {{protocol: http1, cluster: sealed-http}}]}}
  - {{name: sealed, address: '127.0.0.1:0', protocol: tcp, cluster: sealed}}
routes: [{{name: said, routes: [{{match: {{prefix: /}}, direct_response: {{body: hello}}}}]}}]
clusters:
  - {{name: plain, proxy_protocol: v2, endpoints: ['127.0.0.1:{port}']}}
  - {{name: sealed, proxy_protocol: v1, endpoints: ['127.0.0.1:{port}'], tls: {{ca: {ca}}}}}
  - {{name: sealed-http, endpoints: ['127.0.0.1:9']}}
""")
        for version in ("--http1.1", "--http2"):
            self.assertEqual(self.curl(version, "--cacert", ca, "--haproxy-protocol",
                                       f"https://localhost:{sidecar.ports['opened']}/"), b"hello")
        self.assertEqual(self.curl("--cacert", ca, "--haproxy-protocol", f"https://localhost:{sidecar.ports['passed']}/client"),
                         b"https:127.0.0.1")
        self.assertEqual(self.curl(f"http://127.0.0.1:{sidecar.ports['sealed']}/client"), b"https:127.0.0.1")
        self.assertEqual(sidecar.metric("dragoman_listener_protocol_errors_total"), 0)

    def load(self, url, *args):
        """Load from wrk; every request must be answered well. Returns how many were."""
        output = self.run_tool("wrk", "-t", "1", *args, url).stdout.decode()
        self.assertNotIn("Socket errors", output)
        self.assertNotIn("Non-2xx", output)
        return int(re.search(r"(\d+) requests in", output).group(1))

    def test_wrk_for_five_seconds(self):
        client_side, server_side = self.pair("http1", self.nginx())
        url = f"http://127.0.0.1:{client_side.ports['in']}"
        requests = self.load(url + "/small.txt", "-c", "50", "-d", "5")
        self.assertGreater(requests, 1000)
        # wrk drops what is under way at its end.
        answered = client_side.metric("dragoman_requests_total", listener="in", outcome="ok")
        self.assertLessEqual(abs(answered - requests), 50)
        for sidecar in (client_side, server_side):
            total = sidecar.metric("dragoman_requests_total")  # before the others: the last ones may still end meanwhile
            ended = sum(sidecar.metric("dragoman_requests_total", outcome=o) for o in ("ok", "reset"))
            self.assertLessEqual(abs(ended - total), 50)
        lint = self.run_tool("promtool", "check", "metrics", input=client_side.admin("/metrics")[1], check=False)
        self.assertEqual(lint.returncode, 0, lint.stderr)

    def test_wrk_while_nginx_closes_connections(self):
        """nginx ends every connection after a few requests, or soon when it is idle: requests race with its close."""
        port = self.nginx("keepalive_requests 7; keepalive_timeout 10ms;")
        client_side, server_side = self.pair("http1", port)
        url = f"http://127.0.0.1:{client_side.ports['in']}"
        requests = self.load(url + "/text", "-c", "20", "-d", "3")
        self.assertGreater(requests, 500)
        self.assertGreaterEqual(server_side.metric("dragoman_cluster_connections_total", cluster="out"), requests / 7 - 20)

    def test_wrk_with_short_connections(self):
        client_side, _ = self.pair("http1", self.nginx())
        requests = self.load(f"http://127.0.0.1:{client_side.ports['in']}/text", "-c", "20", "-d", "3", "-H", "Connection: close")
        self.assertGreater(requests, 500)


if __name__ == "__main__":
    main()
