#include "proxy/stream/tcp_relay.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <new>

#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/owned_fd.h"
#include "proxy/net/proxy_header.h"
#include "proxy/stream/relay_observer.h"

namespace dragoman {
namespace {

constexpr uint64_t kUselessMs = 1'000;
constexpr uint16_t kConnectTries = 3;  // nothing was sent yet: trying another endpoint is always safe

}  // namespace

void TcpRelay::start(ListenerSlot& slot, int fd, const Address& peer) {
  OwnedFd owned(fd);
  std::unique_ptr<TcpRelay> made(new TcpRelay(slot, Ref<ListenerRuntime>(slot.runtime()), peer.host()));
  made->start(Transport::adopt(slot.worker().loop, owned.take(), made->down_, slot.transport_options()));
  TcpRelay* relay = made.release();
  slot.add(*relay);
  relay->guarded([&] { relay->connect(); });
}

void TcpRelay::take_over(ListenerSlot& slot, std::unique_ptr<Transport> transport, ByteChain& early, bool ended,
                         AcceptedConnection& before, Ref<ListenerRuntime> runtime) {
  std::unique_ptr<TcpRelay> made(new TcpRelay(slot, std::move(runtime), transport->peer().host()));
  TcpRelay* relay = made.release();
  relay->early_.swap(early);
  relay->down_.ended = ended;
  transport->set_events(relay->down_);
  relay->start(std::move(transport));
  slot.replace(before, *relay);
  relay->guarded([&] { relay->connect(); });
}

TcpRelay::TcpRelay(ListenerSlot& slot, Ref<ListenerRuntime> runtime, std::string peer_host)
    : slot_(&slot),
      runtime_(std::move(runtime)),
      cluster_(runtime_->routes[0].targets[0].cluster),
      observer_(make_relay_observer(*runtime_)),
      peer_host_(std::move(peer_host)),
      start_ns_(Loop::now_ns()) {
  timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  start_wall_us_ = static_cast<uint64_t>(ts.tv_sec) * 1'000'000 + static_cast<uint64_t>(ts.tv_nsec) / 1000;
  timer_.bind<&TcpRelay::on_timer>(slot.worker().loop.timers(), this);
}

void TcpRelay::start(std::unique_ptr<Transport> transport) {
  down_.transport = std::move(transport);
  down_.transport->pause_read(kPauseEngine);  // until there is somewhere to put it
  runtime_->routes[0].targets[0].metrics.active.add();
}

TcpRelay::~TcpRelay() = default;

void TcpRelay::connect() {
  Endpoint* endpoint = cluster_->pick(endpoint_.get());
  if (!endpoint) return close(Reason::kNoHealthyUpstream);
  if (!connection_taken_) {
    if (!cluster_->take(Limit::kConnections, cluster_->settings().limits.connections)) {
      cluster_->metrics().overflows.inc(ClusterLimit::kConnections);
      return close(Reason::kConnectionOverflow);
    }
    connection_taken_ = true;
    cluster_->metrics().connections_active.add();
    slot_->worker().connections.add();
  }
  endpoint_ = endpoint;
  ++attempts_;
  begin();
}

/// Connects to the endpoint that was picked, now or when its back-off is over.
void TcpRelay::begin() {
  if (const uint64_t wait = endpoint_->backoff.start(slot_->worker().loop.now_ms()); wait != 0) {
    cluster_->metrics().connect_backoffs.inc();
    return timer_.start(wait);
  }
  const uint32_t tries = cluster_->settings().limits.tries_per_second;
  if (tries != 0 && !endpoint_->shared().take_try(Loop::now_ns(), tries)) {
    cluster_->metrics().overflows.inc(ClusterLimit::kTriesPerSecond);
    return close(Reason::kTriesOverflow);
  }
  connect_ms_ = slot_->worker().loop.now_ms();
  loop_ = cluster_->shared()->leads_back(endpoint_->shared().address());
  if (loop_) return timer_.start(1);
  cluster_->metrics().connections.inc();
  connector_ = Connector::create(slot_->worker().loop, endpoint_->shared().address(),
                                 static_cast<uint64_t>(cluster_->settings().connect_timeout_ms), *this);
}

template <class Work>
void TcpRelay::guarded(Work&& work) {
  try {
    work();
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    close(Reason::kOwnResources);
  }
}

void TcpRelay::on_connected(int fd) {
  guarded([&] { connected(fd); });
}

void TcpRelay::connected(int fd) {
  connector_.reset();
  if (cluster_->shared()->leads_back(fd)) {
    close_fd(fd);
    return refuse_loop();
  }
  if (const int version = cluster_->proxy_version(); version != 0 && down_.transport) {
    const Transport& client = *down_.transport;
    if (!send_first(fd, ProxyHeader::write(version, client.peer(), client.local()))) {
      close_fd(fd);
      return on_connect_failed(Reason::kConnectFailure, errno);
    }
  }
  WorkerContext& worker = slot_->worker();
  set_user_timeout(fd, static_cast<uint32_t>(cluster_->settings().tcp_user_timeout_ms));
  const SharedTransportOptions& options = cluster_->transport_options();
  if (TlsIdentity* tls = cluster_->tls()) {
    up_.transport = TlsTransport::connect(worker.loop, fd, up_, options, tls->current(worker.index),
                                          &endpoint_->tls_session);
    timer_.start(static_cast<uint64_t>(cluster_->settings().tls->handshake_timeout_ms));
    return;
  }
  up_.transport = Transport::adopt(worker.loop, fd, up_, options);
  on_upstream_ready();
}

void TcpRelay::on_upstream_ready() {
  if (const TlsInfo* tls = up_.transport->tls()) {
    cluster_->tls_metrics.handshakes.inc();
    if (tls->resumed) cluster_->tls_metrics.resumptions.inc();
  }
  up_ready_ = true;
  cluster_->report(*endpoint_, false);
  ++endpoint_->active_requests;
  if (!early_.empty()) {
    early_.for_each([this](const uint8_t* data, size_t n) { observe(down_, data, n); });
    up_.transport->out.splice(early_);
    up_.transport->wrote();
  }
  if (down_.ended) up_.transport->finish();
  down_.transport->resume_read(kPauseEngine);
  on_timer();
}

void TcpRelay::on_connect_failed(Reason reason, int error) {
  guarded([&] { connect_failed(reason, error); });
}

void TcpRelay::connect_failed(Reason reason, int error) {
  connector_.reset();
  if (reason == Reason::kConnectTimeout)
    cluster_->metrics().connect_timeouts.inc();
  else if (reason == Reason::kConnectFailure)
    cluster_->metrics().connect_failures.inc();
  came_to_nothing();
  if (blames_endpoint(reason)) cluster_->report(*endpoint_, true);
  if (attempts_ < kConnectTries && cluster_->endpoints().size() > 1) return connect();
  close(reason);
}

void TcpRelay::refuse_loop() {
  DRAGOMAN_LOG_LIMITED(kWarn, "tcp", cluster_->settings().name,
                       "{}: {} is a listener of this process that leads here: refused",
                       cluster_->settings().name, endpoint_->shared().name());
  on_connect_failed(Reason::kConnectFailure, 0);
}

void TcpRelay::came_to_nothing() {
  WorkerContext& worker = slot_->worker();
  endpoint_->backoff.failed(worker.loop.now_ms(), connect_ms_, cluster_->settings(), worker.random);
}

void TcpRelay::on_data(Side& side, uint8_t* data, size_t n) {
  if (!side.downstream && endpoint_->backoff.failing()) endpoint_->connect_succeeded();
  other(side).transport->write(data, n);
  observe(side, data, n);
}

void TcpRelay::observe(const Side& from, const uint8_t* data, size_t n) {
  if (!observer_) return;
  const auto now_us = static_cast<uint32_t>(Loop::now_ns() / 1000);
  if (from.downstream)
    observer_->on_client({data, n}, now_us);
  else
    observer_->on_server({data, n}, now_us);
}

void TcpRelay::on_eof(Side& side) {
  side.ended = true;
  if (side.downstream && !up_.ended) client_ended_ = true;
  Side& peer = other(side);
  if (!peer.transport) return close(Reason::kDownstreamReset);
  if (!peer.ended) return peer.transport->finish();
  // Both directions are over: flush what is left and end.
  close(Reason::kNone);
}

void TcpRelay::on_side_closed(Side& side, Reason reason) {
  if (is_tls_reason(reason)) (side.downstream ? runtime_->tls : cluster_->tls_metrics).failures.inc(reason);
  if (!side.downstream && !up_ready_) {
    cluster_->metrics().connect_failures.inc();
    came_to_nothing();
    if (blames_endpoint(reason)) cluster_->report(*endpoint_, true);
    return close(reason);
  }
  if (reason == Reason::kOwnResources) return close(reason);
  close(side.downstream ? Reason::kDownstreamReset : Reason::kUpstreamReset);
}

void TcpRelay::on_blocked(Side& side, bool blocked) {
  Side& source = other(side);
  if (!source.transport) return;
  if (blocked)
    source.transport->pause_read(kPausePeerFull);
  else
    source.transport->resume_read(kPausePeerFull);
}

void TcpRelay::on_timer() {
  guarded([this] { take_timer(); });
}

void TcpRelay::take_timer() {
  if (!up_ready_) {
    if (loop_) return refuse_loop();
    if (!up_.transport) return begin();
    up_.transport->close();
    return on_side_closed(up_, Reason::kTlsHandshakeTimeout);
  }
  const config::Listener& settings = runtime_->spec->settings;
  uint64_t now = slot_->worker().loop.now_ms();
  auto idle_timeout = static_cast<uint64_t>(settings.idle_timeout_ms);
  uint64_t last = std::max({down_.transport->last_read_ms(), up_.transport->last_read_ms(),
                            down_.transport->last_write_ms(), up_.transport->last_write_ms()});
  if (idle_timeout == 0) return;
  if (now - last >= idle_timeout) return close(Reason::kIdleTimeout);
  timer_.start(idle_timeout - (now - last));
}

void TcpRelay::drain() {
  // Plain TCP has no way to say "no more": the connection may finish until the drain deadline.
}

std::string_view TcpRelay::last_words(Reason reason) const {
  if (!observer_ || up_ready_ || down_.transport->closed() || reason == Reason::kDraining) return {};
  return observer_->refusal(reason);
}

void TcpRelay::close(Reason reason) {
  if (closed_) return;
  closed_ = true;
  timer_.stop();
  connector_.reset();
  const RouteTarget& target = runtime_->routes[0].targets[0];
  uint64_t in = down_.transport->bytes_read();
  const std::string_view words = last_words(reason);
  uint64_t out = words.size() + (up_.transport ? up_.transport->bytes_read() : 0);
  outcome_ = reason_row(reason).outcome;
  uint64_t duration_us = (Loop::now_ns() - start_ns_) / 1000;
  target.metrics.active.sub();
  target.metrics.requests.inc(outcome_);
  target.metrics.reasons.inc(reason);
  target.metrics.duration.observe_us(duration_us);
  target.metrics.request_bytes.inc(in);
  target.metrics.response_bytes.inc(out);
  runtime_->metrics.received_bytes.inc(in);
  runtime_->metrics.sent_bytes.inc(out);
  if (up_ready_) {
    // A server that ends a connection at once, without a word, is as good as one that refuses it.
    if (up_.transport->bytes_read() == 0 && !client_ended_ &&
        (up_.ended || reason == Reason::kUpstreamReset) &&
        slot_->worker().loop.now_ms() - connect_ms_ < kUselessMs)
      came_to_nothing();
    else if (up_.transport->bytes_read() != 0)
      endpoint_->connect_succeeded();
    --endpoint_->active_requests;
    cluster_->metrics().sent_bytes.inc(in);
    cluster_->metrics().received_bytes.inc(out);
  }
  if (runtime_->access_log) {
    AccessRecord r;
    r.start_us = static_cast<int64_t>(start_wall_us_);
    r.duration_us = duration_us;
    r.listener = runtime_->spec->settings.name;
    r.protocol = runtime_->spec->settings.protocol;
    r.cluster = cluster_->settings().name;
    if (endpoint_) r.endpoint = endpoint_->shared().name();
    r.peer = peer_host_;
    if (const TlsInfo* tls = down_.transport->tls()) r.peer_identity = tls->peer;
    r.outcome = outcome_;
    r.reason = reason;
    r.bytes_in = in;
    r.bytes_out = out;
    r.attempts = attempts_;
    try {
      runtime_->access_log->write(r);
    } catch (const std::bad_alloc&) {
      note_memory_shed(MemoryShed::kRequest);
    }
  }
  if (!words.empty()) {
    try {
      down_.transport->write(words);
    } catch (const std::bad_alloc&) {  // they would have been a courtesy
    }
    down_.transport->close_after_flush();
  }
  // Only what both sides ended is complete. Everything else is a cut, and a cut is a reset: no FIN and no close_notify may make it
  // look like the end. What had come before the cut goes out first, as far as the socket takes it.
  for (Side* side : {&down_, &up_}) {
    if (!side->transport || side->transport->closed()) continue;
    if (reason == Reason::kNone) {
      side->transport->close_after_flush();
    } else {
      side->transport->flush();
      side->transport->close(true);
    }
  }
  if (connection_taken_) {
    cluster_->give(Limit::kConnections);
    cluster_->metrics().connections_active.sub();
    slot_->worker().connections.sub();
  }
  slot_->worker().loop.retire(this);
  slot_->on_closed(*this);
}

}  // namespace dragoman
