#!/usr/bin/env python3
"""Rules about the tree: structure_test.py SOURCE_DIR [unittest arguments]. Needs python3-yaml."""
import os
import re
import sys
import unittest

import yaml

from structure_rules import (CODEC_SHARED, CODEC_REGISTRIES, LAYERS, LIBRARIES, MODULE_PARENTS, SHARED_FILES,
                             TOP_FOLDERS)

ROOT = os.path.abspath(sys.argv[1])
CODE = (".h", ".hpp", ".cc", ".c", ".inc")
SKIP = {"build", ".git", ".ccache", "node_modules", ".cache", "__pycache__"}
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<([^>]+)>)', re.M)


def walk():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = sorted(f for f in folders if f not in SKIP)
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), ROOT)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


FILES = list(walk())
PRODUCT = [f for f in FILES if f.endswith(CODE) and f.split("/")[0] in ("config", "filters", "protocols", "proxy")]


def within(path, folder):
    return path == folder or path.startswith(folder + "/")


def layer_of(path):
    fitting = [layer for layer in LAYERS if within(path, layer)]
    return max(fitting, key=len) if fitting else None


def includes(path):
    for quoted, angled in INCLUDE.findall(read(path)):
        yield quoted, angled


def codec_of(path):
    """protocols/<codec>/... -> protocols/<codec>"""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "protocols" and len(parts) > 2 else None


def stem(path):
    """Which filter a file of filters/ belongs to: its folder, or its name."""
    part = path.split("/")[1]
    return os.path.splitext(part)[0]


FILTER_COMMON = {"filter", "builtin", "registry"}


def bad_includes(files, includes_of):
    """Sentences about every include that a layer forbids."""
    out = []
    for path in files:
        layer = layer_of(path)
        if layer is None:
            out.append(f"{path}: its folder has no row in structure_rules.LAYERS")
            continue
        for quoted, _ in includes_of(path):
            if not quoted:
                continue
            target = layer_of(quoted)
            if target is None:
                out.append(f"{path} includes \"{quoted}\": write project includes from the top of the tree")
                continue
            if quoted in SHARED_FILES:
                if layer not in SHARED_FILES[quoted]:
                    out.append(f"{path} ({layer}) may not include {quoted}")
                continue
            if target != layer and target not in LAYERS[layer]:
                out.append(f"{path}: {layer} may not include {target} ({quoted})")
            mine, other = codec_of(path), codec_of(quoted)
            if layer == "protocols" and other and other != mine and path not in CODEC_REGISTRIES:
                if mine is None or other not in CODEC_SHARED:
                    out.append(f"{path}: may not include the codec {other} ({quoted})")
            if layer == "filters" and target == "filters" and stem(path) not in FILTER_COMMON:
                if stem(quoted) not in FILTER_COMMON | {stem(path)}:
                    out.append(f"{path}: a filter may not include another filter ({quoted})")
    return out


def bad_libraries(files, includes_of):
    out = []
    users = {}
    for path in files:
        for _, angled in includes_of(path):
            for rule in LIBRARIES:
                if not angled or not angled.startswith(rule["header"]):
                    continue
                users.setdefault(rule["header"], set()).add(path)
                if not any(within(path, w) for w in rule["where"]):
                    out.append(f"{path}: <{angled}> belongs under {', '.join(rule['where'])} only")
                if (rule.get("once") or rule.get("no_header")) and not path.endswith((".cc", ".c")):
                    out.append(f"{path}: <{angled}> may not be in a header")
    for rule in LIBRARIES:
        if rule.get("once") and len(users.get(rule["header"], ())) > 1:
            out.append(f"<{rule['header']}...> belongs in one file, not in {sorted(users[rule['header']])}")
    return out


class Includes(unittest.TestCase):
    def test_layers(self):
        self.assertGreater(len(PRODUCT), 100)
        self.assertEqual(bad_includes(PRODUCT, includes), [])

    def test_libraries(self):
        self.assertEqual(bad_libraries(PRODUCT, includes), [])

    def test_the_rules_notice(self):
        """Each kind of violation, planted."""
        rows = [
            ("proxy/base/x.cc", "config/config.h", ""),
            ("config/x.cc", "protocols/head.h", ""),
            ("protocols/bolt/x.cc", "protocols/http1/codec.h", ""),
            ("protocols/bolt/x.cc", "proxy/net/loop.h", ""),
            ("proxy/net/x.cc", "proxy/upstream/pool.h", ""),
            ("filters/fault.cc", "filters/headers.h", ""),
            ("filters/fault.cc", "proxy/net/loop.h", ""),
            ("proxy/upstream/x.cc", "proxy/stream/stream.h", ""),
            ("proxy/stream/x.cc", "proxy/server/server.h", ""),
            ("proxy/base/x.cc", "proxy/version.h", ""),
            ("proxy/base/x.cc", "x.h", ""),
        ]
        for path, quoted, angled in rows:
            self.assertEqual(len(bad_includes([path], lambda _, r=(quoted, angled): [r])), 1, (path, quoted))
        self.assertEqual(len(bad_includes(["elsewhere/x.cc"], lambda _: [])), 1)
        for path, angled in [("proxy/stream/x.cc", "uv.h"), ("protocols/http1/x.cc", "nghttp2/nghttp2.h"),
                             ("proxy/server/x.cc", "openssl/ssl.h"), ("proxy/server/x.cc", "yaml-cpp/yaml.h"),
                             ("proxy/server/x.cc", "prometheus/registry.h"), ("proxy/base/x.cc", "spdlog/spdlog.h"),
                             ("proxy/cli/x.h", "CLI/CLI.hpp"), ("config/x.h", "rapidjson/writer.h")]:
            self.assertEqual(len(bad_libraries([path], lambda _, a=angled: [("", a)])), 1, (path, angled))
        two = bad_libraries(["config/a.cc", "config/b.cc"], lambda _: [("", "yaml-cpp/yaml.h")])
        self.assertEqual(len(two), 1)


class Folders(unittest.TestCase):
    def test_readmes(self):
        wanted = list(TOP_FOLDERS)
        for parent in MODULE_PARENTS:
            wanted += sorted({"/".join(f.split("/")[:2]) for f in FILES if within(f, parent) and f.count("/") > 1})
        missing = [f for f in wanted if f + "/README.md" not in FILES]
        self.assertEqual(missing, [], "every folder says what lives there")

    def test_sources_are_listed(self):
        lists = [f for f in FILES if f.endswith("CMakeLists.txt") or f.endswith(".cmake")]
        for f in lists:
            self.assertNotRegex(read(f), r"(?i)file\s*\(\s*GLOB", f"{f}: list the sources")
        named = {}
        for f in lists:
            base = os.path.dirname(f)
            for top, word in re.findall(r"(\$\{\w*SOURCE_DIR\}/)?([\w./+-]+\.(?:cc|c))\b", read(f)):
                named[os.path.normpath(word if top == "${PROJECT_SOURCE_DIR}/" else os.path.join(base, word))] = f
        for f in FILES:  # a source may also be part of another one
            if f.endswith(CODE):
                named |= {q: f for q, _ in includes(f) if q.endswith(".cc")}
        sources = [f for f in FILES if f.endswith((".cc", ".c")) and f.split("/")[0] in
                   ("config", "filters", "protocols", "proxy", "tests")]
        self.assertGreater(len(sources), 80)
        self.assertEqual([f for f in sources if f not in named], [], "sources that no CMakeLists.txt names")


class Documents(unittest.TestCase):
    def test_links_resolve(self):
        broken = []
        for f in FILES:
            if not f.endswith(".md"):
                continue
            text = re.sub(r"```.*?```", "", read(f), flags=re.S)
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"[a-z]+:", target):
                    continue
                path, _, anchor = target.partition("#")
                at = os.path.normpath(os.path.join(os.path.dirname(f), path)) if path else f
                if not os.path.exists(os.path.join(ROOT, at)):
                    broken.append(f"{f}: {target}")
                elif anchor and at.endswith(".md"):
                    heads = re.findall(r"^#+ +(.*)$", read(at), re.M)
                    slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in heads}
                    if anchor not in slugs:
                        broken.append(f"{f}: {target}: no such heading")
        self.assertEqual(broken, [])

    def test_metrics_are_documented(self):
        families = set(re.findall(r'"(dragoman_[a-z0-9_]+)"', read("proxy/observe/families.h")))
        documented = set(re.findall(r"^\| `(dragoman_[a-z0-9_]+)`", read("proxy/observe/METRICS.md"), re.M))
        self.assertGreater(len(families), 30)
        self.assertEqual(families, documented)

    def test_every_key_is_in_a_good_example(self):
        """REFERENCE.md says where each block is found; a good example must have each key there."""
        used = set()

        def visit(node, path):
            if isinstance(node, dict):
                for key, value in node.items():
                    used.add((path, key))
                    visit(value, f"{path}.{key}" if path else key)
            elif isinstance(node, list):
                for value in node:
                    visit(value, path + "[]")

        folder = "tests/config/good/"
        for f in FILES:
            if f.startswith(folder) and f.endswith((".yaml", ".yml")):
                visit(yaml.load(read(f), Loader=yaml.BaseLoader), "")  # keys as written: `on` is no bool
        missing = []
        for block in re.split(r"^## ", read("config/REFERENCE.md"), flags=re.M)[1:]:
            found = re.search(r"^Found at (.*)\.$", block, re.M)
            places = re.findall(r"`([^`]+)`", found.group(1)) if found else [""]
            # `routes: [...]` of a table is the short form of one virtual host.
            places += [p.replace("routes[].virtual_hosts[].routes[]", "routes[].routes[]") for p in places]
            for key in re.findall(r"^\| `(\w+)` \|", block, re.M):
                if not any((p, key) in used for p in places):
                    missing.append(f"{' or '.join(sorted(set(places))) or 'top'}: {key}")
        self.assertEqual(missing, [], "keys that no file in tests/config/good shows")

    def test_nothing_unfinished(self):
        bad = re.compile(r"\bTODO\b|\bFIXME\b|\bXXX\b")
        found = [f for f in FILES if f.endswith(CODE + (".md", ".py")) and not f.startswith("tests/structure/")
                 and bad.search(read(f))]
        self.assertEqual(found, [], "unfinished work")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
