#include "proxy/server/admin.h"

#include <algorithm>
#include <new>
#include <optional>
#include <set>

#include "protocols/exchange.h"
#include "proxy/base/intrusive_list.h"
#include "proxy/base/log.h"
#include "proxy/base/memory_reserve.h"
#include "proxy/base/owned_fd.h"
#include "proxy/base/server_name.h"
#include "proxy/net/listen.h"
#include "proxy/tls/transport.h"

namespace dragoman {
namespace {

constexpr size_t kConnectionsMax = 64;
constexpr int kReservedDescriptors = 4;  // the port answers when the process has no more
constexpr size_t kUnsentBytesMax =
    256 * 1024;  // answers to a client that does not read, before its next request waits
constexpr uint64_t kIdleTimeoutMs = 30'000;
constexpr size_t kBodyBytesMax = 64 * 1024;

// A page in a browser must not reach a loopback admin port through a name of the attacker's: only literals,
// "localhost" and configured names are taken as Host.
bool host_allowed(std::string_view authority, const std::vector<std::string>& names) {
  size_t end = authority.rfind(':');
  std::string_view host = authority;
  if (end != std::string_view::npos && authority.find(']', end) == std::string_view::npos) host = authority.substr(0, end);
  if (equals_ignore_case(host, "localhost")) return true;
  std::string lower(host);
  for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  if (std::any_of(names.begin(), names.end(),
                  [&](const std::string& name) { return server_name_covers(name, lower); }))
    return true;
  return Address::parse(lower + ":1").has_value();
}

// Nor may it make the browser ask in its stead, under a name that is allowed: browsers say who is behind a request.
bool origin_allowed(const Head& head) {
  const auto value = [&](std::string_view name) -> std::optional<std::string_view> {
    for (const Header& h : head.headers)
      if (equals_ignore_case(h.name, name)) return h.value;
    return std::nullopt;
  };
  const bool reads = head.method == "GET" || head.method == "HEAD";
  const auto site = value("sec-fetch-site");
  // Somebody who follows a link, or types the address, sees the page; the other site does not.
  const bool followed = reads && value("sec-fetch-mode") == "navigate";
  if (site && *site != "same-origin" && *site != "none" && !followed) return false;
  const auto origin = value("origin");
  if (!origin) return true;
  const size_t scheme = origin->find("://");
  return scheme != std::string_view::npos && equals_ignore_case(origin->substr(scheme + 3), head.authority);
}

// Probes of old load balancers speak HTTP/1.0.
bool needs_no_host(std::string_view target) {
  const std::string_view path = target.substr(0, target.find('?'));
  return path == "/ready" || path == "/live";
}

// Value of `key` in "a=1&b=2", percent signs untouched (no admin value needs them).
std::string_view query_value(std::string_view query, std::string_view key) {
  while (!query.empty()) {
    size_t amp = query.find('&');
    std::string_view pair = query.substr(0, amp);
    size_t eq = pair.find('=');
    if (pair.substr(0, eq) == key) return eq == std::string_view::npos ? std::string_view{} : pair.substr(eq + 1);
    if (amp == std::string_view::npos) break;
    query.remove_prefix(amp + 1);
  }
  return {};
}

constexpr std::string_view kHelp =
    "GET  /ready             200 when serving, 503 while starting or on its way to the end\n"
    "GET  /live              200 while the process answers\n"
    "GET  /stats             every metric, for people\n"
    "GET  /stats/prometheus  every metric, for Prometheus (also /metrics)\n"
    "GET  /clusters          clusters and their endpoints (?format=json)\n"
    "GET  /listeners         listeners and their addresses (?format=json)\n"
    "GET  /codecs            codecs that were loaded, and who uses them (?format=json)\n"
    "GET  /config_dump       the configuration in use, secrets redacted\n"
    "GET  /server_info       version, state, uptime\n"
    "GET  /logging           the log level; POST /logging?level=debug changes it, level=configured undoes "
    "that\n"
    "POST /reload            read the configuration file again\n"
    "POST /codecs/reload     load the files of codecs again that changed\n"
    "POST /codecs/unload     ?name=x: forget a codec that no listener and no cluster uses\n"
    "POST /drain             finish open work, then end\n"
    "POST /reopen_logs       open the log files again, after rotation\n";

std::optional<AdminPage> page_of(std::string_view path, bool json) {
  if (path == "/metrics" || path == "/stats/prometheus") return AdminPage::kMetrics;
  if (path == "/stats") return AdminPage::kStats;
  if (path == "/clusters") return json ? AdminPage::kClustersJson : AdminPage::kClusters;
  if (path == "/config_dump") return AdminPage::kConfigDump;
  return std::nullopt;
}

AdminAnswer answer_for(AdminBackend& backend, std::string_view method, std::string_view target) {
  size_t mark = target.find('?');
  std::string_view path = target.substr(0, mark);
  std::string_view query = mark == std::string_view::npos ? std::string_view{} : target.substr(mark + 1);
  const bool get = method == "GET" || method == "HEAD";
  const bool post = method == "POST";
  const bool json = query_value(query, "format") == "json";
  const std::string kJson = "application/json";
  const std::string kText = "text/plain; charset=utf-8";
  const AdminAnswer only_get{405, kText, "use GET\n"};
  const AdminAnswer only_post{405, kText, "this changes state: use POST\n"};

  if (path == "/reload" || path == "/codecs/reload" || path == "/codecs/unload")
    return only_post;  // see answer_later
  if (path == "/drain") return post ? backend.drain() : only_post;
  if (path == "/reopen_logs") return post ? backend.reopen_logs() : only_post;
  if (path == "/logging") {
    std::string_view level = query_value(query, "level");
    if (!level.empty() && !post) return only_post;
    return backend.logging(level);
  }
  static const std::set<std::string_view> kReadable = {"/",          "/help",        "/ready", "/live",
                                                       "/listeners", "/server_info", "/codecs"};
  if (page_of(path, json)) return only_get;
  if (kReadable.find(path) == kReadable.end()) return {404, kText, "no such page; see /help\n"};
  if (!get) return only_get;
  if (path == "/ready") return backend.ready() ? AdminAnswer{200, kText, "ready\n"} : AdminAnswer{503, kText, "not ready\n"};
  if (path == "/live") return {200, kText, "live\n"};
  if (path == "/listeners")
    return json ? AdminAnswer{200, kJson, backend.listeners_json()} : AdminAnswer{200, kText, backend.listeners_text()};
  if (path == "/codecs")
    return json ? AdminAnswer{200, kJson, backend.codecs_json()}
                : AdminAnswer{200, kText, backend.codecs_text()};
  if (path == "/server_info") return {200, kJson, backend.server_info_json()};
  return {200, kText, std::string(kHelp)};
}

/// Orders and pages whose answer takes a while; false when it is none of them.
bool answer_later(AdminBackend& backend, std::string_view method, std::string_view target,
                  AdminBackend::Done done) {
  const size_t mark = target.find('?');
  const std::string_view path = target.substr(0, mark);
  if (method == "GET" || method == "HEAD") {
    const std::string_view query = mark == target.npos ? "" : target.substr(mark + 1);
    const auto page = page_of(path, query_value(query, "format") == "json");
    if (page) backend.show(*page, std::move(done));
    return page.has_value();
  }
  if (method != "POST") return false;
  if (path == "/reload")
    backend.reload(std::move(done));
  else if (path == "/codecs/reload")
    backend.reload_codecs(std::move(done));
  else if (path == "/codecs/unload")
    backend.unload_codec(std::string(query_value(mark == target.npos ? "" : target.substr(mark + 1), "name")),
                         std::move(done));
  else
    return false;
  return true;
}

}  // namespace

struct AdminServer::Impl final : AcceptEvents {
  struct Connection;

  struct Request final : Retired, MessageSink {
    Request(Connection& c, Exchange& e) : connection(c), exchange(&e) {}
    void on_head(Head& h, bool end) override {
      head = &h;
      if (end) answer();
    }
    void on_body(std::span<const uint8_t> chunk, bool end) override {
      if (!exchange || answered) return;
      body_bytes += chunk.size();
      if (body_bytes > kBodyBytesMax) return reply({413, "text/plain", "body too large\n"});
      if (end) answer();
    }
    void on_trailers(HeaderList&) override { answer(); }
    void on_reset(Reason) override { finish(); }
    void on_write_blocked(bool) override {}
    void answer() {
      if (!exchange || answered) return;
      AdminServer::Impl& server = connection.server;
      const bool anonymous = head->authority.empty() && needs_no_host(head->path);
      if (!anonymous && !host_allowed(head->authority, server.hosts)) {
        server.metrics.admin_refusals.inc();
        return reply({403, "text/plain", "Host must be an address, localhost or one of admin.hosts\n"});
      }
      if (!origin_allowed(*head)) {
        server.metrics.admin_refusals.inc();
        return reply({403, "text/plain", "asked for by another site (Origin, Sec-Fetch-Site)\n"});
      }
      auto self = waiting = std::make_shared<Request*>(this);
      ++connection.waiting;
      const auto done = [self](const AdminAnswer& a) {
        if (!*self) return;  // the client left
        Request& request = **self;
        request.stop_waiting();
        try {
          request.reply(a);
        } catch (const std::bad_alloc&) {  // no event of the connection has brought this
          note_memory_shed(MemoryShed::kControl);
          request.connection.close(false);
        }
      };
      AdminAnswer answer;
      try {
        if (answer_later(server.backend, head->method, head->path, done)) return;
        stop_waiting();
        answer = answer_for(server.backend, head->method, head->path);
      } catch (const std::bad_alloc&) {
        note_memory_shed(MemoryShed::kControl);
        stop_waiting();
        answer = {503, "text/plain", "no memory\n"};
      }
      reply(answer);
    }
    void stop_waiting() {
      if (!waiting) return;
      *std::exchange(waiting, nullptr) = nullptr;
      --connection.waiting;
    }
    void reply(const AdminAnswer& a) {
      LocalReply r;
      r.reason = Reason::kDirectResponse;
      r.http_status = a.status;
      r.text = a.body;
      r.content_type = a.content_type;
      exchange->send_reply(*head, r);
      answered = true;
      // The next request of a client that does not read is not looked at before it does.
      if (connection.transport->unsent() > kUnsentBytesMax) return connection.hold(*this);
      finish();
    }
    void finish() {
      if (!exchange) return;
      stop_waiting();
      connection.request_done(*this);
      connection.server.loop.retire(this);
      std::exchange(exchange, nullptr)->release();
    }
    Connection& connection;
    Exchange* exchange;
    Head* head = nullptr;
    size_t body_bytes = 0;
    bool answered = false;
    std::shared_ptr<Request*>
        waiting;  // for the backend's answer; what it points to is null when this has gone
  };

  struct Connection final : Retired, ListLink<Connection>, TransportEvents, ConnectionEvents {
    Connection(Impl& s, OwnedFd& fd) : server(s) {
      transport = Transport::adopt(server.loop, fd.take(), *this, {});
      if (server.tls)
        transport = TlsTransport::accept(server.loop, std::move(transport), *this, server.tls->current(0));
      const Protocol& http = *find_protocol("http1");
      CodecOptions options;
      options.http1.header_bytes_max = 16 * 1024;
      codec = http.create(http, Role::kServer, *transport, *this, options);
      timer.bind<&Connection::on_timer>(server.loop.timers(), this);
      since_ms = now_ms();
      begun = true;
      if (server.tls)
        timer.start(server.handshake_timeout_ms);
      else
        look();
    }
    void on_ready() override {
      server.tls_metrics.handshakes.inc();
      if (transport->tls()->resumed) server.tls_metrics.resumptions.inc();
      since_ms = now_ms();
      look();
    }
    void on_timer() {
      if (server.tls && !transport->tls()) {
        server.tls_metrics.failures.inc(Reason::kTlsHandshakeTimeout);
        return close(false);
      }
      if (held && !transport->write_blocked()) return release_held();
      look();
    }
    /// A request has header_timeout, from its first byte (or the connection) on; everything else kIdleTimeoutMs without progress.
    void look() {
      const uint64_t now = now_ms();
      if (waiting > 0) return timer.start(kIdleTimeoutMs);  // it is we who make the client wait
      if (begun && !held) {
        if (now - since_ms >= server.header_timeout_ms) {
          server.metrics.admin_timeouts.inc();
          return close(true);
        }
        return timer.start(server.header_timeout_ms - (now - since_ms));
      }
      const uint64_t quiet = now - std::max(transport->last_read_ms(), transport->last_write_ms());
      if (quiet >= kIdleTimeoutMs) return close(false);
      timer.start(kIdleTimeoutMs - quiet);
    }
    void hold(Request& request) {
      held = &request;
      timer.start(1);  // nothing tells of output that left at once
    }
    void release_held() {
      Request* request = std::exchange(held, nullptr);
      request->finish();
      if (!closed && !held) look();
    }
    void request_done(Request& request) {
      if (held == &request) held = nullptr;
      begun = false;
      ListLink<Connection>::unlink();
      if (!closed)
        server.connections.push_back(*this);  // the first in the list has waited longest for a whole request
    }
    void close(bool flush) {
      if (closed) return;
      closed = true;
      timer.stop();
      codec->on_transport_closed(Reason::kDownstreamReset);
      if (flush)
        transport->close_after_flush();
      else
        transport->close();
      ListLink<Connection>::unlink();
      --server.count;
      server.loop.retire(this);
    }
    void on_data(uint8_t* data, size_t n) override {
      if (!begun) {
        begun = true;
        since_ms = now_ms();
      }
      codec->on_data(data, n);
      if (!closed && !held) look();
    }
    void on_eof() override {
      codec->on_eof();
      if (!closed && codec->open_exchanges() == 0) close(true);
    }
    void on_closed(Reason reason) override {
      if (is_tls_reason(reason)) server.tls_metrics.failures.inc(reason);
      close(false);
    }
    void on_write_blocked(bool blocked) override {
      codec->on_write_blocked(blocked);
      if (!closed && !blocked && held) release_held();
    }
    MessageSink* on_exchange(Exchange& exchange) override { return new Request(*this, exchange); }
    void on_goaway() override {}
    void on_broken(Reason, std::string_view) override { close(true); }
    void on_finished() override { close(true); }
    void on_capacity() override {}
    void pause_reading() override { transport->pause_read(kPauseCodec); }
    void resume_reading() override { transport->resume_read(kPauseCodec); }
    void on_event(CodecEvent) override {}
    uint64_t now_ms() const override { return server.loop.now_ms(); }

    Impl& server;
    std::unique_ptr<Transport> transport;
    std::unique_ptr<ConnectionCodec> codec;
    Timer timer;              // the head's, or for being idle
    Request* held = nullptr;  // answered, and waits for the client to read
    uint64_t since_ms = 0;
    int waiting = 0;     // requests, for the backend
    bool begun = false;  // a request, since since_ms
    bool closed = false;
  };

  Impl(Loop& l, AdminBackend& b) : loop(l), backend(b) {}

  void on_accept(int fd, const Address&) override {
    if (count >= kConnectionsMax) evict();
    try {
      OwnedFd owned(fd);
      connections.push_back(*new Connection(*this, owned));
      ++count;
    } catch (const std::bad_alloc&) {
      note_memory_shed(MemoryShed::kAccept);
    }
  }
  void on_accept_failed(int error) override {
    DRAGOMAN_LOG_LIMITED(kWarn, "admin", 0u, "accept failed (errno {})", error);
    evict();  // its descriptor
  }
  void evict() {
    Connection* oldest = connections.front();
    if (!oldest) return;
    metrics.admin_evictions.inc();
    oldest->close(false);
  }

  Loop& loop;
  AdminBackend& backend;
  std::shared_ptr<TlsIdentity> tls;  // null = off
  TlsMetrics tls_metrics;
  uint64_t handshake_timeout_ms = 0;
  uint64_t header_timeout_ms = 5'000;
  std::vector<std::string> hosts;
  ServerMetrics metrics;
  std::unique_ptr<Acceptor> acceptor;
  std::shared_ptr<UnixListener> unix_listener;  // null: a port
  Address bound;
  IntrusiveList<Connection, Connection> connections;
  size_t count = 0;
};

AdminServer::AdminServer(Loop& loop, AdminBackend& backend) : impl_(std::make_unique<Impl>(loop, backend)) {}
AdminServer::~AdminServer() = default;

void AdminServer::use_tls(std::shared_ptr<TlsIdentity> identity, TlsMetrics metrics, uint64_t handshake_timeout_ms) {
  impl_->tls = std::move(identity);
  impl_->tls_metrics = metrics;
  impl_->handshake_timeout_ms = handshake_timeout_ms;
}

void AdminServer::configure(const config::Admin& settings, ServerMetrics metrics) {
  impl_->header_timeout_ms = static_cast<uint64_t>(settings.header_timeout_ms);
  impl_->hosts = settings.hosts;
  for (std::string& name : impl_->hosts)
    for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  impl_->metrics = metrics;
}

Result<void> AdminServer::listen(const Address& address, uint32_t mode, bool take_over) {
  constexpr int kBacklog = 128;
  if (address.is_unix()) {
    auto listener = UnixListener::open(address, kBacklog, mode, take_over);
    if (!listener) return unexpected(listener.error());
    impl_->unix_listener = *listener;
  }
  auto fd = address.is_unix() ? Result<int>(impl_->unix_listener->duplicate())
                              : listen_socket(address, kBacklog, false);
  if (!fd) return unexpected(fd.error());
  impl_->bound = address.is_unix() ? address : bound_address(*fd);
  impl_->acceptor = Acceptor::create(impl_->loop, *fd, *impl_, 16);
  impl_->acceptor->reserve(kReservedDescriptors);
  return {};
}

Address AdminServer::address() const { return impl_->bound; }

void AdminServer::stop() {
  impl_->acceptor.reset();
  impl_->unix_listener.reset();
  while (Impl::Connection* c = impl_->connections.front()) c->close(true);
}

}  // namespace dragoman
