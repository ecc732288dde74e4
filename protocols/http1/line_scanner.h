// Finds the end of a block of field lines (a head, or the trailers) before anything is parsed, with the rules a lenient
// parser would bend: lines end with CRLF and nothing else, no line is folded, and the limits on the block hold.
#pragma once

#include <cstddef>
#include <cstdint>

namespace dragoman {

struct BlockLimits {
  uint32_t start_line_bytes;  // with its CRLF; 0 = the block has no start line (trailers)
  uint32_t fields_bytes;      // all field lines and the empty line
  uint32_t fields;            // how many
};

/// Incremental: the verdict depends on the bytes only, never on how they were split into calls.
class LineScanner {
 public:
  enum class Verdict : uint8_t { kMore, kEnd, kBareLf, kFolded, kStartLineTooLong, kFieldsTooLong, kTooManyFields };

  /// Looks at the block's first `n` bytes; `n` never shrinks from call to call.
  Verdict scan(const uint8_t* block, size_t n, const BlockLimits& limits);
  /// After kEnd: the block's length with the empty line.
  size_t size() const { return at_; }

 private:
  uint32_t at_ = 0;      // scanned up to here
  uint32_t line_ = 0;    // start of the current line
  uint32_t fields_ = 0;  // offset of the first field line
  uint32_t lines_ = 0;
};

}  // namespace dragoman
