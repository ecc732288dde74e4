// The side that faces a backend: writes requests, reads answers.
#include <algorithm>

#include "protocols/http/triple.h"
#include "protocols/http1/codec.h"

namespace dragoman::http1 {
namespace {

constexpr uint8_t kInterimMax = 16;  // 1xx heads before one final head

class ClientCodec final : public Http1Codec {
 public:
  ClientCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options)
      : Http1Codec(Role::kClient, out, events, options) {}

  Exchange* open(MessageSink& answers) override;
  uint32_t capacity() const override { return usable() && !current_ ? 1 : 0; }
  void fail(Reason reason) override;
  void drain() override;
  Reason send_head(Http1Exchange& x, Head& message, bool end) override;
  void send_reply(Http1Exchange& x, const LocalReply& reply) override { reset(x, reply.reason); }

 private:
  bool begin(Bytes in, size_t& used) override;
  bool after_message(Http1Exchange& x, Bytes in, size_t& used) override;
  void on_head_block(Http1Exchange& x, size_t size, bool more) override;
  void refuse(const Refusal& refusal) override;
  void at_eof() override;
  void after_release(Http1Exchange& x) override;

  bool usable() const { return !broken_ && !finished_ && !eof_ && !draining_ && !goaway_; }
  void on_interim(Http1Exchange& x);
  void on_tunnel(Http1Exchange& x);

  bool goaway_ = false;  // the backend said that this is its last answer
};

Exchange* ClientCodec::open(MessageSink& answers) {
  if (capacity() == 0) return nullptr;
  Http1Exchange* x = create_exchange();
  announce(*x, &answers);
  return x;
}

bool ClientCodec::begin(Bytes, size_t&) {
  refuse({Reason::kMalformed, 0, "bytes without a request"});
  return false;
}

bool ClientCodec::after_message(Http1Exchange& x, Bytes in, size_t& used) {
  x.keep_alive = false;
  used = in.size();
  return true;
}

void ClientCodec::refuse(const Refusal& refusal) {
  Reason reason = Reason::kUpstreamProtocolError;
  switch (refusal.reason) {
    case Reason::kUriTooLong:
    case Reason::kHeadTooLarge:
    case Reason::kTooManyHeaders:
    case Reason::kBodyTooLarge:
      reason = Reason::kUpstreamTooLarge;
      break;
    default:
      break;
  }
  break_connection(reason, refusal.text);
}

void ClientCodec::on_head_block(Http1Exchange& x, size_t size, bool more) {
  Framing framing;
  if (Refusal refusal = parse_response(x.block, size, x.to_head, x.head, framing)) return refuse(refusal);
  if (x.head.status == 101) return on_tunnel(x);
  if (x.head.status < 200) return on_interim(x);
  if (x.upgrade) x.writing = Writing::kDone;  // declined: it was an ordinary request without a body
  bool no_body = x.to_head || x.head.status == 204 || x.head.status == 304;
  bool end = set_reading(x, framing, no_body);
  if (options_.body_bytes_max && x.reading == Reading::kLength && x.read_left > options_.body_bytes_max)
    return refuse({Reason::kBodyTooLarge, 0, "body too large"});
  x.keep_alive = framing.keep_alive && x.reading != Reading::kUntilClose;
  if (end) end_message(x, more);
  if (!framing.keep_alive) {
    goaway_ = true;
    events_.on_goaway();
    if (!is_current(x)) return;
  }
  x.sink->on_head(x.head, end);
}

void ClientCodec::on_interim(Http1Exchange& x) {
  if (++x.interim > kInterimMax) return refuse({Reason::kMalformed, 0, "too many interim answers"});
  x.sink->on_head(x.head, false);
  if (!is_current(x)) return;
  start_block(x);
  x.head.headers.clear();
  x.head.content_length = -1;
  x.head.status_text = {};
}

void ClientCodec::on_tunnel(Http1Exchange& x) {
  if (!x.upgrade || !x.head.upgrade || !equals_ignore_case(x.head.upgrade_token, "websocket"))
    return refuse({Reason::kMalformed, 0, "101 that was not asked for"});
  x.reading = Reading::kTunnel;
  x.writing = Writing::kTunnel;
  x.keep_alive = false;
  x.sink->on_head(x.head, false);
}

void ClientCodec::at_eof() {
  Http1Exchange* x = current_;
  if (!x) return finish();
  switch (x->reading) {
    case Reading::kUntilClose:
    case Reading::kTunnel:
      end_message(*x, false);
      return x->sink->on_body({}, true);
    case Reading::kDone:
      return;
    default:
      return break_connection(received(*x) ? Reason::kUpstreamTruncated : Reason::kUpstreamReset, "connection ended inside the answer");
  }
}

void ClientCodec::fail(Reason reason) {
  Scope scope(*this);
  break_connection(reason, reason_row(reason).label);
}

void ClientCodec::drain() {
  Scope scope(*this);
  draining_ = true;
  if (!current_) finish();
}

Reason ClientCodec::send_head(Http1Exchange& x, Head& message, bool end) {
  if (x.writing != Writing::kHead) return Reason::kNone;
  Scope scope(*this);
  Lines lines;
  Writing writing = Writing::kDone;
  bool upgrade = message.upgrade && !end;
  if (upgrade) {
    lines.connection = Lines::Connection::kUpgrade;
    writing = Writing::kHeld;
  } else if (end) {
    // Without one, some servers wait for a body after these methods (RFC 9110 8.6).
    bool expected = message.method == "POST" || message.method == "PUT" || message.method == "PATCH";
    if (expected || message.content_length == 0) lines.content_length = 0;
  } else if (message.content_length >= 0 && !message.headers.find(HeaderId::kTrailer)) {
    lines.content_length = message.content_length;
    writing = Writing::kLength;
  } else {
    lines.chunked = true;
    writing = Writing::kChunked;
  }
  if (options_.underscores != Underscores::kPass && has_underscores(message.headers)) {
    if (options_.underscores == Underscores::kRefuse) return Reason::kMalformed;
    lines.underscores = false;
    events_.on_event(CodecEvent::kFieldDropped);
  }
  triple::write_deadline(message);
  Reason reason = encode_request_head(message, lines, out_.out);
  if (reason != Reason::kNone) return reason;
  out_.wrote();
  x.to_head = message.method == "HEAD";
  x.upgrade = upgrade;
  x.te_trailers = true;  // request trailers have no such sign; who doesn't want them ignores them
  x.write_left = static_cast<uint64_t>(std::max<int64_t>(lines.content_length, 0));
  x.writing = writing;
  return Reason::kNone;
}

void ClientCodec::after_release(Http1Exchange& x) {
  bool untouched = x.writing == Writing::kHead && !received(x);
  bool complete = x.reading == Reading::kDone && x.writing == Writing::kDone && x.keep_alive;
  if (usable() && (untouched || complete)) return events_.on_capacity();
  if (untouched || x.reading == Reading::kDone) return finish();
  break_connection(Reason::kUpstreamReset, "exchange given up");
}

}  // namespace

std::unique_ptr<ConnectionCodec> make_client(ByteSink& out, ConnectionEvents& events, const CodecOptions& options) {
  return std::make_unique<ClientCodec>(out, events, options);
}

}  // namespace dragoman::http1
