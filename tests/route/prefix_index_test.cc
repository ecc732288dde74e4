#include "proxy/route/prefix_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace dragoman {
namespace {

/// Lowest value under `text`; each value is its own route.
uint32_t first_under(const PrefixIndex& index, std::string_view text, uint32_t best = kNoRoute) {
  index.search(text, best, [&](uint32_t value) { best = std::min(best, value); });
  return best;
}

TEST(PrefixIndex, EveryPrefixIsVisitedLongestFirst) {
  PrefixIndex index;
  index.add("/api/v2", 1, 1);
  index.add("/api", 2, 2);
  index.add("/b", 3, 3);
  index.add("/api/v2/x", 5, 5);
  index.build();
  const auto visited = [&](std::string_view text, uint32_t best) {
    std::vector<uint32_t> values;
    index.search(text, best, [&](uint32_t value) { values.push_back(value); });
    return values;
  };
  using Values = std::vector<uint32_t>;
  EXPECT_EQ(visited("/api/v2/x/y", kNoRoute), (Values{5, 1, 2}));
  EXPECT_EQ(visited("/api/v2/x/y", 2), (Values{5, 1})) << "nothing left that is better";
  EXPECT_EQ(visited("/api/v2/x/y", 1), Values{});
  EXPECT_EQ(visited("/api/v2", kNoRoute), (Values{1, 2}));
  EXPECT_EQ(visited("/api/v", kNoRoute), Values{2});
  EXPECT_EQ(visited("/ap", kNoRoute), Values{});
  EXPECT_EQ(visited("", kNoRoute), Values{});
  EXPECT_EQ(visited("/c", kNoRoute), Values{});
}

TEST(PrefixIndex, Empty) {
  PrefixIndex index;
  index.build();
  EXPECT_TRUE(index.empty());
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
    std::set<std::string> distinct;
    for (size_t n = 1 + random() % 40; distinct.size() < n;) distinct.insert(word(6) + "a");
    std::vector<std::string> prefixes(distinct.begin(), distinct.end());
    std::shuffle(prefixes.begin(), prefixes.end(), random);
    PrefixIndex index;
    for (uint32_t i = 0; i < prefixes.size(); ++i) index.add(prefixes[i], i, i);
    index.build();
    for (int i = 0; i < 100; ++i) {
      std::string text = word(9);
      uint32_t expected = kNoRoute;
      for (uint32_t r = 0; r < prefixes.size() && expected == kNoRoute; ++r)
        if (text.starts_with(prefixes[r])) expected = r;
      ASSERT_EQ(first_under(index, text), expected) << text;
    }
  }
}

}  // namespace
}  // namespace dragoman
