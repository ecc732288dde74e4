#!/usr/bin/env python3
"""A WebSocket client and server (npm ws), HTTP/1 all the way and with HTTP/2 between the sidecars; a client over HTTP/2
(python3-h2)."""
import json
import os

from harness import HERE, InteropTest, http, main, one_way, wait_for


class Base(InteropTest):
    def start(self, client_side, server_side):
        self.client_side, self.server_side = client_side, server_side
        self.port = client_side.ports["in"]
        self.client = self.node("ws_client.js")
        self.client.expect("ready")

    def ask(self, operation, **command):
        answer = self.client.ask(operation, **{"port": self.port, **command})
        self.assertNotIn("error", answer)
        answer.pop("answer")
        return answer

    def side(self, listener, upstream, port):
        return self.sidecar(f"listeners:\n  - {{name: in, address: '127.0.0.1:0', protocol: {listener}, cluster: out}}\n"
                            f"clusters:\n  - {{name: out, protocol: {upstream}, endpoints: ['127.0.0.1:{port}']}}\n")


class WebSocketOverHttp2(Base):
    """client -> HTTP/1 -> sidecar -> HTTP/2 -> sidecar -> HTTP/1 -> server"""

    def setUp(self):
        self.server = self.node("ws_server.js")
        server_side = self.side("http2", "http1", self.server.expect("port")["port"])
        self.start(self.side("http1", "http2", server_side.ports["in"]), server_side)

    def test_messages_of_all_sizes(self):
        sizes = [0, 125, 126, 65535, 65536, 1 << 20]
        for deflate in (False, True):
            self.assertEqual(self.ask("echo", sizes=sizes, deflate=deflate), {"code": 1000, "reason": ""})

    def test_close_codes_both_ways(self):
        closed = self.ask("talk", send=["a"], code=4321, reason="mine")
        self.assertEqual((closed["messages"], closed["code"]), (["a"], 4321))
        self.assertEqual(self.server.expect("closed", 4321)["reason"], "mine")
        closed = self.ask("talk", send=["close 1011 broken"])
        self.assertEqual((closed["code"], closed["reason"]), (1011, "broken"))
        # Without a close frame it is 1006 at the other end.
        self.assertEqual(self.ask("talk", send=["a", "drop"])["code"], 1006)

    def test_the_handshake(self):
        closed = self.ask("talk", send=["a"], protocols=["one", "two"], deflate=True, code=1000)
        self.assertEqual((closed["protocol"], closed["extensions"]), ("two", "permessage-deflate"))
        refused = self.client.ask("talk", port=self.port, path="/refuse")
        self.assertEqual(refused["error"], "Unexpected server response: 401")

    def test_a_hundred_share_connections(self):
        self.assertEqual(self.ask("many", connections=100, messages=5, size=20000), {"codes": [1000]})
        # A connection takes 100 streams, and those that just ended still count.
        self.assertLessEqual(self.client_side.metric("dragoman_cluster_connections_total", cluster="out"), 2)
        wait_for("no connection is left", lambda: self.server_side.metric("dragoman_cluster_connections_active", cluster="out") == 0)
        self.assertEqual(self.server_side.metric("dragoman_cluster_connections_total", cluster="out"), 100)

    def test_a_client_that_does_not_read(self):
        before = self.client_side.memory_bytes() + self.server_side.memory_bytes()
        self.assertEqual(self.ask("push", count=500, size=100000), {"bytes": 50000000, "count": 500})
        self.assertLess(self.client_side.memory_bytes() + self.server_side.memory_bytes() - before, 16 << 20)

    def talk(self, port, path, texts):
        return self.peer("/usr/bin/python3", os.path.join(HERE, "peers", "h2_websocket.py"),
                         json.dumps({"port": port, "path": path, "texts": texts}))

    def test_a_client_of_http2(self):
        both = self.side("http2", "http2", self.server_side.ports["in"])
        for port in (self.server_side.ports["in"], both.ports["in"]):  # to HTTP/1; to HTTP/2 and then to HTTP/1
            client = self.talk(port, "/echo", ["hello", "x" * 1000])
            opened = client.expect("opened")["opened"]
            self.assertEqual((opened[":status"], opened.get("sec-websocket-protocol")), ("200", "two"))
            self.assertNotIn("sec-websocket-accept", opened)
            for text in ("hello", "x" * 1000):
                client.expect("echo", text)
            self.assertEqual(client.expect("closed")["closed"], 1000)
            self.assertEqual(self.talk(port, "/refuse", []).expect("opened")["opened"][":status"], "401")


class WebSocket(Base):
    def setUp(self):
        self.server = self.node("ws_server.js")
        self.start(*self.pair("http1", self.server.expect("port")["port"]))

    def test_messages_of_all_sizes(self):
        sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20]
        for deflate, more in ((False, [16 << 20]), (True, [])):
            self.assertEqual(self.ask("echo", sizes=sizes + more, deflate=deflate), {"code": 1000, "reason": ""})

    def test_ping_and_pong_both_ways(self):
        self.assertEqual(self.ask("ping"), {"pong": "here", "text": "pong are you there"})

    def test_close_codes_both_ways(self):
        for code, reason in ((1000, ""), (1001, "away"), (4321, "mine, ünd")):
            closed = self.ask("talk", send=["a"], code=code, reason=reason)
            self.assertEqual((closed["messages"], closed["code"]), (["a"], code))
            self.assertEqual(self.server.expect("closed", code)["reason"], reason)
        for code, reason in ((1000, "done"), (1011, "broken"), (4000, "x")):
            closed = self.ask("talk", send=[f"close {code} {reason}"])
            self.assertEqual((closed["code"], closed["reason"]), (code, reason))
        # Without a close frame it is 1006 at the other end.
        self.assertEqual(self.ask("talk", send=["a", "drop"])["code"], 1006)

    def test_the_handshake(self):
        closed = self.ask("talk", send=["headers"], protocols=["one", "two"], deflate=True, code=1000)
        self.assertEqual((closed["protocol"], closed["extensions"]), ("two", "permessage-deflate"))
        headers = closed["messages"][0]
        self.assertIn('"x-forwarded-for":"127.0.0.1, 127.0.0.1"', headers)
        refused = self.client.ask("talk", port=self.port, path="/refuse")
        self.assertEqual(refused["error"], "Unexpected server response: 401")
        # The connection was HTTP before and other connections still are.
        self.assertEqual(http(f"http://127.0.0.1:{self.port}/x"), (200, b"plain /x\n"))
        closed_listener = self.sidecar(one_way("http1", self.server_side.ports["in"]).replace(
            "cluster: out}", "cluster: out, http: {upgrade: []}}"))
        answer = self.client.ask("talk", port=closed_listener.ports["in"])
        self.assertRegex(answer.get("error", ""), "^Unexpected server response: (200|403)$")

    def test_a_hundred_at_once(self):
        self.assertEqual(self.ask("many", connections=100, messages=20, size=20000), {"codes": [1000]})
        for sidecar in (self.client_side, self.server_side):
            wait_for("no connection is left", lambda s=sidecar: s.metric("dragoman_cluster_connections_active", cluster="out") == 0)
            self.assertEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), 100)

    def test_a_client_that_does_not_read(self):
        before = self.client_side.memory_bytes()
        self.assertEqual(self.ask("push", count=1000, size=100000), {"bytes": 100000000, "count": 1000})
        self.assertLess(self.client_side.memory_bytes() - before, 16 << 20)


if __name__ == "__main__":
    main()
