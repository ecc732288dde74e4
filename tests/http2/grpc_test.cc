// gRPC on HTTP/2: fields, deadlines, results, and answers of our own.
#include "protocols/http/grpc.h"

#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"

namespace dragoman {
namespace {

using testing::bytes_of;
using testing::Call;
using testing::Http2Connection;
using testing::Http2Pair;

struct GrpcCall : Call {
  explicit GrpcCall(std::string_view path = "/a.b.Echo/Say") : Call("POST", path) {
    head.headers.add("content-type", "application/grpc+proto");
    head.te_trailers = true;
    head.grpc = true;
  }
};

TEST(GrpcTest, ContentTypes) {
  for (const char* yes : {"application/grpc", "application/grpc+proto", "application/grpc;x=y", "Application/GRPC+json"})
    EXPECT_TRUE(grpc::is_content_type(yes)) << yes;
  for (const char* no : {"", "application/grp", "application/grpc-web", "application/grpc-web+proto", "application/json"})
    EXPECT_FALSE(grpc::is_content_type(no)) << no;
}

TEST(GrpcTest, TimeoutsAreReadAndWritten) {
  struct Row {
    const char* text;
    int64_t ms;
  };
  for (Row row : {Row{"773m", 773}, Row{"2H", 7'200'000}, Row{"3M", 180'000}, Row{"10S", 10'000}, Row{"1500u", 2},
                  Row{"1n", 1}, Row{"0m", 1}, Row{"00000001S", 1000}, Row{"99999999H", grpc::kTimeoutMaxMs},
                  Row{"", -1}, Row{"m", -1}, Row{"5", -1}, Row{"-1m", -1}, Row{"+1m", -1}, Row{"1x", -1}, Row{"1 m", -1},
                  Row{"1.5S", -1}, Row{"123456789m", -1}})
    EXPECT_EQ(grpc::parse_timeout(row.text), row.ms) << row.text;
  Arena arena;
  EXPECT_EQ(grpc::write_timeout(0, arena), "0m");
  EXPECT_EQ(grpc::write_timeout(99'999'999, arena), "99999999m");
  EXPECT_EQ(grpc::write_timeout(100'000'001, arena), "100001S");
  EXPECT_EQ(grpc::write_timeout(INT64_MAX, arena), "31536000S");
}

TEST(GrpcTest, StatusesAndMessages) {
  EXPECT_EQ(grpc::parse_status("0"), 0);
  EXPECT_EQ(grpc::parse_status("16"), 16);
  for (const char* bad : {"", "17", "-1", "x", "1x", "999999999999999999999"}) EXPECT_EQ(grpc::parse_status(bad), 2) << bad;
  EXPECT_EQ(grpc::outcome_of_status(0), Outcome::kOk);
  EXPECT_EQ(grpc::outcome_of_status(5), Outcome::kClientError);
  EXPECT_EQ(grpc::outcome_of_status(14), Outcome::kUnavailable);
  Arena arena;
  EXPECT_EQ(grpc::encode_message("plain text", arena), "plain text");
  EXPECT_EQ(grpc::encode_message("50% \n\xc3\xa9", arena), "50%25 %0A%C3%A9");
}

TEST(GrpcTest, ARequestNamesServiceMethodAndDeadline) {
  Http2Pair pair;
  GrpcCall call;
  call.head.headers.add("grpc-timeout", "2S");
  ASSERT_EQ(pair.start(call, true), Reason::kNone);
  const Head& head = *pair.server.at(0).head;
  EXPECT_TRUE(head.grpc);
  EXPECT_EQ(head.service, "a.b.Echo");
  EXPECT_EQ(head.rpc_method, "Say");
  EXPECT_EQ(head.method, "POST");
  EXPECT_EQ(head.timeout_ms, 2000);
}

TEST(GrpcTest, OtherRequestsAreNotCalls) {
  Http2Pair pair;
  Call call("POST", "/a.b.Echo/Say");
  call.head.headers.add("content-type", "application/octet-stream");
  call.head.headers.add("grpc-timeout", "2S");
  ASSERT_EQ(pair.start(call, true), Reason::kNone);
  const Head& head = *pair.server.at(0).head;
  EXPECT_FALSE(head.grpc);
  EXPECT_TRUE(head.service.empty());
  EXPECT_EQ(head.timeout_ms, -1);
}

TEST(GrpcTest, WhatIsLeftOfADeadlineIsPassedOn) {
  Http2Pair pair;
  GrpcCall call;
  call.head.headers.add("grpc-timeout", "2S");
  call.head.headers.add("tri-service-timeout", "2000");
  call.head.timeout_ms = 1234;
  ASSERT_EQ(pair.start(call, true), Reason::kNone);
  EXPECT_EQ(pair.server.at(0).head->header("grpc-timeout"), "1234m");
  EXPECT_EQ(pair.server.at(0).head->header("tri-service-timeout"), "1234");
}

TEST(GrpcTest, AMalformedDeadlineIsTheBackendsToJudge) {
  Http2Pair pair;
  GrpcCall call;
  call.head.headers.add("grpc-timeout", "soon");
  ASSERT_EQ(pair.start(call, true), Reason::kNone);
  EXPECT_EQ(pair.server.at(0).head->timeout_ms, -1);
  EXPECT_EQ(pair.server.at(0).head->header("grpc-timeout"), "soon");
}

TEST(GrpcTest, TriplesDeadlineCountsWithoutGrpc) {
  Http2Pair pair;
  Call call("POST", "/a.b.Echo/Say");
  call.head.headers.add("content-type", "application/json");
  call.head.headers.add("tri-service-timeout", "750");
  ASSERT_EQ(pair.start(call, true), Reason::kNone);
  EXPECT_EQ(pair.server.at(0).head->timeout_ms, 750);
}

LocalReply reply_of(Reason reason, uint32_t http_status = 0) {
  LocalReply reply;
  reply.reason = reason;
  reply.http_status = http_status;
  reply.text = "50%";
  return reply;
}

TEST(GrpcTest, OurOwnAnswersAreTrailersOnly) {
  struct Row {
    LocalReply reply;
    const char* status;
  };
  for (const Row& row : {Row{reply_of(Reason::kNoRoute), "12"}, Row{reply_of(Reason::kNoHealthyUpstream), "14"},
                         Row{reply_of(Reason::kUpstreamTimeout), "4"}, Row{reply_of(Reason::kRateLimited), "8"},
                         Row{reply_of(Reason::kDenied), "7"}, Row{reply_of(Reason::kDenied, 401), "16"}}) {
    Http2Pair pair;
    GrpcCall call;
    ASSERT_EQ(pair.start(call, false), Reason::kNone);
    auto& request = pair.server.at(0);
    request.exchange->send_reply(*request.head, row.reply);
    request.release();
    pair.pump();
    ASSERT_EQ(call.answer.heads, 1) << row.status;
    EXPECT_TRUE(call.answer.ended);
    EXPECT_EQ(call.answer.head->status, 200u);
    EXPECT_EQ(call.answer.head->header("content-type"), "application/grpc");
    EXPECT_EQ(call.answer.head->header("grpc-status"), row.status);
    EXPECT_EQ(call.answer.head->header("grpc-message"), "50%25");
    EXPECT_EQ(std::to_string(call.answer.head->rpc_status), row.status);
  }
}

TEST(GrpcTest, AFailureInsideAnAnswerComesInItsTrailers) {
  Http2Pair pair;
  GrpcCall call;
  ASSERT_EQ(pair.start(call, false), Reason::kNone);
  Head head;
  head.headers.add("content-type", "application/grpc");
  pair.answer(0, 200, false, head);
  auto& request = pair.server.at(0);
  request.exchange->send_body(bytes_of("part"), false);
  request.exchange->send_reply(*request.head, reply_of(Reason::kUpstreamReset));
  request.release();
  pair.pump();
  EXPECT_EQ(call.answer.body, "part");
  EXPECT_TRUE(call.answer.ended);
  ASSERT_EQ(call.answer.trailers.size(), 2u);
  EXPECT_EQ(call.answer.trailers[0].first, "grpc-status");
  EXPECT_EQ(call.answer.trailers[0].second, "14");
  EXPECT_EQ(call.answer.head->outcome, Outcome::kUnavailable);
}

TEST(GrpcTest, TheResultStandsInTrailersOrIsUnknown) {
  for (const char* status : {"5", "0", "many", ""}) {
    Http2Pair pair;
    GrpcCall call;
    ASSERT_EQ(pair.start(call, true), Reason::kNone);
    Head head;
    pair.answer(0, 200, false, head);
    EXPECT_EQ(call.answer.head->rpc_status, -1);
    Head end;
    if (*status) end.headers.add("grpc-status", status);
    pair.server.at(0).exchange->send_trailers(end.headers);
    pair.pump();
    EXPECT_TRUE(call.answer.ended);
    int32_t expected = *status ? grpc::parse_status(status) : 2;
    EXPECT_EQ(call.answer.head->rpc_status, expected) << status;
    EXPECT_EQ(call.answer.head->outcome, grpc::outcome_of_status(expected)) << status;
  }
}

TEST(GrpcTest, WhatTheBackendSaysOfRepeats) {
  struct Row {
    const char* status;
    const char* pushback;
    int64_t after_ms;
  };
  for (const Row& row :
       {Row{"14", "250", 250}, Row{"14", "0", 0}, Row{"14", "-1", Head::kNoRepeat},
        Row{"14", "soon", Head::kNoRepeat}, Row{"14", "", Head::kNoRepeat},
        Row{"14", "123456789", Head::kNoRepeat}, Row{"14", nullptr, -1}, Row{"0", "250", -1}}) {
    for (bool in_head : {false, true}) {
      Arena arena;
      Head answer;
      answer.status = 200;
      HeaderList trailers(arena);
      HeaderList& where = in_head ? answer.headers : trailers;
      where.add("grpc-status", row.status);
      if (row.pushback) where.add("grpc-retry-pushback-ms", row.pushback);
      grpc::read_result(answer, trailers);
      EXPECT_EQ(answer.repeat_after_ms, row.after_ms)
          << row.status << " " << (row.pushback ? row.pushback : "-");
    }
  }
}

TEST(GrpcTest, TrailingMetadataMayHaveAnyName) {
  for (bool grpc : {true, false}) {
    Http2Pair pair;
    GrpcCall call;
    call.head.grpc = grpc;
    ASSERT_EQ(pair.start(call, true), Reason::kNone);
    Head head;
    pair.answer(0, 200, false, head);
    Head end;
    for (const char* name : {"grpc-status", "x-request-id", "traceparent", "retry-after"}) end.headers.add(name, "0");
    pair.server.at(0).exchange->send_trailers(end.headers);
    pair.pump();
    EXPECT_EQ(call.answer.trailers.size(), grpc ? 4u : 1u);
  }
}

TEST(GrpcTest, AnAnswerInHttpsWordsKeepsThem) {
  Http2Pair pair;
  GrpcCall call;
  ASSERT_EQ(pair.start(call, true), Reason::kNone);
  Head head;
  pair.answer(0, 503, true, head);
  EXPECT_EQ(call.answer.head->rpc_status, -1);
  EXPECT_EQ(call.answer.head->outcome, Outcome::kOverloaded);
}

// gRPC's own table of what the codes of RST_STREAM mean. What is the server's verdict on the call comes as trailers; the rest are failures
// whose reason stands for the status, so that they can be repeated and count against the endpoint.
TEST(GrpcTest, WhatTheCodeOfAResetMeans) {
  namespace h2 = testing::h2;
  struct Row {
    const char* name;
    uint32_t code;
    uint32_t status;
    Reason reason;  // of the failure; kNone: trailers
    int64_t timeout_ms = -1;
    uint64_t after_ms = 0;
  };
  const Reason broken = Reason::kUpstreamProtocolError;
  for (const Row& row : {
           Row{"NO_ERROR", 0, 13, broken},
           Row{"PROTOCOL_ERROR", 1, 13, broken},
           Row{"INTERNAL_ERROR", 2, 13, broken},
           Row{"FLOW_CONTROL_ERROR", 3, 13, broken},
           Row{"SETTINGS_TIMEOUT", 4, 13, broken},
           Row{"STREAM_CLOSED", 5, 13, broken},
           Row{"FRAME_SIZE_ERROR", 6, 13, broken},
           Row{"REFUSED_STREAM", 7, 14, Reason::kUpstreamRefused},
           Row{"CANCEL", 8, 1, Reason::kNone},
           Row{"CANCEL long before the deadline", 8, 1, Reason::kNone, 1000, 900},
           Row{"CANCEL just before the deadline", 8, 4, Reason::kNone, 1000, 990},
           Row{"CANCEL behind the deadline", 8, 4, Reason::kNone, 1000, 1001},
           Row{"COMPRESSION_ERROR", 9, 13, broken},
           Row{"CONNECT_ERROR", 10, 13, broken},
           Row{"ENHANCE_YOUR_CALM", 11, 8, Reason::kNone},
           Row{"INADEQUATE_SECURITY", 12, 7, Reason::kNone},
           Row{"HTTP_1_1_REQUIRED", 13, 13, broken},
           Row{"a code that nobody knows (Dubbo has them)", 500, 13, broken},
       }) {
    for (bool begun : {false, true}) {
      SCOPED_TRACE(row.name);
      Http2Connection client(Role::kClient);
      client.feed(h2::settings());
      GrpcCall call;
      call.head.timeout_ms = row.timeout_ms;
      ASSERT_TRUE(call.open(*client.codec));
      ASSERT_EQ(call.exchange->send_head(call.head, true), Reason::kNone);
      client.sink.take();
      if (begun)
        client.feed(
            h2::headers(1, {{":status", "200"}, {"content-type", "application/grpc"}}, h2::kEndHeaders));
      client.events.now += row.after_ms;
      client.feed(h2::rst(1, row.code));
      if (row.reason == Reason::kNone) {
        EXPECT_TRUE(call.answer.ended);
        EXPECT_FALSE(call.answer.was_reset);
        EXPECT_EQ(call.answer.head->rpc_status, static_cast<int32_t>(row.status));
        if (begun) {
          ASSERT_FALSE(call.answer.trailers.empty());
          EXPECT_EQ(call.answer.trailers[0].second, std::to_string(row.status));
        } else {
          EXPECT_EQ(call.answer.head->header("grpc-status"), std::to_string(row.status));
        }
        continue;
      }
      ASSERT_TRUE(call.answer.was_reset);
      // Once an answer has begun, nothing says that the call was not touched.
      const Reason reason = begun && row.code == 7 ? Reason::kUpstreamReset : row.reason;
      EXPECT_EQ(call.answer.reset_reason, reason);
      EXPECT_EQ(reply_of(reason).grpc_status(), row.status);
    }
  }
}

TEST(GrpcTest, OtherRequestsKnowNoneOfThat) {
  namespace h2 = testing::h2;
  struct Row {
    uint32_t code;
    Reason reason;
  };
  for (const Row& row :
       {Row{0, Reason::kUpstreamReset}, Row{1, Reason::kUpstreamProtocolError},
        Row{2, Reason::kUpstreamReset}, Row{7, Reason::kUpstreamRefused}, Row{8, Reason::kUpstreamReset},
        Row{11, Reason::kUpstreamReset}, Row{12, Reason::kUpstreamReset}, Row{500, Reason::kUpstreamReset}}) {
    Http2Connection client(Role::kClient);
    client.feed(h2::settings());
    Call call("GET", "/");
    ASSERT_TRUE(call.open(*client.codec));
    ASSERT_EQ(call.exchange->send_head(call.head, true), Reason::kNone);
    client.feed(h2::rst(1, row.code));
    EXPECT_TRUE(call.answer.was_reset);
    EXPECT_EQ(call.answer.reset_reason, row.reason) << row.code;
  }
}

}  // namespace
}  // namespace dragoman
