#include "config/substitute.h"

#include "config/load.h"

namespace dragoman::config {
namespace {

bool is_name(std::string_view text) {
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return false;
  for (char c : text) {
    if (!(c == '_' || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
      return false;
  }
  return true;
}

/// Well-formed in the sense of RFC 3629.
bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xc2 && lead < 0xe0 ? 2
                          : lead >= 0xe0 && lead < 0xf0 ? 3
                                                        : 4;
    if (lead >= 0xf5 || (lead >= 0x80 && lead < 0xc2) || i + length > text.size()) return false;
    for (size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<unsigned char>(text[i + k]);
      if ((byte & 0xc0) != 0x80) return false;
      if (k == 1 && ((lead == 0xe0 && byte < 0xa0) || (lead == 0xed && byte > 0x9f) ||
                     (lead == 0xf0 && byte < 0x90) || (lead == 0xf4 && byte > 0x8f))) {
        return false;
      }
    }
    i += length;
  }
  return true;
}

class Substituter {
 public:
  Substituter(const EnvLookup& env, Context& context) : env_(env), context_(context) {}

  void walk(Node& node, Place place) {
    place.pos = node.pos;
    if (node.is_scalar()) scalar(node, place);
    for (size_t i = 0; i < node.items.size(); ++i) {
      walk(node.items[i], {.parent = &place, .index = static_cast<int>(i)});
    }
    for (Member& member : node.members) walk(member.value, {.parent = &place, .key = member.key});
  }

 private:
  void scalar(Node& node, const Place& place) {
    if (node.text.find('$') == std::string::npos) return;
    std::string out;
    std::string_view rest = node.text;
    while (!rest.empty()) {
      const size_t dollar = rest.find('$');
      out += rest.substr(0, dollar);
      if (dollar == std::string_view::npos) break;
      rest.remove_prefix(dollar);
      if (rest.starts_with("$$")) {
        out += '$';
        rest.remove_prefix(2);
      } else if (rest.starts_with("${")) {
        const size_t close = rest.find('}');
        if (close == std::string_view::npos) {
          fail(node, place, "\"${\" without \"}\"; write \"$${\" for the characters themselves");
          return;
        }
        if (!variable(rest.substr(2, close - 2), node, place, out)) return;
        node.substituted = true;
        rest.remove_prefix(close + 1);
      } else {
        out += '$';
        rest.remove_prefix(1);
      }
    }
    node.text = std::move(out);
  }

  bool variable(std::string_view inside, Node& node, const Place& place, std::string& out) {
    const size_t colon = inside.find(':');
    const std::string name(inside.substr(0, colon));
    const std::string_view rule = colon == std::string_view::npos ? "" : inside.substr(colon);
    const bool with_default = rule.starts_with(":-");
    const bool with_message = rule.starts_with(":?");
    if (!is_name(name) || (!rule.empty() && !with_default && !with_message)) {
      fail(node, place,
           "unknown substitution; allowed: ${VAR}, ${VAR:-default}, ${VAR:?message}, and $$ for a dollar "
           "sign");
      return false;
    }
    const std::optional<std::string> value = env_ ? env_(name) : std::nullopt;
    if (value && !is_utf8(*value)) {
      fail(node, place, "the environment variable " + name + " is not UTF-8 text");
      return false;
    }
    if (value && (rule.empty() || !value->empty())) {
      out += *value;
      context_.add_secret(*value);
    } else if (with_default) {
      out += rule.substr(2);
    } else if (with_message) {
      const std::string_view why = rule.substr(2);
      fail(node, place, name + ": " + (why.empty() ? "must be set in the environment" : std::string(why)));
      return false;
    } else {
      fail(node, place,
           "the environment variable " + name + " is not set; ${" + name + ":-default} would give a default");
      return false;
    }
    return true;
  }

  void fail(Node& node, const Place& place, std::string message) {
    node.broken = true;
    context_.error(place, {.message = std::move(message)});
  }

  const EnvLookup& env_;
  Context& context_;
};

}  // namespace

void substitute(Node& root, const EnvLookup& env, Context& context) {
  Substituter(env, context).walk(root, {});
}

}  // namespace dragoman::config
