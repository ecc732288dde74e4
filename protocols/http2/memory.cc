#include "protocols/http2/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <utility>

#include "proxy/base/kept_memory.h"
#include "proxy/base/thread_start.h"

namespace dragoman::http2 {
namespace {

constexpr size_t kFineStep = 16, kFineMax = 1024;       // sizes up to here by this step
constexpr size_t kCoarseStep = 256, kCoarseMax = 8192;  // and up to here; larger ones are not kept
constexpr size_t kFine = kFineMax / kFineStep;
constexpr size_t kLists = kFine + (kCoarseMax - kFineMax) / kCoarseStep;

constexpr size_t kNoList = kLists;        // larger than what is kept
constexpr size_t kLastList = kLists + 1;  // of the last reserve

/// Stands in front of every piece.
struct alignas(16) Piece {
  size_t room;  // bytes behind this
  union {
    size_t list;  // in use: where it goes afterwards
    Piece* next;  // in a free list
  };
};
static_assert(sizeof(Piece) == 16);

size_t list_of(size_t n) {
  return n <= kFineMax ? (n + kFineStep - 1) / kFineStep - 1
                       : kFine + (n - kFineMax + kCoarseStep - 1) / kCoarseStep - 1;
}

size_t room_of(size_t list) {
  return list < kFine ? (list + 1) * kFineStep : kFineMax + (list - kFine + 1) * kCoarseStep;
}

class Memory final : public SpareMemory {
 public:
  Memory() : mem_{this, take, give, take_zeroed, change} {
    void* p = ::mmap(nullptr, kLastMemoryBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) last_ = static_cast<uint8_t*>(p);
  }
  ~Memory() {
    for (Piece*& list : lists_)
      while (list) ::operator delete(std::exchange(list, list->next));
    if (last_) ::munmap(last_, kLastMemoryBytes);
  }
  nghttp2_mem* mem() { return &mem_; }
  size_t kept() const { return kept_; }
  size_t spare_bytes() const override { return kept_; }
  /// By all lists together: how often a size is needed is not counted.
  size_t trim() override {
    const size_t goal = kept_ - least_ / 2;
    const size_t before = kept_;
    for (Piece*& list : lists_)
      while (list && kept_ > goal) {
        kept_ -= list->room;
        ::operator delete(std::exchange(list, list->next));
      }
    least_ = kept_;
    return before - kept_;
  }

 private:
  static Memory& self(void* user) { return *static_cast<Memory*>(user); }
  static Piece* piece_of(void* p) { return static_cast<Piece*>(p) - 1; }

  // Each request takes and gives about ten pieces: the common way is short, and the account is the one
  // number that moves.
  static void* take(size_t n, void* user) {
    Memory& m = self(user);
    if (n == 0) n = 1;
    if (n <= kCoarseMax) [[likely]] {
      const size_t list = list_of(n);
      if (Piece* piece = m.lists_[list]) [[likely]] {
        m.lists_[list] = piece->next;
        m.kept_ -= piece->room;
        if (m.kept_ < m.least_) m.least_ = m.kept_;
        return m.use(piece, list);
      }
      return m.make(room_of(list), list);
    }
    return m.make(n, kNoList);
  }
  static void give(void* p, void* user) {
    if (!p) return;
    Memory& m = self(user);
    Piece* piece = piece_of(p);
    const size_t list = piece->list, room = piece->room;
    m.used_ -= sizeof(Piece) + room;
    if (list >= kLists || m.kept_ + room > kKeptMemoryMax) [[unlikely]]
      return list == kLastList ? m.give_last() : ::operator delete(piece);
    m.kept_ += room;
    piece->next = m.lists_[list];
    m.lists_[list] = piece;
  }
  void* use(Piece* piece, size_t list) {
    used_ += sizeof(Piece) + piece->room;
    piece->list = list;
    return piece + 1;
  }
  [[gnu::noinline]] void* make(size_t room, size_t list) {
    void* raw = nullptr;
    try {
      raw = ::operator new(sizeof(Piece) + room);
    } catch (const std::bad_alloc&) {  // nghttp2's frames are below
      memory_failed = true;
      room = (room + 15) / 16 * 16;
      list = kLastList;
      raw = take_last(sizeof(Piece) + room);
      if (!raw) return nullptr;
    }
    return use(new (raw) Piece{room, {}}, list);
  }
  static void* take_zeroed(size_t n, size_t size, void* user) {
    if (size != 0 && n > SIZE_MAX / size) return nullptr;
    void* p = take(n * size, user);
    if (p) std::memset(p, 0, n * size);
    return p;
  }
  static void* change(void* p, size_t n, void* user) {
    if (!p) return take(n, user);
    const size_t room = piece_of(p)->room;
    if (n <= room && n > room / 2) return p;
    void* other = take(n, user);
    if (!other) return nullptr;
    std::memcpy(other, p, std::min(n, room));
    give(p, user);
    return other;
  }

  void* take_last(size_t n) {
    if (!last_ || n > kLastMemoryBytes - last_at_) return nullptr;
    ++last_pieces_;
    return last_ + std::exchange(last_at_, last_at_ + n);
  }
  void give_last() {
    if (--last_pieces_ > 0) return;
    last_at_ = 0;
    ::madvise(last_, kLastMemoryBytes, MADV_DONTNEED);
  }

  nghttp2_mem mem_;
  size_t& used_ = kept_memory.bytes[static_cast<size_t>(MemoryOwner::kHttp2)];
  uint8_t* last_ = nullptr;
  size_t last_at_ = 0;
  size_t last_pieces_ = 0;
  Piece* lists_[kLists] = {};
  size_t kept_ = 0;
  size_t least_ = 0;  // of kept_, since the last trim()
};

Memory& of_thread() {
  static thread_local Memory memory;
  return memory;
}
const AtThreadStart at_thread_start{[] { of_thread(); }};

}  // namespace

nghttp2_mem* thread_memory() { return of_thread().mem(); }
size_t kept_memory_bytes() { return of_thread().kept(); }

}  // namespace dragoman::http2
