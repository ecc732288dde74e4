#include "config/node.h"

#include <algorithm>

namespace dragoman::config {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool all(std::string_view text, bool (*in)(char)) {
  return !text.empty() && std::all_of(text.begin(), text.end(), in);
}

std::string_view without_sign(std::string_view text) {
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
  return text;
}

/// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool is_float(std::string_view text) {
  text = without_sign(text);
  if (text == ".inf" || text == ".Inf" || text == ".INF") return true;
  const size_t e = text.find_first_of("eE");
  if (e != std::string_view::npos && !all(without_sign(text.substr(e + 1)), is_digit)) return false;
  text = text.substr(0, e);
  const size_t dot = text.find('.');
  const std::string_view whole = text.substr(0, dot);
  const std::string_view fraction = dot == std::string_view::npos ? "" : text.substr(dot + 1);
  if (whole.empty()) return all(fraction, is_digit);
  return all(whole, is_digit) && (fraction.empty() || all(fraction, is_digit));
}

}  // namespace

ScalarType scalar_type(std::string_view text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL")
    return ScalarType::kNull;
  for (std::string_view word : {"true", "True", "TRUE", "false", "False", "FALSE"}) {
    if (text == word) return ScalarType::kBool;
  }
  if (all(without_sign(text), is_digit)) return ScalarType::kInteger;
  if (text.starts_with("0x")) {
    const auto hex = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
    return all(text.substr(2), hex) ? ScalarType::kInteger : ScalarType::kText;
  }
  if (text.starts_with("0o")) {
    return all(text.substr(2), [](char c) { return c >= '0' && c <= '7'; }) ? ScalarType::kInteger
                                                                            : ScalarType::kText;
  }
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return ScalarType::kFloat;
  return is_float(text) ? ScalarType::kFloat : ScalarType::kText;
}

std::string describe(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMap:
      return "a block of keys";
    case Node::Kind::kScalar:
      break;
  }
  if (!node.quoted) {
    const ScalarType type = scalar_type(node.text);
    if (type == ScalarType::kBool) return "the boolean " + node.text;
    if (type == ScalarType::kInteger || type == ScalarType::kFloat)
      return "the number " + printable(node.text);
  }
  return "the text \"" + printable(node.text) + "\"";
}

std::string printable(std::string_view text) {
  constexpr size_t kBytesMax = 60;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool starts_character = (byte & 0xc0) != 0x80;
    if (out.size() >= kBytesMax && starts_character) return out + "...";
    if (byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += text[i];
    }
  }
  return out;
}

}  // namespace dragoman::config
