// What a matched route changes on its way through: rewrites, header edits, redirects, the choice among clusters.
#pragma once

#include <string_view>

#include "protocols/exchange.h"
#include "proxy/route/route_table.h"

namespace dragoman {

/// Path and host rewrites (HTTP), then request_headers. Call once per request, not once per try. False: what the rewrite of the
/// path puts together leaves the place it was to be put in ("/files../x" behind "/data/"); only looked at when `normalize`.
bool apply_request(const Route& route, Head& head, bool normalize = true);
/// response_headers.
void apply_response(const Route& route, Head& head);

/// Value of the Location field (RFC 9110 section 10.2.2) for a route with action kRedirect, in memory of `arena`: relative when
/// the redirect names neither host nor scheme. The request's query is kept unless the redirect's path has its own. Empty when
/// apply_request() would say false.
std::string_view make_location(const Route& route, const Head& request, Arena& arena, bool normalize = true);

/// Index into route.clusters, by weight; `random` is uniform. Only for action kCluster.
inline size_t pick_cluster(const Route& route, uint64_t random) {
  if (route.clusters.size() < 2) return 0;
  uint64_t at = random % route.weight_total;
  size_t i = 0;
  while (at >= route.clusters[i].weight) at -= route.clusters[i++].weight;
  return i;
}

/// Remove, set, add, in this order; for heads of every protocol. On HTTP requests setting `host` sets the authority;
/// other edits of `host` are ignored, because a request has exactly one.
void apply_edits(const config::HeaderEdits& edits, Head& head);
/// The same for an answer made here; its list of fields is made anew in `arena`.
void apply_edits(const config::HeaderEdits& edits, LocalReply& reply, Arena& arena);

}  // namespace dragoman
