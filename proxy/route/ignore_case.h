// Keys of maps that are equal in any letter case.
#pragma once

#include <cstdint>
#include <string_view>

#include "protocols/head.h"

namespace dragoman {

struct IgnoreCaseHash {
  using is_transparent = void;
  /// FNV-1a over lower-case letters.
  size_t operator()(std::string_view text) const {
    uint64_t hash = 0xcbf29ce484222325;
    for (char c : text) {
      auto byte = static_cast<uint8_t>(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
      hash = (hash ^ byte) * 0x100000001b3;
    }
    return hash;
  }
};
struct IgnoreCaseEqual {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const { return equals_ignore_case(a, b); }
};

}  // namespace dragoman
