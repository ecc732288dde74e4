// MySQL's packets as they go by, one after the other, from pieces cut anywhere. The first bytes of each are kept.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>

namespace dragoman::mysql {

class PacketReader {
 public:
  static constexpr size_t kKept = 256;

  /// Takes bytes from the front of `bytes` up to the end of a packet; false: all are taken, and it is not over. A packet of
  /// 2^24-1 bytes and those that continue it are one.
  bool next(std::span<const uint8_t>& bytes) {
    if (over_) {
      over_ = false;
      size_ = 0;
      continued_ = false;
    }
    while (!bytes.empty()) {
      if (head_ < 4) {
        head_bytes_[head_++] = bytes[0];
        bytes = bytes.subspan(1);
        if (head_ < 4) continue;
        left_ = head_bytes_[0] | uint32_t{head_bytes_[1]} << 8 | uint32_t{head_bytes_[2]} << 16;
        if (!continued_) sequence_ = head_bytes_[3];
        continued_ = left_ == kLongest;
      }
      const size_t n = std::min<size_t>(left_, bytes.size());
      if (size_ < kKept) std::memcpy(kept_.data() + size_, bytes.data(), std::min<size_t>(n, kKept - size_));
      size_ += n;
      left_ -= static_cast<uint32_t>(n);
      bytes = bytes.subspan(n);
      if (left_ > 0) return false;
      head_ = 0;
      if (!continued_) return over_ = true;
    }
    return false;
  }

  /// After next() said true: the payload's size and first bytes, and its sequence number.
  uint64_t size() const { return size_; }
  std::span<const uint8_t> kept() const {
    return {kept_.data(), static_cast<size_t>(std::min<uint64_t>(size_, kKept))};
  }
  uint8_t sequence() const { return sequence_; }

 private:
  static constexpr uint32_t kLongest = 0xffffff;

  std::array<uint8_t, kKept> kept_;
  std::array<uint8_t, 4> head_bytes_{};
  uint8_t head_ = 0;  // bytes of the header that are there
  uint8_t sequence_ = 0;
  bool continued_ = false;
  bool over_ = false;
  uint32_t left_ = 0;
  uint64_t size_ = 0;
};

}  // namespace dragoman::mysql
