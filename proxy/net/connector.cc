#include <sys/socket.h>
#include <uv.h>

#include <cerrno>

#include "proxy/net/held_fds.h"
#include "proxy/net/loop_impl.h"
#include "proxy/net/poll_handle.h"
#include "proxy/net/socket.h"
#include "proxy/net/transport.h"

namespace dragoman {
namespace {

/// Out of descriptors, memory or ports of our own: says nothing about who was to be reached.
Reason reason_of(int error, int family) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS: return Reason::kOwnResources;
    case EAGAIN:  // no port is left; the backlog of a unix socket is full
      return family == AF_UNIX ? Reason::kConnectFailure : Reason::kOwnResources;
    case EADDRNOTAVAIL:  // no port is left, but also "::1" on a host without IPv6
      return family == AF_INET ? Reason::kOwnResources : Reason::kConnectFailure;
    case ETIMEDOUT: return Reason::kConnectTimeout;
    default: return Reason::kConnectFailure;
  }
}

class TcpConnector final : public Connector {
 public:
  TcpConnector(Loop& loop, const Address& to, uint64_t timeout_ms, ConnectEvents& events)
      : events_(events), to_(to) {
    timer_.bind<&TcpConnector::on_timeout>(loop.timers(), this);
    error_ = begin(loop);
    if (error_ != EINPROGRESS) {
      now_.schedule<&TcpConnector::finish>(loop.impl(), this);
    } else if (timeout_ms) {
      timer_.start(timeout_ms);
    }
  }
  ~TcpConnector() override {
    poll_.close();
    close_fd(fd_);
  }

 private:
  /// 0 = connected, EINPROGRESS = the poll handle tells, else failed.
  int begin(Loop& loop) {
    sockaddr_storage to;
    const socklen_t length = to_.fill(to);
    if (length == 0) return errno;
    if (!fds_are_held_back()) return EMFILE;
    fd_ = ::socket(to_.storage.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd_ < 0) return errno;
    set_keep_alive(fd_);
    int status;
    do {
      status = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), length);
    } while (status != 0 && errno == EINTR);
    if (status == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    if (const int error = poll_.open<&TcpConnector::on_poll>(loop.impl(), fd_, this)) return -error;
    poll_.want(UV_WRITABLE);
    return EINPROGRESS;
  }

  void on_poll(int status, int) {
    error_ = take_socket_error(fd_);
    if (status < 0 && error_ == 0) error_ = ECONNABORTED;
    finish();
  }

  void on_timeout() { give_up(Reason::kConnectTimeout, ETIMEDOUT); }

  void finish() {
    // A port of the ephemeral range that nobody listens on can be picked as our own: TCP then connects to
    // itself.
    if (error_ == 0 && !to_.is_unix() && bound_address(fd_) == to_) error_ = ECONNREFUSED;
    if (error_) {
      give_up(reason_of(error_, to_.storage.sa.sa_family), error_);
      return;
    }
    timer_.stop();
    poll_.close();
    const int fd = fd_;
    fd_ = -1;
    events_.on_connected(fd);  // may destroy this
  }

  void give_up(Reason reason, int error) {
    timer_.stop();
    poll_.close();
    close_fd(fd_);
    fd_ = -1;
    events_.on_connect_failed(reason, error);  // may destroy this
  }

  ConnectEvents& events_;
  const Address to_;
  int fd_ = -1;
  int error_ = 0;
  PollHandle poll_;
  Timer timer_;
  Deferred now_;
};

}  // namespace

std::unique_ptr<Connector> Connector::create(Loop& loop, const Address& to, uint64_t timeout_ms,
                                             ConnectEvents& events) {
  return std::make_unique<TcpConnector>(loop, to, timeout_ms, events);
}

}  // namespace dragoman
