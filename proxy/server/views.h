// How the admin listener shows the state of the process. Pure functions from state to text.
#pragma once

#include <string>
#include <vector>

#include "proxy/server/snapshot.h"

namespace dragoman {

class DiagnosticLog;

struct ListenerView {
  const ListenerSpec* spec;
  std::string bound;  // the real "ip:port"
};

std::string render_metrics(const MetricRegistry& registry, const DiagnosticLog* log,
                           const AccessLogWriter* access_log, uint64_t stalls);
std::string render_stats(const MetricRegistry& registry);
std::string render_clusters_json(const Snapshot& snapshot, const MetricRegistry& registry, uint64_t now_ms);
std::string render_clusters_text(const Snapshot& snapshot, const MetricRegistry& registry, uint64_t now_ms);
std::string render_listeners_json(const std::vector<ListenerView>& listeners);
std::string render_codecs_json(const Snapshot& snapshot, const CodecCatalog& codecs);
std::string render_codecs_text(const Snapshot& snapshot, const CodecCatalog& codecs);
std::string render_server_info_json(std::string_view state, uint64_t generation, size_t workers, uint64_t uptime_s);

}  // namespace dragoman
