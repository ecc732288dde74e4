#!/usr/bin/env python3
"""SOFAJRaft: a replicated counter whose nodes know each other by sidecars only."""
import os
import shutil

from harness import free_port, main, wait_for
from java import JavaTest, build

CLASSES = ""
NODES = 3


class JRaftJava(JavaTest):
    def start(self, i):
        node = self.java(CLASSES, "Server", os.path.join(self.folder, str(i)), self.ports[i], self.peers[i], ",".join(self.peers),
                         options=["--add-opens=java.base/java.lang=ALL-UNNAMED", "--add-opens=java.base/java.nio=ALL-UNNAMED"])
        node.expect("started")
        return node

    def state(self, i):
        return self.nodes[i].ask("state")["value"]

    def leader(self):
        """The number of the node that the others follow."""
        peer = wait_for("a leader", lambda: self.client.ask("leader")["value"], 30)
        return self.peers.index(peer)

    def test_a_counter_survives_its_leaders(self):
        listeners = "\n".join(f"  - {{name: n{i}, address: '127.0.0.1:0', protocol: bolt, cluster: n{i}}}" for i in range(NODES))
        side = lambda ports: f"listeners:\n{listeners}\nclusters:\n" + "".join(
            f"  - {{name: n{i}, endpoints: ['127.0.0.1:{port}'], pool: {{mode: bound}}}}\n" for i, port in enumerate(ports))
        self.folder = self.directory()
        self.ports = [free_port() for _ in range(NODES)]
        server_side = self.sidecar(side(self.ports))
        client_side = self.sidecar(side(server_side.ports[f"n{i}"] for i in range(NODES)))
        self.peers = [f"127.0.0.1:{client_side.ports[f'n{i}']}" for i in range(NODES)]
        self.nodes = [self.start(i) for i in range(NODES)]
        self.client = self.java(CLASSES, "Client", ",".join(self.peers))
        self.client.expect("ready")

        # Everything, the votes, the logs and the client's calls, goes through both sidecars.
        first = self.leader()
        done = self.client.ask("increment", times=200)["value"]
        self.assertEqual(done, {"distinct": 200, "last": 200, "failed": 0})
        for i, peer in enumerate(self.peers):
            self.assertEqual(self.client.ask("read", peer=peer)["value"], 200)  # followers ask the leader first
            for sidecar in (client_side, server_side):
                self.assertGreater(sidecar.metric("dragoman_cluster_requests_total", cluster=f"n{i}", outcome="ok"), 10)

        # The leader hands over.
        second = (first + 1) % NODES
        self.assertRegex(self.client.ask("transfer", peer=self.peers[second])["value"], "OK")
        wait_for("the new leader", lambda: self.leader() == second, 20)
        self.assertEqual(self.client.ask("increment", times=50)["value"], {"distinct": 50, "last": 250, "failed": 0})

        # The leader dies in the middle of the calls. What got no answer may count or not; what got one counts once.
        load = self.client.send("increment", times=300)
        wait_for("calls", lambda: self.state(second)["value"] > 270)
        self.nodes[second].kill()
        done = self.client.answer(load)["value"]
        self.assertEqual(done["distinct"], 300)
        self.assertGreaterEqual(done["failed"], 1)
        self.assertLessEqual(550, done["last"])
        self.assertLessEqual(done["last"], 550 + done["failed"])
        third = self.leader()
        self.assertNotEqual(third, second)

        # The dead one comes back with nothing and gets a snapshot, in several frames.
        # Two, because the log is kept back to the one before; everywhere, because whoever leads by then must not have an older log.
        for _ in range(2):
            last = self.client.ask("increment", times=1)["value"]["last"]
            for i in {0, 1, 2} - {second}:
                wait_for("it is everywhere", lambda i=i, last=last: self.state(i)["value"] == last)
                self.assertRegex(self.client.ask("snapshot", peer=self.peers[i])["value"], "OK")
        shutil.rmtree(os.path.join(self.folder, str(second)))
        self.nodes[second] = self.start(second)
        total = self.client.ask("increment", times=1)["value"]["last"]
        wait_for("it has caught up", lambda: self.state(second)["value"] == total, 30)
        self.assertGreaterEqual(self.state(second)["snapshots_loaded"], 1)
        for peer in self.peers:
            self.assertEqual(self.client.ask("read", peer=peer)["value"], total)
        for sidecar in (client_side, server_side):
            self.assertEqual(sidecar.metric("dragoman_listener_codec_events_total", event="unsupported"), 0)


def setUpModule():
    global CLASSES  # pylint: disable=global-statement
    CLASSES = build("jraft-java", "SOFAJRaft")


if __name__ == "__main__":
    main()
