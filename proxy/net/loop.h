// One event loop = one thread = one worker. Everything on it is confined to it; other threads may only
// post().
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

/// What this loop asked of the kernel; plain counters of the loop's own thread.
struct LoopStats {
  uint64_t turns = 0;
  uint64_t reads = 0;         // recv() calls of transports
  uint64_t writes = 0;        // send() and sendmsg() calls of transports
  uint64_t accepts = 0;       // connections accepted
  uint64_t poll_changes = 0;  // changes of what a descriptor is polled for, two epoll_ctl each
};

class Loop {
 public:
  Loop();
  /// Either run() never started, or it ran to completion: no open handles. Aborts in debug builds when
  /// something leaked.
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

  /// Runs `work` on this loop's thread, in order; before run() it waits for it. Thread-safe. After stop()
  /// work is dropped.
  void post(std::function<void()> work);
  /// Deletes `object` when the outermost callback has returned (before the loop blocks again). Twice is once.
  void retire(Retired* object);
  /// Calls transport.flush() at the edge of this turn.
  void flush_later(Transport& transport);
  /// Runs the loop until stop() was called and every handle is closed. Call on the loop's own thread.
  void run();
  /// One turn; `wait` blocks until something happens. For tests and tools that drive the loop by hand, before
  /// run().
  void turn(bool wait);
  /// Thread-safe. Stops taking posts after those already queued, lets run() return once all handles are
  /// closed: the owners must have closed theirs (transports, acceptors); the loop closes its own.
  void stop();
  bool on_own_thread() const;

  /// Open transports (lingering ones too), acceptors, connectors, resolves and watches on this loop (zero at
  /// the end of a worker's life).
  size_t live_handles() const;
  const LoopStats& stats() const;
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
