// One connection to an endpoint: connect, codec, health of the wire, end. Owned by itself: it dies (at the loop's edge) after close().
#pragma once

#include <memory>
#include <string>

#include "proxy/base/ref.h"
#include "proxy/base/token_bucket.h"
#include "proxy/net/transport.h"
#include "proxy/upstream/cluster.h"
#include "proxy/upstream/exchange_hold.h"

namespace dragoman {

class UpstreamConnection final : public Retired,
                                 public ListLink<UpstreamConnection>,
                                 private ConnectEvents,
                                 private TransportEvents,
                                 private ConnectionEvents {
 public:
  /// Starts connecting; the result comes through `owner`. The caller took one Limit::kConnections unit; the
  /// connection gives it back.
  /// `preface` is sent before anything else, also before TLS.
  static UpstreamConnection* connect(Cluster& cluster, Endpoint& endpoint, uint32_t variant, PoolMode mode,
                                     UpstreamOwner& owner, std::string preface = {});
  ~UpstreamConnection() override;

  /// Null when it has no room.
  Exchange* open(MessageSink& answers);
  bool connected() const { return state_ == State::kReady; }
  uint32_t capacity() const;
  /// Exchanges served before.
  uint64_t served() const { return served_; }
  bool idle() const { return !codec_ || codec_->open_exchanges() == 0; }
  /// No more exchanges; closes when the open ones are done.
  void drain();
  /// Open exchanges are reset. `flush`: what is queued is sent first.
  void close(Reason reason, bool flush = false);
  /// Connected, and no byte came since.
  bool silent_since(uint64_t ms) const { return transport_ && transport_->last_read_ms() <= ms; }
  /// A request on it that was sent at `since_ms` timed out: how many in a row did, without a byte from the other side.
  uint32_t note_timeout(uint64_t since_ms) { return timeouts_ = silent_since(since_ms) ? timeouts_ + 1 : 0; }
  /// A call into its codec found no memory, perhaps in the midst of something: the connection is of no use any more.
  void out_of_memory();
  /// The owner dies first: no more calls to it.
  void disown() { owner_ = nullptr; }
  /// `hold` has an exchange of this connection: it is reset when that closes and nobody else told it.
  void hold(ExchangeHold& hold) { holds_.add(hold); }
  Endpoint& endpoint() { return *endpoint_; }
  Cluster& cluster() { return *cluster_; }
  using ListLink<UpstreamConnection>::unlink;
  using ListLink<UpstreamConnection>::linked;

 private:
  friend class Pool;
  enum class State : uint8_t { kConnecting, kReady, kGoing, kClosed };

  UpstreamConnection(Cluster& cluster, Endpoint& endpoint, uint32_t variant, PoolMode mode,
                     UpstreamOwner& owner, std::string preface);
  // ConnectEvents
  void on_connected(int fd) override;
  void on_connect_failed(Reason reason, int error) override;
  // TransportEvents
  void on_data(uint8_t* data, size_t n) override;
  void on_eof() override;
  void on_closed(Reason reason) override;
  void on_write_blocked(bool blocked) override;
  void on_ready() override;
  // ConnectionEvents
  MessageSink* on_exchange(Exchange& exchange) override;
  void on_goaway() override;
  void on_broken(Reason reason, std::string_view detail) override;
  void on_finished() override;
  void on_output_end() override;
  void on_capacity() override;
  void on_spent() override { drain(); }
  void pause_reading() override { transport_->pause_read(kPauseCodec); }
  void resume_reading() override { transport_->resume_read(kPauseCodec); }
  void on_event(CodecEvent event) override;
  void on_refused(Reason, std::string_view) override { glitch(); }
  uint64_t now_ms() const override { return cluster_->worker().loop.now_ms(); }

  void begin();
  void prove();
  void came_to_nothing();
  void refuse_loop();
  void give_back();
  void start_codec();
  void glitch();
  bool end_if_abusive();
  void connect_failed(Reason reason);
  void on_timer();
  void take_timer();
  void arm_timer();
  void leave(Reason reason);          // tells the owner once
  void finish(bool flush, Reason reason);  // -> kClosed, retired

  Ref<Cluster> cluster_;
  Ref<Endpoint> endpoint_;
  UpstreamOwner* owner_;
  std::unique_ptr<Connector> connector_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<ConnectionCodec> codec_;
  ExchangeHolds holds_;
  Timer timer_;
  const uint32_t variant_;
  const PoolMode mode_;
  const std::string preface_;
  TokenBucket glitches_;
  State state_ = State::kConnecting;
  bool abusive_ = false;  // too many glitches: ends when the codec is off the stack
  bool left_ = false;
  bool had_room_ = false;  // for its pool: has ever offered an exchange
  bool extra_ = false;     // for its pool: opened because the others were full
  bool unit_ = true;       // of Limit::kConnections
  bool peer_ended_ = false;
  bool no_memory_ = false;  // for something of it
  bool loop_ = false;      // the endpoint is a listener that leads here
  bool drained_ = false;   // by us
  bool proven_ = false;    // the endpoint has spoken, and took or takes requests
  uint32_t timeouts_ = 0;  // in a row, without a byte
  uint64_t started_ms_ = 0;
  uint64_t served_ = 0;
  uint64_t idle_since_ms_ = 0;  // of a TLS connection: the start of its handshake, at first
  uint64_t tick_at_ms_ = 0;  // when the codec wants to look after its deadlines, 0: never
};

}  // namespace dragoman
