#include "tests/filters/filter_support.h"

namespace dragoman::test {
namespace {

config::HeadersFilter settings() {
  config::HeadersFilter s;
  s.request.remove = {"x-c"};
  s.request.set = {{"x-a", "b"}};
  s.request.add = {{"x-a", "c"}};
  s.response.set = {{"x-served-by", "me"}};
  return s;
}

TEST(HeadersFilter, EditsRequestAndResponseOfHttp) {
  auto factory = only(settings());
  EXPECT_EQ(factory->name(), "headers");
  EXPECT_EQ(factory->wants(), static_cast<Want>(DRAGOMAN_WANT_HEADERS)) << "codecs can edit what they had to read";
  config::HeadersFilter answers_only;
  answers_only.response.set = {{"x-a", "b"}};
  EXPECT_EQ(only(answers_only)->wants(), 0u);
  auto request = http_head({{"X-C", "1"}, {"X-A", "1"}, {"y", "2"}});
  FakeContext ctx(*request);
  Filter* filter = factory->create(request->arena);
  EXPECT_EQ(filter->on_request_head(ctx, *request, true), FilterVerdict::kContinue);
  EXPECT_EQ(text(request->headers), "X-A=b;y=2;x-a=c;");
  auto response = http_head({{"X-C", "1"}});
  response->is_request = false;
  filter->on_response_head(ctx, *response, true);
  EXPECT_EQ(text(response->headers), "X-C=1;x-served-by=me;");
  filter->on_stream_end(ctx);
  EXPECT_FALSE(ctx.answered);
}

TEST(HeadersFilter, EditsAnswersMadeHere) {
  config::HeadersFilter s;
  s.response.remove = {"X-Old"};
  s.response.set = {{"x-a", "b"}, {"Content-Type", "text/html"}};
  s.response.add = {{"x-a", "c"}};
  auto factory = only(s);
  auto request = http_head();
  FakeContext ctx(*request);
  const Header fields[] = {{"x-old", "1"}, {"location", "/"}, {"x-a", "a"}};
  LocalReply reply;
  reply.headers = fields;
  factory->create(request->arena)->on_local_reply(ctx, reply);
  std::string seen;
  for (const Header& h : reply.headers) seen += std::string(h.name) + "=" + std::string(h.value) + ";";
  EXPECT_EQ(seen, "location=/;x-a=b;x-a=c;");
  EXPECT_EQ(reply.content_type, "text/html");
  EXPECT_EQ(fields[2].value, "a") << "the maker's fields are not touched";
}

TEST(HeadersFilter, RecordsEditsOfFramedHeads) {
  auto factory = only(settings());
  Head request;
  FakeContext ctx(request);
  factory->create(request.arena)->on_request_head(ctx, request, true);
  std::string recorded;
  for (const HeaderEdit* e = request.edits; e; e = e->next) recorded += "sa-"[static_cast<int>(e->op)] + std::string(e->name) + ";";
  EXPECT_EQ(recorded, "-x-c;sx-a;ax-a;");
}

TEST(HeadersFilter, HasNoStatePerExchange) {
  auto factory = only(settings());
  Arena a, b;
  EXPECT_EQ(factory->create(a), factory->create(b));
}

}  // namespace
}  // namespace dragoman::test
