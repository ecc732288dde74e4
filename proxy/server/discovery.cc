#include "proxy/server/discovery.h"

#include <netinet/in.h>

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "proxy/base/log.h"

namespace dragoman {
namespace {

constexpr uint64_t kFlushPauseMs = 50;

Address with_port(Address address, uint16_t port) {
  if (address.port() != 0) return address;  // of a test's resolver
  if (address.storage.sa.sa_family == AF_INET6)
    address.storage.v6.sin6_port = htons(port);
  else
    address.storage.v4.sin_port = htons(port);
  return address;
}

bool is_literal(const config::Endpoint& e) { return Address::parse(e.address.text()).has_value(); }

}  // namespace

Discovery::Discovery(Loop& loop, ResolverFactory resolvers, Changed changed, LookedUp looked_up)
    : loop_(loop),
      resolvers_(std::move(resolvers)),
      changed_(std::move(changed)),
      looked_up_(std::move(looked_up)) {
  flush_.bind<&Discovery::flush>(loop.timers(), this);
}

void Discovery::begin(const config::NameServers& servers) {
  if (!resolver_ || !(servers == servers_)) {
    for (auto& [cluster, entry] : entries_) {  // what is under way is asked anew
      for (auto& [host, name] : entry->names)
        if (std::exchange(name.lookup, nullptr)) name.due.timer.start(1);
      for (auto& [key, service] : entry->services)
        if (std::exchange(service.lookup, nullptr)) service.due.timer.start(1);
    }
    servers_ = servers;
    ResolverOptions options;
    options.timeout_ms = servers.timeout_ms;
    options.tries = servers.tries;
    for (const config::Address& server : servers.servers)
      if (auto address = Address::parse(server.text())) options.servers.push_back(*address);
    resolver_ = resolvers_(loop_, std::move(options));
  }
  // A cluster that only changed its settings starts with what its names meant before.
  known_.clear();
  for (const auto& [cluster, entry] : entries_)
    for (const auto& [host, name] : entry->names)
      if (!name.addresses.empty()) known_[host] = name.addresses;
  ++round_;
  changing_ = true;
}

void Discovery::follow(const std::shared_ptr<SharedCluster>& cluster, const config::Cluster& settings) {
  auto known = entries_.find(cluster.get());
  const bool fresh = known == entries_.end();
  if (fresh) {
    known = entries_.emplace(cluster.get(), std::make_unique<Entry>()).first;
    known->second->cluster = cluster;
    known->second->owner = this;
  }
  Entry* const entry = known->second.get();
  entry->round = round_;
  if (!fresh && entry->endpoints == settings.endpoints) return;
  entry->endpoints = settings.endpoints;
  follow_services(*entry, known_);
  publish(*entry, !fresh);
}

void Discovery::end() {
  std::erase_if(entries_, [this](const auto& row) { return row.second->round != round_; });
  known_.clear();
  changing_ = false;
  if (std::ranges::any_of(entries_, [](const auto& row) { return row.second->dirty; }))
    flush_soon();
  else
    news_ = false;
}

void Discovery::follow_services(Entry& entry, const Known& known) {
  for (const std::string& name : entry.cluster->settings.srv) {
    Service& service = entry.services[name];
    if (service.entry) continue;
    service.entry = &entry;
    service.name = name;
    service.due.timer.bind<&Service::on_due>(loop_.timers(), &service);
    resolve(service);
  }
  follow_names(entry, known);
}

/// The names of the endpoints and of the targets that are known now, no others.
void Discovery::follow_names(Entry& entry, const Known& known) {
  std::set<std::string> wanted;
  for (const config::Endpoint& e : entry.endpoints)
    if (!is_literal(e)) wanted.insert(e.address.host);
  for (const auto& [key, service] : entry.services)
    for (const auto& target : service.targets) wanted.insert(target.host);
  std::erase_if(entry.names, [&](const auto& row) { return !wanted.contains(row.first); });
  for (const std::string& host : wanted) {
    Name& name = entry.names[host];
    if (name.entry) continue;
    name.entry = &entry;
    name.host = host;
    name.due.timer.bind<&Name::on_due>(loop_.timers(), &name);
    if (auto old = known.find(host); old != known.end()) {
      name.addresses = old->second;
      name.due.tried = true;
    }
    resolve(name);
  }
}

bool Discovery::settled() const {
  if (news_) return false;
  for (const auto& [cluster, e] : entries_) {
    for (const auto& [host, name] : e->names)
      if (!name.due.tried) return false;
    for (const auto& [key, service] : e->services)
      if (!service.due.tried) return false;
  }
  return true;
}

void Discovery::stop() {
  flush_.stop();
  entries_.clear();
  known_.clear();
  resolver_.reset();
}

void Discovery::answered(Entry& entry, bool good) {
  looked_up_(good);
  entry.dirty = true;
  flush_soon();
}

void Discovery::flush_soon() {
  if (changing_ || flush_.active()) return;
  const uint64_t passed = loop_.now_ms() - flushed_ms_;
  flush_.start(passed < kFlushPauseMs ? kFlushPauseMs - passed : 1);
}

void Discovery::flush() {
  if (changing_) return;  // end() comes back to it
  flushed_ms_ = loop_.now_ms();
  news_ = false;
  for (auto& [cluster, entry] : entries_)
    if (std::exchange(entry->dirty, false)) publish(*entry, true);
}

void Discovery::again(const config::Dns& dns, Due& due, bool good, int64_t ttl_ms) {
  due.tried = true;
  due.failures = good ? 0 : due.failures + 1;
  int64_t pause_ms = dns.refresh_ms;
  if (!good)
    pause_ms = std::min(dns.refresh_ms, dns.ttl_min_ms << std::min(due.failures - 1, 16u));
  else if (ttl_ms >= 0)
    pause_ms = std::clamp(ttl_ms, dns.ttl_min_ms, dns.ttl_max_ms);
  due.timer.start(static_cast<uint64_t>(pause_ms));
}

void Discovery::resolve(Name& name) {
  if (name.lookup) return;
  name.lookup = resolver_->name(name.host, [this, &name](Result<ResolvedName> result) {
    Entry& entry = *name.entry;
    news_ = news_ || !name.due.tried;
    const bool good = result && !result->addresses.empty();
    again(entry.cluster->settings.dns, name.due, good, good ? result->ttl_ms : -1);
    if (good) {
      name.addresses = std::move(result->addresses);
    } else {
      DRAGOMAN_LOG_LIMITED(kWarn, "discovery", entry.cluster->settings.name, "{}: lookup of {} failed: {}",
                           entry.cluster->settings.name, name.host,
                           result ? std::string("no address") : result.error());
    }
    name.lookup.reset();
    answered(entry, good);
  });
}

void Discovery::resolve(Service& service) {
  if (service.lookup) return;
  service.lookup = resolver_->service(service.name, [this, &service](Result<ResolvedService> result) {
    Entry& entry = *service.entry;
    news_ = news_ || !service.due.tried;
    const bool good = result && !result->targets.empty();
    again(entry.cluster->settings.dns, service.due, good, good ? result->ttl_ms : -1);
    if (good) {
      service.targets = std::move(result->targets);
      follow_names(entry, {});
    } else {
      DRAGOMAN_LOG_LIMITED(kWarn, "discovery", entry.cluster->settings.name, "{}: lookup of {} failed: {}",
                           entry.cluster->settings.name, service.name,
                           result ? std::string("no target") : result.error());
    }
    service.lookup.reset();
    answered(entry, good);
  });
}

void Discovery::publish(Entry& entry, bool announce) {
  std::vector<std::pair<Address, uint32_t>> wanted;
  std::unordered_set<std::string> seen;
  const auto add_name = [&](const std::string& host, uint16_t port, uint32_t weight) {
    auto it = entry.names.find(host);
    if (it == entry.names.end() || it->second.addresses.empty()) return false;
    for (const Address& a : it->second.addresses) {
      const Address address = with_port(a, port);
      if (seen.insert(address.to_string()).second) wanted.emplace_back(address, weight);
    }
    return true;
  };
  for (const config::Endpoint& e : entry.endpoints) {
    if (auto literal = Address::parse(e.address.text())) {
      wanted.emplace_back(*literal, e.weight);
      seen.insert(literal->to_string());
    } else {
      add_name(e.address.host, e.address.port, e.weight);
    }
  }
  for (auto& [key, service] : entry.services) {
    // The lowest priority of which an address is known (RFC 2782).
    std::set<uint16_t> priorities;
    for (const auto& target : service.targets) priorities.insert(target.priority);
    for (uint16_t priority : priorities) {
      bool found = false;
      for (const auto& target : service.targets)
        if (target.priority == priority)
          found |= add_name(target.host, target.port, std::max<uint32_t>(target.weight, 1));
      if (found) break;
    }
  }
  auto set = entry.cluster->set_endpoints(wanted);
  if (set && announce) changed_(entry.cluster, set);
}

}  // namespace dragoman
