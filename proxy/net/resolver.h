// Asks name servers, on the loop: any number of names at once, none of which waits for another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "proxy/base/result.h"
#include "proxy/net/loop.h"
#include "proxy/net/transport.h"

namespace dragoman {

struct ResolverOptions {
  std::vector<Address> servers;  // empty: those of /etc/resolv.conf, which is read again when it changes
  int64_t timeout_ms = 2'000;    // of the first try with a server; longer each further time
  uint32_t tries = 3;            // with each server
  std::string hosts_path = "/etc/hosts";
  std::string config_path = "/etc/resolv.conf";
};

/// What a name means.
struct ResolvedName {
  std::vector<Address> addresses;  // none has a port
  int64_t ttl_ms = -1;             // -1: not said (a literal, /etc/hosts)
};
/// SRV records (RFC 2782). The target "." says that there is no such service; it is left out.
struct ResolvedService {
  struct Target {
    std::string host;
    uint16_t port = 0;
    uint16_t priority = 0;
    uint16_t weight = 0;
  };
  std::vector<Target> targets;
  int64_t ttl_ms = -1;
};

/// Something that was asked; destroying it cancels.
class Lookup {
 public:
  virtual ~Lookup() = default;
};

/// Of one loop. `done` runs once on it, never inside the call, and may destroy its lookup and the resolver. Errors are
/// sentences.
class Resolver {
 public:
  static std::unique_ptr<Resolver> create(Loop& loop, ResolverOptions options);
  virtual ~Resolver() = default;

  using NameDone = std::function<void(Result<ResolvedName>)>;
  using ServiceDone = std::function<void(Result<ResolvedService>)>;
  /// `host` may be a literal, a name of /etc/hosts, or localhost.
  virtual std::unique_ptr<Lookup> name(const std::string& host, NameDone done) = 0;
  virtual std::unique_ptr<Lookup> service(const std::string& name, ServiceDone done) = 0;
};
/// Resolver::create, or what a test puts in its place.
using ResolverFactory = std::function<std::unique_ptr<Resolver>(Loop& loop, ResolverOptions options)>;

}  // namespace dragoman
