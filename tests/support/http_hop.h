// Joins a server codec and a client codec of any HTTP version as the engine would, without an engine: every request goes to
// the one upstream connection, every answer back.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/support/codec_fakes.h"

namespace dragoman::testing {

class HttpHop {
 public:
  HttpHop(FakeConnection& down, FakeConnection& up) : up_(up) {
    down.events.then_exchange = [this](FakeMessageSink& sink) { start(sink); };
  }
  ~HttpHop() {
    for (auto& p : pairs_) finish(*p);
  }
  std::vector<Reason> failures;  // requests that could not be passed on
  size_t requests() const { return pairs_.size(); }

 private:
  struct Pair;
  struct Answers final : MessageSink {
    Pair* pair = nullptr;
    void on_head(Head& head, bool end) override {
      Reason reason = pair->request->exchange->send_head(head, end);
      if (reason != Reason::kNone) return pair->hop->fail(*pair, reason);
      pair->tunnel = head.status == 101;
      if (end) pair->answered();
    }
    void on_body(std::span<const uint8_t> chunk, bool end) override {
      pair->request->exchange->send_body(chunk, end);
      if (end) pair->answered();
    }
    void on_trailers(HeaderList& trailers) override {
      pair->request->exchange->send_trailers(trailers);
      pair->answered();
    }
    void on_reset(Reason reason) override { pair->hop->fail(*pair, reason); }
    void on_write_blocked(bool blocked) override {
      if (!pair->request->exchange) return;
      if (blocked)
        pair->request->exchange->pause_reading();
      else
        pair->request->exchange->resume_reading();
    }
  };
  struct Pair {
    HttpHop* hop = nullptr;
    FakeMessageSink* request = nullptr;
    Exchange* up = nullptr;
    Answers answers;
    bool tunnel = false;
    bool answer_ended = false;
    void answered() {
      answer_ended = true;
      if (!tunnel || request->ended) hop->finish(*this);
    }
  };

  void start(FakeMessageSink& request) {
    pairs_.push_back(std::make_unique<Pair>());
    Pair* p = pairs_.back().get();
    p->hop = this;
    p->request = &request;
    p->answers.pair = p;
    request.then_head = [this, p](Head& h, bool end) {
      p->up = up_.codec->open(p->answers);
      Reason why = p->up ? p->up->send_head(h, end) : Reason::kPendingOverflow;
      if (why != Reason::kNone) fail(*p, why);
    };
    request.then_body = [p](std::string_view chunk, bool end) {
      if (p->up) p->up->send_body({reinterpret_cast<const uint8_t*>(chunk.data()), chunk.size()}, end);
      if (end && p->up && p->tunnel && p->answer_ended) p->hop->finish(*p);
    };
    request.then_trailers = [p](HeaderList& trailers) {
      if (p->up) p->up->send_trailers(trailers);
    };
    request.then_reset = [p](Reason reason) {
      if (p->up) p->up->reset(reason);
      p->hop->finish(*p);
    };
    request.then_blocked = [p](bool blocked) {
      if (!p->up) return;
      if (blocked)
        p->up->pause_reading();
      else
        p->up->resume_reading();
    };
  }

  void fail(Pair& p, Reason reason) {
    failures.push_back(reason);
    if (p.request->exchange && p.request->head) {
      LocalReply reply;
      reply.reason = reason;
      p.request->exchange->send_reply(*p.request->head, reply);
    }
    finish(p);
  }
  static void finish(Pair& p) {
    if (Exchange* up = std::exchange(p.up, nullptr)) up->release();
    p.request->release();
  }

  FakeConnection& up_;
  std::vector<std::unique_ptr<Pair>> pairs_;
};

}  // namespace dragoman::testing
