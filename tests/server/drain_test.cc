// The end: drains lose nothing, deadlines and the second order hold.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>

#include "tests/server/server_support.h"

namespace dragoman::testing {
namespace {

class Drain : public ServerTest {
 protected:
  ScriptedBackend http_{scripts::http("hello")};
  ScriptedBackend bolt_{scripts::bolt()};

  void serve(const std::string& drain, const std::string& http = "") {
    TestServer::Options options;
    options.drain = drain;
    start(fill_in("listeners:\n"
                  "  - {name: in, address: '127.0.0.1:0', protocol: http1, cluster: http}\n"
                  "  - {name: rpc, address: '127.0.0.1:0', protocol: bolt, cluster: bolt, rpc: {goaway: true}}\n"
                  "  - {name: raw, address: '127.0.0.1:0', protocol: tcp, cluster: tcp}\n"
                  "clusters:\n"
                  "  - {name: http, endpoints: ['$HTTP']}\n"
                  "  - {name: tcp, endpoints: ['$HTTP']}\n"
                  "  - {name: bolt, endpoints: ['$BOLT']}\n",
                  {{"HTTP", http.empty() ? http_.address() : http}, {"BOLT", bolt_.address()}}),
          options);
  }
};

TEST_F(Drain, UnderLoadLosesNothing) {
  for (int round = 0; round < 3; ++round) {
    serve("{deadline: 20s, idle_grace: 300ms}");
    Load web(Load::Kind::kHttp, server().port("in"), 4), rpc(Load::Kind::kBolt, server().port("rpc"), 4);
    ASSERT_TRUE(eventually([&] { return web.served() > 200 && rpc.served() > 200; }));
    server().shutdown();
    EXPECT_TRUE(server().wait_ended(20'000)) << "well-behaved clients let it end before the deadline";
    web.stop();
    rpc.stop();
    EXPECT_EQ(web.failed(), 0) << web.first_failure();
    EXPECT_EQ(rpc.failed(), 0) << rpc.first_failure();
    stop();
  }
}

TEST_F(Drain, ARequestOnAnIdleConnectionWithinTheGraceIsServedAndTold) {
  serve("{deadline: 20s, idle_grace: 1s}");
  TestSocket s = connect();
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().header("connection"), "-");
  server().shutdown();
  ASSERT_TRUE(eventually([&] { return server().metric("dragoman_draining") == 1; }));
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  HttpMessage answer = s.read_response();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(s.closed_by_peer());
  EXPECT_TRUE(server().wait_ended());
}

TEST_F(Drain, StopsAcceptingAndSaysNotReadyButLive) {
  ScriptedBackend slow([](TestSocket& s) {
    if (!s.read_request().complete) return;
    sleep_ms(600);
    s.send(http_ok("late"));
    s.wait_end();
  });
  serve("{deadline: 20s, idle_grace: 100ms}", slow.address());
  const uint16_t port = server().port("in");
  TestSocket s = connect();
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  ASSERT_TRUE(server().becomes(1, "dragoman_requests_active"));
  server().shutdown();
  ASSERT_TRUE(eventually([&] { return server().admin("GET", "/ready").status == 503; }));
  EXPECT_EQ(server().admin("GET", "/live").status, 200);
  EXPECT_NE(server().admin("GET", "/server_info").body.find("draining"), std::string::npos);
  EXPECT_EQ(server().admin("POST", "/reload").status, 409);
  EXPECT_TRUE(eventually([&] { return !TestSocket::connect(port).connected(); }, 500));
  HttpMessage answer = s.read_response();
  EXPECT_EQ(answer.body, "late") << "open work is finished";
  EXPECT_EQ(answer.header("connection"), "close");
  EXPECT_TRUE(server().wait_ended());
  EXPECT_EQ(server().exit_code(), 0);
}

TEST_F(Drain, TheDeadlineCutsWhatDoesNotEnd) {
  ScriptedBackend silent(scripts::silent());
  serve("{deadline: 300ms, idle_grace: 100ms}", silent.address());
  TestSocket web = connect(), raw = connect("raw");
  web.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  raw.send("anything");
  ASSERT_TRUE(server().becomes(2, "dragoman_requests_active"));
  const uint64_t began = steady_ms();
  server().shutdown();
  EXPECT_TRUE(server().wait_ended());
  EXPECT_GE(steady_ms() - began, 280u);
  EXPECT_TRUE(web.closed_by_peer());
  EXPECT_TRUE(raw.closed_by_peer());
  EXPECT_EQ(server().exit_code(), 0);
}

TEST_F(Drain, TheSecondOrderEndsItAtOnce) {
  ScriptedBackend silent(scripts::silent());
  serve("{deadline: 1h, idle_grace: 1h}", silent.address());
  TestSocket web = connect(), raw = connect("raw"), idle = connect("rpc");
  web.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  ASSERT_TRUE(server().becomes(1, "dragoman_requests_active", {"listener=\"in\""}));
  server().shutdown();
  EXPECT_FALSE(server().wait_ended(200));
  server().shutdown();
  EXPECT_TRUE(server().wait_ended());
  EXPECT_TRUE(web.closed_by_peer());
  EXPECT_TRUE(idle.closed_by_peer());
}

TEST_F(Drain, PostDrainIsTheSameOrder) {
  serve("{deadline: 5s, idle_grace: 100ms}");
  EXPECT_EQ(server().admin("GET", "/drain").status, 405);
  EXPECT_EQ(server().admin("POST", "/drain").status, 200);
  EXPECT_TRUE(server().wait_ended());
  EXPECT_EQ(server().exit_code(), 0);
}

TEST_F(Drain, GoawayIsSaidOnlyWhereConfigured) {
  TestServer::Options options;
  options.drain = "{deadline: 2s, idle_grace: 200ms}";
  start(fill_in("listeners:\n"
                "  - {name: told, address: '127.0.0.1:0', protocol: bolt, cluster: c, rpc: {goaway: true}}\n"
                "  - {name: silent, address: '127.0.0.1:0', protocol: bolt, cluster: c}\n"
                "clusters: [{name: c, endpoints: ['$UP']}]\n",
                {{"UP", bolt_.address()}}),
        options);
  TestSocket told = connect("told"), quiet = connect("silent");
  for (TestSocket* s : {&told, &quiet}) {
    s->send(BoltFrame::request(1, "x").bytes());
    EXPECT_TRUE(s->read_bolt().ends_with("x"));
  }
  server().shutdown();
  const std::string goaway = told.read_bolt();
  ASSERT_GE(goaway.size(), 4u);
  EXPECT_NE(goaway[1], 0) << "a request";
  EXPECT_EQ(goaway.substr(2, 2), be(100, 2));
  EXPECT_EQ(quiet.read_bolt(), "");
  EXPECT_EQ(quiet.end(), End::kEof);
  EXPECT_TRUE(server().wait_ended());
}

// Whoever looks at /ready goes elsewhere; whoever does not yet is served.
TEST_F(Drain, AsALameDuckItServesButIsNotReady) {
  for (const bool by_admin : {false, true}) {
    serve("{deadline: 20s, idle_grace: 50ms, lame_duck: 1500ms}");
    by_admin ? static_cast<void>(server().admin("POST", "/drain")) : server().shutdown();
    EXPECT_EQ(server().admin("GET", "/ready").status, 503);
    EXPECT_EQ(server().metric("dragoman_draining"), 1);
    TestSocket late = connect();
    late.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    HttpMessage answer = late.read_response();
    EXPECT_EQ(answer.body, "hello");
    EXPECT_EQ(answer.header("connection"), "-");
    EXPECT_EQ(server().admin("POST", "/reload").status, 409);
    EXPECT_TRUE(late.closed_by_peer()) << "then it drains";
    EXPECT_TRUE(server().wait_ended());
    stop();
  }
}

TEST_F(Drain, ALameDuckTakesAtMostAThirdOfTheDeadlineAndTheSecondOrderEndsIt) {
  serve("{deadline: 400ms, idle_grace: 50ms, lame_duck: 1h}");
  TestSocket s = connect();
  server().shutdown();
  EXPECT_TRUE(server().wait_ended());
  serve("{deadline: 1h, idle_grace: 50ms, lame_duck: 1h}");
  server().shutdown();
  server().shutdown();
  EXPECT_TRUE(server().wait_ended());
}

// --- a cut is a reset -------------------------------------------------------------------------------------------------

// Only an end by both sides is an end: whatever else ends a relay would make half a transfer look complete.
class Cut : public ServerTest {
 protected:
  void serve(const std::string& more, const std::string& deadline = "20s") {
    TestServer::Options options;
    options.drain = "{deadline: " + deadline + ", idle_grace: 50ms}";
    options.file = dir_.file("dragoman.yaml");
    start(yaml(more), options);
    client_ = connect();
    ASSERT_TRUE(client_.send("half of an upload"));
    ASSERT_EQ(client_.read(18), "half of a download");
    ASSERT_TRUE(server().becomes(1, "dragoman_requests_active"));
  }
  std::string yaml(const std::string& more, const std::string& name = "in") {
    return fill_in(
        "listeners: [{name: $N, address: '127.0.0.1:0', protocol: tcp, cluster: up$MORE}]\n"
        "clusters: [{name: up, endpoints: ['$UP']}]\n",
        {{"N", name}, {"MORE", more}, {"UP", up_.address()}});
  }
  void expect_cut(std::initializer_list<const char*> sides) {
    for (std::string_view side : sides) {
      if (side == "client")
        EXPECT_EQ(client_.wait_end(), End::kReset);
      else
        EXPECT_TRUE(eventually([&] { return up_end_ == End::kReset; }));
    }
  }

  TempDir dir_;
  TestSocket client_;
  std::atomic<End> up_end_{End::kOpen};
  std::atomic<bool> up_reset_{false}, up_finish_{false};
  ScriptedBackend up_{[this](TestSocket& s) {
    s.read(17);
    s.send("half of a download");
    while (!up_reset_ && !up_finish_ && s.end() == End::kOpen) s.read_some(10);
    if (up_finish_) {
      s.send("rest");
      s.finish();
    }
    if (!up_reset_) up_end_ = s.wait_end();
    const linger now{1, 0};
    if (up_reset_) ::setsockopt(s.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }};
};

TEST_F(Cut, ByTheDrainsDeadline) {
  serve("", "200ms");
  server().shutdown();
  expect_cut({"client", "server"});
  EXPECT_TRUE(server().wait_ended());
}

TEST_F(Cut, ByTheEndAtOnce) {
  serve("");
  server().shutdown();
  server().shutdown();
  expect_cut({"client", "server"});
  EXPECT_TRUE(server().wait_ended());
}

TEST_F(Cut, WhenTheListenerIsRemoved) {
  serve("", "200ms");
  server().write_file(yaml("", "other"));
  ASSERT_EQ(server().admin("POST", "/reload").status, 200);
  expect_cut({"client", "server"});
}

TEST_F(Cut, ByTheIdleTimeout) {
  serve(", idle_timeout: 300ms");
  expect_cut({"client", "server"});
}

TEST_F(Cut, ByTheOtherSide) {
  serve("");
  up_reset_ = true;
  expect_cut({"client"});

  up_reset_ = false;
  serve("");
  const linger now{1, 0};
  ::setsockopt(client_.fd(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  client_ = TestSocket();
  expect_cut({"server"});
}

TEST_F(Cut, AfterHalfOfItHadEnded) {
  serve("", "200ms");
  up_finish_ = true;
  EXPECT_EQ(client_.read(4), "rest");
  server().shutdown();
  expect_cut({"server"});
  EXPECT_TRUE(server().wait_ended());
}

TEST_F(Cut, NotWhatBothSidesEnd) {
  serve("");
  up_finish_ = true;
  EXPECT_EQ(client_.read(4), "rest");
  client_.finish();
  EXPECT_EQ(client_.wait_end(), End::kEof);
  EXPECT_TRUE(eventually([&] { return up_end_ == End::kEof; }));
}

TEST_F(Cut, WhenThereIsNoServer) {
  RefusingPort nobody;
  start(
      fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: tcp, cluster: up}]\n"
              "clusters: [{name: up, endpoints: ['$UP']}]\n",
              {{"UP", nobody.address()}}));
  client_ = connect();
  expect_cut({"client"});
}

}  // namespace
}  // namespace dragoman::testing
