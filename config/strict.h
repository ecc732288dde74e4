// First pass over the text: is it one well-formed YAML document of the kind we read, and small enough to
// build?
#pragma once

#include <string_view>

#include "config/context.h"

namespace dragoman::config {

/// Reports every duplicate key, explicit tag, and the first fault that makes the rest unreadable: syntax,
/// bytes that are not UTF-8, nesting over kDepthMax, more than kNodesMax nodes or kSourceBytesMax bytes of
/// text with aliases counted as what they stand for, an alias that is unknown or inside itself, a key that is
/// no scalar, a second document. Returns false after such a fault: the text must not be given to a tree
/// builder.
bool check_yaml(std::string_view text, Context& context);

}  // namespace dragoman::config
