// The file under a log: whole lines appended by one thread, replaced when the path is opened again.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "proxy/base/result.h"

namespace dragoman {

/// CLOCK_MONOTONIC, milliseconds.
int64_t monotonic_ms();
/// Blocks every signal for the calling thread, so that a background thread neither handles one nor dies of
/// SIGPIPE.
void block_signals();

class LogFile {
 public:
  /// Appends to `path`, made with mode 0640. /dev/stdout and /dev/stderr are the inherited descriptors, also
  /// when those are sockets. A FIFO needs a reader; folders, sockets and disks are refused. Error: "can't open PATH: why".
  static Result<std::unique_ptr<LogFile>> open(const std::string& path);
  /// Whether open() would do, as far as that can be told without making or opening anything.
  static Result<void> check(const std::string& path);
  ~LogFile();
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  /// Writes all bytes of `pieces` (changed on the way), which end with a newline. Waits for a slow reader,
  /// until monotonic_ms() passes *deadline_ms, which another thread may lower meanwhile. Returns how many
  /// lines were lost. A line that was cut by a failure is closed before the next one.
  size_t write(std::span<iovec> pieces, const std::atomic<int64_t>& deadline_ms);

 private:
  LogFile(int fd, bool direct) : fd_(fd), direct_(direct) {}
  bool wait_writable(const std::atomic<int64_t>& deadline_ms);
  bool write_piece(iovec& piece, const std::atomic<int64_t>& deadline_ms);
  void advance(std::span<iovec> pieces, size_t n);

  const int fd_;
  const bool direct_;  // a write can't wait for a reader
  char last_ = '\n';   // last byte written
};

}  // namespace dragoman
