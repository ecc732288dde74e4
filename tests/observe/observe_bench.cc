// Prints what one call costs on this machine, in nanoseconds. Not a test: numbers depend on the load.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "proxy/base/log.h"
#include "proxy/observe/access_log.h"
#include "proxy/observe/metrics.h"
#include "proxy/observe/prometheus_export.h"

namespace {

using namespace dragoman;

template <class Fn>
void measure(const char* what, uint64_t calls, Fn fn) {
  double best = 1e9;
  for (int round = 0; round < 5; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (uint64_t i = 0; i < calls; ++i) fn(i);
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / static_cast<double>(calls));
  }
  std::printf("%-44s %9.1f ns\n", what, best);
}

AccessRecord typical() {
  AccessRecord r;
  r.start_us = 1706745599'123456;
  r.duration_us = 1234;
  r.upstream_duration_us = 1007;
  r.listener = "web";
  r.route = "api-route";
  r.cluster = "api";
  r.endpoint = "10.0.0.2:9000";
  r.protocol = "http1";
  r.peer = "10.0.0.1:47110";
  r.method = "GET";
  r.path = "/v1/things/1234567?fields=name,price";
  r.authority = "things.example.com";
  r.user_agent = "Mozilla/5.0 (X11; Linux x86_64)";
  r.request_id = "4fdb1c5e-8a3f-4ce8-9b1f-6f2d8b7a9c11";
  r.status = 200;
  r.bytes_in = 512;
  r.bytes_out = 20480;
  r.attempts = 1;
  return r;
}

}  // namespace

int main() {
  MetricRegistry registry(4);
  MetricsBinding binding(registry, 0);
  const RequestMetrics request = binding.request("web", "r", "api", "http1");
  measure("counter", 50'000'000, [&](uint64_t) { request.request_bytes.inc(7); });
  measure("counter by outcome", 50'000'000,
          [&](uint64_t i) { request.requests.inc(static_cast<Outcome>(i & 3)); });
  measure("histogram", 50'000'000, [&](uint64_t i) { request.duration.observe_us((i * 7919) & 0xffff); });
  measure("log line under the level", 50'000'000,
          [&](uint64_t i) { DRAGOMAN_LOG(kDebug, "bench", "{}", i); });

  for (AccessLogKind kind : {AccessLogKind::kText, AccessLogKind::kJson}) {
    const bool json = kind == AccessLogKind::kJson;
    const AccessLogFormat format = *AccessLogFormat::compile(kind);
    std::vector<char> line(format.line_bytes_max());
    AccessLogFormat::SecondCache cache;
    AccessRecord formatted = typical();
    measure(json ? "format only, JSON" : "format only, default text", 1'000'000, [&](uint64_t) {
      formatted.start_us += 100;
      format.append(formatted, line.data(), cache);
    });
    auto writer =
        AccessLogWriter::open(*AccessLogFormat::compile(kind), {.path = "/dev/null", .queue_bytes = 8 << 20});
    if (!writer) return std::puts(writer.error().c_str()), 1;
    AccessRecord record = typical();
    measure(json ? "access line, JSON" : "access line, default text", 1'000'000, [&](uint64_t i) {
      record.start_us += 100;
      (*writer)->shard(0).write(record);
    });
    std::printf("%-44s %9.1f bytes, %.1f%% dropped\n", "", static_cast<double>(format.line(record).size()),
                100.0 * static_cast<double>((*writer)->dropped()) /
                    static_cast<double>((*writer)->dropped() + (*writer)->lines()));
  }

  std::vector<RequestMetrics> routes;
  for (int i = 0; i < 1000; ++i) {
    routes.push_back(binding.request("web", std::to_string(i), "api", "http1"));
  }
  measure("scrape, 1000 routes on 4 shards", 3, [&](uint64_t) { render_prometheus(registry); });
}
