// Two sidecars, one behind the other: the one at the client's side says what the one at the server's side meant.
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/http2/frames.h"
#include "tests/server/server_support.h"
#include "tests/stream/dubbo_calls.h"
#include "tests/stream/stream_support.h"

namespace dragoman::testing {
namespace {

const char kPeerReasons[] = "dragoman_cluster_peer_reasons_total";
const char kHeader[] = "x-dragoman-reason";

/// Sends one request and reads its answer as it is on the wire.
std::string ask(const std::string& protocol, TestSocket s) {
  if (protocol == "http1") {
    s.send("POST /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbody");
    return s.read_to_end();
  }
  if (protocol == "bolt") {
    s.send(BoltFrame::request(1).bytes());
    return s.read_bolt();
  }
  if (protocol == "dubbo") {
    s.send(dubbo_call());
    return read_dubbo(s);
  }
  h2::Fields fields = h2::post("/S/m");
  if (protocol == "grpc") {
    fields.push_back({"content-type", "application/grpc"});
    fields.push_back({"te", "trailers"});
  }
  s.send(h2::hello() + h2::headers(1, fields, h2::kEndHeaders) + h2::data(1, "body", h2::kEndStream));
  std::string bytes;
  eventually([&] {
    bytes += s.read_some(20);
    for (const h2::Frame& f : h2::parse(bytes))
      if (f.id == 1 && (f.type == h2::kRstStream || f.flags & h2::kEndStream) && f.type <= h2::kRstStream)
        return true;
    return s.end() != End::kOpen;
  });
  return bytes;
}

class Reasons : public ::testing::Test {
 protected:
  /// A sidecar in front of `endpoint`.
  std::unique_ptr<TestServer> inner(const std::string& protocol, const std::string& endpoint,
                                    const std::string& listener = ", tell_reason: true") {
    return std::make_unique<TestServer>(
        fill_in("listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, cluster: c$L}]\n"
                "clusters: [{name: c, endpoints: ['$E']}]\n",
                {{"P", wire(protocol)}, {"L", listener}, {"E", endpoint}}));
  }
  /// One in front of other sidecars, whose log says reason and peer's reason.
  std::unique_ptr<TestServer> outer(const std::string& protocol, const std::string& endpoints,
                                    const std::string& listener = "",
                                    const std::string& cluster = ", sidecar: true") {
    TestServer::Options options;
    options.workers = 1;
    return std::make_unique<TestServer>(
        fill_in("access_log: {path: '$LOG', template: '%REASON%/%PEER_REASON%'}\n"
                "listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, cluster: c$L}]\n"
                "clusters: [{name: c, endpoints: [$E]$C}]\n",
                {{"LOG", log_}, {"P", wire(protocol)}, {"L", listener}, {"C", cluster}, {"E", endpoints}}),
        options);
  }
  static std::string wire(const std::string& protocol) { return protocol == "grpc" ? "http2" : protocol; }
  static std::string at(TestServer& server) {
    return "'127.0.0.1:" + std::to_string(server.port("in")) + "'";
  }
  std::string last_log() {
    std::string last;
    eventually([&] {
      std::ifstream file(log_);
      for (std::string line; std::getline(file, line);) last = line;
      return !last.empty();
    });
    std::ofstream(log_, std::ios::trunc);
    return last;
  }

  TempDir dir_;
  const std::string log_ = dir_.file("access.log");
};

TEST_F(Reasons, OfTheServersSideAreLoggedAndCountedAtTheClientsSide) {
  for (const std::string protocol : {"http1", "http2", "grpc", "bolt", "dubbo"}) {
    SCOPED_TRACE(protocol);
    RefusingPort nobody;
    auto server_side = inner(protocol, nobody.address());
    for (const bool pass_on : {false, true}) {
      auto client_side = outer(protocol, at(*server_side), pass_on ? ", tell_reason: true" : "");
      const std::string answer = ask(protocol, client_side->connect("in"));
      EXPECT_FALSE(answer.empty());
      EXPECT_TRUE(client_side->becomes(1, kPeerReasons, {"reason=\"connect_failure\""}));
      EXPECT_EQ(last_log(), "upstream_status/connect_failure");
      if (wire(protocol) != "http2") {  // its text is compressed
        EXPECT_EQ(answer.find(kHeader) != std::string::npos, pass_on);
        EXPECT_EQ(answer.find("connect_failure; unsent") != std::string::npos, pass_on);
      }
      client_side->stop();
    }
  }
}

// Through the codec's own edit(): what has no place for a header goes without, and is an answer all the same.
TEST_F(Reasons, TravelWhereverAnswersCarryHeaders) {
  struct Row {
    const char* protocol;
    const char* folder;
    const char* request;
    bool told;
  };
  for (const Row& row :
       std::initializer_list<Row>{Row{"bolt", "bolt", "bolt-v1-java-request", true},
                                  Row{"bolt", "bolt", "bolt-v2-ver1-java-request", true},
                                  Row{"bolt", "bolt", "bolt-v2-ver2-crc-java-request", true},
                                  Row{"bolt", "jraft", "jraft-ping-request", true},
                                  Row{"dubbo", "dubbo", "dubbo-java27-request-hello-attachments", true},
                                  Row{"tars", "tars", "tars-call-getall-struct", true},
                                  Row{"thrift", "thrift", "thrift-framed-binary-call-add", false},
                                  Row{"thrift", "thrift", "thrift-header-binary-call-add", true},
                                  Row{"ttheader", "ttheader", "ttheader-call-echo", true},
                                  Row{"brpc", "brpc", "brpc-call-echo", true},
                                  Row{"rocketmq", "rocketmq", "rocketmq-bin-call-send-v2", true},
                                  Row{"rocketmq", "rocketmq", "rocketmq-json-call-getconsumerlist", true}}) {
    SCOPED_TRACE(std::string(row.protocol) + " " + row.request);
    RefusingPort nobody;
    auto server_side = inner(row.protocol, nobody.address());
    auto client_side = outer(row.protocol, at(*server_side));
    TestSocket s = client_side->connect("in");
    s.send(read_hex(source_dir() + "/tests/vectors/" + row.folder + "/" + row.request + ".hex"));
    std::string answer = s.read(1);
    EXPECT_FALSE(answer.empty());
    answer += s.read_some(50);
    EXPECT_EQ(answer.find("connect_failure; unsent"), std::string::npos);
    EXPECT_TRUE(client_side->becomes(row.told, kPeerReasons, {"reason=\"connect_failure\""}));
    EXPECT_EQ(last_log(), std::string("upstream_status/") + (row.told ? "connect_failure" : "-"));
    EXPECT_EQ(client_side->metric("dragoman_listener_codec_events_total", {"event=\"edit_skipped\""}), 0);
  }
}

TEST_F(Reasons, SayWhetherABackendHasSeenTheRequest) {
  ScriptedBackend resets([](TestSocket& s) {
    if (s.read_request().complete) s.reset();
  });
  auto server_side = inner("http1", resets.address());
  auto client_side = outer("http1", at(*server_side), ", tell_reason: true");
  const std::string answer = ask("http1", client_side->connect("in"));
  EXPECT_NE(answer.find("x-dragoman-reason: upstream_reset\r\n"), std::string::npos) << answer;
  EXPECT_EQ(last_log(), "upstream_status/upstream_reset");
}

TEST_F(Reasons, AreNotToldUnlessTheListenerSaysSo) {
  RefusingPort nobody;
  for (const std::string protocol : {"http1", "bolt", "dubbo"}) {
    auto server_side = inner(protocol, nobody.address(), "");
    EXPECT_EQ(ask(protocol, server_side->connect("in")).find(kHeader), std::string::npos) << protocol;
  }
}

TEST_F(Reasons, WhatASidecarHasNotSentIsRepeatedAtAnother) {
  for (const std::string protocol : {"http1", "http2", "bolt"}) {
    SCOPED_TRACE(protocol);
    RefusingPort nobody;
    std::atomic<int> served{0};
    ScriptedBackend good([&](TestSocket& s) {
      for (;;) {
        if (protocol == "bolt") {
          const std::string frame = s.read_bolt();
          if (frame.empty()) return;
          ++served;
          s.send(BoltFrame::response(bolt_id(frame), "good").bytes());
        } else {
          if (!s.read_request().complete) return;
          ++served;
          s.send(http_ok("good"));
        }
      }
    });
    auto cut_off = inner(protocol, nobody.address());
    // HTTP/2 in front, HTTP/1 behind: the second is served by a backend of the test.
    auto serving = std::make_unique<TestServer>(fill_in(
        "listeners: [{name: in, address: '127.0.0.1:0', protocol: $P, cluster: c, tell_reason: true}]\n"
        "clusters: [{name: c, protocol: $B, endpoints: ['$E']}]\n",
        {{"P", protocol}, {"B", protocol == "http2" ? "http1" : protocol}, {"E", good.address()}}));
    auto client_side = outer(protocol, at(*cut_off) + ", " + at(*serving));
    for (int i = 0; i < 4; ++i)
      EXPECT_NE(ask(protocol, client_side->connect("in")).find("good"), std::string::npos) << i;
    EXPECT_EQ(served, 4);
    EXPECT_GE(client_side->metric(kPeerReasons, {"reason=\"connect_failure\""}), 1);
    EXPECT_EQ(client_side->metric("dragoman_cluster_repeats_total"),
              client_side->metric(kPeerReasons, {"reason=\"connect_failure\""}));
  }
}

TEST_F(Reasons, WhatMayHaveBeenServedIsNot) {
  std::atomic<int> requests{0};
  ScriptedBackend resets([&](TestSocket& s) {
    if (!s.read_request().complete) return;
    ++requests;
    s.reset();
  });
  auto one = inner("http1", resets.address()), two = inner("http1", resets.address());
  auto client_side = outer("http1", at(*one) + ", " + at(*two));
  EXPECT_EQ(ask("http1", client_side->connect("in")).substr(9, 3), "502");
  EXPECT_EQ(requests, 1);
}

// A middle one passes on that the last try was not sent, when an earlier one may have been served.
TEST_F(Reasons, OfOneTryAreNotThoseOfAll) {
  ScriptedBackend resets([](TestSocket& s) {
    if (s.read_request().complete) s.reset();
  });
  RefusingPort nobody;
  auto cut_off = inner("http1", nobody.address()), failing = inner("http1", resets.address());
  auto middle = outer("http1", at(*cut_off) + ", " + at(*failing), ", tell_reason: true",
                      ", sidecar: true, retry: {attempts: 1, idempotent: true, backoff: 1ms, on: [5xx]}");
  for (int i = 0; i < 4; ++i) {
    const std::string answer = ask("http1", middle->connect("in"));
    EXPECT_NE(answer.find(kHeader), std::string::npos) << answer;
    EXPECT_EQ(answer.find("unsent"), std::string::npos) << answer;
  }
}

// Believed only where the configuration says that a sidecar is there, and no backend speaks through one.
TEST_F(Reasons, OfOthersMeanNothing) {
  struct Row {
    const char* listener;
    const char* cluster;
    const char* said;
    const char* counted;  // as; null: not at all
    bool passed_on;
  };
  for (const Row& row : {Row{"", "", "connect_failure; unsent", nullptr, true},
                         Row{", tell_reason: true", "", "connect_failure; unsent", nullptr, false},
                         Row{"", ", sidecar: true", "denied; unsent", "denied", false},
                         Row{"", ", sidecar: true", "no such words", "other", false},
                         Row{"", ", sidecar: true", "; unsent", "other", false},
                         Row{"", ", sidecar: true", "CONNECT_FAILURE; unsent", "other", false},
                         Row{"", ", sidecar: true", "connect_failure; unsent, none", "other", false},
                         Row{"", ", sidecar: true", "connect_failure; unsent", "connect_failure", false}}) {
    SCOPED_TRACE(std::string(row.listener) + row.cluster + " " + row.said);
    std::atomic<int> requests{0};
    ScriptedBackend backend(scripts::http([&](const HttpMessage&) {
      ++requests;
      return std::string("HTTP/1.1 503 X\r\ncontent-length: 0\r\nX-Dragoman-Reason: ") + row.said +
             "\r\n\r\n";
    }));
    auto server = outer("http1", "'" + backend.address() + "'", row.listener, row.cluster);
    const std::string answer = ask("http1", server->connect("in"));
    EXPECT_EQ(
        answer.find("Dragoman-Reason") != std::string::npos || answer.find(kHeader) != std::string::npos,
        row.passed_on)
        << answer;
    EXPECT_EQ(requests, 1) << "with one endpoint nothing is repeated";
    if (row.counted) {
      EXPECT_TRUE(server->becomes(1, kPeerReasons, {"reason=\"" + std::string(row.counted) + "\""}));
    } else {
      EXPECT_EQ(server->metric(kPeerReasons), 0);
    }
    EXPECT_EQ(last_log(), "upstream_status/" + std::string(row.counted ? row.counted : "-"));
  }
}

}  // namespace
}  // namespace dragoman::testing
