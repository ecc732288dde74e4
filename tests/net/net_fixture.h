// A loop driven by the test, and plain blocking sockets as its peers.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "proxy/net/transport.h"

namespace dragoman {

/// Two connected TCP sockets on the loopback; both blocking unless adopted.
struct SocketPair {
  SocketPair() {
    auto listener = listen_socket(*Address::parse("127.0.0.1:0"), 8, false);
    const Address address = bound_address(*listener);
    near = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(near, &address.storage.sa, address.length), 0);
    far = ::accept4(*listener, nullptr, nullptr, SOCK_CLOEXEC);
    EXPECT_GE(far, 0);
    close_fd(*listener);
    const timeval limit{5, 0};
    ::setsockopt(far, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(far, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  }
  ~SocketPair() {
    close_near();
    close_far();
  }
  /// Non-blocking, for Transport::adopt.
  int take_near() {
    ::fcntl(near, F_SETFL, ::fcntl(near, F_GETFL) | O_NONBLOCK);
    return std::exchange(near, -1);
  }
  void close_near() { close_fd(std::exchange(near, -1)); }
  void close_far() { close_fd(std::exchange(far, -1)); }
  void reset_far() {
    const linger now{1, 0};
    ::setsockopt(far, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close_far();
  }
  void send(std::string_view text) {
    ASSERT_EQ(::send(far, text.data(), text.size(), MSG_NOSIGNAL), ssize_t(text.size()));
  }
  /// Reads exactly n bytes, or less at the end of the stream.
  std::string receive(size_t n) {
    std::string text(n, '\0');
    size_t got = 0;
    while (got < n) {
      const ssize_t k = ::recv(far, text.data() + got, n - got, 0);
      if (k <= 0) break;
      got += static_cast<size_t>(k);
    }
    text.resize(got);
    return text;
  }
  /// What one recv() says: >0, 0 = end, -errno.
  int receive_status() {
    char byte;
    const ssize_t k = ::recv(far, &byte, 1, 0);
    return k < 0 ? -errno : static_cast<int>(k);
  }
  int near = -1;
  int far = -1;
};

class NetTest : public ::testing::Test {
 protected:
  void TearDown() override {
    finish();
    EXPECT_EQ(live_chunks(), 0u);
  }
  /// Stops the loop, lets it run out, and checks that nothing is left.
  void finish() {
    if (!loop) return;
    loop->stop();
    loop->run();
    EXPECT_EQ(loop->live_handles(), 0u);
    loop.reset();
  }
  /// Turns the loop until `done` says so; fails after `limit_ms`.
  bool run_until(const std::function<bool()>& done, uint64_t limit_ms = 5000) {
    struct Limit {
      void on_timeout() {}
      Timer timer;
    } limit;
    limit.timer.bind<&Limit::on_timeout>(loop->timers(), &limit);
    limit.timer.start(limit_ms);
    while (!done()) {
      if (!limit.timer.active()) return false;
      loop->turn(true);
    }
    return true;
  }
  /// So many turns that don't wait.
  void turns(int n) {
    while (n--) loop->turn(false);
  }

  std::unique_ptr<Loop> loop = std::make_unique<Loop>();
};

}  // namespace dragoman
