// Cost of a match among 10,000 routes, printed. The limits only catch a search that became a scan (which would cost
// tens of microseconds); the goal is below 1 us in a release build.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/support/allocation_count.h"
#include "tests/route/route_support.h"

namespace dragoman::test {
namespace {

constexpr int kRoutes = 10'000;
constexpr double kLimitNs = 20'000;  // debug and sanitizer builds on a busy machine

using MakeMatch = config::Match (*)(int);

struct Workload {
  const char* what;
  MakeMatch match;
  const char* target;   // printf format of the path or service, by route number
  bool rpc = false;
  const char* method = "GET";
};

void measure(const Workload& w) {
  std::vector<config::Route> routes;
  for (int i = 0; i < kRoutes; ++i) routes.push_back(to(std::to_string(i), w.match(i)));
  auto table = compiled(table_of(std::move(routes)));
  std::vector<std::string> targets;
  for (int i = 0; i < 1000; ++i) {
    char text[128];
    std::snprintf(text, sizeof text, w.target, static_cast<int>(i * 7919L % kRoutes));
    targets.emplace_back(text);
  }
  std::vector<std::unique_ptr<Head>> heads;
  for (const std::string& t : targets) heads.push_back(w.rpc ? rpc_request(t, w.method) : http_request(w.method, t));
  for (size_t i = 0; i < heads.size(); ++i)
    ASSERT_EQ(matched(*table, *heads[i]), std::to_string(i * 7919 % kRoutes)) << w.what;

  double best = 1e12;
  size_t before = testing::allocation_count();
  for (int round = 0; round < 7; ++round) {
    auto start = std::chrono::steady_clock::now();
    for (const auto& head : heads)
      if (!table->match(*head)) std::abort();
    std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / static_cast<double>(heads.size()));
  }
  EXPECT_EQ(testing::allocation_count(), before) << w.what << ": a match allocates";
  std::printf("%-40s %7.0f ns per match among %d routes\n", w.what, best, kRoutes);
  EXPECT_LT(best, kLimitNs) << w.what;
}

std::string number(const char* before, int i, const char* after = "") { return before + std::to_string(i) + after; }

TEST(RouteSpeed, ExactPath) {
  measure({"exact path", [](int i) { return path(number("/api/v1/things/", i)); }, "/api/v1/things/%d?q=1"});
}

TEST(RouteSpeed, Prefix) {
  measure({"prefix", [](int i) { return prefix(number("/api/v1/things/", i, "/")); }, "/api/v1/things/%d/rest/of/it?q=1"});
}

TEST(RouteSpeed, Expression) {
  measure({"expression with a literal start", [](int i) { return regex(number("/api/v1/things/", i, "/[a-z]+")); }, "/api/v1/things/%d/rest"});
}

TEST(RouteSpeed, Service) {
  measure({"service", [](int i) { return service(number("com.example.Service", i, ":1.0")); }, "com.example.Service%d:1.0", true});
}

TEST(RouteSpeed, ServiceAndMethod) {
  measure({"service and method", [](int i) { return service(number("com.example.Service", i), {"a", "b"}); }, "com.example.Service%d", true, "b"});
}

TEST(RouteSpeed, ServicePrefix) {
  measure({"service prefix", [](int i) { return service(number("com.example.x", i, ".*")); }, "com.example.x%d.Service:1.0", true});
}

// Every prefix is a prefix of the next one: the longest chain of ancestors there can be.
TEST(RouteSpeed, NestedPrefixes) {
  std::vector<config::Route> routes;
  for (int i = 2'000; i-- > 0;) {
    config::Match match = prefix("/" + std::string(static_cast<size_t>(i), 'a'));
    routes.push_back(to(std::to_string(i), match));
  }
  auto table = compiled(table_of(std::move(routes)));
  std::string target = "/" + std::string(1'999, 'a');
  EXPECT_EQ(matched(*table, *http_request("GET", target)), "1999");
  EXPECT_EQ(matched(*table, *http_request("GET", target.substr(0, 1'001))), "1000");
}

}  // namespace
}  // namespace dragoman::test
