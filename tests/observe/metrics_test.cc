#include "proxy/observe/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "proxy/observe/families.h"
#include "proxy/observe/prometheus_export.h"
#include "tests/observe/temp_dir.h"
#include "tests/support/source_dir.h"

namespace dragoman {
namespace {

constexpr MetricFamily kHits{.name = "test_hits_total", .help = "Hits."};
constexpr MetricFamily kLevel{.name = "test_level", .help = "Level.", .type = MetricType::kGauge};
constexpr const MetricFamily* kPairFamilies[] = {&kHits, &kLevel};
constexpr std::string_view kPairLabels[] = {"a", "b"};
constexpr MetricGroup kPair{"pair", kPairLabels, kPairFamilies};

std::shared_ptr<MetricSeries> pair(MetricRegistry& registry, std::string_view a, std::string_view b) {
  const std::string_view values[] = {a, b};
  return registry.series(kPair, values);
}

const MetricSamples* find(const std::vector<MetricSamples>& all, std::string_view name) {
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const auto& s) { return s.family->name == name; });
  return found == all.end() ? nullptr : &*found;
}

/// The value of the sample whose last label value is `last`; -1 when there is none.
double value_of(const std::vector<MetricSamples>& all, std::string_view name, std::string_view last) {
  const MetricSamples* samples = find(all, name);
  if (!samples) return -1;
  for (const MetricSample& sample : samples->samples) {
    if (sample.labels.empty() ? last.empty() : sample.labels.back().second == last) return sample.value;
  }
  return -1;
}

TEST(Metrics, ShardsAreSummed) {
  MetricRegistry registry(3);
  const auto series = pair(registry, "x", "y");
  for (int shard = 0; shard < 3; ++shard) {
    series->counter(shard, kHits).inc(static_cast<uint64_t>(shard) + 1);
    series->gauge(shard, kLevel).add(shard);
  }
  series->gauge(0, kLevel).sub(10);
  EXPECT_EQ(series->counter_value(kHits), 6u);
  EXPECT_EQ(series->gauge_value(kLevel), -7);
}

TEST(Metrics, SameKeyIsTheSameLiveSeries) {
  MetricRegistry registry(1);
  const auto one = pair(registry, "x", "y");
  EXPECT_EQ(one, pair(registry, "x", "y"));
  EXPECT_NE(one, pair(registry, "x", "z"));
  EXPECT_NE(pair(registry, "xy", ""), pair(registry, "x", "y"));
}

TEST(Metrics, SeriesDieWithTheirLastHolder) {
  MetricRegistry registry(1);
  {
    auto one = pair(registry, "x", "y");
    auto two = pair(registry, "x", "y");
    one->counter(0, kHits).inc(3);
    EXPECT_EQ(registry.series_count(), 2u);  // a label set counts once per family
    one.reset();
    EXPECT_EQ(value_of(registry.collect(), "test_hits_total", "y"), 3);
  }
  EXPECT_EQ(registry.series_count(), 0u);
  EXPECT_EQ(find(registry.collect(), "test_hits_total"), nullptr);
  EXPECT_EQ(pair(registry, "x", "y")->counter_value(kHits), 0u);
}

TEST(Metrics, OneSnapshotHandsOverToTheNext) {
  MetricRegistry registry(1);
  auto old_snapshot = std::make_unique<MetricsBinding>(registry, 0);
  old_snapshot->listener("web").connections.inc(4);
  MetricsBinding new_snapshot(registry, 0);
  const ListenerMetrics metrics = new_snapshot.listener("web");
  old_snapshot.reset();
  metrics.connections.inc();
  EXPECT_EQ(value_of(registry.collect(), "dragoman_listener_connections_total", "web"), 5);
}

TEST(Metrics, BeyondTheCapLabelSetsAreCountedTogether) {
  MetricRegistry registry(1, 4);
  const auto a = pair(registry, "1", "1");
  const auto b = pair(registry, "2", "2");
  EXPECT_EQ(registry.series_dropped(), 0u);
  const auto c = pair(registry, "3", "3");
  const auto d = pair(registry, "4", "4");
  EXPECT_EQ(c, d);
  EXPECT_EQ(c->label_values(), (std::vector<std::string>{"_other", "_other"}));
  EXPECT_EQ(registry.series_count(), 4u);
  EXPECT_EQ(registry.series_dropped(), 2u);
  EXPECT_EQ(a, pair(registry, "1", "1")) << "what lives keeps its series";
  c->counter(0, kHits).inc(2);
  const auto all = registry.collect();
  EXPECT_EQ(value_of(all, "test_hits_total", "_other"), 2);
  EXPECT_EQ(value_of(all, "dragoman_metrics_series", ""), 4);
  EXPECT_EQ(value_of(all, "dragoman_metrics_series_dropped_total", ""), 2);
}

TEST(Metrics, RoomIsGivenBack) {
  MetricRegistry registry(1, 2);
  auto a = pair(registry, "1", "1");
  EXPECT_EQ(pair(registry, "2", "2")->label_values()[0], "_other");
  a.reset();
  EXPECT_EQ(pair(registry, "2", "2")->label_values()[0], "2");
  registry.set_series_max(0);
  EXPECT_EQ(pair(registry, "3", "3")->label_values()[0], "_other");
}

TEST(Metrics, GroupsWithoutLabelsAreNeverDropped) {
  MetricRegistry registry(1, 0);
  MetricsBinding binding(registry, 0);
  binding.server().workers.set(2);
  EXPECT_EQ(value_of(registry.collect(), "dragoman_workers", ""), 2);
  EXPECT_EQ(registry.series_dropped(), 0u);
}

TEST(Metrics, SeriesMayOutliveTheRegistry) {
  auto registry = std::make_unique<MetricRegistry>(1, 2);
  const auto one = pair(*registry, "x", "y");
  const auto other = pair(*registry, "x", "z");
  registry.reset();
  one->counter(0, kHits).inc();
  other->counter(0, kHits).inc();
  EXPECT_EQ(one->counter_value(kHits) + other->counter_value(kHits), 2u);
}

TEST(Metrics, FixedLabelsShowTheFirstValueAndWhatWasCounted) {
  MetricRegistry registry(2);
  MetricsBinding binding(registry, 1);
  const RequestMetrics metrics = binding.request("web", "r", "api", "http1");
  metrics.requests.inc(Outcome::kTimeout, 3);
  metrics.reasons.inc(Reason::kUpstreamTimeout, 3);
  const auto all = registry.collect();
  EXPECT_EQ(value_of(all, "dragoman_requests_total", "ok"), 0);
  EXPECT_EQ(value_of(all, "dragoman_requests_total", "timeout"), 3);
  EXPECT_EQ(value_of(all, "dragoman_requests_total", "reset"), -1);
  EXPECT_EQ(value_of(all, "dragoman_request_reasons_total", "none"), 0);
  EXPECT_EQ(value_of(all, "dragoman_request_reasons_total", "upstream_timeout"), 3);
  EXPECT_EQ(find(all, "dragoman_request_reasons_total")->samples.size(), 2u);
}

TEST(Metrics, ValuesOutsideAFixedSetAreIgnored) {
  MetricRegistry registry(1);
  MetricsBinding binding(registry, 0);
  const ListenerMetrics metrics = binding.listener("web");
  metrics.codec_events.inc(static_cast<CodecEvent>(200));
  metrics.limit_hits.inc(ListenerLimit::kConnections);
  const auto all = registry.collect();
  EXPECT_EQ(value_of(all, "dragoman_listener_limit_hits_total", "connections"), 1);
}

TEST(Metrics, HistogramsByAFixedSetStandApart) {
  MetricRegistry registry(2);
  const redis::Command get = redis::find_command("get"), last = redis::find_command("zunionstore");
  MetricsBinding bindings[] = {{registry, 0}, {registry, 1}};
  for (MetricsBinding& binding : bindings) {
    const RedisMetrics metrics = binding.redis("in", "out");
    metrics.durations.observe_us(get, 100);
    metrics.durations.observe_us(last, 300);
    metrics.durations.observe_us(static_cast<redis::Command>(255), 1);
    metrics.pushes.inc(7);
  }
  using Sums = std::map<std::string, std::pair<uint64_t, uint64_t>>;
  Sums found;
  for (const MetricSamples& samples : registry.collect()) {
    if (samples.family == &families::kRedisPushes) {
      EXPECT_EQ(samples.samples[0].value, 14);
    }
    if (samples.family != &families::kRedisDuration) continue;
    for (const MetricSample& sample : samples.samples)
      found[sample.labels.back().second] = {sample.histogram.count(), sample.histogram.sum_us};
  }
  EXPECT_EQ(found, (Sums{{"other", {0, 0}}, {"get", {2, 200}}, {"zunionstore", {2, 600}}}));
}

TEST(Metrics, FactsSetByEveryShardAreNotSummed) {
  MetricRegistry registry(3);
  for (int shard : {0, 2}) {
    MetricsBinding binding(registry, shard);
    const auto keep = binding.cluster("api");
    keep.endpoints.set(5);
    keep.endpoints_healthy.set(shard == 0 ? 4 : 3);
    const MetricSeries& series = binding.bind(kClusterGroup, std::vector<std::string_view>{"api"});
    EXPECT_EQ(series.gauge_value(families::kClusterEndpoints), 5);
    EXPECT_EQ(series.gauge_value(families::kClusterEndpointsHealthy), shard == 0 ? 4 : 3);
  }
}

TEST(Metrics, DefaultHandlesCountNowhere) {
  RequestMetrics().requests.inc(Outcome::kOk);
  ListenerMetrics().connections.inc();
  ClusterMetrics().endpoints.set(1);
  WorkerMetrics().connections_active.add();
}

// A peer's own statuses: each worker counts, the series has a place for each value, a scrape adds up.
TEST(Metrics, StatusesOfPeersAreCountedByTheirNames) {
  MetricRegistry registry(2);
  MetricsBinding first(registry, 0), second(registry, 1);
  CounterByName a = first.request("web", "r", "api", "bankxml").statuses;
  CounterByName b = second.request("web", "other", "api", "bankxml").statuses;
  constexpr std::string_view kFamily = "dragoman_native_responses_total";
  EXPECT_EQ(value_of(registry.collect(), kFamily, "OK"), -1) << "nothing was counted";
  for (int i = 0; i < 3; ++i)
    a.inc("OK"), b.inc("OK"), b.inc("E104"), a.inc(0), a.inc(8), b.inc(-8), b.inc(8);
  auto all = registry.collect();
  const std::pair<std::string_view, double> wanted[] = {
      {"OK", 6}, {"E104", 3}, {"0", 3}, {"8", 6}, {"-8", 3}};
  for (auto [name, value] : wanted) EXPECT_EQ(value_of(all, kFamily, name), value) << name;
  EXPECT_EQ(find(all, kFamily)->samples.size(), 5u);
  EXPECT_EQ(find(all, kFamily)->samples[0].labels.size(), 4u) << "listener, cluster, protocol, status";
  CounterByName elsewhere = first.request("web", "r", "more", "bankxml").statuses;
  elsewhere.inc("OK");
  EXPECT_EQ(find(registry.collect(), kFamily)->samples.size(), 6u) << "places are those of a label set";
}

TEST(Metrics, StatusesOfPeersAreBounded) {
  MetricRegistry registry(2);
  MetricsBinding first(registry, 0), second(registry, 1);
  CounterByName a = first.request("web", "r", "api", "p").statuses;
  CounterByName b = second.request("web", "r", "api", "p").statuses;
  const std::string long_one(MetricNames::kBytesMax + 1, 'x');
  for (std::string_view bad : {std::string_view(""), std::string_view(long_one), std::string_view("a\nb"),
                               std::string_view("\xff"), std::string_view("a\0b", 3)})
    a.inc(bad);
  for (int i = 0; i < 1000; ++i) {
    a.inc(i);
    b.inc("E" + std::to_string(i));
    a.inc(5);
    b.inc("E1");
  }
  const auto all = registry.collect();
  const MetricSamples* samples = find(all, "dragoman_native_responses_total");
  EXPECT_EQ(samples->samples.size(), MetricNames::kCells);
  double sum = 0;
  for (const MetricSample& sample : samples->samples) sum += sample.value;
  EXPECT_EQ(sum, 4005) << "whatever has no place of its own is counted";
  EXPECT_EQ(value_of(all, samples->family->name, "5"), 1001);
  EXPECT_EQ(value_of(all, samples->family->name, "E1"), 1001);
  EXPECT_EQ(value_of(all, samples->family->name, "_other"), 2005 - (5.0 + 2 * 14) + 1);
}

TEST(Metrics, StatusesMetByManyThreadsAtOnceAreOneSample) {
  constexpr int kThreads = 4, kRounds = 100;
  for (int round = 0; round < kRounds; ++round) {
    MetricRegistry registry(kThreads);
    std::vector<MetricsBinding> bindings;
    for (int i = 0; i < kThreads; ++i) bindings.emplace_back(registry, i);
    std::vector<std::thread> threads;
    std::atomic<int> ready{0};
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        CounterByName c = bindings[static_cast<size_t>(i)].request("web", "r", "api", "p").statuses;
        ready.fetch_add(1);
        while (ready.load() < kThreads) std::this_thread::yield();
        c.inc("OK");
        c.inc(7);
      });
    }
    for (auto& thread : threads) thread.join();
    const auto all = registry.collect();
    const MetricSamples* samples = find(all, "dragoman_native_responses_total");
    ASSERT_EQ(samples->samples.size(), 2u);
    EXPECT_EQ(value_of(all, samples->family->name, "OK"), kThreads);
    EXPECT_EQ(value_of(all, samples->family->name, "7"), kThreads);
  }
}

// Every handle of every struct is bound to a family of its own, and every bindable family has a handle.
TEST(Metrics, EveryFamilyHasItsHandle) {
  MetricRegistry registry(1);
  MetricsBinding b(registry, 0);
  const RequestMetrics r = b.request("l", "r", "c", "p");
  r.requests.inc(Outcome::kOk), r.reasons.inc(Reason::kNone), r.duration.observe_us(1);
  r.request_bytes.inc(), r.response_bytes.inc(), r.retries.inc(), r.active.add(), r.statuses.inc(1);
  const ListenerMetrics l = b.listener("l");
  l.connections.inc(), l.connections_active.add(), l.connections_lingering.add(), l.lingering_bytes.add(),
      l.connections_rejected.inc(), l.accept_failures.inc();
  l.received_bytes.inc(), l.sent_bytes.inc(), l.protocol_errors.inc(Reason::kNone);
  l.codec_events.inc(CodecEvent::kHeartbeatAnswered), l.limit_hits.inc(ListenerLimit::kConnections);
  const ClusterMetrics c = b.cluster("c");
  c.requests.inc(Outcome::kOk), c.duration.observe_us(1), c.requests_active.add(), c.requests_pending.add();
  c.connections.inc(), c.connections_active.add(), c.connect_failures.inc(), c.connect_timeouts.inc();
  c.connect_backoffs.inc(), c.connections_evicted.inc(), c.connections_silent.inc();
  c.pool_reuses.inc(), c.retries.inc(), c.repeats.inc(), c.overflows.inc(ClusterLimit::kConnections),
      c.peer_reasons.inc(PeerReason{}), c.received_bytes.inc();
  c.sent_bytes.inc(), c.codec_events.inc(CodecEvent::kHeartbeatAnswered);
  c.health_checks.inc(CheckResult::kSuccess), c.ejections.inc(), c.endpoints.set(1);
  c.endpoints_healthy.set(1), c.endpoints_ejected.set(1);
  const TlsMetrics t = b.tls("listener", "l");
  t.handshakes.inc(), t.resumptions.inc(), t.failures.inc(Reason::kNone), t.duration.observe_us(1);
  t.plaintext.inc(), t.reloads.inc(CheckResult::kSuccess), t.expiry_seconds.set(1);
  const DetectMetrics d = b.detect("l", "p");
  d.connections.inc(), d.duration.observe_us(1);
  b.observer("l", "c", "p").stopped.inc(ObserverStop::kTls);
  const RedisMetrics redis = b.redis("l", "c");
  redis.commands.inc(redis::Command{}), redis.durations.observe_us(redis::Command{}, 1);
  redis.errors.inc(redis::Error{}), redis.pushes.inc();
  const MysqlMetrics mysql = b.mysql("l", "c");
  mysql.commands.inc(mysql::Command{}), mysql.durations.observe_us(mysql::Command{}, 1), mysql.errors.inc(mysql::Error{});
  const WorkerMetrics w = b.worker();
  w.connections_active.add(), w.loop_lag.observe_us(1), w.control_time.observe_us(1);
  w.memory_bytes.set(MemoryOwner::kOutput, 1), w.memory_spare_bytes.set(1);
  const ServerMetrics s = b.server();
  s.dns_lookups.inc(CheckResult::kSuccess);
  s.config_reloads.inc(CheckResult::kSuccess), s.config_last_success_seconds.set(1),
      s.config_generation.set(1);
  s.uptime_seconds.set(1), s.workers.set(1), s.draining.set(1);
  s.admin_evictions.inc(), s.admin_timeouts.inc(), s.admin_refusals.inc();
  b.build_info("1.0");

  std::set<std::string_view> counted;
  for (const MetricSamples& samples : registry.collect()) {
    ASSERT_TRUE(counted.insert(samples.family->name).second) << samples.family->name << " twice";
    if (samples.family == &families::kSeries || samples.family == &families::kSeriesDropped) continue;
    const bool shows_all = samples.family->type == MetricType::kGauge && samples.family->by;  // zeros as well
    ASSERT_EQ(samples.samples.size(), shows_all ? samples.family->by->count : 1u) << samples.family->name;
    const MetricSample& sample = samples.samples[0];
    const bool histogram = samples.family->type == MetricType::kHistogram;
    EXPECT_EQ(histogram ? static_cast<double>(sample.histogram.count()) : sample.value, 1)
        << samples.family->name;
  }
  for (const MetricGroup* group : kMetricGroups) {
    if (group == &kScrapeGroup) continue;
    for (const MetricFamily* family : group->families)
      EXPECT_EQ(counted.count(family->name), 1u) << family->name;
  }
}

TEST(Metrics, FixedLabelValuesAreDistinctNames) {
  for (const MetricLabelSet* set :
       {&kByOutcome, &kByReason, &kByEvent, &kByLimit, &kByClusterLimit, &kByResult, &kByObserverStop, &kByRedisCommand,
        &kByRedisError, &kByMysqlCommand, &kByMysqlError}) {
    std::set<std::string_view> names;
    for (size_t i = 0; i < set->count; ++i) {
      EXPECT_FALSE(set->name(i).empty()) << set->label << " " << i;
      EXPECT_TRUE(names.insert(set->name(i)).second) << set->label << " " << set->name(i);
    }
  }
}

TEST(Metrics, GaugesThatAreNotZeroAtTheEndAreTold) {
  MetricRegistry registry(2);
  {
    MetricsBinding first(registry, 0), second(registry, 1);
    first.cluster("even").requests_active.add();
    second.cluster("even").requests_active.sub();  // one thread added, another took away
    first.cluster("odd").requests_active.add(2);
    first.cluster("odd").endpoints.set(3);  // that is a fact, not a thing that is there
    first.server().workers.set(2);
    EXPECT_EQ(registry.left(),
              std::vector<std::string>{"dragoman_cluster_requests_active{cluster=odd} is 2"});
  }
  EXPECT_EQ(registry.left(), std::vector<std::string>{"dragoman_cluster_requests_active{cluster=odd} is 2"});
}

TEST(Metrics, ReferenceIsUpToDate) {
  const std::string path = source_dir() + "/proxy/observe/METRICS.md";
  if (getenv("DRAGOMAN_WRITE_REFERENCE")) {
    FILE* file = fopen(path.c_str(), "w");
    ASSERT_NE(file, nullptr);
    fputs(metrics_reference().c_str(), file);
    fclose(file);
  }
  EXPECT_TRUE(test::read_file(path) == metrics_reference())
      << "run: DRAGOMAN_WRITE_REFERENCE=1 observe_test --gtest_filter=Metrics.ReferenceIsUpToDate";
}

// Four threads count and bind and let go while a fifth scrapes: nothing is lost, nothing goes backwards.
// Under -DDRAGOMAN_SANITIZE=thread this is the proof that scraping needs no pause.
TEST(Metrics, ScrapingWhileShardsCountAndSeriesComeAndGo) {
  constexpr int kWriters = 4;
  constexpr int kRounds = 300;
  constexpr int kPerRound = 50;
  MetricRegistry registry(kWriters, 200);
  MetricsBinding keeper(registry, 0);
  keeper.request("web", "stable", "api", "http1");
  std::atomic<int> running{kWriters};
  std::vector<std::thread> writers;
  for (int shard = 0; shard < kWriters; ++shard) {
    writers.emplace_back([&registry, &running, shard] {
      for (int round = 0; round < kRounds; ++round) {
        MetricsBinding snapshot(registry, shard);
        const RequestMetrics stable = snapshot.request("web", "stable", "api", "http1");
        const RequestMetrics passing =
            snapshot.request("web", "r" + std::to_string(round % 40 + shard * 3), "api", "http1");
        for (int i = 0; i < kPerRound; ++i) {
          stable.requests.inc(Outcome::kOk);
          stable.duration.observe_us(static_cast<uint64_t>(i) * 100);
          passing.active.add();
          passing.active.sub();
        }
      }
      running.fetch_sub(1);
    });
  }
  double last = 0;
  while (running.load() > 0) {
    const auto all = registry.collect();
    const MetricSamples* requests = find(all, "dragoman_requests_total");
    ASSERT_NE(requests, nullptr);
    for (const MetricSample& sample : requests->samples) {
      if (sample.labels[1].second != "stable") continue;
      EXPECT_GE(sample.value, last);
      last = sample.value;
    }
    EXPECT_FALSE(render_prometheus(registry).empty());
  }
  for (auto& writer : writers) writer.join();
  const auto all = registry.collect();
  EXPECT_EQ(find(all, "dragoman_requests_total")->samples[0].value, kWriters * kRounds * kPerRound);
  EXPECT_EQ(find(all, "dragoman_request_duration_seconds")->samples[0].histogram.count(),
            static_cast<uint64_t>(kWriters * kRounds * kPerRound));
}

}  // namespace
}  // namespace dragoman
