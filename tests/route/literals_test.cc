#include "proxy/route/literals.h"

#include <gtest/gtest.h>

#include <random>

#include "proxy/route/route_matcher.h"

namespace dragoman {
namespace {

using Parts = std::vector<std::string>;

TEST(Literals, WhatEveryMatchHas) {
  struct Case {
    std::string_view expression, prefix;
    Parts parts;
    std::string_view suffix = {};
  };
  for (const Case& c : {
           Case{"/a/b", "/a/b", {"/a/b"}, "/a/b"},
           Case{"/v[0-9]+", "/v", {"/v"}},
           Case{"/v[0-9]+/users/.*-17", "/v", {"/v", "/users/", "-17"}, "-17"},
           Case{"^/a$", "/a", {"/a"}, "/a"},
           Case{".*/b", "", {"/b"}, "/b"},
           Case{"/ab?", "/a", {"/a"}},
           Case{"/ab*c", "/a", {"/a", "c"}, "c"},
           Case{"/ab{0,2}", "/a", {"/a"}},
           Case{"/ab{0}c", "/a", {"/a", "c"}, "c"},
           Case{"/ab{2,}c", "/a", {"/a", "c"}, "c"},
           Case{"/ab+c", "/ab", {"/ab", "c"}, "c"},
           Case{"/ab+?c", "/ab", {"/ab", "c"}, "c"},
           Case{"/a{,3}", "/a", {"/a", ",3"}},  // not a number of times
           Case{"/a|/b", "", {}},
           Case{"/a(b|c)d", "/a", {"/a", "d"}, "d"},
           Case{"/a(b(c)d)?e", "/a", {"/a", "e"}, "e"},
           Case{"/a(?:b)e", "/a", {"/a", "e"}, "e"},
           Case{"/a(?P<n>b)e", "/a", {"/a", "e"}, "e"},
           Case{"/a(?i:b)e", "/a", {"/a", "e"}, "e"},
           Case{"(?i)/a", "", {}},
           Case{"/a(?i)b", "", {}},
           Case{"/a[)(|]b", "/a", {"/a", "b"}, "b"},
           Case{"/a[]b]c", "/a", {"/a", "c"}, "c"},
           Case{"/a[^]b]c", "/a", {"/a", "c"}, "c"},
           Case{"/a[[:alpha:]]c", "/a", {"/a", "c"}, "c"},
           Case{"/a[\\]b]c", "/a", {"/a", "c"}, "c"},
           Case{"/a(\\)|b)c", "/a", {"/a", "c"}, "c"},
           Case{"/a\\.b\\-c", "/a.b-c", {"/a.b-c"}, "/a.b-c"},
           Case{"/a\\.?b", "/a", {"/a", "b"}, "b"},
           Case{"/a\\db", "/a", {"/a", "b"}, "b"},
           Case{"/a\\bb", "/a", {"/a", "b"}, "b"},
           Case{"/a\\x62", "", {}},
           Case{"/a\\Qb", "", {}},
           Case{"/a(\\Q(\\E)", "", {}},
           Case{"/a\\pLb", "", {}},
           Case{"/\xc3\xa9*", "/", {"/"}},
           Case{".*", "", {}},
           Case{"a*", "", {}},
           Case{"", "", {}},
           Case{"^*", "", {}},
       }) {
    const Literals found = literals_of(c.expression);
    EXPECT_EQ(found.prefix, c.prefix) << c.expression;
    EXPECT_EQ(found.parts, c.parts) << c.expression;
    EXPECT_EQ(found.suffix, c.suffix) << c.expression;
  }
}

// Random expressions, and texts that are likely to match them.
TEST(Literals, AreNeverMoreThanAMatchHas) {
  std::mt19937 random(11);
  const std::vector<std::string> pieces = {
      "a",        "b",    "/",         ".",  "\\.",     "[ab]",     "[^]a]", "(a|b)",
      "(?:ab)",   "a+",   "b*",        "a?", "b{2}",    "{,2}",     "(b/)*", "(?i:ab)",
      "\\d",      "(?i)", "^",         "$",  "a{0}",    "[(]",      "\\w",   "\\x61",
      "\\Qa.\\E", "|",    "(a(b|/)?)", "1",  "a{1,2}?", "(?P<n>a)", "\\/",   "}"};
  const std::string letters = "ab/.1(,{2}]AB";
  int matches = 0, with_parts = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string expression;
    for (size_t n = 1 + random() % 5; n > 0; --n) expression += pieces[random() % pieces.size()];
    auto pattern = Pattern::compile(expression);
    if (!pattern) continue;
    const Literals literals = literals_of(expression);
    with_parts += literals.parts.empty() ? 0 : 1;
    for (int i = 0; i < 60; ++i) {
      std::string text;
      for (size_t n = random() % 6; n > 0; --n) text += letters[random() % letters.size()];
      if (!pattern->matches(text)) continue;
      ++matches;
      ASSERT_TRUE(text.starts_with(literals.prefix)) << expression << " on " << text;
      ASSERT_TRUE(text.ends_with(literals.suffix)) << expression << " on " << text;
      for (const std::string& part : literals.parts)
        ASSERT_NE(text.find(part), std::string::npos) << expression << " on " << text << ": " << part;
    }
  }
  EXPECT_GT(matches, 3000);
  EXPECT_GT(with_parts, 1000);
}

}  // namespace
}  // namespace dragoman
