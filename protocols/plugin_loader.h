// Codecs in shared libraries.
//
// A library is copied first and the copy is loaded, so that the file may be replaced or overwritten while it
// is in use, and so that two versions of one file are two libraries. Before anything of it runs in this
// process, its ELF tables are checked (plugin_image.h) and a child process tries to load it, to ask for its
// table, to call every function of it (plugin_trial.h), and to unload it again: a library that crashes, hangs,
// makes threads or stays is refused with that as the reason. One that crashes later, in service, is named on
// standard error (plugin_crash.h).
#pragma once

#include <memory>
#include <string>

#include "protocols/codec_module.h"
#include "proxy/base/result.h"

namespace dragoman {

/// Longest library, and longest time for the trial.
inline constexpr uint64_t kPluginBytesMax = 64 << 20;
inline constexpr int kPluginTrialMs = 10'000;

/// `name` is what the codec must call itself; empty: anything. The error is a sentence that begins with the
/// path and names both sides. Takes some tens of milliseconds, in which the
/// calling thread waits.
Result<std::shared_ptr<const CodecModule>> load_plugin(const std::string& path, const std::string& name);

}  // namespace dragoman
