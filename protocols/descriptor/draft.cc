#include "protocols/descriptor/draft.h"

#include "protocols/descriptor/sums.h"

namespace dragoman::descriptor {

uint32_t encoded_bytes(const Number& n, uint64_t v) {
  switch (n.coding) {
    case Coding::kFixed: {
      if (n.width >= 8) return 8;
      unsigned bits = 8u * n.width;
      if (n.is_signed) {
        auto s = static_cast<int64_t>(v);
        int64_t limit = int64_t{1} << (bits - 1);
        return s >= -limit && s < limit ? n.width : 0;
      }
      return v >> bits == 0 ? n.width : 0;
    }
    case Coding::kZigzag:
      v = v << 1 ^ (static_cast<int64_t>(v) < 0 ? UINT64_MAX : 0);
      [[fallthrough]];
    case Coding::kVarint: {
      uint32_t bytes = 1;
      while (v >>= 7) ++bytes;
      return bytes;
    }
    case Coding::kDecimal:
    case Coding::kHex: {
      uint64_t limit = 1;
      for (unsigned i = 0; i < n.width; ++i) {
        if (limit > UINT64_MAX / 16) return n.width;
        limit *= n.coding == Coding::kHex ? 16 : 10;
      }
      return v < limit ? n.width : 0;
    }
  }
  return 0;
}

void write_number(ByteWriter& out, const Number& n, uint64_t v) {
  switch (n.coding) {
    case Coding::kFixed: {
      uint8_t bytes[8];
      store_number(n, bytes, v);
      out.bytes(bytes, n.width);
      return;
    }
    case Coding::kZigzag:
      v = v << 1 ^ (static_cast<int64_t>(v) < 0 ? UINT64_MAX : 0);
      [[fallthrough]];
    case Coding::kVarint:
      for (; v > 0x7f; v >>= 7) out.u8(static_cast<uint8_t>(v | 0x80));
      out.u8(static_cast<uint8_t>(v));
      return;
    case Coding::kDecimal:
    case Coding::kHex: {
      char digits[20];
      unsigned base = n.coding == Coding::kHex ? 16 : 10;
      for (unsigned i = n.width; i-- > 0; v /= base) digits[i] = "0123456789abcdef"[v % base];
      out.bytes(digits, n.width);
      return;
    }
  }
}

Draft::Draft(const Reading& r) : layout(*r.layout), absent(r.absent), total(r.total) {
  for (size_t i = 0; i < layout.items.size(); ++i) {
    const Item& item = layout.items[i];
    auto index = static_cast<uint8_t>(i);
    if (!has(i)) continue;
    switch (item.kind) {
      case ItemKind::kNumber:
        value[i] = r.slot[i];
        number_bytes[i] = r.size_of(index);
        break;
      case ItemKind::kPrefix:
        value[i] = r.slot[i];
        content[i] = i == layout.body_item ? r.body_bytes : r.content(index).size();
        number_bytes[i] = static_cast<uint32_t>(
            i == layout.body_item ? r.size_of(index) : r.size_of(index) - content[i]);
        break;
      case ItemKind::kUntil:
        content[i] = r.size_of(index) - item.text.size();
        break;
      case ItemKind::kBytes:
      case ItemKind::kChecksum:
        content[i] = item.size;
        break;
      case ItemKind::kLength:
      case ItemKind::kRest:
        content[i] = i == layout.body_item ? r.body_bytes : r.size_of(index);
        break;
    }
  }
  for (const Bits& b : layout.bits) value[b.slot] = r.slot[b.slot];
}

/// Widths of the numbers that are written anew.
bool Draft::size_numbers() {
  for (size_t i = 0; i < layout.items.size(); ++i) {
    if (!has(i) || !(anew >> i & 1)) continue;
    number_bytes[i] = encoded_bytes(layout.items[i].number, value[i]);
    if (number_bytes[i] == 0) return false;
  }
  return true;
}

uint64_t Draft::offset_behind(size_t item) const {
  uint64_t at = 0;
  for (size_t i = 0; i <= item; ++i) {
    if (!has(i)) continue;
    const Item& it = layout.items[i];
    at += number_bytes[i];
    if (it.kind != ItemKind::kNumber) at += content[i] + padding[i];
    if (it.kind == ItemKind::kUntil) at += it.text.size();
  }
  return at;
}

int64_t Draft::evaluate(const Expression& e) const {
  int64_t sum = e.constant;
  for (const Expression::Part& part : e.parts)
    sum += static_cast<int64_t>(part.end ? offset_behind(part.index) : value[part.index]) * part.factor;
  return sum;
}

bool Draft::settle() {
  for (size_t i = 0; i < layout.items.size(); ++i) {
    const Item& item = layout.items[i];
    if (!has(i)) continue;
    if (item.kind == ItemKind::kPrefix && (anew >> i & 1)) value[i] = content[i];
    if (item.kind != ItemKind::kLength || !(resized >> i & 1)) continue;
    const Expression& e = item.length;
    int64_t rest = e.constant;
    for (const Expression::Part& part : e.parts)
      if (part.index != e.owner) rest += static_cast<int64_t>(value[part.index]) * part.factor;
    if (e.owner == kNowhere) {
      if (rest != static_cast<int64_t>(content[i])) return false;
      continue;
    }
    int64_t wanted = static_cast<int64_t>(content[i]) - rest;
    int64_t over = wanted % e.owner_factor;
    padding[i] = 0;
    if (over != 0) {
      if (item.pad <= 1 || over < 0) return false;
      padding[i] = static_cast<uint32_t>(e.owner_factor - over);
      wanted += padding[i];
    }
    if (wanted < 0) return false;
    set(e.owner, static_cast<uint64_t>(wanted / e.owner_factor));
  }
  // A varint's width depends on its value, which may depend on the width.
  for (int round = 0; round < 4; ++round) {
    if (!size_numbers()) return false;
    total = offset_behind(layout.items.size() - 1);
    bool stable = true;
    for (uint8_t i : layout.derived) {
      if (!has(i)) continue;
      int64_t v = evaluate(layout.items[i].equals);
      if (v < 0) return false;
      if (value[i] == static_cast<uint64_t>(v)) continue;
      set(i, static_cast<uint64_t>(v));
      stable = false;
    }
    if (!layout.has_frame) {
      if (stable) return true;
      continue;
    }
    const Expression& e = layout.frame;
    int64_t rest = e.constant;
    for (const Expression::Part& part : e.parts) {
      if (part.end)
        rest += static_cast<int64_t>(offset_behind(part.index)) * part.factor;
      else if (part.index != e.owner)
        rest += static_cast<int64_t>(value[part.index]) * part.factor;
    }
    int64_t wanted = static_cast<int64_t>(total) - rest;
    if (e.owner == kNowhere || wanted < 0 || wanted % e.owner_factor != 0) return false;
    auto v = static_cast<uint64_t>(wanted / e.owner_factor);
    if (v == value[e.owner] && number_bytes[e.owner] > 0) {
      if (stable) return true;
      continue;
    }
    set(e.owner, v);
  }
  return false;
}

}  // namespace dragoman::descriptor
