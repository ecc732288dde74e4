// The search for the first route whose conditions hold, in a time that depends little on the number of routes.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "protocols/head.h"
#include "proxy/route/ignore_case.h"
#include "proxy/route/part_index.h"
#include "proxy/route/prefix_index.h"

namespace dragoman {

struct Conditions;

/// A tree. Each route of a group stands under that one of its conditions that the fewest others of the group share: a text
/// that some attribute of the request has to be, begin with, or contain. Many routes under one text are a group again, by
/// their other conditions. What the tree finds is a candidate only, and has all its conditions looked at; so it can be wrong
/// in one direction only, and no request pays for routes that its texts exclude.
class RouteIndex {
 public:
  /// The elements of `conditions` must not change or move while this lives.
  explicit RouteIndex(const std::vector<Conditions>& conditions);
  RouteIndex(RouteIndex&&) noexcept;
  RouteIndex& operator=(RouteIndex&&) noexcept;
  ~RouteIndex();

  /// The position of the first whose conditions hold, or kNoRoute. `path` is head.path without query.
  uint32_t find(const Head& head, std::string_view path) const;

 private:
  /// Up to so many routes are tried one by one, which is faster than any search.
  static constexpr size_t kTriedInOrder = 8;
  /// Groups within groups.
  static constexpr int kDepthMax = 6;
  /// So many routes that only an expression tells apart are a set.
  static constexpr size_t kSetMin = 16;
  /// A state of a set's automaton grows with its members, and a text may need a new state for each of its bytes: larger
  /// sets would cost a hostile text milliseconds.
  static constexpr size_t kSetMax = 256;
  /// Its compiled form and its cache.
  static constexpr int64_t kSetBytesMax = 4 << 20;
  /// Header names that are looked for one after the other; if there are more, each field of a request is looked up.
  static constexpr size_t kNamesInOrder = 4;
  static constexpr uint32_t kNone = kNoRoute;

  enum class Source : uint8_t { kPath, kService, kMethod, kGroup, kVersion, kServerName, kHeader };
  enum class Fit : uint8_t { kIs, kStarts, kEnds, kContains, kAny };
  struct Attribute {
    Source source;
    HeaderId id = HeaderId::kOther;
    std::string_view name;  // kHeader
  };
  struct Maker;
  struct Search;
  /// Routes, rising, or a group of them.
  struct Bucket {
    uint32_t lowest;
    uint32_t first = 0;  // routes_[first, last)
    uint32_t last = 0;
    uint32_t group = kNone;
  };
  struct Texts {
    Attribute attribute;
    std::unordered_map<std::string_view, uint32_t> is;  // to buckets, as the others
    PrefixIndex starts;
    PartIndex ends;
    PartIndex contains;
    uint32_t any = kNone;
  };
  struct Set;
  struct Group {
    std::vector<Texts> attributes;
    std::vector<Texts> headers;
    std::unordered_map<std::string_view, uint32_t, IgnoreCaseHash, IgnoreCaseEqual>
        names;  // of headers, when many
    std::vector<Set> sets;
    uint32_t rest = kNone;  // the bucket of those that are tried in order
  };

  const Conditions* conditions_;
  std::vector<uint32_t> routes_;
  std::vector<Bucket> buckets_;
  std::vector<Group> groups_;
  std::deque<std::string> texts_;  // what maps have views of
  Bucket root_;
};

}  // namespace dragoman
