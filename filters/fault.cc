#include <new>

#include "filters/builtin.h"

namespace dragoman {
namespace {

/// True for `percent` of all values of `random`.
bool hit(double percent, uint64_t random) {
  return static_cast<double>(random >> 11) * 0x1p-53 * 100.0 < percent;
}

class FaultFilter final : public Filter {
 public:
  explicit FaultFilter(const config::FaultFilter& settings) : settings_(settings) {}

  // The delay comes first, so that a request can be both late and refused.
  FilterVerdict on_request_head(FilterContext& ctx, Head&, bool) override {
    if (settings_.delay && hit(settings_.delay->percent, ctx.random())) {
      ctx_ = &ctx;
      timer_.bind<&FaultFilter::on_delay_over>(ctx.timers(), this);
      timer_.start(static_cast<uint64_t>(settings_.delay->duration_ms));
      return FilterVerdict::kPause;
    }
    return abort(ctx) ? FilterVerdict::kAnswered : FilterVerdict::kContinue;
  }
  void on_stream_end(FilterContext&) override { timer_.stop(); }

 private:
  void on_delay_over() {
    if (!abort(*ctx_)) ctx_->resume();
  }
  bool abort(FilterContext& ctx) {
    if (!settings_.abort || !hit(settings_.abort->percent, ctx.random())) return false;
    LocalReply reply;
    reply.reason = Reason::kFaultInjected;
    reply.http_status = settings_.abort->status;
    reply.text = "fault injected";
    ctx.answer(reply);  // may end the stream: nothing of `this` is used after it
    return true;
  }

  const config::FaultFilter& settings_;
  FilterContext* ctx_ = nullptr;
  Timer timer_;
};

class FaultFactory final : public FilterFactory {
 public:
  explicit FaultFactory(const config::FaultFilter& settings) : settings_(settings) {}
  std::string_view name() const override { return "fault"; }
  Want wants() const override { return 0; }
  // Its destructor never runs; on_stream_end stops the timer, the only thing that would need it.
  Filter* create(Arena& arena) const override {
    return new (arena.allocate(sizeof(FaultFilter))) FaultFilter(settings_);
  }

 private:
  const config::FaultFilter settings_;
};

}  // namespace

std::unique_ptr<FilterFactory> make_fault_filter(const config::FaultFilter& settings) {
  return std::make_unique<FaultFactory>(settings);
}

}  // namespace dragoman
