// One thread, one loop, everything of its connections. Talks to the control thread by posted messages only.
#pragma once

#include <pthread.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "proxy/server/side_thread.h"
#include "proxy/server/snapshot.h"
#include "proxy/stream/listener_slot.h"

namespace dragoman {

/// Listening sockets that a snapshot needs and the worker does not have yet.
struct NewSocket {
  size_t listener;  // index in Snapshot::listeners
  int fd;
};

/// Objects still alive on a worker's thread at its end; all zero when nothing leaked.
struct WorkerLeaks {
  size_t streams = 0;
  size_t handles = 0;
  size_t chunks = 0;
  std::vector<std::string> gauges;  // of things that are there now, and are not zero
  size_t untold = 0;                // exchanges whose end a codec did not tell: see exchange_hold.h
  bool none() const { return streams == 0 && handles == 0 && chunks == 0 && untold == 0 && gauges.empty(); }
};

class Worker {
 public:
  /// Starts the thread. What is dear to destroy is left to `aside`, which outlives it.
  Worker(int index, int workers, MetricRegistry& registry, SideThread& aside);
  /// Joins; call stop() first.
  ~Worker();

  /// A reload as the worker gets it: all is made, and only has to be put in place. Closes its sockets if it never is.
  struct Plan;
  /// Any thread, while nobody calls apply(): what takes time.
  std::shared_ptr<Plan> prepare(std::shared_ptr<const Snapshot> snapshot,
                                std::vector<NewSocket>& sockets) const;
  // Control thread. What they ask is carried out on the worker in the order asked, piece by piece between its other work.
  void apply(std::shared_ptr<Plan> plan, std::function<void()> applied);
  void update_endpoints(const std::shared_ptr<SharedCluster>& cluster,
                        std::shared_ptr<const EndpointSet> set);
  /// Stops accepting and drains every connection, which are cut at the deadline; `drained` runs (on the worker) once when none is left.
  void drain(uint64_t deadline_ms, std::function<void()> drained);
  /// Closes everything now and ends the thread.
  void stop();
  /// Memory given back to the allocator since the last call; any thread.
  size_t take_trimmed_bytes() { return trimmed_bytes_.exchange(0, std::memory_order_relaxed); }
  /// After the thread ended.
  const WorkerLeaks& leaks() const { return leaks_; }
  void join();

  /// What signs of life are told in.
  static uint64_t clock_ms() { return Loop::now_ns() / 1'000'000; }
  static constexpr uint64_t kEnded = UINT64_MAX;
  /// Any thread: when the loop was last seen to run; kEnded when it ended.
  uint64_t last_sign_ms() const { return last_sign_ms_.load(std::memory_order_relaxed); }
  /// Alive until join().
  pthread_t thread() { return thread_.native_handle(); }

 private:
  /// Does a part, some ten microseconds at most; true when nothing is left to do.
  using Job = std::function<bool()>;
  /// A loop is not held up longer by jobs. One turn of its own work comes before the next part.
  static constexpr uint64_t kJobsNs = 300'000;
  /// What is known of a cluster that the worker has, or will have when it comes to the last plan.
  struct Known {
    std::shared_ptr<SharedCluster> shared;
    Cluster* cluster;  // not to be looked into
    ProtocolRef protocol;
  };
  using KnownClusters = std::unordered_map<std::string_view, Known>;  // by name
  using PlannedListeners = std::unordered_map<std::string, std::shared_ptr<const ListenerSpec>>;

  void run();
  void begin();
  void end();
  /// Control thread: the worker can take it even when it has no memory.
  void give_job(Job job);
  void add_job(Job job);
  void begin_jobs();
  void work();
  void do_jobs();
  bool apply_part(Plan& plan);
  bool do_part(Plan& plan);
  Ref<ListenerRuntime> make_runtime(const std::shared_ptr<const ListenerSpec>& spec,
                                    const KnownClusters& clusters) const;
  bool uses_any(const ListenerSpec& spec, const KnownClusters& clusters) const;
  void on_tick();
  void retire_slot(Ref<ListenerSlot> slot, uint64_t deadline_ms);
  void count_memory();

  struct DrainingSlot {
    Ref<ListenerSlot> slot;
    uint64_t deadline_ms;
  };

  const int index_;
  const int workers_;
  MetricRegistry& registry_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<WorkerContext> context_;
  // The control thread's, which changes them in apply() alone.
  KnownClusters known_;
  PlannedListeners planned_;
  // The rest is touched by the worker's thread only.
  std::list<Job> jobs_;
  bool jobs_wait_ = false;              // for memory
  std::vector<Ref<Cluster>> leftover_;  // to be let go of, a few at a time
  ClusterEras eras_;
  std::shared_ptr<const Snapshot> snapshot_;
  std::vector<Ref<Cluster>> clusters_;  // each at its `place`
  std::vector<Ref<ListenerSlot>> slots_;
  std::vector<DrainingSlot> draining_slots_;
  std::function<void()> drained_;
  std::unique_ptr<MetricsBinding> binding_;
  WorkerMetrics metrics_;
  Timer tick_;
  uint64_t tick_due_ms_ = 0;
  uint64_t trim_due_ms_ = 0;
  std::atomic<size_t> trimmed_bytes_{0};
  std::atomic<uint64_t> last_sign_ms_{clock_ms()};
  WorkerLeaks leaks_;
  std::thread thread_;
};

}  // namespace dragoman
