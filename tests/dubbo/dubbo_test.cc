// Dubbo: every captured frame in both roles, and the rules of its wire.
#include "protocols/dubbo/dubbo.h"

#include <gtest/gtest.h>

#include "protocols/hessian/hessian.h"
#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

std::string text(std::string_view s) { return std::string(1, static_cast<char>(s.size())) + std::string(s); }

std::string frame(uint8_t flags, uint8_t status, uint64_t id, std::string_view body) {
  return "\xda\xbb" + be(flags, 1) + be(status, 1) + be(id, 8) + be(body.size(), 4) + std::string(body);
}
std::string call_body(std::string_view method = "m", std::string_view attachments = "HZ",
                      std::string_view descriptor = "", std::string_view arguments = "") {
  return text("2.0.2") + text("com.S") + text("1.0") + text(method) + text(descriptor) + std::string(arguments) +
         std::string(attachments);
}
std::string request(uint64_t id, std::string_view body = "") {
  return frame(0xc2, 0, id, body.empty() ? std::string_view(call_body()) : body);
}
std::string response(uint64_t id, std::string_view body = "\x91\x02ok", uint8_t status = 20) {
  return frame(0x02, status, id, body);
}

class DubboVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(DubboVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (v.kind() == "malformed") return;
  if (v.kind() != "skipped") expect_prefixes_need_more(dubbo_codec(), v.bytes);
  dragoman_frame f;
  int verdict = Asker(dubbo_codec()).probe(v.bytes, f);
  EXPECT_EQ(f.id, v.number("id"));
  EXPECT_EQ(f.total_len, v.bytes.size());
  if (v.is_request() || v.kind() == "response") {
    ASSERT_EQ(verdict, DRAGOMAN_FRAME);
    if (v.has("status")) {
      EXPECT_EQ(f.status, static_cast<int32_t>(v.number("status")));
    }
    expect_passes_at_every_split(dubbo_codec(), request(1), v, [&](const Head& h) {
      EXPECT_EQ(h.service, v.text("service"));
      EXPECT_EQ(h.method, v.text("method"));
      EXPECT_FALSE(h.opaque);
      for (const auto& [name, value] : v.fields) {
        if (name.starts_with("header:")) {
          EXPECT_EQ(h.header(name.substr(7)), value) << name;
        }
      }
      EXPECT_EQ(h.header("version"), v.text("version"));
      EXPECT_EQ(h.header("group"), v.text("group"));
      EXPECT_EQ(h.header("generic_method"), v.text("generic_method"));
    });
    return;
  }
  for (size_t cut = 0; cut <= v.bytes.size(); ++cut) {
    FramedConnection c(dubbo_codec(), Role::kClient);
    c.feed(v.bytes.substr(0, cut));
    c.feed(v.bytes.substr(cut));
    EXPECT_EQ(c.events.broken, 0);
    EXPECT_EQ(c.accepted(), 0u);
    EXPECT_EQ(c.events.goaways, v.kind() == "goaway" ? 1 : 0);
    EXPECT_EQ(c.events.count(CodecEvent::kUnsupported), v.kind() == "skipped" ? 1u : 0u);
    std::string ack = v.kind() == "heartbeat" ? frame(0x22, 20, v.number("id"), "N") : "";
    EXPECT_EQ(c.sink.take(), ack);
  }
}

INSTANTIATE_TEST_SUITE_P(All, DubboVectors, ::testing::ValuesIn(vectors("dubbo")), test_name);

TEST(Dubbo, Malformed) {
  struct Row {
    const char* name;
    Reason broken;
    size_t accepted;
  } rows[] = {
      {"bad-dubbo-bad-magic", Reason::kMalformed, 0},
      {"bad-dubbo-body-negative", Reason::kMalformed, 0},
      {"bad-dubbo-body-over-limit", Reason::kFrameTooLarge, 0},
      {"bad-dubbo-hessian-bad-ref", Reason::kNone, 1},
      {"bad-dubbo-serialization-unknown", Reason::kNone, 1},
      {"bad-dubbo-truncated-body", Reason::kNone, 0},
  };
  auto all = vectors("dubbo");
  CodecOptions options = framed_options();
  options.framed.frame_bytes_max = 16 + (8 << 20);
  for (const Row& row : rows) {
    const std::string& bytes = vector_named(all, row.name).bytes;
    for (size_t step : {bytes.size(), size_t{1}}) {
      FramedConnection c(dubbo_codec(), Role::kServer, options);
      c.feed_in_steps(bytes, step);
      EXPECT_EQ(c.events.broken_reason, row.broken) << row.name;
      EXPECT_EQ(c.accepted(), row.accepted) << row.name;
      if (row.accepted) {
        EXPECT_TRUE(c.at(0).head->opaque) << row.name;
      }
      std::string out = c.sink.take();
      bool answered = row.broken != Reason::kNone && bytes[1] == '\xbb';
      EXPECT_EQ(out.substr(0, 4), answered ? "\xda\xbb\x02\x28" : "") << row.name;
    }
  }
}

TEST(Dubbo, TheFirstBytesTell) {
  dragoman_frame f;
  for (std::string bytes : {"\xda", "\xda\xbb"}) EXPECT_EQ(Asker(dubbo_codec()).probe(bytes, f), DRAGOMAN_NEED);
  EXPECT_EQ(Asker(dubbo_codec()).probe("\xda\xda", f), DRAGOMAN_NOT_MINE) << "Seata";
  EXPECT_EQ(Asker(dubbo_codec()).probe(std::string(1, '\1'), f), DRAGOMAN_NOT_MINE);
}

TEST(Dubbo, TelnetIsToldThatNobodyListens) {
  for (std::string line : {"ls\r\n", "\r\n", "\xff\xfd"}) {
    FramedConnection c(dubbo_codec(), Role::kServer);
    c.feed(line);
    EXPECT_EQ(c.sink.take(), "text commands are not served here\r\n");
    EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
  }
}

TEST(Dubbo, RequestsOfEverySizeRouteAndOnlyReadersPay) {
  // Arguments from nothing to more than a head may have; the description of the call is always found.
  for (size_t n : {0, 100, 1000, 70000, 140000}) {
    std::string argument;
    for (size_t left = n; left > 0;) {
      size_t k = std::min<size_t>(left, 30000);
      left -= k;
      argument += (left ? "R" : "S") + be(k, 2) + std::string(k, 'x');
    }
    std::string descriptor = n ? "Ljava/lang/String;" : "";
    std::string bytes = request(5, call_body("hello", "H\x05group\x02g1Z", descriptor, argument));
    for (uint32_t want : {0u, 3u, 7u}) {
      CodecOptions options = framed_options();
      options.framed.want = want;
      FramedConnection c(dubbo_codec(), Role::kServer, options);
      c.feed_in_steps(bytes, 4096);
      ASSERT_EQ(c.accepted(), 1u) << n << " " << want << c.events.broken_detail;
      const Head& h = *c.at(0).head;
      EXPECT_TRUE(c.at(0).ended);
      EXPECT_EQ(h.wire.size() + c.at(0).body.size(), bytes.size());
      EXPECT_EQ(h.service, want ? "com.S" : "");
      EXPECT_EQ(h.method, want ? "hello" : "");
      bool whole = want == 7 && n < 128 * 1024;
      bool kept = want && n < 128 * 1024;  // attachments may name another service
      EXPECT_EQ(h.opaque, want == 7 && !whole);
      EXPECT_EQ(h.header("group"), whole ? "g1" : "");
      EXPECT_EQ(h.header("version"), want == 7 ? "1.0" : "");
      EXPECT_LE(h.wire.size(), kept ? bytes.size() : 300u);
    }
  }
}

TEST(Dubbo, ALongDescriptionIsFoundStepByStep) {
  std::string method(900, 'm');
  std::string body = text("2.0.2") + text("com.S") + text("1.0") + "S" + be(900, 2) + method + text("") + "HZ" +
                     std::string();
  std::string padded = body.substr(0, body.size() - 2) + "H\x01k" + "S" + be(20000, 2) + std::string(20000, 'v') + "Z";
  CodecOptions options = framed_options();
  options.framed.want = DRAGOMAN_WANT_METHOD;
  for (size_t step : {1, 300, 100000}) {
    FramedConnection c(dubbo_codec(), Role::kServer, options);
    c.feed_in_steps(request(1, padded), step);
    ASSERT_EQ(c.accepted(), 1u);
    EXPECT_EQ(c.at(0).head->method, method);
    EXPECT_LT(c.at(0).head->wire.size(), 1000u);
  }
}

TEST(Dubbo, OtherSerializationsRouteByHeaderOnly) {
  for (uint8_t serialization : {3, 6, 23, 31}) {
    FramedConnection c(dubbo_codec(), Role::kServer);
    c.feed(frame(0xc0 | serialization, 0, 1, "anything at all"));
    ASSERT_EQ(c.accepted(), 1u);
    EXPECT_TRUE(c.at(0).head->opaque);
    EXPECT_EQ(c.at(0).head->service, "");
    // "null" looks different in each: the peer gets its own back.
    c.feed(frame(0xe0 | serialization, 0, 7, "null"));
    EXPECT_EQ(c.sink.take(), frame(0x20 | serialization, 20, 7, "null"));
  }
}

TEST(Dubbo, DeadlinesComeFromAttachments) {
  auto deadline = [](std::string_view attachments) {
    FramedConnection c(dubbo_codec(), Role::kServer);
    c.feed(request(1, call_body("m", attachments)));
    return c.at(0).head->timeout_ms;
  };
  EXPECT_EQ(deadline("HZ"), -1);
  EXPECT_EQ(deadline("H\x07timeout\xcb\xb8Z"), 952) << "a number, from Node";
  EXPECT_EQ(deadline("H\x07timeout\x04" "5000Z"), 5000);
  EXPECT_EQ(deadline("H\x07timeout\x04" "5000\x03_TO\x03" "200Z"), 200) << "what is left of it";
  EXPECT_EQ(deadline("H\x07timeout\x04oopsZ"), -1);
  EXPECT_EQ(deadline("H\x07timeout\x02-1Z"), -1);
  EXPECT_EQ(deadline("N"), -1);
}

TEST(Dubbo, AttachmentsThatCannotBeReadAreUnknown) {
  for (std::string body : {call_body("m", "HZ", "Lbroken"), call_body("m", "HZ", "Q"), call_body("m", "HZ", "I"),
                           call_body("m", "H\x01k"), call_body("m", "HZN"), call_body("m", "\x91"),
                           call_body("m", "HZ", "["), call_body("m", ""), std::string("\x91"), std::string("Q\x90")}) {
    FramedConnection down(dubbo_codec(), Role::kServer), up(dubbo_codec(), Role::kClient);
    Hop hop(down, up);
    down.feed(request(1, body));
    ASSERT_EQ(down.accepted(), 1u);
    EXPECT_TRUE(down.at(0).head->opaque);
    EXPECT_EQ(up.sink.take().size(), 16 + body.size()) << "it passes all the same";
    down.at(0).head->set_header("a", "b");
    FakeMessageSink again;
    again.exchange = up.codec->open(again);
    EXPECT_EQ(again.exchange->send_head(*down.at(0).head, true), Reason::kNone);
    EXPECT_EQ(up.events.count(CodecEvent::kEditSkipped), 1u);
    EXPECT_EQ(up.sink.take().size(), 16 + body.size());
    again.release();
  }
}

TEST(Dubbo, AttachmentsBehindReferencesAndObjects) {
  // An argument with a class, a list and a reference, then attachments that refer to it and hold a map.
  std::string argument = "C\x01P\x92\x01" "a\x01" "b`W\x91Z" "Q\x91";
  std::string attachments = "H\x03ref" "Q\x90\x03map" "H\x01x\x01yZ\x01k\x01vZ";
  FramedConnection c(dubbo_codec(), Role::kServer);
  c.feed(request(1, call_body("m", attachments, "LP;", argument)));
  const Head& h = *c.at(0).head;
  EXPECT_FALSE(h.opaque);
  EXPECT_EQ(h.headers.size(), 2u) << "version and k: others are no text";
  EXPECT_EQ(h.header("k"), "v");
}

std::string edited(const std::string& bytes, const std::function<void(Head&)>& edit,
                   Edit want = Edit::kMade) {
  return edited_request(dubbo_codec(), bytes, edit, want);
}

TEST(Dubbo, EditsAttachments) {
  auto set = [](Head& h) { h.set_header("color", "red"); };
  EXPECT_EQ(edited(request(9), set), request(9, call_body("m", "H\x05" "color\x03redZ")));
  EXPECT_EQ(edited(request(9, call_body("m", "N")), set), request(9, call_body("m", "H\x05" "color\x03redZ")));
  EXPECT_EQ(edited(request(9, call_body("m", "H\x05" "Color\x04" "blue\x01k\x01vZ")), set),
            request(9, call_body("m", "H\x01k\x01v\x05" "color\x03redZ")));
  EXPECT_EQ(edited(request(9, call_body("m", "M\x01t\x01k\x01vZ")), [](Head& h) { h.remove_header("k"); }),
            request(9, call_body("m", "M\x01tZ")));
  EXPECT_EQ(edited(request(9), [](Head& h) { h.add_header("k", "\xf0\x9f\x98\x80"); }),
            request(9, call_body("m", "H\x01k\x02\xed\xa0\xbd\xed\xb8\x80Z")));
  // Taking a container away would move the references behind it; the version is a field of its own.
  std::string held = call_body("m", "H\x01m" "H\x01x\x01yZ\x01r" "Q\x91Z");
  EXPECT_EQ(edited(
                request(9, held), [](Head& h) { h.remove_header("m"); }, Edit::kSkipped),
            "");
  EXPECT_NE(edited(request(9, held), set), "");
  EXPECT_EQ(edited(
                request(9), [](Head& h) { h.set_header("version", "2"); }, Edit::kSkipped),
            "");
  EXPECT_EQ(edited(frame(0xc3, 0, 1, "java"), set, Edit::kSkipped), "");
}

/// Providers let attachments take the place of path and version in front of the arguments, put pieces of text together, and
/// decode characters that are longer than they need be.
TEST(Dubbo, NothingCanBeReadInTwoWays) {
  auto accepted = [](const std::string& body, uint32_t want) {
    CodecOptions options = framed_options();
    options.framed.want = want;
    FramedConnection c(dubbo_codec(), Role::kServer, options);
    c.feed(request(1, body));
    return c.accepted() == 1;
  };
  auto with = [](const std::string& attachments) { return call_body("m", "H" + attachments + "Z"); };
  for (uint32_t want : {3u, 7u}) {
    EXPECT_TRUE(accepted(with(text("path") + text("com.S") + text("version") + text("1.0")), want));
    EXPECT_FALSE(accepted(with(text("path") + text("com.Secret")), want));
    EXPECT_FALSE(accepted(with(text("path") + text("com.S") + text("path") + text("com.Secret")), want));
    EXPECT_FALSE(accepted(with(text("version") + text("2.0")), want));
    EXPECT_TRUE(accepted(with(text("interface") + text("com.Other")), want)) << "nobody looks that up";
    // In two pieces, and as overlong UTF-8.
    const std::string pieces = "R" + be(2, 2) + "pa" + text("th");
    EXPECT_FALSE(accepted(with(pieces + text("com.Secret")), want));
    EXPECT_FALSE(accepted(with(text("path") + "R" + be(2, 2) + "co" + text("m.S")), want));
    EXPECT_FALSE(accepted(with("\x04\xc1\xb0" "ath" + text("com.Secret")), want));
    const std::string rest = text("1.0") + text("m") + text("") + "HZ";
    EXPECT_TRUE(accepted(text("2.0.2") + text("com.S") + rest, want));
    EXPECT_FALSE(accepted(text("2.0.2") + "R" + be(3, 2) + "com" + text(".S") + rest, want));
    EXPECT_FALSE(accepted(text("2.0.2") + "\x05\xc1\xa3" "om.S" + rest, want));
    EXPECT_FALSE(accepted(text("2.0.2") + text("com.S") + text("1.0") + "\x01\xc1\xad" + text("") + "HZ", want));
  }
  EXPECT_FALSE(accepted(with(text("k") + text("v") + text("k") + text("w")), 7));
  EXPECT_FALSE(accepted(with(text("k") + text("v") + text("K") + text("w")), 7));
  EXPECT_TRUE(accepted(with(text("k") + text("v") + text("k") + text("v")), 7));
  EXPECT_TRUE(accepted(with(text("k") + text("\xe4\xb8\xad").replace(0, 1, "\x01")), 7)) << "plain UTF-8";
  EXPECT_TRUE(accepted(with(text("k") + "R" + be(0x8000, 2) + std::string(0x8000, 'x') + text("y")), 7)) << "a text that needs pieces";
  EXPECT_TRUE(accepted(with(text("path") + text("com.Secret")), 0)) << "nobody routes";
}

TEST(Dubbo, AttachmentsWithoutEndAreBounded) {
  CodecOptions options = framed_options();
  FramedConnection c(dubbo_codec(), Role::kServer, options);
  std::string many;
  for (int i = 0; i < 9'000; ++i) many += text("k" + std::to_string(i)) + text("");
  c.feed(request(1, call_body("m", "H" + many + "Z")) + request(2));
  EXPECT_EQ(c.events.broken, 0) << c.events.broken_detail;
  EXPECT_EQ(c.events.count(CodecEvent::kHeadersOverflow), 1u);
  EXPECT_EQ(c.accepted(), 1u) << "the next one";
}

TEST(Dubbo, OtherSerializationsRouteAsFarAsTheirBytesTell) {
  auto jsonb = [](std::string_view s) { return std::string(1, static_cast<char>(0x49 + s.size())) + std::string(s); };
  auto counted = [&](std::string_view s) { return be(s.size() + 1, 4) + jsonb(s); };
  auto kryo = [](std::string s) {
    if (s.size() < 2) return std::string(1, static_cast<char>(0x80 | (s.size() + 1))) + s;
    s.back() = static_cast<char>(s.back() | 0x80);
    return s;
  };
  auto protobuf = [](std::string_view s) {
    return std::string(1, static_cast<char>(s.size() + 2)) + "\x0a" + std::string(1, static_cast<char>(s.size())) + std::string(s);
  };
  auto java = [](std::string_view s) { return be(s.size(), 4) + be(s.size(), 2) + std::string(s); };
  auto msgpack = [](std::string_view s) { return std::string(1, static_cast<char>(0xa0 | s.size())) + std::string(s); };
  auto line = [](std::string_view s) { return "\"" + std::string(s) + "\"\r\n"; };
  auto body = [](auto&& write) { return write("2.0.2") + write("demo.Echo") + write("1.0") + write("echo") + write("V"); };
  const std::string in_java = body(java);
  struct Row {
    uint8_t serialization;
    std::string bytes;
    bool named = true;
  } rows[] = {{23, body(jsonb)}, {23, body(counted)}, {8, body(kryo)}, {22, body(protobuf)}, {27, body(msgpack)},
              {3, std::string("\xac\xed\0\5\x77", 5) + be(in_java.size(), 1) + in_java}, {6, body(line)}, {21, body(line)},
              {8, body(jsonb)}, {22, body(jsonb)}, {9, "\x01\x02\x03", false}, {23, "\x05", false}, {8, std::string(300, 'x'), false}};
  for (const Row& row : rows) {
    const std::string bytes = frame(0xc0 | row.serialization, 0, 7, row.bytes);
    for (size_t step : {size_t{1}, bytes.size()}) {
      FramedConnection down(dubbo_codec(), Role::kServer), up(dubbo_codec(), Role::kClient);
      Hop hop(down, up);
      down.feed_in_steps(bytes, step);
      ASSERT_EQ(down.accepted(), 1u) << +row.serialization << down.events.broken_detail;
      EXPECT_EQ(down.at(0).head->service, row.named ? "demo.Echo" : "") << +row.serialization;
      EXPECT_EQ(down.at(0).head->method, row.named ? "echo" : "") << +row.serialization;
      EXPECT_EQ(down.at(0).head->header("version"), row.named ? "1.0" : "");
      EXPECT_EQ(up.sink.take().substr(12), bytes.substr(12));
    }
    EXPECT_EQ(edited(bytes, [](Head& h) { h.set_header("x", "y"); }, Edit::kSkipped), "");
  }
}

TEST(Dubbo, BodiesOverTheHeadLimitPassUnedited) {
  const std::string argument = "R" + be(0xffff, 2) + std::string(0xffff, 'x') + "R" + be(0xffff, 2) + std::string(0xffff, 'x') + text("y");
  const std::string bytes = request(9, call_body("m", "HZ", "Ljava/lang/String;", argument));
  EXPECT_EQ(edited(bytes, [](Head& h) { h.set_header("x", "y"); }, Edit::kSkipped), "");
  FramedConnection c(dubbo_codec(), Role::kServer);
  c.feed(bytes);
  ASSERT_EQ(c.accepted(), 1u);
  EXPECT_EQ(c.at(0).head->service, "com.S");
}

TEST(Dubbo, TheMutatedVectorIsWhatEditMakes) {
  auto all = vectors("dubbo");
  std::string before = vector_named(all, "dubbo-apachejs-request-hello").bytes;
  std::string after = vector_named(all, "dubbo-request-mutated").bytes;
  std::string made = edited(before, [](Head& h) { h.set_header("color", "red"); });
  EXPECT_EQ(made.substr(12), after.substr(12)) << "but for the id";
}

TEST(Dubbo, AnswersWithoutAttachmentsStayWithout) {
  auto answer = [](const std::string& bytes, Edit want) {
    FramedConnection down(dubbo_codec(), Role::kServer), up(dubbo_codec(), Role::kClient);
    down.feed(request(1));
    FakeMessageSink sink;
    sink.exchange = up.codec->open(sink);
    EXPECT_EQ(sink.exchange->send_head(*down.at(0).head, true), Reason::kNone);
    Asker asker(dubbo_codec());
    up.feed(asker.with_id(bytes, asker.frame(up.sink.take()).id));
    sink.head->set_header("k", "v");
    EXPECT_EQ(down.at(0).exchange->send_head(*sink.head, sink.ended), Reason::kNone);
    if (!sink.ended) down.at(0).exchange->send_body({}, true);
    EXPECT_EQ(down.events.count(CodecEvent::kEditSkipped), want == Edit::kSkipped ? 1u : 0u);
    sink.release();
    return down.sink.take();
  };
  EXPECT_EQ(answer(response(1, "\x94\x02okHZ"), Edit::kMade), response(1, "\x94\x02okH\x01k\x01vZ"));
  EXPECT_EQ(answer(response(1, "\x95HZ"), Edit::kMade), response(1, "\x95H\x01k\x01vZ"));
  for (std::string body : {"\x91\x02ok", "\x92", "\x90\x02ok"})
    EXPECT_EQ(answer(response(1, body), Edit::kSkipped), response(1, body));
}

TEST(Dubbo, Outcomes) {
  Asker asker(dubbo_codec());
  EXPECT_EQ(asker.outcome(response(1)), Outcome::kOk);
  EXPECT_EQ(asker.outcome(response(1, "\x95HZ")), Outcome::kOk);
  EXPECT_EQ(asker.outcome(response(1, "\x90\x01x")), Outcome::kServerError) << "an exception";
  EXPECT_EQ(asker.outcome(response(1, "\x93\x01xHZ")), Outcome::kServerError);
  EXPECT_EQ(asker.outcome(response(1, "")), Outcome::kOk);
  std::pair<uint8_t, Outcome> rows[] = {{25, Outcome::kServerError}, {30, Outcome::kTimeout},
                                        {31, Outcome::kTimeout},     {35, Outcome::kReset},
                                        {40, Outcome::kClientError}, {50, Outcome::kCodecError},
                                        {60, Outcome::kNoRoute},     {70, Outcome::kServerError},
                                        {80, Outcome::kServerError}, {90, Outcome::kReset},
                                        {100, Outcome::kOverloaded}, {77, Outcome::kUnknown}};
  for (auto [status, outcome] : rows) EXPECT_EQ(asker.outcome(response(1, "\x01x", status)), outcome) << +status;
}

TEST(Dubbo, LocalRepliesEqualWhatPeersAccept) {
  expect_replies_equal(dubbo_codec(), "dubbo", 5, [](const Vector& v) { return request(v.number("id")); });
  Asker asker(dubbo_codec());
  EXPECT_EQ(asker.reply(request(1), Outcome::kOverloaded), response(1, text("mesh: overflow"), 100));
  EXPECT_EQ(asker.reply(request(1), Outcome::kDenied, "no"), response(1, "\x02no", 80));
  EXPECT_EQ(asker.reply(request(1), Outcome::kDenied, "\xff"), response(1, text("mesh: denied"), 80));
  std::string long_text = asker.reply(request(1), Outcome::kUnknown, std::string(5000, 'x'));
  EXPECT_EQ(long_text.size(), 16 + 2 + 1000u);
  // One-way calls and their answers.
  FramedConnection c(dubbo_codec(), Role::kServer);
  c.feed(frame(0x82, 0, 1, call_body()));
  c.at(0).exchange->send_reply(*c.at(0).head, {});
  EXPECT_EQ(c.sink.take(), "");
}

TEST(Dubbo, HeartbeatsAndReadonlyGoBothWays) {
  FramedConnection up(dubbo_codec(), Role::kClient);
  EXPECT_TRUE(up.codec->heartbeat());
  std::string beat = up.sink.take();
  ASSERT_EQ(beat.size(), 17u);
  EXPECT_EQ(beat.substr(0, 4) + beat.substr(12), std::string("\xda\xbb\xe2\x00\x00\x00\x00\x01N", 9));
  beat[2] = 0x22;
  beat[3] = 20;
  up.feed(beat);
  EXPECT_EQ(up.codec->heartbeats_missed(), 0u);
  EXPECT_EQ(up.events.count(CodecEvent::kHeartbeatAck), 1u);

  CodecOptions options = framed_options();
  options.framed.goaway = true;
  FramedConnection down(dubbo_codec(), Role::kServer, options);
  down.codec->drain();
  std::string readonly = down.sink.take();
  EXPECT_EQ(readonly, frame(0xa2, 0, 0, "\x01R"));
  up.feed(readonly);
  EXPECT_EQ(up.events.goaways, 1);
  EXPECT_EQ(up.codec->capacity(), 0u);
  // The peer still gets answers, and may even send.
  down.feed(request(4));
  EXPECT_EQ(down.accepted(), 1u);
}

TEST(Dubbo, EventsThatAreNone) {
  FramedConnection c(dubbo_codec(), Role::kServer);
  c.feed(frame(0xa2, 0, 1, std::string(100, 'x')) + frame(0xa2, 0, 2, "N") + frame(0xe2, 0, 3, "\x01?"));
  EXPECT_EQ(c.events.count(CodecEvent::kUnsupported), 2u);
  EXPECT_EQ(c.sink.take(), frame(0x22, 20, 3, "N")) << "two-way: answered";
  EXPECT_EQ(c.events.broken, 0);
  EXPECT_EQ(c.accepted(), 0u);
}

TEST(Dubbo, CallbacksPassOnBoundConnections) {
  CodecOptions bound = framed_options(PoolMode::kBound);
  FramedConnection down(dubbo_codec(), Role::kServer, bound), up(dubbo_codec(), Role::kClient, bound);
  Hop to_server(down, up), to_client(up, down);
  up.feed(request(77));  // the provider calls the consumer
  EXPECT_EQ(down.sink.take(), request(77));
  down.feed(response(77));
  EXPECT_EQ(up.sink.take(), response(77));
  // On a shared connection nobody could take it.
  FramedConnection shared(dubbo_codec(), Role::kClient);
  shared.events.refuse = true;
  shared.feed(request(77));
  EXPECT_EQ(shared.sink.take(), response(77, text("mesh: no route"), 60));
}

TEST(Dubbo, IdsNeverCross) {
  expect_ids_never_cross(
      dubbo_codec(),
      [](uint64_t id, uint64_t tag) {
        return request(id, call_body("m", "HZ", "", "tag=" + std::to_string(tag)));
      },
      [](const std::string&, uint64_t id, uint64_t tag) {
        return response(id, "\x91" + text("tag=" + std::to_string(tag)));
      });
}

}  // namespace
}  // namespace dragoman::testing
