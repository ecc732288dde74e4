// The admin listener: every page, its POST rule, the Host check, redaction, and bad clients.
#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/server/server_support.h"

namespace dragoman::testing {
namespace {

class Admin : public ServerTest {
 protected:
  void SetUp() override {
    start("listeners:\n"
          "  - name: in\n"
          "    address: 127.0.0.1:0\n"
          "    protocol: http1\n"
          "    routes: web\n"
          "    filters: [{type: headers, request: {set: {authorization: 'Bearer top-secret', x-plain: visible}}}]\n"
          "routes: [{name: web, routes: [{match: {prefix: /}, cluster: c}]}]\n"
          "clusters: [{name: c, endpoints: ['127.0.0.1:9', '127.0.0.1:10']}]\n");
  }
  HttpMessage get(const std::string& target, const std::string& host = "localhost") {
    return server().admin("GET", target, host);
  }
};

TEST_F(Admin, EveryPageAnswersGetAndRefusesPost) {
  const std::pair<const char*, const char*> pages[] = {
      {"/", "GET  /ready"},
      {"/help", "POST /reload"},
      {"/ready", "ready"},
      {"/live", "live"},
      {"/stats", "dragoman_workers"},
      {"/stats/prometheus", "# TYPE dragoman_requests_total counter"},
      {"/metrics", "# TYPE dragoman_requests_total counter"},
      {"/clusters", "127.0.0.1:9"},
      {"/clusters?format=json", "\"name\""},
      {"/listeners", "in::127.0.0.1:"},
      {"/listeners?format=json", "\"protocol\""},
      {"/config_dump", "\"listeners\""},
      {"/server_info", "\"serving\""},
  };
  for (const auto& [target, expected] : pages) {
    SCOPED_TRACE(target);
    HttpMessage page = get(target);
    EXPECT_EQ(page.status, 200);
    EXPECT_NE(page.body.find(expected), std::string::npos) << page.body.substr(0, 500);
    const bool json = page.body.starts_with("{");
    EXPECT_EQ(page.header("content-type").find("application/json") != std::string::npos, json);
    EXPECT_EQ(server().admin("POST", target).status, 405);
    EXPECT_EQ(server().admin("DELETE", target).status, 405);
    HttpMessage head = server().admin("HEAD", target);
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.body, "");
  }
  EXPECT_EQ(get("/nope").status, 404);
  EXPECT_EQ(server().admin("POST", "/nope").status, 404);
}

TEST_F(Admin, ChangesNeedPost) {
  for (const char* target : {"/reload", "/drain", "/reopen_logs", "/logging?level=debug"}) {
    for (const char* method : {"GET", "HEAD", "PUT", "DELETE"}) {
      EXPECT_EQ(server().admin(method, target).status, 405) << method << " " << target;
    }
  }
  EXPECT_EQ(server().metric("dragoman_draining"), 0);
  EXPECT_EQ(get("/logging").body, "level: error\n");
  EXPECT_EQ(server().admin("POST", "/logging?level=warn").body, "level: warn\n");
  EXPECT_EQ(get("/logging").body, "level: warn\n");
  EXPECT_EQ(server().admin("POST", "/logging?level=loud").status, 400);
  EXPECT_EQ(get("/logging").body, "level: warn\n");
  EXPECT_EQ(server().admin("POST", "/logging?level=configured").body, "level: error\n");
  EXPECT_EQ(server().admin("POST", "/reopen_logs").status, 200);
}

TEST_F(Admin, NamesOtherThanLocalhostAreRefusedAsHost) {
  for (const char* host : {"localhost", "LOCALHOST", "localhost:9901", "127.0.0.1", "127.0.0.1:80", "[::1]:80", "10.1.2.3"})
    EXPECT_EQ(get("/live", host).status, 200) << host;
  for (const char* host : {"evil.example", "evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example",
                           "dragoman.svc", "localhost.", "[::1", "0x7f.1"}) {
    HttpMessage answer = get("/config_dump", host);
    EXPECT_GE(answer.status, 400) << host;
    EXPECT_EQ(answer.body.find("listeners"), std::string::npos) << host;
  }
}

TEST_F(Admin, SecretsAreNotInTheDump) {
  const std::string dump = get("/config_dump").body;
  EXPECT_EQ(dump.find("top-secret"), std::string::npos) << dump;
  EXPECT_NE(dump.find("authorization"), std::string::npos);
  EXPECT_NE(dump.find("visible"), std::string::npos);
  for (const char* page : {"/clusters?format=json", "/listeners?format=json", "/server_info", "/stats"})
    EXPECT_EQ(get(page).body.find("top-secret"), std::string::npos) << page;
}

TEST_F(Admin, BadClientsAreBoundedAndOthersServed) {
  std::vector<TestSocket> idle;
  for (int i = 0; i < 63; ++i) {
    idle.push_back(TestSocket::connect(server().admin_port()));
    idle.back().send("GET /li");  // and no more
  }
  EXPECT_EQ(get("/live").status, 200);
  // The one that has waited longest for a whole request makes room.
  for (int i = 0; i < 5; ++i) EXPECT_EQ(get("/live").status, 200);
  idle.push_back(TestSocket::connect(server().admin_port()));
  idle.back().send("GET /li");
  EXPECT_EQ(get("/live").status, 200);
  EXPECT_TRUE(idle[0].closed_by_peer());
  EXPECT_GE(server().metric("dragoman_admin_connections_evicted_total"), 1);
  idle.back().send("ve HTTP/1.1\r\nhost: localhost\r\n\r\n");
  EXPECT_EQ(idle.back().read_response().status, 200) << "late ones are served";
  idle.clear();
  for (const char* bytes : {"\x16\x03\x01\x02", "GET / HTTP/1.1\r\n\r\n", "POST /reload HTTP/1.1\r\nhost: a b\r\n\r\n",
                            "GET /live HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"}) {
    TestSocket s = TestSocket::connect(server().admin_port());
    s.send(bytes);
    EXPECT_GE(s.read_response().status, 400);
    EXPECT_TRUE(s.closed_by_peer());
  }
  TestSocket big = TestSocket::connect(server().admin_port());
  big.send("POST /logging HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n" + std::string(100'000, 'x'));
  EXPECT_EQ(big.read_response().status, 413);
  EXPECT_EQ(get("/live").status, 200);
}

TEST_F(Admin, AHeadHasADeadlineThatNoByteMoves) {
  start(
      "admin: {address: '127.0.0.1:0', header_timeout: 300ms, hosts: [admin.example, '*.admin.example']}\n"
      "listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: web}]\n"
      "routes: [{name: web, routes: [{direct_response: {status: 200}}]}]\n");
  TestSocket silent = TestSocket::connect(server().admin_port()),
             slow = TestSocket::connect(server().admin_port());
  for (int i = 0; i < 1'000 && slow.end() == End::kOpen; ++i) {
    slow.send("G");
    slow.read_some(10);
  }
  EXPECT_NE(slow.end(), End::kOpen);
  EXPECT_TRUE(silent.closed_by_peer());
  EXPECT_GE(server().metric("dragoman_admin_timeouts_total"), 2);
  // A body has no more time; an idle connection that was of use has.
  TestSocket body = TestSocket::connect(server().admin_port()),
             used = TestSocket::connect(server().admin_port());
  used.send("GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n");
  EXPECT_EQ(used.read_response().status, 200);
  body.send("POST /logging HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nx");
  EXPECT_TRUE(body.closed_by_peer());
  used.send("GET /live HTTP/1.1\r\nhost: localhost\r\n\r\n");
  EXPECT_EQ(used.read_response().status, 200);
  // Names that are configured.
  for (const char* host : {"admin.example", "ADMIN.example:9901", "a.admin.example"})
    EXPECT_EQ(get("/live", host).status, 200) << host;
  for (const char* host : {"example", "b.a.admin.example", "admin.example.evil"})
    EXPECT_EQ(get("/live", host).status, 403) << host;
}

TEST_F(Admin, OtherSitesCanNotAskThroughABrowser) {
  const auto ask = [&](const std::string& method, const std::string& fields) {
    TestSocket s = TestSocket::connect(server().admin_port());
    s.send(method + " /logging HTTP/1.1\r\nhost: localhost:9901\r\ncontent-length: 0\r\n" + fields + "\r\n");
    return s.read_response().status;
  };
  for (const char* fields :
       {"origin: http://evil.example\r\n", "origin: null\r\n", "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n", "Origin: http://localhost:9902\r\n",
        "sec-fetch-site: same-origin\r\norigin: http://evil.example\r\n"}) {
    EXPECT_EQ(ask("POST", fields), 403) << fields;
    EXPECT_EQ(ask("GET", fields), 403) << fields;
  }
  EXPECT_EQ(ask("POST", "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n"), 403) << "a form";
  for (const char* fields : {"", "origin: http://localhost:9901\r\n", "sec-fetch-site: same-origin\r\n",
                             "sec-fetch-site: none\r\n"})
    EXPECT_EQ(ask("POST", fields), 200) << fields;
  EXPECT_EQ(ask("GET", "sec-fetch-site: cross-site\r\nsec-fetch-mode: navigate\r\n"), 200) << "a link";
  EXPECT_GE(server().metric("dragoman_admin_requests_refused_total"), 13);
}

TEST_F(Admin, ProbesOfHttp10NeedNoHost) {
  for (const auto& [path, status] : {std::pair{"/ready", 200}, {"/live", 200}, {"/config_dump", 403}}) {
    TestSocket s = TestSocket::connect(server().admin_port());
    s.send(std::string("GET ") + path + " HTTP/1.0\r\n\r\n");
    EXPECT_EQ(s.read_response().status, status) << path;
  }
}

TEST_F(Admin, AClientThatDoesNotReadIsNotAnsweredOnAndOn) {
  TestSocket s = TestSocket::connect(server().admin_port(), 8 * 1024);
  std::string many;
  for (int i = 0; i < 400; ++i) many += "GET /stats HTTP/1.1\r\nhost: localhost\r\n\r\n";
  s.send(many);
  EXPECT_EQ(get("/live").status, 200);
  for (int i = 0; i < 400; ++i) ASSERT_EQ(s.read_response().status, 200) << i;
}

// Whatever ${} stood for, and what headers must say, is nobody's business.
TEST_F(Admin, WhatCameFromTheEnvironmentIsNowhere) {
  ::setenv("DRAGOMAN_TEST_SECRET", "S3CRETVALUE", 1);
  TempDir dir;
  TestServer::Options options;
  options.file = dir.file("dragoman.yaml");
  const std::string good = R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: http1, routes: r, filters: [{type: headers, request: {set: {x-plain: "a ${DRAGOMAN_TEST_SECRET}"}}}]}
routes:
  - name: r
    routes:
      - {match: {prefix: /a, headers: [{name: authorization, exact: "Bearer hunter2"}]}, direct_response: {status: 200, body: "${DRAGOMAN_TEST_SECRET}"}}
      - {match: {prefix: /b, headers: [{name: x-api-key, regex: "${DRAGOMAN_TEST_SECRET}.*"}]}, direct_response: {status: 200}}
)";
  start(good, options);
  const std::string dump = get("/config_dump").body;
  EXPECT_EQ(dump.find("S3CRET"), std::string::npos) << dump;
  EXPECT_EQ(dump.find("hunter2"), std::string::npos) << dump;
  EXPECT_NE(dump.find("[redacted]"), std::string::npos);
  EXPECT_NE(dump.find("\"/a\""), std::string::npos) << "the rest is there";
  for (const auto& [part, bad] : {std::pair<std::string, std::string>{"SECRET}.*", "SECRET}.*("},
                                  {"Bearer hunter2\"", "Bearer hunter2\x01\""},
                                  {"prefix: /a", "prefix: \"${DRAGOMAN_TEST_SECRET}\""},
                                  {"status: 200, body", "status: \"${DRAGOMAN_TEST_SECRET}\", body"}}) {
    std::string text = good;
    text.replace(text.find(part), part.size(), bad);
    server().write_file(text);
    const HttpMessage answer = server().admin("POST", "/reload");
    EXPECT_EQ(answer.status, 400) << part;
    EXPECT_EQ(answer.body.find("S3CRET"), std::string::npos) << answer.body;
  }
  ::unsetenv("DRAGOMAN_TEST_SECRET");
}

TEST_F(Admin, ManyRequestsOnOneConnectionAreAnsweredInOrder) {
  TestSocket s = TestSocket::connect(server().admin_port());
  std::string many;
  for (int i = 0; i < 50; ++i)
    many += std::string("GET ") + (i % 2 ? "/live" : "/ready") + " HTTP/1.1\r\nhost: localhost\r\n\r\n";
  s.send(many);
  for (int i = 0; i < 50; ++i) ASSERT_EQ(s.read_response().body, i % 2 ? "live\n" : "ready\n");
}

TEST_F(Admin, HealthOfEndpointsIsShown) {
  const std::string text = get("/clusters?format=json").body;
  for (const char* field : {"\"name\"", "\"endpoints\"", "127.0.0.1:9", "127.0.0.1:10", "\"healthy\"", "\"connections\"",
                            "\"active_requests\""})
    EXPECT_NE(text.find(field), std::string::npos) << field << " in " << text;
  EXPECT_EQ(server().metric("dragoman_cluster_endpoints"), 2);
  EXPECT_EQ(server().metric("dragoman_cluster_endpoints_healthy"), 2);
}

}  // namespace
}  // namespace dragoman::testing
