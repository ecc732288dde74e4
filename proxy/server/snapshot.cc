#include "proxy/server/snapshot.h"

#include <algorithm>

#include "filters/registry.h"
#include "proxy/server/identities.h"

namespace dragoman {
namespace {

// Where the configuration says nothing.
constexpr uint32_t kHopsMax = 32, kHopsBegin = 16;
constexpr uint32_t kFramedHopsFrom = 1024;

CodecOptions codec_options(const config::Listener& l, Want want) {
  CodecOptions o;
  o.http1.header_bytes_max = static_cast<uint32_t>(l.http.header_bytes_max);
  o.http1.headers_max = l.http.headers_max;
  o.http1.uri_bytes_max = static_cast<uint32_t>(l.http.uri_bytes_max);
  o.http1.body_bytes_max = l.http.body_bytes_max;
  o.http1.normalize_path = l.http.normalize_path;
  o.http1.encoded_slashes = l.http.encoded_slashes == config::PathBytes::kPass;
  o.http1.backslashes = l.http.backslashes == config::PathBytes::kPass;
  o.http1.allow_trace = l.http.trace_method == config::TraceMethod::kAllow;
  o.http1.allow_websocket =
      std::find(l.http.upgrade.begin(), l.http.upgrade.end(), "websocket") != l.http.upgrade.end();
  o.http1.allow_h2c =
      std::find(l.http.upgrade.begin(), l.http.upgrade.end(), "h2c") != l.http.upgrade.end();
  o.http1.pending_bytes_max = l.buffer.high_bytes;
  o.http2.pending_bytes_max = l.buffer.high_bytes;
  o.http2.streams_max = l.http2.streams_max;
  o.http2.stream_window_bytes = static_cast<uint32_t>(l.http2.stream_window_bytes);
  o.http2.connection_window_bytes = static_cast<uint32_t>(l.http2.connection_window_bytes);
  o.http2.memory_bytes_max = l.http2.memory_bytes_max;
  o.http2.continuations_max = l.http2.continuations_max;
  o.http2.acks_max = l.http2.acks_max;
  o.http2.resets_burst = l.http2.resets_burst;
  o.http2.resets_per_second = l.http2.resets_per_second;
  o.http2.own_resets_burst = l.http2.own_resets_burst;
  o.http2.own_resets_per_second = l.http2.own_resets_per_second;
  o.http2.control_burst = l.http2.control_burst;
  o.http2.control_per_second = l.http2.control_per_second;
  o.http2.stall_timeout_ms = l.http2.stall_timeout_ms;
  o.http2.body_timeout_ms = l.http.body_idle_timeout_ms;
  o.framed.frame_bytes_max = l.rpc.frame_bytes_max;
  o.framed.headers_max = l.rpc.headers_max;
  o.framed.streams_max = l.rpc.streams_max;
  o.framed.heartbeats_per_second_max = l.rpc.heartbeats_per_second_max;
  o.framed.goaway = l.rpc.goaway;
  o.framed.refuse_unread = l.rpc.unread_body == config::Strictness::kRefuse;
  o.framed.held_bytes_max = l.buffer.high_bytes;
  o.framed.kept_bytes_max = l.rpc.answers_bytes_max;
  o.framed.verify_checksums = l.rpc.bolt.verify_crc;
  o.framed.want = want;
  return o;
}

Result<std::shared_ptr<AccessLogWriter>> open_access_log(const config::AccessLog& settings, int workers) {
  auto format = access_log_format(settings);
  if (!format) return unexpected("access_log.template: " + format.error());
  AccessLogOptions options;
  options.path = settings.path;
  options.queue_bytes = settings.queue_bytes;
  options.shards = workers;
  auto writer = AccessLogWriter::open(std::move(*format), options);
  if (!writer) return unexpected("access_log.path: " + writer.error());
  return std::shared_ptr<AccessLogWriter>(std::move(*writer));
}

/// Whether pools need no change but new connections when one takes the place of the other.
bool same_use(const Protocol* a, const Protocol* b) {
  if (a == b) return true;
  return a && b && a->is_http == b->is_http && a->multiplexed == b->multiplexed &&
         a->has_heartbeat == b->has_heartbeat && a->only_bound == b->only_bound;
}

std::vector<std::string> lower_case(std::vector<std::string> names) {
  for (std::string& name : names)
    for (char& c : name)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return names;
}

std::string tls_error(std::string_view kind, const std::string& name, const TlsFault& fault) {
  return std::string(kind) + ": " + name + ": tls: " + fault.text;
}

/// The identity of the listener that `previous` has, when nothing about it changed, or a new one. Null without TLS.
Result<std::shared_ptr<TlsIdentity>, TlsFault> listener_identity(const config::Listener& settings,
                                                                 const Snapshot* previous, int workers) {
  if (!settings.tls) return std::shared_ptr<TlsIdentity>();
  if (previous) {
    for (const auto& old : previous->listeners)
      if (old->settings.name == settings.name && old->settings.tls == settings.tls &&
          old->settings.protocol == settings.protocol && old->settings.protocols == settings.protocols)
        return old->tls;
  }
  std::vector<std::string> alpn = alpn_of(settings.protocol, settings.tls->alpn);
  if (settings.tls->alpn.empty())
    for (const config::ListenerProtocol& entry : settings.protocols)
      for (std::string& name : alpn_of(entry.protocol, {})) alpn.push_back(std::move(name));
  return TlsIdentity::server(*settings.tls, std::move(alpn), settings.name, workers);
}

/// In front of a cluster's name: the table that leads to it.
const std::string kToCluster = "cluster ";

/// The tables that listeners of `next` use, those of `previous` where nothing changed.
void make_tables(Snapshot& next, const Snapshot* previous, std::vector<std::string>& errors) {
  std::unordered_map<std::string_view, const config::RouteTable*> before;
  if (previous)
    for (const config::RouteTable& table : previous->config.routes) before[table.name] = &table;
  std::unordered_map<std::string_view, const config::RouteTable*> written;
  for (const config::RouteTable& table : next.config.routes) written[table.name] = &table;

  const auto old = [&](const std::string& name) -> std::shared_ptr<const RouteTable> {
    if (!previous) return nullptr;
    auto it = previous->tables.find(name);
    return it == previous->tables.end() ? nullptr : it->second;
  };
  const auto use = [&](const std::string& cluster, const std::string& routes) {
    if (!cluster.empty()) {
      std::shared_ptr<const RouteTable>& table = next.tables[kToCluster + cluster];
      if (!table) table = old(kToCluster + cluster);
      if (!table) table = RouteTable::single_cluster(cluster);
      return;
    }
    auto wanted = written.find(routes);
    if (wanted == written.end() || next.tables.contains(routes)) return;
    if (auto it = before.find(routes); it != before.end() && *it->second == *wanted->second) {
      if (auto table = old(routes)) {
        next.tables[routes] = std::move(table);
        return;
      }
    }
    auto table = RouteTable::compile(*wanted->second);
    if (table)
      next.tables[routes] = std::move(*table);
    else
      errors.push_back("routes: " + routes + ": " + table.error());
  };
  for (const config::Listener& l : next.config.listeners) {
    use(l.cluster, l.routes);
    for (const config::ListenerProtocol& entry : l.protocols) use(entry.cluster, entry.routes);
  }
}

bool same_spec(const ListenerSpec& a, const ListenerSpec& b);

bool same_detect(const DetectSpec& a, const DetectSpec& b) {
  const auto same = [](const auto& x, const auto& y) { return same_spec(*x, *y); };
  return a.specs.size() == b.specs.size() && !a.unknown == !b.unknown &&
         std::equal(a.specs.begin(), a.specs.end(), b.specs.begin(), same) &&
         (!a.unknown || same_spec(*a.unknown, *b.unknown));
}

/// Whether one can go on in the place of the other. All that is not looked at here follows from the settings.
bool same_spec(const ListenerSpec& a, const ListenerSpec& b) {
  return a.settings == b.settings && a.protocol == b.protocol && a.routes == b.routes && a.drain == b.drain &&
         a.access_log == b.access_log && a.shared == b.shared && a.tls == b.tls && !a.detect == !b.detect &&
         (!a.detect || same_detect(*a.detect, *b.detect));
}

/// Whether `old` can go on under `settings`, which may differ in endpoints only.
bool same_cluster(const SharedCluster& old, const config::Cluster& settings) {
  if (old.settings == settings) return true;
  config::Cluster other = settings;
  other.endpoints = old.settings.endpoints;
  return old.settings == other && (!settings.tls || sni_of(old.settings) == sni_of(settings));
}

using MadeSpec = Result<std::shared_ptr<ListenerSpec>, std::string>;

/// A listener, or one protocol of a listener: everything but TLS and what outlives reloads.
MadeSpec plain_spec(const config::Listener& settings, const Snapshot& next) {
  const std::string where = "listeners: " + settings.name + ": ";
  auto spec = std::make_shared<ListenerSpec>();
  spec->settings = settings;
  spec->protocol = next.protocol(settings.protocol);
  if (!spec->protocol && !config::is_relayed(settings.protocol))
    return unexpected(where + "protocol " + settings.protocol + " is not built in");
  spec->drain = next.config.drain;
  spec->access_log = next.access_log;
  const std::string table = settings.cluster.empty() ? settings.routes : kToCluster + settings.cluster;
  auto routes = next.tables.find(table);
  if (routes == next.tables.end()) return unexpected(where + "no route table called " + settings.routes);
  spec->routes = routes->second;
  auto filters = make_filters(settings);
  if (!filters) return unexpected(where + filters.error());
  spec->filters = std::move(*filters);
  Want want = spec->routes->want();
  for (const auto& f : spec->filters) want |= f->wants();
  if (settings.rpc.bolt.read_body) want |= DRAGOMAN_WANT_BODY;
  if (next.access_log) {
    want |= DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD;
    if (next.access_log->format().wants_request_headers()) want |= DRAGOMAN_WANT_HEADERS;
  }
  if (spec->protocol) spec->hops_max = settings.hops_max.value_or(kHopsMax);
  if (!settings.hops_max) {
    spec->hops_begin = kHopsBegin;
    if (spec->protocol && !spec->protocol->is_http) spec->hops_from = kFramedHopsFrom;
  } else if (spec->hops_max != 0) {
    want |= DRAGOMAN_WANT_HEADERS;
  }
  spec->codec = codec_options(settings, want);
  spec->codec.http2.drain_grace_ms = spec->drain.idle_grace_ms;
  spec->codec.http2.drain_hold_max_ms =
      spec->drain.deadline_ms / 2;  // what it lets through has the other half
  return spec;
}

/// The same listener, speaking one of its protocols only.
MadeSpec protocol_spec(config::Listener settings, std::string protocol, std::string cluster, std::string routes,
                       const Snapshot& next) {
  settings.protocol = std::move(protocol);
  settings.cluster = std::move(cluster);
  settings.routes = std::move(routes);
  settings.protocols.clear();
  if (config::is_relayed(settings.protocol)) settings.filters.clear();
  return plain_spec(settings, next);
}

MadeSpec auto_spec(const config::Listener& settings, const Snapshot& next) {
  auto spec = std::make_shared<ListenerSpec>();
  spec->settings = settings;
  spec->drain = next.config.drain;
  auto detect = std::make_shared<DetectSpec>();
  for (const config::ListenerProtocol& entry : settings.protocols) {
    auto part = protocol_spec(settings, entry.protocol == "tls" ? "tcp" : entry.protocol, entry.cluster, entry.routes,
                              next);
    if (!part) return part;
    auto rule = DetectRule::built_in(entry.protocol);
    const Protocol* protocol = (*part)->protocol.get();
    if (!rule && protocol && protocol->table) rule = DetectRule::of(*protocol->table);
    if (!rule)
      return unexpected("listeners: " + settings.name + ": " + entry.protocol + " can't be told by its first bytes");
    detect->rules.push_back(*rule);
    detect->names.push_back(entry.protocol);
    detect->server_names.push_back(lower_case(entry.sni));
    detect->alpn.push_back(alpn_of(entry.protocol, {}));
    detect->specs.push_back(*part);
  }
  if (settings.on_unknown == config::OnUnknown::kTcp) {
    auto part = protocol_spec(settings, "tcp", settings.cluster, "", next);
    if (!part) return part;
    detect->unknown = *part;
  }
  spec->detect = std::move(detect);
  return spec;
}

}  // namespace

Result<AccessLogFormat> access_log_format(const config::AccessLog& settings) {
  using Lines = config::AccessLogLines;
  const auto kind = settings.format == Lines::kJson ? AccessLogKind::kJson : AccessLogKind::kText;
  const std::string_view line = settings.format == Lines::kEnvoy   ? kEnvoyAccessLogTemplate
                                : settings.format == Lines::kIstio ? kIstioAccessLogTemplate
                                                                   : std::string_view(settings.template_text);
  return AccessLogFormat::compile(kind, line, settings.fields);
}

ProtocolRef Snapshot::protocol(const std::string& name) const {
  if (auto it = declared.find(name); it != declared.end()) return it->second;
  const Protocol* built_in = find_protocol(name);
  return built_in ? ProtocolRef(ProtocolRef(), built_in) : nullptr;
}

Result<std::shared_ptr<const Snapshot>, std::vector<std::string>> build_snapshot(config::Config wanted,
                                                                                 const Snapshot* previous,
                                                                                 int workers,
                                                                                 DeclaredProtocols declared) {
  std::vector<std::string> errors;
  auto next = std::make_shared<Snapshot>();
  next->generation = previous ? previous->generation + 1 : 1;
  next->config = std::move(wanted);
  const config::Config& config = next->config;
  next->declared = std::move(declared);

  if (config.access_log) {
    if (previous && previous->access_log && previous->config.access_log == config.access_log) {
      next->access_log = previous->access_log;
    } else {
      auto log = open_access_log(*config.access_log, workers);
      if (log)
        next->access_log = *log;
      else
        errors.push_back(log.error());
    }
  }

  std::unordered_map<std::string_view, std::shared_ptr<SharedCluster>> before;
  if (previous)
    for (const auto& cluster : previous->clusters) before[cluster->settings.name] = cluster;
  for (const config::Cluster& settings : config.clusters) {
    const auto it = before.find(settings.name);
    const auto old = it == before.end() ? nullptr : it->second;
    ProtocolRef protocol = next->protocol(settings.protocol);
    if (old && same_cluster(*old, settings) && same_use(old->protocol().get(), protocol.get())) {
      next->clusters.push_back(old);  // publishing gives it the protocol
      continue;
    }
    if (!protocol && !settings.protocol.empty() && !config::is_relayed(settings.protocol)) {
      errors.push_back("clusters: " + settings.name + ": protocol " + settings.protocol + " is not built in");
      continue;
    }
    std::shared_ptr<TlsIdentity> tls;
    if (settings.tls) {
      auto made = TlsIdentity::client(*settings.tls, alpn_of(settings.protocol, settings.tls->alpn),
                                      sni_of(settings), workers + 1);
      if (!made) {
        errors.push_back(tls_error("clusters", settings.name, made.error()));
        continue;
      }
      tls = *made;
    }
    next->clusters.push_back(std::make_shared<SharedCluster>(settings, std::move(protocol), workers, std::move(tls)));
    if (old) next->clusters.back()->inherit(*old);
  }

  make_tables(*next, previous, errors);
  std::unordered_map<std::string_view, std::shared_ptr<const ListenerSpec>> listeners;
  if (previous)
    for (const auto& old : previous->listeners) listeners[old->settings.name] = old;
  if (!errors.empty()) return unexpected(std::move(errors));
  for (const config::Listener& settings : config.listeners) {
    auto spec = settings.protocol == config::kAutoProtocol ? auto_spec(settings, *next)
                                                           : plain_spec(settings, *next);
    if (!spec) {
      errors.push_back(spec.error());
      continue;
    }
    ListenerSpec& made = **spec;
    auto tls = listener_identity(settings, previous, workers);
    if (!tls) {
      errors.push_back(tls_error("listeners", settings.name, tls.error()));
      continue;
    }
    made.tls = *tls;
    if (settings.proxy_protocol) {
      for (const std::string& text : settings.proxy_protocol->trusted) {
        if (auto prefix = IpPrefix::parse(text))
          made.trusted.push_back(*prefix);
        else
          errors.push_back("listeners: " + settings.name + ": proxy_protocol.trusted: " + prefix.error());
      }
    }
    const auto it = listeners.find(settings.name);
    if (it != listeners.end() && it->second->settings.address == settings.address)
      made.shared = it->second->shared;
    if (!made.shared) made.shared = std::make_shared<ListenerShared>(workers);
    if (it != listeners.end() && same_spec(*it->second, made))
      next->listeners.push_back(it->second);
    else
      next->listeners.push_back(std::move(*spec));
  }
  if (!errors.empty()) return unexpected(std::move(errors));
  return std::shared_ptr<const Snapshot>(std::move(next));
}

}  // namespace dragoman
