#include "proxy/route/route_index.h"

#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>
#include <map>
#include <span>

#include "proxy/base/thread_start.h"
#include "proxy/route/literals.h"
#include "proxy/route/pattern_options.h"
#include "proxy/route/route_matcher.h"

namespace dragoman {
namespace {

std::vector<int>& thread_hits() {
  static thread_local std::vector<int> hits;
  return hits;
}
const AtThreadStart at_thread_start{[] { thread_hits(); }};

}  // namespace

struct RouteIndex::Set {
  Attribute attribute;
  std::unique_ptr<const RE2::Set> expressions;
  std::vector<uint32_t> routes;  // rising, by the expression's number
};

// --- searching --------------------------------------------------------------------------------------------------------

struct RouteIndex::Search {
  const RouteIndex& index;
  const Head& head;
  const std::string_view path;
  uint32_t best = kNone;

  void bucket(const Bucket& b) {
    if (b.lowest >= best) return;
    if (b.group != kNone) return group(index.groups_[b.group]);
    for (uint32_t i = b.first; i < b.last && index.routes_[i] < best; ++i) try_route(index.routes_[i]);
  }
  void bucket(uint32_t at) { bucket(index.buckets_[at]); }
  void try_route(uint32_t route) {
    if (route < best && index.conditions_[route].hold(head, path)) best = route;
  }

  void group(const Group& g) {
    for (const Texts& texts : g.attributes)
      each_text(texts.attribute, [&](std::string_view text) { look_up(texts, text); });
    if (g.names.empty()) {
      for (const Texts& texts : g.headers)
        each_text(texts.attribute, [&](std::string_view text) { look_up(texts, text); });
    } else {
      for (const Header& h : head.headers)
        if (auto it = g.names.find(h.name); it != g.names.end()) look_up(g.headers[it->second], h.value);
      if (head.is_http)  // never a field
        if (auto it = g.names.find("host"); it != g.names.end())
          look_up(g.headers[it->second], head.authority);
    }
    for (const Set& set : g.sets)
      if (set.routes.front() < best)
        each_text(set.attribute, [&](std::string_view text) { try_set(set, text); });
    if (g.rest != kNone) bucket(g.rest);
  }

  /// Every text of the request that a condition on `attribute` is held against.
  template <class Visit>
  void each_text(const Attribute& attribute, const Visit& visit) {
    switch (attribute.source) {
      case Source::kPath: return visit(path);
      case Source::kService: return visit(head.service);
      case Source::kMethod:
        visit(head.method);
        if (head.rpc_method != head.method) visit(head.rpc_method);
        return;
      case Source::kGroup: return visit(Conditions::group_of(head));
      case Source::kVersion: return visit(Conditions::version_of(head));
      case Source::kServerName: return visit(head.sni);
      case Source::kHeader:
        if (attribute.id == HeaderId::kHost && head.is_http) return visit(head.authority);
        for (const Header& h : head.headers)
          if (HeaderCondition::is_field(h, attribute.id, attribute.name)) visit(h.value);
        return;
    }
  }

  void look_up(const Texts& texts, std::string_view text) {
    const auto visit = [this](uint32_t at) { bucket(at); };
    if (!texts.is.empty())
      if (auto it = texts.is.find(text); it != texts.is.end()) bucket(it->second);
    if (!texts.starts.empty()) texts.starts.search(text, best, visit);
    if (!texts.ends.empty()) texts.ends.search_end(text, best, visit);
    if (!texts.contains.empty()) texts.contains.search(text, best, visit);
    if (texts.any != kNone) bucket(texts.any);
  }

  void try_set(const Set& set, std::string_view text) {
    const re2::StringPiece piece(text.data(), text.size());
    RE2::Set::ErrorInfo error;
    // Without the list of hits it allocates nothing, and most texts have none.
    if (!set.expressions->Match(piece, nullptr, &error)) {
      if (error.kind == RE2::Set::kNoError) return;
    } else {
      std::vector<int>& hits = thread_hits();
      if (set.expressions->Match(piece, &hits, &error)) {
        for (int hit : hits) try_route(set.routes[static_cast<size_t>(hit)]);
        return;
      }
    }
    for (uint32_t route : set.routes) try_route(route);  // not enough memory for this text
  }
};

uint32_t RouteIndex::find(const Head& head, std::string_view path) const {
  Search search{*this, head, path};
  search.bucket(root_);
  return search.best;
}

// --- making -----------------------------------------------------------------------------------------------------------

/// Puts the routes of a table into a tree.
struct RouteIndex::Maker {
  /// A text that a request may have to have.
  struct Term {
    uint32_t attribute;
    Fit fit;
    std::string_view text;
  };
  /// A route on its way down the tree.
  struct Entry {
    uint32_t route;
    uint64_t used = 0;  // bits of the needs that led here
  };
  using Entries = std::vector<Entry>;
  /// Terms, one of which a request must have for a route to match.
  using Need = std::vector<uint32_t>;

  RouteIndex& index;
  const std::vector<Conditions>& conditions;
  std::vector<Attribute> attributes{};
  std::vector<Term> terms{};
  std::vector<uint32_t> shared{};          // by term: how many routes of a group have it
  std::vector<std::vector<Need>> needs{};  // by route
  std::unordered_map<std::string, uint32_t> known{};

  uint32_t attribute_of(const Attribute& attribute) {
    std::string key(1, static_cast<char>(attribute.source));
    for (char c : attribute.name) key += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    const auto [it, fresh] = known.emplace(std::move(key), static_cast<uint32_t>(attributes.size()));
    if (fresh) attributes.push_back(attribute);
    return it->second;
  }
  uint32_t term_of(uint32_t attribute, Fit fit, std::string_view text) {
    std::string key = std::to_string(attribute) + "/" + std::to_string(static_cast<int>(fit)) + "/";
    const size_t start = key.size();
    key.append(text);
    const auto [it, fresh] = known.emplace(std::move(key), static_cast<uint32_t>(terms.size()));
    if (fresh) terms.push_back({attribute, fit, std::string_view(it->first).substr(start)});
    return it->second;
  }

  void add_needs(const Conditions& c) {
    std::vector<Need>& of = needs.emplace_back();
    const auto add = [&](const Attribute& attribute, Fit fit, std::string_view text) {
      if (of.size() == 64) return;  // bits of Entry::used
      if (text.empty() && fit != Fit::kIs) fit = Fit::kAny;
      if (fit == Fit::kEnds && text.size() > PartIndex::kLettersMax)
        text.remove_prefix(text.size() - PartIndex::kLettersMax);
      if (fit == Fit::kContains) text = text.substr(0, PartIndex::kLettersMax);
      of.push_back({term_of(attribute_of(attribute), fit, text)});
    };
    const auto add_pattern = [&](const Attribute& attribute, const Pattern& pattern) {
      const Literals literals = literals_of(pattern.expression());
      if (!literals.prefix.empty()) add(attribute, Fit::kStarts, literals.prefix);
      if (!literals.suffix.empty()) add(attribute, Fit::kEnds, literals.suffix);
      for (const std::string& part : literals.parts)
        if (part != literals.prefix && part != literals.suffix) add(attribute, Fit::kContains, part);
    };
    using PathMatch = Route::PathMatch;
    const Attribute path{.source = Source::kPath};
    if (c.path_match == PathMatch::kExact) add(path, Fit::kIs, c.path);
    if (c.path_match == PathMatch::kPrefix) add(path, Fit::kStarts, c.path);
    if (c.path_match == PathMatch::kRegex) add_pattern(path, c.pattern[0]);
    if (c.service_prefix || !c.service.empty())
      add({.source = Source::kService}, c.service_prefix ? Fit::kStarts : Fit::kIs, c.service);
    if (!c.methods.empty()) {
      Need any;
      const uint32_t method = attribute_of({.source = Source::kMethod});
      for (const std::string& name : c.methods) any.push_back(term_of(method, Fit::kIs, name));
      std::sort(any.begin(), any.end());
      any.erase(std::unique(any.begin(), any.end()), any.end());
      of.push_back(std::move(any));
    }
    if (!c.group.empty()) add({.source = Source::kGroup}, Fit::kIs, c.group);
    if (!c.version.empty()) add({.source = Source::kVersion}, Fit::kIs, c.version);
    if (c.sni.starts_with("*."))
      add({.source = Source::kServerName}, Fit::kEnds, std::string_view(c.sni).substr(1));
    else if (!c.sni.empty())
      add({.source = Source::kServerName}, Fit::kIs, c.sni);
    for (const HeaderCondition& h : c.headers) {
      if (h.invert) continue;  // holds without the field, too
      const Attribute header{.source = Source::kHeader, .id = h.id, .name = h.name};
      using Kind = HeaderCondition::Kind;
      if (h.kind == Kind::kExact) add(header, Fit::kIs, h.text);
      if (h.kind == Kind::kPrefix) add(header, Fit::kStarts, h.text);
      if (h.kind == Kind::kSuffix) add(header, Fit::kEnds, h.text);
      if (h.kind == Kind::kRegex) add_pattern(header, h.pattern[0]);
      add(header, Fit::kAny, {});
    }
  }

  Bucket leaf(const Entries& entries) {
    Bucket bucket{.lowest = entries.empty() ? kNone : entries.front().route};
    bucket.first = static_cast<uint32_t>(index.routes_.size());
    for (const Entry& entry : entries) index.routes_.push_back(entry.route);
    bucket.last = static_cast<uint32_t>(index.routes_.size());
    return bucket;
  }

  uint32_t keep(Bucket bucket) {
    index.buckets_.push_back(bucket);
    return static_cast<uint32_t>(index.buckets_.size() - 1);
  }

  /// Calls visit(number of the need) for those of `entry` that are left.
  template <class Visit>
  void each_need(const Entry& entry, const Visit& visit) {
    for (size_t i = 0; i < needs[entry.route].size(); ++i)
      if ((entry.used >> i & 1) == 0) visit(i);
  }

  Bucket make(Entries entries, int depth) {
    if (entries.size() <= kTriedInOrder || depth == kDepthMax) return leaf(entries);
    shared.resize(terms.size());
    for (const Entry& entry : entries)
      each_need(entry, [&](size_t i) {
        for (uint32_t term : needs[entry.route][i]) ++shared[term];
      });

    // Each under the need that the fewest others have; what all have tells nothing.
    std::map<uint32_t, std::map<uint32_t, Entries>> under;  // attribute, term
    Entries rest;
    for (Entry& entry : entries) {
      const std::vector<Need>& of = needs[entry.route];
      size_t best = of.size(), least = entries.size();
      each_need(entry, [&](size_t i) {
        size_t most = 0;
        for (uint32_t term : of[i]) most = std::max<size_t>(most, shared[term]);
        if (most < least) best = i, least = most;
      });
      if (best == of.size()) {
        rest.push_back(entry);
        continue;
      }
      Entry down = entry;
      down.used |= uint64_t{1} << best;
      for (uint32_t term : of[best]) under[terms[term].attribute][term].push_back(down);
    }
    for (const Entry& entry : entries)
      each_need(entry, [&](size_t i) {
        for (uint32_t term : needs[entry.route][i]) shared[term] = 0;
      });

    Group group;
    rest = make_sets(group, rest);
    if (under.empty() && group.sets.empty()) return leaf(rest);
    for (auto& [attribute, lists] : under) {
      Texts texts;
      texts.attribute = attributes[attribute];
      for (auto& [term, list] : lists) add_text(texts, terms[term], std::move(list), depth);
      texts.starts.build();
      texts.ends.build();
      texts.contains.build();
      (texts.attribute.source == Source::kHeader ? group.headers : group.attributes)
          .push_back(std::move(texts));
    }
    if (group.headers.size() > kNamesInOrder)
      for (uint32_t i = 0; i < group.headers.size(); ++i)
        group.names.emplace(group.headers[i].attribute.name, i);
    if (!rest.empty()) group.rest = keep(leaf(rest));
    index.groups_.push_back(std::move(group));
    Bucket bucket{.lowest = entries.front().route};
    bucket.group = static_cast<uint32_t>(index.groups_.size() - 1);
    return bucket;
  }

  void add_text(Texts& texts, const Term& term, Entries list, int depth) {
    const uint32_t lowest = list.front().route;
    const uint32_t at = keep(make(std::move(list), depth + 1));
    switch (term.fit) {
      case Fit::kIs: texts.is.emplace(index.texts_.emplace_back(term.text), at); break;
      case Fit::kStarts: texts.starts.add(index.texts_.emplace_back(term.text), at, lowest); break;
      case Fit::kEnds: texts.ends.add(term.text, at, lowest); break;
      case Fit::kContains: texts.contains.add(term.text, at, lowest); break;
      case Fit::kAny: texts.any = at; break;
    }
  }

  /// Takes those out of `entries` that only an expression tells apart, by the attribute that they look at.
  Entries make_sets(Group& group, const Entries& entries) {
    struct Part {
      uint32_t route;
      const Pattern* pattern;
      Entry entry;
    };
    Entries rest;
    std::map<uint32_t, std::vector<Part>> by_attribute;
    for (const Entry& entry : entries) {
      const Conditions& c = conditions[entry.route];
      if (!c.pattern.empty()) {
        by_attribute[attribute_of({.source = Source::kPath})].push_back({entry.route, &c.pattern[0], entry});
        continue;
      }
      const auto with = std::find_if(c.headers.begin(), c.headers.end(), [](const HeaderCondition& h) {
        return !h.invert && !h.pattern.empty();
      });
      if (with == c.headers.end())
        rest.push_back(entry);
      else
        by_attribute[attribute_of({.source = Source::kHeader, .id = with->id, .name = with->name})].push_back(
            {entry.route, &with->pattern[0], entry});
    }
    for (const auto& [attribute, parts] : by_attribute) {
      for (size_t first = 0; first < parts.size(); first += kSetMax) {
        const auto some = std::span(parts).subspan(first, std::min(kSetMax, parts.size() - first));
        Set set{attributes[attribute], nullptr, {}};
        auto expressions = std::make_unique<RE2::Set>(pattern_options(kSetBytesMax), RE2::ANCHOR_BOTH);
        bool good = some.size() >= kSetMin;
        for (const Part& part : some) {
          good = good && expressions->Add(part.pattern->expression(), nullptr) >= 0;
          set.routes.push_back(part.route);
        }
        if (good && expressions->Compile()) {
          set.expressions = std::move(expressions);
          group.sets.push_back(std::move(set));
        } else {  // few, or too large together
          for (const Part& part : some) rest.push_back(part.entry);
        }
      }
    }
    std::sort(rest.begin(), rest.end(), [](const Entry& a, const Entry& b) { return a.route < b.route; });
    return rest;
  }
};

RouteIndex::RouteIndex(const std::vector<Conditions>& conditions) : conditions_(conditions.data()) {
  Maker maker{*this, conditions};
  Maker::Entries all;
  for (uint32_t i = 0; i < conditions.size(); ++i) {
    all.push_back({i});
    if (conditions.size() > kTriedInOrder) maker.add_needs(conditions[i]);
  }
  root_ = maker.make(std::move(all), 0);
}

RouteIndex::RouteIndex(RouteIndex&&) noexcept = default;
RouteIndex& RouteIndex::operator=(RouteIndex&&) noexcept = default;
RouteIndex::~RouteIndex() = default;

}  // namespace dragoman
