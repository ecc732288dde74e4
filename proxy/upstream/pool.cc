#include "proxy/upstream/pool.h"

#include <algorithm>
#include <new>
#include <utility>

#include "proxy/base/memory_reserve.h"
#include "proxy/upstream/cluster.h"
#include "proxy/upstream/connection.h"

namespace dragoman {
namespace {

constexpr uint64_t kGrowPauseMs = 1000;

}  // namespace

PoolMode effective_pool_mode(const config::Cluster& settings, const Protocol* protocol) {
  switch (settings.pool.mode) {
    case config::PoolMode::kMultiplex:
      return PoolMode::kMultiplex;
    case config::PoolMode::kPingPong:
      return PoolMode::kPingPong;
    case config::PoolMode::kBound:
      return PoolMode::kBound;
    case config::PoolMode::kAuto:
      break;
  }
  if (protocol && protocol->only_bound) return PoolMode::kBound;
  return protocol && protocol->multiplexed ? PoolMode::kMultiplex : PoolMode::kPingPong;
}

Pool::Pool(Cluster& cluster, Endpoint& endpoint, uint32_t variant)
    : cluster_(cluster),
      endpoint_(endpoint),
      variant_(variant),
      multiplexed_(cluster.pool_mode() == PoolMode::kMultiplex && !(variant & DRAGOMAN_VARIANT_EXCLUSIVE)) {}

Pool::~Pool() = default;

UpstreamConnection* Pool::with_room() { return ready_.empty() ? extra_.front() : ready_.front(); }

Pool::Connections& Pool::list_of(const UpstreamConnection& connection) {
  return connection.extra_ ? extra_ : ready_;
}

bool Pool::may_grow() const {
  const auto& settings = cluster_.settings().pool;
  return opening_ == 0 && connections_ < std::max(settings.connections, settings.connections_max) &&
         (connections_ < settings.connections || cluster_.worker().loop.now_ms() >= grow_after_ms_);
}

bool Pool::is_surplus(const UpstreamConnection& connection) const {
  return connection.extra_ && connections_ > cluster_.settings().pool.connections;
}

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
    list_of(connection).push_back(connection);  // rotate: the streams spread over the connections
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
  while (UpstreamConnection* connection = fresh && !multiplexed_ ? nullptr : with_room()) {
    if (give_and_grow(waiter, *connection)) return Reason::kNone;
    if (with_room() == connection) rest_.push_back(*connection);
  }
  if (!cluster_.take(Limit::kPending, static_cast<uint32_t>(cluster_.settings().limits.pending_requests))) {
    cluster_.metrics().overflows.inc(ClusterLimit::kPendingRequests);
    return Reason::kPendingOverflow;
  }
  bool want = multiplexed_ ? may_grow() : connecting_ <= waiting_;
  if (want) {
    Reason reason = connect();
    if (reason != Reason::kNone && (connections_ == 0 || with_room())) {
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
  // After failures one connect at a time shows whether more are of use: see Endpoint::connect_succeeded.
  if (endpoint_.backoff.failing() && connecting_ != 0) return Reason::kNone;
  if (!cluster_.take_connection(*this, connections_ == 0)) return Reason::kConnectionOverflow;
  PoolMode mode = multiplexed_ ? PoolMode::kMultiplex : PoolMode::kPingPong;
  UpstreamConnection* connection = nullptr;
  try {
    connection = UpstreamConnection::connect(cluster_, endpoint_, variant_, mode, *this);
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    cluster_.give_connection();
    return Reason::kOwnResources;
  }
  ++connections_;
  ++connecting_;
  ++opening_;
  connection->extra_ = multiplexed_ && connections_ > cluster_.settings().pool.connections;
  rest_.push_back(*connection);
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
  --opening_;
  fail_waiters(reason);
}

/// Each failed attempt answers for the waiters that no other attempt can serve any more. Those that come back to try again are not
/// among them.
void Pool::fail_waiters(Reason reason) {
  uint32_t left = waiting_;
  if (multiplexed_) {
    if (connections_ > 0) grow_after_ms_ = cluster_.worker().loop.now_ms() + kGrowPauseMs;
    for (; left > 0 && connections_ == 0 && !waiters_.empty(); --left) fail_front(reason);
    return;
  }
  for (; left > 0 && waiting_ > connecting_ && connections_ == connecting_; --left) fail_front(reason);
  if (left > 0 && waiting_ > connecting_) fail_front(reason);
}

void Pool::on_upstream_gone(UpstreamConnection& connection, Reason reason) {
  if (!connection.connected() && connection.state_ == UpstreamConnection::State::kClosed && !connection.codec_)
    --connecting_;
  if (!connection.had_room_) --opening_;
  connection.unlink();
  --connections_;
  // One that never had room was no better than none: to open the next at once would be a storm of them.
  if (!connection.had_room_ && reason != Reason::kDraining)
    fail_waiters(is_tls_reason(reason) || reason == Reason::kOwnResources ? reason : Reason::kConnectFailure);
  replenish();
}

void Pool::on_upstream_capacity(UpstreamConnection& connection) {
  if (connection.capacity() == 0) return;
  if (!std::exchange(connection.had_room_, true)) --opening_;
  list_of(connection).push_front(connection);
  if (!waiters_.empty()) serve();
  if (draining_) return drain_unneeded();
  // Others have waited for a place at the limit: what nobody uses here makes room.
  if (cluster_.starving() && waiters_.empty() && evict_idle()) cluster_.metrics().connections_evicted.inc();
}

bool Pool::evict_idle() {
  for (Connections* list : {&extra_, &ready_}) {
    for (UpstreamConnection* c = list->front(); c; c = list->next(*c)) {
      if (!c->idle()) continue;
      if (!multiplexed_ && list->back() && list->back()->idle()) c = list->back();  // the oldest
      c->drain();
      return true;
    }
  }
  return false;
}

void Pool::look(uint64_t since_ms, uint32_t max, bool& heard, bool& retire) {
  for (Connections* list : {&ready_, &extra_, &rest_}) {
    for (UpstreamConnection* c = list->front(); c; c = list->next(*c)) {
      if (!c->connected()) continue;
      if (c->silent_since(since_ms))
        retire = (multiplexed_ && !c->idle() && ++c->timeouts_ >= max) || retire;
      else
        heard = true;
    }
  }
}

bool Pool::heard_since(uint64_t ms) {
  for (Connections* list : {&ready_, &extra_, &rest_})
    for (UpstreamConnection* c = list->front(); c; c = list->next(*c))
      if (c->connected() && !c->silent_since(ms)) return true;
  return false;
}

void Pool::retire_silent(uint64_t since_ms, uint32_t timeouts) {
  Connections silent;
  for (Connections* list : {&ready_, &extra_, &rest_}) {
    for (UpstreamConnection* c = list->front(); c;) {
      UpstreamConnection* next = list->next(*c);
      if (c->connected() && c->silent_since(since_ms) &&
          ((multiplexed_ && c->timeouts_ != 0 && c->timeouts_ >= timeouts) || (timeouts == 0 && c->idle())))
        silent.push_back(*c);
      c = next;
    }
  }
  while (UpstreamConnection* c = silent.front()) {
    c->unlink();
    cluster_.metrics().connections_silent.inc();
    c->drain();
  }
}

MessageSink* Pool::on_upstream_exchange(UpstreamConnection&, Exchange&) { return nullptr; }

void Pool::serve() {
  while (!waiters_.empty()) {
    UpstreamConnection* connection = with_room();
    if (!connection) {
      if (multiplexed_ && !draining_ && may_grow()) static_cast<void>(connect());
      return;
    }
    PoolWaiter* waiter = waiters_.front();
    take_out(*waiter);
    if (!give_and_grow(*waiter, *connection)) {
      if (with_room() == connection) rest_.push_back(*connection);
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
  if (with_room()) return serve();
  // A connection went away while streams wait: open what they need.
  uint32_t want = multiplexed_ ? (opening_ == 0 && !with_room() ? 1 : 0)
                               : (waiting_ > connecting_ ? waiting_ - connecting_ : 0);
  if (endpoint_.backoff.failing()) want = std::min<uint32_t>(want, 1);
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
  there.splice(extra_);
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
  while (UpstreamConnection* c = with_room()) c->drain();  // ready ones exist only when nobody waits
  if (!waiters_.empty()) return;
  IntrusiveList<UpstreamConnection, UpstreamConnection> todo;
  todo.splice(rest_);
  while (UpstreamConnection* c = todo.pop_front()) c->drain();
}

}  // namespace dragoman
