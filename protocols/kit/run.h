// Inside of the kit: what all rules share.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "protocols/kit/kit.h"
#include "protocols/kit/watched.h"

namespace dragoman::kit {

/// conn_state_size zeroed bytes.
class State {
 public:
  explicit State(const dragoman_codec& t) : size_(t.conn_state_size) {}
  void* get() { return size_ ? bytes_ : nullptr; }

 private:
  size_t size_;
  alignas(16) uint8_t bytes_[DRAGOMAN_CONN_STATE_MAX] = {};
};

inline const uint8_t* bytes_at(const std::string& s, size_t at = 0) {
  return reinterpret_cast<const uint8_t*>(s.data()) + at;
}

/// One frame of a vector. f.from says who sent it.
struct Frame {
  std::string bytes;
  dragoman_frame f{};
  bool is_request() const { return f.kind == DRAGOMAN_REQUEST; }
};

struct Seen {
  std::string service, method;
  std::vector<std::pair<std::string, std::string>> headers;  // attributes too
  bool opaque = false;
  bool ok = false;
  size_t attributes = 0;  // the last so many of `headers` are attributes

  const std::string* find(std::string_view name) const;
};

constexpr uint32_t kWantAll =
    DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD | DRAGOMAN_WANT_HEADERS | DRAGOMAN_WANT_BODY;

/// `from`: who sent the bytes, DRAGOMAN_FROM_*.
int probe(const dragoman_codec& t, State& state, const std::string& bytes, uint32_t from, dragoman_frame& f,
          uint32_t want = kWantAll);
/// The frame at the start of `bytes`; nothing when there is no whole one.
std::optional<Frame> first_frame(const dragoman_codec& t, State& state, const std::string& bytes,
                                 uint32_t from);
/// All frames of `bytes`; `rest` gets what is left.
std::vector<Frame> all_frames(const dragoman_codec& t, const std::string& bytes, uint32_t from,
                              std::string* rest = nullptr);
/// As the engine sees it: attributes hide headers of their name, and are there when no header can be read.
Seen view(const dragoman_codec& t, State& state, const Frame& frame, uint32_t want = kWantAll);
/// The first field in which two descriptions of one frame differ ("total_len 94, before 90"); empty: none.
std::string difference(const dragoman_frame& now, const dragoman_frame& before);
/// The status of a response: its text, where the protocol has texts, else the number.
std::string status_of(const dragoman_codec& t, const Frame& response);
const char* kind_name(uint32_t kind);
const char* verdict_name(int verdict);
const char* outcome_name(uint32_t outcome);

/// What a function that writes made; nothing when it can't.
std::optional<std::string> written(const std::function<int64_t(uint8_t* out, uint64_t cap)>& f);
/// `frame` with another id: a number (BE, LE, CODED) or `text` (BYTES), checksums fixed. Nothing when it
/// can't be.
std::optional<Frame> with_id(const dragoman_codec& t, const Frame& frame, uint64_t id, const std::string&
                             text);

class Run {
 public:
  Run(const dragoman_codec& table, const std::vector<Vector>& given, const Options& opts)
      : raw(table), watched(table), t(watched.table()), vectors(given), options(opts) {}

  /// The first failure of a rule stays.
  void fail(std::string_view rule, std::string what, const std::string& bytes);
  void skip(std::string_view rule, std::string why) { skipped.emplace(rule, std::move(why)); }
  /// Reports what the watched table noted, under its own rule or under `as`. True when there was nothing.
  bool settle(const std::string& bytes, std::string_view as = {});

  const dragoman_codec& raw;
  Watched watched;
  const dragoman_codec& t;  // watched
  const std::vector<Vector>& vectors;
  const Options& options;
  std::vector<Frame> frames;  // of the good vectors
  std::map<std::string, Result, std::less<>> failed;
  std::map<std::string, std::string, std::less<>> skipped;
  uint64_t mutations = 0;
};

// The rules, by file.
void read_rules(Run& run);
void write_rules(Run& run);
void host_rules(Run& run);

}  // namespace dragoman::kit
