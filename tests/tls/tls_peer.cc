#include "tests/tls/tls_peer.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

namespace dragoman::testing {
namespace {

int select_first(SSL*, const unsigned char** out, unsigned char* out_len, const unsigned char* in, unsigned in_len,
                 void* arg) {
  const auto* wanted = static_cast<const std::string*>(arg);
  for (unsigned at = 0; at < in_len; at += 1u + in[at]) {
    if (in[at] == wanted->size() && std::memcmp(in + at + 1, wanted->data(), wanted->size()) == 0) {
      *out = in + at + 1;
      *out_len = in[at];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

std::string TlsPeer::staple() const {
  const unsigned char* bytes = nullptr;
  const long n = SSL_get_tlsext_status_ocsp_resp(ssl_, &bytes);
  return n > 0 && bytes ? std::string(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n))
                        : std::string();
}

int TlsPeer::dial(uint16_t port) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) {
    ::close(fd);
    return -1;
  }
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

TlsPeer::TlsPeer(int fd, const PeerOptions& options) : fd_(fd) {
  std::signal(SIGPIPE, SIG_IGN);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  const timeval limit{20, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  ctx_ = SSL_CTX_new(options.server ? TLS_server_method() : TLS_client_method());
  if (options.max_version == TLS1_1_VERSION || options.max_version == TLS1_VERSION) SSL_CTX_set_security_level(ctx_, 0);
  SSL_CTX_set_min_proto_version(ctx_, options.min_version);
  SSL_CTX_set_max_proto_version(ctx_, options.max_version);
  if (!options.ciphers.empty()) SSL_CTX_set_cipher_list(ctx_, options.ciphers.c_str());
  if (!options.own.chain.empty()) {
    BIO* chain = BIO_new_mem_buf(options.own.chain.data(), -1);
    BIO* key = BIO_new_mem_buf(options.own.key.data(), -1);
    X509* x = PEM_read_bio_X509(chain, nullptr, nullptr, nullptr);
    EVP_PKEY* k = PEM_read_bio_PrivateKey(key, nullptr, nullptr, nullptr);
    SSL_CTX_use_certificate(ctx_, x);
    SSL_CTX_use_PrivateKey(ctx_, k);
    X509_free(x);
    EVP_PKEY_free(k);
    BIO_free(chain);
    BIO_free(key);
  }
  if (!options.ca.empty()) {
    BIO* ca = BIO_new_mem_buf(options.ca.data(), -1);
    X509* x = PEM_read_bio_X509(ca, nullptr, nullptr, nullptr);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx_), x);
    X509_free(x);
    BIO_free(ca);
    SSL_CTX_set_verify(ctx_, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  }
  if (options.server) {
    if (!options.session_context.empty()) {
      // The same ticket keys for all servers with this context.
      unsigned char keys[80];
      std::memset(keys, 7, sizeof(keys));
      SSL_CTX_set_tlsext_ticket_keys(ctx_, keys, sizeof(keys));
      SSL_CTX_set_session_id_context(ctx_, reinterpret_cast<const unsigned char*>(options.session_context.data()),
                                     static_cast<unsigned>(options.session_context.size()));
    }
    if (!options.alpn.empty()) {
      static thread_local std::string wanted;
      wanted = options.alpn;
      SSL_CTX_set_alpn_select_cb(ctx_, select_first, &wanted);
    }
  }
  ssl_ = SSL_new(ctx_);
  SSL_set_fd(ssl_, fd);
  if (options.server) {
    SSL_set_accept_state(ssl_);
    return;
  }
  SSL_set_connect_state(ssl_);
  if (!options.sni.empty()) SSL_set_tlsext_host_name(ssl_, options.sni.c_str());
  if (!options.alpn.empty()) {
    const std::string wire = static_cast<char>(options.alpn.size()) + options.alpn;
    SSL_set_alpn_protos(ssl_, reinterpret_cast<const unsigned char*>(wire.data()), static_cast<unsigned>(wire.size()));
  }
  if (options.session) SSL_set_session(ssl_, options.session);
  if (options.ask_status) SSL_set_tlsext_status_type(ssl_, TLSEXT_STATUSTYPE_ocsp);
}

TlsPeer::~TlsPeer() {
  SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);  // else the session is taken for a bad one
  SSL_free(ssl_);
  SSL_CTX_free(ctx_);
  close();
}

bool TlsPeer::handshake() {
  ERR_clear_error();
  return SSL_do_handshake(ssl_) == 1;
}

bool TlsPeer::send(std::string_view bytes) {
  ERR_clear_error();
  return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) == static_cast<int>(bytes.size());
}

std::string TlsPeer::read(size_t n) {
  std::string text(n, '\0');
  size_t got = 0;
  while (got < n) {
    ERR_clear_error();
    const int k = SSL_read(ssl_, text.data() + got, static_cast<int>(n - got));
    if (k <= 0) {
      clean_ = SSL_get_error(ssl_, k) == SSL_ERROR_ZERO_RETURN;
      break;
    }
    got += static_cast<size_t>(k);
  }
  text.resize(got);
  return text;
}

std::string TlsPeer::read_until(std::string_view mark) {
  std::string text;
  while (!text.ends_with(mark)) {
    const std::string byte = read(1);
    if (byte.empty()) break;
    text += byte;
  }
  return text;
}

std::string TlsPeer::read_to_end() {
  std::string all;
  for (;;) {
    std::string piece(16384, '\0');
    ERR_clear_error();
    const int k = SSL_read(ssl_, piece.data(), static_cast<int>(piece.size()));
    if (k <= 0) {
      clean_ = SSL_get_error(ssl_, k) == SSL_ERROR_ZERO_RETURN;
      return all;
    }
    all.append(piece, 0, static_cast<size_t>(k));
  }
}

void TlsPeer::shutdown() { SSL_shutdown(ssl_); }

void TlsPeer::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

std::string TlsPeer::http(std::string_view path) {
  std::string request = "GET ";
  request.append(path).append(" HTTP/1.1\r\nhost: test\r\n\r\n");
  if (!send(request)) return {};
  std::string head = read_until("\r\n\r\n");
  const size_t at = head.find("content-length: ");
  if (at == std::string::npos) return head;
  return head + read(static_cast<size_t>(std::atoi(head.c_str() + at + 16)));
}

ssl_session_st* TlsPeer::session() { return SSL_get1_session(ssl_); }
void TlsPeer::free_session(ssl_session_st* session) { SSL_SESSION_free(session); }

bool TlsPeer::resumed() const { return SSL_session_reused(ssl_) == 1; }

std::string TlsPeer::alpn() const {
  const unsigned char* name = nullptr;
  unsigned n = 0;
  SSL_get0_alpn_selected(ssl_, &name, &n);
  return {reinterpret_cast<const char*>(name), n};
}

std::string TlsPeer::version() const { return SSL_get_version(ssl_); }

std::string TlsPeer::sni() const {
  const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
  return name ? name : "";
}

std::string TlsPeer::peer_common_name() const {
  X509* x = SSL_get0_peer_certificate(ssl_);
  if (!x) return {};
  char text[256] = {};
  X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, text, sizeof(text));
  return text;
}

std::string TlsPeer::peer_pem() const {
  X509* x = SSL_get0_peer_certificate(ssl_);
  if (!x) return {};
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(bio, x);
  char* data = nullptr;
  const long n = BIO_get_mem_data(bio, &data);
  std::string text(data, static_cast<size_t>(n));
  BIO_free(bio);
  return text;
}

bool TlsPeer::renegotiate() {
  ERR_clear_error();
  return SSL_renegotiate(ssl_) == 1 && SSL_do_handshake(ssl_) == 1;
}

}  // namespace dragoman::testing
