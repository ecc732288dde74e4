// One cluster on one worker: endpoints, their pools, and the choice among them.
#pragma once

#include <memory>
#include <vector>

#include "proxy/base/ref.h"
#include "proxy/observe/metrics.h"
#include "proxy/tls/transport.h"
#include "proxy/upstream/pool.h"
#include "proxy/upstream/shared_cluster.h"
#include "proxy/upstream/worker_context.h"

namespace dragoman {

class Cluster;

/// When the next connection to an endpoint may be tried: servers that refuse, or close at once, are not asked again and again.
class ConnectBackoff {
 public:
  /// Milliseconds to wait; 0 = now, and then others wait for what becomes of it.
  uint64_t start(uint64_t now_ms) {
    if (now_ms < after_ms_) return after_ms_ - now_ms;
    if (delay_ms_ != 0) after_ms_ = now_ms + delay_ms_;
    return 0;
  }
  /// A connect begun at `started_ms` came to nothing.
  void failed(uint64_t now_ms, uint64_t started_ms, const config::Cluster& settings, Random& random);
  void succeeded() {
    failures_ = 0;
    delay_ms_ = after_ms_ = 0;
  }
  bool failing() const { return delay_ms_ != 0; }
  bool waiting(uint64_t now_ms) const { return now_ms < after_ms_; }

 private:
  static constexpr uint32_t kFree = 5;  // failures in a row that cost nothing
  uint32_t failures_ = 0;
  uint64_t delay_ms_ = 0;  // 0 = not failing
  uint64_t after_ms_ = 0;
  uint64_t grown_ms_ = 0;  // when the delay was set last
};

/// One endpoint on one worker. Lives while the cluster, a connection or a stream holds it.
class Endpoint : public RefCounted<Endpoint> {
 public:
  Endpoint(Cluster& cluster, std::shared_ptr<SharedEndpoint> shared) : cluster_(&cluster), shared_(std::move(shared)) {}
  ~Endpoint();

  SharedEndpoint& shared() { return *shared_; }
  const std::shared_ptr<SharedEndpoint>& shared_ptr() const { return shared_; }
  /// The pool for requests of `variant` (protocol flavour); made on first use.
  Pool& pool(uint32_t variant);
  /// See Pool::drain.
  void drain();
  /// The same for the connections that are there; waiters and later requests get new ones.
  void renew();
  bool draining() const { return draining_; }
  /// A connection was of use: those that wait for one after failures go on.
  void connect_succeeded();
  /// A request that was sent at `since_ms` timed out; see pool.timeouts_max.
  void note_timeout(uint64_t since_ms);
  /// Closes an idle connection; false when there is none.
  bool evict_idle();

  ConnectBackoff backoff;
  TlsSession tls_session;
  uint32_t active_requests = 0;
  uint32_t weight = 1;  // of the list that the cluster has

 private:
  friend class Cluster;
  Cluster* cluster_;
  std::shared_ptr<SharedEndpoint> shared_;
  std::vector<std::unique_ptr<Pool>> pools_;
  uint32_t silent_timeouts_ = 0;  // in a row, without a byte on any connection
  uint64_t timed_out_ms_ = 0;     // just before the last one
  bool draining_ = false;
};

class Cluster : public RefCounted<Cluster> {
 public:
  Cluster(WorkerContext& worker, std::shared_ptr<SharedCluster> shared, std::shared_ptr<const void> metrics_owner,
          ClusterMetrics metrics);
  ~Cluster();

  const std::shared_ptr<SharedCluster>& shared() const { return shared_; }
  const config::Cluster& settings() const { return shared_->settings; }
  /// For connections to its endpoints.
  const SharedTransportOptions& transport_options();
  /// Of the PROXY protocol header that its connections begin with; 0 = none.
  int proxy_version() const { return static_cast<int>(settings().proxy_protocol); }
  const Protocol* protocol() const { return protocol_.get(); }
  /// What the pool mode setting means for the protocol.
  PoolMode pool_mode() const { return pool_mode_; }
  /// New connections speak this from now on; the others take no more requests and end when they are done.
  void set_protocol(std::shared_ptr<const Protocol> protocol);
  WorkerContext& worker() { return worker_; }
  ClusterMetrics& metrics() { return metrics_; }
  /// Null without TLS.
  TlsIdentity* tls() const { return shared_->tls.get(); }
  TlsMetrics tls_metrics;  // counts nowhere without TLS
  size_t place = 0;        // among the worker's clusters; the worker's

  /// The endpoint for the next request, or null when there is none. `avoid` (may be null) is not taken if another
  /// usable one exists (retries).
  Endpoint* pick(const Endpoint* avoid);
  /// Takes over a new endpoint list; endpoints that stay keep their connections. `fresh`, if any, are objects for those that are new in
  /// it, in order. Returns those that left, which drain; whoever gets them lets go of them.
  std::vector<Ref<Endpoint>> update(const EndpointSet& set, std::vector<Ref<Endpoint>> fresh = {});
  /// The cluster left the configuration (or the worker ends): see Endpoint::drain.
  void drain();

  /// The endpoint said that it takes no more requests: see pool.goaway_pause.
  void note_leaving(Endpoint& endpoint);
  /// Result of one try, for passive ejection.
  void report(Endpoint& endpoint, bool failed);

  /// A unit of limits.connections for `pool`. At the limit an idle connection makes room; a pool that has none (`must`) gets one in
  /// any case; any other is told by Pool::on_unit when one is given back.
  bool take_connection(Pool& pool, bool must);
  void give_connection();
  /// Pools, here or on other workers, wait for a unit: idle connections should go.
  bool starving() { return shared_->starving() && still_starving(); }
  bool take(Limit limit, uint32_t max) { return shared_->limits.take(limit, worker_.index, max); }
  void give(Limit limit) { shared_->limits.give(limit, worker_.index); }
  const std::vector<Ref<Endpoint>>& endpoints() const { return endpoints_; }

 private:
  bool usable(const Endpoint& endpoint, uint64_t now) const {
    if (shun_leaving_ && endpoint.shared_->leaving(now)) return false;
    if (shun_failing_ && endpoint.backoff.waiting(now)) return false;
    return panic_ || endpoint.shared_->usable(now);
  }
  bool evict_idle();
  void on_wake(bool evict);
  void serve_starved();
  bool still_starving();
  Endpoint* choose(const Endpoint* avoid, uint64_t now);
  void refresh_health(uint64_t now);
  Endpoint* pick_round_robin(const Endpoint* avoid, uint64_t now);
  Endpoint* pick_random(const Endpoint* avoid, uint64_t now);
  Endpoint* pick_least_request(const Endpoint* avoid, uint64_t now);

  SharedTransportOptions options_;
  WorkerContext& worker_;
  std::shared_ptr<SharedCluster> shared_;
  std::shared_ptr<const Protocol> protocol_;
  PoolMode pool_mode_;
  std::shared_ptr<const void> metrics_owner_;
  ClusterMetrics metrics_;
  std::vector<Ref<Endpoint>> endpoints_;
  uint64_t generation_ = 0;  // of the list
  bool equal_weights_ = true;
  size_t next_ = 0;
  /// Weighted round robin, made when it is needed: a heap, the earliest turn in front.
  struct Turn {
    double at;
    uint32_t endpoint;
    bool operator<(const Turn& other) const { return at > other.at; }
  };
  std::vector<Turn> turns_;
  std::vector<uint64_t> sums_;  // weighted random, made when it is needed: of weights up to each endpoint
  bool panic_ = false;
  bool shun_leaving_ = false;  // some are, and there are healthy ones that are not
  bool shun_failing_ = true;   // those that wait to be connected to, while there are others
  uint64_t health_checked_ms_ = 0;
  IntrusiveList<Pool, Pool> starved_;  // wait for a unit of limits.connections
  std::shared_ptr<Cluster*> self_;     // for calls from other workers, null when it is gone
  size_t evict_at_ = 0;
  bool evicting_ = false;
  bool others_turn_ = false;
};

}  // namespace dragoman
