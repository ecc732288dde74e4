// A codec's table behind a fence: the same functions, but every call is watched.
//
// Bytes are shown to the codec in memory that ends at an unreadable page, and are compared afterwards;
// buffers to write to are of exactly the size that was said; a crash or a call that does not return is
// caught; and what can't be true of an answer is noted. The first thing noted stays until take().
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "protocols/plugin.h"

namespace dragoman::kit {

struct Violation {
  std::string rule;  // an id of kRules in kit.h
  std::string what;
};

class Watched {
 public:
  /// Only one at a time on a thread.
  explicit Watched(const dragoman_codec& original);
  ~Watched();
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

  /// To be called like any other table.
  const dragoman_codec& table() const { return table_; }
  /// What was noted since the last call.
  std::optional<Violation> take();

  struct Fence;

 private:
  std::unique_ptr<Fence> fence_;
  dragoman_codec table_;
};

}  // namespace dragoman::kit
