#!/usr/bin/env python3
"""Random clients and backends of every protocol around the real program.

  stress.py DRAGOMAN [--seconds N] [--seed N] [--clients N] [--only NAME[,NAME]] [--keep-log FILE]

Clients pipeline, send one-way requests, half frames, garbage and frames of real peers, read slowly, reset, and end in all ways;
backends answer, late, twice, never, with ids that nobody asked for, close, and cut their answers; configurations come and go
meanwhile. At the end the process must be alive, its gauges at zero, and its end clean; and no client may have received what
belongs to another. The seed that is printed makes the same choices again (not the same timing)."""
import argparse
import asyncio
import atexit
import os
import random
import signal
import ssl
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from sidecar import Sidecar, wait_for  # noqa: E402  pylint: disable=wrong-import-position
import wires  # noqa: E402  pylint: disable=wrong-import-position
from wires import TOKEN, WIRES, Broken  # noqa: E402  pylint: disable=wrong-import-position

GAUGES = ("dragoman_requests_active", "dragoman_listener_connections_active", "dragoman_cluster_requests_active",
          "dragoman_cluster_requests_pending", "dragoman_cluster_connections_active", "dragoman_worker_connections_active")


class Faults:
    """What went wrong, the first few of a kind in full."""

    def __init__(self):
        self.seen = []

    def add(self, text):
        self.seen.append(text)
        if len(self.seen) <= 20:
            print("FAULT:", text, flush=True)


class Connection:
    """One socket of a client or a backend, without surprises: everything that goes wrong with it is its end."""

    def __init__(self, reader, writer, rng):
        self.reader, self.writer, self.rng = reader, writer, rng

    async def send(self, data):
        """Sometimes in pieces."""
        while data:
            n = len(data) if self.rng.random() < 0.7 else self.rng.randrange(1, len(data) + 1)
            self.writer.write(data[:n])
            data = data[n:]
            if data and self.rng.random() < 0.3:
                await asyncio.sleep(self.rng.random() * 0.01)
        await asyncio.wait_for(self.writer.drain(), 5)

    async def end(self, how=None):
        how = how or self.rng.choice(("close", "close", "reset", "half"))
        try:
            if how == "reset":
                sock = self.writer.get_extra_info("socket")
                if sock:
                    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: an RST
            elif how == "half" and self.writer.can_write_eof():
                self.writer.write_eof()
                await asyncio.sleep(self.rng.random() * 0.2)  # what still comes is read meanwhile
        except (OSError, asyncio.TimeoutError, ssl.SSLError):
            pass
        self.writer.close()


# ---------------------------------------------------------------- backends

class Backends:
    """Servers on ports of their own. Each request is served as chance has it."""

    def __init__(self, seed):
        self.rng = random.Random(f"{seed} backends")
        self.servers, self.tasks, self.served = [], set(), 0

    async def start(self, serve):
        async def accepted(reader, writer):
            self.tasks.add(asyncio.current_task())
            connection = Connection(reader, writer, random.Random(self.rng.random()))
            try:
                await serve(connection)
            except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError,
                    ValueError, Broken):
                pass
            finally:
                self.tasks.discard(asyncio.current_task())
                writer.close()
                asyncio.get_running_loop().call_later(1, writer.transport.abort)
        server = await asyncio.start_server(accepted, "127.0.0.1", 0, backlog=512)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    async def stop(self):
        for server in self.servers:
            server.close()
        for task in list(self.tasks):
            task.cancel()
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=10)

    def framed(self, wire):
        noise = wire.vectors()

        async def serve(c):
            buf = bytearray()
            while True:
                more = await c.reader.read(65536)
                if not more:
                    return
                buf += more
                while (n := wire.size(buf)) is not None and n <= len(buf):
                    frame = bytes(buf[:n])
                    del buf[:n]
                    if not await self.serve_frame(wire, c, frame, noise):
                        return
        return serve

    async def serve_frame(self, wire, c, frame, noise):
        """False: the connection is to end."""
        kind, number = wire.describe(frame)
        if kind not in ("request", "heartbeat"):
            return True
        self.served += 1
        x = c.rng.random()
        answer = wire.answer(frame, number)
        if x < 0.04:
            return False
        if x < 0.08:
            c.writer.write(answer[:c.rng.randrange(len(answer))])
            return False
        if x < 0.14:
            return True  # never
        if x < 0.20:
            await asyncio.sleep(c.rng.random() * 0.3)
        elif x < 0.24:
            c.writer.write(wire.answer(wire.request(1, b""), c.rng.getrandbits(wire.id_bits)) * c.rng.choice((1, 1, 50)))
        elif x < 0.26:
            c.writer.write(wire.request(c.rng.getrandbits(wire.id_bits), b"", c.rng.random() < 0.5))
        elif x < 0.27:
            c.writer.write(bytes(c.rng.randrange(256) for _ in range(40)))
        elif x < 0.29 and noise:
            c.writer.write(c.rng.choice(noise))
        elif x < 0.32:
            answer += answer
        elif x < 0.34:
            await asyncio.sleep(1)  # reads nothing for a while
        await c.send(answer)
        return True

    async def echo(self, c):
        while more := await c.reader.read(65536):
            if c.rng.random() < 0.02:
                return
            await c.send(more)

    async def http1(self, c):
        while True:
            head = await c.reader.readuntil(b"\r\n\r\n")
            if b"upgrade:" in head.lower() and c.rng.random() < 0.8:
                token = wires.re.search(rb"(?i)upgrade: (\S+)", head)[1]
                await c.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + token + b"\r\n\r\n")
                return await self.echo(c)
            length = wires.re.search(rb"(?i)content-length: (\d+)", head)
            x = c.rng.random()
            if x < 0.03:
                return None
            if x < 0.06:
                await c.send(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return None
            body = b""
            if length:
                body = await c.reader.readexactly(int(length[1]))
            elif b"chunked" in head.lower():
                while size := int((await c.reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    body += (await c.reader.readexactly(size + 2))[:-2]
                await c.reader.readuntil(b"\r\n")
            self.served += 1
            token = b"".join(TOKEN.findall(head + body)[-1:]) + b"x" * c.rng.choice((0, 10, 50_000))
            if head.startswith(b"HEAD"):
                token = b""
            if x < 0.10:
                await asyncio.sleep(c.rng.random() * 0.3)
            if x < 0.14:
                await c.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(token) + 50) + token)
                return None
            if x < 0.17:
                await asyncio.sleep(1)
                return None
            if x < 0.20:
                await c.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            if x < 0.5:
                parts = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (token[:5], token[5:]) if p)
                await c.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")
            else:
                await c.send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (c.rng.choice((200, 200, 404, 503)), len(token)) + token)
            if x > 0.97:
                # Nobody asked. HTTP/1 has no ids: where the proxy has sent its next request before these bytes come, it must take them as
                # the answer, and every later answer of this connection would be one too late. So this server ends with it.
                await c.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz")
                return None

    async def http2(self, c):
        await c.reader.readexactly(len(wires.PREFACE))
        c.writer.write(wires.h2_frame(wires.SETTINGS, 0, 0))
        buf, bodies = bytearray(), {}
        while more := await c.reader.read(65536):
            buf += more
            for kind, flags, stream, payload in wires.h2_frames(buf):
                if kind == wires.SETTINGS and not flags & wires.ACK:
                    c.writer.write(wires.h2_frame(wires.SETTINGS, wires.ACK, 0))
                elif kind == wires.PING and not flags & wires.ACK:
                    c.writer.write(wires.h2_frame(wires.PING, wires.ACK, 0, payload))
                elif kind == wires.RST_STREAM:
                    bodies.pop(stream, None)
                elif kind in (wires.HEADERS, wires.DATA):
                    bodies.setdefault(stream, bytearray())
                    if kind == wires.DATA:
                        bodies[stream] += payload
                        if payload:
                            for s in (0, stream):
                                c.writer.write(wires.h2_frame(wires.WINDOW_UPDATE, 0, s, struct.pack(">I", len(payload))))
                    if flags & wires.END_STREAM:
                        self.served += 1
                        if not await self.serve_stream(c, stream, bytes(bodies.pop(stream))):
                            return
            await asyncio.wait_for(c.writer.drain(), 5)

    @staticmethod
    async def serve_stream(c, stream, body):
        x = c.rng.random()
        if x < 0.02:
            return False
        if x < 0.05:
            c.writer.write(wires.h2_frame(wires.RST_STREAM, 0, stream, struct.pack(">I", c.rng.randrange(14))))
            return True
        if x < 0.06:
            c.writer.write(wires.h2_frame(wires.GOAWAY, 0, 0, struct.pack(">II", max(stream - 2 * c.rng.randrange(2), 0), 0)))
            return x < 0.055
        if x < 0.10:
            return True  # never
        grpc = body[:1] == b"\0" and len(body) >= 5
        fields = b"\x88" + wires.h2_fields((b"content-type", b"application/grpc" if grpc else b"text/plain"))
        c.writer.write(wires.h2_frame(wires.HEADERS, wires.END_HEADERS, stream, fields))
        if x < 0.14:
            await asyncio.sleep(c.rng.random() * 0.2)
        body = body[:30_000]
        if grpc:
            body = b"\0" + struct.pack(">I", len(body) - 5) + body[5:]
        for i in range(0, len(body), 16_000):
            c.writer.write(wires.h2_frame(wires.DATA, 0, stream, body[i:i + 16_000]))
        if x < 0.17:
            return True  # no end
        if grpc:
            c.writer.write(wires.h2_frame(wires.HEADERS, wires.END_HEADERS | wires.END_STREAM, stream,
                                          wires.h2_fields((b"grpc-status", b"0"))))
        else:
            c.writer.write(wires.h2_frame(wires.DATA, wires.END_STREAM, stream))
        return True


class Names(asyncio.DatagramProtocol):
    """A name server that changes its mind with each answer: which addresses (nobody listens at one), none, no such name, failure, garbage,
    another question's id, silence. Names hold for a second at most."""

    def __init__(self, seed):
        self.rng = random.Random(f"{seed} names")
        self.asked, self.transport = 0, None

    async def start(self):
        self.transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        return self.transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, addr):
        self.asked += 1
        end = data.find(b"\0", 12) + 5
        question, kind = data[12:end], struct.unpack(">H", data[end - 4:end - 2])[0]
        number, x = data[:2], self.rng.random()
        if x < 0.05:
            return
        if x < 0.10:
            self.transport.sendto(data[:2] + bytes(self.rng.randrange(256) for _ in range(self.rng.randrange(60))), addr)
        if x < 0.13:
            number = bytes(2)
        code = 2 if x > 0.95 else 3 if x > 0.90 else 0
        addresses = []
        if kind == 1 and code == 0:
            addresses = self.rng.sample([bytes((127, 0, 0, n)) for n in (1, 1, 1, 2)], self.rng.randrange(1, 4) if x < 0.85 else 0)
        answers = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, self.rng.randrange(2), 4) + a for a in addresses)
        self.transport.sendto(number + struct.pack(">HHHHH", 0x8180 | code, 1, len(addresses), 0, 0) + question + answers, addr)


# ---------------------------------------------------------------- clients

class Clients:
    """Short lives of clients, one after another in each of some tasks."""

    def __init__(self, seed, faults, tls):
        self.seed, self.faults, self.tls = seed, faults, tls
        self.started = self.answers = self.tokens = self.lives = 0

    def token(self):
        self.tokens += 1
        return b"<t%012x>" % (self.tokens << 8 | 0x5a)

    async def life(self, name, port, number):
        rng = random.Random(f"{self.seed} {name} {number}")
        self.lives += 1
        try:
            context = self.tls if name.startswith("tls") else None
            reader, writer = await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost" if context else None,
                                        limit=1 << 20), 10)
        except (OSError, asyncio.TimeoutError, ssl.SSLError):
            return
        c = Connection(reader, writer, rng)
        mine, by_id = set(), {}
        wire = WIRES.get(name.split("-")[0]) or (rng.choice((WIRES["bolt"], WIRES["dubbo"], None)) if name == "auto" else None)
        receiving = asyncio.ensure_future(self.receive(c, name, mine, by_id, wire))
        try:
            if wire:
                await self.calls(c, wire, mine, by_id)
            elif name.startswith(("http2", "grpc")):
                await self.streams(c, mine, name.startswith("grpc"))
            elif name == "tcp":
                for _ in range(rng.randrange(1, 6)):
                    mine.add(token := self.token())
                    await c.send(token + b"." * rng.choice((0, 1000, 100_000)))
            else:
                await self.requests(c, mine)
            if rng.random() < 0.6:
                await asyncio.wait({receiving}, timeout=rng.random() * 0.5)
        except (OSError, asyncio.TimeoutError, ssl.SSLError):
            pass
        finally:
            if rng.random() < 0.3:
                receiving.cancel()
            await c.end()
            if not receiving.cancelled():
                await asyncio.wait({receiving}, timeout=0.3)
            receiving.cancel()
            writer.transport.abort()  # it would stay as long as something is unsent

    async def receive(self, c, name, mine, by_id, wire):
        """Reads, at times slowly, and looks whose tokens come."""
        tail, buf, slow = b"", bytearray(), c.rng.random() < 0.1
        try:
            while more := await c.reader.read(c.rng.choice((1, 100)) if slow else 65536):
                for token in TOKEN.findall(tail + more):
                    if token not in mine:
                        self.faults.add(f"{name}: {token} came to a client that did not send it")
                tail = (tail + more)[-13:]
                if wire:
                    buf += more
                    self.match(name, wire, buf, by_id)
                if slow:
                    await asyncio.sleep(0.005)
        except (OSError, ssl.SSLError, asyncio.CancelledError, Broken):
            pass

    def match(self, name, wire, buf, by_id):
        """Each answer has the token of the request with its id."""
        while (n := wire.size(buf)) is not None and n <= len(buf):
            frame = bytes(buf[:n])
            del buf[:n]
            kind, number = wire.describe(frame)
            tokens = TOKEN.findall(frame)
            if kind != "answer" or not tokens:
                continue
            self.answers += 1
            if by_id.get(number) != tokens[0]:
                self.faults.add(f"{name}: id {number} is of {by_id.get(number)}, its answer has {tokens[0]}")

    async def calls(self, c, wire, mine, by_id):
        rng, noise = c.rng, wire.vectors() if c.rng.random() < 0.2 else []
        for _ in range(rng.randrange(1, 15)):
            number = rng.choice((rng.randrange(100), rng.getrandbits(wire.id_bits)))
            if number in by_id:
                continue
            x = rng.random()
            mine.add(token := self.token())
            by_id[number] = token
            frame = wire.request(number, token + b"p" * rng.choice((0, 0, 10, 5000, 60_000)), x < 0.2)
            if x < 0.04 and (beat := wire.heartbeat(number)):
                del by_id[number]
                frame = beat
            elif x < 0.06:
                frame = frame[:rng.randrange(1, len(frame))]
            elif x < 0.08:
                frame = bytes(rng.randrange(256) for _ in range(40))
            elif x < 0.10:
                frame = wire.answer(frame, number).replace(token, b"")
            elif noise and x < 0.4:
                frame = rng.choice(noise)
            await c.send(frame)
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.03)

    async def requests(self, c, mine):
        rng = c.rng
        for _ in range(rng.randrange(1, 10)):
            mine.add(token := self.token())
            x, body = rng.random(), token + b"p" * rng.choice((0, 0, 100, 100_000))
            if x < 0.45:
                data = b"POST /acme HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            elif x < 0.6:
                data = b"PUT /acme HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
            elif x < 0.75:
                data = b"\r\n" * rng.choice((0, 0, 1, 30)) + b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % token
            elif x < 0.8:
                data = b"HEAD /%s HTTP/1.%d\r\nHost: a\r\n\r\n" % (token, rng.randrange(2))
            elif x < 0.85:
                data = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" \
                       b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + token
            elif x < 0.9:
                data = b"GET /%s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n" \
                       b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" % token + wires.PREFACE + wires.h2_frame(wires.SETTINGS, 0, 0)
            elif x < 0.93:
                data = b"POST /acme HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            elif x < 0.97:
                data = (b"POST /acme HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + token)[:rng.randrange(1, 90)]
            else:
                data = bytes(rng.randrange(256) for _ in range(60)) + b"\r\n\r\n"
            await c.send(data)
            if rng.random() < 0.5:
                await asyncio.sleep(rng.random() * 0.05)

    async def streams(self, c, mine, grpc):
        rng, stream = c.rng, 1
        await c.send(wires.PREFACE + wires.h2_frame(wires.SETTINGS, 0, 0) +
                     wires.h2_frame(wires.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 24)))
        for _ in range(rng.randrange(1, 30)):
            mine.add(token := self.token())
            data = wires.h2_request(stream, token + b"p" * rng.choice((0, 0, 100, 30_000)), grpc)
            x = rng.random()
            if x < 0.1:
                data += wires.h2_frame(wires.RST_STREAM, 0, stream, struct.pack(">I", 8))
            elif x < 0.13:
                data = data[:rng.randrange(1, len(data))]
            elif x < 0.15:
                data += wires.h2_frame(wires.PING, 0, 0, b"12345678") * rng.choice((1, 20))
            elif x < 0.17:
                data += wires.h2_frame(rng.randrange(12), rng.randrange(256), stream, b"garbage!")
            elif x < 0.18:
                data += wires.h2_frame(wires.GOAWAY, 0, 0, b"\0" * 8)
            elif x < 0.2:
                data = b"".join(wires.h2_request(stream + 2 * i, token) +
                                wires.h2_frame(wires.RST_STREAM, 0, stream + 2 * i, b"\0\0\0\x08") for i in range(50))
                stream += 100
            stream += 2
            await c.send(data)
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.03)


# ---------------------------------------------------------------- the whole

def configuration(ports, tls_files, version, name_server):
    """`version`: what changes with a reload."""
    codecs, listeners, routes, clusters = [], [], [], []
    first, second = ports
    timeout = 250 + 100 * (version % 3)

    def add(name, protocol, cluster, extra="", target="", edits=""):
        routes.append(f"  - {{name: {name}, routes: [{{match: {{}}, cluster: {name}, timeout: {timeout}ms, retry: {{attempts: 1}}{edits}}}]}}")
        listeners.append(f"  - {{name: {name}, address: '127.0.0.1:0', protocol: {protocol}, routes: {name}{extra}}}")
        weights = (1, 1 + version % 2)
        endpoints = ", ".join(f"'127.0.0.1:{p[cluster]}'" for p, _ in zip((first, second) if version % 4 else (first,), weights))
        clusters.append(f"  - {{name: {name}, protocol: {target or protocol}, endpoints: [{endpoints}]}}")

    rpc = ", rpc: {streams_max: 20, frame_timeout: 300ms}"
    for key, wire in WIRES.items():
        if wire.codec and key == wire.name:
            codecs.append(f"  - {{name: {wire.name}, {wire.codec}}}")
        for mode in wire.modes:
            name = f"{key}-{mode}"
            edits = ", request_headers: {set: {x-s: y}}, response_headers: {set: {x-r: z}}" if wire.edits and version % 2 else ""
            add(name, wire.name, key, rpc, edits=edits)
            clusters[-1] = clusters[-1][:-1] + f", pool: {{mode: {mode}}}}}"
    add("http1-a", "http1", "http1", ", http: {upgrade: [websocket, h2c]}")
    add("http-b", "http", "http1", target="http1")
    add("http-c", "http", "http2", target="http2")
    add("http2-a", "http2", "http2")
    add("http2-b", "http2", "http1", target="http1")
    add("grpc-a", "http2", "http2")
    add("tls-a", "http", "http1", f", tls: {{certificates: [{tls_files}]}}", target="http1")
    # Its endpoints are what the name server says, and the names change too.
    add("http1-named", "http1", "http1")
    clusters[-1] = (f"  - {{name: http1-named, protocol: http1, endpoints: ['up{version % 3}.test:{first['http1']}', "
                    f"'up.test:{second['http1']}'], dns: {{refresh: 1s, ttl_min: 50ms, ttl_max: 1s}}}}")
    listeners.append("  - {name: tcp, address: '127.0.0.1:0', protocol: tcp, cluster: tcp}")
    clusters.append(f"  - {{name: tcp, endpoints: ['127.0.0.1:{first['tcp']}']}}")
    listeners.append("  - {name: auto, address: '127.0.0.1:0', protocol: auto, on_unknown: reject, protocols: ["
                     "{protocol: bolt, routes: bolt-multiplex}, {protocol: dubbo, routes: dubbo-ping_pong}, "
                     "{protocol: http1, routes: http-b}, {protocol: http2, routes: http-c}]}")
    if version % 2:  # comes and goes
        listeners.append("  - {name: passing, address: '127.0.0.1:0', protocol: bolt, routes: bolt-ping_pong}")
    parts = {"codecs": codecs, "listeners": listeners, "routes": routes, "clusters": clusters}
    return (f"dns: {{servers: ['127.0.0.1:{name_server}'], timeout: 100ms, tries: 2}}\n" +
            "".join(f"{key}:\n" + "\n".join(lines) + "\n" for key, lines in parts.items()))


def certificate(folder):
    key, pem = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                    key, "-out", pem, "-subj", "/CN=localhost", "-days", "2"], check=True, stderr=subprocess.DEVNULL)
    return f"{{chain: {pem}, key: {key}}}"


async def in_thread(f, *args):
    return await asyncio.get_running_loop().run_in_executor(None, f, *args)


async def run(args, faults, folder):
    backends = Backends(args.seed)
    ports = ({}, {})
    for side in ports:
        for key, wire in WIRES.items():
            side[key] = await backends.start(backends.framed(wire))
        side["http1"] = await backends.start(backends.http1)
        side["http2"] = await backends.start(backends.http2)
        side["tcp"] = await backends.start(backends.echo)
    names = Names(args.seed)
    name_server = await names.start()
    files = certificate(folder)
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    sidecar = await in_thread(Sidecar, args.dragoman, configuration(ports, files, 0, name_server))
    atexit.register(kill, sidecar)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    clients = Clients(args.seed, faults, tls)
    targets = [n for n in sidecar.ports if not args.only or n.split("-")[0] in args.only or n in args.only]
    end = time.monotonic() + args.seconds
    rng = random.Random(f"{args.seed} plan")
    number = 0

    async def live():
        nonlocal number
        while time.monotonic() < end and sidecar.process.poll() is None:
            name, number = rng.choice(targets), number + 1
            await clients.life(name, sidecar.ports[name], number)

    async def disturb():
        version = 0
        while time.monotonic() < end - 1 and sidecar.process.poll() is None:
            await asyncio.sleep(rng.random() * 2)
            version += 1
            try:
                if rng.random() < 0.2:
                    await in_thread(sidecar.admin, "/codecs/reload", "POST")
                elif rng.random() < 0.2:
                    await in_thread(sidecar.admin, rng.choice(("/metrics", "/clusters", "/config", "/listeners")))
                else:
                    await in_thread(sidecar.reload, configuration(ports, files, version, name_server))
            except (AssertionError, OSError) as e:
                if sidecar.process.poll() is None:
                    faults.add(f"the admin port: {e}")

    await asyncio.gather(disturb(), *(live() for _ in range(args.clients)))
    await backends.stop()
    print(f"{clients.lives} connections, {clients.tokens} requests, {backends.served} served, {clients.answers} matched answers, "
          f"{names.asked} names asked for", flush=True)
    names.transport.close()
    if clients.lives == 0 or (args.seconds >= 10 and (backends.served == 0 or names.asked == 0)):
        faults.add("nothing was tried")
    await in_thread(conclude, sidecar, faults, args.keep_log)


def kill(sidecar):
    """Whatever happens to this program, the other one does not stay."""
    if sidecar.process.poll() is None:
        sidecar.process.kill()
        sidecar.process.wait()


def conclude(sidecar, faults, keep_log):
    """Gauges at zero, and a clean end."""
    if sidecar.process.poll() is not None:
        faults.add(f"the process ended by itself, with {sidecar.process.returncode}")
    else:
        def left():
            return {g: v for g in GAUGES if (v := sidecar.metric(g)) != 0}
        try:
            # Idle connections end with their backends, those of clients with the clients; lingering and deadlines are over by then.
            wait_for("gauges at zero", lambda: not left(), 40)
        except AssertionError:
            rows = [l for l in sidecar.admin("/metrics")[1].decode().splitlines()
                    if l.startswith(GAUGES) and not l.endswith(" 0")]
            faults.add("gauges that are not zero with nothing there:\n  " + "\n  ".join(rows[:20]))
        try:
            code, _ = sidecar.stop()
            if code != 0:
                faults.add(f"exit code {code} after SIGTERM")
        except subprocess.TimeoutExpired:
            faults.add("the process does not end after SIGTERM")
            sidecar.process.kill()
            sidecar.process.wait()
    log = sidecar.log()
    for bad in ("left alive", "Sanitizer", "runtime error", "terminate called"):
        if bad in log:
            at = log.index(bad)
            faults.add(f'"{bad}" on standard error:\n{log[max(0, at - 200):at + 6000]}')
            break
    if keep_log:
        with open(keep_log, "w", encoding="utf-8") as f:
            f.write(log)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dragoman")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="left out: another one each time")
    parser.add_argument("--clients", type=int, default=24, help="how many live at once")
    parser.add_argument("--only", default="", help="listeners or protocols, separated by commas")
    parser.add_argument("--keep-log", default="", help="a file for what the process wrote to standard error")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 32)
    args.only = [n for n in args.only.split(",") if n]
    print(f"seed {args.seed}, {args.seconds:g} s", flush=True)
    faults = Faults()
    with tempfile.TemporaryDirectory(prefix="dragoman-stress-") as folder:
        asyncio.run(run(args, faults, folder))
    if faults.seen:
        print(f"{len(faults.seen)} faults with seed {args.seed}", flush=True)
        return 1
    print("clean", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
