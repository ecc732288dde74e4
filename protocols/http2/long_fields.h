// Fields of more than 64 KiB. nghttp2 takes none: it ends the whole connection, and with it every exchange.
// So a value that long is cut before nghttp2 sees it, in place and without a byte more or less: the value
// gets a smaller length, and over some of its bytes another literal field is written, whose value goes on.
// What was overwritten is kept here, and the value put together again when nghttp2 hands out its pieces. The
// first piece is larger than the dynamic table, as the value is, so that both sides' tables agree.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::http2 {

class LongFields {
 public:
  /// A header block of several frames begins; one frame alone can't hold such a value.
  void begin_block();
  /// It is over, perhaps inside a length: nothing is held any more.
  void end_block() { give_up(); }
  bool active() const { return active_; }

  /// Takes at least one of the next `n` bytes of the block, and may change them; how many. While holding()
  /// was or is true it takes one, which must not go on before resolve() has said with which bytes.
  size_t take(uint8_t* data, size_t n);
  bool holding() const { return held_ > 0; }
  /// What is held goes on as it is, and nothing more of this block is looked at.
  void give_up() {
    active_ = false;
    held_ = 0;
  }
  /// What has become of the bytes that were held, once holding() is false again.
  const uint8_t* resolved() const { return int_.data(); }

  enum class Piece : uint8_t {
    kNone,  // an ordinary field
    kMore,  // of a value that goes on
    kDone,  // the value is in value(), its name in name()
  };
  /// A field as nghttp2 has it. `keep`: its value is still wanted.
  Piece piece(std::string_view name, std::string_view value, bool keep);
  const std::string& name() const { return name_; }
  const std::string& value() const { return value_; }
  /// Some value of this block was cut.
  bool cuts() const { return !cuts_.empty(); }
  /// Gives the memory back.
  void clear();

 private:
  enum class State : uint8_t { kField, kInt, kNameLength, kName, kValueLength, kValue, kLongValue, kMark };
  enum class Means : uint8_t { kNothing, kField, kName, kValue };
  struct Cut {
    bool huffman;
    uint32_t first;   // bytes of the first piece
    uint32_t pieces;  // after it
  };

  void begin_int(uint8_t byte, uint32_t prefix_bits, Means means);
  void end_int();
  void cut();

  static constexpr uint32_t kPiece = 60'000;      // under nghttp2's 64 KiB
  static constexpr uint32_t kRest = 17'000;       // so much is left for a piece at least: its length then has three bytes
  static constexpr size_t kMarkBytes = 7;         // a literal field named kMarkName, up to its value
  static constexpr std::string_view kMarkName = "!";
  static uint32_t piece_of(uint32_t bytes);

  bool active_ = false;
  State state_ = State::kField;
  Means means_ = Means::kNothing;
  uint64_t number_ = 0;
  uint32_t shift_ = 0;
  uint32_t left_ = 0;                      // of a name, a value, or a piece
  uint32_t rest_ = 0;                      // of a long value, after this piece
  size_t held_ = 0;                        // bytes of the length of a value whose end is not known yet
  size_t mark_at_ = 0;
  std::array<uint8_t, 8> int_{};           // those
  std::array<uint8_t, kMarkBytes> mark_{};

  std::vector<Cut> cuts_;                  // of this block, not yet put together
  size_t next_cut_ = 0;
  std::string saved_;                      // what was overwritten
  size_t saved_at_ = 0;
  uint32_t pieces_left_ = 0;
  bool wanted_ = true;
  std::string name_, value_;
};

}  // namespace dragoman::http2
