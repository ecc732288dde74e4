#!/usr/bin/env python3
"""Dubbo for Java, consumers and providers, built with Maven: 3.x, and 2.7 with it."""
import time

from harness import free_port, main, wait_for
from java import JavaTest, build

# What 2.7 and its Hessian do by reflection.
OPEN = ["--add-opens=java.base/" + package + "=ALL-UNNAMED"
        for package in ("java.lang", "java.util", "java.math", "java.net", "java.text", "java.time", "sun.net.www.protocol.http")]
OPTIONS = [*OPEN, "-Ddubbo.service.shutdown.wait=1000"]
CLASSES = {}
NETWORK, TIMEOUT = 1, 2  # codes of an RpcException
# A call of Triple that chose a connection which the consumer itself has closed meanwhile: it does so when it hears of the other side's end.
CLOSED_BY_ITSELF = "StatusRpcException: INTERNAL : Http2 exception"


class Consumers(JavaTest):
    def call(self, ports, method, client=None, **more):
        answer = (client or self.client).ask("call", ports=str(ports), method=method, **more)
        return answer.get("value", answer)

    def connected(self, port, client=None):
        """Triple's consumers connect by the way, and fail their calls when that takes more than a moment."""
        wait_for("the consumer's connection", lambda: self.call(port, "echo", client, text="a") == {"value": "a"}, 60)

    def same_through(self, client, server_port, protocol="dubbo"):
        client_side, server_side = self.pair(protocol, server_port)
        through = client_side.ports["in"]
        for port in (server_port, through):
            self.connected(port, client)
        calls = [("echo", {"text": "hällo \U0001f600"}), ("echo", {"size": 100000}), ("copy", {}), ("nothing", {}), ("boom", {}),
                 ("refuse", {}), ("who", {"color": "green"}), ("who", {"group": "blue", "version": "2.0.0"}),
                 ("echo", {"text": "a", "generic": True}), ("boom", {"generic": True})]
        if protocol == "dubbo":  # Triple takes what version there is
            calls.append(("echo", {"text": "a", "version": "9.9.9"}))
        for method, more in calls:
            with self.subTest(method=method, **more):
                direct, meshed = (self.call(port, method, client, **more) for port in (server_port, through))
                for answer in (direct, meshed):  # ports, stacks and times are in messages of the client's own
                    answer["message"] = answer.get("message", "").splitlines()[0:1]
                    if answer.get("error") == "RpcException":
                        del answer["message"]
                self.assertEqual(meshed, direct)
                self.assertEqual("error" in direct, method in ("boom", "refuse") or more.get("version") == "9.9.9", direct)
        self.call(through, "note", client, text="a note")
        wait_for("the note", lambda: "a note" in self.call(server_port, "noted", client)["value"])
        done = client.ask("load", ports=str(through), threads=8, calls=250)["value"]
        self.assertEqual(done, {"wrong": 0, "errors": {}})
        for sidecar in (client_side, server_side):
            self.assertLessEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), 2)
            self.assertGreaterEqual(sidecar.metric("dragoman_cluster_requests_total", cluster="out", outcome="ok"), 2000)


class DubboJava(Consumers):
    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.client = cls.java_for_all(CLASSES["3"], "Client", "dubbo", options=OPTIONS)
        cls.old_client = cls.java_for_all(CLASSES["2.7"], "Client", "dubbo", options=OPTIONS)
        cls.server = cls.java_for_all(CLASSES["3"], "Server", "dubbo", cls.port, "first", options=OPTIONS)
        for peer in (cls.client, cls.old_client):
            peer.expect("ready")
        cls.server.expect("port")

    def test_a_call_through_sidecars_is_a_call_without_them(self):
        self.same_through(self.client, self.port)

    def test_the_same_from_2_7(self):
        self.same_through(self.old_client, self.port)

    def test_the_same_to_2_7(self):
        port = free_port()
        self.java(CLASSES["2.7"], "Server", "dubbo", port, "old", options=OPTIONS).expect("port")
        self.same_through(self.client, port)

    def test_heartbeats_keep_a_quiet_connection(self):
        client_side, server_side = self.pair("dubbo", self.port, server_cluster="pool: {heartbeat_interval: 200ms}")
        through = client_side.ports["in"]
        for client in (self.client, self.old_client):
            self.assertEqual(self.call(through, "echo", client, text="a"), {"value": "a"})
        connections = client_side.metric("dragoman_listener_connections_total", listener="in")
        wait_for("heartbeats of the consumers", lambda: client_side.metric(
            "dragoman_listener_codec_events_total", listener="in", event="heartbeat_answered") >= 8, 30)
        wait_for("heartbeats answered by the provider", lambda: server_side.metric(
            "dragoman_cluster_codec_events_total", cluster="out", event="heartbeat_ack") >= 5)
        for client in (self.client, self.old_client):
            self.assertEqual(self.call(through, "echo", client, text="b"), {"value": "b"})
        self.assertEqual(client_side.metric("dragoman_listener_connections_total", listener="in"), connections)

    def test_another_serialization(self):
        # Only the header of such frames is read: they match no route by method, the rest is as ever.
        client_side, _ = self.pair("dubbo", self.port)
        sidecar = self.sidecar(f"""
listeners:
  - {{name: no_route, address: '127.0.0.1:0', protocol: dubbo, routes: none}}
  - {{name: upstream_timeout, address: '127.0.0.1:0', protocol: dubbo, routes: late}}
routes:
  - {{name: none, routes: [{{match: {{method: other}}, cluster: out}}]}}
  - {{name: late, routes: [{{cluster: out, timeout: 300ms}}]}}
clusters: [{{name: out, endpoints: ['127.0.0.1:{self.port}']}}]
""")
        call = lambda port, method, **more: self.call(port, method, serialization="fastjson2", **more)
        through = client_side.ports["in"]
        for method, more in (("echo", {"text": "hällo"}), ("echo", {"size": 100000}), ("copy", {}), ("nothing", {}), ("refuse", {})):
            self.assertEqual(call(through, method, **more), call(self.port, method, **more))
        self.assertEqual(call(through, "echo", text="a"), {"value": "a"})
        answered = lambda: client_side.metric("dragoman_listener_codec_events_total", event="heartbeat_answered")
        before, connections = answered(), client_side.metric("dragoman_listener_connections_total")
        wait_for("heartbeats", lambda: answered() >= before + 4, 30)
        self.assertEqual(call(through, "echo", text="a"), {"value": "a"})
        self.assertEqual(client_side.metric("dragoman_listener_connections_total"), connections)
        for reason, method, code in (("no_route", "echo", NETWORK), ("upstream_timeout", "pause", TIMEOUT)):
            refused = call(sidecar.ports[reason], method, ms=2000)
            self.assertEqual((refused["error"], refused["code"]), ("RpcException", code))
            self.assertIn(reason, refused["message"])

    def test_providers_call_back_over_the_consumers_connection(self):
        service = free_port()  # 2.7: a consumer of 3.x does so only for what a registry told it
        self.java(CLASSES["2.7"], "Server", "dubbo", service, "old", options=OPTIONS).expect("port")
        client_side, server_side = self.pair("dubbo", service, "pool: {mode: bound}", "pool: {mode: bound}")
        call = lambda method: self.call(client_side.ports["in"], method, self.old_client)
        self.assertEqual(call("subscribe")["value"], None)
        news = [f"news {i}" for i in range(3)]
        wait_for("the calls back", lambda: call("heard") == {"value": news})
        wait_for("their answers", lambda: call("noted") == {"value": [f"heard {text}" for text in news]})
        for sidecar in (client_side, server_side):
            self.assertEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), 1)

    def test_routes_by_group_version_generic_method_and_attachment(self):
        second = free_port()
        self.java(CLASSES["3"], "Server", "dubbo", second, "second", options=OPTIONS).expect("port")
        sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: dubbo, routes: table}}]
routes:
  - name: table
    routes:
      - {{match: {{headers: [{{name: group, exact: blue}}, {{name: version, exact: 2.0.0}}]}}, cluster: second}}
      - {{match: {{headers: [{{name: color, exact: gray}}]}}, cluster: second}}
      - match: {{service: dragoman.interop.HelloService, method: who}}
        cluster: first
        request_headers: {{set: {{color: painted}}}}
      - {{match: {{method: $invoke, headers: [{{name: generic_method, exact: echo}}]}}, cluster: first}}
      - {{match: {{method: echo, headers: [{{name: version, exact: 1.0.0}}]}}, cluster: first}}
clusters:
  - {{name: first, endpoints: ['127.0.0.1:{self.port}']}}
  - {{name: second, endpoints: ['127.0.0.1:{second}']}}
""")
        port = sidecar.ports["in"]
        for client in (self.client, self.old_client):
            who = lambda **more: self.call(port, "who", client, **more)["value"]
            self.assertEqual(who(group="blue", version="2.0.0"), "second-blue null")
            self.assertEqual(who(color="gray"), "second gray")
            self.assertEqual(who(color="green"), "first painted")
            self.assertEqual(who(), "first painted")
            self.assertEqual(self.call(port, "echo", client, text="a", generic=True), {"value": "a"})
            self.assertEqual(self.call(port, "echo", client, text="a"), {"value": "a"})
            refused = self.call(port, "boom", client)
            self.assertEqual((refused["error"], refused["code"]), ("RpcException", NETWORK))
            self.assertIn("no_route", refused["message"])

    def test_local_replies_are_the_right_exception(self):
        sidecar = self.sidecar(f"""
listeners:
  - {{name: late, address: '127.0.0.1:0', protocol: dubbo, routes: late}}
  - {{name: refused, address: '127.0.0.1:0', protocol: dubbo, cluster: refused}}
  - {{name: full, address: '127.0.0.1:0', protocol: dubbo, cluster: full}}
  - {{name: sick, address: '127.0.0.1:0', protocol: dubbo, cluster: sick}}
routes:
  - {{name: late, routes: [{{cluster: out, timeout: 300ms}}]}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.port}']}}
  - {{name: refused, endpoints: ['127.0.0.1:{free_port()}']}}
  - {{name: full, endpoints: ['127.0.0.1:{self.port}'], limits: {{requests: 1}}}}
  - name: sick
    endpoints: ['127.0.0.1:{free_port()}']
    panic_threshold: 0
    health_check: {{type: heartbeat, interval: 100ms, unhealthy_threshold: 1}}
""")
        wait_for("the endpoint is unhealthy", lambda: sidecar.metric("dragoman_cluster_endpoints_healthy", cluster="sick") == 0)
        for client in (self.client, self.old_client):
            late = self.call(sidecar.ports["late"], "pause", client, ms=3000)
            self.assertEqual((late["error"], late["code"]), ("RpcException", TIMEOUT))
            for listener, reason in (("refused", "connect_failure"), ("sick", "no_healthy_upstream")):
                refused = self.call(sidecar.ports[listener], "echo", client, text="a")
                self.assertEqual((refused["error"], refused["code"]), ("RpcException", NETWORK))
                self.assertIn(reason, refused["message"])
            slow = client.send("call", ports=str(sidecar.ports["full"]), method="pause", ms=1500)
            wait_for("the slow call", lambda: sidecar.metric("dragoman_cluster_requests_active", cluster="full") == 1)
            full = self.call(sidecar.ports["full"], "echo", client, text="a")
            self.assertEqual((full["error"], full["code"]), ("RpcException", NETWORK))
            self.assertIn("request_overflow", full["message"])
            self.assertEqual(client.answer(slow)["value"], {"value": "paused"})
            # The connection goes on.
            self.assertEqual(self.call(sidecar.ports["late"], "echo", client, text="a"), {"value": "a"})

    def test_a_sidecar_that_drains_loses_no_call(self):
        with_goaway = f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: dubbo, cluster: out, rpc: {{goaway: true}}}}]
clusters: [{{name: out, endpoints: ['127.0.0.1:{self.port}']}}]
"""
        leaving, staying = self.sidecar(with_goaway), self.sidecar(with_goaway)
        load = self.client.send("load", ports=f"{leaving.ports['in']},{staying.ports['in']}", threads=4, calls=400, every=5)
        for sidecar in (leaving, staying):
            wait_for("calls", lambda: sidecar.metric("dragoman_cluster_requests_total", cluster="out") > 50)
        begin = time.monotonic()
        code, log = leaving.stop()
        self.assertEqual(code, 0, log)
        self.assertLess(time.monotonic() - begin, 8)  # not only because of the deadline of 10 s
        self.assertEqual(self.client.answer(load)["value"], {"wrong": 0, "errors": {}})

    def test_a_provider_that_stops_loses_no_call(self):
        for version in CLASSES:
            ports = [free_port(), free_port()]
            leaving, staying = (self.java(CLASSES[v], "Server", "dubbo", port, v, options=OPTIONS)
                                for v, port in zip((version, "3"), ports))
            for server in (leaving, staying):
                server.expect("port")
            sidecar = self.sidecar(f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: dubbo, cluster: out}}]
clusters: [{{name: out, endpoints: ['127.0.0.1:{ports[0]}', '127.0.0.1:{ports[1]}'], pool: {{goaway_pause: 60s}}}}]
""")
            load = self.client.send("load", ports=str(sidecar.ports["in"]), threads=4, calls=400, every=5)
            wait_for("calls", lambda: sidecar.metric("dragoman_cluster_requests_total", cluster="out") > 100)
            leaving.process.terminate()
            # Its read-only event comes before its end. No call is repeated.
            self.assertEqual(self.client.answer(load)["value"], {"wrong": 0, "errors": {}}, version)
            self.assertGreaterEqual(sidecar.metric("dragoman_cluster_codec_events_total", cluster="out", event="goaway"), 1)
            self.assertEqual(sidecar.metric("dragoman_request_retries_total"), 0)
            # The other one dies in the middle of a call.
            lost = self.client.send("call", ports=str(sidecar.ports["in"]), method="pause", ms=10000)
            wait_for("the call", lambda: sidecar.metric("dragoman_cluster_requests_active", cluster="out") == 1)
            staying.kill()
            answer = self.client.answer(lost)["value"]
            self.assertEqual((answer["error"], answer["code"]), ("RpcException", NETWORK))
            self.assertIn("upstream_reset", answer["message"])


class Triple(Consumers):
    """Dubbo 3's protocol over HTTP/2."""

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.client = cls.java_for_all(CLASSES["3"], "Client", "tri", options=OPTIONS)
        cls.server = cls.java_for_all(CLASSES["3"], "Server", "tri", cls.port, "first", options=OPTIONS)
        cls.client.expect("ready")
        cls.server.expect("port")

    def test_a_call_through_sidecars_is_a_call_without_them(self):
        self.same_through(self.client, self.port, "http2")

    def test_two_hundred_calls_at_once(self):
        # Dubbo has one connection and opens no second one: a call beyond the connection's streams fails at once.
        client_side, server_side = self.pair("http2", self.port)
        through = client_side.ports["in"]
        self.connected(through)
        calls = [self.client.send("call", ports=str(through), method="pause", ms=8000) for _ in range(200)]
        wait_for("all calls at the provider", lambda: server_side.metric("dragoman_requests_active") > 150, 30)
        answers = [self.client.answer(number)["value"] for number in calls]
        self.assertEqual([answer for answer in answers if answer != {"value": "paused"}], [])
        self.assertEqual(client_side.metric("dragoman_listener_connections_total", listener="in"), 1)
        for sidecar in (client_side, server_side):
            wait_for("the end of all calls", lambda s=sidecar: s.metric("dragoman_requests_active") == 0)

    def test_routes_and_local_replies(self):
        sidecar = self.sidecar(f"""
listeners:
  - {{name: in, address: '127.0.0.1:0', protocol: http2, routes: table}}
  - {{name: refused, address: '127.0.0.1:0', protocol: http2, cluster: refused}}
routes:
  - name: table
    routes:
      - {{match: {{headers: [{{name: tri-service-group, exact: blue}}]}}, cluster: out, request_headers: {{set: {{color: painted}}}}}}
      - {{match: {{service: dragoman.interop.HelloService, method: pause}}, cluster: out, timeout: 300ms}}
      - {{match: {{prefix: /dragoman.interop.HelloService/echo}}, cluster: out}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{self.port}']}}
  - {{name: refused, endpoints: ['127.0.0.1:{free_port()}']}}
""")
        port = sidecar.ports["in"]
        self.connected(port)
        self.assertEqual(self.call(port, "who", group="blue", version="2.0.0")["value"], "first-blue painted")
        self.assertEqual(self.call(port, "echo", text="a"), {"value": "a"})
        for where, method, said in ((port, "pause", "DEADLINE_EXCEEDED : upstream_timeout"), (port, "nothing", "UNIMPLEMENTED : no_route"),
                                    (sidecar.ports["refused"], "nothing", "UNAVAILABLE : connect_failure")):
            # Before it is connected, the consumer says so itself.
            wait_for(said, lambda: said in self.call(where, method, ms=3000).get("message", ""), 60)
        self.assertEqual(self.call(port, "echo", text="a"), {"value": "a"})

    def test_a_sidecar_that_drains_loses_no_call(self):
        config = f"""
listeners: [{{name: in, address: '127.0.0.1:0', protocol: http2, cluster: out}}]
clusters: [{{name: out, endpoints: ['127.0.0.1:{self.port}']}}]
"""
        leaving, staying = self.sidecar(config), self.sidecar(config)
        for sidecar in (leaving, staying):
            self.connected(sidecar.ports["in"])
        load = self.client.send("load", ports=f"{leaving.ports['in']},{staying.ports['in']}", threads=4, calls=400, every=5)
        for sidecar in (leaving, staying):
            wait_for("calls", lambda: sidecar.metric("dragoman_cluster_requests_total", cluster="out") > 50)
        code, log = leaving.stop()
        self.assertEqual(code, 0, log)
        # A consumer answers by a GOAWAY of its own and goes on for a while with calls that had chosen the connection: all that it sends is
        # served. It loses those that it could not send any more, at most one in each thread, without sidecars more often.
        done = self.client.answer(load)["value"]
        self.assertEqual(done["wrong"], 0)
        self.assertEqual([error for error in done["errors"] if not error.endswith(CLOSED_BY_ITSELF)], [])
        self.assertLessEqual(sum(done["errors"].values()), 4)


def setUpModule():
    for name, version in VERSIONS.items():
        CLASSES[name] = build("dubbo-java", "Dubbo for Java", dubbo_version=version)


VERSIONS = {"3": "3.3.2", "2.7": "2.7.23"}

if __name__ == "__main__":
    main()
