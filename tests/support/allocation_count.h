// Counts calls of operator new: a source of the test binary that asks, since it replaces the operator for all of it.
#pragma once

#include <cstddef>

namespace dragoman::testing {

/// Calls of operator new so far, on all threads that count.
size_t allocation_count();
/// Whether calls on this thread count; they do at first.
void count_allocations(bool on);

}  // namespace dragoman::testing
