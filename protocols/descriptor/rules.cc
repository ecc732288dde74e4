#include <algorithm>

#include "protocols/descriptor/build.h"
#include "protocols/descriptor/compiler.h"
#include "protocols/descriptor/keys.h"
#include "protocols/descriptor/plain.h"
#include "protocols/descriptor/run.h"

namespace dragoman::descriptor {
namespace {

/// Whether a value is known before the head is complete.
bool early(const Source& s, const Layout& l) {
  switch (s.from) {
    case From::kLookup:
      return false;
    case From::kItem:
      return s.index < l.fixed_items;
    default:
      return true;
  }
}
/// Whether it stands in the fixed part.
bool fixed(const Source& s, const Layout& l) {
  return s.from == From::kSlot ? s.offset < l.fixed_items : early(s, l);
}
template <bool (*F)(const Source&, const Layout&)>
bool all(const Tests& tests, const Layout& l) {
  return std::all_of(tests.begin(), tests.end(), [&](const Test& t) { return F(t.source, l); });
}

constexpr uint32_t kVarintIdBits = 31;

/// Bytes of the numbers an encoded id can be.
uint32_t id_bytes(const Number& n) {
  unsigned digits = n.width;
  switch (n.coding) {
    case Coding::kFixed:
      return n.width >= 8 ? 8 : n.width >= 4 ? 4 : n.width >= 2 ? 2 : 1;
    case Coding::kVarint:
    case Coding::kZigzag:
      return 8;
    case Coding::kDecimal:
      return digits >= 10 ? 4 : digits >= 5 ? 2 : 1;
    case Coding::kHex:
      return digits >= 16 ? 8 : digits >= 8 ? 4 : digits >= 4 ? 2 : 1;
  }
  return 1;
}

}  // namespace

void Compiler::read_kinds(const Node& node, const Place& place) {
  static constexpr std::string_view kKinds[] = {"request",   "oneway",          "response",
                                                "heartbeat", "heartbeat_reply", "goaway"};
  if (!is_list(node, place)) return;
  if (node.items.empty() || node.items.size() > 32) fault(node, place, "1 to 32 kinds are expected");
  for (size_t i = 0; i < node.items.size(); ++i) {
    const Node& row = node.items[i];
    Place at = item_of(place, i, row);
    if (!check_keys(row, at, "kind")) continue;
    const Node &is = *row.find("is"), *when = row.find("when"), *refuse = row.find("refuse");
    Kind kind;
    kind.kind = DRAGOMAN_REQUEST + read_word(is, {.parent = &at, .key = "is", .pos = is.pos}, "kind", kKinds);
    if (refuse) {
      static constexpr std::string_view kWords[] = {"unsupported", "malformed"};
      kind.verdict = read_word(*refuse, {.parent = &at, .key = "refuse", .pos = refuse->pos}, "verdict", kWords) == 0
                         ? DRAGOMAN_UNSUPPORTED
                         : DRAGOMAN_MALFORMED;
      kind.why = g_.name + ": such frames are refused (kind[" + std::to_string(i) + "])";
    }
    if (!when && i + 1 < node.items.size())
      fault(row, at, "a kind without when takes every frame: those behind it are never reached");
    Place when_at{.parent = &at, .key = "when", .pos = when ? when->pos : row.pos};
    auto tests = read_tests(when, when_at);
    for (size_t l = 0; l < g_.layouts.size(); ++l) {
      // Where a tested number can't be, the kind can't be either.
      bool never = std::any_of(tests[l].begin(), tests[l].end(), [](const Test& t) {
        return t.source.from == From::kMissing && t.op != Op::kAbsent && t.op != Op::kNotEqual;
      });
      if (never) continue;
      Kind copy = kind;
      copy.when = tests[l];
      g_.layouts[l].kinds.push_back(std::move(copy));
    }
  }
}

void Compiler::read_id(const Node& node, const Place& place) {
  const Node* from = &node;
  Place from_at = place;
  const Node* also = nullptr;
  const Node* width = nullptr;
  if (node.is_map()) {
    if (!check_keys(node, place, "id")) return;
    width = node.find("bits");
    from = node.find("from");
    from_at = {.parent = &place, .key = "from", .pos = from->pos};
    also = node.find("also");
  }
  if (!is_scalar(*from, from_at)) return;
  SyntaxFault f;
  auto reference = parse_reference(from->text, f);
  if (!reference) return fault(*from, from_at, f.message, f.at);
  if (!reference->filters.empty()) return fault(*from, from_at, "an id is taken as it stands, without filters");
  auto sources = resolve_everywhere(reference->path, *from, from_at);
  std::vector<Path> others;
  if (also) {
    Place at{.parent = &place, .key = "also", .pos = also->pos};
    if (!is_list(*also, at)) return;
    for (size_t i = 0; i < also->items.size(); ++i) {
      const Node& item = also->items[i];
      Place item_at = item_of(at, i, item);
      if (!is_scalar(item, item_at)) continue;
      auto other = parse_reference(item.text, f);
      if (!other) {
        fault(item, item_at, f.message, f.at);
        continue;
      }
      auto found = resolve_everywhere(other->path, item, item_at);
      for (size_t l = 0; l < g_.layouts.size(); ++l) {
        if (found[l].from == From::kMissing) continue;
        if (found[l].from != From::kSlot || found[l].index >= kItemsMax)
          fault(item, item_at, "a number item is expected");
        else
          g_.layouts[l].also.push_back(found[l]);
      }
    }
  }
  uint32_t type = DRAGOMAN_ID_NONE;
  for (size_t i = 0; i < g_.layouts.size(); ++i) {
    Layout& l = g_.layouts[i];
    const Source& s = sources[i];
    if (s.from == From::kMissing) continue;
    uint32_t mine = DRAGOMAN_ID_BYTES, bytes = 0;
    if (s.from == From::kSlot) {
      if (s.index >= kItemsMax) return fault(*from, from_at, "an id is a whole number, not a part of one");
      const Number& n = l.items[s.index].number;
      bool plain = n.coding == Coding::kFixed && l.also.empty() &&
                   (n.width == 1 || n.width == 2 || n.width == 4 || n.width == 8);
      mine = !plain ? DRAGOMAN_ID_CODED : n.big ? DRAGOMAN_ID_BE : DRAGOMAN_ID_LE;
      bytes = id_bytes(n);
      if (l.items[s.index].has_value) return fault(*from, from_at, "an id can't be a constant");
    } else if (s.from == From::kItem) {
      const Item& item = l.items[s.index];
      if (item.kind == ItemKind::kBytes && item.size < 16)
        return fault(*from, from_at, "a text id of fixed size needs 16 bytes: the proxy writes 16 hexadecimal digits");
    } else {
      const BlockPlan& plan = l.blocks[s.block];
      const Lookup& wanted = plan.lookups[s.index];
      if (plan.kind == Block::kProtobuf) {
        if (!wanted.is_number || wanted.presence || wanted.path_len != 1)
          return fault(*from, from_at, "a protobuf id is an int field of the message itself");
        mine = DRAGOMAN_ID_CODED;
        bytes = 8;
      } else if (plan.kind == Block::kSections || plan.kind == Block::kList) {
        return fault(*from, from_at, "an id can't be in a section or a list");
      } else if (plan.kind == Block::kPairs) {
        if (wanted.is_number || !plan.value.text || plan.value.number.coding != Coding::kFixed)
          return fault(*from, from_at, "an id in pairs is a text behind a length of fixed width");
      }
      const Item& item = l.items[plan.item];
      if (item.kind == ItemKind::kLength && item.length.owner == kNowhere)
        return fault(*from, from_at, "the length of \"" + item.name + "\" can't be changed, so neither can an id in it");
    }
    if (type != DRAGOMAN_ID_NONE && (type != mine || g_.id_len != bytes))
      return fault(*from, from_at, "the id has another type in layout \"" + l.name + "\"");
    type = mine;
    g_.id_len = bytes;
    l.id = s;
    l.id_type = mine;
    // On the wire there is room for 64 bits, in the peers often for 32 only, with a sign.
    const Coding coding = s.from == From::kSlot ? l.items[s.index].number.coding : Coding::kVarint;
    if (mine == DRAGOMAN_ID_CODED && (coding == Coding::kVarint || coding == Coding::kZigzag))
      g_.id_bits = kVarintIdBits;
  }
  if (!width) return;
  const Place width_at{.parent = &place, .key = "bits", .pos = width->pos};
  if (g_.id_len == 0) return fault(*width, width_at, "bits are those of a number, and this id is a text");
  if (auto bits = read_integer(*width, width_at, 8, 8 * int64_t{g_.id_len}))
    g_.id_bits = static_cast<uint32_t>(*bits);
}

void Compiler::read_status(const Node& node, const Place& place) {
  if (!check_keys(node, place, "status")) return;
  auto at = [&](const Node& n, std::string_view key) { return Place{.parent = &place, .key = key, .pos = n.pos}; };
  const Node *from = node.find("from"), *absent = node.find("absent"), *outcome = node.find("outcome"),
             *other = node.find("other"), *rules = node.find("rules"), *reply = node.find("reply");
  if (from && is_scalar(*from, at(*from, "from"))) {
    SyntaxFault f;
    Place from_at = at(*from, "from");
    auto reference = parse_reference(from->text, f);
    if (!reference) {
      fault(*from, from_at, f.message, f.at);
    } else if (!reference->filters.empty()) {
      fault(*from, from_at, "a status is taken as it stands, without filters");
    } else {
      auto sources = resolve_everywhere(reference->path, *from, from_at);
      for (size_t i = 0; i < g_.layouts.size(); ++i) g_.layouts[i].status = sources[i];
    }
    if (!outcome) fault(node, place, "the key \"outcome\" is missing: what do the statuses mean?");
  } else if (!rules && !from) {
    fault(node, place, "from or rules is expected");
  }
  if (absent)
    if (auto v = read_integer(*absent, at(*absent, "absent"), INT32_MIN, INT32_MAX)) g_.absent = *v;
  if (other) g_.other_outcome = read_word(*other, at(*other, "other"), "outcome", kOutcomes);
  if (outcome && is_map(*outcome, at(*outcome, "outcome"))) {
    Place outcome_at = at(*outcome, "outcome");
    if (outcome->members.empty() || outcome->members.size() > 256) fault(*outcome, outcome_at, "1 to 256 statuses are expected");
    g_.status_is_text = std::any_of(outcome->members.begin(), outcome->members.end(),
                                    [](const config::Member& m) { return !parse_integer(m.key); });
    for (const config::Member& m : outcome->members) {
      Place row_at = place_of(outcome_at, m);
      StatusRow row;
      row.text = m.key;
      row.outcome = read_word(m.value, row_at, "outcome", kOutcomes);
      if (!g_.status_is_text) {
        row.number = *parse_integer(m.key);
        if (row.number < INT32_MIN || row.number > INT32_MAX) fault(m.value, row_at, "a status has 32 bits");
      }
      g_.statuses.push_back(std::move(row));
    }
    bool small = !g_.status_is_text;
    int64_t most = 0;
    for (const StatusRow& row : g_.statuses) {
      small = small && row.number >= 0 && row.number < 256;
      most = std::max(most, row.number);
    }
    if (small) {
      g_.by_status.assign(static_cast<size_t>(most) + 1, kNowhere);
      for (const StatusRow& row : g_.statuses) g_.by_status[static_cast<size_t>(row.number)] = static_cast<uint8_t>(row.outcome);
    }
  }
  if (rules && is_list(*rules, at(*rules, "rules"))) {
    Place rules_at = at(*rules, "rules");
    if (rules->items.size() > 32) fault(*rules, rules_at, "at most 32 rules");
    for (size_t i = 0; i < rules->items.size(); ++i) {
      const Node& row = rules->items[i];
      Place row_at = item_of(rules_at, i, row);
      if (!check_keys(row, row_at, "rule")) continue;
      const Node &is = *row.find("is"), &when = *row.find("when");
      uint32_t means = read_word(is, {.parent = &row_at, .key = "is", .pos = is.pos}, "outcome", kOutcomes);
      Place when_at{.parent = &row_at, .key = "when", .pos = when.pos};
      auto tests = read_tests(&when, when_at);
      for (size_t l = 0; l < g_.layouts.size(); ++l) g_.layouts[l].outcome_rules.push_back({means, tests[l]});
    }
  }
  if (reply && is_map(*reply, at(*reply, "reply"))) {
    Place reply_at = at(*reply, "reply");
    for (const config::Member& m : reply->members) {
      Place row_at = place_of(reply_at, m);
      Program::Reply row{.there = true};
      if (!is_scalar(m.value, row_at)) continue;
      row.text = m.value.text;
      auto v = parse_integer(m.value.text);
      if (v)
        row.number = *v;
      else if (!g_.status_is_text)
        fault(m.value, row_at, "a whole number is expected, as in outcome, found " + describe(m.value));
      if (m.key == "other") {
        g_.other_reply = std::move(row);
        continue;
      }
      auto it = std::find(std::begin(kOutcomes), std::end(kOutcomes), m.key);
      if (it == std::end(kOutcomes) || it == std::begin(kOutcomes)) {
        std::vector<std::string_view> words(std::begin(kOutcomes) + 1, std::end(kOutcomes));
        words.push_back("other");
        Place key_at{.parent = &reply_at, .key = m.key, .pos = m.pos};
        context_.error(key_at, config::unknown_word("outcome", m.key, words));
        continue;
      }
      g_.replies[it - std::begin(kOutcomes)] = std::move(row);
    }
    if (!g_.other_reply.there) fault(*reply, reply_at, "other is missing: what do answers say in any other case?");
  }
}

void Compiler::read_timeout(const Node& node, const Place& place) {
  const Node* from = &node;
  Place from_at = place;
  if (node.is_map()) {
    if (!check_keys(node, place, "timeout")) return;
    from = node.find("from");
    from_at = {.parent = &place, .key = "from", .pos = from->pos};
    if (const Node* unit = node.find("unit")) {
      static constexpr std::string_view kUnits[] = {"ms", "s", "us"};
      uint32_t which = read_word(*unit, {.parent = &place, .key = "unit", .pos = unit->pos}, "unit", kUnits);
      g_.timeout_multiply = which == 1 ? 1000 : 1;
      g_.timeout_divide = which == 2 ? 1000 : 1;
    }
    if (const Node* none = node.find("none")) {
      Place at{.parent = &place, .key = "none", .pos = none->pos};
      if (is_list(*none, at)) {
        for (size_t i = 0; i < none->items.size() && i < 16; ++i)
          if (auto v = read_integer(none->items[i], item_of(at, i, none->items[i]), INT64_MIN, INT64_MAX))
            g_.no_timeout.push_back(*v);
      }
    }
  }
  if (!is_scalar(*from, from_at)) return;
  SyntaxFault f;
  auto reference = parse_reference(from->text, f);
  if (!reference) return fault(*from, from_at, f.message, f.at);
  if (!reference->filters.empty()) return fault(*from, from_at, "a deadline is taken as it stands, without filters");
  auto sources = resolve_everywhere(reference->path, *from, from_at);
  for (size_t i = 0; i < g_.layouts.size(); ++i) g_.layouts[i].timeout = sources[i];
}

void Compiler::read_references(const Node& node, const Place& place,
                               const std::function<References&(Layout&)>& list) {
  std::vector<const Node*> nodes;
  if (node.is_sequence())
    for (const Node& item : node.items) nodes.push_back(&item);
  else
    nodes.push_back(&node);
  if (nodes.empty() || nodes.size() > 8) return fault(node, place, "1 to 8 references are expected");
  for (size_t i = 0; i < nodes.size(); ++i) {
    Place at = node.is_sequence() ? item_of(place, i, *nodes[i]) : place;
    if (!is_scalar(*nodes[i], at)) continue;
    SyntaxFault f;
    auto text = parse_reference(nodes[i]->text, f);
    if (!text) {
      fault(*nodes[i], at, f.message, f.at);
      continue;
    }
    auto sources = resolve_everywhere(text->path, *nodes[i], at);
    for (size_t l = 0; l < g_.layouts.size(); ++l) {
      const Source& s = sources[l];
      if (s.from == From::kMissing) continue;
      bool number = s.from == From::kSlot ||
                    (s.from == From::kLookup && g_.layouts[l].blocks[s.block].lookups[s.index].is_number);
      if (number) {
        fault(*nodes[i], at, "\"" + nodes[i]->text + "\" is a number; a text of the frame is expected", text->path.at);
        break;
      }
      list(g_.layouts[l]).push_back({.source = s, .filters = text->filters});
    }
  }
}

void Compiler::read_attributes(const Node& node, const Place& place) {
  if (!is_map(node, place)) return;
  if (node.members.size() > DRAGOMAN_ATTRIBUTES_MAX) return fault(node, place, "at most 16 attributes");
  for (Layout& l : g_.layouts) l.attributes.resize(node.members.size());
  for (size_t i = 0; i < node.members.size(); ++i) {
    const config::Member& m = node.members[i];
    bool right = !m.key.empty() && m.key.size() <= 64 && std::all_of(m.key.begin(), m.key.end(), [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
    });
    if (!right) fault(m.value, place_of(place, m), "an attribute's name is of a-z, 0-9, _, - and .");
    g_.attribute_names.push_back(m.key);
    read_references(m.value, place_of(place, m), [i](Layout& l) -> References& { return l.attributes[i]; });
  }
}

void Compiler::read_same(const Node& node, const Place& place) {
  if (!node.is_sequence() || node.items.empty() || node.items.size() > 8)
    return fault(node, place, "1 to 8 lists of references are expected");
  for (Layout& l : g_.layouts) l.same.resize(node.items.size());
  for (size_t i = 0; i < node.items.size(); ++i) {
    const Node& row = node.items[i];
    const Place at = item_of(place, i, row);
    if (!row.is_sequence() || row.items.size() < 2) {
      fault(row, at, "a list of two references or more is expected");
      continue;
    }
    read_references(row, at, [i](Layout& l) -> References& { return l.same[i]; });
  }
  // Of a layout that has one of them only there is nothing to compare.
  for (Layout& l : g_.layouts) std::erase_if(l.same, [](const References& list) { return list.size() < 2; });
}

void Compiler::read_headers(const Node& node, const Place& place) {
  const Node *from = &node, *when = nullptr;
  Place from_at = place;
  bool opaque = false, edits = true;
  if (node.is_map()) {
    if (!check_keys(node, place, "headers")) return;
    if (const Node* n = node.find("edit")) {
      if (n->is_scalar() && n->text == "false")
        edits = false;
      else
        fault(*n, {.parent = &place, .key = "edit", .pos = n->pos}, "false is expected (or no such key)");
    }
    from = node.find("from");
    from_at = {.parent = &place, .key = "from", .pos = from->pos};
    when = node.find("when");
    if (const Node* broken = node.find("broken")) {
      static constexpr std::string_view kWords[] = {"refuse", "opaque"};
      opaque = read_word(*broken, {.parent = &place, .key = "broken", .pos = broken->pos}, "way", kWords) == 1;
    }
  }
  if (!is_scalar(*from, from_at)) return;
  SyntaxFault f;
  auto reference = parse_reference(from->text, f);
  if (!reference) return fault(*from, from_at, f.message, f.at);
  const Path& path = reference->path;
  bool found = false;
  std::vector<std::string_view> names;
  for (Layout& l : g_.layouts) {
    for (size_t i = 0; i < l.items.size(); ++i) {
      const Item& item = l.items[i];
      if (item.block == kNowhere) continue;
      names.push_back(item.name);
      if (item.name != path.steps[0]) continue;
      BlockPlan& plan = l.blocks[item.block];
      bool right = false;
      if (plan.kind == Block::kSections) {
        for (Section& s : plan.sections) {
          if (path.steps.size() != 2 || s.name != path.steps[1] || !s.key.text || !s.value.text) continue;
          s.headers = right = s.kind == Section::Kind::kPairs;
        }
      } else if (plan.kind == Block::kProtobuf) {
        for (const Lookup& k : plan.lookups) {
          if (path.steps.size() != 2 || k.name != path.steps[1] || !k.is_map) continue;
          plan.map_field = k.path[0];
          right = true;
        }
      } else {
        right = path.steps.size() == 1 &&
                (plan.kind == Block::kXml || plan.kind == Block::kTextPairs ||
                 (plan.kind == Block::kPairs && plan.key.text && plan.value.text));
      }
      if (!right) continue;
      found = true;
      l.headers_block = item.block;
      l.headers_item = static_cast<uint8_t>(i);
      l.headers_broken_opaque = opaque;
      l.headers_editable = edits;
    }
  }
  if (!found) {
    if (std::find(names.begin(), names.end(), path.steps[0]) == names.end())
      unknown(*from, from_at, "block", path.steps[0], names);
    else
      fault(*from, from_at, "pairs of texts, elements, a section of texts or a protobuf map are expected");
  }
  if (when) {
    Place at{.parent = &place, .key = "when", .pos = when->pos};
    auto tests = read_tests(when, at);
    for (size_t l = 0; l < g_.layouts.size(); ++l) g_.layouts[l].headers_when = tests[l];
  }
}

// ---------------------------------------------------------------- templates

std::vector<Piece> Compiler::read_pieces(const Node& node, const Place& place, const Layout&) {
  std::vector<Piece> pieces;
  if (!is_scalar(node, place)) return pieces;
  SyntaxFault f;
  auto texts = parse_template(node.text, f);
  if (!texts) {
    fault(node, place, f.message, f.at);
    return pieces;
  }
  for (PieceText& text : *texts) {
    if (text.request) {
      auto sources = resolve_everywhere(text.request->path, node, place);
      for (const Source& s : sources) text.piece.of_request.push_back({.source = s, .filters = text.request->filters});
    }
    pieces.push_back(std::move(text.piece));
  }
  return pieces;
}

void Compiler::read_block_setting(const Layout& layout, BlockPlan& plan, const Node& node, const Place& place,
                                  Setting& out) {
  if (plan.kind == Block::kSplit) out.pairs.resize(plan.words);
  size_t words = 0;
  auto pair_of = [&](const Node& value, const Place& at, const std::string& name) {
    Setting::Pair pair;
    pair.name = name;
    pair.pieces = read_pieces(value, at, layout);
    return pair;
  };
  for (const config::Member& m : node.members) {
    Place at = place_of(place, m);
    switch (plan.kind) {
      case Block::kSplit: {
        auto it = std::find_if(plan.lookups.begin(), plan.lookups.end(), [&](const Lookup& l) { return l.name == m.key; });
        if (it == plan.lookups.end()) {
          std::vector<std::string_view> names;
          for (const Lookup& l : plan.lookups) names.push_back(l.name);
          Place key_at{.parent = &place, .key = m.key, .pos = m.pos};
          context_.error(key_at, config::unknown_word("word", m.key, names));
          break;
        }
        auto index = static_cast<size_t>(it - plan.lookups.begin());
        words = std::max(words, index + 1);
        out.pairs[index] = pair_of(m.value, at, m.key);
        break;
      }
      case Block::kProtobuf: {
        auto it = std::find_if(plan.lookups.begin(), plan.lookups.end(), [&](const Lookup& l) { return l.name == m.key; });
        if (it == plan.lookups.end() || it->is_map || it->path_len > 2) {
          fault(m.value, at, "only fields of the block with a path of one or two numbers can be set");
          break;
        }
        auto pair = pair_of(m.value, at, m.key);
        pair.lookup = static_cast<uint8_t>(it - plan.lookups.begin());
        out.pairs.push_back(std::move(pair));
        break;
      }
      case Block::kSections: {
        size_t index = 0;
        while (index < plan.sections.size() && plan.sections[index].name != m.key) ++index;
        if (index == plan.sections.size() || m.key.empty()) {
          std::vector<std::string_view> names;
          for (const Section& s : plan.sections)
            if (!s.name.empty()) names.push_back(s.name);
          Place key_at{.parent = &place, .key = m.key, .pos = m.pos};
          context_.error(key_at, config::unknown_word("section", m.key, names));
          break;
        }
        bool pairs = plan.sections[index].kind == Section::Kind::kPairs;
        if (pairs ? !is_map(m.value, at) : !is_scalar(m.value, at)) break;
        if (!pairs) {
          out.pairs.push_back(pair_of(m.value, at, m.key));
          out.pairs.back().section = static_cast<uint32_t>(index);
          break;
        }
        for (const config::Member& inner : m.value.members) {
          out.pairs.push_back(pair_of(inner.value, place_of(at, inner), inner.key));
          out.pairs.back().section = static_cast<uint32_t>(index);
        }
        break;
      }
      default:
        out.pairs.push_back(pair_of(m.value, at, m.key));
    }
  }
  if (plan.kind == Block::kSplit) out.pairs.resize(words);
  if (plan.kind == Block::kSections)
    std::stable_sort(out.pairs.begin(), out.pairs.end(),
                     [](const auto& a, const auto& b) { return a.section < b.section; });
  if (plan.kind == Block::kProtobuf) {
    auto path = [&](const Setting::Pair& p) { return plan.lookups[p.lookup].path; };
    std::stable_sort(out.pairs.begin(), out.pairs.end(), [&](const auto& a, const auto& b) {
      return std::lexicographical_compare(path(a), path(a) + kPathMax, path(b), path(b) + kPathMax);
    });
  }
}

void Compiler::read_template(const char* name, const Node& node, const Place& place, Template& out) {
  if (!check_keys(node, place, "template")) return;
  const Node& layout_node = *node.find("layout");
  Place layout_at{.parent = &place, .key = "layout", .pos = layout_node.pos};
  if (!is_scalar(layout_node, layout_at)) return;
  auto it = std::find_if(g_.layouts.begin(), g_.layouts.end(), [&](const Layout& l) { return l.name == layout_node.text; });
  if (it == g_.layouts.end()) {
    std::vector<std::string_view> names;
    for (const Layout& l : g_.layouts) names.push_back(l.name);
    unknown(layout_node, layout_at, "layout", layout_node.text, names);
    return;
  }
  Layout& layout = *it;
  out.there = true;
  out.layout = static_cast<uint8_t>(it - g_.layouts.begin());
  const Node* set = node.find("set");
  if (!set) return;
  Place set_at{.parent = &place, .key = "set", .pos = set->pos};
  if (!is_map(*set, set_at)) return;
  for (const config::Member& m : set->members) {
    Place at = place_of(set_at, m);
    Setting setting;
    bool found = false;
    for (size_t i = 0; i < layout.items.size() && !found; ++i) {
      Item& item = layout.items[i];
      if (item.name != m.key) continue;
      found = true;
      setting.slot = static_cast<uint8_t>(i);
      if (item.kind == ItemKind::kChecksum) fault(m.value, at, "checksums are computed");
      const bool list = item.block != kNowhere && layout.blocks[item.block].kind == Block::kList;
      if (m.value.is_sequence() && list) {
        for (size_t k = 0; k < m.value.items.size(); ++k) {
          const Node& entry = m.value.items[k];
          setting.pairs.push_back({.pieces = read_pieces(entry, item_of(at, k, entry), layout)});
        }
      } else if (m.value.is_map()) {
        if (item.block == kNowhere || list)
          fault(m.value, at, "\"" + m.key + "\" holds no names and values");
        else
          read_block_setting(layout, layout.blocks[item.block], m.value, at, setting);
      } else {
        setting.whole = true;
        setting.pieces = read_pieces(m.value, at, layout);
        if (item.kind == ItemKind::kNumber && setting.pieces.size() != 1)
          fault(m.value, at, "a number, or one ${...}, is expected for a number");
        if (item.kind == ItemKind::kNumber && setting.pieces.size() == 1 &&
            setting.pieces[0].kind == Piece::Kind::kLiteral) {
          auto v = parse_integer(setting.pieces[0].literal);
          if (!v)
            fault(m.value, at, "a whole number is expected, found " + describe(m.value));
          else
            setting.pieces[0].literal = std::to_string(*v);
        }
      }
    }
    for (const Bits& b : layout.bits) {
      if (found || b.name != m.key) continue;
      found = true;
      setting.slot = b.slot;
      setting.pieces = read_pieces(m.value, at, layout);
      if (setting.pieces.size() != 1) fault(m.value, at, "a number, or one ${...}, is expected for a number");
      if (setting.pieces.size() == 1 && setting.pieces[0].kind == Piece::Kind::kLiteral) {
        auto v = parse_integer(setting.pieces[0].literal);
        if (!v)
          fault(m.value, at, "a whole number is expected, found " + describe(m.value));
        else
          setting.pieces[0].literal = std::to_string(*v);
      }
    }
    if (!found) {
      std::vector<std::string_view> names;
      for (const Item& item : layout.items) names.push_back(item.name);
      for (const Bits& b : layout.bits) names.push_back(b.name);
      Place key_at{.parent = &set_at, .key = m.key, .pos = m.pos};
      context_.error(key_at, config::unknown_word("item", m.key, names));
    }
    out.settings.push_back(std::move(setting));
  }
}

// ---------------------------------------------------------------- the end

namespace {

/// The quick forms of `tests`: absolute ones, or those on the fixed part.
QuickTests quick_of(const Tests& tests, const Layout* l) {
  QuickTests quick{.all = true};
  for (const Test& t : tests) {
    const Source& s = t.source;
    bool right = l ? s.from == From::kSlot && s.offset < l->fixed_items : s.from == From::kAbsolute;
    bool in = t.op == Op::kIn && !t.only_small;
    if (!right || t.text || in || t.op == Op::kPresent || t.op == Op::kAbsent) return {};
    bool masked = s.mask != 0;
    if (!l && !masked && s.number.is_signed) return {};
    quick.list.push_back({.at = static_cast<uint16_t>(s.offset),
                          .width = s.number.width,
                          .big = s.number.big,
                          .slot = s.index,
                          .shift = s.shift,
                          .op = t.op,
                          .mask = masked ? s.mask : UINT64_MAX,
                          .low = t.low,
                          .high = t.high,
                          .small = t.small});
  }
  return quick;
}

}  // namespace

void Compiler::finish_quick(Layout& l) {
  l.quick_when = quick_of(l.when, nullptr);
  Tests checks;
  for (const Check& c : l.checks) checks.push_back(c.test);
  l.quick_checks = quick_of(checks, &l);
  for (const Kind& k : l.kinds) l.quick_kinds.push_back(quick_of(k.when, &l));
  // One length of the fixed part after the other, and nothing else?
  l.simple = !l.has_frame && l.derived.empty() && l.checksum_item == kNowhere;
  for (size_t i = l.fixed_items; i < l.items.size(); ++i) {
    const Item& item = l.items[i];
    const auto& parts = item.length.parts;
    l.simple = l.simple && item.kind == ItemKind::kLength && item.when.empty() && parts.size() == 1 && !parts[0].end &&
               parts[0].factor == 1 && item.length.constant == 0 &&
               (parts[0].index >= kItemsMax || parts[0].index < l.fixed_items);
    if (!l.simple) break;
    uint64_t max = i == l.body_item ? item.max : std::min<uint64_t>(item.max, g_.head_bytes_max);
    l.steps.push_back({.max = max, .item = static_cast<uint8_t>(i), .slot = parts[0].index});
  }
  if (l.id.from == From::kLookup && l.id.block == l.headers_block) {
    BlockPlan& plan = l.blocks[l.headers_block];
    if (plan.kind != Block::kProtobuf)
      plan.id_lookup = l.id.index;  // there the headers are a field of their own
  }
  for (BlockPlan& plan : l.blocks) {
    for (size_t i = 0; i < plan.lookups.size(); ++i)
      plan.by_length[std::min(plan.lookups[i].name.size(), kLengthsMax)] |= 1u << i;
    const Number &k = plan.key.number, &v = plan.value.number;
    bool plain = plan.kind == Block::kPairs && plan.key.text && plan.value.text && !plan.counted &&
                 k.coding == Coding::kFixed && v.coding == Coding::kFixed && k.width == v.width &&
                 k.is_signed == v.is_signed && k.big && v.big;
    if (plain && (k.width == 2 || k.width == 4)) plan.plain_width = k.width;
  }
  // Which numbers are wanted by whom.
  uint64_t probe = 0, head = 0;
  auto want = [](uint64_t& set, const Source& s) {
    if (s.from == From::kSlot) set |= uint64_t{1} << s.offset;
  };
  auto want_all = [&](uint64_t& set, const Tests& tests) {
    for (const Test& t : tests) want(set, t.source);
  };
  for (const Check& c : l.checks) want(probe, c.test.source);
  for (const Check& c : l.late_checks) want(probe, c.test.source);
  for (const Kind& k : l.kinds) want_all(probe, k.when);
  for (const Source* s : {&l.id, &l.status, &l.timeout}) want(probe, *s);
  want_all(head, l.headers_when);
  for (const OutcomeRule& rule : l.outcome_rules) want_all(head, rule.when);
  for (const BlockPlan& plan : l.blocks)
    for (const Lookup& lookup : plan.lookups)
      if (lookup.slot != kNowhere) head |= uint64_t{1} << lookup.slot_item;
  for (const Step& step : l.steps) {
    uint64_t item = step.slot >= kItemsMax ? l.bits[step.slot - kItemsMax].of : step.slot;
    probe |= uint64_t{1} << item;
    if (step.item != l.body_item) head |= uint64_t{1} << item;
  }
  for (const Load& load : l.loads) {
    // A number with bit fields is wanted as a whole: they are taken from it.
    bool bits = l.items[load.slot].bits > 0;
    if (!l.simple || bits || probe >> load.slot & 1) l.probe_loads.push_back(load);
    if (!l.simple || bits || head >> load.slot & 1) l.head_loads.push_back(load);
  }
}

void Compiler::finish() {
  g_.quick_match = quick_of(g_.match, nullptr);
  for (Layout& l : g_.layouts) {
    finish_quick(l);
    g_.any_rules = g_.any_rules || !l.outcome_rules.empty();
  }
  bool editable = true, headers = false, custom = false, coded = false;
  for (Layout& l : g_.layouts) {
    l.fixed_kinds = std::all_of(l.kinds.begin(), l.kinds.end(), [&](const Kind& k) { return all<fixed>(k.when, l); });
    bool whole = std::any_of(l.kinds.begin(), l.kinds.end(), [&](const Kind& k) { return !all<early>(k.when, l); });
    for (const Check& c : l.late_checks) whole = whole || !early(c.test.source, l);
    l.whole_head = whole || !early(l.id, l) || !early(l.status, l) || !early(l.timeout, l);
    coded = coded || l.id_type == DRAGOMAN_ID_BYTES || l.id_type == DRAGOMAN_ID_CODED;
    if (l.checksum_item != kNowhere && !l.host_crc) custom = true;
    if (l.headers_block == kNowhere) continue;
    headers = true;
    editable = editable && l.headers_editable;
    const Item& item = l.items[l.headers_item];
    const BlockPlan& plan = l.blocks[l.headers_block];
    // Elements are added at the end, which must be inside an element.
    if (plan.kind == Block::kXml && !(item.kind == ItemKind::kUntil && item.text.starts_with("</"))) editable = false;
    if (item.kind == ItemKind::kLength &&
        (item.length.owner == kNowhere || (item.length.owner_factor != 1 && item.pad <= 1)))
      editable = false;
    if (l.has_frame && l.frame.owner == kNowhere) editable = false;
  }
  find_plain(g_);
  dragoman_codec& t = g_.table;
  t.size = sizeof t;
  t.abi_major = DRAGOMAN_ABI_MAJOR;
  t.abi_minor = DRAGOMAN_ABI_MINOR;
  t.name = g_.name.c_str();
  t.version = g_.version.c_str();
  t.head_bytes_max = g_.head_bytes_max;
  t.detect_bytes_max = std::max<uint32_t>({1, g_.match_bytes, g_.when_bytes});
  t.id_len = g_.id_len;
  t.id_bits = g_.id_bits;
  t.context = &g_;
  for (const std::string& name : g_.attribute_names) g_.attribute_pointers.push_back(name.c_str());
  t.attributes = g_.attribute_pointers.empty() ? nullptr : g_.attribute_pointers.data();
  t.attribute_count = static_cast<uint32_t>(g_.attribute_pointers.size());
  t.probe = probe;
  t.view = view;
  t.outcome = outcome;
  t.reply = reply;
  if (headers && editable) {
    t.abilities |= DRAGOMAN_CAN_EDIT;
    t.edit = edit;
  }
  if (g_.heartbeat.there) {
    t.abilities |= DRAGOMAN_CAN_HEARTBEAT;
    t.heartbeat = heartbeat;
    t.heartbeat_reply = heartbeat_reply;
  }
  if (g_.goaway.there) {
    t.abilities |= DRAGOMAN_CAN_GOAWAY;
    t.goaway = goaway;
  }
  if (coded) t.set_id = set_id;
  if (g_.status_is_text) t.status_text = status_text;
  auto none = [&](auto has) { return std::none_of(g_.layouts.begin(), g_.layouts.end(), has); };
  if (none([](const Layout& l) { return !l.service.empty(); })) t.lacks |= DRAGOMAN_WANT_SERVICE;
  if (none([](const Layout& l) { return !l.method.empty(); })) t.lacks |= DRAGOMAN_WANT_METHOD;
  if (!headers && g_.attribute_names.empty()) t.lacks |= DRAGOMAN_WANT_HEADERS;
  if (coded || g_.id_len > 0) t.abilities |= DRAGOMAN_CAN_MULTIPLEX;
  if (custom) {
    t.abilities |= DRAGOMAN_CAN_CHECKSUM;
    t.checksum = checksum;
  }
}

/// Refusals name the item. Made once, since a reason has to stay where it is.
void Compiler::name_faults() {
  static constexpr std::string_view kWhat[kItemFaults] = {"past the frame's end",
                                                          "not a number",
                                                          "a negative length",
                                                          "its length is out of range",
                                                          "no end mark within the descriptor's limit",
                                                          "no end mark in the frame",
                                                          "over the descriptor's limit",
                                                          "the frame is shorter than its items"};
  for (Layout& l : g_.layouts)
    for (Item& item : l.items)
      for (size_t i = 0; i < kItemFaults; ++i)
        item.whys[i] = "item " + item.name + ": " + std::string(kWhat[i]);
}

/// Templates must read back as what they are meant to be.
void Compiler::prove(const Node* make, const Place& place) {
  std::vector<uint8_t> bytes(128u << 10);
  dragoman_frame f{};
  auto check = [&](const char* name, const Template& of, int64_t n, uint32_t kind, uint64_t id) {
    const Node& node = *make->find(name);
    Place at{.parent = &place, .key = name, .pos = node.pos};
    auto wrong = [&](const std::string& what) {
      fault(node, at, "what this makes does not read back: " + what);
      return false;
    };
    if (n == -1) return wrong("a value does not fit its item");
    if (n < 0 && n > kNotRead) {
      const auto unread = static_cast<size_t>(-2 - n);
      return wrong("item " + g_.layouts[of.layout].items[unread].name +
                   " is read as absent, as there, or with another length than it is written");
    }
    const bool not_read = n <= kNotRead;
    if (not_read) n = kNotRead - n;  // what is said of it below tells why
    if (n == 0 || n > static_cast<int64_t>(bytes.size())) return wrong("its size is out of range");
    f = {};
    f.size = sizeof f;
    f.from = kind == DRAGOMAN_HEARTBEAT ? DRAGOMAN_FROM_CLIENT : DRAGOMAN_FROM_SERVER;
    int verdict = probe(&g_, nullptr, bytes.data(), static_cast<uint64_t>(n), &f);
    if (verdict == DRAGOMAN_NEED) return wrong("it is too short");
    if (verdict == DRAGOMAN_NOT_MINE) return wrong("it fails a test of match");
    if (verdict != DRAGOMAN_FRAME) return wrong(f.reason ? f.reason : "it is refused");
    if (f.total_len != static_cast<uint64_t>(n)) return wrong("its length is another");
    if (f.kind != kind) return wrong("it is of another kind");
    bool number = f.id_type == DRAGOMAN_ID_BE || f.id_type == DRAGOMAN_ID_LE || f.id_type == DRAGOMAN_ID_CODED;
    if (number && f.id != id) return wrong("its id is another");
    dragoman_view v{};
    v.size = sizeof v;
    if (view(&g_, nullptr, bytes.data(), &f, UINT32_MAX, &v) != 0) return wrong("its head is not understood");
    if (not_read) return wrong("it is of another layout");
    return true;
  };
  static constexpr std::string_view kText = "no: \"<a>&'|;,=\r\n\tx";
  dragoman_bytes text{reinterpret_cast<const uint8_t*>(kText.data()), kText.size()};
  for (uint32_t o = 1; o < std::size(kOutcomes); ++o) {
    int64_t n = reply(&g_, nullptr, nullptr, nullptr, o, text, bytes.data(), bytes.size());
    if (!check("reply", g_.reply, n, DRAGOMAN_RESPONSE, 1)) break;
    if (outcome(&g_, nullptr, bytes.data(), &f) != DRAGOMAN_OUTCOME_OK) continue;
    const Node& node = *make->find("reply");
    fault(node, {.parent = &place, .key = "reply", .pos = node.pos},
          "an answer that means " + std::string(kOutcomes[o]) + " reads back as ok");
    break;
  }
  if (g_.heartbeat.there &&
      check("heartbeat", g_.heartbeat, heartbeat(&g_, nullptr, 0, 1, bytes.data(), bytes.size()),
            DRAGOMAN_HEARTBEAT, 1)) {
    std::vector<uint8_t> asked(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(f.head_len));
    dragoman_frame request = f;
    int64_t n = heartbeat_reply(&g_, nullptr, asked.data(), &request, bytes.data(), bytes.size());
    check("heartbeat_reply", g_.heartbeat_reply, n, DRAGOMAN_HEARTBEAT_ACK, 1);
  }
  if (g_.goaway.there)
    check("goaway", g_.goaway, goaway(&g_, nullptr, 0, bytes.data(), bytes.size()), DRAGOMAN_GOAWAY, 0);
}

}  // namespace dragoman::descriptor
