// Who keeps how much memory, counted on each thread. Every store of bytes that outlive one loop turn counts here: the chunks of ByteChains,
// the blocks of Arenas, nghttp2's pieces. Their own bounds are their keepers'; this is the account that an operator sees
// (dragoman_memory_bytes), and that tests hold against what the configuration promises.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dragoman {

enum class MemoryOwner : uint8_t {
  kOutput,    // what the peers' sockets have not taken yet
  kInput,     // beginnings of messages, and what came while nobody read it
  kRequests,  // requests that wait for a backend, are put together, or may be repeated
  kAnswers,   // answers that wait for their turn, for their end, or for a stream's window
  kHeads,     // heads that are longer than what their exchange holds inside
  kHttp2,     // nghttp2: connections, streams, field tables
  kStreams,   // streams and their exchanges
  kCount,
};

inline constexpr size_t kMemoryOwnerCount = static_cast<size_t>(MemoryOwner::kCount);
inline constexpr std::array<std::string_view, kMemoryOwnerCount> kMemoryOwnerNames = {
    "output", "input", "requests", "answers", "heads", "http2", "streams"};

/// Bytes kept on one thread, by owner. One writer: the thread.
struct KeptMemory {
  size_t bytes[kMemoryOwnerCount] = {};
  void add(MemoryOwner owner, size_t n) { bytes[static_cast<size_t>(owner)] += n; }
  void drop(MemoryOwner owner, size_t n) { bytes[static_cast<size_t>(owner)] -= n; }
  size_t of(MemoryOwner owner) const { return bytes[static_cast<size_t>(owner)]; }
  size_t total() const;
};
/// This thread's account. A reference to it is good for as long as the thread lives.
inline thread_local constinit KeptMemory kept_memory;

/// A free list of this thread: memory that nobody keeps and that waits for the next who needs it. In the steady state it
/// spares the allocator; after a burst trim_spare_memory() gives it back.
class SpareMemory {
 public:
  SpareMemory();
  SpareMemory(const SpareMemory&) = delete;
  SpareMemory& operator=(const SpareMemory&) = delete;

  /// Frees half of what was never needed since the last call; gives the bytes freed.
  virtual size_t trim() = 0;
  virtual size_t spare_bytes() const = 0;

 protected:
  ~SpareMemory();  // at the thread's end, or before

 private:
  friend size_t trim_spare_memory();
  friend size_t spare_memory_bytes();
  SpareMemory* next_;
};

/// Of all free lists of this thread. To be called about once a second.
size_t trim_spare_memory();
size_t spare_memory_bytes();

/// How many of a free list's pieces trim() may free: half of those that nobody needed since the last call.
class IdlePieces {
 public:
  /// After a piece was taken out, `left` are in the list.
  void taken(size_t left) {
    if (left < least_) least_ = left;
  }
  /// `now` are in the list; the count begins again.
  size_t surplus(size_t now) {
    const size_t idle = least_ < now ? least_ : now;
    const size_t n = (idle + 1) / 2;
    least_ = now - n;
    return n;
  }

 private:
  size_t least_ = 0;
};

}  // namespace dragoman
