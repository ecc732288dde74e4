// Text, eight bytes at a time.
#pragma once

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

/// A to Z made lower case in each byte; other bytes stay.
inline uint64_t lower_word(uint64_t word) {
  uint64_t low = word & ~kByteHighs;
  uint64_t from_a = low + kByteOnes * (0x80 - 'A');
  uint64_t past_z = low + kByteOnes * (0x7f - 'Z');
  return word | ((from_a ^ past_z) & ~word & kByteHighs) >> 2;
}

}  // namespace dragoman
