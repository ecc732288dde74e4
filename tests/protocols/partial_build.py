#!/usr/bin/env python3
"""partial_build.py CMAKE SOURCE CXX: a program with some of the built-in codecs, or with none, configures and its table of
protocols compiles; names that are none are refused."""
import os
import subprocess
import sys
import tempfile

CMAKE, SOURCE, CXX = sys.argv[1:4]
TABLE = "protocols/CMakeFiles/dragoman_protocols.dir/registry.cc.o"


def configure(folder, codecs):
    return subprocess.run(
        [CMAKE, "-G", "Ninja", "-S", SOURCE, "-B", folder, f"-DCMAKE_CXX_COMPILER={CXX}", f"-DDRAGOMAN_BUILTIN_CODECS={codecs}",
         "-DDRAGOMAN_TESTS=OFF", "-DDRAGOMAN_BENCH=OFF"],
        capture_output=True, text=True, check=False)


with tempfile.TemporaryDirectory(prefix="dragoman-partial-") as root:
    for codecs in ("bolt;dubbo_thrift", "none"):
        folder = os.path.join(root, "some" if ";" in codecs else "none")
        done = configure(folder, codecs)
        assert done.returncode == 0, done.stderr
        names = [] if codecs == "none" else codecs.split(";")
        with open(os.path.join(folder, "generated", "protocols", "builtin_codecs.inc"), encoding="ascii") as file:
            lines = file.read().split()
        assert lines == [f"DRAGOMAN_BUILTIN({name})" for name in names], lines
        done = subprocess.run([CMAKE, "--build", folder, "--target", TABLE], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    done = configure(os.path.join(root, "wrong"), "bolt;carrier_pigeon")
    assert done.returncode != 0 and "there is no codec carrier_pigeon" in done.stderr, done.stderr
