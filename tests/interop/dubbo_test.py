#!/usr/bin/env python3
"""Dubbo 2: apache-dubbo-js and dubbo-remoting clients, a dubbo-remoting server."""
from harness import InteropTest, free_port, main, wait_for

CLIENTS = ("apache", "remoting")


class Dubbo(InteropTest):
    def setUp(self):
        server = self.node("dubbo_server.js", port=free_port())
        self.port = server.expect("port")["port"]
        self.caller = self.node("dubbo_client.js")
        self.caller.expect("ready")

    def invoke(self, client, port, method, text=None):
        call = {"client": client, "port": port, "method": method}
        if text is not None:
            call["text"] = text
        answer = self.caller.ask("invoke", **call)
        return {key: value for key, value in answer.items() if key != "answer"}

    def test_a_call_through_sidecars_is_a_call_without_them(self):
        client_side, _ = self.pair("dubbo", self.port)
        for client in CLIENTS:
            for method, text in (("echo", "hällo"), ("echo", "x" * 100000), ("boom", None), ("nosuch", None)):
                direct, through = (self.invoke(client, port, method, text)
                                   for port in (self.port, client_side.ports["in"]))
                self.assertEqual(through, direct, (client, method))
                self.assertEqual("value" in direct, method == "echo", direct)

    def test_many_calls_of_several_clients_share_few_connections(self):
        client_side, server_side = self.pair("dubbo", self.port)
        for client in CLIENTS:
            done = self.caller.ask("load", client=client, port=client_side.ports["in"], calls=2000, depth=32)["value"]
            self.assertEqual(done, {"calls": 2000, "wrong": 0, "errors": {}})
        for sidecar in (client_side, server_side):
            self.assertEqual(sidecar.metric("dragoman_cluster_requests_total", cluster="out", outcome="ok"), 4000)
            self.assertLessEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), 2)

    def test_heartbeats_of_both_sides(self):
        client_side, server_side = self.pair("dubbo", self.port, server_cluster="pool: {heartbeat_interval: 100ms}")
        self.assertEqual(self.invoke("apache", client_side.ports["in"], "echo", "a"), {"value": "a"})
        beat = self.caller.ask("heartbeat", port=client_side.ports["in"])
        self.assertEqual(beat["value"], "dabb2214000000000000000a000000014e")
        wait_for("heartbeats answered by the server", lambda: server_side.metric(
            "dragoman_cluster_codec_events_total", cluster="out", event="heartbeat_ack") >= 3)

    def test_routes_by_service_method_and_version_and_says_no_in_dubbo(self):
        sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: dubbo, routes: table}}]
routes:
  - name: table
    routes:
      - match: {{service: dragoman.interop.HelloService, method: echo, headers: [{{name: version, exact: 1.0.0}}]}}
        cluster: out
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.port}']}}
""")
        port = sidecar.ports["in"]
        for client in CLIENTS:
            self.assertEqual(self.invoke(client, port, "echo", "a"), {"value": "a"})
            refused = self.invoke(client, port, "boom")
            self.assertNotIn("value", refused)
        self.assertEqual(sidecar.metric("dragoman_request_reasons_total", reason="no_route"), 2)

    def test_no_backend_is_an_error_of_the_call(self):
        nobody = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: dubbo, cluster: out}}]
clusters: [{{name: out, endpoints: ['127.0.0.1:{free_port()}']}}]
""")
        for client in CLIENTS:
            self.assertNotIn("value", self.invoke(client, nobody.ports["in"], "echo", "a"))


if __name__ == "__main__":
    main()
