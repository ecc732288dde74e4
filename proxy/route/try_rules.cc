#include "proxy/route/try_rules.h"

namespace dragoman {
namespace {

template <class T>
const std::optional<T>& first_of(const std::optional<T>& a, const std::optional<T>& b,
                                 const std::optional<T>& c) {
  return a ? a : b ? b : c;
}

}  // namespace

TryRules try_rules(const Route& route, const config::Cluster& cluster, const config::Listener& listener,
                   int64_t protocol_timeout_ms) {
  TryRules rules;
  const auto& written = first_of(route.timeout_ms, cluster.timeout_ms, listener.timeout_ms);
  rules.timeout_ms = written.value_or(protocol_timeout_ms);
  rules.grpc_timeout_ms = written.value_or(0);  // a stream may say nothing for long: idle_timeout counts
  rules.timeout_max_ms = first_of(route.timeout_max_ms, cluster.timeout_max_ms, listener.timeout_max_ms)
                             .value_or(written.value_or(0));
  if (rules.timeout_ms > 0) rules.fair_ms = rules.timeout_ms;
  if (const auto& retry = first_of(route.retry, cluster.retry, listener.retry)) rules.retry = *retry;
  return rules;
}

}  // namespace dragoman
