#!/usr/bin/env python3
"""SOFARPC for Node (sofa-rpc-node, sofa-bolt-node), clients and servers, Bolt v1 and v2, Hessian and Protobuf."""
import time

from harness import InteropTest, free_port, main, one_way, wait_for

KINDS = [(codec, version) for version in ("v1", "v2", "v2-crc") for codec in ("hessian2", "protobuf")]
PROTO = "dragoman.interop.ProtoService"
# What sofa-bolt-node raises for an answer that has a status and no content, whatever the status.
REFUSED = ("Error", "Server exception when invoke with callback.Please check the server log!")


class Sofa(InteropTest):
    def server(self, port=None, name="a"):
        server = self.node("sofa_server.js", port=port or free_port(), name=name)
        server.port = server.expect("port")["port"]
        return server

    def client(self):
        client = self.node("sofa_client.js")
        client.expect("ready")
        return client

    def load(self, port, **config):
        return self.node("sofa_load.js", **{"port": port, "connections": 10, "calls": 1000, "depth": 8, "kinds": KINDS, **config})

    def finished(self, load, seconds=120):
        """What a load found, after its end; no answer may have gone to another call."""
        done = load.expect("done", seconds=seconds)["done"]
        load.wait()
        self.assertEqual(done["wrong"], 0)
        return done


class Load(Sofa):
    def test_100000_calls_of_50_clients_share_few_connections(self):
        server = self.server()
        client_side, server_side = self.pair("bolt", server.port)
        # Two processes: their request ids are the same, on every connection.
        loads = [self.load(client_side.ports["in"], connections=25, calls=2000, depth=16) for _ in range(2)]
        for load in loads:
            done = self.finished(load)
            self.assertEqual((done["calls"], done["errors"]), (50000, {}))
        most = 2 * 3  # workers, and one for each version of the protocol
        for sidecar in (client_side, server_side):
            self.assertEqual(sidecar.metric("dragoman_cluster_requests_total", cluster="out", outcome="ok"), 100000)
            self.assertLessEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"), most)
            self.assertEqual(sidecar.cluster("out")["active_requests"], 0)
        self.assertEqual(client_side.metric("dragoman_listener_connections_total", listener="in"), 50)
        seen = self.client().ask("invoke", port=server.port, method="connections")["value"]
        self.assertLessEqual(seen, most + 1)
        metrics = client_side.admin("/metrics")[1]
        lint = self.run_tool("promtool", "check", "metrics", input=metrics, check=False)
        self.assertEqual(lint.returncode, 0, lint.stderr)


class Calls(Sofa):
    def setUp(self):
        self.sofa = self.server()
        self.caller = self.client()

    def refused(self, port, reason, sidecar, **call):
        """A call that the sidecar answers itself: as an error, at once, and the connection stays."""
        before = sidecar.metric("dragoman_request_reasons_total", reason=reason)
        begin = time.monotonic()
        answer = self.caller.ask("invoke", port=port, **{"method": "plus", "args": [1, 2], **call})
        self.assertEqual((answer.get("error"), answer.get("message")), REFUSED, answer)
        self.assertLess(time.monotonic() - begin, 4)  # the client waits for 5 s
        self.assertEqual(sidecar.metric("dragoman_request_reasons_total", reason=reason), before + 1)

    def test_a_call_through_sidecars_is_a_call_without_them(self):
        client_side, _ = self.pair("bolt", self.sofa.port)
        hessian = [("plus", [1, 2]), ("echo", ["tökén"]), ("echo", ["x" * 200000]), ("describe", [{"a": 1, "b": ["c"]}]),
                   ("boom", []), ("nosuch", []), ("who", [])]
        proto = [("echo", [{"token": "t", "number": 7}]), ("echo", [{"token": "x" * 200000}]), ("fail", [{"token": "t"}])]
        for codec, version in KINDS:
            for method, args in hessian if codec == "hessian2" else proto:
                call = {"method": method, "args": args, "codec": codec, "version": version,
                        "props": {"rpc_trace_context": {"sofaTraceId": "0a0fe8ec1700000000000100112345", "sofaRpcId": "0"}}}
                if codec == "protobuf":
                    call["service"] = PROTO
                direct, through = ({**self.caller.ask("invoke", port=port, **call), "answer": 0}
                                   for port in (self.sofa.port, client_side.ports["in"]))
                self.assertEqual(through, direct, call)
                self.assertEqual("value" in direct, method not in ("boom", "nosuch", "fail"), direct)
        # A service the server does not know is its answer, not the sidecar's.
        direct, through = (self.caller.ask("invoke", port=port, method="x", service="dragoman.interop.Missing")["message"]
                           for port in (self.sofa.port, client_side.ports["in"]))
        self.assertEqual(through, direct)

    def test_routes_by_what_only_hessian_bodies_say(self):
        """Of a Hessian call the client's header section has the service alone."""
        other = self.server(name="b")
        xid, trace = "127.0.0.1:8091:4645713214472194", "0a0fe8ec1700000000000100112345"
        client_side = self.sidecar(f"""
listeners:
  - {{name: by_method, address: '127.0.0.1:0', protocol: bolt, routes: by_method, rpc: {{bolt: {{read_body: true}}}}}}
  - {{name: by_id, address: '127.0.0.1:0', protocol: bolt, routes: by_id, rpc: {{bolt: {{read_body: true}}}}}}
routes:
  - name: by_method
    routes: [{{match: {{method: [who]}}, cluster: b}}, {{cluster: a}}]
  - name: by_id
    routes:
      - {{match: {{headers: [{{name: xid, exact: '{xid}'}}]}}, cluster: b}}
      - {{match: {{headers: [{{name: trace_id, exact: {trace}}}]}}, cluster: b}}
      - {{cluster: a}}
clusters:
  - {{name: a, endpoints: ['127.0.0.1:{self.sofa.port}']}}
  - {{name: b, endpoints: ['127.0.0.1:{other.port}']}}
""")
        by_method, by_id = client_side.ports["by_method"], client_side.ports["by_id"]
        for version in ("v1", "v2", "v2-crc"):
            def who(port, v=version, **props):
                return self.caller.ask("invoke", port=port, method="who", version=v, props=props)["value"]
            self.assertEqual(who(by_method), "b")
            self.assertEqual(self.caller.ask("invoke", port=by_method, method="plus", args=[1, 2], version=version)["value"], 3)
            self.assertEqual(who(by_id), "a")
            self.assertEqual(who(by_id, TX_XID=xid), "b")
            self.assertEqual(who(by_id, TX_XID=xid + "0", other={"deep": [1, {"TX_XID": xid}]}), "a")
            self.assertEqual(who(by_id, rpc_trace_context={"sofaTraceId": trace, "sofaRpcId": "0"}), "b")
            text = "y" * 200_000  # the arguments are not looked at
            self.assertEqual(self.caller.ask("invoke", port=by_id, method="echo", args=[text], version=version)["value"], text)
        self.assertEqual(client_side.metric("dragoman_requests_total", listener="by_method", cluster="a", outcome="ok"), 3)
        self.assertEqual(client_side.metric("dragoman_listener_codec_events_total", event="body_unread"), 0)

    def test_heartbeats_of_both_sides(self):
        client_side, server_side = self.pair("bolt", self.sofa.port, server_cluster="pool: {heartbeat_interval: 100ms}")
        port = client_side.ports["in"]
        for sent, version in enumerate(("v1", "v2", "v2-crc"), 1):
            self.assertEqual(self.caller.ask("invoke", port=port, method="plus", args=[1, 2], version=version)["value"], 3)
            beat = self.caller.ask("heartbeat", port=port, version=version, codec=None)
            self.assertEqual((beat.get("value"), beat.get("open")), (True, True), beat)
            events = client_side.metric("dragoman_listener_codec_events_total", listener="in", event="heartbeat_answered")
            self.assertEqual(events, sent)
        # Ours towards the server, on the connections that the three versions opened; none of them ends.
        wait_for("9 heartbeats answered by the server", lambda: server_side.metric(
            "dragoman_cluster_codec_events_total", cluster="out", event="heartbeat_ack") >= 9)
        self.assertEqual(server_side.metric("dragoman_request_reasons_total", reason="heartbeat_lost"), 0)
        self.assertEqual(server_side.cluster("out")["connections"], server_side.metric(
            "dragoman_cluster_connections_total", cluster="out"))
        self.assertEqual(self.caller.ask("closed")["value"], 0)

    def test_one_way_calls_arrive_and_the_servers_answer_to_them_does_no_harm(self):
        client_side, server_side = self.pair("bolt", self.sofa.port)
        port = client_side.ports["in"]
        sent = [f"note {i}" for i in range(100)]
        for text in sent:
            self.caller.ask("one_way", port=port, method="note", args=[text])
        noted = wait_for("all notes", lambda: (lambda n: len(n) == 100 and n)(
            self.caller.ask("invoke", port=port, method="noted")["value"]))
        self.assertEqual(sorted(noted), sorted(sent))
        # sofa-rpc-node answers them, which the protocol forbids.
        wait_for("the answers, which are dropped", lambda: server_side.metric(
            "dragoman_cluster_codec_events_total", cluster="out", event="one_way_answered") == 100)
        self.assertEqual(client_side.metric("dragoman_cluster_codec_events_total", cluster="out", event="one_way_answered"), 0)
        self.assertEqual(client_side.cluster("out")["active_requests"], 0)
        self.assertEqual(self.caller.ask("closed")["value"], 0)

    def test_the_clients_own_timeout(self):
        client_side, server_side = self.pair("bolt", self.sofa.port)
        port = client_side.ports["in"]
        for _ in range(3):
            answer = self.caller.ask("invoke", port=port, method="wait", args=[900], timeout_ms=300)
            # Its timer or the sidecar's, which both run for the 300 ms of the frame.
            self.assertIn(answer.get("error"), ("RpcResponseTimeoutError", REFUSED[0]), answer)
            self.assertEqual(self.caller.ask("invoke", port=port, method="plus", args=[1, 2])["value"], 3)
        wait_for("no call under way", lambda: client_side.cluster("out")["active_requests"] == 0)
        for sidecar in (client_side, server_side):
            self.assertEqual(sidecar.metric("dragoman_cluster_connections_total", cluster="out"),
                             sidecar.cluster("out")["connections"])

    def test_the_sidecars_own_answers_are_errors_to_the_client(self):
        dead = free_port()
        _, server_side = self.pair("bolt", self.sofa.port)
        service = server_side.ports["in"]
        sidecar = self.sidecar(f"""
listeners:
  - {{name: routed, address: '127.0.0.1:0', protocol: bolt, routes: rpc}}
  - {{name: unhealthy, address: '127.0.0.1:0', protocol: bolt, cluster: unhealthy}}
  - {{name: refused, address: '127.0.0.1:0', protocol: bolt, cluster: refused}}
  - {{name: small, address: '127.0.0.1:0', protocol: bolt, cluster: small}}
routes:
  - name: rpc
    routes:
      - {{match: {{service: 'dragoman.interop.HelloService:*'}}, cluster: out, timeout: 300ms}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{service}']}}
  - name: unhealthy
    endpoints: ['127.0.0.1:{dead}']
    panic_threshold: 0
    health_check: {{type: heartbeat, interval: 100ms, unhealthy_threshold: 1}}
  - {{name: refused, endpoints: ['127.0.0.1:{dead}']}}
  - {{name: small, endpoints: ['127.0.0.1:{service}'], limits: {{requests: 1}}}}
""")
        ports = sidecar.ports
        wait_for("the endpoint is unhealthy", lambda: sidecar.metric(
            "dragoman_cluster_endpoints_healthy", cluster="unhealthy") == 0)
        for version in ("v1", "v2", "v2-crc"):
            self.assertEqual(self.caller.ask(
                "invoke", port=ports["routed"], method="plus", args=[1, 2], version=version)["value"], 3)
            self.refused(ports["routed"], "no_route", sidecar, version=version, service="dragoman.interop.Missing")
            self.refused(ports["routed"], "upstream_timeout", sidecar, version=version, method="wait", args=[900])
            self.refused(ports["unhealthy"], "no_healthy_upstream", sidecar, version=version)
            self.refused(ports["refused"], "connect_failure", sidecar, version=version)
            slow = self.caller.send("invoke", port=ports["small"], method="wait", args=[600], version=version)
            wait_for("the slow call is under way", lambda: sidecar.cluster("small")["active_requests"] == 1)
            self.refused(ports["small"], "request_overflow", sidecar, version=version)
            self.assertEqual(self.caller.answer(slow)["value"], "waited")
        self.refused(ports["routed"], "no_route", sidecar, service=PROTO, codec="protobuf", method="echo", args=[{"token": "x"}])
        # The service dies in the middle of a call: its sidecar says so, and ours passes the answer on.
        wait_for("the calls that took too long are over", lambda: server_side.cluster("out")["active_requests"] == 0)
        before = server_side.metric("dragoman_request_reasons_total", reason="upstream_reset")
        answer = self.caller.ask("invoke", port=ports["small"], method="crash")
        self.assertEqual((answer.get("error"), answer.get("message")), REFUSED, answer)
        self.assertEqual(server_side.metric("dragoman_request_reasons_total", reason="upstream_reset"), before + 1)
        self.assertEqual(self.caller.ask("closed")["value"], 0)


class Restarts(Sofa):
    def test_a_server_restarts_under_load(self):
        first, second = self.server(name="first"), self.server(name="second")
        server_side = self.sidecar(f"""
listeners:
  - {{name: in, address: '127.0.0.1:0', protocol: bolt, routes: r}}
routes:
  - name: r
    routes: [{{match: {{}}, cluster: out, retry: {{on: [connect_failure, refused], attempts: 3, backoff: 1ms}}}}]
clusters:
  - name: out
    endpoints: ['127.0.0.1:{first.port}', '127.0.0.1:{second.port}']
    limits: {{retries: 1000}}
    health_check: {{type: heartbeat, interval: 100ms, timeout: 500ms, unhealthy_threshold: 1, healthy_threshold: 1}}
""")
        client_side = self.sidecar(one_way("bolt", server_side.ports["in"], "health_check: {type: heartbeat, interval: 500ms}"))
        healthy = lambda n: wait_for(f"{n} endpoints are healthy", lambda: server_side.metric(
            "dragoman_cluster_endpoints_healthy", cluster="out") == n)
        healthy(2)
        load = self.load(client_side.ports["in"], connections=8, calls=10**9, depth=4, pace_ms=10)
        load.expect("started")
        first.kill()
        healthy(1)
        first = self.server(first.port, name="first again")
        healthy(2)
        caller = self.client()
        wait_for("calls reach the server that came back", lambda: caller.ask(
            "invoke", port=client_side.ports["in"], method="who")["value"] == "first again")
        load.process.terminate()
        done = self.finished(load)
        # What was under way on the dead server is lost, also what the kernel took for it just before; no call is repeated
        # that may have run.
        self.assertLessEqual(done["failed"], 2 * 8 * 4, done)
        self.assertLessEqual(set(done["errors"]), {": ".join(REFUSED)}, done)
        self.assertGreater(done["calls"], 100)
        self.assertEqual(client_side.cluster("out")["active_requests"], 0)

    def test_a_server_side_sidecar_drains_under_load(self):
        server = self.server()
        with_goaway = f"""
listeners:
  - {{name: in, address: '127.0.0.1:0', protocol: bolt, cluster: out, rpc: {{goaway: true}}}}
clusters:
  - {{name: out, endpoints: ['127.0.0.1:{server.port}']}}
"""
        first, second = self.sidecar(with_goaway), self.sidecar(with_goaway)
        client_side = self.sidecar(f"""
listeners:
  - {{name: in, address: '127.0.0.1:0', protocol: bolt, routes: rpc}}
routes:
  - name: rpc
    routes:
      - {{cluster: out, retry: {{on: [connect_failure, refused], attempts: 2}}}}
clusters:
  - name: out
    endpoints: ['127.0.0.1:{first.ports["in"]}', '127.0.0.1:{second.ports["in"]}']
    limits: {{retries: 100}}
    health_check: {{type: heartbeat, interval: 100ms, unhealthy_threshold: 1}}
""")
        load = self.load(client_side.ports["in"], calls=10**9, pace_ms=5)
        load.expect("started")
        wait_for("both are used", lambda: all(
            s.metric("dragoman_requests_total", listener="in", outcome="ok") > 100 for s in (first, second)))
        first.terminate()
        begin = time.monotonic()
        first.process.wait(timeout=30)
        self.assertLess(time.monotonic() - begin, 8)  # not only because of the deadline of 10 s
        ended = second.metric("dragoman_requests_total", listener="in", outcome="ok")
        wait_for("calls go on", lambda: second.metric("dragoman_requests_total", listener="in", outcome="ok") > ended + 500)
        load.process.terminate()
        done = self.finished(load)
        self.assertEqual((done["failed"], done["retried"]), (0, 0), done)

    def test_a_client_side_sidecar_is_replaced_under_load(self):
        server = self.server()
        server_side = self.sidecar(one_way("bolt", server.port))
        port = free_port()
        config = one_way("bolt", server_side.ports["in"]).replace("127.0.0.1:0", f"127.0.0.1:{port}")
        old = self.sidecar(config, drain="{deadline: 3s, idle_grace: 300ms}")
        # Connections that are idle now and then are closed while they are; those that never are, at the deadline.
        calm = self.load(port, connections=20, calls=10**9, depth=1, pace_ms=700, retry_closed=True)
        busy = self.load(port, connections=5, calls=10**9, depth=4, pace_ms=5, retry_closed=True)
        for load in (calm, busy):
            load.expect("started")
        wait_for("calls", lambda: old.metric("dragoman_requests_total", listener="in", outcome="ok") > 500)
        new = self.sidecar(config, arguments=("--share-ports",))
        old.terminate()
        old.process.wait(timeout=30)
        wait_for("all clients have come over", lambda: new.metric("dragoman_listener_connections_active", listener="in") == 25)
        reached = new.metric("dragoman_requests_total", listener="in", outcome="ok")
        wait_for("calls go on", lambda: new.metric("dragoman_requests_total", listener="in", outcome="ok") > reached + 200)
        for load in (calm, busy):
            load.process.terminate()
        # Without a goaway a call may be on its way while its idle connection is closed: nobody can rule it out, and at most
        # once for each.
        done = self.finished(calm)
        self.assertEqual(done["failed"], 0, done)
        self.assertLessEqual(done["retried"], 20, done)
        done = self.finished(busy)
        self.assertEqual(done["failed"], 0, done)
        self.assertLessEqual(done["retried"], 2 * 5 * 4, done)


if __name__ == "__main__":
    main()
