// Finds the end of an unframed message: walks the struct behind its name byte by byte, and can stop anywhere.
#pragma once

#include <cstdint>
#include <span>

#include "protocols/thrift/message.h"

namespace dragoman::thrift {

enum class Walk : uint8_t { kEnd, kMore, kMalformed, kTooDeep };

/// Plain memory: all zero is not begun. At most kDepthMax structs, lists and maps inside each other.
class Walker {
 public:
  static constexpr uint8_t kDepthMax = 64;

  void begin(Encoding encoding);
  /// Takes bytes of the struct; `used` of them belong to it.
  Walk feed(std::span<const uint8_t> bytes, size_t& used);

 private:
  enum class Step : uint8_t { kField, kNumber, kVarint };
  enum class For : uint8_t { kNothing, kBytes, kListHead, kListCount, kMapHead, kMapCount, kMapTypes, kFieldValue };
  struct Level {
    uint32_t left;  // values still to come; structs: unused
    uint8_t type[2];
    uint8_t is_struct;
    uint8_t turn;  // maps: 1 = a value is next
  };

  Walk push(bool is_struct, uint8_t type0, uint8_t type1, uint32_t count);
  Walk begin_value(uint8_t type, bool in_container);
  Walk next();
  Walk number(For what, uint8_t bytes);
  Walk varint(For what);
  Walk have(uint64_t value);
  static uint32_t fixed_size(uint8_t type, bool compact);
  static bool known(uint8_t type, bool compact);

  uint64_t skip_;
  uint64_t value_;
  Level levels_[kDepthMax];
  uint8_t depth_;
  bool compact_;

  Step step_;
  For for_;
  uint8_t bytes_;  // of a number, still to come; of a varint, seen
  uint8_t type_;   // of the field whose id is being read, or of a list's items
  uint32_t levels_count_;  // of a map whose types are being read
};

}  // namespace dragoman::thrift
