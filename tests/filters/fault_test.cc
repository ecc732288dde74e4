#include "tests/filters/filter_support.h"

namespace dragoman::test {
namespace {

/// The random value of which exactly `percent` of all values are below.
uint64_t at_percent(double percent) { return static_cast<uint64_t>(percent / 100.0 * 0x1p64); }

config::FaultFilter abort_of(double percent, uint32_t status = 503) {
  config::FaultFilter s;
  s.abort = config::FaultAbort{.pos = {}, .percent = percent, .status = status};
  return s;
}

config::FaultFilter delay_of(double percent, int64_t duration_ms) {
  config::FaultFilter s;
  s.delay = config::FaultDelay{.pos = {}, .percent = percent, .duration_ms = duration_ms};
  return s;
}

/// One exchange through one fault filter.
struct Exchanged {
  Exchanged(const config::FaultFilter& settings, std::vector<uint64_t> randoms) : factory(only(settings)) {
    ctx.randoms = std::move(randoms);
    filter = factory->create(head.arena);
    verdict = filter->on_request_head(ctx, head, true);
  }
  ~Exchanged() {
    filter->on_stream_end(ctx);
    EXPECT_EQ(ctx.wheel.active(), 0u);
  }
  std::unique_ptr<FilterFactory> factory;
  Head head;
  FakeContext ctx{head};
  Filter* filter;
  FilterVerdict verdict;
};

TEST(FaultFilter, AbortsItsShare) {
  struct Case {
    double percent;
    uint64_t random;
    bool aborted;
  };
  for (const Case& c : {Case{0, 0, false}, Case{0, ~uint64_t{0}, false}, Case{100, 0, true}, Case{100, ~uint64_t{0}, true},
                        Case{10, at_percent(9.99), true}, Case{10, at_percent(10.01), false},
                        Case{0.01, at_percent(0.009), true}, Case{0.01, at_percent(0.011), false}}) {
    Exchanged x(abort_of(c.percent, 418), {c.random});
    EXPECT_EQ(x.verdict, c.aborted ? FilterVerdict::kAnswered : FilterVerdict::kContinue) << c.percent;
    ASSERT_EQ(x.ctx.answered.has_value(), c.aborted) << c.percent;
    if (!c.aborted) continue;
    EXPECT_EQ(*x.ctx.answered, Reason::kFaultInjected);
    EXPECT_EQ(x.ctx.status, 418u);
  }
}

TEST(FaultFilter, NothingSetDoesNothing) {
  Exchanged x(config::FaultFilter{}, {0, 0});
  EXPECT_EQ(x.verdict, FilterVerdict::kContinue);
  EXPECT_EQ(x.ctx.random_at, 0u);
}

TEST(FaultFilter, DelayPausesAndResumes) {
  Exchanged x(delay_of(50, 100), {at_percent(49)});
  EXPECT_EQ(x.verdict, FilterVerdict::kPause);
  uint64_t start = x.ctx.wheel.now_ms();
  x.ctx.wheel.advance(start + 90);
  EXPECT_EQ(x.ctx.resumed, 0);
  x.ctx.wheel.advance(start + 110);
  EXPECT_EQ(x.ctx.resumed, 1);
  x.ctx.wheel.advance(start + 1000);
  EXPECT_EQ(x.ctx.resumed, 1);
  EXPECT_FALSE(x.ctx.answered);
}

TEST(FaultFilter, NoDelayOutsideItsShare) {
  Exchanged x(delay_of(50, 100), {at_percent(51)});
  EXPECT_EQ(x.verdict, FilterVerdict::kContinue);
  EXPECT_EQ(x.ctx.wheel.active(), 0u);
}

TEST(FaultFilter, DelayThenAbort) {
  config::FaultFilter both = delay_of(50, 100);
  both.abort = abort_of(50).abort;
  struct Case {
    double delay_at, abort_at;
    FilterVerdict verdict;
    bool answered, resumed;
  };
  for (const Case& c : {Case{10, 10, FilterVerdict::kPause, true, false}, Case{10, 90, FilterVerdict::kPause, false, true},
                        Case{90, 10, FilterVerdict::kAnswered, true, false}, Case{90, 90, FilterVerdict::kContinue, false, false}}) {
    Exchanged x(both, {at_percent(c.delay_at), at_percent(c.abort_at)});
    x.ctx.end_when_answered = x.filter;
    EXPECT_EQ(x.verdict, c.verdict);
    if (x.verdict == FilterVerdict::kPause) {
      EXPECT_FALSE(x.ctx.answered);
    }
    x.ctx.wheel.advance(x.ctx.wheel.now_ms() + 200);
    EXPECT_EQ(x.ctx.answered.has_value(), c.answered);
    EXPECT_EQ(x.ctx.resumed, c.resumed ? 1 : 0);
  }
}

TEST(FaultFilter, StreamThatEndsWhileDelayedStopsTheTimer) {
  Exchanged x(delay_of(100, 100), {0});
  EXPECT_EQ(x.ctx.wheel.active(), 1u);
  x.filter->on_stream_end(x.ctx);
  EXPECT_EQ(x.ctx.wheel.active(), 0u);
  x.ctx.wheel.advance(x.ctx.wheel.now_ms() + 1000);
  EXPECT_EQ(x.ctx.resumed, 0);
}

TEST(FaultFilter, StreamEndWithoutARequestHead) {
  auto factory = only(delay_of(100, 100));
  Head head;
  FakeContext ctx(head);
  factory->create(head.arena)->on_stream_end(ctx);  // an earlier filter answered
  EXPECT_EQ(ctx.wheel.active(), 0u);
}

TEST(FaultFilter, EachExchangeHasItsOwnTimer) {
  auto factory = only(delay_of(100, 100));
  Head head;
  FakeContext a(head), b(head);
  Filter* first = factory->create(head.arena);
  Filter* second = factory->create(head.arena);
  ASSERT_NE(first, second);
  first->on_request_head(a, head, true);
  second->on_request_head(b, head, true);
  first->on_stream_end(a);
  b.wheel.advance(b.wheel.now_ms() + 200);
  EXPECT_EQ(a.resumed, 0);
  EXPECT_EQ(b.resumed, 1);
}

}  // namespace
}  // namespace dragoman::test
