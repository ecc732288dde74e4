#include "proxy/net/watch.h"

#include <uv.h>

#include "proxy/net/loop_impl.h"

namespace dragoman {
namespace {

constexpr uint64_t kSettleMs = 200;
constexpr uint64_t kPollMs = 2000;
constexpr uint64_t kMissingMs = 1000;   // between removing and writing a new one
constexpr uint64_t kUnknownMs = 1000;   // when nobody can say whether it is being written
constexpr uint64_t kWriterMs = 10'000;  // for a process that keeps it open

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

class UvFileWatch final : public FileWatch {
 public:
  UvFileWatch(Loop& loop, std::string path, const FileStamp& known, std::function<void()> fn)
      : loop_(loop), path_(std::move(path)), fn_(std::move(fn)), told_(known), seen_(known) {
    timer_.bind<&UvFileWatch::check>(loop.timers(), this);
    timer_.start(kSettleMs);
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
    const FileStamp now = FileStamp::of(path_);
    if (now != seen_) {
      seen_ = now;
      seen_ms_ = loop_.now_ms();
    }
    if (now == told_) return timer_.start(kPollMs);
    if (!is_whole()) return timer_.start(kSettleMs);
    timer_.start(kPollMs);
    told_ = now;
    const auto call = fn_;  // outlives the watch when it destroys it
    call();
  }

  /// Whether what was seen is what somebody meant to leave there.
  bool is_whole() const {
    const uint64_t same_ms = loop_.now_ms() - seen_ms_;
    if (!seen_.exists) return same_ms >= kMissingMs;
    if (same_ms < kSettleMs) return false;
    switch (writers_of(path_)) {
      case Writers::kNone: return true;
      case Writers::kSome: return same_ms >= kWriterMs;
      case Writers::kUnknown: return same_ms >= kUnknownMs;
    }
    return true;
  }

  Loop& loop_;
  const std::string path_;
  const std::function<void()> fn_;
  FileStamp told_;
  FileStamp seen_;  // and since when it looks so
  uint64_t seen_ms_ = 0;
  Timer timer_;
  uv_fs_event_t* event_ = nullptr;
};

}  // namespace

std::unique_ptr<SignalWatch> SignalWatch::create(Loop& loop, int signo, std::function<void()> fn) {
  return std::make_unique<UvSignalWatch>(loop, signo, std::move(fn));
}

std::unique_ptr<FileWatch> watch_file(Loop& loop, std::string path, const FileStamp& known,
                                      std::function<void()> fn) {
  return std::make_unique<UvFileWatch>(loop, std::move(path), known, std::move(fn));
}

std::unique_ptr<FileWatch> FileWatch::create(Loop& loop, std::string path, std::function<void()> fn) {
  const FileStamp now = FileStamp::of(path);
  return watch_file(loop, std::move(path), now, std::move(fn));
}

}  // namespace dragoman
