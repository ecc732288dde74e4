#include <arpa/inet.h>
#include <gtest/gtest.h>

#include "proxy/net/transport.h"

namespace dragoman {
namespace {

TEST(Address, ParsesLiterals) {
  const struct {
    const char* text;
    const char* host;
    uint16_t port;
  } rows[] = {
      {"127.0.0.1:80", "127.0.0.1", 80},
      {"0.0.0.0:0", "0.0.0.0", 0},
      {"255.255.255.255:65535", "255.255.255.255", 65535},
      {"[::1]:443", "::1", 443},
      {"[::]:1", "::", 1},
      {"[2001:db8::a]:8080", "2001:db8::a", 8080},
  };
  for (const auto& row : rows) {
    auto address = Address::parse(row.text);
    ASSERT_TRUE(address) << row.text;
    EXPECT_EQ(address->to_string(), row.text);
    EXPECT_EQ(address->host(), row.host);
    EXPECT_EQ(address->port(), row.port);
  }
}

TEST(Address, RefusesEverythingElse) {
  for (const char* text : {"",
                           ":",
                           "80",
                           "127.0.0.1",
                           "127.0.0.1:",
                           "127.0.0.1:65536",
                           "127.0.0.1:-1",
                           "127.0.0.1:+1",
                           "127.0.0.1:80x",
                           "127.0.0.1: 80",
                           "1.2.3:80",
                           "localhost:80",
                           "::1:80",
                           "[::1]",
                           "[::1]:",
                           "[]:80",
                           "[127.0.0.1]:80",
                           "[::1:80",
                           "[::g]:80",
                           "127.0.0.1:99999999999999999999"}) {
    auto address = Address::parse(text);
    EXPECT_FALSE(address) << text;
    if (!address) {
      EXPECT_NE(address.error().find(text), std::string::npos);
    }
  }
}

TEST(Address, Equality) {
  const Address a = *Address::parse("127.0.0.1:80");
  EXPECT_EQ(a, *Address::parse("127.0.0.1:80"));
  EXPECT_FALSE(a == *Address::parse("127.0.0.1:81"));
  EXPECT_FALSE(a == *Address::parse("127.0.0.2:80"));
  EXPECT_FALSE(a == *Address::parse("[::1]:80"));
  EXPECT_FALSE(*Address::parse("[::1]:80") == *Address::parse("[::2]:80"));
  EXPECT_FALSE(a == Address{});
  EXPECT_EQ(Address{}, Address{});
}

TEST(Address, OtherFamiliesAreEmpty) {
  sockaddr sa{};
  sa.sa_family = AF_UNIX;
  const Address address = Address::from(&sa, sizeof(sa));
  EXPECT_EQ(address.length, 0u);
  EXPECT_EQ(address.to_string(), "unknown");
  EXPECT_EQ(address.port(), 0);
}

}  // namespace
}  // namespace dragoman
