#include "proxy/net/held_fds.h"

#include <sys/eventfd.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "proxy/net/transport.h"

namespace dragoman {
namespace {

constinit std::atomic<int> missing{0};

struct Held {
  std::mutex mutex;
  size_t wanted = 0;
  std::vector<int> fds;

  void fill() {
    while (fds.size() < wanted) {
      const int fd = ::eventfd(0, EFD_CLOEXEC);
      if (fd < 0) break;
      fds.push_back(fd);
    }
    for (; fds.size() > wanted; fds.pop_back()) close_fd(fds.back());
    missing.store(static_cast<int>(wanted - fds.size()), std::memory_order_relaxed);
  }
};

Held& held() {
  static Held all;
  return all;
}

}  // namespace

void hold_back_fds(int n) {
  Held& h = held();
  const std::lock_guard lock(h.mutex);
  h.wanted = static_cast<size_t>(static_cast<int>(h.wanted) + n);
  h.fds.reserve(h.wanted);
  h.fill();
}

bool fds_are_held_back() {
  if (missing.load(std::memory_order_relaxed) == 0) return true;
  Held& h = held();
  const std::lock_guard lock(h.mutex);
  h.fill();
  return h.fds.size() == h.wanted;
}

bool spend_held_fd() {
  Held& h = held();
  const std::lock_guard lock(h.mutex);
  if (h.fds.empty()) return false;
  close_fd(h.fds.back());
  h.fds.pop_back();
  missing.store(static_cast<int>(h.wanted - h.fds.size()), std::memory_order_relaxed);
  return true;
}

}  // namespace dragoman
