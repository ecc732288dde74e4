// The side that faces a client: reads requests, writes answers.
#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "protocols/http/grpc.h"
#include "protocols/http/rules.h"
#include "protocols/http/triple.h"
#include "protocols/http/websocket.h"
#include "protocols/http2/codec.h"
#include "protocols/http2/session.h"

namespace dragoman::http2 {
namespace {

class ServerCodec final : public Http2Codec {
 public:
  ServerCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options);

  /// Takes the settings of an upgrade; false when they are malformed.
  bool begin_upgrade(std::string_view settings, bool head_method);
  /// Serves the request that was upgraded.
  void serve_upgrade(Head& request);

  Exchange* open(MessageSink&) override { return nullptr; }
  uint32_t capacity() const override { return 0; }
  void drain() override;
  Reason send_head(Http2Exchange& x, Head& message, bool end) override;
  void send_reply(Http2Exchange& x, const LocalReply& reply) override;

 private:
  void on_block_begin(const nghttp2_frame& frame) override;
  void on_message_head(Http2Exchange& x, bool end) override;
  void on_body_too_large(Http2Exchange& x) override;
  void on_body_stalled(Http2Exchange& x) override;
  Reason reason_of_code(const Http2Exchange& x, uint32_t code) const override;
  void after_close(Http2Exchange& x, uint32_t code) override;
  void on_peer_goaway() override { events_.on_goaway(); }
  void on_drain_ping() override { notice_arrived_ = true; }
  int64_t tick_role(uint64_t now) override;
  void after_release(Http2Exchange& x) override;
  void after_end_sent(Http2Exchange& x) override;
  void settled() override;

  void refuse(Http2Exchange& x, const Refusal& refusal);
  static void add_handshake(Http2Exchange& x);
  void give_up_request(Http2Exchange& x, Reason reason);
  bool submit(Http2Exchange& x, const Block& block, bool end);
  void send_grpc_reply(Http2Exchange& x, const LocalReply& reply);

  void say_last();

  uint64_t drain_ms_ = 0;        // when the first GOAWAY was queued
  uint64_t opened_ms_ = 0;       // the same, or when the last request since then came
  bool notice_arrived_ = false;  // the client has answered the PING behind it
  bool last_said_ = false;       // the last GOAWAY was queued
};

ServerCodec::ServerCodec(ByteSink& out, ConnectionEvents& events, const CodecOptions& options)
    : Http2Codec(Role::kServer, out, events, options) {
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, INT32_MAX},  // see say_hello()
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options_.http2.stream_window_bytes},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options_.http1.header_bytes_max},
      {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
      {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, options_.http1.allow_websocket ? 1u : 0u},
  };
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings, std::size(settings));
  want_send();
}

// base64url without padding (RFC 7540 3.2.1).
bool decode_settings(std::string_view text, std::vector<uint8_t>& out) {
  uint32_t bits = 0;
  int have = 0;
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  for (char c : text) {
    uint32_t v = c >= 'A' && c <= 'Z'   ? static_cast<uint32_t>(c - 'A')
                 : c >= 'a' && c <= 'z' ? static_cast<uint32_t>(c - 'a') + 26
                 : c >= '0' && c <= '9' ? static_cast<uint32_t>(c - '0') + 52
                 : c == '-'             ? 62
                 : c == '_'             ? 63
                                        : 64;
    if (v == 64) return false;
    bits = bits << 6 | v;
    have += 6;
    if (have >= 8) {
      have -= 8;
      out.push_back(static_cast<uint8_t>(bits >> have));
    }
  }
  return out.size() % 6 == 0;
}

bool ServerCodec::begin_upgrade(std::string_view settings, bool head_method) {
  std::vector<uint8_t> payload;
  if (settings.size() > 1024 || !decode_settings(settings, payload)) return false;
  if (nghttp2_session_upgrade2(session_, payload.data(), payload.size(), head_method, nullptr) != 0)
    return false;
  Http2Exchange* x = create_exchange();
  x->id = 1;
  return nghttp2_session_set_stream_user_data(session_, 1, x) == 0;
}

void ServerCodec::serve_upgrade(Head& request) {
  Scope scope(*this);
  Http2Exchange& x = *find(1);
  Head& head = x.head;
  head.is_http = true;
  head.method = head.arena.copy(request.method);
  head.path = head.arena.copy(request.path);
  head.authority = head.arena.copy(request.authority);
  head.scheme = request.scheme;
  head.te_trailers = request.te_trailers;
  for (const Header& h : request.headers)
    head.headers.push(head.arena.copy(h.name), head.arena.copy(h.value), h.id);
  x.head_done = true;
  x.remote_ended = true;
  x.to_head = head.method == "HEAD";
  if (!accept(x, true)) refuse(x, {Reason::kStreamsOverflow, 0, "request refused"});
}

void ServerCodec::on_block_begin(const nghttp2_frame& frame) {
  int32_t id = frame.hd.stream_id;
  if (frame.headers.cat != NGHTTP2_HCAT_REQUEST) {  // trailers
    current_ = find(id);
    return;
  }
  // Streams that the client has given up may still occupy us: those count as well.
  if (slots_ >= options_.http2.streams_max ||
      held_bytes_ + pending_bytes() > options_.http2.memory_bytes_max) {
    events_.on_event(CodecEvent::kStreamsOverflow);
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
    return;
  }
  Http2Exchange* x = create_exchange();
  x->id = id;
  x->head.is_http = true;
  nghttp2_session_set_stream_user_data(session_, id, x);
  current_ = x;
}

void ServerCodec::on_message_head(Http2Exchange& x, bool end) {
  if (x.bad) {
    events_.on_refused(Reason::kMalformed, x.bad);
    return abort_stream(x, NGHTTP2_PROTOCOL_ERROR);
  }
  x.head_done = true;
  x.remote_ended = end;
  x.received_ms = events_.now_ms();
  if (draining_) opened_ms_ = x.received_ms;
  x.to_head = x.head.method == "HEAD";
  grpc::read_request(x.head);
  x.grpc = x.head.grpc;
  if (x.too_large) {
    bool many = block_fields_ > options_.http1.headers_max;
    return refuse(x, {many ? Reason::kTooManyHeaders : Reason::kHeadTooLarge, 0, "header fields too large"});
  }
  if (Refusal refusal = finish_request(x.head, x.protocol, options_.http1)) return refuse(x, refusal);
  x.connect = x.head.upgrade;
  if (x.connect) add_handshake(x);
  if (x.connect && end) return refuse(x, {Reason::kMalformed, 0, "a tunnel that begins with its end"});
  if (!accept(x, end)) refuse(x, {Reason::kStreamsOverflow, 0, "request refused"});
}

// The backend may speak HTTP/1, where a websocket begins with a key and its proof. RFC 8441 5 has none, but
// proxies send theirs.
void ServerCodec::add_handshake(Http2Exchange& x) {
  Head& head = x.head;
  const Header* given = head.headers.find("sec-websocket-key");
  x.websocket_key = given != nullptr;
  if (!given) {
    WebsocketKey key = make_websocket_key();
    head.headers.add("sec-websocket-key", {key.data(), key.size()});
  }
  WebsocketAccept accept = websocket_accept(head.header("sec-websocket-key"));
  if (!head.headers.find("sec-websocket-version")) head.headers.add("sec-websocket-version", "13");
  x.websocket_accept = head.arena.copy({accept.data(), accept.size()});
}

// Answers a request that nobody else has heard of.
void ServerCodec::refuse(Http2Exchange& x, const Refusal& refusal) {
  events_.on_refused(refusal.reason, refusal.text);
  LocalReply reply;
  reply.reason = refusal.reason;
  reply.http_status = refusal.status;
  reply.text = refusal.text;
  send_reply(x, reply);
  x.released = true;
  if (!x.dead) after_release(x);
}

void ServerCodec::on_body_too_large(Http2Exchange& x) { give_up_request(x, Reason::kBodyTooLarge); }
void ServerCodec::on_body_stalled(Http2Exchange& x) { give_up_request(x, Reason::kBodyTimeout); }

// The rest of the body is not wanted: answers if that is still possible, and tells the sink.
void ServerCodec::give_up_request(Http2Exchange& x, Reason reason) {
  std::string_view text = reason_row(reason).label;
  MessageSink* sink = std::exchange(x.sink, nullptr);  // not to be told of what the answer does
  if (!x.head_sent) {
    LocalReply reply;
    reply.reason = reason;
    reply.text = text;
    send_reply(x, reply);
    x.given_up = true;
  } else {
    abort_stream(x, NGHTTP2_CANCEL);
  }
  events_.on_refused(reason, text);
  if (sink) sink->on_reset(reason);
}

Reason ServerCodec::reason_of_code(const Http2Exchange& x, uint32_t) const {
  return x.peer_reset ? Reason::kDownstreamReset : Reason::kMalformed;
}

void ServerCodec::after_close(Http2Exchange& x, uint32_t code) {
  if (!x.peer_reset && code != NGHTTP2_NO_ERROR)
    events_.on_refused(Reason::kMalformed, nghttp2_http2_strerror(code));
}

Reason ServerCodec::send_head(Http2Exchange& x, Head& message, bool end) {
  if (x.head_sent || x.local_ended) return Reason::kNone;
  uint32_t status = message.status;
  if (status < 100 || status > 999) return Reason::kEditFailed;
  bool tunnel = status == 101;
  if (tunnel && (!x.connect || message.header("sec-websocket-accept") != x.websocket_accept))
    return Reason::kUpstreamProtocolError;
  if (tunnel) status = 200;
  Block block;
  block.add_number(":status", status);
  // Who sent a key of HTTP/1 wants its proof.
  if (!block.add_fields(message.headers, tunnel && !x.websocket_key ? "sec-websocket-accept" : ""))
    return Reason::kEditFailed;
  Scope scope(*this);
  if (status < 200) {
    nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, x.id, nullptr, block.data(), block.size(), nullptr);
    want_send();
    return Reason::kNone;
  }
  bool bodiless = !tunnel && (x.to_head || status == 204 || status == 205 || status == 304);
  if (!tunnel && message.content_length >= 0 && status != 204)
    block.add_number("content-length", static_cast<uint64_t>(message.content_length));
  x.drop_body = bodiless && !end;
  if (x.head.triple) x.envelopes.begin(message);
  x.left = tunnel || bodiless ? -1 : message.content_length;
  x.local_ended = end;
  if (!submit(x, block, end || bodiless)) return Reason::kInternal;
  if (end) build_complete();
  return Reason::kNone;
}

bool ServerCodec::submit(Http2Exchange& x, const Block& block, bool end) {
  nghttp2_data_provider body = body_provider(x);
  x.head_sent = true;
  int error = nghttp2_submit_response(session_, x.id, block.data(), block.size(), end ? nullptr : &body);
  want_send();
  return error == 0;
}

// Trailers alone, or after what was already sent of the answer.
void ServerCodec::send_grpc_reply(Http2Exchange& x, const LocalReply& reply) {
  if (x.local_ended || x.drop_body || x.connect || x.left > 0) return reset(x, reply.reason);
  Scope scope(*this);
  Block block;
  if (!x.head_sent) {
    block.add_number(":status", 200);
    block.add("content-type", grpc::kContentType);
  }
  char digits[4];
  char* end = std::to_chars(digits, digits + sizeof digits, reply.grpc_status()).ptr;
  std::string_view status(digits, static_cast<size_t>(end - digits));
  std::string_view text = grpc::encode_message(reply.text, x.head.arena);
  if (x.head_sent) {
    x.out_trailers.add("grpc-status", status);
    if (!text.empty()) x.out_trailers.add("grpc-message", text);
    x.has_trailers = true;
    return send_body(x, {}, true);
  }
  block.add("grpc-status", status);
  if (!text.empty()) block.add("grpc-message", text);
  for (const Header& h : reply.headers)
    if (h.id == HeaderId::kPeerReason && clean_value(h.value)) block.add_field(h);
  submit(x, block, true);
  x.local_ended = true;
}

void ServerCodec::send_reply(Http2Exchange& x, const LocalReply& made) {
  if (x.grpc) return send_grpc_reply(x, made);
  if (x.head_sent) {
    // A stream of messages can say why it ends, anything else can only be cut.
    if (x.local_ended || x.left >= 0 || !x.envelopes.may_end()) return reset(x, made.reason);
    return send_body(x, triple::make_end(made, x.head.arena), true);
  }
  const LocalReply reply = x.head.triple ? triple::make_reply(made, x.head.arena) : made;
  Scope scope(*this);
  uint32_t status = reply.status();
  bool no_content = status == 204 || status == 304;
  Block block;
  block.add_number(":status", status);
  for (const Header& h : reply.headers)
    if (!connection_field(h.id) && clean_name(h.name) && clean_value(h.value)) block.add_field(h);
  if (!no_content) {
    bool typed = !reply.content_type.empty() && clean_value(reply.content_type);
    if (!reply.text.empty()) block.add("content-type", typed ? reply.content_type : "text/plain");
    block.add_number("content-length", reply.text.size());
  }
  bool empty = no_content || x.to_head || reply.text.empty();
  submit(x, block, empty);
  if (empty) {
    x.local_ended = true;
  } else {
    send_body(x, {reinterpret_cast<const uint8_t*>(reply.text.data()), reply.text.size()}, true);
  }
}

void ServerCodec::after_release(Http2Exchange& x) {
  if (!x.local_ended) return abort_stream(x, NGHTTP2_INTERNAL_ERROR);
  if (x.local_sent) after_end_sent(x);
}

// The client may stop sending a body that nobody reads (RFC 9113 8.1).
void ServerCodec::after_end_sent(Http2Exchange& x) {
  if (!(x.released || x.given_up) || x.remote_ended || x.stream_closed) return;
  // All that was announced is here: only the empty frame that says so is missing, and on its way (tick()
  // looks after that).
  if (x.head.content_length > 0 && x.body_bytes == static_cast<uint64_t>(x.head.content_length)) return;
  abort_stream(x, NGHTTP2_NO_ERROR);
}

// First the notice, so that requests under way are still served. The last id is due one round trip later (RFC
// 9113 6.8), but some clients go on with a connection that they have chosen until they see it, and lose the
// call that crosses it. So it waits until nothing was opened for the grace; on a connection that is idle by
// then the owner's farewell() says it.
void ServerCodec::drain() {
  if (done() || draining_) return;
  Scope scope(*this);
  draining_ = true;
  drain_ms_ = opened_ms_ = events_.now_ms();
  static constexpr uint8_t kPayload[8] = {'d', 'r', 'a', 'i', 'n'};
  nghttp2_submit_shutdown_notice(session_);
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, kPayload);
  want_send();
}

void ServerCodec::say_last() {
  last_said_ = true;
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        NGHTTP2_NO_ERROR, nullptr, 0);
  want_send();
}

// A client that goes on for ever is told in time for its last answers.
int64_t ServerCodec::tick_role(uint64_t now) {
  const int64_t max = options_.http2.drain_hold_max_ms;
  if (!draining_ || last_said_ || max <= 0) return -1;
  const uint64_t due = drain_ms_ + static_cast<uint64_t>(max);
  if (now < due) return static_cast<int64_t>(due - now);
  say_last();
  return -1;
}

void ServerCodec::settled() {
  if (in_session_ || slots_ > 0) return;
  if (draining_ && !last_said_ && notice_arrived_ &&
      events_.now_ms() >= opened_ms_ + static_cast<uint64_t>(options_.http2.drain_grace_ms))
    say_last();
  if (last_said_ && idle_output()) finish();
}

}  // namespace

std::unique_ptr<ConnectionCodec> make_server(ByteSink& out, ConnectionEvents& events,
                                             const CodecOptions& options) {
  return std::make_unique<ServerCodec>(out, events, options);
}

}  // namespace dragoman::http2

namespace dragoman {

std::unique_ptr<ConnectionCodec> make_http2_after_upgrade(ByteSink& out, ConnectionEvents& events,
                                                          const CodecOptions& options,
                                                          std::string_view settings, bool to_head) {
  auto codec = std::make_unique<http2::ServerCodec>(out, events, options);
  if (!codec->begin_upgrade(settings, to_head)) return nullptr;
  out.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n");
  return codec;
}

void serve_upgraded(ConnectionCodec& http2_server, Head& request) {
  static_cast<http2::ServerCodec&>(http2_server).serve_upgrade(request);
}

}  // namespace dragoman
