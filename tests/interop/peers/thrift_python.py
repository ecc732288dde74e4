"""Thrift for Python, both ends. Configuration (JSON): generated, transport (framed, buffered, header, header-zlib), protocol (binary, compact),
serve (a port) or port. A client takes the commands call(method, text) and load(calls)."""
import json
import sys

config = json.loads(sys.argv[1])
sys.path.insert(0, config["generated"])
from echo import Echo  # noqa: E402  pylint: disable=wrong-import-position,import-error
from echo.ttypes import Failed  # noqa: E402  pylint: disable=wrong-import-position,import-error
from thrift.protocol import TBinaryProtocol, TCompactProtocol, THeaderProtocol  # noqa: E402  pylint: disable=wrong-import-position
from thrift.server import TServer  # noqa: E402  pylint: disable=wrong-import-position
from thrift.transport import THeaderTransport, TSocket, TTransport  # noqa: E402  pylint: disable=wrong-import-position


def say(**what):
    print(json.dumps(what), flush=True)


HEADER = config["transport"].startswith("header")
NUMBER = {"binary": THeaderTransport.THeaderSubprotocolID.BINARY, "compact": THeaderTransport.THeaderSubprotocolID.COMPACT}
if HEADER:
    transports = TTransport.TTransportFactoryBase()
    protocols = THeaderProtocol.THeaderProtocolFactory(
        allowed_client_types=(THeaderTransport.THeaderClientType.HEADERS,), default_protocol=NUMBER[config["protocol"]])
else:
    transports = {"framed": TTransport.TFramedTransportFactory, "buffered": TTransport.TBufferedTransportFactory}[config["transport"]]()
    protocols = {"binary": TBinaryProtocol.TBinaryProtocolFactory, "compact": TCompactProtocol.TCompactProtocolFactory}[config["protocol"]]()


class Handler:
    def __init__(self):
        self.notes = []

    def echo(self, text):
        return text

    def fail(self):
        raise Failed("because")

    def broken(self):
        raise RuntimeError("broken")

    def note(self, text):
        self.notes.append(text)

    def noted(self):
        return self.notes


def serve():
    server = TServer.TThreadedServer(Echo.Processor(Handler()), TSocket.TServerSocket("127.0.0.1", config["serve"]), transports, protocols,
                                     daemon=True)
    server.serverTransport.listen()
    server.serverTransport.listen = lambda: None
    say(port=config["serve"])
    server.serve()


def call():
    transport = transports.getTransport(TSocket.TSocket("127.0.0.1", config["port"]))
    protocol = protocols.getProtocol(transport)
    client = Echo.Client(protocol)
    protocol.trans.open()
    if config["transport"] == "header-zlib":
        protocol.trans.add_transform(THeaderTransport.THeaderTransformID.ZLIB)
    say(ready=True)
    for line in sys.stdin:
        command = json.loads(line)
        if HEADER and "headers" in command:
            for name, value in command["headers"].items():
                protocol.trans.set_header(name.encode(), value.encode())
        try:
            if command["operation"] == "load":
                wrong = 0
                for i in range(command["calls"]):
                    token = f"{i}-" + "x" * (i % 300)
                    wrong += client.echo(token) != token
                say(answer=command["id"], value={"calls": command["calls"], "wrong": wrong})
                continue
            args = [command["text"]] if "text" in command else []
            say(answer=command["id"], value=getattr(client, command["method"])(*args))
        except Exception as e:  # pylint: disable=broad-except
            say(answer=command["id"], error=type(e).__name__, type=getattr(e, "type", None),
                message=getattr(e, "why", None) or getattr(e, "message", None) or str(e))


serve() if "serve" in config else call()
