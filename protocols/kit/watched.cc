#include "protocols/kit/watched.h"

#include <csetjmp>
#include <csignal>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include "protocols/kit/run.h"

namespace dragoman::kit {

namespace {

constexpr size_t kFenceBytes = 1 << 20;  // room for what is shown to a codec, or written by it
constexpr size_t kFencePages = 32;       // that can't be touched, behind it
constexpr int kTickMs = 250;             // a call that takes two of these does not return

thread_local sigjmp_buf* back = nullptr;
// No system call for each call into a codec: one timer ticks, and looks whether the call is still the same.
thread_local volatile sig_atomic_t this_call = 0;
thread_local volatile sig_atomic_t call_at_tick = 0;

thread_local const uint8_t* fault_at = nullptr;

void on_signal(int signal, siginfo_t* info, void*) {
  fault_at = static_cast<const uint8_t*>(info->si_addr);
  if (signal == SIGVTALRM) {
    const bool same = back && call_at_tick == this_call;
    call_at_tick = this_call;
    if (!same) return;
  }
  if (back) siglongjmp(*back, signal);
  _exit(128 + signal);
}

}  // namespace

struct Watched::Fence {
  explicit Fence(const dragoman_codec& t) : codec(t) {
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    for (uint8_t** area : {&memory, &outbox}) {
      void* got = mmap(nullptr, kFenceBytes + kFencePages * page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (got == MAP_FAILED) continue;
      *area = static_cast<uint8_t*>(got);
      mprotect(*area + kFenceBytes, kFencePages * page, PROT_NONE);
    }
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_NODEFER | SA_SIGINFO;
    for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &action, &before[i]);
    timer(kTickMs);
  }
  ~Fence() {
    timer(0);
    for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &before[i], nullptr);
    for (uint8_t* area : {memory, outbox})
      if (area) munmap(area, kFenceBytes + kFencePages * static_cast<size_t>(sysconf(_SC_PAGESIZE)));
  }

  void note(const char* rule, std::string what) {
    if (!violation) violation = Violation{rule, std::move(what)};
  }

  /// Runs one call into the codec; false when it crashed or did not return.
  template <class F>
  bool call(const char* function, F&& f) {
    if (hung) return false;  // it would take as long each time
    sigjmp_buf here;
    this_call = (this_call + 1) & 0xffffff;
    int signal = sigsetjmp(here, 0);
    if (signal == 0) {
      back = &here;
      f();
    }
    back = nullptr;
    if (signal == 0) return true;
    const std::string name = function;
    hung = signal == SIGVTALRM;
    if (hung)
      note("returns", name + "() does not return");
    else if (signal == SIGSEGV && outbox && fault_at >= outbox + kFenceBytes &&
             fault_at < outbox + kFenceBytes + (kFencePages << 12))
      note("cap", name + "() writes more than there is room for");
    else if (signal == SIGSEGV || signal == SIGBUS)
      note("bounds", name + "() reads or writes outside the bytes it was given");
    else
      note("returns", name + "() crashes: " + strsignal(signal));
    return false;
  }
  static void timer(int ms) {
    itimerval value{};
    value.it_value.tv_usec = value.it_interval.tv_usec = ms * 1000;
    setitimer(ITIMER_VIRTUAL, &value, nullptr);
  }

  /// A copy of `n` bytes right before the unreadable page; the bytes themselves when they are too many.
  const uint8_t* show(const uint8_t* p, uint64_t n) {
    if (!memory || n > kFenceBytes) return p;
    uint8_t* at = memory + kFenceBytes - n;
    if (n > 0) std::memcpy(at, p, static_cast<size_t>(n));
    return at;
  }
  void unchanged(const char* function, const uint8_t* shown, const uint8_t* p, uint64_t n) {
    if (shown != p && n > 0 && std::memcmp(shown, p, static_cast<size_t>(n)) != 0)
      note("const", std::string(function) + "() changes the bytes it was shown");
  }

  /// A function that writes: within its buffer, the same length with any buffer, a possible one.
  template <class F>
  int64_t write(const char* function, const uint8_t* head, uint64_t head_len, uint8_t* out, uint64_t cap,
                F&& f) {
    const std::string name = function;
    const uint8_t* shown = show(head, head_len);
    auto attempt = [&](uint64_t room, std::vector<uint8_t>& made) -> int64_t {
      if (!outbox || room > kFenceBytes) return -1;
      uint8_t* to = outbox + kFenceBytes - room;
      int64_t n = -1;
      if (!call(function, [&] { n = f(shown, to, room); })) return -1;
      made.assign(to, to + (n > 0 && static_cast<uint64_t>(n) <= room ? n : 0));
      return n;
    };
    std::vector<uint8_t> buffer, again;
    int64_t n = attempt(cap, buffer);
    unchanged(function, shown, head, head_len);
    if (n > 0 && static_cast<uint64_t>(n) <= cap) {
      // With too little room it must still say how much it needs.
      int64_t small = attempt(static_cast<uint64_t>(n) / 2, again);
      if (small != n)
        note("cap-length", name + "() needs " + std::to_string(n) + " bytes, but says " +
             std::to_string(small) +
                               " when there is room for " + std::to_string(n / 2));
      int64_t second = attempt(cap, again);
      if (second != n || !std::equal(buffer.begin(), buffer.begin() + n, again.begin()))
        note("pure", name + "() gives another answer the second time");
      std::memcpy(out, buffer.data(), static_cast<size_t>(n));
    }
    return n;
  }

  int probe(void* conn, const uint8_t* data, uint64_t len, dragoman_frame* out) {
    const dragoman_frame asked = *out;
    auto once = [&](dragoman_frame& f) {
      int verdict = DRAGOMAN_MALFORMED;
      const uint8_t* shown = show(data, len);
      if (!call("probe", [&] { verdict = codec.probe(codec.context, conn, shown, len, &f); })) {
        f = asked;
        f.reason = "the codec crashed";
        return +DRAGOMAN_MALFORMED;
      }
      unchanged("probe", shown, data, len);
      return verdict;
    };
    int verdict = once(*out);
    dragoman_frame second = asked;
    int again = once(second);
    if (again != verdict || second.total_len != out->total_len || second.head_len != out->head_len ||
        second.kind != out->kind || second.id != out->id || second.need != out->need)
      note("pure", "probe() says " + std::string(verdict_name(again)) + " of bytes of which it said " +
                       verdict_name(verdict) + " before, or describes another frame");
    check_probe(verdict, len, *out);
    return verdict;
  }

  void check_probe(int verdict, uint64_t len, const dragoman_frame& f) {
    auto number = [](uint64_t v) { return std::to_string(v); };
    switch (verdict) {
      case DRAGOMAN_NEED:
        if (f.need <= len) note("progress", "probe() needs " + number(f.need) + " bytes and has " +
                                number(len));
        if (f.need > codec.head_bytes_max)
          note("progress", "probe() needs " + number(f.need) + " bytes, but no head is longer than " +
                               number(codec.head_bytes_max));
        return;
      case DRAGOMAN_MALFORMED:
      case DRAGOMAN_TOO_BIG:
      case DRAGOMAN_UNSUPPORTED:
        if (!f.reason) note("reason", "probe() refuses without a reason");
        return;
      case DRAGOMAN_NOT_MINE:
        return;
      case DRAGOMAN_FRAME:
        break;
      default:
        return note("verdict", "probe() answers " + std::to_string(verdict));
    }
    if (f.total_len == 0) note("frame", "a frame of no bytes");
    if (f.head_len == 0 || f.head_len > f.total_len)
      note("frame", "a head of " + number(f.head_len) + " bytes in a frame of " + number(f.total_len));
    if (f.head_len > codec.head_bytes_max)
      note("head-max", "a head of " + number(f.head_len) + " bytes, but no head is longer than " +
                           number(codec.head_bytes_max));
    if (f.kind < DRAGOMAN_REQUEST || f.kind > DRAGOMAN_STREAM_CANCEL)
      note("frame", "a frame of kind " + number(f.kind));
    const bool has_id = f.id_type != DRAGOMAN_ID_NONE;
    const bool id_inside = f.id_offset <= f.head_len && f.id_len <= f.head_len - f.id_offset;
    if (f.id_type > DRAGOMAN_ID_CODED || (has_id && !id_inside))
      note("frame", "an id outside the head");
  }

  dragoman_codec codec;
  uint8_t* memory = nullptr;  // what is shown
  uint8_t* outbox = nullptr;  // what is written
  std::optional<Violation> violation;
  bool hung = false;

 private:
  static constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGVTALRM};
  struct sigaction before[std::size(kSignals)];
};

namespace {

using Fence = Watched::Fence;

Fence& fence(const void* context) { return *static_cast<Fence*>(const_cast<void*>(context)); }

/// Passes on what view() finds, as parts of the caller's head.
struct ViewFence {
  Fence& fence;
  const uint8_t* head;
  const uint8_t* shown;
  uint64_t len;
  dragoman_view* to;

  bool inside(const dragoman_bytes& b) const {
    auto at = reinterpret_cast<uintptr_t>(b.data), begin = reinterpret_cast<uintptr_t>(shown);
    return b.len == 0 || (at >= begin && b.len <= len && at - begin <= len - b.len);
  }
  /// Service and method may also stand in the connection's memory.
  dragoman_bytes moved_name(dragoman_bytes b, const char* what, const void* conn) const {
    auto at = reinterpret_cast<uintptr_t>(b.data), begin = reinterpret_cast<uintptr_t>(conn);
    const uint64_t size = fence.codec.conn_state_size;
    if (conn && b.len > 0 && at >= begin && b.len <= size && at - begin <= size - b.len) return b;
    return moved(b, what);
  }
  dragoman_bytes moved(dragoman_bytes b, const char* what) const {
    if (b.len == 0) return {head, 0};
    if (!inside(b)) {
      fence.note("view", std::string("view() gives a ") + what + " outside the head");
      return {head, 0};
    }
    return {head + (b.data - shown), b.len};
  }
  static void header(void* ctx, dragoman_bytes name, dragoman_bytes value) {
    auto& self = *static_cast<ViewFence*>(ctx);
    dragoman_bytes n = self.moved(name, "name"), v = value;
    if (value.len == 0 || self.inside(value))
      v = self.moved(value, "value");
    else if (!value.data || value.len > self.fence.codec.head_bytes_max)
      v = self.moved(value, "value that can't be");
    if (self.to->header) self.to->header(self.to->ctx, n, v);
  }
  static void attribute(void* ctx, uint32_t index, dragoman_bytes value) {
    auto& self = *static_cast<ViewFence*>(ctx);
    if (index >= self.fence.codec.attribute_count)
      return self.fence.note("view", "view() gives an attribute that the table does not name");
    if (value.len > 0 && self.inside(value)) value = self.moved(value, "value");
    if (self.to->attribute) self.to->attribute(self.to->ctx, index, value);
  }
};

int watched_view(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame,
                 uint32_t want,
                 dragoman_view* out) {
  Fence& f = fence(context);
  const uint8_t* shown = f.show(head, frame->head_len);
  ViewFence view_fence{f, head, shown, frame->head_len, out};
  dragoman_view v = *out;
  v.ctx = &view_fence;
  v.header = out->header ? ViewFence::header : nullptr;
  v.attribute = out->attribute ? ViewFence::attribute : nullptr;
  int result = -1;
  if (!f.call("view", [&] { result = f.codec.view(f.codec.context, conn, shown, frame, want,
                                                  &v); })) return -1;
  f.unchanged("view", shown, head, frame->head_len);
  out->flags = v.flags;
  out->service = view_fence.moved_name(v.service, "service", conn);
  out->method = view_fence.moved_name(v.method, "method", conn);
  return result;
}

uint32_t watched_outcome(const void* context, void* conn, const uint8_t* head, const dragoman_frame* frame) {
  Fence& f = fence(context);
  const uint8_t* shown = f.show(head, frame->head_len);
  uint32_t outcome = DRAGOMAN_OUTCOME_UNKNOWN;
  if (!f.call("outcome", [&] { outcome = f.codec.outcome(f.codec.context, conn, shown,
                                                         frame); })) return outcome;
  f.unchanged("outcome", shown, head, frame->head_len);
  if (outcome > DRAGOMAN_OUTCOME_RATE_LIMITED) f.note("outcome",
                                                      "outcome() answers " + std::to_string(outcome));
  return outcome;
}

}  // namespace

Watched::Watched(const dragoman_codec& original) : fence_(std::make_unique<Fence>(original)),
    table_(original) {
  table_.context = fence_.get();
  table_.probe = [](const void* c, void* conn, const uint8_t* data, uint64_t len, dragoman_frame* out) {
    return fence(c).probe(conn, data, len, out);
  };
  table_.view = watched_view;
  table_.outcome = watched_outcome;
  table_.reply = [](const void* c, void* conn, const uint8_t* head, const dragoman_frame* frame,
                    uint32_t outcome,
                    dragoman_bytes text, uint8_t* out, uint64_t cap) -> int64_t {
    const dragoman_codec& t = fence(c).codec;
    return fence(c).write("reply", head, frame->head_len, out, cap, [&](const uint8_t* h, uint8_t* o,
                                                                        uint64_t room) {
      return t.reply(t.context, conn, h, frame, outcome, text, o, room);
    });
  };
  if (original.edit)
    table_.edit = [](const void* c, void* conn, const uint8_t* head, const dragoman_frame* frame,
                     const dragoman_edit* edits, uint32_t count, uint8_t* out, uint64_t cap) -> int64_t {
      const dragoman_codec& t = fence(c).codec;
      return fence(c).write("edit", head, frame->head_len, out, cap,
                            [&](const uint8_t* h, uint8_t* o, uint64_t room) {
                              return t.edit(t.context, conn, h, frame, edits, count, o, room);
                            });
    };
  if (original.heartbeat)
    table_.heartbeat = [](const void* c, void* conn, uint32_t variant, uint64_t id, uint8_t* out,
                          uint64_t cap) -> int64_t {
      const dragoman_codec& t = fence(c).codec;
      return fence(c).write("heartbeat", nullptr, 0, out, cap, [&](const uint8_t*, uint8_t* o,
                                                                   uint64_t room) {
        return t.heartbeat(t.context, conn, variant, id, o, room);
      });
    };
  if (original.heartbeat_reply)
    table_.heartbeat_reply = [](const void* c, void* conn, const uint8_t* head, const dragoman_frame* frame,
                                uint8_t* out, uint64_t cap) -> int64_t {
      const dragoman_codec& t = fence(c).codec;
      return fence(c).write("heartbeat_reply", head, frame->head_len, out, cap,
                            [&](const uint8_t* h, uint8_t* o, uint64_t room) {
                              return t.heartbeat_reply(t.context, conn, h, frame, o, room);
                            });
    };
  if (original.goaway)
    table_.goaway = [](const void* c, void* conn, uint32_t variant, uint8_t* out, uint64_t cap) -> int64_t {
      const dragoman_codec& t = fence(c).codec;
      return fence(c).write("goaway", nullptr, 0, out, cap, [&](const uint8_t*, uint8_t* o, uint64_t room) {
        return t.goaway(t.context, conn, variant, o, room);
      });
    };
  if (original.set_id)
    table_.set_id = [](const void* c, void* conn, const uint8_t* head, const dragoman_frame* frame,
                       dragoman_bytes id, uint8_t* out, uint64_t cap) -> int64_t {
      const dragoman_codec& t = fence(c).codec;
      return fence(c).write("set_id", head, frame->head_len, out, cap,
                            [&](const uint8_t* h, uint8_t* o, uint64_t room) {
                              return t.set_id(t.context, conn, h, frame, id, o, room);
                            });
    };
  if (original.checksum)
    table_.checksum = [](const void* c, void* conn, uint8_t* bytes, const dragoman_frame* frame, int fix) {
      Fence& f = fence(c);
      auto* shown = const_cast<uint8_t*>(f.show(bytes, frame->total_len));
      int result = 0;
      if (!f.call("checksum", [&] { result = f.codec.checksum(f.codec.context, conn, shown, frame,
                                                              fix); })) return 0;
      if (!fix) f.unchanged("checksum", shown, bytes, frame->total_len);
      if (fix && shown != bytes) std::memcpy(bytes, shown, static_cast<size_t>(frame->total_len));
      return result;
    };
  if (original.status_text)
    table_.status_text = [](const void* c, void* conn, const uint8_t* head, const dragoman_frame* frame,
                            dragoman_bytes* out) {
      Fence& f = fence(c);
      const uint8_t* shown = f.show(head, frame->head_len);
      int result = -1;
      if (!f.call("status_text",
                  [&] { result = f.codec.status_text(f.codec.context, conn, shown, frame, out); }))
        return -1;
      f.unchanged("status_text", shown, head, frame->head_len);
      if (result != 0) return result;
      if (out->data < shown || out->len > frame->head_len ||
          static_cast<uint64_t>(out->data - shown) > frame->head_len - out->len) {
        f.note("outcome", "status_text() gives a status outside the head");
        return -1;
      }
      out->data = head + (out->data - shown);
      return 0;
    };
  if (original.extent)
    table_.extent = [](const void* c, void* conn, const dragoman_frame* frame, uint64_t offset,
                       const uint8_t* data,
                       uint64_t len, uint64_t* used) {
      Fence& f = fence(c);
      const uint8_t* shown = f.show(data, len);
      int result = DRAGOMAN_MALFORMED;
      if (!f.call("extent", [&] { result = f.codec.extent(f.codec.context, conn, frame, offset, shown, len,
                                                          used); }))
        return +DRAGOMAN_MALFORMED;
      f.unchanged("extent", shown, data, len);
      if (result == DRAGOMAN_FRAME && (*used == 0 || *used > len))
        f.note("progress", "extent() uses " + std::to_string(*used) + " of " + std::to_string(len) +
               " bytes");
      return result;
    };
}

Watched::~Watched() = default;

std::optional<Violation> Watched::take() { return std::exchange(fence_->violation, std::nullopt); }

}  // namespace dragoman::kit
