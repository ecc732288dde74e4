// The codecs that are not linked in: loaded when a configuration declares them, kept while anything uses
// them. One thread (the control thread) calls; what it gives away may be held and let go by any.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/load.h"
#include "protocols/codec_module.h"
#include "proxy/base/file.h"

namespace dragoman {

using ProtocolRef = std::shared_ptr<const Protocol>;
/// Protocols by the names that a configuration gives them.
using DeclaredProtocols = std::map<std::string, ProtocolRef>;

/// What configuration needs to know of a framed codec.
config::Protocol protocol_facts(const dragoman_codec& table);

class CodecCatalog {
 public:
  /// Loads the file of `codec` (with an empty codec.codec, whatever it calls itself); when it is the same as
  /// at an earlier call, gives the same object. What it made is also put into `into`.
  config::DeclaredCodec load(const config::Codec& codec, const std::string& file, DeclaredProtocols& into);
  /// load() as configuration wants it. `into` must outlive the loader.
  config::CodecLoader loader(DeclaredProtocols& into) {
    return [this, &into](const config::Codec& codec, const std::string& file) { return load(codec, file,
                                                                                            into); };
  }

  /// Unloads what nothing uses any more. Returns how many are left that are not in `current`: call again
  /// later.
  size_t sweep(const DeclaredProtocols& current);

  struct View {
    const Protocol* protocol;
    std::string_view kind;  // "plugin", "descriptor"
    const std::string* file;
    const FileStamp* stamp;  // of the file when it was read last
    long users;  // connections, and the snapshots and clusters that hold it
  };
  std::vector<View> view() const;
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::string file;
    std::string codec;
    uint64_t digest;
    FileStamp stamp;
    std::shared_ptr<const CodecModule> module;
    ProtocolRef protocol;
  };
  std::vector<Entry> entries_;
};

}  // namespace dragoman
