// What all workers know of one backend address. Health is a handful of relaxed atomics so
// that a health checker on the control thread and passive checks on the workers need no messages.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "proxy/net/transport.h"

namespace dragoman {

class SharedEndpoint {
 public:
  /// `checked`: its cluster has active checks, and the first of them decides whether it is used.
  SharedEndpoint(Address address, std::string name, uint32_t weight, bool checked = false)
      : address_(address),
        name_(std::move(name)),
        weight_(weight),
        verdict_(checked ? Verdict::kNone : Verdict::kGood) {}

  const Address& address() const { return address_; }
  /// As shown in logs and metrics: the numeric "ip:port".
  const std::string& name() const { return name_; }
  /// As configured last. Workers balance by the weights of the set that they have: EndpointSet::weights.
  uint32_t weight() const { return weight_.load(std::memory_order_relaxed); }
  void set_weight(uint32_t weight) { weight_.store(weight, std::memory_order_relaxed); }

  /// Starts with what is known of the same address under earlier settings, or before it was gone for a while. `checked`: active
  /// checks go on, so their last verdict counts until the next; a good one is too old when it was gone.
  void inherit(const SharedEndpoint& earlier, bool checked, bool gone) {
    const Verdict verdict = earlier.verdict_.load(std::memory_order_relaxed);
    if (checked && (!gone || verdict == Verdict::kBad)) verdict_.store(verdict, std::memory_order_relaxed);
    eject_until(earlier.ejected_until_ms_.load(std::memory_order_relaxed));
    leave_until(earlier.leaving_until_ms_.load(std::memory_order_relaxed));
    ejections_.store(earlier.ejections(), std::memory_order_relaxed);
    decay_at_ms_.store(earlier.decay_at_ms_.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }

  /// By active checks, where there are any.
  bool active_healthy() const { return verdict_.load(std::memory_order_relaxed) == Verdict::kGood; }
  void set_active_healthy(bool healthy) {
    verdict_.store(healthy ? Verdict::kGood : Verdict::kBad, std::memory_order_relaxed);
  }
  /// The first check is still to come.
  bool unchecked() const { return verdict_.load(std::memory_order_relaxed) == Verdict::kNone; }

  /// Passive ejection ends at this loop time (ms, CLOCK_MONOTONIC); 0 = not ejected.
  bool ejected(uint64_t now_ms) const { return ejected_until_ms_.load(std::memory_order_relaxed) > now_ms; }
  void eject_until(uint64_t ms) { ejected_until_ms_.store(ms, std::memory_order_relaxed); }

  /// It said that it takes no more requests; believed until this loop time, 0 = it did not. Not a matter of health: it is
  /// used where there is no other.
  bool leaving(uint64_t now_ms) const { return leaving_until_ms_.load(std::memory_order_relaxed) > now_ms; }
  void leave_until(uint64_t ms) { leaving_until_ms_.store(ms, std::memory_order_relaxed); }

  bool usable(uint64_t now_ms) const { return active_healthy() && !ejected(now_ms); }

  /// Failures in a row as seen by all workers; returns the new count.
  uint32_t note_failure() { return failures_.fetch_add(1, std::memory_order_relaxed) + 1; }
  void note_success() {
    if (failures_.load(std::memory_order_relaxed) != 0) failures_.store(0, std::memory_order_relaxed);
  }
  uint32_t failures() const { return failures_.load(std::memory_order_relaxed); }
  /// How often it was ejected lately: the ejection time grows with it.
  uint32_t note_ejection() { return ejections_.fetch_add(1, std::memory_order_relaxed) + 1; }
  uint32_t ejections() const { return ejections_.load(std::memory_order_relaxed); }
  /// A good answer: one ejection is forgotten for each `period_ms` that it is in service again.
  void decay(uint64_t now_ms, uint64_t period_ms) {
    if (now_ms < decay_at_ms_.load(std::memory_order_relaxed)) return;
    decay_at_ms_.store(now_ms + period_ms, std::memory_order_relaxed);
    uint32_t n = ejections_.load(std::memory_order_relaxed);
    while (n != 0 && !ejections_.compare_exchange_weak(n, n - 1, std::memory_order_relaxed)) {
    }
  }
  /// Counts a try of at most `per_second`, over all workers; a second's worth may come at once. False: one too many.
  bool take_try(uint64_t now_ns, uint32_t per_second) {
    const uint64_t each = 1'000'000'000 / per_second;
    uint64_t due = next_try_ns_.load(std::memory_order_relaxed);
    for (;;) {
      const uint64_t from = std::max(due, now_ns);
      if (from + each > now_ns + 1'000'000'000) return false;
      if (next_try_ns_.compare_exchange_weak(due, from + each, std::memory_order_relaxed)) return true;
    }
  }
  void decay_from(uint64_t ms) { decay_at_ms_.store(ms, std::memory_order_relaxed); }

 private:
  enum class Verdict : uint8_t { kNone, kGood, kBad };
  const Address address_;
  const std::string name_;
  std::atomic<uint32_t> weight_;
  std::atomic<Verdict> verdict_;
  std::atomic<uint64_t> ejected_until_ms_{0};
  std::atomic<uint64_t> leaving_until_ms_{0};
  std::atomic<uint32_t> failures_{0};
  std::atomic<uint32_t> ejections_{0};
  std::atomic<uint64_t> decay_at_ms_{0};
  std::atomic<uint64_t> next_try_ns_{0};  // when all tries so far were due, each at its time
};

/// Immutable list, replaced whole when discovery says so. Endpoints that stay keep their object (and their health), whatever their
/// weight is now.
struct EndpointSet {
  static constexpr uint32_t kNew = UINT32_MAX;

  uint64_t generation = 0;
  std::vector<std::shared_ptr<SharedEndpoint>> endpoints;
  std::vector<uint32_t> weights;  // by endpoint
  bool equal_weights = true;
  std::vector<uint32_t> from;  // by endpoint: its place in the set of the generation before, or kNew
};

}  // namespace dragoman
