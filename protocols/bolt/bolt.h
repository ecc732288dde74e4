// SOFA Bolt v1 and v2 (sofa-bolt 1.6, SOFARPC 5, SOFAJRaft). Wire table and rules: README.md beside this
// file.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* bolt_codec();

}  // namespace dragoman
