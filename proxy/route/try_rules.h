// How long the tries of a request may take and which are repeated: what the route says, else its cluster, else the
// listener, else the protocol.
#pragma once

#include <cstdint>

#include "config/config.h"
#include "proxy/route/route_table.h"

namespace dragoman {

/// Of one route towards one of its clusters.
struct TryRules {
  int64_t timeout_ms = 15'000;  // of a request whose caller gave no deadline; 0 = none
  int64_t grpc_timeout_ms = 0;  // the same of a gRPC call; 0 = none
  int64_t timeout_max_ms = 0;   // of a caller's own deadline; 0 = none
  /// What an endpoint may take before it is its fault that a caller's deadline passed.
  int64_t fair_ms = 15'000;
  RetryPolicy retry{.pos = {}, .attempts = 0};
};

/// `protocol_timeout_ms`: of the listener's protocol, 0 = none.
TryRules try_rules(const Route& route, const config::Cluster& cluster, const config::Listener& listener,
                   int64_t protocol_timeout_ms);

}  // namespace dragoman
