// How expressions of routes are read.
#pragma once

#include <re2/re2.h>

namespace dragoman {

/// `bytes_max`: memory for the compiled form and its caches together.
inline RE2::Options pattern_options(int64_t bytes_max) {
  RE2::Options options;
  options.set_encoding(RE2::Options::EncodingLatin1);
  options.set_dot_nl(true);
  options.set_never_capture(true);
  options.set_log_errors(false);
  options.set_max_mem(bytes_max);
  return options;
}

}  // namespace dragoman
