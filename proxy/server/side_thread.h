// A thread beside the loops for work that would hold one up.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace dragoman {

/// Does one piece of work after the other, in the order they were given.
class SideThread {
 public:
  /// Starts the thread; std::system_error when there is none.
  explicit SideThread(const char* name);
  ~SideThread() { end(); }
  SideThread(const SideThread&) = delete;
  SideThread& operator=(const SideThread&) = delete;

  /// Any thread. After end() the work is dropped instead.
  void run(std::function<void()> work);
  /// Waits until everything is done that was given before.
  void wait();
  /// Does what was given before, and ends the thread.
  void end();

 private:
  void work();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> given_;
  bool busy_ = false;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace dragoman
