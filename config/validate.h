// The rules that take more than one setting to check.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "config/config.h"
#include "config/context.h"
#include "config/protocols.h"

namespace dragoman::config {

/// Checks references, names, ports, protocols, and settings that must fit together. `context` knows where
/// each setting of `config` was written. Settings that failed to load are empty and are passed over.
void validate(const Config& config, Context& context);

/// Fills in what may be left out: clusters' protocols, routes' names, the virtual host of a table that has
/// only routes; lower-cases domains and upgrade tokens. For a config without errors.
void complete(Config& config);

// ------------------------------------------------------------------------------------- parts of validate()

/// Kinds of listeners that use a route table.
struct TableUsers {
  bool http = false;
  bool rpc = false;
  // A framed protocol among them that has no such thing, or null.
  const Protocol* no_service = nullptr;
  const Protocol* no_method = nullptr;
  const Protocol* no_headers = nullptr;
  const Protocol* no_edits = nullptr;
  const Protocol* not_rpc = nullptr;          // HTTP
  std::vector<const Protocol*> attributed{};  // framed ones with attributes

  void add(const Protocol& protocol) {
    http |= protocol.http;
    rpc |= protocol.framed;
    if (!protocol.framed) {
      not_rpc = &protocol;
      return;
    }
    if (!protocol.attributes.empty()) attributed.push_back(&protocol);
    if (!protocol.service) no_service = &protocol;
    if (!protocol.method) no_method = &protocol;
    if (!protocol.headers) no_headers = &protocol;
    if (!protocol.edits) no_edits = &protocol;
  }
};

/// The names that may be referred to.
class Names {
 public:
  void add(std::string_view name) {
    if (!name.empty() && set_.insert(name).second) list_.push_back(name);
  }
  bool has(std::string_view name) const { return set_.count(name) > 0; }
  const std::vector<std::string_view>& list() const { return list_; }

 private:
  std::vector<std::string_view> list_;
  std::unordered_set<std::string_view> set_;
};

/// The rules of one route table.
void validate_table(const RouteTable& table, const TableUsers& users, const Names& clusters,
                    Context& context);

/// Warns of routes that no request can reach.
void warn_useless_routes(const RouteTable& table, const TableUsers& users, Context& context);

/// The rules of one `retry` block, if there is one.
void validate_retry(const std::optional<Retry>& retry, Context& context);

/// Edits of `host` do nothing where the protocol keeps the host apart.
void validate_http_edits(const HeaderEdits& edits, Context& context);

/// Edits of what `protocol` does not have on the wire can never be made.
void validate_attribute_edits(const HeaderEdits& edits, const Protocol& protocol, Context& context);

/// Reports when `name` (written at its own place, else at `owner`) is none of `names`.
void check_reference(const std::string& name, const void* owner, std::string_view what, const Names& names,
                     Context& context);

/// Reports at `field`, or at `owner` when the field was not written.
void fail_at(Context& context, const void* field, const void* owner, std::string message,
             std::string found = {});
void warn_at(Context& context, const void* field, const void* owner, std::string message);

/// Clusters a route sends to; all routes of a table, in either notation.
std::vector<std::string_view> route_clusters(const Route& route);
template <class F>
void for_each_route(const RouteTable& table, F&& f) {
  for (const Route& route : table.routes) f(route);
  for (const VirtualHost& host : table.virtual_hosts) {
    for (const Route& route : host.routes) f(route);
  }
}

/// Reports entities whose name was taken before them in the list.
template <class T>
void check_unique_names(const std::vector<T>& list, std::string_view what, Context& context) {
  std::unordered_map<std::string_view, const T*> first;
  for (const T& entity : list) {
    if (entity.name.empty()) continue;
    const auto [it, added] = first.emplace(entity.name, &entity);
    if (added) continue;
    context.error(
        context.where(&entity.name, &entity),
        {.message = "a " + std::string(what) + " called \"" + entity.name + "\" was already given at line " +
                    std::to_string(context.where(&it->second->name, it->second).pos.line),
         .found = entity.name});
  }
}

}  // namespace dragoman::config
