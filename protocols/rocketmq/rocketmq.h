// RocketMQ remoting: see README.md.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* rocketmq_codec();

}  // namespace dragoman
