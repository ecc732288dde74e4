#include "proxy/route/route_table.h"

#include <functional>

#include "proxy/route/route_matcher.h"
#include "tests/route/route_support.h"

namespace dragoman::test {
namespace {

config::HeaderMatch header(std::string name) {
  config::HeaderMatch match;
  match.name = std::move(name);
  return match;
}

config::Match with_header(config::HeaderMatch h) {
  config::Match match;
  match.headers.push_back(std::move(h));
  return match;
}

/// So many routes in front that never match: the same cases then go through the index.
std::vector<config::Route> behind_fillers(config::Route route) {
  std::vector<config::Route> routes;
  for (int i = 0; i < 20; ++i) routes.push_back(to("filler", path("/filler/" + std::to_string(i))));
  routes.push_back(std::move(route));
  return routes;
}

/// The route called "r" takes `request` or not, whether it is found by trying or by searching.
void expect_match(const config::Match& match, const Head& request, bool expected, const std::string& what) {
  EXPECT_EQ(matched(*compiled(table_of({to("r", match)})), request), expected ? "r" : "-") << what;
  EXPECT_EQ(matched(*compiled(table_of(behind_fillers(to("r", match)))), request), expected ? "r" : "-") << what << " (indexed)";
}

TEST(RouteMatch, Path) {
  struct Case {
    config::Match match;
    std::string_view target;
    bool expected;
  };
  for (const Case& c : {
           Case{{}, "/x", true},
           Case{{}, "*", true},
           Case{path("/x"), "/x", true},
           Case{path("/x"), "/x?y=/z", true},
           Case{path("/x"), "/x?", true},
           Case{path("/x"), "/x/", false},
           Case{path("/x"), "/X", false},
           Case{path("/x"), "/", false},
           Case{path("/x"), "", false},
           Case{prefix("/api"), "/api", true},
           Case{prefix("/api"), "/api/", true},
           Case{prefix("/api"), "/api?x", true},
           Case{prefix("/api"), "/apix", true},  // a prefix of the text, not of its segments
           Case{prefix("/api"), "/ap", false},
           Case{prefix("/api"), "/ap?i", false},
           Case{prefix("/api"), "/x/api", false},
           Case{prefix("/"), "/", true},
           Case{prefix("/"), "*", false},
           Case{prefix("/"), "", false},
           Case{prefix("/a?b"), "/a?b", false},  // the query is not looked at
           Case{regex("/v[0-9]+/.*"), "/v12/x", true},
           Case{regex("/v[0-9]+/.*"), "/v12/x?/v", true},
           Case{regex("/v[0-9]+/.*"), "/v12", false},
           Case{regex("/v[0-9]+/.*"), "/a/v12/x", false},
           Case{regex("/v[0-9]+"), "/v12/x", false},  // the whole path
           Case{regex("/a|/b"), "/b", true},
           Case{regex("/a|/b"), "/bc", false},
           Case{regex("/ab?"), "/a", true},
           Case{regex("/ab*c"), "/ac", true},
           Case{regex("/ab{0}c"), "/ac", true},
           Case{regex("^/ab$"), "/ab", true},
           Case{regex("(?i)/AB"), "/ab", true},
           Case{regex("/a\\.b"), "/a.b", true},
           Case{regex("/a\\.b"), "/axb", false},
           Case{regex("/admin.*"), "/admin/\xff\xfe", true},  // any byte, not only UTF-8
           Case{regex("/admin.*"), "/admin/\n", true},
           Case{regex(".*"), "", false},
           Case{regex("(/a+)+/b"), "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
       })
    expect_match(c.match, *http_request("GET", c.target), c.expected,
                 c.match.path + c.match.prefix + c.match.regex + " on " + std::string(c.target));
}

TEST(RouteMatch, Method) {
  config::Match match;
  match.method = {"GET", "HEAD"};
  expect_match(match, *http_request("GET", "/"), true, "GET");
  expect_match(match, *http_request("HEAD", "/"), true, "HEAD");
  expect_match(match, *http_request("POST", "/"), false, "POST");
  expect_match(match, *http_request("get", "/"), false, "get");
  expect_match(match, *rpc_request("s", "GET"), true, "an RPC method");
}

TEST(RouteMatch, Service) {
  struct Case {
    std::string service;
    std::vector<std::string> methods;
    std::string_view asked_service, asked_method;
    bool expected;
  };
  for (const Case& c : {
           Case{"com.x.Hello:1.0", {}, "com.x.Hello:1.0", "hi", true},
           Case{"com.x.Hello:1.0", {}, "com.x.Hello:1.0", "", true},
           Case{"com.x.Hello:1.0", {}, "com.x.Hello:2.0", "hi", false},
           Case{"com.x.Hello", {}, "com.x.Hello:1.0", "hi", false},
           Case{"com.x.Hello", {}, "", "hi", false},
           Case{"com.x.*", {}, "com.x.Hello:1.0", "hi", true},
           Case{"com.x.*", {}, "com.x.", "hi", true},
           Case{"com.x.*", {}, "com.x", "hi", false},
           Case{"*", {}, "any", "hi", true},
           Case{"*", {}, "", "hi", false},
           Case{"s", {"a", "b"}, "s", "b", true},
           Case{"s", {"a", "b"}, "s", "c", false},
           Case{"s", {"a", "b"}, "s", "", false},
           Case{"s*", {"a"}, "st", "a", true},
           Case{"s*", {"a"}, "st", "b", false},
           Case{"", {"a"}, "s", "a", true},
           Case{"", {"a"}, "s", "b", false},
       })
    expect_match(service(c.service, c.methods), *rpc_request(c.asked_service, c.asked_method), c.expected,
                 c.service + " on " + std::string(c.asked_service) + "." + std::string(c.asked_method));
}

TEST(RouteTable, CallsOverHttpAreKnownByServiceAndByBothTheirMethods) {
  // Few routes are tried in order, many are found by an index.
  for (int others : {0, 20}) {
    std::vector<config::Route> routes;
    for (int i = 0; i < others; ++i) routes.push_back(to("other" + std::to_string(i), service("x" + std::to_string(i))));
    routes.push_back(to("say", service("a.Echo", {"Say"})));
    routes.push_back(to("post", service("a.Echo", {"POST"})));
    auto table = compiled(table_of(std::move(routes)));
    Head head;
    head.is_http = true;
    head.method = "POST";
    head.path = "/a.Echo/Say";
    head.service = "a.Echo";
    head.rpc_method = "Say";
    ASSERT_TRUE(table->match(head));
    EXPECT_EQ(table->match(head)->name, "say");
    head.rpc_method = "Sing";
    ASSERT_TRUE(table->match(head));
    EXPECT_EQ(table->match(head)->name, "post");
    head.service = "a.Other";
    EXPECT_FALSE(table->match(head));
  }
}

TEST(RouteMatch, GroupAndVersionOfTheService) {
  config::Match blue = service("acme.Echo");
  blue.group = "blue";
  blue.version = "1.2.3";
  config::Match newest;
  newest.version = "2.0.0";
  const auto routes =
      compiled(table_of({to("blue", blue), to("newest", newest), to("rest", service("acme.Echo"))}));
  struct Row {
    const char* group;
    const char* version;
    const char* cluster;
  };
  for (const Row& row :
       {Row{"blue", "1.2.3", "blue"}, Row{"green", "1.2.3", "rest"}, Row{"", "1.2.3", "rest"},
        Row{"blue", "1.2", "rest"}, Row{"blue", "", "rest"}, Row{"green", "2.0.0", "newest"}}) {
    Head http;
    http.is_http = true;
    http.service = "acme.Echo";
    http.group = row.group;
    http.version = row.version;
    EXPECT_EQ(matched(*routes, http), row.cluster) << row.group << row.version;
    Head framed;
    framed.service = "acme.Echo";
    framed.headers.add("group", row.group);
    framed.headers.add("version", row.version);
    EXPECT_EQ(matched(*routes, framed), row.cluster) << row.group << row.version;
  }
}

TEST(RouteMatch, PathConditionsFailWhereThereIsNoPath) {
  for (const config::Match& match : {path("/a"), prefix("/"), regex(".*")})
    expect_match(match, *rpc_request("s", "m"), false, match.path + match.prefix + match.regex);
}

TEST(RouteMatch, Headers) {
  using Set = std::function<void(config::HeaderMatch&)>;
  struct Case {
    const char* what;
    Set set;
    Fields fields;
    bool expected;
  };
  const Set exact = [](auto& h) { h.exact = "alice"; };
  const Set empty = [](auto& h) { h.exact = ""; };
  const Set starts = [](auto& h) { h.prefix = "al"; };
  const Set ends = [](auto& h) { h.suffix = "ce"; };
  const Set pattern = [](auto& h) { h.regex = "a.*e"; };
  const Set present = [](auto& h) { h.present = true; };
  const Set absent = [](auto& h) { h.present = false; };
  for (const Case& c : {
           Case{"exact", exact, {{"X-User", "alice"}}, true},
           Case{"exact, value's case matters", exact, {{"x-user", "Alice"}}, false},
           Case{"exact, longer", exact, {{"x-user", "alice2"}}, false},
           Case{"exact, absent", exact, {}, false},
           Case{"exact, other name", exact, {{"x-use", "alice"}}, false},
           Case{"any of several fields", exact, {{"x-user", "bob"}, {"x-user", "alice"}}, true},
           Case{"empty value", empty, {{"x-user", ""}}, true},
           Case{"empty value, absent", empty, {}, false},
           Case{"prefix", starts, {{"x-user", "alice"}}, true},
           Case{"prefix, not", starts, {{"x-user", "xalice"}}, false},
           Case{"suffix", ends, {{"x-user", "alice"}}, true},
           Case{"suffix, not", ends, {{"x-user", "alicex"}}, false},
           Case{"regex", pattern, {{"x-user", "alice"}}, true},
           Case{"regex, whole value", pattern, {{"x-user", "alicex"}}, false},
           Case{"present", present, {{"x-user", ""}}, true},
           Case{"present, absent", present, {}, false},
           Case{"absent", absent, {}, true},
           Case{"absent, present", absent, {{"x-user", "a"}}, false},
       }) {
    for (bool invert : {false, true}) {
      config::HeaderMatch h = header("x-user");
      c.set(h);
      h.invert = invert;
      std::string what = std::string(c.what) + (invert ? ", inverted" : "");
      expect_match(with_header(h), *http_request("GET", "/", "a.test", c.fields), c.expected != invert, what);
      expect_match(with_header(h), *rpc_request("s", "m", c.fields), c.expected != invert, what + ", rpc");
    }
  }
}

TEST(RouteMatch, WellKnownHeadersAndHost) {
  config::HeaderMatch agent = header("User-Agent");
  agent.prefix = "curl/";
  expect_match(with_header(agent), *http_request("GET", "/", "a.test", {{"user-agent", "curl/8"}}), true, "user-agent");
  expect_match(with_header(agent), *http_request("GET", "/", "a.test", {{"user-agent", "x"}}), false, "user-agent");
  config::HeaderMatch host = header("host");
  host.exact = "a.test:80";
  expect_match(with_header(host), *http_request("GET", "/", "a.test:80"), true, "host is the authority");
  expect_match(with_header(host), *http_request("GET", "/", "b.test"), false, "host is the authority");
  expect_match(with_header(host), *rpc_request("s", "m", {{"host", "a.test:80"}}), true, "a plain header elsewhere");
}

TEST(RouteMatch, AllConditionsMustHold) {
  config::Match match = prefix("/api");
  match.method = {"POST"};
  config::HeaderMatch user = header("x-user");
  user.exact = "alice";
  config::HeaderMatch beta = header("x-beta");
  beta.present = true;
  match.headers = {user, beta};
  const Fields both = {{"x-beta", "1"}, {"x-user", "alice"}};
  expect_match(match, *http_request("POST", "/api/x", "a.test", both), true, "all");
  expect_match(match, *http_request("GET", "/api/x", "a.test", both), false, "method");
  expect_match(match, *http_request("POST", "/ap", "a.test", both), false, "path");
  expect_match(match, *http_request("POST", "/api/x", "a.test", {{"x-user", "alice"}}), false, "second header");
  expect_match(match, *http_request("POST", "/api/x", "a.test", {{"x-beta", ""}}), false, "first header");
}

TEST(RouteOrder, TheFirstThatMatchesWinsNotTheMostSpecific) {
  auto small = std::vector<config::Route>{to("1", prefix("/a")), to("2", path("/a/b")), to("3", regex("/c.*")),
                                          to("4", path("/c")),   to("5"),               to("6", prefix("/d"))};
  auto large = small;
  for (int i = 0; i < 50; ++i) large.push_back(to("never", path("/never/" + std::to_string(i))));
  for (const auto& routes : {small, large}) {
    auto table = compiled(table_of(routes));
    EXPECT_EQ(matched(*table, *http_request("GET", "/a/b")), "1");
    EXPECT_EQ(matched(*table, *http_request("GET", "/c")), "3");
    EXPECT_EQ(matched(*table, *http_request("GET", "/d")), "5");
    EXPECT_EQ(matched(*table, *http_request("GET", "/never/1")), "5");
    EXPECT_EQ(matched(*table, *http_request("OPTIONS", "*")), "5");
  }
}

TEST(RouteTable, VirtualHosts) {
  config::RouteTable from;
  from.name = "t";
  from.virtual_hosts.push_back({.pos = {}, .name = "any", .domains = {"*"}, .routes = {to("any")}});
  from.virtual_hosts.push_back({.pos = {}, .name = "a", .domains = {"a.test", "*.a.test"}, .routes = {to("a", prefix("/a")), to("b", prefix("/b"))}});
  auto table = compiled(from);
  EXPECT_EQ(matched(*table, *http_request("GET", "/b", "A.test:80")), "b");
  EXPECT_EQ(matched(*table, *http_request("GET", "/b", "x.a.test")), "b");
  EXPECT_EQ(matched(*table, *http_request("GET", "/b", "b.test")), "any");
  EXPECT_EQ(matched(*table, *http_request("GET", "/c", "a.test")), "-") << "no other virtual host is tried";
  ASSERT_EQ(table->routes().size(), 3u);
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(table->routes()[i].index, i);
  EXPECT_EQ(table->routes()[2].name, "b");
}

TEST(RouteTable, SingleCluster) {
  auto table = RouteTable::single_cluster("api");
  auto request = http_request("GET", "/", "");
  const Route* route = table->match(*request);
  ASSERT_TRUE(route);
  EXPECT_EQ(route->name, "api");
  EXPECT_EQ(route->action, Route::Action::kCluster);
  ASSERT_EQ(route->clusters.size(), 1u);
  EXPECT_EQ(route->clusters[0].name, "api");
  EXPECT_EQ(route->timeout_ms, config::Route().timeout_ms);
  EXPECT_FALSE(route->retry);
  EXPECT_EQ(table->want(), 0u);
  EXPECT_TRUE(table->match(*rpc_request("", "")));
}

TEST(RouteTable, CarriesSettings) {
  config::Route r = to("r", prefix("/api"));
  r.timeout_ms = 1;
  r.per_try_timeout_ms = 2;
  r.idle_timeout_ms = 3;
  r.retry = config::Retry{};
  r.retry->attempts = 4;
  r.request_body_bytes_max = 5;
  r.host_rewrite = "h";
  r.name.clear();
  auto table = compiled(table_of({r}));
  const Route& route = table->routes()[0];
  EXPECT_EQ(route.name, "t.default.0");
  EXPECT_EQ(route.timeout_ms, 1);
  EXPECT_EQ(route.per_try_timeout_ms, 2);
  EXPECT_EQ(route.idle_timeout_ms, 3);
  ASSERT_TRUE(route.retry);
  EXPECT_EQ(route.retry->attempts, 4u);
  EXPECT_EQ(route.request_body_bytes_max, 5u);
  EXPECT_EQ(route.host_rewrite, "h");
  EXPECT_EQ(route.path_match, Route::PathMatch::kPrefix);
  EXPECT_EQ(route.path_match_bytes, 4u);
}

TEST(RouteTable, Want) {
  config::HeaderMatch h = header("x");
  h.present = true;
  config::Match method;
  method.method = {"m"};
  config::Match group, version;
  group.group = "g";
  version.version = "1.0.0";
  struct Case {
    config::Match match;
    Want want;
  };
  for (const Case& c : {Case{{}, 0}, Case{path("/a"), 0}, Case{service("s"), DRAGOMAN_WANT_SERVICE},
                        Case{service("*"), DRAGOMAN_WANT_SERVICE}, Case{method, DRAGOMAN_WANT_METHOD},
                        Case{with_header(h), DRAGOMAN_WANT_HEADERS}, Case{group, DRAGOMAN_WANT_HEADERS},
                        Case{version, DRAGOMAN_WANT_HEADERS},
                        Case{service("s", {"m"}), DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD}})
    EXPECT_EQ(compiled(table_of({to("1"), to("2", c.match)}))->want(), c.want);
  config::Route edits = to("3");
  edits.request_headers.remove = {"x"};
  EXPECT_EQ(compiled(table_of({to("1"), edits}))->want(), static_cast<Want>(DRAGOMAN_WANT_HEADERS));
  edits.request_headers = {};
  edits.response_headers.remove = {"x"};
  EXPECT_EQ(compiled(table_of({to("1"), edits}))->want(), 0u);
}

TEST(RouteTable, Errors) {
  struct Case {
    const char* error;
    std::function<void(config::Route&)> spoil;
  };
  for (const Case& c : {
           Case{"regex", [](auto& r) { r.match.regex = "/a("; }},
           Case{"header x", [](auto& r) { r.match.headers = {header("x")}; r.match.headers[0].regex = "("; }},
           Case{"no condition", [](auto& r) { r.match.headers = {header("x")}; }},
           Case{"only one of path", [](auto& r) { r.match.path = "/a"; r.match.prefix = "/b"; }},
           Case{"exactly one of cluster", [](auto& r) { r.cluster.clear(); }},
           Case{"exactly one of cluster", [](auto& r) { r.redirect = config::Redirect{}; }},
           Case{"weights", [](auto& r) { r.cluster.clear(); r.clusters = {{.pos = {}, .name = "a", .weight = 0}}; }},
           Case{"prefix_rewrite needs", [](auto& r) { r.prefix_rewrite = "/"; }},
           Case{"prefix_rewrite needs", [](auto& r) { r.prefix_rewrite = "/"; r.match.regex = "/a.*"; }},
           Case{"prefix_rewrite can't", [](auto& r) { r.prefix_rewrite = "/a?b"; r.match.prefix = "/"; }},
           Case{"redirect.prefix", [](auto& r) { r.cluster.clear(); r.redirect = config::Redirect{}; r.redirect->prefix = "/n"; }},
       }) {
    config::Route route = to("bad");
    c.spoil(route);
    auto result = RouteTable::compile(table_of({to("good"), route}));
    ASSERT_FALSE(result) << c.error;
    EXPECT_NE(result.error().find(c.error), std::string::npos) << result.error();
    EXPECT_NE(result.error().find("route bad"), std::string::npos) << result.error();
  }
  EXPECT_FALSE(RouteTable::compile({}));
  config::RouteTable twice;
  for (const char* name : {"a", "b"}) twice.virtual_hosts.push_back({.pos = {}, .name = name, .domains = {"x.test"}, .routes = {to("r")}});
  auto result = RouteTable::compile(twice);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().find("virtual host b"), std::string::npos) << result.error();
}

TEST(RouteTable, AnExpressionThatNeedsTooMuchMemoryIsRefused) {
  std::string expression = "/((a{100}){100}){10}";
  auto result = RouteTable::compile(table_of({to("r", regex(expression))}));
  EXPECT_FALSE(result);
}

}  // namespace
}  // namespace dragoman::test
