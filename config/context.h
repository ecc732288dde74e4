// What one loading carries along: the faults found so far, and where in the file each setting came from.
#pragma once

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/load.h"
#include "config/protocols.h"

namespace dragoman::config {

/// One step of a key path. A chain of these is alive while its innermost step is.
struct Place {
  const Place* parent = nullptr;
  std::string_view key{};  // of a mapping; empty when `index` is used
  int index = -1;          // in a sequence
  Position pos{};          // of the value
};

/// "listeners[0].http.headers_max"
std::string path_text(const Place& place);

/// The parts of a fault's message; the message becomes "<message>[; did you mean "<nearest>"?][; allowed:
/// <allowed>]".
struct Fault {
  std::string message{};
  std::string found{};
  std::string allowed{};
  std::string nearest{};
};

class Context {
 public:
  explicit Context(std::string file) : file_(std::move(file)) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void error(const Place& place, Fault fault) { add(Severity::kError, place, place.pos, std::move(fault)); }
  void error(const Place& place, Position pos, Fault fault) {
    add(Severity::kError, place, pos, std::move(fault));
  }
  void warn(const Place& place, Fault fault) { add(Severity::kWarning, place, place.pos, std::move(fault)); }
  /// A fault of the file as a whole (line 0) or of its syntax.
  void error(Position pos, std::string message);

  /// A fault in another file.
  void error_elsewhere(std::string file, Position pos, std::string message);

  ProtocolTable& protocols() { return protocols_; }
  const ProtocolTable& protocols() const { return protocols_; }

  /// A text that must not be repeated.
  void add_secret(std::string text);
  const std::vector<std::string>& secrets() const { return secrets_; }

  bool failed() const { return errors_ > 0; }
  size_t errors() const { return errors_; }
  /// Everything found, sorted by position.
  std::vector<Diagnostic> take();

  /// A place that stays valid as long as the context. `key` must do so, too.
  const Place& keep(const Place& place) { return places_.emplace_back(place); }
  /// Remembers that the setting at `address` was written at `place`.
  void bind(const void* address, const Place& place) { bound_[address] = &place; }
  /// Where the setting at `address` was written, or null when it has its default.
  const Place* find(const void* address) const;
  /// Like find(), or `fallback`.
  const Place& where(const void* address, const void* fallback) const;

 private:
  void add(Severity severity, const Place& place, Position pos, Fault fault);

  std::string file_;
  std::vector<Diagnostic> diagnostics_;
  std::vector<std::string> secrets_;
  size_t errors_ = 0;
  size_t dropped_ = 0;
  std::deque<Place> places_;
  std::unordered_map<const void*, const Place*> bound_;
  Place root_;
  ProtocolTable protocols_;
};

/// Fault for a word that is none of `words`.
Fault unknown_word(std::string_view what, std::string_view word, std::span<const std::string_view> words);
/// "a, b, c"
std::string join(std::span<const std::string_view> words);

}  // namespace dragoman::config
