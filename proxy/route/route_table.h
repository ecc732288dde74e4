// The route table: which route takes a request. Compiled once from the configuration, then immutable and shared by all
// workers. It reads attributes of the Head only, so it is the same for every protocol.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/config.h"
#include "protocols/head.h"
#include "proxy/base/result.h"

namespace dragoman {

/// attempts == 0: no repeats (a route without a `retry` block).
using RetryPolicy = config::Retry;

/// What to do with a request that matched. Lives as long as its table.
struct Route {
  enum class Action : uint8_t { kCluster, kRedirect, kDirectResponse };
  /// What the path matched; rewriting needs it.
  enum class PathMatch : uint8_t { kAny, kExact, kPrefix, kRegex };

  std::string name;
  uint32_t index = 0;  // position in RouteTable::routes()
  Action action = Action::kCluster;
  std::vector<config::WeightedCluster> clusters;          // kCluster: one or more, weights >= 1
  uint64_t weight_total = 0;                              // sum of their weights
  std::optional<config::Redirect> redirect;               // kRedirect
  std::optional<config::DirectResponse> direct_response;  // kDirectResponse
  std::optional<int64_t> timeout_ms;                      // as configured: see try_rules.h
  std::optional<int64_t> timeout_max_ms;                  // "
  std::optional<RetryPolicy> retry;                       // "
  int64_t per_try_timeout_ms = 0;                         // 0 = none, as the next
  int64_t idle_timeout_ms = 0;
  PathMatch path_match = PathMatch::kAny;
  uint32_t path_match_bytes = 0;  // kPrefix: length of the matched prefix
  std::string prefix_rewrite;     // empty = off
  std::string host_rewrite;       // empty = off
  config::HeaderEdits request_headers;
  config::HeaderEdits response_headers;
  uint64_t request_body_bytes_max = 0;  // 0 = no limit
  bool one_way = false;                 // nobody answers, whatever the request says
};

class RouteTable {
 public:
  /// The error names the virtual host and route. Two virtual hosts must not share a domain.
  static Result<std::shared_ptr<const RouteTable>> compile(const config::RouteTable& table);
  /// Everything to one cluster, with the defaults of a route: a listener's `cluster:` shorthand. The route has the
  /// cluster's name.
  static std::shared_ptr<const RouteTable> single_cluster(std::string cluster);

  ~RouteTable();
  RouteTable(const RouteTable&) = delete;
  RouteTable& operator=(const RouteTable&) = delete;

  /// The virtual host is chosen by authority (see README.md), then its first route in the order written whose
  /// conditions all hold. Null: none (other virtual hosts are not tried). Allocates nothing (RE2 fills its own bounded
  /// caches), never throws, and is safe to call from many threads.
  const Route* match(const Head& request) const;
  /// What framed heads must show for match() to work: bits DRAGOMAN_WANT_*.
  Want want() const { return want_; }
  /// In the order written, over all virtual hosts.
  std::span<const Route> routes() const { return routes_; }

 private:
  struct Matcher;
  RouteTable();

  std::vector<Route> routes_;
  std::unique_ptr<const Matcher> matcher_;
  Want want_ = 0;
};

}  // namespace dragoman
