// Which worker gets a connection of a listener.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace dragoman {

class Loop;
class ListenerSlot;

/// How many connections of a listener each worker has, and the workers that take more. Any thread.
class AcceptBalance {
 public:
  explicit AcceptBalance(int workers) : seats_(static_cast<size_t>(workers)) {}

  /// `slot` takes connections on its worker, in place of an earlier one.
  void join(int worker, Loop& loop, ListenerSlot& slot) {
    std::lock_guard<std::mutex> lock(mutex_);
    Seat& seat = at(worker);
    seat.loop = &loop;
    seat.slot = &slot;
    seat.open = true;
  }
  /// No more are sent to `slot`; those on their way still come.
  void leave(int worker, ListenerSlot& slot) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (at(worker).slot == &slot) at(worker).open = false;
  }
  void forget(int worker, ListenerSlot& slot) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (at(worker).slot != &slot) return;
    at(worker).open = false;
    at(worker).slot = nullptr;
  }

  /// Counts a connection for the worker that has the fewest; for `self` among equals, and when nobody takes any.
  int choose(int self) {
    std::lock_guard<std::mutex> lock(mutex_);
    int best = self;
    bool found = at(self).open;
    for (int i = 0; i < static_cast<int>(seats_.size()); ++i) {
      if (!at(i).open || (found && count(i) >= count(best))) continue;
      best = i;
      found = true;
    }
    add(best);
    return best;
  }
  void add(int worker) { at(worker).connections.fetch_add(1, std::memory_order_relaxed); }
  void remove(int worker) { at(worker).connections.fetch_sub(1, std::memory_order_relaxed); }

  /// Of a worker that was chosen. Loops live as long as any worker runs.
  Loop& loop(int worker) {
    std::lock_guard<std::mutex> lock(mutex_);
    return *at(worker).loop;
  }
  /// On that worker's thread. Null: there is none any more.
  ListenerSlot* slot(int worker) {
    std::lock_guard<std::mutex> lock(mutex_);
    return at(worker).slot;
  }

 private:
  struct Seat {
    std::atomic<uint32_t> connections{0};
    Loop* loop = nullptr;
    ListenerSlot* slot = nullptr;
    bool open = false;
  };
  Seat& at(int worker) { return seats_[static_cast<size_t>(worker)]; }
  uint32_t count(int worker) { return at(worker).connections.load(std::memory_order_relaxed); }

  std::mutex mutex_;
  std::vector<Seat> seats_;
};

}  // namespace dragoman
