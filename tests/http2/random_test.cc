// Many calls at once under random schedules and windows: every byte arrives, in order, and nothing is left.
#include <map>
#include <random>

#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"
#include "tests/support/http_hop.h"

namespace dragoman {
namespace {

using namespace testing;

std::string pattern(uint64_t seed, size_t n) {
  std::string out(n, '\0');
  for (size_t i = 0; i < n; ++i) out[i] = static_cast<char>((seed * 31 + i * 7 + (i >> 8)) & 0xff);
  return out;
}

// One end of a body: sends it in pieces unless it is told to wait.
struct Sender {
  std::string body;
  size_t sent = 0;
  bool done = false;
  void step(Exchange& x, std::mt19937& random) {
    if (done || x.write_blocked()) return;
    size_t n = std::min<size_t>(body.size() - sent, random() % 30'000);
    bool end = sent + n == body.size();
    x.send_body(bytes_of(std::string_view(body).substr(sent, n)), end);
    sent += n;
    done = end;
  }
};

struct RandomCall {
  explicit RandomCall(uint64_t seed) : call(seed % 3 ? "POST" : "GET", "/r") {}
  Call call;
  Sender up, down;
  FakeMessageSink* server = nullptr;
  bool cancelled = false, answered = false, finished = false;
};

class RandomSchedules : public ::testing::TestWithParam<uint32_t> {};

TEST_P(RandomSchedules, EveryByteArrives) {
  std::mt19937 random(GetParam());
  CodecOptions options;
  options.http2.stream_window_bytes = 1000 + random() % 100'000;
  options.http2.connection_window_bytes = 65'535 + random() % 200'000;
  options.http2.streams_max = 1 + random() % 40;
  options.http2.pending_bytes_max = 1000 + random() % 300'000;
  Http2Connection client(Role::kClient, options), server(Role::kServer, options);
  std::string to_server = client.sink.take(), to_client = server.sink.take();
  std::vector<std::unique_ptr<RandomCall>> calls;
  std::vector<RandomCall*> by_arrival;
  size_t started = 0, finished = 0;
  const size_t kCalls = 60;
  for (int turn = 0; turn < 200'000 && finished < kCalls; ++turn) {
    switch (random() % 8) {
      case 0:
        if (started < kCalls && client.codec->capacity() > 0) {
          auto c = std::make_unique<RandomCall>(started);
          c->up.body = started % 3 ? pattern(started, random() % 150'000) : "";
          c->down.body = pattern(started + 1000, random() % 150'000);
          ASSERT_TRUE(c->call.open(*client.codec));
          c->up.done = started % 3 == 0;
          ASSERT_EQ(c->call.exchange->send_head(c->call.head, c->up.done), Reason::kNone);
          by_arrival.push_back(c.get());
          calls.push_back(std::move(c));
          ++started;
        }
        break;
      case 1:
      case 2: {
        std::string& wire = random() % 2 ? to_server : to_client;
        Http2Connection& to = &wire == &to_server ? server : client;
        size_t n = std::min<size_t>(wire.size(), 1 + random() % 60'000);
        to.feed(wire.substr(0, n));
        wire.erase(0, n);
        break;
      }
      case 3:
        to_server += client.sink.take();
        to_client += server.sink.take();
        break;
      case 4: {
        Http2Connection& c = random() % 2 ? server : client;
        c.codec->on_write_blocked(true);
        c.codec->on_write_blocked(false);
        break;
      }
      default:
        for (size_t i = 0; i < calls.size(); ++i) {
          RandomCall& c = *calls[i];
          if (c.finished) continue;
          if (!c.server && i < server.accepted()) c.server = &server.at(i);
          if (c.call.answer.exchange) {
            if (random() % 4 == 0) c.call.answer.exchange->pause_reading();
            if (random() % 2 == 0) c.call.answer.exchange->resume_reading();
            c.up.step(*c.call.exchange, random);
          }
          if (c.server && c.server->exchange) {
            if (random() % 4 == 0) c.server->exchange->pause_reading();
            if (random() % 2 == 0) c.server->exchange->resume_reading();
            if (!c.answered) {
              Head head;
              head.is_http = true;
              head.status = 200;
              ASSERT_EQ(c.server->exchange->send_head(head, false), Reason::kNone);
              c.answered = true;
            }
            c.down.step(*c.server->exchange, random);
          }
          if (c.server && c.server->ended && c.call.answer.ended) {
            EXPECT_EQ(c.server->body, c.up.body);
            EXPECT_EQ(c.call.answer.body, c.down.body);
            c.server->release();
            c.call.answer.release();
            c.finished = true;
            ++finished;
          }
        }
        break;
    }
    ASSERT_EQ(client.events.broken + server.events.broken, 0) << client.events.broken_detail << server.events.broken_detail;
  }
  EXPECT_EQ(finished, kCalls);
  for (int i = 0; i < 4; ++i) {
    server.feed(std::exchange(to_server, {}) + client.sink.take());
    client.feed(std::exchange(to_client, {}) + server.sink.take());
  }
  EXPECT_EQ(client.codec->open_exchanges(), 0u);
  EXPECT_EQ(server.codec->open_exchanges(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Http2, RandomSchedules, ::testing::Range(1u, 9u));

// 100 clients with 100 requests each that read nothing, one backend that sends all it may.
TEST(Http2Memory, TenThousandSlowReadersStayUnderAFixedBound) {
  constexpr size_t kClients = 100, kStreams = 100;
  CodecOptions up_options;
  up_options.http2.streams_max = kClients * kStreams;
  up_options.http2.connection_window_bytes = 16 << 20;
  Http2Connection up(Role::kClient, up_options);
  up.feed(h2::settings({{3, kClients * kStreams}}));
  up.sink.take();
  std::vector<std::unique_ptr<Http2Connection>> downs;
  std::vector<std::unique_ptr<HttpHop>> hops;
  std::string requests = h2::hello() + h2::settings({{4, 0}});
  for (uint32_t s = 0; s < kStreams; ++s) requests += h2::headers(2 * s + 1, h2::get());
  for (size_t c = 0; c < kClients; ++c) {
    downs.push_back(std::make_unique<Http2Connection>(Role::kServer));
    hops.push_back(std::make_unique<HttpHop>(*downs.back(), up));
    downs.back()->feed(requests);
    ASSERT_EQ(hops.back()->requests(), kStreams);
  }
  std::vector<uint32_t> ids;
  for (const h2::Frame& f : h2::parse(up.sink.take()))
    if (f.type == h2::kHeaders) ids.push_back(f.id);
  ASSERT_EQ(ids.size(), kClients * kStreams);
  for (uint32_t id : ids) up.feed(h2::headers(id, {{":status", "200"}}, h2::kEndHeaders));
  std::map<uint32_t, int64_t> window;
  for (uint32_t id : ids) window[id] = 256 * 1024;
  window[0] = 16 << 20;
  const std::string piece(8192, 'x');
  uint64_t sent = 0;
  for (bool any = true; any;) {
    any = false;
    for (uint32_t id : ids) {
      if (window[0] < 8192 || window[id] < 8192) continue;
      up.feed(h2::data(id, piece));
      window[0] -= 8192;
      window[id] -= 8192;
      sent += 8192;
      any = true;
    }
    for (const h2::Frame& f : h2::parse(up.sink.take()))
      if (f.type == h2::kWindowUpdate) window[f.id] += f.word(0);
    for (auto& d : downs) d->sink.take();
  }
  ASSERT_EQ(up.events.broken, 0) << up.events.broken_detail;
  size_t held = live_chunks() * Chunk::kBytes;
  RecordProperty("sent_mib", static_cast<int>(sent >> 20));
  RecordProperty("held_mib", static_cast<int>(held >> 20));
  EXPECT_GE(sent, 16u << 20);
  EXPECT_LT(held, 256u << 20);
  // Who reads again gets everything.
  FakeMessageSink& first = downs[0]->at(0);
  size_t waiting = first.exchange->buffered_bytes();
  downs[0]->feed(h2::window_update(1, 1 << 20));
  size_t got = 0;
  for (const h2::Frame& f : h2::parse(downs[0]->sink.take()))
    if (f.type == h2::kData && f.id == 1) got += f.payload.size();
  EXPECT_EQ(got, waiting);
}

}  // namespace
}  // namespace dragoman
