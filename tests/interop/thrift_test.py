#!/usr/bin/env python3
"""Apache Thrift for Node and Python (Debian's), clients and servers, in every transport and encoding they share with us."""
import json
import os

from harness import HERE, InteropTest, free_port, main, wait_for

NODE = [("framed", "binary"), ("framed", "compact"), ("buffered", "binary"), ("buffered", "compact")]
PYTHON = NODE + [("header", "binary"), ("header", "compact")]
CALLS = [("echo", "hällo"), ("echo", "x" * 100000), ("echo", ""), ("fail", None), ("broken", None)]


class Thrift(InteropTest):
    def setUp(self):
        self.generated = self.directory()
        idl = os.path.join(HERE, "peers", "echo.thrift")
        self.run_tool("thrift", "--gen", "js:node", "--gen", "py", "-out", self.generated, idl)

    def start(self, language, **config):
        config["generated"] = self.generated
        if language == "node":
            return self.node("thrift_node.js", **config)
        # The interpreter that Debian's packages are for.
        return self.peer("/usr/bin/python3", os.path.join(HERE, "peers", "thrift_python.py"), json.dumps(config))

    def server(self, language, transport, protocol):
        return self.start(language, transport=transport, protocol=protocol, serve=free_port()).expect("port")["port"]

    def client(self, language, transport, protocol, port):
        client = self.start(language, transport=transport, protocol=protocol, port=port)
        client.expect("ready")
        return client

    def call(self, client, method, text=None, **more):
        command = {"method": method, **more}
        if text is not None:
            command["text"] = text
        return {key: value for key, value in client.ask("call", **command).items() if key != "answer"}

    def through(self, server_language, client_language, transport, protocol):
        port = self.server(server_language, transport, protocol)
        client_side, server_side = self.pair("thrift", port)
        direct = self.client(client_language, transport, protocol, port)
        caller = self.client(client_language, transport, protocol, client_side.ports["in"])
        for method, text in CALLS:
            self.assertEqual(self.call(caller, method, text), self.call(direct, method, text), (transport, protocol, method))
        self.call(caller, "note", "a note")
        wait_for("the note", lambda: self.call(direct, "noted").get("value") == ["a note"])
        load = {"calls": 300, **({"depth": 16} if client_language == "node" else {})}
        self.assertEqual(caller.ask("load", **load)["value"], {"calls": 300, "wrong": 0})
        if transport != "buffered":
            self.assertLessEqual(server_side.metric("dragoman_cluster_connections_total", cluster="out"), 2)

    def test_node_to_node(self):
        for transport, protocol in NODE:
            self.through("node", "node", transport, protocol)

    def test_python_to_python(self):
        for transport, protocol in PYTHON:
            self.through("python", "python", transport, protocol)

    def test_python_to_node_and_back(self):
        for transport, protocol in NODE[:2]:
            self.through("node", "python", transport, protocol)
            self.through("python", "node", transport, protocol)

    def test_compressed_calls(self):
        port = self.server("python", "header", "binary")
        client_side, _ = self.pair("thrift", port)
        caller = self.client("python", "header-zlib", "binary", client_side.ports["in"])
        for method, text in CALLS:
            answer = self.call(caller, method, text)
            self.assertEqual("value" in answer, method == "echo", answer)

    def test_routes_by_method_and_header_and_says_no_in_thrift(self):
        port = self.server("python", "header", "compact")
        sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: thrift, routes: table}}]
routes:
  - name: table
    routes:
      - {{match: {{method: echo, headers: [{{name: x-route, exact: gray}}]}}, cluster: out}}
clusters: [{{name: out, endpoints: ['127.0.0.1:{port}']}}]
""")
        caller = self.client("python", "header", "compact", sidecar.ports["in"])
        self.assertEqual(self.call(caller, "echo", "a", headers={"x-route": "gray"}), {"value": "a"})
        refused = self.call(caller, "echo", "a")
        self.assertEqual((refused["error"], refused["type"]), ("TApplicationException", 1))
        self.assertEqual(self.call(caller, "echo", "a", headers={"x-route": "gray"}), {"value": "a"}, "the connection goes on")

    def test_no_backend_is_an_error_of_the_call(self):
        nobody = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: thrift, cluster: out}}]
clusters: [{{name: out, endpoints: ['127.0.0.1:{free_port()}']}}]
""")
        for language, forms in (("node", NODE), ("python", PYTHON)):
            for transport, protocol in forms:
                caller = self.client(language, transport, protocol, nobody.ports["in"])
                refused = self.call(caller, "echo", "a")
                self.assertEqual((refused["error"], refused["type"]), ("TApplicationException", 6), (transport, protocol))


if __name__ == "__main__":
    main()
