// Every captured message decodes to what its index says, passes both roles, and does so at every split.
#include <gtest/gtest.h>
#include <zlib.h>

#include <fstream>
#include <map>

#include "tests/http1/http1_support.h"
#include "tests/support/hex.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

/// A line of the index: one message, or the refusal of what follows the messages before it.
struct Row {
  std::string kind;  // request, open (its body never came), upgrade, interim, response, reject
  std::string answers;
  std::string start;  // or the status of the refusal
  std::string body;   // length:crc32
  std::string trailers;
  std::vector<std::string> fields;
};

struct Vector {
  std::string name, bytes;
  std::vector<Row> rows;
  bool is_response() const { return bytes.starts_with("HTTP/"); }
};

void PrintTo(const Vector& v, std::ostream* to) { *to << v.name; }

std::vector<Vector> vectors() {
  const std::string base = source_dir() + "/tests/vectors/http1/";
  std::vector<Vector> out;
  std::ifstream index(base + "index.tsv");
  std::string line;
  std::getline(index, line);
  while (std::getline(index, line)) {
    std::vector<std::string> cells;
    for (size_t at = 0; at <= line.size();) {
      size_t tab = std::min(line.find('\t', at), line.size());
      cells.push_back(line.substr(at, tab - at));
      at = tab + 1;
    }
    if (out.empty() || out.back().name != cells.at(0))
      out.push_back({cells[0], read_hex(base + cells[0] + ".hex"), {}});
    Row row{cells.at(1), cells.at(2), cells.at(3), cells.at(4), cells.at(5), {}};
    row.fields.assign(cells.begin() + 6, cells.end());
    out.back().rows.push_back(std::move(row));
  }
  if (out.size() != 54) throw std::runtime_error("vectors are missing");
  return out;
}

std::string sum_of(std::string_view body) {
  char text[32];
  auto crc = crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  std::snprintf(text, sizeof text, "%zu:%08lx", body.size(), crc);
  return text;
}

/// The text_of() a row promises, with the body's sum in its place.
std::string expected(const Row& row) {
  std::string out = row.start;
  for (std::string field : row.fields) out += "\n" + field.replace(field.find('='), 1, ": ");
  if (row.kind == "upgrade" || row.start.starts_with("101")) out += "\n<upgrade>";
  return out;
}

/// Splits text_of() and checks it.
void check(const Row& row, std::string text) {
  for (const char* mark : {"\n<expect>", "\n<te>"})
    if (size_t at = text.find(mark); at != std::string::npos) text.erase(at, std::string_view(mark).size());
  size_t end = text.find("\n\n");
  ASSERT_NE(end, std::string::npos) << text;
  EXPECT_EQ(text.substr(0, end), expected(row));
  std::string rest = text.substr(end + 2);
  const bool open = row.kind == "open" || row.kind == "upgrade";
  auto cut = [&rest](std::string_view ending) {
    bool there = rest.ends_with(ending);
    if (there) rest.resize(rest.size() - ending.size());
    return there;
  };
  EXPECT_EQ(cut("\n<open>"), open) << text;
  if (row.trailers != "-") {
    std::string trailer = row.trailers;
    EXPECT_TRUE(cut("\n<trailer> " + trailer.replace(trailer.find('='), 1, ": "))) << text;
  }
  EXPECT_EQ(sum_of(rest), row.body) << text;
}

class Vectors : public ::testing::TestWithParam<Vector> {
 protected:
  const Vector& v = GetParam();
  bool rejected() const { return v.rows.back().kind == "reject"; }

  void check_request(const Cuts& cuts) {
    Served got = serve(v.bytes, cuts);
    size_t messages = v.rows.size() - (rejected() ? 1 : 0);
    // A body that breaks off only later had a good head.
    size_t begun = v.name == "smuggle-chunk-ext-lf" ? 1 : messages;
    ASSERT_EQ(got.requests.size(), begun) << ::testing::PrintToString(got);
    for (size_t i = 0; i < messages; ++i) check(v.rows[i], got.requests[i]);
    if (!rejected()) {
      EXPECT_EQ(got.broken, Reason::kNone);
      return;
    }
    size_t last = got.out.rfind("HTTP/1.1 " + v.rows.back().start + " ");
    ASSERT_NE(last, std::string::npos) << got.out;
    EXPECT_NE(got.out.find("connection: close\r\n", last), std::string::npos);
    EXPECT_NE(got.broken, Reason::kNone);
    if (begun > messages) {
      EXPECT_TRUE(got.requests.back().ends_with("\n<reset>"));
    }
  }

  void check_response(const Cuts& cuts) {
    const Row& last = v.rows.back();
    Fetched got = fetch(v.bytes, cuts, last.answers == "-" ? "GET" : last.answers, true);
    if (rejected()) {
      EXPECT_EQ(got.reset, Reason::kUpstreamProtocolError);
      EXPECT_FALSE(got.reusable);
      return;
    }
    EXPECT_EQ(got.reset, Reason::kNone);
    ASSERT_EQ(got.interim.size(), v.rows.size() - 1);
    for (size_t i = 0; i < got.interim.size(); ++i) EXPECT_EQ(got.interim[i], expected(v.rows[i]));
    check(last, got.answer);
  }
};

TEST_P(Vectors, DecodesAtEverySplit) {
  // The long ones have boring bodies: cut those at some places.
  std::vector<Cuts> cuts{whole(), byte_by_byte()};
  for (size_t at = 1; at < v.bytes.size(); at += at < 512 ? 1 : 97) cuts.push_back(cut_at(at));
  for (const Cuts& c : cuts) {
    if (v.is_response())
      check_response(c);
    else
      check_request(c);
    if (HasFailure()) return;
  }
}

/// The message, written again by the other role, decodes to the same.
TEST_P(Vectors, PassesBothRoles) {
  if (rejected()) return;  // nothing to pass on
  if (!v.is_response()) {
    Http1Connection down(Role::kServer), up(Role::kClient);
    std::string sent;
    size_t requests = 0;
    {
      Relay relay(down, up, [&](const Head& h) {
        ++requests;
        sent += up.sink.take();
        return std::string(h.upgrade ? "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                                     : "HTTP/1.1 204 No Content\r\n\r\n");
      });
      down.feed(v.bytes);
      sent += up.sink.take();
      EXPECT_TRUE(relay.failures.empty());
    }
    const bool open = v.rows[0].kind == "open";
    EXPECT_EQ(requests, open ? 0 : v.rows.size());
    Served again = serve(sent, whole());
    ASSERT_EQ(again.requests.size(), v.rows.size()) << sent;
    for (size_t i = 0; i < v.rows.size(); ++i) check(v.rows[i], again.requests[i]);
    return;
  }
  const Row& last = v.rows.back();
  const bool upgrade = last.answers == "UPGRADE";
  Http1Connection down(Role::kServer), up(Role::kClient);
  {
    bool ended = last.kind == "response" && v.bytes.find("ontent-length") == std::string::npos;
    Relay relay(down, up, [&](const Head&) { return v.bytes; });
    // The trailers reach only a client that says it takes them.
    down.feed((upgrade ? "GET" : last.answers) + std::string(" / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te") +
              (upgrade ? ", upgrade\r\nupgrade: websocket" : "") + "\r\n\r\n");
    if (ended) up.codec->on_eof();
  }
  std::string sent = down.sink.take();
  Fetched again = fetch(sent, whole(), last.answers, true);
  ASSERT_EQ(again.interim.size(), v.rows.size() - 1) << sent;
  for (size_t i = 0; i < again.interim.size(); ++i) EXPECT_EQ(again.interim[i], expected(v.rows[i]));
  check(last, again.answer);
}

INSTANTIATE_TEST_SUITE_P(Http1, Vectors, ::testing::ValuesIn(vectors()), [](const auto& each) {
  std::string name = each.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace dragoman::testing
