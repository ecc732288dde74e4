// Every way a client's handshake can fail has one reason and counts once; the next client is served as if nothing was.
#include <sys/socket.h>

#include <thread>

#include "tests/tls/tls_fixture.h"

namespace dragoman::testing {
namespace {

using namespace std::string_literals;

class Failures : public TlsServerTest {
 protected:
  void TearDown() override {
    // Whatever happened before: a good client is served.
    TlsPeer p(dial(), client());
    EXPECT_TRUE(p.handshake());
    EXPECT_TRUE(p.http().ends_with("hello"));
    TlsServerTest::TearDown();
  }
  /// A client with `own` is turned away for `reason`.
  void turned_away(const Issued& own, std::string_view reason, double times = 1) {
    TlsPeer p(dial(), {.ca = ca.pem(), .own = own});
    p.handshake();  // TLS 1.3: the client learns of it later
    EXPECT_EQ(p.http(), "");
    EXPECT_TRUE(failed(reason, times));
  }
  /// What a client without TLS sends; then waits for the end.
  void send_raw(std::string_view bytes) {
    TestSocket s = connect();
    s.send(bytes);
    EXPECT_TRUE(s.closed_by_peer());
  }
};

TEST_F(Failures, ClientCertificates) {
  serve(mutual());
  turned_away({}, "tls_no_peer_certificate");
  turned_away(ca.issue({.uris = {"spiffe://td/ns/good/sa/x"}, .starts_s = -7200, .ends_s = -3600}),
              "tls_peer_expired");
  turned_away(ca.issue({.uris = {"spiffe://td/ns/good/sa/x"}, .starts_s = 3600}), "tls_peer_expired", 2);
  turned_away(TestCa("another CA").issue({.uris = {"spiffe://td/ns/good/sa/x"}}), "tls_peer_untrusted");
  turned_away(TestCa().issue({.uris = {"spiffe://td/ns/good/sa/x"}}), "tls_peer_untrusted", 2);  // of the same name
  turned_away(ca.issue({.uris = {"spiffe://td/ns/bad/sa/x"}}), "tls_peer_name");
  turned_away(ca.issue({.uris = {"spiffe://td/ns/good/sa/x", "spiffe://td/ns/good/sa/y"}}), "tls_peer_name", 2);
  turned_away(ca.issue({.uris = {"spiffe://td/ns/good/sa/x\0"s}}), "tls_peer_name", 3);
  turned_away(ca.issue({.common_name = "spiffe://td/ns/good/sa/x"}), "tls_peer_name", 4);
}

TEST_F(Failures, OptionalCertificatesAreStillVerified) {
  serve("client_certificate: optional, ca: " + ca_file);
  TlsPeer nobody(dial(), {.ca = ca.pem()});
  EXPECT_TRUE(nobody.handshake());
  EXPECT_TRUE(nobody.http().ends_with("hello"));
  turned_away(TestCa("another CA").issue({}), "tls_peer_untrusted");
}

TEST_F(Failures, NotTls) {
  serve(mutual());
  send_raw("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_TRUE(failed("tls_not_tls"));
  send_raw("\x00\x01\x02garbage"s);
  EXPECT_TRUE(failed("tls_not_tls", 2));
  send_raw("\x16garbage that begins like a record"s);
  EXPECT_TRUE(failed("tls_malformed"));
  send_raw("\x16\x03\x01\x00\x20this is no hello of any client!!"s);
  EXPECT_TRUE(failed("tls_malformed", 2));
}

TEST_F(Failures, SilenceAndSlowHellos) {
  serve(mutual() + ", handshake_timeout: 300ms");
  TestSocket silent = connect();
  EXPECT_TRUE(silent.closed_by_peer());
  EXPECT_TRUE(failed("tls_handshake_timeout"));
  TestSocket slow = connect();
  slow.send("\x16\x03\x01\x02");
  EXPECT_TRUE(slow.closed_by_peer());
  EXPECT_TRUE(failed("tls_handshake_timeout", 2));
}

TEST_F(Failures, AClientThatLeaves) {
  serve(mutual());
  TestSocket half = connect();
  half.send("\x16\x03\x01\x02");
  half.finish();
  EXPECT_TRUE(half.closed_by_peer());
  EXPECT_TRUE(failed("tls_handshake_closed"));
  // One that only connected, as a port check does, is no failure.
  TestSocket nothing = connect();
  nothing.finish();
  EXPECT_TRUE(nothing.closed_by_peer());
  EXPECT_EQ(server().metric("dragoman_tls_failures_total", {"in"}), 1);
}

TEST_F(Failures, AClientThatDoesNotTrustUsSaysSo) {
  serve(mutual());
  TlsPeer p(dial(), {.ca = TestCa("another CA").pem(), .own = good});
  EXPECT_FALSE(p.handshake());
  EXPECT_TRUE(failed("tls_peer_alert"));
}

TEST_F(Failures, NoCommonVersionCipherOrProtocol) {
  serve(mutual() + ", ciphers: ECDHE-ECDSA-AES256-GCM-SHA384, max_version: '1.2'");
  PeerOptions old = client();
  old.min_version = TLS1_VERSION;
  old.max_version = TLS1_1_VERSION;
  TlsPeer version(dial(), old);
  EXPECT_FALSE(version.handshake());
  EXPECT_TRUE(failed("tls_version"));

  PeerOptions weak = client();
  weak.max_version = TLS1_2_VERSION;
  weak.ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256";
  TlsPeer cipher(dial(), weak);
  EXPECT_FALSE(cipher.handshake());
  EXPECT_TRUE(failed("tls_cipher"));

  PeerOptions other = client();
  other.alpn = "some/other";
  TlsPeer alpn(dial(), other);
  EXPECT_FALSE(alpn.handshake());
  EXPECT_TRUE(failed("tls_alpn"));
}

TEST_F(Failures, RenegotiationIsRefused) {
  serve(mutual());
  PeerOptions options = client();
  options.max_version = TLS1_2_VERSION;
  TlsPeer p(dial(), options);
  ASSERT_TRUE(p.handshake());
  EXPECT_TRUE(p.http().ends_with("hello"));
  EXPECT_FALSE(p.renegotiate());
  EXPECT_TRUE(failed("tls_renegotiation"));
}

// No failure at all: the hello, and everything after it, one byte a packet.
TEST_F(Failures, OneByteAtATime) {
  serve(mutual());
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  TestSocket out = connect();
  std::thread up([&] {
    char byte;
    while (::recv(ends[1], &byte, 1, 0) == 1) out.send({&byte, 1});
    out.finish();
  });
  std::thread down([&] {
    for (;;) {
      const std::string piece = out.read_some(kDeadlineMs);
      if (piece.empty() || ::send(ends[1], piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
    }
    ::shutdown(ends[1], SHUT_WR);
  });
  {
    TlsPeer p(ends[0], client());
    EXPECT_TRUE(p.handshake());
    EXPECT_TRUE(p.http().ends_with("hello"));
    p.shutdown();
  }
  up.join();
  down.join();
  ::close(ends[1]);
  EXPECT_EQ(server().metric("dragoman_tls_failures_total", {"in"}), 0);
}


}  // namespace
}  // namespace dragoman::testing
