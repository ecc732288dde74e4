// One client connection: transport, codec, its streams, its deadlines.
#pragma once

#include <memory>
#include <string>

#include "protocols/exchange.h"
#include "proxy/base/token_bucket.h"
#include "proxy/net/transport.h"
#include "proxy/stream/connection.h"
#include "proxy/stream/listener_slot.h"
#include "proxy/upstream/exchange_hold.h"

namespace dragoman {

class Stream;
class BoundLink;

class DownstreamConnection final : public AcceptedConnection, private TransportEvents, private ConnectionEvents {
 public:
  /// Takes over `fd`. The connection lives until it closes; `slot` lists it meanwhile.
  static void start(ListenerSlot& slot, int fd, const Address& peer);
  /// Takes over a transport and the place of `before` in the slot. Bytes already read go to feed(). `part` is the detected
  /// protocol's part of the listener, null when it has only one.
  static DownstreamConnection& take_over(ListenerSlot& slot, std::unique_ptr<Transport> transport,
                                         AcceptedConnection& before, Ref<ListenerRuntime> part);
  void feed(uint8_t* data, size_t n) { on_data(data, n); }
  /// The client had stopped sending before.
  void feed_eof() { on_eof(); }
  ~DownstreamConnection() override;

  void drain() override;
  void abort() override;

  ListenerSlot& slot() { return *slot_; }
  /// The current configuration's view of the listener (new exchanges use it).
  ListenerRuntime& runtime() const {
    if (part_ && part_of_ != slot_->reloads()) follow_reload();
    return part_ ? *part_ : *slot_->runtime();
  }
  Loop& loop() { return slot_->worker().loop; }
  std::string_view peer_host() const { return peer_host_; }
  /// Of a request of this connection, for the log.
  LoggedHttp http_version(const Head& request) const;
  const Address& peer() const { return transport_->peer(); }
  Transport& transport() { return *transport_; }
  /// Null without TLS.
  const TlsInfo* tls() const { return transport_->tls(); }
  /// Closes after what is queued was sent; streams still open are reset.
  void close(Reason reason, bool flush);
  bool closed() const { return closed_; }
  bool draining() const { return draining_; }
  void on_stream_end();
  /// The hops of requests that come from now on can be counted.
  void find_hops() { codec_->find_hops(); }
  /// A request of this client keeps `more` bytes than before (negative: less). False: they are too many now.
  bool count_kept(ptrdiff_t more);
  /// `hold` has an exchange of this connection: it is reset when that closes and nobody else told it.
  void hold(ExchangeHold& hold) { holds_.add(hold); }

  /// Bound mode: the link to the one upstream connection of this client; made on first use.
  BoundLink* bound() { return bound_; }
  void set_bound(BoundLink* bound) { bound_ = bound; }
  /// Opens an exchange towards the client (server-initiated request); null when the protocol can't.
  Exchange* open(MessageSink& answers) { return codec_->open(answers); }

 private:
  DownstreamConnection(ListenerSlot& slot, std::string peer_host);
  void start_codec();
  void follow_reload() const;
  // TransportEvents
  void on_data(uint8_t* data, size_t n) override;
  void on_eof() override;
  void on_peer_left() override;
  void on_closed(Reason reason) override;
  void on_write_blocked(bool blocked) override;
  // ConnectionEvents
  MessageSink* on_exchange(Exchange& exchange) override;
  void on_goaway() override;
  void on_broken(Reason reason, std::string_view detail) override;
  void on_finished() override;
  void on_output_end() override;
  void on_capacity() override;
  void pause_reading() override;
  void resume_reading() override;
  void on_event(CodecEvent event) override;
  void on_refused(Reason reason, std::string_view detail) override;
  uint64_t now_ms() const override { return slot_->worker().loop.now_ms(); }

  void after_read();
  void restart_read_clock();
  void on_timer();
  void take_timer();
  void tick();
  void glitch();
  bool end_if_abusive();
  /// Milliseconds from now to the nearest deadline (0 = one passed, `due` says which), or -1 for none.
  int64_t nearest_deadline(Reason& due) const;
  void arm_timer();

  Ref<ListenerSlot> slot_;
  mutable Ref<ListenerRuntime> part_;  // the detected protocol's; of the configuration that part_of_ counts
  mutable uint64_t part_of_ = 0;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<ConnectionCodec> codec_;
  BoundLink* bound_ = nullptr;
  ExchangeHolds holds_;
  Timer timer_;
  std::string peer_host_;
  uint64_t phase_since_ms_ = 0;
  uint64_t idle_since_ms_ = 0;
  uint64_t tick_at_ms_ = 0;  // when the codec wants to look after its deadlines, 0: never
  uint32_t exchanges_started_ = 0;
  uint32_t phase_exchange_ = 0;
  uint32_t streams_ = 0;
  size_t kept_bytes_ = 0;  // by requests of this client
  TokenBucket glitches_;
  ReadPhase phase_ = ReadPhase::kIdle;
  bool leaving_ = false;  // the client said that it leaves
  bool first_bytes_seen_ = false;
  bool http2_ = false;    // it began as only HTTP/2 does
  bool abusive_ = false;  // too many glitches: ends when the codec is off the stack
  bool paused_by_codec_ = false;
  bool draining_ = false;
  bool unread_seen_ = false;  // the idle close waits for the loop to read what had already come
  bool eof_ = false;
  bool no_memory_ = false;  // for its end: the codec did not get to all
  bool closed_ = false;
};

}  // namespace dragoman
