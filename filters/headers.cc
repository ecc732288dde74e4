#include "filters/builtin.h"
#include "proxy/route/apply.h"

namespace dragoman {
namespace {

class HeadersFilter final : public Filter {
 public:
  explicit HeadersFilter(const config::HeadersFilter& settings) : settings_(settings) {}

  FilterVerdict on_request_head(FilterContext&, Head& head, bool) override {
    apply_edits(settings_.request, head);
    return FilterVerdict::kContinue;
  }
  void on_response_head(FilterContext&, Head& head, bool) override { apply_edits(settings_.response, head); }
  void on_local_reply(FilterContext& ctx, LocalReply& reply) override {
    if (!settings_.response.empty()) apply_edits(settings_.response, reply, ctx.request().arena);
  }

 private:
  const config::HeadersFilter settings_;
};

class HeadersFactory final : public FilterFactory {
 public:
  explicit HeadersFactory(const config::HeadersFilter& settings)
      : filter_(settings), wants_(settings.request.empty() ? 0 : DRAGOMAN_WANT_HEADERS) {}
  std::string_view name() const override { return "headers"; }
  Want wants() const override { return wants_; }  // codecs can edit what they had to read
  Filter* create(Arena&) const override { return &filter_; }

 private:
  mutable HeadersFilter filter_;  // has no state
  const Want wants_;
};

}  // namespace

std::unique_ptr<FilterFactory> make_headers_filter(const config::HeadersFilter& settings) {
  return std::make_unique<HeadersFactory>(settings);
}

}  // namespace dragoman
