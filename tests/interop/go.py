"""Peers in Go: modules of tests/interop/peers, built with the go command."""
import fcntl
import os
import shutil
import subprocess

import harness
from harness import unavailable

# What the go command says when the registry is out of reach or lacks something, or when it is too old for a module itself, rather
# than that our source is wrong.
NOT_FETCHED = ("dial tcp", "no such host", "i/o timeout", "connection refused", "connection reset", "TLS handshake", " 403 ", " 404 ",
               "410 Gone", "500 Internal", "502 Bad", "503 Service", "module lookup disabled", "requires go >=", "invalid go version")


def install(package, version, peer):
    """Builds a command of a public module beside the binary; returns its path. Ends the test as not run when it can't be had."""
    go = shutil.which("go")
    if not go:
        unavailable(peer, "go is not installed")
    target = os.path.join(os.path.dirname(harness.DRAGOMAN), "interop-go-bin")
    environment = {**os.environ, "GOBIN": target, "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    run = subprocess.run([go, "install", f"{package}@{version}"], capture_output=True, text=True, timeout=500, check=False,
                         env=environment)
    output = run.stdout + run.stderr
    if run.returncode != 0:
        if any(word in output for word in NOT_FETCHED):
            unavailable(peer, output.strip().splitlines()[-1])
        raise AssertionError(output)
    return os.path.join(target, package.rsplit("/", 1)[1])


def build(folder, peer, prepare=None):
    """Builds tests/interop/peers/FOLDER beside the binary, after prepare(its copy); returns the program's path. Go's own cache knows
    what has changed. Ends the test as not run when there is no Go, or a registry is out of reach."""
    go = shutil.which("go")
    if not go:
        unavailable(peer, "go is not installed")
    target = os.path.join(os.path.dirname(harness.DRAGOMAN), "interop-" + folder)
    os.makedirs(target, exist_ok=True)
    program = os.path.join(target, "peer")
    environment = {**os.environ, "GOFLAGS": "-mod=mod -buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    # Several tests may use one peer at the same time.
    with open(target + ".lock", "w", encoding="ascii") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        # A copy, because the command may write to go.sum.
        shutil.copytree(os.path.join(harness.HERE, "peers", folder), target, dirs_exist_ok=True)
        if prepare:
            prepare(target)
        run = subprocess.run([go, "build", "-o", program + ".new", "."], cwd=target, capture_output=True, text=True, timeout=500,
                             check=False, env=environment)
        if run.returncode == 0:
            os.replace(program + ".new", program)
    output = run.stdout + run.stderr
    if run.returncode != 0:
        if any(word in output for word in NOT_FETCHED):
            unavailable(peer, output.strip().splitlines()[-1])
        raise AssertionError(output)
    return program
