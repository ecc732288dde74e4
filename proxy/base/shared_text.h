// A text that its copies share, on any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace dragoman {

/// One word, null or a text that never changes.
class SharedText {
 public:
  SharedText() = default;
  SharedText(std::nullptr_t) {}
  explicit SharedText(std::string text) : node_(new Node{{1}, std::move(text)}) {}
  SharedText(const SharedText& other) : node_(other.node_) {
    if (node_) node_->uses.fetch_add(1, std::memory_order_relaxed);
  }
  SharedText(SharedText&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  SharedText& operator=(SharedText other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~SharedText() {
    if (node_ && node_->uses.fetch_sub(1, std::memory_order_acq_rel) == 1) delete node_;
  }

  explicit operator bool() const { return node_ != nullptr; }
  const std::string& operator*() const { return node_->text; }
  const std::string* operator->() const { return &node_->text; }

 private:
  struct Node {
    std::atomic<uint32_t> uses;
    const std::string text;
  };
  Node* node_ = nullptr;
};

}  // namespace dragoman
