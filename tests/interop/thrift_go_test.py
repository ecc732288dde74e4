#!/usr/bin/env python3
"""Apache Thrift for Go, both ends, with two sidecars between them; and with Thrift for Python at the other end."""
import json
import os
import shutil

import go
import thrift_test
from harness import HERE, InteropTest, free_port, main, wait_for

FORMS = thrift_test.PYTHON  # every transport with every protocol


class ThriftGo(InteropTest):
    setUp, server, client, call = (getattr(thrift_test.Thrift, name) for name in ("setUp", "server", "client", "call"))

    def start(self, language, **config):
        if language == "go":
            return self.peer(PROGRAM, json.dumps(config))
        return thrift_test.Thrift.start(self, language, **config)

    def through(self, server_language, client_language, transport, protocol):
        port = self.server(server_language, transport, protocol)
        client_side, server_side = self.pair("thrift", port)
        direct = self.client(client_language, transport, protocol, port)
        caller = self.client(client_language, transport, protocol, client_side.ports["in"])
        for method, text in thrift_test.CALLS:
            self.assertEqual(self.call(caller, method, text), self.call(direct, method, text), method)
        load = {"calls": 300, "threads": 8}
        self.assertEqual(caller.ask("load", **load)["value"], {"calls": 300, "wrong": 0})
        if transport != "buffered":
            self.assertLessEqual(server_side.metric("dragoman_cluster_connections_total", cluster="out"), 2)
        for sidecar in (client_side, server_side):
            wait_for("the end of all calls", lambda s=sidecar: s.metric("dragoman_requests_active") == 0)
            self.assertEqual(sidecar.metric("dragoman_listener_protocol_errors_total"), 0)
        if (transport, protocol) in (FORMS[0], FORMS[-1]):
            # Go's client sends a one-way call as one that wants an answer, which never comes: what follows does not wait for it, only
            # the drain does.
            self.call(caller, "note", "a note")
            wait_for("the note", lambda: self.call(caller, "noted").get("value") == ["a note"])

    def every_form(self, server_language, client_language):
        for transport, protocol in FORMS:
            with self.subTest(transport=transport, protocol=protocol):
                self.through(server_language, client_language, transport, protocol)

    def test_go_to_go(self):
        self.every_form("go", "go")

    def test_go_to_python(self):
        self.every_form("python", "go")

    def test_python_to_go(self):
        self.every_form("go", "python")

    def test_compressed_calls(self):
        for protocol in ("binary", "compact"):
            client_side, _ = self.pair("thrift", self.server("go", "header", protocol))
            caller = self.client("go", "header-zlib", protocol, client_side.ports["in"])
            for method, text in thrift_test.CALLS:
                answer = self.call(caller, method, text)
                self.assertEqual("value" in answer, method == "echo", answer)

    def test_multiplexed_services(self):
        for transport, protocol in FORMS:
            with self.subTest(transport=transport, protocol=protocol):
                self.multiplexed(transport, protocol)

    def multiplexed(self, transport, protocol):
        first, second = (self.server("go", transport, protocol, service=name) for name in ("one", "two"))
        sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: thrift, routes: table}}]
routes:
  - name: table
    routes:
      - {{match: {{service: one}}, cluster: first}}
      - {{match: {{service: two}}, cluster: second}}
clusters:
  - {{name: first, endpoints: ['127.0.0.1:{first}']}}
  - {{name: second, endpoints: ['127.0.0.1:{second}']}}
""")
        for service, port in (("one", first), ("two", second)):
            caller = self.client("go", transport, protocol, sidecar.ports["in"], service=service)
            direct = self.client("go", transport, protocol, port, service=service)
            for method, text in thrift_test.CALLS:
                self.assertEqual(self.call(caller, method, text), self.call(direct, method, text), (service, method))
        caller = self.client("go", transport, protocol, sidecar.ports["in"], service="three")
        refused = self.call(caller, "echo", "a")
        self.assertEqual((refused["error"], refused.get("type")), ("TApplicationException", 1))

    def test_routes_by_header_and_says_no_in_thrift(self):
        for transport, protocol in FORMS:
            with self.subTest(transport=transport, protocol=protocol):
                sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: thrift, routes: table}}]
routes:
  - name: table
    routes:
      - {{match: {{method: noted, headers: [{{name: x-route, exact: gray}}]}}, cluster: out}}
      - {{match: {{method: echo}}, cluster: nobody}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.server('go', transport, protocol)}']}}
  - {{name: nobody, endpoints: ['127.0.0.1:{free_port()}']}}
""")
                caller = self.client("go", transport, protocol, sidecar.ports["in"])
                if transport == "header":
                    self.assertEqual(self.call(caller, "noted", headers={"x-route": "gray"}), {"value": []})
                for method, kind in (("echo", 6), ("noted", 1), ("echo", 6)):
                    refused = self.call(caller, method, "a")
                    self.assertEqual((refused["error"], refused.get("type")), ("TApplicationException", kind), refused)


def generate(target):
    """The package echo, by the compiler that made that of the other languages."""
    idl = os.path.join(HERE, "peers", "echo.thrift")
    InteropTest().run_tool("thrift", "--gen", "go:package_prefix=dragoman/interop/thrift/", "-out", target, idl)
    shutil.rmtree(os.path.join(target, "echo", "echo-remote"))  # a program of its own


def setUpModule():
    global PROGRAM  # pylint: disable=global-statement
    PROGRAM = go.build("thrift-go", "Thrift for Go", generate)


PROGRAM = ""

if __name__ == "__main__":
    main()
