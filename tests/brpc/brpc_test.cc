// brpc's baidu_std: every frame in both roles, and the rules of the wire.
#include "protocols/brpc/brpc.h"

#include <gtest/gtest.h>

#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string number(uint32_t tag, uint64_t value) { return varint(tag << 3) + varint(value); }
std::string text(uint32_t tag, std::string_view value) {
  return varint(tag << 3 | 2) + varint(value.size()) + std::string(value);
}
std::string frame(const std::string& meta, const std::string& payload = "body") {
  return "PRPC" + be(meta.size() + payload.size(), 4) + be(meta.size(), 4) + meta + payload;
}
std::string names() { return text(1, text(1, "pkg.Echo") + text(2, "Call")); }
std::string pair(std::string_view key, std::string_view value) {
  return text(9, text(1, key) + text(2, value));
}
std::string request(uint64_t id, const std::string& more = {}) {
  return frame(names() + number(4, id) + more);
}
std::string response(uint64_t id, int64_t code = 0) {
  return frame(text(2, number(1, static_cast<uint64_t>(code))) + number(4, id), "answer");
}

class BrpcVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(BrpcVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (!v.is_request() && v.kind() != "response") return;
  expect_prefixes_need_more(brpc_codec(), v.bytes);
  dragoman_frame f = Asker(brpc_codec()).frame(v.bytes);
  EXPECT_EQ(f.id, v.number("id"));
  EXPECT_EQ(f.total_len, v.bytes.size());
  if (v.kind() == "response")
    EXPECT_EQ(f.status, std::stoi(v.text("status")));
  else
    EXPECT_EQ(f.timeout_ms, static_cast<int64_t>(v.number("timeout")));
  expect_passes_at_every_split(brpc_codec(), request(1), v, [&](const Head& h) {
    EXPECT_EQ(h.service, v.text("service"));
    EXPECT_EQ(h.method, v.text("method"));
    EXPECT_EQ(h.header("log_id"), v.text("log_id"));
    EXPECT_EQ(h.header("request_id"), v.text("request_id"));
    for (const auto& [name, value] : v.fields)
      if (name.starts_with("header:")) {
        EXPECT_EQ(h.header(name.substr(7)), value) << name;
      }
  });
}

INSTANTIATE_TEST_SUITE_P(All, BrpcVectors, ::testing::ValuesIn(vectors("brpc")), test_name);

TEST(Brpc, TheLastIdCountsAndIsTheOneRewritten) {
  auto all = vectors("brpc");
  Asker asker(brpc_codec());
  const Vector& appended = vector_named(all, "rewrite-brpc-call-echo-shortname");
  EXPECT_EQ(asker.frame(appended.bytes).id, appended.number("id"));
  std::string both = frame(number(4, 5) + names() + number(4, 6));
  EXPECT_EQ(asker.with_id(both, 7), frame(names() + number(4, 7)))
      << "readers of the first one find the same";
  for (uint64_t id : {uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{1} << 32, UINT64_MAX}) {
    EXPECT_EQ(asker.frame(request(id)).id, id);
    EXPECT_EQ(asker.with_id(request(9), id), request(id));
  }
  EXPECT_EQ(asker.with_id(request(9), 0), frame(names())) << "0 is what is left out";
  EXPECT_EQ(asker.with_id(frame(names()), 9), request(9));
}

TEST(Brpc, AnEarlierIdNeverCounts) {
  Asker asker(brpc_codec());
  std::string twice = frame(names() + number(4, 7) + number(4, 9));
  EXPECT_EQ(asker.with_id(twice, 0), frame(names()));
  EXPECT_EQ(asker.with_id(request(9), 0), frame(names()));
  EXPECT_EQ(asker.frame(asker.with_id(twice, 0)).id, 0u);
}

/// Readers of protobuf take the last of two, or make one of two messages; hand-written ones take the first.
TEST(Brpc, NothingCanBeReadInTwoWays) {
  auto accepted = [](const std::string& meta) {
    FramedConnection c(brpc_codec(), Role::kServer);
    c.feed(frame(meta));
    return c.accepted() == 1;
  };
  EXPECT_TRUE(accepted(names() + number(4, 5)));
  EXPECT_FALSE(accepted(names() + names()));
  EXPECT_FALSE(accepted(text(1, text(1, "pkg.Echo")) + text(1, text(2, "Call")))) << "two halves";
  for (std::string more : {text(1, "other"), text(2, "other"), text(7, "a") + text(7, "b"),
                           number(3, 1) + number(3, 2), number(8, 1) + number(8, 2)})
    EXPECT_FALSE(accepted(text(1, text(1, "pkg.Echo") + text(2, "Call") + more)));
  EXPECT_FALSE(accepted(names() + text(9, text(1, "k") + text(1, "j") + text(2, "v")))) << "two keys";
  EXPECT_FALSE(accepted(names() + text(9, text(1, "k") + text(2, "v") + text(2, "w"))));
  EXPECT_TRUE(accepted(names() + pair("k", "v") + pair("k", "v")));
  EXPECT_FALSE(accepted(names() + pair("k", "v") + pair("k", "w"))) << "two values";
  EXPECT_FALSE(accepted(names() + pair("k", "v") + pair("K", "w")));
  EXPECT_FALSE(accepted(names() + "\x20" + std::string(9, '\xff') + "\x02")) << "over 64 bits";
  Asker asker(brpc_codec());
  EXPECT_EQ(asker.with_id(frame(names() + "\x20\x85\x80\x80" + std::string(1, '\0')), 7), request(7))
      << "a padded varint";
}

TEST(Brpc, Malformed) { expect_malformed_are_refused(brpc_codec(), "brpc", 3); }

Reason broken_by(const std::string& bytes, Role role = Role::kServer) {
  FramedConnection c(brpc_codec(), role);
  c.feed(bytes);
  EXPECT_EQ(c.accepted(), 0u);
  return c.events.broken_reason;
}

TEST(Brpc, MetaThatIsNone) {
  EXPECT_EQ(broken_by(frame("")), Reason::kMalformed) << "neither request nor response";
  EXPECT_EQ(broken_by(frame(number(4, 1))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(number(1, 1))), Reason::kMalformed) << "a request that is a number";
  EXPECT_EQ(broken_by(frame(number(2, 1))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(text(1, number(1, 1)))), Reason::kMalformed) << "a service that is one";
  EXPECT_EQ(broken_by(frame(text(1, text(8, "1")))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(text(1, "\x0a\x05x"))), Reason::kMalformed) << "past the request";
  EXPECT_EQ(broken_by(frame(text(2, text(1, "x")))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(names() + text(4, "1"))), Reason::kMalformed) << "an id that is text";
  EXPECT_EQ(broken_by(frame(names() + number(9, 1))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(names() + text(9, "\x0a\x7f"))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(names() + number(8, 1))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(names() + std::string("\0\1", 2))), Reason::kMalformed) << "field 0";
  EXPECT_EQ(broken_by(frame(names() + "\x5b")), Reason::kMalformed) << "a group";
  EXPECT_EQ(broken_by(frame(names() + "\x20" + std::string(10, '\xff') + "\x01")), Reason::kMalformed)
      << "11 bytes";
  EXPECT_EQ(broken_by(frame(names() + "\x20\x80")), Reason::kMalformed) << "half a varint";
  EXPECT_EQ(broken_by(frame(names() + "\x5a" + varint(UINT64_MAX))), Reason::kMalformed);
  EXPECT_EQ(broken_by(frame(names() + varint(uint64_t{1} << 40) + "\1")), Reason::kMalformed)
      << "no such tag";
  std::string many;
  for (int i = 0; i < 1025; ++i) many += pair("k", "v");
  EXPECT_EQ(broken_by(frame(names() + many)), Reason::kMalformed);
}

TEST(Brpc, Limits) {
  std::string meta = names();
  meta += text(7, std::string((64 << 10) - meta.size() - 4, 'a'));
  ASSERT_EQ(meta.size(), 64u << 10);
  FramedConnection c(brpc_codec(), Role::kServer);
  c.feed(frame(meta));
  EXPECT_EQ(c.accepted(), 1u) << c.events.broken_detail;
  EXPECT_EQ(broken_by("PRPC" + be(1 << 20, 4) + be((64 << 10) + 65, 4)), Reason::kFrameTooLarge);
  EXPECT_EQ(broken_by("PRPC" + be(uint64_t{1} << 31, 4) + be(10, 4)), Reason::kMalformed);
  EXPECT_EQ(broken_by("PRPC" + be(UINT32_MAX, 4) + be(UINT32_MAX, 4)), Reason::kMalformed);
  dragoman_frame f;
  EXPECT_EQ(Asker(brpc_codec()).probe("PRPC" + be(64 << 20, 4) + be(names().size(), 4) + names(), f),
            DRAGOMAN_FRAME);
  EXPECT_EQ(f.total_len, (64u << 20) + 12);
}

TEST(Brpc, UnknownFieldsSurvive) {
  std::string more =
      number(3, 2) + "\x59" + std::string(8, 'x') + "\xa5\x06" + "wxyz" + text(100, "hulu") + number(13, 1);
  FramedConnection down(brpc_codec(), Role::kServer), up(brpc_codec(), Role::kClient);
  Hop hop(down, up);
  down.feed(request(7, more));
  EXPECT_EQ(Asker(brpc_codec()).with_id(up.sink.take(), 7), request(7, more));
}

TEST(Brpc, StreamsAreRefused) {
  auto all = vectors("brpc");
  std::string open = vector_named(all, "brpc-call-echo-stream-open").bytes;
  FramedConnection c(brpc_codec(), Role::kServer);
  c.feed(open + request(3));
  EXPECT_EQ(c.events.broken, 0);
  EXPECT_EQ(c.events.count(CodecEvent::kUnsupported), 1u);
  EXPECT_EQ(c.accepted(), 1u) << "the connection goes on";
  EXPECT_EQ(Asker(brpc_codec()).frame(c.sink.take()).status, 1003);
  int seen = 0;
  for (const Vector& v : all) {
    if (v.kind() != "stream") continue;
    ++seen;
    EXPECT_EQ(broken_by(v.bytes), Reason::kUnsupported) << v.name;
  }
  EXPECT_EQ(seen, 4);
}

TEST(Brpc, TheFirstBytesTell) {
  dragoman_frame f;
  Asker asker(brpc_codec());
  EXPECT_EQ(asker.probe("P", f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe("PRPC", f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe("S", f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe("PRI * HTTP/2.0", f), DRAGOMAN_NOT_MINE);
  EXPECT_EQ(asker.probe("PROPFIND / HTTP/1.1", f), DRAGOMAN_NOT_MINE);
  EXPECT_EQ(asker.probe("STOP", f), DRAGOMAN_NOT_MINE);
  EXPECT_EQ(asker.probe("PRPC http://a/ HTTP/1.1", f), DRAGOMAN_MALFORMED)
      << "not a request of HTTP either way";
}

std::string edited(const std::string& bytes, const std::function<void(Head&)>& edit,
                   Edit want = Edit::kMade) {
  return edited_request(brpc_codec(), bytes, edit, want);
}

TEST(Brpc, EditsTheUserFields) {
  std::string a = pair("a", "1"), color = pair("Color", "blue"), rest = number(11, 1);
  std::string bytes = request(9, a + color + rest);
  EXPECT_EQ(edited(bytes, [](Head& h) { h.set_header("color", "red"); }),
            request(9, a + rest + pair("color", "red")));
  EXPECT_EQ(edited(bytes, [](Head& h) { h.remove_header("A"); }), request(9, color + rest));
  std::string wide(300, 'x');
  EXPECT_EQ(edited(bytes, [&](Head& h) { h.add_header("a", wide); }),
            request(9, a + color + rest + pair("a", wide)));
  EXPECT_EQ(edited(request(9), [](Head& h) { h.set_header("k", ""); }), request(9, pair("k", "")));
  edited(
      frame(text(1, number(3, 5)) + number(4, 1)), [](Head& h) { h.set_header("log_id", "6"); },
      Edit::kSkipped);
}

TEST(Brpc, Outcomes) {
  Asker asker(brpc_codec());
  std::pair<int, Outcome> rows[] = {{0, Outcome::kOk},
                                    {32, Outcome::kReset},
                                    {104, Outcome::kReset},
                                    {110, Outcome::kTimeout},
                                    {111, Outcome::kUnavailable},
                                    {112, Outcome::kUnavailable},
                                    {1001, Outcome::kNoRoute},
                                    {1002, Outcome::kNoRoute},
                                    {1003, Outcome::kClientError},
                                    {1004, Outcome::kDenied},
                                    {1008, Outcome::kTimeout},
                                    {1009, Outcome::kReset},
                                    {1011, Outcome::kOverloaded},
                                    {1014, Outcome::kReset},
                                    {1018, Outcome::kOverloaded},
                                    {2001, Outcome::kServerError},
                                    {2003, Outcome::kUnavailable},
                                    {2004, Outcome::kOverloaded},
                                    {2005, Outcome::kUnavailable},
                                    {-1, Outcome::kServerError},
                                    {7, Outcome::kServerError}};
  for (auto [code, outcome] : rows) EXPECT_EQ(asker.outcome(response(1, code)), outcome) << code;
}

TEST(Brpc, LocalRepliesEqualWhatPeersAccept) {
  auto all = vectors("brpc");
  std::string call = vector_named(all, "brpc-call-echo").bytes;
  expect_replies_equal(brpc_codec(), "brpc", 5, [&](const Vector&) { return call; });
  Asker asker(brpc_codec());
  EXPECT_EQ(asker.reply(frame(names()), Outcome::kDenied), frame(text(2, number(1, 1004)), ""));
  EXPECT_EQ(asker.frame(asker.reply(call, Outcome::kReset, std::string(5000, 'x'))).status, 1009);
  EXPECT_EQ(asker.frame(asker.reply(call, Outcome::kUnknown)).status, 2001);
  EXPECT_EQ(asker.frame(asker.reply(call, Outcome::kTooLarge)).status, 1003);
  EXPECT_EQ(asker.frame(asker.reply(call, Outcome::kRateLimited)).status, 2004);
}

TEST(Brpc, AnswersWithoutAResponseMean0k) {
  FramedConnection down(brpc_codec(), Role::kServer), up(brpc_codec(), Role::kClient);
  Hop hop(down, up);
  down.feed(request(5) + request(6));
  std::string sent = up.sink.take();
  Asker asker(brpc_codec());
  std::string first = sent.substr(0, asker.frame(sent).total_len);
  up.feed(frame(number(4, asker.frame(first).id), "answer"));
  EXPECT_EQ(down.sink.take(), frame(number(4, 5), "answer"));
  EXPECT_EQ(up.events.broken, 0);
  EXPECT_EQ(asker.frame(asker.with_id(frame(text(2, "") + number(4, 6)), 6)).kind,
            uint32_t{DRAGOMAN_RESPONSE});
}

TEST(Brpc, IdsNeverCross) {
  expect_ids_never_cross(
      brpc_codec(),
      [](uint64_t id, uint64_t tag) {
        return frame("\x0a\x06\x0a\x01S\x12\x01m" + number(4, id), "tag=" + std::to_string(tag) + ".");
      },
      [](const std::string&, uint64_t id, uint64_t tag) {
        return frame(std::string("\x12\x00", 2) + number(4, id), "tag=" + std::to_string(tag) + ".");
      });
}

}  // namespace
}  // namespace dragoman::testing
