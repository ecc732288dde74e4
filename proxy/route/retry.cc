#include "proxy/route/retry.h"

namespace dragoman {

bool is_idempotent(const Head& request) {
  if (!request.is_http || request.upgrade) return false;
  for (std::string_view method : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
    if (request.method == method) return true;
  return false;
}

bool retry_on_answer(const RetryPolicy& policy, Outcome outcome, uint32_t http_status) {
  const bool http = http_status != 0;
  // The framed counterparts of 502, 503 and 504.
  const bool framed_gateway = outcome == Outcome::kReset || outcome == Outcome::kUnavailable ||
                              outcome == Outcome::kOverloaded || outcome == Outcome::kTimeout;
  uint32_t asks = 0;
  if (http ? http_status >= 502 && http_status <= 504 : framed_gateway) asks |= config::kRetryGatewayError | config::kRetry5xx;
  if (http ? http_status >= 500 && http_status <= 599 : outcome == Outcome::kServerError) asks |= config::kRetry5xx;
  if (http ? http_status == 503 : outcome == Outcome::kOverloaded) asks |= config::kRetryOverloaded;
  return (policy.on & asks) != 0;
}

bool may_retry(const RetryInput& input) {
  const RetryPolicy& policy = input.policy;
  if (policy.attempts == 0 || input.answer_received || !input.replayable) return false;
  const bool untouched = !input.request_sent || input.reason == Reason::kUpstreamRefused;
  if (!untouched && !input.method_idempotent && !policy.idempotent) return false;
  switch (input.reason) {
    case Reason::kNone:
    case Reason::kUpstreamStatus:
      return retry_on_answer(policy, input.outcome, input.http_status);
    case Reason::kConnectFailure:
    case Reason::kConnectTimeout:
      return policy.on & config::kRetryConnectFailure;
    case Reason::kUpstreamRefused:
      return policy.on & config::kRetryRefused;
    case Reason::kUpstreamReset:
    case Reason::kUpstreamTruncated:
    case Reason::kUpstreamProtocolError:
    case Reason::kHeartbeatLost:
      return policy.on & config::kRetryReset;
    case Reason::kTryTimeout:
    case Reason::kUpstreamIdleTimeout:
      return policy.on & config::kRetryTimeout;
    default:
      if (is_tls_reason(input.reason))
        return policy.on & (input.request_sent ? config::kRetryReset : config::kRetryConnectFailure);
      // The client's faults, our own limits (a repeat would defeat them), and the total deadline.
      return false;
  }
}

}  // namespace dragoman
