// The only file that knows yaml-cpp.
#include "config/document.h"

#include <yaml-cpp/yaml.h>

#include <unordered_set>

namespace dragoman::config {
namespace {

/// yaml-cpp counts columns in bytes; people and editors count characters.
class Lines {
 public:
  explicit Lines(std::string_view text) : text_(text) {
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
    starts_.push_back(0);
    for (size_t i = 0; i < text_.size(); ++i) {
      if (text_[i] == '\n') starts_.push_back(i + 1);
    }
  }

  Position position(const YAML::Mark& mark) const {
    if (mark.is_null()) return {};
    const size_t line = static_cast<size_t>(mark.line);
    if (line >= starts_.size()) return {mark.line + 1, mark.column + 1};
    int column = 1;
    for (char byte : text_.substr(starts_[line], static_cast<size_t>(mark.column))) {
      if ((static_cast<unsigned char>(byte) & 0xc0) != 0x80) ++column;
    }
    return {mark.line + 1, column};
  }

 private:
  std::string_view text_;
  std::vector<size_t> starts_;
};

Node convert(const YAML::Node& from, const Lines& lines) {
  Node node;
  node.pos = lines.position(from.Mark());
  switch (from.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      break;
    case YAML::NodeType::Scalar:
      node.kind = Node::Kind::kScalar;
      node.quoted = from.Tag() == "!";  // plain scalars carry "?"
      node.text = from.Scalar();
      if (!node.quoted && scalar_type(node.text) == ScalarType::kNull) {
        node = Node();
        node.pos = lines.position(from.Mark());
      }
      break;
    case YAML::NodeType::Sequence:
      node.kind = Node::Kind::kSequence;
      node.items.reserve(from.size());
      for (const auto& item : from) node.items.push_back(convert(item, lines));
      break;
    case YAML::NodeType::Map: {
      node.kind = Node::Kind::kMap;
      std::unordered_set<std::string> seen;
      for (const auto& member : from) {
        // A plain null key (`~: 1`) has no text of its own.
        std::string key = member.first.IsScalar() ? member.first.Scalar() : std::string("~");
        if (!seen.insert(key).second) continue;
        const Position pos = lines.position(member.first.Mark());
        node.members.push_back({std::move(key), pos, convert(member.second, lines)});
        Node& value = node.members.back().value;
        if (value.kind == Node::Kind::kNull) value.pos = pos;
      }
      break;
    }
  }
  return node;
}

}  // namespace

std::optional<Node> build_tree(std::string_view text, Context& context) {
  try {
    return convert(YAML::Load(std::string(text)), Lines(text));
  } catch (const YAML::Exception& e) {
    const bool known = !e.mark.is_null();
    context.error(known ? Lines(text).position(e.mark) : Position{}, "not well-formed YAML: " + e.msg);
    return std::nullopt;
  }
}

}  // namespace dragoman::config
