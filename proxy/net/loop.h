// One event loop = one thread = one worker. Everything on it is confined to it; other threads may only post().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "proxy/base/intrusive_list.h"
#include "proxy/base/timer_wheel.h"

struct uv_loop_s;

namespace dragoman {

class Transport;

/// Something that dies at the loop's edge instead of inside a callback whose frame may still use it.
class Retired : public ListLink<Retired> {
 public:
  virtual ~Retired() = default;
};

class Loop {
 public:
  Loop();
  /// The loop must have run to completion: no open handles. Aborts in debug builds when something leaked.
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  uv_loop_s* uv();
  /// Time cached at the start of the turn (uv_now), milliseconds, monotonic.
  uint64_t now_ms() const;
  /// clock_gettime(CLOCK_MONOTONIC), nanoseconds.
  static uint64_t now_ns();
  /// All deadlines of this loop; advanced from one uv_timer.
  TimerWheel& timers();

  /// Runs `work` on this loop's thread, in order. Thread-safe. After stop() work is dropped.
  void post(std::function<void()> work);
  /// Deletes `object` when the outermost callback has returned (before the loop blocks again).
  void retire(Retired* object);
  /// Runs the loop until stop() was called and every handle is closed. Call on the loop's own thread.
  void run();
  /// Thread-safe. Stops taking posts after those already queued, lets run() return once all handles are closed: the owners must
  /// have closed theirs (transports, acceptors); the loop closes its own.
  void stop();
  bool on_own_thread() const;

  /// Open transports, acceptors, connectors and resolves on this loop (zero at the end of a worker's life).
  size_t live_handles() const;
  /// 64 KiB read scratch preceded by ConnectionCodec::kHeadroom writable bytes.
  uint8_t* scratch();
  static constexpr size_t kScratchBytes = 64 * 1024;
  static constexpr size_t kScratchHeadroom = 128 * 1024;

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace dragoman
