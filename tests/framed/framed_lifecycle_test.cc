// Every way to end x every stage of a call: nothing leaks, nothing is used after its end, other calls are
// unharmed.
#include <gtest/gtest.h>

#include "protocols/bolt/bolt.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"

namespace dragoman::testing {
namespace {

std::span<const uint8_t> bytes_of(std::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

/// One call that is taken to a stage step by step, on connections that can be ended in any way.
struct Call {
  explicit Call(PoolMode mode)
      : down(std::make_unique<FramedConnection>(bolt_codec(), Role::kServer)),
        up(std::make_unique<FramedConnection>(bolt_codec(), Role::kClient, framed_options(mode))) {}
  ~Call() {
    request().release();
    answer.release();
  }
  static constexpr int kStages = 9;

  void advance_to(int stage) {
    std::string ask = BoltFrame::request(1, "question").bytes();
    if (stage >= 0) down->feed(ask.substr(0, 30));                // 0: half a head
    if (stage >= 1) down->feed(ask.substr(30, ask.size() - 34));  // 1: head and half the body
    if (stage >= 2) {                                             // 2: opened upstream, half the request sent
      answer.exchange = up->codec->open(answer);
      EXPECT_EQ(answer.exchange->send_head(*request().head, false), Reason::kNone);
      answer.exchange->send_body(bytes_of(request().body), false);
    }
    if (stage >= 3) {  // 3: the whole request sent
      size_t had = request().body.size();
      down->feed(ask.substr(ask.size() - 4));
      answer.exchange->send_body(bytes_of(request().body.substr(had)), true);
    }
    if (stage < 4) return;
    std::string reply = BoltFrame::response(bolt_id(up->sink.take()), "reply").bytes();
    up->feed(reply.substr(0, 10));                                  // 4: half an answer's head
    if (stage >= 5) up->feed(reply.substr(10, reply.size() - 13));  // 5: half its body
    if (stage >= 6) pass_answer_head();                             // 6: its head passed on
    if (stage >= 7) up->feed(reply.substr(reply.size() - 3));       // 7: the whole answer received
    if (stage >= 8) request().exchange->send_body(bytes_of(answer.body), true);  // 8: and sent
  }
  void pass_answer_head() { EXPECT_EQ(request().exchange->send_head(*answer.head, false), Reason::kNone); }
  FakeMessageSink& request() { return down->accepted() ? down->at(0) : none; }

  std::unique_ptr<FramedConnection> down, up;
  FakeMessageSink answer;
  FakeMessageSink none;
};

struct Ending {
  const char* what;
  void (*act)(Call&);
};

const Ending kEndings[] = {
    {"nothing", [](Call&) {}},
    {"down eof", [](Call& c) { c.down->codec->on_eof(); }},
    {"down lost", [](Call& c) { c.down->codec->on_transport_closed(Reason::kDownstreamReset); }},
    {"down fails", [](Call& c) { c.down->codec->fail(Reason::kFrameTimeout); }},
    {"down drains", [](Call& c) { c.down->codec->drain(); }},
    {"down garbage", [](Call& c) { c.down->feed("garbage garbage garbage garbage"); }},
    {"up eof", [](Call& c) { c.up->codec->on_eof(); }},
    {"up lost", [](Call& c) { c.up->codec->on_transport_closed(Reason::kUpstreamReset); }},
    {"up fails", [](Call& c) { c.up->codec->fail(Reason::kHeartbeatLost); }},
    {"up drains", [](Call& c) { c.up->codec->drain(); }},
    {"up garbage", [](Call& c) { c.up->feed("garbage garbage garbage garbage"); }},
    {"request reset",
     [](Call& c) {
       if (c.request().exchange) c.request().exchange->reset(Reason::kInternal);
     }},
    {"answer reset",
     [](Call& c) {
       if (c.answer.exchange) c.answer.exchange->reset(Reason::kUpstreamTimeout);
     }},
    {"request released", [](Call& c) { c.request().release(); }},
    {"answer released", [](Call& c) { c.answer.release(); }},
    {"local reply",
     [](Call& c) {
       if (c.request().exchange) c.request().exchange->send_reply(*c.request().head, {});
     }},
    {"both paused",
     [](Call& c) {
       if (c.request().exchange) c.request().exchange->pause_reading();
       if (c.answer.exchange) c.answer.exchange->pause_reading();
     }},
    {"down codec destroyed", [](Call& c) { c.down->codec.reset(); }},
    {"up codec destroyed", [](Call& c) { c.up->codec.reset(); }},
};

class Lifecycle : public ::testing::TestWithParam<PoolMode> {};

TEST_P(Lifecycle, TwoEndingsAtEveryStage) {
  size_t chunks = live_chunks();
  for (int stage = 0; stage < Call::kStages; ++stage) {
    for (const Ending& first : kEndings) {
      for (const Ending& second : kEndings) {
        SCOPED_TRACE(std::string(first.what) + ", then " + second.what + " at stage " +
                     std::to_string(stage));
        {
          Call call(GetParam());
          call.advance_to(stage);
          auto can = [&call](const Ending& e) {
            bool needs_down = e.what[0] == 'd', needs_up = e.what[0] == 'u';
            return (!needs_down || call.down->codec) && (!needs_up || call.up->codec);
          };
          if (can(first)) first.act(call);
          if (can(second)) second.act(call);
          // Whatever came before, calls on exchanges still held are harmless.
          if (call.request().exchange) {
            call.request().exchange->pause_reading();
            call.request().exchange->resume_reading();
            call.request().exchange->send_body(bytes_of("xx"), false);
          }
          if (call.answer.exchange) {
            call.answer.exchange->send_body(bytes_of("xx"), true);
            call.answer.exchange->reset(Reason::kInternal);
          }
          if (call.down->codec) call.down->codec->on_write_blocked(true);
          if (call.up->codec) call.up->codec->on_write_blocked(true);
          call.request().release();
          call.answer.release();
          for (FramedConnection* c : {call.down.get(), call.up.get()}) {
            if (!c->codec) continue;
            EXPECT_EQ(c->codec->open_exchanges(), 0u);
            EXPECT_FALSE(c->events.paused);
          }
        }
        ASSERT_EQ(live_framed_exchanges(), 0u);
        ASSERT_EQ(live_chunks(), chunks);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, Lifecycle,
                         ::testing::Values(PoolMode::kMultiplex, PoolMode::kPingPong, PoolMode::kBound));

TEST(LifecycleInCallbacks, ReleaseFromInsideEachCallback) {
  // Three requests in one read; in one callback of the second, all three are released.
  for (int where = 0; where < 3; ++where) {
    FramedConnection c(bolt_codec(), Role::kServer);
    auto release_all = [&c] {
      for (auto& s : c.events.accepted) s->release();
    };
    c.events.then_exchange = [&](FakeMessageSink& s) {
      if (c.accepted() != 2) return;
      if (where == 0) s.then_head = [&](Head&, bool) { release_all(); };
      if (where == 1) s.then_body = [&](std::string_view, bool) { release_all(); };
      if (where == 2) s.then_body = [&](std::string_view, bool) { c.codec->fail(Reason::kInternal); };
    };
    if (where == 2) {
      c.events.then_broken = release_all;
    }
    c.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes() + BoltFrame::request(3).bytes());
    if (where == 2) {
      EXPECT_EQ(c.accepted(), 2u);
      EXPECT_EQ(c.events.broken, 1);
    } else {
      ASSERT_EQ(c.accepted(), 3u);
      EXPECT_TRUE(c.at(2).ended);
      EXPECT_EQ(c.codec->open_exchanges(), 1u);
    }
  }
  EXPECT_EQ(live_framed_exchanges(), 0u);
}

TEST(LifecycleInCallbacks, ReleaseOfOthersWhileBreaking) {
  FramedConnection c(bolt_codec(), Role::kServer);
  for (uint32_t i = 0; i < 4; ++i) c.feed(BoltFrame::request(i).bytes());
  c.at(1).then_reset = [&](Reason) {
    for (auto& s : c.events.accepted) s->release();
  };
  c.codec->on_transport_closed(Reason::kDownstreamReset);
  EXPECT_TRUE(c.at(0).was_reset && c.at(1).was_reset);
  EXPECT_FALSE(c.at(2).was_reset || c.at(3).was_reset);
  EXPECT_EQ(c.codec->open_exchanges(), 0u);
}

TEST(LifecycleInCallbacks, BreakingWhileToldOfBlockedOutput) {
  FramedConnection c(bolt_codec(), Role::kServer);
  for (uint32_t i = 0; i < 4; ++i) c.feed(BoltFrame::request(i).bytes());
  c.at(1).then_blocked = [&](bool) { c.codec->fail(Reason::kWriteStall); };
  c.codec->on_write_blocked(true);
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(c.at(i).was_reset) << i;
  EXPECT_TRUE(c.at(3).blocked.empty());
}

TEST(LifecycleInCallbacks, TheNextRequestStartsFromTheCapacityCallback) {
  FramedConnection down(bolt_codec(), Role::kServer),
      up(bolt_codec(), Role::kClient, framed_options(PoolMode::kPingPong));
  down.feed(BoltFrame::request(1).bytes() + BoltFrame::request(2).bytes());
  FakeMessageSink first, second;
  first.exchange = up.codec->open(first);
  ASSERT_EQ(first.exchange->send_head(*down.at(0).head, false), Reason::kNone);
  first.exchange->send_body(bytes_of("body"), true);
  uint32_t id = bolt_id(up.sink.take());
  first.then_body = [&](std::string_view, bool) { first.release(); };
  up.events.then_capacity = [&] {
    if (second.heads || second.exchange) return;
    second.exchange = up.codec->open(second);
    ASSERT_NE(second.exchange, nullptr);
    ASSERT_EQ(second.exchange->send_head(*down.at(1).head, false), Reason::kNone);
    second.exchange->send_body(bytes_of("body"), true);
  };
  up.feed(BoltFrame::response(id).bytes());
  up.feed(BoltFrame::response(bolt_id(up.sink.take()), "second").bytes());
  EXPECT_EQ(second.body, "second");
  second.release();
}

TEST(LifecycleInCallbacks, TheOwnerBreaksTheConnectionWhileAccepting) {
  FramedConnection c(bolt_codec(), Role::kServer);
  c.events.then_exchange = [&](FakeMessageSink&) { c.codec->fail(Reason::kDraining); };
  c.feed(BoltFrame::request(1).bytes());
  EXPECT_EQ(c.at(0).heads, 0);
  EXPECT_EQ(c.at(0).reset_reason, Reason::kDraining);
  EXPECT_EQ(c.events.broken, 1);
}

}  // namespace
}  // namespace dragoman::testing
