// HTTP/2 on one side, HTTP/1 on the other, bytes in and bytes out.
#include "protocols/http/websocket.h"
#include "protocols/http1/http1_codec.h"
#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"
#include "tests/support/http_hop.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;

class Http1Connection : public FakeConnection {
 public:
  explicit Http1Connection(Role role)
      : FakeConnection([&](ByteSink& out, ConnectionEvents& ev) {
          Protocol protocol;
          return make_http1_codec(protocol, role, out, ev, {});
        }) {}
};

std::string body_of(const std::vector<Frame>& frames, uint32_t id) {
  std::string out;
  for (const Frame& f : frames)
    if (f.type == kData && f.id == id) out += f.payload;
  return out;
}
bool ended(const std::vector<Frame>& frames, uint32_t id) {
  for (const Frame& f : frames)
    if (f.id == id && f.type <= kHeaders && (f.flags & kEndStream)) return true;
  return false;
}
const Frame* reset_of(const std::vector<Frame>& frames, uint32_t id) {
  for (const Frame& f : frames)
    if (f.id == id && f.type == kRstStream) return &f;
  return nullptr;
}

// Reads what was said to a client on stream 1.
struct Reader {
  explicit Reader(const std::vector<Frame>& frames) {
    client.feed(settings());
    EXPECT_TRUE(call.open(*client.codec));
    EXPECT_EQ(call.exchange->send_head(call.head, true), Reason::kNone);
    client.sink.take();
    for (const Frame& f : frames)
      if (f.id == 1) client.feed(frame(f.type, f.flags, f.id, f.payload));
  }
  Http2Connection client{Role::kClient};
  Call call{"GET", "/"};
};

// --- HTTP/2 in front of HTTP/1 ----------------------------------------------------------------------------------------

class TwoToOne : public ::testing::Test {
 protected:
  TwoToOne() {
    down.feed(hello());
    down.sink.take();
  }
  std::string request(const std::string& frames) {
    down.feed(frames);
    return up.sink.take();
  }
  std::vector<Frame> answer(std::string_view bytes) {
    up.feed(bytes);
    return parse(down.sink.take());
  }

  Http2Connection down{Role::kServer};
  Http1Connection up{Role::kClient};
  HttpHop hop{down, up};
};

TEST_F(TwoToOne, AGetIsOneRequestWithoutABody) {
  EXPECT_EQ(request(headers(1, get("/a?b") + Fields{{"x-mine", "1"}, {"te", "trailers"}})),
            "GET /a?b HTTP/1.1\r\nhost: a.example\r\nx-mine: 1\r\nte: trailers\r\nconnection: te\r\n\r\n");
  auto said = answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX-A: b\r\n\r\nhello");
  EXPECT_EQ(body_of(said, 1), "hello");
  EXPECT_TRUE(ended(said, 1));
  EXPECT_EQ(down.events.broken, 0);
}

TEST_F(TwoToOne, ABodyOfUnknownLengthIsChunkedAndKeepsItsTrailers) {
  std::string wire = request(headers(1, post() + Fields{{"te", "trailers"}}, kEndHeaders) + data(1, "abc") +
                             data(1, "") + data(1, "defg") + headers(1, {{"x-sum", "7"}, {"host", "evil"}}));
  EXPECT_EQ(wire,
            "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\nte: trailers\r\nconnection: te\r\n\r\n"
            "3\r\nabc\r\n4\r\ndefg\r\n0\r\nx-sum: 7\r\n\r\n");
}

TEST_F(TwoToOne, ABodyOfKnownLengthIsSentWithIt) {
  EXPECT_EQ(request(headers(1, post() + Fields{{"content-length", "4"}}, kEndHeaders) + data(1, "ab") + data(1, "cd", kEndStream)),
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 4\r\n\r\nabcd");
}

TEST_F(TwoToOne, AnEmptyPostSaysSo) {
  EXPECT_EQ(request(headers(1, post())), "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 0\r\n\r\n");
}

TEST_F(TwoToOne, CookieCrumbsAreOneField) {
  EXPECT_EQ(request(headers(1, get() + Fields{{"cookie", "a=b"}, {"x", "y"}, {"cookie", "c=d"}, {"cookie", "e=f"}})),
            "GET / HTTP/1.1\r\nhost: a.example\r\ncookie: a=b; c=d; e=f\r\nx: y\r\n\r\n");
}

TEST_F(TwoToOne, ExpectAndItsInterimAnswerPass) {
  EXPECT_EQ(request(headers(1, post() + Fields{{"expect", "100-continue"}, {"content-length", "2"}}, kEndHeaders)),
            "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n");
  auto said = answer("HTTP/1.1 100 Continue\r\n\r\n");
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].type, kHeaders);
  EXPECT_FALSE(said[0].flags & kEndStream);
  EXPECT_EQ(request(data(1, "hi", kEndStream)), "hi");
  EXPECT_TRUE(ended(answer("HTTP/1.1 204 No Content\r\n\r\n"), 1));
}

TEST_F(TwoToOne, AnswersWithoutABodyEndWithTheirHead) {
  struct Row {
    const char* method;
    const char* answer;
  };
  uint32_t id = 1;
  for (const Row& row : {Row{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"}, Row{"GET", "HTTP/1.1 204 No Content\r\n\r\n"},
                         Row{"GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n"},
                         Row{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}}) {
    Fields f = get();
    f[0].second = row.method;
    EXPECT_NE(request(headers(id, f)), "");
    auto said = answer(row.answer);
    ASSERT_EQ(said.size(), 1u) << row.answer;
    EXPECT_EQ(said[0].flags, kEndHeaders | kEndStream);
    id += 2;
  }
}

TEST_F(TwoToOne, ChunksBecomeDataAndTrailersPass) {
  request(headers(1, get() + Fields{{"te", "trailers"}}));
  auto said = answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-End: 1\r\n\r\n");
  EXPECT_EQ(body_of(said, 1), "abcde");
  ASSERT_EQ(said.back().type, kHeaders);
  EXPECT_TRUE(said.back().flags & kEndStream);
  EXPECT_EQ(Reader(said).call.answer.trailers, (std::vector<std::pair<std::string, std::string>>{{"x-end", "1"}}));
}

TEST_F(TwoToOne, ABrokenAnswerIsAResetAndNoEnd) {
  request(headers(1, get()));
  up.feed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
  down.sink.take();
  up.codec->on_eof();
  auto said = parse(down.sink.take());
  ASSERT_NE(reset_of(said, 1), nullptr);
  EXPECT_EQ(reset_of(said, 1)->word(0), kInternalError);
  EXPECT_FALSE(ended(said, 1));
}

TEST_F(TwoToOne, AResetRequestBreaksTheUpstreamWithoutACleanEnd) {
  std::string wire = request(headers(1, post(), kEndHeaders) + data(1, "abc") + rst(1));
  EXPECT_EQ(wire, "POST / HTTP/1.1\r\nhost: a.example\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
  EXPECT_EQ(up.events.broken, 1);
}

// Whatever does not fit its own announcement must not look complete to HTTP/1.
TEST_F(TwoToOne, ALengthThatIsNotKeptNeverEndsTheUpstreamMessage) {
  std::string wire =
      request(headers(1, post() + Fields{{"content-length", "5"}}, kEndHeaders) + data(1, "abc", kEndStream));
  EXPECT_EQ(wire, "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 5\r\n\r\nabc");
  down.sink.take();
  EXPECT_EQ(up.events.broken, 1);
  // More than announced: nothing beyond it is passed on.
  Http1Connection up2(Role::kClient);
  Http2Connection down2(Role::kServer);
  HttpHop hop2(down2, up2);
  down2.feed(hello() + headers(1, post() + Fields{{"content-length", "2"}}, kEndHeaders) +
             data(1, "abGET /evil HTTP/1.1\r\n\r\n", kEndStream));
  EXPECT_EQ(up2.sink.take(), "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 2\r\n\r\n");
}

TEST_F(TwoToOne, AnExtendedConnectIsAWebsocketUpgrade) {
  std::string wire = request(headers(1,
                                     {{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/chat"},
                                      {":authority", "a.example"}, {"sec-websocket-version", "13"}},
                                     kEndHeaders));
  ASSERT_NE(wire.find("key: "), std::string::npos) << wire;
  std::string key = wire.substr(wire.find("key: ") + 5, 24);
  EXPECT_EQ(wire, "GET /chat HTTP/1.1\r\nhost: a.example\r\nsec-websocket-version: 13\r\nsec-websocket-key: " + key +
                      "\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  WebsocketAccept accept = websocket_accept(key);
  auto said = answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " +
                     std::string(accept.data(), accept.size()) + "\r\nSec-WebSocket-Protocol: chat\r\n\r\nfrom server");
  ASSERT_GE(said.size(), 2u);
  Reader reader(said);
  EXPECT_EQ(reader.call.answer.head->status, 200u);
  EXPECT_EQ(reader.call.answer.head->headers.size(), 1u);
  EXPECT_EQ(reader.call.answer.head->header("sec-websocket-protocol"), "chat");
  EXPECT_EQ(body_of(said, 1), "from server");
  EXPECT_EQ(request(data(1, "from client")), "from client");
  // Half-closed in one direction, then in the other.
  EXPECT_EQ(request(data(1, "bye", kEndStream)), "bye");
  EXPECT_EQ(body_of(answer("last"), 1), "last");
  up.codec->on_eof();
  EXPECT_TRUE(ended(parse(down.sink.take()), 1));
}

// Proxies that come from HTTP/1 send their client's key, and pass on what proves that it was read.
TEST_F(TwoToOne, AGivenWebsocketKeyIsPassedOnAndItsProofReturned) {
  std::string wire = request(headers(1,
                                     {{":method", "CONNECT"},
                                      {":protocol", "websocket"},
                                      {":scheme", "http"},
                                      {":path", "/chat"},
                                      {":authority", "a.example"},
                                      {"sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="},
                                      {"sec-websocket-version", "13"}},
                                     kEndHeaders));
  EXPECT_EQ(wire,
            "GET /chat HTTP/1.1\r\nhost: a.example\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "sec-websocket-version: 13\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  auto said = answer(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
  ASSERT_FALSE(said.empty());
  Reader reader(said);
  EXPECT_EQ(reader.call.answer.head->status, 200u);
  EXPECT_EQ(reader.call.answer.head->header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST_F(TwoToOne, AWebsocketAnswerThatDoesNotFitIsRefused) {
  request(headers(1,
                  {{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/chat"},
                   {":authority", "a.example"}},
                  kEndHeaders));
  auto said = answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
                     "AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n");
  EXPECT_EQ(hop.failures, std::vector<Reason>{Reason::kUpstreamProtocolError});
  ASSERT_FALSE(said.empty());
  EXPECT_NE(static_cast<uint8_t>(said[0].payload[0]), 0x88);
}

TEST_F(TwoToOne, ADeclinedWebsocketIsAnAnswer) {
  request(headers(1,
                  {{":method", "CONNECT"}, {":protocol", "websocket"}, {":scheme", "http"}, {":path", "/chat"},
                   {":authority", "a.example"}},
                  kEndHeaders));
  auto said = answer("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno");
  EXPECT_EQ(body_of(said, 1), "no");
  EXPECT_TRUE(ended(said, 1));
  ASSERT_NE(reset_of(said, 1), nullptr);
  EXPECT_EQ(reset_of(said, 1)->word(0), kNoError);
}

// --- HTTP/1 in front of HTTP/2 ----------------------------------------------------------------------------------------

class OneToTwo : public ::testing::Test {
 protected:
  OneToTwo() {
    up.feed(settings({{8, 1}}));
    up.sink.take();
  }
  std::vector<Frame> request(std::string_view bytes) {
    down.feed(bytes);
    return parse(up.sink.take());
  }
  std::string answer(const std::string& frames) {
    up.feed(frames);
    return down.sink.take();
  }
  static std::string head(uint32_t id, const Fields& fields, uint8_t flags) { return headers(id, fields, flags); }

  Http1Connection down{Role::kServer};
  Http2Connection up{Role::kClient};
  HttpHop hop{down, up};
};

TEST_F(OneToTwo, HopByHopFieldsStayBehind) {
  Http2Connection reader(Role::kServer);
  down.feed("GET /a HTTP/1.1\r\nHost: b.example\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
            "TE: trailers, gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Mine: 2\r\nProxy-Connection: x\r\n\r\n");
  reader.feed(hello().substr(0, 24) + settings() + up.sink.take());
  ASSERT_EQ(reader.accepted(), 1u);
  Head& seen = *reader.at(0).head;
  EXPECT_EQ(seen.authority, "b.example");
  EXPECT_EQ(seen.headers.size(), 1u);
  EXPECT_EQ(seen.header("x-mine"), "2");
  EXPECT_TRUE(seen.te_trailers);
  EXPECT_TRUE(reader.at(0).ended);
}

TEST_F(OneToTwo, BodiesAndTrailersBothWays) {
  auto sent = request("POST / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
                      "0\r\nX-Sum: 3\r\n\r\n");
  EXPECT_EQ(body_of(sent, 1), "abc");
  ASSERT_EQ(sent.back().type, kHeaders);
  EXPECT_TRUE(sent.back().flags & kEndStream);
  EXPECT_EQ(answer(head(1, {{":status", "103"}, {"link", "x"}}, kEndHeaders)), "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
  EXPECT_EQ(answer(head(1, {{":status", "200"}}, kEndHeaders) + data(1, "xyz") + head(1, {{"grpc-status", "0"}}, kEndHeaders | kEndStream)),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\ngrpc-status: 0\r\n\r\n");
}

TEST_F(OneToTwo, LengthsAreKept) {
  auto sent = request("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
  EXPECT_EQ(body_of(sent, 1), "abc");
  EXPECT_TRUE(ended(sent, 1));
  EXPECT_EQ(answer(head(1, {{":status", "200"}, {"content-length", "2"}}, kEndHeaders) + data(1, "ok", kEndStream)),
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
  // The next request of the same client, and an answer without a body.
  request("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(answer(head(3, {{":status", "200"}, {"content-length", "20"}}, kEndHeaders | kEndStream)),
            "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n");
}

TEST_F(OneToTwo, AResetAnswerHasNoCleanEnd) {
  request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_EQ(answer(head(1, {{":status", "200"}}, kEndHeaders) + data(1, "ha") + rst(1, kInternalError)),
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nha\r\n");
  EXPECT_EQ(down.events.broken, 1);
}

TEST_F(OneToTwo, AnswersThatBreakTheRulesAre502) {
  struct Row {
    const char* name;
    std::string frames;
  };
  for (const Row& row : {Row{"body shorter than announced", headers(1, {{":status", "200"}, {"content-length", "5"}})},
                         Row{"no status", headers(1, {{"x", "y"}})},
                         Row{"connection field", headers(1, {{":status", "200"}, {"connection", "close"}})},
                         Row{"line break in a value", headers(1, {{":status", "200"}, {"x", "a\r\nb"}})},
                         Row{"request field", headers(1, {{":status", "200"}, {":path", "/"}})},
                         Row{"switching protocols", headers(1, {{":status", "101"}}, kEndHeaders)},
                         Row{"data before the head", data(1, "x")},
                         Row{"push", frame(kPushPromise, kEndHeaders, 1, u32(2) + block(get()))}}) {
    Http1Connection d(Role::kServer);
    Http2Connection u(Role::kClient);
    HttpHop h(d, u);
    u.feed(settings());
    u.sink.take();
    u.feed(frame(kSettings, kAck, 0));
    d.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    u.sink.take();
    u.feed(row.frames);
    u.sink.take();
    EXPECT_TRUE(d.sink.take().starts_with("HTTP/1.1 502 ")) << row.name;
    EXPECT_EQ(h.failures, std::vector<Reason>{Reason::kUpstreamProtocolError}) << row.name;
  }
}

TEST_F(OneToTwo, RefusedRequestsAreKnownAsSuch) {
  request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(answer(rst(1, kRefusedStream)).starts_with("HTTP/1.1 503 "));
  request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  answer(goaway(1, kNoError));
  EXPECT_EQ(hop.failures, (std::vector<Reason>{Reason::kUpstreamRefused, Reason::kUpstreamRefused}));
}

TEST_F(OneToTwo, AWebsocketUpgradeIsAnExtendedConnect) {
  Http2Connection reader(Role::kServer);
  down.feed("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  std::string wire = up.sink.take();
  reader.feed(hello().substr(0, 24) + settings() + wire);
  ASSERT_EQ(reader.accepted(), 1u);
  EXPECT_TRUE(reader.at(0).head->upgrade);
  EXPECT_EQ(reader.at(0).head->path, "/chat");
  EXPECT_EQ(reader.at(0).head->header("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==") << "proxies want it";
  // Such a proxy gives the proof back, and there must be one only.
  std::string said = answer(head(1,
                                 {{":status", "200"},
                                  {"sec-websocket-protocol", "chat"},
                                  {"sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}},
                                 kEndHeaders) +
                            data(1, "hi"));
  EXPECT_EQ(said,
            "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: chat\r\n"
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhi");
  EXPECT_EQ(body_of(request("from client"), 1), "from client");
}

TEST_F(OneToTwo, AWebsocketNeedsABackendThatTakesIt) {
  Http1Connection d(Role::kServer);
  Http2Connection u(Role::kClient);
  HttpHop h(d, u);
  u.feed(settings());
  d.feed("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
  EXPECT_TRUE(d.sink.take().starts_with("HTTP/1.1 501 "));
}

TEST(Websocket, AcceptOfTheRfc) {
  WebsocketAccept accept = websocket_accept("dGhlIHNhbXBsZSBub25jZQ==");
  EXPECT_EQ(std::string(accept.data(), accept.size()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  WebsocketKey a = make_websocket_key(), b = make_websocket_key();
  EXPECT_NE(a, b);
  EXPECT_EQ(a[22], '=');
}

}  // namespace
}  // namespace dragoman
