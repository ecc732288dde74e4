// The header of the PROXY protocol, versions 1 and 2, as a listener reads it from bytes that come in any pieces.
//
// Whatever the bytes: the verdict never changes once there is one, a second reader that looks at the whole at once says the same, and
// what was read is the same again when it is written.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/net/proxy_header.h"

namespace {

using namespace dragoman;
using Verdict = ProxyHeader::Verdict;

#define REQUIRE(condition)              \
  do {                                  \
    if (!(condition)) __builtin_trap(); \
  } while (0)

constexpr size_t kBytesMax = 600;  // of version 2, so that an input can be longer

struct Second {
  Verdict verdict = Verdict::kBad;
  size_t bytes = 0;
  bool has_ends = false;
  Address source{}, destination{};
};

Address ip(int family, const void* bytes, unsigned port) {
  sockaddr_in6 v6{};
  sockaddr_in v4{};
  if (family == AF_INET) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(port));
    std::memcpy(&v4.sin_addr, bytes, 4);
    return Address::from(reinterpret_cast<const sockaddr*>(&v4), sizeof v4);
  }
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(static_cast<uint16_t>(port));
  std::memcpy(&v6.sin6_addr, bytes, 16);
  return Address::from(reinterpret_cast<const sockaddr*>(&v6), sizeof v6);
}

std::optional<Address> ip_text(int family, const std::string& text, const std::string& port) {
  unsigned char bytes[16];
  if (::inet_pton(family, text.c_str(), bytes) != 1 || port.empty() || port.size() > 5) return std::nullopt;
  if (port.find_first_not_of("0123456789") != std::string::npos || (port.size() > 1 && port[0] == '0'))
    return std::nullopt;
  const unsigned number = static_cast<unsigned>(std::stoul(port));
  if (number > 65'535) return std::nullopt;
  return ip(family, bytes, number);
}

Second text_header(const std::string& text) {
  const size_t end = text.substr(0, ProxyHeader::kBytesMax1).find("\n");
  if (end == std::string::npos) {
    const bool full = text.size() >= ProxyHeader::kBytesMax1 || text.find('\0') != std::string::npos;
    return {.verdict = full ? Verdict::kBad : Verdict::kMore};
  }
  std::string line = text.substr(0, end);
  if (line.back() != '\r' || line.find('\0') != std::string::npos) return {};
  line.pop_back();
  std::vector<std::string> words(1);
  for (const char c : line) {
    if (c == ' ')
      words.emplace_back();
    else
      words.back() += c;
  }
  Second read{.verdict = Verdict::kDone, .bytes = end + 1};
  if (words[1] == "UNKNOWN") return read;
  const int family = words[1] == "TCP4" ? AF_INET : AF_INET6;
  if ((words[1] != "TCP4" && words[1] != "TCP6") || words.size() != 6) return {};
  const auto source = ip_text(family, words[2], words[4]), destination = ip_text(family, words[3], words[5]);
  if (!source || !destination) return {};
  read.has_ends = true;
  read.source = *source;
  read.destination = *destination;
  return read;
}

/// Bit by bit.
uint32_t checksum(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  }
  return ~crc;
}

Second binary_header(const std::string& all) {
  const auto u8 = [&](size_t i) { return static_cast<uint8_t>(all[i]); };
  const auto u16 = [&](size_t i) { return static_cast<size_t>(u8(i) << 8 | u8(i + 1)); };
  if (all.size() > 12 && u8(12) != 0x20 && u8(12) != 0x21) return {};
  if (all.size() > 13 && (u8(13) > 0x3f || (u8(13) & 15) > 2)) return {};
  if (all.size() < 16) return {.verdict = Verdict::kMore};
  const size_t whole = 16 + u16(14);
  if (whole > kBytesMax) return {};
  if (all.size() < whole) return {.verdict = Verdict::kMore};
  Second read{.verdict = Verdict::kDone, .bytes = whole};
  if (u8(12) == 0x20) return read;
  const size_t kEnds[] = {16, 28, 52, 232};
  const int family = u8(13) >> 4;
  size_t at = kEnds[family];
  if (at > whole) return {};
  int sums = 0;
  while (at < whole) {
    if (at + 3 > whole || at + 3 + u16(at + 1) > whole) return {};
    if (u8(at) == 3) {
      if (u16(at + 1) != 4 || ++sums > 1) return {};
      std::string zeroed = all.substr(0, whole);
      zeroed.replace(at + 3, 4, std::string(4, '\0'));
      if (checksum(zeroed) != (u16(at + 3) << 16 | u16(at + 5))) return {};
    }
    at += 3 + u16(at + 1);
  }
  read.has_ends = family != 0;
  if (family == 1) {
    read.source = ip(AF_INET, &all[16], static_cast<unsigned>(u16(24)));
    read.destination = ip(AF_INET, &all[20], static_cast<unsigned>(u16(26)));
  }
  if (family == 2) {
    read.source = ip(AF_INET6, &all[16], static_cast<unsigned>(u16(48)));
    read.destination = ip(AF_INET6, &all[32], static_cast<unsigned>(u16(50)));
  }
  return read;
}

Second second_reader(const std::string& all) {
  const std::string text = "PROXY ", binary("\r\n\r\n\0\r\nQUIT\n", 12);
  for (const std::string& start : {text, binary}) {
    const size_t n = std::min(start.size(), all.size());
    if (all.compare(0, n, start, 0, n) != 0) continue;
    if (n < start.size()) return {.verdict = Verdict::kMore};
    return start == text ? text_header(all) : binary_header(all);
  }
  return {.verdict = Verdict::kNone};
}

bool same(const ProxyHeader& a, const ProxyHeader& b) {
  return a.verdict == b.verdict &&
         (a.verdict != Verdict::kDone || (a.bytes == b.bytes && a.has_ends == b.has_ends &&
                                          a.source == b.source && a.destination == b.destination));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  size = std::min<size_t>(size, 700);
  ProxyHeader before;
  for (size_t n = 0; n <= size; ++n) {
    // A copy of its own: reading past the prefix is a fault that a sanitizer sees.
    const std::vector<uint8_t> prefix(data, data + n);
    const ProxyHeader now = ProxyHeader::read(prefix, kBytesMax);
    REQUIRE(before.verdict == Verdict::kMore || same(before, now));
    REQUIRE(now.verdict != Verdict::kDone || now.bytes <= n);
    REQUIRE((now.verdict == Verdict::kBad) == !now.error.empty());
    before = now;
  }
  const Second second = second_reader(std::string(reinterpret_cast<const char*>(data), size));
  REQUIRE(second.verdict == before.verdict);
  if (before.verdict != Verdict::kDone) return 0;
  REQUIRE(second.bytes == before.bytes && second.has_ends == before.has_ends);
  if (!before.has_ends || before.source.is_unix() || before.source.length == 0) return 0;
  REQUIRE(second.source == before.source && second.destination == before.destination);
  for (const int version : {1, 2}) {
    const std::string written = ProxyHeader::write(version, before.source, before.destination);
    const std::vector<uint8_t> bytes(written.begin(), written.end());
    const ProxyHeader again = ProxyHeader::read(bytes, kBytesMax);
    REQUIRE(again.verdict == Verdict::kDone && again.bytes == written.size() && again.has_ends);
    REQUIRE(again.source == before.source && again.destination == before.destination);
  }
  return 0;
}
