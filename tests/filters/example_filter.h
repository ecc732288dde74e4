#pragma once

#include <memory>
#include <string>

#include "filters/filter.h"

namespace dragoman {

std::unique_ptr<FilterFactory> make_deny_agent_filter(std::string agent);

}  // namespace dragoman
