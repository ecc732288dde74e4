// What the fuzz targets of framed codecs share: the host in both roles between fakes that trap when it breaks the order of
// calls, or when it finds that a table says what can't be true.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "protocols/framed.h"
#include "tests/fuzz/fuzz_support.h"

namespace dragoman::fuzz {

/// One direction of one exchange.
struct End final : MessageSink {
  Exchange* exchange = nullptr;
  Head* head = nullptr;
  bool ended = false, was_reset = false;
  std::function<void(Head&, bool)> then_head = [](Head&, bool) {};
  std::function<void(std::span<const uint8_t>, bool)> then_body = [](std::span<const uint8_t>, bool) {};
  std::function<void()> then_reset = [] {};

  void on_head(Head& h, bool end) override {
    REQUIRE(!head && !ended && !was_reset && exchange);
    REQUIRE(h.wire.size() == h.frame.head_len && h.frame.total_len >= h.frame.head_len);
    size_t sum = 0;  // everything a head shows can be read
    auto read = [&sum](std::string_view text) {
      for (char c : text) sum += static_cast<uint8_t>(c);
    };
    read(h.service);
    read(h.method);
    for (const Header& field : h.headers) read(field.name), read(field.value);
    REQUIRE(sum < SIZE_MAX);
    head = &h;
    ended = end;
    then_head(h, end);
  }
  void on_body(std::span<const uint8_t> chunk, bool end) override {
    REQUIRE(head && !ended && !was_reset && exchange);
    ended = end;
    then_body(chunk, end);
  }
  void on_trailers(HeaderList&) override { REQUIRE(false); }
  void on_reset(Reason) override {
    REQUIRE(!was_reset && exchange);
    was_reset = true;
    then_reset();
  }
  void on_write_blocked(bool) override { REQUIRE(exchange); }
  void release() {
    if (Exchange* x = exchange) {
      exchange = nullptr;
      x->release();
    }
  }
};

class Connection final : public ConnectionEvents {
 public:
  Sink sink;
  std::unique_ptr<ConnectionCodec> codec;
  std::function<MessageSink*(Exchange&)> accept = [](Exchange&) { return nullptr; };
  bool broken = false;
  uint64_t now = 1000;

  Connection(const dragoman_codec& table, Role role, const CodecOptions& options) {
    Protocol protocol;
    protocol.table = &table;
    codec = make_framed_codec(protocol, role, sink, *this, options);
  }
  void feed(std::string_view bytes) {
    if (bytes.empty()) return;
    // One piece of memory for all, at the very end of which the bytes stand: reading past them is noticed.
    constexpr size_t kMost = 64 * 1024;
    static const auto memory = std::make_unique_for_overwrite<uint8_t[]>(ConnectionCodec::kHeadroom + kMost);
    for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kMost))) {
      size_t n = std::min(bytes.size(), kMost);
      uint8_t* data = memory.get() + ConnectionCodec::kHeadroom + kMost - n;
      std::memcpy(data, bytes.data(), n);
      codec->on_data(data, n);
    }
  }
  void feed_in_steps(std::string_view bytes, size_t step) {
    for (size_t i = 0; i < bytes.size(); i += step) feed(bytes.substr(i, step));
  }
  MessageSink* on_exchange(Exchange& x) override {
    REQUIRE(!broken);
    return accept(x);
  }
  void on_goaway() override {}
  void on_broken(Reason reason, std::string_view detail) override {
    REQUIRE(!broken && reason != Reason::kNone);
    REQUIRE(!detail.starts_with("codec:"));  // a lie is the table's fault, never the peer's
    broken = true;
  }
  void on_finished() override { REQUIRE(codec->open_exchanges() == 0); }
  void on_capacity() override {}
  void pause_reading() override {
    REQUIRE(!paused_);
    paused_ = true;
  }
  void resume_reading() override {
    REQUIRE(paused_);
    paused_ = false;
  }
  void on_event(CodecEvent) override {}
  uint64_t now_ms() const override { return now; }

 private:
  bool paused_ = false;
};

/// A request that was passed on.
struct Call {
  End request, answer;
  bool done = false;
  void finish() {
    if (done) return;
    done = true;
    answer.release();
    request.release();
  }
};

/// Passes the requests of `from` on, and answers back, as the engine would. `edit` changes requests' heads. Null in `calls`:
/// one that was refused.
inline void join(
    Connection& from, Connection& to, std::vector<std::unique_ptr<Call>>& calls,
    std::function<void(Head&)> edit = [](Head&) {}) {
  from.accept = [&to, &calls, edit = std::move(edit)](Exchange& x) -> MessageSink* {
    if (calls.size() % 16 == 13) {
      calls.push_back(nullptr);
      return nullptr;
    }
    calls.push_back(std::make_unique<Call>());
    Call* c = calls.back().get();
    c->request.exchange = &x;
    c->request.then_head = [c, &to, &edit](Head& h, bool end) {
      c->answer.exchange = to.codec->open(c->answer);
      LocalReply reply;
      if (!c->answer.exchange) {
        reply.reason = Reason::kPendingOverflow;
        c->request.exchange->send_reply(h, reply);
        return c->finish();
      }
      if (!h.opaque) edit(h);
      Reason why = c->answer.exchange->send_head(h, end);
      if (why != Reason::kNone) {
        reply.reason = why;
        c->request.exchange->send_reply(h, reply);
        return c->finish();
      }
      if (end && h.one_way) c->finish();
    };
    c->request.then_body = [c](std::span<const uint8_t> chunk, bool end) {
      c->answer.exchange->send_body(chunk, end);
      if (end && c->request.head->one_way) c->finish();
    };
    c->request.then_reset = c->answer.then_reset = [c] { c->finish(); };
    c->answer.then_head = [c](Head& h, bool end) {
      if (c->request.exchange->send_head(h, end) != Reason::kNone || end) c->finish();
    };
    c->answer.then_body = [c](std::span<const uint8_t> chunk, bool end) {
      c->request.exchange->send_body(chunk, end);
      if (end) c->finish();
    };
    return &c->request;
  };
}

/// All that a peer gets to see when every request in `stream`, and then in `more`, is answered at its end.
inline std::string answers(const dragoman_codec& table, Role role, const CodecOptions& options,
                           std::string_view stream, size_t step, std::string_view more = {}) {
  Connection c(table, role, options);
  if (!(options.framed.want & DRAGOMAN_WANT_HEADERS) && stream.size() % 2) c.codec->find_hops();
  std::vector<std::unique_ptr<End>> ends;
  c.accept = [&](Exchange& x) -> MessageSink* {
    ends.push_back(std::make_unique<End>());
    End* e = ends.back().get();
    e->exchange = &x;
    auto reply = [e] {
      LocalReply r;
      r.reason = Reason::kNoRoute;
      r.text = "no \"route\" <here>";
      e->exchange->send_reply(*e->head, r);
      e->release();
    };
    e->then_head = [reply](Head&, bool end) {
      if (end) reply();
    };
    e->then_body = [reply](std::span<const uint8_t>, bool end) {
      if (end) reply();
    };
    e->then_reset = [e] { e->release(); };
    return e;
  };
  c.feed_in_steps(stream, step);
  c.feed(more);
  bool broken = c.broken;
  std::string out = c.sink.take() + (broken ? "broken" : "");
  for (auto& e : ends) e->release();
  REQUIRE(c.codec->open_exchanges() == 0);
  return out;
}

/// Whether a connection that is fed whole and one that is fed byte by byte answer alike. Of bytes that begin no frame, one may
/// have seen enough while the other still waits for as many as the codec asked for: then more of them settle it.
inline bool answers_alike(const dragoman_codec& table, Role role, const CodecOptions& options,
                          std::string_view stream) {
  if (answers(table, role, options, stream, stream.size() + 1) == answers(table, role, options, stream, 1))
    return true;
  const std::string more(ConnectionCodec::kHeadroom, 'U');
  return answers(table, role, options, stream, stream.size() + 1, more) ==
         answers(table, role, options, stream, 1, more);
}

}  // namespace dragoman::fuzz
