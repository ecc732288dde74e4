#include "proxy/base/suggest.h"

#include <algorithm>
#include <vector>

namespace dragoman {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// Whether `part`, not too short to mean something, is how `word` begins.
bool is_beginning(std::string_view part, std::string_view word) {
  return part.size() >= 3 && word.substr(0, part.size()) == part;
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  // Three rows of the distance matrix: two back (for swaps), the previous one, the current one.
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = lower(a[i - 1]) == lower(b[j - 1]);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (same ? 0 : 1)});
      const bool swapped =
          i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]);
      if (swapped) current[j] = std::min(current[j], before[j - 2] + 1);
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
  constexpr size_t kWordMax = 128;
  word = word.substr(0, kWordMax);
  std::string_view best;
  size_t best_distance = 0;
  for (std::string_view candidate : candidates) {
    if (candidate.size() > 2 * kWordMax) continue;
    const size_t longer = std::max(word.size(), candidate.size());
    const size_t distance = edit_distance(word, candidate);
    const bool typo = distance <= std::max<size_t>(1, longer / 3) && distance < longer;
    if (!typo && !is_beginning(word, candidate) && !is_beginning(candidate, word)) continue;
    if (best.empty() || distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace dragoman
