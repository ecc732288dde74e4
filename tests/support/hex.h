// Bytes as text: hexadecimal digits, in files with comments that begin with '#'.
#pragma once

#include <cctype>
#include <fstream>
#include <stdexcept>
#include <string>

namespace dragoman::testing {

inline std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

/// Throws when there is no such file, or nothing in it.
inline std::string read_hex(const std::string& path) {
  std::ifstream in(path);
  std::string digits;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with('#')) continue;
    for (char c : line)
      if (std::isxdigit(static_cast<unsigned char>(c))) digits += c;
  }
  if (digits.empty()) throw std::runtime_error("cannot read " + path);
  return from_hex(digits);
}

}  // namespace dragoman::testing
