#!/usr/bin/env python3
"""Memory stays within what the configuration promises: every protocol, each way to be slow or greedy, from both sides.

  memory_test.py DRAGOMAN [--only PROTOCOL[,PROTOCOL]] [--ways WAY[,WAY]] [--seconds N] [--resident]

The bound of a case is counted from the limits below, for each connection that the proxy has (ARCHITECTURE.md, "Memory"). The most that
dragoman_memory_bytes showed must stay under it, and be zero soon after everybody left. With --resident (not under a sanitizer) the
process itself must not have grown by more, and must give back what a burst took."""
import argparse
import asyncio
import os
import re
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "stress"))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import wires  # noqa: E402  pylint: disable=wrong-import-position
from sidecar import Sidecar, wait_for  # noqa: E402  pylint: disable=wrong-import-position
from wires import WIRES  # noqa: E402  pylint: disable=wrong-import-position

KIB = 1024
LIMIT = 256 * KIB   # each of the limits that count bytes
HIGH = 64 * KIB
STREAMS = 64
STREAM = 20 * KIB   # a stream, both its exchanges, and a head beyond what they hold inside
CHUNK = 16 * KIB
TOKEN = b"<t00000000005a>"
LARGE = TOKEN * 4000          # 60 KB
LARGER = {"dubbo": LARGE, "seata": LARGE}  # what has lengths of two bytes; others: four times as much


def promise_downstream(http):
    """What one client connection may make the proxy keep."""
    output = HIGH + 64 * KIB                     # buffer.high, and what one read may add
    waiting = LIMIT + CHUNK                      # waiting_bytes_max
    own = 2 * LIMIT + HIGH if http else LIMIT + HIGH + CHUNK  # http2.memory_bytes_max, or rpc.answers_bytes_max and held answers
    frame = LIMIT + CHUNK                        # one frame that is put together
    return output + waiting + own + frame + STREAMS * STREAM


def promise_upstream(http):
    return HIGH + 64 * KIB + LIMIT + CHUNK + (2 * LIMIT if http else LIMIT)


def configuration(ports):
    listeners, clusters, codecs = [], [], []
    limits = (f"waiting_bytes_max: {LIMIT // KIB}KiB, buffer: {{high: {HIGH // KIB}KiB, low: 16KiB, write_stall_timeout: 60s}}, "
              "timeout: 8s")
    for name, port in ports.items():
        kind = name.split("-")[0]
        wire = WIRES.get(kind)
        protocol = wire.name if wire else kind
        if wire and wire.codec and not codecs:
            codecs.append(f"  - {{name: {wire.name}, {wire.codec}}}")
        own = (f"rpc: {{frame_bytes_max: {LIMIT // KIB}KiB, answers_bytes_max: {LIMIT // KIB}KiB, streams_max: {STREAMS}, "
               "frame_timeout: 60s}")
        if protocol == "http2":
            own = f"http2: {{memory_bytes_max: {LIMIT // KIB}KiB, streams_max: {STREAMS}}}"
        if protocol == "http1":
            own = "http: {body_idle_timeout: 60s}"
        other = own if protocol != "http1" else "http: {}"
        if protocol != "http1":
            other = re.sub(r", (answers_bytes_max: \w+|streams_max: \d+|frame_timeout: 60s)", "", own).replace(
                f", streams_max: {STREAMS}", "")
        listeners.append(f"  - {{name: {name}, address: '127.0.0.1:0', protocol: {protocol}, cluster: {name}, {limits}, {own}}}")
        clusters.append(f"  - {{name: {name}, protocol: {protocol}, endpoints: ['127.0.0.1:{port}'], "
                        f"buffer: {{high: {HIGH // KIB}KiB, low: 16KiB, write_stall_timeout: 60s}}, {other}}}")
    parts = {"codecs": codecs, "listeners": listeners, "clusters": clusters}
    return "".join(f"{key}:\n" + "\n".join(lines) + "\n" for key, lines in parts.items() if lines)


# ---------------------------------------------------------------- the protocols, as far as greed needs them

class Http1:
    def opening(self):
        return b""

    def request(self, number, body):  # pylint: disable=unused-argument
        return b"POST /acme HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def answer(self, size):
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size

    def unasked(self):
        return self.answer(10)

    def requests_in(self, buf):
        """Takes whole requests off the front; gives an answer's arguments for each."""
        while (end := buf.find(b"\r\n\r\n")) >= 0:
            length = int(re.search(rb"(?i)content-length: (\d+)", bytes(buf[:end]) + b"\r\ncontent-length: 0")[1])
            if len(buf) < end + 4 + length:
                return
            del buf[:end + 4 + length]
            yield None

    def answer_to(self, _, size):
        return self.answer(size)


class Http2:
    def opening(self):
        return (wires.PREFACE + wires.h2_frame(wires.SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 30)) +
                wires.h2_frame(wires.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 30)))

    def request(self, number, body):
        return wires.h2_request(2 * number + 1, body)

    def unasked(self):
        return wires.h2_frame(wires.PING, 0, 0, b"12345678") + wires.h2_frame(wires.SETTINGS, 0, 0)

    def requests_in(self, buf):
        if buf.startswith(wires.PREFACE):
            del buf[:len(wires.PREFACE)]
        for kind, flags, stream, payload in wires.h2_frames(buf):
            if kind == wires.SETTINGS and not flags & wires.ACK:
                yield wires.h2_frame(wires.SETTINGS, wires.ACK, 0)
            elif kind == wires.DATA and payload:
                yield b"".join(wires.h2_frame(wires.WINDOW_UPDATE, 0, s, struct.pack(">I", len(payload))) for s in (0, stream))
            if kind in (wires.HEADERS, wires.DATA) and flags & wires.END_STREAM:
                yield stream

    def answer_to(self, stream, size):
        if isinstance(stream, bytes):
            return stream
        return wires.h2_frame(wires.HEADERS, wires.END_HEADERS, stream, b"\x88") + b"".join(
            wires.h2_frame(wires.DATA, 0, stream, b"x" * min(16_000, size - i)) for i in range(0, size, 16_000)) + \
            wires.h2_frame(wires.DATA, wires.END_STREAM, stream)


class Framed:
    def __init__(self, wire):
        self.wire = wire

    def opening(self):
        return b""

    def request(self, number, body):
        return self.wire.request(number, body)

    def unasked(self):
        return self.wire.answer(self.wire.request(1, b""), 77) + self.wire.request(5, b"")

    def requests_in(self, buf):
        while (n := self.wire.size(buf)) is not None and n <= len(buf):
            frame = bytes(buf[:n])
            del buf[:n]
            kind, number = self.wire.describe(frame)
            if kind == "request":
                yield number

    def answer_to(self, number, size):
        return self.wire.answer(self.wire.request(number, TOKEN * (size // len(TOKEN))), number)


# ---------------------------------------------------------------- who is slow or greedy, and how

class Case:
    def __init__(self, name, port, way):
        self.kind = {"http1": Http1, "http2": Http2}.get(name, lambda: Framed(WIRES[name]))()
        self.port, self.way, self.larger = port, way, LARGER.get(name, LARGE * 4)
        self.tried, self.over = 0, False
        self.sockets, self.backends = [], set()

    async def serve(self, reader, writer):
        """The backend's part."""
        self.backends.add(asyncio.current_task())
        try:
            if self.over:
                return  # accepted late: nobody would end it
            if self.way == "deaf backend":
                writer.transport.pause_reading()
                await asyncio.sleep(60)
            if isinstance(self.kind, Http2):
                writer.write(wires.h2_frame(wires.SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20)))
            buf, said = bytearray(), False
            if self.way == "flooding backend":
                self.backends.add(asyncio.ensure_future(self.swallow(reader)))
                while True:
                    writer.write(self.kind.unasked() * 100)
                    self.tried += 100 * len(self.kind.unasked())
                    await writer.drain()
            while more := await reader.read(65536):
                buf += more
                for request in self.kind.requests_in(buf):
                    if isinstance(request, bytes):  # not to be answered, but to be said
                        writer.write(request)
                    elif self.way == "unread answers":
                        writer.write(self.kind.answer_to(request, len(LARGE)))
                        self.tried += len(LARGE)
                        await writer.drain()
                    elif self.way == "half answers" and not said:
                        said = True  # whatever came behind it would belong to it
                        writer.write(self.kind.answer_to(request, len(self.larger) - 1000)[:-1])
                        self.tried += len(self.larger)
        except (OSError, wires.Broken, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    @staticmethod
    async def swallow(reader):
        try:
            while await reader.read(65536):
                pass
        except (OSError, asyncio.CancelledError):
            pass

    async def client(self, number):
        """A client's part. It never reads."""
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * KIB)
        s.setblocking(False)
        self.sockets.append(s)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(s, ("127.0.0.1", self.port))
            await loop.sock_sendall(s, self.kind.opening())
            if self.way == "half heads":
                await self.send(loop, s, self.kind.request(1, b"")[:-5])
            elif self.way == "half bodies":
                await self.send(loop, s, self.kind.request(1, self.larger)[:-1])
            elif self.way in ("half answers", "flooding backend"):
                await self.send(loop, s, self.kind.request(1 + number, TOKEN))
            else:
                body = TOKEN if self.way == "unread answers" else LARGE[:50_000]
                # Who sends beyond HTTP/2's windows is thrown off: 16 of these are within them.
                for i in range(1, 17 if isinstance(self.kind, Http2) else 400):
                    await self.send(loop, s, self.kind.request(i, body))
        except (OSError, asyncio.CancelledError):
            pass

    async def send(self, loop, s, data):
        await loop.sock_sendall(s, data)
        if self.way != "unread answers":
            self.tried += len(data)


WAYS = {"unread answers": 8, "silent backend": 8, "deaf backend": 8, "half heads": 60, "half bodies": 20, "half answers": 20,
        "flooding backend": 2}


def listener_of(way):
    return way.replace(" ", "_")


class Bench:
    def __init__(self, binary, names, seconds, resident):
        self.names, self.seconds, self.resident = names, seconds, resident
        self.binary, self.faults, self.case, self.counted = binary, [], None, {}

    async def run(self, ways):
        async def accepted(reader, writer):
            await self.case.serve(reader, writer)

        # A listener, a cluster and a backend for each case: what one does to the health of its endpoint is nothing to the next.
        names = [f"{name}-{listener_of(way)}" for name in self.names for way in ways]
        servers = {name: await asyncio.start_server(accepted, "127.0.0.1", 0) for name in names}
        ports = {name: s.sockets[0].getsockname()[1] for name, s in servers.items()}
        loop = asyncio.get_running_loop()
        self.sidecar = await loop.run_in_executor(None, Sidecar, self.binary, configuration(ports))
        try:
            for name in self.names:
                for way in ways:
                    await self.measure(name, way)
                if self.counted[name] == 0:
                    self.faults.append(f"{name}: nothing was ever counted")
            if self.resident and "silent backend" in ways:
                await self.burst()
        finally:
            await loop.run_in_executor(None, self.sidecar.close)

    async def metric(self, name, **labels):
        return await asyncio.to_thread(self.sidecar.metric, name, **labels)

    def resident_bytes(self):
        with open(f"/proc/{self.sidecar.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) * KIB

    async def measure(self, name, way):
        case = self.case = Case(name, self.sidecar.ports[f"{name}-{listener_of(way)}"], way)
        before = self.resident_bytes()
        tasks = [asyncio.ensure_future(case.client(i)) for i in range(WAYS[way])]
        most = grown = upstreams = 0
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.05)
            most = max(most, await self.metric("dragoman_memory_bytes"))
            upstreams = max(upstreams, await self.metric("dragoman_cluster_connections_active"))
            grown = max(grown, self.resident_bytes() - before)
        await self.end(case, tasks)
        http = name.startswith("http")
        bound = WAYS[way] * promise_downstream(http) + upstreams * promise_upstream(http)
        print(f"{name + ': ' + way:34} tried {case.tried / 1e6:6.1f} MB, kept {most / 1e6:6.2f} MB, "
              f"process +{grown / 1e6:6.1f} MB, bound {bound / 1e6:6.2f} MB", flush=True)
        if case.tried == 0:
            self.faults.append(f"{name}: {way}: nothing was tried")
        # 16 bodies that may be repeated are more than waiting_bytes_max.
        hits = await self.metric("dragoman_listener_limit_hits_total", limit="waiting_bytes")
        if (name, way) == ("http2", "silent backend") and hits == 0:
            self.faults.append(f"{name}: {way}: waiting_bytes_max was not counted")
        self.counted[name] = max(self.counted.get(name, 0), most)
        if most > bound:
            self.faults.append(f"{name}: {way}: {most} bytes kept, {bound} promised")
        if self.resident and grown > 1.3 * bound + 16e6:
            self.faults.append(f"{name}: {way}: the process grew by {grown} bytes, {bound} promised")
        await self.nothing_left(name, way)

    @staticmethod
    async def end(case, tasks):
        case.over = True
        tasks += list(case.backends)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for s in case.sockets:
            s.close()

    async def nothing_left(self, name, way):
        end = time.monotonic() + 20
        while (kept := await self.metric("dragoman_memory_bytes")) != 0 or await self.metric("dragoman_listener_connections_active"):
            if time.monotonic() > end:
                shown = (await asyncio.to_thread(self.sidecar.admin, "/metrics"))[1].decode()
                print("backends left:", sum(not task.done() for task in self.case.backends))
                print(*[line for line in shown.splitlines()
                        if re.match(r"dragoman_(memory_bytes|\w+_connections_active)", line) and not line.endswith(" 0")], sep="\n")
                self.faults.append(f"{name}: {way}: {kept} bytes are still kept with nobody there")
                return
            await asyncio.sleep(0.1)

    async def burst(self):
        """A hundred times what was there before, and soon as little as before."""
        name = "bolt" if "bolt" in self.names else self.names[0]
        before = self.resident_bytes()
        peak = before
        for _ in range(2):
            self.case = Case(name, self.sidecar.ports[f"{name}-silent_backend"], "silent backend")
            tasks = [asyncio.ensure_future(self.case.client(i)) for i in range(300)]
            await asyncio.sleep(3)
            peak = max(peak, self.resident_bytes())
            await self.end(self.case, tasks)
        await self.nothing_left(name, "burst")
        end, after = time.monotonic() + 20, self.resident_bytes()
        while (after := self.resident_bytes()) > 1.2 * before and time.monotonic() < end:
            await asyncio.sleep(0.5)
        print(f"burst: {before / 1e6:.1f} MB before, {peak / 1e6:.1f} MB at most, {after / 1e6:.1f} MB "
              f"{20 - (end - time.monotonic()):.0f} s later", flush=True)
        if after > 1.2 * before:
            self.faults.append(f"{after} bytes after a burst, {before} before it")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dragoman")
    parser.add_argument("--only", default="")
    parser.add_argument("--ways", default="")
    parser.add_argument("--seconds", type=float, default=0.7, help="for each case")
    parser.add_argument("--resident", action="store_true", help="look at the process, too")
    args = parser.parse_args()
    names = [n for n in list(WIRES) + ["http1", "http2"] if not args.only or n in args.only.split(",")]
    ways = [w for w in WAYS if not args.ways or w in args.ways.split(",")]
    bench = Bench(args.dragoman, names, args.seconds, args.resident)
    asyncio.run(bench.run(ways))
    for fault in bench.faults:
        print("FAULT:", fault)
    print("clean" if not bench.faults else f"{len(bench.faults)} faults")
    return 1 if bench.faults else 0


if __name__ == "__main__":
    sys.exit(main())
