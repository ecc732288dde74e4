#!/usr/bin/env python3
"""RocketMQ for Java: name server, broker, producers and consumers, with sidecars before the name server and the broker."""
import os
from collections import Counter

from harness import free_port, main, wait_for
from java import JavaTest, build

CLASSES = ""
OPTIONS = ["--add-opens=java.base/" + package + "=ALL-UNNAMED"
           for package in ("java.lang", "java.nio", "sun.nio.ch", "jdk.internal.ref")]
OPTIONS += ["-XX:MaxDirectMemorySize=256m"]
ENCODINGS = ("JSON", "ROCKETMQ")


class RocketMqJava(JavaTest):
    def start(self, name, *args, encoding="JSON"):
        return self.java(CLASSES, name, *args, cwd=self.folder,
                         options=[*OPTIONS, f"-Drocketmq.serialize.type={encoding}", f"-Duser.home={self.folder}"])

    def test_messages_arrive_as_they_were_sent(self):
        self.folder = self.directory()
        names_port, port = free_port(), free_port()
        self.start("NameServer", names_port).expect("port")
        server_side = self.sidecar(f"""
listeners:
  - {{name: names, address: '127.0.0.1:0', protocol: rocketmq, cluster: names}}
  - {{name: broker, address: '127.0.0.1:0', protocol: rocketmq, routes: broker}}
routes:
  - {{name: broker, routes: [{{cluster: broker, timeout: 60s}}]}}
clusters:
  - {{name: names, endpoints: ['127.0.0.1:{names_port}']}}
  - {{name: broker, endpoints: ['127.0.0.1:{port}'], pool: {{mode: bound}}}}
""")
        # Clients connect to what the name server says: the broker tells it another address of loopback, where their sidecar is.
        client_side = self.sidecar(f"""
listeners:
  - {{name: names, address: '127.0.0.1:0', protocol: rocketmq, cluster: names}}
  - {{name: broker, address: '127.0.0.2:{port}', protocol: rocketmq, routes: broker}}
routes:
  - name: broker
    routes:
      - {{name: sends, match: {{service: '{TOPIC}', headers: [{{name: code, regex: '310|320'}}]}}, cluster: broker}}
      - {{name: pulls, match: {{headers: [{{name: code, exact: '11'}}]}}, cluster: broker, timeout: 60s}}
      - {{name: others, cluster: broker}}
clusters:
  - {{name: names, endpoints: ['127.0.0.1:{server_side.ports["names"]}']}}
  - {{name: broker, endpoints: ['127.0.0.1:{server_side.ports["broker"]}'], pool: {{mode: bound}}}}
""")
        names = f"127.0.0.1:{client_side.ports['names']}"
        broker = self.start("Broker", port, "127.0.0.2", names, os.path.join(self.folder, "store"))
        self.assertEqual(broker.expect("address")["address"], f"127.0.0.2:{port}")
        sent = []
        for encoding in ENCODINGS:
            producer = self.start("Messenger", "producer", names, TOPIC, encoding=encoding)
            producer.expect("ready")
            # One-way messages before others: they are on their way when the client is asked to end.
            for way, count, size in (("sync", 20, 1000), ("sync", 2, 1 << 20), ("oneway", 20, 500), ("async", 300, 200),
                                     ("batch", 50, 100)):
                answer = producer.ask("send", way=way, count=count, size=size)
                self.assertIsInstance(answer.get("value"), list, answer)
                sent += answer["value"]
            producer.stop()
        consumer = self.start("Messenger", "consumer", names, TOPIC)  # now that there is the topic
        consumer.expect("ready")
        received = lambda: consumer.ask("received")["value"]
        # Consumers look for their share of the queues every 20 s, and may have to look several times.
        try:
            wait_for("all messages", lambda: len(received()) >= len(sent), 90)
        except AssertionError:
            self.fail(f"{len(received())} of {len(sent)} messages; missing: {(Counter(sent) - Counter(received())).most_common(20)}")
        self.assertEqual(sorted(received()), sorted(sent))
        for route in ("sends", "pulls", "others"):
            self.assertGreater(client_side.metric("dragoman_requests_total", listener="broker", route=route, outcome="ok"), 0, route)
        for sidecar in (client_side, server_side):
            self.assertEqual(sidecar.metric("dragoman_requests_total", listener="broker", outcome="server_error"), 0)
            self.assertGreater(sidecar.metric("dragoman_requests_total", listener="names", outcome="ok"), 2)

        # The broker asks the producer what became of its transactions, over the producer's connection.
        producer = self.start("Messenger", "producer", names, TOPIC)
        producer.expect("ready")
        producer.ask("transaction")
        wait_for("the transaction's message", lambda: any("transaction-commit" in m for m in received()), 40)
        self.assertFalse(any("transaction-rollback" in m for m in received()))


TOPIC = "Interop"


def setUpModule():
    global CLASSES  # pylint: disable=global-statement
    CLASSES = build("rocketmq-java", "RocketMQ")


if __name__ == "__main__":
    main()
