// Balancers, panic, ejection and endpoint changes of one cluster on one worker, with a loop driven by hand.
#include "proxy/upstream/cluster.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <map>
#include <thread>
#include <vector>

#include "tests/support/test_socket.h"

namespace dragoman {
namespace {

std::shared_ptr<const Protocol> http1() { return {std::shared_ptr<void>(), find_protocol("http1")}; }

class ClusterTest : public ::testing::Test {
 protected:
  ~ClusterTest() override {
    if (cluster_) cluster_->drain();
    cluster_ = {};
    loop_.stop();
    loop_.run();
  }
  void make(config::Cluster settings, std::vector<uint32_t> weights) {
    settings.name = "c";
    shared_ = std::make_shared<SharedCluster>(std::move(settings), http1(), 1);
    shared_->set_endpoints(addresses(weights));
    auto binding = std::make_shared<MetricsBinding>(registry_, 0);
    ClusterMetrics metrics = binding->cluster("c");
    cluster_ = Ref<Cluster>(new Cluster(context_, shared_, binding, metrics));
  }
  static std::vector<std::pair<Address, uint32_t>> addresses(const std::vector<uint32_t>& weights, int first = 1) {
    std::vector<std::pair<Address, uint32_t>> list;
    for (size_t i = 0; i < weights.size(); ++i)
      list.emplace_back(*Address::parse("127.0.0.1:" + std::to_string(first + static_cast<int>(i))), weights[i]);
    return list;
  }
  std::map<int, int> picks(int n, const Endpoint* avoid = nullptr) {
    std::map<int, int> count;
    for (int i = 0; i < n; ++i) {
      Endpoint* e = cluster_->pick(avoid);
      ++count[e ? e->shared().address().port() : 0];
    }
    return count;
  }
  SharedEndpoint& endpoint(size_t i) { return *shared_->endpoints()->endpoints.at(i); }
  void wait_ms(uint64_t ms) {
    for (uint64_t until = loop_.now_ms() + ms; loop_.now_ms() < until; loop_.turn(false)) testing::sleep_ms(1);
  }

  MetricRegistry registry_{1};
  Loop loop_;
  WorkerContext context_{loop_, 0, 1, Random(42)};
  std::shared_ptr<SharedCluster> shared_;
  Ref<Cluster> cluster_;
};

TEST_F(ClusterTest, RoundRobinIsExact) {
  make({}, {1, 1, 1});
  EXPECT_EQ(picks(300), (std::map<int, int>{{1, 100}, {2, 100}, {3, 100}}));
}

TEST_F(ClusterTest, WeightedRoundRobinIsExactAndSmooth) {
  make({}, {5, 1, 2});
  EXPECT_EQ(picks(80), (std::map<int, int>{{1, 50}, {2, 10}, {3, 20}}));
  std::string order;
  for (int i = 0; i < 8; ++i) order += std::to_string(cluster_->pick(nullptr)->shared().address().port());
  EXPECT_EQ(order.find("1111"), std::string::npos) << order << ": the heavy one is not taken in one run";
}

// Each request would look at all of them.
TEST_F(ClusterTest, ManyWeightedEndpointsHaveTheirShareEach) {
  std::vector<uint32_t> weights;
  int total = 0;
  for (int i = 0; i < 10'000; ++i) weights.push_back(static_cast<uint32_t>(1 + i % 4)), total += 1 + i % 4;
  make({}, weights);
  const auto all = picks(3 * total);
  for (int i = 0; i < 10'000; ++i) EXPECT_NEAR(all.at(1 + i), 3 * (1 + i % 4), 1) << i;
  config::Cluster random;
  random.lb = config::LbPolicy::kRandom;
  make(random, weights);
  int64_t by_weight[5] = {};
  for (const auto& [port, n] : picks(total)) by_weight[1 + (port - 1) % 4] += n;
  for (int w = 1; w <= 4; ++w) EXPECT_NEAR(by_weight[w], 2'500 * w, 100 * w) << w;
}

TEST_F(ClusterTest, HeavyEndpointsThatAreDownDoNotHideTheRest) {
  for (auto policy :
       {config::LbPolicy::kRoundRobin, config::LbPolicy::kRandom, config::LbPolicy::kLeastRequest}) {
    config::Cluster settings;
    settings.lb = policy;
    settings.panic_threshold_percent = 0;
    make(settings, {1000, 1000, 1, 1});
    endpoint(0).set_active_healthy(false);
    endpoint(1).set_active_healthy(false);
    auto count = picks(1000);
    EXPECT_EQ(count.count(0), 0u);
    EXPECT_EQ(count[3] + count[4], 1000);
    EXPECT_GT(count[3], 300);
    EXPECT_GT(count[4], 300);
  }
}

TEST_F(ClusterTest, RandomFollowsTheWeights) {
  config::Cluster settings;
  settings.lb = config::LbPolicy::kRandom;
  make(settings, {1, 2, 7});
  auto count = picks(100'000);
  EXPECT_NEAR(count[1], 10'000, 600);
  EXPECT_NEAR(count[2], 20'000, 800);
  EXPECT_NEAR(count[3], 70'000, 1000);
}

TEST_F(ClusterTest, LeastRequestPrefersTheIdleAndRespectsWeights) {
  config::Cluster settings;
  settings.lb = config::LbPolicy::kLeastRequest;
  make(settings, {1, 1, 1, 1});
  const auto& endpoints = cluster_->endpoints();
  endpoints[0]->active_requests = 100;
  auto count = picks(10'000);
  EXPECT_LE(count[1], 10) << "of any two the busy one is never the better";  // 8 draws may all be the same
  for (int port : {2, 3, 4}) EXPECT_NEAR(count[port], 3'333, 400);
  endpoints[0]->active_requests = 0;
  // In use: load evens out.
  for (int i = 0; i < 4'000; ++i) ++cluster_->pick(nullptr)->active_requests;
  for (const auto& e : endpoints) EXPECT_NEAR(e->active_requests, 1'000, 20);
  for (const auto& e : endpoints) e->active_requests = 0;
  make(settings, {1, 3});
  for (int i = 0; i < 4'000; ++i) ++cluster_->pick(nullptr)->active_requests;
  EXPECT_NEAR(cluster_->endpoints()[0]->active_requests, 1'000, 60);
  EXPECT_NEAR(cluster_->endpoints()[1]->active_requests, 3'000, 60);
  for (const auto& e : cluster_->endpoints()) e->active_requests = 0;
}

TEST_F(ClusterTest, TheEndpointThatFailedIsAvoidedWhenThereIsAnother) {
  for (auto policy : {config::LbPolicy::kRoundRobin, config::LbPolicy::kRandom, config::LbPolicy::kLeastRequest}) {
    config::Cluster settings;
    settings.lb = policy;
    make(settings, {1, 1});
    const Endpoint* bad = cluster_->endpoints()[0].get();
    EXPECT_EQ(picks(50, bad), (std::map<int, int>{{2, 50}}));
    endpoint(1).set_active_healthy(false);
    wait_ms(60);
    EXPECT_EQ(picks(50, bad), (std::map<int, int>{{1, 50}})) << "the only usable one is better than none";
  }
}

TEST_F(ClusterTest, UnhealthyEndpointsGetNothingUntilThePanicThreshold) {
  config::Cluster settings;
  settings.panic_threshold_percent = 50;
  make(settings, {1, 1, 1, 1});
  endpoint(0).set_active_healthy(false);
  endpoint(1).set_active_healthy(false);
  EXPECT_EQ(picks(100), (std::map<int, int>{{3, 50}, {4, 50}})) << "half healthy is no panic";
  endpoint(2).set_active_healthy(false);
  wait_ms(60);
  EXPECT_EQ(picks(100), (std::map<int, int>{{1, 25}, {2, 25}, {3, 25}, {4, 25}})) << "panic: all are used";
  endpoint(3).set_active_healthy(false);
  wait_ms(60);
  EXPECT_EQ(picks(4).size(), 4u) << "also with none healthy";
  for (size_t i = 0; i < 4; ++i) endpoint(i).set_active_healthy(true);
  wait_ms(60);
  EXPECT_EQ(picks(100).size(), 4u);
}

TEST_F(ClusterTest, WithoutPanicNoHealthyEndpointMeansNone) {
  config::Cluster settings;
  settings.panic_threshold_percent = 0;
  for (auto policy : {config::LbPolicy::kRoundRobin, config::LbPolicy::kRandom, config::LbPolicy::kLeastRequest}) {
    settings.lb = policy;
    make(settings, {1, 2, 1});
    for (size_t i = 0; i < 3; ++i) endpoint(i).set_active_healthy(false);
    EXPECT_EQ(cluster_->pick(nullptr), nullptr);
    EXPECT_EQ(cluster_->pick(cluster_->endpoints()[0].get()), nullptr);
  }
  make(settings, {1});
  endpoint(0).set_active_healthy(false);
  EXPECT_EQ(cluster_->pick(nullptr), nullptr) << "a single endpoint too";
  make(settings, {});
  EXPECT_EQ(cluster_->pick(nullptr), nullptr);
}

TEST_F(ClusterTest, ConsecutiveFailuresEjectForALongerTimeEachTimeAndNotTooMany) {
  config::Cluster settings;
  settings.outlier = config::Outlier{};
  settings.outlier->consecutive_failures = 3;
  settings.outlier->ejection_time_ms = 400;
  settings.outlier->max_ejection_percent = 50;
  settings.panic_threshold_percent = 0;
  make(settings, {1, 1});
  Endpoint& bad = *cluster_->endpoints()[0];
  auto fail = [&](Endpoint& e, int times) {
    for (int i = 0; i < times; ++i) cluster_->report(e, true);
  };
  fail(bad, 2);
  cluster_->report(bad, false);
  fail(bad, 2);
  EXPECT_EQ(picks(10).size(), 2u) << "a success starts the count anew";
  fail(bad, 1);
  EXPECT_EQ(picks(10), (std::map<int, int>{{2, 10}}));
  fail(*cluster_->endpoints()[1], 10);
  EXPECT_EQ(picks(10), (std::map<int, int>{{2, 10}})) << "not more than half at once";
  wait_ms(410);
  EXPECT_EQ(picks(10).size(), 2u) << "back after its time";
  cluster_->report(*cluster_->endpoints()[1], false);
  fail(bad, 3);
  wait_ms(420);
  EXPECT_EQ(picks(10), (std::map<int, int>{{2, 10}})) << "the second time is longer";
  wait_ms(410);
  EXPECT_EQ(picks(10).size(), 2u);
}

TEST_F(ClusterTest, NewEndpointListsKeepWhatStays) {
  make({}, {1, 1, 1});
  Ref<Endpoint> first = cluster_->endpoints()[0], second = cluster_->endpoints()[1];
  endpoint(1).set_active_healthy(false);
  auto set = shared_->set_endpoints({addresses({1, 1})[1], addresses({1}, 9)[0]});
  ASSERT_TRUE(set);
  cluster_->update(*set);
  ASSERT_EQ(cluster_->endpoints().size(), 2u);
  EXPECT_EQ(cluster_->endpoints()[0].get(), second.get());
  EXPECT_FALSE(cluster_->endpoints()[0]->shared().active_healthy());
  EXPECT_TRUE(first->draining());
  EXPECT_FALSE(second->draining());
  EXPECT_EQ(shared_->set_endpoints({addresses({1, 1})[1], addresses({1}, 9)[0]}), nullptr) << "nothing changed";
  cluster_->update(EndpointSet{});
  EXPECT_EQ(cluster_->pick(nullptr), nullptr);
}

TEST_F(ClusterTest, TenThousandListsUnderUseLeaveNothing) {
  make({}, {1, 1, 1, 1});
  Random random(3);
  std::vector<Ref<Endpoint>> held;
  for (int i = 0; i < 10'000; ++i) {
    std::vector<std::pair<Address, uint32_t>> wanted;
    for (int port = 1; port <= 6; ++port)
      if (random.below(2)) wanted.push_back(addresses({1 + random.below(3)}, port)[0]);
    if (auto set = shared_->set_endpoints(wanted)) cluster_->update(*set);
    Endpoint* e = cluster_->pick(held.empty() ? nullptr : held.back().get());
    ASSERT_EQ(e == nullptr, wanted.empty());
    if (e) held.push_back(Ref<Endpoint>(e));
    if (held.size() > 3) held.erase(held.begin());
    if (i % 64 == 0) loop_.turn(false);
  }
  EXPECT_EQ(loop_.live_handles(), 0u);
}

TEST_F(ClusterTest, EndpointsThatLeaveAreChosenOnlyWhereThereIsNoOther) {
  for (auto lb :
       {config::LbPolicy::kRoundRobin, config::LbPolicy::kRandom, config::LbPolicy::kLeastRequest}) {
    config::Cluster settings;
    settings.lb = lb;
    settings.panic_threshold_percent = 0;
    settings.pool.goaway_pause_ms = 60'000;
    make(settings, {1, 1, 1});
    cluster_->note_leaving(*cluster_->endpoints()[1]);
    auto count = picks(300);
    EXPECT_EQ(count[2], 0);
    EXPECT_GT(count[1], 0);
    EXPECT_GT(count[3], 0);
    EXPECT_EQ(picks(20, cluster_->endpoints()[0].get()), (std::map<int, int>{{3, 20}}));
    cluster_->note_leaving(*cluster_->endpoints()[0]);
    EXPECT_EQ(picks(20), (std::map<int, int>{{3, 20}}));
    endpoint(2).set_active_healthy(false);
    wait_ms(60);
    count = picks(100);
    EXPECT_GT(count[1] * count[2], 0) << "better than the one that is down";
    EXPECT_EQ(count[3], 0);
  }
}

TEST_F(ClusterTest, AnEndpointThatLeftIsBelievedForAWhile) {
  config::Cluster settings;
  settings.pool.goaway_pause_ms = 100;
  make(settings, {1, 1});
  cluster_->note_leaving(*cluster_->endpoints()[0]);
  EXPECT_EQ(picks(10), (std::map<int, int>{{2, 10}}));
  wait_ms(160);
  EXPECT_EQ(picks(10), (std::map<int, int>{{1, 5}, {2, 5}}));
  settings.pool.goaway_pause_ms = 0;
  make(settings, {1, 1});
  cluster_->note_leaving(*cluster_->endpoints()[0]);
  EXPECT_EQ(picks(10), (std::map<int, int>{{1, 5}, {2, 5}})) << "none";
  make({}, {1});
  cluster_->note_leaving(*cluster_->endpoints()[0]);
  EXPECT_EQ(picks(10), (std::map<int, int>{{1, 10}})) << "there is no other";
}

TEST_F(ClusterTest, ReloadedSettingsInheritHealthAndEjection) {
  config::Cluster settings;
  settings.health_check = config::HealthCheck{};
  make(settings, {1, 1});
  endpoint(0).set_active_healthy(false);
  endpoint(1).eject_until(loop_.now_ms() + 60'000);
  endpoint(1).leave_until(loop_.now_ms() + 60'000);
  auto old = shared_;
  auto reload = [&](bool checked) {
    config::Cluster next = settings;
    next.connect_timeout_ms = 77;
    if (!checked) next.health_check.reset();
    auto shared = std::make_shared<SharedCluster>(next, http1(), 1);
    shared->inherit(*old);
    shared->set_endpoints(addresses({1, 1, 1}));
    return shared->endpoints()->endpoints;
  };
  auto checked = reload(true);
  EXPECT_FALSE(checked[0]->active_healthy());
  EXPECT_TRUE(checked[1]->ejected(loop_.now_ms()));
  EXPECT_TRUE(checked[1]->leaving(loop_.now_ms()));
  EXPECT_TRUE(checked[2]->unchecked());
  EXPECT_TRUE(reload(false)[0]->active_healthy()) << "without checks nobody would ever call it healthy again";
}

TEST_F(ClusterTest, TheFirstCheckDecides) {
  config::Cluster settings;
  settings.health_check = config::HealthCheck{};
  make(settings, {1, 1, 1, 1});
  EXPECT_EQ(picks(8), (std::map<int, int>{{1, 2}, {2, 2}, {3, 2}, {4, 2}})) << "nothing is known of any";
  endpoint(0).set_active_healthy(true);
  wait_ms(60);
  EXPECT_EQ(picks(8), (std::map<int, int>{{1, 8}}))
      << "the others are not trusted yet, nor do they make a panic";
  endpoint(1).set_active_healthy(false);
  endpoint(2).set_active_healthy(true);
  wait_ms(60);
  EXPECT_EQ(picks(8), (std::map<int, int>{{1, 4}, {3, 4}}));
}

TEST_F(ClusterTest, WhatWasWrongWithAnEndpointIsKnownWhenItComesBack) {
  config::Cluster settings;
  settings.health_check = config::HealthCheck{};
  settings.outlier = config::Outlier{};
  make(settings, {1, 1, 1});
  endpoint(0).set_active_healthy(true);
  endpoint(1).set_active_healthy(false);
  endpoint(2).set_active_healthy(true);
  endpoint(2).eject_until(loop_.now_ms() + 60'000);
  shared_->set_endpoints(addresses({1}, 9));
  shared_->set_endpoints(addresses({1, 1, 1}));
  EXPECT_TRUE(endpoint(0).unchecked()) << "a good verdict is too old";
  EXPECT_FALSE(endpoint(1).unchecked());
  EXPECT_FALSE(endpoint(1).active_healthy());
  EXPECT_TRUE(endpoint(2).ejected(loop_.now_ms()));
  // Also when the settings changed meanwhile.
  shared_->set_endpoints(addresses({1}, 9));
  auto next = std::make_shared<SharedCluster>(settings, http1(), 1);
  next->inherit(*shared_);
  next->set_endpoints(addresses({1}, 9));
  next->set_endpoints(addresses({1, 1, 1}));
  EXPECT_FALSE(next->endpoints()->endpoints[1]->unchecked());
  EXPECT_TRUE(next->endpoints()->endpoints[2]->ejected(loop_.now_ms()));
}

TEST_F(ClusterTest, EjectionsAreForgottenWithGoodAnswers) {
  config::Cluster settings;
  settings.outlier = config::Outlier{
      .pos = {}, .consecutive_failures = 2, .ejection_time_ms = 1'000, .max_ejection_percent = 100};
  make(settings, {1, 1});
  uint64_t now = 10'000;
  const auto eject = [&] {
    EXPECT_FALSE(shared_->maybe_eject(endpoint(0), now));
    EXPECT_TRUE(shared_->maybe_eject(endpoint(0), now));
  };
  const auto out_for = [&] {
    uint64_t ms = 0;
    while (endpoint(0).ejected(now + ms)) ms += 100;
    return ms;
  };
  eject();
  EXPECT_EQ(out_for(), 1'000u);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(shared_->maybe_eject(endpoint(0), now + 500)) << "it is out";
  now += 1'000;
  EXPECT_EQ(endpoint(0).failures(), 0u) << "what failed meanwhile says nothing new";
  eject();
  EXPECT_EQ(out_for(), 2'000u);
  now += 2'000;
  for (int i = 0; i < 100; ++i) shared_->note_good(endpoint(0), now);
  EXPECT_EQ(endpoint(0).ejections(), 2u) << "not for a burst of them";
  for (int i = 0; i < 3; ++i) shared_->note_good(endpoint(0), now += 1'000);
  EXPECT_EQ(endpoint(0).ejections(), 0u);
  eject();
  EXPECT_EQ(out_for(), 1'000u);
}

TEST_F(ClusterTest, ConnectsAreTriedMoreSeldomTheLongerTheyFail) {
  config::Cluster settings;
  settings.connect_backoff_ms = 100, settings.connect_backoff_max_ms = 350;
  ConnectBackoff backoff;
  uint64_t now = 1'000;
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(backoff.start(now), 0u);
    backoff.failed(now, now, settings, context_.random);
  }
  EXPECT_FALSE(backoff.failing()) << "some failures are ordinary";
  for (uint64_t longest : {100, 200, 350, 350}) {
    EXPECT_EQ(backoff.start(now), 0u);
    backoff.failed(now + 1, now, settings, context_.random);
    backoff.failed(now + 1, now, settings, context_.random);  // was under way at the same time
    EXPECT_TRUE(backoff.failing());
    const uint64_t wait = backoff.start(now + 1);
    EXPECT_GE(wait, longest / 2);
    EXPECT_LE(wait, longest + 2);
    now += 1 + wait;
  }
  EXPECT_EQ(backoff.start(now), 0u);
  EXPECT_NE(backoff.start(now), 0u) << "one shows whether others are of use";
  backoff.succeeded();
  EXPECT_EQ(backoff.start(now), 0u);
  EXPECT_FALSE(backoff.failing());
}

TEST(ClusterLimits, EachLimitIsASumOverWorkersAndZeroMeansNone) {
  Limits limits(3);
  for (Limit limit : {Limit::kConnections, Limit::kPending, Limit::kRequests, Limit::kRetries}) {
    EXPECT_FALSE(limits.take(limit, 0, 0));
    for (int worker = 0; worker < 3; ++worker) EXPECT_TRUE(limits.take(limit, worker, 3));
    EXPECT_FALSE(limits.take(limit, 1, 3));
    EXPECT_EQ(limits.taken(limit), 3u);
    limits.give(limit, 2);
    EXPECT_TRUE(limits.take(limit, 0, 3)) << "what one worker gives another may take";
    EXPECT_EQ(limits.taken(limit), 3u);
  }
}

TEST(ClusterLimits, AreNeverPassedHoweverFewThereAreForHoweverManyWorkers) {
  for (const uint32_t max : {1u, 3u, 7u, 30u}) {
    constexpr int kWorkers = 5;
    Limits limits(kWorkers);
    std::atomic<int> taken{0}, most{0}, served{0};
    std::vector<std::thread> threads;
    for (int worker = 0; worker < kWorkers; ++worker)
      threads.emplace_back([&, worker] {
        for (int i = 0; i < 2'000; ++i) {
          int mine = 0;
          while (mine < 9 && limits.take(Limit::kRequests, worker, max)) {
            const int now = ++taken;
            for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
            }
            ++mine;
          }
          served += mine;
          for (; mine > 0; --mine) {
            --taken;
            limits.give(Limit::kRequests, worker);
          }
        }
      });
    for (std::thread& thread : threads) thread.join();
    EXPECT_LE(most, static_cast<int>(max));
    EXPECT_GT(served, 0);
    EXPECT_EQ(limits.taken(Limit::kRequests), 0u);
  }
}

}  // namespace
}  // namespace dragoman
