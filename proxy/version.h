#pragma once

#include <string_view>

namespace dragoman {

/// Set by the build (DRAGOMAN_VERSION, DRAGOMAN_COMMIT).
inline constexpr std::string_view kVersion = DRAGOMAN_VERSION;

}  // namespace dragoman
