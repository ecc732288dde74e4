#include "proxy/upstream/pool.h"

#include "proxy/upstream/cluster.h"
#include "proxy/upstream/connection.h"

namespace dragoman {

PoolMode effective_pool_mode(const Cluster& cluster) {
  switch (cluster.settings().pool.mode) {
    case config::PoolMode::kMultiplex:
      return PoolMode::kMultiplex;
    case config::PoolMode::kPingPong:
      return PoolMode::kPingPong;
    case config::PoolMode::kBound:
      return PoolMode::kBound;
    case config::PoolMode::kAuto:
      break;
  }
  const Protocol* protocol = cluster.protocol();
  if (protocol && protocol->only_bound) return PoolMode::kBound;
  return protocol && protocol->multiplexed ? PoolMode::kMultiplex : PoolMode::kPingPong;
}

Pool::Pool(Cluster& cluster, Endpoint& endpoint, uint32_t variant)
    : cluster_(cluster),
      endpoint_(endpoint),
      variant_(variant),
      multiplexed_(effective_pool_mode(cluster) == PoolMode::kMultiplex && !(variant & DRAGOMAN_VARIANT_EXCLUSIVE)) {}

Pool::~Pool() = default;

bool Pool::give(PoolWaiter& waiter, UpstreamConnection& connection) {
  bool reused = connection.served() > 0;
  Exchange* exchange = connection.open(waiter.answers());
  if (!exchange) {
    if (connection.connected() && connection.capacity() == 0) rest_.push_back(connection);
    return false;
  }
  if (connection.capacity() == 0) {
    if (!connection.left_) rest_.push_back(connection);
  } else if (multiplexed_) {
    ready_.push_back(connection);  // rotate: the streams spread over the connections
  }
  if (reused) cluster_.metrics().pool_reuses.inc();
  waiter.on_pool_ready(*exchange, connection, reused);
  return true;
}

bool Pool::give_and_grow(PoolWaiter& waiter, UpstreamConnection& connection) {
  // A shared pool grows to its configured number of connections only while the ones it has are in use.
  bool grow = multiplexed_ && !connection.idle() && !draining_ &&
              connections_ < static_cast<uint32_t>(cluster_.settings().pool.connections);
  if (!give(waiter, connection)) return false;
  if (grow && connections_ < static_cast<uint32_t>(cluster_.settings().pool.connections)) static_cast<void>(connect());
  return true;
}

Reason Pool::acquire(PoolWaiter& waiter, bool fresh) {
  while (UpstreamConnection* connection = fresh && !multiplexed_ ? nullptr : ready_.front()) {
    if (give_and_grow(waiter, *connection)) return Reason::kNone;
    if (ready_.front() == connection) rest_.push_back(*connection);
  }
  if (!cluster_.take(Limit::kPending, static_cast<uint32_t>(cluster_.settings().limits.pending_requests))) {
    cluster_.metrics().overflows.inc(ClusterLimit::kPendingRequests);
    return Reason::kPendingOverflow;
  }
  bool want = multiplexed_ ? connecting_ == 0 && connections_ < static_cast<uint32_t>(cluster_.settings().pool.connections)
                           : connecting_ <= waiting_;
  if (want) {
    Reason reason = connect();
    if (reason != Reason::kNone && (connections_ == 0 || !ready_.empty())) {
      cluster_.give(Limit::kPending);
      return connections_ == 0 ? reason : acquire(waiter);
    }
  }
  waiters_.push_back(waiter);
  ++waiting_;
  cluster_.metrics().requests_pending.add();
  return Reason::kNone;
}

void Pool::forget(PoolWaiter& waiter) {
  if (!waiter.linked()) return;
  take_out(waiter);
  if (draining_) drain_unneeded();
}

void Pool::take_out(PoolWaiter& waiter) {
  waiter.unlink();
  --waiting_;
  cluster_.metrics().requests_pending.sub();
  cluster_.give(Limit::kPending);
}

Reason Pool::connect() {
  if (!cluster_.take(Limit::kConnections, static_cast<uint32_t>(cluster_.settings().limits.connections))) {
    cluster_.metrics().overflows.inc(ClusterLimit::kConnections);
    return Reason::kConnectionOverflow;
  }
  ++connections_;
  ++connecting_;
  PoolMode mode = multiplexed_ ? PoolMode::kMultiplex : PoolMode::kPingPong;
  rest_.push_back(*UpstreamConnection::connect(cluster_, endpoint_, variant_, mode, *this));
  return Reason::kNone;
}

void Pool::on_upstream_connected(UpstreamConnection& connection) {
  --connecting_;
  on_upstream_capacity(connection);
}

void Pool::on_upstream_connect_failed(UpstreamConnection& connection, Reason reason) {
  connection.unlink();
  --connecting_;
  --connections_;
  // Each failed attempt answers for the waiters that no other attempt can serve any more.
  if (multiplexed_) {
    while (connecting_ == 0 && ready_.empty() && !waiters_.empty()) fail_front(reason);  // a retry may connect anew
    return;
  }
  while (waiting_ > connecting_ && connections_ == connecting_) {
    fail_front(reason);
  }
  if (waiting_ > connecting_) fail_front(reason);
}

void Pool::on_upstream_gone(UpstreamConnection& connection, Reason reason) {
  if (!connection.connected() && connection.state_ == UpstreamConnection::State::kClosed && !connection.codec_)
    --connecting_;
  connection.unlink();
  --connections_;
  replenish();
}

void Pool::on_upstream_capacity(UpstreamConnection& connection) {
  if (connection.capacity() == 0) return;
  ready_.push_front(connection);
  serve();
  if (draining_) drain_unneeded();
}

MessageSink* Pool::on_upstream_exchange(UpstreamConnection&, Exchange&) { return nullptr; }

void Pool::serve() {
  while (!waiters_.empty()) {
    UpstreamConnection* connection = ready_.front();
    if (!connection) return;
    PoolWaiter* waiter = waiters_.front();
    take_out(*waiter);
    if (!give_and_grow(*waiter, *connection)) {
      if (ready_.front() == connection) rest_.push_back(*connection);
      Reason reason = acquire(*waiter);
      if (reason != Reason::kNone) waiter->on_pool_failed(reason);
    }
  }
}

void Pool::fail_front(Reason reason) {
  PoolWaiter* waiter = waiters_.front();
  if (!waiter) return;
  take_out(*waiter);
  waiter->on_pool_failed(reason);
}

void Pool::replenish() {
  if (waiters_.empty()) return;
  // A connection went away while streams wait: open what they need.
  uint32_t want = multiplexed_ ? (connecting_ == 0 && ready_.empty() ? 1 : 0)
                               : (waiting_ > connecting_ ? waiting_ - connecting_ : 0);
  while (want-- > 0) {
    Reason reason = connect();
    if (reason != Reason::kNone) {
      if (connections_ == 0)
        while (!waiters_.empty()) fail_front(reason);
      return;
    }
  }
}

void Pool::renew() {
  IntrusiveList<UpstreamConnection, UpstreamConnection> there, connecting;
  there.splice(ready_);
  while (UpstreamConnection* c = rest_.front()) {
    if (c->connected())
      there.push_back(*c);
    else
      connecting.push_back(*c);
  }
  rest_.splice(connecting);
  while (UpstreamConnection* c = there.front()) {
    c->unlink();
    c->drain();
  }
}

void Pool::drain() {
  if (draining_) return;
  draining_ = true;
  drain_unneeded();
}

/// While draining: ends the connections that nobody waits for; those in use end when they are done.
void Pool::drain_unneeded() {
  while (UpstreamConnection* c = ready_.front()) c->drain();  // ready ones exist only when nobody waits
  if (!waiters_.empty()) return;
  IntrusiveList<UpstreamConnection, UpstreamConnection> todo;
  todo.splice(rest_);
  while (UpstreamConnection* c = todo.pop_front()) c->drain();
}

}  // namespace dragoman
