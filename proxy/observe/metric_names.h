// A label whose values only traffic tells: a peer's own status, say. So that no peer can make series without end, the first
// kPlaces different values of a series have a counter each, and the rest share one.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "proxy/observe/histogram.h"

namespace dragoman {

/// The values of one series, shared by the threads that count. Nothing is ever taken out. No lock: two threads that meet a
/// value at the same time may give it two places, which a scrape adds up.
class MetricNames {
 public:
  static constexpr size_t kPlaces = 32;
  static constexpr size_t kBytesMax = 46;
  /// Cells of a counter: one a place, and the one of the rest.
  static constexpr size_t kCells = kPlaces + 1;
  static constexpr std::string_view kOther = "_other";

  /// Of `name`, given one when there is one left; kPlaces: the rest, also of what is no name: empty, over kBytesMax, or not
  /// printable ASCII.
  size_t place(std::string_view name) {
    if (name.empty() || name.size() > kBytesMax) return kPlaces;
    for (char c : name)
      if (c < 0x20 || c > 0x7e) return kPlaces;
    for (size_t i = 0; i < kPlaces; ++i) {
      Place& p = places_[i];
      uint8_t free = kFree;
      if (p.state.load(std::memory_order_relaxed) == kFree &&
          p.state.compare_exchange_strong(free, kTaken, std::memory_order_relaxed)) {
        name.copy(p.text, name.size());
        p.length = static_cast<uint8_t>(name.size());
        p.state.store(kReady, std::memory_order_release);
        return i;
      }
      if (this->name(i) == name) return i;
    }
    return kPlaces;
  }

  /// Empty: nobody has that place yet.
  std::string_view name(size_t place) const {
    if (place >= kPlaces) return kOther;
    const Place& p = places_[place];
    return p.state.load(std::memory_order_acquire) == kReady ? std::string_view(p.text, p.length)
                                                             : std::string_view();
  }

 private:
  enum State : uint8_t { kFree, kTaken, kReady };
  struct Place {
    std::atomic<uint8_t> state{kFree};
    uint8_t length = 0;
    char text[kBytesMax] = {};
  };
  std::array<Place, kPlaces> places_{};
};

/// Counts by such a value: a number or a text. One writer thread. It remembers what it met last, so that counting is a
/// comparison and an addition. Default-constructed it counts nowhere.
class CounterByName {
 public:
  CounterByName() = default;
  CounterByName(MetricNames* names, MetricCell* cells) : names_(names), cells_(cells) {}

  void inc(int32_t number) {
    if (!cells_) return;
    Seen& seen = numbers_[static_cast<uint32_t>(number) % numbers_.size()];
    if (seen.place == kNone || seen.number != number) seen = {number, place_of(number)};
    cell_add(cells_[seen.place], 1);
  }
  void inc(std::string_view text) {
    if (!cells_) return;
    // What has no name of its own is looked for each time: someone else's name may have its place in `text_`.
    if (text_ >= MetricNames::kPlaces || names_->name(text_) != text)
      text_ = static_cast<uint8_t>(names_->place(text));
    cell_add(cells_[text_], 1);
  }

 private:
  static constexpr uint8_t kNone = UINT8_MAX;
  struct Seen {
    int32_t number = 0;
    uint8_t place = kNone;
  };
  uint8_t place_of(int32_t number) const;

  MetricNames* names_ = nullptr;
  MetricCell* cells_ = nullptr;
  std::array<Seen, 8> numbers_{};
  uint8_t text_ = kNone;
};

}  // namespace dragoman
