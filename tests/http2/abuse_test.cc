// Peers that make much work of few bytes, and what ends them.
#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;

CodecOptions tight() {
  CodecOptions o;
  o.http2.streams_max = 1000;
  o.http2.resets_burst = 20;
  o.http2.resets_per_second = 10;
  o.http2.own_resets_burst = 20;
  o.http2.own_resets_per_second = 10;
  o.http2.control_burst = 100;
  o.http2.control_per_second = 10;
  o.http2.acks_max = 50;
  o.http1.headers_max = 20;
  o.http1.header_bytes_max = 4096;
  return o;
}

class Abuser : public Http2Connection {
 public:
  explicit Abuser(const CodecOptions& options = tight()) : Http2Connection(Role::kServer, options) {
    feed(hello());
    sink.take();
    // As the engine does: who is reset is released.
    events.then_exchange = [](FakeMessageSink& s) {
      s.then_reset = [&s](Reason) { s.release(); };
    };
  }
  /// Repeats until the connection is broken; how often it went well.
  template <class Make>
  int repeat(int max, Make&& make) {
    int n = 0;
    while (n < max && events.broken == 0) {
      feed(make(static_cast<uint32_t>(2 * n + 1)));
      if (flush) said += sink.take();
      ++n;
    }
    said += sink.take();
    return n - 1;
  }
  uint32_t goaway_code() {
    for (const Frame& f : parse(said))
      if (f.type == kGoAway) return f.word(4);
    return 999;
  }
  void expect_calm(CodecEvent event) {
    EXPECT_EQ(events.broken, 1);
    EXPECT_EQ(events.broken_reason, Reason::kAbuse);
    EXPECT_EQ(goaway_code(), kEnhanceYourCalm);
    EXPECT_EQ(events.count(event), 1u);
  }
  bool flush = true;
  std::string said;
};

TEST(Http2Abuse, RapidReset) {
  Abuser a;
  EXPECT_EQ(a.repeat(100, [](uint32_t id) { return headers(id, get()) + rst(id); }), 20);
  a.expect_calm(CodecEvent::kResetFlood);
  EXPECT_EQ(a.events.count(CodecEvent::kPeerReset), 21u);
}

// The request whose reset breaks the connection is told as well, before or after it was complete.
TEST(Http2Abuse, WhoseResetBreaksTheConnectionHearsItsEnd) {
  for (bool complete : {true, false}) {
    Abuser a;
    int resets = 0;
    a.events.then_exchange = [&](FakeMessageSink& s) { s.then_reset = [&](Reason) { ++resets; }; };
    a.repeat(100, [&](uint32_t id) {
      return headers(id, complete ? get() : post(), complete ? kEndHeaders | kEndStream : kEndHeaders) +
             rst(id);
    });
    a.expect_calm(CodecEvent::kResetFlood);
    EXPECT_EQ(a.accepted(), 21u);
    EXPECT_EQ(resets, 21);
    for (size_t i = 0; i < a.accepted(); ++i) a.at(i).release();
    EXPECT_EQ(a.codec->open_exchanges(), 0u);
  }
}

TEST(Http2Abuse, ResetsAtALowRateAreFine) {
  Abuser a;
  EXPECT_EQ(a.repeat(100, [&](uint32_t id) {
    a.events.now += 100;
    return headers(id, get()) + rst(id);
  }), 99);
  EXPECT_EQ(a.events.broken, 0);
}

TEST(Http2Abuse, ResetAfterTheWholeAnswerIsNoAbuse) {
  Abuser a;
  Head answer;
  answer.is_http = true;
  answer.status = 200;
  size_t served = 0;
  EXPECT_EQ(a.repeat(100, [&](uint32_t id) {
    a.feed(headers(id, post(), kEndHeaders));
    FakeMessageSink& s = a.at(served++);
    EXPECT_EQ(s.exchange->send_head(answer, true), Reason::kNone);
    s.release();
    a.sink.take();
    return rst(id);
  }), 99);
  EXPECT_EQ(a.events.broken, 0);
}

// Made-you-reset: invalid frames for a request under way.
TEST(Http2Abuse, MadeToReset) {
  Abuser a;
  EXPECT_EQ(a.repeat(100, [](uint32_t id) { return headers(id, post(), kEndHeaders) + window_update(id, 0x7fffffff); }), 20);
  a.expect_calm(CodecEvent::kOwnResetFlood);
}

TEST(Http2Abuse, MalformedRequestsWithoutEnd) {
  Abuser a;
  EXPECT_EQ(a.repeat(100, [](uint32_t id) { return headers(id, get() + Fields{{"X", "y"}}); }), 20);
  a.expect_calm(CodecEvent::kOwnResetFlood);
}

TEST(Http2Abuse, RefusedStreamsWithoutEnd) {
  CodecOptions o = tight();
  o.http2.streams_max = 1;
  Abuser a(o);
  EXPECT_EQ(a.repeat(100, [](uint32_t id) { return headers(id, get()); }), 21);
  a.expect_calm(CodecEvent::kOwnResetFlood);
}

TEST(Http2Abuse, PingFlood) {
  Abuser a;
  EXPECT_EQ(a.repeat(1000, [](uint32_t) { return ping(); }), 20);
  a.expect_calm(CodecEvent::kControlFlood);
}

TEST(Http2Abuse, SettingsFlood) {
  Abuser a;
  EXPECT_EQ(a.repeat(1000, [](uint32_t) { return settings({{4, 1000}}); }), 5);
  a.expect_calm(CodecEvent::kControlFlood);
}

TEST(Http2Abuse, PriorityWindowUpdateAndEmptyData) {
  for (int kind = 0; kind < 3; ++kind) {
    Abuser a;
    a.feed(headers(1, post(), kEndHeaders));
    int n = a.repeat(1000, [kind](uint32_t) {
      switch (kind) {
        case 0: return frame(kPriority, 0, 9, u32(0) + "x");
        case 1: return window_update(0, 1);
        default: return data(1, "");
      }
    });
    EXPECT_EQ(n, 100) << kind;
    a.expect_calm(CodecEvent::kControlFlood);
  }
}

TEST(Http2Abuse, ControlFramesAtALowRateAreFine) {
  Abuser a;
  EXPECT_EQ(a.repeat(500, [&](uint32_t) {
    a.events.now += 500;
    return ping();
  }), 499);
  EXPECT_EQ(a.events.broken, 0);
}

TEST(Http2Abuse, UnreadAnswersToPingsAreBounded) {
  CodecOptions o = tight();
  o.http2.control_burst = 1'000'000;
  Abuser a(o);
  a.codec->on_write_blocked(true);
  a.flush = false;
  EXPECT_EQ(a.repeat(1000, [](uint32_t) { return ping(); }), 50);
  a.expect_calm(CodecEvent::kAckFlood);
}

TEST(Http2Abuse, ContinuationFlood) {
  for (std::string_view piece : {"", "\0\1a\1b"}) {
    Abuser a;
    a.feed(headers(1, get(), kEndStream));
    EXPECT_EQ(a.repeat(1000, [&](uint32_t) { return frame(kContinuation, 0, 1, piece); }), 8);
    a.expect_calm(CodecEvent::kHeadFlood);
  }
}

// One long field put into the table, then named by one byte each time.
TEST(Http2Abuse, HpackBomb) {
  Abuser a;
  std::string bomb = block(get()) + '\x40' + hpack_text("a") + hpack_text(std::string(3000, 'b'));
  bomb += std::string(10'000, '\xbe');
  a.feed(frame(kHeaders, kEndHeaders | kEndStream, 1, bomb));
  a.said = a.sink.take();
  a.expect_calm(CodecEvent::kHeadFlood);
  EXPECT_EQ(a.accepted(), 0u);
}

TEST(Http2Abuse, ManySmallFields) {
  Abuser a;
  std::string many = block(get());
  for (int i = 0; i < 1000; ++i) many += '\x90';  // accept-encoding: gzip, deflate
  a.feed(frame(kHeaders, kEndHeaders | kEndStream, 1, many));
  a.said = a.sink.take();
  a.expect_calm(CodecEvent::kHeadFlood);
}

// --- who does not read, who does not write --------------------------------------------------------------------------

FakeMessageSink& answer_with(Abuser& a, size_t body) {
  a.feed(headers(1, get()));
  FakeMessageSink& s = a.at(0);
  Head head;
  head.is_http = true;
  head.status = 200;
  s.exchange->send_head(head, false);
  std::string text(body, 'x');
  s.exchange->send_body(bytes_of(text), true);
  return s;
}

TEST(Http2Abuse, AReaderThatOpensNoWindowIsReset) {
  Abuser a;
  a.feed(settings({{4, 0}}));
  FakeMessageSink& s = answer_with(a, 5000);
  s.release();  // as the engine does: the answer is complete
  a.sink.take();
  a.events.now += 59'000;
  EXPECT_GT(a.codec->tick(), 0);
  EXPECT_EQ(a.codec->open_exchanges(), 1u);
  a.events.now += 2'000;
  a.codec->tick();
  std::vector<Frame> said = parse(a.sink.take());
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].type, kRstStream);
  EXPECT_EQ(said[0].word(0), kCancel);
  EXPECT_EQ(a.codec->open_exchanges(), 0u);
  EXPECT_EQ(a.events.count(CodecEvent::kStreamStalled), 1u);
  EXPECT_EQ(a.events.count(CodecEvent::kGlitch), 1u);
  EXPECT_EQ(a.events.broken, 0);
}

TEST(Http2Abuse, ADribbleOfWindowIsNoProgressButARealReaderLives) {
  for (uint32_t step : {1u, 600u}) {
    CodecOptions o = tight();
    o.http2.control_burst = 100'000;
    Abuser a(o);
    a.feed(settings({{4, 0}}));
    answer_with(a, 50'000).release();
    for (int i = 0; i < 14; ++i) {
      a.events.now += 10'000;
      a.feed(window_update(1, step));
      a.codec->tick();
      a.sink.take();
    }
    EXPECT_EQ(a.codec->open_exchanges(), step == 1 ? 0u : 1u);
    EXPECT_EQ(a.events.count(CodecEvent::kStreamStalled), step == 1 ? 1u : 0u);
  }
}

TEST(Http2Abuse, ABodyThatStandsStillIsAnsweredBeforeItsEnd) {
  Abuser a;
  a.events.then_exchange = nullptr;
  a.feed(headers(1, post(), kEndHeaders) + data(1, "x"));
  a.events.now += 59'000;
  a.codec->tick();
  EXPECT_FALSE(a.at(0).was_reset);
  a.events.now += 2'000;
  a.codec->tick();
  EXPECT_EQ(a.at(0).reset_reason, Reason::kBodyTimeout);
  a.at(0).release();
  std::vector<Frame> said = parse(a.sink.take());
  ASSERT_GE(said.size(), 3u);
  EXPECT_EQ(said[0].type, kHeaders);
  EXPECT_EQ(said.back().type, kRstStream);
  EXPECT_EQ(said.back().word(0), kNoError);
  EXPECT_EQ(a.codec->open_exchanges(), 0u);
  EXPECT_EQ(a.events.refused, std::vector<Reason>{Reason::kBodyTimeout});
}

TEST(Http2Abuse, ABackendThatSaysNothingIsGivenUp) {
  Http2Connection client(Role::kClient);
  client.events.now += 11'000;
  client.codec->tick();
  EXPECT_EQ(client.events.broken, 1);
  EXPECT_EQ(client.events.broken_reason, Reason::kUpstreamProtocolError);
}

TEST(Http2Abuse, NoMemoryIsLeft) { EXPECT_EQ(live_http2_exchanges(), 0u); }

}  // namespace
}  // namespace dragoman
