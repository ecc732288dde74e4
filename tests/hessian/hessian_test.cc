// The reader of both Hessian grammars over values that the real encoders wrote, and over bytes that lie.
#include "protocols/hessian/hessian.h"

#include <gtest/gtest.h>

#include "tests/support/codec_vectors.h"

namespace dragoman::hessian {
namespace {

using testing::Vector;

Grammar grammar_of(const Vector& v) { return v.text("grammar") == "draft" ? Grammar::kDraft : Grammar::kFinal; }
std::span<const uint8_t> span_of(std::string_view s) { return {reinterpret_cast<const uint8_t*>(s.data()), s.size()}; }

std::vector<Vector> all_values() {
  std::vector<Vector> out;
  for (const char* index : {"index.tsv", "final-values.tsv", "draft-values.tsv"})
    for (Vector& v : testing::vectors("hessian2", index))
      if (v.kind() == "value") out.push_back(std::move(v));
  return out;
}

TEST(Hessian, SkipsEveryValueToItsLastByte) {
  auto values = all_values();
  EXPECT_GT(values.size(), 180u);
  for (const Vector& v : values) {
    Reader in(span_of(v.bytes), grammar_of(v));
    for (uint64_t i = 0; i < v.number("values"); ++i) ASSERT_TRUE(in.skip()) << v.name << " value " << i;
    EXPECT_EQ(in.remaining(), 0u) << v.name;
    EXPECT_TRUE(in.ok());
  }
}

TEST(Hessian, EveryBeginningOfAValueIsTruncatedNotWrong) {
  for (const Vector& v : all_values()) {
    if (v.number("values") != 1) continue;
    size_t stride = v.bytes.size() > 2000 ? 511 : 1;
    for (size_t n = 0; n < v.bytes.size(); n += stride) {
      Reader in(span_of(std::string_view(v.bytes).substr(0, n)), grammar_of(v));
      EXPECT_FALSE(in.skip()) << v.name << " " << n;
    }
  }
}

TEST(Hessian, StringsAndIntegers) {
  for (Grammar g : {Grammar::kFinal, Grammar::kDraft}) {
    Text text;
    int32_t number = 0;
    Reader in(span_of(std::string_view("\x02hiN\x90\xc7\x00\xd4\x01\x00I\xff\xff\xff\xffT", 16)), g);
    ASSERT_TRUE(in.string(text));
    EXPECT_EQ(text.text, "hi");
    EXPECT_FALSE(in.integer(number)) << "null is none";
    EXPECT_TRUE(in.at_null());
    ASSERT_TRUE(in.string(text));
    EXPECT_TRUE(text.null);
    EXPECT_FALSE(in.string(text));
    for (int32_t want : {0, -256, 256, -1}) {
      ASSERT_TRUE(in.integer(number));
      EXPECT_EQ(number, want);
    }
    EXPECT_FALSE(in.integer(number));
    EXPECT_TRUE(in.skip());
    EXPECT_TRUE(in.ok());
    EXPECT_FALSE(in.string(text));
    EXPECT_TRUE(in.truncated());
  }
}

TEST(Hessian, UnitsAreNotBytes) {
  // Two units: a surrogate pair as six bytes, or one character of four.
  for (std::string text : {"\x02\xed\xa0\xbd\xed\xb8\x80", "\x02\xf0\x9f\x98\x80", "\x02\xc3\xa9\xe2\x82\xac"}) {
    Reader in(span_of(text), Grammar::kFinal);
    Text out;
    ASSERT_TRUE(in.string(out));
    EXPECT_EQ(out.text, text.substr(1));
    EXPECT_EQ(in.remaining(), 0u);
  }
  for (std::string text : {"\x01\xf0\x9f\x98\x80", "\x01\x80", "\x01\xbf"}) {
    Reader in(span_of(text), Grammar::kFinal);
    EXPECT_FALSE(in.skip());
    EXPECT_FALSE(in.truncated());
  }
}

TEST(Hessian, OneCharacterAnywhereTellsWhetherATextIsPlain) {
  for (size_t length : {1u, 7u, 8u, 9u, 31u, 32u, 33u, 70u}) {
    for (size_t at = 0; at < length; ++at) {
      for (bool overlong : {false, true}) {
        std::string text(length, 'x');
        text.replace(at, 1, overlong ? "\xc1\xb3" : "\xc3\xa9");
        // Strings of more than 31 units have their length in two bytes.
        std::string bytes = length < 32 ? std::string(1, static_cast<char>(length))
                                        : std::string{'0', static_cast<char>(length)};
        Reader in(span_of(bytes += text), Grammar::kFinal);
        Text out;
        ASSERT_TRUE(in.string(out)) << length << " " << at;
        EXPECT_EQ(in.remaining(), 0u);
        EXPECT_EQ(out.text, text);
        EXPECT_FALSE(out.ascii);
        EXPECT_EQ(out.plain(), !overlong) << length << " " << at;
      }
    }
  }
}

TEST(Hessian, ChunkedStringsHaveNoText) {
  std::string chunked("R\x00\x02" "abS\x00\x01" "c", 9);
  Reader in(span_of(chunked), Grammar::kFinal);
  Text out;
  ASSERT_TRUE(in.string(out));
  EXPECT_FALSE(out.whole);
  EXPECT_EQ(in.remaining(), 0u);
}

TEST(Hessian, WrittenStringsReadBack) {
  for (std::string text : {std::string(), std::string("a"), std::string(31, 'x'), std::string(32, 'x'),
                           std::string(1023, 'y'), std::string(1024, 'y'), std::string(32767, 'z'),
                           std::string("gr\xc3\xbc\xc3\x9f \xe2\x82\xac")}) {
    for (Grammar g : {Grammar::kFinal, Grammar::kDraft}) {
      std::vector<uint8_t> bytes(text.size() + 8);
      ByteWriter out(bytes.data(), bytes.size());
      ASSERT_TRUE(write_string(text, out, g));
      Reader in(std::span<const uint8_t>(bytes.data(), out.size()), g);
      Text back;
      ASSERT_TRUE(in.string(back));
      EXPECT_EQ(back.text, text);
      EXPECT_EQ(in.remaining(), 0u);
    }
  }
  uint8_t small[16];
  ByteWriter out(small, sizeof small);
  ASSERT_TRUE(write_string("\xf0\x9f\x98\x80", out, Grammar::kFinal));
  EXPECT_EQ(std::string(reinterpret_cast<char*>(small), out.size()), "\x02\xed\xa0\xbd\xed\xb8\x80");
  EXPECT_FALSE(write_string("\xff", out, Grammar::kFinal));
  EXPECT_FALSE(write_string("\xc3", out, Grammar::kFinal));
  EXPECT_FALSE(write_string(std::string(32768, 'a'), out, Grammar::kFinal));
}

TEST(Hessian, LiesAreBounded) {
  for (const Vector& v : testing::vectors("hessian2")) {
    if (v.kind() != "malformed") continue;
    Reader in(span_of(v.bytes), grammar_of(v));
    EXPECT_FALSE(in.skip()) << v.name;
  }
  auto refused = [](const std::string& bytes, Grammar g) {
    Reader in(span_of(bytes), g);
    return !in.skip() && !in.truncated();
  };
  EXPECT_TRUE(refused(std::string(101, 'W') + std::string(101, 'Z'), Grammar::kFinal));
  std::string lists = std::string(100, 'W') + std::string(100, 'Z');
  Reader deep(span_of(lists), Grammar::kFinal);
  EXPECT_TRUE(deep.skip()) << "as deep as allowed";
  EXPECT_TRUE(refused(std::string("Q\x90"), Grammar::kFinal)) << "a reference to nothing";
  EXPECT_TRUE(refused(std::string("XI\x7f\xff\xff\xff"), Grammar::kFinal)) << "a list of 2^31 items";
  EXPECT_TRUE(refused(std::string("XI\xff\xff\xff\xff"), Grammar::kFinal)) << "a list of -1 items";
  EXPECT_TRUE(refused(std::string("`"), Grammar::kFinal)) << "an object of no class";
  EXPECT_TRUE(refused(std::string("H\x01" "aZ"), Grammar::kFinal)) << "a key without a value";
  EXPECT_TRUE(refused(std::string("M\x90Z"), Grammar::kFinal)) << "a type never named";
  for (char bad : {'\x40', 'E', 'G', 'P', 'Z'}) EXPECT_TRUE(refused(std::string(1, bad), Grammar::kFinal)) << bad;
  for (char bad : {'\x30', 'Y', 'Z', 'z', '_'}) EXPECT_TRUE(refused(std::string(1, bad), Grammar::kDraft)) << bad;
  std::string classes;  // more than are kept
  for (int i = 0; i < 257; ++i) classes += "C\x01" "a\x90";
  EXPECT_TRUE(refused(classes, Grammar::kFinal));
}

TEST(Hessian, RandomBytesEnd) {
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    for (Grammar g : {Grammar::kFinal, Grammar::kDraft}) {
      Reader in(span_of(bytes), g);
      while (in.remaining() > 0 && in.skip()) {
      }
      EXPECT_LE(in.position(), bytes.size());
    }
  }
}

TEST(Hessian, ObjectsTellTheirFields) {
  std::string final_bytes = "C\x03" "a.B\x92\x01x\x01y`\x91\x05value\x92";
  std::string draft_bytes = "O\x93" "a.B\x92\x01x\x01yo\x90\x91\x05value\x92";
  for (Grammar g : {Grammar::kFinal, Grammar::kDraft}) {
    Reader in(span_of(g == Grammar::kFinal ? final_bytes : draft_bytes), g);
    std::string_view name;
    uint32_t fields = 0;
    std::string names;
    ASSERT_TRUE(in.begin_object(name, fields, [&](uint32_t, std::string_view n) { names += n; }));
    EXPECT_EQ(name, "a.B");
    EXPECT_EQ(names, "xy");
    int32_t number = 0;
    Text text;
    EXPECT_TRUE(in.integer(number) && in.string(text));
    EXPECT_EQ(text.text, "value");
    EXPECT_FALSE(in.begin_object(name, fields, [](uint32_t, std::string_view) {})) << "no object";
    EXPECT_TRUE(in.skip());
    EXPECT_EQ(in.remaining(), 0u);
  }
}

}  // namespace
}  // namespace dragoman::hessian
