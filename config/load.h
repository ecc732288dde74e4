// YAML text -> Config, with every fault at once and each at its place.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/protocols.h"
#include "proxy/base/result.h"

namespace dragoman::config {

enum class Severity : uint8_t { kError, kWarning };

/// One fault. Texts are UTF-8 and free of control characters.
struct Diagnostic {
  Severity severity = Severity::kError;
  std::string file{};
  int line = 0;           // 1-based; 0 = the file as a whole
  int column = 0;         // 1-based, in characters
  std::string path{};     // "listeners[0].http.headers_max"; empty = the file as a whole
  std::string message{};  // one sentence, complete with found, allowed and nearest
  std::string found{};    // what was written; empty when the fault is an absence
  std::string allowed{};  // what may be written
  std::string nearest{};  // the known name most like what was written
};

struct LoadResult {
  std::optional<Config> config;         // present when there is no error (warnings are no errors)
  std::vector<Diagnostic> diagnostics;  // sorted by position
  std::string source;                   // the text that was read, for render_text

  bool ok() const { return config.has_value(); }
};

/// Value of an environment variable, or nothing when it is not set.
using EnvLookup = std::function<std::optional<std::string>(const std::string& name)>;
EnvLookup process_environment();

/// One thing that is wrong with the file of a codec.
struct CodecFault {
  std::string message{};
  std::string file{};  // empty: of the file as a whole, reported at the codec's entry
  int line = 0;
  int column = 0;
};
/// What a declared codec is, or what is wrong with it.
struct DeclaredCodec {
  std::optional<Protocol> protocol{};
  std::vector<CodecFault> faults{};
};
/// Loads the file of a codec; `file` is its path or descriptor, with the configuration's folder in front when it
/// is relative.
using CodecLoader = std::function<DeclaredCodec(const Codec& codec, const std::string& file)>;

/// Tells a fault of `field`, a setting of the configuration that is checked, or, when that was not written, of the block
/// `owner` it belongs to.
using Complain = std::function<void(const void* field, const void* owner, std::string message)>;
/// What only other modules can check (files, codecs). Runs on a configuration without faults, before it is completed.
using Check = std::function<void(const Config& config, const Complain& complain)>;

/// `filename` is used in diagnostics, and for the folder that codecs are relative to. Without `codecs`, their files
/// are not looked at, and they are taken to have every ability. Never throws.
LoadResult load_string(std::string_view text, const std::string& filename,
                       const EnvLookup& env = process_environment(), const CodecLoader& codecs = {},
                       const Check& check = {});
/// The bytes of a file (`-` = standard input, to its end), a little more than kSourceBytesMax of them at most; or what is wrong.
Result<std::string> read_source(const std::string& path);
/// load_string() of read_source().
LoadResult load_file(const std::string& path, const EnvLookup& env = process_environment(),
                     const CodecLoader& codecs = {}, const Check& check = {});

inline constexpr size_t kSourceBytesMax = 16 << 20;
inline constexpr int kDepthMax = 64;            // nested sequences and mappings
inline constexpr size_t kNodesMax = 500'000;    // keys and values, each alias counted as what it stands for
inline constexpr size_t kDiagnosticsMax = 200;  // further ones are counted, not kept

/// For people: `file:line:col: error: path: message`, the source line, a caret. Ends with a newline unless
/// empty.
std::string render_text(const std::vector<Diagnostic>& diagnostics, std::string_view source);
/// For programs: a JSON array of objects with the members of Diagnostic (empty ones left out), and a newline.
std::string render_json(const std::vector<Diagnostic>& diagnostics);

/// JSON Schema draft-07 of the file.
std::string schema_json();
/// Every key with type, default, range and meaning, as Markdown.
std::string reference_markdown();
/// The configuration as JSON with all defaults, in the keys and units of the file. Values of header edits
/// that may be secrets are "[redacted]".
std::string dump_json(const Config& config);
/// `text` with "[redacted]" in place of each of `secrets`. Those of less than kSecretBytesMin bytes are left inside of longer text: they
/// could be anything there.
std::string redact(std::string text, const std::vector<std::string>& secrets);
inline constexpr size_t kSecretBytesMin = 4;
inline constexpr std::string_view kRedacted = "[redacted]";

}  // namespace dragoman::config
