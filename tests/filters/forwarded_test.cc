#include "tests/filters/filter_support.h"

namespace dragoman::test {
namespace {

config::Listener listener(config::XForwarded mode, bool request_id) {
  config::Listener l;
  l.protocol = "http1";
  l.http.x_forwarded = mode;
  l.http.request_id = request_id;
  return l;
}

std::string forwarded(const config::Listener& l, Head& head, bool tls = false, std::string peer = "10.0.0.1") {
  auto factories = chain(l);
  EXPECT_EQ(factories.size(), 1u);
  EXPECT_EQ(factories.at(0)->name(), "forwarded");
  FakeContext ctx(head);
  ctx.tls = tls;
  ctx.peer = std::move(peer);
  ctx.randoms = {0x0123456789abcdef, 0xfedcba9876543210};
  EXPECT_EQ(factories[0]->create(head.arena)->on_request_head(ctx, head, true), FilterVerdict::kContinue);
  return text(head.headers);
}

TEST(ForwardedFilter, Modes) {
  using Fields = std::vector<std::pair<std::string, std::string>>;
  const auto append = config::XForwarded::kAppend, set = config::XForwarded::kSet;
  struct Case {
    const char* what;
    config::XForwarded mode;
    bool tls;
    Fields before;
    std::string after;
  };
  for (const Case& c : {
           Case{"none yet", append, false, {}, "x-forwarded-for=10.0.0.1;x-forwarded-proto=http;"},
           Case{"tls", append, true, {}, "x-forwarded-for=10.0.0.1;x-forwarded-proto=https;"},
           Case{"append", append, false, {{"X-Forwarded-For", "1.1.1.1"}, {"a", "b"}}, "X-Forwarded-For=1.1.1.1, 10.0.0.1;a=b;x-forwarded-proto=http;"},
           Case{"append to the last of several", append, false, {{"x-forwarded-for", "1.1.1.1"}, {"x-forwarded-for", "2.2.2.2"}}, "x-forwarded-for=1.1.1.1;x-forwarded-for=2.2.2.2, 10.0.0.1;x-forwarded-proto=http;"},
           Case{"append to an empty one", append, false, {{"x-forwarded-for", ""}}, "x-forwarded-for=10.0.0.1;x-forwarded-proto=http;"},
           Case{"append keeps the first hop's scheme", append, false, {{"X-Forwarded-Proto", "https"}}, "X-Forwarded-Proto=https;x-forwarded-for=10.0.0.1;"},
           Case{"set", set, false, {{"x-forwarded-for", "1.1.1.1"}, {"x-forwarded-proto", "https"}, {"a", "b"}, {"X-Forwarded-For", "2.2.2.2"}}, "a=b;x-forwarded-for=10.0.0.1;x-forwarded-proto=http;"},
       }) {
    auto head = http_head(c.before);
    EXPECT_EQ(forwarded(listener(c.mode, false), *head, c.tls), c.after) << c.what;
    EXPECT_NE(head->headers.find(HeaderId::kXForwardedFor), nullptr);
    EXPECT_NE(head->headers.find(HeaderId::kXForwardedProto), nullptr);
  }
  auto head = http_head();
  EXPECT_EQ(forwarded(listener(append, false), *head, false, "2001:db8::1"), "x-forwarded-for=2001:db8::1;x-forwarded-proto=http;");
}

TEST(ForwardedFilter, RequestId) {
  const config::Listener l = listener(config::XForwarded::kOff, true);
  auto head = http_head();
  forwarded(l, *head);
  const Header* id = head->headers.find(HeaderId::kXRequestId);
  ASSERT_TRUE(id);
  EXPECT_EQ(id->value, "01234567-89ab-4def-bedc-ba9876543210");
  auto kept = http_head({{"X-Request-Id", "mine"}});
  EXPECT_EQ(forwarded(l, *kept), "X-Request-Id=mine;");
  auto empty = http_head({{"x-request-id", ""}});
  EXPECT_EQ(forwarded(l, *empty), "x-request-id=01234567-89ab-4def-bedc-ba9876543210;");
}

TEST(ForwardedFilter, RequestIdsAreVersion4Uuids) {
  struct Case {
    uint64_t high, low;
    std::string_view uuid;
  };
  auto factories = chain(listener(config::XForwarded::kOff, true));
  for (const Case& c : {Case{0, 0, "00000000-0000-4000-8000-000000000000"},
                        Case{~uint64_t{0}, 0, "ffffffff-ffff-4fff-8000-000000000000"},
                        Case{0, ~uint64_t{0}, "00000000-0000-4000-bfff-ffffffffffff"},
                        Case{~uint64_t{0}, ~uint64_t{0}, "ffffffff-ffff-4fff-bfff-ffffffffffff"}}) {
    auto head = http_head();
    FakeContext ctx(*head);
    ctx.randoms = {c.high, c.low};
    factories.at(0)->create(head->arena)->on_request_head(ctx, *head, true);
    EXPECT_EQ(head->headers.find(HeaderId::kXRequestId)->value, c.uuid);
  }
}

TEST(ForwardedFilter, RemovesServerOnDemand) {
  for (bool remove : {false, true}) {
    config::Listener l = listener(config::XForwarded::kAppend, true);
    if (remove) l.http.server_header = config::ServerHeader::kRemove;
    auto factories = chain(l);
    auto response = http_head({{"Server", "x"}, {"a", "b"}});
    response->is_request = false;
    FakeContext ctx(*response);
    factories.at(0)->create(response->arena)->on_response_head(ctx, *response, true);
    EXPECT_EQ(text(response->headers), remove ? "a=b;" : "Server=x;a=b;");
  }
}

}  // namespace
}  // namespace dragoman::test
