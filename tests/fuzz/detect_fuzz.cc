// First bytes of a connection, asked of every protocol that this program can tell, at every prefix length.
//
// Whatever the bytes: a verdict never changes once it is yes or no, the answer of a list of rules is the same however the bytes
// are cut, and the server name of a TLS hello is printable.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "protocols/detect.h"
#include "protocols/exchange.h"

namespace {

using namespace dragoman;

#define REQUIRE(condition) \
  do {                     \
    if (!(condition)) {    \
      __builtin_trap();    \
    }                      \
  } while (0)

const std::vector<DetectRule>& all_rules() {
  static const std::vector<DetectRule> rules = [] {
    std::vector<DetectRule> made;
    for (const char* name : {"tls", "http1", "http2"}) made.push_back(*DetectRule::built_in(name));
    for (const Protocol& p : protocols())
      if (p.table) made.push_back(DetectRule::of(*p.table));
    return made;
  }();
  return rules;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, std::min<size_t>(size, 700));
  const std::vector<DetectRule>& rules = all_rules();
  std::vector<Verdict> before(rules.size(), Verdict::kMore);
  Detection decided;
  for (size_t n = 0; n <= bytes.size(); ++n) {
    // A copy of its own: reading past the prefix is a fault that a sanitizer sees.
    const std::vector<uint8_t> prefix(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    for (size_t i = 0; i < rules.size(); ++i) {
      const Verdict now = rules[i].ask(prefix);
      REQUIRE(before[i] == Verdict::kMore || before[i] == now);
      before[i] = now;
    }
    const Detection now = detect(rules, prefix);
    if (decided.verdict == Verdict::kYes) REQUIRE(now.verdict == Verdict::kYes && now.index == decided.index);
    if (decided.verdict == Verdict::kNo) REQUIRE(now.verdict == Verdict::kNo);
    decided = now;
    REQUIRE(detect(rules, prefix, true).verdict != Verdict::kMore);
  }
  const HelloName hello = hello_server_name(std::span(data, size));
  REQUIRE(hello.verdict == Verdict::kYes || hello.name.empty());
  for (char c : hello.name) REQUIRE(c > ' ' && c < 0x7f);
  return 0;
}
