#include "proxy/base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace dragoman {
namespace {

constexpr int kReadsMax = 3;  // of a file that changes meanwhile

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  explicit operator bool() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  const int fd_;
};

int64_t ns(const timespec& t) { return static_cast<int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec; }

FileStamp stamp_of(const struct stat& st) {
  return {true, st.st_dev, st.st_ino, st.st_size, ns(st.st_mtim), ns(st.st_ctim)};
}

std::string system_error(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

std::string size_text(size_t bytes) {
  return bytes % (1 << 20) == 0 ? std::to_string(bytes >> 20) + "MiB" : std::to_string(bytes >> 10) + "KiB";
}

Result<int> open_regular(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return unexpected(system_error("can't be opened"));
  if (!S_ISREG(st.st_mode)) return unexpected(std::string("is ") + kind_of(st.st_mode) + ", not a file");
  // Between stat and here it may have become a FIFO: that is opened, and read, without waiting.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return unexpected(system_error("can't be opened"));
  return fd;
}

}  // namespace

FileStamp FileStamp::of(const std::string& path) {
  struct stat st;
  if (::stat(path.c_str(), &st) != 0) return {};
  return stamp_of(st);
}

Result<std::string> read_file(const std::string& path, size_t bytes_max, FileStamp* stamp) {
  for (int i = 0; i < kReadsMax; ++i) {
    auto opened = open_regular(path);
    if (!opened) return unexpected(std::move(opened.error()));
    const Fd fd(*opened);
    struct stat st;
    if (fstat(fd.get(), &st) != 0) return unexpected(system_error("can't be read"));
    if (!S_ISREG(st.st_mode)) return unexpected(std::string("is ") + kind_of(st.st_mode) + ", not a file");
    const FileStamp before = stamp_of(st);
    std::string bytes;
    // Files of /proc say that they are empty.
    bytes.resize(std::min(std::max<size_t>(static_cast<size_t>(st.st_size), 4095), bytes_max) + 1);
    size_t at = 0;
    for (;;) {
      const ssize_t n = ::read(fd.get(), bytes.data() + at, bytes.size() - at);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return unexpected(system_error("can't be read"));
      if (n == 0) break;
      at += static_cast<size_t>(n);
      if (at > bytes_max) return unexpected("is larger than " + size_text(bytes_max));
      if (at == bytes.size()) bytes.resize(std::min(2 * at, bytes_max + 1));
    }
    bytes.resize(at);
    if (fstat(fd.get(), &st) != 0) return unexpected(system_error("can't be read"));
    const FileStamp after = stamp_of(st);
    if (after.size != before.size || after.modified_ns != before.modified_ns) continue;
    if (stamp) *stamp = before;
    return bytes;
  }
  return unexpected("changes while it is read");
}

Writers writers_of(const std::string& path) {
  auto opened = open_regular(path);
  if (!opened) return Writers::kUnknown;
  const Fd fd(*opened);
  // A read lease is given only when nobody writes. Whoever opens the file for writing while we have it makes the kernel send a
  // signal; SIGURG is one that nobody dies of.
  if (fcntl(fd.get(), F_SETSIG, SIGURG) != 0) return Writers::kUnknown;
  if (fcntl(fd.get(), F_SETLEASE, F_RDLCK) == 0) {
    fcntl(fd.get(), F_SETLEASE, F_UNLCK);
    return Writers::kNone;
  }
  return errno == EAGAIN ? Writers::kSome : Writers::kUnknown;
}

}  // namespace dragoman
