#include "proxy/net/linger.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "proxy/net/socket.h"

namespace dragoman {
namespace {

constexpr uint64_t kFlushStallMs = 10'000;
constexpr size_t kDropBytesMax = 256 * 1024;

}  // namespace

void Linger::start(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t linger_ms) {
  auto* linger = new Linger(loop, fd, poll, out, eof, linger_ms);
  linger->flush();
}

Linger::Linger(Loop& loop, int fd, PollHandle& poll, ByteChain& out, bool eof, uint64_t linger_ms)
    : loop_(loop), fd_(fd), eof_(eof), linger_ms_(linger_ms) {
  out_.swap(out);
  poll_.take<&Linger::on_poll>(poll, this);
  timer_.bind<&Linger::on_timeout>(loop.timers(), this);
  timer_.start(loop.impl().stopping ? linger_ms_ : std::max(linger_ms_, kFlushStallMs));
  loop.impl().lingering.push_back(*this);
}

Linger::~Linger() {
  poll_.close();
  close_fd(fd_);
}

void Linger::cut_all(Loop::Impl& loop) {
  for (Linger* l = loop.lingering.front(); l; l = loop.lingering.next(*l)) l->timer_.start(l->linger_ms_);
}

void Linger::close_all(Loop::Impl& loop) {
  while (Linger* l = loop.lingering.front()) delete l;
}

void Linger::flush() {
  const IoResult sent = send_chain(fd_, out_, loop_.impl().stats);
  if (sent.error) {
    delete this;
    return;
  }
  if (!out_.empty()) {
    if (sent.bytes && !loop_.impl().stopping) timer_.start(std::max(linger_ms_, kFlushStallMs));
    watch();
    return;
  }
  if (!sent_fin_) {
    sent_fin_ = true;
    if (eof_ || ::shutdown(fd_, SHUT_WR) != 0) {
      delete this;  // close() sends the FIN; nothing is left to read, so no reset follows
      return;
    }
    if (!loop_.impl().stopping) timer_.start(linger_ms_);
  }
  watch();
}

void Linger::watch() { poll_.want((out_.empty() ? 0 : UV_WRITABLE) | (eof_ ? 0 : UV_READABLE)); }

void Linger::drop_input() {
  const ssize_t n = ::recv(fd_, loop_.scratch(), Loop::kScratchBytes, 0);
  if (n > 0) {
    dropped_ += static_cast<size_t>(n);
    if (dropped_ <= kDropBytesMax) return;
  } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    return;
  } else if (n == 0 && !out_.empty()) {
    eof_ = true;
    watch();
    return;
  }
  delete this;
}

void Linger::on_poll(int status, int events) {
  if (status < 0) {
    delete this;
    return;
  }
  if (events & UV_WRITABLE) {
    flush();  // may delete this
  } else if (events & UV_READABLE) {
    drop_input();
  }
}

}  // namespace dragoman
