#include "tests/support/allocation_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<size_t> count{0};
thread_local bool counted = true;
}  // namespace

void* operator new(size_t n, const std::nothrow_t&) noexcept {
  if (counted) ++count;
  return std::malloc(n);
}
void* operator new(size_t n) {
  if (void* p = operator new(n, std::nothrow)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace dragoman::testing {

size_t allocation_count() { return count; }
void count_allocations(bool on) { counted = on; }

}  // namespace dragoman::testing
