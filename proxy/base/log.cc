#include "proxy/base/log.h"

#include <fmt/format.h>
#include <time.h>
#include <unistd.h>

#include <array>

namespace dragoman {
namespace {

constexpr std::array<std::string_view, 6> kLevelNames = {"trace", "debug", "info", "warn", "error", "off"};

constexpr size_t kLimiterSlots = 1024;
constexpr uint64_t kLimiterWindowMs = 1000;

/// Time of the last line of each slot, ms since boot; 0 = none yet.
constinit std::array<std::atomic<uint64_t>, kLimiterSlots> limiter_slots{};
constinit std::atomic<uint64_t> suppressed{0};

void write_to_stderr(LogLevel level, std::string_view component, std::string_view message) {
  fmt::memory_buffer line;
  fmt::format_to(fmt::appender(line), "{} {}: {}\n", log_level_name(level), component, message);
  [[maybe_unused]] ssize_t n = write(STDERR_FILENO, line.data(), line.size());
}

constinit std::atomic<LogSink> sink{&write_to_stderr};

uint64_t hash_bytes(uint64_t hash, std::string_view bytes) {  // FNV-1a
  for (char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

uint64_t monotonic_ms() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

}  // namespace

std::string_view log_level_name(LogLevel level) { return kLevelNames[static_cast<size_t>(level)]; }

std::optional<LogLevel> parse_log_level(std::string_view name) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == name) return static_cast<LogLevel>(i);
  }
  return std::nullopt;
}

void set_log_sink(LogSink new_sink) {
  sink.store(new_sink ? new_sink : &write_to_stderr, std::memory_order_release);
}

void log_vline(LogLevel level, std::string_view component, fmt::string_view format,
               fmt::format_args args) noexcept {
  try {
    fmt::memory_buffer message;
    fmt::vformat_to(fmt::appender(message), format, args);
    sink.load(std::memory_order_acquire)(level, component, {message.data(), message.size()});
  } catch (...) {
    // Out of memory, or a user formatter threw: a diagnostic is not worth more than the traffic.
  }
}

bool log_allowed(uint64_t key) {
  std::atomic<uint64_t>& slot = limiter_slots[(key ^ (key >> 32)) % kLimiterSlots];
  const uint64_t now = monotonic_ms() + kLimiterWindowMs;  // never 0
  uint64_t last = slot.load(std::memory_order_relaxed);
  if ((last == 0 || now - last >= kLimiterWindowMs) &&
      slot.compare_exchange_strong(last, now, std::memory_order_relaxed)) {
    return true;
  }
  suppressed.fetch_add(1, std::memory_order_relaxed);
  return false;
}

bool log_allowed(std::string_view component, int line, std::string_view key) {
  uint64_t hash = hash_bytes(0xcbf29ce484222325, component);
  hash = (hash ^ static_cast<uint64_t>(line)) * 0x100000001b3;
  return log_allowed(hash_bytes(hash, key));
}

uint64_t log_lines_suppressed() { return suppressed.load(std::memory_order_relaxed); }

}  // namespace dragoman
