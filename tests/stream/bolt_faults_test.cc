// Bad input through the whole engine with Bolt: what the client gets, which counter moves with which reason, and
// that nothing of a refused request reaches the backend. ServerTest checks that nothing is alive at the end.
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

const char kProtocolErrors[] = "dragoman_listener_protocol_errors_total";
const char kListenerEvents[] = "dragoman_listener_codec_events_total";
const char kClusterEvents[] = "dragoman_cluster_codec_events_total";
const char kReasons[] = "dragoman_request_reasons_total";

class BoltFaults : public ServerTest {
 protected:
  BoltRecorder backend_;

  void serve(const std::string& listener = "", const std::string& cluster = "", const std::string& route = "") {
    TestServer::Options options;
    options.workers = 1;
    start(fill_in("listeners:\n"
                  "  - {name: in, address: '127.0.0.1:0', protocol: bolt, routes: r$LISTENER}\n"
                  "routes:\n"
                  "  - name: r\n"
                  "    routes: [{match: {service: '*'}, cluster: c$ROUTE}]\n"
                  "clusters:\n"
                  "  - {name: c, endpoints: ['$UP']$CLUSTER}\n",
                  {{"LISTENER", listener}, {"CLUSTER", cluster}, {"ROUTE", route}, {"UP", backend_.address()}}),
          options);
  }
  void expect_serving() {
    TestSocket s = connect();
    s.send(BoltFrame::request(77, "still here").bytes());
    const BoltParts answer = read_answer(s);
    EXPECT_EQ(answer.status, kBoltSuccess);
    EXPECT_EQ(answer.id, 77u);
    EXPECT_EQ(answer.content, "still here");
  }
};

// --- ends ---

TEST_F(BoltFaults, AOneWayRequestThatWaitsForItsEndpointEndsWithItsClient) {
  UnansweredPort nobody;
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, cluster: c}]\n"
                "clusters: [{name: c, protocol: bolt, endpoints: ['$UP'], connect_timeout: 60s}]\n",
                {{"UP", nobody.address()}}),
        options);
  TestSocket s = connect();
  ASSERT_TRUE(s.send(BoltFrame::one_way(1).bytes()));
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_requests_pending"));
  s.reset();
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_pending"));
}

// --- framing ---

TEST_F(BoltFaults, A1_OneByteAtATimeEqualsTheWhole) {
  serve();
  const std::string frame = BoltFrame::request(5, "slow but sure").bytes();
  TestSocket s = connect();
  ASSERT_TRUE(s.send_in_pieces(frame, 1));
  const BoltParts answer = read_answer(s);
  EXPECT_EQ(answer.status, kBoltSuccess);
  EXPECT_EQ(answer.content, "slow but sure");
  ASSERT_EQ(backend_.count(), 1u);
  EXPECT_EQ(with_bolt_id(backend_.frames()[0], 5), frame);
}

TEST_F(BoltFaults, A2_EverySplitOfTwoFramesEqualsTheWhole) {
  serve();
  const std::string one = BoltFrame::request(1, "one").bytes(), both = one + BoltFrame::request(2, "two").bytes();
  TestSocket s = connect();
  for (size_t cut = 1; cut < both.size(); ++cut) {
    ASSERT_TRUE(s.send(both.substr(0, cut)));
    if (cut % 16 == 0) sleep_ms(2);  // now and then the first piece is surely a read of its own
    ASSERT_TRUE(s.send(both.substr(cut)));
    std::map<uint32_t, std::string> answers;
    for (int i = 0; i < 2; ++i) {
      BoltParts a = read_answer(s);
      ASSERT_EQ(a.status, kBoltSuccess) << "cut at " << cut;
      answers[a.id] = a.content;
    }
    ASSERT_EQ(answers, (std::map<uint32_t, std::string>{{1, "one"}, {2, "two"}})) << "cut at " << cut;
  }
}

TEST_F(BoltFaults, A3_HundredFramesInOneWriteAreAllServedInOrder) {
  serve();
  std::string all;
  for (uint32_t i = 1; i <= 100; ++i) all += BoltFrame::request(i, "call " + std::to_string(i)).bytes();
  TestSocket s = connect();
  ASSERT_TRUE(s.send(all));
  for (uint32_t i = 1; i <= 100; ++i) {
    BoltParts a = read_answer(s);
    ASSERT_EQ(a.id, i);
    ASSERT_EQ(a.content, "call " + std::to_string(i));
  }
  EXPECT_EQ(backend_.connections(), 1) << "all share one connection";
}

struct Refusal {
  const char* name;
  std::string bytes;
  bool fin;                 // the client sends its FIN after them
  const char* reason;       // of protocol_errors
  int status;               // of the answer before the close; -1 = none
  const char* limit;        // of limit_hits; null = none
};

std::string with_lengths(BoltFrame f, size_t class_len, size_t header_len, size_t content_len) {
  std::string bytes = f.bytes();
  return bytes.substr(0, 14) + be(class_len, 2) + be(header_len, 2) + be(content_len, 4) + bytes.substr(22);
}

TEST_F(BoltFaults, RefusedInputClosesAndIsCountedByReason) {
  serve(", rpc: {frame_bytes_max: 64KiB}");
  const std::string whole = BoltFrame::request(9, std::string(100, 'x')).bytes();
  std::mt19937 random(7);
  std::string noise(64 * 1024, '\0');
  for (char& c : noise) c = static_cast<char>(random());
  noise[0] = 0x7f;
  const size_t fixed = 22, cls = kSofaRequest.size(), head = BoltFrame::request(9).header.size();
  const std::vector<Refusal> rows = {
      {"A4 head cut short, FIN", whole.substr(0, 13), true, "truncated", -1, nullptr},
      {"A4 head cut in its class, FIN", whole.substr(0, 40), true, "truncated", -1, nullptr},
      {"A5 body cut short, FIN", whole.substr(0, whole.size() - 1), true, "truncated", -1, nullptr},
      {"A6 one over the limit", with_lengths(BoltFrame::request(9), cls, head, 65536 - fixed - cls - head + 1), false,
       "frame_too_large", kBoltCodec, "frame_bytes"},
      {"A7 content of 2^32-1", with_lengths(BoltFrame::request(9), cls, head, 0xffffffff), false, "frame_too_large",
       kBoltCodec, "frame_bytes"},
      {"A7 head plus content wraps 32 bits", with_lengths(BoltFrame::request(9), cls, head, 0xffffffff - cls), false,
       "frame_too_large", kBoltCodec, "frame_bytes"},
      {"A10 random bytes", noise, false, "malformed", -1, nullptr},
      {"A10 an HTTP request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false, "malformed", -1, nullptr},
      {"A10 zeros", std::string(1000, '\0'), false, "malformed", -1, nullptr},
      {"A11 unknown protocol version", "\x03" + whole.substr(1), false, "malformed", -1, nullptr},
  };
  const uint64_t resident = resident_bytes();
  for (const Refusal& row : rows) {
    SCOPED_TRACE(row.name);
    const double errors = server().metric(kProtocolErrors);
    const double before = server().metric(kProtocolErrors, {"reason=\"" + std::string(row.reason) + "\""});
    const double limits = server().metric("dragoman_listener_limit_hits_total");
    TestSocket s = connect();
    s.send(row.bytes);
    if (row.fin) s.finish();
    if (row.status >= 0) {
      const BoltParts answer = read_answer(s);
      EXPECT_EQ(answer.status, row.status);
      EXPECT_EQ(answer.id, 9u);
    }
    EXPECT_TRUE(s.closed_by_peer());
    EXPECT_TRUE(server().becomes(before + 1, kProtocolErrors, {"reason=\"" + std::string(row.reason) + "\""}));
    EXPECT_TRUE(server().becomes(errors + 1, kProtocolErrors));
    if (row.limit)
      EXPECT_TRUE(server().becomes(limits + 1, "dragoman_listener_limit_hits_total"));
    else
      EXPECT_EQ(server().metric("dragoman_listener_limit_hits_total"), limits);
  }
  EXPECT_EQ(backend_.bytes(), 0u) << "nothing of a refused request may go on";
  EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_active"));
  EXPECT_TRUE(server().becomes(0, "dragoman_listener_connections_active"));
  if (!kSanitized) {
    EXPECT_LT(resident_bytes(), resident + (16u << 20)) << "memory follows bytes received, not announced";
  }
  expect_serving();
}

TEST_F(BoltFaults, A9_HeadersThatAreNoPairsAreOpaqueAndPassUnchanged) {
  serve();
  BoltFrame minus_one = BoltFrame::request(9);
  minus_one.header = be(0xffffffff, 4) + "service";  // a key of -1 bytes
  BoltFrame over = BoltFrame::request(9);
  over.header = kv("service", "S:1.0") + be(4, 4) + "key1" + be(1000, 4) + "short";
  TestSocket s = connect();
  size_t sent = 0;
  for (const BoltFrame& f : {minus_one, over}) {
    s.send(f.bytes());
    EXPECT_EQ(read_answer(s).status, kBoltSuccess);
    ASSERT_EQ(backend_.count(), ++sent);
    EXPECT_EQ(with_bolt_id(backend_.frames().back(), 9), f.bytes());
  }
}

TEST_F(BoltFaults, A11_UnknownCommandsGetTheProtocolsOwnAnswerAndTheConnectionGoesOn) {
  serve();
  TestSocket s = connect();
  BoltFrame f = BoltFrame::request(3);
  f.command = 9;
  s.send(f.bytes());
  const BoltParts answer = read_answer(s);
  EXPECT_EQ(answer.id, 3u);
  EXPECT_NE(answer.status, kBoltSuccess);
  EXPECT_TRUE(server().becomes(1, kListenerEvents, {"event=\"unsupported\""}));
  s.send(BoltFrame::request(4, "next").bytes());
  EXPECT_EQ(read_answer(s).content, "next");
  EXPECT_EQ(backend_.count(), 1u);
}

TEST_F(BoltFaults, A12_AFrameThatDoesNotEndIsClosedByItsDeadline) {
  serve(", rpc: {frame_timeout: 200ms}");
  const std::string whole = BoltFrame::request(6, std::string(50, 'x')).bytes();
  for (size_t n : {size_t{1}, size_t{15}, whole.size() - 20}) {
    TestSocket s = connect();
    s.send(whole.substr(0, n));
    for (int i = 0; i < 4; ++i) {  // a byte now and then does not move the deadline
      s.read_some(60);
      s.send(whole.substr(n + static_cast<size_t>(i), 1));
    }
    EXPECT_TRUE(s.closed_by_peer()) << n;
  }
  EXPECT_TRUE(server().becomes(3, kProtocolErrors, {"reason=\"frame_timeout\""}));
  EXPECT_EQ(backend_.bytes(), 0u);
  expect_serving();
}

// --- ids ---

TEST_F(BoltFaults, A13_TheSameIdTwiceInFlightIsAnsweredTwice) {
  serve();
  TestSocket s = connect();
  s.send(BoltFrame::request(8, "first").bytes() + BoltFrame::request(8, "second").bytes());
  std::set<std::string> contents;
  for (int i = 0; i < 2; ++i) {
    BoltParts a = read_answer(s);
    EXPECT_EQ(a.id, 8u);
    contents.insert(a.content);
  }
  EXPECT_EQ(contents, (std::set<std::string>{"first", "second"}));
  const auto frames = backend_.frames();
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_NE(bolt_id(frames[0]), bolt_id(frames[1])) << "upstream the ids differ";
}

TEST_F(BoltFaults, A14_ClientsWithTheSameIdsShareAConnectionAndNeverCross) {
  serve();
  constexpr int kClients = 8, kCalls = 200;
  std::vector<std::thread> clients;
  std::atomic<int> wrong{0};
  const uint16_t port = server().port("in");
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&, c] {
      TestSocket s = TestSocket::connect(port);
      for (uint32_t i = 0; i < kCalls; i += 10) {
        std::string burst;
        std::map<uint32_t, std::string> owed;
        for (uint32_t k = 0; k < 10; ++k) {
          owed[k] = std::to_string(c) + "/" + std::to_string(i + k);
          burst += BoltFrame::request(k, owed[k]).bytes();
        }
        s.send(burst);
        for (int k = 0; k < 10; ++k) {
          const BoltParts a = read_answer(s);
          if (a.status != kBoltSuccess || owed[a.id] != a.content) ++wrong;
          owed.erase(a.id);
        }
      }
    });
  }
  for (auto& t : clients) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(backend_.connections(), 1);
  EXPECT_EQ(backend_.count(), static_cast<size_t>(kClients * kCalls));
}

TEST_F(BoltFaults, A17_AnAnswerAfterOurTimeoutIsDroppedAndItsIdRests) {
  std::mutex mutex;
  std::vector<uint32_t> ids;
  ScriptedBackend late([&](TestSocket& s) {
    std::string first = s.read_bolt();
    if (first.empty()) return;
    std::string second = s.read_bolt();
    {
      std::lock_guard lock(mutex);
      ids = {bolt_id(first), bolt_id(second)};
    }
    // The late one first, then the one that is waited for.
    s.send(BoltFrame::response(bolt_id(first), "too late").bytes() +
           BoltFrame::response(bolt_id(second), "in time").bytes());
    s.wait_end();
  });
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, routes: r}]\n"
                "routes: [{name: r, routes: [{match: {service: '*'}, cluster: c, timeout: 10s}]}]\n"
                "clusters: [{name: c, endpoints: ['$UP']}]\n",
                {{"UP", late.address()}}),
        options);
  TestSocket s = connect();
  BoltFrame hasty = BoltFrame::request(1, "first");
  hasty.timeout_ms = 100;  // the caller's own deadline, from the frame
  s.send(hasty.bytes());
  const BoltParts timeout = read_answer(s);
  EXPECT_EQ(timeout.id, 1u);
  EXPECT_EQ(timeout.status, kBoltTimeout);
  s.send(BoltFrame::request(1, "second").bytes());
  const BoltParts answer = read_answer(s);
  EXPECT_EQ(answer.status, kBoltSuccess);
  EXPECT_EQ(answer.content, "in time");
  std::lock_guard lock(mutex);
  ASSERT_EQ(ids.size(), 2u);
  EXPECT_NE(ids[0], ids[1]) << "an id rests while its answer may still come";
  EXPECT_TRUE(server().becomes(1, kClusterEvents, {"event=\"late_answer\""}));
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"caller_timeout\""}));
}

TEST_F(BoltFaults, A18_AnAnswerBeforeTheRequestIsCompleteIsTaken) {
  // Ping-pong: the request streams to the backend, which answers when it saw the head.
  ScriptedBackend eager([](TestSocket& s) {
    const std::string head = s.read(22);
    if (head.size() < 22) return;
    s.send(BoltFrame::response(bolt_id(head), "early").bytes());
    s.wait_end();
  });
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, cluster: c}]\n"
                "clusters: [{name: c, endpoints: ['$UP'], pool: {mode: ping_pong}}]\n",
                {{"UP", eager.address()}}),
        options);
  const std::string whole = BoltFrame::request(4, std::string(200'000, 'x')).bytes();
  TestSocket s = connect();
  s.send(whole.substr(0, 1000));
  const BoltParts answer = read_answer(s);
  EXPECT_EQ(answer.status, kBoltSuccess);
  EXPECT_EQ(answer.content, "early");
  s.send(whole.substr(1000) + BoltFrame::request(5, std::string(10, 'y')).bytes());
  EXPECT_EQ(read_answer(s).id, 5u) << "the rest was taken or dropped, the client's framing is intact";
}

TEST_F(BoltFaults, A19_OneWayRequestsLeaveNothingPending) {
  serve();
  TestSocket s = connect();
  const BoltFrame f = BoltFrame::one_way(2, "fire");
  s.send(f.bytes() + f.bytes());
  EXPECT_TRUE(eventually([&] { return backend_.count() == 2; }));
  EXPECT_TRUE(server().becomes(2, "dragoman_requests_total", {"outcome=\"ok\""}));
  EXPECT_TRUE(server().becomes(0, "dragoman_requests_active"));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_requests_active"));
  EXPECT_EQ(s.read_some(50), "") << "no answer to a one-way request";
  s.send(BoltFrame::request(2, "call").bytes());
  EXPECT_EQ(read_answer(s).content, "call");
}

// Its last requests and its reset are read in one turn, before anything of that turn is written.
TEST_F(BoltFaults, A19_OneWayRequestsOfABoundClientThatIsGoneArrive) {
  serve("", ", pool: {mode: bound}");
  const BoltFrame f = BoltFrame::one_way(2, "fire");
  for (size_t round = 0; round < 50; ++round) {
    TestSocket s = connect();
    s.send(BoltFrame::request(1, "call").bytes());
    ASSERT_EQ(read_answer(s).content, "call");
    s.send(f.bytes() + f.bytes());
    s.reset();
    ASSERT_TRUE(eventually([&] { return backend_.count() == 3 * (round + 1); })) << backend_.count();
  }
}

TEST_F(BoltFaults, A19_OneWayRequestsWithoutAnEndpointAreCounted) {
  RefusingPort nobody;
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, cluster: c}]\n"
                "clusters: [{name: c, endpoints: ['$UP']}]\n",
                {{"UP", nobody.address()}}),
        options);
  TestSocket s = connect();
  const BoltFrame f = BoltFrame::one_way(2, "fire");
  s.send(f.bytes());
  EXPECT_TRUE(server().becomes(1, kReasons, {"reason=\"connect_failure\""}));
  EXPECT_EQ(s.read_some(50), "");
  s.send(BoltFrame::request(3).bytes());
  EXPECT_NE(read_answer(s).status, kBoltSuccess);
}

// --- heartbeats ---

TEST_F(BoltFaults, A20_HeartbeatsAreAnsweredHereAndNeverRouted) {
  serve();
  TestSocket s = connect();
  std::string many;
  for (uint32_t i = 1; i <= 500; ++i) many += BoltFrame::heartbeat(i).bytes();
  s.send(many);
  for (uint32_t i = 1; i <= 500; ++i) {
    const BoltParts a = read_answer(s);
    ASSERT_EQ(a.id, i);
    ASSERT_EQ(a.command, 0);
    ASSERT_EQ(a.status, kBoltSuccess);
  }
  EXPECT_TRUE(server().becomes(500, kListenerEvents, {"event=\"heartbeat_answered\""}));
  BoltFrame unasked = BoltFrame::response(12, "");
  unasked.command = 0;
  unasked.class_name.clear();
  s.send(unasked.bytes());
  EXPECT_TRUE(server().becomes(1, kListenerEvents, {"event=\"heartbeat_unexpected\""}));
  s.send(BoltFrame::request(1, "call").bytes());
  EXPECT_EQ(read_answer(s).content, "call");
  EXPECT_EQ(backend_.count(), 1u) << "only the call was routed";
}

TEST_F(BoltFaults, A20_HeartbeatFloodsAreBounded) {
  serve(", rpc: {heartbeats_per_second_max: 100}");
  TestSocket s = connect();
  std::string many;
  for (uint32_t i = 1; i <= 1000; ++i) many += BoltFrame::heartbeat(i).bytes();
  s.send(many);
  EXPECT_TRUE(s.closed_by_peer());
  EXPECT_TRUE(server().becomes(1, kProtocolErrors, {"reason=\"heartbeat_flood\""}));
  EXPECT_TRUE(server().becomes(1, "dragoman_listener_limit_hits_total", {"limit=\"heartbeats\""}));
  EXPECT_EQ(backend_.bytes(), 0u);
  expect_serving();
}

// --- limits and edits ---

TEST_F(BoltFaults, StreamsOverTheLimitAreAnsweredAndCounted) {
  ScriptedBackend silent(scripts::silent());
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: bolt, cluster: c, rpc: {streams_max: 3}}]\n"
                "clusters: [{name: c, endpoints: ['$UP']}]\n",
                {{"UP", silent.address()}}),
        options);
  TestSocket s = connect();
  for (uint32_t i = 1; i <= 4; ++i) s.send(BoltFrame::request(i).bytes());
  const BoltParts a = read_answer(s);
  EXPECT_EQ(a.id, 4u);
  EXPECT_EQ(a.status, kBoltBusy);
  EXPECT_TRUE(server().becomes(1, kListenerEvents, {"event=\"streams_overflow\""}));
  EXPECT_TRUE(server().becomes(1, "dragoman_listener_limit_hits_total", {"limit=\"streams\""}));
}

TEST_F(BoltFaults, A23_AnEditThatDoesNotFitIsLeftOutAndCounted) {
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners:\n"
                "  - name: in\n"
                "    address: 127.0.0.1:0\n"
                "    protocol: bolt\n"
                "    cluster: c\n"
                "    filters: [{type: headers, request: {set: {a: '$LONG', b: '$LONG'}}}]\n"
                "clusters: [{name: c, endpoints: ['$UP']}]\n",
                {{"UP", backend_.address()}, {"LONG", std::string(15'000, 'e')}}),
        options);
  TestSocket s = connect();
  BoltFrame crowded = BoltFrame::request(1);
  crowded.header += kv("pad", std::string(10'000, 'p'));  // the header section of Bolt ends at 32767
  s.send(crowded.bytes());
  const BoltParts a = read_answer(s);
  EXPECT_EQ(a.id, 1u);
  EXPECT_EQ(a.status, kBoltSuccess) << "an edit that has no place is no reason to fail";
  EXPECT_TRUE(server().becomes(1, "dragoman_cluster_codec_events_total", {"event=\"edit_skipped\""}));
  s.send(BoltFrame::request(2, "fits").bytes());
  EXPECT_EQ(read_answer(s).content, "fits");
  const auto frames = backend_.frames();
  ASSERT_EQ(frames.size(), 2u);
  EXPECT_EQ(frames[0].find(std::string(15'000, 'e')), std::string::npos);
  EXPECT_NE(frames[1].find(std::string(15'000, 'e')), std::string::npos);
  EXPECT_EQ(backend_.connections(), 1);
}

}  // namespace
}  // namespace dragoman::testing
