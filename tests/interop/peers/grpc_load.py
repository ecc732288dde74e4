"""Calls of grpc_server.py or grpc_server.js at full speed: one after the other on one channel, of every kind at once on a second, until
both the number and the seconds given are reached (or 100 s). Prints {"load": {...}}."""
import json
import sys
import threading
import time

import grpc

CONFIG = json.loads(sys.argv[1])
BEGIN = time.monotonic()
lock, counts, errors = threading.Lock(), {}, {}


def enough(channel):
    past = time.monotonic() - BEGIN
    return past > 100 or (past > CONFIG["seconds"] and counts.get(channel, 0) >= CONFIG["calls"])


def check(right, what):
    if not right:
        raise ValueError(what)


def unary(call):
    check(call("unary_unary", "Echo")(b"x" * 100, timeout=60) == b"x" * 100, "echo")


def count(call):
    got = list(call("unary_stream", "Count")(bytes((200,)), timeout=60))
    check(got == [b"%d" % i for i in range(200)], "count")


def join(call):
    check(len(call("stream_unary", "Join")(iter([b"x" * 2000] * 50), timeout=60)) == 50 * 2001 - 1, "join")


def chat(call):
    turn = threading.Semaphore(1)

    def asks():
        for i in range(20):  # each after the answer to the one before
            turn.acquire()
            yield b"%d" % i

    for i, answer in enumerate(call("stream_stream", "Chat")(asks(), timeout=60)):
        check(answer == b"re: %d" % i, "chat")
        turn.release()


def work(channel, call, run):
    while not enough(channel):
        try:
            run(call)
        except Exception as e:  # pylint: disable=broad-except
            said = f"{run.__name__}: {e.code().name} {e.details()}" if isinstance(e, grpc.RpcError) else f"{run.__name__}: {e!r}"
            with lock:
                errors[said] = errors.get(said, 0) + 1
        with lock:
            counts[channel] = counts.get(channel, 0) + 1


threads = []
for name, runs in (("one", [unary]), ("all", [unary, count, join, chat])):
    channel = grpc.insecure_channel(f"127.0.0.1:{CONFIG['port']}", options=[("grpc.use_local_subchannel_pool", 1)])
    for run in runs:
        methods = {}

        def call(kind, method, channel=channel, methods=methods):
            if method not in methods:
                methods[method] = getattr(channel, kind)("/acme.Test/" + method)
            return methods[method]

        threads.append(threading.Thread(target=work, args=(name, call, run)))
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"load": {"calls": counts, "errors": errors, "seconds": time.monotonic() - BEGIN}}), flush=True)
