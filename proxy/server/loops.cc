#include "proxy/server/loops.h"

#include <set>
#include <unordered_map>

namespace dragoman {
namespace {

using Names = std::set<std::string>;

void add_routes(const std::vector<config::Route>& routes, Names& names) {
  for (const config::Route& route : routes) {
    if (!route.cluster.empty()) names.insert(route.cluster);
    for (const config::WeightedCluster& c : route.clusters) names.insert(c.name);
  }
}

/// A port that the kernel is still to choose leads nowhere. Unix sockets have none.
bool is_known(const Address& at) { return at.length != 0 && (at.is_unix() || at.port() != 0); }

/// The clusters that a listener routes to.
Names clusters_of(const config::Listener& listener, const std::unordered_map<std::string, Names>& tables) {
  Names names;
  const auto add = [&](const std::string& cluster, const std::string& table) {
    if (!cluster.empty()) names.insert(cluster);
    if (auto it = tables.find(table); it != tables.end()) names.insert(it->second.begin(), it->second.end());
  };
  add(listener.cluster, listener.routes);
  for (const config::ListenerProtocol& p : listener.protocols) add(p.cluster, p.routes);
  return names;
}

}  // namespace

Result<Address> address_of(const config::Listener& listener) {
  auto address = Address::parse(listener.address.text());
  if (address) address->ipv6_only = listener.ipv6_only;
  return address;
}

std::map<std::string, std::vector<size_t>> entrances(const config::Config& config, const std::vector<Address>& at) {
  std::unordered_map<std::string, Names> tables;
  for (const config::RouteTable& table : config.routes) {
    Names& names = tables[table.name];
    add_routes(table.routes, names);
    for (const config::VirtualHost& host : table.virtual_hosts) add_routes(host.routes, names);
  }
  // From each cluster to the listeners that its addresses are those of. Few ports are ours, so few addresses are compared.
  std::unordered_multimap<uint16_t, size_t> by_port;
  for (size_t i = 0; i < at.size(); ++i)
    if (is_known(at[i])) by_port.emplace(at[i].port(), i);
  std::unordered_map<std::string, std::set<size_t>> next;
  for (const config::Cluster& cluster : config.clusters) {
    for (const config::Endpoint& endpoint : cluster.endpoints) {
      auto [from, to] = by_port.equal_range(endpoint.address.port);
      if (from == to) continue;
      const auto address = Address::parse(endpoint.address.text());
      for (; address && from != to; ++from)
        if (at[from->second].takes(*address)) next[cluster.name].insert(from->second);
    }
  }
  std::vector<Names> direct;
  for (const config::Listener& listener : config.listeners) direct.push_back(clusters_of(listener, tables));

  std::map<std::string, std::vector<size_t>> result;
  for (size_t i = 0; i < config.listeners.size() && i < at.size(); ++i) {
    if (!is_known(at[i])) continue;
    Names seen;
    std::vector<size_t> todo{i};
    std::set<size_t> been{i};
    while (!todo.empty()) {
      const size_t listener = todo.back();
      todo.pop_back();
      for (const std::string& cluster : direct[listener]) {
        if (!seen.insert(cluster).second) continue;
        result[cluster].push_back(i);
        for (size_t other : next[cluster])
          if (been.insert(other).second) todo.push_back(other);
      }
    }
  }
  return result;
}

}  // namespace dragoman
