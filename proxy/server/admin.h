// The admin listener: a small HTTP/1.1 server on the control thread's loop. GET reads, POST changes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "config/config.h"
#include "proxy/base/result.h"
#include "proxy/net/transport.h"
#include "proxy/observe/metrics.h"
#include "proxy/tls/identity.h"

namespace dragoman {

struct AdminAnswer {
  uint32_t status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

/// What may be large.
enum class AdminPage : uint8_t {
  kMetrics,  // Prometheus text format
  kStats,    // "name{labels}: value" lines for people
  kClusters,
  kClustersJson,
  kConfigDump,  // redacted
};
inline constexpr size_t kAdminPageCount = 5;

/// What the admin listener shows and does; implemented by the server. All calls on the control thread, which none of them may
/// hold up: what takes long answers later.
class AdminBackend {
 public:
  /// Takes the answer, once, at once or later, on the control thread.
  using Done = std::function<void(const AdminAnswer&)>;
  virtual bool ready() = 0;                       // serving, not draining, first names resolved
  virtual void show(AdminPage page, Done done) = 0;  // rendered after it was asked for
  virtual std::string listeners_json() = 0;
  virtual std::string listeners_text() = 0;
  virtual std::string server_info_json() = 0;
  virtual AdminAnswer logging(std::string_view level) = 0;  // empty: tell the current one
  virtual void reload(Done done) = 0;
  virtual AdminAnswer drain() = 0;                // as SIGTERM does
  virtual AdminAnswer reopen_logs() = 0;
  virtual std::string codecs_text() = 0;
  virtual std::string codecs_json() = 0;
  virtual void reload_codecs(Done done) = 0;                   // their files, not the configuration's
  virtual void unload_codec(std::string name, Done done) = 0;  // one that nothing in the configuration uses

 protected:
  ~AdminBackend() = default;
};

class AdminServer {
 public:
  AdminServer(Loop& loop, AdminBackend& backend);
  ~AdminServer();
  /// Before listen().
  void configure(const config::Admin& settings, ServerMetrics metrics);
  /// Before listen(): TLS for every connection.
  void use_tls(std::shared_ptr<TlsIdentity> identity, TlsMetrics metrics, uint64_t handshake_timeout_ms);
  /// Binds and serves. Error: why the address can't be used.
  /// `mode`: of a unix socket's file, 0 = as the umask says. `take_over`: from a process that listens there.
  Result<void> listen(const Address& address, uint32_t mode = 0, bool take_over = false);
  Address address() const;  // with the real port
  /// Closes the listener and every connection; nothing is left on the loop afterwards (at its next edge).
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dragoman
