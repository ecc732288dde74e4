// A client and a server codec talking to each other.
#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"

namespace dragoman {
namespace {

namespace h2 = testing::h2;
using testing::bytes_of;
using testing::Call;
using testing::Http2Connection;
using testing::Http2Pair;

class EverySplit : public ::testing::TestWithParam<size_t> {};

TEST_P(EverySplit, UnaryCallWithBodiesAndTrailers) {
  Http2Pair pair({}, {}, GetParam());
  Call call("POST", "/a/b?c=d");
  call.head.headers.add("X-Upper", "1");
  call.head.headers.add("cookie", "a=b");
  call.head.te_trailers = true;
  ASSERT_EQ(pair.start(call, false), Reason::kNone);
  ASSERT_EQ(pair.server.accepted(), 1u);
  auto& request = pair.server.at(0);
  EXPECT_EQ(request.head->method, "POST");
  EXPECT_EQ(request.head->path, "/a/b?c=d");
  EXPECT_EQ(request.head->authority, "example.com");
  EXPECT_EQ(request.head->scheme, "http");
  EXPECT_EQ(request.head->header("x-upper"), "1");
  EXPECT_EQ(request.head->headers.find("x-upper")->name, "x-upper");
  EXPECT_TRUE(request.head->te_trailers);
  EXPECT_FALSE(request.ended);
  call.exchange->send_body(bytes_of("hello "), false);
  call.exchange->send_body(bytes_of("world"), false);
  HeaderList& trailers = call.head.headers;
  trailers.clear();
  trailers.add("x-check", "7");
  call.exchange->send_trailers(trailers);
  pair.pump();
  EXPECT_EQ(request.body, "hello world");
  EXPECT_TRUE(request.ended);
  ASSERT_EQ(request.trailers.size(), 1u);
  EXPECT_EQ(request.trailers[0].second, "7");

  Head interim;
  pair.answer(0, 103, false, interim);
  EXPECT_EQ(call.answer.heads, 1);
  Head head;
  head.headers.add("Server", "me");
  pair.answer(0, 200, false, head);
  EXPECT_EQ(call.answer.heads, 2);
  EXPECT_EQ(call.answer.head->status, 200u);
  EXPECT_EQ(call.answer.head->header("server"), "me");
  request.exchange->send_body(bytes_of("answer"), false);
  Head end;
  end.headers.add("grpc-status", "0");
  request.exchange->send_trailers(end.headers);
  request.release();  // its last bytes are not sent yet
  pair.pump();
  EXPECT_EQ(call.answer.body, "answer");
  EXPECT_TRUE(call.answer.ended);
  ASSERT_EQ(call.answer.trailers.size(), 1u);
  EXPECT_EQ(call.answer.trailers[0].first, "grpc-status");
  call.answer.release();
  pair.pump();
  EXPECT_EQ(pair.client.codec->open_exchanges(), 0u);
  EXPECT_EQ(pair.server.codec->open_exchanges(), 0u);
  EXPECT_EQ(pair.client.events.broken + pair.server.events.broken, 0);
}

INSTANTIATE_TEST_SUITE_P(Http2, EverySplit, ::testing::Values(1, 2, 3, 5, 8, 9, 10, 17, 64, 1000, 1 << 20));

TEST(Http2PairTest, NothingIsOpenedBeforeThePeersSettings) {
  testing::Http2Connection client(Role::kClient);
  EXPECT_EQ(client.codec->capacity(), 0u);
  Call call("GET", "/");
  EXPECT_FALSE(call.open(*client.codec));
  client.feed(std::string("\0\0\6\4\0\0\0\0\0\0\3\0\0\0\2", 15));  // SETTINGS: two streams
  EXPECT_EQ(client.codec->capacity(), 2u);
  EXPECT_EQ(client.events.capacity_calls, 1);
}

TEST(Http2PairTest, CapacityIsThePeersLimitAndStreamsCountUntilTheyAreClosed) {
  CodecOptions server;
  server.http2.streams_max = 2;
  Http2Pair pair({}, server);
  Call a("GET", "/a"), b("GET", "/b"), c("GET", "/c");
  EXPECT_EQ(pair.start(a, true), Reason::kNone);
  EXPECT_EQ(pair.start(b, true), Reason::kNone);
  EXPECT_EQ(pair.client.codec->capacity(), 0u);
  EXPECT_FALSE(c.open(*pair.client.codec));
  Head head;
  pair.answer(0, 204, true, head);
  int calls = pair.client.events.capacity_calls;
  a.answer.release();
  pair.server.at(0).release();
  EXPECT_GT(pair.client.events.capacity_calls, calls);
  EXPECT_EQ(pair.start(c, true), Reason::kNone);
  EXPECT_EQ(pair.server.accepted(), 3u);
}

TEST(Http2PairTest, ACancelledCallResetsTheStreamAndLeavesTheOthers) {
  Http2Pair pair;
  Call a("GET", "/a"), b("GET", "/b");
  pair.start(a, true);
  pair.start(b, true);
  a.exchange->reset(Reason::kDownstreamReset);
  a.answer.release();
  pair.pump();
  EXPECT_TRUE(pair.server.at(0).was_reset);
  EXPECT_EQ(pair.server.at(0).reset_reason, Reason::kDownstreamReset);
  pair.server.at(0).release();
  Head head;
  pair.answer(1, 200, true, head);
  EXPECT_EQ(b.answer.head->status, 200u);
}

TEST(Http2PairTest, AResetOfTheAnswerReachesTheCaller) {
  Http2Pair pair;
  Call a("GET", "/a"), refused("GET", "/b");
  pair.start(a, true);
  pair.start(refused, true);
  Head head;
  pair.answer(0, 200, false, head);
  pair.server.at(0).exchange->reset(Reason::kUpstreamReset);
  pair.server.at(0).release();
  pair.server.at(1).exchange->reset(Reason::kUpstreamRefused);
  pair.server.at(1).release();
  pair.pump();
  EXPECT_EQ(a.answer.reset_reason, Reason::kUpstreamReset);
  EXPECT_EQ(refused.answer.reset_reason, Reason::kUpstreamRefused);
}

TEST(Http2PairTest, APausedReaderHoldsNoMoreThanItsWindow) {
  CodecOptions client;
  client.http2.stream_window_bytes = 65'535;
  Http2Pair pair(client);
  Call call("GET", "/");
  pair.start(call, true);
  call.exchange->pause_reading();
  Head head;
  pair.answer(0, 200, false, head);
  auto& server = pair.server.at(0);
  std::string chunk(20'000, 'x');
  size_t sent = 0;
  while (server.blocked.empty() || !server.blocked.back()) {
    server.exchange->send_body(bytes_of(chunk), false);
    sent += chunk.size();
    pair.pump();
    ASSERT_LT(sent, 300'000u);
  }
  EXPECT_EQ(call.answer.body.size(), 65'535u);
  EXPECT_TRUE(server.exchange->write_blocked());
  call.exchange->resume_reading();
  pair.pump();
  EXPECT_EQ(call.answer.body.size(), sent);
  EXPECT_FALSE(server.blocked.back());
  EXPECT_FALSE(server.exchange->write_blocked());
}

TEST(Http2PairTest, ABlockedTransportStopsFramesAndTellsEveryExchange) {
  Http2Pair pair;
  Call call("GET", "/");
  pair.start(call, true);
  Head head;
  pair.answer(0, 200, false, head);
  auto& server = pair.server.at(0);
  pair.server.codec->on_write_blocked(true);
  ASSERT_EQ(server.blocked, std::vector<bool>{true});
  server.exchange->send_body(bytes_of("held"), true);
  EXPECT_EQ(pair.server.sink.take(), "");
  EXPECT_EQ(server.exchange->buffered_bytes(), 4u);
  pair.server.codec->on_write_blocked(false);
  pair.pump();
  EXPECT_EQ(call.answer.body, "held");
  EXPECT_EQ(server.blocked, (std::vector<bool>{true, false}));
}

TEST(Http2PairTest, DrainSaysGoodbyeTwiceAndEndsAfterTheLastAnswer) {
  Http2Pair pair;
  Call call("GET", "/");
  pair.start(call, true);
  pair.server.codec->drain();
  pair.pump();
  EXPECT_EQ(pair.client.events.goaways, 1);
  EXPECT_EQ(pair.client.codec->capacity(), 0u);
  EXPECT_EQ(pair.server.events.finished, 0);
  Head head;
  pair.answer(0, 200, true, head);
  pair.server.at(0).release();
  const std::vector<h2::Frame> last = h2::parse(pair.server.sink.take());
  ASSERT_EQ(last.size(), 1u);
  EXPECT_EQ(last[0].type, h2::kGoAway);
  EXPECT_EQ(last[0].word(0), 1u);
  EXPECT_EQ(pair.server.events.finished, 1);
  EXPECT_TRUE(call.answer.ended);
}

// A server that drains, and a client of frames that opens streams whatever it was told.
class Draining {
 public:
  explicit Draining(const Http2Options& options)
      : server(Role::kServer, CodecOptions{.http1 = {}, .http2 = options, .framed = {}}) {
    server.feed(h2::hello());
    server.codec->drain();
    see();
    EXPECT_EQ(last_ids, std::vector<uint32_t>{0x7fffffff});
    server.feed(h2::frame(h2::kPing, h2::kAck, 0, ping));
    see();
  }
  /// Reads what the server said.
  void see() {
    for (const h2::Frame& f : h2::parse(server.sink.take())) {
      if (f.type == h2::kGoAway) last_ids.push_back(f.word(0));
      if (f.type == h2::kPing && !(f.flags & h2::kAck)) ping = f.payload;
      if (f.type == h2::kHeaders) answered.push_back(f.id);
    }
  }
  void ask(uint32_t id) {
    server.feed(h2::headers(id, h2::get()));
    see();
  }
  void answer(size_t i) {
    Head head;
    head.is_http = true;
    head.is_request = false;
    head.status = 200;
    ASSERT_LT(i, server.accepted()) << "not taken";
    server.at(i).exchange->send_head(head, true);
    server.at(i).release();
    see();
  }
  void wait(uint64_t ms) { server.events.now += ms; }

  Http2Connection server;
  std::vector<uint32_t> last_ids, answered;
  std::string ping;
};

TEST(Http2DrainTest, WhatIsOpenedWithinTheGraceIsServed) {
  Draining d({.drain_grace_ms = 1000});
  d.ask(1);
  EXPECT_EQ(d.last_ids.size(), 1u) << "the last one is held back though the client knows of the first";
  d.answer(0);
  d.wait(900);
  d.ask(3);
  d.wait(999);
  d.answer(1);
  EXPECT_EQ(d.answered, (std::vector<uint32_t>{1, 3}));
  EXPECT_EQ(d.last_ids.size(), 1u) << "each request begins the grace anew";
  EXPECT_EQ(d.server.events.finished, 0);
  d.ask(5);
  d.wait(1000);
  d.answer(2);
  EXPECT_EQ(d.last_ids, (std::vector<uint32_t>{0x7fffffff, 5}));
  EXPECT_EQ(d.server.events.finished, 1) << "quiet for the grace: the last answer ends it";
}

TEST(Http2DrainTest, AnIdleConnectionHearsTheLastIdFromItsOwner) {
  Draining d({.drain_grace_ms = 1000});
  d.ask(1);
  d.answer(0);
  EXPECT_EQ(d.server.events.finished, 0);
  d.server.codec->farewell();
  d.see();
  EXPECT_EQ(d.last_ids, (std::vector<uint32_t>{0x7fffffff, 1}));
}

TEST(Http2DrainTest, AClientThatGoesOnIsToldInTheEnd) {
  Draining d({.drain_grace_ms = 1000, .drain_hold_max_ms = 5000});
  EXPECT_LE(d.server.codec->tick(), 5000);
  for (uint32_t id = 1; id <= 19; id += 2) {
    d.wait(400);
    d.ask(id);
    EXPECT_GE(d.server.codec->tick(), 1);
  }
  EXPECT_EQ(d.last_ids.size(), 1u);
  EXPECT_EQ(d.server.accepted(), 10u);
  d.wait(1000);
  static_cast<void>(d.server.codec->tick());
  d.see();
  EXPECT_EQ(d.last_ids, (std::vector<uint32_t>{0x7fffffff, 19}));
  d.ask(21);
  EXPECT_EQ(d.server.accepted(), 10u) << "refused by the last id";
  for (size_t i = 0; i < 10; ++i) d.answer(i);
  EXPECT_EQ(d.answered.size(), 10u);
  EXPECT_EQ(d.server.events.finished, 1);
}

TEST(Http2PairTest, HeartbeatsAreAnswered) {
  Http2Pair pair;
  EXPECT_TRUE(pair.client.codec->heartbeat());
  EXPECT_EQ(pair.client.codec->heartbeats_missed(), 1u);
  pair.pump();
  EXPECT_EQ(pair.client.codec->heartbeats_missed(), 0u);
  EXPECT_EQ(pair.server.events.count(CodecEvent::kHeartbeatAnswered), 1u);
  EXPECT_EQ(pair.client.events.count(CodecEvent::kHeartbeatAck), 1u);
}

TEST(Http2PairTest, LocalRepliesAreCompleteAnswers) {
  Http2Pair pair;
  Call call("GET", "/");
  pair.start(call, true);
  LocalReply reply;
  reply.reason = Reason::kNoRoute;
  reply.text = "no route";
  auto& request = pair.server.at(0);
  request.exchange->send_reply(*request.head, reply);
  request.release();
  pair.pump();
  EXPECT_EQ(call.answer.head->status, 404u);
  EXPECT_EQ(call.answer.head->content_length, 8);
  EXPECT_EQ(call.answer.body, "no route");
  EXPECT_TRUE(call.answer.ended);
}

// The transport is being collected while a sink hears of room: nobody collects it again for what the sink sends then.
TEST(Http2PairTest, WhatSinksSendWhenTheyHearOfRoomLeavesAtOnce) {
  Http2Pair pair;
  Call call("POST", "/");
  ASSERT_EQ(pair.start(call, false), Reason::kNone);
  call.answer.then_blocked = [&](bool blocked) {
    if (!blocked) call.exchange->send_body(bytes_of("last"), true);
  };
  const std::string piece(7000, 'x');
  while (call.answer.blocked.empty()) call.exchange->send_body(bytes_of(piece), false);
  pair.server.feed(pair.client.sink.take());
  EXPECT_EQ(call.answer.blocked, (std::vector<bool>{true, false}));
  EXPECT_TRUE(pair.server.at(0).ended);
  EXPECT_TRUE(pair.server.at(0).body.ends_with("xlast"));
}

// The request was noted, and the GOAWAY was read before its frame was built: nobody has seen it.
TEST(Http2PairTest, ARequestThatAGoAwayOvertakesWasRefused) {
  Http2Pair pair;
  Call call("POST", "/");
  ASSERT_TRUE(call.open(*pair.client.codec));
  ASSERT_EQ(call.exchange->send_head(call.head, false), Reason::kNone);
  pair.client.feed(h2::goaway(0, h2::kNoError));
  pair.client.sink.take();
  EXPECT_EQ(call.answer.reset_reason, Reason::kUpstreamRefused);
  EXPECT_EQ(pair.client.events.broken, 0);
}

// One sink ends the connection while all are being told something: each of the others hears the end, once.
TEST(Http2PairTest, ASinkThatEndsTheConnectionHidesItFromNobody) {
  for (int which = 0; which < 3; ++which) {
    Http2Pair pair;
    std::vector<std::unique_ptr<Call>> calls;
    for (int i = 0; i < 3; ++i) {
      calls.push_back(std::make_unique<Call>("POST", "/"));
      ASSERT_EQ(pair.start(*calls.back(), false), Reason::kNone);
    }
    pair.client.codec->on_write_blocked(true);
    calls[static_cast<size_t>(which)]->answer.then_blocked = [&](bool blocked) {
      if (!blocked) pair.client.codec->fail(Reason::kHeartbeatLost);
    };
    pair.client.codec->on_write_blocked(false);
    for (auto& c : calls) EXPECT_EQ(c->answer.reset_reason, Reason::kHeartbeatLost);
    calls.clear();
    EXPECT_EQ(pair.client.codec->open_exchanges(), 0u);
  }
}

TEST(Http2PairTest, NoMemoryIsLeft) {
  {
    Http2Pair pair;
    Call call("GET", "/");
    pair.start(call, true);
  }
  EXPECT_EQ(live_http2_exchanges(), 0u);
}

}  // namespace
}  // namespace dragoman
