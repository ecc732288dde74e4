#!/usr/bin/env python3
"""Installs the Node packages of peers/package-lock.json into peers/node_modules, once for each state of the lock file."""
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys

PEERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peers")
MODULES = os.path.join(PEERS, "node_modules")
STAMP = os.path.join(MODULES, ".installed-lock")


def main():
    with open(os.path.join(PEERS, "package-lock.json"), "rb") as f:
        lock = f.read()
    if b'"resolved"' in lock:
        sys.exit("package-lock.json names a registry: run `npm install` in tests/interop/peers, whose .npmrc leaves that out")
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        sys.exit("node and npm are not installed; ./dev setup installs them")
    node = subprocess.run(["node", "--version"], capture_output=True, check=True).stdout
    state = hashlib.sha256(lock + node).hexdigest()
    # Several builds may test at once over one source tree.
    with open(os.path.join(PEERS, "package.json"), "rb") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if os.path.exists(STAMP):
            with open(STAMP, encoding="ascii") as f:
                if f.read() == state:
                    return
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=PEERS, check=True)
        with open(STAMP, "w", encoding="ascii") as f:
            f.write(state)


main()
