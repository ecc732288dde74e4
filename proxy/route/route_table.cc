#include "proxy/route/route_table.h"

#include "protocols/http/target.h"
#include "proxy/route/domain_index.h"
#include "proxy/route/route_matcher.h"

namespace dragoman {
namespace {

/// What a rewrite puts in front is compared with normalised paths.
bool settle(std::string& path) {
  const char* why = nullptr;
  const PathRules rules{.normalize = true, .encoded_slashes = true, .backslashes = true};
  if (!path.empty()) path.resize(settle_target(path.data(), path.size(), rules, &why).size());
  return why == nullptr;
}

Result<Route> compile_route(const config::Route& from, const Conditions& conditions) {
  using PathMatch = Route::PathMatch;
  Route route;
  int actions = !from.cluster.empty() + !from.clusters.empty() + from.redirect.has_value() + from.direct_response.has_value();
  if (actions != 1) return unexpected("needs exactly one of cluster, clusters, redirect and direct_response");

  const bool replaceable = conditions.path_match == PathMatch::kExact || conditions.path_match == PathMatch::kPrefix;
  if (!replaceable && !from.prefix_rewrite.empty())
    return unexpected("prefix_rewrite needs match.path or match.prefix");
  if (from.prefix_rewrite.find_first_of("?#") != std::string::npos)
    return unexpected("prefix_rewrite can't hold a query or fragment");
  if (from.redirect && !from.redirect->prefix.empty() && !replaceable)
    return unexpected("redirect.prefix needs match.path or match.prefix");

  if (from.redirect) {
    route.action = Route::Action::kRedirect;
    route.redirect = from.redirect;
    if (!settle(route.redirect->prefix))
      return unexpected("redirect.prefix is no path that a request could have");
  } else if (from.direct_response) {
    route.action = Route::Action::kDirectResponse;
    route.direct_response = from.direct_response;
  } else if (!from.cluster.empty()) {
    route.clusters.push_back({.pos = {}, .name = from.cluster, .weight = 1});
  } else {
    route.clusters = from.clusters;
  }
  for (const config::WeightedCluster& cluster : route.clusters) route.weight_total += cluster.weight;
  if (route.action == Route::Action::kCluster && route.weight_total == 0)
    return unexpected("the weights of clusters add up to nothing");

  route.name = from.name;
  route.timeout_ms = from.timeout_ms;
  route.timeout_max_ms = from.timeout_max_ms;
  route.retry = from.retry;
  route.per_try_timeout_ms = from.per_try_timeout_ms;
  route.idle_timeout_ms = from.idle_timeout_ms;
  route.path_match = conditions.path_match;
  if (conditions.path_match == PathMatch::kPrefix) route.path_match_bytes = static_cast<uint32_t>(conditions.path.size());
  route.prefix_rewrite = from.prefix_rewrite;
  if (!settle(route.prefix_rewrite)) return unexpected("prefix_rewrite is no path that a request could have");
  route.host_rewrite = from.host_rewrite;
  route.request_headers = from.request_headers;
  route.response_headers = from.response_headers;
  route.request_body_bytes_max = from.request_body_bytes_max;
  route.one_way = from.one_way;
  return route;
}

}  // namespace

struct RouteTable::Matcher {
  DomainIndex domains;
  std::vector<RouteMatcher> virtual_hosts;
};

RouteTable::RouteTable() = default;
RouteTable::~RouteTable() = default;

Result<std::shared_ptr<const RouteTable>> RouteTable::compile(const config::RouteTable& from) {
  std::shared_ptr<RouteTable> table(new RouteTable);
  auto matcher = std::make_unique<Matcher>();

  auto add = [&](const std::string& host, const std::vector<std::string>& domains,
                 const std::vector<config::Route>& routes) -> Result<void> {
    auto number = static_cast<uint32_t>(matcher->virtual_hosts.size());
    for (const std::string& domain : domains)
      if (auto added = matcher->domains.add(domain, number); !added) return unexpected("virtual host " + host + ": " + added.error());
    auto first = static_cast<uint32_t>(table->routes_.size());
    std::vector<Conditions> all;
    all.reserve(routes.size());
    for (const config::Route& r : routes) {
      std::string name = r.name.empty() ? from.name + "." + host + "." + std::to_string(&r - routes.data()) : r.name;
      auto conditions = Conditions::compile(r.match);
      if (!conditions) return unexpected("route " + name + ": " + conditions.error());
      auto route = compile_route(r, *conditions);
      if (!route) return unexpected("route " + name + ": " + route.error());
      route->name = std::move(name);
      route->index = static_cast<uint32_t>(table->routes_.size());
      table->routes_.push_back(std::move(*route));
      table->want_ |= conditions->want();
      if (!r.request_headers.empty()) table->want_ |= DRAGOMAN_WANT_HEADERS;  // codecs can edit what they had to read
      all.push_back(std::move(*conditions));
    }
    matcher->virtual_hosts.emplace_back(std::move(all), first);
    return {};
  };

  if (from.virtual_hosts.empty() == from.routes.empty()) return unexpected("needs exactly one of virtual_hosts and routes");
  if (!from.routes.empty()) {
    if (auto added = add("default", {"*"}, from.routes); !added) return unexpected(added.error());
  }
  for (const config::VirtualHost& host : from.virtual_hosts)
    if (auto added = add(host.name, host.domains, host.routes); !added) return unexpected(added.error());
  table->matcher_ = std::move(matcher);
  return std::shared_ptr<const RouteTable>(std::move(table));
}

std::shared_ptr<const RouteTable> RouteTable::single_cluster(std::string cluster) {
  config::Route route;
  route.name = cluster;
  route.cluster = std::move(cluster);
  config::RouteTable table;
  table.routes.push_back(std::move(route));
  return *compile(table);
}

const Route* RouteTable::match(const Head& request) const {
  uint32_t host = matcher_->domains.find(request.authority);
  if (host == DomainIndex::kNone) return nullptr;
  uint32_t route = matcher_->virtual_hosts[host].find(request, without_query(request.path));
  return route == kNoRoute ? nullptr : &routes_[route];
}

}  // namespace dragoman
