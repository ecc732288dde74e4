// Hierarchical timer wheel: start, stop and re-start in O(1), thousands of deadlines on one clock.
// Pure data structure: the owner advances it (the loop does so from ONE uv_timer; tests by hand).
#pragma once

#include <cstdint>

#include "proxy/base/intrusive_list.h"

namespace dragoman {

class TimerWheel;

/// A deadline that is a member of what it ends. Destroying it stops it. The callback runs at most once per
/// start.
class Timer : public ListLink<Timer> {
 public:
  using Callback = void (*)(void*);
  Timer() = default;
  ~Timer() { stop(); }

  /// Binds wheel and callback once, before the first start: `timer_.bind<&Foo::on_timeout>(wheel, this)`.
  template <auto Method, class Owner>
  void bind(TimerWheel& wheel, Owner* owner) {
    wheel_ = &wheel;
    owner_ = owner;
    callback_ = [](void* o) { (static_cast<Owner*>(o)->*Method)(); };
  }
  /// (Re)starts: the callback runs at the first advance() at or after now + delay_ms (rounded up to a tick).
  void start(uint64_t delay_ms);
  void stop();
  bool active() const { return linked(); }
  /// Absolute expiry (wheel time, ms), meaningful while active.
  uint64_t expires_ms() const { return expires_ms_; }

 private:
  friend class TimerWheel;
  TimerWheel* wheel_ = nullptr;
  void* owner_ = nullptr;
  Callback callback_ = nullptr;
  uint64_t expires_ms_ = 0;
  uint16_t slot_ = 0;
};

class TimerWheel {
 public:
  static constexpr uint64_t kTickMs = 8;
  static constexpr int kLevels = 5;  // 64^5 ticks of 8 ms: about 99 days; longer delays are clamped
  static constexpr int kSlots = 64;

  explicit TimerWheel(uint64_t now_ms) : now_ms_(now_ms), tick_(now_ms / kTickMs) {}
  ~TimerWheel();

  uint64_t now_ms() const { return now_ms_; }
  /// Moves the clock (never backwards) without running anything: what starts from now on counts from there.
  void set_now(uint64_t now_ms) {
    if (now_ms > now_ms_) now_ms_ = now_ms;
    if (active_ == 0) tick_ = now_ms_ / kTickMs;
  }
  /// Moves the clock (never backwards) and runs what is due, in tick order. Callbacks may start, stop and
  /// destroy timers, their own included.
  void advance(uint64_t now_ms);
  /// Milliseconds until the wheel next needs advance(), an under-estimate is allowed; -1 when no timer is
  /// active.
  int64_t next_delay_ms() const;
  uint64_t active() const { return active_; }

 private:
  friend class Timer;
  void insert(Timer& timer);
  void cascade(int level);
  void clear_if_empty(uint16_t slot);
  uint16_t slot_for(uint64_t tick) const;  // level * kSlots + slot
  uint64_t next_tick() const;              // when the next slot is due or cascades; UINT64_MAX = never

  uint64_t now_ms_;
  uint64_t tick_;  // last processed tick
  uint64_t active_ = 0;
  uint64_t occupied_[kLevels] = {};
  IntrusiveList<Timer, Timer> slots_[kLevels][kSlots];
};

}  // namespace dragoman
