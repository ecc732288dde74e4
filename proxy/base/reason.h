// Every way an exchange or a connection can end, one row each. The row drives the access-log flag, the metric
// label, the HTTP and gRPC status of a local reply, the outcome a codec turns into its native status, and whom it counts against.
#pragma once

#include <cstdint>
#include <string_view>

namespace dragoman {

/// Protocol-neutral result of one exchange. Codecs map native status to and from it; retries, passive ejection and
/// metrics live on it. Values are part of the plugin ABI (DRAGOMAN_OUTCOME_*): append only.
enum class Outcome : uint8_t {
  kOk = 0,
  kClientError = 1,   // the caller's mistake; never ejects an endpoint
  kServerError = 2,   // the callee failed while serving
  kOverloaded = 3,    // the callee or we refused for load
  kTimeout = 4,
  kUnavailable = 5,   // no healthy endpoint, connect failure
  kNoRoute = 6,
  kDenied = 7,
  kReset = 8,         // the connection to the callee was lost
  kCodecError = 9,    // bytes that could not be understood
  kTooLarge = 10,
  kUnknown = 11,
  kRateLimited = 12,
};
inline constexpr int kOutcomeCount = 13;

/// Whose doing the end of an exchange was. Ejection and health count only what is the endpoint's or the network's on the way to
/// it: a client that stops in the middle of a body, or our own limits, must not take healthy endpoints out.
enum class Blame : uint8_t { kNobody, kClient, kUs, kEndpoint, kNetwork };

/// Stable lower-case name, e.g. "server_error".
std::string_view outcome_name(Outcome outcome);

// clang-format off
// X(enumerator, metric label, access-log flag, outcome, http status, grpc status, blame)
#define DRAGOMAN_REASONS(X)                                                                            \
  X(kNone,                    "none",                      "-",     kOk,            200,  0, kNobody)    \
  X(kUpstreamStatus,          "upstream_status",           "-",     kServerError,   500,  2, kEndpoint)  \
  X(kNoRoute,                 "no_route",                  "NR",    kNoRoute,       404, 12, kClient)    \
  X(kNoCluster,               "no_cluster",                "NC",    kUnavailable,   503, 14, kUs)        \
  X(kNoHealthyUpstream,       "no_healthy_upstream",       "UH",    kUnavailable,   503, 14, kEndpoint)  \
  X(kConnectFailure,          "connect_failure",           "UF",    kUnavailable,   503, 14, kEndpoint)  \
  X(kConnectTimeout,          "connect_timeout",           "UFT",   kUnavailable,   503, 14, kNetwork)   \
  X(kOwnResources,            "own_resources",             "OR",    kOverloaded,    503,  8, kUs)        \
  X(kUpstreamReset,           "upstream_reset",            "UC",    kReset,         502, 14, kEndpoint)  \
  X(kUpstreamTruncated,       "upstream_truncated",        "UCT",   kReset,         502, 14, kEndpoint)  \
  X(kUpstreamRefused,         "upstream_refused",          "UR",    kOverloaded,    503, 14, kEndpoint)  \
  X(kUpstreamCancelled,       "upstream_cancelled",        "UCC",   kReset,         502,  1, kNobody)    \
  X(kUpstreamProtocolError,   "upstream_protocol_error",   "UPE",   kReset,         502, 13, kEndpoint)  \
  X(kUpstreamTooLarge,        "upstream_too_large",        "UTL",   kReset,         502,  8, kUs)        \
  X(kUpstreamIdleTimeout,     "upstream_idle_timeout",     "UI",    kTimeout,       504,  4, kEndpoint)  \
  X(kUpstreamTimeout,         "upstream_timeout",          "UT",    kTimeout,       504,  4, kEndpoint)  \
  X(kCallerTimeout,           "caller_timeout",            "UDT",   kTimeout,       504,  4, kClient)    \
  X(kTryTimeout,              "per_try_timeout",           "UTT",   kTimeout,       504,  4, kEndpoint)  \
  X(kStreamIdleTimeout,       "stream_idle_timeout",       "SI",    kTimeout,       504,  4, kNobody)    \
  X(kUpstreamWriteStall,      "upstream_write_stall",      "UW",    kTimeout,       504,  4, kEndpoint)  \
  X(kPendingOverflow,         "pending_overflow",          "UO",    kOverloaded,    503, 14, kUs)        \
  X(kRequestOverflow,         "request_overflow",          "UORQ",  kOverloaded,    503, 14, kUs)        \
  X(kConnectionOverflow,      "connection_overflow",       "UOCX",  kOverloaded,    503, 14, kUs)        \
  X(kRetryOverflow,           "retry_overflow",            "URX",   kOverloaded,    503, 14, kUs)        \
  X(kTriesOverflow,           "tries_overflow",            "UOT",   kOverloaded,    503, 14, kUs)        \
  X(kLoopDetected,            "loop_detected",             "LD",    kNoRoute,       508,  9, kUs)        \
  X(kBoundElsewhere,          "bound_elsewhere",           "UBE",   kUnavailable,   503, 14, kUs)        \
  X(kStreamsOverflow,         "streams_overflow",          "DO",    kOverloaded,    503, 14, kClient)    \
  X(kDownstreamReset,         "downstream_reset",          "DC",    kClientError,   499,  1, kClient)    \
  X(kDownstreamTruncated,     "truncated",                 "DT",    kClientError,   400, 13, kClient)    \
  X(kMalformed,               "malformed",                 "DPE",   kCodecError,    400, 13, kClient)    \
  X(kUnsupported,             "unsupported",               "DU",    kCodecError,    501, 12, kClient)    \
  X(kVersionUnsupported,      "version_unsupported",       "DV",    kCodecError,    505, 12, kClient)    \
  X(kChecksum,                "checksum_mismatch",         "DCS",   kCodecError,    400, 13, kClient)    \
  X(kUnknownProtocol,         "unknown_protocol",          "DUP",   kCodecError,    400, 13, kClient)    \
  X(kProxyHeader,             "proxy_header",              "DPH",   kCodecError,    400, 13, kClient)    \
  X(kProxyUntrusted,          "proxy_untrusted",           "DPU",   kDenied,        403,  7, kClient)    \
  X(kProxyTimeout,            "proxy_timeout",             "DPT",   kTimeout,       408,  4, kClient)    \
  X(kHeadTooLarge,            "head_too_large",            "DHL",   kTooLarge,      431,  8, kClient)    \
  X(kTooManyHeaders,          "too_many_headers",          "DHC",   kTooLarge,      431,  8, kClient)    \
  X(kUriTooLong,              "uri_too_long",              "DUL",   kTooLarge,      414,  8, kClient)    \
  X(kBodyTooLarge,            "body_too_large",            "DBL",   kTooLarge,      413,  8, kClient)    \
  X(kFrameTooLarge,           "frame_too_large",           "DFL",   kTooLarge,      413,  8, kClient)    \
  X(kHeadTimeout,             "head_timeout",              "DHT",   kTimeout,       408,  4, kClient)    \
  X(kBodyTimeout,             "body_timeout",              "DBT",   kTimeout,       408,  4, kClient)    \
  X(kFrameTimeout,            "frame_timeout",             "DFT",   kTimeout,       408,  4, kClient)    \
  X(kIdleTimeout,             "idle_timeout",              "DI",    kOk,            408, 14, kNobody)    \
  X(kWriteStall,              "write_stall",               "DW",    kTimeout,       408,  4, kClient)    \
  X(kHeartbeatFlood,          "heartbeat_flood",           "DHF",   kOverloaded,    429,  8, kClient)    \
  X(kAbuse,                   "abuse",                     "DAB",   kOverloaded,    429,  8, kClient)    \
  X(kHeartbeatLost,           "heartbeat_lost",            "UHB",   kReset,         502, 14, kNetwork)   \
  X(kTlsNotTls,               "tls_not_tls",               "TNT",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsHandshakeTimeout,     "tls_handshake_timeout",     "THT",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsHandshakeClosed,      "tls_handshake_closed",      "THC",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsPeerAlert,            "tls_peer_alert",            "TPA",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsNoPeerCertificate,    "tls_no_peer_certificate",   "TNC",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsPeerExpired,          "tls_peer_expired",          "TPX",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsPeerUntrusted,        "tls_peer_untrusted",        "TPU",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsPeerRevoked,          "tls_peer_revoked",          "TPR",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsPeerName,             "tls_peer_name",             "TPN",   kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsVersion,              "tls_version",               "TV",    kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsCipher,               "tls_cipher",                "TC",    kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsAlpn,                 "tls_alpn",                  "TA",    kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsRenegotiation,        "tls_renegotiation",         "TR",    kUnavailable,   503, 14, kEndpoint)  \
  X(kTlsMalformed,            "tls_malformed",             "TM",    kUnavailable,   503, 14, kEndpoint)  \
  X(kDenied,                  "denied",                    "DN",    kDenied,        403,  7, kClient)    \
  X(kRateLimited,             "rate_limited",              "RL",    kRateLimited,   429,  8, kClient)    \
  X(kFaultInjected,           "fault_injected",            "FI",    kServerError,   503, 14, kUs)        \
  X(kDirectResponse,          "direct_response",           "LR",    kOk,            200,  2, kNobody)    \
  X(kRedirect,                "redirect",                  "RD",    kOk,            301,  2, kNobody)    \
  X(kDraining,                "draining",                  "DR",    kUnavailable,   503, 14, kUs)        \
  X(kEditFailed,              "edit_failed",               "EE",    kServerError,   500, 13, kUs)        \
  X(kInternal,                "internal",                  "IE",    kServerError,   500, 13, kUs)
// clang-format on

enum class Reason : uint8_t {
#define DRAGOMAN_X(e, label, flag, outcome, status, grpc, blame) e,
  DRAGOMAN_REASONS(DRAGOMAN_X)
#undef DRAGOMAN_X
};

#define DRAGOMAN_X(e, label, flag, outcome, status, grpc, blame) +1
inline constexpr int kReasonCount = 0 DRAGOMAN_REASONS(DRAGOMAN_X);
#undef DRAGOMAN_X

struct ReasonRow {
  std::string_view label;  // metric label value
  std::string_view flag;   // access-log flag
  Outcome outcome;
  uint16_t http_status;
  uint8_t grpc_status;
  Blame blame;  // as the upstream side of an exchange sees it: a TLS reason is the endpoint's
};

/// Whether a try that ended so says that its endpoint works badly. The rest says nothing of it, good or bad.
bool blames_endpoint(Reason reason);

/// A handshake failed, or TLS broke later on: a connection that carries nothing (more).
constexpr bool is_tls_reason(Reason reason) {
  return reason >= Reason::kTlsNotTls && reason <= Reason::kTlsMalformed;
}

/// The row of `reason`; never fails.
const ReasonRow& reason_row(Reason reason);

/// The reason with that label; null when there is none.
const Reason* find_reason(std::string_view label);

/// What an HTTP status means to gRPC when no grpc-status came with it.
uint8_t grpc_status_of_http(uint32_t http_status);

}  // namespace dragoman
