// Dubbo 2 (TCP protocol "dubbo"; Java 2.6 to 3.x, Node clients). Wire table and rules: README.md beside this file.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* dubbo_codec();

}  // namespace dragoman
