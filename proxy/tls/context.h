// One generation of an identity for one thread. For the sources of this folder only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "proxy/base/reason.h"
#include "proxy/tls/identity.h"
#include "proxy/tls/openssl.h"
#include "proxy/tls/peer_name.h"
#include "proxy/tls/ticket_keys.h"

namespace dragoman {

/// What both kinds of `tls` block come down to.
struct TlsSettings {
  bool server = false;
  std::vector<config::Certificate> certificates;
  std::string ca;        // a file; empty: the system's (client), nobody (server)
  std::string crl;       // a file; empty: nobody is revoked
  bool verify = false;   // ask for the peer's certificate and check it
  bool require = false;  // server: no certificate is an error
  std::vector<PeerRule> rules;
  std::vector<std::string> alpn;
  std::string sni;
  config::TlsVersion min_version = config::TlsVersion::k12;
  config::TlsVersion max_version = config::TlsVersion::k13;
  std::string ciphers;
  std::string cipher_suites;
  std::string name;
  bool resume = true;
  int64_t ticket_lifetime_ms = 0;
  std::shared_ptr<TicketKeys> tickets;  // server with resume
};

/// The files' contents.
struct TlsMaterial {
  struct Pair {
    std::string chain;
    std::string key;
    std::string staple;
  };
  std::vector<Pair> pairs;
  std::string ca;
  std::string crl;
};

/// What OpenSSL tells of one connection; in transport.cc.
struct TlsCallbacks {
  static int on_new_session(SSL* ssl, SSL_SESSION* session);
  static void on_info(const SSL* ssl, int where, int value);
};

/// The reason for what OpenSSL's queue says first. `verify_result` is the connection's.
Reason tls_failure(unsigned long code, long verify_result);

/// Whether RFC 9113 lets HTTP/2 use this cipher (9.2.2).
bool fit_for_http2(const SSL_CIPHER* cipher);

class TlsContext {
 public:
  using Made = Result<std::shared_ptr<const TlsContext>, TlsFault>;
  static Made make(const TlsSettings& settings, const TlsMaterial& material, uint64_t generation);

  SSL_CTX* ssl_ctx() const { return contexts_[0].get(); }
  bool server() const { return settings_.server; }
  uint64_t generation() const { return generation_; }
  const TlsSettings& settings() const { return settings_; }
  /// Whether the rules allow that peer.
  bool allows(X509* peer) const;
  /// Earliest end of the own certificates; 0 without.
  int64_t expires_s() const { return expires_s_; }

 private:
  TlsContext(const TlsSettings& settings, uint64_t generation) : settings_(settings), generation_(generation) {}
  Result<UniqueSslCtx, TlsFault> make_ctx(const TlsMaterial& material);
  Result<void, TlsFault> trust(SSL_CTX* ctx, const TlsMaterial& material);
  Result<void, TlsFault> revoke(SSL_CTX* ctx, const TlsMaterial& material);
  Result<void, TlsFault> staple(SSL_CTX* ctx, const TlsMaterial::Pair& pair, size_t index);
  Result<void, TlsFault> load(SSL_CTX* ctx, const TlsMaterial::Pair& pair, size_t index);
  void set_alpn(SSL_CTX* ctx);
  void set_resumption(SSL_CTX* ctx, const TlsMaterial& material);

  static int on_verify(int ok, X509_STORE_CTX* store);
  static int on_status(SSL* ssl, void* staple);
  static int on_sni(SSL* ssl, int* alert, void* self);
  static int on_alpn(SSL* ssl, const uint8_t** out, uint8_t* out_len, const uint8_t* in, unsigned in_len, void* self);
  /// What becomes of a ticket that was opened. An expired peer is no longer vouched for: it is judged anew.
  static SSL_TICKET_RETURN on_opened(SSL* ssl, SSL_SESSION* session, const unsigned char* name,
                                     size_t name_bytes, SSL_TICKET_STATUS status, void*);
  static int on_ticket(SSL* ssl, uint8_t* name, uint8_t* iv, EVP_CIPHER_CTX* cipher, EVP_MAC_CTX* mac, int seal);

  const TlsSettings settings_;
  const uint64_t generation_;
  std::vector<UniqueSslCtx> contexts_;  // one per certificate, at least one
  /// What the CA says of one of the own certificates.
  struct Staple {
    std::string bytes;
    int64_t ends_s = 0;  // 0: it doesn't say
  };
  std::vector<std::unique_ptr<Staple>> staples_;
  std::map<std::string, SSL_CTX*, std::less<>> by_name_;
  std::string alpn_wire_;
  int64_t expires_s_ = 0;
};

}  // namespace dragoman
