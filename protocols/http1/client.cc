// HTTP/1.1 facing a backend.
#include "protocols/http1/codec.h"

namespace dragoman::http1 {
namespace {

constexpr uint8_t kInterimMax = 16;

class Client final : public Http1Codec {
 public:
  Client(ByteSink& out, ConnectionEvents& events, const CodecOptions& options) : Http1Codec(out, events, options) {}

  Exchange* open(MessageSink& answers) override {
    if (capacity() == 0) return nullptr;
    Http1Exchange* x = create_exchange();
    announce(*x, &answers);
    return x;
  }
  uint32_t capacity() const override { return current_ || broken_ || finished_ || eof_ || draining_ ? 0 : 1; }
  void drain() override {
    draining_ = true;
    if (!current_) finish();
  }
  void fail(Reason reason) override { break_connection(reason, "timed out"); }

  Reason send_head(Http1Exchange& x, Head& message, bool end) override {
    if (x.writing != Writing::kHead) return Reason::kInternal;
    Scope scope(*this);
    Lines lines;
    Writing writing = Writing::kDone;
    if (message.upgrade) {
      lines.connection = Lines::Connection::kUpgrade;
      writing = Writing::kHeld;
    } else if (end) {
      // No body: said so where a body would be expected (RFC 9110 8.6).
      if (message.method != "GET" && message.method != "HEAD" && message.method != "DELETE" &&
          message.method != "OPTIONS" && message.method != "TRACE")
        lines.content_length = 0;
    } else if (message.content_length >= 0) {
      lines.content_length = message.content_length;
      writing = Writing::kLength;
    } else {
      lines.chunked = true;
      writing = Writing::kChunked;
    }
    Reason reason = encode_request_head(message, lines, out_.out);
    if (reason != Reason::kNone) {
      // Nothing went out and nothing will: as if the request had been sent, so that the connection stays usable.
      x.writing = Writing::kDone;
      x.reading = Reading::kDone;
      return reason;
    }
    out_.wrote();
    x.to_head = message.method == "HEAD";
    x.upgrade = message.upgrade;
    x.te_trailers = true;  // trailers of a chunked request may always go on
    x.writing = writing;
    x.write_left = lines.content_length > 0 ? static_cast<uint64_t>(lines.content_length) : 0;
    return Reason::kNone;
  }

  void send_reply(Http1Exchange& x, const LocalReply& reply) override { reset(x, reply.reason); }

 private:
  bool begin(Bytes, size_t&) override {
    refuse({Reason::kUpstreamProtocolError, 0, "bytes that answer no request"});
    return false;
  }

  bool after_message(Http1Exchange& x, Bytes in, size_t& used) override {
    used = in.size();  // after a complete answer: the connection is not used again
    x.keep_alive = false;
    return true;
  }

  void on_head_block(Http1Exchange& x, size_t size, bool) override {
    if (x.writing == Writing::kHead) return refuse({Reason::kUpstreamProtocolError, 0, "an answer before the request"});
    x.head.is_request = false;
    Framing framing;
    if (Refusal refusal = parse_response(x.block, size, x.to_head, x.head, framing)) return refuse(refusal);
    if (x.head.status == 101) {
      if (!x.upgrade || !x.head.upgrade) return refuse({Reason::kUpstreamProtocolError, 0, "101 that nobody asked for"});
      x.reading = Reading::kTunnel;
      x.writing = Writing::kTunnel;
      x.keep_alive = false;
      x.sink->on_head(x.head, false);
      return;
    }
    if (x.head.status < 200) {
      if (++x.interim > kInterimMax) return refuse({Reason::kUpstreamProtocolError, 0, "too many interim answers"});
      x.sink->on_head(x.head, false);
      if (!is_current(x)) return;
      x.trailers.reset();
      x.head.reset();
      x.head.is_http = true;
      x.block = nullptr;
      x.block_size = x.block_capacity = 0;
      return;
    }
    if (x.writing == Writing::kHeld) x.writing = Writing::kDone;
    x.keep_alive = framing.keep_alive;
    const bool no_body = x.to_head || x.head.status == 204 || x.head.status == 304;
    bool end = set_reading(x, framing, no_body);
    x.sink->on_head(x.head, end);
  }

  void refuse(const Refusal& refusal) override {
    Reason reason = Reason::kUpstreamProtocolError;
    if (refusal.reason == Reason::kHeadTooLarge || refusal.reason == Reason::kUriTooLong ||
        refusal.reason == Reason::kBodyTooLarge)
      reason = Reason::kUpstreamTooLarge;
    break_connection(reason, refusal.text);
  }

  void at_eof() override {
    if (!current_) return finish();
    Http1Exchange& x = *current_;
    switch (x.reading) {
      case Reading::kUntilClose:
      case Reading::kTunnel:
        x.reading = Reading::kDone;
        if (x.sink && !x.dead) x.sink->on_body({}, true);
        return;
      case Reading::kDone:
        if (x.writing == Writing::kDone) return;
        return break_connection(Reason::kUpstreamReset, "closed before the request was complete");
      case Reading::kHead:
        if (x.block_size == 0) return break_connection(Reason::kUpstreamReset, "closed without an answer");
        [[fallthrough]];
      default:
        return break_connection(Reason::kUpstreamTruncated, "answer cut off");
    }
  }

  void after_release(Http1Exchange& x) override {
    const bool unused = x.writing == Writing::kHead && x.reading == Reading::kHead;
    if (!unused && (x.writing != Writing::kDone || x.reading != Reading::kDone))
      return break_connection(Reason::kUpstreamReset, "exchange given up");
    if (!x.keep_alive || draining_ || eof_) return finish();
    events_.on_capacity();
  }
};

}  // namespace

std::unique_ptr<ConnectionCodec> make_client(ByteSink& out, ConnectionEvents& events, const CodecOptions& options) {
  return std::make_unique<Client>(out, events, options);
}

}  // namespace dragoman::http1
