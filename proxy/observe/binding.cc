// From names to handles: which family is behind which member of the structs of metrics.h.
#include "proxy/observe/families.h"
#include "proxy/observe/metrics.h"

namespace dragoman {

using namespace families;

MetricSeries& MetricsBinding::bind(const MetricGroup& group, std::span<const std::string_view> label_values) {
  return *held_.emplace_back(registry_->series(group, label_values));
}

RequestMetrics MetricsBinding::request(std::string_view listener, std::string_view route,
                                       std::string_view cluster, std::string_view protocol) {
  const std::string_view labels[] = {listener, route, cluster, protocol};
  const std::string_view reason_labels[] = {listener, cluster};
  const std::string_view status_labels[] = {listener, cluster, protocol};
  const MetricSeries& series = bind(kRequestGroup, labels);
  const MetricSeries& reasons = bind(kReasonGroup, reason_labels);
  const MetricSeries& statuses = bind(kStatusGroup, status_labels);
  return {
      .requests = series.counter_by<Outcome>(shard_, kRequests),
      .reasons = reasons.counter_by<Reason>(shard_, kRequestReasons),
      .statuses = statuses.counter_by_name(shard_, kNativeResponses),
      .duration = series.histogram(shard_, kRequestDuration),
      .request_bytes = series.counter(shard_, kRequestBytes),
      .response_bytes = series.counter(shard_, kResponseBytes),
      .retries = series.counter(shard_, kRequestRetries),
      .active = series.gauge(shard_, kRequestsActive),
  };
}

ListenerMetrics MetricsBinding::listener(std::string_view listener) {
  const MetricSeries& series = bind(kListenerGroup, {&listener, 1});
  return {
      .connections = series.counter(shard_, kListenerConnections),
      .connections_active = series.gauge(shard_, kListenerConnectionsActive),
      .connections_lingering = series.gauge(shard_, kListenerConnectionsLingering),
      .lingering_bytes = series.gauge(shard_, kListenerLingeringBytes),
      .connections_rejected = series.counter(shard_, kListenerConnectionsRejected),
      .accept_failures = series.counter(shard_, kListenerAcceptFailures),
      .received_bytes = series.counter(shard_, kListenerReceivedBytes),
      .sent_bytes = series.counter(shard_, kListenerSentBytes),
      .protocol_errors = series.counter_by<Reason>(shard_, kListenerProtocolErrors),
      .codec_events = series.counter_by<CodecEvent>(shard_, kListenerCodecEvents),
      .limit_hits = series.counter_by<ListenerLimit>(shard_, kListenerLimitHits),
  };
}

ClusterMetrics MetricsBinding::cluster(std::string_view cluster) {
  const MetricSeries& series = bind(kClusterGroup, {&cluster, 1});
  return {
      .requests = series.counter_by<Outcome>(shard_, kClusterRequests),
      .duration = series.histogram(shard_, kClusterDuration),
      .requests_active = series.gauge(shard_, kClusterRequestsActive),
      .requests_pending = series.gauge(shard_, kClusterRequestsPending),
      .connections = series.counter(shard_, kClusterConnections),
      .connections_active = series.gauge(shard_, kClusterConnectionsActive),
      .connect_failures = series.counter(shard_, kClusterConnectFailures),
      .connect_timeouts = series.counter(shard_, kClusterConnectTimeouts),
      .connect_backoffs = series.counter(shard_, kClusterConnectBackoffs),
      .connections_evicted = series.counter(shard_, kClusterConnectionsEvicted),
      .connections_silent = series.counter(shard_, kClusterConnectionsSilent),
      .pool_reuses = series.counter(shard_, kClusterPoolReuses),
      .retries = series.counter(shard_, kClusterRetries),
      .repeats = series.counter(shard_, kClusterRepeats),
      .overflows = series.counter_by<ClusterLimit>(shard_, kClusterOverflows),
      .peer_reasons = series.counter_by<PeerReason>(shard_, kClusterPeerReasons),
      .received_bytes = series.counter(shard_, kClusterReceivedBytes),
      .sent_bytes = series.counter(shard_, kClusterSentBytes),
      .codec_events = series.counter_by<CodecEvent>(shard_, kClusterCodecEvents),
      .health_checks = series.counter_by<CheckResult>(shard_, kClusterHealthChecks),
      .ejections = series.counter(shard_, kClusterEjections),
      .endpoints = series.gauge(shard_, kClusterEndpoints),
      .endpoints_healthy = series.gauge(shard_, kClusterEndpointsHealthy),
      .endpoints_ejected = series.gauge(shard_, kClusterEndpointsEjected),
  };
}

TlsMetrics MetricsBinding::tls(std::string_view side, std::string_view name) {
  const std::string_view labels[] = {side, name};
  const MetricSeries& series = bind(kTlsGroup, labels);
  return {
      .handshakes = series.counter(shard_, kTlsHandshakes),
      .resumptions = series.counter(shard_, kTlsResumptions),
      .failures = series.counter_by<Reason>(shard_, kTlsFailures),
      .duration = series.histogram(shard_, kTlsHandshakeDuration),
      .plaintext = series.counter(shard_, kTlsPlaintext),
      .reloads = series.counter_by<CheckResult>(shard_, kTlsReloads),
      .expiry_seconds = series.gauge(shard_, kTlsExpiry),
  };
}

DetectMetrics MetricsBinding::detect(std::string_view listener, std::string_view protocol) {
  const std::string_view labels[] = {listener, protocol};
  const MetricSeries& series = bind(kDetectGroup, labels);
  return {
      .connections = series.counter(shard_, kDetectConnections),
      .duration = series.histogram(shard_, kDetectDuration),
  };
}

ObserverMetrics MetricsBinding::observer(std::string_view listener, std::string_view cluster,
                                         std::string_view protocol) {
  const std::string_view labels[] = {listener, cluster, protocol};
  return {.stopped = bind(kObserverGroup, labels).counter_by<ObserverStop>(shard_, kObserversStopped)};
}

RedisMetrics MetricsBinding::redis(std::string_view listener, std::string_view cluster) {
  const std::string_view labels[] = {listener, cluster};
  const MetricSeries& series = bind(kRedisGroup, labels);
  return {
      .commands = series.counter_by<redis::Command>(shard_, kRedisCommands),
      .durations = series.histogram_by<redis::Command>(shard_, kRedisDuration),
      .errors = series.counter_by<redis::Error>(shard_, kRedisErrors),
      .pushes = series.counter(shard_, kRedisPushes),
  };
}

MysqlMetrics MetricsBinding::mysql(std::string_view listener, std::string_view cluster) {
  const std::string_view labels[] = {listener, cluster};
  const MetricSeries& series = bind(kMysqlGroup, labels);
  return {
      .commands = series.counter_by<mysql::Command>(shard_, kMysqlCommands),
      .durations = series.histogram_by<mysql::Command>(shard_, kMysqlDuration),
      .errors = series.counter_by<mysql::Error>(shard_, kMysqlErrors),
  };
}

WorkerMetrics MetricsBinding::worker() {
  const std::string name = std::to_string(shard_);
  const std::string_view label = name;
  const MetricSeries& series = bind(kWorkerGroup, {&label, 1});
  return {
      .connections_active = series.gauge(shard_, kWorkerConnectionsActive),
      .loop_lag = series.histogram(shard_, kWorkerLoopLag),
      .control_time = series.histogram(shard_, kWorkerControlTime),
      .memory_bytes = series.gauge_by<MemoryOwner>(shard_, kMemoryBytes),
      .memory_spare_bytes = series.gauge(shard_, kMemorySpareBytes),
  };
}

ServerMetrics MetricsBinding::server() {
  const MetricSeries& series = bind(kServerGroup, {});
  return {
      .dns_lookups = series.counter_by<CheckResult>(shard_, kDnsLookups),
      .config_reloads = series.counter_by<CheckResult>(shard_, kConfigReloads),
      .config_last_success_seconds = series.gauge(shard_, kConfigLastSuccess),
      .config_generation = series.gauge(shard_, kConfigGeneration),
      .uptime_seconds = series.gauge(shard_, kUptime),
      .workers = series.gauge(shard_, kWorkers),
      .draining = series.gauge(shard_, kDraining),
      .admin_evictions = series.counter(shard_, kAdminEvictions),
      .admin_timeouts = series.counter(shard_, kAdminTimeouts),
      .admin_refusals = series.counter(shard_, kAdminRefusals),
  };
}

void MetricsBinding::build_info(std::string_view version) {
  bind(kBuildGroup, {&version, 1}).gauge(shard_, kBuildInfo).set(1);
}

}  // namespace dragoman
