#include "proxy/tls/identity.h"

#include <algorithm>

#include "proxy/tls/context.h"

namespace dragoman {
namespace {

using Part = TlsFault::Part;

constexpr size_t kFileBytesMax = 4 << 20;

using Stamps = std::map<std::string, FileStamp>;

Result<std::string, TlsFault> read_part(const std::string& path, Part part, size_t index, Stamps& stamps) {
  auto text = read_file(path, kFileBytesMax, &stamps[path]);
  if (!text) return unexpected(TlsFault{part, index, path + ": " + text.error()});
  return std::move(*text);
}

Result<TlsMaterial, TlsFault> read_files(const TlsSettings& settings, Stamps& stamps) {
  TlsMaterial material;
  for (size_t i = 0; i < settings.certificates.size(); ++i) {
    auto chain = read_part(settings.certificates[i].chain, Part::kChain, i, stamps);
    if (!chain) return unexpected(chain.error());
    auto key = read_part(settings.certificates[i].key, Part::kKey, i, stamps);
    if (!key) return unexpected(key.error());
    material.pairs.push_back({std::move(*chain), std::move(*key), {}});
    if (settings.certificates[i].ocsp_staple.empty()) continue;
    auto staple = read_part(settings.certificates[i].ocsp_staple, Part::kStaple, i, stamps);
    if (!staple) return unexpected(staple.error());
    material.pairs.back().staple = std::move(*staple);
  }
  if (!settings.ca.empty()) {
    auto ca = read_part(settings.ca, Part::kCa, 0, stamps);
    if (!ca) return unexpected(ca.error());
    material.ca = std::move(*ca);
  }
  if (!settings.crl.empty()) {
    auto crl = read_part(settings.crl, Part::kCrl, 0, stamps);
    if (!crl) return unexpected(crl.error());
    material.crl = std::move(*crl);
  }
  return material;
}

Result<std::vector<PeerRule>, TlsFault> rules_of(const std::vector<std::string>& names) {
  std::vector<PeerRule> rules;
  for (size_t i = 0; i < names.size(); ++i) {
    auto rule = PeerRule::parse(names[i]);
    if (!rule) return unexpected(TlsFault{Part::kPeerNames, i, rule.error()});
    rules.push_back(*rule);
  }
  return rules;
}

}  // namespace

TlsIdentity::TlsIdentity(std::unique_ptr<TlsSettings> settings, int threads)
    : settings_(std::move(settings)), slots_(static_cast<size_t>(threads)) {
  for (const config::Certificate& c : settings_->certificates) {
    files_.push_back(c.chain);
    files_.push_back(c.key);
    if (!c.ocsp_staple.empty()) files_.push_back(c.ocsp_staple);
  }
  if (!settings_->ca.empty()) files_.push_back(settings_->ca);
  if (!settings_->crl.empty()) files_.push_back(settings_->crl);
  std::sort(files_.begin(), files_.end());
  files_.erase(std::unique(files_.begin(), files_.end()), files_.end());
}

TlsIdentity::~TlsIdentity() = default;

TlsIdentity::Made TlsIdentity::make(std::unique_ptr<TlsSettings> settings, int threads) {
  std::shared_ptr<TlsIdentity> identity(new TlsIdentity(std::move(settings), threads));
  auto loaded = identity->reload();
  if (!loaded) return unexpected(loaded.error());
  return identity;
}

TlsIdentity::Made TlsIdentity::server(const config::ListenerTls& from, std::vector<std::string> alpn,
                                      std::string name, int threads) {
  auto rules = rules_of(from.peer_names);
  if (!rules) return unexpected(rules.error());
  auto settings = std::make_unique<TlsSettings>();
  settings->server = true;
  settings->certificates = from.certificates;
  settings->ca = from.ca;
  settings->crl = from.crl;
  settings->verify = from.client_certificate != config::ClientCertificate::kNone;
  settings->require = from.client_certificate == config::ClientCertificate::kRequire;
  settings->rules = std::move(*rules);
  settings->alpn = std::move(alpn);
  settings->min_version = from.min_version;
  settings->max_version = from.max_version;
  settings->ciphers = from.ciphers;
  settings->cipher_suites = from.cipher_suites;
  settings->name = std::move(name);
  settings->resume = from.ticket_lifetime_ms > 0;
  settings->ticket_lifetime_ms = from.ticket_lifetime_ms;
  if (settings->resume)
    settings->tickets = std::make_shared<TicketKeys>(static_cast<uint64_t>(from.ticket_lifetime_ms));
  return make(std::move(settings), threads);
}

TlsIdentity::Made TlsIdentity::client(const config::ClusterTls& from, std::vector<std::string> alpn, std::string sni,
                                      int threads) {
  auto rules = rules_of(from.peer_names);
  if (!rules) return unexpected(rules.error());
  auto settings = std::make_unique<TlsSettings>();
  if (from.certificate) settings->certificates.push_back(*from.certificate);
  settings->ca = from.ca;
  settings->crl = from.crl;
  settings->verify = from.verify;
  settings->rules = std::move(*rules);
  settings->alpn = std::move(alpn);
  settings->sni = std::move(sni);
  settings->min_version = from.min_version;
  settings->max_version = from.max_version;
  settings->ciphers = from.ciphers;
  settings->cipher_suites = from.cipher_suites;
  settings->resume = from.resume;
  return make(std::move(settings), threads);
}

Result<void, TlsFault> TlsIdentity::reload() {
  Stamps stamps;
  auto material = read_files(*settings_, stamps);
  if (!material) return unexpected(material.error());
  const uint64_t generation = generation_.load(std::memory_order_relaxed) + 1;
  std::vector<TlsContextRef> next;
  for (size_t i = 0; i < slots_.size(); ++i) {
    auto made = TlsContext::make(*settings_, *material, generation);
    if (!made) return unexpected(made.error());
    next.push_back(std::move(*made));
  }
  expires_s_ = next[0]->expires_s();
  stamps_ = std::move(stamps);
  {
    std::lock_guard lock(mutex_);
    latest_ = std::move(next);
  }
  generation_.store(generation, std::memory_order_release);
  return {};
}

const TlsContextRef& TlsIdentity::current(int thread) {
  Slot& slot = slots_[static_cast<size_t>(thread)];
  const uint64_t generation = generation_.load(std::memory_order_acquire);
  if (slot.generation != generation) {
    std::lock_guard lock(mutex_);
    slot.context = latest_[static_cast<size_t>(thread)];
    slot.generation = generation;
  }
  return slot.context;
}

}  // namespace dragoman
