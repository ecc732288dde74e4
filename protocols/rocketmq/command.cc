#include "protocols/rocketmq/command.h"

#include <charconv>

#include "protocols/codec.hpp"

namespace dragoman::rocketmq {
namespace {

constexpr int kVersion = 453;  // what our answers say they are written by, as the vectors of real peers do
constexpr uint8_t kJava = 0;

bool read_int(const JsonValue& value, int32_t& out) {
  if (value.kind != JsonValue::kScalar) return false;
  if (value.text == "-0") return false;
  const char* end = value.text.data() + value.text.size();
  auto [at, error] = std::from_chars(value.text.data(), end, out);
  return error == std::errc() && at == end;
}

/// Whether Java's decoders (fastjson 1 and 2) take `name` for `member`, which is in small letters: case, `_`, `-` and
/// blanks don't count, nor does an `is` in front.
bool is_alias(std::string_view name, std::string_view member) {
  auto same = [&](std::string_view text) {
    size_t i = 0;
    for (char c : text) {
      if (c == '_' || c == '-' || c == ' ') continue;
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
      if (i == member.size() || c != member[i++]) return false;
    }
    return i == member.size();
  };
  return same(name) ||
         (name.size() > 2 && (name[0] | 0x20) == 'i' && (name[1] | 0x20) == 's' && same(name.substr(2)));
}

}  // namespace

bool Command::is_plain_name(std::string_view name) {
  return name.find('\\') == name.npos && !name.starts_with('$') && !name.starts_with('@') &&
         codec::is_utf8(name);
}

Command::Command(std::string_view header, Encoding how) : encoding(how) {
  ok = encoding == kJson ? read_json(header) : read_binary(header);
  ok = ok && pairs(header, [this](std::string_view name, const Value&, size_t, size_t) {
         is_signed |= name == "Signature";
       });
}

bool Command::read_json(std::string_view header) {
  JsonReader in(header, 0);
  uint32_t seen = 0;
  int32_t flags = 0;
  auto once = [&seen](uint32_t bit) { return (seen & bit) ? false : (seen |= bit, true); };
  bool read = in.object([&](const JsonValue& key, const JsonValue& value) {
    empty = false;
    if (!is_plain_name(key.text)) return false;
    if (key.text == "opaque") {
      id_at = value.begin;
      id_len = value.end - value.begin;
      return once(1) && read_int(value, id);
    }
    if (key.text == "code") return once(2) && read_int(value, code);
    if (key.text == "flag") return once(4) && read_int(value, flags);
    if (key.text == "extFields") {
      if (!once(8)) return false;
      if (value.text == "null" && value.kind == JsonValue::kScalar) return true;
      has_ext = true;
      ext_begin = value.begin;
      ext_end = value.end;
      return value.kind == JsonValue::kObject;
    }
    // What brokers would take for one of these.
    for (std::string_view member : {"opaque", "code", "flag", "extfields"})
      if (is_alias(key.text, member)) return false;
    return true;
  });
  if (!read || !(seen & 1)) return false;
  flag = static_cast<uint32_t>(flags);
  close_at = in.position() - 1;
  in.space();
  return in.position() == header.size();
}

bool Command::read_binary(std::string_view header) {
  ByteReader in(reinterpret_cast<const uint8_t*>(header.data()), header.size());
  code = static_cast<int16_t>(in.be<uint16_t>());
  in.skip(3);  // language, version
  id = static_cast<int32_t>(in.be<uint32_t>());
  id_at = kBinaryIdAt;
  id_len = 4;
  flag = in.be<uint32_t>();
  in.skip(in.be<uint32_t>());
  has_ext = true;
  ext_begin = in.position();
  in.skip(in.be<uint32_t>());
  ext_end = in.position();
  return in.ok() && in.remaining() == 0;  // decoders read the body from here on
}

void write_number(ByteWriter& out, int32_t value) {
  char digits[12];
  out.text({digits, static_cast<size_t>(std::to_chars(digits, digits + sizeof digits, value).ptr - digits)});
}

void write_answer(ByteWriter& out, Encoding encoding, int32_t code, int32_t id, std::string_view remark) {
  if (encoding == kBinary) {
    out.be<uint16_t>(static_cast<uint16_t>(code));
    out.u8(kJava);
    out.be<uint16_t>(kVersion);
    out.be<uint32_t>(static_cast<uint32_t>(id));
    out.be<uint32_t>(kAnswer);
    out.be<uint32_t>(static_cast<uint32_t>(remark.size()));
    out.text(remark);
    out.be<uint32_t>(0);
    return;
  }
  out.text("{\"code\":");
  write_number(out, code);
  out.text(",\"flag\":1,\"language\":\"JAVA\",\"opaque\":");
  write_number(out, id);
  if (!remark.empty()) {
    out.text(",\"remark\":");
    write_json_string(out, remark);
  }
  out.text(",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
  write_number(out, kVersion);
  out.u8('}');
}

}  // namespace dragoman::rocketmq
