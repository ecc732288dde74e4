// Rendering of a scrape. Runs on the control thread or a helper thread, never on a worker.
#pragma once

#include <span>
#include <string>

#include "proxy/observe/metrics.h"

namespace dragoman {

/// The Content-Type of render_prometheus().
inline constexpr std::string_view kPrometheusContentType = "text/plain; version=0.0.4; charset=utf-8";

/// Prometheus text format 0.0.4 of everything alive in `registry` and what `collectors` add. Safe while the
/// shards count. Histograms are classic ones in seconds with the bounds kExportBoundsUs.
std::string render_prometheus(const MetricRegistry& registry,
                              std::span<const MetricCollector> collectors = {});

/// The same as JSON for the admin interface, histograms as
/// {"count":n,"sum_seconds":s,"p50_us":..,"p90_us":..,"p99_us":..,"p999_us":..}:
/// {"families":[{"name":"..","type":"counter","samples":[{"labels":{..},"value":1}]}]}
std::string render_json(const MetricRegistry& registry, std::span<const MetricCollector> collectors = {});

}  // namespace dragoman
