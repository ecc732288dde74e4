// The conformance kit over every framed codec that is linked in, with frames of real peers and what the indexes beside them
// say. Vectors that are no frames of the codec say so themselves: see protocols/kit/vectors.h.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "protocols/kit/kit.h"
#include "tests/support/codec_vectors.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

using kit::Verdict;

std::string folder_of(std::string_view codec) {
  return source_dir() + "/tests/vectors/" + std::string(codec);
}

std::vector<std::string> codecs() {
  std::vector<std::string> names;
  for (const Protocol& p : protocols())
    if (p.table) names.emplace_back(p.name);
  return names;
}

/// A line of an index as an expectation; empty for what is no single good frame.
std::string expectation(const dragoman_codec& t, const Vector& v) {
  std::string kind = v.kind();
  if (kind == "rewrite") return "";
  if (t.abilities & DRAGOMAN_ONLY_BOUND) {  // heartbeats and what was merged are passed on
    if (kind == "heartbeat") kind = "request";
    if (kind == "heartbeat_ack") kind = "response";
    if (v.text("type_code") == "59") kind = "oneway";
  }
  const bool tells = kind == "request" || kind == "oneway";
  if (!tells && kind != "response" && !kind.starts_with("heartbeat") && kind != "goaway") return "";
  std::string line = "# expect " + kind;
  auto expect = [&](const std::string& name, const std::string& value) {
    if (!value.empty() && value.find(' ') == value.npos) line += " " + name + "=" + value;
  };
  expect("id", v.text("id"));
  if (kind == "response") expect("status", v.text("status"));
  if (!tells) return line;
  if (!(t.lacks & DRAGOMAN_WANT_SERVICE)) expect("service", v.text("service"));
  if (!(t.lacks & DRAGOMAN_WANT_METHOD)) expect("method", v.text("method"));
  expect("timeout_ms", v.text("timeout"));
  for (uint32_t i = 0; i < t.attribute_count; ++i)
    expect("header." + std::string(t.attributes[i]), v.text(t.attributes[i]));
  for (const auto& [name, value] : v.fields)
    if (name.starts_with("header:")) expect("header." + name.substr(7), value);
  return line;
}

std::string text_of(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<kit::Vector> vectors_with_index(const dragoman_codec& t) {
  auto read = kit::read_vectors(folder_of(t.name));
  EXPECT_TRUE(read) << read.error();
  std::vector<kit::Vector> all = std::move(*read);
  if (text_of(folder_of(t.name) + "/index.tsv").starts_with("#")) return all;  // with columns of its own
  for (const Vector& row : vectors(t.name)) {
    auto v = std::find_if(all.begin(), all.end(), [&](const kit::Vector& x) { return x.name == row.name; });
    EXPECT_NE(v, all.end()) << row.name;
    const std::string line = expectation(t, row);
    if (line.empty() || v == all.end() || !v->expected.empty()) continue;
    auto parsed =
        kit::parse_vector(row.name, line + "\n" + text_of(folder_of(t.name) + "/" + row.name + ".hex"));
    EXPECT_TRUE(parsed) << row.name << ": " << parsed.error();
    *v = std::move(*parsed);
  }
  return all;
}

class BuiltInCodec : public ::testing::TestWithParam<std::string> {};

TEST_P(BuiltInCodec, PassesTheKit) {
  const dragoman_codec& table = *find_protocol(GetParam())->table;
  kit::Options options;
  options.seconds = 1;
  for (const std::string& other : codecs()) {
    if (other == GetParam()) continue;
    options.neighbours.push_back(find_protocol(other)->table);
    auto read = kit::read_vectors(folder_of(other));
    ASSERT_TRUE(read) << read.error();
    for (kit::Vector& v : *read) options.others.push_back(std::move(v));
  }
  const std::vector<kit::Vector> vectors = vectors_with_index(table);
  kit::Report report = kit::check(table, vectors, options);
  EXPECT_TRUE(report.passed()) << kit::report_text(report, true);
  EXPECT_GT(report.mutations, 10u);
  for (std::string_view rule : {"decode", "refuse", "split", "view", "lacks", "reply", "host-split", "batch"})
    EXPECT_EQ(report.find(rule)->verdict, Verdict::kPassed) << rule << ": " << report.find(rule)->what;
  if (!(table.abilities & DRAGOMAN_CAN_MULTIPLEX)) return;
  for (std::string_view rule : {"id-rewrite", "ids-cross", "duplicate-id", "unknown-id"})
    EXPECT_EQ(report.find(rule)->verdict, Verdict::kPassed) << rule << ": " << report.find(rule)->what;
}

INSTANTIATE_TEST_SUITE_P(All, BuiltInCodec, ::testing::ValuesIn(codecs()),
                         [](const auto& p) { return p.param; });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BuiltInCodec);

}  // namespace
}  // namespace dragoman::testing
