#!/usr/bin/env python3
"""Envoy as the other sidecar of a pair, in both places: before dragoman and behind it."""
import base64
import hashlib
import http.client
import json
import os

import envoy
import thrift_test
from certificates import Certificates
from envoy import Envoy
from harness import HERE, InteropTest, free_port, http as fetch, main, wait_for

ORDERS = ("envoy first", "dragoman first")
# Between the two sidecars: what Envoy and dragoman speak there, and whether with certificates.
LINKS = (("http1", "http1", False), ("http1", "http1", True), ("http2", "http2", False), ("http2", "http2", True), ("alpn", "http", True))


class Chain(InteropTest):
    def keys(self):
        """Certificates that know each other: Envoy's common part of a context, and dragoman's blocks of a cluster and a listener."""
        pki = Certificates(self, self.directory())
        pki.issue("server", "URI:spiffe://mesh/server,DNS:server.example")
        pki.issue("client", "URI:spiffe://mesh/client")
        ca = pki.path("ca.pem")
        files = lambda name: envoy.tls_files(pki.path(name + ".pem"), pki.path(name + ".key"), ca)  # noqa: E731
        return {"envoy client": files("client"), "envoy server": files("server"),
                "cluster": f", tls: {{ca: {ca}, certificate: {pki.pair('client')}, peer_names: ['spiffe://mesh/server']}}",
                "listener": f", tls: {{certificates: [{pki.pair('server')}], client_certificate: require, ca: {ca}}}"}

    def dragoman(self, listener, upstream, port, listener_more="", cluster_more=""):
        upstream = f"protocol: {upstream}, " if upstream else ""
        return self.sidecar(
            "listeners:\n"
            f"  - {{name: in, address: '127.0.0.1:0', protocol: {listener}, cluster: out, idle_timeout: 1h{listener_more}}}\n"
            f"clusters:\n  - {{name: out, {upstream}endpoints: ['127.0.0.1:{port}']{cluster_more}}}\n")

    def through(self, order, link, port, server="http1"):
        """client -> the first sidecar -> `link` -> the second -> the server on `port`, which speaks `server`. Returns the port for the
        client and both sidecars."""
        theirs, ours, tls = link
        keys = self.keys() if tls else {"envoy client": None, "envoy server": None, "cluster": "", "listener": ""}
        if order == "envoy first":
            mine = self.dragoman(ours, server, port, listener_more=keys["listener"])
            other = Envoy(self, envoy.http_manager(), envoy.cluster(mine.ports["in"], theirs, keys["envoy client"]))
            return other.port, mine, other
        other = Envoy(self, envoy.http_manager(), envoy.cluster(port, server), keys["envoy server"])
        mine = self.dragoman("http", "http2" if ours == "http" else ours, other.port, cluster_more=keys["cluster"])
        return mine.ports["in"], mine, other


class Http(Chain):
    def exchange(self, client, method, path, body=None, **headers):
        client.request(method, path, body, headers)
        answer = client.getresponse()
        return answer.status, answer.read(), answer

    def test_http_over_every_link(self):
        server = self.node("http_server.js")
        port = server.expect("port")["port"]
        for order in ORDERS:
            for link in LINKS:
                with self.subTest(order=order, link=link):
                    self.http(order, link, port)

    def http(self, order, link, port):
        way, mine, other = self.through(order, link, port)
        client = http.client.HTTPConnection("127.0.0.1", way, timeout=30)
        self.addCleanup(client.close)
        seen = json.loads(self.exchange(client, "GET", "/describe?a=b%2Fc", cookie="a=1; b=2", **{"x-mine": "1"})[1])
        self.assertEqual((seen["method"], seen["url"]), ("GET", "/describe?a=b%2Fc"))
        self.assertEqual((seen["headers"]["cookie"], seen["headers"]["x-mine"]), ("a=1; b=2", "1"))
        self.assertEqual(self.exchange(client, "POST", "/echo", b"some text")[1], b"some text")
        big = bytes(range(256)) * 8000
        self.assertEqual(self.exchange(client, "PUT", "/echo", big)[1], big)
        self.assertEqual(self.exchange(client, "POST", "/echo", iter([b"in ", b"pieces"]))[1], b"in pieces")  # chunked
        for page in ("big", "chunked"):
            self.assertEqual(len(self.exchange(client, "GET", f"/{page}/3000000")[1]), 3000000)
        status, body, answer = self.exchange(client, "HEAD", "/big/1000")
        self.assertEqual((status, body, answer.getheader("content-length")), (200, b"", "1000"))
        for status in (204, 304, 404, 503):
            self.assertEqual(self.exchange(client, "GET", f"/status/{status}")[0], status)
        cookies = self.exchange(client, "GET", "/cookies")[2]
        self.assertEqual(cookies.headers.get_all("set-cookie"), ["a=1; Path=/", "b=2"])
        done = self.run_tool("curl", "-sS", "--http2-prior-knowledge", "-H", "expect: 100-continue", "--data-binary", "@-",
                             f"http://127.0.0.1:{way}/echo", input=big)
        self.assertEqual(done.stdout, big)
        many = self.run_tool("h2load", "-n", 500, "-c", 5, "-m", 10, f"http://127.0.0.1:{way}/describe").stdout.decode()
        self.assertIn("500 succeeded, 0 failed", many)
        if order == "envoy first":
            wanted = "http1" if link[0] == "http1" else "http2"
            self.assertGreaterEqual(other.stat(f"cluster.out.upstream_cx_{wanted}_total"), 1)
        # Neither says that the other did anything wrong.
        self.assertEqual(mine.metric("dragoman_listener_protocol_errors_total"), 0)
        self.assertEqual(other.stat("http.in.downstream_cx_protocol_error") + other.stat("cluster.out.upstream_cx_protocol_error"), 0)
        wait_for("the end of all requests", lambda: mine.metric("dragoman_requests_active") == 0)


class Grpc(Chain):
    def peer_of(self, script, **config):
        return self.peer("/usr/bin/python3", os.path.join(HERE, "peers", script), json.dumps(config))

    def test_grpc_by_certificates(self):
        for order in ORDERS:
            with self.subTest(order=order):
                server = self.peer_of("grpc_server.py")
                way, mine, _ = self.through(order, LINKS[3], server.expect("port")["port"], "http2")
                client = self.peer_of("grpc_client.py", port=way, run="kinds")
                unary = client.expect("call", "unary")
                self.assertTrue(unary["same"] and unary["binary"] and 0 < unary["left"] <= 30.1, unary)
                self.assertTrue(client.expect("call", "big")["same"])
                self.assertEqual(client.expect("call", "server_stream")["got"], ["0", "1", "2", "3", "4"])
                self.assertEqual(client.expect("call", "client_stream")["got"], "a,b,c")
                self.assertEqual(client.expect("call", "chat")["got"], ["re: 0", "re: 1", "re: 2"])
                client.wait()
                client = self.peer_of("grpc_client.py", port=way, run="errors")
                failed = client.expect("call", "fail")
                self.assertEqual((failed["code"], failed["details"]), ("NOT_FOUND", "50% schön"))
                self.assertEqual(client.expect("call", "unimplemented")["code"], "UNIMPLEMENTED")
                for call in ("deadline", "drip"):
                    self.assertEqual(client.expect("call", call)["code"], "DEADLINE_EXCEEDED")
                self.assertEqual(client.expect("call", "cancel")["code"], "CANCELLED")
                server.expect("cancelled")
                client.wait()
                wait_for("the end of all calls", lambda m=mine: m.metric("dragoman_requests_active") == 0)


class WebSocket(Chain):
    def test_websockets_over_every_link(self):
        server = self.node("ws_server.js")
        port = server.expect("port")["port"]
        client = self.node("ws_client.js")
        client.expect("ready")
        for order in ORDERS:
            for link in LINKS:
                with self.subTest(order=order, link=link):
                    self.talk(client, server, order, link, port)

    def talk(self, client, server, order, link, port):
        way, mine, _ = self.through(order, link, port)

        def ask(operation, **command):
            answer = client.ask(operation, port=way, **command)
            self.assertNotIn("error", answer)
            return answer

        for deflate in (False, True):
            sizes = [0, 125, 126, 65535, 65536, 1 << 20]
            self.assertEqual(ask("echo", sizes=sizes, deflate=deflate)["code"], 1000)
        closed = ask("talk", send=["a"], protocols=["one", "two"], code=4321, reason="mine")
        self.assertEqual((closed["messages"], closed["code"], closed["protocol"]), (["a"], 4321, "two"))
        self.assertEqual(server.expect("closed", 4321)["reason"], "mine")
        self.assertEqual(ask("talk", send=["a", "drop"])["code"], 1006)
        self.assertEqual(ask("many", connections=50, messages=5, size=20000)["codes"], [1000])
        refused = client.ask("talk", port=way, path="/refuse")
        self.assertEqual(refused["error"], "Unexpected server response: 401")
        self.assertEqual(fetch(f"http://127.0.0.1:{way}/x"), (200, b"plain /x\n"))
        wait_for("no connection is left", lambda: mine.metric("dragoman_cluster_requests_active", cluster="out") == 0)

    def test_a_client_of_http2(self):
        server = self.node("ws_server.js")
        port = server.expect("port")["port"]
        key = base64.b64encode(bytes(range(16))).decode()
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        for order in ORDERS:
            for link in (LINKS[0], LINKS[3]):
                for given in (key, None):
                    # Without a key Envoy would ask for an upgrade over HTTP/1 that no server takes.
                    if given or (order, link) != (ORDERS[0], LINKS[0]):
                        with self.subTest(order=order, link=link, key=given):
                            self.talk_http2(order, link, port, given, accept)

    def talk_http2(self, order, link, port, key, accept):
        way, _, _ = self.through(order, link, port)
        client = self.peer("/usr/bin/python3", os.path.join(HERE, "peers", "h2_websocket.py"),
                           json.dumps({"port": way, "path": "/echo", "texts": ["hello", "x" * 1000], "key": key}))
        opened = client.expect("opened")["opened"]
        self.assertEqual((opened[":status"], opened.get("sec-websocket-protocol")), ("200", "two"))
        if key:
            self.assertEqual(opened.get("sec-websocket-accept"), accept)
        for text in ("hello", "x" * 1000):
            client.expect("echo", text)
        self.assertEqual(client.expect("closed")["closed"], 1000)


class Thrift(Chain):
    setUp, start, server, client, call = (getattr(thrift_test.Thrift, name) for name in ("setUp", "start", "server", "client", "call"))

    def chain(self, order, transport, protocol, port):
        proxy = envoy.thrift_proxy({"framed": "FRAMED", "buffered": "UNFRAMED", "header": "HEADER"}[transport],
                                   {"binary": "BINARY", "compact": "COMPACT"}[protocol])
        if order == "envoy first":
            mine = self.dragoman("thrift", None, port)
            return Envoy(self, proxy, envoy.cluster(mine.ports["in"])).port
        return self.dragoman("thrift", None, Envoy(self, proxy, envoy.cluster(port)).port).ports["in"]

    def test_thrift_proxy(self):
        for order in ORDERS:
            for transport, protocol in thrift_test.PYTHON:
                with self.subTest(order=order, transport=transport, protocol=protocol):
                    port = self.server("python", transport, protocol)
                    way = self.chain(order, transport, protocol, port)
                    direct = self.client("python", transport, protocol, port)
                    caller = self.client("python", transport, protocol, way)
                    for method, text in thrift_test.CALLS:
                        self.assertEqual(self.call(caller, method, text), self.call(direct, method, text), method)
                    self.call(caller, "note", "a note")
                    wait_for("the note", lambda d=direct: self.call(d, "noted").get("value") == ["a note"])
                    self.assertEqual(caller.ask("load", calls=300)["value"], {"calls": 300, "wrong": 0})


class Dubbo(Chain):
    def test_dubbo_proxy(self):
        server = self.node("dubbo_server.js", port=free_port())
        port = server.expect("port")["port"]
        caller = self.node("dubbo_client.js")
        caller.expect("ready")
        proxy = envoy.dubbo_proxy("dragoman.interop.HelloService")
        for order in ORDERS:
            with self.subTest(order=order):
                if order == "envoy first":
                    mine = self.dragoman("dubbo", None, port)
                    way = Envoy(self, proxy, envoy.cluster(mine.ports["in"])).port
                else:
                    mine = self.dragoman("dubbo", None, Envoy(self, proxy, envoy.cluster(port)).port)
                    way = mine.ports["in"]
                for client in ("apache", "remoting"):
                    for method, text in (("echo", "hällo"), ("echo", "x" * 100000), ("boom", None)):
                        call = {"client": client, "method": method, **({"text": text} if text else {})}
                        direct, meshed = (caller.ask("invoke", port=p, **call) for p in (port, way))
                        for answer in (direct, meshed):
                            del answer["answer"]
                        self.assertEqual(meshed, direct, (client, method))
                    done = caller.ask("load", client=client, port=way, calls=500, depth=16)["value"]
                    self.assertEqual(done, {"calls": 500, "wrong": 0, "errors": {}})
                wait_for("the end of all calls", lambda m=mine: m.metric("dragoman_requests_active") == 0)


def setUpModule():
    envoy.program()


if __name__ == "__main__":
    main()
