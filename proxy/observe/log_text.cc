#include "proxy/observe/log_text.h"

namespace dragoman::log_text {
namespace {

constexpr char kHex[] = "0123456789abcdef";
constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighs = 0x8080808080808080;

constexpr uint64_t has_zero_byte(uint64_t x) { return (x - kOnes) & ~x & kHighs; }

/// Not zero when one of the eight bytes is not printable ASCII, or is " or \.
uint64_t special8(uint64_t x) {
  const uint64_t below_space = (x - kOnes * 0x20) & ~x & kHighs;
  return (x & kHighs) | below_space | has_zero_byte(x ^ (kOnes * '"')) | has_zero_byte(x ^ (kOnes * '\\')) |
         has_zero_byte(x ^ (kOnes * 0x7f));
}

bool plain(char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; }

template <class Word>
Word copy_word(const char* from, char* to) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  std::memcpy(to, &word, sizeof word);
  return word;
}

/// Copies `value` (the common case: nothing to escape) in steps that overlap at the end instead of a loop
/// over the rest. False: something needs an escape, and what was written counts for nothing.
bool copy_plain(std::string_view value, char* out) {
  const char* const p = value.data();
  const size_t n = value.size();
  if (n >= 8) {
    uint64_t special = special8(copy_word<uint64_t>(p + n - 8, out + n - 8));
    for (size_t i = 0; i + 8 < n; i += 8) special |= special8(copy_word<uint64_t>(p + i, out + i));
    return special == 0;
  }
  if (n >= 4) {
    const uint64_t first = copy_word<uint32_t>(p, out);
    const uint64_t last = copy_word<uint32_t>(p + n - 4, out + n - 4);
    return special8(first | last << 32) == 0;
  }
  bool ok = true;
  for (size_t i = 0; i < n; ++i) {
    out[i] = p[i];
    ok &= plain(p[i]);
  }
  return ok;
}

/// An escape, at most kJsonEscapeBytesMax bytes, and how many bytes of the value it stands for.
struct Escape {
  char text[kJsonEscapeBytesMax];
  uint8_t length;
  uint8_t consumed;
};

Escape text_escape(std::string_view rest) {
  const char c = rest[0];
  if (c == '"' || c == '\\') return {{'\\', c}, 2, 1};
  const auto byte = static_cast<uint8_t>(c);
  return {{'\\', 'x', kHex[byte >> 4], kHex[byte & 15]}, 4, 1};
}

Escape json_escape(std::string_view rest) {
  const char c = rest[0];
  switch (c) {
    case '"':
    case '\\':
      return {{'\\', c}, 2, 1};
    case '\n':
      return {{'\\', 'n'}, 2, 1};
    case '\r':
      return {{'\\', 'r'}, 2, 1};
    case '\t':
      return {{'\\', 't'}, 2, 1};
    default:
      break;
  }
  const auto byte = static_cast<uint8_t>(c);
  if (byte < 0x80) return {{'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]}, 6, 1};
  const size_t length = utf8_length(rest);
  if (length == 0) return {{'\\', 'u', 'f', 'f', 'f', 'd'}, 6, 1};
  Escape same{{}, static_cast<uint8_t>(length), static_cast<uint8_t>(length)};
  std::memcpy(same.text, rest.data(), length);
  return same;
}

template <class EscapeFn>
char* append_escaped(std::string_view value, size_t max, char* out, EscapeFn escape) {
  if (value.size() <= max && copy_plain(value, out)) return out + value.size();
  char* const limit = out + max;
  while (!value.empty()) {
    if (plain(value[0])) {
      if (out == limit) return append(kCut, out);
      *out++ = value[0];
      value.remove_prefix(1);
      continue;
    }
    const Escape e = escape(value);
    if (limit - out < e.length) return append(kCut, out);
    out = append({e.text, e.length}, out);
    value.remove_prefix(e.consumed);
  }
  return out;
}

}  // namespace

char* append_second(int64_t seconds, char* out) {
  int64_t days = seconds / 86400;
  int64_t rest = seconds % 86400;
  if (rest < 0) rest += 86400, --days;
  // Days to a civil date in the proleptic Gregorian calendar: 400-year eras of 146097 days that start on 1
  // March.
  days += 719468;
  const int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const int64_t day_of_era = days - era * 146097;
  const int64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const int64_t month_from_march = (5 * day_of_year + 2) / 153;
  const int64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
  const int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  const int64_t year = year_of_era + era * 400 + (month <= 2 ? 1 : 0);
  out = append_padded(static_cast<uint64_t>(year), 4, out);
  *out++ = '-';
  out = append_padded(static_cast<uint64_t>(month), 2, out);
  *out++ = '-';
  out = append_padded(static_cast<uint64_t>(day), 2, out);
  *out++ = 'T';
  out = append_padded(static_cast<uint64_t>(rest / 3600), 2, out);
  *out++ = ':';
  out = append_padded(static_cast<uint64_t>(rest / 60 % 60), 2, out);
  *out++ = ':';
  return append_padded(static_cast<uint64_t>(rest % 60), 2, out);
}

char* append_text(std::string_view value, size_t max, char* out) {
  return append_escaped(value, max, out, text_escape);
}

char* append_json(std::string_view value, size_t max, char* out) {
  return append_escaped(value, max, out, json_escape);
}

size_t utf8_length(std::string_view bytes) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t lead = at(0);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xc2 && lead <= 0xdf   ? 2
                        : (lead & 0xf0) == 0xe0        ? 3
                        : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                       : 0;
  if (length == 0 || bytes.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if (lead == 0xe0 && at(1) < 0xa0) return 0;
  if (lead == 0xed && at(1) > 0x9f) return 0;
  if (lead == 0xf0 && at(1) < 0x90) return 0;
  if (lead == 0xf4 && at(1) > 0x8f) return 0;
  return length;
}

}  // namespace dragoman::log_text
