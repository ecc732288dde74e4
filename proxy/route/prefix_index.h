// Which of many prefixes does a text start with? One binary search, whatever their number.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace dragoman {

/// "No route" where a route's number is expected.
inline constexpr uint32_t kNoRoute = std::numeric_limits<uint32_t>::max();

/// Prefix -> a value. The sorted prefixes form a forest: the parent of a prefix is the longest other one that it starts
/// with. Every prefix of a text is the text's predecessor in sorted order or one of that one's ancestors.
class PrefixIndex {
 public:
  /// `prefix` is not copied, and is added once. `lowest` is the lowest route that `value` leads to.
  void add(std::string_view prefix, uint32_t value, uint32_t lowest);
  /// Once, after the last add().
  void build();
  bool empty() const { return nodes_.empty(); }

  /// Calls visit(value) for prefixes of `text`, the longest first, while one of those left leads to a route below `best`,
  /// which visit() may lower.
  template <class Visit>
  void search(std::string_view text, const uint32_t& best, const Visit& visit) const {
    for (uint32_t at = longest(text); at != kNone && nodes_[at].lowest < best; at = nodes_[at].parent)
      visit(nodes_[at].value);
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Node {
    std::string_view prefix;
    uint32_t value;
    uint32_t parent;
    uint32_t lowest;  // of this node and its ancestors
  };
  /// The longest prefix of `text`, or kNone.
  uint32_t longest(std::string_view text) const;

  std::vector<Node> nodes_;  // sorted by prefix after build()
};

}  // namespace dragoman
