#include "proxy/stream/gate.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/owned_fd.h"
#include "proxy/base/server_name.h"
#include "proxy/stream/downstream.h"
#include "proxy/stream/tcp_relay.h"

namespace dragoman {
namespace {

constexpr uint8_t kTlsHandshakeRecord = 22;  // RFC 8446 section 5.1; no other protocol of ours begins with it

}  // namespace

void Gate::start(ListenerSlot& slot, int fd) {
  OwnedFd owned(fd);
  std::unique_ptr<Gate> made(new Gate(slot));
  made->begin(owned.take());
  Gate* gate = made.release();
  slot.add(*gate);
  if (gate->stage_ == Stage::kProxy && !gate->trusted_ &&
      gate->settings().proxy_protocol->accept == config::AcceptProxy::kRequired)
    gate->refuse(Reason::kProxyUntrusted);
}

Gate::Gate(ListenerSlot& slot) : slot_(&slot), runtime_(slot.runtime()), start_ns_(Loop::now_ns()) {}

void Gate::begin(int fd) {
  Loop& loop = slot_->worker().loop;
  transport_ = Transport::adopt(loop, fd, *this, slot_->transport_options());
  timer_.bind<&Gate::on_timer>(loop.timers(), this);
  if (!settings().proxy_protocol) {
    begin();
    return;
  }
  stage_ = Stage::kProxy;
  // Who may use a unix socket is a matter of the file.
  const Address& peer = transport_->peer();
  const auto& trusted = runtime_->spec->trusted;
  trusted_ = trusted.empty() || peer.is_unix() ||
             std::any_of(trusted.begin(), trusted.end(), [&](const IpPrefix& p) { return p.covers(peer); });
  start_timer(settings().proxy_protocol->timeout_ms);
}

void Gate::begin() {
  stage_ = settings().tls ? Stage::kFirst : Stage::kDetect;
  if (settings().tls && !permissive()) return start_timer(settings().tls->handshake_timeout_ms);
  // Without TLS a quiet client may be an idle one, or, where bytes are only relayed, one that waits for the server.
  const bool looks = runtime_->spec->detect || !runtime_->spec->protocol;
  start_timer(looks ? settings().detect.timeout_ms : settings().idle_timeout_ms);
}

Gate::~Gate() = default;

void Gate::start_timer(int64_t limit_ms) {
  timer_.stop();
  if (limit_ms > 0) timer_.start(static_cast<uint64_t>(limit_ms));
}

// --- bytes ------------------------------------------------------------------------------------------------------------

void Gate::on_data(uint8_t* data, size_t n) {
  if (stage_ == Stage::kProxy) {
    std::memcpy(data - prefix_.size(), prefix_.data(), prefix_.size());
    std::span<uint8_t> bytes(data - prefix_.size(), prefix_.size() + n);
    if (!read_proxy(bytes) || bytes.empty()) return;
    data = bytes.data();
    n = bytes.size();
  }
  if (stage_ == Stage::kIdle) start_detection();
  if (stage_ == Stage::kFirst) {
    if (data[0] == kTlsHandshakeRecord) {
      start_tls();
      return tls_->feed(data, n);
    }
    if (!permissive()) return end(Reason::kTlsNotTls);
    runtime_->tls.plaintext.inc();
    start_detection();
  }
  // What came before goes in front: every transport leaves room for that.
  std::memcpy(data - prefix_.size(), prefix_.data(), prefix_.size());
  const std::span<uint8_t> bytes(data - prefix_.size(), prefix_.size() + n);
  if (decide(bytes, false)) return;
  if (bytes.size() >= settings().detect.bytes_max) {
    if (!decide(bytes, true)) unknown(bytes);
    return;
  }
  if (prefix_.empty()) undecided_since_ms_ = slot_->worker().loop.now_ms();
  prefix_.assign(bytes.begin(), bytes.end());
  wait_for_more();
}

bool Gate::read_proxy(std::span<uint8_t>& bytes) {
  const config::ProxyProtocol& rule = *settings().proxy_protocol;
  const ProxyHeader header = ProxyHeader::read(bytes, rule.bytes_max);
  switch (header.verdict) {
    case ProxyHeader::Verdict::kMore: prefix_.assign(bytes.begin(), bytes.end()); return false;
    case ProxyHeader::Verdict::kNone:
      if (rule.accept == config::AcceptProxy::kOptional) break;
      refuse(Reason::kProxyHeader, "there is none");
      return false;
    case ProxyHeader::Verdict::kBad:
      refuse(trusted_ ? Reason::kProxyHeader : Reason::kProxyUntrusted, header.error);
      return false;
    case ProxyHeader::Verdict::kDone:
      if (!trusted_) {
        refuse(Reason::kProxyUntrusted);
        return false;
      }
      if (header.has_ends) transport_->set_ends(header.source, header.destination);
      bytes = bytes.subspan(header.bytes);
      break;
  }
  return pass_proxy(bytes);
}

bool Gate::pass_proxy(std::span<uint8_t> bytes) {
  prefix_.clear();
  if (settings().tls || runtime_->spec->detect) {
    begin();
    return true;
  }
  hand_over(*runtime_, bytes);
  return false;
}

void Gate::refuse(Reason reason, std::string_view detail) {
  runtime_->metrics.protocol_errors.inc(reason);
  DRAGOMAN_LOG(kDebug, "gate", "{}: PROXY protocol: {} {}", transport_->peer().host(),
               reason_row(reason).label, detail);
  end(reason);
}

// Undecided is not unknown: the rest may be a lost segment that comes again.
void Gate::wait_for_more() {
  const auto idle = static_cast<uint64_t>(settings().idle_timeout_ms);
  auto limit = waits() ? idle : static_cast<uint64_t>(settings().detect.undecided_timeout_ms);
  if (idle != 0) {
    const uint64_t passed = slot_->worker().loop.now_ms() - undecided_since_ms_;
    limit = std::min(limit, passed < idle ? idle - passed : 1);
  }
  start_timer(static_cast<int64_t>(limit));
}

bool Gate::waits() const {
  const std::string& silence = settings().detect.silence;
  return silence == "wait" || (silence == "auto" && settings().on_unknown == config::OnUnknown::kReject);
}

void Gate::on_eof() {
  if (stage_ == Stage::kProxy && !prefix_.empty()) {
    if (settings().proxy_protocol->accept == config::AcceptProxy::kRequired)
      return refuse(Reason::kProxyHeader, "it is cut");
    eof_ = true;
    const std::span<uint8_t> bytes = prefix_in_scratch();
    if (!pass_proxy(bytes)) return;
    on_data(bytes.data(), bytes.size());
    if (over_) return;
  }
  // Nothing more will come: what is there decides. Without a byte there is nothing to do.
  if (stage_ != Stage::kDetect || prefix_.empty()) return end(Reason::kNone);
  eof_ = true;
  const std::span<uint8_t> bytes = prefix_in_scratch();
  if (!decide(bytes, true)) unknown(bytes);
}

void Gate::start_tls() {
  stage_ = Stage::kHandshake;
  WorkerContext& worker = slot_->worker();
  try {
    auto tls = TlsTransport::accept(worker.loop, std::move(transport_), *this,
                                    runtime_->spec->tls->current(worker.index));
    tls_ = tls.get();
    transport_ = std::move(tls);
  } catch (const std::bad_alloc&) {
    lose();
    throw;
  }
  if (permissive()) start_timer(settings().tls->handshake_timeout_ms);
}

void Gate::on_ready() {
  const TlsInfo& tls = *tls_->tls();
  runtime_->tls.handshakes.inc();
  if (tls.resumed) runtime_->tls.resumptions.inc();
  runtime_->tls.duration.observe_us((Loop::now_ns() - start_ns_) / 1000);
  if (!runtime_->spec->detect) return hand_over(*runtime_, {});
  start_ns_ = Loop::now_ns();
  const auto& alpn = runtime_->spec->detect->alpn;
  for (size_t i = 0; i < alpn.size(); ++i)
    if (!tls.alpn.empty() && std::find(alpn[i].begin(), alpn[i].end(), tls.alpn) != alpn[i].end()) return found(i, {});
  start_detection();
}

void Gate::start_detection() {
  stage_ = Stage::kDetect;
  start_timer(settings().detect.timeout_ms);
}

// --- deciding ---------------------------------------------------------------------------------------------------------

bool Gate::decide(std::span<uint8_t> bytes, bool now) {
  const DetectSpec* spec = runtime_->spec->detect.get();
  if (!spec) {
    hand_over(*runtime_, bytes);
    return true;
  }
  const Detection result = detect(spec->rules, bytes, now);
  if (result.verdict == Verdict::kMore) return false;
  if (result.verdict == Verdict::kNo) {
    unknown(bytes);
    return true;
  }
  if (spec->names[result.index] != "tls") {
    found(result.index, bytes);
    return true;
  }
  bool more = false;
  ListenerRuntime* part = pass_on(bytes, more);
  if (!part && more && !now) return false;
  if (!part) {
    unknown(bytes);
    return true;
  }
  for (size_t i = 0; i < runtime_->detected.size(); ++i)
    if (runtime_->detected[i].get() == part) found(i, bytes);
  return true;
}

ListenerRuntime* Gate::pass_on(std::span<const uint8_t> bytes, bool& more) {
  const DetectSpec& spec = *runtime_->spec->detect;
  bool by_name = false;
  ListenerRuntime* any = nullptr;
  for (size_t i = 0; i < spec.names.size(); ++i) {
    if (spec.names[i] != "tls") continue;
    by_name = by_name || !spec.server_names[i].empty();
    if (spec.server_names[i].empty()) any = runtime_->detected[i].get();
  }
  if (!by_name) return any;
  const HelloName hello = hello_server_name(bytes);
  more = hello.verdict == Verdict::kMore;
  if (more) return nullptr;
  for (size_t i = 0; hello.verdict == Verdict::kYes && i < spec.names.size(); ++i)
    for (const std::string& name : spec.server_names[i])
      if (!hello.name.empty() && server_name_covers(name, hello.name)) return runtime_->detected[i].get();
  return any;
}

void Gate::found(size_t index, std::span<uint8_t> bytes) {
  runtime_->detect_metrics[index].connections.inc();
  runtime_->detect_metrics[index].duration.observe_us((Loop::now_ns() - start_ns_) / 1000);
  hand_over(*runtime_->detected[index], bytes);
}

void Gate::unknown(std::span<uint8_t> bytes) {
  const DetectMetrics& metrics = bytes.empty() ? runtime_->silent_metrics : runtime_->unknown_metrics;
  metrics.connections.inc();
  metrics.duration.observe_us((Loop::now_ns() - start_ns_) / 1000);
  if (runtime_->unknown) return hand_over(*runtime_->unknown, bytes);
  runtime_->metrics.protocol_errors.inc(Reason::kUnknownProtocol);
  end(Reason::kUnknownProtocol);
}

std::span<uint8_t> Gate::prefix_in_scratch() {
  uint8_t* scratch = slot_->worker().loop.scratch();
  std::memcpy(scratch, prefix_.data(), prefix_.size());
  return {scratch, prefix_.size()};
}

void Gate::on_timer() {
  try {
    take_timer();
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    end(Reason::kOwnResources);
  }
}

void Gate::take_timer() {
  if (draining_ && prefix_.empty() && !tls_) return end(Reason::kDraining);
  switch (stage_) {
    case Stage::kProxy: {
      // What is no header yet will be none.
      if (settings().proxy_protocol->accept == config::AcceptProxy::kRequired)
        return refuse(Reason::kProxyTimeout);
      const std::span<uint8_t> bytes = prefix_in_scratch();
      if (pass_proxy(bytes) && !bytes.empty()) on_data(bytes.data(), bytes.size());
      return;
    }
    case Stage::kHandshake:
      return end(Reason::kTlsHandshakeTimeout);
    case Stage::kIdle:
      return end(Reason::kIdleTimeout);
    case Stage::kFirst:
      if (!permissive()) return end(Reason::kTlsHandshakeTimeout);
      if (waited_ || runtime_->spec->protocol) return end(Reason::kIdleTimeout);
      [[fallthrough]];
    case Stage::kDetect:
      break;
  }
  if (prefix_.empty()) return on_silence();
  const std::span<uint8_t> bytes = prefix_in_scratch();
  if (!decide(bytes, true)) unknown(bytes);
}

void Gate::on_silence() {
  const DetectSpec* spec = runtime_->spec->detect.get();
  if (!spec) {
    runtime_->tls.plaintext.inc();
    return hand_over(*runtime_, {});
  }
  if (waits()) {
    if (stage_ == Stage::kDetect) stage_ = Stage::kIdle;
    waited_ = true;
    return start_timer(settings().idle_timeout_ms);
  }
  for (size_t i = 0; i < spec->names.size(); ++i) {
    if (spec->names[i] != settings().detect.silence) continue;
    runtime_->silent_metrics.connections.inc();
    runtime_->silent_metrics.duration.observe_us((Loop::now_ns() - start_ns_) / 1000);
    return hand_over(*runtime_->detected[i], {});
  }
  unknown({});
}

// --- the end ----------------------------------------------------------------------------------------------------------

void Gate::hand_over(ListenerRuntime& part, std::span<uint8_t> bytes) {
  over_ = true;
  timer_.stop();
  std::unique_ptr<Transport> transport = std::move(transport_);
  Ref<ListenerRuntime> runtime(&part);
  if (part.spec->protocol) {
    DownstreamConnection* taken = nullptr;
    try {
      taken = &DownstreamConnection::take_over(
          *slot_, std::move(transport), *this,
          &part == runtime_.get() ? Ref<ListenerRuntime>() : std::move(runtime));
    } catch (const std::bad_alloc&) {
      lose();
      throw;
    }
    DownstreamConnection& c = *taken;
    slot_->worker().loop.retire(this);
    if (!bytes.empty()) c.feed(bytes.data(), bytes.size());
    if (eof_ && !c.closed()) c.feed_eof();
    if (slot_->draining() && !c.closed()) c.drain();
  } else {
    try {
      ByteChain early{MemoryOwner::kInput};
      early.append(bytes);
      TcpRelay::take_over(*slot_, std::move(transport), early, eof_, *this, std::move(runtime));
    } catch (const std::bad_alloc&) {
      lose();
      throw;
    }
    slot_->worker().loop.retire(this);
  }
}

/// Its transport is gone already: there was no memory for the next owner.
void Gate::lose() {
  over_ = true;
  timer_.stop();
  slot_->worker().loop.retire(this);
  slot_->on_closed(*this);
}

void Gate::drain() {
  draining_ = true;
  // A connection that the kernel had queued may carry a request: it gets the time an idle one gets.
  if (prefix_.empty() && !tls_) start_timer(std::max<int64_t>(runtime_->spec->drain.idle_grace_ms, 1));
}

void Gate::end(Reason reason) {
  if (over_) return;
  over_ = true;
  timer_.stop();
  if (is_tls_reason(reason)) runtime_->tls.failures.inc(reason);
  if (is_tls_reason(reason) || reason == Reason::kUnknownProtocol)
    DRAGOMAN_LOG(kDebug, "gate", "{}: refused: {}", transport_->peer().host(), reason_row(reason).label);
  runtime_->metrics.received_bytes.inc(transport_->bytes_read());
  runtime_->metrics.sent_bytes.inc(transport_->bytes_written());
  transport_->close();
  slot_->worker().loop.retire(this);
  slot_->on_closed(*this);
}

}  // namespace dragoman
