#!/usr/bin/env python3
"""The real program under a limit on its address space: memory can't be had, and nobody but who asked for it pays.

  shortage_test.py DRAGOMAN [--megabytes N] [--sanitized]

Clients of HTTP/1, HTTP/2 and Bolt send bodies that the program has to keep, for backends that don't read, until it is short of memory
and longer; whoever loses its connection comes again. Meanwhile other clients ask for small things. The process must live, each small
request must end (served, refused in its protocol's way, or with its connection), the three metrics of memory must move, and when the load
is gone everything is served again and every gauge is back."""
import argparse
import asyncio
import collections
import os
import resource
import socket
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "stress"))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
import wires  # noqa: E402  pylint: disable=wrong-import-position
from sidecar import Sidecar  # noqa: E402  pylint: disable=wrong-import-position
from wires import WIRES  # noqa: E402  pylint: disable=wrong-import-position

MIB = 1 << 20
BODY = b"x" * (6 * MIB)
CLIENTS = 60        # of each protocol: twice what fits, whichever comes first
PATIENCE = 120      # seconds until something that must happen counts as missing
SKIPPED = 77        # what ctest shows as skipped
PROTOCOLS = ("http1", "http2", "bolt")
METRICS = ("dragoman_memory_shortages_total", "dragoman_memory_shed_total", "dragoman_memory_short")

SERVED, REFUSED, CLOSED = "served", "refused", "closed"


def configuration(deaf, good):
    """Each protocol twice: towards a backend that never reads, and towards one that answers."""
    listeners, clusters = [], []
    buffers = "buffer: {high: 8MiB, low: 1MiB, write_stall_timeout: 600s}"
    for name in PROTOCOLS:
        windows = "stream_window_bytes: 8MiB, connection_window_bytes: 8MiB"
        client = {"http1": "http: {body_idle_timeout: 600s}", "http2": f"http2: {{{windows}}}", "bolt": "rpc: {frame_timeout: 600s}"}[name]
        for kind, port in (("heavy", deaf), ("light", good[name])):
            protocol = name if kind == "light" or name == "bolt" else "http1"  # the deaf one says no SETTINGS either
            listeners.append(f"  - {{name: {kind}_{name}, address: '127.0.0.1:0', protocol: {name}, cluster: {kind}_{name}, timeout: 600s, "
                             f"waiting_bytes_max: 32MiB, {buffers}, {client}}}")
            clusters.append(f"  - {{name: {kind}_{name}, protocol: {protocol}, endpoints: ['127.0.0.1:{port}'], {buffers}}}")
    return "listeners:\n" + "\n".join(listeners) + "\nclusters:\n" + "\n".join(clusters) + "\n"


# ---------------------------------------------------------------- one request, and what became of it

class Connection:
    """A client's connection that asks for small things, one after the other."""

    def __init__(self, name, port):
        self.name, self.port, self.number = name, port, 0
        self.reader = self.writer = None

    async def ask(self):
        try:
            if self.writer is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                if self.name == "http2":
                    self.writer.write(wires.PREFACE + wires.h2_frame(wires.SETTINGS, 0, 0))
            self.number += 1
            fate = await getattr(self, self.name)()
        except (OSError, EOFError):
            fate = CLOSED
        if fate == CLOSED:
            self.close()
        return fate

    def close(self):
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None
        self.number = 0

    async def http1(self):
        self.writer.write(b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"y" * 100)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0)
        await self.reader.readexactly(length)
        if b"connection: close" in head:
            self.close()
        return SERVED if head.startswith(b"http/1.1 200") else REFUSED

    async def http2(self):
        stream, status = 2 * self.number - 1, b""
        self.writer.write(wires.h2_request(stream, b"y" * 100))
        while True:
            head = await self.reader.readexactly(9)
            payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, of = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == wires.SETTINGS and not flags & wires.ACK:
                self.writer.write(wires.h2_frame(wires.SETTINGS, wires.ACK, 0))
            if kind == 7:  # GOAWAY: what it does not name was refused
                return CLOSED
            if of != stream:
                continue
            if kind == 3:
                return REFUSED
            if kind == wires.HEADERS:
                status = payload[:1]
            if flags & wires.END_STREAM and kind in (wires.HEADERS, wires.DATA):
                return SERVED if status == b"\x88" else REFUSED  # ":status: 200" of the static table

    async def bolt(self):
        wire = WIRES["bolt"]
        self.writer.write(wire.request(self.number, b"<t00000000005a>"))
        head = await self.reader.readexactly(20)
        await self.reader.readexactly(wire.size(head) - 20)
        return SERVED if struct.unpack_from(">H", head, 10)[0] == 0 else REFUSED


async def serve_well(name, reader, writer):
    """A backend that answers."""
    try:
        if name == "http1":
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(100)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if name == "http2":
            writer.write(wires.h2_frame(wires.SETTINGS, 0, 0))
            await reader.readexactly(len(wires.PREFACE))
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                if kind == wires.SETTINGS and not flags & wires.ACK:
                    writer.write(wires.h2_frame(wires.SETTINGS, wires.ACK, 0))
                if kind == wires.DATA and payload:
                    writer.write(wires.h2_frame(wires.WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload))))
                if kind in (wires.HEADERS, wires.DATA) and flags & wires.END_STREAM:
                    writer.write(wires.h2_frame(wires.HEADERS, wires.END_HEADERS | wires.END_STREAM, stream, b"\x88"))
        wire, buf = WIRES["bolt"], bytearray()
        while name == "bolt" and (more := await reader.read(65536)):
            buf += more
            while (n := wire.size(buf)) is not None and n <= len(buf):
                kind, number = wire.describe(bytes(buf[:n]))
                if kind in ("request", "heartbeat"):
                    writer.write(wire.answer(bytes(buf[:n]), number))
                del buf[:n]
    except (OSError, EOFError, wires.Broken, asyncio.CancelledError):
        pass
    finally:
        writer.transport.abort()


# ---------------------------------------------------------------- the load

class Load:
    """Clients that make the program keep what they send."""

    def __init__(self, ports):
        self.ports, self.lost = ports, collections.Counter()
        self.tasks = [asyncio.ensure_future(self.client(name)) for name in PROTOCOLS for _ in range(CLIENTS)]

    @staticmethod
    def request(name):
        if name == "http1":
            return b"POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
        if name == "bolt":
            return WIRES["bolt"].request(1, BODY)
        frames = [wires.h2_frame(wires.SETTINGS, wires.ACK, 0), wires.h2_request(1, b"x")[:-9]]
        frames += [wires.h2_frame(wires.DATA, 0, 1, BODY[i:i + 16_000]) for i in range(0, len(BODY), 16_000)]
        return b"".join(frames)

    async def client(self, name):
        loop, data = asyncio.get_running_loop(), memoryview(REQUESTS[name])
        while True:
            s = socket.socket()
            s.setblocking(False)
            try:
                await loop.sock_connect(s, ("127.0.0.1", self.ports[f"heavy_{name}"]))
                if name == "http2":  # its windows are there with the peer's SETTINGS
                    await loop.sock_sendall(s, wires.PREFACE + wires.h2_frame(wires.SETTINGS, 0, 0))
                    if not await loop.sock_recv(s, 1):
                        raise EOFError
                await loop.sock_sendall(s, data)
                heard = bytearray(b"\0") if name == "http2" else bytearray()
                while more := await loop.sock_recv(s, 65536):
                    heard += more
                    if name != "http2" or any(kind in (wires.HEADERS, 3, 7) for kind, *_ in wires.h2_frames(heard)):
                        break  # refused: it asks again
            except (OSError, EOFError):
                pass
            finally:
                s.close()
            self.lost[name] += 1
            await asyncio.sleep(0.2)

    async def end(self):
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


REQUESTS = {name: Load.request(name) for name in PROTOCOLS}


# ---------------------------------------------------------------- the test

class Test:
    def __init__(self, binary, address_space):
        self.binary, self.address_space = binary, address_space
        self.fates = {name: collections.Counter() for name in PROTOCOLS}
        self.most = dict.fromkeys(METRICS, 0)
        self.pages_without_memory = self.rounds = 0
        self.backends = []  # connections to them

    async def scrape(self):
        """Every series of /metrics, summed up by name; None when the page could not be had."""
        def get():
            try:
                status, text = self.sidecar.admin("/metrics")
            except OSError:
                return None
            return text.decode() if status == 200 else None
        text = await asyncio.to_thread(get)
        if text is None:
            self.pages_without_memory += 1
            return None
        sums = collections.Counter()
        for line in text.splitlines():
            if line and not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                sums[series.partition("{")[0]] += float(value)
        for name in METRICS:
            assert name in sums, f"/metrics has no {name}"
            self.most[name] = max(self.most[name], sums[name])
        return sums

    def lives(self):
        assert self.sidecar.process.poll() is None, f"the process ended with {self.sidecar.process.returncode}:\n{self.sidecar.log()}"

    async def until(self, what, condition):
        end = time.monotonic() + PATIENCE
        while not await condition():
            self.lives()
            assert time.monotonic() < end, f"not within {PATIENCE} s: {what}; {self.told()}"
            await asyncio.sleep(0.05)

    def told(self):
        return (f"most seen: {self.most}, pages that could not be had: {self.pages_without_memory}, small requests: "
                f"{ {name: dict(fates) for name, fates in self.fates.items()} }")

    async def ask(self, connections):
        """Each asks once; who finds no answer and no end of its connection has been forgotten."""
        async def one(c):
            fate = await asyncio.wait_for(c.ask(), PATIENCE)
            self.fates[c.name][fate] += 1
            return fate
        return await asyncio.gather(*(one(c) for c in connections))

    async def run(self):
        async def deaf(reader, writer):
            writer.transport.pause_reading()
            self.backends.append((reader, writer))

        def answering(name):
            async def serve(reader, writer):
                self.backends.append((reader, writer))
                await serve_well(name, reader, writer)
            return serve

        small = socket.create_server(("127.0.0.1", 0))
        small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        servers = [await asyncio.start_server(deaf, sock=small, limit=4096)]
        good = {}
        for name in PROTOCOLS:
            servers.append(await asyncio.start_server(answering(name), "127.0.0.1", 0))
            good[name] = servers[-1].sockets[0].getsockname()[1]
        yaml = configuration(small.getsockname()[1], good)
        self.sidecar = await asyncio.to_thread(Sidecar, self.binary, yaml, limits={resource.RLIMIT_AS: self.address_space})
        try:
            await self.measure()
            await self.after()
            await asyncio.to_thread(self.sidecar.close)
        finally:
            if self.sidecar.process.poll() is None:
                self.sidecar.process.kill()
                self.sidecar.process.wait()
            for server in servers:
                server.close()

    async def measure(self):
        ports = self.sidecar.ports
        kept = [Connection(name, ports[f"light_{name}"]) for name in PROTOCOLS]
        assert set(await self.ask(kept)) == {SERVED}, "without any load"
        sums = await self.scrape()
        assert all(sums[name] == 0 for name in METRICS), f"before the load: {dict(sums)}"
        load = Load(ports)

        async def ask():
            new = [Connection(name, ports[f"light_{name}"]) for name in PROTOCOLS]
            await self.ask(kept + new)
            for c in new:
                c.close()
            await self.scrape()

        async def short():
            await ask()
            return all(self.most.values())

        async def asked():
            await ask()
            self.rounds += 1
            return self.rounds >= 60 and all(fates[SERVED] + fates[REFUSED] >= 20 for fates in self.fates.values())
        await self.until("all of the metrics of memory move", short)
        for fates in self.fates.values():
            fates.clear()
        await self.until("small requests are answered", asked)
        await load.end()
        for c in kept:
            c.close()
        print(f"under load: {self.told()}, clients of large bodies that lost their connections: {dict(load.lost)}", flush=True)

    def backends_leave(self):
        for _, writer in self.backends:
            writer.transport.abort()
        self.backends.clear()

    async def after(self):
        self.backends_leave()
        connections = [Connection(name, self.sidecar.ports[f"light_{name}"]) for name in PROTOCOLS for _ in range(20)]

        async def served():
            fates = await self.ask(connections)
            return set(fates) == {SERVED} and (sums := await self.scrape()) and sums["dragoman_memory_short"] == 0
        await self.until("everything is served again", served)
        for c in connections:
            c.close()
        self.backends_leave()  # what is kept for connections to them goes with these

        gauges = ("dragoman_memory_short", "dragoman_memory_bytes", "dragoman_listener_connections_active", "dragoman_requests_active")
        last = {}

        async def at_rest():
            sums = await self.scrape()
            last.update({name: sums[name] for name in gauges if sums})
            return sums and not any(last.values())
        try:
            await self.until("gauges go back to zero", at_rest)
        except AssertionError as e:
            raise AssertionError(f"{e}; gauges: {last}") from e
        print("after it: everything is served, gauges are zero", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dragoman")
    parser.add_argument("--megabytes", type=int, default=512, help="of address space: a start must fit, the load must not")
    parser.add_argument("--sanitized", action="store_true", help="the program has a sanitizer, whose address space can't be limited")
    args = parser.parse_args()
    if args.sanitized:
        print("NOT RUN: memory_shortage: a sanitizer reserves terabytes of address space, no limit on it can be set. "
              "The presets debug and release run this test.")
        return SKIPPED
    asyncio.run(Test(args.dragoman, args.megabytes * MIB).run())
    print("clean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
