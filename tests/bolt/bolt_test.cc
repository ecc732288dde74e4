// The rules and traps of Bolt's codec table, one by one.
#include "protocols/bolt/bolt.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

struct Probed {
  int verdict;
  dragoman_frame f{};
};

Probed probe(std::string_view bytes) {
  Probed p{};
  p.f.size = sizeof p.f;
  p.verdict =
      bolt_codec()->probe(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                          &p.f);
  return p;
}

struct Viewed {
  std::string service, method;
  std::vector<std::pair<std::string, std::string>> headers;
  bool opaque = false;
  bool refused = false;  // all else is empty
};

std::string text(dragoman_bytes b) {
  return {reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len)};
}

Viewed view(const std::string& bytes, uint32_t want = 7) {
  Probed p = probe(bytes);
  Viewed out;
  dragoman_view v{};
  v.size = sizeof v;
  v.ctx = &out;
  v.header = [](void* ctx, dragoman_bytes name, dragoman_bytes value) {
    static_cast<Viewed*>(ctx)->headers.emplace_back(text(name), text(value));
  };
  if (bolt_codec()->view(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), &p.f, want, &v)) {
    Viewed none;
    none.refused = true;
    return none;
  }
  out.service = text(v.service);
  out.method = text(v.method);
  out.opaque = v.flags & DRAGOMAN_VIEW_OPAQUE;
  if (out.opaque) out.headers.clear();
  return out;
}

dragoman_edit edit_of(uint32_t op, std::string_view name, std::string_view value = {}) {
  return {op,
          0,
          {reinterpret_cast<const uint8_t*>(name.data()), name.size()},
          {reinterpret_cast<const uint8_t*>(value.data()), value.size()}};
}

/// The whole frame after the edits; empty when they can't be done.
std::string edited(const std::string& bytes, const std::vector<dragoman_edit>& edits, size_t cap = 100000) {
  Probed p = probe(bytes);
  std::vector<uint8_t> out(cap);
  int64_t n = bolt_codec()->edit(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), &p.f,
                                 edits.data(),
                                 static_cast<uint32_t>(edits.size()), out.data(), cap);
  if (n < 0) return {};
  if (n > static_cast<int64_t>(cap)) return edited(bytes, edits, static_cast<size_t>(n));
  return std::string(reinterpret_cast<char*>(out.data()), static_cast<size_t>(n)) +
         bytes.substr(p.f.head_len);
}

TEST(Bolt, TableIsValid) {
  EXPECT_TRUE(check_codec(*bolt_codec()).has_value());
  EXPECT_EQ(bolt_codec()->abilities, uint64_t{DRAGOMAN_CAN_HEARTBEAT | DRAGOMAN_CAN_GOAWAY |
                                              DRAGOMAN_CAN_EDIT | DRAGOMAN_CAN_MULTIPLEX});
  EXPECT_EQ(bolt_codec()->conn_state_size, 0u);
}

TEST(Bolt, ProbeVerdicts) {
  struct Row {
    const char* what;
    BoltFrame frame;
    int verdict;
    uint32_t kind;
    bool skippable = false;  // UNSUPPORTED, but its end is known
  };
  auto make = [](auto change) {
    BoltFrame f = BoltFrame::request(9);
    change(f);
    return f;
  };
  const Row rows[] = {
      {"request", make([](auto&) {}), DRAGOMAN_FRAME, DRAGOMAN_REQUEST},
      {"one-way", make([](auto& f) { f.type = 2; }), DRAGOMAN_FRAME, DRAGOMAN_ONEWAY},
      {"response", BoltFrame::response(9), DRAGOMAN_FRAME, DRAGOMAN_RESPONSE},
      {"heartbeat with a body", make([](auto& f) { f.command = 0; }), DRAGOMAN_FRAME, DRAGOMAN_HEARTBEAT},
      {"goaway", make([](auto& f) { f.command = 100; }), DRAGOMAN_FRAME, DRAGOMAN_GOAWAY},
      {"one-way goaway", make([](auto& f) { f.command = 100, f.type = 2; }), DRAGOMAN_FRAME, DRAGOMAN_GOAWAY},
      {"unknown command", make([](auto& f) { f.command = 7; }), DRAGOMAN_UNSUPPORTED, DRAGOMAN_REQUEST, true},
      {"request with a response's command", make([](auto& f) { f.command = 2; }), DRAGOMAN_UNSUPPORTED,
       DRAGOMAN_REQUEST, true},
      {"response with a request's command", make([](auto& f) { f.type = 0; }), DRAGOMAN_UNSUPPORTED,
       DRAGOMAN_RESPONSE, true},
      {"one-way heartbeat", make([](auto& f) { f.command = 0, f.type = 2; }), DRAGOMAN_UNSUPPORTED,
       DRAGOMAN_ONEWAY, true},
      {"goaway as a response", make([](auto& f) { f.command = 100, f.type = 0; }), DRAGOMAN_UNSUPPORTED,
       DRAGOMAN_RESPONSE, true},
      {"command version", make([](auto& f) { f.ver2 = 2; }), DRAGOMAN_UNSUPPORTED, DRAGOMAN_REQUEST, true},
      {"ver1 of 0", make([](auto& f) { f.proto = 2, f.ver1 = 0; }), DRAGOMAN_UNSUPPORTED, DRAGOMAN_REQUEST},
      {"ver1 of 3", make([](auto& f) { f.proto = 2, f.ver1 = 3; }), DRAGOMAN_UNSUPPORTED, DRAGOMAN_REQUEST},
      {"switch with the sign bit", make([](auto& f) { f.proto = 2, f.flags = 0x80; }), DRAGOMAN_UNSUPPORTED,
       DRAGOMAN_REQUEST},
      {"switch with another bit", make([](auto& f) { f.proto = 2, f.flags = 0x02; }), DRAGOMAN_FRAME,
       DRAGOMAN_REQUEST},
      {"any codec byte", make([](auto& f) { f.codec = 77; }), DRAGOMAN_FRAME, DRAGOMAN_REQUEST},
      {"largest class", make([](auto& f) { f.class_name = std::string(32767, 'c'); }), DRAGOMAN_FRAME,
       DRAGOMAN_REQUEST},
      {"class too long", make([](auto& f) { f.class_name = std::string(32768, 'c'); }), DRAGOMAN_TOO_BIG,
       DRAGOMAN_REQUEST},
      {"largest header", make([](auto& f) { f.header = std::string(32767, 'h'); }), DRAGOMAN_FRAME,
       DRAGOMAN_REQUEST},
      {"header too long", make([](auto& f) { f.header = std::string(32768, 'h'); }), DRAGOMAN_TOO_BIG,
       DRAGOMAN_REQUEST},
  };
  for (const Row& row : rows) {
    Probed p = probe(row.frame.bytes());
    EXPECT_EQ(p.verdict, row.verdict) << row.what;
    EXPECT_EQ(p.f.kind, row.kind) << row.what;
    bool end_known = row.verdict == DRAGOMAN_FRAME || row.skippable;
    EXPECT_EQ(p.f.total_len, end_known ? row.frame.bytes().size() : 0u) << row.what;
    EXPECT_EQ(p.f.reason == nullptr, row.verdict == DRAGOMAN_FRAME) << row.what;
    EXPECT_GE(p.f.head_len, 20u) << row.what;
  }
  EXPECT_EQ(probe(std::string("\x03\x01", 2)).verdict, DRAGOMAN_NOT_MINE);
  EXPECT_EQ(probe("GET / HTTP/1.1\r\n").verdict, DRAGOMAN_NOT_MINE);
  EXPECT_EQ(probe(std::string("\x01\x03", 2)).verdict, DRAGOMAN_MALFORMED);
  EXPECT_EQ(probe(std::string("\x02\x01\x03", 3)).verdict, DRAGOMAN_MALFORMED);
}

TEST(Bolt, LengthsAddUpInSixtyFourBits) {
  std::string bytes = BoltFrame::request(1).bytes().substr(0, 22);
  bytes.replace(18, 4, "\x7f\xff\xff\xff");
  Probed p = probe(bytes);
  EXPECT_EQ(p.verdict, DRAGOMAN_FRAME);
  EXPECT_EQ(p.f.total_len,
            22 + BoltFrame::request(1).class_name.size() + BoltFrame::request(1).header.size() + 0x7fffffffu);
  bytes.replace(18, 4, "\x80\x00\x00\x00", 4);
  EXPECT_EQ(probe(bytes).verdict, DRAGOMAN_TOO_BIG);
  bytes.replace(18, 4, "\xff\xff\xff\xff");
  EXPECT_EQ(probe(bytes).verdict, DRAGOMAN_TOO_BIG);
}

TEST(Bolt, ChecksumNeedsVer1AndSwitch) {
  struct Row {
    uint8_t ver1, flags;
    bool crc;
  } rows[] = {{1, 0, false}, {1, 1, false}, {2, 0, false}, {2, 1, true}, {2, 3, true}, {2, 2, false}};
  for (const Row& row : rows) {
    BoltFrame f = BoltFrame::request(3);
    f.proto = 2, f.ver1 = row.ver1, f.flags = row.flags;
    Probed p = probe(f.bytes());
    EXPECT_EQ(p.f.checksum == DRAGOMAN_CHECKSUM_CRC32, row.crc) << int{row.ver1} << int{row.flags};
    EXPECT_EQ(p.f.total_len, f.bytes().size());
  }
}

TEST(Bolt, VariantsKeepPeersApart) {
  BoltFrame v1 = BoltFrame::request(1), v21 = v1, v22 = v1;
  v21.proto = v22.proto = 2;
  v22.ver1 = 2;
  uint32_t a = probe(v1.bytes()).f.variant, b = probe(v21.bytes()).f.variant,
           c = probe(v22.bytes()).f.variant;
  EXPECT_TRUE(a != b && b != c && a != c);
}

TEST(Bolt, TimeoutIsSigned) {
  for (int32_t ms : {-1, 0, 1, 3000, INT32_MAX, INT32_MIN}) {
    BoltFrame f = BoltFrame::request(1);
    f.timeout_ms = ms;
    EXPECT_EQ(probe(f.bytes()).f.timeout_ms, ms);
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed(f.bytes());
    EXPECT_EQ(c.at(0).head->timeout_ms, ms > 0 ? ms : -1);
  }
}

TEST(Bolt, View) {
  struct Row {
    const char* what;
    std::string class_name, header, service, method;
    bool opaque;
    size_t headers;
    bool refused = false;
  };
  const std::string sofa(kSofaRequest);
  const std::string null_pair = be(1, 4) + "a" + be(UINT32_MAX, 4);
  const Row rows[] = {
      {"service and method", sofa, kv("service", "S") + kv("sofa_head_method_name", "m"), "S", "m", false, 2},
      {"target service only", sofa, kv("sofa_head_target_service", "T"), "T", "", false, 1},
      {"target as service, whatever the order", sofa,
       kv("sofa_head_target_service", "S") + kv("service", "S"), "S", "", false, 2},
      {"target other than service", sofa, kv("sofa_head_target_service", "T") + kv("service", "S"), "", "",
       false, 0, true},
      {"service other than target", sofa, kv("service", "S") + kv("sofa_head_target_service", "T"), "", "",
       false, 0, true},
      {"empty service falls back", sofa, kv("service", "") + kv("sofa_head_target_service", "T"), "T", "",
       false, 2},
      {"service twice, the same", sofa, kv("service", "A") + kv("service", "A"), "A", "", false, 2},
      {"service twice", sofa, kv("service", "A") + kv("service", "B"), "", "", false, 0, true},
      {"target twice", sofa, kv("sofa_head_target_service", "A") + kv("sofa_head_target_service", "B"), "",
       "", false, 0, true},
      {"method twice", sofa, kv("sofa_head_method_name", "a") + kv("sofa_head_method_name", "b"), "", "",
       false, 0, true},
      {"null value is no header", sofa, null_pair + kv("service", "S"), "S", "", false, 1},
      {"null service falls back", sofa,
       be(7, 4) + "service" + be(UINT32_MAX, 4) + kv("sofa_head_target_service", "T"), "T", "", false, 1},
      {"null key", sofa, be(UINT32_MAX, 4) + be(1, 4) + "v" + kv("service", "S"), "S", "", false, 1},
      {"null key and value", sofa, be(UINT32_MAX, 4) + be(UINT32_MAX, 4) + kv("service", "S"), "S", "", false,
       1},
      {"empty key and value", sofa, kv("", "") + kv("service", "S"), "S", "", false, 2},
      {"no header section", sofa, "", "", "", false, 0},
      {"class of a response", std::string(kSofaResponse), kv("k", "v"), "", "", false, 1},
      {"value over the end", sofa, kv("service", "S") + be(1, 4) + "a" + be(2, 4) + "v", sofa, "SofaRequest",
       true, 0},
      {"key over the end", sofa, kv("service", "S") + be(200, 4) + "a", sofa, "SofaRequest", true, 0},
      {"length of -2", sofa, be(UINT32_MAX - 1, 4) + "aaaa", sofa, "SofaRequest", true, 0},
      {"half a length", sofa, kv("service", "S") + std::string(2, '\0'), sofa, "SofaRequest", true, 0},
      {"key without value", sofa, be(1, 4) + "a", sofa, "SofaRequest", true, 0},
      {"another class", "BoltCap$Echo", "", "BoltCap$Echo", "Echo", true, 0},
      {"another class with pairs", "a.b.C", kv("service", "S"), "a.b.C", "C", true, 0},
      {"jraft with protobuf", "com.alipay.sofa.jraft.rpc.RpcRequests$AppendEntriesRequest",
       "\x0a\x0craft_group_1", "com.alipay.sofa.jraft.rpc.RpcRequests$AppendEntriesRequest",
       "AppendEntriesRequest", true, 0},
      {"no class", "", "", "", "", true, 0},
      {"no class, some header", "", kv("service", "S"), "", "", true, 0},
      {"no dot in the class", "Plain", "", "Plain", "Plain", true, 0},
  };
  for (const Row& row : rows) {
    BoltFrame f;
    f.class_name = row.class_name;
    f.header = row.header;
    f.content = "content";
    for (uint8_t proto : {1, 2}) {
      f.proto = proto;
      Viewed v = view(f.bytes());
      EXPECT_EQ(v.refused, row.refused) << row.what;
      EXPECT_EQ(v.service, row.service) << row.what;
      EXPECT_EQ(v.method, row.method) << row.what;
      EXPECT_EQ(v.opaque, row.opaque) << row.what;
      EXPECT_EQ(v.headers.size(), row.headers) << row.what;
    }
  }
}

TEST(Bolt, HeadersOnlyWhenWanted) {
  EXPECT_EQ(view(BoltFrame::request(1).bytes(), DRAGOMAN_WANT_SERVICE).headers.size(), 0u);
  EXPECT_EQ(view(BoltFrame::request(1).bytes(), DRAGOMAN_WANT_SERVICE).service, "S:1.0");
}

TEST(Bolt, OutcomeOfEveryStatus) {
  struct Row {
    uint16_t status;
    Outcome outcome;
  } rows[] = {{0, Outcome::kOk},          {1, Outcome::kServerError},  {2, Outcome::kServerError},
              {3, Outcome::kServerError}, {4, Outcome::kOverloaded},   {5, Outcome::kReset},
              {6, Outcome::kNoRoute},     {7, Outcome::kTimeout},      {8, Outcome::kReset},
              {9, Outcome::kCodecError},  {10, Outcome::kUnknown},     {15, Outcome::kUnknown},
              {16, Outcome::kReset},      {17, Outcome::kServerError}, {18, Outcome::kClientError},
              {403, Outcome::kUnknown},   {0xffff, Outcome::kUnknown}};
  for (const Row& row : rows) {
    BoltFrame f = BoltFrame::response(1);
    f.status = row.status;
    std::string bytes = f.bytes();
    Probed p = probe(bytes);
    EXPECT_EQ(bolt_codec()->outcome(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), &p.f),
              static_cast<uint32_t>(row.outcome))
        << row.status;
  }
}

TEST(Bolt, SuccessWithTheErrorHeaderIsAnError) {
  struct Row {
    std::string class_name, header;
    Outcome outcome;
  } rows[] = {
      {std::string(kSofaResponse), kv("sofa_head_response_error", "true"), Outcome::kServerError},
      {std::string(kSofaResponse), kv("sofa_head_response_error", "false"), Outcome::kOk},
      {std::string(kSofaResponse),
       kv("sofa_head_response_error", "true") + kv("sofa_head_response_error", "false"), Outcome::kOk},
      {std::string(kSofaResponse), kv("sofa_head_response_error", "true") + "junk", Outcome::kOk},  // opaque
      {"Other", kv("sofa_head_response_error", "true"), Outcome::kOk},
  };
  for (const Row& row : rows) {
    BoltFrame f = BoltFrame::response(1);
    f.class_name = row.class_name;
    f.header = row.header;
    std::string bytes = f.bytes();
    Probed p = probe(bytes);
    EXPECT_EQ(bolt_codec()->outcome(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), &p.f),
              static_cast<uint32_t>(row.outcome));
  }
}

TEST(Bolt, RepliesNeverLeaveTheEnumNorSaySuccess) {
  for (uint32_t outcome = 0; outcome < 40; ++outcome) {
    std::string bytes = BoltFrame::request(0xfffffff0).bytes();
    Probed p = probe(bytes);
    uint8_t out[64];
    int64_t n = bolt_codec()->reply(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), &p.f,
                                    outcome,
                                    {}, out, 64);
    ASSERT_EQ(n, 20);
    std::string reply(reinterpret_cast<char*>(out), 20);
    Probed r = probe(reply);
    EXPECT_EQ(r.verdict, DRAGOMAN_FRAME);
    EXPECT_EQ(r.f.kind, DRAGOMAN_RESPONSE);
    EXPECT_EQ(r.f.id, 0xfffffff0u);
    std::set<int32_t> statuses = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18};
    EXPECT_TRUE(statuses.count(r.f.status)) << outcome << " " << r.f.status;
    // Too small a buffer: says what it needs, writes nothing over the end.
    uint8_t guard[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    EXPECT_EQ(bolt_codec()->reply(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), &p.f,
                                  outcome, {},
                                  guard, 4),
              20);
    EXPECT_EQ(guard[4], 5);
  }
}

TEST(Bolt, RepliesAreValidFramesWhateverVersionsTheRequestHad) {
  for (uint8_t proto : {1, 2}) {
    for (uint8_t ver1 : {0, 1, 2, 3, 255}) {
      for (uint8_t ver2 : {0, 1, 254}) {
        BoltFrame f = BoltFrame::request(5);
        f.proto = proto, f.ver1 = ver1, f.ver2 = ver2, f.flags = 0x80;
        FramedConnection c(bolt_codec(), Role::kServer);
        c.feed(f.bytes());
        std::string reply = c.sink.take();
        if (c.accepted()) continue;
        Probed r = probe(reply);
        EXPECT_EQ(r.verdict, DRAGOMAN_FRAME) << int{proto} << " " << int{ver1} << " " << int{ver2};
        EXPECT_EQ(r.f.total_len, reply.size());
        EXPECT_EQ(r.f.id, 5u);
      }
    }
  }
}

TEST(Bolt, Edits) {
  const std::string before = kv("a", "1") + kv("b", "2") + kv("A", "3");
  const std::string null_pair = be(1, 4) + "n" + be(UINT32_MAX, 4);
  struct Row {
    const char* what;
    std::string header;
    std::vector<dragoman_edit> edits;
    std::string after;
  };
  const Row rows[] = {
      {"add", before, {edit_of(DRAGOMAN_EDIT_ADD, "x", "y")}, before + kv("x", "y")},
      {"add keeps the old", before, {edit_of(DRAGOMAN_EDIT_ADD, "a", "9")}, before + kv("a", "9")},
      {"set replaces all of the name",
       before,
       {edit_of(DRAGOMAN_EDIT_SET, "a", "9")},
       kv("b", "2") + kv("a", "9")},
      {"set of a new one", before, {edit_of(DRAGOMAN_EDIT_SET, "c", "")}, before + kv("c", "")},
      {"remove", before, {edit_of(DRAGOMAN_EDIT_REMOVE, "a")}, kv("b", "2")},
      {"remove of none", before, {edit_of(DRAGOMAN_EDIT_REMOVE, "q")}, before},
      {"set then remove",
       before,
       {edit_of(DRAGOMAN_EDIT_SET, "b", "9"), edit_of(DRAGOMAN_EDIT_REMOVE, "b")},
       kv("a", "1") + kv("A", "3")},
      {"remove then add",
       before,
       {edit_of(DRAGOMAN_EDIT_REMOVE, "b"), edit_of(DRAGOMAN_EDIT_ADD, "b", "9")},
       kv("a", "1") + kv("A", "3") + kv("b", "9")},
      {"add then set",
       before,
       {edit_of(DRAGOMAN_EDIT_ADD, "b", "8"), edit_of(DRAGOMAN_EDIT_SET, "b", "9")},
       kv("a", "1") + kv("A", "3") + kv("b", "9")},
      {"set twice",
       before,
       {edit_of(DRAGOMAN_EDIT_SET, "b", "8"), edit_of(DRAGOMAN_EDIT_SET, "b", "9")},
       kv("a", "1") + kv("A", "3") + kv("b", "9")},
      {"into an empty section", "", {edit_of(DRAGOMAN_EDIT_SET, "x", "y")}, kv("x", "y")},
      {"null values stay", null_pair, {edit_of(DRAGOMAN_EDIT_SET, "x", "y")}, null_pair + kv("x", "y")},
      {"null values can be replaced", null_pair, {edit_of(DRAGOMAN_EDIT_SET, "n", "y")}, kv("n", "y")},
      {"up to the limit",
       kv("a", std::string(32767 - 9 - 10, 'v')),
       {edit_of(DRAGOMAN_EDIT_SET, "x", "y")},
       kv("a", std::string(32767 - 9 - 10, 'v')) + kv("x", "y")},
  };
  for (const Row& row : rows) {
    for (uint8_t proto : {1, 2}) {
      BoltFrame f = BoltFrame::request(7);
      f.proto = proto;
      f.header = row.header;
      std::string out = edited(f.bytes(), row.edits);
      f.header = row.after;
      EXPECT_EQ(out, f.bytes()) << row.what;
      f.header = row.header;
      EXPECT_EQ(edited(f.bytes(), row.edits, 1), out) << row.what << ", grown buffer";
    }
  }
}

TEST(Bolt, EditsThatCannotBeDone) {
  BoltFrame over = BoltFrame::request(1);
  over.header = kv("a", std::string(32767 - 9 - 9, 'v'));
  EXPECT_EQ(edited(over.bytes(), {edit_of(DRAGOMAN_EDIT_SET, "x", "y")}), "");
  BoltFrame opaque = BoltFrame::request(1);
  opaque.class_name = "com.alipay.sofa.jraft.rpc.RpcRequests$PingRequest";
  EXPECT_EQ(edited(opaque.bytes(), {edit_of(DRAGOMAN_EDIT_SET, "x", "y")}), "");
  BoltFrame broken = BoltFrame::request(1);
  broken.header += "x";
  EXPECT_EQ(edited(broken.bytes(), {edit_of(DRAGOMAN_EDIT_SET, "x", "y")}), "");
  EXPECT_EQ(edited(BoltFrame::request(1).bytes(), {edit_of(DRAGOMAN_EDIT_SET, "x", std::string(40000, 'y'))}),
            "");
}

TEST(Bolt, AppendingAHeaderGivesTheFrameThatAJavaPeerAccepted) {
  std::string base(source_dir() + "/tests/vectors/bolt/");
  std::string before = read_hex(base + "bolt-v1-request-txxid.hex");
  std::string after = read_hex(base + "bolt-v1-request-mutated.hex");
  EXPECT_EQ(with_bolt_id(edited(before, {edit_of(DRAGOMAN_EDIT_ADD, "x-mesh-added", "yes")}), 0xfffffff0),
            after);
}

TEST(Bolt, HeartbeatsAndGoawayOfEveryVariant) {
  struct Row {
    uint32_t variant;
    uint8_t proto, ver1;
  } rows[] = {{0, 1, 0}, {0x100, 1, 0}, {0x201, 2, 1}, {0x202, 2, 2}};
  for (const Row& row : rows) {
    uint8_t out[64];
    int64_t n = bolt_codec()->heartbeat(nullptr, nullptr, row.variant, 0xabcdef01, out, sizeof out);
    BoltFrame expected = BoltFrame::heartbeat(0xabcdef01);
    expected.proto = row.proto, expected.ver1 = row.ver1;
    EXPECT_EQ(std::string(reinterpret_cast<char*>(out), static_cast<size_t>(n)), expected.bytes());
    n = bolt_codec()->goaway(nullptr, nullptr, row.variant, out, sizeof out);
    expected.command = 100, expected.id = 0, expected.timeout_ms = 0;
    EXPECT_EQ(std::string(reinterpret_cast<char*>(out), static_cast<size_t>(n)), expected.bytes());
  }
  uint8_t out[64];
  int64_t n = bolt_codec()->goaway(nullptr, nullptr, 0x100, out, sizeof out);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(out), static_cast<size_t>(n)),
            read_hex(source_dir() + "/tests/vectors/bolt/bolt-v1-mosn-goaway.hex"));
}

TEST(Bolt, VersionsMixOnOneConnection) {
  FramedConnection c(bolt_codec(), Role::kServer);
  BoltFrame a = BoltFrame::request(1), b = a, d = a;
  b.proto = 2, b.flags = 1;              // ver1 1 with the switch set: no trailer
  d.proto = 2, d.ver1 = 2, d.flags = 1;  // a trailer
  std::string stream = a.bytes() + b.bytes() + d.bytes() + a.bytes();
  for (size_t step : {stream.size(), size_t{1}, size_t{13}}) {
    FramedConnection conn(bolt_codec(), Role::kServer);
    conn.feed_in_steps(stream, step);
    ASSERT_EQ(conn.accepted(), 4u);
    EXPECT_EQ(conn.events.broken, 0);
    EXPECT_EQ(conn.at(0).body, "body");
    EXPECT_EQ(conn.at(1).body, "body");
    EXPECT_EQ(conn.at(2).body.substr(0, 4), "body");
    EXPECT_EQ(conn.at(2).body.size(), 8u);
    // Answers take the form of their request.
    for (size_t i = 0; i < 4; ++i) {
      conn.at(i).exchange->send_reply(*conn.at(i).head, {});
      std::string reply = conn.sink.take();
      EXPECT_EQ(reply[0], i == 1 || i == 2 ? 2 : 1);
      EXPECT_EQ(reply.size(), i == 1 || i == 2 ? 22u : 20u);
    }
  }
}

TEST(Bolt, UnknownCommandIsAnsweredAndSkipped) {
  BoltFrame odd = BoltFrame::request(42, std::string(5000, 'x'));
  odd.command = 9;
  std::string stream = odd.bytes() + BoltFrame::request(43).bytes();
  for (size_t step : {stream.size(), size_t{1}, size_t{700}}) {
    FramedConnection c(bolt_codec(), Role::kServer);
    c.feed_in_steps(stream, step);
    EXPECT_EQ(c.events.broken, 0);
    EXPECT_EQ(c.events.count(CodecEvent::kUnsupported), 1u);
    ASSERT_EQ(c.accepted(), 1u);
    EXPECT_EQ(c.at(0).head->frame.id, 43u);
    BoltFrame reply;
    reply.type = 0, reply.command = 2, reply.id = 42, reply.status = 9;
    EXPECT_EQ(c.sink.take(), reply.bytes());
  }
}

TEST(Bolt, MissingChecksumIsAMismatch) {
  // The switch promises a trailer that isn't there: the next frame's first bytes are taken for it.
  BoltFrame f = BoltFrame::request(8);
  f.proto = 2, f.ver1 = 2, f.flags = 1;
  std::string bytes = f.bytes();
  bytes.resize(bytes.size() - 4);
  FramedConnection c(bolt_codec(), Role::kServer);
  c.feed(bytes + BoltFrame::request(9).bytes());
  EXPECT_EQ(c.events.broken_reason, Reason::kChecksum);
  EXPECT_EQ(c.accepted(), 0u);
  std::string out = c.sink.take();
  ASSERT_EQ(out.size(), 22u);
  EXPECT_EQ(bolt_id(out), 8u);
  EXPECT_EQ(out[13], 9);
}

}  // namespace
}  // namespace dragoman::testing
