// Allocations that fail when a test says so: a source of the test binary that asks, since it replaces operator new for all of it.
#pragma once

#include <cstddef>

namespace dragoman::testing {

/// On this thread, the `nth` call of operator new from now on (1 = the next) throws std::bad_alloc; all after it too when `for_good`, until
/// any thread calls let_allocations_be(). No reserve is asked.
void fail_allocation(size_t nth, bool for_good);
void let_allocations_be();
/// Calls that failed since fail_allocation().
size_t failed_allocations();

}  // namespace dragoman::testing
