#include "proxy/server/side_thread.h"

#include <pthread.h>

#include <new>
#include <utility>

#include "proxy/base/memory_reserve.h"
#include "proxy/base/thread_start.h"
#include "proxy/observe/log_file.h"

namespace dragoman {

SideThread::SideThread(const char* name)
    : thread_([this, name] {
        pthread_setname_np(pthread_self(), name);
        AtThreadStart::run();
        block_signals();
        work();
      }) {}

void SideThread::run(std::function<void()> work) {
  std::lock_guard lock(mutex_);
  if (ending_) return;
  given_.push_back(std::move(work));
  changed_.notify_all();
}

void SideThread::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return given_.empty() && !busy_; });
}

void SideThread::end() {
  {
    std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void SideThread::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return ending_ || !given_.empty(); });
    if (given_.empty()) return;
    std::function<void()> next = std::move(given_.front());
    given_.pop_front();
    busy_ = true;
    lock.unlock();
    try {
      next();
    } catch (const std::bad_alloc&) {
      note_memory_shed(MemoryShed::kControl);
    }
    next = nullptr;  // what it held dies here
    lock.lock();
    busy_ = false;
    if (given_.empty()) changed_.notify_all();
  }
}

}  // namespace dragoman
