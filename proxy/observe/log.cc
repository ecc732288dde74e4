// The only translation unit that includes spdlog: its bounded queue and background thread carry finished
// lines.
#include "proxy/observe/log.h"

#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/sinks/base_sink.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <limits>
#include <mutex>

#include "proxy/observe/log_file.h"
#include "proxy/observe/log_text.h"

namespace dragoman {
namespace {

constexpr int64_t kCloseGraceMs = 1000;

class FileSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit FileSink(std::unique_ptr<LogFile> file) : file_(std::move(file)) {}
  ~FileSink() override { delete next_.load(); }

  /// The background thread takes it with the next line.
  void replace(std::unique_ptr<LogFile> file) { delete next_.exchange(file.release()); }
  void give_up_after(int64_t deadline_ms) { deadline_ms_.store(deadline_ms); }
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    if (LogFile* next = next_.exchange(nullptr)) file_.reset(next);
    iovec line{const_cast<char*>(message.payload.data()), message.payload.size()};
    lost_.fetch_add(file_->write({&line, 1}, deadline_ms_), std::memory_order_relaxed);
  }
  void flush_() override {}

  std::unique_ptr<LogFile> file_;
  std::atomic<LogFile*> next_{nullptr};
  std::atomic<int64_t> deadline_ms_{std::numeric_limits<int64_t>::max()};
  std::atomic<uint64_t> lost_{0};
};

int64_t wall_us() {
  using namespace std::chrono;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

/// Messages are our own text, so quotes and valid UTF-8 stay readable; what could forge or hide a line is
/// escaped.
void append_message(std::string_view message, std::string& out) {
  for (size_t i = 0; i < message.size();) {
    const auto byte = static_cast<uint8_t>(message[i]);
    const size_t length = log_text::utf8_length(message.substr(i));
    const bool c1_control = length == 2 && byte == 0xc2 && static_cast<uint8_t>(message[i + 1]) < 0xa0;
    if (byte == '\\' || byte < 0x20 || byte == 0x7f || length == 0 || c1_control) {
      constexpr char kHex[] = "0123456789abcdef";
      if (byte == '\\') {
        out += "\\\\";
      } else {
        out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      }
      ++i;
    } else {
      out += message.substr(i, length);
      i += length;
    }
  }
}

void append_json_string(std::string_view value, std::string& out) {
  const size_t max = value.size() * log_text::kJsonEscapeBytesMax;
  const size_t before = out.size();
  out.resize(before + max + log_text::kCut.size());
  char* end = log_text::append_json(value, max, out.data() + before);
  out.resize(static_cast<size_t>(end - out.data()));
}

}  // namespace

std::string format_log_line(LogFormat format, int64_t time_us, LogLevel level, std::string_view component,
                            std::string_view message) {
  int64_t second = time_us / 1000000;
  int64_t fraction = time_us % 1000000;
  if (fraction < 0) fraction += 1000000, --second;
  char time[log_text::kSecondBytes + 8];
  char* end = log_text::append_second(second, time);
  *end++ = '.';
  end = log_text::append_padded(static_cast<uint64_t>(fraction), 6, end);
  *end++ = 'Z';
  const std::string_view stamp(time, static_cast<size_t>(end - time));

  std::string line;
  line.reserve(stamp.size() + component.size() + message.size() + 64);
  if (format == LogFormat::kText) {
    line.append(stamp).append(" ").append(log_level_name(level)).append(" ");
    append_message(component, line);
    line += ": ";
    append_message(message, line);
    line += '\n';
  } else {
    line.append("{\"time\":\"").append(stamp).append("\",\"level\":\"").append(log_level_name(level));
    line += "\",\"component\":\"";
    append_json_string(component, line);
    line += "\",\"message\":\"";
    append_json_string(message, line);
    line += "\"}\n";
  }
  return line;
}

struct DiagnosticLog::State {
  LogFormat format;
  std::string path;
  std::shared_ptr<FileSink> sink;
  std::shared_ptr<spdlog::async_logger> logger;
  std::shared_ptr<spdlog::details::thread_pool> pool;  // the last: joins its thread before the logger goes
  /// Guards `current`: a thread in the middle of a line keeps the state alive while the log is closed.
  static inline std::mutex mutex;
  static inline std::shared_ptr<State> current;

  static void on_line(LogLevel level, std::string_view component, std::string_view message) {
    std::shared_ptr<State> state;
    {
      std::lock_guard lock(mutex);
      state = current;
    }
    if (!state) return;
    const std::string line = format_log_line(state->format, wall_us(), level, component, message);
    state->logger->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }
};

DiagnosticLog::DiagnosticLog(std::shared_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<DiagnosticLog>> DiagnosticLog::open(const DiagnosticLogOptions& options) {
  auto file = LogFile::open(options.path);
  if (!file) return unexpected(file.error());
  auto state = std::make_shared<State>();
  state->format = options.format;
  state->path = options.path;
  state->sink = std::make_shared<FileSink>(std::move(*file));
  try {  // start-up only: spdlog throws when it can't make a thread
    state->pool = std::make_shared<spdlog::details::thread_pool>(std::max<size_t>(options.queue_lines, 1), 1,
                                                                 block_signals);
    state->logger = std::make_shared<spdlog::async_logger>("dragoman", state->sink, state->pool,
                                                           spdlog::async_overflow_policy::overrun_oldest);
  } catch (const std::exception& error) {
    return unexpected(std::string("can't start the log: ") + error.what());
  }
  {
    std::lock_guard lock(State::mutex);
    State::current = state;
  }
  set_log_sink(&State::on_line);
  return std::unique_ptr<DiagnosticLog>(new DiagnosticLog(std::move(state)));
}

DiagnosticLog::~DiagnosticLog() {
  {
    std::lock_guard lock(State::mutex);
    if (State::current == state_) {
      State::current = nullptr;
      set_log_sink(nullptr);
    }
  }
  state_->sink->give_up_after(monotonic_ms() + kCloseGraceMs);
  state_.reset();  // the pool's destructor writes what is queued and joins
}

Result<void> DiagnosticLog::reopen() {
  auto file = LogFile::open(state_->path);
  if (!file) return unexpected(file.error());
  state_->sink->replace(std::move(*file));
  return {};
}

uint64_t DiagnosticLog::dropped() const { return state_->pool->overrun_counter() + state_->sink->lost(); }

}  // namespace dragoman
