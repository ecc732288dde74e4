// Watching a file that somebody has read already.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "proxy/base/file.h"
#include "proxy/net/transport.h"

namespace dragoman {

/// FileWatch::create(), but what differs from `known` is told even when it was there before the watch.
///
/// A change is told when it is whole: the file has stayed the same for 200 ms and no process has it open for writing. One that
/// keeps it open is waited for 10 s at most. Where the system doesn't say who writes (it does to the file's owner and to
/// root, on local file systems), the file must have stayed the same for a second.
std::unique_ptr<FileWatch> watch_file(Loop& loop, std::string path, const FileStamp& known,
                                      std::function<void()> fn);

}  // namespace dragoman
