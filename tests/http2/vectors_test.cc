// Frames captured from real peers, and attacks, as the protocol notes' index says what they must lead to.
#include <fstream>

#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"
#include "tests/support/source_dir.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;

std::string vector_file(const std::string& name) {
  std::ifstream in((source_dir() + "/tests/vectors/http2/") + name + ".hex");
  EXPECT_TRUE(in) << name;
  std::string out, line;
  int high = -1;
  while (std::getline(in, line)) {
    if (line.starts_with('#')) continue;
    for (char c : line) {
      int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (v < 0) continue;
      if (high < 0) {
        high = v;
      } else {
        out += static_cast<char>(high << 4 | v);
        high = -1;
      }
    }
  }
  return out;
}

struct BadVector {
  const char* name;
  uint8_t type;
  uint32_t code;
};

class Bad : public ::testing::TestWithParam<BadVector> {};

TEST_P(Bad, IsAnsweredAsTheIndexSays) {
  const BadVector& v = GetParam();
  CodecOptions options;
  options.http2.resets_burst = 40;
  Http2Connection server(Role::kServer, options);
  server.events.then_exchange = [](FakeMessageSink& s) {
    s.then_reset = [&s](Reason) { s.release(); };
  };
  std::string bytes = vector_file(v.name);
  if (!bytes.starts_with("PRI")) server.feed(hello());
  server.sink.take();
  server.feed(bytes);
  const Frame* found = nullptr;
  auto said = parse(server.sink.take());
  for (const Frame& f : said)
    if (f.type == v.type && !found) found = &f;
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->word(v.type == kGoAway ? 4 : 0), v.code);
  EXPECT_EQ(server.events.broken, v.type == kGoAway ? 1 : 0);
}

INSTANTIATE_TEST_SUITE_P(
    Http2Vectors, Bad,
    ::testing::Values(BadVector{"bad-h2-cl-mismatch", kRstStream, kProtocolError},
                      BadVector{"bad-h2-connection-header", kRstStream, kProtocolError},
                      BadVector{"bad-h2-continuation-flood", kGoAway, kEnhanceYourCalm},
                      BadVector{"bad-h2-crlf-in-value", kRstStream, kProtocolError},
                      BadVector{"bad-h2-even-stream", kGoAway, kProtocolError},
                      BadVector{"bad-h2-frame-over-16384", kGoAway, kFrameSizeError},
                      BadVector{"bad-h2-headers-stream-0", kGoAway, kProtocolError},
                      BadVector{"bad-h2-rapid-reset", kGoAway, kEnhanceYourCalm},
                      BadVector{"bad-h2-upper-case-header", kRstStream, kProtocolError}),
    [](const auto& p) {
      std::string s = p.param.name;
      std::replace(s.begin(), s.end(), '-', '_');
      return s;
    });

struct GoodRequest {
  const char* name;
  const char* path;
};

class Captured : public ::testing::TestWithParam<GoodRequest> {};

TEST_P(Captured, RequestsAreReadAtEverySplit) {
  std::string bytes = vector_file(GetParam().name);
  for (size_t step = 1; step <= bytes.size(); step += step < 40 ? 1 : 17) {
    Http2Connection server(Role::kServer);
    server.feed_in_steps(bytes, step);
    EXPECT_EQ(server.events.broken, 0) << server.events.broken_detail;
    ASSERT_EQ(server.accepted(), 1u);
    EXPECT_EQ(server.at(0).head->path, GetParam().path);
  }
}

INSTANTIATE_TEST_SUITE_P(Http2Vectors, Captured,
                         ::testing::Values(GoodRequest{"h2-prior-knowledge-curl-c2s", "/h2"},
                                           GoodRequest{"h2-nghttp-priority-c2s", "/nghttp"}),
                         [](const auto& p) { return std::string(p.param.path).substr(1); });

// The answers were given to stream 1 of curl; our client's first stream has the same id.
TEST(Http2Vectors, ACapturedAnswerIsRead) {
  std::string bytes = vector_file("h2-prior-knowledge-curl-s2c");
  size_t settings_end = 15;
  for (size_t step : {1u, 3u, 9u, 100u}) {
    Http2Connection client(Role::kClient);
    client.feed(bytes.substr(0, settings_end));
    EXPECT_GT(client.codec->capacity(), 0u);
    Call call("GET", "/h2");
    ASSERT_TRUE(call.open(*client.codec));
    ASSERT_EQ(call.exchange->send_head(call.head, true), Reason::kNone);
    client.sink.take();
    client.feed_in_steps(bytes.substr(settings_end), step);
    EXPECT_EQ(client.events.broken, 0) << client.events.broken_detail;
    EXPECT_EQ(call.answer.head->status, 200u);
    EXPECT_EQ(call.answer.head->header("content-type"), "text/plain");
    EXPECT_EQ(call.answer.body.size(), 3u);
    ASSERT_EQ(call.answer.trailers.size(), 1u);
    EXPECT_EQ(call.answer.trailers[0], (std::pair<std::string, std::string>{"x-sum", "3"}));
    EXPECT_TRUE(call.answer.ended);
  }
}

// nghttp made its request on stream 13, after streams that only were priorities.
TEST(Http2Vectors, ACapturedAnswerOnALaterStream) {
  const std::string bytes = vector_file("h2-nghttp-priority-s2c");
  Http2Connection client(Role::kClient);
  client.feed(bytes.substr(0, 15));
  std::vector<std::unique_ptr<Call>> calls;
  for (int id = 1; id <= 13; id += 2) {
    calls.push_back(std::make_unique<Call>("GET", "/nghttp"));
    ASSERT_TRUE(calls.back()->open(*client.codec));
    ASSERT_EQ(calls.back()->exchange->send_head(calls.back()->head, true), Reason::kNone);
  }
  client.sink.take();
  client.feed_in_steps(bytes.substr(15), 4);
  EXPECT_EQ(client.events.broken, 0) << client.events.broken_detail;
  const FakeMessageSink& answer = calls.back()->answer;
  EXPECT_EQ(answer.head->status, 200u);
  EXPECT_EQ(answer.body.size(), 3u);
  EXPECT_EQ(answer.trailers, (std::vector<std::pair<std::string, std::string>>{{"x-sum", "3"}}));
  EXPECT_TRUE(answer.ended);
  EXPECT_EQ(client.events.goaways, 2);
  for (size_t i = 0; i + 1 < calls.size(); ++i) EXPECT_EQ(calls[i]->answer.heads, 0) << i;
}

TEST(Http2Vectors, ACapturedAnswerToAnExtendedConnect) {
  const std::string bytes = vector_file("h2-extended-connect-s2c");
  Http2Connection client(Role::kClient);
  client.feed(bytes.substr(0, 15));
  Call call("GET", "/chat");
  call.head.upgrade = true;
  call.head.upgrade_token = "websocket";
  ASSERT_TRUE(call.open(*client.codec));
  ASSERT_EQ(call.exchange->send_head(call.head, false), Reason::kNone);
  client.sink.take();
  client.feed_in_steps(bytes.substr(15), 5);
  EXPECT_EQ(client.events.broken, 0) << client.events.broken_detail;
  EXPECT_EQ(call.answer.head->status, 101u);
  EXPECT_TRUE(call.answer.head->upgrade);
  EXPECT_EQ(call.answer.body.size(), 11u);
  EXPECT_TRUE(call.answer.ended);
}

TEST(Http2Vectors, ACapturedExtendedConnect) {
  Http2Connection server(Role::kServer);
  server.feed(vector_file("h2-extended-connect-c2s"));
  EXPECT_EQ(server.events.broken, 0) << server.events.broken_detail;
  ASSERT_EQ(server.accepted(), 1u);
  EXPECT_TRUE(server.at(0).head->upgrade);
  EXPECT_EQ(server.at(0).head->upgrade_token, "websocket");
}

TEST(Http2Vectors, SingleFrames) {
  Http2Connection server(Role::kServer);
  server.feed(hello());
  server.sink.take();
  server.feed(vector_file("h2-ping"));
  auto said = parse(server.sink.take());
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(frame(said[0].type, said[0].flags, said[0].id, said[0].payload), vector_file("h2-ping-ack"));
  server.feed(vector_file("h2-settings-empty"));
  said = parse(server.sink.take());
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(frame(said[0].type, said[0].flags, said[0].id, said[0].payload), vector_file("h2-settings-ack"));
  server.feed(headers(1, get()) + vector_file("h2-rst-cancel"));
  EXPECT_EQ(server.at(0).reset_reason, Reason::kDownstreamReset);

  for (const char* name : {"h2-rst-refused", "h2-goaway-graceful-1", "h2-goaway-graceful-2"}) {
    Http2Connection client(Role::kClient);
    client.feed(settings());
    Call call("GET", "/");
    ASSERT_TRUE(call.open(*client.codec));
    call.exchange->send_head(call.head, true);
    client.sink.take();
    client.feed(vector_file(name));
    bool refused = std::string_view(name) == "h2-rst-refused";
    EXPECT_EQ(call.answer.was_reset, refused);
    EXPECT_EQ(client.events.goaways, refused ? 0 : 1);
    if (refused) {
      EXPECT_EQ(call.answer.reset_reason, Reason::kUpstreamRefused);
    } else {
      EXPECT_EQ(client.codec->capacity(), 0u);
    }
  }
}

}  // namespace
}  // namespace dragoman
