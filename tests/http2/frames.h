// HTTP/2 frames made and read by hand, so that the tests depend on no library's idea of what may be sent.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dragoman::testing {

namespace h2 {

enum Type : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};
enum Flag : uint8_t { kNone = 0, kEndStream = 1, kAck = 1, kEndHeaders = 4, kPadded = 8, kHasPriority = 32 };
enum Code : uint32_t {
  kNoError = 0,
  kProtocolError = 1,
  kInternalError = 2,
  kFlowControlError = 3,
  kSettingsTimeout = 4,
  kStreamClosed = 5,
  kFrameSizeError = 6,
  kRefusedStream = 7,
  kCancel = 8,
  kCompressionError = 9,
  kEnhanceYourCalm = 11,
};

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

inline std::string u32(uint32_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8), static_cast<char>(v)};
}
inline std::string u16(uint32_t v) { return u32(v).substr(2); }

/// A frame whose length field may lie.
inline std::string raw_frame(uint32_t length, uint8_t type, uint8_t flags, uint32_t id, std::string_view payload) {
  std::string out = u32(length).substr(1);
  out += static_cast<char>(type);
  out += static_cast<char>(flags);
  return out + u32(id) + std::string(payload);
}
inline std::string frame(uint8_t type, uint8_t flags, uint32_t id, std::string_view payload = {}) {
  return raw_frame(static_cast<uint32_t>(payload.size()), type, flags, id, payload);
}

using Fields = std::vector<std::pair<std::string, std::string>>;

inline std::string hpack_int(uint8_t first, int prefix, uint64_t v) {
  uint64_t max = (1u << prefix) - 1;
  std::string out;
  if (v < max) return {static_cast<char>(first | v)};
  out += static_cast<char>(first | max);
  for (v -= max; v >= 128; v >>= 7) out += static_cast<char>(128 | (v & 127));
  return out += static_cast<char>(v);
}
inline std::string hpack_text(std::string_view text) { return hpack_int(0, 7, text.size()) + std::string(text); }
/// Literals without indexing: nothing depends on what was sent before.
inline std::string block(const Fields& fields) {
  std::string out;
  for (const auto& [name, value] : fields) {
    out += '\0';
    out += hpack_text(name) + hpack_text(value);
  }
  return out;
}
inline Fields get(std::string_view path = "/") {
  return {{":method", "GET"}, {":scheme", "http"}, {":path", std::string(path)}, {":authority", "a.example"}};
}
inline Fields post(std::string_view path = "/") {
  Fields f = get(path);
  f[0].second = "POST";
  return f;
}
inline Fields operator+(Fields a, const Fields& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

inline std::string headers(uint32_t id, const Fields& fields, uint8_t flags = kEndHeaders | kEndStream) {
  return frame(kHeaders, flags, id, block(fields));
}
inline std::string data(uint32_t id, std::string_view body, uint8_t flags = kNone) { return frame(kData, flags, id, body); }
inline std::string rst(uint32_t id, uint32_t code = kCancel) { return frame(kRstStream, 0, id, u32(code)); }
inline std::string ping(bool ack = false) { return frame(kPing, ack ? kAck : 0, 0, "12345678"); }
inline std::string window_update(uint32_t id, uint32_t n) { return frame(kWindowUpdate, 0, id, u32(n)); }
inline std::string goaway(uint32_t last, uint32_t code) { return frame(kGoAway, 0, 0, u32(last) + u32(code)); }
inline std::string settings(const std::vector<std::pair<uint16_t, uint32_t>>& list = {}) {
  std::string payload;
  for (auto [id, value] : list) payload += u16(id) + u32(value);
  return frame(kSettings, 0, 0, payload);
}
inline std::string hello() { return std::string(kPreface) + settings(); }

/// A frame as read.
struct Frame {
  uint8_t type;
  uint8_t flags;
  uint32_t id;
  std::string payload;

  uint32_t word(size_t at) const {
    uint32_t v = 0;
    for (size_t i = at; i < at + 4 && i < payload.size(); ++i) v = v << 8 | static_cast<uint8_t>(payload[i]);
    return v;
  }
};

/// Complete frames of `bytes`, after a preface if there is one.
inline std::vector<Frame> parse(std::string_view bytes) {
  std::vector<Frame> out;
  if (bytes.starts_with(kPreface)) bytes.remove_prefix(kPreface.size());
  while (bytes.size() >= 9) {
    auto u8 = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
    size_t n = size_t{u8(0)} << 16 | size_t{u8(1)} << 8 | u8(2);
    if (bytes.size() < 9 + n) break;
    uint32_t id = uint32_t{u8(5)} << 24 | uint32_t{u8(6)} << 16 | uint32_t{u8(7)} << 8 | u8(8);
    out.push_back({u8(3), u8(4), id, std::string(bytes.substr(9, n))});
    bytes.remove_prefix(9 + n);
  }
  return out;
}

}  // namespace h2

}  // namespace dragoman::testing
