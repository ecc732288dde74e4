// The values before a call's arguments where the body is not Hessian 2: as many of Dubbo's serializations as write them as
// plain texts.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace dragoman::dubbo {

struct Names {
  std::string_view path, version, method;  // in the body, or in the room that was given
  size_t end = 0;                          // from the body's beginning; 0 when they could not be read
  bool truncated = false;                  // more bytes may tell
};

inline constexpr size_t kNamesRoom = 512;

/// Reads the beginning of a request's body. `room`: for texts that stand in the body in another form. `all`: more bytes than
/// these will not be looked at.
Names read_names(uint8_t serialization, std::span<const uint8_t> body, std::span<char, kNamesRoom> room, bool all);

}  // namespace dragoman::dubbo
