// Tars and TUP: see README.md.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* tars_codec();

}  // namespace dragoman
