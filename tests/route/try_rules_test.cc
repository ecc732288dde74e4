#include "proxy/route/try_rules.h"

#include <gtest/gtest.h>

namespace dragoman {
namespace {

constexpr int64_t kProtocol = 60'000;

TEST(TryRules, TheNearestPlaceThatSaysSoCounts) {
  Route route;
  config::Cluster cluster;
  config::Listener listener;
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_ms, kProtocol);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).grpc_timeout_ms, 0) << "gRPC calls end by silence";
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_max_ms, 0);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).retry.attempts, 0u);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).retry.body_bytes_max,
            config::Retry{}.body_bytes_max);

  listener.timeout_ms = 3;
  listener.timeout_max_ms = 30;
  listener.retry = config::Retry{};
  listener.retry->attempts = 3;
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_ms, 3);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).grpc_timeout_ms, 3);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_max_ms, 30);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).retry.attempts, 3u);
  cluster.timeout_ms = 2;
  cluster.timeout_max_ms = 20;
  cluster.retry = config::Retry{};
  cluster.retry->attempts = 2;
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_ms, 2);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_max_ms, 20);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).retry.attempts, 2u);
  route.timeout_ms = 1;
  route.timeout_max_ms = 0;
  route.retry = config::Retry{};
  route.retry->attempts = 1;
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_ms, 1);
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_max_ms, 0) << "none, as written";
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).retry.attempts, 1u);
}

TEST(TryRules, AWrittenTimeoutCapsCallersWhereNothingElseDoes) {
  Route route;
  config::Cluster cluster;
  config::Listener listener;
  cluster.timeout_ms = 500;
  TryRules rules = try_rules(route, cluster, listener, kProtocol);
  EXPECT_EQ(rules.timeout_max_ms, 500);
  EXPECT_EQ(rules.fair_ms, 500);
  listener.timeout_max_ms = 0;
  EXPECT_EQ(try_rules(route, cluster, listener, kProtocol).timeout_max_ms, 0);
  cluster.timeout_ms = 0;
  rules = try_rules(route, cluster, {}, kProtocol);
  EXPECT_EQ(rules.timeout_ms, 0);
  EXPECT_EQ(rules.timeout_max_ms, 0);
  EXPECT_GT(rules.fair_ms, 0);
}

}  // namespace
}  // namespace dragoman
