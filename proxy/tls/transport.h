// TLS as a Transport around a Transport.
#pragma once

#include <memory>
#include <string>

#include "proxy/net/transport.h"
#include "proxy/tls/identity.h"

struct ssl_st;
struct ssl_session_st;

namespace dragoman {

/// The newest session of one endpoint on one thread, to be taken up again.
class TlsSession {
 public:
  TlsSession() = default;
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

 private:
  friend class TlsTransport;
  friend struct TlsCallbacks;
  ssl_session_st* session_ = nullptr;
  uint64_t generation_ = 0;  // of the context it was made with
};

/// Plaintext on the outside, records on the inside. TransportEvents::on_ready comes when the handshake is done; what is
/// written before waits. A failed handshake, a broken record, or an end without close_notify is on_closed with one of the kTls
/// reasons, except for the end, which has the reason of a broken connection. The owner has the deadline of the handshake.
class TlsTransport final : public Transport, private TransportEvents {
 public:
  /// Waits for the client's hello on `inner`, whose events it takes over.
  static std::unique_ptr<TlsTransport> accept(Loop& loop, std::unique_ptr<Transport> inner, TransportEvents& events,
                                              TlsContextRef context, Reason broken = Reason::kDownstreamReset);
  /// Takes over a connected fd and says hello. `session` may be null, else it must outlive the transport's open time.
  static std::unique_ptr<TlsTransport> connect(Loop& loop, int fd, TransportEvents& events,
                                               SharedTransportOptions options, TlsContextRef context,
                                               TlsSession* session);
  ~TlsTransport() override;

  /// Bytes of the peer that were read before the transport was made.
  void feed(uint8_t* data, size_t n) { on_data(data, n); }

  void pause_read(PauseReason reason) override;
  void resume_read(PauseReason reason) override;
  void finish() override;
  void close(bool abort) override;
  void close_after_flush(uint64_t linger_ms) override;
  bool closed() const override { return state_ == State::kClosed; }
  void set_events(TransportEvents& events) override { events_ = &events; }
  const TlsInfo* tls() const override { return info_.version.empty() ? nullptr : &info_; }
  size_t unsent() const override { return out.size() + inner_->unsent(); }
  const Address& peer() const override { return inner_->peer(); }
  void set_ends(const Address& peer, const Address& local) override { inner_->set_ends(peer, local); }
  const Address& local() const override { return inner_->local(); }
  bool unread() const override { return inner_->unread(); }
  size_t in_flight() const override { return inner_->in_flight(); }
  uint64_t bytes_read() const override { return inner_->bytes_read(); }
  uint64_t bytes_written() const override { return inner_->bytes_written(); }
  uint64_t last_read_ms() const override { return inner_->last_read_ms(); }
  uint64_t last_write_ms() const override { return inner_->last_write_ms(); }
  void flush() override;

 protected:
  void on_dirty() override;
  void write_large(const uint8_t* data, size_t n) override;

 private:
  enum class State : uint8_t { kHandshake, kOpen, kClosed };
  struct Bio;  // the BIO's functions
  friend struct TlsCallbacks;

  TlsTransport(Loop& loop, std::unique_ptr<Transport> inner, TransportEvents& events, TlsContextRef context,
               Reason broken);
  void start_ssl(TlsSession* session);
  // TransportEvents of `inner_`
  void on_data(uint8_t* data, size_t n) override;
  void on_eof() override;
  /// A FIN without close_notify; after one there is something unread.
  void on_peer_left() override {
    if (state_ == State::kOpen) events_->on_peer_left();
  }
  void on_closed(Reason reason) override;
  void on_write_blocked(bool blocked) override;

  /// Works on input_ as far as it goes.
  void process();
  void process_held();
  bool handshake();
  void read_records();
  /// `result` of a call that failed.
  void read_failed(int result);
  Reason failure() const;
  Reason check_agreement();
  /// Seals `n` bytes; false when TLS is broken.
  bool seal(const uint8_t* data, size_t n);
  bool seal_out();
  void say_goodbye();
  void fail(Reason reason);
  void release();
  void tell_inner();

  Loop& loop_;
  std::unique_ptr<Transport> inner_;
  TransportEvents* events_;
  TlsContextRef context_;
  TlsSession* session_ = nullptr;
  ssl_st* ssl_ = nullptr;
  const uint8_t* input_ = nullptr;  // ciphertext that the BIO has not taken
  size_t input_bytes_ = 0;
  ByteChain held_{MemoryOwner::kInput};  // ciphertext that came while paused
  TlsInfo info_;
  const Reason broken_;             // the end without close_notify
  Reason failed_ = Reason::kNone;   // told at the flush
  State state_ = State::kHandshake;
  uint8_t paused_ = 0;
  bool sealed_ : 1 = false;         // the BIO wrote since tell_inner()
  bool resume_ : 1 = false;         // held input is worked on at the flush
  bool eof_ : 1 = false;
  bool fin_ : 1 = false;
  bool fin_sent_ : 1 = false;
  bool goodbye_ : 1 = false;        // close_notify was written
  bool renegotiation_ : 1 = false;  // the peer asked for it
};

}  // namespace dragoman
