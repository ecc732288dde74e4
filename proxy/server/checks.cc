#include "proxy/server/checks.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "protocols/detect.h"
#include "protocols/exchange.h"
#include "proxy/net/proxy_header.h"
#include "proxy/observe/log_file.h"
#include "proxy/server/loops.h"
#include "proxy/server/snapshot.h"
#include "proxy/tls/identity.h"

namespace dragoman {
namespace {

using Part = TlsFault::Part;

/// Where a fault belongs: the setting, and the block it is in.
template <class Tls>
void complain_of(const Tls& tls, const config::Certificate* certificate, const void* owner, const TlsFault& fault,
                 const config::Complain& complain) {
  switch (fault.part) {
    case Part::kChain:
      return certificate ? complain(&certificate->chain, certificate, fault.text) : complain(&tls, owner, fault.text);
    case Part::kKey:
      return certificate ? complain(&certificate->key, certificate, fault.text) : complain(&tls, owner, fault.text);
    case Part::kStaple:
      return certificate ? complain(&certificate->ocsp_staple, certificate, fault.text)
                         : complain(&tls, owner, fault.text);
    case Part::kCrl: return complain(&tls.crl, owner, fault.text);
    case Part::kCa:
      return complain(&tls.ca, owner, fault.text);
    case Part::kCiphers:
      return complain(&tls.ciphers, owner, fault.text);
    case Part::kCipherSuites:
      return complain(&tls.cipher_suites, owner, fault.text);
    case Part::kPeerNames:
      return complain(&tls.peer_names, owner, fault.text);
  }
}

void check(const std::optional<config::ListenerTls>& tls, const config::Complain& complain) {
  if (!tls) return;
  auto made = TlsIdentity::server(*tls, {}, "check", 1);
  if (made) return;
  const size_t i = made.error().index;
  complain_of(*tls, i < tls->certificates.size() ? &tls->certificates[i] : nullptr, &tls, made.error(), complain);
}

void check(const std::optional<config::ClusterTls>& tls, const config::Complain& complain) {
  if (!tls) return;
  auto made = TlsIdentity::client(*tls, {}, {}, 1);
  if (!made) complain_of(*tls, tls->certificate ? &*tls->certificate : nullptr, &tls, made.error(), complain);
}

/// What writes logs opens them when it starts.
void check_logs(const config::Config& config, const config::Complain& complain) {
  if (auto log = LogFile::check(config.log.path); !log) complain(&config.log.path, &config.log, log.error());
  if (!config.access_log) return;
  const config::AccessLog& access = *config.access_log;
  if (auto format = access_log_format(access); !format)
    complain(&access.template_text, &access, format.error());
  if (auto file = LogFile::check(access.path); !file) complain(&access.path, &access, file.error());
}

std::optional<DetectRule> rule_of(const std::string& name, const DeclaredProtocols& declared) {
  if (auto rule = DetectRule::built_in(name)) return rule;
  auto it = declared.find(name);
  const Protocol* protocol = it != declared.end() ? it->second.get() : find_protocol(name);
  if (!protocol || !protocol->table) return std::nullopt;
  return DetectRule::of(*protocol->table);
}

void check_protocols(const config::Listener& listener, const DeclaredProtocols& declared,
                     const config::Complain& complain) {
  std::vector<std::pair<const config::ListenerProtocol*, DetectRule>> rules;
  for (const config::ListenerProtocol& entry : listener.protocols) {
    auto rule = rule_of(entry.protocol, declared);
    if (!rule) {
      complain(&entry.protocol, &entry, entry.protocol + " can't be told by its first bytes");
      continue;
    }
    for (const auto& [earlier, other] : rules) {
      if (earlier->protocol == entry.protocol) continue;
      const auto both = find_conflict(other, *rule);
      if (!both) continue;
      complain(&entry.protocol, &entry,
               fmt::format("{} can't be told from {} at line {}: both begin with {:02x}", entry.protocol,
                           earlier->protocol, earlier->pos.line, fmt::join(*both, " ")));
    }
    rules.emplace_back(&entry, *rule);
  }
}

/// Zones are interfaces of this host.
void check_zone(const config::Address& address, const void* owner, const config::Complain& complain) {
  sockaddr_storage at;
  const auto parsed = Address::parse(address.text());
  if (!parsed || parsed->is_unix() || parsed->fill(at) != 0) return;
  complain(&address, owner,
           fmt::format("this host has no interface {}", address.host.substr(address.host.find('%') + 1)));
}

/// A cluster that leads back to a listener that leads to it.
void check_loops(const config::Config& config, const config::Complain& complain) {
  std::vector<Address> at;
  for (const config::Listener& listener : config.listeners) {
    const auto address = address_of(listener);
    at.push_back(address ? *address : Address{});
  }
  const auto leading = entrances(config, at);
  for (const config::Cluster& cluster : config.clusters) {
    const auto listeners = leading.find(cluster.name);
    if (listeners == leading.end()) continue;
    for (const config::Endpoint& endpoint : cluster.endpoints) {
      for (size_t i : listeners->second) {
        if (endpoint.address.port != at[i].port()) continue;
        const auto address = Address::parse(endpoint.address.text());
        if (!address || !at[i].takes(*address)) continue;
        complain(&endpoint.address, &endpoint,
                 fmt::format("a loop: listener {} is here, and it leads to this cluster",
                             config.listeners[i].name));
        break;
      }
    }
  }
}

}  // namespace

config::Check config_check(const DeclaredProtocols& declared) {
  return [&declared](const config::Config& config, const config::Complain& complain) {
    check(config.admin.tls, complain);
    if (config.admin.enabled) check_zone(config.admin.address, &config.admin, complain);
    for (const config::Listener& listener : config.listeners) {
      check(listener.tls, complain);
      check_zone(listener.address, &listener, complain);
      if (listener.proxy_protocol)
        for (const std::string& prefix : listener.proxy_protocol->trusted)
          if (auto parsed = IpPrefix::parse(prefix); !parsed)
            complain(&listener.proxy_protocol->trusted, &listener.proxy_protocol, parsed.error());
      check_protocols(listener, declared, complain);
    }
    for (const config::Cluster& cluster : config.clusters) check(cluster.tls, complain);
    check_loops(config, complain);
    check_logs(config, complain);
  };
}

config::LoadResult check_file(const std::string& path) {
  CodecCatalog codecs;
  DeclaredProtocols declared;
  config::LoadResult result =
      config::load_file(path, config::process_environment(), codecs.loader(declared), config_check(declared));
  if (!result.ok()) return result;
  // What the reader can't see (a filter that refuses) shows when everything is built. The log is not: that would make its file.
  config::Config checked = *result.config;
  checked.access_log.reset();
  auto built = build_snapshot(checked, nullptr, 1, declared);
  if (built) return result;
  for (const std::string& error : built.error())
    result.diagnostics.push_back({.file = path, .message = config::redact(error, checked.secrets)});
  result.config.reset();
  return result;
}

}  // namespace dragoman
