"""A WebSocket client over HTTP/2 (RFC 8441) on Debian's python3-h2. Argument: {"port", "path", "texts", "key"}; the key is
what HTTP/1 has, and Envoy wants. Says `opened` with the answer's fields, `echo` for each text that comes back, `closed` with the code
at the end."""
import json
import os
import socket
import struct
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings


def say(**what):
    print(json.dumps(what), flush=True)


def frame(opcode, payload):
    mask = os.urandom(4)
    n = len(payload)
    length = bytes([0x80 | n]) if n < 126 else bytes([0x80 | 126]) + struct.pack("!H", n)
    return bytes([0x80 | opcode]) + length + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.data, self.answer, self.ended, self.reset = b"", None, False, None
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def wait(self, until):
        while not until():
            piece = self.socket.recv(65536)
            if not piece:
                sys.exit("the connection ended")
            for event in self.h2.receive_data(piece):
                if isinstance(event, h2.events.ResponseReceived):
                    self.answer = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    self.data += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    self.ended = True
                elif isinstance(event, h2.events.StreamReset):
                    self.reset = int(event.error_code)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    sys.exit(f"{event}")
            # What came before it in the same bytes is there all the same.
            if self.reset is not None and not until():
                sys.exit(f"reset with {self.reset}")
            self.flush()

    def read(self, n):
        self.wait(lambda: len(self.data) >= n)
        piece, self.data = self.data[:n], self.data[n:]
        return piece

    def read_frame(self):
        head = self.read(2)
        n = head[1]
        if n == 126:
            n = struct.unpack("!H", self.read(2))[0]
        return head[0] & 15, self.read(n)

    def run(self, path, texts, key=None):
        self.wait(lambda: self.h2.remote_settings.get(h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL) == 1)
        sid = self.h2.get_next_available_stream_id()
        self.h2.send_headers(sid, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path),
                                   (":authority", "chat.example"), ("sec-websocket-version", "13"),
                                   ("sec-websocket-protocol", "one, two"),
                                   *([("sec-websocket-key", key)] if key else [])])
        self.flush()
        self.wait(lambda: self.answer is not None)
        say(opened=self.answer)
        if self.answer[":status"] != "200":
            return
        for text in texts:
            self.h2.send_data(sid, frame(1, text.encode()))
            self.flush()
            say(echo=self.read_frame()[1].decode())
        self.h2.send_data(sid, frame(8, struct.pack("!H", 1000)))
        self.flush()
        opcode, payload = self.read_frame()
        # A server closes its connection behind the handshake: Envoy says so by CONNECT_ERROR, and what becomes of that is CANCEL.
        if not self.ended and self.reset is None:
            self.h2.end_stream(sid)
            self.flush()
            self.wait(lambda: self.ended or self.reset in (8, 10))
        say(closed=struct.unpack("!H", payload[:2])[0], opcode=opcode)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    Client(told["port"]).run(told["path"], told["texts"], told.get("key"))
