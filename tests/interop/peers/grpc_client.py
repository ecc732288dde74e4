"""Calls of grpc_server.py on the port given; prints what came of each as {"call": name, ...}."""
import json
import sys
import threading
import time

import grpc

CONFIG = json.loads(sys.argv[1])
channel = grpc.insecure_channel(f"127.0.0.1:{CONFIG['port']}", options=[
    ("grpc.max_receive_message_length", 16 << 20), ("grpc.enable_retries", 0)])


def method(name, kind="unary_unary"):
    return getattr(channel, kind)(name if name[0] == "/" else "/acme.Test/" + name)


def say(call, **what):
    print(json.dumps({"call": call, **what}), flush=True)


def error(call, run):
    start = time.monotonic()
    try:
        list(run()) if call == "drip" else run()
        say(call, code="OK")
    except grpc.RpcError as e:
        say(call, code=e.code().name, details=e.details(), seconds=time.monotonic() - start)


def kinds():
    raw = bytes((0, 1, 2, 255))
    body, call = method("Echo").with_call(b"text", timeout=30, metadata=(("mine-bin", raw),))
    trailing = dict(call.trailing_metadata())
    say("unary", same=body == b"text", binary=trailing["seen-bin"] == raw, left=float(trailing["seen-left"]))
    big = bytes(range(256)) * (4 << 12)
    say("big", same=method("Echo")(big, timeout=60) == big)
    say("server_stream", got=[m.decode() for m in method("Count", "unary_stream")(b"\x05", timeout=30)])
    say("client_stream", got=method("Join", "stream_unary")(iter((b"a", b"b", b"c")), timeout=30).decode())
    turn, got = threading.Semaphore(1), []

    def asks():
        for i in range(3):  # each after the answer to the one before
            turn.acquire()
            yield b"%d" % i

    for answer in method("Chat", "stream_stream")(asks(), timeout=30):
        got.append(answer.decode())
        turn.release()
    say("chat", got=got)


def errors():
    error("fail", lambda: method("Fail")(b"\x05", timeout=30))
    error("unimplemented", lambda: method("/acme.Unknown/Say")(b"", timeout=30))
    error("deadline", lambda: method("Never")(b"", timeout=0.5))
    error("drip", lambda: method("Drip", "unary_stream")(b"", timeout=0.7))
    call = method("Never").future(b"", timeout=30)
    time.sleep(0.3)
    call.cancel()
    say("cancel", code=call.code().name)


def once():
    error("once", lambda: method(CONFIG.get("path", "Echo"))(b"", timeout=CONFIG.get("timeout", 20)))


{"kinds": kinds, "errors": errors, "once": once}[CONFIG["run"]]()
