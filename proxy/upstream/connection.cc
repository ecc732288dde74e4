#include "proxy/upstream/connection.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/owned_fd.h"

namespace dragoman {
namespace {

constexpr uint64_t kUselessMs =
    1'000;  // a connection that ended sooner, without a word, counts as a failed connect

}  // namespace

UpstreamConnection* UpstreamConnection::connect(Cluster& cluster, Endpoint& endpoint, uint32_t variant,
                                                PoolMode mode, UpstreamOwner& owner, std::string preface) {
  auto* connection = new UpstreamConnection(cluster, endpoint, variant, mode, owner, std::move(preface));
  connection->begin();
  return connection;
}

UpstreamConnection::UpstreamConnection(Cluster& cluster, Endpoint& endpoint, uint32_t variant, PoolMode mode,
                                       UpstreamOwner& owner, std::string preface)
    : cluster_(&cluster),
      endpoint_(&endpoint),
      owner_(&owner),
      variant_(variant),
      mode_(mode),
      preface_(std::move(preface)),
      glitches_(cluster.settings().glitches.burst, cluster.settings().glitches.per_second) {
  Loop& loop = cluster.worker().loop;
  timer_.bind<&UpstreamConnection::on_timer>(loop.timers(), this);
  cluster.metrics().connections_active.add();
  cluster.worker().connections.add();
}

/// Connects, now or when the back-off of the endpoint is over.
void UpstreamConnection::begin() {
  if (const uint64_t wait = endpoint_->backoff.start(now_ms()); wait != 0) {
    cluster_->metrics().connect_backoffs.inc();
    return timer_.start(wait);
  }
  started_ms_ = now_ms();
  loop_ = cluster_->shared()->leads_back(endpoint_->shared().address());
  if (loop_) return timer_.start(1);  // nobody is told from inside
  cluster_->metrics().connections.inc();
  try {
    connector_ = Connector::create(cluster_->worker().loop, endpoint_->shared().address(),
                                   static_cast<uint64_t>(cluster_->settings().connect_timeout_ms), *this);
  } catch (const std::bad_alloc&) {
    if (std::exchange(no_memory_, true)) {
      note_memory_shed(MemoryShed::kConnection);
      return connect_failed(Reason::kOwnResources);
    }
    timer_.start(1);  // once more: then nobody is inside any more who could be told
  }
}

void UpstreamConnection::refuse_loop() {
  DRAGOMAN_LOG_LIMITED(kWarn, "upstream", cluster_->settings().name,
                       "{}: {} is a listener of this process that leads here: refused",
                       cluster_->settings().name, endpoint_->shared().name());
  cluster_->metrics().connect_failures.inc();
  connect_failed(Reason::kConnectFailure);
}

void UpstreamConnection::give_back() {
  if (std::exchange(unit_, false)) cluster_->give_connection();
}

/// Of use to somebody: the endpoint is there.
void UpstreamConnection::prove() {
  proven_ = true;
  endpoint_->connect_succeeded();
}

void UpstreamConnection::came_to_nothing() {
  endpoint_->backoff.failed(now_ms(), started_ms_, cluster_->settings(), cluster_->worker().random);
}

UpstreamConnection::~UpstreamConnection() {
  if (no_memory_) {
    holds_.reset_forgotten(Reason::kOwnResources);
  } else if (size_t untold = holds_.reset_untold(Reason::kUpstreamReset); untold != 0) {
    cluster_->metrics().codec_events.inc(CodecEvent::kEndUntold, untold);
    DRAGOMAN_LOG_LIMITED(kError, "upstream", cluster_->settings().name,
                         "{}: the codec of {} did not end {} exchanges of a closed connection",
                         endpoint_->shared().name(), cluster_->protocol()->name, untold);
  }
  cluster_->metrics().connections_active.sub();
  cluster_->worker().connections.sub();
  give_back();
}

void UpstreamConnection::on_connected(int fd) try {
  connector_.reset();
  if (cluster_->shared()->leads_back(fd)) {
    close_fd(fd);
    return refuse_loop();
  }
  if (!send_first(fd, preface_)) {
    close_fd(fd);
    return on_connect_failed(Reason::kConnectFailure, errno);
  }
  const auto& settings = cluster_->settings();
  set_user_timeout(fd, static_cast<uint32_t>(settings.tcp_user_timeout_ms));
  const SharedTransportOptions& options = cluster_->transport_options();
  WorkerContext& worker = cluster_->worker();
  if (TlsIdentity* tls = cluster_->tls()) {
    transport_ = TlsTransport::connect(worker.loop, fd, *this, options, tls->current(worker.index),
                                       &endpoint_->tls_session);
    idle_since_ms_ = now_ms();
    timer_.start(static_cast<uint64_t>(settings.tls->handshake_timeout_ms));
    return;
  }
  transport_ = Transport::adopt(worker.loop, fd, *this, options);
  start_codec();
} catch (const std::bad_alloc&) {  // no event of its transport can have told of it
  note_memory_shed(MemoryShed::kConnection);
  if (transport_) transport_->close();
  on_closed(Reason::kOwnResources);
}

void UpstreamConnection::on_ready() {
  cluster_->tls_metrics.handshakes.inc();
  if (transport_->tls()->resumed) cluster_->tls_metrics.resumptions.inc();
  cluster_->tls_metrics.duration.observe_us((now_ms() - idle_since_ms_) * 1000);
  timer_.stop();
  start_codec();
}

void UpstreamConnection::start_codec() {
  const auto& settings = cluster_->settings();
  CodecOptions codec;
  codec.http1.header_bytes_max = static_cast<uint32_t>(settings.http.header_bytes_max);
  codec.http1.headers_max = static_cast<uint32_t>(settings.http.headers_max);
  codec.http1.underscores = static_cast<Underscores>(settings.http.underscores);
  codec.http2.pending_bytes_max = settings.buffer.high_bytes;
  codec.http2.streams_max = settings.http2.streams_max;
  codec.http2.stream_window_bytes = static_cast<uint32_t>(settings.http2.stream_window_bytes);
  codec.http2.connection_window_bytes = static_cast<uint32_t>(settings.http2.connection_window_bytes);
  codec.http2.memory_bytes_max = settings.http2.memory_bytes_max;
  codec.http2.stall_timeout_ms = settings.http2.stall_timeout_ms;
  codec.http2.settings_timeout_ms = settings.http2.settings_timeout_ms;
  codec.framed.frame_bytes_max = settings.rpc.frame_bytes_max;
  codec.framed.headers_max = settings.rpc.headers_max;
  codec.framed.mode = mode_;
  codec.framed.variant = variant_;
  codec.framed.id_seed = cluster_->worker().random.next() | 1;
  const Protocol& protocol = *cluster_->protocol();
  codec_ = protocol.create(protocol, Role::kClient, *transport_, *this, codec);
  state_ = State::kReady;
  idle_since_ms_ = now_ms();
  if (int64_t next = codec_->tick(); next > 0) tick_at_ms_ = now_ms() + static_cast<uint64_t>(next);
  arm_timer();
  owner_->on_upstream_connected(*this);
}

void UpstreamConnection::on_connect_failed(Reason reason, int error) {
  connector_.reset();
  if (reason == Reason::kConnectTimeout)
    cluster_->metrics().connect_timeouts.inc();
  else if (reason == Reason::kConnectFailure)
    cluster_->metrics().connect_failures.inc();
  DRAGOMAN_LOG(kDebug, "upstream", "connect to {} failed: {} (errno {})", endpoint_->shared().name(),
               reason_row(reason).label, error);
  connect_failed(reason);
}

void UpstreamConnection::connect_failed(Reason reason) {
  state_ = State::kClosed;
  left_ = true;
  timer_.stop();
  if (!no_memory_) came_to_nothing();
  if (blames_endpoint(reason)) cluster_->report(*endpoint_, true);  // once, however many wait for it
  if (owner_) owner_->on_upstream_connect_failed(*this, reason);
  cluster_->worker().loop.retire(this);
  give_back();
}

Exchange* UpstreamConnection::open(MessageSink& answers) {
  if (state_ != State::kReady) return nullptr;
  Exchange* exchange = nullptr;
  try {
    exchange = codec_->open(answers);
  } catch (const std::bad_alloc&) {
    out_of_memory();
  }
  if (!exchange) return nullptr;
  ++served_;
  uint64_t max = static_cast<uint64_t>(cluster_->settings().pool.requests_per_connection_max);
  if (max != 0 && served_ >= max) drain();
  return exchange;
}

uint32_t UpstreamConnection::capacity() const { return state_ == State::kReady ? codec_->capacity() : 0; }

void UpstreamConnection::drain() {
  if (state_ == State::kConnecting) return close(Reason::kDraining);
  if (state_ != State::kReady) return;
  drained_ = true;
  state_ = State::kGoing;
  leave(Reason::kDraining);
  if (idle()) finish(true, Reason::kDraining);
}

void UpstreamConnection::out_of_memory() {
  note_memory_shed(MemoryShed::kConnection);
  no_memory_ = true;
  close(Reason::kOwnResources);
}

void UpstreamConnection::close(Reason reason, bool flush) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kConnecting) {
    connector_.reset();
    if (transport_) transport_->close();
    state_ = State::kClosed;
    leave(reason);
    timer_.stop();
    cluster_->worker().loop.retire(this);
    return give_back();
  }
  finish(flush, reason);
}

void UpstreamConnection::leave(Reason reason) {
  if (left_) return;
  left_ = true;
  // It says goodbye, or hangs up, before it took anything: that is no orderly end.
  if (reason == Reason::kDraining && (peer_ended_ || state_ == State::kGoing) && !had_room_ && !proven_ &&
      !drained_)
    reason = Reason::kUpstreamReset;
  // A server that takes connections and ends them at once is as good as one that refuses them.
  const bool by_us = reason == Reason::kDraining || reason == Reason::kIdleTimeout ||
                     reason == Reason::kDownstreamReset || reason == Reason::kOwnResources;
  if (!proven_ && !by_us && now_ms() - started_ms_ < kUselessMs) {
    came_to_nothing();
    if (!had_room_) cluster_->metrics().connect_failures.inc();
  }
  if (owner_) owner_->on_upstream_gone(*this, reason);
}

void UpstreamConnection::finish(bool flush, Reason reason) {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  timer_.stop();
  leave(reason);
  cluster_->metrics().received_bytes.inc(transport_->bytes_read());
  cluster_->metrics().sent_bytes.inc(transport_->bytes_written());
  try {
    codec_->on_transport_closed(reason);
  } catch (const std::bad_alloc&) {
    no_memory_ = true;  // the rest is told at the end
  }
  if (codec_->cut())
    transport_->close(true);
  else if (flush)
    transport_->close_after_flush();
  else
    transport_->close();
  cluster_->worker().loop.retire(this);
  give_back();
}

void UpstreamConnection::on_data(uint8_t* data, size_t n) {
  timeouts_ = 0;
  codec_->on_data(data, n);
  if (end_if_abusive()) return;
  const bool alive = state_ == State::kReady || (state_ == State::kGoing && drained_);
  if (!proven_ && alive && (served_ != 0 || codec_->capacity() != 0)) prove();
}

void UpstreamConnection::on_event(CodecEvent event) {
  cluster_->metrics().codec_events.inc(event);
  switch (event) {
    case CodecEvent::kGlitch:
    case CodecEvent::kHeartbeatUnexpected:
    case CodecEvent::kUnknownId:
    case CodecEvent::kDuplicateId:
    case CodecEvent::kUnsupported: return glitch();
    default: return;
  }
}

// As for clients. Late answers are not among them, nor those to one-way requests: clients bring them about.
void UpstreamConnection::glitch() {
  if (abusive_ || state_ == State::kClosed || glitches_.take(now_ms())) return;
  abusive_ = true;
  cluster_->metrics().codec_events.inc(CodecEvent::kGlitchFlood);
}

bool UpstreamConnection::end_if_abusive() {
  if (!abusive_ || state_ == State::kClosed) return false;
  DRAGOMAN_LOG(kDebug, "upstream", "{}: too many glitches", endpoint_->shared().name());
  close(Reason::kUpstreamReset);
  return true;
}

void UpstreamConnection::on_eof() {
  peer_ended_ = true;
  codec_->on_eof();
  if (state_ == State::kClosed) return;
  // The backend will answer nothing more. Exchanges that the codec let live (half-closed tunnels) finish by themselves.
  state_ = State::kGoing;
  leave(Reason::kUpstreamReset);
  if (idle()) finish(true, Reason::kUpstreamReset);
}

void UpstreamConnection::on_closed(Reason reason) {
  if (is_tls_reason(reason)) {
    cluster_->tls_metrics.failures.inc(reason);
    DRAGOMAN_LOG(kDebug, "upstream", "{}: TLS failed: {}", endpoint_->shared().name(), reason_row(reason).label);
  }
  const bool own = reason == Reason::kOwnResources;
  no_memory_ = no_memory_ || own;
  if (state_ != State::kConnecting)
    return finish(false, is_tls_reason(reason) || own ? reason : Reason::kUpstreamReset);
  if (!own) cluster_->metrics().connect_failures.inc();
  connect_failed(reason);
}

void UpstreamConnection::on_write_blocked(bool blocked) {
  if (codec_) codec_->on_write_blocked(blocked);
}

MessageSink* UpstreamConnection::on_exchange(Exchange& exchange) {
  return owner_ && mode_ == PoolMode::kBound ? owner_->on_upstream_exchange(*this, exchange) : nullptr;
}

void UpstreamConnection::on_goaway() {
  if (state_ != State::kReady) return;
  // In framed protocols the whole process leaves. HTTP servers also end single connections so, because of their age.
  if (cluster_->protocol()->table) cluster_->note_leaving(*endpoint_);
  state_ = State::kGoing;
  leave(Reason::kDraining);
  if (idle()) finish(true, Reason::kDraining);
}

void UpstreamConnection::on_broken(Reason reason, std::string_view detail) {
  DRAGOMAN_LOG(kDebug, "upstream", "{}: {}: {}", endpoint_->shared().name(), reason_row(reason).label,
               detail);
  finish(false, reason);
}

void UpstreamConnection::on_finished() { finish(true, Reason::kDraining); }

void UpstreamConnection::on_output_end() { transport_->finish(); }

void UpstreamConnection::on_capacity() {
  if (state_ == State::kGoing) {
    if (idle()) finish(true, Reason::kDraining);
    return;
  }
  if (state_ != State::kReady) return;
  if (idle()) idle_since_ms_ = now_ms();
  if (owner_) owner_->on_upstream_capacity(*this);
}

void UpstreamConnection::arm_timer() {
  // One lazy timer: it looks at what happened instead of being moved by every request.
  const auto& settings = cluster_->settings();
  uint64_t delay = static_cast<uint64_t>(settings.buffer.write_stall_timeout_ms);
  auto sooner = [&delay](int64_t ms) {
    if (ms > 0) delay = delay == 0 ? static_cast<uint64_t>(ms) : std::min(delay, static_cast<uint64_t>(ms));
  };
  if (mode_ == PoolMode::kPingPong || extra_) sooner(settings.pool.idle_timeout_ms);
  if (cluster_->protocol()->has_heartbeat && mode_ == PoolMode::kMultiplex) sooner(settings.pool.heartbeat_interval_ms);
  if (tick_at_ms_ != 0) sooner(static_cast<int64_t>(std::max(tick_at_ms_, now_ms() + 1) - now_ms()));
  if (delay != 0) timer_.start(delay);
}

void UpstreamConnection::on_timer() {
  try {
    take_timer();
  } catch (const std::bad_alloc&) {
    out_of_memory();
  }
}

void UpstreamConnection::take_timer() {
  if (state_ == State::kConnecting) {
    if (loop_) return refuse_loop();
    if (!transport_) return begin();
    transport_->close();
    return on_closed(Reason::kTlsHandshakeTimeout);
  }
  const auto& settings = cluster_->settings();
  uint64_t now = now_ms();
  if (tick_at_ms_ != 0 && now >= tick_at_ms_) {
    int64_t next = codec_->tick();
    if (state_ == State::kClosed) return;
    tick_at_ms_ = next < 0 ? 0 : now + static_cast<uint64_t>(next);
  }
  auto stall = static_cast<uint64_t>(settings.buffer.write_stall_timeout_ms);
  // Blocked with nothing unsent: all that waited was given up.
  if (stall != 0 && (transport_->unsent() != 0 || transport_->write_blocked()) &&
      now - transport_->last_write_ms() >= stall)
    return close(Reason::kUpstreamWriteStall);
  auto idle_timeout = static_cast<uint64_t>(settings.pool.idle_timeout_ms);
  if (idle() && idle_timeout != 0 &&
      (mode_ == PoolMode::kPingPong || (extra_ && owner_ && owner_->is_surplus(*this)))) {
    uint64_t idle_ms = now - idle_since_ms_;
    if (idle_ms >= idle_timeout) return finish(true, Reason::kIdleTimeout);
    if (mode_ == PoolMode::kPingPong) {
      timer_.start(idle_timeout - idle_ms);
      return;
    }
  }
  auto interval = static_cast<uint64_t>(settings.pool.heartbeat_interval_ms);
  if (cluster_->protocol()->has_heartbeat && mode_ == PoolMode::kMultiplex && interval != 0) {
    if (codec_->heartbeats_missed() >= static_cast<uint32_t>(settings.pool.heartbeat_misses_max) &&
        now - transport_->last_read_ms() >= interval)
      return close(Reason::kHeartbeatLost);
    if (now - transport_->last_read_ms() >= interval) codec_->heartbeat();
  }
  if (state_ != State::kClosed) arm_timer();
}

}  // namespace dragoman
