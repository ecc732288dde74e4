// The process's diagnostics log: takes the lines of proxy/base/log.h, writes them from one background thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "proxy/base/log.h"
#include "proxy/base/result.h"

namespace dragoman {

enum class LogFormat : uint8_t { kText, kJson };

struct DiagnosticLogOptions {
  LogFormat format = LogFormat::kText;
  std::string path = "/dev/stderr";  // /dev/stdout and /dev/stderr mean the inherited descriptors
  size_t queue_lines = 1024;         // a full queue loses its oldest lines, counted by dropped()
};

/// While it lives it is the sink of DRAGOMAN_LOG. The caller never waits for the disk. One at a time.
/// Thread-safe.
class DiagnosticLog {
 public:
  /// Opens the file (append, mode 0640) and starts the thread. Error: why the file can't be opened.
  static Result<std::unique_ptr<DiagnosticLog>> open(const DiagnosticLogOptions& options);
  /// Writes what is queued, then restores the standard-error sink.
  ~DiagnosticLog();
  DiagnosticLog(const DiagnosticLog&) = delete;
  DiagnosticLog& operator=(const DiagnosticLog&) = delete;

  /// Opens the path again (log rotation). On error the old file stays in use.
  Result<void> reopen();
  /// Lines lost to a full queue or a failed write.
  uint64_t dropped() const;

 private:
  struct State;
  explicit DiagnosticLog(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

/// One line with its newline, as DiagnosticLog writes it:
///   text  2026-01-31T12:00:00.123456Z info server: message      (control characters, backslash escaped)
///   json  {"time":"2026-01-31T12:00:00.123456Z","level":"info","component":"server","message":"..."}
/// `time_us`: wall clock, microseconds since 1970.
std::string format_log_line(LogFormat format, int64_t time_us, LogLevel level, std::string_view component,
                            std::string_view message);

}  // namespace dragoman
