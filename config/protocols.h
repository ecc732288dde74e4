// The protocols a listener or cluster may name, and what configuration needs to know of each.
#pragma once

#include <span>
#include <string_view>

namespace dragoman::config {

struct Protocol {
  std::string_view name;
  bool http;        // takes an `http` block, routes by path and authority
  bool framed;      // takes an `rpc` block; connections can be shared
  bool heartbeats;  // has heartbeats of its own
  bool goaway;      // can announce the end of a connection
  bool routes;      // carries requests that a route table can tell apart
};

inline constexpr Protocol kProtocols[] = {
    {"http1", true, false, false, false, true},
    {"bolt", false, true, true, true, true},
    {"dubbo", false, true, true, true, true},
    {"tcp", false, false, false, false, false},
};

/// The row called `name`, or null.
constexpr const Protocol* find_protocol(std::string_view name) {
  for (const Protocol& protocol : kProtocols) {
    if (protocol.name == name) return &protocol;
  }
  return nullptr;
}

}  // namespace dragoman::config
