// What can be told of a shared library without loading it: an ELF file is read, nothing of it runs.
#pragma once

#include <cstdint>
#include <span>

#include "proxy/base/result.h"

namespace dragoman {

/// Whether `file`, a whole shared library, can be loaded as a codec and unloaded again. The error is a
/// clause that fits behind the file's name: "is for aarch64, this program for x86-64".
Result<void> check_plugin_image(std::span<const uint8_t> file);

}  // namespace dragoman
