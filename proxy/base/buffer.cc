#include "proxy/base/buffer.h"
#include "proxy/base/thread_start.h"

#include <algorithm>
#include <new>

namespace dragoman {
namespace {

struct ChunkPool final : SpareMemory {
  static constexpr size_t kKeep = 1024;  // 16 MiB a thread at most
  Chunk* free_list = nullptr;
  size_t kept = 0;
  size_t live = 0;
  IdlePieces idle;
  ~ChunkPool() { drop(kept); }
  void drop(size_t n) {
    kept -= n;
    for (; n; --n) {
      Chunk* next = free_list->next;
      ::operator delete(free_list);
      free_list = next;
    }
  }
  size_t trim() override {
    const size_t n = idle.surplus(kept);
    drop(n);
    return n * Chunk::kBytes;
  }
  size_t spare_bytes() const override { return kept * Chunk::kBytes; }
};
thread_local ChunkPool pool;
const AtThreadStart at_thread_start{[] { pool.trim(); }};

}  // namespace

Chunk* acquire_chunk(MemoryOwner owner) {
  Chunk* c = pool.free_list;
  if (c) {
    pool.free_list = c->next;
    pool.idle.taken(--pool.kept);
  } else {
    c = static_cast<Chunk*>(::operator new(Chunk::kBytes));
  }
  ++pool.live;
  c->next = nullptr;
  c->begin = c->end = 0;
  c->capacity = Chunk::kBytes - sizeof(Chunk);
  c->owner = owner;
  kept_memory.add(owner, Chunk::kBytes);
  return c;
}

void release_chunk(Chunk* chunk) {
  --pool.live;
  kept_memory.drop(chunk->owner, Chunk::kBytes);
  if (pool.kept < ChunkPool::kKeep) {
    chunk->next = pool.free_list;
    pool.free_list = chunk;
    ++pool.kept;
  } else {
    ::operator delete(chunk);
  }
}

size_t live_chunks() { return pool.live; }

void ByteChain::add_chunk() {
  if (size_ > kBytesMax) throw std::bad_alloc();
  Chunk* c = acquire_chunk(owner_);
  if (tail_)
    tail_->next = c;
  else
    head_ = c;
  tail_ = c;
}

void ByteChain::append_slow(const uint8_t* data, size_t n) {
  while (n) {
    if (!tail_ || tail_->room() == 0) add_chunk();
    size_t k = std::min(n, tail_->room());
    std::memcpy(tail_->data() + tail_->end, data, k);
    tail_->end += static_cast<uint32_t>(k);
    size_ += static_cast<uint32_t>(k);
    data += k;
    n -= k;
  }
}

uint8_t* ByteChain::reserve(size_t n) {
  if (!tail_ || tail_->room() < n) add_chunk();
  return tail_->data() + tail_->end;
}

void ByteChain::consume(size_t n) {
  size_ -= static_cast<uint32_t>(n);
  while (head_ && n >= head_->size()) {
    n -= head_->size();
    Chunk* c = head_;
    head_ = c->next;
    release_chunk(c);
    if (!head_) tail_ = nullptr;
  }
  if (n) head_->begin += static_cast<uint32_t>(n);
}

void ByteChain::cut(size_t at, size_t n) {
  size_ -= static_cast<uint32_t>(n);
  Chunk* before = nullptr;
  Chunk* c = head_;
  for (; c && at >= c->size(); c = c->next) {
    at -= c->size();
    before = c;
  }
  while (n) {
    size_t k = std::min(n, c->size() - at);
    uint8_t* p = c->data() + c->begin + at;
    if (at == 0) {
      c->begin += static_cast<uint32_t>(k);
    } else {
      std::memmove(p, p + k, c->size() - at - k);
      c->end -= static_cast<uint32_t>(k);
    }
    n -= k;
    Chunk* next = c->next;
    if (c->size() == 0) {
      (before ? before->next : head_) = next;
      if (tail_ == c) tail_ = before;
      release_chunk(c);
    } else {
      before = c;
    }
    c = next;
    at = 0;
  }
}

void ByteChain::splice(ByteChain& other) {
  if (!other.head_) return;
  if (other.size_ <= 4096) {  // small: one contiguous piece is cheaper than another iovec
    other.for_each([this](const uint8_t* p, size_t k) { append(p, k); });
    other.clear();
    return;
  }
  if (size_t{size_} + other.size_ > kBytesMax) throw std::bad_alloc();
  for (Chunk* c = other.head_; c; c = c->next) {
    kept_memory.drop(c->owner, Chunk::kBytes);
    kept_memory.add(owner_, Chunk::kBytes);
    c->owner = owner_;
  }
  if (tail_)
    tail_->next = other.head_;
  else
    head_ = other.head_;
  tail_ = other.tail_;
  size_ += other.size_;
  other.head_ = other.tail_ = nullptr;
  other.size_ = 0;
}

int ByteChain::fill(iovec* out, int max) const {
  int n = 0;
  for (Chunk* c = head_; c && n < max; c = c->next) {
    if (!c->size()) continue;
    out[n].iov_base = c->data() + c->begin;
    out[n].iov_len = c->size();
    ++n;
  }
  return n;
}

void ByteChain::copy_to(uint8_t* out) const {
  for_each([&out](const uint8_t* p, size_t k) {
    std::memcpy(out, p, k);
    out += k;
  });
}

void ByteChain::xor_tail(const uint8_t* mask, size_t n) {
  size_t skip = size_ - n;
  for (Chunk* c = head_; c && n; c = c->next) {
    if (skip >= c->size()) {
      skip -= c->size();
      continue;
    }
    uint8_t* p = c->data() + c->begin + skip;
    size_t k = std::min(n, c->size() - skip);
    for (size_t i = 0; i < k; ++i) p[i] ^= *mask++;
    n -= k;
    skip = 0;
  }
}

void ByteChain::drop_all() {
  while (head_) {
    Chunk* c = head_;
    head_ = c->next;
    release_chunk(c);
  }
  tail_ = nullptr;
  size_ = 0;
}

}  // namespace dragoman
