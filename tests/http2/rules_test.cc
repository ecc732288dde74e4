// What a server must say to frames that no library would send: one row for each rule of RFC 9113.
#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;

enum class Say : uint8_t { kNothing, kReset, kGoAway, kStatus };

struct Rule {
  const char* name;
  std::string bytes;       // after preface and SETTINGS
  Say say;
  uint32_t code = 0;       // error code, or status
  uint32_t stream = 1;     // of a reset
  int accepted = 0;        // requests that reached the engine
  Reason reset = Reason::kNone;  // what the first of them was told
};

std::string status_of(const Frame& f) {
  // The server's block begins with :status, static or a literal with an indexed name.
  static const char* const kStatic[] = {"200", "204", "206", "304", "400", "404", "500"};
  auto b = static_cast<uint8_t>(f.payload.at(0));
  if (b >= 0x88 && b <= 0x8e) return kStatic[b - 0x88];
  return "?";
}

const std::vector<Rule>& rules() {
  static const std::vector<Rule> kRules = {
      // 4.1, 4.2: frame size
      {"FrameOverTheMaximum", frame(kData, 0, 1, std::string(16'385, 'x')), Say::kGoAway, kFrameSizeError},
      {"HeadersOverTheMaximum", frame(kHeaders, kEndHeaders, 1, std::string(16'385, 'x')), Say::kGoAway,
       kFrameSizeError},
      {"UnknownFrameTypeIsIgnored", frame(0x42, 0xff, 1, "anything"), Say::kNothing},
      {"UnknownFlagsAreIgnored", frame(kPing, 0x80, 0, "12345678"), Say::kNothing},
      // 5.1: stream states
      {"DataOnIdle", data(1, "x"), Say::kGoAway, kProtocolError},
      {"ResetOnIdle", rst(1), Say::kGoAway, kProtocolError},
      {"WindowUpdateOnIdle", window_update(1, 1), Say::kGoAway, kProtocolError},
      {"DataAfterEnd", headers(1, get()) + data(1, "x"), Say::kGoAway, kStreamClosed, 1, 1,
       Reason::kMalformed},
      {"HeadersAfterEnd", headers(1, get()) + headers(1, get()), Say::kGoAway, kStreamClosed, 1, 1,
       Reason::kMalformed},
      {"PriorityOnIdleIsAllowed", frame(kPriority, 0, 5, u32(3) + "\x10"), Say::kNothing},
      // 5.1.1: identifiers
      {"EvenStream", headers(2, get()), Say::kGoAway, kProtocolError},
      {"StreamZero", headers(0, get()), Say::kGoAway, kProtocolError},
      // 5.1.2: concurrency
      {"TooManyStreams",
       headers(1, get()) + headers(3, get()) + headers(5, get()) + headers(7, get()) + headers(9, get()),
       Say::kReset, kRefusedStream, 9, 4},
      // 6.1 DATA
      {"DataOnStreamZero", data(0, "x"), Say::kGoAway, kProtocolError},
      {"PaddingLongerThanData", headers(1, post(), kEndHeaders) + frame(kData, kPadded, 1, "\xffx"),
       Say::kGoAway, kProtocolError, 1, 1, Reason::kMalformed},
      {"PaddedDataIsFine",
       headers(1, post(), kEndHeaders) + frame(kData, kPadded | kEndStream, 1, std::string("\2hi\0\0", 5)),
       Say::kNothing, 0, 1, 1},
      // 6.2 HEADERS
      {"PaddingLongerThanHeaders", frame(kHeaders, kEndHeaders | kPadded, 1, "\xff\x82"), Say::kGoAway,
       kProtocolError},
      {"InterruptedBlock", headers(1, get(), kEndStream) + ping(), Say::kGoAway, kProtocolError},
      {"BlockContinuedElsewhere", headers(1, get(), kEndStream) + frame(kContinuation, kEndHeaders, 3),
       Say::kGoAway, kProtocolError},
      {"SelfDependency",
       frame(kHeaders, kEndHeaders | kEndStream | kHasPriority, 1, u32(1) + "\x10" + block(get())),
       Say::kGoAway, kProtocolError},
      // 6.3, 6.4
      {"ShortPriority", frame(kPriority, 0, 1, "xyz"), Say::kGoAway, kFrameSizeError},
      {"PriorityOnStreamZero", frame(kPriority, 0, 0, u32(0) + "x"), Say::kGoAway, kProtocolError},
      {"ShortReset", headers(1, get()) + frame(kRstStream, 0, 1, "xyz"), Say::kGoAway, kFrameSizeError, 1, 1,
       Reason::kMalformed},
      {"ResetOnStreamZero", rst(0), Say::kGoAway, kProtocolError},
      // 6.5 SETTINGS
      {"SettingsWithOddLength", frame(kSettings, 0, 0, "12345"), Say::kGoAway, kFrameSizeError},
      {"SettingsOnAStream", frame(kSettings, 0, 1), Say::kGoAway, kProtocolError},
      {"SettingsAckWithPayload", frame(kSettings, kAck, 0, "123456"), Say::kGoAway, kFrameSizeError},
      {"PushEnabledTwice", settings({{2, 2}}), Say::kGoAway, kProtocolError},
      {"WindowTooLarge", settings({{4, 0x80000000}}), Say::kGoAway, kFlowControlError},
      {"FrameSizeTooSmall", settings({{5, 16'383}}), Say::kGoAway, kProtocolError},
      {"FrameSizeTooLarge", settings({{5, 16'777'216}}), Say::kGoAway, kProtocolError},
      {"UnknownSetting", settings({{0x99, 7}}), Say::kNothing},
      // 6.6 PUSH_PROMISE
      {"PushFromAClient", headers(1, post(), kEndHeaders) + frame(kPushPromise, kEndHeaders, 1, u32(2)),
       Say::kGoAway, kProtocolError, 1, 1, Reason::kMalformed},
      // 6.7 PING
      {"ShortPing", frame(kPing, 0, 0, "1234567"), Say::kGoAway, kFrameSizeError},
      {"PingOnAStream", frame(kPing, 0, 1, "12345678"), Say::kGoAway, kProtocolError},
      // 6.8 GOAWAY
      {"GoAwayOnAStream", frame(kGoAway, 0, 1, u32(0) + u32(0)), Say::kGoAway, kProtocolError},
      // 6.9 WINDOW_UPDATE
      {"WindowUpdateOfZero", window_update(0, 0), Say::kGoAway, kProtocolError},
      {"StreamWindowUpdateOfZero", headers(1, post(), kEndHeaders) + window_update(1, 0), Say::kGoAway,
       kProtocolError, 1, 1, Reason::kMalformed},
      {"ShortWindowUpdate", frame(kWindowUpdate, 0, 0, "123"), Say::kGoAway, kFrameSizeError},
      {"WindowOverflow", window_update(0, 0x7fffffff), Say::kGoAway, kFlowControlError},
      {"StreamWindowOverflow", headers(1, post(), kEndHeaders) + window_update(1, 0x7fffffff), Say::kReset,
       kFlowControlError, 1, 1, Reason::kMalformed},
      // 6.10 CONTINUATION
      {"ContinuationOutOfTheBlue", frame(kContinuation, kEndHeaders, 1), Say::kGoAway, kProtocolError},
      // 4.3: HPACK
      {"IndexZero", frame(kHeaders, kEndHeaders | kEndStream, 1, "\x80"), Say::kGoAway, kCompressionError},
      {"IndexOutOfRange", frame(kHeaders, kEndHeaders | kEndStream, 1, "\xff\x7f"), Say::kGoAway,
       kCompressionError},
      {"TableSizeOverTheLimit", frame(kHeaders, kEndHeaders | kEndStream, 1, "\x3f\xe2\x1f" + block(get())),
       Say::kGoAway, kCompressionError},
      {"TruncatedLiteral", frame(kHeaders, kEndHeaders | kEndStream, 1, std::string("\0\x0a:me", 5)),
       Say::kGoAway, kCompressionError},
      {"EndlessInteger", frame(kHeaders, kEndHeaders | kEndStream, 1, "\x7f\xff\xff\xff\xff\xff\xff\xff\x7f"),
       Say::kGoAway, kCompressionError},
      // 8.2: fields
      {"UpperCaseName", headers(1, get() + Fields{{"X-A", "b"}}), Say::kReset, kProtocolError},
      {"EmptyName", headers(1, get() + Fields{{"", "b"}}), Say::kReset, kProtocolError},
      {"ColonInName", headers(1, get() + Fields{{"a:b", "c"}}), Say::kReset, kProtocolError},
      {"SpaceInName", headers(1, get() + Fields{{"a b", "c"}}), Say::kReset, kProtocolError},
      {"CrLfInValue", headers(1, get() + Fields{{"x", "a\r\nevil: 1"}}), Say::kReset, kProtocolError},
      {"LfInValue", headers(1, get() + Fields{{"x", "a\nb"}}), Say::kReset, kProtocolError},
      {"NulInValue", headers(1, get() + Fields{{"x", std::string("a\0b", 3)}}), Say::kReset, kProtocolError},
      {"LeadingSpaceInValue", headers(1, get() + Fields{{"x", " a"}}), Say::kReset, kProtocolError},
      {"TrailingTabInValue", headers(1, get() + Fields{{"x", "a\t"}}), Say::kReset, kProtocolError},
      {"Connection", headers(1, get() + Fields{{"connection", "close"}}), Say::kReset, kProtocolError},
      {"KeepAlive", headers(1, get() + Fields{{"keep-alive", "1"}}), Say::kReset, kProtocolError},
      {"ProxyConnection", headers(1, get() + Fields{{"proxy-connection", "close"}}), Say::kReset,
       kProtocolError},
      {"TransferEncoding", headers(1, get() + Fields{{"transfer-encoding", "chunked"}}), Say::kReset,
       kProtocolError},
      {"Upgrade", headers(1, get() + Fields{{"upgrade", "h2c"}}), Say::kReset, kProtocolError},
      {"TeGzip", headers(1, get() + Fields{{"te", "gzip"}}), Say::kReset, kProtocolError},
      {"TeTrailers", headers(1, get() + Fields{{"te", "trailers"}}), Say::kNothing, 0, 1, 1},
      // 8.3: pseudo-header fields
      {"NoMethod", headers(1, {{":scheme", "http"}, {":path", "/"}, {":authority", "a"}}), Say::kReset,
       kProtocolError},
      {"NoScheme", headers(1, {{":method", "GET"}, {":path", "/"}, {":authority", "a"}}), Say::kReset,
       kProtocolError},
      {"NoPath", headers(1, {{":method", "GET"}, {":scheme", "http"}, {":authority", "a"}}), Say::kReset,
       kProtocolError},
      {"EmptyPath", headers(1, get("")), Say::kReset, kProtocolError},
      {"TwoPaths", headers(1, get() + Fields{{":path", "/b"}}), Say::kReset, kProtocolError},
      {"PseudoAfterField", headers(1, Fields{{"x", "y"}} + get()), Say::kReset, kProtocolError},
      {"UnknownPseudo", headers(1, Fields{{":foo", "y"}} + get()), Say::kReset, kProtocolError},
      {"StatusInARequest", headers(1, Fields{{":status", "200"}} + get()), Say::kReset, kProtocolError},
      {"PseudoInTrailers", headers(1, post(), kEndHeaders) + headers(1, {{":path", "/x"}}), Say::kReset,
       kProtocolError, 1, 1, Reason::kMalformed},
      {"TrailersWithoutEnd", headers(1, post(), kEndHeaders) + headers(1, {{"x", "y"}}, kEndHeaders),
       Say::kReset, kProtocolError, 1, 1, Reason::kMalformed},
      {"SpaceInMethod",
       headers(1, {{":method", "GE T"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}}),
       Say::kReset, kProtocolError},
      {"SpaceInPath", headers(1, get("/a b")), Say::kReset, kProtocolError},
      {"RequestLineInPath", headers(1, get("/ HTTP/1.1\r\nhost: b\r\n\r\n")), Say::kReset, kProtocolError},
      {"BadAuthority",
       headers(1, {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a b"}}),
       Say::kReset, kProtocolError},
      {"UserInAuthority",
       headers(1, {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {":authority", "u@a"}}),
       Say::kStatus, 400},
      {"NoAuthority", headers(1, {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}}), Say::kReset,
       kProtocolError},
      {"HostInstead", headers(1, {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}, {"host", "a"}}),
       Say::kNothing, 0, 1, 1},
      {"HostDiffers", headers(1, get() + Fields{{"host", "b.example"}}), Say::kStatus, 400},
      {"HostAgrees", headers(1, get() + Fields{{"host", "A.example"}}), Say::kNothing, 0, 1, 1},
      {"OtherScheme",
       headers(1, {{":method", "GET"}, {":scheme", "ftp"}, {":path", "/"}, {":authority", "a"}}),
       Say::kStatus, 400},
      {"DotsBesideAnEncodedSlash", headers(1, get("/a/..%2fb")), Say::kStatus, 400},
      {"Backslash", headers(1, get("/a\\b")), Say::kStatus, 400},
      {"NoAsciiInPath", headers(1, get("/a\xc3\xa4")), Say::kStatus, 400},
      {"PathAboveRoot", headers(1, get("/../a")), Say::kStatus, 400},
      {"ConnectIsNotServed", headers(1, {{":method", "CONNECT"}, {":authority", "a:1"}}), Say::kStatus, 501},
      {"ConnectWithPath",
       headers(1, {{":method", "CONNECT"}, {":authority", "a:1"}, {":path", "/"}, {":scheme", "http"}}),
       Say::kReset, kProtocolError},
      {"TraceIsNotAllowed",
       headers(1, {{":method", "TRACE"}, {":scheme", "http"}, {":path", "/"}, {":authority", "a"}}),
       Say::kStatus, 405},
      // 8.1.1: content-length
      {"LessThanContentLength",
       headers(1, post() + Fields{{"content-length", "5"}}, kEndHeaders) + data(1, "abc", kEndStream),
       Say::kReset, kProtocolError, 1, 1, Reason::kMalformed},
      {"MoreThanContentLength",
       headers(1, post() + Fields{{"content-length", "2"}}, kEndHeaders) + data(1, "abc", kEndStream),
       Say::kReset, kProtocolError, 1, 1, Reason::kMalformed},
      {"ContentLengthWithoutBody", headers(1, post() + Fields{{"content-length", "2"}}), Say::kReset,
       kProtocolError},
      {"TwoContentLengths",
       headers(1, post() + Fields{{"content-length", "2"}, {"content-length", "2"}}, kEndHeaders),
       Say::kReset, kProtocolError},
      {"SignedContentLength", headers(1, post() + Fields{{"content-length", "+2"}}, kEndHeaders), Say::kReset,
       kProtocolError},
      {"HugeContentLength",
       headers(1, post() + Fields{{"content-length", "99999999999999999999"}}, kEndHeaders), Say::kReset,
       kProtocolError},
      // limits
      {"TooManyFields", headers(1, get() + Fields(20, {"a", "b"})), Say::kStatus, 431},
      {"TooLargeFields", headers(1, get() + Fields{{"a", std::string(3000, 'b')}}), Say::kStatus, 431},
      {"TooLongPath", headers(1, get("/" + std::string(600, 'a'))), Say::kStatus, 414},
      {"TooLongBody", headers(1, post(), kEndHeaders) + data(1, std::string(1001, 'x')), Say::kStatus, 413, 1,
       1, Reason::kBodyTooLarge},
      {"TooLongBodyAnnounced", headers(1, post() + Fields{{"content-length", "1001"}}, kEndHeaders),
       Say::kStatus, 413},
  };
  return kRules;
}

CodecOptions small_options() {
  CodecOptions o;
  o.http2.streams_max = 4;
  o.http1.headers_max = 16;
  o.http1.header_bytes_max = 2048;
  o.http1.uri_bytes_max = 512;
  o.http1.body_bytes_max = 1000;
  return o;
}

class Rules : public ::testing::TestWithParam<std::tuple<Rule, size_t>> {};

TEST_P(Rules, Hold) {
  const auto& [rule, step] = GetParam();
  Http2Connection server(Role::kServer, small_options());
  server.feed(hello());
  server.sink.take();
  if (step == 0)
    server.feed(rule.bytes);
  else
    server.feed_in_steps(rule.bytes, step);
  std::vector<Frame> said = parse(server.sink.take());
  EXPECT_EQ(server.accepted(), static_cast<size_t>(rule.accepted));
  const Frame* answer = nullptr;
  for (const Frame& f : said)
    if (f.type == (rule.say == Say::kReset ? kRstStream : rule.say == Say::kGoAway ? kGoAway : kHeaders) && !answer) answer = &f;
  if (rule.say == Say::kNothing) {
    for (const Frame& f : said) {
      EXPECT_NE(f.type, kRstStream);
      EXPECT_NE(f.type, kGoAway);
    }
    EXPECT_EQ(server.events.broken, 0);
    return;
  }
  ASSERT_NE(answer, nullptr);
  switch (rule.say) {
    case Say::kReset:
      EXPECT_EQ(answer->id, rule.stream);
      EXPECT_EQ(answer->word(0), rule.code);
      EXPECT_EQ(server.events.broken, 0);
      break;
    case Say::kGoAway:
      EXPECT_EQ(answer->word(4), rule.code);
      EXPECT_EQ(server.events.broken, 1);
      EXPECT_EQ(server.events.broken_reason, Reason::kMalformed);
      break;
    default:
      if (rule.code == 400) {
        EXPECT_EQ(status_of(*answer), "400");
      }
      EXPECT_EQ(server.events.refused.size(), 1u);
      break;
  }
  if (rule.reset != Reason::kNone) {
    ASSERT_GE(server.accepted(), 1u);
    EXPECT_EQ(server.at(0).reset_reason, rule.reset);
  }
  // The connection goes on after anything but a connection error.
  if (rule.say == Say::kReset || rule.say == Say::kStatus) {
    for (size_t i = 0; i < server.accepted(); ++i) server.at(i).release();
    server.sink.take();
    size_t before = server.accepted();
    server.feed(headers(101, get("/after")));
    EXPECT_EQ(server.accepted(), before + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Http2, Rules, ::testing::Combine(::testing::ValuesIn(rules()), ::testing::Values(0, 1, 7)),
                         [](const auto& param) {
                           return std::string(std::get<0>(param.param).name) + "_" +
                                  std::to_string(std::get<1>(param.param));
                         });

}  // namespace
}  // namespace dragoman
