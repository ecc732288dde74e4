// Who hears the end of an exchange: holders whose codec forgets them, backends whose client has left.
#include <gtest/gtest.h>

#include "tests/stream/engine_harness.h"
#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

// --- a codec that tells nobody ---

/// Takes every piece of bytes for a whole request, answers nothing, and forgets its exchanges when the connection ends.
class ForgetfulCodec final : public ConnectionCodec {
 public:
  explicit ForgetfulCodec(ConnectionEvents& events) : events_(events) {}

  void on_data(uint8_t*, size_t) override {
    auto* x = new Forgotten(*this);
    x->head.is_http = true;
    x->head.method = "GET";
    x->head.path = "/";
    if (MessageSink* sink = events_.on_exchange(*x)) sink->on_head(x->head, true);
  }
  void on_eof() override {}
  void on_transport_closed(Reason) override {}
  void on_write_blocked(bool) override {}
  Exchange* open(MessageSink&) override { return new Forgotten(*this); }
  uint32_t capacity() const override { return 1; }
  uint32_t open_exchanges() const override { return open_; }
  ReadPhase phase() const override { return ReadPhase::kIdle; }
  void fail(Reason) override {}
  void drain() override {}

 private:
  struct Forgotten final : Exchange {
    explicit Forgotten(ForgetfulCodec& c) : codec(c) { ++c.open_; }
    Reason send_head(Head&, bool) override { return Reason::kNone; }
    void send_body(std::span<const uint8_t>, bool) override {}
    void send_trailers(HeaderList&) override {}
    void send_reply(const Head&, const LocalReply&) override {}
    void reset(Reason) override {}
    void pause_reading() override {}
    void resume_reading() override {}
    void release() override {
      --codec.open_;
      delete this;
    }
    ForgetfulCodec& codec;
    Head head;
  };
  ConnectionEvents& events_;
  uint32_t open_ = 0;
};

Protocol forgetful() {
  Protocol p;
  p.name = "forgetful";
  p.create = [](const Protocol&, Role, ByteSink&, ConnectionEvents& events,
                const CodecOptions&) -> std::unique_ptr<ConnectionCodec> {
    return std::make_unique<ForgetfulCodec>(events);
  };
  return p;
}

TEST(Ends, AConnectionResetsTheStreamsThatItsCodecForgot) {
  const Protocol protocol = forgetful();
  for (const bool client_ends : {true, false}) {
    SCOPED_TRACE(client_ends ? "client" : "backend");
    std::atomic<bool> leave{false};
    ScriptedBackend backend([&](TestSocket& s) {
      while (!leave) sleep_ms(1);
      client_ends ? static_cast<void>(s.wait_end()) : s.reset();
    });
    EngineHarness engine(&protocol, {backend.address()});
    TestSocket client = engine.connect();
    client.send("anything");
    ASSERT_TRUE(eventually([&] {
      size_t live = 0;
      engine.run([&] { live = Stream::live(); });
      return live == 1 && backend.connections() == 1;
    }));
    leave = true;
    if (client_ends) client.reset();
    EXPECT_TRUE(eventually([&] {
      size_t live = 1;
      engine.run([&] { live = Stream::live(); });
      return live == 0;
    }));
    engine.run([&] {
      EXPECT_EQ(untold_exchanges, 1u) << "counted, because it is the codec's fault";
      untold_exchanges = 0;
    });
  }
}

// --- clients that leave ---

class Leaving : public ServerTest, public ::testing::WithParamInterface<const char*> {
 protected:
  bool http() const { return GetParam() == std::string("http1"); }
  void serve(const std::string& backend, const std::string& more = "") {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $PROTO, cluster: c$MORE}]\n"
                  "clusters: [{name: c, endpoints: ['$UP']}]\n",
                  {{"PROTO", GetParam()}, {"UP", backend}, {"MORE", more}}),
          options);
  }
  std::string request() const {
    return http() ? "GET / HTTP/1.1\r\nhost: a\r\n\r\n" : BoltFrame::request(7, "wait").bytes();
  }
};

class LeavingInLine : public ServerTest {};

TEST_P(Leaving, AFinGivesUpTheCallsThatWait) {
  std::atomic<int> asked{0};
  ScriptedBackend backend([&](TestSocket& s) {
    for (;;) {
      if (http() ? !s.read_request().complete : s.read_bolt().empty()) return;
      ++asked;
    }
  });
  serve(backend.address());
  TestSocket client = connect();
  client.send(request());
  ASSERT_TRUE(eventually([&] { return asked == 1; }));
  client.finish();
  EXPECT_TRUE(client.closed_by_peer());
  EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_active"));
  EXPECT_TRUE(server().becomes(1, "dragoman_request_reasons_total", {"reason=\"downstream_reset\""}));
  if (http()) EXPECT_TRUE(eventually([&] { return backend.active() == 0; })) << "HTTP/1 cancels by closing";
}

TEST_P(Leaving, WhereItMayWantItsAnswerAClientThatStoppedSendingGetsIt) {
  std::atomic<bool> answer{false};
  ScriptedBackend backend([&](TestSocket& s) {
    if (http()) {
      if (!s.read_request().complete) return;
      while (!answer) sleep_ms(1);
      s.send(http_ok("late"));
    } else {
      const std::string frame = s.read_bolt();
      if (frame.empty()) return;
      while (!answer) sleep_ms(1);
      s.send(BoltFrame::response(bolt_id(frame), "late").bytes());
    }
    s.wait_end();
  });
  serve(backend.address(), ", half_close: serve");
  TestSocket client = connect();
  client.send(request());
  client.finish();
  EXPECT_TRUE(server().becomes(1, "dragoman_requests_active"));
  answer = true;
  EXPECT_EQ(http() ? client.read_response().body : read_answer(client).content, "late");
  EXPECT_TRUE(client.closed_by_peer());
}

// While the first of its requests waits, the second is not read further, and the FIN behind it not either.
TEST_F(LeavingInLine, AFinBehindAPipelinedRequestGivesUpTheCallThatWaits) {
  std::atomic<int> asked{0};
  std::atomic<bool> serve{false}, answers{false};
  ScriptedBackend backend([&](TestSocket& s) {
    while (s.read_request().complete) {
      ++asked;
      if (!serve) break;
      while (!answers) sleep_ms(1);
      s.send(http_ok("late"));
    }
    s.wait_end();
  });
  for (const bool patient : {false, true}) {
    SCOPED_TRACE(patient);
    serve = patient;
    asked = 0;
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c$MORE}]\n"
                  "clusters: [{name: c, endpoints: ['$UP']}]\n",
                  {{"UP", backend.address()}, {"MORE", serve ? ", half_close: serve" : ""}}),
          options);
    TestSocket client = connect();
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n");
    ASSERT_TRUE(eventually([&] { return asked == 1; }));
    client.finish();
    if (serve) {
      answers = true;
      for (int i = 0; i < 2; ++i) EXPECT_EQ(client.read_response().body, "late");
    }
    EXPECT_TRUE(client.closed_by_peer());
    EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
    EXPECT_EQ(asked, serve ? 2 : 1);
    stop();
  }
}

INSTANTIATE_TEST_SUITE_P(Protocols, Leaving, ::testing::Values("http1", "bolt"),
                         [](const auto& row) { return std::string(row.param); });

class LeavingOneWay : public ServerTest {};

TEST_F(LeavingOneWay, AOneWayRequestOutlivesTheFinOfItsClient) {
  BoltRecorder backend;
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, cluster: c}]\n"
                "clusters: [{name: c, endpoints: ['$UP']}]\n",
                {{"UP", backend.address()}}),
        options);
  for (int i = 0; i < 20; ++i) {
    TestSocket client = connect();
    client.send(BoltFrame::one_way(static_cast<uint32_t>(i + 1), "told").bytes());
    client.close();
  }
  EXPECT_TRUE(eventually([&] { return backend.count() == 20; }));
  EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
}

}  // namespace
}  // namespace dragoman::testing
