// Rendering of a scrape. Runs on the control thread or a helper thread, never on a worker.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "proxy/observe/metrics.h"

namespace dragoman {

class AccessLogWriter;
class DiagnosticLog;

/// The Content-Type of render_prometheus().
inline constexpr std::string_view kPrometheusContentType = "text/plain; version=0.0.4; charset=utf-8";

/// Prometheus text format 0.0.4 of everything alive in `registry` and what `collectors` add. Safe while the
/// shards count. Histograms are classic ones in seconds with the bounds kExportBoundsUs.
std::string render_prometheus(const MetricRegistry& registry,
                              std::span<const MetricCollector> collectors = {});

/// The same as JSON for the admin interface, one object per family:
///   {"families":[{"name":"..","type":"counter","samples":[{"labels":{..},"value":1}]}]}
/// Samples of histograms have count, sum_seconds, p50_us, p90_us, p99_us and p999_us instead of value.
std::string render_json(const MetricRegistry& registry, std::span<const MetricCollector> collectors = {});

/// What both render.
std::vector<MetricSamples> collect_all(const MetricRegistry& registry,
                                       std::span<const MetricCollector> collectors);

/// For a collector: the families about the logs themselves (families.h). Null: there is no such log.
/// Lack of memory, which is the process's.
void add_memory_samples(std::vector<MetricSamples>& out);
void add_log_samples(std::vector<MetricSamples>& out, const DiagnosticLog* log,
                     const AccessLogWriter* access_log);

}  // namespace dragoman
