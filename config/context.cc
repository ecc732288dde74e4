#include "config/context.h"

#include <algorithm>

#include "config/node.h"
#include "proxy/base/suggest.h"

namespace dragoman::config {

std::string path_text(const Place& place) {
  std::vector<const Place*> steps;
  for (const Place* step = &place; step; step = step->parent) steps.push_back(step);
  std::string path;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    if ((*step)->index >= 0) {
      path += "[" + std::to_string((*step)->index) + "]";
    } else if (!(*step)->key.empty()) {
      if (!path.empty()) path += ".";
      path += printable((*step)->key);
    }
  }
  return path;
}

void Context::error(Position pos, std::string message) {
  add(Severity::kError, root_, pos, {.message = std::move(message)});
}

void Context::add(Severity severity, const Place& place, Position pos, Fault fault) {
  if (severity == Severity::kError) ++errors_;
  if (diagnostics_.size() >= kDiagnosticsMax) {
    ++dropped_;
    return;
  }
  std::string message = std::move(fault.message);
  if (!fault.nearest.empty()) message += "; did you mean \"" + fault.nearest + "\"?";
  if (!fault.allowed.empty())
    message += (fault.nearest.empty() ? "; allowed: " : " allowed: ") + fault.allowed;
  diagnostics_.push_back({.severity = severity,
                          .file = file_,
                          .line = pos.line,
                          .column = pos.column,
                          .path = path_text(place),
                          .message = std::move(message),
                          .found = std::move(fault.found),
                          .allowed = std::move(fault.allowed),
                          .nearest = std::move(fault.nearest)});
}

void Context::error_elsewhere(std::string file, Position pos, std::string message) {
  const size_t before = diagnostics_.size();
  add(Severity::kError, root_, pos, {.message = std::move(message)});
  if (diagnostics_.size() > before) diagnostics_.back().file = std::move(file);
}

std::vector<Diagnostic> Context::take() {
  std::stable_sort(diagnostics_.begin(), diagnostics_.end(), [this](const Diagnostic& a, const Diagnostic& b) {
    if ((a.file == file_) != (b.file == file_)) return a.file == file_;  // other files behind it
    if (a.file != b.file) return a.file < b.file;
    return a.line != b.line ? a.line < b.line : a.column < b.column;
  });
  if (dropped_ > 0) {
    diagnostics_.push_back({.severity = failed() ? Severity::kError : Severity::kWarning,
                            .file = file_,
                            .message = "and " + std::to_string(dropped_) + " more"});
  }
  return std::move(diagnostics_);
}

const Place* Context::find(const void* address) const {
  const auto it = bound_.find(address);
  return it == bound_.end() ? nullptr : it->second;
}

const Place& Context::where(const void* address, const void* fallback) const {
  const Place* place = find(address);
  if (!place) place = find(fallback);
  return place ? *place : root_;
}

Fault unknown_word(std::string_view what, std::string_view word, std::span<const std::string_view> words) {
  return {.message = "unknown " + std::string(what) + " \"" + printable(word) + "\"",
          .found = printable(word),
          .allowed = join(words),
          .nearest = std::string(nearest(word, words))};
}

std::string join(std::span<const std::string_view> words) {
  std::string out;
  for (std::string_view word : words) {
    if (!out.empty()) out += ", ";
    out += word;
  }
  return out;
}

void Context::add_secret(std::string text) {
  if (text.empty() || std::find(secrets_.begin(), secrets_.end(), text) != secrets_.end()) return;
  // Longer ones first: a shorter one may be a part of them.
  const auto at =
      std::find_if(secrets_.begin(), secrets_.end(), [&](const auto& s) { return s.size() < text.size(); });
  secrets_.insert(at, std::move(text));
}

std::string redact(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    if (text == secret) return std::string(kRedacted);
    if (secret.size() < kSecretBytesMin) continue;
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += kRedacted.size())
      text.replace(at, secret.size(), kRedacted);
  }
  return text;
}

}  // namespace dragoman::config
