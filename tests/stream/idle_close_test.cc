// The idle timeout against a request that is already there: timers run after the sockets were polled, and what came between
// the two must not meet a close.
#include <gtest/gtest.h>

#include <future>

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

}  // namespace
}  // namespace dragoman::testing
