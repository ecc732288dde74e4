#!/usr/bin/env python3
"""What deploy/ promises: deploy_test.py SOURCE_DIR DRAGOMAN BENCH_BACKEND. Standard library only."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

ROOT, DRAGOMAN, BACKEND = (os.path.abspath(p) for p in sys.argv[1:4])
DEPLOY = os.path.join(ROOT, "deploy")


def free_ports(n):
    """Ports nobody uses now; all are held until all are known."""
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Quickstart(unittest.TestCase):
    def test_the_pair_serves_http_and_bolt(self):
        with subprocess.Popen([BACKEND, "--http", "0", "--bolt", "0"], stdout=subprocess.PIPE, text=True) as backend:
            found = {}
            while len(found) < 2:
                line = backend.stdout.readline()
                self.assertTrue(line, "the backend ended")
                for proto in ("http", "bolt"):
                    if m := re.search(rf"{proto}\D+(?:127\.0\.0\.1:)?(\d+)", line):
                        found[proto] = m.group(1)
            names = ["SERVICE_ADMIN_PORT", "HTTP_IN_PORT", "BOLT_IN_PORT", "CLIENT_ADMIN_PORT", "HTTP_OUT_PORT",
                     "BOLT_OUT_PORT"]
            env = dict(zip(names, map(str, free_ports(len(names)))))
            env |= {"BIND": "127.0.0.1", "HTTP_PORT": found["http"], "BOLT_PORT": found["bolt"]}
            sidecars = [subprocess.Popen([DRAGOMAN, "run", "-c", os.path.join(DEPLOY, "quickstart", f), "--no-watch"],
                                         env=os.environ | env, stderr=subprocess.PIPE, text=True)
                        for f in ("service.yaml", "client.yaml")]
            try:
                for admin in (env["SERVICE_ADMIN_PORT"], env["CLIENT_ADMIN_PORT"]):
                    self.wait_ready(admin)
                with urllib.request.urlopen(f"http://127.0.0.1:{env['HTTP_OUT_PORT']}/", timeout=10) as answer:
                    self.assertEqual(answer.status, 200)
                call = subprocess.run([DRAGOMAN, "call", "bolt", f"127.0.0.1:{env['BOLT_OUT_PORT']}", "--data", "hi"],
                                      capture_output=True, text=True, timeout=20, check=False)
                self.assertEqual((call.returncode, call.stdout), (0, "SUCCESS (0) hi\n"), call.stderr)
            finally:
                for s in sidecars:
                    s.send_signal(signal.SIGTERM)
                errors = [s.communicate(timeout=60)[1] for s in sidecars]
                backend.terminate()
            self.assertEqual([s.returncode for s in sidecars], [0, 0], errors)

    @staticmethod
    def wait_ready(port):
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as r:
                    if r.status == 200:
                        return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("not ready in time")

    def test_files_are_valid_as_they_are(self):
        for name in ("service.yaml", "client.yaml"):
            run = subprocess.run([DRAGOMAN, "validate", os.path.join(DEPLOY, "quickstart", name), "--format", "json"],
                                 capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual(run.returncode, 0, run.stdout)
            self.assertEqual(json.loads(run.stdout), [])


class Systemd(unittest.TestCase):
    UNIT = os.path.join(DEPLOY, "systemd", "dragoman.service")

    @unittest.skipUnless(shutil.which("systemd-analyze"), "no systemd-analyze here")
    def test_systemd_takes_the_unit(self):
        with tempfile.TemporaryDirectory() as folder:
            unit = os.path.join(folder, "dragoman.service")
            with open(self.UNIT, encoding="utf-8") as f, open(unit, "w", encoding="utf-8") as out:
                out.write(f.read().replace("/usr/local/bin/dragoman", DRAGOMAN))
            verify = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True,
                                    timeout=60, check=False)
            self.assertEqual((verify.returncode, verify.stderr), (0, ""))
            rate = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit],
                                  capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(rate.returncode, 0, rate.stdout[-400:])

    def test_it_may_stop_later_than_the_drain_deadline(self):
        with open(self.UNIT, encoding="utf-8") as f:
            stop = int(re.search(r"^TimeoutStopSec=(\d+)", f.read(), re.M).group(1))
        with open(os.path.join(ROOT, "config", "REFERENCE.md"), encoding="utf-8") as f:
            drain = int(re.search(r"^\| `deadline` \|.*?\| `(\d+)s` \|", f.read(), re.M).group(1))
        self.assertGreater(stop, drain)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
