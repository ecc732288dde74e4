#!/usr/bin/env python3
"""The TCP relay with redis-server and ioredis, and the same observed: metrics agree with what the server says it did."""
from harness import InteropTest, free_port, main, one_way, wait_for


class Redis(InteropTest):
    protocol = "tcp"

    def setUp(self):
        self.redis_port = free_port()
        self.redis = self.start_redis()
        self.client_side, self.server_side = self.pair(self.protocol, self.redis_port)
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
        config = one_way(self.protocol, self.server_side.ports["in"]).replace("127.0.0.1:0", f"127.0.0.1:{port}")
        old = self.sidecar(config, drain="{deadline: 1s, idle_grace: 100ms}")
        client = self.node("redis_client.js", port=port)
        client.expect("ready")
        self.assertEqual(client.ask("set", key="k", value="v")["value"], "OK")
        new = self.sidecar(config, arguments=("--share-ports",))
        old.terminate()
        old.process.wait(timeout=20)
        self.assertEqual(client.ask("get", key="k")["value"], "v")
        self.assertEqual(new.metric("dragoman_listener_connections_total", listener="in"), 1)


class Observed(Redis):
    protocol = "redis"
    # What waits on purpose is not timed.
    untimed = {"blpop"}

    def server_counts(self, section, fields):
        """What the server counted, asked directly: sums of the fields by command or error."""
        counts = {}
        for line in self.run_tool("redis-cli", "-p", self.redis_port, "info", section).stdout.decode().split():
            name, _, values = line.partition(":")
            if not values:
                continue
            numbers = dict(pair.split("=") for pair in values.split(","))
            name = name.split("_", 1)[1].split("|")[0]
            counts[name] = counts.get(name, 0) + sum(int(numbers[field]) for field in fields)
        return counts

    def test_without_a_server(self):
        self.redis.kill()
        told = self.run_tool("redis-cli", "-p", self.client_side.ports["in"], "get", "k").stdout.decode()
        self.assertIn("CLUSTERDOWN mesh: no healthy upstream", told)
        self.start_redis()
        self.assertIsNone(self.ask("get", key="k")["value"])

    def test_metrics_agree_with_the_server(self):
        self.ask("basics")
        self.ask("transaction")
        self.ask("pipeline", count=5000)
        self.ask("pubsub", count=100)
        self.ask("large", size=20_000_000)
        self.ask("many", connections=20, count=10)
        commands = self.server_counts("commandstats", ("calls", "rejected_calls"))
        self.assertNotIn("client", commands)
        errors = self.server_counts("errorstats", ("count",))
        self.assertGreater(commands["get"], 5000)
        for sidecar in (self.client_side, self.server_side):
            def value(name, **labels):
                return sidecar.metric(name, listener="in", cluster="out", **labels)  # pylint: disable=cell-var-from-loop
            wait_for("the last command", lambda v=value: v("dragoman_redis_commands_total", command="quit") >= commands.get("quit", 0))
            for command, times in commands.items():
                self.assertEqual(value("dragoman_redis_commands_total", command=command), times, command)
                timed = value("dragoman_redis_command_duration_seconds_count", command=command)
                self.assertEqual(timed, 0 if command in self.untimed else times, command)
            # CLIENT SETINFO, sent twice for each connection, is no command of this server's, and not counted there.
            connections = sidecar.metric("dragoman_listener_connections_total", listener="in")
            self.assertEqual(value("dragoman_redis_commands_total", command="client"), 2 * connections)
            self.assertEqual(value("dragoman_redis_commands_total"), sum(commands.values()) + 2 * connections)
            for error, times in errors.items():
                self.assertEqual(value("dragoman_redis_errors_total", error=error), times, error)
            self.assertEqual(value("dragoman_redis_errors_total"), sum(errors.values()))
            self.assertEqual(value("dragoman_redis_pushes_total"), 200)
            self.assertEqual(value("dragoman_l4_observers_stopped_total"), 0)


if __name__ == "__main__":
    main()
