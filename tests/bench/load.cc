// bench_load: a load generator for Bolt v1, byte-echo TCP and HTTP/1.1. One thread, epoll.
//
// Closed loop by default: every connection keeps --depth calls open. With --rate R, open loop: call i is due
// at start + i / R and its latency counts from there, however late it could be sent (no coordinated
// omission). Every answer is checked to belong to its call. README.md lists the flags, the output and the
// failure kinds.
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <vector>

#include "bolt_frame.h"
#include "histogram.h"
#include "socket_util.h"

namespace dragoman::bench {
namespace {

enum class Protocol { kHttp, kBolt, kTcp };

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kTickNs = 10 * kMillisecond;  // opening, retries and deadlines are looked at this often
constexpr uint64_t kReconnectDelayNs = 20 * kMillisecond;
constexpr size_t kReadBytes = 256 * 1024;
constexpr size_t kHttpHeadBytesMax = 64 * 1024;
constexpr size_t kBodyBytesMax = 16u << 20;
constexpr size_t kTagBytes = 24;  // the part of a payload that differs from call to call
constexpr uint32_t kDepthMax = 65535;

struct Options {
  Protocol protocol = Protocol::kHttp;
  std::string target;
  uint32_t connections = 1;
  uint32_t depth = 1;
  uint32_t opening_max = 128;  // connections being opened (or making their first idle-mode call) at one time
  double seconds = 10;
  double warmup_seconds = 0;
  double rate = 0;  // calls a second; 0: closed loop
  uint64_t requests_max = 0;
  uint64_t timeout_ms = 10'000;
  size_t size = 1024;  // Bolt content, TCP message, HTTP POST body
  bool idle = false;
  bool goaway = false;
  bool retire = false;  // a connection that was closed without a call open stays closed
  bool http_post = false;
  bool http_tag = true;
  std::string path = "/bench";
  std::string host;
  std::string service = "com.bench.EchoService:1.0";
  std::string method = "echo";
};

// One call that waits for its answer.
struct Call {
  uint64_t start_ns = 0;  // when it was due (open loop) or made (closed loop)
  uint64_t made_ns = 0;   // its deadline counts from here
  uint64_t serial = 0;    // unique in the run
  uint16_t generation = 0;
  bool open = false;
};

enum class State { kClosed, kConnecting, kOpen };

struct Connection {
  int fd = -1;
  State state = State::kClosed;
  uint32_t pending = 0;
  uint32_t head = 0;       // http, tcp: the oldest call in `calls`, which is then a ring
  bool draining = false;   // no new calls; closed when nothing is pending
  bool answered = false;   // had an answer since it was opened
  bool done_once = false;  // had an answer ever
  bool in_dirty = false;
  uint32_t events = 0;
  uint64_t opened_ns = 0;
  std::vector<Call> calls;           // `depth` entries
  std::vector<uint16_t> free_calls;  // bolt
  std::string in;
  std::string out;
  size_t out_sent = 0;
};

volatile sig_atomic_t g_stop = 0;
void on_stop_signal(int) { g_stop = 1; }

class Generator {
 public:
  explicit Generator(Options options) : options_(std::move(options)), scratch_(2 * kReadBytes) {
    connections_.resize(options_.connections);
    build_templates();
  }

  // Runs the load and prints the result. Returns the process exit code.
  int run() {
    if (!parse_address(options_.target, address_, address_length_)) {
      std::fprintf(stderr, "--target: '%s' is not IP:PORT\n", options_.target.c_str());
      return 2;
    }
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    if (options_.idle) watch_stdin();
    start_ns_ = now_ns();
    measure_from_ns_ = start_ns_ + to_ns(options_.warmup_seconds);
    stop_at_ns_ = measure_from_ns_ + to_ns(options_.seconds);
    for (uint32_t i = 0; i < options_.connections; ++i) to_open_.push_back({i, start_ns_});
    loop();
    for (uint32_t i = 0; i < options_.connections; ++i) close_fd(connections_[i]);
    print_result();
    return errors_ == 0 && answers_ > 0 ? 0 : 1;
  }

 private:
  struct Opening {
    uint32_t index;
    uint64_t not_before_ns;
  };

  static uint64_t to_ns(double seconds) {
    return static_cast<uint64_t>(seconds * static_cast<double>(kSecond));
  }

  // ---- the loop ---------------------------------------------------------------------------------

  void loop() {
    std::array<epoll_event, 512> events;
    uint64_t next_tick_ns = 0;
    while (true) {
      const uint64_t now = now_ns();
      if (now >= next_tick_ns) {
        expire_calls(now);
        next_tick_ns = now + kTickNs;
      }
      update_phase(now);
      if (stopping_ && (pending_total_ == 0 || now >= give_up_at_ns_)) break;
      open_some(now);
      uint64_t wake_ns = next_tick_ns;
      if (options_.rate > 0 && !stopping_) {
        make_due_calls(now, now);
        // Without a free connection the next answer wakes the loop.
        if (!saturated_) wake_ns = std::min(wake_ns, due_ns(calls_made_));
      }
      flush_dirty();
      const uint64_t after = now_ns();
      const uint64_t wait = wake_ns > after ? wake_ns - after : 0;
      const timespec timeout{static_cast<time_t>(wait / kSecond), static_cast<long>(wait % kSecond)};
      const int count =
          epoll_pwait2(epoll_, events.data(), static_cast<int>(events.size()), &timeout, nullptr);
      for (int i = 0; i < count; ++i) {
        if (events[i].data.u32 == kStdinIndex) {
          on_stdin();
        } else {
          on_event(connections_[events[i].data.u32], events[i].events);
        }
      }
    }
    if (pending_total_ > 0) fail("unanswered", pending_total_);
    if (not_sent_ > 0) fail("not_sent", not_sent_);
  }

  void update_phase(uint64_t now) {
    if (!measuring_ && now >= measure_from_ns_ && !options_.idle) {
      measuring_ = true;
      measured_from_ns_ = now;
      measured_answers_ = 0;
      histogram_.reset();
    }
    if (stopping_) return;
    const bool time_is_up = now >= stop_at_ns_;
    const bool calls_made = options_.requests_max != 0 && calls_made_ >= options_.requests_max;
    const bool all_retired = retired_ == options_.connections;
    if (!time_is_up && !calls_made && !all_retired && g_stop == 0 && !stdin_closed_) return;
    if (options_.rate > 0 && time_is_up) {
      make_due_calls(stop_at_ns_ - 1, now);
      const uint64_t due = calls_due_total();
      not_sent_ = due > calls_made_ ? due - calls_made_ : 0;
    }
    stopping_ = true;
    // Answers after the end of the time don't count as measured; those to the last of --max-requests do.
    keep_measuring_ = calls_made && !time_is_up;
    measured_to_ns_ = now;
    give_up_at_ns_ = now + (options_.timeout_ms + 1000) * kMillisecond;
  }

  uint64_t due_ns(uint64_t call) const {
    return start_ns_ + static_cast<uint64_t>(static_cast<double>(call) * 1e9 / options_.rate);
  }

  // How many calls of an open loop are due before its end.
  uint64_t calls_due_total() const {
    auto due = static_cast<uint64_t>(static_cast<double>(stop_at_ns_ - start_ns_) * options_.rate / 1e9) + 1;
    while (due > 0 && due_ns(due - 1) >= stop_at_ns_) --due;
    return options_.requests_max == 0 ? due : std::min(due, options_.requests_max);
  }

  // Open loop: makes every call that is due by `limit_ns` while a connection has room for it.
  void make_due_calls(uint64_t limit_ns, uint64_t now) {
    while (!saturated_ && may_call() && due_ns(calls_made_) <= limit_ns) {
      Connection* connection = next_with_room();
      if (connection == nullptr) {
        saturated_ = true;  // until an answer or a new connection makes room
        return;
      }
      make_call(*connection, due_ns(calls_made_), now);
    }
  }

  Connection* next_with_room() {
    for (uint32_t i = 0; i < options_.connections; ++i) {
      Connection& connection = connections_[next_connection_];
      next_connection_ = next_connection_ + 1 == options_.connections ? 0 : next_connection_ + 1;
      if (has_room(connection)) return &connection;
    }
    return nullptr;
  }

  bool may_call() const {
    return !stopping_ && (options_.requests_max == 0 || calls_made_ < options_.requests_max);
  }

  bool has_room(const Connection& connection) const {
    return connection.state == State::kOpen && !connection.draining && connection.pending < options_.depth;
  }

  // Closed loop: keeps `depth` calls open. Idle mode: one call in the connection's life.
  void fill(Connection& connection, uint64_t now) {
    if (options_.idle) {
      if (!connection.done_once && connection.pending == 0 && may_call()) make_call(connection, now, now);
    } else if (options_.rate == 0) {
      while (has_room(connection) && may_call()) make_call(connection, now, now);
    }
  }

  void flush_dirty() {
    for (const uint32_t index : dirty_) {
      connections_[index].in_dirty = false;
      if (connections_[index].state == State::kOpen) flush(connections_[index]);
    }
    dirty_.clear();
  }

  // Calls older than the timeout fail. In HTTP and TCP their connection is of no more use.
  void expire_calls(uint64_t now) {
    const uint64_t timeout_ns = options_.timeout_ms * kMillisecond;
    for (Connection& connection : connections_) {
      if (connection.state == State::kConnecting && now - connection.opened_ns > timeout_ns) {
        fail("connect_timeout", 1);
        reopen_later(connection, now);
      }
      if (connection.pending == 0) continue;
      if (options_.protocol == Protocol::kBolt) {
        bool expired = false;
        for (uint32_t slot = 0; slot < options_.depth; ++slot) {
          if (connection.calls[slot].open && now - connection.calls[slot].made_ns > timeout_ns) {
            fail("timeout", 1);
            release_slot(connection, static_cast<uint16_t>(slot));
            expired = true;
          }
        }
        if (expired) after_answers(connection, now);
      } else if (now - connection.calls[connection.head].made_ns > timeout_ns) {
        fail("timeout", connection.pending);
        drop_pending(connection);
        reopen_later(connection, now);
      }
    }
  }

  // ---- connections ------------------------------------------------------------------------------

  uint32_t index_of(const Connection& connection) const {
    return static_cast<uint32_t>(&connection - connections_.data());
  }

  void open_some(uint64_t now) {
    while (!stopping_ && opening_ < options_.opening_max && !to_open_.empty() &&
           to_open_.front().not_before_ns <= now) {
      const uint32_t index = to_open_.front().index;
      to_open_.pop_front();
      open_connection(connections_[index], now);
    }
  }

  void open_connection(Connection& connection, uint64_t now) {
    connection.fd = socket(address_.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (connection.fd < 0) {
      fail("socket", 1);
      return retry_open(connection, now);
    }
    set_no_delay(connection.fd);
    ++connects_;
    ++opening_;
    connection.state = State::kConnecting;
    connection.opened_ns = now;
    connection.draining = false;
    connection.answered = false;
    connection.pending = 0;
    connection.head = 0;
    if (connection.calls.empty()) connection.calls.resize(options_.depth);
    connection.free_calls.clear();
    for (uint32_t slot = options_.depth; slot-- > 0;)
      connection.free_calls.push_back(static_cast<uint16_t>(slot));
    const int result = connect(connection.fd, reinterpret_cast<sockaddr*>(&address_), address_length_);
    if (result != 0 && errno != EINPROGRESS) {
      fail(connect_failure(errno), 1);
      return reopen_later(connection, now);
    }
    epoll_event event{};
    event.events = connection.events = EPOLLIN | EPOLLOUT;
    event.data.u32 = index_of(connection);
    epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
  }

  static const char* connect_failure(int error) {
    return error == ECONNREFUSED ? "connect_refused" : "connect_failed";
  }

  void retry_open(Connection& connection, uint64_t now) {
    if (options_.idle && connection.done_once) return;
    to_open_.push_back({index_of(connection), now + kReconnectDelayNs});
  }

  void close_fd(Connection& connection) {
    if (connection.state == State::kConnecting ||
        (options_.idle && !connection.done_once && connection.fd >= 0)) {
      --opening_;
    }
    if (connection.fd >= 0) close(connection.fd);
    connection.fd = -1;
    connection.state = State::kClosed;
    connection.in.clear();
    connection.out.clear();
    connection.out_sent = 0;
  }

  // After a failure.
  void reopen_later(Connection& connection, uint64_t now) {
    close_fd(connection);
    retry_open(connection, now);
  }

  // The end of a connection that has no call open, which is no failure.
  void finish(Connection& connection, uint64_t now) {
    close_fd(connection);
    ++closed_idle_;
    if (options_.retire) {
      ++retired_;
    } else {
      ++reconnects_;
      if (connection.answered && !options_.idle) {
        to_open_.push_front({index_of(connection), now});
      } else {
        retry_open(connection, now);
      }
    }
  }

  void on_closed_by_peer(Connection& connection, const char* kind, uint64_t now) {
    if (connection.pending == 0 && connection.in.empty()) return finish(connection, now);
    fail(kind, std::max(connection.pending, 1u));
    drop_pending(connection);
    reopen_later(connection, now);
  }

  void drop_pending(Connection& connection) {
    pending_total_ -= connection.pending;
    connection.pending = 0;
    for (Call& call : connection.calls) {
      if (call.open) {
        call.open = false;
        ++call.generation;
      }
    }
  }

  void on_event(Connection& connection, uint32_t events) {
    if (connection.state == State::kClosed) return;
    if (connection.state == State::kConnecting) {
      int error = 0;
      socklen_t length = sizeof error;
      getsockopt(connection.fd, SOL_SOCKET, SO_ERROR, &error, &length);
      const uint64_t now = now_ns();
      if (error != 0) {
        fail(connect_failure(error), 1);
        return reopen_later(connection, now);
      }
      connection.state = State::kOpen;
      if (!options_.idle) --opening_;
      saturated_ = false;
      fill(connection, now);
      return flush(connection);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) read_once(connection);
    if (connection.state == State::kOpen &&
        (!connection.out.empty() || (connection.events & EPOLLOUT) != 0)) {
      flush(connection);
    }
  }

  void flush(Connection& connection) {
    const Flush flushed = flush_output(connection.fd, connection.out, connection.out_sent);
    if (flushed == Flush::kFailed) {
      // What the peer sent before it closed is still to be read; the read then meets the end.
      connection.out.clear();
      connection.out_sent = 0;
    }
    const uint32_t wanted = flushed == Flush::kBlocked ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (wanted == connection.events) return;
    connection.events = wanted;
    epoll_event event{};
    event.events = wanted;
    event.data.u32 = index_of(connection);
    epoll_ctl(epoll_, EPOLL_CTL_MOD, connection.fd, &event);
  }

  void read_once(Connection& connection) {
    const size_t kept = connection.in.size();
    if (scratch_.size() < kept + kReadBytes) scratch_.resize(kept + kReadBytes);
    std::memcpy(scratch_.data(), connection.in.data(), kept);
    const ssize_t n = recv(connection.fd, scratch_.data() + kept, kReadBytes, 0);
    const uint64_t now = now_ns();
    if (n == 0) return on_closed_by_peer(connection, "closed", now);
    if (n < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      return on_closed_by_peer(connection, "reset", now);
    }
    const std::string_view data(scratch_.data(), kept + static_cast<size_t>(n));
    const char* broken = nullptr;
    size_t used = 0;
    switch (options_.protocol) {
      case Protocol::kHttp: used = on_http(connection, data, now, broken); break;
      case Protocol::kBolt: used = on_bolt(connection, data, now, broken); break;
      case Protocol::kTcp: used = on_tcp(connection, data, now, broken); break;
    }
    if (broken != nullptr) {
      fail(broken, std::max(connection.pending, 1u));
      drop_pending(connection);
      return reopen_later(connection, now);
    }
    connection.in.assign(data.substr(used));
    after_answers(connection, now);
  }

  void after_answers(Connection& connection, uint64_t now) {
    saturated_ = false;
    if (connection.draining) {
      if (connection.pending == 0) {
        flush(connection);  // a heartbeat's ack may wait
        finish(connection, now);
      }
      return;
    }
    fill(connection, now);
    mark_dirty(connection);
  }

  void mark_dirty(Connection& connection) {
    if (connection.in_dirty || connection.out.empty()) return;
    connection.in_dirty = true;
    dirty_.push_back(index_of(connection));
  }

  // ---- calls and answers ------------------------------------------------------------------------

  void build_templates() {
    filler_.resize(std::max(options_.size, kTagBytes));
    for (size_t i = 0; i < filler_.size(); ++i) filler_[i] = static_cast<char>('a' + i % 26);
    if (options_.protocol == Protocol::kBolt) {
      std::string header;
      bolt::append_pair(header, "sofa_head_target_service", options_.service);
      bolt::append_pair(header, "sofa_head_method_name", options_.method);
      bolt::append_pair(header, "service", options_.service);
      bolt::append_pair(header, "sofa_head_target_app", "bench-provider");
      bolt::append_pair(header, "app", "bench-consumer");
      bolt::append_pair(header, "type", "sync");
      bolt::append_request_header(template_, bolt::kTypeRequest, bolt::kCmdRequest, 0,
                                  static_cast<int32_t>(options_.timeout_ms), bolt::kRequestClass.size(),
                                  header.size(), options_.size);
      template_.append(bolt::kRequestClass).append(header);
      tag_offset_ = template_.size();
      template_.append(filler_);
    } else if (options_.protocol == Protocol::kTcp) {
      template_ = filler_;
    } else {
      template_ = (options_.http_post ? "POST " : "GET ") + options_.path +
                  " HTTP/1.1\r\nhost: " + options_.host + "\r\nuser-agent: bench_load\r\naccept: */*\r\n";
      if (options_.http_post) template_ += "content-length: " + std::to_string(options_.size) + "\r\n";
      if (options_.http_tag) {
        template_ += "x-bench-tag: ";
        tag_offset_ = template_.size();
        template_ += std::string(kHttpTagDigits, '0') + "\r\n";
      }
      template_ += "\r\n";
      if (options_.http_post) template_.append(filler_, 0, options_.size);
    }
  }

  static void write_tag(char* to, uint64_t serial, uint32_t id, uint32_t connection) {
    const uint64_t inverse = ~serial;
    std::memcpy(to, &serial, 8);
    std::memcpy(to + 8, &id, 4);
    std::memcpy(to + 12, &connection, 4);
    std::memcpy(to + 16, &inverse, 8);
  }

  bool payload_is_right(std::string_view payload, uint64_t serial, uint32_t id, uint32_t connection) const {
    char tag[kTagBytes];
    write_tag(tag, serial, id, connection);
    return payload.size() == options_.size && std::memcmp(payload.data(), tag, kTagBytes) == 0 &&
           std::memcmp(payload.data() + kTagBytes, filler_.data() + kTagBytes, payload.size() - kTagBytes) ==
               0;
  }

  static void write_http_tag(char* to, uint64_t serial) {
    for (size_t i = kHttpTagDigits; i-- > 0; serial >>= 4) to[i] = "0123456789abcdef"[serial & 15];
  }

  // The caller has seen to it that there is room.
  void make_call(Connection& connection, uint64_t start_ns, uint64_t now) {
    uint32_t slot = 0;
    if (options_.protocol == Protocol::kBolt) {
      slot = connection.free_calls.back();
      connection.free_calls.pop_back();
    } else {
      slot = connection.head + connection.pending;
      if (slot >= options_.depth) slot -= options_.depth;
    }
    Call& call = connection.calls[slot];
    call.open = true;
    call.start_ns = start_ns;
    call.made_ns = now;
    call.serial = calls_made_++;
    ++connection.pending;
    ++pending_total_;
    std::string& out = connection.out;
    const size_t at = out.size();
    out.append(template_);
    char* message = out.data() + at;
    const uint32_t id = static_cast<uint32_t>(call.generation) << 16 | slot;
    switch (options_.protocol) {
      case Protocol::kBolt:
        bolt::store32(message + bolt::kIdOffset, id);
        write_tag(message + tag_offset_, call.serial, id, index_of(connection));
        break;
      case Protocol::kTcp: write_tag(message, call.serial, id, index_of(connection)); break;
      case Protocol::kHttp:
        if (options_.http_tag) write_http_tag(message + tag_offset_, call.serial);
        break;
    }
    mark_dirty(connection);
  }

  // `kind` nullptr: the answer was right.
  void count_answer(Connection& connection, const Call& call, const char* kind, uint64_t now) {
    if (kind != nullptr) {
      fail(kind, 1);
    } else {
      ++answers_;
      if (measuring_ && (!stopping_ || keep_measuring_)) {
        ++measured_answers_;
        histogram_.record(now > call.start_ns ? now - call.start_ns : 0);
        if (stopping_) measured_to_ns_ = now;
      }
      if (answers_ == 1) {
        std::fprintf(stderr, "running\n");
        std::fflush(stderr);
      }
    }
    connection.answered = true;
    if (connection.done_once) return;
    connection.done_once = true;
    if (!options_.idle) return;
    --opening_;
    if (++idle_connections_ == options_.connections) {
      std::printf("idle %u\n", options_.connections);
      std::fflush(stdout);
    }
  }

  void release_slot(Connection& connection, uint16_t slot) {
    connection.calls[slot].open = false;
    ++connection.calls[slot].generation;
    connection.free_calls.push_back(slot);
    --connection.pending;
    --pending_total_;
  }

  void release_head(Connection& connection) {
    connection.calls[connection.head].open = false;
    ++connection.calls[connection.head].generation;
    if (++connection.head == options_.depth) connection.head = 0;
    --connection.pending;
    --pending_total_;
  }

  size_t on_bolt(Connection& connection, std::string_view data, uint64_t now, const char*& broken) {
    size_t used = 0;
    while (true) {
      bolt::Frame frame;
      const bolt::Parse parsed = bolt::parse(data.substr(used), frame);
      if (parsed == bolt::Parse::kNeedMore) return used;
      if (parsed == bolt::Parse::kError) {
        broken = "bad_frame";
        return used;
      }
      used += frame.total_bytes;
      if (frame.type == bolt::kTypeResponse) {
        on_bolt_response(connection, frame, now);
      } else if (frame.command == bolt::kCmdHeartbeat) {
        bolt::append_heartbeat_answer(connection.out, frame);
        mark_dirty(connection);
      } else if (frame.command == bolt::kCmdGoAway && options_.goaway) {
        ++goaways_;
        connection.draining = true;
      } else {
        broken = frame.command == bolt::kCmdGoAway ? "unexpected_goaway" : "unexpected_request";
        return used;
      }
    }
  }

  void on_bolt_response(Connection& connection, const bolt::Frame& frame, uint64_t now) {
    const uint32_t slot = frame.id & 0xffff;
    if (slot >= options_.depth || !connection.calls[slot].open ||
        connection.calls[slot].generation != static_cast<uint16_t>(frame.id >> 16)) {
      fail("unknown_id", 1);
      return;
    }
    const Call& call = connection.calls[slot];
    const char* kind = nullptr;
    std::string status;
    if (frame.command != bolt::kCmdResponse) {
      kind = "wrong_command";
    } else if (frame.status != 0) {
      status = "bolt_status_" + std::to_string(frame.status);
      kind = status.c_str();
    } else if (!payload_is_right(frame.content, call.serial, frame.id, index_of(connection))) {
      kind = "wrong_content";
    }
    count_answer(connection, call, kind, now);
    release_slot(connection, static_cast<uint16_t>(slot));
  }

  size_t on_tcp(Connection& connection, std::string_view data, uint64_t now, const char*& broken) {
    size_t used = 0;
    while (data.size() - used >= options_.size) {
      if (connection.pending == 0) {
        broken = "unexpected_bytes";
        return used;
      }
      const uint32_t slot = connection.head;
      const Call& call = connection.calls[slot];
      const uint32_t id = static_cast<uint32_t>(call.generation) << 16 | slot;
      const bool right =
          payload_is_right(data.substr(used, options_.size), call.serial, id, index_of(connection));
      count_answer(connection, call, right ? nullptr : "wrong_content", now);
      release_head(connection);
      used += options_.size;
    }
    return used;
  }

  size_t on_http(Connection& connection, std::string_view data, uint64_t now, const char*& broken) {
    size_t used = 0;
    while (used < data.size()) {
      const std::string_view rest = data.substr(used);
      const size_t head_end = rest.find("\r\n\r\n");
      if (head_end == std::string_view::npos) {
        if (rest.size() > kHttpHeadBytesMax) broken = "bad_response";
        return used;
      }
      unsigned status = 0;
      if (rest.size() < 12 || !rest.starts_with("HTTP/1.1 ") ||
          std::from_chars(rest.data() + 9, rest.data() + 12, status).ptr != rest.data() + 12 ||
          status < 100) {
        broken = "bad_response";
        return used;
      }
      uint64_t body_bytes = 0;
      bool has_length = status < 200 || status == 204 || status == 304;
      bool close = false;
      bool bad = false;
      std::string_view tag;
      const size_t line_end = rest.find("\r\n");
      const std::string_view lines = rest.substr(line_end + 2, head_end - line_end);
      for_each_header(lines, [&](std::string_view name, std::string_view value) {
        if (equal_ignore_case(name, "content-length")) {
          const auto end = value.data() + value.size();
          const auto parsed = std::from_chars(value.data(), end, body_bytes);
          bad |= parsed.ec != std::errc() || parsed.ptr != end || body_bytes > kBodyBytesMax;
          has_length = true;
        } else if (equal_ignore_case(name, "transfer-encoding")) {
          bad = true;
        } else if (equal_ignore_case(name, "connection")) {
          close |= equal_ignore_case(value, "close");
        } else if (equal_ignore_case(name, "x-bench-tag")) {
          tag = value;
        }
      });
      if (bad || !has_length) {
        broken = "unsupported_framing";
        return used;
      }
      const size_t total = head_end + 4 + body_bytes;
      if (rest.size() < total) return used;
      if (connection.pending == 0) {
        broken = "unexpected_response";
        return used;
      }
      used += total;
      if (status < 200) continue;
      on_http_response(connection, status, tag, now);
      if (close) {
        connection.draining = true;
        if (connection.pending > 0) broken = "closed";  // pipelined calls that nobody will answer
        return data.size();
      }
    }
    return used;
  }

  void on_http_response(Connection& connection, unsigned status, std::string_view tag, uint64_t now) {
    const Call& call = connection.calls[connection.head];
    char expected[kHttpTagDigits];
    write_http_tag(expected, call.serial);
    std::string kind;
    if (status != 200) {
      kind = "http_" + std::to_string(status);
    } else if (options_.http_tag && tag != std::string_view(expected, sizeof expected)) {
      kind = "wrong_content";
    }
    count_answer(connection, call, kind.empty() ? nullptr : kind.c_str(), now);
    release_head(connection);
  }

  // ---- the rest ---------------------------------------------------------------------------------

  void fail(std::string_view kind, uint64_t count) {
    errors_ += count;
    const auto found = failures_.find(kind);
    if (found != failures_.end()) {
      found->second += count;
    } else {
      failures_.emplace(kind, count);
    }
  }

  // Idle mode ends when standard input does. A file or /dev/null can't be watched: then --seconds ends it.
  void watch_stdin() {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u32 = kStdinIndex;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, STDIN_FILENO, &event);
  }

  void on_stdin() {
    char ignored[256];
    const ssize_t n = read(STDIN_FILENO, ignored, sizeof ignored);
    if (n > 0 || (n < 0 && errno == EINTR)) return;
    stdin_closed_ = true;
    epoll_ctl(epoll_, EPOLL_CTL_DEL, STDIN_FILENO, nullptr);
  }

  void print_result() const {
    static constexpr const char* kNames[] = {"http", "bolt", "tcp"};
    const double seconds = measuring_ && measured_to_ns_ > measured_from_ns_
                               ? static_cast<double>(measured_to_ns_ - measured_from_ns_) / 1e9
                               : 0;
    const double rps = seconds > 0 ? static_cast<double>(measured_answers_) / seconds : 0;
    const auto n = [](uint64_t value) { return static_cast<unsigned long long>(value); };
    const auto us = [&](double percent) {
      return static_cast<double>(histogram_.percentile_ns(percent)) / 1e3;
    };
    std::printf("{\"proto\":\"%s\",\"connections\":%u,\"depth\":%u,\"rate\":%g,\"size\":%zu,",
                kNames[static_cast<size_t>(options_.protocol)], options_.connections, options_.depth,
                options_.rate, options_.size);
    std::printf("\"requests\":%llu,\"total_requests\":%llu,\"errors\":%llu,\"seconds\":%.3f,\"rps\":%.1f,",
                n(measured_answers_), n(answers_), n(errors_), seconds, rps);
    std::printf("\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,", us(50),
                us(90), us(99), us(99.9), static_cast<double>(histogram_.max_ns()) / 1e3);
    std::printf("\"connects\":%llu,\"reconnects\":%llu,\"closed_idle\":%llu,\"goaways\":%llu,\"failures\":{",
                n(connects_), n(reconnects_), n(closed_idle_), n(goaways_));
    const char* comma = "";
    for (const auto& [kind, count] : failures_) {
      std::printf("%s\"%s\":%llu", comma, kind.c_str(), n(count));
      comma = ",";
    }
    std::printf("}}\n");
    std::fflush(stdout);
  }

  static constexpr uint32_t kStdinIndex = UINT32_MAX;
  static constexpr size_t kHttpTagDigits = 16;

  Options options_;
  sockaddr_storage address_{};
  socklen_t address_length_ = 0;
  int epoll_ = -1;
  std::vector<Connection> connections_;
  std::deque<Opening> to_open_;  // in the order of not_before_ns
  std::vector<uint32_t> dirty_;
  std::vector<char> scratch_;
  std::string filler_;
  std::string template_;
  size_t tag_offset_ = 0;
  uint32_t next_connection_ = 0;
  bool saturated_ = false;

  uint64_t start_ns_ = 0;
  uint64_t measure_from_ns_ = 0;
  uint64_t stop_at_ns_ = 0;
  uint64_t measured_from_ns_ = 0;
  uint64_t measured_to_ns_ = 0;
  uint64_t give_up_at_ns_ = 0;
  uint64_t not_sent_ = 0;
  bool measuring_ = false;
  bool stopping_ = false;
  bool keep_measuring_ = false;
  bool stdin_closed_ = false;

  uint32_t opening_ = 0;
  uint32_t retired_ = 0;
  uint32_t idle_connections_ = 0;
  uint64_t pending_total_ = 0;
  uint64_t calls_made_ = 0;
  uint64_t answers_ = 0;
  uint64_t measured_answers_ = 0;
  uint64_t errors_ = 0;
  uint64_t connects_ = 0;
  uint64_t reconnects_ = 0;
  uint64_t closed_idle_ = 0;
  uint64_t goaways_ = 0;
  std::map<std::string, uint64_t, std::less<>> failures_;
  Histogram histogram_;
};

[[noreturn]] void usage() {
  std::fprintf(
      stderr,
      "usage: bench_load --proto http|bolt|tcp --target IP:PORT [--connections N] [--depth D]\n"
      "                  [--seconds S] [--warmup S] [--rate R] [--max-requests N] [--timeout-ms MS]\n"
      "                  [--size BYTES] [--connect-idle N] [--opening-max N] [--on-close reconnect|retire]\n"
      "                  [--goaway] [--service NAME] [--method NAME]\n"
      "                  [--path PATH] [--host NAME] [--post] [--no-tag]\n");
  std::exit(2);
}

Options parse_options(int argc, char** argv) {
  enum {
    // clang-format off
    kProto = 1, kTarget, kConnections, kDepth, kSeconds, kWarmup, kRate, kMaxRequests, kTimeoutMs, kSize,
    kConnectIdle, kOpeningMax, kOnClose, kGoAway, kService, kMethod, kPath, kHost, kPost, kNoTag
    // clang-format on
  };
  static const option kFlags[] = {
      {"proto", required_argument, nullptr, kProto},
      {"target", required_argument, nullptr, kTarget},
      {"connections", required_argument, nullptr, kConnections},
      {"depth", required_argument, nullptr, kDepth},
      {"seconds", required_argument, nullptr, kSeconds},
      {"warmup", required_argument, nullptr, kWarmup},
      {"rate", required_argument, nullptr, kRate},
      {"max-requests", required_argument, nullptr, kMaxRequests},
      {"timeout-ms", required_argument, nullptr, kTimeoutMs},
      {"size", required_argument, nullptr, kSize},
      {"connect-idle", required_argument, nullptr, kConnectIdle},
      {"opening-max", required_argument, nullptr, kOpeningMax},
      {"on-close", required_argument, nullptr, kOnClose},
      {"goaway", no_argument, nullptr, kGoAway},
      {"service", required_argument, nullptr, kService},
      {"method", required_argument, nullptr, kMethod},
      {"path", required_argument, nullptr, kPath},
      {"host", required_argument, nullptr, kHost},
      {"post", no_argument, nullptr, kPost},
      {"no-tag", no_argument, nullptr, kNoTag},
      {nullptr, 0, nullptr, 0},
  };
  constexpr double kSecondsMax = 24 * 3600;
  Options options;
  bool has_protocol = false;
  bool has_seconds = false;
  int flag = 0;
  while ((flag = getopt_long(argc, argv, "", kFlags, nullptr)) != -1) {
    const std::string_view text = optarg == nullptr ? "" : optarg;
    switch (flag) {
      case kProto:
        has_protocol = true;
        if (text == "http") options.protocol = Protocol::kHttp;
        else if (text == "bolt") options.protocol = Protocol::kBolt;
        else if (text == "tcp") options.protocol = Protocol::kTcp;
        else usage();
        break;
      case kTarget: options.target = text; break;
      case kConnections:
        options.connections = static_cast<uint32_t>(number_or_exit("connections", text, 1, 100'000));
        break;
      case kDepth: options.depth = static_cast<uint32_t>(number_or_exit("depth", text, 1, kDepthMax)); break;
      case kSeconds:
        options.seconds = seconds_or_exit("seconds", optarg, kSecondsMax);
        has_seconds = true;
        break;
      case kWarmup: options.warmup_seconds = seconds_or_exit("warmup", optarg, kSecondsMax); break;
      case kRate: options.rate = static_cast<double>(number_or_exit("rate", text, 1, 10'000'000)); break;
      case kMaxRequests: options.requests_max = number_or_exit("max-requests", text, 1, UINT64_MAX); break;
      case kTimeoutMs: options.timeout_ms = number_or_exit("timeout-ms", text, 1, 3'600'000); break;
      case kSize: options.size = number_or_exit("size", text, 0, kBodyBytesMax); break;
      case kConnectIdle:
        options.idle = true;
        options.connections = static_cast<uint32_t>(number_or_exit("connect-idle", text, 1, 100'000));
        break;
      case kOpeningMax:
        options.opening_max = static_cast<uint32_t>(number_or_exit("opening-max", text, 1, 100'000));
        break;
      case kOnClose:
        if (text != "reconnect" && text != "retire") usage();
        options.retire = text == "retire";
        break;
      case kGoAway: options.goaway = true; break;
      case kService: options.service = text; break;
      case kMethod: options.method = text; break;
      case kPath: options.path = text; break;
      case kHost: options.host = text; break;
      case kPost: options.http_post = true; break;
      case kNoTag: options.http_tag = false; break;
      default: usage();
    }
  }
  if (optind != argc || !has_protocol || options.target.empty()) usage();
  if (options.protocol != Protocol::kHttp && options.size < kTagBytes) {
    std::fprintf(stderr, "--size: at least %zu for bolt and tcp\n", kTagBytes);
    std::exit(2);
  }
  if (options.service.size() + options.method.size() > 8192) usage();
  if (options.idle) {
    options.depth = 1;
    options.rate = 0;
    if (!has_seconds) options.seconds = 600;
  }
  if (options.host.empty()) options.host = options.target;
  return options;
}

}  // namespace
}  // namespace dragoman::bench

int main(int argc, char** argv) {
  using namespace dragoman::bench;
  Options options = parse_options(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  struct sigaction action {};
  action.sa_handler = on_stop_signal;
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  prctl(PR_SET_TIMERSLACK, 1);  // the open loop's calls leave on time
  raise_file_limit();
  return Generator(std::move(options)).run();
}
