// Large bodies through the engine with a slow reader at the end: the memory that they take has a bound. The size comes
// from DRAGOMAN_BODY_MIB (64 when not set).
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>

#include "tests/support/scripted_backend.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {
namespace {

constexpr size_t kPiece = 64 << 10;
/// What the process may grow by while a body passes. Not looked at under sanitizers: they keep freed memory.
constexpr uint64_t kGrowthMax = 8 << 20;
/// What may be under way between a client that sends and a backend that does not read: the kernel's buffers of two
/// connections (up to 4 MiB for the sender's side and 6 MiB for the receiver's) and our own.
constexpr uint64_t kUnderWayMax = 24 << 20;

uint64_t body_bytes() {
  const char* text = std::getenv("DRAGOMAN_BODY_MIB");
  return (text ? std::strtoull(text, nullptr, 10) : 64) << 20;
}

/// No two pieces in a row are alike.
std::string piece_at(uint64_t offset) {
  std::string piece(kPiece, static_cast<char>('a' + offset / kPiece % 26));
  piece.replace(0, 8, reinterpret_cast<const char*>(&offset), 8);
  return piece;
}

bool send_body(TestSocket& s, uint64_t n, bool chunked) {
  for (uint64_t at = 0; at < n; at += kPiece) {
    if (chunked && !s.send("10000\r\n")) return false;
    if (!s.send(piece_at(at))) return false;
    if (chunked && !s.send("\r\n")) return false;
  }
  return !chunked || s.send("0\r\n\r\n");
}

/// Reads `n` bytes, slowly at first, and checks them.
bool read_body(TestSocket& s, uint64_t n, bool chunked) {
  size_t left_in_chunk = 0;
  for (uint64_t at = 0; at < n;) {
    std::string piece;
    if (!chunked) {
      piece = s.read(kPiece);
    } else {
      while (piece.size() < kPiece) {
        if (left_in_chunk == 0) {
          const std::string line = s.read_until("\r\n");
          left_in_chunk = std::strtoul(line.c_str(), nullptr, 16);
          if (left_in_chunk == 0) return false;
        }
        std::string part = s.read(std::min(left_in_chunk, kPiece - piece.size()));
        if (part.empty()) return false;
        left_in_chunk -= part.size();
        piece += part;
        if (left_in_chunk == 0) s.read(2);
      }
    }
    if (piece != piece_at(at)) return false;
    at += kPiece;
    if (at <= (32u << 20) && at % (2u << 20) == 0) sleep_ms(10);
  }
  return !chunked || s.read(5) == "0\r\n\r\n";
}

class LargeBodies : public ServerTest {
 protected:
  LargeBodies() { gauges_end_at_zero_ = true; }
  void run(const ScriptedBackend& backend) {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in(R"(
listeners: [{name: in, address: 127.0.0.1:0, protocol: http1, cluster: up}]
clusters: [{name: up, endpoints: [$BACKEND]}]
)",
                  {{"BACKEND", backend.address()}}),
          options);
  }
  /// Runs `job` on a thread and returns how much the process grew at most meanwhile.
  template <class Job>
  uint64_t growth_during(Job&& job) {
    const uint64_t before = resident_bytes();
    std::atomic<bool> over{false};
    std::thread thread([&] {
      job();
      over = true;
    });
    uint64_t most = before;
    while (!over) {
      most = std::max(most, resident_bytes());
      sleep_ms(5);
    }
    thread.join();
    return most - before;
  }
};

TEST_F(LargeBodies, Upload) {
  const uint64_t n = body_bytes();
  for (bool chunked : {false, true}) {
    SCOPED_TRACE(chunked);
    ScriptedBackend backend({[&](TestSocket& s) {
                               const std::string head = s.read_until("\r\n\r\n");
                               const bool in_chunks = head.find("transfer-encoding: chunked\r\n") != std::string::npos;
                               s.send(http_ok(read_body(s, n, in_chunks) ? "good" : "bad"));
                             }},
                            {.receive_buffer_bytes = 64 << 10});
    run(backend);
    TestSocket s = connect();
    s.set_deadline_ms(100'000);
    s.send("POST / HTTP/1.1\r\nHost: a\r\n" + (chunked ? "Transfer-Encoding: chunked" : "Content-Length: " + std::to_string(n)) + "\r\n\r\n");
    bool sent = false;
    const uint64_t growth = growth_during([&] { sent = send_body(s, n, chunked); });
    EXPECT_TRUE(sent);
    EXPECT_EQ(s.read_response().body, "good");
    EXPECT_TRUE(kSanitized || growth < kGrowthMax) << growth;  // theirs is not the product's memory
    stop();
  }
}

TEST_F(LargeBodies, Download) {
  const uint64_t n = body_bytes();
  for (bool chunked : {false, true}) {
    SCOPED_TRACE(chunked);
    ScriptedBackend backend([&](TestSocket& s) {
      s.read_request();
      s.set_deadline_ms(100'000);
      s.send("HTTP/1.1 200 OK\r\n" + (chunked ? "Transfer-Encoding: chunked" : "Content-Length: " + std::to_string(n)) + "\r\n\r\n");
      send_body(s, n, chunked);
      s.wait_end();
    });
    run(backend);
    TestSocket s = TestSocket::connect(server().port("in"), 64 << 10);
    s.set_deadline_ms(100'000);
    s.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_TRUE(s.read_until("\r\n\r\n").starts_with("HTTP/1.1 200 "));
    bool good = false;
    const uint64_t growth = growth_during([&] { good = read_body(s, n, chunked); });
    EXPECT_TRUE(good);
    EXPECT_TRUE(kSanitized || growth < kGrowthMax) << growth;
    s.close();
    stop();
  }
}

TEST_F(LargeBodies, ABackendThatStopsReadingStopsTheClient) {
  std::atomic<bool> go_on{false};
  ScriptedBackend backend({[&](TestSocket& s) {
                            s.read_until("\r\n\r\n");
                            while (!go_on) sleep_ms(5);
                            s.send(http_ok(s.discard(64 << 20) == (64 << 20) ? "all" : "part"));
                          }},
                          {.receive_buffer_bytes = 64 << 10});
  run(backend);
  TestSocket s = connect();
  s.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(64 << 20) + "\r\n\r\n");
  const std::string piece(kPiece, 'p');
  uint64_t sent = 0, last = 1;
  const uint64_t growth = growth_during([&] {
    // Until nothing moves any more.
    while (last != sent) {
      last = sent;
      for (int i = 0; i < 40; ++i) {
        while (sent < kUnderWayMax) {
          const size_t n = s.send_some(piece);
          if (n == 0) break;
          sent += n;
        }
        sleep_ms(5);
      }
    }
  });
  EXPECT_LT(sent, kUnderWayMax);
  EXPECT_TRUE(kSanitized || growth < kGrowthMax) << growth;
  go_on = true;
  while (sent < (64 << 20)) {
    const std::string_view rest(piece.data(), std::min<uint64_t>(piece.size(), (64 << 20) - sent));
    ASSERT_TRUE(s.send(rest));
    sent += rest.size();
  }
  EXPECT_EQ(s.read_response().body, "all");
}

}  // namespace
}  // namespace dragoman::testing
