#include "protocols/http2/long_fields.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdlib>

namespace dragoman::http2 {
namespace {

/// The Huffman code of HPACK as a tree, made from what nghttp2's encoder says (RFC 7541 appendix B is the
/// same in other words).
class HuffmanTree {
 public:
  HuffmanTree() {
    nodes_.emplace_back();
    nghttp2_hd_deflater* deflater = nullptr;
    if (nghttp2_hd_deflate_new(&deflater, 0) != 0) std::abort();
    for (int symbol = 0; symbol < 256; ++symbol) add(deflater, static_cast<uint8_t>(symbol));
    nghttp2_hd_deflate_del(deflater);
  }
  /// False when `code` is none.
  bool decode(std::string_view code, std::string& out) const {
    uint16_t at = 0;
    uint32_t depth = 0;
    bool ones = true;  // since the last symbol
    for (char c : code) {
      for (int bit = 7; bit >= 0; --bit) {
        const bool one = (static_cast<uint8_t>(c) >> bit & 1) != 0;
        const uint16_t next = nodes_[at].next[one ? 1 : 0];
        ones = ones && one;
        ++depth;
        if (next == 0) return false;
        at = next;
        if (nodes_[at].symbol < 0) continue;
        out += static_cast<char>(nodes_[at].symbol);
        at = 0;
        depth = 0;
        ones = true;
      }
    }
    return depth < 8 && ones;  // padding
  }

 private:
  struct Node {
    uint16_t next[2] = {0, 0};
    int16_t symbol = -1;
  };
  // Behind so many zeros of five bits each every symbol comes in its code: eight of it make one byte more for
  // each bit of the code.
  static constexpr size_t kZeros = 80, kRepeats = 8, kBefore = kZeros * 5 / 8;

  void add(nghttp2_hd_deflater* deflater, uint8_t symbol) {
    uint8_t name[] = {'a'};
    std::string value(kZeros, '0');
    value.append(kRepeats, static_cast<char>(symbol));
    nghttp2_nv field{name, reinterpret_cast<uint8_t*>(value.data()), sizeof name, value.size(),
                     NGHTTP2_NV_FLAG_NO_INDEX};
    uint8_t block[256];
    const ssize_t n = nghttp2_hd_deflate_hd(deflater, block, sizeof block, &field, 1);
    // The last thing in the block is the value: a byte of its length, and its code.
    const uint8_t* code = block + kBlockHead;
    const size_t bits = static_cast<size_t>(n) - kBlockHead - kBefore;
    uint16_t at = 0;
    for (size_t i = 0; i < bits; ++i) {
      const size_t bit = kBefore * 8 + i;
      const size_t one = code[bit / 8] >> (7 - bit % 8) & 1;
      if (nodes_[at].next[one] == 0) {
        nodes_[at].next[one] = static_cast<uint16_t>(nodes_.size());
        nodes_.emplace_back();
      }
      at = nodes_[at].next[one];
    }
    nodes_[at].symbol = symbol;
  }
  static constexpr size_t kBlockHead = 4;  // literal, length and byte of the name, length of the value

  std::vector<Node> nodes_;
};

}  // namespace

uint32_t LongFields::piece_of(uint32_t bytes) {
  const uint32_t n = std::min(bytes, kPiece);
  return bytes > n && bytes - n < kRest ? n - kRest : n;
}

void LongFields::begin_block() {
  clear();
  active_ = true;
  state_ = State::kField;
  held_ = 0;
}

void LongFields::clear() {
  cuts_.clear();
  next_cut_ = saved_at_ = 0;
  pieces_left_ = 0;
  name_.clear();
  saved_ = std::string();
  value_ = std::string();
}

void LongFields::begin_int(uint8_t byte, uint32_t prefix_bits, Means means) {
  const uint32_t max = (1u << prefix_bits) - 1;
  means_ = means;
  number_ = byte & max;
  shift_ = 0;
  if (means == Means::kValue) {
    int_[0] = byte;
    held_ = 1;
  }
  if (number_ < max)
    end_int();
  else
    state_ = State::kInt;
}

void LongFields::end_int() {
  switch (means_) {
    case Means::kNothing: state_ = State::kField; return;
    case Means::kField: state_ = number_ == 0 ? State::kNameLength : State::kValueLength; return;
    case Means::kName:
      left_ = static_cast<uint32_t>(number_);
      state_ = left_ ? State::kName : State::kValueLength;
      return;
    case Means::kValue:
      left_ = static_cast<uint32_t>(number_);
      state_ = left_ ? State::kValue : State::kField;
      if (left_ > kPiece) cut();
      held_ = 0;
      return;
  }
}

// The length of the first piece takes the place of the value's, in as many bytes.
void LongFields::cut() {
  const uint32_t first = piece_of(left_);
  Cut c{(int_[0] & 0x80) != 0, first, 0};
  for (uint32_t rest = left_ - first; rest > 0; ++c.pieces) rest -= kMarkBytes + piece_of(rest - kMarkBytes);
  cuts_.push_back(c);
  int_[0] = 0x7f;
  uint32_t number = first - 127;
  for (size_t i = 1; i < held_; ++i, number >>= 7)
    int_[i] = static_cast<uint8_t>((number & 0x7f) | (i + 1 < held_ ? 0x80 : 0));
  rest_ = left_ - first;
  left_ = first;
  state_ = State::kLongValue;
}

size_t LongFields::take(uint8_t* data, size_t n) {
  const uint8_t byte = *data;
  switch (state_) {
    case State::kField:
      if (byte & 0x80)
        begin_int(byte, 7, Means::kNothing);
      else if (byte & 0x40)
        begin_int(byte, 6, Means::kField);
      else if (byte & 0x20)
        begin_int(byte, 5, Means::kNothing);
      else
        begin_int(byte, 4, Means::kField);
      return 1;
    case State::kInt:
      if (held_) int_[held_++] = byte;
      number_ += static_cast<uint64_t>(byte & 0x7f) << shift_;
      shift_ += 7;
      // Longer than nghttp2 takes: it will say so.
      if ((shift_ > 28 && (byte & 0x80)) || number_ > INT32_MAX)
        give_up();
      else if ((byte & 0x80) == 0)
        end_int();
      return 1;
    case State::kNameLength:
      begin_int(byte, 7, Means::kName);
      return 1;
    case State::kValueLength:
      begin_int(byte, 7, Means::kValue);
      return 1;
    case State::kName:
    case State::kValue: {
      const uint32_t part = static_cast<uint32_t>(std::min<size_t>(n, left_));
      left_ -= part;
      if (left_ == 0) state_ = state_ == State::kName ? State::kValueLength : State::kField;
      return part;
    }
    case State::kLongValue: {
      const uint32_t part = static_cast<uint32_t>(std::min<size_t>(n, left_));
      left_ -= part;
      if (left_ > 0) return part;
      state_ = State::kField;
      if (rest_ == 0) return part;
      rest_ -= kMarkBytes;
      left_ = piece_of(rest_);
      rest_ -= left_;
      const uint32_t number = left_ - 127;
      mark_ = {0x00,
               1,
               static_cast<uint8_t>(kMarkName[0]),
               0x7f,
               static_cast<uint8_t>((number & 0x7f) | 0x80),
               static_cast<uint8_t>((number >> 7 & 0x7f) | 0x80),
               static_cast<uint8_t>(number >> 14)};
      mark_at_ = 0;
      state_ = State::kMark;
      return part;
    }
    case State::kMark:
      saved_ += static_cast<char>(byte);
      *data = mark_[mark_at_++];
      if (mark_at_ == kMarkBytes) state_ = State::kLongValue;
      return 1;
  }
  return n;
}

LongFields::Piece LongFields::piece(std::string_view name, std::string_view value, bool keep) {
  if (pieces_left_ == 0) {
    if (next_cut_ >= cuts_.size() || value.size() != cuts_[next_cut_].first) return Piece::kNone;
    pieces_left_ = cuts_[next_cut_].pieces;
    name_ = name;
    wanted_ = keep;
    value_.clear();
  } else {
    if (name != kMarkName) return Piece::kNone;
    wanted_ = wanted_ && keep;
    if (wanted_) value_.append(saved_, saved_at_, kMarkBytes);
    saved_at_ += kMarkBytes;
    --pieces_left_;
  }
  if (wanted_)
    value_.append(value);
  else
    value_ = std::string();
  if (pieces_left_ > 0) return Piece::kMore;
  const bool huffman = cuts_[next_cut_++].huffman;
  if (!wanted_ || !huffman) return Piece::kDone;
  static const HuffmanTree tree;
  std::string decoded;
  decoded.reserve(value_.size() * 3 / 2);
  if (!tree.decode(value_, decoded)) decoded = "\n";  // what no field may hold
  value_ = std::move(decoded);
  return Piece::kDone;
}

}  // namespace dragoman::http2
