#include "tests/support/scripted_backend.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

#include "tests/support/bolt_frames.h"

namespace dragoman::testing {
namespace {

int bind_loopback(uint16_t port, uint16_t& bound) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || ::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0)
    throw std::runtime_error("can't bind a loopback port");
  socklen_t n = sizeof at;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &n);
  bound = ntohs(at.sin_port);
  return fd;
}

}  // namespace

ScriptedBackend::ScriptedBackend(std::vector<Script> scripts, Options options) : scripts_(std::move(scripts)) {
  listen_fd_ = bind_loopback(options.port, port_);
  if (options.receive_buffer_bytes > 0)
    ::setsockopt(listen_fd_, SOL_SOCKET, SO_RCVBUF, &options.receive_buffer_bytes,
                 sizeof options.receive_buffer_bytes);
  ::listen(listen_fd_, 1024);
  thread_ = std::thread([this] { run(); });
}

void ScriptedBackend::run() {
  while (!stopping_) {
    pollfd p{listen_fd_, POLLIN, 0};
    if (::poll(&p, 1, 20) <= 0) continue;
    const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    const auto index = static_cast<size_t>(accepted_.fetch_add(1));
    const Script& script = scripts_[std::min(index, scripts_.size() - 1)];
    std::lock_guard lock(mutex_);
    Connection& c = connections_.emplace_back();
    c.socket = TestSocket(fd);
    c.socket.set_deadline_ms(60'000);  // stop() ends it
    c.wake_fd = ::dup(fd);
    ++active_;
    c.thread = std::thread([this, &c, &script] {
      script(c.socket);
      c.socket.close();
      {
        std::lock_guard inner(mutex_);  // the duplicate keeps the connection open
        if (c.wake_fd >= 0) ::close(std::exchange(c.wake_fd, -1));
      }
      --active_;
    });
  }
}

void ScriptedBackend::stop() {
  if (stopping_.exchange(true)) return;
  thread_.join();
  ::close(listen_fd_);
  {
    std::lock_guard lock(mutex_);
    for (Connection& c : connections_)
      if (c.wake_fd >= 0) ::shutdown(c.wake_fd, SHUT_RDWR);
  }
  for (Connection& c : connections_) c.thread.join();
  connections_.clear();
}

RefusingPort::RefusingPort() { fd_ = bind_loopback(0, port_); }
RefusingPort::~RefusingPort() { ::close(fd_); }

UnansweredPort::UnansweredPort() : listener_(bind_loopback(0, port_)) {
  if (::listen(listener_.fd(), 0) != 0) throw std::runtime_error("can't listen");
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port_);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < 4; ++i) {
    queue_.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    ::connect(queue_.back().fd(), reinterpret_cast<sockaddr*>(&at), sizeof at);
  }
  sleep_ms(50);  // until they are in the queue
}

namespace scripts {

ScriptedBackend::Script http(std::string body) {
  return http([answer = http_ok(body)](const HttpMessage&) { return answer; });
}

ScriptedBackend::Script http(std::function<std::string(const HttpMessage&)> make) {
  return [make = std::move(make)](TestSocket& s) {
    for (;;) {
      HttpMessage request = s.read_request();
      if (!request.complete || !s.send(make(request))) return;
    }
  };
}

ScriptedBackend::Script bolt(std::string content) {
  return [content = std::move(content)](TestSocket& s) {
    for (;;) {
      const std::string frame = s.read_bolt();
      if (frame.empty()) return;
      const bool v2 = frame[0] == 2;
      const std::string_view command(frame.data() + (v2 ? 3 : 2), 2);
      BoltFrame answer = BoltFrame::response(bolt_id(frame));
      if (command == be(0, 2)) {
        answer.command = 0;
        answer.class_name.clear();
        answer.content.clear();
      } else {
        if (frame[v2 ? 2 : 1] == 2) continue;  // one-way
        const size_t fixed = v2 ? 24 : 22;
        auto number = [&](size_t off, size_t n) {
          size_t value = 0;
          for (size_t i = 0; i < n; ++i) value = value << 8 | static_cast<uint8_t>(frame[off + i]);
          return value;
        };
        const size_t head = fixed + number(fixed - 8, 2) + number(fixed - 6, 2);
        answer.content = content.empty() ? frame.substr(head, number(fixed - 4, 4)) : content;
      }
      if (v2) answer.proto = 2;
      if (!s.send(answer.bytes())) return;
    }
  };
}

ScriptedBackend::Script echo() {
  return [](TestSocket& s) {
    for (std::string piece; !(piece = s.read_some(kDeadlineMs)).empty();) s.send(piece);
  };
}

ScriptedBackend::Script silent() {
  return [](TestSocket& s) { s.wait_end(); };
}

}  // namespace scripts

std::string http_ok(std::string_view body) {
  return "HTTP/1.1 200 OK\r\ncontent-length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

}  // namespace dragoman::testing
