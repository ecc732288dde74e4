#include "tests/support/failing_allocation.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<bool> armed{false};
std::atomic<size_t> failed{0};
thread_local size_t left = 0;  // until one fails; 0 = not this thread
thread_local bool all_after = false;

bool is_to_fail() {
  if (!armed.load(std::memory_order_relaxed) || left == 0 || --left > 0) return false;
  left = all_after ? 1 : 0;
  ++failed;
  return true;
}

}  // namespace

void* operator new(size_t n, const std::nothrow_t&) noexcept {
  return is_to_fail() ? nullptr : std::malloc(n ? n : 1);
}
void* operator new(size_t n) {
  if (void* p = operator new(n, std::nothrow)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace dragoman::testing {

void fail_allocation(size_t nth, bool for_good) {
  left = nth;
  all_after = for_good;
  failed = 0;
  armed = true;
}
void let_allocations_be() { armed = false; }
size_t failed_allocations() { return failed; }

}  // namespace dragoman::testing
