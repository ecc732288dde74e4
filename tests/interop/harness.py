"""What the tests with real software share: peers as child processes, and pairs of sidecars between them.

A test file is run as  FILE.py DRAGOMAN [unittest arguments]  and ends with main(). It never skips: a peer that is missing is a
failure, except in the tier `registry`, whose files say unavailable() when what they need could not be fetched."""
import atexit
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
from sidecar import Sidecar, http, raw, wait_for  # noqa: E402, F401  pylint: disable=wrong-import-position,unused-import

UNAVAILABLE = 77


def unavailable(peer, why):
    """Ends a test file of the tier `registry` as not run (CTest's SKIP_RETURN_CODE)."""
    print(f"NOT RUN: {peer}: {why}", flush=True)
    sys.exit(UNAVAILABLE)


def fetch(peer, args, not_fetched, **run):
    """Runs a program that gets `peer` from a registry and builds it; returns what it said. A registry that is slow beyond measure, or out of
    reach as a text of `not_fetched` in the output tells, ends the test file as not run; any other failure is one. Only for setUpModule():
    within a test it would count as that test's failure."""
    try:
        done = subprocess.run(args, capture_output=True, text=True, timeout=600, check=False, **run)
    except subprocess.TimeoutExpired:
        unavailable(peer, f"{os.path.basename(args[0])} has run for 600 s")
    output = done.stdout + done.stderr
    if done.returncode != 0:
        for line in output.splitlines():
            if any(word in line for word in not_fetched):
                unavailable(peer, line.strip())
        raise AssertionError(output)
    return output


def tool(name):
    """The path of a program that must be installed."""
    path = shutil.which(name)
    if not path:
        raise AssertionError(f"'{name}' is not installed; ./dev setup installs it")
    return path


def connects(port):
    """Whether somebody listens on a port of this host."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        return True
    except OSError:
        return False


def free_port():
    """A port to listen on, below the range from which the system gives ports to clients."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Peer:
    """A program under our control. A peer written for these tests prints JSON objects, one a line, and expect() waits for the
    one with a given key."""

    def __init__(self, args, env=None, cwd=None, **popen):
        self.args = args
        self._lines, self._ended, self._changed = [], False, threading.Condition()
        self._asked = itertools.count(1)
        self.process = subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True, errors="replace", cwd=cwd, env={**os.environ, **(env or {})}, **popen)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        atexit.register(self.kill)

    def _read(self):
        for line in self.process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def output(self):
        with self._changed:
            return "".join(self._lines)

    def _find(self, key, value):
        for line in self._lines:
            if line.startswith("{"):
                found = json.loads(line)
                if key in found and value in (None, found[key]):
                    return found
        return None

    def expect(self, key, value=None, seconds=60):
        """The first JSON object printed that has `key`; an AssertionError when the program ends or time runs out first."""
        with self._changed:
            self._changed.wait_for(lambda: self._find(key, value) or self._ended, timeout=seconds)
            if found := self._find(key, value):
                return found
        state = "ended" if self.process.poll() is not None else f"has run for {seconds} s"
        raise AssertionError(f"{self.args} {state} without '{key}':\n{self.output()[-4000:]}")

    def send(self, operation, **command):
        """Gives a command to a peer that takes them on standard input; ask() and answer() wait for what it says."""
        number = next(self._asked)
        self.process.stdin.write(json.dumps({"id": number, "operation": operation, **command}) + "\n")
        self.process.stdin.flush()
        return number

    def answer(self, number, seconds=60):
        return self.expect("answer", number, seconds)

    def ask(self, operation, **command):
        return self.answer(self.send(operation, **command))

    def wait(self, seconds=60):
        """Waits for the end; an AssertionError unless the exit code is 0."""
        try:
            code = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.args} runs for more than {seconds} s:\n{self.output()[-4000:]}") from None
        self._reader.join(5)
        assert code == 0, f"{self.args} ended with {code}:\n{self.output()[-4000:]}"
        return self.output()

    def kill(self):
        """Ends it at once (a crash, as its clients see it)."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def stop(self):
        """Asks it to end, and makes sure."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()


class InteropTest(unittest.TestCase):
    """Everything a test starts ends with it, clients first; a sidecar must end clean."""

    maxDiff = 4000

    def run_tool(self, *args, seconds=60, check=True, **run):
        """Runs an installed program to its end; returns the CompletedProcess with binary output."""
        done = subprocess.run([tool(args[0]), *map(str, args[1:])], capture_output=True, timeout=seconds, check=False, **run)
        if check:
            self.assertEqual(done.returncode, 0, (args, done.stdout[-2000:], done.stderr[-2000:]))
        return done

    def peer(self, *args, **options):
        """Starts an installed program."""
        peer = Peer([tool(args[0]), *map(str, args[1:])], **options)
        self.addCleanup(peer.stop)
        return peer

    def node(self, script, folder="peers", **config):
        """Starts tests/interop/FOLDER/SCRIPT, which gets its configuration as JSON in its first argument."""
        return self.peer("node", os.path.join(HERE, folder, script), json.dumps(config))

    def directory(self):
        temporary = tempfile.TemporaryDirectory(prefix="dragoman-")
        self.addCleanup(temporary.cleanup)
        return temporary.name

    def sidecar(self, yaml, **options):
        sidecar = Sidecar(DRAGOMAN, yaml, **options)
        self.addCleanup(sidecar.close)
        return sidecar

    def pair(self, protocol, port, client_cluster="", server_cluster=""):
        """The usual way of a call: client -> client-side sidecar -> server-side sidecar -> the service on `port`. More keys of the two
        clusters as YAML flow text ("limits: {...}"). Returns (client side, server side); the listener is `in`, the cluster `out`."""
        server = self.sidecar(one_way(protocol, port, server_cluster))
        client = self.sidecar(one_way(protocol, server.ports["in"], client_cluster))
        return client, server


def one_way(protocol, port, cluster=""):
    """The least configuration: listener `in`, cluster `out` with one endpoint on loopback."""
    more = f", {cluster}" if cluster else ""
    return (f"listeners:\n  - {{name: in, address: '127.0.0.1:0', protocol: {protocol}, cluster: out}}\n"
            f"clusters:\n  - {{name: out, endpoints: ['127.0.0.1:{port}']{more}}}\n")


def main():
    global DRAGOMAN  # pylint: disable=global-statement
    if len(sys.argv) < 2:
        sys.exit(f"usage: {sys.argv[0]} DRAGOMAN [unittest arguments]")
    DRAGOMAN = os.path.abspath(sys.argv[1])
    unittest.main(module="__main__", argv=[sys.argv[0], *sys.argv[2:]], verbosity=2)


DRAGOMAN = ""
