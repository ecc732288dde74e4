// Cluster-wide limits over all workers without a shared counter: each worker writes its own cell, a check adds them
// up. Two workers checking at the same instant may overshoot by at most workers - 1.
#pragma once

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
    auto l = static_cast<size_t>(limit);
    if (taken(limit) >= max) return false;
    auto& cell = cells_[worker].taken[l];
    cell.store(cell.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return true;
  }
  /// Takes one however many are taken.
  void force(Limit limit, int worker) { take(limit, worker, ~0u); }
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
  int workers_;
  std::unique_ptr<Cell[]> cells_;
};

}  // namespace dragoman
