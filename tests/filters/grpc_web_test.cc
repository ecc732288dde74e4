// gRPC-Web to gRPC and back: heads, bodies cut anywhere, trailers, answers of our own.
#include "proxy/base/base64.h"
#include "tests/filters/filter_support.h"

namespace dragoman::test {
namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}
std::string text_of(std::span<const uint8_t> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

std::string base64(std::string_view text) {
  std::string out(base64_size(text.size()), '?');
  base64_encode(bytes(text), out.data());
  return out;
}

/// The bytes of a body in text form; "!" when it is none.
std::string plain(std::string_view text) {
  Base64Decoder decoder;
  std::string out(Base64Decoder::bytes_max(text.size()), '?');
  size_t written = 0;
  if (!decoder.decode(bytes(text), reinterpret_cast<uint8_t*>(out.data()), written) || !decoder.complete())
    return "!";
  return out.substr(0, written);
}

/// A message: flag, length, payload.
std::string message(char flag, std::string_view payload) {
  std::string out(5, '\0');
  out[0] = flag;
  for (int i = 0; i < 4; ++i)
    out[static_cast<size_t>(1 + i)] = static_cast<char>(payload.size() >> (24 - 8 * i));
  return out.append(payload);
}
std::string trailers_message(std::string_view lines) { return message('\x80', lines); }

class GrpcWeb : public ::testing::Test {
 protected:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  /// One call through a filter of its own.
  struct Call {
    explicit Call(const FilterFactory& factory, const Fields& fields, std::string_view method = "POST")
        : request(http_head(fields)),
          answer(http_head()),
          ctx(*request),
          filter(factory.create(request->arena)) {
      request->method = method;
      request->path = "/acme.Echo/Say?x";
      request->content_length = 100;
      EXPECT_EQ(filter->on_request_head(ctx, *request, false), FilterVerdict::kContinue);
    }
    ~Call() { filter->on_stream_end(ctx); }

    std::string send(std::string_view body, bool end = false) {
      BodyChunk chunk{bytes(body), end};
      filter->on_request_body(ctx, chunk);
      return ctx.answered ? "answered" : text_of(chunk.data);
    }
    void head(const Fields& fields, bool end = false) {
      answer->is_request = false;
      answer->status = 200;
      for (const auto& [name, value] : fields) answer->headers.add(name, value);
      filter->on_response_head(ctx, *answer, end);
    }
    std::string body(std::string_view data, bool end = false) {
      BodyChunk chunk{bytes(data), end};
      filter->on_response_body(ctx, chunk);
      EXPECT_EQ(chunk.end, end);
      return text_of(chunk.data);
    }
    std::string trailers(const Fields& fields) {
      HeaderList list(answer->arena);
      for (const auto& [name, value] : fields) list.add(name, value);
      BodyChunk rest;
      filter->on_response_trailers(ctx, list, rest);
      left = list.size();
      return text_of(rest.data);
    }

    std::unique_ptr<Head> request, answer;
    FakeContext ctx;
    Filter* filter;
    size_t left = 0;
  };
  Call call(std::string_view type, const Fields& more = {}) {
    Fields fields{{"Content-Type", std::string(type)}};
    fields.insert(fields.end(), more.begin(), more.end());
    return Call(*factory_, fields);
  }

  std::unique_ptr<FilterFactory> factory_ = only(config::GrpcWebFilter{});
};

TEST_F(GrpcWeb, RequestsBecomeGrpc) {
  EXPECT_EQ(factory_->name(), "grpc_web");
  EXPECT_EQ(factory_->wants(), 0u);
  const std::pair<const char*, const char*> rows[] = {
      {"application/grpc-web", "application/grpc"},
      {"application/grpc-web+proto", "application/grpc+proto"},
      {"Application/gRPC-Web+json;x=y", "application/grpc+json;x=y"},
      {"application/grpc-web-text", "application/grpc"},
      {"application/grpc-web-text+proto", "application/grpc+proto"},
  };
  for (const auto& [web, grpc] : rows) {
    Call c = call(web, {{"grpc-timeout", "2S"}, {"tri-service-group", "g"}, {"accept", "*/*"}});
    EXPECT_EQ(c.request->header("content-type"), grpc);
    EXPECT_EQ(c.request->content_length, -1) << "its length is no longer known in text form";
    EXPECT_TRUE(c.request->te_trailers);
    EXPECT_TRUE(c.request->grpc);
    EXPECT_EQ(c.request->service, "acme.Echo");
    EXPECT_EQ(c.request->rpc_method, "Say");
    EXPECT_EQ(c.request->group, "g");
    EXPECT_EQ(c.request->timeout_ms, 2000);
    EXPECT_EQ(c.request->header("accept"), "*/*") << "says nothing of gRPC-Web";
  }
}

TEST_F(GrpcWeb, OtherRequestsPass) {
  auto untouched = [](const Call& c, std::string_view type) {
    EXPECT_EQ(c.request->header("content-type"), type);
    EXPECT_EQ(c.request->content_length, 100) << type;
    EXPECT_FALSE(c.request->grpc || c.request->te_trailers) << type;
  };
  for (const char* type :
       {"", "application/grpc", "application/json", "application/grpc-webx", "application/grpc-web-texts"}) {
    Call c = call(type);
    untouched(c, type);
    EXPECT_EQ(c.send("AAAA", true), "AAAA");
    c.head({{"content-type", "application/grpc"}});
    EXPECT_EQ(c.answer->header("content-type"), "application/grpc");
    EXPECT_EQ(c.body("x"), "x");
    EXPECT_EQ(c.trailers({{"grpc-status", "0"}}), "");
    EXPECT_EQ(c.left, 1u);
    LocalReply reply;
    reply.reason = Reason::kDenied;
    c.filter->on_local_reply(c.ctx, reply);
    EXPECT_EQ(reply.status(), 403u);
    BodyChunk rest;
    c.filter->on_response_failed(c.ctx, reply, rest);
    EXPECT_FALSE(rest.end);
  }
  untouched(Call(*factory_, {{"content-type", "application/grpc-web"}}, "OPTIONS"), "application/grpc-web");
  untouched(Call(*factory_, {}), "");
}

TEST_F(GrpcWeb, BinaryBodiesPassAsTheyAreUntilTheTrailers) {
  Call c = call("application/grpc-web+proto");
  const std::string request = message(0, "question");
  EXPECT_EQ(c.send(request, true), request);
  c.answer->content_length = 17;
  c.head({{"content-type", "application/grpc+proto"}, {"x-a", "b"}});
  EXPECT_EQ(text(c.answer->headers), "content-type=application/grpc-web+proto;x-a=b;");
  EXPECT_EQ(c.answer->content_length, -1);
  EXPECT_EQ(c.body(message(0, "answer")), message(0, "answer"));
  EXPECT_EQ(
      c.trailers({{"grpc-status", "0"}, {"X-Seen-Bin", "AAEC"}, {"connection", "close"}, {"bad", "a\nb"}}),
      trailers_message("grpc-status: 0\r\nx-seen-bin: AAEC\r\n"))
      << "names in lower case, nothing that belongs to a connection or would end a line";
  EXPECT_EQ(c.left, 0u);
}

TEST_F(GrpcWeb, TextRequestsAreDecodedAtEveryCut) {
  const std::string first = message(0, "question"), second = message(0, "and more");
  const std::string text = base64(first) + base64(second);  // two texts, each padded
  ASSERT_NE(text.find('='), std::string::npos);
  for (size_t a = 0; a <= text.size(); ++a) {
    for (size_t b = a; b <= text.size(); ++b) {
      Call c = call("application/grpc-web-text");
      std::string got = c.send(text.substr(0, a));
      got += c.send(text.substr(a, b - a));
      got += c.send(text.substr(b), true);
      ASSERT_EQ(got, first + second) << a << " " << b;
    }
  }
}

TEST_F(GrpcWeb, TextThatIsNoneIsRefused) {
  for (const char* bad : {"AAAA*AAA", "AA=A", "====", "AAA\n"}) {
    Call c = call("application/grpc-web-text");
    EXPECT_EQ(c.send(bad), "answered") << bad;
    EXPECT_EQ(c.ctx.answered, Reason::kMalformed);
  }
  for (const char* cut : {"A", "AA", "AAA", "AAAAAA="}) {
    Call c = call("application/grpc-web-text");
    EXPECT_NE(c.send(cut), "answered") << cut << " may go on";
    EXPECT_EQ(c.send("", true), "answered") << cut;
  }
}

TEST_F(GrpcWeb, TextAnswersAreWholeTextsPieceByPiece) {
  const std::string stream = message(0, "one") + message(0, "two");
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    Call c = call("application/grpc-web-text+proto");
    c.head({{"content-type", "application/grpc"}});
    EXPECT_EQ(c.answer->header("content-type"), "application/grpc-web-text");
    std::string all = c.body(stream.substr(0, cut));
    EXPECT_EQ(plain(all), stream.substr(0, cut)) << "nothing waits for the next piece";
    all += c.body(stream.substr(cut));
    all += c.trailers({{"grpc-status", "5"}, {"grpc-message", "not here"}});
    EXPECT_EQ(plain(all), stream + trailers_message("grpc-status: 5\r\ngrpc-message: not here\r\n")) << cut;
  }
}

TEST_F(GrpcWeb, TheClientChoosesTheFormOfAnswers) {
  struct Row {
    const char* type;
    const char* accept;
    bool text;
    bool passed_on;
  };
  for (const Row& row : {Row{"application/grpc-web", "application/grpc-web-text", true, false},
                         Row{"application/grpc-web-text", "application/grpc-web+proto", false, false},
                         Row{"application/grpc-web-text", "*/*", true, true},
                         Row{"application/grpc-web", "application/grpc-web", false, false}}) {
    Call c = call(row.type, {{"accept", row.accept}});
    EXPECT_EQ(c.request->headers.find("accept") != nullptr, row.passed_on) << row.accept;
    c.head({{"content-type", "application/grpc"}});
    EXPECT_EQ(c.answer->header("content-type"),
              row.text ? "application/grpc-web-text" : "application/grpc-web");
    EXPECT_EQ(c.body("abc"), row.text ? "YWJj" : "abc");
  }
}

TEST_F(GrpcWeb, AnAnswerOfTrailersAloneStaysInItsHead) {
  Call c = call("application/grpc-web-text");
  c.head({{"content-type", "application/grpc"}, {"grpc-status", "12"}, {"grpc-message", "no"}}, true);
  EXPECT_EQ(text(c.answer->headers),
            "content-type=application/grpc-web-text;grpc-status=12;grpc-message=no;");
  BodyChunk rest;
  c.filter->on_response_failed(c.ctx, LocalReply{}, rest);
  EXPECT_FALSE(rest.end) << "it has ended";
}

TEST_F(GrpcWeb, AnAnswerInHttpsWordsKeepsThem) {
  Call c = call("application/grpc-web-text");
  c.answer->content_length = 4;
  c.head({{"content-type", "text/html"}});
  EXPECT_EQ(c.answer->header("content-type"), "text/html");
  EXPECT_EQ(c.answer->content_length, 4);
  EXPECT_EQ(c.body("oops", true), "oops");
}

TEST_F(GrpcWeb, ABodyThatEndsWithoutTrailersGetsAStatus) {
  for (int32_t known : {-1, 14}) {
    Call c = call("application/grpc-web");
    c.head({{"content-type", "application/grpc"}});
    c.answer->rpc_status = known;
    EXPECT_EQ(c.body("x", true),
              "x" + trailers_message(known < 0 ? "grpc-status: 2\r\n" : "grpc-status: 14\r\n"));
  }
  Call c = call("application/grpc-web");
  c.head({{"content-type", "application/grpc"}, {"grpc-status", "0"}});
  EXPECT_EQ(c.body("", true), "") << "the head has said it";
  Call d = call("application/grpc-web");
  d.head({{"content-type", "application/grpc"}});
  EXPECT_EQ(d.trailers({{"x-a", "b"}}), trailers_message("x-a: b\r\ngrpc-status: 2\r\n"));
}

TEST_F(GrpcWeb, AnswersMadeHereAreTrailersAlone) {
  for (bool as_text : {false, true}) {
    Call c = call(as_text ? "application/grpc-web-text+proto" : "application/grpc-web+proto");
    const Header extra{"x-a", "b"};
    LocalReply reply;
    reply.reason = Reason::kRateLimited;
    reply.text = "50%";
    reply.content_type = "text/plain";
    reply.headers = {&extra, 1};
    c.filter->on_local_reply(c.ctx, reply);
    EXPECT_EQ(reply.status(), 200u);
    EXPECT_EQ(reply.text, "");
    EXPECT_EQ(reply.content_type, "");
    std::string fields;
    for (const Header& h : reply.headers) fields += std::string(h.name) + "=" + std::string(h.value) + ";";
    EXPECT_EQ(fields, std::string("x-a=b;content-type=application/grpc-web") + (as_text ? "-text" : "") +
                          "+proto;grpc-status=8;grpc-message=50%25;");
  }
}

TEST_F(GrpcWeb, AFailureInsideAnAnswerIsItsLastMessage) {
  for (bool as_text : {false, true}) {
    Call c = call(as_text ? "application/grpc-web-text" : "application/grpc-web");
    c.head({{"content-type", "application/grpc"}});
    c.body("part");
    LocalReply reply;
    reply.reason = Reason::kUpstreamTimeout;
    reply.text = "late";
    BodyChunk rest;
    c.filter->on_response_failed(c.ctx, reply, rest);
    EXPECT_TRUE(rest.end);
    const std::string got = text_of(rest.data);
    EXPECT_EQ(as_text ? plain(got) : got, trailers_message("grpc-status: 4\r\ngrpc-message: late\r\n"));
  }
}

TEST_F(GrpcWeb, EachExchangeHasItsOwnState) {
  Arena arena;
  EXPECT_NE(factory_->create(arena), factory_->create(arena));
  Call a = call("application/grpc-web-text");
  Call b = call("application/grpc-web-text");
  EXPECT_EQ(a.send("YW"), "");
  EXPECT_EQ(b.send("eHl6"), "xyz");
  EXPECT_EQ(a.send("Jj", true), "abc");
}

}  // namespace
}  // namespace dragoman::test
