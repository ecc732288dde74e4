#include <algorithm>
#include <string_view>

#include "config/validate.h"
#include "config/value.h"

namespace dragoman::config {
namespace {

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

/// Domains of a table must be told apart, whatever virtual host they stand in.
void check_domains(const RouteTable& table, Context& context) {
  std::unordered_map<std::string, const std::string*> first;
  for (const VirtualHost& host : table.virtual_hosts) {
    for (const std::string& domain : host.domains) {
      if (domain.empty()) continue;
      std::string key = domain;
      std::transform(key.begin(), key.end(), key.begin(), [](unsigned char c) { return std::tolower(c); });
      const auto [it, added] = first.emplace(std::move(key), &domain);
      if (added) continue;
      const int line = context.where(it->second, &table).pos.line;
      fail_at(context, &domain, &host,
              "the domain \"" + domain + "\" was already given at line " + std::to_string(line), domain);
    }
  }
}

void check_targets(const Route& route, const Names& clusters, Context& context) {
  if (!route.cluster.empty()) check_reference(route.cluster, &route, "cluster", clusters, context);
  uint64_t sum = 0;
  Names seen;
  for (const WeightedCluster& target : route.clusters) {
    sum += target.weight;
    if (target.name.empty()) continue;
    check_reference(target.name, &target, "cluster", clusters, context);
    if (seen.has(target.name))
      fail_at(context, &target.name, &target, "cluster \"" + target.name + "\" is already in this list",
              target.name);
    seen.add(target.name);
  }
  if (!route.clusters.empty() && sum == 0)
    fail_at(context, &route.clusters, &route, "the weights sum up to 0; at least one must be more");
}

void check_rewrites(const Route& route, const TableUsers& users, Context& context) {
  const bool has_prefix = !route.match.prefix.empty();
  if (!route.prefix_rewrite.empty() && !has_prefix && route.match.path.empty()) {
    fail_at(context, &route.prefix_rewrite, &route,
            "there is nothing to replace: match has neither \"prefix\" nor \"path\"");
  }
  if (route.redirect && !route.redirect->prefix.empty() && !has_prefix) {
    fail_at(context, &route.redirect->prefix, &route.redirect,
            "there is nothing to replace: match has no \"prefix\"");
  }
  if (!users.rpc) return;
  const auto http_only = [&](bool given, const void* field, std::string_view key) {
    if (given)
      fail_at(context, field, &route,
              "\"" + std::string(key) + "\" is for HTTP, but an RPC listener uses this table");
  };
  http_only(route.redirect.has_value(), &route.redirect, "redirect");
  http_only(!route.prefix_rewrite.empty(), &route.prefix_rewrite, "prefix_rewrite");
  http_only(!route.host_rewrite.empty(), &route.host_rewrite, "host_rewrite");
}

/// What the protocols of the table's listeners can't do.
void check_abilities(const Route& route, const TableUsers& users, Context& context) {
  const auto refuse = [&](bool asked, const Protocol* protocol, const void* field, std::string_view what) {
    if (asked && protocol)
      fail_at(context, field, &route, "protocol " + std::string(protocol->name) + " " + std::string(what));
  };
  const Match& match = route.match;
  refuse(!match.service.empty(), users.no_service, &match.service, "has no services to route by");
  refuse(!match.method.empty(), users.no_method, &match.method, "has no methods to route by");
  refuse(!match.headers.empty(), users.no_headers, &match.headers, "has no headers to route by");
  refuse(!match.group.empty(), users.no_headers, &match.group, "has no groups to route by");
  refuse(!match.version.empty(), users.no_headers, &match.version, "has no versions to route by");
  refuse(!route.request_headers.empty(), users.no_edits, &route.request_headers, "can't change headers");
  refuse(!route.response_headers.empty(), users.no_edits, &route.response_headers, "can't change headers");
  refuse(route.one_way, users.not_rpc, &route.one_way, "answers every request: \"one_way\" is for RPC");
  if (route.one_way && (route.redirect || route.direct_response))
    fail_at(context, &route.one_way, &route, "\"one_way\" is for requests that go to a cluster");
  for (const Protocol* protocol : users.attributed) {
    validate_attribute_edits(route.request_headers, *protocol, context);
    validate_attribute_edits(route.response_headers, *protocol, context);
  }
}

void check_times(const Route& route, Context& context) {
  const int64_t timeout_ms = route.timeout_ms.value_or(0);
  if (timeout_ms > 0 && route.per_try_timeout_ms > timeout_ms) {
    warn_at(context, &route.per_try_timeout_ms, &route,
            "per_try_timeout (" + duration_text(route.per_try_timeout_ms) + ") has no effect: timeout is " +
                duration_text(timeout_ms));
  }
  validate_retry(route.retry, context);
}

/// Conditions on what requests of the table's listeners don't have.
void warn_never_matches(const Route& route, const TableUsers& users, Context& context) {
  const Match& match = route.match;
  if (!users.rpc || users.http) return;
  for (const std::string* condition : {&match.path, &match.prefix, &match.regex}) {
    if (!condition->empty()) warn_at(context, condition, &route, "never matches: RPC requests have no path");
  }
}

/// Routes that an earlier one leaves nothing for.
class ShadowChecker {
 public:
  explicit ShadowChecker(Context& context) : context_(context) {}

  void visit(const Route& route) {
    if (const Route* earlier = shadow_of(route)) {
      const int line = context_.where(earlier, earlier).pos.line;
      warn_at(context_, &route, &route,
              "never reached: the route at line " + std::to_string(line) + " takes all its requests");
      return;
    }
    const Match& match = route.match;
    if (!match.method.empty() || !match.service.empty() || !match.group.empty() || !match.version.empty() ||
        !match.sni.empty() || !match.headers.empty())
      return;
    if (!match.path.empty()) {
      paths_.emplace(match.path, &route);
    } else if (!match.prefix.empty()) {
      prefixes_.emplace(match.prefix, &route);
    } else if (match.regex.empty()) {
      catch_all_ = &route;
    }
  }

 private:
  const Route* shadow_of(const Route& route) const {
    if (catch_all_) return catch_all_;
    const Match& match = route.match;
    if (!match.path.empty()) {
      const auto it = paths_.find(match.path);
      if (it != paths_.end()) return it->second;
    }
    // Each beginning of the path that ends at a slash, or is all of it, may be an earlier prefix.
    const std::string_view path = match.path.empty() ? match.prefix : match.path;
    for (size_t end = 1; end <= path.size(); ++end) {
      const bool border = end == path.size() || path[end] == '/' || path[end - 1] == '/';
      if (!border) continue;
      const auto it = prefixes_.find(path.substr(0, end));
      if (it != prefixes_.end()) return it->second;
    }
    return nullptr;
  }

  Context& context_;
  const Route* catch_all_ = nullptr;
  std::unordered_map<std::string_view, const Route*> paths_;
  std::unordered_map<std::string_view, const Route*> prefixes_;
};

}  // namespace

void validate_retry(const std::optional<Retry>& setting, Context& context) {
  if (!setting || setting->backoff_ms <= setting->backoff_max_ms) return;
  const Retry& retry = *setting;
  const void* field = context.find(&retry.backoff_ms) ? &retry.backoff_ms : &retry.backoff_max_ms;
  fail_at(context, field, &setting,
          "backoff (" + duration_text(retry.backoff_ms) + ") is longer than backoff_max (" +
              duration_text(retry.backoff_max_ms) + ")");
}

void validate_http_edits(const HeaderEdits& edits, Context& context) {
  const auto check = [&](const std::string& name, const void* entry) {
    if (equals_ignoring_case(name, "host"))
      fail_at(context, entry, &edits, "\"host\" is not a header to edit; use host_rewrite in a route", name);
  };
  for (const auto& entry : edits.set) check(entry.first, &entry);
  for (const auto& entry : edits.add) check(entry.first, &entry);
  for (const std::string& name : edits.remove) check(name, &name);
}

void validate_attribute_edits(const HeaderEdits& edits, const Protocol& protocol, Context& context) {
  const auto check = [&](const std::string& name, const void* entry) {
    for (const char* attribute : protocol.attributes) {
      if (!equals_ignoring_case(name, attribute)) continue;
      std::string all;
      for (const char* one : protocol.attributes) all += (all.empty() ? "" : ", ") + std::string(one);
      fail_at(context, entry, &edits,
              "protocol " + std::string(protocol.name) +
                  " only tells this of a message; edits are for headers other than " + all,
              name);
    }
  };
  for (const auto& entry : edits.set) check(entry.first, &entry);
  for (const auto& entry : edits.add) check(entry.first, &entry);
  for (const std::string& name : edits.remove) check(name, &name);
}

void validate_table(const RouteTable& table, const TableUsers& users, const Names& clusters,
                    Context& context) {
  check_unique_names(table.virtual_hosts, "virtual host", context);
  check_domains(table, context);
  for_each_route(table, [&](const Route& route) {
    check_targets(route, clusters, context);
    check_rewrites(route, users, context);
    check_abilities(route, users, context);
    check_times(route, context);
    if (users.http) validate_http_edits(route.request_headers, context);
  });
}

void warn_useless_routes(const RouteTable& table, const TableUsers& users, Context& context) {
  const auto check_list = [&](const std::vector<Route>& routes) {
    ShadowChecker shadows(context);
    for (const Route& route : routes) {
      shadows.visit(route);
      warn_never_matches(route, users, context);
    }
  };
  check_list(table.routes);
  for (const VirtualHost& host : table.virtual_hosts) check_list(host.routes);
}

}  // namespace dragoman::config
