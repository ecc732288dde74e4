#include "proxy/route/prefix_index.h"

#include <algorithm>

namespace dragoman {

void PrefixIndex::add(std::string_view prefix, uint32_t value, uint32_t lowest) {
  nodes_.push_back({prefix, value, kNone, lowest});
}

void PrefixIndex::build() {
  std::sort(nodes_.begin(), nodes_.end(), [](const Node& a, const Node& b) { return a.prefix < b.prefix; });
  for (uint32_t i = 1; i < nodes_.size(); ++i) {
    // In sorted order the parent is the previous node or one of its ancestors.
    Node& node = nodes_[i];
    node.parent = i - 1;
    while (node.parent != kNone && !node.prefix.starts_with(nodes_[node.parent].prefix))
      node.parent = nodes_[node.parent].parent;
    if (node.parent != kNone) node.lowest = std::min(node.lowest, nodes_[node.parent].lowest);
  }
}

uint32_t PrefixIndex::longest(std::string_view text) const {
  auto after = std::upper_bound(nodes_.begin(), nodes_.end(), text,
                                [](std::string_view t, const Node& node) { return t < node.prefix; });
  if (after == nodes_.begin()) return kNone;
  auto at = static_cast<uint32_t>(after - nodes_.begin() - 1);
  std::string_view near = nodes_[at].prefix;
  size_t common = 0;
  while (common < near.size() && common < text.size() && near[common] == text[common]) ++common;
  while (at != kNone && nodes_[at].prefix.size() > common) at = nodes_[at].parent;
  return at;
}

}  // namespace dragoman
