// A filter sees one exchange on its way from the client to the router (request) and back (response). The same filter
// works for every protocol: it reads attributes and headers of the Head, never bytes of a wire.
//
//   request:   listener's filters in order -> router -> upstream
//   response:  upstream -> listener's filters in reverse order -> client
//
// A filter never includes another filter, the network, or a codec.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "protocols/exchange.h"
#include "protocols/head.h"
#include "proxy/base/timer_wheel.h"

namespace dragoman {

enum class FilterVerdict : uint8_t {
  kContinue,  // go on with the next filter
  kPause,     // request head only: stop here until FilterContext::resume(); the client is not read meanwhile
  kAnswered,  // the filter called FilterContext::answer(); nothing goes further
};

/// A piece of body. A filter may replace `data` (by memory that lives until the next call of a filter on this thread, or as
/// long as the request's arena), also by more or less of it: one piece in, one piece out, so that pauses hold for both. Who
/// changes the length of a body takes content_length off its head.
struct BodyChunk {
  std::span<const uint8_t> data;
  bool end = false;
};

/// What a filter may ask of its stream. Valid from on_request_head until on_stream_end.
class FilterContext {
 public:
  virtual Head& request() = 0;
  /// Continues after kPause. May be called once per pause, never from inside on_request_head.
  virtual void resume() = 0;
  /// Ends the exchange with an answer made here. `reply` and what it points to need live during the call only. Other filters
  /// see it in on_local_reply.
  virtual void answer(const LocalReply& reply) = 0;
  virtual TimerWheel& timers() = 0;
  /// Uniform random 64 bits (per worker, seeded).
  virtual uint64_t random() = 0;
  /// "1.2.3.4" of the client; valid for the stream's life.
  virtual std::string_view peer_host() = 0;
  virtual bool downstream_tls() = 0;
  /// Wall clock, microseconds since 1970.
  virtual uint64_t wall_us() = 0;

 protected:
  ~FilterContext() = default;
};

class Filter {
 public:
  /// Once. Edits to `head` are seen by later filters, the route match and the upstream.
  virtual FilterVerdict on_request_head(FilterContext& ctx, Head& head, bool end) { return FilterVerdict::kContinue; }
  /// Trailers of requests pass by.
  virtual void on_request_body(FilterContext& ctx, BodyChunk& chunk) {}
  /// For the backend's final head; not for interim heads.
  virtual void on_response_head(FilterContext& ctx, Head& head, bool end) {}
  virtual void on_response_body(FilterContext& ctx, BodyChunk& chunk) {}
  /// The answer ends with trailers, which may be edited; without any left it ends with its body. `rest` is body that goes out
  /// before them: nothing yet, or what a filter nearer to the backend put there.
  virtual void on_response_trailers(FilterContext& ctx, HeaderList& trailers, BodyChunk& rest) {}
  /// An answer made here is about to be sent, by whomever it was made. For filters that have let the request's head pass.
  /// What is put into `reply` lives as long as the request's arena.
  virtual void on_local_reply(FilterContext& ctx, LocalReply& reply) {}
  /// An answer under way can't be completed, for which the protocol's own way is a reset. Who knows a better end puts the last
  /// of the body into `rest`, and rest.end.
  virtual void on_response_failed(FilterContext& ctx, const LocalReply& reply, BodyChunk& rest) {}
  /// Last call, however the exchange ended; a pending timer must be stopped here.
  virtual void on_stream_end(FilterContext& ctx) {}

 protected:
  ~Filter() = default;
};

/// One per configured filter; immutable, shared by all workers.
class FilterFactory {
 public:
  virtual ~FilterFactory() = default;
  virtual std::string_view name() const = 0;
  /// What it reads of framed heads (bits DRAGOMAN_WANT_*).
  virtual Want wants() const = 0;
  /// The filter for one exchange. Stateless filters return a shared instance; filters with state are placed in
  /// `arena` (trivially destructible state, or cleaned up in on_stream_end).
  virtual Filter* create(Arena& arena) const = 0;
};

}  // namespace dragoman
