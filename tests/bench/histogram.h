// A log-linear histogram of durations for the load generator.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace dragoman::bench {

// Values are nanoseconds. Each power of two is cut into 128 equal buckets, so a percentile is at most 1/128
// (0.8 %) too high. Recording never allocates; the memory is fixed (58 KB).
class Histogram {
 public:
  Histogram() : buckets_((64 - kSubBits + 1) * kSubCount, 0) {}

  void record(uint64_t value_ns) {
    ++buckets_[index_of(value_ns)];
    ++count_;
    if (value_ns > max_) max_ = value_ns;
  }

  void reset() {
    buckets_.assign(buckets_.size(), 0);
    count_ = 0;
    max_ = 0;
  }

  uint64_t count() const { return count_; }
  uint64_t max_ns() const { return max_; }

  // The smallest recorded magnitude that at least `percent` (0..100) of all values do not exceed, rounded up
  // to its bucket's upper edge and never above the maximum. 0 when nothing was recorded.
  uint64_t percentile_ns(double percent) const {
    if (count_ == 0) return 0;
    // The factor keeps a product such as 99.9 % of 1000, which floating point puts just above 999, at 999.
    const double rank = percent * static_cast<double>(count_) / 100.0 * (1 - 1e-12);
    auto wanted = static_cast<uint64_t>(std::ceil(rank));
    if (wanted == 0) wanted = 1;
    if (wanted > count_) wanted = count_;
    uint64_t seen = 0;
    for (size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen >= wanted) {
        const uint64_t edge = upper_edge(i);
        return edge < max_ ? edge : max_;
      }
    }
    return max_;
  }

 private:
  static constexpr int kSubBits = 7;
  static constexpr size_t kSubCount = size_t{1} << kSubBits;

  // Values below 128 have a bucket each; above, the group is the position of the highest bit and the bucket
  // in the group is given by the 7 bits after it.
  static size_t index_of(uint64_t value) {
    if (value < kSubCount) return static_cast<size_t>(value);
    const int shift = static_cast<int>(std::bit_width(value)) - 1 - kSubBits;
    return (static_cast<size_t>(shift) + 1) * kSubCount + static_cast<size_t>((value >> shift) - kSubCount);
  }

  static uint64_t upper_edge(size_t index) {
    if (index < kSubCount) return index;
    const size_t shift = index / kSubCount - 1;
    const uint64_t low = (static_cast<uint64_t>(index % kSubCount) + kSubCount) << shift;
    return low + ((uint64_t{1} << shift) - 1);
  }

  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  uint64_t max_ = 0;
};

}  // namespace dragoman::bench
