// Seata RPC, versions 1 and 2 (coordinator, transaction and resource managers). README.md beside this file.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* seata_codec();

}  // namespace dragoman
