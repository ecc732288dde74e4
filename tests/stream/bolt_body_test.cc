// Routes and logs by what SOFARPC requests say in their bodies only, through the real server.
#include <fstream>

#include "tests/support/bolt_frames.h"
#include "tests/support/scripted_backend.h"
#include "tests/support/source_dir.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {
namespace {

std::string vector_bytes(const std::string& name) {
  return read_hex(source_dir() + "/tests/vectors/bolt/" + name + ".hex");
}

const char kRead[] = ", rpc: {bolt: {read_body: true}}";

class BoltBody : public ServerTest {
 protected:
  TestServer& serve(const std::string& match, const std::string& more = "") {
    return start(
        fill_in(R"(
listeners:
  - {name: in, address: '127.0.0.1:0', protocol: bolt, routes: t$MORE}
routes:
  - name: t
    routes:
      - {name: found, match: $MATCH, cluster: found}
      - {name: rest, cluster: rest}
clusters:
  - {name: found, endpoints: ['$FOUND']}
  - {name: rest, endpoints: ['$REST']}
)",
                {{"MATCH", match}, {"MORE", more}, {"FOUND", found.address()}, {"REST", rest.address()}}));
  }
  /// What a request comes to: the content of its answer.
  void call(const std::string& request, const std::string& expected) {
    TestSocket s = connect();
    s.send_in_pieces(request, 100);
    EXPECT_NE(s.read_bolt().find(expected), std::string::npos) << expected;
  }
  double unread() {
    return server().metric("dragoman_listener_codec_events_total", {"event=\"body_unread\""});
  }

  ScriptedBackend found{scripts::bolt("FOUND")};
  ScriptedBackend rest{scripts::bolt("REST")};
  const std::string hello = vector_bytes("bolt-v1-node-request-hello-props");
  const std::string plus = vector_bytes("bolt-v1-node-request-plus");
};

TEST_F(BoltBody, ARouteByMethodNeedsTheKey) {
  serve("{method: [hello]}");
  call(hello, "REST");  // most clients say it in the header section, where it costs nothing
  serve("{method: [hello]}", kRead);
  call(hello, "FOUND");
  call(plus, "REST");
  EXPECT_EQ(unread(), 0);
}

TEST_F(BoltBody, ARouteByTraceNeedsTheKey) {
  const std::string match = "{headers: [{name: trace_id, exact: 0a0fe8ec1700000000000100112345}]}";
  serve(match);
  call(hello, "REST");
  serve(match, kRead);
  call(hello, "FOUND");
  call(plus, "REST");
  EXPECT_EQ(unread(), 0);
}

TEST_F(BoltBody, WhatCanNotBeReadGoesOn) {
  serve("{method: [hello]}", kRead);
  std::string broken = hello;
  broken[22 + 44 + 45] = 'Q';  // where the body begins
  call(broken, "REST");
  call(broken.substr(0, broken.size() - 1) + "z", "REST");
  EXPECT_TRUE(server().becomes(2, "dragoman_listener_codec_events_total", {"event=\"body_unread\""}));
  EXPECT_EQ(server().metric("dragoman_requests_total", {"outcome=\"ok\""}), 2);
}

}  // namespace
}  // namespace dragoman::testing
