"""The real binary as a child process: its configuration, its ports, its metrics, its end. Standard library only."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request


def http(url, data=None, method=None, headers=None):
    """One HTTP request; returns (status, body), whatever the status."""
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as r:
            return r.status, r.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def raw(port, data, half_close=False):
    """Sends bytes, returns everything until the peer closes (or 5 s)."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(data)
        if half_close:
            s.shutdown(socket.SHUT_WR)
        out = b""
        try:
            while chunk := s.recv(65536):
                out += chunk
        except (TimeoutError, ConnectionResetError):
            pass
        return out


def wait_for(what, condition, seconds=15):
    """Polls `condition` until it is true and returns what it gave; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Sidecar:
    """One dragoman process. `yaml` lacks workers, log, admin and drain, which are given here. Listeners use port 0 and are
    found by name in `ports`."""

    def __init__(self, binary, yaml, workers=2, drain="{deadline: 10s, idle_grace: 300ms}", arguments=(), limits=None):
        """`limits`: what the process may take, by resource.RLIMIT_*."""
        if "lame_duck" not in drain:  # tests don't wait for load balancers
            drain = drain.replace("}", ", lame_duck: 0ms}")
        self._head = f"workers: {workers}\nlog: {{level: info}}\nadmin: {{address: '127.0.0.1:0'}}\ndrain: {drain}\n"
        self._dir = tempfile.TemporaryDirectory(prefix="dragoman-")
        self.path = os.path.join(self._dir.name, "dragoman.yaml")
        self._log = os.path.join(self._dir.name, "log")
        self.write(yaml)
        with open(self._log, "ab") as log:
            self.process = subprocess.Popen([binary, "run", "-c", self.path, "--no-watch", *arguments], stderr=log,
                                            preexec_fn=lambda: [resource.setrlimit(what, (n, n)) for what, n in (limits or {}).items()])
        try:
            self.admin_port = int(wait_for("the line that tells the admin port", self._find_admin_port))
            wait_for("/ready", lambda: self.admin("/ready")[0] == 200)
            listeners = json.loads(self.admin("/listeners?format=json")[1])["listeners"]
            self.ports = {l["name"]: int(l["address"].rsplit(":", 1)[1]) for l in listeners
                          if not l["address"].startswith("unix:")}
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _find_admin_port(self):
        if self.process.poll() is not None:
            raise AssertionError(f"dragoman ended at once with {self.process.returncode}:\n{self.log()}")
        found = re.search(r"admin on \S+:(\d+)", self.log())
        return found and found.group(1)

    def log(self):
        """Everything written to standard error so far."""
        with open(self._log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def write(self, yaml):
        """Replaces the configuration file; it is in force after POST /reload."""
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(self._head + yaml)

    def reload(self, yaml):
        self.write(yaml)
        status, text = self.admin("/reload", "POST")
        assert status == 200, text

    def admin(self, path, method="GET"):
        return http(f"http://127.0.0.1:{self.admin_port}{path}", method=method)

    def metric(self, name, /, **labels):
        """The sum of a family's series that carry these labels."""
        wanted = [f'{k}="{v}"' for k, v in labels.items()]
        total = 0.0
        for line in self.admin("/metrics")[1].decode().splitlines():
            series, _, value = line.rpartition(" ")
            if re.match(name + r"(\{|$)", series) and all(w in series for w in wanted):
                total += float(value)
        return total

    def cluster(self, name):
        """The row of one cluster in /clusters."""
        clusters = json.loads(self.admin("/clusters?format=json")[1])["clusters"]
        return next(c for c in clusters if c["name"] == name)

    def memory_bytes(self):
        """The most memory the process has had in use at once."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) * 1024

    def terminate(self):
        """Begins the drain."""
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """Drains and waits for the end; returns (exit code, log). Harmless when called again."""
        if self.process.poll() is None:
            self.terminate()
        code = self.process.wait(timeout=60)
        text = self.log()
        return code, text

    def close(self):
        """stop(), and an AssertionError unless the end was clean: code 0, nothing left alive, no word from a sanitizer."""
        code, text = self.stop()
        self._dir.cleanup()
        assert code == 0, f"exit code {code}:\n{text}"
        for bad in ("left alive", "Sanitizer", "runtime error"):
            assert bad not in text, text
