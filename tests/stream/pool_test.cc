// Pools and limits: how many connections, who waits, who is refused, and which counter says so.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/http2/frames.h"
#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

const char kOverflows[] = "dragoman_cluster_overflows_total";
const char kReasons[] = "dragoman_request_reasons_total";

/// Holds answers back until it is told to give them.
class Gate {
 public:
  ScriptedBackend::Script http() {
    return [this](TestSocket& s) {
      for (;;) {
        if (!s.read_request().complete) return;
        arrive();
        if (!s.send(http_ok("open"))) return;
      }
    };
  }
  ScriptedBackend::Script bolt() {
    return [this](TestSocket& s) {
      for (;;) {
        const std::string frame = s.read_bolt();
        if (frame.empty()) return;
        arrive();
        if (!s.send(BoltFrame::response(bolt_id(frame), "open").bytes())) return;
      }
    };
  }
  /// HTTP/2 that takes `streams` requests at once on a connection.
  ScriptedBackend::Script http2(uint32_t streams) {
    return [this, streams](TestSocket& s) {
      if (s.read(h2::kPreface.size()) != h2::kPreface) return;
      s.send(h2::settings({{3, streams}}));
      for (;;) {
        const std::string head = s.read(9);
        if (head.size() < 9) return;
        auto u8 = [&](size_t i) { return static_cast<uint8_t>(head[i]); };
        s.read(size_t{u8(0)} << 16 | size_t{u8(1)} << 8 | u8(2));
        if (u8(3) == h2::kSettings && !(u8(4) & h2::kAck)) s.send(h2::frame(h2::kSettings, h2::kAck, 0));
        if (u8(3) != h2::kHeaders) continue;
        arrive();
        if (!s.send(h2::headers(static_cast<uint32_t>(u8(7)) << 8 | u8(8), {{":status", "200"}}))) return;
      }
    };
  }
  void open() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  int waiting() {
    std::lock_guard lock(mutex_);
    return waiting_;
  }
  ~Gate() { open(); }

 private:
  void arrive() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    changed_.wait(lock, [this] { return open_; });
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
  int waiting_ = 0;
};

class Pools : public ServerTest {
 protected:
  void serve(const std::string& protocol, const std::string& up, const std::string& cluster,
             const std::string& listener = "") {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $PROTO, cluster: c$LISTENER}]\n"
                  "clusters: [{name: c, endpoints: ['$UP']$CLUSTER}]\n",
                  {{"PROTO", protocol}, {"UP", up}, {"CLUSTER", cluster}, {"LISTENER", listener}}),
          options);
  }
  std::vector<TestSocket> get_from(size_t n, const std::string& path = "/") {
    std::vector<TestSocket> clients;
    for (size_t i = 0; i < n; ++i) {
      clients.push_back(connect());
      clients.back().send("GET " + path + " HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    return clients;
  }
};

// --- modes ---

TEST_F(Pools, MultiplexSharesTheConfiguredNumberOfConnections) {
  Gate gate;
  ScriptedBackend backend(gate.bolt());
  serve("bolt", backend.address(), ", pool: {mode: multiplex, connections: 3}");
  std::vector<TestSocket> clients;
  for (uint32_t i = 0; i < 30; ++i) {
    clients.push_back(connect());
    clients.back().send(BoltFrame::request(i).bytes());
  }
  EXPECT_TRUE(server().becomes(30, "dragoman_cluster_requests_active"));
  EXPECT_TRUE(eventually([&] { return backend.connections() == 3; }));
  gate.open();
  for (TestSocket& c : clients) EXPECT_EQ(read_answer(c).content, "open");
  EXPECT_EQ(backend.connections(), 3);
  EXPECT_TRUE(server().becomes(3, "dragoman_cluster_connections_active"));
}

TEST_F(Pools, MultiplexGrowsForRequestsThatWaitedForItsFirstConnection) {
  Gate gate;
  ScriptedBackend backend(gate.bolt());
  serve("bolt", backend.address(), ", pool: {mode: multiplex, connections: 3}");
  TestSocket c = connect();
  std::string burst;  // all of them are there before the first connection is
  for (uint32_t i = 0; i < 30; ++i) burst += BoltFrame::request(i).bytes();
  c.send(burst);
  EXPECT_TRUE(eventually([&] { return backend.connections() == 3; }));
  gate.open();
  for (int i = 0; i < 30; ++i) EXPECT_EQ(read_answer(c).content, "open");
  EXPECT_EQ(backend.connections(), 3);
}

TEST_F(Pools, SharedConnectionsThatAreFullGetOthersBesideThem) {
  Gate gate;
  ScriptedBackend backend(gate.http2(1));
  serve("http1", backend.address(), ", protocol: http2, pool: {connections_max: 3, idle_timeout: 300ms}");
  std::vector<TestSocket> clients = get_from(5);
  EXPECT_TRUE(eventually([&] { return gate.waiting() == 3; }));
  EXPECT_TRUE(server().becomes(2, "dragoman_cluster_requests_pending"));
  EXPECT_EQ(backend.connections(), 3);
  gate.open();
  for (TestSocket& c : clients) EXPECT_EQ(c.read_response().status, 200);
  EXPECT_EQ(backend.connections(), 3);
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_connections_active"))
      << "those beyond pool.connections end when unused";
  EXPECT_EQ(get_from(1)[0].read_response().status, 200);
  EXPECT_EQ(backend.connections(), 3) << "the first one stays";
}

TEST_F(Pools, OneAfterTheOtherNeedsNoExtraConnection) {
  Gate gate;
  gate.open();
  ScriptedBackend backend(gate.http2(1));
  serve("http1", backend.address(), ", protocol: http2");
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get_from(1)[0].read_response().status, 200);
  EXPECT_EQ(backend.connections(), 1);
}

// The limit of the whole cluster stands above connections_max: what it forbids waits for the connections that are there.
TEST_F(Pools, ExtraConnectionsStayWithinTheLimitOfTheCluster) {
  Gate gate;
  ScriptedBackend backend(gate.http2(1));
  serve("http1", backend.address(),
        ", protocol: http2, pool: {connections_max: 8}, limits: {connections: 2}");
  std::vector<TestSocket> clients = get_from(4);
  EXPECT_TRUE(eventually([&] { return gate.waiting() == 2; }));
  EXPECT_TRUE(server().becomes(2, "dragoman_cluster_requests_pending"));
  gate.open();
  for (TestSocket& c : clients) EXPECT_EQ(c.read_response().status, 200);
  EXPECT_EQ(backend.connections(), 2);
}

TEST_F(Pools, PingPongHasOneExchangePerConnectionAndReusesThem) {
  Gate gate;
  ScriptedBackend backend(gate.bolt());
  serve("bolt", backend.address(), ", pool: {mode: ping_pong}");
  TestSocket s = connect();
  for (uint32_t i = 1; i <= 4; ++i) s.send(BoltFrame::request(i).bytes());
  EXPECT_TRUE(eventually([&] { return gate.waiting() == 4; }));
  EXPECT_EQ(backend.connections(), 4);
  gate.open();
  std::set<uint32_t> ids;
  for (int i = 0; i < 4; ++i) ids.insert(read_answer(s).id);
  EXPECT_EQ(ids, (std::set<uint32_t>{1, 2, 3, 4}));
  for (uint32_t i = 5; i <= 8; ++i) {
    s.send(BoltFrame::request(i).bytes());
    EXPECT_EQ(read_answer(s).id, i);
  }
  EXPECT_EQ(backend.connections(), 4) << "idle ones are used again";
  EXPECT_TRUE(server().becomes(4, "dragoman_cluster_pool_reuses_total"));
}

TEST_F(Pools, BoundGivesEachClientItsOwnConnectionWithItsIdsAndEndsBoth) {
  BoltRecorder backend;
  serve("bolt", backend.address(), ", pool: {mode: bound}");
  {
    TestSocket one = connect(), two = connect();
    one.send(BoltFrame::request(7, "one").bytes());
    two.send(BoltFrame::request(7, "two").bytes());
    EXPECT_EQ(read_answer(one).content, "one");
    EXPECT_EQ(read_answer(two).content, "two");
    EXPECT_EQ(backend.connections(), 2);
    for (const std::string& f : backend.frames()) EXPECT_EQ(bolt_id(f), 7u) << "ids pass through";
    one.close();
    EXPECT_TRUE(eventually([&] { return backend.active() == 1; })) << "both ends close together";
    two.send(BoltFrame::request(8, "two").bytes());
    EXPECT_EQ(read_answer(two).content, "two");
  }
  EXPECT_TRUE(eventually([&] { return backend.active() == 0; }));
}

TEST_F(Pools, BoundBackendsMayCallTheirClient) {
  ScriptedBackend backend([](TestSocket& s) {
    const std::string hello = s.read_bolt();
    if (hello.empty()) return;
    s.send(BoltFrame::request(1000, "from the server").bytes());
    const BoltParts answer = bolt_parts(s.read_bolt());
    s.send(BoltFrame::response(bolt_id(hello), std::to_string(answer.id) + " " + answer.content).bytes());
    s.wait_end();
  });
  serve("bolt", backend.address(), ", pool: {mode: bound}");
  TestSocket s = connect();
  s.send(BoltFrame::request(1, "hello").bytes());
  const BoltParts asked = bolt_parts(s.read_bolt());
  EXPECT_EQ(asked.type, 1);
  EXPECT_EQ(asked.id, 1000u);
  EXPECT_EQ(asked.content, "from the server");
  s.send(BoltFrame::response(1000, "from the client").bytes());
  EXPECT_EQ(read_answer(s).content, "1000 from the client");
}

TEST_F(Pools, BoundClosesTheClientWhenTheBackendCloses) {
  ScriptedBackend backend([](TestSocket& s) { s.read_bolt(); });
  serve("bolt", backend.address(), ", pool: {mode: bound}");
  TestSocket s = connect();
  s.send(BoltFrame::request(1).bytes());
  s.read_bolt();  // an error answer or none
  EXPECT_TRUE(s.closed_by_peer());
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_connections_active"));
}

TEST_F(Pools, IdleConnectionsCloseAfterTheirTimeout) {
  ScriptedBackend backend(scripts::http("x"));
  serve("http1", backend.address(), ", pool: {idle_timeout: 200ms}");
  auto clients = get_from(3);
  for (TestSocket& c : clients) EXPECT_EQ(c.read_response().body, "x");
  EXPECT_TRUE(eventually([&] { return backend.active() == 0; }));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_connections_active"));
}

TEST_F(Pools, AConnectionServesItsConfiguredNumberOfRequests) {
  ScriptedBackend backend(scripts::http("x"));
  serve("http1", backend.address(), ", pool: {requests_per_connection_max: 2}");
  TestSocket s = connect();
  for (int i = 0; i < 6; ++i) {
    s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    ASSERT_EQ(s.read_response().body, "x") << i;
  }
  EXPECT_EQ(backend.connections(), 3);
}

TEST_F(Pools, ASharedConnectionWhoseHeartbeatsStayUnansweredIsReplaced) {
  std::atomic<int> heartbeats{0};
  ScriptedBackend backend({[&](TestSocket& s) {
                             for (;;) {
                               const std::string frame = s.read_bolt();
                               if (frame.empty()) return;
                               const BoltParts p = bolt_parts(frame);
                               if (p.command == 0)
                                 ++heartbeats;  // and no answer
                               else
                                 s.send(BoltFrame::response(p.id, "one").bytes());
                             }
                           },
                           scripts::bolt("two")});
  serve("bolt", backend.address(), ", pool: {heartbeat_interval: 100ms, heartbeat_misses_max: 2}");
  TestSocket s = connect();
  s.send(BoltFrame::request(1).bytes());
  EXPECT_EQ(read_answer(s).content, "one");
  EXPECT_TRUE(eventually([&] { return backend.active() == 0; }));
  EXPECT_GE(heartbeats, 2);
  s.send(BoltFrame::request(2).bytes());
  EXPECT_EQ(read_answer(s).content, "two");
}

// A vanished host says nothing at all: no FIN, no reset, and neither heartbeat nor HTTP/2 ping for a long time yet.
TEST_F(Pools, ASharedConnectionThatOnlyTimesOutIsReplaced) {
  for (const char* protocol : {"bolt", "http2"}) {
    SCOPED_TRACE(protocol);
    const bool bolt = std::string(protocol) == "bolt";
    Gate open;
    open.open();
    ScriptedBackend backend({[&](TestSocket& s) {
                               if (!bolt) {
                                 s.read(h2::kPreface.size());
                                 s.send(h2::settings({}));
                               }
                               s.wait_end();
                             },
                             bolt ? open.bolt() : open.http2(100)});
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: r},"
                  " {name: rpc, address: '127.0.0.1:0', protocol: bolt, routes: b}]\n"
                  "routes:\n"
                  "  - {name: r, routes: [{match: {prefix: /}, cluster: $WEB, timeout: 200ms}]}\n"
                  "  - {name: b, routes: [{match: {}, cluster: $RPC, timeout: 200ms}]}\n"
                  "clusters:\n"
                  "  - {name: up, protocol: $P, endpoints: ['$UP'], pool: {timeouts_max: 2}}\n"
                  "  - {name: other, protocol: $O, endpoints: ['127.0.0.1:1']}\n",
                  {{"P", protocol},
                   {"O", bolt ? "http2" : "bolt"},
                   {"UP", backend.address()},
                   {"WEB", bolt ? "other" : "up"},
                   {"RPC", bolt ? "up" : "other"}}),
          options);
    TestSocket s = connect(bolt ? "rpc" : "in");
    const auto call = [&](uint32_t id) {
      if (bolt) {
        s.send(BoltFrame::request(id).bytes());
        return read_answer(s).status == kBoltSuccess;
      }
      s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
      return s.read_response().status == 200;
    };
    // The first may have begun before the connection, whose first bytes then speak for it.
    uint32_t failed = 0;
    while (failed < 5 && !call(failed + 1)) ++failed;
    EXPECT_LE(failed, 3u);
    EXPECT_GE(failed, 2u);
    EXPECT_EQ(backend.connections(), 2);
    EXPECT_TRUE(server().becomes(1, "dragoman_cluster_connections_silent_total"));
  }
}

// One slow call now and then, and answers in between: nothing is silent.
TEST_F(Pools, TimeoutsWithAnswersBetweenThemAreNoSilence) {
  ScriptedBackend rpc_backend([](TestSocket& s) {
    for (std::string frame; !(frame = s.read_bolt()).empty();) {
      if (frame.find("slow") == std::string::npos) s.send(BoltFrame::response(bolt_parts(frame).id).bytes());
    }
  });
  ScriptedBackend web_backend([](TestSocket& s) {
    for (HttpMessage m; (m = s.read_request()).complete;)
      if (m.target != "/slow") s.send(http_ok("x"));
  });
  TestServer::Options options;
  options.workers = 1;
  start(
      fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: web, timeout: 100ms},"
              " {name: rpc, address: '127.0.0.1:0', protocol: bolt, cluster: rpc, timeout: 100ms}]\n"
              "clusters: [{name: web, endpoints: ['$WEB'], pool: {timeouts_max: 2}},"
              " {name: rpc, endpoints: ['$RPC'], pool: {timeouts_max: 2}}]\n",
              {{"WEB", web_backend.address()}, {"RPC", rpc_backend.address()}}),
      options);
  TestSocket web = connect("in"), rpc = connect("rpc");
  uint32_t id = 0;
  for (int i = 0; i < 4; ++i) {
    for (const bool slow : {false, true}) {
      web.send(std::string("GET ") + (slow ? "/slow" : "/") + " HTTP/1.1\r\nhost: a\r\n\r\n");
      EXPECT_EQ(web.read_response().status, slow ? 504 : 200);
      BoltFrame call = BoltFrame::request(++id);
      if (slow) call.header += kv("kind", "slow");
      rpc.send(call.bytes());
      EXPECT_EQ(read_answer(rpc).status == kBoltSuccess, !slow);
    }
  }
  EXPECT_EQ(rpc_backend.connections(), 1);
  EXPECT_EQ(server().metric("dragoman_cluster_connections_silent_total"), 0);
}

TEST_F(Pools, IdleConnectionsOfAServerThatOnlyTimesOutAreNotTried) {
  std::atomic<bool> gone{false};
  ScriptedBackend backend([&](TestSocket& s) {
    while (s.read_request().complete)
      if (!gone) s.send(http_ok("x"));
  });
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: r}]\n"
                "routes: [{name: r, routes: [{match: {prefix: /}, cluster: c, timeout: 300ms}]}]\n"
                "clusters: [{name: c, endpoints: ['$UP'], pool: {timeouts_max: 2, idle_timeout: 60s}}]\n",
                {{"UP", backend.address()}}),
        options);
  auto clients = get_from(6);
  for (TestSocket& c : clients) ASSERT_EQ(c.read_response().body, "x");
  ASSERT_TRUE(eventually([&] { return backend.active() >= 1; }));
  gone = true;
  for (int i = 0; i < 2; ++i) EXPECT_EQ(get_from(1)[0].read_response().status, 504);
  EXPECT_TRUE(eventually([&] { return backend.active() == 0; }));
}

TEST_F(Pools, AnEndpointThatSaysGoawayGetsNoNewConnection) {
  ScriptedBackend leaving([](TestSocket& s) {
    const std::string frame = s.read_bolt();
    if (frame.empty()) return;
    BoltFrame goaway;
    goaway.command = 100, goaway.id = 0, goaway.timeout_ms = 0;
    s.send(goaway.bytes() + BoltFrame::response(bolt_id(frame), "leaving").bytes());
    s.read_bolt();
  });
  ScriptedBackend staying(scripts::bolt("staying"));
  serve("bolt", leaving.address() + "', '" + staying.address(), "");
  TestSocket s = connect();
  std::map<std::string, int> answers;
  for (uint32_t id = 1; id <= 20; ++id) {
    s.send(BoltFrame::request(id).bytes());
    ++answers[read_answer(s).content];
  }
  EXPECT_EQ(answers, (std::map<std::string, int>{{"leaving", 1}, {"staying", 19}}));
  EXPECT_EQ(leaving.connections(), 1);
  EXPECT_NE(server().admin("GET", "/clusters").body.find(leaving.address() + " weight=1 leaving"),
            std::string::npos);
  EXPECT_NE(server().admin("GET", "/clusters?format=json").body.find("\"leaving\":true"), std::string::npos);
}

// --- limits ---

TEST_F(Pools, RequestsOverTheLimitAreRefused) {
  Gate gate;
  ScriptedBackend backend(gate.http());
  serve("http1", backend.address(), ", limits: {requests: 2}");
  auto held = get_from(2);
  ASSERT_TRUE(eventually([&] { return gate.waiting() == 2; }));
  auto refused = get_from(1);
  EXPECT_EQ(refused[0].read_response().status, 503);
  EXPECT_TRUE(server().becomes(1, kOverflows, {"limit=\"requests\""}));
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"request_overflow\""}));
  gate.open();
  for (TestSocket& c : held) EXPECT_EQ(c.read_response().status, 200);
  EXPECT_EQ(get_from(1)[0].read_response().status, 200) << "the units came back";
}

TEST_F(Pools, ConnectionsOverTheLimitMakeRequestsWaitAndPendingOnesOverTheirsAreRefused) {
  Gate gate;
  ScriptedBackend backend(gate.http());
  serve("http1", backend.address(), ", limits: {connections: 1, pending_requests: 2}");
  auto first = get_from(1);
  ASSERT_TRUE(eventually([&] { return gate.waiting() == 1; }));
  auto waiting = get_from(2);
  EXPECT_TRUE(server().becomes(2, "dragoman_cluster_requests_pending"));
  auto refused = get_from(1);
  EXPECT_EQ(refused[0].read_response().status, 503);
  EXPECT_TRUE(server().becomes(1, kOverflows, {"limit=\"pending_requests\""}));
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"pending_overflow\""}));
  EXPECT_GE(server().metric(kOverflows, {"limit=\"connections\""}), 1);
  gate.open();
  EXPECT_EQ(first[0].read_response().status, 200);
  for (TestSocket& c : waiting) EXPECT_EQ(c.read_response().status, 200);
  EXPECT_EQ(backend.connections(), 1);
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_pending"));
}

TEST_F(Pools, AClientThatLeavesGivesItsPlaceInTheQueueBack) {
  Gate gate;
  ScriptedBackend backend(gate.http());
  serve("http1", backend.address(), ", limits: {connections: 1, pending_requests: 1}");
  auto first = get_from(1);
  ASSERT_TRUE(eventually([&] { return gate.waiting() == 1; }));
  {
    auto leaver = get_from(1);
    ASSERT_TRUE(server().becomes(1, "dragoman_cluster_requests_pending"));
    leaver[0].reset();
    ASSERT_TRUE(server().becomes(0, "dragoman_cluster_requests_pending"));
  }
  auto next = get_from(1);
  ASSERT_TRUE(server().becomes(1, "dragoman_cluster_requests_pending"));
  gate.open();
  EXPECT_EQ(first[0].read_response().status, 200);
  EXPECT_EQ(next[0].read_response().status, 200);
}

TEST_F(Pools, IdleConnectionsMakeRoomForOtherEndpoints) {
  std::vector<std::unique_ptr<ScriptedBackend>> backends;
  std::string endpoints;
  for (int i = 0; i < 4; ++i) {
    backends.push_back(std::make_unique<ScriptedBackend>(scripts::http("x")));
    endpoints += (i ? "', '" : "") + backends.back()->address();
  }
  for (int workers : {1, 2}) {
    for (int limit : {1, 2, 4}) {
      SCOPED_TRACE(std::to_string(workers) + " workers, limit " + std::to_string(limit));
      TestServer::Options options;
      options.workers = workers;
      start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
                    "clusters: [{name: c, endpoints: ['$UP'], limits: {connections: $N}}]\n",
                    {{"UP", endpoints}, {"N", std::to_string(limit)}}),
            options);
      for (int i = 0; i < 24; ++i) EXPECT_EQ(get_from(1)[0].read_response().status, 200);
      if (limit < 4) {
        EXPECT_GE(server().metric("dragoman_cluster_connections_evicted_total"), 1);
      }
    }
  }
}

// One endpoint's requests are held, so its only connection is busy: the other's, once idle, makes room for a second.
TEST_F(Pools, AUnitThatComesBackWakesWhoWaitsForIt) {
  Gate slow, quick;
  ScriptedBackend a(slow.http()), b(quick.http());
  serve("http1", a.address() + "', '" + b.address(), ", limits: {connections: 2}");
  auto clients = get_from(4);
  ASSERT_TRUE(server().becomes(2, "dragoman_cluster_requests_pending"));
  ASSERT_TRUE(eventually([&] { return slow.waiting() == 1 && quick.waiting() == 1; }));
  quick.open();
  EXPECT_TRUE(eventually([&] { return slow.waiting() == 2; }));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_pending"));
  slow.open();
  for (TestSocket& c : clients) EXPECT_EQ(c.read_response().status, 200);
}

TEST_F(Pools, WorkersGiveUnitsToEachOther) {
  ScriptedBackend backend(scripts::http("x"));
  TestServer::Options options;
  options.workers = 3;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
                "clusters: [{name: c, endpoints: ['$UP'], limits: {connections: 1}}]\n",
                {{"UP", backend.address()}}),
        options);
  for (int round = 0; round < 5; ++round) {
    auto clients = get_from(12);
    for (TestSocket& c : clients) EXPECT_EQ(c.read_response().body, "x");
  }
}

// --- servers that take connections and end them at once ---

TEST_F(Pools, ConnectionsThatComeToNothingAreNoStorm) {
  struct Case {
    const char* listener;
    const char* cluster;
    const char* mode;
  };
  for (const Case& c :
       {Case{"http1", "http1", "auto"}, Case{"http1", "http2", "auto"}, Case{"bolt", "bolt", "multiplex"},
        Case{"bolt", "bolt", "ping_pong"}, Case{"bolt", "bolt", "bound"}, Case{"tcp", "", ""}}) {
    for (const bool refuses : {false, true}) {
      SCOPED_TRACE(std::string(c.listener) + " to " + c.cluster + " " + c.mode +
                   (refuses ? ", refused" : ", closed"));
      ScriptedBackend closes([](TestSocket&) {});
      RefusingPort nobody;
      TestServer::Options options;
      options.workers = 1;
      start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $L, cluster: c}]\n"
                    "clusters: [{name: c, endpoints: ['$UP'], connect_backoff: 500ms, connect_backoff_max: "
                    "500ms$MORE}]\n",
                    {{"L", c.listener},
                     {"UP", refuses ? nobody.address() : closes.address()},
                     {"MORE", *c.cluster
                                  ? std::string(", protocol: ") + c.cluster + ", pool: {mode: " + c.mode + "}"
                                  : ""}}),
            options);
      for (uint32_t i = 0; i < 8; ++i) {
        TestSocket s = connect();
        s.send(std::string_view(c.listener) == "bolt" ? BoltFrame::request(i).bytes()
                                                      : "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        // Each is answered, or closed, after one try.
        if (std::string_view(c.listener) == "http1") {
          EXPECT_GE(s.read_response().status, 500);
        }
        if (std::string_view(c.listener) == "bolt") {
          EXPECT_NE(read_answer(s).status, kBoltSuccess);
        }
        if (std::string_view(c.listener) == "tcp") {
          EXPECT_TRUE(s.closed_by_peer());
        }
      }
      EXPECT_GE(server().metric("dragoman_cluster_connect_backoffs_total"), 1);
      EXPECT_LE(server().metric("dragoman_cluster_connections_total"), 8);
    }
  }
}

TEST_F(Pools, AServerThatIsBackIsFoundAndAllWhoWaitAreServed) {
  uint16_t port = 0;
  {
    RefusingPort nobody;
    port = nobody.port();
    serve("http1", nobody.address(), ", connect_backoff: 300ms, connect_backoff_max: 300ms");
    for (int i = 0; i < 7; ++i) EXPECT_EQ(get_from(1)[0].read_response().status, 503);
  }
  ScriptedBackend::Options at;
  at.port = port;
  ScriptedBackend back({scripts::http("back")}, at);
  auto clients = get_from(10);
  for (TestSocket& c : clients) EXPECT_EQ(c.read_response().body, "back");
}

TEST_F(Pools, ListenerConnectionsOverTheLimitAreClosedAtOnce) {
  ScriptedBackend backend(scripts::http("x"));
  serve("http1", backend.address(), "", ", connections_max: 2");
  TestSocket one = connect(), two = connect();
  ASSERT_TRUE(server().becomes(2, "dragoman_listener_connections_active"));
  TestSocket three = connect();
  EXPECT_TRUE(three.closed_by_peer());
  EXPECT_TRUE(server().becomes(1, "dragoman_listener_connections_rejected_total"));
  EXPECT_TRUE(server().becomes(1, "dragoman_listener_limit_hits_total", {"limit=\"connections\""}));
  one.close();
  EXPECT_TRUE(server().becomes(1, "dragoman_listener_connections_active"));
  EXPECT_EQ(get_from(1)[0].read_response().body, "x");
}

TEST_F(Pools, TheWorkersConnectionsAreCounted) {
  Gate gate;
  ScriptedBackend backend(gate.http());
  serve("http1", backend.address(), ", pool: {idle_timeout: 60s}");
  {
    auto clients = get_from(2);
    ASSERT_TRUE(eventually([&] { return gate.waiting() == 2; }));
    gate.open();
    for (TestSocket& c : clients) EXPECT_EQ(c.read_response().body, "open");
    EXPECT_TRUE(server().becomes(4, "dragoman_worker_connections_active")) << "two on each side";
  }
  EXPECT_TRUE(server().becomes(2, "dragoman_worker_connections_active"));
}

}  // namespace
}  // namespace dragoman::testing
