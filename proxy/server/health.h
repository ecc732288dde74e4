// Active health checks, on the control thread's loop. Results go to SharedEndpoint, where all workers see them.
#pragma once

#include <memory>
#include <vector>

#include "proxy/net/loop.h"
#include "proxy/observe/metrics.h"
#include "proxy/upstream/shared_cluster.h"

namespace dragoman {

class HealthMonitor {
 public:
  HealthMonitor(Loop& loop, MetricRegistry& registry, int shard);
  ~HealthMonitor();
  /// Starts and stops checks so that exactly the endpoints of `clusters` that have a health_check are checked.
  /// Endpoints that stay keep their counters.
  void sync(const std::vector<std::shared_ptr<SharedCluster>>& clusters);
  /// The same for one of them, whose endpoint list changed.
  void sync(const SharedCluster& cluster);
  /// Every endpoint was checked at least once.
  bool settled() const;
  /// Stops all; nothing is left on the loop afterwards (at its next edge).
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dragoman
