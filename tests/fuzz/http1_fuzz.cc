// HTTP/1, both roles.
//
// Input: one byte; its two highest bits choose what follows, the others are options.
//   0: a client's stream. It gives the same however it is cut, and each request that is passed on decodes to the same
//      again, with nothing behind it; one that was not complete is never made complete.
//   1: the same for a backend's stream, with one more byte for the request it answers.
//   2, 3: records `u8 action, u16 number (big-endian)`, then `number` bytes for the actions that feed. A server-role and
//      client-role connections are joined as the engine would; what they write must be good HTTP at all times.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/http1/http1_codec.h"
#include "tests/fuzz/http_fuzz_support.h"

namespace {

using namespace dragoman;

/// What is compared of a head.
std::string text_of(const Head& h) {
  std::string out;
  if (h.is_request)
    out.append(h.method).append(" ").append(h.path).append(" ").append(h.authority);
  else
    out.append(std::to_string(h.status));  // a missing phrase is filled in
  for (const Header& f : h.headers) out.append("\n").append(f.name).append(": ").append(f.value);
  if (h.upgrade) out.append("\n<upgrade ").append(h.upgrade_token).append(">");
  if (h.expect_continue) out += "\n<expect>";
  if (h.is_request && h.te_trailers) out += "\n<te>";
  return out;
}

struct End final : fuzz::End {
  std::string heads;
  void on_head(Head& h, bool end) override {
    heads += text_of(h) + "\n\n";
    fuzz::End::on_head(h, end);
  }
};

/// What is left of one message when it is over.
struct Message {
  explicit Message(const End& e) : heads(e.heads), body(e.body), trailers(e.trailers), ended(e.ended) {}
  std::string heads, body, trailers;
  bool ended;
  bool operator==(const Message&) const = default;
};

CodecOptions codec_options(const Http1Options& http1) {
  CodecOptions options;
  options.http1 = http1;
  return options;
}

/// HTTP/1 asks for more than the shared one: pauses come in turns.
class Connection final : public fuzz::Connection {
 public:
  Connection(Role role, const Http1Options& http1)
      : fuzz::Connection(make_http1_codec, role, codec_options(http1)) {}
  bool usable() const { return !broken && codec->capacity() == 1; }
  void on_finished() override {
    fuzz::Connection::on_finished();
    REQUIRE(codec->open_exchanges() == 0);
  }
  void on_capacity() override { REQUIRE(codec->capacity() == 1); }
  void pause_reading() override {
    fuzz::Connection::pause_reading();
    REQUIRE(!paused_);
    paused_ = true;
  }
  void resume_reading() override {
    fuzz::Connection::resume_reading();
    REQUIRE(paused_);
    paused_ = false;
  }
  void on_event(CodecEvent event) override {
    REQUIRE(event == CodecEvent::kGlitch || event == CodecEvent::kFieldDropped);
  }

 private:
  bool paused_ = false;
};

/// How a stream is cut: 0 = not at all, 1 = into bytes, else at places that `seed` gives.
void feed_cut(Connection& c, std::string_view bytes, uint32_t seed) {
  while (!bytes.empty()) {
    size_t n = bytes.size();
    if (seed == 1) n = 1;
    if (seed > 1) {
      seed = seed * 1664525 + 1013904223;
      n = std::min<size_t>(n, 1 + (seed >> 20) % 40);
    }
    c.feed(bytes.substr(0, n));
    bytes.remove_prefix(n);
  }
}

Http1Options options_from(uint8_t bits) {
  Http1Options o;
  o.normalize_path = !(bits & 1);
  o.allow_trace = bits & 2;
  o.allow_websocket = !(bits & 4);
  o.encoded_slashes = !(bits & 16);
  o.backslashes = bits & 32;
  o.underscores = Underscores::kPass;  // what comes out is compared with what went in
  if (bits & 8) {
    o.header_bytes_max = 200;
    o.headers_max = 6;
    o.uri_bytes_max = 40;
    o.body_bytes_max = 50;
  }
  return o;
}
/// As strict, but with room for what a hop adds.
Http1Options roomy(Http1Options o) {
  o.header_bytes_max = 1 << 20;
  o.headers_max = 10'000;
  o.uri_bytes_max = 1 << 20;
  o.body_bytes_max = 0;
  return o;
}

// --- 0: requests -----------------------------------------------------------------------------------------------------

struct Served {
  std::vector<Message> requests;
  std::string out;
  bool broken = false, finished = false;
  bool operator==(const Served&) const = default;
};

/// Answers every request at its end, an upgrade at once (with 101 if `tunnels`).
Served serve(const Http1Options& options, std::string_view stream, uint32_t seed, bool tunnels) {
  Connection c(Role::kServer, options);
  std::vector<std::unique_ptr<End>> ends;
  Served result;
  c.accept = [&](Exchange& x) -> MessageSink* {
    ends.push_back(std::make_unique<End>());
    End* e = ends.back().get();
    e->exchange = &x;
    auto done = [e, &result] {
      result.requests.emplace_back(*e);
      Head ok;
      ok.is_request = false;
      ok.status = 200;
      REQUIRE(e->exchange->send_head(ok, true) == Reason::kNone);
      e->release();
    };
    e->then_head = [e, done, tunnels](Head& h, bool end) {
      if (end || (h.upgrade && !tunnels)) return done();
      if (!h.upgrade) return;
      Head go;
      go.is_request = false;
      go.status = 101;
      go.upgrade_token = h.upgrade_token;
      REQUIRE(e->exchange->send_head(go, false) == Reason::kNone);
    };
    e->then_body = [done](std::span<const uint8_t>, bool end) {
      if (end) done();
    };
    e->then_trailers = [done](HeaderList&) { done(); };
    e->then_reset = [e, &result](Reason) {
      result.requests.emplace_back(*e);
      e->release();
    };
    return e;
  };
  feed_cut(c, stream, seed);
  for (auto& e : ends)
    if (e->exchange) result.requests.emplace_back(*e);
  result.out = c.sink.take();
  result.broken = c.broken;
  result.finished = c.finished;
  for (auto& e : ends) e->release();
  REQUIRE(c.codec->open_exchanges() == 0);
  return result;
}

/// The bytes that a backend gets when every request is passed on and answered; also checks the answers.
std::string forward(const Http1Options& options, std::string_view stream, bool tunnels) {
  Http1Options passing;
  passing.underscores = Underscores::kPass;  // else what is sent lacks them
  Connection down(Role::kServer, options), up(Role::kClient, passing), client(Role::kClient, {});
  struct Pair {
    End request, answer;
  };
  std::vector<std::unique_ptr<Pair>> pairs;
  std::string sent;
  down.accept = [&](Exchange& x) -> MessageSink* {
    pairs.push_back(std::make_unique<Pair>());
    Pair* p = pairs.back().get();
    p->request.exchange = &x;
    auto finish = [p] {
      p->answer.release();
      p->request.release();
    };
    auto answer = [p, finish, tunnels, &up, &down, &client, &sent] {
      const Head& h = *p->request.head;
      const bool tunnel = h.upgrade && tunnels;
      const bool head = h.method == "HEAD";
      sent += up.sink.take();
      up.feed(tunnel ? "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
              : head ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
                     : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
      if (tunnel) return;
      // The client reads exactly this answer.
      End got;
      got.exchange = client.codec->open(got);
      REQUIRE(got.exchange);
      Head ask;
      ask.method = head ? "HEAD" : "GET";
      ask.path = "/";
      REQUIRE(got.exchange->send_head(ask, true) == Reason::kNone);
      client.feed(down.sink.take());
      REQUIRE(got.ended && got.heads == "200\n\n" && got.body == (head ? "" : "ok"));
      got.release();
      finish();
    };
    p->request.then_head = [p, answer, &up](Head& h, bool end) {
      p->answer.exchange = up.codec->open(p->answer);
      REQUIRE(p->answer.exchange);
      REQUIRE(p->answer.exchange->send_head(h, end) == Reason::kNone);
      if (end || h.upgrade) answer();
    };
    p->request.then_body = [p, answer](std::span<const uint8_t> chunk, bool end) {
      p->answer.exchange->send_body(chunk, end);
      if (end && !p->request.head->upgrade) answer();
    };
    p->request.then_trailers = [p, answer](HeaderList& list) {
      p->answer.exchange->send_trailers(list);
      answer();
    };
    p->request.then_reset = [finish](Reason) { finish(); };
    p->answer.then_head = [p](Head& h, bool end) {
      REQUIRE(p->request.exchange->send_head(h, end) == Reason::kNone);
    };
    p->answer.then_body = [p](std::span<const uint8_t> chunk, bool end) { p->request.exchange->send_body(chunk, end); };
    return &p->request;
  };
  down.feed(stream);
  sent += up.sink.take();
  for (auto& p : pairs) {
    p->answer.release();
    p->request.release();
  }
  return sent;
}

void requests(uint8_t bits, std::string_view stream) {
  const Http1Options options = options_from(bits);
  const bool tunnels = bits & 16;
  const Served first = serve(options, stream, 0, tunnels);
  REQUIRE(serve(options, stream, 1, tunnels) == first);
  REQUIRE(serve(options, stream, 2 + bits + static_cast<uint32_t>(stream.size()), tunnels) == first);
  const std::string sent = forward(options, stream, tunnels);
  const Served second = serve(roomy(options), sent, 0, tunnels);
  REQUIRE(!second.broken && second.requests.size() == first.requests.size());
  for (size_t i = 0; i < first.requests.size(); ++i) REQUIRE(first.requests[i] == second.requests[i]);
  REQUIRE(forward(roomy(options), sent, tunnels) == sent);
}

// --- 1: answers ------------------------------------------------------------------------------------------------------

struct Asked {
  std::string_view method;
  bool upgrade, eof;
};

struct Fetched {
  std::string heads, body, trailers;
  bool ended = false, usable = false;
  bool operator==(const Fetched&) const = default;
};

Fetched fetch(const Http1Options& options, const Asked& asked, std::string_view stream, uint32_t seed) {
  Connection c(Role::kClient, options);
  End e;
  e.exchange = c.codec->open(e);
  Head ask;
  ask.method = asked.method;
  ask.path = "/";
  ask.upgrade = asked.upgrade;
  if (ask.upgrade) ask.upgrade_token = "websocket";
  REQUIRE(e.exchange->send_head(ask, !ask.upgrade) == Reason::kNone);
  c.sink.take();
  feed_cut(c, stream, seed);
  if (asked.eof) c.codec->on_eof();
  Fetched result{e.heads, e.body, e.trailers, e.ended, false};
  e.release();
  result.usable = c.usable();
  REQUIRE(c.sink.take().empty() && c.codec->open_exchanges() == 0);
  REQUIRE(!result.usable || result.ended);
  return result;
}

/// The bytes that a client of ours gets for a backend's.
std::string pass(const Http1Options& options, const Asked& asked, std::string_view stream) {
  Connection down(Role::kServer, {}), up(Role::kClient, options);
  End request, answer;
  auto finish = [&] {
    answer.release();
    request.release();
  };
  down.accept = [&](Exchange& x) -> MessageSink* {
    REQUIRE(!request.head);
    request.exchange = &x;
    return &request;
  };
  request.then_head = [&](Head& h, bool end) {
    answer.exchange = up.codec->open(answer);
    REQUIRE(answer.exchange->send_head(h, end) == Reason::kNone);
  };
  request.then_reset = answer.then_reset = [finish](Reason) { finish(); };
  answer.then_head = [&](Head& h, bool end) {
    REQUIRE(request.exchange->send_head(h, end) == Reason::kNone);
    if (end) finish();
  };
  answer.then_body = [&](std::span<const uint8_t> chunk, bool end) {
    request.exchange->send_body(chunk, end);
    if (end && !asked.upgrade) finish();
  };
  answer.then_trailers = [&](HeaderList& list) {
    request.exchange->send_trailers(list);
    finish();
  };
  down.feed(std::string(asked.method) + " / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n" +
            (asked.upgrade ? "Connection: te, upgrade\r\nUpgrade: websocket\r\n\r\n" : "Connection: te\r\n\r\n"));
  up.feed(stream);
  if (asked.eof) up.codec->on_eof();
  std::string sent = down.sink.take();
  finish();
  return sent;
}

void answers(uint8_t bits, std::string_view input) {
  if (input.empty()) return;
  const Http1Options options = options_from(bits);
  static constexpr std::string_view kMethods[] = {"GET", "HEAD", "POST", "GET"};
  const auto how = static_cast<uint8_t>(input[0]);
  const std::string_view stream = input.substr(1);
  Asked asked{kMethods[how % 4], how % 4 == 3, (how & 4) != 0};
  const Fetched first = fetch(options, asked, stream, 0);
  REQUIRE(fetch(options, asked, stream, 1) == first);
  REQUIRE(fetch(options, asked, stream, 2 + bits + static_cast<uint32_t>(stream.size())) == first);
  const std::string sent = pass(options, asked, stream);
  Fetched second = fetch(roomy(options), asked, sent, 0);
  REQUIRE(second.heads == first.heads && second.body == first.body && second.trailers == first.trailers);
  // Ours is never delimited by the end of the connection, but a tunnel is.
  asked.eof = asked.upgrade && asked.eof;
  REQUIRE(fetch(roomy(options), asked, sent, 0).ended == first.ended);
  REQUIRE(pass(roomy(options), asked, sent) == sent);
}

// --- 2: joined -------------------------------------------------------------------------------------------------------

/// Reads what we send to backends: it must always be good.
struct BackendView {
  Connection c;
  std::vector<std::unique_ptr<End>> ends;
  explicit BackendView(const Http1Options& options) : c(Role::kServer, roomy(options)) {
    c.accept = [this](Exchange& x) -> MessageSink* {
      ends.push_back(std::make_unique<End>());
      End* e = ends.back().get();
      e->exchange = &x;
      auto done = [e] {
        Head ok;
        ok.is_request = false;
        ok.status = 204;
        REQUIRE(e->exchange->send_head(ok, true) == Reason::kNone);
        e->release();
      };
      e->then_head = [done](Head& h, bool end) {
        if (end || h.upgrade) done();
      };
      e->then_body = [done](std::span<const uint8_t>, bool end) {
        if (end) done();
      };
      e->then_trailers = [done](HeaderList&) { done(); };
      return e;
    };
  }
  ~BackendView() {
    for (auto& e : ends) e->release();
  }
  void read(std::string_view bytes) {
    c.feed(bytes);
    REQUIRE(!c.broken);
  }
};

/// Reads what we send to the client, answer by answer.
struct ClientView {
  Connection c{Role::kClient, {}};
  End answer;
  bool tunnel = false;
  void ask(bool head, bool upgrade) {
    answer.release();
    answer = {};
    answer.exchange = c.codec->open(answer);
    REQUIRE(answer.exchange);  // the answer before was complete and did not say that it is the last
    Head h;
    h.method = head ? "HEAD" : "GET";
    h.path = "/";
    h.upgrade = upgrade;
    h.upgrade_token = "websocket";
    REQUIRE(answer.exchange->send_head(h, !upgrade) == Reason::kNone);
  }
  void read(std::string_view bytes) {
    if (bytes.empty()) return;
    if (!answer.exchange || answer.ended) ask(false, false);  // a refusal: no request was seen
    c.feed(bytes);
    REQUIRE(!c.broken && !answer.was_reset);
  }
  ~ClientView() { answer.release(); }
};

class Joined {
 public:
  explicit Joined(uint8_t bits) : options_(options_from(bits)), down_(Role::kServer, options_) {
    down_.accept = [this](Exchange& x) { return start(x); };
  }
  ~Joined() {
    for (auto& c : calls_) finish(*c);
    REQUIRE(down_.codec->open_exchanges() == 0);
    for (auto& u : ups_) REQUIRE(u->c.codec->open_exchanges() == 0);
  }

  void run(std::string_view input) {
    while (input.size() >= 3) {
      auto action = static_cast<uint8_t>(input[0]);
      size_t n = static_cast<size_t>(static_cast<uint8_t>(input[1])) << 8 | static_cast<uint8_t>(input[2]);
      input.remove_prefix(3);
      std::string bytes(action % 16 <= 4 ? input.substr(0, n) : std::string_view());
      input.remove_prefix(bytes.size());
      step(action % 16, n, bytes);
      look();
    }
  }

 private:
  struct Up {
    Connection c;
    BackendView view;
    bool tunnel = false;
    explicit Up(const Http1Options& o) : c(Role::kClient, o), view(o) {}
  };
  struct Call {
    End request, answer;
    Up* up = nullptr;
    bool done = false;
  };

  MessageSink* start(Exchange& x) {
    look();
    calls_.push_back(std::make_unique<Call>());
    Call* c = calls_.back().get();
    c->request.exchange = &x;
    c->request.then_head = [this, c](Head& h, bool end) {
      view_.ask(h.method == "HEAD", h.upgrade);
      if (ups_.empty() || !ups_.back()->c.usable()) ups_.push_back(std::make_unique<Up>(options_));
      c->up = ups_.back().get();
      c->answer.exchange = c->up->c.codec->open(c->answer);
      REQUIRE(c->answer.exchange);
      if (Reason why = c->answer.exchange->send_head(h, end); why != Reason::kNone) return reply(*c, why);
    };
    c->request.then_body = [c](std::span<const uint8_t> chunk, bool end) {
      if (!c->done) c->answer.exchange->send_body(chunk, end);
    };
    c->request.then_trailers = [c](HeaderList& list) {
      if (!c->done) c->answer.exchange->send_trailers(list);
    };
    c->request.then_reset = [this, c](Reason) { finish(*c); };
    c->answer.then_reset = [this, c](Reason) { reply(*c, Reason::kUpstreamReset); };
    c->answer.then_head = [this, c](Head& h, bool end) {
      if (h.status == 101) c->up->tunnel = view_.tunnel = true;
      Reason why = c->request.exchange->send_head(h, end);
      if (why != Reason::kNone) return reply(*c, why);
      if (end) finish(*c);
    };
    c->answer.then_body = [this, c](std::span<const uint8_t> chunk, bool end) {
      c->request.exchange->send_body(chunk, end);
      if (end && (!view_.tunnel || c->request.ended)) finish(*c);
    };
    c->answer.then_trailers = [this, c](HeaderList& list) {
      c->request.exchange->send_trailers(list);
      finish(*c);
    };
    return &c->request;
  }
  void reply(Call& c, Reason why) {
    if (c.done) return;
    LocalReply r;
    r.reason = why;
    r.text = "no";
    if (c.request.head) c.request.exchange->send_reply(*c.request.head, r);
    finish(c);
  }
  void finish(Call& c) {
    if (c.done) return;
    c.done = true;
    c.answer.release();
    look();  // before the next request of a pipeline starts
    c.request.release();
  }
  void look() {
    std::string out = down_.sink.take();
    if (!view_.tunnel || !saw_tunnel_) view_.read(out);
    saw_tunnel_ = view_.tunnel;
    for (auto& u : ups_) {
      out = u->c.sink.take();
      if (!u->tunnel) u->view.read(out);
    }
  }

  void step(uint8_t action, size_t n, std::string_view bytes) {
    static constexpr std::string_view kAnswers[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nframes",
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nmore to come",
    };
    Call* some = calls_.empty() ? nullptr : calls_[n % calls_.size()].get();
    if (some && some->done) some = calls_.back().get();
    if (some && some->done) some = nullptr;
    Connection* up = ups_.empty() ? nullptr : &ups_.back()->c;
    Connection* either = n % 2 || !up ? &down_ : up;
    switch (action) {
      case 0:
      case 1:
        return down_.feed(bytes);
      case 2:
        return feed_cut(down_, bytes, 1);
      case 3:
      case 4:
        if (up) feed_cut(*up, bytes, action == 4);
        return;
      case 5:
        if (up) up->feed(kAnswers[n % std::size(kAnswers)]);
        return;
      case 6:
        return either->codec->on_eof();
      case 7:
        if (some) reply(*some, static_cast<Reason>(1 + n % (kReasonCount - 1)));
        return;
      case 8:
        if (some) finish(*some);
        return;
      case 9:
      case 10:
        if (some) {
          Exchange* x = action == 9 ? some->request.exchange : some->answer.exchange;
          if (x) n % 2 ? x->pause_reading() : x->resume_reading();
        }
        return;
      case 11:
        return either->codec->on_write_blocked(n % 4 < 2);
      case 12:
        return either->codec->drain();
      case 13:
        return either->codec->fail(n % 4 < 2 ? Reason::kHeadTimeout : Reason::kBodyTimeout);
      case 14:
        return either->codec->on_transport_closed(either == up ? Reason::kUpstreamReset : Reason::kDownstreamReset);
      case 15:
        if (some && some->answer.exchange) some->answer.exchange->reset(Reason::kTryTimeout);
        return;
      default:
        return;
    }
  }

  const Http1Options options_;
  Connection down_;
  std::vector<std::unique_ptr<Up>> ups_;
  ClientView view_;
  std::vector<std::unique_ptr<Call>> calls_;
  bool saw_tunnel_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const size_t chunks = live_chunks();
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, std::min<size_t>(size - 1, 4096));
  switch (data[0] >> 6) {
    case 0:
      requests(data[0], input);
      break;
    case 1:
      answers(data[0], input);
      break;
    default:
      Joined(data[0]).run(input);
  }
  REQUIRE(live_http1_exchanges() == 0);
  REQUIRE(live_chunks() == chunks);
  return 0;
}
