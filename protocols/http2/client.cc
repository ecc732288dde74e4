// The side that faces a backend: writes requests, reads answers.
#include <algorithm>
#include <charconv>

#include "protocols/http/grpc.h"
#include "protocols/http/rules.h"
#include "protocols/http/websocket.h"
#include "protocols/http2/codec.h"
#include "protocols/http2/session.h"

namespace dragoman::http2 {
namespace {

constexpr uint8_t kInterimMax = 16;           // 1xx heads before one final head
constexpr uint64_t kDeadlineSlackMs = 20;     // so much may a server's clock be before ours at a deadline
// Statuses of gRPC.
constexpr int32_t kCancelled = 1, kDeadlineExceeded = 4, kPermissionDenied = 7, kResourceExhausted = 8;
constexpr uint32_t kLastStreamId = 1u << 30;  // half of what there is: time to use another connection

class ClientCodec final : public Http2Codec {
 public:
  ClientCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options);

  Exchange* open(MessageSink& answers) override;
  uint32_t capacity() const override;
  void drain() override;
  Reason send_head(Http2Exchange& x, Head& message, bool end) override;
  void send_reply(Http2Exchange& x, const LocalReply& reply) override { reset(x, reply.reason); }

 private:
  void on_block_begin(const nghttp2_frame& frame) override;
  void on_message_head(Http2Exchange& x, bool end) override;
  void on_message_end(Http2Exchange& x) override;
  void on_body_too_large(Http2Exchange& x) override;
  Reason reason_of_code(const Http2Exchange& x, uint32_t code) const override;
  void after_close(Http2Exchange& x, uint32_t code) override;
  void on_settings() override;
  void on_peer_goaway() override;
  void after_release(Http2Exchange& x) override;
  void settled() override;

  int32_t status_of_code(const Http2Exchange& x, uint32_t code) const;
  /// The answer can't be used: the stream ends, its sink hears why.
  void give_up(Http2Exchange& x, uint32_t code, Reason reason);

  uint32_t peer_streams_max_ = 0;
  bool goaway_ = false;
};

ClientCodec::ClientCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options)
    : Http2Codec(Role::kClient, out, events, options) {
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options_.http2.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.http1.header_bytes_max},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},  // we say none, and spare nghttp2 its tree of streams
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  want_send();
}

uint32_t ClientCodec::capacity() const {
  if (done() || eof_ || draining_ || goaway_ || !peer_ready_) return 0;
  // Answers that stand still hold much: others are better off on another connection.
  if (lent_bytes_ > options_.http2.memory_bytes_max / 2) return 0;
  uint32_t max = std::min(peer_streams_max_, options_.http2.streams_max);
  return max > slots_ ? max - slots_ : 0;
}

Exchange* ClientCodec::open(MessageSink& answers) {
  if (capacity() == 0) return nullptr;
  Http2Exchange* x = create_exchange();
  x->sink = &answers;
  x->held = true;
  x->head.is_http = true;
  x->head.is_request = false;
  return x;
}

void ClientCodec::on_settings() {
  uint32_t max = nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
  if (max > peer_streams_max_) room_ = true;
  peer_streams_max_ = max;
}

void ClientCodec::on_peer_goaway() {
  goaway_ = true;
  events_.on_goaway();
}

void ClientCodec::on_block_begin(const nghttp2_frame& frame) { current_ = find(frame.hd.stream_id); }

void ClientCodec::give_up(Http2Exchange& x, uint32_t code, Reason reason) {
  abort_stream(x, code);
  tell_end(x, reason);
}

void ClientCodec::on_message_head(Http2Exchange& x, bool end) {
  if (x.bad) return give_up(x, NGHTTP2_PROTOCOL_ERROR, Reason::kUpstreamProtocolError);
  if (x.too_large) return give_up(x, NGHTTP2_CANCEL, Reason::kUpstreamTooLarge);
  Head& head = x.head;
  head.outcome = outcome_of_status(head.status);
  if (head.status < 200) {
    if (++x.interim > kInterimMax)
      return give_up(x, NGHTTP2_ENHANCE_YOUR_CALM, Reason::kUpstreamProtocolError);
    if (x.sink) x.sink->on_head(head, false);
    if (x.dead) return;
    head.headers.clear();
    return;
  }
  if (options_.http1.body_bytes_max && head.content_length > 0 &&
      static_cast<uint64_t>(head.content_length) > options_.http1.body_bytes_max)
    return give_up(x, NGHTTP2_CANCEL, Reason::kUpstreamTooLarge);
  if (x.connect && head.status < 300) {
    head.status = 101;
    head.upgrade = true;
    head.upgrade_token = "websocket";
    head.content_length = -1;
    if (!x.websocket_accept.empty()) head.headers.set("sec-websocket-accept", x.websocket_accept);
    if (end) return give_up(x, NGHTTP2_PROTOCOL_ERROR, Reason::kUpstreamProtocolError);
  } else if (x.connect) {
    // Declined: it was an ordinary request without a body.
    x.connect = false;
    x.local_ended = true;
    resume(x);
  }
  x.head_done = true;
  x.remote_ended = end;
  head.grpc = x.grpc;
  if (end) on_message_end(x);
  if (x.sink) x.sink->on_head(head, end);
}

void ClientCodec::on_message_end(Http2Exchange& x) {
  if (x.grpc) grpc::read_result(x.head, x.trailers);
}

void ClientCodec::on_body_too_large(Http2Exchange& x) {
  give_up(x, NGHTTP2_CANCEL, Reason::kUpstreamTooLarge);
}

// RFC 9113 7: codes that we don't know are INTERNAL_ERROR. A call of gRPC that ends without trailers has the
// status of gRPC's table (PROTOCOL-HTTP2, "Errors"), which is INTERNAL but for the codes named here and in
// status_of_code().
Reason ClientCodec::reason_of_code(const Http2Exchange& x, uint32_t code) const {
  if (x.unsent) return Reason::kUpstreamRefused;
  switch (code) {
    case NGHTTP2_REFUSED_STREAM: return x.head_done ? Reason::kUpstreamReset : Reason::kUpstreamRefused;
    case NGHTTP2_CANCEL:
      if (x.grpc && x.peer_reset)
        return Reason::kUpstreamCancelled;  // the call's end: CANCELLED, and nothing to repeat
      break;
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_SETTINGS_TIMEOUT:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_COMPRESSION_ERROR:
    case NGHTTP2_HTTP_1_1_REQUIRED: return Reason::kUpstreamProtocolError;
    default: break;
  }
  if (x.grpc && x.peer_reset) return Reason::kUpstreamProtocolError;
  return x.peer_reset || code == NGHTTP2_NO_ERROR ? Reason::kUpstreamReset : Reason::kUpstreamProtocolError;
}

// The status that a gRPC server means by its reset, where that is its verdict on the call: the caller gets it
// as trailers, and nothing is repeated. -1: the reset is a failure like others.
int32_t ClientCodec::status_of_code(const Http2Exchange& x, uint32_t code) const {
  switch (code) {
    case NGHTTP2_CANCEL:
      // How servers end a call whose deadline has passed. Theirs runs by another clock.
      return x.due_ms != 0 && events_.now_ms() + kDeadlineSlackMs >= x.due_ms ? kDeadlineExceeded
                                                                              : kCancelled;
    case NGHTTP2_ENHANCE_YOUR_CALM: return kResourceExhausted;
    case NGHTTP2_INADEQUATE_SECURITY: return kPermissionDenied;
    default: return -1;
  }
}

void ClientCodec::after_close(Http2Exchange& x, uint32_t code) {
  if (!x.grpc || !x.peer_reset || x.remote_ended || !x.sink) return;
  const int32_t status = status_of_code(x, code);
  if (status < 0) return;
  MessageSink* sink = std::exchange(x.sink, nullptr);
  HeaderList& fields = x.head_done ? x.trailers : x.head.headers;
  if (!x.head_done) {
    fields.clear();
    x.head.status = 200;
    x.head.outcome = outcome_of_status(200);
    x.head.content_length = -1;
    x.head.grpc = true;
    fields.add("content-type", grpc::kContentType);
  }
  char digits[4];
  char* end = std::to_chars(digits, digits + sizeof digits, status).ptr;
  fields.add("grpc-status", {digits, static_cast<size_t>(end - digits)});
  fields.add("grpc-message",
             status == kDeadlineExceeded ? "deadline exceeded at the server" : "reset by the server");
  x.remote_ended = true;
  on_message_end(x);
  if (x.head_done) return sink->on_trailers(x.trailers);
  x.head_done = true;
  sink->on_head(x.head, true);
}

Reason ClientCodec::send_head(Http2Exchange& x, Head& message, bool end) {
  if (x.head_sent) return Reason::kNone;
  if (done()) return Reason::kUpstreamReset;
  bool tunnel = message.upgrade && !end;
  if (tunnel && !nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL))
    return Reason::kUnsupported;
  if (!clean_token(message.path) || !clean_name(message.method) ||
      (!message.authority.empty() && !clean_token(message.authority)))
    return Reason::kEditFailed;
  grpc::write_deadline(message);
  Block block;
  block.add(":method", tunnel ? "CONNECT" : message.method);
  block.add(":scheme", message.scheme.empty() ? "http" : message.scheme);
  if (!message.authority.empty()) block.add(":authority", message.authority);
  block.add(":path", message.path);
  if (tunnel) block.add(":protocol", message.upgrade_token);
  // The key goes with it: proxies that end in HTTP/1 want one.
  if (!block.add_fields(message.headers)) return Reason::kEditFailed;
  // Without one, some servers wait for a body after these methods (RFC 9110 8.6).
  int64_t length = message.content_length;
  if (end && length < 0 && (message.method == "POST" || message.method == "PUT" || message.method == "PATCH"))
    length = 0;
  if (end && length > 0) length = -1;
  if (!tunnel && length >= 0) block.add_number("content-length", static_cast<uint64_t>(length));
  if (message.te_trailers) block.add("te", "trailers");
  if (message.expect_continue && !end) block.add("expect", "100-continue");
  Scope scope(*this);
  nghttp2_data_provider body = body_provider(x);
  int32_t id =
      nghttp2_submit_request(session_, nullptr, block.data(), block.size(), end ? nullptr : &body, &x);
  if (id < 0) return Reason::kInternal;
  x.id = id;
  x.head_sent = true;
  x.local_ended = end;
  x.to_head = message.method == "HEAD";
  x.grpc = message.grpc;
  if (message.grpc && message.timeout_ms >= 0)
    x.due_ms = events_.now_ms() + static_cast<uint64_t>(message.timeout_ms);
  x.connect = tunnel;
  if (const Header* key = tunnel ? message.headers.find("sec-websocket-key") : nullptr) {
    WebsocketAccept accept = websocket_accept(key->value);
    x.websocket_accept = x.head.arena.copy({accept.data(), accept.size()});
  }
  x.left = tunnel || end ? -1 : message.content_length;
  if (static_cast<uint32_t>(id) >= kLastStreamId && !goaway_) on_peer_goaway();
  want_send();
  if (end) build_complete();
  return Reason::kNone;
}

void ClientCodec::after_release(Http2Exchange& x) {
  if (!x.remote_ended) return abort_stream(x, NGHTTP2_CANCEL);
  if (x.local_ended) return;
  // The answer is complete: what is left of the request is of no use to anybody, unless that is no more than
  // its end.
  if (x.left != 0) return abort_stream(x, NGHTTP2_NO_ERROR);
  x.local_ended = true;
  resume(x);
}

void ClientCodec::drain() {
  if (done() || draining_) return;
  Scope scope(*this);
  draining_ = true;
}

void ClientCodec::settled() {
  if (draining_ && slots_ == 0 && !in_session_) finish();
}

}  // namespace

std::unique_ptr<ConnectionCodec> make_client(ByteSink& out, ConnectionEvents& events,
                                             const CodecOptions& options) {
  return std::make_unique<ClientCodec>(out, events, options);
}

}  // namespace dragoman::http2
