// Tells when a worker's loop stands still: a codec's library that hangs, most likely, which holds up every connection of that
// worker and says nothing itself. It is only told; whether the process should end is for whoever is told.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "proxy/net/loop.h"
#include "proxy/server/worker.h"

namespace dragoman {

/// Of the control thread.
class Watchdog {
 public:
  /// A worker that gave no sign for so long stands still.
  static constexpr uint64_t kStallMs = 5000;

  /// `workers` must outlive it, or stop() come first.
  Watchdog(Loop& loop, std::span<const std::unique_ptr<Worker>> workers, uint64_t stall_ms = kStallMs);
  void stop() { timer_.stop(); }
  /// Times that a worker began to stand still.
  uint64_t stalls() const { return stalls_; }

 private:
  void look();

  Loop& loop_;
  std::span<const std::unique_ptr<Worker>> workers_;
  const uint64_t stall_ms_;
  const uint64_t every_ms_;
  uint64_t due_ms_;
  std::vector<uint64_t> told_;  // the last sign of each that was told of; 0 = none
  uint64_t stalls_ = 0;
  Timer timer_;
};

}  // namespace dragoman
