#include "proxy/net/poll_handle.h"

#include <new>

#include "proxy/base/memory_reserve.h"

namespace dragoman {
namespace {

void on_poll(uv_poll_t* poll, int status, int events) {
  auto* shell = reinterpret_cast<PollHandle::Shell*>(poll);
  if (!poll->data) return;
  Loop::Impl::of(reinterpret_cast<uv_handle_t*>(poll)).enter();
  if (status < 0) shell->events = 0;  // libuv stopped the handle
  try {
    shell->callback(poll->data, status, events);
  } catch (const std::bad_alloc&) {  // libuv's frames are below
    note_memory_shed(MemoryShed::kControl);
  }
}

}  // namespace

int PollHandle::open(Loop::Impl& loop, int fd, void* owner, Callback callback) {
  close();
  Shell* shell = nullptr;
  try {
    shell = new Shell;
  } catch (const std::bad_alloc&) {
    return UV_ENOMEM;
  }
  if (int error = uv_poll_init(&loop.uv, &shell->poll, fd)) {
    delete shell;
    return error;
  }
  shell->poll.data = owner;
  shell->callback = callback;
  shell->events = 0;
  shell_ = shell;
  ++loop.live_handles;
  return 0;
}

void PollHandle::want(int events) {
  if (!shell_ || shell_->events == events) return;
  shell_->events = events;
  ++Loop::Impl::of(reinterpret_cast<uv_handle_t*>(&shell_->poll)).stats.poll_changes;
  if (events) {
    uv_poll_start(&shell_->poll, events, on_poll);
  } else {
    uv_poll_stop(&shell_->poll);
  }
}

void PollHandle::close() {
  if (!shell_) return;
  Shell* shell = shell_;
  shell_ = nullptr;
  shell->poll.data = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&shell->poll), [](uv_handle_t* handle) {
    --Loop::Impl::of(handle).live_handles;
    delete reinterpret_cast<Shell*>(handle);
  });
}

void PollHandle::take(PollHandle& other, void* owner, Callback callback) {
  close();
  shell_ = other.shell_;
  other.shell_ = nullptr;
  if (!shell_) return;
  shell_->poll.data = owner;
  shell_->callback = callback;
}

}  // namespace dragoman
