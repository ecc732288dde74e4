// TLS towards endpoints: who is trusted, what failures say, that pools carry on.
#include "tests/http2/frames.h"
#include "tests/tls/tls_fixture.h"

#include <fstream>
#include <sstream>

#include <unistd.h>

namespace dragoman::testing {
namespace {

/// A backend behind TLS that answers HTTP/1.1; `options.own` is its certificate.
ScriptedBackend::Script sealed_http(PeerOptions options, std::string body) {
  options.server = true;
  return [options, body](TestSocket& s) {
    TlsPeer p(::dup(s.fd()), options);
    if (!p.handshake()) return;
    while (!p.read_until("\r\n\r\n").empty())
      if (!p.send(http_ok(body.empty() ? p.sni() + "|" + p.alpn() + "|" + p.peer_common_name() : body))) return;
  };
}

class ClientSide : public TlsServerTest {
 protected:
  TestServer& proxy(const std::string& address, const std::string& tls, const std::string& more = {}) {
    log = folder.write("access.log", "");
    return start(fill_in(R"(
access_log: {path: $LOG, template: "%STATUS% %REASON% %FLAGS%"}
listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: up}]
clusters: [{name: up, endpoints: ['$ADDRESS'], tls: {ca: $CA, $TLS}, $MORE}]
)",
                         {{"LOG", log}, {"ADDRESS", address}, {"CA", ca_file}, {"TLS", tls}, {"MORE", more}}));
  }
  HttpMessage get() {
    TestSocket s = connect();
    s.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    return s.read_response();
  }
  std::string logged() {
    stop();
    std::stringstream text;
    text << std::ifstream(log).rdbuf();
    return text.str();
  }
  /// One endpoint with that certificate, and rules that turn it down for `reason`.
  void distrusted(const Issued& own, const std::string& tls, const std::string& reason, const std::string& flag) {
    ScriptedBackend backend(sealed_http({.own = own}, "secret"));
    proxy(backend.address(), tls);
    EXPECT_EQ(get().status, 503) << reason;
    EXPECT_TRUE(failed(reason));
    EXPECT_EQ(server().metric("dragoman_cluster_connect_failures_total", {"up"}), 1);
    EXPECT_EQ(logged(), "503 " + reason + " " + flag + "\n");
  }
  std::string log;
};

TEST_F(ClientSide, SendsNameAndCertificateAndReusesConnections) {
  ScriptedBackend backend(sealed_http({.ca = ca.pem(), .own = server_issued, .alpn = "http/1.1"}, ""));
  proxy(backend.address(), "sni: server.example, certificate: " + folder.write_pair("client", good));
  TestSocket s = connect();
  for (int i = 0; i < 3; ++i) {
    s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    EXPECT_EQ(s.read_response().body, "server.example|http/1.1|client");
  }
  EXPECT_EQ(backend.connections(), 1);
  EXPECT_EQ(server().metric("dragoman_tls_handshakes_total", {"up"}), 1);
}

TEST_F(ClientSide, ChecksTheEndpoint) {
  distrusted(TestCa("another CA").issue({.dns = {"server.example"}}), "sni: server.example", "tls_peer_untrusted", "TPU");
  distrusted(ca.issue({.dns = {"server.example"}, .starts_s = -7200, .ends_s = -3600}), "sni: server.example",
             "tls_peer_expired", "TPX");
  distrusted(ca.issue({.dns = {"other.example"}}), "sni: server.example", "tls_peer_name", "TPN");
  distrusted(ca.issue({.common_name = "server.example"}), "sni: server.example", "tls_peer_name", "TPN");
  distrusted(ca.issue({.dns = {"*.svc.example"}}), "sni: a.b.svc.example", "tls_peer_name", "TPN");
  distrusted(ca.issue({.ips = {"127.0.0.2"}}), "", "tls_peer_name", "TPN");
  distrusted(ca.issue({.dns = {"server.example"}, .uris = {"spiffe://td/ns/bad/sa/x"}}),
             "sni: server.example, peer_names: ['spiffe://td/ns/good/*']", "tls_peer_name", "TPN");
}

TEST_F(ClientSide, RefusesRevokedEndpoints) {
  const Issued other = ca.issue({.dns = {"server.example"}});
  const std::string crl = folder.write("crl.pem", ca.crl({server_issued}));
  distrusted(server_issued, "sni: server.example, crl: " + crl, "tls_peer_revoked", "TPR");
  ScriptedBackend backend(sealed_http({.own = other}, "welcome"));
  proxy(backend.address(), "sni: server.example, crl: " + crl);
  EXPECT_EQ(get().body, "welcome");
}

TEST_F(ClientSide, TrustsByAddressWildcardOrRule) {
  const auto trusted = [&](const Issued& own, const std::string& tls) {
    ScriptedBackend backend(sealed_http({.own = own}, "secret"));
    proxy(backend.address(), tls);
    EXPECT_EQ(get().body, "secret") << tls;
    stop();
  };
  trusted(ca.issue({.ips = {"127.0.0.1"}}), "");
  trusted(ca.issue({.dns = {"*.svc.example"}}), "sni: server.svc.example");
  trusted(ca.issue({.uris = {"spiffe://td/ns/good/sa/x"}}), "peer_names: ['dns:x', 'spiffe://td/ns/good/sa/x']");
}

TEST_F(ClientSide, WithoutVerificationEverythingGoes) {
  ScriptedBackend backend(sealed_http({.own = TestCa("another CA").issue({})}, "secret"));
  start(fill_in(R"(
listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: up}]
clusters: [{name: up, endpoints: ['$ADDRESS'], tls: {verify: false}}]
)",
                {{"ADDRESS", backend.address()}}));
  EXPECT_EQ(get().body, "secret");
}

TEST_F(ClientSide, EndpointsWithoutTls) {
  ScriptedBackend plain(scripts::http("plain"));
  proxy(plain.address(), "sni: server.example");
  EXPECT_EQ(get().status, 503);
  EXPECT_GE(server().metric("dragoman_tls_failures_total", {"up"}), 1);
}

TEST_F(ClientSide, ASilentEndpointIsGivenUp) {
  ScriptedBackend backend(scripts::silent());
  proxy(backend.address(), "sni: server.example, handshake_timeout: 200ms");
  EXPECT_EQ(get().status, 503);
  EXPECT_TRUE(failed("tls_handshake_timeout"));
  EXPECT_EQ(logged(), "503 tls_handshake_timeout THT\n");
}

TEST_F(ClientSide, AnEndpointThatHangsUp) {
  ScriptedBackend backend([](TestSocket& s) { s.read(5); });
  proxy(backend.address(), "sni: server.example");
  EXPECT_EQ(get().status, 503);
  EXPECT_TRUE(failed("tls_handshake_closed"));
}

TEST_F(ClientSide, AnEndpointThatWantsACertificate) {
  // TLS 1.3: the refusal comes after our side of the handshake is done, as an alert.
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    ScriptedBackend backend(
        sealed_http({.ca = ca.pem(), .own = server_issued, .min_version = version, .max_version = version}, "secret"));
    proxy(backend.address(), "sni: server.example");
    EXPECT_EQ(get().status, 503);
    EXPECT_TRUE(failed("tls_peer_alert"));
    stop();
  }
}

TEST_F(ClientSide, ACutAnswerIsNotComplete) {
  // No content-length: only close_notify tells that this is all of it (RFC 9112 section 9.8).
  for (bool goodbye : {true, false}) {
    ScriptedBackend backend([&](TestSocket& s) {
      TlsPeer p(::dup(s.fd()), {.server = true, .own = server_issued});
      if (!p.handshake()) return;
      p.read_until("\r\n\r\n");
      p.send("HTTP/1.1 200 OK\r\n\r\nall of it");
      if (goodbye) p.shutdown();
    });
    proxy(backend.address(), "sni: server.example");
    const HttpMessage answer = get();
    EXPECT_EQ(answer.body, "all of it");
    EXPECT_EQ(answer.complete, goodbye);
    stop();
  }
}

// Up to the one that is meant, or the end.
template <class Meant>
std::vector<h2::Frame> read_frames(TlsPeer& p, Meant meant) {
  std::string bytes;
  for (std::string piece; !(piece = p.read(1)).empty();) {
    bytes += piece;
    std::vector<h2::Frame> frames = h2::parse(bytes);
    if (!frames.empty() && meant(frames.back())) return frames;
  }
  return {};
}

// A cut is a reset on the way on, too: without close_notify where only that would say that the answer ended, without END_STREAM and with
// RST_STREAM on HTTP/2.
TEST_F(ClientSide, ACutIsPassedOnAsOne) {
  struct Row {
    const char* name;
    const char* upstream;  // protocol of the endpoint
    const char* request;
    const char* alpn;
  };
  for (const Row& row : {Row{"1.0 to 1.0", "http1", "GET / HTTP/1.0\r\n\r\n", "http/1.1"},
                         Row{"1.0 to 1.1", "http1", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "http/1.1"},
                         Row{"1.0 to 2", "http1", nullptr, "h2"},
                         Row{"2 to 1.0", "http2", "GET / HTTP/1.0\r\n\r\n", "http/1.1"},
                         Row{"2 to 1.1", "http2", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "http/1.1"},
                         Row{"2 to 2", "http2", nullptr, "h2"}}) {
    for (bool whole : {true, false}) {
      SCOPED_TRACE(std::string(row.name) + (whole ? " whole" : " cut"));
      const bool two = row.upstream == std::string_view("http2");
      ScriptedBackend backend([&](TestSocket& s) {
        TlsPeer p(::dup(s.fd()), {.server = true, .own = server_issued, .alpn = two ? "h2" : "http/1.1"});
        if (!p.handshake()) return;
        if (two) {
          p.send(h2::settings());
          read_frames(p, [](const h2::Frame& f) { return f.type == h2::kHeaders; });
          p.send(h2::headers(1, {{":status", "200"}}, h2::kEndHeaders) +
                 h2::data(1, "some of it", whole ? h2::kEndStream : h2::kNone));
        } else {
          p.read_until("\r\n\r\n");
          p.send("HTTP/1.1 200 OK\r\n\r\nsome of it");
          if (whole) p.shutdown();
        }
        if (two && whole) p.read_to_end();
      });
      start(fill_in(R"(
listeners: [{name: in, address: '127.0.0.1:0', protocol: http, cluster: up, tls: {certificates: [$PAIR]}}]
clusters: [{name: up, protocol: $UPSTREAM, endpoints: ['$BACKEND'], tls: {ca: $CA, sni: server.example}}]
)",
                    {{"PAIR", server_pair},
                     {"UPSTREAM", row.upstream},
                     {"BACKEND", backend.address()},
                     {"CA", ca_file}}));
      TlsPeer client(TlsPeer::dial(server().port("in")), {.ca = ca.pem(), .alpn = row.alpn});
      ASSERT_TRUE(client.handshake());
      ASSERT_TRUE(client.send(row.request ? row.request : h2::hello() + h2::headers(1, h2::get())));
      if (row.request) {
        const bool chunked = std::string_view(row.request).find("1.1") != std::string_view::npos;
        std::string said = client.read_until("some of it");
        EXPECT_TRUE(said.ends_with("some of it"));
        if (chunked && whole) {
          EXPECT_TRUE(client.read_until("\r\n0\r\n\r\n").ends_with("0\r\n\r\n"));
        } else {
          said = client.read_to_end();
          EXPECT_TRUE(said.empty() || said == "\r\n") << said;
          EXPECT_EQ(client.ended_cleanly(), whole);
        }
      } else {
        const std::vector<h2::Frame> frames = read_frames(client, [](const h2::Frame& f) {
          return f.id == 1 && (f.type == h2::kRstStream || (f.flags & h2::kEndStream));
        });
        ASSERT_FALSE(frames.empty());
        EXPECT_EQ(frames.back().type == h2::kRstStream, !whole);
      }
      stop();
    }
  }
}

TEST_F(ClientSide, HealthChecksSpeakTls) {
  ScriptedBackend backend(sealed_http({.own = server_issued}, "fine"));
  proxy(backend.address(), "sni: server.example", "health_check: {type: http, interval: 100ms}");
  EXPECT_TRUE(eventually([&] {
    return server().metric("dragoman_cluster_health_checks_total", {"up", "success"}) >= 2;
  }));
  EXPECT_EQ(server().metric("dragoman_cluster_health_checks_total", {"up", "failure"}), 0);
}

TEST_F(ClientSide, RetriesGoToAnotherEndpoint) {
  ScriptedBackend bad(sealed_http({.own = TestCa("another CA").issue({.dns = {"server.example"}})}, "bad"));
  ScriptedBackend fine(sealed_http({.own = server_issued}, "fine"));
  start(fill_in(R"(
listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: t}]
routes: [{name: t, routes: [{cluster: up, retry: {on: [connect_failure], attempts: 1}}]}]
clusters: [{name: up, endpoints: ['$BAD', '$FINE'], tls: {ca: $CA, sni: server.example}}]
)",
                {{"BAD", bad.address()}, {"FINE", fine.address()}, {"CA", ca_file}}));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(get().body, "fine");
}

}  // namespace
}  // namespace dragoman::testing
