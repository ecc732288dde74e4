#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "protocols/head.h"
#include "proxy/observe/access_log.h"
#include "tests/support/source_dir.h"

namespace dragoman {
namespace {

/// What a client asked and what it was answered, with every attribute.
struct Heads {
  Heads() {
    request.is_http = true;
    request.scheme = "https";
    request.rpc_method = "hello";
    request.group = "blue";
    request.version = "1.0";
    request.sni = "web.example";
    request.headers.add("User-Agent", "curl/8");
    request.headers.add("x-request-id", "abc-1");
    request.headers.add("x-forwarded-for", "192.0.2.7");
    request.headers.add("X-Tenant", "t\"1");
    request.frame.id_type = DRAGOMAN_ID_BE;
    request.frame.id_offset = 2;
    request.frame.id_len = 4;
    request.wire = wire;
    response.is_http = true;
    response.status = 504;
    response.headers.add("content-type", "text/plain");
  }
  const uint8_t wire[8] = {0xff, 0xff, 0, 0, 1, 2, 0xff, 0xff};
  Head request, response;
};

AccessRecord sample() {
  static const Heads heads;
  AccessRecord r;
  r.request = &heads.request;
  r.response = &heads.response;
  r.start_us = 1706745599'123456;
  r.duration_us = 12'345;
  r.upstream_duration_us = 9'007;
  r.listener = "web";
  r.route = "api-route";
  r.cluster = "api";
  r.endpoint = "10.0.0.2:9000";
  r.protocol = "http1";
  r.peer = "10.0.0.1:4711";
  r.peer_identity = "spiffe://td/web";
  r.method = "GET";
  r.path = "/v1/things?x=1";
  r.authority = "example.com";
  r.service = "com.x.Hello:1.0";
  r.user_agent = "curl/8";
  r.request_id = "abc-1";
  r.x_forwarded_for = "192.0.2.7";
  r.status = 504;
  r.outcome = Outcome::kTimeout;
  r.reason = Reason::kUpstreamTimeout;
  r.bytes_in = 17;
  r.bytes_out = 18'446'744'073'709'551'615u;
  r.attempts = 3;
  r.one_way = true;
  return r;
}

AccessLogFormat text(std::string_view line_template = {}) {
  auto format = AccessLogFormat::compile(AccessLogKind::kText, line_template);
  EXPECT_TRUE(format.has_value()) << (format ? "" : format.error());
  return *format;
}

TEST(AccessLogFormat, AStatusThatIsATextStandsInThePlaceOfTheNumber) {
  auto text = AccessLogFormat::compile(AccessLogKind::kText, "%STATUS% %OUTCOME%");
  auto json = AccessLogFormat::compile(AccessLogKind::kJson, "");
  ASSERT_TRUE(text && json);
  AccessRecord r;
  r.status_text = "E\"104";
  EXPECT_EQ(text->line(r), "E\\\"104 ok\n");
  EXPECT_NE(json->line(r).find("\"status\":\"E\\\"104\","), std::string::npos) << json->line(r);
  r.status_text = {};
  r.status = 7;
  EXPECT_EQ(text->line(r), "7 ok\n");
  r.status = -3;  // as Tars has them
  EXPECT_EQ(text->line(r), "-3 ok\n");
  EXPECT_NE(json->line(r).find("\"status\":-3,"), std::string::npos) << json->line(r);
}

TEST(AccessLogFormat, DefaultLine) {
  EXPECT_EQ(
      text().line(sample()),
      "[2024-01-31T23:59:59.123Z] \"GET /v1/things?x=1 http1\" 504 UT timeout 17 18446744073709551615 12.345 "
      "9.007 3 \"10.0.0.1:4711\" \"192.0.2.7\" \"curl/8\" \"abc-1\" \"example.com\" \"com.x.Hello:1.0\" web "
      "api-route api \"10.0.0.2:9000\"\n");
  EXPECT_EQ(
      text().line(AccessRecord()),
      "[1970-01-01T00:00:00.000Z] \"- - -\" - - ok 0 0 0.000 - 0 \"-\" \"-\" \"-\" \"-\" \"-\" \"-\" - - - "
      "\"-\"\n");
}

TEST(AccessLogFormat, Fields) {
  struct {
    const char* line_template;
    const char* line;
  } const cases[] = {
      {"%START%", "2024-01-31T23:59:59.123Z\n"},
      {"%DURATION_US% %DURATION_MS%", "12345 12.345\n"},
      {"%UPSTREAM_DURATION_US% %UPSTREAM_DURATION_MS%", "9007 9.007\n"},
      {"%LISTENER%/%ROUTE%/%CLUSTER%/%ENDPOINT%", "web/api-route/api/10.0.0.2:9000\n"},
      {"%PROTOCOL% %PEER% %METHOD% %PATH%", "http1 10.0.0.1:4711 GET /v1/things?x=1\n"},
      {"%AUTHORITY% %SERVICE% %USER_AGENT%", "example.com com.x.Hello:1.0 curl/8\n"},
      {"%REQUEST_ID% %X_FORWARDED_FOR%", "abc-1 192.0.2.7\n"},
      {"%STATUS% %OUTCOME% %REASON% %FLAGS%", "504 timeout upstream_timeout UT\n"},
      {"%BYTES_IN% %ATTEMPTS% %ONE_WAY%", "17 3 true\n"},
      {"%SCHEME% %RPC_METHOD% %GROUP% %VERSION% %REQUESTED_SERVER_NAME%",
       "https hello blue 1.0 web.example\n"},
      {"%RPC_ID% %NATIVE_STATUS% %HTTP_PROTOCOL%", "258 504 http1\n"},
      {"%REQ(x-tenant)% %REQ(X-TENANT):1% %REQ(none)% %RESP(Content-Type)% %RESP(none)%",
       "t\\\"1 t - text/plain -\n"},
      {"%REQ(none?x-request-id)% %REQ(x-request-id?none)% %REQ(none?nothing)%", "abc-1 abc-1 -\n"},
      {"%REQ(:METHOD)% %REQ(:path)% %REQ(:Authority)% %REQ(:SCHEME)%",
       "GET /v1/things?x=1 example.com https\n"},
      {"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DURATION%", "504 UT upstream_timeout 12\n"},
      {"%START_TIME% %BYTES_RECEIVED% %UPSTREAM_HOST% %UPSTREAM_CLUSTER%",
       "2024-01-31T23:59:59.123Z 17 10.0.0.2:9000 api\n"},
      {"%UPSTREAM_LOCAL_ADDRESS%", "-\n"},
      {"%PEER_REASON%", "-\n"},
      {"100%% of %METHOD%%METHOD%", "100% of GETGET\n"},
      {"no field", "no field\n"},
  };
  for (const auto& c : cases) EXPECT_EQ(text(c.line_template).line(sample()), c.line) << c.line_template;
}

TEST(AccessLogFormat, EveryFieldCompilesAndFitsItsBound) {
  AccessRecord record = sample();
  record.reason = Reason::kTlsPeerExpired;
  record.peer_reason = "connect_failure";
  for (std::string_view name : access_log_fields()) {
    const AccessLogFormat format = text("%" + std::string(name) + "%");
    EXPECT_NE(format.line(record), "-\n") << name;
    EXPECT_LE(format.line(record).size(), format.line_bytes_max()) << name;
  }
}

TEST(AccessLogFormat, TemplateErrors) {
  struct {
    const char* line_template;
    const char* error;
  } const cases[] = {
      {"%METHID%", "unknown field %METHID% at column 1; did you mean %METHOD%?"},
      {"x %method% y", "unknown field %method% at column 3; did you mean %METHOD%?"},
      {"%BYTES_SENTT%", "unknown field %BYTES_SENTT% at column 1; did you mean %BYTES_SENT%?"},
      {"ab%REQ(x%", "no ) in %REQ(x% at column 3"},
      {"%REQ()%", "no name of a header in %REQ()% at column 1"},
      {"%REQ(a b)%", "no name of a header in %REQ(a b)% at column 1"},
      {"%REQ(a?)%", "no name of a header in %REQ(a?)% at column 1"},
      {"%REQ(:nosuch)%", "no name of a header in %REQ(:nosuch)% at column 1"},
      {"%RESP(:path)%", "no name of a header in %RESP(:path)% at column 1"},
      {"%REQ(a):%", "no length behind ) in %REQ(a):% at column 1"},
      {"%REQ(a):0%", "no length behind ) in %REQ(a):0% at column 1"},
      {"%REQ(a)5%", "no length behind ) in %REQ(a)5% at column 1"},
      {"50% off", "% without its end at column 3; %% is a percent sign"},
      {"%", "% without its end at column 1; %% is a percent sign"},
      {"a\nb", "control character at column 2"},
      {"a\tb", "control character at column 2"},
  };
  for (const auto& c : cases) {
    const auto format = AccessLogFormat::compile(AccessLogKind::kText, c.line_template);
    ASSERT_FALSE(format.has_value()) << c.line_template;
    EXPECT_EQ(format.error(), std::string("access log template: ") + c.error);
  }
  std::string many;
  for (int i = 0; i < 65; ++i) many += "%PATH%";
  EXPECT_FALSE(AccessLogFormat::compile(AccessLogKind::kText, many).has_value());
  EXPECT_TRUE(AccessLogFormat::compile(AccessLogKind::kText, many.substr(6)).has_value());
  EXPECT_FALSE(AccessLogFormat::compile(AccessLogKind::kText, std::string(4097, 'x')).has_value());
  EXPECT_FALSE(AccessLogFormat::compile(AccessLogKind::kJson, "%PATH%").has_value());
}

TEST(AccessLogFormat, EnvoysLine) {
  const AccessLogFormat format = text(kEnvoyAccessLogTemplate);
  AccessRecord record = sample();
  record.http_version = LoggedHttp::k2;
  EXPECT_EQ(format.line(record),
            "[2024-01-31T23:59:59.123Z] \"GET /v1/things?x=1 HTTP/2\" 504 UT 17 18446744073709551615 12 9 "
            "\"192.0.2.7\" \"curl/8\" \"abc-1\" \"example.com\" \"10.0.0.2:9000\"\n");
  // Nothing was found: answered here, without an endpoint.
  Head request;
  request.is_http = true;
  AccessRecord none;
  none.request = &request;
  none.http_version = LoggedHttp::k11;
  none.method = "GET";
  none.path = "/";
  none.status = 404;
  none.reason = Reason::kNoRoute;
  EXPECT_EQ(format.line(none),
            "[1970-01-01T00:00:00.000Z] \"GET / HTTP/1.1\" 404 NR 0 0 0 - \"-\" \"-\" \"-\" \"-\" \"-\"\n");
  EXPECT_TRUE(format.wants_request_headers());
  EXPECT_FALSE(format.wants_response_headers());
}

TEST(AccessLogFormat, IstiosLine) {
  AccessRecord record = sample();
  record.http_version = LoggedHttp::k11;
  EXPECT_EQ(text(kIstioAccessLogTemplate).line(record),
            "[2024-01-31T23:59:59.123Z] \"GET /v1/things?x=1 HTTP/1.1\" 504 UT upstream_timeout - \"-\" 17 "
            "18446744073709551615 12 9 \"192.0.2.7\" \"curl/8\" \"abc-1\" \"example.com\" \"10.0.0.2:9000\" "
            "api - - "
            "10.0.0.1:4711 web.example api-route\n");
  record.reason = Reason::kTlsPeerExpired;
  EXPECT_NE(text(kIstioAccessLogTemplate).line(record).find(" UF tls_peer_expired - \"tls_peer_expired\" "),
            std::string::npos);
  record.reason = Reason::kNone;
  EXPECT_NE(text(kIstioAccessLogTemplate).line(record).find(" 504 - via_upstream - \"-\" "),
            std::string::npos);
}

TEST(AccessLogFormat, CodesOfHttpAndOfOthers) {
  const AccessLogFormat format = text("%RESPONSE_CODE% %STATUS%");
  Head http, grpc, rpc, answer;
  http.is_http = grpc.is_http = answer.is_http = grpc.grpc = true;
  answer.status = 200;
  AccessRecord record;
  record.status = 14;
  record.request = &grpc;
  EXPECT_EQ(format.line(record), "200 14\n") << "answered here: the call's status is in the trailers";
  record.response = &answer;
  EXPECT_EQ(format.line(record), "200 14\n");
  record.response = nullptr;
  record.request = &rpc;
  record.status = -3;
  EXPECT_EQ(format.line(record), "-3 -3\n");
  record.status_text = "OK-ish";
  EXPECT_EQ(format.line(record), "OK-ish OK-ish\n");
}

TEST(AccessLogFormat, IdsOfRequests) {
  const AccessLogFormat format = text("%RPC_ID%");
  const uint8_t wire[] = {1, 2, 3, 4, 5, 6, 7, 8, 0xab, 0xcd};
  Head head;
  AccessRecord record;
  EXPECT_EQ(format.line(record), "-\n");
  record.request = &head;
  EXPECT_EQ(format.line(record), "-\n") << "no id on the wire";
  head.wire = wire;
  const struct {
    uint32_t type, offset, length;
    const char* line;
  } cases[] = {
      {DRAGOMAN_ID_BE, 0, 2, "258\n"},
      {DRAGOMAN_ID_LE, 0, 2, "513\n"},
      {DRAGOMAN_ID_BE, 0, 8, "72623859790382856\n"},
      {DRAGOMAN_ID_BYTES, 6, 4, "0708abcd\n"},
      {DRAGOMAN_ID_CODED, 0, 0, "77\n"},
      {DRAGOMAN_ID_BE, 9, 4, "-\n"},
  };
  for (const auto& c : cases) {
    head.frame.id_type = c.type;
    head.frame.id_offset = c.offset;
    head.frame.id_len = c.length;
    head.frame.id = 77;
    EXPECT_EQ(format.line(record), c.line) << c.type;
  }
}

TEST(AccessLogFormat, FurtherFields) {
  const AccessLogFormat::Members members = {{"tenant", "%REQ(x-tenant)%"},
                                            {"status_again", "%STATUS%"},
                                            {"both", "a\"%REQ(x-tenant)%/%DURATION%%%"},
                                            {"id", "%RPC_ID%"}};
  auto json = AccessLogFormat::compile(AccessLogKind::kJson, {}, members);
  ASSERT_TRUE(json) << json.error();
  rapidjson::Document document;
  const std::string line = json->line(sample());
  document.Parse(line.c_str());
  ASSERT_FALSE(document.HasParseError()) << line;
  EXPECT_STREQ(document["tenant"].GetString(), "t\"1");
  EXPECT_EQ(document["status_again"].GetInt(), 504);
  EXPECT_STREQ(document["both"].GetString(), "a\"t\"1/12%");
  EXPECT_EQ(document["id"].GetInt(), 258);
  auto text = AccessLogFormat::compile(AccessLogKind::kText, "%STATUS%", members);
  ASSERT_TRUE(text) << text.error();
  EXPECT_EQ(text->line(sample()),
            "504 tenant=\"t\\\"1\" status_again=\"504\" both=\"a\"t\\\"1/12%\" id=\"258\"\n");
  // Empty values keep a JSON line whole.
  document.Parse(json->line(AccessRecord()).c_str());
  ASSERT_FALSE(document.HasParseError()) << json->line(AccessRecord());
  EXPECT_FALSE(AccessLogFormat::compile(AccessLogKind::kJson, {}, {{"status", "%STATUS%"}})) << "it is there";
  EXPECT_FALSE(AccessLogFormat::compile(AccessLogKind::kJson, {}, {{"a b", "%STATUS%"}}));
  EXPECT_EQ(AccessLogFormat::compile(AccessLogKind::kJson, {}, {{"a", "%NO%"}}).error(),
            "a: access log template: unknown field %NO% at column 1");
}

TEST(AccessLogFormat, TheReferenceHasEveryFieldReasonAndReadyLine) {
  std::ifstream file(source_dir() + "/proxy/observe/README.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string page = text.str();
  for (std::string_view name : access_log_fields())
    EXPECT_NE(page.find("`" + std::string(name) + "`"), std::string::npos) << name;
  for (int i = 0; i < kReasonCount; ++i) {
    const auto reason = static_cast<Reason>(i);
    const ReasonRow& row = reason_row(reason);
    const std::string begin = "| `" + std::string(row.flag) + "` | `" + std::string(row.label) + "` | `" +
                              std::string(envoy_flag(reason)) + "` | " +
                              std::string(outcome_name(row.outcome)) + " | ";
    EXPECT_NE(page.find(begin), std::string::npos) << begin;
  }
  for (std::string_view line : {kDefaultAccessLogTemplate, kEnvoyAccessLogTemplate, kIstioAccessLogTemplate})
    EXPECT_NE(page.find(line), std::string::npos) << line;
}

// Whatever a peer sends stays inside its field: one line, no quote of its own, printable ASCII.
TEST(AccessLogFormat, TextValuesCannotBreakOut) {
  const AccessLogFormat format = text("\"%PATH%\" %STATUS%");
  for (int byte = 0; byte < 256; ++byte) {
    for (size_t offset : {0, 3, 7, 8, 12}) {  // inside and outside of the eight-byte steps
      std::string path(16, 'p');
      path[offset] = static_cast<char>(byte);
      AccessRecord record = sample();
      record.path = path;
      std::string shown(1, static_cast<char>(byte));
      if (byte == '"' || byte == '\\') {
        shown = std::string("\\") + static_cast<char>(byte);
      } else if (byte < 0x20 || byte > 0x7e) {
        char hex[8];
        snprintf(hex, sizeof hex, "\\x%02x", byte);
        shown = hex;
      }
      std::string expected = path;
      expected.replace(offset, 1, shown);
      EXPECT_EQ(format.line(record), "\"" + expected + "\" 504\n") << byte << " at " << offset;
    }
  }
}

TEST(AccessLogFormat, EveryTextFieldIsEscaped) {
  const std::string evil = "a\r\n[2024] \"GET / \\ \x7f";
  AccessRecord record = sample();
  for (auto member :
       {&AccessRecord::listener, &AccessRecord::route, &AccessRecord::cluster, &AccessRecord::endpoint,
        &AccessRecord::protocol, &AccessRecord::peer, &AccessRecord::method, &AccessRecord::path,
        &AccessRecord::authority, &AccessRecord::service, &AccessRecord::user_agent,
        &AccessRecord::request_id, &AccessRecord::x_forwarded_for}) {
    record.*member = evil;
  }
  std::string all;
  for (std::string_view name : access_log_fields()) all += "%" + std::string(name) + "%|";
  const std::string line = text(all).line(record);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(line.find('\r'), std::string::npos);
  const std::string shown = "a\\x0d\\x0a[2024] \\\"GET / \\\\ \\x7f|";
  size_t escaped = 0;
  for (size_t at = 0; (at = line.find(shown, at)) != std::string::npos; ++at) ++escaped;
  EXPECT_EQ(escaped, 14u);  // the protocol is there twice
  for (size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '"') {
      EXPECT_EQ(line[i - 1], '\\') << i;
    }
  }
}

TEST(AccessLogFormat, LongValuesAreCutNotLost) {
  for (size_t size : {2040u, 2047u, 2048u, 2049u, 100000u}) {
    const std::string path(size, 'p');
    AccessRecord record = sample();
    record.path = path;
    const AccessLogFormat format = text("%PATH%");
    const std::string expected = size <= 2048 ? path + "\n" : std::string(2048, 'p') + "...\n";
    EXPECT_EQ(format.line(record), expected) << size;
  }
  // An escape is never cut in half.
  std::string path(2047, 'p');
  path += "\n...";
  AccessRecord record = sample();
  record.path = path;
  EXPECT_EQ(text("%PATH%").line(record), std::string(2047, 'p') + "...\n");
}

TEST(AccessLogFormat, NoLineIsLongerThanItsBound) {
  const std::string newlines(100000, '\n'), quotes(100000, '"'), high(100000, '\xff');
  for (AccessLogKind kind : {AccessLogKind::kText, AccessLogKind::kJson}) {
    const AccessLogFormat format = *AccessLogFormat::compile(kind);
    for (const std::string& evil : {newlines, quotes, high}) {
      AccessRecord record = sample();
      record.listener = record.route = record.cluster = record.endpoint = record.protocol = record.peer =
          record.method = record.path = record.authority = record.service = record.user_agent =
              record.request_id = record.x_forwarded_for = evil;
      record.start_us = INT64_MAX;
      record.duration_us = record.upstream_duration_us = record.bytes_in = UINT64_MAX;
      record.status = INT32_MIN;
      record.attempts = UINT32_MAX;
      const std::string line = format.line(record);  // ASan watches the end
      EXPECT_LE(line.size(), format.line_bytes_max());
      EXPECT_EQ(line.find('\n'), line.size() - 1);
    }
  }
}

TEST(AccessLogFormat, JsonLine) {
  const AccessLogFormat format = *AccessLogFormat::compile(AccessLogKind::kJson);
  AccessRecord record = sample();
  record.path = "/a\"b\\c\n\r\t\x01\x7f\xc3\xa9";
  const std::string line = format.line(record);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  rapidjson::Document d;
  d.Parse<rapidjson::kParseValidateEncodingFlag>(line.c_str());
  ASSERT_FALSE(d.HasParseError()) << line;
  EXPECT_STREQ(d["start"].GetString(), "2024-01-31T23:59:59.123Z");
  EXPECT_EQ(d["duration_us"].GetInt(), 12345);
  EXPECT_EQ(d["upstream_duration_us"].GetInt(), 9007);
  const std::pair<const char*, const char*> strings[] = {{"listener", "web"},
                                                         {"route", "api-route"},
                                                         {"cluster", "api"},
                                                         {"endpoint", "10.0.0.2:9000"},
                                                         {"protocol", "http1"},
                                                         {"peer", "10.0.0.1:4711"},
                                                         {"peer_identity", "spiffe://td/web"},
                                                         {"method", "GET"},
                                                         {"path", "/a\"b\\c\n\r\t\x01\x7f\xc3\xa9"},
                                                         {"authority", "example.com"},
                                                         {"service", "com.x.Hello:1.0"},
                                                         {"user_agent", "curl/8"},
                                                         {"request_id", "abc-1"},
                                                         {"x_forwarded_for", "192.0.2.7"},
                                                         {"outcome", "timeout"},
                                                         {"reason", "upstream_timeout"},
                                                         {"flags", "UT"}};
  for (const auto& [key, value] : strings) {
    ASSERT_TRUE(d.HasMember(key)) << key;
    EXPECT_STREQ(d[key].GetString(), value) << key;
  }
  EXPECT_EQ(d["status"].GetInt(), 504);
  EXPECT_EQ(d["bytes_in"].GetInt(), 17);
  EXPECT_EQ(d["bytes_out"].GetUint64(), UINT64_MAX);
  EXPECT_EQ(d["attempts"].GetInt(), 3);
  EXPECT_TRUE(d["one_way"].GetBool());
  EXPECT_EQ(d.MemberCount(), 25u);
}

TEST(AccessLogFormat, JsonIsAlwaysValidUtf8) {
  const AccessLogFormat format = *AccessLogFormat::compile(AccessLogKind::kJson);
  struct {
    std::string_view raw, shown;
  } const cases[] = {
      {"\xff", "\xef\xbf\xbd"},
      {"a\xc3", "a\xef\xbf\xbd"},
      {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                  // overlong
      {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // surrogate
      {"\xe0\x9f\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // overlong
      {"\xf0\x8f\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
      {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // above U+10FFFF
      {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
      {"\xe2\x82\xac\xf0\x9f\x90\x89", "\xe2\x82\xac\xf0\x9f\x90\x89"},
  };
  for (const auto& c : cases) {
    AccessRecord record = sample();
    record.path = c.raw;
    rapidjson::Document d;
    d.Parse<rapidjson::kParseValidateEncodingFlag>(format.line(record).c_str());
    ASSERT_FALSE(d.HasParseError()) << format.line(record);
    EXPECT_EQ(std::string_view(d["path"].GetString()), c.shown);
  }
}

TEST(AccessLogFormat, TheDateCacheFollowsTheClock) {
  const AccessLogFormat format = text("%START%");
  AccessLogFormat::SecondCache cache;
  char line[64];
  const std::pair<int64_t, const char*> times[] = {{999'999, "1970-01-01T00:00:00.999Z\n"},
                                                   {1'000'000, "1970-01-01T00:00:01.000Z\n"},
                                                   {0, "1970-01-01T00:00:00.000Z\n"},
                                                   {-1, "1969-12-31T23:59:59.999Z\n"}};
  for (const auto& [us, expected] : times) {
    AccessRecord record;
    record.start_us = us;
    char* end = format.append(record, line, cache);
    EXPECT_EQ(std::string(line, end), expected);
  }
}

}  // namespace
}  // namespace dragoman
