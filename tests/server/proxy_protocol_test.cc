// The PROXY protocol over real sockets, in both directions.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/proxy_header.h"
#include "tests/server/server_support.h"

namespace dragoman::testing {
namespace {

const std::string kLine = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 80\r\n";

std::string second_version() {
  return ProxyHeader::write(2, *Address::parse("192.0.2.7:1234"), *Address::parse("198.51.100.1:80"));
}

class ProxyProtocol : public ServerTest {
 protected:
  ScriptedBackend http_{
      scripts::http([](const HttpMessage& m) { return http_ok("for " + m.header("x-forwarded-for")); })};
  ScriptedBackend bolt_{scripts::bolt()};

  static constexpr const char* kErrors = "dragoman_listener_protocol_errors_total";

  TestServer& serve(const std::string& rule, const std::string& listener = "protocol: http1, cluster: http") {
    return start(
        fill_in("listeners: [{name: in, address: '127.0.0.1:0', proxy_protocol: {$RULE}, $LISTENER}]\n"
                "clusters:\n"
                "  - {name: http, protocol: http1, endpoints: ['$HTTP']}\n"
                "  - {name: raw, protocol: tcp, endpoints: ['$HTTP']}\n"
                "  - {name: bolt, protocol: bolt, endpoints: ['$BOLT']}\n",
                {{"RULE", rule.find("timeout") == std::string::npos ? rule + ", timeout: 1m" : rule},
                 {"LISTENER", listener},
                 {"HTTP", http_.address()},
                 {"BOLT", bolt_.address()}}));
  }
  /// The answer to `header` and a request.
  std::string ask(const std::string& header, size_t cut = 0) {
    TestSocket s = connect();
    const std::string all = header + "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    s.send(all.substr(0, cut));
    if (cut != 0) sleep_ms(1);
    s.send(all.substr(cut));
    return s.read_response().body;
  }
};

TEST_F(ProxyProtocol, TheClientIsWhoTheHeaderSaysAtEverySplitPoint) {
  serve("accept: required");
  const std::string after = "GET / HTTP/1.1\r\n";
  for (const std::string& header : {kLine, second_version()}) {
    EXPECT_EQ(ask(header), "for 192.0.2.7");
    for (size_t cut = 1; cut < header.size() + after.size(); ++cut)
      ASSERT_EQ(ask(header, cut), "for 192.0.2.7") << cut;
  }
  for (const std::string& header : {std::string("PROXY UNKNOWN\r\n"), ProxyHeader::write_local(2)})
    EXPECT_EQ(ask(header), "for 127.0.0.1") << "the load balancer speaks for itself";
}

TEST_F(ProxyProtocol, EveryKindOfListenerTakesIt) {
  const struct {
    const char* listener;
    bool bolt;
    const char* body;
  } rows[] = {
      {"protocol: http1, cluster: http", false, "for 192.0.2.7"},
      {"protocol: http, cluster: http", false, "for 192.0.2.7"},
      {"protocol: tcp, cluster: raw", false, "for -"},
      {"protocol: bolt, cluster: bolt", true, nullptr},
      {"protocol: auto, protocols: [{protocol: http1, cluster: http}, {protocol: bolt, cluster: bolt}]",
       false, "for 192.0.2.7"},
      {"protocol: auto, protocols: [{protocol: http1, cluster: http}, {protocol: bolt, cluster: bolt}]", true,
       nullptr},
      {"protocol: auto, protocols: [{protocol: bolt, cluster: bolt}], on_unknown: tcp, cluster: raw", false,
       "for -"},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.listener);
    serve("accept: required", row.listener);
    ASSERT_TRUE(server().serving());
    for (const std::string& header : {kLine, second_version()}) {
      if (!row.bolt) {
        EXPECT_EQ(ask(header), row.body);
        continue;
      }
      TestSocket s = connect();
      s.send_in_pieces(header + BoltFrame::request(1, "hello").bytes(), 7);
      EXPECT_TRUE(s.read_bolt().ends_with("hello"));
    }
  }
}

// The server speaks first: nothing may be waited for after the header.
TEST_F(ProxyProtocol, ARelayConnectsOnceTheHeaderIsThere) {
  ScriptedBackend greeter([](TestSocket& s) {
    s.send("welcome");
    s.wait_end();
  });
  start(
      fill_in("listeners: [{name: in, address: '127.0.0.1:0', proxy_protocol: {timeout: 1m}, protocol: tcp, "
              "cluster: c}]\n"
              "clusters: [{name: c, endpoints: ['$BACK']}]\n",
              {{"BACK", greeter.address()}}));
  TestSocket s = connect();
  s.send(kLine);
  EXPECT_EQ(s.read(7), "welcome");
}

TEST_F(ProxyProtocol, WhatIsNoHeaderIsRefusedAndCounted) {
  serve("accept: required, bytes_max: 300");
  const std::string rows[] = {
      "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
      "PROXY TCP4 1.2.3.4 5.6.7.8 x 80\r\n",
      "PROXY UNKNOWN " + std::string(200, 'x'),
      std::string("\r\n\r\n\0\r\nQUIT\n\x21\x11\x20\x00", 16),  // 8 KiB are to come
      std::string("\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c", 16),
  };
  double refused = 0;
  for (const std::string& row : rows) {
    TestSocket s = connect();
    s.send(row);
    EXPECT_TRUE(s.closed_by_peer());
    EXPECT_TRUE(server().becomes(++refused, kErrors, {"proxy_header"})) << ::testing::PrintToString(row);
  }
  {
    TestSocket s = connect();
    s.send("PROXY TCP4 1.2");
    ::shutdown(s.fd(), SHUT_WR);
    EXPECT_TRUE(s.closed_by_peer());
    EXPECT_TRUE(server().becomes(++refused, kErrors, {"proxy_header"}));
  }
  // One that says nothing is a probe of the port.
  TestSocket probe = connect();
  ::shutdown(probe.fd(), SHUT_WR);
  EXPECT_TRUE(probe.closed_by_peer());
  EXPECT_EQ(server().metric(kErrors), refused);
  EXPECT_EQ(http_.connections(), 0);
}

TEST_F(ProxyProtocol, AHeaderThatDoesNotComeIsTimedOut) {
  serve("timeout: 50ms");
  for (const std::string& row : {std::string(), std::string("PROXY TCP4 1.2")}) {
    TestSocket s = connect();
    s.send(row);
    EXPECT_TRUE(s.closed_by_peer());
  }
  EXPECT_TRUE(server().becomes(2, kErrors, {"proxy_timeout"}));
}

TEST_F(ProxyProtocol, OptionalTakesBoth) {
  serve("accept: optional, timeout: 20s", "protocol: http, cluster: http");
  EXPECT_EQ(ask(kLine), "for 192.0.2.7");
  EXPECT_EQ(ask(second_version()), "for 192.0.2.7");
  EXPECT_EQ(ask(""), "for 127.0.0.1");
  // Its first bytes are those of a header, for a while.
  for (size_t cut = 1; cut < 8; ++cut) {
    TestSocket s = connect();
    const std::string preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + std::string("\0\0\0\4\0\0\0\0\0", 9);
    s.send(preface.substr(0, cut));
    sleep_ms(1);
    s.send(preface.substr(cut));
    EXPECT_EQ(s.read(9).substr(3, 1), "\4") << "SETTINGS";
  }
  for (size_t cut = 1; cut < 4; ++cut) {
    TestSocket s = connect();
    const std::string request = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    s.send(request.substr(0, cut));
    sleep_ms(1);
    s.send(request.substr(cut));
    EXPECT_EQ(s.read_response().body, "for 127.0.0.1");
  }
  TestSocket bad = connect();
  bad.send("PROXY nonsense\r\n");
  EXPECT_TRUE(bad.closed_by_peer()) << "a wrong header is no missing one";
  EXPECT_TRUE(server().becomes(1, kErrors, {"proxy_header"}));
}

TEST_F(ProxyProtocol, OptionalServesThoseWhoWaitOrLeave) {
  ScriptedBackend greeter([](TestSocket& s) {
    s.send("welcome");
    s.send(s.read_to_end());
  });
  start(
      fill_in("listeners: [{name: in, address: '127.0.0.1:0', proxy_protocol: {accept: optional, timeout: "
              "50ms}, protocol: tcp, "
              "cluster: c}]\n"
              "clusters: [{name: c, endpoints: ['$BACK']}]\n",
              {{"BACK", greeter.address()}}));
  TestSocket waits = connect();
  EXPECT_EQ(waits.read(7), "welcome");
  TestSocket undecided = connect();
  undecided.send("PRO");
  EXPECT_EQ(undecided.read(7), "welcome");
  TestSocket ends = connect();
  ends.send("PROX");
  ::shutdown(ends.fd(), SHUT_WR);
  EXPECT_EQ(ends.read_to_end(), "welcomePROX");
}

TEST_F(ProxyProtocol, OnlyTrustedPeersAreBelieved) {
  serve("accept: required, trusted: [10.0.0.0/8, '::1']");
  for (const std::string& header : {kLine, std::string("PROXY nonsense\r\n"), std::string()}) {
    TestSocket s = connect();
    s.send(header + "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    EXPECT_TRUE(s.closed_by_peer());
  }
  EXPECT_TRUE(server().becomes(3, kErrors, {"proxy_untrusted"}));

  serve("accept: optional, trusted: [10.0.0.0/8]");
  EXPECT_EQ(ask(""), "for 127.0.0.1");
  EXPECT_EQ(ask(kLine), "");
  EXPECT_EQ(ask(second_version()), "");
  EXPECT_TRUE(server().becomes(2, kErrors, {"proxy_untrusted"}));

  serve("accept: required, trusted: [127.0.0.1]");
  EXPECT_EQ(ask(kLine), "for 192.0.2.7");
}

TEST_F(ProxyProtocol, NothingIsLeftOfConnectionsThatEndInTheHeader) {
  serve("timeout: 20s");
  {
    std::vector<TestSocket> clients;
    for (size_t n = 0; n < 20; ++n) {
      clients.push_back(connect());
      clients.back().send(kLine.substr(0, n));
    }
    ASSERT_TRUE(server().becomes(20, "dragoman_listener_connections_active"));
  }
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_active"));
  TestSocket open = connect();
  open.send(kLine.substr(0, 9));
  ASSERT_TRUE(server().becomes(1, "dragoman_listener_connections_active"));
  stop();
}

// --- towards servers --------------------------------------------------------------------------------------------------------

/// Takes a header off each connection, remembers it, and goes on as a backend.
class HeaderReader {
 public:
  explicit HeaderReader(ScriptedBackend::Script then)
      : backend_([this, then = std::move(then)](TestSocket& s) {
          std::string bytes;
          for (;;) {
            const std::string more = s.read(1);
            if (more.empty()) return;
            bytes += more;
            const ProxyHeader header =
                ProxyHeader::read({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, 4096);
            if (header.verdict == ProxyHeader::Verdict::kMore) continue;
            const bool done = header.verdict == ProxyHeader::Verdict::kDone;
            note(!done             ? "no header"
                 : header.has_ends ? header.source.host() + " " + header.destination.to_string()
                                   : "local");
            if (done) then(s);
            return;
          }
        }) {}
  std::string address() const { return backend_.address(); }
  std::vector<std::string> seen() {
    std::lock_guard lock(mutex_);
    return seen_;
  }
  void stop() { backend_.stop(); }

 private:
  void note(std::string what) {
    std::lock_guard lock(mutex_);
    seen_.push_back(std::move(what));
  }
  std::mutex mutex_;
  std::vector<std::string> seen_;
  ScriptedBackend backend_;
};

TEST_F(ProxyProtocol, RelaysSayWhoTheClientIs) {
  for (const char* version : {"v1", "v2"}) {
    SCOPED_TRACE(version);
    HeaderReader back(scripts::echo());
    start(
        fill_in("listeners:\n"
                "  - {name: in, address: '127.0.0.1:0', protocol: tcp, cluster: c}\n"
                "  - {name: behind, address: '127.0.0.1:0', proxy_protocol: {timeout: 1m}, protocol: tcp, "
                "cluster: c}\n"
                "clusters: [{name: c, proxy_protocol: $V, endpoints: ['$BACK']}]\n",
                {{"V", version}, {"BACK", back.address()}}));
    TestSocket direct = connect();
    direct.send("hello");
    EXPECT_EQ(direct.read(5), "hello");
    const std::string to = "127.0.0.1:" + std::to_string(server().port("in"));
    EXPECT_EQ(back.seen(), std::vector<std::string>{"127.0.0.1 " + to});
    // What was said to us is said on.
    TestSocket carried = connect("behind");
    carried.send(kLine + "hello");
    EXPECT_EQ(carried.read(5), "hello");
    EXPECT_EQ(back.seen().back(), "192.0.2.7 198.51.100.1:80");
    direct.close();
    carried.close();
    stop();
  }
}

TEST_F(ProxyProtocol, BoundConnectionsSayWhoTheClientIs) {
  HeaderReader back(scripts::bolt());
  start(
      fill_in("listeners: [{name: in, address: '127.0.0.1:0', proxy_protocol: {timeout: 1m}, protocol: bolt, "
              "cluster: c}]\n"
              "clusters: [{name: c, proxy_protocol: v2, pool: {mode: bound}, endpoints: ['$BACK']}]\n",
              {{"BACK", back.address()}}));
  for (const char* client : {"192.0.2.7", "192.0.2.8"}) {
    TestSocket s = connect();
    s.send("PROXY TCP4 " + std::string(client) + " 198.51.100.1 1 2\r\n" +
           BoltFrame::request(1, "hello").bytes());
    EXPECT_TRUE(s.read_bolt().ends_with("hello"));
    EXPECT_EQ(back.seen().back(), client + std::string(" 198.51.100.1:2"));
  }
}

TEST_F(ProxyProtocol, HealthChecksSpeakForThemselves) {
  for (const char* version : {"v1", "v2"}) {
    HeaderReader back(scripts::echo());
    start(fill_in(
        "listeners: [{name: in, address: '127.0.0.1:0', protocol: tcp, cluster: c}]\n"
        "clusters: [{name: c, proxy_protocol: $V, health_check: {interval: 20s}, endpoints: ['$BACK']}]\n",
        {{"V", version}, {"BACK", back.address()}}));
    ASSERT_TRUE(eventually([&] { return !back.seen().empty(); }));
    EXPECT_EQ(back.seen().front(), "local") << version;
    stop();
  }
}

}  // namespace
}  // namespace dragoman::testing
