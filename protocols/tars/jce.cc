#include "protocols/tars/jce.h"

namespace dragoman::jce {

bool Reader::next(Field& field) {
  if (!ok() || in_.remaining() == 0) return false;
  field.begin = in_.position();
  uint8_t head = in_.u8();
  field.type = head & 15;
  field.tag = head >> 4;
  if (field.tag == 15) {
    field.tag = in_.u8();
    if (in_.ok() && field.tag < 15) return fail();  // the long form of a short tag
  }
  if (field.type > kBytes) return fail();
  return in_.ok();
}

bool Reader::integer(const Field& field, int64_t& value) {
  switch (field.type) {
    case kZero:
      value = 0;
      break;
    case kInt8:
      value = static_cast<int8_t>(in_.u8());
      break;
    case kInt16:
      value = static_cast<int16_t>(in_.be<uint16_t>());
      break;
    case kInt32:
      value = static_cast<int32_t>(in_.be<uint32_t>());
      break;
    case kInt64:
      value = static_cast<int64_t>(in_.be<uint64_t>());
      break;
    default:
      return fail();
  }
  return ok();
}

bool Reader::string(const Field& field, std::string_view& value) {
  if (!is_string(field.type)) return fail();
  size_t len = field.type == kString1 ? in_.u8() : in_.be<uint32_t>();
  value = in_.text(len);
  return ok();
}

bool Reader::count(uint32_t& value) {
  Field field;
  int64_t n = 0;
  if (in_.remaining() == 0) in_.skip(1);  // truncated
  if (!next(field) || field.tag != 0) return in_.ok() ? fail() : false;
  if (!integer(field, n)) return false;
  if (n < 0 || n > INT32_MAX) return fail();
  value = static_cast<uint32_t>(n);
  return true;
}

bool Reader::map(const Field& field, uint32_t& pairs) {
  if (field.type != kMap) return fail();
  return count(pairs);
}

bool Reader::skip(const Field& first) {
  struct Level {
    uint64_t left;   // values still to come
    bool is_struct;  // ... or until its end
  };
  Level levels[kDepthMax];
  int depth = 0;
  Field field = first;
  for (;;) {  // every turn takes at least the byte of a head
    uint32_t n = 0;
    switch (field.type) {
      case kInt8:
        in_.skip(1);
        break;
      case kInt16:
        in_.skip(2);
        break;
      case kInt32:
      case kFloat:
        in_.skip(4);
        break;
      case kInt64:
      case kDouble:
        in_.skip(8);
        break;
      case kString1:
        in_.skip(in_.u8());
        break;
      case kString4:
        in_.skip(in_.be<uint32_t>());
        break;
      case kZero:
        break;
      case kBytes:
        if (!in_.ok() || in_.remaining() == 0) {
          in_.skip(1);
          return false;
        }
        if (in_.u8() != kInt8) return fail();
        if (!count(n)) return false;
        in_.skip(n);
        break;
      case kMap:
      case kList:
      case kStructBegin: {
        bool is_struct = field.type == kStructBegin;
        if (depth == kDepthMax) return fail();
        if (!is_struct && !count(n)) return false;
        levels[depth++] = {field.type == kMap ? uint64_t{2} * n : n, is_struct};
        break;
      }
      default:  // the end of a struct that never began
        return fail();
    }
    if (!ok()) return false;
    // The next value of what is open.
    for (;;) {
      if (depth == 0) return true;
      Level& level = levels[depth - 1];
      if (!level.is_struct && level.left == 0) {
        --depth;
        continue;
      }
      if (in_.remaining() == 0) in_.skip(1);  // truncated
      if (!next(field)) return false;
      if (level.is_struct && field.type == kStructEnd) {
        --depth;
        continue;
      }
      if (!level.is_struct) --level.left;
      break;
    }
  }
}

void write_head(ByteWriter& out, uint8_t tag, uint8_t type) { out.u8(static_cast<uint8_t>(tag << 4 | type)); }

void write_integer(ByteWriter& out, uint8_t tag, int64_t value) {
  if (value == 0) {
    write_head(out, tag, kZero);
  } else if (value == static_cast<int8_t>(value)) {
    write_head(out, tag, kInt8);
    out.u8(static_cast<uint8_t>(value));
  } else if (value == static_cast<int16_t>(value)) {
    write_head(out, tag, kInt16);
    out.be<uint16_t>(static_cast<uint16_t>(value));
  } else if (value == static_cast<int32_t>(value)) {
    write_head(out, tag, kInt32);
    out.be<uint32_t>(static_cast<uint32_t>(value));
  } else {
    write_head(out, tag, kInt64);
    out.be<uint64_t>(static_cast<uint64_t>(value));
  }
}

void write_string(ByteWriter& out, uint8_t tag, std::string_view value) {
  if (value.size() < 256) {
    write_head(out, tag, kString1);
    out.u8(static_cast<uint8_t>(value.size()));
  } else {
    write_head(out, tag, kString4);
    out.be<uint32_t>(static_cast<uint32_t>(value.size()));
  }
  out.text(value);
}

}  // namespace dragoman::jce
