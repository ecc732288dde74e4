// Decoder of the chunked transfer coding (RFC 9112 7.1) up to the last chunk; the trailers that follow are a block of
// lines. Extensions are checked, bounded and dropped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace dragoman::http1 {

class ChunkDecoder {
 public:
  static constexpr uint32_t kSizeDigitsMax = 16;
  static constexpr uint32_t kExtensionBytesMax = 4096;  // of one chunk
  /// Of all chunks together: so much, and one more for so many bytes of the body. (Signatures of chunks take 1 %.)
  static constexpr uint32_t kExtensionBytesFree = 16 * 1024;
  static constexpr uint32_t kBodyBytesPerExtensionByte = 16;

  enum class Verdict : uint8_t {
    kMore,   // everything was consumed
    kData,   // `data` is a piece of the body; call again with the rest
    kLast,   // the size line of the last chunk was consumed
    kBad,
  };

  /// After kBad.
  const char* why() const { return allowance_ == 0 ? "chunk extensions too long" : "bad chunk"; }
  /// Consumes a prefix of `in`, says how much in `used`.
  Verdict decode(std::span<const uint8_t> in, size_t& used, std::span<const uint8_t>& data);

 private:
  enum class State : uint8_t { kSize, kExtension, kSizeLf, kData, kDataCr, kDataLf };
  State state_ = State::kSize;
  uint16_t line_ = 0;   // size digits, then extension bytes of this line
  uint64_t left_ = 0;
  uint64_t allowance_ =
      uint64_t{kExtensionBytesFree} * kBodyBytesPerExtensionByte;  // for extensions, in bytes of the body
};

}  // namespace dragoman::http1
