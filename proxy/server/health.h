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
  // Other clusters, one by one: begin(), follow() for each, end(). Until end() those of before are checked too. Endpoints that
  // stay keep their counters.
  void begin();
  /// Starts checks of its endpoints if it has a health_check.
  void follow(const std::shared_ptr<SharedCluster>& cluster);
  void end();
  /// Its endpoint list changed.
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
