#include "proxy/upstream/cluster.h"

#include <algorithm>

namespace dragoman {

Endpoint::~Endpoint() = default;

Pool& Endpoint::pool(uint32_t variant) {
  for (auto& p : pools_)
    if (p->variant() == variant) return *p;
  pools_.push_back(std::make_unique<Pool>(*cluster_, *this, variant));
  if (draining_) pools_.back()->drain();
  return *pools_.back();
}

void Endpoint::drain() {
  if (draining_) return;
  draining_ = true;
  for (auto& p : pools_) p->drain();
}

void Endpoint::renew() {
  for (auto& p : pools_) p->renew();
}

Cluster::Cluster(WorkerContext& worker, std::shared_ptr<SharedCluster> shared,
                 std::shared_ptr<const void> metrics_owner, ClusterMetrics metrics)
    : worker_(worker),
      shared_(std::move(shared)),
      protocol_(shared_->protocol()),
      metrics_owner_(std::move(metrics_owner)),
      metrics_(metrics) {
  update(*shared_->endpoints());
}

Cluster::~Cluster() = default;

void Cluster::set_protocol(std::shared_ptr<const Protocol> protocol) {
  if (protocol == protocol_) return;
  protocol_ = std::move(protocol);
  for (const Ref<Endpoint>& e : endpoints_) e->renew();
}

void Cluster::update(const EndpointSet& set) {
  std::vector<Ref<Endpoint>> next;
  next.reserve(set.endpoints.size());
  for (const auto& shared : set.endpoints) {
    auto it = std::find_if(endpoints_.begin(), endpoints_.end(),
                           [&](const Ref<Endpoint>& e) { return e->shared_ == shared; });
    next.push_back(it != endpoints_.end() ? *it : Ref<Endpoint>(new Endpoint(*this, shared)));
  }
  endpoints_.swap(next);
  for (const Ref<Endpoint>& old : next) {
    if (std::find_if(endpoints_.begin(), endpoints_.end(), [&](const Ref<Endpoint>& e) {
          return e.get() == old.get();
        }) == endpoints_.end()) {
      old->drain();
    }
  }
  total_weight_ = 0;
  equal_weights_ = true;
  for (const Ref<Endpoint>& e : endpoints_) {
    total_weight_ += e->shared_->weight();
    equal_weights_ = equal_weights_ && e->shared_->weight() == endpoints_[0]->shared_->weight();
    e->current_weight = 0;
  }
  // Workers start at different places so that a burst of new workers doesn't hit one endpoint.
  next_ = endpoints_.empty() ? 0 : static_cast<size_t>(worker_.index) % endpoints_.size();
  health_checked_ms_ = 0;
}

void Cluster::drain() {
  for (const Ref<Endpoint>& e : endpoints_) e->drain();
}

void Cluster::refresh_health(uint64_t now) {
  // Counting is O(endpoints): once per 50 ms is enough, the individual flags are always current.
  if (health_checked_ms_ != 0 && now - health_checked_ms_ < 50) return;
  health_checked_ms_ = now;
  size_t good = 0, leaving = 0;
  for (const Ref<Endpoint>& e : endpoints_) {
    if (!e->shared_->usable(now)) continue;
    ++good;
    leaving += e->shared_->leaving(now) ? 1 : 0;
  }
  panic_ = good * 100 < static_cast<size_t>(settings().panic_threshold_percent) * endpoints_.size();
  shun_leaving_ = !panic_ && leaving > 0 && good > leaving;
}

Endpoint* Cluster::pick(const Endpoint* avoid) {
  if (endpoints_.empty()) return nullptr;
  uint64_t now = worker_.loop.now_ms();
  refresh_health(now);
  if (endpoints_.size() == 1) return usable(*endpoints_[0], now) ? endpoints_[0].get() : nullptr;
  Endpoint* e = nullptr;
  switch (settings().lb) {
    case config::LbPolicy::kRandom:
      e = pick_random(avoid, now);
      break;
    case config::LbPolicy::kLeastRequest:
      e = pick_least_request(avoid, now);
      break;
    case config::LbPolicy::kRoundRobin:
      e = pick_round_robin(avoid, now);
      break;
  }
  if (!e && avoid) return pick(nullptr);
  return e;
}

Endpoint* Cluster::pick_round_robin(const Endpoint* avoid, uint64_t now) {
  size_t n = endpoints_.size();
  if (equal_weights_) {
    for (size_t i = 0; i < n; ++i) {
      Endpoint* e = endpoints_[next_].get();
      next_ = next_ + 1 == n ? 0 : next_ + 1;
      if (e != avoid && usable(*e, now)) return e;
    }
    return nullptr;
  }
  Endpoint* best = nullptr;
  int64_t total = 0;
  for (const Ref<Endpoint>& ref : endpoints_) {
    Endpoint* e = ref.get();
    if (e == avoid || !usable(*e, now)) continue;
    e->current_weight += e->shared_->weight();
    total += e->shared_->weight();
    if (!best || e->current_weight > best->current_weight) best = e;
  }
  if (best) best->current_weight -= total;
  return best;
}

Endpoint* Cluster::pick_random(const Endpoint* avoid, uint64_t now) {
  uint64_t total = 0;
  for (const Ref<Endpoint>& e : endpoints_)
    if (e.get() != avoid && usable(*e, now)) total += e->shared_->weight();
  if (total == 0) return nullptr;
  uint64_t at = worker_.random.next() % total;
  for (const Ref<Endpoint>& e : endpoints_) {
    if (e.get() == avoid || !usable(*e, now)) continue;
    if (at < e->shared_->weight()) return e.get();
    at -= e->shared_->weight();
  }
  return nullptr;
}

Endpoint* Cluster::pick_least_request(const Endpoint* avoid, uint64_t now) {
  // Power of two choices; load is compared as active / weight without dividing.
  Endpoint* best = nullptr;
  auto n = static_cast<uint32_t>(endpoints_.size());
  int found = 0;
  for (int tries = 0; tries < 8 && found < 2; ++tries) {
    Endpoint* e = endpoints_[worker_.random.below(n)].get();
    if (e == avoid || e == best || !usable(*e, now)) continue;
    ++found;
    if (!best || static_cast<uint64_t>(e->active_requests) * best->shared_->weight() <
                     static_cast<uint64_t>(best->active_requests) * e->shared_->weight())
      best = e;
  }
  return best ? best : pick_round_robin(avoid, now);
}

void Cluster::note_leaving(Endpoint& endpoint) {
  uint64_t now = worker_.loop.now_ms();
  endpoint.shared_->leave_until(now + static_cast<uint64_t>(settings().pool.goaway_pause_ms));
  health_checked_ms_ = 0;
}

void Cluster::report(Endpoint& endpoint, bool failed) {
  if (!failed) {
    endpoint.shared_->note_success();
    return;
  }
  if (shared_->maybe_eject(*endpoint.shared_, worker_.loop.now_ms())) {
    metrics_.ejections.inc();
    health_checked_ms_ = 0;
  }
}

}  // namespace dragoman
