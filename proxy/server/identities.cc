#include "proxy/server/identities.h"

#include <algorithm>

#include "proxy/base/log.h"
#include "proxy/net/watch.h"

namespace dragoman {

std::vector<std::string> alpn_of(std::string_view protocol, const std::vector<std::string>& configured) {
  if (!configured.empty()) return configured;
  if (protocol == "http1") return {"http/1.1"};
  if (protocol == "http2") return {"h2"};
  if (protocol == "http") return {"h2", "http/1.1"};
  return {};
}

std::string sni_of(const config::Cluster& cluster) {
  if (!cluster.tls->sni.empty()) return cluster.tls->sni;
  std::string host;
  for (const config::Endpoint& e : cluster.endpoints) {
    if (Address::parse(e.address.text())) return {};
    if (!host.empty() && host != e.address.host) return {};
    host = e.address.host;
  }
  return host;
}

IdentityWatch::Entry IdentityWatch::entry(std::string side, std::string name,
                                          std::shared_ptr<TlsIdentity> identity, MetricRegistry& registry) {
  auto binding = std::make_unique<MetricsBinding>(registry, registry.shards() - 1);
  const TlsMetrics metrics = binding->tls(side, name);
  return {std::move(side), std::move(name), std::move(identity), std::move(binding), metrics};
}

void IdentityWatch::sync(std::vector<Entry> entries) {
  std::map<std::string, std::unique_ptr<FileWatch>> watches;
  for (Entry& entry : entries) {
    for (const std::string& path : entry.identity->files()) {
      if (watches.count(path)) continue;
      auto it = watches_.find(path);
      watches[path] = it != watches_.end() && it->second
                          ? std::move(it->second)
                          : watch_file(loop_, path, entry.identity->stamps().at(path),
                                       [this, path] { on_changed(path); });
    }
    entry.metrics.expiry_seconds.set(entry.identity->expires_s());
  }
  followed_ = std::move(entries);
  watches_ = std::move(watches);
}

void IdentityWatch::on_changed(const std::string& path) {
  for (Entry& f : followed_) {
    const std::vector<std::string>& files = f.identity->files();
    if (std::find(files.begin(), files.end(), path) == files.end()) continue;
    // A change of two files at once was perhaps taken with the first of them.
    if (f.identity->stamps().at(path) == FileStamp::of(path) && !f.refused) continue;
    auto reloaded = f.identity->reload();
    f.refused = !reloaded;
    f.metrics.reloads.inc(reloaded ? CheckResult::kSuccess : CheckResult::kFailure);
    if (reloaded) {
      f.metrics.expiry_seconds.set(f.identity->expires_s());
      DRAGOMAN_LOG(kInfo, "tls", "{} {}: new certificates in use", f.side, f.name);
    } else {
      DRAGOMAN_LOG(kWarn, "tls", "{} {}: the old certificates stay in use: {}", f.side, f.name,
                   reloaded.error().text);
    }
  }
}

void IdentityWatch::stop() {
  watches_.clear();
  followed_.clear();
}

}  // namespace dragoman
