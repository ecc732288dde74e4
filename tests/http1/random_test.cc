// Random lives of HTTP/1 connections: whatever bytes, calls and ends come in whatever order, each sink hears one end and nothing is left.
// DRAGOMAN_SEED repeats a run, DRAGOMAN_ROUNDS makes it longer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "protocols/either_codec.h"
#include "protocols/http2/http2_codec.h"
#include "tests/http1/http1_support.h"

namespace dragoman::testing {
namespace {

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : otherwise;
}

constexpr uint32_t kStatuses[] = {100, 101, 200, 204, 304, 404, 426};
constexpr int64_t kLengths[] = {-1, 0, 3, 10};
constexpr size_t kSizes[] = {0, 1, 3, 200, 9000};
constexpr std::string_view kMethods[] = {"GET", "POST", "HEAD"};
constexpr Reason kReasons[] = {Reason::kAbuse, Reason::kHeadTimeout, Reason::kBodyTimeout};

/// One connection from its begin to its end.
class Life {
 public:
  explicit Life(uint64_t seed) : random_(seed) {}
  ~Life() {
    if (!gone_) connection_->codec->on_transport_closed(Reason::kDownstreamReset);
    check();
    for (auto& s : sinks()) s->release();
    EXPECT_EQ(connection_->codec->open_exchanges(), 0u);
  }

  void serve() {
    CodecOptions options;
    options.http1.allow_h2c = one_in(2);
    options.http1.pending_bytes_max = one_in(2) ? 300 : 256 * 1024;
    options.http1.body_bytes_max = one_in(4) ? 20 : 0;
    const int kind = static_cast<int>(random_() % 3);
    connection_ = std::make_unique<FakeConnection>([&](ByteSink& out, ConnectionEvents& events) {
      if (kind == 0) return make_either_codec(out, events, options);
      if (kind == 1) return make_http1_or_h2c_codec(out, events, options);
      return make_http1_codec(Protocol{}, Role::kServer, out, events, options);
    });
    connection_->events.refuse = one_in(20);
    connection_->events.then_exchange = [this](FakeMessageSink& sink) { listen(sink); };
    live(false);
  }

  void ask() {
    connection_ = std::make_unique<Http1Connection>(Role::kClient);
    live(true);
  }

 private:
  bool one_in(uint32_t n) { return random_() % n == 0; }
  template <class List>
  const auto& any(const List& list) {
    return list[random_() % std::size(list)];
  }
  std::vector<std::unique_ptr<FakeMessageSink>>& sinks() { return connection_->events.accepted; }

  // What a holder does in the middle of a call.
  void listen(FakeMessageSink& sink) {
    FakeMessageSink* s = &sink;
    if (one_in(2)) sink.then_reset = [s](Reason) { s->release(); };
    if (one_in(3))
      sink.then_head = [this, s](Head&, bool) {
        if (one_in(2)) touch(*s);
      };
    if (one_in(3))
      sink.then_body = [this, s](std::string_view, bool) {
        if (one_in(3)) touch(*s);
      };
    if (one_in(4))
      sink.then_blocked = [this, s](bool) {
        if (one_in(3)) touch(*s);
      };
  }

  void touch(FakeMessageSink& s) {
    if (!s.exchange) return;
    switch (random_() % 10) {
      case 0:
      case 1: {
        Answer answer(any(kStatuses), any(kLengths));
        answer.head.upgrade_token = "websocket";
        if (!client_) {
          static_cast<void>(s.exchange->send_head(answer.head, one_in(2)));
        } else {
          Request request(any(kMethods));
          request.head.upgrade = one_in(4);
          request.head.upgrade_token = "websocket";
          request.head.content_length = any(kLengths);
          static_cast<void>(s.exchange->send_head(request.head, one_in(2)));
        }
        break;
      }
      case 2:
      case 3: s.exchange->send_body(bytes_of(std::string(any(kSizes), 'b')), one_in(2)); break;
      case 4: {
        Head h;
        HeaderList trailers(h.arena);
        trailers.add("x-sum", "1");
        s.exchange->send_trailers(trailers);
        break;
      }
      case 5:
        if (client_ || !s.head) break;
        s.exchange->send_reply(*s.head, LocalReply{});
        s.release();  // it may have been a reset
        break;
      case 6:
        s.exchange->reset(Reason::kInternal);
        s.release();  // no callbacks follow
        break;
      case 7: s.release(); break;
      case 8: s.exchange->pause_reading(); break;
      default: s.exchange->resume_reading(); break;
    }
  }

  std::string bytes() {
    static const std::vector<std::string> requests = {
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /up HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: "
        "h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "frames and noise",
        "GET / HTTP/1.1\r\n\r\n"};
    static const std::vector<std::string> answers = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "noise"};
    std::string out;
    for (uint32_t n = 1 + random_() % 4; n > 0; --n) out += any(client_ ? answers : requests);
    return one_in(3) ? out.substr(0, random_() % (out.size() + 1)) : out;
  }

  void live(bool client) {
    client_ = client;
    ConnectionCodec& codec = *connection_->codec;
    for (uint32_t steps = 3 + random_() % 25; steps > 0 && !gone_; --steps) {
      switch (random_() % 12) {
        case 0:
        case 1:
        case 2: connection_->feed(bytes()); break;
        case 3: connection_->feed_in_steps(bytes(), 1 + random_() % 9); break;
        case 4:
          if (one_in(3)) codec.on_eof();
          break;
        case 5: codec.on_write_blocked(one_in(2)); break;
        case 6:
          if (one_in(4)) codec.fail(any(kReasons));
          break;
        case 7:
          if (one_in(4)) codec.drain();
          break;
        case 8:
          if (client && codec.capacity()) {
            auto sink = std::make_unique<FakeMessageSink>();
            listen(*sink);
            sink->exchange = codec.open(*sink);
            ASSERT_NE(sink->exchange, nullptr);
            sinks().push_back(std::move(sink));
          }
          break;
        default:
          if (!sinks().empty()) touch(*sinks().back());
          if (!sinks().empty() && one_in(4)) touch(*any(sinks()));
          break;
      }
      connection_->sink.take();
      check();
      // The owner closes what is over, some time.
      gone_ = (connection_->events.broken || connection_->events.finished) && one_in(2);
      if (gone_) codec.on_transport_closed(Reason::kDownstreamReset);
    }
  }

  void check() {
    if (!gone_ && !connection_->events.broken) return;
    for (auto& s : sinks()) {
      // HTTP/2 has nothing more to say about an exchange that is complete in both directions.
      const bool upgraded = s->exchange && s->head && s->head->path == "/up" && s->ended;
      EXPECT_TRUE(!s->exchange || s->was_reset || upgraded)
          << "held, and not told that the connection is over";
    }
  }

  std::mt19937_64 random_;
  std::unique_ptr<FakeConnection> connection_;
  bool client_ = false;
  bool gone_ = false;
};

TEST(Http1Random, EachSinkHearsOneEndAndNothingIsLeft) {
  const uint64_t seed = from_environment("DRAGOMAN_SEED", std::random_device{}());
  const uint64_t rounds = from_environment("DRAGOMAN_ROUNDS", 300'000);
  std::cout << "seed " << seed << ", " << rounds << " rounds\n";
  for (uint64_t i = 0; i < rounds && !HasFailure(); ++i) {
    SCOPED_TRACE("DRAGOMAN_SEED=" + std::to_string(seed + i) + " DRAGOMAN_ROUNDS=1");
    {
      Life life(seed + i);
      if ((seed + i) % 2)
        life.ask();
      else
        life.serve();
    }
    EXPECT_EQ(live_http1_exchanges(), 0u);
    EXPECT_EQ(live_http2_exchanges(), 0u);
    EXPECT_EQ(live_chunks(), 0u);
  }
}

}  // namespace
}  // namespace dragoman::testing
