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
