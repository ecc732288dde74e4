// Oddness of framed protocols, over sockets: each oddity is survived, counts into the connection's score, and ends it with
// reason `abuse` at the configured limit; other connections don't notice.
#include <gtest/gtest.h>

#include <atomic>

#include "tests/stream/stream_support.h"
#include "tests/support/hex.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

const char kEvents[] = "dragoman_listener_codec_events_total";
const char kErrors[] = "dragoman_listener_protocol_errors_total";

struct Oddity {
  const char* protocol;
  const char* what;
  std::string bytes;
  const char* event;
  std::string first = {};  // what is sent before, and is not odd
};

std::string vector_file(const std::string& name) {
  return read_hex(source_dir() + "/tests/vectors/" + name + ".hex");
}

BoltFrame bolt(uint8_t type, uint16_t command, uint32_t id) {
  BoltFrame f = BoltFrame::heartbeat(id);
  f.type = type;
  f.command = command;
  return f;
}

std::vector<Oddity> oddities() {
  const std::string call = BoltFrame::request(5).bytes();
  return {
      {"bolt", "answer_to_nobody", BoltFrame::response(9).bytes(), "unknown_id"},
      {"bolt", "second_answer_to_our_heartbeat", bolt(0, 0, 9).bytes(), "heartbeat_unexpected"},
      {"bolt", "unknown_command", bolt(1, 77, 9).bytes(), "unsupported"},
      {"bolt", "unknown_one_way_command", bolt(2, 77, 9).bytes(), "unsupported"},
      {"bolt", "id_in_flight", call, "duplicate_id", call},
      {"bolt", "goaway_again", bolt(1, 100, 0).bytes(), "glitch", bolt(1, 100, 0).bytes()},
      {"dubbo", "answer_to_nobody", vector_file("dubbo/dubbo-java27-response-plus"), "unknown_id"},
      {"dubbo", "ack_of_nothing", vector_file("dubbo/dubbo-java27-heartbeat-ack"), "heartbeat_unexpected"},
      {"dubbo", "unknown_event", vector_file("dubbo/dubbo-event-writeable"), "unsupported"},
      {"dubbo", "id_in_flight", vector_file("dubbo/dubbo-java27-request-slow"), "duplicate_id",
       vector_file("dubbo/dubbo-java27-request-slow")},
      {"tars", "answer_to_nobody", vector_file("tars/tars-reply-getusrname"), "unknown_id"},
      {"tars", "id_in_flight", vector_file("tars/tars-call-getusrname"), "duplicate_id",
       vector_file("tars/tars-call-getusrname")},
      {"thrift", "answer_to_nobody", vector_file("thrift/thrift-framed-binary-reply-add"), "unknown_id"},
      {"thrift", "empty_frame", std::string(4, '\0'), "unsupported"},
      {"thrift", "id_in_flight", vector_file("thrift/thrift-framed-compact-call-echo"), "duplicate_id",
       vector_file("thrift/thrift-framed-compact-call-echo")},
      {"dubbo_thrift", "answer_to_nobody", vector_file("dubbo_thrift/dubbothrift-reply-add"), "unknown_id"},
      {"dubbo_thrift", "id_in_flight", vector_file("dubbo_thrift/dubbothrift-call-add-v26"), "duplicate_id",
       vector_file("dubbo_thrift/dubbothrift-call-add-v26")},
      {"seata", "unknown_type", from_hex("dada010000001000100901000000000f"), "unsupported"},
      {"brpc", "answer_to_nobody", vector_file("brpc/brpc-reply-echo"), "unknown_id"},
      {"brpc", "opens_a_stream", vector_file("brpc/brpc-call-echo-stream-open"), "unsupported"},
      {"brpc", "id_in_flight", vector_file("brpc/brpc-call-echo"), "duplicate_id",
       vector_file("brpc/brpc-call-echo")},
      {"rocketmq", "answer_to_nobody", vector_file("rocketmq/rocketmq-json-reply-getroute"), "unknown_id"},
      {"rocketmq", "id_in_flight", vector_file("rocketmq/rocketmq-bin-call-getroute"), "duplicate_id",
       vector_file("rocketmq/rocketmq-bin-call-getroute")},
      {"ttheader", "answer_to_nobody", vector_file("ttheader/ttheader-reply-echo"), "unknown_id"},
      {"ttheader", "opens_a_stream", vector_file("ttheader/ttheader-stream-header"), "unsupported"},
      {"ttheader", "id_in_flight", vector_file("ttheader/ttheader-call-echo"), "duplicate_id",
       vector_file("ttheader/ttheader-call-echo")},
  };
}

class Glitches : public ServerTest, public ::testing::WithParamInterface<Oddity> {};

TEST_P(Glitches, EndTheConnectionAtTheLimitOnly) {
  const Oddity& odd = GetParam();
  ScriptedBackend backend(scripts::silent());
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners:\n"
                "  - {name: in, address: '127.0.0.1:0', protocol: $P, cluster: c, glitches: {burst: 3, "
                "per_second: 0}}\n"
                "clusters: [{name: c, protocol: $P, endpoints: ['$UP']}]\n",
                {{"P", odd.protocol}, {"UP", backend.address()}}),
        options);
  const std::string event = "event=\"" + std::string(odd.event) + "\"";
  TestSocket other = connect();
  TestSocket s = connect();
  ASSERT_TRUE(s.send(odd.first));
  for (int n = 1; n <= 3; ++n) {
    ASSERT_TRUE(s.send(odd.bytes));
    EXPECT_TRUE(server().becomes(n, kEvents, {event}));
  }
  EXPECT_EQ(server().metric(kEvents, {"event=\"glitch_flood\""}), 0);
  EXPECT_EQ(server().metric(kErrors), 0);
  ASSERT_TRUE(s.send(odd.bytes));
  EXPECT_TRUE(s.closed_by_peer());
  EXPECT_TRUE(server().becomes(1, kEvents, {"event=\"glitch_flood\""}));
  EXPECT_TRUE(server().becomes(1, kErrors, {"reason=\"abuse\""}));
  EXPECT_EQ(server().metric(kErrors), 1) << "for no other reason";
  // The score is the connection's own.
  ASSERT_TRUE(other.send(odd.first + odd.bytes));
  EXPECT_TRUE(server().becomes(5, kEvents, {event}));
  EXPECT_EQ(server().metric(kEvents, {"event=\"glitch_flood\""}), 1);
}

INSTANTIATE_TEST_SUITE_P(All, Glitches, ::testing::ValuesIn(oddities()),
                         [](const auto& p) { return std::string(p.param.protocol) + "_" + p.param.what; });

/// Odd answers, each with a call of its protocol to which it is none.
std::vector<Oddity> odd_answers() {
  std::vector<Oddity> out;
  const std::vector<Oddity> all = oddities();
  for (const Oddity& odd : all) {
    if (odd.what != std::string_view("answer_to_nobody")) continue;
    for (Oddity call : all)
      if (call.protocol == std::string_view(odd.protocol) && call.what == std::string_view("id_in_flight"))
        out.push_back({odd.protocol, odd.what, odd.bytes, odd.event, call.bytes});
  }
  return out;
}

class GlitchesOfEndpoints : public ServerTest, public ::testing::WithParamInterface<Oddity> {};

TEST_P(GlitchesOfEndpoints, EndTheConnectionAtTheLimitOnly) {
  const Oddity& odd = GetParam();
  const char events[] = "dragoman_cluster_codec_events_total";
  std::atomic<int> rounds{0};
  std::atomic<bool> ended{false};
  ScriptedBackend backend(ScriptedBackend::Script([&](TestSocket& s) {
    s.read(4);
    for (int n = 0; n < 3; ++n) s.send(odd.bytes);
    for (rounds = 1; rounds < 2;) sleep_ms(5);
    s.send(odd.bytes);
    ended = s.closed_by_peer();
  }));
  TestServer::Options options;
  options.workers = 1;
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, cluster: c}]\n"
                "clusters: [{name: c, protocol: $P, endpoints: ['$UP'], pool: {mode: multiplex}, glitches: "
                "{burst: 3, "
                "per_second: 0}}]\n",
                {{"P", odd.protocol}, {"UP", backend.address()}}),
        options);
  TestSocket s = connect();
  ASSERT_TRUE(s.send(odd.first));
  EXPECT_TRUE(server().becomes(3, events, {"event=\"" + std::string(odd.event) + "\""}));
  EXPECT_EQ(server().metric(events, {"event=\"glitch_flood\""}), 0);
  EXPECT_EQ(server().metric("dragoman_cluster_connections_active"), 1);
  rounds = 2;
  EXPECT_TRUE(server().becomes(1, events, {"event=\"glitch_flood\""}));
  EXPECT_TRUE(server().becomes(0, "dragoman_cluster_connections_active", {}));
  s.close();
  backend.stop();
  EXPECT_TRUE(ended);
}

INSTANTIATE_TEST_SUITE_P(All, GlitchesOfEndpoints, ::testing::ValuesIn(odd_answers()),
                         [](const auto& p) { return std::string(p.param.protocol) + "_" + p.param.what; });

}  // namespace
}  // namespace dragoman::testing
