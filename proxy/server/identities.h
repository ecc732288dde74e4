// The TLS identities of a configuration: made, or kept from the one before, and reloaded when their files change.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "proxy/net/transport.h"
#include "proxy/observe/metrics.h"
#include "proxy/tls/identity.h"

namespace dragoman {

/// ALPN names of a listener or cluster that speaks `protocol`, unless its `tls` block says otherwise.
std::vector<std::string> alpn_of(std::string_view protocol, const std::vector<std::string>& configured);
/// What is sent as server name: configured, or the host name that all endpoints share; empty when there is none.
std::string sni_of(const config::Cluster& cluster);

/// Follows the files of identities. Control thread only.
class IdentityWatch {
 public:
  struct Entry {
    std::string side;  // listener, cluster, admin
    std::string name;
    std::shared_ptr<TlsIdentity> identity;
    std::unique_ptr<MetricsBinding> binding;
    TlsMetrics metrics{};
    bool refused = false;  // what the files held last
  };
  /// Any thread.
  static Entry entry(std::string side, std::string name, std::shared_ptr<TlsIdentity> identity,
                     MetricRegistry& registry);
  explicit IdentityWatch(Loop& loop) : loop_(loop) {}
  /// Follows exactly these.
  void sync(std::vector<Entry> entries);
  void stop();

 private:
  void on_changed(const std::string& path);

  Loop& loop_;
  std::vector<Entry> followed_;
  std::map<std::string, std::unique_ptr<FileWatch>> watches_;  // by path
};

}  // namespace dragoman
