// A name server on loopback, in a thread of its own, with a table that tests change.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace dragoman::testing {

class FakeDns {
 public:
  struct Srv {
    uint16_t priority, weight, port;
    std::string target;
  };
  FakeDns();
  ~FakeDns();
  FakeDns(const FakeDns&) = delete;
  FakeDns& operator=(const FakeDns&) = delete;

  uint16_t port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  /// "127.0.0.1" or "::1"; no address: the name is there and has none.
  void set(const std::string& name, std::vector<std::string> addresses, uint32_t ttl_s = 60);
  void set_srv(const std::string& name, std::vector<Srv> records, uint32_t ttl_s = 60);
  /// Names that end so get no answer.
  void ignore(const std::string& suffix);
  void forget(const std::string& name);
  /// Questions about `name` so far, of all types; all questions.
  int asked(const std::string& name);
  int asked() const { return asked_; }

 private:
  struct Row {
    std::vector<std::string> addresses;
    std::vector<Srv> services;
    uint32_t ttl_s;
  };
  void serve();
  std::string answer(const std::string& question);

  int fd_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> asked_{0};
  std::mutex mutex_;
  std::map<std::string, Row> rows_;
  std::map<std::string, int> counts_;
  std::vector<std::string> ignored_;
  std::thread thread_;
};

}  // namespace dragoman::testing
