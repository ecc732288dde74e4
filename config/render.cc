// Diagnostics as text and as JSON.
#include <algorithm>

#include "config/json_writer.h"
#include "config/load.h"

namespace dragoman::config {
namespace {

std::string_view severity_name(Severity severity) {
  return severity == Severity::kError ? "error" : "warning";
}

bool starts_character(char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; }

/// The source line and a caret under `column`. Of a long line, the part around the column.
std::string excerpt(std::string_view line, int column) {
  constexpr size_t kCharactersMax = 120;
  // Split into characters, so that the caret stands right whatever the bytes.
  std::vector<std::string> characters;
  for (char byte : line) {
    if (starts_character(byte) || characters.empty()) characters.emplace_back();
    const bool control = static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f;
    characters.back() += control && byte != '\t' ? ' ' : byte;
  }
  const size_t caret = std::min(static_cast<size_t>(std::max(column, 1) - 1), characters.size());
  const size_t begin = caret > kCharactersMax - 20 ? caret - (kCharactersMax - 20) : 0;
  const size_t end = std::min(characters.size(), begin + kCharactersMax);
  std::string text = begin > 0 ? "..." : "";
  std::string pointer = begin > 0 ? "   " : "";
  for (size_t i = begin; i < end; ++i) text += characters[i];
  for (size_t i = begin; i < caret; ++i) pointer += characters[i] == "\t" ? '\t' : ' ';
  if (end < characters.size()) text += "...";
  return "  " + text + "\n  " + pointer + "^\n";
}

/// Line number `line` (1-based) of the source. Cursor: lines are asked for in ascending order.
class Lines {
 public:
  explicit Lines(std::string_view source) : rest_(source) {
    if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);
  }
  bool find(int line, std::string_view& out) {
    while (number_ < line) {
      if (done_) return false;
      const size_t end = rest_.find('\n');
      current_ = rest_.substr(0, end);
      if (current_.ends_with('\r')) current_.remove_suffix(1);
      done_ = end == std::string_view::npos;
      rest_.remove_prefix(done_ ? rest_.size() : end + 1);
      ++number_;
    }
    out = current_;
    return number_ == line;
  }

 private:
  std::string_view rest_;
  std::string_view current_;
  int number_ = 0;
  bool done_ = false;
};

}  // namespace

std::string render_text(const std::vector<Diagnostic>& diagnostics, std::string_view source) {
  Lines lines(source);
  const std::string_view file = diagnostics.empty() ? "" : std::string_view(diagnostics.front().file);
  std::string out;
  for (const Diagnostic& diagnostic : diagnostics) {
    out += diagnostic.file;
    if (diagnostic.line > 0)
      out += ":" + std::to_string(diagnostic.line) + ":" + std::to_string(diagnostic.column);
    out += ": " + std::string(severity_name(diagnostic.severity)) + ": ";
    if (!diagnostic.path.empty()) out += diagnostic.path + ": ";
    out += diagnostic.message + "\n";
    std::string_view line;
    const bool elsewhere = diagnostic.file != file || source.empty();
    if (!elsewhere && diagnostic.line > 0 && lines.find(diagnostic.line, line)) out += excerpt(line, diagnostic.column);
  }
  return out;
}

std::string render_json(const std::vector<Diagnostic>& diagnostics) {
  JsonWriter json;
  json.begin_array();
  for (const Diagnostic& diagnostic : diagnostics) {
    json.begin_object();
    json.member("severity", severity_name(diagnostic.severity));
    json.member("file", diagnostic.file);
    if (diagnostic.line > 0) {
      json.key("line");
      json.integer(diagnostic.line);
      json.key("column");
      json.integer(diagnostic.column);
    }
    const auto optional_member = [&](std::string_view key, const std::string& text) {
      if (!text.empty()) json.member(key, text);
    };
    optional_member("path", diagnostic.path);
    json.member("message", diagnostic.message);
    optional_member("found", diagnostic.found);
    optional_member("allowed", diagnostic.allowed);
    optional_member("nearest", diagnostic.nearest);
    json.end_object();
  }
  json.end_array();
  return json.str() + "\n";
}

}  // namespace dragoman::config
