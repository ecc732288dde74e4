// A descriptor's readiness, with the lifetime rules of libuv kept in one place.
#pragma once

#include <uv.h>

#include "proxy/net/loop_impl.h"

namespace dragoman {

/// Polls one fd for its owner. The uv handle lives in a heap shell that is freed in its close callback, so
/// closing and destroying are possible at any time, also inside the callback. Does not own the fd: close the
/// handle first, then the fd.
class PollHandle {
 public:
  /// `status` is 0, or negative when the fd has an error; then polling has stopped.
  using Callback = void (*)(void* owner, int status, int events);

  PollHandle() = default;
  PollHandle(const PollHandle&) = delete;
  PollHandle& operator=(const PollHandle&) = delete;
  ~PollHandle() { close(); }

  /// Returns 0 or a negative uv error. Counts as a live handle of the loop until the shell is freed.
  int open(Loop::Impl& loop, int fd, void* owner, Callback callback);
  bool is_open() const { return shell_ != nullptr; }
  /// Sets what to poll for: UV_READABLE, UV_WRITABLE, UV_DISCONNECT; 0 stops. Costs two epoll_ctl when it
  /// changes.
  void want(int events);
  void close();
  /// Takes over `other`'s handle for another owner.
  void take(PollHandle& other, void* owner, Callback callback);

  template <auto Method, class Owner>
  int open(Loop::Impl& loop, int fd, Owner* owner) {
    return open(loop, fd, owner, thunk<Method, Owner>());
  }
  template <auto Method, class Owner>
  void take(PollHandle& other, Owner* owner) {
    take(other, owner, thunk<Method, Owner>());
  }

  struct Shell {
    uv_poll_t poll;  // data = owner
    Callback callback;
    int events;
  };

  /// Tells, after a callback into foreign code, whether the handle still belongs to the owner it had. Valid
  /// as long as no libuv callback has returned in between, even when handle and owner are gone.
  class Guard {
   public:
    explicit Guard(const PollHandle& handle)
        : shell_(handle.shell_), owner_(shell_ ? shell_->poll.data : nullptr) {}
    bool gone() const { return !owner_ || shell_->poll.data != owner_; }

   private:
    const Shell* shell_;
    void* owner_;
  };

 private:
  template <auto Method, class Owner>
  static constexpr Callback thunk() {
    return [](void* owner, int status, int events) { (static_cast<Owner*>(owner)->*Method)(status, events); };
  }
  Shell* shell_ = nullptr;
};

}  // namespace dragoman
