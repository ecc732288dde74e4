#include "protocols/head.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace dragoman {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

Pairs pairs(const HeaderList& list) {
  Pairs out;
  for (const Header& h : list) out.emplace_back(h.name, h.value);
  return out;
}

TEST(HeaderId, EveryKnownNameInAnyCase) {
  const struct {
    const char* name;
    HeaderId id;
  } rows[] = {
      {"Host", HeaderId::kHost},
      {"CONNECTION", HeaderId::kConnection},
      {"content-length", HeaderId::kContentLength},
      {"Content-Type", HeaderId::kContentType},
      {"Transfer-Encoding", HeaderId::kTransferEncoding},
      {"TE", HeaderId::kTe},
      {"Trailer", HeaderId::kTrailer},
      {"uPGRADE", HeaderId::kUpgrade},
      {"Keep-Alive", HeaderId::kKeepAlive},
      {"Proxy-Connection", HeaderId::kProxyConnection},
      {"Expect", HeaderId::kExpect},
      {"Date", HeaderId::kDate},
      {"Server", HeaderId::kServer},
      {"User-Agent", HeaderId::kUserAgent},
      {"Accept", HeaderId::kAccept},
      {"X-Forwarded-For", HeaderId::kXForwardedFor},
      {"X-Forwarded-Proto", HeaderId::kXForwardedProto},
      {"X-Forwarded-Host", HeaderId::kXForwardedHost},
      {"X-Request-Id", HeaderId::kXRequestId},
      {"Authorization", HeaderId::kAuthorization},
      {"Cookie", HeaderId::kCookie},
      {"Location", HeaderId::kLocation},
      {"HTTP2-Settings", HeaderId::kHttp2Settings},
      {"grpc-timeout", HeaderId::kGrpcTimeout},
      {"grpc-status", HeaderId::kGrpcStatus},
      {"tri-service-timeout", HeaderId::kTriServiceTimeout},
      {"TRI-Service-Group", HeaderId::kTriServiceGroup},
      {"tri-service-version", HeaderId::kTriServiceVersion},
      {"tri-protocol-version", HeaderId::kTriProtocolVersion},
      {"", HeaderId::kOther},
      {"t", HeaderId::kOther},
      {"hosts", HeaderId::kOther},
      {"hast", HeaderId::kOther},
      {"x-forwarded-proto2", HeaderId::kOther},
      {"a-name-far-longer-than-all-of-those-known", HeaderId::kOther},
  };
  for (const auto& row : rows) EXPECT_EQ(header_id(row.name), row.id) << row.name;
}

TEST(HeaderId, OneOtherByteAnywhereIsAnotherName) {
  for (std::string name :
       {"te", "age", "host", "range", "accept", "trailer", "location", "connection", "x-request-id",
        "authorization", "content-length", "x-forwarded-for", "proxy-connection", "transfer-encoding",
        "tri-service-group", "if-unmodified-since", "tri-protocol-version"}) {
    ASSERT_EQ(known_name(name).name, name);
    for (size_t at = 0; at < name.size(); ++at) {
      for (int c = 0; c < 256; ++c) {
        std::string other = name;
        other[at] = static_cast<char>(c);
        const std::string_view known = known_name(other).name;
        EXPECT_TRUE(known.empty() || equals_ignore_case(known, other)) << name << " " << at << " " << c;
        EXPECT_EQ(equals_ignore_case(name, other), known == name) << name << " " << at << " " << c;
      }
    }
    EXPECT_NE(known_name(name + "x").name, name);
  }
}

TEST(KnownName, IsLowerCaseAndLasts) {
  for (std::string name : {"Cache-Control", "Content-Type", "X-REQUEST-ID", "via"}) {
    const KnownName known = known_name(name);
    EXPECT_TRUE(equals_ignore_case(known.name, name));
    EXPECT_EQ(known.id, header_id(name));
    EXPECT_EQ(lasting_name(known.name, known.id).data(), known.name.data());
    for (char c : known.name) EXPECT_FALSE(c >= 'A' && c <= 'Z') << known.name;
    // By the id where there is one, else only by the text itself.
    EXPECT_EQ(lasting_name(name, known.id), known.id == HeaderId::kOther ? std::string_view() : known.name);
  }
  EXPECT_EQ(lasting_name("x-own", HeaderId::kOther), "");
  EXPECT_EQ(lasting_name({}, HeaderId::kOther), "");
}

TEST(EqualsIgnoreCase, OnlyLettersFoldAtEveryLengthAndPlace) {
  for (size_t n = 0; n <= 20; ++n) {
    const std::string lower = std::string("content-length-xyz09").substr(0, n);
    for (size_t at = 0; at < n; ++at) {
      for (int c = 0; c < 256; ++c) {
        std::string other = lower;
        other[at] = static_cast<char>(c);
        char a = lower[at], b = other[at];
        bool same = a == b || (a >= 'a' && a <= 'z' && b == a - 'a' + 'A');
        ASSERT_EQ(equals_ignore_case(lower, other), same) << n << " " << at << " " << c;
        ASSERT_EQ(equals_ignore_case(other, lower), same) << n << " " << at << " " << c;
      }
    }
    EXPECT_FALSE(equals_ignore_case(lower, lower + "x"));
  }
}

TEST(HeaderList, KeepsOrderAndDuplicatesAcrossGrowth) {
  Arena arena;
  HeaderList list(arena);
  Pairs expected;
  for (int i = 0; i < 100; ++i) {
    expected.emplace_back("n" + std::to_string(i % 7), std::to_string(i));
    list.add(expected.back().first, expected.back().second);
  }
  EXPECT_EQ(pairs(list), expected);
}

TEST(HeaderList, AddCopiesTheText) {
  Arena arena;
  HeaderList list(arena);
  std::string name = "x-a", value = "1";
  list.add(name, value);
  name = "zzz";
  value = "9";
  EXPECT_EQ(pairs(list), (Pairs{{"x-a", "1"}}));
}

TEST(HeaderList, SetReplacesAllByOneAtTheFirstPlace) {
  Arena arena;
  HeaderList list(arena);
  list.add("a", "1");
  list.add("X-B", "2");
  list.add("c", "3");
  list.add("x-b", "4");
  list.set("x-B", "new");
  EXPECT_EQ(pairs(list), (Pairs{{"a", "1"}, {"X-B", "new"}, {"c", "3"}}));
  list.set("d", "5");
  EXPECT_EQ(list.size(), 4u);
  EXPECT_EQ(list.find("D")->value, "5");
}

TEST(HeaderList, FindAndRemoveByNameAndId) {
  Arena arena;
  HeaderList list(arena);
  list.add("Cookie", "a");
  list.add("other", "b");
  list.add("cookie", "c");
  ASSERT_NE(list.find(HeaderId::kCookie), nullptr);
  EXPECT_EQ(list.find(HeaderId::kCookie)->value, "a");
  EXPECT_EQ(list.find("OTHER")->value, "b");
  EXPECT_EQ(list.find("none"), nullptr);
  EXPECT_EQ(list.find(HeaderId::kHost), nullptr);
  EXPECT_EQ(list.remove("none"), 0u);
  EXPECT_EQ(list.remove(HeaderId::kCookie), 2u);
  EXPECT_EQ(list.remove("Other"), 1u);
  EXPECT_TRUE(list.empty());
}

TEST(Head, EditsOfFramedHeadsAreRecordedInOrder) {
  Head head;
  head.set_header("a", "1");
  head.add_header("a", "2");
  head.remove_header("b");
  const HeaderEdit* edit = head.edits;
  ASSERT_NE(edit, nullptr);
  EXPECT_EQ(edit->op, EditOp::kSet);
  EXPECT_EQ(edit->value, "1");
  edit = edit->next;
  ASSERT_NE(edit, nullptr);
  EXPECT_EQ(edit->op, EditOp::kAdd);
  edit = edit->next;
  ASSERT_NE(edit, nullptr);
  EXPECT_EQ(edit->op, EditOp::kRemove);
  EXPECT_EQ(edit->name, "b");
  EXPECT_EQ(edit->next, nullptr);
}

TEST(Head, HttpHeadsEditTheListOnly) {
  Head head;
  head.is_http = true;
  head.add_header("x", "1");
  head.set_header("X", "2");
  EXPECT_EQ(head.edits, nullptr);
  bool found = false;
  EXPECT_EQ(head.header("x", &found), "2");
  EXPECT_TRUE(found);
  EXPECT_EQ(head.header("y", &found), "");
  EXPECT_FALSE(found);
}

TEST(Head, ResetForgetsEverything) {
  Head head;
  head.is_http = true;
  head.method = "POST";
  head.status = 500;
  head.outcome = Outcome::kTimeout;
  head.content_length = 5;
  head.timeout_ms = 5;
  head.one_way = head.upgrade = head.te_trailers = true;
  head.is_request = false;
  for (int i = 0; i < 100; ++i) head.add_header("n", std::string(100, 'v'));
  head.is_http = false;
  head.set_header("n", "v");
  head.reset();
  EXPECT_TRUE(head.headers.empty());
  EXPECT_TRUE(head.method.empty());
  EXPECT_EQ(head.status, 0u);
  EXPECT_EQ(head.outcome, Outcome::kOk);
  EXPECT_EQ(head.content_length, -1);
  EXPECT_EQ(head.timeout_ms, -1);
  EXPECT_TRUE(head.is_request);
  EXPECT_FALSE(head.one_way || head.upgrade || head.te_trailers || head.is_http);
  EXPECT_EQ(head.edits, nullptr);
  head.set_header("a", "b");  // the list and the edits work again
  EXPECT_EQ(head.headers.size(), 1u);
  ASSERT_NE(head.edits, nullptr);
  EXPECT_EQ(head.edits->next, nullptr);
}

}  // namespace
}  // namespace dragoman
