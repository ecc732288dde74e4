#include "proxy/stream/downstream.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "protocols/either_codec.h"
#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/owned_fd.h"
#include "proxy/stream/bound_link.h"
#include "proxy/stream/stream.h"

namespace dragoman {
namespace {

// Which configured bound a reason stands for, when it stands for one.
bool limit_of(Reason reason, ListenerLimit& limit) {
  switch (reason) {
    case Reason::kHeadTooLarge:
      limit = ListenerLimit::kHeadBytes;
      return true;
    case Reason::kTooManyHeaders:
      limit = ListenerLimit::kHeaders;
      return true;
    case Reason::kUriTooLong:
      limit = ListenerLimit::kUriBytes;
      return true;
    case Reason::kBodyTooLarge:
      limit = ListenerLimit::kBodyBytes;
      return true;
    case Reason::kFrameTooLarge:
      limit = ListenerLimit::kFrameBytes;
      return true;
    case Reason::kHeartbeatFlood:
      limit = ListenerLimit::kHeartbeats;
      return true;
    default:
      return false;
  }
}

}  // namespace

void DownstreamConnection::start(ListenerSlot& slot, int fd, const Address& peer) {
  OwnedFd owned(fd);
  std::unique_ptr<DownstreamConnection> c(new DownstreamConnection(slot, peer.host()));
  c->transport_ = Transport::adopt(c->loop(), owned.take(), *c, slot.transport_options());
  c->start_codec();
  slot.add(*c.release());
}

DownstreamConnection& DownstreamConnection::take_over(ListenerSlot& slot, std::unique_ptr<Transport> transport,
                                                      AcceptedConnection& before, Ref<ListenerRuntime> part) {
  std::unique_ptr<DownstreamConnection> made(new DownstreamConnection(slot, transport->peer().host()));
  DownstreamConnection* c = made.get();
  c->part_ = std::move(part);
  c->part_of_ = slot.reloads();
  c->transport_ = std::move(transport);
  c->transport_->set_events(*c);
  c->start_codec();
  slot.replace(before, *made.release());
  return *c;
}

// A configuration that no longer has the protocol leaves the connection with the part it has.
void DownstreamConnection::follow_reload() const {
  part_of_ = slot_->reloads();
  if (ListenerRuntime* part = slot_->runtime()->part(part_->spec->settings.protocol)) part_ = Ref<ListenerRuntime>(part);
}

DownstreamConnection::DownstreamConnection(ListenerSlot& slot, std::string peer_host)
    : slot_(&slot),
      peer_host_(std::move(peer_host)),
      glitches_(slot.runtime()->spec->settings.glitches.burst, slot.runtime()->spec->settings.glitches.per_second) {}

void DownstreamConnection::start_codec() {
  const ListenerSpec& spec = *runtime().spec;
  const TlsInfo* tls = transport_->tls();
  const Protocol& protocol = tls ? agreed_protocol(*spec.protocol, tls->alpn) : *spec.protocol;
  codec_ = protocol.create(protocol, Role::kServer, *transport_, *this, spec.codec);
  if (runtime().counts_hops()) codec_->find_hops();
  timer_.bind<&DownstreamConnection::on_timer>(loop().timers(), this);
  idle_since_ms_ = phase_since_ms_ = now_ms();
  tick();
  arm_timer();
}

DownstreamConnection::~DownstreamConnection() {
  if (no_memory_) holds_.reset_forgotten(Reason::kOwnResources);
  const size_t untold = holds_.reset_untold(Reason::kDownstreamReset);
  if (untold == 0) return;
  runtime().metrics.codec_events.inc(CodecEvent::kEndUntold, untold);
  DRAGOMAN_LOG_LIMITED(kError, "downstream", runtime().spec->settings.name,
                       "{}: the codec of {} did not end {} exchanges of a closed connection", peer_host_,
                       runtime().spec->protocol->name, untold);
}

// --- bytes --------------------------------------------------------------------------------------------------------

LoggedHttp DownstreamConnection::http_version(const Head& request) const {
  if (!request.is_http) return LoggedHttp::kNone;
  if (http2_) return LoggedHttp::k2;
  return request.http10 ? LoggedHttp::k10 : LoggedHttp::k11;
}

void DownstreamConnection::on_data(uint8_t* data, size_t n) {
  if (!first_bytes_seen_) {
    first_bytes_seen_ = true;
    http2_ = n >= 4 && std::memcmp(data, "PRI ", 4) == 0;  // RFC 9113 section 3.4
  }
  codec_->on_data(data, n);
  if (!end_if_abusive()) after_read();
}

void DownstreamConnection::after_read() {
  if (closed_) return;
  ReadPhase phase = codec_->phase();
  if (phase == phase_ && (phase == ReadPhase::kIdle || phase_exchange_ == exchanges_started_)) return;
  phase_ = phase;
  phase_exchange_ = exchanges_started_;
  phase_since_ms_ = now_ms();
  if (phase != ReadPhase::kIdle) {
    Reason due = Reason::kNone;
    int64_t deadline = nearest_deadline(due);
    if (deadline >= 0 && (!timer_.active() || now_ms() + static_cast<uint64_t>(deadline) < timer_.expires_ms()))
      timer_.start(static_cast<uint64_t>(deadline));
  }
}

// We had held up the client: the time until now was not its own, and what was kept meanwhile may have begun a message.
void DownstreamConnection::restart_read_clock() {
  phase_ = ReadPhase::kIdle;
  after_read();
}

void DownstreamConnection::on_eof() {
  eof_ = true;
  codec_->on_eof();
  if (closed_) return;
  if (codec_->open_exchanges() == 0) return close(Reason::kNone, true);
  // A client that only stopped sending could still want its answers. Hardly any does; those that gave up waiting are many.
  if (runtime().spec->settings.half_close == config::HalfClose::kServe) return;
  if (!holds_.outlive_fin()) return close(Reason::kDownstreamReset, true);
  holds_.reset_for_fin(Reason::kDownstreamReset);
}

// Its codec may hold further messages, whose turn it is after those that are given up.
void DownstreamConnection::on_peer_left() {
  if (runtime().spec->settings.half_close == config::HalfClose::kServe) return;
  holds_.reset_for_fin(Reason::kDownstreamReset);
}

void DownstreamConnection::on_closed(Reason reason) {
  if (is_tls_reason(reason)) runtime().tls.failures.inc(reason);
  if (reason == Reason::kOwnResources) runtime().metrics.protocol_errors.inc(reason);
  close(reason == Reason::kOwnResources ? reason : Reason::kDownstreamReset, false);
}

void DownstreamConnection::on_write_blocked(bool blocked) {
  if (blocked)
    transport_->pause_read(kPauseSelfFull);  // who does not read its answers sends no more requests
  else
    transport_->resume_read(kPauseSelfFull);
  codec_->on_write_blocked(blocked);
  if (!blocked) restart_read_clock();
}

// --- codec events -------------------------------------------------------------------------------------------------

MessageSink* DownstreamConnection::on_exchange(Exchange& exchange) {
  ++exchanges_started_;
  ++streams_;
  // While it was idle it had a long deadline; an answer that nobody reads has a shorter one.
  auto stall = static_cast<uint64_t>(runtime().spec->settings.buffer.write_stall_timeout_ms);
  if (stall > 0 && (!timer_.active() || timer_.expires_ms() > now_ms() + stall)) timer_.start(stall);
  auto* stream = new Stream(*this, exchange);
  return &stream->request_sink();
}

bool DownstreamConnection::count_kept(ptrdiff_t more) {
  kept_bytes_ += static_cast<size_t>(more);
  const ListenerRuntime& now = runtime();
  if (more <= 0 || kept_bytes_ <= now.spec->settings.waiting_bytes_max) return true;
  now.metrics.limit_hits.inc(ListenerLimit::kWaitingBytes);
  return false;
}

// What it still sends is served, and silence ends the connection as in a drain.
void DownstreamConnection::on_goaway() {
  if (!runtime().spec->protocol->is_http) return;  // framed clients say it of requests to them
  leaving_ = true;
  const auto grace = static_cast<uint64_t>(std::max<int64_t>(runtime().spec->drain.idle_grace_ms, 1));
  if (!timer_.active() || timer_.expires_ms() > now_ms() + grace) timer_.start(grace);
}

void DownstreamConnection::on_broken(Reason reason, std::string_view detail) {
  const ListenerMetrics& metrics = runtime().metrics;
  metrics.protocol_errors.inc(reason);
  ListenerLimit limit;
  if (limit_of(reason, limit)) metrics.limit_hits.inc(limit);
  DRAGOMAN_LOG(kDebug, "downstream", "{}: {}: {}", peer_host_, reason_row(reason).label, detail);
  close(reason, true);
}

void DownstreamConnection::on_finished() {
  // HTTP has told the client that this was the last answer. A framed client has not been told (or not reliably): what it
  // sends within the grace is still served, and silence ends the connection.
  const Protocol& protocol = *runtime().spec->protocol;
  if (draining_ && protocol.multiplexed && !protocol.is_http && !eof_) return arm_timer();
  close(Reason::kNone, true);
}

void DownstreamConnection::on_output_end() { transport_->finish(); }

void DownstreamConnection::on_refused(Reason reason, std::string_view detail) {
  glitch();
  const ListenerMetrics& metrics = runtime().metrics;
  metrics.protocol_errors.inc(reason);
  ListenerLimit limit;
  if (limit_of(reason, limit)) metrics.limit_hits.inc(limit);
  DRAGOMAN_LOG(kDebug, "downstream", "{}: request refused: {}: {}", peer_host_, reason_row(reason).label, detail);
}

void DownstreamConnection::on_capacity() {}

void DownstreamConnection::pause_reading() {
  paused_by_codec_ = true;
  transport_->pause_read(kPauseCodec);
}

void DownstreamConnection::resume_reading() {
  paused_by_codec_ = false;
  transport_->resume_read(kPauseCodec);
  restart_read_clock();
}

void DownstreamConnection::on_event(CodecEvent event) {
  runtime().metrics.codec_events.inc(event);
  if (event == CodecEvent::kStreamsOverflow) runtime().metrics.limit_hits.inc(ListenerLimit::kStreams);
  switch (event) {
    case CodecEvent::kGlitch:
    case CodecEvent::kHeartbeatUnexpected:
    case CodecEvent::kUnknownId:
    case CodecEvent::kOneWayAnswered:
    case CodecEvent::kDuplicateId:
    case CodecEvent::kUnsupported:
      return glitch();
    default:
      return;
  }
}

// One score for every protocol: codecs only say that something was odd.
void DownstreamConnection::glitch() {
  if (abusive_ || closed_ || glitches_.take(now_ms())) return;
  abusive_ = true;
  runtime().metrics.codec_events.inc(CodecEvent::kGlitchFlood);
}

bool DownstreamConnection::end_if_abusive() {
  if (!abusive_ || closed_) return false;
  codec_->fail(Reason::kAbuse);
  if (!closed_) close(Reason::kAbuse, true);
  return true;
}

void DownstreamConnection::on_stream_end() {
  --streams_;
  if (streams_ == 0) idle_since_ms_ = now_ms();
}

// --- the end ------------------------------------------------------------------------------------------------------

void DownstreamConnection::close(Reason reason, bool flush) {
  if (closed_) return;
  closed_ = true;
  timer_.stop();
  // What is under way must not look complete where only the connection's end says so (tunnels, HTTP/1.0).
  const bool cut = streams_ > 0 && reason == Reason::kDraining;
  const ListenerMetrics& metrics = runtime().metrics;
  metrics.received_bytes.inc(transport_->bytes_read());
  no_memory_ = reason == Reason::kOwnResources;
  try {
    codec_->on_transport_closed(reason == Reason::kNone ? Reason::kDownstreamReset : reason);
  } catch (const std::bad_alloc&) {
    no_memory_ = true;  // the rest is told at the end
  }
  if (bound_) std::exchange(bound_, nullptr)->on_downstream_closed();
  metrics.sent_bytes.inc(transport_->bytes_written() + (flush ? transport_->unsent() : 0));
  if (codec_->cut()) {
    transport_->flush();  // what had come of the message is the client's
    transport_->close(true);
  } else if (flush) {
    transport_->close_after_flush();
  } else {
    transport_->close(cut);
  }
  loop().retire(this);
  slot_->on_closed(*this);
}

void DownstreamConnection::drain() {
  if (closed_ || draining_) return;
  draining_ = true;
  try {
    codec_->drain();
    if (closed_) return;
    tick();
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    return close(Reason::kOwnResources, false);
  }
  if (closed_) return;
  timer_.start(static_cast<uint64_t>(runtime().spec->drain.idle_grace_ms));
}

void DownstreamConnection::abort() { close(Reason::kDraining, false); }

// --- deadlines ----------------------------------------------------------------------------------------------------

int64_t DownstreamConnection::nearest_deadline(Reason& due) const {
  const ListenerSpec& spec = *runtime().spec;
  uint64_t now = now_ms();
  int64_t nearest = -1;
  auto consider = [&](int64_t limit_ms, uint64_t since_ms, Reason reason) {
    if (limit_ms <= 0) return;
    int64_t left = limit_ms - static_cast<int64_t>(now - std::min(since_ms, now));
    if (left < 0) left = 0;
    if (nearest < 0 || left < nearest) {
      nearest = left;
      due = reason;
    }
  };
  const bool http = spec.protocol->is_http;
  if (transport_->unsent() != 0)
    consider(spec.settings.buffer.write_stall_timeout_ms, transport_->last_write_ms(), Reason::kWriteStall);
  if (!paused_by_codec_ && !transport_->write_blocked()) {
    if (http) {
      if (phase_ == ReadPhase::kHead) consider(spec.settings.http.header_timeout_ms, phase_since_ms_, Reason::kHeadTimeout);
      if (phase_ == ReadPhase::kBody)
        consider(spec.settings.http.body_idle_timeout_ms, std::max(transport_->last_read_ms(), phase_since_ms_),
                 Reason::kBodyTimeout);
    } else if (phase_ != ReadPhase::kIdle) {
      consider(spec.settings.rpc.frame_timeout_ms, phase_since_ms_, Reason::kFrameTimeout);
    }
  }
  if (streams_ == 0 && phase_ == ReadPhase::kIdle) {
    uint64_t since = std::max({idle_since_ms_, transport_->last_read_ms(), phase_since_ms_});
    if (draining_ || leaving_)
      consider(std::max<int64_t>(spec.drain.idle_grace_ms, 1), since, Reason::kDraining);
    else
      consider(spec.settings.idle_timeout_ms, since, Reason::kIdleTimeout);
  }
  return nearest;
}

void DownstreamConnection::arm_timer() {
  Reason due = Reason::kNone;
  int64_t deadline = nearest_deadline(due);
  if (tick_at_ms_ != 0) {
    int64_t tick = static_cast<int64_t>(std::max(tick_at_ms_, now_ms()) - now_ms());
    if (deadline < 0 || tick < deadline) deadline = tick;
  }
  if (deadline < 0) {
    // Busy without a deadline: nobody arms the timer when that ends, so it looks again. An idle connection is closed late by so much.
    const ListenerSpec& spec = *runtime().spec;
    int64_t stall = spec.settings.buffer.write_stall_timeout_ms;
    deadline = draining_ || leaving_ ? std::max<int64_t>(spec.drain.idle_grace_ms, 10)
               : stall > 0           ? stall
                                     : 60'000;
    if (spec.settings.idle_timeout_ms > 0) deadline = std::min(deadline, spec.settings.idle_timeout_ms);
  }
  timer_.start(static_cast<uint64_t>(std::max<int64_t>(deadline, 1)));
}

void DownstreamConnection::tick() {
  int64_t next = codec_->tick();
  tick_at_ms_ = next < 0 ? 0 : now_ms() + static_cast<uint64_t>(next);
}

void DownstreamConnection::on_timer() {
  try {
    take_timer();
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    close(Reason::kOwnResources, false);
  }
}

void DownstreamConnection::take_timer() {
  if (closed_) return;
  if (tick_at_ms_ != 0 && now_ms() >= tick_at_ms_) tick();
  if (closed_ || end_if_abusive()) return;
  phase_ = codec_->phase();
  Reason due = Reason::kNone;
  int64_t deadline = nearest_deadline(due);
  if (deadline != 0) {
    unread_seen_ = false;
    return arm_timer();
  }
  switch (due) {
    case Reason::kHeadTimeout:
    case Reason::kBodyTimeout:
    case Reason::kFrameTimeout:
      codec_->fail(due);
      if (!closed_) close(due, true);
      return;
    case Reason::kWriteStall:
      runtime().metrics.protocol_errors.inc(due);
      runtime().metrics.limit_hits.inc(ListenerLimit::kWriteBuffer);
      return close(due, false);
    default:
      // A request that came after the sockets were polled makes the connection not idle; once, lest a paused one stays.
      if (!std::exchange(unread_seen_, true) && transport_->unread()) return timer_.start(1);
      codec_->farewell();
      if (!closed_) close(due, true);
      return;
  }
}

}  // namespace dragoman
