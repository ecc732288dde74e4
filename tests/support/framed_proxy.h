// A framed codec in both roles with fakes at the ends, and a hop that joins them as the engine would.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "protocols/framed.h"
#include "tests/support/codec_fakes.h"

namespace dragoman::testing {

inline CodecOptions framed_options(PoolMode mode = PoolMode::kMultiplex) {
  CodecOptions options;
  options.framed.mode = mode;
  options.framed.want = DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD | DRAGOMAN_WANT_HEADERS;
  return options;
}

class FramedConnection : public FakeConnection {
 public:
  FramedConnection(const dragoman_codec* table, Role role, CodecOptions options = framed_options())
      : FakeConnection([&](ByteSink& out, ConnectionEvents& ev) {
          Protocol protocol;
          protocol.table = table;
          return make_framed_codec(protocol, role, out, ev, options);
        }) {}
};

/// Passes every request of `down` to `up` and every answer back. Both exchanges of a hop are released when
/// both are through, or when either is reset.
class Hop {
 public:
  Hop(FramedConnection& down, FramedConnection& up) : up_(up) {
    down.events.then_exchange = [this](FakeMessageSink& sink) { start(sink); };
  }
  ~Hop() {
    for (auto& p : pairs_) finish(*p);
  }
  std::vector<Reason> failures;  // what send_head() said, when not kNone

 private:
  struct Pair {
    FakeMessageSink* request = nullptr;
    FakeMessageSink answer;
    bool done = false;
  };
  void start(FakeMessageSink& request) {
    pairs_.push_back(std::make_unique<Pair>());
    Pair* p = pairs_.back().get();
    p->request = &request;
    request.then_head = [this, p](Head& h, bool end) {
      p->answer.exchange = up_.codec->open(p->answer);
      ASSERT_NE(p->answer.exchange, nullptr);
      Reason why = p->answer.exchange->send_head(h, end);
      if (why != Reason::kNone) {
        failures.push_back(why);
        LocalReply reply;
        reply.reason = why;
        p->request->exchange->send_reply(h, reply);
        finish(*p);
      } else if (end && h.one_way) {
        finish(*p);
      }
    };
    request.then_body = [this, p](std::string_view chunk, bool end) {
      if (p->done) return;
      p->answer.exchange->send_body({reinterpret_cast<const uint8_t*>(chunk.data()), chunk.size()}, end);
      if (end && p->request->head->one_way) finish(*p);
    };
    request.then_reset = [this, p](Reason) { finish(*p); };
    p->answer.then_head = [this, p](Head& h, bool end) {
      Reason why = p->request->exchange->send_head(h, end);
      if (why != Reason::kNone) failures.push_back(why);
      if (end) finish(*p);
    };
    p->answer.then_body = [this, p](std::string_view chunk, bool end) {
      p->request->exchange->send_body({reinterpret_cast<const uint8_t*>(chunk.data()), chunk.size()}, end);
      if (end) finish(*p);
    };
    p->answer.then_reset = [this, p](Reason) { finish(*p); };
  }
  static void finish(Pair& p) {
    if (p.done) return;
    p.done = true;
    p.answer.release();
    p.request->release();
  }
  FramedConnection& up_;
  std::vector<std::unique_ptr<Pair>> pairs_;
};

}  // namespace dragoman::testing
