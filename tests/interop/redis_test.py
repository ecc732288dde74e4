#!/usr/bin/env python3
"""The TCP relay with redis-server and ioredis."""
from harness import InteropTest, free_port, main, one_way, wait_for


class Redis(InteropTest):
    def setUp(self):
        self.redis_port = free_port()
        self.redis = self.start_redis()
        self.client_side, self.server_side = self.pair("tcp", self.redis_port)
        self.client = self.node("redis_client.js", port=self.client_side.ports["in"])
        self.client.expect("ready")

    def start_redis(self):
        redis = self.peer("redis-server", "--port", self.redis_port, "--bind", "127.0.0.1", "--save", "", "--dir", self.directory())
        wait_for("redis serves", lambda: "Ready to accept connections" in redis.output())
        return redis

    def ask(self, operation, **command):
        answer = self.client.ask(operation, **command)
        self.assertNotIn("error", answer)
        return answer

    def test_commands(self):
        self.ask("basics")
        self.ask("transaction")
        self.assertEqual(self.ask("pipeline", count=20000)["answers"], 40000)
        self.assertEqual(self.ask("pubsub", count=500)["got"], 1000)
        self.ask("large", size=20_000_000)

    def test_many_connections(self):
        self.ask("many", connections=100, count=50)
        for sidecar in (self.client_side, self.server_side):
            self.assertEqual(sidecar.metric("dragoman_listener_connections_total", listener="in"), 101)
            wait_for("only the one that is kept", lambda s=sidecar: s.metric(
                "dragoman_listener_connections_active", listener="in") == 1)

    def test_redis_restarts(self):
        self.assertEqual(self.ask("set", key="k", value="v")["value"], "OK")
        self.redis.kill()
        self.start_redis()
        self.assertIsNone(self.ask("get", key="k")["value"])
        self.assertEqual(self.ask("set", key="k", value="again")["value"], "OK")
        self.assertGreaterEqual(self.ask("state")["ready"], 2)

    def test_a_sidecar_is_replaced(self):
        port = free_port()
        config = one_way("tcp", self.server_side.ports["in"]).replace("127.0.0.1:0", f"127.0.0.1:{port}")
        old = self.sidecar(config, drain="{deadline: 1s, idle_grace: 100ms}")
        client = self.node("redis_client.js", port=port)
        client.expect("ready")
        self.assertEqual(client.ask("set", key="k", value="v")["value"], "OK")
        new = self.sidecar(config)
        old.terminate()
        old.process.wait(timeout=20)
        self.assertEqual(client.ask("get", key="k")["value"], "v")
        self.assertEqual(new.metric("dragoman_listener_connections_total", listener="in"), 1)


if __name__ == "__main__":
    main()
