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
#include <thread>

#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/thread_start.h"
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
constexpr uint64_t kFollowNs =
    1'000'000;  // the control thread is not held up longer by the clusters of a reload
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

/// For what must be done; the control thread waits for memory.
template <class Work>
void until_there_is_memory(Work&& work) {
  for (;;) {
    try {
      return work();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      restore_memory_reserve();
    }
  }
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
    AtThreadStart::run();
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

  preparer_ = std::make_unique<SideThread>("preparer");
  renderer_ = std::make_unique<SideThread>("renderer");
  health_ = std::make_unique<HealthMonitor>(loop_, *registry_, workers);
  discovery_ = std::make_unique<Discovery>(
      loop_, options_.resolvers,
      [this](const std::shared_ptr<SharedCluster>& cluster, std::shared_ptr<const EndpointSet> set) {
        for (auto& w : workers_) w->update_endpoints(cluster, set);
        health_->sync(*cluster);
      },
      [this](bool good) { metrics_.dns_lookups.inc(good ? CheckResult::kSuccess : CheckResult::kFailure); });
  identities_ = std::make_unique<IdentityWatch>(loop_);
  for (int i = 0; i < workers; ++i)
    workers_.push_back(std::make_unique<Worker>(i, workers, *registry_, *preparer_));
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
  // Nobody is served yet who could be held up.
  Publication first;
  build(first, config, loaded.declared, nullptr);
  if (first.errors.empty()) open_sockets(first);
  if (!first.errors.empty()) {
    std::fprintf(stderr, "dragoman: %s", join(first.errors).c_str());
    return abandon();
  }
  begin_following(*first.next);
  while (!follow_some(*first.next, first.followed)) {
  }
  plan(first);
  commit(first);
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

void Server::Publication::close_sockets() {
  for (auto& per_worker : sockets) {
    for (const NewSocket& s : per_worker) close_fd(s.fd);
    per_worker.clear();
  }
  open.clear();
}

void Server::build(Publication& p, config::Config config, DeclaredProtocols declared,
                   const std::shared_ptr<const Snapshot>& previous) const {
  const std::vector<std::string> secrets = config.secrets;
  auto built = build_snapshot(std::move(config), previous.get(), static_cast<int>(workers_.size()),
                              std::move(declared));
  if (built)
    p.next = std::move(*built);
  else
    for (const std::string& error : built.error()) p.errors.push_back(config::redact(error, secrets));
}

/// Before anything changes: an address that can't be bound refuses the whole configuration.
void Server::open_sockets(Publication& p) {
  const auto& listeners = p.next->listeners;
  p.sockets.resize(workers_.size());
  for (std::vector<NewSocket>& per_worker : p.sockets) per_worker.reserve(listeners.size());
  for (size_t i = 0; i < listeners.size(); ++i) {
    const config::Listener& settings = listeners[i]->settings;
    auto it = open_.find(settings.name);
    // Another protocol gets sockets of its own, so that open connections end with the one they began with.
    if (it != open_.end() && it->second.wanted == settings.address &&
        (it->second.backlog == settings.backlog || it->second.unix_listener) &&
        it->second.protocol == settings.protocol && it->second.bound.ipv6_only == settings.ipv6_only) {
      p.open[settings.name] = it->second;
      continue;
    }
    std::vector<int> fds;
    fds.reserve(workers_.size());
    auto opened = [&] {
      try {
        return open_listener(settings, p.open, fds);
      } catch (const std::bad_alloc&) {
        for (int fd : fds) close_fd(fd);
        throw;
      }
    }();
    for (size_t w = 0; w < fds.size(); ++w) p.sockets[w].push_back({i, fds[w]});
    if (opened)
      p.open[settings.name] = std::move(*opened);
    else
      p.errors.push_back(
          config::redact("listeners: " + settings.name + ": " + opened.error(), p.next->config.secrets));
  }
  if (!p.errors.empty()) return;
  for (const auto& l : listeners) {
    OpenListener& now = p.open.at(l->settings.name);
    p.bound.push_back(now.bound);
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
}

void Server::begin_following(const Snapshot& next) {
  following_ = true;
  discovery_->begin(next.config.dns);
  health_->begin();
}

bool Server::follow_some(const Snapshot& next, size_t& followed) {
  const uint64_t until = Loop::now_ns() + kFollowNs;
  while (followed < next.clusters.size() && Loop::now_ns() < until) {
    const auto& cluster = next.clusters[followed];
    discovery_->follow(cluster, next.config.clusters[followed]);
    health_->follow(cluster);
    ++followed;
  }
  return followed == next.clusters.size();
}

void Server::end_following() {
  discovery_->end();
  health_->end();
  following_ = false;
}

void Server::plan(Publication& p) const {
  const Snapshot& next = *p.next;
  const auto leading = entrances(next.config, p.bound);
  auto gauges = std::make_shared<ClusterGauges>();
  const int shard = registry_->shards() - 1;
  for (const auto& cluster : next.clusters) {
    const std::string& name = cluster->settings.name;
    cluster->set_protocol(next.protocol(cluster->settings.protocol));
    std::vector<Address> listeners;
    if (auto it = leading.find(name); it != leading.end())
      for (size_t i : it->second) listeners.push_back(p.bound[i]);
    cluster->set_entrances(std::move(listeners));
    auto binding = std::make_unique<MetricsBinding>(*registry_, shard);
    const ClusterMetrics metrics = binding->cluster(name);
    gauges->emplace(name, std::make_pair(std::move(binding), metrics));
  }
  p.gauges = std::move(gauges);
  if (admin_tls_) p.identities.push_back(IdentityWatch::entry("admin", "admin", admin_tls_, *registry_));
  for (const auto& l : next.listeners)
    if (l->tls)
      p.identities.push_back(IdentityWatch::entry("listener", l->settings.name, l->tls, *registry_));
  for (const auto& c : next.clusters)
    if (c->tls) p.identities.push_back(IdentityWatch::entry("cluster", c->settings.name, c->tls, *registry_));
  for (size_t w = 0; w < workers_.size(); ++w) p.plans.push_back(workers_[w]->prepare(p.next, p.sockets[w]));
}

void Server::commit(Publication& p) {
  const std::shared_ptr<const Snapshot> next = p.next;
  struct Before {
    std::shared_ptr<const Snapshot> snapshot;
    std::shared_ptr<const ClusterGauges> gauges;
  };
  auto before = std::make_shared<Before>(Before{snapshot_, cluster_gauges_});
  auto left = std::make_shared<std::atomic<size_t>>(workers_.size());
  std::function<void()> dropping = [before = std::move(before)] {};
  // A worker calls it again when it could not tell.
  const std::function<void()> applied = [this, left, generation = next->generation, counted = false,
                                         last = false]() mutable {
    if (!std::exchange(counted, true)) last = left->fetch_sub(1) == 1;
    if (last) loop_.post([this, generation] { on_applied(generation); });
  };
  identities_->sync(std::move(p.identities));

  // From here on there is no way back.
  snapshot_ = next;
  cluster_gauges_ = std::move(p.gauges);
  open_ = std::move(p.open);
  until_there_is_memory([this] { watch_codecs(); });
  metrics_.config_generation.set(static_cast<int64_t>(next->generation));
  metrics_.config_last_success_seconds.set(static_cast<int64_t>(std::time(nullptr)));

  for (size_t w = 0; w < workers_.size(); ++w)
    until_there_is_memory([&] { workers_[w]->apply(p.plans[w], applied); });
  p.plans.clear();
  try {
    end_following();  // the workers know the clusters whose names may be published now
    preparer_->run(std::move(dropping));
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kControl);
  }
}

/// A file that was written again, or read by POST /reload a moment ago, is no news. One that was refused is read again, since
/// what was wrong may have been beside it.
void Server::on_file_changed() {
  try {
    const auto text = config::read_source(options_.config_path);
    if (reload_refused_ || !text || *text != config_source_) reload({});
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kControl);
    file_asked_ = true;  // give_memory_back() comes back to it
  }
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
  if (done) file_waiting_.push_back(std::move(done));
  file_asked_ = true;
  next_reload();
}

void Server::reload_codecs(Done done) {
  if (leaving()) {
    if (done) done({409, "text/plain; charset=utf-8", "draining: no more reloads\n"});
    return;
  }
  if (done) codecs_waiting_.push_back(std::move(done));
  codecs_asked_ = true;
  next_reload();
}

void Server::next_reload() {
  if (reloading_ || (!file_asked_ && !codecs_asked_)) return;
  std::shared_ptr<Reload> reload;
  try {
    reload = std::make_shared<Reload>();
  } catch (const std::bad_alloc&) {
    return note_memory_shed(MemoryShed::kControl);  // give_memory_back() comes back to it
  }
  reloading_ = reload;
  const bool from_file = std::exchange(file_asked_, false);
  if (!from_file) codecs_asked_ = false;
  reload->kind = from_file ? Reload::Kind::kFile : Reload::Kind::kCodecs;
  reload->waiting.swap(from_file ? file_waiting_ : codecs_waiting_);
  try {
    if (!from_file) reload->text = config_source_;
    codecs_shown_ = render_codecs_text(*snapshot_, codecs_);
    codecs_shown_json_ = render_codecs_json(*snapshot_, codecs_);
    catalog_lent_ = true;
    build_reload(reload);
  } catch (const std::bad_alloc&) {
    catalog_lent_ = false;
    refuse_reload(*reload);
  }
}

void Server::build_reload(const std::shared_ptr<Reload>& reload) {
  const auto work = [this, previous = snapshot_](Reload& r) {
    if (r.kind == Reload::Kind::kFile) r.loaded = load();
    if (r.kind == Reload::Kind::kCodecs) r.loaded = load_text(r.text);
    if (r.loaded.result.ok())
      build(r.publication, std::move(*r.loaded.result.config), r.loaded.declared, previous);
  };
  beside(reload, "build", work, &Server::on_built);
}

void Server::beside(const std::shared_ptr<Reload>& reload, const char* step,
                    std::function<void(Reload&)> work, void (Server::*then)(const std::shared_ptr<Reload>&)) {
  preparer_->run([this, reload, step, work = std::move(work), then] {
    try {
      if (options_.on_step) options_.on_step(step);
      work(*reload);
    } catch (const std::bad_alloc&) {
      reload->no_memory = true;
    }
    tell([this, reload, then] { (this->*then)(reload); });
  });
}

/// For lack of memory; what is in use stays so.
void Server::refuse_reload(Reload& reload) {
  note_memory_shed(MemoryShed::kControl);
  reload_refused_ = true;
  metrics_.config_reloads.inc(CheckResult::kFailure);
  DRAGOMAN_LOG(kError, "server", "reload refused, generation {} stays in use: {}", snapshot_->generation,
               kNoMemory);
  try {
    reload.answer = {503, "text/plain", std::string(kNoMemory)};
  } catch (const std::bad_alloc&) {
    reload.answer = {503, {}, {}};
  }
  drop(reload);
  if (following_) {
    try {
      begin_following(*snapshot_);
      for (size_t followed = 0; !follow_some(*snapshot_, followed);) {
      }
      end_following();
    } catch (const std::bad_alloc&) {  // the next reload does it
    }
  }
  end_reload();
}

/// What was made for nothing, and what is left of what was used.
void Server::drop(Reload& reload) {
  reload.publication.close_sockets();  // before anybody hears of the end: a refused reload leaves no socket
  struct Dropped {
    Loaded loaded;
    Publication publication;
  };
  try {
    std::shared_ptr<Dropped> dropped(new Dropped{std::move(reload.loaded), std::move(reload.publication)});
    preparer_->run([dropped = std::move(dropped)] {});
  } catch (const std::bad_alloc&) {  // later, with the reload
  }
}

/// When there is no time or no memory for more; else false.
bool Server::give_up_reload(Reload& reload) {
  if (leaving()) {
    reload.answer = {409, "text/plain; charset=utf-8", "draining: no more reloads\n"};
    drop(reload);
    end_reload();
    return true;
  }
  if (!reload.no_memory) return false;
  refuse_reload(reload);
  return true;
}

void Server::on_built(const std::shared_ptr<Reload>& reload) {
  catalog_lent_ = false;
  if (give_up_reload(*reload)) return;
  try {
    Publication& p = reload->publication;
    const bool built = reload->loaded.result.ok() && p.errors.empty();
    if (built) open_sockets(p);
    if (!built || !p.errors.empty()) return finish_reload(*reload);
    begin_following(*p.next);
  } catch (const std::bad_alloc&) {
    return refuse_reload(*reload);
  }
  follow_reload(reload);
}

void Server::follow_reload(const std::shared_ptr<Reload>& reload) {
  if (give_up_reload(*reload)) return;
  try {
    Publication& p = reload->publication;
    if (!follow_some(*p.next, p.followed)) return loop_.post([this, reload] { follow_reload(reload); });
    beside(
        reload, "plan", [this](Reload& r) { plan(r.publication); }, &Server::on_planned);
  } catch (const std::bad_alloc&) {
    refuse_reload(*reload);
  }
}

void Server::on_planned(const std::shared_ptr<Reload>& reload) {
  if (give_up_reload(*reload)) return;
  try {
    finish_reload(*reload);
  } catch (const std::bad_alloc&) {
    refuse_reload(*reload);
  }
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
  for (const auto& work : std::exchange(after_reload_, {})) {
    try {
      work();
    } catch (const std::bad_alloc&) {  // whoever asked has lost the connection
      note_memory_shed(MemoryShed::kControl);
    }
  }
  if (!leaving()) return next_reload();
  for (auto* waiting : {&file_waiting_, &codecs_waiting_})
    for (const Done& done : std::exchange(*waiting, {}))
      done({409, "text/plain; charset=utf-8", "draining: no more reloads\n"});
}

/// What was built is put in place, or what is wrong is told.
void Server::finish_reload(Reload& reload) {
  config::LoadResult& result = reload.loaded.result;
  Publication& p = reload.publication;
  const bool ok = result.ok() && p.errors.empty();
  std::string text = config::render_text(result.diagnostics, result.source);
  if (ok && reload.kind == Reload::Kind::kUnload) {
    text = "unloaded as soon as its last connection ends; the configuration file still has it\n";
  } else if (ok) {
    std::string restart;
    const config::Config& now = snapshot_->config;
    const config::Config& next = p.next->config;
    if (next.workers != now.workers) restart += "workers: takes effect at the next start\n";
    if (!(next.admin == now.admin)) restart += "admin: takes effect at the next start\n";
    if (next.log.path != now.log.path || next.log.format != now.log.format)
      restart += "log: path and format take effect at the next start\n";
    for (const auto& [name, protocol] : reload.loaded.declared) {
      auto before = snapshot_->declared.find(name);
      if (before == snapshot_->declared.end())
        restart += "codec " + name + ": version " + protocol->table->version + " is loaded\n";
      else if (before->second != protocol)
        restart += "codec " + name + ": version " + protocol->table->version + " takes over from version " +
                   before->second->table->version + "\n";
    }
    if (level_asked_ && to_log_level(next.log.level) != log_level())
      restart += "log.level: stays " + std::string(log_level_name(log_level())) +
                 ", as POST /logging asked; level=configured ends that\n";
    text += restart + "configuration " + std::to_string(p.next->generation) + " is in use\n";
  } else {
    text += join(p.errors);
  }
  reload.answer = {ok ? 200u : 400u, "text/plain; charset=utf-8", std::move(text)};
  if (ok) commit(p);
  if (ok && reload.kind != Reload::Kind::kUnload) {
    config_source_ = std::move(result.source);
    if (!level_asked_) set_log_level(to_log_level(p.next->config.log.level));
    registry_->set_series_max(p.next->config.metrics.series_max);
  }
  if (reload.kind != Reload::Kind::kUnload) {
    reload_refused_ = !ok;
    metrics_.config_reloads.inc(ok ? CheckResult::kSuccess : CheckResult::kFailure);
    if (ok)
      DRAGOMAN_LOG(kInfo, "server", "reloaded: generation {}", snapshot_->generation);
    else
      DRAGOMAN_LOG(kError, "server", "reload refused, generation {} stays in use: {}", snapshot_->generation,
                   reload.answer.body);
  }
  reload.loaded.declared.clear();
  drop(reload);
  if (!ok) return end_reload();
  applying_ = snapshot_->generation;  // whoever asked hears of it when every worker has it
}

void Server::unload_codec(std::string name, Done done) {
  if (!reloading_) return unload(name, std::move(done));
  after_reload_.push_back(
      [this, name = std::move(name), done = std::move(done)] { unload_codec(name, done); });
}

void Server::unload(const std::string& name, Done done) {
  const std::string kText = "text/plain; charset=utf-8";
  if (leaving()) return done({409, kText, "draining: no more reloads\n"});
  const auto& codecs = snapshot_->config.codecs;
  if (std::none_of(codecs.begin(), codecs.end(), [&](const config::Codec& c) { return c.name == name; }))
    return done({404, kText, "no codec of that name was loaded; see GET /codecs\n"});
  std::string users;
  const auto speaks = [&](const config::Listener& l) {
    return l.protocol == name || std::any_of(l.protocols.begin(), l.protocols.end(),
                                             [&](const config::ListenerProtocol& p) { return p.protocol == name; });
  };
  for (const config::Listener& l : snapshot_->config.listeners)
    if (speaks(l)) users += "in use by listener " + l.name + "\n";
  for (const config::Cluster& c : snapshot_->config.clusters)
    if (c.protocol == name) users += "in use by cluster " + c.name + "\n";
  if (!users.empty()) return done({409, kText, users});
  auto reload = std::make_shared<Reload>();
  reload->kind = Reload::Kind::kUnload;
  config::Config& next = reload->loaded.result.config.emplace(snapshot_->config);
  std::erase_if(next.codecs, [&](const config::Codec& c) { return c.name == name; });
  reload->loaded.declared = snapshot_->declared;
  reload->loaded.declared.erase(name);
  reload->waiting.push_back(std::move(done));
  reloading_ = reload;
  build_reload(reload);
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
  if (catalog_lent_) return;  // this comes again behind it
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
  if (reloading_) reloading_->publication.open.clear();
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
  preparer_->wait();
  if (reloading_) drop(*reloading_);
  for (auto& w : workers_) w->stop();
  for (auto& w : workers_) {
    w->join();
    leaks_.streams += w->leaks().streams;
    leaks_.handles += w->leaks().handles;
    leaks_.chunks += w->leaks().chunks;
    leaks_.untold += w->leaks().untold;
  }
  preparer_->end();  // with what the workers left to it
  renderer_->end();
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
  if (state_ == State::kServing) next_reload();  // what there was no memory to begin
  for (auto& worker : workers_) trimmed_bytes_ += worker->take_trimmed_bytes();
  if (trimmed_bytes_ < kTrimBytes && !memory_is_short()) return;
  trimmed_bytes_ = 0;
#ifdef __GLIBC__
  preparer_->run([] { malloc_trim(0); });
#endif
  restore_memory_reserve();
}

namespace {

/// Written by the thread that renders them alone.
void set_endpoint_gauges(const SharedCluster& cluster, const ClusterMetrics& metrics, uint64_t now_ms) {
  int64_t total = 0, healthy = 0, ejected = 0;
  const auto set = cluster.endpoints();
  for (const auto& e : set->endpoints) {
    ++total;
    healthy += e->usable(now_ms) ? 1 : 0;
    ejected += e->ejected(now_ms) ? 1 : 0;
  }
  metrics.endpoints.set(total);
  metrics.endpoints_healthy.set(healthy);
  metrics.endpoints_ejected.set(ejected);
}

}  // namespace

void Server::show(AdminPage page, Done done) {
  Page& p = pages_[static_cast<size_t>(page)];
  p.waiting.push_back(std::move(done));
  if (!p.under_way) render(page);
}

/// For all who asked before it begins, so that no more than one of each is under way, however many ask.
void Server::render(AdminPage page) {
  struct Rendering {
    std::vector<Done> waiting;
    AdminAnswer answer;
    std::shared_ptr<const Snapshot> snapshot;
    std::shared_ptr<const ClusterGauges> gauges;
    uint64_t now_ms, stalls;
  };
  Page& p = pages_[static_cast<size_t>(page)];
  metrics_.uptime_seconds.set(static_cast<int64_t>((loop_.now_ms() - started_ms_) / 1000));
  auto rendering = std::make_shared<Rendering>();
  rendering->snapshot = snapshot_;
  rendering->gauges = cluster_gauges_;
  rendering->now_ms = loop_.now_ms();
  rendering->stalls = watchdog_->stalls();
  renderer_->run([this, page, rendering] {
    Rendering& r = *rendering;
    try {
      if (options_.on_step) options_.on_step("render");
      if (page == AdminPage::kMetrics || page == AdminPage::kStats)
        for (const auto& cluster : r.snapshot->clusters)
          if (auto it = r.gauges->find(cluster->settings.name); it != r.gauges->end())
            set_endpoint_gauges(*cluster, it->second.second, r.now_ms);
      switch (page) {
        case AdminPage::kMetrics:
          r.answer = {200, "text/plain; version=0.0.4; charset=utf-8",
                      render_metrics(*registry_, log_.get(), r.snapshot->access_log.get(), r.stalls)};
          break;
        case AdminPage::kStats: r.answer.body = render_stats(*registry_); break;
        case AdminPage::kClusters:
          r.answer.body = render_clusters_text(*r.snapshot, *registry_, r.now_ms);
          break;
        case AdminPage::kClustersJson:
          r.answer = {200, "application/json", render_clusters_json(*r.snapshot, *registry_, r.now_ms)};
          break;
        case AdminPage::kConfigDump:
          r.answer = {200, "application/json", config::dump_json(r.snapshot->config)};
          break;
      }
    } catch (const std::bad_alloc&) {
      note_memory_shed(MemoryShed::kControl);
      r.answer = {503, "text/plain", "no memory\n"};
    }
    r.snapshot = nullptr;  // not on the control thread, if they are the last ones
    r.gauges = nullptr;
    tell([this, page, rendering] {
      Page& shown = pages_[static_cast<size_t>(page)];
      shown.under_way = false;
      for (const Done& done : rendering->waiting) done(rendering->answer);
      if (shown.waiting.empty()) return;
      try {
        render(page);
      } catch (const std::bad_alloc&) {
        note_memory_shed(MemoryShed::kControl);
        for (const Done& done : std::exchange(shown.waiting, {})) done({503, "text/plain", "no memory\n"});
      }
    });
  });
  rendering->waiting.swap(p.waiting);
  p.under_way = true;
}

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
  return catalog_lent_ ? codecs_shown_ : render_codecs_text(*snapshot_, codecs_);
}
std::string Server::codecs_json() {
  return catalog_lent_ ? codecs_shown_json_ : render_codecs_json(*snapshot_, codecs_);
}

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
