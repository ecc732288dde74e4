#include "proxy/observe/log_file.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace dragoman {
namespace {

constexpr int kPollMs = 50;

bool retry_later() { return errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK; }

}  // namespace

int64_t monotonic_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

Result<void> LogFile::check(const std::string& path) {
  if (path == "/dev/stdout" || path == "/dev/stderr") return {};
  const auto refuse = [&](const char* why) { return unexpected("can't open " + path + ": " + why); };
  struct stat status;
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) return refuse(strerror(errno));
    const size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
    if (path.ends_with('/')) return refuse("it is a folder");
    // A dangling link is where the file will be, if its own folder is there: only open() knows.
    if (access(folder.c_str(), W_OK | X_OK) != 0) return refuse(strerror(errno));
    return {};
  }
  if (S_ISDIR(status.st_mode)) return refuse("it is a folder");
  if (S_ISSOCK(status.st_mode)) return refuse("it is a socket");
  if (S_ISBLK(status.st_mode)) return refuse("it is a disk");
  if (access(path.c_str(), W_OK) != 0) return refuse(strerror(errno));
  return {};
}

Result<std::unique_ptr<LogFile>> LogFile::open(const std::string& path) {
  if (auto checked = check(path); !checked) return unexpected(std::move(checked.error()));
  int fd;
  if (path == "/dev/stdout" || path == "/dev/stderr") {
    fd = fcntl(path == "/dev/stdout" ? STDOUT_FILENO : STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
  } else {
    // O_NONBLOCK: opening a FIFO that nobody reads fails instead of waiting.
    fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
  }
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) {
    std::string why = "can't open " + path + ": " + strerror(errno);
    if (fd >= 0) close(fd);
    return unexpected(std::move(why));
  }
  const bool direct = S_ISREG(status.st_mode) || (S_ISCHR(status.st_mode) && !isatty(fd));
  return std::unique_ptr<LogFile>(new LogFile(fd, direct));
}

LogFile::~LogFile() { close(fd_); }

bool LogFile::wait_writable(const std::atomic<int64_t>& deadline_ms) {
  for (;;) {
    const bool late = monotonic_ms() >= deadline_ms.load(std::memory_order_relaxed);
    pollfd entry{fd_, POLLOUT, 0};
    if (poll(&entry, 1, late ? 0 : kPollMs) > 0) return true;  // errors too: the write reports them
    if (late) return false;
  }
}

void LogFile::advance(std::span<iovec> pieces, size_t n) {
  for (iovec& piece : pieces) {
    const size_t taken = std::min(n, piece.iov_len);
    if (taken == 0) continue;
    last_ = static_cast<const char*>(piece.iov_base)[taken - 1];
    piece.iov_base = static_cast<char*>(piece.iov_base) + taken;
    piece.iov_len -= taken;
    n -= taken;
  }
}

bool LogFile::write_piece(iovec& piece, const std::atomic<int64_t>& deadline_ms) {
  while (piece.iov_len > 0) {
    // After POLLOUT a pipe takes PIPE_BUF bytes without blocking, even when the descriptor is a blocking one.
    if (!direct_ && !wait_writable(deadline_ms)) return false;
    const size_t length = direct_ ? piece.iov_len : std::min<size_t>(piece.iov_len, PIPE_BUF);
    const ssize_t n = ::write(fd_, piece.iov_base, length);
    if (n < 0) {
      if (!retry_later()) return false;
      if (monotonic_ms() >= deadline_ms.load(std::memory_order_relaxed)) return false;
      continue;
    }
    advance({&piece, 1}, static_cast<size_t>(n));
  }
  return true;
}

size_t LogFile::write(std::span<iovec> pieces, const std::atomic<int64_t>& deadline_ms) {
  bool ok = true;
  if (last_ != '\n') {
    char newline = '\n';
    iovec end{&newline, 1};
    ok = write_piece(end, deadline_ms);
  }
  if (ok && direct_ && pieces.size() > 1) {
    const int count = static_cast<int>(std::min<size_t>(pieces.size(), IOV_MAX));
    const ssize_t n = writev(fd_, pieces.data(), count);
    if (n > 0) advance(pieces, static_cast<size_t>(n));
  }
  size_t lost = 0;
  for (iovec& piece : pieces) {
    if (ok && write_piece(piece, deadline_ms)) continue;
    ok = false;
    const char* bytes = static_cast<const char*>(piece.iov_base);
    lost += static_cast<size_t>(std::count(bytes, bytes + piece.iov_len, '\n'));
  }
  return lost;
}

}  // namespace dragoman
