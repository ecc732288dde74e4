#include "proxy/stream/listener_slot.h"

#include <utility>

#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/stream/downstream.h"
#include "proxy/stream/gate.h"
#include "proxy/stream/tcp_relay.h"

namespace dragoman {
namespace {

/// Closed connections of one listener on one worker. They keep their place among its connections.
class SlotLinger final : public LingerGroup {
 public:
  explicit SlotLinger(ListenerRuntime& runtime) : runtime_(&runtime) {}
  void follow(ListenerRuntime& runtime) { runtime_ = Ref<ListenerRuntime>(&runtime); }

  LingerLimits limits() const override {
    const config::Linger& linger = runtime_->spec->settings.linger;
    return {static_cast<uint64_t>(linger.timeout_ms), static_cast<uint64_t>(linger.idle_timeout_ms),
            linger.bytes_max, linger.connections_max};
  }
  void on_linger(int connections, int64_t unsent_bytes) override {
    const ListenerMetrics& metrics = runtime_->metrics;
    metrics.connections_lingering.add(connections);
    metrics.lingering_bytes.add(unsent_bytes);
    runtime_->spec->shared->connections.fetch_add(static_cast<uint32_t>(connections),
                                                  std::memory_order_relaxed);
  }
  void on_cut() override { runtime_->metrics.limit_hits.inc(ListenerLimit::kLingering); }

 private:
  Ref<ListenerRuntime> runtime_;
};

/// On its way between two loops; closes what nobody took.
struct Travelling {
  int fd;
  explicit Travelling(int f) : fd(f) {}
  Travelling(const Travelling&) = delete;
  ~Travelling() { close_fd(fd); }
};

void hand_over(const std::shared_ptr<ListenerShared>& shared, int to, int fd) {
  auto travelling = std::make_shared<Travelling>(fd);
  shared->balance.loop(to).post([shared, to, travelling] {
    ListenerSlot* slot = shared->balance.slot(to);
    if (!slot) return shared->balance.remove(to);  // it has ended: whoever connected may try again
    const int taken = std::exchange(travelling->fd, -1);
    slot->take(taken, peer_address(taken));
  });
}

}  // namespace

ListenerSlot::ListenerSlot(WorkerContext& worker, Ref<ListenerRuntime> runtime, int fd)
    : worker_(worker), runtime_(std::move(runtime)), shared_(runtime_->spec->shared) {
  linger_ = std::make_shared<SlotLinger>(*runtime_);
  shared_->balance.join(worker.index, worker.loop, *this);
  acceptor_ = Acceptor::create(worker.loop, fd, *this, static_cast<int>(runtime_->spec->settings.accept_per_turn));
}

ListenerSlot::~ListenerSlot() { shared_->balance.forget(worker_.index, *this); }

void ListenerSlot::set_runtime(Ref<ListenerRuntime> runtime) {
  runtime_ = std::move(runtime);
  ++reloads_;
  static_cast<SlotLinger&>(*linger_).follow(*runtime_);
}

void ListenerSlot::add(AcceptedConnection& connection) {
  connections_.push_back(connection);
  ++count_;
  runtime_->metrics.connections_active.add();
  worker_.connections.add();
}

void ListenerSlot::replace(AcceptedConnection& before, AcceptedConnection& after) {
  before.unlink();
  connections_.push_back(after);
}

const SharedTransportOptions& ListenerSlot::transport_options() {
  const config::Buffer& buffer = runtime_->spec->settings.buffer;
  TransportOptions options;
  options.high_bytes = static_cast<uint32_t>(buffer.high_bytes);
  options.low_bytes = static_cast<uint32_t>(buffer.low_bytes);
  options.read_budget_bytes = static_cast<uint32_t>(buffer.read_budget_bytes);
  options.linger = linger_;
  return options_.follow(options);
}

void ListenerSlot::on_closed(AcceptedConnection& connection) {
  connection.unlink();
  --count_;
  shared_->connections.fetch_sub(1, std::memory_order_relaxed);
  shared_->balance.remove(worker_.index);
  runtime_->metrics.connections_active.sub();
  worker_.connections.sub();
}

/// A unix socket's workers accept on one descriptor, and the kernel wakes them all: the first would get most.
bool ListenerSlot::balanced() const {
  const config::Listener& settings = runtime_->spec->settings;
  return settings.connection_balance == config::ConnectionBalance::kExact || settings.address.is_unix();
}

void ListenerSlot::on_accept(int fd, const Address& peer) {
  if (!balanced() || draining_) {  // the last ones, which nobody else may be there for
    shared_->balance.add(worker_.index);
    return take(fd, peer);
  }
  const int to = shared_->balance.choose(worker_.index);
  if (to == worker_.index) return take(fd, peer);
  hand_over(shared_, to, fd);
}

void ListenerSlot::take(int fd, const Address& peer) {
  const config::Listener& settings = runtime_->spec->settings;
  if (memory_is_short()) {
    note_memory_shed(MemoryShed::kAccept);
    runtime_->metrics.connections_rejected.inc();
    close_fd(fd);
    return;
  }
  // One that lingers goes before a new one is sent away.
  if (shared_->connections.fetch_add(1, std::memory_order_relaxed) >= settings.connections_max &&
      !linger_->cut_oldest()) {
    shared_->connections.fetch_sub(1, std::memory_order_relaxed);
    runtime_->metrics.connections_rejected.inc();
    runtime_->metrics.limit_hits.inc(ListenerLimit::kConnections);
    shared_->balance.remove(worker_.index);
    close_fd(fd);
    return;
  }
  runtime_->metrics.connections.inc();
  AcceptedConnection* before = connections_.back();
  try {
    if (runtime_->spec->tls || runtime_->spec->detect || settings.proxy_protocol)
      Gate::start(*this, fd);
    else if (runtime_->spec->protocol)
      DownstreamConnection::start(*this, fd, peer);
    else
      TcpRelay::start(*this, fd, peer);
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kAccept);
    shared_->connections.fetch_sub(1, std::memory_order_relaxed);
    runtime_->metrics.connections_rejected.inc();
    return;
  }
  AcceptedConnection* added = connections_.back();
  if (draining_ && added && added != before) added->drain();
}

void ListenerSlot::on_accept_failed(int error) {
  runtime_->metrics.accept_failures.inc();
  DRAGOMAN_LOG_LIMITED(kWarn, "listener", runtime_->spec->settings.name,
                       "{}: accept failed (errno {}); trying again in 100 ms", runtime_->spec->settings.name,
                       error);
}

void ListenerSlot::drain() {
  if (draining_) return;
  draining_ = true;
  shared_->balance.leave(worker_.index, *this);
  if (acceptor_) acceptor_->drain_and_close();
  // drain() may close a connection, which unlinks it: walk with a moving end.
  IntrusiveList<AcceptedConnection, AcceptedConnection> todo;
  todo.splice(connections_);
  while (AcceptedConnection* c = todo.front()) {
    connections_.push_back(*c);
    c->drain();
  }
}

void ListenerSlot::abort() {
  shared_->balance.forget(worker_.index, *this);
  acceptor_.reset();
  while (AcceptedConnection* c = connections_.front()) c->abort();
}

}  // namespace dragoman
