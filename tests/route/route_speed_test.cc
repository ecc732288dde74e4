// Cost of a match among 10, 1,000 and 10,000 routes, printed. The limits only catch a search that became a scan (which would cost
// a hundred microseconds and more); the goal is below 1 us in a release build.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "tests/route/route_support.h"
#include "tests/route/route_workloads.h"
#include "tests/support/allocations.h"

namespace dragoman::test {
namespace {

constexpr double kLimitNs = 50'000;  // debug and sanitizer builds on a busy machine

class RouteSpeed : public ::testing::TestWithParam<Workload> {};

TEST_P(RouteSpeed, IsThatOfASearch) {
  const Workload& w = GetParam();
  for (int count : {10, 1'000, 10'000}) {
    std::vector<config::Route> routes;
    for (int i = 0; i < count; ++i) routes.push_back(to(std::to_string(i), w.match(i)));
    if (w.last) routes.push_back(to("last"));
    auto table = compiled(table_of(std::move(routes)));
    std::vector<std::string> texts(1000);
    std::vector<std::unique_ptr<Head>> heads;
    for (int i = 0; i < 1000; ++i)
      heads.push_back(w.request(static_cast<int>(i * 7919L % count), texts[static_cast<size_t>(i)]));
    for (size_t i = 0; i < heads.size(); ++i)
      ASSERT_EQ(matched(*table, *heads[i]),
                w.last ? "last" : std::to_string(i * 7919 % static_cast<size_t>(count)))
          << w.what;

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
    std::printf("%-40s %7.0f ns per match among %d routes\n", w.what, best, count);
    EXPECT_LT(best, kLimitNs) << w.what;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, RouteSpeed, ::testing::ValuesIn(route_workloads()));

// Every prefix is a prefix of the next one: the longest chain of ancestors there can be.
TEST(RouteSpeedOf, NestedPrefixes) {
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
