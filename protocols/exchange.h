// The one exchange model of every protocol, and the interface a connection's codec implements.
//
// A codec sits between one transport and the engine. In the server role it faces a client (downstream), in the client
// role a backend (upstream). An exchange is one request and its answer: a head, body chunks, trailers, an end or a
// reset, in each direction. Either side may open exchanges (server-initiated requests), answers may stream, one-way
// exchanges have no answer.
//
//   bytes -> ConnectionCodec::on_data -> ConnectionEvents::on_exchange -> MessageSink (head, body, trailers, reset)
//   Exchange::send_* -> bytes appended to the ByteSink
//
// Nobody above this interface knows a protocol's name.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "protocols/head.h"
#include "proxy/base/buffer.h"
#include "proxy/base/reason.h"

namespace dragoman {

/// Receives one direction of one exchange. Order: on_head (HTTP interim 1xx heads first, any number), then on_body any
/// number of times, then the end: `end` = true on the last of them, or on_trailers. on_reset can come at any time and
/// is the last call. After the end only on_reset may follow (when the other direction breaks).
class MessageSink {
 public:
  virtual void on_head(Head& head, bool end) = 0;
  /// `chunk` is valid during the call only.
  virtual void on_body(std::span<const uint8_t> chunk, bool end) = 0;
  /// Implies the end. `trailers` live as long as the exchange.
  virtual void on_trailers(HeaderList& trailers) = 0;
  /// The exchange was aborted by the peer, the connection or the codec. Nothing more will come or be accepted.
  virtual void on_reset(Reason reason) = 0;
  /// The output of the connection, or of this exchange alone, went over its high watermark (true) or back under the low one
  /// (false).
  virtual void on_write_blocked(bool blocked) = 0;

 protected:
  ~MessageSink() = default;
};

/// An answer made by us, in the caller's own protocol.
struct LocalReply {
  Reason reason = Reason::kInternal;
  uint32_t http_status = 0;            // 0 = the reason's
  std::string_view text;               // short, for humans
  std::string_view content_type;       // HTTP only; default text/plain
  std::span<const Header> headers;     // HTTP only: extra fields (location ...)
  std::string_view tell;               // framed: a header kReasonHeader where the answer has room for one
  bool close = false;                  // the connection can't go on after it

  uint32_t status() const { return http_status != 0 ? http_status : reason_row(reason).http_status; }
  /// The reason's, unless the maker of the reply chose another HTTP status: then what that means.
  uint32_t grpc_status() const {
    const ReasonRow& row = reason_row(reason);
    return status() == row.http_status ? row.grpc_status : grpc_status_of_http(status());
  }
};

/// The codec's handle for one exchange on one connection. Created by the codec, given back by release(). Calls after
/// the peer reset it are ignored, so the holder needs no flags.
class Exchange {
 public:
  /// Sends a head. Server role: status 100..199 other than 101 is interim and may be followed by another head.
  /// Returns kNone, or why it could not be encoded (nothing was written then, and the connection is intact).
  virtual Reason send_head(Head& head, bool end) = 0;
  virtual void send_body(std::span<const uint8_t> chunk, bool end) = 0;
  virtual void send_trailers(HeaderList& trailers) = 0;
  /// Server role: complete answer made here. Only while nothing of a final answer was written (a protocol that collects its
  /// frames may still take it after send_head()); otherwise it acts like reset().
  /// `request` is the exchange's own request head.
  virtual void send_reply(const Head& request, const LocalReply& reply) = 0;
  /// Aborts: a stream reset where the protocol has one, else closing the connection if a message is half sent.
  /// No callbacks follow.
  virtual void reset(Reason reason) = 0;
  /// Flow control of what the peer sends in this exchange. Idempotent. Codecs without per-exchange flow control pause
  /// the connection when it is exclusive to this exchange, or while any of its exchanges is paused (server role).
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;
  /// The holder is done with the exchange and everything in its heads. Must be called exactly once; before both
  /// directions ended it implies reset(). No callbacks follow.
  virtual void release() = 0;
  /// Client role, before send_head(): the holder reads or edits this much of the answer's head. Only codecs whose heads
  /// may stop early care; later answers of the connection may then have more than was asked for.
  virtual void want_answer(Want) {}
  /// Server role, before send_head(): the peer waits for no answer, although its request does not say so. Only codecs of
  /// framed protocols need to know.
  virtual void no_answer() {}
  /// Whether the sink was last told on_write_blocked(true); codecs whose exchanges have windows of their own.
  virtual bool write_blocked() const { return false; }
  /// Bytes of this exchange accepted for sending but not yet given to the transport.
  virtual size_t buffered_bytes() const { return 0; }

 protected:
  ~Exchange() = default;
};

/// Things worth counting that no exchange reports.
enum class CodecEvent : uint8_t {
  kHeartbeatAnswered,
  kHeartbeatAck,         // an answer to one of ours
  kHeartbeatUnexpected,  // an answer nobody asked for
  kUnknownId,            // an answer for no exchange, dropped
  kLateAnswer,           // an answer for an exchange that ended (timeout), dropped
  kOneWayAnswered,       // an answer to a one-way request, dropped
  kDuplicateId,          // a client re-used an id in flight
  kGoAway,
  kStreamsOverflow,     // a request over the connection's limit, answered by the codec
  kUnsupported,         // a request of an unknown version or command, answered by the codec
  kGlitch,              // something odd that the protocol tolerates; many of them are no accident
  kPeerReset,           // the peer reset a stream
  kOwnReset,            // what the peer sent made us reset a stream
  kResetFlood,          // too many of the peer's resets: the connection ends
  kOwnResetFlood,       // too many resets that the peer made us send: the connection ends
  kControlFlood,        // too many frames that carry nothing: the connection ends
  kAckFlood,            // too many answers to such frames unread: the connection ends
  kHeadFlood,           // a head far over its limits: the connection ends
  kGlitchFlood,         // too many glitches: the connection ends
  kStreamStalled,       // a stream whose reader does not read, or whose writer does not write, was reset
  kBodyUnread,          // what lies in a request's body was wanted, and the body could not be read
  kEditSkipped,         // headers should have been changed, and the message has no place for them: it passes as it came
  kHeadersOverflow,     // a framed message with more headers than its limit: refused
  kHeadersContradict,   // a framed request that has a header twice, with different values: refused
  kIdsSpent,            // too many ids wait for late answers: another connection takes over
  kAnswersHeld,         // answers that wait for their turn are many: reading pauses
  kAnswerRefused,       // the peer doesn't read and enough is kept for it: an error instead of an answer
  kRequestWithdrawn,    // given up before a byte of it left: taken out of what is to be sent
  kEndUntold,           // a connection ended and its codec had not said so to an exchange: the codec's fault
  kFieldDropped,        // a field that would not be read the same by everybody was left out
};
inline constexpr int kCodecEventCount = 30;

/// Implemented by the owner of a connection. All calls come from inside ConnectionCodec's methods.
class ConnectionEvents {
 public:
  /// The peer opened an exchange. Returns the sink for what the peer sends; the owner must release() the exchange
  /// later. Null refuses it: the codec drops the exchange itself.
  virtual MessageSink* on_exchange(Exchange& exchange) = 0;
  /// The peer will take no more exchanges (GOAWAY, Connection: close). Open ones go on.
  virtual void on_goaway() = 0;
  /// The connection can't go on. The codec has written what should still be sent, has reset its exchanges and will
  /// ignore further bytes; the owner must close after flushing.
  virtual void on_broken(Reason reason, std::string_view detail) = 0;
  /// Everything the protocol wanted to say is said (last answer of a closing connection): close after flushing.
  virtual void on_finished() = 0;
  /// Nothing more will be written, but reading goes on (a half-closed tunnel): send FIN after flushing.
  virtual void on_output_end() {}
  /// An exchange ended and capacity() may have grown.
  virtual void on_capacity() = 0;
  /// Client role: no more exchanges here, without any fault of the peer's; open ones go on. Comes once.
  virtual void on_spent() {}
  /// Bidirectional pause of the transport's reading, by reason bit (kPauseCodec is the codec's own).
  virtual void pause_reading() = 0;
  virtual void resume_reading() = 0;
  virtual void on_event(CodecEvent event) = 0;
  /// The codec refused one exchange (answered it or reset it) that nobody had heard of; the connection goes on.
  virtual void on_refused(Reason reason, std::string_view detail) {}
  /// Loop time, milliseconds.
  virtual uint64_t now_ms() const = 0;

 protected:
  ~ConnectionEvents() = default;
};

/// What the codec is waiting for; the owner arms the matching deadline.
enum class ReadPhase : uint8_t {
  kIdle,   // between messages
  kHead,   // inside a head (or a frame's fixed part)
  kBody,   // inside a body
};

enum class Role : uint8_t { kServer, kClient };

/// One per connection. Owns partial input, its exchanges, and the protocol's connection state.
class ConnectionCodec {
 public:
  /// Bytes before `data` that on_data may overwrite (so that a kept prefix can be put in front without a copy).
  static constexpr size_t kHeadroom = 128 * 1024;

  virtual ~ConnectionCodec() = default;
  /// Consumes all `n` bytes (keeping a copy of what it can't use yet). `data` is writable and preceded by kHeadroom
  /// writable bytes.
  virtual void on_data(uint8_t* data, size_t n) = 0;
  /// The peer sent its FIN.
  virtual void on_eof() = 0;
  /// The transport is gone: resets every exchange with `reason` (a truncated message gets the truncated reason).
  virtual void on_transport_closed(Reason reason) = 0;
  /// The transport's output crossed its watermarks: codecs tell their exchanges' sinks.
  virtual void on_write_blocked(bool blocked) = 0;
  /// Opens an exchange towards the peer; answers go to `answers`. Null when none can be opened now.
  virtual Exchange* open(MessageSink& answers) = 0;
  /// How many exchanges can be opened now (0 when the peer is going away or the codec is broken).
  virtual uint32_t capacity() const = 0;
  /// Exchanges not yet released, or released and not yet sent completely.
  virtual uint32_t open_exchanges() const = 0;
  virtual ReadPhase phase() const = 0;
  /// The connection is over inside a message that we send: it must end with a reset, lest the peer take the message for complete
  /// (the only end of some is the connection's). True from on_broken() or on_transport_closed() on.
  virtual bool cut() const { return false; }
  /// A deadline of the owner passed: answers in the protocol if it can, then on_broken(reason).
  virtual void fail(Reason reason) = 0;
  /// The owner closes a quiet connection after flushing: what the protocol says at such an end is to be written now.
  virtual void farewell() {}
  /// Starts the protocol's graceful close (Connection: close on the next answer, GOAWAY). Open exchanges go on;
  /// on_finished() is called when the last one ended and the protocol says the peer must stop.
  virtual void drain() = 0;
  /// Looks after deadlines of the codec's own, at least as often as it asked for. Milliseconds until the next look, -1: none.
  virtual int64_t tick() { return -1; }
  /// Server role: requests that come from now on have kHopsHeader among their headers if the peer sent it, even when no headers
  /// are wanted otherwise. Only framed protocols need to be told.
  virtual void find_hops() {}
  /// Sends a heartbeat; false when the protocol has none.
  virtual bool heartbeat() { return false; }
  /// Heartbeats sent and not yet answered.
  virtual uint32_t heartbeats_missed() const { return 0; }
};

/// Field names with underscores, which some servers take for hyphens: left out, refused, or passed on.
enum class Underscores : uint8_t { kDrop, kRefuse, kPass };

struct Http1Options {
  uint32_t header_bytes_max = 64 * 1024;
  uint32_t headers_max = 100;
  uint32_t uri_bytes_max = 8 * 1024;
  uint64_t body_bytes_max = 0;        // 0 = no limit
  bool normalize_path = true;
  bool encoded_slashes = true;        // %2f and %5c in paths pass as they are
  bool backslashes = false;           // so does a backslash
  Underscores underscores = Underscores::kDrop;  // client role
  bool allow_trace = false;
  bool allow_websocket = true;
  bool allow_h2c = false;             // HTTP/1 server role: Upgrade: h2c
  size_t pending_bytes_max = 256 * 1024;  // HTTP/1 server role: beyond so much unsent the next request waits
};

/// Which pool shape an upstream connection of a framed protocol serves.
enum class PoolMode : uint8_t { kMultiplex, kPingPong, kBound };

struct FramedOptions {
  uint64_t frame_bytes_max = 16 << 20;
  uint32_t streams_max = 10000;               // open exchanges per connection
  uint32_t heartbeats_per_second_max = 1000;
  uint32_t headers_max = 256;                 // of one message, where they are read
  bool goaway = false;                        // say goaway when draining
  bool refuse_unread = false;                 // requests whose body was wanted and could not be read
  bool verify_checksums = true;
  PoolMode mode = PoolMode::kMultiplex;       // client role; kBound: ids pass through, order kept, both directions
  uint32_t variant = 0;                       // client role: the variant all requests on this connection have
  Want want = 0;                              // what view() must give; client role: see Exchange::want_answer()
  uint64_t id_seed = 0;                       // client role: where ids begin; 0 = at the beginning
  uint64_t held_bytes_max =
      256 * 1024;                      // server role: answers that wait for their turn, before reading pauses
  uint64_t kept_bytes_max = 16 << 20;  // server role: answers for a peer that doesn't read
};

struct Http2Options {
  uint32_t streams_max = 1024;                // server role: concurrent streams; client role: more are not opened
  uint32_t stream_window_bytes = 256 * 1024;  // what the peer may send ahead on one stream
  uint32_t connection_window_bytes = 1 << 20;
  size_t pending_bytes_max = 256 * 1024;      // unsent on all streams, beyond it each stream may hold less
  size_t memory_bytes_max = 16 << 20;         // heads and unsent bytes of one connection; what stalled streams hold beyond its window
  uint32_t continuations_max = 8;             // CONTINUATION frames of one head
  uint32_t acks_max = 1000;                   // unsent answers to SETTINGS and PING
  uint32_t resets_burst = 1000;               // RST_STREAM of the peer: bucket size and refill per second
  uint32_t resets_per_second = 100;
  uint32_t own_resets_burst = 200;            // the same for those that the peer made us send
  uint32_t own_resets_per_second = 20;
  uint32_t control_burst = 10'000;            // frames that carry nothing
  uint32_t control_per_second = 1000;
  int64_t stall_timeout_ms = 60'000;          // of a stream that can't send; 0 = none
  int64_t body_timeout_ms = 60'000;           // of a request body that pauses before its answer; 0 = none
  int64_t settings_timeout_ms = 10'000;       // client role: until the peer's first SETTINGS; 0 = none
  int64_t drain_grace_ms = 0;                 // server role: quiet time before the last GOAWAY
  int64_t drain_hold_max_ms = 15'000;         // the last GOAWAY comes so long after the first, whatever comes; 0 = never
};

struct CodecOptions {
  Http1Options http1;                         // HTTP/2: the limits of heads, paths and bodies
  Http2Options http2;
  FramedOptions framed;
};

/// A protocol, as the engine sees it.
struct Protocol {
  std::string_view name;
  bool is_http = false;
  bool multiplexed = false;      // many exchanges on one connection
  bool has_heartbeat = false;
  bool has_goaway = false;
  bool only_bound = false;       // clients need a connection of their own to one backend
  bool refuses_untouched = false;  // backends say of single requests that they did not touch them
  std::unique_ptr<ConnectionCodec> (*create)(const Protocol& self, Role role, ByteSink& out, ConnectionEvents& events,
                                             const CodecOptions& options) = nullptr;
  const dragoman_codec* table = nullptr;  // framed protocols
  std::shared_ptr<const void> owner;      // keeps the table and its code; null: linked in
};

/// Built-in protocols by name (one explicit table in registry.cc); null when unknown.
const Protocol* find_protocol(std::string_view name);
std::span<const Protocol> protocols();

}  // namespace dragoman
