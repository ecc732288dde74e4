// CloudWeGo Kitex TTHeader: see README.md.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* ttheader_codec();

}  // namespace dragoman
