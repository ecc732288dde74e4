#include "proxy/base/cursor.h"

#include <gtest/gtest.h>

namespace dragoman {
namespace {

const uint8_t kBytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

TEST(ByteReader, ReadsBothEndiannesses) {
  ByteReader r(kBytes, sizeof kBytes);
  EXPECT_EQ(r.u8(), 1);
  EXPECT_EQ(r.be<uint16_t>(), 0x0203);
  EXPECT_EQ(r.le<uint16_t>(), 0x0504);
  EXPECT_EQ(r.be<uint32_t>(), 0x06070809u);
  EXPECT_EQ(r.le<uint32_t>(), 0x0d0c0b0au);
  EXPECT_EQ(r.position(), 13u);
  EXPECT_EQ(r.text(2), "\x0e\x0f");
  EXPECT_TRUE(r.ok());
  ByteReader wide(kBytes, sizeof kBytes);
  EXPECT_EQ(wide.be<uint64_t>(), 0x0102030405060708u);
  EXPECT_EQ(load_le<uint64_t>(kBytes), 0x0807060504030201u);
}

TEST(ByteReader, FailureIsStickyAndMovesNothing) {
  ByteReader r(kBytes, 3);
  EXPECT_EQ(r.be<uint32_t>(), 0u);
  EXPECT_FALSE(r.ok());
  EXPECT_EQ(r.position(), 0u);
  EXPECT_EQ(r.u8(), 0) << "would fit, but an earlier read failed";
  EXPECT_TRUE(r.bytes(1).empty());
  for (size_t n : {size_t{4}, SIZE_MAX, SIZE_MAX - 1}) {
    ByteReader fresh(kBytes, 3);
    fresh.u8();
    EXPECT_TRUE(fresh.bytes(n).empty());
    EXPECT_FALSE(fresh.ok());
    EXPECT_EQ(fresh.remaining(), 2u);
  }
}

TEST(ByteWriter, CountsPastItsEndAndWritesNothingThere) {
  uint8_t out[6] = {0, 0, 0, 0, 0xee, 0xee};
  ByteWriter w(out, 4);
  w.be<uint16_t>(0x0102);
  w.le<uint16_t>(0x0102);
  EXPECT_TRUE(w.fits());
  w.be<uint32_t>(0xffffffff);
  w.text("more");
  w.bytes(nullptr, 0);
  EXPECT_EQ(w.size(), 12u);
  EXPECT_FALSE(w.fits());
  w.patch_be<uint16_t>(8, 0x1234);
  w.patch_be<uint16_t>(2, 0x0909);
  const uint8_t expected[6] = {1, 2, 9, 9, 0xee, 0xee};
  EXPECT_EQ(std::memcmp(out, expected, 6), 0);
}

TEST(ByteWriter, AWriteThatPartlyFitsLeavesTheRestAlone) {
  uint8_t out[4] = {0xee, 0xee, 0xee, 0xee};
  ByteWriter w(out, 3);
  w.be<uint32_t>(0);
  EXPECT_EQ(out[0], 0xee);
  EXPECT_EQ(w.size(), 4u);
}

}  // namespace
}  // namespace dragoman
