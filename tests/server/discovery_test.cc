// Names of endpoints and SRV records: looked up by their TTL, on a name server of the test's own.
#include <gtest/gtest.h>

#include "tests/server/server_support.h"
#include "tests/support/fake_dns.h"

namespace dragoman::testing {
namespace {

class Names : public ServerTest {
 protected:
  FakeDns dns_;
  TempDir dir_;
  ScriptedBackend one_{scripts::http("one")}, two_{scripts::http("two")};

  std::string yaml(const std::string& cluster) {
    return fill_in(
        "listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: c}]\n"
        "dns: {servers: ['$DNS'], timeout: 2s, tries: 3}\n"
        "clusters: [{name: c, $CLUSTER}]\n",
        {{"DNS", dns_.address()}, {"CLUSTER", cluster}});
  }
  TestServer& serve(const std::string& cluster) {
    TestServer::Options options;
    options.workers = 1;
    options.file = dir_.file("dragoman.yaml");
    return start(yaml(cluster), options);
  }
  std::string body() {
    TestSocket s = connect();
    s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    return s.read_response().body;
  }
  bool ready() { return server().admin("GET", "/ready").status == 200; }
  static std::string port(const ScriptedBackend& backend) { return std::to_string(backend.port()); }
};

TEST_F(Names, AreLookedUpAgainWhenTheirTtlIsOver) {
  dns_.set("svc.test", {"127.0.0.1"}, 0);
  dns_.set("long.test", {"127.0.0.1"}, 3600);
  serve("endpoints: ['svc.test:" + port(one_) + "', 'long.test:" + port(one_) +
        "'], dns: {ttl_min: 50ms, refresh: 1h}");
  EXPECT_TRUE(eventually([&] { return ready(); }));
  EXPECT_EQ(body(), "one");
  EXPECT_TRUE(eventually([&] { return dns_.asked("svc.test") >= 6; })) << "every 50 ms";
  EXPECT_EQ(dns_.asked("long.test"), 2) << "A and AAAA, once";
  EXPECT_GE(server().metric("dragoman_dns_lookups_total", {"result=\"success\""}), 3);
  // What is not known any more is kept.
  dns_.forget("svc.test");
  EXPECT_TRUE(
      eventually([&] { return server().metric("dragoman_dns_lookups_total", {"result=\"failure\""}) >= 2; }));
  EXPECT_EQ(body(), "one");
}

TEST_F(Names, AreNoReasonNotToBeReadyWhenAskedAgain) {
  dns_.set("svc.test", {"127.0.0.1"}, 0);
  serve("endpoints: ['svc.test:" + port(one_) + "'], dns: {ttl_min: 10ms, refresh: 1h}");
  EXPECT_TRUE(eventually([&] { return ready(); }));
  for (int asked = dns_.asked("svc.test"), i = 0; i < 50 || dns_.asked("svc.test") < asked + 20; ++i)
    ASSERT_TRUE(ready()) << "an answer that waits to be published is no first one";
}

TEST_F(Names, ALongTtlIsCutByTtlMax) {
  dns_.set("svc.test", {"127.0.0.1"}, 3600);
  serve("endpoints: ['svc.test:" + port(one_) + "'], dns: {ttl_min: 50ms, ttl_max: 1s, refresh: 1h}");
  EXPECT_TRUE(eventually([&] { return dns_.asked("svc.test") >= 4; }));
}

TEST_F(Names, ThoseWithoutAnAnswerDoNotHoldUpTheOthersNorTheEnd) {
  dns_.ignore(".dead");
  dns_.set("svc.test", {"127.0.0.1"});
  std::string endpoints;
  for (int i = 0; i < 200; ++i) endpoints += "'n" + std::to_string(i) + ".dead:80', ";
  serve("endpoints: [" + endpoints + "'svc.test:" + port(one_) + "']");
  EXPECT_TRUE(eventually([&] { return body() == "one"; }));
  EXPECT_FALSE(ready()) << "the dead are still being asked for";
  stop();
}

TEST_F(Names, ServicesHaveTargetsWithPortsPrioritiesAndWeights) {
  dns_.set("one.test", {"127.0.0.1"});
  dns_.set("two.test", {"127.0.0.2"});
  dns_.set_srv("_web._tcp.test", {{10, 0, one_.port(), "one.test"}, {20, 7, two_.port(), "two.test"}}, 0);
  serve("srv: [_web._tcp.test], dns: {ttl_min: 50ms}");
  EXPECT_TRUE(eventually([&] { return ready() && body() == "one"; }));
  // The second priority is used when nothing is known of the first.
  dns_.set_srv("_web._tcp.test", {{10, 0, one_.port(), "gone.test"}, {20, 7, two_.port(), "two.test"}}, 0);
  EXPECT_TRUE(eventually([&] {
    const std::string all = server().admin("GET", "/clusters").body;
    return all.find("127.0.0.2:" + port(two_)) != std::string::npos &&
           all.find("127.0.0.1:" + port(one_)) == std::string::npos;
  }));
  EXPECT_NE(server().admin("GET", "/clusters").body.find("weight=7"), std::string::npos)
      << server().admin("GET", "/clusters").body;
  // And the record may go: what was known stays.
  dns_.forget("_web._tcp.test");
  EXPECT_TRUE(
      eventually([&] { return server().metric("dragoman_dns_lookups_total", {"result=\"failure\""}) >= 2; }));
  EXPECT_NE(server().admin("GET", "/clusters").body.find("127.0.0.2:"), std::string::npos);
}

TEST_F(Names, OtherNameServersAreTakenByAReload) {
  FakeDns other;
  other.set("svc.test", {"127.0.0.1"});
  dns_.ignore("svc.test");
  const std::string cluster = "endpoints: ['svc.test:" + port(one_) + "']";
  serve(cluster);
  std::string next = yaml(cluster);
  next.replace(next.find(dns_.address()), dns_.address().size(), other.address());
  server().write_file(next);
  ASSERT_EQ(server().admin("POST", "/reload").status, 200);
  EXPECT_TRUE(eventually([&] { return body() == "one"; }));
}

}  // namespace
}  // namespace dragoman::testing
