#include "protocols/dubbo/names.h"

#include <algorithm>

#include "proxy/base/cursor.h"

namespace dragoman::dubbo {
namespace {

enum Serialization : uint8_t {
  kJava = 3,
  kCompactedJava = 4,
  kFastjson = 6,
  kNativeJava = 7,
  kKryo = 8,
  kGson = 16,
  kProtobufJson = 21,
  kProtobuf = 22,
  kFastjson2 = 23,
  kMsgpack = 27,
};

/// Reads texts one after the other. What is no text makes broken() true; what is not all there, ok() of the reader false.
class Texts {
 public:
  Texts(std::span<const uint8_t> body, std::span<char, kNamesRoom> room)
      : in_(body), body_(body), room_(room) {}

  bool truncated() const { return !in_.ok(); }
  size_t position() const { return in_.position(); }

  bool read(uint8_t serialization, std::string_view& out) {
    switch (serialization) {
      case kFastjson2: return fastjson2(out);
      case kKryo: return kryo(out);
      case kProtobuf: return protobuf(out);
      case kMsgpack: return msgpack(out);
      case kJava:
      case kCompactedJava:
      case kNativeJava: return java(serialization != kNativeJava, out);
      case kFastjson:
      case kGson:
      case kProtobufJson: return json_line(out);
      default: return false;
    }
  }
  /// A string of JSONB.
  bool jsonb(std::string_view& out) {
    const uint8_t code = in_.u8();
    if (code == 0xaf) return in_.ok();  // null
    size_t length = 0;
    if (code >= 0x49 && code <= 0x78) {
      length = code - 0x49u;
    } else if (code == 0x79 || code == 0x7a) {
      const uint8_t first = in_.u8();
      if (first < 0x30)
        length = first;
      else if (first >= 0x30 && first <= 0x3f)
        length = (first - 0x38u) << 8 | in_.u8();
      else
        return false;
      if (length > kTextMax) return false;
    } else {
      return false;
    }
    out = in_.text(length);
    return in_.ok();
  }

 private:
  static constexpr size_t kTextMax = 4096;

  int peek() const { return in_.remaining() > 0 ? body_[in_.position()] : -1; }
  bool text(uint64_t length, std::string_view& out) {
    if (length > kTextMax) return false;
    out = in_.text(static_cast<size_t>(length));
    return in_.ok();
  }
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      const uint8_t byte = in_.u8();
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    return UINT64_MAX;
  }
  /// Each value of JSONB may stand behind its length.
  bool fastjson2(std::string_view& out) {
    if (peek() >= 0x49) return jsonb(out);
    const uint32_t length = in_.be<uint32_t>();
    if (!in_.ok() || length == 0 || length > kTextMax) return false;
    const size_t from = in_.position();
    return jsonb(out) && in_.position() - from == length;
  }
  /// ASCII of two characters and more ends with a set high bit; others have their length, plus one, in front.
  bool kryo(std::string_view& out) {
    const int first = peek();
    if (first < 0) return in_.skip(1), false;
    if (first < 0x80) {
      size_t at = in_.position();
      while (at < body_.size() && body_[at] < 0x80) ++at;
      const size_t length = at + 1 - in_.position();
      if (length > kTextMax) return false;
      std::string_view raw = in_.text(length);
      if (!in_.ok() || raw.size() > room_.size() - used_) return false;
      char* to = room_.data() + used_;
      used_ += raw.size();
      std::copy(raw.begin(), raw.end(), to);
      to[raw.size() - 1] = static_cast<char>(to[raw.size() - 1] & 0x7f);
      out = {to, raw.size()};
      return true;
    }
    const uint8_t lead = in_.u8();
    uint64_t length = lead & 0x3f;
    if (lead & 0x40) {
      const uint8_t more = in_.u8();
      if (more & 0x80) return false;
      length |= uint64_t{more} << 6;
    }
    return length == 0 || text(length - 1, out);  // 0: null
  }
  /// A StringValue behind its length.
  bool protobuf(std::string_view& out) {
    const uint64_t size = varint();
    if (!in_.ok() || size > kTextMax) return false;
    if (size == 0) return true;
    const size_t from = in_.position();
    if (in_.u8() != 0x0a) return false;
    return text(varint(), out) && in_.position() - from == size;
  }
  bool msgpack(std::string_view& out) {
    const uint8_t code = in_.u8();
    if (code == 0xc0) return in_.ok();
    if (code >= 0xa0 && code <= 0xbf) return text(code - 0xa0u, out);
    if (code == 0xd9) return text(in_.u8(), out);
    return code == 0xda && text(in_.be<uint16_t>(), out);
  }
  /// writeUTF() of an ObjectOutputStream, in its first block; `counted`: behind the number of characters, -1 is null.
  bool java(bool counted, std::string_view& out) {
    if (in_.position() == 0) {
      if (in_.be<uint32_t>() != 0xaced0005) return false;
      const uint8_t block = in_.u8();
      const uint32_t length = block == 0x77 ? in_.u8() : block == 0x7a ? in_.be<uint32_t>() : 0;
      if (!in_.ok() || length == 0) return false;
      block_end_ = in_.position() + length;
    }
    if (counted && in_.be<uint32_t>() == UINT32_MAX) return in_.ok();
    return text(in_.be<uint16_t>(), out) && in_.position() <= block_end_;
  }
  bool json_line(std::string_view& out) {
    if (in_.u8() != '"') return false;
    size_t at = in_.position();
    while (at < body_.size() && body_[at] != '"' && body_[at] != '\\' && body_[at] >= 0x20) ++at;
    if (at < body_.size() && body_[at] != '"') return false;
    if (!text(at - in_.position(), out)) return false;
    in_.skip(1);
    while (peek() == '\r' || peek() == '\n') in_.skip(1);
    return in_.ok();
  }

  ByteReader in_;
  std::span<const uint8_t> body_;
  std::span<char, kNamesRoom> room_;
  size_t used_ = 0;
  size_t block_end_ = 0;
};

bool is_name(std::string_view text, std::string_view more) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           c == '$' || more.find(c) != more.npos;
  });
}

template <class Read>
Names read_with(Texts& in, Read&& read) {
  Names out;
  std::string_view dubbo_version;
  const bool good = read(dubbo_version) && read(out.path) && read(out.version) && read(out.method);
  const bool numbered = !dubbo_version.empty() && dubbo_version[0] >= '0' && dubbo_version[0] <= '9';
  if (good && numbered && is_name(dubbo_version, ".-") && is_name(out.path, "./:-") && is_name(out.method, ""))
    out.end = in.position();
  out.truncated = in.truncated();
  return out;
}

}  // namespace

Names read_names(uint8_t serialization, std::span<const uint8_t> body, std::span<char, kNamesRoom> room, bool all) {
  Texts own(body, room);
  Names names = read_with(own, [&](std::string_view& out) { return own.read(serialization, out); });
  if (names.end || (names.truncated && !all)) return names;
  // Peers that say one thing and write another: JSONB is what newer ones agree on.
  Texts other(body, room);
  return read_with(other, [&](std::string_view& out) { return other.jsonb(out); });
}

}  // namespace dragoman::dubbo
