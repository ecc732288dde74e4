#include "proxy/route/part_index.h"

#include <algorithm>

namespace dragoman {

void PartIndex::build() {
  std::sort(words_.begin(), words_.end(), [](const Word& a, const Word& b) { return a.text < b.text; });
  // Breadth first: a node's fallback is less deep, so it is complete when the node is made.
  struct Range {
    size_t first, last;  // of words_, those that begin as the node says
    size_t depth;
  };
  std::vector<Range> ranges{{0, words_.size(), 0}};
  nodes_.emplace_back();
  letters_.push_back('\0');
  for (uint32_t at = 0; at < nodes_.size(); ++at) {
    Range range = ranges[at];
    if (range.first < range.last && words_[range.first].text.size() == range.depth)
      ++range.first;  // ends here
    nodes_[at].first = static_cast<uint32_t>(nodes_.size());
    while (range.first < range.last) {
      const char letter = words_[range.first].text[range.depth];
      size_t end = range.first;
      while (end < range.last && words_[end].text[range.depth] == letter) ++end;
      Node node;
      if (at != 0) {
        uint32_t from = nodes_[at].fallback;
        while ((node.fallback = child(from, letter)) == 0 && from != 0) from = nodes_[from].fallback;
      }
      const Node& fallback = nodes_[node.fallback];
      node.shorter = fallback.value != kNone ? node.fallback : fallback.shorter;
      node.lowest = fallback.lowest;
      if (const Word& word = words_[range.first]; word.text.size() == range.depth + 1) {
        node.value = word.value;
        node.lowest = std::min(node.lowest, word.lowest);
      }
      ranges.push_back({range.first, end, range.depth + 1});
      nodes_.push_back(node);
      letters_.push_back(letter);
      range.first = end;
    }
    nodes_[at].children = static_cast<uint32_t>(nodes_.size()) - nodes_[at].first;
  }
  words_ = {};
}

}  // namespace dragoman
