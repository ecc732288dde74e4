// Base64 (RFC 4648 section 4): the usual alphabet, padded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dragoman {

/// Characters for `n` bytes, with padding.
constexpr size_t base64_size(size_t n) { return (n + 2) / 3 * 4; }
/// Writes base64_size(in.size()) characters to `out`.
void base64_encode(std::span<const uint8_t> in, char* out);

/// Decodes a text that comes in pieces cut anywhere. Several padded texts may follow one another. Strict: no other
/// characters, no bits left over.
class Base64Decoder {
 public:
  /// Bytes that `n` more characters can give at most.
  static constexpr size_t bytes_max(size_t n) { return (n + 3) / 4 * 3; }

  /// Writes what is complete to `out` (room for bytes_max) and says how much in `written`; false when malformed.
  bool decode(std::span<const uint8_t> text, uint8_t* out, size_t& written);
  /// Whether the text may end here.
  bool complete() const { return digits_ == 0; }

 private:
  uint32_t bits_ = 0;
  uint8_t digits_ = 0;  // of the group of four under way
  uint8_t pads_ = 0;
};

}  // namespace dragoman
