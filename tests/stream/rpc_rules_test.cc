// What a configuration says of RPC messages that the wire does not: methods that nobody answers, requests whose body can't be
// read, headers that can't be removed.
#include <gtest/gtest.h>

#include "tests/stream/dubbo_calls.h"
#include "tests/stream/stream_support.h"
#include "tests/support/source_dir.h"

namespace dragoman::testing {
namespace {

constexpr const char* kActive = "dragoman_requests_active";
constexpr const char* kEvents = "dragoman_listener_codec_events_total";
constexpr const char* kClusterEvents = "dragoman_cluster_codec_events_total";

std::string framed(const std::string& message) { return be(message.size(), 4) + message; }
/// A strict binary message without fields; `type`: 1 call, 2 reply.
std::string thrift(int type, const std::string& name, uint32_t id) {
  return framed(std::string("\x80\x01\0", 3) + static_cast<char>(type) + be(name.size(), 4) + name +
                be(id, 4) + std::string(1, '\0'));
}
std::string read_thrift(TestSocket& s) {
  std::string head = s.read(4);
  if (head.size() < 4) return "";
  uint32_t length = 0;
  for (char c : head) length = length << 8 | static_cast<uint8_t>(c);
  return head + s.read(length);
}
std::string name_of(const std::string& frame) {
  if (frame.size() < 12) return "";
  const size_t n = static_cast<uint8_t>(frame[11]);
  return frame.substr(12, n);
}
uint32_t id_of(const std::string& frame) {
  uint32_t id = 0;
  for (size_t i = 0; i < 4; ++i)
    id = id << 8 | static_cast<uint8_t>(frame.at(12 + name_of(frame).size() + i));
  return id;
}

class RpcRules : public ServerTest {
 protected:
  TestServer& run(const std::string& protocol, const std::string& rpc, const std::string& routes,
                  const std::string& address, const std::string& more = "") {
    stop();
    TestServer::Options options;
    options.workers = 1;
    return start(
        fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, routes: r, rpc: {$RPC}}]\n"
                "routes: [{name: r, routes: [$ROUTES]}]\n"
                "clusters: [{name: c, endpoints: ['$UP'] $MORE}]\n",
                {{"P", protocol}, {"RPC", rpc}, {"ROUTES", routes}, {"UP", address}, {"MORE", more}}),
        options);
  }
};

// ---------------------------------------------------------------- routes that nobody answers

const char* const kOneWay =
    "{match: {service: Svc, method: fire}, cluster: c, one_way: true, timeout: 0}, {cluster: c}";

TEST_F(RpcRules, ACallOfARouteWithoutAnswersEndsWhenItIsSent) {
  for (const std::string mode : {"multiplex", "ping_pong", "bound"}) {
    for (const bool answered : {false, true}) {
      for (const uint32_t id : {0u, 7u}) {
        SCOPED_TRACE(mode + (answered ? " answered" : "") + " id " + std::to_string(id));
        std::atomic<int> fired{0};
        ScriptedBackend backend([&](TestSocket& s) {
          for (std::string call; !(call = read_thrift(s)).empty();) {
            const bool fire = name_of(call) == "Svc:fire";
            if (fire) ++fired;
            if (!fire || answered) s.send(thrift(2, name_of(call), id_of(call)));
          }
        });
        run("thrift", "", kOneWay, backend.address(), ", pool: {mode: " + mode + ", connections: 1}");
        TestSocket client = connect();
        for (int i = 0; i < 3; ++i) {
          client.send(thrift(1, "Svc:fire", id) + thrift(1, "Svc:add", id + 1 + static_cast<uint32_t>(i)));
          const std::string answer = read_thrift(client);
          EXPECT_EQ(name_of(answer), "Svc:add") << "what answers the call before is nobody's";
          EXPECT_EQ(id_of(answer), id + 1 + static_cast<uint32_t>(i));
        }
        EXPECT_TRUE(eventually([&] { return fired == 3; })) << fired;
        EXPECT_TRUE(server().becomes(0, kActive)) << "none waits for an answer";
        EXPECT_TRUE(server().becomes(6, "dragoman_requests_total", {"outcome=\"ok\""}));
        if (answered && mode == "multiplex")
          EXPECT_TRUE(server().becomes(3, kClusterEvents, {"event=\"one_way_answered\""}));
      }
    }
  }
}

TEST_F(RpcRules, ACallOfARouteWithoutAnswersOutlivesItsClient) {
  std::atomic<int> fired{0};
  ScriptedBackend backend([&](TestSocket& s) {
    while (!read_thrift(s).empty()) ++fired;
  });
  run("thrift", "", kOneWay, backend.address());
  for (int i = 0; i < 20; ++i) {
    TestSocket client = connect();
    client.send(thrift(1, "Svc:fire", 0));
    client.close();
  }
  EXPECT_TRUE(eventually([&] { return fired == 20; }));
  EXPECT_TRUE(server().becomes(0, kActive));
}

TEST_F(RpcRules, ACallOfARouteWithoutAnswersIsNotToldOfFailures) {
  RefusingPort nobody;
  ScriptedBackend backend([&](TestSocket& s) {
    for (std::string call; !(call = read_thrift(s)).empty();) s.send(thrift(2, name_of(call), id_of(call)));
  });
  stop();
  start(fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: thrift, routes: r}]\n"
                "routes: [{name: r, routes: [{match: {method: fire}, cluster: none, one_way: true}, "
                "{cluster: c}]}]\n"
                "clusters: [{name: c, endpoints: ['$UP']}, {name: none, endpoints: ['$NO']}]\n",
                {{"UP", backend.address()}, {"NO", nobody.address()}}),
        {});
  TestSocket client = connect();
  client.send(thrift(1, "Svc:fire", 0));
  EXPECT_TRUE(server().becomes(1, "dragoman_requests_total", {"outcome=\"unavailable\""}));
  client.send(thrift(1, "Svc:add", 0));
  EXPECT_EQ(name_of(read_thrift(client)), "Svc:add")
      << "an exception for the first would be taken for the answer";
}

TEST_F(RpcRules, ACallWithoutADeadlineEndsWithItsClient) {
  std::atomic<int> calls{0};
  ScriptedBackend backend([&](TestSocket& s) {
    while (!read_thrift(s).empty()) ++calls;
  });
  run("thrift", "", "{cluster: c, timeout: 0}", backend.address());
  TestSocket client = connect();
  client.send(thrift(1, "Svc:hang", 5));
  EXPECT_TRUE(eventually([&] { return calls == 1; }));
  EXPECT_EQ(server().metric(kActive), 1);
  client.close();
  EXPECT_TRUE(server().becomes(0, kActive));
}

// ---------------------------------------------------------------- bodies that can't be read

std::string dubbo_call(size_t argument_bytes, int serialization = 2) {
  auto text = [](const std::string& s) { return static_cast<char>(s.size()) + s; };
  std::string body = text("2.0.2") + text("a.Public") + text("1.0") + text("call") + text("[B");
  for (size_t left = argument_bytes; left > 0x8000; left -= 0x8000)
    body += 'A' + be(0x8000, 2) + std::string(0x8000, 'x');
  body += std::string("\x21y") + "H" + text("path") + text("a.Public") + "Z";
  return std::string("\xda\xbb") + static_cast<char>(0xc0 | serialization) + '\0' + be(9, 8) +
         be(body.size(), 4) + body;
}

TEST_F(RpcRules, ABodyThatCantBeReadIsRoutedByWhatIsInFrontOrRefused) {
  ScriptedBackend backend([&](TestSocket& s) {
    for (std::string call; !(call = read_dubbo(s)).empty();)
      s.send("\xda\xbb\x02\x14" + call.substr(4, 8) + be(1, 4) + "\x92");
  });
  const std::string routes = "{match: {service: a.Public}, cluster: c}";
  struct Row {
    const char* name;
    std::string call;
    bool read;
  } rows[] = {{"small", dubbo_call(10), true},
              {"large", dubbo_call(200'000), false},
              {"garbage for an argument",
               [] {
                 std::string call = dubbo_call(10);
                 call[call.find("\x21y")] = '\x40';
                 return call;
               }(),
               false}};
  for (const bool refuse : {false, true}) {
    run("dubbo", refuse ? "unread_body: refuse" : "", routes, backend.address());
    int unread = 0;
    for (const Row& row : rows) {
      TestSocket client = connect();
      client.send(row.call);
      const std::string answer = read_dubbo(client);
      ASSERT_GE(answer.size(), 16u) << row.name;
      EXPECT_EQ(answer[3], refuse && !row.read ? 40 : 20) << row.name;
      EXPECT_EQ(answer.substr(4, 8), be(9, 8)) << row.name;
      EXPECT_TRUE(server().becomes(unread += !row.read, kEvents, {"event=\"body_unread\""})) << row.name;
      client.send(rows[0].call);
      EXPECT_EQ(read_dubbo(client).substr(3, 1), "\x14") << row.name << ": the connection goes on";
    }
  }
}

TEST_F(RpcRules, ABodyThatRoutesDontAskForIsNotUnread) {
  ScriptedBackend backend([&](TestSocket& s) {
    for (std::string call; !(call = read_dubbo(s)).empty();)
      s.send("\xda\xbb\x02\x14" + call.substr(4, 8) + be(1, 4) + "\x92");
  });
  run("dubbo", "unread_body: refuse", "{cluster: c}", backend.address());
  TestSocket client = connect();
  client.send(dubbo_call(200'000));
  EXPECT_EQ(read_dubbo(client).substr(3, 1), "\x14");
  EXPECT_EQ(server().metric(kEvents, {"event=\"body_unread\""}), 0);
}

// ---------------------------------------------------------------- headers that can't be removed

TEST_F(RpcRules, AHeaderThatCantBeRemovedIsCountedOrHoldsTheRequestBack) {
  std::atomic<int> calls{0};
  ScriptedBackend backend([&](TestSocket& s) {
    for (std::string call; !(call = read_thrift(s)).empty();) {
      ++calls;
      s.send(thrift(2, name_of(call), id_of(call)));
    }
  });
  for (const char* rule : {"", "skipped_removals: refuse"}) {
    for (const bool removes : {true, false}) {
      const bool refused = removes && *rule;
      SCOPED_TRACE(std::string(rule) + (removes ? " remove" : " set"));
      run("thrift", rule,
          std::string("{cluster: c, request_headers: ") +
              (removes ? "{remove: [secret]}}" : "{set: {zone: eu}}}"),
          backend.address());
      calls = 0;
      TestSocket client = connect();
      client.send(thrift(1, "Svc:add", 3));
      const std::string answer = read_thrift(client);
      ASSERT_GE(answer.size(), 8u);
      EXPECT_EQ(answer[7], refused ? 3 : 2) << "an exception, or the reply";
      EXPECT_EQ(calls, refused ? 0 : 1);
      EXPECT_TRUE(server().becomes(1, kClusterEvents, {"event=\"edit_skipped\""}));
    }
  }
}

TEST_F(RpcRules, AHeaderThatIsNotThereNeedsNoRemoval) {
  BoltRecorder backend;
  run("bolt", "skipped_removals: refuse", "{cluster: c, request_headers: {remove: [secret]}}",
      backend.address());
  TestSocket client = connect();
  BoltFrame f = BoltFrame::request(1);
  for (const std::string& header : {kv("service", "S"), kv("service", "S") + kv("secret", "1")}) {
    f.header = header;
    client.send(f.bytes());
    EXPECT_EQ(read_answer(client).status, kBoltSuccess);
  }
  EXPECT_EQ(backend.count(), 2u);
  EXPECT_EQ(server().metric(kClusterEvents, {"event=\"edit_skipped\""}), 0);
}

}  // namespace
}  // namespace dragoman::testing
