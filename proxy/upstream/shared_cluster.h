// One cluster as all workers see it: immutable settings, the current endpoint list, limits, health.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "config/config.h"
#include "protocols/exchange.h"
#include "proxy/tls/identity.h"
#include "proxy/upstream/endpoint.h"
#include "proxy/upstream/limits.h"

namespace dragoman {

class SharedCluster {
 public:
  /// `protocol` is null for clusters used by tcp listeners only.
  /// `identity` is null without TLS; it has a thread more than there are workers, for health checks.
  SharedCluster(config::Cluster cluster_settings, std::shared_ptr<const Protocol> wire_protocol, int workers,
                std::shared_ptr<TlsIdentity> identity = nullptr)
      : settings(std::move(cluster_settings)),
        tls(std::move(identity)),
        limits(workers),
        wakers_(static_cast<size_t>(workers)),
        protocol_(std::move(wire_protocol)),
        endpoints_(std::make_shared<EndpointSet>()) {}

  /// Its `endpoints` are those it began with: later ones come by set_endpoints() only.
  const config::Cluster settings;
  const std::shared_ptr<TlsIdentity> tls;
  Limits limits;

  /// What new connections speak; another version of the same protocol when a codec was swapped. Workers are told
  /// by message (Cluster::set_protocol).
  std::shared_ptr<const Protocol> protocol() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return protocol_;
  }
  void set_protocol(std::shared_ptr<const Protocol> protocol) {
    std::lock_guard<std::mutex> lock(mutex_);
    protocol_ = std::move(protocol);
  }

  /// Control thread (and read by admin). Workers get the set by message, not through here.
  std::shared_ptr<const EndpointSet> endpoints() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return endpoints_;
  }
  /// Replaces the list; endpoints whose address was there before keep their object. Returns the new set, or null when nothing
  /// changed. Control thread.
  std::shared_ptr<const EndpointSet> set_endpoints(const std::vector<std::pair<Address, uint32_t>>& wanted);

  /// Takes over the health of endpoints that `earlier`, the cluster of the same name before a reload, had too. Control thread, before
  /// the first set_endpoints().
  void inherit(const SharedCluster& earlier);

  /// Ejects `endpoint` for repeated failures unless too many are ejected already. Returns true when it was ejected
  /// now. Any worker.
  bool maybe_eject(SharedEndpoint& endpoint, uint64_t now_ms);
  /// A good answer of `endpoint`. Any worker.
  void note_good(SharedEndpoint& endpoint, uint64_t now_ms) {
    endpoint.note_success();
    if (endpoint.ejections() != 0 && settings.outlier)
      endpoint.decay(now_ms, static_cast<uint64_t>(settings.outlier->ejection_time_ms));
  }

  /// Listeners of this process that lead here: a connection to one of them would be a loop. Control thread.
  void set_entrances(std::vector<Address> listeners) {
    std::lock_guard<std::mutex> lock(mutex_);
    entrances_ = std::move(listeners);
  }
  /// Whether a connection to `address` certainly ends at one of them. Any worker.
  bool leads_back(const Address& address) const;
  /// The same of one that was just made, which may be to any address of this host. `fd` is its socket.
  bool leads_back(int fd) const;

  /// Who waits for limits.connections: a worker that got none says so, and hears when another gives one back. `wake` is called by
  /// other workers' threads, with `evict` when they want an idle connection closed; null takes it away.
  void set_waker(int worker, std::function<void(bool evict)> wake);
  /// `worker` waits from now on; the others are asked to evict.
  void starve(int worker);
  /// It does not any more.
  void sated(int worker);
  /// Some worker waits.
  bool starving() const { return starving_.load(std::memory_order_relaxed) != 0; }
  /// Tells one that waits, other than `worker`; false when there is none.
  bool wake_other(int worker);

 private:
  struct Waker {
    std::function<void(bool)> wake;
    bool starving = false;
  };
  /// Endpoints that left, newest last: what they did wrong is remembered for the time they come back.
  static constexpr size_t kPastMax = 256;

  std::mutex wakers_mutex_;
  std::vector<Waker> wakers_;
  std::atomic<uint32_t> starving_{0};
  size_t next_waker_ = 0;
  mutable std::mutex mutex_;
  std::shared_ptr<const Protocol> protocol_;
  std::shared_ptr<const EndpointSet> endpoints_;
  std::shared_ptr<const EndpointSet> earlier_;  // see inherit()
  std::vector<std::shared_ptr<SharedEndpoint>> past_;
  std::vector<Address> entrances_;
  bool earlier_checked_ = false;
};

}  // namespace dragoman
