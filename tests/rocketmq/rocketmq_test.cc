// RocketMQ remoting: every frame in both roles and encodings, and the rules of the wire.
#include "protocols/rocketmq/rocketmq.h"

#include <gtest/gtest.h>

#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

std::string frame(int encoding, const std::string& header, const std::string& body = {}) {
  return be(4 + header.size() + body.size(), 4) + be(static_cast<uint64_t>(encoding), 1) +
         be(header.size(), 3) + header + body;
}
std::string json(const std::string& members, const std::string& body = {}) {
  return frame(0, "{" + members + "}", body);
}
using Pairs = std::vector<std::pair<std::string, std::string>>;
std::string binary(int64_t code, uint64_t id, uint32_t flag, const Pairs& pairs = {},
                   const std::string& body = {}, const std::string& remark = {}) {
  std::string ext;
  for (const auto& [name, value] : pairs) ext += be(name.size(), 2) + name + be(value.size(), 4) + value;
  return frame(1,
               be(static_cast<uint64_t>(code), 2) + be(0, 1) + be(453, 2) + be(id, 4) + be(flag, 4) +
                   be(remark.size(), 4) + remark + be(ext.size(), 4) + ext,
               body);
}
std::string request(uint64_t id) { return binary(105, id, 0, {{"topic", "T"}}); }
std::string json_request(int64_t id) {
  return json("\"code\":105,\"opaque\":" + std::to_string(id) + ",\"extFields\":{\"topic\":\"T\"}");
}

class RocketMqVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(RocketMqVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (!v.is_request() && v.kind() != "response") return;
  const dragoman_codec* table = rocketmq_codec();
  expect_prefixes_need_more(table, v.bytes);
  dragoman_frame f = Asker(table).frame(v.bytes);
  EXPECT_EQ(f.id, v.number("id"));
  EXPECT_EQ(f.total_len, v.bytes.size());
  if (v.kind() == "response") {
    EXPECT_EQ(f.status, std::stoi(v.text("status")));
  }
  // The answer comes in the encoding of its request.
  std::string call = v.bytes[4] == 0 ? json_request(1) : request(1);
  expect_passes_at_every_split(table, call, v, [&](const Head& h) {
    EXPECT_EQ(h.service, v.text("service"));
    EXPECT_EQ(h.method, "");
    EXPECT_EQ(h.header("code"), v.text("method"));
    if (v.has("group")) {
      EXPECT_EQ(h.header("group"), v.text("group"));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(All, RocketMqVectors, ::testing::ValuesIn(vectors("rocketmq")), test_name);

TEST(RocketMq, RewrittenIds) {
  auto all = vectors("rocketmq");
  Asker asker(rocketmq_codec());
  int seen = 0;
  for (const Vector& v : all) {
    if (v.kind() != "rewrite") continue;
    ++seen;
    const std::string& from = vector_named(all, v.text("of")).bytes;
    EXPECT_EQ(asker.with_id(from, v.number("id")), v.bytes) << v.name;
    EXPECT_EQ(asker.with_id(v.bytes, asker.frame(from).id), from) << v.name;
  }
  EXPECT_EQ(seen, 2);
  EXPECT_EQ(asker.with_id(json_request(5), 0xffffffff), json_request(-1));
  EXPECT_EQ(asker.with_id(json_request(-1), 0x80000000), json_request(INT32_MIN));
  EXPECT_EQ(asker.frame(json_request(INT32_MIN)).id, 0x80000000u);
}

TEST(RocketMq, WholeStreams) {
  const auto all = vectors("rocketmq");
  const Vector& v = vector_named(all, "rocketmq-stream-c2s");
  for (size_t step : {1, 7, 100, 100000}) {
    FramedConnection c(rocketmq_codec(), Role::kServer);
    c.feed_in_steps(v.bytes, step);
    EXPECT_EQ(c.events.broken, 0) << c.events.broken_detail;
    EXPECT_EQ(c.accepted(), v.number("messages"));
  }
}

TEST(RocketMq, ShortNamesOfSend) {
  FramedConnection c(rocketmq_codec(), Role::kServer);
  c.feed(vector_named(vectors("rocketmq"), "rocketmq-bin-call-send-v2").bytes);
  ASSERT_EQ(c.accepted(), 1u);
  const Head& h = *c.at(0).head;
  EXPECT_EQ(h.service, "TopicTest");
  EXPECT_EQ(h.header("group"), "demo-producer");
  EXPECT_EQ(h.header("broker"), "broker-a");
  EXPECT_EQ(h.header("e"), "2");
  FramedConnection other(rocketmq_codec(), Role::kServer);
  other.feed(
      binary(10, 1, 0, {{"a", "x"}, {"b", "y"}, {"producerGroup", "p"}, {"topic", "t"}, {"bname", "n1"}}));
  ASSERT_EQ(other.accepted(), 1u);
  EXPECT_EQ(other.at(0).head->service, "t");
  EXPECT_EQ(other.at(0).head->header("group"), "p");
  EXPECT_EQ(other.at(0).head->header("broker"), "n1");
}

TEST(RocketMq, Malformed) { expect_malformed_are_refused(rocketmq_codec(), "rocketmq", 3); }

Reason broken_by(const std::string& bytes) {
  FramedConnection c(rocketmq_codec(), Role::kServer);
  c.feed(bytes);
  EXPECT_EQ(c.accepted(), c.events.broken ? 0u : 1u);
  return c.events.broken ? c.events.broken_reason : Reason::kNone;
}

TEST(RocketMq, JsonThatIsNone) {
  auto with = [](const std::string& more) { return json("\"opaque\":1" + more); };
  EXPECT_EQ(broken_by(with("")), Reason::kNone) << "code 0, flag 0";
  EXPECT_EQ(broken_by(with(",\"x\":[1,[],{},{\"y\":[true,null,-1.5e+3]}]")), Reason::kNone);
  EXPECT_EQ(broken_by(frame(0, " \r\n\t{ \"opaque\" : 1 , \"extFields\" : null } \n")), Reason::kNone)
      << "pretty";
  EXPECT_EQ(broken_by(json("\"extFields\":{\"opaque\":\"2\",\"t\":\"\\\"opaque\\\":3\"},\"opaque\":1")),
            Reason::kNone);
  for (std::string bad : {"\"code\":1",
                          "\"opaque\":\"1\"",
                          "\"opaque\":1.0",
                          "\"opaque\":2147483648",
                          "\"opaque\":-2147483649",
                          "\"opaque\":{}",
                          "\"opaque\":1,\"opaque\":2",
                          "\"opa\\u0071ue\":1,\"opaque\":2",
                          "\"opaque\":1,\"flag\":\"1\"",
                          "\"opaque\":1,\"code\":true",
                          "\"opaque\":1,\"code\":1,\"code\":2",
                          "\"opaque\":1,\"extFields\":[]",
                          "\"opaque\":1,\"extFields\":{},\"extFields\":{}",
                          "\"opaque\":1,\"extFields\":{\"to\\u0070ic\":\"x\"}",
                          "\"opaque\":1,",
                          "\"opaque\":1 \"code\":2",
                          "\"opaque\"1",
                          "\"opaque\":",
                          "opaque:1",
                          "\"opaque\":1,\"x\":\"\n\"",
                          "\"opaque\":1,\"x\":[1",
                          "\"opaque\":1,\"x\":[1}",
                          "\"opaque\":1,\"x\":[1 2]",
                          "\"opaque\":1,\"x\":{1:2}",
                          "\"opaque\":1,\"x\":{\"y\"}",
                          "\"opaque\":1,\"x\":{\"y\":1",
                          "\"opaque\":1,\"x\":\"\\",
                          "\"opaque\":1}x"})
    EXPECT_EQ(broken_by(json(bad)), Reason::kMalformed) << bad;
  // What brokers take for one of the members, by the rules of fastjson: case, marks between words, an `is` in front.
  for (std::string alias :
       {"Opaque", "OPAQUE", "o_paque", "opa-que", " opaque", "isOpaque", "IS_opaque", "Code", "FLAG",
        "ExtFields", "ext_fields", "ext-Fields", "opaque", "code", "flag", "extFields"})
    for (std::string value : {"2", "{}", "null"}) {
      EXPECT_EQ(
          broken_by(json("\"opaque\":1,\"code\":1,\"flag\":0,\"extFields\":null,\"" + alias + "\":" + value)),
          Reason::kMalformed)
          << alias;
      EXPECT_EQ(broken_by(json("\"" + alias + "\":" + value +
                               ",\"opaque\":1,\"code\":1,\"flag\":0,\"extFields\":{}")),
                Reason::kMalformed)
          << alias;
    }
  for (std::string other : {"opaques", "paque", "codes", "language", "serializeTypeCurrentRPC", "Version"})
    EXPECT_EQ(broken_by(with(",\"" + other + "\":2")), Reason::kNone) << other;
  for (std::string mark : {"$ref", "@type", "\xc1\x8fpaque", "a\xff"}) {
    EXPECT_EQ(broken_by(with(",\"" + mark + "\":\"x\"")), Reason::kMalformed) << mark;
    EXPECT_EQ(broken_by(with(",\"extFields\":{\"" + mark + "\":\"x\"}")), Reason::kMalformed) << mark;
  }
  for (std::string value : {"01", "-", "+1", ".5", "1.", "1e", "tru", "nul", "NaN", "0x1", "'x'", "\"\\x41\"",
                            "\"\\u12g4\"", "\"\\u12\""})
    EXPECT_EQ(broken_by(with(",\"x\":" + value)), Reason::kMalformed) << value;
  for (std::string value : {"0", "-0", "-1.5E-3", "true", "false", "null", "\"\\u00e9\\/\\b\""})
    EXPECT_EQ(broken_by(with(",\"x\":" + value)), Reason::kNone) << value;
  for (std::string number : {"01", "-0", "1e0"})
    EXPECT_EQ(broken_by(json("\"opaque\":" + number)), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(0, "{\"opaque\":1")), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(0, "{}")), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(0, "[1]")), Reason::kMalformed);
  EXPECT_EQ(broken_by(with(",\"x\":" + std::string(16, '[') + std::string(16, ']'))), Reason::kNone);
  EXPECT_EQ(broken_by(with(",\"x\":" + std::string(17, '[') + std::string(17, ']'))), Reason::kMalformed);
  EXPECT_EQ(broken_by(with(",\"x\":" + std::string(50'000, '['))), Reason::kMalformed);
  std::string many;
  for (int i = 0; i < 256; ++i) many += "\"k\":1,";
  EXPECT_EQ(broken_by(with(",\"extFields\":{" + many.substr(0, many.size() - 1) + "}")), Reason::kNone);
  many += many + many + many;
  EXPECT_EQ(broken_by(with(",\"extFields\":{" + many + "\"k\":1}")), Reason::kMalformed) << "over 1024";
}

TEST(RocketMq, EscapesAreWhatTheyStandFor) {
  FramedConnection c(rocketmq_codec(), Role::kServer);
  c.feed(json(
      R"("code":310,"opaque":1,"extFields":{"b":"\u0073ecret","a":"g\u002f\/1","n":"\ud83d\ude00","i":"a\u0001b\n\"\\"})"));
  ASSERT_EQ(c.accepted(), 1u) << c.events.broken_detail;
  const Head& h = *c.at(0).head;
  EXPECT_EQ(h.service, "secret");
  EXPECT_EQ(h.header("group"), "g//1");
  EXPECT_EQ(h.header("broker"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(h.header("i"),
            "a\x01"
            "b\n\"\\");
  EXPECT_EQ(h.header("b"), "secret");
  const std::string many(5000, 'x');
  FramedConnection big(rocketmq_codec(), Role::kServer);
  big.feed(
      json("\"opaque\":1,\"extFields\":{\"topic\":\"t\",\"p\":\"" + many + "\\u0001\",\"n\":null,\"c\":7}"));
  ASSERT_EQ(big.accepted(), 1u) << big.events.broken_detail;
  EXPECT_EQ(big.at(0).head->header("p"), many + "\x01");
  EXPECT_EQ(big.at(0).head->header("c"), "7");
  bool found = true;
  big.at(0).head->header("n", &found);
  EXPECT_FALSE(found) << "null is nothing";
}

TEST(RocketMq, NamesThatRouteAreThereOnce) {
  auto accepted = [](const std::string& bytes, uint32_t want) {
    CodecOptions options = framed_options();
    options.framed.want = want;
    FramedConnection c(rocketmq_codec(), Role::kServer, options);
    c.feed(bytes);
    return c.accepted() == 1;
  };
  auto ext = [](const std::string& pairs) {
    return json("\"code\":11,\"opaque\":1,\"extFields\":{" + pairs + "}");
  };
  for (uint32_t want : {1u, 7u}) {
    for (std::string name : {"topic", "consumerGroup", "producerGroup", "group", "bname"}) {
      EXPECT_TRUE(accepted(ext("\"" + name + "\":\"x\",\"" + name + "\":\"x\""), want)) << name;
      EXPECT_FALSE(accepted(ext("\"" + name + "\":\"x\",\"" + name + "\":\"y\""), want)) << name;
      EXPECT_FALSE(accepted(ext("\"" + name + "\":7"), want)) << name;
      EXPECT_FALSE(accepted(ext("\"" + name + "\":\"\xc1\xb3\""), want)) << name;
      EXPECT_FALSE(accepted(binary(11, 1, 0, {{name, "x"}, {name, "y"}}), want)) << name;
    }
    EXPECT_FALSE(accepted(ext("\"consumerGroup\":\"x\",\"producerGroup\":\"y\""), want));
    EXPECT_EQ(accepted(ext("\"k\":\"x\",\"k\":\"y\""), want), want == 1) << "who reads headers";
    EXPECT_EQ(accepted(ext("\"k\":\"x\",\"K\":\"y\""), want), want == 1);
  }
}

TEST(RocketMq, BinaryThatIsNone) {
  auto header = [](uint64_t remark, uint64_t ext, const std::string& rest) {
    return frame(
        1, be(105, 2) + be(0, 1) + be(453, 2) + be(1, 4) + be(0, 4) + be(remark, 4) + be(ext, 4) + rest);
  };
  EXPECT_EQ(broken_by(header(0, 0, "")), Reason::kNone);
  EXPECT_EQ(broken_by(header(0, 7, be(1, 2) + "k" + be(0, 4))), Reason::kNone);
  for (uint64_t length : {uint64_t{5}, uint64_t{1} << 31, uint64_t{UINT32_MAX}}) {
    EXPECT_EQ(broken_by(header(length, 0, "")), Reason::kMalformed) << length;
    EXPECT_EQ(broken_by(header(0, length, "")), Reason::kMalformed) << length;
    EXPECT_EQ(broken_by(header(0, 7, be(1, 2) + "k" + be(length, 4))), Reason::kMalformed) << length;
  }
  EXPECT_EQ(broken_by(header(0, 7, be(UINT16_MAX, 2) + "k" + be(0, 4))), Reason::kMalformed);
  EXPECT_EQ(broken_by(header(0, 1, "x")), Reason::kMalformed) << "half a pair";
  EXPECT_EQ(broken_by(frame(1, std::string(20, '\0'))), Reason::kMalformed) << "too short";
  EXPECT_EQ(broken_by(header(0, 0, "x")), Reason::kMalformed) << "bytes that belong to the body";
  Pairs many(256, {"k", "v"});
  EXPECT_EQ(broken_by(binary(10, 1, 0, many)), Reason::kNone);
  many.resize(1025, {"k", "v"});
  EXPECT_EQ(broken_by(binary(10, 1, 0, many)), Reason::kMalformed);
}

TEST(RocketMq, Limits) {
  EXPECT_EQ(broken_by(json("\"opaque\":1,\"x\":\"" + std::string((96 << 10) - 19, 'a') + "\"")),
            Reason::kNone);
  EXPECT_EQ(broken_by(be(1 << 20, 4) + be(0, 1) + be((96 << 10) + 65, 3) + "{"), Reason::kFrameTooLarge);
  for (size_t over : {0, 1})  // 21 bytes before the properties, 7 of the property
    EXPECT_EQ(broken_by(binary(10, 1, 0, {{"k", std::string((60 << 10) + 64 - 28 + over, 'v')}})),
              over ? Reason::kFrameTooLarge : Reason::kNone);
  EXPECT_EQ(broken_by(be((16 << 20) - 3, 4) + request(1).substr(4)), Reason::kFrameTooLarge)
      << "the listener's limit";
  EXPECT_EQ(broken_by(be(UINT32_MAX, 4) + be(1, 1)), Reason::kMalformed);
  dragoman_frame f;
  std::string bytes = be((16 << 20) - 4, 4) + request(1).substr(4);
  EXPECT_EQ(Asker(rocketmq_codec()).probe(bytes, f), DRAGOMAN_FRAME);
  EXPECT_EQ(f.total_len, 16u << 20);
  bytes = be(256 << 20, 4) + request(1).substr(4);
  EXPECT_EQ(Asker(rocketmq_codec()).probe(bytes, f), DRAGOMAN_FRAME)
      << "the configuration's limit is the one";
  bytes = be((256 << 20) + 1, 4) + request(1).substr(4);
  EXPECT_EQ(Asker(rocketmq_codec()).probe(bytes, f), DRAGOMAN_MALFORMED) << "as TLS and magic numbers begin";
  for (uint64_t first : {0x0100, 0x0102, 0x0201}) {
    bytes = be(first, 2) + be(0x200, 2) + request(1).substr(4);
    EXPECT_EQ(Asker(rocketmq_codec()).probe(bytes, f), DRAGOMAN_NOT_MINE) << "Bolt's first bytes: " << first;
  }
  bytes = be(0x0103, 2) + be(0x200, 2) + request(1).substr(4);
  EXPECT_EQ(Asker(rocketmq_codec()).probe(bytes, f), DRAGOMAN_FRAME);
}

TEST(RocketMq, TheFirstBytesTell) {
  dragoman_frame f;
  Asker asker(rocketmq_codec());
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20", 4), f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x02", 5), f), DRAGOMAN_NOT_MINE);
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\0\0\0\x10\x01", 9), f), DRAGOMAN_NOT_MINE) << "a Thrift name";
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x01\0\0\x18\0\x22\x20", 11), f), DRAGOMAN_NOT_MINE)
      << "no language";
  EXPECT_EQ(asker.probe("GET / HTTP/1.1", f), DRAGOMAN_NOT_MINE);
}

std::string edited(const std::string& bytes, const std::function<void(Head&)>& edit,
                   Edit want = Edit::kMade) {
  return edited_request(rocketmq_codec(), bytes, edit, want);
}

TEST(RocketMq, EditsBinaryFields) {
  auto call = [](const Pairs& pairs) { return binary(10, 9, 0, pairs, "body", "remark"); };
  std::string bytes = call({{"a", "1"}, {"Color", "blue"}});
  EXPECT_EQ(edited(bytes, [](Head& h) { h.set_header("color", "red"); }),
            call({{"a", "1"}, {"color", "red"}}));
  EXPECT_EQ(edited(bytes, [](Head& h) { h.remove_header("A"); }), call({{"Color", "blue"}}));
  std::string wide(300, 'x');
  EXPECT_EQ(edited(bytes, [&](Head& h) { h.add_header("a", wide); }),
            call({{"a", "1"}, {"Color", "blue"}, {"a", wide}}));
  EXPECT_EQ(edited(call({}), [](Head& h) { h.set_header("k", ""); }), call({{"k", ""}}));
  edited(
      bytes, [](Head& h) { h.set_header("code", "11"); }, Edit::kSkipped);
  edited(
      bytes, [](Head& h) { h.set_header("k", std::string(61 << 10, 'x')); }, Edit::kSkipped);
  edited(
      call({{"Signature", "s"}}), [](Head& h) { h.set_header("k", "v"); }, Edit::kSkipped);
}

TEST(RocketMq, EditsJsonFields) {
  auto call = [](const std::string& ext) {
    return json("\"code\":10,\"extFields\":" + ext + ",\"opaque\":9", "body");
  };
  std::string bytes = call("{ \"a\" : 1, \"Color\":\"blue\" }");
  EXPECT_EQ(edited(bytes, [](Head& h) { h.set_header("color", "red"); }),
            call("{ \"a\" : 1,\"color\":\"red\"}"));
  EXPECT_EQ(edited(bytes, [](Head& h) { h.remove_header("a"); }), call("{ \"Color\":\"blue\"}"));
  EXPECT_EQ(edited(bytes, [](Head& h) { h.remove_header("a"), h.remove_header("color"); }), call("{}"));
  EXPECT_EQ(edited(call("{}"), [](Head& h) { h.set_header("k", "\"\\\x01\x1f"); }),
            call("{ \"k\":\"\\\"\\\\\\u0001\\u001f\"}"));
  std::string bare = json("\"code\":10,\"opaque\":9", "body");
  EXPECT_EQ(edited(bare, [](Head& h) { h.add_header("k", "v"); }),
            json("\"code\":10,\"opaque\":9,\"extFields\":{ \"k\":\"v\"}", "body"));
  for (const char* name : {"a\"b", "a\\b", "a\nb"})
    edited(
        bare, [&](Head& h) { h.add_header(name, "v"); }, Edit::kSkipped);
  edited(
      call("{\"Signature\":\"s\"}"), [](Head& h) { h.set_header("k", "v"); }, Edit::kSkipped);
}

TEST(RocketMq, Outcomes) {
  Asker asker(rocketmq_codec());
  std::pair<int, Outcome> rows[] = {{0, Outcome::kOk},
                                    {1, Outcome::kServerError},
                                    {2, Outcome::kOverloaded},
                                    {3, Outcome::kNoRoute},
                                    {10, Outcome::kOk},
                                    {11, Outcome::kOk},
                                    {12, Outcome::kOk},
                                    {13, Outcome::kClientError},
                                    {14, Outcome::kUnavailable},
                                    {15, Outcome::kClientError},
                                    {16, Outcome::kDenied},
                                    {17, Outcome::kNoRoute},
                                    {18, Outcome::kClientError},
                                    {19, Outcome::kOk},
                                    {20, Outcome::kOk},
                                    {21, Outcome::kOk},
                                    {22, Outcome::kOk},
                                    {23, Outcome::kClientError},
                                    {24, Outcome::kClientError},
                                    {25, Outcome::kClientError},
                                    {26, Outcome::kClientError},
                                    {209, Outcome::kOverloaded},
                                    {210, Outcome::kOk},
                                    {215, Outcome::kRateLimited},
                                    {1500, Outcome::kUnavailable},
                                    {-1, Outcome::kServerError},
                                    {999, Outcome::kServerError}};
  for (auto [code, outcome] : rows) {
    EXPECT_EQ(asker.outcome(binary(code, 1, 1)), outcome) << code;
    EXPECT_EQ(asker.outcome(json("\"flag\":1,\"opaque\":1,\"code\":" + std::to_string(code))), outcome)
        << code;
  }
  EXPECT_EQ(asker.outcome(json("\"flag\":1,\"opaque\":1,\"code\":200050")), Outcome::kServerError);
}

TEST(RocketMq, LocalRepliesEqualWhatPeersAccept) {
  auto all = vectors("rocketmq");
  expect_replies_equal(rocketmq_codec(), "rocketmq", 9, [&](const Vector& v) {
    return vector_named(all, v.name.substr(0, v.name.find("-hijack-")) + "-call-getroute").bytes;
  });
  Asker asker(rocketmq_codec());
  const Vector& no_code = vector_named(all, "rocketmq-bin-hijack-unsupported");
  EXPECT_EQ(asker.reply(binary(999, no_code.number("id"), 0), Outcome::kNoRoute,
                        "mesh: request code not supported"),
            no_code.bytes);
  EXPECT_EQ(asker.frame(asker.reply(request(1), Outcome::kDenied)).status, 16);
  EXPECT_EQ(asker.frame(asker.reply(request(1), Outcome::kRateLimited)).status, 215);
  EXPECT_EQ(asker.frame(asker.reply(request(1), Outcome::kTooLarge)).status, 13);
  std::string told = asker.reply(json_request(-7), Outcome::kReset, "\"" + std::string(300, '\n'));
  EXPECT_EQ(asker.frame(told).status, 1);
  EXPECT_EQ(asker.frame(told).id, static_cast<uint32_t>(-7));
}

TEST(RocketMq, RequestsOfBrokersNeedABoundConnection) {
  FramedConnection up(rocketmq_codec(), Role::kClient);
  up.events.refuse = true;
  up.feed(binary(39, 5, 2) + binary(307, 6, 0));
  EXPECT_EQ(up.events.broken, 0);
  Asker asker(rocketmq_codec());
  std::string answer = up.sink.take();
  EXPECT_EQ(asker.frame(answer).total_len, answer.size()) << "one answer, to the one that wants it";
  EXPECT_EQ(asker.frame(answer).id, 6u);
  EXPECT_EQ(asker.frame(answer).status, 3);
}

TEST(RocketMq, IdsNeverCross) {
  auto body = [](uint64_t tag) { return "tag=" + std::to_string(tag) + "."; };
  expect_ids_never_cross(
      rocketmq_codec(),
      [&](uint64_t id, uint64_t tag) {
        return tag % 2 ? binary(10, id, 0, {}, body(tag))
                       : json("\"opaque\":" + std::to_string(id), body(tag));
      },
      [&](const std::string& call, uint64_t id, uint64_t tag) {
        return call[4] ? binary(0, id, 1, {}, body(tag))
                       : json("\"flag\":1,\"opaque\":" + std::to_string(static_cast<int32_t>(id)), body(tag));
      });
}

}  // namespace
}  // namespace dragoman::testing
