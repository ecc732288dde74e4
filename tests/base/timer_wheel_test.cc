#include "proxy/base/timer_wheel.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <vector>

namespace dragoman {
namespace {

struct Probe {
  explicit Probe(TimerWheel& wheel) { timer.bind<&Probe::on_timeout>(wheel, this); }
  void on_timeout() {
    ++fired;
    if (then) then();
  }
  Timer timer;
  int fired = 0;
  std::function<void()> then;
};

TEST(TimerWheel, FiresAtTheFirstAdvanceAtOrAfterTheDeadline) {
  for (uint64_t delay :
       {0, 1, 7, 8, 9, 500, 511, 512, 513, 4095, 32767, 32768, 32769, 2097151, 2097152, 2097160, 134217728}) {
    for (uint64_t start : {0, 1, 8, 1000, 32760, 2097151}) {
      TimerWheel wheel(start);
      Probe probe(wheel);
      probe.timer.start(delay);
      const uint64_t due = probe.timer.expires_ms();
      EXPECT_GE(due, start + delay);
      EXPECT_LE(due, start + delay + TimerWheel::kTickMs);
      EXPECT_TRUE(probe.timer.active());
      wheel.advance(due - 1);
      EXPECT_EQ(probe.fired, 0) << "start " << start << " delay " << delay;
      wheel.advance(due);
      EXPECT_EQ(probe.fired, 1) << "start " << start << " delay " << delay;
      EXPECT_FALSE(probe.timer.active());
      EXPECT_EQ(wheel.active(), 0u);
      wheel.advance(due + 1'000'000);
      EXPECT_EQ(probe.fired, 1);
    }
  }
}

TEST(TimerWheel, StepByStepCascadesKeepTheDeadline) {
  TimerWheel wheel(5);
  Probe probe(wheel);
  probe.timer.start(300'000);  // level 2
  const uint64_t due = probe.timer.expires_ms();
  for (uint64_t now = 5; now < due; now += 3) {
    wheel.advance(now);
    ASSERT_EQ(probe.fired, 0) << now;
  }
  wheel.advance(due);
  EXPECT_EQ(probe.fired, 1);
}

TEST(TimerWheel, RunsInTickOrderWhenTheClockJumps) {
  TimerWheel wheel(0);
  std::vector<uint64_t> order;
  std::vector<std::unique_ptr<Probe>> probes;
  for (uint64_t delay : {5'000'000, 16, 40'000, 500, 8, 700'000, 3000}) {
    probes.push_back(std::make_unique<Probe>(wheel));
    probes.back()->then = [&order, delay] { order.push_back(delay); };
    probes.back()->timer.start(delay);
  }
  wheel.advance(10'000'000);
  EXPECT_EQ(order, (std::vector<uint64_t>{8, 16, 500, 3000, 40'000, 700'000, 5'000'000}));
}

TEST(TimerWheel, DelaysCountFromSetNow) {
  TimerWheel wheel(0);
  Probe early(wheel), late(wheel);
  early.timer.start(1000);
  wheel.set_now(5000);  // a poll that slept: nothing runs, but the clock is right
  EXPECT_EQ(early.fired, 0);
  late.timer.start(1000);
  EXPECT_EQ(late.timer.expires_ms(), 6000u);
  EXPECT_EQ(wheel.next_delay_ms(), 0);
  wheel.advance(5000);
  EXPECT_EQ(early.fired, 1);
  EXPECT_EQ(late.fired, 0);
  wheel.advance(6000);
  EXPECT_EQ(late.fired, 1);
}

TEST(TimerWheel, TheClockNeverGoesBack) {
  TimerWheel wheel(1000);
  wheel.advance(500);
  EXPECT_EQ(wheel.now_ms(), 1000u);
  wheel.set_now(900);
  EXPECT_EQ(wheel.now_ms(), 1000u);
}

TEST(TimerWheel, StopAndRestart) {
  TimerWheel wheel(0);
  Probe probe(wheel);
  probe.timer.stop();  // not started: nothing
  probe.timer.start(100);
  probe.timer.stop();
  EXPECT_FALSE(probe.timer.active());
  EXPECT_EQ(wheel.active(), 0u);
  EXPECT_EQ(wheel.next_delay_ms(), -1);
  wheel.advance(200);
  EXPECT_EQ(probe.fired, 0);
  probe.timer.start(100);
  probe.timer.start(1000);  // later
  EXPECT_EQ(wheel.active(), 1u);
  wheel.advance(400);
  EXPECT_EQ(probe.fired, 0);
  probe.timer.start(50);  // sooner
  wheel.advance(456);
  EXPECT_EQ(probe.fired, 1);
  wheel.advance(2000);
  EXPECT_EQ(probe.fired, 1);
}

TEST(TimerWheel, DestroyingATimerStopsIt) {
  TimerWheel wheel(0);
  auto probe = std::make_unique<Probe>(wheel);
  probe->timer.start(100);
  probe.reset();
  EXPECT_EQ(wheel.active(), 0u);
  wheel.advance(1000);
}

TEST(TimerWheel, DestroyingTheWheelFirstIsHarmless) {
  auto wheel = std::make_unique<TimerWheel>(0);
  Probe probe(*wheel);
  probe.timer.start(100);
  wheel.reset();
  EXPECT_FALSE(probe.timer.active());
}

TEST(TimerWheel, RestartInTheCallbackRunsAgainLater) {
  TimerWheel wheel(0);
  Probe probe(wheel);
  probe.then = [&] { probe.timer.start(0); };
  probe.timer.start(0);
  for (uint64_t now = 8; now <= 800; now += 8) wheel.advance(now);
  EXPECT_EQ(probe.fired, 100);
  // A jump doesn't make it run once per missed tick without end.
  wheel.advance(8'000'000);
  EXPECT_LE(probe.fired, 103);
}

TEST(TimerWheel, CallbackMayDestroyItsTimerAndItsNeighbours) {
  TimerWheel wheel(0);
  auto first = std::make_unique<Probe>(wheel);
  auto second = std::make_unique<Probe>(wheel);
  auto third = std::make_unique<Probe>(wheel);
  int third_fired = 0;
  third->then = [&] { ++third_fired; };
  first->then = [&] {
    second.reset();
    first.reset();  // the lambda dies here: nothing of it is used afterwards
  };
  for (auto* p : {first.get(), second.get(), third.get()}) p->timer.start(64);
  wheel.advance(64);
  EXPECT_EQ(first, nullptr);
  EXPECT_EQ(third_fired, 1);
  EXPECT_EQ(wheel.active(), 0u);
}

TEST(TimerWheel, LongDelaysAreClampedNotWrapped) {
  constexpr uint64_t kReachMs = (uint64_t{1} << 30) * TimerWheel::kTickMs;
  for (uint64_t delay : {kReachMs - 8, kReachMs, kReachMs * 10, UINT64_MAX}) {
    TimerWheel wheel(12345);
    Probe probe(wheel);
    probe.timer.start(delay);
    EXPECT_LE(probe.timer.expires_ms(), 12345 + kReachMs);
    EXPECT_GT(probe.timer.expires_ms(), kReachMs - 100);
    wheel.advance(probe.timer.expires_ms() - 1);
    EXPECT_EQ(probe.fired, 0);
    wheel.advance(probe.timer.expires_ms());
    EXPECT_EQ(probe.fired, 1);
  }
}

TEST(TimerWheel, AnIdleWheelCatchesUpWithTheClock) {
  TimerWheel wheel(0);
  Probe probe(wheel);
  wheel.set_now(uint64_t{400} * 24 * 3600 * 1000);  // further than the wheel reaches
  probe.timer.start(50);
  EXPECT_LE(wheel.next_delay_ms(), 64);
  EXPECT_GT(wheel.next_delay_ms(), 40);
  wheel.advance(wheel.now_ms() + 64);
  EXPECT_EQ(probe.fired, 1);
}

TEST(TimerWheel, NextDelayLeadsToEveryDeadlineInFewSteps) {
  for (uint64_t delay : {1, 100, 10'000, 1'000'000, 100'000'000}) {
    TimerWheel wheel(777);
    Probe probe(wheel);
    probe.timer.start(delay);
    int steps = 0;
    while (probe.fired == 0) {
      const int64_t next = wheel.next_delay_ms();
      ASSERT_GE(next, 0);
      wheel.advance(wheel.now_ms() + static_cast<uint64_t>(next));
      ASSERT_LE(++steps, 2 * TimerWheel::kLevels) << delay;
    }
    EXPECT_GE(wheel.now_ms(), 777 + delay);
    EXPECT_LE(wheel.now_ms(), 777 + delay + 8);
  }
}

// 100,000 random operations against the plain meaning of the interface: a map of deadlines.
class Model {
 public:
  explicit Model(uint32_t seed) : random_(seed), wheel_(random_() % 10'000'000) {
    for (int i = 0; i < kTimers; ++i) make(i);
  }

  void run(int operations) {
    for (int i = 0; i < operations && !::testing::Test::HasFailure(); ++i) step();
  }

 private:
  static constexpr int kTimers = 200;
  struct Entry {
    Model* model;
    int index;
    Timer timer;
    void on_timeout() { model->fired(index); }
  };

  uint64_t random_delay() {
    // Every magnitude is as likely as the next: all levels get their share.
    return random_() & ((uint64_t{1} << (random_() % 28)) - 1);
  }
  void make(int i) {
    entries_[i] = std::make_unique<Entry>();
    entries_[i]->model = this;
    entries_[i]->index = i;
    entries_[i]->timer.bind<&Entry::on_timeout>(wheel_, entries_[i].get());
  }
  void start(int i) {
    const uint64_t delay = random_delay();
    entries_[i]->timer.start(delay);
    due_[i] = entries_[i]->timer.expires_ms();
    EXPECT_GE(due_[i], wheel_.now_ms() + delay);
    EXPECT_LE(due_[i], wheel_.now_ms() + delay + TimerWheel::kTickMs);
  }
  void stop(int i) {
    entries_[i]->timer.stop();
    due_.erase(i);
  }
  void destroy(int i) {
    entries_[i].reset();
    due_.erase(i);
    make(i);
  }
  void fired(int i) {
    ASSERT_TRUE(due_.count(i)) << "a stopped timer ran";
    EXPECT_LE(due_[i], wheel_.now_ms()) << "too early";
    EXPECT_GE(due_[i], last_due_) << "out of order";
    EXPECT_FALSE(entries_[i]->timer.active());
    last_due_ = due_[i];
    due_.erase(i);
    const int other = static_cast<int>(random_() % kTimers);
    switch (random_() % 6) {
      case 0:
        start(i);
        break;
      case 1:
        start(other);
        break;
      case 2:
        stop(other);
        break;
      case 3:
        destroy(i);
        break;
      case 4:
        destroy(other);
        break;
      default:
        break;
    }
  }
  void check() {
    ASSERT_EQ(wheel_.active(), due_.size());
    uint64_t earliest = UINT64_MAX;
    for (const auto& [i, due] : due_) {
      ASSERT_TRUE(entries_[i]->timer.active());
      ASSERT_EQ(entries_[i]->timer.expires_ms(), due);
      earliest = std::min(earliest, due);
    }
    const int64_t next = wheel_.next_delay_ms();
    if (due_.empty()) {
      ASSERT_EQ(next, -1);
    } else {
      ASSERT_GE(next, 0);
      if (earliest > wheel_.now_ms()) {
        ASSERT_LE(wheel_.now_ms() + static_cast<uint64_t>(next), earliest);
      }
    }
  }
  void step() {
    const int i = static_cast<int>(random_() % kTimers);
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        start(i);
        break;
      case 3:
        stop(i);
        break;
      case 4:
        destroy(i);
        break;
      case 5:
        wheel_.set_now(wheel_.now_ms() + random_() % 50);
        break;
      default: {
        const uint64_t now = wheel_.now_ms() + (random_() % 16 ? random_() % 100 : random_delay());
        last_due_ = 0;
        wheel_.advance(now);
        for (const auto& [k, due] : due_) ASSERT_GT(due, now) << "timer " << k << " is late";
      }
    }
    check();
  }

  std::mt19937_64 random_;
  TimerWheel wheel_;
  std::unique_ptr<Entry> entries_[kTimers];
  std::map<int, uint64_t> due_;
  uint64_t last_due_ = 0;
};

TEST(TimerWheel, AgreesWithAPlainModel) {
  for (uint32_t seed = 1; seed <= 4 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Model(seed).run(25'000);
  }
}

}  // namespace
}  // namespace dragoman
