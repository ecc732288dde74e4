// The process: control thread (this one), workers, admin, reloads, name lookups, signals, the end.
#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "config/load.h"
#include "proxy/net/listen.h"
#include "proxy/observe/log.h"
#include "proxy/server/admin.h"
#include "proxy/server/discovery.h"
#include "proxy/server/health.h"
#include "proxy/server/identities.h"
#include "proxy/server/side_thread.h"
#include "proxy/server/snapshot.h"
#include "proxy/server/watchdog.h"
#include "proxy/server/worker.h"

namespace dragoman {

struct ServerOptions {
  std::string config_path;        // a file, or "-" (no reload then)
  std::string config_text;        // used instead of the file when not empty (demo, tests)
  bool watch_file = true;
  bool share_ports = false;       // listen beside another process that has the same ports
  bool handle_signals = true;     // off for a second server in one process
  ResolverFactory resolvers = &Resolver::create;
  uint64_t stall_ms = Watchdog::kStallMs;
  /// Runs on the thread that does such work, before a step that takes time: "build" and "plan" of a reload, "render" of a page.
  std::function<void(std::string_view step)> on_step;
  /// Runs once on the control thread when all listeners serve.
  std::function<void(class Server&)> on_started;
};

/// Exit codes of run(): 0 ended as asked, 1 the configuration or the start failed.
class Server final : private AdminBackend {
 public:
  explicit Server(ServerOptions options);
  ~Server();

  /// Serves until SIGTERM, SIGINT, POST /drain, or shutdown(). Diagnostics of a bad configuration go to standard error.
  int run();
  /// Thread-safe: as SIGTERM does; twice = at once.
  void shutdown();

  /// Control thread. Address of a listener with its real port; null when there is none of that name.
  const Address* listener_address(std::string_view name) const;
  Address admin_address() const { return admin_->address(); }
  /// Objects that were alive when the workers ended, added up (valid after run()).
  const WorkerLeaks& leaks() const { return leaks_; }

 private:
  enum class State { kStarting, kServing, kLameDuck, kDraining, kStopping };
  struct OpenListener {
    config::Address wanted;
    uint32_t backlog;
    std::string protocol;
    std::string socket_mode;
    Address bound;
    std::shared_ptr<UnixListener> unix_listener;  // null: a port
  };
  static uint32_t file_mode(const std::string& octal);
  /// Sockets for all workers, beside those of `open`.
  Result<OpenListener> open_listener(const config::Listener& settings,
                                     const std::map<std::string, OpenListener>& open, std::vector<int>& fds);

  // AdminBackend
  bool ready() override;
  void show(AdminPage page, Done done) override;
  std::string listeners_json() override;
  std::string listeners_text() override;
  std::string server_info_json() override;
  AdminAnswer logging(std::string_view level) override;
  void reload(Done done) override;
  AdminAnswer drain() override;
  AdminAnswer reopen_logs() override;
  std::string codecs_text() override;
  std::string codecs_json() override;
  void reload_codecs(Done done) override;
  void unload_codec(std::string name, Done done) override;

  struct Loaded {
    config::LoadResult result;
    DeclaredProtocols declared;
  };
  Loaded load();
  Loaded load_text(std::string_view text);
  bool prepare();
  bool start(const Loaded& loaded);
  void watch_signals();
  void begin_serving();
  /// The control thread's part in the metrics of clusters; written by the thread that renders them.
  using ClusterGauges = std::map<std::string, std::pair<std::unique_ptr<MetricsBinding>, ClusterMetrics>>;
  /// A configuration on its way to be the running one: all or nothing. The steps are done one after the other: those that take time
  /// by whatever thread, the others by the control thread, which is held up by none of them.
  struct Publication {
    Publication() = default;
    Publication(Publication&&) = default;
    Publication& operator=(Publication&&) = delete;
    ~Publication() { close_sockets(); }
    /// Those that nobody took over.
    void close_sockets();

    std::shared_ptr<const Snapshot> next;
    std::vector<std::string> errors;  // sentences: why it can't be
    std::map<std::string, OpenListener> open;
    std::vector<Address> bound;                   // of the listeners, in order
    std::vector<std::vector<NewSocket>> sockets;  // by worker, until they are in its plan
    size_t followed = 0;                          // clusters
    std::shared_ptr<const ClusterGauges> gauges;
    std::vector<IdentityWatch::Entry> identities;
    std::vector<std::shared_ptr<Worker::Plan>> plans;  // by worker
  };
  void build(Publication& p, config::Config config, DeclaredProtocols declared,
             const std::shared_ptr<const Snapshot>& previous) const;  // any thread
  void open_sockets(Publication& p);
  void begin_following(const Snapshot& next);
  bool follow_some(const Snapshot& next, size_t& followed);  // true: all
  void end_following();
  void plan(Publication& p) const;  // any thread
  void commit(Publication& p);

  /// Reloads one after the other. Reading, checking and building are done beside the control thread, so that /ready and /metrics
  /// answer meanwhile.
  struct Reload {
    enum class Kind { kFile, kCodecs, kUnload } kind = Kind::kFile;
    std::string text;  // kCodecs: of the configuration in use
    std::vector<Done> waiting;
    Loaded loaded;
    Publication publication;
    bool no_memory = false;  // for the last step
    AdminAnswer answer;
  };
  /// `work` beside the control thread, then `then` on it.
  void beside(const std::shared_ptr<Reload>& reload, const char* step, std::function<void(Reload&)> work,
              void (Server::*then)(const std::shared_ptr<Reload>&));
  /// Any thread: what must be said, as soon as there is memory to say it.
  template <class Work>
  void tell(const Work& work) {
    for (;;) {
      try {
        return loop_.post(work);
      } catch (const std::bad_alloc&) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
    }
  }
  void unload(const std::string& name, Done done);
  void next_reload();
  void build_reload(const std::shared_ptr<Reload>& reload);
  void on_built(const std::shared_ptr<Reload>& reload);
  void follow_reload(const std::shared_ptr<Reload>& reload);
  void on_planned(const std::shared_ptr<Reload>& reload);
  void finish_reload(Reload& reload);
  void on_applied(uint64_t generation);
  void refuse_reload(Reload& reload);
  bool give_up_reload(Reload& reload);
  void drop(Reload& reload);
  void end_reload();
  void on_file_changed();
  void sweep_codecs();
  void give_memory_back();
  void watch_codecs();
  /// `lame_duck`: everything goes on for drain.lame_duck first.
  void on_terminate(bool lame_duck);
  void begin_lame_duck();
  void begin_drain();
  bool leaving() const { return state_ != State::kStarting && state_ != State::kServing; }
  void stop_workers();
  void render(AdminPage page);

  ServerOptions options_;
  State state_ = State::kStarting;
  Loop loop_;
  std::unique_ptr<DiagnosticLog> log_;
  std::unique_ptr<MetricRegistry> registry_;
  std::unique_ptr<MetricsBinding> binding_;
  ServerMetrics metrics_;
  std::shared_ptr<const ClusterGauges> cluster_gauges_;
  CodecCatalog codecs_;
  std::map<std::string, std::unique_ptr<FileWatch>> codec_watches_;  // descriptors in use, by file
  Timer codec_sweep_;
  Timer lame_duck_;
  Timer memory_timer_;
  size_t trimmed_bytes_ = 0;   // by the workers, since the system was given memory back
  std::string config_source_;  // the text of the running configuration
  uint64_t lame_duck_ms_ = 0;  // of the drain that has begun
  bool reload_refused_ = false;  // the last one
  bool reload_asked_ = false;    // while everything started
  bool end_asked_ = false;       // likewise
  bool level_asked_ = false;     // the log's level is that of POST /logging, not the configuration's
  std::shared_ptr<const Snapshot> snapshot_;
  std::map<std::string, OpenListener> open_;
  std::unique_ptr<SideThread>
      preparer_;  // what reloads need and leave; while catalog_lent_ the catalog is its own
  std::unique_ptr<SideThread> renderer_;  // pages
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Watchdog> watchdog_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<HealthMonitor> health_;
  std::unique_ptr<Discovery> discovery_;
  std::unique_ptr<IdentityWatch> identities_;
  std::shared_ptr<TlsIdentity> admin_tls_;
  std::vector<std::unique_ptr<SignalWatch>> signals_;
  std::unique_ptr<FileWatch> watch_;
  bool catalog_lent_ = false;
  bool following_ = false;  // between begin_following() and end_following()
  struct Page {
    std::vector<Done> waiting;  // for one that is begun after they asked
    bool under_way = false;
  };
  std::array<Page, kAdminPageCount> pages_;
  std::shared_ptr<Reload> reloading_;                // the one under way
  std::vector<Done> file_waiting_, codecs_waiting_;  // for the next one
  std::vector<std::function<void()>> after_reload_;  // what needs the catalog
  bool file_asked_ = false;
  bool codecs_asked_ = false;
  uint64_t applying_ = 0;                         // the generation that reloading_ waits for; 0 = none
  std::string codecs_shown_, codecs_shown_json_;  // while the catalog is the loader's
  size_t drained_workers_ = 0;
  uint64_t started_ms_ = 0;
  WorkerLeaks leaks_;
  int exit_code_ = 0;
};

}  // namespace dragoman
