// What a connection keeps for peers that are slow or greedy has a bound, and whoever holds an exchange hears its end.
#include <gtest/gtest.h>

#include <random>

#include "protocols/bolt/bolt.h"
#include "tests/framed/tiny_codecs.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"

namespace dragoman::testing {
namespace {

std::span<const uint8_t> bytes_of(std::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

/// Opens a call on `up` for the request that `from` received.
void forward(FakeMessageSink& from, FramedConnection& up, FakeMessageSink& answer) {
  answer.exchange = up.codec->open(answer);
  ASSERT_NE(answer.exchange, nullptr);
  ASSERT_EQ(answer.exchange->send_head(*from.head, from.body.empty()), Reason::kNone);
  if (!from.body.empty()) answer.exchange->send_body(bytes_of(from.body), true);
}

TEST(FramedEnds, EverySinkThatIsNotReleasedHearsTheEndOfItsConnection) {
  struct Ending {
    const char* what;
    void (*act)(FramedConnection&);
  } endings[] = {
      {"lost", [](FramedConnection& c) { c.codec->on_transport_closed(Reason::kDownstreamReset); }},
      {"fails", [](FramedConnection& c) { c.codec->fail(Reason::kAbuse); }},
      {"garbage", [](FramedConnection& c) { c.feed("garbage garbage garbage garbage"); }},
      {"cut",
       [](FramedConnection& c) {
         c.feed(BoltFrame::request(9).bytes().substr(0, 30));
         c.codec->on_eof();
       }},
  };
  for (const Ending& ending : endings) {
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(BoltFrame::one_way(1).bytes() + BoltFrame::one_way(2, "").bytes() + BoltFrame::request(3).bytes() +
           BoltFrame::request(4).bytes() + BoltFrame::one_way(5).bytes());
    c.at(3).exchange->send_reply(*c.at(3).head, {});  // answered, and still held
    c.at(4).exchange->reset(Reason::kInternal);       // its holder ended it
    ending.act(c);
    for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(c.at(i).was_reset) << ending.what << " " << i;
    EXPECT_FALSE(c.at(4).was_reset) << ending.what;
  }
  // The same for calls: waiting, sent, one-way, answered.
  for (PoolMode mode : {PoolMode::kMultiplex, PoolMode::kBound}) {
    FramedConnection down(bolt_codec(), Role::kServer), up(bolt_codec(), Role::kClient, framed_options(mode));
    down.feed(BoltFrame::request(1).bytes() + BoltFrame::one_way(2).bytes() + BoltFrame::request(3).bytes());
    FakeMessageSink calls[4];
    for (size_t i = 0; i < 3; ++i) forward(down.at(i), up, calls[i]);
    calls[3].exchange = up.codec->open(calls[3]);
    std::string sent = up.sink.take();
    up.feed(
        BoltFrame::response(bolt_id(sent.substr(sent.size() - down.at(2).head->wire.size() - 4))).bytes());
    EXPECT_TRUE(calls[2].ended);
    up.codec->on_transport_closed(Reason::kUpstreamReset);
    for (FakeMessageSink& call : calls) {
      EXPECT_TRUE(call.was_reset);
      call.release();
    }
    EXPECT_EQ(up.codec->open_exchanges(), 0u);
  }
}

TEST(FramedOrdered, AnswersThatWaitForTheirTurnAreBounded) {
  for (bool turned_away : {false, true}) {
    const size_t chunks = live_chunks(), exchanges = live_framed_exchanges();
    CodecOptions options = framed_options();
    if (turned_away) options.framed.streams_max = 1;
    FramedConnection c(codec_table<NoId>(), Role::kServer, options);
    c.events.then_exchange = [&c](FakeMessageSink& sink) {
      if (c.accepted() == 1) return;
      sink.then_head = [&sink](Head& head, bool) {
        sink.exchange->send_reply(head, {});
        sink.release();
      };
    };
    c.feed(NoId::frame(DRAGOMAN_REQUEST, "slow"));
    std::string many;
    for (int i = 0; i < 100; ++i) many += NoId::frame(DRAGOMAN_REQUEST, "x");
    int sent = 0;
    for (; sent < 2000 && !c.events.paused; ++sent) c.feed(many);
    EXPECT_TRUE(c.events.paused) << "after " << sent;
    EXPECT_EQ(c.events.count(CodecEvent::kAnswersHeld), 1u);
    EXPECT_LE(live_chunks() - chunks, 20u);
    EXPECT_LE(live_framed_exchanges() - exchanges, 3u) << "neighbours that wait are one";
    c.at(0).exchange->send_reply(*c.at(0).head, {});
    EXPECT_FALSE(c.events.paused);
    const std::string one = NoId::frame(DRAGOMAN_RESPONSE, "2");
    EXPECT_EQ(c.sink.take().size(), one.size() * (1 + 100 * static_cast<size_t>(sent)));
    EXPECT_EQ(c.codec->open_exchanges(), 1u);
    EXPECT_EQ(c.events.broken, 0);
  }
}

TEST(FramedSlowClient, AnswersBeyondTheBoundBecomeErrors) {
  CodecOptions options = framed_options();
  options.framed.kept_bytes_max = 100'000;
  FramedConnection down(bolt_codec(), Role::kServer, options), up(bolt_codec(), Role::kClient);
  Hop hop(down, up);
  std::string requests;
  for (uint32_t id = 1; id <= 10; ++id) requests += BoltFrame::request(id).bytes();
  down.feed(requests);
  std::string sent = up.sink.take();
  const size_t one = sent.size() / 10;
  auto answer = [&](size_t i) {
    up.feed(BoltFrame::response(bolt_id(sent.substr(i * one)), std::string(60'000, 'a')).bytes());
  };
  for (size_t i = 0; i < 4; ++i) answer(i);  // a client that reads may have more than that on its way
  EXPECT_TRUE(hop.failures.empty());
  EXPECT_GT(down.sink.peek().size(), 240'000u);
  down.sink.take();
  answer(4);
  down.codec->on_write_blocked(true);
  answer(5);
  EXPECT_EQ(hop.failures, std::vector<Reason>{Reason::kWriteStall});
  EXPECT_EQ(down.events.count(CodecEvent::kAnswerRefused), 1u);
  EXPECT_LT(down.sink.peek().size(), 100'000u);
  down.sink.take();
  down.codec->on_write_blocked(false);
  answer(6);
  EXPECT_EQ(hop.failures.size(), 1u);
  EXPECT_EQ(down.events.broken, 0);
}

TEST(FramedSlowClient, AnAnswerOfUnknownLengthToo) {
  CodecOptions options = framed_options();
  options.framed.kept_bytes_max = 1000;
  FramedConnection down(codec_table<Unsized>(), Role::kServer, options),
      up(codec_table<Unsized>(), Role::kClient);
  Hop hop(down, up);
  down.feed(Unsized::frame(DRAGOMAN_REQUEST, 7, "q"));
  down.codec->on_write_blocked(true);
  std::string answer =
      Unsized::frame(DRAGOMAN_RESPONSE, Unsized::id_of(up.sink.take()), std::string(5000, 'a'));
  for (size_t at = 0; at < answer.size(); at += 100) up.feed(answer.substr(at, 100));
  EXPECT_EQ(down.sink.take(), Unsized::frame(DRAGOMAN_RESPONSE, 7, "error"));
  EXPECT_EQ(down.events.count(CodecEvent::kAnswerRefused), 1u);
  EXPECT_EQ(down.codec->open_exchanges() + up.codec->open_exchanges(), 0u);
}

TEST(FramedBlockedBackend, TakesNoMoreRequests) {
  FramedConnection up(bolt_codec(), Role::kClient);
  EXPECT_GT(up.codec->capacity(), 0u);
  up.codec->on_write_blocked(true);
  EXPECT_EQ(up.codec->capacity(), 0u);
  FakeMessageSink answer;
  EXPECT_EQ(up.codec->open(answer), nullptr);
  int calls = up.events.capacity_calls;
  up.codec->on_write_blocked(false);
  EXPECT_EQ(up.events.capacity_calls, calls + 1) << "those who wait are told";
  EXPECT_GT(up.codec->capacity(), 0u);
}

TEST(FramedBlockedBackend, ARequestGivenUpUnsentIsNotSent) {
  const size_t sizes[] = {10, 9000, 3, 40000, 500};
  for (size_t given_up = 0; given_up < 5; ++given_up) {
    for (size_t left : {size_t{0}, size_t{1}, size_t{10'000}}) {  // bytes that the socket took before
      FramedConnection down(bolt_codec(), Role::kServer), up(bolt_codec(), Role::kClient);
      FakeMessageSink answers[5];
      std::vector<std::string> frames;
      for (size_t i = 0; i < 5; ++i) {
        down.feed(
            BoltFrame::request(static_cast<uint32_t>(i), std::string(sizes[i], static_cast<char>('a' + i)))
                .bytes());
        size_t before = up.sink.peek().size();
        forward(down.at(i), up, answers[i]);
        frames.push_back(up.sink.peek().substr(before));
        if (i == 2) {
          EXPECT_TRUE(up.codec->heartbeat());
        }
      }
      const std::string all = up.sink.peek();
      up.sink.out.consume(left);
      answers[given_up].exchange->reset(Reason::kUpstreamTimeout);
      const size_t begins = all.find(frames[given_up]);
      const bool unsent = begins >= left;
      std::string expected = all;
      if (unsent) expected.erase(begins, frames[given_up].size());
      EXPECT_EQ(up.sink.peek(), expected.substr(left)) << given_up << " " << left;
      EXPECT_EQ(up.events.count(CodecEvent::kRequestWithdrawn), unsent ? 1u : 0u);
      // Then another one, whose place may have moved.
      const size_t second = (given_up + 1) % 5;
      const size_t at = expected.find(frames[second]);
      answers[second].exchange->reset(Reason::kUpstreamTimeout);
      if (at >= left) expected.erase(at, frames[second].size());
      EXPECT_EQ(up.sink.peek(), expected.substr(left)) << given_up << " " << left;
      for (FakeMessageSink& a : answers) a.release();
      EXPECT_EQ(up.events.broken, 0);
    }
  }
}

TEST(FramedGreedyBackend, RequestsThatNobodyTakesAreGlitches) {
  FramedConnection up(bolt_codec(), Role::kClient);
  up.events.refuse = true;
  for (uint32_t id = 0; id < 5; ++id) up.feed(BoltFrame::request(id).bytes());
  up.feed(BoltFrame::one_way(7).bytes());
  EXPECT_EQ(up.events.count(CodecEvent::kGlitch), 6u);
}

TEST(ByteChain, CutsOutOfItsMiddle) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    ByteChain chain;
    std::string text;
    for (int i = 0; i < 6; ++i) {
      std::string piece(random() % 12'000, static_cast<char>('a' + i));
      ByteChain other;  // so that chunks are not full
      other.append(piece);
      chain.splice(other);
      text += piece;
    }
    for (int i = 0; i < 6 && !text.empty(); ++i) {
      size_t at = random() % text.size(), n = random() % (text.size() - at + 1);
      if (random() % 4 == 0) at = 0;
      chain.cut(at, n);
      text.erase(at, n);
      chain.append("end");
      text += "end";
      std::string now(chain.size(), '\0');
      chain.copy_to(reinterpret_cast<uint8_t*>(now.data()));
      ASSERT_EQ(now, text);
    }
  }
}

}  // namespace
}  // namespace dragoman::testing
