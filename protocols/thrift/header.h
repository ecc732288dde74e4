// The THeader transport: what stands between the frame's length and the message.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "protocols/thrift/message.h"
#include "proxy/base/cursor.h"

namespace dragoman::thrift {

inline constexpr size_t kHeaderFixed = 14;         // from the frame's beginning to the variable part
inline constexpr uint32_t kHeaderWordsMax = 16383;
inline constexpr uint32_t kInfoPairsMax = 1024;

struct Header {
  uint32_t sequence = 0;  // its own; the message has another
  Encoding encoding = Encoding::kBinary;
  uint32_t transforms = 0;
  bool zlib = false;      // the only transform is one that can be undone here
  bool known = true;      // encoding and transforms are of this protocol
  bool known_encoding = true;
  size_t info = 0;        // offset of the info sections
  size_t end = 0;         // offset of the payload
};

/// Reads the header of a frame of `total` bytes. kNeed: `need` bytes from the frame's beginning.
Parsed parse_header(std::span<const uint8_t> frame, uint64_t total, Header& out, size_t& need);

/// Calls pair(key, value, both as they stand) for the key-value sections. False when they are broken.
template <class OnPair>
bool walk_info(std::span<const uint8_t> frame, const Header& header, OnPair&& pair) {
  auto info = frame.subspan(header.info, header.end - header.info);
  ByteReader in(info);
  while (in.remaining() > 0) {
    if (read_varint(in, 5) != 1) return in.ok();  // padding, or something we can't read past
    uint64_t count = read_varint(in, 5);
    if (count > kInfoPairsMax) return false;
    for (uint64_t i = 0; i < count; ++i) {
      size_t from = in.position();
      std::string_view text[2];
      for (std::string_view& t : text) t = in.text(static_cast<size_t>(read_varint(in, 5)));
      if (!in.ok()) return false;
      pair(text[0], text[1], info.subspan(from, in.position() - from));
    }
  }
  return in.ok();
}

/// The first bytes of a compressed payload, as many as fit. 0 when it is broken.
size_t inflate_beginning(std::span<const uint8_t> compressed, std::span<uint8_t> out);

}  // namespace dragoman::thrift
