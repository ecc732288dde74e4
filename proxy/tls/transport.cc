#include "proxy/tls/transport.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "proxy/base/memory_reserve.h"
#include "proxy/base/thread_start.h"
#include "proxy/tls/context.h"

namespace dragoman {
namespace {

constexpr size_t kRecordBytes = 16 << 10;

/// Where plaintext is read to: shaped like Loop::scratch(), which still holds ciphertext meanwhile.
thread_local std::unique_ptr<uint8_t[]> plain_memory;
const AtThreadStart at_thread_start{[] { plain_memory.reset(); }};

uint8_t* plain_scratch() {
  if (!plain_memory) plain_memory = std::make_unique<uint8_t[]>(Loop::kScratchHeadroom + Loop::kScratchBytes);
  return plain_memory.get() + Loop::kScratchHeadroom;
}

}  // namespace

// --- OpenSSL's side ---------------------------------------------------------------------------------------------------

/// Takes ciphertext from input_ and puts it at the end of the inner transport's output: no buffer in between.
struct TlsTransport::Bio {
  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = [] {
      BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "dragoman");
      BIO_meth_set_read(m, read);
      BIO_meth_set_write(m, write);
      BIO_meth_set_ctrl(m, ctrl);
      return m;
    }();
    return made;
  }
  static TlsTransport& of(BIO* bio) { return *static_cast<TlsTransport*>(BIO_get_data(bio)); }

  static int read(BIO* bio, char* to, int n) {
    TlsTransport& t = of(bio);
    BIO_clear_retry_flags(bio);
    if (t.input_bytes_ == 0) {
      BIO_set_retry_read(bio);
      return -1;
    }
    const size_t k = std::min(static_cast<size_t>(n), t.input_bytes_);
    std::memcpy(to, t.input_, k);
    t.input_ += k;
    t.input_bytes_ -= k;
    return static_cast<int>(k);
  }
  /// OpenSSL's frames are below: false ends the connection.
  template <class Work>
  static bool put(Work&& work) {
    try {
      work();
      return true;
    } catch (const std::bad_alloc&) {
      note_memory_shed(MemoryShed::kConnection);
      return false;
    }
  }
  static int write(BIO* bio, const char* from, int n) {
    TlsTransport& t = of(bio);
    BIO_clear_retry_flags(bio);
    if (t.state_ == State::kHandshake && t.context_->server() &&
        SSL_get_state(t.ssl_) != TLS_ST_SW_SESSION_TICKET) {
      // Making a flight takes long: its client goes on with it while we make those of others that came in this turn. Tickets of
      // TLS 1.3 wait for the turn's end, an answer may join them.
      return put([&] { t.inner_->write_now(from, static_cast<size_t>(n)); }) ? n : -1;
    }
    if (!put([&] { t.inner_->out.append(from, static_cast<size_t>(n)); })) return -1;
    t.sealed_ = true;
    return n;
  }
  static long ctrl(BIO*, int command, long, void*) {
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP ? 1 : 0;
  }
};

int TlsCallbacks::on_new_session(SSL* ssl, SSL_SESSION* session) {
  auto* t = static_cast<TlsTransport*>(SSL_get_app_data(ssl));
  if (!t || !t->session_) return 0;
  SSL_SESSION_free(t->session_->session_);
  t->session_->session_ = session;
  t->session_->generation_ = t->context_->generation();
  return 1;  // ours now
}

void TlsCallbacks::on_info(const SSL* ssl, int where, int value) {
  if (where != SSL_CB_WRITE_ALERT || (value & 0xff) != SSL_AD_NO_RENEGOTIATION) return;
  if (auto* t = static_cast<TlsTransport*>(SSL_get_app_data(ssl))) t->renegotiation_ = true;
}

TlsSession::~TlsSession() { SSL_SESSION_free(session_); }

// --- making -----------------------------------------------------------------------------------------------------------

TlsTransport::TlsTransport(Loop& loop, std::unique_ptr<Transport> inner, TransportEvents& events,
                           TlsContextRef context, Reason broken)
    : loop_(loop), inner_(std::move(inner)), events_(&events), context_(std::move(context)), broken_(broken) {
  inner_->set_events(*this);
}

TlsTransport::~TlsTransport() { TlsTransport::close(false); }

namespace {

/// The certificate must be for this address. What is none (a unix socket) is in no certificate.
bool expect_address(X509_VERIFY_PARAM* param, const std::string& host) {
  const std::string ip = host.substr(0, host.find('%'));  // a zone means something on this host only
  return X509_VERIFY_PARAM_set1_ip_asc(param, ip.c_str()) == 1 ||
         X509_VERIFY_PARAM_set1_host(param, host.data(), host.size()) == 1;
}

}  // namespace

void TlsTransport::start_ssl(TlsSession* session) {
  ERR_clear_error();
  ssl_ = SSL_new(context_->ssl_ctx());
  BIO* bio = ssl_ ? BIO_new(Bio::method()) : nullptr;
  if (!bio) {
    BIO_free(bio);
    failed_ = Reason::kOwnResources;
    wrote();
    return;
  }
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_app_data(ssl_, this);
  if (context_->server()) {
    SSL_set_accept_state(ssl_);
    return;
  }
  SSL_set_connect_state(ssl_);
  const TlsSettings& settings = context_->settings();
  // Nothing is left out for lack of memory, least of all who the peer must be.
  bool complete = settings.sni.empty() || SSL_set_tlsext_host_name(ssl_, settings.sni.c_str()) == 1;
  if (settings.verify && settings.rules.empty()) {
    X509_VERIFY_PARAM* param = SSL_get0_param(ssl_);
    X509_VERIFY_PARAM_set_hostflags(param,
                                    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (!settings.sni.empty())
      complete =
          X509_VERIFY_PARAM_set1_host(param, settings.sni.data(), settings.sni.size()) == 1 && complete;
    else
      complete = expect_address(param, inner_->peer().host()) && complete;
  }
  if (!complete) {
    failed_ = Reason::kOwnResources;
    wrote();
    return;
  }
  if (!settings.resume || !session) return;
  session_ = session;
  // A session of an older generation was verified with other CAs, or made with another certificate of ours.
  if (session->session_ && session->generation_ == context_->generation())
    SSL_set_session(ssl_, session->session_);
}

std::unique_ptr<TlsTransport> TlsTransport::accept(Loop& loop, std::unique_ptr<Transport> inner,
                                                   TransportEvents& events, TlsContextRef context, Reason broken) {
  std::unique_ptr<TlsTransport> t(new TlsTransport(loop, std::move(inner), events, std::move(context), broken));
  t->start_ssl(nullptr);
  return t;
}

std::unique_ptr<TlsTransport> TlsTransport::connect(Loop& loop, int fd, TransportEvents& events,
                                                    SharedTransportOptions options, TlsContextRef context,
                                                    TlsSession* session) {
  // The inner transport needs its owner at once: it is told of the real one by the constructor.
  struct Nobody final : TransportEvents {
    void on_data(uint8_t*, size_t) override {}
    void on_eof() override {}
    void on_closed(Reason) override {}
    void on_write_blocked(bool) override {}
  };
  static Nobody nobody;
  const Reason broken = options->broken;
  std::unique_ptr<TlsTransport> t(new TlsTransport(
      loop, Transport::adopt(loop, fd, nobody, std::move(options)), events, std::move(context), broken));
  t->start_ssl(session);
  t->wrote();  // the hello leaves at the flush
  return t;
}

// --- reading ----------------------------------------------------------------------------------------------------------

void TlsTransport::on_data(uint8_t* data, size_t n) {
  if (state_ == State::kClosed || failed_ != Reason::kNone) return;
  if (!held_.empty()) {
    held_.append(data, n);
    return process_held();
  }
  input_ = data;
  input_bytes_ = n;
  process();
  if (state_ != State::kClosed && input_bytes_ != 0) held_.append(input_, input_bytes_);
  input_bytes_ = 0;
}

void TlsTransport::process_held() {
  ByteChain work;
  work.swap(held_);
  do {
    const std::span<const uint8_t> piece = work.front();
    input_ = piece.data();
    input_bytes_ = piece.size();
    process();
    if (state_ == State::kClosed) {
      input_bytes_ = 0;
      return;
    }
    work.consume(piece.size() - input_bytes_);
    input_bytes_ = 0;
  } while (!work.empty() && !paused_);
  held_.swap(work);
}

void TlsTransport::process() {
  if (state_ == State::kHandshake && !handshake()) return;
  if (state_ == State::kOpen) read_records();
  if (state_ != State::kClosed) tell_inner();
}

bool TlsTransport::handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_);
  if (result != 1) {
    if (SSL_get_error(ssl_, result) == SSL_ERROR_WANT_READ) {
      tell_inner();
    } else {
      fail(failure());
    }
    return false;
  }
  const Reason problem = check_agreement();
  if (problem != Reason::kNone) {
    fail(problem);
    return false;
  }
  state_ = State::kOpen;
  tell_inner();
  if (!out.empty()) wrote();
  events_->on_ready();
  return state_ == State::kOpen;
}

Reason TlsTransport::check_agreement() {
  const TlsSettings& settings = context_->settings();
  info_.version = SSL_get_version(ssl_);
  info_.resumed = SSL_session_reused(ssl_) == 1;
  if (const char* sni = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name)) {
    info_.sni = sni;
    for (char& c : info_.sni) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  }
  const uint8_t* alpn = nullptr;
  unsigned alpn_len = 0;
  SSL_get0_alpn_selected(ssl_, &alpn, &alpn_len);
  info_.alpn.assign(reinterpret_cast<const char*>(alpn), alpn ? alpn_len : 0);
  // A server that does not answer ALPN speaks HTTP/1.1, or whatever its port is known for; never HTTP/2 (RFC 9113 3.2).
  if (!settings.server && info_.alpn.empty() && settings.alpn.size() == 1 && settings.alpn[0] == "h2")
    return Reason::kTlsAlpn;
  if (info_.alpn == "h2" && !fit_for_http2(SSL_get_current_cipher(ssl_))) return Reason::kTlsCipher;
  if (!settings.verify) return Reason::kNone;
  X509* peer = SSL_get0_peer_certificate(ssl_);
  if (!peer) return settings.require || !settings.server ? Reason::kTlsNoPeerCertificate : Reason::kNone;
  // Resumed sessions skip the callback of the verification: the rules may have changed since.
  if (SSL_get_verify_result(ssl_) != X509_V_OK) return Reason::kTlsPeerUntrusted;
  if (info_.resumed && !context_->allows(peer)) return Reason::kTlsPeerName;
  info_.peer = PeerNames::of(peer).identity();
  return Reason::kNone;
}

void TlsTransport::read_records() {
  uint8_t* const plain = plain_scratch();
  while (!paused_ && !eof_) {
    size_t got = 0;
    int result = 1;
    while (got < Loop::kScratchBytes) {
      ERR_clear_error();
      result = SSL_read(ssl_, plain + got, static_cast<int>(Loop::kScratchBytes - got));
      if (result <= 0) break;
      got += static_cast<size_t>(result);
    }
    const int error = result > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl_, result);
    // Before the data goes up: what the callee does may use OpenSSL, too.
    const Reason reason = error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL ? failure() : Reason::kNone;
    if (got) {
      events_->on_data(plain, got);
      if (state_ == State::kClosed) return;
    }
    if (renegotiation_) return fail(Reason::kTlsRenegotiation);
    if (error == SSL_ERROR_NONE) continue;
    if (error == SSL_ERROR_WANT_READ) return;
    if (error != SSL_ERROR_ZERO_RETURN) return fail(reason == Reason::kNone ? Reason::kTlsMalformed : reason);
    eof_ = true;
    input_bytes_ = 0;
    events_->on_eof();
  }
  if (eof_) input_bytes_ = 0;  // after close_notify nothing counts
}

Reason TlsTransport::failure() const {
  // The first thing libssl says; libcrypto may have said before why a signature is none.
  unsigned long code = ERR_get_error();
  while (code != 0 && ERR_GET_LIB(code) != ERR_LIB_SSL) code = ERR_get_error();
  return tls_failure(code, SSL_get_verify_result(ssl_));
}

void TlsTransport::on_eof() {
  if (state_ == State::kClosed || eof_) return;
  fail(state_ == State::kHandshake ? Reason::kTlsHandshakeClosed : broken_);
}

void TlsTransport::on_closed(Reason reason) {
  if (state_ == State::kClosed) return;
  const bool shaking = state_ == State::kHandshake;
  release();
  events_->on_closed(shaking && reason != Reason::kOwnResources ? Reason::kTlsHandshakeClosed : reason);
}

void TlsTransport::on_write_blocked(bool blocked) {
  if (state_ == State::kClosed) return;
  blocked_ = blocked;
  events_->on_write_blocked(blocked);
}

void TlsTransport::pause_read(PauseReason reason) {
  paused_ |= reason;
  inner_->pause_read(reason);
}

void TlsTransport::resume_read(PauseReason reason) {
  paused_ &= static_cast<uint8_t>(~reason);
  inner_->resume_read(reason);
  if (paused_ || state_ != State::kOpen || (held_.empty() && !SSL_has_pending(ssl_))) return;
  resume_ = true;
  wrote();
}

// --- writing ----------------------------------------------------------------------------------------------------------

void TlsTransport::on_dirty() {
  if (state_ == State::kClosed) {
    out.clear();
    dirty_ = false;
    return;
  }
  loop_.flush_later(*this);
}

void TlsTransport::tell_inner() {
  if (!sealed_) return;
  sealed_ = false;
  inner_->wrote();
}

bool TlsTransport::seal(const uint8_t* data, size_t n) {
  while (n) {
    const size_t k = std::min(n, kRecordBytes);
    ERR_clear_error();
    const int result = SSL_write(ssl_, data, static_cast<int>(k));
    if (result <= 0) {
      failed_ = failure();
      return false;
    }
    data += result;
    n -= static_cast<size_t>(result);
  }
  return true;
}

bool TlsTransport::seal_out() {
  while (!out.empty()) {
    const std::span<const uint8_t> piece = out.front();
    const size_t k = std::min(piece.size(), kRecordBytes);
    if (!seal(piece.data(), k)) return false;
    out.consume(k);
  }
  return true;
}

void TlsTransport::write_large(const uint8_t* data, size_t n) {
  if (state_ == State::kClosed || failed_ != Reason::kNone) return;
  if (state_ == State::kOpen && !fin_sent_ && seal_out()) {
    seal(data, n);
  } else if (failed_ == Reason::kNone) {
    out.append(data, n);
  }
  wrote();
}

void TlsTransport::flush() {
  dirty_ = false;
  if (state_ == State::kClosed) return;
  if (failed_ != Reason::kNone) return fail(failed_);
  if (state_ == State::kHandshake) {
    if (!context_->server() && SSL_in_before(ssl_) && !handshake()) {
      if (state_ == State::kClosed) return;
    }
  } else if (resume_) {
    resume_ = false;
    if (!paused_) process_held();
    if (state_ == State::kClosed) return;
  }
  if (state_ == State::kOpen) {
    if (fin_sent_)
      out.clear();  // written after finish()
    else if (!seal_out())
      return fail(failed_);
    if (fin_ && !fin_sent_) {
      fin_sent_ = true;
      say_goodbye();
      inner_->finish();
    }
  }
  if (room_wanted_) {
    room_wanted_ = false;
    inner_->want_room();
  }
  if (sealed_) {
    sealed_ = false;
    inner_->wrote();
    inner_->flush();  // at once: the loop has one more round for what is written meanwhile
  }
}

void TlsTransport::say_goodbye() {
  if (goodbye_ || state_ != State::kOpen || failed_ != Reason::kNone) return;
  goodbye_ = true;
  ERR_clear_error();
  SSL_shutdown(ssl_);
}

void TlsTransport::finish() {
  if (state_ == State::kClosed || fin_) return;
  fin_ = true;
  wrote();
}

// --- closing ----------------------------------------------------------------------------------------------------------

void TlsTransport::release() {
  state_ = State::kClosed;
  out.clear();
  held_.clear();
  input_bytes_ = 0;
  blocked_ = false;
  dirty_ = false;
  ListLink<Transport>::unlink();
  if (!ssl_) return;
  // Without this OpenSSL takes the end for a failure and forbids the session for later connections.
  if (failed_ == Reason::kNone) SSL_set_shutdown(ssl_, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_set_app_data(ssl_, nullptr);
  SSL_free(ssl_);
  ssl_ = nullptr;
}

void TlsTransport::close(bool abort) {
  if (state_ == State::kClosed) return;
  release();
  inner_->close(abort);
}

void TlsTransport::close_after_flush(uint64_t linger_ms) {
  if (state_ == State::kClosed) return;
  if (state_ == State::kOpen && failed_ == Reason::kNone && !fin_sent_ && seal_out()) say_goodbye();
  release();
  inner_->close_after_flush(linger_ms);
}

void TlsTransport::fail(Reason reason) {
  failed_ = reason;
  release();
  inner_->close_after_flush();  // an alert may be on its way
  events_->on_closed(reason);
}

}  // namespace dragoman
