// Inside of descriptor.h: YAML tree -> Program, with every fault at its place.
#pragma once

#include <functional>
#include <optional>

#include "config/context.h"
#include "config/node.h"
#include "protocols/descriptor/program.h"
#include "protocols/descriptor/syntax.h"

namespace dragoman::descriptor {

using config::Context;
using config::Node;
using config::Place;
using config::Position;

class Compiler {
 public:
  Compiler(Context& context, Program& program) : context_(context), g_(program) {}
  /// Fills the program, or reports why it can't be.
  void compile(const Node& root);

 private:
  // compile.cc: the file, layouts, items, blocks
  void read_limits(const Node& node, const Place& place);
  void read_layout(const std::string& name, const Node& node, const Place& place);
  bool read_item(Layout& layout, const std::string& name, const Node& node, const Place& place);
  void read_type(Layout& layout, Item& item, const std::string& text, const Node& node, const Place& place);
  void read_bits(Layout& layout, Item& item, const Node& node, const Place& place);
  void read_block(Layout& layout, Item& item, const Node& node, const Place& place);
  void read_pairs(BlockPlan& plan, const Node& node, const Place& place);
  void read_count(BlockPlan& plan, const Node* count, const Place& place);
  void read_sections(BlockPlan& plan, const Node& node, const Place& place);
  void read_protobuf(BlockPlan& plan, const Node& node, const Place& place);
  void finish_layout(Layout& layout, const Node& node, const Place& place);
  void read_expression(Layout& layout, const Node& node, const Place& place, Expression& out, size_t items_before,
                       bool ends);

  // rules.cc: kinds, ids, statuses, attributes, templates
  void read_kinds(const Node& node, const Place& place);
  void read_id(const Node& node, const Place& place);
  void read_status(const Node& node, const Place& place);
  void read_timeout(const Node& node, const Place& place);
  void read_headers(const Node& node, const Place& place);
  void read_attributes(const Node& node, const Place& place);
  void read_same(const Node& node, const Place& place);
  /// Into what `list` gives of each layout.
  void read_references(const Node& node, const Place& place, const std::function<References&(Layout&)>& list);
  void read_template(const char* name, const Node& node, const Place& place, Template& out);
  std::vector<Piece> read_pieces(const Node& node, const Place& place, const Layout& layout);
  void read_block_setting(const Layout& layout, BlockPlan& plan, const Node& node, const Place& place, Setting& out);
  void finish();
  void finish_quick(Layout& layout);
  void name_faults();
  void prove(const Node* make, const Place& place);

  // Names.
  Source resolve(Layout& layout, const Path& path);
  /// Resolves in every layout; reports a name that is in none.
  std::vector<Source> resolve_everywhere(const Path& path, const Node& node, const Place& place, size_t offset = 0);
  uint8_t look_up(Layout& layout, uint8_t block, const Path& path, size_t step);
  std::vector<std::string_view> all_names() const;

  // Tests.
  std::optional<TestText> read_test_text(const Node& node, const Place& place);
  Test bind_test(const TestText& text, const Source& source) const;
  /// The tests of `node`, for each layout (one only when `fixed`: absolute offsets).
  std::vector<Tests> read_tests(const Node* node, const Place& place);
  Tests read_fixed_tests(const Node* node, const Place& place, uint32_t& bytes);
  Tests read_item_tests(Layout& layout, const Node& node, const Place& place);

  // Nodes.
  bool is_map(const Node& node, const Place& place);
  bool is_list(const Node& node, const Place& place);
  bool is_scalar(const Node& node, const Place& place);
  bool check_keys(const Node& node, const Place& place, std::string_view where);
  std::optional<int64_t> read_integer(const Node& node, const Place& place, int64_t first, int64_t last);
  std::optional<uint64_t> read_size(const Node& node, const Place& place, uint64_t first, uint64_t last);
  std::optional<std::string> read_text(const Node& node, const Place& place, size_t first, size_t last);
  bool read_true(const Node& node, const Place& place);
  std::optional<Number> read_number_type(const Node& node, const Place& place);
  std::optional<Term> read_term_type(const Node& node, const Place& place);
  uint32_t read_word(const Node& node, const Place& place, std::string_view what,
                     std::span<const std::string_view> words);
  void fault(const Node& node, const Place& place, std::string message, size_t offset = 0);
  void unknown(const Node& node, const Place& place, std::string_view what, std::string_view word,
               std::span<const std::string_view> words, size_t offset = 0);
  static Position inside(const Node& node, size_t offset);

  Context& context_;
  Program& g_;
  bool big_ = true;
  bool layouts_right_ = true;
};

/// Where a member stands.
inline Place place_of(const Place& parent, const config::Member& member) {
  return {.parent = &parent, .key = member.key, .pos = member.value.pos};
}
inline Place item_of(const Place& parent, size_t index, const Node& node) {
  return {.parent = &parent, .index = static_cast<int>(index), .pos = node.pos};
}

inline constexpr std::string_view kOutcomes[] = {"ok",          "client_error", "server_error", "overloaded",
                                                 "timeout",     "unavailable",  "no_route",     "denied",
                                                 "reset",       "codec_error",  "too_large",    "unknown",
                                                 "rate_limited"};

}  // namespace dragoman::descriptor
