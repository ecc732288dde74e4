#include "proxy/base/memory_reserve.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>
#include <utility>

#include "proxy/base/log.h"

/// mimalloc's, when the program is linked with it: what the calling thread has freed goes where every thread can have it.
extern "C" void mi_collect(bool force) __attribute__((weak));

namespace dragoman {
namespace {

/// What a thread holds back of what its allocator keeps to itself. In pieces, which are found where one of that size is not.
/// No destructor: to register it takes memory, too, and the C library ends the process without.
class Own {
 public:
  bool take() {
    for (void*& p : pieces_)
      if (!p && !(p = std::malloc(kPieceBytes))) {
        give();
        return false;
      }
    return true;
  }
  bool give() noexcept {
    const bool had = pieces_[0] != nullptr;
    for (void*& p : pieces_) std::free(std::exchange(p, nullptr));
    return had;
  }

 private:
  static constexpr size_t kPieceBytes = size_t{1} << 20;
  std::array<void*, 16> pieces_{};
};
constinit thread_local Own own;

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
  const size_t bytes = reserve_bytes.load(std::memory_order_relaxed);
  const bool is_short = memory_is_short();
  if (bytes == 0) return true;
  if (is_short && mi_collect) mi_collect(true);
  if (!reserve.load(std::memory_order_acquire)) {
    void* none = nullptr;
    void* p = take(bytes);
    if (p && !reserve.compare_exchange_strong(none, p, std::memory_order_acq_rel)) ::munmap(p, bytes);
    // Allocators keep address space that they have once had (mimalloc all, glibc that of its arenas), and have memory all the same.
    if (!p && !own.take()) return !is_short;
  }
  if (is_short && memory_detail::short_of_it.exchange(false, std::memory_order_relaxed))
    DRAGOMAN_LOG(kWarn, "memory", "there is memory again: new connections and requests are taken");
  return true;
}

bool spend_memory_reserve() noexcept {
  void* p = reserve.exchange(nullptr, std::memory_order_acq_rel);
  if (!memory_detail::short_of_it.exchange(true, std::memory_order_relaxed))
    shortages.fetch_add(1, std::memory_order_relaxed);
  if (p) ::munmap(p, reserve_bytes.load(std::memory_order_relaxed));
  if (!p && !own.give()) return false;
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
