// A listener as the workers see it: the shared immutable part (spec) and each worker's resolved part (runtime).
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "filters/filter.h"
#include "protocols/detect.h"
#include "protocols/exchange.h"
#include "proxy/base/ref.h"
#include "proxy/net/proxy_header.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/metrics.h"
#include "proxy/route/route_table.h"
#include "proxy/route/try_rules.h"
#include "proxy/stream/accept_balance.h"
#include "proxy/tls/identity.h"
#include "proxy/upstream/cluster.h"
#include "proxy/upstream/cluster_eras.h"

namespace dragoman {

/// Facts about a listener that outlive reloads, shared by all workers.
struct ListenerShared {
  explicit ListenerShared(int workers) : balance(workers) {}
  std::atomic<uint32_t> connections{0};
  AcceptBalance balance;
};

struct ListenerSpec;

/// What a listener with protocol auto tells apart; the vectors go together.
struct DetectSpec {
  std::vector<DetectRule> rules;
  std::vector<std::string> names;                      // as configured
  std::vector<std::vector<std::string>> server_names;  // protocol tls: lower case; empty = any
  std::vector<std::vector<std::string>> alpn;
  std::vector<std::shared_ptr<const ListenerSpec>> specs;
  std::shared_ptr<const ListenerSpec> unknown;         // null: rejected
};

/// Immutable, built by the control thread from one configuration, shared by all workers.
struct ListenerSpec {
  config::Listener settings;
  std::shared_ptr<const Protocol> protocol;  // null: bytes are relayed
  std::shared_ptr<const RouteTable> routes;
  std::vector<std::unique_ptr<FilterFactory>> filters;
  CodecOptions codec;
  uint32_t hops_max = 0;    // 0 = not counted
  uint32_t hops_begin = 1;  // of so many requests that say no hops, one gets the header
  uint32_t hops_from = 0;   // hops count while more requests than this are under way on a worker
  config::Drain drain;
  std::shared_ptr<AccessLogWriter> access_log;  // null = off
  std::shared_ptr<ListenerShared> shared;
  std::shared_ptr<TlsIdentity> tls;           // null = off
  std::vector<IpPrefix> trusted;              // of proxy_protocol; empty = everybody
  std::shared_ptr<const DetectSpec> detect;   // protocol auto; the specs in it have no TLS and no `shared` of their own
};

/// One cluster that a route leads to, and the counters of that pair.
struct RouteTarget {
  Cluster* cluster = nullptr;  // lives while the runtime's `era` does
  RequestMetrics metrics;
  TryRules rules{};
};

struct RouteRuntime {
  std::vector<RouteTarget> targets;  // in the order of Route::clusters; one without a cluster for local answers
};

/// One worker's view of one listener under one configuration. Streams hold it, so a reload never pulls it away. Made by the control
/// thread, and the worker's from then on.
class ListenerRuntime : public RefCounted<ListenerRuntime> {
 public:
  ListenerRuntime(WorkerContext& context, std::shared_ptr<const ListenerSpec> shared, MetricsBinding handles)
      : worker(context), spec(std::move(shared)), binding(std::move(handles)) {}

  ~ListenerRuntime() {
    if (!worker.dispose) return;
    struct Parts {
      std::vector<RouteRuntime> routes;
      MetricsBinding binding;
      std::shared_ptr<const ListenerSpec> spec;
    };
    try {
      worker.dispose(
          std::shared_ptr<Parts>(new Parts{std::move(routes), std::move(binding), std::move(spec)}));
    } catch (const std::bad_alloc&) {  // they end here
    }
  }
  /// Its clusters are those of the present.
  void join(ClusterEras& eras) {
    era = eras.join();
    for (const Ref<ListenerRuntime>& part : detected) part->join(eras);
    if (unknown) unknown->join(eras);
  }

  WorkerContext& worker;
  ClusterEras::Member era;
  std::shared_ptr<const ListenerSpec> spec;
  MetricsBinding binding;  // owns the series of all handles here
  ListenerMetrics metrics;
  TlsMetrics tls;  // counts nowhere without TLS
  ObserverMetrics observer;  // of relayed protocols that are observed
  RedisMetrics redis;        // protocol redis
  MysqlMetrics mysql;        // protocol mysql
  // Protocol auto: by the order of DetectSpec, then the ways it can end otherwise.
  std::vector<Ref<ListenerRuntime>> detected;
  Ref<ListenerRuntime> unknown;  // null: rejected
  std::vector<DetectMetrics> detect_metrics;
  DetectMetrics unknown_metrics;
  DetectMetrics silent_metrics;

  /// The part for a protocol; null when it has none (any more).
  ListenerRuntime* part(std::string_view protocol) const {
    for (const Ref<ListenerRuntime>& part : detected)
      if (part->spec->settings.protocol == protocol) return part.get();
    return nullptr;
  }
  std::vector<RouteRuntime> routes;  // by Route::index
  RouteTarget unrouted;              // requests that no route took
  AccessLogShard* access_log = nullptr;
  uint32_t under_way = 0;     // requests, on this worker
  uint32_t without_hops = 0;  // of those whose hops were looked for: that said none, on this worker
  bool counts_hops() const { return spec->hops_max != 0 && under_way > spec->hops_from; }
};

}  // namespace dragoman
