#include "protocols/kit/vectors.h"

#include <algorithm>
#include <filesystem>
#include <span>
#include <sstream>
#include <string_view>

#include "protocols/plugin.h"
#include "proxy/base/file.h"

namespace dragoman::kit {
namespace {

constexpr size_t kVectorFileBytesMax = 64 << 20;

constexpr std::string_view kGoodKinds[] = {"request",       "oneway", "response", "heartbeat",
                                           "heartbeat_ack", "goaway"};
constexpr std::string_view kBadKinds[] = {"malformed", "too_big", "unsupported", "not_mine"};

bool contains(std::span<const std::string_view> words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<Vector> parse_vector(const std::string& name, const std::string& text) {
  Vector v;
  v.name = name;
  std::istringstream lines(text);
  int high = -1, number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    auto wrong = [&](const std::string& what) {
      return unexpected("line " + std::to_string(number) + ": " + what);
    };
    if (line.starts_with("# expect ")) {
      std::istringstream words(line.substr(9));
      Expectation e;
      words >> e.kind;
      const bool refused = contains(kBadKinds, e.kind);
      if (!refused && !contains(kGoodKinds, e.kind)) return wrong("unknown kind of frame " + e.kind);
      v.bad = v.bad || refused;
      if (e.kind == "response" || e.kind == "heartbeat_ack") v.from = DRAGOMAN_FROM_SERVER;
      for (std::string word; words >> word;) {
        size_t equals = word.find('=');
        if (equals == word.npos) return wrong(word + " is not name=value");
        e.fields.emplace_back(word.substr(0, equals), word.substr(equals + 1));
      }
      v.expected.push_back(std::move(e));
    }
    if (line.starts_with("#")) continue;
    for (char c : line) {
      if (c == ' ' || c == '\t' || c == '\r') continue;
      int d = digit(c);
      if (d < 0) return wrong("not a hexadecimal digit");
      if (high < 0) {
        high = d;
      } else {
        v.bytes += static_cast<char>(high << 4 | d);
        high = -1;
      }
    }
  }
  if (high >= 0) return unexpected("half a byte at the end");
  if (v.bytes.empty()) return unexpected("no bytes");
  if (v.expected.empty()) v.bad = name.starts_with("bad-");
  return v;
}

Result<Vector> read_vector(const std::string& file) {
  const auto text = read_file(file, kVectorFileBytesMax);
  if (!text) return unexpected(file + " " + text.error());
  auto v = parse_vector(std::filesystem::path(file).stem(), *text);
  if (!v) return unexpected(file + ": " + v.error());
  return v;
}

Result<std::vector<Vector>> read_vectors(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".hex") files.push_back(entry.path());
  if (error) return unexpected(folder + " can't be read: " + error.message());
  if (files.empty()) return unexpected(folder + " has no *.hex files");
  std::sort(files.begin(), files.end());
  std::vector<Vector> all;
  for (const std::string& file : files) {
    auto v = read_vector(file);
    if (!v) return unexpected(v.error());
    all.push_back(std::move(*v));
  }
  return all;
}

std::string hex_text(const std::string& bytes, size_t max) {
  std::string out;
  for (size_t i = 0; i < std::min(bytes.size(), max); ++i) {
    auto b = static_cast<uint8_t>(bytes[i]);
    if (i > 0 && i % 2 == 0) out += ' ';
    out += "0123456789abcdef"[b >> 4];
    out += "0123456789abcdef"[b & 15];
  }
  if (bytes.size() > max) out += " ... (" + std::to_string(bytes.size()) + " bytes)";
  return out;
}

}  // namespace dragoman::kit
