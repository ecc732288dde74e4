// Repeats, deadlines and what a client sees when its backend fails at any stage.
#include <gtest/gtest.h>

#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

const char kReasons[] = "dragoman_request_reasons_total";
const char kRetries[] = "dragoman_cluster_retries_total";

class Tries : public ServerTest {
 protected:
  void serve(const std::string& protocol, const std::string& route, const std::string& endpoints,
             const std::string& cluster = "") {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $PROTO, routes: r}]\n"
                  "routes:\n"
                  "  - name: r\n"
                  "    routes: [{match: {$MATCH}, cluster: c$ROUTE}]\n"
                  "clusters: [{name: c, endpoints: [$UP]$CLUSTER}]\n",
                  {{"PROTO", protocol},
                   {"MATCH", protocol == "bolt" ? "service: '*'" : "prefix: /"},
                   {"ROUTE", route},
                   {"UP", endpoints},
                   {"CLUSTER", cluster}}),
          options);
  }
  HttpMessage get(const std::string& method = "GET", const std::string& body = "") {
    TestSocket s = connect();
    std::string request = method + " /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    if (!body.empty() || method == "POST") request += "content-length: " + std::to_string(body.size()) + "\r\n";
    s.send(request + "\r\n" + body);
    return s.read_response();
  }
};

ScriptedBackend::Script reset_after_request() {
  return [](TestSocket& s) {
    if (s.read_request().complete) s.reset();
  };
}

// --- repeats ---

TEST_F(Tries, AConnectFailureIsRepeatedElsewhereAndCounted) {
  RefusingPort nobody;
  ScriptedBackend good(scripts::http("good"));
  serve("http1", ", retry: {attempts: 2, backoff: 1ms}", "'" + nobody.address() + "', '" + good.address() + "'");
  for (int i = 0; i < 6; ++i) EXPECT_EQ(get("POST", "body").body, "good");  // nothing was sent: safe for POST
  EXPECT_TRUE(server().becomes(6, kRetries));
  EXPECT_TRUE(server().becomes(6, "dragoman_request_retries_total"));
  EXPECT_TRUE(server().becomes(6, "dragoman_cluster_connect_failures_total"));
  EXPECT_TRUE(server().becomes(6, "dragoman_requests_total", {"outcome=\"ok\""}));
}

TEST_F(Tries, AnAnswerIsRepeatedForEachConditionThatNamesIt) {
  std::atomic<int> requests{0};
  ScriptedBackend backend(scripts::http([&](const HttpMessage&) -> std::string {
    return ++requests % 2 ? "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n" : http_ok("second");
  }));
  int retries = 0;
  for (const char* on : {"gateway_error", "5xx", "overloaded"}) {
    serve("http1", ", retry: {attempts: 1, backoff: 1ms, on: [" + std::string(on) + "]}", "'" + backend.address() + "'");
    EXPECT_EQ(get().body, "second") << on;
    EXPECT_EQ(requests, retries += 2) << on;
  }
}

TEST_F(Tries, WithoutAPolicyAConnectFailureIsAnswered) {
  RefusingPort nobody;
  serve("http1", "", "'" + nobody.address() + "'");
  EXPECT_EQ(get().status, 503);
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"connect_failure\""}));
  EXPECT_TRUE(server().becomes(0, kRetries));
}

TEST_F(Tries, ALostAnswerIsRepeatedOnlyForSafeMethods) {
  std::atomic<int> requests{0};
  ScriptedBackend bad([&](TestSocket& s) {
    if (!s.read_request().complete) return;
    ++requests;
    s.reset();
  });
  serve("http1", ", retry: {attempts: 2, backoff: 1ms, on: [reset]}", "'" + bad.address() + "'");
  EXPECT_EQ(get("POST", "x").status, 502);
  EXPECT_EQ(requests, 1) << "a POST that was sent is never sent again";
  EXPECT_EQ(get("GET").status, 502);
  EXPECT_EQ(requests, 4) << "a GET: once and two repeats";
  EXPECT_TRUE(server().becomes(2, kRetries));
  EXPECT_TRUE(server().becomes(2, kReasons, {"reason=\"upstream_reset\""}));
}

TEST_F(Tries, ABoltCallIsRepeatedOnlyWhenDeclaredIdempotent) {
  std::atomic<int> requests{0};
  const auto script = [&](TestSocket& s) {
    if (s.read_bolt().empty()) return;
    ++requests;
    s.reset();
  };
  ScriptedBackend bad(script);
  serve("bolt", ", retry: {attempts: 2, backoff: 1ms, on: [reset]}", "'" + bad.address() + "'");
  {
    TestSocket s = connect();
    s.send(BoltFrame::request(1).bytes());
    EXPECT_NE(read_answer(s).status, kBoltSuccess);
    EXPECT_EQ(requests, 1);
  }
  ScriptedBackend flaky({script, scripts::bolt("second try")});
  requests = 0;
  serve("bolt", ", retry: {attempts: 2, backoff: 1ms, on: [reset], idempotent: true}", "'" + flaky.address() + "'");
  TestSocket s = connect();
  s.send(BoltFrame::request(1).bytes());
  EXPECT_EQ(read_answer(s).content, "second try");
  EXPECT_EQ(requests, 1);
  EXPECT_TRUE(server().becomes(1, kRetries));
}

TEST_F(Tries, NoRepeatOnceTheAnswerHasBegun) {
  std::atomic<int> requests{0};
  ScriptedBackend half([&](TestSocket& s) {
    if (!s.read_request().complete) return;
    ++requests;
    s.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly a part");
    s.read_some(50);
    s.reset();
  });
  serve("http1", ", retry: {attempts: 3, backoff: 1ms, on: [reset, 5xx, gateway_error]}", "'" + half.address() + "'");
  HttpMessage answer = get();
  EXPECT_EQ(answer.status, 200);
  EXPECT_FALSE(answer.complete) << "a cut answer must look cut";
  EXPECT_EQ(requests, 1);
}

TEST_F(Tries, ABodyIsSentAgainWholeWhenItWasKept) {
  std::mutex mutex;
  std::vector<std::string> bodies;
  auto keep = [&](const HttpMessage& m) {
    std::lock_guard lock(mutex);
    bodies.push_back(m.body);
  };
  ScriptedBackend flaky({[&](TestSocket& s) {
                           HttpMessage m = s.read_request();
                           if (!m.complete) return;
                           keep(m);
                           s.reset();
                         },
                         [&](TestSocket& s) {
                           HttpMessage m = s.read_request();
                           keep(m);
                           s.send(http_ok("done"));
                           s.wait_end();
                         }});
  serve("http1", ", retry: {attempts: 1, backoff: 1ms, on: [reset], body_bytes_max: 64KiB}", "'" + flaky.address() + "'");
  const std::string body(20'000, 'b');
  EXPECT_EQ(get("PUT", body).body, "done");
  {
    std::lock_guard lock(mutex);
    EXPECT_EQ(bodies, (std::vector<std::string>{body, body}));
  }
}

TEST_F(Tries, ABodyOverTheLimitIsNotRepeated) {
  ScriptedBackend bad(reset_after_request());
  serve("http1", ", retry: {attempts: 3, backoff: 1ms, on: [reset], body_bytes_max: 1KiB}", "'" + bad.address() + "'");
  EXPECT_EQ(get("PUT", std::string(20'000, 'b')).status, 502);
  EXPECT_EQ(bad.connections(), 1);
  EXPECT_TRUE(server().becomes(0, kRetries));
}

TEST_F(Tries, AnswersThatSayNotNowAreRepeatedAndTheLastOneIsPassedOn) {
  std::atomic<int> requests{0};
  ScriptedBackend busy(scripts::http([&](const HttpMessage&) {
    ++requests;
    return std::string("HTTP/1.1 503 Busy\r\nx-from: backend\r\ncontent-length: 4\r\n\r\nbusy");
  }));
  serve("http1", ", retry: {attempts: 2, backoff: 1ms, on: [5xx]}", "'" + busy.address() + "'");
  HttpMessage answer = get();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.header("x-from"), "backend");
  EXPECT_EQ(answer.body, "busy");
  EXPECT_EQ(requests, 3);
  EXPECT_TRUE(server().becomes(2, kRetries));
}

TEST_F(Tries, WhenRetriesAreUsedUpTheBackendsAnswerIsPassedOn) {
  // One repeat may run at a time in the cluster; it is taken by a request that waits for its answer.
  std::atomic<int> seen{0};
  ScriptedBackend busy([&](TestSocket& s) {
    for (;;) {
      HttpMessage m = s.read_request();
      if (!m.complete) return;
      const int n = ++seen;
      if (m.target == "/hold" && n > 1) {
        s.wait_end();
        return;
      }
      if (!s.send("HTTP/1.1 503 Busy\r\nx-from: backend\r\ncontent-length: 4\r\n\r\nbusy")) return;
    }
  });
  serve("http1", ", retry: {attempts: 1, backoff: 1ms, on: [5xx]}", "'" + busy.address() + "'",
        ", limits: {retries: 1}");
  TestSocket holder = connect();
  holder.send("GET /hold HTTP/1.1\r\nhost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return seen == 2; }));
  HttpMessage answer = get();
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.header("x-from"), "backend") << "better the backend's own words than ours";
  EXPECT_EQ(answer.body, "busy");
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_overflows_total", {"limit=\"retries\""}));
}

TEST_F(Tries, AnIdleConnectionThatTheBackendClosedIsReplacedOnceWithoutAPolicy) {
  // The second request meets a connection that is reset when it is used.
  ScriptedBackend backend({[](TestSocket& s) {
                             if (!s.read_request().complete) return;
                             s.send(http_ok("one"));
                             if (s.read_request().complete) s.reset();
                           },
                           scripts::http("two")});
  serve("http1", "", "'" + backend.address() + "'");
  TestSocket s = connect();
  s.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().body, "one");
  s.send("GET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().body, "two");
  EXPECT_TRUE(server().becomes(0, kRetries)) << "the race is not counted as a retry of the policy";
}

TEST_F(Tries, ThatRaceIsNotRunForAPost) {
  std::atomic<int> posts{0};
  ScriptedBackend backend([&](TestSocket& s) {
    if (!s.read_request().complete) return;
    s.send(http_ok("one"));
    if (s.read_request().complete) {
      ++posts;
      s.reset();
    }
  });
  serve("http1", "", "'" + backend.address() + "'");
  TestSocket s = connect();
  s.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().body, "one");
  s.send("POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx");
  EXPECT_EQ(s.read_response().status, 502);
  EXPECT_EQ(posts, 1);
}

TEST_F(Tries, ABoundConnectionNeverRepeatsAndPassesTheBackendsRefusal) {
  std::atomic<int> requests{0};
  ScriptedBackend busy([&](TestSocket& s) {
    for (;;) {
      const std::string frame = s.read_bolt();
      if (frame.empty()) return;
      ++requests;
      BoltFrame answer = BoltFrame::response(bolt_id(frame), "from the backend");
      answer.status = kBoltBusy;
      if (!s.send(answer.bytes())) return;
    }
  });
  serve("bolt", ", retry: {attempts: 3, backoff: 1ms, on: [overloaded, reset], idempotent: true}",
        "'" + busy.address() + "'", ", pool: {mode: bound}");
  TestSocket s = connect();
  s.send(BoltFrame::request(1).bytes());
  const BoltParts a = read_answer(s);
  EXPECT_EQ(a.status, kBoltBusy);
  EXPECT_EQ(a.content, "from the backend");
  EXPECT_EQ(requests, 1);
  s.send(BoltFrame::request(2).bytes());
  EXPECT_EQ(read_answer(s).status, kBoltBusy) << "the pair of connections lives on";
}

// --- deadlines ---

TEST_F(Tries, TheTotalTimeoutEndsTheRequest) {
  ScriptedBackend silent(scripts::silent());
  serve("http1", ", timeout: 150ms", "'" + silent.address() + "'");
  const uint64_t began = steady_ms();
  EXPECT_EQ(get().status, 504);
  EXPECT_GE(steady_ms() - began, 140u);
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"upstream_timeout\""}));
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_requests_total", {"outcome=\"timeout\""}));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_connections_active")) << "an exclusive connection is not reused";
}

TEST_F(Tries, APerTryTimeoutIsRepeatedWithinTheTotal) {
  std::atomic<int> requests{0};
  ScriptedBackend backend({[&](TestSocket& s) {
                             if (s.read_request().complete) ++requests;
                             s.wait_end();
                           },
                           scripts::http("second")});
  serve("http1", ", timeout: 5s, per_try_timeout: 150ms, retry: {attempts: 1, backoff: 1ms, on: [timeout]}",
        "'" + backend.address() + "'");
  EXPECT_EQ(get().body, "second");
  EXPECT_EQ(requests, 1);
  EXPECT_TRUE(server().becomes(1, kRetries));
}

TEST_F(Tries, TheTotalTimeoutAlsoEndsTheBackOff) {
  RefusingPort nobody;
  serve("http1", ", timeout: 200ms, retry: {attempts: 10, backoff: 20s, backoff_max: 30s}", "'" + nobody.address() + "'");
  const uint64_t began = steady_ms();
  EXPECT_EQ(get().status, 504);
  EXPECT_LT(steady_ms() - began, 5000u);
}

TEST_F(Tries, TheCallersOwnDeadlineIsTheShorterOne) {
  ScriptedBackend silent(scripts::silent());
  serve("bolt", ", timeout: 60s", "'" + silent.address() + "'");
  TestSocket s = connect();
  BoltFrame f = BoltFrame::request(1);
  f.timeout_ms = 120;
  const uint64_t began = steady_ms();
  s.send(f.bytes());
  EXPECT_EQ(read_answer(s).status, kBoltTimeout);
  EXPECT_GE(steady_ms() - began, 110u);
  for (int32_t odd : {0, -1, INT32_MIN}) {  // none of its own: the route's
    BoltFrame g = BoltFrame::request(2);
    g.timeout_ms = odd;
    s.send(g.bytes());
  }
  EXPECT_EQ(s.read_some(200), "") << "no timeout given is no timeout of 0 ms";
}

TEST_F(Tries, AnAnswerThatStopsMovingEndsByTheIdleTimeout) {
  ScriptedBackend stuck([](TestSocket& s) {
    if (!s.read_request().complete) return;
    s.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome");
    s.wait_end();
  });
  serve("http1", ", timeout: 100ms, idle_timeout: 250ms", "'" + stuck.address() + "'");
  HttpMessage answer = get();
  EXPECT_EQ(answer.status, 200);
  EXPECT_FALSE(answer.complete);
  EXPECT_EQ(answer.body, "some");
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"stream_idle_timeout\""}));
}

TEST_F(Tries, AConnectThatDoesNotComeEndsByItsTimeout) {
  UnansweredPort nobody;
  serve("http1", "", "'" + nobody.address() + "'", ", connect_timeout: 200ms");
  EXPECT_EQ(get().status, 503);
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"connect_timeout\""}));
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_connect_timeouts_total"));
}

}  // namespace
}  // namespace dragoman::testing
