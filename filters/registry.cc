#include "filters/registry.h"

#include "config/protocols.h"
#include "filters/builtin.h"

namespace dragoman {
namespace {

using Made = Result<std::unique_ptr<FilterFactory>>;

/// THE table: one line for each alternative of config::Filter. A missing line does not compile.
struct MakeFilter {
  Made operator()(const config::HeadersFilter& settings) const { return make_headers_filter(settings); }
  Made operator()(const config::FaultFilter& settings) const { return make_fault_filter(settings); }
  Made operator()(const config::GrpcWebFilter&) const { return make_grpc_web_filter(); }
};

bool needs_forwarded(const config::Listener& listener) {
  const config::Protocol* protocol = config::find_protocol(listener.protocol);
  if (!protocol || !protocol->http) return false;
  const config::ListenerHttp& http = listener.http;
  return http.x_forwarded != config::XForwarded::kOff || http.request_id ||
         http.server_header == config::ServerHeader::kRemove;
}

}  // namespace

Result<std::vector<std::unique_ptr<FilterFactory>>> make_filters(const config::Listener& listener) {
  std::vector<std::unique_ptr<FilterFactory>> filters;
  if (needs_forwarded(listener)) filters.push_back(make_forwarded_filter(listener.http));
  for (const config::Filter& settings : listener.filters) {
    Made made = std::visit(MakeFilter{}, settings);
    if (!made) return unexpected("filters[" + std::to_string(&settings - listener.filters.data()) + "]: " + made.error());
    filters.push_back(std::move(*made));
  }
  return filters;
}

}  // namespace dragoman
