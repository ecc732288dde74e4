#include "proxy/net/loop.h"

#include <unistd.h>

#include <thread>
#include <vector>

#include "tests/net/net_fixture.h"

namespace dragoman {
namespace {

using LoopTest = NetTest;

TEST_F(LoopTest, NeverRunLeaksNothing) { loop.reset(); }

TEST_F(LoopTest, PostsBeforeRunAreRunInOrder) {
  std::vector<int> order;
  for (int i = 0; i < 10; ++i) loop->post([&order, i] { order.push_back(i); });
  loop->post([this] { loop->stop(); });
  loop->run();
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST_F(LoopTest, PostsQueuedBeforeStopStillRunLaterOnesDont) {
  int ran = 0;
  loop->post([&] { ++ran; });
  loop->stop();
  loop->post([&] { ran += 100; });
  loop->stop();  // twice is once
  loop->run();
  EXPECT_EQ(ran, 1);
}

TEST_F(LoopTest, PostedWorkMayPostAndDestroyWhatItCaptured) {
  auto shared = std::make_shared<int>(1);
  std::weak_ptr<int> watch = shared;
  bool second = false;
  loop->post([this, shared, &second] { loop->post([&second] { second = true; }); });
  shared.reset();
  EXPECT_TRUE(run_until([&] { return second; }));
  EXPECT_TRUE(watch.expired());
}

TEST_F(LoopTest, PostsFromManyThreadsAllArrive) {
  constexpr int kThreads = 4, kEach = 5000;
  int count = 0;  // only touched on the loop's thread
  std::vector<int> last(kThreads, -1);
  bool ordered = true;
  std::thread runner([&] { loop->run(); });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i)
        loop->post([&, t, i] {
          ++count;
          ordered = ordered && last[t] == i - 1 && loop->on_own_thread();
          last[t] = i;
        });
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_FALSE(loop->on_own_thread());
  loop->stop();
  runner.join();
  EXPECT_EQ(count, kThreads * kEach);
  EXPECT_TRUE(ordered);
}

TEST_F(LoopTest, StopRacesWithPosts) {
  for (int round = 0; round < 50; ++round) {
    auto racing = std::make_unique<Loop>();
    std::thread runner([&] { racing->run(); });
    std::thread poster([&] {
      for (int i = 0; i < 100; ++i) racing->post([] {});
    });
    racing->stop();
    runner.join();
    poster.join();
  }
}

struct Corpse : Retired {
  explicit Corpse(std::function<void()> fn) : on_death(std::move(fn)) {}
  ~Corpse() override { on_death(); }
  std::function<void()> on_death;
};

TEST_F(LoopTest, RetiredObjectsDieAfterTheCallback) {
  bool dead = false, dead_inside = false;
  loop->post([&] {
    auto* corpse = new Corpse([&] { dead = true; });
    loop->retire(corpse);
    loop->retire(corpse);
    dead_inside = dead;
  });
  loop->turn(true);
  EXPECT_FALSE(dead_inside);
  EXPECT_TRUE(dead) << "the loop went on with a dead object around";
}

TEST_F(LoopTest, RetiredObjectsMayRetireOthers) {
  int deaths = 0;
  loop->post([&] {
    loop->retire(new Corpse([&] {
      ++deaths;
      loop->retire(new Corpse([&] { ++deaths; }));
    }));
  });
  loop->turn(true);
  EXPECT_EQ(deaths, 2);
}

TEST_F(LoopTest, RetiredBeforeTheEndOrWithoutRunIsDeletedToo) {
  int deaths = 0;
  loop->retire(new Corpse([&] { ++deaths; }));
  loop.reset();
  EXPECT_EQ(deaths, 1);
}

struct Alarm {
  explicit Alarm(Loop& l) : loop(l) { timer.bind<&Alarm::on_timeout>(l.timers(), this); }
  void on_timeout() { fired_ms = loop.now_ms(); }
  Loop& loop;
  Timer timer;
  uint64_t fired_ms = 0;
};

TEST_F(LoopTest, TimersFireOnTime) {
  Alarm alarms[3] = {Alarm(*loop), Alarm(*loop), Alarm(*loop)};
  const uint64_t delays[3] = {60, 10, 30};
  const uint64_t start = loop->now_ms();
  for (int i = 0; i < 3; ++i) alarms[i].timer.start(delays[i]);
  EXPECT_TRUE(run_until([&] { return alarms[0].fired_ms && alarms[1].fired_ms && alarms[2].fired_ms; }));
  for (int i = 0; i < 3; ++i) EXPECT_GE(alarms[i].fired_ms, start + delays[i]) << i;
  EXPECT_LE(alarms[1].fired_ms, alarms[2].fired_ms);
  EXPECT_LE(alarms[2].fired_ms, alarms[0].fired_ms);
}

TEST_F(LoopTest, ATimerStartedAfterALongPollCountsFromThen) {
  Alarm alarm(*loop);
  loop->turn(false);
  uint64_t started_ns = 0, fired_ns = 0;
  std::thread waker([&] {
    ::usleep(100'000);
    loop->post([&] {
      started_ns = Loop::now_ns();
      alarm.timer.start(80);  // less than the poll slept
    });
  });
  EXPECT_TRUE(run_until([&] {
    if (!alarm.fired_ms) return false;
    fired_ns = Loop::now_ns();
    return true;
  }));
  waker.join();
  // The loop's clock is read up to some ms before the callback (coarse clock), hence the slack.
  EXPECT_GE(fired_ns - started_ns, 70'000'000u);
}

TEST_F(LoopTest, AnIdleLoopDoesNotTurn) {
  Alarm far(*loop), near(*loop);
  far.timer.start(100'000'000);
  near.timer.start(60);
  turns(3);
  const uint64_t before = loop->stats().turns;
  EXPECT_TRUE(run_until([&] { return near.fired_ms != 0; }));
  EXPECT_LE(loop->stats().turns - before, 8u);
}

TEST_F(LoopTest, ScratchHasHeadroom) {
  uint8_t* scratch = loop->scratch();
  scratch[-static_cast<ptrdiff_t>(Loop::kScratchHeadroom)] = 1;
  scratch[Loop::kScratchBytes - 1] = 1;
}

}  // namespace
}  // namespace dragoman
