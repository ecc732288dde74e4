// The protocols a listener or cluster may name, and what configuration needs to know of each.
#pragma once

#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/linked_codecs.h"  // made by CMake from DRAGOMAN_BUILTIN_CODECS

namespace dragoman::config {

struct Protocol {
  std::string_view name;
  bool http;               // takes an `http` block, routes by path and authority
  bool framed;             // takes an `rpc` block; connections can be shared
  bool heartbeats;         // has heartbeats of its own
  bool goaway;             // can announce the end of a connection
  bool routes;             // carries requests that a route table can tell apart
  bool shared = framed;    // many requests at once on one connection
  bool edits = routes;     // headers can be changed
  bool service = framed;   // requests name a service (HTTP: those of gRPC, gRPC-Web and Triple)
  bool method = routes;    // requests name a method
  bool headers = routes;   // requests have headers
  bool listen_only = false; // not what a server alone can speak
  // What requests and answers tell beyond that, as headers that are not on the wire and can't be changed.
  std::span<const char* const> attributes{};
  bool only_bound = false; // each client needs a connection of its own to one backend
  int64_t timeout_ms = 15'000;  // of a request whose caller gave none, where no `timeout` is written
};

namespace attributes {
inline constexpr const char* kBolt[] = {"xid", "trace_id", "rpc_id"};
inline constexpr const char* kBrpc[] = {"log_id", "request_id"};
inline constexpr const char* kDubbo[] = {"version", "generic_method"};
inline constexpr const char* kRocketmq[] = {"code", "group", "broker"};
inline constexpr const char* kSeata[] = {"xid"};
inline constexpr const char* kTars[] = {"dye", "set"};
inline constexpr const char* kTtheader[] = {"from", "cluster", "env", "log_id"};
}  // namespace attributes

inline constexpr Protocol kProtocols[] = {
    {.name = "http1",
     .http = true,
     .framed = false,
     .heartbeats = false,
     .goaway = false,
     .routes = true,
     .service = true},
    {.name = "http2",
     .http = true,
     .framed = false,
     .heartbeats = true,
     .goaway = true,
     .routes = true,
     .shared = true,
     .service = true},
    {.name = "http",
     .http = true,
     .framed = false,
     .heartbeats = false,
     .goaway = true,
     .routes = true,
     .service = true,
     .listen_only = true},
    {.name = "bolt",
     .http = false,
     .framed = true,
     .heartbeats = true,
     .goaway = true,
     .routes = true,
     .attributes = attributes::kBolt},
    {.name = "dubbo",
     .http = false,
     .framed = true,
     .heartbeats = true,
     .goaway = true,
     .routes = true,
     .attributes = attributes::kDubbo},
    {.name = "tars",
     .http = false,
     .framed = true,
     .heartbeats = true,
     .goaway = true,
     .routes = true,
     .attributes = attributes::kTars},
    {"thrift", false, true, false, false, true},
    {.name = "dubbo_thrift",
     .http = false,
     .framed = true,
     .heartbeats = false,
     .goaway = false,
     .routes = true,
     .edits = false},
    {.name = "seata",
     .http = false,
     .framed = true,
     .heartbeats = false,
     .goaway = false,
     .routes = true,
     .shared = false,
     .service = false,
     .attributes = attributes::kSeata,
     .only_bound = true,
     .timeout_ms = 60'000},
    {.name = "brpc",
     .http = false,
     .framed = true,
     .heartbeats = false,
     .goaway = false,
     .routes = true,
     .attributes = attributes::kBrpc},
    {.name = "rocketmq",
     .http = false,
     .framed = true,
     .heartbeats = false,
     .goaway = false,
     .routes = true,
     .method = false,
     .attributes = attributes::kRocketmq,
     .timeout_ms = 60'000},  // a poll waits for its broker up to 30 s
    {.name = "ttheader",
     .http = false,
     .framed = true,
     .heartbeats = false,
     .goaway = true,
     .routes = true,
     .attributes = attributes::kTtheader},
    {"redis", false, false, false, false, false},
    {"mysql", false, false, false, false, false},
    {"tcp", false, false, false, false, false},
};

/// Whether a framed protocol of kProtocols is part of this program; the others always are.
constexpr bool is_linked(const Protocol& protocol) {
  if (!protocol.framed) return true;
  for (std::string_view rest = kLinkedCodecs; !rest.empty();) {
    const size_t end = rest.find(';');
    if (rest.substr(0, end) == protocol.name) return true;
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return false;
}

/// Of requests, where nothing is written. `facts`: none of protocols that the file declares.
constexpr int64_t default_timeout_ms(const Protocol* facts, bool only_bound) {
  return facts ? facts->timeout_ms : only_bound ? 60'000 : 15'000;
}

/// The built-in protocol called `name`, or null.
constexpr const Protocol* find_protocol(std::string_view name) {
  for (const Protocol& protocol : kProtocols) {
    if (protocol.name == name && is_linked(protocol)) return &protocol;
  }
  return nullptr;
}

constexpr bool is_listen_only(std::string_view name) {
  const Protocol* protocol = find_protocol(name);
  return protocol && protocol->listen_only;
}

/// Whether connections of `name` are relayed byte for byte.
constexpr bool is_relayed(std::string_view name) {
  const Protocol* protocol = find_protocol(name);
  return protocol && !protocol->routes;
}

/// Whether connections of `name` are relayed and observed.
constexpr bool is_observed(std::string_view name) { return is_relayed(name) && name != "tcp"; }

/// Whether requests of a listener can go to a cluster: the same protocol, two versions of HTTP, or bytes of whatever protocol.
constexpr bool protocols_meet(std::string_view listener, std::string_view cluster) {
  const Protocol* a = find_protocol(listener);
  const Protocol* b = find_protocol(cluster);
  return listener == cluster || (a && b && ((a->http && b->http) || (is_relayed(listener) && is_relayed(cluster))));
}

/// Whether `name` is a framed protocol: one that is built in, or else one that the file declares.
constexpr bool is_framed(std::string_view name) {
  const Protocol* protocol = find_protocol(name);
  return protocol ? protocol->framed : !name.empty();
}

/// The built-in protocols and those that one file declares.
class ProtocolTable {
 public:
  /// `facts`: none when its file could not be used. Its name need not be set.
  void declare(const std::string& name, std::optional<Protocol> facts) {
    Entry& entry = declared_.emplace_back(Entry{name, facts});
    if (entry.facts) entry.facts->name = entry.name;
  }
  bool declared(std::string_view name) const {
    for (const Entry& entry : declared_)
      if (entry.name == name) return true;
    return false;
  }
  /// Null when there is none, or nothing is known of it.
  const Protocol* find(std::string_view name) const {
    for (const Entry& entry : declared_)
      if (entry.name == name) return entry.facts ? &*entry.facts : nullptr;
    return find_protocol(name);
  }
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> names;
    for (const Protocol& protocol : kProtocols)
      if (is_linked(protocol)) names.push_back(protocol.name);
    for (const Entry& entry : declared_) names.push_back(entry.name);
    return names;
  }

 private:
  struct Entry {
    std::string name;
    std::optional<Protocol> facts;
  };
  std::deque<Entry> declared_;
};

}  // namespace dragoman::config
