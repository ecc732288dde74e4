#!/usr/bin/env python3
"""The SDK as its users meet it: sdk.py CMAKE BUILD_DIR DRAGOMAN SOURCE_DIR CXX. Installs it into a temporary folder, builds
codecs outside of the tree with one compiler call, and runs the kit and real traffic through them."""
import os
import re
import shlex
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

CMAKE, BUILD, DRAGOMAN, SOURCE, CXX = sys.argv[1:6]
SANITIZE = shlex.split(os.environ.get("DRAGOMAN_TEST_FLAGS", ""))


def run(*command, cwd=None, env=None, ok=True):
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    if ok and done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def text_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def frame(kind, number, headers=b"", body=b""):
    return b"PC\1" + struct.pack(">BIIHI", kind, number, 0, len(headers), len(body)) + headers + body


def read_frame(stream):
    fixed = stream.read(18)
    if len(fixed) < 18:
        return None
    _, number, value, headers, body = struct.unpack(">BIIHI", fixed[3:])
    return fixed[3], number, value, stream.read(headers), stream.read(body)


class Echo(socketserver.StreamRequestHandler):
    """Answers each request with its headers and its body."""

    def handle(self):
        while got := read_frame(self.rfile):
            kind, number, _, headers, body = got
            if kind == 1:
                self.wfile.write(frame(3, number, headers, body))


class Sdk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="dragoman-sdk-")
        cls.prefix = os.path.join(cls.dir, "prefix")
        run(CMAKE, "--install", BUILD, "--component", "sdk", "--prefix", cls.prefix)
        cls.env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(cls.prefix, "share", "pkgconfig"))
        cls.example = os.path.join(cls.prefix, "share", "dragoman", "example")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def build(self, source, library, cwd):
        """The one compiler call of the author's guide."""
        cflags = shlex.split(run("pkg-config", "--cflags", "dragoman-codec", env=self.env).stdout)
        run(CXX, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", *SANITIZE, *cflags, source, "-o", library, cwd=cwd)

    def test_headers_are_complete_and_need_nothing_of_the_tree(self):
        for root, _, files in os.walk(os.path.join(self.prefix, "include")):
            for name in files:
                text = text_of(os.path.join(root, name))
                for header in re.findall(r'#include "([^"]+)"', text):
                    self.assertTrue(os.path.exists(os.path.join(self.prefix, "include", "dragoman", header)), header)
        c = os.path.join(self.dir, "plain.c")
        with open(c, "w", encoding="utf-8") as out:
            out.write('#include "protocols/plugin.h"\nint size(void) { return (int)sizeof(dragoman_codec); }\n')
        run("cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only",
            "-I" + os.path.join(self.prefix, "include", "dragoman"), c)

    def test_the_example_builds_outside_and_passes_the_kit(self):
        work = os.path.join(self.dir, "example")
        shutil.copytree(self.example, work)
        self.build("parcel.cc", "libparcel.so", work)
        done = run(DRAGOMAN, "codec", "check", "./libparcel.so", "--vectors", "vectors", "--seconds", "0.2", cwd=work)
        self.assertIn("parcel 1 (./libparcel.so): 16 vectors\n", done.stdout)
        self.assertRegex(done.stdout, r"\n\d+ passed, 0 failed, 1 skipped; \d+ random changes; \d+ ns a frame\n$")
        self.assertLessEqual(text_of(os.path.join(work, "parcel.cc")).count("\n"), 100)

    def test_traffic_runs_through_it(self):
        work = os.path.join(self.dir, "traffic")
        shutil.copytree(self.example, work)
        self.build("parcel.cc", "libparcel.so", work)
        backend = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo)
        backend.daemon_threads = True
        threading.Thread(target=backend.serve_forever, daemon=True).start()
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        with open(os.path.join(work, "dragoman.yaml"), "w", encoding="utf-8") as out:
            out.write(f"""
workers: 1
admin: {{enabled: false}}
codecs: [{{name: parcel, path: ./libparcel.so}}]
listeners: [{{name: in, address: '127.0.0.1:{port}', protocol: parcel, routes: all}}]
routes:
  - name: all
    routes:
      - match: {{service: shop.Cart, headers: [{{name: zone, exact: b}}]}}
        cluster: shop
        request_headers: {{set: {{via: dragoman}}}}
clusters: [{{name: shop, endpoints: ['127.0.0.1:{backend.server_address[1]}']}}]
""")
        run(DRAGOMAN, "validate", "dragoman.yaml", cwd=work)
        proxy = subprocess.Popen([DRAGOMAN, "run", "-c", os.path.join(work, "dragoman.yaml"), "--no-watch"],
                                 stderr=subprocess.PIPE)
        try:
            end = time.monotonic() + 20
            while True:
                try:
                    client = socket.create_connection(("127.0.0.1", port), timeout=10)
                    break
                except OSError:
                    self.assertLess(time.monotonic(), end, "it does not serve")
                    time.sleep(0.02)
            stream = client.makefile("rwb")
            headers = b"service=shop.Cart\nmethod=add\nzone=b\n"
            for number in (7, 8):
                stream.write(frame(1, number, headers, b"body %d" % number))
            stream.write(frame(1, 9, b"service=shop.Cart\nzone=c\n"))
            stream.write(frame(4, 10))
            stream.flush()
            got = {}
            for _ in range(4):
                kind, number, value, head, body = read_frame(stream)
                got[number] = (kind, value, head, body)
            self.assertEqual(got[7], (3, 0, headers + b"via=dragoman\n", b"body 7"))
            self.assertEqual(got[8], (3, 0, headers + b"via=dragoman\n", b"body 8"))
            self.assertEqual(got[9][:2], (3, 2), "no route: no such service")
            self.assertEqual(got[10][0], 5, "a ping is answered")
            client.close()
        finally:
            proxy.terminate()
            _, err = proxy.communicate(timeout=60)
            backend.shutdown()
            backend.server_close()
        self.assertEqual(proxy.returncode, 0, err)

    def test_the_cmake_package(self):
        work = os.path.join(self.dir, "package")
        shutil.copytree(self.example, work)
        with open(os.path.join(work, "CMakeLists.txt"), "w", encoding="utf-8") as out:
            out.write("""cmake_minimum_required(VERSION 3.25)
project(outside LANGUAGES CXX)
find_package(dragoman-codec REQUIRED)
add_library(parcel MODULE parcel.cc)
target_link_libraries(parcel PRIVATE dragoman::codec)
""")
        flags = " ".join(SANITIZE)
        run(CMAKE, "-S", ".", "-B", "out", "-DCMAKE_PREFIX_PATH=" + self.prefix, "-DCMAKE_CXX_COMPILER=" + CXX,
            "-DCMAKE_CXX_FLAGS=" + flags, cwd=work)
        run(CMAKE, "--build", "out", cwd=work)
        done = run(DRAGOMAN, "codec", "check", "out/libparcel.so", "--vectors", "vectors", "--seconds", "0", cwd=work)
        self.assertIn(" 0 failed", done.stdout)

    def test_a_new_codec_builds_and_passes_the_kit(self):
        done = run(DRAGOMAN, "codec", "new", "acme_rpc", "--dir", self.dir)
        self.assertIn("acme_rpc is ready", done.stdout)
        work = os.path.join(self.dir, "acme_rpc")
        self.build("acme_rpc.cc", "libacme_rpc.so", work)
        done = run(DRAGOMAN, "codec", "check", "./libacme_rpc.so", "--vectors", "vectors", "--seconds", "0.1", cwd=work)
        self.assertIn("acme_rpc 1 (", done.stdout)
        self.assertEqual(sorted(os.listdir(os.path.join(work, "corpus"))),
                         sorted(n[:-4] for n in os.listdir(os.path.join(work, "vectors"))))
        self.assertIn("struct AcmeRpc {", text_of(os.path.join(work, "acme_rpc.cc")))
        self.assertIn("./libacme_rpc.so", text_of(os.path.join(work, "README.md")))
        # Its fuzz target, over its corpus, with a main() instead of the fuzzer's.
        with open(os.path.join(work, "replay.cc"), "w", encoding="utf-8") as out:
            out.write('#include "acme_rpc_fuzz.cc"\n#include <fstream>\n#include <iterator>\n'
                      "int main(int n, char** v) {\n  for (int i = 1; i < n; ++i) {\n    std::ifstream in(v[i]);\n"
                      "    std::vector<char> b((std::istreambuf_iterator<char>(in)), {});\n"
                      "    LLVMFuzzerTestOneInput(reinterpret_cast<uint8_t*>(b.data()), b.size());\n  }\n}\n")
        cflags = shlex.split(run("pkg-config", "--cflags", "dragoman-codec", env=self.env).stdout)
        run(CXX, "-fsanitize=address,undefined", *cflags, "replay.cc", "-o", "replay", cwd=work)
        corpus = [os.path.join("corpus", n) for n in os.listdir(os.path.join(work, "corpus"))]
        run("./replay", *corpus, cwd=work)
        again = run(DRAGOMAN, "codec", "new", "acme_rpc", "--dir", self.dir, ok=False)
        self.assertEqual(again.returncode, 1)
        self.assertIn("is there already", again.stderr)
        self.assertEqual(run(DRAGOMAN, "codec", "new", "Acme", ok=False).returncode, 2)

    def test_a_new_descriptor_passes_the_kit_as_it_is(self):
        done = run(DRAGOMAN, "codec", "new", "--descriptor", "acme_wire", "--dir", self.dir)
        self.assertIn("dragoman codec check acme_wire.yaml --vectors vectors\n", done.stdout)
        work = os.path.join(self.dir, "acme_wire")
        self.assertEqual(sorted(os.listdir(work)), ["README.md", "acme_wire.yaml", "vectors"])
        done = run(DRAGOMAN, "codec", "check", "acme_wire.yaml", "--vectors", "vectors", "--seconds", "0.2", cwd=work)
        self.assertIn("acme_wire 1 (acme_wire.yaml): 15 vectors\n", done.stdout)
        self.assertRegex(done.stdout, r"\n\d+ passed, 0 failed, 1 skipped; \d+ random changes; \d+ ns a frame\n$")
        done = run(DRAGOMAN, "codec", "decode", "vectors/request.hex", "--codec", "acme_wire.yaml", cwd=work)
        self.assertIn("  service: shop.Cart\n  method: add\n", done.stdout)
        for name in ("README.md", "acme_wire.yaml"):
            self.assertNotRegex(text_of(os.path.join(work, name)), "[Pp]arcel")
        # A mistake is told with its place.
        text = text_of(os.path.join(work, "acme_wire.yaml"))
        with open(os.path.join(work, "acme_wire.yaml"), "w", encoding="utf-8") as out:
            out.write(text.replace("id: reqid", "id: reqidd"))
        wrong = run(DRAGOMAN, "codec", "check", "acme_wire.yaml", "--vectors", "vectors", cwd=work, ok=False)
        self.assertEqual(wrong.returncode, 1)
        self.assertRegex(wrong.stderr, r"acme_wire\.yaml:\d+:5: .*did you mean \"reqid\"")

    def test_the_invented_protocols_pass_the_kit(self):
        for name in ("bankxml", "tradeline", "pulse"):
            done = run(DRAGOMAN, "codec", "check", os.path.join(SOURCE, "protocols", "descriptors", name + ".yaml"),
                       "--vectors", os.path.join(SOURCE, "tests", "vectors", name), "--seconds", "0.05")
            self.assertIn(" 0 failed", done.stdout)

    def test_a_descriptor_in_place_of_a_built_in_codec(self):
        vectors = os.path.join(self.dir, "bolt1-vectors")
        os.mkdir(vectors)
        for name in ("request-plus", "response-plus", "oneway-fire", "java-heartbeat", "java-heartbeat-ack"):
            shutil.copy(os.path.join(SOURCE, "tests", "vectors", "bolt", "bolt-v1-%s.hex" % name), vectors)
        check = (DRAGOMAN, "codec", "check", os.path.join(SOURCE, "protocols", "descriptors", "bolt1.yaml"),
                 "--vectors", vectors, "--seconds", "0.1", "--only-failed")
        conflict = run(*check, ok=False)
        self.assertEqual(conflict.returncode, 1)
        self.assertRegex(conflict.stdout, r"FAIL  conflict +bolt takes a (\w+) for a \1 of its own")
        self.assertIn(" 1 failed", conflict.stdout)
        self.assertIn(" 0 failed", run(*check, "--instead-of", "bolt").stdout)
        wrong = run(*check, "--instead-of", "bolt9", ok=False)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("no protocol called bolt9 is built in", wrong.stderr)

    def test_the_commands_tell_what_is_wrong(self):
        vectors = os.path.join(self.example, "vectors")
        none = run(DRAGOMAN, "codec", "check", "nothing", "--vectors", vectors, ok=False)
        self.assertEqual(none.returncode, 1)
        self.assertIn("no framed protocol called nothing is built in", none.stderr)
        wrong = run(DRAGOMAN, "codec", "check", "bolt", "--vectors", vectors, "--seconds", "0", "--only-failed", ok=False)
        self.assertEqual(wrong.returncode, 1)
        self.assertIn("FAIL  decode", wrong.stdout)
        self.assertEqual(run(DRAGOMAN, "codec", "check", "bolt", ok=False).returncode, 2)

    def test_decode_and_bench(self):
        file = os.path.join(SOURCE, "tests", "vectors", "bolt", "bolt-v1-java-request.hex")
        done = run(DRAGOMAN, "codec", "decode", file)
        self.assertTrue(done.stdout.startswith("bolt\nat 0: request, "), done.stdout)
        done = run(DRAGOMAN, "codec", "bench", "bolt", "--vectors", os.path.dirname(file), "--seconds", "0.04")
        self.assertRegex(done.stdout, r"bolt +\d+\.\d +\d+\.\d +\d+\.\d +\d+\.\d\n")

    def test_the_matrix_page_is_current(self):
        page = text_of(os.path.join(SOURCE, "protocols", "CAPABILITIES.md"))
        self.assertEqual(run(DRAGOMAN, "codec", "list", "--markdown").stdout, page,
                         "run: dragoman codec list --markdown > protocols/CAPABILITIES.md")
        self.assertIn("bolt", run(DRAGOMAN, "codec", "list").stdout)

    def test_the_guide_quotes_what_is_compiled(self):
        guide = text_of(os.path.join(SOURCE, "protocols", "README.md"))
        source = text_of(os.path.join(SOURCE, "protocols", "example", "parcel.cc"))
        blocks = re.findall(r"```cpp\n(.*?)```", guide, re.S)
        self.assertGreaterEqual(len(blocks), 5)
        for block in blocks:
            for part in block.split("  // ...\n"):
                self.assertIn(part, source)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
