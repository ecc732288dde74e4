#!/usr/bin/env python3
"""Kitex, both ends, with two sidecars between them: Thrift buffered, framed and in TTHeader, and gRPC, also with grpcio at the other
end."""
import json
import os

import go
from harness import HERE, InteropTest, free_port, main, wait_for

# How Kitex calls it, and what it is for us.
TRANSPORTS = (("buffered", "thrift"), ("framed", "thrift"), ("ttheader", "ttheader"), ("ttheader_framed", "ttheader"))


class KitexGo(InteropTest):
    def kitex(self, **config):
        return self.peer(PROGRAM, json.dumps(config))

    def server(self, transport, **more):
        return self.kitex(transport=transport, serve=free_port(), **more).expect("port")["port"]

    def client(self, transport, port, **more):
        client = self.kitex(transport=transport, port=port, **more)
        client.expect("ready")
        return client

    def call(self, client, method, text="", **more):
        return {key: value for key, value in client.ask("call", method=method, text=text, **more).items() if key != "answer"}

    def same(self, told, direct):
        """Whether two answers say the same; addresses are part of Kitex's own words."""
        self.assertEqual({k: v for k, v in told.items() if k != "message"}, {k: v for k, v in direct.items() if k != "message"})
        self.assertEqual(told.get("message", "").split("[")[0], direct.get("message", "").split("[")[0])

    def thrift(self, transport, protocol, **mode):
        port = self.server(transport, **mode)
        client_side, server_side = self.pair(protocol, port)
        direct = self.client(transport, port, **mode)
        caller = self.client(transport, client_side.ports["in"], **mode)
        for method, text in (("echo", "hällo"), ("echo", "x" * 100000), ("echo", ""), ("broken", ""), ("echo", "again"), ("refuse", "why"),
                             ("echo", "and again")):
            with self.subTest(transport=transport, method=method, **mode):
                self.same(self.call(caller, method, text), self.call(direct, method, text))
        self.assertEqual(self.call(caller, "echo", "a"), {"value": "a"})
        self.assertEqual(self.call(caller, "note", "a note"), {"value": "a note"})
        self.assertEqual(self.call(caller, "noted"), {"value": "a note;"})
        if protocol == "ttheader":
            self.assertEqual(self.call(caller, "noted", color="green"), {"value": "a note;green"})
            refused = self.call(caller, "refuse", "why")
            self.assertEqual((refused["error"], refused["type"], refused["extra"]), ("business", 4200, {"reason": "why"}))
        self.assertEqual(caller.ask("load", calls=200, threads=16)["value"], {"wrong": 0, "errors": {}})
        for sidecar in (client_side, server_side):
            wait_for("the end of all calls", lambda s=sidecar: s.metric("dragoman_requests_active") == 0)
            self.assertEqual(sidecar.metric("dragoman_listener_protocol_errors_total"), 0)
            if transport != "buffered":
                self.assertLessEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), 2)

    def test_thrift_over_every_transport(self):
        for transport, protocol in TRANSPORTS:
            self.thrift(transport, protocol)

    def test_several_calls_on_one_connection(self):
        for transport in ("ttheader", "ttheader_framed"):
            self.thrift(transport, "ttheader", mux=True)

    def test_exceptions_of_a_server_that_knows_less(self):
        # Kitex answers what it can't read with id 0.
        for transport, protocol in TRANSPORTS:
            with self.subTest(transport=transport):
                port = self.server(transport, older=True)
                client_side, _ = self.pair(protocol, port)
                direct = self.client(transport, port)
                caller = self.client(transport, client_side.ports["in"])
                for method in ("echo", "fail", "echo", "broken", "echo"):
                    told, wanted = self.call(caller, method, "a"), self.call(direct, method, "a")
                    self.same(told, wanted)
                    self.assertEqual("value" in told, method == "echo", told)

    def test_our_own_answers(self):
        for transport, protocol in TRANSPORTS:
            with self.subTest(transport=transport):
                sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: {protocol}, routes: table}}]
routes:
  - name: table
    routes:
      - {{match: {{method: echo}}, cluster: out}}
      - {{match: {{method: pause}}, cluster: out, timeout: 200ms}}
      - {{match: {{method: broken}}, cluster: nobody}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.server(transport)}']}}
  - {{name: nobody, endpoints: ['127.0.0.1:{free_port()}']}}
""")
                caller = self.client(transport, sidecar.ports["in"])
                for method, reason in (("pause", "timeout"), ("broken", "connect_failure"), ("refuse", "no_route")):
                    refused = self.call(caller, method, "a")
                    self.assertEqual(refused["error"], "exception", refused)
                    self.assertIn(reason, refused["message"])
                    self.assertEqual(self.call(caller, "echo", "a"), {"value": "a"}, "the connection goes on")

    def test_grpc(self):
        port = self.server("grpc")
        client_side, server_side = self.pair("http2", port)
        caller = self.client("grpc", client_side.ports["in"])
        for text in ("hällo", "x" * 100000):
            self.assertEqual(self.call(caller, "Echo", text), {"value": text})
        failed = self.call(caller, "Fail", "\x05")
        self.assertEqual((failed["error"], failed["type"]), ("grpc", 5), failed)
        self.assertIn("50% schön", failed["message"])
        self.assertEqual(caller.ask("chat", count=20)["value"], [f"re: {i}" for i in range(20)])
        self.assertEqual(caller.ask("load", calls=300, threads=16)["value"], {"wrong": 0, "errors": {}})
        for sidecar in (client_side, server_side):
            wait_for("the end of all calls", lambda s=sidecar: s.metric("dragoman_requests_active") == 0)

    def test_grpc_to_the_c_core(self):
        server = self.peer("/usr/bin/python3", os.path.join(HERE, "peers", "grpc_server.py"), "{}")
        client_side, _ = self.pair("http2", server.expect("port")["port"])
        caller = self.client("grpc", client_side.ports["in"])
        self.assertEqual(self.call(caller, "Echo", "hällo"), {"value": "hällo"})
        failed = self.call(caller, "Fail", "\x05")
        self.assertEqual((failed["error"], failed["type"]), ("grpc", 5), failed)
        self.assertEqual(caller.ask("chat", count=20)["value"], [f"re: {i}" for i in range(20)])


def setUpModule():
    global PROGRAM  # pylint: disable=global-statement
    PROGRAM = go.build("kitex-go", "Kitex")


PROGRAM = ""

if __name__ == "__main__":
    main()
