// A million calls of many clients over one shared upstream connection, all with the same ids, answered in
// random order, some given up, some answered late or twice: no answer ever reaches another call.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <unordered_map>
#include <vector>

#include "protocols/bolt/bolt.h"
#include "protocols/framed.h"
#include "proxy/base/cursor.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

constexpr uint64_t kCalls = kCrossingCalls;
constexpr size_t kClients = 37;
constexpr uint32_t kInFlightPerClient = 50;
constexpr size_t kFrameBytes = 22 + 8;
constexpr size_t kAnswerBytes = 20 + 8;

class Sink final : public ByteSink {
  void on_dirty() override {}

 public:
  template <class F>
  void drain(size_t frame_bytes, F&& f) {
    flat_.resize(out.size());
    out.copy_to(flat_.data());
    out.clear();
    dirty_ = false;
    ASSERT_EQ(flat_.size() % frame_bytes, 0u);
    for (size_t at = 0; at < flat_.size(); at += frame_bytes) f(flat_.data() + at);
  }
  std::vector<uint8_t> flat_;
};

struct World;

struct Relay {
  World* world = nullptr;
  Exchange* request = nullptr;
  Exchange* answer = nullptr;
  Head* head = nullptr;
  size_t index = 0;  // in World::open
  struct Down final : MessageSink {
    Relay* relay;
    void on_head(Head& h, bool) override;
    void on_body(std::span<const uint8_t> chunk, bool end) override { relay->answer->send_body(chunk, end); }
    void on_trailers(HeaderList&) override {}
    void on_reset(Reason) override { ADD_FAILURE() << "client reset"; }
    void on_write_blocked(bool) override {}
  } down;
  struct Up final : MessageSink {
    Relay* relay;
    void on_head(Head& h, bool) override { ASSERT_EQ(relay->request->send_head(h, false), Reason::kNone); }
    void on_body(std::span<const uint8_t> chunk, bool end) override {
      relay->request->send_body(chunk, end);
      if (end) relay->finish();
    }
    void on_trailers(HeaderList&) override {}
    void on_reset(Reason) override { ADD_FAILURE() << "upstream reset"; }
    void on_write_blocked(bool) override {}
  } up;
  void finish();
  void time_out();
};

struct Owner : ConnectionEvents {
  World* world = nullptr;
  uint64_t events[kCodecEventCount] = {};
  MessageSink* on_exchange(Exchange& x) override;
  void on_goaway() override {}
  void on_broken(Reason, std::string_view detail) override { ADD_FAILURE() << "broken: " << detail; }
  void on_finished() override {}
  void on_capacity() override {}
  void pause_reading() override {}
  void resume_reading() override {}
  void on_event(CodecEvent e) override { ++events[static_cast<size_t>(e)]; }
  uint64_t now_ms() const override;
};

struct Client {
  Sink sink;
  Owner owner;
  std::unique_ptr<ConnectionCodec> codec;
  uint64_t expected[kInFlightPerClient] = {};  // payload in flight by id, 0 = free
  uint32_t in_flight = 0;
};

struct World {
  uint64_t now = 1'000'000;
  std::mt19937_64 random{20240607};
  Sink up_sink;
  Owner up_owner;
  std::unique_ptr<ConnectionCodec> up;
  std::vector<std::unique_ptr<Client>> clients;
  std::vector<Relay*> open;
  std::vector<Relay*> pool;
  std::vector<std::unique_ptr<Relay>> all;
  struct Pending {
    uint32_t id;
    uint64_t payload;
  };
  std::vector<Pending> pending;  // what the fake server has still to answer
  std::vector<uint8_t> buffer = std::vector<uint8_t>(ConnectionCodec::kHeadroom + 65536);

  World() {
    CodecOptions options;
    Protocol protocol;
    protocol.table = bolt_codec();
    up_owner.world = this;
    up = make_framed_codec(protocol, Role::kClient, up_sink, up_owner, options);
    for (size_t i = 0; i < kClients; ++i) {
      clients.push_back(std::make_unique<Client>());
      Client& c = *clients.back();
      c.owner.world = this;
      c.codec = make_framed_codec(protocol, Role::kServer, c.sink, c.owner, options);
    }
  }
  Relay* relay() {
    if (pool.empty()) {
      all.push_back(std::make_unique<Relay>());
      pool.push_back(all.back().get());
    }
    Relay* r = pool.back();
    pool.pop_back();
    r->world = this;
    r->down.relay = r->up.relay = r;
    r->index = open.size();
    open.push_back(r);
    return r;
  }
  uint8_t* data() { return buffer.data() + ConnectionCodec::kHeadroom; }
};

uint64_t Owner::now_ms() const { return world->now; }

MessageSink* Owner::on_exchange(Exchange& x) {
  Relay* r = world->relay();
  r->request = &x;
  return &r->down;
}

void Relay::Down::on_head(Head& h, bool) {
  relay->head = &h;
  relay->answer = relay->world->up->open(relay->up);
  ASSERT_NE(relay->answer, nullptr);
  ASSERT_EQ(relay->answer->send_head(h, false), Reason::kNone);
}

void Relay::finish() {
  answer->release();
  request->release();
  world->open[index] = world->open.back();
  world->open[index]->index = index;
  world->open.pop_back();
  world->pool.push_back(this);
}

void Relay::time_out() {
  LocalReply reply;
  reply.reason = Reason::kUpstreamTimeout;
  answer->reset(reply.reason);
  request->send_reply(*head, reply);
  finish();
}

TEST(FramedCrossing, IdsNeverCross) {
  World w;
  const std::string request = [] {
    BoltFrame f;
    f.content = std::string(8, '\0');
    return f.bytes();
  }();
  const std::string response = [] {
    BoltFrame f;
    f.type = 0, f.command = 2;
    f.content = std::string(8, '\0');
    return f.bytes();
  }();
  ASSERT_EQ(request.size(), kFrameBytes);
  ASSERT_EQ(response.size(), kAnswerBytes);
  uint64_t started = 0, answered = 0, timed_out = 0, wrong = 0;

  while (answered + timed_out < kCalls) {
    ++w.now;
    // A few clients send a few requests each, in one read.
    for (int burst = 0; burst < 8 && started < kCalls; ++burst) {
      Client& c = *w.clients[w.random() % kClients];
      size_t n = 0;
      for (uint32_t id = 0; id < kInFlightPerClient && started < kCalls; ++id) {
        if (c.expected[id] || w.random() % 4) continue;
        c.expected[id] = ++started;
        ++c.in_flight;
        uint8_t* p = w.data() + n;
        std::memcpy(p, request.data(), kFrameBytes);
        store_be<uint32_t>(p + 5, id);
        store_be<uint64_t>(p + 22, started);
        n += kFrameBytes;
      }
      if (n) c.codec->on_data(w.data(), n);
    }
    w.up_sink.drain(kFrameBytes, [&](const uint8_t* p) {
      w.pending.push_back({load_be<uint32_t>(p + 5), load_be<uint64_t>(p + 22)});
    });
    // Some calls are given up.
    for (int i = 0; i < 2 && !w.open.empty(); ++i)
      if (w.random() % 4 == 0) w.open[w.random() % w.open.size()]->time_out();
    // The server answers some of what it has, in any order, now and then twice; the rest later, or too late.
    size_t n = 0;
    for (size_t k = w.random() % 120; k > 0 && !w.pending.empty(); --k) {
      size_t at = w.random() % w.pending.size();
      auto [id, payload] = w.pending[at];
      w.pending[at] = w.pending.back();
      w.pending.pop_back();
      for (int times = w.random() % 64 ? 1 : 2; times > 0; --times) {
        uint8_t* p = w.data() + n;
        std::memcpy(p, response.data(), kAnswerBytes);
        store_be<uint32_t>(p + 5, id);
        store_be<uint64_t>(p + 20, payload);
        n += kAnswerBytes;
      }
    }
    if (n) w.up->on_data(w.data(), n);
    // The clients check what they got.
    for (auto& c : w.clients) {
      c->sink.flat_.resize(c->sink.out.size());
      c->sink.out.copy_to(c->sink.flat_.data());
      c->sink.out.clear();
      const auto& got = c->sink.flat_;
      for (size_t at = 0; at < got.size();) {
        uint32_t id = load_be<uint32_t>(&got[at + 5]);
        uint16_t status = load_be<uint16_t>(&got[at + 10]);
        ASSERT_LT(id, kInFlightPerClient);
        uint64_t& expected = c->expected[id];
        if (status == 0) {
          if (load_be<uint64_t>(&got[at + 20]) != expected) ++wrong;
          ++answered;
          at += kAnswerBytes;
        } else {
          ASSERT_EQ(status, 7);
          if (!expected) ++wrong;
          ++timed_out;
          at += 20;
        }
        expected = 0;
        --c->in_flight;
      }
    }
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(answered + timed_out, kCalls);
  EXPECT_GT(timed_out, kCalls / 1000);
  EXPECT_GT(w.up_owner.events[static_cast<size_t>(CodecEvent::kLateAnswer)], kCalls / 200);
  EXPECT_EQ(w.up_owner.events[static_cast<size_t>(CodecEvent::kUnknownId)], 0u);
  EXPECT_EQ(w.up->open_exchanges(), 0u);
  w.clients.clear();
  w.up.reset();
  EXPECT_EQ(live_framed_exchanges(), 0u);
}

}  // namespace
}  // namespace dragoman::testing
