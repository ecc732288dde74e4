// Duration histogram, one writer, readable at any time by others.
//
// Bucket bounds are decimal (1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8 per decade of microseconds, 1 us to 100 s)
// rather than powers of two, so that the round `le` bounds people alert on are counted exactly and a quantile
// is off by at most one bucket (a third of its value, usually far less after interpolation).
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dragoman {

using MetricCell = std::atomic<uint64_t>;

/// Adds without a locked instruction: only the cell's one writer may call it.
inline void cell_add(MetricCell& cell, uint64_t n) {
  cell.store(cell.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

namespace histogram_detail {
inline constexpr uint64_t kStepsX100[] = {100, 125, 150, 200, 250, 300, 400, 500, 600, 800};
inline constexpr uint64_t kTopUs = 100'000'000;

constexpr size_t bound_count() {
  size_t n = 0;
  uint64_t last = 0;
  for (uint64_t decade = 1; decade < kTopUs; decade *= 10) {
    for (uint64_t step : kStepsX100) {
      const uint64_t bound = decade * step / 100;
      if (bound > last) ++n, last = bound;
    }
  }
  return n + 1;
}
}  // namespace histogram_detail

/// Finite buckets; one more holds everything above 100 s.
inline constexpr size_t kHistogramBounds = histogram_detail::bound_count();
inline constexpr size_t kHistogramBuckets = kHistogramBounds + 1;
/// Cells a histogram needs: its buckets and the sum.
inline constexpr size_t kHistogramCells = kHistogramBuckets + 1;

/// Inclusive upper bounds, microseconds, ascending.
inline constexpr std::array<uint64_t, kHistogramBounds> kHistogramBoundsUs = [] {
  std::array<uint64_t, kHistogramBounds> bounds{};
  size_t n = 0;
  for (uint64_t decade = 1; decade < histogram_detail::kTopUs; decade *= 10) {
    for (uint64_t step : histogram_detail::kStepsX100) {
      const uint64_t bound = decade * step / 100;
      if (n == 0 || bound > bounds[n - 1]) bounds[n++] = bound;
    }
  }
  bounds[n] = histogram_detail::kTopUs;
  return bounds;
}();

namespace histogram_detail {
/// By bit width of a value: the first bucket a value of that width can be in.
inline constexpr std::array<uint8_t, 65> kFirstBucket = [] {
  std::array<uint8_t, 65> first{};
  for (size_t width = 1; width <= 64; ++width) {
    const uint64_t least = uint64_t{1} << (width - 1);
    size_t i = 0;
    while (i < kHistogramBounds && kHistogramBoundsUs[i] < least) ++i;
    first[width] = static_cast<uint8_t>(i);
  }
  return first;
}();
}  // namespace histogram_detail

/// The bucket of a value in microseconds: the first whose bound is not below it.
inline size_t histogram_bucket(uint64_t value_us) {
  size_t i = histogram_detail::kFirstBucket[static_cast<size_t>(std::bit_width(value_us))];
  while (i < kHistogramBounds && value_us > kHistogramBoundsUs[i]) ++i;
  return i;
}

/// The bounds exported to Prometheus, microseconds; each is one of kHistogramBoundsUs.
inline constexpr std::array<uint64_t, 19> kExportBoundsUs = {
    50,      100,     250,     500,       1'000,     2'500,     5'000,      10'000,     25'000,    50'000,
    100'000, 250'000, 500'000, 1'000'000, 2'500'000, 5'000'000, 10'000'000, 30'000'000, 60'000'000};

/// A merged copy.
struct HistogramSnapshot {
  std::vector<uint64_t> counts;  // kHistogramBuckets, not cumulative; empty = never filled
  uint64_t sum_us = 0;

  /// Adds kHistogramCells cells that a writer may be changing.
  void merge(const MetricCell* cells);
  uint64_t count() const;
  /// How many values were <= bound_us, which must be one of kHistogramBoundsUs.
  uint64_t count_at_most(uint64_t bound_us) const;
  /// Estimates the `q` (0..1) quantile in microseconds by linear interpolation inside its bucket; 0 when
  /// empty, 100 s when it lies above.
  double quantile_us(double q) const;
};

/// Handle on kHistogramCells cells of one writer. Default-constructed it counts nowhere.
class Histogram {
 public:
  Histogram() = default;
  explicit Histogram(MetricCell* cells) : cells_(cells) {}
  void observe_us(uint64_t value_us) const {
    if (!cells_) return;
    cell_add(cells_[histogram_bucket(value_us)], 1);
    cell_add(cells_[kHistogramBuckets], value_us);
  }

 private:
  MetricCell* cells_ = nullptr;
};

}  // namespace dragoman
