// Relayed connections that are observed, through the real server: metrics tell, and the bytes flow on whatever they are.
#include "tests/support/scripted_backend.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {
namespace {

using namespace std::string_literals;

/// Reads as many bytes as each question has, and answers it.
ScriptedBackend::Script dialogue(std::string first, std::vector<std::pair<std::string, std::string>> talk) {
  return [first, talk](TestSocket& s) {
    s.send(first);
    for (const auto& [question, answer] : talk)
      if (s.read(question.size()) == question) s.send(answer);
    s.wait_end();
  };
}

class ObservedRelay : public ServerTest {
 protected:
  TestServer& serve(const std::string& protocol, const std::string& backend, const std::string& more = "") {
    return start(
        fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: $PROTOCOL, cluster: out$MORE}
clusters:
  - {name: out, endpoints: ['$BACK']}
)",
                {{"PROTOCOL", protocol}, {"BACK", backend}, {"MORE", more.empty() ? more : ", " + more}}));
  }
  ::testing::AssertionResult counted(double times, std::string_view family, std::string_view label,
                                     std::string_view value) {
    const std::string what = std::string(label) + "=\"" + std::string(value) + "\"";
    return server().becomes(times, family, {"listener=\"in\"", "cluster=\"out\"", what});
  }
};

const std::string kPing = "*1\r\n$4\r\nPING\r\n";
const std::string kGreeting =
    "\x4a\0\0\0\x0a"
    "8.0.35\0\7\0\0\0"
    "12345678\0\xff\xf7\x21\2\0\0\0\x15\0\0\0\0\0\0\0\0\0\0"
    "123456789012\0mysql_native_password\0"s;
const std::string kLogin = "\x3d\0\0\1\0\x82\0\0\0\0\0\1\x21"s + std::string(23, '\0') + "app\0\x14"s +
                           std::string(20, 'x') + "db\0"s + "\0"s;
const std::string kLoginOk = "\7\0\0\2\0\0\0\2\0\0\0"s;
const std::string kQuery = "\x09\0\0\0\3SELECT 1"s;
const std::string kError = "\x09\0\0\1\xff\x28\4#42000"s;

TEST_F(ObservedRelay, RedisCommandsAndErrorsAreCounted) {
  ScriptedBackend backend(dialogue("", {{kPing + kPing, "+PONG\r\n-LOADING wait\r\n"}}));
  serve("redis", backend.address());
  TestSocket s = connect();
  s.send_in_pieces(kPing + kPing, 3);
  EXPECT_EQ(s.read(22), "+PONG\r\n-LOADING wait\r\n");
  EXPECT_TRUE(counted(2, "dragoman_redis_commands_total", "command", "ping"));
  EXPECT_TRUE(counted(2, "dragoman_redis_command_duration_seconds_count", "command", "ping"));
  EXPECT_TRUE(counted(1, "dragoman_redis_errors_total", "error", "LOADING"));
  EXPECT_TRUE(counted(0, "dragoman_redis_commands_total", "command", "other"));
  s.close();
  EXPECT_TRUE(server().becomes(1, "dragoman_requests_total", {"protocol=\"redis\"", "outcome=\"ok\""}));
}

TEST_F(ObservedRelay, MysqlCommandsAndErrorsAreCounted) {
  ScriptedBackend backend(dialogue(kGreeting, {{kLogin, kLoginOk}, {kQuery, kError}}));
  serve("mysql", backend.address());
  TestSocket s = connect();
  EXPECT_EQ(s.read(kGreeting.size()), kGreeting);
  s.send(kLogin);
  EXPECT_EQ(s.read(kLoginOk.size()), kLoginOk);
  s.send_in_pieces(kQuery, 1);
  EXPECT_EQ(s.read(kError.size()), kError);
  EXPECT_TRUE(counted(1, "dragoman_mysql_commands_total", "command", "connect"));
  EXPECT_TRUE(counted(1, "dragoman_mysql_commands_total", "command", "query"));
  EXPECT_TRUE(counted(1, "dragoman_mysql_command_duration_seconds_count", "command", "query"));
  EXPECT_TRUE(counted(1, "dragoman_mysql_errors_total", "error", "parse_error"));
}

TEST_F(ObservedRelay, WhatIsNotUnderstoodFlowsOn) {
  ScriptedBackend backend(scripts::echo());
  for (const char* protocol : {"redis", "mysql"}) {
    serve(protocol, backend.address());
    TestSocket s = connect();
    std::string bytes = "$nonsense";
    for (int i = 0; i < 300'000; ++i) bytes += static_cast<char>(i * 2654435761u >> 11);
    s.send(bytes.substr(0, 9));
    EXPECT_EQ(s.read(9), bytes.substr(0, 9));
    s.send(bytes.substr(9));
    EXPECT_TRUE(s.read(bytes.size() - 9) == bytes.substr(9)) << protocol;
    EXPECT_TRUE(counted(1, "dragoman_l4_observers_stopped_total", "protocol", protocol));
    s.finish();
    EXPECT_EQ(s.wait_end(), End::kEof);
    EXPECT_EQ(server().metric("dragoman_requests_total", {"outcome=\"ok\""}), 1);
  }
}

TEST_F(ObservedRelay, TheBoundOnCommandsThatWaitIsConfigured) {
  ScriptedBackend backend(dialogue("", {{kPing + kPing + kPing, "+PONG\r\n+PONG\r\n+PONG\r\n"}}));
  serve("redis", backend.address(), "observe: {outstanding_max: 2}");
  TestSocket s = connect();
  s.send(kPing + kPing + kPing);
  EXPECT_EQ(s.read(21), "+PONG\r\n+PONG\r\n+PONG\r\n");
  EXPECT_TRUE(counted(1, "dragoman_l4_observers_stopped_total", "reason", "outstanding"));
  EXPECT_TRUE(counted(3, "dragoman_redis_commands_total", "command", "ping"));
  EXPECT_TRUE(counted(0, "dragoman_redis_command_duration_seconds_count", "command", "ping"));
}

/// What clients read whose connection gets no server, before its orderly end.
TEST_F(ObservedRelay, ClientsWithoutAServerAreToldSo) {
  RefusingPort nobody;
  struct Row {
    const char *protocol, *first;
    std::string answer;
  };
  const Row rows[] = {
      {"redis", kPing.c_str(), "-CLUSTERDOWN mesh: no healthy upstream\r\n"},
      {"redis", "", "-CLUSTERDOWN mesh: no healthy upstream\r\n"},
      {"mysql", "", "\x22\0\0\0\xff\x10\4#08004mesh: no healthy upstream"s},
      {"tcp", "hello", ""},
  };
  for (const Row& row : rows) {
    serve(row.protocol, nobody.address());
    TestSocket s = connect();
    s.send(row.first);
    EXPECT_EQ(s.read_to_end(), row.answer) << row.protocol;
    if (!row.answer.empty()) {
      EXPECT_EQ(s.end(), End::kEof) << row.protocol;
    }
    EXPECT_TRUE(server().becomes(1, "dragoman_requests_total", {"outcome=\"unavailable\""}));
    EXPECT_EQ(server().metric("dragoman_listener_sent_bytes_total"), static_cast<double>(row.answer.size()));
  }
}

TEST_F(ObservedRelay, ClientsOfAServerThatDoesNotAnswerAreToldSo) {
  UnansweredPort nobody;
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: redis, cluster: out}
clusters:
  - {name: out, endpoints: ['$BACK'], connect_timeout: 100ms}
)",
                {{"BACK", nobody.address()}}));
  TestSocket s = connect();
  s.send(kPing);
  EXPECT_EQ(s.read_to_end(), "-ERR mesh: upstream timeout\r\n");
  EXPECT_EQ(s.end(), End::kEof);
}

TEST_F(ObservedRelay, ClientsOverTheLimitAreToldSo) {
  ScriptedBackend backend(scripts::echo());
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: redis, cluster: out}
clusters:
  - {name: out, endpoints: ['$BACK'], limits: {connections: 1}}
)",
                {{"BACK", backend.address()}}));
  TestSocket first = connect();
  first.send(kPing);
  EXPECT_EQ(first.read(kPing.size()), kPing);
  TestSocket second = connect();
  second.send(kPing);
  EXPECT_EQ(second.read_to_end(), "-ERR mesh: upstream overflow\r\n");
  EXPECT_EQ(second.end(), End::kEof);
  EXPECT_TRUE(counted(1, "dragoman_requests_total", "outcome", "overloaded"));
  // The first one does not notice.
  first.send(kPing);
  EXPECT_EQ(first.read(kPing.size()), kPing);
}

TEST_F(ObservedRelay, RedisIsDetectedAndSilenceIsMysql) {
  ScriptedBackend cache(dialogue("", {{kPing, "+PONG\r\n"}}));
  ScriptedBackend db(dialogue(kGreeting, {{kLogin, kLoginOk}}));
  ScriptedBackend web(scripts::http("hello"));
  start(fill_in(R"(
listeners:
  - name: in
    address: 127.0.0.1:0
    protocol: auto
    detect: {timeout: 100ms, silence: mysql}
    protocols:
      - {protocol: http1, cluster: web}
      - {protocol: redis, cluster: cache}
      - {protocol: mysql, cluster: db}
clusters:
  - {name: cache, endpoints: ['$CACHE']}
  - {name: db, endpoints: ['$DB']}
  - {name: web, endpoints: ['$WEB']}
)",
                {{"CACHE", cache.address()}, {"DB", db.address()}, {"WEB", web.address()}}));
  TestSocket redis = connect();
  redis.send_in_pieces(kPing, 1);
  EXPECT_EQ(redis.read(7), "+PONG\r\n");
  TestSocket mysql = connect();
  EXPECT_EQ(mysql.read(kGreeting.size()), kGreeting);
  mysql.send(kLogin);
  EXPECT_EQ(mysql.read(kLoginOk.size()), kLoginOk);
  TestSocket http = connect();
  http.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(http.read_response().body, "hello");
  EXPECT_TRUE(
      server().becomes(1, "dragoman_redis_commands_total", {"cluster=\"cache\"", "command=\"ping\""}));
  EXPECT_TRUE(server().becomes(1, "dragoman_redis_command_duration_seconds_count",
                               {"cluster=\"cache\"", "command=\"ping\""}));
  EXPECT_TRUE(server().becomes(1, "dragoman_mysql_command_duration_seconds_count",
                               {"cluster=\"db\"", "command=\"connect\""}));
  EXPECT_EQ(server().metric("dragoman_detect_connections_total", {"protocol=\"redis\""}), 1);
  EXPECT_EQ(server().metric("dragoman_detect_connections_total", {"protocol=\"silent\""}), 1);
  EXPECT_EQ(server().metric("dragoman_l4_observers_stopped_total"), 0);
}

}  // namespace
}  // namespace dragoman::testing
