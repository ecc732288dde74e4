// The process: control thread (this one), workers, admin, reloads, name lookups, signals, the end.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "config/load.h"
#include "proxy/net/listen.h"
#include "proxy/observe/log.h"
#include "proxy/server/admin.h"
#include "proxy/server/discovery.h"
#include "proxy/server/health.h"
#include "proxy/server/identities.h"
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
  std::string metrics_text() override;
  std::string stats_text() override;
  std::string clusters_json() override;
  std::string clusters_text() override;
  std::string listeners_json() override;
  std::string listeners_text() override;
  std::string config_dump_json() override;
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
  /// Makes `config` the running one: all or nothing. Errors are sentences.
  Result<void, std::vector<std::string>> publish(const config::Config& config, DeclaredProtocols declared);
  AdminAnswer apply(Loaded loaded);
  /// Reloads one after the other: reading and checking on a thread of its own, so that /ready and /metrics answer meanwhile.
  struct Reload {
    bool from_file = true;  // else the text in use, for the codecs' files
    std::string text;
    std::vector<Done> waiting;
    Loaded loaded;
    bool no_memory = false;  // to load it
    AdminAnswer answer;
  };
  AdminAnswer unload(const std::string& name);
  void next_reload();
  void on_loaded(Reload& reload);
  void on_applied(uint64_t generation);
  void refuse_reload(Reload& reload);
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
  void refresh_gauges();

  ServerOptions options_;
  State state_ = State::kStarting;
  Loop loop_;
  std::unique_ptr<DiagnosticLog> log_;
  std::unique_ptr<MetricRegistry> registry_;
  std::unique_ptr<MetricsBinding> binding_;
  ServerMetrics metrics_;
  std::map<std::string, std::pair<std::unique_ptr<MetricsBinding>, ClusterMetrics>> cluster_metrics_;
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
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Watchdog> watchdog_;
  std::unique_ptr<AdminServer> admin_;
  std::unique_ptr<HealthMonitor> health_;
  std::unique_ptr<Discovery> discovery_;
  std::unique_ptr<IdentityWatch> identities_;
  std::shared_ptr<TlsIdentity> admin_tls_;
  std::vector<std::unique_ptr<SignalWatch>> signals_;
  std::unique_ptr<FileWatch> watch_;
  std::thread loader_;
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
