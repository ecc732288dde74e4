#include "tests/support/test_socket.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

namespace dragoman::testing {

TestSocket::TestSocket(int fd) : fd_(fd) {
  const int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(fd_, F_SETFL, ::fcntl(fd_, F_GETFL) | O_NONBLOCK);
}

TestSocket TestSocket::connect(uint16_t port, int buffer_bytes) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {};
  if (buffer_bytes > 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_bytes, sizeof buffer_bytes);
    ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_bytes, sizeof buffer_bytes);
  }
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    ::close(fd);
    return {};
  }
  return TestSocket(fd);
}

TestSocket::~TestSocket() { close(); }

void TestSocket::swap(TestSocket& other) {
  std::swap(fd_, other.fd_);
  std::swap(deadline_ms_, other.deadline_ms_);
  std::swap(end_, other.end_);
  std::swap(buffer_, other.buffer_);
}

uint16_t TestSocket::local_port() const {
  sockaddr_in at{};
  socklen_t n = sizeof at;
  ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &n);
  return ntohs(at.sin_port);
}

void TestSocket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void TestSocket::finish() { ::shutdown(fd_, SHUT_WR); }

void TestSocket::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

// --- sending ---

size_t TestSocket::send_some(std::string_view bytes) {
  const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  return n > 0 ? static_cast<size_t>(n) : 0;
}

bool TestSocket::send(std::string_view bytes) {
  const uint64_t until = steady_ms() + static_cast<uint64_t>(deadline_ms_);
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n > 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
      continue;
    }
    if (errno != EAGAIN && errno != EINTR) return false;
    const uint64_t now = steady_ms();
    if (now >= until) return false;
    pollfd p{fd_, POLLOUT, 0};
    ::poll(&p, 1, static_cast<int>(until - now));
  }
  return true;
}

bool TestSocket::send_in_pieces(std::string_view bytes, size_t piece) {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size())))
    if (!send(bytes.substr(0, piece))) return false;
  return true;
}

// --- reading ---

// Takes what the kernel has; waits for it. False: nothing came.
bool TestSocket::fill(int wait_ms) {
  if (fd_ < 0 || end_ != End::kOpen) return false;
  const uint64_t until = steady_ms() + static_cast<uint64_t>(wait_ms);
  char piece[65536];
  for (;;) {
    const ssize_t n = ::recv(fd_, piece, sizeof piece, 0);
    if (n > 0) {
      buffer_.append(piece, static_cast<size_t>(n));
      return true;
    }
    if (n == 0) {
      end_ = End::kEof;
      return false;
    }
    if (errno != EAGAIN && errno != EINTR) {
      end_ = End::kReset;
      return false;
    }
    const uint64_t now = steady_ms();
    if (now >= until) return false;
    pollfd p{fd_, POLLIN, 0};
    ::poll(&p, 1, static_cast<int>(until - now));
  }
}

std::string TestSocket::read(size_t n) {
  while (buffer_.size() < n && fill(deadline_ms_)) {
  }
  std::string out = buffer_.substr(0, n);
  buffer_.erase(0, n);
  return out;
}

std::string TestSocket::read_until(std::string_view mark) {
  size_t from = 0;
  for (;;) {
    const size_t at = buffer_.find(mark, from);
    if (at != std::string::npos) return read(at + mark.size());
    from = buffer_.size() < mark.size() ? 0 : buffer_.size() - mark.size() + 1;
    if (!fill(deadline_ms_)) return std::exchange(buffer_, {});
  }
}

std::string TestSocket::read_to_end() {
  while (fill(deadline_ms_)) {
  }
  return std::exchange(buffer_, {});
}

std::string TestSocket::read_some(int wait_ms) {
  if (buffer_.empty()) fill(wait_ms);
  return std::exchange(buffer_, {});
}

uint64_t TestSocket::discard(uint64_t n) {
  uint64_t got = 0;
  while (got < n) {
    if (buffer_.empty() && !fill(deadline_ms_)) break;
    const auto k = static_cast<size_t>(std::min<uint64_t>(buffer_.size(), n - got));
    buffer_.erase(0, k);
    got += k;
  }
  return got;
}

End TestSocket::wait_end() {
  for (buffer_.clear(); fill(deadline_ms_);) buffer_.clear();
  return end_;
}

// --- HTTP ---

HttpMessage TestSocket::read_head() {
  HttpMessage m;
  m.head = read_until("\r\n\r\n");
  if (!m.head.ends_with("\r\n\r\n")) return m;
  size_t line_end = m.head.find("\r\n");
  const std::string start = m.head.substr(0, line_end);
  if (start.starts_with("HTTP/1.")) {
    m.status = std::atoi(start.c_str() + 9);
  } else {
    const size_t first = start.find(' '), last = start.rfind(' ');
    m.method = start.substr(0, first);
    m.target = start.substr(first + 1, last - first - 1);
  }
  while (line_end + 2 < m.head.size() - 2) {
    const size_t begin = line_end + 2;
    line_end = m.head.find("\r\n", begin);
    const std::string line = m.head.substr(begin, line_end - begin);
    const size_t colon = line.find(':');
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
    const size_t value = colon == std::string::npos ? colon : line.find_first_not_of(' ', colon + 1);
    m.headers.emplace(name, value == std::string::npos ? "" : line.substr(value));
  }
  m.complete = true;
  return m;
}

void TestSocket::read_body(HttpMessage& m, bool response, bool bodiless) {
  if (!m.complete || bodiless) return;
  m.chunked = m.header("transfer-encoding") == "chunked";
  if (m.chunked) {
    for (;;) {
      const std::string size_line = read_until("\r\n");
      if (!size_line.ends_with("\r\n")) break;
      const size_t size = std::strtoul(size_line.c_str(), nullptr, 16);
      if (size == 0) {
        std::string line;
        do line = read_until("\r\n");
        while (line.ends_with("\r\n") && line != "\r\n");
        if (line == "\r\n") return;
        break;
      }
      std::string chunk = read(size + 2);
      const bool whole = chunk.size() == size + 2;
      chunk.resize(std::min(chunk.size(), size));
      m.body += chunk;
      if (!whole) break;
    }
    m.complete = false;
    return;
  }
  if (m.headers.count("content-length")) {
    const size_t size = std::strtoul(m.header("content-length").c_str(), nullptr, 10);
    m.body = read(size);
    m.complete = m.body.size() == size;
  } else if (response) {
    m.body = read_to_end();
    m.complete = end_ == End::kEof;
  }
}

HttpMessage TestSocket::read_response(bool to_head_request) {
  std::vector<int> interim;
  for (;;) {
    HttpMessage m = read_head();
    if (m.complete && m.status >= 100 && m.status < 200 && m.status != 101) {
      interim.push_back(m.status);
      continue;
    }
    m.interim = interim;
    read_body(m, true, to_head_request || m.status == 101 || m.status == 204 || m.status == 304);
    return m;
  }
}

HttpMessage TestSocket::read_request() {
  HttpMessage m = read_head();
  read_body(m, false, false);
  return m;
}

// --- Bolt ---

std::string TestSocket::read_bolt() {
  auto at = [this](size_t i) { return static_cast<uint8_t>(buffer_[i]); };
  auto need = [this](size_t n) {
    while (buffer_.size() < n)
      if (!fill(deadline_ms_)) return false;
    return true;
  };
  if (!need(3)) return {};
  const bool v2 = at(0) == 2;
  const bool request = at(v2 ? 2 : 1) != 0;
  const size_t fixed = (v2 ? 22u : 20u) + (request ? 2u : 0u);
  if (!need(fixed)) return {};
  const size_t lengths = fixed - 8;
  size_t total = fixed + static_cast<size_t>(at(lengths) << 8 | at(lengths + 1)) +
                 static_cast<size_t>(at(lengths + 2) << 8 | at(lengths + 3)) +
                 (static_cast<size_t>(at(lengths + 4)) << 24 | static_cast<size_t>(at(lengths + 5)) << 16 |
                  static_cast<size_t>(at(lengths + 6)) << 8 | at(lengths + 7));
  if (v2 && at(1) == 2 && (at(11) & 1)) total += 4;
  if (!need(total)) return {};
  return read(total);
}

// --- facts ---

uint64_t resident_bytes() {
  std::ifstream in("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  in >> size >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

int open_descriptors() {
  int n = 0;
  if (DIR* dir = ::opendir("/proc/self/fd")) {
    while (::readdir(dir)) ++n;
    ::closedir(dir);
  }
  return n - 3;  // . and .. and the directory itself
}

uint64_t steady_ms() {
  using namespace std::chrono;
  return static_cast<uint64_t>(duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
}

void sleep_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

}  // namespace dragoman::testing
