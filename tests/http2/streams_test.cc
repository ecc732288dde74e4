// Streams at their ends and beyond: frames that come too late, streams too many, goodbyes, what one stream may hold of all.
#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;
using namespace std::string_literals;

class Server : public Http2Connection {
 public:
  explicit Server(const CodecOptions& options = {}) : Http2Connection(Role::kServer, options) {
    feed(hello());
    hello_said = parse(sink.take());
  }
  /// Serves the i-th request at once.
  void serve(size_t i, std::string_view body = {}) {
    Head head;
    head.is_http = true;
    head.status = 200;
    EXPECT_EQ(at(i).exchange->send_head(head, body.empty()), Reason::kNone);
    if (!body.empty()) at(i).exchange->send_body(bytes_of(body), true);
    at(i).release();
  }
  /// The only frame of this type since the last call; type 255: none.
  Frame one(uint8_t type) {
    for (Frame& f : parse(sink.take()))
      if (f.type == type) return f;
    return {255, 0, 0, ""};
  }
  std::vector<Frame> hello_said;
};

enum class Answer { kNothing, kStreamClosed, kConnectionClosed, kConnectionProtocol };

struct LateFrame {
  const char* name;
  std::string before;  // streams 1 and 5 exist, 3 was passed over
  std::string late;
  Answer answer;
};

std::vector<LateFrame> late_frames() {
  const std::string ended = headers(1, get()), reset = headers(1, post(), kEndHeaders) + rst(1);
  const std::string trailers_1 = headers(1, {{"x", "y"}});
  return {
      {"head after the end", ended, headers(1, get()), Answer::kConnectionClosed},
      {"body after the end", ended, data(1, "x"), Answer::kConnectionClosed},
      {"head after a reset", reset, trailers_1, Answer::kStreamClosed},
      {"body after a reset", reset, data(1, "x", kEndStream), Answer::kStreamClosed},
      {"window after the end", ended, window_update(1, 1), Answer::kNothing},
      {"reset after the end", ended, rst(1), Answer::kNothing},
      {"priority after the end", ended, frame(kPriority, 0, 1, u32(0) + "x"), Answer::kNothing},
      {"head on a stream that was passed over", headers(5, get()), headers(3, get()),
       Answer::kConnectionProtocol},
      {"a stream that depends on itself", "", frame(kPriority, 0, 1, u32(1) + "x"),
       Answer::kConnectionProtocol},
      {"trailers that cross our reset", headers(1, get() + Fields{{"X", "y"}}, kEndHeaders), trailers_1,
       Answer::kNothing},
      {"a body that crosses our reset", headers(1, get() + Fields{{"X", "y"}}, kEndHeaders),
       data(1, "x", kEndStream), Answer::kNothing},
  };
}

TEST(Http2Streams, FramesThatComeTooLate) {
  for (const LateFrame& row : late_frames()) {
    for (size_t step : {size_t{1}, size_t{1} << 20}) {
      SCOPED_TRACE(row.name);
      Server s;
      s.feed(row.before);
      if (s.accepted() == 1 && !s.at(0).was_reset) s.serve(0);
      if (s.accepted() == 1) s.at(0).release();
      s.sink.take();
      s.feed_in_steps(row.late, step);
      const std::vector<Frame> said = parse(s.sink.take());
      const bool broken =
          row.answer == Answer::kConnectionClosed || row.answer == Answer::kConnectionProtocol;
      EXPECT_EQ(s.events.broken, broken ? 1 : 0);
      if (row.answer == Answer::kNothing) {
        EXPECT_TRUE(said.empty() || said[0].type == kWindowUpdate);
        continue;
      }
      ASSERT_FALSE(said.empty());
      EXPECT_EQ(said.back().type, broken ? kGoAway : kRstStream);
      EXPECT_EQ(said.back().word(broken ? 4 : 0),
                row.answer == Answer::kConnectionProtocol ? kProtocolError : kStreamClosed);
    }
  }
}

TEST(Http2Streams, ABodyBehindAResetInTheSameBytes) {
  Server s;
  s.feed(headers(1, post(), kEndHeaders) + rst(1) + data(1, "x", kEndStream));
  const Frame f = s.one(kRstStream);
  EXPECT_EQ(f.id, 1u);
  EXPECT_EQ(f.word(0), kStreamClosed);
  EXPECT_EQ(s.events.broken, 0);
}

// A backend's last words and its cut come in one read: a closing handshake (WebSocket), what an error page says.
TEST(Http2Streams, WhatCameBeforeACutIsSaidBeforeIt) {
  struct Row {
    const char* name;
    Fields request;
    uint32_t status;
    Reason cut;
    uint32_t code;
  };
  const Fields tunnel = {{":method", "CONNECT"},
                         {":protocol", "websocket"},
                         {":scheme", "http"},
                         {":path", "/"},
                         {":authority", "a.example"},
                         {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="},
                         {"sec-websocket-version", "13"}};
  for (const Row& row :
       {Row{"an answer", get(), 200, Reason::kUpstreamTruncated, kInternalError},
        // RFC 8441 5: what TCP's RST is to a websocket, CANCEL is to its stream.
        Row{"a tunnel", tunnel, 101, Reason::kUpstreamReset, kCancel},
        Row{"a tunnel whose backend has gone", tunnel, 101, Reason::kUpstreamTruncated, kCancel}}) {
    SCOPED_TRACE(row.name);
    Server s;
    s.feed(headers(1, row.request, row.status == 101 ? kEndHeaders : kEndHeaders | kEndStream));
    ASSERT_EQ(s.accepted(), 1u);
    Head head;
    head.is_http = true;
    head.status = row.status;
    head.upgrade = row.status == 101;
    head.headers.add("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    ASSERT_EQ(s.at(0).exchange->send_head(head, false), Reason::kNone);
    s.at(0).exchange->send_body(bytes_of("last words"), false);
    s.at(0).exchange->reset(row.cut);
    s.at(0).release();
    const std::vector<Frame> said = parse(s.sink.take());
    ASSERT_EQ(said.size(), 3u);
    EXPECT_EQ(said[0].type, kHeaders);
    EXPECT_EQ(said[1].type, kData);
    EXPECT_EQ(said[1].payload, "last words");
    EXPECT_EQ(said[2].type, kRstStream);
    EXPECT_EQ(said[2].word(0), row.code);
  }
}

// What the window holds back is lost with the stream, and what nobody has seen of a request is not begun for its end.
TEST(Http2Streams, ACutWaitsForNothing) {
  Server s;
  s.feed(headers(1, get()));
  Head head;
  head.is_http = true;
  head.status = 200;
  ASSERT_EQ(s.at(0).exchange->send_head(head, false), Reason::kNone);
  const std::string large(100'000, 'x');
  s.at(0).exchange->send_body(bytes_of(large), false);
  s.at(0).exchange->send_body(bytes_of("more"), false);
  s.at(0).exchange->reset(Reason::kUpstreamTruncated);
  s.at(0).release();
  EXPECT_EQ(parse(s.sink.take()).back().type, kRstStream);
  EXPECT_EQ(s.codec->open_exchanges(), 0u);

  Http2Connection client(Role::kClient);
  client.feed(settings());
  client.sink.take();
  Call call("POST", "/");
  ASSERT_TRUE(call.open(*client.codec));
  ASSERT_EQ(call.exchange->send_head(call.head, false), Reason::kNone);
  call.exchange->send_body(bytes_of("some"), false);
  call.exchange->reset(Reason::kDownstreamReset);
  call.answer.release();
  for (const Frame& f : parse(client.sink.take())) EXPECT_NE(f.type, kHeaders);
}

// What must not come in trailers (RFC 9110 6.5.1) is left out and counted, on either side. gRPC's metadata may have any name.
TEST(Http2Streams, FieldsThatAreLeftOutOfTrailers) {
  const Fields trailers = {{"x-sum", "7"}, {"content-length", "3"}, {"host", "a"}, {"set-cookie", "a=b"}};
  Server s;
  s.feed(headers(1, post(), kEndHeaders) + data(1, "abc") + headers(1, trailers));
  ASSERT_EQ(s.accepted(), 1u);
  EXPECT_TRUE(s.at(0).ended);
  ASSERT_EQ(s.at(0).trailers.size(), 1u);
  EXPECT_EQ(s.at(0).trailers[0].first, "x-sum");
  EXPECT_EQ(s.events.count(CodecEvent::kFieldDropped), 3u);
  EXPECT_EQ(s.events.broken, 0);
  for (bool grpc : {false, true}) {
    Http2Connection client(Role::kClient);
    client.feed(settings());
    Call call("POST", "/a.B/C");
    call.head.grpc = grpc;
    ASSERT_TRUE(call.open(*client.codec));
    ASSERT_EQ(call.exchange->send_head(call.head, true), Reason::kNone);
    client.feed(headers(1, {{":status", "200"}}, kEndHeaders) + data(1, "abc") + headers(1, trailers));
    EXPECT_TRUE(call.answer.ended);
    EXPECT_EQ(call.answer.trailers.size() + client.events.count(CodecEvent::kFieldDropped), trailers.size());
    EXPECT_EQ(call.answer.trailers.size(), grpc ? 2u : 1u) << "content-length and host are of the framing";
  }
}

// Each of them has to be decoded.
TEST(Http2Streams, HeadsOnStreamsThatWereResetAreBounded) {
  for (bool ours : {true, false}) {
    Server s;
    s.feed(headers(1, ours ? post() + Fields{{"X", "y"}} : post(), kEndHeaders) + (ours ? "" : rst(1)));
    if (!ours) s.at(0).release();
    int n = 0;
    while (n < 20'000 && s.events.broken == 0) {
      s.feed(headers(1, {{"x", "y"}}));
      s.sink.take();
      ++n;
    }
    EXPECT_EQ(s.events.broken, 1);
    EXPECT_EQ(s.events.broken_reason, Reason::kAbuse);
    EXPECT_LE(n, 2100);
  }
}

TEST(Http2Streams, OneTooManyIsRefusedAndNothingElseHappens) {
  for (bool acknowledged : {false, true}) {
    CodecOptions o;
    o.http2.streams_max = 3;
    Server s(o);
    ASSERT_FALSE(s.hello_said.empty());
    EXPECT_EQ(s.hello_said[0].payload.find(u16(3) + u32(3)) % 6, 0u);
    if (acknowledged) s.feed(frame(kSettings, kAck, 0));
    for (uint32_t id = 1; id <= 9; id += 2) s.feed(headers(id, get()));
    std::vector<uint32_t> refused;
    for (const Frame& f : parse(s.sink.take()))
      if (f.type == kRstStream && f.word(0) == kRefusedStream) refused.push_back(f.id);
    EXPECT_EQ(refused, (std::vector<uint32_t>{7, 9}));
    EXPECT_EQ(s.events.broken, 0);
    EXPECT_EQ(s.events.count(CodecEvent::kStreamsOverflow), 2u);
    EXPECT_EQ(s.accepted(), 3u);
  }
}

TEST(Http2Streams, HeadsThatHoldTooMuchRefuseFurtherOnes) {
  CodecOptions o;
  o.http2.streams_max = 10'000;
  o.http2.own_resets_burst = 10'000;
  Server s(o);
  uint32_t id = 1;
  for (; id < 2800; id += 2) s.feed(headers(id, get() + Fields{{"x", std::string(15'000, 'x')}}));
  EXPECT_GE(s.accepted(), 800u);
  EXPECT_LE(s.accepted(), 1120u);  // 16 MiB
  EXPECT_EQ(s.events.count(CodecEvent::kStreamsOverflow), 1400 - s.accepted());
  const size_t before = s.accepted();
  for (size_t i = 0; i < before; ++i) s.serve(i);
  s.sink.take();
  s.feed(headers(id, get()));
  EXPECT_EQ(s.accepted(), before + 1);  // and gives it back
}

TEST(Http2Streams, AnswersThatNobodyReadsHoldABoundedSum) {
  CodecOptions o;
  o.http2.streams_max = 1000;
  Server s(o);
  s.feed(settings({{4, 0}}));
  const std::string piece(60'000, 'x');
  size_t reset = 0;
  s.events.then_exchange = [&](FakeMessageSink& x) {
    x.then_reset = [&](Reason reason) {
      EXPECT_EQ(reason, Reason::kWriteStall);
      ++reset;
    };
  };
  Head head;
  head.is_http = true;
  head.status = 200;
  for (uint32_t i = 0; i < 1000; ++i) s.feed(headers(2 * i + 1, get()));
  for (size_t i = 0; i < s.accepted(); ++i) {
    s.at(i).exchange->send_head(head, false);
    s.at(i).exchange->send_body(bytes_of(piece), false);
  }
  EXPECT_GT(reset, 400u);
  EXPECT_LE((s.accepted() - reset) * piece.size(), size_t{32} << 20);
  EXPECT_EQ(s.events.count(CodecEvent::kStreamStalled), reset);
  EXPECT_EQ(s.events.broken, 0);
}

// --- goodbyes -------------------------------------------------------------------------------------------------------

// RFC 9113 6.8: a client's GOAWAY is about streams that we would open. It may go on itself (Dubbo does, with calls that had chosen the
// connection), and the owner ends the connection when nothing comes any more.
TEST(Http2Streams, AClientThatSaidGoodbyeIsServedOn) {
  for (uint32_t last : {0u, 1u, 0x7fffffffu}) {
    for (size_t step : {size_t{1}, size_t{3}, size_t{1} << 20}) {
      Server s;
      s.feed_in_steps(goaway(last, kNoError) + ping(), step);
      EXPECT_EQ(s.events.goaways, 1);
      EXPECT_EQ(s.events.count(CodecEvent::kGoAway), 1u);
      EXPECT_EQ(s.one(kPing).flags, kAck);
      s.feed_in_steps(headers(1, get()), step);
      ASSERT_EQ(s.accepted(), 1u);
      s.feed_in_steps(goaway(last, 77) + ping(), step);
      EXPECT_EQ(s.one(kPing).flags, kAck);
      s.serve(0);
      EXPECT_EQ(s.one(kHeaders).id, 1u);
      s.feed_in_steps(ping() + headers(3, get()), step);
      EXPECT_EQ(s.one(kPing).flags, kAck);
      EXPECT_EQ(s.accepted(), 2u);
      s.at(1).release();
      EXPECT_EQ(s.events.finished + s.events.broken, 0);
    }
  }
}

TEST(Http2Streams, MalformedGoodbyes) {
  for (size_t step : {size_t{1}, size_t{1} << 20}) {
    for (const auto& [bytes, code] : {std::pair{frame(kGoAway, 0, 1, u32(0) + u32(0)), kProtocolError},
                                      std::pair{frame(kGoAway, 0, 0, "1234567"), kFrameSizeError},
                                      std::pair{frame(kGoAway, 0, 0), kFrameSizeError}}) {
      Server s;
      s.feed_in_steps(bytes, step);
      EXPECT_EQ(s.events.broken, 1);
      EXPECT_EQ(s.one(kGoAway).word(4), code);
    }
  }
}

// --- what pays for frames -------------------------------------------------------------------------------------------

// gRPC in Go measures the way by a PING for nearly every DATA frame it gets, and gives back the window at once.
TEST(Http2Streams, FramesThatAnswerOursAreNotCounted) {
  Server s;
  for (uint32_t i = 0; i < 20'000 && s.events.broken == 0; ++i) {
    const uint32_t id = 2 * i + 1;
    s.feed(headers(id, post(), kEndHeaders) + data(id, "x", kEndStream));
    s.serve(i, "answer");
    s.sink.take();
    s.feed(window_update(0, 6) + ping());
  }
  EXPECT_EQ(s.events.broken, 0) << s.events.broken_detail;
}

TEST(Http2Streams, TheSameFromAServer) {
  Http2Connection c(Role::kClient);
  c.feed(settings({{3, 1000}}));
  for (uint32_t i = 0; i < 20'000 && c.events.broken == 0; ++i) {
    Call call("POST", "/");
    ASSERT_TRUE(call.open(*c.codec));
    call.exchange->send_head(call.head, false);
    call.exchange->send_body(bytes_of("request"), true);
    c.sink.take();
    const uint32_t id = 2 * i + 1;
    c.feed(window_update(0, 7) + ping() + headers(id, {{":status", "200"}}, kEndHeaders) + data(id, "x") +
           headers(id, {{"grpc-status", "0"}}));
    EXPECT_TRUE(call.answer.ended);
  }
  EXPECT_EQ(c.events.broken, 0) << c.events.broken_detail;
}

// Readers that give back what they take in small pieces.
TEST(Http2Streams, SmallWindowUpdatesForWhatWasSent) {
  Server s;
  s.feed(settings({{4, 1 << 30}}) + window_update(0, 1 << 30) + headers(1, get()));
  Head head;
  head.is_http = true;
  head.status = 200;
  s.at(0).exchange->send_head(head, false);
  const std::string piece(16'384, 'x');
  for (int i = 0; i < 2000 && s.events.broken == 0; ++i) {
    s.at(0).exchange->send_body(bytes_of(piece), false);
    s.sink.take();
    for (int k = 0; k < 16; ++k) s.feed(window_update(0, 1024) + window_update(1, 1024));
  }
  EXPECT_EQ(s.events.broken, 0) << s.events.broken_detail;
}

// --- ends of bodies -------------------------------------------------------------------------------------------------

TEST(Http2Streams, ABodyThatIsCompleteMayEndWithAnEmptyFrame) {
  for (bool in_time : {true, false}) {
    Server s;
    s.feed(headers(1, post() + Fields{{"content-length", "3"}}, kEndHeaders) + data(1, "abc"));
    s.serve(0, "early");
    for (const Frame& f : parse(s.sink.take())) EXPECT_NE(f.type, kRstStream);
    if (in_time) {
      s.feed(data(1, "", kEndStream));
    } else {
      s.events.now += 61'000;
      s.codec->tick();
      EXPECT_EQ(s.one(kRstStream).word(0), kNoError);
    }
    EXPECT_EQ(s.codec->open_exchanges(), 0u);
    EXPECT_EQ(s.events.broken, 0);
  }
}

TEST(Http2Streams, ABodyOfWhichSomeIsMissingIsStopped) {
  Server s;
  s.feed(headers(1, post() + Fields{{"content-length", "4"}}, kEndHeaders) + data(1, "abc"));
  s.serve(0, "early");
  EXPECT_EQ(s.one(kRstStream).word(0), kNoError);
}

TEST(Http2Streams, ACancelOfAGrpcServerIsNoLostConnection) {
  for (bool is_grpc : {true, false}) {
    Http2Connection c(Role::kClient);
    c.feed(settings());
    Call call("POST", "/a.B/C");
    call.head.grpc = is_grpc;
    ASSERT_TRUE(call.open(*c.codec));
    call.exchange->send_head(call.head, true);
    c.sink.take();
    c.feed(rst(1, kCancel));
    EXPECT_EQ(call.answer.was_reset, !is_grpc);
    EXPECT_EQ(call.answer.ended, is_grpc);
    if (is_grpc) {
      EXPECT_EQ(call.answer.head->header("grpc-status"), "1");
      EXPECT_EQ(call.answer.head->outcome, Outcome::kClientError);
    }
  }
}

// --- cookies --------------------------------------------------------------------------------------------------------

TEST(Http2Streams, CookieCrumbsAreOneField) {
  Server s;
  Fields fields = get();
  fields.emplace_back("x-before", "1");
  std::string expected;
  for (int i = 0; i < 150; ++i) {
    fields.emplace_back("cookie", "k" + std::to_string(i) + "=v");
    if (i == 70) fields.emplace_back("x-between", "2");
    expected += (i ? "; k" : "k") + std::to_string(i) + "=v";
  }
  s.feed_in_steps(headers(1, fields), 7);
  ASSERT_EQ(s.accepted(), 1u);
  EXPECT_EQ(s.at(0).head->headers.find(HeaderId::kCookie)->value, expected);
  EXPECT_EQ(s.at(0).head->headers.size(), 3u);
  // Nothing of it is left for the next request.
  s.feed(headers(3, get() + Fields{{"cookie", "a=b"}}));
  EXPECT_EQ(s.at(1).head->headers.find(HeaderId::kCookie)->value, "a=b");
}

TEST(Http2Streams, CookiesOfAnInterimHeadAreNotContinued) {
  Http2Connection c(Role::kClient);
  c.feed(settings());
  Call call("GET", "/");
  ASSERT_TRUE(call.open(*c.codec));
  call.exchange->send_head(call.head, true);
  c.sink.take();
  c.feed(headers(1, {{":status", "103"}, {"cookie", "a"}, {"cookie", "b"}}, kEndHeaders) +
         headers(1, {{":status", "200"}, {"cookie", "c"}, {"cookie", "d"}}));
  ASSERT_TRUE(call.answer.ended);
  EXPECT_EQ(call.answer.head->header("cookie"), "c; d");
}

// --- long fields ----------------------------------------------------------------------------------------------------

/// A header block in frames of at most `step` bytes of payload, padded or not.
std::string in_frames(uint32_t id, std::string_view block, size_t step, uint8_t flags) {
  std::string out;
  for (bool first = true; first || !block.empty(); first = false) {
    const std::string_view part = block.substr(0, step);
    block.remove_prefix(part.size());
    const uint8_t last = block.empty() ? kEndHeaders : kNone;
    if (first)
      out += frame(kHeaders, flags | last | kPadded | kHasPriority, id,
                   std::string("\x03") + u32(0) + "x" + std::string(part) + "\0\0\0"s);
    else
      out += frame(kContinuation, last, id, part);
  }
  return out;
}

TEST(Http2Streams, FieldsOfAnyLengthPassAndTheTablesStayTheSame) {
  for (const size_t size :
       {59'999u, 60'001u, 65'535u, 65'536u, 65'537u, 76'990u, 77'001u, 120'000u, 500'000u}) {
    for (size_t step : {16'000u, 7'001u}) {
      for (size_t read : {size_t{1} << 20, size_t{1009}}) {
        CodecOptions o;
        o.http1.header_bytes_max = 1 << 20;
        Server s(o);
        std::string value(size, 'x');
        for (size_t i = 0; i < size; ++i) value[i] = static_cast<char>('!' + i * 7 % 90);
        // An entry of the dynamic table, the long field with and without indexing, the entry again: an indexed field so long empties
        // the table, so the entry is put there anew.
        const std::string entry = std::string(1, '\x40') + hpack_text("k") + hpack_text("v");
        const std::string by_index = std::string(1, '\xbe');
        for (uint32_t i = 0; i < 2; ++i) {
          const std::string longer =
              (i ? std::string(1, '\x40') : std::string(1, '\0')) + hpack_text("long") + hpack_text(value);
          const std::string block_text =
              block(get()) + entry + longer + (i ? entry : "") + by_index + block({{"last", "l"}});
          s.feed_in_steps(in_frames(2 * i + 1, block_text, step, kEndStream), read);
          ASSERT_EQ(s.accepted(), i + 1) << size << s.events.broken_detail;
          Head& head = *s.at(i).head;
          EXPECT_EQ(head.header("long"), value) << size << " " << step;
          EXPECT_EQ(head.header("last"), "l");
          EXPECT_EQ(head.headers.size(), i ? 5u : 4u);
        }
        EXPECT_EQ(s.events.broken, 0);
      }
    }
  }
}

// The length of a value that is in two frames is held back until all of it is here. What may stand between its bytes: padding, and
// frames that end the connection.
TEST(Http2Streams, WhatStandsInsideALengthIsNotHeld) {
  const std::string begin =
      block(get()) + "\0"s + hpack_text("k") + "\x7f\x80"s;  // 127, or more by what follows
  const std::string padding(255, '\0');
  struct Case {
    const char* name;
    std::string bytes;
    bool served;
  };
  const std::vector<Case> cases = {
      {"data", frame(kHeaders, kNone, 1, begin) + data(1, std::string(1000, 'x')), false},
      {"unknown frame", frame(kHeaders, kNone, 1, begin) + frame(0x42, 0, 1, std::string(9000, 'x')), false},
      {"headers", frame(kHeaders, kNone, 1, begin) + headers(3, get()), false},
      {"the block's end", frame(kHeaders, kNone, 1, begin) + frame(kContinuation, kEndHeaders, 1) + ping(),
       false},
      {"its end, after more",
       frame(kHeaders, kNone, 1, begin) + frame(kContinuation, kEndHeaders, 1, "\x81") + ping(), false},
      {"padding",
       frame(kHeaders, kPadded | kEndStream, 1, "\xff" + begin + padding) +
           frame(kContinuation, kEndHeaders, 1, "\0"s + std::string(127, 'v')),
       true},
      {"empty frames",
       frame(kHeaders, kEndStream, 1, begin) + frame(kContinuation, kNone, 1) +
           frame(kContinuation, kNone, 1) +
           frame(kContinuation, kEndHeaders, 1, "\0"s + std::string(127, 'v')),
       true},
      {"no length",
       frame(kHeaders, kNone, 1, begin + "\xff\xff\xff\xff\xff") + frame(kContinuation, kEndHeaders, 1),
       false},
  };
  for (const Case& c : cases) {
    for (size_t read : {size_t{1} << 20, size_t{1}, size_t{100}, size_t{130}}) {
      SCOPED_TRACE(std::string(c.name) + " " + std::to_string(read));
      Server s;
      s.feed_in_steps(c.bytes, read);
      s.codec->on_write_blocked(false);  // whatever is to be said is said
      bool left = false;
      for (const Frame& f : parse(s.sink.take())) left |= f.type == kGoAway;
      EXPECT_EQ(left, !c.served);
      ASSERT_EQ(s.accepted(), c.served ? 1u : 0u);
      if (c.served) {
        EXPECT_EQ(s.at(0).head->header("k"), std::string(127, 'v'));
      }
    }
  }
}

// nghttp2 writes the other side: Huffman codes, and values that go in CONTINUATION frames.
TEST(Http2Streams, LongFieldsBetweenOurselves) {
  CodecOptions o;
  o.http1.header_bytes_max = 1 << 20;
  for (size_t step : {size_t{1} << 20, size_t{113}}) {
    Http2Pair pair(o, o, step);
    for (const char* alphabet :
         {"a", "abcdefghijklmnopqrstuvwxyz0123456789", "{}|~^ \\<>\"aZ", "\x80\xff\xc3\xa9z"}) {
      const std::string_view letters = alphabet;
      std::string value = "x";
      for (size_t i = 0; i < 150'000; ++i) value += letters[i * i % letters.size()];
      value += "x";
      Call call("GET", "/");
      call.head.headers.add("long", value);
      ASSERT_EQ(pair.start(call, true), Reason::kNone);
      const size_t i = pair.server.accepted() - 1;
      ASSERT_FALSE(pair.server.at(i).was_reset);
      ASSERT_TRUE(pair.server.at(i).head) << alphabet;
      EXPECT_EQ(pair.server.at(i).head->header("long"), value) << alphabet;
      Head answer;
      answer.headers.add("long", value);
      pair.answer(i, 200, true, answer);
      pair.server.at(i).release();
      ASSERT_TRUE(call.answer.head);
      EXPECT_EQ(call.answer.head->header("long"), value) << alphabet;
    }
    EXPECT_EQ(pair.server.events.broken + pair.client.events.broken, 0);
  }
}

// Over the limit it is that stream's affair.
TEST(Http2Streams, AFieldOverTheLimitHitsItsStreamOnly) {
  const std::string longer = block({{"x", std::string(200'000, 'x')}});
  Server s;
  s.feed(headers(1, get()) + in_frames(3, block(get()) + longer, 16'000, kEndStream));
  EXPECT_EQ(s.accepted(), 1u);
  EXPECT_EQ(s.events.broken, 0) << s.events.broken_detail;
  EXPECT_EQ(s.events.refused, std::vector<Reason>{Reason::kHeadTooLarge});
  s.serve(0);

  Http2Connection c(Role::kClient);
  c.feed(settings());
  Call one("GET", "/"), other("GET", "/");
  for (Call* call : {&one, &other}) {
    ASSERT_TRUE(call->open(*c.codec));
    call->exchange->send_head(call->head, true);
  }
  c.sink.take();
  c.feed(in_frames(1, block({{":status", "200"}, {"x", std::string(1'000'000, 'x')}}), 16'000, kEndStream));
  EXPECT_EQ(one.answer.reset_reason, Reason::kUpstreamTooLarge);
  c.feed(headers(3, {{":status", "200"}}));
  EXPECT_TRUE(other.answer.ended);
  EXPECT_EQ(c.events.broken, 0) << c.events.broken_detail;
}

// --- shares of the connection's window ------------------------------------------------------------------------------

TEST(Http2Streams, AnswersThatNobodyTakesDoNotStopTheOthers) {
  CodecOptions o;
  o.http2.stream_window_bytes = 65'535;
  o.http2.connection_window_bytes = 65'535;
  o.http2.streams_max = 2000;
  o.http2.memory_bytes_max = 64 << 20;
  Http2Connection c(Role::kClient, o);
  c.feed(settings({{3, 2000}}));
  std::vector<std::unique_ptr<Call>> calls;
  int64_t window = 65'535;
  auto flush = [&] {
    for (const Frame& f : parse(c.sink.take()))
      if (f.type == kWindowUpdate && f.id == 0) window += f.word(0);
  };
  auto open = [&] {
    auto call = std::make_unique<Call>("GET", "/");
    if (!call->open(*c.codec)) return false;
    call->exchange->send_head(call->head, true);
    calls.push_back(std::move(call));
    c.feed(headers(static_cast<uint32_t>(2 * calls.size() - 1), {{":status", "200"}}, kEndHeaders));
    flush();
    return true;
  };
  const std::string piece(16'383, 'x');
  while (open()) {
    calls.back()->exchange->pause_reading();
    for (int i = 0; i < 4; ++i) {
      ASSERT_GE(window, 16'383) << "others wait for " << calls.size() << " that stand still";
      c.feed(data(static_cast<uint32_t>(2 * calls.size() - 1), piece));
      window -= 16'383;
      flush();
    }
  }
  // From half of the bound on, further ones are better off elsewhere.
  EXPECT_EQ(c.codec->capacity(), 0u);
  EXPECT_GE(calls.size(), 512u);
  EXPECT_LE(calls.size(), 514u);
  const int before = c.events.capacity_calls;
  for (auto& call : calls) call->exchange->resume_reading();
  EXPECT_GT(c.events.capacity_calls, before);
  EXPECT_GT(c.codec->capacity(), 0u);
  flush();
  EXPECT_GE(window, 32'000);
  EXPECT_LE(window, 65'535);
}

TEST(Http2Streams, NoMemoryIsLeft) { EXPECT_EQ(live_http2_exchanges(), 0u); }

}  // namespace
}  // namespace dragoman
