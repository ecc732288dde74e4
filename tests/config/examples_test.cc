// Every file under good/ loads, every file under warn/ loads with its warnings, every file under bad/ is refused
// with exactly the faults its "# error" comments name, and the generated files in config/ are current.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "config/load.h"
#include "config/protocols.h"
#include "tests/support/source_dir.h"

namespace dragoman::config {
namespace {

const std::string kTests = source_dir() + "/tests/config/";

std::string read(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> files(const std::string& folder) {
  std::vector<std::string> all;
  for (const auto& entry : std::filesystem::directory_iterator(kTests + folder))
    if (entry.path().extension() == ".yaml") all.push_back(entry.path().string());
  std::sort(all.begin(), all.end());
  return all;
}

std::optional<std::string> no_environment(const std::string&) { return std::nullopt; }

// What the examples may refer to.
std::optional<std::string> environment(const std::string& name) {
  if (name == "HOST") return "127.0.0.1";
  if (name == "TOKEN") return "12345";
  if (name == "EMPTY") return "";
  return std::nullopt;
}

// The lines of `file` that begin with `start`. PROTOCOLS stands for the names of all protocols.
std::vector<std::string> comments(const std::string& file, const std::string& start) {
  static constexpr std::string_view kProtocolNames = "PROTOCOLS";
  std::string protocols;
  for (const Protocol& p : kProtocols)
    if (is_linked(p)) protocols += (protocols.empty() ? "" : ", ") + std::string(p.name);
  std::vector<std::string> all;
  std::istringstream lines(read(file));
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(start, 0) != 0) continue;
    all.push_back(line.substr(start.size()));
    if (size_t at = all.back().find(kProtocolNames); at != std::string::npos)
      all.back().replace(at, kProtocolNames.size(), protocols);
  }
  return all;
}

std::vector<std::string> told(const LoadResult& result, Severity severity) {
  std::vector<std::string> all;
  for (const Diagnostic& d : result.diagnostics)
    if (d.severity == severity)
      all.push_back(std::to_string(d.line) + ":" + std::to_string(d.column) + " " +
                    (d.path.empty() ? "-" : d.path) + ": " + d.message);
  return all;
}

TEST(Examples, GoodFilesLoad) {
  ASSERT_FALSE(files("good").empty());
  for (const std::string& file : files("good")) {
    LoadResult result = load_file(file, environment);
    EXPECT_TRUE(result.ok() && result.diagnostics.empty()) << render_text(result.diagnostics, result.source);
  }
}

TEST(Examples, BadFilesSayWhere) {
  ASSERT_GT(files("bad").size(), 50u);
  for (const std::string& file : files("bad")) {
    LoadResult result = load_file(file, environment);
    EXPECT_FALSE(result.ok()) << file;
    EXPECT_FALSE(comments(file, "# error ").empty()) << file;
    EXPECT_EQ(told(result, Severity::kError), comments(file, "# error ")) << file;
  }
}

TEST(Examples, WarningsDoNotRefuse) {
  ASSERT_FALSE(files("warn").empty());
  for (const std::string& file : files("warn")) {
    LoadResult result = load_file(file, environment);
    EXPECT_TRUE(result.ok()) << render_text(result.diagnostics, result.source);
    EXPECT_FALSE(comments(file, "# warning ").empty()) << file;
    EXPECT_EQ(told(result, Severity::kWarning), comments(file, "# warning ")) << file;
  }
}

TEST(Examples, EveryPrefixOfAGoodFileIsAnswered) {
  for (const std::string& file : files("good")) {
    std::string text = read(file);
    for (size_t n = 0; n < text.size(); n += 7) {
      LoadResult result = load_string(text.substr(0, n), "cut.yaml", no_environment);
      EXPECT_TRUE(result.ok() || !result.diagnostics.empty()) << file << " cut at " << n;
    }
  }
}

TEST(Generated, SchemaAndReferenceAreCurrent) {
  EXPECT_EQ(read(source_dir() + "/config/dragoman.schema.json"), schema_json());
  EXPECT_EQ(read(source_dir() + "/config/REFERENCE.md"), reference_markdown());
}

}  // namespace
}  // namespace dragoman::config
