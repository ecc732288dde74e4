#include "proxy/route/part_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace dragoman {
namespace {

constexpr uint32_t kAll = UINT32_MAX;

std::set<uint32_t> visited(const PartIndex& index, std::string_view text, uint32_t best = kAll) {
  std::set<uint32_t> values;
  index.search(text, best, [&](uint32_t value) { values.insert(value); });
  return values;
}

TEST(PartIndex, WordsWithinWords) {
  PartIndex index;
  EXPECT_TRUE(index.empty());
  uint32_t value = 0;
  for (const char* word : {"she", "he", "hers", "his", "e"}) {
    index.add(word, value, value);
    ++value;
  }
  index.build();
  EXPECT_FALSE(index.empty());
  using Values = std::set<uint32_t>;
  EXPECT_EQ(visited(index, "ushers"), (Values{0, 1, 2, 4}));
  EXPECT_EQ(visited(index, "ushers", 2), (Values{0, 1})) << "only what is better";
  EXPECT_EQ(visited(index, "this"), Values{3});
  EXPECT_EQ(visited(index, "hhhhi"), Values{});
  EXPECT_EQ(visited(index, ""), Values{});
}

TEST(PartIndex, WordsAtTheEnd) {
  PartIndex index;
  index.add("-12", 1, 1);
  index.add("2", 2, 2);
  index.add("-1", 3, 3);
  index.build();
  const auto at_end = [&](std::string_view text) {
    std::set<uint32_t> values;
    index.search_end(text, kAll, [&](uint32_t value) { values.insert(value); });
    return values;
  };
  using Values = std::set<uint32_t>;
  EXPECT_EQ(at_end("/a-12"), (Values{1, 2}));
  EXPECT_EQ(at_end("/a-12-1"), Values{3});
  EXPECT_EQ(at_end("2"), Values{2});
  EXPECT_EQ(at_end("-12/"), Values{});
  EXPECT_EQ(at_end(""), Values{});
}

TEST(PartIndex, OnlySoManyLettersCount) {
  const std::string word(PartIndex::kLettersMax + 10, 'x');
  PartIndex index;
  index.add(word, 1, 1);
  index.build();
  EXPECT_EQ(visited(index, word), std::set<uint32_t>{1});
  EXPECT_EQ(visited(index, word.substr(0, PartIndex::kLettersMax)), std::set<uint32_t>{1});
  EXPECT_EQ(visited(index, word.substr(0, PartIndex::kLettersMax - 1)), std::set<uint32_t>{});
}

TEST(PartIndex, AgreesWithLookingForEachWord) {
  std::mt19937 random(3);
  auto word = [&](size_t longest) {
    std::string text(random() % longest + 1, 'a');
    for (char& c : text) c = static_cast<char>("ab\xff"[random() % 3]);
    return text;
  };
  for (int round = 0; round < 300; ++round) {
    std::set<std::string> distinct;
    for (size_t n = 1 + random() % 30; n > 0; --n) distinct.insert(word(5));
    std::vector<std::string> words(distinct.begin(), distinct.end());
    std::shuffle(words.begin(), words.end(), random);
    PartIndex index;
    for (uint32_t i = 0; i < words.size(); ++i) index.add(words[i], i, i);
    index.build();
    for (int i = 0; i < 50; ++i) {
      const std::string text = word(12);
      const uint32_t best = random() % 2 ? kAll : static_cast<uint32_t>(random() % (words.size() + 1));
      std::set<uint32_t> expected;
      for (uint32_t w = 0; w < words.size(); ++w)
        if (w < best && text.find(words[w]) != std::string::npos) expected.insert(w);
      std::set<uint32_t> found = visited(index, text, best);
      std::erase_if(found, [&](uint32_t value) { return value >= best; });
      ASSERT_EQ(found, expected) << text;
    }
  }
}

}  // namespace
}  // namespace dragoman
