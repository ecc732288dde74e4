// Every descriptor, and the one that new ones begin from, passes the conformance kit.
#include <gtest/gtest.h>

#include "config/protocols.h"
#include "protocols/kit/kit.h"
#include "tests/descriptor/shipped.h"

// The tutorial codec, linked in.
#include "protocols/example/parcel.cc"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

/// The vectors of a descriptor.tsv as the kit wants them.
std::vector<kit::Vector> samples_of(const std::string& folder) {
  std::vector<kit::Vector> out;
  for (const DescribedVector& v : vectors_of(folder)) {
    kit::Vector sample;
    sample.name = v.name;
    sample.bytes = v.bytes;
    sample.from = v.from();
    sample.bad = v.verdict != "frame" || v.outcome == "checksum";
    if (!sample.bad) {
      kit::Expectation e{.kind = v.kind == "heartbeat_reply" ? "heartbeat_ack" : v.kind, .fields = {}};
      for (auto [name, value] : {std::pair<const char*, const std::string*>{"id", &v.id},
                                 {"total_len", &v.total},
                                 {"service", &v.service},
                                 {"method", &v.method},
                                 {"timeout_ms", &v.timeout_ms},
                                 {"outcome", &v.outcome}})
        if (!value->empty()) e.fields.emplace_back(name, *value);
      sample.expected.push_back(std::move(e));
    }
    out.push_back(std::move(sample));
  }
  return out;
}

std::vector<kit::Vector> samples_of_bolt1() {
  std::vector<kit::Vector> out;
  auto read = kit::read_vectors(source_dir() + "/tests/vectors/bolt");
  if (!read) throw std::runtime_error(read.error());
  for (kit::Vector& v : *read) {
    // These decode: what is wrong with them only a peer sees, or the host finds other words for.
    if (v.name == "bad-bolt-unknown-status" || v.name == "bad-bolt-v1-header-kv-overrun" ||
        v.name == "bad-bolt-v1-header-null-value" || v.name == "bad-bolt-v1-short-header")
      continue;
    if (v.bytes[0] != 2) out.push_back(std::move(v));
  }
  return out;
}

std::vector<kit::Vector> samples_of_descriptor(const std::string& name) {
  if (name == "bolt1") return samples_of_bolt1();
  for (const Shipped& s : with_vectors())
    if (s.name == name) return samples_of(s.vectors);
  throw std::runtime_error("no vectors for " + name);
}

class EachDescriptor : public ::testing::TestWithParam<const char*> {};

TEST_P(EachDescriptor, PassesTheKit) {
  auto descriptor = shipped_descriptor(GetParam());
  kit::Options options;
  options.seconds = 0.3;
  // No frame of any other descriptor is taken for one of its own.
  for (const char* other : all_descriptors()) {
    if (std::string(other) == GetParam()) continue;
    for (kit::Vector& v : samples_of_descriptor(other)) options.others.push_back(std::move(v));
  }
  kit::Report report = kit::check(descriptor->table(), samples_of_descriptor(GetParam()), options);
  EXPECT_TRUE(report.passed()) << kit::report_text(report, true);
  EXPECT_GT(report.mutations, 10u);
  // Nothing that matters is left out.
  for (const char* rule :
       {"decode", "refuse", "split", "view", "outcome", "reply", "mutate", "host-split", "truncate"})
    EXPECT_EQ(report.find(rule)->verdict, kit::Verdict::kPassed) << rule << ": " << report.find(rule)->what;
}

TEST_P(EachDescriptor, IsCalledLikeNoBuiltInCodec) {
  EXPECT_EQ(config::find_protocol(GetParam()), nullptr)
      << "codecs: [{name: " << GetParam() << ", descriptor: ...}] would be refused";
}

INSTANTIATE_TEST_SUITE_P(All, EachDescriptor, ::testing::ValuesIn(all_descriptors()),
                         [](const auto& shipped) { return std::string(shipped.param); });

TEST(TextId, AmongTheHeadersIsNoneOfThem) {
  auto descriptor = shipped_descriptor("bankxml");
  const dragoman_codec& t = descriptor->table();
  const std::string bytes = read_hex(source_dir() + "/tests/vectors/bankxml/request.hex");
  auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  dragoman_frame f{};
  f.size = sizeof f;
  ASSERT_EQ(t.probe(t.context, nullptr, p, bytes.size(), &f), DRAGOMAN_FRAME);
  std::vector<std::string> names;
  dragoman_view v{};
  v.size = sizeof v;
  v.ctx = &names;
  v.header = [](void* ctx, dragoman_bytes name, dragoman_bytes) {
    static_cast<std::vector<std::string>*>(ctx)->emplace_back(reinterpret_cast<const char*>(name.data),
                                                              name.len);
  };
  ASSERT_EQ(t.view(t.context, nullptr, p, &f, 7, &v), 0);
  EXPECT_EQ(names, (std::vector<std::string>{"Kind", "Svc", "Op", "Account", "Ttl"}));
  auto text = [](std::string_view s) {
    return dragoman_bytes{reinterpret_cast<const uint8_t*>(s.data()), s.size()};
  };
  std::vector<uint8_t> out(32 << 10);
  auto edit = [&](uint32_t op, std::string_view name, std::string_view value) {
    dragoman_edit e{op, 0, text(name), text(value)};
    return t.edit(t.context, nullptr, p, &f, &e, 1, out.data(), out.size());
  };
  EXPECT_EQ(edit(DRAGOMAN_EDIT_SET, "Id", "x"), -1);
  EXPECT_EQ(edit(DRAGOMAN_EDIT_REMOVE, "id", ""), -1) << "removing compares without case";
  EXPECT_GT(edit(DRAGOMAN_EDIT_SET, "Idx", "x"), 0);
  EXPECT_EQ(edit(DRAGOMAN_EDIT_SET, "Note", std::string(17 << 10, 'v')), -1)
      << "over the item's limit of 16 KiB";
}

TEST(NewDescriptor, PassesTheKitAndSaysWhatTheCodecInCppSays) {
  const std::string folder = source_dir() + "/protocols/example/";
  auto loaded = descriptor::load_file(folder + "parcel.yaml");
  ASSERT_NE(loaded.descriptor, nullptr) << config::render_text(loaded.diagnostics, loaded.source);
  auto read = kit::read_vectors(folder + "vectors");
  ASSERT_TRUE(read) << read.error();
  std::vector<kit::Vector> vectors;
  for (kit::Vector& v : *read)
    if (v.name != "bad-headers")
      vectors.push_back(std::move(v));  // a line without '=' is a header without value here
  kit::Options options;
  options.seconds = 0.3;
  kit::Report report = kit::check(loaded.descriptor->table(), vectors, options);
  EXPECT_TRUE(report.passed()) << kit::report_text(report, true);
  const dragoman_codec &described = loaded.descriptor->table(), &written = *dragoman_codec_v1();
  EXPECT_EQ(described.abilities, written.abilities);
  EXPECT_EQ(described.id_len, written.id_len);
  for (const kit::Vector& v : vectors) {
    dragoman_frame a{}, b{};
    a.size = b.size = sizeof a;
    auto* p = reinterpret_cast<const uint8_t*>(v.bytes.data());
    ASSERT_EQ(written.probe(written.context, nullptr, p, v.bytes.size(), &a),
              described.probe(described.context, nullptr, p, v.bytes.size(), &b))
        << v.name;
    EXPECT_EQ(a.kind, b.kind) << v.name;
    EXPECT_EQ(a.total_len, b.total_len) << v.name;
    EXPECT_EQ(a.head_len, b.head_len) << v.name;
    EXPECT_EQ(a.id, b.id) << v.name;
    EXPECT_EQ(a.id_offset, b.id_offset) << v.name;
  }
}

}  // namespace
}  // namespace dragoman::testing
