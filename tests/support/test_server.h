// A whole Dragoman inside the test process: control thread, workers, real sockets on free ports.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "proxy/server/server.h"
#include "tests/support/test_socket.h"

namespace dragoman::testing {

/// `text` with every $NAME replaced.
std::string fill_in(std::string text, std::initializer_list<std::pair<std::string_view, std::string>> names);

class TestServer {
 public:
  struct Options {
    int workers = 2;
    std::string file;           // write the text there and run from it, watched
    ResolverFactory resolvers = &Resolver::create;
    uint64_t stall_ms = Watchdog::kStallMs;
    std::function<void(std::string_view)> on_step{};  // ServerOptions::on_step
    std::string drain = "{deadline: 5s, idle_grace: 100ms}";
  };
  /// `yaml` is everything but workers, admin (unless it begins with it), log and drain. Returns when it serves; serving() is false when it could
  /// not start.
  explicit TestServer(std::string yaml) : TestServer(std::move(yaml), Options{}) {}
  TestServer(std::string yaml, Options options);
  ~TestServer() { stop(); }

  bool serving() const { return serving_; }
  uint16_t admin_port() const { return admin_port_; }
  uint16_t port(std::string_view listener);
  TestSocket connect(std::string_view listener) { return TestSocket::connect(port(listener)); }

  /// One request to the admin listener.
  HttpMessage admin(std::string_view method, std::string_view target, std::string_view host = "localhost");
  /// Sum of the series of `family` whose labels contain every one of `labels` (`name="value"`).
  double metric(std::string_view family, std::initializer_list<std::string_view> labels = {});
  /// Waits until that sum is `value`.
  ::testing::AssertionResult becomes(double value, std::string_view family,
                                     std::initializer_list<std::string_view> labels = {});

  /// Rewrites the file (Options::file) as a whole, by rename.
  void write_file(const std::string& yaml);
  /// What TestServer puts before `yaml`.
  std::string whole(const std::string& yaml) const;

  /// Asks for the end once: a drain.
  void shutdown() { server_->shutdown(); }
  /// Waits for the end; false at the deadline.
  bool wait_ended(int limit_ms = kDeadlineMs);
  /// Ends at once and waits. True when nothing leaked.
  void stop();
  const WorkerLeaks& leaks() const { return server_->leaks(); }
  int exit_code() const { return exit_code_; }
  /// Every gauge of things that begin and end becomes zero. (Connections to backends may be kept for later.)
  ::testing::AssertionResult comes_to_rest();

 private:
  Options options_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  std::future<void> ended_;
  bool serving_ = false;
  uint16_t admin_port_ = 0;
  int exit_code_ = -1;
};

/// Starts one server per test and fails the test when anything is alive at its end.
class ServerTest : public ::testing::Test {
 protected:
  TestServer& start(std::string yaml) { return start(std::move(yaml), TestServer::Options{}); }
  TestServer& start(std::string yaml, TestServer::Options options);
  TestServer& server() { return *server_; }
  TestSocket connect(std::string_view listener = "in") { return server_->connect(listener); }
  void TearDown() override;
  /// Ends the server and checks that nothing leaked.
  void stop();
  /// At the test's end: that nothing is under way any more, by the gauges. For tests whose clients are gone by then.
  bool gauges_end_at_zero_ = false;

 private:
  std::unique_ptr<TestServer> server_;
};

}  // namespace dragoman::testing
