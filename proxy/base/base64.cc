#include "proxy/base/base64.h"

namespace dragoman {
namespace {

constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kBad = 64;

struct Values {
  uint8_t of[256];
  constexpr Values() : of{} {
    for (uint8_t& v : of) v = kBad;
    for (uint8_t i = 0; i < 64; ++i) of[static_cast<uint8_t>(kDigits[i])] = i;
  }
};
constexpr Values kValues;

}  // namespace

void base64_encode(std::span<const uint8_t> in, char* out) {
  size_t i = 0;
  for (; i + 3 <= in.size(); i += 3) {
    const uint32_t v = uint32_t{in[i]} << 16 | uint32_t{in[i + 1]} << 8 | in[i + 2];
    *out++ = kDigits[v >> 18];
    *out++ = kDigits[v >> 12 & 63];
    *out++ = kDigits[v >> 6 & 63];
    *out++ = kDigits[v & 63];
  }
  const size_t left = in.size() - i;
  if (left == 0) return;
  const uint32_t v = uint32_t{in[i]} << 16 | (left == 2 ? uint32_t{in[i + 1]} << 8 : 0);
  *out++ = kDigits[v >> 18];
  *out++ = kDigits[v >> 12 & 63];
  *out++ = left == 2 ? kDigits[v >> 6 & 63] : '=';
  *out = '=';
}

bool Base64Decoder::decode(std::span<const uint8_t> text, uint8_t* out, size_t& written) {
  uint8_t* at = out;
  for (uint8_t c : text) {
    if (c == '=') {
      if (digits_ < 2) return false;
      ++pads_;
      if (digits_ + pads_ < 4) continue;
      const uint32_t unused = digits_ == 2 ? 15 : 3;
      if (bits_ & unused) return false;
      if (digits_ == 3) *at++ = static_cast<uint8_t>(bits_ >> 10);
      *at++ = static_cast<uint8_t>(digits_ == 3 ? bits_ >> 2 : bits_ >> 4);
      *this = {};
      continue;
    }
    const uint8_t value = kValues.of[c];
    if (value == kBad || pads_) return false;
    bits_ = bits_ << 6 | value;
    if (++digits_ < 4) continue;
    *at++ = static_cast<uint8_t>(bits_ >> 16);
    *at++ = static_cast<uint8_t>(bits_ >> 8);
    *at++ = static_cast<uint8_t>(bits_);
    *this = {};
  }
  written = static_cast<size_t>(at - out);
  return true;
}

}  // namespace dragoman
