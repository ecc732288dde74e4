// Calls of operator new: counted, and made to fail when a test says so. `allocations.cc` is a source of the test binary that asks, since it
// replaces the operator for all of it.
#pragma once

#include <cstddef>

namespace dragoman::testing {

/// Calls of operator new so far, on all threads that count.
size_t allocation_count();
/// Whether calls on this thread count; they do at first.
void count_allocations(bool on);

/// On this thread, the `nth` allocation from now on (1 = the next) fails: operator new throws std::bad_alloc. All after it too when `for_good`,
/// until some thread calls let_allocations_be(). No reserve is asked.
void fail_allocation(size_t nth, bool for_good);
/// The same on all threads but this one.
void fail_allocation_elsewhere(size_t nth, bool for_good);
void let_allocations_be();
/// Calls that failed since fail_allocation().
size_t failed_allocations();

/// One more allocation of this thread; true when it is to fail. What operator new asks, and other allocators that a test puts in.
bool allocation_fails();

}  // namespace dragoman::testing
