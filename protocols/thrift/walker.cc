#include "protocols/thrift/walker.h"

#include <algorithm>

namespace dragoman::thrift {
namespace {

enum Binary : uint8_t {
  kStop = 0, kBool = 2, kI8 = 3, kDouble = 4, kI16 = 6, kI32 = 8, kI64 = 10, kString = 11, kStruct = 12, kMap = 13,
  kSet = 14, kList = 15, kUuid = 16,
};
enum Compact : uint8_t {
  kCTrue = 1, kCFalse = 2, kCI8 = 3, kCI16 = 4, kCI32 = 5, kCI64 = 6, kCDouble = 7, kCBinary = 8, kCList = 9,
  kCSet = 10, kCMap = 11, kCStruct = 12, kCUuid = 13,
};

}  // namespace

void Walker::begin(Encoding encoding) {
  *this = Walker{};
  compact_ = encoding == Encoding::kCompact;
  levels_[0].is_struct = 1;
  depth_ = 1;
  step_ = Step::kField;
}

/// Bytes of a value of a type that has always as many; 0 when it has not. Inside containers.
uint32_t Walker::fixed_size(uint8_t type, bool compact) {
  if (compact) return type <= kCI8 ? 1 : type == kCDouble ? 8 : type == kCUuid ? 16 : 0;
  switch (type) {
    case kBool:
    case kI8:
      return 1;
    case kI16:
      return 2;
    case kI32:
      return 4;
    case kDouble:
    case kI64:
      return 8;
    case kUuid:
      return 16;
  }
  return 0;
}

bool Walker::known(uint8_t type, bool compact) {
  if (compact) return type >= kCTrue && type <= kCUuid;
  return fixed_size(type, false) > 0 || (type >= kString && type <= kList);
}

Walk Walker::push(bool is_struct, uint8_t type0, uint8_t type1, uint32_t count) {
  if (!is_struct && count == 0) return next();
  if (!is_struct && (!known(type0, compact_) || (type1 && !known(type1, compact_)))) return Walk::kMalformed;
  if (!is_struct && !type1 && fixed_size(type0, compact_)) {  // all at once
    skip_ += uint64_t{count} * fixed_size(type0, compact_);
    return next();
  }
  if (depth_ == kDepthMax) return Walk::kTooDeep;
  levels_[depth_++] = {count, {type0, type1}, is_struct, 0};
  return next();
}

Walk Walker::number(For what, uint8_t bytes) {
  step_ = Step::kNumber;
  for_ = what;
  bytes_ = bytes;
  value_ = 0;
  return Walk::kMore;
}

Walk Walker::varint(For what) {
  step_ = Step::kVarint;
  for_ = what;
  bytes_ = 0;
  value_ = 0;
  return Walk::kMore;
}

/// Decides what comes after a value that is complete, or in a container that was begun.
Walk Walker::next() {
  while (depth_ > 0) {
    Level& level = levels_[depth_ - 1];
    if (level.is_struct) {
      step_ = Step::kField;
      return Walk::kMore;
    }
    if (level.turn) {
      level.turn = 0;
      return begin_value(level.type[1], true);
    }
    if (level.left > 0) {
      --level.left;
      level.turn = level.type[1] != 0;
      return begin_value(level.type[0], true);
    }
    --depth_;
  }
  return Walk::kEnd;
}

Walk Walker::begin_value(uint8_t type, bool in_container) {
  if (!known(type, compact_)) return Walk::kMalformed;
  if (compact_ && type <= kCFalse && !in_container) return next();  // the type is the value
  if (uint32_t n = fixed_size(type, compact_)) {
    skip_ += n;  // behind what is still to be skipped
    // Not next(): it could nest without end through maps of fixed values.
    return number(For::kNothing, 0);
  }
  if (compact_) {
    switch (type) {
      case kCBinary:
        return varint(For::kBytes);
      case kCList:
      case kCSet:
        return number(For::kListHead, 1);
      case kCMap:
        return varint(For::kMapCount);
      case kCStruct:
        return push(true, 0, 0, 0);
      default:
        return varint(For::kNothing);
    }
  }
  switch (type) {
    case kString:
      return number(For::kBytes, 4);
    case kStruct:
      return push(true, 0, 0, 0);
    case kMap:
      return number(For::kMapHead, 6);
    default:
      return number(For::kListHead, 5);
  }
}

/// A number that was read, and what it was read for.
Walk Walker::have(uint64_t value) {
  switch (for_) {
    case For::kNothing:
      return next();
    case For::kFieldValue:
      return begin_value(type_, false);
    case For::kBytes:
      if (value > INT32_MAX) return Walk::kMalformed;
      skip_ += value;
      return next();
    case For::kListHead:
      if (compact_) {
        type_ = value & 15;
        if (value >> 4 == 15) return varint(For::kListCount);
        return push(false, type_, 0, static_cast<uint32_t>(value >> 4));
      }
      if ((value & UINT32_MAX) > INT32_MAX) return Walk::kMalformed;
      return push(false, static_cast<uint8_t>(value >> 32), 0, static_cast<uint32_t>(value));
    case For::kListCount:
      if (value > INT32_MAX) return Walk::kMalformed;
      return push(false, type_, 0, static_cast<uint32_t>(value));
    case For::kMapHead: {
      auto count = static_cast<uint32_t>(value);
      auto value_type = static_cast<uint8_t>(value >> 32);
      if (count > INT32_MAX || (count > 0 && value_type == 0)) return Walk::kMalformed;
      return push(false, static_cast<uint8_t>(value >> 40), value_type, count);
    }
    case For::kMapCount:
      if (value > INT32_MAX) return Walk::kMalformed;
      if (value == 0) return next();
      levels_count_ = static_cast<uint32_t>(value);
      return number(For::kMapTypes, 1);
    case For::kMapTypes:
      if ((value & 15) == 0) return Walk::kMalformed;
      return push(false, static_cast<uint8_t>(value >> 4), value & 15, levels_count_);
  }
  return Walk::kMalformed;
}

Walk Walker::feed(std::span<const uint8_t> bytes, size_t& used) {
  used = 0;
  Walk walk = Walk::kMore;
  for (;;) {
    if (skip_ > 0) {
      auto n = static_cast<size_t>(std::min<uint64_t>(skip_, bytes.size() - used));
      used += n;
      skip_ -= n;
      if (skip_ > 0) return Walk::kMore;
    }
    if (step_ == Step::kNumber && bytes_ == 0) {
      walk = have(value_);
    } else {
      if (used == bytes.size()) return Walk::kMore;
      uint8_t b = bytes[used++];
      switch (step_) {
        case Step::kField:
          type_ = compact_ ? b & 15 : b;
          if (b == 0) {
            --depth_;
            walk = next();
          } else if (compact_) {
            walk = b >> 4 ? begin_value(type_, false) : varint(For::kFieldValue);
          } else {
            walk = number(For::kFieldValue, 2);
          }
          break;
        case Step::kNumber:
          value_ = value_ << 8 | b;
          if (--bytes_ == 0) walk = have(value_);
          break;
        case Step::kVarint:
          if (bytes_ < 9 || b <= 1) value_ |= uint64_t{b & 0x7fu} << 7 * bytes_;
          if (!(b & 0x80))
            walk = have(value_);
          else if (++bytes_ == 10)
            return Walk::kMalformed;
          break;
      }
    }
    if (walk != Walk::kMore) return walk;
  }
}

}  // namespace dragoman::thrift
