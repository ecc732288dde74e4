"""Peers in Go: modules of tests/interop/peers, built with the go command."""
import fcntl
import os
import shutil

import harness
from harness import fetch, unavailable

# What the go command says when the registry is out of reach or lacks something, or when it is too old for a module itself, rather
# than that our source is wrong.
NOT_FETCHED = ("dial tcp", "no such host", "i/o timeout", "connection refused", "connection reset", "TLS handshake", " 403 ", " 404 ",
               "410 Gone", "500 Internal", "502 Bad", "503 Service", "module lookup disabled", "requires go >=", "invalid go version")


def install(package, version, peer):
    """Builds a command of a public module beside the binary; returns its path. Ends the test as not run when it can't be had."""
    go = shutil.which("go")
    if not go:
        unavailable(peer, "go is not installed")
    target = os.path.join(os.path.dirname(harness.DRAGOMAN), "interop-go-bin", version)
    program = os.path.join(target, package.rsplit("/", 1)[1])
    if not os.path.exists(program):
        fetch(peer, [go, "install", f"{package}@{version}"], NOT_FETCHED,
              env={**os.environ, "GOBIN": target, "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOWORK": "off"})
    return program


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
        fetch(peer, [go, "build", "-o", program + ".new", "."], NOT_FETCHED, cwd=target, env=environment)
        os.replace(program + ".new", program)
    return program
