// Which requests are taken, as what, and how the others are refused: the same at every split, and never a byte of a
// refused head to the sink.
#include <gtest/gtest.h>

#include <random>

#include "tests/http1/http1_support.h"

namespace dragoman::testing {
namespace {

constexpr std::string_view kNext = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

std::vector<Cuts> some_cuts(std::string_view bytes) {
  if (bytes.size() <= 300) return all_cuts(bytes);
  std::vector<Cuts> cuts{whole()};
  if (bytes.size() <= 20'000) cuts.push_back(byte_by_byte());
  for (size_t at : {size_t{1}, size_t{16}, bytes.size() / 2, bytes.size() - 3, bytes.size() - 1}) cuts.push_back(cut_at(at));
  return cuts;
}

size_t answers_in(std::string_view out) {
  size_t n = 0;
  for (size_t at = 0; (at = out.find("HTTP/1.1 ", at)) != std::string_view::npos; ++at)
    n += at + 9 < out.size() && out[at + 9] >= '1' && out[at + 9] <= '5';
  return n;
}

/// `begun`: the head is good, the body is not.
void expect_refused(std::string_view request, int status, const Http1Options& options = {}, bool begun = false) {
  SCOPED_TRACE(request.substr(0, 200));
  const std::string bytes = std::string(request) + std::string(kNext);
  const Served first = serve(bytes, whole(), options);
  EXPECT_EQ(first.requests.size(), begun ? 1 : 0) << ::testing::PrintToString(first);
  if (begun && !first.requests.empty()) {
    EXPECT_TRUE(first.requests[0].ends_with("\n<reset>"));
  }
  EXPECT_EQ(first.out.substr(0, 13), "HTTP/1.1 " + std::to_string(status) + " ");
  EXPECT_NE(first.out.find("\r\nconnection: close\r\n"), std::string::npos) << first.out;
  EXPECT_EQ(answers_in(first.out), 1);
  EXPECT_NE(first.broken, Reason::kNone);
  for (const Cuts& cuts : some_cuts(bytes)) {
    ASSERT_EQ(serve(bytes, cuts, options), first);
  }
}

/// `text` as text_of() gives it, without an end mark.
void expect_taken(std::string_view request, std::string_view text, const Http1Options& options = {}) {
  SCOPED_TRACE(request.substr(0, 200));
  const std::string bytes = std::string(request) + std::string(kNext);
  const Served first = serve(bytes, whole(), options);
  ASSERT_EQ(first.requests.size(), 2) << ::testing::PrintToString(first);
  EXPECT_EQ(first.requests[0], text);
  EXPECT_EQ(first.requests[1], "GET /next a\n\n");
  EXPECT_EQ(answers_in(first.out), 2);
  EXPECT_EQ(first.broken, Reason::kNone);
  for (const Cuts& cuts : some_cuts(bytes)) {
    ASSERT_EQ(serve(bytes, cuts, options), first);
  }
}

std::string post(std::string_view fields, std::string_view body = "") {
  return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n" + std::string(body);
}
std::string get(std::string_view fields) { return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n"; }
std::string chunked(std::string_view body) { return post("Transfer-Encoding: chunked\r\n", body); }

// --- framing ---------------------------------------------------------------------------------------------------------

TEST(Requests, LengthAndCodingTogether) {
  expect_refused(post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("transfer-encoding: CHUNKED\r\nx: y\r\ncontent-length: 5\r\n", "0\r\n\r\n"), 400);
}

TEST(Requests, SeveralLengths) {
  expect_refused(post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400);
  expect_refused(post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400);
  expect_refused(post("Content-Length: 0\r\nContent-Length: 0\r\n"), 400);
  expect_refused(post("Content-Length: 5, 5\r\n", "hello"), 400);
  expect_refused(post("Content-Length: 5, 6\r\n", "hello"), 400);
}

TEST(Requests, LengthThatIsNoNumber) {
  for (std::string_view value : {"+5", "-5", "-1", "0x5", "5a", "a", "", " ", "5 5", "5;", "5.0", "\"5\"", "1e1",
                                 "9223372036854775808", "18446744073709551615", "18446744073709551616",
                                 "18446744073709551621", "99999999999999999999999999999"}) {
    expect_refused(post("Content-Length: " + std::string(value) + "\r\n", "hello"), 400);
  }
  expect_refused(post("Content-Length: 5\x0b\r\n", "hello"), 400);
  expect_refused(post(std::string_view("Content-Length: 5\0\r\n", 20), "hello"), 400);
  for (std::string_view value : {"\t5", "5\t", " 5\t", "\t5\t", "\t \t5 \t ", " \t 5  "})
    expect_taken(post("Content-Length:" + std::string(value) + "\r\n", "hello"), "POST / a\n\nhello");
  expect_taken(get("a:\tb\tc\t\r\n"), "GET / a\na: b\tc\n\n");
  expect_refused(post("Content-Length\t: 5\r\n", "hello"), 400);
  expect_taken(post("Content-Length: 0005\r\n", "hello"), "POST / a\n\nhello");
}

TEST(Requests, TransferCodings) {
  for (std::string_view value : {"xchunked", "chunked, identity", "\x0b" "chunked", "chunked\x0b", "\x0c" "chunked", "identity",
                                 "gzip", "chunked, chunked", "chunked, gzip", "chunked;q=1", "\"chunked\"", "chunke",
                                 "chunkedd", "chunked chunked", ""})
    expect_refused(post("Transfer-Encoding: " + std::string(value) + "\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501);
  expect_refused(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400);
  expect_refused(post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400);
  expect_refused("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
  expect_taken(post("Transfer-Encoding: \t ChUnKeD \r\n", "0\r\n\r\n"), "POST / a\n\n");
}

TEST(Requests, Chunks) {
  expect_taken(chunked("5\r\nhello\r\n0\r\n\r\n"), "POST / a\n\nhello");
  expect_taken(chunked("0000000000000005\r\nhello\r\n000\r\n\r\n"), "POST / a\n\nhello");
  expect_taken(chunked("a\r\n0123456789\r\nA\r\nabcdefghij\r\n0\r\n\r\n"), "POST / a\n\n0123456789abcdefghij");
  expect_taken(chunked("5;a\r\nhello\r\n5; b=\"c\"\r\nworld\r\n0;last\r\n\r\n"), "POST / a\n\nhelloworld");
  expect_taken(chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\nEtag: e\r\n\r\n"),
               "POST / a\n\nhello\n<trailer> X-Sum: 1\n<trailer> Etag: e");
  for (std::string_view bad :
       {"g\r\n", "-1\r\n", "+1\r\nx\r\n", "0x1\r\nx\r\n", " 1\r\nx\r\n", "1 \r\nx\r\n", "1\t\r\nx\r\n", "\r\n", ";x\r\n",
        "5\nhello\r\n", "5\rhello\r\n", "5\r\nhelloX", "5\r\nhello\n", "5\r\nhello\rX", "5;a\nhello\r\n", "5;a\rX",
        "5;\x01\r\nhello\r\n", "5;\x7f\r\nhello\r\n", "8000000000000000\r\n", "ffffffffffffffff\r\n",
        "00000000000000001\r\nx\r\n", "10000000000000000\r\n", "1,1\r\nx\r\n"})
    expect_refused(chunked(bad), 400, {}, true);
  expect_refused(chunked(std::string_view("5;\0\r\nhello\r\n", 12)), 400, {}, true);
  expect_taken(chunked("1;" + std::string(4096, 'e') + "\r\nx\r\n0\r\n\r\n"), "POST / a\n\nx");
  expect_refused(chunked("1;" + std::string(4097, 'e') + "\r\nx\r\n0\r\n\r\n"), 400, {}, true);
  // All of them together: 16 KiB, and a sixteenth of the body.
  auto extended = [](int chunks, size_t extension, size_t data) {
    std::string body;
    for (int i = 0; i < chunks; ++i) {
      char size[20];
      snprintf(size, sizeof size, "%zx;", data);
      body += size + std::string(extension, 'e') + "\r\n" + std::string(data, 'x') + "\r\n";
    }
    return serve(chunked(body + "0\r\n\r\n"), whole()).out;
  };
  EXPECT_TRUE(extended(16, 1024, 1).starts_with("HTTP/1.1 200 "));
  EXPECT_TRUE(extended(17, 1024, 1).starts_with("HTTP/1.1 400 "));
  EXPECT_NE(extended(20'000, 1000, 1).find("chunk extensions too long"), std::string::npos);
  EXPECT_TRUE(extended(500, 85, 8192).starts_with("HTTP/1.1 200 ")) << "chunks that are signed";
}

TEST(Requests, FramingFieldsAmongTrailersAreLeftOut) {
  const std::string text = "POST / a\n\nx\n<trailer> x: y";
  for (std::string_view field :
       {"Content-Length: 5", "Transfer-Encoding: chunked", "Host: b", "Trailer: x", "Connection: close",
        "Upgrade: h2c", "TE: trailers", "Authorization: a", "Content-Type: b"}) {
    SCOPED_TRACE(field);
    expect_taken(chunked("1\r\nx\r\n0\r\n" + std::string(field) + "\r\nx: y\r\n\r\n"), text);
    Http1Connection c(Role::kServer);
    c.feed(chunked("1\r\nx\r\n0\r\n" + std::string(field) + "\r\nx: y\r\n\r\n"));
    EXPECT_EQ(c.events.count(CodecEvent::kFieldDropped), 1u);
  }
}

TEST(Requests, Trailers) {
  for (std::string_view bad : {"x y: 1\r\n\r\n", ": 1\r\n\r\n", "x : 1\r\n\r\n", " x: 1\r\n\r\n", "x: 1\r\n y\r\n\r\n", "x: 1\n\r\n",
                               "x\r\n\r\n", "x: a\rb\r\n\r\n", "x: \x01\r\n\r\n", "\n", "x: 1\r\n\n"})
    expect_refused(chunked("0\r\n" + std::string(bad)), 400, {}, true);
  // What must not come this late is dropped.
  for (std::string_view name : {"Content-Length", "Transfer-Encoding", "Host", "Authorization", "Cookie", "Connection", "TE",
                                "Trailer", "Upgrade", "Content-Type", "Expect", "X-Forwarded-For", "X-Request-Id",
                                "Proxy-Authorization", "Keep-Alive", "Set-Cookie", "Traceparent", "If-Match"})
    expect_taken(chunked("0\r\n" + std::string(name) + ": 5\r\nx: 1\r\n\r\n"), "POST / a\n\n\n<trailer> x: 1");
  expect_taken(chunked("0\r\nHost: b\r\n\r\n"), "POST / a\n\n");
  expect_refused(chunked("0\r\nx: " + std::string(9000, 'v') + "\r\n\r\n"), 431, {}, true);
  std::string many;
  for (int i = 0; i < 101; ++i) many += "x: 1\r\n";
  expect_refused(chunked("0\r\n" + many + "\r\n"), 431, {}, true);
}

// --- lines -----------------------------------------------------------------------------------------------------------

TEST(Requests, Fields) {
  expect_refused(get("a: b\r\n c: d\r\n"), 400);
  expect_refused(get("a: b\r\n\tc: d\r\n"), 400);
  expect_refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
  for (std::string_view line : {"a : b", "a\t: b", "a b: c", ": b", " : b", "a", "a(b: c", "a\"b: c", "a/b: c", "a@b: c",
                                "a\x7f: b", "a\x01: b", "\x80: b", "\xc3\xa4: b", "a: b\rc", "a: \rb", "a: b\x01", "a: b\x1f",
                                "a: \x0b", "a: \x7f", "\ra: b", "a\r: b"})
    expect_refused(get(std::string(line) + "\r\n"), 400);
  expect_refused(get(std::string_view("a: b\0c\r\n", 8)), 400);
  expect_refused(get(std::string_view("a\0b: c\r\n", 8)), 400);
  expect_refused(get(std::string_view("a: \0\r\n", 6)), 400);
  expect_refused(get("a: b\n"), 400);
  expect_refused(get("a: b\r\n\n"), 400);
  expect_refused("GET / HTTP/1.1\nHost: a\r\n\r\n", 400);
  expect_refused("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
  expect_refused("GET / HTTP/1.1\r\nHost: a\r\n\rX", 400);
  expect_taken(get("a:b\r\nc:\r\nd: \t e \t\r\nf: \xc3\xa4\xff\r\n!#$%&'*+-.^_`|~09azAZ: x\r\n"),
               "GET / a\na: b\nc: \nd: e\nf: \xc3\xa4\xff\n!#$%&'*+-.^_`|~09azAZ: x\n\n");
  expect_taken(get("a: 1\r\nA: 2\r\na: 1\r\n"), "GET / a\na: 1\nA: 2\na: 1\n\n");
  expect_taken(get("a: b: c\r\n"), "GET / a\na: b: c\n\n");
}

TEST(Requests, RequestLine) {
  for (std::string_view line : {"GET  / HTTP/1.1", "GET /  HTTP/1.1", " GET / HTTP/1.1", "GET\t/ HTTP/1.1",
                                "GET /\tHTTP/1.1", "GET / \tHTTP/1.1", "GET /", "GET / ", "GET", "GET ", "GET / http/1.1",
                                "GET / HTTPS/1.1", "GET / HTTP /1.1",
                                "GET / x HTTP/1.1", "GET HTTP/1.1", "/ HTTP/1.1", "GET \x01 HTTP/1.1",
                                "GET /\x01 HTTP/1.1", "GET /\x7f HTTP/1.1", "GET /\x80 HTTP/1.1", "GET /\xc3\xa4 HTTP/1.1",
                                "GET /a\rb HTTP/1.1", "HTTP/1.1 200 OK", "G(T / HTTP/1.1", "\x16\x03\x01", "G\x01T / HTTP/1.1"})
    expect_refused(std::string(line) + "\r\nHost: a\r\n\r\n", 400);
  expect_refused(std::string_view("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 29), 400);
  expect_refused("GET / HTTP/1.1\nHost: a\n\n", 400);
}

TEST(Requests, EmptyLinesBefore) {
  expect_taken("\r\n" + get(""), "GET / a\n\n");
  expect_taken("\r\n\r\n" + get(""), "GET / a\n\n");
  expect_refused("\r\n\r\n\r\n" + get(""), 400);
  expect_refused("\n" + get(""), 400);
  expect_refused("\r" + get(""), 400);
  expect_refused("\r\n\n" + get(""), 400);
  // Also after an answered request.
  Served got = serve(get("") + "\r\n\r\n" + get("") + "\r\n" + get(""), byte_by_byte());
  EXPECT_EQ(got.requests.size(), 3);
  EXPECT_EQ(got.broken, Reason::kNone);
}

TEST(Requests, Versions) {
  for (std::string_view version : {"0.9", "1.2", "1.9", "2.0", "3.0", "9.9", "0.0", "", "1", "1.", "11", "1.11", "1.1x", "1.1 ", "1.1\rX", "1 .1",
                                   " 1.1", "a.1", "1.a"})
    expect_refused("GET / HTTP/" + std::string(version) + "\r\nHost: a\r\n\r\n", 505);
  expect_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
  expect_refused("GET /\r\n\r\n", 400);  // 0.9
}

TEST(Requests, Methods) {
  for (std::string_view method : {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "PROPFIND", "MKCOL", "COPY", "MOVE",
                                  "LOCK", "UNLOCK", "REPORT", "PURGE", "SEARCH", "LINK", "UNLINK", "M-SEARCH", "SUBSCRIBE"}) {
    SCOPED_TRACE(method);
    Served got = serve(std::string(method) + " / HTTP/1.1\r\nHost: a\r\n\r\n", whole());
    ASSERT_EQ(got.requests.size(), 1);
    EXPECT_EQ(got.requests[0], std::string(method) + " / a\n\n");
  }
  for (std::string_view method : {"FROB", "get", "Get", "GETX", "GE", "G", "DESCRIBE", "SETUP", "X-CUSTOM", "!"})
    expect_refused(std::string(method) + " / HTTP/1.1\r\nHost: a\r\n\r\n", 501);
  expect_refused("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501);
  expect_refused("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405);
  Http1Options trace;
  trace.allow_trace = true;
  expect_taken("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "TRACE / a\n\n", trace);
  expect_taken("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "GET / a\n\nabc");
  expect_taken("DELETE / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "DELETE / a\n\nx");
  expect_taken(post(""), "POST / a\n\n");  // no length: no body
}

TEST(Requests, Garbage) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    std::string bytes(64 << 10, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    const Served got = serve(bytes, whole());
    EXPECT_TRUE(got.requests.empty());
    EXPECT_EQ(answers_in(got.out), 1);
    EXPECT_NE(got.broken, Reason::kNone);
    EXPECT_EQ(serve(bytes, cut_at(1 + random() % 100)), got);
  }
  EXPECT_EQ(live_chunks(), 0);
}

// --- limits ----------------------------------------------------------------------------------------------------------

TEST(Requests, HeadLimits) {
  Http1Options options;
  options.uri_bytes_max = 100;
  options.header_bytes_max = 300;
  options.headers_max = 5;
  auto uri = [](size_t n) { return "GET /" + std::string(n - 1, 'u') + " HTTP/1.1\r\nHost: a\r\n\r\n"; };
  expect_taken(uri(100), "GET /" + std::string(99, 'u') + " a\n\n", options);
  for (size_t n : {101, 130, 163, 200, 20'000}) expect_refused(uri(n), 414, options);
  // "Host: a", one field and the empty line.
  auto bytes = [](size_t n) { return get("x: " + std::string(n - 9 - 2 - 5, 'v') + "\r\n"); };
  expect_taken(bytes(300), "GET / a\nx: " + std::string(284, 'v') + "\n\n", options);
  for (size_t n : {301, 302, 303, 400, 20'000}) expect_refused(bytes(n), 431, options);
  expect_taken(get("1: \r\n2: \r\n3: \r\n4: \r\n"), "GET / a\n1: \n2: \n3: \n4: \n\n", options);
  expect_refused(get("1: \r\n2: \r\n3: \r\n4: \r\n5: \r\n"), 431, options);
  expect_refused("G" + std::string(10'000, 'E') + "T / HTTP/1.1\r\n\r\n", 414, options);
}

TEST(Requests, ManyFieldsAtOnce) {
  std::string many;
  for (int i = 0; i < 99; ++i) many += "x: y\r\n";
  EXPECT_EQ(serve(get(many), whole()).requests.size(), 1);
  expect_refused(get(many + "x: y\r\n"), 431);
  std::string flood = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 100'000; ++i) flood += "a:\r\n";
  Served got = serve(flood, whole());
  EXPECT_TRUE(got.out.starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(serve("GET / HTTP/1.1\r\nx: " + std::string(70'000, 'v'), whole()).out.starts_with("HTTP/1.1 431 "));
}

TEST(Requests, BodyLimit) {
  Http1Options options;
  options.body_bytes_max = 5;
  expect_taken(post("Content-Length: 5\r\n", "hello"), "POST / a\n\nhello", options);
  expect_refused(post("Content-Length: 6\r\n", "hello!"), 413, options);
  expect_refused(post("Content-Length: 9223372036854775807\r\n", "hello!"), 413, options);
  expect_taken(chunked("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), "POST / a\n\nhello", options);
  expect_refused(chunked("2\r\nhe\r\n4\r\nllo!\r\n0\r\n\r\n"), 413, options, true);
}

// --- host and target -------------------------------------------------------------------------------------------------

TEST(Requests, Hosts) {
  expect_refused("GET / HTTP/1.1\r\n\r\n", 400);
  expect_refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
  expect_refused("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400);
  expect_refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400);
  for (std::string_view host : {"a b", "a,b", "a/b", "a@b", "u:p@b", "a?b", "a#b", "a\\b", "a:b", "a:80:80", "a:123456", ":80",
                                "[::1", "[]", "[::1]x", "[zz]", "http://a", "a<b", "\xc3\xa4"})
    expect_refused("GET / HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n", 400);
  for (std::string_view host : {"a", "A.b", "a:80", "a:", "127.0.0.1:8080", "[::1]", "[::1]:80", "a_b", "xn--4ca", "a%20b", "a."})
    expect_taken("GET / HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n", "GET / " + std::string(host) + "\n\n");
  // An empty one says that there is none (RFC 9112 3.2), as we say it ourselves for a 1.0 client without.
  expect_taken("GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / \n\n");
  expect_taken("GET / HTTP/1.1\r\nHost: \r\n\r\n", "GET / \n\n");
}

TEST(Requests, AbsoluteForm) {
  auto at = [](std::string_view target, std::string_view host) {
    return "GET " + std::string(target) + " HTTP/1.1\r\nHost: " + std::string(host) + "\r\n\r\n";
  };
  expect_taken(at("http://a/x?y", "a"), "GET /x?y a\n\n");
  expect_taken(at("HTTP://A/x", "a"), "GET /x A\n\n");
  expect_taken(at("http://a", "a"), "GET / a\n\n");
  expect_taken(at("http://a?q=/", "a"), "GET /?q=/ a\n\n");
  expect_taken(at("http://a:80/x", "a"), "GET /x a:80\n\n");
  expect_taken(at("http://a/x", "a:80"), "GET /x a\n\n");
  expect_taken(at("https://a:443/x", "a"), "GET /x a:443\n\n");
  expect_taken(at("http://[::1]:80/x", "[::1]"), "GET /x [::1]:80\n\n");
  expect_taken(at("http://a/b/../c//d", "a"), "GET /c/d a\n\n");
  expect_taken("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * a\n\n");
  expect_taken("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * a\n\n");
  for (std::string_view other : {"b", "a.", "a:81", "ab", "", "u@a"}) expect_refused(at("http://a/x", other), 400);
  for (std::string_view bad : {"http://", "http:///x", "http://?x", "http://u@a/", "http://a:x/", "http:/a", "http:a", "ftp://a/",
                               "a", "a:80", "a/b", "*", "?x", "https://b/", "http://a\\b/", "http://a#f"})
    expect_refused(at(bad, "a"), 400);
  expect_refused("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400);
  expect_refused("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

TEST(Requests, PathsAreNormalised) {
  auto at = [](std::string_view target) { return "GET " + std::string(target) + " HTTP/1.1\r\nHost: a\r\n\r\n"; };
  struct Row {
    std::string_view target, path;
  };
  for (Row row : {Row{"/a//b", "/a/b"}, Row{"//a", "/a"}, Row{"///", "/"}, Row{"/./a", "/a"}, Row{"/a/.", "/a/"},
                  Row{"/a/..", "/"}, Row{"/a/../b", "/b"}, Row{"/a/b/../../c", "/c"}, Row{"/%61", "/a"}, Row{"/%2e", "/"},
                  Row{"/a/%2e%2E/b", "/b"}, Row{"/a/.%2e/b", "/b"}, Row{"/%7Ea", "/~a"}, Row{"/%41%5a%30%2d", "/AZ0-"}, Row{"/%20a", "/%20a"},
                  Row{"/%C3%A4", "/%C3%A4"}, Row{"/%3f", "/%3f"}, Row{"/%25", "/%25"}, Row{"/a?b//../%2e", "/a?b//../%2e"},
                  Row{"/..a/a../.a", "/..a/a../.a"}, Row{"/...", "/..."}, Row{"/a;x=1/b", "/a;x=1/b"}, Row{"/a/../?q", "/?q"},
                  Row{"/\"<>^`{|}", "/\"<>^`{|}"}})
    expect_taken(at(row.target), "GET " + std::string(row.path) + " a\n\n");
  for (std::string_view bad :
       {"/..",      "/../a",   "/a/../..",       "/%2e%2e/a", "/a/../../b",    "/%00",
        "/a\\b",    "/..%2fa", "/a/..%5c..%5cb", "/a%2f..",   "/a%2f%2e%2e/b", "/a%5c..;x/b",
        "/%",       "/%4",     "/%zz",           "/%4g",      "/a%",           "/..;x",
        "/a/..;/b", "/.;x/b",  "/a#b",           "/#"})
    expect_refused(at(bad), 400);
  // Other spellings of a slash are bytes like others, for routes and for the server.
  for (std::string_view kept : {"/@scope%2fname", "/a/group%2Fproject/b%2Fc", "/q/%2F/o", "/C:%5Ctmp", "/%2f",
                                "/a%2f.b/..c%2f...", "/%252f.."})
    expect_taken(at(kept), "GET " + std::string(kept) + " a\n\n");
  expect_taken(at("/x/../a%2fb//c?d%2f\\"), "GET /a%2fb/c?d%2f\\ a\n\n");
  Http1Options as_is;
  as_is.normalize_path = false;
  for (std::string_view target : {"/a//b", "/../a", "/%2e%2e/%2f", "/%zz", "//a", "/a/.", "/a?\\"})
    expect_taken(at(target), "GET " + std::string(target) + " a\n\n", as_is);
  // Three switches, each for itself.
  for (bool normalize : {true, false}) {
    for (bool encoded : {true, false}) {
      for (bool backslashes : {true, false}) {
        Http1Options options;
        options.normalize_path = normalize;
        options.encoded_slashes = encoded;
        options.backslashes = backslashes;
        auto expect = [&](std::string_view target, bool taken, std::string_view path) {
          if (taken)
            expect_taken(at(target), "GET " + std::string(path) + " a\n\n", options);
          else
            expect_refused(at(target), 400, options);
        };
        expect("/a/../b", true, normalize ? "/b" : "/a/../b");
        expect("/a%2Fb", encoded, "/a%2Fb");
        expect("/a%5cb", encoded, "/a%5cb");
        expect("/a\\b", backslashes, "/a\\b");
        expect("/a\\..\\b", backslashes && !normalize, "/a\\..\\b");
        expect("/a%2f..%2fb", encoded && !normalize, "/a%2f..%2fb");
      }
    }
  }
  as_is.backslashes = true;
  for (std::string_view target : {"/a//b", "/../a", "/%2e%2e/%2f", "/%zz", "/a\\b", "//a", "/a/."})
    expect_taken(at(target), "GET " + std::string(target) + " a\n\n", as_is);
}

// --- hop by hop ------------------------------------------------------------------------------------------------------

TEST(Requests, HopByHopFieldsStayHere) {
  expect_taken(get("Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: "
                   "gzip\r\nTrailer: x\r\n"
                   "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\na: b\r\n"),
               "GET / a\nTrailer: x\na: b\n\n");
  expect_taken(get("x: 1\r\nConnection: X, y\r\nY: 2\r\nz: 3\r\nx: 4\r\n"), "GET / a\nz: 3\n\n");
  expect_taken(get("Connection: x\r\nConnection: , y ,\r\nx: 1\r\ny: 2\r\nz: 3\r\n"), "GET / a\nz: 3\n\n");
  expect_taken(get("Connection: connection, x\r\nx: 1\r\nz: 3\r\n"), "GET / a\nz: 3\n\n");
  expect_taken(get("Connection: x, connection, y\r\nx: 1\r\ny: 2\r\nz: 3\r\n"), "GET / a\nz: 3\n\n");
  // Nobody can have these taken away from those behind us.
  expect_taken(get("Connection: host, authorization, cookie, x-forwarded-for, x-request-id, traceparent, content-type\r\n"
                   "Authorization: a\r\nCookie: b\r\nX-Forwarded-For: c\r\nX-Request-Id: d\r\nTraceparent: e\r\nContent-Type: f\r\n"),
               "GET / a\nAuthorization: a\nCookie: b\nX-Forwarded-For: c\nX-Request-Id: d\nTraceparent: e\nContent-Type: f\n\n");
  expect_taken(post("Connection: content-length\r\nContent-Length: 1\r\n", "x"), "POST / a\n\nx");
  expect_taken(post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "1\r\nx\r\n0\r\n\r\n"), "POST / a\n\nx");
  std::string names = "Connection: n0";
  for (int i = 1; i < 33; ++i) names += ",n" + std::to_string(i);
  expect_refused(get(names + "\r\n"), 400);
  expect_taken(get("TE: trailers\r\nConnection: te\r\n"), "GET / a\n<te>\n\n");
}

TEST(Requests, Expectations) {
  expect_taken(post("Expect: 100-Continue\r\nContent-Length: 2\r\n", "hi"), "POST / a\n<expect>\n\nhi");
  expect_refused(post("Expect: magic\r\nContent-Length: 2\r\n", "hi"), 417);
  expect_refused(post("Expect: 100-continue, magic\r\n"), 417);
}

// --- HTTP/1.0 --------------------------------------------------------------------------------------------------------

TEST(Requests, Http10) {
  const std::string close = "\r\nconnection: close\r\n";
  Served got = serve("GET / HTTP/1.0\r\n\r\n" + std::string(kNext), whole());
  EXPECT_EQ(got.requests, std::vector<std::string>{"GET / \n\n"});
  EXPECT_NE(got.out.find(close), std::string::npos);
  EXPECT_TRUE(got.finished);
  got = serve("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" + std::string(kNext), byte_by_byte());
  EXPECT_EQ(got.requests.size(), 2);
  EXPECT_NE(got.out.find("\r\nconnection: keep-alive\r\n"), std::string::npos);
  got = serve("POST / HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\nTE: trailers\r\n\r\nhi", whole());
  EXPECT_EQ(got.requests, std::vector<std::string>{"POST / \n\nhi"});
  // A body that only the end of the connection would end.
  for (std::string_view method : {"POST", "PUT", "PATCH"})
    expect_refused(std::string(method) + " / HTTP/1.0\r\nHost: a\r\n\r\nbody", 400);
}

TEST(Requests, KeepAliveIsTheDefaultOf11) {
  Served got = serve(get("Connection: close\r\n") + std::string(kNext), whole());
  EXPECT_EQ(got.requests.size(), 1);
  EXPECT_TRUE(got.finished);
  EXPECT_NE(got.out.find("\r\nconnection: close\r\n"), std::string::npos);
  got = serve(get("") + std::string(kNext), whole());
  EXPECT_EQ(got.out.find("connection:"), std::string::npos);
  got = serve(get("Connection: Keep-Alive, CLOSE\r\n") + std::string(kNext), whole());
  EXPECT_EQ(got.requests.size(), 1);
}

TEST(Requests, RefusedHeadHasNoBodyInItsAnswer) {
  // Also to HEAD, when the line said so before the fault came.
  std::string out = serve("HEAD /%zz HTTP/1.1\r\nHost: a\r\n\r\n", whole()).out;
  EXPECT_TRUE(out.starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(out.ends_with("\r\n\r\n")) << out;
}

}  // namespace
}  // namespace dragoman::testing
