// Triple: the fields of both its faces, and what its HTTP face looks like on both versions of HTTP.
#include "protocols/http/triple.h"

#include <gtest/gtest.h>

#include "protocols/http/grpc.h"
#include "protocols/http1/http1_codec.h"
#include "tests/http2/http2_support.h"

namespace dragoman::testing {
namespace {

using Fields = std::vector<std::pair<std::string_view, std::string_view>>;

std::unique_ptr<Head> request(std::string_view method, std::string_view path, const Fields& fields) {
  auto head = std::make_unique<Head>();
  head->is_http = true;
  head->method = method;
  head->path = path;
  for (const auto& [name, value] : fields) head->headers.add(name, value);
  return head;
}

TEST(TripleTest, WhatIsOfTheHttpFace) {
  struct Row {
    std::string_view method, path, type;
    std::string_view service, rpc_method;  // empty: it is not
    std::string_view field = {};
  };
  const std::string_view json = "application/json";
  for (const Row& row : {
           Row{"POST", "/org.acme.Hello/say", json, "org.acme.Hello", "say"},
           Row{"POST", "/org.acme.Hello/say?x=/y", "Application/JSON; charset=utf-8", "org.acme.Hello",
               "say"},
           Row{"POST", "/demo.v1.Order_2/Get$1", "application/proto", "demo.v1.Order_2", "Get$1"},
           Row{"POST", "/a.B/c", "application/connect+json", "a.B", "c"},
           Row{"POST", "/a.B/c", "application/connect+proto", "a.B", "c"},
           // Things that look a little like it.
           Row{"GET", "/a.B/c", json, "", ""},
           Row{"POST", "/a.B/c", "text/plain", "", ""},
           Row{"POST", "/a.B/c", "application/jsonx", "", ""},
           Row{"POST", "/a.B/c", "", "", ""},
           Row{"POST", "/v1.0/users", json, "", ""},
           Row{"POST", "/api.v1/users", json, "", ""},
           Row{"POST", "/Users/list", json, "", ""},
           Row{"POST", "/.Hello/say", json, "", ""},
           Row{"POST", "/a..Hello/say", json, "", ""},
           Row{"POST", "/a.Hello/", json, "", ""},
           Row{"POST", "/a.Hello/3", json, "", ""},
           Row{"POST", "/x/a.Hello/say", json, "", ""},
           Row{"POST", "/a.Hello", json, "", ""},
           Row{"POST", "/", json, "", ""},
           Row{"POST", "*", json, "", ""},
           // With a field of Triple any name will do.
           Row{"POST", "/Hello/say", json, "Hello", "say", "tri-protocol-version"},
           Row{"POST", "/v1/3", "application/proto", "v1", "3", "TRI-Service-Group"},
           Row{"POST", "//say", json, "", "", "tri-service-version"},
           Row{"POST", "/x/Hello/say", json, "", "", "tri-service-version"},
           Row{"POST", "/Hello/say", "text/plain", "", "", "tri-service-timeout"},
           Row{"GET", "/Hello/say", json, "", "", "tri-protocol-version"},
       }) {
    Fields fields;
    if (!row.type.empty()) fields.emplace_back("content-type", row.type);
    if (!row.field.empty()) fields.emplace_back(row.field, "1");
    auto head = request(row.method, row.path, fields);
    triple::read_request(*head);
    const std::string what =
        std::string(row.method) + " " + std::string(row.path) + " " + std::string(row.type);
    EXPECT_EQ(head->triple, !row.service.empty()) << what;
    EXPECT_EQ(head->service, row.service) << what;
    EXPECT_EQ(head->rpc_method, row.rpc_method) << what;
    EXPECT_FALSE(head->grpc) << what;
  }
}

TEST(TripleTest, GroupVersionAndDeadlineOfBothFaces) {
  for (const char* type : {"application/grpc+proto", "application/json"}) {
    auto named = request("POST", "/a.Hello/say",
                         {{"content-type", type},
                          {"tri-service-group", "g1"},
                          {"tri-service-version", "1.2.3"},
                          {"tri-service-timeout", "750"}});
    grpc::read_request(*named);
    EXPECT_EQ(named->service, "a.Hello");
    EXPECT_EQ(named->rpc_method, "say");
    EXPECT_EQ(named->group, "g1");
    EXPECT_EQ(named->version, "1.2.3");
    EXPECT_EQ(named->timeout_ms, 750);
    auto bare = request("POST", "/a.Hello/say", {{"content-type", type}});
    grpc::read_request(*bare);
    EXPECT_EQ(bare->group, "");
    EXPECT_EQ(bare->version, "1.0.0") << "what a call without one means";
    EXPECT_EQ(bare->timeout_ms, -1);
  }
  auto both =
      request("POST", "/a.Hello/say",
              {{"content-type", "application/grpc"}, {"tri-service-timeout", "750"}, {"grpc-timeout", "2S"}});
  grpc::read_request(*both);
  EXPECT_EQ(both->timeout_ms, 2000);
  for (const char* bad : {"", "x", "-5", "5x", "99999999999999999999"}) {
    auto head =
        request("POST", "/a.Hello/say", {{"content-type", "application/json"}, {"tri-service-timeout", bad}});
    triple::read_request(*head);
    EXPECT_EQ(head->timeout_ms, -1) << bad;
  }
  auto other = request("POST", "/upload", {{"tri-service-timeout", "750"}});
  triple::read_request(*other);
  EXPECT_EQ(other->timeout_ms, 750);
  EXPECT_EQ(other->version, "") << "no service, no version";
}

LocalReply reply_of(Reason reason, std::string_view text) {
  LocalReply reply;
  reply.reason = reason;
  reply.text = text;
  return reply;
}

TEST(TripleTest, FailuresAreJson) {
  Arena arena;
  EXPECT_EQ(triple::make_reply(reply_of(Reason::kNoHealthyUpstream, "nobody"), arena).text,
            R"({"status":14,"message":"nobody"})");
  EXPECT_EQ(triple::make_reply(reply_of(Reason::kUpstreamTimeout, ""), arena).text,
            R"({"status":4,"message":""})");
  const std::string odd("a\"b\\c\n\x01 \xc3\xa9");
  const LocalReply reply = triple::make_reply(reply_of(Reason::kNoRoute, odd), arena);
  EXPECT_EQ(reply.text, "{\"status\":12,\"message\":\"a\\u0022b\\u005cc\\u000a\\u0001 \xc3\xa9\"}");
  EXPECT_EQ(reply.content_type, "application/json");
  EXPECT_EQ(reply.status(), 404u);
  LocalReply configured = reply_of(Reason::kDirectResponse, "<p>");
  configured.content_type = "text/html";
  EXPECT_EQ(triple::make_reply(configured, arena).text, "<p>");
  EXPECT_EQ(triple::make_reply(configured, arena).content_type, "text/html");
}

TEST(TripleTest, OverHttp2) {
  Http2Pair pair;
  Call call("POST", "/a.Hello/say");
  call.head.headers.add("content-type", "application/json");
  call.head.headers.add("tri-service-timeout", "750");
  call.head.timeout_ms = 400;  // what is left
  ASSERT_EQ(pair.start(call, true), Reason::kNone);
  auto& request = pair.server.at(0);
  EXPECT_EQ(request.head->service, "a.Hello");
  EXPECT_EQ(request.head->timeout_ms, 400);
  request.exchange->send_reply(*request.head, reply_of(Reason::kConnectFailure, "refused"));
  request.release();
  pair.pump();
  EXPECT_EQ(call.answer.head->status, 503u);
  EXPECT_EQ(call.answer.head->header("content-type"), "application/json");
  EXPECT_EQ(call.answer.body, R"({"status":14,"message":"refused"})");
}

std::string envelope(std::string_view message, uint8_t flags = 0) {
  const auto n = static_cast<uint32_t>(message.size());
  std::string text{static_cast<char>(flags)};
  for (int shift : {24, 16, 8, 0}) text += static_cast<char>(n >> shift);
  return text + std::string(message);
}

const std::string_view kLostEnd = R"({"error":{"status":14,"message":"lost"}})";

struct InsideRow {
  std::string_view type;
  std::string sent;  // of the answer before it fails
  bool said;         // the client hears why
};
std::vector<InsideRow> inside_rows() {
  const std::string message = envelope("{}");
  return {
      {"application/connect+json", "", true},
      {"application/connect+json", message, true},
      {"application/connect+proto", message + envelope("") + envelope(std::string(70'000, 'x')), true},
      {"application/connect+json", message + message.substr(0, 1), false},
      {"application/connect+json", message + message.substr(0, 4), false},
      {"application/connect+json", message + message.substr(0, 5), false},
      {"application/connect+json", message + message.substr(0, 6), false},
      {"application/connect+json", message + envelope("{}", 2), false},
      // A single message can't be taken back.
      {"application/json", "", false},
      {"application/json", "{", false},
      {"application/proto", "", false},
  };
}

// Before its head an answer of ours is JSON under a status (OverHttp2, OverHttp1); after it streams can still say why.
TEST(TripleTest, AFailureInsideAnAnswerOverHttp2) {
  for (const InsideRow& row : inside_rows()) {
    for (size_t step : {size_t{1}, size_t{1} << 20}) {
      Http2Pair pair;
      Call call("POST", "/a.Hello/say");
      call.head.headers.add("content-type", row.type);
      ASSERT_EQ(pair.start(call, true), Reason::kNone);
      auto& request = pair.server.at(0);
      ASSERT_TRUE(request.head->triple);
      Head head;
      head.headers.add("content-type", row.type);
      pair.answer(0, 200, false, head);
      for (size_t i = 0; i < row.sent.size(); i += step)
        request.exchange->send_body(bytes_of(row.sent.substr(i, step)), false);
      request.exchange->send_reply(*request.head, reply_of(Reason::kUpstreamTruncated, "lost"));
      request.release();
      pair.pump();
      const std::string what = std::string(row.type) + " after " + std::to_string(row.sent.size());
      EXPECT_EQ(call.answer.ended, row.said) << what;
      EXPECT_EQ(call.answer.was_reset, !row.said) << what;
      if (row.said) {
        EXPECT_EQ(call.answer.body, row.sent + envelope(kLostEnd, 2)) << what;
      }
    }
  }
}

FakeConnection http1(Role role) {
  return FakeConnection([role](ByteSink& out, ConnectionEvents& events) {
    return make_http1_codec(Protocol{}, role, out, events, CodecOptions{});
  });
}

TEST(TripleTest, OverHttp1) {
  FakeConnection server = http1(Role::kServer);
  server.feed(
      "POST /a.Hello/say HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTRI-Service-Group: g1\r\n"
      "TRI-Service-Timeout: 750\r\nContent-Length: 2\r\n\r\n{}");
  auto& request = server.at(0);
  EXPECT_EQ(request.head->service, "a.Hello");
  EXPECT_EQ(request.head->group, "g1");
  EXPECT_EQ(request.head->timeout_ms, 750);
  request.head->timeout_ms = 400;  // as the engine does with what is left
  FakeConnection client = http1(Role::kClient);
  FakeMessageSink answer;
  answer.exchange = client.codec->open(answer);
  ASSERT_TRUE(answer.exchange);
  EXPECT_EQ(answer.exchange->send_head(*request.head, false), Reason::kNone);
  const std::string passed_on = client.sink.take();
  EXPECT_NE(passed_on.find("TRI-Service-Timeout: 400\r\n"), std::string::npos) << passed_on;
  answer.release();
  request.exchange->send_reply(*request.head, reply_of(Reason::kUpstreamTimeout, "late"));
  request.release();
  const std::string wire = server.sink.take();
  EXPECT_TRUE(wire.starts_with("HTTP/1.1 504 Gateway Timeout\r\ncontent-type: application/json\r\n")) << wire;
  EXPECT_TRUE(wire.ends_with("\r\n\r\n{\"status\":4,\"message\":\"late\"}")) << wire;
}

TEST(TripleTest, AFailureInsideAnAnswerOverHttp1) {
  for (const InsideRow& row : inside_rows()) {
    FakeConnection server = http1(Role::kServer);
    server.feed("POST /a.Hello/say HTTP/1.1\r\nHost: a\r\nContent-Type: " + std::string(row.type) +
                "\r\nContent-Length: 0\r\n\r\n");
    auto& request = server.at(0);
    Head head;
    head.is_http = true;
    head.is_request = false;
    head.status = 200;
    head.headers.add("content-type", row.type);
    ASSERT_EQ(request.exchange->send_head(head, false), Reason::kNone);
    if (!row.sent.empty()) request.exchange->send_body(bytes_of(row.sent), false);
    request.exchange->send_reply(*request.head, reply_of(Reason::kUpstreamTruncated, "lost"));
    request.release();
    const std::string wire = server.sink.take();
    const std::string what = std::string(row.type) + " after " + std::to_string(row.sent.size());
    EXPECT_EQ(wire.ends_with(envelope(kLostEnd, 2) + "\r\n0\r\n\r\n"), row.said) << what;
    EXPECT_EQ(server.events.broken, row.said ? 0 : 1)
        << what << ": cut short, so that it does not look complete";
  }
}

}  // namespace
}  // namespace dragoman::testing
