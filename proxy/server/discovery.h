// Turns the endpoints that a configuration names into addresses: literals at once, host names and SRV records by DNS, again when
// their TTL is over. The last good answer stays when a lookup fails. Control thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "proxy/net/resolver.h"
#include "proxy/upstream/shared_cluster.h"

namespace dragoman {

class Discovery {
 public:
  /// `changed` runs when a cluster got a new endpoint set (not for the first one of a cluster), `looked_up` for each answer, good or not.
  using Changed = std::function<void(const std::shared_ptr<SharedCluster>&, std::shared_ptr<const EndpointSet>)>;
  using LookedUp = std::function<void(bool good)>;
  Discovery(Loop& loop, ResolverFactory resolvers, Changed changed, LookedUp looked_up);

  // Other clusters, one by one, so that many hold nobody up: begin(), follow() for each, end(). Until end() those of before are followed
  // too, and nothing that is looked up is published.
  void begin(const config::NameServers& servers);
  /// Whose endpoints are those of `settings`. Literal addresses are set before it returns.
  void follow(const std::shared_ptr<SharedCluster>& cluster, const config::Cluster& settings);
  void end();
  /// Every host name was looked up at least once.
  bool settled() const;
  void stop();

 private:
  struct Entry;
  /// When to look up again.
  struct Due {
    Timer timer;
    bool tried = false;
    uint32_t failures = 0;  // in a row
  };
  struct Name {
    Entry* entry = nullptr;
    std::string host;
    std::unique_ptr<Lookup> lookup;
    std::vector<Address> addresses;  // last good
    Due due;
    void on_due() { entry->owner->resolve(*this); }
  };
  struct Service {
    Entry* entry = nullptr;
    std::string name;
    std::unique_ptr<Lookup> lookup;
    std::vector<ResolvedService::Target> targets;  // last good
    Due due;
    void on_due() { entry->owner->resolve(*this); }
  };
  struct Entry {
    std::shared_ptr<SharedCluster> cluster;
    std::vector<config::Endpoint> endpoints;
    std::map<std::string, Name> names;        // of the endpoints and of the services' targets
    std::map<std::string, Service> services;  // cluster.srv
    bool dirty = false;                       // has answers that are not published
    uint64_t round = 0;                       // of the last begin() after which it was followed
    Discovery* owner = nullptr;
  };
  using Known = std::unordered_map<std::string, std::vector<Address>>;

  void follow_services(Entry& entry, const Known& known);
  void follow_names(Entry& entry, const Known& known);
  void resolve(Name& name);
  void resolve(Service& service);
  void again(const config::Dns& dns, Due& due, bool good, int64_t ttl_ms);
  void publish(Entry& entry, bool announce);
  void answered(Entry& entry, bool good);
  void flush_soon();
  void flush();

  Loop& loop_;
  ResolverFactory resolvers_;
  Changed changed_;
  LookedUp looked_up_;
  config::NameServers servers_;
  std::unique_ptr<Resolver> resolver_;
  std::unordered_map<const SharedCluster*, std::unique_ptr<Entry>> entries_;
  Known known_;  // between begin() and end(): what names meant before
  uint64_t round_ = 0;
  bool changing_ = false;  // between begin() and end()
  bool news_ = false;      // the first answers for a name are not published
  Timer flush_;  // answers come one by one, and each list is published as a whole
  uint64_t flushed_ms_ = 0;
};

}  // namespace dragoman
