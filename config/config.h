// What a configuration says, as plain data: one struct per YAML block, defaults in place. config/fields.cc
// describes every field (key, range, unit, meaning); config/load.h fills these structs from YAML.
//
// Units are the last word of a name (_ms, _bytes). 0 means "no limit" or "off" only where a comment says so.
// operator== compares settings, never source positions, so that a reload can tell what changed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace dragoman::config {

/// Where a block stands in the configuration file, 1-based. Any two positions compare equal: see above.
struct Position {
  int line = 0;  // 0 = the block was not written; its defaults apply
  int column = 0;

  bool given() const { return line > 0; }
  friend bool operator==(const Position&, const Position&) { return true; }
};

/// "127.0.0.1:8080", "[::1]:80", "[fe80::1%eth0]:80", "host.example:80"; `host` is without brackets. A unix socket is all in
/// `host`: "unix:/path", "unix:@name".
struct Address {
  std::string host;
  uint16_t port = 0;

  bool is_unix() const { return host.starts_with("unix:"); }
  std::string text() const {
    if (is_unix()) return host;
    return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + std::to_string(port);
  }
  bool operator==(const Address&) const = default;
};

/// PEM files.
struct Certificate {
  Position pos;
  std::string chain;  // the certificate, then those between it and the CA
  std::string key;
  std::string ocsp_staple;  // listeners: the CA's word that it is valid, DER; empty = none

  bool operator==(const Certificate&) const = default;
};

enum class TlsVersion : uint8_t { k12, k13 };
enum class TlsMode : uint8_t { kStrict, kPermissive };
enum class ClientCertificate : uint8_t { kNone, kOptional, kRequire };

/// TLS towards clients.
struct ListenerTls {
  Position pos;
  TlsMode mode = TlsMode::kStrict;
  std::vector<Certificate> certificates;  // the first one is for clients that name none of the others
  ClientCertificate client_certificate = ClientCertificate::kNone;
  std::string ca;
  std::string crl;  // empty = nobody is revoked
  std::vector<std::string> peer_names;
  std::vector<std::string> alpn;  // empty = as the protocols are called
  TlsVersion min_version = TlsVersion::k12;
  TlsVersion max_version = TlsVersion::k13;
  std::string ciphers;        // empty = OpenSSL's
  std::string cipher_suites;  // "
  int64_t handshake_timeout_ms = 5'000;
  int64_t ticket_lifetime_ms = 3'600'000;  // 0 = no tickets

  bool operator==(const ListenerTls&) const = default;
};

/// TLS towards endpoints.
struct ClusterTls {
  Position pos;
  std::string ca;  // empty = those of the system
  std::string crl;  // empty = nobody is revoked
  bool verify = true;
  std::optional<Certificate> certificate;
  std::string sni;  // empty = the host name of the endpoints
  std::vector<std::string> peer_names;
  std::vector<std::string> alpn;
  TlsVersion min_version = TlsVersion::k12;
  TlsVersion max_version = TlsVersion::k13;
  std::string ciphers;
  std::string cipher_suites;
  int64_t handshake_timeout_ms = 5'000;
  bool resume = true;

  bool operator==(const ClusterTls&) const = default;
};

struct Admin {
  Position pos;
  bool enabled = true;
  Address address{"127.0.0.1", 9901};  // port 0 = any free port
  std::string socket_mode;             // as a listener's
  std::optional<ListenerTls> tls;      // absent = off
  std::vector<std::string> hosts;      // names besides localhost and literals
  int64_t header_timeout_ms = 5'000;

  bool operator==(const Admin&) const = default;
};

enum class LogLevel : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };
enum class LogFormat : uint8_t { kText, kJson };
enum class AccessLogLines : uint8_t { kText, kJson, kEnvoy, kIstio };

struct Log {
  Position pos;
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  std::string path = "/dev/stderr";

  bool operator==(const Log&) const = default;
};

struct Drain {
  Position pos;
  int64_t deadline_ms = 30'000;
  int64_t idle_grace_ms = 1'000;
  int64_t lame_duck_ms = 5'000;  // at most a third of the deadline

  bool operator==(const Drain&) const = default;
};

struct AccessLog {
  Position pos;
  std::string path = "/dev/stdout";
  AccessLogLines format = AccessLogLines::kText;
  std::string template_text;  // key `template`; empty = the built-in line
  std::vector<std::pair<std::string, std::string>>
      fields;  // name and template of what is added to every line
  uint64_t queue_bytes = 1 << 20;

  bool operator==(const AccessLog&) const = default;
};

struct Metrics {
  Position pos;
  uint32_t series_max = 20'000;

  bool operator==(const Metrics&) const = default;
};

/// Applied in the order remove, set, add; each list in the order written.
struct HeaderEdits {
  Position pos;
  std::vector<std::pair<std::string, std::string>> set;
  std::vector<std::pair<std::string, std::string>> add;
  std::vector<std::string> remove;

  bool empty() const { return set.empty() && add.empty() && remove.empty(); }
  bool operator==(const HeaderEdits&) const = default;
};

struct HeadersFilter {
  Position pos;
  HeaderEdits request;
  HeaderEdits response;

  bool operator==(const HeadersFilter&) const = default;
};

struct FaultAbort {
  Position pos;
  double percent = 0;  // 0..100
  uint32_t status = 503;

  bool operator==(const FaultAbort&) const = default;
};

struct FaultDelay {
  Position pos;
  double percent = 0;  // 0..100
  int64_t duration_ms = 0;

  bool operator==(const FaultDelay&) const = default;
};

struct FaultFilter {
  Position pos;
  std::optional<FaultAbort> abort;
  std::optional<FaultDelay> delay;

  bool operator==(const FaultFilter&) const = default;
};

struct GrpcWebFilter {
  Position pos;

  bool operator==(const GrpcWebFilter&) const = default;
};

/// One alternative per value of the key `type`, in the order of kFilterTypes in fields.cc.
using Filter = std::variant<HeadersFilter, FaultFilter, GrpcWebFilter>;

enum class PathBytes : uint8_t { kPass, kRefuse };
enum class Underscores : uint8_t { kDrop, kRefuse, kPass };
enum class TraceMethod : uint8_t { kReject, kAllow };
enum class XForwarded : uint8_t { kAppend, kSet, kOff };
enum class ServerHeader : uint8_t { kPass, kRemove };

/// HTTP settings of a listener.
struct ListenerHttp {
  Position pos;
  uint64_t header_bytes_max = 64 << 10;
  uint32_t headers_max = 100;
  uint64_t uri_bytes_max = 8 << 10;
  uint64_t body_bytes_max = 0;  // 0 = no limit
  int64_t header_timeout_ms = 15'000;
  int64_t body_idle_timeout_ms = 60'000;  // 0 = none
  bool normalize_path = true;
  PathBytes encoded_slashes = PathBytes::kPass;
  PathBytes backslashes = PathBytes::kRefuse;
  TraceMethod trace_method = TraceMethod::kReject;
  std::vector<std::string> upgrade{"websocket"};  // lower-case tokens
  XForwarded x_forwarded = XForwarded::kAppend;
  bool request_id = true;
  ServerHeader server_header = ServerHeader::kPass;

  bool operator==(const ListenerHttp&) const = default;
};

struct BoltOptions {
  Position pos;
  bool verify_crc = true;
  bool read_body = false;

  bool operator==(const BoltOptions&) const = default;
};

/// HTTP/2 settings of a listener: what one connection may take of us.
struct ListenerHttp2 {
  Position pos;
  uint32_t streams_max = 1024;
  uint64_t memory_bytes_max = 16 << 20;
  uint64_t stream_window_bytes = 256 << 10;
  uint64_t connection_window_bytes = 1 << 20;
  uint32_t continuations_max = 8;
  uint32_t acks_max = 1'000;
  uint32_t resets_burst = 1'000;
  uint32_t resets_per_second = 100;
  uint32_t own_resets_burst = 200;
  uint32_t own_resets_per_second = 20;
  uint32_t control_burst = 10'000;
  uint32_t control_per_second = 1'000;
  int64_t stall_timeout_ms = 60'000;  // 0 = none

  bool operator==(const ListenerHttp2&) const = default;
};

/// Odd things that a protocol tolerates, per connection.
struct Glitches {
  Position pos;
  uint32_t burst = 500;
  uint32_t per_second = 10;

  bool operator==(const Glitches&) const = default;
};

/// What becomes of a request that could not be dealt with as the configuration wishes.
enum class Strictness : uint8_t { kPass, kRefuse };

/// Settings of a listener for framed RPC protocols.
struct ListenerRpc {
  Position pos;
  uint64_t frame_bytes_max = 16 << 20;
  int64_t frame_timeout_ms = 30'000;  // 0 = none
  uint32_t streams_max = 10'000;
  uint32_t headers_max = 256;
  uint32_t heartbeats_per_second_max = 1'000;
  uint64_t answers_bytes_max = 16 << 20;
  bool goaway = false;
  Strictness unread_body = Strictness::kPass;
  Strictness skipped_removals = Strictness::kPass;
  BoltOptions bolt;

  bool operator==(const ListenerRpc&) const = default;
};

/// Per connection.
struct Buffer {
  Position pos;
  uint64_t high_bytes = 256 << 10;
  uint64_t low_bytes = 64 << 10;
  uint64_t read_budget_bytes = 256 << 10;
  int64_t write_stall_timeout_ms = 60'000;  // 0 = none

  bool operator==(const Buffer&) const = default;
};

/// Client connections that were closed and still read what the client had sent, so that it can read its last answer.
struct Linger {
  Position pos;
  int64_t timeout_ms = 30'000;
  int64_t idle_timeout_ms = 5'000;
  uint64_t bytes_max = 256 << 20;
  uint32_t connections_max = 1'000;

  bool operator==(const Linger&) const = default;
};

/// The `protocol` of listeners that tell several apart by the first bytes of a connection.
inline constexpr std::string_view kAutoProtocol = "auto";

/// One protocol that a listener with protocol auto tells apart. Exactly one of cluster and routes is not empty.
struct ListenerProtocol {
  Position pos;
  std::string protocol;  // a protocol, or "tls": passed on to `cluster` without being opened
  std::string cluster;
  std::string routes;
  std::vector<std::string> sni;  // protocol tls: exact, or "*.suffix"; empty = any

  bool operator==(const ListenerProtocol&) const = default;
};

enum class OnUnknown : uint8_t { kReject, kTcp };

/// How protocol auto, and tls.mode permissive for relayed bytes, look at the first bytes.
struct Detect {
  Position pos;
  int64_t timeout_ms = 300;
  int64_t undecided_timeout_ms = 3'000;
  uint64_t bytes_max = 8 << 10;
  std::string silence = "auto";  // "auto", "unknown", "wait", or one of the listener's protocols

  bool operator==(const Detect&) const = default;
};

/// Relayed protocols that are observed.
struct Observe {
  Position pos;
  uint32_t outstanding_max = 65'536;

  bool operator==(const Observe&) const = default;
};

/// Bits of Retry::on.
enum RetryOn : uint32_t {
  kRetryConnectFailure = 1u << 0,
  kRetryReset = 1u << 1,
  kRetryRefused = 1u << 2,
  kRetryGatewayError = 1u << 3,
  kRetry5xx = 1u << 4,
  kRetryOverloaded = 1u << 5,
  kRetryTimeout = 1u << 6,
};

struct Retry {
  Position pos;
  uint32_t on = kRetryConnectFailure | kRetryRefused | kRetryReset;
  uint32_t attempts = 2;  // extra tries
  int64_t backoff_ms = 25;
  int64_t backoff_max_ms = 250;
  bool idempotent = false;
  uint64_t body_bytes_max = 64 << 10;

  bool operator==(const Retry&) const = default;
};

/// What a client's FIN means while its requests are under way.
enum class HalfClose : uint8_t { kCancel, kServe };

enum class AcceptProxy : uint8_t { kRequired, kOptional };

/// The PROXY protocol, by which a load balancer in front says who the client is.
struct ProxyProtocol {
  Position pos;
  AcceptProxy accept = AcceptProxy::kRequired;
  std::vector<std::string> trusted;  // IP addresses or prefixes; empty = everybody
  int64_t timeout_ms = 5'000;
  uint64_t bytes_max = 4 << 10;

  bool operator==(const ProxyProtocol&) const = default;
};

/// Which worker gets a connection.
enum class ConnectionBalance : uint8_t { kKernel, kExact };

struct Listener {
  Position pos;
  std::string name;
  Address address;          // an IP literal or a unix socket; port 0 = any free port
  std::string socket_mode;  // of a unix socket, octal; empty = as the umask says
  bool ipv6_only = false;
  ConnectionBalance connection_balance = ConnectionBalance::kKernel;
  std::optional<ProxyProtocol> proxy_protocol;  // absent = off
  std::string protocol;  // a row of config/protocols.h, or kAutoProtocol
  std::string cluster;   // exactly one of cluster and routes is not empty; protocol auto: where unknown bytes go
  std::string routes;
  std::vector<ListenerProtocol> protocols;  // protocol auto only
  OnUnknown on_unknown = OnUnknown::kReject;
  Detect detect;
  uint32_t backlog = 4'096;
  uint32_t connections_max = 10'000;
  uint64_t waiting_bytes_max = 16 << 20;
  uint32_t accept_per_turn = 64;
  int64_t idle_timeout_ms = 300'000;  // 0 = none
  std::optional<int64_t> timeout_ms;  // of requests, as the next two; absent: the protocol's
  std::optional<int64_t> timeout_max_ms;
  std::optional<Retry> retry;
  HalfClose half_close = HalfClose::kCancel;
  std::optional<uint32_t> hops_max;  // 0 = not counted; absent: the protocol's
  bool tell_reason = false;
  std::optional<ListenerTls> tls;     // absent = off
  std::vector<Filter> filters;
  ListenerHttp http;
  ListenerHttp2 http2;
  ListenerRpc rpc;
  Observe observe;
  Glitches glitches;
  Buffer buffer;
  Linger linger;

  bool operator==(const Listener&) const = default;
};

/// Exactly one of exact, prefix, suffix, regex, present is set.
struct HeaderMatch {
  Position pos;
  std::string name;
  std::optional<std::string> exact;
  std::optional<std::string> prefix;
  std::optional<std::string> suffix;
  std::optional<std::string> regex;  // RE2, the whole value
  std::optional<bool> present;
  bool invert = false;

  bool operator==(const HeaderMatch&) const = default;
};

/// Every condition that is not empty must hold. At most one of path, prefix, regex.
struct Match {
  Position pos;
  std::string path;
  std::string prefix;
  std::string regex;                // RE2, the whole path without query
  std::vector<std::string> method;  // any of them
  std::string service;              // exact, or a trailing '*' = prefix
  std::string group;                // Dubbo 2, Triple
  std::string version;
  std::string sni;                  // exact, or "*.suffix"
  std::vector<HeaderMatch> headers;

  bool operator==(const Match&) const = default;
};

struct WeightedCluster {
  Position pos;
  std::string name;
  uint32_t weight = 1;

  bool operator==(const WeightedCluster&) const = default;
};

/// Empty parts are taken from the request. path and prefix exclude each other.
struct Redirect {
  Position pos;
  std::string host;
  std::string path;
  std::string prefix;  // replaces the matched prefix
  std::string scheme;
  uint32_t status = 301;

  bool operator==(const Redirect&) const = default;
};

struct DirectResponse {
  Position pos;
  uint32_t status = 200;
  std::string body;
  std::string content_type = "text/plain";

  bool operator==(const DirectResponse&) const = default;
};

struct Route {
  Position pos;
  Match match;
  std::string cluster;  // exactly one of cluster, clusters, redirect, direct_response
  std::vector<WeightedCluster> clusters;
  std::optional<Redirect> redirect;
  std::optional<DirectResponse> direct_response;
  std::string name;  // never empty after loading: "<table>.<virtual host>.<index>" when not written
  std::optional<int64_t> timeout_ms;  // 0 = none; absent: the cluster's, the listener's, the protocol's
  std::optional<int64_t>
      timeout_max_ms;  // 0 = none; absent: the cluster's, the listener's, else timeout_ms as written
  int64_t per_try_timeout_ms = 0;     // 0 = none
  int64_t idle_timeout_ms = 300'000;  // 0 = none
  std::optional<Retry> retry;
  std::string prefix_rewrite;
  std::string host_rewrite;
  HeaderEdits request_headers;
  HeaderEdits response_headers;
  uint64_t request_body_bytes_max = 0;  // 0 = no limit of the route's own
  bool one_way = false;

  bool operator==(const Route&) const = default;
};

struct VirtualHost {
  Position pos;
  std::string name;
  std::vector<std::string> domains;  // lower case: exact, "*.suffix", "prefix.*" or "*"
  std::vector<Route> routes;

  bool operator==(const VirtualHost&) const = default;
};

struct RouteTable {
  Position pos;
  std::string name;
  std::vector<VirtualHost> virtual_hosts;
  std::vector<Route>
      routes;  // the shorthand; loading moves it to one virtual host "default" with domains ["*"]

  bool operator==(const RouteTable&) const = default;
};

struct Endpoint {
  Position pos;
  Address address;
  uint32_t weight = 1;

  bool operator==(const Endpoint&) const = default;
};

struct Dns {
  Position pos;
  int64_t refresh_ms = 30'000;
  int64_t ttl_min_ms = 5'000;
  int64_t ttl_max_ms = 300'000;

  bool operator==(const Dns&) const = default;
};

enum class SendProxy : uint8_t { kOff, kV1, kV2 };
enum class LbPolicy : uint8_t { kRoundRobin, kRandom, kLeastRequest };
enum class PoolMode : uint8_t { kAuto, kMultiplex, kPingPong, kBound };

struct Pool {
  Position pos;
  PoolMode mode = PoolMode::kAuto;
  uint32_t connections = 1;  // multiplexed connections per endpoint and worker
  uint32_t connections_max = 8;
  int64_t idle_timeout_ms = 4'000;
  uint32_t requests_per_connection_max = 0;  // 0 = no limit
  int64_t heartbeat_interval_ms = 15'000;    // 0 = none
  uint32_t heartbeat_misses_max = 3;
  int64_t goaway_pause_ms = 10'000;  // 0 = none
  uint32_t timeouts_max = 3;         // 0 = no limit

  bool operator==(const Pool&) const = default;
};

/// Cluster-wide, over all workers.
struct Limits {
  Position pos;
  uint32_t connections = 1'024;
  uint32_t pending_requests = 1'024;
  uint32_t requests = 65'536;
  uint32_t retries = 16;
  uint32_t tries_per_second = 0;  // to each endpoint; 0 = no limit

  bool operator==(const Limits&) const = default;
};

enum class HealthCheckType : uint8_t { kTcp, kHttp, kHeartbeat, kGrpc };

/// Both ends included.
struct StatusRange {
  uint16_t first = 200;
  uint16_t last = 299;

  bool operator==(const StatusRange&) const = default;
};

struct HealthCheck {
  Position pos;
  HealthCheckType type = HealthCheckType::kTcp;
  int64_t interval_ms = 5'000;
  int64_t timeout_ms = 1'000;
  uint32_t healthy_threshold = 2;
  uint32_t unhealthy_threshold = 3;
  std::string path = "/";                          // type http
  std::string host;                                // types http and grpc; empty = the endpoint's address
  std::vector<StatusRange> expect{StatusRange{}};  // type http
  std::string service;                             // type grpc; empty = the server as a whole
  uint32_t jitter_percent = 10;

  bool operator==(const HealthCheck&) const = default;
};

struct Outlier {
  Position pos;
  uint32_t consecutive_failures = 5;
  int64_t ejection_time_ms = 30'000;
  uint32_t max_ejection_percent = 50;

  bool operator==(const Outlier&) const = default;
};

struct ClusterHttp {
  Position pos;
  uint64_t header_bytes_max = 64 << 10;
  uint32_t headers_max = 100;
  Underscores underscores = Underscores::kDrop;

  bool operator==(const ClusterHttp&) const = default;
};

/// HTTP/2 settings of a cluster, for each connection.
struct ClusterHttp2 {
  Position pos;
  uint32_t streams_max = 1'000;
  uint64_t stream_window_bytes = 256 << 10;
  uint64_t connection_window_bytes = 16 << 20;
  uint64_t memory_bytes_max = 64 << 20;
  int64_t stall_timeout_ms = 60'000;     // 0 = none
  int64_t settings_timeout_ms = 10'000;  // 0 = none

  bool operator==(const ClusterHttp2&) const = default;
};

struct ClusterRpc {
  Position pos;
  uint64_t frame_bytes_max = 16 << 20;
  uint32_t headers_max = 256;

  bool operator==(const ClusterRpc&) const = default;
};

struct Cluster {
  Position pos;
  std::string name;
  std::string
      protocol;  // after loading: the users' protocol when not written; empty = nothing uses the cluster
  std::vector<Endpoint> endpoints;
  std::vector<std::string> srv;  // names of SRV records
  Dns dns;
  LbPolicy lb = LbPolicy::kRoundRobin;
  std::optional<ClusterTls> tls;  // absent = off
  SendProxy proxy_protocol = SendProxy::kOff;
  int64_t connect_timeout_ms = 1'000;
  int64_t connect_backoff_ms = 100;  // 0 = none
  int64_t connect_backoff_max_ms = 1'000;
  int64_t tcp_user_timeout_ms = 30'000;  // 0 = the system's
  std::optional<int64_t> timeout_ms;  // of requests, as the next two; absent: the listener's, the protocol's
  std::optional<int64_t> timeout_max_ms;
  std::optional<Retry> retry;
  Pool pool;
  Limits limits;
  std::optional<HealthCheck> health_check;  // absent = off
  std::optional<Outlier> outlier;           // absent = off
  uint32_t panic_threshold_percent = 50;    // 0 = never
  ClusterHttp http;
  ClusterHttp2 http2;
  ClusterRpc rpc;
  bool sidecar = false;  // endpoints are proxies of this kind: their reasons are read
  Glitches glitches;
  Buffer buffer;

  bool operator==(const Cluster&) const = default;
};

/// A protocol that is not built in. Exactly one of path and descriptor is not empty; both are relative to the
/// folder of the configuration.
struct Codec {
  Position pos;
  std::string name;
  std::string path;        // a shared library
  std::string descriptor;  // a description in YAML
  std::string codec;       // what the file calls itself; never empty after loading

  bool operator==(const Codec&) const = default;
};

/// Who is asked for names.
struct NameServers {
  Position pos;
  std::vector<Address> servers;  // empty: those of /etc/resolv.conf
  int64_t timeout_ms = 2'000;
  uint32_t tries = 3;

  bool operator==(const NameServers&) const = default;
};

struct Config {
  Position pos;
  uint32_t workers = 0;  // 0 = as many as CPUs allowed
  Admin admin;
  Log log;
  Drain drain;
  std::optional<AccessLog> access_log;  // absent = off
  Metrics metrics;
  NameServers dns;
  std::vector<Codec> codecs;
  std::vector<Listener> listeners;
  std::vector<RouteTable> routes;
  std::vector<Cluster> clusters;
  std::vector<std::string> secrets;  // what ${} stood for: neither dumped nor logged

  bool operator==(const Config&) const = default;
};

}  // namespace dragoman::config
