#include "proxy/observe/prometheus_export.h"

#include <gtest/gtest.h>
#include <rapidjson/document.h>
#include <sys/wait.h>

#include <cstdio>

#include "proxy/observe/families.h"
#include "tests/observe/temp_dir.h"

namespace dragoman {
namespace {

/// Every family with a sample.
struct Populated {
  MetricRegistry registry{2};
  MetricsBinding binding{registry, 1};
  RequestMetrics request = binding.request("web", "r", "api", "http1");
  std::vector<MetricCollector> collectors = {
      [](std::vector<MetricSamples>& out) { add_log_samples(out, nullptr, nullptr); },
      [](std::vector<MetricSamples>& out) { add_memory_samples(out); },
      [](std::vector<MetricSamples>& out) { add_sample(out, families::kWorkerStalls, 0); }};
  Populated() {
    request.statuses.inc("a \"text\"");
    binding.listener("web").connections.inc(3);
    binding.cluster("api").connections.inc(2);
    binding.tls("listener", "web").handshakes.inc();
    binding.detect("web", "http1").connections.inc();
    binding.observer("web", "api", "redis").stopped.inc(ObserverStop::kStream);
    binding.redis("web", "api").durations.observe_us(redis::find_command("get"), 100);
    binding.mysql("web", "api").errors.inc(mysql::find_error(1062));
    binding.worker().loop_lag.observe_us(700);
    binding.server().config_reloads.inc(CheckResult::kSuccess);
    binding.build_info("0.1.0");
    request.requests.inc(Outcome::kOk, 41);
    request.requests.inc(Outcome::kUnavailable, 1);
    for (uint64_t us : {40, 50, 51, 700, 100'000, 70'000'000}) request.duration.observe_us(us);
  }
  std::string render() const { return render_prometheus(registry, collectors); }
};

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

TEST(PrometheusExport, TextIsWhatTheFormatSays) {
  const std::string text = Populated().render();
  const char* const lines[] = {
      "# TYPE dragoman_requests_total counter",
      R"(dragoman_requests_total{listener="web",route="r",cluster="api",protocol="http1",outcome="ok"} 41)",
      "# TYPE dragoman_request_duration_seconds histogram",
      "dragoman_build_info{version=\"0.1.0\"} 1",
      "dragoman_log_lines_dropped_total 0",
  };
  for (const char* line : lines) EXPECT_TRUE(has_line(text, line)) << line << "\nin\n" << text;
  const std::string labels = "{listener=\"web\",route=\"r\",cluster=\"api\",protocol=\"http1\"";
  const std::pair<const char*, const char*> buckets[] = {{"5e-05", "2"}, {"0.0001", "3"}, {"0.001", "4"},
                                                         {"0.1", "5"},   {"60", "5"},     {"+Inf", "6"}};
  for (const auto& [bound, count] : buckets) {
    const std::string line =
        "dragoman_request_duration_seconds_bucket" + labels + ",le=\"" + bound + "\"} " + count;
    EXPECT_TRUE(has_line(text, line)) << line << "\nin\n" << text;
  }
  EXPECT_TRUE(has_line(text,
                       "dragoman_native_responses_total{listener=\"web\",cluster=\"api\",protocol=\"http1\","
                       "status=\"a \\\"text\\\"\"} 1"));
  EXPECT_TRUE(has_line(text, "dragoman_request_duration_seconds_count" + labels + "} 6"));
  EXPECT_TRUE(has_line(text, "dragoman_request_duration_seconds_sum" + labels + "} 70.100841"));
}

TEST(PrometheusExport, EveryFamilyIsRendered) {
  const std::string text = Populated().render();
  for (const MetricGroup* group : kMetricGroups) {
    for (const MetricFamily* family : group->families) {
      EXPECT_NE(text.find("# TYPE " + std::string(family->name) + " "), std::string::npos) << family->name;
    }
  }
}

TEST(PrometheusExport, AFamilyGivenTwiceIsOneBlock) {
  Populated populated;
  for (int i = 0; i < 2; ++i) {
    populated.collectors.push_back(
        [](std::vector<MetricSamples>& out) { add_sample(out, families::kUptime, 1); });
  }
  const std::string text = populated.render();
  const std::string type = "# TYPE dragoman_uptime_seconds ";
  EXPECT_EQ(text.find(type), text.rfind(type));
  EXPECT_NE(text.find(type), std::string::npos);
}

TEST(PrometheusExport, LabelValuesAreEscaped) {
  MetricRegistry registry(1);
  MetricsBinding binding(registry, 0);
  binding.build_info("a\"b\\c\nd");
  EXPECT_TRUE(has_line(render_prometheus(registry), "dragoman_build_info{version=\"a\\\"b\\\\c\\nd\"} 1"));
}

TEST(PrometheusExport, LargeCountersStayWhole) {
  MetricRegistry registry(1);
  MetricsBinding binding(registry, 0);
  binding.listener("web").received_bytes.inc(1234567890123456);
  EXPECT_TRUE(has_line(render_prometheus(registry),
                       "dragoman_listener_received_bytes_total{listener=\"web\"} 1234567890123456"));
}

// A hard failure when promtool is missing: what Prometheus thinks of the text is the point of the test.
TEST(PrometheusExport, PromtoolHasNothingToSay) {
  test::TempDir dir;
  const std::string path = dir.file("metrics");
  FILE* file = fopen(path.c_str(), "w");
  ASSERT_NE(file, nullptr);
  fputs(Populated().render().c_str(), file);
  fclose(file);
  FILE* tool = popen(("promtool check metrics < " + path + " 2>&1").c_str(), "r");
  ASSERT_NE(tool, nullptr);
  std::string output;
  for (int c; (c = fgetc(tool)) != EOF;) output += static_cast<char>(c);
  const int status = pclose(tool);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << output;
  EXPECT_EQ(output, "");
}

TEST(JsonExport, HasValuesAndQuantiles) {
  Populated populated;
  rapidjson::Document document;
  document.Parse(render_json(populated.registry, populated.collectors).c_str());
  ASSERT_FALSE(document.HasParseError());
  bool counter_seen = false, histogram_seen = false;
  for (const auto& family : document["families"].GetArray()) {
    const std::string name = family["name"].GetString();
    const auto& sample = family["samples"][0];
    if (name == "dragoman_requests_total") {
      counter_seen = true;
      EXPECT_STREQ(family["type"].GetString(), "counter");
      EXPECT_STREQ(sample["labels"]["outcome"].GetString(), "ok");
      EXPECT_EQ(sample["value"].GetInt64(), 41);
    } else if (name == "dragoman_request_duration_seconds") {
      histogram_seen = true;
      EXPECT_EQ(sample["count"].GetUint64(), 6u);
      EXPECT_NEAR(sample["sum_seconds"].GetDouble(), 70.100841, 1e-9);
      EXPECT_GT(sample["p99_us"].GetDouble(), 60'000'000);
      EXPECT_LT(sample["p50_us"].GetDouble(), 800);
    }
  }
  EXPECT_TRUE(counter_seen && histogram_seen);
}

}  // namespace
}  // namespace dragoman
