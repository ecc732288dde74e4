#include "proxy/base/arena.h"

#include <new>

#include "proxy/base/kept_memory.h"
#include "proxy/base/thread_start.h"

namespace dragoman {
namespace {

// Standard-size blocks go back to a small per-thread list; odd sizes go back to the allocator.
struct BlockPool final : SpareMemory {
  static constexpr size_t kKeep = 256;
  void* free_list = nullptr;
  size_t count = 0;
  IdlePieces idle;
  ~BlockPool() { drop(count); }
  void drop(size_t n) {
    count -= n;
    for (; n; --n) {
      void* next = *static_cast<void**>(free_list);
      ::operator delete(free_list);
      free_list = next;
    }
  }
  size_t trim() override {
    const size_t n = idle.surplus(count);
    drop(n);
    return n * Arena::kBlockBytes;
  }
  size_t spare_bytes() const override { return count * Arena::kBlockBytes; }
};
thread_local BlockPool pool;
const AtThreadStart at_thread_start{[] { pool.trim(); }};

}  // namespace

void* Arena::allocate_slow(size_t n) {
  size_t need = n + sizeof(Block);
  void* raw = nullptr;
  size_t size = kBlockBytes;
  if (need <= kBlockBytes) {
    if (pool.free_list) {
      raw = pool.free_list;
      pool.free_list = *static_cast<void**>(raw);
      pool.idle.taken(--pool.count);
    }
  } else {
    size = need;
  }
  if (!raw) raw = ::operator new(size);
  kept_memory.add(MemoryOwner::kHeads, size);
  auto* block = new (raw) Block{blocks_, size};
  blocks_ = block;
  auto* start = reinterpret_cast<uint8_t*>(block + 1);
  if (size == kBlockBytes) {  // keep bumping in the new block
    at_ = start + n;
    end_ = static_cast<uint8_t*>(raw) + size;
  }
  return start;
}

void Arena::reset() {
  while (blocks_) {
    Block* block = blocks_;
    blocks_ = block->next;
    kept_memory.drop(MemoryOwner::kHeads, block->size);
    if (block->size == kBlockBytes && pool.count < BlockPool::kKeep) {
      *reinterpret_cast<void**>(block) = pool.free_list;
      pool.free_list = block;
      ++pool.count;
    } else {
      ::operator delete(block);
    }
  }
  at_ = inline_;
  end_ = inline_ + kInline;
}

}  // namespace dragoman
