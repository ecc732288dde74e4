#include "proxy/stream/gate.h"

#include <algorithm>

#include "proxy/base/log.h"
#include "proxy/stream/downstream.h"
#include "proxy/stream/tcp_relay.h"

namespace dragoman {
namespace {

constexpr uint8_t kTlsHandshakeRecord = 22;  // RFC 8446 section 5.1; no other protocol of ours begins with it

}  // namespace

void Gate::start(ListenerSlot& slot, int fd) { slot.add(*new Gate(slot, fd)); }

Gate::Gate(ListenerSlot& slot, int fd) : slot_(&slot), runtime_(slot.runtime()), start_ns_(Loop::now_ns()) {
  Loop& loop = slot.worker().loop;
  transport_ = Transport::adopt(loop, fd, *this, slot.transport_options());
  timer_.bind<&Gate::on_timer>(loop.timers(), this);
  const config::Listener& settings = runtime_->spec->settings;
  // In permissive mode a quiet client may be an idle one without TLS.
  const bool strict = settings.tls->mode == config::TlsMode::kStrict;
  const int64_t limit = strict ? settings.tls->handshake_timeout_ms : settings.idle_timeout_ms;
  if (limit > 0) timer_.start(static_cast<uint64_t>(limit));
}

Gate::~Gate() = default;

void Gate::on_data(uint8_t* data, size_t n) {
  if (data[0] == kTlsHandshakeRecord) {
    start_tls();
    return tls_->feed(data, n);
  }
  if (runtime_->spec->settings.tls->mode == config::TlsMode::kStrict) return end(Reason::kTlsNotTls);
  runtime_->tls.plaintext.inc();
  hand_over(data, n);
}

void Gate::start_tls() {
  WorkerContext& worker = slot_->worker();
  auto tls = TlsTransport::accept(worker.loop, std::move(transport_), *this,
                                  runtime_->spec->tls->current(worker.index));
  tls_ = tls.get();
  transport_ = std::move(tls);
  if (runtime_->spec->settings.tls->mode == config::TlsMode::kPermissive)
    timer_.start(static_cast<uint64_t>(runtime_->spec->settings.tls->handshake_timeout_ms));
}

void Gate::on_ready() {
  runtime_->tls.handshakes.inc();
  if (tls_->tls()->resumed) runtime_->tls.resumptions.inc();
  runtime_->tls.duration.observe_us((Loop::now_ns() - start_ns_) / 1000);
  hand_over(nullptr, 0);
}

void Gate::hand_over(uint8_t* data, size_t n) {
  over_ = true;
  timer_.stop();
  std::unique_ptr<Transport> transport = std::move(transport_);
  if (runtime_->spec->protocol) {
    DownstreamConnection& c = DownstreamConnection::take_over(*slot_, std::move(transport), *this);
    if (n && !c.closed()) c.feed(data, n);
  } else {
    ByteChain early;
    early.append(data, n);
    TcpRelay::take_over(*slot_, std::move(transport), early, *this);
  }
  slot_->worker().loop.retire(this);
}

void Gate::on_timer() {
  if (!tls_ && draining_) return end(Reason::kDraining);
  // Without a byte in permissive mode: an idle client, like any other.
  const bool quiet = !tls_ && runtime_->spec->settings.tls->mode == config::TlsMode::kPermissive;
  end(quiet ? Reason::kIdleTimeout : Reason::kTlsHandshakeTimeout);
}

void Gate::drain() {
  draining_ = true;
  // A connection that the kernel had queued may carry a request: it gets the time an idle one gets.
  if (!tls_) timer_.start(static_cast<uint64_t>(std::max<int64_t>(runtime_->spec->drain.idle_grace_ms, 1)));
}

void Gate::on_closed(Reason reason) { end(reason); }

void Gate::end(Reason reason) {
  if (over_) return;
  over_ = true;
  timer_.stop();
  if (is_tls_reason(reason)) {
    runtime_->tls.failures.inc(reason);
    DRAGOMAN_LOG(kDebug, "gate", "{}: TLS failed: {}", transport_->peer().host(), reason_row(reason).label);
  }
  runtime_->metrics.received_bytes.inc(transport_->bytes_read());
  runtime_->metrics.sent_bytes.inc(transport_->bytes_written());
  transport_->close();
  slot_->worker().loop.retire(this);
  slot_->on_closed(*this);
}

}  // namespace dragoman
