// TlsTransport over real sockets, against a blocking OpenSSL peer on a thread.
#include "proxy/tls/transport.h"

#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <thread>

#include "tests/net/net_fixture.h"
#include "tests/tls/tls_peer.h"

namespace dragoman {
namespace {

using testing::PeerOptions;
using testing::PemFolder;
using testing::TestCa;
using testing::TlsPeer;

struct Recorder final : TransportEvents {
  void on_data(uint8_t* data, size_t n) override {
    data[0] ^= 0;  // writable, as promised
    text.append(reinterpret_cast<const char*>(data), n);
    ++pieces;
    if (on_bytes) on_bytes();
  }
  void on_eof() override { eof = true; }
  void on_closed(Reason why) override {
    closed = true;
    reason = why;
  }
  void on_write_blocked(bool now) override {
    blocked = now;
    ++block_changes;
  }
  void on_ready() override { ready = true; }

  std::function<void()> on_bytes;
  std::string text;
  int pieces = 0;
  int block_changes = 0;
  bool ready = false, eof = false, closed = false, blocked = false;
  Reason reason = Reason::kNone;
};

class TlsTransportTest : public NetTest {
 protected:
  TlsTransportTest() {
    settings.certificates.push_back({.pos = {},
                                     .chain = folder.write("s.pem", server_pair.chain),
                                     .key = folder.write("s.key", server_pair.key)});
  }
  /// The transport is the server, the peer thread a client that has done its handshake when `script` runs.
  void serve(std::function<void(TlsPeer&)> script, PeerOptions options = {}) {
    auto made = TlsIdentity::server(settings, {}, "t", 1);
    ASSERT_TRUE(made.has_value()) << made.error().text;
    identity = *made;
    options.ca = ca.pem();
    transport = TlsTransport::accept(*loop, Transport::adopt(*loop, pair.take_near(), seen, options_), seen,
                                     identity->current(0));
    peer = std::thread([this, script = std::move(script), options, fd = std::exchange(pair.far, -1)] {
      TlsPeer p(fd, options);
      shook = p.handshake();
      script(p);
    });
  }
  void TearDown() override {
    if (transport) transport->close(false);
    if (peer.joinable()) peer.join();
    transport.reset();
    NetTest::TearDown();
  }

  TestCa ca;
  PemFolder folder;
  testing::Issued server_pair = ca.issue({.dns = {"server.example"}});
  config::ListenerTls settings;
  std::shared_ptr<TlsIdentity> identity;
  SocketPair pair;
  TransportOptions options_;
  Recorder seen;
  std::unique_ptr<TlsTransport> transport;
  std::thread peer;
  std::atomic<bool> shook{false};
};

std::string pattern(size_t n) {
  std::string text(n, '\0');
  uint32_t x = 1;
  for (char& c : text) c = static_cast<char>((x = x * 1664525 + 1013904223) >> 24);
  return text;
}

TEST_F(TlsTransportTest, BytesBothWaysAndACleanEnd) {
  std::string answer;
  bool clean = false;
  serve([&](TlsPeer& p) {
    p.send("ping");
    p.shutdown();
    answer = p.read_to_end();
    clean = p.ended_cleanly();
  });
  ASSERT_TRUE(run_until([&] { return seen.eof; }));
  EXPECT_TRUE(seen.ready);
  EXPECT_EQ(seen.text, "ping");
  EXPECT_EQ(transport->tls()->version, "TLSv1.3");
  transport->write("pong");
  transport->close_after_flush(1000);
  EXPECT_TRUE(transport->closed());
  finish();
  peer.join();
  EXPECT_EQ(answer, "pong");
  EXPECT_TRUE(clean);
  EXPECT_FALSE(seen.closed);
}

TEST_F(TlsTransportTest, WrittenBeforeTheHandshakeLeavesAfterIt) {
  std::string got;
  serve([&](TlsPeer& p) { got = p.read(5); });
  transport->write("early");
  ASSERT_TRUE(run_until([&] { return seen.ready; }));
  turns(3);
  peer.join();
  EXPECT_EQ(got, "early");
}

// Making a flight takes long: what others of the same turn do must not hold it up.
TEST_F(TlsTransportTest, AFlightLeavesBeforeTheEndOfItsTurn) {
  auto made = TlsIdentity::server(settings, {}, "t", 1);
  ASSERT_TRUE(made.has_value()) << made.error().text;
  identity = *made;
  transport = TlsTransport::accept(*loop, Transport::adopt(*loop, pair.take_near(), seen, options_), seen,
                                   identity->current(0));
  SocketPair other;
  Recorder later;
  auto plain = Transport::adopt(*loop, other.take_near(), later, options_);
  bool was_there = false;
  later.on_bytes = [&] {
    char byte;
    was_there = ::recv(pair.far, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
  };
  turns(1);
  // The hello comes first, then what the other connection reads; both before the next turn.
  SSL_CTX* ctx = SSL_CTX_new(TLS_client_method());
  SSL* client = SSL_new(ctx);
  SSL_set_bio(client, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(client);
  EXPECT_EQ(SSL_do_handshake(client), -1);
  char* hello = nullptr;
  const long n = BIO_get_mem_data(SSL_get_wbio(client), &hello);
  EXPECT_EQ(::send(pair.far, hello, static_cast<size_t>(n), 0), n);
  EXPECT_EQ(::send(other.far, "x", 1, 0), 1);
  ASSERT_TRUE(run_until([&] { return later.pieces == 1; }));
  EXPECT_TRUE(was_there);
  SSL_free(client);
  SSL_CTX_free(ctx);
  plain->close(false);
}

// Chunks of a turn are sealed together: a record for each 16 KiB at most, not one for each write.
TEST_F(TlsTransportTest, SmallWritesOfATurnShareARecord) {
  std::string got;
  serve([&](TlsPeer& p) { got = p.read(1000); });
  ASSERT_TRUE(run_until([&] { return seen.ready; }));
  const uint64_t before = transport->bytes_written();
  for (int i = 0; i < 100; ++i) transport->write("0123456789");
  ASSERT_TRUE(run_until([&] { return transport->bytes_written() > before && transport->unsent() == 0; }));
  EXPECT_LE(transport->bytes_written() - before, 1000u + 2 * 64);  // a session ticket may be among them
  peer.join();
  EXPECT_EQ(got.size(), 1000u);
}

TEST_F(TlsTransportTest, MegabytesThroughPausesArriveInOrder) {
  const std::string sent = pattern(6 << 20);
  serve([&](TlsPeer& p) {
    for (size_t at = 0; at < sent.size(); at += 30000) p.send(std::string_view(sent).substr(at, 30000));
    p.shutdown();
    p.read_to_end();
  });
  int paused = 0;
  seen.on_bytes = [&] {
    if (seen.pieces % 3 != 0) return;
    transport->pause_read(kPauseEngine);
    ++paused;
  };
  // Nothing may come while it is paused.
  ASSERT_TRUE(run_until(
      [&] {
        if (paused > 0) {
          paused = 0;
          const size_t n = seen.text.size();
          turns(2);
          EXPECT_EQ(seen.text.size(), n);
          transport->resume_read(kPauseEngine);
          EXPECT_EQ(seen.text.size(), n) << "delivered inside resume_read";
        }
        return seen.eof;
      },
      60'000));
  EXPECT_TRUE(seen.text == sent);
}

TEST_F(TlsTransportTest, ALargeAnswerBlocksAndUnblocks) {
  const std::string sent = pattern(8 << 20);
  std::string got;
  options_.high_bytes = 1 << 20;
  options_.low_bytes = 1 << 18;
  std::atomic<bool> go{false};
  serve([&](TlsPeer& p) {
    while (!go) std::this_thread::yield();
    got = p.read(sent.size());
  });
  ASSERT_TRUE(run_until([&] { return seen.ready; }));
  for (size_t at = 0; at < sent.size(); at += 50000) transport->write(sent.data() + at, std::min<size_t>(50000, sent.size() - at));
  ASSERT_TRUE(run_until([&] { return seen.blocked; }));
  EXPECT_GT(transport->unsent(), 1u << 20);
  go = true;
  ASSERT_TRUE(run_until([&] { return transport->unsent() == 0; }, 60'000));
  EXPECT_FALSE(seen.blocked);
  EXPECT_EQ(seen.block_changes, 2);
  peer.join();
  EXPECT_TRUE(got == sent);
}

TEST_F(TlsTransportTest, AnEndWithoutGoodbyeIsNoEnd) {
  serve([&](TlsPeer& p) {
    p.send("half");
    p.close();
  });
  ASSERT_TRUE(run_until([&] { return seen.closed; }));
  EXPECT_EQ(seen.text, "half");
  EXPECT_FALSE(seen.eof);
  EXPECT_EQ(seen.reason, Reason::kDownstreamReset);
}

TEST_F(TlsTransportTest, FinishEndsOneDirectionOnly) {
  std::string got;
  serve([&](TlsPeer& p) {
    got = p.read_to_end();
    p.send("still here");
    p.shutdown();
  });
  ASSERT_TRUE(run_until([&] { return seen.ready; }));
  transport->write("all");
  transport->finish();
  ASSERT_TRUE(run_until([&] { return seen.eof; }));
  peer.join();
  EXPECT_EQ(got, "all");
  EXPECT_EQ(seen.text, "still here");
}

TEST_F(TlsTransportTest, ABrokenRecordIsMalformed) {
  serve([&](TlsPeer& p) {
    p.send("fine");
    const char record[] = "\x17\x03\x03\x00\x20no record of ours is like this!!!";
    EXPECT_GT(::send(p.fd(), record, 5 + 32, MSG_NOSIGNAL), 0);
    p.read_to_end();
  });
  ASSERT_TRUE(run_until([&] { return seen.closed; }));
  EXPECT_EQ(seen.text, "fine");
  EXPECT_EQ(seen.reason, Reason::kTlsMalformed);
}

TEST_F(TlsTransportTest, ClosingInsideACallbackIsFine) {
  serve([&](TlsPeer& p) {
    p.send("x");
    p.read_to_end();
  });
  seen.on_bytes = [&] { transport->close(false); };
  ASSERT_TRUE(run_until([&] { return seen.text == "x"; }));
  EXPECT_TRUE(transport->closed());
  turns(2);
  EXPECT_FALSE(seen.closed);
}

TEST_F(TlsTransportTest, SessionsOfTheOldGenerationAreForgotten) {
  // The transport is the client here.
  config::ClusterTls client;
  client.ca = folder.write("ca.pem", ca.pem());
  client.sni = "server.example";
  auto made = TlsIdentity::client(client, {}, "server.example", 1);
  ASSERT_TRUE(made.has_value());
  TlsSession session;
  const auto connect = [&] {
    SocketPair sockets;
    seen = {};
    bool resumed = false;
    std::thread server([fd = std::exchange(sockets.far, -1), this, &resumed] {
      TlsPeer p(fd, {.server = true, .own = server_pair, .session_context = "same"});
      if (p.handshake()) p.send("hello");
      resumed = p.resumed();
      p.read_to_end();
    });
    transport = TlsTransport::connect(*loop, sockets.take_near(), seen, {}, (*made)->current(0), &session);
    EXPECT_TRUE(run_until([&] { return seen.text == "hello" || seen.closed; }));
    transport->close(false);
    server.join();
    transport.reset();
    return resumed;
  };
  EXPECT_FALSE(connect());
  EXPECT_TRUE(connect());
  ASSERT_TRUE((*made)->reload().has_value());
  EXPECT_FALSE(connect());
  EXPECT_TRUE(connect());
}

}  // namespace
}  // namespace dragoman
