#!/usr/bin/env python3
"""SOFARPC for Java, client and server, built with Maven."""
import glob
import hashlib
import os
import shutil
import subprocess

import harness
from harness import InteropTest, free_port, main, unavailable

SOURCES = os.path.join(harness.HERE, "peers", "sofa-java")
CLASSES = ""


def build():
    """Compiles the peers beside the binary, once for each state of their sources; returns the class path."""
    target = os.path.join(os.path.dirname(harness.DRAGOMAN), "interop-sofa-java")
    state = hashlib.sha256()
    for path in sorted(glob.glob(SOURCES + "/**/*.*", recursive=True)):
        with open(path, "rb") as f:
            state.update(path.encode() + f.read())
    stamp = os.path.join(target, state.hexdigest())
    if not os.path.exists(stamp):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(SOURCES, target)
        run = subprocess.run([harness.tool("mvn"), "-q", "-B", "compile", "dependency:copy-dependencies",
                              "-DoutputDirectory=" + os.path.join(target, "lib")], cwd=target, capture_output=True, text=True,
                             timeout=500, check=False)
        output = run.stdout + run.stderr
        if run.returncode != 0:
            if "Could not transfer" in output or "Unknown host" in output or "Could not find artifact" in output:
                unavailable("SOFARPC for Java", output.strip().splitlines()[0])
            raise AssertionError(output)
        with open(stamp, "w", encoding="ascii"):
            pass
    return f"{target}/target/classes:{target}/lib/*"


class SofaJava(InteropTest):
    def java(self, name, *args):
        return self.peer("java", "-XX:TieredStopAtLevel=1", "-cp", CLASSES, "dragoman.interop." + name, *args)

    def test_calls_and_errors(self):
        port = free_port()
        server = self.java("Server", port)
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
        client = self.java("Client", "load", through, "boom", through, "pause", through, "none", ports["routed"],
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
    CLASSES = build()


if __name__ == "__main__":
    main()
