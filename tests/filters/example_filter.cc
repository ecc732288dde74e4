// The worked example of filters/README.md; example_test.cc checks that both are the same text.
#include "tests/filters/example_filter.h"

// [example]
namespace dragoman {
namespace {

/// Refuses requests that the configured user agent sends.
class DenyAgentFilter final : public Filter {
 public:
  explicit DenyAgentFilter(const std::string& agent) : agent_(agent) {}

  FilterVerdict on_request_head(FilterContext& ctx, Head& head, bool end) override {
    if (head.header("user-agent") != agent_) return FilterVerdict::kContinue;
    LocalReply reply;
    reply.reason = Reason::kDenied;  // picks the status: 403, or the RPC protocol's own
    ctx.answer(reply);
    return FilterVerdict::kAnswered;
  }

 private:
  const std::string& agent_;
};

class DenyAgentFactory final : public FilterFactory {
 public:
  explicit DenyAgentFactory(std::string agent) : agent_(std::move(agent)), filter_(agent_) {}
  std::string_view name() const override { return "deny_agent"; }
  Want wants() const override { return DRAGOMAN_WANT_HEADERS; }  // it reads a header
  Filter* create(Arena&) const override { return &filter_; }     // no state, so one for all

 private:
  const std::string agent_;
  mutable DenyAgentFilter filter_;
};

}  // namespace

std::unique_ptr<FilterFactory> make_deny_agent_filter(std::string agent) {
  return std::make_unique<DenyAgentFactory>(std::move(agent));
}

}  // namespace dragoman
// [/example]
