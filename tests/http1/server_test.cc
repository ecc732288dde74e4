// The side that faces a client: what the answers look like, and when the connection goes on.
#include <gtest/gtest.h>

#include "tests/http1/http1_support.h"

namespace dragoman::testing {
namespace {

const std::string kGet = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const std::string kUpgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

class Http1Server : public ::testing::Test {
 protected:
  ~Http1Server() override {
    if (c) {
      for (auto& s : c->events.accepted) s->release();
      EXPECT_EQ(c->codec->open_exchanges(), 0);
      c.reset();
    }
    EXPECT_EQ(live_http1_exchanges(), 0);
    EXPECT_EQ(live_chunks(), 0);
  }
  /// The i-th request's sink.
  FakeMessageSink& at(size_t i) { return c->at(i); }
  Exchange& exchange(size_t i) { return *c->at(i).exchange; }
  std::string out() { return c->sink.take(); }
  void answer(size_t i, uint32_t status = 200) {
    Answer a(status, 0);
    EXPECT_EQ(exchange(i).send_head(a.head, true), Reason::kNone);
    at(i).release();
  }
  void body(size_t i, std::string_view text, bool end) { exchange(i).send_body(bytes_of(text), end); }

  std::unique_ptr<Http1Connection> c = std::make_unique<Http1Connection>(Role::kServer);
};

// --- answers ---------------------------------------------------------------------------------------------------------

TEST_F(Http1Server, FramingOfAnswers) {
  struct Row {
    std::string_view request;
    uint32_t status;
    int64_t length;       // -1 = unknown
    std::string_view body;
    std::string_view wire;
    bool closes = false;
  };
  const std::string te = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n";
  const std::string head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string old = "GET / HTTP/1.0\r\n\r\n";
  const std::string old_kept = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
  for (const Row& row : {
           Row{kGet, 200, 5, "hello", "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 5\r\n\r\nhello"},
           Row{kGet, 200, 0, "", "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\n"},
           Row{kGet, 200, -1, "hello", "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
           Row{kGet, 200, -1, "", "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
           Row{kGet, 299, 1, "x", "HTTP/1.1 299 \r\nx: y\r\ncontent-length: 1\r\n\r\nx"},
           Row{kGet, 204, -1, "body", "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"},
           Row{kGet, 204, 4, "body", "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n"},
           Row{kGet, 304, 7, "body", "HTTP/1.1 304 Not Modified\r\nx: y\r\ncontent-length: 7\r\n\r\n"},
           Row{kGet, 304, -1, "body", "HTTP/1.1 304 Not Modified\r\nx: y\r\n\r\n"},
           Row{kGet, 205, -1, "body", "HTTP/1.1 205 \r\nx: y\r\ncontent-length: 0\r\n\r\n"},
           Row{head, 200, 5, "hello", "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 5\r\n\r\n"},
           Row{head, 200, -1, "hello", "HTTP/1.1 200 OK\r\nx: y\r\n\r\n"},
           Row{old, 200, 5, "hello", "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello", true},
           Row{old_kept, 200, 5, "hello", "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\nhello"},
           Row{old_kept, 200, -1, "hello", "HTTP/1.1 200 OK\r\nx: y\r\nconnection: close\r\n\r\nhello", true},
       }) {
    SCOPED_TRACE(row.wire);
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(std::string(row.request) + kGet);
    Answer a(row.status, row.length);
    a.with("x", "y");
    ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
    if (!row.body.empty()) body(0, row.body, false);
    body(0, "", true);
    at(0).release();
    EXPECT_EQ(out(), row.wire);
    EXPECT_EQ(c->events.finished, row.closes);
    EXPECT_EQ(c->accepted(), row.closes ? 1 : 2);
    EXPECT_EQ(c->events.broken, 0);
    for (auto& s : c->events.accepted) s->release();
  }
}

TEST_F(Http1Server, TrailersForThoseWhoTakeThem) {
  for (bool te : {false, true}) {
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(te ? "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n" : kGet);
    Answer a;
    ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
    body(0, "hi", false);
    Head h;
    HeaderList trailers(h.arena);
    trailers.add("x-sum", "1");
    trailers.add("content-length", "5");
    trailers.add("bad name", "5");
    exchange(0).send_trailers(trailers);
    at(0).release();
    EXPECT_EQ(out(), std::string("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n") +
                         (te ? "x-sum: 1\r\n" : "") + "\r\n");
  }
}

// A length leaves no room for trailers: who announces them, to those who take them, is sent in chunks.
TEST_F(Http1Server, AnnouncedTrailersOutweighALength) {
  for (bool te : {false, true}) {
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(te ? "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n" : kGet);
    Answer a(200, 2);
    a.with("trailer", "x-sum");
    ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
    body(0, "hi", false);
    Head h;
    HeaderList trailers(h.arena);
    trailers.add("x-sum", "1");
    exchange(0).send_trailers(trailers);
    at(0).release();
    EXPECT_EQ(out(), te ? "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: "
                          "chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n"
                        : "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ncontent-length: 2\r\n\r\nhi");
  }
}

TEST_F(Http1Server, A426SaysWhatToSpeak) {
  for (bool close : {false, true}) {
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(close ? "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" : kGet);
    Answer a(426, 0);
    a.head.upgrade_token = "h2c, x/1";
    ASSERT_EQ(exchange(0).send_head(a.head, true), Reason::kNone);
    EXPECT_EQ(out(), std::string("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 0\r\nconnection: ") +
                         (close ? "close, " : "") + "upgrade\r\nupgrade: h2c, x/1\r\n\r\n");
  }
}

// The end of the connection ends some of them, so that end must not come cleanly when the message is cut.
TEST_F(Http1Server, ACutMessageIsToEndWithAReset) {
  const std::string old = "GET / HTTP/1.0\r\n\r\n";
  for (int i = 0; i < 5; ++i) {
    const bool tunnel = i == 4;
    SCOPED_TRACE(i);
    for (bool finished : {false, true}) {
      for (bool lost : {false, true}) {
        c = std::make_unique<Http1Connection>(Role::kServer);
        c->feed(tunnel ? kUpgrade : i < 2 ? kGet : old);
        Answer a(tunnel ? 101 : 200, i % 2 ? 5 : -1);
        a.head.upgrade_token = "websocket";
        ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
        body(0, i % 2 ? "hello" : "abc", finished);
        if (lost)
          c->codec->on_transport_closed(Reason::kDraining);
        else
          exchange(0).reset(Reason::kUpstreamTruncated);
        EXPECT_EQ(c->codec->cut(), !finished && (i % 2 == 0));
        at(0).release();
      }
    }
  }
}

TEST_F(Http1Server, FramingAndConnectionFieldsAreOurs) {
  c->feed(kGet);
  Answer a(200, 2);
  for (std::string_view name : {"Connection", "Content-Length", "Transfer-Encoding", "TE", "Upgrade",
                                "Keep-Alive", "Proxy-Connection", "HTTP2-Settings", "Host", "Expect"})
    a.with(name, "7");
  a.with("x", "y");
  ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
  body(0, "ok", true);
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\n\r\nok");
}

TEST_F(Http1Server, WhatCanNotBeWrittenIsNotBegun) {
  using namespace std::string_view_literals;
  c->feed(kGet);
  struct Field {
    std::string_view name, value;
  };
  for (Field f : {Field{"x", "a\r\nSet-Cookie: b"}, Field{"x", "a\nb"}, Field{"x", "a\rb"}, Field{"x", "\0"sv}, Field{"", "a"},
                  Field{"a b", "c"}, Field{"a\r\n", "c"}, Field{"a:b", "c"}, Field{"\xc3\xa4", "c"}}) {
    Answer a(200, 0);
    a.with(f.name, f.value);
    EXPECT_EQ(exchange(0).send_head(a.head, true), Reason::kEditFailed) << f.name << f.value;
    Answer phrase(200, 0);
    phrase.head.status_text = "a\r\nb: c";
    EXPECT_EQ(exchange(0).send_head(phrase.head, true), Reason::kEditFailed);
  }
  for (uint32_t status : {0u, 99u, 1000u}) {
    Answer a(status, 0);
    EXPECT_EQ(exchange(0).send_head(a.head, true), Reason::kEditFailed);
  }
  EXPECT_EQ(out(), "");
  LocalReply reply;
  reply.reason = Reason::kEditFailed;
  reply.text = "no";
  exchange(0).send_reply(*at(0).head, reply);
  at(0).release();
  EXPECT_EQ(out(), "HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nno");
  c->feed(kGet);
  EXPECT_EQ(c->accepted(), 2);
}

TEST_F(Http1Server, LargeHeadsAndBodies) {
  c->feed(kGet);
  Answer a;
  const std::string value(50'000, 'v');
  a.with("x", value);
  ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
  const std::string text(200'000, 't');
  body(0, text, false);
  body(0, "", true);
  at(0).release();
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\nx: " + value + "\r\ntransfer-encoding: chunked\r\n\r\n30d40\r\n" + text + "\r\n0\r\n\r\n");
}

TEST_F(Http1Server, BodyThatDiffersFromItsLength) {
  for (std::string_view text : {"hell", "hello!"}) {
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(kGet + kGet);
    Answer a(200, 5);
    ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
    body(0, text, true);
    EXPECT_EQ(c->events.broken, 1);
    EXPECT_EQ(c->events.broken_reason, Reason::kInternal);
    EXPECT_TRUE(at(0).was_reset);
    at(0).release();
    EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n" + std::string(text.substr(0, 5)));
    EXPECT_EQ(c->accepted(), 1);
  }
}

TEST_F(Http1Server, LocalReplies) {
  struct Row {
    std::string_view request;
    uint32_t status;
    bool close;
    std::string_view wire;
  };
  Header location{"location", "/x", HeaderId::kLocation};
  Header bad{"x", "a\nb", HeaderId::kOther};
  const Header headers[] = {location, bad};
  const std::string head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (const Row& row :
       {Row{kGet, 301, false, "HTTP/1.1 301 Moved Permanently\r\nlocation: /x\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\ntext"},
        Row{kGet, 0, true, "HTTP/1.1 404 Not Found\r\nlocation: /x\r\ncontent-type: text/plain\r\ncontent-length: 4\r\nconnection: close\r\n\r\ntext"},
        Row{head, 301, false, "HTTP/1.1 301 Moved Permanently\r\nlocation: /x\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\n"},
        Row{kGet, 204, false, "HTTP/1.1 204 No Content\r\nlocation: /x\r\n\r\n"}}) {
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(row.request);
    LocalReply reply;
    reply.reason = Reason::kNoRoute;
    reply.http_status = row.status;
    reply.text = "text";
    reply.headers = headers;
    reply.close = row.close;
    exchange(0).send_reply(*at(0).head, reply);
    at(0).release();
    EXPECT_EQ(out(), row.wire);
    EXPECT_EQ(c->events.finished, row.close);
  }
}

TEST_F(Http1Server, ReplyAfterTheHeadBreaksOff) {
  c->feed(kGet);
  Answer a;
  ASSERT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
  body(0, "part", false);
  LocalReply reply;
  reply.reason = Reason::kUpstreamReset;
  exchange(0).send_reply(*at(0).head, reply);
  EXPECT_EQ(c->events.broken, 1);
  std::string wire = out();
  EXPECT_TRUE(wire.ends_with("4\r\npart\r\n")) << "no clean end: " << wire;
}

// --- the connection goes on ------------------------------------------------------------------------------------------

TEST_F(Http1Server, AThousandPipelinedRequests) {
  std::string all;
  for (int i = 0; i < 1000; ++i) all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  c->feed(all);
  EXPECT_EQ(c->accepted(), 1) << "one at a time";
  EXPECT_TRUE(c->events.paused) << "and no more is read";
  EXPECT_EQ(live_http1_exchanges(), 1);
  for (size_t i = 0; i < 1000; ++i) {
    ASSERT_EQ(c->accepted(), i + 1);
    EXPECT_EQ(at(i).head->path, "/" + std::to_string(i));
    answer(i);
  }
  EXPECT_FALSE(c->events.paused);
  EXPECT_EQ(c->events.pauses, 1);
  EXPECT_EQ(c->events.broken, 0);
}

TEST_F(Http1Server, PipelinedRequestsAnsweredInsideTheCalls) {
  c->events.then_exchange = [this](FakeMessageSink& sink) {
    sink.then_head = [&sink](Head&, bool) {
      Answer a(200, 0);
      EXPECT_EQ(sink.exchange->send_head(a.head, true), Reason::kNone);
      sink.release();
    };
  };
  std::string all;
  for (int i = 0; i < 1000; ++i) all += kGet;
  c->feed(all);
  EXPECT_EQ(c->accepted(), 1000);
  EXPECT_EQ(c->events.pauses, 0);
  EXPECT_EQ(live_http1_exchanges(), 0);
}

TEST_F(Http1Server, BodiesStreamThrough) {
  c->feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
  const std::string piece(10'000, 'p');
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(at(0).ended);
    c->feed(piece);
    EXPECT_EQ(at(0).body.size(), piece.size());
    at(0).body.clear();
  }
  EXPECT_TRUE(at(0).ended);
  EXPECT_EQ(live_chunks(), 0) << "nothing is kept";
  answer(0);
}

TEST_F(Http1Server, APausedBodyWaits) {
  c->feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01");
  EXPECT_EQ(at(0).body, "01");
  exchange(0).pause_reading();
  exchange(0).pause_reading();
  EXPECT_TRUE(c->events.paused);
  c->feed("2345");
  EXPECT_EQ(at(0).body, "01");
  exchange(0).resume_reading();
  EXPECT_EQ(at(0).body, "012345");
  EXPECT_FALSE(c->events.paused);
  at(0).then_body = [this](std::string_view, bool end) {
    if (!end) exchange(0).pause_reading();
  };
  c->feed("67");
  c->feed("89" + kGet);
  EXPECT_EQ(at(0).body, "01234567");
  exchange(0).resume_reading();
  EXPECT_TRUE(at(0).ended);
  answer(0);
  EXPECT_EQ(c->accepted(), 2);
}

TEST_F(Http1Server, AnUnreadBodyThatIsShortIsDropped) {
  c->feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n");
  answer(0, 403);
  EXPECT_EQ(out(), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
  c->feed(std::string(65'535, 'b'));
  EXPECT_EQ(c->accepted(), 1);
  c->feed("b" + kGet);
  EXPECT_EQ(c->accepted(), 2);
  EXPECT_EQ(c->events.finished, 0);
}

TEST_F(Http1Server, AnUnreadBodyThatIsLongEndsTheConnection) {
  for (std::string_view fields : {"Content-Length: 65537", "Transfer-Encoding: chunked"}) {
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed("POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n\r\n");
    answer(0, 403);
    EXPECT_EQ(out(), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    EXPECT_EQ(c->events.finished, 1);
    c->feed("5\r\nhello\r\n0\r\n\r\n" + kGet);
    EXPECT_EQ(c->accepted(), 1) << "nothing is read any more";
  }
}

TEST_F(Http1Server, DrainBehindAShortBodyTellsTheNextRequest) {
  c->feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
  answer(0);
  c->codec->drain();
  c->feed("hello" + kGet);
  EXPECT_EQ(c->events.finished, 0);
  answer(1);
  EXPECT_EQ(c->events.finished, 1);
}

// --- 100-continue ----------------------------------------------------------------------------------------------------

const std::string kExpect = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

TEST_F(Http1Server, InterimAnswersGoFirst) {
  c->feed(kExpect);
  EXPECT_TRUE(at(0).head->expect_continue);
  EXPECT_EQ(at(0).head->header("expect"), "");
  Answer go_on(100), hints(103);
  hints.with("link", "</a>");
  EXPECT_EQ(exchange(0).send_head(go_on.head, false), Reason::kNone);
  EXPECT_EQ(exchange(0).send_head(hints.head, false), Reason::kNone);
  EXPECT_EQ(out(), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
  c->feed("hello" + kGet);
  EXPECT_EQ(at(0).body, "hello");
  answer(0);
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  EXPECT_EQ(c->accepted(), 2);
}

TEST_F(Http1Server, ExpectationWithTheBodyAlreadyThere) {
  c->feed(kExpect + "hello" + kGet);
  EXPECT_TRUE(at(0).ended);
  answer(0);
  EXPECT_EQ(c->accepted(), 2);
  EXPECT_EQ(at(1).head->path, "/");
}

TEST_F(Http1Server, FinalAnswerToAnExpectationEndsTheConnection) {
  // Nobody can tell whether the client sends the body after it.
  c->feed(kExpect);
  answer(0, 417);
  EXPECT_EQ(out(), "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(c->events.finished, 1);
  c->feed("hello" + kGet);
  EXPECT_EQ(c->accepted(), 1);
}

TEST_F(Http1Server, FinalAnswerInsideTheExpectedBody) {
  c->feed(kExpect + "he");
  answer(0, 403);
  EXPECT_EQ(out(), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
  c->feed("llo" + kGet);
  EXPECT_EQ(c->accepted(), 2);
}

TEST_F(Http1Server, OldClientsGetNoInterimAnswers) {
  c->feed("GET / HTTP/1.0\r\n\r\n");
  Answer go_on(100);
  EXPECT_EQ(exchange(0).send_head(go_on.head, false), Reason::kNone);
  EXPECT_EQ(out(), "");
  answer(0);
}

// --- upgrade ---------------------------------------------------------------------------------------------------------

Answer& switching(Answer& a) {
  a.head.upgrade = true;
  a.head.upgrade_token = "websocket";
  return a.with("sec-websocket-accept", "k");
}

TEST_F(Http1Server, UpgradeBecomesATunnelOnlyAfter101) {
  c->feed_in_steps(kUpgrade + "early frames", 7);
  ASSERT_EQ(c->accepted(), 1);
  EXPECT_TRUE(at(0).head->upgrade);
  EXPECT_FALSE(at(0).ended);
  EXPECT_EQ(at(0).body, "") << "not a byte before the answer";
  EXPECT_TRUE(c->events.paused);
  EXPECT_EQ(c->codec->phase(), ReadPhase::kIdle);
  Answer a(101);
  EXPECT_EQ(exchange(0).send_head(switching(a).head, false), Reason::kNone);
  EXPECT_EQ(out(),
            "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: k\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  EXPECT_EQ(at(0).body, "early frames");
  EXPECT_FALSE(c->events.paused);
  body(0, "\x81\x02hi", false);
  EXPECT_EQ(out(), "\x81\x02hi");
  c->feed(kGet);
  EXPECT_EQ(at(0).body, "early frames" + kGet) << "HTTP no more";
  EXPECT_EQ(c->accepted(), 1);
  c->codec->on_eof();
  EXPECT_TRUE(at(0).ended);
  body(0, "bye", true);
  EXPECT_EQ(out(), "bye");
  at(0).release();
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Server, TunnelHalfClosedByUs) {
  c->feed(kUpgrade);
  Answer a(101);
  EXPECT_EQ(exchange(0).send_head(switching(a).head, false), Reason::kNone);
  body(0, "", true);
  EXPECT_EQ(c->events.broken + c->events.finished, 0);
  c->feed("still");
  EXPECT_EQ(at(0).body, "still");
  c->codec->on_eof();
  EXPECT_TRUE(at(0).ended);
  at(0).release();
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Server, ADeclinedUpgradeIsAnOrdinaryRequest) {
  c->feed(kUpgrade + "GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(c->accepted(), 1);
  answer(0, 403);
  EXPECT_EQ(at(0).body, "");
  EXPECT_EQ(out(), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
  ASSERT_EQ(c->accepted(), 2);
  EXPECT_EQ(at(1).head->path, "/second");
}

TEST_F(Http1Server, EarlyFramesOfADeclinedUpgradeLeadNowhere) {
  c->feed(kUpgrade + "\x81\x02hi");
  answer(0, 200);
  EXPECT_EQ(c->accepted(), 1);
  EXPECT_EQ(at(0).body, "");
  EXPECT_EQ(c->events.broken_reason, Reason::kMalformed);
  EXPECT_NE(out().find("HTTP/1.1 400 "), std::string::npos);
}

TEST_F(Http1Server, WhatIsNoUpgrade) {
  const std::string rest = "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  Http1Options off;
  off.allow_websocket = false;
  for (const std::string& request :
       {"POST / HTTP/1.1\r\n" + rest + "\r\n", "GET / HTTP/1.0\r\n" + rest + "\r\n", "GET / HTTP/1.1\r\n" + rest + "Content-Length: 1\r\n\r\nx",
        "GET / HTTP/1.1\r\n" + rest + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        std::string("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websockets\r\n\r\n")}) {
    SCOPED_TRACE(request);
    Served got = serve(request, whole());
    ASSERT_EQ(got.requests.size(), 1);
    EXPECT_EQ(got.requests[0].find("<upgrade>"), std::string::npos);
    EXPECT_EQ(got.requests[0].find("<open>"), std::string::npos);
  }
  EXPECT_EQ(serve(kUpgrade, whole(), off).requests[0], "GET /ws a\n\n");
  EXPECT_NE(serve("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c, WebSocket\r\n\r\n", whole())
                .requests[0]
                .find("<upgrade>"),
            std::string::npos);
  c->feed(kGet);
  Answer a(101);
  EXPECT_EQ(exchange(0).send_head(switching(a).head, false), Reason::kUpstreamProtocolError);
  EXPECT_EQ(out(), "");
}

// --- ends ------------------------------------------------------------------------------------------------------------

TEST_F(Http1Server, EofBetweenRequests) {
  c->codec->on_eof();
  EXPECT_EQ(c->events.finished, 1);
  EXPECT_EQ(out(), "");
}

TEST_F(Http1Server, EofAfterTheRequestStillGetsAnAnswer) {
  c->feed(kGet);
  c->codec->on_eof();
  EXPECT_EQ(c->events.finished + c->events.broken, 0);
  answer(0);
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Server, EofAfterAPipelineAnswersAll) {
  c->feed(kGet + kGet);
  c->codec->on_eof();
  answer(0);
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  ASSERT_EQ(c->accepted(), 2);
  answer(1);
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Server, EofInsideARequest) {
  for (std::string_view part : {"G", "GET / HTTP/1.1\r\nHost: a\r\n", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n",
                                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell",
                                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\n"}) {
    SCOPED_TRACE(part);
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(part);
    c->codec->on_eof();
    EXPECT_EQ(c->events.broken_reason, Reason::kDownstreamTruncated);
    EXPECT_TRUE(out().starts_with("HTTP/1.1 400 "));
    if (c->accepted()) {
      EXPECT_FALSE(at(0).ended);
      EXPECT_EQ(at(0).reset_reason, Reason::kDownstreamTruncated);
    }
  }
}

TEST_F(Http1Server, ConnectionLost) {
  struct Row {
    std::string_view bytes;
    Reason reason;
  };
  for (Row row : {Row{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Reason::kDownstreamReset},
                  Row{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell", Reason::kDownstreamTruncated},
                  Row{"GET / HTTP/1.1\r\n", Reason::kNone}}) {
    c = std::make_unique<Http1Connection>(Role::kServer);
    c->feed(row.bytes);
    c->codec->on_transport_closed(Reason::kDownstreamReset);
    EXPECT_EQ(c->accepted(), row.reason == Reason::kNone ? 0 : 1);
    if (c->accepted()) {
      EXPECT_EQ(at(0).reset_reason, row.reason);
    }
    EXPECT_EQ(out(), "");
    if (c->accepted()) at(0).release();
    EXPECT_EQ(c->codec->open_exchanges(), 0);
  }
}

TEST_F(Http1Server, Timeouts) {
  c->feed("GET / HTT");
  EXPECT_EQ(c->codec->phase(), ReadPhase::kHead);
  c->codec->fail(Reason::kHeadTimeout);
  EXPECT_TRUE(out().starts_with("HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 12\r\nconnection: close\r\n"));
  EXPECT_EQ(c->events.broken_reason, Reason::kHeadTimeout);
  c->feed("P/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(c->accepted(), 0);

  c = std::make_unique<Http1Connection>(Role::kServer);
  c->feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
  EXPECT_EQ(c->codec->phase(), ReadPhase::kBody);
  c->codec->fail(Reason::kBodyTimeout);
  EXPECT_TRUE(out().starts_with("HTTP/1.1 408 "));
  EXPECT_EQ(at(0).reset_reason, Reason::kBodyTimeout);

  c = std::make_unique<Http1Connection>(Role::kServer);
  c->feed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe");
  Answer a;
  EXPECT_EQ(exchange(0).send_head(a.head, false), Reason::kNone);
  out();
  c->codec->fail(Reason::kBodyTimeout);
  EXPECT_EQ(out(), "") << "an answer had begun";
  EXPECT_EQ(at(0).reset_reason, Reason::kBodyTimeout);
}

TEST_F(Http1Server, Phases) {
  EXPECT_EQ(c->codec->phase(), ReadPhase::kIdle);
  c->feed("\r\n");
  EXPECT_EQ(c->codec->phase(), ReadPhase::kIdle);
  c->feed("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n");
  EXPECT_EQ(c->codec->phase(), ReadPhase::kHead);
  c->feed("\r\n");
  EXPECT_EQ(c->codec->phase(), ReadPhase::kBody);
  c->feed("0\r\nx: y\r\n");
  EXPECT_EQ(c->codec->phase(), ReadPhase::kBody);
  c->feed("\r\n");
  EXPECT_EQ(c->codec->phase(), ReadPhase::kIdle);
  answer(0);
  EXPECT_EQ(c->codec->phase(), ReadPhase::kIdle);
}

TEST_F(Http1Server, DrainSaysClose) {
  c->feed(kGet + kGet);
  c->codec->drain();
  EXPECT_EQ(c->events.finished, 0);
  answer(0);
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(c->events.finished, 1);
  EXPECT_EQ(c->accepted(), 1) << "the client was told that the next one is not served";

  c = std::make_unique<Http1Connection>(Role::kServer);
  c->codec->drain();
  EXPECT_EQ(c->events.finished, 0) << "the client was not told anything yet: a request may be on its way";
  c->feed(kGet);
  answer(0);
  EXPECT_EQ(out(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
  EXPECT_EQ(c->events.finished, 1);

  c = std::make_unique<Http1Connection>(Role::kServer);
  c->feed(kGet.substr(0, 10));
  c->codec->drain();
  EXPECT_EQ(c->events.finished, 0) << "a request has begun";
  c->feed(kGet.substr(10));
  answer(0);
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Server, GivenUpExchanges) {
  c->feed(kGet + kGet);
  at(0).release();
  EXPECT_EQ(c->events.broken, 1) << "no answer";
  EXPECT_EQ(out(), "");

  c = std::make_unique<Http1Connection>(Role::kServer);
  c->feed(kGet);
  exchange(0).reset(Reason::kUpstreamReset);
  EXPECT_EQ(c->events.broken_reason, Reason::kUpstreamReset);
  EXPECT_FALSE(at(0).was_reset) << "no callback for the one who did it";

  c = std::make_unique<Http1Connection>(Role::kServer);
  c->feed(kGet + kGet);
  Answer a(200, 0);
  EXPECT_EQ(exchange(0).send_head(a.head, true), Reason::kNone);
  exchange(0).reset(Reason::kUpstreamReset);
  at(0).release();
  EXPECT_EQ(c->events.broken, 0) << "a complete answer stands";
  EXPECT_EQ(c->accepted(), 2);
}

using Way = std::function<void(Http1Connection&)>;

void send_answer(Http1Connection& of, Answer answer, bool end) {
  answer.head.upgrade_token = "websocket";
  static_cast<void>(of.at(0).exchange->send_head(answer.head, end));
}

const std::vector<std::pair<const char*, Way>> kAnswered = {
    {"not at all", [](Http1Connection&) {}},
    {"with a head", [](Http1Connection& of) { send_answer(of, Answer(200), false); }},
    {"wholly", [](Http1Connection& of) { send_answer(of, Answer(200, 0), true); }},
    {"by us", [](Http1Connection& of) { of.at(0).exchange->send_reply(*of.at(0).head, LocalReply{}); }},
    {"by switching", [](Http1Connection& of) { send_answer(of, Answer(101), false); }},
    {"by a tunnel that ended",
     [](Http1Connection& of) {
       send_answer(of, Answer(101), false);
       of.at(0).exchange->send_body({}, true);
     }},
};
const std::vector<std::pair<const char*, Way>> kEnds = {
    {"abuse", [](Http1Connection& of) { of.codec->fail(Reason::kAbuse); }},
    {"closed", [](Http1Connection& of) { of.codec->on_transport_closed(Reason::kDownstreamReset); }},
    {"abuse, then closed",
     [](Http1Connection& of) {
       of.codec->fail(Reason::kAbuse);
       of.codec->on_transport_closed(Reason::kAbuse);
     }},
    {"eof, then closed",
     [](Http1Connection& of) {
       of.codec->on_eof();
       of.codec->on_transport_closed(Reason::kDownstreamReset);
     }},
};

// Requests behind each other that are answered at once, to a client that does not read.
TEST_F(Http1Server, OutputOverTheWatermarkHoldsTheNextRequest) {
  Http1Options options;
  options.pending_bytes_max = 10'000;
  c = std::make_unique<Http1Connection>(Role::kServer, options);
  const std::string text(1000, 't');
  size_t answered = 0;
  c->events.then_exchange = [&](FakeMessageSink& sink) {
    sink.then_head = [&](Head& head, bool) {
      LocalReply reply;
      reply.text = text;
      sink.exchange->send_reply(head, reply);
      ++answered;
      sink.release();
    };
  };
  std::string all;
  for (int i = 0; i < 100; ++i) all += kGet;
  c->feed(all);
  EXPECT_EQ(answered, 10u);
  EXPECT_TRUE(c->events.paused);
  c->codec->on_write_blocked(true);
  size_t written = out().size();
  EXPECT_LT(written, 20'000u);
  c->feed(kGet);
  EXPECT_EQ(answered, 10u) << "until there is room";
  for (size_t rounds = 1; answered < 101; ++rounds) {
    c->codec->on_write_blocked(false);
    ASSERT_EQ(answered, std::min<size_t>(10 * (rounds + 1), 101));
    if (answered < 101) c->codec->on_write_blocked(true);
    out();
  }
  c->codec->on_write_blocked(false);
  EXPECT_FALSE(c->events.paused);
}

// Whatever the request and its answer are at, and whatever ends the connection: the holder hears it, once.
TEST_F(Http1Server, WhoeverHoldsAnExchangeHearsTheEndOfItsConnection) {
  const std::string post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
  const std::string chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string upgrade =
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
  const std::vector<std::string> requests = {kGet,    kGet + kGet,           post,          post + "hello",
                                             chunked, chunked + "0\r\n\r\n", "\r\n" + kGet, upgrade};
  for (const std::string& request : requests) {
    for (const auto& [how, answer] : kAnswered) {
      for (const auto& [end, finish] : kEnds) {
        for (bool at_once : {true, false}) {
          SCOPED_TRACE(request + " / " + how + " / " + end);
          c = std::make_unique<Http1Connection>(Role::kServer);
          c->feed(request);
          ASSERT_EQ(c->accepted(), 1);
          if (at_once) at(0).then_reset = [&](Reason) { at(0).release(); };
          answer(*c);
          finish(*c);
          EXPECT_TRUE(at(0).was_reset);
          EXPECT_EQ(c->accepted(), 1) << "nothing begins on a connection that has ended";
          if (!at_once) at(0).release();
          EXPECT_EQ(c->codec->open_exchanges(), 0u);
        }
      }
    }
  }
}

TEST_F(Http1Server, OwnerRefuses) {
  c->events.refuse = true;
  c->feed(kGet + kGet);
  EXPECT_TRUE(out().starts_with("HTTP/1.1 503 "));
  EXPECT_EQ(c->events.broken_reason, Reason::kStreamsOverflow);
}

TEST_F(Http1Server, AnExchangeMayOutliveItsConnection) {
  c->feed(kGet);
  auto sink = std::move(c->events.accepted[0]);
  c->events.accepted.clear();
  c.reset();
  EXPECT_EQ(sink->head->path, "/");
  Answer a(200, 0);
  EXPECT_EQ(sink->exchange->send_head(a.head, true), Reason::kNone);
  sink->exchange->pause_reading();
  sink->exchange->reset(Reason::kInternal);
  sink->release();
}

TEST_F(Http1Server, WatermarksReachTheSink) {
  c->codec->on_write_blocked(true);
  c->feed(kGet);
  EXPECT_EQ(c->accepted(), 0) << "until there is room for its answer";
  c->codec->on_write_blocked(false);
  c->codec->on_write_blocked(true);
  c->codec->on_write_blocked(false);
  EXPECT_EQ(at(0).blocked, (std::vector<bool>{true, false}));
  EXPECT_EQ(c->codec->capacity(), 0);
  FakeMessageSink none;
  EXPECT_EQ(c->codec->open(none), nullptr);
}

}  // namespace
}  // namespace dragoman::testing
