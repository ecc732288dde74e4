// One configuration, resolved for running: immutable, shared by all workers. Built by the control thread; what did not
// change since the previous one (clusters with their health, route tables, listeners, logs) is the same object.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "protocols/catalog.h"
#include "proxy/base/result.h"
#include "proxy/observe/access_log.h"
#include "proxy/stream/listener_runtime.h"
#include "proxy/upstream/shared_cluster.h"

namespace dragoman {

struct Snapshot {
  uint64_t generation = 0;
  config::Config config;
  std::vector<std::shared_ptr<const ListenerSpec>> listeners;
  std::vector<std::shared_ptr<SharedCluster>> clusters;  // in the order of config.clusters
  /// By name: tables of config.routes, and after "cluster " those that lead to one cluster.
  std::unordered_map<std::string, std::shared_ptr<const RouteTable>> tables;
  std::shared_ptr<AccessLogWriter> access_log;  // null = off
  DeclaredProtocols declared;                   // those of config.codecs

  /// Declared or built in; null for tcp.
  ProtocolRef protocol(const std::string& name) const;
};

/// How lines of the access log look. The error is a sentence without the key.
Result<AccessLogFormat> access_log_format(const config::AccessLog& settings);

/// `previous` may be null. `declared` holds what the catalog made of config.codecs. Errors are complete sentences, one per problem.
Result<std::shared_ptr<const Snapshot>, std::vector<std::string>> build_snapshot(
    config::Config wanted, const Snapshot* previous, int workers, DeclaredProtocols declared = {});

}  // namespace dragoman
