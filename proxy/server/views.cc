#include "proxy/server/views.h"

#include <fmt/format.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <unordered_map>

#include "proxy/observe/families.h"
#include "proxy/observe/log.h"
#include "proxy/observe/prometheus_export.h"
#include "proxy/version.h"

namespace dragoman {
namespace {

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

void key(Writer& w, std::string_view k) { w.Key(k.data(), static_cast<rapidjson::SizeType>(k.size())); }
void string(Writer& w, std::string_view k, std::string_view v) {
  key(w, k);
  w.String(v.data(), static_cast<rapidjson::SizeType>(v.size()));
}
void number(Writer& w, std::string_view k, uint64_t v) {
  key(w, k);
  w.Uint64(v);
}
void boolean(Writer& w, std::string_view k, bool v) {
  key(w, k);
  w.Bool(v);
}

/// Connections open towards each cluster by its name, as the metrics know them.
std::unordered_map<std::string, uint64_t> cluster_connections(const MetricRegistry& registry) {
  std::unordered_map<std::string, uint64_t> connections;
  for (const MetricSamples& family : registry.collect()) {
    if (family.family != &families::kClusterConnectionsActive) continue;
    for (const MetricSample& s : family.samples)
      if (!s.labels.empty()) connections.emplace(s.labels[0].second, static_cast<uint64_t>(s.value));
  }
  return connections;
}

}  // namespace

std::string render_metrics(const MetricRegistry& registry, const DiagnosticLog* log,
                           const AccessLogWriter* access_log, uint64_t stalls) {
  MetricCollector process = [=](std::vector<MetricSamples>& out) {
    add_log_samples(out, log, access_log);
    add_memory_samples(out);
    add_sample(out, families::kWorkerStalls, static_cast<double>(stalls));
  };
  return render_prometheus(registry, {&process, 1});
}

std::string render_stats(const MetricRegistry& registry) {
  std::string text;
  for (const MetricSamples& family : registry.collect()) {
    for (const MetricSample& s : family.samples) {
      std::string name(family.family->name);
      for (const auto& [label, value] : s.labels) name += fmt::format(".{}={}", label, value);
      if (family.family->type == MetricType::kHistogram) {
        text += fmt::format("{}: count={} p50={:.0f}us p99={:.0f}us\n", name, s.histogram.count(),
                            s.histogram.quantile_us(0.5), s.histogram.quantile_us(0.99));
      } else {
        text += fmt::format("{}: {}\n", name, static_cast<int64_t>(s.value));
      }
    }
  }
  return text;
}

namespace {

/// Why health does not count in that cluster now; empty when it does. As Cluster::refresh_health decides it.
std::string panic_of(const SharedCluster& cluster, uint64_t now_ms) {
  const auto threshold = static_cast<size_t>(cluster.settings.panic_threshold_percent);
  size_t good = 0, known = 0;
  const auto set = cluster.endpoints();
  for (const auto& e : set->endpoints) {
    known += e->unchecked() ? 0 : 1;
    good += e->usable(now_ms) ? 1 : 0;
  }
  if (threshold == 0 || known == 0 || good * 100 >= threshold * known) return {};
  return fmt::format(
      "{} of {} endpoints can be used, less than {} % (panic_threshold): all get requests, whatever their "
      "health{}",
      good, known, threshold,
      known == 1 ? "; a single endpoint is never taken out while panic_threshold is over 0" : "");
}

}  // namespace

std::string render_clusters_json(const Snapshot& snapshot, const MetricRegistry& registry, uint64_t now_ms) {
  auto connections = cluster_connections(registry);
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartObject();
  key(w, "clusters");
  w.StartArray();
  for (const auto& c : snapshot.clusters) {
    w.StartObject();
    string(w, "name", c->settings.name);
    string(w, "protocol", c->settings.protocol);
    number(w, "connections", connections[c->settings.name]);
    number(w, "pending_requests", c->limits.taken(Limit::kPending));
    number(w, "active_requests", c->limits.taken(Limit::kRequests));
    number(w, "active_retries", c->limits.taken(Limit::kRetries));
    const std::string panic = panic_of(*c, now_ms);
    boolean(w, "panic", !panic.empty());
    if (!panic.empty()) string(w, "panic_reason", panic);
    key(w, "endpoints");
    w.StartArray();
    const auto set = c->endpoints();
    for (const auto& e : set->endpoints) {
      w.StartObject();
      string(w, "address", e->name());
      number(w, "weight", e->weight());
      boolean(w, "healthy", e->active_healthy());
      boolean(w, "ejected", e->ejected(now_ms));
      boolean(w, "leaving", e->leaving(now_ms));
      number(w, "consecutive_failures", e->failures());
      w.EndObject();
    }
    w.EndArray();
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize()) + "\n";
}

std::string render_clusters_text(const Snapshot& snapshot, const MetricRegistry& registry, uint64_t now_ms) {
  auto connections = cluster_connections(registry);
  std::string text;
  for (const auto& c : snapshot.clusters) {
    text += fmt::format("{}: protocol={} connections={} active_requests={} pending_requests={}\n",
                        c->settings.name, c->settings.protocol.empty() ? "-" : c->settings.protocol,
                        connections[c->settings.name], c->limits.taken(Limit::kRequests),
                        c->limits.taken(Limit::kPending));
    if (const std::string panic = panic_of(*c, now_ms); !panic.empty()) text += "  panic: " + panic + "\n";
    const auto set = c->endpoints();
    for (const auto& e : set->endpoints)
      text += fmt::format("  {} weight={} {}\n", e->name(), e->weight(),
                          e->ejected(now_ms)     ? "ejected"
                          : e->unchecked()       ? "unchecked"
                          : !e->active_healthy() ? "unhealthy"
                          : e->leaving(now_ms)   ? "leaving"
                                                 : "healthy");
  }
  return text;
}

std::string render_listeners_json(const std::vector<ListenerView>& listeners) {
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartObject();
  key(w, "listeners");
  w.StartArray();
  for (const ListenerView& l : listeners) {
    w.StartObject();
    string(w, "name", l.spec->settings.name);
    string(w, "address", l.bound);
    string(w, "protocol", l.spec->settings.protocol);
    number(w, "connections", l.spec->shared->connections.load(std::memory_order_relaxed));
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize()) + "\n";
}

namespace {

/// What the configuration calls a codec; empty for one that only old connections still use.
std::string_view codec_name(const Snapshot& snapshot, const Protocol* protocol) {
  for (const auto& [name, declared] : snapshot.declared)
    if (declared.get() == protocol) return name;
  return {};
}

}  // namespace

std::string render_codecs_json(const Snapshot& snapshot, const CodecCatalog& codecs) {
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartObject();
  key(w, "codecs");
  w.StartArray();
  for (const CodecCatalog::View& c : codecs.view()) {
    std::string_view name = codec_name(snapshot, c.protocol);
    w.StartObject();
    string(w, "codec", c.protocol->table->name);
    string(w, "version", c.protocol->table->version);
    string(w, "kind", c.kind);
    string(w, "file", *c.file);
    if (!name.empty()) string(w, "name", name);
    string(w, "state", name.empty() ? "leaving" : "in use");
    number(w, "users", static_cast<uint64_t>(c.users));
    w.EndObject();
  }
  w.EndArray();
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize()) + "\n";
}

std::string render_codecs_text(const Snapshot& snapshot, const CodecCatalog& codecs) {
  std::string text;
  for (const CodecCatalog::View& c : codecs.view()) {
    std::string_view name = codec_name(snapshot, c.protocol);
    text += fmt::format("{}: version={} kind={} file={} state={} users={}\n", c.protocol->table->name,
                        c.protocol->table->version, c.kind, *c.file,
                        name.empty() ? "leaving" : fmt::format("in use as {}", name), c.users);
  }
  return text;
}

std::string render_server_info_json(std::string_view state, uint64_t generation, size_t workers, uint64_t uptime_s) {
  rapidjson::StringBuffer buffer;
  Writer w(buffer);
  w.StartObject();
  string(w, "version", kVersion);
  string(w, "state", state);
  number(w, "config_generation", generation);
  number(w, "workers", workers);
  number(w, "uptime_seconds", uptime_s);
  w.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize()) + "\n";
}

}  // namespace dragoman
