#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <cerrno>

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

TEST(Address, UnixSockets) {
  for (const char* text : {"unix:/run/dragoman.sock", "unix:/a", "unix:@name", "unix:@a b:c"}) {
    auto address = Address::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_TRUE(address->is_unix());
    EXPECT_EQ(address->to_string(), text);
    EXPECT_EQ(address->host(), text);
    EXPECT_EQ(address->port(), 0);
    // As the kernel has it, and back.
    sockaddr_storage storage;
    const socklen_t length = address->fill(storage);
    ASSERT_NE(length, 0u);
    EXPECT_EQ(Address::from(reinterpret_cast<const sockaddr*>(&storage), length), *address) << text;
  }
  const std::string longest = "unix:/" + std::string(Address::kUnixPathMax - 1, 'x');
  EXPECT_TRUE(Address::parse(longest));
  EXPECT_EQ(Address::parse(longest)->to_string(), longest);
  for (const std::string& text : {longest + "x", std::string("unix:"), std::string("unix:relative"),
                                  std::string("unix:/"), std::string("unix:@"), std::string("unix:/a\0b", 9)})
    EXPECT_FALSE(Address::parse(text)) << text;
  EXPECT_EQ(*Address::parse("unix:/a"), *Address::parse("unix:/a"));
  EXPECT_FALSE(*Address::parse("unix:/a") == *Address::parse("unix:/b"));
  EXPECT_FALSE(*Address::parse("unix:/a") == *Address::parse("unix:@a"));
}

TEST(Address, AUnixSocketWithoutANameIsUnix) {
  sockaddr sa{};
  sa.sa_family = AF_UNIX;
  const Address address = Address::from(&sa, sizeof(sa_family_t));
  EXPECT_EQ(address.to_string(), "unix:");
  EXPECT_EQ(address.port(), 0);
  EXPECT_FALSE(address.takes(address)) << "nobody listens without a name";
}

TEST(Address, Ipv4WrittenAsIpv6IsIpv4) {
  EXPECT_EQ(Address::parse("[::ffff:1.2.3.4]:80")->to_string(), "1.2.3.4:80");
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(7);
  ASSERT_EQ(::inet_pton(AF_INET6, "::ffff:10.0.0.1", &v6.sin6_addr), 1);
  EXPECT_EQ(Address::from(reinterpret_cast<const sockaddr*>(&v6), sizeof(v6)), *Address::parse("10.0.0.1:7"));
}

TEST(Address, Zones) {
  const Address by_name = *Address::parse("[fe80::1%lo]:80"), by_number = *Address::parse("[fe80::1%1]:80");
  EXPECT_EQ(by_name.to_string(), "[fe80::1%lo]:80");
  EXPECT_EQ(by_number.to_string(), "[fe80::1%1]:80");
  EXPECT_EQ(by_name, by_number) << "lo is the first interface of every namespace";
  EXPECT_FALSE(by_name == *Address::parse("[fe80::1%2]:80"));
  sockaddr_storage storage;
  ASSERT_NE(by_name.fill(storage), 0u);
  EXPECT_EQ(Address::from(reinterpret_cast<const sockaddr*>(&storage), sizeof(sockaddr_in6)).to_string(),
            "[fe80::1%lo]:80");
  const Address unknown = *Address::parse("[fe80::1%nowhere0]:80");
  EXPECT_EQ(unknown.to_string(), "[fe80::1%nowhere0]:80");
  EXPECT_EQ(unknown.fill(storage), 0u);
  EXPECT_EQ(errno, ENODEV);
  EXPECT_FALSE(Address::parse("[fe80::1%]:80"));
  EXPECT_FALSE(Address::parse("[fe80::1%sixteen-letters-]:80"));
}

TEST(Address, WhatASocketTakes) {
  const struct {
    const char* listener;
    bool ipv6_only;
    const char* to;
    bool takes;
  } rows[] = {
      {"127.0.0.1:80", false, "127.0.0.1:80", true},
      {"127.0.0.1:80", false, "[::ffff:127.0.0.1]:80", true},
      {"127.0.0.1:80", false, "127.0.0.1:81", false},
      {"127.0.0.1:80", false, "127.0.0.2:80", false},
      {"0.0.0.0:80", false, "127.9.9.9:80", true},
      {"0.0.0.0:80", false, "10.0.0.1:80", false},
      {"0.0.0.0:80", false, "[::1]:80", false},
      {"[::]:80", false, "[::1]:80", true},
      {"[::]:80", false, "127.0.0.1:80", true},
      {"[::]:80", true, "127.0.0.1:80", false},
      {"[::]:80", true, "[::1]:80", true},
      {"[::1]:80", false, "127.0.0.1:80", false},
      {"unix:/a", false, "unix:/a", true},
      {"unix:/a", false, "unix:/b", false},
      {"unix:/a", false, "127.0.0.1:80", false},
      {"0.0.0.0:80", false, "unix:/a", false},
  };
  for (const auto& row : rows) {
    Address listener = *Address::parse(row.listener);
    listener.ipv6_only = row.ipv6_only;
    EXPECT_EQ(listener.takes(*Address::parse(row.to)), row.takes) << row.listener << " " << row.to;
  }
}

TEST(Address, OtherFamiliesAreEmpty) {
  sockaddr sa{};
  sa.sa_family = AF_APPLETALK;
  const Address address = Address::from(&sa, sizeof(sa));
  EXPECT_EQ(address.length, 0u);
  EXPECT_EQ(address.to_string(), "unknown");
  EXPECT_EQ(address.port(), 0);
}

}  // namespace
}  // namespace dragoman
