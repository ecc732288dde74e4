#include "proxy/route/route_matcher.h"

#include <re2/re2.h>

#include <algorithm>

#include "proxy/base/server_name.h"

namespace dragoman {
namespace {

/// Memory one expression may use, its compiled form and its caches together.
constexpr int64_t kPatternBytesMax = 1 << 20;

bool is_literal(char c) {
  return c > ' ' && c < 0x7f && std::string_view(R"(\.+*?()|[]{}^$)").find(c) == std::string_view::npos;
}

}  // namespace

// --- Pattern ----------------------------------------------------------------------------------------------------------

Pattern::Pattern(std::unique_ptr<re2::RE2> compiled) : compiled_(std::move(compiled)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Result<Pattern> Pattern::compile(const std::string& expression) {
  RE2::Options options;
  options.set_encoding(RE2::Options::EncodingLatin1);
  options.set_dot_nl(true);
  options.set_never_capture(true);
  options.set_log_errors(false);
  options.set_max_mem(kPatternBytesMax);
  auto compiled = std::make_unique<RE2>(expression, options);
  if (!compiled->ok()) return unexpected("regex \"" + expression + "\": " + compiled->error());
  return Pattern(std::move(compiled));
}

bool Pattern::matches(std::string_view text) const {
  return compiled_->Match({text.data(), text.size()}, 0, text.size(), RE2::ANCHOR_BOTH, nullptr, 0);
}

std::string_view literal_prefix(std::string_view expression) {
  if (expression.find('|') != std::string_view::npos) return {};
  size_t start = expression.starts_with('^') ? 1 : 0;
  size_t end = start;
  while (end < expression.size() && is_literal(expression[end])) ++end;
  // The last letter may be optional.
  if (end > start && end < expression.size() && std::string_view("*?{").find(expression[end]) != std::string_view::npos) --end;
  return expression.substr(start, end - start);
}

// --- HeaderCondition --------------------------------------------------------------------------------------------------

Result<HeaderCondition> HeaderCondition::compile(const config::HeaderMatch& match) {
  HeaderCondition c;
  c.name = match.name;
  c.id = header_id(match.name);
  c.invert = match.invert;
  if (match.exact) {
    c.kind = Kind::kExact;
    c.text = *match.exact;
  } else if (match.prefix) {
    c.kind = Kind::kPrefix;
    c.text = *match.prefix;
  } else if (match.suffix) {
    c.kind = Kind::kSuffix;
    c.text = *match.suffix;
  } else if (match.regex) {
    c.kind = Kind::kRegex;
    auto pattern = Pattern::compile(*match.regex);
    if (!pattern) return unexpected("header " + match.name + ": " + pattern.error());
    c.pattern.push_back(std::move(*pattern));
  } else if (match.present) {
    c.invert = match.invert == *match.present;  // present: false is "present", inverted
  } else {
    return unexpected("header " + match.name + ": no condition");
  }
  return c;
}

bool HeaderCondition::accepts(std::string_view value) const {
  switch (kind) {
    case Kind::kPresent:
      return true;
    case Kind::kExact:
      return value == text;
    case Kind::kPrefix:
      return value.starts_with(text);
    case Kind::kSuffix:
      return value.ends_with(text);
    case Kind::kRegex:
      return pattern[0].matches(value);
  }
  return false;
}

bool HeaderCondition::holds(const Head& head) const {
  if (id == HeaderId::kHost && head.is_http) return accepts(head.authority) != invert;  // never in `headers`
  for (const Header& h : head.headers) {
    if (h.id != id || (id == HeaderId::kOther && !equals_ignore_case(h.name, name))) continue;
    if (accepts(h.value)) return !invert;
  }
  return invert;
}

// --- Conditions -------------------------------------------------------------------------------------------------------

Result<Conditions> Conditions::compile(const config::Match& match) {
  using PathMatch = Route::PathMatch;
  Conditions c;
  if (!match.path.empty() + !match.prefix.empty() + !match.regex.empty() > 1)
    return unexpected("only one of path, prefix and regex can be given");
  if (!match.path.empty()) {
    c.path_match = PathMatch::kExact;
    c.path = match.path;
  } else if (!match.prefix.empty()) {
    c.path_match = PathMatch::kPrefix;
    c.path = match.prefix;
  } else if (!match.regex.empty()) {
    c.path_match = PathMatch::kRegex;
    c.path = match.regex;
    auto pattern = Pattern::compile(match.regex);
    if (!pattern) return unexpected(pattern.error());
    c.pattern.push_back(std::move(*pattern));
  }
  c.methods = match.method;
  c.service = match.service;
  c.service_prefix = match.service.ends_with('*');
  if (c.service_prefix) c.service.pop_back();
  c.group = match.group;
  c.version = match.version;
  c.sni = match.sni;
  for (char& letter : c.sni)
    if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
  for (const config::HeaderMatch& h : match.headers) {
    auto condition = HeaderCondition::compile(h);
    if (!condition) return unexpected(condition.error());
    c.headers.push_back(std::move(*condition));
  }
  return c;
}

bool Conditions::hold(const Head& head, std::string_view request_path) const {
  auto is_method = [&](const std::string& m) { return m == head.method || (!head.rpc_method.empty() && m == head.rpc_method); };
  if (!methods.empty() && std::none_of(methods.begin(), methods.end(), is_method)) return false;
  switch (path_match) {
    case Route::PathMatch::kAny:
      break;
    case Route::PathMatch::kExact:
      if (request_path != path) return false;
      break;
    case Route::PathMatch::kPrefix:
      if (!request_path.starts_with(path)) return false;
      break;
    case Route::PathMatch::kRegex:
      if (request_path.empty() || !pattern[0].matches(request_path)) return false;
      break;
  }
  if (service_prefix) {
    if (head.service.empty() || !head.service.starts_with(service)) return false;
  } else if (!service.empty() && head.service != service) {
    return false;
  }
  // Framed protocols name these like headers.
  if (!group.empty() && (head.is_http ? head.group : head.header("group")) != group) return false;
  if (!version.empty() && (head.is_http ? head.version : head.header("version")) != version) return false;
  if (!sni.empty() && !server_name_covers(sni, head.sni)) return false;
  return std::all_of(headers.begin(), headers.end(), [&](const HeaderCondition& h) { return h.holds(head); });
}

Want Conditions::want() const {
  Want want = 0;
  if (!service.empty() || service_prefix) want |= DRAGOMAN_WANT_SERVICE;
  if (!methods.empty()) want |= DRAGOMAN_WANT_METHOD;
  if (!headers.empty() || !group.empty() || !version.empty()) want |= DRAGOMAN_WANT_HEADERS;
  return want;
}

// --- RouteMatcher -----------------------------------------------------------------------------------------------------

size_t RouteMatcher::ServiceKeyHash::operator()(const ServiceKey& key) const {
  std::hash<std::string_view> hash;
  return hash(key.service) ^ (hash(key.method) * 0x9e3779b97f4a7c15);
}

RouteMatcher::RouteMatcher(std::vector<Conditions> routes, uint32_t first)
    : conditions_(std::move(routes)), first_(first) {
  for (uint32_t i = 0; i < conditions_.size(); ++i) {
    if (conditions_.size() <= kTriedInOrder)
      others_.push_back(i);
    else
      index(i);
  }
  path_prefixes_.build();
  service_prefixes_.build();
}

void RouteMatcher::index(uint32_t route) {
  using PathMatch = Route::PathMatch;
  const Conditions& c = conditions_[route];
  std::string_view prefix;
  if (c.path_match == PathMatch::kPrefix) prefix = c.path;
  if (c.path_match == PathMatch::kRegex) prefix = literal_prefix(c.path);
  if (c.path_match == PathMatch::kExact) {
    exact_paths_[c.path].push_back(route);
  } else if (!prefix.empty()) {
    path_prefixes_.add(prefix, route);
  } else if (c.service_prefix && !c.service.empty()) {
    service_prefixes_.add(c.service, route);
  } else if (c.service.empty()) {
    others_.push_back(route);
  } else if (c.methods.empty()) {
    services_[{c.service, {}}].push_back(route);
  } else {
    for (const std::string& method : c.methods) services_[{c.service, method}].push_back(route);
  }
}

uint32_t RouteMatcher::find(const Head& head, std::string_view path) const {
  uint32_t best = kNoRoute;
  auto holds = [&](uint32_t route) { return conditions_[route].hold(head, path); };
  auto try_all = [&](const Routes& routes) {
    for (uint32_t route : routes) {
      if (route >= best) return;
      if (holds(route)) best = route;
    }
  };
  if (!path.empty()) {
    if (!exact_paths_.empty())
      if (auto it = exact_paths_.find(path); it != exact_paths_.end()) try_all(it->second);
    path_prefixes_.search(path, best, holds);
  }
  if (!head.service.empty()) {
    if (!services_.empty()) {
      if (auto it = services_.find({head.service, {}}); it != services_.end()) try_all(it->second);
      if (auto it = services_.find({head.service, head.method}); it != services_.end() && !head.method.empty())
        try_all(it->second);
      if (!head.rpc_method.empty())
        if (auto it = services_.find({head.service, head.rpc_method}); it != services_.end()) try_all(it->second);
    }
    service_prefixes_.search(head.service, best, holds);
  }
  try_all(others_);
  return best == kNoRoute ? kNoRoute : first_ + best;
}

}  // namespace dragoman
