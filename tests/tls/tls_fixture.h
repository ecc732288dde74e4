// A Dragoman with certificates, for tests of both sides.
#pragma once

#include <openssl/ssl.h>

#include "tests/support/scripted_backend.h"
#include "tests/support/test_server.h"
#include "tests/tls/certificates.h"
#include "tests/tls/tls_peer.h"

namespace dragoman::testing {

class TlsServerTest : public ServerTest {
 protected:
  /// A listener "in" that answers everything itself, with `tls` in its tls block besides its certificate.
  TestServer& serve(const std::string& tls, const std::string& more = {}, TestServer::Options options = {}) {
    return start(fill_in(R"(
listeners:
  - name: in
    address: 127.0.0.1:0
    protocol: http1
    routes: t
    tls: {certificates: [$PAIR], $TLS}
$MORE
routes:
  - {name: t, routes: [{direct_response: {status: 200, body: hello}}]}
)",
                         {{"PAIR", server_pair}, {"TLS", tls}, {"MORE", more}}),
                 std::move(options));
  }
  /// mTLS for spiffe://td/ns/good/*.
  std::string mutual() const {
    return "client_certificate: require, ca: " + ca_file + ", peer_names: ['spiffe://td/ns/good/*']";
  }
  PeerOptions client() const { return {.ca = ca.pem(), .own = good}; }
  int dial(std::string_view listener = "in") { return TlsPeer::dial(server().port(listener)); }
  ::testing::AssertionResult failed(std::string_view reason, double times = 1) {
    const std::string label = "reason=\"" + std::string(reason) + "\"";
    return server().becomes(times, "dragoman_tls_failures_total", {label});
  }

  TestCa ca;
  PemFolder folder;
  std::string ca_file = folder.write("ca.pem", ca.pem());
  Issued server_issued = ca.issue({.common_name = "server", .dns = {"server.example"}, .ips = {"127.0.0.1"}});
  std::string server_pair = folder.write_pair("server", server_issued);
  Issued good = ca.issue({.common_name = "client", .uris = {"spiffe://td/ns/good/sa/client"}});
};

}  // namespace dragoman::testing
