#!/usr/bin/env python3
"""Seata for Java: a coordinator, a transaction manager and a resource manager, each behind sidecars."""
import os

from harness import free_port, main, wait_for
from java import JavaTest, build

CLASSES = ""
OPEN = ["--add-opens=java.base/" + package + "=ALL-UNNAMED" for package in ("java.lang", "java.nio", "sun.nio.ch")]

# What the managers are told, and lines that the access log then has: method, route and outcome.
SINGLE = ["-Dtransport.enableClientBatchSendRequest=false"]
MODES = [
    ([], ["register_tm other ok", "register_rm other ok", "heartbeat other ok", "merged other ok", "merged in-transaction ok"]),
    (SINGLE, ["global_begin other ok", "global_commit in-transaction ok", "global_rollback in-transaction ok",
              "branch_register in-transaction ok"]),
    ([*SINGLE, "-Dtransport.serialization=hessian", "-Dtransport.compressor=gzip"], ["- other ok"]),
]


class SeataJava(JavaTest):
    def test_transactions_of_managers_behind_sidecars(self):
        folder, port = self.directory(), free_port()
        self.java(CLASSES, "Coordinator", port, options=OPEN, cwd=folder).expect("started")
        log = os.path.join(folder, "access.log")
        server_side = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: seata, cluster: out}}]
clusters: [{{name: out, endpoints: ['127.0.0.1:{port}'], pool: {{mode: bound}}}}]
""")
        client_side = self.sidecar(f"""
access_log: {{path: {log}, template: '%METHOD% %ROUTE% %OUTCOME%'}}
listeners: [{{name: in, address: '127.0.0.1:0', protocol: seata, routes: table}}]
routes:
  - name: table
    routes:
      - {{name: in-transaction, match: {{headers: [{{name: xid, prefix: '127.0.0.1:{port}:'}}]}}, cluster: out}}
      - {{name: other, cluster: out}}
clusters: [{{name: out, endpoints: ['127.0.0.1:{server_side.ports["in"]}'], pool: {{mode: bound}}}}]
""")
        for settings, lines in MODES:
            self.transactions(port, folder, client_side, server_side, settings)
            with open(log, encoding="utf-8") as f:
                said = set(f.read().splitlines())
            for line in lines:
                self.assertIn(line, said)
            os.truncate(log, 0)

    def transactions(self, port, folder, client_side, server_side, settings):
        options = [*OPEN, f"-Dservice.default.grouplist=127.0.0.1:{client_side.ports['in']}", *settings]
        tm, rm = (self.java(CLASSES, "Manager", role, options=options, cwd=folder) for role in ("tm", "rm"))
        for peer in (tm, rm):
            peer.expect("ready")

        # The coordinator has the resource manager do the second phase, over the connection that the manager made.
        begun = {}
        for way in ("commit", "rollback"):
            xid = tm.ask("begin", name=f"to {way}")["value"]
            self.assertTrue(xid.startswith(f"127.0.0.1:{port}:"), xid)
            branches = {rm.ask("branch", xid=xid, data=f"{way} {i}")["value"] for i in range(3)}
            self.assertEqual(len(branches), 3)
            self.assertNotIn("error", tm.ask(way, xid=xid))
            begun[way] = xid
        expected = {f"{way} {xid} {way} {i}" for way, xid in begun.items() for i in range(3)}
        wait_for("the second phases", lambda: set(rm.ask("done")["value"]) == expected, 20)
        for xid in begun.values():
            wait_for("the end", lambda: tm.ask("status", xid=xid)["value"] in ("Finished", "Committed", "Rollbacked"), 20)
        # An unknown transaction is the coordinator's answer.
        self.assertIn("error", rm.ask("branch", xid=f"127.0.0.1:{port}:1", data="x"))
        self.assertEqual(tm.ask("load", times=50, threads=8)["value"], {"failed": 0, "distinct": 400})

        # Silence is filled with heartbeats: nobody closes.
        for sidecar in (client_side, server_side):
            connections = sidecar.metric("dragoman_listener_connections_total", listener="in")
            requests = lambda: sidecar.metric("dragoman_requests_total", listener="in")
            before = requests()
            wait_for("heartbeats", lambda: requests() >= before + 2, 20)
            self.assertEqual(sidecar.metric("dragoman_listener_connections_total", listener="in"), connections)
            self.assertEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), connections)
        for peer in (tm, rm):
            peer.kill()

    def test_a_coordinator_that_is_not_there(self):
        port, folder = free_port(), self.directory()
        client_side, server_side = self.pair("seata", port, "pool: {mode: bound}", "pool: {mode: bound}")
        options = [*OPEN, f"-Dservice.default.grouplist=127.0.0.1:{client_side.ports['in']}"]
        tm = self.java(CLASSES, "Manager", "tm", options=options, cwd=folder)
        tm.send("begin", name="too early")
        wait_for("an attempt", lambda: server_side.metric("dragoman_cluster_connect_failures_total", cluster="out") > 0, 30)
        self.java(CLASSES, "Coordinator", port, options=OPEN, cwd=folder).expect("started")
        wait_for("a transaction", lambda: "value" in tm.ask("begin", name="in time"), 40)


def setUpModule():
    global CLASSES  # pylint: disable=global-statement
    CLASSES = build("seata-java", "Seata")


if __name__ == "__main__":
    main()
