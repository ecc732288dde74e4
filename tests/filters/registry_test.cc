#include "tests/filters/filter_support.h"

namespace dragoman::test {
namespace {

std::string names(const config::Listener& listener) {
  std::string all;
  for (const auto& factory : chain(listener)) all += std::string(factory->name()) + ";";
  return all;
}

TEST(Registry, ForwardedComesFirstOnHttpListenersOnly) {
  config::Listener l;
  l.filters = {config::FaultFilter{}, config::HeadersFilter{}, config::FaultFilter{}};
  for (const char* protocol : {"bolt", "tcp", "unknown"}) {
    l.protocol = protocol;
    EXPECT_EQ(names(l), "fault;headers;fault;") << protocol;
  }
  l.protocol = "http1";
  EXPECT_EQ(names(l), "forwarded;fault;headers;fault;");
}

TEST(Registry, ForwardedOnlyWhenItHasSomethingToDo) {
  config::Listener l;
  l.protocol = "http1";
  l.http.x_forwarded = config::XForwarded::kOff;
  l.http.request_id = false;
  EXPECT_EQ(names(l), "");
  for (int option = 0; option < 3; ++option) {
    config::Listener one = l;
    if (option == 0) one.http.x_forwarded = config::XForwarded::kSet;
    if (option == 1) one.http.request_id = true;
    if (option == 2) one.http.server_header = config::ServerHeader::kRemove;
    EXPECT_EQ(names(one), "forwarded;") << option;
  }
}

}  // namespace
}  // namespace dragoman::test
