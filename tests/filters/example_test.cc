#include <fstream>
#include <sstream>

#include "tests/filters/example_filter.h"
#include "tests/filters/filter_support.h"
#include "tests/support/source_dir.h"

namespace dragoman::test {
namespace {

std::string read(const std::string& file) {
  std::ifstream in(source_dir() + "/" + file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  size_t start = text.find(from);
  if (start == std::string::npos) return "no " + from;
  start += from.size();
  size_t end = text.find(to, start);
  return end == std::string::npos ? "no " + to : text.substr(start, end - start);
}

TEST(ExampleFilter, Works) {
  auto factory = make_deny_agent_filter("bad/1");
  EXPECT_EQ(factory->wants(), static_cast<Want>(DRAGOMAN_WANT_HEADERS));
  for (bool denied : {false, true}) {
    auto head = http_head({{"User-Agent", denied ? "bad/1" : "good/1"}});
    FakeContext ctx(*head);
    FilterVerdict verdict = factory->create(head->arena)->on_request_head(ctx, *head, true);
    EXPECT_EQ(verdict, denied ? FilterVerdict::kAnswered : FilterVerdict::kContinue);
    EXPECT_EQ(ctx.answered, denied ? std::optional(Reason::kDenied) : std::nullopt);
  }
}

TEST(ExampleFilter, IsTheOneInTheReadme) {
  std::string shown = between(read("filters/README.md"), "```cpp\n", "```");
  EXPECT_EQ(shown, between(read("tests/filters/example_filter.cc"), "// [example]\n", "// [/example]"));
}

}  // namespace
}  // namespace dragoman::test
