#include <netinet/in.h>
#include <sys/socket.h>
#include <uv.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "proxy/net/held_fds.h"
#include "proxy/net/listen.h"
#include "proxy/net/loop_impl.h"
#include "proxy/net/poll_handle.h"
#include "proxy/net/socket.h"
#include "proxy/net/transport.h"

namespace dragoman {
namespace {

constexpr uint64_t kRetryMs = 100;
constexpr int kDrainMax = 65536;  // no backlog is larger

class TcpAcceptor final : public Acceptor {
 public:
  TcpAcceptor(Loop& loop, int fd, AcceptEvents& events, int per_turn)
      : loop_(loop), events_(events), per_turn_(per_turn), fd_(fd) {
    retry_.bind<&TcpAcceptor::on_retry>(loop.timers(), this);
    if (poll_.open<&TcpAcceptor::on_poll>(loop.impl(), fd, this) == 0) {
      update_interest();
    } else {
      retry_.start(kRetryMs);
    }
  }
  ~TcpAcceptor() override { close(); }

  void drain_and_close() override {
    if (poll_.is_open()) {
      const PollHandle::Guard guard(poll_);
      accept_up_to(kDrainMax);
      if (guard.gone()) return;
    }
    close();
  }
  void pause() override {
    paused_ = true;
    update_interest();
  }
  void resume() override {
    paused_ = false;
    update_interest();
  }
  void reserve(int n) override { hold_back_fds(n - std::exchange(reserve_, n)); }

 private:
  void on_poll(int, int) { accept_up_to(per_turn_); }

  void on_retry() {
    // Without descriptors even the poll handle may have failed.
    if (!poll_.is_open() && poll_.open<&TcpAcceptor::on_poll>(loop_.impl(), fd_, this) != 0) {
      retry_.start(kRetryMs);
      return;
    }
    update_interest();
  }

  void accept_up_to(int max) {
    const PollHandle::Guard guard(poll_);
    if (!fds_are_held_back() && reserve_ == 0) return put_off(EMFILE);
    for (int i = 0; i < max; ++i) {
      sockaddr_storage storage;
      socklen_t length = sizeof(storage);
      const int fd =
          ::accept4(fd_, reinterpret_cast<sockaddr*>(&storage), &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        ++loop_.impl().stats.accepts;
        events_.on_accept(fd, Address::from(reinterpret_cast<const sockaddr*>(&storage), length));
        if (guard.gone()) return;
        continue;
      }
      const int error = errno;
      switch (error) {
        case EAGAIN:
          return;
        case EINTR:
        case ECONNABORTED:
        // Linux passes pending network errors of the new socket (accept(2)): the next one may be fine.
        case ENETDOWN:
        case EPROTO:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case EOPNOTSUPP:
        case ENETUNREACH:
          continue;
        case EMFILE:
        case ENFILE:
          if (reserve_ != 0 && spend_held_fd()) continue;
          [[fallthrough]];
        default:  // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays queued, so polling on would spin
          return put_off(error);
      }
    }
    update_interest();  // after an error status the poll has stopped
  }

  void put_off(int error) {
    retry_.start(kRetryMs);
    update_interest();
    events_.on_accept_failed(error);
  }

  void update_interest() { poll_.want(paused_ || retry_.active() ? 0 : UV_READABLE); }

  void close() {
    retry_.stop();
    poll_.close();
    if (reserve_ != 0) hold_back_fds(-std::exchange(reserve_, 0));
    close_fd(fd_);
    fd_ = -1;
  }

  Loop& loop_;
  AcceptEvents& events_;
  const int per_turn_;
  int fd_;
  bool paused_ = false;
  int reserve_ = 0;
  PollHandle poll_;
  Timer retry_;
};

}  // namespace

std::unique_ptr<Acceptor> Acceptor::create(Loop& loop, int fd, AcceptEvents& events, int per_turn) {
  return std::make_unique<TcpAcceptor>(loop, fd, events, per_turn);
}

namespace {

enum class Sharing { kNone, kFromNowOn, kAtOnce };

Result<int> open_listener(const Address& address, int backlog, Sharing sharing) {
  int fd = -1;
  const auto fail = [&](const char* what) {
    const int error = errno;
    close_fd(fd);
    const char* who =
        error == EADDRINUSE && sharing == Sharing::kFromNowOn
            ? " (another socket listens there: of another process, perhaps a second one of this program)"
            : "";
    return unexpected(std::string(what) + " " + address.to_string() + ": " + std::strerror(error) + who);
  };
  sockaddr_storage at;
  const socklen_t length = address.fill(at);
  if (length == 0) return fail("can't listen on");
  fd = ::socket(address.storage.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return fail("can't create a socket for");
  const int on = 1;
  const auto share = [&] { return ::setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0; };
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (sharing == Sharing::kAtOnce && !share()) return fail("can't share the port of");
  // Whatever the system's default is (bindv6only).
  const int only = address.ipv6_only ? 1 : 0;
  if (address.storage.sa.sa_family == AF_INET6)
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
  set_keep_alive(fd);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&at), length) != 0) return fail("can't bind to");
  if (::listen(fd, backlog) != 0) return fail("can't listen on");
  if (sharing == Sharing::kFromNowOn && !share()) return fail("can't share the port of");
  return fd;
}

}  // namespace

Result<int> listen_socket(const Address& address, int backlog, bool reuse_port) {
  return open_listener(address, backlog, reuse_port ? Sharing::kAtOnce : Sharing::kNone);
}

Result<int> listen_first(const Address& address, int backlog) {
  return open_listener(address, backlog, Sharing::kFromNowOn);
}

}  // namespace dragoman
