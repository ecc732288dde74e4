// Turns the endpoints that a configuration names into addresses: literals at once, host names by DNS, again and again.
// The last good answer stays when a lookup fails. Control thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "proxy/net/transport.h"
#include "proxy/upstream/shared_cluster.h"

namespace dragoman {

class Discovery {
 public:
  /// `changed` runs when a cluster got a new endpoint set (not for literals resolved inside sync()).
  using Changed = std::function<void(const std::shared_ptr<SharedCluster>&, std::shared_ptr<const EndpointSet>)>;
  Discovery(Loop& loop, ResolverFactory lookups, Changed changed)
      : loop_(loop), lookups_(std::move(lookups)), changed_(std::move(changed)) {
    flush_.bind<&Discovery::flush>(loop.timers(), this);
  }

  /// Follows exactly these clusters. Literal addresses are set before it returns.
  void sync(const std::vector<std::shared_ptr<SharedCluster>>& clusters);
  /// Every host name was looked up at least once.
  bool settled() const;
  void stop();

 private:
  struct Name {
    std::unique_ptr<Resolver> lookup;
    std::vector<Address> addresses;  // last good
    bool tried = false;
  };
  struct Entry {
    std::shared_ptr<SharedCluster> cluster;
    std::map<std::string, Name> names;  // by "host:port"
    Timer refresh;
    bool dirty = false;  // has answers that are not published
    Discovery* owner;
    void on_refresh() { owner->resolve(*this); }
  };
  void resolve(Entry& entry);
  void publish(Entry& entry, bool announce);
  void answered(Entry& entry);
  void flush();

  Loop& loop_;
  ResolverFactory lookups_;
  Changed changed_;
  std::vector<std::unique_ptr<Entry>> entries_;
  Timer flush_;  // answers come one by one, and each list is published as a whole
  uint64_t flushed_ms_ = 0;
};

}  // namespace dragoman
