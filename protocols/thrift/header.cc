#include "protocols/thrift/header.h"

#include <zlib.h>

namespace dragoman::thrift {

Parsed parse_header(std::span<const uint8_t> frame, uint64_t total, Header& out, size_t& need) {
  if (total < kHeaderFixed) return Parsed::kMalformed;
  need = kHeaderFixed;
  if (frame.size() < need) return Parsed::kNeed;
  out.sequence = load_be<uint32_t>(&frame[8]);
  uint32_t words = load_be<uint16_t>(&frame[12]);
  out.end = kHeaderFixed + size_t{4} * words;
  if (words > kHeaderWordsMax || out.end > total) return Parsed::kMalformed;
  need = out.end;
  if (frame.size() < need) return Parsed::kNeed;
  ByteReader in(frame.subspan(kHeaderFixed, out.end - kHeaderFixed));
  uint64_t encoding = read_varint(in, 5);
  uint64_t transforms = read_varint(in, 5);
  if (!in.ok() || transforms > in.remaining()) return Parsed::kMalformed;
  out.known = out.known_encoding = encoding == 0 || encoding == 2;
  out.encoding = encoding == 2 ? Encoding::kCompact : Encoding::kBinary;
  out.transforms = static_cast<uint32_t>(transforms);
  for (uint64_t i = 0; i < transforms; ++i) {
    uint64_t id = read_varint(in, 5);
    out.zlib = id == 1 && transforms == 1;
    if (id == 0 || id > 3) out.known = false;
  }
  if (!in.ok()) return Parsed::kMalformed;
  out.info = kHeaderFixed + in.position();
  return walk_info(frame, out, [](std::string_view, std::string_view, auto) {}) ? Parsed::kDone
                                                                                : Parsed::kMalformed;
}

size_t inflate_beginning(std::span<const uint8_t> compressed, std::span<uint8_t> out) {
  z_stream z{};
  if (inflateInit(&z) != Z_OK) return 0;
  z.next_in = const_cast<uint8_t*>(compressed.data());
  z.avail_in = static_cast<uInt>(compressed.size());
  z.next_out = out.data();
  z.avail_out = static_cast<uInt>(out.size());
  int result = inflate(&z, Z_SYNC_FLUSH);
  inflateEnd(&z);
  return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR ? out.size() - z.avail_out : 0;
}

}  // namespace dragoman::thrift
