// Text, eight bytes at a time.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace dragoman {

inline constexpr uint64_t kByteOnes = 0x0101010101010101;
inline constexpr uint64_t kByteHighs = 0x8080808080808080;

inline uint64_t load_word(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

/// The `n` < 8 bytes at `p`, the rest filled with copies of them, or with `fill` when n < 4.
inline uint64_t load_short_word(const char* p, size_t n, uint8_t fill = 0) {
  if (n >= 4) {
    uint32_t first, last;
    std::memcpy(&first, p, 4);
    std::memcpy(&last, p + n - 4, 4);
    return uint64_t{last} << 32 | first;
  }
  uint64_t word = kByteOnes * fill;
  for (size_t i = 0; i < n; ++i) reinterpret_cast<char*>(&word)[i] = p[i];
  return word;
}

/// How many of the `n` bytes at `p` stand before the first over 0x7f.
inline size_t ascii_bytes(const char* p, size_t n) {
  size_t at = 0;
  for (; at + 32 <= n; at += 32)
    if ((load_word(p + at) | load_word(p + at + 8) | load_word(p + at + 16) | load_word(p + at + 24)) &
        kByteHighs)
      break;
  for (; at + 8 <= n; at += 8)
    if (uint64_t high = load_word(p + at) & kByteHighs)
      return at + static_cast<size_t>(std::countr_zero(high)) / 8;
  for (; at < n; ++at)
    if (p[at] & 0x80) return at;
  return n;
}

/// Whether that is all of them; cheaper.
inline bool is_ascii(const char* p, size_t n) {
  if (n < 8) return (load_short_word(p, n) & kByteHighs) == 0;
  uint64_t all = load_word(p + n - 8);
  size_t at = 0;
  for (; at + 32 < n; at += 32)
    if ((load_word(p + at) | load_word(p + at + 8) | load_word(p + at + 16) | load_word(p + at + 24)) &
        kByteHighs)
      return false;
  for (; at + 8 < n; at += 8) all |= load_word(p + at);
  return (all & kByteHighs) == 0;
}

/// A to Z made lower case in each byte; other bytes stay.
inline uint64_t lower_word(uint64_t word) {
  uint64_t low = word & ~kByteHighs;
  uint64_t from_a = low + kByteOnes * (0x80 - 'A');
  uint64_t past_z = low + kByteOnes * (0x7f - 'Z');
  return word | ((from_a ^ past_z) & ~word & kByteHighs) >> 2;
}

}  // namespace dragoman
