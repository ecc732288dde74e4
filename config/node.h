// The YAML document as plain data: what the rest of config reads instead of a YAML library's own tree.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace dragoman::config {

struct Member;

struct Node {
  enum class Kind : uint8_t { kNull, kScalar, kSequence, kMap };

  Kind kind = Kind::kNull;
  bool quoted = false;       // scalar in quotes or a block scalar: always text
  bool substituted = false;  // scalar that came from ${...}: whatever type its place asks for
  bool broken = false;       // already reported; not to be read
  Position pos{};
  std::string text{};             // kScalar
  std::vector<Node> items{};      // kSequence
  std::vector<Member>
      members;  // kMap, keys unique, in the order written; "{}" would need Member complete here

  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_sequence() const { return kind == Kind::kSequence; }
  bool is_map() const { return kind == Kind::kMap; }
  /// Value of `key` in a map, or null.
  const Node* find(std::string_view key) const;
};

struct Member {
  std::string key;
  Position pos;  // of the key
  Node value;
};

inline const Node* Node::find(std::string_view key) const {
  for (const Member& member : members) {
    if (member.key == key) return &member.value;
  }
  return nullptr;
}

/// What an unquoted scalar is by the YAML 1.2 core schema.
enum class ScalarType : uint8_t { kNull, kBool, kInteger, kFloat, kText };
ScalarType scalar_type(std::string_view text);

/// What `node` is, for messages: `the number 5`, `the text "abc"`, `a list`, `nothing`.
std::string describe(const Node& node);
/// Printable and short: control bytes as \xNN, cut at 60 bytes.
std::string printable(std::string_view text);

}  // namespace dragoman::config
