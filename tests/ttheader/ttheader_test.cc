// Kitex TTHeader: every frame in both roles, and the rules of the wire.
#include "protocols/thrift/ttheader.h"

#include <gtest/gtest.h>

#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

std::string text(std::string_view s) { return be(s.size(), 2) + std::string(s); }
using Pairs = std::vector<std::pair<std::string, std::string>>;
std::string pairs(const Pairs& all) {
  std::string out = be(1, 1) + be(all.size(), 2);
  for (const auto& [name, value] : all) out += text(name) + text(value);
  return out;
}
std::string frame(std::string sections, const std::string& payload, uint64_t id, int flags = 0) {
  while ((sections.size() + 2) % 4) sections += '\0';
  return be(12 + sections.size() + payload.size(), 4) + be(0x1000, 2) + be(static_cast<uint64_t>(flags), 2) +
         be(id, 4) + be((sections.size() + 2) / 4, 2) + be(0, 2) + sections + payload;
}
std::string message(int type, uint64_t id, const std::string& body = std::string(1, '\0'),
                    int version = 0x8001, const std::string& name = "call") {
  return be(static_cast<uint64_t>(version), 2) + be(static_cast<uint64_t>(type), 2) + be(name.size(), 4) +
         name + be(id, 4) + body;
}
std::string framed(const std::string& payload) { return be(payload.size(), 4) + payload; }
std::string request(uint64_t id, const Pairs& all = {{"isn", "S"}}) {
  return frame(pairs(all), message(1, id), id);
}
std::string exception(int type, size_t text_len = 3) {
  return "\x0b" + be(1, 2) + be(text_len, 4) + std::string(text_len, 'x') + "\x08" + be(2, 2) +
         be(static_cast<uint64_t>(type), 4) + std::string(1, '\0');
}

class TtHeaderVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(TtHeaderVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (!v.is_request() && v.kind() != "response") return;
  expect_prefixes_need_more(ttheader_codec(), v.bytes);
  dragoman_frame f = Asker(ttheader_codec()).frame(v.bytes);
  EXPECT_EQ(f.id, v.number("id"));
  EXPECT_EQ(f.total_len, v.bytes.size());
  if (v.is_request()) {
    EXPECT_EQ(f.timeout_ms, static_cast<int64_t>(v.number("timeout")));
  }
  expect_passes_at_every_split(ttheader_codec(), request(1), v, [&](const Head& h) {
    EXPECT_EQ(h.service, v.text("service"));
    EXPECT_EQ(h.method, v.text("method"));
    EXPECT_EQ(h.header("from"), v.text("from"));
    for (const auto& [name, value] : v.fields)
      if (name.starts_with("header:")) {
        EXPECT_EQ(h.header(name.substr(7)), value) << name;
      }
  });
}

INSTANTIATE_TEST_SUITE_P(All, TtHeaderVectors, ::testing::ValuesIn(vectors("ttheader")), test_name);

TEST(TtHeader, BothIdsAreRewritten) {
  auto all = vectors("ttheader");
  Asker asker(ttheader_codec());
  const Vector& v = vector_named(all, "rewrite-ttheader-call-echo");
  const std::string& from = vector_named(all, v.text("of")).bytes;
  EXPECT_EQ(asker.with_id(from, v.number("id")), v.bytes);
  EXPECT_EQ(asker.with_id(v.bytes, asker.frame(from).id), from);
  std::string mixed = frame("", message(2, 7), 8);
  EXPECT_EQ(asker.frame(mixed).id, 7u) << "clients compare the message's";
  EXPECT_EQ(asker.with_id(mixed, 9), frame("", message(2, 9), 9));
  EXPECT_EQ(asker.frame(frame("", message(3, 0, exception(6)), 8)).id, 8u) << "but not an exception's";
}

TEST(TtHeader, AChecksumOverTheIdIsLeftOut) {
  Asker asker(ttheader_codec());
  EXPECT_EQ(asker.with_id(request(7, {{"a", "1"}, {"crc32c", "deadbeef"}, {"b", "2"}}), 9),
            request(9, {{"a", "1"}, {"b", "2"}}));
  EXPECT_EQ(asker.with_id(request(7, {{"crc32c", "deadbeef"}}), 9), frame("", message(1, 9), 9));
  FramedConnection down(ttheader_codec(), Role::kServer),
      up(ttheader_codec(), Role::kClient, framed_options(PoolMode::kBound));
  Hop hop(down, up);
  std::string bytes = request(7, {{"crc32c", "deadbeef"}});
  down.feed(bytes);
  EXPECT_EQ(up.sink.take(), bytes) << "ids stay, so does the checksum";
}

TEST(TtHeader, Malformed) { expect_malformed_are_refused(ttheader_codec(), "ttheader", 2); }

/// Why the connection is broken, or this request alone refused.
Reason broken_by(const std::string& bytes) {
  FramedConnection c(ttheader_codec(), Role::kServer);
  c.feed(bytes);
  const bool refused = c.events.count(CodecEvent::kHeadersOverflow) > 0;
  EXPECT_EQ(c.accepted(), c.events.broken || refused ? 0u : 1u);
  if (!refused) return c.events.broken ? c.events.broken_reason : Reason::kNone;
  EXPECT_FALSE(c.events.broken);
  EXPECT_NE(c.sink.take(), "") << "the request is answered";
  return Reason::kTooManyHeaders;
}

TEST(TtHeader, FramesThatAreNone) {
  std::string body = message(1, 7);
  EXPECT_EQ(broken_by(frame("", body, 7)), Reason::kNone);
  EXPECT_EQ(broken_by(frame(std::string(8, '\0') + pairs({}), body, 7)), Reason::kNone) << "padding goes on";
  EXPECT_EQ(broken_by(frame("\x02", body, 7)), Reason::kMalformed) << "no such section";
  EXPECT_EQ(broken_by(frame(be(1, 1) + be(UINT16_MAX, 2), body, 7)), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(be(16, 1) + be(1, 2) + be(6, 2) + be(UINT16_MAX, 2), body, 7)),
            Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(be(17, 1) + be(UINT16_MAX, 2), body, 7)), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(pairs(Pairs(256)), body, 7)), Reason::kNone);
  EXPECT_EQ(broken_by(frame(pairs(Pairs(257)), body, 7)), Reason::kTooManyHeaders) << "refused by the host";
  EXPECT_EQ(broken_by(frame(pairs(Pairs(1024)), body, 7)), Reason::kTooManyHeaders);
  EXPECT_EQ(broken_by(frame(pairs(Pairs(1025)), body, 7)), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame("", "", 7)), Reason::kMalformed) << "no message";
  EXPECT_EQ(broken_by(frame("", body.substr(0, 10), 7)), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame("", message(5, 7), 7)), Reason::kMalformed) << "no such type";
  EXPECT_EQ(broken_by(frame("", framed(body), 7)), Reason::kNone);
  EXPECT_EQ(broken_by(frame("", be(body.size() + 1, 4) + body, 7)), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame("", be(0, 4), 7) + be(0, 4)), Reason::kMalformed) << "an empty frame";
  EXPECT_EQ(broken_by(frame("", "\x82\x21\x07\x01s", 7)), Reason::kUnsupported) << "compact";
  EXPECT_EQ(broken_by(frame("", message(1, 7, {}, 0x8001, std::string(4096, 'n')), 7)), Reason::kNone);
  EXPECT_EQ(broken_by(frame("", message(1, 7, {}, 0x8001, std::string(4097, 'n')), 7)),
            Reason::kFrameTooLarge);
  std::string transformed = frame(std::string(4, '\1'), body, 7);
  transformed[15] = 1;
  EXPECT_EQ(broken_by(transformed), Reason::kUnsupported);
}

TEST(TtHeader, Limits) {
  auto begin = [](uint64_t length, uint64_t words) {
    return be(length, 4) + be(0x1000, 2) + be(0, 6) + be(words, 2) + be(0, 2);
  };
  EXPECT_EQ(broken_by(begin(0x40000000, 1)), Reason::kMalformed);
  std::string big = frame("", message(1, 7), 7);
  big.replace(0, 4, be((16 << 20) - 3, 4));
  EXPECT_EQ(broken_by(big), Reason::kFrameTooLarge) << "the listener's limit";
  EXPECT_EQ(broken_by(begin(UINT32_MAX, 1)), Reason::kMalformed);
  EXPECT_EQ(broken_by(begin(11, 1)), Reason::kMalformed);
  EXPECT_EQ(broken_by(begin(13, 1)), Reason::kMalformed) << "header past the frame";
  EXPECT_EQ(broken_by(begin(1 << 20, (96 << 8) + 1)), Reason::kFrameTooLarge);
  EXPECT_EQ(broken_by(begin(1 << 20, UINT16_MAX)), Reason::kFrameTooLarge);
  EXPECT_EQ(broken_by(frame(std::string((96 << 10) - 2, '\0'), message(1, 1), 1)), Reason::kNone);
}

/// Kitex takes the last of two values; what a peer routes or acts on is there once, and where the message says it, too, the same.
TEST(TtHeader, NothingCanBeReadInTwoWays) {
  auto accepted = [](const std::string& sections, const std::string& body) {
    FramedConnection c(ttheader_codec(), Role::kServer);
    c.feed(frame(sections, body, 7));
    return c.accepted() == 1;
  };
  auto numbers = [](const std::vector<std::pair<uint64_t, std::string>>& list) {
    std::string out = be(16, 1) + be(list.size(), 2);
    for (const auto& [key, value] : list) out += be(key, 2) + be(value.size(), 2) + value;
    return out;
  };
  const std::string body = message(1, 7);
  Asker asker(ttheader_codec());
  for (uint64_t key : {2, 3, 6, 7, 10, 12, 22, 27}) {
    EXPECT_TRUE(accepted(numbers({{key, "1"}, {key, "1"}}), body)) << key;
    EXPECT_FALSE(accepted(numbers({{key, "1"}, {key, "2"}}), body)) << key;
    EXPECT_FALSE(accepted(numbers({{key, "1"}}) + numbers({{key, "2"}}), body)) << key;
  }
  for (std::string name : {"isn", "crrst", "biz-status", "other"}) {
    EXPECT_TRUE(accepted(pairs({{name, "1"}, {name, "1"}}), body)) << name;
    EXPECT_FALSE(accepted(pairs({{name, "1"}}) + pairs({{name, "2"}}), body)) << name;
  }
  FramedConnection c(ttheader_codec(), Role::kServer);
  c.feed(frame("", body, 7));
  const std::string method(c.at(0).head->method);
  EXPECT_TRUE(accepted(numbers({{9, method}}), body));
  EXPECT_TRUE(accepted(numbers({{9, ""}}), body));
  EXPECT_FALSE(accepted(numbers({{9, method + "x"}}), body)) << "the message names another one";
}

TEST(TtHeader, TheFirstBytesTell) {
  dragoman_frame f;
  Asker asker(ttheader_codec());
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x10", 5), f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x10\x01", 6), f), DRAGOMAN_NOT_MINE) << "Tars";
  EXPECT_EQ(asker.probe(std::string("\0\0\0\x20\x0f\xff", 6), f), DRAGOMAN_NOT_MINE) << "THeader";
}

TEST(TtHeader, KindsAndAttributes) {
  std::string numbers = be(16, 1) + be(5, 2) + be(2, 2) + text("log-1") + be(7, 2) + text("blue") +
                        be(10, 2) + text("boe") + be(22, 2) + text("4") + be(6, 2) + text("pkg.S");
  FramedConnection c(ttheader_codec(), Role::kServer);
  c.feed(frame(numbers + pairs({{"a", "1"}, {"isn", "S"}}) + pairs({{"b", "2"}}), message(1, 3), 3));
  ASSERT_EQ(c.accepted(), 1u);
  const Head& h = *c.at(0).head;
  EXPECT_TRUE(h.one_way);
  EXPECT_EQ(h.service, "pkg.S");
  EXPECT_EQ(h.method, "call");
  EXPECT_EQ(h.header("a"), "1");
  EXPECT_EQ(h.header("b"), "2") << "of the second section";
  EXPECT_EQ(h.header("log_id"), "log-1");
  EXPECT_EQ(h.header("cluster"), "blue");
  EXPECT_EQ(h.header("env"), "boe");
}

TEST(TtHeader, Outcomes) {
  Asker asker(ttheader_codec());
  std::pair<int, Outcome> rows[] = {{1, Outcome::kNoRoute},     {20, Outcome::kNoRoute},
                                    {6, Outcome::kServerError}, {7, Outcome::kCodecError},
                                    {0, Outcome::kServerError}, {404, Outcome::kServerError}};
  for (auto [type, outcome] : rows) {
    EXPECT_EQ(asker.outcome(frame("", message(3, 1, exception(type)), 1)), outcome) << type;
    EXPECT_EQ(asker.outcome(frame("", framed(message(3, 1, exception(type))), 1)), outcome) << type;
  }
  EXPECT_EQ(asker.outcome(frame("", message(3, 1, exception(1, 5000)), 1)), Outcome::kServerError)
      << "too long to look";
  EXPECT_EQ(asker.outcome(frame("", message(2, 1), 1)), Outcome::kOk);
  std::string business = vector_named(vectors("ttheader"), "ttheader-reply-bizerror").bytes;
  EXPECT_EQ(asker.outcome(business), Outcome::kOk);
  EXPECT_EQ(asker.frame(business).status, 404);
}

TEST(TtHeader, LocalRepliesEqualWhatPeersAccept) {
  auto all = vectors("ttheader");
  std::string call = vector_named(all, "ttheader-call-echo").bytes;
  expect_replies_equal(ttheader_codec(), "ttheader", 5, [&](const Vector&) { return call; });
  Asker asker(ttheader_codec());
  EXPECT_EQ(asker.reply(call, Outcome::kTimeout), vector_named(all, "ttheader-hijack-timeout").bytes);
  std::string told = asker.reply(frame("", framed(message(1, 5)), 5), Outcome::kNoRoute);
  EXPECT_EQ(told.substr(told.size() - 8), "\x08" + be(2, 2) + be(20, 4) + std::string(1, '\0'));
  EXPECT_EQ(asker.frame(told).status, 20);
  std::string protobuf = asker.reply(frame("", message(1, 5, {}, 0x9001), 5), Outcome::kNoRoute, "nowhere");
  EXPECT_NE(protobuf.find(message(3, 5, "\x08\x14\x12\x07nowhere", 0x9001)), protobuf.npos);
  EXPECT_EQ(asker.frame(protobuf).status, 20);
}

std::string edited(const std::string& bytes, const std::function<void(Head&)>& edit,
                   Edit want = Edit::kMade) {
  return edited_request(ttheader_codec(), bytes, edit, want);
}

TEST(TtHeader, EditsTheTextPairs) {
  std::string bytes = request(9, {{"a", "1"}, {"Color", "blue"}});
  EXPECT_EQ(edited(bytes, [](Head& h) { h.set_header("color", "red"); }),
            request(9, {{"a", "1"}, {"color", "red"}}));
  EXPECT_EQ(edited(bytes, [](Head& h) { h.remove_header("A"); }), request(9, {{"Color", "blue"}}));
  std::string wide(300, 'x');
  EXPECT_EQ(edited(bytes, [&](Head& h) { h.add_header("a", wide); }),
            request(9, {{"a", "1"}, {"Color", "blue"}, {"a", wide}}));
  EXPECT_EQ(edited(request(9, {{"a", "1"}}), [](Head& h) { h.remove_header("a"); }),
            frame("", message(1, 9), 9));
  std::string token = be(17, 1) + text("tok"), number = be(16, 1) + be(1, 2) + be(9, 2) + text("call");
  EXPECT_EQ(
      edited(frame(pairs({{"a", "1"}}) + token + number + pairs({{"b", "2"}}), framed(message(1, 9)), 9),
             [](Head& h) { h.set_header("c", "3"); }),
      frame(token + number + pairs({{"a", "1"}, {"b", "2"}, {"c", "3"}}), framed(message(1, 9)), 9));
  edited(
      frame(be(16, 1) + be(1, 2) + be(3, 2) + text("me"), message(1, 9), 9),
      [](Head& h) { h.set_header("from", "you"); }, Edit::kSkipped);
  edited(
      bytes, [](Head& h) { h.set_header("a", std::string(70'000, 'x')); }, Edit::kSkipped);
}

TEST(TtHeader, GoAwayIsAControlFrame) {
  std::string control = vector_named(vectors("ttheader"), "ttheader-control-crrst").bytes;
  CodecOptions options = framed_options();
  options.framed.goaway = true;
  FramedConnection down(ttheader_codec(), Role::kServer, options), up(ttheader_codec(), Role::kClient);
  down.codec->drain();
  EXPECT_EQ(down.sink.take(), control);
  up.feed_in_steps(control, 1);
  EXPECT_EQ(up.events.goaways, 1);
  EXPECT_EQ(up.events.broken, 0);
}

TEST(TtHeader, StreamsAreResetAndTheConnectionGoesOn) {
  auto all = vectors("ttheader");
  FramedConnection c(ttheader_codec(), Role::kServer);
  c.feed(vector_named(all, "ttheader-stream-header").bytes + vector_named(all, "ttheader-stream-data").bytes +
         vector_named(all, "ttheader-stream-trailer").bytes + request(3));
  EXPECT_EQ(c.events.broken, 0);
  EXPECT_EQ(c.events.count(CodecEvent::kUnsupported), 3u);
  EXPECT_EQ(c.accepted(), 1u);
  std::string reset = c.sink.take();
  const std::string& want = vector_named(all, "ttheader-stream-rst").bytes;
  size_t payload = 14 + 40;
  EXPECT_EQ(reset.substr(4, payload - 4), want.substr(4, payload - 4))
      << "the words differ, the rest does not";
  EXPECT_EQ(reset.size(), be(0, 4).size() + static_cast<uint8_t>(reset[3])) << "one answer";
  EXPECT_EQ(reset.substr(payload, 20), want.substr(payload, 20));
}

TEST(TtHeader, IdsNeverCross) {
  expect_ids_never_cross(
      ttheader_codec(),
      [](uint64_t id, uint64_t tag) {
        return frame("", message(1, id, "tag=" + std::to_string(tag) + "."), id);
      },
      [](const std::string&, uint64_t id, uint64_t tag) {
        return frame("", message(2, id, "tag=" + std::to_string(tag) + "."), id);
      });
}

}  // namespace
}  // namespace dragoman::testing
