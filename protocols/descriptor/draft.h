// A frame about to be written: values and sizes of its items, and the lengths that follow from them.
#pragma once

#include "protocols/descriptor/read.h"

namespace dragoman::descriptor {

struct Draft {
  const Layout& layout;
  uint64_t absent = 0;   // items left out
  uint64_t anew = 0;     // numbers that must be encoded (the others are copied)
  uint64_t resized = 0;  // kLength items whose length field must follow their content
  uint64_t value[kSlotsMax] = {};
  uint64_t content[kItemsMax] = {};   // bytes of variable items, without prefix, mark and padding
  uint32_t padding[kItemsMax] = {};   // zero bytes behind the content
  uint32_t number_bytes[kItemsMax] = {};  // what a number, or the length in front, takes
  uint64_t total = 0;

  explicit Draft(const Layout& l) : layout(l) {}
  /// The frame that was read, as it is.
  explicit Draft(const Reading& r);

  bool has(size_t item) const { return !(absent >> item & 1); }
  void set(uint8_t item, uint64_t v) {
    value[item] = v;
    anew |= uint64_t{1} << item;
  }
  /// Computes lengths and the total. False when something does not fit its field.
  bool settle();

 private:
  bool size_numbers();
  int64_t evaluate(const Expression& e) const;
  uint64_t offset_behind(size_t item) const;
};

/// Bytes that `v` takes as `n`; 0 when it does not fit.
uint32_t encoded_bytes(const Number& n, uint64_t v);
void write_number(ByteWriter& out, const Number& n, uint64_t v);

/// Writes the items of `draft`. content(item, out) writes what is in a variable item and returns false when it
/// can't; `original` gives the numbers that stay as they are, and may be null. `whole` = false: only the head.
template <class F>
bool write_items(const Draft& draft, const Reading* original, bool whole, ByteWriter& out, F&& content) {
  const Layout& l = draft.layout;
  static constexpr uint8_t kZeros[64] = {};
  for (size_t i = 0; i < l.items.size(); ++i) {
    if (!draft.has(i)) continue;
    const Item& item = l.items[i];
    auto index = static_cast<uint8_t>(i);
    if (item.kind == ItemKind::kNumber || item.kind == ItemKind::kPrefix) {
      if (original && !(draft.anew >> i & 1))
        out.bytes(original->p + original->offset_of(index), draft.number_bytes[i]);
      else
        write_number(out, item.number, draft.value[i]);
      if (item.kind == ItemKind::kNumber) continue;
    }
    if (item.kind == ItemKind::kChecksum) {
      if (!whole) return true;
      if (original)
        out.bytes(original->p + original->offset_of(index), item.size);
      else
        out.bytes(kZeros, item.size);
      continue;
    }
    if (i == l.body_item && !whole) return true;
    size_t before = out.size();
    if (!content(index, out) || out.size() - before != draft.content[i]) return false;
    out.bytes(kZeros, draft.padding[i]);
    if (item.kind == ItemKind::kUntil) out.text(item.text);
  }
  return true;
}

}  // namespace dragoman::descriptor
