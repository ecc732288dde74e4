// The admin listener: every page, its POST rule, the Host check, redaction, and bad clients.
#include <gtest/gtest.h>

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
  idle.push_back(TestSocket::connect(server().admin_port()));
  idle.back().send("GET /li");
  ASSERT_TRUE(eventually([&] { return TestSocket::connect(server().admin_port()).closed_by_peer(); }))
      << "one over the limit of connections is closed";
  idle.clear();
  EXPECT_TRUE(eventually([&] { return get("/live").status == 200; }));
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
