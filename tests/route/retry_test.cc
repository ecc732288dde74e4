#include "proxy/route/retry.h"

#include "tests/route/route_support.h"

namespace dragoman {
namespace {

using namespace config;

constexpr uint32_t kAll = kRetryConnectFailure | kRetryReset | kRetryRefused | kRetryGatewayError | kRetry5xx |
                          kRetryOverloaded | kRetryTimeout;

RetryPolicy policy(uint32_t on, bool idempotent = false) {
  RetryPolicy p;
  p.on = on;
  p.attempts = 1;
  p.idempotent = idempotent;
  return p;
}

TEST(Retry, EachFailureNeedsItsOwnCondition) {
  struct Case {
    Reason reason;
    uint32_t condition;  // the only one that asks for a repeat; 0 = none does
  };
  for (const Case& c : {
           Case{Reason::kConnectFailure, kRetryConnectFailure},
           Case{Reason::kConnectTimeout, kRetryConnectFailure},
           Case{Reason::kUpstreamRefused, kRetryRefused},
           Case{Reason::kUpstreamReset, kRetryReset},
           Case{Reason::kUpstreamTruncated, kRetryReset},
           Case{Reason::kUpstreamProtocolError, kRetryReset},
           Case{Reason::kHeartbeatLost, kRetryReset},
           Case{Reason::kTryTimeout, kRetryTimeout},
           Case{Reason::kUpstreamIdleTimeout, kRetryTimeout},
           Case{Reason::kUpstreamTimeout, 0},   // the total deadline
           Case{Reason::kUpstreamTooLarge, 0},  // would be as large again
           Case{Reason::kPendingOverflow, 0},   // our own limits
           Case{Reason::kRequestOverflow, 0},
           Case{Reason::kConnectionOverflow, 0},
           Case{Reason::kRetryOverflow, 0},
           Case{Reason::kNoHealthyUpstream, 0},
           Case{Reason::kDownstreamReset, 0},
           Case{Reason::kBodyTooLarge, 0},
           Case{Reason::kFaultInjected, 0},
           Case{Reason::kInternal, 0},
       }) {
    auto retries = [&](uint32_t on) {
      RetryPolicy p = policy(on, true);
      return may_retry({.policy = p, .reason = c.reason, .outcome = reason_row(c.reason).outcome, .request_sent = true, .replayable = true});
    };
    EXPECT_EQ(retries(kAll), c.condition != 0) << reason_row(c.reason).label;
    EXPECT_EQ(retries(c.condition), c.condition != 0) << reason_row(c.reason).label;
    EXPECT_FALSE(retries(kAll & ~c.condition)) << reason_row(c.reason).label;
    EXPECT_FALSE(retries(0)) << reason_row(c.reason).label;
  }
}

TEST(Retry, OnlyWhatIsSafe) {
  struct Case {
    const char* what;
    Reason reason;
    bool sent, method_idempotent, declared, received, replayable;
    bool retry;
  };
  for (const Case& c : {
           Case{"nothing sent", Reason::kConnectFailure, false, false, false, false, true, true},
           Case{"nothing sent, but the body is gone", Reason::kConnectFailure, false, false, false, false, false, false},
           Case{"connection lost before the request went out", Reason::kUpstreamReset, false, false, false, false, true, true},
           Case{"POST sent", Reason::kUpstreamReset, true, false, false, false, true, false},
           Case{"POST sent, timed out", Reason::kTryTimeout, true, false, false, false, true, false},
           Case{"GET sent", Reason::kUpstreamReset, true, true, false, false, true, true},
           Case{"GET sent, timed out", Reason::kTryTimeout, true, true, false, false, true, true},
           Case{"declared idempotent", Reason::kUpstreamReset, true, false, true, false, true, true},
           Case{"GET sent, body not kept", Reason::kUpstreamReset, true, true, false, false, false, false},
           Case{"GET, answer begun", Reason::kUpstreamReset, true, true, false, true, true, false},
           Case{"declared idempotent, answer begun", Reason::kUpstreamTruncated, true, false, true, true, true, false},
           Case{"sent, and refused unprocessed", Reason::kUpstreamRefused, true, false, false, false, true, true},
       }) {
    RetryPolicy p = policy(kAll, c.declared);
    RetryInput input{.policy = p,
                     .reason = c.reason,
                     .outcome = reason_row(c.reason).outcome,
                     .http_status = 0,
                     .method_idempotent = c.method_idempotent,
                     .request_sent = c.sent,
                     .answer_received = c.received,
                     .replayable = c.replayable};
    EXPECT_EQ(may_retry(input), c.retry) << c.what;
    p.attempts = 0;
    EXPECT_FALSE(may_retry(input)) << c.what << ", no attempts";
  }
}

TEST(Retry, Answers) {
  struct Case {
    Outcome outcome;
    uint32_t http_status;  // 0 = framed
    uint32_t conditions;   // each of these asks for a repeat
  };
  constexpr uint32_t kGateway = kRetryGatewayError | kRetry5xx;
  for (const Case& c : {
           Case{Outcome::kOk, 200, 0},
           Case{Outcome::kClientError, 404, 0},
           Case{Outcome::kRateLimited, 429, 0},
           Case{Outcome::kServerError, 499, 0},
           Case{Outcome::kServerError, 500, kRetry5xx},
           Case{Outcome::kServerError, 501, kRetry5xx},
           Case{Outcome::kServerError, 502, kGateway},
           Case{Outcome::kOverloaded, 503, kGateway | kRetryOverloaded},
           Case{Outcome::kUnavailable, 503, kGateway | kRetryOverloaded},
           Case{Outcome::kTimeout, 504, kGateway},
           Case{Outcome::kServerError, 505, kRetry5xx},
           Case{Outcome::kServerError, 599, kRetry5xx},
           Case{Outcome::kServerError, 600, 0},
           Case{Outcome::kOk, 0, 0},
           Case{Outcome::kClientError, 0, 0},
           Case{Outcome::kServerError, 0, kRetry5xx},
           Case{Outcome::kOverloaded, 0, kGateway | kRetryOverloaded},
           Case{Outcome::kTimeout, 0, kGateway},
           Case{Outcome::kUnavailable, 0, kGateway},
           Case{Outcome::kReset, 0, kGateway},
           Case{Outcome::kNoRoute, 0, 0},
           Case{Outcome::kDenied, 0, 0},
           Case{Outcome::kCodecError, 0, 0},
           Case{Outcome::kTooLarge, 0, 0},
           Case{Outcome::kRateLimited, 0, 0},
           Case{Outcome::kUnknown, 0, 0},
       }) {
    for (uint32_t bit = 1; bit <= kAll; bit <<= 1) {
      const bool asked = (c.conditions & bit) != 0;
      RetryPolicy p = policy(bit);
      EXPECT_EQ(retry_on_answer(p, c.outcome, c.http_status), asked) << outcome_name(c.outcome) << " " << c.http_status << " bit " << bit;
      RetryInput input{.policy = p,
                       .reason = Reason::kUpstreamStatus,
                       .outcome = c.outcome,
                       .http_status = c.http_status,
                       .method_idempotent = true,
                       .request_sent = true,
                       .answer_received = false,
                       .replayable = true};
      EXPECT_EQ(may_retry(input), asked);
      input.method_idempotent = false;
      EXPECT_FALSE(may_retry(input)) << "a backend that answered has seen the request";
    }
  }
}

TEST(Retry, IdempotentMethods) {
  for (std::string_view method : {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"})
    EXPECT_TRUE(is_idempotent(*test::http_request(method, "/"))) << method;
  for (std::string_view method : {"POST", "PATCH", "CONNECT", "get", "", "GETX"})
    EXPECT_FALSE(is_idempotent(*test::http_request(method, "/"))) << method;
  EXPECT_FALSE(is_idempotent(*test::rpc_request("s", "GET"))) << "an RPC method may be called anything";
  auto websocket = test::http_request("GET", "/");
  websocket->upgrade = true;
  EXPECT_FALSE(is_idempotent(*websocket));
}

}  // namespace
}  // namespace dragoman
