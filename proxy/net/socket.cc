#include "proxy/net/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "proxy/net/transport.h"

namespace dragoman {
namespace {

constexpr int kIovecs = 64;

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK; }

void set_int(int fd, int level, int option, int value) {
  ::setsockopt(fd, level, option, &value, sizeof(value));
}

}  // namespace

IoResult send_chain(int fd, ByteChain& chain, LoopStats& stats) {
  IoResult result;
  while (!chain.empty()) {
    iovec pieces[kIovecs];
    const int count = chain.fill(pieces, kIovecs);
    size_t asked = 0;
    for (int i = 0; i < count; ++i) asked += pieces[i].iov_len;
    ssize_t n;
    do {
      ++stats.writes;
      if (count == 1) {
        n = ::send(fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
      } else {
        msghdr message{};
        message.msg_iov = pieces;
        message.msg_iovlen = static_cast<size_t>(count);
        n = ::sendmsg(fd, &message, MSG_NOSIGNAL);
      }
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
      if (!would_block(errno)) result.error = errno;
      return result;
    }
    chain.consume(static_cast<size_t>(n));
    result.bytes += static_cast<size_t>(n);
    if (static_cast<size_t>(n) < asked) return result;  // the send buffer is full
  }
  return result;
}

IoResult send_bytes(int fd, const uint8_t* data, size_t n, LoopStats& stats) {
  ssize_t sent;
  do {
    ++stats.writes;
    sent = ::send(fd, data, n, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) return {0, would_block(errno) ? 0 : errno};
  return {static_cast<size_t>(sent), 0};
}

bool send_first(int fd, std::string_view bytes) {
  if (bytes.empty()) return true;
  ssize_t sent;
  do {
    sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(bytes.size());
}

int take_socket_error(int fd) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

void set_keep_alive(int fd) {
  set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
  set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

void set_user_timeout(int fd, uint32_t ms) {
  if (ms != 0) set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(ms));
}

void set_no_delay(int fd) { set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1); }

void close_fd(int fd) {
  // Never retried: on Linux the descriptor is gone even when close() was interrupted.
  if (fd >= 0) ::close(fd);
}

}  // namespace dragoman
