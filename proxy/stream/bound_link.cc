#include "proxy/stream/bound_link.h"

#include <memory>
#include <new>

#include "proxy/base/memory_reserve.h"
#include "proxy/net/proxy_header.h"

namespace dragoman {
namespace {

constexpr uint8_t kConnectTries = 3;

// One request from the backend to the client and its answer.
class ReverseExchange final : public Retired {
 public:
  /// Null when the client's protocol takes no requests.
  static MessageSink* start(DownstreamConnection& downstream, UpstreamConnection& upstream, Exchange& from) {
    std::unique_ptr<ReverseExchange> made(new ReverseExchange(downstream, from));
    made->to_ = downstream.open(made->answer_sink_);
    if (!made->to_) return nullptr;
    ReverseExchange* self = made.release();
    downstream.hold(self->to_hold_);
    upstream.hold(self->from_hold_);
    return &self->request_sink_;
  }

 private:
  struct RequestSink final : MessageSink {
    explicit RequestSink(ReverseExchange& e) : x(e) {}
    void on_head(Head& head, bool end) override {
      x.one_way_ = head.one_way;
      Reason reason = x.to_->send_head(head, end);
      if (reason != Reason::kNone) return x.finish(reason);
      if (end) x.request_done();
    }
    void on_body(std::span<const uint8_t> chunk, bool end) override {
      if (x.done_) return;
      x.to_->send_body(chunk, end);
      if (end) x.request_done();
    }
    void on_trailers(HeaderList& trailers) override {
      if (x.done_) return;
      x.to_->send_trailers(trailers);
      x.request_done();
    }
    void on_reset(Reason reason) override { x.finish(reason); }
    void on_write_blocked(bool blocked) override {
      if (x.done_) return;
      blocked ? x.to_->pause_reading() : x.to_->resume_reading();
    }
    ReverseExchange& x;
  };
  struct AnswerSink final : MessageSink {
    explicit AnswerSink(ReverseExchange& e) : x(e) {}
    void on_head(Head& head, bool end) override {
      if (x.done_) return;
      Reason reason = x.from_->send_head(head, end);
      if (reason != Reason::kNone || end) x.finish(reason);
    }
    void on_body(std::span<const uint8_t> chunk, bool end) override {
      if (x.done_) return;
      x.from_->send_body(chunk, end);
      if (end) x.finish(Reason::kNone);
    }
    void on_trailers(HeaderList& trailers) override {
      if (x.done_) return;
      x.from_->send_trailers(trailers);
      x.finish(Reason::kNone);
    }
    void on_reset(Reason reason) override { x.finish(reason); }
    void on_write_blocked(bool blocked) override {
      if (x.done_) return;
      blocked ? x.from_->pause_reading() : x.from_->resume_reading();
    }
    ReverseExchange& x;
  };

  ReverseExchange(DownstreamConnection& downstream, Exchange& from) : loop_(downstream.loop()), from_(&from) {}

  void request_done() {
    if (one_way_) finish(Reason::kNone);
  }
  void finish(Reason reason) {
    if (done_) return;
    done_ = true;
    from_hold_.unlink();
    to_hold_.unlink();
    if (reason != Reason::kNone) {
      from_->reset(reason);
      to_->reset(reason);
    }
    from_->release();
    to_->release();
    loop_.retire(this);
  }

  Loop& loop_;
  Exchange* from_;
  Exchange* to_ = nullptr;
  RequestSink request_sink_{*this};
  AnswerSink answer_sink_{*this};
  ExchangeHold from_hold_{request_sink_};
  ExchangeHold to_hold_{answer_sink_};
  bool one_way_ = false;
  bool done_ = false;
};

}  // namespace

BoundLink::~BoundLink() = default;

Reason BoundLink::acquire(DownstreamConnection& downstream, Cluster& cluster, Endpoint& endpoint, uint32_t variant,
                          PoolWaiter& waiter) {
  BoundLink* link = downstream.bound();
  if (!link) {
    link = new BoundLink(downstream, cluster, endpoint);
    if (Reason reason = link->connect(variant); reason != Reason::kNone) {
      delete link;
      return reason;
    }
    downstream.set_bound(link);
  }
  // After a reload the cluster is another object, and means the same.
  if (link->cluster_.get() != &cluster && link->cluster_->settings().name != cluster.settings().name)
    return Reason::kBoundElsewhere;
  if (!link->upstream_) return Reason::kUpstreamReset;  // the pair is closing
  if (!link->upstream_->connected()) {
    link->waiters_.push_back(waiter);
    return Reason::kNone;
  }
  bool reused = link->upstream_->served() > 0;
  Exchange* exchange = link->upstream_->open(waiter.answers());
  if (!exchange) return Reason::kStreamsOverflow;
  waiter.on_pool_ready(*exchange, *link->upstream_, reused);
  return Reason::kNone;
}

void BoundLink::on_upstream_connected(UpstreamConnection& connection) {
  while (PoolWaiter* waiter = waiters_.pop_front()) {
    Exchange* exchange = connection.open(waiter->answers());
    if (exchange)
      waiter->on_pool_ready(*exchange, connection, connection.served() > 1);
    else
      waiter->on_pool_failed(Reason::kStreamsOverflow);
  }
}

Reason BoundLink::connect(uint32_t variant) {
  if (!cluster_->take(Limit::kConnections, cluster_->settings().limits.connections)) {
    cluster_->metrics().overflows.inc(ClusterLimit::kConnections);
    return Reason::kConnectionOverflow;
  }
  variant_ = variant;
  ++connects_;
  std::string preface;
  if (const int version = cluster_->proxy_version(); version != 0)
    preface = ProxyHeader::write(version, downstream_->peer(), downstream_->transport().local());
  try {
    upstream_ = UpstreamConnection::connect(*cluster_, *endpoint_, variant, PoolMode::kBound, *this,
                                            std::move(preface));
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    cluster_->give_connection();
    return Reason::kOwnResources;
  }
  return Reason::kNone;
}

void BoundLink::on_upstream_connect_failed(UpstreamConnection&, Reason reason) {
  // Nothing was sent: until there is a connection, any endpoint will do.
  if (downstream_ && connects_ < kConnectTries && cluster_->endpoints().size() > 1) {
    Endpoint* other = cluster_->pick(endpoint_.get());
    if (other && other != endpoint_.get()) {
      endpoint_ = Ref<Endpoint>(other);
      cluster_->metrics().repeats.inc();
      if (connect(variant_) == Reason::kNone) return;
    }
  }
  end(reason);
}

void BoundLink::on_upstream_gone(UpstreamConnection& connection, Reason reason) { end(reason); }

void BoundLink::end(Reason reason) {
  upstream_ = nullptr;
  while (PoolWaiter* waiter = waiters_.pop_front()) waiter->on_pool_failed(reason);
  if (!downstream_) return;
  DownstreamConnection* downstream = std::exchange(downstream_, nullptr);
  downstream->set_bound(nullptr);
  Loop& loop = downstream->loop();
  downstream->close(Reason::kUpstreamReset, true);
  loop.retire(this);
}

void BoundLink::note_timeout(uint64_t since_ms, uint32_t max) {
  if (!upstream_ || max == 0 || upstream_->note_timeout(since_ms) < max) return;
  upstream_->cluster().metrics().connections_silent.inc();
  upstream_->drain();  // takes the client's connection with it
}

void BoundLink::on_downstream_closed() {
  if (!downstream_) return;
  Loop& loop = downstream_->loop();
  downstream_ = nullptr;
  if (upstream_) {
    UpstreamConnection* upstream = std::exchange(upstream_, nullptr);
    upstream->disown();
    upstream->close(Reason::kDownstreamReset, true);  // its last one-way requests may still be queued
  }
  loop.retire(this);
}

MessageSink* BoundLink::on_upstream_exchange(UpstreamConnection& connection, Exchange& exchange) {
  return downstream_ ? ReverseExchange::start(*downstream_, connection, exchange) : nullptr;
}

}  // namespace dragoman
