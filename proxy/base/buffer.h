// ByteChain: a queue of bytes in pooled 16 KiB chunks. Empty chains hold no memory.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "proxy/base/kept_memory.h"

namespace dragoman {

struct Chunk {
  static constexpr size_t kBytes = 16384;  // header included, for standard chunks
  Chunk* next;
  uint32_t begin;
  uint32_t end;
  uint32_t capacity;
  MemoryOwner owner;
  uint8_t* data() { return reinterpret_cast<uint8_t*>(this + 1); }
  size_t size() const { return end - begin; }
  size_t room() const { return capacity - end; }
};

/// Per-thread pool of standard chunks. Each counts as kept by its owner until it is released.
Chunk* acquire_chunk(MemoryOwner owner);
void release_chunk(Chunk* chunk);
/// Chunks held by chains on this thread (zero at the end of a worker's life).
size_t live_chunks();

/// Bytes in chunks. Whoever keeps a chain bounds it; one that would grow over kBytesMax has no memory (std::bad_alloc).
class ByteChain {
 public:
  static constexpr size_t kBytesMax =
      UINT32_MAX - 4 * Chunk::kBytes;  // what an append adds without a new chunk fits above
  ByteChain() = default;
  explicit ByteChain(MemoryOwner owner) : owner_(owner) {}
  ByteChain(const ByteChain&) = delete;
  ByteChain& operator=(const ByteChain&) = delete;
  ByteChain(ByteChain&& other) noexcept : owner_(other.owner_) { swap(other); }
  ByteChain& operator=(ByteChain&& other) noexcept {
    if (this != &other) {
      clear();
      swap(other);
    }
    return *this;
  }
  ~ByteChain() { clear(); }

  size_t size() const { return size_; }
  /// Bytes of memory held, whole chunks. Looks at each of them.
  size_t memory() const {
    size_t n = 0;
    for (const Chunk* c = head_; c; c = c->next) n += Chunk::kBytes;
    return n;
  }
  bool empty() const { return size_ == 0; }

  /// Copies `n` bytes to the end.
  void append(const void* data, size_t n) {
    if (n == 0) return;  // of nothing, `data` may be null
    if (tail_ && tail_->room() >= n) {
      std::memcpy(tail_->data() + tail_->end, data, n);
      tail_->end += static_cast<uint32_t>(n);
      size_ += static_cast<uint32_t>(n);
      return;
    }
    append_slow(static_cast<const uint8_t*>(data), n);
  }
  void append(std::string_view text) { append(text.data(), text.size()); }
  void append(std::span<const uint8_t> bytes) { append(bytes.data(), bytes.size()); }

  /// At least `n` (<= 8 KiB) contiguous writable bytes at the end; follow with commit(k), k <= n.
  uint8_t* reserve(size_t n);
  void commit(size_t n) {
    tail_->end += static_cast<uint32_t>(n);
    size_ += static_cast<uint32_t>(n);
  }
  /// Drops `n` <= size() bytes from the front.
  void consume(size_t n);
  /// Takes `n` bytes out, the first of them at offset `at`; at + n <= size().
  void cut(size_t at, size_t n);
  /// Who keeps what is appended from now on.
  void set_owner(MemoryOwner owner) { owner_ = owner; }
  /// Moves all bytes of `other` to the end of this chain without copying; they change their owner.
  void splice(ByteChain& other);
  /// Fills up to `max` iovecs from the front; returns how many were used.
  int fill(iovec* out, int max) const;
  /// Calls f(const uint8_t*, size_t) for each contiguous piece.
  template <class F>
  void for_each(F&& f) const {
    for (Chunk* c = head_; c; c = c->next)
      if (c->size()) f(static_cast<const uint8_t*>(c->data() + c->begin), c->size());
  }
  /// First contiguous piece (may be empty).
  std::span<const uint8_t> front() const {
    return head_ ? std::span<const uint8_t>(head_->data() + head_->begin, head_->size()) : std::span<const uint8_t>();
  }
  /// Copies everything into `out`, which must have size() bytes.
  void copy_to(uint8_t* out) const;
  /// XORs `n` bytes into the last `n` bytes of the chain (n <= size()).
  void xor_tail(const uint8_t* mask, size_t n);
  void clear() {
    if (head_) drop_all();
  }
  /// The bytes keep the owners that they have.
  void swap(ByteChain& other) noexcept {
    std::swap(head_, other.head_);
    std::swap(tail_, other.tail_);
    std::swap(size_, other.size_);
  }

 private:
  void drop_all();
  void append_slow(const uint8_t* data, size_t n);
  void add_chunk();
  Chunk* head_ = nullptr;
  Chunk* tail_ = nullptr;
  uint32_t size_ = 0;
  MemoryOwner owner_ = MemoryOwner::kOutput;
};
static_assert(sizeof(ByteChain) == 24, "each idle connection has some");

/// Builds its bytes as late as possible: called right before its sink is flushed, if wrote() was called since the last time.
class ByteSource {
 public:
  /// Appends to the sink's `out`.
  virtual void produce() = 0;

 protected:
  ~ByteSource() = default;
};

/// Where a codec writes its bytes. The owner flushes `out` once per loop turn.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  ByteChain out;

  void set_source(ByteSource* source) { source_ = source; }
  /// The owner's call before a flush.
  void collect() {
    if (source_) source_->produce();
  }

  /// Call after appending to `out`.
  void wrote() {
    if (!dirty_) {
      dirty_ = true;
      on_dirty();
    }
  }
  /// Appends a copy of small data; large data may be written to the peer at once, so that only the rest is copied.
  void write(const void* data, size_t n) {
    if (n < kLargeBytes) {
      out.append(data, n);
      wrote();
    } else {
      write_large(static_cast<const uint8_t*>(data), n);
    }
  }
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// As write() of large data, for what a peer waits for and nothing of this turn can join.
  void write_now(const void* data, size_t n) { write_large(static_cast<const uint8_t*>(data), n); }

  /// What is in `out` is more than the codec wants to add to: its on_write_blocked(false) comes when most of it is sent, even if
  /// `out` never was over the owner's high watermark, or only until the next flush.
  void want_room() { room_wanted_ = true; }

  static constexpr size_t kLargeBytes = 8192;

 protected:
  virtual void on_dirty() = 0;
  virtual void write_large(const uint8_t* data, size_t n) {
    out.append(data, n);
    wrote();
  }
  bool dirty_ = false;
  bool room_wanted_ = false;

 private:
  ByteSource* source_ = nullptr;
};

}  // namespace dragoman
