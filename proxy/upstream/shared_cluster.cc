#include "proxy/upstream/shared_cluster.h"

#include <algorithm>

namespace dragoman {

std::shared_ptr<const EndpointSet> SharedCluster::set_endpoints(
    const std::vector<std::pair<Address, uint32_t>>& wanted) {
  std::lock_guard<std::mutex> lock(mutex_);
  auto next = std::make_shared<EndpointSet>();
  next->generation = endpoints_->generation + 1;
  bool changed = wanted.size() != endpoints_->endpoints.size();
  for (const auto& [address, weight] : wanted) {
    const auto& old = endpoints_->endpoints;
    auto it = std::find_if(old.begin(), old.end(),
                           [&](const auto& e) { return e->address() == address && e->weight() == weight; });
    if (it != old.end()) {
      next->endpoints.push_back(*it);
    } else {
      auto fresh = std::make_shared<SharedEndpoint>(address, address.to_string(), weight);
      for (const auto* list : {&old, earlier_ ? &earlier_->endpoints : nullptr}) {
        if (!list) continue;
        auto same = std::find_if(list->begin(), list->end(), [&](const auto& e) { return e->address() == address; });
        if (same == list->end()) continue;
        fresh->inherit(**same, list == &old ? settings.health_check.has_value() : earlier_checked_);
        break;
      }
      next->endpoints.push_back(std::move(fresh));
      changed = true;
    }
  }
  if (!changed) return nullptr;
  endpoints_ = next;
  return next;
}

void SharedCluster::inherit(const SharedCluster& earlier) {
  earlier_ = earlier.endpoints();
  earlier_checked_ = settings.health_check && earlier.settings.health_check;
}

bool SharedCluster::maybe_eject(SharedEndpoint& endpoint, uint64_t now_ms) {
  if (!settings.outlier) return false;
  const auto& rule = *settings.outlier;
  if (endpoint.note_failure() < rule.consecutive_failures || endpoint.ejected(now_ms)) return false;
  auto set = endpoints();  // rare path: a lock is fine
  size_t ejected = 0;
  for (const auto& e : set->endpoints) ejected += e->ejected(now_ms) ? 1 : 0;
  if ((ejected + 1) * 100 > set->endpoints.size() * static_cast<size_t>(rule.max_ejection_percent)) return false;
  uint64_t factor = std::min<uint32_t>(endpoint.note_ejection(), 10);
  endpoint.eject_until(now_ms + static_cast<uint64_t>(rule.ejection_time_ms) * factor);
  endpoint.note_success();
  return true;
}

}  // namespace dragoman
