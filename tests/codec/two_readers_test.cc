// Frames with parts copied, moved and cut, read by the codec and by other readers (tests/fuzz/second_reader.h): what one accepts
// and another reads in a second way is how a client chooses the id of another client's call, or walks past a route.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "protocols/exchange.h"
#include "tests/descriptor/shipped.h"
#include "tests/fuzz/second_reader.h"
#include "tests/support/codec_vectors.h"

namespace dragoman::testing {
namespace {

struct Subject {
  const char* name;
  const char* vectors;                             // folder under tests/vectors
  size_t from;                                     // where the part begins that is changed
  void (*mend)(std::string& bytes, size_t grown);  // the lengths
  size_t step = 1;                                 // what is put in is so many bytes or a multiple
};

void put(std::string& bytes, size_t at, size_t n, uint64_t v) {
  for (size_t i = 0; i < n; ++i) bytes[at + n - 1 - i] = static_cast<char>(v >> 8 * i);
}
uint64_t get(const std::string& bytes, size_t at, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n; ++i) v = v << 8 | static_cast<uint8_t>(bytes[at + i]);
  return v;
}

void put_little(std::string& bytes, size_t at, size_t n, uint64_t v) {
  for (size_t i = 0; i < n; ++i) bytes[at + i] = static_cast<char>(v >> 8 * i);
}
void add(std::string& bytes, size_t at, size_t n, uint64_t v) { put(bytes, at, n, get(bytes, at, n) + v); }

void mend_rocketmq(std::string& b, size_t grown) {
  put(b, 0, 4, b.size() - 4);
  add(b, 5, 3, grown);
}
void mend_brpc(std::string& b, size_t grown) {
  put(b, 4, 4, b.size() - 12);
  add(b, 8, 4, grown);
}
void mend_ttheader(std::string& b, size_t grown) {
  put(b, 0, 4, b.size() - 4);
  add(b, 12, 2, grown / 4);
}
void mend_bolt(std::string& b, size_t grown) {
  if (b[0] == 1) add(b, 16, 2, grown);
}

const Subject kSubjects[] = {
    {"tars", "tars", 4, [](std::string& b, size_t) { put(b, 0, 4, b.size()); }},
    {"rocketmq", "rocketmq", 8, mend_rocketmq},
    {"brpc", "brpc", 12, mend_brpc},
    {"ttheader", "ttheader", 16, mend_ttheader, 4},
    {"bolt", "bolt", 22, mend_bolt},
    {"dubbo", "dubbo", 16, [](std::string& b, size_t) { put(b, 12, 4, b.size() - 16); }},
    {"thrift", "thrift", 4,
     [](std::string& b, size_t grown) {
       if (get(b, 0, 4) + 4 + grown == b.size()) put(b, 0, 4, b.size() - 4);
       if (b[4] == 0x0f && b[5] == '\xff' && grown % 4 == 0) add(b, 12, 2, grown / 4);
     }},
    {"dubbo_thrift", "dubbo_thrift", 13,
     [](std::string& b, size_t grown) {
       put(b, 0, 4, b.size() - 4);
       put(b, 6, 4, b.size() - 4);
       if (grown % 2 == 0) add(b, 10, 2, grown);
     }},
    {"seata", "seata", 16,
     [](std::string& b, size_t grown) {
       put(b, 3, 4, b.size());
       if (grown % 2 == 0) add(b, 7, 2, grown);
     }},
    // As described.
    {"bolt1", "bolt", 22, mend_bolt},
    {"baidu_std", "brpc", 12, mend_brpc},
    {"ttheader_lite", "ttheader", 16, mend_ttheader, 4},
    {"rocketmq_binary", "rocketmq", 8, mend_rocketmq},
    {"motan2", "motan2", 17, [](std::string& b, size_t grown) { add(b, 13, 4, grown); }},
    {"bankxml", "bankxml", 19,
     [](std::string& b, size_t) {
       const std::string n = std::to_string(b.size() - 8);
       b.replace(0, 8, std::string(8 - n.size(), '0') + n);
     }},
    {"tradeline", "tradeline", 4, [](std::string&, size_t) {}},
    {"pulse", "pulse", 2,
     [](std::string& b, size_t grown) {
       if (static_cast<uint8_t>(b[1]) + grown < 128)
         b[1] = static_cast<char>(static_cast<size_t>(b[1]) + grown);
     }},
    {"axis", "axis", 26,
     [](std::string& b, size_t grown) {
       put_little(b, 4, 4, b.size());
       b[18] = static_cast<char>(static_cast<size_t>(b[18]) + grown);
     }},
    {"lumen", "lumen", 10,
     [](std::string& b, size_t grown) {
       put(b, 0, 3, b.size() - 10);
       add(b, 8, 2, grown / 4);
     },
     4},
    {"kafka", "kafka", 8, [](std::string& b, size_t) { put(b, 0, 4, b.size() - 4); }},
    {"kitex_protobuf", "kitex_protobuf", 12,
     [](std::string& b, size_t grown) {
       put(b, 0, 4, b.size() - 4);
       if (grown % 2 == 0) add(b, 8, 4, grown);
     }},
    {"mesh_header", "mesh_header", 4, [](std::string& b, size_t grown) { add(b, 2, 2, grown); }},
};

class TwoReaders : public ::testing::TestWithParam<Subject> {};

TEST_P(TwoReaders, FindTheSame) {
  const Subject& s = GetParam();
  const dragoman_codec* table = nullptr;
  for (const Protocol& p : protocols())
    if (p.name == s.name) table = p.table;
  std::shared_ptr<const descriptor::Descriptor> described;
  if (!table && std::ranges::count(all_descriptors(), std::string_view(s.name))) {
    described = shipped_descriptor(s.name);
    table = &described->table();
  }
  if (!table) GTEST_SKIP() << "not linked in";
  std::vector<std::string> frames;
  for (const auto& file : std::filesystem::directory_iterator(source_dir() + "/tests/vectors/" + s.vectors)) {
    if (file.path().extension() != ".hex" || file.path().filename().string().starts_with("bad-")) continue;
    const std::string bytes = read_hex(file.path().string());
    dragoman_frame f;
    if (Asker(table).probe(bytes, f) == DRAGOMAN_FRAME && f.total_len == bytes.size()) frames.push_back(bytes);
  }
  std::sort(frames.begin(), frames.end());
  ASSERT_FALSE(frames.empty());
  std::mt19937_64 random(20261130);
  size_t read = 0;
  auto check = [&](const std::string& bytes) {
    for (uint32_t from : {DRAGOMAN_FROM_CLIENT, DRAGOMAN_FROM_SERVER}) {
      const std::string differs = fuzz::two_readings(*table, bytes, from);
      ASSERT_EQ(differs, "") << ::testing::PrintToString(bytes);
    }
    dragoman_frame f;
    read += Asker(table).probe(bytes, f) == DRAGOMAN_FRAME;
  };
  for (const std::string& frame : frames) check(frame);
  const size_t before = read;
  for (int round = 0; round < 30'000 && !HasFatalFailure(); ++round) {
    std::string bytes = frames[random() % frames.size()];
    const std::string& other = frames[random() % 4 ? random() % frames.size() : 0];
    if (bytes.size() <= s.from + 1 || other.size() <= s.from + 1) continue;
    // A piece of this frame, or of another, once more somewhere.
    const std::string& source = random() % 4 ? bytes : other;
    const size_t window = std::min<size_t>(source.size() - s.from, 96);
    size_t at = s.from + random() % window, length = 1 + random() % std::min<size_t>(source.size() - at, 64);
    std::string piece = source.substr(at, length);
    piece.resize((piece.size() + s.step - 1) / s.step * s.step);
    if (random() % 3 == 0) piece[random() % piece.size()] ^= static_cast<char>(1 << random() % 8);
    bytes.insert(s.from + random() % std::min<size_t>(bytes.size() - s.from, 96), piece);
    s.mend(bytes, piece.size());
    check(bytes);
  }
  EXPECT_GT(read, before) << "some of what was made must be frames";
}

INSTANTIATE_TEST_SUITE_P(All, TwoReaders, ::testing::ValuesIn(kSubjects),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace dragoman::testing
