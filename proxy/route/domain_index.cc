#include "proxy/route/domain_index.h"

#include <algorithm>

namespace dragoman {

std::string_view host_of(std::string_view authority) {
  size_t end = authority.starts_with('[') ? authority.find(']') : authority.find(':');
  if (end != std::string_view::npos) authority = authority.substr(0, authority[end] == ']' ? end + 1 : end);
  if (authority.size() > 1 && authority.ends_with('.')) authority.remove_suffix(1);
  return authority;
}

Result<void> DomainIndex::add(std::string_view domain, uint32_t virtual_host) {
  auto refuse = [&](const char* why) { return unexpected("domain \"" + std::string(domain) + "\" " + why); };
  auto insert = [&](Map& map, std::string_view key) -> Result<void> {
    if (key.find('*') != std::string_view::npos) return refuse("has a '*' in a place where it means nothing");
    if (!map.emplace(std::string(key), virtual_host).second) return refuse("is in the table twice");
    return {};
  };
  if (domain.empty()) return refuse("is empty");
  if (domain == "*") {
    if (any_ != kNone) return refuse("is in the table twice");
    any_ = virtual_host;
    return {};
  }
  if (domain.starts_with("*.") && domain.size() > 2) {
    longest_suffix_ = std::max(longest_suffix_, domain.size() - 1);
    return insert(suffixes_, domain.substr(1));
  }
  if (domain.ends_with(".*") && domain.size() > 2) {
    longest_prefix_ = std::max(longest_prefix_, domain.size() - 1);
    return insert(prefixes_, domain.substr(0, domain.size() - 1));
  }
  return insert(exact_, domain);
}

uint32_t DomainIndex::find(std::string_view authority) const {
  std::string_view host = host_of(authority);
  if (!exact_.empty()) {
    if (auto it = exact_.find(host); it != exact_.end()) return it->second;
  }
  if (!suffixes_.empty()) {
    // The part that '*' stands for is at least one character.
    size_t from = host.size() > longest_suffix_ ? host.size() - longest_suffix_ : 1;
    for (size_t dot = host.find('.', from); dot != std::string_view::npos; dot = host.find('.', dot + 1))
      if (auto it = suffixes_.find(host.substr(dot)); it != suffixes_.end()) return it->second;
  }
  if (!prefixes_.empty() && host.size() > 1) {
    size_t from = std::min(host.size() - 2, longest_prefix_ - 1);
    for (size_t dot = host.rfind('.', from); dot != std::string_view::npos; dot = host.rfind('.', dot - 1)) {
      if (auto it = prefixes_.find(host.substr(0, dot + 1)); it != prefixes_.end()) return it->second;
      if (dot == 0) break;
    }
  }
  return any_;
}

}  // namespace dragoman
