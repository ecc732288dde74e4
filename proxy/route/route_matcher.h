// The conditions of routes, compiled, and the search for the first route of a virtual host whose conditions hold.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/config.h"
#include "protocols/head.h"
#include "proxy/base/result.h"
#include "proxy/route/prefix_index.h"
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

 private:
  explicit Pattern(std::unique_ptr<re2::RE2> compiled);
  std::unique_ptr<const re2::RE2> compiled_;
};

/// Letters that every text matched by `expression` starts with; perhaps fewer than could be known.
std::string_view literal_prefix(std::string_view expression);

/// One condition on a header. It holds when any field of that name satisfies it; `invert` negates that as a whole.
struct HeaderCondition {
  enum class Kind : uint8_t { kPresent, kExact, kPrefix, kSuffix, kRegex };

  static Result<HeaderCondition> compile(const config::HeaderMatch& match);
  bool holds(const Head& head) const;

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

/// The routes of one virtual host. Routes are numbered in the order written, and found by their path, else by their
/// service; those that have neither are tried one by one. A route costs time only when its key fits the request and no earlier route
/// was found.
class RouteMatcher {
 public:
  /// `first` is the number of the first route.
  RouteMatcher(std::vector<Conditions> routes, uint32_t first);

  /// The number of the first route whose conditions hold, or kNoRoute. `path` is head.path without query.
  uint32_t find(const Head& head, std::string_view path) const;

 private:
  /// Up to so many routes are tried one by one, which is faster than any search.
  static constexpr size_t kTriedInOrder = 8;
  struct ServiceKey {
    std::string_view service;
    std::string_view method;  // empty = any
    bool operator==(const ServiceKey&) const = default;
  };
  struct ServiceKeyHash {
    size_t operator()(const ServiceKey& key) const;
  };
  using Routes = std::vector<uint32_t>;  // rising

  void index(uint32_t route);

  std::vector<Conditions> conditions_;  // never changed: the indexes below hold views into it
  uint32_t first_;
  std::unordered_map<std::string_view, Routes> exact_paths_;
  PrefixIndex path_prefixes_;
  std::unordered_map<ServiceKey, Routes, ServiceKeyHash> services_;
  PrefixIndex service_prefixes_;
  Routes others_;
};

}  // namespace dragoman
