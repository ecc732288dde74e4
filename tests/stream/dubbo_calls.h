// A call of Dubbo 2 as a Java client sends it, and what comes back.
#pragma once

#include <string>

#include "tests/stream/stream_support.h"

namespace dragoman::testing {

inline std::string dubbo_call() {
  return read_hex(source_dir() + "/tests/vectors/dubbo/dubbo-java27-request-hello-attachments.hex");
}

/// The next frame, whole; empty when the connection ends before its head.
inline std::string read_dubbo(TestSocket& s) {
  std::string head = s.read(16);
  if (head.size() < 16) return "";
  uint32_t length = 0;
  for (size_t i = 12; i < 16; ++i) length = length << 8 | static_cast<uint8_t>(head[i]);
  return head + s.read(length);
}

}  // namespace dragoman::testing
