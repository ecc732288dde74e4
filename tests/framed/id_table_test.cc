#include "protocols/id_table.h"

#include <gtest/gtest.h>

#include <set>

namespace dragoman {
namespace {

using Table = IdTable<int>;
using Match = Table::Match;

TEST(IdTable, GivesDistinctIdsAndFindsThem) {
  for (unsigned bits : {8u, 16u, 32u, 64u}) {
    Table table;
    table.configure(bits, 1000000);
    std::set<uint64_t> ids;
    int values[25];
    for (int& v : values) {
      uint64_t id = 0;
      ASSERT_TRUE(table.acquire(&v, 0, id));
      EXPECT_TRUE(bits == 64 || id >> bits == 0) << bits;
      EXPECT_TRUE(ids.insert(id).second);
      EXPECT_EQ(table.find(id).match, Match::kLive);
      EXPECT_EQ(table.find(id).value, &v);
    }
    EXPECT_EQ(table.live(), 25u);
  }
}

TEST(IdTable, WidthLimitsHowMany) {
  struct Row {
    unsigned bits;
    uint32_t limit, room;
  } rows[] = {{8, 1000, 30}, {16, 100000, 1022}, {32, 5000, 5000}, {64, 7, 7}};
  for (const Row& row : rows) {
    Table table;
    table.configure(row.bits, row.limit);
    EXPECT_EQ(table.room(0), row.room);
    int v = 0;
    uint64_t id = 0;
    for (uint32_t i = 0; i < row.room; ++i) ASSERT_TRUE(table.acquire(&v, 0, id));
    EXPECT_EQ(table.room(0), 0u);
    EXPECT_FALSE(table.acquire(&v, 0, id));
    table.release(id);
    EXPECT_TRUE(table.acquire(&v, 0, id));
  }
}

TEST(IdTable, AnAnswerToAnEarlierUserIsLate) {
  Table table;
  table.configure(32, 1);  // one slot
  int v = 0;
  uint64_t first = 0, second = 0;
  ASSERT_TRUE(table.acquire(&v, 0, first));
  table.release(first);
  EXPECT_EQ(table.find(first).match, Match::kLate);
  ASSERT_TRUE(table.acquire(&v, 0, second));
  EXPECT_NE(first, second);
  EXPECT_EQ(table.find(first).match, Match::kLate);
  EXPECT_EQ(table.find(second).match, Match::kLive);
  EXPECT_EQ(table.find(12345).match, Match::kUnknown);
  EXPECT_EQ(table.find(UINT64_MAX >> 8).match, Match::kUnknown)
      << "all ones in the slot part: no one-way request was sent";
}

TEST(IdTable, WhatWasNeverGivenOutIsUnknownInEachSlot) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    Table table;
    table.configure(32, 64, seed);
    int v = 0;
    uint64_t id = 0;
    ASSERT_TRUE(table.acquire(&v, 0, id));
    EXPECT_EQ(table.find(id).match, Match::kLive);
    const uint64_t step = uint64_t{1} << 20;  // the next generation of the slot
    EXPECT_EQ(table.find(id + step).match, Match::kUnknown) << seed;
    EXPECT_EQ(table.find(id - step).match, Match::kUnknown) << seed;
    for (const auto& [next, match] : {std::pair{&Table::next_one_way, Match::kOneWay},
                                      std::pair{&Table::next_heartbeat, Match::kHeartbeat}}) {
      const uint64_t first = (table.*next)();
      for (int i = 0; i < 3; ++i) id = (table.*next)();
      EXPECT_EQ(table.find(first - step).match, Match::kUnknown) << seed;
      EXPECT_EQ(table.find(first).match, match) << seed;
      EXPECT_EQ(table.find(id).match, match) << seed;
      EXPECT_EQ(table.find(id + step).match, Match::kUnknown) << seed;
    }
  }
}

TEST(IdTable, AfterAWholeRoundEachGenerationOfACounterWasGiven) {
  Table table;
  table.configure(8, 8, 3);  // 5 bits of slot, 3 of generation
  for (int i = 0; i < 7; ++i) table.next_one_way();
  for (uint64_t generation = 1; generation < 8; ++generation)
    EXPECT_EQ(table.find(generation << 5 | 31).match, Match::kOneWay) << generation;
  EXPECT_EQ(table.find(31).match, Match::kUnknown);
  EXPECT_EQ(table.find(30 | 1 << 5).match, Match::kUnknown);
}

TEST(IdTable, GivenUpIdsRestInQuarantine) {
  Table table;
  table.configure(32, 2);
  int v = 0;
  uint64_t a = 0, b = 0, c = 0;
  ASSERT_TRUE(table.acquire(&v, 1000, a));
  ASSERT_TRUE(table.acquire(&v, 1000, b));
  table.quarantine(a, 1000);
  table.quarantine(b, 2000);
  EXPECT_EQ(table.room(3000), 0u);
  EXPECT_FALSE(table.acquire(&v, 3000, c));
  EXPECT_EQ(table.find(b).match, Match::kLate);
  table.answered_late(b);  // frees b's slot, though a is older
  EXPECT_EQ(table.room(3000), 1u);
  table.answered_late(b);  // again: nothing
  EXPECT_EQ(table.room(3000), 1u);
  ASSERT_TRUE(table.acquire(&v, 3000, c));
  EXPECT_EQ(c & 0xfffff, b & 0xfffff);
  table.release(c);
  EXPECT_EQ(table.quarantined(), 1u);
  EXPECT_EQ(table.room(1000 + Table::kQuarantineMs - 1), 1u);
  ASSERT_TRUE(table.acquire(&v, 1000, c));
  EXPECT_EQ(table.room(1000 + Table::kQuarantineMs), 1u) << "the oldest is free after a long while";
  EXPECT_EQ(table.quarantined(), 0u);
}

TEST(IdTable, GenerationsWrapWithoutZero) {
  Table table;
  table.configure(8, 1);  // 3 bits of generation
  int v = 0;
  std::set<uint64_t> ids;
  for (int i = 0; i < 100; ++i) {
    uint64_t id = 0;
    ASSERT_TRUE(table.acquire(&v, 0, id));
    EXPECT_NE(id >> 5, 0u);
    EXPECT_LT(id, 256u);
    EXPECT_EQ(table.find(id).match, Match::kLive);
    ids.insert(id);
    table.release(id);
  }
  EXPECT_EQ(ids.size(), 7u);
}

TEST(IdTable, OneWaysAndHeartbeatsHaveTheirOwnIds) {
  for (unsigned bits : {8u, 16u, 32u, 64u}) {
    Table table;
    table.configure(bits, 1000000);
    for (int i = 0; i < 5000; ++i) {
      uint64_t one_way = table.next_one_way(), beat = table.next_heartbeat();
      ASSERT_EQ(table.find(one_way).match, Match::kOneWay);
      ASSERT_EQ(table.find(beat).match, Match::kHeartbeat);
      ASSERT_EQ(table.heartbeats_after(beat), 0u);
      ASSERT_EQ(table.heartbeats_after(one_way), UINT32_MAX);
      uint64_t next = table.next_heartbeat();
      ASSERT_EQ(table.heartbeats_after(beat), 1u) << bits << " " << i;
      ASSERT_EQ(table.heartbeats_after(next), 0u);
    }
  }
}

}  // namespace
}  // namespace dragoman
