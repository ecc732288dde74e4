// The part of the SOFA Bolt v1 frame that the bench tools speak. All integers are big-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dragoman::bench::bolt {

inline constexpr uint8_t kTypeResponse = 0;
inline constexpr uint8_t kTypeRequest = 1;
inline constexpr uint8_t kTypeOneway = 2;
inline constexpr uint16_t kCmdHeartbeat = 0;
inline constexpr uint16_t kCmdRequest = 1;
inline constexpr uint16_t kCmdResponse = 2;
inline constexpr uint16_t kCmdGoAway = 100;
inline constexpr uint8_t kCodecHessian2 = 1;

inline constexpr size_t kRequestHeaderBytes = 22;
inline constexpr size_t kResponseHeaderBytes = 20;
inline constexpr size_t kIdOffset = 5;
inline constexpr uint32_t kContentBytesMax = 16u << 20;

inline constexpr std::string_view kRequestClass = "com.alipay.sofa.rpc.core.request.SofaRequest";
inline constexpr std::string_view kResponseClass = "com.alipay.sofa.rpc.core.response.SofaResponse";

inline uint16_t load16(const char* p) {
  const auto* b = reinterpret_cast<const uint8_t*>(p);
  return static_cast<uint16_t>(b[0] << 8 | b[1]);
}

inline uint32_t load32(const char* p) { return static_cast<uint32_t>(load16(p)) << 16 | load16(p + 2); }

inline void store16(char* p, uint16_t v) {
  p[0] = static_cast<char>(v >> 8);
  p[1] = static_cast<char>(v);
}

inline void store32(char* p, uint32_t v) {
  store16(p, static_cast<uint16_t>(v >> 16));
  store16(p + 2, static_cast<uint16_t>(v));
}

inline void append32(std::string& out, uint32_t v) {
  char bytes[4];
  store32(bytes, v);
  out.append(bytes, sizeof bytes);
}

// One frame inside a buffer; the views point into it.
struct Frame {
  uint8_t type = 0;
  uint16_t command = 0;
  uint8_t command_version = 1;
  uint32_t id = 0;
  uint8_t codec = kCodecHessian2;
  uint16_t status = 0;  // responses only
  std::string_view class_name;
  std::string_view header;
  std::string_view content;
  size_t total_bytes = 0;
};

enum class Parse { kFrame, kNeedMore, kError };

// Reads the frame at the start of `in`.
inline Parse parse(std::string_view in, Frame& frame) {
  if (in.empty()) return Parse::kNeedMore;
  if (in[0] != 1) return Parse::kError;
  if (in.size() < 2) return Parse::kNeedMore;
  const auto type = static_cast<uint8_t>(in[1]);
  if (type > kTypeOneway) return Parse::kError;
  const size_t fixed = type == kTypeResponse ? kResponseHeaderBytes : kRequestHeaderBytes;
  if (in.size() < fixed) return Parse::kNeedMore;
  const char* p = in.data();
  const char* lengths = p + fixed - 8;
  const size_t class_len = load16(lengths);
  const size_t header_len = load16(lengths + 2);
  const size_t content_len = load32(lengths + 4);
  if (content_len > kContentBytesMax) return Parse::kError;
  const size_t total = fixed + class_len + header_len + content_len;
  if (in.size() < total) return Parse::kNeedMore;
  frame.type = type;
  frame.command = load16(p + 2);
  frame.command_version = static_cast<uint8_t>(p[4]);
  frame.id = load32(p + kIdOffset);
  frame.codec = static_cast<uint8_t>(p[9]);
  frame.status = type == kTypeResponse ? load16(p + 10) : uint16_t{0};
  frame.class_name = in.substr(fixed, class_len);
  frame.header = in.substr(fixed + class_len, header_len);
  frame.content = in.substr(fixed + class_len + header_len, content_len);
  frame.total_bytes = total;
  return Parse::kFrame;
}

// Appends the fixed header of a request (or one-way call, heartbeat, GoAway).
inline void append_request_header(std::string& out, uint8_t type, uint16_t command, uint32_t id,
                                  int32_t timeout_ms, size_t class_len, size_t header_len,
                                  size_t content_len) {
  char h[kRequestHeaderBytes];
  h[0] = 1;
  h[1] = static_cast<char>(type);
  store16(h + 2, command);
  h[4] = 1;
  store32(h + kIdOffset, id);
  h[9] = static_cast<char>(kCodecHessian2);
  store32(h + 10, static_cast<uint32_t>(timeout_ms));
  store16(h + 14, static_cast<uint16_t>(class_len));
  store16(h + 16, static_cast<uint16_t>(header_len));
  store32(h + 18, static_cast<uint32_t>(content_len));
  out.append(h, sizeof h);
}

// Appends the fixed header of the answer to `request`, status 0 and no header section.
inline void append_response_header(std::string& out, const Frame& request, uint16_t command, uint32_t id,
                                   size_t class_len, size_t content_len) {
  char h[kResponseHeaderBytes];
  h[0] = 1;
  h[1] = static_cast<char>(kTypeResponse);
  store16(h + 2, command);
  h[4] = static_cast<char>(request.command_version);
  store32(h + kIdOffset, id);
  h[9] = static_cast<char>(request.codec);
  store16(h + 10, 0);
  store16(h + 12, static_cast<uint16_t>(class_len));
  store16(h + 14, 0);
  store32(h + 16, static_cast<uint32_t>(content_len));
  out.append(h, sizeof h);
}

inline void append_heartbeat_answer(std::string& out, const Frame& request) {
  append_response_header(out, request, kCmdHeartbeat, request.id, 0, 0);
}

// Appends one pair of the SOFARPC header section.
inline void append_pair(std::string& out, std::string_view key, std::string_view value) {
  append32(out, static_cast<uint32_t>(key.size()));
  out.append(key);
  append32(out, static_cast<uint32_t>(value.size()));
  out.append(value);
}

}  // namespace dragoman::bench::bolt
