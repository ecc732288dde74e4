// Slow and greedy peers: back-pressure in both directions, stalls, fairness, accepting without descriptors.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

constexpr size_t kBig = 96u << 20;
// Kernel buffers on both sides plus watermarks, with room: far under kBig.
constexpr size_t kBounded = 40u << 20;

class Pressure : public ServerTest {
 protected:
  void serve(const std::string& protocol, const std::string& up, const std::string& listener = "",
             const std::string& cluster = "") {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $PROTO, cluster: c$LISTENER}]\n"
                  "clusters: [{name: c, endpoints: ['$UP']$CLUSTER}]\n",
                  {{"PROTO", protocol}, {"UP", up}, {"LISTENER", listener}, {"CLUSTER", cluster}}),
          options);
  }
};

/// Sends until nothing was taken for a while; how much was taken.
size_t fill(TestSocket& s, size_t most) {
  const std::string piece(1 << 16, 'd');
  size_t sent = 0;
  for (uint64_t last = steady_ms(); sent < most && steady_ms() - last < 400;) {
    const size_t n = s.send_some(std::string_view(piece).substr(0, std::min(piece.size(), most - sent)));
    sent += n;
    if (n > 0)
      last = steady_ms();
    else
      sleep_ms(2);
  }
  return sent;
}

TEST_F(Pressure, AClientThatDoesNotReadStopsTheBackendAndMemoryStaysFlat) {
  std::atomic<size_t> taken{0};
  ScriptedBackend backend([&](TestSocket& s) {
    if (!s.read_request().complete) return;
    s.send("HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(kBig) + "\r\n\r\n");
    const size_t n = fill(s, kBig);
    taken = n;
    for (size_t left = kBig - n; left > 0;) {
      const size_t k = std::min<size_t>(left, 1 << 20);
      if (!s.send(std::string(k, 'd'))) return;
      left -= k;
    }
    s.wait_end();
  });
  serve("http1", backend.address());
  const uint64_t resident = resident_bytes();
  TestSocket s = connect();
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return taken > 0; }));
  EXPECT_LT(taken, kBounded);
  EXPECT_LT(resident_bytes(), resident + (16u << 20));
  s.read_until("\r\n\r\n");
  EXPECT_EQ(s.discard(kBig), kBig) << "and it all comes when the client reads";
  EXPECT_TRUE(server().becomes(1, "dragoman_requests_total", {"outcome=\"ok\""}));
}

TEST_F(Pressure, ABackendThatDoesNotReadStopsTheClientAndMemoryStaysFlat) {
  std::promise<void> read_now;
  auto go = read_now.get_future().share();
  ScriptedBackend backend([go](TestSocket& s) {
    s.read_until("\r\n\r\n");
    go.wait();
    if (s.discard(kBig) == kBig) s.send(http_ok("all there"));
    s.wait_end();
  });
  serve("http1", backend.address());
  const uint64_t resident = resident_bytes();
  TestSocket s = connect();
  s.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: " + std::to_string(kBig) + "\r\n\r\n");
  const size_t taken = fill(s, kBig);
  EXPECT_LT(taken, kBounded);
  EXPECT_LT(resident_bytes(), resident + (16u << 20));
  read_now.set_value();
  for (size_t left = kBig - taken; left > 0;) {
    const size_t k = std::min<size_t>(left, 1 << 20);
    ASSERT_TRUE(s.send(std::string(k, 'd')));
    left -= k;
  }
  EXPECT_EQ(s.read_response().body, "all there");
}

TEST_F(Pressure, ABodyWithoutAnEndpointYetIsHeldBackToo) {
  // The backend accepts no connection; the body waits in the client.
  UnansweredPort nobody;
  serve("http1", nobody.address(), "", ", connect_timeout: 2s");
  const uint64_t resident = resident_bytes();
  TestSocket s = connect();
  s.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: " + std::to_string(kBig) + "\r\n\r\n");
  EXPECT_LT(fill(s, kBig), kBounded);
  EXPECT_LT(resident_bytes(), resident + (16u << 20));
  EXPECT_EQ(s.read_response().status, 503);
}

TEST_F(Pressure, ASlowReaderOnASharedConnectionHoldsUpNobodyElse) {
  ScriptedBackend backend([](TestSocket& s) {
    for (;;) {
      const BoltParts p = bolt_parts(s.read_bolt());
      if (p.class_name.empty()) return;
      if (!s.send(BoltFrame::response(p.id, p.content == "big" ? std::string(1 << 20, 'b') : "small").bytes())) return;
    }
  });
  serve("bolt", backend.address());
  TestSocket greedy = TestSocket::connect(server().port("in"), 4096);
  std::string many;
  for (uint32_t i = 1; i <= 40; ++i) many += BoltFrame::request(i, "big").bytes();
  greedy.send(many);
  TestSocket modest = connect();
  for (uint32_t i = 1; i <= 50; ++i) {
    modest.send(BoltFrame::request(i, "ping").bytes());
    ASSERT_EQ(read_answer(modest).content, "small") << i;
  }
  EXPECT_EQ(backend.connections(), 1);
  // As many as rpc.answers_bytes_max lets us keep come whole; the others are refused in the protocol's words.
  uint32_t whole = 0, refused = 0;
  for (uint32_t i = 1; i <= 40; ++i) {
    const size_t bytes = read_answer(greedy).content.size();
    ASSERT_TRUE(bytes == 1u << 20 || bytes == 0) << i << ": " << bytes;
    ++(bytes ? whole : refused);
  }
  EXPECT_GE(whole, 15u) << refused;
  EXPECT_GE(refused, 1u) << "40 MiB were kept";
}

TEST_F(Pressure, AClientThatNeverReadsIsCutByTheWriteStallTimeout) {
  for (const char* protocol : {"http1", "bolt"}) {
    SCOPED_TRACE(protocol);
    const bool http = protocol == std::string("http1");
    ScriptedBackend backend(http ? scripts::http(std::string(32u << 20, 'x')) : scripts::bolt(std::string(8u << 20, 'x')));
    serve(protocol, backend.address(), ", buffer: {write_stall_timeout: 300ms}");
    TestSocket s = TestSocket::connect(server().port("in"), 4096);
    if (http)
      s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    else
      s.send(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes());
    EXPECT_TRUE(server().becomes(1, "dragoman_listener_protocol_errors_total", {"reason=\"write_stall\""}));
    EXPECT_TRUE(server().becomes(1, "dragoman_listener_limit_hits_total", {"limit=\"write_buffer\""}));
    EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_active"));
    EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
  }
}

TEST_F(Pressure, OneBusyConnectionStarvesNoOther) {
  TestServer::Options options;
  options.workers = 1;
  start("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: r}]\n"
        "routes: [{name: r, routes: [{match: {prefix: /}, direct_response: {status: 200, body: x}}]}]\n",
        options);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> answered{0};
  const uint16_t port = server().port("in");
  std::thread reader, writer;
  TestSocket busy = TestSocket::connect(port);
  const int dup_fd = ::dup(busy.fd());
  writer = std::thread([&] {
    TestSocket out(dup_fd);
    std::string many;
    for (int i = 0; i < 500; ++i) many += "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    while (!stop && out.send(many)) {
    }
  });
  reader = std::thread([&] {
    while (!stop) answered += busy.read_some(20).size();
  });
  uint64_t worst = 0;
  for (int i = 0; i < 50; ++i) {
    const uint64_t began = steady_ms();
    TestSocket s = TestSocket::connect(port);
    s.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    ASSERT_EQ(s.read_response().status, 200);
    worst = std::max(worst, steady_ms() - began);
  }
  stop = true;
  ::shutdown(dup_fd, SHUT_RDWR);
  writer.join();
  reader.join();
  EXPECT_GT(answered, 100'000u) << "the busy one was busy";
  EXPECT_LT(worst, static_cast<uint64_t>(kDeadlineMs) / 4);
}

TEST_F(Pressure, AcceptingSurvivesRunningOutOfDescriptors) {
  ScriptedBackend backend(scripts::http("x"));
  serve("http1", backend.address());
  const uint16_t port = server().port("in");
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
  const int next = ::dup(0);
  ::close(next);
  rlimit tight = old;
  tight.rlim_cur = static_cast<rlim_t>(next) + 1;
  // The client takes the last descriptor: the server has none to accept with.
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  TestSocket s = TestSocket::connect(port);
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  const std::string early = s.read_some(250);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_EQ(early, "");
  EXPECT_EQ(s.read_response().body, "x") << "served as soon as there are descriptors again";
  EXPECT_GE(server().metric("dragoman_listener_accept_failures_total"), 1);
}

}  // namespace
}  // namespace dragoman::testing
