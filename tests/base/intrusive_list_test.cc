#include "proxy/base/intrusive_list.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace dragoman {
namespace {

struct TagA;
struct TagB;
struct Item : ListLink<TagA>, ListLink<TagB> {
  explicit Item(int v) : value(v) {}
  int value;
};
using ListA = IntrusiveList<Item, TagA>;
using ListB = IntrusiveList<Item, TagB>;

template <class L>
std::vector<int> values(L& list) {
  std::vector<int> out;
  for (Item* i = list.front(); i; i = list.next(*i)) out.push_back(i->value);
  return out;
}

TEST(IntrusiveList, OrderAndEnds) {
  ListA list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(list.front(), nullptr);
  EXPECT_EQ(list.back(), nullptr);
  EXPECT_EQ(list.pop_front(), nullptr);
  Item a(1), b(2), c(3);
  list.push_back(b);
  list.push_back(c);
  list.push_front(a);
  EXPECT_EQ(values(list), (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(list.count(), 3u);
  EXPECT_EQ(list.back(), &c);
  EXPECT_EQ(list.previous(c), &b);
  EXPECT_EQ(list.previous(a), nullptr);
  EXPECT_EQ(list.pop_front(), &a);
  EXPECT_FALSE(a.ListLink<TagA>::linked());
  EXPECT_EQ(values(list), (std::vector<int>{2, 3}));
}

TEST(IntrusiveList, PushingAgainMoves) {
  ListA list, other;
  Item a(1), b(2);
  list.push_back(a);
  list.push_back(b);
  list.push_back(a);
  EXPECT_EQ(values(list), (std::vector<int>{2, 1}));
  other.push_back(a);
  EXPECT_EQ(values(list), (std::vector<int>{2}));
  EXPECT_EQ(values(other), (std::vector<int>{1}));
}

TEST(IntrusiveList, PushingTheLastOrFirstAgainKeepsTheListWhole) {
  ListA list;
  Item a(1), b(2);
  list.push_back(a);
  list.push_back(a);
  EXPECT_EQ(values(list), (std::vector<int>{1}));
  list.push_back(b);
  list.push_back(b);
  list.push_front(a);
  EXPECT_EQ(values(list), (std::vector<int>{1, 2}));
  EXPECT_EQ(list.pop_front(), &a);
  EXPECT_EQ(list.pop_front(), &b);
  EXPECT_TRUE(list.empty());
}

TEST(IntrusiveList, TwoTagsAreIndependent) {
  ListA a;
  ListB b;
  Item item(7);
  a.push_back(item);
  b.push_back(item);
  item.ListLink<TagA>::unlink();
  EXPECT_TRUE(a.empty());
  EXPECT_EQ(values(b), (std::vector<int>{7}));
}

TEST(IntrusiveList, DestroyedElementsLeaveByThemselves) {
  ListA list;
  Item first(1);
  list.push_back(first);
  {
    Item second(2);
    list.push_back(second);
    EXPECT_EQ(list.count(), 2u);
  }
  EXPECT_EQ(values(list), (std::vector<int>{1}));
}

TEST(IntrusiveList, DestroyedListLetsItsElementsGo) {
  Item item(1);
  {
    ListA list;
    list.push_back(item);
  }
  EXPECT_FALSE(item.ListLink<TagA>::linked());
  item.ListLink<TagA>::unlink();  // nothing
}

TEST(IntrusiveList, SpliceMovesAllToTheEnd) {
  ListA list, other;
  Item a(1), b(2), c(3);
  list.push_back(a);
  other.push_back(b);
  other.push_back(c);
  list.splice(other);
  EXPECT_TRUE(other.empty());
  EXPECT_EQ(values(list), (std::vector<int>{1, 2, 3}));
}

}  // namespace
}  // namespace dragoman
