// The side that faces a client: reads requests, writes answers.
#include <algorithm>
#include <utility>

#include "protocols/http/rules.h"
#include "protocols/http/triple.h"
#include "protocols/http1/codec.h"

namespace dragoman::http1 {
namespace {

class ServerCodec final : public Http1Codec {
 public:
  ServerCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options, H2cTaker* taker)
      : Http1Codec(Role::kServer, out, events, options), taker_(taker) {}

  Exchange* open(MessageSink&) override { return nullptr; }
  uint32_t capacity() const override { return 0; }
  void fail(Reason reason) override;
  void drain() override;
  Reason send_head(Http1Exchange& x, Head& message, bool end) override;
  void send_reply(Http1Exchange& x, const LocalReply& reply) override;

 private:
  bool begin(Bytes in, size_t& used) override;
  bool after_message(Http1Exchange&, Bytes, size_t&) override { return false; }  // until it was answered and released
  void on_head_block(Http1Exchange& x, size_t size, bool more) override;
  void refuse(const Refusal& refusal) override;
  void at_eof() override;
  void after_release(Http1Exchange& x) override;
  void on_handed_over() override;

  Lines::Connection decide_connection(Http1Exchange& x, bool close);
  bool skip_empty_lines(Bytes in, size_t& used);

  H2cTaker* const taker_;
  bool rest_given_ = false;    // after the connection was handed over
  uint32_t discard_left_ = 0;  // of a request body that nobody wants any more
  uint8_t empty_bytes_ = 0;    // of the empty lines before a request
};

constexpr uint8_t kEmptyBytesMax = 4;  // two empty lines (RFC 9112 2.2)

// True when the next byte is no line end, or there is none.
bool ServerCodec::skip_empty_lines(Bytes in, size_t& used) {
  while (used < in.size()) {
    bool want_lf = empty_bytes_ % 2 == 1;
    if (empty_bytes_ < kEmptyBytesMax && in[used] == (want_lf ? '\n' : '\r')) {
      ++empty_bytes_;
      ++used;
      if (want_lf) events_.on_event(CodecEvent::kGlitch);
      continue;
    }
    return !want_lf;
  }
  return true;
}

bool ServerCodec::begin(Bytes in, size_t& used) {
  // Who does not read the answers has no further request served. The transport tells when there is room.
  if (handed_over_ || blocked_) return false;
  if (out_.out.size() > options_.pending_bytes_max) {
    out_.want_room();
    return false;
  }
  if (discard_left_) {
    used = std::min<size_t>(in.size(), discard_left_);
    discard_left_ -= static_cast<uint32_t>(used);
    return true;
  }
  bool ok = skip_empty_lines(in, used);
  if (ok && used == in.size()) return true;
  if (!ok || !token_char(static_cast<char>(in[used]))) {
    refuse({Reason::kMalformed, 0, "not an HTTP request"});
    return false;
  }
  empty_bytes_ = 0;
  create_exchange();
  return true;
}

void ServerCodec::on_head_block(Http1Exchange& x, size_t size, bool) {
  Framing framing;
  Refusal refusal = parse_request(x.block, size, options_, x.head, framing);
  if (!refusal && options_.body_bytes_max && x.head.content_length > 0 &&
      static_cast<uint64_t>(x.head.content_length) > options_.body_bytes_max)
    refusal = {Reason::kBodyTooLarge, 0, "body too large"};
  x.to_head = framing.head_method;
  if (!refusal) triple::read_request(x.head);
  if (refusal) return refuse(refusal);
  x.keep_alive = framing.keep_alive;
  x.te_trailers = x.head.te_trailers;
  x.upgrade = x.head.upgrade;
  if (framing.h2c && taker_ && options_.allow_h2c && !draining_) {
    let_read();  // HTTP/2 pauses for itself
    handed_over_ = taker_->take_over(x.head, framing.http2_settings);
    if (handed_over_) return retire(x);
  }
  bool end = false;
  if (x.upgrade)
    x.reading = Reading::kHeld;
  else
    end = set_reading(x, framing, !framing.chunked && x.head.content_length < 0);
  MessageSink* sink = events_.on_exchange(x);
  if (!sink) return refuse({Reason::kStreamsOverflow, 0, "request refused"});
  announce(x, sink);
  sink->on_head(x.head, end);
}

// The requests before it were answered, whatever called last: what the client has said since is HTTP/2.
void ServerCodec::on_handed_over() {
  if (std::exchange(rest_given_, true)) return;
  ByteChain rest{MemoryOwner::kInput};
  rest.swap(stash_);
  taker_->go_on(rest, eof_);
}

void ServerCodec::refuse(const Refusal& refusal) {
  Http1Exchange* x = current_;
  if (!x || x->writing == Writing::kHead) {
    LocalReply reply;
    reply.text = refusal.text;
    uint32_t status = refusal.status ? refusal.status : reason_row(refusal.reason).http_status;
    encode_reply(status, reply, Lines::Connection::kClose, !(x && x->to_head), out_.out);
    out_.wrote();
  }
  break_connection(refusal.reason, refusal.text);
}

void ServerCodec::at_eof() {
  Http1Exchange* x = current_;
  if (handed_over_) return;
  if (!x) return finish();
  switch (x->reading) {
    case Reading::kTunnel:
      end_message(*x, false);
      return x->sink->on_body({}, true);
    case Reading::kHeld:
    case Reading::kDone:
      return;  // it may still want its answer
    default:
      return refuse({Reason::kDownstreamTruncated, 0, "connection ended inside the request"});
  }
}

void ServerCodec::fail(Reason reason) {
  if (broken_ || finished_) return;
  Scope scope(*this);
  std::string_view label = reason_row(reason).label;
  if (current_ && current_->writing == Writing::kHead)
    refuse({reason, 0, label.data()});
  else
    break_connection(reason, label);
}

void ServerCodec::drain() {
  Scope scope(*this);
  // The next answer says Connection: close. Until then the client may send a request at any moment, so an idle
  // connection is not finished: its owner waits for silence.
  draining_ = true;
}

// Settles whether the connection goes on after this answer.
Lines::Connection ServerCodec::decide_connection(Http1Exchange& x, bool close) {
  if (x.reading == Reading::kHeld) x.reading = Reading::kDone;  // the upgrade is declined
  bool unread = x.reading != Reading::kDone;
  // A client that waits for "100 Continue" may never send the body.
  bool little = x.reading == Reading::kLength && x.read_left <= kDrainBytes && !(x.head.expect_continue && !x.body_bytes);
  bool last = eof_ && stash_.empty();
  x.close_after = close || !x.keep_alive || draining_ || last || (unread && !little);
  if (x.close_after) return Lines::Connection::kClose;
  return x.head.http10 ? Lines::Connection::kKeepAlive : Lines::Connection::kNone;
}

Reason ServerCodec::send_head(Http1Exchange& x, Head& message, bool end) {
  if (x.writing != Writing::kHead) return Reason::kNone;
  Scope scope(*this);
  Lines lines;
  if (message.status < 200 && message.status != 101) {
    if (x.head.http10) return Reason::kNone;  // 1.0 clients know no interim answers
    Reason reason = encode_response_head(message, lines, out_.out);
    if (reason == Reason::kNone) out_.wrote();
    return reason;
  }
  if (message.status == 101) {
    if (x.reading != Reading::kHeld) return Reason::kUpstreamProtocolError;
    lines.connection = Lines::Connection::kUpgrade;
    Reason reason = encode_response_head(message, lines, out_.out);
    if (reason != Reason::kNone) return reason;
    out_.wrote();
    x.reading = Reading::kTunnel;
    x.writing = Writing::kTunnel;
    x.close_after = true;
    pump();  // what came before the answer
    return Reason::kNone;
  }
  bool bodiless = x.to_head || message.status == 204 || message.status == 304;
  Writing writing = Writing::kDropped;
  bool close = false;
  if (message.status == 205) {
    lines.content_length = 0;
  } else if (bodiless) {
    if (message.status != 204) lines.content_length = message.content_length;
  } else if (end) {
    lines.content_length = 0;
  } else if (message.content_length >= 0 && !(x.te_trailers && message.headers.find(HeaderId::kTrailer))) {
    lines.content_length = message.content_length;
    writing = Writing::kLength;
  } else if (!x.head.http10) {
    lines.chunked = true;
    writing = Writing::kChunked;
  } else {
    close = true;
    writing = Writing::kUntilClose;
  }
  Reading reading = x.reading;
  lines.connection = decide_connection(x, close);
  Reason reason = encode_response_head(message, lines, out_.out);
  if (reason != Reason::kNone) {
    x.reading = reading;
    return reason;
  }
  out_.wrote();
  x.write_left = static_cast<uint64_t>(std::max<int64_t>(lines.content_length, 0));
  x.writing = end ? Writing::kDone : writing;
  if (x.head.triple) x.envelopes.begin(message);
  return Reason::kNone;
}

void ServerCodec::send_reply(Http1Exchange& x, const LocalReply& reply) {
  // A stream of messages can say why it ends, anything else can only be cut.
  if (x.writing == Writing::kChunked && x.envelopes.may_end())
    return send_body(x, triple::make_end(reply, x.head.arena), true);
  if (x.writing != Writing::kHead) return reset(x, reply.reason);
  const LocalReply shaped = x.head.triple ? triple::make_reply(reply, x.head.arena) : reply;
  encode_reply(reply.status(), shaped, decide_connection(x, reply.close), !x.to_head, out_.out);
  out_.wrote();
  x.writing = Writing::kDone;
}

void ServerCodec::after_release(Http1Exchange& x) {
  if (x.writing != Writing::kDone) return break_connection(Reason::kInternal, "request released without an answer");
  if (x.close_after) return finish();
  if (x.reading != Reading::kDone) discard_left_ = static_cast<uint32_t>(x.read_left);  // at most kDrainBytes
  pump();
}

}  // namespace

std::unique_ptr<ConnectionCodec> make_server(ByteSink& out, ConnectionEvents& events, const CodecOptions& options,
                                             H2cTaker* taker) {
  return std::make_unique<ServerCodec>(out, events, options, taker);
}

}  // namespace dragoman::http1

namespace dragoman {

std::unique_ptr<ConnectionCodec> make_http1_server(ByteSink& out, ConnectionEvents& events, const CodecOptions& options,
                                                   H2cTaker& taker) {
  return http1::make_server(out, events, options, &taker);
}

}  // namespace dragoman
