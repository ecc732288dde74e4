// Per-thread free list of objects of one type: the steady state allocates nothing.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

#include "proxy/base/kept_memory.h"
#include "proxy/base/thread_start.h"

namespace dragoman {

/// Thread-local recycling allocator. `create` constructs, `destroy` destructs; memory is kept (up to kKeep objects).
/// live() is the number of objects created and not destroyed on this thread: zero at the end of a worker's life.
template <class T, size_t kKeep = 4096>
class ObjectPool {
 public:
  template <class... Args>
  static T* create(Args&&... args) {
    State& s = state();
    void* raw = s.free_list;
    if (raw) {
      s.free_list = *static_cast<void**>(raw);
      s.idle.taken(--s.kept);
    } else {
      raw = ::operator new(sizeof(T) < sizeof(void*) ? sizeof(void*) : sizeof(T));
    }
    ++s.live;
    kept_memory.add(MemoryOwner::kStreams, sizeof(T));
    return new (raw) T(std::forward<Args>(args)...);
  }
  static void destroy(T* object) {
    State& s = state();
    object->~T();
    --s.live;
    kept_memory.drop(MemoryOwner::kStreams, sizeof(T));
    if (s.kept < kKeep) {
      *reinterpret_cast<void**>(object) = s.free_list;
      s.free_list = object;
      ++s.kept;
    } else {
      ::operator delete(object);
    }
  }
  static size_t live() { return state().live; }

 private:
  struct State final : SpareMemory {
    void* free_list = nullptr;
    size_t kept = 0;
    size_t live = 0;
    IdlePieces idle;
    ~State() { drop(kept); }
    void drop(size_t n) {
      kept -= n;
      for (; n; --n) {
        void* next = *static_cast<void**>(free_list);
        ::operator delete(free_list);
        free_list = next;
      }
    }
    size_t trim() override {
      const size_t n = idle.surplus(kept);
      drop(n);
      return n * sizeof(T);
    }
    size_t spare_bytes() const override { return kept * sizeof(T); }
  };
  static State& state() {
    static thread_local State s;
    static_cast<void>(&at_thread_start);
    return s;
  }
  static inline const AtThreadStart at_thread_start{[] { state(); }};
};

}  // namespace dragoman
