#!/usr/bin/env python3
"""grpc-go, both ends, with its default options and two sidecars between them: gRPC's own interoperability cases, what they leave out,
and full speed for longer than any budget is counted over."""
from go import build
from harness import InteropTest, main, wait_for

CASES = ["empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream", "timeout_on_sleeping_server",
         "cancel_after_begin", "cancel_after_first_response", "custom_metadata", "status_code_and_message", "special_status_message",
         "unimplemented_method", "unimplemented_service", "deadlines", "fields", "failures", "large"]


class GrpcGo(InteropTest):
    def setUp(self):
        self.server = self.peer(PROGRAM, "serve")
        self.client_side, self.server_side = self.pair("http2", self.server.expect("port")["port"])
        self.port = self.client_side.ports["in"]

    def nothing_is_left(self):
        for sidecar in (self.client_side, self.server_side):
            wait_for("the end of all calls", lambda s=sidecar: s.metric("dragoman_requests_active") == 0)

    def test_every_case(self):
        client = self.peer(PROGRAM, "suite", str(self.port), *CASES)
        for name in CASES:
            client.expect("case", name)
        client.wait()
        self.server.expect("cancelled", "full_duplex")
        # What is cancelled as soon as it has begun may never get that far: both frames may come in one read.
        self.nothing_is_left()

    def test_full_speed_and_keepalive(self):
        # More than 500 calls a second for more than 15 s; a slower machine takes longer to the same number. One call after the other
        # has the most control frames: WINDOW_UPDATE and PING for each.
        quiet = self.peer(PROGRAM, "quiet", str(self.port), "40")
        for kind in ("one", "all"):
            client = self.peer(PROGRAM, "load", str(self.port), kind, "10000", "17")
            done = client.expect("load", seconds=150)["load"]
            print(f"{kind}: {done['calls'] / done['seconds']:.0f} calls/s, {done['messages'] / done['seconds']:.0f} messages/s", flush=True)
            self.assertEqual(done["errors"], {}, kind)
            self.assertGreaterEqual(done["calls"], 10000)
            client.wait()
        quiet.expect("quiet", seconds=100)
        quiet.wait()
        # One connection each, from the first call to the last.
        self.assertEqual(self.client_side.metric("dragoman_listener_connections_total", listener="in"), 3)
        self.nothing_is_left()


def setUpModule():
    global PROGRAM  # pylint: disable=global-statement
    PROGRAM = build("grpc-go", "grpc-go")


PROGRAM = ""

if __name__ == "__main__":
    main()
