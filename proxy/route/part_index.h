// Which of many words does a text contain? One walk over the text, whatever their number (Aho and Corasick's automaton).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

namespace dragoman {

class PartIndex {
 public:
  /// Letters of a word that are looked at.
  static constexpr size_t kLettersMax = 64;

  /// `part` has a letter (and at most kLettersMax where search_end() is used), is not copied, must live until build(), and is added once (as far as it is looked at). `lowest` is the lowest
  /// route that `value` leads to.
  void add(std::string_view part, uint32_t value, uint32_t lowest) {
    words_.push_back({part.substr(0, kLettersMax), value, lowest});
    longest_ = std::max(longest_, words_.back().text.size());
  }
  /// Once, after the last add().
  void build();
  bool empty() const { return nodes_.size() < 2; }

  /// Calls visit(value) for words that `text` contains, perhaps more than once, as long as they lead to a route below
  /// `best`, which visit() may lower.
  template <class Visit>
  void search(std::string_view text, const uint32_t& best, const Visit& visit) const {
    uint32_t at = 0;
    for (char c : text) {
      at = step(at, c);
      visit_words(at, best, visit);
    }
  }
  /// The same for words that `text` ends with.
  template <class Visit>
  void search_end(std::string_view text, const uint32_t& best, const Visit& visit) const {
    if (text.size() > longest_) text.remove_prefix(text.size() - longest_);
    uint32_t at = 0;
    for (char c : text) at = step(at, c);
    visit_words(at, best, visit);
  }

 private:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Word {
    std::string_view text;
    uint32_t value;
    uint32_t lowest;
  };
  /// A beginning of words; 0 is the empty one. Its children stand side by side.
  struct Node {
    uint32_t first = 0;
    uint32_t children = 0;
    uint32_t fallback = 0;    // the longest ending of this beginning that is a beginning, too
    uint32_t shorter = 0;     // the longest such ending that is a word; 0 = none
    uint32_t value = kNone;   // of the word that ends here
    uint32_t lowest = kNone;  // of the words that end here
  };
  /// From the beginning that the text ended with to the one that it ends with now.
  uint32_t step(uint32_t at, char letter) const {
    uint32_t next;
    while ((next = child(at, letter)) == 0 && at != 0) at = nodes_[at].fallback;
    return next;
  }
  template <class Visit>
  void visit_words(uint32_t at, const uint32_t& best, const Visit& visit) const {
    for (; nodes_[at].lowest < best; at = nodes_[at].shorter)
      if (nodes_[at].value != kNone) visit(nodes_[at].value);
  }
  uint32_t child(uint32_t node, char letter) const {
    const Node& n = nodes_[node];
    if (n.children == 0) return 0;
    const void* found = std::memchr(letters_.data() + n.first, letter, n.children);
    return found ? static_cast<uint32_t>(static_cast<const char*>(found) - letters_.data()) : 0;
  }

  std::vector<Word> words_;  // until build()
  std::vector<Node> nodes_;
  size_t longest_ = 0;
  std::vector<char> letters_;  // by node: the one that leads to it
};

}  // namespace dragoman
