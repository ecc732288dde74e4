#include "proxy/base/memory_reserve.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

#include "proxy/base/log.h"

namespace dragoman {
namespace {

constinit std::atomic<void*> reserve{nullptr};
constinit std::atomic<size_t> reserve_bytes{0};  // 0 = not installed
constinit std::atomic<uint64_t> shortages{0};
constinit std::array<std::atomic<uint64_t>, kMemoryShedCount> shed{};

/// Address space only. Kernels that promise no more than they have (overcommit_memory = 2) count it, others count limits on address
/// space: where malloc() can fail at all, giving it back helps.
void* take(size_t bytes) {
  void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

/// Throws by itself: operator new of a C allocator (mimalloc) would end the process without a handler.
void on_no_memory() {
  if (!spend_memory_reserve()) throw std::bad_alloc();
}

}  // namespace

bool install_memory_reserve(size_t bytes) {
  reserve_bytes.store(bytes, std::memory_order_relaxed);
  std::set_new_handler(on_no_memory);
  void* p = take(bytes);
  reserve.store(p, std::memory_order_release);
  return p != nullptr;
}

bool restore_memory_reserve() {
  if (!memory_is_short()) return true;
  void* p = take(reserve_bytes.load(std::memory_order_relaxed));
  if (!p) return false;
  void* none = nullptr;
  if (!reserve.compare_exchange_strong(none, p, std::memory_order_acq_rel)) {
    ::munmap(p, reserve_bytes.load(std::memory_order_relaxed));
    return true;
  }
  memory_detail::short_of_it.store(false, std::memory_order_relaxed);
  DRAGOMAN_LOG(kWarn, "memory", "there is memory again: new connections and requests are taken");
  return true;
}

bool spend_memory_reserve() noexcept {
  void* p = reserve.exchange(nullptr, std::memory_order_acq_rel);
  if (!p) return false;
  memory_detail::short_of_it.store(true, std::memory_order_relaxed);
  shortages.fetch_add(1, std::memory_order_relaxed);
  ::munmap(p, reserve_bytes.load(std::memory_order_relaxed));
  DRAGOMAN_LOG_LIMITED(kError, "memory", uint64_t{0},
                       "out of memory: new connections and requests are refused until there is some again");
  return true;
}

void* reserved_malloc(size_t n) noexcept {
  for (;;) {
    void* p = std::malloc(n);
    if (p || n == 0 || !spend_memory_reserve()) return p;
  }
}

void* reserved_calloc(size_t n, size_t size) noexcept {
  for (;;) {
    void* p = std::calloc(n, size);
    if (p || n == 0 || size == 0 || !spend_memory_reserve()) return p;
  }
}

void* reserved_realloc(void* old, size_t n) noexcept {
  for (;;) {
    void* p = std::realloc(old, n);
    if (p || n == 0 || !spend_memory_reserve()) return p;
  }
}

void note_memory_shed(MemoryShed what) noexcept {
  const auto i = static_cast<size_t>(what);
  const uint64_t n = shed[i].fetch_add(1, std::memory_order_relaxed) + 1;
  DRAGOMAN_LOG_LIMITED(kError, "memory", uint64_t{i}, "no memory: {} given up, {} so far",
                       kMemoryShedNames[i], n);
}

uint64_t memory_shed(MemoryShed what) {
  return shed[static_cast<size_t>(what)].load(std::memory_order_relaxed);
}
uint64_t memory_shortages() { return shortages.load(std::memory_order_relaxed); }

}  // namespace dragoman
