#include "proxy/base/reason.h"

#include <array>

namespace dragoman {

std::string_view outcome_name(Outcome outcome) {
  static constexpr std::array<std::string_view, kOutcomeCount> kNames = {
      "ok",     "client_error", "server_error", "overloaded",  "timeout",   "unavailable", "no_route",
      "denied", "reset",        "codec_error",  "too_large",   "unknown",   "rate_limited"};
  auto i = static_cast<size_t>(outcome);
  return i < kNames.size() ? kNames[i] : kNames[static_cast<size_t>(Outcome::kUnknown)];
}

const ReasonRow& reason_row(Reason reason) {
  static constexpr std::array<ReasonRow, kReasonCount> kRows = {{
#define DRAGOMAN_X(e, label, flag, outcome, status, grpc, blame) \
  ReasonRow{label, flag, Outcome::outcome, status, grpc, Blame::blame},
      DRAGOMAN_REASONS(DRAGOMAN_X)
#undef DRAGOMAN_X
  }};
  return kRows[static_cast<size_t>(reason)];
}

const Reason* find_reason(std::string_view label) {
  static constexpr std::array<Reason, kReasonCount> kAll = {
#define DRAGOMAN_X(e, label, flag, outcome, status, grpc, blame) Reason::e,
      DRAGOMAN_REASONS(DRAGOMAN_X)
#undef DRAGOMAN_X
  };
  for (const Reason& reason : kAll)
    if (reason_row(reason).label == label) return &reason;
  return nullptr;
}

bool blames_endpoint(Reason reason) {
  const Blame blame = reason_row(reason).blame;
  return blame == Blame::kEndpoint || blame == Blame::kNetwork;
}

uint8_t grpc_status_of_http(uint32_t http_status) {
  switch (http_status) {
    case 400:
    case 431: return 13;  // INTERNAL
    case 401: return 16;  // UNAUTHENTICATED
    case 403: return 7;   // PERMISSION_DENIED
    case 404: return 12;  // UNIMPLEMENTED
    case 429:
    case 502:
    case 503:
    case 504: return 14;  // UNAVAILABLE
    default: return 2;    // UNKNOWN
  }
}

}  // namespace dragoman
