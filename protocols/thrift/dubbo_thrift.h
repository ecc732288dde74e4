// Dubbo's "thrift" protocol: a Thrift message behind a header with the service and a Dubbo id. README.md beside this
// file.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* dubbo_thrift_codec();

}  // namespace dragoman
