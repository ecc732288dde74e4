// Peers and holders that do anything at any time, in both roles. However a connection and its exchanges end, each sink that was
// not released hears exactly one end, and nothing is left. DRAGOMAN_TEST_SEED=N repeats a run; DRAGOMAN_TEST_ROUNDS=N makes it longer.
#include <cstdio>
#include <cstdlib>
#include <random>

#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint32_t below(uint32_t n) { return n == 0 ? 0 : static_cast<uint32_t>(engine_() % n); }
  bool one_in(uint32_t n) { return below(n) == 0; }
  template <class T>
  const T& of(const std::vector<T>& list) {
    return list[below(static_cast<uint32_t>(list.size()))];
  }

 private:
  std::mt19937_64 engine_;
};

/// Both ends of one connection under test: a hostile peer made of bytes, and holders of its exchanges as the engine is one.
class Chaos {
 public:
  Chaos(Role role, uint64_t seed) : role_(role), random_(seed), connection_(role, options()) {
    if (role == Role::kServer) {
      in_ = hello();
    } else {
      in_ = settings({{3, 1 + random_.below(50)}, {4, random_.below(100'000)}});
    }
    deliver(true);
  }

  void run(int steps) {
    for (int i = 0; i < steps && !ended_; ++i) step();
    end();
    check();
  }

 private:
  CodecOptions options() {
    CodecOptions o;
    o.http2.streams_max = 1 + random_.below(60);
    o.http2.stream_window_bytes = 1 + random_.below(100'000);
    o.http2.connection_window_bytes = 65'535 + random_.below(100'000);
    o.http2.pending_bytes_max = 1 + random_.below(100'000);
    o.http2.resets_burst = random_.one_in(2) ? 10 : 100'000;
    o.http2.own_resets_burst = random_.one_in(2) ? 10 : 100'000;
    o.http2.control_burst = random_.one_in(2) ? 50 : 100'000;
    o.http2.acks_max = random_.one_in(2) ? 5 : 1000;
    o.http1.body_bytes_max = random_.one_in(3) ? 20'000 : 0;
    o.http1.header_bytes_max = random_.one_in(3) ? 300 : 65'536;
    o.http1.headers_max = random_.one_in(3) ? 8 : 100;
    return o;
  }

  // --- the peer -------------------------------------------------------------------------------------------------------

  uint32_t any_id() {
    if (random_.one_in(30)) return random_.below(2) ? 0 : 2 * random_.below(100);
    if (last_id_ == kNoStream) return 1;
    const uint32_t recent = std::min<uint32_t>(last_id_, 1 + 2 * random_.below(12));
    return last_id_ + 1 - recent;
  }
  Fields some_fields() {
    switch (random_.below(6)) {
      case 0: return {{"x-long", std::string(random_.below(2000), 'x')}};
      case 1: return Fields(random_.below(30), {"cookie", "a=b"});
      case 2: return {{"content-length", std::to_string(random_.below(1000))}};
      case 3: return {{"content-type", "application/grpc"}};
      case 4: return random_.one_in(3) ? Fields{{"Bad Name", "x"}} : Fields{};
      default: return {};
    }
  }
  std::string a_frame() {
    const uint8_t end = random_.below(2) ? kEndStream : kNone;
    const uint8_t whole = random_.one_in(25) ? kNone : kEndHeaders;
    switch (random_.below(14)) {
      case 0:
      case 1:
      case 2:
        if (role_ == Role::kServer) {
          const uint32_t id = random_.one_in(20) ? any_id() : last_id_ += 2;
          return headers(id, (random_.below(2) ? post() : get()) + some_fields(), end | whole);
        }
        return headers(any_id(), Fields{{":status", random_.of<std::string>({"200", "200", "100", "404", "304"})}} + some_fields(),
                       end | whole);
      case 3: return headers(any_id(), {{"grpc-status", "0"}}, kEndStream | whole);
      case 4:
      case 5:
      case 6: return data(any_id(), std::string(random_.below(5000), 'd'), end);
      case 7: return rst(any_id(), random_.below(14));
      case 8: return window_update(random_.below(3) ? any_id() : 0, random_.one_in(10) ? 0x7fffffff : random_.below(50'000));
      case 9: return ping(random_.one_in(2));
      case 10: return settings({{4, random_.below(70'000)}, {3, random_.below(60)}});
      case 11:
        if (!random_.one_in(8)) return {};
        return goaway(random_.below(2) ? 0x7fffffff : any_id(), random_.below(14));
      case 12: return random_.one_in(10) ? frame(kContinuation, whole, any_id(), block({{"a", "b"}})) : frame(kSettings, kAck, 0);
      default: return random_.one_in(40) ? std::string(random_.below(30), static_cast<char>(random_.below(256))) : "";
    }
  }
  void deliver(bool all) {
    const size_t n = all ? in_.size() : random_.below(static_cast<uint32_t>(in_.size()) + 1);
    if (!ended_) connection_.feed(in_.substr(0, n));
    in_.erase(0, n);
  }

  // --- the holders ------------------------------------------------------------------------------------------------------

  void answer(FakeMessageSink& s, Exchange* x, bool& said_all, bool& said_head) {
    if (said_all || s.was_reset) return;
    Head head;
    head.is_http = true;
    head.is_request = false;
    if (!said_head) {
      if (random_.one_in(6)) {
        LocalReply reply;
        reply.reason = Reason::kNoRoute;
        reply.text = "no";
        said_all = said_head = true;
        x->send_reply(head, reply);
        return;
      }
      head.status = random_.one_in(5) ? 103 : 200;
      if (random_.one_in(4)) head.content_length = random_.below(3000);
      const bool end = head.status == 200 && random_.one_in(3);
      if (end) head.content_length = -1;
      said_head = head.status == 200;
      said_all = end;
      x->send_head(head, end);
      return;
    }
    body(x, said_all);
  }
  void body(Exchange* x, bool& said_all) {
    said_all = random_.one_in(4);
    if (said_all && random_.one_in(2)) {
      HeaderList list{trailers_arena_};
      list.add("grpc-status", "0");
      return x->send_trailers(list);
    }
    const std::string text(random_.one_in(4) ? random_.below(80'000) : random_.below(2000), 'b');
    x->send_body(bytes_of(text), said_all);
  }

  struct Said {
    bool head = false, all = false, gave_up = false;
  };

  void act_on_one() {
    if (role_ == Role::kClient) return act_on_call();
    if (connection_.accepted() == 0) return;
    const size_t i = random_.one_in(3) ? random_.below(static_cast<uint32_t>(connection_.accepted())) : connection_.accepted() - 1;
    FakeMessageSink& s = connection_.at(i);
    said_.resize(connection_.accepted());
    if (s.exchange && !said_[i].gave_up) act(s, said_[i], [&] { answer(s, s.exchange, said_[i].all, said_[i].head); });
  }
  template <class Speak>
  void act(FakeMessageSink& s, Said& said, Speak&& speak) {
    switch (random_.below(12)) {
      case 0: return s.exchange->pause_reading();
      case 1:
      case 2: return s.exchange->resume_reading();
      case 3:
        if (!random_.one_in(3)) return;
        said.gave_up = true;
        s.exchange->reset(random_.one_in(2) ? Reason::kUpstreamReset : Reason::kUpstreamTimeout);
        if (random_.one_in(2)) s.release();
        return;
      case 4:
        if (s.was_reset || random_.one_in(4)) s.release();
        return;
      default: return speak();
    }
  }
  void act_on_call() {
    if (random_.one_in(3) && connection_.codec->capacity() > 0) {
      auto call = std::make_unique<Call>(random_.below(2) ? "POST" : "GET", "/c");
      if (call->open(*connection_.codec)) {
        if (random_.one_in(4)) call->answer.then_reset = [c = call.get()](Reason) { c->answer.release(); };
        calls_.push_back(std::move(call));
      }
    }
    if (calls_.empty()) return;
    const size_t i = random_.below(static_cast<uint32_t>(calls_.size()));
    said_.resize(calls_.size());
    Call& c = *calls_[i];
    Said& said = said_[i];
    if (!c.answer.exchange || said.gave_up) return;
    act(c.answer, said, [&] {
      if (said.all || c.answer.was_reset) return;
      if (said.head) return body(c.answer.exchange, said.all);
      said.head = true;
      said.all = random_.one_in(2);
      if (random_.one_in(4) && !said.all) c.head.content_length = random_.below(3000);
      if (c.answer.exchange->send_head(c.head, said.all) == Reason::kNone) last_id_ += 2;
    });
  }

  // --- the connection ---------------------------------------------------------------------------------------------------

  void step() {
    switch (random_.below(16)) {
      case 0:
      case 1:
      case 2:
      case 3: in_ += a_frame(); break;
      case 4:
      case 5: deliver(random_.one_in(2)); break;
      case 6: connection_.sink.take(); break;
      case 7: connection_.codec->on_write_blocked(random_.one_in(4)); break;
      case 8:
        connection_.events.now += random_.one_in(10) ? 61'000 : random_.below(100);
        connection_.codec->tick();
        break;
      case 9:
        if (random_.one_in(60)) connection_.codec->drain();
        if (random_.one_in(20)) connection_.codec->heartbeat();
        break;
      case 10:
        if (random_.one_in(150)) connection_.codec->fail(Reason::kIdleTimeout);
        if (random_.one_in(150)) connection_.codec->on_eof();
        if (random_.one_in(150)) connection_.codec->farewell();
        break;
      default: act_on_one(); break;
    }
    ended_ = connection_.events.broken > 0 || connection_.events.finished > 0;
    // Whoever has broken it hears no more, but holders go on for some time.
    if (ended_)
      for (uint32_t n = random_.below(10); n > 0; --n) act_on_one();
  }
  // As the owner: flush, close, tell the codec.
  void end() {
    connection_.sink.take();
    connection_.codec->on_transport_closed(role_ == Role::kServer ? Reason::kDownstreamReset : Reason::kUpstreamReset);
    said_.resize(role_ == Role::kServer ? connection_.accepted() : calls_.size());
  }
  void check() {
    for (size_t i = 0; i < said_.size(); ++i) {
      FakeMessageSink& s = role_ == Role::kServer ? connection_.at(i) : calls_[i]->answer;
      if (!s.exchange || said_[i].gave_up) continue;
      EXPECT_TRUE(s.was_reset || (s.ended && said_[i].all)) << "exchange " << i << " hears nothing";
    }
    for (size_t i = 0; i < said_.size(); ++i) (role_ == Role::kServer ? connection_.at(i) : calls_[i]->answer).release();
    EXPECT_EQ(connection_.codec->open_exchanges(), 0u);
  }

  const Role role_;
  Random random_;
  Arena trailers_arena_;
  Http2Connection connection_;
  std::vector<std::unique_ptr<Call>> calls_;  // client role
  std::vector<Said> said_;                    // of each call or accepted exchange
  std::string in_;                            // from the peer, not yet delivered
  static constexpr uint32_t kNoStream = UINT32_MAX;  // two less than the first
  uint32_t last_id_ = kNoStream;
  bool ended_ = false;
};

class Http2Chaos : public ::testing::TestWithParam<Role> {};

TEST_P(Http2Chaos, EachSinkHearsOneEnd) {
  const uint64_t seed = from_environment("DRAGOMAN_TEST_SEED", std::random_device{}());
  const uint64_t rounds = from_environment("DRAGOMAN_TEST_ROUNDS", 8000);
  std::printf("DRAGOMAN_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);  // a sanitizer ends the process without
  for (uint64_t i = 0; i < rounds && !HasFailure(); ++i) {
    SCOPED_TRACE("DRAGOMAN_TEST_SEED=" + std::to_string(seed + i) + " fails at once");
    Chaos(GetParam(), seed + i).run(400);
  }
  EXPECT_EQ(live_http2_exchanges(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Roles, Http2Chaos, ::testing::Values(Role::kServer, Role::kClient),
                         [](const auto& p) { return p.param == Role::kServer ? "Server" : "Client"; });

}  // namespace
}  // namespace dragoman
