// Bounds-checked reading and writing of wire bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace dragoman {

static_assert(std::endian::native == std::endian::little,
              "wire integers are swapped for little-endian machines");

template <class T>
inline T swap_bytes(T v) {
  static_assert(std::is_unsigned_v<T> && sizeof(T) <= 8);
  if constexpr (sizeof(T) == 1) return v;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(v);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(v);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(v);
}

/// Unaligned big- and little-endian unsigned integers. The caller guarantees the bounds.
template <class T>
inline T load_le(const uint8_t* p) {
  static_assert(std::is_unsigned_v<T>);
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline T load_be(const uint8_t* p) {
  return swap_bytes(load_le<T>(p));
}
template <class T>
inline void store_le(uint8_t* p, T v) {
  static_assert(std::is_unsigned_v<T>);
  std::memcpy(p, &v, sizeof v);
}
template <class T>
inline void store_be(uint8_t* p, T v) {
  store_le(p, swap_bytes(v));
}

/// Reads from a span. A read past the end gives zero (or an empty span), moves nothing, and makes ok() false
/// for good.
class ByteReader {
 public:
  explicit ByteReader(std::span<const uint8_t> bytes) : data_(bytes.data()), size_(bytes.size()) {}
  ByteReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  bool ok() const { return ok_; }
  size_t position() const { return at_; }
  size_t remaining() const { return size_ - at_; }

  uint8_t u8() { return be<uint8_t>(); }
  template <class T>
  T be() {
    return take(sizeof(T)) ? load_be<T>(data_ + at_ - sizeof(T)) : T{0};
  }
  template <class T>
  T le() {
    return take(sizeof(T)) ? load_le<T>(data_ + at_ - sizeof(T)) : T{0};
  }
  std::span<const uint8_t> bytes(size_t n) {
    return take(n) ? std::span<const uint8_t>(data_ + at_ - n, n) : std::span<const uint8_t>();
  }
  std::string_view text(size_t n) {
    return take(n) ? std::string_view(reinterpret_cast<const char*>(data_ + at_ - n), n) : std::string_view();
  }
  void skip(size_t n) { take(n); }

 private:
  bool take(size_t n) {
    if (!ok_ || n > size_ - at_) {
      ok_ = false;
      return false;
    }
    at_ += n;
    return true;
  }
  const uint8_t* data_;
  size_t size_;
  size_t at_ = 0;
  bool ok_ = true;
};

/// Writes into a fixed buffer and keeps counting past its end, so that size() is the length needed.
class ByteWriter {
 public:
  ByteWriter(uint8_t* out, size_t cap) : out_(out), cap_(cap) {}

  /// Bytes written so far, or that would have been.
  size_t size() const { return size_; }
  bool fits() const { return size_ <= cap_; }

  void u8(uint8_t v) { be<uint8_t>(v); }
  template <class T>
  void be(T v) {
    if (uint8_t* p = make_room(sizeof(T))) store_be<T>(p, v);
  }
  template <class T>
  void le(T v) {
    if (uint8_t* p = make_room(sizeof(T))) store_le<T>(p, v);
  }
  void bytes(std::span<const uint8_t> b) { bytes(b.data(), b.size()); }
  void bytes(const void* data, size_t n) {
    uint8_t* p = make_room(n);
    if (p && n) std::memcpy(p, data, n);
  }
  void text(std::string_view t) { bytes(t.data(), t.size()); }
  /// Overwrites what was written at `at`; no-op where it did not fit.
  template <class T>
  void patch_be(size_t at, T v) {
    if (at + sizeof(T) <= size_ && at + sizeof(T) <= cap_) store_be<T>(out_ + at, v);
  }

 private:
  uint8_t* make_room(size_t n) {
    size_t at = size_;
    size_ += n;
    return size_ <= cap_ ? out_ + at : nullptr;
  }
  uint8_t* out_;
  size_t cap_;
  size_t size_ = 0;
};

}  // namespace dragoman
