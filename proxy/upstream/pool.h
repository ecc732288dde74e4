// Connections to one endpoint on one worker, for one variant of a protocol.
//
// ping-pong: one exchange per connection, idle ones kept last-in first-out; variants that can't share connections are
// served like that in every cluster. multiplex: a fixed small number of connections shared by all streams of the worker, and extra ones, used
// and kept while those are full. A stream that finds no room waits here (bounded, counted). bound connections are not pooled: see
// BoundLink in stream/.
#pragma once

#include <memory>

#include "protocols/exchange.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/net/transport.h"

namespace dragoman {
namespace config {
struct Cluster;
}

class Cluster;
class Endpoint;
class UpstreamConnection;

/// A stream that wants an exchange with an endpoint. Destroying it (or unlink()) gives up the place in the queue; then call
/// Pool::forget first so that the counters stay right.
class PoolWaiter : public ListLink<PoolWaiter> {
 public:
  /// Where answers of the exchange will go.
  virtual MessageSink& answers() = 0;
  /// An exchange was opened. `reused`: the connection had served others before.
  virtual void on_pool_ready(Exchange& exchange, UpstreamConnection& connection, bool reused) = 0;
  virtual void on_pool_failed(Reason reason) = 0;

 protected:
  ~PoolWaiter() = default;
};

/// Who is told about a connection: its pool, or the link that binds it to one client connection.
class UpstreamOwner {
 public:
  virtual void on_upstream_connected(UpstreamConnection& connection) = 0;
  /// It never connected. The connection is gone after the call.
  virtual void on_upstream_connect_failed(UpstreamConnection& connection, Reason reason) = 0;
  /// No more exchanges on it: closed, or the peer said goaway. Called once (not after on_upstream_connect_failed).
  virtual void on_upstream_gone(UpstreamConnection& connection, Reason reason) = 0;
  virtual void on_upstream_capacity(UpstreamConnection& connection) = 0;
  /// Whether it may end when it is idle.
  virtual bool is_surplus(const UpstreamConnection&) const { return false; }
  /// The backend opened an exchange (bound mode); null refuses.
  virtual MessageSink* on_upstream_exchange(UpstreamConnection& connection, Exchange& exchange) = 0;

 protected:
  ~UpstreamOwner() = default;
};

class Pool final : public ListLink<Pool>, private UpstreamOwner {
 public:
  Pool(Cluster& cluster, Endpoint& endpoint, uint32_t variant);
  ~Pool();

  uint32_t variant() const { return variant_; }
  /// An exchange on a connection that is there and has room: calls waiter.on_pool_ready at once. Otherwise queues the
  /// waiter and, where that helps, opens a connection; failures are reported later through on_pool_failed, except
  /// when a limit is hit now: then that reason is returned and nothing was queued. `fresh`: connections that have been idle
  /// are not trusted (exclusive ones only).
  Reason acquire(PoolWaiter& waiter, bool fresh = false);
  /// The waiter no longer wants an exchange.
  void forget(PoolWaiter& waiter);
  /// The endpoint or its cluster left the configuration. Idle connections close, others when they are done. Whoever waits, or
  /// still comes with a view of the old configuration, is served: nothing is lost by a reload.
  void drain();
  /// The connections that are there take no more requests and end when they are done.
  void renew();
  bool draining() const { return draining_; }
  /// Waits for a unit of limits.connections.
  bool starved() const { return ListLink<Pool>::linked(); }
  void give_up_unit() { ListLink<Pool>::unlink(); }
  /// There may be one now, or connecting may help again.
  void on_unit() { replenish(); }
  /// Closes an idle connection; false when there is none.
  bool evict_idle();
  /// A request to the endpoint that was sent at `since_ms` timed out. `heard`: some connection brought bytes since; `retire`: a shared one
  /// has brought none for `max` timeouts.
  void look(uint64_t since_ms, uint32_t max, bool& heard, bool& retire);
  /// Whether some connection brought bytes after `ms`.
  bool heard_since(uint64_t ms);
  /// Retires shared connections that were silent for at least `timeouts` of them, and, when that is 0, idle ones, too.
  void retire_silent(uint64_t since_ms, uint32_t timeouts);
  uint32_t connections() const { return connections_; }
  uint32_t connecting() const { return connecting_; }
  uint32_t waiting() const { return waiting_; }

 private:
  void on_upstream_connected(UpstreamConnection& connection) override;
  void on_upstream_connect_failed(UpstreamConnection& connection, Reason reason) override;
  void on_upstream_gone(UpstreamConnection& connection, Reason reason) override;
  void on_upstream_capacity(UpstreamConnection& connection) override;
  MessageSink* on_upstream_exchange(UpstreamConnection& connection, Exchange& exchange) override;
  bool is_surplus(const UpstreamConnection& connection) const override;

  using Connections = IntrusiveList<UpstreamConnection, UpstreamConnection>;
  UpstreamConnection* with_room();
  Connections& list_of(const UpstreamConnection& connection);
  /// Multiplexed: no connection has room, and one more may be opened for those who wait.
  bool may_grow() const;
  Reason connect();
  bool give(PoolWaiter& waiter, UpstreamConnection& connection);
  bool give_and_grow(PoolWaiter& waiter, UpstreamConnection& connection);
  void serve();
  void take_out(PoolWaiter& waiter);
  void drain_unneeded();
  void fail_front(Reason reason);
  void fail_waiters(Reason reason);
  void replenish();

  Cluster& cluster_;
  Endpoint& endpoint_;
  const uint32_t variant_;
  const bool multiplexed_;
  bool draining_ = false;
  uint32_t connections_ = 0;  // connecting ones included, going ones not
  uint32_t connecting_ = 0;
  uint32_t opening_ = 0;  // of connections_: those that have had no room yet
  uint32_t waiting_ = 0;
  uint64_t grow_after_ms_ = 0;  // an extra connection failed: no more before this time
  Connections ready_;           // connected, with room
  Connections extra_;           // the same, opened when all others were full
  Connections rest_;            // connecting, full, or going
  IntrusiveList<PoolWaiter, PoolWaiter> waiters_;
};

/// How the pool mode setting turns out for a protocol.
PoolMode effective_pool_mode(const config::Cluster& settings, const Protocol* protocol);

}  // namespace dragoman
