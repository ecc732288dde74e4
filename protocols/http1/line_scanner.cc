#include "protocols/http1/line_scanner.h"

#include <algorithm>
#include <cstring>

namespace dragoman {

LineScanner::Verdict LineScanner::scan(const uint8_t* block, size_t n, const BlockLimits& limits) {
  for (;;) {
    bool start_line = lines_ == 0 && limits.start_line_bytes != 0;
    size_t limit = start_line ? limits.start_line_bytes : size_t{fields_} + limits.fields_bytes;
    size_t window = std::min(n, limit);  // a verdict must not depend on bytes beyond the limit
    if (!start_line && at_ == line_ && line_ < window && (block[line_] == ' ' || block[line_] == '\t'))
      return Verdict::kFolded;
    const void* found = std::memchr(block + at_, '\n', window - at_);
    if (!found) {
      at_ = static_cast<uint32_t>(window);
      if (n <= limit) return Verdict::kMore;
      return start_line ? Verdict::kStartLineTooLong : Verdict::kFieldsTooLong;
    }
    auto end = static_cast<uint32_t>(static_cast<const uint8_t*>(found) - block) + 1;
    uint32_t length = end - line_;
    if (length < 2 || block[end - 2] != '\r') return Verdict::kBareLf;
    at_ = line_ = end;
    if (length == 2) return Verdict::kEnd;
    if (start_line) {
      fields_ = end;
      ++lines_;
    } else if (++lines_ - (limits.start_line_bytes ? 1 : 0) > limits.fields) {
      return Verdict::kTooManyFields;
    }
  }
}

}  // namespace dragoman
