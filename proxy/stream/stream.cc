#include "proxy/stream/stream.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <ctime>

#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/object_pool.h"
#include "proxy/route/apply.h"
#include "proxy/stream/bound_link.h"

namespace dragoman {
namespace {

// Why the client is not being read on behalf of this exchange; one bit each.
constexpr uint8_t kFilterPause = 1;     // a filter paused the head
constexpr uint8_t kUnsentPause = 2;     // no connection yet and enough is kept
constexpr uint8_t kUpstreamPause = 4;   // the upstream connection's output is over its watermark

/// Behind a reason that is told: no backend has seen the request.
constexpr std::string_view kUnsent = "; unsent";

constexpr uint8_t kRacesLostMax = 3;
constexpr uint8_t kMovesMax = 2;  // as TCP relays do: three endpoints at most

/// The connection could not be made.
bool is_connect_failure(Reason reason) {
  return reason == Reason::kConnectFailure || reason == Reason::kConnectTimeout ||
         reason == Reason::kOwnResources || is_tls_reason(reason);
}

void take_off_reason(Head& answer) {
  HeaderEdit** edit = answer.edits_tail;
  answer.remove_header(kReasonHeader);
  if (*edit) (*edit)->optional = true;  // an answer that can't be changed keeps it
}

// Memory of streams is recycled per worker; retire() deletes through the virtual destructor and comes back here.
struct alignas(Stream) StreamMemory {
  unsigned char bytes[sizeof(Stream)];
};

uint64_t wall_now_us() {
  timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000 + static_cast<uint64_t>(ts.tv_nsec) / 1000;
}

}  // namespace

void* Stream::operator new(size_t) { return ObjectPool<StreamMemory>::create(); }
void Stream::operator delete(void* memory) { ObjectPool<StreamMemory>::destroy(static_cast<StreamMemory*>(memory)); }
size_t Stream::live() { return ObjectPool<StreamMemory>::live(); }

Stream::Stream(DownstreamConnection& connection, Exchange& exchange)
    : connection_(&connection), down_(&exchange), runtime_(&connection.runtime()) {
  deadline_.bind<&Stream::on_deadline>(connection.loop().timers(), this);
  try_timer_.bind<&Stream::on_try_timer>(connection.loop().timers(), this);
  connection.hold(down_hold_);
}

Stream::~Stream() = default;

void Stream::go(StreamState to) {
  assert(stream_may_go(state_, to));
  state_ = to;
}

// --- request side -------------------------------------------------------------------------------------------------

void Stream::on_request_head(Head& head, bool end) {
  start_ns_ = Loop::now_ns();
  start_wall_us_ = wall_now_us();
  request_ = &head;
  request_ended_ = end;
  down_hold_.outlives_fin = head.one_way;
  request_bytes_ = head.wire.size();
  arrived_ms_ = connection_->loop().now_ms();
  if (const TlsInfo* tls = connection_->tls()) {
    head.sni = tls->sni;
    if (head.is_http) head.scheme = "https";
  }
  go(StreamState::kFiltering);
  if (memory_is_short()) {
    target_ = &runtime_->unrouted;
    note_memory_shed(MemoryShed::kRequest);
    return fail(Reason::kOwnResources);
  }
  const auto& factories = runtime_->spec->filters;
  filter_count_ = static_cast<uint16_t>(factories.size());
  if (filter_count_ != 0) {
    filters_ = head.arena.allocate_array<Filter*>(filter_count_);
    for (uint16_t i = 0; i < filter_count_; ++i) filters_[i] = factories[i]->create(head.arena);
  }
  run_filters();
}

void Stream::run_filters() {
  while (filter_at_ < filter_count_) {
    FilterVerdict verdict = filters_[filter_at_]->on_request_head(*this, *request_, request_ended_);
    if (state_ != StreamState::kFiltering) return;  // answered
    ++filter_at_;
    if (body_seen_) {
      replay_body(*filters_[filter_at_ - 1]);
      if (state_ != StreamState::kFiltering) return;
    }
    if (verdict == FilterVerdict::kPause) {
      filter_paused_ = true;
      if (!request_ended_) pause_down(kFilterPause);
      return;
    }
  }
  route();
}

void Stream::replay_body(Filter& filter) {
  ByteChain held{MemoryOwner::kRequests};
  held.swap(kept_);
  const bool ended = request_ended_ && !request_trailers_;
  size_t left = held.size();
  auto show = [&](const uint8_t* p, size_t n) {
    if (state_ == StreamState::kDone) return;
    left -= n;
    BodyChunk piece{{p, n}, ended && left == 0};
    filter.on_request_body(*this, piece);
    if (state_ != StreamState::kDone) kept_.append(piece.data);
  };
  if (held.empty())
    show(nullptr, 0);
  else
    held.for_each(show);
  if (state_ != StreamState::kDone) count_kept();
}

void Stream::resume() {
  if (!filter_paused_ || state_ != StreamState::kFiltering) return;
  filter_paused_ = false;
  resume_down(kFilterPause);
  if (state_ == StreamState::kFiltering) run_filters();
}

void Stream::count_active() {
  target_->metrics.active.add();
  ++runtime_->under_way;
  counted_active_ = true;
}

void Stream::route() {
  go(StreamState::kRouted);
  route_ = runtime_->spec->routes->match(*request_);
  if (!route_) {
    target_ = &runtime_->unrouted;
    count_active();
    return fail(Reason::kNoRoute);
  }
  const RouteRuntime& route = runtime_->routes[route_->index];
  size_t at = route.targets.size() > 1 ? pick_cluster(*route_, random()) : 0;
  target_ = &route.targets[at];
  count_active();

  if (route_->action == Route::Action::kRedirect) {
    const bool normalize = runtime_->spec->codec.http1.normalize_path;
    Header location{"location", make_location(*route_, *request_, request_->arena, normalize),
                    HeaderId::kLocation};
    if (location.value.empty()) return fail(Reason::kMalformed, "path leaves its route");
    LocalReply reply;
    reply.reason = Reason::kRedirect;
    reply.http_status = route_->redirect->status;
    reply.headers = {&location, 1};
    return answer(reply);
  }
  if (route_->action == Route::Action::kDirectResponse) {
    LocalReply reply;
    reply.reason = Reason::kDirectResponse;
    reply.http_status = route_->direct_response->status;
    reply.text = route_->direct_response->body;
    reply.content_type = route_->direct_response->content_type;
    return answer(reply);
  }
  uint64_t body_max = route_->request_body_bytes_max;
  if (body_max != 0 && request_->content_length > 0 && static_cast<uint64_t>(request_->content_length) > body_max)
    return fail(Reason::kBodyTooLarge);

  Cluster& cluster = *target_->cluster;
  if (!cluster.take(Limit::kRequests, cluster.settings().limits.requests)) {
    cluster.metrics().overflows.inc(ClusterLimit::kRequests);
    return fail(Reason::kRequestOverflow);
  }
  requests_taken_ = true;
  request_->must_remove = runtime_->spec->settings.rpc.skipped_removals == config::Strictness::kRefuse;
  if (route_->one_way && !request_->is_http) {
    request_->one_way = down_hold_.outlives_fin = true;
    down_->no_answer();
  }
  if (!apply_request(*route_, *request_, runtime_->spec->codec.http1.normalize_path))
    return fail(Reason::kMalformed, "path leaves its route");
  if (runtime_->counts_hops() && !count_hop()) {
    runtime_->metrics.limit_hits.inc(ListenerLimit::kHops);
    return fail(Reason::kLoopDetected,
                "loop detected: this request has come through too many proxies (hops_max)");
  }
  // The body is kept from its first byte only where a repeat after sending could be safe.
  keep_body_ = rules().retry.idempotent || is_idempotent(*request_) ||
               cluster.protocol()->refuses_untouched || cluster.settings().sidecar;
  if (cluster.pool_mode() == PoolMode::kBound) keep_body_ = false;
  grpc_ = request_->grpc;
  if (request_->timeout_ms > 0 && caller_deadline_ms_ == 0) {
    const int64_t max_ms = rules().timeout_max_ms;
    const int64_t timeout_ms = max_ms > 0 ? std::min(request_->timeout_ms, max_ms) : request_->timeout_ms;
    caller_deadline_ms_ = arrived_ms_ + static_cast<uint64_t>(timeout_ms);
    start_caller_deadline();
  }
  if (request_ended_ || request_->upgrade)
    request_complete();  // an upgrade has nothing to send before its answer
  start_try();
}

bool Stream::count_hop() {
  if (request_->hops_unread) {
    connection_->find_hops();  // in those that come behind it
    return true;
  }
  uint32_t hops = 0;
  bool there = false;
  for (const Header& h : request_->headers) {
    if (h.id != HeaderId::kHops) continue;
    there = true;
    // What is not a number of ours counts as none: it gets one now.
    uint32_t said = 0;
    const char* end = h.value.data() + h.value.size();
    if (h.value.size() <= 4 && std::from_chars(h.value.data(), end, said).ptr == end)
      hops = std::max(hops, said);
  }
  if (hops >= runtime_->spec->hops_max) return false;
  // A request that goes round is among those that get the header before long; the others need none.
  if (!there && runtime_->without_hops++ % runtime_->spec->hops_begin != 0) return true;
  if (!there && request_->is_http) {
    // The next proxy is likely to have the same limit of headers.
    if (request_->headers.size() < runtime_->spec->codec.http1.headers_max)
      request_->headers.push(kHopsHeader, "1", HeaderId::kHops);
    return true;
  }
  char digits[8];
  const char* end = std::to_chars(digits, digits + sizeof digits, hops + 1).ptr;
  request_->offer_header(kHopsHeader, {digits, static_cast<size_t>(end - digits)});
  return true;
}

void Stream::start_caller_deadline() {
  uint64_t now = connection_->loop().now_ms();
  deadline_.start(caller_deadline_ms_ > now ? caller_deadline_ms_ - now : 1);
}

void Stream::request_complete() {
  if (!route_ || request_completed_ || response_started_) return;
  request_completed_ = true;
  start_timeout();
  if (up_ && !deadline_.active() && !try_timer_.active()) start_idle_clock();
}

void Stream::start_timeout() {
  if (deadline_.active() || caller_deadline_ms_ != 0) return;
  const int64_t timeout_ms = request_->grpc ? rules().grpc_timeout_ms : rules().timeout_ms;
  if (timeout_ms > 0) deadline_.start(static_cast<uint64_t>(timeout_ms));
}

void Stream::start_idle_clock() {
  last_activity_ms_ = connection_->loop().now_ms();
  if (route_->idle_timeout_ms > 0) try_timer_.start(static_cast<uint64_t>(route_->idle_timeout_ms));
}

void Stream::start_try(Endpoint* to) {
  Cluster& cluster = *target_->cluster;
  Endpoint* endpoint = nullptr;
  const bool bound = cluster.pool_mode() == PoolMode::kBound;
  if (bound && connection_->bound()) {
    endpoint = &connection_->bound()->endpoint();
  } else {
    endpoint = to ? to : cluster.pick(avoid_.get());
  }
  if (!endpoint) return fail(Reason::kNoHealthyUpstream);
  endpoint_ = endpoint;
  const uint32_t tries = cluster.settings().limits.tries_per_second;
  if (tries != 0 && !endpoint->shared().take_try(Loop::now_ns(), tries)) {
    cluster.metrics().overflows.inc(ClusterLimit::kTriesPerSecond);
    return fail(Reason::kTriesOverflow);
  }
  ++attempts_;
  answer_received_ = false;
  body_sent_ = false;
  go(StreamState::kWaiting);
  Reason reason;
  if (bound) {
    reason = BoundLink::acquire(*connection_, cluster, *endpoint, request_->frame.variant, *this);
  } else {
    pool_ = &endpoint->pool(request_->frame.variant);
    reason = pool_->acquire(*this, races_lost_ > 0);
  }
  if (reason != Reason::kNone) {
    pool_ = nullptr;
    if (reason == Reason::kBoundElsewhere) endpoint_ = {};
    return try_failed(reason);
  }
  if (state_ == StreamState::kWaiting) start_timeout();  // what we hold back runs its clock, whole or not
}

void Stream::on_pool_ready(Exchange& exchange, UpstreamConnection& connection, bool reused) {
  pool_ = nullptr;
  up_ = &exchange;
  up_connection_ = &connection;
  connection.hold(up_hold_);
  if (&connection.endpoint() != endpoint_.get()) endpoint_ = Ref<Endpoint>(&connection.endpoint());
  reused_ = reused;
  if (!request_completed_ && caller_deadline_ms_ == 0) deadline_.stop();  // the client's time, not ours
  if (!route_->response_headers.empty() || target_->cluster->settings().sidecar ||
      runtime_->spec->settings.tell_reason ||
      (runtime_->access_log && runtime_->access_log->wants_response_headers()))
    exchange.want_answer(DRAGOMAN_WANT_HEADERS);
  go(StreamState::kSending);
  ++endpoint_->active_requests;
  target_->cluster->metrics().requests_active.add();
  try_start_ns_ = attempts_ == 1 ? start_ns_ : Loop::now_ns();
  guarded([this] { send_request(); });
}

void Stream::on_pool_failed(Reason reason) {
  pool_ = nullptr;
  guarded([&] { try_failed(reason); });
}

void Stream::send_request() {
  if (route_->per_try_timeout_ms > 0)
    try_timer_.start(static_cast<uint64_t>(route_->per_try_timeout_ms));
  else if (!deadline_.active() && (request_->grpc || request_completed_))
    start_idle_clock();
  bool more = !kept_.empty() || request_trailers_ || !request_ended_;
  if (caller_deadline_ms_ != 0) {  // what is left of it
    uint64_t now = connection_->loop().now_ms();
    request_->timeout_ms = caller_deadline_ms_ > now ? static_cast<int64_t>(caller_deadline_ms_ - now) : 1;
  }
  ++sends_;
  Reason reason = Reason::kNone;
  if (!upstream([&] { reason = up_->send_head(*request_, !more); })) return;
  if (state_ != StreamState::kSending || !up_) return;
  if (reason != Reason::kNone) {
    --sends_;  // nothing was written
    drop_upstream(reason);
    return fail(reason);
  }
  if (!kept_.empty()) {
    body_sent_ = true;
    if (kept_.size() > rules().retry.body_bytes_max && keep_body_) {
      keep_body_ = false;
      body_dropped_ = true;
    }
    size_t left = kept_.size();
    // The codec copies what it can't write at once; the pieces stay ours when a repeat may need them.
    ByteChain sending{MemoryOwner::kRequests};
    if (!keep_body_) {
      sending.swap(kept_);
      count_kept();
    }
    const ByteChain& body = keep_body_ ? kept_ : sending;
    bool going = true;
    body.for_each([&](const uint8_t* p, size_t n) {
      left -= n;
      const bool last = left == 0 && request_ended_ && !request_trailers_;
      if (up_ && going) going = upstream([&] { up_->send_body({p, n}, last); });
    });
    if (!going) return;
  }
  if (up_ && request_trailers_ && !upstream([&] { up_->send_trailers(*request_trailers_); })) return;
  resume_down(kUnsentPause);
  if (request_->one_way && request_ended_ && state_ == StreamState::kSending) {
    outcome_ = Outcome::kOk;
    finish();
  }
}

void Stream::on_request_body(std::span<const uint8_t> chunk, bool end) {
  if (state_ == StreamState::kDone) return;
  last_activity_ms_ = connection_->loop().now_ms();
  body_seen_ = true;
  BodyChunk piece{chunk, end};
  for (uint16_t i = 0; i < filter_at_; ++i) {
    filters_[i]->on_request_body(*this, piece);
    if (state_ == StreamState::kDone) return;
  }
  request_ended_ = end;
  request_bytes_ += chunk.size();
  if (route_ && route_->request_body_bytes_max != 0 && request_->is_http &&
      request_bytes_ > route_->request_body_bytes_max)
    return fail(Reason::kBodyTooLarge);
  if (up_) {
    body_sent_ |= !piece.data.empty();
    if (keep_body_) {
      if (kept_.size() + piece.data.size() <= rules().retry.body_bytes_max) {
        kept_.append(piece.data);
        if (!count_kept()) drop_kept();
      } else {
        drop_kept();
      }
    }
    upstream([&] { up_->send_body(piece.data, end); });
    if (state_ == StreamState::kDone) return;
  } else {
    kept_.append(piece.data);
    if (!count_kept()) return fail(Reason::kRequestOverflow);
    if (!end && kept_.size() >= runtime_->spec->settings.buffer.high_bytes) pause_down(kUnsentPause);
  }
  if (end) {
    request_complete();
    if (request_->one_way && state_ == StreamState::kSending) {
      outcome_ = Outcome::kOk;
      finish();
    } else if (state_ == StreamState::kTunnel && response_ended_) {
      response_complete();
    }
  }
}

bool Stream::count_kept() {
  const size_t before = kept_counted_;
  if (kept_.empty() && before == 0) return true;
  kept_counted_ = kept_.memory();
  return kept_counted_ == before || connection_->count_kept(static_cast<ptrdiff_t>(kept_counted_ - before));
}

void Stream::drop_kept() {
  keep_body_ = false;
  body_dropped_ = true;
  kept_.clear();
  count_kept();
}

void Stream::on_request_trailers(HeaderList& trailers) {
  if (state_ == StreamState::kDone) return;
  request_ended_ = true;
  request_trailers_ = &trailers;
  request_complete();
  if (up_) upstream([&] { up_->send_trailers(trailers); });
  if (state_ == StreamState::kTunnel && response_ended_) response_complete();
}

void Stream::on_downstream_reset(Reason reason) {
  if (state_ == StreamState::kDone) return;
  reason_ = reason == Reason::kNone ? Reason::kDownstreamReset : reason;
  outcome_ = reason_row(reason_).outcome;
  drop_upstream(reason_);
  finish();
}

void Stream::on_downstream_blocked(bool blocked) {
  if (!up_ || state_ == StreamState::kDone) return;
  last_activity_ms_ = connection_->loop().now_ms();
  upstream([&] { blocked ? up_->pause_reading() : up_->resume_reading(); });
}

// --- response side ------------------------------------------------------------------------------------------------

void Stream::on_response_head(Head& head, bool end) {
  if (state_ == StreamState::kDone || !up_) return;
  answer_received_ = true;
  if (head.is_http && head.status < 200 && head.status != 101) {
    static_cast<void>(down_->send_head(head, false));
    return;
  }
  if ((target_->cluster->settings().sidecar || runtime_->spec->settings.tell_reason) && hear_reason(head))
    return;
  if (!end && (connection_->transport().write_blocked() || down_->write_blocked()))
    upstream([&] { up_->pause_reading(); });
  response_ = &head;
  const uint32_t http_status = head.is_http && head.rpc_status < 0 ? head.status : 0;
  if (head.outcome != Outcome::kOk && retry_on_answer(rules().retry, head.outcome, http_status)) {
    Reason reason = Reason::kUpstreamStatus;
    RetryInput input{.policy = rules().retry,
                     .reason = reason,
                     .outcome = head.outcome,
                     .http_status = http_status,
                     .method_idempotent = is_idempotent(*request_),
                     .request_sent = true,
                     .answer_received = false,  // its head says that the call was not served
                     .replayable = request_ended_ && (!body_sent_ || keep_body_)};
    // Only when the repeat will surely be made: otherwise the backend's own words are better than ours.
    if (attempts_ <= rules().retry.attempts && may_retry(input) && backend_allows_repeat(head) &&
        target_->cluster->pool_mode() != PoolMode::kBound && take_retry()) {
      response_ = nullptr;
      repeat_after_ms_ = head.repeat_after_ms;
      Outcome outcome = head.outcome;
      end_try(reason, outcome);
      drop_upstream(reason);
      return try_failed(reason);
    }
  }
  give_retry();
  keep_body_ = false;
  kept_.clear();
  count_kept();
  for (uint16_t i = filter_at_; i-- > 0;) {
    filters_[i]->on_response_head(*this, head, end);
    if (state_ == StreamState::kDone) return;
  }
  apply_response(*route_, head);
  try_timer_.stop();
  if (head.upgrade && head.status == 101) {
    go(StreamState::kTunnel);
    down_hold_.outlives_fin = true;
  } else {
    go(StreamState::kAnswering);
  }
  // An HTTP answer may stream for as long as it moves; a framed one is a single message and keeps its deadline.
  // A deadline of the caller's own is for all of it.
  if (head.is_http) {
    deadline_.stop();
    if (caller_deadline_ms_ != 0) start_caller_deadline();
  }
  take_result(head);
  if (!grpc_) count_status(head);
  response_started_ = true;
  response_bytes_ += head.wire.size();
  response_ended_ = end;
  Reason reason = down_->send_head(head, end);
  if (state_ == StreamState::kDone) return;
  if (reason != Reason::kNone) {
    response_started_ = false;
    drop_upstream(reason);
    return fail(reason);
  }
  if (end) return response_complete();
  start_idle_clock();
}

bool Stream::hear_reason(Head& answer) {
  const Header* said = answer.headers.find(HeaderId::kPeerReason);
  if (!said) return false;
  Cluster& cluster = *target_->cluster;
  if (!cluster.settings().sidecar) {  // the invention of a backend, which we would vouch for
    take_off_reason(answer);
    return false;
  }
  std::string_view label = said->value;
  const bool unsent = label.ends_with(kUnsent);
  if (unsent) label.remove_suffix(kUnsent.size());
  const Reason* reason = find_reason(label);
  peer_reason_ = reason ? static_cast<PeerReason>(*reason) : kOtherPeerReason;
  cluster.metrics().peer_reasons.inc(peer_reason_);
  // As good as a connection that could not be made: another sidecar may do better.
  const Outcome outcome = reason ? reason_row(*reason).outcome : Outcome::kUnknown;
  if (unsent && (outcome == Outcome::kUnavailable || outcome == Outcome::kOverloaded) && races_lost_ == 0 &&
      request_ended_ && (!body_sent_ || keep_body_) && cluster.pool_mode() != PoolMode::kBound &&
      cluster.endpoints().size() > 1 && take_retry()) {
    peer_reason_ = {};
    --sends_;
    avoid_ = endpoint_;
    end_try(Reason::kUpstreamStatus, answer.outcome);
    drop_upstream(Reason::kUpstreamRefused);
    answer_received_ = false;
    try_failed(Reason::kUpstreamRefused);
    return true;
  }
  if (!runtime_->spec->settings.tell_reason)
    take_off_reason(answer);
  else if (unsent && sends_ > 1)  // an earlier try may have been served
    answer.set_header(kReasonHeader, label);
  return false;
}

void Stream::tell_reason(LocalReply& reply) {
  const ReasonRow& row = reason_row(reply.reason);
  if (row.outcome == Outcome::kOk) return;
  Arena& arena = request_->arena;
  const std::string_view words = sends_ == 0 ? arena.concat(row.label, kUnsent) : row.label;
  if (!request_->is_http) {
    reply.tell = words;
    return;
  }
  auto* headers = arena.allocate_array<Header>(reply.headers.size() + 1);
  *std::copy(reply.headers.begin(), reply.headers.end(), headers) = {kReasonHeader, words,
                                                                     HeaderId::kPeerReason};
  reply.headers = {headers, reply.headers.size() + 1};
}

void Stream::on_response_body(std::span<const uint8_t> chunk, bool end) {
  if (state_ == StreamState::kDone || !response_started_) return;
  last_activity_ms_ = connection_->loop().now_ms();
  BodyChunk piece{chunk, end};
  for (uint16_t i = filter_at_; i-- > 0;) {
    filters_[i]->on_response_body(*this, piece);
    if (state_ == StreamState::kDone) return;
  }
  response_bytes_ += piece.data.size();
  response_ended_ = end;
  down_->send_body(piece.data, end);
  if (end && state_ != StreamState::kDone) response_complete();
}

void Stream::on_response_trailers(HeaderList& trailers) {
  if (state_ == StreamState::kDone || !response_started_) return;
  BodyChunk rest;
  for (uint16_t i = filter_at_; i-- > 0;) {
    filters_[i]->on_response_trailers(*this, trailers, rest);
    if (state_ == StreamState::kDone) return;
  }
  response_ended_ = true;
  response_bytes_ += rest.data.size();
  const bool none_left = trailers.empty();
  if (none_left || !rest.data.empty()) down_->send_body(rest.data, none_left);
  if (state_ == StreamState::kDone) return;
  if (!none_left) down_->send_trailers(trailers);
  if (state_ != StreamState::kDone) response_complete();
}

void Stream::take_result(const Head& answer) {
  status_ = answer.rpc_status >= 0 ? static_cast<uint32_t>(answer.rpc_status) : answer.status;
  status_text_ = answer.is_http ? std::string_view() : answer.status_text;
  outcome_ = answer.outcome;
  reason_ = outcome_ == Outcome::kOk || outcome_ == Outcome::kClientError ? Reason::kNone : Reason::kUpstreamStatus;
}

void Stream::response_complete() {
  if (state_ == StreamState::kTunnel && !request_ended_) return;  // the client's half is still open
  if (response_->rpc_status >= 0) take_result(*response_);
  if (grpc_) count_status(*response_);  // it may have come with the end
  finish();
}

void Stream::count_status(const Head& answer) {
  if (!answer.is_http && answer.status_text.data())
    target_->metrics.statuses.inc(status_text_.empty() ? std::string_view("-") : status_text_);
  else
    target_->metrics.statuses.inc(static_cast<int32_t>(status_));
}

void Stream::on_upstream_reset(Reason reason) {
  if (state_ == StreamState::kDone || !up_) return;
  end_try(reason, reason_row(reason).outcome);
  if (!up_) return;
  release_upstream();
  if (response_started_) return fail(reason);
  try_failed(reason);
}

void Stream::on_upstream_blocked(bool blocked) {
  if (state_ == StreamState::kDone) return;
  last_activity_ms_ = connection_->loop().now_ms();
  if (blocked && !request_ended_)
    pause_down(kUpstreamPause);
  else if (!blocked)
    resume_down(kUpstreamPause);
}

// --- tries --------------------------------------------------------------------------------------------------------

void Stream::end_try(Reason reason, Outcome outcome) {
  if (try_start_ns_ == 0) return;
  Cluster& cluster = *target_->cluster;
  try_duration_us_ = (Loop::now_ns() - try_start_ns_) / 1000;
  try_start_ns_ = 0;
  if (reason == Reason::kUpstreamTimeout || reason == Reason::kTryTimeout || reason == Reason::kCallerTimeout)
    note_timeout();
  cluster.metrics().requests.inc(outcome);
  cluster.metrics().duration.observe_us(try_duration_us_);
  cluster.metrics().requests_active.sub();
  --endpoint_->active_requests;
  if (!cluster.settings().outlier) return;
  if (reason == Reason::kNone || reason == Reason::kUpstreamStatus) {
    const bool failed = outcome == Outcome::kUnavailable || outcome == Outcome::kReset ||
                        outcome == Outcome::kTimeout || outcome == Outcome::kOverloaded;
    cluster.report(*endpoint_, failed);
  } else if (blames_endpoint(reason)) {
    cluster.report(*endpoint_, true);
  }
}

void Stream::note_timeout() {
  const uint64_t now = connection_->loop().now_ms(), passed = try_duration_us_ / 1000;
  const uint64_t since = passed < now ? now - passed : 0;
  if (BoundLink* bound = connection_->bound())
    bound->note_timeout(since, target_->cluster->settings().pool.timeouts_max);
  else
    endpoint_->note_timeout(since);
}

void Stream::release_upstream() {
  up_hold_.unlink();
  status_text_ = {};  // it is the exchange's
  upstream([gone = std::exchange(up_, nullptr)] { gone->release(); });
}

void Stream::drop_upstream(Reason reason) {
  if (pool_) {
    pool_->forget(*this);
    pool_ = nullptr;
  } else if (PoolWaiter::linked()) {
    PoolWaiter::unlink();  // waiting for a bound link
  }
  if (!up_) return;
  end_try(reason, reason_row(reason).outcome);
  if (!up_) return;  // a bound pair ended for its silence, and this stream with it
  up_hold_.unlink();  // it is we who end it
  Exchange* gone = std::exchange(up_, nullptr);
  status_text_ = {};  // it is the exchange's
  UpstreamConnection* connection = up_connection_;
  upstream([&] { gone->reset(reason); });  // a bound pair may end with it, and with that this stream
  up_connection_ = connection;
  upstream([&] { gone->release(); });
}

Stream::Repeat Stream::repeat_after(Reason reason, bool sent, bool replayable) const {
  const Cluster& cluster = *target_->cluster;
  if (cluster.pool_mode() == PoolMode::kBound) return Repeat::kNone;
  const RetryPolicy& policy = rules().retry;
  const RetryInput input{.policy = policy,
                         .reason = reason,
                         .outcome = reason_row(reason).outcome,
                         .http_status = 0,
                         .method_idempotent = is_idempotent(*request_),
                         .request_sent = sent,
                         .answer_received = answer_received_,
                         .replayable = replayable};
  // A connection may be closed by the backend, or closed to new requests, just while the request travels: repeat when that is
  // safe, even without a retry policy. Other connections that are idle may be about to end as well, so the repeat asks for a new
  // one; it may still get one that has served another request this moment.
  const bool lost =
      reused_ && reason == Reason::kUpstreamReset && (input.method_idempotent || policy.idempotent);
  const bool untouched = reason == Reason::kUpstreamRefused;
  if (sent && (lost || untouched) && !answer_received_ && replayable &&
      races_lost_ < (lost ? kRacesLostMax : 1))
    return Repeat::kFree;
  // An answer that asks for a repeat was judged when its status was still there.
  if (reason == Reason::kUpstreamStatus || (attempts_ <= policy.attempts && may_retry(input)))
    return Repeat::kByPolicy;
  // The addresses of one name are alternatives (RFC 8305), and so are the endpoints of a cluster while nothing was sent.
  if (!sent && is_connect_failure(reason) && moves_ < kMovesMax && cluster.endpoints().size() > 1)
    return Repeat::kElsewhere;
  return Repeat::kNone;
}

void Stream::try_failed(Reason reason) {
  try_timer_.stop();
  Cluster& cluster = *target_->cluster;
  const bool sent = state_ == StreamState::kSending;
  go(StreamState::kRouted);
  const Repeat repeat = repeat_after(reason, sent, !body_sent_ || keep_body_);
  const int64_t asked_ms = std::exchange(repeat_after_ms_, -1);
  switch (repeat) {
    case Repeat::kNone:
      if (body_dropped_ && repeat_after(reason, sent, true) != Repeat::kNone)
        cluster.metrics().overflows.inc(ClusterLimit::kRetryBody);
      return fail(reason);
    case Repeat::kFree:
      if (!take_retry()) return fail(reason);
      ++races_lost_;
      --attempts_;
      cluster.metrics().repeats.inc();
      return start_try();
    case Repeat::kElsewhere: {
      Endpoint* other = cluster.pick(endpoint_.get());
      if (!other || other == endpoint_.get()) return fail(reason);
      ++moves_;
      --attempts_;
      avoid_ = endpoint_;
      cluster.metrics().repeats.inc();
      return start_try(other);
    }
    case Repeat::kByPolicy:
      if (!take_retry()) return fail(Reason::kRetryOverflow);
      target_->metrics.retries.inc();
      cluster.metrics().retries.inc();
      avoid_ = endpoint_;
      break;
  }
  if (asked_ms > 0) return try_timer_.start(static_cast<uint64_t>(asked_ms));
  const RetryPolicy& policy = rules().retry;
  if (asked_ms == 0 || policy.backoff_ms <= 0) return start_try();
  // Full jitter: uniform in [1, min(backoff * 2^(retry - 1), max)].
  auto ceiling = static_cast<uint64_t>(policy.backoff_ms) << std::min<uint32_t>(attempts_ - 1u, 16);
  if (policy.backoff_max_ms > 0) ceiling = std::min(ceiling, static_cast<uint64_t>(policy.backoff_max_ms));
  try_timer_.start(1 + random() % ceiling);
}

bool Stream::backend_allows_repeat(const Head& answer) const {
  if (answer.is_http && answer.status == reason_row(Reason::kLoopDetected).http_status) return false;
  if (answer.repeat_after_ms < 0) return answer.repeat_after_ms != Head::kNoRepeat;
  const uint64_t due_ms = connection_->loop().now_ms() + static_cast<uint64_t>(answer.repeat_after_ms);
  return !deadline_.active() || due_ms < deadline_.expires_ms();
}

bool Stream::take_retry() {
  Cluster& cluster = *target_->cluster;
  if (!retry_taken_) {
    retry_taken_ = cluster.take(Limit::kRetries, cluster.settings().limits.retries);
    if (!retry_taken_) cluster.metrics().overflows.inc(ClusterLimit::kRetries);
  }
  return retry_taken_;
}

void Stream::give_retry() {
  if (std::exchange(retry_taken_, false)) target_->cluster->give(Limit::kRetries);
}

void Stream::on_try_timer() {
  guarded([this] { try_timer_due(); });
}

void Stream::try_timer_due() {
  if (state_ == StreamState::kRouted) return start_try();  // back-off is over
  if (state_ == StreamState::kSending && route_->per_try_timeout_ms > 0) {
    drop_upstream(Reason::kTryTimeout);
    return try_failed(Reason::kTryTimeout);
  }
  // Does it still move?
  const auto timeout = static_cast<uint64_t>(route_->idle_timeout_ms);
  const uint64_t now = connection_->loop().now_ms();
  const uint64_t idle = now - last_activity_ms_;
  if (idle < timeout) return try_timer_.start(timeout - idle);
  if (client_takes()) return start_idle_clock();
  // Who is silent: a client that does not read, an endpoint that owes the answer, or both.
  Reason reason = Reason::kStreamIdleTimeout;
  if (connection_->transport().write_blocked() || down_->write_blocked())
    reason = Reason::kWriteStall;
  else if (!response_started_ && request_ended_)
    reason = Reason::kUpstreamIdleTimeout;
  drop_upstream(reason);
  fail(reason);
}

bool Stream::client_takes() {
  if (!response_started_) return false;
  const Transport& transport = connection_->transport();
  const size_t waiting = transport.in_flight();
  if (waiting == 0 && transport.unsent() == 0 && down_->buffered_bytes() == 0) return false;
  // TCP counts what its peer took, however little of the send buffer that frees.
  const uint64_t taken = transport.bytes_written() - std::min<uint64_t>(waiting, transport.bytes_written());
  return std::exchange(taken_seen_, taken) != taken;
}

void Stream::on_deadline() {
  if (state_ == StreamState::kDone) return;
  Reason reason = Reason::kUpstreamTimeout;
  // A caller in a hurry, or one that has not sent its request yet, says nothing about the endpoint.
  if (caller_deadline_ms_ != 0 &&
      (!request_ended_ || caller_deadline_ms_ - arrived_ms_ < static_cast<uint64_t>(rules().fair_ms)))
    reason = Reason::kCallerTimeout;
  guarded([&] {
    drop_upstream(reason);
    fail(reason);
  });
}

// --- the end ------------------------------------------------------------------------------------------------------

void Stream::answer(const LocalReply& reply) {
  if (state_ == StreamState::kDone) return;
  drop_upstream(reply.reason);
  reason_ = reply.reason;
  status_ = reply.status();
  outcome_ = reason_row(reply.reason).outcome;
  if (outcome_ == Outcome::kOk && status_ >= 400) outcome_ = status_ >= 500 ? Outcome::kServerError : Outcome::kClientError;
  if (request_->grpc) status_ = reply.grpc_status();
  if (!request_->one_way) send_reply(reply);
  finish();
}

void Stream::send_reply(LocalReply reply) {
  if (response_started_) {
    BodyChunk rest;
    for (uint16_t i = filter_at_; i-- > 0;) filters_[i]->on_response_failed(*this, reply, rest);
    response_bytes_ += rest.data.size();
    if (rest.end) return down_->send_body(rest.data, true);
  } else {
    for (uint16_t i = filter_at_; i-- > 0;) filters_[i]->on_local_reply(*this, reply);
    if (runtime_->spec->settings.tell_reason) tell_reason(reply);
    response_started_ = response_ended_ = true;
    response_bytes_ += reply.text.size();
  }
  down_->send_reply(*request_, reply);  // a reset, when the protocol can't take it any more
}

void Stream::fail(Reason reason, std::string_view text) {
  if (state_ == StreamState::kDone) return;
  LocalReply reply;
  reply.reason = reason;
  reply.text = text.empty() ? reason_row(reason).label : text;
  // Two versions of a codec that can't read each other's frames: the client's next connection has the newer one.
  if (reason == Reason::kUnsupported && request_ && request_->table && target_ && target_->cluster &&
      target_->cluster->protocol() && request_->table != target_->cluster->protocol()->table)
    reply.close = true;
  // With nothing under way, a new connection may go where this one's requests lead now.
  if (reason == Reason::kBoundElsewhere && connection_->bound()) reply.close = connection_->bound()->idle();
  if (!response_started_) return answer(reply);
  drop_upstream(reason);
  reason_ = reason;
  outcome_ = reason_row(reason).outcome;
  if (request_->grpc) status_ = reply.grpc_status();
  send_reply(reply);
  finish();
}

void Stream::out_of_memory() {
  note_memory_shed(MemoryShed::kConnection);
  connection_->close(Reason::kOwnResources, false);
}

void Stream::finish() {
  if (state_ == StreamState::kDone) return;
  go(StreamState::kDone);
  deadline_.stop();
  try_timer_.stop();
  end_try(reason_, outcome_);  // unless it has ended before the stream
  down_hold_.unlink();
  if (!target_) {
    target_ = &runtime_->unrouted;
  } else if (counted_active_) {
    target_->metrics.active.sub();
    --runtime_->under_way;
  }
  if (requests_taken_) target_->cluster->give(Limit::kRequests);
  give_retry();
  uint64_t duration_us = start_ns_ != 0 ? (Loop::now_ns() - start_ns_) / 1000 : 0;
  target_->metrics.requests.inc(outcome_);
  target_->metrics.reasons.inc(reason_);
  target_->metrics.duration.observe_us(duration_us);
  target_->metrics.request_bytes.inc(request_bytes_);
  target_->metrics.response_bytes.inc(response_bytes_);
  try {
    if (runtime_->access_log && request_) log();
    if (request_)
      for (uint16_t i = 0; i < filter_count_; ++i) filters_[i]->on_stream_end(*this);
  } catch (const std::bad_alloc&) {  // a line is worth less than the end of what it tells of
    note_memory_shed(MemoryShed::kRequest);
  }
  // Upstream first: its heads are still referenced by nothing else, and the downstream codec may start the next
  // request of a pipeline inside release().
  if (up_) release_upstream();
  kept_.clear();
  count_kept();
  connection_->loop().retire(this);
  connection_->on_stream_end();
  Exchange* down = std::exchange(down_, nullptr);
  down->release();
}

void Stream::log() {
  AccessRecord r;
  r.start_us = static_cast<int64_t>(start_wall_us_);
  r.duration_us = (Loop::now_ns() - start_ns_) / 1000;
  r.upstream_duration_us = try_duration_us_;
  const ListenerSpec& spec = *runtime_->spec;
  r.listener = spec.settings.name;
  r.protocol = spec.settings.protocol;
  if (route_) r.route = route_->name;
  if (target_->cluster) r.cluster = target_->cluster->settings().name;
  if (endpoint_) r.endpoint = endpoint_->shared().name();
  r.peer = connection_->peer_host();
  if (const TlsInfo* tls = connection_->tls()) r.peer_identity = tls->peer;
  r.method = request_->method;
  r.path = request_->path;
  r.authority = request_->authority;
  r.service = request_->service;
  auto header = [this](HeaderId id) {
    const Header* h = request_->headers.find(id);
    return h ? h->value : std::string_view{};
  };
  r.user_agent = header(HeaderId::kUserAgent);
  r.request_id = header(HeaderId::kXRequestId);
  r.x_forwarded_for = header(HeaderId::kXForwardedFor);
  r.status = static_cast<int32_t>(status_);
  r.status_text = status_text_;
  r.outcome = outcome_;
  r.reason = reason_;
  if (peer_reason_ != PeerReason{}) r.peer_reason = peer_reason_name(peer_reason_);
  r.bytes_in = request_bytes_;
  r.bytes_out = response_bytes_;
  r.attempts = attempts_;
  r.one_way = request_->one_way;
  r.http_version = connection_->http_version(*request_);
  r.request = request_;
  if (up_) r.response = response_;  // it is the exchange's
  runtime_->access_log->write(r);
}

void Stream::pause_down(uint8_t why) {
  if (down_paused_ == 0) down_->pause_reading();
  down_paused_ |= why;
}

void Stream::resume_down(uint8_t why) {
  if ((down_paused_ & why) == 0) return;
  down_paused_ &= static_cast<uint8_t>(~why);
  if (down_paused_ == 0 && down_) down_->resume_reading();
}

std::string_view stream_state_name(StreamState state) {
  static constexpr std::string_view kNames[kStreamStateCount] = {"new",     "filtering", "routed", "waiting",
                                                                 "sending", "answering", "tunnel", "done"};
  return kNames[static_cast<size_t>(state)];
}

}  // namespace dragoman
