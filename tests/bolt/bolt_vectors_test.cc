// Every captured frame decodes to what its index says, passes both roles at every split, and keeps every
// other byte when its id is rewritten.
#include <gtest/gtest.h>

#include "protocols/bolt/bolt.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

dragoman_frame probe(std::string_view bytes, int* verdict = nullptr) {
  dragoman_frame f{};
  f.size = sizeof f;
  int v = bolt_codec()->probe(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                              &f);
  if (verdict) *verdict = v;
  return f;
}

class Vectors : public ::testing::TestWithParam<BoltVector> {
 protected:
  const BoltVector& v = GetParam();
};

uint32_t kind_of(const BoltVector& v) {
  if (v.kind == "heartbeat") return DRAGOMAN_HEARTBEAT;
  if (v.kind == "heartbeat_ack") return DRAGOMAN_HEARTBEAT_ACK;
  if (v.kind == "goaway") return DRAGOMAN_GOAWAY;
  if (v.kind == "oneway") return DRAGOMAN_ONEWAY;
  return v.is_response() ? DRAGOMAN_RESPONSE : DRAGOMAN_REQUEST;
}

TEST_P(Vectors, Probe) {
  int verdict = -1;
  dragoman_frame f = probe(v.bytes, &verdict);
  ASSERT_EQ(verdict, DRAGOMAN_FRAME);
  EXPECT_EQ(f.kind, kind_of(v));
  EXPECT_EQ(f.total_len, v.number("total"));
  EXPECT_EQ(f.total_len, v.bytes.size());
  EXPECT_EQ(f.id, v.number("id"));
  EXPECT_EQ(f.id_len, 4u);
  size_t fixed = (v.number("proto") == 2 ? 2 : 0) + (v.is_response() ? 20 : 22);
  EXPECT_EQ(f.head_len, fixed + v.number("class_len") + v.number("header_len"));
  EXPECT_EQ(f.total_len - f.head_len - (f.checksum ? 4 : 0), v.number("content_len"));
  if (v.is_response()) {
    EXPECT_EQ(f.status, static_cast<int32_t>(v.number("status")));
  } else {
    EXPECT_EQ(f.timeout_ms, static_cast<int64_t>(v.number("timeout_ms")));
  }
  EXPECT_EQ(f.variant, v.number("proto") << 8 | v.number("ver1"));
  EXPECT_EQ(f.checksum != DRAGOMAN_CHECKSUM_NONE, v.text("crc32") != "");
  if (f.checksum) {
    EXPECT_EQ(f.checksum_offset, v.bytes.size() - 4);
    EXPECT_EQ(v.bytes.substr(f.checksum_offset), be(v.number("crc32"), 4));
  }
}

TEST_P(Vectors, EveryPrefixNeedsMoreAndSaysHowMuch) {
  dragoman_frame whole = probe(v.bytes);
  for (size_t n = 1; n < v.bytes.size(); ++n) {
    int verdict = -1;
    dragoman_frame f = probe(v.bytes.substr(0, n), &verdict);
    if (verdict == DRAGOMAN_FRAME) {
      EXPECT_EQ(f.total_len, whole.total_len);
      EXPECT_EQ(f.head_len, whole.head_len);
      EXPECT_EQ(f.id, whole.id);
    } else {
      ASSERT_EQ(verdict, DRAGOMAN_NEED) << n;
      EXPECT_GT(f.need, n);
      EXPECT_LE(f.need, whole.total_len) << "waits for more than the frame has";
    }
  }
  EXPECT_LE(bolt_codec()->detect_bytes_max, 24u);
}

/// Feeds the vector to a server-role connection in two pieces cut at `cut`, passes what comes out on, and
/// checks both ends.
void pass_request(const BoltVector& v, size_t cut, size_t step) {
  FramedConnection down(bolt_codec(), Role::kServer);
  FramedConnection up(bolt_codec(), Role::kClient);
  Hop hop(down, up);
  if (step)
    down.feed_in_steps(v.bytes, step);
  else {
    down.feed(v.bytes.substr(0, cut));
    down.feed(v.bytes.substr(cut));
  }
  ASSERT_EQ(down.events.broken, 0) << down.events.broken_detail;
  ASSERT_EQ(down.accepted(), 1u);
  FakeMessageSink& sink = down.at(0);
  EXPECT_TRUE(sink.ended);
  std::string sent = up.sink.take();
  ASSERT_EQ(sent.size(), v.bytes.size());
  ASSERT_EQ(sent, with_bolt_id(v.bytes, bolt_id(sent)));
  EXPECT_EQ(down.codec->phase(), ReadPhase::kIdle);
  if (v.kind == "oneway") {
    EXPECT_EQ(down.codec->open_exchanges(), 0u);
    EXPECT_EQ(up.codec->open_exchanges(), 0u);
    return;
  }
  EXPECT_EQ(sink.head->is_request, true);
  EXPECT_EQ(sink.head->service, v.text("service").empty() ? v.text("class") : v.text("service"));
  if (!v.text("method").empty()) {
    EXPECT_EQ(sink.head->method, v.text("method"));
  }
  // The header section says some of it twice: as it stands, and as attributes.
  size_t attributes = v.headers.count("TX_XID");
  if (v.headers.count("rpc_trace_context.sofaTraceId") || v.headers.count("new_rpc_trace_context")) attributes += 2;
  EXPECT_EQ(sink.head->headers.size(), v.headers.size() + attributes);
  for (const auto& [key, value] : v.headers) EXPECT_EQ(sink.head->header(key), value) << key;
  EXPECT_EQ(sink.head->opaque, v.headers.empty());
  auto timeout = static_cast<int64_t>(v.number("timeout_ms"));
  EXPECT_EQ(sink.head->timeout_ms, timeout > 0 ? timeout : -1);
}

/// A client-role connection with one request out; returns the id it has on the wire.
uint32_t ask(FramedConnection& down, FramedConnection& up, uint32_t id) {
  down.feed(BoltFrame::request(id).bytes());
  return bolt_id(up.sink.take());
}

void pass_response(const BoltVector& v, size_t cut, size_t step) {
  FramedConnection down(bolt_codec(), Role::kServer);
  FramedConnection up(bolt_codec(), Role::kClient);
  Hop hop(down, up);
  auto id = static_cast<uint32_t>(v.number("id"));
  std::string answer = with_bolt_id(v.bytes, ask(down, up, id));
  if (step)
    up.feed_in_steps(answer, step);
  else {
    up.feed(answer.substr(0, cut));
    up.feed(answer.substr(cut));
  }
  ASSERT_EQ(up.events.broken, 0) << up.events.broken_detail;
  ASSERT_EQ(down.sink.take(), v.bytes);
  EXPECT_EQ(down.codec->open_exchanges(), 0u);
  EXPECT_EQ(up.codec->open_exchanges(), 0u);
}

TEST_P(Vectors, PassesAtEverySplit) {
  uint32_t kind = kind_of(v);
  size_t stride = v.bytes.size() > 1000 ? 7 : 1;
  if (kind == DRAGOMAN_REQUEST || kind == DRAGOMAN_ONEWAY) {
    for (size_t cut = 1; cut < v.bytes.size(); cut += stride) pass_request(v, cut, 0);
    pass_request(v, v.bytes.size(), 0);
    pass_request(v, 0, 1);
  } else if (kind == DRAGOMAN_RESPONSE) {
    for (size_t cut = 1; cut < v.bytes.size(); cut += stride) pass_response(v, cut, 0);
    pass_response(v, v.bytes.size(), 0);
    pass_response(v, 0, 1);
  }
}

TEST_P(Vectors, ControlFramesAreNotRouted) {
  uint32_t kind = kind_of(v);
  if (kind != DRAGOMAN_HEARTBEAT && kind != DRAGOMAN_HEARTBEAT_ACK && kind != DRAGOMAN_GOAWAY) return;
  for (size_t cut = 1; cut <= v.bytes.size(); ++cut) {
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(v.bytes.substr(0, cut));
    c.feed(v.bytes.substr(cut));
    EXPECT_EQ(c.accepted(), 0u);
    EXPECT_EQ(c.events.broken, 0);
    if (kind == DRAGOMAN_HEARTBEAT) {
      // The ack of the same peer in the same form, apart from checksums: those are per frame.
      BoltFrame ack = BoltFrame::heartbeat(static_cast<uint32_t>(v.number("id")));
      ack.proto = static_cast<uint8_t>(v.number("proto"));
      ack.ver1 = static_cast<uint8_t>(v.number("ver1"));
      ack.type = 0;
      EXPECT_EQ(c.sink.take(), ack.bytes());
    } else {
      EXPECT_EQ(c.sink.take(), "");
    }
    EXPECT_EQ(c.events.goaways, kind == DRAGOMAN_GOAWAY ? 1 : 0);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Vectors, ::testing::ValuesIn(bolt_vectors()), [](const auto& row) {
  std::string name = row.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(BoltVectors, ResponseHeadersAndOutcome) {
  struct Row {
    const char* name;
    Outcome outcome;
  } rows[] = {
      {"bolt-v1-response-bizerror", Outcome::kServerError},  // status 0, the header says it
      {"bolt-v1-response-service-not-found", Outcome::kServerError},
      {"bolt-v1-response-plus", Outcome::kOk},
      {"bolt-v1-node-pb-response", Outcome::kOk},                 // sofa_head_response_error=false
      {"bolt-v1-node-response-bizerror", Outcome::kServerError},  // status 2
      {"bolt-v1-java-response-threadpool-busy", Outcome::kOverloaded},
      {"bolt-v1-hijack-timeout", Outcome::kTimeout},
      {"jraft-no-processor-response", Outcome::kServerError},
  };
  auto all = bolt_vectors();
  for (const Row& row : rows) {
    auto it = std::find_if(all.begin(), all.end(), [&](const BoltVector& v) { return v.name == row.name; });
    ASSERT_NE(it, all.end()) << row.name;
    FramedConnection down(bolt_codec(), Role::kServer);
    FramedConnection up(bolt_codec(), Role::kClient);
    down.feed(BoltFrame::request(5).bytes());
    FakeMessageSink answer;
    answer.exchange = up.codec->open(answer);
    ASSERT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kNone);
    answer.exchange->send_body({reinterpret_cast<const uint8_t*>("body"), 4}, true);
    up.feed(with_bolt_id(it->bytes, bolt_id(up.sink.take())));
    ASSERT_NE(answer.head, nullptr) << row.name;
    EXPECT_EQ(answer.head->outcome, row.outcome) << row.name;
    EXPECT_EQ(answer.head->status, it->number("status")) << row.name;
    EXPECT_EQ(answer.head->headers.size(), it->headers.size()) << row.name;
    for (const auto& [key, value] : it->headers)
      EXPECT_EQ(answer.head->header(key), value) << row.name << key;
    answer.release();
  }
}

TEST(BoltVectors, LocalRepliesEqualWhatPeersAccept) {
  struct Row {
    const char* vector;
    Outcome outcome;
  } rows[] = {
      {"bolt-v1-hijack-no-route", Outcome::kNoRoute},
      {"bolt-v1-hijack-no-healthy-upstream", Outcome::kUnavailable},
      {"bolt-v1-hijack-overflow", Outcome::kOverloaded},
      {"bolt-v1-hijack-timeout", Outcome::kTimeout},
      {"bolt-v1-hijack-codec-error", Outcome::kCodecError},
      {"bolt-v1-hijack-deserialize-error", Outcome::kClientError},
      {"bolt-v1-hijack-upstream-closed", Outcome::kReset},
      {"bolt-v1-hijack-unknown", Outcome::kUnknown},
      {"bolt-v1-hijack-overflow", Outcome::kRateLimited},
      {"bolt-v2-hijack-no-route", Outcome::kNoRoute},
  };
  auto all = bolt_vectors();
  for (const Row& row : rows) {
    auto it = std::find_if(all.begin(), all.end(), [&](const BoltVector& v) { return v.name == row.vector; });
    ASSERT_NE(it, all.end()) << row.vector;
    BoltFrame request = BoltFrame::request(static_cast<uint32_t>(it->number("id")));
    request.proto = static_cast<uint8_t>(it->number("proto"));
    request.ver1 = static_cast<uint8_t>(it->number("ver1"));
    request.flags = 1;  // the reply's switch is 0 all the same
    request.codec = static_cast<uint8_t>(it->number("codec"));
    std::string bytes = request.bytes();
    dragoman_frame f = probe(bytes);
    uint8_t out[64];
    int64_t n = bolt_codec()->reply(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), &f,
                                    static_cast<uint32_t>(row.outcome), {nullptr, 0}, out, sizeof out);
    ASSERT_GT(n, 0);
    EXPECT_EQ(std::string(reinterpret_cast<char*>(out), static_cast<size_t>(n)), it->bytes) << row.vector;
  }
}

TEST(BoltVectors, RefusedOnes) {
  struct Row {
    const char* name;
    bool broken;         // the connection
    const char* answer;  // hex status of a local reply, or null
    bool accepted;       // a request goes through
  } rows[] = {
      {"bad-bolt-unknown-proto", true, nullptr, false},
      {"bad-bolt-v1-bad-type", true, nullptr, false},
      {"bad-bolt-v1-header-kv-overrun", false, nullptr, true},
      {"bad-bolt-v1-header-len-over-32767", true, "0009", false},
      {"bad-bolt-v1-header-null-value", false, nullptr, true},
      {"bad-bolt-v1-huge-content", true, "0009", false},
      {"bad-bolt-v1-short-header", false, nullptr, false},
      {"bad-bolt-v2-crc-mismatch", true, nullptr, false},
      {"bad-bolt-v2-ver1-3", true, "0009", false},
      {"bad-bolt-unknown-status", false, nullptr, false},  // a legal frame; an answer to nobody here
  };
  for (const Row& row : rows) {
    std::string bytes = read_hex((source_dir() + "/tests/vectors/bolt/") + row.name + ".hex");
    for (size_t step : {bytes.size(), size_t{1}, size_t{5}}) {
      FramedConnection c(bolt_codec(), Role::kServer);
      c.feed_in_steps(bytes, step);
      EXPECT_EQ(c.events.broken, row.broken ? 1 : 0) << row.name << " step " << step;
      EXPECT_EQ(c.accepted(), row.accepted ? 1u : 0u) << row.name;
      std::string out = c.sink.take();
      if (row.answer) {
        bool v2 = bytes[0] == 2;
        ASSERT_EQ(out.size(), v2 ? 22u : 20u) << row.name << " step " << step;
        EXPECT_EQ(bolt_id(out), bolt_id(bytes));
        EXPECT_EQ(out.substr(v2 ? 12 : 10, 2), be(std::stoul(row.answer, nullptr, 16), 2)) << row.name;
      } else {
        EXPECT_EQ(out, "") << row.name;
      }
    }
  }
}

}  // namespace
}  // namespace dragoman::testing
