#include "proxy/base/memory_reserve.h"

#include <gtest/gtest.h>

namespace dragoman {
namespace {

TEST(MemoryReserve, IsSpentOnceAndTakenAgain) {
  ASSERT_TRUE(install_memory_reserve(1 << 20));
  EXPECT_FALSE(memory_is_short());
  const uint64_t before = memory_shortages();
  EXPECT_TRUE(spend_memory_reserve());
  EXPECT_TRUE(memory_is_short());
  EXPECT_FALSE(spend_memory_reserve()) << "there is one";
  EXPECT_EQ(memory_shortages(), before + 1);
  EXPECT_TRUE(restore_memory_reserve());
  EXPECT_FALSE(memory_is_short());
  EXPECT_TRUE(restore_memory_reserve()) << "nothing to do";
  EXPECT_TRUE(spend_memory_reserve());
  EXPECT_TRUE(restore_memory_reserve());
}

TEST(MemoryReserve, WhatIsShedIsCounted) {
  const uint64_t before = memory_shed(MemoryShed::kAccept);
  for (int i = 0; i < 3; ++i) note_memory_shed(MemoryShed::kAccept);
  EXPECT_EQ(memory_shed(MemoryShed::kAccept), before + 3);
}

}  // namespace
}  // namespace dragoman
