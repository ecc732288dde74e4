#include "protocols/descriptor/sums.h"

#include <array>

#include "protocols/checksum.h"

namespace dragoman::descriptor {
namespace {

/// Castagnoli, reflected (RFC 3720 appendix B.4).
constexpr std::array<uint32_t, 256> kCrc32c = [] {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t v = i;
    for (int bit = 0; bit < 8; ++bit) v = v >> 1 ^ (v & 1 ? 0x82f63b78u : 0);
    table[i] = v;
  }
  return table;
}();

}  // namespace

uint32_t sum_of(Sum sum, const uint8_t* p, size_t n) {
  switch (sum) {
    case Sum::kCrc32:
      return crc32_of(p, n);
    case Sum::kCrc32c: {
      uint32_t v = UINT32_MAX;
      for (size_t i = 0; i < n; ++i) v = v >> 8 ^ kCrc32c[(v ^ p[i]) & 255];
      return ~v;
    }
    case Sum::kAdler32: {
      uint32_t a = 1, b = 0;
      for (size_t i = 0; i < n; ++i) {
        a = (a + p[i]) % 65521;
        b = (b + a) % 65521;
      }
      return b << 16 | a;
    }
    case Sum::kSum8: {
      uint8_t v = 0;
      for (size_t i = 0; i < n; ++i) v = static_cast<uint8_t>(v + p[i]);
      return v;
    }
    case Sum::kXor8: {
      uint8_t v = 0;
      for (size_t i = 0; i < n; ++i) v ^= p[i];
      return v;
    }
  }
  return 0;
}

uint32_t sum_bytes(Sum sum) { return sum == Sum::kSum8 || sum == Sum::kXor8 ? 1 : 4; }

void store_number(const Number& number, uint8_t* p, uint64_t value) {
  for (unsigned i = 0; i < number.width; ++i, value >>= 8)
    p[number.big ? number.width - 1u - i : i] = static_cast<uint8_t>(value);
}

}  // namespace dragoman::descriptor
