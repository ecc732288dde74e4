// Bound mode: one client connection, one upstream connection of its own. Ids pass through, order is kept in both
// directions, requests may come from either side, both ends close together, nothing is ever repeated. For protocols
// whose meaning hangs on the connection: raft replication, transaction managers, registries.
#pragma once

#include "proxy/stream/downstream.h"
#include "proxy/upstream/connection.h"

namespace dragoman {

class BoundLink final : public Retired, private UpstreamOwner {
 public:
  /// Gives `waiter` an exchange on the client's own upstream connection, connecting to `endpoint` first if there is
  /// none yet; where that can't be reached, to another one. Same contract as Pool::acquire. kBoundElsewhere: the client's
  /// connection leads to another cluster.
  static Reason acquire(DownstreamConnection& downstream, Cluster& cluster, Endpoint& endpoint, uint32_t variant,
                        PoolWaiter& waiter);
  ~BoundLink() override;

  Endpoint& endpoint() { return *endpoint_; }
  /// See pool.timeouts_max.
  void note_timeout(uint64_t since_ms, uint32_t max);
  /// Nothing is under way on it.
  bool idle() const { return waiters_.empty() && (!upstream_ || upstream_->idle()); }
  void on_downstream_closed();

 private:
  BoundLink(DownstreamConnection& downstream, Cluster& cluster, Endpoint& endpoint)
      : downstream_(&downstream), cluster_(&cluster), endpoint_(&endpoint) {}
  /// Takes a unit of the cluster's connections and begins to connect.
  Reason connect(uint32_t variant);

  void on_upstream_connected(UpstreamConnection& connection) override;
  void on_upstream_connect_failed(UpstreamConnection& connection, Reason reason) override;
  void on_upstream_gone(UpstreamConnection& connection, Reason reason) override;
  void on_upstream_capacity(UpstreamConnection& connection) override {}
  MessageSink* on_upstream_exchange(UpstreamConnection& connection, Exchange& exchange) override;
  void end(Reason reason);

  DownstreamConnection* downstream_;
  Ref<Cluster> cluster_;
  Ref<Endpoint> endpoint_;
  UpstreamConnection* upstream_ = nullptr;
  uint32_t variant_ = 0;
  uint8_t connects_ = 0;
  IntrusiveList<PoolWaiter, PoolWaiter> waiters_;
};

}  // namespace dragoman
