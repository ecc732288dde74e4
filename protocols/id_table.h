// Ids of requests on one multiplexed upstream connection.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace dragoman {

/// Maps wire ids to values of type T*. An id is a slot number with a generation above it, so that an answer
/// to an earlier user of the slot is recognised: `generation << slot_bits | slot`. Where generations and the
/// order of slots begin depends on a seed: who guesses ids of others must guess these. Slots are re-used in
/// first-out order. The slot of a request given up without an answer stays in quarantine until the late
/// answer came or kQuarantineMs passed, so that a generation that wrapped around can't meet it. Two slot
/// numbers are set apart: ids of one-way requests and of heartbeats only count up.
template <class T>
class IdTable {
 public:
  static constexpr uint64_t kQuarantineMs = 10 * 60 * 1000;

  enum class Match : uint8_t {
    kLive,
    kLate,  // its request was given up, or is of an earlier generation
    kOneWay,
    kHeartbeat,
    kUnknown  // never used
  };
  struct Found {
    Match match;
    T* value;  // kLive
  };

  /// Sets the width of ids and how many may be live or in quarantine at once. Before any other call. `seed` 0:
  /// ids begin at the beginning.
  void configure(unsigned id_bits, uint32_t limit, uint64_t seed = 0) {
    if (id_bits >= 64) {
      slot_bits_ = 32, generation_bits_ = 32;
    } else {
      slot_bits_ = id_bits >= 31 ? 20 : id_bits >= 16 ? 10 : 5;
      generation_bits_ = id_bits - slot_bits_;
    }
    uint32_t reserved_from = static_cast<uint32_t>((uint64_t{1} << slot_bits_) - 2);
    heartbeat_slot_ = reserved_from;
    one_way_slot_ = reserved_from + 1;
    limit_ = std::min(limit, reserved_from);
    seed_ = seed;
    one_way_ = {one_way_slot_, first_generation(one_way_slot_) - 1, 0};
    heartbeat_ = {heartbeat_slot_, first_generation(heartbeat_slot_) - 1, 0};
  }

  /// Ids that can be given out without a look at the time.
  uint32_t unused() const { return live_ + quarantined_ < limit_ ? limit_ - live_ - quarantined_ : 0; }
  /// Ids that can be given out now.
  uint32_t room(uint64_t now_ms) {
    if (live_ + quarantined_ >= limit_) expire(now_ms);
    return limit_ - live_ - quarantined_;
  }

  /// Whether so many ids are in quarantine that another connection should take over.
  bool spent() const { return quarantined_ > 0 && quarantined_ >= limit_ / 2; }

  /// False when no id is free.
  bool acquire(T* value, uint64_t now_ms, uint64_t& id) {
    if (free_.head == kNil) {
      if (!expire(now_ms) && !grow()) return false;
    }
    uint32_t index = pop(free_);
    Slot& slot = slots_[index];
    slot.generation = slot.generation == 0 ? first_generation(index) : next_generation(slot.generation);
    slot.value = value;
    slot.state = State::kLive;
    ++live_;
    id = compose(slot.generation, index);
    return true;
  }
  uint64_t next_one_way() { return next(one_way_); }
  uint64_t next_heartbeat() { return next(heartbeat_); }
  /// How many heartbeat ids were given out after `id`; UINT32_MAX when it is not a heartbeat's.
  uint32_t heartbeats_after(uint64_t id) const {
    uint64_t generation = id >> slot_bits_;
    uint32_t ring = generation_mask();  // generations 1 .. mask
    if (index_of(id) != heartbeat_slot_ || generation == 0 || generation > ring) return UINT32_MAX;
    auto g = static_cast<uint32_t>(generation);
    return heartbeat_.last >= g ? heartbeat_.last - g : heartbeat_.last + (ring - g);
  }

  Found find(uint64_t id) const {
    uint32_t index = index_of(id);
    uint64_t generation = id >> slot_bits_;
    if (index == one_way_slot_)
      return {was_given(one_way_, generation) ? Match::kOneWay : Match::kUnknown, nullptr};
    if (index == heartbeat_slot_)
      return {was_given(heartbeat_, generation) ? Match::kHeartbeat : Match::kUnknown, nullptr};
    if (generation == 0 || index >= slots_.size() || slots_[index].generation == 0)
      return {Match::kUnknown, nullptr};
    const Slot& slot = slots_[index];
    if (slot.generation == generation && slot.state == State::kLive) return {Match::kLive, slot.value};
    return {was_used(index, generation) ? Match::kLate : Match::kUnknown, nullptr};
  }

  /// The request is answered (or was never sent): the id is free again. `id` must be live.
  void release(uint64_t id) {
    uint32_t index = index_of(id);
    slots_[index].value = nullptr;
    slots_[index].state = State::kFree;
    --live_;
    push(free_, index);
  }
  /// The request was given up; its answer may still come. `id` must be live.
  void quarantine(uint64_t id, uint64_t now_ms) {
    uint32_t index = index_of(id);
    Slot& slot = slots_[index];
    slot.value = nullptr;
    slot.state = State::kQuarantined;
    slot.since_s = static_cast<uint32_t>(now_ms / 1000);
    --live_;
    ++quarantined_;
    push(quarantine_, index);
  }
  /// A late answer came: frees its slot if it was in quarantine.
  void answered_late(uint64_t id) {
    uint32_t index = index_of(id);
    Slot& slot = slots_[index];
    if (slot.state != State::kQuarantined || slot.generation != id >> slot_bits_) return;
    unlink(quarantine_, index);
    free_quarantined(index);
  }

  uint32_t live() const { return live_; }
  uint32_t quarantined() const { return quarantined_; }

 private:
  static constexpr uint32_t kNil = UINT32_MAX;
  static constexpr uint32_t kFirstSlots = 64;

  enum class State : uint8_t { kFree, kLive, kQuarantined };
  struct Slot {
    T* value = nullptr;
    uint32_t generation = 0;
    uint32_t next = kNil;
    uint32_t prev = kNil;
    uint32_t since_s = 0;
    State state = State::kFree;
  };
  struct List {
    uint32_t head = kNil;
    uint32_t tail = kNil;
  };

  /// A slot whose ids only count up.
  struct Counter {
    uint32_t slot = 0;
    uint32_t last = 0;   // generation
    uint64_t given = 0;  // how many
  };

  uint32_t index_of(uint64_t id) const {
    return static_cast<uint32_t>(id & ((uint64_t{1} << slot_bits_) - 1));
  }
  uint64_t compose(uint32_t generation, uint32_t slot) const {
    return uint64_t{generation} << slot_bits_ | slot;
  }
  uint32_t next_generation(uint32_t generation) const {
    return generation == generation_mask() ? 1 : generation + 1;  // 0 means never used
  }
  uint64_t next(Counter& c) {
    ++c.given;
    return compose(c.last = next_generation(c.last), c.slot);
  }
  bool was_given(const Counter& c, uint64_t generation) const {
    const uint64_t ring = generation_mask(), first = first_generation(c.slot);
    if (generation == 0 || generation > ring) return false;
    return (generation >= first ? generation - first : generation + ring - first) < c.given;
  }
  /// The first of a slot: small ones, so that ids stay positive numbers for long.
  uint32_t first_generation(uint32_t slot) const {
    if (seed_ == 0) return 1;
    return 1 + static_cast<uint32_t>(mix(seed_ + slot) % std::max<uint32_t>(generation_mask() / 2, 1));
  }
  /// Whether the slot has had this generation; after a whole round it has had all of them.
  bool was_used(uint32_t slot, uint64_t generation) const {
    const uint32_t first = first_generation(slot), last = slots_[slot].generation;
    return first <= last ? generation >= first && generation <= last
                         : generation >= first || generation <= last;
  }
  static uint64_t mix(uint64_t z) {  // splitmix64
    z += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  uint32_t generation_mask() const {
    return generation_bits_ >= 32 ? UINT32_MAX : (uint32_t{1} << generation_bits_) - 1;
  }

  void push(List& list, uint32_t index) {
    slots_[index].next = kNil;
    slots_[index].prev = list.tail;
    if (list.tail == kNil)
      list.head = index;
    else
      slots_[list.tail].next = index;
    list.tail = index;
  }
  void unlink(List& list, uint32_t index) {
    Slot& slot = slots_[index];
    (slot.prev == kNil ? list.head : slots_[slot.prev].next) = slot.next;
    (slot.next == kNil ? list.tail : slots_[slot.next].prev) = slot.prev;
  }
  uint32_t pop(List& list) {
    uint32_t index = list.head;
    unlink(list, index);
    return index;
  }
  void free_quarantined(uint32_t index) {
    slots_[index].state = State::kFree;
    --quarantined_;
    push(free_, index);
  }
  bool expire(uint64_t now_ms) {
    uint64_t now_s = now_ms / 1000;
    while (quarantine_.head != kNil && now_s >= slots_[quarantine_.head].since_s + kQuarantineMs / 1000)
      free_quarantined(pop(quarantine_));
    return free_.head != kNil;
  }
  bool grow() {
    size_t old = slots_.size();
    size_t size = std::min<size_t>(old ? old * 2 : kFirstSlots, limit_);
    if (size <= old) return false;
    slots_.resize(size);
    if (seed_ == 0) {
      for (size_t i = old; i < size; ++i) push(free_, static_cast<uint32_t>(i));
      return true;
    }
    std::vector<uint32_t> order;
    for (size_t i = old; i < size; ++i) order.push_back(static_cast<uint32_t>(i));
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[mix(seed_ ^ (old + i)) % i]);
    for (uint32_t index : order) push(free_, index);
    return true;
  }

  std::vector<Slot> slots_;
  List free_;
  List quarantine_;
  unsigned slot_bits_ = 20;
  unsigned generation_bits_ = 12;
  uint32_t limit_ = 0;
  uint64_t seed_ = 0;
  uint32_t live_ = 0;
  uint32_t quarantined_ = 0;
  uint32_t one_way_slot_ = 0;
  uint32_t heartbeat_slot_ = 0;
  Counter one_way_;
  Counter heartbeat_;
};

}  // namespace dragoman
