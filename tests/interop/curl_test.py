#!/usr/bin/env python3
"""curl against a Node HTTP server through two sidecars."""
import json

from harness import InteropTest, main


class Curl(InteropTest):
    def setUp(self):
        self.server = self.node("http_server.js")
        self.client_side, self.server_side = self.pair("http1", self.server.expect("port")["port"])
        self.url = f"http://127.0.0.1:{self.client_side.ports['in']}"

    def curl(self, *args, check=True):
        return self.run_tool("curl", "-sS", "--max-time", "30", *args, check=check).stdout

    def test_the_server_sees_who_calls(self):
        seen = json.loads(self.curl(self.url + "/describe?q=1", "-H", "X-Mine: abc"))
        self.assertEqual((seen["method"], seen["url"]), ("GET", "/describe?q=1"))
        headers = seen["headers"]
        self.assertEqual(headers["x-mine"], "abc")
        self.assertEqual(headers["host"], f"127.0.0.1:{self.client_side.ports['in']}")
        self.assertEqual(headers["x-forwarded-for"], "127.0.0.1, 127.0.0.1")
        self.assertRegex(headers["x-request-id"], r"^[0-9a-f-]{32,36}$")


if __name__ == "__main__":
    main()
