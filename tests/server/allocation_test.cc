// The steady state allocates nothing per request: operator new is counted while requests of a warm server run. Threads of the
// test itself don't count.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "tests/server/server_support.h"
#include "tests/support/allocation_count.h"

namespace dragoman::testing {
namespace {

class Allocation : public ServerTest {
 protected:
  static constexpr int kRequests = 2000;

  /// Allocations of the server per request, once it is warm. The least of several rounds: what the control thread does
  /// at its own pace falls into some of them.
  template <class Call>
  double per_request(Call&& call) {
    constexpr int kRounds = 10;
    for (int i = 0; i < kRequests; ++i) call();
    size_t least = SIZE_MAX;
    for (int round = 0; round < kRounds; ++round) {
      const size_t before = allocation_count();
      for (int i = 0; i < kRequests / kRounds; ++i) call();
      least = std::min(least, allocation_count() - before);
    }
    return static_cast<double>(least) * kRounds / kRequests;
  }
  void serve(const std::string& protocol, const std::string& up, const std::string& listener = "") {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("access_log: {path: /dev/null}\n"
                  "listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, cluster: c$LISTENER}]\n"
                  "clusters: [{name: c, endpoints: ['$UP'], outlier: {}}]\n",
                  {{"P", protocol}, {"UP", up}, {"LISTENER", listener}}),
          options);
  }
};

TEST_F(Allocation, TheCounterCounts) {
  const size_t before = allocation_count();
  std::string text(100, 'x');
  EXPECT_EQ(allocation_count(), before + 1) << text;
}

TEST_F(Allocation, HttpRequestsCostNone) {
  static const std::string answer = http_ok(std::string(200, 'x'));
  ScriptedBackend backend([](TestSocket& s) {
    count_allocations(false);
    for (;;) {
      if (!s.read_until("\r\n\r\n").ends_with("\r\n\r\n") || !s.send(answer)) return;
    }
  });
  serve("http1", backend.address(), ", filters: [{type: headers, request: {set: {x-a: b}}, response: {add: {x-c: d}}}]");
  count_allocations(false);
  TestSocket s = connect();
  const double each = per_request([&] {
    s.send("GET /some/path?q=1 HTTP/1.1\r\nhost: service.example\r\nuser-agent: test\r\naccept: */*\r\n\r\n");
    const HttpMessage m = s.read_response();
    if (m.status != 200) std::abort();
  });
  count_allocations(true);
  EXPECT_LT(each, 0.5) << "allocations a request";
}

TEST_F(Allocation, BoltRequestsCostNone) {
  ScriptedBackend backend([](TestSocket& s) {
    count_allocations(false);
    scripts::bolt()(s);
  });
  serve("bolt", backend.address());
  count_allocations(false);
  TestSocket s = connect();
  const std::string request = BoltFrame::request(1, std::string(200, 'x')).bytes();
  const double each = per_request([&] {
    s.send(request);
    if (s.read_bolt().empty()) std::abort();
  });
  count_allocations(true);
  EXPECT_LT(each, 0.5) << "allocations a request";
}

TEST_F(Allocation, BoltAtDepthCostsNone) {
  ScriptedBackend backend([](TestSocket& s) {
    count_allocations(false);
    scripts::bolt()(s);
  });
  serve("bolt", backend.address());
  count_allocations(false);
  TestSocket s = connect();
  std::string burst;
  for (uint32_t i = 1; i <= 16; ++i) burst += BoltFrame::request(i, std::string(100, 'x')).bytes();
  const double each = per_request([&] {
                        s.send(burst);
                        for (int i = 0; i < 16; ++i)
                          if (s.read_bolt().empty()) std::abort();
                      }) /
                      16;
  count_allocations(true);
  EXPECT_LT(each, 0.5) << "allocations a request";
}

}  // namespace
}  // namespace dragoman::testing
