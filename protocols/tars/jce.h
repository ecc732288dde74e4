// JCE, the encoding of Tars: bounded reading of tagged fields, and writing the few that are needed.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/cursor.h"

namespace dragoman::jce {

enum Type : uint8_t {
  kInt8 = 0,
  kInt16 = 1,
  kInt32 = 2,
  kInt64 = 3,
  kFloat = 4,
  kDouble = 5,
  kString1 = 6,  // length in one byte
  kString4 = 7,
  kMap = 8,
  kList = 9,
  kStructBegin = 10,
  kStructEnd = 11,
  kZero = 12,
  kBytes = 13,
};

inline constexpr int kDepthMax = 16;  // containers within containers

/// The head of one field.
struct Field {
  uint8_t tag = 0;
  uint8_t type = 0;
  size_t begin = 0;  // where its head is
};

/// Reads fields one after the other. Once something is wrong it stays so: truncated() when more bytes could
/// mend it, else broken().
class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, size_t from) : in_(bytes) { in_.skip(from); }

  bool ok() const { return in_.ok() && !broken_; }
  bool truncated() const { return !in_.ok() && !broken_; }
  bool broken() const { return broken_; }
  size_t position() const { return in_.position(); }
  size_t remaining() const { return in_.remaining(); }

  /// The next head. False at the end, or when something is wrong.
  bool next(Field& field);
  /// The value of a field whose head was read, as what it should be.
  bool integer(const Field& field, int64_t& value);
  bool string(const Field& field, std::string_view& value);
  bool skip(const Field& field);
  /// How many pairs a map has; its keys (tag 0) and values (tag 1) follow.
  bool map(const Field& field, uint32_t& pairs);

 private:
  bool fail() {
    broken_ = true;
    return false;
  }
  /// A count or length: an integer field with tag 0.
  bool count(uint32_t& value);

  ByteReader in_;
  bool broken_ = false;
};

/// Whether a type holds an integer.
inline bool is_integer(uint8_t type) { return type <= kInt64 || type == kZero; }
inline bool is_string(uint8_t type) { return type == kString1 || type == kString4; }

/// Fields with tags below 15, integers in their shortest form as every encoder writes them.
void write_head(ByteWriter& out, uint8_t tag, uint8_t type);
void write_integer(ByteWriter& out, uint8_t tag, int64_t value);
void write_string(ByteWriter& out, uint8_t tag, std::string_view value);

}  // namespace dragoman::jce
