#include "proxy/observe/histogram.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dragoman {

static_assert(kHistogramBoundsUs.back() == 100'000'000);
static_assert(std::all_of(kExportBoundsUs.begin(), kExportBoundsUs.end(),
                          [](uint64_t bound) {
                            return std::find(kHistogramBoundsUs.begin(), kHistogramBoundsUs.end(), bound) !=
                                   kHistogramBoundsUs.end();
                          }),
              "an exported bound must be a bucket's, else its count would be an estimate");

void HistogramSnapshot::merge(const MetricCell* cells) {
  counts.resize(kHistogramBuckets);
  for (size_t i = 0; i < kHistogramBuckets; ++i) counts[i] += cells[i].load(std::memory_order_relaxed);
  sum_us += cells[kHistogramBuckets].load(std::memory_order_relaxed);
}

uint64_t HistogramSnapshot::count() const {
  return std::accumulate(counts.begin(), counts.end(), uint64_t{0});
}

uint64_t HistogramSnapshot::count_at_most(uint64_t bound_us) const {
  uint64_t total = 0;
  for (size_t i = 0; i < counts.size() && i < kHistogramBounds && kHistogramBoundsUs[i] <= bound_us; ++i) {
    total += counts[i];
  }
  return total;
}

double HistogramSnapshot::quantile_us(double q) const {
  const uint64_t total = count();
  if (total == 0) return 0;
  const double rank = std::clamp(q, 0.0, 1.0) * static_cast<double>(total);
  uint64_t below = 0;
  for (size_t i = 0; i < kHistogramBounds; ++i) {
    const uint64_t here = counts[i];
    if (here > 0 && static_cast<double>(below + here) >= rank) {
      const double low = i == 0 ? 0.0 : static_cast<double>(kHistogramBoundsUs[i - 1]);
      const double high = static_cast<double>(kHistogramBoundsUs[i]);
      const double part = (rank - static_cast<double>(below)) / static_cast<double>(here);
      return low + (high - low) * std::max(part, 0.0);
    }
    below += here;
  }
  return static_cast<double>(kHistogramBoundsUs.back());
}

}  // namespace dragoman
