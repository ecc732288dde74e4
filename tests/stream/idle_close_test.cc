// The idle timeout against a request that is already there: timers run after the sockets were polled, and what came between
// the two must not meet a close.
#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "tests/http2/frames.h"
#include "tests/stream/engine_harness.h"
#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

constexpr int64_t kIdleMs = 50;

TEST(IdleClose, ARequestThatCameAfterThePollIsServed) {
  BoltRecorder backend;
  config::Listener listener;
  listener.idle_timeout_ms = kIdleMs;
  EngineHarness engine("bolt", {backend.address()}, {}, {}, listener);
  TestSocket client = engine.connect();
  client.send(BoltFrame::request(1, "first").bytes());
  ASSERT_EQ(read_answer(client).content, "first");

  std::promise<void> sent;
  engine.run([&] {
    sleep_ms(2 * kIdleMs);  // the loop is held up: at its next turn the timeout has passed
    engine.loop().post([&] {  // in that turn, between the poll and the timers
      client.send(BoltFrame::request(2, "second").bytes());
      sent.set_value();
    });
  });
  sent.get_future().wait();
  EXPECT_EQ(read_answer(client).content, "second");
  EXPECT_EQ(client.wait_end(), End::kEof) << "idle again, and closed for it";
}

// A client of HTTP/2 that says GOAWAY may go on (RFC 9113 6.8); its silence ends the connection as in a drain, long before the idle timeout.
TEST(IdleClose, AClientThatSaidGoodbyeIsWaitedForAsInADrain) {
  ScriptedBackend backend(scripts::silent());
  config::Listener listener;
  listener.idle_timeout_ms = 3'600'000;
  EngineHarness engine("http2", {backend.address()}, {}, {}, listener);
  TestSocket client = engine.connect();
  client.send(h2::hello() + h2::goaway(0, h2::kNoError) + h2::ping());
  const std::vector<h2::Frame> said = h2::parse(client.read_to_end());
  auto is = [](uint8_t type) { return [type](const h2::Frame& f) { return f.type == type; }; };
  EXPECT_EQ(std::count_if(said.begin(), said.end(), is(h2::kPing)), 1);
  ASSERT_FALSE(said.empty());
  EXPECT_EQ(said.back().type, h2::kGoAway);
  EXPECT_EQ(said.back().word(4), h2::kNoError);
}

}  // namespace
}  // namespace dragoman::testing
