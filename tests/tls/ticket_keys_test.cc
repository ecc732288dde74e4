#include "proxy/tls/ticket_keys.h"

#include <gtest/gtest.h>

namespace dragoman {
namespace {

TEST(TicketKeys, ANewKeySealsAfterItsLifetimeAndTheOldOneOpensAsLongAgain) {
  TicketKeys keys(1000);
  bool stale = false;
  const TicketKeys::Key first = *keys.sealing(0);
  EXPECT_EQ(keys.sealing(999)->name, first.name);
  EXPECT_TRUE(keys.opening(first.name.data(), 999, stale));
  EXPECT_FALSE(stale);

  const TicketKeys::Key second = *keys.sealing(1000);
  EXPECT_NE(second.name, first.name);
  EXPECT_NE(second.cipher, first.cipher);
  auto opened = keys.opening(first.name.data(), 1999, stale);
  ASSERT_TRUE(opened);
  EXPECT_EQ(opened->mac, first.mac);
  EXPECT_TRUE(stale);

  EXPECT_FALSE(keys.opening(first.name.data(), 2000, stale));
}

TEST(TicketKeys, LongSilenceLeavesNoOldKey) {
  TicketKeys keys(1000);
  bool stale = false;
  const TicketKeys::Key first = *keys.sealing(0);
  EXPECT_FALSE(keys.opening(first.name.data(), 5000, stale));
}

TEST(TicketKeys, UnknownNamesOpenNothing) {
  TicketKeys keys(1000);
  bool stale = false;
  const uint8_t name[16] = {1};
  EXPECT_FALSE(keys.opening(name, 0, stale));
}

}  // namespace
}  // namespace dragoman
