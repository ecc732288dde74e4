#!/usr/bin/env python3
"""The real process: signals, every command and exit code. process_test.py DRAGOMAN BENCH_LOAD BENCH_BACKEND."""
import json
import os
import re
import resource
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


def slow_to_load():
    """A configuration that takes a good part of a second to read, so that signals meet the start."""
    routes = ", ".join(f"{{match: {{prefix: /{i}}}, direct_response: {{status: 200}}}}" for i in range(500))
    return ("listeners: [{name: web, address: '127.0.0.1:0', protocol: http1, routes: r}]\n"
            f"routes: [{{name: r, routes: [{routes}]}}]\n")


class Starting:
    """dragoman run, as it is when it has just begun to handle signals."""

    def __init__(self, body):
        self.dir = tempfile.TemporaryDirectory()
        self.log = os.path.join(self.dir.name, "log")
        self.path = os.path.join(self.dir.name, "dragoman.yaml")
        with open(self.path, "w", encoding="utf-8") as f:
            f.write(f"workers: 1\nlog: {{level: info, path: '{self.log}'}}\nadmin: {{enabled: false}}\n{body}")
        self.process = subprocess.Popen([DRAGOMAN, "run", "-c", self.path, "--no-watch"], stderr=subprocess.PIPE, text=True)
        Process.wait(self.handles_signals)

    def handles_signals(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            caught = int(re.search(r"SigCgt:\s+(\w+)", f.read()).group(1), 16)
        return all(caught >> (s - 1) & 1 for s in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1))

    def logged(self):
        try:
            with open(self.log, encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def end(self):
        _, err = self.process.communicate(timeout=60)
        log = self.logged()
        self.dir.cleanup()
        return self.process.returncode, err, log


class Signals(unittest.TestCase):
    def test_sighup_during_the_start_reloads_after_it(self):
        p = Starting(slow_to_load())
        self.assertEqual(p.logged(), "", "it is still starting")
        p.process.send_signal(signal.SIGHUP)
        p.process.send_signal(signal.SIGUSR1)
        Process.wait(lambda: "reloaded: generation 2" in p.logged(), 60)
        p.process.send_signal(signal.SIGINT)
        self.assertEqual(p.end()[:2], (0, ""))

    def test_sigterm_during_the_start_ends_it_in_order(self):
        for signo in (signal.SIGTERM, signal.SIGINT):
            p = Starting(slow_to_load())
            p.process.send_signal(signo)
            code, err, log = p.end()
            self.assertEqual((code, err), (0, ""))
            self.assertRegex(log, "(?s)serving 1 listeners.*draining.*stopped")

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

    def test_pages_answer_while_a_configuration_is_read(self):
        p = Process(fixed("one"), "--no-watch")
        p.write(slow_to_load())
        with socket.create_connection(("127.0.0.1", p.admin_port)) as s, socket.create_connection(("127.0.0.1", p.admin_port)) as t:
            for one in (s, t):
                one.sendall(b"POST /reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
            for page in ("/ready", "/metrics", "/clusters", "/codecs"):
                self.assertEqual(p.admin(page)[0], 200)
            s.setblocking(False)
            self.assertRaises(BlockingIOError, s.recv, 1000)  # all of them were faster
            s.setblocking(True)
            for one in (s, t):
                self.assertIn(b" 200 ", one.recv(1000))
        self.assertEqual(p.metric("dragoman_config_generation"), p.metric('dragoman_config_reloads_total{result="success"}'))
        # A client that left, and the end of the process, don't mind.
        with socket.create_connection(("127.0.0.1", p.admin_port)) as s:
            s.sendall(b"POST /reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
        p.write(fixed("three"))
        self.assertEqual(p.admin("/reload", "POST")[0], 200)
        self.assertEqual(self.get(p), "three")
        p.write(slow_to_load())
        with socket.create_connection(("127.0.0.1", p.admin_port)) as s:
            s.sendall(b"POST /reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
            self.assertEqual(p.end()[:2], (0, ""))

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

    def test_without_descriptors_little_is_logged_and_the_admin_port_answers(self):
        with open(DRAGOMAN, "rb") as f:
            if re.search(rb"lib[at]san\.so", f.read()):
                self.skipTest("a sanitizer takes types for wrong when it has no descriptors to look at them")
        p = Process(fixed("one"))
        self.addCleanup(lambda: p.process.poll() is None and p.process.kill())
        fds = f"/proc/{p.process.pid}/fd"
        _, hard = resource.prlimit(p.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(p.process.pid, resource.RLIMIT_NOFILE, (len(os.listdir(fds)) + 10, hard))
        began = time.monotonic()
        clients = []
        for _ in range(60):  # those that can't be accepted wait in the backlog
            clients.append(socket.create_connection(("127.0.0.1", p.ports["web"]), timeout=10))
        p.wait(lambda: p.metric("dragoman_listener_accept_failures_total") >= 25)
        seconds = time.monotonic() - began
        self.assertEqual(p.admin("/ready")[0], 200)
        for c in clients:
            c.close()
        p.wait(lambda: self.get(p) == "one")
        resource.prlimit(p.process.pid, resource.RLIMIT_NOFILE, (hard, hard))
        code, _, log = p.end()
        self.assertEqual(code, 0)
        lines = [line for line in log.splitlines() if "accept failed" in line]
        self.assertGreaterEqual(len(lines), 1)
        # At most one a second; each listener of a worker and the admin port have their own.
        self.assertLessEqual(len(lines), 2 * (seconds + 12), lines)
        self.assertRegex(lines[0], r"errno 24")

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

    def test_validate_says_what_run_would(self):
        with tempfile.TemporaryDirectory() as folder:
            log = os.path.join(folder, "log")
            bad = {
                "access_log: {template: '%NOSUCH%'}": "unknown field %NOSUCH%",
                "access_log: {path: /nonexistent/log}": "can't open /nonexistent/log: No such file",
                f"access_log: {{path: {folder}}}": "it is a folder",
                "log: {path: /nonexistent/log}": "can't open /nonexistent/log: No such file",
            }
            for line, error in bad.items():
                text = f"admin: {{enabled: false}}\n{line}\n" + fixed("x")
                self.check(1, "run", "-c", "-", stdin=text, err=error)
                r = self.check(1, "validate", "-", stdin=text, err=error)
                self.assertIn("<stdin>:2:", r.stderr, "at its place")
                rows = json.loads(self.check(1, "validate", "-", "--format", "json", stdin=text).stdout)
                self.assertEqual([(r["severity"], r["line"]) for r in rows], [("error", 2)])
            self.check(0, "validate", "-", stdin=f"access_log: {{path: {log}}}\n" + fixed("x"))
            self.assertFalse(os.path.exists(log), "nothing is made")

    def test_a_port_has_one_process(self):
        p = Process(fixed("first"))
        port = p.ports["web"]
        again = "admin: {enabled: false}\n" + fixed("second").replace("127.0.0.1:0", f"127.0.0.1:{port}")
        for text in (again, again.replace("127.0.0.1", "0.0.0.0")):
            self.check(1, "run", "-c", "-", stdin=text, err="another socket listens there")
        for _ in range(20):
            self.assertEqual(http(f"http://127.0.0.1:{port}/")[1], "first")
        # Its own reloads may move a listener between names, protocols and addresses.
        for name, protocol, address in (("other", "http1", "127.0.0.1"), ("other", "http", "127.0.0.1"), ("all", "http", "0.0.0.0")):
            text = fixed(name).replace("name: web", f"name: {name}").replace("protocol: http1", f"protocol: {protocol}")
            p.write(text.replace("127.0.0.1:0", f"{address}:{port}"))
            self.assertEqual(p.admin("/reload", "POST")[0], 200)
            p.wait(lambda body=name: http(f"http://127.0.0.1:{port}/")[1] == body)
        self.assertEqual(p.end()[:2], (0, ""))
        q = subprocess.Popen([DRAGOMAN, "run", "-c", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        q.stdin.write(again)
        q.stdin.close()
        Process.wait(lambda: http(f"http://127.0.0.1:{port}/")[1] == "second")
        q.send_signal(signal.SIGTERM)
        self.assertEqual(q.wait(timeout=30), 0)
        q.stderr.close()

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

    def test_what_is_no_file_is_never_waited_for(self):
        with tempfile.TemporaryDirectory() as folder:
            fifo = os.path.join(folder, "fifo")
            os.mkfifo(fifo)
            self.check(1, "run", "-c", fifo, err="is a FIFO, not a file")
            self.check(1, "run", "-c", folder, err="is a folder, not a file")
            self.check(1, "validate", "/dev/zero", err="is a device, not a file")
            self.check(1, "codec", "check", fifo + ".so", "--vectors", folder)
            for key in ("path", "descriptor"):
                self.check(1, "validate", "-", stdin=f"codecs: [{{name: x, {key}: {fifo}}}]\n" + fixed("x"),
                           err="is a FIFO, not a file")
            tls = f"protocol: http1, tls: {{certificates: [{{chain: {fifo}, key: {fifo}}}]}}"
            self.check(1, "validate", "-", stdin=fixed("x").replace("protocol: http1", tls), err="is a FIFO, not a file")
            self.check(1, "codec", "decode", fifo, err="is a FIFO, not a file")

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
