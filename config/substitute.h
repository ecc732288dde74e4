// ${VAR}, ${VAR:-default}, ${VAR:?message} and $$ in values. Done after parsing: a variable can't change
// structure.
#pragma once

#include "config/context.h"
#include "config/node.h"

namespace dragoman::config {

/// Replaces in every value below `root` (keys stay). A `$` before anything but `{` or `$` is an ordinary
/// character. The text of a variable is not looked into again. A variable that is not set is a fault unless
/// it has a default.
void substitute(Node& root, const EnvLookup& env, Context& context);

}  // namespace dragoman::config
