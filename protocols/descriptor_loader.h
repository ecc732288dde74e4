// Codecs described in YAML, for the catalog.
#pragma once

#include <memory>
#include <string>

#include "config/load.h"
#include "protocols/codec_module.h"

namespace dragoman {

struct LoadedDescriptor {
  std::shared_ptr<const CodecModule> module;  // null when there are faults
  std::vector<config::CodecFault> faults;     // each with its line and column in the descriptor
};

/// `name` is what the descriptor must call itself.
LoadedDescriptor load_descriptor(const std::string& path, const std::string& name);

}  // namespace dragoman
