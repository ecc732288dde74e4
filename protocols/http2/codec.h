// What both roles of an HTTP/2 connection share: the nghttp2 session, the exchange object, windows, and
// output.
#pragma once

#include <nghttp2/nghttp2.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "protocols/exchange.h"
#include "protocols/http/triple.h"
#include "protocols/http2/abuse.h"
#include "protocols/http2/closed_streams.h"
#include "protocols/http2/fields.h"
#include "protocols/http2/frame_watch.h"
#include "protocols/http2/memory.h"
#include "proxy/base/intrusive_list.h"

namespace dragoman::http2 {

class Http2Codec;

/// One stream. Lives until it was released and nghttp2 is done with the stream.
class Http2Exchange final : public Exchange, public ListLink<Http2Exchange> {
 public:
  explicit Http2Exchange(Http2Codec& owner) : codec(&owner) {}

  Reason send_head(Head& message, bool end) override;
  void send_body(std::span<const uint8_t> chunk, bool end) override;
  void send_trailers(HeaderList& list) override;
  void send_reply(const Head& request, const LocalReply& reply) override;
  void reset(Reason reason) override;
  void pause_reading() override;
  void resume_reading() override;
  void release() override;
  size_t buffered_bytes() const override { return pending.size(); }
  bool write_blocked() const override;

  Http2Codec* codec;            // null once the connection is gone
  MessageSink* sink =
      nullptr;  // who is owed an end: null before a request's head is complete, and when nothing more is to be told
  Http2Exchange* next = nullptr;  // in the list of those to be freed
  int32_t id = -1;              // of the stream; -1 before the request is sent

  // What the peer sends.
  bool head_done = false;       // its final head came
  bool remote_ended = false;
  bool paused = false;
  bool peer_reset = false;
  bool too_large = false;       // its fields are over a limit; the rest is counted, not kept
  const char* bad = nullptr;    // why the head is malformed
  uint8_t interim = 0;          // 1xx heads received
  size_t unconsumed = 0;        // delivered, window not given back
  size_t lent = 0;              // of that: given back for the connection, so that others go on
  size_t charged = 0;           // what its head counts in held_bytes_
  uint64_t body_bytes = 0;
  uint64_t received_ms = 0;     // server role: when its head or the last of its body came

  // What we send.
  bool head_sent = false;       // the final head was submitted
  bool local_ended = false;     // the end was noted
  bool local_sent = false;      // the end is in the output
  bool drop_body = false;       // HEAD, 204 ...: the body is not sent
  bool deferred = false;        // nghttp2 waits for resume_data
  bool blocked = false;         // what the sink was told
  bool has_trailers = false;
  int64_t left = -1;            // of the Content-Length that was sent, -1: none was
  uint64_t waiting_ms = 0;      // since when bytes wait for window, 0: none do
  uint32_t moved = 0;           // bytes sent since then

  // The life.
  bool held = false;            // somebody has it and will release it
  bool released = false;
  bool given_up = false;        // server role: its request's body is not wanted any more
  bool dead = false;            // reset by either side: calls are ignored
  bool stream_closed = false;   // nghttp2 has forgotten it
  bool to_head = false;         // the request's method is HEAD
  bool connect = false;         // extended CONNECT
  bool unsent =
      false;  // client role: its head could not be sent any more, so that nobody has seen the request
  uint64_t due_ms = 0;          // client role: when the deadline that goes with the call ends, 0: none does
  bool websocket_key = false;   // server role: the request had a Sec-WebSocket-Key of its own
  bool grpc = false;            // the request's content type says so
  triple::Envelopes envelopes;  // of the answer to a call of Triple's HTTP face

  ByteChain pending{MemoryOwner::kAnswers};  // to be sent
  std::span<const uint8_t> direct;  // after `pending`; the caller's memory, during send_body only
  const HeaderList* direct_trailers = nullptr;  // the caller's, during send_trailers only; else `out_trailers`

  bool cookie = false;        // `head` has one, to which further crumbs are added
  std::string_view protocol;  // :protocol
  std::string_view websocket_accept;  // what answers the request's Sec-WebSocket-Key
  Head head;                  // received
  HeaderList trailers{head.arena, 4};  // few, so that a call's fields stay within the arena's first bytes
  HeaderList out_trailers{head.arena, 4};
};

class Http2Codec : public ConnectionCodec, private ByteSource {
 public:
  ~Http2Codec() override;
  void on_data(uint8_t* data, size_t n) final;
  void on_eof() final;
  void on_transport_closed(Reason reason) final;
  void on_write_blocked(bool blocked) final;
  uint32_t open_exchanges() const final { return slots_; }
  ReadPhase phase() const final;
  void fail(Reason reason) final;
  bool heartbeat() final;
  uint32_t heartbeats_missed() const final { return pings_unanswered_; }
  void farewell() final;
  int64_t tick() final;

  // The exchange's methods arrive here; `x` is alive, and nothing is called for dead ones but release.
  virtual Reason send_head(Http2Exchange& x, Head& message, bool end) = 0;
  virtual void send_reply(Http2Exchange& x, const LocalReply& reply) = 0;
  void send_body(Http2Exchange& x, std::span<const uint8_t> chunk, bool end);
  void send_trailers(Http2Exchange& x, const HeaderList& trailers);
  void reset(Http2Exchange& x, Reason reason);
  void set_paused(Http2Exchange& x, bool paused);
  void release(Http2Exchange& x);
  bool write_blocked(const Http2Exchange& x) const;

 protected:
  /// The exchange of a stream that nghttp2 has; null when there is none. Mostly it is the one that was asked for
  /// before.
  Http2Exchange* find(int32_t id) {
    if (!found_ || found_->id != id || found_->stream_closed)
      found_ = static_cast<Http2Exchange*>(nghttp2_session_get_stream_user_data(session_, id));
    return found_;
  }

  Http2Codec(Role role, ByteSink& out, ConnectionEvents& events, const CodecOptions& options);

  /// Around everything that may call out: freed exchanges stay in memory, and the owner hears of room and of
  /// the end, until no method of this codec is on the stack.
  class Scope {
   public:
    explicit Scope(Http2Codec& codec) : codec_(codec) {
      if (++codec_.depth_ == 1) others_ = std::exchange(memory_failed, false);
    }
    ~Scope() {
      if (codec_.depth_ == 1) {
        codec_.settle_or_break();
        memory_failed = others_;
      }
      --codec_.depth_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Http2Codec& codec_;
    bool others_ = false;  // memory_failed of a connection further down the stack
  };

  // Roles fill in:
  /// A header block begins; sets current_ (null: its fields are nobody's).
  virtual void on_block_begin(const nghttp2_frame& frame) = 0;
  /// A head is complete and well-formed for nghttp2.
  virtual void on_message_head(Http2Exchange& x, bool end) = 0;
  /// Everything from the peer is there, and its sink is about to hear so.
  virtual void on_message_end(Http2Exchange& x) {}
  /// The reason for the sink of an exchange whose stream ended with `code`.
  virtual Reason reason_of_code(const Http2Exchange& x, uint32_t code) const = 0;
  /// The request's body stands still and nothing was answered.
  virtual void on_body_stalled(Http2Exchange& x) {}
  /// The stream of `x` is closed; its sink, if any, will be told.
  virtual void after_close(Http2Exchange& x, uint32_t code) {}
  /// More body came than the limit allows; `x` may have a sink.
  virtual void on_body_too_large(Http2Exchange& x) = 0;
  virtual void on_settings() {}
  virtual void on_peer_goaway() = 0;
  /// Answers to the ping that drain() sent.
  virtual void on_drain_ping() {}
  /// What else is done when time has passed: milliseconds until it has to be called again at the latest, -1:
  /// whenever.
  virtual int64_t tick_role(uint64_t now) { return -1; }
  /// The sink of `x` is gone: what becomes of the stream.
  virtual void after_release(Http2Exchange& x) = 0;
  virtual void after_end_sent(Http2Exchange& x) {}
  /// Last thing before the stack is unwound.
  virtual void settled() = 0;

  Http2Exchange* create_exchange();
  /// Frees `x` when the stack is unwound. Its stream must be closed, or never have been.
  void retire(Http2Exchange& x);
  /// The one way in which a sink hears that its exchange ended by a reset: once, and never after both
  /// messages were complete.
  void tell_end(Http2Exchange& x, Reason reason);
  /// Gives the request to the owner; false when it does not take it.
  bool accept(Http2Exchange& x, bool end);
  /// Queues RST_STREAM; nothing more is read or sent. The sink has yet to be told.
  void abort_stream(Http2Exchange& x, uint32_t code);
  /// Has nghttp2 frames to build.
  void want_send() {
    if (!transport_blocked_) out_.wrote();
  }
  /// Says GOAWAY, marks broken, resets the exchanges, tells the owner.
  void break_connection(Reason reason, uint32_t code, std::string_view text);
  void finish();
  /// Ends a connection that costs more than it may.
  void flood(CodecEvent event, std::string_view text);
  bool done() const { return broken_ || finished_; }
  bool is_open(const Http2Exchange& x) const { return !broken_ && !x.dead; }
  size_t pending_bytes() const { return pending_bytes_; }
  bool idle_output() const { return nghttp2_session_want_write(session_) == 0; }
  /// Notes the end of x's output, and wakes nghttp2.
  void resume(Http2Exchange& x);
  /// Builds the frames of a message that is complete, unless that has to wait. Whatever a stream's end brings
  /// may happen.
  void build_complete() {
    if (!in_session_ && !transport_blocked_) build_frames();
  }
  void produce() override;

  ByteSink& out_;
  ConnectionEvents& events_;
  const CodecOptions options_;
  const Role role_;
  nghttp2_session* session_ = nullptr;
  Abuse abuse_;
  const uint64_t started_ms_;
  Http2Exchange* current_ = nullptr;  // whose header block is being read
  uint32_t continuations_ = 0;
  uint32_t block_fields_ = 0;         // of that block, also when it is nobody's
  uint64_t block_bytes_ = 0;
  uint64_t pieces_bytes_ = 0;         // of a value that is put together
  std::string cookies_;               // of that block, when they came in crumbs
  size_t held_bytes_ = 0;             // what heads of exchanges take
  size_t lent_bytes_ = 0;             // what exchanges that stand still hold beyond the connection's window
  uint32_t slots_ = 0;                // exchanges with memory
  bool broken_ = false;
  bool finished_ = false;
  bool eof_ = false;
  bool draining_ = false;
  bool peer_ready_ = false;           // its SETTINGS came
  bool in_session_ = false;           // nghttp2 is on the stack
  bool room_ = false;                 // capacity() may have grown

 private:
  friend struct Callbacks;

  // From nghttp2; see session.cc.
  int on_begin_frame(const nghttp2_frame_hd& hd);
  int on_begin_headers(const nghttp2_frame& frame);
  int on_header(std::string_view raw_name, std::string_view raw_value, bool valid);
  int on_frame(const nghttp2_frame& frame);
  void on_goaway();
  int on_chunk(int32_t id, std::span<const uint8_t> chunk);
  int on_stream_close(int32_t id, uint32_t code);
  int on_frame_sent(const nghttp2_frame& frame);
  int on_frame_not_sent(const nghttp2_frame& frame);
  ssize_t read_body(Http2Exchange& x, size_t length, uint32_t& flags);
  int write_data(Http2Exchange& x, const uint8_t* frame_head, size_t length);

  void on_head_end(Http2Exchange& x, bool end);
  void deliver_end(Http2Exchange& x);
  void consume(int32_t id, size_t n);
  void give_back(Http2Exchange& x);
  bool feed(const uint8_t* data, size_t n);
  bool join_pieces(Http2Exchange* x, std::string_view& name, std::string_view& value, bool& valid);
  void add_crumb(const Http2Exchange& x, std::string_view value);
  /// False when the header block is over a limit.
  bool check_block(Http2Exchange* x) {
    return (block_fields_ <= options_.http1.headers_max && block_bytes_ <= options_.http1.header_bytes_max) ||
           over_block(x);
  }
  bool over_block(Http2Exchange* x);
  uint32_t continuations_max() const;
  void on_data_frame(uint32_t id);
  void on_late_frame(const nghttp2_frame_hd& hd, uint32_t& weight);
  void say_hello(std::span<const uint8_t> frames);
  void drop_pending(Http2Exchange& x);
  void update_blocked(Http2Exchange& x);
  void tell_blocked();
  void reset_all(Reason reason, Reason cut);
  void build_frames();
  void write_goaway(uint32_t code);
  void after_input();
  void watch_output(Http2Exchange& x);
  void settle();
  void settle_or_break();
  void out_of_memory();
  void reap();
  int verdict() const { return done() ? NGHTTP2_ERR_CALLBACK_FAILURE : 0; }

  /// Visits every exchange, whatever the visited ones do: to each other, to the connection, or by a walk of
  /// their own.
  struct Walk {
    explicit Walk(Http2Codec& c) : codec(c), outer(std::exchange(c.walk_, this)) {
      rest.splice(c.exchanges_);
    }
    ~Walk() {
      codec.exchanges_.splice(rest);
      codec.walk_ = outer;
    }
    Http2Exchange* next() {
      Http2Exchange* x = rest.pop_front();
      if (x) codec.exchanges_.push_back(*x);
      return x;
    }
    Http2Codec& codec;
    Walk* const outer;
    IntrusiveList<Http2Exchange, Http2Exchange> rest;
  };

  IntrusiveList<Http2Exchange, Http2Exchange> exchanges_;
  Walk* walk_ = nullptr;  // the innermost
  Http2Exchange* found_ = nullptr;  // by find()
  Http2Exchange* retired_ = nullptr;
  size_t pending_bytes_ = 0;          // of all exchanges
  uint32_t depth_ = 0;                // of Scopes
  uint32_t pings_unanswered_ = 0;
  uint32_t goaway_code_ = 0;          // of a GOAWAY that nghttp2 sent
  bool goaway_error_ = false;         // it had an error code
  bool head_open_ = true;             // the preface or a header block is incomplete
  bool transport_blocked_ = false;
  bool hello_said_ = false;  // our first SETTINGS are in the output
  uint32_t highest_id_ = 0;  // that the client has opened
  FrameWatch watch_;
  ClosedStreams closed_;
  bool tell_ = false;                 // some sinks are to be told that they may write
  static constexpr size_t kStreamBytes = 64 * 1024;   // of one exchange, before its sink is told to stop
  static constexpr size_t kCrowdedBytes = 4 * 1024;   // the same, when the connection holds much
  static constexpr uint32_t kProgressBytes = 1024;    // a reader takes at least so much in stall_timeout
  static constexpr size_t kCrumbsKept =
      1024;  // memory for cookies that a connection keeps for its next request
  static constexpr uint32_t kSharedBombFactor = 64;   // the same of a backend's
  static constexpr uint32_t kBombFactor = 4;          // a head over its limits so many times is an attack
};

std::unique_ptr<ConnectionCodec> make_server(ByteSink& out, ConnectionEvents& events, const CodecOptions& options);
std::unique_ptr<ConnectionCodec> make_client(ByteSink& out, ConnectionEvents& events, const CodecOptions& options);

/// The error code that tells the peer about `reason`.
uint32_t code_of_reason(Reason reason);

}  // namespace dragoman::http2
