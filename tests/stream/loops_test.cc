// Requests that come back: through a second process, where no address tells, they end at a number of hops or at an endpoint's
// limit of tries.
#include <gtest/gtest.h>

#include <thread>

#include "proxy/upstream/endpoint.h"
#include "tests/http2/frames.h"
#include "tests/server/server_support.h"
#include "tests/stream/dubbo_calls.h"
#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

const char kReasons[] = "dragoman_request_reasons_total";
const char kRequests[] = "dragoman_requests_total";
const char kConnections[] = "dragoman_cluster_connections_total";
const char kOverflows[] = "dragoman_cluster_overflows_total";

/// What the first answer to one request says, in a few words.
std::string ask(const std::string& protocol, TestSocket s) {
  if (protocol == "http1") {
    s.send("GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    const HttpMessage m = s.read_response();
    return std::to_string(m.status) + " " + m.body;
  }
  if (protocol == "http2") {
    s.send(h2::hello() + h2::headers(1, h2::get("/x")));
    std::string bytes;
    eventually([&] {
      bytes += s.read_some(20);
      for (const h2::Frame& f : h2::parse(bytes))
        if (f.type == h2::kData) return true;
      return s.end() != End::kOpen;
    });
    for (const h2::Frame& f : h2::parse(bytes))
      if (f.type == h2::kData) return f.payload;
    return "";
  }
  if (protocol == "bolt") {
    s.send(BoltFrame::request(1).bytes());
    return std::to_string(read_answer(s).status);
  }
  if (protocol == "dubbo") {
    s.send(dubbo_call());
    return read_dubbo(s);
  }
  s.send("hello");
  return s.closed_by_peer() ? "closed" : "open";
}

/// Two servers, each of which leads to the other.
class Ring {
 public:
  Ring(const std::string& protocol, const std::string& listener, const std::string& limits) {
    TestServer::Options first;
    first.file = dir_.file("dragoman.yaml");
    const auto yaml = [&](uint16_t to) {
      return fill_in(
          "listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, cluster: c$L}]\n"
          "clusters: [{name: c, endpoints: ['127.0.0.1:$TO'], limits: {$LIMITS}}]\n",
          {{"P", protocol}, {"LIMITS", limits}, {"L", listener}, {"TO", std::to_string(to)}});
    };
    a_ = std::make_unique<TestServer>(yaml(9), first);
    b_ = std::make_unique<TestServer>(yaml(a_->port("in")));
    a_->write_file(yaml(b_->port("in")));
    EXPECT_EQ(a_->admin("POST", "/reload").status, 200);
    EXPECT_TRUE(eventually([&] {
      return a_->admin("GET", "/clusters").body.find(std::to_string(b_->port("in"))) != std::string::npos;
    }));
  }
  ~Ring() {
    for (TestServer* server : {a_.get(), b_.get()}) {
      EXPECT_TRUE(server->becomes(0, "dragoman_requests_active"));
      server->stop();
    }
  }
  TestSocket connect() { return a_->connect("in"); }
  double sum(std::string_view family, std::initializer_list<std::string_view> labels = {}) {
    return a_->metric(family, labels) + b_->metric(family, labels);
  }

 private:
  TempDir dir_;
  std::unique_ptr<TestServer> a_, b_;
};

TEST(Loops, OverTwoProcessesEndAtTheNumberOfHops) {
  struct Row {
    const char* protocol;
    const char* listener;
    int hops;
    const char* says;  // part of the answer
  };
  for (const Row& row :
       {Row{"http1", ", hops_max: 6", 6, "508 loop detected"}, Row{"http1", "", 32, "508 loop detected"},
        Row{"http2", ", hops_max: 6", 6, "loop detected"}, Row{"http2", "", 32, "loop detected"},
        Row{"bolt", ", hops_max: 6", 6, "6"}, Row{"dubbo", ", hops_max: 6", 6, "loop detected"}}) {
    SCOPED_TRACE(std::string(row.protocol) + row.listener);
    Ring ring(row.protocol, row.listener, "");
    const std::string answer = ask(row.protocol, ring.connect());
    EXPECT_NE(answer.find(row.says), std::string::npos) << answer;
    EXPECT_TRUE(eventually([&] { return ring.sum(kRequests) == row.hops + 1; })) << ring.sum(kRequests);
    EXPECT_EQ(ring.sum(kReasons, {"reason=\"loop_detected\""}), 1);
    EXPECT_EQ(ring.sum("dragoman_listener_limit_hits_total", {"limit=\"hops\""}), 1);
  }
}

// A ring of framed calls shows itself by what is under way; before that no byte of them changes.
TEST(Loops, OfFramedCallsEndWithoutAnyKey) {
  for (const char* protocol : {"bolt", "dubbo"}) {
    for (const char* pool : {"multiplex", "bound"}) {
      SCOPED_TRACE(std::string(protocol) + " " + pool);
      Ring ring(protocol, "", "connections: 100000}, pool: {mode: " + std::string(pool));
      const std::string answer = ask(protocol, ring.connect());
      EXPECT_NE(answer.find(protocol == std::string_view("bolt") ? "6" : "loop detected"), std::string::npos)
          << answer;
      EXPECT_TRUE(eventually([&] { return ring.sum(kReasons, {"reason=\"loop_detected\""}) == 1; }));
      EXPECT_GT(ring.sum(kRequests), 1024);
      EXPECT_LT(ring.sum(kRequests), 4 * 1100 + 100);
    }
  }
}

// Each of the ring's members would multiply what the next one makes of a request.
TEST(Loops, AreNotMultipliedByRetries) {
  for (const char* protocol : {"http1", "http2", "bolt", "dubbo"}) {
    SCOPED_TRACE(protocol);
    const bool http = std::string_view(protocol).starts_with("http");
    Ring ring(protocol, ", hops_max: 6",
              "retries: 1000}, retry: {attempts: 5, idempotent: true, backoff: 1ms, "
              "on: [connect_failure, reset, refused, overloaded, timeout" +
                  std::string(http ? ", 5xx]" : "]"));
    EXPECT_FALSE(ask(protocol, ring.connect()).empty());
    EXPECT_TRUE(eventually([&] { return ring.sum(kRequests) == 7; })) << ring.sum(kRequests);
    EXPECT_EQ(ring.sum("dragoman_cluster_retries_total"), 0);
  }
}

TEST(Loops, AnAnswerThatSaysSoIsNotRepeated) {
  std::atomic<int> requests{0};
  ScriptedBackend backend(scripts::http([&](const HttpMessage&) -> std::string {
    ++requests;
    return "HTTP/1.1 508 Loop Detected\r\ncontent-length: 0\r\n\r\n";
  }));
  TestServer server(
      "listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
      "clusters: [{name: c, endpoints: ['" +
      backend.address() + "'], retry: {attempts: 5, on: [5xx], backoff: 1ms}}]\n");
  EXPECT_EQ(ask("http1", server.connect("in")), "508 ");
  EXPECT_EQ(requests, 1);
}

// Without the key a request that says nothing gets the header now and then; one that says something is counted always. With
// it each is.
TEST(Loops, TheDefaultCountsOneInSixteen) {
  std::string seen;
  ScriptedBackend backend(scripts::http([&](const HttpMessage& m) {
    seen += m.header("x-dragoman-hops");
    return http_ok("ok");
  }));
  for (auto [key, want] : {std::pair{"", "1---------------1---------------51"},
                           std::pair{", hops_max: 32", "1111111111111111111111111111111151"}}) {
    TestServer server(
        std::string("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c") + key +
        "}]\nclusters: [{name: c, endpoints: ['" + backend.address() + "']}]\n");
    seen.clear();
    TestSocket s = server.connect("in");
    for (int i = 0; i < 34; ++i) {
      s.send(std::string("GET /x HTTP/1.1\r\nhost: a\r\n") + (i == 32 ? "x-dragoman-hops: 4\r\n" : "") +
             "\r\n");
      EXPECT_EQ(s.read_response().status, 200);
    }
    EXPECT_EQ(seen, want);
  }
}

// A client may write what it likes: it decides about its own request only, and nothing that is no count counts.
TEST(Loops, WhatAClientSaysOfHops) {
  std::string seen;
  ScriptedBackend backend(scripts::http([&](const HttpMessage& m) {
    seen.clear();
    for (auto [at, end] = m.headers.equal_range("x-dragoman-hops"); at != end; ++at) seen += at->second + ",";
    return http_ok("ok");
  }));
  const auto yaml = [&](const char* key) {
    return std::string("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c") + key +
           "}]\nclusters: [{name: c, endpoints: ['" + backend.address() + "']}]\n";
  };
  struct Row {
    std::vector<std::string> said;
    const char* passed_on;  // null: refused
  };
  const std::string line = "x-dragoman-hops: ";
  TestServer counting(yaml(", hops_max: 32")), not_counting(yaml(", hops_max: 0"));
  for (const Row& row : std::initializer_list<Row>{{{}, "1,"},
                                                   {{"1"}, "2,"},
                                                   {{"0007"}, "8,"},
                                                   {{"2", "5", "3"}, "6,"},
                                                   {{"abc"}, "1,"},
                                                   {{""}, "1,"},
                                                   {{"-1"}, "1,"},
                                                   {{"0x9"}, "1,"},
                                                   {{"3, 4"}, "1,"},
                                                   {{"99999999999999999999"}, "1,"},
                                                   {{"31"}, "32,"},
                                                   {{"32"}, nullptr},
                                                   {{"4", "9999"}, nullptr}}) {
    std::string request = "GET /x HTTP/1.1\r\nhost: a\r\n", as_sent;
    for (const std::string& value : row.said) {
      request += "X-Dragoman-Hops: " + value + "\r\n";
      as_sent += value + ",";
    }
    SCOPED_TRACE(request);
    for (TestServer* server : {&counting, &not_counting}) {
      const bool counts = server == &counting;
      TestSocket s = server->connect("in");
      s.send(request + "\r\n");
      EXPECT_EQ(s.read_response().status, counts && !row.passed_on ? 508 : 200);
      if (!counts || row.passed_on) {
        EXPECT_EQ(seen, counts ? row.passed_on : as_sent);
      }
    }
  }
  EXPECT_EQ(counting.metric(kReasons, {"reason=\"loop_detected\""}), 2);
  EXPECT_EQ(not_counting.metric(kReasons, {"reason=\"loop_detected\""}), 0);
}

TEST(Loops, ARequestAtTheLimitOfHeadersStaysThere) {
  std::string hops;
  ScriptedBackend backend(scripts::http([&](const HttpMessage& m) {
    hops = m.header("x-dragoman-hops");
    return http_ok("ok");
  }));
  TestServer server(
      "listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c, hops_max: 32, "
      "http: {headers_max: 20}}]\n"
      "clusters: [{name: c, endpoints: ['" +
      backend.address() + "']}]\n");
  for (size_t n : {5u, 10u, 20u}) {  // host is one of them
    std::string request = "GET /x HTTP/1.1\r\nhost: a\r\n";
    for (size_t i = 1; i < n; ++i) request += "x-" + std::to_string(i) + ": 1\r\n";
    TestSocket s = server.connect("in");
    s.send(request + "\r\n");
    EXPECT_EQ(s.read_response().status, 200) << n;
    EXPECT_EQ(hops, n == 20 ? "-" : "1") << n;
  }
}

TEST(Loops, FramedMessagesAreCountedOnRequestAndWhereThereIsRoom) {
  BoltRecorder backend;
  const auto yaml = [&](const char* key) {
    return std::string("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, cluster: c") + key +
           "}]\nclusters: [{name: c, endpoints: ['" + backend.address() + "']}]\n";
  };
  BoltFrame plain = BoltFrame::request(1), counted = plain, unreadable = plain;
  counted.header += kv("x-dragoman-hops", "3");
  unreadable.header = "\x7f\xff\xff\xff no pairs";
  TestServer off(yaml("")), on(yaml(", hops_max: 10"));
  struct Row {
    TestServer* server;
    const BoltFrame& sent;
    std::string header;
  };
  for (const Row& row : {Row{&off, plain, plain.header}, Row{&off, counted, counted.header},
                         Row{&on, plain, plain.header + kv("x-dragoman-hops", "1")},
                         Row{&on, counted, plain.header + kv("x-dragoman-hops", "4")},
                         Row{&on, unreadable, unreadable.header}}) {
    TestSocket s = row.server->connect("in");
    s.send(row.sent.bytes());
    EXPECT_EQ(read_answer(s).status, 0);
    EXPECT_EQ(bolt_parts(backend.frames().back()).header, row.header);
    EXPECT_EQ(bolt_parts(backend.frames().back()).content, plain.content);
  }
  EXPECT_EQ(on.metric("dragoman_cluster_codec_events_total", {"event=\"edit_skipped\""}), 0);
}

// --- tries per second ---

TEST(TriesPerSecond, AreAnEndpointsOverAllWorkers) {
  constexpr uint64_t kMs = 1'000'000;
  SharedEndpoint endpoint(*Address::parse("127.0.0.1:80"), "127.0.0.1:80", 1);
  const auto takes = [&](uint64_t at_ms, int n) {
    int taken = 0;
    for (int i = 0; i < n; ++i) taken += endpoint.take_try(at_ms * kMs, 10);
    return taken;
  };
  EXPECT_EQ(takes(5'000, 100), 10);
  EXPECT_EQ(takes(5'050, 100), 0);
  EXPECT_EQ(takes(5'100, 100), 1);
  EXPECT_EQ(takes(5'400, 100), 3);
  EXPECT_EQ(takes(99'000, 100), 10) << "what was not used is not kept for longer than a second";
  std::atomic<int> taken{0};
  std::vector<std::thread> workers;
  for (int i = 0; i < 4; ++i)
    workers.emplace_back([&] {
      for (int n = 0; n < 1'000; ++n) taken += endpoint.take_try(200'000 * kMs, 777);
    });
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(taken, 777);
}

TEST(TriesPerSecond, BoundALoopThatCarriesNoCount) {
  for (const char* protocol : {"tcp", "http1", "bolt"}) {
    SCOPED_TRACE(protocol);
    const uint64_t began = steady_ms();
    Ring ring(protocol, std::string_view(protocol) == "http1" ? ", hops_max: 0" : "", "tries_per_second: 20");
    const std::string answer = ask(protocol, ring.connect());
    const bool tcp = std::string_view(protocol) == "tcp";
    EXPECT_EQ(answer.substr(0, 3), tcp ? "clo" : std::string_view(protocol) == "http1" ? "503" : "4");
    EXPECT_TRUE(eventually([&] { return ring.sum(kReasons, {"reason=\"tries_overflow\""}) >= 1; }));
    EXPECT_GE(ring.sum(kOverflows, {"limit=\"tries_per_second\""}), 1);
    const double seconds = static_cast<double>(steady_ms() - began + 1'000) / 1'000;
    EXPECT_LE(ring.sum(kConnections), 2 * (20 + 20 * seconds));
    EXPECT_LE(ring.sum(kRequests), 1 + 2 * (20 + 20 * seconds));
    EXPECT_GE(ring.sum(kRequests), 20);
  }
}

TEST(TriesPerSecond, RepeatsCountAndOtherEndpointsGoOn) {
  std::atomic<int> requests{0};
  ScriptedBackend failing(scripts::http([&](const HttpMessage&) -> std::string {
    ++requests;
    return "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n";
  }));
  ScriptedBackend good(scripts::http("good"));
  const auto yaml = [&](const std::string& endpoints) {
    return "listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
           "clusters: [{name: c, endpoints: [" +
           endpoints + "], limits: {tries_per_second: 1}, retry: {attempts: 10, on: [5xx], backoff: 1ms}}]\n";
  };
  {
    TestServer server(yaml("'" + failing.address() + "'"));
    const uint64_t began = steady_ms();
    EXPECT_EQ(ask("http1", server.connect("in")).substr(0, 3), "503");
    EXPECT_LE(requests, 2 + static_cast<int>(steady_ms() - began) / 1'000);
    EXPECT_EQ(server.metric(kReasons, {"reason=\"tries_overflow\""}), 1);
  }
  TestServer server(yaml("'" + failing.address() + "', '" + good.address() + "'"));
  EXPECT_EQ(ask("http1", server.connect("in")), "200 good");
}

}  // namespace
}  // namespace dragoman::testing
