// One port for both versions: the preface decides, or an upgrade.
#include "protocols/either_codec.h"

#include "protocols/http1/http1_codec.h"
#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;

class Either : public FakeConnection {
 public:
  explicit Either(bool http1_first = false, bool h2c = true)
      : FakeConnection([&](ByteSink& out, ConnectionEvents& ev) {
          CodecOptions options;
          options.http1.allow_h2c = h2c;
          return http1_first ? make_http1_or_h2c_codec(out, ev, options) : make_either_codec(out, ev, options);
        }) {}
};

void answer(FakeMessageSink& sink, std::string_view body) {
  Head head;
  head.is_http = true;
  head.status = 200;
  head.content_length = static_cast<int64_t>(body.size());
  EXPECT_EQ(sink.exchange->send_head(head, false), Reason::kNone);
  sink.exchange->send_body(bytes_of(body), true);
  sink.release();
}

TEST(EitherTest, ThePrefaceMeansHttp2AtEverySplit) {
  std::string bytes = hello() + headers(1, get("/two"));
  for (size_t step = 1; step <= bytes.size(); ++step) {
    Either c;
    c.feed_in_steps(bytes, step);
    ASSERT_EQ(c.accepted(), 1u) << step;
    EXPECT_EQ(c.at(0).head->path, "/two");
    EXPECT_EQ(parse(c.sink.take())[0].type, kSettings);
  }
}

TEST(EitherTest, AnythingElseMeansHttp1AtEverySplit) {
  for (std::string_view method : {"GET", "POST", "PUT", "PATCH", "PRI", "P"}) {
    std::string bytes = std::string(method) + " /one HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    for (size_t step : {1u, 2u, 3u, 5u, 100u}) {
      Either c;
      c.feed_in_steps(bytes, step);
      if (method.size() < 3 || method == "PRI") {
        EXPECT_TRUE(c.sink.take().starts_with("HTTP/1.1 50"));
        continue;
      }
      ASSERT_EQ(c.accepted(), 1u) << method << step;
      EXPECT_EQ(c.at(0).head->method, method);
    }
  }
}

TEST(EitherTest, AnUndecidedConnectionEndsInWords) {
  Either c;
  EXPECT_EQ(c.codec->phase(), ReadPhase::kIdle);
  c.feed("PRI * HT");
  EXPECT_EQ(c.codec->phase(), ReadPhase::kHead);
  c.codec->fail(Reason::kHeadTimeout);
  EXPECT_TRUE(c.sink.take().starts_with("HTTP/1.1 408 "));
  Either silent;
  silent.codec->on_eof();
  EXPECT_EQ(silent.events.finished, 1);
  Either drained;
  drained.codec->drain();
  EXPECT_EQ(drained.events.finished, 1);
}

TEST(EitherTest, VersionOfPrefixes) {
  std::string preface(kPreface);
  for (size_t n = 0; n < preface.size(); ++n)
    EXPECT_EQ(http_version_of(bytes_of(preface.substr(0, n))), HttpVersion::kUndecided);
  EXPECT_EQ(http_version_of(bytes_of(preface + "x")), HttpVersion::kHttp2);
  EXPECT_EQ(http_version_of(bytes_of("PRI * HTTP/1.1")), HttpVersion::kHttp1);
  EXPECT_EQ(http_version_of(bytes_of("PRI * HTTP/2.0\r\n\r\nXX")), HttpVersion::kHttp2);
}

// HTTP/1 answers whoever speaks it, if wrongly. Who does not gets what a broken preface gets.
TEST(EitherTest, WhoSpeaksWhat) {
  struct Row {
    std::string bytes;
    bool http2;
  };
  for (const Row& row : {
           Row{"INVALID CONNECTION PREFACE\r\n\r\n", true},
           Row{"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", true},
           Row{"PRI * HTTP/2.0\r\nHost: a\r\n\r\n", true},
           Row{"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", true},
           Row{"some other protocol\n", true},
           Row{"PRI * HTTP/1.1\r\n\r\n", false},
           Row{"PRI / HTTP/2.0\r\n\r\n", false},
           Row{"GET / HTTP/3.7\r\n\r\n", false},
           Row{"GET / PREFACE\r\n\r\n", false},
           Row{"GET x HTTP/1.1\r\n\r\n", false},
           Row{"GET /\r\n", false},
           Row{"GET x\r\n", false},
           Row{"CONNECT a:443 HTTP/1.1\r\n\r\n", false},
           Row{"GET http://a/ HTTP/1.1\r\n\r\n", false},
           Row{"\x16\x03\x01 a b c\r\n", false},
           Row{"\r\nGET / HTTP/1.1\r\n\r\n", false},
           Row{"A " + std::string(1000, 'b'), false},
           Row{"no-line-at-all", false},
       }) {
    for (size_t step : {size_t{1}, size_t{7}, size_t{1} << 20}) {
      SCOPED_TRACE(row.bytes.substr(0, 40));
      Either c;
      c.feed_in_steps(row.bytes, step);
      if (c.accepted() == 0 && c.events.broken == 0) c.codec->fail(Reason::kHeadTimeout);
      const std::string said = c.sink.take();
      if (row.http2) {
        ASSERT_EQ(c.events.broken, 1);
        EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
        const std::vector<Frame> frames = parse(said);
        ASSERT_FALSE(frames.empty());
        EXPECT_EQ(frames.back().type, kGoAway);
        EXPECT_EQ(frames.back().word(4), kProtocolError);
      } else if (c.accepted() == 0) {
        EXPECT_TRUE(said.starts_with("HTTP/1.1 ")) << said;
      }
    }
  }
}

TEST(EitherTest, AHalfPrefaceEndsInTheWordsOfItsVersion) {
  Either c;
  c.feed("PRI * HTTP/2.0\r\n\r\n");
  EXPECT_EQ(c.codec->phase(), ReadPhase::kHead);
  c.codec->fail(Reason::kHeadTimeout);
  EXPECT_EQ(parse(c.sink.take()).back().type, kGoAway);
  Either gone;
  gone.feed("PRI * HTTP/2.0\r\n\r\n");
  gone.codec->on_eof();
  EXPECT_EQ(gone.events.finished, 1);
}

constexpr std::string_view kUpgrade =
    "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\nX-Mine: 1\r\n\r\n";

TEST(EitherTest, AnUpgradeGoesOnInHttp2AtEverySplit) {
  std::string bytes = std::string(kUpgrade) + hello() + headers(3, get("/next"));
  for (bool first : {true, false}) {
    for (size_t step = 1; step <= bytes.size(); step += step < 20 ? 1 : 13) {
      Either c(first);
      c.feed_in_steps(bytes, step);
      ASSERT_EQ(c.accepted(), 2u) << step;
      EXPECT_FALSE(c.events.paused);
      EXPECT_EQ(c.at(0).head->path, "/up");
      EXPECT_EQ(c.at(0).head->header("x-mine"), "1");
      EXPECT_EQ(c.at(0).head->headers.size(), 1u);
      EXPECT_TRUE(c.at(0).ended);
      EXPECT_EQ(c.at(1).head->path, "/next");
      answer(c.at(0), "upgraded");
      std::string said = c.sink.take();
      std::string_view switching = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
      ASSERT_TRUE(said.starts_with(switching)) << said;
      auto frames = parse(said.substr(switching.size()));
      EXPECT_EQ(frames[0].type, kSettings);
      EXPECT_FALSE(frames[0].flags & kAck);
      std::string body;
      for (const Frame& f : frames)
        if (f.type == kData && f.id == 1) body += f.payload;
      EXPECT_EQ(body, "upgraded");
    }
  }
}

// The upgrade is only read when the request before it was answered: no read is under way then.
TEST(EitherTest, AnUpgradeBehindAnotherRequestGoesOnInHttp2) {
  const std::string plain = "GET /first HTTP/1.1\r\nHost: a\r\n\r\n";
  const std::string http2 = hello() + headers(3, get("/next"));
  for (bool later : {false, true}) {
    Either c(true);
    c.feed(plain + std::string(kUpgrade) + (later ? "" : http2));
    ASSERT_EQ(c.accepted(), 1u);
    answer(c.at(0), "first");
    ASSERT_EQ(c.accepted(), later ? 2u : 3u);
    EXPECT_FALSE(c.events.paused);
    if (later) c.feed(http2);
    ASSERT_EQ(c.accepted(), 3u);
    EXPECT_EQ(c.at(1).head->path, "/up");
    EXPECT_EQ(c.at(2).head->path, "/next");
    EXPECT_EQ(c.codec->open_exchanges(), 2u);
    answer(c.at(1), "upgraded");
    EXPECT_NE(c.sink.take().find("upgraded"), std::string::npos);
    c.codec->on_transport_closed(Reason::kDownstreamReset);
    EXPECT_TRUE(c.at(2).was_reset);
    EXPECT_EQ(c.events.finished, 0);
  }
  // A client that had ended before: HTTP/2 hears it as well.
  Either c(true);
  c.feed(plain + std::string(kUpgrade) + http2);
  c.codec->on_eof();
  EXPECT_FALSE(c.at(0).was_reset);
  answer(c.at(0), "first");
  ASSERT_EQ(c.accepted(), 3u);
  EXPECT_TRUE(c.at(1).was_reset);
  EXPECT_TRUE(c.at(2).was_reset);
  EXPECT_EQ(c.events.finished, 1);
}

TEST(EitherTest, AnUpgradedRequestHearsTheEndWhereverItComes) {
  // Before anything else is read, inside the call that begins it, and after the next bytes.
  for (int when : {0, 1, 2}) {
    Either c(true);
    c.events.then_exchange = [&](FakeMessageSink& sink) {
      sink.then_reset = [&sink](Reason) { sink.release(); };
      if (when == 1)
        sink.then_head = [&](Head& head, bool) {
          if (head.path == "/up") c.codec->on_transport_closed(Reason::kDownstreamReset);
        };
    };
    c.feed("GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + std::string(kUpgrade));
    answer(c.at(0), "first");
    ASSERT_EQ(c.accepted(), 2u);
    if (when == 2) c.feed(hello());
    if (when != 1) c.codec->on_transport_closed(Reason::kDownstreamReset);
    EXPECT_TRUE(c.at(1).was_reset) << when;
    EXPECT_EQ(c.codec->open_exchanges(), 0u);
  }
  EXPECT_EQ(live_http1_exchanges(), 0u);
  EXPECT_EQ(live_http2_exchanges(), 0u);
}

TEST(EitherTest, UpgradesThatAreNotTakenStayHttp1) {
  struct Row {
    const char* name;
    std::string bytes;
    bool allowed;
  };
  auto with = [](std::string_view from, std::string_view to) {
    std::string s(kUpgrade);
    s.replace(s.find(from), from.size(), to);
    return s;
  };
  for (const Row& row : {Row{"not allowed", std::string(kUpgrade), false},
                         Row{"settings not named", with(", HTTP2-Settings", ""), true},
                         Row{"no settings", with("HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n", ""), true},
                         Row{"two settings", with("X-Mine: 1", "HTTP2-Settings: AAMAAABk"), true},
                         Row{"broken settings", with("AAMAAABkAAQCAAAAAAIAAAAA", "AAMA*"), true},
                         Row{"odd settings", with("AAMAAABkAAQCAAAAAAIAAAAA", "AAMA"), true},
                         Row{"a body", with("X-Mine: 1\r\n\r\n", "Content-Length: 2\r\n\r\nhi"), true},
                         Row{"over TLS only", with("h2c", "h2"), true},
                         Row{"HTTP/1.0", with("HTTP/1.1", "HTTP/1.0"), true}}) {
    Either c(true, row.allowed);
    c.feed(row.bytes);
    ASSERT_EQ(c.accepted(), 1u) << row.name;
    bool found = true;
    c.at(0).head->header("http2-settings", &found);
    EXPECT_FALSE(found);
    answer(c.at(0), "one");
    EXPECT_TRUE(c.sink.take().starts_with("HTTP/1.1 200 OK\r\n")) << row.name;
  }
}

}  // namespace
}  // namespace dragoman
