// Memory that can't be had. The first allocation that fails spends a reserve and goes on; from then on the process is short of
// memory: it takes no new work until the reserve could be had again. What fails with the reserve spent throws std::bad_alloc, which ends
// the connection (or the accept, the reload, the page) that asked for it: see ARCHITECTURE.md section 20.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dragoman {

/// Address space that the program holds back, and never touches: it costs no memory. Twice what an allocator asks of the system at a time.
inline constexpr size_t kMemoryReserveBytes = size_t{64} << 20;

/// What ended because there was no memory for it.
enum class MemoryShed : uint8_t {
  kConnection,  // open: closed
  kAccept,      // new: refused
  kRequest,     // answered as overload
  kControl,     // a reload, a page, a list of endpoints
  kCount,
};
inline constexpr size_t kMemoryShedCount = static_cast<size_t>(MemoryShed::kCount);
inline constexpr std::array<std::string_view, kMemoryShedCount> kMemoryShedNames = {"connection", "accept",
                                                                                    "request", "control"};

namespace memory_detail {
inline constinit std::atomic<bool> short_of_it{false};
}

/// From the first allocation that failed until the reserve is there again. Any thread.
inline bool memory_is_short() { return memory_detail::short_of_it.load(std::memory_order_relaxed); }

/// Takes the reserve, and has failing allocations spend it: operator new of the whole process, and whoever calls reserved_malloc(). False: not
/// even the reserve could be had. Once, before there are other threads.
bool install_memory_reserve(size_t bytes = kMemoryReserveBytes);
/// Tries to take a spent reserve again; true when the process is not short of memory (any more). Every thread with a loop, a few times a
/// second: an allocator that keeps address space for itself is asked on each for what the thread has freed.
bool restore_memory_reserve();
/// Gives the reserve up for one more try; false when there is none. What operator new does when it fails.
bool spend_memory_reserve() noexcept;

/// For C libraries that end the process, or lose something, when they get null: like malloc and its kin, with the reserve behind them.
void* reserved_malloc(size_t n) noexcept;
void* reserved_calloc(size_t n, size_t size) noexcept;
void* reserved_realloc(void* p, size_t n) noexcept;

/// Counts what was shed, and says so at most once a second; needs no memory.
void note_memory_shed(MemoryShed what) noexcept;
uint64_t memory_shed(MemoryShed what);
/// How often the reserve was spent.
uint64_t memory_shortages();

}  // namespace dragoman
