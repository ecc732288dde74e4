// The Bolt v1 descriptor against the hand-written codec: the same answers on every vector, cut and spoiled anywhere.
#include <gtest/gtest.h>

#include "protocols/bolt/bolt.h"
#include "tests/descriptor/shipped.h"

namespace dragoman::testing {
namespace {

struct Seen {
  std::string service, method;
  std::vector<std::pair<std::string, std::string>> headers;
  bool opaque = false;
  int result = 0;
  std::string header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return value;
    return {};
  }
  bool operator==(const Seen&) const = default;
};

Seen view_of(const dragoman_codec& t, const uint8_t* head, const dragoman_frame& f) {
  Seen seen;
  dragoman_view v{};
  v.size = sizeof v;
  v.ctx = &seen;
  v.header = [](void* ctx, dragoman_bytes name, dragoman_bytes value) {
    auto text = [](dragoman_bytes b) { return std::string(reinterpret_cast<const char*>(b.data), b.len); };
    static_cast<Seen*>(ctx)->headers.emplace_back(text(name), text(value));
  };
  seen.result = t.view(t.context, nullptr, head, &f, 7, &v);
  seen.service.assign(reinterpret_cast<const char*>(v.service.data), v.service.len);
  seen.method.assign(reinterpret_cast<const char*>(v.method.data), v.method.len);
  seen.opaque = v.flags & DRAGOMAN_VIEW_OPAQUE;
  if (seen.opaque) seen.headers.clear();
  return seen;
}

class BoltDescriptor : public ::testing::Test {
 protected:
  std::shared_ptr<const descriptor::Descriptor> descriptor = shipped_descriptor("bolt1");
  const dragoman_codec& described = descriptor->table();
  const dragoman_codec& written = *bolt_codec();
  int frames = 0;

  void compare(const std::string& bytes, size_t n, const std::string& what) {
    std::vector<uint8_t> copy(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    dragoman_frame a{}, b{};
    a.size = b.size = sizeof a;
    int va = written.probe(written.context, nullptr, copy.data(), n, &a);
    int vb = described.probe(described.context, nullptr, copy.data(), n, &b);
    // Sections over 32767 bytes and wrong versions at once: either may be named.
    ASSERT_EQ(va, vb) << what << " " << (a.reason ? a.reason : "") << " / " << (b.reason ? b.reason : "");
    if (va == DRAGOMAN_NEED) {
      ASSERT_EQ(a.need, b.need) << what;
      return;
    }
    if (va != DRAGOMAN_FRAME && va != DRAGOMAN_UNSUPPORTED) return;
    // A heartbeat of an unknown version is a heartbeat here, and dropped; there a request, and answered.
    if (va == DRAGOMAN_FRAME || b.kind <= DRAGOMAN_RESPONSE) {
      ASSERT_EQ(a.kind, b.kind) << what;
    }
    ASSERT_EQ(a.total_len, b.total_len) << what;
    ASSERT_EQ(a.head_len, b.head_len) << what;
    ASSERT_EQ(a.id, b.id) << what;
    ASSERT_EQ(a.id_offset, b.id_offset) << what;
    ASSERT_EQ(a.id_type, b.id_type) << what;
    if (a.kind == DRAGOMAN_REQUEST) {
      ASSERT_EQ(std::max<int64_t>(0, a.timeout_ms), b.timeout_ms) << what;
    }
    if (va != DRAGOMAN_FRAME || n < a.head_len) return;
    ++frames;
    if (a.kind > DRAGOMAN_RESPONSE) return;
    Seen one = view_of(written, copy.data(), a), two = view_of(described, copy.data(), b);
    // The two differences: see bolt1.yaml.
    if (one.result != 0 && two.result == 0) {
      ASSERT_NE(two.header("service"), two.header("sofa_head_target_service")) << what;
      ASSERT_NE(two.header("sofa_head_target_service"), "") << what;
      return;
    }
    if (one.method.empty()) two.method.clear();
    if (one.service.empty()) two.service.clear();
    ASSERT_EQ(one, two) << what;
    if (a.kind == DRAGOMAN_RESPONSE) {
      ASSERT_EQ(a.status, b.status) << what;
      ASSERT_EQ(written.outcome(written.context, nullptr, copy.data(), &a),
                described.outcome(described.context, nullptr, copy.data(), &b))
          << what;
    }
    if (a.kind != DRAGOMAN_REQUEST) return;
    for (uint32_t outcome = 1; outcome < 13; ++outcome) {
      uint8_t x[64], y[64];
      dragoman_bytes text{nullptr, 0};
      int64_t nx = written.reply(written.context, nullptr, copy.data(), &a, outcome, text, x, sizeof x);
      int64_t ny = described.reply(described.context, nullptr, copy.data(), &b, outcome, text, y, sizeof y);
      ASSERT_EQ(std::string(x, x + nx), std::string(y, y + ny)) << what << " outcome " << outcome;
    }
  }
};

bool is_v1(const BoltVector& v) { return v.bytes[0] == 1; }

TEST_F(BoltDescriptor, AgreesOnEveryVectorAtEveryCut) {
  int vectors = 0;
  for (const BoltVector& v : bolt_vectors()) {
    if (!is_v1(v)) continue;
    ++vectors;
    for (size_t n = 1; n <= v.bytes.size(); ++n) compare(v.bytes, n, v.name + " at " + std::to_string(n));
  }
  EXPECT_GT(vectors, 25);
  EXPECT_GT(frames, 100);
}

TEST_F(BoltDescriptor, AgreesOnSpoiledVectors) {
  for (const BoltVector& v : bolt_vectors()) {
    if (!is_v1(v) || v.bytes.size() > 400) continue;
    for (size_t at = 1; at < v.bytes.size(); ++at) {
      for (int value : {0, 1, 2, 0x7f, 0x80, 0xff}) {
        std::string spoiled = v.bytes;
        spoiled[at] = static_cast<char>(value);
        compare(spoiled, spoiled.size(), v.name + " byte " + std::to_string(at) + " = " + std::to_string(value));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_F(BoltDescriptor, MakesTheSameFrames) {
  uint8_t x[64], y[64];
  auto same = [&](int64_t nx, int64_t ny) { EXPECT_EQ(std::string(x, x + nx), std::string(y, y + ny)); };
  same(written.heartbeat(written.context, nullptr, 0x100, 0x01020304, x, sizeof x),
       described.heartbeat(described.context, nullptr, 0x100, 0x01020304, y, sizeof y));
  same(written.goaway(written.context, nullptr, 0x100, x, sizeof x),
       described.goaway(described.context, nullptr, 0x100, y, sizeof y));
  std::string heartbeat(x, x + written.heartbeat(written.context, nullptr, 0x100, 7, x, sizeof x));
  dragoman_frame f{};
  f.size = sizeof f;
  auto* head = reinterpret_cast<const uint8_t*>(heartbeat.data());
  ASSERT_EQ(written.probe(written.context, nullptr, head, heartbeat.size(), &f), DRAGOMAN_FRAME);
  same(written.heartbeat_reply(written.context, nullptr, head, &f, x, sizeof x),
       described.heartbeat_reply(described.context, nullptr, head, &f, y, sizeof y));
}

TEST_F(BoltDescriptor, EditsAlike) {
  int edited = 0;
  for (const BoltVector& v : bolt_vectors()) {
    if (!is_v1(v)) continue;
    dragoman_frame f{};
    f.size = sizeof f;
    auto* head = reinterpret_cast<const uint8_t*>(v.bytes.data());
    if (written.probe(written.context, nullptr, head, v.bytes.size(), &f) != DRAGOMAN_FRAME) continue;
    auto bytes = [](std::string_view s) { return dragoman_bytes{reinterpret_cast<const uint8_t*>(s.data()), s.size()}; };
    std::string key = v.headers.empty() ? "none" : v.headers.begin()->first;
    std::vector<dragoman_edit> edits = {{DRAGOMAN_EDIT_SET, 0, bytes(key), bytes("changed")},
                                        {DRAGOMAN_EDIT_ADD, 0, bytes("x"), bytes("1")},
                                        {DRAGOMAN_EDIT_REMOVE, 0, bytes("SERVICE"), bytes("")}};
    std::vector<uint8_t> x(70000), y(70000);
    int64_t nx = written.edit(written.context, nullptr, head, &f, edits.data(), 3, x.data(), x.size());
    int64_t ny = described.edit(described.context, nullptr, head, &f, edits.data(), 3, y.data(), y.size());
    if (v.bytes[1] == 0 && f.total_len == 20) {  // only a status: the codec has a place for pairs there
      EXPECT_GT(nx, 0) << v.name;
      EXPECT_LE(ny, 0) << v.name;
      continue;
    }
    ASSERT_EQ(nx, ny) << v.name;
    if (nx <= 0) continue;
    ++edited;
    x.resize(static_cast<size_t>(nx));
    y.resize(static_cast<size_t>(ny));
    EXPECT_EQ(x, y) << v.name;
  }
  EXPECT_GT(edited, 5);
}

}  // namespace
}  // namespace dragoman::testing
