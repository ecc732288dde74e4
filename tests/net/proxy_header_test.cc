// The PROXY protocol as bytes: both versions, everything that is wrong, every point where a header can be cut.
#include <gtest/gtest.h>

#include <random>

#include "proxy/net/proxy_header.h"

namespace dragoman {
namespace {

using Verdict = ProxyHeader::Verdict;
using namespace std::string_literals;

const std::string kStart2("\r\n\r\n\0\r\nQUIT\n", 12);
constexpr size_t kMax = 4096;

ProxyHeader read(std::string_view bytes, size_t max = kMax) {
  return ProxyHeader::read({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, max);
}

/// A header of version 2 around `rest`, whose length it says.
std::string v2(int command, int protocol, const std::string& rest) {
  return kStart2 + static_cast<char>(command) + static_cast<char>(protocol) +
         static_cast<char>(rest.size() >> 8) + static_cast<char>(rest.size()) + rest;
}
std::string tlv(int type, const std::string& value) {
  return ""s + static_cast<char>(type) + static_cast<char>(value.size() >> 8) +
         static_cast<char>(value.size()) + value;
}
const std::string kEnds4("\x01\x02\x03\x04\x05\x06\x07\x08\x00\x50\x01\xbb", 12);
std::string unix_path(std::string path) {
  path.resize(108);
  return path;
}
/// "123456789" has this sum: RFC 3720's check value of CRC-32C.
std::string summed(std::string rest_before, const std::string& rest_after = "") {
  std::string all = v2(0x21, 0x11, rest_before + tlv(3, "\0\0\0\0"s) + rest_after);
  uint32_t crc = ~0u;
  for (char c : all) {
    crc ^= static_cast<uint8_t>(c);
    for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0u);
  }
  crc = ~crc;
  const size_t at = 16 + rest_before.size() + 3;
  for (size_t i = 0; i < 4; ++i) all[at + i] = static_cast<char>(crc >> (24 - 8 * i));
  return all;
}

struct Good {
  std::string bytes;
  std::string source;  // empty: none is said
  std::string destination;
};

std::vector<Good> good() {
  const std::string ends6 = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\x01" +
                            std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\x02" +
                            "\x00\x50\x01\xbb"s;
  return {
      {"PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n", "1.2.3.4:80", "5.6.7.8:443"},
      {"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535",
       "255.255.255.255:65535"},
      {"PROXY TCP4 1.2.3.4 5.6.7.8 0 0\r\n", "1.2.3.4:0", "5.6.7.8:0"},
      {"PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n", "[2001:db8::1]:80", "[2001:db8::2]:443"},
      {"PROXY TCP6 ::ffff:1.2.3.4 ::1 80 443\r\n", "1.2.3.4:80", "[::1]:443"},
      {"PROXY UNKNOWN\r\n", "", ""},
      {"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", "", ""},
      {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 "
       "65535\r\n",
       "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
      {v2(0x21, 0x11, kEnds4), "1.2.3.4:80", "5.6.7.8:443"},
      {v2(0x21, 0x12, kEnds4), "1.2.3.4:80", "5.6.7.8:443"},
      {v2(0x21, 0x21, ends6), "[2001:db8::1]:80", "[2001:db8::2]:443"},
      {v2(0x21, 0x31, unix_path("/run/a") + unix_path("/run/b")), "unix:/run/a", "unix:/run/b"},
      {v2(0x21, 0x31, unix_path("\0abstract"s) + unix_path("")), "unix:@abstract", "unix:"},
      {v2(0x21, 0x31, std::string(108, 'p') + std::string(108, 'q')), "unix:" + std::string(108, 'p'),
       "unix:" + std::string(108, 'q')},
      {v2(0x21, 0x00, ""), "", ""},
      {v2(0x21, 0x00, tlv(4, "padding")), "", ""},
      {v2(0x20, 0x00, ""), "", ""},
      {v2(0x20, 0x11, kEnds4), "", ""},
      {v2(0x20, 0x11, "short"), "", ""},
      {v2(0x21, 0x11,
          kEnds4 + tlv(0x01, "h2") + tlv(0x02, "host") + tlv(0xee, "") + tlv(0x20, std::string(300, 'x'))),
       "1.2.3.4:80", "5.6.7.8:443"},
      {summed(kEnds4), "1.2.3.4:80", "5.6.7.8:443"},
      {summed(kEnds4 + tlv(0x01, "h2"), tlv(4, "after")), "1.2.3.4:80", "5.6.7.8:443"},
  };
}

TEST(ProxyHeader, IsReadAtEverySplitPoint) {
  for (const Good& row : good()) {
    SCOPED_TRACE(::testing::PrintToString(row.bytes.substr(0, 120)));
    for (size_t n = 0; n < row.bytes.size(); ++n)
      EXPECT_EQ(read(row.bytes.substr(0, n)).verdict, Verdict::kMore) << n;
    for (const char* after : {"", "x", "PROXY ", "\r\n", "GET / HTTP/1.1\r\n"}) {
      const ProxyHeader header = read(row.bytes + after);
      ASSERT_EQ(header.verdict, Verdict::kDone) << header.error;
      EXPECT_EQ(header.bytes, row.bytes.size()) << "not a byte of what follows";
      EXPECT_EQ(header.has_ends, !row.source.empty());
      if (!header.has_ends) continue;
      EXPECT_EQ(header.source.to_string(), row.source);
      EXPECT_EQ(header.destination.to_string(), row.destination);
    }
  }
}

TEST(ProxyHeader, WhatIsWrongIsRefused) {
  std::string bad_sum = summed(kEnds4);
  bad_sum.back() = static_cast<char>(bad_sum.back() ^ 1);
  std::string bad_ends = summed(kEnds4);
  bad_ends[16] = 9;
  const std::string rows[] = {
      "PROXY \r\n",
      "PROXY TCP4\r\n",
      "PROXY TCP5 1.2.3.4 5.6.7.8 80 443\r\n",
      "PROXY tcp4 1.2.3.4 5.6.7.8 80 443\r\n",
      "PROXY UNKNOWNX\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 80\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 80 443 \r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 80 443 1\r\n",
      "PROXY TCP4  1.2.3.4 5.6.7.8 80 443\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 65536 443\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 080 443\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 -1 443\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 +1 443\r\n",
      "PROXY TCP4 1.2.3 5.6.7.8 80 443\r\n",
      "PROXY TCP4 ::1 ::1 80 443\r\n",
      "PROXY TCP6 1.2.3.4 5.6.7.8 80 443\r\n",
      "PROXY TCP6 fe80::1%lo ::1 80 443\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8\t80 443\r\n",
      "PROXY TCP4 1.2.3.4 \0.6.7.8"s,
      "PROXY UNKNOWN " + std::string(93, 'x'),
      "PROXY UNKNOWN " + std::string(92, 'x') + "\r\n",
      v2(0x11, 0x11, kEnds4),
      v2(0x31, 0x11, kEnds4),
      v2(0x22, 0x11, kEnds4),
      v2(0x2f, 0x11, kEnds4),
      v2(0x21, 0x41, kEnds4),
      v2(0x21, 0x13, kEnds4),
      v2(0x20, 0x40, ""),
      v2(0x21, 0x11, kEnds4.substr(0, 11)),
      v2(0x21, 0x21, std::string(35, '\0')),
      v2(0x21, 0x31, std::string(215, '\0')),
      v2(0x21, 0x11, kEnds4 + "\x04"),
      v2(0x21, 0x11, kEnds4 + "\x04\0"s),
      v2(0x21, 0x11, kEnds4 + "\x04\0\x02x"s),
      v2(0x21, 0x11, kEnds4 + tlv(3, "\1\2\3")),
      v2(0x21, 0x11, kEnds4 + tlv(3, "\0\0\0\0"s)),
      bad_sum,
      bad_ends,
      summed(kEnds4, tlv(3, "\0\0\0\0"s)),
  };
  for (const std::string& row : rows) {
    const ProxyHeader header = read(row);
    EXPECT_EQ(header.verdict, Verdict::kBad) << ::testing::PrintToString(row);
    EXPECT_FALSE(header.error.empty());
  }
}

TEST(ProxyHeader, OtherProtocolsAreToldApart) {
  for (const std::string& row :
       {"GET / HTTP/1.1\r\n"s, "PRI * HTTP/2.0\r\n\r\n"s, "\x16\x03\x01"s, "proxy TCP4"s, "PROXYX"s,
        "\r\n\r\nGET"s, "\r\n\r\n\0\r\nQUIT\r"s, "\0"s, "P "s})
    EXPECT_EQ(read(row).verdict, Verdict::kNone) << ::testing::PrintToString(row);
}

TEST(ProxyHeader, LengthsAreBounded) {
  const std::string long_one = v2(0x21, 0x11, kEnds4 + tlv(4, std::string(500, 'x')));
  EXPECT_EQ(read(long_one, long_one.size()).verdict, Verdict::kDone);
  EXPECT_EQ(read(long_one, long_one.size() - 1).verdict, Verdict::kBad);
  EXPECT_EQ(read(long_one.substr(0, 16), 100).verdict, Verdict::kBad) << "as soon as its length is there";
  std::string longest_line = "PROXY UNKNOWN " + std::string(91, 'x') + "\r\n";
  ASSERT_EQ(longest_line.size(), ProxyHeader::kBytesMax1);
  EXPECT_EQ(read(longest_line).verdict, Verdict::kDone);
}

TEST(ProxyHeader, WhatIsWrittenIsRead) {
  const struct {
    const char *source, *destination, *read_source, *read_destination;
    const char* line;
  } rows[] = {
      {"1.2.3.4:80", "5.6.7.8:443", "1.2.3.4:80", "5.6.7.8:443", "PROXY TCP4 1.2.3.4 5.6.7.8 80 443\r\n"},
      {"[::1]:80", "[2001:db8::a]:443", "[::1]:80", "[2001:db8::a]:443",
       "PROXY TCP6 ::1 2001:db8::a 80 443\r\n"},
      {"1.2.3.4:80", "[::1]:443", "1.2.3.4:80", "[::1]:443", "PROXY TCP6 ::ffff:1.2.3.4 ::1 80 443\r\n"},
      {"[fe80::1%lo]:80", "[::1]:443", "[fe80::1]:80", "[::1]:443", "PROXY TCP6 fe80::1 ::1 80 443\r\n"},
      {"unix:/a", "unix:@b", "unix:/a", "unix:@b", "PROXY UNKNOWN\r\n"},
      {"unix:/a", "1.2.3.4:80", nullptr, nullptr, "PROXY UNKNOWN\r\n"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.source);
    const Address source = *Address::parse(row.source), destination = *Address::parse(row.destination);
    EXPECT_EQ(ProxyHeader::write(1, source, destination), row.line);
    const std::string second = ProxyHeader::write(2, source, destination);
    const ProxyHeader header = read(second);
    ASSERT_EQ(header.verdict, Verdict::kDone) << header.error;
    EXPECT_EQ(header.bytes, second.size());
    ASSERT_EQ(header.has_ends, row.read_source != nullptr);
    if (!header.has_ends) continue;
    EXPECT_EQ(header.source.to_string(), row.read_source);
    EXPECT_EQ(header.destination.to_string(), row.read_destination);
  }
  EXPECT_EQ(ProxyHeader::write_local(1), "PROXY UNKNOWN\r\n");
  EXPECT_EQ(ProxyHeader::write_local(2), v2(0x20, 0x00, ""));
  EXPECT_EQ(ProxyHeader::write(1, {}, {}), "PROXY UNKNOWN\r\n");
  EXPECT_FALSE(read(ProxyHeader::write(2, {}, {})).has_ends);
}

// Good headers with some bytes changed, cut and repeated: nothing is read beyond the end (the sanitizers see it), and what is taken is
// no longer than what is there. More bytes never change a verdict.
TEST(ProxyHeader, AnyBytesAreJudged) {
  std::mt19937 random(20260101);
  const auto rows = good();
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = rows[random() % rows.size()].bytes;
    for (uint32_t i = random() % 4; i > 0; --i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (random() % 3 == 0) bytes.resize(random() % (bytes.size() + 1));
    Verdict before = Verdict::kMore;
    for (size_t n = 0; n <= bytes.size(); n += 1 + random() % 40) {
      const std::vector<uint8_t> exact(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
      const ProxyHeader header = ProxyHeader::read(exact, 512);
      if (before != Verdict::kMore) {
        EXPECT_EQ(header.verdict, before);
      }
      before = header.verdict;
      if (header.verdict == Verdict::kDone) {
        EXPECT_LE(header.bytes, n);
      }
    }
  }
}

TEST(IpPrefix, Covers) {
  const struct {
    const char *prefix, *address;
    bool covers;
  } rows[] = {
      {"10.0.0.0/8", "10.255.0.1:1", true},
      {"10.0.0.0/8", "11.0.0.1:1", false},
      {"10.0.0.1", "10.0.0.1:1", true},
      {"10.0.0.1", "10.0.0.2:1", false},
      {"10.0.0.0/31", "10.0.0.1:1", true},
      {"10.0.0.0/31", "10.0.0.2:1", false},
      {"0.0.0.0/0", "1.2.3.4:1", true},
      {"0.0.0.0/0", "[::1]:1", false},
      {"::/0", "[::1]:1", true},
      {"::/0", "1.2.3.4:1", false},
      {"fd00::/8", "[fdff::1]:1", true},
      {"fd00::/8", "[fe00::1]:1", false},
      {"::1", "[::1]:1", true},
      {"fe80::/10", "[fe80::1%lo]:1", true},
      {"10.0.0.0/8", "[::ffff:10.1.2.3]:1", true},
      {"::ffff:10.0.0.0/104", "10.1.2.3:1", true},
      {"0.0.0.0/0", "unix:/a", false},
  };
  for (const auto& row : rows) {
    auto prefix = IpPrefix::parse(row.prefix);
    ASSERT_TRUE(prefix) << row.prefix;
    EXPECT_EQ(prefix->covers(*Address::parse(row.address)), row.covers) << row.prefix << " " << row.address;
  }
  for (const char* text : {"", "/8", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/-1",
                           "10.0.0.0/8x", "a", "::ffff:0.0.0.0/80"})
    EXPECT_FALSE(IpPrefix::parse(text)) << text;
  EXPECT_FALSE(IpPrefix::parse("10.0.0.0/8")->covers(Address{}));
}

}  // namespace
}  // namespace dragoman
