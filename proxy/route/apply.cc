#include "proxy/route/apply.h"

#include "protocols/http/target.h"
#include "proxy/route/domain_index.h"
#include "proxy/route/route_matcher.h"

namespace dragoman {
namespace {

/// `path` (with its query) with the part that the route matched replaced. A '/' at the end of either the matched prefix
/// or `replacement` stands for exactly one '/' at the seam.
std::string_view replace_matched(const Route& route, std::string_view path, std::string_view replacement, Arena& arena) {
  if (route.path_match == Route::PathMatch::kExact)
    return arena.concat(replacement, path.substr(without_query(path).size()));
  size_t matched = route.path_match_bytes;
  if (matched == 0 || path.size() < matched) return path;
  std::string_view rest = path.substr(matched);
  std::string_view seam;
  if (replacement.ends_with('/')) {
    if (rest.starts_with('/')) rest.remove_prefix(1);
  } else if (path[matched - 1] == '/' && !rest.empty() && rest[0] != '/' && rest[0] != '?') {
    seam = "/";
  }
  return arena.concat(replacement, seam, rest);
}

/// The path was normalised before; at the seam of a rewrite a dot segment or an escape may have come together.
bool settle_rewritten(std::string_view& path, std::string_view replacement) {
  if (path == "*") return true;
  const char* why = nullptr;
  const PathRules rules{.normalize = true, .encoded_slashes = true, .backslashes = true};
  path = settle_target(const_cast<char*>(path.data()), path.size(), rules,
                       &why);  // a copy in the request's arena
  return !path.empty() && path.starts_with(replacement.substr(0, without_query(replacement).rfind('/') + 1));
}

/// "//x" and "/\x" would name a host when they stand alone (RFC 3986 section 4.2; browsers take '\' for '/').
std::string_view without_host(std::string_view path, Arena& arena) {
  size_t slashes = 0;
  while (slashes < path.size() && (path[slashes] == '/' || path[slashes] == '\\')) ++slashes;
  if (slashes == 1 && path[0] == '/') return path;
  return arena.concat("/", path.substr(slashes));
}

bool is_host_field(const Head& head, std::string_view name) { return head.is_http && header_id(name) == HeaderId::kHost; }

}  // namespace

void apply_edits(const config::HeaderEdits& edits, Head& head) {
  for (const std::string& name : edits.remove)
    if (!is_host_field(head, name)) head.remove_header(name);
  for (const auto& [name, value] : edits.set) {
    if (!is_host_field(head, name))
      head.set_header(name, value);
    else if (head.is_request)
      head.authority = head.arena.copy(value);
  }
  for (const auto& [name, value] : edits.add)
    if (!is_host_field(head, name)) head.add_header(name, value);
}

void apply_edits(const config::HeaderEdits& edits, LocalReply& reply, Arena& arena) {
  HeaderList fields(arena);
  for (const Header& h : reply.headers) fields.push(h.name, h.value, h.id);
  for (const std::string& name : edits.remove) fields.remove(name);
  for (const auto& [name, value] : edits.set) {
    if (header_id(name) == HeaderId::kContentType)
      reply.content_type = arena.copy(value);
    else
      fields.set(name, value);
  }
  for (const auto& [name, value] : edits.add) fields.add(name, value);
  reply.headers = {fields.begin(), fields.size()};
}

bool apply_request(const Route& route, Head& head, bool normalize) {
  if (head.is_http) {
    if (!route.prefix_rewrite.empty()) {
      head.path = replace_matched(route, head.path, route.prefix_rewrite, head.arena);
      if (normalize && !settle_rewritten(head.path, route.prefix_rewrite)) return false;
    }
    if (!route.host_rewrite.empty()) head.authority = head.arena.copy(route.host_rewrite);
  }
  apply_edits(route.request_headers, head);
  return true;
}

void apply_response(const Route& route, Head& head) { apply_edits(route.response_headers, head); }

std::string_view make_location(const Route& route, const Head& request, Arena& arena, bool normalize) {
  const config::Redirect& to = *route.redirect;
  std::string_view path = request.path.starts_with('/') ? request.path : std::string_view("/");
  if (!to.path.empty()) {
    bool own_query = to.path.find('?') != std::string::npos;
    path = arena.concat(to.path, own_query ? std::string_view() : path.substr(without_query(path).size()));
  } else if (!to.prefix.empty()) {
    path = replace_matched(route, path, to.prefix, arena);
    if (normalize && !settle_rewritten(path, to.prefix)) return {};
  }
  std::string_view scheme = request.scheme.empty() ? std::string_view("http") : request.scheme;
  std::string_view host = request.authority;
  // A port serves one scheme, so the request's port can't be right for another.
  if (!to.scheme.empty() && scheme != to.scheme) host = host_of(host);
  if (!to.scheme.empty()) scheme = to.scheme;
  if (!to.host.empty()) host = to.host;
  if ((to.scheme.empty() && to.host.empty()) || host.empty()) return without_host(path, arena);
  return arena.concat(arena.concat(scheme, "://", host), path);
}

}  // namespace dragoman
