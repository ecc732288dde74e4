#!/usr/bin/env python3
"""The README's first minute: the demo, and the commands that it prints."""
import os
import re
import shlex
import signal
import subprocess

import harness
from harness import InteropTest, http, main, wait_for


class Demo(InteropTest):
    def test_the_printed_commands_do_what_they_promise(self):
        demo = self.peer(harness.DRAGOMAN, "run", "--demo")
        wait_for("the demo is up", lambda: "Ctrl-C" in demo.output())
        text = demo.output()
        commands = [shlex.split(line) for line in text.splitlines() if re.match(r"  (curl|\S*dragoman) ", line)]
        self.assertEqual(len(commands), 3, text)
        outputs = []
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
            self.assertEqual(done.returncode, 0, (command, done.stderr))
            outputs.append(done.stdout)
        echo, hello, call = outputs
        self.assertRegex(echo, r"^HTTP/1\.1 200 ")
        self.assertTrue(echo.endswith("some text"), echo)
        self.assertRegex(hello, r"^HTTP/1\.1 200 ")
        self.assertTrue(hello.endswith("hello from the sidecar\n"), hello)
        self.assertEqual(call, "SUCCESS (0) some text\n")
        admin = re.search(r"admin: +(http://\S+)/ ", text).group(1)
        self.assertEqual(http(admin + "/ready")[0], 200)
        metrics = http(admin + "/metrics")[1].decode()
        self.assertIn('dragoman_requests_total{listener="bolt",', metrics)
        self.assertIn('dragoman_requests_total{listener="http",', metrics)
        demo.process.send_signal(signal.SIGINT)
        self.assertEqual(demo.process.wait(timeout=40), 0, demo.output())
        for bad in ("left alive", "Sanitizer", "runtime error"):
            self.assertNotIn(bad, demo.output())

    def test_the_readme_says_the_same(self):
        """Its calls are the demo's, with the port left open."""
        with open(os.path.join(harness.HERE, "..", "..", "README.md"), encoding="utf-8") as f:
            readme = f.read()
        for line in ("curl -i http://127.0.0.1:PORT/echo -d 'some text'",
                     "dragoman call bolt 127.0.0.1:PORT --service demo.Echo:1.0 --method echo --data 'some text'"):
            self.assertIn(line, readme)


if __name__ == "__main__":
    main()
