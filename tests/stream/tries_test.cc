// Repeats, deadlines and what a client sees when its backend fails at any stage.
#include <gtest/gtest.h>

#include <set>

#include "tests/http2/frames.h"
#include "tests/server/server_support.h"
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

// --- what nobody touched ---

/// A backend's end of an HTTP/2 connection.
class H2Peer {
 public:
  explicit H2Peer(TestSocket& s) : s_(s) {
    s_.read(h2::kPreface.size());
    s_.send(h2::frame(h2::kSettings, 0, 0));
  }
  /// The next whole request: its stream, 0 at the end, and its body.
  uint32_t next(std::string& body) {
    body.clear();
    for (;;) {
      const std::string head = s_.read(9);
      if (head.size() < 9) return 0;
      const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(head[i])); };
      const uint32_t n = byte(0) << 16 | byte(1) << 8 | byte(2);
      const std::string payload = s_.read(n);
      if (byte(3) == h2::kSettings && !(byte(4) & h2::kAck)) s_.send(h2::frame(h2::kSettings, h2::kAck, 0));
      if (byte(3) == h2::kData) {
        body += payload;
        s_.send(h2::frame(h2::kWindowUpdate, 0, 0, h2::u32(n ? n : 1)));
      }
      if ((byte(3) == h2::kHeaders || byte(3) == h2::kData) && byte(4) & h2::kEndStream)
        return byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8);
    }
  }
  void answer(uint32_t id) { s_.send(h2::frame(h2::kHeaders, h2::kEndHeaders | h2::kEndStream, id, "\x88")); }
  void refuse(uint32_t id) { s_.send(h2::frame(h2::kRstStream, 0, id, h2::u32(h2::kRefusedStream))); }
  void leave_before(uint32_t id) {
    s_.send(h2::frame(h2::kGoAway, 0, 0, h2::u32(id > 1 ? id - 2 : 0) + h2::u32(h2::kNoError)));
  }

 private:
  TestSocket& s_;
};

TEST_F(Tries, WhatTheBackendDidNotTouchIsSentAgainWhateverItIs) {
  for (const bool goaway : {false, true}) {
    for (const std::string& method : {"GET", "POST", "PUT"}) {
      SCOPED_TRACE(method + (goaway ? " goaway" : " refused"));
      std::mutex mutex;
      std::vector<std::string> bodies;
      bool first = true;
      ScriptedBackend backend([&](TestSocket& s) {
        H2Peer peer(s);
        std::string body;
        while (const uint32_t id = peer.next(body)) {
          std::lock_guard lock(mutex);
          if (std::exchange(first, false)) {
            goaway ? peer.leave_before(id) : peer.refuse(id);
            continue;
          }
          bodies.push_back(body);
          peer.answer(id);
        }
      });
      serve("http1", "", "'" + backend.address() + "'", ", protocol: http2");
      const std::string body = method == "GET" ? "" : std::string(30'000, 'b');
      EXPECT_EQ(get(method, body).status, 200);
      EXPECT_TRUE(server().becomes(1, "dragoman_cluster_repeats_total"));
      EXPECT_TRUE(server().becomes(0, kRetries)) << "no policy asked for it";
      std::lock_guard lock(mutex);
      EXPECT_EQ(bodies, std::vector<std::string>{body});
    }
  }
}

TEST_F(Tries, ABodyOverTheBoundIsNotKeptAndThatIsCounted) {
  std::atomic<int> requests{0};
  ScriptedBackend backend([&](TestSocket& s) {
    H2Peer peer(s);
    std::string body;
    while (const uint32_t id = peer.next(body)) {
      ++requests;
      peer.refuse(id);
    }
  });
  serve("http1", ", retry: {attempts: 0, body_bytes_max: 1KiB}", "'" + backend.address() + "'",
        ", protocol: http2");
  EXPECT_EQ(get("POST", std::string(20'000, 'b')).status, 503);
  EXPECT_EQ(requests, 1);
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_overflows_total", {"limit=\"retry_body\""}));
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"upstream_refused\""}));
}

TEST_F(Tries, RepeatsThatNobodyAskedForKeepTheBudgetToo) {
  ScriptedBackend backend([&](TestSocket& s) {
    H2Peer peer(s);
    std::string body;
    while (const uint32_t id = peer.next(body)) peer.refuse(id);
  });
  serve("http1", "", "'" + backend.address() + "'", ", protocol: http2, limits: {retries: 0}");
  EXPECT_EQ(get("POST", "x").status, 503);
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_overflows_total", {"limit=\"retries\""}));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_repeats_total"));
}

TEST_F(Tries, AnUnreachableEndpointIsReplacedByAnotherWithoutAPolicy) {
  RefusingPort nobody;
  ScriptedBackend good(scripts::http("good"));
  serve("http1", "", "'" + nobody.address() + "', '" + good.address() + "'");
  for (int i = 0; i < 6; ++i) EXPECT_EQ(get("POST", "body").body, "good");
  EXPECT_TRUE(server().becomes(0, kRetries));
  EXPECT_TRUE(server().becomes(6, "dragoman_cluster_repeats_total"));
  for (const char* mode : {"multiplex", "bound"}) {
    ScriptedBackend bolt(scripts::bolt());
    serve("bolt", "", "'" + nobody.address() + "', '" + bolt.address() + "'",
          std::string(", pool: {mode: ") + mode + "}");
    for (int i = 0; i < 4; ++i) {
      TestSocket s = connect();
      s.send(BoltFrame::request(1, "here").bytes());
      EXPECT_EQ(read_answer(s).content, "here") << mode;
    }
  }
}

TEST_F(Tries, APutThatMetAClosingConnectionIsSentAgainWithItsBody) {
  std::atomic<int> puts{0};
  ScriptedBackend backend({[&](TestSocket& s) {
                             if (!s.read_request().complete) return;
                             s.send(http_ok("one"));
                             if (s.read_request().complete) ++puts;
                             s.reset();
                           },
                           scripts::http([&](const HttpMessage& m) {
                             ++puts;
                             return http_ok(m.body);
                           })});
  serve("http1", "", "'" + backend.address() + "'");
  TestSocket s = connect();
  s.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().body, "one");
  s.send("PUT /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
  EXPECT_EQ(s.read_response().body, "body");
  EXPECT_EQ(puts, 2);
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_repeats_total"));
}

TEST_F(Tries, ARetryIsGivenBackWhenItsAnswerBegins) {
  std::mutex mutex;
  std::set<std::string> seen;
  ScriptedBackend backend([&](TestSocket& s) {
    for (;;) {
      HttpMessage m = s.read_request();
      if (!m.complete) return;
      bool first;
      {
        std::lock_guard lock(mutex);
        first = seen.insert(m.target).second;
      }
      if (first) {
        if (!s.send("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n")) return;
      } else if (m.target == "/long") {
        s.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun");
        s.wait_end();
        return;
      } else if (!s.send(http_ok("second"))) {
        return;
      }
    }
  });
  serve("http1", ", retry: {attempts: 1, backoff: 1ms, on: [5xx]}", "'" + backend.address() + "'",
        ", limits: {retries: 1}");
  TestSocket longer = connect();
  longer.send("GET /long HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_TRUE(longer.read_until("begun").ends_with("begun"));
  EXPECT_EQ(get().body, "second") << "the answer that streams holds none of them";
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_overflows_total", {"limit=\"retries\""}));
}

TEST_F(Tries, ACallThatItsServerCancelledIsCancelledAndNotRepeated) {
  std::atomic<int> calls{0};
  ScriptedBackend backend([&](TestSocket& s) {
    H2Peer peer(s);
    std::string body;
    while (const uint32_t id = peer.next(body)) {
      ++calls;
      s.send(h2::frame(h2::kRstStream, 0, id, h2::u32(h2::kCancel)));
    }
  });
  serve("http2",
        ", retry: {attempts: 2, backoff: 1ms, on: [reset, refused, gateway_error, 5xx], idempotent: true}",
        "'" + backend.address() + "'", ", protocol: http2");
  TestSocket s = connect();
  h2::Fields call = h2::post("/a.B/C");
  call.emplace_back("content-type", "application/grpc");
  call.emplace_back("te", "trailers");
  s.send(h2::hello() + h2::headers(1, call, h2::kEndHeaders) +
         h2::data(1, std::string(5, '\0'), h2::kEndStream));
  EXPECT_TRUE(server().becomes(1, "dragoman_requests_total", {"outcome=\"client_error\""}));
  EXPECT_EQ(calls, 1);
}

// --- statuses as the protocols have them ---

TEST_F(Tries, AnswersAreCountedByTheirOwnStatus) {
  const auto statuses = [this](std::initializer_list<std::pair<const char*, double>> wanted) {
    constexpr const char* kFamily = "dragoman_native_responses_total";
    double sum = 0;
    for (auto [status, value] : wanted) {
      const std::string label = "status=\"" + std::string(status) + '"';
      EXPECT_TRUE(server().becomes(value, kFamily, {label})) << status;
      sum += value;
    }
    EXPECT_EQ(server().metric(kFamily), sum) << "and no others";
  };
  {  // only what was passed on; our own answers are told by their reason
    std::atomic<int> requests{0};
    ScriptedBackend backend(scripts::http([&](const HttpMessage&) -> std::string {
      const int n = ++requests;
      if (n == 1) return "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n";
      return n == 4 ? "HTTP/1.1 404 X\r\ncontent-length: 0\r\n\r\n" : http_ok("good");
    }));
    serve("http1", ", retry: {attempts: 1, backoff: 1ms, on: [5xx]}", "'" + backend.address() + "'");
    for (int i = 0; i < 3; ++i) get();
    statuses({{"200", 2}, {"404", 1}});
  }
  {  // a gRPC status comes with the end; an answer that has none counts by that of HTTP
    ScriptedBackend backend([&](TestSocket& s) {
      H2Peer peer(s);
      std::string body;
      while (const uint32_t id = peer.next(body)) {
        const h2::Fields head{{":status", "200"}, {"content-type", "application/grpc"}};
        if (id == 5) {
          s.send(h2::headers(id, {{":status", "429"}}, h2::kEndHeaders | h2::kEndStream));
        } else {
          s.send(h2::headers(id, head, h2::kEndHeaders) + h2::data(id, std::string(5, '\0')) +
                 h2::headers(id, {{"grpc-status", id == 1 ? "0" : "5"}}, h2::kEndHeaders | h2::kEndStream));
        }
      }
    });
    serve("http2", "", "'" + backend.address() + "'", ", protocol: http2");
    TestSocket s = connect();
    h2::Fields call = h2::post("/a.B/C");
    call.emplace_back("content-type", "application/grpc");
    call.emplace_back("te", "trailers");
    s.send(h2::hello());
    for (uint32_t id : {1u, 3u, 5u})
      s.send(h2::headers(id, call, h2::kEndHeaders) + h2::data(id, std::string(5, '\0'), h2::kEndStream));
    statuses({{"0", 1}, {"5", 1}, {"429", 1}});
  }
  {
    BoltRecorder backend;
    serve("bolt", "", "'" + backend.address() + "'");
    TestSocket s = connect();
    s.send(BoltFrame::request(1).bytes());
    EXPECT_EQ(read_answer(s).status, kBoltSuccess);
    statuses({{"0", 1}});
  }
}

// --- bound clients whose routes disagree ---

TEST_F(Tries, ABoundClientsRequestsForAnotherClusterAreRefused) {
  BoltRecorder a, b;
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, routes: r}]\n"
                "routes:\n"
                "  - {name: r, routes: [{match: {service: svc.B}, cluster: b}, {cluster: a}]}\n"
                "clusters:\n"
                "  - {name: a, endpoints: ['$A'], pool: {mode: bound}}\n"
                "  - {name: b, endpoints: ['$B'], pool: {mode: bound}}\n",
                {{"A", a.address()}, {"B", b.address()}}),
        options);
  BoltFrame to_b = BoltFrame::request(2, "for b");
  to_b.header = kv("service", "svc.B") + kv("sofa_head_method_name", "m");
  TestSocket s = connect();
  s.send(BoltFrame::request(1, "for a").bytes());
  EXPECT_EQ(read_answer(s).content, "for a");
  s.send(to_b.bytes());
  EXPECT_NE(read_answer(s).status, kBoltSuccess);
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"bound_elsewhere\""}));
  EXPECT_TRUE(s.closed_by_peer()) << "idle: the client's next connection may be bound to b";
  EXPECT_EQ(a.count(), 1u);
  EXPECT_EQ(b.count(), 0u);
  TestSocket again = connect();
  again.send(to_b.bytes());
  EXPECT_EQ(read_answer(again).content, "for b");
}

// --- whose fault ---

TEST_F(Tries, WhatIsNotTheEndpointsFaultDoesNotEjectIt) {
  const std::string outlier = ", outlier: {consecutive_failures: 2, max_ejection_percent: 100}";
  ScriptedBackend silent(scripts::silent());
  {  // callers in a hurry
    serve("bolt", "", "'" + silent.address() + "'", outlier);
    for (uint32_t i = 1; i <= 5; ++i) {
      TestSocket s = connect();
      BoltFrame f = BoltFrame::request(i);
      f.timeout_ms = 30;
      s.send(f.bytes());
      EXPECT_EQ(read_answer(s).status, kBoltTimeout);
    }
    EXPECT_TRUE(server().becomes(5, kReasons, {"reason=\"caller_timeout\""}));
    EXPECT_TRUE(server().becomes(0, "dragoman_cluster_ejections_total"));
  }
  {  // clients that stop in the middle of their bodies
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c, "
                  "http: {body_idle_timeout: 100ms}}]\n"
                  "clusters: [{name: c, endpoints: ['$UP']$MORE}]\n",
                  {{"UP", silent.address()}, {"MORE", outlier}}),
          options);
    for (int i = 0; i < 5; ++i) {
      TestSocket s = connect();
      s.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nhalf");
      EXPECT_EQ(s.read_response().status, 408);
    }
    EXPECT_TRUE(server().becomes(0, "dragoman_cluster_ejections_total"));
  }
  {  // an endpoint that answers too late is at fault
    serve("http1", ", timeout: 50ms", "'" + silent.address() + "'", outlier);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(get().status, 504);
    EXPECT_TRUE(server().becomes(1, "dragoman_cluster_ejections_total"));
  }
  {  // and so is one whose TLS handshake fails
    ScriptedBackend plain([](TestSocket& s) {
      s.read_some(2'000);
      s.send("this is not TLS\r\n");
      s.wait_end();
    });
    serve("http1", "", "'" + plain.address() + "'", outlier + ", tls: {verify: false}");
    for (int i = 0; i < 2; ++i) EXPECT_EQ(get().status, 503);
    EXPECT_TRUE(server().becomes(1, "dragoman_cluster_ejections_total"));
  }
}

TEST_F(Tries, StreamsCutWithTheirListenerDoNotEject) {
  ScriptedBackend silent(scripts::silent());
  const std::string yaml = fill_in(
      "listeners:\n  - {name: stays, address: '127.0.0.1:0', protocol: http1, cluster: c}\n$IN"
      "clusters: [{name: c, endpoints: ['$UP'], outlier: {consecutive_failures: 2, max_ejection_percent: "
      "100}}]\n",
      {{"UP", silent.address()}});
  auto with = [&](const std::string& in) { return fill_in(yaml, {{"IN", in}}); };
  TestServer::Options options;
  options.workers = 1;
  options.drain = "{deadline: 100ms, idle_grace: 10ms}";
  TempDir dir;
  options.file = dir.file("dragoman.yaml");
  start(with("  - {name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}\n"), options);
  std::vector<TestSocket> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(connect());
    clients.back().send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  }
  EXPECT_TRUE(server().becomes(4, "dragoman_cluster_requests_active"));
  server().write_file(with(""));
  EXPECT_EQ(server().admin("POST", "/reload").status, 200);
  for (TestSocket& s : clients) EXPECT_TRUE(s.closed_by_peer());
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_active"));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_ejections_total"));
}

// --- deadlines ---

TEST_F(Tries, AListenerAndAClusterHaveTimeoutsAndRetriesWithoutRoutes) {
  struct Case {
    const char* listener;
    const char* cluster;
    int status;
    int requests;
  };
  const Case cases[] = {
      {", timeout: 50ms", "", 504, 1},
      {"", ", timeout: 50ms", 504, 1},
      {", timeout: 50ms", ", timeout: 100s", 200, 1},  // the cluster knows its servers
      {", retry: {attempts: 1, backoff: 1ms, on: [5xx]}", ", timeout: 100s", 200, 2},
      {"", ", timeout: 100s, retry: {attempts: 1, backoff: 1ms, on: [5xx]}", 200, 2},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.listener) + c.cluster);
    std::atomic<int> requests{0};
    ScriptedBackend backend(scripts::http([&](const HttpMessage&) -> std::string {
      const bool bad = ++requests < c.requests;
      sleep_ms(300);
      return bad ? "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n" : http_ok("good");
    }));
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c$L}]\n"
                  "clusters: [{name: c, endpoints: ['$UP']$C}]\n",
                  {{"L", c.listener}, {"C", c.cluster}, {"UP", backend.address()}}),
          options);
    EXPECT_EQ(get().status, static_cast<uint32_t>(c.status));
    EXPECT_EQ(requests, c.requests);
  }
}

TEST_F(Tries, TheCallersOwnDeadlineWinsUpToTheCap) {
  struct Case {
    const char* route;
    bool answered;
  };
  const Case cases[] = {
      {", timeout: 50ms, timeout_max: 0", true},
      {", timeout: 50ms, timeout_max: 100s", true},
      {", timeout: 50ms", false},  // what is written is a cap, too
      {", timeout: 100s, timeout_max: 50ms", false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.route);
    ScriptedBackend slow([](TestSocket& s) {
      const std::string frame = s.read_bolt();
      if (frame.empty()) return;
      sleep_ms(300);
      s.send(BoltFrame::response(bolt_id(frame), "late").bytes());
      s.wait_end();
    });
    serve("bolt", c.route, "'" + slow.address() + "'");
    TestSocket s = connect();
    BoltFrame f = BoltFrame::request(1);
    f.timeout_ms = 60'000;
    s.send(f.bytes());
    EXPECT_EQ(read_answer(s).status, c.answered ? kBoltSuccess : kBoltTimeout);
  }
}

TEST_F(Tries, ARequestThatWaitsHereRunsItsClockHoweverLongItIs) {
  ScriptedBackend endless([](TestSocket& s) {
    if (!s.read_request().complete) return;
    s.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nbegun");
    s.wait_end();
  });
  serve("http1", ", timeout: 200ms", "'" + endless.address() + "'", ", limits: {connections: 1}");
  TestSocket first = connect();
  first.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_TRUE(first.read_until("begun").ends_with("begun"));
  TestSocket second = connect();
  second.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000000\r\n\r\n");
  second.send_some(std::string(4 << 20, 'b'));
  EXPECT_EQ(second.read_response().status, 504) << "paused by us, it will never be complete";
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"upstream_timeout\""}));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_pending"));
}

TEST_F(Tries, OneSlowCallDoesNotEndABoundPair) {
  ScriptedBackend backend([](TestSocket& s) {
    for (;;) {
      const std::string frame = s.read_bolt();
      if (frame.empty()) return;
      if (bolt_parts(frame).content != "slow") s.send(BoltFrame::response(bolt_id(frame), "fast").bytes());
    }
  });
  serve("bolt", ", timeout: 100ms", "'" + backend.address() + "'", ", pool: {mode: bound}");
  TestSocket s = connect();
  s.send(BoltFrame::request(1, "slow").bytes());
  EXPECT_EQ(read_answer(s).status, kBoltTimeout);
  s.send(BoltFrame::request(2, "quick").bytes());
  EXPECT_EQ(read_answer(s).content, "fast");
  EXPECT_EQ(backend.connections(), 1);
}

TEST_F(Tries, BytesThatASlowClientTakesAreMovement) {
  constexpr size_t kSize = 24 << 20;
  ScriptedBackend big([](TestSocket& s) {
    if (!s.read_request().complete) return;
    s.send("HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(kSize) + "\r\n\r\n");
    s.send(std::string(kSize, 'x'));
    s.wait_end();
  });
  serve("http1", ", idle_timeout: 600ms", "'" + big.address() + "'");
  TestSocket s = TestSocket::connect(server().port("in"), 65'536);
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_TRUE(s.read_until("\r\n\r\n").ends_with("\r\n\r\n"));
  uint64_t taken = 0;
  for (int i = 0; i < 25; ++i) {
    taken += s.discard(30'000);
    sleep_ms(100);
  }
  taken += s.discard(kSize - taken);
  EXPECT_EQ(taken, kSize);
  EXPECT_TRUE(server().becomes(0, kReasons, {"reason=\"stream_idle_timeout\""}));
  EXPECT_TRUE(server().becomes(0, kReasons, {"reason=\"write_stall\""}));
}

TEST_F(Tries, AnExchangeWithoutADeadlineEndsBySilence) {
  ScriptedBackend silent(scripts::silent());
  serve("http1", ", timeout: 0, idle_timeout: 100ms", "'" + silent.address() + "'");
  EXPECT_EQ(get().status, 504);
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"upstream_idle_timeout\""}));
}

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
