#include "protocols/rocketmq/json.h"

namespace dragoman::rocketmq {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = static_cast<char>(c | 0x20);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/// A number as RFC 8259 has it, true, false or null.
bool is_scalar(std::string_view text) {
  if (text == "true" || text == "false" || text == "null") return true;
  size_t at = text[0] == '-';
  auto digits = [&] {
    size_t from = at;
    while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
    return at - from;
  };
  const size_t first = at;
  if (size_t n = digits(); n == 0 || (n > 1 && text[first] == '0')) return false;
  if (at < text.size() && text[at] == '.' && (++at, digits() == 0)) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (digits() == 0) return false;
  }
  return at == text.size();
}

uint32_t unit(std::string_view digits) {
  uint32_t v = 0;
  for (char c : digits.substr(0, 4)) v = v << 4 | static_cast<uint32_t>(hex_digit(c));
  return v;
}

}  // namespace

/// At a backslash: moves to the last byte of the escape. Those of RFC 8259 only: readers differ about others.
bool JsonReader::escape() {
  if (++at_ >= text_.size()) return false;
  if (text_[at_] != 'u') return std::string_view("\"\\/bfnrt").find(text_[at_]) != std::string_view::npos;
  for (int i = 0; i < 4; ++i)
    if (++at_ >= text_.size() || hex_digit(text_[at_]) < 0) return false;
  return true;
}

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
    if (c == '\\' && !escape()) return fail();
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
    if (at_ == out.begin || !is_scalar(text_.substr(out.begin, at_ - out.begin))) return fail();
    out.kind = JsonValue::kScalar;
  }
  out.end = at_;
  out.text = text_.substr(out.begin, out.end - out.begin);
  return ok_;
}

size_t unescape_json(std::string_view text, char* out) {
  char* to = out;
  auto put = [&to](uint32_t c) { *to++ = static_cast<char>(c); };
  for (size_t at = 0; at < text.size();) {
    if (text[at] != '\\') {
      *to++ = text[at++];
      continue;
    }
    const char what = text[at + 1];
    at += 2;
    if (what != 'u') {
      constexpr std::string_view kNames = "bfnrt", kMeans = "\b\f\n\r\t";
      size_t i = kNames.find(what);
      *to++ = i == kNames.npos ? what : kMeans[i];
      continue;
    }
    uint32_t c = unit(text.substr(at));
    at += 4;
    if (c >= 0xd800 && c < 0xdc00 && text.size() - at >= 6 && text[at] == '\\' && text[at + 1] == 'u') {
      if (uint32_t low = unit(text.substr(at + 2)); low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
        at += 6;
      }
    }
    // Six bytes of text make three of UTF-8 at most, twelve make four.
    if (c < 0x80) {
      put(c);
    } else if (c < 0x800) {
      put(0xc0 | c >> 6), put(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
      put(0xe0 | c >> 12), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
    } else {
      put(0xf0 | c >> 18), put(0x80 | (c >> 12 & 0x3f)), put(0x80 | (c >> 6 & 0x3f)), put(0x80 | (c & 0x3f));
    }
  }
  return static_cast<size_t>(to - out);
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
