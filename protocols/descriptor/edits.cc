#include "protocols/descriptor/edits.h"

#include "protocols/descriptor/draft.h"
#include "protocols/head.h"

namespace dragoman::descriptor {
namespace {

std::string_view text_of(dragoman_bytes b) {
  return {reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len)};
}

/// Names compare without regard to ASCII case, like everywhere in the proxy.
struct Edits {
  std::span<const dragoman_edit> list;

  /// What comes before the last set or remove of a name is gone, original pairs included.
  bool replaced_after(std::string_view name, size_t i) const {
    for (; i < list.size(); ++i)
      if (list[i].op != DRAGOMAN_EDIT_ADD && equals_ignore_case(text_of(list[i].name), name)) return true;
    return false;
  }
  bool drops(std::string_view name) const { return replaced_after(name, 0); }
  bool any_on(std::string_view name) const {
    return std::any_of(list.begin(), list.end(),
                       [&](const auto& e) { return equals_ignore_case(text_of(e.name), name); });
  }
  /// f(name, value) for every pair to write; false when f is.
  template <class F>
  bool each_new(F&& f) const {
    for (size_t i = 0; i < list.size(); ++i) {
      std::string_view name = text_of(list[i].name);
      if (list[i].op == DRAGOMAN_EDIT_REMOVE || replaced_after(name, i + 1)) continue;
      if (!f(name, text_of(list[i].value))) return false;
    }
    return true;
  }
};

bool write_text_term(ByteWriter& out, const Term& term, std::string_view text) {
  if (!term.text || encoded_bytes(term.number, text.size()) == 0) return false;
  write_number(out, term.number, text.size());
  out.text(text);
  return true;
}

/// Pairs of one run, behind their count if they have one.
bool write_pairs(const Edits& edits, Cursor& c, const Term& key, const Term& value, const Number* count,
                 uint32_t pairs_max, bool add, ByteWriter& out) {
  uint64_t n = 0;
  Cursor first = c;
  bool right = each_pair(first, key, value, count, pairs_max, [&](const Pair& pair) { n += !edits.drops(pair.name); });
  if (!right) return false;
  if (add) edits.each_new([&](auto, auto) { return ++n, true; });
  if (n > pairs_max) return false;
  if (count) {
    if (encoded_bytes(*count, n) == 0) return false;
    write_number(out, *count, n);
  }
  each_pair(c, key, value, count, pairs_max, [&](const Pair& pair) {
    if (!edits.drops(pair.name)) out.bytes(pair.whole);
  });
  return !add || edits.each_new([&](std::string_view name, std::string_view text) {
    return write_text_term(out, key, name) && write_text_term(out, value, text);
  });
}

bool write_text_pairs(const Edits& edits, const BlockPlan& plan, std::span<const uint8_t> bytes,
                      uint32_t pairs_max, ByteWriter& out) {
  bool any = false;
  bool closed = as_text(bytes).ends_with(plan.after);  // the last pair has its end mark
  auto separate = [&] {
    if (any) out.text(plan.after);
    any = true;
  };
  bool right = each_text_pair(bytes, plan.between, plan.after, pairs_max, [&](const Pair& pair) {
    if (edits.drops(pair.name)) return;
    separate();
    std::string_view whole = as_text(pair.whole);
    if (whole.ends_with(plan.after)) whole.remove_suffix(plan.after.size());
    out.text(whole);
  });
  auto clean = [&](std::string_view t) {
    return t.find(plan.between) == std::string_view::npos && t.find(plan.after) == std::string_view::npos;
  };
  right = right && edits.each_new([&](std::string_view name, std::string_view text) {
    if (name.empty() || !clean(name) || text.find(plan.after) != std::string_view::npos) return false;
    separate();
    out.text(name);
    out.text(plan.between);
    out.text(text);
    return true;
  });
  if (any && closed) out.text(plan.after);
  return right;
}

bool is_xml_name(std::string_view name) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (name.empty() || !letter(name[0])) return false;
  return std::all_of(name.begin(), name.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

bool write_elements(const Edits& edits, std::span<const uint8_t> bytes, uint32_t pairs_max, ByteWriter& out) {
  const uint8_t* from = bytes.data();
  bool right = each_element(bytes, pairs_max, [&](const Pair& pair) {
    if (!pair.leaf || !edits.drops(pair.name)) return;
    out.bytes(from, static_cast<size_t>(pair.whole.data() - from));
    from = pair.whole.data() + pair.whole.size();
  });
  out.bytes(from, static_cast<size_t>(bytes.data() + bytes.size() - from));
  return right && edits.each_new([&](std::string_view name, std::string_view text) {
    if (!is_xml_name(name)) return false;
    out.u8('<');
    out.text(name);
    out.u8('>');
    write_xml_text(out, text);
    out.text("</");
    out.text(name);
    out.u8('>');
    return true;
  });
}

bool write_map(const Edits& edits, const BlockPlan& plan, std::span<const uint8_t> bytes, ByteWriter& out) {
  Cursor c(bytes);
  while (c.left() > 0) {
    ProtobufField field;
    if (!next_field(c, field)) return false;
    if (field.number == plan.map_field && field.wire == 2) {
      Cursor entry(std::span<const uint8_t>(c.p + field.value_at, field.value_size));
      std::string_view name;
      ProtobufField part;
      while (entry.left() > 0) {
        if (!next_field(entry, part)) return false;
        if (part.number == 1 && part.wire == 2) name = part.value;
      }
      if (edits.drops(name)) continue;
    }
    out.bytes(field.whole);
  }
  static constexpr Number kVarint{.coding = Coding::kVarint};
  return edits.each_new([&](std::string_view name, std::string_view text) {
    write_varint(out, uint64_t{plan.map_field} << 3 | 2);
    write_varint(out, 2 + encoded_bytes(kVarint, name.size()) + name.size() +
                          encoded_bytes(kVarint, text.size()) + text.size());
    out.u8(1 << 3 | 2);
    write_varint(out, name.size());
    out.text(name);
    out.u8(2 << 3 | 2);
    write_varint(out, text.size());
    out.text(text);
    return true;
  });
}

/// Padding is left out: the item's length pads again.
bool write_sections(const Edits& edits, const BlockPlan& plan, std::span<const uint8_t> bytes,
                    uint32_t pairs_max, ByteWriter& out) {
  Cursor c(bytes);
  bool added = false;
  bool right = each_section(plan, c, [&](uint32_t, const Section& s, size_t from) {
    if (s.headers) {
      write_number(out, plan.section_id, s.id);
      bool add = !added;
      added = true;
      return write_pairs(edits, c, s.key, s.value, &s.count, pairs_max, add, out);
    }
    if (s.kind == Section::Kind::kText) {
      std::string_view text;
      int64_t number = 0;
      bool null = false;
      if (!c.term(s.value, text, number, null)) return false;
    } else if (!each_pair(c, s.key, s.value, &s.count, pairs_max, [](const Pair&) {})) {
      return false;
    }
    out.bytes(c.p + from, c.at - from);
    return true;
  });
  if (!right || added) return right;
  auto headers = std::find_if(plan.sections.begin(), plan.sections.end(), [](const Section& s) { return s.headers; });
  uint64_t n = 0;
  edits.each_new([&](auto, auto) { return ++n, true; });
  if (n == 0) return true;
  if (n > pairs_max || encoded_bytes(headers->count, n) == 0) return false;
  write_number(out, plan.section_id, headers->id);
  write_number(out, headers->count, n);
  return edits.each_new([&](std::string_view name, std::string_view text) {
    return write_text_term(out, headers->key, name) && write_text_term(out, headers->value, text);
  });
}

}  // namespace

void write_varint(ByteWriter& out, uint64_t v) { write_number(out, {.coding = Coding::kVarint}, v); }

void write_xml_text(ByteWriter& out, std::string_view text) {
  for (char c : text) {
    if (c == '<')
      out.text("&lt;");
    else if (c == '>')
      out.text("&gt;");
    else if (c == '&')
      out.text("&amp;");
    else if (static_cast<uint8_t>(c) >= ' ' || c == '\t' || c == '\n')
      out.u8(static_cast<uint8_t>(c));
    else
      out.u8(' ');  // not allowed in XML at all
  }
}

bool write_edited(Reading& r, const BlockPlan& plan, std::span<const dragoman_edit> list, ByteWriter& out) {
  const Edits edits{list};
  if (plan.id_lookup != kNowhere && edits.any_on(plan.lookups[plan.id_lookup].name)) return false;
  auto bytes = r.content(plan.item);
  const uint32_t pairs_max = r.program->pairs_max;
  switch (plan.kind) {
    case Block::kPairs: {
      uint8_t none[20];
      if (plan.counted && bytes.empty()) {  // stands for a count of 0
        ByteWriter zero(none, sizeof none);
        write_number(zero, plan.count, 0);
        bytes = {none, zero.size()};
      }
      Cursor c(bytes);
      return write_pairs(edits, c, plan.key, plan.value, plan.counted ? &plan.count : nullptr, pairs_max, true, out);
    }
    case Block::kTextPairs:
      return write_text_pairs(edits, plan, bytes, pairs_max, out);
    case Block::kXml:
      return write_elements(edits, bytes, pairs_max, out);
    case Block::kProtobuf:
      return write_map(edits, plan, bytes, out);
    case Block::kSections:
      return write_sections(edits, plan, bytes, pairs_max, out);
    case Block::kSplit:
    case Block::kList:
    case Block::kNone:
      return false;
  }
  return false;
}

bool write_with_id(Reading& r, uint8_t block, uint8_t index, std::string_view text, uint64_t number,
                   ByteWriter& out) {
  const BlockPlan& plan = r.layout->blocks[block];
  auto bytes = r.content(plan.item);
  if (!look_up(r, block)) return false;
  bool there = r.found[block] >> index & 1;
  const LookedUp& v = r.looked_up[block][index];
  size_t at = there ? v.offset - static_cast<size_t>(bytes.data() - r.p) : bytes.size();
  size_t behind = there ? at + v.size : at;
  if (plan.kind == Block::kProtobuf) {
    // Others in front of the last one go.
    Cursor c(bytes.first(at));
    ProtobufField field;
    size_t kept = 0;
    while (there && next_field(c, field)) {
      const auto whole_at = static_cast<size_t>(field.whole.data() - bytes.data());
      if (field.number != plan.lookups[index].path[0]) continue;
      out.bytes(bytes.subspan(kept, whole_at - kept));
      kept = whole_at + field.whole.size();
    }
    out.bytes(bytes.subspan(kept, at - kept));
    if (!there) write_varint(out, uint64_t{plan.lookups[index].path[0]} << 3);
    write_varint(out, number);
    out.bytes(bytes.subspan(behind));
    return true;
  }
  if (!there) return false;
  if (plan.kind == Block::kPairs) {  // its length stands in front
    if (encoded_bytes(plan.value.number, text.size()) == 0) return false;
    out.bytes(bytes.first(at - plan.value.number.width));
    write_number(out, plan.value.number, text.size());
  } else {
    out.bytes(bytes.first(at));
  }
  out.text(text);
  out.bytes(bytes.subspan(behind));
  return true;
}

}  // namespace dragoman::descriptor
