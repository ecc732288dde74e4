#include "proxy/route/route_matcher.h"

#include <re2/re2.h>

#include <algorithm>

#include "proxy/base/server_name.h"
#include "proxy/route/pattern_options.h"

namespace dragoman {
namespace {

/// Memory one expression may use, its compiled form and its caches together.
constexpr int64_t kPatternBytesMax = 1 << 20;

}  // namespace

// --- Pattern ----------------------------------------------------------------------------------------------------------

Pattern::Pattern(std::unique_ptr<re2::RE2> compiled) : compiled_(std::move(compiled)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Result<Pattern> Pattern::compile(const std::string& expression) {
  auto compiled = std::make_unique<RE2>(expression, pattern_options(kPatternBytesMax));
  if (!compiled->ok()) return unexpected("regex \"" + expression + "\": " + compiled->error());
  return Pattern(std::move(compiled));
}

bool Pattern::matches(std::string_view text) const {
  return compiled_->Match({text.data(), text.size()}, 0, text.size(), RE2::ANCHOR_BOTH, nullptr, 0);
}

const std::string& Pattern::expression() const { return compiled_->pattern(); }

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
    if (is_field(h, id, name) && accepts(h.value)) return !invert;
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
  if (!group.empty() && group_of(head) != group) return false;
  if (!version.empty() && version_of(head) != version) return false;
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

}  // namespace dragoman
