// The conditions of routes, compiled.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "protocols/head.h"
#include "proxy/base/result.h"
#include "proxy/route/route_index.h"
#include "proxy/route/route_table.h"

namespace re2 {
class RE2;
}

namespace dragoman {

/// `path` up to the query.
inline std::string_view without_query(std::string_view path) { return path.substr(0, path.find('?')); }

/// An RE2 expression that must match a whole text. Works on bytes: text from a peer need not be UTF-8, and '.' takes any
/// byte, so that no byte sequence slips past a rule.
class Pattern {
 public:
  static Result<Pattern> compile(const std::string& expression);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  bool matches(std::string_view text) const;
  const std::string& expression() const;

 private:
  explicit Pattern(std::unique_ptr<re2::RE2> compiled);
  std::unique_ptr<const re2::RE2> compiled_;
};

/// One condition on a header. It holds when any field of that name satisfies it; `invert` negates that as a whole.
struct HeaderCondition {
  enum class Kind : uint8_t { kPresent, kExact, kPrefix, kSuffix, kRegex };

  static Result<HeaderCondition> compile(const config::HeaderMatch& match);
  bool holds(const Head& head) const;
  /// Whether `header` is one of the fields it looks at.
  static bool is_field(const Header& header, HeaderId id, std::string_view name) {
    return header.id == id && (id != HeaderId::kOther || equals_ignore_case(header.name, name));
  }

  std::string name;
  HeaderId id = HeaderId::kOther;
  Kind kind = Kind::kPresent;
  std::string text;
  std::vector<Pattern> pattern;  // one for kRegex
  bool invert = false;

 private:
  bool accepts(std::string_view value) const;
};

/// All conditions of one route.
struct Conditions {
  static Result<Conditions> compile(const config::Match& match);
  /// `path` is head.path without query.
  bool hold(const Head& head, std::string_view path) const;
  Want want() const;
  /// Of routes on a `group`, and on a `version`: framed protocols name these like headers.
  static std::string_view group_of(const Head& head) {
    return head.is_http ? head.group : head.header("group");
  }
  static std::string_view version_of(const Head& head) {
    return head.is_http ? head.version : head.header("version");
  }

  Route::PathMatch path_match = Route::PathMatch::kAny;
  std::string path;              // text or expression
  std::vector<Pattern> pattern;  // one for kRegex
  std::vector<std::string> methods;
  std::string service;           // empty = no condition, unless service_prefix
  bool service_prefix = false;
  std::string group;
  std::string version;
  std::string sni;               // lower case, may begin with "*."
  std::vector<HeaderCondition> headers;
};

/// The routes of one virtual host, numbered in the order written.
class RouteMatcher {
 public:
  /// `first` is the number of the first route.
  RouteMatcher(std::vector<Conditions> routes, uint32_t first)
      : conditions_(std::move(routes)), first_(first), index_(conditions_) {}

  /// The number of the first route whose conditions hold, or kNoRoute. `path` is head.path without query.
  uint32_t find(const Head& head, std::string_view path) const {
    const uint32_t route = index_.find(head, path);
    return route == kNoRoute ? kNoRoute : first_ + route;
  }

 private:
  std::vector<Conditions>
      conditions_;  // never changed: the index holds views into it, and a move leaves them where they are
  uint32_t first_;
  RouteIndex index_;
};

}  // namespace dragoman
