#include <gtest/gtest.h>
#include <rapidjson/document.h>

#include <algorithm>

#include "proxy/observe/access_log.h"

namespace dragoman {
namespace {

AccessRecord sample() {
  AccessRecord r;
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
      {"100%% of %METHOD%%METHOD%", "100% of GETGET\n"},
      {"no field", "no field\n"},
  };
  for (const auto& c : cases) EXPECT_EQ(text(c.line_template).line(sample()), c.line) << c.line_template;
}

TEST(AccessLogFormat, EveryFieldCompilesAndFitsItsBound) {
  for (std::string_view name : access_log_fields()) {
    const AccessLogFormat format = text("%" + std::string(name) + "%");
    EXPECT_NE(format.line(sample()), "-\n") << name;
    EXPECT_LE(format.line(sample()).size(), format.line_bytes_max()) << name;
  }
}

TEST(AccessLogFormat, TemplateErrors) {
  struct {
    const char* line_template;
    const char* error;
  } const cases[] = {
      {"%METHID%", "unknown field %METHID% at column 1; did you mean %METHOD%?"},
      {"x %method% y", "unknown field %method% at column 3; did you mean %METHOD%?"},
      {"%REQ(:METHOD)%ZZZZ", "unknown field %REQ(:METHOD)% at column 1"},
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
  EXPECT_EQ(escaped, 13u);
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
