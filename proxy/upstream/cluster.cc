#include "proxy/upstream/cluster.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

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

void ConnectBackoff::failed(uint64_t now_ms, uint64_t started_ms, const config::Cluster& settings,
                            Random& random) {
  const auto first = static_cast<uint64_t>(settings.connect_backoff_ms);
  if (first == 0 || ++failures_ <= kFree) return;
  // Connects that were under way together are one failure.
  if (delay_ms_ != 0 && started_ms <= grown_ms_) return;
  const auto longest = std::max(first, static_cast<uint64_t>(settings.connect_backoff_max_ms));
  delay_ms_ = delay_ms_ == 0 ? first : std::min(2 * delay_ms_, longest);
  grown_ms_ = now_ms;
  // Half of it at random, so that workers and proxies do not come together.
  after_ms_ = now_ms + delay_ms_ / 2 + 1 +
              random.below(static_cast<uint32_t>(std::min<uint64_t>(delay_ms_ / 2 + 1, 1u << 30)));
}

void Endpoint::connect_succeeded() {
  const bool waited = backoff.failing();
  backoff.succeeded();
  if (!waited) return;
  for (auto& p : pools_) p->on_unit();
}

void Endpoint::note_timeout(uint64_t since_ms) {
  const uint32_t max = cluster_->settings().pool.timeouts_max;
  if (max == 0) return;
  bool heard = false, retire = false;
  for (auto& p : pools_) p->look(since_ms, max, heard, retire);
  // Answers to others between this request and the one before that timed out end the row as well.
  const auto between = [&](const auto& p) { return p->heard_since(timed_out_ms_); };
  if (std::any_of(pools_.begin(), pools_.end(), between)) silent_timeouts_ = 0;
  timed_out_ms_ =
      cluster_->worker().loop.now_ms() - 1;  // what comes within the same millisecond comes after it
  silent_timeouts_ = heard ? 0 : silent_timeouts_ + 1;
  if (silent_timeouts_ < max && !retire) return;
  silent_timeouts_ = 0;
  for (auto& p : pools_) p->retire_silent(since_ms, heard ? max : 0);
}

bool Endpoint::evict_idle() {
  return std::any_of(pools_.begin(), pools_.end(), [](auto& p) { return p->evict_idle(); });
}

const SharedTransportOptions& Cluster::transport_options() {
  const config::Buffer& buffer = settings().buffer;
  TransportOptions options;
  options.high_bytes = static_cast<uint32_t>(buffer.high_bytes);
  options.low_bytes = static_cast<uint32_t>(buffer.low_bytes);
  options.read_budget_bytes = static_cast<uint32_t>(buffer.read_budget_bytes);
  options.broken = Reason::kUpstreamReset;
  return options_.follow(options);
}

Cluster::Cluster(WorkerContext& worker, std::shared_ptr<SharedCluster> shared,
                 std::shared_ptr<const void> metrics_owner, ClusterMetrics metrics)
    : worker_(worker),
      shared_(std::move(shared)),
      protocol_(shared_->protocol()),
      pool_mode_(effective_pool_mode(shared_->settings, protocol_.get())),
      metrics_owner_(std::move(metrics_owner)),
      metrics_(metrics),
      self_(std::make_shared<Cluster*>(this)) {
  shared_->set_waker(worker_.index, [&loop = worker_.loop, self = self_](bool evict) {
    loop.post([self, evict] {
      if (*self) (*self)->on_wake(evict);
    });
  });
  update(*shared_->endpoints());
}

Cluster::~Cluster() {
  *self_ = nullptr;
  shared_->set_waker(worker_.index, nullptr);
  if (!worker_.dispose) return;
  worker_.dispose(metrics_owner_);
  worker_.dispose(shared_);
}

// --- limits.connections -----------------------------------------------------------------------------------------------

bool Cluster::take_connection(Pool& pool, bool must) {
  const uint32_t max = settings().limits.connections;
  if (take(Limit::kConnections, max)) return true;
  metrics_.overflows.inc(ClusterLimit::kConnections);
  if (evict_idle() && take(Limit::kConnections, max)) return true;
  if (must) {
    shared_->limits.force(Limit::kConnections, worker_.index);
    return true;
  }
  if (!pool.starved()) starved_.push_back(pool);
  shared_->starve(worker_.index);
  return false;
}

void Cluster::give_connection() {
  give(Limit::kConnections);
  if (evicting_ || !shared_->starving()) return;
  others_turn_ = !others_turn_;
  if (others_turn_ && shared_->wake_other(worker_.index)) return;
  serve_starved();
}

void Cluster::serve_starved() {
  // Until there is no more; a pool that needs more comes back to the list, one that needs none any more takes none.
  IntrusiveList<Pool, Pool> todo;
  todo.splice(starved_);
  const uint32_t max = settings().limits.connections;
  const auto room = [&] { return shared_->limits.taken(Limit::kConnections) < max; };
  while (!todo.empty() && room()) todo.pop_front()->on_unit();
  todo.splice(starved_);
  starved_.splice(todo);
  if (!starved_.empty()) return;
  shared_->sated(worker_.index);
  if (room()) shared_->wake_other(worker_.index);
}

/// Forgets pools whose waiters got what they wanted in another way.
bool Cluster::still_starving() {
  for (Pool* pool = starved_.front(); pool;) {
    Pool* next = starved_.next(*pool);
    if (pool->waiting() == 0) pool->give_up_unit();
    pool = next;
  }
  if (starved_.empty()) shared_->sated(worker_.index);
  return shared_->starving();
}

void Cluster::on_wake(bool evict) {
  if (!evict) return serve_starved();
  if (evict_idle()) shared_->wake_other(worker_.index);
}

/// Endpoints take turns, so that no pool loses all it has.
bool Cluster::evict_idle() {
  const Ref<Cluster> keep(this);
  evicting_ = true;
  bool done = false;
  for (size_t i = 0; i < endpoints_.size() && !done; ++i)
    done = endpoints_[evict_at_++ % endpoints_.size()]->evict_idle();
  evicting_ = false;
  if (done) metrics_.connections_evicted.inc();
  return done;
}

void Cluster::set_protocol(std::shared_ptr<const Protocol> protocol) {
  if (protocol == protocol_) return;
  protocol_ = std::move(protocol);
  pool_mode_ = effective_pool_mode(settings(), protocol_.get());
  for (const Ref<Endpoint>& e : endpoints_) e->renew();
}

std::vector<Ref<Endpoint>> Cluster::update(const EndpointSet& set, std::vector<Ref<Endpoint>> fresh) {
  std::vector<Ref<Endpoint>> before;
  endpoints_.swap(before);
  endpoints_.reserve(set.endpoints.size());
  // The set says where each was in the one before it; if that is not the one here, they are found by their shared part.
  const bool follows = set.generation == generation_ + 1 && set.from.size() == set.endpoints.size();
  std::unordered_map<const SharedEndpoint*, uint32_t> known;
  if (!follows) {
    for (uint32_t i = 0; i < before.size(); ++i) known.emplace(before[i]->shared_.get(), i);
    fresh.clear();
  }
  size_t next_fresh = 0;
  for (size_t i = 0; i < set.endpoints.size(); ++i) {
    uint32_t from = EndpointSet::kNew;
    if (follows)
      from = set.from[i];
    else if (auto it = known.find(set.endpoints[i].get()); it != known.end())
      from = it->second;
    if (from != EndpointSet::kNew && before[from])
      endpoints_.push_back(std::move(before[from]));
    else if (next_fresh < fresh.size())
      endpoints_.push_back(std::move(fresh[next_fresh++]));
    else
      endpoints_.push_back(Ref<Endpoint>(new Endpoint(*this, set.endpoints[i])));
  }
  std::erase_if(before, [](const Ref<Endpoint>& e) { return !e; });
  for (const Ref<Endpoint>& gone : before) gone->drain();
  equal_weights_ = set.equal_weights;
  for (size_t i = 0; i < endpoints_.size(); ++i) endpoints_[i]->weight = set.weights[i];
  turns_.clear();
  sums_.clear();
  // Workers start at different places so that a burst of new workers doesn't hit one endpoint.
  next_ = endpoints_.empty() ? 0 : static_cast<size_t>(worker_.index) % endpoints_.size();
  health_checked_ms_ = 0;
  generation_ = set.generation;
  return before;
}

void Cluster::drain() {
  for (const Ref<Endpoint>& e : endpoints_) e->drain();
}

void Cluster::refresh_health(uint64_t now) {
  // Counting is O(endpoints): once per 50 ms is enough, the individual flags are always current.
  if (health_checked_ms_ != 0 && now - health_checked_ms_ < 50) return;
  health_checked_ms_ = now;
  size_t good = 0, leaving = 0, known = 0;
  for (const Ref<Endpoint>& e : endpoints_) {
    known += e->shared_->unchecked() ? 0 : 1;
    if (!e->shared_->usable(now)) continue;
    ++good;
    leaving += e->shared_->leaving(now) ? 1 : 0;
  }
  // Those that no check has seen yet are neither good nor bad; while nothing is known of any, all are tried.
  const auto threshold = static_cast<size_t>(settings().panic_threshold_percent);
  panic_ = threshold != 0 && (known == 0 || good * 100 < threshold * known);
  shun_leaving_ = !panic_ && leaving > 0 && good > leaving;
}

Endpoint* Cluster::pick(const Endpoint* avoid) {
  if (endpoints_.empty()) return nullptr;
  uint64_t now = worker_.loop.now_ms();
  refresh_health(now);
  Endpoint* e = choose(avoid, now);
  if (e) return e;
  shun_failing_ = false;
  e = choose(avoid, now);
  shun_failing_ = true;
  return e;
}

Endpoint* Cluster::choose(const Endpoint* avoid, uint64_t now) {
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
  if (!e && avoid) return choose(nullptr, now);
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
  // Each has its turns at equal distances, so many of them as its weight says in each unit of time; the next turn of all is taken.
  if (turns_.empty()) {
    constexpr double kSpread = 0.6180339887498949;  // multiples of it modulo 1 lie evenly
    for (uint32_t i = 0; i < n; ++i) {
      const double first = std::fmod((i + 1.0 + worker_.index) * kSpread, 1.0);
      turns_.push_back({first / endpoints_[i]->weight, i});
    }
    std::make_heap(turns_.begin(), turns_.end());
  }
  constexpr size_t kTurnsPassed = 8;  // after so many it is time to look whether any can be taken
  const auto can_take = [&](const Endpoint& e) { return &e != avoid && usable(e, now); };
  const auto begin = turns_.begin();
  Endpoint* taken = nullptr;
  size_t left = n;  // those passed over, and the one taken, lie behind
  double at = 0;
  while (left && !taken) {
    if (n - left == kTurnsPassed &&
        std::ranges::none_of(endpoints_, [&](const Ref<Endpoint>& e) { return can_take(*e); }))
      break;
    std::pop_heap(begin, begin + static_cast<ptrdiff_t>(left));
    const Turn& turn = turns_[--left];
    at = turn.at;
    if (Endpoint* e = endpoints_[turn.endpoint].get(); can_take(*e)) taken = e;
  }
  for (; left < n; ++left) {
    Turn& turn = turns_[left];
    if (taken)
      turn.at = at + 1.0 / endpoints_[turn.endpoint]->weight;  // whoever was passed over has lost its turns
    std::push_heap(begin, begin + static_cast<ptrdiff_t>(left) + 1);
  }
  return taken;
}

Endpoint* Cluster::pick_random(const Endpoint* avoid, uint64_t now) {
  const auto n = static_cast<uint32_t>(endpoints_.size());
  if (!equal_weights_ && sums_.empty()) {
    uint64_t sum = 0;
    for (const Ref<Endpoint>& e : endpoints_) sums_.push_back(sum += e->weight);
  }
  // A draw of one that can't be taken doesn't count. Where most are so, all are looked at.
  for (int tries = 0; tries < 8; ++tries) {
    const size_t i =
        equal_weights_
            ? worker_.random.below(n)
            : static_cast<size_t>(std::ranges::upper_bound(sums_, worker_.random.next() % sums_.back()) -
                                  sums_.begin());
    Endpoint* e = endpoints_[i].get();
    if (e != avoid && usable(*e, now)) return e;
  }
  uint64_t total = 0;
  for (const Ref<Endpoint>& e : endpoints_)
    if (e.get() != avoid && usable(*e, now)) total += e->weight;
  if (total == 0) return nullptr;
  uint64_t at = worker_.random.next() % total;
  for (const Ref<Endpoint>& e : endpoints_) {
    if (e.get() == avoid || !usable(*e, now)) continue;
    if (at < e->weight) return e.get();
    at -= e->weight;
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
    if (!best || static_cast<uint64_t>(e->active_requests) * best->weight <
                     static_cast<uint64_t>(best->active_requests) * e->weight)
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
  if (!failed) return shared_->note_good(*endpoint.shared_, worker_.loop.now_ms());
  if (shared_->maybe_eject(*endpoint.shared_, worker_.loop.now_ms())) {
    metrics_.ejections.inc();
    health_checked_ms_ = 0;
  }
}

}  // namespace dragoman
