// TLS towards clients: names, versions, who the peer is, plain and sealed on one port, tcp, the admin port.
#include <fstream>
#include <set>
#include <sstream>

#include "tests/http2/frames.h"
#include "tests/tls/tls_fixture.h"

namespace dragoman::testing {
namespace {

class ServerSide : public TlsServerTest {};

TEST_F(ServerSide, TheCertificateFollowsTheServerName) {
  const std::string b = folder.write_pair("b", ca.issue({.common_name = "b", .dns = {"b.example", "*.wild.example"}}));
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: http1, routes: t, tls: {certificates: [$A, $B]}}
routes:
  - name: t
    routes:
      - {match: {sni: b.example}, direct_response: {status: 200, body: for b}}
      - {match: {sni: "*.wild.example"}, direct_response: {status: 200, body: wild}}
      - {direct_response: {status: 200, body: other}}
)",
                {{"A", server_pair}, {"B", b}}));
  struct Row {
    std::string sni, certificate, route;
  };
  for (const Row& row : {Row{"", "server", "other"}, Row{"server.example", "server", "other"},
                         Row{"b.example", "b", "for b"}, Row{"B.Example", "b", "for b"},
                         Row{"x.wild.example", "b", "wild"}, Row{"x.y.wild.example", "server", "other"},
                         Row{"unknown.example", "server", "other"}}) {
    TlsPeer p(dial(), {.ca = ca.pem(), .sni = row.sni});
    ASSERT_TRUE(p.handshake()) << row.sni;
    EXPECT_EQ(p.peer_common_name(), row.certificate) << row.sni;
    EXPECT_TRUE(p.http().ends_with("\r\n\r\n" + row.route)) << row.sni;
  }
}

TEST_F(ServerSide, AlpnAndVersions) {
  serve("min_version: '1.3'");
  TlsPeer http(dial(), {.ca = ca.pem(), .alpn = "http/1.1"});
  ASSERT_TRUE(http.handshake());
  EXPECT_EQ(http.alpn(), "http/1.1");
  EXPECT_EQ(http.version(), "TLSv1.3");
  TlsPeer none(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(none.handshake());
  EXPECT_EQ(none.alpn(), "");
  TlsPeer old(dial(), {.ca = ca.pem(), .max_version = TLS1_2_VERSION});
  EXPECT_FALSE(old.handshake());
  EXPECT_TRUE(failed("tls_version"));
}

// Each client offers one cipher of TLS 1.2. What is left out must be asked for.
TEST_F(ServerSide, CiphersOfTls12) {
  struct Row {
    const char* cipher;
    bool by_default;
  };
  const std::string all = "ciphers: 'ALL'";
  for (const std::string& tls : {std::string("max_version: '1.3'"), all}) {
    serve(tls);
    for (const Row& row :
         {Row{"ECDHE-ECDSA-AES128-GCM-SHA256", true}, Row{"ECDHE-ECDSA-AES256-GCM-SHA384", true},
          Row{"ECDHE-ECDSA-CHACHA20-POLY1305", true}, Row{"ECDHE-ECDSA-AES128-SHA", false},
          Row{"ECDHE-ECDSA-AES256-SHA384", false}, Row{"ECDHE-ECDSA-AES128-CCM", false}}) {
      TlsPeer p(dial(), {.ca = ca.pem(), .ciphers = row.cipher, .max_version = TLS1_2_VERSION});
      EXPECT_EQ(p.handshake(), row.by_default || tls == all) << row.cipher;
    }
    stop();
  }
}

// HTTP/2 is agreed on with ciphers that RFC 9113 allows only, whatever the configuration lets pass.
TEST_F(ServerSide, Http2WantsAGoodCipher) {
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: http, routes: t, tls: {certificates: [$PAIR], ciphers: 'ALL'}}
routes:
  - {name: t, routes: [{direct_response: {status: 200, body: hello}}]}
)",
                {{"PAIR", server_pair}}));
  for (const char* cipher : {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"}) {
    const bool good = std::string_view(cipher).ends_with("SHA256");
    TlsPeer two(dial(), {.ca = ca.pem(), .alpn = "h2", .ciphers = cipher, .max_version = TLS1_2_VERSION});
    EXPECT_EQ(two.handshake(), good) << cipher;
    TlsPeer one(dial(),
                {.ca = ca.pem(), .alpn = "http/1.1", .ciphers = cipher, .max_version = TLS1_2_VERSION});
    EXPECT_TRUE(one.handshake()) << cipher;
    EXPECT_EQ(one.alpn(), "http/1.1");
  }
}

// A listener of both versions offers both.
TEST_F(ServerSide, AlpnOfBothVersions) {
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: http, routes: t, tls: {certificates: [$PAIR]}}
routes:
  - {name: t, routes: [{direct_response: {status: 200, body: hello}}]}
)",
                {{"PAIR", server_pair}}));
  for (const char* name : {"h2", "http/1.1", ""}) {
    TlsPeer p(dial(), {.ca = ca.pem(), .alpn = name});
    ASSERT_TRUE(p.handshake()) << name;
    EXPECT_EQ(p.alpn(), name);
    if (p.alpn() != "h2") {
      EXPECT_TRUE(p.http().ends_with("hello"));
    }
  }
}

// What the handshake agreed on holds, as with Envoy and nginx; without one the first bytes decide.
TEST_F(ServerSide, TheAgreedVersionIsSpoken) {
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: http, routes: t, tls: {certificates: [$PAIR]}}
  - {name: one, address: '127.0.0.1:0', protocol: http1, routes: t, tls: {certificates: [$PAIR], alpn: [h2, http/1.1]}}
routes:
  - {name: t, routes: [{direct_response: {status: 200, body: hello}}]}
)",
                {{"PAIR", server_pair}}));
  enum class Said { kHello, kRefused, kGoAway };
  struct Row {
    const char* listener;
    const char* alpn;
    bool two;  // what the client speaks
    Said said;
  };
  for (const Row& row : {Row{"in", "h2", true, Said::kHello}, Row{"in", "http/1.1", false, Said::kHello},
                         Row{"in", "", true, Said::kHello}, Row{"in", "", false, Said::kHello},
                         Row{"in", "http/1.1", true, Said::kRefused}, Row{"in", "h2", false, Said::kGoAway},
                         Row{"one", "h2", false, Said::kHello}}) {
    SCOPED_TRACE(std::string(row.listener) + " " + row.alpn + (row.two ? " HTTP/2" : " HTTP/1"));
    TlsPeer p(dial(row.listener), {.ca = ca.pem(), .alpn = row.alpn});
    ASSERT_TRUE(p.handshake());
    ASSERT_TRUE(
        p.send(row.two ? h2::hello() + h2::headers(1, h2::get()) : "GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    switch (row.said) {
      case Said::kHello: EXPECT_TRUE(p.read_until("hello").ends_with("hello")); break;
      case Said::kRefused: EXPECT_TRUE(p.read_to_end().starts_with("HTTP/1.1 ")); break;
      case Said::kGoAway: {
        const std::vector<h2::Frame> frames = h2::parse(p.read_to_end());
        ASSERT_FALSE(frames.empty());
        EXPECT_EQ(frames.back().type, h2::kGoAway);
        EXPECT_EQ(frames.back().word(4), h2::kProtocolError);
      }
    }
  }
}

TEST_F(ServerSide, ThePeerIsInTheAccessLogAndTheSchemeIsHttps) {
  ScriptedBackend backend(scripts::http([](const HttpMessage& m) { return http_ok(m.header("x-forwarded-proto")); }));
  const std::string log = folder.path("access.log");
  start(fill_in(R"(
access_log: {path: $LOG, template: "%PATH% %PEER_IDENTITY% %REASON%"}
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: http1, routes: t, tls: {certificates: [$PAIR], client_certificate: optional, ca: $CA}}
routes:
  - name: t
    routes:
      - {match: {path: /redirect}, redirect: {host: other.example, path: /there}}
      - {cluster: c}
clusters:
  - {name: c, endpoints: ['$BACK']}
)",
                {{"LOG", log}, {"PAIR", server_pair}, {"CA", ca_file}, {"BACK", backend.address()}}));
  TlsPeer known(dial(), client());
  ASSERT_TRUE(known.handshake());
  EXPECT_TRUE(known.http("/known").ends_with("\r\n\r\nhttps"));
  TlsPeer nobody(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(nobody.handshake());
  EXPECT_TRUE(nobody.http("/nobody").ends_with("\r\n\r\nhttps"));
  EXPECT_NE(nobody.http("/redirect").find("location: https://other.example/there"), std::string::npos);
  stop();
  std::set<std::string> lines;  // of two workers: in no order
  std::ifstream file(log);
  for (std::string line; std::getline(file, line);) lines.insert(line);
  EXPECT_EQ(lines, (std::set<std::string>{"/known spiffe://td/ns/good/sa/client none", "/nobody - none",
                                          "/redirect - redirect"}));
}

TEST_F(ServerSide, PermissiveTakesBoth) {
  serve("mode: permissive");
  TlsPeer sealed(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(sealed.handshake());
  EXPECT_TRUE(sealed.http().ends_with("hello"));
  TestSocket plain = connect();
  plain.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(plain.read_response().body, "hello");
  TestSocket dribbling = connect();
  dribbling.send_in_pieces("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 1);
  EXPECT_EQ(dribbling.read_response().body, "hello");
  EXPECT_TRUE(server().becomes(2, "dragoman_tls_plaintext_connections_total", {"in"}));
  EXPECT_EQ(server().metric("dragoman_tls_handshakes_total", {"in"}), 1);
}

TEST_F(ServerSide, PermissiveBoundsAHandshakeOnceItBegan) {
  serve("mode: permissive, handshake_timeout: 200ms");
  TestSocket slow = connect();
  slow.send("\x16\x03\x01");
  EXPECT_TRUE(slow.closed_by_peer());
  EXPECT_TRUE(failed("tls_handshake_timeout"));
}

TEST_F(ServerSide, TcpIsRelayedByteForByteThroughTlsOnBothSides) {
  // client -TLS-> tcp listener -TLS-> tcp listener -> echo
  ScriptedBackend echo(scripts::echo());
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: tcp, cluster: second, tls: {certificates: [$PAIR]}}
  - {name: second, address: '127.0.0.1:$PORT', protocol: tcp, cluster: echo, tls: {certificates: [$PAIR]}}
clusters:
  - {name: second, endpoints: ['127.0.0.1:$PORT'], tls: {ca: $CA}}
  - {name: echo, endpoints: ['$BACK']}
)",
                {{"PAIR", server_pair}, {"CA", ca_file}, {"BACK", echo.address()}, {"PORT", std::to_string(RefusingPort().port())}}));
  std::string sent(3 << 20, '\0');
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 2654435761u >> 13);
  TlsPeer p(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(p.handshake());
  std::string got;
  for (size_t at = 0; at < sent.size(); at += 64 << 10) {
    ASSERT_TRUE(p.send(std::string_view(sent).substr(at, 64 << 10)));
    got += p.read(64 << 10);
  }
  EXPECT_TRUE(got == sent);
  p.shutdown();
  EXPECT_EQ(p.read_to_end(), "");
  EXPECT_TRUE(p.ended_cleanly());
}

TEST_F(ServerSide, ACutRelayEndsWithoutAGoodbye) {
  ScriptedBackend echo(scripts::echo());
  TestServer::Options options;
  options.drain = "{deadline: 100ms, idle_grace: 50ms}";
  start(fill_in(R"(
listeners: [{name: in, address: '127.0.0.1:0', protocol: tcp, cluster: echo, tls: {certificates: [$PAIR]}}]
clusters: [{name: echo, endpoints: ['$BACK']}]
)",
                {{"PAIR", server_pair}, {"BACK", echo.address()}}),
        options);
  TlsPeer p(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(p.handshake());
  ASSERT_TRUE(p.send("half"));
  ASSERT_EQ(p.read(4), "half");
  server().shutdown();
  EXPECT_EQ(p.read_to_end(), "");
  EXPECT_FALSE(p.ended_cleanly());
  EXPECT_TRUE(server().wait_ended());
}

TEST_F(ServerSide, WhatIsRelayedIsObservedInsideTls) {
  // client -TLS-> redis listener -TLS-> redis listener -> a server
  const std::string ping = "*1\r\n$4\r\nPING\r\n", pong = "+PONG\r\n";
  ScriptedBackend redis([&](TestSocket& s) {
    while (s.read(ping.size()) == ping) s.send(pong);
  });
  start(fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: redis, cluster: second, tls: {certificates: [$PAIR]}}
  - {name: second, address: '127.0.0.1:$PORT', protocol: redis, cluster: redis, tls: {certificates: [$PAIR]}}
clusters:
  - {name: second, endpoints: ['127.0.0.1:$PORT'], tls: {ca: $CA}}
  - {name: redis, endpoints: ['$BACK']}
)",
                {{"PAIR", server_pair}, {"CA", ca_file}, {"BACK", redis.address()}, {"PORT", std::to_string(RefusingPort().port())}}));
  TlsPeer p(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(p.handshake());
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(p.send(ping));
    EXPECT_EQ(p.read(pong.size()), pong);
  }
  for (const char* listener : {"listener=\"in\"", "listener=\"second\""})
    EXPECT_TRUE(server().becomes(5, "dragoman_redis_command_duration_seconds_count", {listener, "command=\"ping\""}));
  EXPECT_EQ(server().metric("dragoman_l4_observers_stopped_total"), 0);
}

TEST_F(ServerSide, TheAdminPortCanHaveTls) {
  // TestServer talks plain HTTP to its admin port, so this one is made by hand.
  ServerOptions options;
  options.handle_signals = false;
  options.config_text = fill_in(R"(
workers: 1
log: {level: error, path: /dev/null}
admin: {address: '127.0.0.1:0', tls: {certificates: [$PAIR], client_certificate: require, ca: $CA}}
listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: t}]
routes: [{name: t, routes: [{direct_response: {status: 200}}]}]
)",
                                {{"PAIR", server_pair}, {"CA", ca_file}});
  std::promise<uint16_t> port;
  options.on_started = [&](Server& s) { port.set_value(s.admin_address().port()); };
  Server server(std::move(options));
  std::thread thread([&] { server.run(); });
  const uint16_t admin = port.get_future().get();
  {
    TlsPeer p(TlsPeer::dial(admin), client());
    ASSERT_TRUE(p.handshake());
    p.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    const std::string answer = p.read_to_end();
    EXPECT_NE(answer.find("dragoman_tls_handshakes_total{side=\"admin\",name=\"admin\"} 1"), std::string::npos);
    EXPECT_TRUE(p.ended_cleanly());
    TlsPeer nobody(TlsPeer::dial(admin), {.ca = ca.pem()});
    nobody.handshake();
    EXPECT_EQ(nobody.http("/metrics"), "");
    TestSocket plain = TestSocket::connect(admin);
    plain.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    EXPECT_TRUE(plain.closed_by_peer());
  }
  server.shutdown();
  server.shutdown();
  thread.join();
  EXPECT_TRUE(server.leaks().none());
}

}  // namespace
}  // namespace dragoman::testing
