// Echo backends for the demo and the tests: HTTP/1.1 (answers the body, or what it was asked for) and Bolt (answers the content).
#pragma once

#include <cstdint>
#include <memory>

namespace dragoman {

class EchoService {
 public:
  EchoService();
  ~EchoService();
  /// Listens on loopback, on free ports, with a thread of its own. False when it can't.
  bool start();
  void stop();
  uint16_t http_port() const;
  uint16_t bolt_port() const;
  /// Requests answered so far.
  uint64_t http_requests() const;
  uint64_t bolt_requests() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dragoman
