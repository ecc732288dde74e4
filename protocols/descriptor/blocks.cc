#include "protocols/descriptor/blocks.h"

#include <bit>

#include "protocols/head.h"

namespace dragoman::descriptor {
namespace {

dragoman_bytes to_bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

constexpr Term kTextTerm{.number = {}, .text = true};

/// What a walk finds goes here.
struct Finder {
  Reading& r;
  const BlockPlan& plan;
  uint8_t block;
  HeaderSink sink;
  void* ctx;

  bool is_id_lookup(size_t index) const {
    const Source& id = r.layout->id;
    return id.from == From::kLookup && id.block == block && id.index == index;
  }
  /// Of two values some peers take the first and others the last. They must be the same, and an id, of which only one
  /// place is written anew, must be there once; but protobuf says that of two numbers the last one counts, proxies append
  /// ids because of that, and an id written anew leaves one.
  void keep(size_t index, std::string_view text, int64_t number) {
    LookedUp& v = r.looked_up[block][index];
    if ((r.found[block] >> index & 1) && !plan.lookups[index].is_map) {
      const bool same = v.size == text.size() && v.number == number &&
                        std::string_view(reinterpret_cast<const char*>(v.text), v.size) == text;
      const bool id = is_id_lookup(index);
      if (plan.kind == Block::kProtobuf ? !same && !id : !same || id) r.contradicts = true;
    }
    v.text = reinterpret_cast<const uint8_t*>(text.data());
    v.size = static_cast<uint32_t>(text.size());
    v.offset = static_cast<uint32_t>(v.text - r.p);
    v.number = number;
    r.found[block] |= 1u << index;
  }
  /// Keeps the value where the name is wanted.
  void named(std::string_view name, std::string_view value, int64_t number, uint32_t section) {
    for (uint32_t left = plan.by_length[std::min(name.size(), kLengthsMax)]; left; left &= left - 1) {
      auto i = static_cast<size_t>(std::countr_zero(left));
      const Lookup& l = plan.lookups[i];
      if (l.section == section && l.name == name) keep(i, value, number);
    }
  }
  void tell(std::string_view name, std::string_view value, uint32_t section) {
    if (!sink || name.empty() || is_id(plan, name, section)) return;
    sink(ctx, to_bytes(name), to_bytes(value));
  }
  /// An element, leaf or not: what a reader of XML could take for a wanted one and another would not.
  void element(const Pair& pair) {
    const size_t colon = pair.name.find(':');
    const bool prefixed = colon != std::string_view::npos;
    const std::string_view name = prefixed ? pair.name.substr(colon + 1) : pair.name;
    for (const Lookup& l : plan.lookups) {
      if (l.name != name && l.name != pair.name) continue;
      const std::string_view v = pair.value;
      const bool plain = pair.leaf && v.find('&') == v.npos &&
                         (v.empty() || !(is_xml_space(v.front()) || is_xml_space(v.back())));
      if (!plain || l.name != pair.name) r.contradicts = true;
    }
    if (pair.leaf) this->pair(pair, kTextTerm, true, 0, true);
  }
  void pair(const Pair& pair, const Term& key, bool value_is_text, uint32_t section, bool headers) {
    if (pair.null) return;
    // The id's name in another case: to some readers the id.
    if (key.text && plan.kind != Block::kXml && plan.id_lookup != kNowhere) {
      const Lookup& id = plan.lookups[plan.id_lookup];
      if (id.section == section && id.name != pair.name && equals_ignore_case(id.name, pair.name))
        r.contradicts = true;
    }
    const int64_t number = value_is_text ? 0 : pair.value_number;
    if (headers && (key.text || plan.kind != Block::kPairs)) tell(pair.name, pair.value, section);
    if (key.text) return named(pair.name, pair.value, number, section);
    for (size_t i = 0; i < plan.lookups.size(); ++i) {
      const Lookup& l = plan.lookups[i];
      if (l.section == section && l.number == pair.number) keep(i, pair.value, number);
    }
  }
};

bool walk_protobuf(Finder& f, std::span<const uint8_t> bytes) {
  struct Level {
    size_t end;
    uint32_t candidates;  // look-ups whose path leads here
  };
  Level levels[kPathMax];
  size_t depth = 0;
  uint32_t entered =
      0;  // look-ups whose message was there: of two, some readers make one and others take one
  Cursor c(bytes);
  const auto& lookups = f.plan.lookups;
  levels[0] = {bytes.size(), lookups.size() >= 32 ? UINT32_MAX : (1u << lookups.size()) - 1};
  uint32_t maps = 0;
  for (;;) {
    while (depth > 0 && c.at == levels[depth].end) c.end = levels[--depth].end;
    if (c.left() == 0) return true;
    ProtobufField field;
    if (!next_field(c, field)) return false;
    uint32_t inside = 0;
    for (uint32_t left = levels[depth].candidates; left; left &= left - 1) {
      auto i = static_cast<size_t>(std::countr_zero(left));
      const Lookup& l = lookups[i];
      if (l.path[depth] != field.number) continue;
      if (l.path_len > depth + 1) {
        if (field.wire != 2) f.r.contradicts = true;
        if (field.wire == 2) inside |= 1u << i;
        continue;
      }
      if (l.presence) {
        f.keep(i, {}, 1);
      } else if (l.is_number ? field.wire == 0 : field.wire == 2) {
        std::string_view at(reinterpret_cast<const char*>(c.p) + field.value_at, field.value_size);
        f.keep(i, at, static_cast<int64_t>(field.varint));
      } else if (!l.is_map) {
        f.r.contradicts = true;  // of another type than everybody expects
      }
    }
    if (depth == 0 && f.plan.map_field == field.number && f.plan.map_field != 0) {
      if (field.wire != 2 || ++maps > f.r.program->pairs_max) return false;
      Cursor entry(std::span<const uint8_t>(c.p + field.value_at, field.value_size));
      std::string_view name, value;
      while (entry.left() > 0) {
        ProtobufField part;
        if (!next_field(entry, part)) return false;
        if (part.wire == 2 && part.number == 1) name = part.value;
        if (part.wire == 2 && part.number == 2) value = part.value;
      }
      if (f.sink && !name.empty()) f.sink(f.ctx, to_bytes(name), to_bytes(value));
      continue;
    }
    if (inside && depth + 1 < kPathMax) {
      if (depth == 0 && (inside & entered)) f.r.contradicts = true;
      if (depth == 0) entered |= inside;
      levels[++depth] = {field.value_at + field.value_size, inside};
      c.at = field.value_at;
      c.end = levels[depth].end;
    }
  }
}

bool walk(Finder& f, std::span<const uint8_t> bytes) {
  const BlockPlan& plan = f.plan;
  const uint32_t pairs_max = f.r.program->pairs_max;
  switch (plan.kind) {
    case Block::kNone:
      return true;
    case Block::kPairs: {
      if (bytes.empty()) return true;  // there is no count either
      auto plain = [&](std::string_view name, std::string_view value) {
        f.tell(name, value, 0);
        f.named(name, value, 0, 0);
      };
      const bool nulls = plan.key.number.is_signed;
      if (plan.plain_width == 4) return each_plain_pair<uint32_t>(bytes, nulls, pairs_max, plain);
      if (plan.plain_width == 2) return each_plain_pair<uint16_t>(bytes, nulls, pairs_max, plain);
      auto each = [&](const Pair& pair) { f.pair(pair, plan.key, plan.value.text, 0, true); };
      Cursor c(bytes);
      return each_pair(c, plan.key, plan.value, plan.counted ? &plan.count : nullptr, pairs_max, each);
    }
    case Block::kTextPairs:
      return each_text_pair(bytes, plan.between, plan.after, pairs_max,
                            [&](const Pair& pair) { f.pair(pair, kTextTerm, true, 0, true); });
    case Block::kXml: return each_element(bytes, pairs_max, [&](const Pair& pair) { f.element(pair); });
    case Block::kSplit:
      each_word(bytes, plan.between, plan.words, [&](unsigned place, std::string_view word) {
        for (size_t i = 0; i < plan.lookups.size(); ++i)
          if (plan.lookups[i].number == place) f.keep(i, word, 0);
      });
      return true;
    case Block::kProtobuf:
      return walk_protobuf(f, bytes);
    case Block::kList: {
      Cursor c(bytes);
      return bytes.empty() || each_entry(c, plan.value, plan.counted ? &plan.count : nullptr, pairs_max,
                                         [&](uint32_t place, std::string_view text) {
                                           for (size_t i = 0; i < plan.lookups.size(); ++i) {
                                             const Lookup& l = plan.lookups[i];
                                             if (l.slot != kNowhere && !f.r.has(l.slot_item)) continue;
                                             if ((l.slot == kNowhere ? static_cast<uint64_t>(l.number)
                                                                     : f.r.slot[l.slot]) == place)
                                               f.keep(i, text, 0);
                                           }
                                         });
    }
    case Block::kSections: {
      Cursor c(bytes);
      return each_section(plan, c, [&](uint32_t index, const Section& s, size_t) {
        if (s.kind == Section::Kind::kText) {
          std::string_view text;
          int64_t number = 0;
          bool null = false;
          if (!c.term(s.value, text, number, null)) return false;
          for (size_t i = 0; i < plan.lookups.size(); ++i)
            if (plan.lookups[i].section == index && !null) f.keep(i, text, 0);
          return true;
        }
        auto each = [&](const Pair& pair) { f.pair(pair, s.key, s.value.text, index, s.headers); };
        return each_pair(c, s.key, s.value, &s.count, pairs_max, each);
      });
    }
  }
  return false;
}

bool run(Reading& r, uint8_t block, HeaderSink sink, void* ctx) {
  const BlockPlan& plan = r.layout->blocks[block];
  r.walked |= 1u << block;
  r.found[block] = 0;
  bool right = false;
  if (r.has(plan.item)) {
    // All of it must be there: a block is never read by halves.
    uint64_t end = uint64_t{r.offset_of(plan.item)} + r.size_of(plan.item);
    Finder finder{r, plan, block, sink, ctx};
    right = end <= r.n && walk(finder, r.content(plan.item)) && !r.contradicts;
  }
  if (!right) r.broken |= 1u << block;
  return right;
}

}  // namespace

bool next_field(Cursor& c, ProtobufField& out) {
  static constexpr Number kVarint{.coding = Coding::kVarint};
  size_t from = c.at;
  uint64_t tag = 0;
  if (c.left() == 0 || !c.number(kVarint, tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff) return false;
  out.number = static_cast<uint32_t>(tag >> 3);
  out.wire = tag & 7;
  out.value_at = c.at;
  switch (out.wire) {
    case 0:
      if (!c.number(kVarint, out.varint)) return false;
      out.value_size = c.at - out.value_at;
      break;
    case 1:
    case 5:
      if (!c.bytes(out.wire == 1 ? 8 : 4, out.value)) return false;
      out.value_size = out.value.size();
      break;
    case 2: {
      uint64_t size = 0;
      if (!c.number(kVarint, size)) return false;
      out.value_at = c.at;
      if (!c.bytes(size, out.value)) return false;
      out.value_size = out.value.size();
      break;
    }
    default:
      return false;
  }
  out.whole = {c.p + from, c.at - from};
  return true;
}

bool look_up(Reading& r, uint8_t block) {
  if (r.walked >> block & 1) return !(r.broken >> block & 1);
  return run(r, block, nullptr, nullptr);
}

bool tell_headers(Reading& r, uint8_t block, HeaderSink sink, void* ctx) { return run(r, block, sink, ctx); }

}  // namespace dragoman::descriptor
