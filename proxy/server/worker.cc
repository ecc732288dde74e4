#include "proxy/server/worker.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <optional>
#include <random>

#include "config/protocols.h"
#include "protocols/plugin_crash.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/thread_start.h"
#include "proxy/stream/stream.h"

namespace dragoman {
namespace {

constexpr uint64_t kTickMs = 100;
constexpr uint64_t kTrimMs = 1000;

/// CPU time of this thread.
uint64_t cpu_ns() {
  timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(ts.tv_nsec);
}

/// Clusters let go of in one part of a job: some microseconds each.
constexpr size_t kLetGo = 2;

}  // namespace

struct Worker::Plan {
  struct Listener {
    Ref<ListenerRuntime> runtime;  // null: goes on with the one it has
    int fd = -1;                   // of a new slot
  };
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<Ref<Cluster>> fresh;
  std::vector<Cluster*> gone;
  std::vector<std::pair<Cluster*, ProtocolRef>> protocols;  // that changed
  std::vector<Listener> listeners;
  std::function<void()> applied;
  KnownClusters known;  // with it; in apply() those of before
  PlannedListeners planned;

  ~Plan() {
    for (const Listener& listener : listeners)
      if (listener.fd >= 0) close_fd(listener.fd);
  }

  // How far it is.
  enum class Step { kClusters, kProtocols, kListeners, kSlots, kGone, kDrain, kEnd } step = Step::kClusters;
  size_t at = 0;
  std::vector<Ref<ListenerSlot>> slots;
  std::vector<Ref<Cluster>> leaving;

  /// The next place before `size`; else the next step, and `size`.
  size_t advance(size_t size) {
    if (at < size) return at++;
    at = 0;
    step = static_cast<Step>(static_cast<int>(step) + 1);
    return size;
  }
};

Worker::Worker(int index, int workers, MetricRegistry& registry, SideThread& aside)
    : index_(index),
      workers_(workers),
      registry_(registry),
      loop_(std::make_unique<Loop>()),
      eras_([this](std::vector<Ref<Cluster>> gone) {
        try {
          if (leftover_.empty())
            leftover_ = std::move(gone);
          else
            for (Ref<Cluster>& cluster : gone) leftover_.push_back(std::move(cluster));
          add_job([this] {
            for (size_t i = 0; i < kLetGo && !leftover_.empty(); ++i) leftover_.pop_back();
            return leftover_.empty();
          });
        } catch (const std::bad_alloc&) {  // what asks may be a destructor
          leftover_.clear();
        }
      }) {
  std::random_device entropy;
  uint64_t seed = (static_cast<uint64_t>(entropy()) << 32) | entropy();
  context_ = std::make_unique<WorkerContext>(WorkerContext{*loop_, index, workers, Random(seed)});
  context_->dispose = [&aside](std::shared_ptr<const void> garbage) {
    try {
      aside.run([dropped = std::move(garbage)] {});
    } catch (const std::bad_alloc&) {  // it dies here
    }
  };
  thread_ = std::thread([this] { run(); });
}

Worker::~Worker() { join(); }

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  std::optional<CrashStack> crash_stack;
  try {
    AtThreadStart::run();
    crash_stack.emplace();
    begin();
  } catch (const std::bad_alloc&) {  // nothing is served yet
    std::fputs("dragoman: not enough memory to start\n", stderr);
    std::_Exit(1);
  }
  loop_->run();
  end();
}

void Worker::begin() {
  pthread_setname_np(pthread_self(), ("worker-" + std::to_string(index_)).c_str());
  binding_ = std::make_unique<MetricsBinding>(registry_, index_);
  metrics_ = binding_->worker();
  context_->connections = metrics_.connections_active;
  tick_.bind<&Worker::on_tick>(loop_->timers(), this);
  tick_due_ms_ = loop_->now_ms() + kTickMs;
  tick_.start(kTickMs);
}

void Worker::end() {
  last_sign_ms_.store(kEnded, std::memory_order_relaxed);
  // Everything closed: what is left must be nothing.
  jobs_.clear();
  slots_.clear();
  draining_slots_.clear();
  clusters_.clear();
  jobs_.clear();  // the eras' last
  leftover_.clear();
  snapshot_.reset();
  count_memory();
  leaks_.streams = Stream::live();
  leaks_.handles = loop_->live_handles();
  leaks_.chunks = live_chunks();
  leaks_.untold = untold_exchanges;
}

void Worker::add_job(Job job) {
  jobs_.push_back(std::move(job));
  begin_jobs();
}

void Worker::give_job(Job job) {
  auto one = std::make_shared<std::list<Job>>();
  one->push_back(std::move(job));
  loop_->post([this, one = std::move(one)] {
    jobs_.splice(jobs_.end(), *one);
    begin_jobs();
  });
}

void Worker::begin_jobs() {
  if (jobs_.size() != 1) return;
  try {
    loop_->post([this] { work(); });
  } catch (const std::bad_alloc&) {
    jobs_wait_ = true;
  }
}

void Worker::work() {
  try {
    do_jobs();
    if (!jobs_.empty()) loop_->post([this] { work(); });
  } catch (const std::bad_alloc&) {  // what was asked is not forgotten: on_tick() comes back to it
    note_memory_shed(MemoryShed::kControl);
    jobs_wait_ = true;
  }
}

void Worker::do_jobs() {
  if (jobs_.empty()) return;
  const uint64_t start = cpu_ns();
  uint64_t spent = 0;
  while (!jobs_.empty() && spent < kJobsNs) {
    // The clock is dearer than most parts.
    for (int parts = 0; parts < 8 && !jobs_.empty(); ++parts) {
      if (!jobs_.front()()) continue;
      const Job done = std::move(jobs_.front());
      jobs_.pop_front();
    }
    spent = cpu_ns() - start;
  }
  metrics_.control_time.observe_us(spent / 1000);
}

std::shared_ptr<Worker::Plan> Worker::prepare(std::shared_ptr<const Snapshot> snapshot,
                                              std::vector<NewSocket>& sockets) const {
  auto plan = std::make_shared<Plan>();
  KnownClusters fresh;
  plan->listeners.resize(snapshot->listeners.size());
  for (const NewSocket& socket : sockets) plan->listeners[socket.listener].fd = socket.fd;
  sockets.clear();
  plan->known.reserve(snapshot->clusters.size());
  for (const auto& shared : snapshot->clusters) {
    const std::string_view name = shared->settings.name;
    const ProtocolRef protocol = snapshot->protocol(shared->settings.protocol);
    auto it = known_.find(name);
    if (it != known_.end() && it->second.shared == shared) {
      if (it->second.protocol != protocol) plan->protocols.emplace_back(it->second.cluster, protocol);
      plan->known[name] = {shared, it->second.cluster, protocol};
      continue;
    }
    auto binding = std::make_shared<MetricsBinding>(registry_, index_);
    ClusterMetrics metrics = binding->cluster(name);
    Ref<Cluster> made(new Cluster(*context_, shared, binding, metrics));
    if (shared->tls) made->tls_metrics = binding->tls("cluster", name);
    made->set_protocol(protocol);
    plan->known[name] = fresh[name] = {shared, made.get(), protocol};
    plan->fresh.push_back(std::move(made));
  }
  for (const auto& [name, known] : known_)
    if (auto it = plan->known.find(name); it == plan->known.end() || it->second.cluster != known.cluster)
      plan->gone.push_back(known.cluster);
  plan->leaving.reserve(plan->gone.size());
  plan->slots.reserve(snapshot->listeners.size());

  for (size_t i = 0; i < snapshot->listeners.size(); ++i) {
    const auto& spec = snapshot->listeners[i];
    Plan::Listener& listener = plan->listeners[i];
    auto before = planned_.find(spec->settings.name);
    if (listener.fd >= 0 || before == planned_.end() || before->second != spec || uses_any(*spec, fresh))
      listener.runtime = make_runtime(spec, plan->known);
    plan->planned[spec->settings.name] = spec;
  }
  plan->snapshot = std::move(snapshot);
  return plan;
}

void Worker::apply(std::shared_ptr<Plan> plan, std::function<void()> applied) {
  struct Before {
    KnownClusters known;
    PlannedListeners planned;
  };
  auto before = std::make_shared<Before>();
  plan->applied = std::move(applied);
  give_job([this, plan] { return apply_part(*plan); });
  known_.swap(plan->known);
  planned_.swap(plan->planned);
  before->known.swap(plan->known);
  before->planned.swap(plan->planned);
  context_->dispose(std::move(before));
}

bool Worker::uses_any(const ListenerSpec& spec, const KnownClusters& clusters) const {
  if (clusters.empty()) return false;
  if (spec.detect) {
    for (const auto& part : spec.detect->specs)
      if (uses_any(*part, clusters)) return true;
    return spec.detect->unknown && uses_any(*spec.detect->unknown, clusters);
  }
  for (const Route& route : spec.routes->routes())
    for (const auto& target : route.clusters)
      if (clusters.contains(target.name)) return true;
  return false;
}

bool Worker::apply_part(Plan& plan) {
  const auto step = plan.step;
  const size_t at = plan.at;
  try {
    return do_part(plan);
  } catch (const std::bad_alloc&) {  // the same part is done again, later
    plan.step = step;
    plan.at = at;
    throw;
  }
}

bool Worker::do_part(Plan& plan) {
  using Step = Plan::Step;
  switch (plan.step) {
    case Step::kClusters:  // first: routes point at them
      if (size_t i = plan.advance(plan.fresh.size()); i < plan.fresh.size()) {
        plan.fresh[i]->place = clusters_.size();
        clusters_.push_back(std::move(plan.fresh[i]));
      }
      return false;
    case Step::kProtocols:
      if (size_t i = plan.advance(plan.protocols.size()); i < plan.protocols.size())
        plan.protocols[i].first->set_protocol(plan.protocols[i].second);
      return false;
    case Step::kListeners:
      if (size_t i = plan.advance(plan.listeners.size()); i < plan.listeners.size()) {
        Plan::Listener& listener = plan.listeners[i];
        if (listener.fd >= 0) {
          plan.slots.push_back(Ref<ListenerSlot>(new ListenerSlot(*context_, listener.runtime, listener.fd)));
          listener.fd = -1;
        } else {
          const std::string& name = plan.snapshot->listeners[i]->settings.name;
          auto slot = std::find_if(slots_.begin(), slots_.end(), [&](const Ref<ListenerSlot>& s) {
            return s && s->runtime()->spec->settings.name == name;
          });
          if (slot == slots_.end()) return false;
          if (listener.runtime) (*slot)->set_runtime(listener.runtime);
          plan.slots.push_back(std::move(*slot));
          *slot = {};
        }
        listener.runtime = {};
      }
      return false;
    case Step::kSlots: {
      for (Ref<ListenerSlot>& slot : slots_)
        if (slot) {
          const int64_t deadline_ms = slot->runtime()->spec->drain.deadline_ms;
          retire_slot(std::move(slot), static_cast<uint64_t>(deadline_ms));
        }
      slots_ = std::move(plan.slots);
      std::shared_ptr<const Snapshot> before = std::exchange(snapshot_, plan.snapshot);
      context_->dispose(std::move(before));
      plan.advance(0);
      return false;
    }
    case Step::kGone:
      if (size_t i = plan.advance(plan.gone.size()); i < plan.gone.size()) {
        Ref<Cluster>& hole = clusters_[plan.gone[i]->place];
        plan.leaving.push_back(std::move(hole));
        if (&hole != &clusters_.back()) {
          hole = std::move(clusters_.back());
          hole->place = static_cast<size_t>(&hole - clusters_.data());
        }
        clusters_.pop_back();
      }
      return false;
    case Step::kDrain:
      if (size_t i = plan.advance(plan.leaving.size()); i < plan.leaving.size()) plan.leaving[i]->drain();
      return false;
    case Step::kEnd:
      // Runtimes that stay point at clusters that stay; of those that were replaced, streams may be there.
      eras_.next(std::move(plan.leaving));
      for (const Ref<ListenerSlot>& slot : slots_) slot->runtime()->join(eras_);
      if (plan.applied) plan.applied();
      context_->dispose(std::move(plan.snapshot));
      return true;
  }
  return true;
}

Ref<ListenerRuntime> Worker::make_runtime(const std::shared_ptr<const ListenerSpec>& spec,
                                          const KnownClusters& clusters) const {
  Ref<ListenerRuntime> runtime(new ListenerRuntime(*context_, spec, MetricsBinding(registry_, index_)));
  const std::string& listener = spec->settings.name;
  const std::string& protocol = spec->settings.protocol;
  runtime->metrics = runtime->binding.listener(listener);
  if (spec->settings.tls) runtime->tls = runtime->binding.tls("listener", listener);
  runtime->unrouted.metrics = runtime->binding.request(listener, "-", "-", protocol);
  if (spec->access_log) runtime->access_log = &spec->access_log->shard(index_);
  if (spec->detect) {
    for (size_t i = 0; i < spec->detect->specs.size(); ++i) {
      runtime->detected.push_back(make_runtime(spec->detect->specs[i], clusters));
      runtime->detect_metrics.push_back(runtime->binding.detect(listener, spec->detect->names[i]));
    }
    if (spec->detect->unknown) runtime->unknown = make_runtime(spec->detect->unknown, clusters);
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
      const Known& known = clusters.at(target.name);
      const TryRules rules = try_rules(route, known.shared->settings, spec->settings, timeout_ms);
      r.targets.push_back(
          {known.cluster, runtime->binding.request(listener, route.name, target.name, protocol), rules});
    }
    if (r.targets.empty()) r.targets.push_back({{}, runtime->binding.request(listener, route.name, "-", protocol)});
    if (runtime->routes.size() <= route.index) runtime->routes.resize(route.index + 1);
    runtime->routes[route.index] = std::move(r);
  }
  return runtime;
}

void Worker::retire_slot(Ref<ListenerSlot> slot, uint64_t deadline_ms) {
  slot->drain();
  draining_slots_.push_back({std::move(slot), loop_->now_ms() + deadline_ms});
}

void Worker::update_endpoints(const std::shared_ptr<SharedCluster>& shared,
                              std::shared_ptr<const EndpointSet> set) {
  auto known = known_.find(shared->settings.name);
  if (known == known_.end() || known->second.shared != shared) return;  // it starts with this list
  struct Update {
    Cluster* cluster;
    std::shared_ptr<const EndpointSet> set;
    std::vector<Ref<Endpoint>> fresh, gone;
  };
  auto update = std::make_shared<Update>();
  update->cluster = known->second.cluster;
  for (size_t i = 0; i < set->endpoints.size(); ++i)
    if (set->from[i] == EndpointSet::kNew)
      update->fresh.push_back(Ref<Endpoint>(new Endpoint(*update->cluster, set->endpoints[i])));
  update->set = std::move(set);
  give_job([this, update = std::move(update)] {
    if (update->set) {
      // Jobs go by the order they were asked for, so it is still there.
      update->gone = update->cluster->update(*update->set, std::move(update->fresh));
      context_->dispose(std::move(update->set));
      update->set = nullptr;
    }
    for (size_t i = 0; i < kLetGo && !update->gone.empty(); ++i) update->gone.pop_back();
    return update->gone.empty();
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
  if (memory_is_short())
    for (int i = 0; i < 4; ++i) trimmed_bytes_.fetch_add(trim_spare_memory(), std::memory_order_relaxed);
  restore_memory_reserve();
  if (std::exchange(jobs_wait_, false)) work();
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
  give_job([this, deadline_ms, drained = std::move(drained)] {
    for (Ref<ListenerSlot>& slot : slots_) retire_slot(std::move(slot), deadline_ms);
    slots_.clear();
    drained_ = drained;
    if (drained_ && draining_slots_.empty()) std::exchange(drained_, nullptr)();
    return true;
  });
}

void Worker::stop() {
  give_job([this] {
    for (Ref<ListenerSlot>& slot : slots_) retire_slot(std::move(slot), 0);
    slots_.clear();
    for (DrainingSlot& d : draining_slots_) d.slot->abort();
    draining_slots_.clear();
    for (const Ref<Cluster>& cluster : clusters_) cluster->drain();
    tick_.stop();
    loop_->stop();
    return true;
  });
}

}  // namespace dragoman
