#include "proxy/route/apply.h"

#include "tests/route/route_support.h"

namespace dragoman::test {
namespace {

/// The one route of a table of its own.
struct OneRoute {
  explicit OneRoute(const config::Route& from) : table(compiled(table_of({from}))), route(table->routes()[0]) {}
  std::shared_ptr<const RouteTable> table;
  const Route& route;
};

std::string text(const HeaderList& headers) {
  std::string all;
  for (const Header& h : headers) all += std::string(h.name) + "=" + std::string(h.value) + ";";
  return all;
}

TEST(Rewrite, Path) {
  struct Case {
    config::Match match;
    std::string rewrite;
    std::string_view before, after;
  };
  for (const Case& c : {
           Case{prefix("/api"), "/v2", "/api/x", "/v2/x"},
           Case{prefix("/api"), "/v2", "/api", "/v2"},
           Case{prefix("/api"), "/v2", "/api?q=/api", "/v2?q=/api"},
           Case{prefix("/api"), "/v2", "/apix", "/v2x"},
           Case{prefix("/api"), "/v2/", "/api/x", "/v2/x"},
           Case{prefix("/api"), "/", "/api/x", "/x"},
           Case{prefix("/api"), "/", "/api", "/"},
           Case{prefix("/api"), "/", "/api?q", "/?q"},
           Case{prefix("/api"), "/", "/apix", "/x"},
           Case{prefix("/api/"), "/v2", "/api/x", "/v2/x"},
           Case{prefix("/api/"), "/v2", "/api/", "/v2"},
           Case{prefix("/api/"), "/v2", "/api/?q", "/v2?q"},
           Case{prefix("/api/"), "/v2/", "/api/x", "/v2/x"},
           Case{prefix("/"), "/v2", "/x", "/v2/x"},
           Case{prefix("/"), "/v2/", "/", "/v2/"},
           Case{path("/api"), "/v2", "/api", "/v2"},
           Case{path("/api"), "/v2", "/api?a=b", "/v2?a=b"},
       }) {
    config::Route from = to("r", c.match);
    from.prefix_rewrite = c.rewrite;
    OneRoute one(from);
    auto head = http_request("GET", c.before);
    ASSERT_EQ(one.table->match(*head), &one.route) << c.before;
    apply_request(one.route, *head);
    EXPECT_EQ(head->path, c.after) << c.before << " with " << c.rewrite;
  }
}

// The matched path was normalised; what a rewrite puts together is again.
TEST(Rewrite, MakesNoDotSegments) {
  struct Case {
    config::Match match;
    std::string rewrite;
    std::string_view before, after;  // after: empty = refused
  };
  for (const Case& c : {
           Case{prefix("/files"), "/", "/files../x", ""},
           Case{prefix("/files"), "/data/", "/files../x", ""},
           Case{prefix("/files"), "/data/", "/files..", ""},
           Case{prefix("/files"), "/data/", "/files..?q", ""},
           Case{prefix("/files"), "/data/", "/files..;a/x", ""},
           Case{prefix("/files"), "/data/", "/files..%2fx", ""},
           Case{prefix("/files"), "/data", "/files../x", "/data../x"},
           Case{prefix("/files"), "/data/", "/files./x", "/data/x"},
           Case{prefix("/files"), "/", "/files.", "/"},
           Case{prefix("/files"), "/data/.", "/files./x", "/data/x"},
           Case{prefix("/files/"), "/data/", "/files/x%2fy?a/../b", "/data/x%2fy?a/../b"},
           Case{prefix("/files"), "/a/../data//", "/files/x", "/data/x"},
           Case{prefix("/f%20"), "/%", "/f%202e%2e/x", "<refused at load>"},
       }) {
    config::Route from = to("r", c.match);
    from.prefix_rewrite = c.rewrite;
    if (c.after.starts_with("<")) {
      EXPECT_FALSE(RouteTable::compile(table_of({from})).has_value()) << c.rewrite;
      continue;
    }
    OneRoute one(from);
    auto head = http_request("GET", c.before);
    ASSERT_EQ(one.table->match(*head), &one.route) << c.before;
    EXPECT_EQ(apply_request(one.route, *head), !c.after.empty()) << c.before;
    if (!c.after.empty()) EXPECT_EQ(head->path, c.after) << c.before << " with " << c.rewrite;
    // Whoever does not want paths to be touched gets what the text says.
    if (c.before == "/files../x" && c.rewrite == "/") {
      auto as_is = http_request("GET", c.before);
      EXPECT_TRUE(apply_request(one.route, *as_is, false));
      EXPECT_EQ(as_is->path, "/../x");
    }
    from.prefix_rewrite.clear();
    from.cluster.clear();
    from.redirect =
        config::Redirect{.pos = {}, .host = "", .path = "", .prefix = c.rewrite, .scheme = "", .status = 308};
    OneRoute redirect(from);
    auto again = http_request("GET", c.before);
    Arena arena;
    EXPECT_EQ(make_location(redirect.route, *again, arena), c.after) << c.before << " to " << c.rewrite;
  }
}

TEST(Rewrite, HostAndNothing) {
  config::Route from = to("r");
  auto head = http_request("GET", "/x?y", "a.test:80", {{"a", "b"}});
  apply_request(OneRoute(from).route, *head);
  EXPECT_EQ(head->path, "/x?y");
  EXPECT_EQ(head->authority, "a.test:80");
  EXPECT_EQ(text(head->headers), "a=b;");
  from.host_rewrite = "b.test";
  apply_request(OneRoute(from).route, *head);
  EXPECT_EQ(head->authority, "b.test");
}

TEST(Rewrite, PathAndHostAreLeftAloneElsewhere) {
  config::Route from = to("r", prefix("/"));
  from.prefix_rewrite = "/x";
  from.host_rewrite = "b.test";
  auto head = rpc_request("s", "m");
  apply_request(OneRoute(from).route, *head);
  EXPECT_EQ(head->path, "");
  EXPECT_EQ(head->authority, "");
}

config::HeaderEdits sample_edits() {
  config::HeaderEdits edits;
  edits.remove = {"Gone", "kept"};
  edits.set = {{"kept", "2"}, {"user-agent", "us"}};
  edits.add = {{"kept", "3"}, {"new", "4"}};
  return edits;
}

TEST(Edits, RemoveThenSetThenAddOnHttp) {
  config::Route from = to("r");
  from.request_headers = sample_edits();
  auto head = http_request("GET", "/", "a.test", {{"gone", "1"}, {"Kept", "1"}, {"User-Agent", "them"}, {"GONE", "2"}});
  {
    OneRoute one(from);
    apply_request(one.route, *head);
  }
  // The texts are copies: the table is gone.
  EXPECT_EQ(text(head->headers), "User-Agent=us;kept=2;kept=3;new=4;");
  EXPECT_EQ(head->headers[0].id, HeaderId::kUserAgent);
  EXPECT_EQ(head->edits, nullptr);
}

TEST(Edits, ResponseEditsOnlyChangeResponses) {
  config::Route from = to("r");
  from.response_headers = sample_edits();
  OneRoute one(from);
  Head response;
  response.is_http = true;
  response.is_request = false;
  response.headers.add("gone", "1");
  apply_response(one.route, response);
  EXPECT_EQ(text(response.headers), "kept=2;user-agent=us;kept=3;new=4;");
  auto request = http_request("GET", "/");
  apply_request(one.route, *request);
  EXPECT_TRUE(request->headers.empty());
}

TEST(Edits, FramedHeadsRecordThem) {
  config::Route from = to("r");
  from.request_headers = sample_edits();
  auto head = rpc_request("s", "m", {{"gone", "1"}});
  apply_request(OneRoute(from).route, *head);
  EXPECT_EQ(text(head->headers), "kept=2;user-agent=us;kept=3;new=4;");
  std::string recorded;
  for (const HeaderEdit* e = head->edits; e; e = e->next)
    recorded += "sa-"[static_cast<int>(e->op)] + std::string(e->name) + "=" + std::string(e->value) + ";";
  EXPECT_EQ(recorded, "-Gone=;-kept=;skept=2;suser-agent=us;akept=3;anew=4;");
}

TEST(Edits, HostIsTheAuthorityOfHttpRequests) {
  config::HeaderEdits edits;
  edits.remove = {"Host"};
  edits.set = {{"Host", "b.test"}};
  edits.add = {{"host", "c.test"}};
  auto request = http_request("GET", "/");
  apply_edits(edits, *request);
  EXPECT_EQ(request->authority, "b.test");
  EXPECT_TRUE(request->headers.empty());
  Head response;
  response.is_http = true;
  response.is_request = false;
  apply_edits(edits, response);
  EXPECT_EQ(response.authority, "");
  EXPECT_TRUE(response.headers.empty());
  auto framed = rpc_request("s", "m");
  apply_edits(edits, *framed);
  EXPECT_EQ(text(framed->headers), "Host=b.test;host=c.test;");
}

TEST(Redirect, Location) {
  struct Case {
    const char* what;
    config::Match match;
    std::string host, path, prefix, scheme;
    std::string_view authority, target, location;
  };
  for (const Case& c : {
           Case{"path", {}, "", "/new", "", "", "a.test", "/old?q=1", "/new?q=1"},
           Case{"path with a query of its own", {}, "", "/new?x", "", "", "a.test", "/old?q=1", "/new?x"},
           Case{"prefix", prefix("/old"), "", "", "/n", "", "a.test", "/old/x?q=1", "/n/x?q=1"},
           Case{"prefix of an exact path", path("/old"), "", "", "/n", "", "a.test", "/old?q", "/n?q"},
           Case{"host", {}, "b.test:81", "", "", "", "a.test:80", "/x?q", "http://b.test:81/x?q"},
           Case{"host and path", {}, "b.test", "/n", "", "", "a.test", "/x?q", "http://b.test/n?q"},
           Case{"scheme", {}, "", "", "", "https", "a.test", "/x", "https://a.test/x"},
           Case{"scheme, another port", {}, "", "", "", "https", "a.test:80", "/x", "https://a.test/x"},
           Case{"scheme, IPv6", {}, "", "", "", "https", "[::1]:80", "/x", "https://[::1]/x"},
           Case{"same scheme keeps the port", {}, "", "", "", "http", "a.test:8080", "/x", "http://a.test:8080/x"},
           Case{"scheme and host", {}, "b.test:444", "", "", "https", "a.test:80", "/x", "https://b.test:444/x"},
           Case{"no authority to build on", {}, "", "", "", "https", "", "/x", "/x"},
           Case{"OPTIONS *", {}, "b.test", "", "", "", "a.test", "*", "http://b.test/"},
           Case{"a relative answer names no host", prefix("/old"), "", "", "/", "", "a.test", "/old//evil.test/", "/evil.test/"},
           Case{"nor with a backslash", prefix("/old"), "", "", "/", "", "a.test", "/old/\\evil.test", "/evil.test"},
           Case{"nor without authority", {}, "", "", "", "https", "", "//evil.test", "/evil.test"},
       }) {
    config::Route from = to("r", c.match);
    from.cluster.clear();
    from.redirect = config::Redirect{.pos = {}, .host = c.host, .path = c.path, .prefix = c.prefix, .scheme = c.scheme, .status = 308};
    OneRoute one(from);
    ASSERT_EQ(one.route.action, Route::Action::kRedirect);
    EXPECT_EQ(one.route.redirect->status, 308u);
    auto head = http_request("GET", c.target, c.authority);
    Arena arena;
    EXPECT_EQ(make_location(one.route, *head, arena), c.location) << c.what;
  }
}

TEST(DirectResponse, IsCarried) {
  config::Route from = to("r");
  from.cluster.clear();
  from.direct_response = config::DirectResponse{.pos = {}, .status = 204, .body = "hi", .content_type = "text/x"};
  OneRoute one(from);
  EXPECT_EQ(one.route.action, Route::Action::kDirectResponse);
  EXPECT_EQ(one.route.direct_response->status, 204u);
  EXPECT_EQ(one.route.direct_response->body, "hi");
  EXPECT_TRUE(one.route.clusters.empty());
}

TEST(PickCluster, ByWeight) {
  config::Route from = to("r");
  from.cluster.clear();
  from.clusters = {{.pos = {}, .name = "a", .weight = 90},
                   {.pos = {}, .name = "off", .weight = 0},
                   {.pos = {}, .name = "b", .weight = 10}};
  OneRoute one(from);
  size_t hits[3] = {};
  for (uint64_t i = 0; i < 1000; ++i) ++hits[pick_cluster(one.route, i * 0x9e3779b97f4a7c15 >> 7)];
  EXPECT_NEAR(static_cast<double>(hits[0]), 900, 30);
  EXPECT_EQ(hits[1], 0u);
  EXPECT_EQ(hits[0] + hits[2], 1000u);
  EXPECT_EQ(pick_cluster(one.route, 0), 0u);
  EXPECT_EQ(pick_cluster(one.route, 89), 0u);
  EXPECT_EQ(pick_cluster(one.route, 90), 2u);
  EXPECT_EQ(pick_cluster(one.route, 99), 2u);
  EXPECT_EQ(pick_cluster(one.route, 100), 0u);
  EXPECT_EQ(pick_cluster(RouteTable::single_cluster("c")->routes()[0], ~uint64_t{0}), 0u);
}

}  // namespace
}  // namespace dragoman::test
