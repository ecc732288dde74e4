#include "tests/support/allocations.h"

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

std::atomic<size_t> count{0};
thread_local bool counted = true;

enum class Armed : uint8_t { kNo, kOneThread, kOthers };
std::atomic<Armed> armed{Armed::kNo};
std::atomic<size_t> failed{0};
thread_local size_t left = 0;  // until one fails; 0 = not this thread
thread_local bool spared = false;
std::atomic<size_t> left_elsewhere{0};
std::atomic<bool> all_after{false};

}  // namespace

void* operator new(size_t n, const std::nothrow_t&) noexcept {
  if (counted) ++count;
  return dragoman::testing::allocation_fails() ? nullptr : std::malloc(n ? n : 1);
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

bool allocation_fails() {
  const Armed now = armed.load(std::memory_order_relaxed);
  if (now == Armed::kNo || (now == Armed::kOthers && spared)) return false;
  size_t before = left;
  if (now == Armed::kOthers) {
    before = left_elsewhere.load();
    while (before > (all_after ? 1 : 0) && !left_elsewhere.compare_exchange_weak(before, before - 1)) {
    }
  } else if (left > (all_after ? 1 : 0)) {
    --left;
  }
  if (before != 1) return false;
  ++failed;
  return true;
}
void fail_allocation(size_t nth, bool for_good) {
  left = nth;
  all_after = for_good;
  failed = 0;
  armed = Armed::kOneThread;
}
void fail_allocation_elsewhere(size_t nth, bool for_good) {
  spared = true;
  left_elsewhere = nth;
  all_after = for_good;
  failed = 0;
  armed = Armed::kOthers;
}
void let_allocations_be() { armed = Armed::kNo; }
size_t failed_allocations() { return failed; }

}  // namespace dragoman::testing
