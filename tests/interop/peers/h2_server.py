"""A scripted HTTP/2 server over Debian's python3-h2: the path of a request says what happens to it. Argument and commands as
for every peer (README.md); the command `seen` tells what has come so far."""
import json
import socket
import sys
import threading
import time

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings


class Server:
    """Plain text, prior knowledge, one thread a connection."""

    def __init__(self, streams_max=100):
        self.streams_max = streams_max
        self.log = []
        self.resets = []
        self.connections = 0
        self.once = set()  # paths that behave as told the first time only
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def accept(self):
        while True:
            s, _ = self.listener.accept()
            self.connections += 1
            threading.Thread(target=self.serve, args=(s, self.connections), daemon=True).start()

    def first(self, key):
        if key in self.once:
            return False
        self.once.add(key)
        return True

    def serve(self, s, number):
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        c = h2.connection.H2Connection(config)
        c.local_settings = h2.settings.Settings(client=False, initial_values={
            h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self.streams_max,
            h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        c.initiate_connection()
        s.sendall(c.data_to_send())
        heads, bodies, held, unsent = {}, {}, [], {}

        def push():
            """Sends what the windows take."""
            for sid in list(unsent):
                data, trailers = unsent[sid]
                while data:
                    n = min(c.local_flow_control_window(sid), c.max_outbound_frame_size, len(data))
                    if n <= 0:
                        break
                    c.send_data(sid, data[:n])
                    data = data[n:]
                unsent[sid] = (data, trailers)
                if not data:
                    c.send_headers(sid, trailers, end_stream=True)
                    del unsent[sid]

        def answer(sid, body, status="200"):
            c.send_headers(sid, [(":status", status), ("content-type", "text/plain"), ("x-conn", str(number)),
                                 ("x-seen", ",".join(k for k, _ in heads[sid]))])
            unsent[sid] = (body, [("x-end", str(len(body)))])

        def finished(sid):
            path = dict(heads[sid])[":path"]
            self.log.append((number, sid, path))
            if path == "/refuse-once" and self.first(path):
                c.reset_stream(sid, h2.errors.ErrorCodes.REFUSED_STREAM)
            elif path == "/goaway-once" and self.first(path):
                held.append(sid)  # never processed: the GOAWAY says so
                c.close_connection(last_stream_id=sid - 2 if sid > 1 else 0)
            elif path == "/reset":
                c.send_headers(sid, [(":status", "200")])
                c.send_data(sid, b"half")
                c.reset_stream(sid, h2.errors.ErrorCodes.INTERNAL_ERROR)
            elif path == "/never":
                held.append(sid)
            elif path == "/early":
                c.send_headers(sid, [(":status", "103"), ("link", "</a.css>")])
                answer(sid, b"done")
            elif path.startswith("/big/"):
                answer(sid, b"x" * int(path[5:]))
            elif path == "/slow":
                s.sendall(c.data_to_send())
                time.sleep(0.3)
                answer(sid, b"slow")
            else:
                answer(sid, bodies.get(sid, b""))

        try:
            while data := s.recv(65536):
                for e in c.receive_data(data):
                    if isinstance(e, h2.events.RequestReceived):
                        heads[e.stream_id] = e.headers
                        if dict(e.headers).get(":protocol") == "websocket":
                            c.send_headers(e.stream_id, [(":status", "200"), ("sec-websocket-protocol", "chat")])
                    elif isinstance(e, h2.events.DataReceived):
                        if dict(heads[e.stream_id]).get(":protocol"):
                            c.send_data(e.stream_id, e.data)
                        else:
                            bodies[e.stream_id] = bodies.get(e.stream_id, b"") + e.data
                        c.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
                    elif isinstance(e, h2.events.StreamEnded):
                        if dict(heads[e.stream_id]).get(":protocol"):
                            c.end_stream(e.stream_id)
                        else:
                            finished(e.stream_id)
                    elif isinstance(e, h2.events.StreamReset):
                        self.resets.append((e.stream_id, e.error_code))
                        unsent.pop(e.stream_id, None)
                push()
                s.sendall(c.data_to_send())
        except (OSError, h2.exceptions.ProtocolError):
            pass
        s.close()


def main():
    server = Server(**json.loads(sys.argv[1]))
    threading.Thread(target=server.accept, daemon=True).start()
    print(json.dumps({"port": server.port}), flush=True)
    for line in sys.stdin:
        print(json.dumps({"answer": json.loads(line)["id"], "requests": server.log, "resets": server.resets,
                          "connections": server.connections}), flush=True)


main()
