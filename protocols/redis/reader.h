// RESP2 and RESP3 as they go by: commands and answers, one after the other, from pieces cut anywhere. Nothing is kept but the few
// bytes that tell commands, errors and pub/sub messages apart; values are skipped. No recursion: elements are counted.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "protocols/redis/commands.h"

namespace dragoman::redis {

/// The first bytes of something, in lower case where asked for.
class Word {
 public:
  void clear() { size_ = 0; }
  void add(uint8_t c) {
    if (size_ < bytes_.size()) bytes_[size_] = static_cast<char>(c);
    size_ += size_ <= bytes_.size();
  }
  void add_lower(uint8_t c) { add(c >= 'A' && c <= 'Z' ? static_cast<uint8_t>(c - 'A' + 'a') : c); }
  /// Empty when it was longer than any name.
  std::string_view text() const {
    return size_ <= bytes_.size() ? std::string_view(bytes_.data(), size_) : std::string_view();
  }

 private:
  std::array<char, 24> bytes_{};
  uint8_t size_ = 0;
};

/// A decimal number and its CRLF.
class Number {
 public:
  enum class State : uint8_t { kMore, kDone, kBad };
  void clear() { *this = {}; }
  State add(uint8_t c);
  int64_t value() const { return negative_ ? -value_ : value_; }

 private:
  int64_t value_ = 0;
  uint8_t digits_ = 0;
  bool sign_ = false;
  bool negative_ = false;
  bool cr_ = false;
};

/// What a reader says after it has taken bytes.
enum class Read : uint8_t {
  kMore,       // all bytes are taken
  kOne,        // a command or an answer is over
  kError,      // an error inside an answer is over (answers only)
  kMalformed,  // not the protocol
};

class CommandReader {
 public:
  /// Takes bytes from the front of `bytes` up to the end of a command. After kOne the fields below are of that command.
  Read next(std::span<const uint8_t>& bytes);

  Command command() const { return command_; }
  /// The name counts as one. Not known for some inline commands: see clear_cut().
  uint32_t arguments() const { return arguments_; }
  /// Lower case; arguments 1 and 2 of CLIENT only.
  std::string_view argument(size_t i) const { return words_[i].text(); }
  /// XREAD, XREADGROUP: with BLOCK.
  bool blocks() const { return blocks_; }
  /// False: an inline command whose arguments need more than the readers keep.
  bool clear_cut() const { return clear_cut_; }

 private:
  static constexpr uint32_t kArgumentsMax = 1024 * 1024;
  static constexpr int64_t kBulkMax = int64_t{1}
                                      << 40;  // Redis: proto-max-bulk-len, 512 MiB unless configured
  static constexpr uint32_t kInlineMax = 64 << 10;
  static constexpr size_t kInlineKept = 96;
  enum class State : uint8_t { kStart, kCount, kMark, kLength, kBulk, kEnd, kInline };

  void begin();
  Read count();
  void end_argument();
  Read end_inline();

  State state_ = State::kStart;
  Command command_{};
  bool looks_ = false;      // at more than the name
  bool may_block_ = false;  // XREAD, XREADGROUP, before STREAMS
  bool blocks_ = false;
  bool clear_cut_ = true;
  uint8_t end_left_ = 0;
  uint32_t arguments_ = 0;
  uint32_t at_ = 0;      // the argument being read
  uint32_t length_ = 0;  // inline
  uint64_t left_ = 0;    // of the bulk
  Number number_;
  std::array<Word, 4> words_;  // the last one: any argument
  std::array<char, kInlineKept> line_{};
};

class AnswerReader {
 public:
  /// Takes bytes from the front of `bytes` up to the end of an answer or a push, or of an error inside one.
  Read next(std::span<const uint8_t>& bytes);

  /// Whether nothing of an answer has been read.
  bool idle() const { return idle_ && !last_; }
  /// Whether next() has something to say without more bytes.
  bool has_more() const { return last_; }
  /// The type byte of the answer; attributes before it are skipped.
  uint8_t type() const { return type_; }
  bool is_error() const { return type_ == '-' || type_ == '!'; }
  /// kOne with is_error(), and kError.
  Error error() const { return find_error(word_.text()); }
  /// Arrays and pushes: the first element, if it is a string.
  std::string_view first() const { return first_.text(); }
  /// The last integer in it.
  int64_t last_integer() const { return integer_.value(); }

 private:
  static constexpr int64_t kLengthMax = int64_t{1} << 40;
  static constexpr int64_t kCountMax = int64_t{1} << 32;
  static constexpr uint64_t kPendingMax = uint64_t{1} << 40;
  enum class State : uint8_t { kType, kLine, kInteger, kLength, kBulk, kEnd };

  bool begin(uint8_t type);
  Read end_length();
  /// A value is over that is no error.
  Read end_value() {
    state_ = State::kType;
    if (--pending_ > 0) return Read::kMore;
    idle_ = true;
    return Read::kOne;
  }
  Read end_error() {
    const Read read = end_value();
    if (at_top_) return read;
    last_ = read == Read::kOne;
    return Read::kError;
  }

  State state_ = State::kType;
  bool idle_ = true;
  bool last_ = false;       // an error was the last value of the answer
  bool attribute_ = false;  // what is read comes before the answer
  bool at_top_ = false;     // what is read is the answer itself, not a value in it
  bool in_word_ = false;    // keep the bytes: an error's first word
  bool in_first_ = false;   // keep the bytes: a first element
  bool at_first_ = false;   // the next value is a first element
  uint8_t type_ = 0;        // of the answer
  uint8_t now_ = 0;         // of the value being read
  uint8_t end_left_ = 0;
  uint64_t pending_ = 0;  // values that are not over
  uint64_t left_ = 0;     // of a bulk
  Number number_;
  Number integer_;
  Word word_;
  Word first_;
};

}  // namespace dragoman::redis
