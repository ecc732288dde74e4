#include "protocols/redis/reader.h"

#include <cstring>

namespace dragoman::redis {
namespace {

constexpr Command kClient = find_command("client");
constexpr Command kXread = find_command("xread");
constexpr Command kXreadgroup = find_command("xreadgroup");
static_assert(kClient != Command{} && kXread != Command{} && kXreadgroup != Command{});

bool is_blank(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

}  // namespace

Number::State Number::add(uint8_t c) {
  constexpr uint8_t kDigitsMax = 18;
  if (cr_) return c == '\n' ? State::kDone : State::kBad;
  if (c >= '0' && c <= '9' && digits_ < kDigitsMax) {
    value_ = value_ * 10 + (c - '0');
    ++digits_;
    return State::kMore;
  }
  if ((c == '-' || c == '+') && digits_ == 0 && !sign_) {
    sign_ = true;
    negative_ = c == '-';
    return State::kMore;
  }
  cr_ = c == '\r' && digits_ > 0;
  return cr_ ? State::kMore : State::kBad;
}

// --- commands -------------------------------------------------------------------------------------------------------

void CommandReader::begin() {
  command_ = {};
  looks_ = may_block_ = blocks_ = false;
  clear_cut_ = true;
  arguments_ = at_ = length_ = 0;
  number_.clear();
  for (Word& word : words_) word.clear();
}

Read CommandReader::next(std::span<const uint8_t>& bytes) {
  const uint8_t* p = bytes.data();
  const uint8_t* const end = p + bytes.size();
  Read read = Read::kMore;
  while (p < end && read == Read::kMore) {
    switch (state_) {
      case State::kStart:
        begin();
        state_ = *p == '*' ? State::kCount : State::kInline;
        if (*p == '*') ++p;
        break;
      case State::kCount:
      case State::kLength:
        switch (number_.add(*p++)) {
          case Number::State::kMore: break;
          case Number::State::kBad: read = Read::kMalformed; break;
          case Number::State::kDone: read = count(); break;
        }
        break;
      case State::kMark:
        if (*p++ != '$') read = Read::kMalformed;
        number_.clear();
        state_ = State::kLength;
        break;
      case State::kBulk: {
        const auto n = static_cast<size_t>(std::min<uint64_t>(left_, static_cast<uint64_t>(end - p)));
        if (at_ == 0 || looks_) {
          Word& word = words_[std::min<size_t>(at_, words_.size() - 1)];
          for (size_t i = 0; i < std::min<size_t>(n, 32); ++i) word.add_lower(p[i]);
        }
        p += n;
        left_ -= n;
        if (left_ == 0) state_ = State::kEnd;
        break;
      }
      case State::kEnd:  // Redis does not look at the two bytes either
        ++p;
        if (--end_left_ > 0) break;
        end_argument();
        if (++at_ == arguments_) {
          state_ = State::kStart;
          read = Read::kOne;
        } else {
          state_ = State::kMark;
        }
        break;
      case State::kInline: {
        const uint8_t c = *p++;
        if (length_ < line_.size()) line_[length_] = static_cast<char>(c);
        if (++length_ > kInlineMax || c == 0)
          read = Read::kMalformed;
        else if (c == '\n')
          read = end_inline();
        break;
      }
    }
  }
  bytes = bytes.subspan(static_cast<size_t>(p - bytes.data()));
  return read;
}

/// A number is over: of arguments, or of bytes.
Read CommandReader::count() {
  const int64_t n = number_.value();
  if (state_ == State::kCount) {
    if (n > int64_t{kArgumentsMax}) return Read::kMalformed;
    state_ = n <= 0 ? State::kStart : State::kMark;  // no arguments: no command, and no answer
    arguments_ = n <= 0 ? 0 : static_cast<uint32_t>(n);
    return Read::kMore;
  }
  if (n < 0 || n > kBulkMax) return Read::kMalformed;
  left_ = static_cast<uint64_t>(n);
  end_left_ = 2;
  if (at_ >= words_.size() - 1) words_.back().clear();
  state_ = left_ > 0 ? State::kBulk : State::kEnd;
  return Read::kMore;
}

void CommandReader::end_argument() {
  if (at_ == 0) {
    command_ = find_command(words_[0].text());
    may_block_ = command_ == kXread || command_ == kXreadgroup;
    looks_ = may_block_ || command_ == kClient;
  } else if (may_block_) {
    const std::string_view word = words_[std::min<size_t>(at_, words_.size() - 1)].text();
    blocks_ = blocks_ || word == "block";
    if (word == "streams") may_block_ = looks_ = false;
  }
}

/// A line is over.
Read CommandReader::end_inline() {
  state_ = State::kStart;
  const size_t kept = std::min<size_t>(length_, line_.size());
  clear_cut_ = length_ <= line_.size();
  for (size_t i = 0; i < kept;) {
    while (i < kept && is_blank(static_cast<uint8_t>(line_[i]))) ++i;
    if (i == kept) break;
    Word& word = words_[std::min<size_t>(arguments_, words_.size() - 1)];
    word.clear();
    for (; i < kept && !is_blank(static_cast<uint8_t>(line_[i])); ++i) {
      const auto c = static_cast<uint8_t>(line_[i]);
      if (arguments_ == 0 && (c < 0x20 || c > 0x7e)) return Read::kMalformed;
      clear_cut_ = clear_cut_ && c != '"' && c != '\'';
      word.add_lower(c);
    }
    at_ = arguments_++;
    end_argument();
  }
  return arguments_ > 0 ? Read::kOne : Read::kMore;
}

// --- answers --------------------------------------------------------------------------------------------------------

/// The type byte of a value. False: there is no such type.
bool AnswerReader::begin(uint8_t type) {
  at_top_ = idle_ || (attribute_ && pending_ == 1);
  if (at_top_) {
    idle_ = at_first_ = false;
    attribute_ = type == '|';
    type_ = type;
    pending_ = 1;
    first_.clear();
  }
  now_ = type;
  in_first_ = at_first_ && (type == '$' || type == '+');
  at_first_ = false;
  in_word_ = type == '-' || type == '!';
  if (in_word_) word_.clear();
  number_.clear();
  switch (type) {
    case '+':
    case '-':
    case '#':
    case ',':
    case '(':
    case '_': state_ = State::kLine; return true;
    case ':':
      integer_.clear();
      state_ = State::kInteger;
      return true;
    case '$':
    case '=':
    case '!':
    case '*':
    case '~':
    case '%':
    case '>':
    case '|': state_ = State::kLength; return true;
    default: return false;
  }
}

Read AnswerReader::next(std::span<const uint8_t>& bytes) {
  if (last_) {
    last_ = false;
    return Read::kOne;
  }
  const uint8_t* p = bytes.data();
  const uint8_t* const end = p + bytes.size();
  const auto keep = [this](uint8_t c) {
    if (in_word_) {
      in_word_ = c > ' ';
      if (in_word_) word_.add(c);
    } else if (in_first_) {
      if (c != '\r') first_.add(c);
    }
  };
  const auto end_of = [this] { return now_ == '-' || now_ == '!' ? end_error() : end_value(); };
  Read read = Read::kMore;
  while (p < end && read == Read::kMore) {
    switch (state_) {
      case State::kType:
        if (!begin(*p++)) read = Read::kMalformed;
        break;
      case State::kLine:
        if (in_word_ || in_first_) {
          const uint8_t c = *p++;
          if (c == '\n')
            read = end_of();
          else
            keep(c);
          break;
        }
        if (const void* found = std::memchr(p, '\n', static_cast<size_t>(end - p))) {
          p = static_cast<const uint8_t*>(found) + 1;
          read = end_of();
        } else {
          p = end;
        }
        break;
      case State::kInteger:
        switch (integer_.add(*p)) {
          case Number::State::kMore: ++p; break;
          case Number::State::kBad:  // 19 digits: of no interest
            state_ = State::kLine;
            break;
          case Number::State::kDone:
            ++p;
            read = end_value();
            break;
        }
        break;
      case State::kLength:
        switch (number_.add(*p++)) {
          case Number::State::kMore: break;
          case Number::State::kBad: read = Read::kMalformed; break;
          case Number::State::kDone: read = end_length(); break;
        }
        break;
      case State::kBulk: {
        const auto n = static_cast<size_t>(std::min<uint64_t>(left_, static_cast<uint64_t>(end - p)));
        if (in_word_ || in_first_)
          for (size_t i = 0; i < std::min<size_t>(n, 32); ++i) keep(p[i]);
        p += n;
        left_ -= n;
        if (left_ == 0) state_ = State::kEnd;
        break;
      }
      case State::kEnd:
        ++p;
        if (--end_left_ == 0) read = end_of();
        break;
    }
  }
  bytes = bytes.subspan(static_cast<size_t>(p - bytes.data()));
  return read;
}

/// The number behind a type byte is over: of bytes, or of elements.
Read AnswerReader::end_length() {
  const int64_t n = number_.value();
  if (now_ == '$' || now_ == '=' || now_ == '!') {
    if (n < -1 || n > kLengthMax) return Read::kMalformed;
    if (n < 0) return end_value();
    left_ = static_cast<uint64_t>(n);
    end_left_ = 2;
    state_ = left_ > 0 ? State::kBulk : State::kEnd;
    return Read::kMore;
  }
  if (n < -1 || n > kCountMax) return Read::kMalformed;
  const bool pairs = now_ == '%' || now_ == '|';
  const uint64_t elements = n < 0 ? 0 : static_cast<uint64_t>(n) * (pairs ? 2 : 1);
  at_first_ = at_top_ && (now_ == '*' || now_ == '>');
  pending_ += elements;
  if (pending_ > kPendingMax) return Read::kMalformed;
  if (now_ != '|') return end_value();
  state_ = State::kType;
  return Read::kMore;
}

}  // namespace dragoman::redis
