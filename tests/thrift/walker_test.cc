// The end of an unframed message is found wherever the bytes are cut.
#include "protocols/thrift/walker.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/support/bolt_frames.h"

namespace dragoman::thrift {
namespace {

using testing::be;

std::span<const uint8_t> span_of(std::string_view s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

/// Where the struct ends, when its bytes come in pieces of `step`; npos when it goes on, npos - 1 when it is broken.
size_t end_of(std::string_view bytes, Encoding encoding, size_t step) {
  Walker walker;
  walker.begin(encoding);
  for (size_t at = 0; at < bytes.size(); at += step) {
    size_t used = 0;
    Walk walk = walker.feed(span_of(bytes.substr(at, step)), used);
    if (walk == Walk::kEnd) return at + used;
    if (walk != Walk::kMore) return std::string::npos - 1;
  }
  return std::string::npos;
}

void expect_end(const std::string& body, Encoding encoding) {
  std::string more = body + "\x0b next";
  for (size_t step : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, more.size()}) {
    ASSERT_EQ(end_of(more, encoding, step), body.size()) << step;
    ASSERT_EQ(end_of(body.substr(0, body.size() - 1), encoding, step), std::string::npos) << step;
  }
}

std::string field(int type, std::string_view value) { return be(type, 1) + be(1, 2) + std::string(value); }
const std::string kStop(1, '\0');

TEST(ThriftWalker, EveryBinaryType) {
  std::string text = be(3, 4) + "abc";
  for (auto [type, value] : std::vector<std::pair<int, std::string>>{
           {2, "\1"}, {3, "\5"}, {4, be(1, 8)}, {6, be(1, 2)}, {8, be(1, 4)}, {10, be(1, 8)}, {16, std::string(16, 'u')},
           {11, text}, {11, be(0, 4)}, {12, kStop}, {12, field(8, be(1, 4)) + kStop},
           {15, "\x0b" + be(2, 4) + text + text}, {15, "\x08" + be(3, 4) + be(0, 12)}, {14, be(0, 5)},
           {15, "\x0c" + be(2, 4) + kStop + field(11, text) + kStop}, {15, "\x02" + be(2, 4) + "\1\1"},
           {15, "\x0f" + be(2, 4) + "\x03" + be(1, 4) + "x" + be(0, 5)},
           {13, be(0, 6)}, {13, "\x0b\x08" + be(2, 4) + text + be(1, 4) + text + be(2, 4)},
           {13, "\x08\x0c" + be(1, 4) + be(7, 4) + field(2, "\1") + kStop},
           {13, "\x02\x02" + be(3, 4) + "\1\1\1\1\1\1"}}) {
    expect_end(field(type, value) + kStop, Encoding::kBinary);
    expect_end(field(type, value) + field(type, value) + kStop, Encoding::kBinary);
  }
  expect_end(kStop, Encoding::kBinary);
}

TEST(ThriftWalker, EveryCompactType) {
  std::string text = "\x03" "abc";
  for (auto [type, value] : std::vector<std::pair<int, std::string>>{
           {1, ""}, {2, ""}, {3, "\5"}, {4, "\x80\x01"}, {5, "\xff\xff\xff\xff\x0f"}, {6, std::string(9, '\x80') + "\1"},
           {7, be(1, 8)}, {8, text}, {8, kStop}, {12, kStop}, {12, "\x15\x02" + kStop}, {13, std::string(16, 'u')},
           {9, "\x28" + text + text}, {9, "\x21\1\1"}, {10, "\x05"}, {9, "\xf5\x10" + std::string(16, '\2')},
           {9, "\x2c" + kStop + "\x11" + kStop}, {9, "\x29\x13x\x08"}, {11, kStop},
           {11, "\x02\x85" + text + "\x02" + text + "\x04"}, {11, "\x02\x11\1\1\1\1"}, {11, "\x01\x3cx" + kStop}}) {
    std::string one = std::string(1, static_cast<char>(0x10 | type)) + value;
    std::string far = std::string(1, static_cast<char>(type)) + "\xc8\x01" + value;  // with its id
    expect_end(one + kStop, Encoding::kCompact);
    expect_end(far + one + kStop, Encoding::kCompact);
  }
}

TEST(ThriftWalker, Lies) {
  auto broken = [](const std::string& body, Encoding e) { return end_of(body, e, 1) == std::string::npos - 1; };
  EXPECT_TRUE(broken(field(1, ""), Encoding::kBinary));
  EXPECT_TRUE(broken(field(17, ""), Encoding::kBinary));
  EXPECT_TRUE(broken(field(11, be(0x80000000, 4)), Encoding::kBinary));
  EXPECT_TRUE(broken(field(15, "\x08" + be(0x80000000, 4)), Encoding::kBinary));
  EXPECT_TRUE(broken(field(15, "\x09" + be(1, 4)), Encoding::kBinary));
  EXPECT_TRUE(broken(field(13, "\x08" + be(0, 1) + be(1, 4)), Encoding::kBinary));
  EXPECT_TRUE(broken(field(13, "\x08\x08" + be(0xffffffff, 4)), Encoding::kBinary));
  EXPECT_TRUE(broken("\x1e", Encoding::kCompact));
  EXPECT_TRUE(broken("\x10", Encoding::kCompact));
  EXPECT_TRUE(broken("\x16" + std::string(10, '\xff'), Encoding::kCompact));
  EXPECT_TRUE(broken("\x18\xff\xff\xff\xff\xff\x01", Encoding::kCompact));
  EXPECT_TRUE(broken("\x1b\x01\x10", Encoding::kCompact));
  for (Encoding e : {Encoding::kBinary, Encoding::kCompact}) {
    std::string level = e == Encoding::kBinary ? "\x0c" + be(1, 2) : "\x1c";
    std::string deep, too_deep;
    for (int i = 0; i < Walker::kDepthMax - 1; ++i) deep += level;
    EXPECT_EQ(end_of(deep + std::string(Walker::kDepthMax, '\0'), e, 1), deep.size() + Walker::kDepthMax);
    EXPECT_TRUE(broken(deep + level, e));
  }
}

TEST(ThriftWalker, RandomBytesAreCutAnywhereAlike) {
  std::mt19937 random(5);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 120, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 3 ? random() % 17 : random());
    for (Encoding e : {Encoding::kBinary, Encoding::kCompact})
      ASSERT_EQ(end_of(bytes, e, 1), end_of(bytes, e, bytes.size() + 1)) << round;
  }
}

}  // namespace
}  // namespace dragoman::thrift
