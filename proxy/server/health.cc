#include "proxy/server/health.h"

#include <algorithm>
#include <random>
#include <unordered_map>

#include "protocols/exchange.h"
#include "proxy/base/log.h"
#include "proxy/net/proxy_header.h"
#include "proxy/tls/transport.h"

namespace dragoman {
namespace {

/// HealthCheckRequest{1: service} of grpc.health.v1, as a message of gRPC.
std::string health_question(std::string_view service) {
  std::string field;
  if (!service.empty()) {
    field = '\x0a';
    size_t n = service.size();
    for (; n > 127; n >>= 7) field += static_cast<char>((n & 127) | 128);
    field += static_cast<char>(n);
    field += service;
  }
  std::string message(5, '\0');
  message[3] = static_cast<char>(field.size() >> 8);
  message[4] = static_cast<char>(field.size());
  return message + field;
}
/// HealthCheckResponse{1: SERVING}.
constexpr std::string_view kHealthAnswer("\0\0\0\0\2\x08\x01", 7);

// One endpoint of one cluster: probe, count, wait, again. Probes begin an interval apart, however long they take. Heartbeats of an
// endpoint go over one connection as long as it lives; other probes make a connection each.
class Checker final : private ConnectEvents, private TransportEvents, private ConnectionEvents, private MessageSink {
 public:
  Checker(Loop& loop, std::shared_ptr<SharedCluster> cluster, std::shared_ptr<SharedEndpoint> endpoint,
          ClusterMetrics metrics, std::mt19937& random)
      : loop_(loop),
        cluster_(std::move(cluster)),
        endpoint_(std::move(endpoint)),
        rule_(*cluster_->settings.health_check),
        metrics_(metrics),
        random_(random) {
    timer_.bind<&Checker::on_timer>(loop.timers(), this);
    timer_.start(1);
  }
  ~Checker() { stop(); }

  const std::shared_ptr<SharedCluster>& cluster() const { return cluster_; }
  const std::shared_ptr<SharedEndpoint>& endpoint() const { return endpoint_; }

 private:
  // A finished attempt's transport and codec die at the loop's edge: their callbacks may be on the stack.
  struct Attempt final : Retired {
    std::shared_ptr<const Protocol> protocol;  // whose codec it is
    std::unique_ptr<Transport> transport;
    std::unique_ptr<ConnectionCodec> codec;
    Head request;
    Exchange* exchange = nullptr;
    const Head* answer = nullptr;  // of a gRPC check
    std::string message;           // the same: the first bytes of its body
  };

  void on_timer() {
    if (running_) return done(false, "timeout");
    running_ = true;
    started_ms_ = loop_.now_ms();
    timer_.start(static_cast<uint64_t>(rule_.timeout_ms));
    if (attempt_ && attempt_->protocol == cluster_->protocol()) {
      attempt_->codec->heartbeat();
      return;
    }
    end_attempt();
    connector_ = Connector::create(loop_, endpoint_->address(), static_cast<uint64_t>(rule_.timeout_ms), *this);
  }

  void stop() {
    timer_.stop();
    end_attempt();
  }

  void end_attempt() {
    connector_.reset();
    if (!attempt_) return;
    Attempt* a = std::exchange(attempt_, nullptr);
    if (a->exchange) {
      a->exchange->reset(Reason::kNone);
      std::exchange(a->exchange, nullptr)->release();
    }
    if (a->codec) a->codec->on_transport_closed(Reason::kNone);
    a->transport->close();
    loop_.retire(a);
  }

  void done(bool ok, std::string_view why) {
    if (!running_) return;
    running_ = false;
    const bool kept = ok && rule_.type == config::HealthCheckType::kHeartbeat && !going_away_;
    if (!kept) end_attempt();
    metrics_.health_checks.inc(ok ? CheckResult::kSuccess : CheckResult::kFailure);
    const bool healthy = endpoint_->active_healthy();
    if (endpoint_->unchecked()) {  // the first one decides
      endpoint_->set_active_healthy(ok);
      DRAGOMAN_LOG(kInfo, "health", "{}: {} begins {} ({})", cluster_->settings.name, endpoint_->name(),
                   ok ? "healthy" : "unhealthy", why);
    } else if (ok == healthy) {
      streak_ = 0;
    } else if (++streak_ >= (ok ? rule_.healthy_threshold : rule_.unhealthy_threshold)) {
      streak_ = 0;
      endpoint_->set_active_healthy(ok);
      DRAGOMAN_LOG(kInfo, "health", "{}: {} is {} ({})", cluster_->settings.name, endpoint_->name(),
                   ok ? "healthy" : "unhealthy", why);
    }
    wait();
  }

  /// Until the next probe. One that took longer than the interval is followed by the next at once.
  void wait() {
    const auto interval = static_cast<uint64_t>(rule_.interval_ms);
    const uint64_t jitter = interval * rule_.jitter_percent / 100;
    const uint64_t due = started_ms_ + interval + (jitter != 0 ? random_() % (jitter + 1) : 0);
    timer_.start(std::max(due, loop_.now_ms() + 1) - loop_.now_ms());
  }

  /// The connection ended. Between two heartbeats that is nobody's fault: the next one makes another.
  void over(std::string_view why) {
    if (running_) return done(false, why);
    end_attempt();
  }

  void on_connected(int fd) override {
    connector_.reset();
    if (const int version = static_cast<int>(cluster_->settings.proxy_protocol);
        version != 0 && !send_first(fd, ProxyHeader::write_local(version))) {
      close_fd(fd);
      return done(false, "connection lost");
    }
    attempt_ = new Attempt;
    going_away_ = false;
    if (rule_.type == config::HealthCheckType::kTcp || !cluster_->tls) {
      attempt_->transport = Transport::adopt(loop_, fd, *this, {});
      if (rule_.type == config::HealthCheckType::kTcp) return done(true, "connected");
      return ask();
    }
    const int thread = cluster_->limits.workers();  // the one after those of the workers is ours
    attempt_->transport =
        TlsTransport::connect(loop_, fd, *this, {}, cluster_->tls->current(thread), nullptr);
  }
  void on_ready() override { ask(); }

  void ask() {
    const std::shared_ptr<const Protocol> protocol = attempt_->protocol = cluster_->protocol();
    CodecOptions options;
    attempt_->codec = protocol->create(*protocol, Role::kClient, *attempt_->transport, *this, options);
    if (rule_.type == config::HealthCheckType::kHeartbeat) {
      attempt_->codec->heartbeat();
      return;
    }
    Head& head = attempt_->request;
    head.is_http = true;
    if (rule_.type == config::HealthCheckType::kGrpc) {
      head.grpc = head.te_trailers = true;
      head.method = "POST";
      head.path = "/grpc.health.v1.Health/Check";
      head.headers.add("content-type", "application/grpc");
    } else {
      head.method = "GET";
      head.path = rule_.path;
    }
    host_ = !rule_.host.empty()              ? rule_.host
            : endpoint_->address().is_unix() ? "localhost"
                                             : endpoint_->name();
    head.authority = host_;
    head.scheme = cluster_->tls ? "https" : "http";
    head.headers.add("user-agent", "dragoman-health-check");
    if (attempt_->codec->capacity() > 0) send_request();  // else: when the peer has said how much it takes
  }
  void send_request() {
    attempt_->exchange = attempt_->codec->open(*this);
    const bool grpc = rule_.type == config::HealthCheckType::kGrpc;
    if (!attempt_->exchange || attempt_->exchange->send_head(attempt_->request, !grpc) != Reason::kNone)
      return done(false, "not sent");
    if (!grpc) return;
    const std::string question = health_question(rule_.service);
    attempt_->exchange->send_body({reinterpret_cast<const uint8_t*>(question.data()), question.size()}, true);
  }
  void on_connect_failed(Reason reason, int) override {
    connector_.reset();
    if (blames_endpoint(reason)) return done(false, reason_row(reason).label);
    running_ = false;  // says nothing about the endpoint
    wait();
  }

  // TransportEvents
  void on_data(uint8_t* data, size_t n) override {
    if (attempt_ && attempt_->codec) attempt_->codec->on_data(data, n);
  }
  void on_eof() override {
    if (attempt_ && attempt_->codec) attempt_->codec->on_eof();
    over("closed by the endpoint");
  }
  void on_closed(Reason reason) override {
    over(is_tls_reason(reason) ? reason_row(reason).label : "connection lost");
  }
  void on_write_blocked(bool) override {}

  // ConnectionEvents
  MessageSink* on_exchange(Exchange&) override { return nullptr; }
  void on_goaway() override { going_away_ = true; }
  void on_broken(Reason reason, std::string_view) override { over(reason_row(reason).label); }
  void on_finished() override {}
  void on_capacity() override {
    if (attempt_ && attempt_->request.is_http && !attempt_->exchange) send_request();
  }
  void pause_reading() override {}
  void resume_reading() override {}
  void on_event(CodecEvent event) override {
    if (event == CodecEvent::kHeartbeatAck && rule_.type == config::HealthCheckType::kHeartbeat) done(true, "heartbeat");
  }
  uint64_t now_ms() const override { return loop_.now_ms(); }

  // MessageSink: the answer of an HTTP or gRPC check
  void on_head(Head& head, bool end) override {
    if (head.status < 200) return;
    uint32_t status = head.status;
    if (head.grpc && status == 200) {
      attempt_->answer = &head;
      if (end) on_grpc_answer();
      return;
    }
    if (head.grpc) return done(false, "status " + std::to_string(status));
    bool ok = std::any_of(rule_.expect.begin(), rule_.expect.end(),
                          [status](const config::StatusRange& r) { return status >= r.first && status <= r.last; });
    done(ok, "status " + std::to_string(status));
  }
  void on_body(std::span<const uint8_t> chunk, bool end) override {
    if (!attempt_ || !attempt_->answer) return;
    std::string& message = attempt_->message;
    size_t room = kHealthAnswer.size() - std::min(kHealthAnswer.size(), message.size());
    message.append(reinterpret_cast<const char*>(chunk.data()), std::min(room, chunk.size()));
    if (end) on_grpc_answer();
  }
  void on_trailers(HeaderList&) override {
    if (attempt_ && attempt_->answer) on_grpc_answer();
  }
  void on_grpc_answer() {
    int32_t status = attempt_->answer->rpc_status;
    if (status != 0) return done(false, "grpc-status " + std::to_string(status));
    // Fields that may come after it, and so the length, are of no interest.
    const std::string& message = attempt_->message;
    bool serving = message.size() == kHealthAnswer.size() && message[0] == 0 && message.substr(5) == kHealthAnswer.substr(5);
    done(serving, serving ? "serving" : "not serving");
  }
  void on_reset(Reason reason) override {
    if (attempt_ && attempt_->exchange) std::exchange(attempt_->exchange, nullptr)->release();
    done(false, reason_row(reason).label);
  }

  Loop& loop_;
  std::shared_ptr<SharedCluster> cluster_;
  std::shared_ptr<SharedEndpoint> endpoint_;
  const config::HealthCheck rule_;
  ClusterMetrics metrics_;
  std::mt19937& random_;
  std::unique_ptr<Connector> connector_;
  Attempt* attempt_ = nullptr;
  std::string host_;
  Timer timer_;
  uint64_t started_ms_ = 0;  // the last probe
  bool running_ = false;
  bool going_away_ = false;  // the endpoint takes no more on the connection
  uint32_t streak_ = 0;
};

}  // namespace

struct HealthMonitor::Impl {
  struct Checked {
    std::shared_ptr<SharedCluster> cluster;
    std::unique_ptr<MetricsBinding> binding;
    ClusterMetrics metrics;
    std::unordered_map<const SharedEndpoint*, std::unique_ptr<Checker>> checkers;
    uint64_t round = 0;  // of the last begin() after which it was followed
  };
  Impl(Loop& l, MetricRegistry& r, int s) : loop(l), registry(r), shard(s) {}

  void sync(Checked& of) {
    std::unordered_map<const SharedEndpoint*, std::unique_ptr<Checker>> next;
    const auto set = of.cluster->endpoints();
    for (const auto& endpoint : set->endpoints) {
      auto it = of.checkers.find(endpoint.get());
      if (it != of.checkers.end())
        next.insert(of.checkers.extract(it));
      else if (!next.contains(endpoint.get()))
        next.emplace(endpoint.get(),
                     std::make_unique<Checker>(loop, of.cluster, endpoint, of.metrics, random));
    }
    of.checkers = std::move(next);
  }

  Loop& loop;
  MetricRegistry& registry;
  int shard;
  std::mt19937 random{std::random_device{}()};
  std::unordered_map<const SharedCluster*, Checked> checked;
  uint64_t round = 0;
};

HealthMonitor::HealthMonitor(Loop& loop, MetricRegistry& registry, int shard)
    : impl_(std::make_unique<Impl>(loop, registry, shard)) {}
HealthMonitor::~HealthMonitor() = default;

void HealthMonitor::begin() { ++impl_->round; }

void HealthMonitor::follow(const std::shared_ptr<SharedCluster>& cluster) {
  if (!cluster->settings.health_check) return;
  Impl::Checked& checked = impl_->checked[cluster.get()];
  if (!checked.cluster) {
    checked.cluster = cluster;
    checked.binding = std::make_unique<MetricsBinding>(impl_->registry, impl_->shard);
    checked.metrics = checked.binding->cluster(cluster->settings.name);
  }
  checked.round = impl_->round;
  impl_->sync(checked);
}

void HealthMonitor::end() {
  std::erase_if(impl_->checked, [this](const auto& row) { return row.second.round != impl_->round; });
}

void HealthMonitor::sync(const SharedCluster& cluster) {
  if (auto it = impl_->checked.find(&cluster); it != impl_->checked.end()) impl_->sync(it->second);
}

bool HealthMonitor::settled() const {
  for (const auto& [cluster, checked] : impl_->checked)
    for (const auto& [endpoint, checker] : checked.checkers)
      if (endpoint->unchecked()) return false;
  return true;
}

void HealthMonitor::stop() { impl_->checked.clear(); }

}  // namespace dragoman
