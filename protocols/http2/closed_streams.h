// How the last streams of a connection ended, so that a frame that comes too late can be told from one that
// must not come.
#pragma once

#include <array>
#include <cstdint>

namespace dragoman::http2 {

class ClosedStreams {
 public:
  enum class How : uint8_t {
    kNever,      // this id was passed over
    kPeerEnded,  // by the peer's END_STREAM
    kPeerReset,  // by the peer's RST_STREAM
    kWeReset,    // by ours, which may cross frames of the peer
    kForgotten,  // or passed over
  };

  void add(uint32_t id, How how) { last_[count_++ % kKept] = id << 2 | (static_cast<uint32_t>(how) & 3); }
  How find(uint32_t id) const {
    const uint32_t kept = count_ < kKept ? count_ : kKept;
    for (uint32_t i = 1; i <= kept; ++i) {
      const uint32_t entry = last_[(count_ - i) % kKept];
      if ((entry ^ id << 2) < 4) return static_cast<How>(entry & 3);
    }
    return count_ <= kKept ? How::kNever : How::kForgotten;
  }

 private:
  static constexpr uint32_t kKept = 64;
  std::array<uint32_t, kKept>
      last_{};  // the low 30 bits of the id, how: ids that differ in the highest bit only are half a life apart
  uint32_t count_ = 0;
};

}  // namespace dragoman::http2
