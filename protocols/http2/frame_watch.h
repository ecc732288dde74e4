// What nghttp2 has no callback for: looks at the bytes of frames on their way to it, once, and keeps nothing
// of them.
#pragma once

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "protocols/http2/long_fields.h"

namespace dragoman::http2 {

class FrameWatch {
 public:
  explicit FrameWatch(bool server) : server_(server), preface_(server ? 24 : 0) {}

  /// `data` goes to nghttp2 next. A client's GOAWAY is hidden from it, as a frame of a type that nobody
  /// knows: it would read nothing more once no stream is left, but a client may go on (RFC 9113 6.8 is about
  /// the streams of its peer, and Dubbo does), and a last id that is not one of ours is no error either.
  /// `on_data_frame(id)` is called for the head of each DATA frame: nghttp2 says nothing of those it ignores.
  /// `feed(bytes, n)` hands bytes to nghttp2 and answers whether it goes on; fields that are too long for it
  /// are cut (LongFields).
  template <class Feed, class OnDataFrame>
  void pass(uint8_t* data, size_t n, Feed&& feed, OnDataFrame&& on_data_frame) {
    uint8_t* from = data;  // not yet fed
    uint8_t* const end = data + n;
    frame_ = data;  // the head that is under way began before
    while (data < end) {
      if (const size_t whole = plain_frame(data, static_cast<size_t>(end - data))) {
        if (data[3] == kData) {
          if (std::exchange(reset_before_, false) && from < data) {
            if (!feed(from, static_cast<size_t>(data - from))) return;
            from = data;
          }
          on_data_frame(id_of(data));
        }
        data += whole;
        continue;
      }
      const bool in_head = have_ < kHead, held = holding();
      in_block_ = false;
      if (have_ == 0 && preface_ == 0) frame_ = data;
      // What is held, padding and the heads of other frames in it, fits: there is always room for a head.
      const size_t room = held ? long_->room() : SIZE_MAX;
      const size_t part = step(data, std::min(static_cast<size_t>(end - data), room));
      if (in_head && head_is_data_) {
        head_is_data_ = false;
        // What a reset in the same bytes has closed is closed for this frame.
        if (std::exchange(reset_before_, false) && from < frame_ && frame_ <= data) {
          if (!feed(from, static_cast<size_t>(frame_ - from))) return;
          from = frame_;
        }
        on_data_frame(id());
      }
      if (held || holding()) {
        Long& l = *long_;
        if (!held && from < data && !feed(from, static_cast<size_t>(data - from))) return;
        if (in_block_) l.int_at[l.ints++] = l.hold_size;
        std::copy_n(data, part, l.hold.data() + l.hold_size);
        l.hold_size += part;
        from = data + part;
        if (!holding() || l.room() < kHead) {
          if (holding()) l.fields.give_up();
          for (size_t i = 0; i < l.ints; ++i) l.hold[l.int_at[i]] = l.fields.resolved()[i];
          l.ints = 0;
          if (!feed(l.hold.data(), std::exchange(l.hold_size, 0))) return;
        }
      }
      data += part;
    }
    if (from < end) feed(from, static_cast<size_t>(end - from));
  }
  /// Some value of the block that is read was cut: then fields() are there.
  bool cuts() const { return long_ && long_->fields.cuts(); }
  LongFields& fields() { return long_->fields; }
  /// A client said GOAWAY since this was last asked.
  bool take_goaway() { return std::exchange(goaway_, false); }
  /// The error of a GOAWAY that was hidden; 0: none.
  uint32_t goaway_error() const { return goaway_error_; }
  /// A PRIORITY frame made its stream depend on itself (RFC 7540 5.3.1), which nghttp2 does not look at any
  /// more.
  bool depends_on_itself() const { return depends_on_itself_; }

 private:
  static constexpr size_t kHead = 9, kType = 3;
  static constexpr uint8_t kHidden = 0xe9;
  static constexpr uint8_t kData = 0, kHeaders = 1, kPriority = 2, kRstStream = 3, kGoAway = 7, kContinuation = 9;
  static constexpr uint8_t kEndHeaders = 0x4, kPadded = 0x8, kHasPriority = 0x20;

  /// The length of a frame that is all there, and of which there is nothing to be seen but that; else 0.
  size_t plain_frame(const uint8_t* data, size_t n) const {
    if (have_ != 0 || n < kHead || preface_ != 0 || active() || holding()) return 0;
    const uint8_t type = data[3];
    if (type == kGoAway || type == kPriority || type == kRstStream ||
        (type == kHeaders && (data[4] & kEndHeaders) == 0))
      return 0;
    const size_t size = kHead + (size_t{data[0]} << 16 | size_t{data[1]} << 8 | data[2]);
    return size <= n ? size : 0;
  }
  /// Takes bytes of one part of one frame; how many.
  size_t step(uint8_t* data, size_t n) {
    if (preface_ > 0) {
      const size_t part = std::min(n, preface_);
      preface_ -= part;
      return part;
    }
    if (have_ < kHead) {
      const size_t part = std::min(n, kHead - have_);
      std::copy_n(data, part, head_ + have_);
      if (server_ && have_ <= kType && kType < have_ + part && head_[kType] == kGoAway)
        data[kType - have_] = kHidden;
      have_ += part;
      if (have_ == kHead) begin();
      return part;
    }
    const size_t part = active() ? block(data, n) : std::min<size_t>(n, left_);
    if (at_ < 4 && head_[3] == kPriority) word(data, part);
    at_ += static_cast<uint32_t>(part);
    left_ -= static_cast<uint32_t>(part);
    if (left_ == 0) end();
    return part;
  }
  /// Bytes of the payload of a HEADERS or CONTINUATION frame that is not alone.
  size_t block(uint8_t* data, size_t n) {
    if (at_ < prefix_) {
      if (at_ == 0 && (head_[4] & kPadded))
        block_end_ = std::max(prefix_, left_ > *data ? left_ - *data : 0u);
      return 1;
    }
    if (at_ >= block_end_) return std::min<size_t>(n, left_);  // padding
    in_block_ = true;
    return long_->fields.take(data, std::min<size_t>(n, block_end_ - at_));
  }
  void end() {
    have_ = 0;
    if (server_ && head_[kType] == kGoAway) goaway_ = true;
    if (active() && (head_[4] & kEndHeaders)) long_->fields.end_block();
  }
  void begin() {
    left_ = uint32_t{head_[0]} << 16 | uint32_t{head_[1]} << 8 | head_[2];
    at_ = word_ = 0;
    head_is_data_ = head_[3] == kData;
    reset_before_ = reset_before_ || head_[3] == kRstStream;
    if (server_ && head_[kType] == kGoAway && (id() != 0 || left_ < 8))
      goaway_error_ = id() != 0 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_FRAME_SIZE_ERROR;
    prefix_ = 0;
    block_end_ = left_;
    if (head_[3] == kHeaders && (head_[4] & kEndHeaders) == 0) {
      if (!long_) long_ = std::make_unique<Long>();
      long_->fields.begin_block();
      prefix_ = (head_[4] & kPadded ? 1 : 0) + (head_[4] & kHasPriority ? 5 : 0);
    } else if (head_[3] != kContinuation && long_) {
      long_->fields.end_block();
    }
    if (left_ == 0) end();
  }
  /// The first four bytes of the payload.
  void word(const uint8_t* data, size_t n) {
    for (uint32_t i = at_; i < 4 && n > 0; ++i, ++data, --n) {
      word_ = word_ << 8 | *data;
      if (i == 3 && (word_ & 0x7fffffff) == id() && id() != 0) depends_on_itself_ = true;
    }
  }
  static uint32_t id_of(const uint8_t* head) {
    return (uint32_t{head[5]} << 24 | uint32_t{head[6]} << 16 | uint32_t{head[7]} << 8 | head[8]) &
           0x7fffffff;
  }
  uint32_t id() const { return id_of(head_); }
  bool active() const { return long_ && long_->fields.active(); }
  bool holding() const { return long_ && long_->fields.holding(); }

  /// What only heads of several frames need; made for the first of them.
  struct Long {
    size_t room() const { return hold.size() - hold_size; }
    LongFields fields;
    std::array<uint8_t, 128> hold{};  // from the length of a long value on, until that is known
    size_t hold_size = 0;
    std::array<size_t, 16> int_at{};  // where that length stands in it
    size_t ints = 0;
  };

  const bool server_;
  bool depends_on_itself_ = false;
  bool goaway_ = false;
  uint32_t goaway_error_ = 0;
  bool reset_before_ = false;   // RST_STREAM came since bytes were last fed for that
  uint8_t* frame_ = nullptr;        // where the last frame's head begins, if in these bytes
  bool head_is_data_ = false;  // the head of a DATA frame is complete, and was not yet told
  size_t preface_;             // bytes of the client's preface that are still to come
  size_t have_ = 0;            // of head_
  uint8_t head_[kHead];
  uint32_t left_ = 0;  // of the payload
  uint32_t at_ = 0;    // in the payload
  uint32_t word_ = 0;
  uint32_t prefix_ = 0;     // of the payload, before the header block
  uint32_t block_end_ = 0;  // and where the block ends in it
  bool in_block_ = false;   // what step() took was of a block
  std::unique_ptr<Long> long_;
};

}  // namespace dragoman::http2
