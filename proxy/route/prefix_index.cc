#include "proxy/route/prefix_index.h"

#include <algorithm>

namespace dragoman {

void PrefixIndex::add(std::string_view prefix, uint32_t route) { entries_.push_back({prefix, route}); }

void PrefixIndex::build() {
  std::stable_sort(entries_.begin(), entries_.end(),
                   [](const Entry& a, const Entry& b) { return a.prefix < b.prefix; });
  routes_.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    if (nodes_.empty() || nodes_.back().prefix != entry.prefix) {
      // In sorted order the parent is the previous node or one of its ancestors.
      uint32_t parent = nodes_.empty() ? kNone : static_cast<uint32_t>(nodes_.size() - 1);
      while (parent != kNone && !entry.prefix.starts_with(nodes_[parent].prefix)) parent = nodes_[parent].parent;
      auto first = static_cast<uint32_t>(routes_.size());
      uint32_t inherited = parent == kNone ? kNoRoute : nodes_[parent].lowest;
      nodes_.push_back({entry.prefix, parent, first, first, std::min(inherited, entry.route)});
    }
    routes_.push_back(entry.route);
    nodes_.back().last = static_cast<uint32_t>(routes_.size());
  }
  entries_ = {};
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
