// "Did you mean ...?": the known name nearest to a mistyped one.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace dragoman {

/// Optimal string alignment distance (insert, delete, replace, swap of neighbours cost 1 each), ASCII letter
/// case ignored. O(|a| * |b|).
size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, or an empty view when none is near enough: a likely typo (at most a third of
/// the longer word's letters, or 1), or one of them is how the other begins. Ties go to the first candidate.
/// `word` is cut at 128 bytes.
std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates);

}  // namespace dragoman
