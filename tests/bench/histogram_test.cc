#include "histogram.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace dragoman::bench {
namespace {

TEST(HistogramTest, EmptyIsZero) {
  Histogram histogram;
  EXPECT_EQ(histogram.count(), 0u);
  EXPECT_EQ(histogram.percentile_ns(50), 0u);
  EXPECT_EQ(histogram.max_ns(), 0u);
}

TEST(HistogramTest, OneValueIsEveryPercentile) {
  for (const uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{255},
                               uint64_t{256}, uint64_t{1'000'000}, uint64_t{1} << 40, UINT64_MAX}) {
    Histogram histogram;
    histogram.record(value);
    EXPECT_EQ(histogram.percentile_ns(0), value);
    EXPECT_EQ(histogram.percentile_ns(50), value);
    EXPECT_EQ(histogram.percentile_ns(100), value);
    EXPECT_EQ(histogram.max_ns(), value);
  }
}

TEST(HistogramTest, PercentilesAreWithinOneBucketAboveTheTruth) {
  Histogram histogram;
  constexpr uint64_t kCount = 100'000;
  constexpr uint64_t kStep = 37;
  for (uint64_t i = 1; i <= kCount; ++i) histogram.record(i * kStep);
  EXPECT_EQ(histogram.count(), kCount);
  EXPECT_EQ(histogram.max_ns(), kCount * kStep);
  for (const double percent : {0.1, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    const double truth = percent / 100 * kCount * kStep;
    const auto got = static_cast<double>(histogram.percentile_ns(percent));
    EXPECT_GE(got, truth * 0.9999) << percent;
    EXPECT_LE(got, truth * (1 + 1.0 / 128) + kStep) << percent;
  }
}

TEST(HistogramTest, ARareSlowValueShowsOnlyInTheTail) {
  Histogram histogram;
  for (int i = 0; i < 999; ++i) histogram.record(100);
  histogram.record(5'000'000);
  EXPECT_EQ(histogram.percentile_ns(99.9), 100u);
  EXPECT_EQ(histogram.percentile_ns(99.95), 5'000'000u);
}

TEST(HistogramTest, ResetForgets) {
  Histogram histogram;
  histogram.record(5'000'000);
  histogram.reset();
  histogram.record(3);
  EXPECT_EQ(histogram.count(), 1u);
  EXPECT_EQ(histogram.max_ns(), 3u);
  EXPECT_EQ(histogram.percentile_ns(100), 3u);
}

}  // namespace
}  // namespace dragoman::bench
