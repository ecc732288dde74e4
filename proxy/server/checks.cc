#include "proxy/server/checks.h"

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

}  // namespace

void check_config(const config::Config& config, const config::Complain& complain) {
  check(config.admin.tls, complain);
  for (const config::Listener& listener : config.listeners) check(listener.tls, complain);
  for (const config::Cluster& cluster : config.clusters) check(cluster.tls, complain);
}

}  // namespace dragoman
