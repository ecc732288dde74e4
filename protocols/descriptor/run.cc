#include "protocols/descriptor/run.h"

#include <algorithm>
#include <optional>

#include "protocols/checksum.h"
#include "protocols/descriptor/blocks.h"
#include "protocols/descriptor/plain.h"
#include "protocols/descriptor/sums.h"

namespace dragoman::descriptor {
namespace {

const Program& program_of(const void* context) { return *static_cast<const Program*>(context); }

constexpr const char* kTwoWays = "a value that could be read in two ways";

/// Integer ids, and where any id is. False when a frame that must have one has none.
bool describe_id(Reading& r, dragoman_frame& f) {
  const Layout& l = *r.layout;
  if (l.id_type == DRAGOMAN_ID_NONE) return true;
  f.id_type = l.id_type;
  const Source& s = l.id;
  switch (s.from) {
    case From::kSlot:
      if (!r.has(s.index)) return false;
      f.id_offset = r.offset_of(s.index);
      f.id_len = r.size_of(s.index);
      f.id = r.slot[s.index];
      if (const Number& n = l.items[s.index].number; n.is_signed && n.coding == Coding::kFixed && n.width < 8)
        f.id &= (uint64_t{1} << 8 * n.width) - 1;
      return true;
    case From::kItem: {
      if (!r.has(s.index)) return false;
      auto bytes = r.content(s.index);
      f.id_offset = static_cast<uint32_t>(bytes.data() - r.p);
      f.id_len = static_cast<uint32_t>(bytes.size());
      return !bytes.empty();
    }
    case From::kLookup: {
      bool there = look_up(r, s.block) && (r.found[s.block] >> s.index & 1);
      if (!there) return f.id_type == DRAGOMAN_ID_CODED;  // protobuf: absent is 0
      const LookedUp& v = r.looked_up[s.block][s.index];
      f.id_offset = v.offset;
      f.id_len = v.size;
      f.id = static_cast<uint64_t>(v.number);
      return f.id_type == DRAGOMAN_ID_CODED || v.size > 0;
    }
    default:
      return false;
  }
}

int32_t status_of(Reading& r, const Source& source) {
  const Program& g = *r.program;
  if (g.status_is_text) {
    std::string_view text;
    if (!text_of(source, r, text)) return -1;
    for (size_t i = 0; i < g.statuses.size(); ++i)
      if (g.statuses[i].text == text) return static_cast<int32_t>(i);
    return -1;
  }
  int64_t v = 0;
  if (!number_of(source, r, v)) v = g.absent;
  return static_cast<int32_t>(v);
}

int refused(dragoman_frame& f, int verdict, const char* why) {
  f.reason = why;
  return verdict;
}

/// Says as much of a refused frame as reply() needs, when its fixed part tells.
void describe_refused(Reading& r, dragoman_frame& f) {
  if (!r.layout || !r.fixed_part || !r.layout->fixed_kinds) return;
  const Kind* k = kind_of(r);
  if (!k) return;
  if (r.layout->id.from == From::kSlot && !describe_id(r, f)) return;
  f.kind = k->kind;
  f.head_len = r.layout->fixed_bytes;
}

/// Of any frame.
[[gnu::noinline]] int probe_any(const Program& g, const uint8_t* data, uint64_t len, dragoman_frame& f) {
  Reading r(g, data, static_cast<size_t>(len), f.from);
  int v = locate(r);
  if (v == DRAGOMAN_NEED) {
    f.need = r.need;
    return v;
  }
  if (v != DRAGOMAN_FRAME && v != DRAGOMAN_UNSUPPORTED) {
    describe_refused(r, f);
    return refused(f, v, r.reason);
  }
  const Layout& l = *r.layout;
  if (l.whole_head && len < r.head_len) {
    f.need = r.head_len;
    return DRAGOMAN_NEED;
  }
  for (const Check& c : l.late_checks) {
    if (c.optional != kNowhere && !r.has(c.optional)) continue;
    if (holds(c.test, r)) continue;
    if (c.verdict != DRAGOMAN_UNSUPPORTED) {
      describe_refused(r, f);
      return refused(f, c.verdict, c.why.c_str());
    }
    v = c.verdict;
    r.reason = c.why.c_str();
    break;
  }
  const Kind* kind = kind_of(r);
  if (r.contradicts) return refused(f, DRAGOMAN_MALFORMED, kTwoWays);
  if (r.broken) return refused(f, DRAGOMAN_MALFORMED, "a block is broken");
  if (!kind) return refused(f, DRAGOMAN_MALFORMED, "no kind fits");
  f.kind = kind->kind;
  f.total_len = r.total;
  f.head_len = r.head_len;
  if (!describe_id(r, f)) {
    f.total_len = 0;
    return refused(f, DRAGOMAN_MALFORMED, r.contradicts ? kTwoWays : "no id");
  }
  if (is_request(f.kind)) {
    int64_t value = 0;
    if (l.timeout.from != From::kMissing && number_of(l.timeout, r, value))
      f.timeout_ms = timeout_ms(g, value);
  } else if (f.kind == DRAGOMAN_RESPONSE && l.status.from != From::kMissing) {
    f.status = status_of(r, l.status);
  }
  if (r.broken) {
    f.total_len = 0;
    return refused(f, DRAGOMAN_MALFORMED, r.contradicts ? kTwoWays : "a block is broken");
  }
  if (l.checksum_item != kNowhere && r.has(l.checksum_item)) {
    f.checksum = l.host_crc ? DRAGOMAN_CHECKSUM_CRC32 : DRAGOMAN_CHECKSUM_CUSTOM;
    f.checksum_offset = r.total - l.items[l.checksum_item].size;
  }
  if (v == DRAGOMAN_UNSUPPORTED) return refused(f, v, r.reason);
  if (kind->verdict != DRAGOMAN_FRAME) return refused(f, kind->verdict, kind->why.c_str());
  return DRAGOMAN_FRAME;
}

// A pair with nothing in it says nothing. An item that is there says what it has, which may be nothing.
bool all_same(const References& list, Reading& r) {
  std::optional<std::string_view> seen;
  for (const Reference& one : list) {
    std::string_view text;
    if (!filtered_text(one, r, text) || (text.empty() && one.source.from != From::kItem)) continue;
    if (seen.value_or(text) != text) return false;
    seen = text;
  }
  return true;
}

[[gnu::noinline]] int view_any(const Program& g, const uint8_t* head, const dragoman_frame* frame,
                               uint32_t want, dragoman_view* out) {
  Reading r(g, head, frame->head_len, frame->from);
  if (locate_head(r) != DRAGOMAN_FRAME) return -1;
  const Layout& l = *r.layout;
  bool opaque = true;
  if (l.headers_block != kNowhere && r.has(l.headers_item) && all_hold(l.headers_when, r)) {
    bool wanted = want & DRAGOMAN_WANT_HEADERS;
    bool right = tell_headers(r, l.headers_block, wanted ? out->header : nullptr, out->ctx);
    if (!right && (!l.headers_broken_opaque || r.contradicts)) return -1;
    opaque = !right;
  }
  uint32_t meant = ~uint32_t{0};  // blocks that must not be broken
  if (opaque) {
    out->flags |= opaque_flag(g);
    if (l.headers_block != kNowhere) {  // its names mean nothing then
      meant &= ~(1u << l.headers_block);
      r.walked |= 1u << l.headers_block;
      r.broken |= 1u << l.headers_block;
      r.found[l.headers_block] = 0;
    }
  }
  auto bytes = [](std::string_view text) {
    return dragoman_bytes{reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  };
  if (want & DRAGOMAN_WANT_SERVICE) out->service = bytes(first_text(l.service, r));
  if (want & DRAGOMAN_WANT_METHOD) out->method = bytes(first_text(l.method, r));
  if ((want & DRAGOMAN_WANT_HEADERS) && out->attribute) {
    for (size_t i = 0; i < l.attributes.size(); ++i) {
      std::string_view value = first_text(l.attributes[i], r);
      if (!value.empty()) out->attribute(out->ctx, static_cast<uint32_t>(i), bytes(value));
    }
  }
  for (const References& list : l.same)
    if (is_request(frame->kind) && !all_same(list, r)) return -1;
  return r.contradicts || (r.broken & meant) ? -1 : 0;
}

/// False when the head can't be read.
[[gnu::noinline]] bool rules_any(const Program& g, const uint8_t* head, const dragoman_frame& f, bool& found,
                                 uint32_t& outcome) {
  Reading r(g, head, f.head_len, f.from);
  if (locate_head(r) != DRAGOMAN_FRAME) return false;
  for (const OutcomeRule& rule : r.layout->outcome_rules) {
    if (!all_hold(rule.when, r)) continue;
    found = true;
    outcome = rule.outcome;
    break;
  }
  return !r.contradicts;
}

}  // namespace

int probe(const void* context, void*, const uint8_t* data, uint64_t len, dragoman_frame* out) {
  const Program& g = program_of(context);
  if (probe_plain(g, data, static_cast<size_t>(len), *out)) return DRAGOMAN_FRAME;
  return probe_any(g, data, len, *out);
}

int view(const void* context, void*, const uint8_t* head, const dragoman_frame* frame, uint32_t want,
         dragoman_view* out) {
  const Program& g = program_of(context);
  int result = 0;
  if (view_plain(g, head, frame->head_len, want, *out, result)) return result;
  return view_any(g, head, frame, want, out);
}

uint32_t outcome(const void* context, void*, const uint8_t* head, const dragoman_frame* frame) {
  const Program& g = program_of(context);
  auto table = [&](int64_t status) -> uint32_t {
    if (g.status_is_text) {
      auto i = static_cast<size_t>(status);
      return status >= 0 && i < g.statuses.size() ? g.statuses[i].outcome : g.other_outcome;
    }
    if (status >= 0 && static_cast<size_t>(status) < g.by_status.size()) {
      uint8_t found = g.by_status[static_cast<size_t>(status)];
      return found == kNowhere ? g.other_outcome : found;
    }
    for (const StatusRow& row : g.statuses)
      if (row.number == status) return row.outcome;
    return g.other_outcome;
  };
  if (!g.any_rules) return table(frame->status);
  bool found = false;
  uint32_t by_rule = 0;
  if (!rules_plain(g, head, frame->head_len, found, by_rule) && !rules_any(g, head, *frame, found, by_rule))
    return DRAGOMAN_OUTCOME_UNKNOWN;
  return found ? by_rule : table(frame->status);
}

int status_text(const void* context, void*, const uint8_t* head, const dragoman_frame* frame,
                dragoman_bytes* out) {
  Reading r(program_of(context), head, frame->head_len, frame->from);
  std::string_view text;
  if (locate_again(r) != DRAGOMAN_FRAME || !text_of(r.layout->status, r, text) || text.empty()) return -1;
  *out = {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  return 0;
}

int checksum(const void* context, void*, uint8_t* bytes, const dragoman_frame* frame, int fix) {
  Reading r(program_of(context), bytes, static_cast<size_t>(frame->total_len), frame->from);
  if (locate_again(r) != DRAGOMAN_FRAME || r.layout->checksum_item == kNowhere) return 0;
  uint8_t index = r.layout->checksum_item;
  const Item& item = r.layout->items[index];
  if (!r.has(index) || r.total != frame->total_len) return 0;
  size_t at = r.offset_of(index);
  size_t from = item.sum_from == kNowhere ? 0 : r.offset_of(item.sum_from);
  if (at + item.size > frame->total_len || from > at) return 0;
  uint32_t sum = sum_of(item.sum, bytes + from, at - from);
  if (fix) {
    store_number(item.number, bytes + at, sum);
    return 1;
  }
  return load_fixed(bytes + at, item.number.width, item.number.big) == sum;
}

}  // namespace dragoman::descriptor
