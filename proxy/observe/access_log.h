// Access log: one line per finished request, formatted by the worker straight into its own ring, written to
// the file by one background thread. A worker never waits: when its ring is full the line is dropped and
// counted.
#pragma once

#include <semaphore.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "proxy/base/reason.h"
#include "proxy/base/result.h"

namespace dragoman {

struct Head;
enum class HeaderId : uint8_t;

/// What the protocol line of Envoy's formats says.
enum class LoggedHttp : uint8_t { kNone, k10, k11, k2 };

/// One request. Views live during the write() only; empty ones are logged as "-" (text) or "" (JSON).
struct AccessRecord {
  int64_t start_us = 0;               // wall clock, microseconds since 1970, first byte of the request
  uint64_t duration_us = 0;           // to the last byte of the answer
  uint64_t upstream_duration_us = 0;  // of the last try; 0 = none
  std::string_view listener;
  std::string_view route;
  std::string_view cluster;
  std::string_view endpoint;  // "10.0.0.1:80" of the last try
  std::string_view protocol;
  std::string_view peer;           // downstream address
  std::string_view peer_identity;  // who the client's certificate says it is
  std::string_view method;
  std::string_view path;
  std::string_view authority;
  std::string_view service;
  std::string_view user_agent;
  std::string_view request_id;
  std::string_view x_forwarded_for;
  int32_t status = 0;            // the protocol's own, below zero in some; 0 = none
  std::string_view status_text;  // where the protocol's statuses are texts: shown instead
  Outcome outcome = Outcome::kOk;
  Reason reason = Reason::kNone;
  std::string_view peer_reason;  // what a sidecar at the other end said of its answer
  uint64_t bytes_in = 0;   // from downstream
  uint64_t bytes_out = 0;  // to downstream
  uint32_t attempts = 0;   // tries towards endpoints
  bool one_way = false;
  LoggedHttp http_version = LoggedHttp::kNone;
  const Head* request = nullptr;   // where %REQ()% and attributes are looked up
  const Head* response = nullptr;  // of the endpoint's answer; null when there was none
};

enum class AccessLogKind : uint8_t { kText, kJson };

/// Used when a text log has no template.
extern const std::string_view kDefaultAccessLogTemplate;
/// The lines that Envoy and Istio write by default.
extern const std::string_view kEnvoyAccessLogTemplate;
extern const std::string_view kIstioAccessLogTemplate;

/// Envoy's response flag for a reason: its nearest, "-" when there was no failure.
std::string_view envoy_flag(Reason reason);

/// A compiled line. Text: literals, %FIELD% names (proxy/observe/README.md lists them; %% is a percent sign) and headers:
/// %REQ(name?other):max%, %RESP(name)%. JSON: one object with every field, snake_case keys, and those given. Values can't break out of a line: text escapes
/// ", \ and every byte outside 0x20..0x7e as \xNN, JSON escapes as RFC 8259 says and replaces invalid UTF-8.
/// Values over kValueBytesMax escaped bytes are cut and end in "...".
class AccessLogFormat {
 public:
  static constexpr size_t kValueBytesMax = 2048;

  /// Key of a JSON member and the template of its value. A value that is one field of numbers is a number, others are strings.
  using Members = std::vector<std::pair<std::string, std::string>>;

  /// An empty template is the default one; JSON takes none, but `members`. Error: what is wrong, where, the nearest field
  /// name.
  static Result<AccessLogFormat> compile(AccessLogKind kind, std::string_view line_template = {},
                                         const Members& members = {});

  /// Whether lines have headers of requests, of answers.
  bool wants_request_headers() const { return wants_request_headers_; }
  bool wants_response_headers() const { return wants_response_headers_; }

  /// No line is longer, newline included.
  size_t line_bytes_max() const { return line_bytes_max_; }
  /// Appends one line with its newline at `out`, which has line_bytes_max() bytes; gives the end.
  /// `second_cache` keeps the date of the last line (one per thread).
  struct SecondCache {
    int64_t second = INT64_MIN;
    char text[20] = {};  // 2026-01-31T12:00:00
  };
  char* append(const AccessRecord& record, char* out, SecondCache& second_cache) const;
  /// The same into a string, for tests and tools.
  std::string line(const AccessRecord& record) const;

 private:
  struct Op {
    uint8_t field = 0;      // after the literal; kFieldNone at the end
    bool inside = false;    // of a JSON string
    bool response = false;  // the header is one of the answer's
    uint16_t header = 0;    // of headers_, for fields that are headers
    uint32_t offset = 0;    // of the literal in literals_
    uint32_t length = 0;
  };
  /// One header of a message, or what stands in its place.
  struct HeaderName {
    std::string name;  // as written; of a pseudo header the part behind the colon, in lower case
    HeaderId id{};
    bool pseudo = false;
  };
  struct HeaderField {
    HeaderName first;
    HeaderName other;  // when the first is not there; may be empty
    size_t bytes_max = kValueBytesMax;
  };
  AccessLogFormat() = default;
  Op& add(std::string_view literal, uint8_t field);
  void finish(std::string_view literal);
  /// Appends what a template says; `literal` is what stands in front of it, and afterwards what is left. `inside`: of a JSON string.
  Result<void> parse(std::string_view line_template, std::string& literal, bool inside);
  Result<HeaderField> parse_header(std::string_view operation, std::string_view where) const;
  static std::string_view header_value(const HeaderName& name, const AccessRecord& record, bool response);
  std::string_view header_value(const Op& op, const AccessRecord& record) const;

  AccessLogKind kind_ = AccessLogKind::kText;
  std::string literals_;
  std::vector<Op> ops_;
  std::vector<HeaderField> headers_;
  size_t line_bytes_max_ = 0;
  bool wants_request_headers_ = false;
  bool wants_response_headers_ = false;
};

/// Every %FIELD% name, in the order of the documentation, without Envoy's names for the same.
std::vector<std::string_view> access_log_fields();

class AccessLogWriter;
class LogFile;

/// One worker's end of the log. Only that worker's thread calls write().
class AccessLogShard {
 public:
  /// Formats and queues one line, or drops and counts it. Never blocks, allocates or throws.
  void write(const AccessRecord& record);
  bool wants_response_headers() const { return wants_response_headers_; }

 private:
  friend class AccessLogWriter;
  AccessLogShard(AccessLogWriter& writer, size_t ring_bytes);

  AccessLogWriter& writer_;
  const bool wants_response_headers_;
  const size_t ring_bytes_;  // a power of two
  std::unique_ptr<char[]>
      ring_;  // ring_bytes_, and one line more so that a line is always formatted in one piece
  AccessLogFormat::SecondCache second_cache_;
  uint64_t head_seen_ = 0;                     // the worker's last look at head_
  alignas(64) std::atomic<uint64_t> tail_{0};  // bytes ever queued; worker writes
  std::atomic<uint64_t> lines_{0};             // worker writes
  std::atomic<uint64_t> dropped_{0};           // worker writes
  alignas(64) std::atomic<uint64_t> head_{0};  // bytes ever written out; writer thread writes
};

struct AccessLogOptions {
  std::string path = "/dev/stdout";  // /dev/stdout and /dev/stderr mean the inherited descriptors
  size_t queue_bytes = 1 << 20;      // per shard; rounded up to a power of two that holds at least four lines
  int shards = 1;
};

/// Owns the file, the thread and the shards. Destroy it after the workers stopped using their shards.
class AccessLogWriter {
 public:
  /// Opens the file (append, mode 0640) and starts the thread. Error: why the file can't be opened.
  static Result<std::unique_ptr<AccessLogWriter>> open(AccessLogFormat format,
                                                       const AccessLogOptions& options);
  /// Writes what is queued and stops; a reader that takes nothing (a full pipe) is given up after one second.
  ~AccessLogWriter();
  AccessLogWriter(const AccessLogWriter&) = delete;
  AccessLogWriter& operator=(const AccessLogWriter&) = delete;

  const AccessLogFormat& format() const { return format_; }
  AccessLogShard& shard(int index) { return *shards_[static_cast<size_t>(index)]; }
  /// Opens the path again, for log rotation; lines queued from now on go to the new file. On error the old
  /// one stays.
  Result<void> reopen();
  /// Waits until all lines queued before the call are written or lost.
  void flush();
  /// Lines queued so far; lines lost to full rings; lines lost to failed writes.
  uint64_t lines() const;
  uint64_t dropped() const;
  uint64_t failed() const { return failed_.load(std::memory_order_relaxed); }

 private:
  friend class AccessLogShard;
  AccessLogWriter(AccessLogFormat format, const AccessLogOptions& options, std::unique_ptr<LogFile> file);
  void run();
  /// Writes what is queued now; false when nothing was.
  bool drain();
  bool pending() const;
  void wake();

  const AccessLogFormat format_;
  const std::string path_;
  std::vector<std::unique_ptr<AccessLogShard>> shards_;
  std::unique_ptr<LogFile> file_;  // the writer thread's
  std::atomic<uint64_t> failed_{0};
  std::atomic<int64_t> deadline_ms_{INT64_MAX};  // when to give up waiting for the reader
  std::atomic<bool> idle_{false};                // the thread sleeps until a line comes
  std::atomic<bool> hurried_{false};             // a ring is half full and the thread was told
  sem_t wake_;
  std::mutex mutex_;  // the three below
  std::condition_variable flushed_;
  uint64_t flush_wanted_ = 0;
  uint64_t flush_done_ = 0;
  std::unique_ptr<LogFile> next_file_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace dragoman
