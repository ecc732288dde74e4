"""A gRPC service without generated code: messages are bytes. Prints {"port": N}; ends when its input does."""
import concurrent.futures
import json
import sys
import time

import grpc

LIMIT = 16 << 20
calls = []


def echo(request, context):
    metadata = dict(context.invocation_metadata())
    context.set_trailing_metadata((("seen-bin", metadata.get("mine-bin", b"")),
                                   ("seen-left", str(context.time_remaining() or -1))))
    return request


def fail(request, context):
    context.abort(grpc.StatusCode(tuple(s.value for s in grpc.StatusCode if s.value[0] == request[0])[0]), "50% schön")


def flaky(request, context):
    """Every other call finds nobody."""
    calls.append(request)
    if len(calls) % 2:
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
    return b"%d" % len(calls)


def pushback(request, context):
    """Fails the first time, and says how long to wait."""
    calls.append(request)
    if len(calls) % 2:
        context.set_trailing_metadata((("grpc-retry-pushback-ms", request.decode()),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "later")
    return b""


def never(_request, context):
    context.add_callback(lambda: print(json.dumps({"cancelled": True}), flush=True))
    while context.is_active():
        time.sleep(0.02)
    return b""


def drip(_request, context):
    """A stream that moves all the time and never ends."""
    while context.is_active():
        yield b"drop"
        time.sleep(0.05)


HANDLERS = {
    "Echo": grpc.unary_unary_rpc_method_handler(echo),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
    "Pushback": grpc.unary_unary_rpc_method_handler(pushback),
    "Never": grpc.unary_unary_rpc_method_handler(never),
    "Drip": grpc.unary_stream_rpc_method_handler(drip),
    "Count": grpc.unary_stream_rpc_method_handler(lambda request, _: (b"%d" % i for i in range(request[0]))),
    "Join": grpc.stream_unary_rpc_method_handler(lambda requests, _: b",".join(requests)),
    "Chat": grpc.stream_stream_rpc_method_handler(lambda requests, _: (b"re: " + r for r in requests)),
}
SERVING = {b"": b"\x08\x01", b"\x0a\x09acme.Test": b"\x08\x01", b"\x0a\x09acme.Down": b"\x08\x02"}


def check(request, context):
    if request not in SERVING:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return SERVING[request]


server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", LIMIT)])
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("acme.Test", HANDLERS),
    grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)})))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(json.dumps({"port": port}), flush=True)
sys.stdin.read()
