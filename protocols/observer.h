// Watching a connection whose bytes are only relayed: what a protocol's observer is given and what it tells.
//
// An observer is a pure reader of both directions. It gets every byte after it was passed on, in pieces cut anywhere, keeps a
// bounded few of them, and can neither change nor hold any. What it does not understand ends the observation of this
// connection, never the connection.
//
// It also knows the protocol's words for a client whose connection ends before any server had it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "proxy/base/reason.h"

namespace dragoman {

/// Why a connection is not observed any more.
enum class ObserverStop : uint8_t {
  kTls,          // what follows is encrypted
  kCompression,  // what follows is compressed
  kStream,       // what follows is no series of commands and answers: replication, a monitor
  kUnsupported,  // a form that the observer does not follow
  kMalformed,    // not the protocol
  kUnexpected,   // an answer that no command asked for
  kOutstanding,  // more commands without an answer than observe.outstanding_max
};
inline constexpr std::array<std::string_view, 7> kObserverStopNames = {
    "tls", "compression", "stream", "unsupported", "malformed", "unexpected", "outstanding"};

/// Reads both directions of one connection. `now_us` is any clock that wraps at 2^32.
class StreamObserver {
 public:
  virtual ~StreamObserver() = default;
  virtual void on_client(std::span<const uint8_t> bytes, uint32_t now_us) = 0;
  virtual void on_server(std::span<const uint8_t> bytes, uint32_t now_us) = 0;
  /// What a client is told, as by a server that takes no more of them, when there is no server for it. A literal.
  virtual std::string_view refusal(Reason why) const = 0;
};

/// Commands that wait for their answers, first in, first out: at most `max`, memory only while there are many.
template <class Entry>
class Outstanding {
 public:
  explicit Outstanding(size_t max) : max_(max) {}

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  Entry& front() { return entries_[begin_]; }
  /// False when there are `max` already.
  bool push(const Entry& entry) {
    if (size_ == max_) return false;
    if (size_ == capacity_) grow();
    entries_[(begin_ + size_++) & (capacity_ - 1)] = entry;
    return true;
  }
  void pop() {
    begin_ = (begin_ + 1) & (capacity_ - 1);
    if (--size_ == 0 && capacity_ > kKept) clear();
  }
  void clear() {
    entries_.reset();
    size_ = begin_ = capacity_ = 0;
  }

 private:
  static constexpr size_t kFirst = 8;
  static constexpr size_t kKept = 256;

  void grow() {
    const size_t capacity = capacity_ == 0 ? kFirst : 2 * capacity_;
    auto entries = std::make_unique<Entry[]>(capacity);
    for (size_t i = 0; i < size_; ++i) entries[i] = entries_[(begin_ + i) & (capacity_ - 1)];
    entries_ = std::move(entries);
    capacity_ = capacity;
    begin_ = 0;
  }

  const size_t max_;
  std::unique_ptr<Entry[]> entries_;
  size_t capacity_ = 0;  // 0, or a power of two
  size_t begin_ = 0;
  size_t size_ = 0;
};

}  // namespace dragoman
