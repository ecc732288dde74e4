// Pool modes, server-initiated requests, and protocols unlike Bolt: no ids, text ids, own checksums,
// connection memory.
#include <gtest/gtest.h>

#include "protocols/bolt/bolt.h"
#include "tests/framed/tiny_codecs.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"

namespace dragoman::testing {
namespace {

std::span<const uint8_t> bytes_of(std::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

TEST(FramedBound, IdsAndOrderPassThroughInBothDirections) {
  FramedConnection down(bolt_codec(), Role::kServer),
      up(bolt_codec(), Role::kClient, framed_options(PoolMode::kBound));
  Hop requests(down, up);
  Hop pushes(up, down);  // the server asks, the client answers
  std::string stream = BoltFrame::request(10, "a").bytes() + BoltFrame::request(11, "b").bytes() +
                       BoltFrame::request(10, "c").bytes();
  down.feed_in_steps(stream, 17);
  EXPECT_EQ(up.sink.take(), stream);

  up.feed(BoltFrame::request(500, "push").bytes());
  EXPECT_EQ(down.sink.take(), BoltFrame::request(500, "push").bytes());
  down.feed(BoltFrame::response(500, "pushed").bytes());
  EXPECT_EQ(up.sink.take(), BoltFrame::response(500, "pushed").bytes());

  std::string answers = BoltFrame::response(11, "B").bytes() + BoltFrame::response(10, "A").bytes() +
                        BoltFrame::response(10, "C").bytes();
  up.feed(answers);
  EXPECT_EQ(down.sink.take(), answers);
  up.feed(BoltFrame::response(10).bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 1u);
  EXPECT_EQ(down.codec->open_exchanges() + up.codec->open_exchanges(), 0u);
}

TEST(FramedBound, RequestsStreamThrough) {
  FramedConnection down(bolt_codec(), Role::kServer),
      up(bolt_codec(), Role::kClient, framed_options(PoolMode::kBound));
  Hop hop(down, up);
  std::string big = BoltFrame::request(1, std::string(50000, 'x')).bytes();
  down.feed(big.substr(0, 20000));
  EXPECT_EQ(up.sink.peek().size(), 20000u);
  // Other frames wait for its end.
  up.feed(BoltFrame::heartbeat(7).bytes());
  EXPECT_TRUE(up.codec->heartbeat());
  EXPECT_EQ(up.sink.peek().size(), 20000u);
  down.feed(big.substr(20000));
  std::string out = up.sink.take();
  EXPECT_EQ(out.substr(0, big.size()), big);
  EXPECT_EQ(out.size(), big.size() + 20 + 22);
  EXPECT_EQ(bolt_id(out.substr(big.size())), 7u);
}

TEST(FramedBound, TwoStreamingAtOnceDoNotMix) {
  FramedConnection d1(bolt_codec(), Role::kServer), d2(bolt_codec(), Role::kServer),
      up(bolt_codec(), Role::kClient, framed_options(PoolMode::kBound));
  Hop h1(d1, up), h2(d2, up);
  std::string a = BoltFrame::request(1, std::string(30000, 'a')).bytes(),
              b = BoltFrame::request(2, std::string(30000, 'b')).bytes();
  std::string c = BoltFrame::request(3, "").bytes();
  d1.feed(a.substr(0, 10000));
  d2.feed(b.substr(0, 10000));
  d2.feed(b.substr(10000) + c);
  EXPECT_EQ(up.sink.take(), a.substr(0, 10000));
  d1.feed(a.substr(10000));
  EXPECT_EQ(up.sink.take(), a.substr(10000) + b + c);
}

TEST(FramedBound, ACutFrameBreaksTheConnection) {
  for (bool dead_peer : {false, true}) {
    FramedConnection down(bolt_codec(), Role::kServer),
        up(bolt_codec(), Role::kClient, framed_options(PoolMode::kBound));
    Hop hop(down, up);
    std::string big = BoltFrame::request(1, std::string(50000, 'x')).bytes();
    down.feed(BoltFrame::request(9).bytes() + big.substr(0, 20000));
    if (dead_peer)
      down.codec->on_transport_closed(Reason::kDownstreamReset);
    else
      down.at(1).then_reset(Reason::kInternal);  // the hop gives up
    EXPECT_EQ(up.events.broken, 1);
    EXPECT_EQ(up.codec->open_exchanges(), 0u);
  }
}

TEST(FramedBound, PausesTheConnection) {
  FramedConnection down(bolt_codec(), Role::kServer),
      up(bolt_codec(), Role::kClient, framed_options(PoolMode::kBound));
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink answer;
  answer.exchange = up.codec->open(answer);
  answer.exchange->send_head(*down.at(0).head, false);
  answer.exchange->pause_reading();
  EXPECT_TRUE(up.events.paused);
  answer.release();
  EXPECT_FALSE(up.events.paused);
}

TEST(FramedMultiplex, AServersRequestThatNobodyTakesIsAnswered) {
  FramedConnection up(bolt_codec(), Role::kClient);
  up.events.refuse = true;
  up.feed(BoltFrame::request(77).bytes());
  BoltFrame reply;
  reply.type = 0, reply.command = 2, reply.id = 77, reply.status = 6;
  EXPECT_EQ(up.sink.take(), reply.bytes());
  EXPECT_EQ(up.events.broken, 0);
}

TEST(FramedPingPong, OneAtATime) {
  FramedConnection down(bolt_codec(), Role::kServer),
      up(bolt_codec(), Role::kClient, framed_options(PoolMode::kPingPong));
  EXPECT_EQ(up.codec->capacity(), 1u);
  {
    Hop hop(down, up);
    down.feed(BoltFrame::request(6, "x").bytes());
    EXPECT_EQ(up.codec->capacity(), 0u);
    std::string sent = up.sink.take();
    EXPECT_EQ(sent, BoltFrame::request(bolt_id(sent), "x").bytes());
    EXPECT_NE(bolt_id(sent), 6u) << "an id of our own";
    up.feed(BoltFrame::response(bolt_id(sent), "y").bytes());
    EXPECT_EQ(down.sink.take(), BoltFrame::response(6, "y").bytes());
    EXPECT_EQ(up.codec->capacity(), 1u);
    EXPECT_EQ(up.events.capacity_calls, 1);
    // Giving up a sent request costs the connection: the next answer could not be told apart.
    down.feed(BoltFrame::request(7, "x").bytes());
    down.at(1).then_reset(Reason::kUpstreamTimeout);
    EXPECT_EQ(up.events.broken, 1);
    EXPECT_EQ(up.codec->capacity(), 0u);
  }
}

TEST(FramedPingPong, AnAnswerMayComeBeforeTheRequestEnds) {
  FramedConnection down(bolt_codec(), Role::kServer),
      up(bolt_codec(), Role::kClient, framed_options(PoolMode::kPingPong));
  std::string big = BoltFrame::request(1, std::string(50000, 'x')).bytes();
  down.feed(big.substr(0, 20000));
  FakeMessageSink answer;
  answer.exchange = up.codec->open(answer);
  ASSERT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kNone);
  answer.exchange->send_body(bytes_of(down.at(0).body), false);
  up.feed(BoltFrame::response(bolt_id(up.sink.peek()), "early").bytes());
  EXPECT_EQ(answer.body, "early");
  EXPECT_TRUE(answer.ended);
  EXPECT_EQ(up.codec->open_exchanges(), 1u);
  // Ended early by the holder: half a request is on the wire.
  answer.release();
  EXPECT_EQ(up.events.broken, 1);
  EXPECT_EQ(up.codec->open_exchanges(), 0u);
  down.at(0).release();
  EXPECT_EQ(down.events.broken, 0);
  down.feed(big.substr(20000) + BoltFrame::request(2).bytes());
  EXPECT_EQ(down.accepted(), 2u) << "the rest of the given-up request is skipped";
}

/// A client, its ping-pong connection, and calls that wait until that has room.
struct OneByOne {
  explicit OneByOne(const dragoman_codec* table)
      : down(table, Role::kServer), up(table, Role::kClient, framed_options(PoolMode::kPingPong)) {
    up.events.then_capacity = [this] { next(); };
  }
  ~OneByOne() {
    for (auto& a : answers) a->release();
  }
  /// The requests of the client go when there is room for them.
  void ask(const std::string& frames) {
    down.feed(frames);
    next();
  }
  void next() {
    while (sent < down.accepted() && up.codec->capacity() > 0) {
      FakeMessageSink& from = down.at(sent++);
      answers.push_back(std::make_unique<FakeMessageSink>());
      FakeMessageSink& answer = *answers.back();
      answer.then_body = [&answer](std::string_view, bool end) {
        if (end) answer.release();
      };
      answer.then_reset = [&answer](Reason) { answer.release(); };
      answer.exchange = up.codec->open(answer);
      const bool one_way = from.head->one_way;
      ASSERT_EQ(answer.exchange->send_head(*from.head, from.body.empty()), Reason::kNone);
      if (!from.body.empty()) answer.exchange->send_body(bytes_of(from.body), true);
      if (one_way) answer.release();
    }
  }
  FramedConnection down, up;
  std::vector<std::unique_ptr<FakeMessageSink>> answers;
  size_t sent = 0;
};

TEST(FramedPingPong, ASecondAnswerIsNotTheNextCalls) {
  OneByOne world(codec_table<NoId>());
  world.ask(NoId::frame(DRAGOMAN_REQUEST, "a") + NoId::frame(DRAGOMAN_REQUEST, "b"));
  world.up.feed(NoId::frame(DRAGOMAN_RESPONSE, "A") + NoId::frame(DRAGOMAN_RESPONSE, "A again"));
  EXPECT_EQ(world.answers.size(), 1u) << "nothing was sent while answers were read";
  EXPECT_EQ(world.answers[0]->body, "A");
  EXPECT_EQ(world.up.events.broken_reason, Reason::kUpstreamProtocolError);
}

TEST(FramedPingPong, HalfAnAnswerKeepsTheConnectionBusy) {
  OneByOne world(codec_table<NoId>());
  world.ask(NoId::frame(DRAGOMAN_REQUEST, "a") + NoId::frame(DRAGOMAN_REQUEST, "b"));
  std::string twice = NoId::frame(DRAGOMAN_RESPONSE, "A") + NoId::frame(DRAGOMAN_RESPONSE, "A again");
  world.up.feed(twice.substr(0, 7));
  EXPECT_EQ(world.up.codec->capacity(), 0u);
  EXPECT_EQ(world.answers.size(), 1u);
  world.up.feed(twice.substr(7));
  EXPECT_EQ(world.answers.size(), 1u);
  EXPECT_EQ(world.up.events.broken, 1);
}

TEST(FramedPingPong, AnAnswerToNobodyEndsTheConnection) {
  for (bool in_flight : {false, true}) {
    FramedConnection up(bolt_codec(), Role::kClient, framed_options(PoolMode::kPingPong));
    FramedConnection down(bolt_codec(), Role::kServer);
    down.feed(BoltFrame::request(6).bytes());
    FakeMessageSink answer;
    if (in_flight) {
      answer.exchange = up.codec->open(answer);
      ASSERT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kNone);
      answer.exchange->send_body(bytes_of("body"), true);
    }
    up.feed(BoltFrame::response(6).bytes());
    EXPECT_EQ(up.events.broken, 1) << in_flight;
    EXPECT_EQ(answer.was_reset, in_flight);
    EXPECT_EQ(answer.heads, 0);
    EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 1u);
    answer.release();
  }
}

TEST(FramedPingPong, AfterAOneWayRequestThatMayBeAnswered) {
  struct Row {
    const char* what;
    const dragoman_codec* table;
    std::string one_way;
    bool goes_on;
  } rows[] = {
      {"no ids", codec_table<NoId>(), NoId::frame(DRAGOMAN_ONEWAY, "o"), false},
      {"ids of our own", bolt_codec(), BoltFrame::one_way(3).bytes(), true},
      {"ids that answers may lack", codec_table<Unsized>(), Unsized::frame(DRAGOMAN_ONEWAY, 3, "o", 'L'),
       false},
      {"a text id", codec_table<TextId>(), TextId::frame(DRAGOMAN_ONEWAY, "x", "o"), true},
  };
  for (const Row& row : rows) {
    OneByOne world(row.table);
    world.ask(row.one_way);
    EXPECT_EQ(world.up.codec->capacity(), row.goes_on ? 1u : 0u) << row.what;
    EXPECT_EQ(world.up.events.spent, row.goes_on ? 0 : 1) << row.what;
    EXPECT_EQ(world.up.codec->open_exchanges(), 0u);
    EXPECT_EQ(world.up.events.broken, 0);
  }
  // Where the connection goes on, the answer is known by its id.
  OneByOne world(bolt_codec());
  world.ask(BoltFrame::one_way(3).bytes());
  uint32_t id = bolt_id(world.up.sink.take());
  world.ask(BoltFrame::request(4).bytes());
  uint32_t next = bolt_id(world.up.sink.take());
  world.up.feed(BoltFrame::response(id, "to the one-way").bytes() +
                BoltFrame::response(next, "right").bytes());
  EXPECT_EQ(world.answers[1]->body, "right");
  EXPECT_EQ(world.up.events.count(CodecEvent::kOneWayAnswered), 1u);
  EXPECT_EQ(world.up.events.broken, 0);
}

TEST(FramedLooseIds, AnAnswerWithoutAnIdIsForTheOnlyCallUnderWay) {
  auto request = [](uint64_t id) { return Unsized::frame(DRAGOMAN_REQUEST, id, "q", 'L'); };
  const std::string answer = Unsized::frame(DRAGOMAN_RESPONSE, 0, "a", 'L');
  for (PoolMode mode : {PoolMode::kMultiplex, PoolMode::kPingPong, PoolMode::kBound}) {
    FramedConnection down(codec_table<Unsized>(), Role::kServer),
        up(codec_table<Unsized>(), Role::kClient, framed_options(mode));
    Hop hop(down, up);
    down.feed(request(7));
    up.sink.take();
    up.feed(answer);
    EXPECT_EQ(down.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 7, "a", 'L')) << static_cast<int>(mode);
    EXPECT_EQ(up.events.broken, 0);
    if (mode == PoolMode::kPingPong) continue;
    down.feed(request(8) + request(9));
    up.sink.take();
    up.feed(answer);
    EXPECT_EQ(down.sink.take(), "") << "it could be for either";
    EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 1u);
  }
  // A call that was given up, or a one-way request, may be what it answers.
  for (bool one_way : {false, true}) {
    FramedConnection down(codec_table<Unsized>(), Role::kServer), up(codec_table<Unsized>(), Role::kClient);
    Hop hop(down, up);
    down.feed(one_way ? Unsized::frame(DRAGOMAN_ONEWAY, 5, "o", 'L') : request(5));
    up.sink.take();
    if (!one_way) down.at(0).then_reset(Reason::kUpstreamTimeout);
    down.feed(request(7));
    up.sink.take();
    up.feed(answer);
    EXPECT_EQ(down.sink.take(), "");
    EXPECT_EQ(up.events.broken, 0);
  }
}

// The id that stands for none may be a client's own. What has it is then the answer to that, and the same again to nobody.
TEST(FramedLooseIds, ASecondAnswerToTheIdOfAClientIsForNobody) {
  FramedConnection down(codec_table<Unsized>(), Role::kServer),
      up(codec_table<Unsized>(), Role::kClient, framed_options(PoolMode::kBound));
  Hop hop(down, up);
  const std::string answer = Unsized::frame(DRAGOMAN_RESPONSE, 0, "a", 'L');
  for (int n = 0; n < 3; ++n) {
    down.feed(Unsized::frame(DRAGOMAN_REQUEST, 0, "q", 'L'));
    up.feed(answer);
    EXPECT_EQ(down.sink.take(), answer) << n;
  }
  down.feed(Unsized::frame(DRAGOMAN_REQUEST, 7, "q", 'L'));
  up.feed(answer);
  EXPECT_EQ(down.sink.take(), "");
  EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 1u);
  up.feed(Unsized::frame(DRAGOMAN_RESPONSE, 7, "right", 'L'));
  EXPECT_EQ(down.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 7, "right", 'L'));
  EXPECT_EQ(up.events.broken, 0);
}

TEST(FramedNoIds, AnswersKeepTheOrderOfRequests) {
  FramedConnection c(codec_table<NoId>(), Role::kServer);
  ASSERT_TRUE(check_codec(*codec_table<NoId>()).has_value());
  c.feed(NoId::frame(DRAGOMAN_REQUEST, "a") + NoId::frame(DRAGOMAN_REQUEST, "b") +
         NoId::frame(DRAGOMAN_ONEWAY, "o") + NoId::frame(DRAGOMAN_REQUEST, "c"));
  ASSERT_EQ(c.accepted(), 4u);
  LocalReply reply;
  reply.reason = Reason::kNoRoute;
  reply.text = "C";
  c.at(3).exchange->send_reply(*c.at(3).head, reply);
  c.at(3).release();  // before it was written
  reply.text = "B";
  c.at(1).exchange->send_reply(*c.at(1).head, reply);
  EXPECT_EQ(c.sink.take(), "");
  reply.text = "A";
  c.at(0).exchange->send_reply(*c.at(0).head, reply);
  auto answer = [](const char* text) { return NoId::frame(DRAGOMAN_RESPONSE, std::string("6") + text); };
  EXPECT_EQ(c.sink.take(), answer("A") + answer("B") + answer("C"));
  EXPECT_EQ(c.events.broken, 0);
}

TEST(FramedNoIds, TurnedAwayRequestsKeepTheirPlace) {
  CodecOptions small = framed_options();
  small.framed.streams_max = 1;
  FramedConnection c(codec_table<NoId>(), Role::kServer, small);
  c.feed(NoId::frame(DRAGOMAN_REQUEST, "a") + NoId::frame(DRAGOMAN_REQUEST, "b"));
  EXPECT_EQ(c.events.count(CodecEvent::kStreamsOverflow), 1u);
  EXPECT_EQ(c.sink.take(), "");
  c.at(0).exchange->send_reply(*c.at(0).head, {});
  EXPECT_EQ(c.sink.take(), NoId::frame(DRAGOMAN_RESPONSE, "2") + NoId::frame(DRAGOMAN_RESPONSE, "3"));
  c.feed(NoId::frame(DRAGOMAN_REQUEST, "c"));
}

TEST(FramedNoIds, AnAnswerIsKeptThoughItsRequestIsNotReadToTheEnd) {
  FramedConnection c(codec_table<NoId>(), Role::kServer);
  c.events.then_exchange = [&c](FakeMessageSink& sink) {
    if (c.accepted() != 2) return;
    sink.then_head = [&sink](Head& head, bool) {  // answered at its head, like a request without a route
      sink.exchange->send_reply(head, {});
      sink.release();
    };
  };
  c.feed(NoId::frame(DRAGOMAN_REQUEST, "a") + NoId::frame(DRAGOMAN_REQUEST, "b") +
         NoId::frame(DRAGOMAN_REQUEST, "c"));
  for (size_t i : {2, 0}) {
    c.at(i).exchange->send_reply(*c.at(i).head, {});
    c.at(i).release();
  }
  const std::string one =
      NoId::frame(DRAGOMAN_RESPONSE, std::to_string(static_cast<int>(Outcome::kServerError)));
  EXPECT_EQ(c.sink.take(), one + one + one);
  EXPECT_EQ(c.events.broken, 0);
  EXPECT_EQ(c.codec->open_exchanges(), 0u);
}

TEST(FramedNoIds, NoRefusalOvertakesAnAnswer) {
  struct Row {
    const char* what;
    std::string bytes;
    void (*then)(FramedConnection&);
  } rows[] = {
      {"too large", std::string("N\x01\xff\xff", 4), nullptr},
      {"not the protocol", "garbage", nullptr},
      {"half a frame in time", NoId::frame(DRAGOMAN_REQUEST, "late").substr(0, 6),
       [](FramedConnection& c) { c.codec->fail(Reason::kFrameTimeout); }},
      {"half a head in time", NoId::frame(DRAGOMAN_REQUEST, "late").substr(0, 3),
       [](FramedConnection& c) { c.codec->fail(Reason::kFrameTimeout); }},
  };
  for (const Row& row : rows) {
    for (bool owed : {true, false}) {
      CodecOptions small = framed_options();
      small.framed.frame_bytes_max = 1000;
      FramedConnection c(codec_table<NoId>(), Role::kServer, small);
      if (owed) c.feed(NoId::frame(DRAGOMAN_REQUEST, "a"));
      c.feed(row.bytes);
      if (row.then) row.then(c);
      EXPECT_EQ(c.events.broken, 1) << row.what;
      if (owed) {
        EXPECT_EQ(c.sink.take(), "") << row.what << ": it would be the answer to the first";
      }
    }
  }
}

TEST(FramedNoIds, ASkippedAnswerBreaks) {
  FramedConnection c(codec_table<NoId>(), Role::kServer);
  c.feed(NoId::frame(DRAGOMAN_REQUEST, "a") + NoId::frame(DRAGOMAN_REQUEST, "b"));
  c.at(1).exchange->send_reply(*c.at(1).head, {});
  c.at(1).release();
  c.at(0).release();
  EXPECT_EQ(c.events.broken, 1);
  EXPECT_EQ(c.sink.take(), "");
}

TEST(FramedNoIds, PingPongAndNotMultiplex) {
  FramedConnection down(codec_table<NoId>(), Role::kServer);
  FramedConnection shared(codec_table<NoId>(), Role::kClient);
  FramedConnection pingpong(codec_table<NoId>(), Role::kClient, framed_options(PoolMode::kPingPong));
  down.feed(NoId::frame(DRAGOMAN_REQUEST, "a"));
  FakeMessageSink one, two;
  one.exchange = shared.codec->open(one);
  EXPECT_EQ(one.exchange->send_head(*down.at(0).head, false), Reason::kUnsupported);
  one.release();
  two.exchange = pingpong.codec->open(two);
  ASSERT_EQ(two.exchange->send_head(*down.at(0).head, false), Reason::kNone);
  two.exchange->send_body(bytes_of("a"), true);
  EXPECT_EQ(pingpong.sink.take(), NoId::frame(DRAGOMAN_REQUEST, "a"));
  pingpong.feed(NoId::frame(DRAGOMAN_RESPONSE, "b"));
  EXPECT_EQ(two.body, "b");
  ASSERT_EQ(down.at(0).exchange->send_head(*two.head, false), Reason::kNone);
  down.at(0).exchange->send_body(bytes_of("b"), true);
  EXPECT_EQ(down.sink.take(), NoId::frame(DRAGOMAN_RESPONSE, "b"));
  two.release();
  EXPECT_EQ(pingpong.events.broken, 0);
}

TEST(FramedTextIds, AreRewrittenAndRestored) {
  ASSERT_TRUE(check_codec(*codec_table<TextId>()).has_value());
  for (std::string id :
       {std::string("x"), std::string("a-longer-id-than-sixteen-bytes"), std::string(16, 'u')}) {
    FramedConnection down(codec_table<TextId>(), Role::kServer), up(codec_table<TextId>(), Role::kClient);
    Hop hop(down, up);
    down.feed(TextId::frame(DRAGOMAN_REQUEST, id, "one") + TextId::frame(DRAGOMAN_REQUEST, id, "two"));
    std::string sent = up.sink.take();
    size_t length = std::max<size_t>(id.size(), 16);
    ASSERT_EQ(sent.size(), 2 * (5 + length + 3));
    std::string first = sent.substr(5, length), second = sent.substr(5 + length + 3 + 5, length);
    EXPECT_NE(first, second);
    up.feed(TextId::frame(DRAGOMAN_RESPONSE, second, "TWO") + TextId::frame(DRAGOMAN_RESPONSE, first, "ONE"));
    EXPECT_EQ(down.sink.take(),
              TextId::frame(DRAGOMAN_RESPONSE, id, "TWO") + TextId::frame(DRAGOMAN_RESPONSE, id, "ONE"));
    for (std::string odd : {first, std::string("y"), std::string(16, 'z'), first + "x"})
      up.feed(TextId::frame(DRAGOMAN_RESPONSE, odd, "?"));
    EXPECT_EQ(up.events.count(CodecEvent::kLateAnswer), 1u);
    EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 3u);
    EXPECT_EQ(up.events.broken, 0);
  }
}

TEST(FramedTextIds, PassThroughWhenBound) {
  FramedConnection down(codec_table<TextId>(), Role::kServer),
      up(codec_table<TextId>(), Role::kClient, framed_options(PoolMode::kBound));
  Hop hop(down, up);
  down.feed(TextId::frame(DRAGOMAN_REQUEST, "p", "1") + TextId::frame(DRAGOMAN_REQUEST, "q", "2"));
  EXPECT_EQ(up.sink.take(),
            TextId::frame(DRAGOMAN_REQUEST, "p", "1") + TextId::frame(DRAGOMAN_REQUEST, "q", "2"));
  up.feed(TextId::frame(DRAGOMAN_RESPONSE, "q", "Q") + TextId::frame(DRAGOMAN_RESPONSE, "p", "P"));
  EXPECT_EQ(down.sink.take(),
            TextId::frame(DRAGOMAN_RESPONSE, "q", "Q") + TextId::frame(DRAGOMAN_RESPONSE, "p", "P"));
}

TEST(FramedCodedIds, AreRewrittenInTheCodecsEncodingAndRestored) {
  ASSERT_TRUE(check_codec(*codec_table<DecimalId>()).has_value());
  // Left out, short, and the largest; the same one twice in flight.
  for (std::string id : {"", "7", "4294967295"}) {
    std::string restored = id.empty() ? "0" : id;
    FramedConnection down(codec_table<DecimalId>(), Role::kServer),
        up(codec_table<DecimalId>(), Role::kClient);
    Hop hop(down, up);
    down.feed(DecimalId::frame(DRAGOMAN_REQUEST, id, "one") + DecimalId::frame(DRAGOMAN_REQUEST, id, "two"));
    std::string sent = up.sink.take();
    std::string first = sent.substr(2, sent.find(';') - 2);
    std::string rest = sent.substr(sent.find(";\x03one") + 5);
    std::string second = rest.substr(2, rest.find(';') - 2);
    EXPECT_EQ(sent, DecimalId::frame(DRAGOMAN_REQUEST, first, "one") +
                        DecimalId::frame(DRAGOMAN_REQUEST, second, "two"));
    EXPECT_NE(first, second);
    up.feed(DecimalId::frame(DRAGOMAN_RESPONSE, second, "TWO") +
            DecimalId::frame(DRAGOMAN_RESPONSE, first, "ONE"));
    EXPECT_EQ(down.sink.take(), DecimalId::frame(DRAGOMAN_RESPONSE, restored, "TWO") +
                                    DecimalId::frame(DRAGOMAN_RESPONSE, restored, "ONE"));
    for (const std::string& odd : {first, std::string("900001"), std::string("999999")})
      up.feed(DecimalId::frame(DRAGOMAN_RESPONSE, odd, "?"));
    EXPECT_EQ(up.events.count(CodecEvent::kLateAnswer), 1u);
    EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 2u);
    EXPECT_EQ(up.events.broken, 0);
  }
}

TEST(FramedCodedIds, PassThroughWhenBound) {
  FramedConnection down(codec_table<DecimalId>(), Role::kServer),
      up(codec_table<DecimalId>(), Role::kClient, framed_options(PoolMode::kBound));
  Hop hop(down, up);
  down.feed(DecimalId::frame(DRAGOMAN_REQUEST, "5", "1") + DecimalId::frame(DRAGOMAN_REQUEST, "06", "2"));
  EXPECT_EQ(up.sink.take(),
            DecimalId::frame(DRAGOMAN_REQUEST, "5", "1") + DecimalId::frame(DRAGOMAN_REQUEST, "06", "2"));
  up.feed(DecimalId::frame(DRAGOMAN_RESPONSE, "6", "Q") + DecimalId::frame(DRAGOMAN_RESPONSE, "5", "P"));
  EXPECT_EQ(down.sink.take(),
            DecimalId::frame(DRAGOMAN_RESPONSE, "6", "Q") + DecimalId::frame(DRAGOMAN_RESPONSE, "5", "P"));
}

TEST(FramedCustomChecksum, IsVerifiedAndRewritten) {
  ASSERT_TRUE(check_codec(*codec_table<Summed>()).has_value());
  FramedConnection down(codec_table<Summed>(), Role::kServer), up(codec_table<Summed>(), Role::kClient);
  Hop hop(down, up);
  down.feed_in_steps(Summed::frame(DRAGOMAN_REQUEST, 0xabc, "q"), 1);
  std::string sent = up.sink.take();
  ASSERT_EQ(sent.size(), 7u);
  uint16_t id = static_cast<uint16_t>(static_cast<uint8_t>(sent[2]) | static_cast<uint8_t>(sent[3]) << 8);
  EXPECT_EQ(sent, Summed::frame(DRAGOMAN_REQUEST, id, "q"));
  up.feed(Summed::frame(DRAGOMAN_RESPONSE, id, "a"));
  EXPECT_EQ(down.sink.take(), Summed::frame(DRAGOMAN_RESPONSE, 0xabc, "a"));
  std::string bad = Summed::frame(DRAGOMAN_REQUEST, 5, "q");
  bad.back() ^= 1;
  down.feed(bad);
  EXPECT_EQ(down.events.broken_reason, Reason::kChecksum);
  EXPECT_EQ(down.sink.take(), Summed::frame(DRAGOMAN_RESPONSE, 5, "R"));
}

TEST(FramedAttributes, AreHeadersWithoutBeingOnTheWire) {
  FramedConnection down(codec_table<Tagged>(), Role::kServer), up(codec_table<Tagged>(), Role::kClient);
  Hop hop(down, up);
  std::string bytes = Tagged::frame(DRAGOMAN_REQUEST, 9, "eu", "a=1");
  for (size_t cut = 1; cut <= bytes.size(); ++cut) {
    down.feed(bytes.substr(0, cut));
    down.feed(bytes.substr(cut));
    ASSERT_EQ(down.accepted(), cut);
    const Head& head = *down.at(cut - 1).head;
    EXPECT_EQ(head.header("zone"), "eu");
    EXPECT_EQ(head.header("KIND"), "request") << "made up by the codec, kept by the host";
    EXPECT_EQ(head.header("a"), "1");
    bool found = true;
    head.header("deep", &found);
    EXPECT_FALSE(found);
    EXPECT_EQ(head.headers.size(), 3u);
    std::string sent = up.sink.take();
    sent[2] = 9;
    EXPECT_EQ(sent, bytes);
  }
}

TEST(FramedConnectionMemory, MayHoldServiceAndMethod) {
  for (size_t behind : {0, 1}) {
    static size_t past;
    past = behind;
    dragoman_codec t = *codec_table<Summed>();
    t.conn_state_size = 8;
    t.view = [](const void*, void* conn, const uint8_t*, const dragoman_frame*, uint32_t, dragoman_view* v) {
      std::memcpy(conn, "methname", 8);
      v->method = {static_cast<uint8_t*>(conn) + 4, 4 + past};
      return 0;
    };
    FramedConnection c(&t, Role::kServer);
    c.feed(Summed::frame(DRAGOMAN_REQUEST, 1, "a"));
    EXPECT_EQ(c.events.broken_reason, past ? Reason::kInternal : Reason::kNone);
    if (!past) {
      c.feed(Summed::frame(DRAGOMAN_REQUEST, 2, "b"));
      EXPECT_EQ(c.at(0).head->method, "name");
    }
  }
}

TEST(FramedAttributes, StayWithAnOpaqueHeadAndMayBeEmpty) {
  FramedConnection down(codec_table<Tagged>(), Role::kServer);
  down.feed(Tagged::frame(DRAGOMAN_REQUEST, 9, "deep", "no pair"));
  const Head& head = *down.at(0).head;
  EXPECT_TRUE(head.opaque);
  EXPECT_EQ(head.header("zone"), "deep");
  bool found = false;
  EXPECT_EQ(head.header("deep", &found), "");
  EXPECT_TRUE(found);
}

TEST(FramedAttributes, HideHeadersOfTheirNameAndCannotBeEdited) {
  FramedConnection down(codec_table<Tagged>(), Role::kServer), up(codec_table<Tagged>(), Role::kClient);
  Hop hop(down, up);
  down.events.then_exchange = [start = down.events.then_exchange](FakeMessageSink& sink) {
    start(sink);
    sink.then_head = [pass = sink.then_head](Head& h, bool end) {
      h.set_header(h.frame.id == 1 ? "Zone" : "b", "2");
      pass(h, end);
    };
  };
  down.feed(Tagged::frame(DRAGOMAN_REQUEST, 1, "eu", "ZONE=forged"));
  EXPECT_TRUE(hop.failures.empty());
  EXPECT_EQ(up.events.count(CodecEvent::kEditSkipped), 1u);
  EXPECT_EQ(up.sink.take().substr(3), Tagged::frame(DRAGOMAN_REQUEST, 1, "eu", "ZONE=forged").substr(3));
  down.feed(Tagged::frame(DRAGOMAN_REQUEST, 2, "eu", "ZONE=forged"));
  EXPECT_EQ(down.at(1).head->header("zone"), "eu");
  EXPECT_EQ(down.at(1).head->headers.size(), 3u);  // zone, kind, b
  std::string sent = up.sink.take();
  ASSERT_EQ(sent.size(), 10u);
  EXPECT_EQ(sent.substr(3), Tagged::frame(DRAGOMAN_REQUEST, 2, "eu", "b=2").substr(3));
}

TEST(FramedAttributes, NobodyPaysForWhatIsNotWanted) {
  CodecOptions options = framed_options();
  options.framed.want = DRAGOMAN_WANT_SERVICE;
  FramedConnection down(codec_table<Tagged>(), Role::kServer, options);
  down.feed(Tagged::frame(DRAGOMAN_REQUEST, 9, "eu", "a=1"));
  EXPECT_EQ(down.at(0).head->headers.size(), 0u);
  EXPECT_EQ(down.at(0).head->wire.size(), 5u) << "probe() is told what view() will be asked for";
  EXPECT_EQ(down.at(0).body, "eua=1");
}

TEST(FramedUnsized, PassAtEverySplitWithIdsOfAnyLength) {
  std::string request = Unsized::frame(DRAGOMAN_REQUEST, 1234, "a\\.b\\\\");
  std::string answer_text = "x\\.y";
  for (size_t cut = 0; cut <= request.size(); ++cut) {
    FramedConnection down(codec_table<Unsized>(), Role::kServer), up(codec_table<Unsized>(), Role::kClient);
    Hop hop(down, up);
    std::string two = request + Unsized::frame(DRAGOMAN_REQUEST, 7, "");
    down.feed(two.substr(0, cut));
    down.feed(two.substr(cut));
    ASSERT_EQ(down.events.broken, 0) << cut;
    ASSERT_EQ(down.accepted(), 2u);
    EXPECT_EQ(down.at(0).head->content_length, -1);
    EXPECT_EQ(down.at(0).body, "a\\.b\\\\.");
    std::string sent = up.sink.take();
    uint64_t id = Unsized::id_of(sent);
    size_t second = sent.find('U', 1);
    ASSERT_NE(second, std::string::npos);
    EXPECT_EQ(sent.substr(0, second), Unsized::frame(DRAGOMAN_REQUEST, id, "a\\.b\\\\"));
    std::string answer = Unsized::frame(DRAGOMAN_RESPONSE, id, answer_text);
    up.feed_in_steps(answer, 1 + cut % 5);
    EXPECT_EQ(down.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 1234, answer_text));
    EXPECT_EQ(down.codec->phase(), ReadPhase::kIdle);
  }
}

TEST(FramedUnsized, BrokenTruncatedAndEndless) {
  for (size_t step : {100, 1}) {
    FramedConnection c(codec_table<Unsized>(), Role::kServer);
    c.feed_in_steps(Unsized::frame(DRAGOMAN_REQUEST, 5, "bad!"), step);
    EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
    EXPECT_EQ(c.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 5, "error"));
  }
  FramedConnection cut(codec_table<Unsized>(), Role::kServer);
  cut.feed("U\x01" "5;abc");
  EXPECT_EQ(cut.codec->phase(), ReadPhase::kBody);
  cut.codec->on_eof();
  EXPECT_EQ(cut.events.broken_reason, Reason::kDownstreamTruncated);

  CodecOptions options = framed_options();
  options.framed.frame_bytes_max = 100;
  for (size_t step : {200, 7}) {
    FramedConnection c(codec_table<Unsized>(), Role::kServer, options);
    c.feed(Unsized::frame(DRAGOMAN_REQUEST, 5, std::string(95, 'x')));  // 100 bytes
    EXPECT_EQ(c.events.broken, 0);
    c.feed_in_steps(Unsized::frame(DRAGOMAN_REQUEST, 5, std::string(96, 'x')), step);
    EXPECT_EQ(c.events.broken_reason, Reason::kFrameTooLarge);
    EXPECT_EQ(c.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 5, "error"));
  }
}

TEST(FramedUnsized, AnAnswerThatBreaksResetsItsCall) {
  FramedConnection down(codec_table<Unsized>(), Role::kServer), up(codec_table<Unsized>(), Role::kClient);
  down.feed(Unsized::frame(DRAGOMAN_REQUEST, 5, "q"));
  FakeMessageSink answer;
  answer.exchange = up.codec->open(answer);
  ASSERT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kNone);
  answer.exchange->send_body(bytes_of("q."), true);
  std::string bytes = Unsized::frame(DRAGOMAN_RESPONSE, Unsized::id_of(up.sink.take()), "ab!");
  up.feed(bytes.substr(0, 5));
  up.feed(bytes.substr(5));
  EXPECT_EQ(answer.reset_reason, Reason::kUpstreamProtocolError);
  EXPECT_EQ(up.events.broken, 1);
  answer.release();
}

TEST(FramedUnsized, StreamsThroughInPingPongAndEndsWhereItEnds) {
  FramedConnection down(codec_table<Unsized>(), Role::kServer),
      up(codec_table<Unsized>(), Role::kClient, framed_options(PoolMode::kPingPong));
  Hop hop(down, up);
  down.feed("U\x01" "5;abc");
  std::string sent = up.sink.take();
  EXPECT_EQ(sent, "U\x01" + std::to_string(Unsized::id_of(sent)) + ";abc")
      << "not kept until its end is known";
  down.feed("d.U\x01");
  EXPECT_EQ(up.sink.take(), "d.");
  up.feed(Unsized::frame(DRAGOMAN_RESPONSE, Unsized::id_of(sent), "x"));
  EXPECT_EQ(down.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 5, "x"));
}

TEST(FramedOrdered, OnlyMarkedRequestsWaitForEachOther) {
  FramedConnection c(codec_table<Unsized>(), Role::kServer);
  for (uint64_t id : {0, 1, 0}) c.feed(Unsized::frame(DRAGOMAN_REQUEST, id, "q"));
  FramedConnection from(codec_table<Unsized>(), Role::kServer);
  auto answer = [&](size_t i, std::string_view text) {
    FramedConnection up(codec_table<Unsized>(), Role::kClient, framed_options(PoolMode::kBound));
    FakeMessageSink sink;
    sink.exchange = up.codec->open(sink);
    ASSERT_EQ(sink.exchange->send_head(*c.at(i).head, false), Reason::kNone);
    sink.exchange->send_body(bytes_of("q."), true);
    up.feed(Unsized::frame(DRAGOMAN_RESPONSE, c.at(i).head->frame.id, text));
    ASSERT_NE(sink.head, nullptr);
    ASSERT_EQ(c.at(i).exchange->send_head(*sink.head, false), Reason::kNone);
    c.at(i).exchange->send_body(bytes_of(std::string(text) + "."), true);
    sink.release();
  };
  answer(2, "third");
  EXPECT_EQ(c.sink.take(), "");
  answer(1, "second");
  EXPECT_EQ(c.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 1, "second"));
  LocalReply reply;
  reply.reason = Reason::kNoRoute;
  c.at(0).exchange->send_reply(*c.at(0).head, reply);
  EXPECT_EQ(c.sink.take(),
            Unsized::frame(DRAGOMAN_RESPONSE, 0, "error") + Unsized::frame(DRAGOMAN_RESPONSE, 0, "third"));
  for (size_t i = 0; i < 3; ++i) c.at(i).release();
  EXPECT_EQ(c.events.broken, 0);
}

TEST(FramedCodedIds, RewritesThatSetAnotherAreRefused) {
  dragoman_codec t = *codec_table<Unsized>();
  t.set_id = [](const void*, void*, const uint8_t* head, const dragoman_frame* f, dragoman_bytes, uint8_t* out,
                uint64_t) -> int64_t {
    std::copy(head, head + f->head_len, out);
    return f->head_len;
  };
  FramedConnection down(&t, Role::kServer), up(&t, Role::kClient);
  down.feed(Unsized::frame(DRAGOMAN_REQUEST, 5, "q"));
  uint32_t room = up.codec->capacity();
  FakeMessageSink answer;
  answer.exchange = up.codec->open(answer);
  EXPECT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kEditFailed);
  answer.release();
  EXPECT_EQ(up.codec->capacity(), room);
}

TEST(FramedReply, WithoutWordsForItTheConnectionCloses) {
  FramedConnection c(codec_table<Unsized>(), Role::kServer);
  c.feed(Unsized::frame(DRAGOMAN_REQUEST, 5, "q") + Unsized::frame(DRAGOMAN_REQUEST, 6, "q"));
  LocalReply reply;
  reply.reason = Reason::kUpstreamReset;
  c.at(0).exchange->send_reply(*c.at(0).head, reply);
  EXPECT_EQ(c.events.broken_reason, Reason::kUpstreamReset);
  EXPECT_EQ(c.sink.take(), "");
  EXPECT_TRUE(c.at(1).was_reset);
}

TEST(FramedConnectionMemory, IsPerConnectionAndZeroed) {
  // Summed understands three heads a connection.
  for (int round = 0; round < 2; ++round) {
    FramedConnection c(codec_table<Summed>(), Role::kServer);
    for (uint16_t i = 0; i < 3; ++i) c.feed(Summed::frame(DRAGOMAN_REQUEST, i, "q"));
    EXPECT_EQ(c.events.broken, 0);
    EXPECT_EQ(c.at(0).head->method, "q");
    c.feed(Summed::frame(DRAGOMAN_REQUEST, 9, "q"));
    EXPECT_EQ(c.accepted(), 3u);
    EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
    EXPECT_EQ(c.sink.take(), Summed::frame(DRAGOMAN_RESPONSE, 9, "R"));
  }
}

TEST(FramedSmallIds, SixteenBitIdsLimitTheCapacity) {
  FramedConnection c(codec_table<Summed>(), Role::kClient);
  EXPECT_EQ(c.codec->capacity(), 1022u);
}

}  // namespace
}  // namespace dragoman::testing
