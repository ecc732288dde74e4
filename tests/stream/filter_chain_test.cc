// The filter chain inside the engine: order, pause and resume, answers at every point, bodies, ends.
#include <gtest/gtest.h>

#include <mutex>

#include "tests/stream/engine_harness.h"
#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

/// What the filters of a test saw, in order.
class Journal {
 public:
  void add(const std::string& line) {
    std::lock_guard lock(mutex_);
    lines_ += line + " ";
  }
  std::string text() {
    std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  std::mutex mutex_;
  std::string lines_;
};

using OnHead = std::function<FilterVerdict(FilterContext&, Head&, bool)>;

struct Behaviour {
  OnHead on_request_head{};
  std::function<void(FilterContext&, Head&)> on_response_head{};
  std::function<void(FilterContext&, BodyChunk&)> on_request_body{};
  std::function<void(FilterContext&, HeaderList&, BodyChunk&)> on_response_trailers{};
  std::function<void(FilterContext&, LocalReply&)> on_local_reply{};
  std::function<void(FilterContext&, const LocalReply&, BodyChunk&)> on_response_failed{};
};

class ProbeFilter final : public Filter {
 public:
  ProbeFilter(std::string name, Journal& journal, Behaviour behaviour)
      : name_(std::move(name)), journal_(journal), behaviour_(std::move(behaviour)) {}

  FilterVerdict on_request_head(FilterContext& ctx, Head& head, bool end) override {
    journal_.add(name_ + ".head");
    return behaviour_.on_request_head ? behaviour_.on_request_head(ctx, head, end) : FilterVerdict::kContinue;
  }
  void on_request_body(FilterContext& ctx, BodyChunk& chunk) override {
    bytes_ += chunk.data.size();
    if (chunk.end) journal_.add(name_ + ".body" + std::to_string(bytes_.exchange(0)));
    if (behaviour_.on_request_body) behaviour_.on_request_body(ctx, chunk);
  }
  void on_response_head(FilterContext& ctx, Head& head, bool) override {
    journal_.add(name_ + ".answer");
    if (behaviour_.on_response_head) behaviour_.on_response_head(ctx, head);
  }
  void on_response_body(FilterContext&, BodyChunk& chunk) override {
    if (chunk.end) journal_.add(name_ + ".answer_end");
  }
  void on_response_trailers(FilterContext& ctx, HeaderList& trailers, BodyChunk& rest) override {
    journal_.add(name_ + ".trailers");
    if (behaviour_.on_response_trailers) behaviour_.on_response_trailers(ctx, trailers, rest);
  }
  void on_local_reply(FilterContext& ctx, LocalReply& reply) override {
    journal_.add(name_ + ".reply");
    if (behaviour_.on_local_reply) behaviour_.on_local_reply(ctx, reply);
  }
  void on_response_failed(FilterContext& ctx, const LocalReply& reply, BodyChunk& rest) override {
    journal_.add(name_ + ".failed");
    if (behaviour_.on_response_failed) behaviour_.on_response_failed(ctx, reply, rest);
  }
  void on_stream_end(FilterContext&) override { journal_.add(name_ + ".end"); }

 private:
  std::string name_;
  Journal& journal_;
  Behaviour behaviour_;
  std::atomic<size_t> bytes_{0};
};

class ProbeFactory final : public FilterFactory {
 public:
  ProbeFactory(std::string name, Journal& journal, Behaviour behaviour = {})
      : filter_(std::move(name), journal, std::move(behaviour)) {}
  std::string_view name() const override { return "probe"; }
  Want wants() const override { return DRAGOMAN_WANT_HEADERS; }
  Filter* create(Arena&) const override { return &filter_; }

 private:
  mutable ProbeFilter filter_;
};

class FilterChain : public ::testing::Test {
 protected:
  Journal journal_;
  ScriptedBackend http_{scripts::http("from the backend")};
  BoltRecorder bolt_;
  std::unique_ptr<EngineHarness> engine_;

  /// Filters a and b.
  void serve(const std::string& protocol, Behaviour a, Behaviour b = {}) {
    std::vector<std::unique_ptr<FilterFactory>> filters;
    filters.push_back(std::make_unique<ProbeFactory>("a", journal_, std::move(a)));
    filters.push_back(std::make_unique<ProbeFactory>("b", journal_, std::move(b)));
    engine_ = std::make_unique<EngineHarness>(
        protocol, std::vector<std::string>{protocol == "bolt" ? bolt_.address() : http_.address()}, std::move(filters));
  }
  HttpMessage post(const std::string& body) {
    TestSocket s = engine_->connect();
    s.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    return s.read_response();
  }
};

TEST_F(FilterChain, RequestsGoInOrderAndAnswersInReverse) {
  serve("http1", {});
  EXPECT_EQ(post("12345").body, "from the backend");
  engine_.reset();
  EXPECT_EQ(journal_.text(),
            "a.head b.head a.body5 b.body5 b.answer a.answer b.answer_end a.answer_end a.end b.end ");
}

TEST_F(FilterChain, AnAnswerStopsTheChainAndNothingGoesUpstream) {
  serve("http1", {[](FilterContext& ctx, Head&, bool) {
          LocalReply reply;
          reply.reason = Reason::kDenied;
          reply.text = "no";
          ctx.answer(reply);
          return FilterVerdict::kAnswered;
        }});
  HttpMessage answer = post("12345");
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.body, "no");
  engine_.reset();
  EXPECT_EQ(journal_.text(), "a.head a.end b.end ") << "b never saw the request";
  EXPECT_EQ(http_.connections(), 0);
}

TEST_F(FilterChain, TheSameAnswerSpeaksBolt) {
  serve("bolt", {}, {[](FilterContext& ctx, Head& head, bool) {
          EXPECT_EQ(head.header("service"), "S:1.0");
          LocalReply reply;
          reply.reason = Reason::kDenied;
          ctx.answer(reply);
          return FilterVerdict::kAnswered;
        }});
  TestSocket s = engine_->connect();
  s.send(BoltFrame::request(31).bytes());
  const BoltParts a = read_answer(s);
  EXPECT_EQ(a.id, 31u);
  EXPECT_NE(a.status, kBoltSuccess);
  EXPECT_EQ(bolt_.bytes(), 0u);
}

struct Paused {
  FilterContext* ctx = nullptr;
  std::atomic<bool> reached{false};
  OnHead pause() {
    return [this](FilterContext& c, Head&, bool) {
      ctx = &c;
      reached = true;
      return FilterVerdict::kPause;
    };
  }
};

class PausedChain : public FilterChain, public ::testing::WithParamInterface<const char*> {};

TEST_P(PausedChain, TheRequestWaitsWholeAndLaterFiltersSeeAllOfItsBody) {
  const bool http = GetParam() == std::string("http1");
  Paused paused;
  serve(GetParam(), {paused.pause()});
  TestSocket s = engine_->connect();
  s.send(http ? "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n12345" : BoltFrame::request(4, "12345").bytes());
  ASSERT_TRUE(eventually([&] { return paused.reached.load(); }));
  sleep_ms(30);
  EXPECT_EQ(http_.connections(), 0);
  EXPECT_EQ(bolt_.bytes(), 0u);
  engine_->run([&] { paused.ctx->resume(); });
  EXPECT_EQ(http ? s.read_response().body : read_answer(s).content, http ? "from the backend" : "12345");
  engine_.reset();
  const std::string seen = journal_.text();
  EXPECT_NE(seen.find("a.body5 "), std::string::npos) << seen;
  EXPECT_NE(seen.find("b.body5 "), std::string::npos) << seen;
  EXPECT_LT(seen.find("b.head"), seen.find("b.body5")) << "a filter sees the head before the body: " << seen;
}

INSTANTIATE_TEST_SUITE_P(Protocols, PausedChain, ::testing::Values("http1", "bolt"));

TEST_F(FilterChain, AClientThatLeavesWhilePausedEndsTheStream) {
  Paused paused;
  serve("http1", {paused.pause()});
  {
    TestSocket s = engine_->connect();
    s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    ASSERT_TRUE(eventually([&] { return paused.reached.load(); }));
    s.reset();
  }
  EXPECT_TRUE(eventually([&] { return journal_.text() == "a.head a.end b.end "; })) << journal_.text();
  engine_.reset();
}

TEST_F(FilterChain, AnAnswerAfterAPauseIsTaken) {
  Paused paused;
  serve("http1", {paused.pause()});
  TestSocket s = engine_->connect();
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return paused.reached.load(); }));
  engine_->run([&] {
    LocalReply reply;
    reply.reason = Reason::kRateLimited;
    paused.ctx->answer(reply);
  });
  EXPECT_EQ(s.read_response().status, 429);
  EXPECT_EQ(http_.connections(), 0);
}

TEST_F(FilterChain, AnAnswerInPlaceOfTheBackendsAnswerIsSent) {
  serve("http1", {}, {{}, [](FilterContext& ctx, Head& head) {
                        if (head.status != 200) return;
                        LocalReply reply;
                        reply.reason = Reason::kDenied;
                        reply.text = "changed my mind";
                        ctx.answer(reply);
                      }});
  HttpMessage answer = post("1");
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.body, "changed my mind");
  TestSocket s = engine_->connect();
  s.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  EXPECT_EQ(s.read_response().status, 403) << "the engine goes on";
}

TEST_F(FilterChain, AnAnswerDuringTheBodyIsSent) {
  serve("http1", {}, {{}, {}, [](FilterContext& ctx, BodyChunk& chunk) {
                        if (chunk.data.empty() || chunk.data[0] != '!') return;
                        LocalReply reply;
                        reply.reason = Reason::kBodyTooLarge;
                        ctx.answer(reply);
                      }});
  TestSocket s = engine_->connect();
  s.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n");
  sleep_ms(30);
  s.send("!");
  EXPECT_EQ(s.read_response().status, 413);
  EXPECT_EQ(post("fine").status, 200);
}

std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// A chunked answer that ends with a trailer, or is cut off inside its body.
ScriptedBackend::Script streaming(bool cut) {
  return [cut](TestSocket& s) {
    s.read_request();
    s.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbody \r\n");
    if (!cut) s.send("0\r\nx-sum: 1\r\n\r\n");
  };
}

TEST_F(FilterChain, TrailersMayBecomeTheEndOfTheBody) {
  ScriptedBackend backend{streaming(false)};
  Behaviour outer, inner;
  inner.on_response_trailers = [](FilterContext&, HeaderList& trailers, BodyChunk& rest) {
    EXPECT_EQ(trailers[0].name, "x-sum");
    EXPECT_TRUE(rest.data.empty());
    rest.data = bytes_of("and its tail");
    trailers.clear();
  };
  outer.on_response_trailers = [](FilterContext&, HeaderList& trailers, BodyChunk& rest) {
    EXPECT_TRUE(trailers.empty());
    EXPECT_EQ(rest.data.size(), 12u) << "what the filter before it made of them";
  };
  std::vector<std::unique_ptr<FilterFactory>> filters;
  filters.push_back(std::make_unique<ProbeFactory>("a", journal_, std::move(outer)));
  filters.push_back(std::make_unique<ProbeFactory>("b", journal_, std::move(inner)));
  engine_ = std::make_unique<EngineHarness>("http1", std::vector<std::string>{backend.address()},
                                            std::move(filters));
  TestSocket s = engine_->connect();
  s.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  const std::string wire = s.read_to_end();
  EXPECT_TRUE(wire.ends_with("5\r\nbody \r\nc\r\nand its tail\r\n0\r\n\r\n")) << wire;
  engine_.reset();
  EXPECT_NE(journal_.text().find("b.trailers a.trailers a.end"), std::string::npos) << journal_.text();
}

TEST_F(FilterChain, AnswersMadeHereAreShownToFiltersThatLetTheRequestPass) {
  Behaviour outer, inner;
  outer.on_local_reply = [](FilterContext& ctx, LocalReply& reply) {
    EXPECT_EQ(reply.reason, Reason::kDenied);
    EXPECT_EQ(reply.text, "no");
    reply.http_status = 200;
    reply.text = ctx.request().arena.concat("said ", reply.text);
  };
  inner.on_request_head = [](FilterContext& ctx, Head&, bool) {
    LocalReply reply;
    reply.reason = Reason::kDenied;
    reply.text = "no";
    ctx.answer(reply);
    return FilterVerdict::kAnswered;
  };
  serve("http1", std::move(outer), std::move(inner));
  const HttpMessage answer = post("1");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "said no");
  engine_.reset();
  EXPECT_EQ(journal_.text(), "a.head b.head a.reply a.end b.end ") << "the maker is not asked";
}

TEST_F(FilterChain, AFilterMayEndWellWhatTheBackendBroke) {
  for (bool mended : {false, true}) {
    ScriptedBackend backend{streaming(true)};
    Behaviour outer;
    if (mended) {
      outer.on_response_failed = [](FilterContext&, const LocalReply& reply, BodyChunk& rest) {
        EXPECT_EQ(reply.reason, Reason::kUpstreamTruncated);
        rest = {bytes_of("cut off"), true};
      };
    }
    std::vector<std::unique_ptr<FilterFactory>> filters;
    filters.push_back(std::make_unique<ProbeFactory>("a", journal_, std::move(outer)));
    engine_ = std::make_unique<EngineHarness>("http1", std::vector<std::string>{backend.address()},
                                              std::move(filters));
    TestSocket s = engine_->connect();
    s.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    const std::string wire = s.read_to_end();
    EXPECT_EQ(wire.ends_with("\r\n7\r\ncut off\r\n0\r\n\r\n"), mended) << wire;
    EXPECT_EQ(wire.ends_with("\r\nbody \r\n"), !mended) << wire;
    engine_.reset();
  }
}

TEST_F(FilterChain, ABodyMayBeReplaced) {
  serve("bolt", {}, {{}, {}, [](FilterContext& ctx, BodyChunk& chunk) {
                       auto* copy = ctx.request().arena.allocate_array<uint8_t>(chunk.data.size());
                       for (size_t i = 0; i < chunk.data.size(); ++i) copy[i] = static_cast<uint8_t>(chunk.data[i] - 32);
                       chunk.data = {copy, chunk.data.size()};
                     }});
  TestSocket s = engine_->connect();
  s.send(BoltFrame::request(1, "abc").bytes());
  EXPECT_EQ(read_answer(s).content, "ABC");
}

}  // namespace
}  // namespace dragoman::testing
