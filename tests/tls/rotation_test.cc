// New certificate files are taken up while serving; bad ones are not, and that shows.
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "tests/tls/tls_fixture.h"

namespace dragoman::testing {
namespace {

class Rotation : public TlsServerTest {
 protected:
  std::string serves() {
    TlsPeer p(dial(), {.ca = ca.pem()});
    return p.handshake() && p.http().ends_with("hello") ? p.peer_common_name() : "";
  }
  double reloads(std::string_view result) {
    return server().metric("dragoman_tls_reloads_total", {"in", std::string("result=\"").append(result).append("\"")});
  }
};

TEST_F(Rotation, UnderLoadNothingFailsAndOpenConnectionsStay) {
  serve("ticket_lifetime: 0");
  TlsPeer old(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(old.handshake());
  std::atomic<bool> done{false};
  std::atomic<int> failures{0};
  std::atomic<int> served{0};
  std::vector<std::thread> clients;
  const uint16_t port = server().port("in");
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back([&] {
      while (!done) {
        TlsPeer p(TlsPeer::dial(port), {.ca = ca.pem()});
        if (!p.handshake() || !p.http().ends_with("hello")) ++failures;
        ++served;
      }
    });
  }
  for (int round = 1; round <= 3; ++round) {
    const std::string name = "server-" + std::to_string(round);
    // Key and certificate can't change at once: what is between must not be served, nor break anything.
    const Issued next = ca.issue({.common_name = name, .dns = {"server.example"}, .ends_s = 1000 * round});
    folder.write("server.key", next.key);
    folder.write("server.pem", next.chain);
    EXPECT_TRUE(eventually([&] { return serves() == name; }, kDeadlineMs * 2));
  }
  done = true;
  for (std::thread& t : clients) t.join();
  EXPECT_EQ(failures, 0);
  EXPECT_GT(served, 10);
  EXPECT_GE(reloads("success"), 3);
  // A connection from before the first rotation still serves.
  EXPECT_TRUE(old.http().ends_with("hello"));
  EXPECT_EQ(old.peer_common_name(), "server");
}

TEST_F(Rotation, BrokenAndMismatchedFilesLeaveTheOldOnes) {
  serve("ticket_lifetime: 0");
  const double expiry = server().metric("dragoman_tls_certificate_expiry_timestamp_seconds", {"in"});
  EXPECT_GT(expiry, 1.7e9);
  const Issued next = ca.issue({.common_name = "next", .ends_s = 3 * 86400});
  folder.write("server.pem", next.chain.substr(0, next.chain.size() / 2));  // half written
  EXPECT_TRUE(server().becomes(1, "dragoman_tls_reloads_total", {"in", "failure"}));
  EXPECT_EQ(serves(), "server");
  folder.write("server.pem", next.chain);  // whole, but the key is still the old one
  EXPECT_TRUE(server().becomes(2, "dragoman_tls_reloads_total", {"in", "failure"}));
  EXPECT_EQ(serves(), "server");
  EXPECT_EQ(server().metric("dragoman_tls_certificate_expiry_timestamp_seconds", {"in"}), expiry);
  folder.write("server.key", next.key);
  EXPECT_TRUE(server().becomes(1, "dragoman_tls_reloads_total", {"in", "success"}));
  EXPECT_EQ(serves(), "next");
  EXPECT_NEAR(server().metric("dragoman_tls_certificate_expiry_timestamp_seconds", {"in"}), expiry + 2 * 86400, 60);
}

TEST_F(Rotation, FilesThatAreGoneOrNoFilesLeaveTheOldOnes) {
  folder.write("clients.pem", ca.pem());
  serve("ticket_lifetime: 0, client_certificate: optional, ca: " + folder.path("clients.pem"));
  double failures = 0;
  const auto refused = [&](const std::string& what) {
    EXPECT_TRUE(server().becomes(++failures, "dragoman_tls_reloads_total", {"in", "failure"})) << what;
    EXPECT_EQ(serves(), "server") << what;
  };
  for (const char* name : {"server.pem", "server.key", "clients.pem"}) {
    const std::string path = folder.path(name);
    std::filesystem::rename(path, path + ".away");
    refused(std::string(name) + " deleted");
    ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
    refused(std::string(name) + " is a FIFO");
    std::filesystem::remove(path);
    std::filesystem::rename(path + ".away", path);
    const double successes = reloads("success");
    EXPECT_TRUE(eventually([&] { return reloads("success") > successes; }, kDeadlineMs * 2)) << name;
    EXPECT_EQ(serves(), "server");
    EXPECT_EQ(reloads("failure"), failures);
  }
}

TEST_F(Rotation, WhoIsRevokedIsRefusedFromThenOn) {
  const Issued bad = ca.issue({.common_name = "bad", .uris = {"spiffe://td/ns/good/sa/bad"}});
  folder.write("crl.pem", ca.crl({}));
  serve(mutual() + ", crl: " + folder.path("crl.pem"));
  const auto is_served = [&](const Issued& own) {
    TlsPeer p(dial(), {.ca = ca.pem(), .own = own});
    return p.handshake() && p.http().ends_with("hello");
  };
  EXPECT_TRUE(is_served(good));
  TlsPeer before(dial(), {.ca = ca.pem(), .own = bad});
  ASSERT_TRUE(before.handshake());
  ASSERT_TRUE(before.http().ends_with("hello"));
  ssl_session_st* session = before.session();
  folder.write("crl.pem", ca.crl({bad}));
  EXPECT_TRUE(eventually([&] { return !is_served(bad); }, kDeadlineMs * 2));
  EXPECT_TRUE(is_served(good));
  TlsPeer again(dial(), {.ca = ca.pem(), .own = bad, .session = session});
  EXPECT_FALSE(again.handshake() && again.http().ends_with("hello")) << "nor with a session of before";
  TlsPeer::free_session(session);
  EXPECT_TRUE(before.http().ends_with("hello")) << "open connections keep what they began with";
  EXPECT_GE(server().metric("dragoman_tls_failures_total", {"reason=\"tls_peer_revoked\""}), 1);
  // Half a list changes nothing; one that is over lets nobody in.
  const std::string list = ca.crl({bad});
  folder.write("crl.pem", list.substr(0, list.size() / 2));
  EXPECT_TRUE(server().becomes(1, "dragoman_tls_reloads_total", {"in", "failure"}));
  EXPECT_TRUE(is_served(good));
  folder.write("crl.pem", ca.crl({}, -60));
  EXPECT_TRUE(eventually([&] { return !is_served(good); }, kDeadlineMs * 2));
}

TEST_F(Rotation, TheStapleIsSentToWhoAsks) {
  const std::string response = ca.ocsp(server_issued, 3600);
  const std::string staple = folder.write("staple.der", response);
  server_pair.insert(server_pair.size() - 1, ", ocsp_staple: " + staple);
  serve("ticket_lifetime: 0");
  TlsPeer quiet(dial(), {.ca = ca.pem()});
  ASSERT_TRUE(quiet.handshake());
  EXPECT_EQ(quiet.staple(), "");
  TlsPeer asking(dial(), {.ca = ca.pem(), .ask_status = true});
  ASSERT_TRUE(asking.handshake());
  EXPECT_EQ(asking.staple(), response);
  // One about another certificate is refused, one that is over is not sent.
  folder.write("staple.der", ca.ocsp(good, 3600));
  EXPECT_TRUE(server().becomes(1, "dragoman_tls_reloads_total", {"in", "failure"}));
  folder.write("staple.der", ca.ocsp(server_issued, -60));
  EXPECT_TRUE(server().becomes(1, "dragoman_tls_reloads_total", {"in", "success"}));
  TlsPeer late(dial(), {.ca = ca.pem(), .ask_status = true});
  ASSERT_TRUE(late.handshake());
  EXPECT_EQ(late.staple(), "");
}

TEST_F(Rotation, ARefusedReloadOfTheConfigurationKeepsServing) {
  TestServer::Options options;
  options.file = folder.path("dragoman.yaml");
  serve("ticket_lifetime: 0", "", options);
  folder.write("server.key", "nothing");
  EXPECT_EQ(server().admin("POST", "/reload").status, 400);
  EXPECT_NE(server().admin("POST", "/reload").body.find("server.key: holds no private key"), std::string::npos);
  EXPECT_EQ(serves(), "server");
}

}  // namespace
}  // namespace dragoman::testing
