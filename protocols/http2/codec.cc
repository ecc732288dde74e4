#include "protocols/http2/codec.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "protocols/http/rules.h"
#include "protocols/http2/http2_codec.h"
#include "protocols/http2/memory.h"
#include "protocols/http2/session.h"
#include "proxy/base/object_pool.h"

namespace dragoman::http2 {
namespace {

using Exchanges = ObjectPool<Http2Exchange>;

// Of a stream that is a TCP connection of its own (RFC 8441 5): its RST, whoever sent it.
uint32_t code_of_tunnel(Reason reason) {
  if (reason == Reason::kUpstreamReset || reason == Reason::kUpstreamTruncated) return NGHTTP2_CANCEL;
  return code_of_reason(reason);
}

}  // namespace

// --- Exchange ----------------------------------------------------------------------------------------------

Reason Http2Exchange::send_head(Head& message, bool end) {
  return codec && !dead ? codec->send_head(*this, message, end) : Reason::kNone;
}
void Http2Exchange::send_body(std::span<const uint8_t> chunk, bool end) {
  if (codec && !dead) codec->send_body(*this, chunk, end);
}
void Http2Exchange::send_trailers(HeaderList& list) {
  if (codec && !dead) codec->send_trailers(*this, list);
}
void Http2Exchange::send_reply(const Head&, const LocalReply& reply) {
  if (codec && !dead) codec->send_reply(*this, reply);
}
void Http2Exchange::reset(Reason reason) {
  if (codec && !dead) codec->reset(*this, reason);
}
void Http2Exchange::pause_reading() {
  if (codec && !dead) codec->set_paused(*this, true);
}
void Http2Exchange::resume_reading() {
  if (codec && !dead) codec->set_paused(*this, false);
}
void Http2Exchange::release() {
  if (codec)
    codec->release(*this);
  else
    Exchanges::destroy(this);  // outlived its connection
}
bool Http2Exchange::write_blocked() const { return codec && !dead && codec->write_blocked(*this); }

// --- Life --------------------------------------------------------------------------------------------------

Http2Codec::Http2Codec(Role role, ByteSink& out, ConnectionEvents& events, const CodecOptions& options)
    : out_(out),
      events_(events),
      options_(options),
      role_(role),
      session_(make_session(role, *this, options.http2)),
      abuse_(options.http2),
      started_ms_(events.now_ms()),
      watch_(role == Role::kServer) {
  out_.set_source(this);
}

Http2Codec::~Http2Codec() {
  out_.set_source(nullptr);
  reap();
  while (Http2Exchange* x = exchanges_.pop_front()) {
    x->codec = nullptr;
    if (!x->held) Exchanges::destroy(x);
  }
  nghttp2_session_del(session_);  // calls nothing back
}

Http2Exchange* Http2Codec::create_exchange() {
  Http2Exchange* x = Exchanges::create(*this);
  exchanges_.push_back(*x);
  ++slots_;
  return x;
}

void Http2Codec::retire(Http2Exchange& x) {
  drop_pending(x);
  held_bytes_ -= std::exchange(x.charged, 0);
  lent_bytes_ -= std::exchange(x.lent, 0);
  x.unlink();
  --slots_;
  room_ = true;
  if (current_ == &x) current_ = nullptr;
  if (found_ == &x) found_ = nullptr;
  x.codec = nullptr;
  x.next = retired_;
  retired_ = &x;
}

void Http2Codec::reap() {
  while (Http2Exchange* x = retired_) {
    retired_ = x->next;
    Exchanges::destroy(x);
  }
}

void Http2Codec::settle() {
  for (int pass = 0; !done() && (tell_ || room_) && pass < 16; ++pass) {
    if (std::exchange(tell_, false)) tell_blocked();
    if (std::exchange(room_, false) && !done()) events_.on_capacity();
  }
  if (!done()) settled();
  reap();
}

/// The outermost call ends, perhaps since it had no memory: then its owner closes the connection.
void Http2Codec::settle_or_break() {
  if (std::exchange(memory_failed, false)) out_of_memory();
  try {
    settle();
  } catch (const std::bad_alloc&) {
    memory_failed = true;
  }
  if (std::exchange(memory_failed, false)) out_of_memory();
}

/// Whatever was under way: nothing more is said, and everybody is told.
void Http2Codec::out_of_memory() {
  if (done()) return;
  broken_ = true;
  reset_all(Reason::kOwnResources, Reason::kOwnResources);
  events_.on_broken(Reason::kOwnResources, "out of memory");
}

void Http2Codec::release(Http2Exchange& x) {
  Scope scope(*this);
  x.sink = nullptr;
  x.held = false;
  x.released = true;
  give_back(x);
  if (broken_ || x.stream_closed || x.id < 0) return retire(x);
  if (!x.dead) after_release(x);
}

bool Http2Codec::accept(Http2Exchange& x, bool end) {
  x.held = true;  // so that it lives, whatever the owner does to the connection in between
  MessageSink* sink = nullptr;
  try {
    sink = events_.on_exchange(x);
  } catch (const std::bad_alloc&) {
    x.held = false;
    throw;
  }
  if (!sink) {
    x.held = false;
    return false;
  }
  if (x.released) return true;  // and has already given it back
  x.sink = sink;
  if (done())
    tell_end(x, Reason::kDownstreamReset);
  else
    sink->on_head(x.head, end);
  return true;
}

void Http2Codec::abort_stream(Http2Exchange& x, uint32_t code) {
  x.dead = true;
  drop_pending(x);
  give_back(x);
  if (x.id < 0 || x.stream_closed || broken_) return;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, x.id, code);
  want_send();
}

void Http2Codec::reset(Http2Exchange& x, Reason reason) {
  x.sink = nullptr;  // its holder wants to hear nothing more
  // A complete answer stands, and a request that was never begun leaves no trace.
  if (role_ == Role::kServer ? x.local_ended : x.local_ended && x.remote_ended) return;
  Scope scope(*this);
  // What was said before it goes first, as far as the windows allow: nghttp2 drops what it has not sent of a
  // stream that it resets. Not of a request that is given up.
  if (x.head_sent && (role_ == Role::kServer || x.connect)) build_complete();
  if (x.dead || broken_) return;
  abort_stream(x, x.connect ? code_of_tunnel(reason) : code_of_reason(reason));
}

void Http2Codec::tell_end(Http2Exchange& x, Reason reason) {
  MessageSink* sink = std::exchange(x.sink, nullptr);
  if (sink && !(x.remote_ended && x.local_ended)) sink->on_reset(reason);
}

void Http2Codec::reset_all(Reason reason, Reason cut) {
  // Those that a walk further down the stack has still before it, too: it ends when it finds the connection
  // broken.
  for (Walk* w = walk_; w; w = w->outer) exchanges_.splice(w->rest);
  Walk all(*this);
  while (Http2Exchange* x = all.next()) {
    drop_pending(*x);
    bool truncated = x->head_done && !x->remote_ended && !x->connect;
    x->dead = true;
    if (!x->held)
      retire(*x);
    else
      tell_end(*x, truncated ? cut : reason);
  }
}

// HTTP/2 frames are never half in the output, so this one can always be put after them, whatever state the
// session is in.
void Http2Codec::write_goaway(uint32_t code) {
  uint32_t last = static_cast<uint32_t>(nghttp2_session_get_last_proc_stream_id(session_));
  uint8_t frame[17] = {0, 0, 8, NGHTTP2_GOAWAY, 0, 0, 0, 0, 0};
  for (int i = 0; i < 4; ++i) {
    frame[9 + i] = static_cast<uint8_t>(last >> (24 - 8 * i));
    frame[13 + i] = static_cast<uint8_t>(code >> (24 - 8 * i));
  }
  out_.out.append(frame, sizeof frame);
  out_.wrote();
}

void Http2Codec::break_connection(Reason reason, uint32_t code, std::string_view text) {
  if (done()) return;
  Scope scope(*this);
  broken_ = true;
  if (!goaway_error_) write_goaway(code);
  reset_all(reason, reason);
  events_.on_broken(reason, text);
}

void Http2Codec::finish() {
  if (done()) return;
  finished_ = true;
  events_.on_finished();
}

void Http2Codec::farewell() {
  if (done() || goaway_error_) return;
  if (!transport_blocked_) build_frames();
  if (!done()) write_goaway(NGHTTP2_NO_ERROR);
}

void Http2Codec::on_transport_closed(Reason reason) {
  if (broken_) return;
  Scope scope(*this);
  broken_ = true;
  Reason cut = reason;
  if (reason == Reason::kDownstreamReset) cut = Reason::kDownstreamTruncated;
  if (reason == Reason::kUpstreamReset) cut = Reason::kUpstreamTruncated;
  reset_all(reason, cut);
}

void Http2Codec::fail(Reason reason) {
  break_connection(reason, peer_ready_ ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_SETTINGS_TIMEOUT,
                   reason_row(reason).label);
}

ReadPhase Http2Codec::phase() const { return head_open_ && !done() ? ReadPhase::kHead : ReadPhase::kIdle; }

bool Http2Codec::heartbeat() {
  if (done()) return true;
  static constexpr uint8_t kPayload[8] = {'h', 'e', 'a', 'r', 't', 'b', 'e', 'a'};
  ++pings_unanswered_;
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, kPayload);
  want_send();
  return true;
}

// --- Input -------------------------------------------------------------------------------------------------

bool Http2Codec::feed(const uint8_t* data, size_t n) {
  if (done() || memory_failed) return false;
  in_session_ = true;
  const ssize_t used = nghttp2_session_mem_recv(session_, data, n);
  in_session_ = false;
  if (done()) return false;
  if (used >= 0) return true;
  if (memory_failed) return false;  // the Scope's end breaks the connection
  auto error = static_cast<int>(used);
  if (error == NGHTTP2_ERR_FLOODED) {
    flood(CodecEvent::kAckFlood, "answers to control frames are not read");
    return false;
  }
  uint32_t code = error == NGHTTP2_ERR_TOO_MANY_SETTINGS ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_PROTOCOL_ERROR;
  Reason reason = role_ == Role::kServer ? Reason::kMalformed : Reason::kUpstreamProtocolError;
  break_connection(reason, code, nghttp2_strerror(error));
  return false;
}

void Http2Codec::on_data(uint8_t* data, size_t n) {
  if (done()) return;
  Scope scope(*this);
  watch_.pass(
      data, n, [this](const uint8_t* bytes, size_t size) { return feed(bytes, size); },
      [this](uint32_t id) { on_data_frame(id); });
  if (done()) return;
  const Reason malformed = role_ == Role::kServer ? Reason::kMalformed : Reason::kUpstreamProtocolError;
  if (watch_.goaway_error()) return break_connection(malformed, watch_.goaway_error(), "malformed GOAWAY");
  if (watch_.take_goaway()) on_goaway();
  if (done()) return;
  if (watch_.depends_on_itself())
    return break_connection(malformed, NGHTTP2_PROTOCOL_ERROR, "a stream that depends on itself");
  after_input();
}

// nghttp2 answers a connection error by a GOAWAY of its own, after which it wants nothing more.
void Http2Codec::after_input() {
  if (!nghttp2_session_want_read(session_) || goaway_code_) build_frames();
  if (done()) return;
  if (goaway_error_) {
    Reason reason = role_ == Role::kServer ? Reason::kMalformed : Reason::kUpstreamProtocolError;
    return break_connection(reason, goaway_code_, nghttp2_http2_strerror(goaway_code_));
  }
  if (nghttp2_session_want_write(session_)) want_send();
}

void Http2Codec::on_eof() {
  if (done() || eof_) return;
  Scope scope(*this);
  eof_ = true;
  if (role_ == Role::kClient) {
    if (slots_ == 0) return finish();
    broken_ = true;
    reset_all(Reason::kUpstreamReset, Reason::kUpstreamTruncated);
    return events_.on_broken(Reason::kUpstreamReset, "connection ended with requests under way");
  }
  // No answer could be sent for long without the client's window updates: it has gone.
  broken_ = true;
  reset_all(Reason::kDownstreamReset, Reason::kDownstreamTruncated);
  events_.on_finished();
}

int Http2Codec::on_begin_frame(const nghttp2_frame_hd& hd) {
  head_open_ = hd.type == NGHTTP2_HEADERS || hd.type == NGHTTP2_CONTINUATION || !peer_ready_;
  uint32_t weight = 0;
  switch (hd.type) {
    case NGHTTP2_HEADERS:
      continuations_ = 0;
      if (role_ == Role::kServer && static_cast<uint32_t>(hd.stream_id) > highest_id_)
        highest_id_ = static_cast<uint32_t>(hd.stream_id);
      else
        on_late_frame(hd, weight);
      break;
    case NGHTTP2_DATA:
      weight = hd.length == 0 && !(hd.flags & NGHTTP2_FLAG_END_STREAM) ? 1 : 0;
      break;
    case NGHTTP2_RST_STREAM:
      weight =
          find(hd.stream_id) ? 0 : 1;  // one for each stream; those that come early are counted by themselves
      break;
    case NGHTTP2_CONTINUATION:
      if (++continuations_ > continuations_max())
        flood(CodecEvent::kHeadFlood, "too many CONTINUATION frames");
      break;
    case NGHTTP2_PRIORITY:
      weight = 1;
      // nghttp2 does not look at these any more.
      if (hd.stream_id == 0)
        break_connection(role_ == Role::kServer ? Reason::kMalformed : Reason::kUpstreamProtocolError,
                         NGHTTP2_PROTOCOL_ERROR, "PRIORITY without a stream");
      break;
    case NGHTTP2_SETTINGS:
      weight = peer_ready_ && !(hd.flags & NGHTTP2_FLAG_ACK) ? 20 : 0;
      break;
    case NGHTTP2_PING:
      // An answer was paid for by the PING it answers; one that nobody asked for costs no more than that.
      weight = hd.flags & NGHTTP2_FLAG_ACK ? (pings_unanswered_ ? 0 : 1) : 5;
      break;
    default:
      weight = 1;
      break;
  }
  if (weight && !done() && !abuse_.control(events_.now_ms(), weight))
    flood(CodecEvent::kControlFlood, "too many frames that carry nothing");
  return verdict();
}

// A frame of a stream that does not exist any more, or not for us. nghttp2 ignores all of them, after it has
// decoded their heads.
void Http2Codec::on_late_frame(const nghttp2_frame_hd& hd, uint32_t& weight) {
  const auto id = static_cast<uint32_t>(hd.stream_id);
  const bool head = hd.type == NGHTTP2_HEADERS;
  const Http2Exchange* x = find(hd.stream_id);
  if (x || nghttp2_session_find_stream(session_, hd.stream_id)) {
    if (head && (!x || x->dead)) weight = 5;  // our reset waits for the transport
    return;
  }
  const bool server = role_ == Role::kServer;
  if ((id & 1) == 0 || id > (server ? highest_id_ : nghttp2_session_get_next_stream_id(session_)))
    return;  // nghttp2's business
  switch (closed_.find(id)) {
    case ClosedStreams::How::kWeReset:
      weight =
          head ? 5 : weight;  // it may have crossed our reset; a body costs no more than one that is read
      return;
    case ClosedStreams::How::kPeerReset:
      if (!server) break;
      nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, hd.stream_id, NGHTTP2_STREAM_CLOSED);
      weight = 5;
      return;
    case ClosedStreams::How::kPeerEnded:
      if (!server) break;
      return break_connection(Reason::kMalformed, NGHTTP2_STREAM_CLOSED,
                              "a frame on a stream that its sender had ended");
    case ClosedStreams::How::kNever:
      if (!server || draining_) break;
      return break_connection(Reason::kMalformed, NGHTTP2_PROTOCOL_ERROR, "a stream that was passed over");
    case ClosedStreams::How::kForgotten: break;
  }
  // Of a backend, whose connection others share, it is odd; many are a flood.
  weight = head ? 5 : 1;
  if (!server) events_.on_event(CodecEvent::kGlitch);
}

void Http2Codec::on_data_frame(uint32_t id) {
  if (done()) return;
  nghttp2_frame_hd hd{};
  hd.type = NGHTTP2_DATA;
  hd.stream_id = static_cast<int32_t>(id);
  uint32_t weight = 0;
  on_late_frame(hd, weight);
  if (weight && !done() && !abuse_.control(events_.now_ms(), weight))
    flood(CodecEvent::kControlFlood, "too many frames that carry nothing");
}

int Http2Codec::on_begin_headers(const nghttp2_frame& frame) {
  current_ = nullptr;
  block_fields_ = 0;
  block_bytes_ = 0;
  cookies_.clear();
  pieces_bytes_ = 0;
  if (!done()) on_block_begin(frame);
  if (current_) current_->cookie = false;  // of an interim head, whose fields are gone
  return verdict();
}

// A field as nghttp2 hands it out, which finds nothing wrong with it, or something.
int Http2Codec::on_header(std::string_view raw_name, std::string_view raw_value, bool valid) {
  if (done()) return verdict();
  Http2Exchange* x = current_;
  if (watch_.cuts() && !join_pieces(x, raw_name, raw_value, valid)) return verdict();
  if (!valid) {
    if (x) x->bad = "invalid field";
    return verdict();
  }
  const bool crumb = x && x->cookie && raw_name == "cookie";  // of a field that was counted
  block_fields_ += crumb ? 0 : 1;
  block_bytes_ += raw_name.size() + raw_value.size() + 32;  // as SETTINGS_MAX_HEADER_LIST_SIZE counts
  if (!check_block(x)) return verdict();
  if (!x || x->dead) return 0;
  if (crumb && !x->head_done) {
    add_crumb(*x, raw_value);
    return 0;
  }
  // Values may be changed in place (paths): never the static table's.
  std::string_view value = x->head.arena.copy(raw_value);
  const char* bad = nullptr;
  if (!x->head_done && !raw_name.empty() && raw_name[0] == ':') {
    bad = take_pseudo(raw_name, value, x->head, x->protocol);
  } else {
    KnownName field = known_name(raw_name);
    if (field.name.empty()) field.name = x->head.arena.copy(raw_name);
    if (x->head_done) {
      // What gRPC calls metadata are fields by any name; only our own clients of gRPC get such an answer.
      const bool metadata = x->grpc && role_ == Role::kClient;
      if (metadata ? !connection_field(field.id) : !forbidden_trailer(field.name, field.id))
        x->trailers.push(field.name, value, field.id);
      else
        events_.on_event(CodecEvent::kFieldDropped);
    } else {
      bad = take_field(field, value, x->head);
      if (!bad && field.id == HeaderId::kCookie) x->cookie = true;
    }
  }
  if (bad && !x->bad) x->bad = bad;
  return 0;
}

// A field of a block in which values were cut: whether it is complete, in `name` and `value`.
bool Http2Codec::join_pieces(Http2Exchange* x, std::string_view& name, std::string_view& value, bool& valid) {
  LongFields& longs = watch_.fields();
  switch (longs.piece(name, value, x && !x->dead && !x->too_large)) {
    case LongFields::Piece::kNone: return true;
    case LongFields::Piece::kMore:
      block_bytes_ += value.size();
      pieces_bytes_ += value.size();
      static_cast<void>(check_block(x));
      return false;
    case LongFields::Piece::kDone: break;
  }
  name = longs.name();
  value = longs.value();
  block_bytes_ -= std::exchange(pieces_bytes_, 0);
  valid = clean_name(name) && clean_value(value);
  return true;
}

void Http2Codec::add_crumb(const Http2Exchange& x, std::string_view value) {
  if (cookies_.empty()) cookies_ = x.head.headers.find(HeaderId::kCookie)->value;
  cookies_.append("; ").append(value);
}

// The header block is over a limit: its fields are counted from then on, not kept. So far over it that it is
// no accident, it ends a client's connection; a backend's is shared, and its heads cost their bytes only.
bool Http2Codec::over_block(Http2Exchange* x) {
  const uint64_t fields_max = options_.http1.headers_max, bytes_max = options_.http1.header_bytes_max;
  if (x) x->too_large = true;
  const uint64_t factor = role_ == Role::kServer ? kBombFactor : kSharedBombFactor;
  if (block_fields_ > factor * fields_max || block_bytes_ > factor * bytes_max)
    flood(CodecEvent::kHeadFlood, "header fields far over the limit");
  return false;
}

// A head that is refused for its size still has to be read.
uint32_t Http2Codec::continuations_max() const {
  const uint64_t factor = role_ == Role::kServer ? kBombFactor : kSharedBombFactor;
  return std::max(options_.http2.continuations_max,
                  static_cast<uint32_t>(factor * options_.http1.header_bytes_max / 16'384 + 1));
}

int Http2Codec::on_frame(const nghttp2_frame& frame) {
  if (done()) return verdict();
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS: {
      head_open_ = false;
      Http2Exchange* x = std::exchange(current_, nullptr);
      if (watch_.cuts()) watch_.fields().clear();
      if (x && !x->dead) on_head_end(*x, (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
      break;
    }
    case NGHTTP2_DATA:
      if (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) {
        Http2Exchange* x = find(frame.hd.stream_id);
        if (x && !x->dead) deliver_end(*x);
      }
      break;
    case NGHTTP2_RST_STREAM:
      if (Http2Exchange* x = find(frame.hd.stream_id)) x->peer_reset = true;
      events_.on_event(CodecEvent::kPeerReset);
      break;
    case NGHTTP2_SETTINGS:
      if (frame.hd.flags & NGHTTP2_FLAG_ACK) break;
      head_open_ = false;
      peer_ready_ = true;
      on_settings();
      break;
    case NGHTTP2_PING:
      if (!(frame.hd.flags & NGHTTP2_FLAG_ACK)) {
        events_.on_event(CodecEvent::kHeartbeatAnswered);
      } else if (frame.ping.opaque_data[0] == 'd') {
        on_drain_ping();
      } else if (pings_unanswered_) {
        --pings_unanswered_;
        events_.on_event(CodecEvent::kHeartbeatAck);
      } else {
        events_.on_event(CodecEvent::kHeartbeatUnexpected);
      }
      break;
    case NGHTTP2_GOAWAY: on_goaway(); break;
    default:
      break;
  }
  return verdict();
}

void Http2Codec::on_goaway() {
  events_.on_event(CodecEvent::kGoAway);
  on_peer_goaway();
}

void Http2Codec::on_head_end(Http2Exchange& x, bool end) {
  if (!x.head_done) {
    if (!cookies_.empty()) {
      for (Header& h : x.head.headers)
        if (h.id == HeaderId::kCookie) h.value = x.head.arena.copy(cookies_);
      if (cookies_.capacity() > kCrumbsKept)
        cookies_ = std::string();
      else
        cookies_.clear();
    }
    const size_t bytes = static_cast<size_t>(block_bytes_) + sizeof(Http2Exchange);
    x.charged += bytes;
    held_bytes_ += bytes;
    return on_message_head(x, end);
  }
  if (x.bad || x.too_large || !end) {
    abort_stream(x, NGHTTP2_PROTOCOL_ERROR);
    return tell_end(x, reason_of_code(x, NGHTTP2_PROTOCOL_ERROR));
  }
  if (x.trailers.empty() || x.connect) return deliver_end(x);
  x.remote_ended = true;
  on_message_end(x);
  if (x.sink) x.sink->on_trailers(x.trailers);
}

void Http2Codec::deliver_end(Http2Exchange& x) {
  x.remote_ended = true;
  on_message_end(x);
  if (x.sink) x.sink->on_body({}, true);
}

void Http2Codec::consume(int32_t id, size_t n) {
  if (broken_ || n == 0) return;
  nghttp2_session_consume(session_, id, n);
  if (!in_session_) want_send();
}

// All that `x` withholds; what was lent is back in the connection's window already.
void Http2Codec::give_back(Http2Exchange& x) {
  const size_t lent = std::exchange(x.lent, 0);
  const size_t rest = std::exchange(x.unconsumed, 0) - lent;
  if (lent > 0) {
    const bool was_full = lent_bytes_ > options_.http2.memory_bytes_max / 2;
    lent_bytes_ -= lent;
    if (was_full && lent_bytes_ <= options_.http2.memory_bytes_max / 2) room_ = true;
    if (!broken_ && !x.stream_closed) nghttp2_session_consume_stream(session_, x.id, lent);
    if (!in_session_ && !broken_) want_send();
  }
  if (x.stream_closed) {
    if (!broken_ && rest > 0) nghttp2_session_consume_connection(session_, rest);
  } else {
    consume(x.id, rest);
  }
}

int Http2Codec::on_chunk(int32_t id, std::span<const uint8_t> chunk) {
  if (done()) return verdict();
  Http2Exchange* x = find(id);
  if (!x || x->dead || !x->sink) {
    consume(id, chunk.size());
    return 0;
  }
  uint64_t max = x->connect ? 0 : options_.http1.body_bytes_max;
  x->body_bytes += chunk.size();
  if (max && x->body_bytes > max) {
    consume(id, chunk.size());
    on_body_too_large(*x);
    return verdict();
  }
  x->received_ms = events_.now_ms();
  x->unconsumed += chunk.size();
  x->sink->on_body(chunk, false);
  if (done() || x->unconsumed == 0) return verdict();
  if (!x->paused) {
    give_back(*x);
  } else if (lent_bytes_ + chunk.size() <= options_.http2.memory_bytes_max) {
    // It stands still for itself, not for the others.
    x->lent += chunk.size();
    lent_bytes_ += chunk.size();
    nghttp2_session_consume_connection(session_, chunk.size());
  }
  return verdict();
}

void Http2Codec::set_paused(Http2Exchange& x, bool paused) {
  x.paused = paused;
  if (paused || x.unconsumed == 0) return;
  Scope scope(*this);
  give_back(x);
}

int Http2Codec::on_stream_close(int32_t id, uint32_t code) {
  Http2Exchange* x = find(id);
  using How = ClosedStreams::How;
  closed_.add(static_cast<uint32_t>(id), !x || x->id < 0   ? How::kWeReset
                                         : x->peer_reset   ? How::kPeerReset
                                         : x->remote_ended ? How::kPeerEnded
                                                           : How::kWeReset);
  if (!x) return 0;
  Scope scope(*this);
  bool complete = x->remote_ended && x->local_ended;
  bool fresh = !x->dead;
  x->stream_closed = true;
  x->dead = true;
  drop_pending(*x);
  give_back(*x);
  Reason reason = reason_of_code(*x, code);
  if (fresh && !done() && !complete) after_close(*x, code);
  if (role_ == Role::kServer && x->peer_reset && !complete && !done() && !abuse_.peer_reset(events_.now_ms()))
    flood(CodecEvent::kResetFlood, "too many requests given up");
  // Whatever became of the connection meanwhile: who still listens is told.
  tell_end(*x, reason);
  if (x->codec && !x->held) retire(*x);
  return 0;
}

// --- Output ------------------------------------------------------------------------------------------------

void Http2Codec::drop_pending(Http2Exchange& x) {
  pending_bytes_ -= x.pending.size();
  x.pending.clear();
  x.direct = {};
}

void Http2Codec::resume(Http2Exchange& x) {
  if (x.deferred) {
    x.deferred = false;
    nghttp2_session_resume_data(session_, x.id);
  }
  want_send();
}

void Http2Codec::send_body(Http2Exchange& x, std::span<const uint8_t> chunk, bool end) {
  if (x.local_ended || !x.head_sent) return;
  if (x.drop_body) {
    x.local_ended = end;
    return;
  }
  Scope scope(*this);
  if (x.left >= 0) {
    uint64_t left = static_cast<uint64_t>(x.left);
    if (chunk.size() > left || (end && chunk.size() != left)) {
      // It can't be ended as announced, and must not look as if it were.
      abort_stream(x, NGHTTP2_INTERNAL_ERROR);
      return tell_end(x, Reason::kInternal);
    }
    x.left = static_cast<int64_t>(left - chunk.size());
  }
  x.envelopes.see(chunk);
  x.local_ended = end;
  // What is complete, or large, is built while it is in the caches, and without a copy of ours where the
  // windows allow.
  if ((end || chunk.size() >= ByteSink::kLargeBytes) && !in_session_ && !transport_blocked_) {
    x.direct = chunk;
    resume(x);
    build_frames();
    if (x.dead || broken_) return;
    chunk = std::exchange(x.direct, {});
  }
  if (!chunk.empty()) {
    x.pending.append(chunk);
    pending_bytes_ += chunk.size();
    watch_output(x);
    // Each stream is told to wait, but what comes at once can't be sent back: so many readers that stand
    // still are one too many.
    if (pending_bytes_ + held_bytes_ > 2 * options_.http2.memory_bytes_max &&
        x.pending.size() > kCrowdedBytes) {
      events_.on_event(CodecEvent::kStreamStalled);
      abort_stream(x, NGHTTP2_CANCEL);
      return tell_end(x, Reason::kWriteStall);
    }
  }
  if (!chunk.empty() || (end && !x.local_sent)) resume(x);
  update_blocked(x);
}

void Http2Codec::send_trailers(Http2Exchange& x, const HeaderList& trailers) {
  if (x.local_ended || !x.head_sent) return;
  if (x.drop_body || x.connect) return send_body(x, {}, true);
  Scope scope(*this);
  x.has_trailers = std::any_of(trailers.begin(), trailers.end(), may_be_trailer);
  x.direct_trailers = &trailers;
  send_body(x, {}, true);
  if (std::exchange(x.direct_trailers, nullptr) == nullptr || x.dead) return;
  for (const Header& h : trailers)
    if (may_be_trailer(h)) x.out_trailers.add(h.name, h.value);
}

ssize_t Http2Codec::read_body(Http2Exchange& x, size_t length, uint32_t& flags) {
  size_t there = x.pending.size() + x.direct.size();
  if (there == 0 && !x.local_ended) {
    x.deferred = true;
    return NGHTTP2_ERR_DEFERRED;
  }
  size_t n = std::min(there, length);
  flags |= NGHTTP2_DATA_FLAG_NO_COPY;
  if (n < there || !x.local_ended) return static_cast<ssize_t>(n);
  flags |= NGHTTP2_DATA_FLAG_EOF;
  if (x.has_trailers) {
    Block block;
    const HeaderList* trailers = std::exchange(x.direct_trailers, nullptr);
    for (const Header& h : trailers ? *trailers : x.out_trailers)
      if (may_be_trailer(h)) block.add_field(h);
    if (nghttp2_submit_trailer(session_, x.id, block.data(), block.size()) == 0)
      flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
  }
  return static_cast<ssize_t>(n);
}

int Http2Codec::write_data(Http2Exchange& x, const uint8_t* frame_head, size_t length) {
  out_.out.append(frame_head, 9);
  size_t from_pending = std::min(length, x.pending.size());
  for (size_t n = from_pending; n > 0;) {
    std::span<const uint8_t> piece = x.pending.front();
    size_t part = std::min(n, piece.size());
    out_.out.append(piece.data(), part);
    x.pending.consume(part);
    n -= part;
  }
  pending_bytes_ -= from_pending;
  if (length > from_pending) {
    out_.out.append(x.direct.data(), length - from_pending);
    x.direct = x.direct.subspan(length - from_pending);
  }
  x.moved += static_cast<uint32_t>(length);
  if (x.pending.empty()) x.waiting_ms = 0;
  if (x.blocked) tell_ = true;
  abuse_.sent_data(length);
  return 0;
}

int Http2Codec::on_frame_sent(const nghttp2_frame& frame) {
  switch (frame.hd.type) {
    case NGHTTP2_HEADERS: abuse_.sent_head(); [[fallthrough]];
    case NGHTTP2_DATA:
      if (!(frame.hd.flags & NGHTTP2_FLAG_END_STREAM)) break;
      if (Http2Exchange* x = find(frame.hd.stream_id)) {
        x->local_sent = true;
        if (!x->dead) after_end_sent(*x);
      }
      break;
    case NGHTTP2_RST_STREAM:
      switch (frame.rst_stream.error_code) {
        case NGHTTP2_PROTOCOL_ERROR:
        case NGHTTP2_FLOW_CONTROL_ERROR:
        case NGHTTP2_STREAM_CLOSED:
        case NGHTTP2_FRAME_SIZE_ERROR:
        case NGHTTP2_REFUSED_STREAM:
        case NGHTTP2_ENHANCE_YOUR_CALM:
          events_.on_event(CodecEvent::kOwnReset);
          if (!done() && !abuse_.own_reset(events_.now_ms()))
            flood(CodecEvent::kOwnResetFlood, "too many streams that had to be reset");
          break;
        default:
          break;
      }
      break;
    case NGHTTP2_GOAWAY:
      goaway_code_ = frame.goaway.error_code;
      goaway_error_ = goaway_code_ != NGHTTP2_NO_ERROR;
      break;
    default:
      break;
  }
  return 0;
}

// The peer said GOAWAY, or the ids ran out, after the request was noted.
int Http2Codec::on_frame_not_sent(const nghttp2_frame& frame) {
  if (frame.hd.type != NGHTTP2_HEADERS || frame.headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
  if (Http2Exchange* x = find(frame.hd.stream_id)) x->unsent = true;
  return 0;
}

// nghttp2 ends the whole connection for one stream beyond the limit, where RFC 9113 5.1.2 wants that stream
// refused, so it does not know the limit: it is written into our SETTINGS on their way out, and
// on_block_begin() counts.
void Http2Codec::say_hello(std::span<const uint8_t> frames) {
  hello_said_ = true;
  std::vector<uint8_t> copy(frames.begin(), frames.end());
  const bool settings = role_ == Role::kServer && copy.size() >= 9 && copy[3] == NGHTTP2_SETTINGS;
  const size_t length = settings ? size_t{copy[0]} << 16 | size_t{copy[1]} << 8 | copy[2] : 0;
  for (size_t at = 9; at + 6 <= std::min(copy.size(), 9 + length); at += 6) {
    if (copy[at] != 0 || copy[at + 1] != NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) continue;
    for (size_t i = 0; i < 4; ++i)
      copy[at + 2 + i] = static_cast<uint8_t>(options_.http2.streams_max >> (24 - 8 * i));
  }
  out_.out.append(copy.data(), copy.size());
}

void Http2Codec::build_frames() {
  if (in_session_ || broken_ || memory_failed) return;
  in_session_ = true;
  const uint8_t* bytes = nullptr;
  ssize_t n = 0;
  while (!broken_ && (n = nghttp2_session_mem_send(session_, &bytes)) > 0) {
    if (hello_said_)
      out_.out.append(bytes, static_cast<size_t>(n));
    else
      say_hello({bytes, static_cast<size_t>(n)});
  }
  in_session_ = false;
  if (!out_.out.empty()) out_.wrote();
  if (n < 0 && !memory_failed)
    break_connection(Reason::kInternal, NGHTTP2_INTERNAL_ERROR, nghttp2_strerror(static_cast<int>(n)));
}

void Http2Codec::produce() {
  // Sinks that hear of room send what they kept, at the latest when the Scope ends. The transport is being
  // collected and will not be again for that, so it is built here too. None of them waits for more than is in
  // memory already.
  size_t before;
  try {
    do {
      if (done() || transport_blocked_) return;
      before = out_.out.size();
      Scope scope(*this);
      build_frames();
      if (!done() && goaway_error_) after_input();
    } while (!done() && nghttp2_session_want_write(session_) && out_.out.size() != before);
  } catch (const std::bad_alloc&) {
    out_of_memory();
  }
}

bool Http2Codec::write_blocked(const Http2Exchange& x) const { return x.blocked || transport_blocked_; }

// Many streams of one connection that stand still share its memory: then each may hold little.
void Http2Codec::update_blocked(Http2Exchange& x) {
  size_t high = pending_bytes_ > options_.http2.pending_bytes_max ? kCrowdedBytes : kStreamBytes;
  size_t held = x.pending.size();
  bool blocked = transport_blocked_ || held > (x.blocked ? high / 4 : high);
  if (blocked == x.blocked) return;
  if (in_session_) {
    tell_ = true;
    return;
  }
  x.blocked = blocked;
  if (x.sink && !x.dead) x.sink->on_write_blocked(blocked);
}

void Http2Codec::tell_blocked() {
  Walk all(*this);
  while (Http2Exchange* x = all.next())
    if (x->sink && !x->dead) update_blocked(*x);
}

void Http2Codec::on_write_blocked(bool blocked) {
  Scope scope(*this);
  transport_blocked_ = blocked;
  if (done()) return;
  tell_blocked();
  if (!blocked) want_send();
}

// --- Deadlines ---------------------------------------------------------------------------------------------

void Http2Codec::watch_output(Http2Exchange& x) {
  if (x.waiting_ms) return;
  x.waiting_ms = std::max<uint64_t>(events_.now_ms(), 1);
  x.moved = 0;
}

// A peer that opens its window by a byte now and then holds our memory for nothing: so much must move in each
// period. Not while the transport is full, which the owner watches.
int64_t Http2Codec::tick() {
  if (done()) return -1;
  Scope scope(*this);
  uint64_t now = events_.now_ms();
  const Http2Options& o = options_.http2;
  auto passed = [now](uint64_t since, int64_t limit) {
    return limit > 0 && since != 0 && now >= since + static_cast<uint64_t>(limit);
  };
  if (role_ == Role::kClient && !peer_ready_ &&
      passed(std::max<uint64_t>(started_ms_, 1), o.settings_timeout_ms)) {
    fail(Reason::kUpstreamProtocolError);
    return -1;
  }
  Walk all(*this);
  while (Http2Exchange* x = all.next()) {
    if (x->dead) continue;
    if (passed(x->waiting_ms, o.stall_timeout_ms)) {
      bool stalled = !transport_blocked_ && x->moved < kProgressBytes;
      x->waiting_ms = std::max<uint64_t>(now, 1);
      x->moved = 0;
      if (stalled) {
        events_.on_event(CodecEvent::kStreamStalled);
        events_.on_event(CodecEvent::kGlitch);
        abort_stream(*x, NGHTTP2_CANCEL);
        tell_end(*x, role_ == Role::kClient ? Reason::kUpstreamWriteStall : Reason::kWriteStall);
      }
    } else if (role_ == Role::kServer && x->sink && !x->remote_ended && !x->head_sent && !x->paused &&
               !x->connect && passed(x->received_ms, o.body_timeout_ms)) {
      events_.on_event(CodecEvent::kStreamStalled);
      on_body_stalled(*x);
    } else if (role_ == Role::kServer && (x->released || x->given_up) && x->local_sent && !x->remote_ended &&
               passed(x->received_ms, o.body_timeout_ms)) {
      abort_stream(*x, NGHTTP2_NO_ERROR);  // its body was complete, its end never came
    }
  }
  int64_t next = -1;
  for (int64_t limit : {o.stall_timeout_ms, role_ == Role::kServer ? o.body_timeout_ms : 0,
                        role_ == Role::kClient && !peer_ready_ ? o.settings_timeout_ms : 0})
    if (limit > 0 && (next < 0 || limit < next)) next = limit;
  if (next >= 0) next = std::max<int64_t>(next / 2, 1);
  const int64_t own = tick_role(now);
  return own >= 0 && (next < 0 || own < next) ? own : next;
}

void Http2Codec::flood(CodecEvent event, std::string_view text) {
  if (done()) return;
  events_.on_event(event);
  break_connection(Reason::kAbuse, NGHTTP2_ENHANCE_YOUR_CALM, text);
}

uint32_t code_of_reason(Reason reason) {
  switch (reason) {
    case Reason::kDownstreamReset:
    case Reason::kDownstreamTruncated:
    case Reason::kUpstreamTimeout:
    case Reason::kUpstreamCancelled:
    case Reason::kCallerTimeout:
    case Reason::kTryTimeout:
    case Reason::kStreamIdleTimeout:
    case Reason::kUpstreamIdleTimeout:
    case Reason::kBodyTimeout:
    case Reason::kDraining:
    case Reason::kNone:
    case Reason::kUpstreamStatus: return NGHTTP2_CANCEL;
    case Reason::kUpstreamRefused:
    case Reason::kStreamsOverflow:
      return NGHTTP2_REFUSED_STREAM;
    case Reason::kMalformed:
      return NGHTTP2_PROTOCOL_ERROR;
    case Reason::kBodyTooLarge:
      return NGHTTP2_NO_ERROR;
    default:
      return NGHTTP2_INTERNAL_ERROR;
  }
}

}  // namespace dragoman::http2

namespace dragoman {

std::unique_ptr<ConnectionCodec> make_http2_codec(const Protocol&, Role role, ByteSink& out,
                                                  ConnectionEvents& events, const CodecOptions& options) {
  const bool others = std::exchange(http2::memory_failed, false);
  std::unique_ptr<ConnectionCodec> codec;
  try {
    codec = role == Role::kServer ? http2::make_server(out, events, options)
                                  : http2::make_client(out, events, options);
  } catch (const std::bad_alloc&) {
    http2::memory_failed = others;
    throw;
  }
  if (std::exchange(http2::memory_failed, others)) throw std::bad_alloc();
  return codec;
}

size_t live_http2_exchanges() { return ObjectPool<http2::Http2Exchange>::live(); }

}  // namespace dragoman
