// CRC-32 (zlib polynomial, as in Ethernet and gzip) of frames, and how to fix it without reading the whole
// frame again.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dragoman {

/// CRC of `n` bytes; `crc` continues an earlier piece.
uint32_t crc32_of(const uint8_t* data, size_t n, uint32_t crc = 0);

/// When the first bytes of a message (CRC `old_prefix`) are replaced by others (CRC `new_prefix`, of any
/// length) and `rest` bytes follow unchanged, the message's CRC changes by XOR with this mask.
uint32_t crc32_change(uint32_t old_prefix, uint32_t new_prefix, uint64_t rest);

}  // namespace dragoman
