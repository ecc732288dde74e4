"""The tables of the structure test. A new folder or library is one row."""

# Layer by folder, longest prefix wins: the folders a file there may include, besides its own.
# base <- config <- protocols <- {net, route, observe} <- tls <- {upstream, filters} <- stream <- server <- cli
_BASE = ["proxy/base"]
_CONFIG = [*_BASE, "config"]
_PROTOCOLS = [*_CONFIG, "protocols"]
_MIDDLE = [*_PROTOCOLS, "proxy/net", "proxy/route", "proxy/observe"]
_NET_USERS = [*_MIDDLE, "proxy/tls"]
_UPSTREAM = [*_NET_USERS, "proxy/upstream"]
_STREAM = [*_UPSTREAM, "filters", "proxy/stream"]
_SERVER = [*_STREAM, "proxy/server"]

LAYERS = {
    "proxy/base": [],
    "config": _BASE,
    "protocols": _CONFIG,  # a codec's own folder includes protocols/ and itself: see CODEC_SHARED
    "proxy/net": _PROTOCOLS,
    "proxy/route": _PROTOCOLS,
    "proxy/observe": _PROTOCOLS,
    "proxy/tls": [*_PROTOCOLS, "proxy/net", "proxy/observe"],
    "proxy/upstream": _NET_USERS,
    "filters": [*_PROTOCOLS, "proxy/route"],  # never the network, never another filter
    "proxy/stream": _UPSTREAM + ["filters"],
    "proxy/server": _STREAM,
    "proxy/cli": _SERVER,
    "proxy/main.cc": ["proxy/cli"],
    "proxy/version.h": [],
}

# Folders of protocols/ that are one codec each may not include each other; the registry knows them all.
CODEC_REGISTRIES = ["protocols/registry.cc", "protocols/descriptor_loader.cc", "protocols/either_codec.cc"]
# Folders of protocols/ that are readers and rules for codecs, not codecs: every codec may include them.
CODEC_SHARED = ["protocols/hessian", "protocols/http"]

# Modules that any layer from the server up may include without being a layer themselves.
SHARED_FILES = {"proxy/version.h": ["proxy/server", "proxy/cli"]}

# Headers of libraries: prefix of the include -> folders or files where it may appear. `once`: at most one file,
# and never a header, so that a slow library header is compiled once.
LIBRARIES = [
    {"header": "uv.h", "where": ["proxy/net"]},
    {"header": "ares.h", "where": ["proxy/net"]},
    {"header": "nghttp2/", "where": ["protocols/http2"]},
    {"header": "llhttp", "where": ["protocols/http1"]},
    {"header": "openssl/", "where": ["proxy/tls"]},
    {"header": "yaml-cpp/", "where": ["config"], "once": True},
    {"header": "yaml.h", "where": ["config"], "once": True},
    {"header": "prometheus/", "where": ["proxy/observe"], "once": True},
    {"header": "spdlog/", "where": ["proxy/observe"], "once": True},
    {"header": "CLI/", "where": ["proxy/cli"], "once": True},
    {"header": "rapidjson/", "where": ["config", "proxy/observe", "proxy/server", "proxy/cli"], "no_header": True},
    {"header": "re2/", "where": ["config", "proxy/route"], "no_header": False},
]

# Folders whose subfolders are modules that need a README each.
TOP_FOLDERS = ["config", "deploy", "filters", "protocols", "proxy", "tests"]
MODULE_PARENTS = ["proxy", "protocols"]
