#include <sys/stat.h>
#include <uv.h>

#include "proxy/net/loop_impl.h"
#include "proxy/net/transport.h"

namespace dragoman {
namespace {

constexpr uint64_t kSettleMs = 200;
constexpr uint64_t kPollMs = 2000;

/// A uv handle in a heap shell: data is the owner, null once it has gone.
template <class Handle>
void close_shell(Handle*& handle) {
  if (!handle) return;
  handle->data = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(handle), [](uv_handle_t* h) {
    --Loop::Impl::of(h).live_handles;
    delete reinterpret_cast<Handle*>(h);
  });
  handle = nullptr;
}

class UvSignalWatch final : public SignalWatch {
 public:
  UvSignalWatch(Loop& loop, int signo, std::function<void()> fn) : fn_(std::move(fn)) {
    signal_ = new uv_signal_t;
    if (uv_signal_init(&loop.impl().uv, signal_) != 0) {
      delete signal_;
      signal_ = nullptr;
      return;
    }
    signal_->data = this;
    ++loop.impl().live_handles;
    uv_signal_start(
        signal_,
        [](uv_signal_t* h, int) {
          auto* self = static_cast<UvSignalWatch*>(h->data);
          if (!self) return;
          Loop::Impl::of(reinterpret_cast<uv_handle_t*>(h)).enter();
          const auto call = self->fn_;  // outlives the watch when it destroys it
          call();
        },
        signo);
  }
  ~UvSignalWatch() override { close_shell(signal_); }

 private:
  std::function<void()> fn_;
  uv_signal_t* signal_ = nullptr;
};

/// What makes a file another one than before.
struct Identity {
  bool exists = false;
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  timespec modified{};

  static Identity of(const std::string& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) != 0) return {};
    return {true, st.st_dev, st.st_ino, st.st_size, st.st_mtim};
  }
  bool operator==(const Identity& o) const {
    return exists == o.exists && device == o.device && inode == o.inode && size == o.size &&
           modified.tv_sec == o.modified.tv_sec && modified.tv_nsec == o.modified.tv_nsec;
  }
};

class UvFileWatch final : public FileWatch {
 public:
  UvFileWatch(Loop& loop, std::string path, std::function<void()> fn)
      : loop_(loop), path_(std::move(path)), fn_(std::move(fn)), seen_(Identity::of(path_)) {
    timer_.bind<&UvFileWatch::check>(loop.timers(), this);
    timer_.start(kPollMs);
    // The directory, not the file: files and ConfigMap links are replaced by renames in it.
    const size_t slash = path_.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path_.substr(0, slash ? slash : 1);
    event_ = new uv_fs_event_t;
    if (uv_fs_event_init(&loop.impl().uv, event_) != 0) {
      delete event_;
      event_ = nullptr;
      return;
    }
    event_->data = this;
    ++loop.impl().live_handles;
    // Failing (no such directory, no inotify watches left) leaves the slow timer.
    uv_fs_event_start(
        event_,
        [](uv_fs_event_t* h, const char*, int, int) {
          auto* self = static_cast<UvFileWatch*>(h->data);
          if (!self) return;
          Loop::Impl::of(reinterpret_cast<uv_handle_t*>(h)).enter();
          self->on_event();
        },
        directory.c_str(), 0);
  }
  ~UvFileWatch() override { close_shell(event_); }

 private:
  void on_event() {
    // Let the writer finish; a running countdown isn't pushed back, so a busy directory can't hold it off.
    if (timer_.expires_ms() > loop_.now_ms() + 2 * kSettleMs) timer_.start(kSettleMs);
  }

  void check() {
    timer_.start(kPollMs);
    const Identity now = Identity::of(path_);
    if (!now.exists || now == seen_) return;
    seen_ = now;
    const auto call = fn_;  // outlives the watch when it destroys it
    call();
  }

  Loop& loop_;
  const std::string path_;
  const std::function<void()> fn_;
  Identity seen_;
  Timer timer_;
  uv_fs_event_t* event_ = nullptr;
};

}  // namespace

std::unique_ptr<SignalWatch> SignalWatch::create(Loop& loop, int signo, std::function<void()> fn) {
  return std::make_unique<UvSignalWatch>(loop, signo, std::move(fn));
}

std::unique_ptr<FileWatch> FileWatch::create(Loop& loop, std::string path, std::function<void()> fn) {
  return std::make_unique<UvFileWatch>(loop, std::move(path), std::move(fn));
}

}  // namespace dragoman
