// A blocking socket with a deadline on everything: the client of a test, and each connection of a scripted backend.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dragoman::testing {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif
/// How long a test waits for something that should happen at once.
inline constexpr int kDeadlineMs = kSanitized ? 20'000 : 8'000;

/// One HTTP/1.1 message as it was on the wire.
struct HttpMessage {
  std::string head;  // up to and with the empty line
  int status = 0;    // responses
  std::string method, target;
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string body;
  bool complete = false;     // ended as its framing says
  bool chunked = false;
  std::vector<int> interim;  // 1xx before it

  /// The first value, or "-" when there is none.
  std::string header(const std::string& name) const {
    auto it = headers.find(name);
    return it == headers.end() ? "-" : it->second;
  }
};

enum class End : uint8_t { kOpen, kEof, kReset };

class TestSocket {
 public:
  TestSocket() = default;
  explicit TestSocket(int fd);  // takes over a connected socket
  /// To 127.0.0.1. `buffer_bytes` > 0 sets both kernel buffers.
  static TestSocket connect(uint16_t port, int buffer_bytes = 0);
  TestSocket(TestSocket&& other) noexcept { swap(other); }
  TestSocket& operator=(TestSocket&& other) noexcept {
    swap(other);
    return *this;
  }
  ~TestSocket();

  bool connected() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  uint16_t local_port() const;
  void set_deadline_ms(int ms) { deadline_ms_ = ms; }

  /// False: the peer is gone, or did not read until the deadline.
  bool send(std::string_view bytes);
  /// `piece` bytes per write.
  bool send_in_pieces(std::string_view bytes, size_t piece);
  /// What fits now; never waits for the peer.
  size_t send_some(std::string_view bytes);

  /// Exactly n bytes; fewer when the peer ended or the deadline passed.
  std::string read(size_t n);
  std::string read_until(std::string_view mark);  // with the mark
  std::string read_to_end();
  /// What is there within `wait_ms`; "" when nothing came.
  std::string read_some(int wait_ms);
  /// Reads and drops up to n bytes; how many there were.
  uint64_t discard(uint64_t n);
  /// Whether and how the peer ended; tells after a read that came back short.
  End end() const { return end_; }
  /// Waits for the end of the stream, dropping what comes before it.
  End wait_end();
  bool closed_by_peer() { return wait_end() != End::kOpen; }

  HttpMessage read_response(bool to_head_request = false);
  HttpMessage read_request();
  /// One Bolt frame; "" when there is none.
  std::string read_bolt();

  void finish();  // FIN
  void close();
  void reset();  // RST

 private:
  void swap(TestSocket& other);
  bool fill(int wait_ms);
  HttpMessage read_head();
  void read_body(HttpMessage& m, bool response, bool bodiless);

  int fd_ = -1;
  int deadline_ms_ = kDeadlineMs;
  End end_ = End::kOpen;
  std::string buffer_;
};

/// Resident memory of this process, bytes.
uint64_t resident_bytes();
/// Descriptors open in this process.
int open_descriptors();
/// Milliseconds, monotonic.
uint64_t steady_ms();
/// Polls `done` until it holds or the deadline passes.
template <class Done>
bool eventually(Done&& done, int limit_ms = kDeadlineMs);

void sleep_ms(int ms);

template <class Done>
bool eventually(Done&& done, int limit_ms) {
  for (uint64_t until = steady_ms() + static_cast<uint64_t>(limit_ms); !done(); sleep_ms(5))
    if (steady_ms() > until) return false;
  return true;
}

}  // namespace dragoman::testing
