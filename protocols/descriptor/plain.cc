#include "protocols/descriptor/plain.h"

#include <algorithm>
#include <bit>
#include <optional>

#include "protocols/descriptor/blocks.h"

namespace dragoman::descriptor {
namespace {

constexpr size_t kOpeningBytesMax = 64;  // openings look no further than this
constexpr size_t kOpeningsMax = 64;
constexpr int64_t kAlternativesMax = 16;  // of one test

uint64_t ones(unsigned bytes) { return bytes >= 8 ? UINT64_MAX : (uint64_t{1} << 8 * bytes) - 1; }

// ---------------------------------------------------------------- tests as bytes

/// A number as it stands in the first bytes of a frame.
struct Place {
  uint32_t at = 0;
  Number number{};
  uint64_t mask = 0;  // 0 = all
  uint8_t shift = 0;
};

/// Where a number of the fixed part is; nothing when it is none.
std::optional<Place> place_of(const Source& s, const Layout& l) {
  if (s.from == From::kAbsolute) return Place{s.offset, s.number, s.mask, s.shift};
  if (s.from != From::kSlot || s.offset >= l.fixed_items) return std::nullopt;
  const Item& item = l.items[s.offset];
  Place place{.at = static_cast<uint32_t>(item.fixed_at), .number = item.number};
  if (s.index < kItemsMax) return place;
  for (const Bits& b : l.bits) {
    if (b.slot != s.index) continue;
    place.mask = b.mask;
    place.shift = b.shift;
  }
  return place;
}

/// Some bits of the first bytes of a frame, and what they are.
struct Pattern {
  uint8_t mask[kOpeningBytesMax] = {};
  uint8_t value[kOpeningBytesMax] = {};
};

/// False when no frame can be so.
bool narrow(Pattern& p, uint32_t at, uint8_t mask, uint8_t value) {
  if (p.mask[at] & mask & (p.value[at] ^ value)) return false;
  p.mask[at] |= mask;
  p.value[at] |= value;
  return true;
}

bool narrow(Pattern& p, const Place& place, int64_t value) {
  const unsigned width = place.number.width;
  const uint64_t all = ones(width);
  uint64_t mask = all, bits = static_cast<uint64_t>(value);
  if (place.mask) {
    mask = place.mask;
    if (bits << place.shift >> place.shift != bits) return false;
    bits <<= place.shift;
  } else if (place.number.is_signed) {
    if (static_cast<int64_t>(sign_extended(bits & all, width)) != value) return false;
    bits &= all;
  }
  if (bits & ~mask) return false;
  for (unsigned i = 0; i < width; ++i) {
    unsigned up = 8 * (place.number.big ? width - 1 - i : i);
    if (!narrow(p, place.at + i, static_cast<uint8_t>(mask >> up), static_cast<uint8_t>(bits >> up)))
      return false;
  }
  return true;
}

/// What is left of `patterns` by a test. False when that can't be said in bits.
bool narrow_all(std::vector<Pattern>& patterns, const Test& t, const Layout& l) {
  std::vector<Pattern> left;
  if (t.text) {
    const Source& s = t.source;
    bool item = s.from == From::kItem && s.index < l.fixed_items && l.items[s.index].kind == ItemKind::kBytes;
    if (t.op != Op::kEqual || (s.from != From::kBytes && !item)) return false;
    const size_t at = item ? static_cast<size_t>(l.items[s.index].fixed_at) : s.offset;
    const size_t size = item ? l.items[s.index].size : s.size;
    if (at + size > kOpeningBytesMax) return false;
    for (Pattern p : patterns) {
      bool possible = t.texts[0].size() == size;
      for (size_t i = 0; possible && i < size; ++i)
        possible = narrow(p, static_cast<uint32_t>(at + i), 0xff, static_cast<uint8_t>(t.texts[0][i]));
      if (possible) left.push_back(p);
    }
  } else {
    auto place = place_of(t.source, l);
    if (!place || place->number.coding != Coding::kFixed ||
        place->at + place->number.width > kOpeningBytesMax)
      return false;
    std::vector<int64_t> values;
    if (t.op == Op::kEqual) {
      values = {t.low};
    } else if (t.op == Op::kIn) {
      values = t.numbers;
    } else if (t.op == Op::kRange && t.low >= 0 && t.high - t.low < kAlternativesMax) {
      for (int64_t v = t.low; v <= t.high; ++v) values.push_back(v);
    } else {
      return false;
    }
    if (values.size() > kAlternativesMax) return false;
    for (const Pattern& old : patterns) {
      for (int64_t v : values) {
        Pattern p = old;
        if (narrow(p, *place, v)) left.push_back(p);
      }
    }
  }
  if (left.size() > kOpeningsMax) return false;
  patterns = std::move(left);
  return true;
}

bool narrow_all(std::vector<Pattern>& patterns, const Tests& tests, const Layout& l) {
  return std::all_of(tests.begin(), tests.end(), [&](const Test& t) { return narrow_all(patterns, t, l); });
}

// ---------------------------------------------------------------- numbers as fields

Field field_of(const Place& place, const Layout& l) {
  const unsigned width = place.number.width;
  // The eight bytes must be in the fixed part.
  uint32_t at = std::min(place.at, l.fixed_bytes - 8);
  unsigned before = place.at - at, shift = 8 * (place.number.big ? 8 - before - width : before);
  Field f;
  f.at = static_cast<uint16_t>(at);
  f.big = place.number.big;
  f.shift = static_cast<uint8_t>(shift + place.shift);
  f.mask = (place.mask ? place.mask : ones(width)) >> place.shift;
  f.sign = place.number.is_signed && !place.mask ? uint64_t{1} << (8 * width - 1) : 0;
  return f;
}

/// A field that is left out, or stands in the fixed part. False when it is anywhere else.
bool read_field(const Source& s, const Layout& l, bool& there, Field& out) {
  there = s.from != From::kMissing;
  if (!there) return true;
  auto place = s.from == From::kSlot ? place_of(s, l) : std::nullopt;
  if (place) out = field_of(*place, l);
  return place.has_value();
}

bool is_quick(const Test& t) {
  return !t.text && t.op != Op::kPresent && t.op != Op::kAbsent && (t.op != Op::kIn || t.only_small);
}

QuickTest quick_of(const Test& t) {
  QuickTest quick;
  quick.op = t.op;
  quick.low = t.low;
  quick.high = t.high;
  quick.small = t.small;
  return quick;
}

/// A text that is found without looking at anything else. False when it is none; nothing is added for what this layout
/// does not have.
bool add_text(const Reference& reference, const Layout& l, std::vector<Plain::Text>& out) {
  const Source& s = reference.source;
  Plain::Text text;
  text.filters = reference.filters;
  switch (s.from) {
    case From::kMissing:
    case From::kSlot:  // a number is no text
      return true;
    case From::kBytes:
      text.at = s.offset;
      text.size = s.size;
      break;
    case From::kItem:
      if (s.index < l.fixed_items) {
        text.at = static_cast<uint32_t>(l.items[s.index].fixed_at);
        text.size = l.items[s.index].size;
        break;
      }
      text.kind = Plain::Text::Kind::kPart;
      text.index = static_cast<uint8_t>(s.index - l.fixed_items);
      break;
    case From::kLookup:
      if (s.block != l.headers_block || l.plain.headers == kNowhere) return false;
      text.kind = Plain::Text::Kind::kLookup;
      text.index = s.index;
      break;
    default: return false;
  }
  if (text.kind == Plain::Text::Kind::kFixed && text.at + text.size > l.fixed_bytes) return false;
  if (text.kind == Plain::Text::Kind::kPart && text.index >= l.plain.parts.size()) return false;
  out.push_back(std::move(text));
  return true;
}

bool add_texts(const References& references, const Layout& l, Plain::Texts& out) {
  for (const Reference& reference : references)
    if (!add_text(reference, l, out.list)) return false;
  for (; out.behind < out.list.size() && out.list[out.behind].kind == Plain::Text::Kind::kLookup;
       ++out.behind)
    out.lookups |= 1u << out.list[out.behind].index;
  return true;
}

void want_name(const Plain::Text& text, const Layout& l, Plain::Names& out) {
  if (text.kind != Plain::Text::Kind::kLookup) return;
  const std::string& name = l.blocks[l.headers_block].lookups[text.index].name;
  out[std::min(name.size(), kLengthsMax)] |= 1u << text.index;
}
void want_names(const std::vector<Plain::Condition>& conditions, const Layout& l, Plain::Names& out) {
  for (const Plain::Condition& c : conditions)
    if (c.is_text) want_name(c.text, l, out);
}
void want_names(const Plain::Texts& texts, const Layout& l, Plain::Names& out) {
  for (const Plain::Text& text : texts.list) want_name(text, l, out);
}

/// `never`: they can't all hold in this layout. False when they must be asked the long way.
bool add_conditions(const Tests& tests, const Layout& l, std::vector<Plain::Condition>& out, bool& never) {
  for (const Test& t : tests) {
    if (t.source.from == From::kMissing) {
      never = never || (t.op != Op::kAbsent && t.op != Op::kNotEqual);
      continue;
    }
    Plain::Condition c;
    c.is_text = t.text;
    c.op = t.op;
    if (t.text) {
      std::vector<Plain::Text> texts;
      if (!add_text({.source = t.source}, l, texts) || texts.empty()) return false;
      c.text = std::move(texts[0]);
      c.texts = t.texts;
    } else {
      auto place = place_of(t.source, l);
      if (!place || !is_quick(t) || place->number.coding != Coding::kFixed ||
          place->at + place->number.width > l.fixed_bytes)
        return false;
      c.number = {field_of(*place, l), quick_of(t)};
    }
    out.push_back(std::move(c));
  }
  return true;
}

/// What view() and outcome() want of a layout that is plain.
bool make_views(const Program& g, Layout& l) {
  Plain& plain = l.plain;
  if (plain.parts.size() > kPartsMax) return false;
  if (l.headers_block != kNowhere) {
    if (l.blocks[l.headers_block].plain_width == 0) return false;
    plain.headers = static_cast<uint8_t>(l.headers_item - l.fixed_items);
    if (plain.headers >= plain.parts.size()) return false;
  }
  bool no_headers = false;
  if (!add_conditions(l.headers_when, l, plain.headers_when, no_headers) ||
      !add_texts(l.service, l, plain.service) || !add_texts(l.method, l, plain.method))
    return false;
  plain.attributes.resize(l.attributes.size());
  for (size_t i = 0; i < l.attributes.size(); ++i)
    if (!add_texts(l.attributes[i], l, plain.attributes[i])) return false;
  for (const OutcomeRule& rule : l.outcome_rules) {
    Plain::Rule plain_rule{rule.outcome, {}};
    bool never = false;
    if (!add_conditions(rule.when, l, plain_rule.when, never)) return false;
    if (!never) plain.rules.push_back(std::move(plain_rule));
  }
  plain.same.resize(l.same.size());
  for (size_t i = 0; i < l.same.size(); ++i)
    if (!add_texts(l.same[i], l, plain.same[i])) return false;
  want_names(plain.headers_when, l, plain.view_names);
  want_names(plain.service, l, plain.view_names);
  want_names(plain.method, l, plain.view_names);
  for (const Plain::Texts& texts : plain.attributes) want_names(texts, l, plain.view_names);
  for (const Plain::Texts& texts : plain.same) want_names(texts, l, plain.view_names);
  for (const Plain::Rule& rule : plain.rules) want_names(rule.when, l, plain.rule_names);
  // What somebody wants must not be there twice, whoever asks.
  if (l.headers_block != kNowhere)
    for (size_t i = 0; i <= kLengthsMax; ++i)
      plain.view_names[i] = plain.rule_names[i] = l.blocks[l.headers_block].by_length[i];
  if (no_headers) plain.headers = kNowhere;  // only now: look-ups named them
  return true;
}

/// All of `l.plain` but its checks.
bool make_plain(const Program& g, Layout& l) {
  Plain& plain = l.plain;
  if (!l.simple || l.fixed_bytes < 8 || !l.late_checks.empty() || l.whole_head || !l.fixed_kinds ||
      g.status_is_text)
    return false;
  for (const Step& step : l.steps) {
    Source s{.from = From::kSlot, .index = step.slot};
    s.offset = step.slot < kItemsMax ? step.slot : l.bits[step.slot - kItemsMax].of;
    auto place = place_of(s, l);
    if (!place) return false;
    Plain::Part part{field_of(*place, l), step.max};
    if (step.item == l.body_item) {
      plain.has_body = true;
      plain.body = part;
    } else {
      plain.parts.push_back(part);
    }
  }
  if (!read_field(l.id, l, plain.has_id, plain.id) ||
      !read_field(l.status, l, plain.has_status, plain.status) ||
      !read_field(l.timeout, l, plain.has_timeout, plain.timeout))
    return false;
  if (plain.has_id != (l.id_type != DRAGOMAN_ID_NONE)) return false;
  if (plain.has_id) {
    if (l.id.index >= kItemsMax) return false;
    const Item& item = l.items[l.id.index];
    plain.id.sign = 0;  // an id has none
    plain.id_offset = static_cast<uint32_t>(item.fixed_at);
    plain.id_len = item.number.width;
  }
  plain.views = make_views(g, l);
  return true;
}

// ---------------------------------------------------------------- openings

/// An opening before it is known which eight bytes they all look at.
struct Candidate {
  Pattern pattern;
  uint8_t layout;
  bool plain;
  uint32_t kind;
};

/// The openings of all layouts, in the order in which the tests are asked, as far as bits can say them: what no opening
/// takes is asked the long way, so nothing may come behind a test that can't be said.
std::vector<Candidate> find_openings(const Program& g) {
  std::vector<Candidate> all;
  std::vector<Pattern> matched(1);
  if (!narrow_all(matched, g.match, g.layouts[0])) return all;
  for (size_t i = 0; i < g.layouts.size(); ++i) {
    const Layout& l = g.layouts[i];
    std::vector<Pattern> here = matched;
    if (!narrow_all(here, l.when, l)) return all;
    auto add = [&](const std::vector<Pattern>& patterns, bool plain, uint32_t kind) {
      for (const Pattern& p : patterns) all.push_back({p, static_cast<uint8_t>(i), plain, kind});
    };
    for (const Kind& k : l.kinds) {
      std::vector<Pattern> patterns = here;
      if (!l.plain.yes || !narrow_all(patterns, k.when, l)) break;
      add(patterns, k.verdict == DRAGOMAN_FRAME, k.kind);
    }
    add(here, false, 0);  // whatever else this layout takes
    if (all.size() > kOpeningsMax) return {};
  }
  return all;
}

/// Requests and answers first, as far as no frame fits what they are put in front of.
void put_frequent_first(std::vector<Opening>& openings) {
  auto rank = [](const Opening& o) {
    return o.plain && o.kind == DRAGOMAN_REQUEST ? 0 : o.plain && o.kind == DRAGOMAN_RESPONSE ? 1 : 2;
  };
  auto apart = [](const Opening& a, const Opening& b) {
    return (a.mask & b.mask & (a.value ^ b.value)) != 0;
  };
  for (size_t i = 1; i < openings.size(); ++i)
    for (size_t k = i;
         k > 0 && rank(openings[k]) < rank(openings[k - 1]) && apart(openings[k], openings[k - 1]); --k)
      std::swap(openings[k], openings[k - 1]);
}

uint64_t eight(const uint8_t* bytes, size_t at) {
  uint8_t out[8] = {};
  for (size_t i = 0; i < 8 && at + i < kOpeningBytesMax; ++i) out[i] = bytes[at + i];
  return load_be<uint64_t>(out);
}

}  // namespace

void find_plain(Program& g) {
  for (Layout& l : g.layouts) {
    l.plain = {};
    l.plain.yes = make_plain(g, l);
    for (const Check& c : l.checks)
      l.plain.yes = l.plain.yes && (is_quick(c.test) || c.test.op == Op::kEqual);
  }
  std::vector<Candidate> candidates = find_openings(g);
  size_t first = kOpeningBytesMax, last = 0;
  for (const Candidate& d : candidates) {
    for (size_t i = 0; i < kOpeningBytesMax; ++i) {
      if (!d.pattern.mask[i]) continue;
      first = std::min(first, i);
      last = std::max(last, i);
    }
  }
  if (candidates.empty() || first > last || last - first >= 8) return;
  // Checks on the same eight bytes come with the opening, the others one by one.
  std::vector<Pattern> checks(g.layouts.size());
  for (size_t i = 0; i < g.layouts.size(); ++i) {
    Layout& l = g.layouts[i];
    for (const Check& c : l.checks) {
      if (!l.plain.yes) break;
      std::vector<Pattern> narrowed = {checks[i]};
      bool inside = narrow_all(narrowed, c.test, l) && narrowed.size() == 1;
      for (size_t k = 0; inside && k < kOpeningBytesMax; ++k)
        inside = !narrowed[0].mask[k] || (k >= first && k < first + 8);
      auto place = place_of(c.test.source, l);
      if (inside)
        checks[i] = narrowed[0];
      else if (place && is_quick(c.test) && place->at + place->number.width <= l.fixed_bytes)
        l.plain.checks.push_back({field_of(*place, l), quick_of(c.test)});
      else
        l.plain.yes = false;
    }
  }
  g.opening_at = static_cast<uint32_t>(first);
  for (const Candidate& d : candidates) {
    const Pattern& check = checks[d.layout];
    g.openings.push_back({.mask = eight(d.pattern.mask, first),
                          .value = eight(d.pattern.value, first),
                          .check_mask = eight(check.mask, first),
                          .check_value = eight(check.value, first),
                          .layout = d.layout,
                          .plain = d.plain && g.layouts[d.layout].plain.yes,
                          .kind = d.kind});
  }
  put_frequent_first(g.openings);
}

[[gnu::flatten]] bool probe_plain(const Program& g, const uint8_t* p, size_t n, dragoman_frame& f) {
  const Opening* opening = opening_of(g, p, n);
  if (!opening) return false;
  const Layout& l = g.layouts[opening->layout];
  const Plain& plain = l.plain;
  if (n < l.fixed_bytes) return false;
  for (const Plain::Check& c : plain.checks)
    if (!c.test.holds(c.field.of(p))) return false;
  uint64_t head = l.fixed_bytes;
  for (const Plain::Part& part : plain.parts) {
    auto length = static_cast<uint64_t>(part.length.of(p));  // less than zero: over any limit
    if (length > part.max) return false;
    head += length;
  }
  uint64_t total = head;
  if (plain.has_body) {
    auto length = static_cast<uint64_t>(plain.body.length.of(p));
    if (length > plain.body.max) return false;
    total += length;
  }
  if (head > g.head_bytes_max || total > g.frame_bytes_max) return false;
  f.kind = opening->kind;
  f.total_len = total;
  f.head_len = static_cast<uint32_t>(head);
  if (plain.has_id) {
    f.id_type = l.id_type;
    f.id_offset = plain.id_offset;
    f.id_len = plain.id_len;
    f.id = static_cast<uint64_t>(plain.id.of(p));
  }
  if (is_request(f.kind)) {
    if (plain.has_timeout) f.timeout_ms = timeout_ms(g, plain.timeout.of(p));
  } else if (f.kind == DRAGOMAN_RESPONSE && plain.has_status) {
    f.status = static_cast<int32_t>(plain.status.of(p));
  }
  return true;
}

namespace {

/// Whether `n` bytes are the same. Names are short: a call costs more than comparing them, in words that overlap.
inline bool same_bytes(const void* left, const void* right, size_t n) {
  auto *a = static_cast<const uint8_t*>(left), *b = static_cast<const uint8_t*>(right);
  auto differ = [&](size_t at) { return load_le<uint64_t>(a + at) ^ load_le<uint64_t>(b + at); };
  if (n > 32) return std::memcmp(a, b, n) == 0;
  if (n > 16) return (differ(0) | differ(8) | differ(n - 16) | differ(n - 8)) == 0;
  if (n >= 8) return (differ(0) | differ(n - 8)) == 0;
  if (n >= 4)
    return load_le<uint32_t>(a) == load_le<uint32_t>(b) &&
           load_le<uint32_t>(a + n - 4) == load_le<uint32_t>(b + n - 4);
  for (size_t i = 0; i < n; ++i)
    if (a[i] != b[i]) return false;
  return true;
}
inline bool same_text(std::string_view a, std::string_view b) {
  return a.size() == b.size() && same_bytes(a.data(), b.data(), a.size());
}

/// One head, on the short way.
class Head {
 public:
  /// False: take the long way.
  bool find(const Program& g, const uint8_t* p, size_t n) {
    const Opening* opening = opening_of(g, p, n);
    if (!opening) return false;
    layout_ = &g.layouts[opening->layout];
    kind_ = opening->kind;
    const Plain& plain = layout_->plain;
    uint64_t at = layout_->fixed_bytes;
    if (!plain.views || n < at) return false;
    uint32_t i = 0;
    for (const Plain::Part& part : plain.parts) {
      auto length = static_cast<uint64_t>(part.length.of(p));
      if (length > n - at) return false;
      at_[i] = static_cast<uint32_t>(at);
      size_[i++] = static_cast<uint32_t>(length);
      at += length;
    }
    p_ = p;
    return true;
  }
  const Layout& layout() const { return *layout_; }
  uint32_t kind() const { return kind_; }
  const Plain& plain() const { return layout_->plain; }

  /// False when they are broken; no name is found then.
  bool walk_headers(const Plain::Names& names, uint32_t pairs_max, HeaderSink sink, void* ctx) {
    walked_ = true;
    found_ = 0;
    const BlockPlan& plan = layout_->blocks[layout_->headers_block];
    std::span<const uint8_t> bytes(p_ + at_[plain().headers], size_[plain().headers]);
    auto each = [&](std::string_view name, std::string_view value) {
      if (sink && !name.empty()) sink(ctx, to_bytes(name), to_bytes(value));
      uint32_t wanted = names[name.size() < kLengthsMax ? name.size() : kLengthsMax];
      for (; wanted; wanted &= wanted - 1) {
        auto i = static_cast<size_t>(std::countr_zero(wanted));
        if (!same_text(plan.lookups[i].name, name)) continue;
        if ((found_ >> i & 1) && !same_text(value_[i], value)) contradicts_ = true;
        found_ |= 1u << i;
        value_[i] = value;
      }
    };
    const bool nulls = plan.key.number.is_signed;
    bool right = plan.plain_width == 4 ? each_plain_pair<uint32_t>(bytes, nulls, pairs_max, each)
                                       : each_plain_pair<uint16_t>(bytes, nulls, pairs_max, each);
    if (!right || contradicts_) found_ = 0;
    return right && !contradicts_;
  }
  bool contradicts() const { return contradicts_; }
  void no_headers() {
    walked_ = true;
    found_ = 0;
  }

  /// Those of the headers only when they were walked.
  bool text(const Plain::Text& t, std::string_view& out) const {
    switch (t.kind) {
      case Plain::Text::Kind::kLookup:
        if (!(found_ >> t.index & 1)) return false;
        out = value_[t.index];
        break;
      case Plain::Text::Kind::kPart:
        out = {reinterpret_cast<const char*>(p_) + at_[t.index], size_[t.index]};
        break;
      case Plain::Text::Kind::kFixed: out = {reinterpret_cast<const char*>(p_) + t.at, t.size}; break;
    }
    return t.filters.empty() || apply_filters(t.filters, out);
  }
  std::string_view first(const Plain::Texts& texts) const {
    for (size_t i = found_ & texts.lookups ? 0 : texts.behind; i < texts.list.size(); ++i) {
      std::string_view out;
      if (text(texts.list[i], out) && !out.empty()) return out;
    }
    return {};
  }
  // A pair with nothing in it says nothing. An item that is there says what it has, which may be nothing.
  bool all_same(const Plain::Texts& texts) const {
    std::optional<std::string_view> seen;
    for (const Plain::Text& one : texts.list) {
      std::string_view out;
      if (!text(one, out) || (out.empty() && one.kind == Plain::Text::Kind::kLookup)) continue;
      if (!same_text(seen.value_or(out), out)) return false;
      seen = out;
    }
    return true;
  }
  bool holds(const Plain::Condition& c, const Plain::Names& names, uint32_t pairs_max) {
    if (!c.is_text) return c.number.test.holds(c.number.field.of(p_));
    if (c.text.kind == Plain::Text::Kind::kLookup && !walked_)
      walk_headers(names, pairs_max, nullptr, nullptr);
    std::string_view v;
    bool there = text(c.text, v);
    if (c.op == Op::kPresent) return there;
    if (c.op == Op::kAbsent) return !there;
    if (!there) return c.op == Op::kNotEqual;
    if (c.op == Op::kNotEqual) return !same_text(c.texts[0], v);
    for (const std::string& one : c.texts)
      if (same_text(one, v)) return true;
    return false;
  }
  bool all_hold(const std::vector<Plain::Condition>& conditions, const Plain::Names& names,
                uint32_t pairs_max) {
    for (const Plain::Condition& c : conditions)
      if (!holds(c, names, pairs_max)) return false;
    return true;
  }

 private:
  static dragoman_bytes to_bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  }

  const Layout* layout_;
  const uint8_t* p_;
  uint32_t kind_;
  bool walked_ = false;
  bool contradicts_ = false;  // a name that is wanted has two values
  uint32_t found_ = 0;  // bit set of value_
  uint32_t at_[kPartsMax];
  uint32_t size_[kPartsMax];
  union {  // not cleared: found_ says which are there
    std::string_view value_[kLookupsMax];
  };

 public:
  Head() {}
};

}  // namespace

[[gnu::flatten]] bool view_plain(const Program& g, const uint8_t* p, size_t n, uint32_t want,
                                 dragoman_view& out, int& result) {
  Head head;
  if (!head.find(g, p, n)) return false;
  const Layout& l = head.layout();
  const Plain& plain = l.plain;
  bool opaque = true;
  if (plain.headers != kNowhere && head.all_hold(plain.headers_when, plain.view_names, g.pairs_max)) {
    bool right = head.walk_headers(plain.view_names, g.pairs_max,
                                   want & DRAGOMAN_WANT_HEADERS ? out.header : nullptr, out.ctx);
    if (!right && (!l.headers_broken_opaque || head.contradicts())) {
      result = -1;
      return true;
    }
    opaque = !right;
  }
  if (head.contradicts()) {
    result = -1;
    return true;
  }
  if (opaque) {
    out.flags |= opaque_flag(g);
    head.no_headers();
  }
  auto bytes = [](std::string_view text) {
    return dragoman_bytes{reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  };
  if (want & DRAGOMAN_WANT_SERVICE) out.service = bytes(head.first(plain.service));
  if (want & DRAGOMAN_WANT_METHOD) out.method = bytes(head.first(plain.method));
  if ((want & DRAGOMAN_WANT_HEADERS) && out.attribute) {
    for (size_t i = 0; i < plain.attributes.size(); ++i) {
      std::string_view value = head.first(plain.attributes[i]);
      if (!value.empty()) out.attribute(out.ctx, static_cast<uint32_t>(i), bytes(value));
    }
  }
  if (is_request(head.kind()))
    for (const Plain::Texts& texts : plain.same)
      if (!head.all_same(texts)) result = -1;
  return true;
}

[[gnu::flatten]] bool rules_plain(const Program& g, const uint8_t* p, size_t n, bool& found,
                                  uint32_t& outcome) {
  Head head;
  if (!head.find(g, p, n)) return false;
  for (const Plain::Rule& rule : head.plain().rules) {
    if (!head.all_hold(rule.when, head.plain().rule_names, g.pairs_max)) continue;
    found = true;
    outcome = rule.outcome;
    break;
  }
  return !head.contradicts();
}

}  // namespace dragoman::descriptor
