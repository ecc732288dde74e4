#include "proxy/route/domain_index.h"

#include <gtest/gtest.h>

namespace dragoman {
namespace {

TEST(HostOf, PortAndTrailingDotAreCutOff) {
  struct Case {
    std::string_view authority, host;
  };
  for (const Case& c : {Case{"a.test", "a.test"}, Case{"a.test:80", "a.test"}, Case{"a.test.", "a.test"},
                        Case{"a.test.:80", "a.test"}, Case{"[::1]", "[::1]"}, Case{"[::1]:8080", "[::1]"}, Case{"", ""},
                        Case{":80", ""}, Case{".", "."}, Case{"[::1", "[::1"}, Case{"127.0.0.1:1", "127.0.0.1"}})
    EXPECT_EQ(host_of(c.authority), c.host) << c.authority;
}

TEST(DomainIndex, ExactThenLongestSuffixThenLongestPrefixThenAny) {
  constexpr std::string_view kDomains[] = {"*",   "*.test", "*.b.test", "a.b.test", "www.*",
                                           "www.b.*", "[::1]",  "UPPER.test", "10.0.*"};
  DomainIndex index;
  for (uint32_t i = 0; i < std::size(kDomains); ++i) ASSERT_TRUE(index.add(kDomains[i], i)) << kDomains[i];
  struct Case {
    std::string_view authority, domain;
  };
  const std::string long_host = std::string(70'000, '.') + "b.test";
  const std::string long_prefix = "www." + std::string(70'000, '.');
  for (const Case& c : {
           Case{"a.b.test", "a.b.test"},
           Case{"A.B.Test:8080", "a.b.test"},
           Case{"a.b.test.", "a.b.test"},
           Case{"c.b.test", "*.b.test"},
           Case{"d.c.b.test", "*.b.test"},
           Case{"b.test", "*.test"},
           Case{".b.test", "*.test"},  // nothing in the place of '*'
           Case{"xb.test", "*.test"},
           Case{"test", "*"},
           Case{".test", "*"},
           Case{"www.b.test", "*.b.test"},  // a suffix wins over a prefix
           Case{"www.b.org", "www.b.*"},
           Case{"www.b.", "www.*"},
           Case{"www.c.org", "www.*"},
           Case{"www.", "*"},
           Case{"www", "*"},
           Case{"upper.test", "UPPER.test"},
           Case{"[::1]:80", "[::1]"},
           Case{"10.0.0.7:80", "10.0.*"},
           Case{"10.00.0.7", "*"},
           Case{"", "*"},
           Case{"...", "*"},
           Case{long_host, "*.b.test"},
           Case{long_prefix, "www.*"},
       }) {
    uint32_t found = index.find(c.authority);
    ASSERT_NE(found, DomainIndex::kNone);
    EXPECT_EQ(kDomains[found], c.domain) << c.authority.substr(0, 50);
  }
}

TEST(DomainIndex, NoneWithoutAny) {
  DomainIndex index;
  EXPECT_EQ(index.find("a.test"), DomainIndex::kNone);
  ASSERT_TRUE(index.add("a.test", 0));
  EXPECT_EQ(index.find("a.test"), 0u);
  EXPECT_EQ(index.find("b.test"), DomainIndex::kNone);
  EXPECT_EQ(index.find(""), DomainIndex::kNone);
}

TEST(DomainIndex, RefusesWhatItCannotMean) {
  for (std::string_view bad : {"", "*.", ".*", "*.*", "a*b", "*a", "a*", "**", "*.a.*"}) {
    DomainIndex index;
    auto added = index.add(bad, 0);
    EXPECT_FALSE(added) << bad;
  }
}

TEST(DomainIndex, RefusesDuplicates) {
  for (auto [a, b] : {std::pair<const char*, const char*>{"*", "*"}, {"a.test", "A.TEST"}, {"*.x", "*.X"}, {"x.*", "X.*"}}) {
    DomainIndex index;
    ASSERT_TRUE(index.add(a, 0));
    auto again = index.add(b, 1);
    ASSERT_FALSE(again) << b;
    EXPECT_NE(again.error().find("twice"), std::string::npos);
  }
}

}  // namespace
}  // namespace dragoman
