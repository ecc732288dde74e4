// A descriptor that closes unless somebody takes it: for the way from accept() or connect() to its owner, which may lack memory.
#pragma once

#include <unistd.h>

#include <utility>

namespace dragoman {

class OwnedFd {
 public:
  explicit OwnedFd(int fd) : fd_(fd) {}
  OwnedFd(const OwnedFd&) = delete;
  OwnedFd& operator=(const OwnedFd&) = delete;
  ~OwnedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int take() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace dragoman
