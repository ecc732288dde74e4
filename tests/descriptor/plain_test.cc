// The short way through a program says what the long way says: of every prefix of every vector, spoiled or not, and of
// random frames of descriptors made to be hard on it.
#include <gtest/gtest.h>

#include <random>

#include "protocols/descriptor/program.h"
#include "tests/descriptor/shipped.h"

namespace dragoman::testing {
namespace {

using descriptor::Opening;
using descriptor::Program;

/// One descriptor twice: as it is, and one that has to go the long way.
struct TwoWays {
  std::shared_ptr<const descriptor::Descriptor> first, second;
  const Program* program;
  uint64_t frames = 0, views = 0;

  TwoWays(std::shared_ptr<const descriptor::Descriptor> a, std::shared_ptr<const descriptor::Descriptor> b)
      : first(std::move(a)), second(std::move(b)) {
    program = static_cast<const Program*>(first->table().context);
    auto* other = static_cast<const Program*>(second->table().context);
    const_cast<Program*>(other)->openings.clear();
  }
  static TwoWays shipped(const std::string& name) {
    return {shipped_descriptor(name), shipped_descriptor(name)};
  }
  static TwoWays of(std::string_view text) {
    auto load = [&] {
      auto loaded = descriptor::load_string(text, "test.yaml");
      if (!loaded.descriptor)
        throw std::runtime_error(config::render_text(loaded.diagnostics, loaded.source));
      return loaded.descriptor;
    };
    return {load(), load()};
  }
  size_t plain() const {
    auto& all = program->openings;
    return static_cast<size_t>(
        std::count_if(all.begin(), all.end(), [](const Opening& o) { return o.plain; }));
  }

  /// Everything that is said of the bytes, as text.
  static std::string said(const dragoman_codec& t, const uint8_t* p, size_t n, dragoman_frame& f,
                          int& verdict) {
    f = {};
    f.size = sizeof f;
    verdict = t.probe(t.context, nullptr, p, n, &f);
    std::string out = "verdict " + std::to_string(verdict);
    auto add = [&](const char* name, auto value) {
      out += std::string(" ") + name + " " + std::to_string(value);
    };
    add("kind", f.kind);
    add("total", f.total_len);
    add("need", f.need);
    add("head", f.head_len);
    add("id at", f.id_offset);
    add("id len", f.id_len);
    add("id type", f.id_type);
    add("id", f.id);
    add("timeout", f.timeout_ms);
    add("status", f.status);
    add("checksum", f.checksum);
    if (f.reason) out += std::string(" reason ") + f.reason;
    if (verdict != DRAGOMAN_FRAME || n < f.head_len) return out;
    add("outcome", t.outcome(t.context, nullptr, p, &f));
    for (uint32_t want : {7u, 3u, 1u, 2u, 0u}) {
      dragoman_view v{};
      v.size = sizeof v;
      v.ctx = &out;
      static constexpr auto text = [](dragoman_bytes b) {
        return std::string(reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len));
      };
      v.header = [](void* ctx, dragoman_bytes name, dragoman_bytes value) {
        *static_cast<std::string*>(ctx) += " " + text(name) + ": " + text(value);
      };
      v.attribute = [](void* ctx, uint32_t index, dragoman_bytes value) {
        *static_cast<std::string*>(ctx) += " attribute " + std::to_string(index) + ": " + text(value);
      };
      add("view", t.view(t.context, nullptr, p, &f, want, &v));
      add("flags", v.flags);
      out += " service " + text(v.service) + " method " + text(v.method);
    }
    return out;
  }

  void compare(const std::string& bytes, size_t n, const std::string& what) {
    // At the very end of its memory, so that reading past it is noticed.
    std::vector<uint8_t> copy(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(n));
    dragoman_frame f, g;
    int verdict = 0, other = 0;
    std::string one = said(first->table(), copy.data(), n, f, verdict);
    std::string two = said(second->table(), copy.data(), n, g, other);
    ASSERT_EQ(one, two) << what;
    frames += verdict == DRAGOMAN_FRAME;
    views += verdict == DRAGOMAN_FRAME && n >= f.head_len;
  }
};

std::vector<std::string> frames_of(const std::string& name) {
  std::vector<std::string> out;
  if (name == "bolt1")
    for (const BoltVector& v : bolt_vectors()) out.push_back(v.bytes);
  for (const Shipped& s : with_vectors())
    if (s.name == name)
      for (const DescribedVector& v : vectors_of(s.vectors)) out.push_back(v.bytes);
  return out;
}

class BothWays : public ::testing::TestWithParam<const char*> {};

TEST_P(BothWays, AgreeOnEveryVectorCutAndSpoiled) {
  TwoWays ways = TwoWays::shipped(GetParam());
  for (const std::string& bytes : frames_of(GetParam())) {
    for (size_t n = 1; n <= bytes.size(); ++n) {
      ways.compare(bytes, n, "at " + std::to_string(n));
      if (HasFatalFailure()) return;
    }
    for (size_t at = 0; at < std::min<size_t>(bytes.size(), 96); ++at) {
      for (int value : {0, 1, 2, 3, 0x50, 0x7f, 0x80, 0xff}) {
        std::string spoiled = bytes;
        spoiled[at] = static_cast<char>(value);
        ways.compare(spoiled, spoiled.size(), "byte " + std::to_string(at) + " = " + std::to_string(value));
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(ways.frames, 100u);
  EXPECT_GT(ways.views, 20u);
}

INSTANTIATE_TEST_SUITE_P(All, BothWays, ::testing::ValuesIn(all_descriptors()),
                         [](const auto& shipped) { return std::string(shipped.param); });

TEST(ShortWay, IsThereForBolt) {
  TwoWays ways = TwoWays::shipped("bolt1");
  EXPECT_EQ(ways.plain(), 7u);  // six kinds, one of them with two types
  EXPECT_EQ(ways.program->opening_at, 0u);
}

constexpr std::string_view kCommon = R"(
status: {from: code, outcome: {0: ok, 1: timeout}, other: server_error, reply: {timeout: 1, other: 2}}
make: {reply: {layout: answer, set: {ID: "${id}", code: "${status}", SET}}}
)";

/// Frames whose first bytes take few values, so that most tests are met often.
void compare_random(TwoWays& ways, const std::vector<std::string>& firsts, size_t rest) {
  std::mt19937 random(7);
  auto any = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  for (int i = 0; i < 40'000; ++i) {
    std::string bytes;
    for (const std::string& choices : firsts) bytes += choices[any(choices.size())];
    while (bytes.size() < firsts.size() + rest) bytes += static_cast<char>(any(4) ? any(8) : random());
    ways.compare(bytes, any(3) ? bytes.size() : 1 + any(bytes.size()), "random frame " + std::to_string(i));
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(ways.frames, 1000u);
  EXPECT_GT(ways.views, 100u);
}

std::string with_common(std::string text, const std::string& id, const std::string& set) {
  std::string common(kCommon);
  common.replace(common.find("ID"), 2, id);
  common.replace(common.find("SET"), 3, set);
  return text + common;
}

// Bits, both byte orders, signs, odd widths, fields at the very end of the fixed part.
TEST(ShortWay, TakesNumbersOfEveryKind) {
  TwoWays ways = TwoWays::of(with_common(R"(
descriptor: 1
name: bits
endian: little
limits: {frame: 400, head: 96}
match: ["u8@1 in [0x50, 0x51]"]
layouts:
  call:
    when: ["u8@2&0x80 == 0"]
    items: {pad: u8, magic: u8, flags: {type: u8, bits: {answer: 0x80, op: 0x70, more: 0x0f}}, size: u24be, serial: i32,
            ttl: i16, part: {len: more, max: 9}, zone: {len: op}, data: {len: size, body: true}}
    check: [op in 1..5, "ttl >= -2"]
  answer:
    when: ["u8@2&0x80 == 1"]
    items: {pad: u8, magic: u8, flags: {type: u8, bits: {answer: 0x80, op: 0x70, more: 0x0f}}, size: u8, code: i8be,
            serial: i32, data: {len: size, body: true}}
id: serial
kind: [{is: request, when: [op in 1..3]}, {is: oneway, when: [op == 4]}, {is: heartbeat, when: [op == 5, more == 2]},
       {is: response, when: ["op in [0, 7]"]}]
timeout: {from: ttl, unit: s, none: [3]}
service: [zone, part]
method: part
)",
                                         "serial", "magic: 0x50, answer: 1"));
  EXPECT_GT(ways.plain(), 3u);
  compare_random(ways, {"\x01\x02", "\x50\x51\x52", std::string("\x00\x11\x22\x43\x52\x80\xf1\x81\x33", 9)},
                 40);
}

// Which layout a frame has is told before its checks are asked, and its kind before those that refuse.
TEST(ShortWay, KeepsTheOrderOfTheTests) {
  TwoWays ways = TwoWays::of(with_common(R"(
descriptor: 1
name: order
limits: {frame: 300, head: 80}
match: ["u8@0 == 0x41"]
layouts:
  old:
    when: ["u8@1 == 1"]
    items: {magic: u8, version: u8, type: {type: u8, value: 2}, op: u8, size: u16, code: u16, reqid: u16, head: {len: size}}
    check: [{test: op != 3, else: unsupported}]
  odd:
    when: ["u8@1 >= 6"]
    items: {magic: u8, version: u8, type: u8, op: u8, code: u8, reqid: u16, size: u8, head: {len: size}}
  answer:
    items: {magic: u8, version: u8, type: u8, op: u8, code: u16, reqid: u16, size: i16, head: {len: size, max: 20}}
    check: [{test: type in 1..3, else: unsupported}]
id: reqid
kind: [{is: request, when: [op == 1, type == 2]}, {is: oneway, when: [op == 1, version == 4], refuse: unsupported},
       {is: response, when: [op in 0..2]}, {is: response, when: [op > 4], refuse: malformed}, {is: oneway, when: [type < 3]}]
service: head
)",
                                         "reqid", "magic: 0x41, type: 2"));
  EXPECT_GT(ways.plain(), 3u);
  compare_random(ways,
                 {"\x41\x41\x41\x42", "\x01\x02\x04\x06", std::string("\x00\x01\x02\x03\x04", 5),
                  std::string("\x00\x01\x02\x03\x05", 5)},
                 30);
}

// Pairs behind lengths of two bytes, with nulls and repeated names; rules of several kinds.
TEST(ShortWay, LooksUpTheSame) {
  TwoWays ways = TwoWays::of(with_common(R"(
descriptor: 1
name: pairs
limits: {frame: 300, head: 120, pairs: 3}
match: ["u8@0 == 0x41"]
layouts:
  answer:
    items: {magic: u8, op: u8, code: u16, reqid: u16, size: u16, head: {len: size, pairs: {key: i16s, value: i16s}}}
id: reqid
kind: [{is: request, when: [op == 1]}, {is: response, when: [op == 2]}]
headers: {from: head, broken: opaque, when: ["op in [1, 2]", "reqid != 2"]}
service: [head.a, head.bb, 'head.ccc | after_last("b")']
method: 'head.bb | before_last("a")'
attributes: {x: [head.dddd, head.a]}
)",
                                         "reqid", "magic: 0x41, op: 2"));
  EXPECT_EQ(ways.plain(), 2u);
  std::mt19937 random(3);
  static const std::string kTexts[] = {"a", "bb", "ccc", "dddd", "", "abab", "b"};
  for (int i = 0; i < 40'000; ++i) {
    std::string head;
    for (size_t n = random() % 5; n > 0; --n) {
      for (int side = 0; side < 2; ++side) {
        const std::string& text = kTexts[random() % std::size(kTexts)];
        size_t length = random() % 16 ? text.size() : random() % 2 ? 0xffff : 0xfffe;
        head += be(length, 2) + (length == text.size() ? text : "");
      }
    }
    std::string bytes = be(0x41, 1) + be(random() % 3 + 1, 1) + be(random() % 3, 2) + be(random() % 3, 2) +
                        be(head.size() + (random() % 20 == 0), 2) + head;
    ways.compare(bytes, bytes.size(), "random pairs " + std::to_string(i));
    if (::testing::Test::HasFatalFailure()) return;
  }
  EXPECT_GT(ways.views, 1000u);
}

}  // namespace
}  // namespace dragoman::testing
