// HTTP/1 connections with fakes at their ends, what they saw as text, and a relay that joins two of them as the
// engine would.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/http1/http1_codec.h"
#include "tests/support/codec_fakes.h"

namespace dragoman::testing {

class Http1Connection : public FakeConnection {
 public:
  explicit Http1Connection(Role role, const Http1Options& http1 = {})
      : FakeConnection([&](ByteSink& out, ConnectionEvents& owner) {
          CodecOptions options;
          options.http1 = http1;
          return make_http1_codec(Protocol{}, role, out, owner, options);
        }) {
    headroom_ = 0;  // HTTP/1 writes nothing there
  }
};

inline std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

/// "GET /path host" or "200 OK", then one field per line.
inline std::string text_of(const Head& h) {
  std::string out;
  if (h.is_request)
    out.append(h.method).append(" ").append(h.path).append(" ").append(h.authority);
  else
    out.append(std::to_string(h.status)).append(" ").append(h.status_text);
  for (const Header& f : h.headers) out.append("\n").append(f.name).append(": ").append(f.value);
  if (h.upgrade) out += "\n<upgrade>";
  if (h.expect_continue) out += "\n<expect>";
  if (h.te_trailers) out += "\n<te>";
  return out;
}

/// The head a sink listens to, its body and how it ended.
inline std::string text_of(const FakeMessageSink& s) {
  std::string out = (s.head ? text_of(*s.head) : "<no head>") + "\n\n" + s.body;
  for (const auto& [name, value] : s.trailers) out += "\n<trailer> " + name + ": " + value;
  if (!s.ended) out += s.was_reset ? "\n<reset>" : "\n<open>";
  return out;
}

/// A final head with a length (or "chunked" with -1) to answer with.
struct Answer {
  explicit Answer(uint32_t status = 200, int64_t content_length = -1) {
    head.is_request = false;
    head.is_http = true;
    head.status = status;
    head.content_length = content_length;
  }
  Answer& with(std::string_view name, std::string_view value) {
    head.headers.add(name, value);
    return *this;
  }
  Head head;
};

/// A request head to send upstream.
struct Request {
  explicit Request(std::string_view method = "GET", std::string_view path = "/") {
    head.is_http = true;
    head.method = method;
    head.path = path;
    head.authority = "a";
    head.scheme = "http";
  }
  Head head;
};

/// What a server-role connection made of a stream of bytes when every request is answered at its end (or, for
/// an upgrade, at once).
struct Served {
  std::vector<std::string> requests;
  std::string out;
  Reason broken = Reason::kNone;
  bool finished = false;
  bool operator==(const Served&) const = default;
};

inline void PrintTo(const Served& s, std::ostream* to) {
  for (const std::string& r : s.requests) *to << "[" << r << "]\n";
  *to << "out: " << s.out << "\nbroken: " << reason_row(s.broken).label << " finished: " << s.finished;
}

/// How to cut a stream into reads.
using Cuts = std::function<void(FakeConnection&, std::string_view)>;
inline Cuts whole() {
  return [](FakeConnection& c, std::string_view bytes) { c.feed(bytes); };
}
inline Cuts byte_by_byte() {
  return [](FakeConnection& c, std::string_view bytes) { c.feed_in_steps(bytes, 1); };
}
inline Cuts cut_at(size_t at) {
  return [at](FakeConnection& c, std::string_view bytes) {
    c.feed(bytes.substr(0, at));
    c.feed(bytes.substr(at));
  };
}
/// Every way of `bytes` that tests try.
inline std::vector<Cuts> all_cuts(std::string_view bytes) {
  std::vector<Cuts> cuts{whole(), byte_by_byte()};
  for (size_t at = 1; at < bytes.size(); ++at) cuts.push_back(cut_at(at));
  return cuts;
}

inline Served serve(std::string_view bytes, const Cuts& feed, const Http1Options& options = {},
                    uint32_t upgrade_status = 101) {
  Http1Connection c(Role::kServer, options);
  Served result;
  c.events.then_exchange = [&](FakeMessageSink& sink) {
    auto done = [&result, &sink] {
      result.requests.push_back(text_of(sink));
      Answer answer(200, 0);
      if (sink.exchange->send_head(answer.head, true) != Reason::kNone) ADD_FAILURE() << "answer refused";
      sink.release();
    };
    sink.then_head = [&sink, done, upgrade_status](Head& h, bool end) {
      if (end) return done();
      if (!h.upgrade) return;
      Answer answer(upgrade_status);
      answer.head.upgrade_token = h.upgrade_token;
      if (upgrade_status != 101) return done();
      EXPECT_EQ(sink.exchange->send_head(answer.head, false), Reason::kNone);
    };
    sink.then_body = [done](std::string_view, bool end) {
      if (end) done();
    };
    sink.then_trailers = [done](HeaderList&) { done(); };
  };
  feed(c, bytes);
  for (auto& sink : c.events.accepted)
    if (sink->exchange) result.requests.push_back(text_of(*sink));
  result.out = c.sink.take();
  result.broken = c.events.broken_reason;
  result.finished = c.events.finished > 0;
  EXPECT_LE(c.events.finished, 1);
  return result;
}

/// What a client-role connection made of the answer to one request (`method`; "UPGRADE" asks for a websocket), after
/// which the peer may end the connection.
struct Fetched {
  std::vector<std::string> interim;
  std::string answer;
  Reason reset = Reason::kNone;
  bool reusable = false;
  bool operator==(const Fetched&) const = default;
};

inline void PrintTo(const Fetched& f, std::ostream* to) {
  for (const std::string& i : f.interim) *to << "{" << i << "}\n";
  *to << "[" << f.answer << "]\nreset: " << reason_row(f.reset).label << " reusable: " << f.reusable;
}

inline Fetched fetch(std::string_view bytes, const Cuts& feed, std::string_view method = "GET", bool eof = false,
                     const Http1Options& options = {}) {
  Http1Connection c(Role::kClient, options);
  FakeMessageSink sink;
  Fetched result;
  sink.then_head = [&](Head& h, bool) {
    if (h.status < 200 && h.status != 101) result.interim.push_back(text_of(h));
  };
  sink.exchange = c.codec->open(sink);
  const bool upgrade = method == "UPGRADE";
  Request request(upgrade ? "GET" : method);
  request.head.upgrade = upgrade;
  request.head.upgrade_token = upgrade ? "websocket" : "";
  EXPECT_EQ(sink.exchange->send_head(request.head, !upgrade), Reason::kNone);
  c.sink.take();
  feed(c, bytes);
  if (eof) c.codec->on_eof();
  result.answer = text_of(sink);
  result.reset = sink.was_reset ? sink.reset_reason : Reason::kNone;
  sink.release();
  result.reusable = c.codec->capacity() == 1 && !c.events.broken;
  EXPECT_EQ(c.sink.take(), "") << "an answer makes us write nothing";
  return result;
}

/// Joins a server-role and a client-role connection. `answer` gives the backend's bytes for a request, at its end
/// (for an upgrade, after its head).
class Relay {
 public:
  using Backend = std::function<std::string(const Head&)>;
  Relay(Http1Connection& down, Http1Connection& up, Backend answer)
      : down_(down), up_(up), answer_(std::move(answer)) {
    down_.events.then_exchange = [this](FakeMessageSink& sink) { start(sink); };
  }
  ~Relay() {
    for (auto& p : pairs_) finish(*p);
  }
  std::vector<Reason> failures;  // of send_head

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
      if (Reason why = p->answer.exchange->send_head(h, end); why != Reason::kNone) failures.push_back(why);
      if (end || h.upgrade) up_.feed(answer_(h));
    };
    request.then_body = [this, p](std::string_view chunk, bool end) {
      if (p->done) return;
      p->answer.exchange->send_body(bytes_of(chunk), end);
      if (end && !p->done && !p->request->head->upgrade) up_.feed(answer_(*p->request->head));
      if (end && p->answer.ended) finish(*p);  // a tunnel
    };
    request.then_trailers = [this, p](HeaderList& list) {
      if (p->done) return;
      p->answer.exchange->send_trailers(list);
      if (!p->done) up_.feed(answer_(*p->request->head));
    };
    request.then_reset = [this, p](Reason) { finish(*p); };
    p->answer.then_head = [this, p](Head& h, bool end) {
      if (Reason why = p->request->exchange->send_head(h, end); why != Reason::kNone) failures.push_back(why);
      if (end) finish(*p);
    };
    p->answer.then_body = [this, p](std::string_view chunk, bool end) {
      p->request->exchange->send_body(bytes_of(chunk), end);
      if (end && (p->request->ended || !p->request->head->upgrade)) finish(*p);
    };
    p->answer.then_trailers = [this, p](HeaderList& list) {
      p->request->exchange->send_trailers(list);
      finish(*p);
    };
    p->answer.then_reset = [this, p](Reason) { finish(*p); };
  }
  void finish(Pair& p) {
    if (p.done) return;
    p.done = true;
    p.answer.release();
    p.request->release();
  }
  Http1Connection& down_;
  Http1Connection& up_;
  Backend answer_;
  std::vector<std::unique_ptr<Pair>> pairs_;
};

}  // namespace dragoman::testing
