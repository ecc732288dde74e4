// What fuzz targets share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "proxy/base/buffer.h"

namespace dragoman::fuzz {

#define REQUIRE(condition)                                                         \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      __builtin_trap();                                                            \
    }                                                                              \
  } while (0)

class Sink final : public ByteSink {
 public:
  /// Everything written since the last call.
  std::string take() {
    collect();
    std::string text(out.size(), '\0');
    out.copy_to(reinterpret_cast<uint8_t*>(text.data()));
    out.clear();
    dirty_ = false;
    return text;
  }

 private:
  void on_dirty() override {}
};

/// Reads the input piece by piece; zeros after its end.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  bool more() const { return at_ < end_; }
  uint8_t u8() { return at_ < end_ ? *at_++ : 0; }
  uint32_t u16() {
    uint32_t high = u8();
    return high << 8 | u8();
  }
  std::string_view bytes(size_t n) {
    n = std::min(n, static_cast<size_t>(end_ - at_));
    std::string_view text(reinterpret_cast<const char*>(at_), n);
    at_ += n;
    return text;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

}  // namespace dragoman::fuzz
