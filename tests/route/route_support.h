// Short ways to write route tables and heads in tests.
#pragma once

#include <gtest/gtest.h>

#include "tests/route/route_makers.h"

namespace dragoman::test {

/// Compiles or fails the test.
inline std::shared_ptr<const RouteTable> compiled(const config::RouteTable& table) {
  auto result = RouteTable::compile(table);
  EXPECT_TRUE(result) << result.error();
  return result ? *result : nullptr;
}

/// Name of the route that takes the request, "-" for none.
inline std::string matched(const RouteTable& table, const Head& head) {
  const Route* route = table.match(head);
  return route ? route->name : "-";
}

}  // namespace dragoman::test
