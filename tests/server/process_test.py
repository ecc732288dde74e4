#!/usr/bin/env python3
"""The real process: signals, every command and exit code. process_test.py DRAGOMAN BENCH_LOAD BENCH_BACKEND."""
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

DRAGOMAN, LOAD, BACKEND = (os.path.abspath(p) for p in sys.argv[1:4])


def run(*args, stdin=None, env=None):
    return subprocess.run([DRAGOMAN, *args], capture_output=True, text=True, timeout=60, check=False, input=stdin,
                          env=os.environ | (env or {}))


def http(url, method="GET"):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


class Process:
    """dragoman run on a file; everything on free ports."""

    def __init__(self, body, *args, drain="{deadline: 10s, idle_grace: 300ms}"):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, "dragoman.yaml")
        self.log = os.path.join(self.dir.name, "dragoman.log")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.admin_port = s.getsockname()[1]
        self.drain = drain
        self.write(body)
        self.process = subprocess.Popen([DRAGOMAN, "run", "-c", self.path, *args], stderr=subprocess.PIPE, text=True)
        self.wait(lambda: self.admin("/ready")[0] == 200)
        listeners = json.loads(self.admin("/listeners?format=json")[1])["listeners"]
        self.ports = {l["name"]: int(l["address"].rsplit(":", 1)[1]) for l in listeners}

    @staticmethod
    def wait(done, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if done():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError("not within the time")

    def write(self, body):
        if "lame_duck" not in self.drain:  # tests don't wait for load balancers
            self.drain = self.drain.replace("}", ", lame_duck: 0ms}")
        with open(self.path + ".next", "w", encoding="utf-8") as f:
            f.write(f"workers: 2\nlog: {{level: info, path: '{self.log}'}}\ndrain: {self.drain}\n"
                    f"admin: {{address: '127.0.0.1:{self.admin_port}'}}\n{body}")
        os.rename(self.path + ".next", self.path)

    def admin(self, path, method="GET"):
        return http(f"http://127.0.0.1:{self.admin_port}{path}", method)

    def metric(self, name):
        return sum(float(line.rsplit(" ", 1)[1]) for line in self.admin("/metrics")[1].splitlines()
                   if line.startswith(name))

    def end(self, signo=signal.SIGTERM):
        if signo:
            self.process.send_signal(signo)
        _, err = self.process.communicate(timeout=60)
        with open(self.log, encoding="utf-8") as f:
            log = f.read()
        self.dir.cleanup()
        return self.process.returncode, err, log


def fixed(text):
    return ("listeners: [{name: web, address: '127.0.0.1:0', protocol: http1, routes: r}]\n"
            f"routes: [{{name: r, routes: [{{match: {{prefix: /}}, direct_response: {{status: 200, body: {text}}}}}]}}]\n")


class Signals(unittest.TestCase):
    def get(self, p):
        return http(f"http://127.0.0.1:{p.ports['web']}/")[1]

    def test_sighup_reloads_and_a_bad_file_changes_nothing(self):
        p = Process(fixed("one"), "--no-watch")
        p.write(fixed("two"))
        time.sleep(0.3)
        self.assertEqual(self.get(p), "one", "--no-watch")
        p.process.send_signal(signal.SIGHUP)
        p.wait(lambda: self.get(p) == "two")
        p.write("listeners: {}\n")
        p.process.send_signal(signal.SIGHUP)
        p.wait(lambda: p.metric('dragoman_config_reloads_total{result="failure"}') == 1)
        self.assertEqual(self.get(p), "two")
        code, err, log = p.end()
        self.assertEqual((code, err), (0, ""))
        self.assertIn("reload refused", log)

    def test_a_changed_file_reloads(self):
        p = Process(fixed("one"))
        p.write(fixed("two"))
        p.wait(lambda: self.get(p) == "two")
        self.assertEqual(p.end(signal.SIGINT)[:2], (0, ""))

    def test_sigusr1_opens_the_log_again(self):
        p = Process(fixed("x"))
        os.rename(p.log, p.log + ".1")
        p.process.send_signal(signal.SIGUSR1)
        p.wait(lambda: os.path.exists(p.log))
        self.assertEqual(p.end()[0], 0)

    def test_a_second_sigterm_ends_it_at_once(self):
        p = Process(fixed("x"), drain="{deadline: 1h, idle_grace: 1h}")
        with socket.create_connection(("127.0.0.1", p.ports["web"])) as s:
            s.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            s.recv(1000)
            p.process.send_signal(signal.SIGTERM)
            p.wait(lambda: p.metric("dragoman_draining") == 1)
            self.assertIsNone(p.process.poll())
            self.assertEqual(p.end()[:2], (0, ""))

    def test_sigterm_under_load_fails_no_request(self):
        with subprocess.Popen([BACKEND, "--http", "0"], stdout=subprocess.PIPE, text=True) as backend:
            port = re.search(r"http\D+(?:127\.0\.0\.1:)?(\d+)", backend.stdout.readline()).group(1)
            p = Process("listeners: [{name: web, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
                        f"clusters: [{{name: c, endpoints: ['127.0.0.1:{port}']}}]\n")
            failures, served, stop = [], [0], threading.Event()

            def client():
                while not stop.is_set():
                    try:
                        s = socket.create_connection(("127.0.0.1", p.ports["web"]), timeout=10)
                    except ConnectionRefusedError:
                        return
                    with s:
                        first = True
                        while not stop.is_set():
                            answer = b""
                            try:
                                s.sendall(b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
                                while b"\r\n\r\n" not in answer:
                                    piece = s.recv(65536)
                                    if not piece:
                                        break
                                    answer += piece
                            except OSError as e:
                                if not first:
                                    failures.append(repr(e))
                                break
                            if not answer.startswith(b"HTTP/1.1 200 "):
                                if answer or not first:
                                    failures.append(repr(answer[:100]))
                                break
                            served[0] += 1
                            first = False
                            if b"connection: close" in answer.lower():
                                break

            threads = [threading.Thread(target=client) for _ in range(8)]
            for t in threads:
                t.start()
            time.sleep(1)
            began = time.monotonic()
            code, err, _ = p.end()
            stop.set()
            for t in threads:
                t.join()
            backend.terminate()
            self.assertEqual((code, err), (0, ""))
            self.assertEqual(failures, [])
            self.assertGreater(served[0], 100)
            self.assertLess(time.monotonic() - began, 9, "before the deadline")


class Commands(unittest.TestCase):
    def check(self, code, *args, out="", err="", stdin=None, env=None):
        r = run(*args, stdin=stdin, env=env)
        self.assertEqual(r.returncode, code, (args, r.stdout, r.stderr))
        self.assertIn(out, r.stdout)
        self.assertIn(err, r.stderr)
        return r

    def test_version(self):
        self.assertEqual(self.check(0, "version", out="dragoman ").stdout, self.check(0, "--version").stdout)
        self.assertIn("version", json.loads(self.check(0, "version", "--json").stdout))
        self.check(2, "version", "--jsn")

    def test_schema_and_reference(self):
        self.assertIn("draft-07", json.loads(self.check(0, "schema").stdout)["$schema"])
        self.check(0, "reference", out="# Configuration reference")
        self.check(2, "schema", "extra")

    def test_help(self):
        for args in ((), ("run",), ("validate",), ("schema",), ("reference",), ("version",), ("call",)):
            self.check(0, *args, "--help", out="Usage")
        self.check(0, "--help-all", out="validate")

    def test_wrong_usage(self):
        self.check(2, "rnu", err="did you mean 'run'")
        self.check(2)
        self.check(2, "run", err="-c FILE")
        self.check(2, "run", "--nope")
        self.check(2, "run", "--demo-port", "x", "--demo")
        self.check(2, "validate")
        self.check(2, "validate", "-", "--format", "xml", stdin="")
        self.check(2, "call")
        self.check(2, "call", "nosuchprotocol", "127.0.0.1:1")
        self.check(2, "call", "bolt", "no address")
        self.check(2, "call", "bolt", "127.0.0.1:1", "--header", "novalue")
        self.check(2, "call", "bolt", "127.0.0.1:1", "--count", "-1")

    def test_validate(self):
        good = fixed("x")
        self.check(0, "validate", "-", stdin=good)
        bad = good.replace("protocol: http1", "protocol: htp1")
        self.check(1, "validate", "-", stdin=bad, err="did you mean")
        rows = json.loads(self.check(1, "validate", "-", "--format", "json", stdin=bad).stdout)
        self.assertEqual([r["severity"] for r in rows], ["error"])
        self.assertEqual(rows[0]["line"], 1)
        self.check(1, "validate", "/nonexistent/file.yaml")
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for name, text in (("a.yaml", good), ("b.yaml", bad)):
                paths.append(os.path.join(folder, name))
                with open(paths[-1], "w", encoding="utf-8") as f:
                    f.write(text)
            self.check(0, "validate", paths[0])
            self.check(1, "validate", *paths, err="b.yaml:1:")

    def test_run_refuses_what_it_cannot_do(self):
        self.check(1, "run", "-c", "/nonexistent/file.yaml", err="nonexistent")
        self.check(1, "run", "-c", "-", stdin="listeners: [{name: x}]\n", err="error")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            in_use = fixed("x").replace("127.0.0.1:0", f"127.0.0.1:{port}")
            self.check(1, "run", "-c", "-", stdin="admin: {address: '127.0.0.1:0'}\n" + in_use, err=str(port))
            self.check(1, "run", "-c", "-", stdin=f"admin: {{address: '127.0.0.1:{port}'}}\n" + fixed("x"),
                       err="admin.address")

    def test_run_from_standard_input_and_environment(self):
        for args, env in ((("-c", "-"), {}), ((), {"DRAGOMAN_CONFIG": "-"})):
            p = subprocess.Popen([DRAGOMAN, "run", *args], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=os.environ | env)
            with socket.socket() as s:
                s.bind(("127.0.0.1", 0))
                port = s.getsockname()[1]
            p.stdin.write(f"admin: {{address: '127.0.0.1:{port}'}}\nlog: {{level: warn}}\n" + fixed("x"))
            p.stdin.close()
            Process.wait(lambda at=port: http(f"http://127.0.0.1:{at}/ready")[0] == 200)
            self.assertEqual(http(f"http://127.0.0.1:{port}/reload", "POST")[0], 409)
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.wait(timeout=30), 0)
            p.stderr.close()

    def test_call(self):
        with subprocess.Popen([BACKEND, "--bolt", "0"], stdout=subprocess.PIPE, text=True) as backend:
            address = "127.0.0.1:" + re.search(r"bolt\D+(?:127\.0\.0\.1:)?(\d+)", backend.stdout.readline()).group(1)
            r = self.check(0, "call", "bolt", address, "--service", "a.B:1.0", "--method", "m", "--data", "text",
                           "--header", "k=v", "--header", "k2=v2", "--timeout-ms", "2000", "--count", "2")
            self.assertEqual(r.stdout, "SUCCESS (0) text\n" * 2)
            backend.terminate()
        self.check(1, "call", "bolt", "127.0.0.1:1", err="can't connect")
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            self.check(1, "call", "bolt", f"127.0.0.1:{silent.getsockname()[1]}", "--timeout-ms", "50", err="no answer")
        p = Process("listeners: [{name: rpc, address: '127.0.0.1:0', protocol: bolt, cluster: c}]\n"
                    "clusters: [{name: c, endpoints: ['127.0.0.1:1']}]\n")
        r = run("call", "bolt", f"127.0.0.1:{p.ports['rpc']}")
        self.assertEqual(r.returncode, 1)
        self.assertNotIn("SUCCESS", r.stdout)
        self.assertEqual(p.end()[0], 0)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
