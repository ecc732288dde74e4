// Whole connections of gRPC and Triple, recorded between real peers: every stream is read as the protocol notes' index says,
// whatever the cuts. tests/vectors/README.md tells where the bytes come from.
#include <fstream>
#include <set>
#include <sstream>

#include "protocols/http1/http1_codec.h"
#include "tests/http2/frames.h"
#include "tests/http2/http2_support.h"
#include "tests/support/hex.h"
#include "tests/support/source_dir.h"

namespace dragoman {
namespace {

using namespace testing;
using namespace testing::h2;

const std::string kFolder = source_dir() + "/tests/vectors/";

/// What the index says of one stream.
struct Stream {
  std::string service, method, group, version;
  int64_t timeout_ms = -1;
  Fields head, trailers;
  size_t body = 0;
  bool ended = false, reset = false;
  bool refused = false;  // bytes in a field that HTTP/2 does not allow
  int grpc_status = -1;

  std::string field(std::string_view name) const {
    for (const auto& [n, v] : head)
      if (n == name) return v;
    return "";
  }
};

/// One direction of a connection, streams in the order of their ids.
struct Session {
  std::string folder, name;
  std::vector<Stream> streams;

  bool of_client() const { return name.ends_with("c2s") || name.ends_with("call"); }
  std::string bytes() const { return read_hex(kFolder + folder + "/" + name + ".hex"); }
  bool http1() const { return name.find("-h1-") != std::string::npos; }
};

std::ostream& operator<<(std::ostream& out, const Session& s) { return out << s.name; }

std::vector<Session> sessions() {
  std::vector<Session> all;
  for (const char* folder : {"grpc", "triple"}) {
    std::ifstream in(kFolder + folder + "/streams.txt");
    for (std::string line; std::getline(in, line);) {
      if (line.starts_with("#")) continue;
      std::istringstream words(line);
      std::string what, name, value;
      words >> what;
      if (what == "=") {
        words >> name;
        if (all.empty() || all.back().name != name) all.push_back({folder, name, {}});
        all.back().streams.emplace_back();
        continue;
      }
      Stream& s = all.at(all.size() - 1).streams.back();
      const bool named = what == "head" || what == "trailer";
      if (named) words >> name;
      std::getline(words >> std::ws, value);
      if (named)
        (what == "head" ? s.head : s.trailers).emplace_back(name, value);
      else if (what == "service")
        s.service = value;
      else if (what == "method")
        s.method = value;
      else if (what == "group")
        s.group = value;
      else if (what == "version")
        s.version = value;
      else if (what == "timeout_ms")
        s.timeout_ms = std::stoll(value);
      else if (what == "body")
        s.body = std::stoul(value);
      else if (what == "grpc_status")
        s.grpc_status = std::stoi(value);
      else if (what == "end")
        s.ended = true;
      else if (what == "reset")
        s.reset = true;
      else if (what == "refused")
        s.refused = true;
      else
        throw std::runtime_error("unknown line " + line);
    }
  }
  return all;
}

/// Fields that become something else than headers, or are about one connection only.
bool is_header(std::string_view name) {
  return !name.starts_with(':') && name != "content-length" && name != "te";
}

void expect_message(const FakeMessageSink& got, const Stream& s, const std::string& what) {
  ASSERT_NE(got.head, nullptr) << what;
  size_t headers = 0;
  for (const auto& [name, value] : s.head) {
    if (!is_header(name)) continue;
    ++headers;
    EXPECT_EQ(got.head->header(name), value) << what << " " << name;
  }
  EXPECT_EQ(got.head->headers.size(), headers) << what;
  EXPECT_EQ(got.head->te_trailers, s.field("te") == "trailers") << what;
  EXPECT_EQ(got.body.size(), s.body) << what;
  Fields trailers(got.trailers.begin(), got.trailers.end());
  EXPECT_EQ(trailers, s.trailers) << what;
  EXPECT_EQ(got.ended, s.ended) << what;
  EXPECT_EQ(got.was_reset, s.reset) << what;
}

void expect_request(const FakeMessageSink& got, const Stream& s, const std::string& what) {
  expect_message(got, s, what);
  if (!got.head) return;
  const Head& head = *got.head;
  EXPECT_EQ(head.method, s.field(":method")) << what;
  EXPECT_EQ(head.path, s.field(":path")) << what;
  EXPECT_EQ(head.authority, s.field(":authority")) << what;
  EXPECT_EQ(head.service, s.service) << what;
  EXPECT_EQ(head.rpc_method, s.method) << what;
  EXPECT_EQ(head.timeout_ms, s.timeout_ms) << what;
  EXPECT_EQ(head.group, s.group) << what;
  EXPECT_EQ(head.version, s.version.empty() ? "1.0.0" : s.version) << what;
  const bool grpc = s.field("content-type").starts_with("application/grpc");
  EXPECT_EQ(head.grpc, grpc) << what;
  EXPECT_EQ(head.triple, !grpc) << what;
}

class Recorded : public ::testing::TestWithParam<Session> {
 protected:
  /// Sizes of the pieces that `bytes` come in.
  static std::vector<size_t> steps(const std::string& bytes) { return {bytes.size(), 1, 2, 3, 9, 17, 100}; }

  void read_requests(const std::string& bytes, size_t step) {
    const Session& s = GetParam();
    Http2Connection server(Role::kServer);
    server.feed_in_steps(bytes, step);
    ASSERT_EQ(server.events.broken, 0) << server.events.broken_detail;
    std::set<uint32_t> refused;
    for (const Frame& f : parse(server.sink.take()))
      if (f.type == kRstStream && f.word(0) == kProtocolError) refused.insert(f.id);
    size_t i = 0, wrong = 0;
    for (const Stream& stream : s.streams) {
      if (stream.refused) {
        ++wrong;
        continue;
      }
      ASSERT_LT(i, server.accepted());
      ++i;
      expect_request(server.at(i - 1), stream,
                     s.name + " request " + std::to_string(i) + " by " + std::to_string(step));
    }
    EXPECT_EQ(server.accepted(), i);
    EXPECT_EQ(refused.size(), wrong);
  }

  void read_answers(const std::string& bytes, size_t step) {
    const Session& s = GetParam();
    Http2Connection client(Role::kClient);
    // The first frame, SETTINGS, lets the client open streams: with the ids that the answers have.
    const size_t hello = 9 + static_cast<uint8_t>(bytes[2]);
    client.feed_in_steps(bytes.substr(0, hello), step);
    std::vector<std::unique_ptr<Call>> calls;
    for (const Stream& stream : s.streams) {
      calls.push_back(std::make_unique<Call>("POST", "/a.B/c"));
      Call& call = *calls.back();
      call.head.grpc = stream.grpc_status >= 0 || s.name.find("grpc") != std::string::npos;
      ASSERT_TRUE(call.open(*client.codec));
      ASSERT_EQ(call.exchange->send_head(call.head, true), Reason::kNone);
    }
    client.sink.take();
    client.feed_in_steps(bytes.substr(hello), step);
    ASSERT_EQ(client.events.broken, 0) << client.events.broken_detail;
    const std::vector<Frame> frames = parse(bytes);
    EXPECT_EQ(client.events.goaways > 0,
              std::any_of(frames.begin(), frames.end(), [](const Frame& f) { return f.type == kGoAway; }));
    for (size_t i = 0; i < calls.size(); ++i) {
      const std::string what = s.name + " answer " + std::to_string(i + 1) + " by " + std::to_string(step);
      const FakeMessageSink& got = calls[i]->answer;
      expect_message(got, s.streams[i], what);
      if (!got.head) continue;
      EXPECT_EQ(std::to_string(got.head->status), s.streams[i].field(":status")) << what;
      EXPECT_EQ(got.head->rpc_status, s.streams[i].grpc_status) << what;
    }
  }

  void read_http1(const std::string& bytes, size_t step) {
    const Session& s = GetParam();
    const Stream& first = s.streams.at(0);  // the connection goes on with more of the kind
    FakeConnection connection([&](ByteSink& out, ConnectionEvents& owner) {
      return make_http1_codec(Protocol{}, s.of_client() ? Role::kServer : Role::kClient, out, owner,
                              CodecOptions{});
    });
    if (s.of_client()) {
      connection.feed_in_steps(bytes, step);
      ASSERT_EQ(connection.events.broken, 0) << connection.events.broken_detail;
      ASSERT_GE(connection.accepted(), 1u);
      expect_request(connection.at(0), first, s.name);
      return;
    }
    Call call("POST", "/a.B/c");
    ASSERT_TRUE(call.open(*connection.codec));
    ASSERT_EQ(call.exchange->send_head(call.head, true), Reason::kNone);
    const size_t end = bytes.find("\r\n\r\n") + 4 + first.body;
    connection.feed_in_steps(bytes.substr(0, end), step);
    expect_message(call.answer, first, s.name);
    EXPECT_EQ(std::to_string(call.answer.head->status), first.field(":status"));
  }
};

TEST_P(Recorded, IsReadAsTheIndexSays) {
  const std::string bytes = GetParam().bytes();
  for (size_t step : steps(bytes)) {
    if (GetParam().http1())
      read_http1(bytes, step);
    else if (GetParam().of_client())
      read_requests(bytes, step);
    else
      read_answers(bytes, step);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Sessions, Recorded, ::testing::ValuesIn(sessions()), [](const auto& p) {
  std::string name = p.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

// ---------------------------------------------------------------- answers that a proxy makes

struct Hijack {
  const char* name;
  Reason reason;
  int grpc_status;
  const char* message;
};

class Hijacks : public ::testing::TestWithParam<Hijack> {};

/// A gRPC call that waits for its answer.
struct CallOfOurs {
  Http2Connection client{Role::kClient};
  Call call{"POST", "/a.B/c"};

  CallOfOurs() {
    client.feed(settings());
    call.head.grpc = true;
    if (!call.open(*client.codec)) return;
    call.exchange->send_head(call.head, true);
    client.sink.take();
  }
};

std::string hijack(std::string_view name) {
  return read_hex(kFolder + "grpc/grpc-hijack-" + std::string(name) + ".hex");
}

TEST_P(Hijacks, AreReadAndSaidAsTheIndexSays) {
  const Hijack& v = GetParam();
  CallOfOurs c;
  ASSERT_NE(c.call.exchange, nullptr);
  auto& [client, call] = c;
  client.feed(hijack(v.name));
  ASSERT_NE(call.answer.head, nullptr) << client.events.broken_detail;
  EXPECT_EQ(call.answer.head->status, 200u);
  EXPECT_EQ(call.answer.head->header("content-type"), "application/grpc");
  EXPECT_EQ(call.answer.head->header("grpc-message"), v.message);
  EXPECT_EQ(call.answer.head->rpc_status, v.grpc_status);
  EXPECT_TRUE(call.answer.ended);
  if (std::string_view(v.name) == "overflow") {
    EXPECT_EQ(call.answer.head->repeat_after_ms, Head::kNoRepeat);
  }

  // What we answer ourselves says the same.
  Http2Pair pair;
  Call again("POST", "/a.B/c");
  again.head.grpc = true;
  again.head.headers.add("content-type", "application/grpc");
  ASSERT_EQ(pair.start(again, true), Reason::kNone);
  LocalReply reply;
  reply.reason = v.reason;
  reply.text = v.reason == Reason::kUpstreamReset ? "mesh: upstream reset 100%" : v.message;
  FakeMessageSink& request = pair.server.at(0);
  request.exchange->send_reply(*request.head, reply);
  pair.pump();
  ASSERT_NE(again.answer.head, nullptr);
  EXPECT_EQ(again.answer.head->status, 200u);
  EXPECT_EQ(again.answer.head->header("content-type"), "application/grpc");
  EXPECT_EQ(again.answer.head->header("grpc-message"), v.message);
  EXPECT_EQ(again.answer.head->rpc_status, v.grpc_status);
  EXPECT_TRUE(again.answer.ended);
}

INSTANTIATE_TEST_SUITE_P(
    Sessions, Hijacks,
    ::testing::Values(Hijack{"codec-error", Reason::kMalformed, 13, "mesh: codec error"},
                      Hijack{"denied", Reason::kDenied, 7, "mesh: permission denied"},
                      Hijack{"limit", Reason::kRateLimited, 8, "mesh: limit exceeded"},
                      Hijack{"no-healthy-upstream", Reason::kNoHealthyUpstream, 14,
                             "mesh: no healthy upstream"},
                      Hijack{"no-route", Reason::kNoRoute, 12, "mesh: no route"},
                      Hijack{"overflow", Reason::kPendingOverflow, 14, "mesh: upstream overflow"},
                      Hijack{"reset", Reason::kUpstreamReset, 14, "mesh: upstream reset 100%25"},
                      Hijack{"timeout", Reason::kUpstreamTimeout, 4, "mesh: upstream timeout"}),
    [](const auto& p) {
      std::string name = p.param.name;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST(Hijack, TrailersBehindAHeadThatWasPassedOn) {
  CallOfOurs c;
  ASSERT_NE(c.call.exchange, nullptr);
  auto& [client, call] = c;
  client.feed(headers(1, {{":status", "200"}, {"content-type", "application/grpc"}}, kEndHeaders));
  ASSERT_NE(call.answer.head, nullptr) << client.events.broken_detail;
  EXPECT_FALSE(call.answer.ended);
  client.feed(hijack("trailers-after-headers"));
  EXPECT_EQ(Fields(call.answer.trailers),
            (Fields{{"grpc-status", "14"}, {"grpc-message", "mesh: upstream reset"}}));
  EXPECT_EQ(call.answer.head->rpc_status, 14);
  EXPECT_TRUE(call.answer.ended);
}

}  // namespace
}  // namespace dragoman
