#include "config/validate.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_set>

#include "config/value.h"
#include "proxy/base/suggest.h"

namespace dragoman::config {
namespace {

std::string in_quotes(std::string_view text) { return "\"" + std::string(text) + "\""; }

template <class T>
Names names_of(const std::vector<T>& list) {
  Names names;
  for (const T& entity : list) names.add(entity.name);
  return names;
}

/// One way from a listener to its clusters: what is spoken, and where it goes.
struct Use {
  std::string_view protocol;
  const std::string* cluster;
  const std::string* routes;
  const void* owner;  // the block of these
};

std::vector<Use> uses_of(const Listener& listener) {
  if (listener.protocol != kAutoProtocol) return {{listener.protocol, &listener.cluster, &listener.routes, &listener}};
  std::vector<Use> uses;
  for (const ListenerProtocol& entry : listener.protocols) {
    const std::string_view spoken = entry.protocol == "tls" ? std::string_view("tcp") : entry.protocol;
    uses.push_back({spoken, &entry.cluster, &entry.routes, &entry});
  }
  if (!listener.cluster.empty()) uses.push_back({"tcp", &listener.cluster, &listener.routes, &listener});
  return uses;
}

/// Names are looked up often: references, reach of listeners.
class Index {
 public:
  explicit Index(const Config& config) {
    for (const RouteTable& table : config.routes) tables_.emplace(table.name, &table);
    for (size_t i = 0; i < config.clusters.size(); ++i) clusters_.emplace(config.clusters[i].name, i);
  }
  const RouteTable* table(std::string_view name) const {
    const auto it = tables_.find(name);
    return it == tables_.end() ? nullptr : it->second;
  }
  /// Index in config.clusters, or -1.
  int cluster(std::string_view name) const {
    const auto it = clusters_.find(name);
    return it == clusters_.end() ? -1 : static_cast<int>(it->second);
  }
  /// Indices of the clusters that requests may go to.
  std::vector<int> reach(const Use& use) const {
    std::vector<int> reached;
    std::unordered_set<int> seen;
    const auto add = [&](std::string_view name) {
      const int i = cluster(name);
      if (i >= 0 && seen.insert(i).second) reached.push_back(i);
    };
    if (!use.cluster->empty()) add(*use.cluster);
    if (const RouteTable* routes = table(*use.routes)) {
      for_each_route(*routes, [&](const Route& route) {
        for (std::string_view name : route_clusters(route)) add(name);
      });
    }
    return reached;
  }

 private:
  std::unordered_map<std::string_view, const RouteTable*> tables_;
  std::unordered_map<std::string_view, size_t> clusters_;
};

/// For each cluster, its own protocol or that of the first listener that leads to it (then `user` says
/// which).
struct ClusterProtocol {
  std::string_view protocol;
  const Listener* user = nullptr;
};

std::vector<ClusterProtocol> cluster_protocols(const Config& config, const Index& index) {
  std::vector<ClusterProtocol> protocols;
  for (const Cluster& cluster : config.clusters) protocols.push_back({cluster.protocol, nullptr});
  for (const Listener& listener : config.listeners) {
    for (const Use& use : uses_of(listener)) {
      if (use.protocol.empty()) continue;
      for (int i : index.reach(use)) {
        ClusterProtocol& entry = protocols[static_cast<size_t>(i)];
        if (!entry.protocol.empty()) continue;
        entry = {use.protocol, &listener};
        if (is_listen_only(use.protocol)) entry.protocol = "http1";
      }
    }
  }
  return protocols;
}

// --------------------------------------------------------------------------------------------------
// addresses

/// Who listens on one port.
struct PortUse {
  struct Taker {
    std::string name;
    int line = 0;
  };
  std::unordered_map<std::string, Taker> by_ip;
  std::optional<Taker> first;    // any address
  std::optional<Taker> first_4;  // any IPv4 address
  std::optional<Taker> first_6;  // any IPv6 address
};

class PortChecker {
 public:
  explicit PortChecker(Context& context) : context_(context) {}

  void take(const Address& address, bool ipv6_only, const void* field, const void* owner, std::string name) {
    if (address.host.empty() || (address.port == 0 && !address.is_unix())) return;
    PortUse& use = ports_[address.port];  // unix sockets: under 0, which no other address has
    const std::string ip = address.is_unix() ? address.host : canonical(address.host);
    if (const PortUse::Taker* other = clash(use, ip, ipv6_only)) {
      std::string message = address.text() + " is already taken by " + other->name;
      if (other->line > 0) message += " at line " + std::to_string(other->line);
      fail_at(context_, field, owner, std::move(message), address.text());
      return;
    }
    const PortUse::Taker taker{std::move(name), context_.where(field, owner).pos.line};
    if (address.is_unix()) {
      use.by_ip.emplace(ip, taker);
      return;
    }
    use.by_ip.emplace(ip == "::" && ipv6_only ? kOnly6 : ip, taker);
    if (!use.first) use.first = taker;
    if (!use.first_4 && is_ipv4(ip)) use.first_4 = taker;
    if (!use.first_6 && !is_ipv4(ip)) use.first_6 = taker;
  }

 private:
  static constexpr const char* kOnly6 = ":: only";

  static bool is_ipv4(const std::string& ip) { return ip.find(':') == std::string::npos; }

  static std::string canonical(const std::string& host) {
    unsigned char bytes[sizeof(in6_addr)];
    char text[INET6_ADDRSTRLEN];
    const int family = is_ipv4(host) ? AF_INET : AF_INET6;
    if (inet_pton(family, host.c_str(), bytes) != 1 || !inet_ntop(family, bytes, text, sizeof(text)))
      return host;
    constexpr std::string_view kMapped = "::ffff:";  // IPv4, written as IPv6
    if (std::string_view(text).starts_with(kMapped) && std::strchr(text, '.')) return text + kMapped.size();
    return text;
  }

  /// "::" takes a port of IPv4 as well as of IPv6, unless it is IPv6 only.
  static const PortUse::Taker* clash(const PortUse& use, const std::string& ip, bool ipv6_only) {
    for (const std::string& other : {ip, std::string("::"), std::string(is_ipv4(ip) ? "0.0.0.0" : kOnly6)}) {
      const auto it = use.by_ip.find(other);
      if (it != use.by_ip.end()) return &it->second;
    }
    if (ip == "::" && ipv6_only) return use.first_6 ? &*use.first_6 : nullptr;
    if (ip == "::" && use.first) return &*use.first;
    if (ip == "0.0.0.0" && use.first_4) return &*use.first_4;
    return nullptr;
  }

  Context& context_;
  std::unordered_map<uint16_t, PortUse> ports_;
};

bool is_loopback(const std::string& host) { return host.starts_with("127.") || host == "::1"; }

// ------------------------------------------------------------------------------------------------ single
// blocks

void check_buffer(const Buffer& buffer, Context& context) {
  if (buffer.low_bytes < buffer.high_bytes) return;
  const void* field = context.find(&buffer.low_bytes) ? &buffer.low_bytes : &buffer.high_bytes;
  fail_at(context, field, &buffer,
          "low (" + size_text(buffer.low_bytes) + ") must be less than high (" +
              size_text(buffer.high_bytes) + ")");
}

/// A block that only some protocols have was written for another.
void check_block_fits(bool fits, const void* block, const void* owner, std::string_view what,
                      std::string_view protocol, Context& context) {
  if (fits || !context.find(block)) return;
  fail_at(context, block, owner,
          "these settings are for " + std::string(what) + ", not for " + std::string(protocol));
}

constexpr std::string_view kHttpProtocols = "HTTP protocols";
constexpr std::string_view kFramedProtocols = "framed RPC protocols";
constexpr std::string_view kObservedProtocols = "protocols redis and mysql";

void check_protocol(const std::string& name, const void* owner, Context& context) {
  const ProtocolTable& protocols = context.protocols();
  if (name.empty() || protocols.find(name) || protocols.declared(name)) return;
  context.error(context.where(&name, owner), unknown_word("value", name, protocols.names()));
}

template <class Tls>
void check_tls_versions(const Tls& tls, const void* owner, Context& context) {
  if (tls.min_version > tls.max_version)
    fail_at(context, &tls.min_version, owner, "min_version must not be above max_version");
}

void check_listener_tls(const std::optional<ListenerTls>& setting, Context& context) {
  if (!setting) return;
  const ListenerTls& tls = *setting;
  check_tls_versions(tls, &setting, context);
  const bool asks = tls.client_certificate != ClientCertificate::kNone;
  if (asks && tls.ca.empty())
    fail_at(context, &tls.client_certificate, &setting, "\"client_certificate\" needs a \"ca\" that vouches for clients");
  if (!asks && !tls.ca.empty())
    fail_at(context, &tls.ca, &setting, "\"ca\" does nothing while \"client_certificate\" is none");
  if (!asks && !tls.crl.empty())
    fail_at(context, &tls.crl, &setting, "\"crl\" does nothing while \"client_certificate\" is none");
  if (!asks && !tls.peer_names.empty())
    fail_at(context, &tls.peer_names, &setting, "\"peer_names\" does nothing while \"client_certificate\" is none");
}

void check_cluster_tls(const std::optional<ClusterTls>& setting, Context& context) {
  if (!setting) return;
  const ClusterTls& tls = *setting;
  check_tls_versions(tls, &setting, context);
  if (tls.certificate && !tls.certificate->ocsp_staple.empty())
    fail_at(context, &tls.certificate->ocsp_staple, &*tls.certificate,
            "\"ocsp_staple\" is only for listeners");
  if (tls.verify) return;
  if (!tls.crl.empty())
    fail_at(context, &tls.crl, &setting, "\"crl\" does nothing while \"verify\" is false");
  if (!tls.ca.empty()) fail_at(context, &tls.ca, &setting, "\"ca\" does nothing while \"verify\" is false");
  if (!tls.peer_names.empty())
    fail_at(context, &tls.peer_names, &setting, "\"peer_names\" does nothing while \"verify\" is false");
  warn_at(context, &tls.verify, &setting, "the endpoints' certificates are not checked: anyone on the way can pose as them");
}

void check_protocol_entry(const Listener& listener, const ListenerProtocol& entry, const Names& tables,
                          const Names& clusters, Context& context) {
  if (!entry.cluster.empty()) check_reference(entry.cluster, &entry, "cluster", clusters, context);
  if (!entry.routes.empty()) check_reference(entry.routes, &entry, "route table", tables, context);
  const bool tls = entry.protocol == "tls";
  if (!tls && !entry.sni.empty()) fail_at(context, &entry.sni, &entry, "\"sni\" is only for protocol tls");
  if (tls && listener.tls) {
    fail_at(context, &entry.protocol, &entry,
            "the listener opens TLS itself (\"tls\"): what is in it is told apart, and there is none to pass on");
  }
  if (tls && !entry.routes.empty())
    fail_at(context, &entry.routes, &entry, "TLS that is passed on unopened has no requests to route; use \"cluster\"");
  if (entry.protocol == "mysql" && listener.detect.silence != "mysql")
    fail_at(context, &entry.protocol, &entry, "mysql clients wait for the server to speak first: set \"silence\" of \"detect\" to mysql");
  if (is_relayed(entry.protocol) && !entry.routes.empty())
    fail_at(context, &entry.routes, &entry, entry.protocol + " has no requests to route; use \"cluster\"");
  if (entry.protocol == kAutoProtocol || entry.protocol == "tcp")
    return fail_at(context, &entry.protocol, &entry, entry.protocol + " has no first bytes of its own; see \"on_unknown\"");
  if (!tls) check_protocol(entry.protocol, &entry, context);
}

void check_auto_listener(const Listener& listener, const Names& tables, const Names& clusters, Context& context) {
  if (listener.protocols.empty() && !context.find(&listener.protocols))
    fail_at(context, &listener.protocol, &listener, "protocol auto needs \"protocols\", those that are told apart");
  if (!listener.routes.empty())
    fail_at(context, &listener.routes, &listener, "protocol auto: each of \"protocols\" has routes of its own");
  const bool tcp = listener.on_unknown == OnUnknown::kTcp;
  if (tcp && listener.cluster.empty())
    fail_at(context, &listener.on_unknown, &listener, "on_unknown tcp needs a \"cluster\" to relay to");
  if (!tcp && !listener.cluster.empty())
    fail_at(context, &listener.cluster, &listener, "\"cluster\" is where unknown bytes go; on_unknown is reject");
  bool http = false, framed = false, observed = false, bolt = false, goaway = true;
  const std::string& silence = listener.detect.silence;
  bool silence_known = silence == "auto" || silence == "unknown" || silence == "wait";
  std::unordered_map<std::string_view, int> seen;
  for (const ListenerProtocol& entry : listener.protocols) {
    check_protocol_entry(listener, entry, tables, clusters, context);
    silence_known = silence_known || silence == entry.protocol;
    if (entry.sni.empty()) {  // of TLS that is passed on, each server name is something else
      const auto [it, added] = seen.emplace(entry.protocol, context.where(&entry, &entry).pos.line);
      if (!added)
        fail_at(context, &entry.protocol, &entry,
                entry.protocol + " was already given at line " + std::to_string(it->second), entry.protocol);
    }
    const Protocol* protocol = context.protocols().find(entry.protocol);
    if (!protocol) continue;
    http = http || protocol->http;
    framed = framed || protocol->framed;
    observed = observed || is_observed(protocol->name);
    bolt = bolt || protocol->name == "bolt";
    goaway = goaway && (!protocol->framed || protocol->goaway);
  }
  if (!silence_known) {
    fail_at(context, &listener.detect.silence, &listener.detect,
            "silence is auto, unknown, wait, or one of the listener's protocols", silence);
  }
  check_block_fits(http, &listener.http, &listener, kHttpProtocols, "the protocols here", context);
  check_block_fits(framed, &listener.rpc, &listener, kFramedProtocols, "the protocols here", context);
  check_block_fits(observed, &listener.observe, &listener, kObservedProtocols, "the protocols here", context);
  if (framed) check_block_fits(bolt, &listener.rpc.bolt, &listener, "protocol bolt", "the protocols here", context);
  if (listener.rpc.goaway && !goaway)
    fail_at(context, &listener.rpc.goaway, &listener.rpc, "not all protocols here can announce the end of a connection");
}

void only_for_auto(const Listener& listener, Context& context) {
  const auto check = [&](const void* field, std::string_view key) {
    if (context.find(field)) fail_at(context, field, &listener, in_quotes(key) + " is only for protocol auto");
  };
  check(&listener.protocols, "protocols");
  check(&listener.on_unknown, "on_unknown");
  const bool looks = listener.tls && listener.tls->mode == TlsMode::kPermissive && is_relayed(listener.protocol);
  if (!looks) check(&listener.detect, "detect");
  if (!listener.cluster.empty() || !listener.routes.empty()) return;
  if (!context.find(&listener.cluster) && !context.find(&listener.routes))
    fail_at(context, &listener, &listener, "exactly one of \"cluster\", \"routes\" must be given");
}

void check_proxy_protocol(const Listener& listener, Context& context) {
  if (!listener.proxy_protocol || !listener.proxy_protocol->trusted.empty()) return;
  if (listener.address.is_unix() || listener.address.host.empty() || is_loopback(listener.address.host))
    return;
  warn_at(context, &listener.proxy_protocol, &listener,
          "without \"trusted\", any client that reaches this port can claim to be any other");
}

/// `mode` is the setting of `owner`, a block that listens at `address`.
void check_socket_mode(const Address& address, const std::string& mode, const void* owner, Context& context) {
  if (!mode.empty() && !address.host.empty() && !address.is_unix())
    fail_at(context, &mode, owner, "\"socket_mode\" is only for unix sockets");
}

void check_listener(const Listener& listener, const Names& tables, const Names& clusters, Context& context) {
  check_buffer(listener.buffer, context);
  check_listener_tls(listener.tls, context);
  check_proxy_protocol(listener, context);
  check_socket_mode(listener.address, listener.socket_mode, &listener, context);
  if (listener.ipv6_only && !listener.address.host.empty() &&
      (listener.address.is_unix() || listener.address.host.find(':') == std::string::npos))
    fail_at(context, &listener.ipv6_only, &listener, "\"ipv6_only\" is only for addresses of IPv6");
  validate_retry(listener.retry, context);
  if (!listener.cluster.empty()) check_reference(listener.cluster, &listener, "cluster", clusters, context);
  if (!listener.routes.empty()) check_reference(listener.routes, &listener, "route table", tables, context);

  if (listener.protocol == kAutoProtocol) return check_auto_listener(listener, tables, clusters, context);
  only_for_auto(listener, context);
  check_protocol(listener.protocol, &listener, context);
  const Protocol* protocol = context.protocols().find(listener.protocol);
  if (!protocol) return;
  check_block_fits(protocol->name == "http2" || protocol->listen_only, &listener.http2, &listener, "HTTP/2", protocol->name,
                   context);
  check_block_fits(protocol->http, &listener.http, &listener, kHttpProtocols, protocol->name, context);
  check_block_fits(protocol->framed, &listener.rpc, &listener, kFramedProtocols, protocol->name, context);
  check_block_fits(is_observed(protocol->name), &listener.observe, &listener, kObservedProtocols, protocol->name, context);
  if (!protocol->routes) {
    const std::string reason = "protocol " + std::string(protocol->name) + " relays bytes as they come: ";
    if (context.find(&listener.routes))
      fail_at(context, &listener.routes, &listener, reason + "give it a \"cluster\", not \"routes\"");
    if (!listener.filters.empty())
      fail_at(context, &listener.filters, &listener, reason + "there is nothing to filter");
    const auto no_requests = [&](const void* field) {
      if (context.find(field))
        fail_at(context, field, &listener, reason + "there are no requests; see \"idle_timeout\"");
    };
    no_requests(&listener.timeout_ms);
    no_requests(&listener.timeout_max_ms);
    no_requests(&listener.retry);
    no_requests(&listener.half_close);
    no_requests(&listener.hops_max);
    no_requests(&listener.tell_reason);
  }
  if (protocol->framed && !protocol->edits && listener.hops_max.value_or(0) != 0)
    fail_at(context, &listener.hops_max, &listener,
            "protocol " + std::string(protocol->name) + " can't change headers, so hops can't be counted");
  if (protocol->framed) {
    check_block_fits(protocol->name == "bolt", &listener.rpc.bolt, &listener, "protocol bolt", protocol->name,
                     context);
    if (listener.rpc.goaway && !protocol->goaway) {
      fail_at(context, &listener.rpc.goaway, &listener.rpc,
              std::string(protocol->name) + " has no way to announce the end of a connection");
    }
  }
  for (const Filter& filter : listener.filters) {
    const auto* headers = std::get_if<HeadersFilter>(&filter);
    if (headers && protocol->http) validate_http_edits(headers->request, context);
    if (headers && protocol->framed) {
      validate_attribute_edits(headers->request, *protocol, context);
      validate_attribute_edits(headers->response, *protocol, context);
    }
    if (headers && protocol->framed && !protocol->edits)
      fail_at(context, headers, &listener.filters,
              "protocol " + std::string(protocol->name) + " can't change headers");
    const auto* web = std::get_if<GrpcWebFilter>(&filter);
    if (web && !protocol->http && protocol->routes)
      fail_at(context, web, &listener.filters,
              "grpc_web is for HTTP protocols, not for " + std::string(protocol->name));
  }
}

void check_health_check(const HealthCheck& check, const Protocol* protocol, const Cluster& cluster,
                        Context& context) {
  const bool http = check.type == HealthCheckType::kHttp;
  const bool grpc = check.type == HealthCheckType::kGrpc;
  const auto only = [&](bool fits, const void* field, std::string_view key, std::string_view types) {
    if (!fits && context.find(field))
      fail_at(context, field, &check, in_quotes(key) + " is only for " + std::string(types));
  };
  only(http, &check.path, "path", "type http");
  only(http || grpc, &check.host, "host", "types http and grpc");
  only(http, &check.expect, "expect", "type http");
  only(grpc, &check.service, "service", "type grpc");
  if (protocol && grpc && protocol->name != "http2") {
    fail_at(context, &check.type, &cluster.health_check,
            "protocol " + std::string(protocol->name) + " does not carry gRPC; type grpc needs a cluster of http2");
  }
  if (protocol && check.type == HealthCheckType::kHeartbeat && !protocol->heartbeats) {
    fail_at(context, &check.type, &cluster.health_check,
            std::string(protocol->name) + " has no heartbeats; use type tcp" +
                (protocol->http ? " or http" : ""));
  }
  if (protocol && http && protocol->framed) {
    fail_at(context, &check.type, &cluster.health_check,
            "protocol " + std::string(protocol->name) + " does not answer HTTP; use type tcp" +
                (protocol->heartbeats ? " or heartbeat" : ""));
  }
  if (check.timeout_ms > check.interval_ms) {
    warn_at(context, &check.timeout_ms, &cluster.health_check,
            "timeout (" + duration_text(check.timeout_ms) + ") is longer than interval (" +
                duration_text(check.interval_ms) + "), so failures are noticed late");
  }
}

void check_cluster(const Cluster& cluster, const Protocol* protocol, Context& context) {
  if (cluster.dns.ttl_min_ms > cluster.dns.ttl_max_ms)
    fail_at(context, &cluster.dns.ttl_min_ms, &cluster.dns, "ttl_min is longer than ttl_max");
  check_buffer(cluster.buffer, context);
  check_cluster_tls(cluster.tls, context);
  validate_retry(cluster.retry, context);
  std::unordered_map<std::string, const Endpoint*> seen;
  for (const Endpoint& endpoint : cluster.endpoints) {
    if (endpoint.address.host.empty()) continue;
    if (endpoint.address.is_unix() && cluster.tls && cluster.tls->verify && cluster.tls->sni.empty() &&
        cluster.tls->peer_names.empty())
      fail_at(context, &endpoint.address, &endpoint,
              "a unix socket has no name that a certificate could be for: \"tls\" needs \"sni\" or "
              "\"peer_names\"",
              endpoint.address.text());
    if (endpoint.address.port == 0 && !endpoint.address.is_unix())
      fail_at(context, &endpoint.address, &endpoint, "an endpoint needs a port from 1 to 65535",
              endpoint.address.text());
    const auto [it, added] = seen.emplace(endpoint.address.text(), &endpoint);
    if (!added)
      warn_at(context, &endpoint.address, &endpoint,
              endpoint.address.text() + " is listed twice; use \"weight\" to give it a larger share");
  }
  if (cluster.health_check) check_health_check(*cluster.health_check, protocol, cluster, context);
  if (!protocol) return;
  if (protocol->listen_only) {
    fail_at(context, &cluster.protocol, &cluster,
            "protocol " + std::string(protocol->name) + " is for listeners; say which version the servers speak: http1 or http2");
  }
  check_block_fits(protocol->name == "http2", &cluster.http2, &cluster, "HTTP/2", protocol->name, context);
  check_block_fits(protocol->http, &cluster.http, &cluster, kHttpProtocols, protocol->name, context);
  check_block_fits(protocol->framed, &cluster.rpc, &cluster, kFramedProtocols, protocol->name, context);
  const PoolMode mode = cluster.pool.mode;
  const std::string name(protocol->name);
  const bool one_client =
      !protocol->routes || mode == PoolMode::kBound || (mode == PoolMode::kAuto && protocol->only_bound);
  if (cluster.proxy_protocol != SendProxy::kOff && !one_client)
    fail_at(context, &cluster.proxy_protocol, &cluster,
            "connections of this cluster serve many clients, and a PROXY header can only name one" +
                std::string(protocol->framed ? ": set \"mode\" of \"pool\" to bound" : ""));
  if (protocol->framed && !protocol->heartbeats && context.find(&cluster.pool.heartbeat_interval_ms)) {
    fail_at(context, &cluster.pool.heartbeat_interval_ms, &cluster.pool, "protocol " + name + " has no heartbeats");
  }
  if (protocol->framed && mode == PoolMode::kMultiplex && !protocol->shared) {
    fail_at(context, &cluster.pool.mode, &cluster.pool,
            "protocol " + name + " can't tell the answers on a shared connection apart; use auto");
  }
  if (protocol->only_bound && mode == PoolMode::kPingPong) {
    fail_at(context, &cluster.pool.mode, &cluster.pool,
            "protocol " + name + " needs a connection for each client; use auto or bound");
  }
  if (!protocol->framed && ((mode == PoolMode::kMultiplex && !protocol->shared) || mode == PoolMode::kBound)) {
    fail_at(context, &cluster.pool.mode, &cluster.pool,
            std::string(protocol->name) + " connections can't be " +
                (mode == PoolMode::kBound ? "bound" : "multiplexed") + "; use auto");
  }
  if (!protocol->routes && cluster.sidecar)
    fail_at(context, &cluster.sidecar, &cluster, name + " has no answers that could carry reasons");
  if (!protocol->routes && mode == PoolMode::kPingPong) {
    fail_at(context, &cluster.pool.mode, &cluster.pool,
            std::string(protocol->name) + " connections are not used again; use auto");
  }
}

void check_globals(const Config& config, Context& context) {
  if (config.access_log && config.access_log->format != AccessLogLines::kText &&
      context.find(&config.access_log->template_text)) {
    fail_at(context, &config.access_log->template_text, &config.access_log,
            "\"template\" is only for format text");
  }
  check_listener_tls(config.admin.tls, context);
  check_socket_mode(config.admin.address, config.admin.socket_mode, &config.admin, context);
  if (config.admin.tls && config.admin.tls->mode == TlsMode::kPermissive)
    fail_at(context, &config.admin.tls->mode, &config.admin.tls, "the admin port has TLS for all or for none");
  const bool admin_knows_clients =
      config.admin.tls && config.admin.tls->client_certificate == ClientCertificate::kRequire;
  if (config.admin.enabled && !admin_knows_clients && !config.admin.address.host.empty() &&
      !config.admin.address.is_unix() && !is_loopback(config.admin.address.host)) {
    warn_at(context, &config.admin.address, &config.admin,
            "the admin port has no passwords; any host that reaches " + config.admin.address.text() +
                " can control the proxy");
  }
}

void check_protocols_meet(const Config& config, const Index& index,
                          const std::vector<ClusterProtocol>& protocols, Context& context) {
  std::vector<std::pair<const Listener*, Use>> uses;
  for (const Listener& listener : config.listeners)
    for (const Use& use : uses_of(listener)) uses.emplace_back(&listener, use);
  for (const auto& [listener, use] : uses) {
    if (use.protocol.empty()) continue;
    const std::string spoken(use.protocol);
    const void* field = use.routes->empty() ? use.cluster : use.routes;
    for (int i : index.reach(use)) {
      const Cluster& cluster = config.clusters[static_cast<size_t>(i)];
      const ClusterProtocol& entry = protocols[static_cast<size_t>(i)];
      if (protocols_meet(use.protocol, entry.protocol)) continue;
      std::string message = "the listener speaks " + spoken + ", but cluster " + in_quotes(cluster.name);
      if (entry.user) {
        message += " is also used by listener " + in_quotes(entry.user->name) + ", which speaks " +
                   std::string(entry.protocol) + "; give each protocol a cluster of its own";
      } else {
        message += " speaks " + cluster.protocol;
      }
      fail_at(context, field, use.owner, std::move(message), spoken);
    }
  }
}

/// A client of a bound cluster has one connection to one endpoint, so what leads its requests elsewhere is refused.
void warn_bound_elsewhere(const Config& config, const Index& index,
                          const std::vector<ClusterProtocol>& protocols, Context& context) {
  const auto bound = [&](size_t i) {
    const PoolMode mode = config.clusters[i].pool.mode;
    if (mode != PoolMode::kAuto) return mode == PoolMode::kBound;
    const Protocol* protocol = context.protocols().find(protocols[i].protocol);
    return protocol && protocol->only_bound;
  };
  for (const Listener& listener : config.listeners) {
    for (const Use& use : uses_of(listener)) {
      const RouteTable* table = use.routes->empty() ? nullptr : index.table(*use.routes);
      if (!table) continue;
      std::set<std::string_view> names;
      std::string_view one_bound;
      for_each_route(*table, [&](const Route& route) {
        for (std::string_view name : route_clusters(route)) {
          const int i = index.cluster(name);
          if (i < 0) continue;
          names.insert(name);
          if (one_bound.empty() && bound(static_cast<size_t>(i))) one_bound = name;
        }
      });
      if (one_bound.empty() || names.size() < 2) continue;
      names.erase(one_bound);
      warn_at(context, use.routes, use.owner,
              "cluster " + in_quotes(one_bound) +
                  " is bound: a client stays with the connection that its first request got, "
                  "and its requests for other clusters of these routes (" +
                  in_quotes(*names.begin()) + (names.size() > 1 ? " ..." : "") +
                  ") are refused; give each a listener of its own");
    }
  }
}

void warn_unused(const Config& config, Context& context) {
  std::unordered_set<std::string_view> tables;
  std::unordered_set<std::string_view> clusters;
  for (const Listener& listener : config.listeners) {
    for (const Use& use : uses_of(listener)) {
      tables.insert(*use.routes);
      clusters.insert(*use.cluster);
    }
  }
  for (const RouteTable& table : config.routes) {
    if (!tables.count(table.name)) warn_at(context, &table.name, &table, "no listener uses this route table");
    for_each_route(table, [&](const Route& route) {
      for (std::string_view name : route_clusters(route)) clusters.insert(name);
    });
  }
  for (const Cluster& cluster : config.clusters) {
    if (!clusters.count(cluster.name))
      warn_at(context, &cluster.name, &cluster, "no listener and no route uses this cluster");
  }
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

}  // namespace

void fail_at(Context& context, const void* field, const void* owner, std::string message, std::string found) {
  context.error(context.where(field, owner), {.message = std::move(message), .found = std::move(found)});
}

void warn_at(Context& context, const void* field, const void* owner, std::string message) {
  context.warn(context.where(field, owner), {.message = std::move(message)});
}

void check_reference(const std::string& name, const void* owner, std::string_view what, const Names& names,
                     Context& context) {
  if (names.has(name)) return;
  Fault fault{.message = "there is no " + std::string(what) + " called " + in_quotes(name), .found = name};
  // Looking for the nearest of many names takes long, and nobody will read so many faults.
  if (context.errors() < kDiagnosticsMax) fault.nearest = nearest(name, names.list());
  context.error(context.where(&name, owner), std::move(fault));
}

std::vector<std::string_view> route_clusters(const Route& route) {
  std::vector<std::string_view> names;
  if (!route.cluster.empty()) names.push_back(route.cluster);
  for (const WeightedCluster& cluster : route.clusters) names.push_back(cluster.name);
  return names;
}

void validate(const Config& config, Context& context) {
  const Index index(config);
  const Names clusters = names_of(config.clusters);
  const Names tables = names_of(config.routes);
  check_unique_names(config.listeners, "listener", context);
  check_unique_names(config.routes, "route table", context);
  check_unique_names(config.clusters, "cluster", context);

  PortChecker ports(context);
  if (config.admin.enabled)
    ports.take(config.admin.address, false, &config.admin.address, &config.admin, "the admin port");
  std::unordered_map<std::string_view, TableUsers> users;
  for (const Listener& listener : config.listeners) {
    check_listener(listener, tables, clusters, context);
    ports.take(listener.address, listener.ipv6_only, &listener.address, &listener,
               "listener " + in_quotes(listener.name));
    for (const Use& use : uses_of(listener))
      if (const Protocol* protocol = context.protocols().find(use.protocol)) users[*use.routes].add(*protocol);
  }
  for (const RouteTable& table : config.routes) validate_table(table, users[table.name], clusters, context);

  const std::vector<ClusterProtocol> protocols = cluster_protocols(config, index);
  check_protocols_meet(config, index, protocols, context);
  for (size_t i = 0; i < config.clusters.size(); ++i) {
    check_protocol(config.clusters[i].protocol, &config.clusters[i], context);
    check_cluster(config.clusters[i], context.protocols().find(protocols[i].protocol), context);
  }
  check_globals(config, context);
  // What is missing because of a fault would look unused or as if it took every request.
  if (context.failed()) return;
  for (const RouteTable& table : config.routes) warn_useless_routes(table, users[table.name], context);
  warn_unused(config, context);
  warn_bound_elsewhere(config, index, protocols, context);
}

void complete(Config& config) {
  const std::vector<ClusterProtocol> protocols = cluster_protocols(config, Index(config));
  std::vector<std::string> names;
  for (const ClusterProtocol& entry : protocols) names.emplace_back(entry.protocol);
  for (size_t i = 0; i < names.size(); ++i) config.clusters[i].protocol = std::move(names[i]);
  for (Listener& listener : config.listeners) {
    for (std::string& token : listener.http.upgrade) token = lower_case(std::move(token));
  }
  for (RouteTable& table : config.routes) {
    if (!table.routes.empty()) {
      VirtualHost host;
      host.pos = table.pos;
      host.name = "default";
      host.domains = {"*"};
      host.routes = std::move(table.routes);
      table.routes.clear();
      table.virtual_hosts.push_back(std::move(host));
    }
    for (VirtualHost& host : table.virtual_hosts) {
      for (std::string& domain : host.domains) domain = lower_case(std::move(domain));
      for (size_t i = 0; i < host.routes.size(); ++i) {
        std::string& name = host.routes[i].name;
        if (name.empty()) name = table.name + "." + host.name + "." + std::to_string(i);
      }
    }
  }
}

}  // namespace dragoman::config
