// bench_backend: the server behind the proxy in benchmarks and load tests. One thread, epoll.
//
//   bench_backend [--host 127.0.0.1] [--http PORT] [--bolt PORT] [--tcp PORT] [--body BYTES]
//                 [--lie-every N] [--lie-kind content|id|drop] [--goaway-after N]
//
// Port 0 takes a free port. One line per listener goes to stdout: "ready http 127.0.0.1:34567", then "ready".
// SIGTERM or SIGINT ends it with one line of JSON counters and code 0.
//
// http: HTTP/1.1 with keep-alive, pipelining and Content-Length bodies; answers 200 with --body bytes and
// gives a request's x-bench-tag back.
//
// bolt: Bolt v1; answers a request with its own content, a heartbeat with its ack, a one-way call not at all.
//
// tcp: echoes bytes.
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "bolt_frame.h"
#include "socket_util.h"

namespace dragoman::bench {
namespace {

enum class Protocol { kHttp, kBolt, kTcp };
constexpr std::array<const char*, 3> kProtocolNames = {"http", "bolt", "tcp"};

enum class Lie { kContent, kId, kDrop };

struct Options {
  std::string host = "127.0.0.1";
  std::vector<std::pair<Protocol, uint16_t>> listeners;
  size_t body_bytes = 1024;
  uint64_t lie_every = 0;     // 0: honest
  uint64_t goaway_after = 0;  // 0: never
  Lie lie_kind = Lie::kContent;
};

struct Stats {
  uint64_t connections = 0;
  uint64_t http_requests = 0;
  uint64_t bolt_requests = 0;
  uint64_t bolt_oneways = 0;
  uint64_t bolt_heartbeats = 0;
  uint64_t goaways = 0;
  uint64_t requests_after_goaway_max = 0;  // the most calls that reached one connection after its GoAway
  uint64_t tcp_bytes = 0;
  uint64_t lies = 0;
  uint64_t protocol_errors = 0;
};

struct Connection {
  int fd = -1;
  Protocol protocol = Protocol::kTcp;
  std::string in;  // the unfinished message at the end of the last read
  std::string out;
  size_t out_sent = 0;
  uint32_t events = EPOLLIN;
  uint64_t requests = 0;
  uint64_t requests_at_goaway = 0;
  bool goaway_sent = false;
  bool close_after_output = false;
};

// Reads of this size keep pipelined work cheap.
constexpr size_t kReadBytes = 256 * 1024;
// A peer that doesn't read its answers is no longer read from above this much output.
constexpr size_t kOutputBytesMax = 1 << 20;
constexpr size_t kHttpHeadBytesMax = 64 * 1024;
constexpr size_t kHttpBodyBytesMax = 16 << 20;

class Backend {
 public:
  explicit Backend(Options options) : options_(std::move(options)), scratch_(2 * kReadBytes) {
    const std::string length = std::to_string(options_.body_bytes);
    http_head_ =
        "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: " + length + "\r\n";
    http_body_.assign(options_.body_bytes, 'x');
    http_answer_ = http_head_ + "\r\n" + http_body_;
  }

  // Runs until SIGTERM or SIGINT. Returns the process exit code.
  int run() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    if (!open_signals()) return 1;
    for (const auto& [protocol, port] : options_.listeners) {
      if (!open_listener(protocol, port)) return 1;
    }
    std::printf("ready\n");
    std::fflush(stdout);
    std::array<epoll_event, 512> events;
    while (true) {
      const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), -1);
      if (count < 0 && errno != EINTR) return 1;
      for (int i = 0; i < count; ++i) {
        const int fd = events[i].data.fd;
        if (static_cast<size_t>(fd) < connections_.size() && connections_[static_cast<size_t>(fd)]) {
          on_event(*connections_[static_cast<size_t>(fd)], events[i].events);
        } else if (fd == signals_) {
          print_stats();
          return 0;
        } else {
          accept_some(fd, listeners_.at(fd));
        }
      }
    }
  }

 private:
  bool open_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return watch(signals_, EPOLL_CTL_ADD, EPOLLIN);
  }

  bool open_listener(Protocol protocol, uint16_t port) {
    const bool v6 = options_.host.find(':') != std::string::npos;
    const std::string text = (v6 ? "[" + options_.host + "]" : options_.host) + ":" + std::to_string(port);
    sockaddr_storage address;
    socklen_t length = 0;
    if (!parse_address(text, address, length)) {
      std::fprintf(stderr, "bad address %s\n", text.c_str());
      return false;
    }
    const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (fd < 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(fd, 4096) != 0) {
      std::fprintf(stderr, "cannot listen on %s: %s\n", text.c_str(), std::strerror(errno));
      return false;
    }
    length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    const uint16_t bound = ntohs(v6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                    : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
    std::printf("ready %s %s:%u\n", kProtocolNames[static_cast<size_t>(protocol)],
                text.substr(0, text.rfind(':')).c_str(), bound);
    listeners_.emplace(fd, protocol);
    return watch(fd, EPOLL_CTL_ADD, EPOLLIN);
  }

  bool watch(int fd, int operation, uint32_t events) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return epoll_ctl(epoll_, operation, fd, &event) == 0;
  }

  void accept_some(int listener, Protocol protocol) {
    for (int i = 0; i < 64; ++i) {
      const int fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) return;
      set_no_delay(fd);
      auto connection = std::make_unique<Connection>();
      connection->fd = fd;
      connection->protocol = protocol;
      if (!watch(fd, EPOLL_CTL_ADD, EPOLLIN)) {
        close(fd);
        continue;
      }
      if (connections_.size() <= static_cast<size_t>(fd)) connections_.resize(static_cast<size_t>(fd) + 256);
      connections_[static_cast<size_t>(fd)] = std::move(connection);
      ++stats_.connections;
    }
  }

  void close_connection(Connection& connection) {
    const int fd = connection.fd;
    connections_[static_cast<size_t>(fd)].reset();
    close(fd);
  }

  void on_event(Connection& connection, uint32_t events) {
    if ((events & EPOLLIN) != 0) {
      if (!read_once(connection)) return close_connection(connection);
    } else if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
      return close_connection(connection);
    }
    const Flush flushed = flush_output(connection.fd, connection.out, connection.out_sent);
    if (flushed == Flush::kFailed) return close_connection(connection);
    if (flushed == Flush::kDone && connection.close_after_output) return close_connection(connection);
    const size_t waiting = connection.out.size() - connection.out_sent;
    uint32_t wanted = 0;
    if (waiting > 0) wanted |= EPOLLOUT;
    if (waiting < kOutputBytesMax && !connection.close_after_output) wanted |= EPOLLIN;
    if (wanted != connection.events) {
      connection.events = wanted;
      watch(connection.fd, EPOLL_CTL_MOD, wanted);
    }
  }

  // One read and all the answers it leads to. False: close the connection.
  bool read_once(Connection& connection) {
    const size_t kept = connection.in.size();
    if (scratch_.size() < kept + kReadBytes) scratch_.resize(kept + kReadBytes);
    std::memcpy(scratch_.data(), connection.in.data(), kept);
    const ssize_t n = recv(connection.fd, scratch_.data() + kept, kReadBytes, 0);
    if (n == 0) return false;
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    std::string_view data(scratch_.data(), kept + static_cast<size_t>(n));
    size_t used = 0;
    switch (connection.protocol) {
      case Protocol::kTcp: used = on_tcp(connection, data); break;
      case Protocol::kBolt: used = on_bolt(connection, data); break;
      case Protocol::kHttp: used = on_http(connection, data); break;
    }
    if (used == kBroken) {
      ++stats_.protocol_errors;
      return false;
    }
    connection.in.assign(data.substr(used));
    return true;
  }

  bool lie_now() {
    if (options_.lie_every == 0 || ++answers_ % options_.lie_every != 0) return false;
    ++stats_.lies;
    return true;
  }

  size_t on_tcp(Connection& connection, std::string_view data) {
    stats_.tcp_bytes += data.size();
    const size_t start = connection.out.size();
    connection.out.append(data);
    if (lie_now()) connection.out[start] ^= 1;
    return data.size();
  }

  size_t on_bolt(Connection& connection, std::string_view data) {
    size_t used = 0;
    while (true) {
      bolt::Frame frame;
      const bolt::Parse parsed = bolt::parse(data.substr(used), frame);
      if (parsed == bolt::Parse::kNeedMore) return used;
      if (parsed == bolt::Parse::kError) return kBroken;
      used += frame.total_bytes;
      if (frame.type == bolt::kTypeResponse) continue;
      if (frame.command == bolt::kCmdHeartbeat) {
        ++stats_.bolt_heartbeats;
        bolt::append_heartbeat_answer(connection.out, frame);
      } else if (frame.type == bolt::kTypeOneway) {
        ++stats_.bolt_oneways;
      } else if (frame.command == bolt::kCmdRequest) {
        answer_bolt(connection, frame);
      }
    }
  }

  void answer_bolt(Connection& connection, const bolt::Frame& frame) {
    ++stats_.bolt_requests;
    ++connection.requests;
    std::string& out = connection.out;
    const bool lie = lie_now();
    if (!lie || options_.lie_kind != Lie::kDrop) {
      const std::string_view class_name =
          frame.class_name.empty() ? std::string_view() : bolt::kResponseClass;
      const uint32_t id = lie && options_.lie_kind == Lie::kId ? frame.id ^ 0x40000000u : frame.id;
      bolt::append_response_header(out, frame, bolt::kCmdResponse, id, class_name.size(),
                                   frame.content.size());
      out.append(class_name);
      out.append(frame.content);
      if (lie && options_.lie_kind == Lie::kContent && !frame.content.empty()) {
        out[out.size() - frame.content.size()] ^= 1;
      }
    }
    if (connection.goaway_sent) {
      stats_.requests_after_goaway_max =
          std::max(stats_.requests_after_goaway_max, connection.requests - connection.requests_at_goaway);
    } else if (options_.goaway_after != 0 && connection.requests >= options_.goaway_after) {
      bolt::append_request_header(out, bolt::kTypeRequest, bolt::kCmdGoAway, 0, 0, 0, 0, 0);
      connection.goaway_sent = true;
      connection.requests_at_goaway = connection.requests;
      ++stats_.goaways;
    }
  }

  size_t on_http(Connection& connection, std::string_view data) {
    size_t used = 0;
    while (!connection.close_after_output) {
      const std::string_view rest = data.substr(used);
      const size_t head_end = rest.find("\r\n\r\n");
      if (head_end == std::string_view::npos) return rest.size() > kHttpHeadBytesMax ? kBroken : used;
      const size_t line_end = rest.find("\r\n");
      uint64_t body_bytes = 0;
      std::string_view tag;
      bool bad = false;
      bool close = rest.substr(0, line_end).ends_with("HTTP/1.0");
      const std::string_view lines = rest.substr(line_end + 2, head_end - line_end);
      for_each_header(lines, [&](std::string_view name, std::string_view value) {
        if (equal_ignore_case(name, "content-length")) {
          const auto end = value.data() + value.size();
          const auto parsed = std::from_chars(value.data(), end, body_bytes);
          bad |= parsed.ec != std::errc() || parsed.ptr != end || body_bytes > kHttpBodyBytesMax;
        } else if (equal_ignore_case(name, "transfer-encoding")) {
          bad = true;
        } else if (equal_ignore_case(name, "connection")) {
          close |= equal_ignore_case(value, "close");
        } else if (equal_ignore_case(name, "x-bench-tag")) {
          tag = value;
        }
      });
      if (bad) {
        ++stats_.protocol_errors;
        connection.out.append(
            "HTTP/1.1 501 Not Implemented\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        connection.close_after_output = true;
        return data.size();
      }
      const size_t total = head_end + 4 + body_bytes;
      if (rest.size() < total) return used;
      used += total;
      answer_http(connection, rest.starts_with("HEAD "), tag, close);
    }
    return used;
  }

  void answer_http(Connection& connection, bool head_only, std::string_view tag, bool close) {
    ++stats_.http_requests;
    std::string& out = connection.out;
    const bool lie = lie_now();
    connection.close_after_output = close;
    if (tag.empty() && !close && !lie && !head_only) {
      out.append(http_answer_);
      return;
    }
    out.append(http_head_);
    if (!tag.empty()) {
      out.append("x-bench-tag: ").append(tag).append("\r\n");
      if (lie) out[out.size() - 3] ^= 1;
    }
    if (close) out.append("connection: close\r\n");
    out.append("\r\n");
    if (!head_only) out.append(http_body_);
    if (lie && tag.empty() && !head_only && !http_body_.empty()) out.back() = 'y';
  }

  void print_stats() const {
    const auto n = [](uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf(
        "{\"connections\":%llu,\"http_requests\":%llu,\"bolt_requests\":%llu,\"bolt_oneways\":%llu,"
        "\"bolt_heartbeats\":%llu,\"goaways\":%llu,\"requests_after_goaway_max\":%llu,\"tcp_bytes\":%llu,"
        "\"lies\":%llu,\"protocol_errors\":%llu}\n",
        n(stats_.connections), n(stats_.http_requests), n(stats_.bolt_requests), n(stats_.bolt_oneways),
        n(stats_.bolt_heartbeats), n(stats_.goaways), n(stats_.requests_after_goaway_max),
        n(stats_.tcp_bytes), n(stats_.lies), n(stats_.protocol_errors));
    std::fflush(stdout);
  }

  static constexpr size_t kBroken = static_cast<size_t>(-1);

  Options options_;
  Stats stats_;
  uint64_t answers_ = 0;
  int epoll_ = -1;
  int signals_ = -1;
  std::unordered_map<int, Protocol> listeners_;
  std::vector<std::unique_ptr<Connection>> connections_;  // by descriptor
  std::vector<char> scratch_;
  std::string http_head_;
  std::string http_body_;
  std::string http_answer_;
};

[[noreturn]] void usage() {
  std::fprintf(stderr,
               "usage: bench_backend [--host IP] [--http PORT] [--bolt PORT] [--tcp PORT] [--body BYTES]\n"
               "                     [--lie-every N] [--lie-kind content|id|drop] [--goaway-after N]\n");
  std::exit(2);
}

Options parse_options(int argc, char** argv) {
  enum { kHost = 1, kHttp, kBolt, kTcp, kBody, kLieEvery, kLieKind, kGoAwayAfter };
  static const option kFlags[] = {
      {"host", required_argument, nullptr, kHost},
      {"http", required_argument, nullptr, kHttp},
      {"bolt", required_argument, nullptr, kBolt},
      {"tcp", required_argument, nullptr, kTcp},
      {"body", required_argument, nullptr, kBody},
      {"lie-every", required_argument, nullptr, kLieEvery},
      {"lie-kind", required_argument, nullptr, kLieKind},
      {"goaway-after", required_argument, nullptr, kGoAwayAfter},
      {nullptr, 0, nullptr, 0},
  };
  Options options;
  const auto listener = [&](Protocol protocol, const char* name) {
    options.listeners.emplace_back(protocol, static_cast<uint16_t>(number_or_exit(name, optarg, 0, 65535)));
  };
  int flag = 0;
  while ((flag = getopt_long(argc, argv, "", kFlags, nullptr)) != -1) {
    switch (flag) {
      case kHost: options.host = optarg; break;
      case kHttp: listener(Protocol::kHttp, "http"); break;
      case kBolt: listener(Protocol::kBolt, "bolt"); break;
      case kTcp: listener(Protocol::kTcp, "tcp"); break;
      case kBody: options.body_bytes = number_or_exit("body", optarg, 0, 16u << 20); break;
      case kLieEvery: options.lie_every = number_or_exit("lie-every", optarg, 1, UINT64_MAX); break;
      case kLieKind:
        if (std::string_view(optarg) == "content") options.lie_kind = Lie::kContent;
        else if (std::string_view(optarg) == "id") options.lie_kind = Lie::kId;
        else if (std::string_view(optarg) == "drop") options.lie_kind = Lie::kDrop;
        else usage();
        break;
      case kGoAwayAfter: options.goaway_after = number_or_exit("goaway-after", optarg, 1, UINT64_MAX); break;
      default: usage();
    }
  }
  if (optind != argc || options.listeners.empty()) usage();
  return options;
}

}  // namespace
}  // namespace dragoman::bench

int main(int argc, char** argv) {
  dragoman::bench::Options options = dragoman::bench::parse_options(argc, argv);
  dragoman::bench::raise_file_limit();
  return dragoman::bench::Backend(std::move(options)).run();
}
