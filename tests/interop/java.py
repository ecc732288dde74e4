"""Peers in Java: built with Maven, run in small virtual machines."""
import glob
import hashlib
import os
import shutil

import harness
from harness import InteropTest, Peer, fetch

# Small and quick to start: many of them share a machine.
OPTIONS = ["-Xmx256m", "-Xss512k", "-XX:TieredStopAtLevel=1", "-XX:ActiveProcessorCount=1", "-XX:+UseSerialGC", "-Xshare:auto"]
# What Maven says when a registry is out of reach or lacks something, rather than that our source is wrong.
NOT_FETCHED = ("Could not transfer", "Unknown host", "Could not find artifact", "Could not resolve dependencies",
               "could not be resolved", "No plugin found for prefix")


def build(folder, peer, **properties):
    """Compiles tests/interop/peers/FOLDER (and what all share, peers/java) beside the binary, once for each state of the sources and
    of `properties`, which are given to Maven; returns the class path. Ends the test as not run when a registry is out of reach."""
    sources = os.path.join(harness.HERE, "peers", folder)
    shared = os.path.join(harness.HERE, "peers", "java")
    given = [f"-D{name.replace('_', '.')}={value}" for name, value in sorted(properties.items())]
    state = hashlib.sha256(" ".join(given).encode())
    for path in sorted(glob.glob(sources + "/**/*.*", recursive=True) + glob.glob(shared + "/*.java")):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                state.update(path.encode() + f.read())
    target = os.path.join(os.path.dirname(harness.DRAGOMAN), "interop-" + "-".join([folder, *map(str, properties.values())]))
    stamp = os.path.join(target, state.hexdigest())
    if not os.path.exists(stamp):
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(sources, target)
        package = os.path.join(target, "src", "main", "java", "dragoman", "interop")
        for path in glob.glob(shared + "/*.java"):
            shutil.copy(path, package)
        fetch(peer, [harness.tool("mvn"), "-q", "-B", "-Dstyle.color=never", *given, "compile", "dependency:copy-dependencies",
                     "-DoutputDirectory=" + os.path.join(target, "lib")], NOT_FETCHED, cwd=target)
        with open(stamp, "w", encoding="ascii"):
            pass
    return f"{target}/target/classes:{target}/lib/*"


def command(class_path, name, *args, options=()):
    """The command line that runs the class dragoman.interop.NAME."""
    return [harness.tool("java"), *OPTIONS, *options, "-cp", class_path, "dragoman.interop." + name, *map(str, args)]


class JavaTest(InteropTest):
    def java(self, class_path, name, *args, options=(), **popen):
        """Starts dragoman.interop.NAME; it ends with the test."""
        peer = Peer(command(class_path, name, *args, options=options), **popen)
        self.addCleanup(peer.stop)
        return peer

    @classmethod
    def java_for_all(cls, class_path, name, *args, options=(), **popen):
        """The same for all tests of the class, since it takes seconds to start one; for setUpClass()."""
        peer = Peer(command(class_path, name, *args, options=options), **popen)
        cls.addClassCleanup(peer.stop)
        return peer
