// A rate with a burst, on the loop's clock.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dragoman {

/// Starts full. 24 bytes.
class TokenBucket {
 public:
  /// `per_second` tokens come back, up to `burst`.
  TokenBucket(uint32_t burst, uint32_t per_second)
      : tokens_(uint64_t{burst} * kUnit), burst_(burst), per_second_(per_second) {}

  /// Takes `n` tokens; false when there are not so many (then nothing is taken).
  bool take(uint64_t now_ms, uint32_t n = 1) {
    uint64_t want = uint64_t{n} * kUnit;
    if (tokens_ < want || last_ms_ == 0) refill(now_ms);
    if (tokens_ < want) return false;
    tokens_ -= want;
    return true;
  }
  /// Puts `n` tokens back, at most up to the burst.
  void give(uint32_t n) { tokens_ = std::min(tokens_ + uint64_t{n} * kUnit, uint64_t{burst_} * kUnit); }

 private:
  static constexpr uint64_t kUnit = 1000;  // so that a millisecond's share is whole

  void refill(uint64_t now_ms) {
    if (last_ms_ != 0 && now_ms > last_ms_) {
      uint64_t elapsed = std::min<uint64_t>(now_ms - last_ms_, uint64_t{1} << 30);
      tokens_ = std::min(tokens_ + elapsed * per_second_, uint64_t{burst_} * kUnit);
    }
    last_ms_ = std::max<uint64_t>(now_ms, 1);
  }

  uint64_t tokens_;
  uint64_t last_ms_ = 0;
  uint32_t burst_;
  uint32_t per_second_;
};

}  // namespace dragoman
