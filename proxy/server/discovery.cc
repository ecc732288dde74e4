#include "proxy/server/discovery.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "proxy/base/log.h"

namespace dragoman {
namespace {

constexpr uint64_t kFlushPauseMs = 50;

}  // namespace

void Discovery::sync(const std::vector<std::shared_ptr<SharedCluster>>& clusters) {
  std::vector<std::unique_ptr<Entry>> next;
  // A cluster that only changed its settings starts with what its names meant before.
  std::map<std::string, std::vector<Address>> known;
  for (const auto& e : entries_)
    for (const auto& [key, name] : e->names)
      if (!name.addresses.empty()) known[key] = name.addresses;
  for (const auto& cluster : clusters) {
    auto it = std::find_if(entries_.begin(), entries_.end(),
                           [&](const auto& e) { return e && e->cluster == cluster; });
    if (it != entries_.end()) {
      next.push_back(std::move(*it));
      continue;
    }
    auto entry = std::make_unique<Entry>();
    entry->cluster = cluster;
    entry->owner = this;
    entry->refresh.bind<&Entry::on_refresh>(loop_.timers(), entry.get());
    for (const config::Endpoint& e : cluster->settings.endpoints)
      if (const std::string key = e.address.text(); !Address::parse(key)) {
        Name& name = entry->names[key];
        if (auto old = known.find(key); old != known.end()) {
          name.addresses = old->second;
          name.tried = true;
        }
      }
    publish(*entry, false);
    if (!entry->names.empty()) resolve(*entry);
    next.push_back(std::move(entry));
  }
  entries_ = std::move(next);
}

bool Discovery::settled() const {
  if (flush_.active()) return false;
  for (const auto& e : entries_)
    for (const auto& [key, name] : e->names)
      if (!name.tried) return false;
  return true;
}

void Discovery::stop() {
  flush_.stop();
  entries_.clear();
}

void Discovery::answered(Entry& entry) {
  entry.dirty = true;
  if (flush_.active()) return;
  const uint64_t passed = loop_.now_ms() - flushed_ms_;
  flush_.start(passed < kFlushPauseMs ? kFlushPauseMs - passed : 1);
}

void Discovery::flush() {
  flushed_ms_ = loop_.now_ms();
  for (auto& entry : entries_)
    if (std::exchange(entry->dirty, false)) publish(*entry, true);
}

void Discovery::resolve(Entry& entry) {
  for (const config::Endpoint& e : entry.cluster->settings.endpoints) {
    auto it = entry.names.find(e.address.text());
    if (it == entry.names.end() || it->second.lookup) continue;
    Name& name = it->second;
    name.lookup = lookups_(
        loop_, e.address.host, e.address.port,
        [this, &entry, &name, key = it->first](Result<std::vector<Address>> result) {
          name.tried = true;
          if (result && !result->empty()) {
            name.addresses = std::move(*result);
          } else {
            DRAGOMAN_LOG_LIMITED(kWarn, "discovery", entry.cluster->settings.name,
                                 "{}: lookup of {} failed: {}", entry.cluster->settings.name, key,
                                 result ? std::string("no address") : result.error());
          }
          answered(entry);
          // The resolver may not die inside its own callback.
          loop_.post([lookup = std::shared_ptr<Resolver>(std::move(name.lookup))] {});
        });
  }
  int64_t refresh = entry.cluster->settings.dns.refresh_ms;
  if (refresh > 0) entry.refresh.start(static_cast<uint64_t>(refresh));
}

void Discovery::publish(Entry& entry, bool announce) {
  std::vector<std::pair<Address, uint32_t>> wanted;
  std::unordered_set<std::string> seen;
  for (const config::Endpoint& e : entry.cluster->settings.endpoints) {
    auto it = entry.names.find(e.address.text());
    if (it == entry.names.end()) {
      if (auto literal = Address::parse(e.address.text())) {
        wanted.emplace_back(*literal, e.weight);
        seen.insert(literal->to_string());
      }
      continue;
    }
    for (const Address& a : it->second.addresses)
      if (seen.insert(a.to_string()).second) wanted.emplace_back(a, e.weight);
  }
  auto set = entry.cluster->set_endpoints(wanted);
  if (set && announce) changed_(entry.cluster, set);
}

}  // namespace dragoman
