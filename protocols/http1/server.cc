// HTTP/1.1 facing a client.
#include "protocols/http1/codec.h"

namespace dragoman::http1 {
namespace {

constexpr uint32_t kLeadingLineEnds = 4;  // bytes of CRLF before a request line that are forgiven (RFC 9112 2.2)

class Server final : public Http1Codec {
 public:
  Server(ByteSink& out, ConnectionEvents& events, const CodecOptions& options) : Http1Codec(out, events, options) {}

  Exchange* open(MessageSink&) override { return nullptr; }
  uint32_t capacity() const override { return 0; }
  void drain() override { draining_ = true; }

  void fail(Reason reason) override {
    Scope scope(*this);
    refuse({reason, 0, "timed out"});
  }

  Reason send_head(Http1Exchange& x, Head& message, bool end) override {
    if (x.writing != Writing::kHead) return Reason::kInternal;
    Scope scope(*this);
    Lines lines;
    if (message.status < 200 && message.status != 101) {
      if (x.head.http10) return Reason::kNone;
      Reason interim = encode_response_head(message, lines, out_.out);
      out_.wrote();
      return interim;
    }
    if (message.status == 101) {
      if (!x.upgrade) return Reason::kUpstreamProtocolError;
      lines.connection = Lines::Connection::kUpgrade;
      Reason reason = encode_response_head(message, lines, out_.out);
      if (reason != Reason::kNone) return reason;
      out_.wrote();
      x.writing = Writing::kTunnel;
      x.reading = Reading::kTunnel;
      pump();
      return Reason::kNone;
    }
    if (x.reading == Reading::kHeld) x.reading = Reading::kDone;
    const bool no_content = message.status == 204 || message.status == 304;
    Writing writing;
    if (x.to_head || no_content) {
      if (x.to_head || message.status == 304) lines.content_length = message.content_length;
      writing = Writing::kDropped;
    } else if (end || message.content_length >= 0) {
      lines.content_length = end ? 0 : message.content_length;
      writing = Writing::kLength;
    } else if (!x.head.http10) {
      lines.chunked = true;
      writing = Writing::kChunked;
    } else {
      x.keep_alive = false;
      writing = Writing::kUntilClose;
    }
    x.close_after = !may_keep(x);
    lines.connection = connection_line(x);
    Reason reason = encode_response_head(message, lines, out_.out);
    if (reason != Reason::kNone) {
      x.close_after = false;
      return reason;
    }
    out_.wrote();
    x.writing = writing;
    x.write_left = lines.content_length > 0 ? static_cast<uint64_t>(lines.content_length) : 0;
    if (end) message_written(x);
    return Reason::kNone;
  }

  void send_reply(Http1Exchange& x, const LocalReply& reply) override {
    if (x.writing != Writing::kHead) return reset(x, reply.reason);
    Scope scope(*this);
    if (x.reading == Reading::kHeld) x.reading = Reading::kDone;
    x.close_after = reply.close || !may_keep(x);
    uint32_t status = reply.http_status != 0 ? reply.http_status : reason_row(reply.reason).http_status;
    encode_reply(status, reply, connection_line(x), !x.to_head, out_.out);
    out_.wrote();
    x.writing = Writing::kDone;
  }

 private:
  bool may_keep(const Http1Exchange& x) const {
    return x.keep_alive && !draining_ && !eof_ && x.reading == Reading::kDone;
  }
  static Lines::Connection connection_line(const Http1Exchange& x) {
    if (x.close_after) return Lines::Connection::kClose;
    return x.head.http10 ? Lines::Connection::kKeepAlive : Lines::Connection::kNone;
  }

  bool begin(Bytes in, size_t& used) override {
    if ((in[0] == '\r' || in[0] == '\n') && leading_ < kLeadingLineEnds) {
      ++leading_;
      used = 1;
      return true;
    }
    leading_ = 0;
    Http1Exchange* x = create_exchange();
    if (!token_char(static_cast<char>(in[0]))) {
      refuse({Reason::kMalformed, 0, "not an HTTP request"});
      return false;
    }
    x->reading = Reading::kHead;
    return true;
  }

  // A pipelined request waits until the current one was answered and released; so do bytes after an upgrade request.
  bool after_message(Http1Exchange&, Bytes, size_t&) override { return false; }

  void on_head_block(Http1Exchange& x, size_t size, bool) override {
    x.head.is_request = true;
    Framing framing;
    if (Refusal refusal = parse_request(x.block, size, options_, x.head, framing)) return refuse(refusal);
    x.keep_alive = framing.keep_alive;
    x.to_head = framing.head_method;
    x.upgrade = x.head.upgrade;
    x.te_trailers = x.head.te_trailers;
    if (options_.body_bytes_max != 0 && x.head.content_length > 0 &&
        static_cast<uint64_t>(x.head.content_length) > options_.body_bytes_max)
      return refuse({Reason::kBodyTooLarge, 0, "body too large"});
    bool end = false;
    if (x.upgrade)
      x.reading = Reading::kHeld;
    else
      end = set_reading(x, framing, false);
    MessageSink* sink = events_.on_exchange(x);
    if (!sink) return break_connection(Reason::kDenied, "request refused");
    announce(x, sink);
    sink->on_head(x.head, end);
  }

  void refuse(const Refusal& refusal) override {
    if (broken_) return;
    if (!current_ || current_->writing == Writing::kHead) {
      LocalReply reply;
      reply.reason = refusal.reason;
      reply.text = refusal.text;
      uint32_t status = refusal.status != 0 ? refusal.status : reason_row(refusal.reason).http_status;
      encode_reply(status, reply, Lines::Connection::kClose, !(current_ && current_->to_head), out_.out);
      out_.wrote();
    }
    break_connection(refusal.reason, refusal.text);
  }

  void at_eof() override {
    if (!current_) return;
    Http1Exchange& x = *current_;
    switch (x.reading) {
      case Reading::kDone:
        return;  // the answer still goes out
      case Reading::kTunnel:
        x.reading = Reading::kDone;
        if (x.sink && !x.dead) x.sink->on_body({}, true);
        return;
      case Reading::kHeld:
        return break_connection(Reason::kDownstreamReset, "client left before the upgrade");
      default:
        return break_connection(Reason::kDownstreamTruncated, "request cut off");
    }
  }

  void after_release(Http1Exchange& x) override {
    if (x.writing != Writing::kDone) return break_connection(Reason::kInternal, "exchange given up");
    if (x.close_after || x.reading != Reading::kDone || draining_ || eof_) finish();
  }

  uint32_t leading_ = 0;
};

}  // namespace

std::unique_ptr<ConnectionCodec> make_server(ByteSink& out, ConnectionEvents& events, const CodecOptions& options) {
  return std::make_unique<Server>(out, events, options);
}

}  // namespace dragoman::http1
