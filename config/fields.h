// The table of settings.
#pragma once

#include "config/value.h"

namespace dragoman::config {

/// The block at the top of the file, a Config; everything else hangs below it.
const Block& root_block();

}  // namespace dragoman::config
