// A codec that is not linked in: its table, and whatever that table needs to stay valid.
#pragma once

#include <memory>
#include <string>

#include "protocols/exchange.h"
#include "protocols/plugin.h"

namespace dragoman {

/// Dies on the control thread, when no connection and no configuration holds it any more.
class CodecModule {
 public:
  virtual ~CodecModule() = default;
  CodecModule(const CodecModule&) = delete;
  CodecModule& operator=(const CodecModule&) = delete;

  /// Has passed check_codec(), and stays where it is.
  const dragoman_codec& table() const { return table_; }
  /// "plugin" or "descriptor"
  virtual std::string_view kind() const = 0;

 protected:
  CodecModule() = default;
  dragoman_codec table_{};
};

/// The protocol that `table` makes. `owner` keeps it alive; null for one that is linked in.
Protocol framed_protocol(const dragoman_codec& table, std::shared_ptr<const void> owner = nullptr);

}  // namespace dragoman
