// Active health checks of all three kinds, passive ejection with real traffic, weighted clusters, names.
#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <thread>

#include "tests/server/server_support.h"

namespace dragoman::testing {
namespace {

const char kHealthy[] = "dragoman_cluster_endpoints_healthy";
const char kChecks[] = "dragoman_cluster_health_checks_total";

class Health : public ServerTest {
 protected:
  void serve(const std::string& protocol, const std::string& endpoints, const std::string& cluster) {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, cluster: c}]\n"
                  "clusters: [{name: c, endpoints: [$UP], $CLUSTER}]\n",
                  {{"P", protocol}, {"UP", endpoints}, {"CLUSTER", cluster}}),
          options);
  }
  HttpMessage get() {
    TestSocket s = connect();
    s.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    return s.read_response();
  }
};

const char kFast[] = "interval: 100ms, timeout: 80ms, healthy_threshold: 2, unhealthy_threshold: 2, jitter: 0";

TEST_F(Health, TcpChecksTakeOutWhatDoesNotAnswerAndBringItBack) {
  ScriptedBackend good(scripts::http("good"));
  uint16_t port = 0;
  {
    RefusingPort nobody;
    port = nobody.port();
    serve("http1", "'" + good.address() + "', '" + nobody.address() + "'",
          "panic_threshold: 0, health_check: {type: tcp, " + std::string(kFast) + "}");
    EXPECT_TRUE(server().becomes(1, kHealthy));
    for (int i = 0; i < 6; ++i) EXPECT_EQ(get().body, "good");
    EXPECT_TRUE(eventually([&] { return server().metric(kChecks, {"result=\"failure\""}) >= 2; }));
    EXPECT_GE(server().metric(kChecks, {"result=\"success\""}), 1);
  }
  ScriptedBackend::Options at;
  at.port = port;
  ScriptedBackend back({scripts::http("back")}, at);
  EXPECT_TRUE(server().becomes(2, kHealthy));
  EXPECT_TRUE(eventually([&] { return get().body == "back"; }));
}

TEST_F(Health, ANewEndpointGetsNothingBeforeItsFirstCheckAndReadyWaitsForIt) {
  ScriptedBackend good(scripts::http("good")), silent(scripts::silent());
  serve("http1", "'" + good.address() + "', '" + silent.address() + "'",
        "health_check: {type: http, path: /, interval: 60s, timeout: 300ms}");
  EXPECT_TRUE(eventually([&] { return server().admin("GET", "/ready").status == 200; }));
  for (int i = 0; i < 8; ++i) EXPECT_EQ(get().body, "good");
  EXPECT_NE(server().admin("GET", "/clusters").body.find(silent.address() + " weight=1 unhealthy"),
            std::string::npos);
}

TEST_F(Health, HttpChecksLookAtPathHostAndStatus) {
  std::atomic<int> status{200};
  std::mutex mutex;
  std::string seen;
  ScriptedBackend backend(scripts::http([&](const HttpMessage& m) {
    if (m.target != "/healthz") return http_ok("work");
    std::lock_guard lock(mutex);
    seen = m.method + " " + m.header("host");
    return "HTTP/1.1 " + std::to_string(status) + " X\r\ncontent-length: 0\r\n\r\n";
  }));
  serve("http1", "'" + backend.address() + "'",
        "panic_threshold: 0, health_check: {type: http, path: /healthz, host: checked.example, expect: ['200-299', 418], " +
            std::string(kFast) + "}");
  EXPECT_TRUE(eventually([&] { return server().metric(kChecks, {"result=\"success\""}) >= 2; }));
  EXPECT_EQ(get().body, "work");
  {
    std::lock_guard lock(mutex);
    EXPECT_EQ(seen, "GET checked.example");
  }
  status = 500;
  EXPECT_TRUE(server().becomes(0, kHealthy));
  EXPECT_EQ(get().status, 503);
  EXPECT_TRUE(server().becomes(1, "dragoman_request_reasons_total", {"reason=\"no_healthy_upstream\""}));
  status = 418;
  EXPECT_TRUE(server().becomes(1, kHealthy));
  EXPECT_EQ(get().body, "work");
}

TEST_F(Health, HeartbeatChecksSpeakTheProtocol) {
  std::atomic<bool> answer{true};
  ScriptedBackend backend([&](TestSocket& s) {
    while (true) {
      const std::string frame = s.read_bolt();
      if (frame.empty()) return;
      BoltFrame f = BoltFrame::response(bolt_id(frame), "x");
      if (frame.substr(2, 2) == be(0, 2)) {
        if (!answer) continue;
        f.command = 0;
        f.class_name.clear();
        f.content.clear();
      }
      s.send(f.bytes());
    }
  });
  serve("bolt", "'" + backend.address() + "'", "panic_threshold: 0, health_check: {type: heartbeat, " + std::string(kFast) + "}");
  EXPECT_TRUE(eventually([&] { return server().metric(kChecks, {"result=\"success\""}) >= 2; }));
  answer = false;
  EXPECT_TRUE(server().becomes(0, kHealthy));
  TestSocket s = connect();
  s.send(BoltFrame::request(1).bytes());
  const std::string refused = s.read_bolt();
  ASSERT_GE(refused.size(), 12u);
  EXPECT_NE(refused.substr(10, 2), be(0, 2));
  answer = true;
  EXPECT_TRUE(server().becomes(1, kHealthy));
  s.send(BoltFrame::request(2).bytes());
  EXPECT_TRUE(s.read_bolt().ends_with("x"));
}

TEST_F(Health, HeartbeatsShareOneConnectionUntilItEnds) {
  std::atomic<int> heartbeats{0};
  ScriptedBackend backend([&](TestSocket& s) {
    for (int i = 0; i < 4; ++i) {  // then it closes, as servers do with what they take for idle
      const std::string frame = s.read_bolt();
      if (frame.empty()) return;
      BoltFrame f = BoltFrame::response(bolt_id(frame), "x");
      f.command = 0;
      f.class_name.clear();
      f.content.clear();
      s.send(f.bytes());
      ++heartbeats;
    }
  });
  serve("bolt", "'" + backend.address() + "'",
        "panic_threshold: 0, health_check: {type: heartbeat, interval: 100ms, timeout: 10s, jitter: 0}");
  EXPECT_TRUE(eventually([&] { return heartbeats >= 12; }));
  EXPECT_LE(backend.connections(), heartbeats / 4 + 1);
  EXPECT_EQ(server().metric(kChecks, {"result=\"failure\""}), 0)
      << "an end between two heartbeats is no failure";
  EXPECT_EQ(server().metric(kHealthy), 1);
}

TEST_F(Health, ProbesBeginAnIntervalApart) {
  std::mutex mutex;
  std::vector<std::chrono::steady_clock::time_point> starts;
  ScriptedBackend backend(scripts::http([&](const HttpMessage&) {
    {
      std::lock_guard lock(mutex);
      starts.push_back(std::chrono::steady_clock::now());
    }
    std::this_thread::sleep_for(
        std::chrono::milliseconds(800));  // what is measured: how long an answer takes
    return http_ok("");
  }));
  serve("http1", "'" + backend.address() + "'",
        "health_check: {type: http, path: /, interval: 1s, timeout: 900ms, jitter: 0}");
  const auto enough = [&] {
    std::lock_guard lock(mutex);
    return starts.size() >= 4;
  };
  ASSERT_TRUE(eventually(enough, 30'000));
  const auto took = starts[3] - starts[0];
  EXPECT_GT(took, std::chrono::milliseconds(2500));
  EXPECT_LT(took, std::chrono::milliseconds(4800)) << "from end to start it would be 5.4 s";
}

TEST_F(Health, PanicIsExplained) {
  RefusingPort nobody;
  serve("http1", "'" + nobody.address() + "'", "health_check: {type: tcp, " + std::string(kFast) + "}");
  EXPECT_TRUE(eventually([&] {
    return server()
               .admin("GET", "/clusters")
               .body.find("  panic: 0 of 1 endpoints can be used, less than 50 % (panic_threshold)") !=
           std::string::npos;
  }));
  EXPECT_NE(server().admin("GET", "/clusters").body.find("a single endpoint is never taken out"),
            std::string::npos);
  EXPECT_NE(
      server().admin("GET", "/clusters?format=json").body.find("\"panic\":true,\"panic_reason\":\"0 of 1"),
      std::string::npos);
}

TEST_F(Health, AnEndpointThatKeepsFailingIsEjectedAndComesBack) {
  std::atomic<bool> fail{true};
  std::atomic<int> bad_requests{0};
  ScriptedBackend good(scripts::http("good"));
  ScriptedBackend bad([&](TestSocket& s) {
    if (!s.read_request().complete) return;
    ++bad_requests;
    if (fail) return s.reset();
    s.send(http_ok("better"));
    s.wait_end();
  });
  serve("http1", "'" + good.address() + "', '" + bad.address() + "'",
        "panic_threshold: 0, outlier: {consecutive_failures: 3, ejection_time: 500ms, max_ejection_percent: 50}");
  int failed = 0;
  for (int i = 0; i < 20; ++i) failed += get().status != 200;
  EXPECT_EQ(failed, 3);
  EXPECT_EQ(bad_requests, 3);
  EXPECT_EQ(server().metric("dragoman_cluster_ejections_total"), 1);
  EXPECT_EQ(server().metric("dragoman_cluster_endpoints_ejected"), 1);
  EXPECT_NE(server().admin("GET", "/clusters?format=json").body.find("ejected"), std::string::npos);
  fail = false;
  EXPECT_TRUE(eventually([&] { return get().body == "better"; }));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_endpoints_ejected"));
}

TEST_F(Health, WeightedClustersShareAsConfigured) {
  ScriptedBackend a(scripts::http("a")), b(scripts::http("b"));
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: r}]\n"
                "routes: [{name: r, routes: [{match: {prefix: /}, clusters: [{name: a, weight: 9}, {name: b, weight: 1}]}]}]\n"
                "clusters: [{name: a, endpoints: ['$A']}, {name: b, endpoints: ['$B']}]\n",
                {{"A", a.address()}, {"B", b.address()}}),
        options);
  TestSocket s = connect();
  std::map<std::string, int> count;
  for (int i = 0; i < 1000; ++i) {
    s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    ++count[s.read_response().body];
  }
  EXPECT_EQ(count["a"] + count["b"], 1000);
  EXPECT_NEAR(count["b"], 100, 60);
}

TEST_F(Health, NamesAreLookedUpAndAFailedLookupKeepsWhatIsKnown) {
  ScriptedBackend backend(scripts::http("named"));
  serve("http1", "'localhost:" + std::to_string(backend.port()) + "', 'no-such-name.invalid:80'",
        "dns: {refresh: 1s}, outlier: {}, panic_threshold: 0");
  EXPECT_TRUE(eventually([&] { return server().admin("GET", "/ready").status == 200; }, 30'000));
  EXPECT_TRUE(eventually([&] { return get().body == "named"; }));
  EXPECT_NE(server().admin("GET", "/clusters").body.find("127.0.0.1:" + std::to_string(backend.port())), std::string::npos);
}

// A name service of the test's own: what each name means now, with the port.
struct Names {
  std::mutex mutex;
  std::map<std::string, std::vector<std::string>> table;
  int lookups = 0;

  void set(const std::string& name, std::vector<std::string> addresses) {
    std::lock_guard lock(mutex);
    table[name] = std::move(addresses);
  }
  std::unique_ptr<Lookup> lookup(Loop& loop, const std::string& name, Resolver::NameDone done) {
    struct Answer final : Lookup {
      Timer soon;
      Resolver::NameDone done;
      Result<ResolvedName> result = unexpected(std::string("no such name"));
      void tell() {
        const auto call = std::move(done);
        call(std::move(result));
      }
    };
    auto answer = std::make_unique<Answer>();
    answer->done = std::move(done);
    std::lock_guard lock(mutex);
    ++lookups;
    if (auto it = table.find(name); it != table.end()) {
      ResolvedName found;
      for (const auto& text : it->second) found.addresses.push_back(*Address::parse(text));
      answer->result = std::move(found);
    }
    answer->soon.bind<&Answer::tell>(loop.timers(), answer.get());
    answer->soon.start(1);
    return answer;
  }
};

struct NamesResolver final : Resolver {
  NamesResolver(Loop& l, std::shared_ptr<Names> n) : loop(l), names(std::move(n)) {}
  std::unique_ptr<Lookup> name(const std::string& host, NameDone done) override {
    return names->lookup(loop, host, std::move(done));
  }
  std::unique_ptr<Lookup> service(const std::string&, ServiceDone) override { return nullptr; }
  Loop& loop;
  std::shared_ptr<Names> names;
};

TEST_F(Health, ANameThatMeansAnotherAddressMovesTheRequestsAndLosesNone) {
  std::promise<void> finish;
  auto finished = finish.get_future().share();
  ScriptedBackend first(scripts::http([finished](const HttpMessage& m) {
    if (m.target == "/slow") finished.wait();
    return http_ok("first");
  }));
  ScriptedBackend second(scripts::http("second"));
  auto names = std::make_shared<Names>();
  names->set("svc.test", {first.address()});
  TestServer::Options options;
  options.workers = 1;
  options.resolvers = [names](Loop& loop, const ResolverOptions&) {
    return std::make_unique<NamesResolver>(loop, names);
  };
  start("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
        "clusters: [{name: c, endpoints: ['svc.test:80'], dns: {refresh: 1s}}]\n",
        options);
  EXPECT_TRUE(eventually([&] { return get().body == "first"; }));
  TestSocket slow = connect();
  slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
  ASSERT_TRUE(server().becomes(1, "dragoman_cluster_requests_active"));

  names->set("svc.test", {second.address()});
  std::string body;
  EXPECT_TRUE(eventually([&] {
    const HttpMessage answer = get();
    EXPECT_EQ(answer.status, 200);
    body = answer.body;
    return body == "second";
  }));
  finish.set_value();
  EXPECT_EQ(slow.read_response().body, "first") << "a call that was under way when the name changed";

  // Nobody knows the name any more: what was known goes on.
  {
    std::lock_guard lock(names->mutex);
    names->table.clear();
    names->lookups = 0;
  }
  EXPECT_TRUE(eventually([&] {
    std::lock_guard lock(names->mutex);
    return names->lookups >= 2;
  }));
  EXPECT_EQ(get().body, "second");
}

}  // namespace
}  // namespace dragoman::testing
