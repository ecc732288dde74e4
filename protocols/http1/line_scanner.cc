#include "protocols/http1/line_scanner.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <algorithm>
#include <bit>
#include <cstring>

namespace dragoman {
namespace {

constexpr size_t kStep = 16;

/// Where line feeds are among the 16 bytes at `p`, as bits.
uint32_t line_feeds(const uint8_t* p) {
#if defined(__SSE2__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n'))));
#else
  uint32_t bits = 0;
  for (size_t i = 0; i < kStep; ++i) bits |= uint32_t{p[i] == '\n'} << i;
  return bits;
#endif
}

/// The same of the last `n` < 16 bytes before `end`, of a block that begins at `block`.
uint32_t last_line_feeds(const uint8_t* block, const uint8_t* end, size_t n) {
  if (end - block >= static_cast<ptrdiff_t>(kStep)) return line_feeds(end - kStep) >> (kStep - n);
  uint32_t bits = 0;
  for (size_t i = 0; i < n; ++i) bits |= uint32_t{*(end - n + i) == '\n'} << i;
  return bits;
}

bool blank(uint8_t byte) { return byte == ' ' || byte == '\t'; }

}  // namespace

LineScanner::Verdict LineScanner::scan(const uint8_t* block, size_t n, const BlockLimits& limits) {
  // A verdict must not depend on bytes beyond a limit.
  if (lines_ == 0 && limits.start_line_bytes != 0) {
    const size_t window = std::min<size_t>(n, limits.start_line_bytes);
    const void* found = std::memchr(block + at_, '\n', window - at_);
    if (!found) {
      at_ = static_cast<uint32_t>(window);
      return n <= limits.start_line_bytes ? Verdict::kMore : Verdict::kStartLineTooLong;
    }
    const auto end = static_cast<uint32_t>(static_cast<const uint8_t*>(found) - block) + 1;
    if (end < 2 || block[end - 2] != '\r') return Verdict::kBareLf;
    at_ = line_ = fields_ = end;
    if (end == 2) return Verdict::kEnd;
    ++lines_;
  }
  const uint64_t lines_max = uint64_t{limits.fields} + (limits.start_line_bytes ? 1 : 0);
  const size_t limit = size_t{fields_} + limits.fields_bytes;
  const size_t window = std::min(n, limit);
  if (at_ == line_ && line_ < window && blank(block[line_])) return Verdict::kFolded;
  for (size_t at = at_; at < window; at += kStep) {
    const size_t rest = window - at;
    for (uint32_t feeds = rest >= kStep ? line_feeds(block + at)
                                        : last_line_feeds(block, block + window, rest);
         feeds; feeds &= feeds - 1) {
      const auto end = static_cast<uint32_t>(at + static_cast<size_t>(std::countr_zero(feeds)) + 1);
      const uint32_t length = end - line_;
      if (length < 2 || block[end - 2] != '\r') return Verdict::kBareLf;
      at_ = line_ = end;
      if (length == 2) return Verdict::kEnd;
      if (++lines_ > lines_max) return Verdict::kTooManyFields;
      if (end < window && blank(block[end])) return Verdict::kFolded;
    }
  }
  at_ = static_cast<uint32_t>(window);
  return n <= limit ? Verdict::kMore : Verdict::kFieldsTooLong;
}

}  // namespace dragoman
