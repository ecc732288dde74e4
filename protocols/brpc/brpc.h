// brpc's baidu_std: see README.md.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* brpc_codec();

}  // namespace dragoman
