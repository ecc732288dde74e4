// The header of a RocketMQ command, in either of its two encodings.
#pragma once

#include <cstdint>
#include <string_view>

#include "protocols/rocketmq/json.h"

namespace dragoman::rocketmq {

enum Encoding : uint8_t { kJson = 0, kBinary = 1 };
enum Flag : uint32_t { kAnswer = 1, kOneWay = 2 };

inline constexpr size_t kBinaryHeaderMin = 21;
inline constexpr size_t kBinaryIdAt = 5;  // in the header
inline constexpr uint32_t kPairsMax = 1024;

/// The value of one of extFields.
struct Value {
  std::string_view text;  // as it stands
  JsonValue::Kind kind = JsonValue::kString;
  bool is_null() const { return kind == JsonValue::kScalar && text == "null"; }
  bool is_escaped() const { return escapes && text.find('\\') != text.npos; }
  bool escapes = false;
};

struct Command {
  bool ok = false;
  Encoding encoding;
  int32_t code = 0;
  int32_t id = 0;
  uint32_t flag = 0;
  size_t id_at = 0, id_len = 0;  // in the header
  size_t ext_begin = 0,
         ext_end = 0;      // extFields: the object with its braces; binary: the length and the pairs
  bool has_ext = false;    // binary headers always do
  size_t close_at = 0;     // JSON: the last brace
  bool empty = true;       // JSON: nothing between the braces
  bool is_signed = false;  // the pairs are covered by a signature

  Command(std::string_view header, Encoding encoding);

  /// Calls each(name, Value, begin, end) for every pair of extFields. False when they are broken.
  template <class Each>
  bool pairs(std::string_view header, Each&& each) const {
    uint32_t count = 0;
    if (encoding == kJson) {
      if (!has_ext) return true;
      JsonReader in(header.substr(0, ext_end), ext_begin);
      return in.object([&](const JsonValue& key, const JsonValue& value) {
        if (++count > kPairsMax || !is_plain_name(key.text)) return false;
        each(key.text, Value{value.text, value.kind, value.kind == JsonValue::kString}, key.begin, value.end);
        return true;
      });
    }
    ByteReader in(reinterpret_cast<const uint8_t*>(header.data()), ext_end);
    in.skip(ext_begin + 4);
    while (in.ok() && in.remaining() > 0) {
      size_t begin = in.position();
      std::string_view name = in.text(in.be<uint16_t>());
      std::string_view value = in.text(in.be<uint32_t>());
      if (!in.ok() || ++count > kPairsMax) return false;
      each(name, Value{value}, begin, in.position());
    }
    return in.ok();
  }

 private:
  /// Whether every reader takes a JSON name for the same: no escapes, UTF-8, and none of the marks ($ref, @type) of which
  /// fastjson makes something else.
  static bool is_plain_name(std::string_view name);
  bool read_json(std::string_view header);
  bool read_binary(std::string_view header);
};

/// The header of an answer with a remark, or none.
void write_answer(ByteWriter& out, Encoding encoding, int32_t code, int32_t id, std::string_view remark);
void write_number(ByteWriter& out, int32_t value);

}  // namespace dragoman::rocketmq
