// Appending to the lines of logs: numbers, times and untrusted values, into memory that is known to suffice.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace dragoman::log_text {

inline char* append(std::string_view bytes, char* out) {
  if (bytes.empty()) return out;
  std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

inline constexpr size_t kNumberBytesMax = 20;
inline char* append_number(uint64_t value, char* out) {
  return std::to_chars(out, out + kNumberBytesMax, value).ptr;
}

/// `digits` decimal digits with leading zeros.
inline char* append_padded(uint64_t value, int digits, char* out) {
  for (int i = digits - 1; i >= 0; --i, value /= 10) out[i] = static_cast<char>('0' + value % 10);
  return out + digits;
}

inline constexpr size_t kSecondBytes = 19;
/// "2026-01-31T12:00:00" of a wall clock in seconds since 1970; years 0 to 9999.
char* append_second(int64_t seconds, char* out);

inline constexpr std::string_view kCut = "...";
/// Appends at most `max` bytes, and kCut when the escaped value is longer. Text: ", \ and every byte outside
/// 0x20..0x7e become \", \\ and \xNN. JSON: the inside of an RFC 8259 string; bytes that are not UTF-8 become
/// \ufffd.
char* append_text(std::string_view value, size_t max, char* out);
char* append_json(std::string_view value, size_t max, char* out);
/// Longest escape of one byte.
inline constexpr size_t kJsonEscapeBytesMax = 6;

/// Length of the UTF-8 sequence (RFC 3629) at the start of `bytes`, which is not empty; 0 when it is not one.
size_t utf8_length(std::string_view bytes);

}  // namespace dragoman::log_text
