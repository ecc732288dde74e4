// The side that faces a backend: what requests look like, which answers are taken, and when a connection is used again.
#include <gtest/gtest.h>

#include "tests/http1/http1_support.h"

namespace dragoman::testing {
namespace {

class Http1Client : public ::testing::Test {
 protected:
  ~Http1Client() override {
    sink.release();
    c.reset();
    EXPECT_EQ(live_http1_exchanges(), 0);
    EXPECT_EQ(live_chunks(), 0);
  }
  void open() {
    sink.release();
    sink = {};
    sink.exchange = c->codec->open(sink);
    ASSERT_NE(sink.exchange, nullptr);
  }
  void ask(std::string_view method = "GET") {
    open();
    Request r(method);
    ASSERT_EQ(sink.exchange->send_head(r.head, true), Reason::kNone);
    c->sink.take();
  }
  void again() {
    sink.release();
    c = std::make_unique<Http1Connection>(Role::kClient);
  }
  std::string out() { return c->sink.take(); }

  std::unique_ptr<Http1Connection> c = std::make_unique<Http1Connection>(Role::kClient);
  FakeMessageSink sink;
};

const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

// --- requests --------------------------------------------------------------------------------------------------------

TEST_F(Http1Client, FramingOfRequests) {
  struct Row {
    std::string_view method;
    int64_t length;
    bool end;
    std::string_view body;
    std::string_view wire;  // after the fields
  };
  for (const Row& row : {Row{"GET", -1, true, "", "\r\n"}, Row{"GET", 0, true, "", "content-length: 0\r\n\r\n"},
                         Row{"DELETE", -1, true, "", "\r\n"}, Row{"POST", -1, true, "", "content-length: 0\r\n\r\n"},
                         Row{"PUT", -1, true, "", "content-length: 0\r\n\r\n"}, Row{"PATCH", -1, true, "", "content-length: 0\r\n\r\n"},
                         Row{"POST", 5, false, "hello", "content-length: 5\r\n\r\nhello"},
                         Row{"GET", 5, false, "hello", "content-length: 5\r\n\r\nhello"},
                         Row{"POST", -1, false, "hello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
                         Row{"POST", -1, false, "", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"}}) {
    again();
    open();
    Request r(row.method, "/p?q");
    r.head.content_length = row.length;
    for (std::string_view own : {"Connection", "Content-Length", "Transfer-Encoding", "TE", "Upgrade",
                                 "Keep-Alive", "Proxy-Connection", "HTTP2-Settings", "Host", "Expect"})
      r.head.headers.add(own, "7");
    r.head.headers.add("x", "y");
    ASSERT_EQ(sink.exchange->send_head(r.head, row.end), Reason::kNone);
    if (!row.body.empty()) sink.exchange->send_body(bytes_of(row.body), false);
    if (!row.end) sink.exchange->send_body({}, true);
    EXPECT_EQ(out(), std::string(row.method) + " /p?q HTTP/1.1\r\nhost: a\r\nx: y\r\n" + std::string(row.wire));
  }
}

TEST_F(Http1Client, RequestExtras) {
  open();
  Request r("POST");
  r.head.expect_continue = true;
  r.head.te_trailers = true;
  r.head.authority = "";
  r.head.content_length = 1;
  ASSERT_EQ(sink.exchange->send_head(r.head, false), Reason::kNone);
  EXPECT_EQ(out(), "POST / HTTP/1.1\r\nhost: \r\ncontent-length: 1\r\nexpect: 100-continue\r\nte: trailers\r\nconnection: te\r\n\r\n");
  again();
  open();
  Request chunked("POST");
  ASSERT_EQ(sink.exchange->send_head(chunked.head, false), Reason::kNone);
  HeaderList trailers(chunked.head.arena);
  trailers.add("x", "y");
  sink.exchange->send_trailers(trailers);
  EXPECT_EQ(out(), "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n");
  again();
  open();
  Request upgrade;
  upgrade.head.upgrade = true;
  upgrade.head.upgrade_token = "websocket";
  ASSERT_EQ(sink.exchange->send_head(upgrade.head, false), Reason::kNone);
  EXPECT_EQ(out(), "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
}

// Servers that take '_' for '-' would read them as fields that frame or route.
TEST_F(Http1Client, FieldNamesWithUnderscores) {
  for (Underscores rule : {Underscores::kDrop, Underscores::kRefuse, Underscores::kPass}) {
    for (std::string_view name : {"Content_Length", "Transfer_Encoding", "x_forwarded-for", "a_", "_"}) {
      Http1Options options;
      options.underscores = rule;
      sink.release();
      c = std::make_unique<Http1Connection>(Role::kClient, options);
      open();
      Request r("POST");
      r.head.headers.add("a", "1");
      r.head.headers.add(name, "2");
      r.head.headers.add("b", "v_w");
      Reason refused = sink.exchange->send_head(r.head, false);
      if (rule == Underscores::kRefuse) {
        EXPECT_EQ(refused, Reason::kMalformed);
        EXPECT_EQ(out(), "");
        continue;
      }
      ASSERT_EQ(refused, Reason::kNone);
      HeaderList trailers(r.head.arena);
      trailers.add(name, "3");
      trailers.add("c", "4");
      sink.exchange->send_trailers(trailers);
      const bool pass = rule == Underscores::kPass;
      const std::string field(name);
      EXPECT_EQ(out(), "POST / HTTP/1.1\r\nhost: a\r\na: 1\r\n" + (pass ? field + ": 2\r\n" : "") +
                           "b: v_w\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" +
                           (pass ? field + ": 3\r\n" : "") + "c: 4\r\n\r\n");
      EXPECT_EQ(c->events.count(CodecEvent::kFieldDropped), pass ? 0u : 2u);
    }
  }
}

TEST_F(Http1Client, WhatCanNotBeWrittenIsNotBegun) {
  open();
  auto refuse = [this](auto&& change) {
    Request r;
    change(r.head);
    EXPECT_EQ(sink.exchange->send_head(r.head, true), Reason::kEditFailed) << r.head.path << r.head.authority;
  };
  refuse([](Head& h) { h.path = std::string_view("/\0", 2); });
  for (std::string_view bad : {"", "x", "/a b", "/a\r\nb", "/\n", "*x"}) refuse([bad](Head& h) { h.path = bad; });
  for (std::string_view bad : {"a b", "a\r\nx: y", "\n"}) refuse([bad](Head& h) { h.authority = bad; });
  for (std::string_view bad : {"", "G T", "G\r\n", "G:"}) refuse([bad](Head& h) { h.method = bad; });
  refuse([](Head& h) { h.headers.add("x", "a\r\nb: c"); });
  refuse([](Head& h) { h.headers.add("x y", "a"); });
  EXPECT_EQ(out(), "");
  sink.release();
  EXPECT_EQ(c->codec->capacity(), 1) << "and the connection is intact";
  EXPECT_EQ(c->events.broken, 0);
}

// --- good answers ----------------------------------------------------------------------------------------------------

void expect_answer(std::string_view bytes, std::string_view text, bool reusable, std::string_view method = "GET", bool eof = false) {
  SCOPED_TRACE(bytes.substr(0, 200));
  Fetched first = fetch(bytes, whole(), method, eof);
  EXPECT_EQ(first.answer, text);
  EXPECT_EQ(first.reset, Reason::kNone);
  EXPECT_EQ(first.reusable, reusable);
  for (const Cuts& cuts : all_cuts(bytes)) ASSERT_EQ(fetch(bytes, cuts, method, eof), first);
}

TEST(Http1Answers, Framing) {
  expect_answer(kOk, "200 OK\n\nok", true);
  expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 OK\n\n", true);
  expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;x\r\no\r\n01\r\nk\r\n0\r\n\r\n", "200 OK\n\nok", true);
  expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\r\nHost: z\r\n\r\n", "200 OK\n\n\n<trailer> x: y", true);
  expect_answer("HTTP/1.1 200 OK\r\n\r\nuntil\r\nthe end", "200 OK\n\nuntil\r\nthe end", false, "GET", true);
  expect_answer("HTTP/1.1 200 OK\r\n\r\n", "200 OK\n\n", false, "GET", true);
  expect_answer("HTTP/1.1 204 No Content\r\n\r\n", "204 No Content\n\n", true);
  expect_answer("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "204 No Content\n\n", true);
  expect_answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "304 Not Modified\n\n", true);
  expect_answer("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", "304 Not Modified\n\n", true);
  expect_answer("HTTP/1.1 205 Reset Content\r\n\r\n", "205 Reset Content\n\n", true);
  expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200 OK\n\n", true, "HEAD");
  expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 OK\n\n", true, "HEAD");
  expect_answer("HTTP/1.1 200 OK\r\n\r\n", "200 OK\n\n", true, "HEAD");
  // A coding of a body that is not there does no harm.
  for (std::string_view coding : {"identity", "gzip, chunked", "xchunked"}) {
    const std::string field = "Transfer-Encoding: " + std::string(coding) + "\r\n\r\n";
    expect_answer("HTTP/1.1 200 OK\r\n" + field, "200 OK\n\n", true, "HEAD");
    expect_answer("HTTP/1.1 204 No Content\r\n" + field, "204 No Content\n\n", true);
    expect_answer("HTTP/1.1 304 Not Modified\r\n" + field, "304 Not Modified\n\n", true);
  }
  expect_answer(
      "HTTP/1.1 426 Upgrade Required\r\nUpgrade: h2c, x/1\r\nConnection: Upgrade\r\nContent-Length: "
      "0\r\n\r\n",
      "426 Upgrade Required\n\n", true);
  expect_answer("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 \n\n", true);
  expect_answer("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 \n\n", true);
  expect_answer("HTTP/1.1 599 Very \xc3\xa4 odd\r\nContent-Length: 0\r\n\r\n", "599 Very \xc3\xa4 odd\n\n", true);
}

TEST(Http1Answers, Connection) {
  expect_answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", "200 OK\n\nok", false);
  expect_answer("HTTP/1.1 200 OK\r\nConnection: keep-alive, x\r\nKeep-Alive: timeout=5\r\nX: 1\r\nContent-Length: 2\r\n\r\nok",
                "200 OK\n\nok", true);
  expect_answer("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "200 OK\n\nok", false);
  expect_answer("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", "200 OK\n\nok", true);
  expect_answer("HTTP/1.0 200 OK\r\n\r\nok", "200 OK\n\nok", false, "GET", true);
  expect_answer("HTTP/1.1 200 OK\r\nConnection: connection, x\r\nx: y\r\nContent-Length: 2\r\n\r\nok", "200 OK\n\nok", true);
}

TEST(Http1Answers, BytesBehindTheAnswer) {
  // They are nobody's, and must not become the answer to the next request.
  for (std::string_view method : {"GET", "HEAD"}) {
    const std::string body = method == "GET" ? "ok" : "";
    expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body + kOk, "200 OK\n\n" + body, false, method);
  }
  expect_answer("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", "204 No Content\n\n", false);
  expect_answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok", "304 Not Modified\n\n", false);
  expect_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nx", "200 OK\n\n", false);
  expect_answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n", "200 OK\n\nok", false);
  expect_answer(kOk + "HTTP/1.1 100 Continue\r\n\r\n", "200 OK\n\nok", false);
}

TEST(Http1Answers, Interim) {
  const std::string hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nContent-Length: 7\r\n\r\n";
  Fetched got = fetch(hints + kOk, whole());
  EXPECT_EQ(got.interim, (std::vector<std::string>{"100 Continue", "103 Early Hints\nLink: x"}));
  expect_answer(hints + kOk, "200 OK\n\nok", true);
  std::string many;
  for (int i = 0; i < 16; ++i) many += "HTTP/1.1 102 Wait\r\n\r\n";
  EXPECT_TRUE(fetch(many + kOk, whole()).reusable);
  got = fetch(many + "HTTP/1.1 102 Wait\r\n\r\n" + kOk, whole());
  EXPECT_EQ(got.reset, Reason::kUpstreamProtocolError);
  EXPECT_EQ(got.interim.size(), 16);
}

TEST(Http1Answers, Tunnel) {
  const std::string head = "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nx: y\r\n\r\n";
  expect_answer(head + "frames", "101 Switching\nx: y\n<upgrade>\n\nframes", false, "UPGRADE", true);
  expect_answer("HTTP/1.1 100 Continue\r\n\r\n" + head, "101 Switching\nx: y\n<upgrade>\n\n\n<open>", false, "UPGRADE");
  expect_answer(kOk, "200 OK\n\nok", true, "UPGRADE");
}

// --- bad answers -----------------------------------------------------------------------------------------------------

void expect_bad(std::string_view bytes, Reason reason, std::string_view method = "GET", bool eof = false, std::string_view text = "") {
  SCOPED_TRACE(bytes.substr(0, 200));
  Http1Options options;
  options.header_bytes_max = 300;
  options.headers_max = 5;
  Fetched first = fetch(bytes, whole(), method, eof, options);
  EXPECT_EQ(first.reset, reason);
  EXPECT_FALSE(first.reusable);
  if (!text.empty())
    EXPECT_EQ(first.answer, std::string(text) + "\n<reset>");
  else
    EXPECT_EQ(first.answer, "<no head>\n\n\n<reset>");
  for (const Cuts& cuts : all_cuts(bytes)) ASSERT_EQ(fetch(bytes, cuts, method, eof, options), first);
}

TEST(Http1Answers, BadHeads) {
  auto ok = [](std::string_view fields) { return "HTTP/1.1 200 OK\r\n" + std::string(fields) + "\r\n\r\n0\r\n\r\n"; };
  for (std::string_view fields :
       {"Content-Length: 5\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nContent-Length: 5", "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5, 5", "Content-Length: +5",
        "Content-Length: -5", "Content-Length:", "Content-Length: 9223372036854775808", "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity", "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: identity",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding : chunked", "Transfer-Encoding:\r\n chunked",
        "a: b\r\n c: d", "a : b", ": b", "a b: c", "a", "a: b\rc", "a: b\nc: d", "a: \x01", "\x80: a"})
    expect_bad(ok(fields), Reason::kUpstreamProtocolError);
  expect_bad(ok(std::string_view("a: b\0", 5)), Reason::kUpstreamProtocolError);
  expect_bad("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Reason::kUpstreamProtocolError);
  expect_bad("HTTP/1.1 205 Reset\r\nContent-Length: 2\r\n\r\nok", Reason::kUpstreamProtocolError);
}

TEST(Http1Answers, BadStatusLines) {
  for (std::string_view line :
       {"HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 200OK", "HTTP/1.1  200 OK", "HTTP/1.1 OK", "HTTP/1.1", "HTTP/1.1 ",
        "HTTP/1.1 -20 OK", "HTTP/1.1 2x0 OK", "HTTP/1.1 099 OK", "HTTP/1.1 000 OK", "HTTP/1.2 200 OK", "HTTP/0.9 200 OK",
        "HTTP/2.0 200 OK", "HTTP/2 200 OK", "http/1.1 200 OK", "HTTP 1.1 200 OK", "HTTP/1.1\t200 OK", "HTTP/1.1 200\tOK",
        "HTTP/11 200 OK", "HTTP/1.1 200 O\x01K", "HTTP/1.1 200 O\rK", "HTTP/1.1 200 O\x7f", "HTTPS/1.1 200 OK", "hello", "<html>", "\x15\x03",
        "GET / HTTP/1.1", "\r\nHTTP/1.1 200 OK", " HTTP/1.1 200 OK"})
    expect_bad(std::string(line) + "\r\nContent-Length: 0\r\n\r\n", Reason::kUpstreamProtocolError);
  expect_bad("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", Reason::kUpstreamProtocolError);
  expect_bad("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n", Reason::kUpstreamProtocolError);
}

TEST(Http1Answers, LargeHeads) {
  expect_bad("HTTP/1.1 200 OK\r\nx: " + std::string(300, 'v') + "\r\n\r\n", Reason::kUpstreamTooLarge);
  expect_bad("HTTP/1.1 200 OK\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n\r\n", Reason::kUpstreamTooLarge);
  EXPECT_EQ(fetch("HTTP/1.1 200 " + std::string(10'000, 'K') + "\r\n\r\n", whole()).reset, Reason::kUpstreamTooLarge);
}

TEST(Http1Answers, BadBodies) {
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n";
  for (std::string_view rest : {"x\r\n", "-1\r\n", "\r\n", "1\nx\r\n0\r\n\r\n", "8000000000000000\r\n", "0\r\na b: c\r\n\r\n", "0\n",
                                "0\r\n\n", "0\r\n a: b\r\n\r\n"})
    expect_bad(chunked + std::string(rest), Reason::kUpstreamProtocolError, "GET", false, "200 OK\n\nok");
  for (std::string_view rest : {"1\r\nxx", "1\r\nx\n", "1\r\nx\rx"})
    expect_bad(chunked + std::string(rest), Reason::kUpstreamProtocolError, "GET", false, "200 OK\n\nokx");
}

TEST(Http1Answers, Truncated) {
  expect_bad("H", Reason::kUpstreamTruncated, "GET", true);
  expect_bad("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", Reason::kUpstreamTruncated, "GET", true);
  expect_bad("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", Reason::kUpstreamTruncated, "GET", true, "200 OK\n\nok");
  expect_bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Reason::kUpstreamTruncated, "GET", true, "200 OK\n\nok");
  expect_bad("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: y\r\n", Reason::kUpstreamTruncated, "GET", true,
             "200 OK\n\nok");
  EXPECT_EQ(fetch("", whole(), "GET", true).reset, Reason::kUpstreamReset) << "nothing came: may be repeated";
  EXPECT_EQ(fetch("HTTP/1.1 100 Continue\r\n\r\n", whole(), "GET", true).reset, Reason::kUpstreamTruncated);
}

TEST(Http1Answers, SwitchingThatNobodyAskedFor) {
  expect_bad("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", Reason::kUpstreamProtocolError);
  for (std::string_view fields : {"", "Connection: upgrade\r\n", "Upgrade: websocket\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n"})
    expect_bad("HTTP/1.1 101 S\r\n" + std::string(fields) + "\r\nframes", Reason::kUpstreamProtocolError, "UPGRADE");
}

// --- the connection --------------------------------------------------------------------------------------------------

TEST_F(Http1Client, OneExchangeAfterTheOther) {
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(c->codec->capacity(), 1);
    ask();
    EXPECT_EQ(c->codec->capacity(), 0);
    FakeMessageSink other;
    EXPECT_EQ(c->codec->open(other), nullptr);
    c->feed(kOk);
    EXPECT_TRUE(sink.ended);
    EXPECT_EQ(c->codec->capacity(), 0) << "not before it is released";
    sink.release();
    EXPECT_EQ(c->events.capacity_calls, i + 1);
  }
}

TEST_F(Http1Client, BytesWithoutARequest) {
  c->feed("HTTP/1.1 408 Request Timeout\r\n\r\n");
  EXPECT_EQ(c->events.broken_reason, Reason::kUpstreamProtocolError);
  again();
  open();  // nothing was sent yet
  c->feed(kOk);
  EXPECT_EQ(sink.reset_reason, Reason::kUpstreamProtocolError);
  EXPECT_EQ(sink.heads, 0);
}

TEST_F(Http1Client, AnswerBeforeTheRequestIsComplete) {
  for (bool finish_it : {false, true}) {
    again();
    open();
    Request r("POST");
    r.head.content_length = 5;
    ASSERT_EQ(sink.exchange->send_head(r.head, false), Reason::kNone);
    c->feed("HTTP/1.1 413 Too much\r\nContent-Length: 0\r\n\r\n");
    EXPECT_TRUE(sink.ended);
    if (finish_it) sink.exchange->send_body(bytes_of("hello"), true);
    sink.release();
    EXPECT_EQ(c->codec->capacity(), finish_it ? 1 : 0);
    EXPECT_EQ(c->events.broken + c->events.finished, finish_it ? 0 : 1);
  }
}

TEST_F(Http1Client, FinalAnswerBefore100KeepsInStep) {
  open();
  Request r("POST");
  r.head.content_length = 5;
  r.head.expect_continue = true;
  ASSERT_EQ(sink.exchange->send_head(r.head, false), Reason::kNone);
  c->feed("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(sink.ended);
  sink.release();
  EXPECT_EQ(c->codec->capacity(), 0) << "the body was never sent: nobody knows what the backend waits for";
}

TEST_F(Http1Client, CloseIsTold) {
  ask();
  sink.then_head = [this](Head&, bool) { EXPECT_EQ(c->events.goaways, 1) << "before the answer, so that no one waits for this connection"; };
  c->feed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_TRUE(sink.ended);
  sink.release();
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Client, ReleasedTooEarly) {
  open();
  sink.release();
  EXPECT_EQ(c->events.capacity_calls, 1) << "nothing was sent";
  ask();
  sink.release();
  EXPECT_EQ(c->events.broken, 1);
  again();
  ask();
  c->feed(kOk.substr(0, kOk.size() - 1));
  sink.release();
  EXPECT_EQ(c->events.broken, 1);
}

TEST_F(Http1Client, Resets) {
  open();
  sink.exchange->reset(Reason::kDownstreamReset);
  sink.release();
  EXPECT_EQ(c->codec->capacity(), 1) << "nothing was sent";
  ask();
  sink.exchange->reset(Reason::kDownstreamReset);
  EXPECT_EQ(c->events.broken, 1);
  EXPECT_FALSE(sink.was_reset);
  again();
  ask();
  c->feed(kOk);
  sink.exchange->reset(Reason::kDownstreamReset);
  sink.release();
  EXPECT_EQ(c->codec->capacity(), 1) << "it was complete";
}

TEST_F(Http1Client, PauseHoldsTheAnswer) {
  ask();
  sink.then_head = [this](Head&, bool) { sink.exchange->pause_reading(); };
  c->feed(kOk);
  EXPECT_EQ(sink.body, "");
  EXPECT_TRUE(c->events.paused);
  sink.exchange->resume_reading();
  EXPECT_EQ(sink.body, "ok");
  EXPECT_FALSE(c->events.paused);
  sink.release();
  EXPECT_EQ(c->codec->capacity(), 1);
}

TEST_F(Http1Client, EndWhileIdleOrDraining) {
  c->codec->on_eof();
  EXPECT_EQ(c->events.finished, 1);
  again();
  c->codec->drain();
  EXPECT_EQ(c->events.finished, 1);
  again();
  ask();
  c->codec->drain();
  c->feed(kOk);
  EXPECT_TRUE(sink.ended);
  sink.release();
  EXPECT_EQ(c->events.finished, 1);
  EXPECT_EQ(c->codec->capacity(), 0);
  again();
  ask();
  c->feed(kOk);
  c->codec->on_eof();
  sink.release();
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Client, TransportClosedAndFail) {
  ask();
  c->codec->on_transport_closed(Reason::kUpstreamReset);
  EXPECT_EQ(sink.reset_reason, Reason::kUpstreamReset);
  again();
  ask();
  c->feed("HTTP/1.1 2");
  c->codec->on_transport_closed(Reason::kUpstreamReset);
  EXPECT_EQ(sink.reset_reason, Reason::kUpstreamTruncated);
  again();
  ask();
  c->codec->fail(Reason::kUpstreamTimeout);
  EXPECT_EQ(sink.reset_reason, Reason::kUpstreamTimeout);
  EXPECT_EQ(c->events.broken, 1);
}

// However much of the answer has come: even one that is complete, while its holder has not given the exchange back.
TEST_F(Http1Client, WhoeverHoldsAnExchangeHearsTheEndOfItsConnection) {
  for (std::string_view came :
       {"", "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nx", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"}) {
    for (int end : {0, 1, 2}) {
      SCOPED_TRACE(came);
      again();
      ask();
      c->feed(came);
      if (end == 0) c->codec->fail(Reason::kInternal);
      if (end == 1) c->feed("not HTTP"), c->codec->on_transport_closed(Reason::kUpstreamReset);
      if (end == 2) c->codec->on_transport_closed(Reason::kUpstreamReset);
      EXPECT_TRUE(sink.was_reset);
      sink.release();
      EXPECT_EQ(c->codec->open_exchanges(), 0u);
    }
  }
  // The owner closes as soon as it hears that this is the last answer, before the answer's head was told.
  again();
  ask();
  c->events.then_goaway = [&] { c->codec->on_transport_closed(Reason::kUpstreamReset); };
  c->feed("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(sink.was_reset);
  EXPECT_EQ(sink.heads, 0);
}

TEST_F(Http1Client, TunnelIsClosedByHalves) {
  open();
  Request upgrade;
  upgrade.head.upgrade = true;
  upgrade.head.upgrade_token = "websocket";
  ASSERT_EQ(sink.exchange->send_head(upgrade.head, false), Reason::kNone);
  out();
  c->feed("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
  sink.exchange->send_body(bytes_of("GET / HTTP/1.1\r\n"), false);
  EXPECT_EQ(out(), "GET / HTTP/1.1\r\n");
  c->codec->on_eof();
  EXPECT_TRUE(sink.ended);
  sink.exchange->send_body(bytes_of("rest"), true);
  EXPECT_EQ(out(), "rest");
  sink.release();
  EXPECT_EQ(c->events.finished, 1);
}

TEST_F(Http1Client, NothingOfATunnelBeforeItIsOne) {
  open();
  Request upgrade;
  upgrade.head.upgrade = true;
  upgrade.head.upgrade_token = "websocket";
  ASSERT_EQ(sink.exchange->send_head(upgrade.head, false), Reason::kNone);
  out();
  sink.exchange->send_body(bytes_of("early"), false);
  EXPECT_EQ(out(), "");
  EXPECT_EQ(c->events.broken_reason, Reason::kInternal);
}

}  // namespace
}  // namespace dragoman::testing
