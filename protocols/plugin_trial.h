// Calls every function of a plugin's table, with bytes of all kinds. Runs in the child process in which a library
// is tried: what crashes, hangs, or reads and writes outside of what it was given ends that process only.
#pragma once

#include <atomic>
#include <cstdint>

#include "protocols/plugin.h"

namespace dragoman {

/// Processor time after which a call counts as one that does not return.
inline constexpr int kPluginCallMs = 1000;
/// How the child ends after that.
inline constexpr int kPluginCallHung = 99;

/// In memory that parent and child share: what the child is doing.
struct TrialNotes {
  static constexpr uint32_t kShown = 32;
  std::atomic<uint32_t> calls;
  const char* volatile function;  // a literal, null outside of calls
  volatile uint32_t len;          // of the bytes that it was given
  uint8_t bytes[kShown];          // the first of them
};

/// `table` has passed check_codec().
void call_everything(const dragoman_codec& table, TrialNotes& notes);

}  // namespace dragoman
