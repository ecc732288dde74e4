// Blocks: items that hold names and values. One walker for each kind; all of them go forward over the item's bytes
// and stop at its end.
#pragma once

#include <algorithm>

#include "protocols/descriptor/read.h"

namespace dragoman::descriptor {

using HeaderSink = void (*)(void* ctx, dragoman_bytes name, dragoman_bytes value);

/// Walks a block once and fills r.looked_up. False when it is not there or broken.
bool look_up(Reading& r, uint8_t block);
/// The same, and tells every header of the block. A broken block may have told some.
bool tell_headers(Reading& r, uint8_t block, HeaderSink sink, void* ctx);

/// Whether a header is the message's id: the host's own business.
inline bool is_id(const BlockPlan& plan, std::string_view name, uint32_t section) {
  if (plan.id_lookup == kNowhere) return false;
  const Lookup& id = plan.lookups[plan.id_lookup];
  return id.section == section && id.name == name;
}

/// One name and its value.
struct Pair {
  std::span<const uint8_t> whole;  // as it stands
  std::string_view name{};
  int64_t number = 0;  // names that are numbers
  std::string_view value{};
  int64_t value_number = 0;
  bool null = false;
  bool leaf = true;  // XML: no elements, comments or such in it
};

/// Bytes being walked.
struct Cursor {
  const uint8_t* p;
  size_t at = 0;
  size_t end;

  explicit Cursor(std::span<const uint8_t> bytes) : p(bytes.data()), end(bytes.size()) {}
  size_t left() const { return end - at; }
  bool number(const Number& n, uint64_t& out) {
    if (n.coding == Coding::kFixed) {
      if (left() < n.width) return false;
      out = load_fixed(p + at, n.width, n.big);
      if (n.is_signed) out = sign_extended(out, n.width);
      at += n.width;
      return true;
    }
    size_t need = 0;
    int used = load_number(n, p + at, left(), out, need);
    if (used <= 0) return false;
    at += static_cast<size_t>(used);
    return true;
  }
  bool bytes(uint64_t n, std::string_view& out) {
    if (n > left()) return false;
    out = {reinterpret_cast<const char*>(p) + at, static_cast<size_t>(n)};
    at += static_cast<size_t>(n);
    return true;
  }
  /// A text behind its length (-1 = null, when the length has a sign), or a number.
  bool term(const Term& t, std::string_view& text, int64_t& number_out, bool& null) {
    uint64_t v = 0;
    if (!number(t.number, v)) return false;
    number_out = static_cast<int64_t>(v);
    if (!t.text) return true;
    if (t.number.is_signed && number_out == -1) {
      null = true;
      return true;
    }
    return bytes(v, text);
  }
};

/// f(pair) for every pair: until the end, or as many as the count in front says. False when they are broken.
template <class F>
bool each_pair(Cursor& c, const Term& key, const Term& value, const Number* count, uint32_t pairs_max, F&& f) {
  uint64_t left = UINT64_MAX;
  if (count && !c.number(*count, left)) return false;
  for (uint32_t n = 0; count ? left > 0 : c.left() > 0; --left) {
    if (n++ == pairs_max) return false;
    Pair pair;
    size_t from = c.at;
    if (!c.term(key, pair.name, pair.number, pair.null) ||
        !c.term(value, pair.value, pair.value_number, pair.null))
      return false;
    pair.whole = {c.p + from, c.at - from};
    f(pair);
  }
  return true;
}

/// f(place, text) for every entry of a list, as each_pair(); nulls are left out.
template <class F>
bool each_entry(Cursor& c, const Term& entry, const Number* count, uint32_t entries_max, F&& f) {
  uint64_t left = UINT64_MAX;
  if (count && !c.number(*count, left)) return false;
  for (uint32_t n = 0; count ? left > 0 : c.left() > 0; --left, ++n) {
    std::string_view text;
    int64_t number = 0;
    bool null = false;
    if (n == entries_max || !c.term(entry, text, number, null)) return false;
    if (!null) f(n, text);
  }
  return true;
}

/// f(name, value) for texts behind lengths of one width, without a count: the most common kind of pairs. Those with a
/// null in them are left out.
template <class T, class F>
bool each_plain_pair(std::span<const uint8_t> bytes, bool null_allowed, uint32_t pairs_max, F&& f) {
  constexpr size_t kWidth = sizeof(T);
  const uint8_t* p = bytes.data();
  size_t left = bytes.size();
  // Of four bytes, a negative length is larger than any text anyway.
  const size_t most = kWidth < 4 && null_allowed ? static_cast<T>(-1) >> 1 : SIZE_MAX;
  for (; left > 0; --pairs_max) {
    if (pairs_max == 0) return false;
    bool null = false;
    std::string_view text[2];
    for (std::string_view& out : text) {
      if (left < kWidth) return false;
      size_t length = load_be<T>(p);
      p += kWidth;
      left -= kWidth;
      if (length > left || length > most) [[unlikely]] {
        if (!null_allowed || length != static_cast<T>(-1)) return false;
        null = true;
        continue;
      }
      out = {reinterpret_cast<const char*>(p), length};
      p += length;
      left -= length;
    }
    if (!null) f(text[0], text[1]);
  }
  return true;
}

/// f(pair) for every `name BETWEEN value AFTER`; the last AFTER may be missing, so may the last value.
template <class F>
bool each_text_pair(std::span<const uint8_t> bytes, std::string_view between, std::string_view after,
                    uint32_t pairs_max, F&& f) {
  std::string_view rest = as_text(bytes);
  for (uint32_t n = 0; !rest.empty();) {
    if (n++ == pairs_max) return false;
    Pair pair;
    std::string_view from = rest;
    size_t at = rest.find(between);
    pair.name = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + between.size());
    at = rest.find(after);
    pair.value = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + after.size());
    pair.whole = {reinterpret_cast<const uint8_t*>(from.data()), from.size() - rest.size()};
    f(pair);
  }
  return true;
}

/// f(place, word): `places` words, the last of which keeps what follows.
template <class F>
void each_word(std::span<const uint8_t> bytes, std::string_view by, unsigned places, F&& f) {
  std::string_view rest = as_text(bytes);
  for (unsigned i = 0; i < places; ++i) {
    size_t at = i + 1 < places ? rest.find(by) : std::string_view::npos;
    f(i, rest.substr(0, at));
    if (at == std::string_view::npos) return;
    rest.remove_prefix(at + by.size());
  }
}

inline bool is_xml_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/// Where the tag that `from` begins with ends: a `>` in the quotes of an attribute is none.
inline size_t xml_tag_end(std::string_view from) {
  char quote = 0;
  for (size_t i = 1; i < from.size(); ++i) {
    const char c = from[i];
    if (quote ? c == quote : c == '"' || c == '\'')
      quote = quote ? 0 : c;
    else if (!quote && c == '>')
      return i;
  }
  return std::string_view::npos;
}

/// f(pair) for every element; those with anything but text in them are told as no leaf, without value and whole. The text may begin or end inside elements. False when it is no
/// XML, declares a document type, or nests deeper than kXmlDepthMax.
template <class F>
bool each_element(std::span<const uint8_t> bytes, uint32_t pairs_max, F&& f) {
  std::string_view text = as_text(bytes);
  size_t depth = 0;
  uint32_t n = 0;
  for (size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at)) {
    std::string_view from = text.substr(at);
    auto skip_to = [&](std::string_view mark) {
      size_t end = text.find(mark, at);
      at = end == std::string_view::npos ? end : end + mark.size();
      return at != std::string_view::npos;
    };
    if (from.starts_with("<?")) {
      if (!skip_to("?>")) return false;
      continue;
    }
    if (from.starts_with("<!--")) {
      if (!skip_to("-->")) return false;
      continue;
    }
    if (from.starts_with("<![CDATA[")) {
      if (!skip_to("]]>")) return false;
      continue;
    }
    if (from.starts_with("<!")) return false;
    size_t close = xml_tag_end(from);
    if (close == std::string_view::npos || from.substr(1, close - 1).find('<') != from.npos) return false;
    if (from.starts_with("</")) {
      if (depth > 0) --depth;
      at += close + 1;
      continue;
    }
    size_t name_end = 1;
    while (name_end < close && !is_xml_space(from[name_end]) && from[name_end] != '/') ++name_end;
    if (name_end == 1 || (from[name_end] == '/' && name_end + 1 != close)) return false;
    Pair pair;
    pair.name = from.substr(1, name_end - 1);
    if (from[close - 1] == '/') {
      pair.value = from.substr(close + 1, 0);
      pair.whole = {reinterpret_cast<const uint8_t*>(from.data()), close + 1};
      if (n++ == pairs_max) return false;
      f(pair);
      at += close + 1;
      continue;
    }
    size_t next = from.find('<', close);
    if (next == std::string_view::npos) return false;
    std::string_view after = from.substr(next);
    if (after.starts_with("</") && after.substr(2).starts_with(pair.name) &&
        after.size() > 2 + pair.name.size() && after[2 + pair.name.size()] == '>') {
      pair.value = from.substr(close + 1, next - close - 1);
      size_t whole = next + 3 + pair.name.size();
      pair.whole = {reinterpret_cast<const uint8_t*>(from.data()), whole};
      if (n++ == pairs_max) return false;
      f(pair);
      at += whole;
      continue;
    }
    pair.leaf = false;
    if (n++ == pairs_max) return false;
    f(pair);
    if (++depth > kXmlDepthMax) return false;
    at += close + 1;
  }
  return true;
}

struct ProtobufField {
  uint32_t number = 0;
  uint8_t wire = 0;
  std::span<const uint8_t> whole;
  std::string_view value;  // wire type 2
  uint64_t varint = 0;     // wire type 0
  size_t value_at = 0;     // of the varint, or of the text
  size_t value_size = 0;
};

/// The next field of a message; false at its end (c.left() == 0) or when it is broken.
bool next_field(Cursor& c, ProtobufField& out);

/// f(section, cursor) for every section but padding; f returns false to refuse. False when they are broken.
template <class F>
bool each_section(const BlockPlan& plan, Cursor& c, F&& f) {
  while (c.left() > 0) {
    size_t from = c.at;
    uint64_t id = 0;
    if (!c.number(plan.section_id, id)) return false;
    auto it = std::find_if(plan.sections.begin(), plan.sections.end(),
                           [&](const Section& s) { return s.id == id; });
    if (it == plan.sections.end()) return false;
    if (it->kind == Section::Kind::kPad) continue;
    if (!f(static_cast<uint32_t>(it - plan.sections.begin()), *it, from)) return false;
  }
  return true;
}

}  // namespace dragoman::descriptor
