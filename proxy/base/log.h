// Diagnostics for humans: DRAGOMAN_LOG(kInfo, "server", "listening on {}", address).
//
// A line below the level costs one relaxed load and a predicted branch; its arguments are not evaluated.
// Formatting goes through fmt (checked at compile time), output through one installed sink, so the logging
// library stays out of every other translation unit. Without a sink lines go to standard error, unbuffered.
// Nothing here throws. What a peer does wrong is counted, and logged at most through DRAGOMAN_LOG_LIMITED.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace dragoman {

enum class LogLevel : uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

/// "trace" .. "off".
std::string_view log_level_name(LogLevel level);
/// The level of that name (lower case); empty when there is none.
std::optional<LogLevel> parse_log_level(std::string_view name);

namespace log_detail {
inline constinit std::atomic<LogLevel> level{LogLevel::kInfo};
}  // namespace log_detail

inline LogLevel log_level() { return log_detail::level.load(std::memory_order_relaxed); }
/// Lines under `level` are dropped from now on; kOff drops all. Any thread.
inline void set_log_level(LogLevel level) { log_detail::level.store(level, std::memory_order_relaxed); }
inline bool log_enabled(LogLevel level) { return level >= log_level() && level != LogLevel::kOff; }

/// Takes one finished message. Called from any thread, several at once; must not throw. The views live during
/// the call only. `message` is raw: the sink escapes control characters.
using LogSink = void (*)(LogLevel level, std::string_view component, std::string_view message);
/// Installs the sink; null goes back to standard error. The function must stay callable for ever.
void set_log_sink(LogSink sink);

/// Formats and hands to the sink, whatever the level. Use the macros.
void log_vline(LogLevel level, std::string_view component, fmt::string_view format,
               fmt::format_args args) noexcept;
template <class... Args>
void log_line(LogLevel level, std::string_view component, fmt::format_string<Args...> format,
              Args&&... args) {
  log_vline(level, component, format, fmt::make_format_args(args...));
}

/// True at most once per second for a key, so that a peer can't fill the disk. Memory is fixed: keys that
/// fall into the same slot share a second. Any thread.
bool log_allowed(uint64_t key);
bool log_allowed(std::string_view component, int line, std::string_view key);
inline bool log_allowed(std::string_view component, int line, uint64_t key) {
  return log_allowed(component, line, std::string_view(reinterpret_cast<const char*>(&key), sizeof key));
}
/// Lines that log_allowed() held back since the start.
uint64_t log_lines_suppressed();

}  // namespace dragoman

/// DRAGOMAN_LOG(kWarn, "reload", "{} was refused: {}", path, error)
#define DRAGOMAN_LOG(level, component, ...)                                      \
  do {                                                                           \
    if (::dragoman::log_enabled(::dragoman::LogLevel::level))                    \
      ::dragoman::log_line(::dragoman::LogLevel::level, component, __VA_ARGS__); \
  } while (false)

/// The same, at most one line per second for this place and `key` (a string or an unsigned number, for
/// example the listener's name). For whatever a peer can cause.
#define DRAGOMAN_LOG_LIMITED(level, component, key, ...)                         \
  do {                                                                           \
    if (::dragoman::log_enabled(::dragoman::LogLevel::level) &&                  \
        ::dragoman::log_allowed(component, __LINE__, key))                       \
      ::dragoman::log_line(::dragoman::LogLevel::level, component, __VA_ARGS__); \
  } while (false)
