// What both roles of an HTTP/1 connection share: the input, the exchange object, and the writing of bodies.
#pragma once

#include <cstdint>
#include <span>

#include "protocols/exchange.h"
#include "protocols/http/triple.h"
#include "protocols/http1/chunked.h"
#include "protocols/http1/encoder.h"
#include "protocols/http1/http1_codec.h"
#include "protocols/http1/line_scanner.h"
#include "protocols/http1/message_parser.h"

namespace dragoman::http1 {

class Http1Codec;

/// What the peer's message is at.
enum class Reading : uint8_t {
  kHead,
  kLength,      // read_left bytes of body to come
  kChunked,
  kTrailers,
  kUntilClose,
  kHeld,        // server role: an upgrade request waits for its answer
  kTunnel,
  kDone,
};

/// What our message is at.
enum class Writing : uint8_t {
  kHead,        // no final head yet
  kLength,      // write_left bytes to come
  kChunked,
  kUntilClose,
  kDropped,     // a body that must not be sent (HEAD, 204 ...)
  kHeld,        // client role: an upgrade request waits for its answer
  kTunnel,
  kDone,
};

class Http1Exchange final : public Exchange {
 public:
  explicit Http1Exchange(Http1Codec& owner) : codec(&owner) {}

  Reason send_head(Head& message, bool end) override;
  void send_body(std::span<const uint8_t> chunk, bool end) override;
  void send_trailers(HeaderList& list) override;
  void send_reply(const Head& request, const LocalReply& reply) override;
  void reset(Reason reason) override;
  void pause_reading() override;
  void resume_reading() override;
  void release() override;
  size_t buffered_bytes() const override;

  Http1Codec* codec;           // null once the connection is gone or the exchange released
  MessageSink* sink = nullptr; // null while the head of a request is still incomplete
  Http1Exchange* next = nullptr;  // in the list of those to be freed
  Reading reading = Reading::kHead;
  Writing writing = Writing::kHead;
  bool dead = false;           // reset by either side: calls are ignored
  bool paused = false;
  bool keep_alive = true;      // what the peer's head says, and false once anything went wrong
  bool to_head = false;        // the request's method is HEAD
  bool upgrade = false;        // the request asked for it
  bool te_trailers = false;    // server role: the client takes trailers
  bool close_after = false;    // server role: our answer said "close"
  triple::Envelopes envelopes;  // server role: of the answer to a call of Triple's HTTP face
  uint8_t interim = 0;         // 1xx heads received
  uint64_t read_left = 0;
  uint64_t write_left = 0;
  uint64_t body_bytes = 0;     // received

  // The block of lines being collected, in the head's arena.
  LineScanner scanner;
  char* block = nullptr;
  uint32_t block_size = 0;
  uint32_t block_capacity = 0;
  ChunkDecoder chunks;

  Head head;  // received
  HeaderList trailers{head.arena};
};

class Http1Codec : public ConnectionCodec {
 public:
  static constexpr uint64_t kDrainBytes = 64 * 1024;  // of an unwanted request body
  static constexpr uint32_t kTrailerBytesMax = 8 * 1024;

  ~Http1Codec() override;
  void on_data(uint8_t* data, size_t n) final;
  void on_eof() final;
  void on_transport_closed(Reason reason) final;
  void on_write_blocked(bool blocked) final;
  uint32_t open_exchanges() const final { return open_; }
  bool cut() const final { return cut_; }
  ReadPhase phase() const final;

  // The exchange's methods arrive here; `x` is alive, and nothing is called for dead ones but release.
  virtual Reason send_head(Http1Exchange& x, Head& message, bool end) = 0;
  virtual void send_reply(Http1Exchange& x, const LocalReply& reply) = 0;
  void send_body(Http1Exchange& x, std::span<const uint8_t> chunk, bool end);
  void send_trailers(Http1Exchange& x, const HeaderList& trailers);
  void reset(Http1Exchange& x, Reason reason);
  void set_paused(Http1Exchange& x, bool paused);
  void release(Http1Exchange& x);
  size_t buffered_bytes() const { return out_.out.size(); }

 protected:
  Http1Codec(Role role, ByteSink& out, ConnectionEvents& events, const CodecOptions& options)
      : out_(out), events_(events), options_(options.http1), role_(role) {}

  /// Around everything that may call out: released exchanges stay in memory, and the pause of the transport is
  /// settled, until no method of this codec is on the stack.
  class Scope {
   public:
    explicit Scope(Http1Codec& codec) : codec_(codec) { ++codec_.depth_; }
    ~Scope() {
      if (--codec_.depth_ == 0) codec_.settle();
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Http1Codec& codec_;
  };

  using Bytes = std::span<const uint8_t>;

  // Roles fill in:
  /// Bytes came and there is no current exchange: makes one, or says in `used` what it took otherwise. False = the rest
  /// must wait.
  virtual bool begin(Bytes in, size_t& used) = 0;
  /// Bytes came after the current exchange's message. False = they must wait.
  virtual bool after_message(Http1Exchange& x, Bytes in, size_t& used) = 0;
  /// The head is complete in x.block: parses, sets x.reading, tells the sink. `more` = bytes follow it already.
  virtual void on_head_block(Http1Exchange& x, size_t size, bool more) = 0;
  /// The peer's bytes can't be accepted.
  virtual void refuse(const Refusal& refusal) = 0;
  /// The peer's FIN, after everything before it was consumed. May be called again while an exchange is open.
  virtual void at_eof() = 0;
  /// The current exchange has been given back (`x` is still readable) and the connection is not broken.
  virtual void after_release(Http1Exchange& x) = 0;

  /// The connection goes on in another codec, and no method of this one is on the stack. Called whenever that is so.
  virtual void on_handed_over() {}

  /// Marks broken, resets the current exchange's sink, tells the owner.
  void break_connection(Reason reason, std::string_view text);
  /// Nothing more will be read or written: tells the owner once.
  void finish();
  /// Consumes what is kept as far as possible.
  void pump();
  /// Sets how the body after the head is read; true = there is none.
  bool set_reading(Http1Exchange& x, const Framing& framing, bool no_body);
  /// Makes x ready to collect another block of lines.
  void start_block(Http1Exchange& x);
  /// The peer's message is complete; `more` bytes have already come after it.
  void end_message(Http1Exchange& x, bool more);
  Http1Exchange* create_exchange();
  void announce(Http1Exchange& x, MessageSink* sink) {
    x.sink = sink;
    ++open_;
  }
  /// Undoes our pause of the transport.
  void let_read();
  /// Takes the current exchange out of use; it is freed when the stack is unwound.
  void retire(Http1Exchange& x);
  /// Whether anything of the current message's head or body has come.
  bool received(const Http1Exchange& x) const { return x.block || x.interim || x.reading != Reading::kHead; }
  bool is_current(const Http1Exchange& x) const { return current_ == &x && !x.dead; }
  static constexpr uint32_t kStartLineSlack = 64;  // method, spaces and version beside the target

  ByteSink& out_;
  ConnectionEvents& events_;
  const Http1Options options_;
  Http1Exchange* current_ = nullptr;
  ByteChain stash_{MemoryOwner::kInput};  // bytes that can't be used yet
  uint32_t open_ = 0;
  const Role role_;
  bool broken_ = false;     // no input or output any more
  bool finished_ = false;   // on_finished was called: input is dropped
  bool blocked_ = false;    // the transport's output is over its watermark
  bool cut_ = false;
  bool eof_ = false;
  bool draining_ = false;
  bool handed_over_ = false;  // another codec has the connection: nothing is read or said here any more

 private:
  size_t consume(Bytes in, size_t after);
  bool read(Http1Exchange& x, Bytes in, size_t& used);
  bool read_block(Http1Exchange& x, Bytes in, size_t& used);
  void read_body(Http1Exchange& x, Bytes in, size_t& used);
  void read_chunked(Http1Exchange& x, Bytes in, size_t& used);
  void on_trailer_block(Http1Exchange& x, size_t size, bool more);
  /// Passes body bytes on, within the body limit.
  void deliver(Http1Exchange& x, Bytes chunk, bool end, bool more);
  /// Tells the current exchange's holder that the connection is gone, once.
  void abandon(Reason reason);
  void settle();
  void reap();

  Http1Exchange* retired_ = nullptr;
  size_t after_ = 0;        // bytes kept behind the piece being consumed
  uint32_t depth_ = 0;      // of Scopes
  bool consuming_ = false;
  bool paused_ = false;     // our pause of the transport
};

std::unique_ptr<ConnectionCodec> make_server(ByteSink& out, ConnectionEvents& events, const CodecOptions& options,
                                             H2cTaker* taker = nullptr);
std::unique_ptr<ConnectionCodec> make_client(ByteSink& out, ConnectionEvents& events, const CodecOptions& options);

}  // namespace dragoman::http1
