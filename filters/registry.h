// The filters built in: one explicit table.
#pragma once

#include <memory>
#include <vector>

#include "config/config.h"
#include "filters/filter.h"
#include "proxy/base/result.h"

namespace dragoman {

/// The filter chain of a listener, in order: on HTTP listeners `forwarded` first (when it has anything to do), then
/// what the listener's `filters` list says.
Result<std::vector<std::unique_ptr<FilterFactory>>> make_filters(const config::Listener& listener);

}  // namespace dragoman
