#include "proxy/net/transport.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <memory>
#include <new>

#include "proxy/base/memory_reserve.h"
#include "proxy/base/owned_fd.h"
#include "proxy/net/linger.h"
#include "proxy/net/loop_impl.h"
#include "proxy/net/poll_handle.h"
#include "proxy/net/socket.h"

namespace dragoman {
namespace {

/// A broken connection is read to its end, but not for ever.
constexpr size_t kLastBytesMax = 8 * 1024 * 1024;

class TcpTransport final : public Transport {
 public:
  TcpTransport(Loop& loop, int fd, TransportEvents& events, SharedTransportOptions options);
  ~TcpTransport() override { TcpTransport::close(false); }

  void pause_read(PauseReason reason) override { paused_ |= reason; }
  void resume_read(PauseReason reason) override;
  void finish() override;
  void close(bool abort) override;
  void close_after_flush(uint64_t linger_ms) override;
  bool closed() const override { return fd_ < 0; }
  bool unread() const override;
  size_t in_flight() const override;
  void set_events(TransportEvents& events) override { events_ = &events; }
  const Address& peer() const override { return peer_; }
  void set_ends(const Address& peer, const Address& local) override {
    peer_ = peer;
    local_ = std::make_unique<Address>(local);
  }
  const Address& local() const override;
  void flush() override;
  void flush_now();

 protected:
  void on_dirty() override;
  void write_large(const uint8_t* data, size_t n) override;

 private:
  enum class ReadEnd : uint8_t {
    kOpen,    // nothing more for now
    kPaused,  // by a reason bit, or the budget is used up
    kEof,
    kError,
    kGone,  // closed or destroyed in a callback: touch nothing
  };
  /// Reads and delivers until a short read, or, when `to_the_end`, until the socket is empty.
  ReadEnd read(size_t budget, bool to_the_end);
  void on_poll(int status, int events);
  void take_poll(int status, int events);
  /// Runs an event. Who has no memory for it loses this connection, whose owner may have been in the midst of something.
  template <class Event>
  void guarded(Event&& event);
  void on_poll_error();
  void on_eof();
  bool write_out();
  void report_watermark();
  /// Sending failed: delivers what the peer had sent before, then closes with on_closed.
  void write_failed();
  void fail();
  void update_interest();
  void release();
  void wrote_bytes(size_t n);

  // The small ones first: they stand where the base class leaves room.
  uint8_t paused_ = 0;         // PauseReason bits
  bool read_off_ : 1 = false;  // data came while paused: not polling for it
  bool hang_up_ : 1 = false;   // the peer's FIN came while paused
  bool eof_ : 1 = false;
  bool write_wait_ : 1 = false;  // the send buffer is full: polling for room
  bool fin_ : 1 = false;         // finish() was called
  bool fin_sent_ : 1 = false;
  bool failed_ : 1 = false;  // an error inside an owner's call, told at the flush
  int fd_;
  Loop& loop_;
  TransportEvents* events_;
  PollHandle poll_;
  mutable std::unique_ptr<Address> local_;
  SharedTransportOptions options_;
  Address peer_;
};
static_assert(sizeof(TcpTransport) <= 192, "each idle connection has one: a size class of the allocator");

TcpTransport::TcpTransport(Loop& loop, int fd, TransportEvents& events, SharedTransportOptions options)
    : fd_(fd), loop_(loop), events_(&events), options_(std::move(options)) {
  peer_ = peer_address(fd);
  set_no_delay(fd);
  last_read_ms_ = last_write_ms_ = loop.now_ms();
  if (poll_.open<&TcpTransport::on_poll>(loop.impl(), fd, this) == 0) {
    update_interest();
  } else {
    failed_ = true;
    wrote();
  }
}

const Address& TcpTransport::local() const {
  if (!local_) local_ = std::make_unique<Address>(fd_ < 0 ? Address{} : bound_address(fd_));
  return *local_;
}

// --- reading ---

bool TcpTransport::unread() const {
  uint8_t byte;
  return fd_ >= 0 && ::recv(fd_, &byte, 1, MSG_PEEK) > 0;
}

size_t TcpTransport::in_flight() const {
  int bytes = 0;
  return fd_ >= 0 && ::ioctl(fd_, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<size_t>(bytes) : 0;
}

void TcpTransport::resume_read(PauseReason reason) {
  paused_ &= static_cast<uint8_t>(~reason);
  if (paused_ || !read_off_) return;
  read_off_ = false;
  update_interest();
}

void TcpTransport::update_interest() {
  int events = write_wait_ ? UV_WRITABLE : 0;
  if (!eof_) {
    if (!read_off_) {
      events |= UV_READABLE;
    } else if (!hang_up_) {
      events |= UV_DISCONNECT;  // keeps the fd polled, so that a reset is noticed while paused
    }
  }
  poll_.want(events);
}

TcpTransport::ReadEnd TcpTransport::read(size_t budget, bool to_the_end) {
  const PollHandle::Guard guard(poll_);
  uint8_t* const scratch = loop_.scratch();
  size_t used = 0;
  for (;;) {
    ++loop_.impl().stats.reads;
    const ssize_t n = ::recv(fd_, scratch, Loop::kScratchBytes, 0);
    if (n == 0) return ReadEnd::kEof;
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno == EAGAIN || errno == EWOULDBLOCK ? ReadEnd::kOpen : ReadEnd::kError;
    }
    const size_t bytes = static_cast<size_t>(n);
    used += bytes;
    bytes_read_ += bytes;
    last_read_ms_ = loop_.now_ms();
    events_->on_data(scratch, bytes);
    if (guard.gone()) return ReadEnd::kGone;
    if (paused_) return ReadEnd::kPaused;
    if (bytes < Loop::kScratchBytes && !to_the_end) return ReadEnd::kOpen;
    if (used >= budget) return ReadEnd::kPaused;
  }
}

template <class Event>
void TcpTransport::guarded(Event&& event) {
  const int fd = fd_;
  const PollHandle::Guard guard(poll_);
  try {
    event();
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    if (guard.gone() || fd_ != fd) return;  // closed or given away on the way
    close(false);
    events_->on_closed(Reason::kOwnResources);
  }
}

void TcpTransport::on_poll(int status, int events) {
  guarded([=, this] { take_poll(status, events); });
}

void TcpTransport::take_poll(int status, int events) {
  if (status < 0) {
    on_poll_error();
    return;
  }
  if (events & UV_WRITABLE) {
    const PollHandle::Guard guard(poll_);
    write_wait_ = false;
    const bool open = write_out();
    if (!open || guard.gone()) return;
  }
  if (eof_) return;
  if (paused_) {
    if (events & UV_READABLE) read_off_ = true;
    if (events & UV_DISCONNECT) hang_up_ = true;
    update_interest();
    uint8_t byte;
    if ((events & UV_DISCONNECT) && ::recv(fd_, &byte, 1, MSG_PEEK) == 0) events_->on_peer_left();
  } else if (events & (UV_READABLE | UV_DISCONNECT)) {
    const ReadEnd end = read(options_->read_budget_bytes, false);
    if (end == ReadEnd::kEof) {
      on_eof();
    } else if (end == ReadEnd::kError) {
      fail();
    }
  }
}

void TcpTransport::on_eof() {
  eof_ = true;
  const PollHandle::Guard guard(poll_);
  events_->on_eof();
  if (!guard.gone()) update_interest();
}

// The socket has an error, or its error was taken by a send. Polling has stopped.
void TcpTransport::on_poll_error() {
  if (!eof_ && paused_) {
    // What was received before the error can still be read after resume_read(), unless output is lost anyway.
    if (!write_wait_ && unread()) {
      read_off_ = hang_up_ = true;
      update_interest();
    } else {
      fail();
    }
    return;
  }
  if (!eof_) {
    const PollHandle::Guard guard(poll_);
    const ReadEnd end = read(options_->read_budget_bytes, true);
    if (end == ReadEnd::kGone) return;
    if (end == ReadEnd::kPaused) {
      update_interest();  // comes back here
      return;
    }
    if (end == ReadEnd::kEof) {
      on_eof();
      if (guard.gone()) return;
    } else if (end == ReadEnd::kOpen && take_socket_error(fd_) == 0) {
      update_interest();
      return;
    }
  }
  fail();
}

// --- writing ---

void TcpTransport::on_dirty() {
  if (fd_ < 0) {
    out.clear();
    dirty_ = false;
    return;
  }
  if (!write_wait_) last_write_ms_ = loop_.now_ms();
  loop_.flush_later(*this);
}

void TcpTransport::wrote_bytes(size_t n) {
  if (!n) return;
  bytes_written_ += n;
  last_write_ms_ = loop_.now_ms();
}

void TcpTransport::write_large(const uint8_t* data, size_t n) {
  if (fd_ < 0) return;
  if (out.empty() && !write_wait_ && !failed_ && !fin_sent_) {
    const IoResult sent = send_bytes(fd_, data, n, loop_.impl().stats);
    wrote_bytes(sent.bytes);
    if (sent.error) {
      failed_ = true;
    } else if (sent.bytes == n) {
      return;
    } else {
      data += sent.bytes;
      n -= sent.bytes;
      write_wait_ = true;
      update_interest();
    }
  }
  if (!failed_) out.append(data, n);
  wrote();
}

void TcpTransport::flush() {
  guarded([this] { flush_now(); });
}

void TcpTransport::flush_now() {
  dirty_ = false;
  if (fd_ < 0) return;
  if (failed_) {
    write_failed();
  } else if (write_wait_) {
    report_watermark();
  } else {
    write_out();
  }
}

/// False when the transport failed on the way.
bool TcpTransport::write_out() {
  if (room_wanted_ && !fin_sent_) {
    const PollHandle::Guard guard(poll_);
    report_watermark();
    if (guard.gone()) return false;
  }
  if (fin_sent_) {
    out.clear();  // written after finish()
  } else if (!out.empty()) {
    const IoResult sent = send_chain(fd_, out, loop_.impl().stats);
    wrote_bytes(sent.bytes);
    if (sent.error) {
      write_failed();
      return false;
    }
  }
  write_wait_ = !out.empty();
  if (out.empty() && fin_ && !fin_sent_) {
    fin_sent_ = true;
    ::shutdown(fd_, SHUT_WR);  // an error here shows up in reading
  }
  update_interest();
  report_watermark();
  return true;
}

void TcpTransport::report_watermark() {
  if (!blocked_ && (room_wanted_ || out.size() > options_->high_bytes)) {
    room_wanted_ = false;
    blocked_ = true;
    events_->on_write_blocked(true);
  } else if (blocked_ && out.size() <= options_->low_bytes) {
    blocked_ = false;
    events_->on_write_blocked(false);
  }
}

void TcpTransport::write_failed() {
  out.clear();
  write_wait_ = false;
  failed_ = true;
  // The peer may have answered before it hung up (an early refusal, say). The end that follows is no orderly
  // one: once the send took the socket's error, a read only says 0, so on_eof would be a lie.
  if (!eof_ && !paused_ && poll_.is_open() && read(kLastBytesMax, true) == ReadEnd::kGone) return;
  fail();
}

void TcpTransport::finish() {
  if (fd_ < 0 || fin_) return;
  fin_ = true;
  wrote();
}

// --- closing ---

/// Everything but the fd and the poll handle.
void TcpTransport::release() {
  fd_ = -1;
  out.clear();
  blocked_ = false;
  dirty_ = false;
  ListLink<Transport>::unlink();
}

void TcpTransport::close(bool abort) {
  if (fd_ < 0) return;
  if (abort) {
    const linger reset{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
  }
  poll_.close();
  close_fd(fd_);
  release();
}

void TcpTransport::close_after_flush(uint64_t linger_ms) {
  if (fd_ < 0) return;
  if (failed_ || !poll_.is_open()) {
    close(false);
    return;
  }
  try {
    Linger::start(loop_, fd_, poll_, out, eof_, linger_ms, options_->linger);
  } catch (const std::bad_alloc&) {
    note_memory_shed(MemoryShed::kConnection);
    return close(false);
  }
  release();
}

void TcpTransport::fail() {
  close(false);
  events_->on_closed(options_->broken);
}

}  // namespace

std::unique_ptr<Transport> Transport::adopt(Loop& loop, int fd, TransportEvents& events,
                                            SharedTransportOptions options) {
  OwnedFd owned(fd);
  auto transport = std::make_unique<TcpTransport>(loop, fd, events, std::move(options));
  static_cast<void>(owned.take());
  return transport;
}

}  // namespace dragoman
