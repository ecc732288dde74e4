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

  TlsSession tls_session;
  uint32_t active_requests = 0;
  int64_t current_weight = 0;  // smooth weighted round robin

 private:
  friend class Cluster;
  Cluster* cluster_;
  std::shared_ptr<SharedEndpoint> shared_;
  std::vector<std::unique_ptr<Pool>> pools_;
  bool draining_ = false;
};

class Cluster : public RefCounted<Cluster> {
 public:
  Cluster(WorkerContext& worker, std::shared_ptr<SharedCluster> shared, std::shared_ptr<const void> metrics_owner,
          ClusterMetrics metrics);
  ~Cluster();

  const std::shared_ptr<SharedCluster>& shared() const { return shared_; }
  const config::Cluster& settings() const { return shared_->settings; }
  const Protocol* protocol() const { return protocol_.get(); }
  /// New connections speak this from now on; the others take no more requests and end when they are done.
  void set_protocol(std::shared_ptr<const Protocol> protocol);
  WorkerContext& worker() { return worker_; }
  ClusterMetrics& metrics() { return metrics_; }
  /// Null without TLS.
  TlsIdentity* tls() const { return shared_->tls.get(); }
  TlsMetrics tls_metrics;  // counts nowhere without TLS

  /// The endpoint for the next request, or null when there is none. `avoid` (may be null) is not taken if another
  /// usable one exists (retries).
  Endpoint* pick(const Endpoint* avoid);
  /// Takes over a new endpoint list; endpoints that stay keep their connections.
  void update(const EndpointSet& set);
  /// The cluster left the configuration (or the worker ends): see Endpoint::drain.
  void drain();

  /// The endpoint said that it takes no more requests: see pool.goaway_pause.
  void note_leaving(Endpoint& endpoint);
  /// Result of one try, for passive ejection.
  void report(Endpoint& endpoint, bool failed);

  bool take(Limit limit, uint32_t max) { return shared_->limits.take(limit, worker_.index, max); }
  void give(Limit limit) { shared_->limits.give(limit, worker_.index); }
  const std::vector<Ref<Endpoint>>& endpoints() const { return endpoints_; }

 private:
  bool usable(const Endpoint& endpoint, uint64_t now) const {
    if (shun_leaving_ && endpoint.shared_->leaving(now)) return false;
    return panic_ || endpoint.shared_->usable(now);
  }
  void refresh_health(uint64_t now);
  Endpoint* pick_round_robin(const Endpoint* avoid, uint64_t now);
  Endpoint* pick_random(const Endpoint* avoid, uint64_t now);
  Endpoint* pick_least_request(const Endpoint* avoid, uint64_t now);

  WorkerContext& worker_;
  std::shared_ptr<SharedCluster> shared_;
  std::shared_ptr<const Protocol> protocol_;
  std::shared_ptr<const void> metrics_owner_;
  ClusterMetrics metrics_;
  std::vector<Ref<Endpoint>> endpoints_;
  uint64_t total_weight_ = 0;
  bool equal_weights_ = true;
  size_t next_ = 0;
  bool panic_ = false;
  bool shun_leaving_ = false;  // some are, and there are healthy ones that are not
  uint64_t health_checked_ms_ = 0;
};

}  // namespace dragoman
