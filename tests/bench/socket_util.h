// Sockets, flags and the clock for the bench tools.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

namespace dragoman::bench {

inline uint64_t now_ns() {
  timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(ts.tv_nsec);
}

// Reads a whole decimal number within [min, max]; ends the program with code 2 and a message otherwise.
inline uint64_t number_or_exit(std::string_view flag, std::string_view text, uint64_t min, uint64_t max) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || value < min || value > max) {
    std::fprintf(stderr, "--%.*s: '%.*s' is not a number from %llu to %llu\n", static_cast<int>(flag.size()),
                 flag.data(), static_cast<int>(text.size()), text.data(),
                 static_cast<unsigned long long>(min), static_cast<unsigned long long>(max));
    std::exit(2);
  }
  return value;
}

// Same for seconds with a fraction ("0.5").
inline double seconds_or_exit(std::string_view flag, const char* text, double max) {
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  if (end == text || *end != '\0' || !(value >= 0) || value > max) {
    std::fprintf(stderr, "--%.*s: '%s' is not a number of seconds from 0 to %g\n",
                 static_cast<int>(flag.size()), flag.data(), text, max);
    std::exit(2);
  }
  return value;
}

// "127.0.0.1:80" or "[::1]:80" (literals only). False when it is neither.
inline bool parse_address(std::string_view text, sockaddr_storage& address, socklen_t& length) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return false;
  std::string host(text.substr(0, colon));
  const std::string_view port_text = text.substr(colon + 1);
  uint16_t port = 0;
  const auto result = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (result.ec != std::errc() || result.ptr != port_text.data() + port_text.size()) return false;
  std::memset(&address, 0, sizeof address);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    length = sizeof *v6;
    return inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) == 1;
  }
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
  v4->sin_family = AF_INET;
  v4->sin_port = htons(port);
  length = sizeof *v4;
  return inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1;
}

inline void set_no_delay(int fd) {
  const int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

// Lets the process open as many files as its hard limit allows.
inline void raise_file_limit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// What one send of pending output did.
enum class Flush { kDone, kBlocked, kFailed };

// Sends out[sent..]; on kDone both are reset and the capacity is kept.
inline Flush flush_output(int fd, std::string& out, size_t& sent) {
  while (sent < out.size()) {
    const ssize_t n = send(fd, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
    if (n > 0) {
      sent += static_cast<size_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      if (sent > (1u << 16)) {
        out.erase(0, sent);
        sent = 0;
      }
      return Flush::kBlocked;
    }
    return Flush::kFailed;
  }
  out.clear();
  sent = 0;
  return Flush::kDone;
}

inline bool equal_ignore_case(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// Calls each(name, value) for every header line of an HTTP/1 head: `lines` begins after the first line's CRLF
// and ends with the last header's CRLF. Values have their outer spaces removed.
template <typename Each>
void for_each_header(std::string_view lines, Each each) {
  while (!lines.empty()) {
    const size_t end = lines.find('\n');
    std::string_view line = lines.substr(0, end);
    lines = end == std::string_view::npos ? std::string_view() : lines.substr(end + 1);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    while (!value.empty() && (value.back() == ' ' || value.back() == '\r')) value.remove_suffix(1);
    each(line.substr(0, colon), value);
  }
}

}  // namespace dragoman::bench
