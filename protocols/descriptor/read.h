// Reading one frame by a program: which layout it has, where its items are, what its fields and blocks say.
#pragma once

#include <cstring>
#include <span>

#include "protocols/descriptor/program.h"
#include "proxy/base/cursor.h"

namespace dragoman::descriptor {

struct LookedUp {
  const uint8_t* text;
  uint32_t size;
  uint32_t offset;  // of the value within the frame; of its encoding when it is a number
  int64_t number;
};

/// What locate() found. Arrays are written as far as `read` and the bit sets say; nothing is cleared before.
struct Reading {
  const Program* program;
  const uint8_t* p;
  size_t n;
  uint32_t from;  // DRAGOMAN_FROM_*

  const Layout* layout = nullptr;
  bool fixed_part = false;  // the slots of the fixed part are there
  uint8_t read = 0;         // items whose place is known
  uint64_t absent = 0;      // optional items that are left out
  uint64_t need = 0;
  const char* reason = nullptr;
  uint64_t total = 0;
  uint64_t body_bytes = 0;
  uint32_t head_len = 0;
  uint32_t walked = 0;  // bit set of blocks that were walked
  uint32_t broken = 0;  // bit set of those that are not what the descriptor says
  bool contradicts = false;  // a block has a value in two ways

  uint64_t slot[kSlotsMax];
  uint32_t at[kItemsMax];    // items behind the fixed part
  uint32_t size[kItemsMax];  // their bytes, length prefix and mark included
  uint32_t found[kBlocksMax];
  LookedUp looked_up[kBlocksMax][kLookupsMax];

  Reading(const Program& g, const uint8_t* bytes, size_t count, uint32_t sender)
      : program(&g), p(bytes), n(count), from(sender) {}

  bool has(uint8_t item) const { return item < read && !(absent >> item & 1); }
  uint32_t offset_of(uint8_t item) const {
    int32_t fixed = layout->items[item].fixed_at;
    return fixed >= 0 ? static_cast<uint32_t>(fixed) : at[item];
  }
  uint32_t size_of(uint8_t item) const {
    const Item& i = layout->items[item];
    if (i.fixed_at < 0) return absent >> item & 1 ? 0 : size[item];
    return i.kind == ItemKind::kNumber ? i.number.width : i.size;
  }
  /// What an item holds: without its length prefix or mark. Only where those bytes are in the head.
  std::span<const uint8_t> content(uint8_t item) const;
};

/// Finds the frame that begins at r.p. Answers as probe() does, except that it doesn't look at kinds and blocks.
int locate(Reading& r);
/// The same for a head that locate() has accepted before: leaves out what can't fail any more.
int locate_again(Reading& r);
/// locate_again() as far as view() and outcome() want it: other numbers are not read.
int locate_head(Reading& r);
/// The first kind whose tests hold, or null.
const Kind* kind_of(Reading& r);

/// False when it is absent or is no number.
bool number_of(const Source& source, Reading& r, int64_t& out);
/// False when it is absent.
bool text_of(const Source& source, Reading& r, std::string_view& out);
bool holds(const Test& test, Reading& r);
inline bool all_hold(const Tests& tests, Reading& r) {
  for (const Test& test : tests)
    if (!holds(test, r)) return false;
  return true;
}
/// The first reference that gives a text that is not empty; else an empty one.
std::string_view first_text(const References& references, Reading& r);
bool filtered_text(const Reference& reference, Reading& r, std::string_view& out);
/// text.rfind(mark): marks are mostly one byte, and texts long class names.
inline size_t find_last(std::string_view text, std::string_view mark) {
  if (mark.size() != 1 || text.empty()) return text.rfind(mark);
  const void* at = ::memrchr(text.data(), mark[0], text.size());
  return at ? static_cast<size_t>(static_cast<const char*>(at) - text.data()) : std::string_view::npos;
}
/// False when they leave nothing.
bool apply_filters(const std::vector<Filter>& filters, std::string_view& text);

inline bool is_request(uint32_t kind) {
  return kind == DRAGOMAN_REQUEST || kind == DRAGOMAN_ONEWAY || kind == DRAGOMAN_HEARTBEAT;
}
/// The flag of a head whose headers can't be read. A protocol without headers has none that could not.
inline uint32_t opaque_flag(const Program& g) {
  return g.table.lacks & DRAGOMAN_WANT_HEADERS ? 0 : DRAGOMAN_VIEW_OPAQUE;
}
/// What the field of a deadline says; 0: none.
inline int64_t timeout_ms(const Program& g, int64_t value) {
  if (value <= 0 || value >= int64_t{1} << 40) return 0;
  for (int64_t none : g.no_timeout)
    if (value == none) return 0;
  if (g.timeout_multiply == g.timeout_divide) return value;
  int64_t ms = value * g.timeout_multiply / g.timeout_divide;
  return ms > 0 ? ms : 1;
}

/// Decimal digits with an optional sign; false when it is anything else or does not fit.
bool decimal_of(std::string_view text, int64_t& out);

inline uint64_t load_fixed(const uint8_t* p, unsigned width, bool big) {
  switch (width) {
    case 1:
      return *p;
    case 2:
      return big ? load_be<uint16_t>(p) : load_le<uint16_t>(p);
    case 4:
      return big ? load_be<uint32_t>(p) : load_le<uint32_t>(p);
    case 8:
      return big ? load_be<uint64_t>(p) : load_le<uint64_t>(p);
  }
  uint64_t v = 0;
  for (unsigned i = 0; i < width; ++i) v = v << 8 | p[big ? i : width - 1 - i];
  return v;
}
inline uint64_t sign_extended(uint64_t v, unsigned width) {
  if (width >= 8) return v;
  unsigned up = 64 - 8 * width;
  return static_cast<uint64_t>(static_cast<int64_t>(v << up) >> up);
}

/// Reads a number at `p`, of which `n` bytes are there. Returns the bytes it takes; 0: more are needed (`need` of
/// them at least); -1: it is none.
int load_number(const Number& number, const uint8_t* p, size_t n, uint64_t& out, size_t& need);

inline std::string_view as_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace dragoman::descriptor
