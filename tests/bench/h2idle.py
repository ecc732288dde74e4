#!/usr/bin/env python3
"""h2idle.py HOST:PORT PATH COUNT: so many HTTP/2 connections, 32 opened at a time, each with one request that was answered; prints
`idle COUNT` when all are there and waits for the end of stdin. Ends with 1 when one of them ended first."""

import selectors
import socket
import sys

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
OPENING_MAX = 32
LIMIT_S = 20
HEADERS, RST_STREAM, SETTINGS, GOAWAY = 1, 3, 4, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4


def frame(kind, flags, stream, payload=b''):
    return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload


def literal(name, value):
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def request(path):
    fields = ((b':method', b'GET'), (b':scheme', b'http'), (b':path', path.encode()), (b':authority', b'bench'))
    return PREFACE + frame(SETTINGS, 0, 0) + frame(
        HEADERS, END_STREAM | END_HEADERS, 1, b''.join(literal(*field) for field in fields)
    )


class Connection:
    def __init__(self, address, first):
        self.socket = socket.create_connection(address, timeout=LIMIT_S)
        self.data = b''
        self.done = False
        self.socket.sendall(first)

    def on_readable(self):
        """False when it ended, or its request was not answered."""
        piece = self.socket.recv(65536)
        self.data += piece
        while len(self.data) >= 9 and len(self.data) >= 9 + int.from_bytes(self.data[:3], 'big'):
            size, kind, flags = 9 + int.from_bytes(self.data[:3], 'big'), self.data[3], self.data[4]
            self.data = self.data[size:]
            if kind == SETTINGS and not flags & ACK:
                self.socket.sendall(frame(SETTINGS, ACK, 0))
            if kind in (RST_STREAM, GOAWAY):
                return False
            self.done |= kind <= HEADERS and bool(flags & END_STREAM)
        return bool(piece)


def main():
    host, port = sys.argv[1].rsplit(':', 1)
    count, first = int(sys.argv[3]), request(sys.argv[2])
    selector = selectors.DefaultSelector()
    idle = opening = 0
    while idle < count:
        while opening < OPENING_MAX and idle + opening < count:
            connection = Connection((host, int(port)), first)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            opening += 1
        ready = selector.select(LIMIT_S)
        if not ready:
            sys.exit('no answer for %d s' % LIMIT_S)
        for key, _ in ready:
            was_done = key.data.done
            if not key.data.on_readable():
                sys.exit('a connection ended, or its request failed')
            if key.data.done and not was_done:
                opening -= 1
                idle += 1
    print('idle %d' % count, flush=True)
    selector.register(sys.stdin, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            if not key.data.on_readable():
                sys.exit('a connection ended while it was idle')


main()
