#include "protocols/checksum.h"

#include <gtest/gtest.h>

#include <string>

namespace dragoman {
namespace {

uint32_t crc(const std::string& s) { return crc32_of(reinterpret_cast<const uint8_t*>(s.data()), s.size()); }

TEST(Checksum, KnownValuesAndPieces) {
  EXPECT_EQ(crc("123456789"), 0xcbf43926u);
  EXPECT_EQ(crc(""), 0u);
  std::string s(5000, 'x');
  for (size_t cut : {size_t{0}, size_t{1}, size_t{4096}, s.size()})
    EXPECT_EQ(
        crc32_of(reinterpret_cast<const uint8_t*>(s.data()) + cut, s.size() - cut, crc(s.substr(0, cut))),
        crc(s));
}

TEST(Checksum, ChangeOfAPrefix) {
  struct Row {
    std::string before, after;
  } rows[] = {{"abcd", "abce"},
              {"abcd", "abcd"},
              {"", "x"},
              {"x", ""},
              {"short", "a much longer head"},
              {std::string(300, 'q'), "z"}};
  for (const Row& row : rows)
    for (size_t rest : {size_t{0}, size_t{1}, size_t{7}, size_t{1600}, size_t{70000}}) {
      std::string body(rest, 'b');
      EXPECT_EQ(crc(row.before + body) ^ crc32_change(crc(row.before), crc(row.after), rest),
                crc(row.after + body))
          << row.before << rest;
    }
}

}  // namespace
}  // namespace dragoman
