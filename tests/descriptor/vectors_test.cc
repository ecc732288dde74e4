// Every descriptor against its vectors: decoded, cut anywhere, rewritten, edited, answered, spoiled.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "protocols/head.h"
#include "tests/descriptor/shipped.h"
#include "tests/support/framed_proxy.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

const char* const kKinds[] = {"", "request", "oneway", "response", "heartbeat", "heartbeat_reply", "goaway"};
const char* const kOutcomeNames[] = {"ok",          "client_error", "server_error", "overloaded", "timeout",
                                     "unavailable", "no_route",     "denied",       "reset",      "codec_error",
                                     "too_large",   "unknown",      "rate_limited"};

const uint8_t* data_of(const std::string& bytes) { return reinterpret_cast<const uint8_t*>(bytes.data()); }

class Codec {
 public:
  explicit Codec(const std::string& name) : Codec(shipped_descriptor(name)) {}
  explicit Codec(std::shared_ptr<const descriptor::Descriptor> d)
      : descriptor_(std::move(d)), t_(descriptor_->table()) {}
  const dragoman_codec& table() const { return t_; }

  /// Asks about a copy whose end is the end of its memory.
  int probe(std::string_view bytes, dragoman_frame& f, uint32_t from = DRAGOMAN_FROM_CLIENT) const {
    std::vector<uint8_t> copy(bytes.begin(), bytes.end());
    f = {};
    f.size = sizeof f;
    f.from = from;
    return t_.probe(t_.context, nullptr, copy.data(), copy.size(), &f);
  }
  struct Seen {
    int result = -1;
    std::string service, method;
    std::vector<std::pair<std::string, std::string>> headers;
    std::vector<std::pair<std::string, std::string>> attributes;
    const char* const* names = nullptr;  // of attributes
    bool opaque = false;
    /// An attribute hides a header of its name.
    std::string header(std::string_view name) const {
      std::string found = "(none)";
      for (const auto& [n, v] : attributes)
        if (n == name) return v;
      for (const auto& [n, v] : headers)
        if (equals_ignore_case(n, name)) found = v;
      return found;
    }
  };
  Seen view(const std::string& head, const dragoman_frame& f) const {
    Seen seen;
    dragoman_view v{};
    v.size = sizeof v;
    v.ctx = &seen;
    v.header = [](void* ctx, dragoman_bytes name, dragoman_bytes value) {
      auto text = [](dragoman_bytes b) { return std::string(reinterpret_cast<const char*>(b.data), b.len); };
      static_cast<Seen*>(ctx)->headers.emplace_back(text(name), text(value));
    };
    seen.names = t_.attributes;
    v.attribute = [](void* ctx, uint32_t index, dragoman_bytes value) {
      auto* s = static_cast<Seen*>(ctx);
      s->attributes.emplace_back(s->names[index],
                                 std::string(reinterpret_cast<const char*>(value.data), value.len));
    };
    std::vector<uint8_t> copy(head.begin(), head.begin() + static_cast<std::ptrdiff_t>(f.head_len));
    seen.result = t_.view(t_.context, nullptr, copy.data(), &f, 7, &v);
    seen.service.assign(reinterpret_cast<const char*>(v.service.data), v.service.len);
    seen.method.assign(reinterpret_cast<const char*>(v.method.data), v.method.len);
    seen.opaque = v.flags & DRAGOMAN_VIEW_OPAQUE;
    return seen;
  }
  std::string id_text(const std::string& bytes, const dragoman_frame& f) const {
    if (f.id_type == DRAGOMAN_ID_NONE) return "";
    if (f.id_type == DRAGOMAN_ID_BYTES) return bytes.substr(f.id_offset, f.id_len);
    return std::to_string(f.id);
  }

 private:
  std::shared_ptr<const descriptor::Descriptor> descriptor_;
  const dragoman_codec& t_;
};

class DescriptorVectors : public ::testing::TestWithParam<Shipped> {
 protected:
  Codec codec{GetParam().name};
  std::vector<DescribedVector> vectors = vectors_of(GetParam().vectors);
};

/// What frame_fault() of the host would say, and that spans lie inside.
void expect_true(const Codec& codec, int verdict, const dragoman_frame& f, size_t n, const std::string& what) {
  const dragoman_codec& t = codec.table();
  if (verdict == DRAGOMAN_NEED) {
    EXPECT_GT(f.need, n) << what;
    EXPECT_LE(f.need, t.head_bytes_max) << what;
  }
  bool described = verdict == DRAGOMAN_FRAME || (verdict == DRAGOMAN_UNSUPPORTED && f.total_len > 0);
  if (!described) {
    if (verdict != DRAGOMAN_NEED && verdict != DRAGOMAN_NOT_MINE) {
      EXPECT_NE(f.reason, nullptr) << what;
    }
    return;
  }
  EXPECT_GT(f.head_len, 0u) << what;
  EXPECT_LE(f.head_len, f.total_len) << what;
  EXPECT_LE(f.head_len, t.head_bytes_max) << what;
  EXPECT_GE(f.kind, 1u) << what;
  EXPECT_LE(f.kind, 6u) << what;
  if (f.id_type != DRAGOMAN_ID_NONE) {
    EXPECT_LE(uint64_t{f.id_offset} + f.id_len, f.head_len) << what;
    if (f.id_type == DRAGOMAN_ID_BYTES) {
      EXPECT_GT(f.id_len, 0u) << what;
    }
  }
}

TEST_P(DescriptorVectors, DecodeAsTheIndexSays) {
  for (const DescribedVector& v : vectors) {
    dragoman_frame f;
    int verdict = codec.probe(v.bytes, f, v.from());
    expect_true(codec, verdict, f, v.bytes.size(), v.name);
    if (v.verdict == "not_mine") {
      EXPECT_EQ(verdict, DRAGOMAN_NOT_MINE) << v.name;
      continue;
    }
    if (v.verdict == "refused") {
      EXPECT_TRUE(verdict == DRAGOMAN_MALFORMED || verdict == DRAGOMAN_TOO_BIG || verdict == DRAGOMAN_NOT_MINE ||
                  (verdict == DRAGOMAN_FRAME && codec.view(v.bytes, f).result != 0))
          << v.name << ": " << verdict;
      continue;
    }
    EXPECT_EQ(verdict, v.verdict == "unsupported" ? DRAGOMAN_UNSUPPORTED : DRAGOMAN_FRAME)
        << v.name << ": " << (f.reason ? f.reason : "");
    if (verdict != DRAGOMAN_FRAME) continue;
    EXPECT_EQ(kKinds[f.kind], v.kind) << v.name;
    EXPECT_EQ(std::to_string(f.total_len), v.total) << v.name;
    EXPECT_EQ(codec.id_text(v.bytes, f), v.id) << v.name;
    Codec::Seen seen = codec.view(v.bytes, f);
    EXPECT_EQ(seen.result, 0) << v.name;
    if (f.kind <= DRAGOMAN_RESPONSE) {
      bool tells = f.kind != DRAGOMAN_RESPONSE;
      EXPECT_EQ(tells || !v.service.empty() ? seen.service : "", v.service) << v.name;
      EXPECT_EQ(tells || !v.method.empty() ? seen.method : "", v.method) << v.name;
    }
    EXPECT_EQ(f.timeout_ms, v.timeout_ms.empty() ? 0 : std::stoll(v.timeout_ms)) << v.name;
    if (f.kind == DRAGOMAN_RESPONSE) {
      uint32_t outcome = codec.table().outcome(codec.table().context, nullptr, data_of(v.bytes), &f);
      EXPECT_EQ(kOutcomeNames[outcome], v.outcome) << v.name;
    }
  }
}

TEST_P(DescriptorVectors, EveryPrefixAsksForMoreAndGetsToTheSame) {
  for (const DescribedVector& v : vectors) {
    dragoman_frame whole;
    int verdict = codec.probe(v.bytes, whole, v.from());
    for (size_t n = 1; n < v.bytes.size(); ++n) {
      dragoman_frame f;
      int partial = codec.probe(std::string_view(v.bytes).substr(0, n), f, v.from());
      std::string what = v.name + " at " + std::to_string(n);
      expect_true(codec, partial, f, n, what);
      if (partial == DRAGOMAN_NEED) {
        if (verdict == DRAGOMAN_FRAME) {
          EXPECT_LE(f.need, v.bytes.size()) << what << ": would wait for ever";
        }
        continue;
      }
      if (verdict != DRAGOMAN_FRAME) continue;
      EXPECT_EQ(partial, verdict) << what;
      EXPECT_EQ(f.total_len, whole.total_len) << what;
      EXPECT_EQ(f.head_len, whole.head_len) << what;
      EXPECT_EQ(f.kind, whole.kind) << what;
      EXPECT_EQ(f.id, whole.id) << what;
      EXPECT_EQ(f.timeout_ms, whole.timeout_ms) << what;
      EXPECT_EQ(f.status, whole.status) << what;
    }
  }
}

/// `frame` with the id of another frame.
std::string with_id(const std::string& frame, const dragoman_frame& f, const std::string& other,
                    const dragoman_frame& o, const dragoman_codec& t) {
  if (f.id_type == DRAGOMAN_ID_BE || f.id_type == DRAGOMAN_ID_LE) {
    std::string out = frame;
    out.replace(f.id_offset, f.id_len, other.substr(o.id_offset, o.id_len));
    if (f.checksum == DRAGOMAN_CHECKSUM_CUSTOM)
      t.checksum(t.context, nullptr, reinterpret_cast<uint8_t*>(out.data()), &f, 1);
    return out;
  }
  std::string id = other.substr(o.id_offset, o.id_len);
  if (f.id_type == DRAGOMAN_ID_CODED) id = be(o.id, 8);
  std::string out(frame.size() + id.size() + 64, 0);
  int64_t n = t.set_id(t.context, nullptr, data_of(frame), &f, {data_of(id), id.size()},
                       reinterpret_cast<uint8_t*>(out.data()), out.size());
  if (n <= 0) return "";
  out.resize(static_cast<size_t>(n));
  return out + frame.substr(f.head_len);
}

/// Requests go through the host, cut at every place; what comes out differs in the id only. Then the answer goes back
/// with the client's own id.
TEST_P(DescriptorVectors, PassTheHostAtEverySplit) {
  bool ids = codec.table().abilities & DRAGOMAN_CAN_MULTIPLEX;
  const DescribedVector* answer = nullptr;
  for (const DescribedVector& v : vectors)
    if (v.kind == "response" && v.outcome == "ok" && !answer) answer = &v;
  ASSERT_NE(answer, nullptr);
  for (const DescribedVector& v : vectors) {
    if (v.verdict != "frame" || v.kind != "request" || v.outcome == "checksum") continue;
    // Frames of 3000 bytes are cut at fewer places.
    for (size_t cut = 1; cut <= v.bytes.size(); cut += v.bytes.size() > 600 ? 37 : 1) {
      CodecOptions options = framed_options(ids ? PoolMode::kMultiplex : PoolMode::kPingPong);
      FramedConnection down(&codec.table(), Role::kServer, options), up(&codec.table(), Role::kClient, options);
      Hop hop(down, up);
      down.feed(v.bytes.substr(0, cut));
      down.feed(v.bytes.substr(cut));
      ASSERT_EQ(down.events.broken, 0) << v.name << " " << down.events.broken_detail;
      std::string sent = up.sink.take();
      dragoman_frame f, original;
      ASSERT_EQ(codec.probe(sent, f), DRAGOMAN_FRAME) << v.name;
      codec.probe(v.bytes, original);
      ASSERT_EQ(f.total_len, sent.size());
      if (!ids) {
        EXPECT_EQ(sent, v.bytes);
      } else {
        // The old id put back gives the old bytes.
        EXPECT_NE(codec.id_text(sent, f), v.id) << v.name;
        EXPECT_EQ(sent.substr(f.head_len), v.bytes.substr(original.head_len)) << v.name;
        // Of several ids one is left, in its shortest form.
        bool other_coding = false;
        for (const char* way : {"padded", "noid", "appended"})
          other_coding = other_coding || v.name.find(way) != std::string::npos;
        if (!other_coding) {
          EXPECT_EQ(with_id(sent, f, v.bytes, original, codec.table()), v.bytes) << v.name;
        }
      }
      // The answer, with the id it must have.
      std::string reply = answer->bytes;
      dragoman_frame r;
      ASSERT_EQ(codec.probe(reply, r, DRAGOMAN_FROM_SERVER), DRAGOMAN_FRAME);
      if (ids) reply = with_id(reply, r, sent, f, codec.table());
      up.feed(reply.substr(0, cut % reply.size()));
      up.feed(reply.substr(cut % reply.size()));
      std::string back = down.sink.take();
      ASSERT_EQ(up.events.broken, 0) << v.name << " " << up.events.broken_detail;
      ASSERT_EQ(codec.probe(back, r, DRAGOMAN_FROM_SERVER), DRAGOMAN_FRAME) << v.name;
      EXPECT_EQ(codec.id_text(back, r), v.id);
      EXPECT_TRUE(hop.failures.empty()) << v.name;
    }
  }
}

/// rewrite-X.hex is X.hex with another id; of the protocol's other encodings there may be more.
TEST_P(DescriptorVectors, AnotherIdGivesTheBytesOfTheIndex) {
  const std::string folder = source_dir() + "/tests/vectors/" + std::string(GetParam().vectors) + "/";
  for (const DescribedVector& v : vectors) {
    if (v.verdict != "frame" || !std::filesystem::exists(folder + "rewrite-" + v.name + ".hex")) continue;
    const std::string wanted = read_hex(folder + "rewrite-" + v.name + ".hex");
    dragoman_frame f, g;
    ASSERT_EQ(codec.probe(v.bytes, f, v.from()), DRAGOMAN_FRAME);
    ASSERT_EQ(codec.probe(wanted, g, v.from()), DRAGOMAN_FRAME) << v.name;
    ASSERT_NE(g.id, f.id) << v.name;
    const std::string other = with_id(v.bytes, f, wanted, g, codec.table());
    // There the index leaves the old number and puts the new one behind: peers take the last.
    if (std::string_view(GetParam().name) != "baidu_std") {
      EXPECT_EQ(other, wanted) << v.name;
    }
    dragoman_frame h;
    ASSERT_EQ(codec.probe(other, h, v.from()), DRAGOMAN_FRAME) << v.name;
    EXPECT_EQ(h.id, g.id) << v.name;
    EXPECT_EQ(codec.view(other, h).method, codec.view(wanted, g).method) << v.name;
  }
}

TEST_P(DescriptorVectors, RepliesReadBackWithTheCallersId) {
  const dragoman_codec& t = codec.table();
  for (const DescribedVector& v : vectors) {
    if (v.kind != "request") continue;
    dragoman_frame f;
    int verdict = codec.probe(v.bytes, f, v.from());
    if (verdict != DRAGOMAN_FRAME && verdict != DRAGOMAN_UNSUPPORTED) continue;
    for (uint32_t outcome = 1; outcome <= DRAGOMAN_OUTCOME_RATE_LIMITED; ++outcome) {
      std::string text = "no \"<&>' | ;\n\\ way";
      uint8_t out[4096];
      int64_t n = t.reply(t.context, nullptr, data_of(v.bytes), &f, outcome,
                          {data_of(text), text.size()}, out, sizeof out);
      ASSERT_GT(n, 0) << v.name;
      // A short buffer says how much it takes.
      uint8_t few[8];
      EXPECT_EQ(t.reply(t.context, nullptr, data_of(v.bytes), &f, outcome, {data_of(text), text.size()}, few, 8), n);
      std::string reply(reinterpret_cast<char*>(out), static_cast<size_t>(n));
      dragoman_frame r;
      ASSERT_EQ(codec.probe(reply, r, DRAGOMAN_FROM_SERVER), DRAGOMAN_FRAME)
          << v.name << ": " << (r.reason ? r.reason : "");
      EXPECT_EQ(r.kind, static_cast<uint32_t>(DRAGOMAN_RESPONSE));
      EXPECT_EQ(r.total_len, reply.size());
      EXPECT_EQ(codec.id_text(reply, r), codec.id_text(v.bytes, f)) << v.name;
      EXPECT_NE(t.outcome(t.context, nullptr, data_of(reply), &r), DRAGOMAN_OUTCOME_OK) << v.name;
      if (r.checksum == DRAGOMAN_CHECKSUM_CUSTOM) {
        EXPECT_EQ(t.checksum(t.context, nullptr, out, &r, 0), 1);
      }
    }
  }
}

TEST_P(DescriptorVectors, EditsChangeHeadersAndNothingElse) {
  const dragoman_codec& t = codec.table();
  if (!t.edit) return;
  int edited = 0;
  for (const DescribedVector& v : vectors) {
    if (v.verdict != "frame" || (v.kind != "request" && v.kind != "response")) continue;
    dragoman_frame f;
    ASSERT_EQ(codec.probe(v.bytes, f, v.from()), DRAGOMAN_FRAME);
    Codec::Seen before = codec.view(v.bytes, f);
    auto bytes = [](std::string_view s) { return dragoman_bytes{reinterpret_cast<const uint8_t*>(s.data()), s.size()}; };
    std::vector<dragoman_edit> edits = {{DRAGOMAN_EDIT_SET, 0, bytes("X-New"), bytes("one")},
                                        {DRAGOMAN_EDIT_SET, 0, bytes("X-New"), bytes("two")},
                                        {DRAGOMAN_EDIT_ADD, 0, bytes("X-More"), bytes("three")},
                                        {DRAGOMAN_EDIT_REMOVE, 0, bytes("X-None"), bytes("")}};
    uint8_t out[8192];
    int64_t n = t.edit(t.context, nullptr, data_of(v.bytes), &f, edits.data(), 4, out, sizeof out);
    if (before.opaque) {
      EXPECT_LT(n, 0) << v.name;
      continue;
    }
    ASSERT_GT(n, 0) << v.name;
    std::string changed(reinterpret_cast<char*>(out), static_cast<size_t>(n));
    changed += v.bytes.substr(f.head_len);
    if (f.checksum == DRAGOMAN_CHECKSUM_CUSTOM) {
      dragoman_frame c;
      ASSERT_EQ(codec.probe(changed, c, v.from()), DRAGOMAN_FRAME);
      ASSERT_EQ(t.checksum(t.context, nullptr, reinterpret_cast<uint8_t*>(changed.data()), &c, 1), 1);
    }
    dragoman_frame g;
    ASSERT_EQ(codec.probe(changed, g, v.from()), DRAGOMAN_FRAME)
        << v.name << ": " << (g.reason ? g.reason : "");
    EXPECT_EQ(g.total_len, changed.size()) << v.name;
    EXPECT_EQ(g.kind, f.kind);
    EXPECT_EQ(codec.id_text(changed, g), codec.id_text(v.bytes, f));
    Codec::Seen after = codec.view(changed, g);
    ASSERT_EQ(after.result, 0) << v.name;
    EXPECT_EQ(after.service, before.service);
    EXPECT_EQ(after.method, before.method);
    EXPECT_EQ(after.header("x-new"), "two") << v.name;
    EXPECT_EQ(after.header("x-more"), "three") << v.name;
    EXPECT_EQ(after.headers.size(), before.headers.size() + 2) << v.name;
    for (const auto& [name, value] : before.headers) EXPECT_EQ(after.header(name), before.header(name));
    // Taking them out again gives what was there.
    std::vector<dragoman_edit> undo = {{DRAGOMAN_EDIT_REMOVE, 0, bytes("x-new"), bytes("")},
                                       {DRAGOMAN_EDIT_REMOVE, 0, bytes("x-more"), bytes("")}};
    n = t.edit(t.context, nullptr, data_of(changed), &g, undo.data(), 2, out, sizeof out);
    ASSERT_GT(n, 0) << v.name;
    dragoman_frame h;
    std::string undone(reinterpret_cast<char*>(out), static_cast<size_t>(n));
    ASSERT_EQ(codec.probe(undone, h, v.from()), DRAGOMAN_FRAME) << v.name;
    EXPECT_EQ(codec.view(undone, h).headers, before.headers) << v.name;
    ++edited;
  }
  EXPECT_GT(edited, 2);
}

TEST_P(DescriptorVectors, SpoiledBytesNeverGiveWhatCantBeTrue) {
  std::mt19937 random(11);
  const dragoman_codec& t = codec.table();
  for (const DescribedVector& v : vectors) {
    if (v.bytes.size() > 600) continue;
    for (size_t at = 0; at < v.bytes.size(); ++at) {
      for (int value : {0, 1, 0x7f, 0x80, 0xff, static_cast<int>(random() % 256)}) {
        std::string spoiled = v.bytes;
        spoiled[at] = static_cast<char>(value);
        dragoman_frame f;
        int verdict = codec.probe(spoiled, f, v.from());
        std::string what = v.name + " byte " + std::to_string(at) + " = " + std::to_string(value);
        expect_true(codec, verdict, f, spoiled.size(), what);
        if (verdict != DRAGOMAN_FRAME || f.head_len > spoiled.size()) continue;
        Codec::Seen seen = codec.view(spoiled, f);
        if (seen.result != 0) continue;
        std::vector<uint8_t> head(spoiled.begin(), spoiled.begin() + static_cast<std::ptrdiff_t>(f.head_len));
        if (f.kind == DRAGOMAN_RESPONSE) {
          EXPECT_LE(t.outcome(t.context, nullptr, head.data(), &f), uint32_t{DRAGOMAN_OUTCOME_RATE_LIMITED});
        }
        if (f.kind == DRAGOMAN_REQUEST) {
          uint8_t out[4096];
          EXPECT_GT(t.reply(t.context, nullptr, head.data(), &f, DRAGOMAN_OUTCOME_TIMEOUT, {nullptr, 0}, out, sizeof out), 0)
              << what;
        }
      }
    }
  }
}

// ---------------------------------------------------------------- frames of our own, byte for byte

std::string hex_of(const char* file) {
  return read_hex(source_dir() + "/tests/vectors/" + std::string(file) + ".hex");
}

TEST(DescribedAnswers, AreThoseOfTheIndex) {
  struct Row {
    const char *descriptor, *request, *answer;
    uint32_t outcome;
    const char* text;
  };
  const Row rows[] = {
      {"axis", "axis/axis-request", "axis/axis-error", DRAGOMAN_OUTCOME_TIMEOUT, "mesh: upstream timeout"},
      {"lumen", "lumen/lumen-request", "lumen/lumen-error", DRAGOMAN_OUTCOME_TIMEOUT,
       "mesh: upstream timeout"},
      {"kafka", "kafka/kafka-call-apiversions-v3-flexible", "kafka/kafka-reply-unsupported-version",
       DRAGOMAN_OUTCOME_CLIENT_ERROR, ""},
      {"motan2", "motan2/motan2-call-getorder-min", "motan2/motan2-hijack-no-route",
       DRAGOMAN_OUTCOME_NO_ROUTE, "mesh: no route"},
      {"motan2", "motan2/motan2-call-getorder-min", "motan2/motan2-hijack-no-healthy-upstream",
       DRAGOMAN_OUTCOME_UNAVAILABLE, "mesh: no healthy upstream"},
      {"motan2", "motan2/motan2-call-getorder-min", "motan2/motan2-hijack-overflow",
       DRAGOMAN_OUTCOME_OVERLOADED, "mesh: upstream overflow"},
      {"motan2", "motan2/motan2-call-getorder-min", "motan2/motan2-hijack-timeout", DRAGOMAN_OUTCOME_TIMEOUT,
       "mesh: upstream timeout"},
  };
  for (const Row& row : rows) {
    const Codec codec(row.descriptor);
    const dragoman_codec& t = codec.table();
    const std::string request = hex_of(row.request), wanted = hex_of(row.answer);
    dragoman_frame f;
    ASSERT_EQ(codec.probe(request, f), DRAGOMAN_FRAME) << row.request;
    uint8_t out[1024];
    const std::string text = row.text;
    int64_t n = t.reply(t.context, nullptr, data_of(request), &f, row.outcome, {data_of(text), text.size()},
                        out, sizeof out);
    ASSERT_GT(n, 0) << row.answer;
    EXPECT_EQ(std::string(reinterpret_cast<char*>(out), static_cast<size_t>(n)), wanted) << row.answer;
  }
}

TEST(DescribedHeartbeats, AreThoseOfTheIndex) {
  struct Row {
    const char *descriptor, *asks, *answers, *goaway;
    uint64_t id;
  };
  const Row rows[] = {
      {"axis", "axis/axis-heartbeat", "axis/axis-heartbeat-ack", nullptr, 9},
      {"lumen", "lumen/lumen-heartbeat", "lumen/lumen-heartbeat-ack", "lumen/lumen-bye", 5},
      {"motan2", "motan2/motan2-heartbeat-request", "motan2/motan2-heartbeat-response", nullptr,
       1733368500000001034},
  };
  for (const Row& row : rows) {
    const Codec codec(row.descriptor);
    const dragoman_codec& t = codec.table();
    uint8_t out[256];
    auto made = [&](int64_t n) {
      return std::string(reinterpret_cast<char*>(out), n > 0 ? static_cast<size_t>(n) : 0);
    };
    const std::string asks = hex_of(row.asks);
    EXPECT_EQ(made(t.heartbeat(t.context, nullptr, 0, row.id, out, sizeof out)), asks) << row.asks;
    dragoman_frame f;
    ASSERT_EQ(codec.probe(asks, f), DRAGOMAN_FRAME);
    EXPECT_EQ(made(t.heartbeat_reply(t.context, nullptr, data_of(asks), &f, out, sizeof out)),
              hex_of(row.answers));
    if (row.goaway) {
      EXPECT_EQ(made(t.goaway(t.context, nullptr, 0, out, sizeof out)), hex_of(row.goaway));
    }
  }
}

/// What the index tells of calls beyond service and method.
TEST(DescribedAttributes, AreThoseOfTheIndex) {
  struct Row {
    const char *descriptor, *request, *name, *value;
  };
  const Row rows[] = {
      {"axis", "axis/axis-request", "zone", "hz-a"},
      {"axis", "axis/axis-request", "first-name", "demo.OrderService"},
      {"axis", "axis/axis-request-nocrc", "first-name", "echo"},
      {"lumen", "lumen/lumen-request", "app", "shop"},
      {"lumen", "lumen/lumen-oneway", "app", "shop"},
      {"kafka", "kafka/kafka-call-metadata", "client-id", "demo-app"},
      {"kafka", "kafka/kafka-call-apiversions-v3-flexible", "client-id", "demo-app"},
  };
  for (const Row& row : rows) {
    const Codec codec(row.descriptor);
    const std::string bytes = hex_of(row.request);
    dragoman_frame f;
    ASSERT_EQ(codec.probe(bytes, f), DRAGOMAN_FRAME);
    EXPECT_EQ(codec.view(bytes, f).header(row.name), row.value) << row.request;
  }
}

TEST(DescribedIds, StandWhereTheSenderPutsThem) {
  const Codec codec("kafka");
  for (const DescribedVector& v : vectors_of("kafka")) {
    if (v.verdict != "frame") continue;
    dragoman_frame f;
    ASSERT_EQ(codec.probe(v.bytes, f, v.from()), DRAGOMAN_FRAME) << v.name;
    EXPECT_EQ(f.id_offset, v.from() == DRAGOMAN_FROM_CLIENT ? 8u : 4u) << v.name;
    EXPECT_EQ(f.id_len, 4u) << v.name;
    // Who does not know the sender takes it for a client.
    dragoman_frame g;
    const int verdict = codec.probe(v.bytes, g, DRAGOMAN_FROM_UNKNOWN);
    if (v.from() == DRAGOMAN_FROM_CLIENT) {
      EXPECT_EQ(verdict, DRAGOMAN_FRAME) << v.name;
      EXPECT_EQ(g.kind, f.kind) << v.name;
    } else {
      EXPECT_FALSE(verdict == DRAGOMAN_FRAME && g.kind == DRAGOMAN_RESPONSE) << v.name;
    }
  }
}

TEST(DescribedLists, AreReadByPlaceAndWrittenInOrder) {
  const char* text = R"(
descriptor: 1
name: listed
match: ["u8@0 == 0x4c"]
layouts:
  any:
    items:
      magic: {type: u8, value: 0x4c}
      kind: {type: u8, bits: {answer: 0x80, place: 0x0f}}
      id: u32
      code: u8
      words: {prefix: u16, list: {entry: i16s}}
      body: {prefix: u32, body: true}
id: id
kind:
- {is: response, when: [answer == 1]}
- {is: request}
status: {from: code, outcome: {0: ok}, other: server_error, reply: {other: 1}}
service: "words[place]"
method: "words[1]"
make:
  reply: {layout: any, set: {answer: 1, place: 2, id: "${id}", code: "${status}", words: ["", "${request.words[place]}", "${text}"]}}
)";
  auto loaded = descriptor::load_string(text, "listed.yaml");
  ASSERT_NE(loaded.descriptor, nullptr) << config::render_text(loaded.diagnostics, loaded.source);
  const Codec codec(loaded.descriptor);
  const dragoman_codec& t = codec.table();
  // The second text is null.
  auto call = [](uint8_t place) {
    return from_hex("4c0" + std::to_string(place) + "00000007000009000161ffff0002636400000000");
  };
  struct Row {
    uint8_t place;
    const char* service;
  };
  for (const Row& row : {Row{0, "a"}, Row{1, ""}, Row{2, "cd"}, Row{3, ""}}) {
    const std::string bytes = call(row.place);
    dragoman_frame f;
    ASSERT_EQ(codec.probe(bytes, f), DRAGOMAN_FRAME) << f.reason;
    Codec::Seen seen = codec.view(bytes, f);
    EXPECT_EQ(seen.service, row.service);
    EXPECT_EQ(seen.method, "");
    uint8_t out[64];
    const std::string why = "late";
    int64_t n = t.reply(t.context, nullptr, data_of(bytes), &f, DRAGOMAN_OUTCOME_TIMEOUT,
                        {data_of(why), why.size()}, out, sizeof out);
    ASSERT_GT(n, 0);
    const std::string reply(reinterpret_cast<char*>(out), static_cast<size_t>(n));
    ASSERT_EQ(codec.probe(reply, f, DRAGOMAN_FROM_SERVER), DRAGOMAN_FRAME);
    EXPECT_EQ(codec.view(reply, f).service, "late");
    EXPECT_EQ(codec.view(reply, f).method, row.service);
  }
  std::string cut = call(0);
  cut[8] = 8;  // of nine bytes of texts
  dragoman_frame f;
  EXPECT_NE(codec.probe(cut, f) == DRAGOMAN_FRAME ? codec.view(cut, f).service : "", "a");
}

INSTANTIATE_TEST_SUITE_P(All, DescriptorVectors, ::testing::ValuesIn(with_vectors()),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace dragoman::testing
