// What the control thread is asked for while each allocation of it fails, alone and with all after it: the old configuration serves on, who
// asked is told or loses the connection, it counts, and the next one gets what it asked for.
#include <gtest/gtest.h>
#include <poll.h>

#include "tests/server/server_support.h"
#include "tests/support/allocations.h"

namespace dragoman::testing {
namespace {

const char kReloads[] = "dragoman_config_reloads_total";

std::string answering(const std::string& text) {
  return "listeners: [{name: in, address: '127.0.0.1:0', protocol: http1, routes: r}]\n"
         "routes: [{name: r, routes: [{direct_response: {status: 200, body: " +
         text + "}}]}]\n";
}

class ControlMemory : public ServerTest, public ::testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    TestServer::Options options;
    options.workers = 1;
    options.file = dir_.file("dragoman.yaml");
    start(answering("one"), std::move(options));
    ASSERT_TRUE(server().serving());
  }
  void TearDown() override {
    let_allocations_be();
    ServerTest::TearDown();
  }
  /// Asks the admin listener while allocations fail. The status; 0 when the connection ended without one.
  int ask(const std::string& method, const std::string& path, size_t nth) {
    fail_allocation_elsewhere(nth, GetParam());
    TestSocket s = TestSocket::connect(server().admin_port());
    s.send(method + " " + path +
           " HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    // Who waits for memory, in order to tell, gets some once enough has failed.
    pollfd readable{s.fd(), POLLIN, 0};
    for (int i = 0; i < 40 && failed_allocations() < 10 && ::poll(&readable, 1, 5) == 0; ++i) {
    }
    if (GetParam()) let_allocations_be();
    const HttpMessage answer = s.read_response();
    failed_ = failed_allocations() != 0;
    let_allocations_be();
    EXPECT_TRUE(answer.complete || s.end() != End::kOpen) << "nobody was told";
    return answer.complete ? answer.status : 0;
  }
  /// What a client gets from the listener now.
  std::string served() {
    TestSocket s = connect();
    s.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    return s.read_response().body;
  }
  double shed() { return server().metric("dragoman_memory_shed_total", {"what=\"control\""}); }

  TempDir dir_;
  bool failed_ = false;  // an allocation of the last ask()
};

TEST_P(ControlMemory, APageIsWholeOrRefused) {
  const std::string pages[] = {"/metrics", "/clusters?format=json", "/listeners?format=json", "/config_dump",
                               "/codecs?format=json"};
  int refused = 0, closed = 0;
  for (const std::string& page : pages) {
    for (size_t nth = 1;; nth += 1 + nth / 16) {
      SCOPED_TRACE(page + ", allocation " + std::to_string(nth));
      const int status = ask("GET", page, nth);
      refused += status == 503 ? 1 : 0;
      closed += status == 0 ? 1 : 0;
      ASSERT_TRUE(status == 200 || status == 503 || status == 0) << status;
      if (!failed_) break;
      ASSERT_LT(nth, 1'000'000u);
    }
    ASSERT_EQ(server().admin("GET", page).status, 200);
  }
  if (!GetParam()) {
    EXPECT_GT(refused, 0);
  }
  EXPECT_GT(closed, 0);
  EXPECT_EQ(served(), "one");
  EXPECT_GT(shed(), 0);
}

TEST_P(ControlMemory, AReloadIsDoneOrRefusedAndCounted) {
  std::string in_use = "one";
  int refused = 0;
  for (size_t nth = 1;; nth += 1 + nth / 16) {
    SCOPED_TRACE("allocation " + std::to_string(nth));
    const std::string wanted = in_use == "one" ? "two" : "one";
    const double shed = this->shed();
    server().write_file(answering(wanted));  // the watch may ask for it, too
    const int status = ask("POST", "/reload", nth);
    const std::string now = served();
    ASSERT_TRUE(now == wanted || now == in_use) << now;
    if (status == 503) {
      ++refused;
      EXPECT_GT(this->shed(), shed);
    }
    const bool failed = failed_;
    ASSERT_EQ(server().admin("POST", "/reload").status, 200);
    ASSERT_EQ(served(), wanted);
    in_use = wanted;
    if (!failed) break;
    ASSERT_LT(nth, 1'000'000u);
  }
  if (!GetParam()) {
    EXPECT_GT(refused, 0);
  }
  EXPECT_GT(server().metric(kReloads, {"result=\"failure\""}), 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, ControlMemory, ::testing::Bool(),
                         [](const auto& way) { return std::string(way.param ? "AllFromOneOn" : "One"); });

}  // namespace
}  // namespace dragoman::testing
