#include "proxy/server/worker.h"

#include <pthread.h>

#include <algorithm>
#include <random>

#include "config/protocols.h"
#include "protocols/plugin_crash.h"
#include "proxy/stream/stream.h"

namespace dragoman {
namespace {

constexpr uint64_t kTickMs = 100;
constexpr uint64_t kTrimMs = 1000;

}  // namespace

Worker::Worker(int index, int workers, MetricRegistry& registry)
    : index_(index), workers_(workers), registry_(registry), loop_(std::make_unique<Loop>()) {
  std::random_device entropy;
  uint64_t seed = (static_cast<uint64_t>(entropy()) << 32) | entropy();
  context_ = std::make_unique<WorkerContext>(WorkerContext{*loop_, index, workers, Random(seed)});
  thread_ = std::thread([this] { run(); });
}

Worker::~Worker() { join(); }

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  CrashStack crash_stack;
  pthread_setname_np(pthread_self(), ("worker-" + std::to_string(index_)).c_str());
  binding_ = std::make_unique<MetricsBinding>(registry_, index_);
  metrics_ = binding_->worker();
  context_->connections = metrics_.connections_active;
  tick_.bind<&Worker::on_tick>(loop_->timers(), this);
  tick_due_ms_ = loop_->now_ms() + kTickMs;
  tick_.start(kTickMs);
  loop_->run();
  last_sign_ms_.store(kEnded, std::memory_order_relaxed);
  // Everything closed: what is left must be nothing.
  slots_.clear();
  draining_slots_.clear();
  clusters_.clear();
  snapshot_.reset();
  count_memory();
  leaks_.streams = Stream::live();
  leaks_.handles = loop_->live_handles();
  leaks_.chunks = live_chunks();
  leaks_.untold = untold_exchanges;
}

void Worker::apply(std::shared_ptr<const Snapshot> snapshot, std::vector<NewSocket> sockets,
                   std::function<void()> applied) {
  loop_->post([this, snapshot = std::move(snapshot), sockets = std::move(sockets), applied = std::move(applied)] {
    do_apply(snapshot, sockets);
    if (applied) applied();
  });
}

Ref<Cluster> Worker::find_cluster(std::string_view name) {
  for (const Ref<Cluster>& c : clusters_)
    if (c->settings().name == name) return c;
  return {};
}

Ref<ListenerRuntime> Worker::make_runtime(const std::shared_ptr<const ListenerSpec>& spec) {
  Ref<ListenerRuntime> runtime(new ListenerRuntime(*context_, spec, MetricsBinding(registry_, index_)));
  const std::string& listener = spec->settings.name;
  const std::string& protocol = spec->settings.protocol;
  runtime->metrics = runtime->binding.listener(listener);
  if (spec->settings.tls) runtime->tls = runtime->binding.tls("listener", listener);
  runtime->unrouted.metrics = runtime->binding.request(listener, "-", "-", protocol);
  if (spec->access_log) runtime->access_log = &spec->access_log->shard(index_);
  if (spec->detect) {
    for (size_t i = 0; i < spec->detect->specs.size(); ++i) {
      runtime->detected.push_back(make_runtime(spec->detect->specs[i]));
      runtime->detect_metrics.push_back(runtime->binding.detect(listener, spec->detect->names[i]));
    }
    if (spec->detect->unknown) runtime->unknown = make_runtime(spec->detect->unknown);
    runtime->unknown_metrics = runtime->binding.detect(listener, "unknown");
    runtime->silent_metrics = runtime->binding.detect(listener, "silent");
    return runtime;
  }
  if (!spec->protocol && protocol != "tcp") {
    const std::string& cluster = spec->settings.cluster;
    runtime->observer = runtime->binding.observer(listener, cluster, protocol);
    if (protocol == "redis") runtime->redis = runtime->binding.redis(listener, cluster);
    if (protocol == "mysql") runtime->mysql = runtime->binding.mysql(listener, cluster);
  }
  const int64_t timeout_ms = config::default_timeout_ms(config::find_protocol(protocol),
                                                        spec->protocol && spec->protocol->only_bound);
  for (const Route& route : spec->routes->routes()) {
    RouteRuntime r;
    for (const auto& target : route.clusters) {
      Ref<Cluster> cluster = find_cluster(target.name);
      const TryRules rules = try_rules(route, cluster->settings(), spec->settings, timeout_ms);
      r.targets.push_back(
          {std::move(cluster), runtime->binding.request(listener, route.name, target.name, protocol), rules});
    }
    if (r.targets.empty()) r.targets.push_back({{}, runtime->binding.request(listener, route.name, "-", protocol)});
    if (runtime->routes.size() <= route.index) runtime->routes.resize(route.index + 1);
    runtime->routes[route.index] = std::move(r);
  }
  return runtime;
}

void Worker::do_apply(const std::shared_ptr<const Snapshot>& snapshot, const std::vector<NewSocket>& sockets) {
  // Clusters first: routes point at them.
  std::vector<Ref<Cluster>> clusters;
  for (const auto& shared : snapshot->clusters) {
    Ref<Cluster> found;
    for (const Ref<Cluster>& c : clusters_)
      if (c->shared() == shared) found = c;
    if (!found) {
      auto binding = std::make_shared<MetricsBinding>(registry_, index_);
      ClusterMetrics metrics = binding->cluster(shared->settings.name);
      found = Ref<Cluster>(new Cluster(*context_, shared, binding, metrics));
      if (shared->tls) found->tls_metrics = binding->tls("cluster", shared->settings.name);
    }
    found->set_protocol(snapshot->protocol(shared->settings.protocol));
    clusters.push_back(std::move(found));
  }
  clusters_.swap(clusters);

  std::vector<Ref<ListenerSlot>> slots;
  for (size_t i = 0; i < snapshot->listeners.size(); ++i) {
    const auto& spec = snapshot->listeners[i];
    Ref<ListenerRuntime> runtime = make_runtime(spec);
    auto fresh = std::find_if(sockets.begin(), sockets.end(), [i](const NewSocket& s) { return s.listener == i; });
    if (fresh != sockets.end()) {
      slots.push_back(Ref<ListenerSlot>(new ListenerSlot(*context_, runtime, fresh->fd)));
      continue;
    }
    for (Ref<ListenerSlot>& slot : slots_) {
      if (!slot || slot->runtime()->spec->settings.name != spec->settings.name) continue;
      slot->set_runtime(runtime);
      slots.push_back(std::move(slot));
      slot = {};
      break;
    }
  }
  for (Ref<ListenerSlot>& slot : slots_)
    if (slot) {
      const int64_t deadline_ms = slot->runtime()->spec->drain.deadline_ms;
      retire_slot(std::move(slot), static_cast<uint64_t>(deadline_ms));
    }
  slots_ = std::move(slots);
  snapshot_ = snapshot;
  for (const Ref<Cluster>& old : clusters)  // the previous ones
    if (std::none_of(clusters_.begin(), clusters_.end(), [&](const Ref<Cluster>& c) { return c.get() == old.get(); }))
      old->drain();
}

void Worker::retire_slot(Ref<ListenerSlot> slot, uint64_t deadline_ms) {
  slot->drain();
  draining_slots_.push_back({std::move(slot), loop_->now_ms() + deadline_ms});
}

void Worker::update_endpoints(std::shared_ptr<SharedCluster> cluster, std::shared_ptr<const EndpointSet> set) {
  loop_->post([this, cluster = std::move(cluster), set = std::move(set)] {
    for (const Ref<Cluster>& c : clusters_)
      if (c->shared() == cluster) c->update(*set);
  });
}

void Worker::count_memory() {
  for (size_t i = 0; i < kMemoryOwnerCount; ++i) {
    const auto owner = static_cast<MemoryOwner>(i);
    metrics_.memory_bytes.set(owner, static_cast<int64_t>(kept_memory.of(owner)));
  }
  metrics_.memory_spare_bytes.set(static_cast<int64_t>(spare_memory_bytes()));
}

void Worker::on_tick() {
  uint64_t now = loop_->now_ms();
  if (now >= trim_due_ms_) {
    trim_due_ms_ = now + kTrimMs;
    trimmed_bytes_.fetch_add(trim_spare_memory(), std::memory_order_relaxed);
  }
  count_memory();
  last_sign_ms_.store(clock_ms(), std::memory_order_relaxed);
  metrics_.loop_lag.observe_us(now > tick_due_ms_ ? (now - tick_due_ms_) * 1000 : 0);
  tick_due_ms_ = now + kTickMs;
  tick_.start(kTickMs);
  for (size_t i = 0; i < draining_slots_.size();) {
    DrainingSlot& d = draining_slots_[i];
    if (d.slot->connections() != 0 && now >= d.deadline_ms) d.slot->abort();
    if (d.slot->connections() == 0)
      draining_slots_.erase(draining_slots_.begin() + static_cast<ptrdiff_t>(i));
    else
      ++i;
  }
  if (drained_ && draining_slots_.empty()) std::exchange(drained_, nullptr)();
}

void Worker::drain(uint64_t deadline_ms, std::function<void()> drained) {
  loop_->post([this, deadline_ms, drained = std::move(drained)] {
    for (Ref<ListenerSlot>& slot : slots_) retire_slot(std::move(slot), deadline_ms);
    slots_.clear();
    drained_ = std::move(drained);
    if (drained_ && draining_slots_.empty()) std::exchange(drained_, nullptr)();
  });
}

void Worker::stop() {
  loop_->post([this] {
    for (Ref<ListenerSlot>& slot : slots_) retire_slot(std::move(slot), 0);
    slots_.clear();
    for (DrainingSlot& d : draining_slots_) d.slot->abort();
    draining_slots_.clear();
    for (const Ref<Cluster>& c : clusters_) c->drain();
    tick_.stop();
    loop_->stop();
  });
}

}  // namespace dragoman
