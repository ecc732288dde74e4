// Whether a failed try may be repeated: pure rules, no state. A request is repeated only when that is safe: the backend
// can't have begun to work on it, or working on it twice is declared harmless.
#pragma once

#include <cstdint>
#include <string_view>

#include "proxy/base/reason.h"
#include "proxy/route/route_table.h"

namespace dragoman {

/// A method that is idempotent by definition (RFC 9110 section 9.2.2): GET HEAD OPTIONS TRACE PUT DELETE. Never an RPC method, and
/// never a request that leaves HTTP (Upgrade).
bool is_idempotent(const Head& request);

/// What is known when a try has ended. The caller counts attempts and holds the cluster's retry budget.
struct RetryInput {
  const RetryPolicy& policy;
  Reason reason = Reason::kNone;       // why it ended; kUpstreamStatus (or kNone) when it ended by an answer
  Outcome outcome = Outcome::kUnknown;  // of that answer
  uint32_t http_status = 0;            // of that answer; 0 for framed protocols
  bool method_idempotent = false;      // is_idempotent(request)
  bool request_sent = false;           // any byte of the request was given to a connection
  bool answer_received = false;        // any byte of an answer arrived, except the one that `reason` speaks of
  bool replayable = false;             // the whole request is still here to be sent again
};

/// True when the policy asks for a repeat on this failure AND the repeat is safe.
bool may_retry(const RetryInput& input);

/// Whether the policy asks for a repeat on an answer with this outcome (`http_status` 0: not HTTP). Says nothing about
/// safety.
bool retry_on_answer(const RetryPolicy& policy, Outcome outcome, uint32_t http_status);

}  // namespace dragoman
