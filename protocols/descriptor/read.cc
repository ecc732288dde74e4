#include "protocols/descriptor/read.h"

#include <algorithm>

#include "protocols/descriptor/blocks.h"

namespace dragoman::descriptor {
namespace {

/// Bytes of the frame, from its start, that a test on absolute offsets looks at.
size_t bytes_for(const Source& s) {
  return s.from == From::kBytes ? size_t{s.offset} + s.size : size_t{s.offset} + s.number.width;
}

/// DRAGOMAN_FRAME: all hold; DRAGOMAN_NEED with r.need: can't tell yet; DRAGOMAN_NOT_MINE: one does not hold.
int ask(const Tests& tests, Reading& r) {
  uint64_t need = 0;
  for (const Test& test : tests) {
    size_t bytes = bytes_for(test.source);
    if (r.n < bytes) {
      if (need == 0 || bytes < need) need = bytes;
    } else if (!holds(test, r)) {
      return DRAGOMAN_NOT_MINE;
    }
  }
  if (need == 0) return DRAGOMAN_FRAME;
  r.need = need;
  return DRAGOMAN_NEED;
}

int refuse(Reading& r, int verdict, const char* why) {
  r.reason = why;
  return verdict;
}
int need(Reading& r, uint64_t bytes) {
  if (bytes > r.program->head_bytes_max) return refuse(r, DRAGOMAN_TOO_BIG, "head over the descriptor's limit");
  r.need = bytes;
  return DRAGOMAN_NEED;
}

/// False on overflow of what any frame can be.
bool value_of(const Expression& e, const Reading& r, int64_t& out) {
  constexpr int64_t kMax = int64_t{1} << 47;
  int64_t sum = e.constant;
  for (const Expression::Part& part : e.parts) {
    int64_t v = part.end ? int64_t{r.offset_of(part.index)} + r.size_of(part.index)
                         : static_cast<int64_t>(r.slot[part.index]);
    if (v > kMax || v < -kMax) return false;
    sum += v * part.factor;  // factors are at most 65535, and parts few: no overflow
    if (sum > (kMax << 14) || sum < -(kMax << 14)) return false;
  }
  out = sum;
  return true;
}

void set_bits(const Layout& l, const Item& item, uint8_t index, Reading& r) {
  for (uint8_t b = item.first_bit; b < item.first_bit + item.bits; ++b)
    r.slot[l.bits[b].slot] = (r.slot[index] & l.bits[b].mask) >> l.bits[b].shift;
}

int check(const std::vector<Check>& checks, Reading& r) {
  for (const Check& c : checks)
    if (!holds(c.test, r)) return refuse(r, c.verdict, c.why.c_str());
  return DRAGOMAN_FRAME;
}

/// The frame's length by its own field, or a refusal.
int frame_length(Reading& r) {
  int64_t total = 0;
  if (!value_of(r.layout->frame, r, total) || total <= 0)
    return refuse(r, DRAGOMAN_MALFORMED, "frame length out of range");
  if (static_cast<uint64_t>(total) > r.program->frame_bytes_max)
    return refuse(r, DRAGOMAN_TOO_BIG, "frame over the descriptor's limit");
  r.total = static_cast<uint64_t>(total);
  return DRAGOMAN_FRAME;
}

/// Bytes of the checksum behind everything else, 0 when there is none in this frame.
uint32_t trailer_bytes(Reading& r) {
  const Layout& l = *r.layout;
  if (l.checksum_item == kNowhere) return 0;
  const Item& item = l.items[l.checksum_item];
  return item.when.empty() || all_hold(item.when, r) ? item.size : 0;
}

/// Places the items behind the fixed part.
int place_rest(Reading& r) {
  const Layout& l = *r.layout;
  const uint64_t head_max = r.program->head_bytes_max;
  uint64_t pos = l.fixed_bytes;
  const size_t count = l.items.size();
  r.read = static_cast<uint8_t>(l.fixed_items);
  uint32_t body_at = 0;
  bool framed = false;
  auto why_of = [&](size_t item, ItemFault fault) {
    return l.items[item].whys[static_cast<size_t>(fault)].c_str();
  };
  auto need_up_to = [&](uint64_t bytes) {
    if (framed && bytes > r.total) return refuse(r, DRAGOMAN_MALFORMED, why_of(r.read, ItemFault::kPast));
    return need(r, bytes);
  };
  if (l.has_frame && l.frame_after <= l.fixed_items) {
    if (int v = frame_length(r); v != DRAGOMAN_FRAME) return v;
    framed = true;
  }
  for (size_t i = l.fixed_items; i < count; ++i) {
    const Item& item = l.items[i];
    auto why = [&](ItemFault fault) { return why_of(i, fault); };
    r.at[i] = static_cast<uint32_t>(pos);
    if (!item.when.empty()) {
      bool there = true;
      for (const Test& test : item.when) {
        if (test.source.from == From::kNext) {
          uint64_t end = pos + test.source.offset + test.source.number.width;
          if (framed && end > r.total) {
            there = false;
            break;
          }
          if (r.n < end) return need_up_to(end);
        }
        there = holds(test, r);
        if (!there) break;
      }
      if (!there) {
        r.absent |= uint64_t{1} << i;
        r.size[i] = 0;
        r.read = static_cast<uint8_t>(i + 1);
        if (l.has_frame && !framed && r.read >= l.frame_after) {
          if (int v = frame_length(r); v != DRAGOMAN_FRAME) return v;
          framed = true;
        }
        continue;
      }
    }
    uint64_t before = 0, inside = 0, behind = 0;
    switch (item.kind) {
      case ItemKind::kNumber:
      case ItemKind::kPrefix: {
        size_t short_by = 0;
        // Of this frame only: the verdict must not depend on what came with it.
        const uint64_t n = framed ? std::min<uint64_t>(r.n, r.total) : r.n;
        int used = load_number(item.number, r.p + std::min<uint64_t>(pos, n),
                               n > pos ? static_cast<size_t>(n - pos) : 0, r.slot[i], short_by);
        if (used < 0) return refuse(r, DRAGOMAN_MALFORMED, why(ItemFault::kNoNumber));
        if (used == 0) return need_up_to(pos + short_by);
        before = static_cast<uint64_t>(used);
        if (item.kind == ItemKind::kNumber) {
          set_bits(l, item, static_cast<uint8_t>(i), r);
          break;
        }
        if (static_cast<int64_t>(r.slot[i]) < 0)
          return refuse(r, DRAGOMAN_MALFORMED, why(ItemFault::kNegative));
        inside = r.slot[i];
        break;
      }
      case ItemKind::kBytes:
        before = item.size;
        break;
      case ItemKind::kLength: {
        int64_t length = 0;
        if (!value_of(item.length, r, length) || length < 0)
          return refuse(r, DRAGOMAN_MALFORMED, why(ItemFault::kLength));
        inside = static_cast<uint64_t>(length);
        break;
      }
      case ItemKind::kUntil: {
        const uint8_t* begin = r.p + std::min<uint64_t>(pos, r.n);
        std::string_view there(reinterpret_cast<const char*>(begin), r.n > pos ? r.n - pos : 0);
        if (framed) {
          uint64_t left = r.total > pos ? r.total - pos : 0;
          if (there.size() > left) there = there.substr(0, static_cast<size_t>(left));
        }
        size_t end = there.substr(0, item.max + item.text.size()).find(item.text);
        if (end == std::string_view::npos) {
          if (there.size() >= item.max + item.text.size())
            return refuse(r, DRAGOMAN_TOO_BIG, why(ItemFault::kNoMarkInLimit));
          if (framed && pos + there.size() >= r.total)
            return refuse(r, DRAGOMAN_MALFORMED, why(ItemFault::kNoMark));
          return need_up_to(std::max<uint64_t>(r.n + 1, pos + item.text.size()));
        }
        inside = end;
        behind = item.text.size();
        break;
      }
      case ItemKind::kRest: {
        uint64_t end = r.total - std::min<uint64_t>(r.total, trailer_bytes(r));
        if (pos > end) return refuse(r, DRAGOMAN_MALFORMED, why(ItemFault::kNoRoom));
        inside = end - pos;
        break;
      }
      case ItemKind::kChecksum:
        before = item.size;
        break;
    }
    if (inside > item.max && item.kind != ItemKind::kRest && item.max > 0)
      return refuse(r, DRAGOMAN_TOO_BIG, why(ItemFault::kOver));
    if (i == l.body_item) {
      r.body_bytes = inside;
      body_at = static_cast<uint32_t>(pos + before);
      r.size[i] = static_cast<uint32_t>(before);  // what of it is in the head
      r.head_len = body_at;
      pos += before + inside;
      if (body_at > head_max) return refuse(r, DRAGOMAN_TOO_BIG, "head over the descriptor's limit");
    } else {
      if (inside > head_max) return refuse(r, DRAGOMAN_TOO_BIG, why(ItemFault::kOver));
      r.size[i] = static_cast<uint32_t>(before + inside + behind);
      pos += r.size[i];
    }
    if (pos > r.program->frame_bytes_max) return refuse(r, DRAGOMAN_TOO_BIG, "frame over the descriptor's limit");
    if (l.body_item > i && pos > head_max)
      return refuse(r, DRAGOMAN_TOO_BIG, "head over the descriptor's limit");
    r.read = static_cast<uint8_t>(i + 1);
    if (l.has_frame && !framed && r.read >= l.frame_after) {
      if (int v = frame_length(r); v != DRAGOMAN_FRAME) return v;
      framed = true;
    }
    if (framed && pos > r.total) return refuse(r, DRAGOMAN_MALFORMED, why(ItemFault::kPast));
  }
  if (framed && pos != r.total) return refuse(r, DRAGOMAN_MALFORMED, "items do not fill the frame");
  r.total = pos;
  for (uint8_t i : l.derived) {
    int64_t v = 0;
    if (r.has(i) && (!value_of(l.items[i].equals, r, v) || v != static_cast<int64_t>(r.slot[i])))
      return refuse(r, DRAGOMAN_MALFORMED, why_of(i, ItemFault::kLength));
  }
  if (l.body_item == kNowhere) {
    uint64_t head = r.total;
    if (l.host_crc) head -= trailer_bytes(r);
    if (head > head_max) return refuse(r, DRAGOMAN_TOO_BIG, "head over the descriptor's limit");
    r.head_len = static_cast<uint32_t>(head);
  } else if (l.checksum_item != kNowhere && !l.host_crc && trailer_bytes(r) > 0) {
    if (r.total > head_max) return refuse(r, DRAGOMAN_TOO_BIG, "head over the descriptor's limit");
    r.head_len = static_cast<uint32_t>(r.total);
  }
  return DRAGOMAN_FRAME;
}

/// Behind a fixed part that has every length.
int place_steps(Reading& r, bool with_body) {
  const Layout& l = *r.layout;
  uint64_t pos = l.fixed_bytes;
  r.read = static_cast<uint8_t>(l.items.size());
  for (const Step& step : l.steps) {
    auto length = static_cast<int64_t>(r.slot[step.slot]);
    if (step.item == l.body_item) {
      r.at[step.item] = r.head_len = static_cast<uint32_t>(pos);
      r.size[step.item] = 0;
      if (!with_body) return DRAGOMAN_FRAME;
      r.body_bytes = static_cast<uint64_t>(length);
    } else {
      r.at[step.item] = static_cast<uint32_t>(pos);
      r.size[step.item] = static_cast<uint32_t>(length);
    }
    auto why = [&](ItemFault fault) { return l.items[step.item].whys[static_cast<size_t>(fault)].c_str(); };
    if (length < 0) return refuse(r, DRAGOMAN_MALFORMED, why(ItemFault::kLength));
    if (static_cast<uint64_t>(length) > step.max) return refuse(r, DRAGOMAN_TOO_BIG, why(ItemFault::kOver));
    pos += static_cast<uint64_t>(length);
  }
  if (l.body_item == kNowhere) r.head_len = static_cast<uint32_t>(std::min<uint64_t>(pos, UINT32_MAX));
  if (r.head_len > r.program->head_bytes_max)
    return refuse(r, DRAGOMAN_TOO_BIG, "head over the descriptor's limit");
  if (pos > r.program->frame_bytes_max) return refuse(r, DRAGOMAN_TOO_BIG, "frame over the descriptor's limit");
  r.total = pos;
  return DRAGOMAN_FRAME;
}

bool quick_at(const QuickTest& t, const uint8_t* p) {
  uint64_t v = t.width == 1 ? p[t.at] : load_fixed(p + t.at, t.width, t.big);
  return t.holds(static_cast<int64_t>((v & t.mask) >> t.shift));
}

/// What ask() answers, quickly where all bytes are there.
int ask_quickly(const QuickTests& quick, uint32_t bytes, const Tests& tests, Reading& r) {
  if (!quick.all || r.n < bytes) return ask(tests, r);
  for (const QuickTest& t : quick.list)
    if (!quick_at(t, r.p)) return DRAGOMAN_NOT_MINE;
  return DRAGOMAN_FRAME;
}

void load_fixed_part(Reading& r, const std::vector<Load>& loads) {
  const Layout& l = *r.layout;
  for (const Load& load : loads) {
    uint64_t v = load_fixed(r.p + load.at, load.width, load.big);
    r.slot[load.slot] = load.is_signed ? sign_extended(v, load.width) : v;
  }
  for (const Bits& b : l.bits)
    if (l.items[b.of].fixed_at >= 0) r.slot[b.slot] = (r.slot[b.of] & b.mask) >> b.shift;
  r.fixed_part = true;
  r.read = static_cast<uint8_t>(l.fixed_items);
}

int choose_layout(Reading& r) {
  for (const Layout& layout : r.program->layouts) {
    int v = ask_quickly(layout.quick_when, r.program->when_bytes, layout.when, r);
    if (v == DRAGOMAN_NOT_MINE) continue;
    if (v == DRAGOMAN_FRAME) r.layout = &layout;
    return v;
  }
  return refuse(r, DRAGOMAN_MALFORMED, "no layout fits");
}

bool compare(int64_t v, const Test& t) {
  switch (t.op) {
    case Op::kEqual:
      return v == t.low;
    case Op::kNotEqual:
      return v != t.low;
    case Op::kLess:
      return v < t.low;
    case Op::kAtMost:
      return v <= t.low;
    case Op::kMore:
      return v > t.low;
    case Op::kAtLeast:
      return v >= t.low;
    case Op::kRange:
      return v >= t.low && v <= t.high;
    case Op::kIn:
      if (t.only_small) return v >= 0 && v < 64 && (t.small >> v & 1);
      return std::find(t.numbers.begin(), t.numbers.end(), v) != t.numbers.end();
    case Op::kPresent:
      return true;
    case Op::kAbsent:
      return false;
  }
  return false;
}

}  // namespace

std::span<const uint8_t> Reading::content(uint8_t item) const {
  const Item& i = layout->items[item];
  uint32_t begin = offset_of(item), bytes = size_of(item);
  if (i.kind == ItemKind::kPrefix) {
    uint64_t ignored = 0;
    size_t missing = 0;
    int used = load_number(i.number, p + begin, n - std::min<size_t>(n, begin), ignored, missing);
    uint32_t before = used > 0 ? static_cast<uint32_t>(used) : bytes;
    begin += before;
    bytes -= std::min(bytes, before);
  } else if (i.kind == ItemKind::kUntil) {
    bytes -= std::min<uint32_t>(bytes, static_cast<uint32_t>(i.text.size()));
  }
  if (begin > n || bytes > n - begin) return {};
  return {p + begin, bytes};
}

int locate(Reading& r) {
  const Program& g = *r.program;
  if (int v = ask_quickly(g.quick_match, g.match_bytes, g.match, r); v != DRAGOMAN_FRAME) return v == DRAGOMAN_NEED ? need(r, r.need) : v;
  if (int v = choose_layout(r); v != DRAGOMAN_FRAME) return v == DRAGOMAN_NEED ? need(r, r.need) : v;
  const Layout& l = *r.layout;
  if (r.n < l.fixed_bytes) {
    r.layout = nullptr;
    return need(r, l.fixed_bytes);
  }
  load_fixed_part(r, l.probe_loads);
  bool all_right = l.quick_checks.all;
  for (const QuickTest& t : l.quick_checks.list) all_right = all_right && t.holds(static_cast<int64_t>(r.slot[t.slot]));
  if (!all_right)
    if (int v = check(l.checks, r); v != DRAGOMAN_FRAME && v != DRAGOMAN_UNSUPPORTED) return v;
  const char* unsupported = r.reason;
  if (int v = l.simple ? place_steps(r, true) : place_rest(r); v != DRAGOMAN_FRAME) return v;
  r.reason = unsupported;
  return unsupported ? DRAGOMAN_UNSUPPORTED : DRAGOMAN_FRAME;
}

int locate_again(Reading& r) {
  if (int v = choose_layout(r); v != DRAGOMAN_FRAME) return v;
  if (r.n < r.layout->fixed_bytes) return DRAGOMAN_MALFORMED;
  load_fixed_part(r, r.layout->loads);
  return r.layout->simple ? place_steps(r, true) : place_rest(r);
}

int locate_head(Reading& r) {
  if (int v = choose_layout(r); v != DRAGOMAN_FRAME) return v;
  if (r.n < r.layout->fixed_bytes) return DRAGOMAN_MALFORMED;
  if (!r.layout->simple) {
    load_fixed_part(r, r.layout->loads);
    return place_rest(r);
  }
  load_fixed_part(r, r.layout->head_loads);
  return place_steps(r, false);
}

const Kind* kind_of(Reading& r) {
  const Layout& l = *r.layout;
  for (size_t i = 0; i < l.kinds.size(); ++i) {
    const QuickTests& quick = l.quick_kinds[i];
    bool all = true;
    if (quick.all) {
      for (const QuickTest& t : quick.list) {
        all = t.holds(static_cast<int64_t>(r.slot[t.slot]));
        if (!all) break;
      }
    } else {
      all = all_hold(l.kinds[i].when, r);
    }
    if (all) return &l.kinds[i];
  }
  return nullptr;
}

int load_number(const Number& number, const uint8_t* p, size_t n, uint64_t& out, size_t& need) {
  switch (number.coding) {
    case Coding::kFixed: {
      if (n < number.width) {
        need = number.width;
        return 0;
      }
      uint64_t v = load_fixed(p, number.width, number.big);
      out = number.is_signed ? sign_extended(v, number.width) : v;
      return number.width;
    }
    case Coding::kVarint:
    case Coding::kZigzag: {
      uint64_t v = 0;
      for (size_t i = 0;; ++i) {
        if (i == 10) return -1;
        if (i >= n) {
          need = i + 1;
          return 0;
        }
        if (i == 9 && p[i] > 1) return -1;  // over 64 bits
        v |= uint64_t{p[i] & 0x7fu} << (7 * i);
        if (p[i] & 0x80) continue;
        out = number.coding == Coding::kZigzag ? (v >> 1) ^ (~(v & 1) + 1) : v;
        return static_cast<int>(i + 1);
      }
    }
    case Coding::kDecimal:
    case Coding::kHex: {
      if (n < number.width) {
        need = number.width;
        return 0;
      }
      uint64_t v = 0;
      for (unsigned i = 0; i < number.width; ++i) {
        uint8_t c = p[i];
        if (c >= '0' && c <= '9')
          v = v * (number.coding == Coding::kHex ? 16 : 10) + (c - '0');
        else if (number.coding == Coding::kHex && ((c | 0x20) >= 'a' && (c | 0x20) <= 'f'))
          v = v * 16 + ((c | 0x20) - 'a' + 10u);
        else
          return -1;
      }
      out = v;
      return number.width;
    }
  }
  return -1;
}

bool decimal_of(std::string_view text, int64_t& out) {
  bool minus = !text.empty() && text[0] == '-';
  if (minus) text.remove_prefix(1);
  if (text.empty() || text.size() > 18) return false;
  int64_t v = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    v = v * 10 + (c - '0');
  }
  out = minus ? -v : v;
  return true;
}

bool number_of(const Source& s, Reading& r, int64_t& out) {
  switch (s.from) {
    case From::kAbsolute:
    case From::kNext: {
      uint64_t at = s.offset;
      if (s.from == From::kNext) at += r.at[r.read];
      if (r.n < at + s.number.width) return false;
      uint64_t v = load_fixed(r.p + at, s.number.width, s.number.big);
      if (s.mask)
        v = (v & s.mask) >> s.shift;
      else if (s.number.is_signed)
        v = sign_extended(v, s.number.width);
      out = static_cast<int64_t>(v);
      return true;
    }
    case From::kSlot:
      if (s.offset < 64 && (r.absent >> s.offset & 1)) return false;  // offset: the item it belongs to
      if (s.offset >= r.read) return false;
      out = static_cast<int64_t>(r.slot[s.index]);
      return true;
    case From::kLookup: {
      if (!look_up(r, s.block)) return false;
      if (!(r.found[s.block] >> s.index & 1)) return false;
      const LookedUp& v = r.looked_up[s.block][s.index];
      if (r.layout->blocks[s.block].lookups[s.index].is_number) {
        out = v.number;
        return true;
      }
      return decimal_of({reinterpret_cast<const char*>(v.text), v.size}, out);
    }
    case From::kItem: {
      std::string_view text;
      return text_of(s, r, text) && decimal_of(text, out);
    }
    case From::kSender:
      // Where nobody knows, a connection's first bytes are asked about, and those are a client's.
      out = r.from == DRAGOMAN_FROM_SERVER ? DRAGOMAN_FROM_SERVER : DRAGOMAN_FROM_CLIENT;
      return true;
    case From::kBytes:
    case From::kMissing:
      return false;
  }
  return false;
}

bool text_of(const Source& s, Reading& r, std::string_view& out) {
  switch (s.from) {
    case From::kBytes:
      if (r.n < size_t{s.offset} + s.size) return false;
      out = {reinterpret_cast<const char*>(r.p) + s.offset, s.size};
      return true;
    case From::kItem:
      if (!r.has(s.index)) return false;
      out = as_text(r.content(s.index));
      return true;
    case From::kLookup: {
      if (!look_up(r, s.block) || !(r.found[s.block] >> s.index & 1)) return false;
      const LookedUp& v = r.looked_up[s.block][s.index];
      out = {reinterpret_cast<const char*>(v.text), v.size};
      return true;
    }
    default:
      return false;
  }
}

bool holds(const Test& t, Reading& r) {
  if (t.text) {
    std::string_view v;
    bool there = text_of(t.source, r, v);
    switch (t.op) {
      case Op::kPresent:
        return there;
      case Op::kAbsent:
        return !there;
      case Op::kNotEqual:
        return !there || v != t.texts[0];
      default:
        return there && std::find(t.texts.begin(), t.texts.end(), v) != t.texts.end();
    }
  }
  int64_t v = 0;
  if (!number_of(t.source, r, v)) return t.op == Op::kAbsent || t.op == Op::kNotEqual;
  return compare(v, t);
}

bool apply_filters(const std::vector<Filter>& filters, std::string_view& text) {
  for (const Filter& f : filters) {
    const std::string_view mark = f.mark;
    switch (f.cut) {
      case Cut::kSegment:
        for (unsigned i = 0; i < f.segment; ++i) {
          size_t at = text.find(mark);
          if (at == std::string_view::npos) return false;
          text.remove_prefix(at + mark.size());
        }
        text = text.substr(0, text.find(mark));
        break;
      // Nothing stands before what is not there; everything stands behind it.
      case Cut::kBefore:
      case Cut::kBeforeLast: {
        size_t at = f.cut == Cut::kBefore ? text.find(mark) : find_last(text, mark);
        if (at == std::string_view::npos) return false;
        text.remove_suffix(text.size() - at);
        break;
      }
      case Cut::kAfter:
      case Cut::kAfterLast: {
        size_t at = f.cut == Cut::kAfter ? text.find(mark) : find_last(text, mark);
        if (at != std::string_view::npos) text.remove_prefix(at + mark.size());
        break;
      }
    }
  }
  return true;
}

bool filtered_text(const Reference& reference, Reading& r, std::string_view& out) {
  return text_of(reference.source, r, out) && apply_filters(reference.filters, out);
}

std::string_view first_text(const References& references, Reading& r) {
  for (const Reference& reference : references) {
    std::string_view text;
    if (filtered_text(reference, r, text) && !text.empty()) return text;
  }
  return {};
}

}  // namespace dragoman::descriptor
