// The table that a library gives, which may be from an earlier or a later minor version.
#pragma once

#include "protocols/plugin.h"
#include "proxy/base/result.h"

namespace dragoman {

/// A table of our size: what the library's has of it, and zeroes for what was appended later. Refused are another
/// major version and a table that ends within the required functions; the error names both sides.
Result<dragoman_codec> read_table(const dragoman_codec& given);

}  // namespace dragoman
