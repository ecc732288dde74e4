// Seata: every captured frame on bound connections, and the rules of its wire.
#include "protocols/seata/seata.h"

#include <gtest/gtest.h>

#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

std::string frame(int type, uint32_t id, std::string_view body, std::string_view map = {}, int version = 1, int codec = 1,
                  int compressor = 0) {
  return "\xda\xda" + be(static_cast<uint64_t>(version), 1) + be(16 + map.size() + body.size(), 4) +
         be(16 + map.size(), 2) + be(static_cast<uint64_t>(type), 1) + be(static_cast<uint64_t>(codec), 1) +
         be(static_cast<uint64_t>(compressor), 1) + be(id, 4) + std::string(map) + std::string(body);
}
std::string text16(std::string_view s) { return be(s.size(), 2) + std::string(s); }
CodecOptions bound() { return framed_options(PoolMode::kBound); }

class SeataVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(SeataVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (v.kind() == "malformed" || v.kind() == "v0") {
    for (size_t step : {v.bytes.size(), size_t{1}}) {
      FramedConnection c(seata_codec(), Role::kServer, bound());
      c.feed_in_steps(v.bytes, step);
      EXPECT_EQ(c.events.broken, 1);
      EXPECT_EQ(c.accepted(), 0u);
      EXPECT_EQ(c.sink.take(), "");
    }
    return;
  }
  expect_prefixes_need_more(seata_codec(), v.bytes);
  EXPECT_EQ(Asker(seata_codec()).frame(v.bytes).id, v.number("id"));
  for (size_t cut = 0; cut <= v.bytes.size(); ++cut) {
    FramedConnection down(seata_codec(), Role::kServer, bound()), up(seata_codec(), Role::kClient, bound());
    Hop to_tc(down, up), to_manager(up, down);
    bool answer = v.kind() == "response" || v.kind() == "heartbeat_ack";
    uint32_t id = static_cast<uint32_t>(v.number("id"));
    if (answer) down.feed(frame(0, id, be(101, 2)));
    up.sink.take();
    FramedConnection& in = answer ? up : down;
    in.feed(v.bytes.substr(0, cut));
    in.feed(v.bytes.substr(cut));
    ASSERT_EQ(in.events.broken, 0) << in.events.broken_detail;
    ASSERT_EQ((answer ? down : up).sink.take(), v.bytes) << "cut " << cut;
    if (answer || v.kind() == "oneway" || v.text("type_code") == "59") {
      EXPECT_EQ(down.codec->open_exchanges() + up.codec->open_exchanges(), 0u);
      continue;
    }
    const Head& h = *down.at(0).head;
    EXPECT_EQ(h.header("xid"), v.text("xid"));
    EXPECT_FALSE(h.method.empty());
    if (v.name.find("headmap") != std::string::npos) {
      EXPECT_EQ(h.header("k1"), "v1");
      bool found = false;
      h.header("empty", &found);
      EXPECT_TRUE(found);
      EXPECT_EQ(h.headers.size(), 2u) << "null is none";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SeataVectors, ::testing::ValuesIn(vectors("seata")), test_name);

TEST(Seata, MethodsAndXids) {
  auto head_of = [](const std::string& bytes) {
    FramedConnection c(seata_codec(), Role::kServer, bound());
    std::pair<std::string, std::string> out;
    c.events.then_exchange = [&](FakeMessageSink& s) {
      s.then_head = [&](Head& h, bool) { out = {std::string(h.method), std::string(h.header("xid"))}; };
    };
    c.feed(bytes);
    EXPECT_EQ(c.accepted(), 1u);
    return out;
  };
  using P = std::pair<std::string, std::string>;
  std::string xid = "10.0.0.1:8091:1";
  EXPECT_EQ(head_of(frame(0, 1, be(7, 2) + text16(xid) + be(0, 2))), P("global_commit", xid));
  EXPECT_EQ(head_of(frame(2, 1, be(11, 2) + text16(xid))), P("branch_register", xid));
  EXPECT_EQ(head_of(frame(0, 1, be(1, 2) + be(60000, 4) + text16("name"))), P("global_begin", ""));
  EXPECT_EQ(head_of(frame(0, 1, be(59, 2) + be(30, 4) + be(1, 2) + be(9, 2) + text16(xid))), P("merged", xid));
  EXPECT_EQ(head_of(frame(0, 1, be(59, 2) + be(30, 4) + be(1, 2) + be(1, 2) + be(9, 4))), P("merged", ""));
  EXPECT_EQ(head_of(frame(3, 1, "")), P("heartbeat", ""));
  EXPECT_EQ(head_of(frame(0, 1, be(999, 2))), P("", ""));
  EXPECT_EQ(head_of(frame(0, 1, be(7, 2) + be(500, 2) + "short")), P("global_commit", ""));
  EXPECT_EQ(head_of(frame(0, 1, be(7, 2) + text16(xid), {}, 1, 2)), P("", "")) << "another codec";
  EXPECT_EQ(head_of(frame(0, 1, be(7, 2) + text16(xid), {}, 1, 1, 1)), P("", "")) << "compressed";
  EXPECT_EQ(head_of(frame(0, 1, be(7, 2) + text16(xid), {}, 2)), P("global_commit", xid)) << "version 2";
  EXPECT_EQ(head_of(frame(0, 1, "")), P("", ""));
}

TEST(Seata, MergedRequestsMayBeAnsweredOneByOne) {
  FramedConnection down(seata_codec(), Role::kServer, bound()), up(seata_codec(), Role::kClient, bound());
  Hop to_tc(down, up), to_manager(up, down);
  down.feed(frame(0, 9, be(59, 2) + be(4, 4) + be(0, 2)));
  up.sink.take();
  std::string answers = frame(1, 3, be(12, 2) + be(1, 1)) + frame(1, 4, be(14, 2) + be(1, 1)) + frame(1, 9, be(60, 2));
  up.feed_in_steps(answers, 5);
  EXPECT_EQ(down.sink.take(), answers);
  EXPECT_EQ(up.events.count(CodecEvent::kUnknownId), 0u);
  EXPECT_EQ(up.codec->open_exchanges() + down.codec->open_exchanges(), 0u);
}

TEST(Seata, TheCoordinatorCallsItsManagers) {
  FramedConnection down(seata_codec(), Role::kServer, bound()), up(seata_codec(), Role::kClient, bound());
  Hop to_tc(down, up), to_manager(up, down);
  std::string commit = frame(0, 5, be(3, 2) + text16("x:1:2") + be(7, 8));
  up.feed(commit);
  EXPECT_EQ(down.sink.take(), commit);
  down.feed(frame(0, 5, be(7, 2) + text16("x:1:2")));  // the same id, the other way
  EXPECT_FALSE(up.sink.take().empty());
  std::string done = frame(1, 5, be(4, 2) + be(1, 1));
  down.feed(done);
  EXPECT_EQ(up.sink.take(), done);
  up.feed(done);
  EXPECT_EQ(down.sink.take(), done);
}

TEST(Seata, ThereAreNoLocalReplies) {
  FramedConnection c(seata_codec(), Role::kServer, bound());
  c.feed(frame(0, 1, be(101, 2)));
  LocalReply reply;
  reply.reason = Reason::kNoRoute;
  c.at(0).exchange->send_reply(*c.at(0).head, reply);
  EXPECT_EQ(c.sink.take(), "");
  EXPECT_EQ(c.events.broken_reason, Reason::kNoRoute) << "closed instead";
}

TEST(Seata, ACallThatTookTooLongEndsAlone) {
  FramedConnection c(seata_codec(), Role::kServer, bound());
  c.feed(frame(0, 1, be(101, 2)) + frame(0, 2, be(101, 2)));
  LocalReply reply;
  reply.reason = Reason::kUpstreamTimeout;
  c.at(0).exchange->send_reply(*c.at(0).head, reply);
  EXPECT_EQ(c.sink.take(), "");
  EXPECT_EQ(c.events.broken, 0) << "the others go on";
  EXPECT_FALSE(c.at(1).was_reset);
}

TEST(Seata, Outcomes) {
  Asker asker(seata_codec());
  EXPECT_EQ(asker.outcome(frame(1, 1, be(2, 2) + be(0, 1) + text16("no"))), Outcome::kServerError);
  EXPECT_EQ(asker.outcome(frame(1, 1, be(2, 2) + be(1, 1))), Outcome::kOk);
  EXPECT_EQ(asker.outcome(frame(1, 1, be(102, 2) + be(0, 1))), Outcome::kServerError);
  EXPECT_EQ(asker.outcome(frame(1, 1, be(60, 2) + be(0, 4))), Outcome::kOk);
  EXPECT_EQ(asker.outcome(frame(4, 1, "")), Outcome::kOk);
  EXPECT_EQ(asker.outcome(frame(1, 1, be(2, 2) + be(0, 1), {}, 1, 1, 7)), Outcome::kOk) << "compressed";
}

TEST(Seata, EditsTheHeadMap) {
  auto edited = [](const std::string& bytes, const std::function<void(Head&)>& edit,
                   Edit want = Edit::kMade) { return edited_request(seata_codec(), bytes, edit, want); };
  std::string body = be(1, 2) + be(60000, 4) + text16("name");
  EXPECT_EQ(edited(frame(2, 1, body), [](Head& h) { h.set_header("k", "v"); }),
            frame(2, 1, body, text16("k") + text16("v")));
  EXPECT_EQ(edited(frame(2, 1, body, text16("K") + text16("v")), [](Head& h) { h.remove_header("k"); }), frame(2, 1, body));
  EXPECT_EQ(edited(
                frame(2, 1, body), [](Head& h) { h.set_header("xid", "v"); }, Edit::kSkipped),
            "");
  EXPECT_EQ(edited(
                frame(2, 1, body, "bad"), [](Head& h) { h.set_header("k", "v"); }, Edit::kSkipped),
            "");
  EXPECT_EQ(
      edited(
          frame(2, 1, body), [](Head& h) { h.set_header("k", std::string(32768, 'v')); }, Edit::kSkipped),
      "");
}

TEST(Seata, TheFirstBytesTell) {
  dragoman_frame f;
  Asker asker(seata_codec());
  EXPECT_EQ(asker.probe("\xda", f), DRAGOMAN_NEED);
  EXPECT_EQ(asker.probe("\xda\xbb", f), DRAGOMAN_NOT_MINE) << "Dubbo";
  EXPECT_EQ(asker.probe(std::string("\xda\xda\0", 3), f), DRAGOMAN_UNSUPPORTED) << "version 0";
  EXPECT_EQ(asker.probe("\xda\xda\x03", f), DRAGOMAN_NOT_MINE);
  FramedConnection c(seata_codec(), Role::kServer, bound());
  c.feed(frame(9, 1, "unknown type") + frame(3, 2, ""));
  EXPECT_EQ(c.accepted(), 1u);
  EXPECT_EQ(c.events.count(CodecEvent::kUnsupported), 1u);
}

}  // namespace
}  // namespace dragoman::testing
