#include "proxy/route/prefix_index.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace dragoman {
namespace {

uint32_t first_under(const PrefixIndex& index, std::string_view text, uint32_t best = kNoRoute) {
  index.search(text, best, [](uint32_t) { return true; });
  return best;
}

TEST(PrefixIndex, LowestRouteUnderAnyPrefix) {
  PrefixIndex index;
  index.add("/api/v2", 1);
  index.add("/api", 2);
  index.add("/b", 3);
  index.add("/api/v2", 4);
  index.add("/api/v2/x", 5);
  index.build();
  EXPECT_EQ(first_under(index, "/api/v2/x/y"), 1u);
  EXPECT_EQ(first_under(index, "/api/v2"), 1u);
  EXPECT_EQ(first_under(index, "/api/v"), 2u);
  EXPECT_EQ(first_under(index, "/api"), 2u);
  EXPECT_EQ(first_under(index, "/ap"), kNoRoute);
  EXPECT_EQ(first_under(index, ""), kNoRoute);
  EXPECT_EQ(first_under(index, "/c"), kNoRoute);
  EXPECT_EQ(first_under(index, "/b"), 3u);
  EXPECT_EQ(first_under(index, "/b", 2), 2u) << "what is better already stays";
}

TEST(PrefixIndex, SkipsRoutesThatDoNotHold) {
  PrefixIndex index;
  index.add("/a/b", 0);
  index.add("/a/b", 1);
  index.add("/a", 2);
  index.build();
  for (uint32_t wanted : {0u, 1u, 2u}) {
    uint32_t best = kNoRoute;
    index.search("/a/b/c", best, [&](uint32_t route) { return route == wanted; });
    EXPECT_EQ(best, wanted);
  }
}

TEST(PrefixIndex, Empty) {
  PrefixIndex index;
  index.build();
  EXPECT_EQ(first_under(index, "/a"), kNoRoute);
}

// Few letters, so that prefixes nest in every way; the oracle tries them one by one.
TEST(PrefixIndex, AgreesWithTryingEachPrefix) {
  std::mt19937 random(1);
  auto word = [&](size_t longest) {
    std::string text(random() % (longest + 1), 'a');
    for (char& c : text) c = static_cast<char>("ab\xff"[random() % 3]);
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::vector<std::string> prefixes(1 + random() % 40);
    PrefixIndex index;
    for (auto& p : prefixes) p = word(6) + "a";
    for (uint32_t i = 0; i < prefixes.size(); ++i) index.add(prefixes[i], i);
    index.build();
    for (int i = 0; i < 100; ++i) {
      std::string text = word(9);
      uint32_t odd = random() % 2;  // only every other route holds
      uint32_t expected = kNoRoute;
      for (uint32_t r = 0; r < prefixes.size() && expected == kNoRoute; ++r)
        if (r % 2 == odd && text.starts_with(prefixes[r])) expected = r;
      uint32_t best = kNoRoute;
      index.search(text, best, [&](uint32_t r) { return r % 2 == odd; });
      ASSERT_EQ(best, expected) << text;
    }
  }
}

}  // namespace
}  // namespace dragoman
