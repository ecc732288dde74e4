// What SOFARPC requests say in their bodies only: found at every cut, kept by edits, never in the way of a call.
#include "protocols/bolt/sofa_body.h"

#include <gtest/gtest.h>

#include "protocols/bolt/bolt.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/framed_proxy.h"

namespace dragoman::testing {
namespace {

constexpr uint32_t kWithBody =
    DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD | DRAGOMAN_WANT_HEADERS | DRAGOMAN_WANT_BODY;
constexpr std::string_view kSofaRequest = "com.alipay.sofa.rpc.core.request.SofaRequest";
constexpr size_t kBodyBytesMax = 32 * 1024;

std::span<const uint8_t> span_of(std::string_view s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

struct Seen {
  int verdict = -1;
  dragoman_frame f{};
  std::string service, method;
  std::map<std::string, std::string> attributes;
  bool unread = false;
  bool refused = false;  // by view: what it says can be read in two ways
};

std::string text(dragoman_bytes b) {
  return {reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len)};
}

int probe(std::string_view bytes, dragoman_frame& f, uint32_t want = kWithBody) {
  f = {};
  f.size = sizeof f;
  f.want = want;
  return bolt_codec()->probe(nullptr, nullptr, span_of(bytes).data(), bytes.size(), &f);
}

/// As the host asks: probed, then viewed with no more than the head.
Seen see(std::string_view bytes, uint32_t want = kWithBody) {
  Seen seen;
  seen.verdict = probe(bytes, seen.f, want);
  if (seen.verdict != DRAGOMAN_FRAME) return seen;
  const std::string head(bytes.substr(0, seen.f.head_len));
  dragoman_view v{};
  v.size = sizeof v;
  v.ctx = &seen;
  if (want & DRAGOMAN_WANT_HEADERS)
    v.attribute = [](void* ctx, uint32_t index, dragoman_bytes value) {
      static_cast<Seen*>(ctx)->attributes[bolt_codec()->attributes[index]] = text(value);
    };
  if (bolt_codec()->view(nullptr, nullptr, span_of(head).data(), &seen.f, want, &v) != 0) {
    seen.refused = true;
    return seen;
  }
  seen.service = text(v.service);
  seen.method = text(v.method);
  seen.unread = v.flags & DRAGOMAN_VIEW_UNREAD;
  return seen;
}

BoltVector vector_of(std::string_view name) {
  for (BoltVector& v : bolt_vectors())
    if (v.name == name) return v;
  ADD_FAILURE() << "no vector " << name;
  return {};
}

/// A request of SOFARPC with these header pairs and this body.
std::string request(std::string_view body, std::string_view headers = {}, uint8_t codec = 1) {
  std::string frame("\1\1\0\1\1\0\0\0\7", 9);
  frame += static_cast<char>(codec);
  frame += be(3000, 4) + be(kSofaRequest.size(), 2) + be(headers.size(), 2) + be(body.size(), 4);
  return frame + std::string(kSofaRequest) + std::string(headers) + std::string(body);
}
std::string pair(std::string_view key, std::string_view value) {
  return be(key.size(), 4) + std::string(key) + be(value.size(), 4) + std::string(value);
}
/// A short string of Hessian.
std::string str(std::string_view s) { return static_cast<char>(s.size()) + std::string(s); }
/// A SofaRequest with these fields, and their values one after the other.
std::string object(std::initializer_list<std::string_view> fields, std::string_view values) {
  std::string out = "O\xbc" + std::string(kSofaRequest);
  out += static_cast<char>(0x90 + fields.size());
  for (std::string_view f : fields) out += str(f);
  return out + "o\x90" + std::string(values);
}

const char* const kNodeRequests[] = {"bolt-v1-node-request-plus", "bolt-v2-ver1-node-request",
                                     "bolt-v2-ver1-node-oneway", "bolt-v2-ver2-crc-node-request",
                                     "bolt-v2-ver2-crc-node-oneway"};

TEST(SofaBody, NodeRequestsSayItInTheBody) {
  for (const char* name : kNodeRequests) {
    const Seen seen = see(vector_of(name).bytes);
    EXPECT_EQ(seen.service, "com.mesh.demo.HelloService:1.0") << name;
    EXPECT_EQ(seen.method, "plus") << name;
    EXPECT_FALSE(seen.unread) << name;
  }
  const Seen props = see(vector_of("bolt-v1-node-request-hello-props").bytes);
  EXPECT_EQ(props.method, "hello");
  EXPECT_EQ(props.attributes, (std::map<std::string, std::string>{
                                  {"trace_id", "0a0fe8ec1700000000000100112345"}, {"rpc_id", "0.1"}}));
}

TEST(SofaBody, HeadersAloneAreLookedAtOtherwise) {
  for (const char* name : kNodeRequests) {
    const BoltVector v = vector_of(name);
    const Seen seen = see(v.bytes, kWithBody & ~uint32_t{DRAGOMAN_WANT_BODY});
    EXPECT_EQ(seen.method, "") << name;
    EXPECT_EQ(seen.f.head_len, v.bytes.size() - v.number("content_len") - (seen.f.checksum ? 4 : 0)) << name;
  }
}

TEST(SofaBody, TheHeaderSectionComesFirst) {
  Seen txxid = see(vector_of("bolt-v1-request-txxid").bytes);
  EXPECT_EQ(txxid.method, "plus");
  EXPECT_EQ(txxid.attributes["xid"], "127.0.0.1:8091:4645713214472194");
  EXPECT_EQ(txxid.attributes["trace_id"], "c00002021795427532138100121058");
  EXPECT_EQ(txxid.attributes["rpc_id"], "0");
  for (const char* name : {"bolt-v1-request-trace-legacy-keys", "bolt-v1-request-trace-new-key"}) {
    Seen seen = see(vector_of(name).bytes, DRAGOMAN_WANT_HEADERS);
    EXPECT_EQ(seen.attributes["trace_id"], "0a0fe8ec1700000000000100112345") << name;
    EXPECT_EQ(seen.attributes["rpc_id"], "0.2.1") << name;
  }
  const std::string body =
      object({"methodName", "requestProps"}, str("inner") + "M" + str("TX_XID") + str("inner:1:2") + "z");
  EXPECT_EQ(see(request(body)).method, "inner");
  EXPECT_EQ(see(request(body)).attributes["xid"], "inner:1:2");
  Seen outer = see(request(body, pair("sofa_head_method_name", "outer") + pair("TX_XID", "outer:1:2")));
  EXPECT_EQ(outer.method, "outer");
  EXPECT_EQ(outer.attributes["xid"], "outer:1:2");
}

/// Java writes both: what the body says is what the header section says.
TEST(SofaBody, BodyAndHeadersAgreeInEveryVector) {
  int compared = 0;
  for (const BoltVector& v : bolt_vectors()) {
    if (v.is_response() || v.text("class") != kSofaRequest || v.number("codec") != 1) continue;
    const size_t content = v.number("content_len");
    const size_t crc = v.text("crc32").empty() ? 0 : 4;
    SofaBody body;
    ASSERT_TRUE(body.read(span_of(v.bytes).subspan(v.bytes.size() - crc - content, content))) << v.name;
    auto header = [&](const char* key) { return v.headers.count(key) ? v.headers.at(key) : std::string(); };
    EXPECT_EQ(body.service, header("service")) << v.name;
    EXPECT_FALSE(body.method.empty()) << v.name;
    if (header("sofa_head_method_name").empty()) continue;
    ++compared;
    const bool generic = v.name.find("generic") != std::string::npos;  // there the body names $invoke
    if (!generic) {
      EXPECT_EQ(body.method, header("sofa_head_method_name")) << v.name;
    }
    EXPECT_EQ(body.context.xid, header("TX_XID")) << v.name;
    SofaContext headers;
    for (const auto& [key, value] : v.headers) headers.see_header(key, value);
    EXPECT_EQ(body.context.trace_id, headers.trace_id) << v.name;
    EXPECT_EQ(body.context.rpc_id, headers.rpc_id) << v.name;
  }
  EXPECT_GE(compared, 8);
}

TEST(SofaBody, EveryBeginningOfAFrameAsksForMoreOrIsEnough) {
  for (const BoltVector& v : bolt_vectors()) {
    const Seen whole = see(v.bytes);
    ASSERT_EQ(whole.verdict, DRAGOMAN_FRAME) << v.name;
    for (size_t n = 1; n < v.bytes.size(); ++n) {
      dragoman_frame f;
      const int verdict = probe(std::string_view(v.bytes).substr(0, n), f);
      if (verdict == DRAGOMAN_FRAME) {
        EXPECT_EQ(f.head_len, whole.f.head_len) << v.name << " at " << n;
      } else {
        ASSERT_EQ(verdict, DRAGOMAN_NEED) << v.name << " at " << n;
        EXPECT_GT(f.need, n) << v.name;
        EXPECT_LE(f.need, v.bytes.size()) << v.name;
      }
    }
  }
}

TEST(SofaBody, EditsKeepTheBodyAndTheChecksumRight) {
  for (const char* name : kNodeRequests) {
    const BoltVector v = vector_of(name);
    for (std::string_view key : {"mark", "sofa_head_method_name", "service"}) {
      for (uint32_t op : {+DRAGOMAN_EDIT_SET, +DRAGOMAN_EDIT_REMOVE}) {
        const dragoman_edit edit = {
            op, 0, {span_of(key).data(), key.size()}, {reinterpret_cast<const uint8_t*>("x"), 1}};
        const Seen before = see(v.bytes);
        std::vector<uint8_t> out(1 << 17);
        const int64_t n = bolt_codec()->edit(nullptr, nullptr, span_of(v.bytes).data(), &before.f, &edit, 1,
                                             out.data(), out.size());
        ASSERT_GT(n, 0);
        // The host probes the new head alone, and it must be all of a head.
        const std::string_view head(reinterpret_cast<const char*>(out.data()), static_cast<size_t>(n));
        dragoman_frame f;
        ASSERT_EQ(probe(head, f), DRAGOMAN_FRAME) << name << " " << key;
        EXPECT_EQ(f.head_len, head.size());
        EXPECT_EQ(f.total_len - f.head_len, before.f.total_len - before.f.head_len);
        const std::string frame = std::string(head) + v.bytes.substr(before.f.head_len);
        const Seen after = see(frame);
        // The body still names the service that it was: who reads both takes neither.
        const bool torn = key == "service" && op == DRAGOMAN_EDIT_SET;
        EXPECT_EQ(after.refused, torn);
        if (torn) {
          EXPECT_EQ(see(frame, DRAGOMAN_WANT_SERVICE).service, "x") << "who reads the header only";
          continue;
        }
        EXPECT_EQ(after.method, key == "sofa_head_method_name" && op == DRAGOMAN_EDIT_SET ? "x" : "plus");
        EXPECT_EQ(after.service, "com.mesh.demo.HelloService:1.0");
      }
    }
  }
}

/// What is no SofaRequest, or lies: nothing is known, the frame passes, and a new head is as long as the old one.
void expect_unread(const std::string& body, const std::string& what) {
  const std::string frame = request(body);
  const Seen seen = see(frame);
  ASSERT_EQ(seen.verdict, DRAGOMAN_FRAME) << what;
  EXPECT_TRUE(seen.unread) << what;
  EXPECT_EQ(seen.service + seen.method, "") << what;
  EXPECT_TRUE(seen.attributes.empty()) << what;
  EXPECT_EQ(seen.f.head_len, 22 + kSofaRequest.size() + std::min(body.size(), kBodyBytesMax)) << what;
  dragoman_frame f;
  EXPECT_EQ(probe(std::string_view(frame).substr(0, seen.f.head_len), f), DRAGOMAN_FRAME) << what;
  EXPECT_EQ(f.head_len, seen.f.head_len) << what;
}

TEST(SofaBody, WhatCanNotBeReadIsLeftOut) {
  expect_unread("x", "one byte");
  expect_unread(std::string(100'000, '\0'), "empty strings without end");
  expect_unread(str("hello"), "no object");
  expect_unread("O\xbc" + std::string(40, 'C') + "\x90o\x90", "a shorter class name than it says");
  std::string other = object({"methodName"}, str("m"));
  other[10] = 'X';
  expect_unread(other, "another class");
  expect_unread("OI\x7f\xff\xff\xff" + std::string(100, 'c'), "a class name of 2 GiB");
  expect_unread(object({"methodName"}, "").substr(0, 60), "cut in its class");
  expect_unread(object({"methodName", "requestProps"}, str("m") + "M" + str("TX_XID") + "S\xff\xff"),
                "a string that is not there");
  expect_unread(object({"other", "methodName"}, "Vl\x7f\xff\xff\xff" + std::string(50, '\x90')),
                "a list of 2^31 values");
  expect_unread(object({"other", "methodName"}, std::string(200, 'M') + std::string(300, 'N')),
                "200 maps in each other");
  expect_unread(object({"other", "methodName"}, "B\xff\xff" + std::string(40'000, 'b')),
                "what comes first is too long");
}

TEST(SofaBody, OddValuesAreSkipped) {
  // A method that is null, properties that are null, a reference, or hold other things than text.
  EXPECT_FALSE(see(request(object({"methodName", "requestProps"}, "NN"))).unread);
  EXPECT_EQ(see(request(object({"requestProps", "methodName"}, "N" + str("m")))).method, "m");
  EXPECT_EQ(see(request(object({"requestProps", "methodName"}, std::string("J\0", 2) + str("m")))).method,
            "m")
      << "a reference";
  const std::string props = "Mt" + be(4, 2) + "java" + "\x91" + str("number") + str("TX_XID") + "\x95" +
                            str("rpc_trace_context") + str("no map") + str("rpc_trace_context") + "M" +
                            str("sofaTraceId") + "T" + str("sofaRpcId") + str("0.7") + "z" + str("tx_xid") +
                            str("a:1:2") + "z";
  Seen seen = see(request(object({"requestProps", "methodName"}, props + str("m"))));
  EXPECT_FALSE(seen.unread);
  EXPECT_EQ(seen.method, "m");
  EXPECT_EQ(seen.attributes["xid"], "a:1:2");
  EXPECT_EQ(seen.attributes["rpc_id"], "0.7");
  EXPECT_EQ(seen.attributes.count("trace_id"), 0u);
  const std::string text = "M" + str("new_rpc_trace_context") + str("tcid=abc&spid=0.3&x") + "z";
  seen = see(request(object({"methodName", "requestProps"}, str("m") + text)));
  EXPECT_EQ(seen.attributes["trace_id"], "abc");
  EXPECT_EQ(seen.attributes["rpc_id"], "0.3");
}

TEST(SofaBody, OtherBodiesAreNotLookedInto) {
  const std::string body = object({"methodName"}, str("m"));
  EXPECT_EQ(see(request(body, {}, 11)).method, "") << "protobuf";
  EXPECT_FALSE(see(request(body, {}, 11)).unread);
  EXPECT_FALSE(see(request("", pair("service", "S"))).unread) << "no body at all";
  const Seen java = see(vector_of("bolt-v1-java-request").bytes);
  EXPECT_EQ(java.service, "BoltCap$Echo");
  EXPECT_FALSE(java.unread);
}

/// Both roles of the host at every cut, with what lies behind the head streaming.
TEST(SofaBody, FramesPassAtEveryCut) {
  std::vector<std::string> frames;
  for (const char* name : kNodeRequests) frames.push_back(vector_of(name).bytes);
  frames.push_back(request(std::string(300, 'x'), pair("service", "S")));
  frames.push_back(request(object({"methodName"}, str("m")) + std::string(5000, 'N'), pair("service", "S")));
  for (const std::string& frame : frames) {
    for (size_t cut = 1; cut < frame.size(); cut += 1 + cut / 600) {
      CodecOptions options = framed_options();
      options.framed.want = kWithBody;
      FramedConnection down(bolt_codec(), Role::kServer, options), up(bolt_codec(), Role::kClient, options);
      Hop hop(down, up);
      down.feed(frame.substr(0, cut));
      down.feed(frame.substr(cut));
      ASSERT_EQ(down.events.broken, 0) << down.events.broken_detail;
      const std::string sent = up.sink.take();
      ASSERT_EQ(sent.size(), frame.size()) << cut;
      ASSERT_EQ(sent, with_bolt_id(frame, bolt_id(sent))) << cut;
      ASSERT_EQ(down.events.count(CodecEvent::kBodyUnread), frame.find("xxxx") != frame.npos ? 1u : 0u)
          << cut;
    }
  }
}

}  // namespace
}  // namespace dragoman::testing
