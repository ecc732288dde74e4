#include "proxy/net/proxy_header.h"

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>

namespace dragoman {
namespace {

using Verdict = ProxyHeader::Verdict;

constexpr std::string_view kStart1 = "PROXY ";
constexpr std::string_view kStart2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t kHead2 = 16;
constexpr size_t kUnixBytes = 108;
constexpr uint8_t kTlvCrc32c = 0x03;

enum Family : uint8_t { kUnspec = 0, kIp4 = 1, kIp6 = 2, kUnix = 3 };
constexpr size_t kEndsBytes[] = {0, 12, 36, 2 * kUnixBytes};

/// CRC-32C (Castagnoli), reflected: RFC 3720 appendix B.4.
uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t crc) {
  static constexpr std::array<uint32_t, 256> kTable = [] {
    std::array<uint32_t, 256> table{};
    for (uint32_t i = 0; i < table.size(); ++i) {
      uint32_t value = i;
      for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82f63b78u : 0u);
      table[i] = value;
    }
    return table;
  }();
  for (uint8_t byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ byte) & 0xff];
  return crc;
}

ProxyHeader bad(std::string_view error) {
  ProxyHeader header;
  header.verdict = Verdict::kBad;
  header.error = error;
  return header;
}

Address ip_address(int family, const uint8_t* ip, uint16_t port) {
  sockaddr_storage storage{};
  if (family == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&v4.sin_addr, ip, sizeof(v4.sin_addr));
    return Address::from(reinterpret_cast<const sockaddr*>(&storage), sizeof(v4));
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  std::memcpy(&v6.sin6_addr, ip, sizeof(v6.sin6_addr));
  return Address::from(reinterpret_cast<const sockaddr*>(&storage), sizeof(v6));
}

Address unix_address(const uint8_t* path) {
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path, path, kUnixBytes);
  // Padded with zeros; in the abstract namespace the first one is a part of the name.
  size_t n = kUnixBytes;
  while (n > 0 && path[n - 1] == 0) --n;
  return Address::from(reinterpret_cast<const sockaddr*>(&at),
                       static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + n));
}

uint16_t number(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }

// --- version 1 --------------------------------------------------------------------------------------------------------

std::optional<uint16_t> port_of(std::string_view digits) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  if (digits.size() > 1 && digits[0] == '0') return std::nullopt;
  return port;
}

std::optional<Address> address_of(int family, std::string_view ip, std::string_view port) {
  uint8_t bytes[sizeof(in6_addr)];
  const auto number = port_of(port);
  if (!number || ::inet_pton(family, std::string(ip).c_str(), bytes) != 1) return std::nullopt;
  return ip_address(family, bytes, *number);
}

ProxyHeader read_1(std::string_view text) {
  const std::string_view window = text.substr(0, ProxyHeader::kBytesMax1);
  const size_t end = window.find('\n');
  if (end == std::string_view::npos) {
    if (window.find('\0') != std::string_view::npos) return bad("a zero byte in a line");
    return text.size() >= ProxyHeader::kBytesMax1 ? bad("the line does not end") : ProxyHeader{};
  }
  if (window.substr(0, end).find('\0') != std::string_view::npos) return bad("a zero byte in a line");
  if (window[end - 1] != '\r') return bad("the line does not end with CR LF");
  ProxyHeader header;
  header.verdict = Verdict::kDone;
  header.bytes = end + 1;
  std::string_view line = window.substr(kStart1.size(), end - 1 - kStart1.size());
  if (line == "UNKNOWN" || line.starts_with("UNKNOWN ")) return header;
  std::string_view words[5];
  for (size_t i = 0; i < 5; ++i) {
    const size_t space = i < 4 ? line.find(' ') : line.size();
    if (space == std::string_view::npos) return bad("fewer words than two addresses and two ports");
    words[i] = line.substr(0, space);
    line.remove_prefix(std::min(line.size(), space + 1));
  }
  const int family = words[0] == "TCP4" ? AF_INET : words[0] == "TCP6" ? AF_INET6 : AF_UNSPEC;
  if (family == AF_UNSPEC) return bad("the protocol is neither TCP4, TCP6 nor UNKNOWN");
  const auto source = address_of(family, words[1], words[3]);
  const auto destination = address_of(family, words[2], words[4]);
  if (!source || !destination) return bad("an address or a port is wrong");
  header.has_ends = true;
  header.source = *source;
  header.destination = *destination;
  return header;
}

// --- version 2 --------------------------------------------------------------------------------------------------------

std::string_view check_tlvs(std::span<const uint8_t> header, size_t at) {
  bool summed = false;
  while (at < header.size()) {
    if (header.size() - at < 3) return "a TLV is cut";
    const size_t length = number(&header[at + 1]);
    const size_t value = at + 3;
    if (header.size() - value < length) return "a TLV is longer than the header";
    if (header[at] == kTlvCrc32c) {
      if (length != 4 || summed) return "the checksum has a wrong length, or comes twice";
      summed = true;
      constexpr uint8_t kZeros[4] = {};
      uint32_t crc = crc32c(header.first(value), ~0u);
      crc = crc32c(kZeros, crc);
      crc = ~crc32c(header.subspan(value + 4), crc);
      const uint32_t said = static_cast<uint32_t>(number(&header[value])) << 16 | number(&header[value + 2]);
      if (crc != said) return "the checksum is wrong";
    }
    at = value + length;
  }
  return {};
}

ProxyHeader read_2(std::span<const uint8_t> bytes, size_t bytes_max) {
  if (bytes.size() > 12 && bytes[12] >> 4 != 2) return bad("a version that is not known");
  if (bytes.size() > 12 && (bytes[12] & 15) > 1) return bad("a command that is not known");
  if (bytes.size() > 13 && (bytes[13] >> 4 > kUnix || (bytes[13] & 15) > 2))
    return bad("a protocol that is not known");
  if (bytes.size() < kHead2) return {};
  ProxyHeader header;
  header.bytes = kHead2 + number(&bytes[14]);
  if (header.bytes > bytes_max) return bad("longer than bytes_max");
  if (bytes.size() < header.bytes) return {};
  header.verdict = Verdict::kDone;
  if ((bytes[12] & 15) == 0) return header;  // LOCAL: the rest says nothing
  const std::span<const uint8_t> all = bytes.first(header.bytes);
  const auto family = static_cast<Family>(all[13] >> 4);
  if (all.size() - kHead2 < kEndsBytes[family]) return bad("too short for its addresses");
  if (const std::string_view error = check_tlvs(all, kHead2 + kEndsBytes[family]); !error.empty())
    return bad(error);
  const uint8_t* ends = all.data() + kHead2;
  header.has_ends = family != kUnspec;
  switch (family) {
    case kUnspec: break;
    case kIp4:
      header.source = ip_address(AF_INET, ends, number(ends + 8));
      header.destination = ip_address(AF_INET, ends + 4, number(ends + 10));
      break;
    case kIp6:
      header.source = ip_address(AF_INET6, ends, number(ends + 32));
      header.destination = ip_address(AF_INET6, ends + 16, number(ends + 34));
      break;
    case kUnix:
      header.source = unix_address(ends);
      header.destination = unix_address(ends + kUnixBytes);
      break;
  }
  return header;
}

// --- writing ----------------------------------------------------------------------------------------------------------

bool is_ip4(const Address& a) { return a.length != 0 && a.storage.sa.sa_family == AF_INET; }
bool is_ip(const Address& a) { return a.length != 0 && !a.is_unix(); }

/// The 16 bytes of an address, an IPv4 one as "::ffff:1.2.3.4".
in6_addr ip6_of(const Address& a) {
  if (!is_ip4(a)) return a.storage.v6.sin6_addr;
  in6_addr ip{};
  ip.s6_addr[10] = ip.s6_addr[11] = 0xff;
  std::memcpy(&ip.s6_addr[12], &a.storage.v4.sin_addr, 4);
  return ip;
}

void append(std::string& to, const void* bytes, size_t n) { to.append(static_cast<const char*>(bytes), n); }
void append_number(std::string& to, size_t n) { to += {static_cast<char>(n >> 8), static_cast<char>(n)}; }

std::string head_2(uint8_t command, Family family, size_t ends) {
  std::string out(kStart2);
  out += static_cast<char>(0x20 | command);
  out += static_cast<char>(family == kUnspec ? 0 : family << 4 | 1);  // a stream
  append_number(out, ends);
  return out;
}

std::string write_1(const Address& source, const Address& destination) {
  if (!is_ip(source) || !is_ip(destination)) return ProxyHeader::write_local(1);
  const bool v4 = is_ip4(source) && is_ip4(destination);
  std::string out = v4 ? "PROXY TCP4" : "PROXY TCP6";
  for (const Address* a : {&source, &destination}) {
    char text[INET6_ADDRSTRLEN];
    const in6_addr ip = ip6_of(*a);
    if (v4)
      ::inet_ntop(AF_INET, &a->storage.v4.sin_addr, text, sizeof(text));
    else
      ::inet_ntop(AF_INET6, &ip, text, sizeof(text));
    out += std::string(" ") + text;
  }
  return out + " " + std::to_string(source.port()) + " " + std::to_string(destination.port()) + "\r\n";
}

std::string write_2(const Address& source, const Address& destination) {
  const bool ip = is_ip(source) && is_ip(destination);
  const Family family = is_ip4(source) && is_ip4(destination)       ? kIp4
                        : ip                                        ? kIp6
                        : source.is_unix() && destination.is_unix() ? kUnix
                                                                    : kUnspec;
  std::string out = head_2(1, family, kEndsBytes[family]);
  for (const Address* a : {&source, &destination}) {
    if (family == kIp4) append(out, &a->storage.v4.sin_addr, 4);
    if (family == kIp6) {
      const in6_addr bytes = ip6_of(*a);
      append(out, &bytes, sizeof(bytes));
    }
    if (family == kUnix) {
      std::string path = a->name ? a->name->substr(0, kUnixBytes) : std::string();
      if (!path.empty() && path[0] == '@') path[0] = '\0';
      path.resize(kUnixBytes);
      out += path;
    }
  }
  if (ip) {
    append_number(out, source.port());
    append_number(out, destination.port());
  }
  return out;
}

}  // namespace

ProxyHeader ProxyHeader::read(std::span<const uint8_t> bytes, size_t bytes_max) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const auto begins = [&](std::string_view start) {
    const size_t n = std::min(start.size(), text.size());
    return text.substr(0, n) == start.substr(0, n);
  };
  const bool one = begins(kStart1), two = begins(kStart2);
  if (!one && !two) {
    ProxyHeader none;
    none.verdict = Verdict::kNone;
    return none;
  }
  if (one && text.size() >= kStart1.size()) return read_1(text);
  if (two && text.size() >= kStart2.size()) return read_2(bytes, bytes_max);
  return {};
}

std::string ProxyHeader::write(int version, const Address& source, const Address& destination) {
  return version == 1 ? write_1(source, destination) : write_2(source, destination);
}

std::string ProxyHeader::write_local(int version) {
  return version == 1 ? "PROXY UNKNOWN\r\n" : head_2(0, kUnspec, 0);
}

// --- prefixes ---------------------------------------------------------------------------------------------------------

Result<IpPrefix> IpPrefix::parse(std::string_view text) {
  const auto fail = [&] {
    return unexpected("'" + std::string(text) + "' is no IP address and no prefix of one");
  };
  const size_t slash = text.find('/');
  const std::string ip(text.substr(0, slash));
  const bool v6 = ip.find(':') != std::string::npos;
  uint8_t bytes[sizeof(in6_addr)];
  if (::inet_pton(v6 ? AF_INET6 : AF_INET, ip.c_str(), bytes) != 1) return fail();
  IpPrefix prefix;
  prefix.address_ = ip_address(v6 ? AF_INET6 : AF_INET, bytes, 0);
  const int most = v6 ? 128 : 32;
  prefix.bits_ = most;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix.bits_);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size()) return fail();
    if (prefix.bits_ < 0 || prefix.bits_ > most) return fail();
  }
  // "::ffff:10.0.0.0/104" is "10.0.0.0/8"; a shorter one is of IPv6.
  if (v6 && is_ip4(prefix.address_)) {
    if (prefix.bits_ < 96) return fail();
    prefix.bits_ -= 96;
  }
  return prefix;
}

bool IpPrefix::covers(const Address& address) const {
  if (!is_ip(address) || is_ip4(address) != is_ip4(address_)) return false;
  const in6_addr a = ip6_of(address), b = ip6_of(address_);
  const int bits = bits_ + (is_ip4(address_) ? 96 : 0);
  const size_t whole = static_cast<size_t>(bits / 8);
  if (std::memcmp(&a, &b, whole) != 0) return false;
  const int rest = bits % 8;
  return rest == 0 || (a.s6_addr[whole] ^ b.s6_addr[whole]) >> (8 - rest) == 0;
}

}  // namespace dragoman
