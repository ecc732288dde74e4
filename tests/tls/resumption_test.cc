// Sessions are taken up again, where they may.
#include <openssl/ssl.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "tests/tls/tls_fixture.h"

namespace dragoman::testing {
namespace {

struct Session {
  explicit Session(ssl_session_st* s) : session(s) {}
  ~Session() { TlsPeer::free_session(session); }
  ssl_session_st* session;
};

class Resumption : public TlsServerTest {
 protected:
  /// The session of one exchange with a listener.
  ssl_session_st* fetch(const PeerOptions& options, std::string_view listener = "in") {
    TlsPeer p(dial(listener), options);
    EXPECT_TRUE(p.handshake());
    EXPECT_TRUE(p.http().ends_with("hello"));
    return p.session();
  }
  bool resumes(PeerOptions options, ssl_session_st* session, std::string_view listener = "in") {
    options.session = session;
    TlsPeer p(dial(listener), options);
    return p.handshake() && p.http().ends_with("hello") && p.resumed();
  }
};

TEST_F(Resumption, OfClientsByTicketOnAnyWorker) {
  serve(mutual());
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    PeerOptions options = client();
    options.min_version = options.max_version = version;
    Session s(fetch(options));
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(resumes(options, s.session)) << version;
  }
  EXPECT_TRUE(server().becomes(16, "dragoman_tls_resumptions_total", {"in"}));
}

// Clients should use a ticket once (RFC 8446 C.4): without another one they would resume every second time only.
TEST_F(Resumption, EveryConnectionBringsATicketForTheNext) {
  serve(mutual());
  PeerOptions options = client();
  options.min_version = options.max_version = TLS1_3_VERSION;
  auto ticket = [](ssl_session_st* session) {
    const uint8_t* bytes = nullptr;
    size_t n = 0;
    SSL_SESSION_get0_ticket(session, &bytes, &n);
    return std::string(reinterpret_cast<const char*>(bytes), n);
  };
  std::vector<std::unique_ptr<Session>> used;
  used.push_back(std::make_unique<Session>(fetch(options)));
  for (int i = 0; i < 4; ++i) {
    options.session = used.back()->session;
    TlsPeer p(dial(), options);
    EXPECT_TRUE(p.handshake());
    EXPECT_TRUE(p.http().ends_with("hello"));
    EXPECT_TRUE(p.resumed());
    auto next = std::make_unique<Session>(p.session());
    EXPECT_TRUE(ticket(next->session) != ticket(options.session)) << i;
    used.push_back(std::move(next));
  }
}

TEST_F(Resumption, CanBeTurnedOff) {
  serve("ticket_lifetime: 0");
  Session s(fetch({.ca = ca.pem()}));
  EXPECT_FALSE(resumes({.ca = ca.pem()}, s.session));
}

TEST_F(Resumption, NotAcrossListeners) {
  serve("ticket_lifetime: 1h", fill_in("  - {name: other, address: '127.0.0.1:0', protocol: http1, routes: t, "
                                       "tls: {certificates: [$PAIR], client_certificate: require, ca: $CA}}",
                                       {{"PAIR", server_pair}, {"CA", ca_file}}));
  Session s(fetch({.ca = ca.pem()}));
  EXPECT_FALSE(resumes(client(), s.session, "other"));
}

TEST_F(Resumption, ANewCaEndsIt) {
  serve(mutual());
  Session s(fetch(client()));
  EXPECT_TRUE(resumes(client(), s.session));
  // The new CA does not vouch for our client any more.
  folder.write("ca.pem", TestCa("next CA").pem());
  ASSERT_TRUE(server().becomes(1, "dragoman_tls_reloads_total", {"success"}));
  PeerOptions options = client();
  options.session = s.session;
  TlsPeer p(dial(), options);
  p.handshake();
  EXPECT_EQ(p.http(), "");
  EXPECT_TRUE(failed("tls_peer_untrusted"));
}

// Whoever comes back every hour would else be let in for ever.
TEST_F(Resumption, EndsWithTheCertificateOfTheClient) {
  serve(mutual());
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    PeerOptions options = client();
    options.min_version = options.max_version = version;
    options.own = ca.issue({.uris = {"spiffe://td/ns/good/sa/x"}, .ends_s = 2});
    Session s(fetch(options));
    EXPECT_TRUE(resumes(options, s.session)) << version;
    EXPECT_TRUE(eventually([&] { return !resumes(options, s.session); })) << version;
    EXPECT_TRUE(failed("tls_peer_expired", version == TLS1_2_VERSION ? 1 : 2)) << "judged anew";
  }
}

TEST_F(Resumption, TowardsEndpoints) {
  for (int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    std::atomic<int> resumed{0};
    ScriptedBackend backend([&](TestSocket& s) {
      TlsPeer p(::dup(s.fd()), {.server = true,
                                .ca = ca.pem(),
                                .own = server_issued,
                                .min_version = version,
                                .max_version = version,
                                .session_context = "backend"});
      if (!p.handshake()) return;
      resumed += p.resumed() ? 1 : 0;
      while (!p.read_until("\r\n\r\n").empty()) p.send(http_ok("x"));
    });
    TestServer::Options one;
    one.workers = 1;
    const auto run = [&](const std::string& resume) {
      resumed = 0;
      start(fill_in(R"(
listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, cluster: up}]
clusters:
  - name: up
    endpoints: ['$BACK']
    pool: {requests_per_connection_max: 1}
    tls: {ca: $CA, sni: server.example, resume: $RESUME, certificate: $OWN}
)",
                    {{"BACK", backend.address()}, {"CA", ca_file}, {"RESUME", resume},
                     {"OWN", folder.write_pair("client", good)}}),
            one);
      for (int i = 0; i < 5; ++i) {
        TestSocket s = connect();
        s.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        EXPECT_EQ(s.read_response().body, "x");
      }
      return resumed.load();
    };
    EXPECT_EQ(run("true"), 4) << version;
    EXPECT_EQ(server().metric("dragoman_tls_resumptions_total", {"up"}), 4);
    EXPECT_EQ(run("false"), 0) << version;
    stop();
  }
}

}  // namespace
}  // namespace dragoman::testing
