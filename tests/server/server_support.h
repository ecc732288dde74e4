// What the server's tests share: clients that behave well, and a folder for files.
#pragma once

#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/bolt_frames.h"
#include "tests/support/scripted_backend.h"
#include "tests/support/test_server.h"

namespace dragoman::testing {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/dragoman-server-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Clients in threads of their own that behave as the protocol asks: HTTP closes after "connection: close", Bolt sends no more
/// after a goaway, both connect anew. Refused connects are counted apart: nothing was lost by them.
class Load {
 public:
  enum class Kind { kHttp, kBolt };
  Load(Kind kind, uint16_t port, int clients) {
    for (int i = 0; i < clients; ++i)
      threads_.emplace_back([this, kind, port] { kind == Kind::kHttp ? http(port) : bolt(port); });
  }
  ~Load() { stop(); }
  void stop() {
    stopping_ = true;
    for (auto& t : threads_)
      if (t.joinable()) t.join();
  }
  int served() const { return served_; }
  int failed() const { return failed_; }
  std::string first_failure() {
    std::lock_guard lock(mutex_);
    return failure_;
  }

 private:
  void fail(const std::string& why) {
    ++failed_;
    std::lock_guard lock(mutex_);
    if (failure_.empty()) failure_ = why;
  }
  void http(uint16_t port) {
    while (!stopping_) {
      TestSocket s = TestSocket::connect(port);
      if (!s.connected()) {
        sleep_ms(5);
        continue;
      }
      for (bool fresh = true; !stopping_; fresh = false) {
        s.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n");
        HttpMessage m = s.read_response();
        if (!m.complete && m.head.empty() && fresh && s.end() != End::kOpen) break;  // never accepted
        if (m.status != 200 || !m.complete) {
          fail("status " + std::to_string(m.status) + " " + m.body + (m.complete ? "" : " (cut)"));
          break;
        }
        ++served_;
        if (m.header("connection") == "close") break;
      }
    }
  }
  void bolt(uint16_t port) {
    while (!stopping_) {
      TestSocket s = TestSocket::connect(port);
      if (!s.connected()) {
        sleep_ms(5);
        continue;
      }
      bool going = false;
      for (uint32_t id = 1; !stopping_ && !going; ++id) {
        const std::string content = std::to_string(id);
        s.send(BoltFrame::request(id, content).bytes());
        for (;;) {
          const std::string frame = s.read_bolt();
          if (frame.empty()) {
            if (id > 1 || s.end() == End::kOpen) fail("no answer to call " + content);
            going = true;
            break;
          }
          if (frame[1] != 0) {  // a request of the server's: its goaway; the answer to our call still comes
            going = true;
            continue;
          }
          if (bolt_id(frame) != id || frame.substr(10, 2) != be(0, 2) || !frame.ends_with(content))
            fail("call " + content + " got status " + std::to_string(frame[11]));
          else
            ++served_;
          break;
        }
      }
    }
  }

  std::atomic<bool> stopping_{false};
  std::atomic<int> served_{0}, failed_{0};
  std::mutex mutex_;
  std::string failure_;
  std::vector<std::thread> threads_;
};

}  // namespace dragoman::testing
