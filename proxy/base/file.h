// Reading files without ever waiting for one. Whoever reads a file that a configuration names does it through here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "proxy/base/result.h"

namespace dragoman {

/// What tells two states of the file at a path from each other. Links are followed.
struct FileStamp {
  bool exists = false;  // a dangling link is none
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size = 0;
  int64_t modified_ns = 0;
  int64_t changed_ns = 0;  // of the inode: also moves when the owner or the mode changes

  static FileStamp of(const std::string& path);
  bool operator==(const FileStamp&) const = default;
};

/// The bytes of a regular file. Anything else (FIFO, socket, device, folder) is refused without being opened, so that neither
/// waiting nor what opening a device does can happen; so are more than `bytes_max` bytes and a file that changes while it is
/// read. `stamp` is set to the state that was read. The error is a clause that fits behind the file's name.
Result<std::string> read_file(const std::string& path, size_t bytes_max, FileStamp* stamp = nullptr);

/// Whether another process has the file open for writing, as far as the system tells.
enum class Writers : uint8_t { kNone, kSome, kUnknown };
Writers writers_of(const std::string& path);

}  // namespace dragoman
