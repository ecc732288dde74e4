// Protocols described in YAML instead of C++: see protocols/descriptors/README.md for the language.
//
// A descriptor is compiled once, at load, into flat tables that the functions of plugin.h walk. It can't loop,
// recurse, allocate or read past the bytes it was given: what could is refused here, with file, line and column,
// everything at once. Templates are proven at load by reading back what they make.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/load.h"
#include "protocols/plugin.h"

namespace dragoman::descriptor {

struct Program;

/// A loaded descriptor. Immutable; connections that use it keep it alive.
class Descriptor {
 public:
  explicit Descriptor(std::unique_ptr<Program> program);
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  /// Passes check_codec().
  const dragoman_codec& table() const;

 private:
  std::unique_ptr<Program> program_;
};

struct Loaded {
  std::shared_ptr<const Descriptor> descriptor;  // present when there is no error
  std::vector<config::Diagnostic> diagnostics;   // sorted by position
  std::string source;                            // the text that was read
};

/// `filename` is used in diagnostics only. Never throws.
Loaded load_string(std::string_view text, const std::string& filename);
/// Reads at most kSourceBytesMax bytes of the file.
Loaded load_file(const std::string& path);

inline constexpr size_t kSourceBytesMax = 256 << 10;

}  // namespace dragoman::descriptor
