#!/usr/bin/env python3
"""gRPC's C core and grpc-js at full speed with their default options, through two sidecars, for longer than any budget is counted over."""
import json
import os

from harness import HERE, InteropTest, main, wait_for


class GrpcLoad(InteropTest):
    def start(self, language, name, **config):
        if language == "js":
            return self.node(name + ".js", "peers_grpc", **config)
        return self.peer("/usr/bin/python3", os.path.join(HERE, "peers", name + ".py"), json.dumps(config))

    def full_speed(self, server_language, client_language):
        server = self.start(server_language, "grpc_server")
        client_side, server_side = self.pair("http2", server.expect("port")["port"])
        client = self.start(client_language, "grpc_load", port=client_side.ports["in"], seconds=17, calls=4000)
        done = client.expect("load", seconds=150)["load"]
        print({name: f"{calls / done['seconds']:.0f}/s" for name, calls in done["calls"].items()}, flush=True)
        self.assertEqual(done["errors"], {})
        self.assertEqual(client_side.metric("dragoman_listener_connections_total", listener="in"), 2)
        client.wait()
        for sidecar in (client_side, server_side):
            wait_for("the end of all calls", lambda s=sidecar: s.metric("dragoman_requests_active") == 0)

    def test_js_to_the_core(self):
        self.full_speed("core", "js")

    def test_the_core_to_js(self):
        self.full_speed("js", "core")


if __name__ == "__main__":
    main()
