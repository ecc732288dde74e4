#include "protocols/plugin_trial.h"

#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace dragoman {
namespace {

constexpr size_t kRoomBytes = 256 << 10;  // of what is shown at once, and of what is written at once
constexpr size_t kFencePages = 16;        // that can't be touched, behind it
constexpr int kTickMs = 100;
constexpr size_t kFramesOfAKindMax = 6;
constexpr uint64_t kSearchCallsMax = 40'000;
constexpr auto kSearchTime = std::chrono::milliseconds(250);

TrialNotes* noted = nullptr;

void on_tick(int) {
  static uint32_t call_at_tick = 0;
  static int same = 0;
  const uint32_t now = noted->calls.load(std::memory_order_relaxed);
  same = noted->function && now == call_at_tick ? same + 1 : 0;
  call_at_tick = now;
  if (same >= kPluginCallMs / kTickMs) _exit(kPluginCallHung);
}

/// Memory that ends at pages which can't be touched.
class Fenced {
 public:
  Fenced() {
    const size_t fence = kFencePages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* got = mmap(nullptr, kRoomBytes + fence, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (got == MAP_FAILED) return;
    memory_ = static_cast<uint8_t*>(got);
    mprotect(memory_ + kRoomBytes, fence, PROT_NONE);
  }
  explicit operator bool() const { return memory_; }
  uint8_t* last(size_t n) { return memory_ + kRoomBytes - n; }
  uint8_t* show(const std::string& bytes) {
    if (!bytes.empty()) std::memcpy(last(bytes.size()), bytes.data(), bytes.size());
    return last(bytes.size());
  }

 private:
  uint8_t* memory_ = nullptr;
};

struct Found {
  std::string bytes;  // at least the head
  dragoman_frame f;
};

dragoman_bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

class Caller {
 public:
  Caller(const dragoman_codec& table, TrialNotes& notes) : t_(table), notes_(notes) {}

  void run() {
    if (!shown_ || !out_) return;
    control();
    search();
    // Answers to what was found are frames, too. `found_` grows meanwhile.
    for (size_t i = 0; i < found_.size(); ++i) use(Found(found_[i]));
    for (size_t i = 0; i < found_.size(); ++i) change(Found(found_[i]));
    static constexpr uint8_t kEdges[] = {0x00, 0xff, 0x7f, 0x80, '0', ' ', '<', '{'};
    for (uint8_t byte : kEdges)
      for (size_t n : {1, 2, 4, 8, 16, 64, 1024}) try_bytes(std::string(n, static_cast<char>(byte)));
    for (int i = 0; i < 200; ++i) try_bytes(noise(1 + random_() % 200));
  }

 private:
  /// One call, noted.
  template <class F>
  auto call(const char* function, const std::string& about, F&& f) {
    notes_.len = static_cast<uint32_t>(about.size());
    std::memcpy(notes_.bytes, about.data(), std::min<size_t>(about.size(), TrialNotes::kShown));
    notes_.calls.fetch_add(1, std::memory_order_relaxed);
    notes_.function = function;
    auto result = f();
    notes_.function = nullptr;
    return result;
  }

  void* fresh_conn() {
    if (t_.conn_state_size == 0) return nullptr;
    std::memset(conn_, 0, sizeof conn_);
    return conn_;
  }

  int probe(const std::string& bytes, dragoman_frame& f, uint32_t from = DRAGOMAN_FROM_CLIENT) {
    f = {};
    f.size = sizeof f;
    f.want = kWantAll;
    f.from = from;
    void* conn = fresh_conn();
    const uint8_t* p = shown_.show(bytes);
    return call("probe", bytes, [&] { return t_.probe(t_.context, conn, p, bytes.size(), &f); });
  }

  bool is_whole_head(const dragoman_frame& f, size_t len) const {
    return f.head_len > 0 && f.head_len <= len && f.head_len <= f.total_len &&
           f.head_len <= t_.head_bytes_max && f.kind >= DRAGOMAN_REQUEST &&
           f.kind <= DRAGOMAN_STREAM_CANCEL &&
           (f.id_type == DRAGOMAN_ID_NONE ||
            (f.id_offset <= f.head_len && f.id_len <= f.head_len - f.id_offset));
  }

  /// Probes; what is a frame is kept, while there are few of its kind.
  void try_bytes(const std::string& bytes, uint32_t from = DRAGOMAN_FROM_CLIENT) {
    dragoman_frame f;
    if (bytes.empty() || bytes.size() > kRoomBytes || probe(bytes, f, from) != DRAGOMAN_FRAME) return;
    keep(bytes, f);
  }
  void keep(const std::string& bytes, const dragoman_frame& f) {
    if (!is_whole_head(f, bytes.size()) || of_kind_[f.kind] >= kFramesOfAKindMax) return;
    ++of_kind_[f.kind];
    found_.push_back({bytes, f});
  }

  std::string noise(size_t n) {
    std::string bytes(n, '\0');
    for (char& c : bytes) c = static_cast<char>(random_());
    return bytes;
  }

  /// Grows beginnings byte by byte, each byte one that the codec does not refuse, until they are frames.
  void search() {
    using Clock = std::chrono::steady_clock;
    const auto until = Clock::now() + kSearchTime;
    const uint32_t last = notes_.calls.load() + kSearchCallsMax;
    for (int round = 0; round < 200 && notes_.calls.load() < last && Clock::now() < until; ++round) {
      std::string bytes;
      const uint32_t from = round % 4 == 3 ? DRAGOMAN_FROM_SERVER : DRAGOMAN_FROM_CLIENT;
      while (bytes.size() < 512 && notes_.calls.load() < last) {
        dragoman_frame f;
        bool grown = false;
        const auto first = static_cast<uint8_t>(round % 2 == 0 ? random_() % 4 : random_());
        for (int i = 0; i < 256 && !grown; ++i) {
          bytes.push_back(static_cast<char>(first + i));
          int verdict = probe(bytes, f, from);
          grown = verdict == DRAGOMAN_NEED || verdict == DRAGOMAN_FRAME;
          if (!grown) bytes.pop_back();
          if (verdict != DRAGOMAN_FRAME) continue;
          if (f.head_len > bytes.size() && f.head_len <= 4096) {
            bytes.resize(f.head_len);
            if (probe(bytes, f, from) != DRAGOMAN_FRAME) break;
          }
          keep(bytes, f);
          grown = false;
          i = 256;
        }
        if (!grown) break;
      }
    }
  }

  /// Lets a function write, with less room than it needs at first.
  std::string write(const char* function, const std::string& about,
                    const std::function<int64_t(uint8_t* out, uint64_t cap)>& f) {
    std::string made;
    for (size_t room : {size_t{0}, size_t{7}, size_t{4096}}) {
      int64_t n = call(function, about, [&] { return f(out_.last(room), room); });
      if (n > 0 && static_cast<size_t>(n) <= room)
        made.assign(reinterpret_cast<const char*>(out_.last(room)), static_cast<size_t>(n));
    }
    return made;
  }

  void control() {
    for (uint32_t variant : {0u, 1u}) {
      if (t_.heartbeat)
        try_bytes(write("heartbeat", "", [&](uint8_t* out, uint64_t cap) {
          return t_.heartbeat(t_.context, fresh_conn(), variant, 7, out, cap);
        }));
      if (t_.goaway)
        try_bytes(write("goaway", "",
                        [&](uint8_t* out, uint64_t cap) {
                          return t_.goaway(t_.context, fresh_conn(), variant, out, cap);
                        }),
                  DRAGOMAN_FROM_SERVER);
    }
  }

  /// Everything that may be asked about a head.
  void use(const Found& frame) {
    const std::string head = frame.bytes.substr(0, frame.f.head_len);
    dragoman_frame f = frame.f;
    const uint8_t* p = nullptr;
    auto ready = [&] {  // the connection has seen the frame
      probe(frame.bytes, f, frame.f.from);
      f = frame.f;
      p = shown_.show(head);
      return t_.conn_state_size ? static_cast<void*>(conn_) : nullptr;
    };
    const bool message = f.kind <= DRAGOMAN_RESPONSE;
    for (uint32_t want : {0u, +kWantAll}) {
      if (!message) break;
      void* conn = ready();
      dragoman_view v{};
      v.size = sizeof v;
      v.header = [](void*, dragoman_bytes, dragoman_bytes) {};
      v.attribute = [](void*, uint32_t, dragoman_bytes) {};
      call("view", head, [&] { return t_.view(t_.context, conn, p, &f, want, &v); });
    }
    if (f.kind == DRAGOMAN_RESPONSE) {
      void* conn = ready();
      call("outcome", head, [&] { return t_.outcome(t_.context, conn, p, &f); });
      dragoman_bytes text{};
      if (t_.status_text)
        call("status_text", head, [&] { return t_.status_text(t_.context, conn, p, &f, &text); });
    }
    static const std::string kTexts[] = {"", "no endpoint is healthy", std::string(3000, 'x')};
    for (uint32_t outcome = DRAGOMAN_OUTCOME_CLIENT_ERROR;
         f.kind == DRAGOMAN_REQUEST && outcome <= DRAGOMAN_OUTCOME_RATE_LIMITED; ++outcome)
      for (const std::string& text : kTexts) {
        void* conn = ready();
        try_bytes(write("reply", head,
                        [&](uint8_t* out, uint64_t cap) {
                          return t_.reply(t_.context, conn, p, &f, outcome, bytes_of(text), out, cap);
                        }),
                  DRAGOMAN_FROM_SERVER);
      }
    static const std::string kLong(3000, 'v');
    const dragoman_edit edits[] = {{DRAGOMAN_EDIT_SET, 0, bytes_of("x-trial"), bytes_of("1")},
                                   {DRAGOMAN_EDIT_ADD, 0, bytes_of("a=b\n:"), bytes_of("\r\n")},
                                   {DRAGOMAN_EDIT_REMOVE, 0, bytes_of("x-trial"), bytes_of("")},
                                   {DRAGOMAN_EDIT_SET, 0, bytes_of("x-long"), bytes_of(kLong)}};
    if (t_.edit && message)
      for (uint32_t count : {1u, 2u, static_cast<uint32_t>(std::size(edits))}) {
        void* conn = ready();
        write("edit", head, [&](uint8_t* out, uint64_t cap) {
          return t_.edit(t_.context, conn, p, &f, edits, count, out, cap);
        });
      }
    if (t_.set_id && f.id_type >= DRAGOMAN_ID_BYTES && message) {
      const uint8_t number[8] = {0, 0, 0, 0, 0, 0, 0, 9};
      const std::string text = "00000000000000af";
      for (dragoman_bytes id : {dragoman_bytes{number, 8}, bytes_of(text)}) {
        if ((f.id_type == DRAGOMAN_ID_CODED) != (id.len == 8)) continue;
        void* conn = ready();
        write("set_id", head,
              [&](uint8_t* out, uint64_t cap) { return t_.set_id(t_.context, conn, p, &f, id, out, cap); });
      }
    }
    if (t_.heartbeat_reply && f.kind == DRAGOMAN_HEARTBEAT) {
      void* conn = ready();
      try_bytes(write("heartbeat_reply", head,
                      [&](uint8_t* out, uint64_t cap) {
                        return t_.heartbeat_reply(t_.context, conn, p, &f, out, cap);
                      }),
                DRAGOMAN_FROM_SERVER);
    }
    if (t_.checksum && f.checksum == DRAGOMAN_CHECKSUM_CUSTOM && f.total_len == head.size())
      for (int fix : {0, 1}) {
        void* conn = ready();
        auto* bytes = const_cast<uint8_t*>(p);
        call("checksum", head, [&] { return t_.checksum(t_.context, conn, bytes, &f, fix); });
      }
    if (t_.extent && f.total_len == DRAGOMAN_LENGTH_UNKNOWN) {
      void* conn = ready();
      const std::string body = noise(100);
      p = shown_.show(body);
      uint64_t used = 0;
      call("extent", body, [&] { return t_.extent(t_.context, conn, &f, 0, p, body.size(), &used); });
    }
  }

  /// Frames cut short, and with bytes changed.
  void change(const Found& frame) {
    const std::string& bytes = frame.bytes;
    dragoman_frame f;
    for (size_t n = 1; n < std::min<size_t>(bytes.size(), 300); ++n)
      probe(bytes.substr(0, n), f, frame.f.from);
    for (int i = 0; i < 60; ++i) {
      static constexpr uint8_t kEdges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
      std::string other = bytes;
      for (uint32_t n = 1 + random_() % 3; n > 0; --n)
        other[random_() % other.size()] =
            static_cast<char>(random_() % 2 ? kEdges[random_() % std::size(kEdges)] : random_());
      if (probe(other, f, frame.f.from) == DRAGOMAN_FRAME && is_whole_head(f, other.size())) use({other, f});
    }
  }

  static constexpr uint32_t kWantAll =
      DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD | DRAGOMAN_WANT_HEADERS | DRAGOMAN_WANT_BODY;
  const dragoman_codec& t_;
  TrialNotes& notes_;
  Fenced shown_, out_;
  alignas(16) uint8_t conn_[DRAGOMAN_CONN_STATE_MAX] = {};
  std::minstd_rand random_{7};
  std::vector<Found> found_;
  size_t of_kind_[DRAGOMAN_STREAM_CANCEL + 1] = {};
};

}  // namespace

void call_everything(const dragoman_codec& table, TrialNotes& notes) {
  noted = &notes;
  signal(SIGPROF, on_tick);
  itimerval tick{};
  tick.it_value.tv_usec = tick.it_interval.tv_usec = kTickMs * 1000;
  setitimer(ITIMER_PROF, &tick, nullptr);
  Caller(table, notes).run();
  setitimer(ITIMER_PROF, nullptr, nullptr);
}

}  // namespace dragoman
