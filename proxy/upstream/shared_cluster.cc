#include "proxy/upstream/shared_cluster.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace dragoman {

namespace {

/// Places in a list of endpoints, by name.
using ByName = std::unordered_multimap<std::string_view, uint32_t>;

ByName by_name(const std::vector<std::shared_ptr<SharedEndpoint>>& endpoints) {
  ByName map;
  map.reserve(endpoints.size());
  for (uint32_t i = 0; i < endpoints.size(); ++i) map.emplace(endpoints[i]->name(), i);
  return map;
}

}  // namespace

std::shared_ptr<const EndpointSet> SharedCluster::set_endpoints(
    const std::vector<std::pair<Address, uint32_t>>& wanted) {
  std::lock_guard<std::mutex> lock(mutex_);
  const bool checked = settings.health_check.has_value();
  const auto& before = endpoints_->endpoints;
  auto next = std::make_shared<EndpointSet>();
  next->generation = endpoints_->generation + 1;
  next->endpoints.reserve(wanted.size());
  bool changed = wanted.size() != before.size();
  const ByName old = by_name(before);
  const ByName earlier = earlier_ ? by_name(earlier_->endpoints) : ByName();
  const ByName past = by_name(past_);
  std::vector<bool> taken(before.size());
  for (const auto& [address, weight] : wanted) {
    const std::string name = address.to_string();
    // One that is listed twice has two objects; each goes to the line with its weight, if there is one.
    uint32_t from = EndpointSet::kNew;
    for (auto [row, end] = old.equal_range(name); row != end; ++row) {
      if (taken[row->second]) continue;
      if (from == EndpointSet::kNew || before[row->second]->weight() == weight) from = row->second;
    }
    next->weights.push_back(weight);
    next->equal_weights = next->equal_weights && weight == next->weights.front();
    next->from.push_back(from);
    if (from != EndpointSet::kNew) {
      taken[from] = true;
      changed = changed || before[from]->weight() != weight;
      before[from]->set_weight(weight);
      next->endpoints.push_back(before[from]);
      continue;
    }
    auto fresh = std::make_shared<SharedEndpoint>(address, name, weight, checked);
    if (auto it = earlier.find(name); it != earlier.end())
      fresh->inherit(*earlier_->endpoints[it->second], earlier_checked_, false);
    else if (auto gone = past.find(name); gone != past.end())
      fresh->inherit(*past_[gone->second], checked, true);
    next->endpoints.push_back(std::move(fresh));
    changed = true;
  }
  if (!changed) return nullptr;
  const ByName now = by_name(next->endpoints);
  const auto leave = [&](const std::vector<std::shared_ptr<SharedEndpoint>>& all) {
    for (const auto& e : all)
      if (!now.contains(e->name())) past_.push_back(e);
  };
  leave(before);
  if (earlier_) leave(earlier_->endpoints);
  std::unordered_set<std::string_view> seen;  // of one name the newest stays
  std::vector<std::shared_ptr<SharedEndpoint>> kept;
  for (auto it = past_.rbegin(); it != past_.rend() && kept.size() < kPastMax; ++it)
    if (!now.contains((*it)->name()) && seen.insert((*it)->name()).second) kept.push_back(*it);
  past_.assign(kept.rbegin(), kept.rend());
  endpoints_ = next;
  return next;
}

void SharedCluster::inherit(const SharedCluster& earlier) {
  earlier_ = earlier.endpoints();
  earlier_checked_ = settings.health_check && earlier.settings.health_check;
  std::lock_guard<std::mutex> lock(earlier.mutex_);
  past_ = earlier.past_;
}

bool SharedCluster::leads_back(const Address& address) const {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::any_of(entrances_.begin(), entrances_.end(),
                     [&](const Address& entrance) { return entrance.takes(address); });
}

bool SharedCluster::leads_back(int fd) const {
  // Both ends of a connection to oneself have addresses of this host, and the other one is where we listen.
  const Address peer = peer_address(fd);
  const std::string host = peer.host();
  if (!peer.is_unix() && host != bound_address(fd).host()) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  return std::any_of(entrances_.begin(), entrances_.end(), [&](const Address& entrance) {
    if (entrance.takes(peer)) return true;
    if (entrance.is_unix() || peer.is_unix() || entrance.port() != peer.port()) return false;
    const std::string at = entrance.host();
    const bool v6 = peer.storage.sa.sa_family == AF_INET6;
    return at == host || (at == "0.0.0.0" && !v6) || (at == "::" && (v6 || !entrance.ipv6_only));
  });
}

void SharedCluster::set_waker(int worker, std::function<void(bool)> wake) {
  std::lock_guard<std::mutex> lock(wakers_mutex_);
  Waker& waker = wakers_.at(static_cast<size_t>(worker));
  if (!wake && std::exchange(waker.starving, false)) starving_.fetch_sub(1, std::memory_order_relaxed);
  waker.wake = std::move(wake);
}

void SharedCluster::starve(int worker) {
  std::lock_guard<std::mutex> lock(wakers_mutex_);
  if (std::exchange(wakers_.at(static_cast<size_t>(worker)).starving, true)) return;
  starving_.fetch_add(1, std::memory_order_relaxed);
  for (size_t i = 0; i < wakers_.size(); ++i)
    if (i != static_cast<size_t>(worker) && wakers_[i].wake) wakers_[i].wake(true);
}

void SharedCluster::sated(int worker) {
  std::lock_guard<std::mutex> lock(wakers_mutex_);
  if (std::exchange(wakers_.at(static_cast<size_t>(worker)).starving, false))
    starving_.fetch_sub(1, std::memory_order_relaxed);
}

bool SharedCluster::wake_other(int worker) {
  if (!starving()) return false;
  std::lock_guard<std::mutex> lock(wakers_mutex_);
  for (size_t i = 0; i < wakers_.size(); ++i) {
    const size_t at = next_waker_++ % wakers_.size();
    if (at == static_cast<size_t>(worker) || !wakers_[at].starving || !wakers_[at].wake) continue;
    wakers_[at].wake(false);
    return true;
  }
  return false;
}

bool SharedCluster::maybe_eject(SharedEndpoint& endpoint, uint64_t now_ms) {
  if (!settings.outlier) return false;
  const auto& rule = *settings.outlier;
  // What fails while it is out began before, or came because there was no other: it says nothing new.
  if (endpoint.ejected(now_ms)) return false;
  if (endpoint.note_failure() < rule.consecutive_failures) return false;
  auto set = endpoints();  // rare path: a lock is fine
  size_t ejected = 0;
  for (const auto& e : set->endpoints) ejected += e->ejected(now_ms) ? 1 : 0;
  if ((ejected + 1) * 100 > set->endpoints.size() * static_cast<size_t>(rule.max_ejection_percent)) return false;
  uint64_t factor = std::min<uint32_t>(endpoint.note_ejection(), 10);
  const auto period = static_cast<uint64_t>(rule.ejection_time_ms);
  endpoint.decay_from(now_ms + period * (factor + 1));
  endpoint.eject_until(now_ms + period * factor);
  endpoint.note_success();
  return true;
}

}  // namespace dragoman
