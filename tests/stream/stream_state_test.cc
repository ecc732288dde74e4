#include "proxy/stream/stream_state.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

namespace dragoman {
namespace {

TEST(StreamState, LegalTransitionsAreTheseAndNoOthers) {
  using S = StreamState;
  const std::map<S, std::set<S>> legal = {
      {S::kNew, {S::kFiltering, S::kDone}},
      {S::kFiltering, {S::kRouted, S::kDone}},
      {S::kRouted, {S::kWaiting, S::kDone}},
      {S::kWaiting, {S::kSending, S::kRouted, S::kDone}},
      {S::kSending, {S::kAnswering, S::kTunnel, S::kRouted, S::kDone}},
      {S::kAnswering, {S::kDone}},
      {S::kTunnel, {S::kDone}},
      {S::kDone, {}},
  };
  ASSERT_EQ(legal.size(), static_cast<size_t>(kStreamStateCount));
  for (int from = 0; from < kStreamStateCount; ++from) {
    for (int to = 0; to < kStreamStateCount; ++to) {
      const auto f = static_cast<S>(from), t = static_cast<S>(to);
      EXPECT_EQ(stream_may_go(f, t), legal.at(f).count(t) == 1)
          << stream_state_name(f) << " -> " << stream_state_name(t);
    }
  }
}

TEST(StreamState, EveryStateEndsAndNoneStaysWhereItIs) {
  for (int s = 0; s < kStreamStateCount; ++s) {
    const auto state = static_cast<StreamState>(s);
    EXPECT_FALSE(stream_may_go(state, state)) << stream_state_name(state);
    EXPECT_EQ(stream_may_go(state, StreamState::kDone), state != StreamState::kDone);
  }
}

TEST(StreamState, NamesAreDistinct) {
  std::set<std::string_view> names;
  for (int s = 0; s < kStreamStateCount; ++s) names.insert(stream_state_name(static_cast<StreamState>(s)));
  EXPECT_EQ(names.size(), static_cast<size_t>(kStreamStateCount));
  EXPECT_FALSE(names.count(""));
}

}  // namespace
}  // namespace dragoman
