#include "proxy/tls/context.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/ocsp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "proxy/net/loop.h"

namespace dragoman {
namespace {

using Part = TlsFault::Part;

uint64_t now_ms() { return Loop::now_ns() / 1'000'000; }

/// OpenSSL's reason for what just failed, short.
std::string why() {
  const unsigned long code = ERR_peek_last_error();
  const char* text = code ? ERR_reason_error_string(code) : nullptr;
  return text ? text : "it is not valid";
}

int version_of(config::TlsVersion version) {
  return version == config::TlsVersion::k12 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

UniqueBio reader(const std::string& pem) { return UniqueBio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))); }

// A key behind a passphrase would make OpenSSL ask at the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

int64_t not_after_s(const X509* certificate) {
  tm t{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &t) != 1) return 0;
  return static_cast<int64_t>(timegm(&t));
}

/// TLS 1.2: keys of the connection's own, and ciphers that authenticate what they hide. The others have been broken in practice
/// (padding, keys that leak with the certificate's), and RFC 9113 forbids them to HTTP/2.
constexpr const char* kCiphers12 = "ECDHE+AESGCM:ECDHE+CHACHA20";

}  // namespace

// --- making ---------------------------------------------------------------------------------------------------------

TlsContext::Made TlsContext::make(const TlsSettings& settings, const TlsMaterial& material, uint64_t generation) {
  std::shared_ptr<TlsContext> context(new TlsContext(settings, generation));
  for (size_t i = 0; i < std::max<size_t>(1, material.pairs.size()); ++i) {
    auto ctx = context->make_ctx(material);
    if (!ctx) return unexpected(ctx.error());
    if (i < material.pairs.size()) {
      auto loaded = context->load(ctx->get(), material.pairs[i], i);
      if (!loaded) return unexpected(loaded.error());
      auto stapled = context->staple(ctx->get(), material.pairs[i], i);
      if (!stapled) return unexpected(stapled.error());
    }
    context->contexts_.push_back(std::move(*ctx));
    if (i >= material.pairs.size()) break;
    X509* leaf = SSL_CTX_get0_certificate(context->contexts_[i].get());
    const int64_t end = not_after_s(leaf);
    if (context->expires_s_ == 0 || end < context->expires_s_) context->expires_s_ = end;
    for (const std::string& name : PeerNames::of(leaf).dns)
      context->by_name_.emplace(name, context->contexts_[i].get());  // the first certificate for a name has it
  }
  return std::shared_ptr<const TlsContext>(std::move(context));
}

Result<UniqueSslCtx, TlsFault> TlsContext::make_ctx(const TlsMaterial& material) {
  ERR_clear_error();
  UniqueSslCtx ctx(SSL_CTX_new(settings_.server ? TLS_server_method() : TLS_client_method()));
  if (!ctx) return unexpected(TlsFault{Part::kChain, 0, "OpenSSL: " + why()});
  SSL_CTX_set_app_data(ctx.get(), this);
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_min_proto_version(ctx.get(), version_of(settings_.min_version));
  SSL_CTX_set_max_proto_version(ctx.get(), version_of(settings_.max_version));
  SSL_CTX_set_default_passwd_cb(ctx.get(), no_passphrase);
  if (SSL_CTX_set_cipher_list(ctx.get(),
                              settings_.ciphers.empty() ? kCiphers12 : settings_.ciphers.c_str()) != 1)
    return unexpected(TlsFault{Part::kCiphers, 0, "OpenSSL knows none of these ciphers"});
  if (!settings_.cipher_suites.empty() && SSL_CTX_set_ciphersuites(ctx.get(), settings_.cipher_suites.c_str()) != 1)
    return unexpected(TlsFault{Part::kCipherSuites, 0, "OpenSSL does not know these cipher suites"});
  if (settings_.verify) {
    auto trusted = trust(ctx.get(), material);
    if (!trusted) return unexpected(trusted.error());
  }
  SSL_CTX_set_info_callback(ctx.get(), TlsCallbacks::on_info);
  set_alpn(ctx.get());
  set_resumption(ctx.get(), material);
  if (settings_.server) {
    SSL_CTX_set_tlsext_servername_callback(ctx.get(), on_sni);
    SSL_CTX_set_tlsext_servername_arg(ctx.get(), this);
  }
  return ctx;
}

Result<void, TlsFault> TlsContext::trust(SSL_CTX* ctx, const TlsMaterial& material) {
  if (settings_.ca.empty()) {
    SSL_CTX_set_default_verify_paths(ctx);
  } else {
    UniqueBio bio = reader(material.ca);
    int count = 0;
    for (;;) {
      ERR_clear_error();
      UniqueX509 ca(PEM_read_bio_X509_AUX(bio.get(), nullptr, no_passphrase, nullptr));
      if (!ca) {
        if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE && count > 0) break;
        return unexpected(TlsFault{Part::kCa, 0, settings_.ca + ": " +
                                                     (count == 0 ? "holds no certificate: " : "is broken: ") + why()});
      }
      X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), ca.get());
      if (settings_.server) SSL_CTX_add_client_CA(ctx, ca.get());
      ++count;
    }
    ERR_clear_error();
  }
  if (!settings_.crl.empty()) {
    auto revoked = revoke(ctx, material);
    if (!revoked) return revoked;
  }
  SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | (settings_.require ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), on_verify);
  return {};
}

Result<void, TlsFault> TlsContext::revoke(SSL_CTX* ctx, const TlsMaterial& material) {
  UniqueBio bio = reader(material.crl);
  X509_STORE* store = SSL_CTX_get_cert_store(ctx);
  for (int count = 0;; ++count) {
    ERR_clear_error();
    const std::unique_ptr<X509_CRL, void (*)(X509_CRL*)> crl(
        PEM_read_bio_X509_CRL(bio.get(), nullptr, no_passphrase, nullptr), X509_CRL_free);
    if (crl) {
      X509_STORE_add_crl(store, crl.get());
      continue;
    }
    if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE && count > 0) break;
    return unexpected(TlsFault{Part::kCrl, 0,
                               settings_.crl + ": " +
                                   (count == 0 ? "holds no list of revoked certificates: " : "is broken: ") +
                                   why()});
  }
  ERR_clear_error();
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
  return {};
}

Result<void, TlsFault> TlsContext::staple(SSL_CTX* ctx, const TlsMaterial::Pair& pair, size_t index) {
  const std::string& file = settings_.certificates[index].ocsp_staple;
  if (file.empty()) return {};
  const auto fault = [&](std::string what) {
    return unexpected(TlsFault{Part::kStaple, index, file + ": " + std::move(what)});
  };
  ERR_clear_error();
  const auto* at = reinterpret_cast<const uint8_t*>(pair.staple.data());
  const std::unique_ptr<OCSP_RESPONSE, void (*)(OCSP_RESPONSE*)> response(
      d2i_OCSP_RESPONSE(nullptr, &at, static_cast<long>(pair.staple.size())), OCSP_RESPONSE_free);
  if (!response) return fault("is no OCSP response: " + why());
  if (OCSP_response_status(response.get()) != OCSP_RESPONSE_STATUS_SUCCESSFUL)
    return fault(std::string("says ") + OCSP_response_status_str(OCSP_response_status(response.get())));
  const std::unique_ptr<OCSP_BASICRESP, void (*)(OCSP_BASICRESP*)> basic(
      OCSP_response_get1_basic(response.get()), OCSP_BASICRESP_free);
  if (!basic) return fault("is no OCSP response: " + why());
  const ASN1_INTEGER* own = X509_get0_serialNumber(SSL_CTX_get0_certificate(ctx));
  for (int i = 0; i < OCSP_resp_count(basic.get()); ++i) {
    OCSP_SINGLERESP* single = OCSP_resp_get0(basic.get(), i);
    ASN1_INTEGER* serial = nullptr;
    OCSP_id_get0_info(nullptr, nullptr, nullptr, &serial,
                      const_cast<OCSP_CERTID*>(OCSP_SINGLERESP_get0_id(single)));
    if (!serial || ASN1_INTEGER_cmp(serial, own) != 0) continue;
    ASN1_GENERALIZEDTIME* next = nullptr;
    OCSP_single_get0_status(single, nullptr, nullptr, nullptr, &next);
    auto staple = std::make_unique<Staple>(Staple{pair.staple, 0});
    tm t{};
    if (next && ASN1_TIME_to_tm(next, &t) == 1) staple->ends_s = static_cast<int64_t>(timegm(&t));
    SSL_CTX_set_tlsext_status_cb(ctx, on_status);
    SSL_CTX_set_tlsext_status_arg(ctx, staple.get());
    staples_.push_back(std::move(staple));
    return {};
  }
  return fault("is not about the certificate in " + settings_.certificates[index].chain);
}

int TlsContext::on_status(SSL* ssl, void* arg) {
  const auto& staple = *static_cast<const Staple*>(arg);
  if (staple.ends_s != 0 && staple.ends_s <= std::time(nullptr)) return SSL_TLSEXT_ERR_NOACK;
  auto* copy = static_cast<uint8_t*>(OPENSSL_memdup(staple.bytes.data(), staple.bytes.size()));
  if (!copy) return SSL_TLSEXT_ERR_NOACK;
  SSL_set_tlsext_status_ocsp_resp(ssl, copy, static_cast<long>(staple.bytes.size()));
  return SSL_TLSEXT_ERR_OK;
}

Result<void, TlsFault> TlsContext::load(SSL_CTX* ctx, const TlsMaterial::Pair& pair, size_t index) {
  const config::Certificate& files = settings_.certificates[index];
  UniqueBio bio = reader(pair.chain);
  int count = 0;
  for (;;) {
    ERR_clear_error();
    UniqueX509 certificate(PEM_read_bio_X509_AUX(bio.get(), nullptr, no_passphrase, nullptr));
    if (!certificate) {
      if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE && count > 0) break;
      return unexpected(TlsFault{Part::kChain, index, files.chain + ": " +
                                                          (count == 0 ? "holds no certificate: " : "is broken: ") + why()});
    }
    const bool ok = count == 0 ? SSL_CTX_use_certificate(ctx, certificate.get()) == 1
                               : SSL_CTX_add1_chain_cert(ctx, certificate.get()) == 1;
    if (!ok) return unexpected(TlsFault{Part::kChain, index, files.chain + ": " + why()});
    ++count;
  }
  ERR_clear_error();
  UniqueBio key_bio = reader(pair.key);
  UniquePkey key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, no_passphrase, nullptr));
  if (!key)
    return unexpected(TlsFault{Part::kKey, index, files.key + ": holds no private key without a passphrase: " + why()});
  if (X509_check_private_key(SSL_CTX_get0_certificate(ctx), key.get()) != 1)
    return unexpected(TlsFault{Part::kKey, index, files.key + ": is not the key of the certificate in " + files.chain});
  if (SSL_CTX_use_PrivateKey(ctx, key.get()) != 1)
    return unexpected(TlsFault{Part::kKey, index, files.key + ": " + why()});
  return {};
}

bool TlsContext::allows(X509* peer) const {
  if (settings_.rules.empty()) return true;
  const PeerNames names = PeerNames::of(peer);
  return std::any_of(settings_.rules.begin(), settings_.rules.end(),
                     [&](const PeerRule& rule) { return rule.allows(names); });
}

// Runs inside the handshake, so that the peer is told by an alert. Resumed sessions are looked at again later.
int TlsContext::on_verify(int ok, X509_STORE_CTX* store) {
  if (!ok || X509_STORE_CTX_get_error_depth(store) != 0) return ok;
  auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
  const auto* self = static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  if (self->allows(X509_STORE_CTX_get_current_cert(store))) return 1;
  X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
  return 0;
}

// --- names ----------------------------------------------------------------------------------------------------------

int TlsContext::on_sni(SSL* ssl, int*, void* arg) {
  const auto* self = static_cast<const TlsContext*>(arg);
  const char* raw = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (!raw || self->contexts_.size() == 1) return SSL_TLSEXT_ERR_OK;
  std::string name(raw);
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  auto it = self->by_name_.find(name);
  if (it == self->by_name_.end()) {
    const size_t dot = name.find('.');
    if (dot != std::string::npos) it = self->by_name_.find("*" + name.substr(dot));
  }
  if (it != self->by_name_.end()) SSL_set_SSL_CTX(ssl, it->second);
  return SSL_TLSEXT_ERR_OK;
}

void TlsContext::set_alpn(SSL_CTX* ctx) {
  if (settings_.alpn.empty()) return;
  alpn_wire_.clear();
  for (const std::string& name : settings_.alpn) {
    alpn_wire_ += static_cast<char>(name.size());
    alpn_wire_ += name;
  }
  if (settings_.server)
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, this);
  else
    SSL_CTX_set_alpn_protos(ctx, reinterpret_cast<const uint8_t*>(alpn_wire_.data()),
                            static_cast<unsigned>(alpn_wire_.size()));
}

bool fit_for_http2(const SSL_CIPHER* cipher) {
  if (!cipher || SSL_CIPHER_is_aead(cipher) != 1) return false;
  const int exchange = SSL_CIPHER_get_kx_nid(cipher);
  return exchange == NID_kx_any || exchange == NID_kx_ecdhe || exchange == NID_kx_dhe ||
         exchange == NID_kx_ecdhe_psk || exchange == NID_kx_dhe_psk;
}

// Our order decides (RFC 7301 section 3.2); nothing in common ends the handshake.
int TlsContext::on_alpn(SSL* ssl, const uint8_t** out, uint8_t* out_len, const uint8_t* in, unsigned in_len,
                        void* arg) {
  const auto* self = static_cast<const TlsContext*>(arg);
  const bool http2 = fit_for_http2(SSL_get_pending_cipher(ssl));  // the cipher has been chosen before
  for (const std::string& ours : self->settings_.alpn) {
    if (ours == "h2" && !http2) continue;
    for (unsigned at = 0; at < in_len; at += 1u + in[at]) {
      if (in[at] != ours.size() || std::memcmp(in + at + 1, ours.data(), ours.size()) != 0) continue;
      *out = in + at + 1;
      *out_len = in[at];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

// --- resumption -----------------------------------------------------------------------------------------------------

void TlsContext::set_resumption(SSL_CTX* ctx, const TlsMaterial& material) {
  if (!settings_.server) {
    // Sessions are kept per endpoint (TlsSession), not in OpenSSL's cache.
    SSL_CTX_set_session_cache_mode(ctx, settings_.resume ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL
                                                         : SSL_SESS_CACHE_OFF);
    if (settings_.resume) SSL_CTX_sess_set_new_cb(ctx, TlsCallbacks::on_new_session);
    return;
  }
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
  // Only sessions made under the same rules and the same trust are taken up again.
  const std::string rules = settings_.name + '\0' +
                            (settings_.require  ? "r"
                             : settings_.verify ? "o"
                                                : "n") +
                            '\0' + material.ca + material.crl;
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_Digest(rules.data(), rules.size(), digest, &length, EVP_sha256(), nullptr);
  SSL_CTX_set_session_id_context(ctx, digest, std::min<unsigned>(length, SSL_MAX_SID_CTX_LENGTH));
  if (!settings_.resume) {
    SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx, 0);
    return;
  }
  SSL_CTX_set_num_tickets(ctx, 1);
  SSL_CTX_set_timeout(ctx, std::max<long>(1, static_cast<long>(settings_.ticket_lifetime_ms / 1000)));
  SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
  SSL_CTX_set_session_ticket_cb(ctx, nullptr, on_opened, nullptr);
}

SSL_TICKET_RETURN TlsContext::on_opened(SSL*, SSL_SESSION* session, const unsigned char*, size_t,
                                        SSL_TICKET_STATUS status, void*) {
  if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
    return SSL_TICKET_RETURN_IGNORE_RENEW;
  const X509* peer = SSL_SESSION_get0_peer(session);
  if (peer && X509_cmp_current_time(X509_get0_notAfter(peer)) <= 0) return SSL_TICKET_RETURN_IGNORE_RENEW;
  return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

int TlsContext::on_ticket(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int seal) {
  const auto* self = static_cast<const TlsContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  TicketKeys& keys = *self->settings_.tickets;
  bool stale = false;
  std::optional<TicketKeys::Key> key = seal ? keys.sealing(now_ms()) : keys.opening(name, now_ms(), stale);
  if (!key) return seal ? -1 : 0;
  char digest[] = "SHA256";
  OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac.data(), key->mac.size()),
                         OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
  int ok = EVP_MAC_CTX_set_params(mac, params);
  if (seal) {
    std::memcpy(name, key->name.data(), key->name.size());
    ok = ok == 1 && RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
         EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher.data(), iv) == 1;
  } else {
    ok = ok == 1 && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nullptr, key->cipher.data(), iv) == 1;
  }
  OPENSSL_cleanse(&*key, sizeof(*key));
  if (!ok) return -1;
  // Clients of TLS 1.3 should use a ticket once (RFC 8446 C.4): each resumption brings the next one.
  return stale || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
}

}  // namespace dragoman
