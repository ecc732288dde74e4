// Short ways to write route tables and heads.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "proxy/route/route_table.h"

namespace dragoman::test {

inline config::Route to(std::string cluster, config::Match match = {}) {
  config::Route route;
  route.name = cluster;
  route.cluster = std::move(cluster);
  route.match = std::move(match);
  return route;
}

inline config::Match path(std::string text) {
  config::Match match;
  match.path = std::move(text);
  return match;
}

inline config::Match prefix(std::string text) {
  config::Match match;
  match.prefix = std::move(text);
  return match;
}

inline config::Match regex(std::string text) {
  config::Match match;
  match.regex = std::move(text);
  return match;
}

inline config::Match service(std::string name, std::vector<std::string> methods = {}) {
  config::Match match;
  match.service = std::move(name);
  match.method = std::move(methods);
  return match;
}

inline config::RouteTable table_of(std::vector<config::Route> routes) {
  config::RouteTable table;
  table.name = "t";
  table.routes = std::move(routes);
  return table;
}

using Fields = std::vector<std::pair<std::string, std::string>>;

/// Texts must outlive the head, except `fields`.
inline std::unique_ptr<Head> http_request(std::string_view method, std::string_view target,
                                          std::string_view authority = "a.test", const Fields& fields = {}) {
  auto head = std::make_unique<Head>();
  head->is_http = true;
  head->method = method;
  head->path = target;
  head->authority = authority;
  head->scheme = "http";
  for (const auto& [name, value] : fields) head->headers.add(name, value);
  return head;
}

inline std::unique_ptr<Head> rpc_request(std::string_view service_name, std::string_view method,
                                         const Fields& fields = {}) {
  auto head = std::make_unique<Head>();
  head->service = service_name;
  head->method = method;
  for (const auto& [name, value] : fields) head->headers.add(name, value);
  return head;
}

}  // namespace dragoman::test
