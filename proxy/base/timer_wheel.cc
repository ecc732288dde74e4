#include "proxy/base/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <new>

#include "proxy/base/memory_reserve.h"

namespace dragoman {
namespace {

constexpr int kSlotBits = 6;
constexpr uint64_t kSlotMask = TimerWheel::kSlots - 1;
constexpr uint64_t kReachTicks = (uint64_t{1} << (kSlotBits * TimerWheel::kLevels)) - 1;
constexpr uint64_t kDelayMaxMs = kReachTicks * TimerWheel::kTickMs;
static_assert(TimerWheel::kSlots == 1 << kSlotBits);

}  // namespace

void Timer::start(uint64_t delay_ms) {
  const uint64_t due_ms = wheel_->now_ms_ + std::min(delay_ms, kDelayMaxMs);
  // A tick that was processed already can't be waited for: the next one is the earliest.
  uint64_t tick = std::max((due_ms + TimerWheel::kTickMs - 1) / TimerWheel::kTickMs, wheel_->tick_ + 1);
  tick = std::min(tick, wheel_->tick_ + kReachTicks);
  expires_ms_ = tick * TimerWheel::kTickMs;
  if (linked()) {
    // The usual restart (an idle timeout pushed back a little) stays in its slot.
    if (wheel_->slot_for(tick) == slot_) return;
    stop();
  }
  ++wheel_->active_;
  wheel_->insert(*this);
}

void Timer::stop() {
  if (!linked()) return;
  unlink();
  --wheel_->active_;
  wheel_->clear_if_empty(slot_);
}

TimerWheel::~TimerWheel() = default;

uint16_t TimerWheel::slot_for(uint64_t tick) const {
  // Timers fewer than 64 ticks away lie on level 0, fewer than 64^2 on level 1, ...
  const uint64_t distance = tick - tick_;
  const int level = distance == 0 ? 0 : (std::bit_width(distance) - 1) / kSlotBits;
  return static_cast<uint16_t>(level * kSlots + ((tick >> (level * kSlotBits)) & kSlotMask));
}

void TimerWheel::insert(Timer& timer) {
  timer.slot_ = slot_for(timer.expires_ms_ / kTickMs);
  const int level = timer.slot_ / kSlots;
  const int slot = timer.slot_ % kSlots;
  slots_[level][slot].push_back(timer);
  occupied_[level] |= uint64_t{1} << slot;
}

void TimerWheel::clear_if_empty(uint16_t slot) {
  if (slots_[slot / kSlots][slot % kSlots].empty())
    occupied_[slot / kSlots] &= ~(uint64_t{1} << (slot % kSlots));
}

uint64_t TimerWheel::next_tick() const {
  uint64_t next = UINT64_MAX;
  for (int level = 0; level < kLevels; ++level) {
    if (!occupied_[level]) continue;
    const int shift = level * kSlotBits;
    const uint64_t position = tick_ >> shift;
    // Rotated so that bit 0 is the slot after the current one; the current slot itself comes round last.
    const uint64_t ahead = std::rotr(occupied_[level], static_cast<int>((position + 1) & kSlotMask));
    next = std::min(next, (position + 1 + static_cast<uint64_t>(std::countr_zero(ahead))) << shift);
  }
  return next;
}

void TimerWheel::cascade(int level) {
  const int slot = static_cast<int>((tick_ >> (level * kSlotBits)) & kSlotMask);
  if (!(occupied_[level] >> slot & 1)) return;
  occupied_[level] &= ~(uint64_t{1} << slot);
  // Every timer here is due within this slot's span, hence goes to a lower level.
  while (Timer* timer = slots_[level][slot].pop_front()) insert(*timer);
}

void TimerWheel::advance(uint64_t now_ms) {
  set_now(now_ms);
  const uint64_t target = now_ms_ / kTickMs;
  while (tick_ < target) {
    const uint64_t next = next_tick();
    if (next > target) {
      tick_ = target;
      return;
    }
    tick_ = next;
    for (int level = kLevels - 1; level > 0; --level) {
      if ((tick_ & ((uint64_t{1} << (level * kSlotBits)) - 1)) == 0) cascade(level);
    }
    const int slot = static_cast<int>(tick_ & kSlotMask);
    // What a callback starts is due at tick_ + 1 or later and never lands in this slot.
    while (Timer* timer = slots_[0][slot].pop_front()) {
      --active_;
      clear_if_empty(timer->slot_);
      try {
        timer->callback_(timer->owner_);  // may destroy the timer
      } catch (const std::bad_alloc&) {   // whoever could do better has caught it
        note_memory_shed(MemoryShed::kControl);
      }
    }
  }
}

int64_t TimerWheel::next_delay_ms() const {
  if (!active_) return -1;
  const uint64_t due_ms = next_tick() * kTickMs;
  return due_ms > now_ms_ ? static_cast<int64_t>(due_ms - now_ms_) : 0;
}

}  // namespace dragoman
