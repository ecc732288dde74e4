#include "proxy/net/loop.h"

#include <time.h>

#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "proxy/base/memory_reserve.h"
#include "proxy/net/linger.h"
#include "proxy/net/loop_impl.h"

namespace dragoman {
namespace {

constexpr int kEdgePasses = 8;

/// Nobody above could do better with the lack of memory than to go on without what was asked; libuv's frames are below.
template <class Work>
void survive(Work&& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kControl);
  }
}

/// libuv ends the process where it has no memory for the table of its descriptors.
void give_libuv_the_reserve() {
  [[maybe_unused]] static const int once =
      uv_replace_allocator(reserved_malloc, reserved_realloc, reserved_calloc, std::free);
}

void fatal(const char* what, int error) {
  std::fprintf(stderr, "dragoman: %s: %s\n", what, uv_strerror(error));
  std::abort();
}

}  // namespace

Loop::Impl::Impl()
    : wheel(uv_hrtime() / 1'000'000),
      scratch(new uint8_t[kScratchHeadroom + kScratchBytes]),
      thread(std::this_thread::get_id()) {
  give_libuv_the_reserve();
  // Out of descriptors or memory before anything was served: there is nothing to go on with.
  if (int error = uv_loop_init(&uv)) fatal("event loop", error);
  uv.data = this;
  if (int error = uv_async_init(&uv, &async,
                                [](uv_async_t* h) { of(reinterpret_cast<uv_handle_t*>(h)).run_posts(); }))
    fatal("event loop wake-up", error);
  uv_timer_init(&uv, &timer);
  uv_check_init(&uv, &check);
  uv_prepare_init(&uv, &prepare);
  uv_check_start(&check, [](uv_check_t* h) {
    Impl& loop = of(reinterpret_cast<uv_handle_t*>(h));
    loop.wheel.advance(
        loop.now_ms());  // after the I/O: an answer that made it in time wins over its deadline
    loop.edge();
  });
  uv_prepare_start(&prepare, [](uv_prepare_t* h) {
    Impl& loop = of(reinterpret_cast<uv_handle_t*>(h));
    ++loop.stats.turns;
    loop.enter();
    if (!loop.edge()) {
      uv_async_send(&loop.async);  // don't block: the rest comes next turn
    } else {
      loop.close_if_done();
    }
    loop.arm_timer();
  });
  enter();
}

Loop::Impl::~Impl() {
  Linger::close_all(*this);
  edge();
  if (!own_closed) close_own_handles();
  // Close callbacks free the handles' shells; nothing blocks here.
  for (int i = 0; i < 4 && uv_run(&uv, UV_RUN_NOWAIT); ++i) {
  }
  [[maybe_unused]] int error = uv_loop_close(&uv);
  assert(error == 0 && "a handle outlived its loop");
}

bool Loop::Impl::edge() {
  for (int pass = 0; pass < kEdgePasses; ++pass) {
    // What callbacks add while a list is worked on waits for the next pass.
    IntrusiveList<Deferred, Deferred> now_deferred;
    now_deferred.splice(deferred);
    while (Deferred* call = now_deferred.pop_front()) survive([&] { call->callback_(call->owner_); });
    IntrusiveList<Transport, Transport> now_dirty;
    now_dirty.splice(dirty);
    while (Transport* transport = now_dirty.pop_front()) {
      survive([&] {
        transport->collect();
        if (!transport->closed()) transport->flush();
      });
    }
    while (Retired* object = retired.pop_front()) delete object;
    if (deferred.empty() && dirty.empty()) return true;
  }
  return false;
}

void Loop::Impl::arm_timer() {
  if (own_closed) return;
  const int64_t delay_ms = wheel.next_delay_ms();
  if (delay_ms < 0) return;
  const uint64_t due_ms = now_ms() + static_cast<uint64_t>(delay_ms);
  if (due_ms >= armed_ms) return;  // firing early is harmless and cheaper than re-arming
  armed_ms = due_ms;
  uv_timer_start(
      &timer,
      [](uv_timer_t* h) {
        of(reinterpret_cast<uv_handle_t*>(h)).armed_ms = UINT64_MAX;
      },  // check does the work
      static_cast<uint64_t>(delay_ms), 0);
}

void Loop::Impl::run_posts() {
  enter();
  std::vector<std::function<void()>> work;
  bool stop;
  {
    std::lock_guard lock(mutex);
    work.swap(posts);
    stop = stop_asked;
  }
  for (auto& fn : work) {
    survive(fn);
    fn = nullptr;  // what it captured dies here, in order
  }
  if (stop && !stopping) {
    stopping = true;
    Linger::cut_all(*this);
  }
}

void Loop::Impl::close_if_done() {
  if (stopping && !own_closed && live_handles == 0) close_own_handles();
}

void Loop::Impl::close_own_handles() {
  own_closed = true;
  {
    std::lock_guard lock(mutex);
    stop_asked = true;  // nobody may touch the async handle from now on
  }
  uv_close(reinterpret_cast<uv_handle_t*>(&async), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&check), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare), nullptr);
}

Loop::Loop() : impl_(std::make_unique<Impl>()) {}
Loop::~Loop() = default;

uv_loop_s* Loop::uv() { return &impl_->uv; }
uint64_t Loop::now_ms() const { return impl_->now_ms(); }

uint64_t Loop::now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

TimerWheel& Loop::timers() { return impl_->wheel; }

void Loop::post(std::function<void()> work) {
  std::lock_guard lock(impl_->mutex);
  if (impl_->stop_asked) return;
  impl_->posts.push_back(std::move(work));
  if (impl_->posts.size() == 1) uv_async_send(&impl_->async);
}

void Loop::flush_later(Transport& transport) { impl_->dirty.push_back(transport); }
void Loop::retire(Retired* object) { impl_->retired.push_back(*object); }

void Loop::run() {
  impl_->thread.store(std::this_thread::get_id(), std::memory_order_relaxed);
  uv_run(&impl_->uv, UV_RUN_DEFAULT);
  impl_->edge();
}

void Loop::turn(bool wait) {
  const bool pending = !impl_->deferred.empty() || !impl_->dirty.empty() || !impl_->retired.empty();
  uv_run(&impl_->uv, wait && !pending ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

void Loop::stop() {
  std::lock_guard lock(impl_->mutex);
  if (impl_->stop_asked) return;
  impl_->stop_asked = true;
  uv_async_send(&impl_->async);
}

bool Loop::on_own_thread() const {
  return impl_->thread.load(std::memory_order_relaxed) == std::this_thread::get_id();
}
size_t Loop::live_handles() const { return impl_->live_handles; }
const LoopStats& Loop::stats() const { return impl_->stats; }
uint8_t* Loop::scratch() { return impl_->scratch.get() + kScratchHeadroom; }

}  // namespace dragoman
