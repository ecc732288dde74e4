#include "proxy/observe/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>

namespace dragoman {
namespace {

struct Filled {
  std::unique_ptr<MetricCell[]> cells{new MetricCell[kHistogramCells]()};
  Histogram histogram{cells.get()};
  HistogramSnapshot snapshot() const {
    HistogramSnapshot s;
    s.merge(cells.get());
    return s;
  }
};

TEST(Histogram, BoundsAscendFromOneMicrosecondToHundredSeconds) {
  EXPECT_EQ(kHistogramBoundsUs.front(), 1u);
  EXPECT_EQ(kHistogramBoundsUs.back(), 100'000'000u);
  for (size_t i = 1; i < kHistogramBounds; ++i) {
    EXPECT_LT(kHistogramBoundsUs[i - 1], kHistogramBoundsUs[i]);
    if (kHistogramBoundsUs[i] > 10) {
      EXPECT_LE(static_cast<double>(kHistogramBoundsUs[i]),
                1.34 * static_cast<double>(kHistogramBoundsUs[i - 1]));
    }
  }
}

TEST(Histogram, BucketIsTheFirstWhoseBoundIsNotBelowTheValue) {
  std::vector<uint64_t> values = {0, 1, 2, 3, 7, 9, 11, 99'999'999, 100'000'000, 100'000'001, UINT64_MAX};
  for (uint64_t bound : kHistogramBoundsUs) values.insert(values.end(), {bound - 1, bound, bound + 1});
  for (int bit = 0; bit < 64; ++bit) {
    const uint64_t power = uint64_t{1} << bit;
    values.insert(values.end(), {power - 1, power, power + 1});
  }
  for (uint64_t value : values) {
    const auto expected = std::lower_bound(kHistogramBoundsUs.begin(), kHistogramBoundsUs.end(), value);
    EXPECT_EQ(histogram_bucket(value), static_cast<size_t>(expected - kHistogramBoundsUs.begin())) << value;
  }
}

TEST(Histogram, CountsAtExportedBoundsAreExact) {
  Filled h;
  for (uint64_t bound : kExportBoundsUs) {
    h.histogram.observe_us(bound);
    h.histogram.observe_us(bound + 1);
  }
  const HistogramSnapshot s = h.snapshot();
  EXPECT_EQ(s.count(), 2 * kExportBoundsUs.size());
  for (size_t i = 0; i < kExportBoundsUs.size(); ++i)
    EXPECT_EQ(s.count_at_most(kExportBoundsUs[i]), 2 * i + 1);
}

TEST(Histogram, QuantilesAreWithinABucket) {
  Filled h;
  for (uint64_t us = 1; us <= 10'000; ++us) h.histogram.observe_us(us);
  const HistogramSnapshot s = h.snapshot();
  EXPECT_EQ(s.sum_us, 10'000u * 10'001 / 2);
  for (double q : {0.01, 0.1, 0.5, 0.9, 0.99, 1.0}) {
    EXPECT_NEAR(s.quantile_us(q), q * 10'000, q * 10'000 * 0.01 + 1) << q;
  }
}

TEST(Histogram, QuantilesAtTheEdges) {
  Filled h;
  EXPECT_EQ(HistogramSnapshot().quantile_us(0.5), 0);
  EXPECT_EQ(h.snapshot().quantile_us(0.5), 0);
  h.histogram.observe_us(3'000);
  EXPECT_GT(h.snapshot().quantile_us(0), 2'499);
  EXPECT_LE(h.snapshot().quantile_us(1), 3'000);
  EXPECT_LE(h.snapshot().quantile_us(7), 3'000);
  EXPECT_GT(h.snapshot().quantile_us(-1), 2'499);
}

TEST(Histogram, ValuesAboveTheTopAreCounted) {
  Filled h;
  h.histogram.observe_us(100'000'001);
  const HistogramSnapshot s = h.snapshot();
  EXPECT_EQ(s.count(), 1u);
  EXPECT_EQ(s.count_at_most(100'000'000), 0u);
  EXPECT_EQ(s.quantile_us(0.5), 100'000'000);
}

TEST(Histogram, DefaultHandleCountsNowhere) { Histogram().observe_us(1); }

}  // namespace
}  // namespace dragoman
