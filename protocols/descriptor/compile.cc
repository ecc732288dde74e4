#include <algorithm>
#include <bit>

#include "protocols/descriptor/compiler.h"
#include "protocols/descriptor/draft.h"
#include "protocols/descriptor/keys.h"
#include "protocols/descriptor/sums.h"
#include "proxy/base/suggest.h"

namespace dragoman::descriptor {
namespace {

constexpr uint64_t kHeadMax = 128u << 10;
constexpr size_t kLayoutsMax = 16;

bool is_name(std::string_view name) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !name.empty() && name.size() <= 64 && letter(name[0]) &&
         std::all_of(name.begin(), name.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

/// Least bytes of an item that is there.
uint64_t least_bytes(const Item& item) {
  switch (item.kind) {
    case ItemKind::kNumber:
    case ItemKind::kPrefix:
      return item.number.coding == Coding::kVarint || item.number.coding == Coding::kZigzag ? 1 : item.number.width;
    case ItemKind::kUntil:
      return item.text.size();
    case ItemKind::kBytes:
    case ItemKind::kChecksum:
      return item.size;
    case ItemKind::kLength:
    case ItemKind::kRest:
      return 0;
  }
  return 0;
}

}  // namespace

// ---------------------------------------------------------------- nodes

Position Compiler::inside(const Node& node, size_t offset) {
  if (offset == 0) return node.pos;
  return {node.pos.line, node.pos.column + static_cast<int>(offset) + (node.quoted ? 1 : 0)};
}

void Compiler::fault(const Node& node, const Place& place, std::string message, size_t offset) {
  context_.error(place, inside(node, offset), {.message = std::move(message)});
}

void Compiler::unknown(const Node& node, const Place& place, std::string_view what, std::string_view word,
                       std::span<const std::string_view> words, size_t offset) {
  context_.error(place, inside(node, offset), config::unknown_word(what, word, words));
}

bool Compiler::is_map(const Node& node, const Place& place) {
  if (node.is_map()) return true;
  fault(node, place, "a block of keys is expected, found " + describe(node));
  return false;
}
bool Compiler::is_list(const Node& node, const Place& place) {
  if (node.is_sequence()) return true;
  fault(node, place, "a list is expected, found " + describe(node));
  return false;
}
bool Compiler::is_scalar(const Node& node, const Place& place) {
  if (node.is_scalar()) return true;
  fault(node, place, "a single value is expected, found " + describe(node));
  return false;
}

/// Every key must be one of `where`'s, and the required ones must be there.
bool Compiler::check_keys(const Node& node, const Place& place, std::string_view where) {
  if (!is_map(node, place)) return false;
  bool right = true;
  auto names = names_in(where);
  for (const config::Member& member : node.members) {
    if (std::find(names.begin(), names.end(), member.key) != names.end()) continue;
    Place at{.parent = &place, .key = member.key, .pos = member.pos};
    context_.error(at, config::unknown_word("key", member.key, names));
    right = false;
  }
  for (const Key& key : keys()) {
    if (key.where != where || !key.required || node.find(key.name)) continue;
    fault(node, place, "the key \"" + std::string(key.name) + "\" is missing");
    right = false;
  }
  return right;
}

std::optional<int64_t> Compiler::read_integer(const Node& node, const Place& place, int64_t first, int64_t last) {
  if (!is_scalar(node, place)) return std::nullopt;
  auto v = parse_integer(node.text);
  if (v && !node.quoted && *v >= first && *v <= last) return v;
  fault(node, place, "a whole number " + std::to_string(first) + ".." + std::to_string(last) + " is expected, found " +
                         describe(node));
  return std::nullopt;
}

std::optional<uint64_t> Compiler::read_size(const Node& node, const Place& place, uint64_t first, uint64_t last) {
  if (!is_scalar(node, place)) return std::nullopt;
  std::string_view text = node.text;
  uint64_t factor = 1;
  for (auto [unit, bytes] : {std::pair<std::string_view, uint64_t>{"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30},
                             {"B", 1}}) {
    if (!text.ends_with(unit)) continue;
    text.remove_suffix(unit.size());
    factor = bytes;
    break;
  }
  auto v = parse_integer(text);
  if (v && *v > 0 && static_cast<uint64_t>(*v) <= last / factor && static_cast<uint64_t>(*v) * factor >= first)
    return static_cast<uint64_t>(*v) * factor;
  fault(node, place, "a size " + std::to_string(first) + ".." + std::to_string(last) +
                         " bytes is expected (4096, 64KiB, 16MiB), found " + describe(node));
  return std::nullopt;
}

std::optional<std::string> Compiler::read_text(const Node& node, const Place& place, size_t first, size_t last) {
  if (!is_scalar(node, place)) return std::nullopt;
  if (node.text.size() >= first && node.text.size() <= last) return node.text;
  fault(node, place, "a text of " + std::to_string(first) + " to " + std::to_string(last) + " bytes is expected, found " +
                         describe(node));
  return std::nullopt;
}

bool Compiler::read_true(const Node& node, const Place& place) {
  if (node.is_scalar() && !node.quoted && node.text == "true") return true;
  fault(node, place, "true is expected (or no such key), found " + describe(node));
  return false;
}

std::optional<Number> Compiler::read_number_type(const Node& node, const Place& place) {
  if (!is_scalar(node, place)) return std::nullopt;
  if (auto n = number_type(node.text, big_)) return n;
  fault(node, place, "\"" + config::printable(node.text) +
                         "\" is no number type; allowed: u8 .. u64, i8 .. i64 (with le or be), varint, zigzag, dec1 .. "
                         "dec18, hex1 .. hex16");
  return std::nullopt;
}

std::optional<Term> Compiler::read_term_type(const Node& node, const Place& place) {
  if (!is_scalar(node, place)) return std::nullopt;
  if (auto t = term_type(node.text, big_)) return t;
  fault(node, place, "\"" + config::printable(node.text) +
                         "\" is no type of a pair; allowed: number types, and with s for a text behind its length: u16s, "
                         "i32s, varints");
  return std::nullopt;
}

uint32_t Compiler::read_word(const Node& node, const Place& place, std::string_view what,
                             std::span<const std::string_view> words) {
  if (!is_scalar(node, place)) return 0;
  auto it = std::find(words.begin(), words.end(), node.text);
  if (it != words.end()) return static_cast<uint32_t>(it - words.begin());
  unknown(node, place, what, node.text, words);
  return 0;
}

// ---------------------------------------------------------------- tests

std::optional<TestText> Compiler::read_test_text(const Node& node, const Place& place) {
  if (!is_scalar(node, place)) return std::nullopt;
  SyntaxFault f;
  auto test = parse_test(node.text, big_, f);
  if (!test) fault(node, place, f.message, f.at);
  return test;
}

Test Compiler::bind_test(const TestText& text, const Source& source) const {
  Test t;
  t.source = source;
  t.op = text.op;
  t.text = text.text;
  if (text.op == Op::kPresent || text.op == Op::kAbsent)
    t.text = source.from == From::kItem || source.from == From::kLookup || source.from == From::kBytes;
  t.numbers = text.numbers;
  t.texts = text.texts;
  if (!t.numbers.empty()) {
    t.low = t.numbers.front();
    t.high = t.numbers.back();
    t.only_small = std::all_of(t.numbers.begin(), t.numbers.end(), [](int64_t v) { return v >= 0 && v < 64; });
    if (t.only_small)
      for (int64_t v : t.numbers) t.small |= uint64_t{1} << v;
  }
  return t;
}

Tests Compiler::read_fixed_tests(const Node* node, const Place& place, uint32_t& bytes) {
  Tests tests;
  if (!node || !is_list(*node, place)) return tests;
  for (size_t i = 0; i < node->items.size(); ++i) {
    const Node& item = node->items[i];
    Place at = item_of(place, i, item);
    auto text = read_test_text(item, at);
    if (!text) continue;
    const Source& s = text->source;
    if (s.from != From::kAbsolute && s.from != From::kBytes && s.from != From::kSender) {
      fault(item, at, "only tests at fixed offsets (u8@0, bytes4@4) and of sender can stand here");
      continue;
    }
    uint32_t end = s.offset + (s.from == From::kBytes ? s.size : s.number.width);
    if (end > g_.head_bytes_max) {
      fault(item, at, "this looks behind limits.head");
      continue;
    }
    bytes = std::max(bytes, end);
    tests.push_back(bind_test(*text, s));
  }
  return tests;
}

/// Tests of one item: fields before it, and what follows.
Tests Compiler::read_item_tests(Layout& layout, const Node& node, const Place& place) {
  Tests tests;
  if (!is_list(node, place)) return tests;
  for (size_t i = 0; i < node.items.size(); ++i) {
    const Node& item = node.items[i];
    Place at = item_of(place, i, item);
    auto text = read_test_text(item, at);
    if (!text) continue;
    Source s = text->source;
    if (s.from == From::kMissing) {
      s = resolve(layout, text->path);
      if (s.from != From::kSlot || text->text) {
        fault(item, at, "only numbers of earlier items, and TYPE@next, can be tested here");
        continue;
      }
    } else if (s.from == From::kBytes || s.from == From::kSender) {
      fault(item, at, "only numbers can be tested here");
      continue;
    }
    tests.push_back(bind_test(*text, s));
  }
  return tests;
}

std::vector<Tests> Compiler::read_tests(const Node* node, const Place& place) {
  std::vector<Tests> by_layout(g_.layouts.size());
  if (!node || !is_list(*node, place)) return by_layout;
  for (size_t i = 0; i < node->items.size(); ++i) {
    const Node& item = node->items[i];
    Place at = item_of(place, i, item);
    auto text = read_test_text(item, at);
    if (!text) continue;
    if (text->source.from == From::kNext) {
      fault(item, at, "@next can only stand in an item's when");
      continue;
    }
    std::vector<Source> sources(g_.layouts.size(), text->source);
    if (text->source.from == From::kMissing) {
      sources = resolve_everywhere(text->path, item, at);
      bool wrong = std::any_of(sources.begin(), sources.end(), [&](const Source& s) { return text->text && s.from == From::kSlot; });
      if (wrong) {
        fault(item, at, "\"" + text->path.steps[0] + "\" is a number, not a text", text->path.at);
        continue;
      }
    }
    for (size_t l = 0; l < by_layout.size(); ++l) by_layout[l].push_back(bind_test(*text, sources[l]));
  }
  return by_layout;
}

// ---------------------------------------------------------------- names

std::vector<std::string_view> Compiler::all_names() const {
  std::vector<std::string_view> names;
  for (const Layout& l : g_.layouts) {
    for (const Item& item : l.items) names.push_back(item.name);
    for (const Bits& b : l.bits) names.push_back(b.name);
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Source Compiler::resolve(Layout& layout, const Path& path) {
  Source s;
  for (size_t i = 0; i < layout.items.size(); ++i) {
    const Item& item = layout.items[i];
    if (item.name != path.steps[0]) continue;
    if (path.steps.size() == 1) {
      s.from = item.kind == ItemKind::kNumber ? From::kSlot : From::kItem;
      s.index = static_cast<uint8_t>(i);
      s.offset = static_cast<uint32_t>(i);
      if (item.kind == ItemKind::kChecksum || item.body) s.from = From::kMissing;
      return s;
    }
    if (item.block == kNowhere) return s;
    uint8_t index = look_up(layout, item.block, path, 1);
    if (index == kNowhere) return s;
    s.from = From::kLookup;
    s.block = item.block;
    s.index = index;
    return s;
  }
  for (const Bits& b : layout.bits) {
    if (b.name != path.steps[0] || path.steps.size() > 1) continue;
    s.from = From::kSlot;
    s.index = b.slot;
    s.offset = b.of;
    return s;
  }
  return s;
}

/// The look-up of a name in a block, made when it is new; kNowhere when there can be none.
uint8_t Compiler::look_up(Layout& layout, uint8_t block, const Path& path, size_t step) {
  BlockPlan& plan = layout.blocks[block];
  if (path.indexed && plan.kind != Block::kList) return kNowhere;
  Lookup l;
  const std::string& name = path.steps[step];
  size_t steps = path.steps.size() - step;
  switch (plan.kind) {
    case Block::kNone:
      return kNowhere;
    case Block::kProtobuf:
    case Block::kSplit:  // made with the block
      for (size_t i = 0; steps == 1 && i < plan.lookups.size(); ++i)
        if (plan.lookups[i].name == name) return static_cast<uint8_t>(i);
      return kNowhere;
    case Block::kPairs:
      if (steps != 1) return kNowhere;
      l.name = name;
      l.is_number = !plan.value.text;
      if (!plan.key.text) {
        auto v = parse_integer(name);
        if (!v) return kNowhere;
        l.number = *v;
      }
      break;
    case Block::kTextPairs:
    case Block::kXml:
      if (steps != 1) return kNowhere;
      l.name = name;
      break;
    case Block::kList:
      if (!path.indexed) return kNowhere;
      l.name = name;
      if (auto place = parse_integer(name)) {
        l.number = *place;
      } else {
        const Source at = resolve(layout, {.steps = {name}});
        if (at.from != From::kSlot) return kNowhere;
        l.slot = at.index;
        l.slot_item = static_cast<uint8_t>(at.offset);
      }
      break;
    case Block::kSections: {
      // Sections keep their names as look-ups of no steps.
      size_t index = 0;
      for (; index < plan.sections.size(); ++index)
        if (plan.sections[index].name == name) break;
      if (index == plan.sections.size()) return kNowhere;
      const Section& section = plan.sections[index];
      l.section = static_cast<uint32_t>(index);
      if (section.kind == Section::Kind::kText) {
        if (steps != 1) return kNowhere;
      } else {
        if (steps != 2) return kNowhere;
        l.name = path.steps[step + 1];
        l.is_number = !section.value.text;
        if (!section.key.text) {
          auto v = parse_integer(l.name);
          if (!v) return kNowhere;
          l.number = *v;
        }
      }
      break;
    }
  }
  for (size_t i = 0; i < plan.lookups.size(); ++i) {
    const Lookup& old = plan.lookups[i];
    if (old.name == l.name && old.section == l.section && old.number == l.number) return static_cast<uint8_t>(i);
  }
  if (plan.lookups.size() == kLookupsMax) return kNowhere;
  plan.lookups.push_back(std::move(l));
  return static_cast<uint8_t>(plan.lookups.size() - 1);
}

std::vector<Source> Compiler::resolve_everywhere(const Path& path, const Node& node, const Place& place, size_t offset) {
  std::vector<Source> sources;
  bool found = false;
  for (Layout& layout : g_.layouts) {
    sources.push_back(resolve(layout, path));
    found |= sources.back().from != From::kMissing;
  }
  if (found || !layouts_right_) return sources;
  auto names = all_names();
  if (std::find(names.begin(), names.end(), path.steps[0]) == names.end()) {
    unknown(node, place, "item", path.steps[0], names, path.at + offset);
    return sources;
  }
  if (path.steps.size() == 1) {
    fault(node, place, "\"" + path.steps[0] + "\" is a body or a checksum, which nobody reads", path.at + offset);
    return sources;
  }
  std::vector<std::string_view> inside_names;
  for (const Layout& l : g_.layouts) {
    for (const Item& item : l.items) {
      if (item.name != path.steps[0] || item.block == kNowhere) continue;
      const BlockPlan& plan = l.blocks[item.block];
      if (plan.kind == Block::kProtobuf || plan.kind == Block::kSplit)
        for (const Lookup& k : plan.lookups) inside_names.push_back(k.name);
      for (const Section& s : plan.sections) inside_names.push_back(s.name);
    }
  }
  if (inside_names.empty())
    fault(node, place, "\"" + path.steps[0] + "\" has no such name in it", path.at + offset);
  else
    unknown(node, place, "name in \"" + path.steps[0] + "\":", path.steps[1], inside_names, path.at + offset);
  return sources;
}

// ---------------------------------------------------------------- the file

void Compiler::compile(const Node& root) {
  Place top{.pos = root.pos};
  if (!is_map(root, top)) return;
  check_keys(root, top, "descriptor");
  auto member = [&](std::string_view name) { return root.find(name); };
  auto place = [&](const Node& node, std::string_view name) {
    return Place{.parent = &top, .key = name, .pos = node.pos};
  };
  if (const Node* n = member("descriptor")) read_integer(*n, place(*n, "descriptor"), 1, 1);
  if (const Node* n = member("name")) {
    bool right = n->is_scalar() && !n->text.empty() && n->text.size() <= 32 &&
                 std::all_of(n->text.begin(), n->text.end(), [](char c) {
                   return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
                 });
    if (right)
      g_.name = n->text;
    else
      fault(*n, place(*n, "name"), "a name of 1 to 32 of a-z, 0-9 and _ is expected, found " + describe(*n));
  }
  if (const Node* n = member("version")) {
    auto text = read_text(*n, place(*n, "version"), 1, 32);
    if (text) g_.version = config::printable(*text);
  }
  if (const Node* n = member("endian")) {
    static constexpr std::string_view kWords[] = {"big", "little"};
    big_ = read_word(*n, place(*n, "endian"), "byte order", kWords) == 0;
  }
  if (const Node* n = member("limits")) read_limits(*n, place(*n, "limits"));
  if (const Node* n = member("match")) {
    g_.match = read_fixed_tests(n, place(*n, "match"), g_.match_bytes);
    if (n->is_sequence() && n->items.empty())
      fault(*n, place(*n, "match"), "at least one test is needed: a protocol that takes any bytes can't be told from others");
  }
  if (const Node* n = member("layouts")) {
    Place at = place(*n, "layouts");
    size_t faults = context_.errors();
    if (is_map(*n, at)) {
      if (n->members.empty() || n->members.size() > kLayoutsMax) fault(*n, at, "1 to 16 layouts are expected");
      g_.layouts.reserve(n->members.size());
      for (size_t i = 0; i < n->members.size() && i < kLayoutsMax; ++i) {
        const config::Member& m = n->members[i];
        read_layout(m.key, m.value, place_of(at, m));
        bool last = i + 1 == n->members.size();
        if (g_.layouts.size() > i && g_.layouts[i].when.empty() && !last)
          fault(m.value, place_of(at, m), "a layout without when takes every frame: those behind it are never reached");
      }
    }
    layouts_right_ = context_.errors() == faults;
  } else {
    layouts_right_ = false;
  }
  if (g_.layouts.empty()) return;
  // Checks name items, so they are read when all are known.
  if (const Node* n = member("layouts"); n && n->is_map()) {
    Place at = place(*n, "layouts");
    for (size_t i = 0; i < g_.layouts.size(); ++i) {
      const config::Member& m = n->members[i];
      const Node* check = m.value.is_map() ? m.value.find("check") : nullptr;
      if (!check) continue;
      Place layout_at = place_of(at, m);
      Place check_at{.parent = &layout_at, .key = "check", .pos = check->pos};
      if (!is_list(*check, check_at)) continue;
      Layout& layout = g_.layouts[i];
      for (size_t k = 0; k < check->items.size(); ++k) {
        const Node& row = check->items[k];
        Place row_at = item_of(check_at, k, row);
        const Node* test = &row;
        Check c;
        if (row.is_map()) {
          if (!check_keys(row, row_at, "check")) continue;
          test = row.find("test");
          if (const Node* verdict = row.find("else")) {
            static constexpr std::string_view kWords[] = {"malformed", "unsupported", "too_big"};
            static constexpr int kVerdicts[] = {DRAGOMAN_MALFORMED, DRAGOMAN_UNSUPPORTED, DRAGOMAN_TOO_BIG};
            c.verdict = kVerdicts[read_word(*verdict, row_at, "verdict", kWords)];
          }
        }
        auto text = read_test_text(*test, row_at);
        if (!text) continue;
        Source s = text->source;
        if (s.from == From::kNext) {
          fault(*test, row_at, "@next can only stand in an item's when");
          continue;
        }
        if (s.from == From::kMissing) {
          s = resolve(layout, text->path);
          if (s.from == From::kMissing) {
            std::vector<std::string_view> names;
            for (const Item& item : layout.items) names.push_back(item.name);
            for (const Bits& b : layout.bits) names.push_back(b.name);
            if (layouts_right_) unknown(*test, row_at, "item", text->path.steps[0], names, text->path.at);
            continue;
          }
          if (text->text && s.from == From::kSlot) {
            fault(*test, row_at, "\"" + text->path.steps[0] + "\" is a number, not a text", text->path.at);
            continue;
          }
        } else {
          uint32_t end = s.offset + (s.from == From::kBytes ? s.size : s.number.width);
          if (end > layout.fixed_bytes) {
            fault(*test, row_at, "this looks behind the items of fixed size");
            continue;
          }
        }
        c.test = bind_test(*text, s);
        c.why = g_.name + ": " + test->text;
        bool fixed = s.from == From::kAbsolute || s.from == From::kBytes ||
                     ((s.from == From::kSlot || s.from == From::kItem) && s.offset < layout.fixed_items);
        (fixed ? layout.checks : layout.late_checks).push_back(std::move(c));
      }
    }
  }
  if (const Node* n = member("kind")) read_kinds(*n, place(*n, "kind"));
  if (const Node* n = member("id")) read_id(*n, place(*n, "id"));
  if (const Node* n = member("status")) read_status(*n, place(*n, "status"));
  if (const Node* n = member("timeout")) read_timeout(*n, place(*n, "timeout"));
  if (const Node* n = member("headers")) read_headers(*n, place(*n, "headers"));
  auto into = [](References Layout::*list) { return [list](Layout& l) -> References& { return l.*list; }; };
  if (const Node* n = member("service")) read_references(*n, place(*n, "service"), into(&Layout::service));
  if (const Node* n = member("method")) read_references(*n, place(*n, "method"), into(&Layout::method));
  if (const Node* n = member("attributes")) read_attributes(*n, place(*n, "attributes"));
  if (const Node* n = member("same")) read_same(*n, place(*n, "same"));
  const Node* make = member("make");
  if (make && check_keys(*make, place(*make, "make"), "make")) {
    Place at = place(*make, "make");
    for (auto [name, out] : {std::pair<const char*, Template*>{"reply", &g_.reply},
                             {"heartbeat", &g_.heartbeat},
                             {"heartbeat_reply", &g_.heartbeat_reply},
                             {"goaway", &g_.goaway}}) {
      if (const Node* n = make->find(name)) read_template(name, *n, {.parent = &at, .key = name, .pos = n->pos}, *out);
    }
    if ((make->find("heartbeat") == nullptr) != (make->find("heartbeat_reply") == nullptr))
      fault(*make, at, "heartbeat and heartbeat_reply come together");
  }
  if (context_.failed()) return;
  finish();
  name_faults();
  if (make) prove(make, place(*make, "make"));
}

void Compiler::read_limits(const Node& node, const Place& place) {
  if (!check_keys(node, place, "limits")) return;
  for (const config::Member& m : node.members) {
    Place at = place_of(place, m);
    if (m.key == "frame") {
      if (auto v = read_size(m.value, at, 64, uint64_t{1} << 32)) g_.frame_bytes_max = *v;
    } else if (m.key == "head") {
      if (auto v = read_size(m.value, at, 64, kHeadMax)) g_.head_bytes_max = static_cast<uint32_t>(*v);
    } else if (auto v = read_integer(m.value, at, 1, 65535)) {
      g_.pairs_max = static_cast<uint32_t>(*v);
    }
  }
}

// ---------------------------------------------------------------- layouts

void Compiler::read_layout(const std::string& name, const Node& node, const Place& place) {
  Layout& layout = g_.layouts.emplace_back();
  layout.name = name;
  if (!is_name(name)) fault(node, place, "a name begins with a letter and goes on with letters, digits and _");
  if (!check_keys(node, place, "layout")) return;
  if (const Node* n = node.find("when"))
    layout.when = read_fixed_tests(n, {.parent = &place, .key = "when", .pos = n->pos}, g_.when_bytes);
  const Node& items = *node.find("items");
  Place items_at{.parent = &place, .key = "items", .pos = items.pos};
  if (!is_map(items, items_at)) return;
  if (items.members.empty() || items.members.size() > kItemsMax) {
    fault(items, items_at, "1 to 48 items are expected");
    return;
  }
  for (const config::Member& m : items.members)
    if (!read_item(layout, m.key, m.value, place_of(items_at, m))) return;
  finish_layout(layout, node, place);
}

bool Compiler::read_item(Layout& layout, const std::string& name, const Node& node, const Place& place) {
  auto index = layout.items.size();
  Item& item = layout.items.emplace_back();
  item.name = name;
  size_t faults = context_.errors();
  if (!is_name(name) || name == "end" || name == "rest" || name == "sender")
    fault(node, place,
          "an item's name begins with a letter, goes on with letters, digits and _, and is not end, rest or "
          "sender");
  for (size_t i = 0; i < index; ++i)
    if (layout.items[i].name == name) fault(node, place, "two things are called \"" + name + "\"");
  for (const Bits& b : layout.bits)
    if (b.name == name) fault(node, place, "two things are called \"" + name + "\"");
  if (index > 0 && layout.items[index - 1].kind == ItemKind::kChecksum)
    fault(node, place, "nothing can follow a checksum");
  if (layout.body_item != kNowhere && !(node.is_map() && node.find("checksum")))
    fault(node, place, "only a checksum can follow the body");
  if (node.is_scalar()) {
    read_type(layout, item, node.text, node, place);
    return context_.errors() == faults;
  }
  if (!check_keys(node, place, "item")) return false;
  const Node *type = node.find("type"), *len = node.find("len"), *prefix = node.find("prefix"),
             *until = node.find("until"), *checksum = node.find("checksum");
  if ((type != nullptr) + (len != nullptr) + (prefix != nullptr) + (until != nullptr) + (checksum != nullptr) != 1) {
    fault(node, place, "exactly one of type, len, prefix, until and checksum is expected");
    return false;
  }
  auto at = [&](const Node& n, std::string_view key) { return Place{.parent = &place, .key = key, .pos = n.pos}; };
  bool variable = len || prefix || until;
  if (type && is_scalar(*type, at(*type, "type"))) read_type(layout, item, type->text, *type, at(*type, "type"));
  if (len && is_scalar(*len, at(*len, "len"))) {
    item.kind = len->text == "rest" ? ItemKind::kRest : ItemKind::kLength;
    if (item.kind == ItemKind::kLength) read_expression(layout, *len, at(*len, "len"), item.length, index, false);
  }
  if (prefix) {
    item.kind = ItemKind::kPrefix;
    if (auto n = read_number_type(*prefix, at(*prefix, "prefix"))) item.number = *n;
  }
  if (until) {
    item.kind = ItemKind::kUntil;
    if (auto text = read_text(*until, at(*until, "until"), 1, 16)) item.text = *text;
  }
  if (checksum) {
    static constexpr std::string_view kSums[] = {"crc32", "crc32c", "adler32", "sum8", "xor8"};
    item.kind = ItemKind::kChecksum;
    item.sum = static_cast<Sum>(read_word(*checksum, at(*checksum, "checksum"), "checksum", kSums));
    item.size = sum_bytes(item.sum);
    item.number = {.width = static_cast<uint8_t>(item.size), .big = big_};
    layout.checksum_item = static_cast<uint8_t>(index);
  }
  for (std::string_view key : {"value", "bits", "equals"})
    if (node.find(key) && !type) fault(*node.find(key), at(*node.find(key), key), std::string(key) + " goes with type");
  for (std::string_view key : {"max", "body", "pairs", "list", "split", "xml", "protobuf", "sections"})
    if (node.find(key) && !variable)
      fault(*node.find(key), at(*node.find(key), key), std::string(key) + " goes with len, prefix or until");
  if (node.find("from") && !checksum) fault(*node.find("from"), at(*node.find("from"), "from"), "from goes with checksum");
  if (const Node* n = node.find("value"); n && type && is_scalar(*n, at(*n, "value"))) {
    item.has_value = true;
    if (item.kind == ItemKind::kBytes) {
      item.text = n->text;
      if (item.text.size() != item.size)
        fault(*n, at(*n, "value"), "the text has " + std::to_string(item.text.size()) + " bytes, not " + std::to_string(item.size));
    } else if (auto v = parse_integer(n->text)) {
      item.value = *v;
    } else {
      fault(*n, at(*n, "value"), "a whole number is expected, found " + describe(*n));
    }
  }
  if (const Node* n = node.find("bits"); n && type) read_bits(layout, item, *n, at(*n, "bits"));
  if (const Node* n = node.find("max"); n && variable)
    if (auto v = read_size(*n, at(*n, "max"), 1, uint64_t{1} << 32)) item.max = *v;
  if (const Node* n = node.find("body"); n && variable && read_true(*n, at(*n, "body"))) {
    item.body = true;
    if (until) fault(*n, at(*n, "body"), "a body can't end at a mark: its length must be known before it streams");
    if (layout.body_item != kNowhere) fault(*n, at(*n, "body"), "there is one body at most");
    layout.body_item = static_cast<uint8_t>(index);
  }
  if (const Node* n = node.find("from"); n && checksum) {
    for (size_t i = 0; i < index; ++i)
      if (n->is_scalar() && layout.items[i].name == n->text) item.sum_from = static_cast<uint8_t>(i);
    if (item.sum_from == kNowhere) {
      std::vector<std::string_view> names;
      for (size_t i = 0; i < index; ++i) names.push_back(layout.items[i].name);
      unknown(*n, at(*n, "from"), "item", n->text, names);
    }
  }
  if (const Node* n = node.find("when")) {
    // The item itself is no earlier one.
    Item self = std::move(item);
    layout.items.pop_back();
    self.when = read_item_tests(layout, *n, at(*n, "when"));
    if (self.body) fault(*n, at(*n, "when"), "a body is always there; it may be empty");
    bool looks = std::any_of(self.when.begin(), self.when.end(), [](const Test& t) { return t.source.from == From::kNext; });
    if (checksum && looks) fault(*n, at(*n, "when"), "a checksum's when tests earlier numbers only");
    layout.items.push_back(std::move(self));
  }
  if (variable) read_block(layout, layout.items[index], node, place);
  return context_.errors() == faults;
}

void Compiler::read_type(Layout& layout, Item& item, const std::string& text, const Node& node, const Place& place) {
  if (auto bytes = bytes_type(text)) {
    item.kind = ItemKind::kBytes;
    item.size = *bytes;
    return;
  }
  item.kind = ItemKind::kNumber;
  if (auto n = number_type(text, big_)) {
    item.number = *n;
    return;
  }
  static constexpr std::string_view kTypes[] = {"u8",  "u16", "u24", "u32", "u40", "u48",   "u56",    "u64",  "i8",
                                                "i16", "i24", "i32", "i40", "i48", "i56",   "i64",    "varint", "zigzag",
                                                "dec8", "hex8", "bytes4"};
  unknown(node, place, "type", text, kTypes);
}

void Compiler::read_bits(Layout& layout, Item& item, const Node& node, const Place& place) {
  if (item.kind != ItemKind::kNumber || item.number.coding != Coding::kFixed) {
    fault(node, place, "bits are of a number of fixed width");
    return;
  }
  if (!is_map(node, place)) return;
  item.first_bit = static_cast<uint8_t>(layout.bits.size());
  uint64_t taken = 0;
  for (const config::Member& m : node.members) {
    Place at = place_of(place, m);
    auto v = m.value.is_scalar() ? parse_integer(m.value.text) : std::nullopt;
    uint64_t mask = v ? static_cast<uint64_t>(*v) : 0;
    uint64_t all = item.number.width >= 8 ? UINT64_MAX : (uint64_t{1} << 8 * item.number.width) - 1;
    if (!v || mask == 0 || (mask & ~all)) {
      fault(m.value, at, "a mask within the number is expected (0x0f), found " + describe(m.value));
      continue;
    }
    if (mask & taken) fault(m.value, at, "this mask shares bits with another");
    taken |= mask;
    bool used = !is_name(m.key);
    for (const Item& other : layout.items) used |= other.name == m.key;
    for (const Bits& other : layout.bits) used |= other.name == m.key;
    if (used) fault(m.value, at, "two things are called \"" + m.key + "\", or it is no name");
    if (kItemsMax + layout.bits.size() == kSlotsMax) {
      fault(m.value, at, "at most " + std::to_string(kSlotsMax - kItemsMax) + " bit fields in a layout");
      return;
    }
    layout.bits.push_back({.name = m.key,
                           .slot = static_cast<uint8_t>(kItemsMax + layout.bits.size()),
                           .of = static_cast<uint8_t>(layout.items.size() - 1),
                           .mask = mask,
                           .shift = static_cast<uint8_t>(std::countr_zero(mask))});
  }
  item.bits = static_cast<uint8_t>(layout.bits.size() - item.first_bit);
}

void Compiler::read_expression(Layout& layout, const Node& node, const Place& place, Expression& out,
                               size_t items_before, bool ends) {
  SyntaxFault f;
  auto e = parse_expression(node.text, f);
  if (!e) {
    fault(node, place, f.message, f.at);
    return;
  }
  out.constant = e->constant;
  for (const ExpressionText::Part& part : e->parts) {
    Expression::Part p{.end = part.end, .index = kNowhere, .factor = part.factor};
    for (size_t i = 0; i < items_before; ++i) {
      Item& item = layout.items[i];
      if (item.name != part.name) continue;
      if (!part.end && item.kind != ItemKind::kNumber) {
        fault(node, place, "\"" + part.name + "\" is no number", part.at);
        return;
      }
      if (!part.end && !item.when.empty()) {
        fault(node, place, "\"" + part.name + "\" may be left out, so no length can rest on it", part.at);
        return;
      }
      p.index = static_cast<uint8_t>(i);
      if (!part.end && out.owner == kNowhere && !item.has_value && part.factor > 0) {
        out.owner = p.index;
        out.owner_factor = part.factor;
      }
    }
    if (p.index == kNowhere && !part.end) {
      for (const Bits& b : layout.bits)
        if (b.name == part.name && b.of < items_before) p.index = b.slot;
    }
    if (part.end && !ends) {
      fault(node, place, "end() can stand in frame only", part.at);
      return;
    }
    if (p.index == kNowhere) {
      std::vector<std::string_view> names;
      for (size_t i = 0; i < items_before; ++i)
        if (layout.items[i].kind == ItemKind::kNumber) names.push_back(layout.items[i].name);
      for (const Bits& b : layout.bits) names.push_back(b.name);
      unknown(node, place, "number in front of it:", part.name, names, part.at);
      return;
    }
    out.parts.push_back(p);
  }
}

void Compiler::finish_layout(Layout& layout, const Node& node, const Place& place) {
  const Node* frame = node.find("frame");
  size_t rests = 0;
  for (const Item& item : layout.items) rests += item.kind == ItemKind::kRest;
  if (frame && is_scalar(*frame, {.parent = &place, .key = "frame", .pos = frame->pos})) {
    Place at{.parent = &place, .key = "frame", .pos = frame->pos};
    layout.has_frame = true;
    read_expression(layout, *frame, at, layout.frame, layout.items.size(), true);
    size_t after = 0;
    for (const Expression::Part& part : layout.frame.parts) {
      size_t index = part.index;
      if (!part.end && index >= kItemsMax) index = layout.bits[index - kItemsMax].of;
      after = std::max(after, index + 1);
    }
    layout.frame_after = static_cast<uint8_t>(after);
    if (layout.frame.parts.empty()) fault(*frame, at, "a frame's length rests on a number of the frame");
    for (size_t i = 0; i < after && i < layout.items.size(); ++i)
      if (layout.items[i].kind == ItemKind::kRest) fault(*frame, at, "the length stands behind an item of len: rest");
  }
  if (rests > 1 || (rests == 1 && !frame))
    fault(node, place, "len: rest needs frame, and can stand once");
  if (const Node* items = node.find("items")) {
    for (size_t i = 0; i < layout.items.size(); ++i) {
      const Node& written = items->members[i].value;
      const Node* equals = written.is_map() ? written.find("equals") : nullptr;
      if (!equals) continue;
      Item& item = layout.items[i];
      Place at{.parent = &place, .key = "equals", .pos = equals->pos};
      if (!is_scalar(*equals, at)) continue;
      if (item.kind != ItemKind::kNumber || item.has_value || !item.when.empty()) {
        fault(*equals, at, "equals goes with a number that is always there and no constant");
        continue;
      }
      item.derived = true;
      read_expression(layout, *equals, at, item.equals, layout.items.size(), true);
      layout.derived.push_back(static_cast<uint8_t>(i));
      for (const Expression::Part& part : item.equals.parts)
        if (part.end && layout.items[part.index].body) fault(*equals, at, "a body's end can't be counted");
    }
  }
  // One number carries one length.
  std::vector<uint8_t> owners;
  auto own = [&](const Expression& e) {
    if (e.owner == kNowhere) return;
    if (layout.items[e.owner].derived)
      fault(node, place, "\"" + layout.items[e.owner].name + "\" has equals, so it can't be a length as well");
    if (std::find(owners.begin(), owners.end(), e.owner) != owners.end())
      fault(node, place, "\"" + layout.items[e.owner].name + "\" is the length of two things");
    owners.push_back(e.owner);
  };
  own(layout.frame);
  for (const Item& item : layout.items)
    if (item.kind == ItemKind::kLength) own(item.length);

  uint64_t least = 0, at = 0;
  bool fixed = true;
  for (size_t i = 0; i < layout.items.size(); ++i) {
    Item& item = layout.items[i];
    if (item.when.empty()) least += least_bytes(item);
    bool binary = (item.kind == ItemKind::kNumber && item.number.coding == Coding::kFixed) || item.kind == ItemKind::kBytes;
    fixed = fixed && binary && item.when.empty();
    if (fixed) {
      item.fixed_at = static_cast<int32_t>(at);
      at += least_bytes(item);
      layout.fixed_items = static_cast<uint32_t>(i + 1);
      if (item.kind == ItemKind::kNumber)
        layout.loads.push_back({.at = static_cast<uint16_t>(item.fixed_at),
                                .slot = static_cast<uint8_t>(i),
                                .width = item.number.width,
                                .big = item.number.big,
                                .is_signed = item.number.is_signed});
    }
    if (item.max == 0) item.max = item.body ? g_.frame_bytes_max : g_.head_bytes_max;
    if (item.kind == ItemKind::kUntil) layout.until = true;
    if (item.has_value) {
      Check c;
      c.test.source = {.from = item.kind == ItemKind::kBytes ? From::kItem : From::kSlot,
                       .index = static_cast<uint8_t>(i),
                       .offset = static_cast<uint32_t>(i)};
      c.test.text = item.kind == ItemKind::kBytes;
      c.test.low = item.value;
      c.test.numbers = {item.value};
      c.test.texts = {item.text};
      c.why = g_.name + ": " + item.name + " is not the value it must have";
      if (!item.when.empty()) c.optional = static_cast<uint8_t>(i);
      if (item.kind == ItemKind::kNumber && encoded_bytes(item.number, static_cast<uint64_t>(item.value)) == 0)
        fault(node, place, "the value of \"" + item.name + "\" does not fit its type");
      (fixed ? layout.checks : layout.late_checks).push_back(std::move(c));
    }
  }
  layout.fixed_bytes = static_cast<uint32_t>(at);
  if (least == 0) fault(node, place, "such a frame may be empty, so reading would never get on");
  if (at > g_.head_bytes_max || least > g_.head_bytes_max) fault(node, place, "the items are larger than limits.head");
  if (layout.checksum_item != kNowhere) {
    const Item& sum = layout.items[layout.checksum_item];
    layout.host_crc = sum.sum == Sum::kCrc32 && sum.sum_from == kNowhere && sum.number.big;
  }
}

// ---------------------------------------------------------------- blocks

void Compiler::read_block(Layout& layout, Item& item, const Node& node, const Place& place) {
  const Node* found = nullptr;
  std::string_view which;
  for (std::string_view key : {"pairs", "list", "split", "xml", "protobuf", "sections"}) {
    const Node* n = node.find(key);
    if (!n) continue;
    if (found) fault(*n, place, "an item holds one kind of block");
    found = n;
    which = key;
  }
  if (!found) return;
  Place at{.parent = &place, .key = which, .pos = found->pos};
  if (item.body) {
    fault(*found, at, "a body is not read");
    return;
  }
  if (layout.blocks.size() == kBlocksMax) {
    fault(*found, at, "at most 4 blocks in a layout");
    return;
  }
  item.block = static_cast<uint8_t>(layout.blocks.size());
  BlockPlan& plan = layout.blocks.emplace_back();
  plan.item = static_cast<uint8_t>(layout.items.size() - 1);
  if (which == "pairs") {
    read_pairs(plan, *found, at);
  } else if (which == "list") {
    plan.kind = Block::kList;
    if (!check_keys(*found, at, "list")) return;
    const Node &entry = *found->find("entry"), *count = found->find("count");
    Place entry_at{.parent = &at, .key = "entry", .pos = entry.pos};
    if (auto t = read_term_type(entry, entry_at)) plan.value = *t;
    if (!plan.value.text) fault(entry, entry_at, "a type with s is expected: u8s");
    read_count(plan, count, at);
  } else if (which == "split") {
    plan.kind = Block::kSplit;
    if (!check_keys(*found, at, "split")) return;
    const Node &by = *found->find("by"), &words = *found->find("words");
    Place by_at{.parent = &at, .key = "by", .pos = by.pos}, words_at{.parent = &at, .key = "words", .pos = words.pos};
    if (auto text = read_text(by, by_at, 1, 8)) plan.between = *text;
    if (!is_list(words, words_at)) return;
    if (words.items.empty() || words.items.size() > kLookupsMax) fault(words, words_at, "1 to 32 words are expected");
    for (size_t i = 0; i < words.items.size() && i < kLookupsMax; ++i) {
      const Node& word = words.items[i];
      Place word_at = item_of(words_at, i, word);
      if (!is_scalar(word, word_at)) continue;
      if (!is_name(word.text)) fault(word, word_at, "a name is expected");
      for (const Lookup& l : plan.lookups)
        if (l.name == word.text) fault(word, word_at, "two words have one name");
      Lookup l;
      l.name = word.text;
      l.number = static_cast<int64_t>(i);
      plan.lookups.push_back(std::move(l));
    }
    plan.words = static_cast<uint8_t>(plan.lookups.size());
  } else if (which == "xml") {
    plan.kind = Block::kXml;
    read_true(*found, at);
  } else if (which == "protobuf") {
    read_protobuf(plan, *found, at);
  } else {
    read_sections(plan, *found, at);
    bool pads = std::any_of(plan.sections.begin(), plan.sections.end(),
                            [](const Section& s) { return s.kind == Section::Kind::kPad && s.id == 0; });
    if (pads && item.kind == ItemKind::kLength) item.pad = static_cast<uint32_t>(item.length.owner_factor);
  }
  // Nothing looks at what stands behind the last one.
  if (plan.counted && item.kind == ItemKind::kLength)
    item.pad = static_cast<uint32_t>(item.length.owner_factor);
}

/// Of pairs or entries.
void Compiler::read_count(BlockPlan& plan, const Node* count, const Place& place) {
  if (!count) return;
  plan.counted = true;
  if (auto n = read_number_type(*count, {.parent = &place, .key = "count", .pos = count->pos}))
    plan.count = *n;
}

void Compiler::read_pairs(BlockPlan& plan, const Node& node, const Place& place) {
  plan.kind = Block::kPairs;
  if (!check_keys(node, place, "pairs")) return;
  auto at = [&](const Node& n, std::string_view key) { return Place{.parent = &place, .key = key, .pos = n.pos}; };
  const Node *key = node.find("key"), *value = node.find("value"), *count = node.find("count"),
             *between = node.find("between"), *after = node.find("after");
  if (between && after && !key && !value && !count) {
    plan.kind = Block::kTextPairs;
    if (auto text = read_text(*between, at(*between, "between"), 1, 8)) plan.between = *text;
    if (auto text = read_text(*after, at(*after, "after"), 1, 8)) plan.after = *text;
    return;
  }
  if (!key || !value || between || after) {
    fault(node, place, "key and value (binary pairs), or between and after (text pairs) are expected");
    return;
  }
  if (auto t = read_term_type(*key, at(*key, "key"))) plan.key = *t;
  if (auto t = read_term_type(*value, at(*value, "value"))) plan.value = *t;
  read_count(plan, count, place);
}

void Compiler::read_sections(BlockPlan& plan, const Node& node, const Place& place) {
  plan.kind = Block::kSections;
  if (!check_keys(node, place, "sections")) return;
  const Node &id = *node.find("id"), &kinds = *node.find("kinds");
  if (auto n = read_number_type(id, {.parent = &place, .key = "id", .pos = id.pos})) plan.section_id = *n;
  Place kinds_at{.parent = &place, .key = "kinds", .pos = kinds.pos};
  if (!is_map(kinds, kinds_at)) return;
  if (kinds.members.empty() || kinds.members.size() > 32) fault(kinds, kinds_at, "1 to 32 kinds are expected");
  for (const config::Member& m : kinds.members) {
    Place at = place_of(kinds_at, m);
    Section s;
    auto number = parse_integer(m.key);
    if (!number || *number < 0 || *number > UINT32_MAX) {
      fault(m.value, at, "a section's number is expected as key");
      continue;
    }
    s.id = static_cast<uint32_t>(*number);
    if (m.value.is_scalar()) {
      if (m.value.text != "pad") fault(m.value, at, "pad, or a block of keys is expected, found " + describe(m.value));
      plan.sections.push_back(std::move(s));
      continue;
    }
    if (!check_keys(m.value, at, "section")) continue;
    const Node *name = m.value.find("name"), *key = m.value.find("key"), *value = m.value.find("value"),
               *count = m.value.find("count"), *text = m.value.find("text");
    if (is_scalar(*name, at)) s.name = name->text;
    if (!is_name(s.name)) fault(*name, at, "a name is expected");
    for (const Section& other : plan.sections)
      if (other.name == s.name) fault(*name, at, "two sections have one name");
    if (text && !key && !value && !count) {
      s.kind = Section::Kind::kText;
      if (auto t = read_term_type(*text, at)) s.value = *t;
      if (!s.value.text) fault(*text, at, "a type with s is expected: u16s");
    } else if (key && value && count && !text) {
      s.kind = Section::Kind::kPairs;
      if (auto t = read_term_type(*key, at)) s.key = *t;
      if (auto t = read_term_type(*value, at)) s.value = *t;
      if (auto n = read_number_type(*count, at)) s.count = *n;
    } else {
      fault(m.value, at, "key, value and count, or text are expected");
    }
    plan.sections.push_back(std::move(s));
  }
}

void Compiler::read_protobuf(BlockPlan& plan, const Node& node, const Place& place) {
  plan.kind = Block::kProtobuf;
  if (!is_map(node, place)) return;
  if (node.members.empty() || node.members.size() > kLookupsMax) {
    fault(node, place, "1 to 32 fields are expected");
    return;
  }
  for (const config::Member& m : node.members) {
    Place at = place_of(place, m);
    if (!is_scalar(m.value, at)) continue;
    Lookup l;
    l.name = m.key;
    std::string_view text = m.value.text;
    size_t space = text.find(' ');
    std::vector<uint32_t> path;
    std::string_view type = space == std::string_view::npos ? "" : text.substr(space + 1);
    bool right = is_name(m.key) && parse_protobuf_path(text.substr(0, space), path);
    if (!right || (type != "int" && type != "text" && type != "present" && type != "map")) {
      fault(m.value, at, "a path and a type are expected (1.2 text); types: int, text, present, map; at most 4 numbers");
      continue;
    }
    std::copy(path.begin(), path.end(), l.path);
    l.path_len = static_cast<uint8_t>(path.size());
    l.is_number = type == "int" || type == "present";
    l.presence = type == "present" || type == "map";
    l.is_map = type == "map";
    if (l.is_map && path.size() != 1) fault(m.value, at, "a map is a field of the message itself");
    plan.lookups.push_back(std::move(l));
  }
}

}  // namespace dragoman::descriptor
