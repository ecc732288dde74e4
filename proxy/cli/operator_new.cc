// operator new as the standard has it, in front of mimalloc's. The library's own one is C: when memory can't be had it finds no new
// handler, and ends the process. Linked with mimalloc only.
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

/// Null when the handler threw or there is none: nobody but operator new itself may throw.
template <typename Allocate>
void* until_there_is_some(Allocate allocate) noexcept {
  for (;;) {
    if (void* p = allocate()) return p;
    const std::new_handler handler = std::get_new_handler();
    if (!handler) return nullptr;
    try {
      handler();
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
}

void* plain(std::size_t n) noexcept {
  return until_there_is_some([n] { return std::malloc(n ? n : 1); });
}
void* aligned(std::size_t n, std::align_val_t alignment) noexcept {
  const auto a = static_cast<std::size_t>(alignment);
  if (n > SIZE_MAX - a) return nullptr;
  const std::size_t whole = (n ? n + a - 1 : a) & ~(a - 1);
  return until_there_is_some([a, whole] { return std::aligned_alloc(a, whole); });
}
void* or_throw(void* p) {
  if (!p) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(std::size_t n) { return or_throw(plain(n)); }
void* operator new[](std::size_t n) { return or_throw(plain(n)); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return plain(n); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return plain(n); }
void* operator new(std::size_t n, std::align_val_t a) { return or_throw(aligned(n, a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return or_throw(aligned(n, a)); }
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return aligned(n, a);
}
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t&) noexcept {
  return aligned(n, a);
}

void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
void operator delete[](void* p, std::align_val_t, const std::nothrow_t&) noexcept { std::free(p); }
