// The steady state allocates nothing per request: operator new is counted while requests of a warm server run. Threads of the
// test itself don't count.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "tests/http2/frames.h"
#include "tests/server/server_support.h"
#include "tests/support/allocations.h"

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

// --- HTTP/2 ---

/// The client's side of one connection.
class Http2Client {
 public:
  explicit Http2Client(TestSocket s) : s_(std::move(s)) {
    s_.send(h2::hello() + h2::window_update(0, 0x7fff0000 - 65535));
  }
  /// Sends `calls` requests at once and waits for all answers.
  void call(int calls) {
    std::string burst;
    for (int i = 0; i < calls; ++i, id_ += 2)
      burst += h2::headers(id_,
                           {{":method", "POST"},
                            {":scheme", "http"},
                            {":path", "/some/path?q=1"},
                            {":authority", "a.example"},
                            {"user-agent", "test"},
                            {"x-request", "1234567890"}},
                           h2::kEndHeaders) +
               h2::data(id_, "twenty bytes of body", h2::kEndStream);
    if (!s_.send(burst)) std::abort();
    for (int open = calls; open > 0;) {
      const std::string head = s_.read(9);
      if (head.size() < 9) std::abort();
      auto u8 = [&](size_t i) { return static_cast<uint8_t>(head[i]); };
      const size_t n = size_t{u8(0)} << 16 | size_t{u8(1)} << 8 | u8(2);
      s_.read(n);
      if (u8(3) == h2::kSettings && !(u8(4) & h2::kAck)) s_.send(h2::frame(h2::kSettings, h2::kAck, 0));
      if (u8(3) == h2::kRstStream || u8(3) == h2::kGoAway) std::abort();
      if (u8(3) <= h2::kHeaders && u8(4) & h2::kEndStream) --open;
    }
  }

 private:
  TestSocket s_;
  uint32_t id_ = 1;
};

/// Answers every request whose end came.
void http2_backend(TestSocket& s) {
  count_allocations(false);
  if (!s.send(h2::settings({{3, 1000}}) + h2::window_update(0, 0x7fff0000 - 65535))) return;
  s.read(h2::kPreface.size());
  for (;;) {
    const std::string head = s.read(9);
    if (head.size() < 9) return;
    auto u8 = [&](size_t i) { return static_cast<uint8_t>(head[i]); };
    s.read(size_t{u8(0)} << 16 | size_t{u8(1)} << 8 | u8(2));
    const uint32_t id = uint32_t{u8(5)} << 24 | uint32_t{u8(6)} << 16 | uint32_t{u8(7)} << 8 | u8(8);
    std::string out;
    if (u8(3) == h2::kSettings && !(u8(4) & h2::kAck)) out = h2::frame(h2::kSettings, h2::kAck, 0);
    if (u8(3) <= h2::kHeaders && u8(4) & h2::kEndStream)
      out = h2::headers(id, {{":status", "200"}, {"x-answer", "1234567890"}}, h2::kEndHeaders) +
            h2::data(id, std::string(200, 'x'), h2::kEndStream);
    if (!out.empty() && !s.send(out)) return;
  }
}

TEST_F(Allocation, Http2RequestsCostNone) {
  ScriptedBackend backend(http2_backend);
  serve("http2", backend.address(),
        ", filters: [{type: headers, request: {set: {x-a: b}}, response: {add: {x-c: d}}}]");
  count_allocations(false);
  Http2Client client(connect());
  const double each = per_request([&] { client.call(1); });
  count_allocations(true);
  EXPECT_LT(each, 0.5) << "allocations a request";
}

TEST_F(Allocation, Http2AtDepthCostsNone) {
  ScriptedBackend backend(http2_backend);
  serve("http2", backend.address());
  count_allocations(false);
  Http2Client client(connect());
  const double each = per_request([&] { client.call(16); }) / 16;
  count_allocations(true);
  EXPECT_LT(each, 0.5) << "allocations a request";
}

TEST_F(Allocation, Http2ToHttp1CostsNone) {
  static const std::string answer = http_ok(std::string(200, 'x'));
  ScriptedBackend backend([](TestSocket& s) {
    count_allocations(false);
    for (;;) {
      if (!s.read_request().complete || !s.send(answer)) return;
    }
  });
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("access_log: {path: /dev/null}\n"
                "listeners: [{name: in, address: '127.0.0.1:0', protocol: http2, cluster: c}]\n"
                "clusters: [{name: c, protocol: http1, endpoints: ['$UP'], outlier: {}}]\n",
                {{"UP", backend.address()}}),
        options);
  count_allocations(false);
  Http2Client client(connect());
  const double each = per_request([&] { client.call(1); });
  count_allocations(true);
  EXPECT_LT(each, 0.5) << "allocations a request";
}

}  // namespace
}  // namespace dragoman::testing
