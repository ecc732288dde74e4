// What every framed codec gets from its host: splits, limits, ids, heartbeats, edits, checksums. Shown with
// Bolt.
#include "protocols/framed.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "protocols/bolt/bolt.h"
#include "proxy/base/cursor.h"
#include "tests/framed/tiny_codecs.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"

namespace dragoman::testing {
namespace {

std::span<const uint8_t> bytes_of(std::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

/// Sends the request that `from` received to `up`; the answer's sink is returned in `answer`.
Reason forward(FakeMessageSink& from, FramedConnection& up, FakeMessageSink& answer, bool with_body = true) {
  answer.exchange = up.codec->open(answer);
  EXPECT_NE(answer.exchange, nullptr);
  if (!answer.exchange) return Reason::kInternal;
  Reason why = answer.exchange->send_head(*from.head, from.body.empty());
  if (why == Reason::kNone && with_body && !from.body.empty())
    answer.exchange->send_body(bytes_of(from.body), true);
  return why;
}

class Framed : public ::testing::Test {
 protected:
  ~Framed() override {
    for (auto& s : down.events.accepted) s->release();
    EXPECT_EQ(down.codec->open_exchanges(), 0u);
  }
  FramedConnection down{bolt_codec(), Role::kServer};
  FramedConnection up{bolt_codec(), Role::kClient};
};

TEST_F(Framed, EverySplitOfTwoFramesEqualsTheWhole) {
  std::string stream = BoltFrame::request(1, "first").bytes() + BoltFrame::request(2, "").bytes();
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(stream.substr(0, cut));
    c.feed(stream.substr(cut));
    ASSERT_EQ(c.accepted(), 2u) << cut;
    EXPECT_EQ(c.at(0).body, "first");
    EXPECT_TRUE(c.at(0).ended && c.at(1).ended);
    EXPECT_EQ(c.at(1).body, "");
    EXPECT_EQ(c.at(0).head->service, "S:1.0");
    EXPECT_EQ(c.codec->phase(), ReadPhase::kIdle);
  }
}

TEST_F(Framed, HundredFramesInOneRead) {
  std::string stream;
  for (uint32_t i = 0; i < 100; ++i) stream += BoltFrame::request(i, std::string(i, 'x')).bytes();
  down.feed(stream);
  ASSERT_EQ(down.accepted(), 100u);
  for (uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(down.at(i).head->frame.id, i);
    EXPECT_EQ(down.at(i).body.size(), i);
  }
}

TEST_F(Framed, ReadPhases) {
  std::string frame = BoltFrame::request(1, "body").bytes();
  EXPECT_EQ(down.codec->phase(), ReadPhase::kIdle);
  down.feed(frame.substr(0, 1));
  EXPECT_EQ(down.codec->phase(), ReadPhase::kHead);
  down.feed(frame.substr(1, frame.size() - 4));
  EXPECT_EQ(down.codec->phase(), ReadPhase::kBody);
  down.feed(frame.substr(frame.size() - 3));
  EXPECT_EQ(down.codec->phase(), ReadPhase::kIdle);
}

TEST_F(Framed, ADribbledHeadIsProbedOnlyWhenItCanTell) {
  static int probes;
  static dragoman_codec counting = *bolt_codec();
  counting.probe = [](const void* context, void* conn, const uint8_t* data, uint64_t len,
                      dragoman_frame* out) {
    ++probes;
    return bolt_codec()->probe(context, conn, data, len, out);
  };
  probes = 0;
  BoltFrame f = BoltFrame::request(1);
  f.header = kv("k", std::string(30000, 'v'));
  FramedConnection c(&counting, Role::kServer);
  c.feed_in_steps(f.bytes(), 1);
  EXPECT_EQ(c.accepted(), 1u);
  EXPECT_LE(probes, 5);
}

TEST_F(Framed, IdleConnectionsHoldNoBuffer) {
  size_t before = live_chunks();
  FramedConnection c(bolt_codec(), Role::kServer);
  std::string frame = BoltFrame::request(1, std::string(100000, 'b')).bytes();
  c.feed_in_steps(frame, 10000);
  c.feed_in_steps(BoltFrame::heartbeat(1).bytes(), 3);
  c.sink.take();
  EXPECT_EQ(live_chunks(), before);
}

TEST_F(Framed, TruncatedHeadAndBody) {
  std::string frame = BoltFrame::request(1, "a body").bytes();
  for (size_t n = 1; n < frame.size(); ++n) {
    FramedConnection server(bolt_codec(), Role::kServer);
    server.feed(frame.substr(0, n));
    server.codec->on_eof();
    EXPECT_EQ(server.events.broken, 1);
    EXPECT_EQ(server.events.broken_reason, Reason::kDownstreamTruncated);
    if (server.accepted()) {
      EXPECT_TRUE(server.at(0).was_reset);
      EXPECT_EQ(server.at(0).reset_reason, Reason::kDownstreamTruncated);
      EXPECT_FALSE(server.at(0).ended);
    }
    EXPECT_EQ(server.sink.take(), "");
  }
  // As a client, with an answer cut off.
  std::string answer = BoltFrame::response(0, "an answer").bytes();
  for (size_t n = 1; n < answer.size(); ++n) {
    FramedConnection server(bolt_codec(), Role::kServer), client(bolt_codec(), Role::kClient);
    server.feed(frame);
    FakeMessageSink mine, other;
    forward(server.at(0), client, mine);
    forward(server.at(0), client, other);
    std::string sent = client.sink.take();
    client.feed(with_bolt_id(answer, bolt_id(sent)).substr(0, n));
    client.codec->on_eof();
    EXPECT_EQ(client.events.broken_reason, Reason::kUpstreamTruncated);
    EXPECT_TRUE(mine.was_reset && other.was_reset);
    mine.release();
    other.release();
    EXPECT_EQ(client.codec->open_exchanges(), 0u);
  }
}

TEST_F(Framed, TransportLossTellsTheTruncatedOneApart) {
  down.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2, "longer").bytes().substr(0, 120));
  ASSERT_EQ(down.accepted(), 2u);
  down.codec->on_transport_closed(Reason::kDownstreamReset);
  EXPECT_EQ(down.at(0).reset_reason, Reason::kDownstreamReset);
  EXPECT_EQ(down.at(1).reset_reason, Reason::kDownstreamTruncated);
  EXPECT_EQ(down.events.broken, 0) << "the owner knows already";
  EXPECT_EQ(down.codec->capacity(), 0u);
}

TEST_F(Framed, CleanEofStillAnswers) {
  down.feed(BoltFrame::request(1).bytes());
  down.codec->on_eof();
  EXPECT_EQ(down.events.broken, 0);
  EXPECT_EQ(down.events.finished, 0);
  LocalReply reply;
  reply.reason = Reason::kNoRoute;
  down.at(0).exchange->send_reply(*down.at(0).head, reply);
  EXPECT_EQ(down.sink.take().size(), 20u);
  down.at(0).release();
  EXPECT_EQ(down.events.finished, 1);
}

TEST_F(Framed, EofWithAnswersOwedResetsThem) {
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink answer;
  forward(down.at(0), up, answer);
  up.codec->on_eof();
  EXPECT_EQ(answer.reset_reason, Reason::kUpstreamReset);
  EXPECT_EQ(up.events.broken_reason, Reason::kUpstreamReset);
  answer.release();
}

TEST_F(Framed, TooLargeIsRefusedFromTheFirstBytes) {
  struct Row {
    uint32_t content;
    bool refused;
  };
  BoltFrame f = BoltFrame::request(77);
  uint32_t head = static_cast<uint32_t>(22 + f.class_name.size() + f.header.size());
  uint32_t limit = 16 << 20;
  for (Row row : {Row{limit - head, false}, Row{limit - head + 1, true}, Row{limit, true},
                  Row{0x7fffffff, true}, Row{0xffffffff, true}}) {
    std::string start = f.bytes().substr(0, 22);  // nothing but the fixed header
    start.replace(18, 4, be(row.content, 4));
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(start);
    EXPECT_EQ(c.events.broken, row.refused ? 1 : 0) << row.content;
    EXPECT_EQ(c.accepted(), 0u);
    std::string out = c.sink.take();
    if (row.refused) {
      EXPECT_EQ(c.events.broken_reason, Reason::kFrameTooLarge);
      BoltFrame reply;
      reply.type = 0, reply.command = 2, reply.id = 77, reply.status = 9;
      EXPECT_EQ(out, reply.bytes());
    } else {
      EXPECT_EQ(out, "");
    }
  }
}

TEST_F(Framed, TooLargeAnAnswerResetsItsExchange) {
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink mine, other;
  forward(down.at(0), up, mine);
  forward(down.at(0), up, other);
  std::string sent = up.sink.take();
  std::string answer = with_bolt_id(BoltFrame::response(0).bytes(), bolt_id(sent));
  answer.replace(16, 4, be(17 << 20, 4));
  up.feed(answer);
  EXPECT_EQ(mine.reset_reason, Reason::kUpstreamTooLarge);
  EXPECT_EQ(other.reset_reason, Reason::kUpstreamReset);
  EXPECT_EQ(up.events.broken_reason, Reason::kUpstreamTooLarge);
  mine.release();
  other.release();
}

TEST_F(Framed, RandomBytesBreakWithinOneRead) {
  std::mt19937 random(1);
  for (int round = 0; round < 50; ++round) {
    std::string noise(65536, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    noise[0] = static_cast<char>(3 + random() % 250);
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(noise);
    EXPECT_EQ(c.events.broken, 1);
    EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
    EXPECT_EQ(c.accepted(), 0u);
    c.feed(BoltFrame::request(1).bytes());  // ignored
    EXPECT_EQ(c.accepted(), 0u);
  }
}

TEST_F(Framed, DuplicateIdsAreBothAnswered) {
  down.feed(BoltFrame::request(5, "a").bytes() + BoltFrame::request(5, "b").bytes());
  ASSERT_EQ(down.accepted(), 2u);
  EXPECT_EQ(down.events.count(CodecEvent::kDuplicateId), 1u);
  FakeMessageSink a, b;
  forward(down.at(0), up, a);
  forward(down.at(1), up, b);
  std::string sent = up.sink.take();
  std::string first = sent.substr(0, sent.size() / 2), second = sent.substr(sent.size() / 2);
  ASSERT_NE(bolt_id(first), bolt_id(second));
  up.feed(BoltFrame::response(bolt_id(second), "to b").bytes() +
          BoltFrame::response(bolt_id(first), "to a").bytes());
  EXPECT_EQ(a.body, "to a");
  EXPECT_EQ(b.body, "to b");
  for (auto [request, answer] : {std::pair{0, &a}, std::pair{1, &b}}) {
    ASSERT_EQ(down.at(request).exchange->send_head(*answer->head, false), Reason::kNone);
    down.at(request).exchange->send_body(bytes_of(answer->body), true);
    EXPECT_EQ(down.sink.take(), BoltFrame::response(5, answer->body).bytes());
    answer->release();
  }
}

TEST_F(Framed, OnlyIdsInFlightAreDuplicates) {
  auto duplicates = [&](const std::vector<BoltFrame>& frames) {
    FramedConnection c(bolt_codec(), Role::kServer);
    for (const BoltFrame& f : frames) c.feed(f.bytes());
    EXPECT_EQ(c.accepted(), frames.size());
    return c.events.count(CodecEvent::kDuplicateId);
  };
  auto call = [](uint32_t id) { return BoltFrame::request(id); };
  EXPECT_EQ(duplicates({call(1), call(2), call(2), call(1)}), 2u);
  EXPECT_EQ(duplicates({call(9), call(3), call(7), call(8)}), 0u) << "in any order";
  EXPECT_EQ(duplicates({call(0xffffffff), call(0), call(1), call(0xffffffff)}), 1u) << "ids wrap around";
  BoltFrame one_way = call(5);
  one_way.type = 2;
  EXPECT_EQ(duplicates({one_way, one_way, call(5)}), 0u) << "nothing is owed";
  FramedConnection c(bolt_codec(), Role::kServer);
  c.feed(call(5).bytes());
  c.at(0).exchange->send_reply(*c.at(0).head, {});
  c.feed(call(5).bytes());
  EXPECT_EQ(c.events.count(CodecEvent::kDuplicateId), 0u) << "answered";
}

TEST_F(Framed, AGoawayAfterAnotherIsAGlitch) {
  BoltFrame bye = BoltFrame::heartbeat(0);
  bye.command = 100;
  FramedConnection c(bolt_codec(), Role::kServer);
  for (uint64_t n = 0; n < 3; ++n) {
    c.feed(bye.bytes());
    EXPECT_EQ(c.events.count(CodecEvent::kGlitch), n);
  }
  EXPECT_EQ(c.events.goaways, 1);
}

TEST_F(Framed, LateAndUnknownAnswersAreDropped) {
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink first, second;
  forward(down.at(0), up, first);
  uint32_t late = bolt_id(up.sink.take());
  first.exchange->reset(Reason::kUpstreamTimeout);
  first.release();
  forward(down.at(0), up, second);
  uint32_t next = bolt_id(up.sink.take());
  EXPECT_NE(late, next);
  up.feed(BoltFrame::response(late, "late").bytes() + BoltFrame::response(0x12345, "unknown").bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kLateAnswer), 1u);
  EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 1u);
  EXPECT_EQ(second.heads, 0);
  up.feed(BoltFrame::response(next, "right").bytes() + BoltFrame::response(next, "again").bytes());
  EXPECT_EQ(second.body, "right");
  EXPECT_EQ(up.events.count(CodecEvent::kLateAnswer), 2u);
  EXPECT_EQ(up.events.broken, 0);
  second.release();
  up.feed(BoltFrame::response(next, "and again").bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kLateAnswer), 3u);
}

TEST_F(Framed, GivenUpInTheMiddleOfItsAnswer) {
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink first, second;
  forward(down.at(0), up, first);
  forward(down.at(0), up, second);
  std::string sent = up.sink.take();
  std::string a = BoltFrame::response(bolt_id(sent), "cut off").bytes();
  up.feed(a.substr(0, a.size() - 3));
  EXPECT_EQ(first.body, "cut ");
  first.release();
  up.feed(a.substr(a.size() - 3) +
          BoltFrame::response(bolt_id(sent.substr(sent.size() / 2)), "whole").bytes());
  EXPECT_EQ(second.body, "whole");
  EXPECT_EQ(up.events.count(CodecEvent::kLateAnswer), 0u);
  second.release();
}

TEST_F(Framed, AnAnswerBeforeItsRequestIsSentIsAGuess) {
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink answer;
  answer.exchange = up.codec->open(answer);
  ASSERT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kNone);
  EXPECT_EQ(up.sink.peek(), "") << "collected until its end";
  uint64_t guess = uint64_t{1} << 20;  // what the first id will be
  up.feed(BoltFrame::response(static_cast<uint32_t>(guess)).bytes());
  EXPECT_EQ(answer.heads, 0);
  EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 1u);
  answer.exchange->send_body(bytes_of("body"), true);
  EXPECT_EQ(bolt_id(up.sink.take()), guess);
  answer.release();
}

TEST_F(Framed, OneWayLeavesNothingBehind) {
  const BoltFrame f = BoltFrame::one_way(999);
  down.feed(f.bytes());
  ASSERT_EQ(down.accepted(), 1u);
  EXPECT_TRUE(down.at(0).head->one_way);
  FakeMessageSink answer;
  forward(down.at(0), up, answer);
  std::string sent = up.sink.take();
  EXPECT_EQ(sent, with_bolt_id(f.bytes(), bolt_id(sent)));
  answer.release();
  EXPECT_EQ(up.codec->open_exchanges(), 0u);
  // An answer, as Node servers send, is dropped.
  up.feed(BoltFrame::response(bolt_id(sent)).bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kOneWayAnswered), 1u);
  // Nothing we could say reaches a one-way caller.
  down.at(0).exchange->send_reply(*down.at(0).head, {});
  EXPECT_EQ(down.sink.take(), "");
  down.at(0).release();
  EXPECT_EQ(down.events.broken, 0);
}

TEST_F(Framed, ManyOneWaysNeedNoIds) {
  CodecOptions small = framed_options();
  small.framed.streams_max = 2;
  FramedConnection c(bolt_codec(), Role::kClient, small);
  const BoltFrame f = BoltFrame::one_way(1);
  down.feed(f.bytes());
  for (int i = 0; i < 10000; ++i) {
    FakeMessageSink sink;
    ASSERT_EQ(forward(down.at(0), c, sink), Reason::kNone);
    sink.release();
    c.sink.take();
  }
  EXPECT_EQ(c.codec->capacity(), 2u);
}

TEST_F(Framed, QuarantinedIdsDoNotLockTheConnection) {
  CodecOptions small = framed_options();
  small.framed.streams_max = 4;
  FramedConnection c(bolt_codec(), Role::kClient, small);
  down.feed(BoltFrame::request(1).bytes());
  std::vector<uint32_t> given_up;
  auto give_up = [&] {
    FakeMessageSink sink;
    ASSERT_EQ(forward(down.at(0), c, sink), Reason::kNone);
    given_up.push_back(bolt_id(c.sink.take()));
    sink.release();
  };
  for (int i = 0; i < 100; ++i) {
    give_up();
    if (i >= 2)
      c.feed(BoltFrame::response(given_up[static_cast<size_t>(i - 2)]).bytes());  // late, but in the end
  }
  EXPECT_EQ(c.codec->capacity(), 4u);
  EXPECT_EQ(c.events.spent, 0);
  c.events.now += 11 * 60 * 1000;
  give_up();
  EXPECT_EQ(c.events.spent, 0);
  give_up();
  EXPECT_EQ(c.codec->capacity(), 0u)
      << "half of all ids may still be answered: another connection takes over";
  EXPECT_EQ(c.events.spent, 1);
  EXPECT_EQ(c.events.count(CodecEvent::kIdsSpent), 1u);
}

TEST_F(Framed, LateAnswersGiveCapacityBack) {
  // One byte of id: 30 at once.
  FramedConnection d(codec_table<Tagged>(), Role::kServer), c(codec_table<Tagged>(), Role::kClient);
  d.feed(Tagged::frame(DRAGOMAN_REQUEST, 1, "", ""));
  std::vector<std::unique_ptr<FakeMessageSink>> held;
  std::vector<uint8_t> given_up;
  for (int i = 0; i < 30; ++i) {
    held.push_back(std::make_unique<FakeMessageSink>());
    ASSERT_EQ(forward(d.at(0), c, *held.back()), Reason::kNone);
    uint8_t id = static_cast<uint8_t>(c.sink.take()[2]);
    if (i >= 14) continue;
    given_up.push_back(id);
    held.back()->release();
  }
  EXPECT_EQ(c.codec->capacity(), 0u);
  int calls = c.events.capacity_calls;
  c.feed(Tagged::frame(DRAGOMAN_RESPONSE, given_up[5], "", ""));
  EXPECT_EQ(c.codec->capacity(), 1u);
  EXPECT_EQ(c.events.capacity_calls, calls + 1) << "those who wait are told";
  for (auto& sink : held) sink->release();
  EXPECT_EQ(c.events.spent, 1) << "16 more without an answer";
  EXPECT_EQ(c.codec->capacity(), 0u);
}

TEST_F(Framed, IdsOfSharedConnectionsBeginWhereTheSeedSays) {
  std::set<uint32_t> firsts;
  for (uint64_t seed : {1, 2, 3, 4, 5, 6}) {
    CodecOptions seeded = framed_options();
    seeded.framed.id_seed = seed;
    FramedConnection c(bolt_codec(), Role::kClient, seeded), same(bolt_codec(), Role::kClient, seeded);
    down.feed(BoltFrame::request(1).bytes());
    FakeMessageSink one, two;
    ASSERT_EQ(forward(down.at(0), c, one), Reason::kNone);
    ASSERT_EQ(forward(down.at(0), same, two), Reason::kNone);
    uint32_t id = bolt_id(c.sink.take());
    EXPECT_EQ(bolt_id(same.sink.take()), id);
    EXPECT_LT(id, uint32_t{INT32_MAX});
    firsts.insert(id);
    one.release();
    two.release();
  }
  EXPECT_EQ(firsts.size(), 6u);
}

TEST_F(Framed, StreamsOverTheLimitAreAnswered) {
  CodecOptions small = framed_options();
  small.framed.streams_max = 2;
  FramedConnection c(bolt_codec(), Role::kServer, small);
  const BoltFrame oneway = BoltFrame::one_way(4);
  c.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes() +
         BoltFrame::request(3, std::string(3000, 'x')).bytes() + oneway.bytes());
  EXPECT_EQ(c.accepted(), 2u);
  EXPECT_EQ(c.events.count(CodecEvent::kStreamsOverflow), 2u);
  BoltFrame busy;
  busy.type = 0, busy.command = 2, busy.id = 3, busy.status = 4;
  EXPECT_EQ(c.sink.take(), busy.bytes());
  c.at(0).exchange->send_reply(*c.at(0).head, {});
  c.at(0).release();
  c.feed(BoltFrame::request(5).bytes());
  EXPECT_EQ(c.accepted(), 3u);
  EXPECT_EQ(c.events.broken, 0);
}

TEST_F(Framed, ARefusedExchangeIsAnswered) {
  down.events.refuse = true;
  down.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2, std::string(9000, 'x')).bytes());
  EXPECT_EQ(down.sink.take().size(), 40u);
  EXPECT_EQ(down.codec->open_exchanges(), 0u);
  EXPECT_EQ(down.events.broken, 0);
}

TEST_F(Framed, HeartbeatsAreAnsweredHereAndBounded) {
  BoltFrame with_body = BoltFrame::heartbeat(3);
  with_body.content = "why not";
  down.feed(BoltFrame::heartbeat(2).bytes() + with_body.bytes());
  EXPECT_EQ(down.accepted(), 0u);
  EXPECT_EQ(down.events.count(CodecEvent::kHeartbeatAnswered), 2u);
  BoltFrame ack;
  ack.type = 0, ack.command = 0, ack.id = 2;
  BoltFrame ack3 = ack;
  ack3.id = 3;
  EXPECT_EQ(down.sink.take(), ack.bytes() + ack3.bytes());

  for (int i = 0; i < 998; ++i) down.feed(BoltFrame::heartbeat(9).bytes());
  EXPECT_EQ(down.events.broken, 0);
  down.events.now += 1000;
  for (int i = 0; i < 1000; ++i) down.feed(BoltFrame::heartbeat(9).bytes());
  EXPECT_EQ(down.events.broken, 0);
  down.feed(BoltFrame::heartbeat(9).bytes());
  EXPECT_EQ(down.events.broken_reason, Reason::kHeartbeatFlood);
}

TEST_F(Framed, AHugeHeartbeatIsNoHeartbeat) {
  BoltFrame f = BoltFrame::heartbeat(3);
  f.content = std::string(200000, 'x');
  down.feed(f.bytes().substr(0, 22));
  EXPECT_EQ(down.events.broken_reason, Reason::kFrameTooLarge);
}

TEST_F(Framed, OwnHeartbeatsAreMatched) {
  EXPECT_TRUE(up.codec->heartbeat());
  EXPECT_TRUE(up.codec->heartbeat());
  EXPECT_TRUE(up.codec->heartbeat());
  std::string sent = up.sink.take();
  ASSERT_EQ(sent.size(), 66u);
  EXPECT_EQ(up.codec->heartbeats_missed(), 3u);
  BoltFrame ack;
  ack.type = 0, ack.command = 0, ack.id = 4711;
  up.feed(ack.bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kHeartbeatUnexpected), 1u);
  EXPECT_EQ(up.codec->heartbeats_missed(), 3u);
  ack.id = bolt_id(std::string_view(sent).substr(22));
  up.feed(ack.bytes());
  EXPECT_EQ(up.codec->heartbeats_missed(), 1u) << "the second one's ack covers the first";
  up.feed(ack.bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kHeartbeatUnexpected), 2u);
  ack.id = bolt_id(std::string_view(sent).substr(44));
  up.feed(ack.bytes());
  EXPECT_EQ(up.codec->heartbeats_missed(), 0u);
  EXPECT_EQ(up.events.count(CodecEvent::kHeartbeatAck), 2u);
  // Protocols without acks of their own answer with a response.
  up.feed(BoltFrame::response(ack.id).bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kHeartbeatUnexpected), 3u);
  EXPECT_TRUE(up.codec->heartbeat());
  up.feed(BoltFrame::response(bolt_id(up.sink.take())).bytes());
  EXPECT_EQ(up.codec->heartbeats_missed(), 0u);
  EXPECT_EQ(up.events.count(CodecEvent::kHeartbeatAck), 3u);
  EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 0u);
}

TEST_F(Framed, HeartbeatsSpeakTheConnectionsVariant) {
  CodecOptions options = framed_options();
  options.framed.variant = 0x202;
  FramedConnection client(bolt_codec(), Role::kClient, options);
  client.codec->heartbeat();
  EXPECT_EQ(client.sink.take().substr(0, 2), "\x02\x02");
  BoltFrame f = BoltFrame::request(1);
  f.proto = 2;
  down.feed(f.bytes());
  down.codec->heartbeat();
  EXPECT_EQ(down.sink.take().substr(0, 2), "\x02\x01") << "what the client speaks";
}

TEST_F(Framed, GoawayStopsNewRequestsOnly) {
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink answer;
  forward(down.at(0), up, answer);
  uint32_t id = bolt_id(up.sink.take());
  BoltFrame goaway;
  goaway.command = 100, goaway.id = 0, goaway.timeout_ms = 0;
  up.feed(goaway.bytes() + goaway.bytes());
  EXPECT_EQ(up.events.goaways, 1);
  EXPECT_EQ(up.events.count(CodecEvent::kGoAway), 2u);
  EXPECT_EQ(up.codec->capacity(), 0u);
  EXPECT_EQ(up.codec->open(answer), nullptr);
  EXPECT_EQ(up.events.finished, 0);
  up.feed(BoltFrame::response(id, "still").bytes());
  EXPECT_EQ(answer.body, "still");
  answer.release();
  EXPECT_EQ(up.events.finished, 1);
}

TEST_F(Framed, Drain) {
  for (bool say : {false, true}) {
    CodecOptions options = framed_options();
    options.framed.goaway = say;
    FramedConnection c(bolt_codec(), Role::kServer, options);
    c.feed(BoltFrame::request(1).bytes());
    c.codec->drain();
    c.codec->drain();
    EXPECT_EQ(c.sink.take().size(), say ? 22u : 0u);
    EXPECT_EQ(c.events.finished, 0);
    c.feed(BoltFrame::request(2).bytes());  // not seen our goaway yet
    ASSERT_EQ(c.accepted(), 2u);
    for (int i : {0, 1}) {
      EXPECT_EQ(c.events.finished, 0);
      c.at(i).exchange->send_reply(*c.at(i).head, {});
      c.at(i).release();
    }
    EXPECT_EQ(c.events.finished, 1);
  }
  up.codec->drain();
  EXPECT_EQ(up.codec->capacity(), 0u);
  EXPECT_EQ(up.events.finished, 1) << "nothing was open";
}

TEST_F(Framed, FailAnswersTheFrameBeingRead) {
  struct Row {
    const char* what;
    size_t bytes;
    bool answered;
  };
  std::string frame = BoltFrame::request(6, "the body").bytes();
  for (Row row : {Row{"idle", 0, false}, Row{"before the id", 3, false}, Row{"inside the head", 40, true},
                  Row{"inside the body", frame.size() - 2, true}}) {
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(frame.substr(0, row.bytes));
    c.codec->fail(Reason::kFrameTimeout);
    c.codec->fail(Reason::kFrameTimeout);
    EXPECT_EQ(c.events.broken_reason, Reason::kFrameTimeout) << row.what;
    BoltFrame reply;
    reply.type = 0, reply.command = 2, reply.id = 6, reply.status = 7;
    EXPECT_EQ(c.sink.take(), row.answered ? reply.bytes() : "") << row.what;
    if (c.accepted()) {
      EXPECT_EQ(c.at(0).reset_reason, Reason::kFrameTimeout);
    }
  }
}

TEST_F(Framed, EditsReachTheWireInBothDirections) {
  BoltFrame f = BoltFrame::request(1, "body");
  f.proto = 2, f.ver1 = 2, f.flags = 1;
  down.feed(f.bytes());
  Head& head = *down.at(0).head;
  head.set_header("service", "Other:1.0");
  head.add_header("trace", "abc");
  head.remove_header("sofa_head_method_name");
  FakeMessageSink answer;
  ASSERT_EQ(forward(down.at(0), up, answer), Reason::kNone);
  std::string sent = up.sink.take();
  BoltFrame expected = f;
  expected.id = bolt_id(sent);
  expected.header = kv("service", "Other:1.0") + kv("trace", "abc");
  EXPECT_EQ(sent, expected.bytes()) << "lengths and checksum included";

  BoltFrame a = BoltFrame::response(bolt_id(sent), "answer");
  a.proto = 2, a.ver1 = 2, a.flags = 1;
  up.feed(a.bytes());
  answer.head->add_header("x", "y");
  ASSERT_EQ(down.at(0).exchange->send_head(*answer.head, false), Reason::kNone);
  down.at(0).exchange->send_body(bytes_of(answer.body), true);
  a.id = 1;
  a.header = kv("x", "y");
  EXPECT_EQ(down.sink.take(), a.bytes());
  answer.release();
}

TEST_F(Framed, EditsThatHaveNoPlaceAreLeftOutAndCounted) {
  BoltFrame opaque = BoltFrame::request(1);
  opaque.class_name = "some.Thing";
  down.feed(opaque.bytes() + BoltFrame::request(2).bytes());
  ASSERT_TRUE(down.at(0).head->opaque);
  down.at(0).head->set_header("a", "b");
  down.at(1).head->set_header("a", std::string(33000, 'b'));
  for (size_t i : {0, 1}) {
    FakeMessageSink answer;
    EXPECT_EQ(forward(down.at(i), up, answer), Reason::kNone);
    EXPECT_EQ(up.events.count(CodecEvent::kEditSkipped), i + 1);
    const std::string sent = up.sink.take(), came = (i ? BoltFrame::request(2) : opaque).bytes();
    EXPECT_EQ(sent.substr(9), came.substr(9)) << "it passes as it came, but for the id";
    answer.release();
  }
  EXPECT_EQ(up.events.broken, 0);
  static dragoman_codec without = *bolt_codec();
  without.edit = nullptr;
  without.abilities &= ~uint64_t{DRAGOMAN_CAN_EDIT};
  ASSERT_TRUE(check_codec(without).has_value());
  FramedConnection c(&without, Role::kClient);
  FakeMessageSink answer;
  EXPECT_EQ(forward(down.at(1), c, answer), Reason::kNone);
  EXPECT_EQ(c.events.count(CodecEvent::kEditSkipped), 1u);
  answer.release();
}

/// Peers keep headers in maps: of two with one name some take the first and others the last.
TEST_F(Framed, HeadersThatContradictEachOtherAreRefusedAndTheConnectionGoesOn) {
  struct Row {
    std::string header;
    bool refused;
  } rows[] = {{kv("a", "1") + kv("a", "1"), false},
              {kv("a", "1") + kv("a", "2"), true},
              {kv("a", "1") + kv("A", "2"), true},
              {kv("a", "1") + kv("b", "2"), false},
              {kv("a", "") + kv("a", "2"), true}};
  uint64_t refused = 0;
  size_t accepted = 0;
  for (const Row& row : rows) {
    BoltFrame f = BoltFrame::request(7);
    f.header += row.header;
    down.feed(f.bytes());
    refused += row.refused;
    accepted += !row.refused;
    EXPECT_EQ(down.events.count(CodecEvent::kHeadersContradict), refused);
    EXPECT_EQ(down.accepted(), accepted);
    EXPECT_EQ(down.sink.take().empty(), !row.refused) << "the client hears of it";
  }
  EXPECT_EQ(down.events.broken, 0);
}

TEST_F(Framed, TooManyHeadersAreRefusedAndTheConnectionGoesOn) {
  CodecOptions few = framed_options();
  few.framed.headers_max = 6;
  FramedConnection c(bolt_codec(), Role::kServer, few), client(bolt_codec(), Role::kClient, few);
  BoltFrame f = BoltFrame::request(1);
  f.header = kv("service", "S:1.0");
  for (char name : {'a', 'b', 'c', 'd', 'e'}) f.header += kv(std::string(1, name), "1");
  c.feed(f.bytes());
  EXPECT_EQ(c.accepted(), 1u);
  BoltFrame over = f;
  over.id = 2;
  over.header += kv("f", "1");
  c.feed(over.bytes());
  EXPECT_EQ(c.accepted(), 1u);
  EXPECT_EQ(c.events.count(CodecEvent::kHeadersOverflow), 1u);
  EXPECT_NE(c.sink.take(), "");
  EXPECT_EQ(c.events.broken, 0);
  // An answer with too many fails its call only.
  FakeMessageSink first, second;
  for (FakeMessageSink* sink : {&first, &second}) EXPECT_EQ(forward(c.at(0), client, *sink), Reason::kNone);
  const std::string sent = client.sink.take();
  BoltFrame answer = BoltFrame::response(1);
  answer.header = over.header;
  answer.id = load_be<uint32_t>(reinterpret_cast<const uint8_t*>(sent.data()) + 5);
  client.feed(answer.bytes());
  EXPECT_TRUE(first.was_reset);
  EXPECT_FALSE(second.was_reset);
  EXPECT_EQ(client.events.count(CodecEvent::kHeadersOverflow), 1u);
  EXPECT_EQ(client.events.broken, 0);
  first.release();
  second.release();
}

// What is odd about headers that nobody wanted costs no message anything once hops are looked for.
TEST_F(Framed, HopsAreFoundWithoutJudgingTheOtherHeaders) {
  CodecOptions plain = framed_options();
  plain.framed.want = DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD;
  plain.framed.headers_max = 6;
  FramedConnection c(bolt_codec(), Role::kServer, plain);
  struct Row {
    std::string header;
    std::string hops;  // as counted; empty: none, or not to be read
    bool unread = false;
  } rows[] = {
      {"", ""},
      {kv("x-dragoman-hops", "7"), "7"},
      {kv("zone", "eu") + kv("X-Dragoman-Hops", "12"), "12"},
      {kv("zone", "eu") + kv("Zone", "us") + kv("x-dragoman-hops", "3"), "3"},
      {kv("a", "1") + kv("b", "1") + kv("c", "1") + kv("d", "1") + kv("e", "1") + kv("f", "1"), ""},
      {std::string("\xff\xff", 2), "", true},
  };
  uint32_t id = 0;
  size_t accepted = 0;
  for (bool finds : {false, true}) {
    if (finds) c.codec->find_hops();
    for (const Row& row : rows) {
      SCOPED_TRACE(::testing::PrintToString(row.header));
      BoltFrame f = BoltFrame::request(++id);
      f.header = kv("service", "S:1.0") + row.header;
      c.feed(f.bytes());
      ASSERT_EQ(c.events.broken, 0);
      ASSERT_EQ(c.accepted(), ++accepted);
      const Head& head = *c.at(accepted - 1).head;
      if (!row.unread) EXPECT_EQ(head.service, "S:1.0");
      EXPECT_EQ(head.header("x-dragoman-hops"), finds ? row.hops : "");
      EXPECT_EQ(head.headers.size(), finds && !row.hops.empty() ? 1u : 0u);
      EXPECT_EQ(head.hops_unread, !finds || row.unread);
    }
  }
  EXPECT_EQ(c.events.count(CodecEvent::kHeadersOverflow), 0u);
}

TEST_F(Framed, AnEditOverTheFrameLimitIsLeftOut) {
  CodecOptions small = framed_options();
  small.framed.frame_bytes_max = 300;
  FramedConnection c(bolt_codec(), Role::kClient, small);
  down.feed(BoltFrame::request(1).bytes());
  down.at(0).head->set_header("a", std::string(300, 'b'));
  FakeMessageSink answer;
  EXPECT_EQ(forward(down.at(0), c, answer), Reason::kNone);
  EXPECT_EQ(c.events.count(CodecEvent::kEditSkipped), 1u);
  answer.release();
}

TEST_F(Framed, ChecksumsOfStreamedBodies) {
  // Large bodies in pieces, cut anywhere near the checksum, id rewritten both ways.
  for (size_t size : {size_t{0}, size_t{1}, size_t{3}, size_t{4}, size_t{50000}}) {
    for (size_t tail : {1, 2, 3, 4, 5}) {
      FramedConnection d(bolt_codec(), Role::kServer), u(bolt_codec(), Role::kClient);
      Hop hop(d, u);
      BoltFrame f = BoltFrame::request(0xcafe, std::string(size, 'q'));
      f.proto = 2, f.ver1 = 2, f.flags = 1;
      std::string whole = f.bytes();
      d.feed_in_steps(whole.substr(0, whole.size() - tail), 9000);
      d.feed_in_steps(whole.substr(whole.size() - tail), 1);
      std::string sent = u.sink.take();
      ASSERT_EQ(sent.size(), whole.size());
      ASSERT_EQ(sent, with_bolt_id(whole, bolt_id(sent))) << size << " " << tail;
      BoltFrame a = BoltFrame::response(bolt_id(sent), std::string(size, 'r'));
      a.proto = 2, a.ver1 = 2, a.flags = 1;
      u.feed_in_steps(a.bytes(), 8999);
      a.id = 0xcafe;
      ASSERT_EQ(d.sink.take(), a.bytes());
    }
  }
}

TEST_F(Framed, ChecksumMismatch) {
  BoltFrame f = BoltFrame::request(3, std::string(2000, 'q'));
  f.proto = 2, f.ver1 = 2, f.flags = 1;
  std::string bad = f.bytes();
  bad[300] ^= 1;
  for (size_t step : {bad.size(), size_t{500}, size_t{1}}) {
    FramedConnection c(bolt_codec(), Role::kServer);
    FramedConnection u(bolt_codec(), Role::kClient);
    Hop hop(c, u);
    c.feed_in_steps(BoltFrame::request(2).bytes() + bad, step);
    EXPECT_EQ(c.events.broken_reason, Reason::kChecksum);
    BoltFrame reply;
    reply.proto = 2, reply.ver1 = 2, reply.type = 0, reply.command = 2, reply.id = 3, reply.status = 9;
    EXPECT_EQ(c.sink.take(), reply.bytes());
    EXPECT_EQ(u.sink.take(), "") << "nothing of the bad one went upstream, and the good one had not left yet";
  }
  CodecOptions trusting = framed_options();
  trusting.framed.verify_checksums = false;
  FramedConnection c(bolt_codec(), Role::kServer, trusting);
  c.feed(bad);
  EXPECT_EQ(c.events.broken, 0);
  EXPECT_EQ(c.accepted(), 1u);
}

TEST_F(Framed, ChecksumMismatchOfAnAnswer) {
  BoltFrame f = BoltFrame::request(3);
  f.proto = 2, f.ver1 = 2, f.flags = 1;
  for (size_t step : {size_t{100000}, size_t{100}}) {
    FramedConnection d(bolt_codec(), Role::kServer), u(bolt_codec(), Role::kClient);
    d.feed(f.bytes());
    FakeMessageSink mine, other;
    forward(d.at(0), u, mine);
    forward(d.at(0), u, other);
    BoltFrame a = BoltFrame::response(bolt_id(u.sink.take()), std::string(1000, 'x'));
    a.proto = 2, a.ver1 = 2, a.flags = 1;
    std::string bad = a.bytes();
    bad[bad.size() - 10] ^= 1;
    u.feed_in_steps(bad, step);
    EXPECT_EQ(mine.reset_reason, Reason::kChecksum);
    EXPECT_EQ(other.reset_reason, Reason::kUpstreamReset);
    EXPECT_EQ(u.events.broken_reason, Reason::kChecksum);
    EXPECT_FALSE(mine.ended);
    mine.release();
    other.release();
  }
}

TEST_F(Framed, FramesNeverInterleaveUpstream) {
  FramedConnection d1(bolt_codec(), Role::kServer), d2(bolt_codec(), Role::kServer),
      u(bolt_codec(), Role::kClient);
  Hop h1(d1, u), h2(d2, u);
  std::string big = BoltFrame::request(1, std::string(100000, 'a')).bytes();
  d1.feed(big.substr(0, 60000));
  EXPECT_EQ(u.sink.peek().size(), 0u);
  d2.feed(BoltFrame::request(1, "small").bytes());
  std::string first = u.sink.take();
  EXPECT_EQ(first, with_bolt_id(BoltFrame::request(1, "small").bytes(), bolt_id(first)));
  d1.feed(big.substr(60000));
  std::string second = u.sink.take();
  EXPECT_EQ(second, with_bolt_id(big, bolt_id(second)));
}

TEST_F(Framed, ASenderThatDiesHalfWayHarmsNobody) {
  FramedConnection d1(bolt_codec(), Role::kServer), u(bolt_codec(), Role::kClient);
  Hop hop(d1, u);
  std::string big = BoltFrame::request(1, std::string(100000, 'a')).bytes();
  d1.feed(big.substr(0, 60000));
  d1.codec->on_transport_closed(Reason::kDownstreamReset);
  EXPECT_EQ(u.sink.take(), "");
  EXPECT_EQ(u.events.broken, 0);
  EXPECT_EQ(u.codec->open_exchanges(), 0u);
  EXPECT_EQ(u.codec->capacity(), 10000u);
}

TEST_F(Framed, WrongBodyLengthsResetOnlyTheirExchange) {
  down.feed(BoltFrame::request(1, "four").bytes());
  for (std::string_view body : {"thr", "fives", ""}) {
    FakeMessageSink answer;
    answer.exchange = up.codec->open(answer);
    ASSERT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kNone);
    answer.exchange->send_body(bytes_of(body), true);
    EXPECT_EQ(answer.reset_reason, Reason::kInternal);
    answer.exchange->send_body(bytes_of("more"), true);  // ignored
    answer.release();
  }
  EXPECT_EQ(up.sink.take(), "");
  EXPECT_EQ(up.events.broken, 0);
  EXPECT_EQ(up.codec->capacity(), 10000u);
}

TEST_F(Framed, PauseIsASetOfExchanges) {
  down.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes());
  Exchange* a = down.at(0).exchange;
  a->pause_reading();
  a->pause_reading();
  EXPECT_TRUE(down.events.paused);
  EXPECT_EQ(down.events.pauses, 1);
  down.at(1).exchange->pause_reading();
  a->resume_reading();
  a->resume_reading();
  EXPECT_TRUE(down.events.paused);
  down.at(1).release();  // takes its pause along
  EXPECT_FALSE(down.events.paused);
  a->pause_reading();
  a->reset(Reason::kInternal);
  EXPECT_FALSE(down.events.paused);
  // On a shared upstream connection one slow reader stops nobody.
  FakeMessageSink answer;
  forward(down.at(0), up, answer);
  answer.exchange->pause_reading();
  EXPECT_FALSE(up.events.paused);
  answer.release();
}

TEST_F(Framed, WriteBlockedReachesEverySink) {
  down.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes() + BoltFrame::request(3).bytes());
  // The first sink to hear it releases itself and the next one.
  down.at(0).then_blocked = [this](bool) {
    down.at(1).release();
    down.at(0).release();
  };
  down.codec->on_write_blocked(true);
  EXPECT_EQ(down.at(0).blocked.size(), 1u);
  EXPECT_EQ(down.at(1).blocked.size(), 0u);
  EXPECT_EQ(down.at(2).blocked.size(), 1u);
  down.codec->on_write_blocked(false);
  EXPECT_EQ(down.at(2).blocked, (std::vector<bool>{true, false}));
}

// There may be thousands of exchanges on a shared connection, and its output is over the watermark many times a second.
TEST_F(Framed, OnASharedConnectionOnlyUnfinishedRequestsMakeBlockedOutputHeard) {
  down.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes());
  FakeMessageSink whole, streamed;
  forward(down.at(0), up, whole);
  up.codec->on_write_blocked(true);
  EXPECT_EQ(up.codec->capacity(), 0u);
  up.codec->on_write_blocked(false);
  EXPECT_EQ(whole.blocked.size(), 0u);
  EXPECT_GT(up.codec->capacity(), 0u);

  forward(down.at(1), up, streamed, false);
  up.codec->on_write_blocked(true);
  EXPECT_EQ(streamed.blocked, std::vector<bool>{true});
  streamed.exchange->send_body(bytes_of(down.at(1).body), true);
  up.codec->on_write_blocked(false);
  EXPECT_EQ(streamed.blocked, (std::vector<bool>{true, false}))
      << "it stopped, and must hear that it may go on";
  up.codec->on_write_blocked(true);
  EXPECT_EQ(streamed.blocked.size(), 2u);

  // A request that is given up half-way does not count for ever.
  up.codec->on_write_blocked(false);
  down.feed(BoltFrame::request(3).bytes());
  FakeMessageSink given_up;
  forward(down.at(2), up, given_up, false);
  given_up.release();
  up.codec->on_write_blocked(true);
  EXPECT_EQ(whole.blocked.size() + streamed.blocked.size(), 4u);
  whole.release();
  streamed.release();
}

TEST_F(Framed, AReplyTakesThePlaceOfAnAnswerThatWasNotWrittenYet) {
  down.feed(BoltFrame::request(1).bytes());
  FakeMessageSink answer;
  forward(down.at(0), up, answer);
  up.feed(BoltFrame::response(bolt_id(up.sink.take()), "answer").bytes());
  ASSERT_EQ(down.at(0).exchange->send_head(*answer.head, false), Reason::kNone);
  down.at(0).exchange->send_body(bytes_of("ans"), false);
  EXPECT_EQ(down.sink.peek(), "") << "answers are collected";
  down.at(0).exchange->send_reply(*down.at(0).head, {});
  const std::string reply = down.sink.take();
  ASSERT_EQ(reply.size(), 20u);
  EXPECT_EQ(bolt_id(reply), 1u);
  EXPECT_NE(reply.substr(10, 2), be(0, 2));
  down.at(0).exchange->send_body(bytes_of("wer"), true);
  down.at(0).exchange->send_reply(*down.at(0).head, {});
  EXPECT_EQ(down.sink.take(), "") << "once only";
  EXPECT_EQ(down.events.broken, 0);
  answer.release();
}

TEST_F(Framed, AClosingReplyDrains) {
  down.feed(BoltFrame::request(1).bytes());
  LocalReply reply;
  reply.close = true;
  down.at(0).exchange->send_reply(*down.at(0).head, reply);
  EXPECT_EQ(down.events.finished, 0);
  down.at(0).release();
  EXPECT_EQ(down.events.finished, 1);
}

TEST_F(Framed, OutcomesOfReasonsReachTheWire) {
  struct Row {
    Reason reason;
    uint16_t status;
  } rows[] = {{Reason::kNoRoute, 6},        {Reason::kNoHealthyUpstream, 6},
              {Reason::kConnectFailure, 6}, {Reason::kUpstreamTimeout, 7},
              {Reason::kUpstreamReset, 16}, {Reason::kPendingOverflow, 4},
              {Reason::kRateLimited, 4},    {Reason::kDenied, 2},
              {Reason::kMalformed, 9},      {Reason::kFrameTooLarge, 9},
              {Reason::kInternal, 3},       {Reason::kDirectResponse, 3},
              {Reason::kEditFailed, 3}};
  for (const Row& row : rows) {
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(BoltFrame::request(1).bytes());
    LocalReply reply;
    reply.reason = row.reason;
    c.at(0).exchange->send_reply(*c.at(0).head, reply);
    BoltFrame expected;
    expected.type = 0, expected.command = 2, expected.status = row.status;
    EXPECT_EQ(c.sink.take(), expected.bytes()) << reason_row(row.reason).label;
  }
}

TEST(FramedPool, NothingIsLeft) { EXPECT_EQ(live_framed_exchanges(), 0u); }

}  // namespace
}  // namespace dragoman::testing
