// Domains of virtual hosts: exact, "*.suffix", "prefix.*", "*".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "proxy/base/result.h"
#include "proxy/route/ignore_case.h"

namespace dragoman {

/// `authority` without port and without one trailing dot; an IPv6 literal keeps its brackets.
std::string_view host_of(std::string_view authority);

class DomainIndex {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  /// Fails when the domain is not of the four kinds, or was added before (letter case aside).
  Result<void> add(std::string_view domain, uint32_t virtual_host);

  /// The virtual host for `authority`: exact, else the longest suffix, else the longest prefix, else "*", else kNone.
  uint32_t find(std::string_view authority) const;

 private:
  using Map = std::unordered_map<std::string, uint32_t, IgnoreCaseHash, IgnoreCaseEqual>;

  Map exact_;
  Map suffixes_;  // ".x" for "*.x"
  Map prefixes_;  // "x." for "x.*"
  size_t longest_suffix_ = 0;  // bounds the work for a long authority
  size_t longest_prefix_ = 0;
  uint32_t any_ = kNone;
};

}  // namespace dragoman
