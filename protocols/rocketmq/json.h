// The JSON that RocketMQ's headers are written in: walking over one value without building it, and text in quotes.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/cursor.h"

namespace dragoman::rocketmq {

/// One value: `text` is what stands between the quotes of a string (escapes as they are), else the whole value.
struct JsonValue {
  enum Kind : uint8_t { kString, kScalar, kObject, kArray };  // scalar: numbers, true, false, null
  Kind kind = kScalar;
  std::string_view text;
  size_t begin = 0, end = 0;  // with the quotes
};

/// Walks over JSON text (RFC 8259). Once something is wrong it stays so.
class JsonReader {
 public:
  static constexpr int kDepthMax = 16;

  JsonReader(std::string_view text, size_t from) : text_(text), at_(from) {}
  bool ok() const { return ok_; }
  size_t position() const { return at_; }

  void space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r' || text_[at_] == '\n'))
      ++at_;
  }
  /// Takes `c` if it is next.
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  /// The value that begins here, behind space; false when there is none.
  bool value(JsonValue& out) { return value(out, 0); }

  /// Reads the members of the object that begins here and calls each(key, value) for them; false when it is broken.
  template <class Each>
  bool object(Each&& each) {
    space();
    if (!take('{')) return fail();
    space();
    if (take('}')) return ok_;
    for (;;) {
      JsonValue key, member;
      space();
      if (!string(key)) return false;
      space();
      if (!take(':') || !value(member) || !each(key, member)) return fail();
      space();
      if (take('}')) return ok_;
      if (!take(',')) return fail();
    }
  }

 private:
  bool fail() { return ok_ = false; }
  bool value(JsonValue& out, int depth);
  bool string(JsonValue& out);
  bool escape();

  std::string_view text_;
  size_t at_;
  bool ok_ = true;
};

/// Whether text stands in quotes as it is.
inline bool is_plain(std::string_view text) {
  for (char c : text)
    if (c == '"' || c == '\\' || static_cast<uint8_t>(c) < 0x20) return false;
  return true;
}
/// What a string that JsonReader has read stands for, in UTF-8. `out` has room for as many bytes as `text`.
size_t unescape_json(std::string_view text, char* out);
/// A string with its quotes, escaped where it must be.
void write_json_string(ByteWriter& out, std::string_view text);

}  // namespace dragoman::rocketmq
