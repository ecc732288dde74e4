#include "proxy/base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace dragoman {
namespace {

Result<int> half(int n) {
  if (n % 2) return unexpected("odd");
  return n / 2;
}

Result<void> check(bool good) {
  if (!good) return unexpected(std::string("bad"));
  return {};
}

TEST(Result, ValueOrError) {
  EXPECT_TRUE(half(4));
  EXPECT_EQ(*half(4), 2);
  EXPECT_FALSE(half(3).has_value());
  EXPECT_EQ(half(3).error(), "odd");
}

TEST(Result, SameTypeForValueAndErrorStaysApart) {
  Result<std::string> value = std::string("x");
  Result<std::string> error = unexpected("x");
  EXPECT_TRUE(value);
  EXPECT_FALSE(error);
}

TEST(Result, MoveOnlyValue) {
  Result<std::unique_ptr<int>> result = std::make_unique<int>(5);
  std::unique_ptr<int> out = std::move(*result);
  EXPECT_EQ(*out, 5);
}

TEST(Result, VoidValue) {
  EXPECT_TRUE(check(true));
  EXPECT_FALSE(check(false));
  EXPECT_EQ(check(false).error(), "bad");
}

}  // namespace
}  // namespace dragoman
