// Host names as certificates, TLS hellos and their rules write them.
#pragma once

#include <string_view>

namespace dragoman {

/// "*.example.org" covers exactly one label before the suffix (RFC 6125 section 6.4.3). Both in lower case.
inline bool server_name_covers(std::string_view pattern, std::string_view host) {
  if (!pattern.starts_with("*.")) return pattern == host;
  const size_t dot = host.find('.');
  return dot != std::string_view::npos && dot > 0 && host.substr(dot) == pattern.substr(1);
}

}  // namespace dragoman
