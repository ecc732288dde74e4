// The invented protocols through a whole proxy, between scripted clients and servers that know them on their own.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/descriptor/shipped.h"
#include "tests/support/scripted_backend.h"
#include "tests/support/source_dir.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {
namespace {

namespace fs = std::filesystem;

// ---------------------------------------------------------------- the protocols, as their peers speak them

std::string tag(const std::string& name, const std::string& value) { return "<" + name + ">" + value + "</" + name + ">"; }

std::string bank(const std::string& head, const std::string& rest = "</Msg>") {
  std::string xml = "<Msg><Head>" + head + "</Head>" + rest;
  std::string length = std::to_string(xml.size());
  return std::string(8 - length.size(), '0') + length + xml;
}
std::string bank_call(const std::string& id, const std::string& service, const std::string& op,
                      const std::string& more = "", const std::string& body = "<Body/></Msg>") {
  return bank(tag("Kind", "REQ") + tag("Id", id) + tag("Svc", service) + tag("Op", op) + more, body);
}
std::string read_bank(TestSocket& socket) {
  std::string length = socket.read(8);
  return length.size() < 8 ? "" : length + socket.read(std::stoul(length));
}
std::string field(const std::string& frame, const std::string& name) {
  size_t from = frame.find("<" + name + ">");
  if (from == std::string::npos) return "(none)";
  from += name.size() + 2;
  return frame.substr(from, frame.find('<', from) - from);
}

std::string varint(uint64_t v) {
  std::string out;
  for (; v > 127; v >>= 7) out += static_cast<char>(v | 0x80);
  return out + static_cast<char>(v);
}
std::string text(const std::string& s) { return varint(s.size()) + s; }
std::string le(uint64_t v, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(v >> (8 * i));
  return out;
}
uint32_t crc32c(const std::string& bytes) {
  uint32_t crc = UINT32_MAX;
  for (unsigned char c : bytes) {
    crc ^= c;
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
  }
  return ~crc;
}
std::string pulse(int op, uint64_t id, const std::string& fields, const std::string& meta = "",
                  const std::string& payload = "") {
  std::string rest = std::string(1, static_cast<char>(op)) + le(id, 8) + fields + text(meta) + payload;
  std::string all = "\xa7" + varint(rest.size() + 4) + rest;
  return all + le(crc32c(all), 4);
}
std::string pulse_call(uint64_t id, const std::string& service, const std::string& method, uint64_t ttl = 0,
                       const std::string& payload = "p") {
  return pulse(0, id, varint(ttl) + text(service) + text(method), "", payload);
}
struct Pulse {
  std::string bytes, payload;
  int op = -1;
  uint64_t id = 0;
  int64_t code = 0;
  bool right = false;  // the checksum
};
/// Reads frames whose fields are short: every varint but the length is one byte.
Pulse read_pulse(TestSocket& socket) {
  Pulse p;
  p.bytes = socket.read(2);
  if (p.bytes.size() < 2) return p;
  uint64_t length = p.bytes[1] & 0x7f;
  for (int shift = 7; p.bytes.back() & 0x80; shift += 7) {
    p.bytes += socket.read(1);
    length |= static_cast<uint64_t>(p.bytes.back() & 0x7f) << shift;
  }
  size_t at = p.bytes.size();
  p.bytes += socket.read(length);
  if (p.bytes.size() < at + length || length < 14) return p;
  auto byte = [&](size_t i) { return static_cast<unsigned char>(p.bytes[i]); };
  p.op = byte(at) & 15;
  for (size_t i = 0; i < 8; ++i) p.id |= static_cast<uint64_t>(byte(at + 1 + i)) << (8 * i);
  at += 9;
  if (p.op == 2) {
    p.code = byte(at) & 1 ? -static_cast<int64_t>((byte(at) + 1) / 2) : byte(at) / 2;
    while (byte(at) & 0x80) ++at;
    ++at;
  }
  if (p.op <= 1) {
    while (byte(at) & 0x80) ++at;
    ++at;
    at += 1 + byte(at);
    at += 1 + byte(at);
  }
  at += 1 + byte(at);
  p.payload = p.bytes.substr(at, p.bytes.size() - 4 - at);
  p.right = le(crc32c(p.bytes.substr(0, p.bytes.size() - 4)), 4) == p.bytes.substr(p.bytes.size() - 4);
  return p;
}

// ---------------------------------------------------------------- servers

/// Answers with its name and what it got; "slow" calls never.
ScriptedBackend::Script bank_server(std::string name) {
  return [name](TestSocket& socket) {
    for (;;) {
      std::string frame = read_bank(socket);
      if (frame.empty()) return;
      std::string id = field(frame, "Id");
      if (field(frame, "Kind") == "PNG") socket.send(bank(tag("Kind", "PON") + tag("Id", id)));
      if (field(frame, "Kind") != "REQ" || field(frame, "Op") == "slow") continue;
      socket.send(bank(tag("Kind", "RSP") + tag("Id", id) + tag("Code", "OK"),
                       "<Body>" + tag("By", name) + tag("Saw", id) + tag("Zone", field(frame, "Zone")) +
                           tag("Arg", field(frame, "Arg")) + "</Body></Msg>"));
    }
  };
}

ScriptedBackend::Script trade_server(std::string name) {
  return [name](TestSocket& socket) {
    for (;;) {
      std::string line = socket.read_until("\n");
      if (line.empty()) return;
      if (line == "PNG\n") socket.send("PON\n");
      if (!line.starts_with("REQ|") || line.find("/slow|") != std::string::npos) continue;
      line.pop_back();
      socket.send("RSP|OK||" + name + " got " + line + "\n");
    }
  };
}

ScriptedBackend::Script pulse_server(std::string name) {
  return [name](TestSocket& socket) {
    for (;;) {
      Pulse p = read_pulse(socket);
      if (p.op < 0) return;
      if (p.op == 3) socket.send(pulse(4, p.id, ""));
      if (p.op != 0 || p.payload == "slow") continue;
      socket.send(pulse(2, p.id, varint(0), "", name + (p.right ? " ok " : " BROKEN ") + p.payload));
    }
  };
}

class Described : public ServerTest {
 protected:
  Described() {
    std::string name = fs::temp_directory_path() / "dragoman-described-XXXXXX";
    folder = mkdtemp(name.data());
  }
  void TearDown() override {
    ServerTest::TearDown();
    fs::remove_all(folder);
  }
  /// As a deployment does: a new file under the old name.
  void put(const std::string& name, const std::string& from = "", const std::string& to = "") {
    std::ifstream in(source_dir() + "/protocols/descriptors/" + name + ".yaml");
    std::string yaml{std::istreambuf_iterator<char>(in), {}};
    if (!from.empty()) {
      ASSERT_NE(yaml.find(from), std::string::npos) << from;
      yaml.replace(yaml.find(from), from.size(), to);
    }
    std::ofstream(folder / "next") << yaml;
    fs::rename(folder / "next", folder / (name + ".yaml"));
  }
  TestServer& run(const std::string& protocol, const std::string& a, const std::string& b, const std::string& pool) {
    put(protocol);
    TestServer::Options options;
    options.file = folder / "dragoman.yaml";
    options.workers = 1;
    return start(fill_in("codecs: [{name: $P, descriptor: ./$P.yaml}]\n"
                         "listeners: [{name: in, address: 127.0.0.1:0, protocol: $P, routes: all}]\n"
                         "routes:\n"
                         "- name: all\n"
                         "  routes:\n"
                         "  - {match: {service: One, method: add}, cluster: a, request_headers: {set: {Zone: eu}}}\n"
                         "  - {match: {service: One}, cluster: a, timeout: 300ms}\n"
                         "  - {match: {service: Two}, cluster: b}\n"
                         "clusters:\n"
                         "- {name: a, endpoints: ['$A'], pool: {mode: $M}, health_check: {type: heartbeat, interval: 1s, timeout: 1s}}\n"
                         "- {name: b, endpoints: ['$B'], pool: {mode: $M}}\n",
                         {{"P", protocol}, {"A", a}, {"B", b}, {"M", pool}}),
                 options);
  }
  fs::path folder;
};

// ---------------------------------------------------------------- text ids, shared connections

TEST_F(Described, BankRoutesAndSharesConnections) {
  ScriptedBackend a(bank_server("a")), b(bank_server("b"));
  ASSERT_TRUE(run("bankxml", a.address(), b.address(), "multiplex").serving());
  // Two clients with the same id at once, on one connection to each server.
  TestSocket one = connect(), two = connect();
  for (TestSocket* s : {&one, &two})
    s->send(bank_call("same", "One", "add", tag("Arg", s == &one ? "1" : "2")) + bank_call("t", "Two", "x"));
  for (TestSocket* s : {&one, &two}) {
    std::map<std::string, std::string> by;
    for (int i = 0; i < 2; ++i) {
      std::string answer = read_bank(*s);
      by[field(answer, "Id")] = answer;
    }
    ASSERT_TRUE(by.contains("same") && by.contains("t"));
    EXPECT_EQ(field(by["same"], "By"), "a");
    EXPECT_EQ(field(by["same"], "Arg"), s == &one ? "1" : "2");
    EXPECT_EQ(field(by["same"], "Zone"), "eu") << "the header was set";
    EXPECT_EQ(field(by["same"], "Saw").size(), 16u) << "an id of the proxy's";
    EXPECT_EQ(field(by["t"], "By"), "b");
  }
  EXPECT_EQ(b.connections(), 1);
  constexpr const char* kNative = "dragoman_native_responses_total";
  EXPECT_TRUE(server().becomes(4, kNative, {"protocol=\"bankxml\"", "status=\"OK\""})) << "a text, as it is";
  EXPECT_EQ(server().metric(kNative, {"cluster=\"b\""}), 2);
}

TEST_F(Described, BankSaysErrorsInItsOwnWords) {
  ScriptedBackend a(bank_server("a"));
  RefusingPort nobody;
  ASSERT_TRUE(run("bankxml", a.address(), nobody.address(), "multiplex").serving());
  TestSocket client = connect();
  client.send(bank_call("n1", "None", "x"));
  std::string answer = read_bank(client);
  EXPECT_EQ(field(answer, "Id"), "n1");
  EXPECT_EQ(field(answer, "Kind"), "RSP");
  EXPECT_EQ(field(answer, "Code"), "UNKNOWN");
  client.send(bank_call("n2", "Two", "x"));
  EXPECT_EQ(field(read_bank(client), "Code"), "DOWN");
  client.send(bank_call("n3", "One", "slow"));
  answer = read_bank(client);
  EXPECT_EQ(field(answer, "Id"), "n3");
  EXPECT_EQ(field(answer, "Code"), "LATE") << "the route's deadline";
  client.send(bank_call("n4", "One", "add", "") + bank_call("n5", "One", "slow", tag("Ttl", "50")));
  EXPECT_EQ(field(read_bank(client), "Code"), "OK");
  EXPECT_EQ(field(read_bank(client), "Code"), "LATE") << "the caller's own deadline";
  EXPECT_EQ(server().metric("dragoman_native_responses_total"), 1)
      << "our own answers are none of the endpoint's";
  client.send("00000030<nonsense instead of a message>");
  EXPECT_TRUE(client.closed_by_peer());
}

TEST_F(Described, BankHeartbeatsBothWays) {
  std::atomic<int> asked{0};
  ScriptedBackend a([&](TestSocket& socket) {
    for (;;) {
      std::string frame = read_bank(socket);
      if (frame.empty()) return;
      if (field(frame, "Kind") != "PNG") continue;
      ++asked;
      socket.send(bank(tag("Kind", "PON") + tag("Id", field(frame, "Id"))));
    }
  });
  ASSERT_TRUE(run("bankxml", a.address(), a.address(), "multiplex").serving());
  TestSocket client = connect();
  client.send(bank(tag("Kind", "PNG") + tag("Id", "mine")));
  std::string answer = read_bank(client);
  EXPECT_EQ(field(answer, "Kind"), "PON");
  EXPECT_EQ(field(answer, "Id"), "mine");
  EXPECT_TRUE(eventually([&] { return asked >= 2; })) << "health checks of the cluster";
}

TEST_F(Described, BankBodiesStreamAndCutsDoNotMatter) {
  ScriptedBackend a(bank_server("a")), b(bank_server("b"));
  ASSERT_TRUE(run("bankxml", a.address(), b.address(), "multiplex").serving());
  TestSocket client = connect();
  std::string large = "<Body>" + tag("Arg", "7") + tag("Fill", std::string(300'000, 'x')) + "</Body></Msg>";
  client.send(bank_call("big", "Two", "x", "", large));
  std::string answer = read_bank(client);
  EXPECT_EQ(field(answer, "Arg"), "7");
  client.send_in_pieces(bank_call("cut", "Two", "x", tag("Arg", "8")), 3);
  EXPECT_EQ(field(read_bank(client), "Arg"), "8");
}

// ---------------------------------------------------------------- no ids, one call at a time

TEST_F(Described, TradeIsOneCallAtATimeOnEachConnection) {
  ScriptedBackend a(trade_server("a")), b(trade_server("b"));
  ASSERT_TRUE(run("tradeline", a.address(), b.address(), "ping_pong").serving());
  TestSocket one = connect(), two = connect();
  // Pipelined: answers keep the order, also across servers.
  one.send("REQ|Two/x||1\nREQ|One/add|k=v|2\nREQ|Two/x||3\n");
  two.send("REQ|One/add||4\n");
  EXPECT_EQ(one.read_until("\n"), "RSP|OK||b got REQ|Two/x||1\n");
  EXPECT_EQ(one.read_until("\n"), "RSP|OK||a got REQ|One/add|k=v;Zone=eu|2\n");
  EXPECT_EQ(one.read_until("\n"), "RSP|OK||b got REQ|Two/x||3\n");
  EXPECT_EQ(two.read_until("\n"), "RSP|OK||a got REQ|One/add|Zone=eu|4\n");
  one.send("PNG\n");
  EXPECT_EQ(one.read_until("\n"), "PON\n");
}

TEST_F(Described, TradeSaysErrorsInItsOwnWords) {
  ScriptedBackend a(trade_server("a"));
  RefusingPort nobody;
  ASSERT_TRUE(run("tradeline", a.address(), nobody.address(), "ping_pong").serving());
  TestSocket client = connect();
  client.send("REQ|None/x||\n");
  EXPECT_TRUE(client.read_until("\n").starts_with("RSP|NOSUCH||"));
  client.send("REQ|Two/x||\n");
  EXPECT_TRUE(client.read_until("\n").starts_with("RSP|DOWN||"));
  client.send("REQ|One/slow||\n");
  EXPECT_TRUE(client.read_until("\n").starts_with("RSP|LATE||"));
  client.send("NTF|One/add||no answer\nREQ|One/add||after\n");
  EXPECT_EQ(client.read_until("\n"), "RSP|OK||a got REQ|One/add|Zone=eu|after\n");
  client.send("REQ|" + std::string(400, 's'));
  EXPECT_TRUE(client.closed_by_peer());
}

// ---------------------------------------------------------------- 64-bit ids, checksums

TEST_F(Described, PulseRemapsIdsAndKeepsChecksumsRight) {
  ScriptedBackend a(pulse_server("a")), b(pulse_server("b"));
  ASSERT_TRUE(run("pulse", a.address(), b.address(), "multiplex").serving());
  TestSocket one = connect(), two = connect();
  const uint64_t id = 0xfedcba9876543210;
  for (int round = 0; round < 50; ++round) {
    for (TestSocket* s : {&one, &two}) s->send(pulse_call(id, "Two", "x", 0, s == &one ? "first" : "second"));
    for (TestSocket* s : {&one, &two}) {
      Pulse p = read_pulse(*s);
      ASSERT_EQ(p.id, id);
      ASSERT_TRUE(p.right);
      ASSERT_EQ(p.payload, s == &one ? "b ok first" : "b ok second");
    }
  }
  EXPECT_EQ(b.connections(), 1);
  // An edited head has its length and checksum fixed.
  one.send(pulse_call(5, "One", "add", 0, std::string(110, 'e')));
  Pulse p = read_pulse(one);
  EXPECT_EQ(p.payload, "a ok " + std::string(110, 'e'));
}

TEST_F(Described, PulseSaysErrorsInItsOwnWords) {
  ScriptedBackend a(pulse_server("a"));
  RefusingPort nobody;
  ASSERT_TRUE(run("pulse", a.address(), nobody.address(), "multiplex").serving());
  TestSocket client = connect();
  client.send(pulse_call(1, "None", "x"));
  Pulse p = read_pulse(client);
  EXPECT_EQ(p.id, 1u);
  EXPECT_EQ(p.code, -1);
  EXPECT_TRUE(p.right);
  client.send(pulse_call(2, "Two", "x"));
  EXPECT_EQ(read_pulse(client).code, -2);
  client.send(pulse_call(3, "One", "x", 0, "slow"));
  EXPECT_EQ(read_pulse(client).code, -3);
  client.send(pulse_call(4, "One", "add", 50, "slow"));
  EXPECT_EQ(read_pulse(client).code, -3) << "the caller's own deadline";
  client.send(pulse(3, 77, ""));
  p = read_pulse(client);
  EXPECT_EQ(p.op, 4);
  EXPECT_EQ(p.id, 77u);
  std::string spoiled = pulse_call(6, "Two", "x");
  spoiled.back() ^= 1;
  client.send(spoiled);
  EXPECT_EQ(read_pulse(client).code, -5) << "a wrong checksum is said, then the connection ends";
  EXPECT_TRUE(client.closed_by_peer());
}

// ---------------------------------------------------------------- reload

TEST_F(Described, ChangedFilesAreSwappedInUnderLoadWithoutAFailedCall) {
  ScriptedBackend a(bank_server("a")), b(bank_server("b"));
  ASSERT_TRUE(run("bankxml", a.address(), b.address(), "multiplex").serving());
  TestSocket old = connect();
  old.send(bank_call("o", "None", "x"));
  ASSERT_EQ(field(read_bank(old), "Code"), "UNKNOWN");

  std::atomic<bool> stop{false};
  std::atomic<uint64_t> calls{0}, failed{0};
  std::vector<std::thread> clients;
  for (int c = 0; c < 2; ++c) {
    clients.emplace_back([&, c] {
      while (!stop) {
        TestSocket socket = connect();
        for (int n = c == 0 ? 500 : 10; n > 0 && !stop; --n, ++calls) {
          socket.send(bank_call("i" + std::to_string(n), "Two", "x"));
          std::string answer = read_bank(socket);
          failed += field(answer, "Code") == "OK" && field(answer, "Id") == "i" + std::to_string(n) ? 0 : 1;
        }
      }
    });
  }
  for (int round = 0; round < 6; ++round) {
    std::string word = "MISSING" + std::to_string(round);
    put("bankxml", "no_route: UNKNOWN", "no_route: " + word);
    if (round % 3 == 1) {
      EXPECT_EQ(server().admin("POST", "/codecs/reload").status, 200);
    } else if (round % 3 == 2) {
      EXPECT_EQ(server().admin("POST", "/reload").status, 200);
    }  // else the change is noticed
    EXPECT_TRUE(eventually([&] {
      TestSocket fresh = connect();
      fresh.send(bank_call("f", "None", "x"));
      return field(read_bank(fresh), "Code") == word;
    })) << round;
  }
  stop = true;
  for (auto& c : clients) c.join();
  EXPECT_EQ(failed, 0u) << "of " << calls;
  EXPECT_GT(calls, 50u);
  old.send(bank_call("o", "None", "x"));
  EXPECT_EQ(field(read_bank(old), "Code"), "UNKNOWN") << "old connections keep the old program";
}

TEST_F(Described, ABrokenFileLeavesTheOldOneServingAndSaysWhere) {
  ScriptedBackend a(bank_server("a")), b(bank_server("b"));
  ASSERT_TRUE(run("bankxml", a.address(), b.address(), "multiplex").serving());
  put("bankxml", "service: head.Svc", "service: hed.Svc");
  HttpMessage answer = server().admin("POST", "/codecs/reload");
  EXPECT_EQ(answer.status, 400);
  EXPECT_NE(answer.body.find("bankxml.yaml:31:10: error: "), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("did you mean \"head\"?"), std::string::npos) << answer.body;
  TestSocket client = connect();
  client.send(bank_call("x", "Two", "x"));
  EXPECT_EQ(field(read_bank(client), "Code"), "OK");
}

TEST_F(Described, AnotherNameAndAMissingAbilityAreRefused) {
  put("tradeline");
  auto refused = [&](const std::string& yaml, const std::string& why) {
    TestServer::Options options;
    options.file = folder / "dragoman.yaml";
    ::testing::internal::CaptureStderr();
    TestServer server(yaml, options);
    bool serving = server.serving();
    server.stop();
    std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_FALSE(serving);
    EXPECT_NE(said.find(why), std::string::npos) << said;
  };
  std::string rest = "listeners: [{name: in, address: 127.0.0.1:0, protocol: lines, cluster: a}]\n"
                     "clusters: [{name: a, endpoints: ['127.0.0.1:9']$POOL}]\n";
  refused("codecs: [{name: lines, descriptor: tradeline.yaml}]\n" + fill_in(rest, {{"POOL", ""}}),
          "calls itself \"tradeline\", not \"lines\"");
  refused("codecs: [{name: lines, descriptor: tradeline.yaml, codec: tradeline}]\n" +
              fill_in(rest, {{"POOL", ", pool: {mode: multiplex}"}}),
          "lines");
}

TEST_F(Described, ShippedOnesStandBesideBuiltInCodecsUnderTheirOwnNames) {
  std::string codecs, listeners;
  for (const char* name : kShippedNames) {
    put(name);
    codecs += "- {name: " + std::string(name) + ", descriptor: ./" + name + ".yaml}\n";
    listeners += "- {name: in_" + std::string(name) + ", address: 127.0.0.1:0, protocol: " + name +
                 ", cluster: " + name + "}\n";
  }
  std::string clusters;
  for (const char* name : kShippedNames)
    clusters += "- {name: " + std::string(name) + ", protocol: " + name + ", endpoints: ['127.0.0.1:9']}\n";
  // The codec that is built in for the same protocol serves in the same configuration.
  listeners += "- {name: in, address: 127.0.0.1:0, protocol: ttheader, cluster: kitex}\n";
  clusters += "- {name: kitex, protocol: ttheader, endpoints: ['127.0.0.1:9']}\n";
  TestServer::Options options;
  options.file = folder / "dragoman.yaml";
  EXPECT_TRUE(
      start("codecs:\n" + codecs + "listeners:\n" + listeners + "clusters:\n" + clusters, options).serving());
}

TEST_F(Described, TheNameOfABuiltInCodecIsRefused) {
  put("ttheader_lite");
  TestServer::Options options;
  options.file = folder / "dragoman.yaml";
  ::testing::internal::CaptureStderr();
  TestServer server(
      "codecs: [{name: ttheader, descriptor: ./ttheader_lite.yaml, codec: ttheader_lite}]\n"
      "listeners: [{name: in, address: 127.0.0.1:0, protocol: ttheader, cluster: a}]\n"
      "clusters: [{name: a, endpoints: ['127.0.0.1:9']}]\n",
      options);
  bool serving = server.serving();
  server.stop();
  std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_FALSE(serving);
  EXPECT_NE(said.find(":17: error: codecs[0].name: a protocol called \"ttheader\" is built in"),
            std::string::npos)
      << said;
}

}  // namespace
}  // namespace dragoman::testing
