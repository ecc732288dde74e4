#!/usr/bin/env python3
"""Installs the Node packages of peers*/package-lock.json into node_modules beside it, once for each state of the file."""
import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def install(folder, npm, node):
    with open(os.path.join(folder, "package-lock.json"), "rb") as f:
        lock = f.read()
    if b'"resolved"' in lock:
        sys.exit(f"package-lock.json names a registry: run `npm install` in {folder}, whose .npmrc leaves that out")
    state = hashlib.sha256(lock + node).hexdigest()
    stamp = os.path.join(folder, "node_modules", ".installed-lock")
    # Several builds may test at once over one source tree.
    with open(os.path.join(folder, "package.json"), "rb") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        if os.path.exists(stamp):
            with open(stamp, encoding="ascii") as f:
                if f.read() == state:
                    return
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
        with open(stamp, "w", encoding="ascii") as f:
            f.write(state)


def main():
    npm = shutil.which("npm")
    if not npm or not shutil.which("node"):
        sys.exit("node and npm are not installed; ./dev setup installs them")
    node = subprocess.run(["node", "--version"], capture_output=True, check=True).stdout
    for lock in sorted(glob.glob(os.path.join(HERE, "peers*", "package-lock.json"))):
        install(os.path.dirname(lock), npm, node)


main()
