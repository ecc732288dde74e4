#include "protocols/rocketmq/command.h"

#include <charconv>

namespace dragoman::rocketmq {
namespace {

constexpr int kVersion = 453;  // what our answers say they are written by, as the vectors of real peers do
constexpr uint8_t kJava = 0;

bool read_int(const JsonValue& value, int32_t& out) {
  if (value.kind != JsonValue::kScalar) return false;
  const char* end = value.text.data() + value.text.size();
  auto [at, error] = std::from_chars(value.text.data(), end, out);
  return error == std::errc() && at == end;
}

}  // namespace

Command::Command(std::string_view header, Encoding how) : encoding(how) {
  ok = encoding == kJson ? read_json(header) : read_binary(header);
  ok = ok && pairs(header, [this](std::string_view name, std::string_view, size_t, size_t) {
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
    if (key.text.find('\\') != key.text.npos) return false;  // another way to write one of these
    if (key.text == "opaque") {
      id_at = value.begin;
      id_len = value.end - value.begin;
      return once(1) && read_int(value, id);
    }
    if (key.text == "code") return once(2) && read_int(value, code);
    if (key.text == "flag") return once(4) && read_int(value, flags);
    if (key.text == "extFields" && value.text != "null") {
      has_ext = true;
      ext_begin = value.begin;
      ext_end = value.end;
      return once(8) && value.kind == JsonValue::kObject;
    }
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
  return in.ok();
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
