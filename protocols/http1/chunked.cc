#include "protocols/http1/chunked.h"

#include <algorithm>

namespace dragoman::http1 {
namespace {

int hex(uint8_t c) {
  if (c >= '0' && c <= '9') return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

}  // namespace

ChunkDecoder::Verdict ChunkDecoder::decode(std::span<const uint8_t> in, size_t& used, std::span<const uint8_t>& data) {
  for (used = 0; used < in.size();) {
    if (state_ == State::kData) {
      data = in.subspan(used, std::min<uint64_t>(left_, in.size() - used));
      used += data.size();
      left_ -= data.size();
      allowance_ += data.size();
      if (left_ == 0) state_ = State::kDataCr;
      return Verdict::kData;
    }
    uint8_t c = in[used++];
    switch (state_) {
      case State::kSize:
        if (int digit = hex(c); digit >= 0) {
          if (++line_ > kSizeDigitsMax || left_ >> 59) return Verdict::kBad;  // below 2^63
          left_ = left_ << 4 | static_cast<uint64_t>(digit);
          break;
        }
        if (line_ == 0) return Verdict::kBad;
        line_ = 0;
        if (c == '\r')
          state_ = State::kSizeLf;
        else if (c == ';')
          state_ = State::kExtension;
        else
          return Verdict::kBad;
        break;
      case State::kExtension:
        if (c == '\r') {
          state_ = State::kSizeLf;
          break;
        }
        if ((c < 0x20 && c != '\t') || c == 0x7f) return Verdict::kBad;
        if (++line_ > kExtensionBytesMax || allowance_ < kBodyBytesPerExtensionByte) {
          allowance_ = 0;
          return Verdict::kBad;
        }
        allowance_ -= kBodyBytesPerExtensionByte;
        break;
      case State::kSizeLf:
        if (c != '\n') return Verdict::kBad;
        line_ = 0;
        if (left_ == 0) {
          state_ = State::kSize;
          return Verdict::kLast;
        }
        state_ = State::kData;
        break;
      case State::kData:
        break;  // above
      case State::kDataCr:
        if (c != '\r') return Verdict::kBad;
        state_ = State::kDataLf;
        break;
      case State::kDataLf:
        if (c != '\n') return Verdict::kBad;
        state_ = State::kSize;
        break;
    }
  }
  return Verdict::kMore;
}

}  // namespace dragoman::http1
