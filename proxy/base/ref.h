// Intrusive reference counts for objects of ONE worker: no atomics. Crossing threads needs std::shared_ptr instead.
#pragma once

#include <cassert>
#include <cstdint>
#include <utility>

namespace dragoman {

/// T derives from RefCounted<T>; the last Ref deletes it (through T's destructor).
template <class T>
class RefCounted {
 public:
  RefCounted() = default;
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;
  void ref() { ++refs_; }
  void unref() {
    assert(refs_ > 0);
    if (--refs_ == 0) delete static_cast<T*>(this);
  }

 protected:
  ~RefCounted() = default;

 private:
  uint32_t refs_ = 0;
};

template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(T* object) : object_(object) {
    if (object_) object_->ref();
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  ~Ref() {
    if (object_) object_->unref();
  }
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

}  // namespace dragoman
