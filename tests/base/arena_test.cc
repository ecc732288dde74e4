#include "proxy/base/arena.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "proxy/base/object_pool.h"

namespace dragoman {
namespace {

TEST(Arena, ViewsStayValidAcrossGrowth) {
  Arena arena;
  std::vector<std::string> expected;
  std::vector<std::string_view> views;
  for (size_t n : {1u, 7u, 8u, 900u, 300u, 5000u, 5000u, 8176u, 8177u, 100000u, 3u}) {
    expected.emplace_back(n, static_cast<char>('a' + expected.size()));
    views.push_back(arena.copy(expected.back()));
  }
  for (size_t i = 0; i < views.size(); ++i) EXPECT_EQ(views[i], expected[i]) << i;
}

TEST(Arena, AllocationsAreAlignedAndApart) {
  Arena arena;
  uint8_t* last = nullptr;
  for (int i = 0; i < 2000; ++i) {
    auto* p = static_cast<uint8_t*>(arena.allocate(13));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p) % 8, 0u);
    std::memset(p, i & 0xff, 13);
    if (last) {
      EXPECT_EQ(*last, (i - 1) & 0xff);
    }
    last = p;
  }
}

TEST(Arena, EmptyCopyAndConcat) {
  Arena arena;
  EXPECT_TRUE(arena.copy("").empty());
  EXPECT_EQ(arena.concat("ab", "", "cd"), "abcd");
  EXPECT_EQ(arena.concat("", "x"), "x");
  EXPECT_EQ(arena.concat("", ""), "");
}

TEST(Arena, ResetStartsOverInTheInlineBlock) {
  Arena arena;
  void* first = arena.allocate(16);
  arena.allocate(50000);
  arena.allocate(4000);
  arena.reset();
  EXPECT_EQ(arena.allocate(16), first);
}

struct Counted {
  explicit Counted(int v) : value(v) { ++alive; }
  ~Counted() { --alive; }
  int value;
  static inline int alive = 0;
};

TEST(ObjectPool, ConstructsDestructsAndRecycles) {
  using Pool = ObjectPool<Counted, 2>;
  std::vector<Counted*> objects;
  for (int i = 0; i < 4; ++i) objects.push_back(Pool::create(i));
  EXPECT_EQ(Pool::live(), 4u);
  EXPECT_EQ(Counted::alive, 4);
  EXPECT_EQ(objects[3]->value, 3);
  Counted* recycled = objects[1];
  for (Counted* o : {objects[0], objects[1], objects[2], objects[3]}) Pool::destroy(o);
  EXPECT_EQ(Pool::live(), 0u);
  EXPECT_EQ(Counted::alive, 0);
  EXPECT_EQ(Pool::create(9), recycled);  // kept two: the last one kept comes first
  EXPECT_EQ(recycled->value, 9);
  Pool::destroy(recycled);
}

}  // namespace
}  // namespace dragoman
