#include "proxy/observe/families.h"

#include <array>

namespace dragoman {
namespace {

// Sized by their values, so that a new enumerator without a name does not compile.
constexpr auto kEventNames = std::to_array<std::string_view>(
    {"heartbeat_answered", "heartbeat_ack", "heartbeat_unexpected", "unknown_id", "late_answer",
     "one_way_answered", "duplicate_id", "goaway", "streams_overflow", "unsupported", "glitch",
     "peer_reset", "own_reset", "reset_flood", "own_reset_flood", "control_flood", "ack_flood", "head_flood",
     "glitch_flood", "stream_stalled", "body_unread", "edit_skipped", "headers_overflow",
     "headers_contradict", "ids_spent", "answers_held", "answer_refused", "request_withdrawn",
     "end_untold", "field_dropped"});
constexpr auto kLimitNames = std::to_array<std::string_view>(
    {"connections", "streams", "head_bytes", "headers", "uri_bytes", "body_bytes", "frame_bytes",
     "heartbeats", "write_buffer", "lingering", "waiting_bytes", "hops"});
constexpr auto kClusterLimitNames = std::to_array<std::string_view>(
    {"connections", "pending_requests", "requests", "retries", "retry_body", "tries_per_second"});
constexpr auto kTypeNames = std::to_array<std::string_view>({"counter", "gauge", "histogram"});
static_assert(kEventNames.size() == kCodecEventCount);
static_assert(kLimitNames.size() == kListenerLimitCount);
static_assert(kClusterLimitNames.size() == kClusterLimitCount);

}  // namespace

std::string_view codec_event_name(CodecEvent event) { return kEventNames.at(static_cast<size_t>(event)); }
std::string_view limit_name(ListenerLimit limit) { return kLimitNames.at(static_cast<size_t>(limit)); }
std::string_view cluster_limit_name(ClusterLimit limit) {
  return kClusterLimitNames.at(static_cast<size_t>(limit));
}
std::string_view peer_reason_name(PeerReason reason) {
  return reason == kOtherPeerReason ? "other" : reason_row(static_cast<Reason>(reason)).label;
}
std::string_view metric_type_name(MetricType type) { return kTypeNames.at(static_cast<size_t>(type)); }

std::string metrics_reference() {
  std::string out =
      "# Metrics\n\n"
      "Generated from `proxy/observe/families.h`; `observe_test` fails when the two differ.\n\n"
      "Label values come from the configuration; only `status` of answers comes from endpoints, and has at\n"
      "most 33 values in each label set. A label with a fixed set of values "
      "always has\n"
      "its first one, the others once they have been counted. Beyond `metrics.series_max` label sets (each "
      "counts\n"
      "once per family) new ones share a series whose label values are `_other`.\n";
  for (const MetricGroup* group : kMetricGroups) {
    out.append("\n## ").append(group->name).append("\n\nLabels: ");
    if (group->labels.empty()) out += "none";
    for (size_t i = 0; i < group->labels.size(); ++i) {
      out.append(i == 0 ? "" : ", ").append("`").append(group->labels[i]).append("`");
    }
    out += ".\n\n| Name | Type | Unit | More labels | Meaning |\n|---|---|---|---|---|\n";
    for (const MetricFamily* family : group->families) {
      out.append("| `").append(family->name).append("` | ").append(metric_type_name(family->type));
      out.append(" | ").append(family->unit).append(" | ");
      if (family->by) out.append("`").append(family->by->label).append("`");
      out.append(" | ").append(family->help).append(" |\n");
    }
  }
  out += "\n## Values of the fixed labels\n";
  const std::pair<std::string_view, const MetricLabelSet*> sets[] = {{"outcome", &kByOutcome},
                                                                     {"reason", &kByReason},
                                                                     {"event", &kByEvent},
                                                                     {"limit of a listener", &kByLimit},
                                                                     {"limit of a cluster", &kByClusterLimit},
                                                                     {"result", &kByResult},
                                                                     {"reason of a stopped observer", &kByObserverStop},
                                                                     {"error of Redis", &kByRedisError},
                                                                     {"command of Redis", &kByRedisCommand},
                                                                     {"error of MySQL", &kByMysqlError},
                                                                     {"command of MySQL", &kByMysqlCommand}};
  for (const auto& [title, set] : sets) {
    out.append("\n").append(title).append(":");
    for (size_t i = 0; i < set->count; ++i) {
      out.append(i % 8 == 0 ? "\n" : " ").append("`").append(set->name(i)).append("`");
      if (i + 1 < set->count) out += ",";
    }
    out += "\n";
  }
  out += "\n## Histogram bounds\n\nSeconds:";
  for (uint64_t bound : kExportBoundsUs) {
    std::string text = std::to_string(static_cast<double>(bound) / 1e6);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    out.append(" ").append(text);
  }
  out += " +Inf. Counts at these bounds are exact.\n";
  return out;
}

}  // namespace dragoman
