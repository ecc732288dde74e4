#!/usr/bin/env python3
"""Tars: client and server of @tars/rpc."""
from harness import InteropTest, free_port, main, wait_for


class Tars(InteropTest):
    def setUp(self):
        self.start_server(free_port())
        self.caller = self.node("tars_client.js")
        self.caller.expect("ready")

    def start_server(self, port):
        self.server = self.node("tars_server.js", port=port)
        self.port = self.server.expect("port")["port"]

    def call(self, port, name, *arguments, **more):
        answer = self.caller.ask("call", port=port, name=name, arguments=arguments, **more)
        self.assertNotIn("error", answer)
        return answer["value"]

    def test_a_call_through_sidecars_is_a_call_without_them(self):
        client_side, _ = self.pair("tars", self.port)
        calls = (("echo", "hällo"), ("echo", ""), ("echo", "x" * 1_000_000), ("add", 2, 70_000), ("add", -1, 1), ("fail", -9),
                 ("fail", 7), ("fail", -99), ("nosuch",))
        for name, *arguments in calls:
            direct, through = (self.call(port, name, *arguments) for port in (self.port, client_side.ports["in"]))
            self.assertEqual(through, direct, (name, arguments[:1]))
            self.assertEqual("code" in direct, name in ("fail", "nosuch"), direct)
        self.assertEqual(self.call(client_side.ports["in"], "context", context={"mark": "ä"})["text"], "ä")

    def test_many_calls_share_few_connections(self):
        client_side, server_side = self.pair("tars", self.port)
        done = self.caller.ask("load", port=client_side.ports["in"], calls=5000, depth=64)["value"]
        self.assertEqual(done, {"calls": 5000, "wrong": 0, "errors": {}})
        for sidecar in (client_side, server_side):
            self.assertEqual(sidecar.metric("dragoman_cluster_requests_total", cluster="out", outcome="ok"), 5000)
            self.assertLessEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), 2)

    def test_one_way_calls(self):
        client_side, server_side = self.pair("tars", self.port)
        port = client_side.ports["in"]
        for _ in range(20):
            # What the library tells its caller at once, whatever becomes of the call.
            self.assertEqual(self.call(port, "note", "a", one_way=True), {"message": "one way call do not need response"})
        wait_for("all of them to arrive", lambda: self.call(port, "noted")["number"] == 20)
        for sidecar in (client_side, server_side):
            wait_for("what was opened to end", lambda s=sidecar: s.metric("dragoman_cluster_requests_active", cluster="out") == 0)
            self.assertEqual(sidecar.metric("dragoman_listener_codec_events_total", event="one_way_answered"), 0)

    def test_heartbeats_of_both_sides(self):
        client_side, server_side = self.pair("tars", self.port, server_cluster="pool: {heartbeat_interval: 100ms}")
        port = client_side.ports["in"]
        self.assertEqual(self.call(port, "echo", "a")["text"], "a")
        before = client_side.metric("dragoman_cluster_requests_total", cluster="out")
        self.assertEqual(self.call(port, "tars_ping"), {"number": 0, "text": ""})
        self.assertEqual(client_side.metric("dragoman_listener_codec_events_total", event="heartbeat_answered"), 1)
        self.assertEqual(client_side.metric("dragoman_cluster_requests_total", cluster="out"), before)
        wait_for("heartbeats answered by the server", lambda: server_side.metric(
            "dragoman_cluster_codec_events_total", cluster="out", event="heartbeat_ack") >= 3)
        self.assertGreaterEqual(self.call(self.port, "pinged")["number"], 3)

    def test_what_the_sidecar_answers_is_the_right_error(self):
        sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: tars, routes: table}}]
routes:
  - name: table
    routes:
      - {{match: {{service: Test.Echo.EchoObj, method: slow}}, timeout: 200ms, cluster: out}}
      - {{match: {{service: Test.Echo.EchoObj}}, cluster: out}}
      - {{match: {{service: Test.Away.Obj}}, cluster: away}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.port}']}}
  - {{name: away, endpoints: ['127.0.0.1:{free_port()}'], connect_timeout: 500ms}}
""")
        port = sidecar.ports["in"]
        self.assertEqual(self.call(port, "echo", "a")["text"], "a")
        self.assertEqual(self.call(port, "slow", 10)["text"], "late")
        self.assertEqual(self.call(port, "slow", 3000)["code"], -7, "timeout")
        self.assertEqual(self.call(port, "echo", "a", servant="Test.Other.Obj")["code"], -4, "no such servant")
        self.assertIn(self.call(port, "echo", "a", servant="Test.Away.Obj")["code"], (-8, -10), "nobody there")
        self.assertEqual(self.call(port, "echo", "after")["text"], "after")

    def test_the_server_restarts(self):
        client_side, _ = self.pair("tars", self.port)
        port = client_side.ports["in"]
        self.assertEqual(self.call(port, "echo", "a")["text"], "a")
        waits = self.caller.send("call", port=port, name="slow", arguments=[30_000])
        wait_for("the call to be there", lambda: client_side.metric("dragoman_cluster_requests_active", cluster="out") == 1)
        self.server.kill()
        self.assertEqual(self.caller.answer(waits)["value"]["code"], -8, "cut off")
        self.start_server(self.port)
        wait_for("calls work again", lambda: self.call(port, "echo", "b").get("text") == "b")


if __name__ == "__main__":
    main()
