// Which of many prefixes does a text start with? One binary search, whatever their number.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace dragoman {

/// "No route" where a route's number is expected.
inline constexpr uint32_t kNoRoute = std::numeric_limits<uint32_t>::max();

/// Prefix -> numbers of routes. The sorted prefixes form a forest: the parent of a prefix is the longest other one that
/// it starts with. Every prefix of a text is the text's predecessor in sorted order or one of that one's ancestors.
class PrefixIndex {
 public:
  /// `prefix` is not copied. Routes must be added in rising order.
  void add(std::string_view prefix, uint32_t route);
  /// Once, after the last add().
  void build();

  /// Lowers `best` to the lowest route that stands under a prefix of `text` and for which `holds(route)` is true.
  template <class Holds>
  void search(std::string_view text, uint32_t& best, const Holds& holds) const {
    for (uint32_t at = longest(text); at != kNone && nodes_[at].lowest < best; at = nodes_[at].parent) {
      const Node& node = nodes_[at];
      for (uint32_t i = node.first; i < node.last && routes_[i] < best; ++i)
        if (holds(routes_[i])) best = routes_[i];
    }
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Entry {
    std::string_view prefix;
    uint32_t route;
  };
  struct Node {
    std::string_view prefix;
    uint32_t parent;
    uint32_t first;   // its routes: routes_[first, last), rising
    uint32_t last;
    uint32_t lowest;  // lowest route of this node and its ancestors
  };
  /// The longest prefix of `text`, or kNone.
  uint32_t longest(std::string_view text) const;

  std::vector<Entry> entries_;  // until build()
  std::vector<Node> nodes_;     // sorted by prefix
  std::vector<uint32_t> routes_;
};

}  // namespace dragoman
