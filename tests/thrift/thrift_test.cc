// Thrift: every captured frame in both roles, and the rules of its wire.
#include "protocols/thrift/thrift.h"

#include <gtest/gtest.h>

#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

std::string varint(uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out += static_cast<char>(v | 0x80);
  return out + static_cast<char>(v);
}

enum class Wire { kFramed, kUnframed, kHeader };
enum class Code { kBinary, kOld, kCompact };

const std::string kStop(1, '\0');

std::string message(Code code, int type, uint32_t id, std::string_view name, std::string_view body = kStop) {
  std::string n(name), b(body);
  if (code == Code::kBinary) return "\x80\x01" + be(type, 2) + be(n.size(), 4) + n + be(id, 4) + b;
  if (code == Code::kOld) return be(n.size(), 4) + n + be(type, 1) + be(id, 4) + b;
  return "\x82" + be(type << 5 | 1, 1) + varint(id) + varint(n.size()) + n + b;
}
std::string header_frame(Code code, std::string_view payload, std::string_view info = {}, uint32_t sequence = 0,
                         std::string_view transforms = kStop) {
  std::string h = std::string(1, code == Code::kCompact ? '\2' : '\0') + std::string(transforms) + std::string(info);
  while (h.size() % 4) h += '\0';
  std::string rest = "\x0f\xff" + be(0, 2) + be(sequence, 4) + be(h.size() / 4, 2) + h + std::string(payload);
  return be(rest.size(), 4) + rest;
}
std::string frame(Wire wire, Code code, int type, uint32_t id, std::string_view name, std::string_view body = kStop) {
  std::string m = message(code, type, id, name, body);
  if (wire == Wire::kUnframed) return m;
  return wire == Wire::kFramed ? be(m.size(), 4) + m : header_frame(code, m, {}, id);
}
std::string call(uint32_t id, std::string_view name = "m", Wire wire = Wire::kFramed, Code code = Code::kBinary) {
  return frame(wire, code, 1, id, name);
}
Wire wire_of(const Vector& v) {
  return v.text("transport") == "unframed" ? Wire::kUnframed
         : v.text("transport") == "theader" ? Wire::kHeader
                                            : Wire::kFramed;
}
Code code_of(const Vector& v) { return v.text("encoding") == "compact" ? Code::kCompact : Code::kBinary; }

class ThriftVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(ThriftVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (!v.is_request() && v.kind() != "response") return;
  bool zlib = v.name.find("zlib-call") != std::string::npos;
  if (!zlib) expect_prefixes_need_more(thrift_codec(), v.bytes);
  dragoman_frame f = Asker(thrift_codec()).frame(v.bytes);
  EXPECT_EQ(f.id, v.number("id"));
  uint32_t flags = v.kind() == "response" ? DRAGOMAN_FRAME_FORM : DRAGOMAN_FRAME_LOOSE;
  if (v.kind() == "request" && f.id == 0) flags |= DRAGOMAN_FRAME_ORDERED;
  if (v.kind() == "response" && f.id == 0) flags |= DRAGOMAN_FRAME_LOOSE;
  EXPECT_EQ(f.flags, flags);
  bool unframed = wire_of(v) == Wire::kUnframed;
  EXPECT_EQ(f.total_len, unframed ? DRAGOMAN_LENGTH_UNKNOWN : v.bytes.size());
  EXPECT_EQ((f.variant & DRAGOMAN_VARIANT_EXCLUSIVE) != 0, unframed || zlib);
  std::string request = call(1, "m", wire_of(v), code_of(v));
  expect_passes_at_every_split(thrift_codec(), request, v, [&](const Head& h) {
    EXPECT_EQ(h.service, v.text("service"));
    EXPECT_EQ(h.method, v.text("method"));
    EXPECT_EQ(h.opaque, wire_of(v) != Wire::kHeader);
    for (const auto& [name, value] : v.fields) {
      if (name.starts_with("header:")) {
        EXPECT_EQ(h.header(name.substr(7)), value) << name;
      }
    }
  });
}

TEST_P(ThriftVectors, StreamsPassAtEverySplit) {
  const Vector& v = GetParam();
  if (v.kind() != "stream") return;
  bool answers = v.name.ends_with("s2c");
  for (size_t step = 1; step <= v.bytes.size(); ++step) {
    if (answers) {
      FramedConnection up(thrift_codec(), Role::kClient, framed_options(PoolMode::kBound));
      up.feed_in_steps(v.bytes, step);
      EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), v.number("messages"));
      EXPECT_EQ(up.events.broken, 0) << up.events.broken_detail;
    } else {
      FramedConnection down(thrift_codec(), Role::kServer), up(thrift_codec(), Role::kClient, framed_options(PoolMode::kBound));
      Hop hop(down, up);
      down.feed_in_steps(v.bytes, step);
      EXPECT_EQ(down.accepted(), v.number("messages"));
      ASSERT_EQ(up.sink.take(), v.bytes);
    }
  }
}

TEST_P(ThriftVectors, RewritesAreTheSame) {
  const Vector& v = GetParam();
  if (v.kind() != "rewrite") return;
  std::string of = v.text("rewrite_of");
  const auto all = vectors("thrift");
  const Vector& original = vector_named(all, of.substr(0, of.size() - 4));
  EXPECT_EQ(Asker(thrift_codec()).with_id(original.bytes, v.number("new_id")), v.bytes);
}

INSTANTIATE_TEST_SUITE_P(All, ThriftVectors, ::testing::ValuesIn(vectors("thrift")), test_name);

TEST(Thrift, Malformed) {
  for (const Vector& v : vectors("thrift")) {
    if (v.kind() != "malformed") continue;
    for (size_t step : {v.bytes.size(), size_t{1}}) {
      FramedConnection c(thrift_codec(), Role::kServer);
      c.feed_in_steps(v.bytes, step);
      EXPECT_EQ(c.accepted(), 0u) << v.name;
      if (v.name == "bad-thrift-header-unknown-transform") {
        // Nothing is known of the call but that it was one: INVALID_TRANSFORM, and the connection goes on.
        EXPECT_EQ(c.events.broken, 0);
        std::string out = c.sink.take();
        ASSERT_GT(out.size(), 24u);
        EXPECT_EQ(out.substr(out.size() - 8), "\x08" + be(2, 2) + be(8, 4) + kStop);
      } else {
        EXPECT_EQ(c.events.broken, 1) << v.name << " step " << step;
        EXPECT_EQ(c.sink.take(), "") << v.name;
      }
    }
  }
}

TEST(Thrift, TheFirstBytesTell) {
  struct Row {
    std::string bytes;
    int verdict;
  } rows[] = {
      {"\x80", DRAGOMAN_NEED},
      {"\x80\x01\xff\x01", DRAGOMAN_NEED},  // the third byte means nothing
      {"\x80\x02", DRAGOMAN_NOT_MINE},
      {"\x80\x01" + be(5, 2), DRAGOMAN_MALFORMED},
      {"\x82\x21", DRAGOMAN_NEED},
      {"\x82\x22", DRAGOMAN_NOT_MINE},
      {std::string("\0\0\0\x20\x0f\xff", 6), DRAGOMAN_NEED},
      {std::string("\0\0\0\x20\x10\x00", 6), DRAGOMAN_NOT_MINE},  // TTHeader
      {std::string("\0\0\0\x20\xda\xbc", 6), DRAGOMAN_NOT_MINE},  // Dubbo-Thrift
      {std::string("\0\0\0\x20\x90\x01", 6), DRAGOMAN_NOT_MINE},  // Kitex
      {std::string("\0\0\0\x20\0\0\0\x03\0\0\0\x01", 12), DRAGOMAN_NOT_MINE},  // Kafka
      {std::string("\xda\xbb"), DRAGOMAN_NEED},
      {std::string("\xda\xbb\xc2\0\0", 5), DRAGOMAN_MALFORMED},
      {std::string("\x01\x01\0\x01\x01", 5), DRAGOMAN_NOT_MINE},  // Bolt
      {"GET / HTTP/1.1", DRAGOMAN_NOT_MINE},
      {std::string("\0\0\0\x03" "ad", 6), DRAGOMAN_NEED},
      {std::string("\0\0\0\x03" "a d", 7), DRAGOMAN_NOT_MINE},
  };
  for (const Row& row : rows) {
    dragoman_frame f;
    EXPECT_EQ(Asker(thrift_codec()).probe(row.bytes, f), row.verdict) << ::testing::PrintToString(row.bytes);
  }
}

TEST(Thrift, AConnectionKeepsItsTransportAndEncoding) {
  std::pair<Wire, Code> forms[] = {{Wire::kFramed, Code::kBinary},   {Wire::kFramed, Code::kCompact},
                                   {Wire::kUnframed, Code::kBinary}, {Wire::kUnframed, Code::kCompact},
                                   {Wire::kHeader, Code::kBinary},   {Wire::kHeader, Code::kCompact},
                                   {Wire::kFramed, Code::kOld},      {Wire::kUnframed, Code::kOld}};
  for (auto [wire1, code1] : forms)
    for (auto [wire2, code2] : forms) {
      FramedConnection c(thrift_codec(), Role::kServer);
      c.feed(frame(wire1, code1, 4, 1, "m") + frame(wire2, code2, 4, 2, "m"));
      bool fits = wire1 == wire2 &&
                  (wire1 == Wire::kHeader || (code1 == Code::kCompact) == (code2 == Code::kCompact));
      EXPECT_EQ(c.accepted(), fits ? 2u : 1u);
      EXPECT_EQ(c.events.broken, fits ? 0 : 1);
    }
}

TEST(Thrift, VariantsNeverShareAConnection) {
  std::set<uint32_t> seen;
  for (Wire wire : {Wire::kFramed, Wire::kUnframed, Wire::kHeader})
    for (Code code : {Code::kBinary, Code::kCompact})
      seen.insert(Asker(thrift_codec()).frame(call(1, "m", wire, code)).variant);
  EXPECT_EQ(seen.size(), 5u) << "a THeader names the encoding in each message";
}

TEST(Thrift, CompactIdsOfEveryLength) {
  for (Wire wire : {Wire::kFramed, Wire::kHeader, Wire::kUnframed})
    for (uint32_t from : {0u, 1u, 127u, 128u, 16384u, 1u << 28, UINT32_MAX})
      for (uint32_t to : {1u, 200u, 70000u, UINT32_MAX}) {
        Asker asker(thrift_codec());
        std::string want = call(to, "name", wire, Code::kCompact);
        if (wire == Wire::kHeader) want.replace(8, 4, be(to, 4));
        EXPECT_EQ(asker.with_id(call(from, "name", wire, Code::kCompact), to), want);
      }
  // Padded, as some senders do.
  std::string padded = "\x82\x21" + std::string("\x81\x80\x80\x80\x00", 5) + "\x01m" + kStop;
  EXPECT_EQ(Asker(thrift_codec()).frame(be(padded.size(), 4) + padded).id, 1u);
  dragoman_frame f;
  std::string over = "\x82\x21\xff\xff\xff\xff\x1f\x01m" + kStop;
  EXPECT_EQ(Asker(thrift_codec()).probe(be(over.size(), 4) + over, f), DRAGOMAN_MALFORMED);
}

TEST(Thrift, ClientsThatNumberNothingGetAnswersInOrder) {
  FramedConnection down(thrift_codec(), Role::kServer), up(thrift_codec(), Role::kClient);
  Hop hop(down, up);
  Asker asker(thrift_codec());
  std::vector<uint64_t> ids;
  for (std::string name : {"a", "b", "c"}) {
    down.feed(call(0, name));
    ids.push_back(asker.frame(up.sink.take()).id);
  }
  auto answer = [&](size_t i) {
    up.feed(frame(Wire::kFramed, Code::kBinary, 2, static_cast<uint32_t>(ids[i]), std::string(1, static_cast<char>('a' + i))));
  };
  answer(1);
  answer(2);
  EXPECT_EQ(down.sink.take(), "");
  answer(0);
  std::string all;
  for (std::string name : {"a", "b", "c"}) all += frame(Wire::kFramed, Code::kBinary, 2, 0, name);
  EXPECT_EQ(down.sink.take(), all);
}

TEST(Thrift, LocalRepliesEqualWhatPeersAccept) {
  expect_replies_equal(thrift_codec(), "thrift", 13, [](const Vector& v) {
    bool old = v.name.find("nonstrict") != std::string::npos;
    std::string request = call(static_cast<uint32_t>(v.number("id")), "Svc:" + v.text("method"), wire_of(v),
                               old ? Code::kOld : code_of(v));
    if (wire_of(v) == Wire::kHeader) request.replace(8, 4, v.bytes.substr(8, 4));
    return request;
  });
}

TEST(Thrift, Outcomes) {
  auto exception = [](int type) {
    return "\x0b" + be(1, 2) + be(2, 4) + "hi" + (type < 0 ? "" : "\x08" + be(2, 2) + be(type, 4)) + kStop;
  };
  Asker asker(thrift_codec());
  auto outcome = [&](int type) { return asker.outcome(frame(Wire::kFramed, Code::kBinary, 3, 1, "m", exception(type))); };
  EXPECT_EQ(outcome(1), Outcome::kNoRoute);
  EXPECT_EQ(outcome(6), Outcome::kServerError);
  EXPECT_EQ(outcome(7), Outcome::kCodecError);
  EXPECT_EQ(outcome(8), Outcome::kCodecError);
  EXPECT_EQ(outcome(9), Outcome::kCodecError);
  EXPECT_EQ(outcome(-1), Outcome::kServerError) << "Node servers leave the type out";
  EXPECT_EQ(asker.outcome(frame(Wire::kFramed, Code::kBinary, 3, 1, "m", "\x0b")), Outcome::kServerError);
  EXPECT_EQ(asker.outcome(frame(Wire::kFramed, Code::kBinary, 3, 1, "m", exception(1) + std::string(5000, 'x'))),
            Outcome::kServerError);
  std::string compact = "\x18\x02hi\x15" + std::string(1, '\2') + kStop;
  EXPECT_EQ(Asker(thrift_codec()).outcome(frame(Wire::kHeader, Code::kCompact, 3, 1, "m", compact)), Outcome::kNoRoute);
  EXPECT_EQ(Asker(thrift_codec()).outcome(frame(Wire::kUnframed, Code::kBinary, 3, 1, "m")), Outcome::kServerError);
  // An exception of the interface is an answer.
  EXPECT_EQ(asker.outcome(frame(Wire::kFramed, Code::kBinary, 2, 1, "m", "\x0c" + be(1, 2) + be(0, 2))), Outcome::kOk);
}

/// The frame that reaches the backend when the head is edited on the way.
std::string edited(const std::string& bytes, const std::function<void(Head&)>& edit,
                   Edit want = Edit::kMade) {
  return edited_request(thrift_codec(), bytes, edit, want);
}

TEST(Thrift, EditsThePairsOfAHeader) {
  auto pairs = [](std::vector<std::string> texts) {
    std::string out = "\1" + varint(texts.size() / 2);
    for (const std::string& t : texts) out += varint(t.size()) + t;
    return out;
  };
  for (Code code : {Code::kBinary, Code::kCompact}) {
    std::string payload = message(code, 1, 7, "S:m");
    std::string plain = header_frame(code, payload), one = header_frame(code, payload, pairs({"K", "v"}), 7);
    auto set = [](Head& h) { h.set_header("k", "other"); };
    EXPECT_EQ(edited(plain, set), header_frame(code, payload, pairs({"k", "other"})));
    EXPECT_EQ(edited(one, set), header_frame(code, payload, pairs({"k", "other"}), 7));
    EXPECT_EQ(edited(one, [](Head& h) { h.remove_header("k"); }), header_frame(code, payload, {}, 7));
    EXPECT_EQ(edited(one, [](Head& h) { h.add_header("x", std::string(300, 'y')); }),
              header_frame(code, payload, pairs({"K", "v", "x", std::string(300, 'y')}), 7));
    EXPECT_EQ(edited(
                  one, [](Head& h) { h.set_header("k", std::string(66000, 'z')); }, Edit::kSkipped),
              "");
  }
  EXPECT_EQ(edited(
                call(1), [](Head& h) { h.set_header("a", "b"); }, Edit::kSkipped),
            "");
}

TEST(Thrift, HeaderLimits) {
  auto verdict = [](const std::string& bytes) {
    dragoman_frame f;
    return Asker(thrift_codec()).probe(bytes, f);
  };
  std::string payload = message(Code::kBinary, 1, 7, "m");
  std::string many = "\1" + varint(1024);
  for (int i = 0; i < 1024; ++i) many += std::string("\1k\0", 3);
  EXPECT_EQ(verdict(header_frame(Code::kBinary, payload, many)), DRAGOMAN_FRAME);
  EXPECT_EQ(verdict(header_frame(Code::kBinary, payload, "\1" + varint(1025))), DRAGOMAN_MALFORMED);
  EXPECT_EQ(verdict(header_frame(Code::kBinary, payload, "\1\1\xff\x0fk")), DRAGOMAN_MALFORMED);
  EXPECT_EQ(verdict(header_frame(Code::kBinary, payload, "\1\xff\xff\xff\xff\xff\x01")), DRAGOMAN_MALFORMED);
  EXPECT_EQ(verdict(header_frame(Code::kBinary, payload, {}, 0, "\x7f")), DRAGOMAN_MALFORMED) << "127 transforms";
  EXPECT_EQ(verdict(header_frame(Code::kBinary, "", {}, 0)), DRAGOMAN_MALFORMED) << "no message";
  EXPECT_EQ(verdict(header_frame(Code::kBinary, "garbage", {}, 0, "\1\1")), DRAGOMAN_MALFORMED) << "no zlib";
  EXPECT_EQ(verdict(header_frame(Code::kBinary, "garbage", {}, 0, "\2\1\1")), DRAGOMAN_UNSUPPORTED) << "twice";
  EXPECT_EQ(verdict(header_frame(Code::kBinary, "garbage", {}, 0, "\1\3")), DRAGOMAN_UNSUPPORTED) << "snappy";
  std::string json = header_frame(Code::kBinary, payload);
  json[14] = 1;
  EXPECT_EQ(verdict(json), DRAGOMAN_UNSUPPORTED) << "another encoding";
}

TEST(Thrift, NamesHaveALimit) {
  for (Code code : {Code::kBinary, Code::kCompact}) {
    for (Wire wire : {Wire::kFramed, Wire::kUnframed, Wire::kHeader}) {
      FramedConnection c(thrift_codec(), Role::kServer);
      c.feed(call(1, std::string(4096, 'n'), wire, code));
      EXPECT_EQ(c.accepted(), 1u);
      FramedConnection d(thrift_codec(), Role::kServer);
      d.feed(call(1, std::string(4097, 'n'), wire, code));
      EXPECT_EQ(d.events.broken_reason, Reason::kFrameTooLarge);
    }
  }
}

TEST(Thrift, AnEmptyFrameIsSkipped) {
  FramedConnection c(thrift_codec(), Role::kServer);
  c.feed(be(0, 4) + call(1) + be(0, 4) + be(0, 4) + call(2));
  EXPECT_EQ(c.accepted(), 2u);
  EXPECT_EQ(c.events.broken, 0);
}

TEST(Thrift, UnframedMessagesOfAnySizeStreamThrough) {
  std::string body = "\x0b" + be(1, 2) + be(3'000'000, 4) + std::string(3'000'000, 'x') + kStop;
  std::string bytes = frame(Wire::kUnframed, Code::kBinary, 1, 5, "m", body);
  FramedConnection down(thrift_codec(), Role::kServer),
      up(thrift_codec(), Role::kClient, framed_options(PoolMode::kPingPong));
  Hop hop(down, up);
  down.feed_in_steps(bytes, 65536);
  std::string sent = up.sink.take();
  const auto id = static_cast<uint32_t>(Asker(thrift_codec()).frame(sent).id);
  EXPECT_EQ(sent, frame(Wire::kUnframed, Code::kBinary, 1, id, "m", body));
  up.feed_in_steps(frame(Wire::kUnframed, Code::kBinary, 2, id, "m", body), 65536);
  EXPECT_EQ(down.sink.take(), frame(Wire::kUnframed, Code::kBinary, 2, 5, "m", body));
  EXPECT_EQ(up.codec->capacity(), 1u);
  // Too deep, and the call behind its beginning is answered.
  FramedConnection deep(thrift_codec(), Role::kServer);
  std::string nested;
  for (int i = 0; i < 70; ++i) nested += "\x0c" + be(1, 2);
  deep.feed(frame(Wire::kUnframed, Code::kBinary, 1, 5, "m", nested));
  EXPECT_EQ(deep.events.broken_reason, Reason::kFrameTooLarge);
  EXPECT_EQ(deep.sink.take().substr(0, 4), "\x80\x01" + be(3, 2));
}

TEST(Thrift, AnAnswerInAnotherFormIsAnUpstreamError) {
  struct Form {
    Wire wire;
    Code code;
  } forms[] = {{Wire::kFramed, Code::kBinary},   {Wire::kFramed, Code::kCompact},
               {Wire::kUnframed, Code::kBinary}, {Wire::kUnframed, Code::kCompact},
               {Wire::kHeader, Code::kBinary},   {Wire::kHeader, Code::kCompact}};
  for (const Form& asked : forms) {
    for (const Form& answered : forms) {
      for (PoolMode mode : {PoolMode::kMultiplex, PoolMode::kPingPong, PoolMode::kBound}) {
        if (mode == PoolMode::kMultiplex && asked.wire == Wire::kUnframed) continue;
        FramedConnection down(thrift_codec(), Role::kServer),
            up(thrift_codec(), Role::kClient, framed_options(mode));
        Hop hop(down, up);
        std::string call = frame(asked.wire, asked.code, 1, 7, "m");
        down.feed(call);
        const auto id = static_cast<uint32_t>(Asker(thrift_codec()).frame(up.sink.take()).id);
        up.feed(frame(answered.wire, answered.code, 2, id, "m"));
        // A THeader names the encoding in each message.
        const bool same =
            asked.wire == answered.wire && (asked.wire == Wire::kHeader || asked.code == answered.code);
        EXPECT_EQ(hop.failures,
                  same ? std::vector<Reason>{} : std::vector<Reason>{Reason::kUpstreamProtocolError});
        std::string got = down.sink.take();
        EXPECT_EQ(got, same ? frame(answered.wire, answered.code, 2, 7, "m") : "");
      }
    }
  }
}

TEST(Thrift, AHeaderInAnUnknownFormIsRefusedOnBothSides) {
  std::string json = header_frame(Code::kBinary, message(Code::kBinary, 1, 7, "m"), {}, 7);
  json[14] = 1;
  struct Row {
    std::string bytes;
    uint8_t type;
  } rows[] = {{json, 9}, {header_frame(Code::kBinary, "garbage", {}, 7, "\1\3"), 8}};
  for (const Row& row : rows) {
    FramedConnection server(thrift_codec(), Role::kServer);
    server.feed(row.bytes + frame(Wire::kHeader, Code::kBinary, 1, 8, "m"));
    std::string reply = server.sink.take();
    ASSERT_GT(reply.size(), 10u);
    EXPECT_EQ(static_cast<uint8_t>(reply[reply.size() - 2]), row.type);
    EXPECT_EQ(server.accepted(), 1u) << "the connection goes on";
    for (PoolMode mode : {PoolMode::kMultiplex, PoolMode::kPingPong, PoolMode::kBound}) {
      for (bool numbered : {true, false}) {  // servers may leave the header's number 0
        FramedConnection down(thrift_codec(), Role::kServer),
            up(thrift_codec(), Role::kClient, framed_options(mode));
        down.feed(frame(Wire::kHeader, Code::kBinary, 1, 7, "m"));
        FakeMessageSink answer;
        answer.exchange = up.codec->open(answer);
        ASSERT_EQ(answer.exchange->send_head(*down.at(0).head, false), Reason::kNone);
        answer.exchange->send_body(
            {reinterpret_cast<const uint8_t*>(down.at(0).body.data()), down.at(0).body.size()}, true);
        std::string bytes = row.bytes;
        bytes.replace(8, 4, be(numbered ? Asker(thrift_codec()).frame(up.sink.take()).id : 0, 4));
        up.sink.take();
        up.feed(bytes);
        EXPECT_EQ(answer.reset_reason, Reason::kUpstreamProtocolError) << static_cast<int>(mode) << numbered;
        EXPECT_EQ(up.sink.take(), "") << "an answer is not answered";
        answer.release();
      }
    }
  }
}

TEST(Thrift, AOneWayMessageThatIsAnsweredHarmsNobody) {
  for (Wire wire : {Wire::kUnframed, Wire::kFramed}) {
    FramedConnection down(thrift_codec(), Role::kServer),
        up(thrift_codec(), Role::kClient, framed_options(PoolMode::kPingPong));
    Hop hop(down, up);
    down.feed(frame(wire, Code::kBinary, 4, 0, "slow"));
    EXPECT_EQ(up.codec->capacity(), 0u);
    EXPECT_EQ(up.events.spent, 1);
    EXPECT_EQ(up.events.broken, 0);
  }
}

TEST(Thrift, OneWaysGetNoAnswer) {
  FramedConnection c(thrift_codec(), Role::kServer);
  c.feed(frame(Wire::kFramed, Code::kBinary, 4, 1, "m"));
  c.at(0).exchange->send_reply(*c.at(0).head, {});
  EXPECT_EQ(c.sink.take(), "");
}

void ids_never_cross(Wire wire, Code code) {
  auto tagged = [=](int type, uint64_t id, uint64_t tag) {
    return frame(wire, code, type, static_cast<uint32_t>(id), "tag=" + std::to_string(tag) + ";");
  };
  expect_ids_never_cross(
      thrift_codec(), [&](uint64_t id, uint64_t tag) { return tagged(1, id, tag); },
      [&](const std::string&, uint64_t id, uint64_t tag) { return tagged(2, id, tag); });
}

TEST(ThriftIds, NeverCrossInBinary) { ids_never_cross(Wire::kFramed, Code::kBinary); }
TEST(ThriftIds, NeverCrossInCompact) { ids_never_cross(Wire::kFramed, Code::kCompact); }
TEST(ThriftIds, NeverCrossInHeaders) { ids_never_cross(Wire::kHeader, Code::kCompact); }

}  // namespace
}  // namespace dragoman::testing
