// The inside of Loop, for the sources of this folder only.
#pragma once

#include <uv.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "proxy/net/loop.h"
#include "proxy/net/transport.h"

namespace dragoman {

class Linger;

/// A call made at the edge of the turn, for results known at once that must not be told inside create().
/// Destroying it cancels.
class Deferred : public ListLink<Deferred> {
 public:
  using Callback = void (*)(void*);
  template <auto Method, class Owner>
  void schedule(Loop::Impl& loop, Owner* owner);

 private:
  friend struct Loop::Impl;
  void* owner_ = nullptr;
  Callback callback_ = nullptr;
};

struct Loop::Impl {
  Impl();
  ~Impl();

  static Impl& of(uv_handle_t* handle) { return *static_cast<Impl*>(handle->loop->data); }
  /// Every uv callback calls this first: timers started in it count from the time the poll returned.
  void enter() { wheel.set_now(uv_now(&uv)); }
  uint64_t now_ms() const { return uv_now(&uv); }

  /// The edge of a turn: deferred calls, one flush per dirty transport, then the retired objects; again while
  /// these make new work, within bounds. True when nothing is left.
  bool edge();
  void arm_timer();
  void run_posts();
  /// Closes the loop's own handles once nothing else is left to wait for.
  void close_if_done();
  void close_own_handles();

  uv_loop_t uv;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_async_t async;
  uv_timer_t timer;
  TimerWheel wheel;
  uint64_t armed_ms = UINT64_MAX;  // when `timer` fires

  IntrusiveList<Deferred, Deferred> deferred;
  IntrusiveList<Transport, Transport> dirty;
  IntrusiveList<Retired, Retired> retired;
  IntrusiveList<Linger, Linger> lingering;
  std::shared_ptr<LingerGroup> lingerers = std::make_shared<LingerGroup>();  // of connections without a group
  size_t live_handles = 0;
  LoopStats stats;
  std::unique_ptr<uint8_t[]> scratch;  // kScratchHeadroom + kScratchBytes

  std::mutex mutex;
  std::vector<std::function<void()>> posts;  // guarded by mutex
  bool stop_asked = false;                   // guarded by mutex
  bool stopping = false;                     // the loop's own view: all posts before stop() have run
  bool own_closed = false;
  std::atomic<std::thread::id> thread;
};

template <auto Method, class Owner>
void Deferred::schedule(Loop::Impl& loop, Owner* owner) {
  owner_ = owner;
  callback_ = [](void* o) { (static_cast<Owner*>(o)->*Method)(); };
  loop.deferred.push_back(*this);
}

}  // namespace dragoman
