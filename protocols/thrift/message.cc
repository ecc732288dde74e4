#include "protocols/thrift/message.h"

#include <algorithm>

#include "protocols/plugin.h"

namespace dragoman::thrift {
namespace {

constexpr uint8_t kCompactId = 0x82;
constexpr size_t kOldNameMax = 256;

bool is_type(uint8_t type) { return type >= kCall && type <= kOneWay; }

bool is_name_char(uint8_t c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':' ||
         c == '.' || c == '$' || c == '-' || c == '/';
}

std::string_view text_at(std::span<const uint8_t> bytes, size_t at, size_t n) {
  return {reinterpret_cast<const char*>(bytes.data()) + at, n};
}

Parsed need(Message& out, size_t n, uint64_t limit) {
  if (limit && n > limit) return Parsed::kMalformed;
  out.need = n;
  return Parsed::kNeed;
}

Parsed parse_binary(std::span<const uint8_t> b, uint8_t first, uint64_t limit, Message& out) {
  if (b[0] != first || (b.size() > 1 && b[1] != 0x01)) return Parsed::kNotMine;
  if (b.size() < 4) return need(out, 4, limit);
  out.type = b[3];
  if (!is_type(out.type)) return Parsed::kMalformed;
  if (b.size() < 8) return need(out, 8, limit);
  uint32_t name = load_be<uint32_t>(&b[4]);
  if (name > INT32_MAX || (limit && name > limit)) return Parsed::kMalformed;
  if (name > kNameBytesMax) return Parsed::kTooBig;
  out.size = 12 + name;
  if (b.size() < out.size) return need(out, out.size, limit);
  if (limit && out.size > limit) return Parsed::kMalformed;
  out.name = text_at(b, 8, name);
  out.sequence_offset = 8 + name;
  out.sequence_len = 4;
  out.sequence = load_be<uint32_t>(&b[out.sequence_offset]);
  return Parsed::kDone;
}

/// Without a version there is nothing to know it by but a name that looks like one.
Parsed parse_old(std::span<const uint8_t> b, uint64_t limit, Message& out) {
  for (size_t i = 0; i < std::min<size_t>(b.size(), 2); ++i)
    if (b[i] != 0) return Parsed::kNotMine;
  if (b.size() < 4) return need(out, 4, limit);
  uint32_t name = load_be<uint32_t>(b.data());
  if (name == 0 || name > kOldNameMax) return Parsed::kNotMine;
  for (size_t i = 4; i < std::min<size_t>(b.size(), 4 + name); ++i)
    if (!is_name_char(b[i])) return Parsed::kNotMine;
  if (b.size() > 4 + name && !is_type(b[4 + name])) return Parsed::kNotMine;
  out.size = 9 + name;
  if (limit && out.size > limit) return Parsed::kNotMine;
  if (b.size() < out.size) return need(out, out.size, limit);
  out.type = b[4 + name];
  out.name = text_at(b, 4, name);
  out.sequence_offset = 5 + name;
  out.sequence_len = 4;
  out.sequence = load_be<uint32_t>(&b[out.sequence_offset]);
  return Parsed::kDone;
}

Parsed parse_compact(std::span<const uint8_t> b, uint64_t limit, Message& out) {
  if (b[0] != kCompactId) return Parsed::kNotMine;
  if (b.size() < 2) return need(out, 2, limit);
  if ((b[1] & 0x1f) != 1) return Parsed::kNotMine;
  out.type = b[1] >> 5;
  if (!is_type(out.type)) return Parsed::kMalformed;
  size_t at = 2;
  auto varint = [&](uint64_t& value, size_t bytes_max) {
    value = 0;
    for (size_t i = 0; i < bytes_max; ++i) {
      if (at >= b.size()) return need(out, at + 1, limit);
      uint8_t c = b[at++];
      value |= uint64_t{c & 0x7fu} << 7 * i;
      if (!(c & 0x80)) return value > UINT32_MAX ? Parsed::kMalformed : Parsed::kDone;
    }
    return Parsed::kMalformed;
  };
  uint64_t value = 0;
  out.sequence_offset = at;
  if (Parsed p = varint(value, 5); p != Parsed::kDone) return p;
  out.sequence = static_cast<uint32_t>(value);
  out.sequence_len = at - out.sequence_offset;
  if (Parsed p = varint(value, 5); p != Parsed::kDone) return p;
  if (limit && value > limit) return Parsed::kMalformed;
  if (value > kNameBytesMax) return Parsed::kTooBig;
  out.size = at + static_cast<size_t>(value);
  if (b.size() < out.size) return need(out, out.size, limit);
  if (limit && out.size > limit) return Parsed::kMalformed;
  out.name = text_at(b, at, static_cast<size_t>(value));
  return Parsed::kDone;
}

}  // namespace

Parsed parse_message(std::span<const uint8_t> bytes, Encoding encoding, uint64_t limit, Message& out) {
  if (bytes.empty()) return need(out, 1, limit);
  switch (encoding) {
    case Encoding::kBinary:
      return parse_binary(bytes, 0x80, limit, out);
    case Encoding::kOldBinary:
      return parse_old(bytes, limit, out);
    case Encoding::kCompact:
      return parse_compact(bytes, limit, out);
  }
  return Parsed::kNotMine;
}

Parsed parse_kitex_protobuf(std::span<const uint8_t> bytes, uint64_t limit, Message& out) {
  if (bytes.empty()) return need(out, 1, limit);
  return parse_binary(bytes, 0x90, limit, out);
}

void write_varint(uint64_t value, ByteWriter& out) {
  for (; value >= 0x80; value >>= 7) out.u8(static_cast<uint8_t>(value | 0x80));
  out.u8(static_cast<uint8_t>(value));
}

uint64_t read_varint(ByteReader& in, int bytes_max) {
  uint64_t value = 0;
  for (int i = 0; i < bytes_max; ++i) {
    uint8_t c = in.u8();
    value |= uint64_t{c & 0x7fu} << 7 * i;
    if (!(c & 0x80)) return value;
  }
  in.skip(SIZE_MAX);
  return 0;
}

void write_exception(std::string_view name, uint32_t sequence, std::string_view text, ErrorType type,
                     Encoding encoding, ByteWriter& out) {
  if (encoding == Encoding::kCompact) {
    out.u8(kCompactId);
    out.u8(kException << 5 | 1);
    write_varint(sequence, out);
    write_varint(name.size(), out);
    out.text(name);
    out.u8(0x18);  // field 1: string
    write_varint(text.size(), out);
    out.text(text);
    out.u8(0x15);  // field 2: i32
    write_varint(uint64_t{type} << 1, out);
  } else {
    if (encoding == Encoding::kBinary) out.be<uint32_t>(0x80010000u | kException);
    out.be<uint32_t>(static_cast<uint32_t>(name.size()));
    out.text(name);
    if (encoding == Encoding::kOldBinary) out.u8(kException);
    out.be<uint32_t>(sequence);
    out.u8(11);
    out.be<uint16_t>(1);
    out.be<uint32_t>(static_cast<uint32_t>(text.size()));
    out.text(text);
    out.u8(8);
    out.be<uint16_t>(2);
    out.be<uint32_t>(type);
  }
  out.u8(0);
}

int32_t exception_type(std::span<const uint8_t> body, Encoding encoding) {
  ByteReader in(body);
  if (encoding == Encoding::kCompact) {
    uint8_t field = in.u8();
    if (field == 0x18) {
      in.skip(static_cast<size_t>(read_varint(in, 5)));
      field = in.u8();
    }
    uint64_t value = field == 0x15 || field == 0x25 ? read_varint(in, 5) : 0;
    return in.ok() ? static_cast<int32_t>(value >> 1) : 0;
  }
  uint8_t field = in.u8();
  uint16_t id = in.be<uint16_t>();
  if (field == 11 && id == 1) {
    in.skip(in.be<uint32_t>());
    field = in.u8();
    id = in.be<uint16_t>();
  }
  uint32_t value = field == 8 && id == 2 ? in.be<uint32_t>() : 0;
  return in.ok() ? static_cast<int32_t>(value) : 0;
}

uint32_t outcome_of(int32_t exception_type) {
  switch (exception_type) {
    case kUnknownMethod:
      return DRAGOMAN_OUTCOME_NO_ROUTE;
    case kProtocolError:
    case kInvalidTransform:
    case kInvalidProtocol:
      return DRAGOMAN_OUTCOME_CODEC_ERROR;
    default:
      return DRAGOMAN_OUTCOME_SERVER_ERROR;
  }
}

ErrorType error_for(uint32_t outcome) {
  switch (outcome) {
    case DRAGOMAN_OUTCOME_CODEC_ERROR:
    case DRAGOMAN_OUTCOME_TOO_LARGE:
      return kProtocolError;
    case DRAGOMAN_OUTCOME_NO_ROUTE:
      return kUnknownMethod;
    default:
      return kInternalError;
  }
}

std::string_view words_for(uint32_t outcome) {
  switch (outcome) {
    case DRAGOMAN_OUTCOME_CLIENT_ERROR:
    case DRAGOMAN_OUTCOME_CODEC_ERROR:
    case DRAGOMAN_OUTCOME_TOO_LARGE:
      return "mesh: bad request";
    case DRAGOMAN_OUTCOME_OVERLOADED:
    case DRAGOMAN_OUTCOME_RATE_LIMITED:
      return "mesh: upstream overflow";
    case DRAGOMAN_OUTCOME_TIMEOUT:
      return "mesh: upstream timeout";
    case DRAGOMAN_OUTCOME_UNAVAILABLE:
      return "mesh: no healthy upstream";
    case DRAGOMAN_OUTCOME_NO_ROUTE:
      return "mesh: no route";
    case DRAGOMAN_OUTCOME_DENIED:
      return "mesh: denied";
    case DRAGOMAN_OUTCOME_RESET:
      return "mesh: upstream lost";
    default:
      return "mesh: error";
  }
}

}  // namespace dragoman::thrift
