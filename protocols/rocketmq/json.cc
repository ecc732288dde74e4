#include "protocols/rocketmq/json.h"

namespace dragoman::rocketmq {

bool JsonReader::string(JsonValue& out) {
  out.kind = JsonValue::kString;
  out.begin = at_;
  if (!take('"')) return fail();
  for (; at_ < text_.size(); ++at_) {
    char c = text_[at_];
    if (c == '"') {
      out.text = text_.substr(out.begin + 1, at_ - out.begin - 1);
      out.end = ++at_;
      return ok_;
    }
    if (static_cast<uint8_t>(c) < 0x20) return fail();
    if (c == '\\') ++at_;
  }
  return fail();
}

bool JsonReader::value(JsonValue& out, int depth) {
  space();
  out.begin = at_;
  if (depth == kDepthMax || at_ >= text_.size()) return fail();
  char first = text_[at_];
  if (first == '"') return string(out);
  if (first == '{' || first == '[') {
    bool object = first == '{';
    char close = object ? '}' : ']';
    ++at_;
    space();
    if (!take(close)) {
      for (;;) {
        JsonValue inner;
        space();
        if (object) {
          if (!string(inner)) return false;
          space();
          if (!take(':')) return fail();
        }
        if (!value(inner, depth + 1)) return false;
        space();
        if (take(close)) break;
        if (!take(',')) return fail();
      }
    }
    out.kind = object ? JsonValue::kObject : JsonValue::kArray;
  } else {
    auto scalar = [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' || c == '.' || c == 'E';
    };
    while (at_ < text_.size() && scalar(text_[at_])) ++at_;
    if (at_ == out.begin) return fail();
    out.kind = JsonValue::kScalar;
  }
  out.end = at_;
  out.text = text_.substr(out.begin, out.end - out.begin);
  return ok_;
}

void write_json_string(ByteWriter& out, std::string_view text) {
  out.u8('"');
  for (char c : text) {
    auto byte = static_cast<uint8_t>(c);
    if (byte < 0x20) {
      out.text("\\u00");
      out.u8(static_cast<uint8_t>("01"[byte >> 4]));
      out.u8(static_cast<uint8_t>("0123456789abcdef"[byte & 15]));
      continue;
    }
    if (c == '"' || c == '\\') out.u8('\\');
    out.u8(byte);
  }
  out.u8('"');
}

}  // namespace dragoman::rocketmq
