#include "protocols/hessian/hessian.h"

#include "proxy/base/words.h"

namespace dragoman::hessian {
namespace {

constexpr uint32_t kWriteUnitsMax = 0x7fff;

/// Integers of one to three bytes, the same in both grammars. False when `b` begins none.
bool short_integer(uint8_t b, ByteReader& in, int32_t& out) {
  if (b >= 0x80 && b <= 0xbf) {
    out = b - 0x90;
  } else if (b >= 0xc0 && b <= 0xcf) {
    out = (b - 0xc8) * 256 + in.u8();
  } else if (b >= 0xd0 && b <= 0xd7) {
    out = (b - 0xd4) * 65536 + in.be<uint16_t>();
  } else if (b == 'I') {
    out = static_cast<int32_t>(in.be<uint32_t>());
  } else {
    return false;
  }
  return true;
}

bool is_integer(int b) { return b == 'I' || (b >= 0x80 && b <= 0xd7); }

/// One decoded character of UTF-8; 0 bytes when it is none.
struct Character {
  uint32_t code = 0;
  size_t bytes = 0;
};

Character decode(std::string_view text) {
  auto at = [&](size_t i) -> uint32_t { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  auto tail = [&](size_t i) { return (at(i) & 0xc0) == 0x80; };
  uint32_t lead = at(0);
  if (lead < 0x80) return {lead, 1};
  if (lead >= 0xc2 && lead < 0xe0 && tail(1)) return {(lead & 0x1f) << 6 | (at(1) & 0x3f), 2};
  if (lead >= 0xe0 && lead < 0xf0 && tail(1) && tail(2))
    return {(lead & 0x0f) << 12 | (at(1) & 0x3f) << 6 | (at(2) & 0x3f), 3};
  if (lead >= 0xf0 && lead < 0xf5 && tail(1) && tail(2) && tail(3))
    return {(lead & 0x07) << 18 | (at(1) & 0x3f) << 12 | (at(2) & 0x3f) << 6 | (at(3) & 0x3f), 4};
  return {};
}

void write_unit(uint32_t unit, ByteWriter& out) {
  if (unit < 0x80) {
    out.u8(static_cast<uint8_t>(unit));
  } else if (unit < 0x800) {
    out.u8(static_cast<uint8_t>(0xc0 | unit >> 6));
    out.u8(static_cast<uint8_t>(0x80 | (unit & 0x3f)));
  } else {
    out.u8(static_cast<uint8_t>(0xe0 | unit >> 12));
    out.u8(static_cast<uint8_t>(0x80 | (unit >> 6 & 0x3f)));
    out.u8(static_cast<uint8_t>(0x80 | (unit & 0x3f)));
  }
}

}  // namespace

bool Text::plain() const {
  if (!whole) return false;
  if (ascii) return true;
  for (size_t at = 0; (at += ascii_bytes(text.data() + at, text.size() - at)) < text.size();) {
    const Character c = decode(text.substr(at));
    if (c.bytes == 0 || (c.bytes == 3 && c.code < 0x800) || (c.bytes == 4 && c.code < 0x10000)) return false;
    at += c.bytes;
  }
  return true;
}

/// Skips the bytes of `count` UTF-16 units.
bool Reader::units(uint32_t count) {
  while (count > 0) {
    // Mostly ASCII: as many bytes as units, unless one has its high bit set.
    const size_t here = std::min<size_t>(count, in_.remaining());
    const size_t ascii = ascii_bytes(reinterpret_cast<const char*>(bytes_.data()) + in_.position(), here);
    in_.skip(ascii);
    count -= static_cast<uint32_t>(ascii);
    if (count == 0) return ok();
    uint8_t lead = in_.u8();
    if (!in_.ok()) return false;
    if (lead < 0xc0) return fail();
    in_.skip(lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3);
    if (lead >= 0xf0 && --count == 0) return fail();  // two units
    --count;
  }
  return ok();
}

/// A string whose code was read, and the chunks after it.
bool Reader::string_chunks(uint8_t code, Text* out) {
  for (bool first = true;; first = false) {
    bool more = false;
    uint32_t count = 0;
    if (code < 0x20) {
      count = code;
    } else if (is_final() && code >= 0x30 && code <= 0x33) {
      count = (code - 0x30u) << 8 | in_.u8();
    } else if (is_final() ? code == 'S' : code == 'S' || code == 'X') {
      count = in_.be<uint16_t>();
    } else if (is_final() ? code == 'R' : code == 's' || code == 'x') {
      count = in_.be<uint16_t>();
      more = true;
    } else {
      return fail();
    }
    if (count > in_.remaining()) {  // every unit takes a byte at least
      in_.skip(count);
      return false;
    }
    size_t from = in_.position();
    if (!units(count)) return false;
    if (out && first && !more) {
      out->text = {reinterpret_cast<const char*>(bytes_.data()) + from, in_.position() - from};
      out->ascii = out->text.size() == count;  // other characters have more bytes than units
    } else if (out) {
      out->whole = false;
    }
    if (!more) return ok();
    code = in_.u8();
    if (!in_.ok()) return false;
  }
}

bool Reader::binary_chunks(uint8_t code) {
  for (;;) {
    bool more = false;
    uint32_t count = 0;
    if (code >= 0x20 && code <= 0x2f) {
      count = code - 0x20u;
    } else if (is_final() && code >= 0x34 && code <= 0x37) {
      count = (code - 0x34u) << 8 | in_.u8();
    } else if (code == 'B') {
      count = in_.be<uint16_t>();
    } else if (code == (is_final() ? 'A' : 'b')) {
      count = in_.be<uint16_t>();
      more = true;
    } else {
      return fail();
    }
    in_.skip(count);
    if (!more || !in_.ok()) return ok();
    code = in_.u8();
  }
}

/// A string in one piece of ASCII, as most are; false and nothing read when it is another.
bool Reader::ascii_string(Text& out) {
  const size_t left = in_.remaining();
  if (!ok() || left < 2) return false;
  const uint8_t* p = bytes_.data() + in_.position();
  size_t head = 1, n = p[0];
  if (is_final() && (p[0] & 0xfc) == 0x30) {
    head = 2;
    n = (size_t{p[0]} & 3) << 8 | p[1];
  } else if (n >= 0x20) {
    return false;
  }
  const char* text = reinterpret_cast<const char*>(p) + head;
  if (n > left - head || !is_ascii(text, n)) return false;
  out = {.text = {text, n}, .null = false, .whole = true, .ascii = true};
  in_.skip(head + n);
  return true;
}

bool Reader::string(Text& out) {
  if (ascii_string(out)) return true;
  int b = peek();
  bool is = b >= 0 && (b < 0x20 || (is_final() ? (b >= 0x30 && b <= 0x33) || b == 'S' || b == 'R'
                                               : b == 'S' || b == 's' || b == 'X' || b == 'x'));
  if (!ok() || (!is && b != 'N')) {
    if (b < 0) in_.skip(1);
    return false;
  }
  out = {};
  in_.skip(1);
  if (b == 'N') {
    out.null = true;
    return true;
  }
  return string_chunks(static_cast<uint8_t>(b), &out);
}

bool Reader::integer(int32_t& out) {
  int b = peek();
  if (!ok() || !is_integer(b)) {
    if (b < 0) in_.skip(1);
    return false;
  }
  in_.skip(1);
  short_integer(static_cast<uint8_t>(b), in_, out);
  return ok();
}

/// A type name, or the number of an earlier one (final grammar).
bool Reader::type() {
  int32_t index = 0;
  if (is_integer(peek())) return integer(index) && (index >= 0 && static_cast<uint32_t>(index) < types_ ? true : fail());
  Text name;
  if (!string(name) || name.null) return fail();
  ++types_;
  return true;
}

/// The same where it may be left out (draft grammar).
bool Reader::draft_type(bool& there) {
  int b = peek();
  there = b == 't' || b == 'u' || b == 'T';
  if (!there) return true;
  in_.skip(1);
  if (b == 't') {
    ++types_;
    return units(in_.be<uint16_t>());
  }
  int32_t index = 0;
  return integer(index) ? (index >= 0 && static_cast<uint32_t>(index) < types_ ? true : fail()) : fail();
}

bool Reader::fields_of(int64_t index, uint32_t& children) {
  if (index < 0 || static_cast<uint64_t>(index) >= classes_) return fail();
  ++containers_;
  children = fields_[index];
  return true;
}

bool Reader::begin_definition(std::string_view& name, uint32_t& fields) {
  in_.skip(1);
  int32_t n = 0;
  if (is_final()) {
    Text text;
    if (!string(text) || text.null || !text.whole) return fail();
    name = text.text;
  } else {
    if (!integer(n) || !length_ok(n)) return fail();
    size_t from = in_.position();
    if (!units(static_cast<uint32_t>(n))) return false;
    name = {reinterpret_cast<const char*>(bytes_.data()) + from, in_.position() - from};
  }
  if (!integer(n) || !length_ok(n) || static_cast<uint32_t>(n) > kFieldsMax || classes_ >= kClassesMax)
    return fail();
  fields = static_cast<uint32_t>(n);
  return true;
}

bool Reader::end_definition(uint32_t fields) {
  fields_[classes_++] = static_cast<uint16_t>(fields);
  return ok();
}

/// The object that follows its class.
bool Reader::begin_instance(uint32_t fields) {
  int b = peek();
  int32_t index = 0;
  if (is_final() && b >= 0x60 && b <= 0x6f) {
    in_.skip(1);
    index = b - 0x60;
  } else if (b == (is_final() ? 'O' : 'o')) {
    in_.skip(1);
    if (!integer(index)) return fail();
  } else {
    return fail();
  }
  uint32_t children = 0;
  return fields_of(index, children) && (children == fields ? true : fail());
}

bool Reader::skip_definition() {
  std::string_view name;
  uint32_t fields = 0;
  if (!begin_definition(name, fields)) return false;
  for (uint32_t i = 0; i < fields; ++i) {
    Text field;
    if (!string(field) || field.null) return fail();
  }
  return end_definition(fields);
}

/// Reads one value, or the beginning of one that has others inside: `children` of them, or until an end mark.
/// `again`: it was a definition, and the value follows.
bool Reader::value(uint32_t& children, bool& open_ended, bool& map, bool& again) {
  children = 0;
  open_ended = map = again = false;
  if (at_definition()) {
    again = true;
    return skip_definition();
  }
  uint8_t b = in_.u8();
  if (!in_.ok()) return false;
  int32_t number = 0;
  if (short_integer(b, in_, number)) return ok();
  if (b < 0x20) return string_chunks(b, nullptr);
  if (b < 0x30) return binary_chunks(b);
  if (b >= 0xd8) {  // longs
    in_.skip(b >= 0xf0 ? 1 : 0);
    return ok();
  }
  if (b >= 0x38 && b <= 0x3f) {
    in_.skip(2);
    return ok();
  }
  switch (b) {
    case 'N':
    case 'T':
    case 'F':
      return ok();
    case 'L':
    case 'D':
      in_.skip(8);
      return ok();
    case 'S':
      return string_chunks(b, nullptr);
    case 'B':
      return binary_chunks(b);
  }
  return is_final() ? final_value(b, children, open_ended, map, again)
                    : draft_value(b, children, open_ended, map, again);
}

bool Reader::final_value(uint8_t b, uint32_t& children, bool& open_ended, bool& map, bool&) {
  int32_t n = 0;
  auto counted = [&] {
    if (!integer(n) || !length_ok(n)) return fail();
    children = static_cast<uint32_t>(n);
    return true;
  };
  if (b >= 0x30 && b <= 0x33) return string_chunks(b, nullptr);
  if (b >= 0x34 && b <= 0x37) return binary_chunks(b);
  if (b >= 0x60 && b <= 0x6f) return fields_of(b - 0x60, children);
  if (b >= 0x70 && b <= 0x7f) {
    ++containers_;
    children = b & 7;
    return b < 0x78 ? type() : true;
  }
  switch (b) {
    case 'A':
      return binary_chunks(b);
    case 'R':
      return string_chunks(b, nullptr);
    case 'J':
      in_.skip(8);
      return ok();
    case 'K':
    case 'Y':  // long from 32 bits
    case '_':  // thousandths
      in_.skip(4);
      return ok();
    case '[':
    case '\\':
      return ok();
    case ']':
      in_.skip(1);
      return ok();
    case '^':
      in_.skip(2);
      return ok();
    case 'H':
    case 'M':
      ++containers_;
      open_ended = map = true;
      return b == 'H' ? true : type();
    case 'U':
    case 'W':
      ++containers_;
      open_ended = true;
      return b == 'W' ? true : type();
    case 'V':
    case 'X':
      ++containers_;
      return (b == 'X' || type()) && counted();
    case 'O':
      return integer(n) ? fields_of(n, children) : fail();
    case 'Q':
      return integer(n) ? reference(n) : fail();
  }
  return fail();
}

bool Reader::draft_value(uint8_t b, uint32_t& children, bool& open_ended, bool& map, bool&) {
  int32_t n = 0;
  bool typed = false;
  switch (b) {
    case 's':
    case 'x':
    case 'X':
      return string_chunks(b, nullptr);
    case 'b':
      return binary_chunks(b);
    case 'w':  // long from 32 bits
    case 'k':  // float
      in_.skip(4);
      return ok();
    case 'g':
    case 'h':
      return ok();
    case 'i':
      in_.skip(1);
      return ok();
    case 'j':
      in_.skip(2);
      return ok();
    case 'd':
      in_.skip(8);
      return ok();
    case 'M':
      ++containers_;
      open_ended = map = true;
      return draft_type(typed);
    case 'V': {
      ++containers_;
      open_ended = true;
      if (!draft_type(typed)) return false;
      int code = peek();
      if (code != 'n' && code != 'l') return true;
      in_.skip(1);
      n = code == 'n' ? in_.u8() : static_cast<int32_t>(in_.be<uint32_t>());
      return ok() && length_ok(n);
    }
    case 'v':
      ++containers_;
      if (!integer(n) || n < 0 || static_cast<uint32_t>(n) >= types_) return fail();
      if (!integer(n) || !length_ok(n)) return fail();
      children = static_cast<uint32_t>(n);
      return true;
    case 'o':
      return integer(n) ? fields_of(n, children) : fail();
    case 'J':
      return reference(in_.u8());
    case 'K':
      return reference(in_.be<uint16_t>());
    case 'R':
      return reference(static_cast<int32_t>(in_.be<uint32_t>()));
  }
  return fail();
}

bool Reader::skip() {
  struct Level {
    uint32_t left;
    bool open_ended;
    bool map;
    bool in_pair;
  };
  Level levels[kDepthMax];
  const uint8_t end = is_final() ? 'Z' : 'z';
  uint32_t depth = 0;
  uint32_t definitions = 0;  // in a row, each a level of its own
  if (!ok()) return false;
  for (;;) {
    uint32_t children = 0;
    bool open_ended = false, map = false, again = false;
    if (!value(children, open_ended, map, again)) return false;
    if (again) {
      if (++definitions > kDepthMax) return fail();
      continue;
    }
    definitions = 0;
    if (children > 0 || open_ended) {
      if (depth == kDepthMax) return fail();
      levels[depth++] = {children, open_ended, map, false};
    } else if (depth > 0) {
      levels[depth - 1].in_pair = levels[depth - 1].map && !levels[depth - 1].in_pair;
    }
    // Ends of what is complete now, and the turn of the next value inside what is not.
    for (;;) {
      if (depth == 0) return ok();
      Level& level = levels[depth - 1];
      if (level.open_ended) {
        if (peek() != end || level.in_pair) break;
        in_.skip(1);
      } else if (level.left > 0) {
        --level.left;
        break;
      }
      if (--depth > 0) levels[depth - 1].in_pair = levels[depth - 1].map && !levels[depth - 1].in_pair;
    }
  }
}

bool Reader::begin_map() {
  int b = peek();
  if (!ok() || (b != 'M' && !(is_final() && b == 'H'))) {
    if (b < 0) in_.skip(1);
    return false;
  }
  in_.skip(1);
  ++containers_;
  bool typed = false;
  if (b == 'H') return true;
  return is_final() ? type() : draft_type(typed);
}

bool Reader::end_map() {
  if (!ok() || peek() != (is_final() ? 'Z' : 'z')) return false;
  in_.skip(1);
  return true;
}

bool write_string(std::string_view utf8, ByteWriter& out, Grammar grammar) {
  uint32_t units = 0;
  for (size_t at = 0; at < utf8.size();) {
    Character c = decode(utf8.substr(at));
    if (c.bytes == 0) return false;
    units += c.code > 0xffff ? 2 : 1;
    at += c.bytes;
  }
  if (units > kWriteUnitsMax) return false;
  if (units < 0x20) {
    out.u8(static_cast<uint8_t>(units));
  } else if (units < 0x400 && grammar == Grammar::kFinal) {
    out.be<uint16_t>(static_cast<uint16_t>(0x3000 | units));
  } else {
    out.u8('S');
    out.be<uint16_t>(static_cast<uint16_t>(units));
  }
  for (size_t at = 0; at < utf8.size();) {
    Character c = decode(utf8.substr(at));
    if (c.code > 0xffff) {
      write_unit(0xd800 + ((c.code - 0x10000) >> 10), out);
      write_unit(0xdc00 + ((c.code - 0x10000) & 0x3ff), out);
    } else {
      write_unit(c.code, out);
    }
    at += c.bytes;
  }
  return true;
}

}  // namespace dragoman::hessian
