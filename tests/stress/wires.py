"""The protocols of the stress test: how a request that carries a token is written, how its answer is, and where frames end.

A token is a text that occurs nowhere else: whoever receives one that it did not send got what belongs to another. Readers know
only what these peers and Dragoman write, and give up on anything else."""
import glob
import os
import re
import struct

TOKEN = re.compile(rb"<t[0-9a-f]{12}>")
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class Broken(Exception):
    """Bytes that this reader does not know."""


def length_at(buf, offset, size, little=False):
    """An unsigned number, or None while its bytes are missing."""
    if len(buf) < offset + size:
        return None
    return int.from_bytes(buf[offset:offset + size], "little" if little else "big")


def varint(n):
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def read_varint(buf, at):
    n = shift = 0
    while True:
        if at >= len(buf):
            raise Broken("varint")
        n |= (buf[at] & 0x7f) << shift
        at, shift = at + 1, shift + 7
        if not buf[at - 1] & 0x80:
            return n, at


class Wire:
    """`size` gives the length of the frame that begins a buffer (None: more bytes are needed), `describe` its kind ("request",
    "oneway", "answer", "heartbeat" or None for anything else) and id."""
    name = ""
    modes = ("multiplex", "ping_pong", "bound")
    id_bits = 31
    edits = False
    codec = ""

    def request(self, number, token, oneway=False):
        raise NotImplementedError

    def answer(self, frame, number):
        raise NotImplementedError

    def size(self, buf):
        raise NotImplementedError

    def describe(self, frame):
        raise NotImplementedError

    def heartbeat(self, number):  # pylint: disable=unused-argument
        return b""

    def vectors(self):
        """Frames of real peers, good and bad ones."""
        found = []
        for path in sorted(glob.glob(os.path.join(ROOT, "tests", "vectors", self.name, "*.hex"))):
            with open(path, encoding="utf-8") as f:
                text = "".join(line for line in f if not line.startswith("#"))
            try:
                found.append(bytes.fromhex(text))
            except ValueError:
                continue
        return [v for v in found if len(v) < 100_000]


class Bolt(Wire):
    name, edits = "bolt", True

    def request(self, number, token, oneway=False, code=1):
        cls, header = b"com.acme.Request", struct.pack(">i", 7) + b"service" + struct.pack(">i", 6) + b"acme.A"
        return struct.pack(">BBHBIBiHHI", 1, 2 if oneway else 1, code, 1, number, 1, 3000, len(cls), len(header),
                           len(token)) + cls + header + token

    def heartbeat(self, number):
        return struct.pack(">BBHBIBiHHI", 1, 1, 0, 1, number, 1, 3000, 0, 0, 0)

    def answer(self, frame, number):
        code = struct.unpack_from(">H", frame, 2)[0]
        token = b"".join(TOKEN.findall(frame)) if code else b""
        return struct.pack(">BBHBIBHHHI", 1, 0, 2 if code else 0, 1, number, 1, 0, 0, 0, len(token)) + token

    def size(self, buf):
        if len(buf) < 2:
            return None
        if buf[0] != 1 or buf[1] > 2:
            raise Broken("bolt")
        at = 14 if buf[1] else 12
        if len(buf) < at + 8:
            return None
        return at + 8 + sum(struct.unpack_from(">HHI", buf, at))

    def describe(self, frame):
        kind, code, number = frame[1], struct.unpack_from(">H", frame, 2)[0], struct.unpack_from(">I", frame, 5)[0]
        if kind == 0:
            return ("answer" if code else None), number
        return ("heartbeat" if code == 0 else "oneway" if kind == 2 else "request"), number


class Dubbo(Wire):
    name, id_bits = "dubbo", 62

    @staticmethod
    def text(value):
        if len(value) < 32:
            return bytes([len(value)]) + value
        return b"S" + struct.pack(">H", len(value)) + value

    def request(self, number, token, oneway=False):
        words = (b"2.0.2", b"acme.A", b"0.0.0", b"call", b"Ljava/lang/String;", token)
        body = b"".join(self.text(w) for w in words) + b"H" + self.text(b"path") + self.text(b"acme.A") + b"Z"
        return struct.pack(">HBBQI", 0xdabb, 0x82 if oneway else 0xc2, 0, number, len(body)) + body

    def heartbeat(self, number):
        return struct.pack(">HBBQI", 0xdabb, 0xe2, 0, number, 1) + b"N"

    def answer(self, frame, number):
        if frame[2] & 0x20:
            return struct.pack(">HBBQI", 0xdabb, 0x22, 20, number, 1) + b"N"
        body = b"\x91" + self.text(b"".join(TOKEN.findall(frame)))
        return struct.pack(">HBBQI", 0xdabb, 0x02, 20, number, len(body)) + body

    def size(self, buf):
        if len(buf) >= 2 and buf[:2] != b"\xda\xbb":
            raise Broken("dubbo")
        n = length_at(buf, 12, 4)
        return None if n is None else 16 + n

    def describe(self, frame):
        flag, number = frame[2], struct.unpack_from(">Q", frame, 4)[0]
        if not flag & 0x80:
            return (None if flag & 0x20 else "answer"), number
        return ("heartbeat" if flag & 0x20 else "request" if flag & 0x40 else "oneway"), number


class Tars(Wire):
    name = "tars"

    @staticmethod
    def field(tag, kind):
        return bytes([tag << 4 | kind])

    def integer(self, tag, value):
        return self.field(tag, 2) + struct.pack(">i", value)

    def text(self, tag, value):
        return self.field(tag, 6) + bytes([len(value)]) + value

    def simple_list(self, tag, value):
        return self.field(tag, 13) + self.field(0, 0) + self.integer(0, len(value)) + value

    def empty_map(self, tag):
        return self.field(tag, 8) + self.integer(0, 0)

    def request(self, number, token, oneway=False):
        body = (self.field(1, 1) + struct.pack(">h", 1) + self.field(2, 0) + (b"\1" if oneway else b"\0") + self.integer(3, 0) +
                self.integer(4, number) + self.text(5, b"Acme.A.AObj") + self.text(6, b"call") + self.simple_list(7, token) +
                self.integer(8, 3000) + self.empty_map(9) + self.empty_map(10))
        return struct.pack(">I", len(body) + 4) + body

    def heartbeat(self, number):
        body = (self.field(1, 1) + struct.pack(">h", 1) + self.field(2, 0) + b"\0" + self.integer(3, 0) + self.integer(4, number) +
                self.text(5, b"Acme.A.AObj") + self.text(6, b"tars_ping") + self.simple_list(7, b"") + self.integer(8, 3000) +
                self.empty_map(9) + self.empty_map(10))
        return struct.pack(">I", len(body) + 4) + body

    def answer(self, frame, number):
        body = (self.field(1, 1) + struct.pack(">h", 1) + self.field(2, 0) + b"\0" + self.integer(3, number) + self.integer(4, 0) +
                self.integer(5, 0) + self.simple_list(6, b"".join(TOKEN.findall(frame))) + self.empty_map(7))
        return struct.pack(">I", len(body) + 4) + body

    def size(self, buf):
        n = length_at(buf, 0, 4)
        if n is not None and not 4 < n < 1 << 24:
            raise Broken("tars")
        return n

    @staticmethod
    def number_at(frame, at):
        """(tag, value, behind it) of an integer field."""
        tag, kind = frame[at] >> 4, frame[at] & 15
        if kind == 12:
            return tag, 0, at + 1
        if kind > 3:
            raise Broken("tars field")
        size = 1 << kind
        return tag, int.from_bytes(frame[at + 1:at + 1 + size], "big", signed=True), at + 1 + size

    def describe(self, frame):
        try:
            fields, at = {}, 4
            for _ in range(4):
                tag, value, at = self.number_at(frame, at)
                fields[tag] = value
            kind = frame[at] & 15
        except IndexError as e:
            raise Broken("tars") from e
        if kind in (6, 7):  # the servant's name: a request
            return ("oneway" if fields.get(2) == 1 else "request"), fields.get(4)
        return "answer", fields.get(3)


class Thrift(Wire):
    """Strict binary messages with one text field, in frames."""
    name, framed = "thrift", True
    names = {"request": 1, "oneway": 4}

    def message(self, kind, number, token):
        body = (struct.pack(">I", 0x80010000 | kind) + struct.pack(">I", 4) + b"call" + struct.pack(">I", number) +
                b"\x0b\0\1" + struct.pack(">I", len(token)) + token + b"\0")
        return (struct.pack(">I", len(body)) if self.framed else b"") + body

    def request(self, number, token, oneway=False):
        return self.message(4 if oneway else 1, number, token)

    def answer(self, frame, number):
        return self.message(2, number, b"".join(TOKEN.findall(frame)))

    def size(self, buf):
        n = length_at(buf, 0, 4)
        if n is not None and n >= 1 << 24:
            raise Broken("thrift")
        return None if n is None else 4 + n

    def describe(self, frame):
        at = 4 if self.framed else 0
        if len(frame) < at + 12 or frame[at:at + 2] != b"\x80\x01":
            raise Broken("thrift")
        name = struct.unpack_from(">I", frame, at + 4)[0]
        number = length_at(frame, at + 8 + name, 4)
        return {1: "request", 2: "answer", 3: "answer", 4: "oneway"}.get(frame[at + 3]), number


class ThriftUnframed(Thrift):
    framed = False

    def size(self, buf):
        if len(buf) < 8:
            return None
        if buf[:2] != b"\x80\x01":
            raise Broken("thrift")
        at = 12 + struct.unpack_from(">I", buf, 4)[0]
        while len(buf) > at:
            kind = buf[at]
            if kind == 0:
                return at + 1
            size = {11: None, 8: 4, 10: 8, 2: 1, 3: 1, 6: 2, 4: 8}.get(kind, -1)
            if size == -1:
                raise Broken("thrift field")
            if size is None:
                size = length_at(buf, at + 3, 4)
                if size is None:
                    return None
                size += 4
            at += 3 + size
        return None


class TtHeader(Thrift):
    name = "ttheader"

    def message(self, kind, number, token):
        payload = (struct.pack(">I", 0x80010000 | kind) + struct.pack(">I", 4) + b"call" + struct.pack(">I", number) +
                   b"\x0b\0\1" + struct.pack(">I", len(token)) + token + b"\0")
        info = b"\0\0"  # the binary protocol, no transforms
        info += b"\0" * (-len(info) % 4)
        rest = struct.pack(">HHIH", 0x1000, 0, number, len(info) // 4) + info + payload
        return struct.pack(">I", len(rest)) + rest

    def describe(self, frame):
        if len(frame) < 18 or frame[4:6] != b"\x10\x00":
            raise Broken("ttheader")
        number, words = struct.unpack_from(">IH", frame, 8)
        at = 14 + 4 * words
        if len(frame) < at + 4:
            raise Broken("ttheader")
        return {1: "request", 2: "answer", 3: "answer", 4: "oneway"}.get(frame[at + 3]), number


class Seata(Wire):
    name, modes = "seata", ("bound",)

    def frame(self, kind, number, body):
        return struct.pack(">HBIHBBBI", 0xdada, 1, 16 + len(body), 16, kind, 1, 0, number) + body

    def request(self, number, token, oneway=False):
        # A branch status report, in shape only: its code, then a text.
        return self.frame(2 if oneway else 0, number, struct.pack(">HH", 21, len(token)) + token)

    def heartbeat(self, number):
        return self.frame(3, number, b"")

    def answer(self, frame, number):
        if frame[9] == 3:
            return self.frame(4, number, b"")
        token = b"".join(TOKEN.findall(frame))
        return self.frame(1, number, struct.pack(">HBH", 22, 1, len(token)) + token)

    def size(self, buf):
        if len(buf) >= 2 and buf[:2] != b"\xda\xda":
            raise Broken("seata")
        return length_at(buf, 3, 4)

    def describe(self, frame):
        return {0: "request", 1: "answer", 2: "oneway", 3: "heartbeat"}.get(frame[9]), struct.unpack_from(">I", frame, 12)[0]


class Brpc(Wire):
    name = "brpc"

    @staticmethod
    def frame(meta, payload):
        return b"PRPC" + struct.pack(">II", len(meta) + len(payload), len(meta)) + meta + payload

    def request(self, number, token, oneway=False):
        call = b"\x0a\x06acme.A\x12\x04call"
        return self.frame(b"\x0a" + varint(len(call)) + call + b"\x20" + varint(number), token)

    def answer(self, frame, number):
        return self.frame(b"\x12\x02\x08\x00\x20" + varint(number), b"".join(TOKEN.findall(frame)))

    def size(self, buf):
        if len(buf) >= 4 and buf[:4] != b"PRPC":
            raise Broken("brpc")
        n = length_at(buf, 4, 4)
        return None if n is None else 12 + n

    def describe(self, frame):
        at, end, kind, number = 12, 12 + struct.unpack_from(">I", frame, 8)[0], None, 0
        while at < end:
            tag, at = read_varint(frame, at)
            if tag & 7 == 0:
                value, at = read_varint(frame, at)
                if tag >> 3 == 4:
                    number = value
            elif tag & 7 == 2:
                size, at = read_varint(frame, at)
                kind = {1: "request", 2: "answer"}.get(tag >> 3, kind)
                at += size
            else:
                raise Broken("brpc")
        return kind, number


class RocketMq(Wire):
    name = "rocketmq"

    @staticmethod
    def frame(code, flag, number, body):
        head = (f'{{"code":{code},"language":"JAVA","version":401,"opaque":{number},"flag":{flag},"remark":"",'
                f'"serializeTypeCurrentRPC":"JSON","extFields":{{"topic":"acme"}}}}').encode()
        return struct.pack(">II", 4 + len(head) + len(body), len(head)) + head + body

    def request(self, number, token, oneway=False):
        return self.frame(105, 2 if oneway else 0, number, token)

    def answer(self, frame, number):
        return self.frame(0, 1, number, b"".join(TOKEN.findall(frame)))

    def size(self, buf):
        n = length_at(buf, 0, 4)
        if n is not None and not 4 <= n < 1 << 24:
            raise Broken("rocketmq")
        return None if n is None else 4 + n

    def describe(self, frame):
        head = frame[8:8 + (struct.unpack_from(">I", frame, 4)[0] & 0xffffff)]
        flag, number = re.search(rb'"flag"\s*:\s*(\d+)', head), re.search(rb'"opaque"\s*:\s*(-?\d+)', head)
        if not flag or not number:
            raise Broken("rocketmq")
        kind = "answer" if int(flag[1]) & 1 else "oneway" if int(flag[1]) & 2 else "request"
        return kind, int(number[1])


class Parcel(Wire):
    """The tutorial's protocol, by its description in YAML."""
    name, edits = "parcel", True
    codec = "descriptor: " + os.path.realpath(os.path.join(ROOT, "protocols", "example", "parcel.yaml"))

    @staticmethod
    def frame(kind, number, headers, body):
        return b"PC\1" + struct.pack(">BIIHI", kind, number, 0, len(headers), len(body)) + headers + body

    def request(self, number, token, oneway=False):
        return self.frame(2 if oneway else 1, number, b"service=acme.A\nmethod=call\n", token)

    def heartbeat(self, number):
        return self.frame(4, number, b"", b"")

    def answer(self, frame, number):
        if frame[3] == 4:
            return self.frame(5, number, b"", b"")
        return self.frame(3, number, b"", b"".join(TOKEN.findall(frame)))

    def size(self, buf):
        if len(buf) >= 3 and buf[:3] != b"PC\1":
            raise Broken("parcel")
        if len(buf) < 18:
            return None
        return 18 + struct.unpack_from(">H", buf, 12)[0] + struct.unpack_from(">I", buf, 14)[0]

    def describe(self, frame):
        return {1: "request", 2: "oneway", 3: "answer", 4: "heartbeat"}.get(frame[3]), struct.unpack_from(">I", frame, 4)[0]


WIRES = {"bolt": Bolt(), "dubbo": Dubbo(), "tars": Tars(), "thrift": Thrift(), "thrift_unframed": ThriftUnframed(),
         "ttheader": TtHeader(), "seata": Seata(), "brpc": Brpc(), "rocketmq": RocketMq(), "parcel": Parcel()}


# HTTP/2, as much as these peers need: fields are written as literals and never read.
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def h2_frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def h2_fields(*pairs):
    def text(value):
        return bytes([len(value)]) + value if len(value) < 127 else b"\x7f" + varint(len(value) - 127) + value
    return b"".join(b"\0" + text(name) + text(value) for name, value in pairs)


def h2_request(stream, token, grpc=False):
    fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/acme.A/call"), (b":authority", b"acme")]
    if grpc:
        fields += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
        token = b"\0" + struct.pack(">I", len(token)) + token
    return h2_frame(HEADERS, END_HEADERS, stream, h2_fields(*fields)) + b"".join(
        h2_frame(DATA, 0, stream, token[i:i + 16000]) for i in range(0, len(token), 16000)) + h2_frame(DATA, END_STREAM, stream)


def h2_frames(buf):
    """Takes whole frames off the front of a bytearray."""
    while len(buf) >= 9:
        n = int.from_bytes(buf[:3], "big")
        if len(buf) < 9 + n:
            return
        kind, flags, stream = buf[3], buf[4], struct.unpack_from(">I", buf, 5)[0] & 0x7fffffff
        payload = bytes(buf[9:9 + n])
        del buf[:9 + n]
        yield kind, flags, stream, payload
