// Cluster-wide limits over all workers without a shared counter: each worker writes its own cell, a check adds them
// up. Far from a limit nobody waits for anybody; near it one worker at a time takes, so that it is never passed, however small
// it is and however many workers there are.
#pragma once

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>

namespace dragoman {

enum class Limit : uint8_t { kConnections, kPending, kRequests, kRetries };
inline constexpr int kLimitCount = 4;

class Limits {
 public:
  explicit Limits(int workers) : workers_(workers), cells_(new Cell[static_cast<size_t>(workers)]) {}

  /// Takes one unit for `worker` unless `max` are taken already.
  bool take(Limit limit, int worker, uint32_t max) {
    const uint64_t sum = taken(limit);
    if (sum >= max) return false;
    // So many may be on their way without being seen here.
    const uint64_t unseen = workers_ == 1 ? 0 : 2 * static_cast<uint64_t>(workers_);
    if (sum + unseen < max) {
      add(limit, worker);
      return true;
    }
    return take_near(limit, worker, max);
  }
  /// Takes one however many are taken.
  void force(Limit limit, int worker) { add(limit, worker); }
  void give(Limit limit, int worker) {
    auto& cell = cells_[worker].taken[static_cast<size_t>(limit)];
    cell.store(cell.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
  int workers() const { return workers_; }
  uint64_t taken(Limit limit) const {
    uint64_t sum = 0;
    for (int i = 0; i < workers_; ++i) sum += cells_[i].taken[static_cast<size_t>(limit)].load(std::memory_order_relaxed);
    return sum;
  }

 private:
  struct alignas(64) Cell {
    std::atomic<uint32_t> taken[kLimitCount] = {};
  };
  void add(Limit limit, int worker) {
    auto& cell = cells_[worker].taken[static_cast<size_t>(limit)];
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  bool take_near(Limit limit, int worker, uint32_t max) {
    for (int spins = 0; near_.test_and_set(std::memory_order_acquire); ++spins)
      if (spins > 100) sched_yield();
    const bool room = taken(limit) < max;
    if (room) add(limit, worker);
    near_.clear(std::memory_order_release);
    return room;
  }

  std::atomic_flag near_;  // held for some nanoseconds
  int workers_;
  std::unique_ptr<Cell[]> cells_;
};

}  // namespace dragoman
