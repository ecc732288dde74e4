#include "proxy/server/server.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <new>
#include <system_error>

#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/net/listen.h"
#include "proxy/net/watch.h"
#include "proxy/observe/log_file.h"
#include "proxy/server/checks.h"
#include "proxy/server/cpus.h"
#include "proxy/server/loops.h"
#include "proxy/server/views.h"
#include "proxy/version.h"

namespace dragoman {
namespace {

constexpr uint64_t kMemoryMs = 1000;
constexpr size_t kTrimBytes = 4 << 20;  // less is not worth the walk through the allocator

/// As many as `workers` may say.
constexpr int kWorkersMax = 256;

void raise_descriptor_limit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

constexpr std::string_view kNoMemory = "not enough memory for it\n";

/// Without memory for the beginning there is nobody to serve, and no way back that would not need some.
[[noreturn]] void give_up_start(const char* why) {
  std::fprintf(stderr, "dragoman: can't start: %s\n", why);
  std::_Exit(1);
}

LogLevel to_log_level(config::LogLevel level) { return static_cast<LogLevel>(level); }

std::string join(const std::vector<std::string>& lines) {
  std::string all;
  for (const auto& l : lines) all += l + "\n";
  return all;
}

}  // namespace

Server::Server(ServerOptions options) : options_(std::move(options)) {}
Server::~Server() = default;

Server::Loaded Server::load() {
  Loaded loaded;
  auto loader = codecs_.loader(loaded.declared);
  auto env = config::process_environment();
  loaded.result = options_.config_text.empty() ? config::load_file(options_.config_path, env, loader, config_check(loaded.declared))
                                               : config::load_string(options_.config_text, "<built in>", env, loader, config_check(loaded.declared));
  return loaded;
}

Server::Loaded Server::load_text(std::string_view text) {
  Loaded loaded;
  const std::string name = options_.config_text.empty() ? options_.config_path : "<built in>";
  loaded.result = config::load_string(text, name, config::process_environment(), codecs_.loader(loaded.declared),
                                       config_check(loaded.declared));
  return loaded;
}

int Server::run() {
  try {
    if (!prepare()) return 1;
  } catch (const std::bad_alloc&) {
    give_up_start("not enough memory");
  } catch (const std::system_error& e) {  // a thread
    give_up_start(e.what());
  }
  loop_.run();
  return exit_code_;
}

bool Server::prepare() {
  started_ms_ = loop_.now_ms();
  const bool waits_for_input = options_.config_text.empty() && options_.config_path == "-";
  // Before the first look at anything, so that no signal ends a start and no change falls between reading and watching. Who
  // waits for standard input is better ended.
  if (!waits_for_input) watch_signals();
  if (options_.watch_file && options_.config_text.empty() && !waits_for_input)
    watch_ = FileWatch::create(loop_, options_.config_path, [this] { on_file_changed(); });
  Loaded loaded = load();
  if (waits_for_input) watch_signals();
  std::string problems = config::render_text(loaded.result.diagnostics, loaded.result.source);
  if (!problems.empty()) std::fputs(problems.c_str(), stderr);
  if (!loaded.result.ok()) return false;
  return start(loaded);  // then nobody holds the codecs of `loaded` but who uses them
}

bool Server::start(const Loaded& loaded) {
  const config::Config& config = *loaded.result.config;
  config_source_ = loaded.result.source;
  codec_sweep_.bind<&Server::sweep_codecs>(loop_.timers(), this);
  lame_duck_.bind<&Server::begin_drain>(loop_.timers(), this);
  memory_timer_.bind<&Server::give_memory_back>(loop_.timers(), this);
  memory_timer_.start(kMemoryMs);
  raise_descriptor_limit();
  std::signal(SIGPIPE, SIG_IGN);
  DiagnosticLogOptions log_options;
  log_options.format = config.log.format == config::LogFormat::kJson ? LogFormat::kJson : LogFormat::kText;
  log_options.path = config.log.path;
  auto log = DiagnosticLog::open(log_options);
  if (!log) {
    std::fprintf(stderr, "dragoman: log.path: %s\n", log.error().c_str());
    loop_.stop();
    return false;
  }
  log_ = std::move(*log);
  set_log_level(to_log_level(config.log.level));

  int workers = config.workers != 0 ? static_cast<int>(config.workers) : std::min(usable_cpus(), kWorkersMax);
  registry_ = std::make_unique<MetricRegistry>(workers + 1, config.metrics.series_max);
  binding_ = std::make_unique<MetricsBinding>(*registry_, workers);
  metrics_ = binding_->server();
  binding_->build_info(kVersion);
  metrics_.workers.set(workers);
  metrics_.draining.set(0);

  health_ = std::make_unique<HealthMonitor>(loop_, *registry_, workers);
  discovery_ = std::make_unique<Discovery>(
      loop_, options_.resolvers,
      [this](const std::shared_ptr<SharedCluster>& cluster, std::shared_ptr<const EndpointSet> set) {
        for (auto& w : workers_) w->update_endpoints(cluster, set);
        health_->sync(*cluster);
      },
      [this](bool good) { metrics_.dns_lookups.inc(good ? CheckResult::kSuccess : CheckResult::kFailure); });
  identities_ = std::make_unique<IdentityWatch>(loop_, *registry_);
  for (int i = 0; i < workers; ++i)
    workers_.push_back(std::make_unique<Worker>(i, workers, *registry_, loop_));
  watchdog_ = std::make_unique<Watchdog>(loop_, workers_, options_.stall_ms);

  auto abandon = [this] {
    stop_workers();
    return false;
  };
  AdminBackend& backend = *this;
  admin_ = std::make_unique<AdminServer>(loop_, backend);
  admin_->configure(config.admin, metrics_);
  if (config.admin.enabled) {
    if (config.admin.tls) {
      auto made = TlsIdentity::server(*config.admin.tls, alpn_of("http1", config.admin.tls->alpn), "admin", 1);
      if (!made) {
        std::fprintf(stderr, "dragoman: admin.tls: %s\n", made.error().text.c_str());
        return abandon();
      }
      admin_tls_ = *made;
      admin_->use_tls(admin_tls_, binding_->tls("admin", "admin"),
                      static_cast<uint64_t>(config.admin.tls->handshake_timeout_ms));
    }
    auto address = Address::parse(config.admin.address.text());
    auto listening = address
                         ? admin_->listen(*address, file_mode(config.admin.socket_mode), options_.share_ports)
                         : Result<void>(unexpected(address.error()));
    if (!listening) {
      std::fprintf(stderr, "dragoman: admin.address: %s\n", listening.error().c_str());
      return abandon();
    }
  }
  auto published = publish(config, loaded.declared);
  if (!published) {
    std::fprintf(stderr, "dragoman: %s", config::redact(join(published.error()), config.secrets).c_str());
    return abandon();
  }
  metrics_.config_reloads.inc(CheckResult::kSuccess);
  return true;
}

/// Of a unix socket's file; 0 = as the umask says.
uint32_t Server::file_mode(const std::string& octal) {
  return octal.empty() ? 0 : static_cast<uint32_t>(std::strtoul(octal.c_str(), nullptr, 8));
}

void Server::watch_signals() {
  if (!options_.handle_signals) return;
  signals_.push_back(SignalWatch::create(loop_, SIGTERM, [this] { on_terminate(true); }));
  signals_.push_back(SignalWatch::create(loop_, SIGINT, [this] { on_terminate(false); }));
  signals_.push_back(SignalWatch::create(loop_, SIGHUP, [this] { reload({}); }));
  signals_.push_back(SignalWatch::create(loop_, SIGUSR1, [this] { reopen_logs(); }));
}

/// All workers have their first configuration.
void Server::begin_serving() {
  state_ = State::kServing;
  DRAGOMAN_LOG(kInfo, "server", "serving {} listeners with {} workers, admin on {}",
               snapshot_->listeners.size(), workers_.size(),
               snapshot_->config.admin.enabled ? admin_address().to_string() : "no port");
  if (options_.on_started) options_.on_started(*this);
  if (end_asked_) return begin_drain();  // nobody has been told that we are ready: no lame duck
  if (reload_asked_) reload({});
}

Result<Server::OpenListener> Server::open_listener(const config::Listener& settings,
                                                   const std::map<std::string, OpenListener>& open,
                                                   std::vector<int>& fds) {
  const auto before = open_.find(settings.name);
  const bool same_address = before != open_.end() && before->second.wanted == settings.address;
  auto address = same_address ? Result<Address>(before->second.bound) : address_of(settings);
  if (!address) return unexpected(address.error());
  OpenListener made{settings.address,     settings.backlog, settings.protocol,
                    settings.socket_mode, *address,         {}};
  Address& bound = made.bound;
  bound.ipv6_only = settings.ipv6_only;
  const int backlog = static_cast<int>(settings.backlog);
  const auto no_room = [&](const std::string& why) {
    return unexpected("can't listen on " + settings.address.text() + ": " + why);
  };
  const char* const in_use = "; to replace the process that does, start this one with --share-ports";
  if (bound.is_unix()) {
    // What is open goes on being the one socket of its path, under whatever name and settings.
    for (const auto& [name, other] : open_) {
      if (!(other.bound == bound)) continue;
      made = other;
      made.wanted = settings.address;
      made.protocol = settings.protocol;
    }
    if (!made.unix_listener) {
      auto listener =
          UnixListener::open(bound, backlog, file_mode(settings.socket_mode), options_.share_ports);
      if (!listener)
        return unexpected(listener.error() +
                          (listener.error().find("in use") != std::string::npos ? in_use : ""));
      made.unix_listener = *listener;
    }
    while (fds.size() < workers_.size()) {
      fds.push_back(made.unix_listener->duplicate());
      if (fds.back() >= 0) continue;
      fds.pop_back();
      return no_room("no descriptors are left");
    }
    return made;
  }
  // A port that is ours may be shared: by the sockets of before, which close later, or by another address.
  const auto is_ours = [&](const std::map<std::string, OpenListener>& listeners) {
    return bound.port() != 0 && std::any_of(listeners.begin(), listeners.end(), [&](const auto& row) {
             return row.second.bound.port() == bound.port();
           });
  };
  const bool shared = options_.share_ports || is_ours(open_) || is_ours(open);
  while (fds.size() < workers_.size()) {
    auto fd = fds.empty() && !shared ? listen_first(bound, backlog) : listen_socket(bound, backlog, true);
    if (!fd)
      return no_room(fd.error() + (fd.error().find("in use") != std::string::npos && !shared ? in_use : ""));
    fds.push_back(*fd);
    if (fds.size() > 1) continue;
    bound = bound_address(*fd);
    bound.ipv6_only = settings.ipv6_only;
    bound.name = address->name;  // the zone, as it was written
  }
  return made;
}

Result<void, std::vector<std::string>> Server::publish(const config::Config& config, DeclaredProtocols declared) {
  auto built =
      build_snapshot(config, snapshot_.get(), static_cast<int>(workers_.size()), std::move(declared));
  if (!built) return unexpected(std::move(built.error()));
  std::shared_ptr<const Snapshot> next = *built;

  // Sockets before anything changes: an address that can't be bound refuses the whole configuration.
  std::vector<std::string> errors;
  std::map<std::string, OpenListener> open;
  std::vector<std::vector<NewSocket>> sockets(workers_.size());
  for (size_t i = 0; i < next->listeners.size(); ++i) {
    const config::Listener& settings = next->listeners[i]->settings;
    auto it = open_.find(settings.name);
    // Another protocol gets sockets of its own, so that open connections end with the one they began with.
    if (it != open_.end() && it->second.wanted == settings.address &&
        (it->second.backlog == settings.backlog || it->second.unix_listener) &&
        it->second.protocol == settings.protocol && it->second.bound.ipv6_only == settings.ipv6_only) {
      open[settings.name] = it->second;
      continue;
    }
    std::vector<int> fds;
    auto opened = open_listener(settings, open, fds);
    for (size_t w = 0; w < fds.size(); ++w) sockets[w].push_back({i, fds[w]});
    if (opened)
      open[settings.name] = std::move(*opened);
    else
      errors.push_back("listeners: " + settings.name + ": " + opened.error());
  }
  if (!errors.empty()) {
    for (auto& per_worker : sockets)
      for (NewSocket& s : per_worker) close_fd(s.fd);
    return unexpected(std::move(errors));
  }
  for (const auto& l : next->listeners) {
    OpenListener& now = open.at(l->settings.name);
    if (!now.unix_listener) continue;
    if (now.backlog != l->settings.backlog || now.socket_mode != l->settings.socket_mode) {
      now.backlog = l->settings.backlog;
      now.socket_mode = l->settings.socket_mode;
      auto adjusted = now.unix_listener->adjust(static_cast<int>(now.backlog), file_mode(now.socket_mode));
      if (!adjusted)
        DRAGOMAN_LOG(kWarn, "server", "{}: {}: {}", l->settings.name, now.bound.to_string(),
                     adjusted.error());
    }
  }

  for (const auto& cluster : next->clusters) cluster->set_protocol(next->protocol(cluster->settings.protocol));
  std::vector<Address> bound;
  for (const auto& l : next->listeners) bound.push_back(open.at(l->settings.name).bound);
  const auto leading = entrances(next->config, bound);
  for (const auto& cluster : next->clusters) {
    std::vector<Address> listeners;
    if (auto it = leading.find(cluster->settings.name); it != leading.end())
      for (size_t i : it->second) listeners.push_back(bound[i]);
    cluster->set_entrances(std::move(listeners));
  }
  discovery_->sync(next->clusters, next->config.clusters, next->config.dns);
  health_->sync(next->clusters);
  std::vector<IdentityWatch::Entry> identities;
  if (admin_tls_) identities.push_back({"admin", "admin", admin_tls_});
  for (const auto& l : next->listeners)
    if (l->tls) identities.push_back({"listener", l->settings.name, l->tls});
  for (const auto& c : next->clusters)
    if (c->tls) identities.push_back({"cluster", c->settings.name, c->tls});
  identities_->sync(std::move(identities));
  snapshot_ = next;
  watch_codecs();
  open_ = std::move(open);
  std::map<std::string, std::pair<std::unique_ptr<MetricsBinding>, ClusterMetrics>> cluster_metrics;
  for (const auto& c : next->clusters) {
    auto binding = std::make_unique<MetricsBinding>(*registry_, registry_->shards() - 1);
    ClusterMetrics m = binding->cluster(c->settings.name);
    cluster_metrics.emplace(c->settings.name, std::make_pair(std::move(binding), m));
  }
  cluster_metrics_.swap(cluster_metrics);
  metrics_.config_generation.set(static_cast<int64_t>(next->generation));
  metrics_.config_last_success_seconds.set(static_cast<int64_t>(std::time(nullptr)));

  auto left = std::make_shared<std::atomic<size_t>>(workers_.size());
  for (size_t w = 0; w < workers_.size(); ++w) {
    workers_[w]->apply(next, std::move(sockets[w]), [this, left, generation = next->generation] {
      if (left->fetch_sub(1) == 1) loop_.post([this, generation] { on_applied(generation); });
    });
  }
  return {};
}

/// A file that was written again, or read by POST /reload a moment ago, is no news. One that was refused is read again, since
/// what was wrong may have been beside it.
void Server::on_file_changed() {
  const auto text = config::read_source(options_.config_path);
  if (reload_refused_ || !text || *text != config_source_) reload({});
}

void Server::reload(Done done) {
  const auto answer = [&](uint32_t status, const char* text) {
    if (done) done({status, "text/plain; charset=utf-8", text});
  };
  if (state_ == State::kStarting) {
    reload_asked_ = true;
    return answer(202, "starting: reloads as soon as everything serves\n");
  }
  if (leaving()) return answer(409, "draining: no more reloads\n");
  if (options_.config_text.empty() && options_.config_path == "-")
    return answer(409, "the configuration came from standard input: nothing to reload\n");
  file_asked_ = true;
  if (done) file_waiting_.push_back(std::move(done));
  next_reload();
}

void Server::reload_codecs(Done done) {
  if (leaving()) {
    if (done) done({409, "text/plain; charset=utf-8", "draining: no more reloads\n"});
    return;
  }
  codecs_asked_ = true;
  if (done) codecs_waiting_.push_back(std::move(done));
  next_reload();
}

void Server::next_reload() {
  if (reloading_ || (!file_asked_ && !codecs_asked_)) return;
  auto reload = reloading_ = std::make_shared<Reload>();
  reload->from_file = std::exchange(file_asked_, false);
  if (!reload->from_file) codecs_asked_ = false;
  reload->text = config_source_;
  reload->waiting.swap(reload->from_file ? file_waiting_ : codecs_waiting_);
  try {
    codecs_shown_ = render_codecs_text(*snapshot_, codecs_);
    codecs_shown_json_ = render_codecs_json(*snapshot_, codecs_);
    loader_ = std::thread([this, reload] {
      block_signals();
      try {
        reload->loaded = reload->from_file ? load() : load_text(reload->text);
      } catch (const std::bad_alloc&) {
        reload->loaded = {};
        reload->no_memory = true;
      }
      // Whoever asked waits for this: it is said as soon as there is memory to say it.
      for (;;) {
        try {
          return loop_.post([this, reload] { on_loaded(*reload); });
        } catch (const std::bad_alloc&) {
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
      }
    });
  } catch (const std::bad_alloc&) {
    refuse_reload(*reload);
  } catch (const std::system_error&) {  // no thread
    refuse_reload(*reload);
  }
}

/// For lack of memory; what is in use stays so.
void Server::refuse_reload(Reload& reload) {
  note_memory_shed(MemoryShed::kControl);
  reload_refused_ = true;
  metrics_.config_reloads.inc(CheckResult::kFailure);
  DRAGOMAN_LOG(kError, "server", "reload refused, generation {} stays in use: {}", snapshot_->generation,
               kNoMemory);
  reload.answer = {503, "text/plain", std::string(kNoMemory)};
  end_reload();
}

void Server::on_loaded(Reload& reload) {
  if (loader_.joinable()) loader_.join();
  if (leaving()) {
    reload.answer = {409, "text/plain; charset=utf-8", "draining: no more reloads\n"};
    return end_reload();
  }
  if (reload.no_memory) return refuse_reload(reload);
  try {
    reload.answer = apply(std::move(reload.loaded));
  } catch (const std::bad_alloc&) {
    reload.loaded = {};
    return refuse_reload(reload);
  }
  reload.loaded = {};
  if (applying_ == 0) end_reload();  // else when every worker has it: whoever asked then sees it everywhere
}

void Server::on_applied(uint64_t generation) {
  if (state_ == State::kStarting) begin_serving();
  if (applying_ != generation || !reloading_) return;
  applying_ = 0;
  end_reload();
}

void Server::end_reload() {
  const auto reload = std::exchange(reloading_, nullptr);
  sweep_codecs();
  for (const Done& done : reload->waiting) done(reload->answer);
  for (const auto& work : std::exchange(after_reload_, {})) work();
  if (!leaving()) return next_reload();
  for (auto* waiting : {&file_waiting_, &codecs_waiting_})
    for (const Done& done : std::exchange(*waiting, {}))
      done({409, "text/plain; charset=utf-8", "draining: no more reloads\n"});
}

AdminAnswer Server::apply(Loaded loaded) {
  config::LoadResult& result = loaded.result;
  std::string text = config::render_text(result.diagnostics, result.source);
  bool ok = result.ok();
  if (ok) {
    std::string restart;
    const config::Config& now = snapshot_->config;
    const config::Config& next = *result.config;
    if (next.workers != now.workers) restart += "workers: takes effect at the next start\n";
    if (!(next.admin == now.admin)) restart += "admin: takes effect at the next start\n";
    if (next.log.path != now.log.path || next.log.format != now.log.format)
      restart += "log: path and format take effect at the next start\n";
    for (const auto& [name, protocol] : loaded.declared) {
      auto before = snapshot_->declared.find(name);
      if (before == snapshot_->declared.end())
        restart += "codec " + name + ": version " + protocol->table->version + " is loaded\n";
      else if (before->second != protocol)
        restart += "codec " + name + ": version " + protocol->table->version + " takes over from version " +
                   before->second->table->version + "\n";
    }
    auto published = publish(next, loaded.declared);
    if (published) {
      config_source_ = std::move(result.source);
      if (!level_asked_)
        set_log_level(to_log_level(next.log.level));
      else if (to_log_level(next.log.level) != log_level())
        restart += "log.level: stays " + std::string(log_level_name(log_level())) +
                   ", as POST /logging asked; level=configured ends that\n";
      registry_->set_series_max(next.metrics.series_max);
      applying_ = snapshot_->generation;
      text += restart + "configuration " + std::to_string(snapshot_->generation) + " is in use\n";
    } else {
      ok = false;
      text += config::redact(join(published.error()), next.secrets);
    }
  }
  reload_refused_ = !ok;
  loaded.declared.clear();
  sweep_codecs();
  metrics_.config_reloads.inc(ok ? CheckResult::kSuccess : CheckResult::kFailure);
  if (ok)
    DRAGOMAN_LOG(kInfo, "server", "reloaded: generation {}", snapshot_->generation);
  else
    DRAGOMAN_LOG(kError, "server", "reload refused, generation {} stays in use: {}", snapshot_->generation,
                 text);
  return {ok ? 200u : 400u, "text/plain; charset=utf-8", text};
}

void Server::unload_codec(std::string name, Done done) {
  if (!reloading_) return done(unload(name));
  after_reload_.push_back([this, name = std::move(name), done = std::move(done)] { done(unload(name)); });
}

AdminAnswer Server::unload(const std::string& name) {
  const std::string kText = "text/plain; charset=utf-8";
  if (leaving()) return {409, kText, "draining: no more reloads\n"};
  const auto& codecs = snapshot_->config.codecs;
  if (std::none_of(codecs.begin(), codecs.end(), [&](const config::Codec& c) { return c.name == name; }))
    return {404, kText, "no codec of that name was loaded; see GET /codecs\n"};
  std::string users;
  const auto speaks = [&](const config::Listener& l) {
    return l.protocol == name || std::any_of(l.protocols.begin(), l.protocols.end(),
                                             [&](const config::ListenerProtocol& p) { return p.protocol == name; });
  };
  for (const config::Listener& l : snapshot_->config.listeners)
    if (speaks(l)) users += "in use by listener " + l.name + "\n";
  for (const config::Cluster& c : snapshot_->config.clusters)
    if (c.protocol == name) users += "in use by cluster " + c.name + "\n";
  if (!users.empty()) return {409, kText, users};
  config::Config next = snapshot_->config;
  std::erase_if(next.codecs, [&](const config::Codec& c) { return c.name == name; });
  DeclaredProtocols declared = snapshot_->declared;
  declared.erase(name);
  auto published = publish(next, std::move(declared));
  if (!published) return {400, kText, config::redact(join(published.error()), next.secrets)};
  sweep_codecs();
  return {200, kText, "unloaded as soon as its last connection ends; the configuration file still has it\n"};
}

/// Descriptors are read again when their file changes; libraries only when somebody says so.
void Server::watch_codecs() {
  if (!options_.watch_file) return;
  std::map<std::string, std::unique_ptr<FileWatch>> watches;
  for (const CodecCatalog::View& view : codecs_.view()) {
    bool in_use = std::any_of(snapshot_->declared.begin(), snapshot_->declared.end(),
                              [&](const auto& row) { return row.second.get() == view.protocol; });
    if (view.kind != "descriptor" || !in_use || watches.contains(*view.file)) continue;
    auto old = codec_watches_.find(*view.file);
    watches[*view.file] = old != codec_watches_.end()
                              ? std::move(old->second)
                              : watch_file(loop_, *view.file, *view.stamp, [this] { reload_codecs({}); });
  }
  codec_watches_ = std::move(watches);
}

void Server::sweep_codecs() {
  constexpr uint64_t kSweepMs = 100;
  if (loader_.joinable()) return;  // it has the catalog; this comes again behind it
  // Workers let go of an old snapshot and of old connections some time after they were told to.
  if (codecs_.sweep(snapshot_ ? snapshot_->declared : DeclaredProtocols{}) > 0) codec_sweep_.start(kSweepMs);
}

AdminAnswer Server::reopen_logs() {
  std::string errors;
  if (auto r = log_->reopen(); !r) errors += "log: " + r.error() + "\n";
  if (snapshot_ && snapshot_->access_log)
    if (auto r = snapshot_->access_log->reopen(); !r) errors += "access_log: " + r.error() + "\n";
  if (!errors.empty()) return {500, "text/plain; charset=utf-8", errors};
  return {200, "text/plain; charset=utf-8", "logs reopened\n"};
}

// --- the end ------------------------------------------------------------------------------------------------------

void Server::shutdown() {
  loop_.post([this] { on_terminate(true); });
}

void Server::on_terminate(bool lame_duck) {
  if (state_ == State::kStarting && !end_asked_) {
    end_asked_ = true;
  } else if (state_ == State::kDraining || state_ == State::kLameDuck || state_ == State::kStarting) {
    DRAGOMAN_LOG(kInfo, "server", "stopping at once");
    stop_workers();
  } else if (state_ == State::kServing) {
    lame_duck ? begin_lame_duck() : begin_drain();
  }
}

AdminAnswer Server::drain() {
  if (state_ == State::kServing) begin_lame_duck();
  return {200, "text/plain; charset=utf-8", "draining\n"};
}

/// Whoever chooses servers by /ready, or by a list that is some seconds old, gets time to look elsewhere before connects are
/// refused here.
void Server::begin_lame_duck() {
  const config::Drain& drain = snapshot_->config.drain;
  lame_duck_ms_ = static_cast<uint64_t>(std::min(drain.lame_duck_ms, drain.deadline_ms / 3));
  if (lame_duck_ms_ == 0) return begin_drain();
  state_ = State::kLameDuck;
  metrics_.draining.set(1);
  DRAGOMAN_LOG(kInfo, "server", "not ready any more, listening for {} ms", lame_duck_ms_);
  lame_duck_.start(lame_duck_ms_);
}

void Server::begin_drain() {
  state_ = State::kDraining;
  metrics_.draining.set(1);
  const int64_t deadline_ms = snapshot_->config.drain.deadline_ms - static_cast<int64_t>(lame_duck_ms_);
  DRAGOMAN_LOG(kInfo, "server", "draining, at most {} ms", deadline_ms);
  // The workers accept what waits; nobody is to be led to a socket where nobody accepts.
  for (auto& [name, listener] : open_) listener.unix_listener.reset();
  for (auto& w : workers_) {
    w->drain(static_cast<uint64_t>(deadline_ms), [this] {
      loop_.post([this] {
        if (++drained_workers_ == workers_.size()) stop_workers();
      });
    });
  }
}

void Server::stop_workers() {
  if (state_ == State::kStopping) return;
  state_ = State::kStopping;
  watchdog_->stop();
  if (loader_.joinable()) loader_.join();
  for (auto& w : workers_) w->stop();
  for (auto& w : workers_) {
    w->join();
    leaks_.streams += w->leaks().streams;
    leaks_.handles += w->leaks().handles;
    leaks_.chunks += w->leaks().chunks;
    leaks_.untold += w->leaks().untold;
  }
  workers_.clear();
  leaks_.gauges = registry_->left();
  if (!leaks_.none())
    DRAGOMAN_LOG(kError, "server", "left alive at the end: {} streams, {} handles, {} chunks, {} ends untold {}",
                 leaks_.streams, leaks_.handles, leaks_.chunks, leaks_.untold, join(leaks_.gauges));
  codec_sweep_.stop();
  lame_duck_.stop();
  memory_timer_.stop();
  discovery_->stop();
  health_->stop();
  identities_->stop();
  admin_->stop();
  for (auto& [name, listener] : open_) listener.unix_listener.reset();
  signals_.clear();
  watch_.reset();
  codec_watches_.clear();
  if (log_) DRAGOMAN_LOG(kInfo, "server", "stopped");
  loop_.stop();
}

// --- admin --------------------------------------------------------------------------------------------------------

bool Server::ready() { return state_ == State::kServing && discovery_->settled() && health_->settled(); }

/// What workers freed after a burst lies between what is in use, and the C library would keep it. Here, since its pages are given back
/// one by one: a worker meanwhile waits only where it allocates from the same arena.
void Server::give_memory_back() {
  memory_timer_.start(kMemoryMs);
  for (auto& worker : workers_) trimmed_bytes_ += worker->take_trimmed_bytes();
  if (trimmed_bytes_ < kTrimBytes && !memory_is_short()) return;
  trimmed_bytes_ = 0;
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  restore_memory_reserve();
}

void Server::refresh_gauges() {
  metrics_.uptime_seconds.set(static_cast<int64_t>((loop_.now_ms() - started_ms_) / 1000));
  uint64_t now = loop_.now_ms();
  for (const auto& cluster : snapshot_->clusters) {
    auto it = cluster_metrics_.find(cluster->settings.name);
    if (it == cluster_metrics_.end()) continue;
    int64_t total = 0, healthy = 0, ejected = 0;
    for (const auto& e : cluster->endpoints()->endpoints) {
      ++total;
      healthy += e->usable(now) ? 1 : 0;
      ejected += e->ejected(now) ? 1 : 0;
    }
    const ClusterMetrics& m = it->second.second;
    m.endpoints.set(total);
    m.endpoints_healthy.set(healthy);
    m.endpoints_ejected.set(ejected);
  }
}

std::string Server::metrics_text() {
  refresh_gauges();
  return render_metrics(*registry_, log_.get(), snapshot_->access_log.get(), watchdog_->stalls());
}

std::string Server::stats_text() {
  refresh_gauges();
  return render_stats(*registry_);
}

std::string Server::clusters_json() { return render_clusters_json(*snapshot_, *registry_, loop_.now_ms()); }
std::string Server::clusters_text() { return render_clusters_text(*snapshot_, *registry_, loop_.now_ms()); }

std::string Server::listeners_json() {
  std::vector<ListenerView> views;
  for (const auto& l : snapshot_->listeners)
    views.push_back({l.get(), open_.at(l->settings.name).bound.to_string()});
  return render_listeners_json(views);
}

std::string Server::listeners_text() {
  std::string text;
  for (const auto& l : snapshot_->listeners)
    text += l->settings.name + "::" + open_.at(l->settings.name).bound.to_string() + "\n";
  return text;
}

std::string Server::codecs_text() {
  return loader_.joinable() ? codecs_shown_ : render_codecs_text(*snapshot_, codecs_);
}
std::string Server::codecs_json() {
  return loader_.joinable() ? codecs_shown_json_ : render_codecs_json(*snapshot_, codecs_);
}

std::string Server::config_dump_json() { return config::dump_json(snapshot_->config); }

std::string Server::server_info_json() {
  const char* state = state_ == State::kServing ? "serving" : state_ == State::kStarting ? "starting" : "draining";
  return render_server_info_json(state, snapshot_ ? snapshot_->generation : 0, workers_.size(),
                                 (loop_.now_ms() - started_ms_) / 1000);
}

AdminAnswer Server::logging(std::string_view level) {
  if (level == "configured") {
    level_asked_ = false;
    set_log_level(to_log_level(snapshot_->config.log.level));
  } else if (!level.empty()) {
    auto parsed = parse_log_level(level);
    if (!parsed)
      return {400, "text/plain; charset=utf-8",
              "level must be one of trace, debug, info, warn, error, off, configured\n"};
    level_asked_ = true;
    set_log_level(*parsed);
  }
  return {200, "text/plain; charset=utf-8", "level: " + std::string(log_level_name(log_level())) + "\n"};
}

const Address* Server::listener_address(std::string_view name) const {
  auto it = open_.find(std::string(name));
  return it == open_.end() ? nullptr : &it->second.bound;
}

}  // namespace dragoman
