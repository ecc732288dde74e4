#include "proxy/base/token_bucket.h"

#include <gtest/gtest.h>

namespace dragoman {
namespace {

int take_all(TokenBucket& bucket, uint64_t now) {
  int n = 0;
  while (n < 1000 && bucket.take(now)) ++n;
  return n;
}

TEST(TokenBucket, ABurstThenARate) {
  TokenBucket bucket(10, 5);
  EXPECT_EQ(take_all(bucket, 1000), 10);
  EXPECT_EQ(take_all(bucket, 1199), 0);
  EXPECT_EQ(take_all(bucket, 1200), 1);
  EXPECT_EQ(take_all(bucket, 2200), 5);
  EXPECT_EQ(take_all(bucket, 1'000'000), 10);  // never more than the burst
}

TEST(TokenBucket, WeightsAndGifts) {
  TokenBucket bucket(10, 0);
  EXPECT_TRUE(bucket.take(1, 8));
  EXPECT_FALSE(bucket.take(1, 3));
  EXPECT_TRUE(bucket.take(1, 2));
  bucket.give(3);
  EXPECT_TRUE(bucket.take(1, 3));
  bucket.give(100);
  EXPECT_EQ(take_all(bucket, 1), 10);
}

TEST(TokenBucket, AClockThatStandsStillOrGoesBackGivesNothing) {
  TokenBucket bucket(1, 1000);
  EXPECT_EQ(take_all(bucket, 500), 1);
  EXPECT_EQ(take_all(bucket, 500), 0);
  EXPECT_EQ(take_all(bucket, 100), 0);
  EXPECT_EQ(take_all(bucket, 501), 1);
}

}  // namespace
}  // namespace dragoman
