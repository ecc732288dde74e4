// HTTP/1 through the whole engine over real sockets: what a codec alone can't show.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/scripted_backend.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {
namespace {

const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

class Http1Engine : public ServerTest {
 protected:
  Http1Engine() { gauges_end_at_zero_ = true; }
  /// One listener in front of `backend`; `http` and `listener` are further keys, `route` those of its only route.
  void run(const ScriptedBackend& backend, const std::string& http = "", const std::string& listener = "",
           const std::string& route = "") {
    TestServer::Options options;
    options.workers = 1;  // one pool
    start(fill_in(R"(
listeners:
  - {name: in, address: 127.0.0.1:0, protocol: http1, routes: all, http: {$HTTP}, $LISTENER}
routes:
  - {name: all, routes: [{cluster: up, $ROUTE}]}
clusters:
  - {name: up, endpoints: [$BACKEND]}
)",
                  {{"HTTP", http}, {"LISTENER", listener}, {"ROUTE", route}, {"BACKEND", backend.address()}}),
          options);
  }
  HttpMessage ask(TestSocket& s, std::string_view bytes, bool head = false) {
    EXPECT_TRUE(s.send(bytes));
    return s.read_response(head);
  }
  ::testing::AssertionResult counted(std::string_view reason, double n = 1) {
    return server().becomes(n, "dragoman_listener_protocol_errors_total", {"reason=\"" + std::string(reason) + "\""});
  }
};

// --- refused requests ------------------------------------------------------------------------------------------------

TEST_F(Http1Engine, NothingOfARefusedRequestGoesOn) {
  ScriptedBackend backend(scripts::http("no"));
  run(backend, "header_bytes_max: 1KiB, headers_max: 10, uri_bytes_max: 256B, body_bytes_max: 100B");
  struct Row {
    std::string bytes;
    int status;
  };
  const std::string post = "POST / HTTP/1.1\r\nHost: a\r\n";
  std::string many;
  for (int i = 0; i < 11; ++i) many += "a: b\r\n";
  const std::vector<Row> rows = {
      {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400},
      {post + "Content-Length: +5\r\n\r\nhello", 400},
      {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
      {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\na: b\r\n c: d\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nx: \x01\r\n\r\n", 400},
      {"GET / HTTP/1.1\nHost: a\n\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /..%2f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"GET /" + std::string(300, 'u') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
      {"GET / HTTP/1.1\r\nHost: a\r\n" + many + "\r\n", 431},
      {"GET / HTTP/1.1\r\nHost: a\r\nx: " + std::string(2000, 'v') + "\r\n\r\n", 431},
      {post + "Content-Length: 101\r\n\r\n" + std::string(101, 'b'), 413},
      {"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405},
      {"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501},
      {"FROB / HTTP/1.1\r\nHost: a\r\n\r\n", 501},
      {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"GET / HTTP/0.9\r\n\r\n", 505},
      {"GET /\r\n\r\n", 400},
      {post + "Expect: magic\r\nContent-Length: 1\r\n\r\nx", 417},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.bytes.substr(0, 100));
    TestSocket s = connect();
    HttpMessage answer = ask(s, row.bytes + kGet);
    EXPECT_EQ(answer.status, row.status);
    EXPECT_EQ(answer.header("connection"), "close");
    EXPECT_EQ(s.read_to_end(), "") << "one answer, then the end";
    EXPECT_EQ(s.end(), End::kEof) << "not a reset, which could destroy the answer";
  }
  EXPECT_EQ(backend.connections(), 0);
  EXPECT_EQ(server().metric("dragoman_listener_protocol_errors_total"), static_cast<double>(rows.size()));
  EXPECT_EQ(server().metric("dragoman_listener_limit_hits_total", {"limit=\"head_bytes\""}), 1);
  EXPECT_EQ(server().metric("dragoman_listener_limit_hits_total", {"limit=\"headers\""}), 1);
  EXPECT_EQ(server().metric("dragoman_listener_limit_hits_total", {"limit=\"uri_bytes\""}), 1);
  EXPECT_EQ(server().metric("dragoman_listener_limit_hits_total", {"limit=\"body_bytes\""}), 1);
  // The next connection is served as if nothing had been.
  TestSocket s = connect();
  EXPECT_EQ(ask(s, kGet).body, "no");
}

TEST_F(Http1Engine, ABadBodyNeverEndsCleanly) {
  std::atomic<int> complete{0}, cut{0};
  ScriptedBackend backend([&](TestSocket& s) {
    HttpMessage m = s.read_request();
    if (!m.head.empty()) ++(m.complete ? complete : cut);
  });
  run(backend);
  for (std::string_view rest : {"x\r\n", "1\nx\r\n0\r\n\r\n", "2\r\nhiX", "0\r\na b: c\r\n\r\n"}) {
    TestSocket s = connect();
    HttpMessage answer = ask(s, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n" + std::string(rest));
    EXPECT_EQ(answer.status, 400);
    EXPECT_TRUE(s.closed_by_peer());
  }
  EXPECT_TRUE(eventually([&] { return backend.active() == 0; }));
  EXPECT_EQ(complete, 0);
}

TEST_F(Http1Engine, WhatIsMatchedIsWhatIsForwarded) {
  ScriptedBackend backend(scripts::http([](const HttpMessage& m) { return http_ok(m.target + " " + m.header("host") + " " + m.header("x")); }));
  TestServer::Options options;
  options.workers = 1;
  start(fill_in(R"(
listeners:
  - {name: in, address: 127.0.0.1:0, protocol: http1, routes: all}
routes:
  - name: all
    routes:
      - {match: {prefix: /admin}, direct_response: {status: 403}}
      - {match: {prefix: /}, cluster: up}
clusters:
  - {name: up, endpoints: [$BACKEND]}
)",
                {{"BACKEND", backend.address()}}),
        options);
  TestSocket s = connect();
  for (std::string_view hidden : {"/admin", "//admin", "/x/../admin", "/%61dmin", "/x/%2e%2e/admin", "/./admin/", "http://a//admin"})
    EXPECT_EQ(ask(s, "GET " + std::string(hidden) + " HTTP/1.1\r\nHost: a\r\n\r\n").status, 403) << hidden;
  EXPECT_EQ(ask(s, "GET /x/..//y/%7e?q=/../ HTTP/1.1\r\nHost: a\r\n\r\n").body, "/y/~?q=/../ a -");
  EXPECT_EQ(ask(s, "GET http://a:80/y HTTP/1.1\r\nHost: a\r\nConnection: x\r\nX: 1\r\n\r\n").body, "/y a:80 -");
}

// --- deadlines -------------------------------------------------------------------------------------------------------

TEST_F(Http1Engine, ASlowHeadGets408) {
  ScriptedBackend backend(scripts::http("ok"));
  run(backend, "header_timeout: 200ms");
  {
    TestSocket s = connect();
    HttpMessage answer = ask(s, "GET / HTTP/1.1\r\nHo");
    EXPECT_EQ(answer.status, 408);
    EXPECT_EQ(answer.header("connection"), "close");
    EXPECT_TRUE(s.closed_by_peer());
  }
  {
    // A byte now and then does not help.
    TestSocket s = connect();
    const uint64_t begin = steady_ms();
    std::string got;
    for (int i = 0; i < 200 && got.empty(); ++i) {
      s.send(i == 0 ? "GET / HTTP/1.1\r\nx: " : "y");
      got = s.read_some(20);
    }
    EXPECT_TRUE(got.starts_with("HTTP/1.1 408 "));
    EXPECT_GE(steady_ms() - begin, 190u);
  }
  {
    // Nor does an earlier request.
    TestSocket s = connect();
    EXPECT_EQ(ask(s, kGet).body, "ok");
    EXPECT_EQ(ask(s, "GET").status, 408);
  }
  {
    // Nor that the head began behind a request that was still being served.
    TestSocket s = connect();
    EXPECT_EQ(ask(s, kGet + "GET / HT").body, "ok");
    EXPECT_EQ(s.read_response().status, 408);
  }
  EXPECT_EQ(backend.connections(), 1);
  EXPECT_TRUE(counted("head_timeout", 4));
}

TEST_F(Http1Engine, AStoppedBodyGets408) {
  std::atomic<int> complete{0};
  ScriptedBackend backend([&](TestSocket& s) {
    HttpMessage m = s.read_request();
    if (m.complete) {
      ++complete;
      s.send(http_ok(m.body));
    }
  });
  run(backend, "body_idle_timeout: 800ms");
  {
    TestSocket s = connect();
    HttpMessage answer = ask(s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    EXPECT_EQ(answer.status, 408);
    EXPECT_TRUE(s.closed_by_peer());
    EXPECT_TRUE(eventually([&] { return backend.active() == 0; })) << "the backend is let go";
    EXPECT_EQ(complete, 0);
  }
  {
    // A slow one that moves is served.
    TestSocket s = connect();
    s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
    for (char c = '0'; c <= '9'; ++c) {
      EXPECT_EQ(s.read_some(100), "");
      s.send({&c, 1});
    }
    EXPECT_EQ(s.read_response().body, "0123456789");
  }
  EXPECT_TRUE(counted("body_timeout"));
}

TEST_F(Http1Engine, ABodyThatWeHoldUpIsNotTooSlow) {
  const size_t n = 24 << 20;
  ScriptedBackend backend({[&](TestSocket& s) {
                            s.read_until("\r\n\r\n");
                            sleep_ms(1500);  // longer than the client may be silent
                            s.send(http_ok(s.discard(n) == n ? "all" : "part"));
                          }},
                          {.receive_buffer_bytes = 64 << 10});
  run(backend, "body_idle_timeout: 1s");
  TestSocket s = connect();
  s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(n) + "\r\n\r\n");
  EXPECT_TRUE(s.send(std::string(n, 'b')));
  EXPECT_EQ(s.read_response().body, "all");
}

TEST_F(Http1Engine, IdleConnectionsAreClosedWithoutAWord) {
  ScriptedBackend backend(scripts::http("ok"));
  run(backend, "", "idle_timeout: 200ms");
  TestSocket fresh = connect();
  TestSocket used = connect();
  EXPECT_EQ(ask(used, kGet).body, "ok");
  EXPECT_EQ(fresh.read_to_end(), "");
  EXPECT_EQ(fresh.end(), End::kEof);
  EXPECT_EQ(used.read_to_end(), "");
  EXPECT_EQ(used.end(), End::kEof);
}

TEST_F(Http1Engine, AClientThatNeverReadsIsDropped) {
  std::atomic<bool> sent_all{false}, over{false};
  ScriptedBackend backend([&](TestSocket& s) {
    s.read_request();
    sent_all = s.send("HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n" + std::string(64 << 20, 'x'));
    over = true;
  });
  run(backend, "", "buffer: {high: 64KiB, low: 16KiB, write_stall_timeout: 300ms}");
  TestSocket s = TestSocket::connect(server().port("in"), 32 << 10);
  s.send(kGet);
  EXPECT_TRUE(counted("write_stall"));
  EXPECT_EQ(server().metric("dragoman_listener_limit_hits_total", {"limit=\"write_buffer\""}), 1);
  EXPECT_TRUE(eventually([&] { return over.load(); })) << "the backend is let go";
  EXPECT_FALSE(sent_all);
  EXPECT_LT(s.discard(100 << 20), uint64_t{64} << 20);
  EXPECT_TRUE(s.closed_by_peer());
}

TEST_F(Http1Engine, ABackendThatNeverAnswersAnUpgradeIsGivenUp) {
  ScriptedBackend backend(scripts::silent());
  run(backend, "", "", "timeout: 300ms");
  TestSocket s = connect();
  EXPECT_EQ(ask(s, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").status, 504);
}

// --- the connection to the backend -----------------------------------------------------------------------------------

/// Answers one request, then reads the next one and does `then`.
ScriptedBackend::Script one_then(std::function<void(TestSocket&)> then) {
  return [then = std::move(then)](TestSocket& s) {
    s.read_request();
    s.send(http_ok("first"));
    if (!s.read_request().head.empty()) then(s);
  };
}

TEST_F(Http1Engine, KeepAliveRaceIsRepeatedWhenThatIsSafe) {
  for (bool with_reset : {false, true}) {
    ScriptedBackend backend({one_then([with_reset](TestSocket& s) { with_reset ? s.reset() : s.close(); }), scripts::http("second")});
    run(backend);
    TestSocket s = connect();
    EXPECT_EQ(ask(s, kGet).body, "first");
    EXPECT_EQ(ask(s, kGet).body, "second") << "repeated on a new connection, without a policy";
    EXPECT_EQ(backend.connections(), 2);
    s.close();
    stop();
  }
}

TEST_F(Http1Engine, KeepAliveRaceIsNotRepeatedForAPost) {
  ScriptedBackend backend({one_then([](TestSocket& s) { s.close(); }), scripts::http("second")});
  run(backend);
  TestSocket s = connect();
  EXPECT_EQ(ask(s, kGet).body, "first");
  EXPECT_EQ(ask(s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").status, 502);
  EXPECT_EQ(backend.connections(), 1);
}

TEST_F(Http1Engine, NothingIsRepeatedOnceAnAnswerHasBegun) {
  for (std::string_view part : {"H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"}) {
    ScriptedBackend backend({one_then([part](TestSocket& s) { s.send(part); }), scripts::http("second")});
    run(backend);
    TestSocket s = connect();
    EXPECT_EQ(ask(s, kGet).body, "first");
    EXPECT_EQ(ask(s, kGet).status, 502) << part;
    EXPECT_EQ(backend.connections(), 1);
    s.close();
    stop();
  }
}

TEST_F(Http1Engine, ARepeatIsNotRepeated) {
  ScriptedBackend backend({one_then([](TestSocket& s) { s.close(); }), [](TestSocket& s) { s.read_request(); }});
  run(backend);
  TestSocket s = connect();
  EXPECT_EQ(ask(s, kGet).body, "first");
  EXPECT_EQ(ask(s, kGet).status, 502);
  EXPECT_EQ(backend.connections(), 2);
}

TEST_F(Http1Engine, AConnectionClosedWhileIdleIsNotUsed) {
  ScriptedBackend backend({[](TestSocket& s) {
                             s.read_request();
                             s.send(http_ok("first"));
                           },
                           scripts::http("second")});
  run(backend);
  TestSocket s = connect();
  EXPECT_EQ(ask(s, kGet).body, "first");
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_connections_active"));
  EXPECT_EQ(ask(s, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").body, "second");
}

TEST_F(Http1Engine, BytesBehindAnAnswerAreNobodys) {
  const std::string poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
  struct Row {
    std::string request, answer;
    int status;
  };
  const std::string head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const Row& row : {Row{kGet, "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n", 204}, Row{kGet, "HTTP/1.1 304 Not Modified\r\n\r\n", 304},
                         Row{head, "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n", 200}, Row{kGet, http_ok("ok"), 200}}) {
    SCOPED_TRACE(row.answer);
    ScriptedBackend backend({[&](TestSocket& s) {
                               s.read_request();
                               s.send(row.answer + poison);
                               s.wait_end();
                             },
                             scripts::http("second")});
    run(backend);
    TestSocket s = connect();
    EXPECT_EQ(ask(s, row.request, row.request == head).status, row.status);
    EXPECT_EQ(ask(s, kGet).body, "second");
    s.close();
    stop();
  }
}

TEST_F(Http1Engine, BadAnswersBecome502) {
  for (std::string_view bad :
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "HTTP/1.1 200OK\r\n\r\n", "hello\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n"}) {
    SCOPED_TRACE(bad);
    ScriptedBackend backend([bad](TestSocket& s) {
      s.read_request();
      s.send(bad);
      s.wait_end();
    });
    run(backend);
    TestSocket s = connect();
    HttpMessage answer = ask(s, kGet);
    EXPECT_EQ(answer.status, 502);
    EXPECT_EQ(answer.body, "upstream_protocol_error");
    EXPECT_EQ(ask(s, kGet).status, 502) << "the client's connection is as good as before";
    s.close();
    stop();
  }
}

TEST_F(Http1Engine, AnAnswerThatBreaksOffNeverEndsCleanly) {
  for (std::string_view part : {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"}) {
    ScriptedBackend backend([part](TestSocket& s) {
      s.read_request();
      s.send(part);
    });
    run(backend);
    TestSocket s = connect();
    HttpMessage answer = ask(s, kGet);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "hello");
    EXPECT_FALSE(answer.complete);
    EXPECT_TRUE(s.closed_by_peer());
    s.close();
    stop();
  }
}

TEST_F(Http1Engine, CloseDelimitedAnswersAreRechunked) {
  ScriptedBackend backend([](TestSocket& s) {
    s.read_request();
    s.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  });
  run(backend);
  TestSocket s = connect();
  HttpMessage answer = ask(s, kGet);
  EXPECT_TRUE(answer.chunked && answer.complete);
  EXPECT_EQ(answer.body, "until the end");
  answer = ask(s, "GET / HTTP/1.0\r\n\r\n");
  EXPECT_FALSE(answer.chunked);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_EQ(answer.body, "until the end");
}

// --- 100-continue and upgrade ----------------------------------------------------------------------------------------

TEST_F(Http1Engine, ContinueComesFromTheBackend) {
  ScriptedBackend backend([](TestSocket& s) {
    std::string head = s.read_until("\r\n\r\n");
    if (head.find("expect: 100-continue\r\n") == std::string::npos) return;
    if (!s.read_some(100).empty()) return;  // no body before it was asked for
    s.send("HTTP/1.1 100 Continue\r\n\r\n");
    s.send(http_ok(s.read(5)));
    s.wait_end();
  });
  run(backend);
  TestSocket s = connect();
  s.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(s.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(ask(s, "hello").body, "hello");
}

TEST_F(Http1Engine, FinalAnswerBefore100StaysInStep) {
  ScriptedBackend backend({[](TestSocket& s) {
                             s.read_until("\r\n\r\n");
                             s.send("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
                             s.wait_end();
                           },
                           scripts::http("next")});
  run(backend);
  TestSocket s = connect();
  HttpMessage answer = ask(s, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(answer.status, 417);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(s.closed_by_peer());
  TestSocket other = connect();
  EXPECT_EQ(ask(other, kGet).body, "next") << "on a new connection: the first one may still wait for a body";
  EXPECT_EQ(backend.connections(), 2);
}

const std::string kUpgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

TEST_F(Http1Engine, NothingOfATunnelBeforeThe101) {
  std::string before, after;
  ScriptedBackend backend([&](TestSocket& s) {
    s.read_until("\r\n\r\n");
    before = s.read_some(150);
    s.send("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nwelcome");
    after = s.read_to_end();
    s.send("bye");
  });
  run(backend);
  TestSocket s = connect();
  s.send(kUpgrade + "early");
  HttpMessage answer = s.read_response();
  EXPECT_EQ(answer.status, 101);
  EXPECT_EQ(s.read(7), "welcome");
  s.send(" late");
  s.finish();
  EXPECT_EQ(s.read_to_end(), "bye") << "each half is closed by its sender";
  stop();
  EXPECT_EQ(before, "");
  EXPECT_EQ(after, "early late");
}

TEST_F(Http1Engine, ATunnelIsOverForItsClusterWhoeverEndsFirst) {
  for (bool backend_first : {true, false}) {
    ScriptedBackend backend([&](TestSocket& s) {
      s.read_until("\r\n\r\n");
      s.send("HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
      if (!backend_first) s.read_to_end();
      s.finish();
      s.read_to_end();
    });
    run(backend);
    TestSocket s = connect();
    s.send(kUpgrade);
    EXPECT_EQ(s.read_response().status, 101);
    EXPECT_TRUE(server().becomes(1, "dragoman_cluster_requests_active"));
    if (backend_first) {
      EXPECT_EQ(s.read_to_end(), "");
    }
    s.finish();
    if (!backend_first) {
      EXPECT_EQ(s.read_to_end(), "");
    }
    EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
    EXPECT_EQ(server().metric("dragoman_cluster_requests_active"), 0) << backend_first;
    EXPECT_EQ(server().metric("dragoman_cluster_requests_total", {"outcome=\"ok\""}), 1) << backend_first;
    stop();
  }
}

TEST_F(Http1Engine, EarlyBytesOfADeclinedUpgradeAreRequests) {
  std::atomic<int> requests{0};
  ScriptedBackend backend(scripts::http([&](const HttpMessage& m) {
    ++requests;
    return http_ok(m.target);
  }));
  run(backend);
  TestSocket s = connect();
  EXPECT_EQ(ask(s, kUpgrade + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n").body, "/ws");
  EXPECT_EQ(s.read_response().body, "/next");
  TestSocket frames = connect();
  EXPECT_EQ(ask(frames, kUpgrade + "\x81\x02hi").body, "/ws");
  EXPECT_EQ(frames.read_response().status, 400);
  EXPECT_EQ(requests, 3);
}

// --- many ------------------------------------------------------------------------------------------------------------

TEST_F(Http1Engine, AThousandPipelinedRequestsUnread) {
  std::atomic<int> served{0};
  const std::string body(20'000, 'b');
  ScriptedBackend backend(scripts::http([&](const HttpMessage& m) {
    ++served;
    return http_ok(m.target + " " + body);
  }));
  run(backend, "", "buffer: {high: 64KiB, low: 16KiB}");
  TestSocket s = TestSocket::connect(server().port("in"), 32 << 10);
  std::string all;
  for (int i = 0; i < 1000; ++i) all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  size_t sent = 0;
  int last = -1;
  // Until nothing moves any more.
  EXPECT_TRUE(eventually([&] {
    sent += s.send_some(std::string_view(all).substr(sent));
    if (last == served) return true;
    last = served;
    sleep_ms(200);
    return false;
  }));
  EXPECT_LT(served, 900) << "who does not read his answers is not asked for more";
  EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
  std::thread rest([&] { s.send(std::string_view(all).substr(sent)); });
  for (int i = 0; i < 1000; ++i) {
    HttpMessage answer = s.read_response();
    ASSERT_EQ(answer.body.substr(0, answer.body.find(' ')), "/" + std::to_string(i));
    ASSERT_EQ(answer.body.size(), body.size() + 2 + std::to_string(i).size());
  }
  rest.join();
  EXPECT_EQ(served, 1000);
  EXPECT_EQ(backend.connections(), 1);
}

TEST_F(Http1Engine, AThousandPipelinedLocalAnswersUnread) {
  ScriptedBackend backend(scripts::http("never"));
  const std::string body(50'000, 'b');
  TestServer::Options options;
  options.workers = 1;
  start(fill_in(R"(
listeners:
  - {name: in, address: 127.0.0.1:0, protocol: http1, routes: all, buffer: {high: 64KiB, low: 16KiB}}
routes:
  - {name: all, routes: [{direct_response: {status: 200, body: "$BODY"}}]}
)",
                {{"BODY", body}}),
        options);
  TestSocket s = TestSocket::connect(server().port("in"), 4 << 10);
  std::string all;
  for (int i = 0; i < 1000; ++i) all += kGet;
  ASSERT_TRUE(s.send(all)) << "little more than one read";
  EXPECT_TRUE(eventually([&] { return server().metric("dragoman_requests_total") > 0; }));
  sleep_ms(100);
  EXPECT_LT(server().metric("dragoman_requests_total"), 200)
      << "who does not read his answers gets no more of them";
  for (int i = 0; i < 1000; ++i) {
    HttpMessage answer = s.read_response();
    ASSERT_EQ(answer.status, 200) << i;
    ASSERT_EQ(answer.body.size(), body.size());
  }
  EXPECT_EQ(ask(s, kGet).body.size(), body.size()) << "and the connection goes on";
}

// --- the end of connections ------------------------------------------------------------------------------------------

TEST_F(Http1Engine, AnEarlyAnswerReachesAClientThatGoesOnSending) {
  ScriptedBackend backend([](TestSocket& s) {
    s.read_until("\r\n\r\n");
    s.send("HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    s.finish();
    s.read_to_end();
  });
  run(backend, "body_bytes_max: 3MiB");
  const std::string piece(64 << 10, 'z');
  for (int size : {8, 40, 100, 300}) {  // pieces; the last ones over our own limit
    for (bool chunked : {false, true}) {
      SCOPED_TRACE(size);
      TestSocket s = connect();
      bool sent = s.send("POST / HTTP/1.1\r\nHost: a\r\n" +
                         (chunked ? std::string("Transfer-Encoding: chunked")
                                  : "Content-Length: " + std::to_string(size * piece.size())) +
                         "\r\n\r\n");
      for (int i = 0; i < size && sent; ++i) sent = s.send(chunked ? "10000\r\n" + piece + "\r\n" : piece);
      EXPECT_TRUE(sent) << "nobody resets the connection";
      HttpMessage answer = s.read_response();
      EXPECT_EQ(answer.status, 413);
    }
  }
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_lingering"));
}

TEST_F(Http1Engine, LingeringHasBounds) {
  ScriptedBackend backend(scripts::http("ok"));
  const std::string last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  run(backend, "",
      "connections_max: 6, linger: {timeout: 1h, idle_timeout: 1h, connections_max: 4, bytes_max: 1MiB}");
  std::vector<TestSocket> sockets;
  auto close_one = [&] {
    sockets.push_back(connect());
    EXPECT_EQ(ask(sockets.back(), last).body, "ok");
    EXPECT_EQ(sockets.back().read_to_end(), "");
  };
  // Their number: the oldest goes.
  for (int i = 0; i < 5; ++i) close_one();
  EXPECT_TRUE(server().becomes(4, "dragoman_listener_connections_lingering"));
  EXPECT_TRUE(server().becomes(1, "dragoman_listener_limit_hits_total", {"limit=\"lingering\""}));
  // They are among the connections; a new one takes the place of the oldest.
  TestSocket a = connect(), b = connect(), c = connect();
  for (TestSocket* s : {&a, &b, &c}) EXPECT_EQ(ask(*s, kGet).body, "ok");
  EXPECT_TRUE(server().becomes(3, "dragoman_listener_connections_lingering"));
  EXPECT_TRUE(server().becomes(2, "dragoman_listener_limit_hits_total", {"limit=\"lingering\""}));
  EXPECT_EQ(server().metric("dragoman_listener_connections_rejected_total"), 0);
  // What one of them sends.
  const std::string piece(64 << 10, 'z');
  bool open = true;
  for (int i = 0; i < 500 && open; ++i) open = sockets.back().send(piece);
  EXPECT_FALSE(open);
  EXPECT_TRUE(server().becomes(3, "dragoman_listener_limit_hits_total", {"limit=\"lingering\""}));
  // A client that closes leaves at once.
  sockets.clear();
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_lingering"));
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_lingering_bytes"));
}

TEST_F(Http1Engine, LingeringEndsInSilenceAndInTime) {
  ScriptedBackend backend(scripts::http("ok"));
  run(backend, "", "linger: {timeout: 400ms, idle_timeout: 50ms}");
  TestSocket silent = connect(), busy = connect();
  for (TestSocket* s : {&silent, &busy}) {
    EXPECT_EQ(ask(*s, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").body, "ok");
    EXPECT_EQ(s->read_to_end(), "");
  }
  EXPECT_TRUE(eventually([&] { return !busy.send("x"); })) << "however steadily it sends";
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_lingering"));
}

TEST_F(Http1Engine, ACutAnswerIsNoCleanEnd) {
  ScriptedBackend backend([](TestSocket& s) {
    s.read_until("\r\n\r\n");
    s.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    s.close();
  });
  run(backend);
  for (std::string_view version : {"1.0", "1.1"}) {
    TestSocket s = connect();
    ASSERT_TRUE(s.send("GET / HTTP/" + std::string(version) + "\r\nHost: a\r\n\r\n"));
    const std::string got = s.read_to_end();
    EXPECT_NE(got.find("hello"), std::string::npos);
    EXPECT_EQ(got.find("0\r\n\r\n"), std::string::npos);
    EXPECT_EQ(s.end(), End::kReset) << "with 1.0 only the connection's end ends the answer";
  }
}

}  // namespace
}  // namespace dragoman::testing
