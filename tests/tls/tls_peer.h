// A blocking TLS client or server on OpenSSL, with a deadline on everything.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tests/tls/certificates.h"

struct ssl_st;
struct ssl_ctx_st;
struct ssl_session_st;

namespace dragoman::testing {

struct PeerOptions {
  bool server = false;
  std::string ca{};  // PEM text; empty: the other side is not verified
  Issued own{};      // empty: no certificate
  std::string sni{};
  std::string alpn{};     // one name
  std::string ciphers{};  // TLS 1.2
  int min_version = 0;    // TLS1_2_VERSION ...
  int max_version = 0;
  ssl_session_st* session = nullptr;
  std::string session_context{};  // server: allows resumption
  bool ask_status = false;        // client: for an OCSP response
};

class TlsPeer {
 public:
  /// Takes over a connected socket; `fd` < 0 gives a peer that fails.
  TlsPeer(int fd, const PeerOptions& options);
  /// Connects to 127.0.0.1.
  static int dial(uint16_t port);
  TlsPeer(TlsPeer&&) = delete;
  ~TlsPeer();

  bool handshake();
  bool send(std::string_view bytes);
  /// Exactly n bytes, fewer at the end or the deadline.
  std::string read(size_t n);
  std::string read_until(std::string_view mark);
  std::string read_to_end();
  /// After read_to_end: the peer said goodbye.
  bool ended_cleanly() const { return clean_; }
  void shutdown();  // close_notify
  void close();     // FIN without close_notify
  /// One HTTP/1.1 request and its answer, head and body (content-length).
  std::string http(std::string_view path = "/");
  /// The newest session, after something was read; to be freed with free_session().
  ssl_session_st* session();
  static void free_session(ssl_session_st* session);

  bool resumed() const;
  std::string alpn() const;
  std::string version() const;
  std::string sni() const;             // server
  std::string peer_common_name() const;
  std::string peer_pem() const;
  std::string staple() const;          // client: the OCSP response that came, DER
  bool renegotiate();                  // TLS 1.2
  int fd() const { return fd_; }

 private:
  int fd_;
  ssl_ctx_st* ctx_ = nullptr;
  ssl_st* ssl_ = nullptr;
  bool clean_ = false;
};

}  // namespace dragoman::testing
