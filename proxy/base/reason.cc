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
#define DRAGOMAN_X(e, label, flag, outcome, status) ReasonRow{label, flag, Outcome::outcome, status},
      DRAGOMAN_REASONS(DRAGOMAN_X)
#undef DRAGOMAN_X
  }};
  return kRows[static_cast<size_t>(reason)];
}

}  // namespace dragoman
