#!/usr/bin/env python3
"""grpc-java, both ends, with two sidecars between them: its own interoperability tests and full speed, and the same with grpc-go at the
other end."""
import go
import grpc_go_test
import java
from harness import free_port, main, wait_for
from java import JavaTest

# What only grpc-java's own test server knows is left out.
COMMON = ["emptyUnary", "largeUnary", "serverStreaming", "clientStreaming", "pingPong", "emptyStream", "cancelAfterBegin",
          "cancelAfterFirstResponse", "customMetadata", "statusCodeAndMessage", "specialStatusMessage", "unimplementedMethod",
          "unimplementedService", "timeoutOnSleepingServer", "deadlineNotExceeded", "deadlineExceeded", "deadlineExceededServerStreaming",
          "deadlineInPast", "fullDuplexCallShouldSucceed", "veryLargeResponse", "gracefulShutdown"]


class GrpcJava(JavaTest):
    def between(self, port):
        self.client_side, self.server_side = self.pair("http2", port)
        return self.client_side.ports["in"]

    def server(self):
        port = free_port()
        self.java(CLASSES, "Server", port).expect("port")
        return port

    def go_server(self):
        return self.peer(go_program(), "serve").expect("port")["port"]

    def nothing_is_left(self):
        for sidecar in (self.client_side, self.server_side):
            wait_for("the end of all calls", lambda s=sidecar: s.metric("dragoman_requests_active") == 0)

    def suite(self, through, port, names, at_least):
        suite = self.java(CLASSES, "Client", "suite", through, port, *names)
        done = suite.expect("suite", seconds=200)
        output = suite.output()
        # This case has DEADLINE_EXCEEDED by then, and wants the words of the client's own clock, or of one whose server resets. Where the
        # client is slow, a sidecar's clock is first, and it says why.
        late = ["deadlineExceeded"] if "AssertionError: caller_timeout" in output else []
        self.assertIn(done["failed"], ([], late), output[-6000:])
        self.assertGreaterEqual(done["suite"], at_least, suite.output()[-2000:])
        self.nothing_is_left()

    def load(self, port):
        done = self.java(CLASSES, "Client", "load", self.between(port), 10000, 17).expect("load", seconds=150)
        print(f"{done['load'] / float(done['seconds']):.0f} calls/s", flush=True)
        self.assertEqual(done["errors"], {})
        self.assertGreaterEqual(done["load"], 10000)
        self.assertEqual(self.client_side.metric("dragoman_listener_connections_total", listener="in"), 1)
        self.nothing_is_left()

    def test_every_case(self):
        port = free_port()
        self.suite(self.between(port), port, [], 39)

    def test_every_case_that_a_server_in_go_knows(self):
        self.suite(self.between(self.go_server()), 0, COMMON, len(COMMON))

    def test_every_case_by_a_client_in_go(self):
        client = self.peer(go_program(), "suite", str(self.between(self.server())), *grpc_go_test.CASES)
        for name in grpc_go_test.CASES:
            client.expect("case", name)
        client.wait()
        self.nothing_is_left()

    def test_full_speed(self):
        self.load(self.server())

    def test_full_speed_to_a_server_in_go(self):
        self.load(self.go_server())

    def test_full_speed_by_a_client_in_go(self):
        client = self.peer(go_program(), "load", str(self.between(self.server())), "all", "10000", "17")
        self.assertEqual(client.expect("load", seconds=150)["load"]["errors"], {})
        client.wait()
        self.nothing_is_left()


def go_program():
    """The peer of grpc_go_test.py."""
    if not PROGRAMS:
        PROGRAMS.append(go.build("grpc-go", "grpc-go"))
    return PROGRAMS[0]


def setUpModule():
    global CLASSES  # pylint: disable=global-statement
    CLASSES = java.build("grpc-java", "grpc-java")
    go_program()


CLASSES = ""
PROGRAMS = []

if __name__ == "__main__":
    main()
