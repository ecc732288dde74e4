#include "proxy/base/base64.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace dragoman {
namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string encode(std::string_view text) {
  std::string out(base64_size(text.size()), '?');
  base64_encode(bytes(text), out.data());
  return out;
}

/// Decodes pieces of `cuts` characters; "!" for malformed, "..." behind what is incomplete.
std::string decode(std::string_view text, const std::vector<size_t>& cuts = {}) {
  Base64Decoder decoder;
  std::string all;
  for (size_t i = 0; i <= cuts.size(); ++i) {
    std::string_view piece = text.substr(0, i < cuts.size() ? cuts[i] : text.size());
    text.remove_prefix(piece.size());
    std::vector<uint8_t> out(Base64Decoder::bytes_max(piece.size()));
    size_t written = 0;
    if (!decoder.decode(bytes(piece), out.data(), written)) return "!";
    EXPECT_LE(written, out.size());
    all.append(reinterpret_cast<const char*>(out.data()), written);
  }
  return decoder.complete() ? all : all + "...";
}

TEST(Base64, VectorsOfTheRfc) {
  const std::pair<const char*, const char*> rows[] = {{"", ""},
                                                      {"f", "Zg=="},
                                                      {"fo", "Zm8="},
                                                      {"foo", "Zm9v"},
                                                      {"foob", "Zm9vYg=="},
                                                      {"fooba", "Zm9vYmE="},
                                                      {"foobar", "Zm9vYmFy"},
                                                      {"\xfb\xff\xbf", "+/+/"}};
  for (const auto& [plain, text] : rows) {
    EXPECT_EQ(encode(plain), text);
    EXPECT_EQ(decode(text), plain);
  }
}

TEST(Base64, TextsMayFollowOneAnother) {
  EXPECT_EQ(decode("Zg==Zm8=Zm9vZg=="), "ffofoof");
  EXPECT_EQ(decode("Zm9vZg==Zm9v"),
            "foo"
            "ffoo");
}

TEST(Base64, EveryCutGivesTheSame) {
  const std::string text = encode(std::string("\0\x01\xfe\xff gRPC", 9)) + encode("f") + encode("fo") +
                           encode("foo") + encode("x");
  const std::string whole = decode(text);
  ASSERT_EQ(whole, std::string("\0\x01\xfe\xff gRPC", 9) + "ffofoox");
  for (size_t first = 0; first <= text.size(); ++first)
    for (size_t second = 0; first + second <= text.size(); ++second)
      EXPECT_EQ(decode(text, {first, second}), whole);
  EXPECT_EQ(decode(text, std::vector<size_t>(text.size(), 1)), whole);
}

TEST(Base64, EveryByteSurvives) {
  std::string all;
  for (int i = 0; i < 256 * 3; ++i) all += static_cast<char>(i * 7);
  EXPECT_EQ(decode(encode(all)), all);
}

TEST(Base64, WhatIsIncompleteIsKnown) {
  EXPECT_EQ(decode("Z"), "...");
  EXPECT_EQ(decode("Zm9vZg"), "foo...");
  EXPECT_EQ(decode("Zg="), "...");
}

TEST(Base64, WhatIsMalformedIsRefused) {
  for (const char* bad : {"=", "Z===", "Z=g=", "Zg=a", "Zg===", "Zg==b===", "Zm9v\n", "Zm 9", "Zm-_",
                          "Zh==", "Zm9=", "\xff", "Zg==="}) {
    EXPECT_EQ(decode(bad), "!") << bad;
    EXPECT_EQ(decode(bad, std::vector<size_t>(std::string_view(bad).size(), 1)), "!") << bad;
  }
}

}  // namespace
}  // namespace dragoman
