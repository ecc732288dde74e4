// What finding a route costs among 10, 1,000 and 10,000, in nanoseconds; with --json one line for programs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/route/route_workloads.h"

namespace {

using namespace dragoman;
using namespace dragoman::test;

double measure(const Workload& w, int count) {
  std::vector<config::Route> routes;
  for (int i = 0; i < count; ++i) routes.push_back(to(std::to_string(i), w.match(i)));
  if (w.last) routes.push_back(to("last"));
  auto compiled = RouteTable::compile(table_of(std::move(routes)));
  if (!compiled) std::abort();
  const RouteTable& table = **compiled;
  constexpr size_t kHeads = 1000;
  std::vector<std::string> texts(kHeads);
  std::vector<std::unique_ptr<Head>> heads;
  for (size_t i = 0; i < kHeads; ++i)
    heads.push_back(w.request(static_cast<int>(i * 7919 % static_cast<size_t>(count)), texts[i]));
  double best = 1e12;
  for (int round = 0; round < 30; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (const auto& head : heads)
      if (!table.match(*head)) std::abort();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count() / kHeads);
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const bool json = argc > 1 && std::string_view(argv[1]) == "--json";
  std::printf(json ? "{" : "%-40s %10s %10s %10s\n", "ns per match among", "10", "1,000", "10,000");
  bool first = true;
  for (const Workload& w : route_workloads()) {
    const double few = measure(w, 10), many = measure(w, 1'000), most = measure(w, 10'000);
    if (json)
      std::printf("%s\"%s\": [%.1f, %.1f, %.1f]", first ? "" : ", ", w.what, few, many, most);
    else
      std::printf("%-40s %10.0f %10.0f %10.0f\n", w.what, few, many, most);
    first = false;
  }
  std::puts(json ? "}" : "");
  return 0;
}
