// Bolt on the framed host, both roles.
//
// Input: one byte of options. Bit 7 of it chooses what follows:
//   0: records `u8 action, u16 number (big-endian)`, then `number` bytes for the actions that feed. A
//   server-role and a
//      client-role connection are joined as the engine would; records feed either side and end things.
//   1: all bytes are one client's stream; a connection fed whole and one fed byte by byte must answer alike.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/bolt/bolt.h"
#include "protocols/framed.h"

namespace {

using namespace dragoman;

#define REQUIRE(condition) \
  do {                     \
    if (!(condition)) {    \
      __builtin_trap();    \
    }                      \
  } while (0)

class Sink final : public ByteSink {
 public:
  std::string take() {
    std::string text(out.size(), '\0');
    out.copy_to(reinterpret_cast<uint8_t*>(text.data()));
    out.clear();
    dirty_ = false;
    return text;
  }

 private:
  void on_dirty() override {}
};

/// One side of a joined call; traps when the host breaks the order of calls.
struct End final : MessageSink {
  Exchange* exchange = nullptr;
  Head* head = nullptr;
  bool ended = false, was_reset = false;
  std::function<void(Head&, bool)> then_head = [](Head&, bool) {};
  std::function<void(std::span<const uint8_t>, bool)> then_body = [](std::span<const uint8_t>, bool) {};
  std::function<void()> then_reset = [] {};

  void on_head(Head& h, bool end) override {
    REQUIRE(!head && !ended && !was_reset && exchange);
    // Everything a head shows lies in its own memory.
    REQUIRE(h.wire.size() == h.frame.head_len && h.frame.total_len >= h.frame.head_len);
    size_t read = h.service.size() + h.method.size();
    for (const Header& field : h.headers) read += field.name.size() + field.value.size();
    REQUIRE(read <= 8 * h.wire.size());
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

  Connection(Role role, const CodecOptions& options) {
    Protocol protocol;
    protocol.table = bolt_codec();
    codec = make_framed_codec(protocol, role, sink, *this, options);
  }
  void feed(std::string_view bytes) {
    if (bytes.empty()) return;
    if (capacity_ < bytes.size()) {
      capacity_ = bytes.size();
      buffer_.reset(new uint8_t[ConnectionCodec::kHeadroom + capacity_]);
    }
    // At the very end of the buffer, so that reading past it is noticed.
    uint8_t* data = buffer_.get() + ConnectionCodec::kHeadroom + capacity_ - bytes.size();
    std::memcpy(data, bytes.data(), bytes.size());
    codec->on_data(data, bytes.size());
  }
  MessageSink* on_exchange(Exchange& x) override {
    REQUIRE(!broken);
    return accept(x);
  }
  void on_goaway() override {}
  void on_broken(Reason reason, std::string_view) override {
    REQUIRE(!broken && reason != Reason::kNone);
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
  std::unique_ptr<uint8_t[]> buffer_;
  size_t capacity_ = 0;
};

/// The ids of the whole frames in `bytes`; traps when they are not whole Bolt frames (the last may be cut if
/// `cut_ok`).
std::vector<uint32_t> frames(std::string_view bytes, bool cut_ok) {
  std::vector<uint32_t> ids;
  while (!bytes.empty()) {
    dragoman_frame f{};
    f.size = sizeof f;
    int verdict =
        bolt_codec()->probe(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                            &f);
    if (cut_ok && (verdict == DRAGOMAN_NEED || f.total_len > bytes.size())) return ids;
    REQUIRE(verdict == DRAGOMAN_FRAME && f.total_len <= bytes.size());
    if (f.kind == DRAGOMAN_REQUEST) ids.push_back(static_cast<uint32_t>(f.id));
    bytes.remove_prefix(static_cast<size_t>(f.total_len));
  }
  return ids;
}

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

void join(Connection& from, Connection& to, std::vector<std::unique_ptr<Call>>& calls) {
  from.accept = [&to, &calls](Exchange& x) -> MessageSink* {
    if (calls.size() % 16 == 13) {
      calls.push_back(nullptr);
      return nullptr;
    }
    calls.push_back(std::make_unique<Call>());
    Call* c = calls.back().get();
    c->request.exchange = &x;
    c->request.then_head = [c, &to](Head& h, bool end) {
      c->answer.exchange = to.codec->open(c->answer);
      LocalReply reply;
      if (!c->answer.exchange) {
        reply.reason = Reason::kPendingOverflow;
        c->request.exchange->send_reply(h, reply);
        return c->finish();
      }
      if (h.frame.id % 3 == 0 && !h.opaque) {  // edits that always fit, or never
        h.set_header("service", "edited");
        h.remove_header("app");
        h.add_header("x", std::string(h.frame.id % 2 ? 33000 : 3, 'x'));
      }
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

CodecOptions options_from(uint8_t bits) {
  CodecOptions o;
  o.framed.mode = bits % 4 == 1   ? PoolMode::kPingPong
                  : bits % 4 == 2 ? PoolMode::kBound
                                  : PoolMode::kMultiplex;
  o.framed.verify_checksums = !(bits & 4);
  o.framed.want = bits & 8 ? 7 : 3;
  o.framed.streams_max = bits & 16 ? 3 : 100;
  o.framed.frame_bytes_max = bits & 32 ? 400 : 1 << 20;
  o.framed.heartbeats_per_second_max = 20;
  o.framed.goaway = bits & 64;
  return o;
}

void joined(uint8_t bits, std::string_view input) {
  Connection down(Role::kServer, options_from(bits)), up(Role::kClient, options_from(bits));
  std::vector<std::unique_ptr<Call>> calls;
  join(down, up, calls);
  join(up, down, calls);  // requests of the server
  const bool streams = bits % 4 == 1 || bits % 4 == 2;
  std::string up_out;
  std::vector<uint32_t> asked;  // ids that were sent upstream
  while (input.size() >= 3) {
    auto action = static_cast<uint8_t>(input[0]);
    size_t n = static_cast<size_t>(static_cast<uint8_t>(input[1])) << 8 | static_cast<uint8_t>(input[2]);
    input.remove_prefix(3);
    std::string bytes(action % 16 <= 5 ? input.substr(0, n) : std::string_view());
    input.remove_prefix(bytes.size());
    Call* some = calls.empty() ? nullptr : calls[n % calls.size()].get();
    if (some && some->done) some = nullptr;
    switch (action % 16) {
      case 0:
      case 1:
        down.feed(bytes);
        break;
      case 2:
        for (char c : bytes) down.feed({&c, 1});
        break;
      case 3:
        up.feed(bytes);
        break;
      case 4:  // an answer, given the id of a request that was sent
      case 5:
        if (!asked.empty() && bytes.size() > 10) {
          uint32_t id = asked[n % asked.size()];
          size_t at = bytes[0] == 2 ? 6 : 5;
          for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(id >> (24 - 8 * i));
        }
        if (action % 16 == 4)
          up.feed(bytes);
        else
          for (char c : bytes) up.feed({&c, 1});
        break;
      case 6:
        (n % 2 ? down : up).codec->on_eof();
        break;
      case 7:
        (n % 2 ? down : up).codec->heartbeat();
        break;
      case 8:
        if (some) some->finish();
        break;
      case 9:
        if (some && some->request.head) {
          LocalReply reply;
          reply.reason = static_cast<Reason>(n % kReasonCount);
          some->request.exchange->send_reply(*some->request.head, reply);
          some->finish();
        }
        break;
      case 10:
        if (some) n % 2 ? some->request.exchange->pause_reading() : some->request.exchange->resume_reading();
        break;
      case 11:
        (n % 2 ? down : up).codec->on_write_blocked(n % 4 < 2);
        break;
      case 12:
        (n % 2 ? down : up).codec->drain();
        break;
      case 13:
        (n % 2 ? down : up).codec->fail(Reason::kFrameTimeout);
        break;
      case 14:
        (n % 2 ? down : up).codec->on_transport_closed(Reason::kUpstreamReset);
        break;
      case 15:
        down.now += n * 100;
        up.now += n * 100;
        break;
    }
    up_out += up.sink.take();
    asked = frames(up_out, streams);
    // Answers are always whole. Requests of the server stream through to nobody: the server role collects
    // them.
    frames(down.sink.take(), false);
    REQUIRE(down.codec->phase() != ReadPhase::kHead || !down.broken);
  }
  for (auto& c : calls)
    if (c) c->finish();
  REQUIRE(down.codec->open_exchanges() == 0 && up.codec->open_exchanges() == 0);
}

/// All that a client gets to see when every request is answered at its end.
std::string answers(uint8_t bits, std::string_view stream, bool whole) {
  Connection c(Role::kServer, options_from(bits));
  std::vector<std::unique_ptr<End>> ends;
  c.accept = [&](Exchange& x) -> MessageSink* {
    ends.push_back(std::make_unique<End>());
    End* e = ends.back().get();
    e->exchange = &x;
    auto reply = [e] {
      LocalReply r;
      r.reason = Reason::kNoRoute;
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
  if (whole)
    c.feed(stream);
  else
    for (char byte : stream) c.feed({&byte, 1});
  bool broken = c.broken;
  std::string out = c.sink.take() + (broken ? "broken" : "");
  for (auto& e : ends) e->release();
  REQUIRE(c.codec->open_exchanges() == 0);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  size_t chunks = live_chunks();
  std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] & 128) {
    input = input.substr(0, 4096);
    REQUIRE(answers(data[0], input, true) == answers(data[0], input, false));
  } else {
    joined(data[0], input);
  }
  REQUIRE(live_framed_exchanges() == 0);
  REQUIRE(live_chunks() == chunks);
  return 0;
}
