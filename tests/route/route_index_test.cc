// What the index finds is what trying one route after the other finds.
#include "proxy/route/route_index.h"

#include <functional>
#include <random>

#include "proxy/route/route_matcher.h"
#include "tests/route/route_support.h"
#include "tests/support/allocations.h"

namespace dragoman::test {
namespace {

/// The conditions, and the first whose conditions hold by trying all.
struct Reference {
  explicit Reference(const std::vector<config::Match>& matches) {
    for (const config::Match& match : matches) {
      auto compiled = Conditions::compile(match);
      EXPECT_TRUE(compiled) << compiled.error();
      all.push_back(std::move(*compiled));
    }
  }
  uint32_t find(const Head& head) const {
    for (uint32_t i = 0; i < all.size(); ++i)
      if (all[i].hold(head, without_query(head.path))) return i;
    return kNoRoute;
  }
  std::vector<Conditions> all;
};

/// Words from which tables and requests are made: few, so that everything collides, or many, so that groups divide.
struct Words {
  std::vector<std::string> paths, prefixes, expressions, services, methods, names, values, patterns, hosts;
};

Words few_words() {
  return {
      {"/", "/a", "/a/b", "/ab", "/b", "/a/b/c?x", "/a/b-1", "*", ""},
      {"/", "/a", "/a/", "/a/b", "/b", "/a/b-"},
      {"/a.*", "/a|/b", "/[ab]+", "/ab?", ".*/b", ".*-1", "/.*b.*", "(?i)/A", "/a/[^/]*/c", ".+", "[^x]*"},
      {"s", "s.a", "s.b", "s.b.c", "t"},
      {"GET", "POST", "PUT", "m", "n"},
      {"x", "X", "host", "user-agent", "y"},
      {"1", "2", "12", "a.test", "", "curl"},
      {"1.*", "[12]+", ".*2", "a\\.test", "(?i)CURL", ".*"},
      {"a.test", "b.a.test", "A.test"}};
}

Words many_words() {
  Words words;
  const auto number = [](const char* before, int i, const char* after = "") {
    return before + std::to_string(i) + after;
  };
  for (int i = 0; i < 60; ++i) {
    words.paths.push_back(number("/api/", i % 20, i % 3 ? "/x" : "/x-1"));
    words.prefixes.push_back(number("/api/", i % 30));
    words.expressions.push_back(i % 2 ? number("/.*/x-", i % 12) : number("/[a-z]+/[0-", i % 10, "]+/.*"));
    words.services.push_back(number("com.s", i % 25));
    words.values.push_back(number("v", i % 25));
    words.patterns.push_back(i % 2 ? number("v.*", i % 10) : number("[u-w]+[0-", i % 10, "]"));
  }
  words.methods = {"GET", "POST", "m"};
  words.names = {"x-a", "x-b", "X-C", "x-d", "x-e", "x-f", "x-g", "host"};
  words.hosts = {"v1", "v2", "a.test"};
  return words;
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  bool one_in(uint32_t n) { return engine_() % n == 0; }
  size_t below(size_t n) { return engine_() % n; }
  const std::string& of(const std::vector<std::string>& words) { return words[below(words.size())]; }

 private:
  std::mt19937 engine_;
};

config::Match random_match(Random& random, const Words& words) {
  config::Match match;
  switch (random.below(6)) {
    case 0:
      while ((match.path = without_query(random.of(words.paths))).empty()) {
      }
      break;
    case 1: match.prefix = random.of(words.prefixes); break;
    case 2:
    case 3: match.regex = random.of(words.expressions); break;
    default: break;
  }
  if (random.one_in(3)) match.service = random.of(words.services);
  if (random.one_in(8)) match.service = match.service.substr(0, match.service.size() / 2) + "*";
  for (int i = 0; i < 3 && random.one_in(3); ++i) match.method.push_back(random.of(words.methods));
  if (random.one_in(8)) match.group = random.of(words.values);
  if (random.one_in(8)) match.version = random.of(words.values);
  if (random.one_in(8)) match.sni = random.one_in(2) ? "*.a.test" : random.of(words.hosts);
  for (int i = 0; i < 3 && random.one_in(2); ++i) {
    config::HeaderMatch h;
    h.name = random.of(words.names);
    h.invert = random.one_in(4);
    switch (random.below(6)) {
      case 0: h.present = random.one_in(2); break;
      case 1: h.prefix = random.of(words.values).substr(0, 1); break;
      case 2: h.suffix = random.of(words.values); break;
      case 3: h.regex = random.of(words.patterns); break;
      default: h.exact = random.of(words.values); break;
    }
    match.headers.push_back(h);
  }
  return match;
}

/// Texts of the head are those of `words`.
std::unique_ptr<Head> random_request(Random& random, const Words& words) {
  Fields fields;
  for (int i = 0; i < 6 && !random.one_in(4); ++i)
    fields.emplace_back(random.of(words.names), random.of(words.values));
  const bool http = !random.one_in(3);
  if (http) std::erase_if(fields, [](const auto& field) { return field.first == "host"; });
  for (const char* name : {"group", "version"})
    if (!http && random.one_in(2)) fields.emplace_back(name, random.of(words.values));
  auto head = http_request(random.of(words.methods), http ? std::string_view(random.of(words.paths)) : "",
                           random.of(words.hosts), fields);
  head->is_http = http;
  if (random.one_in(2)) head->service = random.of(words.services);
  if (http && random.one_in(2)) {
    head->rpc_method = random.of(words.methods);
    head->group = random.of(words.values);
    head->version = random.of(words.values);
  }
  if (random.one_in(2)) head->sni = random.of(words.hosts);
  return head;
}

TEST(RouteIndex, AgreesWithTryingInOrder) {
  size_t found = 0, missed = 0;
  for (const Words& words : {few_words(), many_words()}) {
    Random random(7);
    for (int round = 0; round < 40; ++round) {
      std::vector<config::Match> matches;
      for (size_t n = 1 + random.below(round % 4 == 0 ? 400 : 40); n > 0; --n)
        matches.push_back(random_match(random, words));
      Reference reference(matches);
      const RouteIndex index(reference.all);
      for (int i = 0; i < 150; ++i) {
        auto head = random_request(random, words);
        const uint32_t expected = reference.find(*head);
        ASSERT_EQ(index.find(*head, without_query(head->path)), expected)
            << "round " << round << ": " << head->method << " " << head->path << " " << head->service;
        ++(expected == kNoRoute ? missed : found);
      }
    }
  }
  EXPECT_GT(found, 3000u);
  EXPECT_GT(missed, 500u);
}

/// Every route is found by its own request, and none by another's; a match allocates nothing.
void each_is_found(const char* what, uint32_t routes, const std::function<config::Match(uint32_t)>& match,
                   const std::function<std::unique_ptr<Head>(uint32_t)>& request) {
  std::vector<config::Match> matches;
  for (uint32_t i = 0; i < routes; ++i) matches.push_back(match(i));
  Reference reference(matches);
  const RouteIndex index(reference.all);
  for (uint32_t i = 0; i <= routes; i += 7) {
    auto head = request(i);
    EXPECT_EQ(index.find(*head, without_query(head->path)), i < routes ? i : kNoRoute) << what << " " << i;
  }
}

std::string number(const char* before, uint32_t i, const char* after = "") {
  return before + std::to_string(i) + after;
}

config::HeaderMatch header(std::string name) {
  config::HeaderMatch h;
  h.name = std::move(name);
  return h;
}

TEST(RouteIndex, ManyRoutesOfOneKind) {
  constexpr uint32_t kMany = 700;
  each_is_found(
      "a header under one prefix", kMany,
      [](uint32_t i) {
        config::Match match = prefix("/api");
        match.headers.push_back(header("x-user"));
        match.headers[0].exact = number("u", i);
        return match;
      },
      [](uint32_t i) {
        return http_request("GET", "/api/x", "a.test", {{"x-user", number("u", i)}});
      });
  each_is_found(
      "another header each", kMany,
      [](uint32_t i) {
        config::Match match;
        match.headers.push_back(header(number("X-User-", i)));
        match.headers[0].present = true;
        return match;
      },
      [](uint32_t i) {
        return http_request("GET", "/", "a.test", {{"a", "b"}, {number("x-user-", i), ""}});
      });
  each_is_found(
      "path and two headers in all combinations", 9 * 9 * 9,
      [](uint32_t i) {
        config::Match match = prefix(number("/p", i / 81, "/"));
        match.headers = {header("x-a"), header("x-b")};
        match.headers[0].exact = number("a", i / 9 % 9);
        match.headers[1].prefix = number("b", i % 9, "-");
        return match;
      },
      [](uint32_t i) {
        static std::vector<std::unique_ptr<std::string>> kept;
        kept.push_back(std::make_unique<std::string>(number("/p", i / 81, "/rest")));
        return http_request("GET", *kept.back(), "a.test",
                            {{"x-b", number("b", i % 9, "-x")}, {"x-a", number("a", i / 9 % 9)}});
      });
  each_is_found(
      "expressions of headers", kMany,
      [](uint32_t i) {
        config::Match match;
        match.headers.push_back(header("x-user"));
        match.headers[0].regex = number("[a-z]+-", i, "-[0-9]+");
        return match;
      },
      [](uint32_t i) {
        return http_request("GET", "/", "a.test", {{"x-user", number("ab-", i, "-12")}});
      });
  each_is_found(
      "expressions without a literal", 300,  // two sets
      [](uint32_t i) { return regex(number("(/|x){1,3}[a-z]{", i + 1, "}")); },
      [](uint32_t i) {
        static std::vector<std::unique_ptr<std::string>> kept;
        kept.push_back(std::make_unique<std::string>("/" + std::string(i + 1, 'b')));
        return http_request("GET", *kept.back());
      });
  each_is_found(
      "methods of one service", kMany,
      [](uint32_t i) {
        return service("s", {number("m", i), number("n", i)});
      },
      [](uint32_t i) {
        static std::vector<std::unique_ptr<std::string>> kept;
        kept.push_back(std::make_unique<std::string>(number(i % 2 ? "m" : "n", i)));
        return rpc_request("s", *kept.back());
      });
}

TEST(RouteIndex, SetsThatAreTooLargeAreTriedInOrder) {
  std::vector<config::Match> matches;
  for (uint32_t i = 0; i < 40; ++i)
    matches.push_back(regex(number("[ab/]{300}[a-z]{100,200}([ab]{20}){2,4}[b-y]{", i + 1, "}")));
  Reference reference(matches);
  const RouteIndex index(reference.all);
  std::string text = "/" + std::string(299, 'a') + std::string(150, 'c') + std::string(60, 'a') + "yyy";
  auto head = http_request("GET", text);
  EXPECT_EQ(index.find(*head, head->path), reference.find(*head));
  EXPECT_NE(reference.find(*head), kNoRoute);
}

}  // namespace
}  // namespace dragoman::test
