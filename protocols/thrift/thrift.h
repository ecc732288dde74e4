// Apache Thrift: framed, unframed and THeader transports; binary (strict and old) and compact encodings; multiplexed
// names. Wire table and rules: README.md beside this file.
#pragma once

#include "protocols/plugin.h"

namespace dragoman {

const dragoman_codec* thrift_codec();

}  // namespace dragoman
