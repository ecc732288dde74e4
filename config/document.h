// Second pass: the text as a tree of nodes.
#pragma once

#include <optional>
#include <string_view>

#include "config/context.h"
#include "config/node.h"

namespace dragoman::config {

/// Builds the tree of a text that check_yaml() accepted. Aliases are copied out, of duplicate keys the first
/// stays. Nothing after a fault (reported).
std::optional<Node> build_tree(std::string_view text, Context& context);

}  // namespace dragoman::config
