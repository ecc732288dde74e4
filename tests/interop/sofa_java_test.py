#!/usr/bin/env python3
"""SOFARPC for Java, client and server, built with Maven."""
from harness import free_port, main
from java import JavaTest, build

CLASSES = ""


class SofaJava(JavaTest):
    def test_calls_and_errors(self):
        port = free_port()
        server = self.java(CLASSES, "Server", port)
        server.expect("port")
        client_side, server_side = self.pair("bolt", port)
        dead = free_port()
        service = server_side.ports["in"]
        sidecar = self.sidecar(f"""
listeners:
  - {{name: routed, address: '127.0.0.1:0', protocol: bolt, routes: rpc}}
  - {{name: late, address: '127.0.0.1:0', protocol: bolt, routes: late}}
  - {{name: refused, address: '127.0.0.1:0', protocol: bolt, cluster: refused}}
routes:
  - {{name: rpc, routes: [{{match: {{service: 'dragoman.interop.HelloService:1.0', method: echo}}, cluster: out}}]}}
  - {{name: late, routes: [{{match: {{method: pause}}, cluster: out, timeout: 200ms}}]}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{service}']}}
  - {{name: refused, endpoints: ['127.0.0.1:{dead}']}}
""")
        through, ports = client_side.ports["in"], sidecar.ports
        client = self.java(CLASSES, "Client", "load", through, "boom", through, "pause", through, "none", ports["routed"],
                           "late", ports["late"], "refused", ports["refused"])
        client.wait(120)
        said = {word: client.expect(word)[word] for word in ("load", "boom", "pause", "none", "late", "refused")}
        self.assertEqual(said, {
            "load": "0 wrong, 0 failed of 4000",
            "boom": "IllegalStateException: business failed",
            "pause": "paused",
            "none": "SofaRpcException 299",
            "late": "SofaTimeOutException 200",
            "refused": "SofaRpcException 299",
        })
        for side in (client_side, server_side):
            self.assertLessEqual(side.metric("dragoman_cluster_connections_total", cluster="out"), 4)


def setUpModule():
    global CLASSES  # pylint: disable=global-statement
    CLASSES = build("sofa-java", "SOFARPC for Java")


if __name__ == "__main__":
    main()
