#include "proxy/base/thread_start.h"

#include <gtest/gtest.h>

#include <thread>

namespace dragoman {
namespace {

thread_local int uses = 0;
const AtThreadStart first{[] { ++uses; }};
const AtThreadStart second{[] { uses += 10; }};

TEST(ThreadStart, EachThreadUsesWhatIsRegisteredOnce) {
  int seen = 0;
  for (int i = 0; i < 2; ++i) {
    std::thread([&seen] {
      AtThreadStart::run();
      seen += uses;
    }).join();
  }
  EXPECT_EQ(seen, 22);
  EXPECT_EQ(uses, 0) << "this thread did not ask";
}

}  // namespace
}  // namespace dragoman
