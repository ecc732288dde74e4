// Bump allocator for the life of one exchange: views handed out stay valid until reset().
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace dragoman {

/// First `kInline` bytes come from inside the object; more comes from per-thread pooled blocks. Not for objects
/// with destructors. Total is bounded by the callers' own limits.
class Arena {
 public:
  static constexpr size_t kInline = 1024;
  static constexpr size_t kBlockBytes = 8192;

  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena() { reset(); }

  /// `n` bytes aligned to 8. Never null.
  void* allocate(size_t n) {
    n = (n + 7) & ~size_t{7};
    if (n <= static_cast<size_t>(end_ - at_)) {
      void* p = at_;
      at_ += n;
      return p;
    }
    return allocate_slow(n);
  }
  template <class T>
  T* allocate_array(size_t n) {
    return static_cast<T*>(allocate(n * sizeof(T)));
  }
  /// Copy of `text` that lives as long as the arena.
  std::string_view copy(std::string_view text) {
    if (text.empty()) return {};
    char* p = static_cast<char*>(allocate(text.size()));
    std::memcpy(p, text.data(), text.size());
    return {p, text.size()};
  }
  /// Copy of a + b.
  std::string_view concat(std::string_view a, std::string_view b, std::string_view c = {}) {
    char* p = static_cast<char*>(allocate(a.size() + b.size() + c.size()));
    if (!a.empty()) std::memcpy(p, a.data(), a.size());
    if (!b.empty()) std::memcpy(p + a.size(), b.data(), b.size());
    if (!c.empty()) std::memcpy(p + a.size() + b.size(), c.data(), c.size());
    return {p, a.size() + b.size() + c.size()};
  }
  void reset();

 private:
  struct Block {
    Block* next;
    size_t size;  // whole block
  };
  void* allocate_slow(size_t n);

  alignas(8) uint8_t inline_[kInline];
  uint8_t* at_ = inline_;
  uint8_t* end_ = inline_ + kInline;
  Block* blocks_ = nullptr;
};

}  // namespace dragoman
