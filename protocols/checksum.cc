#include "protocols/checksum.h"

#include <zlib.h>

#include <algorithm>

namespace dragoman {

uint32_t crc32_of(const uint8_t* data, size_t n, uint32_t crc) {
  while (n > 0) {  // zlib takes 32-bit lengths
    auto piece = static_cast<uInt>(std::min<size_t>(n, 1u << 30));
    crc = static_cast<uint32_t>(crc32(crc, data, piece));
    data += piece;
    n -= piece;
  }
  return crc;
}

uint32_t crc32_change(uint32_t old_prefix, uint32_t new_prefix, uint64_t rest) {
  // crc(A + B) = shift(crc(A), |B|) ^ crc(B), and shift is linear: the unchanged B cancels out.
  return static_cast<uint32_t>(crc32_combine(old_prefix ^ new_prefix, 0, static_cast<z_off_t>(rest)));
}

}  // namespace dragoman
