// What each protocol can do, as a table for people.
#pragma once

#include <span>
#include <string>

#include "protocols/exchange.h"

namespace dragoman {

/// Protocol by ability. `markdown`: as the page protocols/CAPABILITIES.md; else for a terminal.
std::string capability_matrix(std::span<const Protocol> protocols, bool markdown);

}  // namespace dragoman
