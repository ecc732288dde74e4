// Dubbo-Thrift: the vectors in both roles, and the rules of its wire.
#include "protocols/thrift/dubbo_thrift.h"

#include <gtest/gtest.h>

#include "tests/support/bolt_frames.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

std::string frame(int type, uint64_t id, std::string_view name, std::string_view path = {},
                  std::string_view body = std::string_view("\0", 1)) {
  std::string service = "demo.S";
  std::string header = be(1, 1) + be(service.size(), 4) + service;
  if (!path.empty()) header += be(path.size(), 4) + std::string(path);
  header += be(id, 8);
  std::string message =
      "\x80\x01" + be(static_cast<uint64_t>(type), 2) + be(name.size(), 4) + std::string(name) + be(3, 4) + std::string(body);
  size_t len = 8 + header.size() + message.size();
  return be(len, 4) + "\xda\xbc" + be(len, 4) + be(8 + header.size(), 2) + header + message;
}

class DubboThriftVectors : public ::testing::TestWithParam<Vector> {};

TEST_P(DubboThriftVectors, PassesAtEverySplit) {
  const Vector& v = GetParam();
  if (v.kind() == "malformed") {
    for (size_t step : {v.bytes.size(), size_t{1}}) {
      FramedConnection c(dubbo_thrift_codec(), Role::kServer);
      c.feed_in_steps(v.bytes, step);
      EXPECT_EQ(c.events.broken_reason, Reason::kMalformed);
    }
    return;
  }
  if (v.kind() == "rewrite") {
    const auto all = vectors("dubbo_thrift");
    std::string of = v.text("rewrite_of");
    EXPECT_EQ(Asker(dubbo_thrift_codec()).with_id(vector_named(all, of.substr(0, of.size() - 4)).bytes, v.number("id")), v.bytes);
    return;
  }
  expect_prefixes_need_more(dubbo_thrift_codec(), v.bytes);
  dragoman_frame f = Asker(dubbo_thrift_codec()).frame(v.bytes);
  EXPECT_EQ(f.id, v.number("id"));
  EXPECT_EQ(f.id_offset, v.number("id_offset"));
  expect_passes_at_every_split(dubbo_thrift_codec(), frame(1, 1, "m"), v, [&](const Head& h) {
    EXPECT_EQ(h.service, v.text("service"));
    EXPECT_EQ(h.method, v.text("method"));
    EXPECT_TRUE(h.opaque);
  });
}

INSTANTIATE_TEST_SUITE_P(All, DubboThriftVectors, ::testing::ValuesIn(vectors("dubbo_thrift")), test_name);

TEST(DubboThrift, OneWayIsNoAnswer) {
  FramedConnection c(dubbo_thrift_codec(), Role::kServer);
  c.feed(frame(4, 1, "m") + frame(1, 2, "m", "a/path"));
  ASSERT_EQ(c.accepted(), 2u);
  EXPECT_TRUE(c.at(0).head->one_way);
  EXPECT_EQ(c.at(1).head->frame.id, 2u) << "the path is no part of the id";
}

TEST(DubboThrift, LocalRepliesEqualTheVectors) {
  std::string request = vector_named(vectors("dubbo_thrift"), "dubbothrift-call-add-v27-path").bytes;
  expect_replies_equal(dubbo_thrift_codec(), "dubbo_thrift", 2, [&](const Vector&) { return request; });
}

TEST(DubboThrift, Outcomes) {
  Asker asker(dubbo_thrift_codec());
  EXPECT_EQ(asker.outcome(frame(2, 1, "m")), Outcome::kOk);
  EXPECT_EQ(asker.outcome(frame(3, 1, "m", {}, "\x08" + be(2, 2) + be(1, 4) + be(0, 1))), Outcome::kNoRoute);
  EXPECT_EQ(asker.outcome(frame(3, 1, "m")), Outcome::kServerError);
  EXPECT_EQ(asker.outcome(vector_named(vectors("dubbo_thrift"), "dubbothrift-reply-appexception").bytes),
            Outcome::kServerError);
}

TEST(DubboThrift, Lengths) {
  auto verdict = [](std::string bytes, size_t at, std::string_view with) {
    dragoman_frame f;
    return Asker(dubbo_thrift_codec()).probe(bytes.replace(at, with.size(), with), f);
  };
  std::string good = frame(1, 1, "m");
  EXPECT_EQ(verdict(good, 0, ""), DRAGOMAN_FRAME);
  EXPECT_EQ(verdict(good, 0, be(0x80000000, 4)), DRAGOMAN_MALFORMED);
  EXPECT_EQ(verdict(good, 0, be(20, 4)), DRAGOMAN_MALFORMED);
  EXPECT_EQ(verdict(good, 6, be(1, 4)), DRAGOMAN_MALFORMED);
  EXPECT_EQ(verdict(good, 10, be(20, 2)), DRAGOMAN_MALFORMED) << "header under its least";
  EXPECT_EQ(verdict(good, 10, be(0xffff, 2)), DRAGOMAN_MALFORMED);
  EXPECT_EQ(verdict(good, 10, be(good.size() - 4, 2)), DRAGOMAN_MALFORMED) << "no message";
  EXPECT_EQ(verdict(good, 12, "\2"), DRAGOMAN_MALFORMED) << "version";
  EXPECT_EQ(verdict(good, 13, be(7, 4)), DRAGOMAN_MALFORMED) << "the service runs into the id";
  EXPECT_EQ(verdict(good, 13, be(0xffffffff, 4)), DRAGOMAN_MALFORMED);
  dragoman_frame f;
  EXPECT_EQ(Asker(dubbo_thrift_codec()).probe(frame(1, 1, std::string(4097, 'n')), f), DRAGOMAN_TOO_BIG);
}

TEST(DubboThrift, IdsNeverCross) {
  auto tagged = [](int type, uint64_t id, uint64_t tag) {
    return frame(type, id, "tag=" + std::to_string(tag) + ";");
  };
  expect_ids_never_cross(
      dubbo_thrift_codec(), [&](uint64_t id, uint64_t tag) { return tagged(1, id, tag); },
      [&](const std::string&, uint64_t id, uint64_t tag) { return tagged(2, id, tag); });
}

}  // namespace
}  // namespace dragoman::testing
