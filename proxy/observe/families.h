// Every metric family of the proxy, and the groups that share labels. METRICS.md is generated from this table
// (observe_test checks it), promtool lints it.
#pragma once

#include <span>
#include <string>

#include "proxy/base/memory_reserve.h"
#include "proxy/observe/metrics.h"

namespace dragoman {

inline constexpr MetricLabelSet kByOutcome{"outcome", kOutcomeCount,
                                           [](size_t i) { return outcome_name(static_cast<Outcome>(i)); }};
inline constexpr MetricLabelSet kByReason{"reason", kReasonCount,
                                          [](size_t i) { return reason_row(static_cast<Reason>(i)).label; }};
std::string_view codec_event_name(CodecEvent event);
std::string_view limit_name(ListenerLimit limit);
std::string_view cluster_limit_name(ClusterLimit limit);
std::string_view metric_type_name(MetricType type);
inline constexpr MetricLabelSet kByEvent{
    "event", kCodecEventCount, [](size_t i) { return codec_event_name(static_cast<CodecEvent>(i)); }};
inline constexpr MetricLabelSet kByLimit{"limit", kListenerLimitCount,
                                         [](size_t i) { return limit_name(static_cast<ListenerLimit>(i)); }};
inline constexpr MetricLabelSet kByClusterLimit{
    "limit", kClusterLimitCount, [](size_t i) { return cluster_limit_name(static_cast<ClusterLimit>(i)); }};
inline constexpr MetricLabelSet kByPeerReason{
    "reason", kPeerReasonCount, [](size_t i) { return peer_reason_name(static_cast<PeerReason>(i)); }};
inline constexpr MetricLabelSet kByResult{
    "result", kCheckResultCount, [](size_t i) { return std::string_view(i == 0 ? "success" : "failure"); }};
inline constexpr MetricLabelSet kByOwner{"owner", kMemoryOwnerCount,
                                         [](size_t i) { return kMemoryOwnerNames[i]; }};
inline constexpr MetricLabelSet kByShed{"what", kMemoryShedCount,
                                        [](size_t i) { return kMemoryShedNames[i]; }};
inline constexpr MetricLabelSet kByObserverStop{"reason", kObserverStopNames.size(),
                                                [](size_t i) { return kObserverStopNames[i]; }};
inline constexpr MetricLabelSet kByRedisCommand{"command", redis::kCommandNames.size(),
                                                [](size_t i) { return redis::kCommandNames[i]; }};
inline constexpr MetricLabelSet kByRedisError{"error", redis::kErrorNames.size(),
                                              [](size_t i) { return redis::kErrorNames[i]; }};
inline constexpr MetricLabelSet kByMysqlCommand{"command", mysql::kCommandNames.size(),
                                                [](size_t i) { return mysql::kCommandNames[i]; }};
inline constexpr MetricLabelSet kByMysqlError{"error", mysql::kErrors.size(),
                                              [](size_t i) { return mysql::kErrors[i].name; }};
inline constexpr MetricLabelSet kByNativeStatus{"status", MetricNames::kCells, nullptr};

namespace families {

using enum MetricType;

// --- requests: listener, route, cluster, protocol
inline constexpr MetricFamily kRequests{
    .name = "dragoman_requests_total", .help = "Requests ended, by outcome.", .by = &kByOutcome};
inline constexpr MetricFamily kRequestDuration{
    .name = "dragoman_request_duration_seconds",
    .help = "From the first byte of a request to the last byte of its answer.",
    .type = kHistogram,
    .unit = "seconds"};
inline constexpr MetricFamily kRequestBytes{.name = "dragoman_request_bytes_total",
                                            .help = "Bytes of requests received from clients.",
                                            .unit = "bytes"};
inline constexpr MetricFamily kResponseBytes{
    .name = "dragoman_response_bytes_total", .help = "Bytes of answers sent to clients.", .unit = "bytes"};
inline constexpr MetricFamily kRequestRetries{.name = "dragoman_request_retries_total",
                                              .help = "Extra tries made for requests."};
inline constexpr MetricFamily kRequestsActive{
    .name = "dragoman_requests_active", .help = "Requests being served now.", .type = kGauge};

// --- reasons: listener, cluster
inline constexpr MetricFamily kRequestReasons{
    .name = "dragoman_request_reasons_total",
    .help = "Requests ended, by the reason why; none is the normal end.",
    .by = &kByReason};

// --- statuses: listener, cluster, protocol
inline constexpr MetricFamily kNativeResponses{
    .name = "dragoman_native_responses_total",
    .help =
        "Answers of endpoints that were passed on, by the status in their protocol's own words, as in the "
        "access log; `-` had none. `_other`: those beyond the first 32 different ones, and texts that are no "
        "names.",
    .by = &kByNativeStatus};

// --- listener: listener
inline constexpr MetricFamily kListenerConnections{.name = "dragoman_listener_connections_total",
                                                   .help = "Connections accepted."};
inline constexpr MetricFamily kListenerConnectionsActive{
    .name = "dragoman_listener_connections_active", .help = "Connections open now.", .type = kGauge};
inline constexpr MetricFamily kListenerConnectionsLingering{
    .name = "dragoman_listener_connections_lingering",
    .help =
        "Connections that are closed but still flush their last answer, or read what the client sends "
        "(linger); they count "
        "against connections_max.",
    .type = kGauge};
inline constexpr MetricFamily kListenerLingeringBytes{.name = "dragoman_listener_lingering_bytes",
                                                      .help = "What those have not sent yet.",
                                                      .type = kGauge,
                                                      .unit = "bytes"};
inline constexpr MetricFamily kListenerConnectionsRejected{
    .name = "dragoman_listener_connections_rejected_total",
    .help = "Connections closed at once because of connections_max."};
inline constexpr MetricFamily kListenerAcceptFailures{
    .name = "dragoman_listener_accept_failures_total",
    .help = "Times the system refused to accept a connection, for example out of file descriptors."};
inline constexpr MetricFamily kListenerReceivedBytes{
    .name = "dragoman_listener_received_bytes_total", .help = "Bytes read from clients.", .unit = "bytes"};
inline constexpr MetricFamily kListenerSentBytes{
    .name = "dragoman_listener_sent_bytes_total", .help = "Bytes written to clients.", .unit = "bytes"};
inline constexpr MetricFamily kListenerProtocolErrors{
    .name = "dragoman_listener_protocol_errors_total",
    .help = "Connections and single requests ended by what the client sent or failed to send, by reason.",
    .by = &kByReason};
inline constexpr MetricFamily kListenerCodecEvents{
    .name = "dragoman_listener_codec_events_total",
    .help = "Protocol events on client connections outside of requests.",
    .by = &kByEvent};
inline constexpr MetricFamily kListenerLimitHits{
    .name = "dragoman_listener_limit_hits_total",
    .help = "Times a configured bound of the listener was reached.",
    .by = &kByLimit};

// --- cluster: cluster
inline constexpr MetricFamily kClusterRequests{.name = "dragoman_cluster_requests_total",
                                               .help = "Tries towards endpoints ended, by outcome.",
                                               .by = &kByOutcome};
inline constexpr MetricFamily kClusterDuration{
    .name = "dragoman_cluster_request_duration_seconds",
    .help = "One try: from its first byte sent to the end of the endpoint's answer.",
    .type = kHistogram,
    .unit = "seconds"};
inline constexpr MetricFamily kClusterRequestsActive{
    .name = "dragoman_cluster_requests_active", .help = "Tries under way now.", .type = kGauge};
inline constexpr MetricFamily kClusterRequestsPending{.name = "dragoman_cluster_requests_pending",
                                                      .help = "Requests waiting for a connection now.",
                                                      .type = kGauge};
inline constexpr MetricFamily kClusterConnections{.name = "dragoman_cluster_connections_total",
                                                  .help = "Connections to endpoints established."};
inline constexpr MetricFamily kClusterConnectionsActive{.name = "dragoman_cluster_connections_active",
                                                        .help = "Connections to endpoints open now.",
                                                        .type = kGauge};
inline constexpr MetricFamily kClusterConnectFailures{
    .name = "dragoman_cluster_connect_failures_total",
    .help = "Connections to endpoints that were refused or failed, timeouts excluded."};
inline constexpr MetricFamily kClusterConnectTimeouts{
    .name = "dragoman_cluster_connect_timeouts_total",
    .help = "Connections to endpoints not established within connect_timeout."};
inline constexpr MetricFamily kClusterConnectBackoffs{
    .name = "dragoman_cluster_connect_backoffs_total",
    .help = "Connects put off because those before failed (connect_backoff)."};
inline constexpr MetricFamily kClusterConnectionsEvicted{
    .name = "dragoman_cluster_connections_evicted_total",
    .help = "Idle connections closed because others needed their place in limits.connections."};
inline constexpr MetricFamily kClusterConnectionsSilent{
    .name = "dragoman_cluster_connections_silent_total",
    .help = "Connections retired because requests timed out without a byte from them (pool.timeouts_max)."};
inline constexpr MetricFamily kClusterPoolReuses{
    .name = "dragoman_cluster_pool_reuses_total",
    .help = "Requests given to a connection that was already open."};
inline constexpr MetricFamily kClusterRetries{.name = "dragoman_cluster_retries_total",
                                              .help = "Tries that were retries."};
inline constexpr MetricFamily kClusterRepeats{
    .name = "dragoman_cluster_repeats_total",
    .help = "Tries that no retry policy asked for, since the endpoint before had not touched the request."};
inline constexpr MetricFamily kClusterOverflows{
    .name = "dragoman_cluster_overflows_total",
    .help = "Requests, connections or retries refused by a cluster limit.",
    .by = &kByClusterLimit};
inline constexpr MetricFamily kClusterPeerReasons{
    .name = "dragoman_cluster_peer_reasons_total",
    .help =
        "Answers that a sidecar at the other end made itself, by the reason it gave (clusters with "
        "\"sidecar\", listeners with \"tell_reason\"); other: words that are none of ours.",
    .by = &kByPeerReason};
inline constexpr MetricFamily kClusterReceivedBytes{
    .name = "dragoman_cluster_received_bytes_total", .help = "Bytes read from endpoints.", .unit = "bytes"};
inline constexpr MetricFamily kClusterSentBytes{
    .name = "dragoman_cluster_sent_bytes_total", .help = "Bytes written to endpoints.", .unit = "bytes"};
inline constexpr MetricFamily kClusterCodecEvents{
    .name = "dragoman_cluster_codec_events_total",
    .help = "Protocol events on endpoint connections outside of requests.",
    .by = &kByEvent};
inline constexpr MetricFamily kClusterHealthChecks{.name = "dragoman_cluster_health_checks_total",
                                                   .help = "Active health checks done, by result.",
                                                   .by = &kByResult};
inline constexpr MetricFamily kClusterEjections{.name = "dragoman_cluster_ejections_total",
                                                .help = "Endpoints ejected as outliers."};
inline constexpr MetricFamily kClusterEndpoints{.name = "dragoman_cluster_endpoints",
                                                .help = "Endpoints known.",
                                                .type = kGauge,
                                                .merge = GaugeMerge::kMax};
inline constexpr MetricFamily kClusterEndpointsHealthy{.name = "dragoman_cluster_endpoints_healthy",
                                                       .help = "Endpoints that may get requests.",
                                                       .type = kGauge,
                                                       .merge = GaugeMerge::kMax};
inline constexpr MetricFamily kClusterEndpointsEjected{.name = "dragoman_cluster_endpoints_ejected",
                                                       .help = "Endpoints ejected now.",
                                                       .type = kGauge,
                                                       .merge = GaugeMerge::kMax};

// --- tls: side, name
inline constexpr MetricFamily kTlsHandshakes{.name = "dragoman_tls_handshakes_total",
                                             .help = "TLS handshakes done."};
inline constexpr MetricFamily kTlsResumptions{.name = "dragoman_tls_resumptions_total",
                                              .help = "TLS handshakes done that took up an earlier session."};
inline constexpr MetricFamily kTlsFailures{.name = "dragoman_tls_failures_total",
                                           .help = "TLS handshakes failed, and connections that TLS broke, by reason.",
                                           .by = &kByReason};
inline constexpr MetricFamily kTlsHandshakeDuration{
    .name = "dragoman_tls_handshake_duration_seconds",
    .help = "From the connection to the end of its handshake.",
    .type = kHistogram,
    .unit = "seconds"};
inline constexpr MetricFamily kTlsPlaintext{
    .name = "dragoman_tls_plaintext_connections_total",
    .help = "Connections without TLS that mode permissive let in."};
inline constexpr MetricFamily kTlsReloads{
    .name = "dragoman_tls_reloads_total",
    .help = "Times changed certificate files were read, by result; after a failure the old ones stay in use.",
    .by = &kByResult};
inline constexpr MetricFamily kTlsExpiry{
    .name = "dragoman_tls_certificate_expiry_timestamp_seconds",
    .help = "When the first of the certificates in use ends, seconds since 1970; 0 without certificates.",
    .type = kGauge,
    .unit = "seconds",
    .merge = GaugeMerge::kMax};

// --- detect: listener, protocol
inline constexpr MetricFamily kDetectConnections{
    .name = "dragoman_detect_connections_total",
    .help = "Connections told apart by their first bytes; protocol unknown: none of the listener's, silent: no byte in time."};
inline constexpr MetricFamily kDetectDuration{
    .name = "dragoman_detect_duration_seconds",
    .help = "From the connection, or the end of its TLS handshake, until its protocol was known or given up.",
    .type = kHistogram,
    .unit = "seconds"};

// --- observers: listener, cluster, protocol
inline constexpr MetricFamily kObserversStopped{
    .name = "dragoman_l4_observers_stopped_total",
    .help = "Relayed connections that were not observed to their end, by reason; their bytes flowed on.",
    .by = &kByObserverStop};

// --- redis: listener, cluster
inline constexpr MetricFamily kRedisCommands{
    .name = "dragoman_redis_commands_total", .help = "Redis commands sent.", .by = &kByRedisCommand};
inline constexpr MetricFamily kRedisDuration{
    .name = "dragoman_redis_command_duration_seconds",
    .help = "From the end of a Redis command to the end of its answer; commands that wait on purpose are left out.",
    .type = kHistogram,
    .unit = "seconds",
    .by = &kByRedisCommand};
inline constexpr MetricFamily kRedisErrors{
    .name = "dragoman_redis_errors_total", .help = "Errors answered by Redis servers, by their first word.", .by = &kByRedisError};
inline constexpr MetricFamily kRedisPushes{.name = "dragoman_redis_pushes_total",
                                           .help = "What Redis servers sent without a command: messages, invalidations."};

// --- mysql: listener, cluster
inline constexpr MetricFamily kMysqlCommands{
    .name = "dragoman_mysql_commands_total", .help = "MySQL commands sent; connect: logins.", .by = &kByMysqlCommand};
inline constexpr MetricFamily kMysqlDuration{
    .name = "dragoman_mysql_command_duration_seconds",
    .help = "From the end of a MySQL command to the end of its answer, with all rows.",
    .type = kHistogram,
    .unit = "seconds",
    .by = &kByMysqlCommand};
inline constexpr MetricFamily kMysqlErrors{
    .name = "dragoman_mysql_errors_total", .help = "Errors answered by MySQL servers, by the name of their number.", .by = &kByMysqlError};

// --- worker: worker
inline constexpr MetricFamily kWorkerConnectionsActive{.name = "dragoman_worker_connections_active",
                                                       .help = "Connections of both sides open now.",
                                                       .type = kGauge};
inline constexpr MetricFamily kWorkerLoopLag{.name = "dragoman_worker_loop_lag_seconds",
                                             .help = "How late the loop's timer ran.",
                                             .type = kHistogram,
                                             .unit = "seconds"};
inline constexpr MetricFamily kWorkerControlTime{
    .name = "dragoman_worker_control_seconds",
    .help = "CPU time in a row that a loop spent on what the control thread asked: reloads, endpoint lists.",
    .type = kHistogram,
    .unit = "seconds"};
inline constexpr MetricFamily kMemoryBytes{
    .name = "dragoman_memory_bytes",
    .help = "Memory that messages and connections keep now, by who keeps it; without OpenSSL's.",
    .type = kGauge,
    .unit = "bytes",
    .by = &kByOwner};
inline constexpr MetricFamily kMemorySpareBytes{
    .name = "dragoman_memory_spare_bytes",
    .help =
        "Memory that nobody keeps and that waits for its next use; after a burst it falls within seconds.",
    .type = kGauge,
    .unit = "bytes",
    .lasting = true};

// --- server: no labels
inline constexpr MetricFamily kDnsLookups{
    .name = "dragoman_dns_lookups_total",
    .help = "Names of endpoints that were looked up, those of /etc/hosts too, by result.",
    .by = &kByResult};
inline constexpr MetricFamily kConfigReloads{
    .name = "dragoman_config_reloads_total",
    .help = "Configurations loaded, the first one included, by result.",
    .by = &kByResult};
inline constexpr MetricFamily kConfigLastSuccess{
    .name = "dragoman_config_last_success_timestamp_seconds",
    .help = "When the configuration in use was loaded, seconds since 1970.",
    .type = kGauge,
    .unit = "seconds",
    .lasting = true};
inline constexpr MetricFamily kConfigGeneration{.name = "dragoman_config_generation",
                                                .help = "Number of the configuration in use.",
                                                .type = kGauge,
                                                .lasting = true};
inline constexpr MetricFamily kUptime{.name = "dragoman_uptime_seconds",
                                      .help = "Time since the process started.",
                                      .type = kGauge,
                                      .unit = "seconds",
                                      .lasting = true};
inline constexpr MetricFamily kWorkers{
    .name = "dragoman_workers", .help = "Worker threads.", .type = kGauge, .lasting = true};
inline constexpr MetricFamily kAdminEvictions{.name = "dragoman_admin_connections_evicted_total",
                                              .help =
                                                  "Admin connections closed, the quietest first, because "
                                                  "there were too many or no descriptor was left."};
inline constexpr MetricFamily kAdminTimeouts{.name = "dragoman_admin_timeouts_total",
                                             .help = "Admin connections closed by admin.header_timeout."};
inline constexpr MetricFamily kAdminRefusals{
    .name = "dragoman_admin_requests_refused_total",
    .help = "Admin requests refused because of their Host, Origin or Sec-Fetch-Site."};
inline constexpr MetricFamily kDraining{.name = "dragoman_draining",
                                        .help = "1 while the process drains before its end.",
                                        .type = kGauge,
                                        .lasting = true};

// --- build: version
inline constexpr MetricFamily kBuildInfo{
    .name = "dragoman_build_info", .help = "Always 1.", .type = kGauge, .lasting = true};

// --- kept elsewhere, read at scrape (MetricCollector)
inline constexpr MetricFamily kLogDropped{.name = "dragoman_log_lines_dropped_total",
                                          .help = "Diagnostic lines lost to a full queue or a failed write."};
inline constexpr MetricFamily kLogSuppressed{.name = "dragoman_log_lines_suppressed_total",
                                             .help = "Diagnostic lines held back by rate limits."};
inline constexpr MetricFamily kAccessLogLines{.name = "dragoman_access_log_lines_total",
                                              .help = "Access log lines queued."};
inline constexpr MetricFamily kAccessLogDropped{
    .name = "dragoman_access_log_lines_dropped_total",
    .help = "Access log lines lost to a full queue or a failed write."};
inline constexpr MetricFamily kMemoryShort{.name = "dragoman_memory_short",
                                           .help =
                                               "1 while the process is short of memory: an allocation "
                                               "failed, and the reserve could not be had again.",
                                           .type = kGauge};
inline constexpr MetricFamily kMemoryShortages{
    .name = "dragoman_memory_shortages_total",
    .help = "Times that an allocation failed and the reserve was spent."};
inline constexpr MetricFamily kMemoryShedBy{.name = "dragoman_memory_shed_total",
                                            .help =
                                                "What was given up for lack of memory: open connections, new "
                                                "ones, requests (answered as overload), and what the "
                                                "control thread was asked for.",
                                            .by = &kByShed};
inline constexpr MetricFamily kWorkerStalls{.name = "dragoman_worker_stalls_total",
                                            .help =
                                                "Times a worker's loop stood still for 5 s: a codec's "
                                                "library that hangs, most likely; the log names it."};
inline constexpr MetricFamily kSeries{.name = "dragoman_metrics_series",
                                      .help = "Label sets alive, as counted against metrics.series_max.",
                                      .type = kGauge,
                                      .lasting = true};
inline constexpr MetricFamily kSeriesDropped{
    .name = "dragoman_metrics_series_dropped_total",
    .help = "Label sets counted as _other because of metrics.series_max."};

inline constexpr const MetricFamily* kRequestFamilies[] = {
    &kRequests, &kRequestDuration, &kRequestBytes, &kResponseBytes, &kRequestRetries, &kRequestsActive};
inline constexpr const MetricFamily* kReasonFamilies[] = {&kRequestReasons};
inline constexpr const MetricFamily* kStatusFamilies[] = {&kNativeResponses};
inline constexpr const MetricFamily* kListenerFamilies[] = {
    &kListenerConnections,          &kListenerConnectionsActive, &kListenerConnectionsRejected,
    &kListenerConnectionsLingering, &kListenerLingeringBytes,    &kListenerAcceptFailures,
    &kListenerReceivedBytes,        &kListenerSentBytes,         &kListenerProtocolErrors,
    &kListenerCodecEvents,          &kListenerLimitHits};
inline constexpr const MetricFamily* kClusterFamilies[] = {
    &kClusterRequests,          &kClusterDuration,
    &kClusterRequestsActive,    &kClusterRequestsPending,
    &kClusterConnections,       &kClusterConnectionsActive,
    &kClusterConnectFailures,   &kClusterConnectTimeouts,
    &kClusterConnectBackoffs,   &kClusterConnectionsEvicted,
    &kClusterConnectionsSilent, &kClusterPoolReuses,
    &kClusterRetries,           &kClusterRepeats,
    &kClusterOverflows,         &kClusterPeerReasons,
    &kClusterReceivedBytes,     &kClusterSentBytes,
    &kClusterCodecEvents,       &kClusterHealthChecks,
    &kClusterEjections,         &kClusterEndpoints,
    &kClusterEndpointsHealthy,  &kClusterEndpointsEjected};
inline constexpr const MetricFamily* kTlsFamilies[] = {
    &kTlsHandshakes, &kTlsResumptions, &kTlsFailures, &kTlsHandshakeDuration,
    &kTlsPlaintext,  &kTlsReloads,     &kTlsExpiry};
inline constexpr const MetricFamily* kDetectFamilies[] = {&kDetectConnections, &kDetectDuration};
inline constexpr const MetricFamily* kObserverFamilies[] = {&kObserversStopped};
inline constexpr const MetricFamily* kRedisFamilies[] = {&kRedisCommands, &kRedisDuration, &kRedisErrors, &kRedisPushes};
inline constexpr const MetricFamily* kMysqlFamilies[] = {&kMysqlCommands, &kMysqlDuration, &kMysqlErrors};
inline constexpr const MetricFamily* kWorkerFamilies[] = {
    &kWorkerConnectionsActive, &kWorkerLoopLag, &kWorkerControlTime, &kMemoryBytes, &kMemorySpareBytes};
inline constexpr const MetricFamily* kServerFamilies[] = {
    &kDnsLookups, &kConfigReloads, &kConfigLastSuccess, &kConfigGeneration, &kUptime,
    &kWorkers,    &kDraining,      &kAdminEvictions,    &kAdminTimeouts,    &kAdminRefusals};
inline constexpr const MetricFamily* kBuildFamilies[] = {&kBuildInfo};
inline constexpr const MetricFamily* kScrapeFamilies[] = {
    &kLogDropped,      &kLogSuppressed, &kAccessLogLines, &kAccessLogDropped, &kMemoryShort,
    &kMemoryShortages, &kMemoryShedBy,  &kWorkerStalls,   &kSeries,           &kSeriesDropped};

inline constexpr std::string_view kRequestLabels[] = {"listener", "route", "cluster", "protocol"};
inline constexpr std::string_view kReasonLabels[] = {"listener", "cluster"};
inline constexpr std::string_view kStatusLabels[] = {"listener", "cluster", "protocol"};
inline constexpr std::string_view kListenerLabels[] = {"listener"};
inline constexpr std::string_view kClusterLabels[] = {"cluster"};
inline constexpr std::string_view kTlsLabels[] = {"side", "name"};
inline constexpr std::string_view kDetectLabels[] = {"listener", "protocol"};
inline constexpr std::string_view kObserverLabels[] = {"listener", "cluster", "protocol"};
inline constexpr std::string_view kObservedLabels[] = {"listener", "cluster"};
inline constexpr std::string_view kWorkerLabels[] = {"worker"};
inline constexpr std::string_view kBuildLabels[] = {"version"};

}  // namespace families

inline constexpr MetricGroup kRequestGroup{"requests", families::kRequestLabels, families::kRequestFamilies};
inline constexpr MetricGroup kReasonGroup{"reasons", families::kReasonLabels, families::kReasonFamilies};
inline constexpr MetricGroup kStatusGroup{"statuses", families::kStatusLabels, families::kStatusFamilies};
inline constexpr MetricGroup kListenerGroup{"listeners", families::kListenerLabels,
                                            families::kListenerFamilies};
inline constexpr MetricGroup kClusterGroup{"clusters", families::kClusterLabels, families::kClusterFamilies};
inline constexpr MetricGroup kTlsGroup{"tls", families::kTlsLabels, families::kTlsFamilies};
inline constexpr MetricGroup kDetectGroup{"detect", families::kDetectLabels, families::kDetectFamilies};
inline constexpr MetricGroup kObserverGroup{"observers", families::kObserverLabels, families::kObserverFamilies};
inline constexpr MetricGroup kRedisGroup{"redis", families::kObservedLabels, families::kRedisFamilies};
inline constexpr MetricGroup kMysqlGroup{"mysql", families::kObservedLabels, families::kMysqlFamilies};
inline constexpr MetricGroup kWorkerGroup{"workers", families::kWorkerLabels, families::kWorkerFamilies};
inline constexpr MetricGroup kServerGroup{"server", {}, families::kServerFamilies};
inline constexpr MetricGroup kBuildGroup{"build", families::kBuildLabels, families::kBuildFamilies};
inline constexpr MetricGroup kScrapeGroup{"process", {}, families::kScrapeFamilies};

/// All of the above.
inline constexpr const MetricGroup* kMetricGroups[] = {
    &kRequestGroup, &kReasonGroup, &kStatusGroup,   &kListenerGroup, &kClusterGroup,
    &kTlsGroup,     &kDetectGroup, &kObserverGroup, &kRedisGroup,    &kMysqlGroup,
    &kWorkerGroup,  &kServerGroup, &kBuildGroup,    &kScrapeGroup};

/// The text of METRICS.md.
std::string metrics_reference();

}  // namespace dragoman
