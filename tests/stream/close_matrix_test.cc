// Who closes how at which stage of an exchange: every combination, both protocols, one server. Nobody may get a wrong or
// falsely complete answer, and nothing may stay behind.
#include <gtest/gtest.h>

#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

enum class How { kFin, kReset };

void end(TestSocket& s, How how) {
  if (how == How::kReset)
    s.reset();
  else
    s.close();
}

constexpr size_t kBody = 100'000;

// What the backend does with a request is in its path or content: "u<stage><f|r>", or "ok".
constexpr int kBackendStages = 6;

class CloseMatrix : public ServerTest, public ::testing::WithParamInterface<std::tuple<const char*, const char*>> {
 protected:
  bool http() const { return std::get<0>(GetParam()) == std::string("http1"); }
  std::string request(const std::string& what, size_t body = kBody) const {
    if (http())
      return "PUT /" + what + " HTTP/1.1\r\nhost: a\r\ncontent-length: " + std::to_string(body) + "\r\n\r\n" +
             std::string(body, 'q');
    BoltFrame f = BoltFrame::request(5, what + "/" + std::string(body, 'q'));
    return f.bytes();
  }
  std::string whole_answer(uint32_t id) const {
    if (http()) return http_ok(std::string(kBody, 'a'));
    return BoltFrame::response(id, std::string(kBody, 'a')).bytes();
  }
  /// kOk complete and right, kError an error answer, kCut nothing or a part of an answer.
  enum class Seen { kOk, kError, kCut };
  Seen read(TestSocket& s) const {
    if (http()) {
      HttpMessage m = s.read_response();
      if (!m.complete) return Seen::kCut;
      if (m.status != 200) return Seen::kError;
      EXPECT_EQ(m.body, std::string(kBody, 'a'));
      return Seen::kOk;
    }
    const BoltParts a = read_answer(s);
    if (a.status == 999) return Seen::kCut;
    EXPECT_EQ(a.id, 5u);
    if (a.status != kBoltSuccess) return Seen::kError;
    EXPECT_EQ(a.content, std::string(kBody, 'a'));
    return Seen::kOk;
  }
  void backend(TestSocket& s) const {
    for (;;) {
      std::string what;
      uint32_t id = 0;
      if (http()) {
        // Stage 1 acts before the body came.
        const std::string head = s.read_until("\r\n\r\n");
        if (!head.ends_with("\r\n\r\n")) return;
        what = head.substr(5, head.find(' ', 5) - 5);
        if (act(s, what, 1)) return;
        if (s.discard(kBody / 2) < kBody / 2 || act(s, what, 2) || s.discard(kBody - kBody / 2) < kBody - kBody / 2)
          return;
      } else {
        const std::string frame = s.read_bolt();
        if (frame.empty()) return;
        const BoltParts p = bolt_parts(frame);
        what = p.content.substr(0, p.content.find('/'));
        id = p.id;
        if (act(s, what, 1) || act(s, what, 2)) return;
      }
      if (act(s, what, 3)) return;
      const std::string answer = whole_answer(id);
      if (!s.send(answer.substr(0, 10))) return;
      if (act(s, what, 4)) return;
      if (!s.send(answer.substr(10, answer.size() / 2))) return;
      if (act(s, what, 5)) return;
      if (!s.send(answer.substr(10 + answer.size() / 2))) return;
      if (act(s, what, 6)) return;
    }
  }
  static bool act(TestSocket& s, const std::string& what, int stage) {
    if (what.size() != 3 || what[0] != 'u' || what[1] - '0' != stage) return false;
    sleep_ms(5);  // what was sent before travels first
    end(s, what[2] == 'r' ? How::kReset : How::kFin);
    return true;
  }
};

TEST_P(CloseMatrix, NothingWrongIsDeliveredAndNothingStays) {
  ScriptedBackend up([this](TestSocket& s) { backend(s); });
  TestServer::Options options;
  options.workers = 1;
  start(
      fill_in("listeners:\n"
              "  - {name: in, address: '127.0.0.1:0', protocol: $PROTO, cluster: c}\n"
              "  - {name: patient, address: '127.0.0.1:0', protocol: $PROTO, cluster: c, half_close: serve}\n"
              "clusters: [{name: c, endpoints: ['$UP'], pool: {mode: $MODE}}]\n",
              {{"PROTO", std::get<0>(GetParam())}, {"MODE", std::get<1>(GetParam())}, {"UP", up.address()}}),
      options);
  const uint16_t port = server().port("in");

  // The backend ends, at each stage.
  for (int stage = 1; stage <= kBackendStages; ++stage) {
    for (char how : {'f', 'r'}) {
      const std::string what = std::string("u") + static_cast<char>('0' + stage) + how;
      SCOPED_TRACE(what);
      TestSocket s = TestSocket::connect(port);
      const uint64_t began = steady_ms();
      s.send(request(what));
      const Seen seen = read(s);
      EXPECT_LT(steady_ms() - began, static_cast<uint64_t>(kDeadlineMs) / 2) << "the client was left hanging";
      if (stage < kBackendStages) {
        EXPECT_NE(seen, Seen::kOk);
      } else if (how == 'f') {
        EXPECT_EQ(seen, Seen::kOk);
      }
    }
  }
  // The client ends, at each stage: connected, in the head, after it, in the body, waiting, in the answer, after it.
  const std::string whole = request("ok");
  const size_t head = http() ? whole.find("\r\n\r\n") + 4 : 22;
  for (size_t sent : {size_t{0}, size_t{7}, head, head + 1000, whole.size() - 1, whole.size()}) {
    for (size_t read_first : {size_t{0}, size_t{1}, size_t{5'000}}) {
      if (sent < whole.size() && read_first != 0) continue;
      for (How how : {How::kFin, How::kReset}) {
        TestSocket s = TestSocket::connect(port);
        s.send(whole.substr(0, sent));
        if (read_first != 0)
          s.read(read_first);
        else
          sleep_ms(3);
        end(s, how);
      }
    }
  }
  // Half-closed clients that still want their answer get it where that is configured.
  for (const char* listener : {"patient", "in"}) {
    TestSocket s = connect(listener);
    s.send(whole);
    s.finish();
    const Seen seen = read(s);
    if (listener == std::string("patient")) EXPECT_EQ(seen, Seen::kOk);
    EXPECT_TRUE(s.closed_by_peer());
  }
  // Both ends at once, many times, in no particular order.
  for (int i = 0; i < 60; ++i) {
    TestSocket s = TestSocket::connect(port);
    const std::string what = std::string("u") + static_cast<char>('1' + i % kBackendStages) + (i % 2 ? 'r' : 'f');
    s.send(request(what).substr(0, i % 5 == 0 ? whole.size() : 50 + static_cast<size_t>(i) * 1000));
    if (i % 3 == 0) sleep_ms(i % 7);
    end(s, i % 4 < 2 ? How::kReset : How::kFin);
  }
  // Well again, and nothing is left of all that.
  for (int i = 0; i < 3; ++i) {
    TestSocket s = TestSocket::connect(port);
    s.send(request("ok"));
    Seen seen = read(s);
    // A bound or shared connection that the backend is just closing may cost one call.
    if (seen != Seen::kOk && i == 0) continue;
    EXPECT_EQ(seen, Seen::kOk);
  }
  EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_active"));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_pending"));
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_active"));
  stop();  // checks that no stream, handle or chunk is alive
}

INSTANTIATE_TEST_SUITE_P(Protocols, CloseMatrix,
                         ::testing::Values(std::tuple("http1", "ping_pong"), std::tuple("bolt", "multiplex"),
                                           std::tuple("bolt", "ping_pong"), std::tuple("bolt", "bound")),
                         [](const auto& row) {
                           return std::string(std::get<0>(row.param)) + "_" + std::get<1>(row.param);
                         });

}  // namespace
}  // namespace dragoman::testing
