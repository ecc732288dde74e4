// A backend that does what a test says: every accepted connection runs a function on a thread of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/test_socket.h"

namespace dragoman::testing {

class ScriptedBackend {
 public:
  using Script = std::function<void(TestSocket&)>;
  struct Options {
    uint16_t port = 0;          // 0 = any free one
    int receive_buffer_bytes = 0;
  };

  /// The first connection runs scripts[0] and so on; more of them run the last one.
  explicit ScriptedBackend(std::vector<Script> scripts) : ScriptedBackend(std::move(scripts), Options{}) {}
  explicit ScriptedBackend(Script script) : ScriptedBackend(std::vector<Script>{std::move(script)}) {}
  ScriptedBackend(std::vector<Script> scripts, Options options);
  ~ScriptedBackend() { stop(); }

  uint16_t port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  int connections() const { return accepted_.load(); }
  /// Connections whose script has not returned.
  int active() const { return active_.load(); }
  /// Closes the listening socket and every connection.
  void stop();

 private:
  struct Connection {
    TestSocket socket;
    int wake_fd = -1;  // a duplicate, to end a blocked read from outside
    std::thread thread;
  };
  void run();

  std::vector<Script> scripts_;
  int listen_fd_ = -1;
  uint16_t port_ = 0;
  std::atomic<int> accepted_{0};
  std::atomic<int> active_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::list<Connection> connections_;
  std::thread thread_;
};

/// A port of 127.0.0.1 where nobody listens (and nobody will, while the object lives).
class RefusingPort {
 public:
  RefusingPort();
  ~RefusingPort();
  uint16_t port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  int fd_ = -1;
  uint16_t port_ = 0;
};

/// A port of 127.0.0.1 where connecting neither works nor fails: the queue of who listens is full, so SYNs are dropped.
class UnansweredPort {
 public:
  UnansweredPort();
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

 private:
  uint16_t port_ = 0;
  TestSocket listener_;
  std::vector<TestSocket> queue_;
};

namespace scripts {

/// Answers every HTTP request with 200 and `body`.
ScriptedBackend::Script http(std::string body);
/// Answers every HTTP request with what `make` says.
ScriptedBackend::Script http(std::function<std::string(const HttpMessage&)> make);
/// Answers every Bolt request with a success that has the same id and `content` ("" = the request's).
ScriptedBackend::Script bolt(std::string content = {});
/// Sends back what it gets.
ScriptedBackend::Script echo();
/// Reads and drops everything until the peer ends.
ScriptedBackend::Script silent();

}  // namespace scripts

/// "HTTP/1.1 200 OK" with a body.
std::string http_ok(std::string_view body);

}  // namespace dragoman::testing
