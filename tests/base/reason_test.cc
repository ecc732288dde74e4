#include "proxy/base/reason.h"

#include <gtest/gtest.h>

#include <set>

namespace dragoman {
namespace {

TEST(Reason, EveryRowIsCompleteAndLabelsAndFlagsAreUnique) {
  std::set<std::string_view> labels, flags;
  for (int i = 0; i < kReasonCount; ++i) {
    const ReasonRow& row = reason_row(static_cast<Reason>(i));
    EXPECT_FALSE(row.label.empty()) << i;
    EXPECT_FALSE(row.flag.empty()) << i;
    EXPECT_GE(row.http_status, 200) << row.label;
    EXPECT_LT(row.http_status, 600) << row.label;
    EXPECT_LE(row.grpc_status, 16) << row.label;
    EXPECT_EQ(row.grpc_status == 0, row.label == "none") << row.label;  // an answer of ours is never a success of the call
    EXPECT_LT(static_cast<int>(row.outcome), kOutcomeCount) << row.label;
    EXPECT_TRUE(labels.insert(row.label).second) << row.label;
    if (row.flag != "-") {  // nothing of ours went wrong
      EXPECT_TRUE(flags.insert(row.flag).second) << row.flag;
    }
    for (char c : row.label) EXPECT_TRUE((c >= 'a' && c <= 'z') || c == '_') << row.label;
  }
}

TEST(Reason, OnlyWhatTheEndpointOrTheWayToItDidCountsAgainstIt) {
  for (Reason reason :
       {Reason::kConnectFailure, Reason::kConnectTimeout, Reason::kUpstreamReset, Reason::kUpstreamTruncated,
        Reason::kUpstreamTimeout, Reason::kTryTimeout, Reason::kUpstreamWriteStall, Reason::kHeartbeatLost,
        Reason::kTlsHandshakeTimeout, Reason::kTlsPeerUntrusted})
    EXPECT_TRUE(blames_endpoint(reason)) << reason_row(reason).label;
  for (Reason reason :
       {Reason::kNone, Reason::kDownstreamReset, Reason::kDownstreamTruncated, Reason::kBodyTimeout,
        Reason::kCallerTimeout, Reason::kWriteStall, Reason::kDraining, Reason::kOwnResources,
        Reason::kRetryOverflow, Reason::kPendingOverflow, Reason::kUpstreamTooLarge,
        Reason::kUpstreamCancelled, Reason::kStreamIdleTimeout, Reason::kInternal, Reason::kDenied})
    EXPECT_FALSE(blames_endpoint(reason)) << reason_row(reason).label;
}

TEST(Reason, HttpStatusesMeanSomethingToGrpc) {
  EXPECT_EQ(grpc_status_of_http(400), 13);
  EXPECT_EQ(grpc_status_of_http(401), 16);
  EXPECT_EQ(grpc_status_of_http(403), 7);
  EXPECT_EQ(grpc_status_of_http(404), 12);
  EXPECT_EQ(grpc_status_of_http(429), 14);
  EXPECT_EQ(grpc_status_of_http(504), 14);
  EXPECT_EQ(grpc_status_of_http(200), 2);
  EXPECT_EQ(grpc_status_of_http(500), 2);
}

TEST(Reason, OutcomeNamesAreUnique) {
  std::set<std::string_view> names;
  for (int i = 0; i < kOutcomeCount; ++i)
    EXPECT_TRUE(names.insert(outcome_name(static_cast<Outcome>(i))).second) << i;
  EXPECT_EQ(outcome_name(Outcome::kServerError), "server_error");
  EXPECT_EQ(outcome_name(Outcome::kRateLimited), "rate_limited");
  EXPECT_EQ(outcome_name(static_cast<Outcome>(200)), "unknown");
}

}  // namespace
}  // namespace dragoman
