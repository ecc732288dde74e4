#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "proxy/net/listen.h"

namespace dragoman {
namespace {

bool is_abstract(const Address& address) { return address.name->front() == '@'; }

/// Whether a process listens there. A full backlog says so as well as an accepted connection.
bool someone_listens(const sockaddr_storage& at, socklen_t length) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return true;  // nobody knows
  const bool refused = ::connect(fd, reinterpret_cast<const sockaddr*>(&at), length) != 0 &&
                       (errno == ECONNREFUSED || errno == ENOENT);
  close_fd(fd);
  return !refused;
}

}  // namespace

Result<std::shared_ptr<UnixListener>> UnixListener::open(const Address& address, int backlog, uint32_t mode,
                                                         bool take_over) {
  int fd = -1;
  const auto fail = [&](const std::string& why) {
    close_fd(fd);
    return unexpected("can't listen on " + address.to_string() + ": " + why);
  };
  const auto failed = [&] { return fail(std::strerror(errno)); };
  sockaddr_storage at;
  const socklen_t length = address.fill(at);
  if (length == 0) return failed();
  fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return failed();
  const char* path = address.name->c_str();
  const bool abstract = is_abstract(address);
  struct stat file;
  if (!abstract && ::lstat(path, &file) == 0) {
    if (!S_ISSOCK(file.st_mode)) return fail("a file is there that is no socket");
    if (!take_over && someone_listens(at, length))
      return fail("address in use: a process listens there, perhaps a second one of this program");
    if (::unlink(path) != 0 && errno != ENOENT) return failed();
  }
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&at), length) != 0) {
    if (errno == EADDRINUSE)
      return fail("address in use: a process listens there, perhaps a second one of this program");
    return failed();
  }
  std::shared_ptr<UnixListener> listener(new UnixListener(fd, address));
  fd = -1;
  if (!abstract && ::lstat(path, &file) == 0) {
    listener->device_ = file.st_dev;
    listener->inode_ = file.st_ino;
  }
  // The mode first: before listen() nobody gets in.
  if (auto adjusted = listener->adjust(backlog, mode); !adjusted) return fail(adjusted.error());
  return listener;
}

UnixListener::~UnixListener() {
  close_fd(fd_);
  struct stat file;
  if (inode_ == 0 || ::lstat(address_.name->c_str(), &file) != 0) return;
  if (file.st_dev == device_ && file.st_ino == inode_) ::unlink(address_.name->c_str());
}

int UnixListener::duplicate() const { return ::fcntl(fd_, F_DUPFD_CLOEXEC, 0); }

Result<void> UnixListener::adjust(int backlog, uint32_t mode) {
  if (mode != 0 && inode_ != 0 && ::chmod(address_.name->c_str(), mode) != 0)
    return unexpected(std::string("can't set the mode: ") + std::strerror(errno));
  if (::listen(fd_, backlog) != 0) return unexpected(std::string(std::strerror(errno)));
  return {};
}

}  // namespace dragoman
