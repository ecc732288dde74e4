#include "protocols/kit/run.h"

#include <algorithm>
#include <cstring>
#include <tuple>

#include "protocols/checksum.h"
#include "proxy/base/cursor.h"
#include "proxy/base/reason.h"

namespace dragoman::kit {
namespace {

bool same_name(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::ranges::equal(a, b, [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace

const std::string* Seen::find(std::string_view name) const {
  for (const auto& [n, v] : headers)
    if (n == name) return &v;
  return nullptr;
}

int probe(const dragoman_codec& t, State& state, const std::string& bytes, uint32_t from, dragoman_frame& f,
          uint32_t want) {
  f = {};
  f.size = sizeof f;
  f.want = want;
  f.from = from;
  return t.probe(t.context, state.get(), bytes_at(bytes), bytes.size(), &f);
}

std::optional<Frame> first_frame(const dragoman_codec& t, State& state, const std::string& bytes,
                                 uint32_t from) {
  Frame frame;
  if (bytes.empty() || probe(t, state, bytes, from, frame.f) != DRAGOMAN_FRAME) return std::nullopt;
  uint64_t total = frame.f.total_len;
  const dragoman_frame& f = frame.f;
  if (f.head_len == 0 || f.head_len > bytes.size() || f.head_len > total) return std::nullopt;
  // What can't be true is another rule's finding, and nothing to go on with.
  if (f.id_type != DRAGOMAN_ID_NONE && (f.id_offset > f.head_len || f.id_len > f.head_len - f.id_offset))
    return std::nullopt;
  if (total == DRAGOMAN_LENGTH_UNKNOWN) {
    if (!t.extent || frame.f.head_len == bytes.size()) return std::nullopt;
    uint64_t used = 0;
    int verdict = t.extent(t.context, state.get(), &frame.f, 0, bytes_at(bytes, frame.f.head_len),
                           bytes.size() - frame.f.head_len, &used);
    if (verdict != DRAGOMAN_FRAME) return std::nullopt;
    total = frame.f.head_len + used;
  }
  if (total == 0 || total > bytes.size()) return std::nullopt;
  frame.bytes = bytes.substr(0, static_cast<size_t>(total));
  return frame;
}

std::vector<Frame> all_frames(const dragoman_codec& t, const std::string& bytes, uint32_t from,
                              std::string* rest) {
  std::vector<Frame> all;
  State state(t);
  std::string left = bytes;
  while (!left.empty()) {
    auto frame = first_frame(t, state, left, from);
    if (!frame) break;
    left.erase(0, frame->bytes.size());
    all.push_back(std::move(*frame));
  }
  if (rest) *rest = left;
  return all;
}

Seen view(const dragoman_codec& t, State& state, const Frame& frame, uint32_t want) {
  struct Context {
    const dragoman_codec& t;
    Seen seen;
    std::vector<std::pair<std::string, std::string>> attributes;
  } context{t, {}, {}};
  auto text = [](dragoman_bytes b) {
    return std::string(reinterpret_cast<const char*>(b.data), b.data ? static_cast<size_t>(b.len) : 0);
  };
  dragoman_view v{};
  v.size = sizeof v;
  v.ctx = &context;
  if (want & DRAGOMAN_WANT_HEADERS) {
    v.header = [](void* c, dragoman_bytes n, dragoman_bytes value) {
      auto copy = [](dragoman_bytes b) {
        return std::string(reinterpret_cast<const char*>(b.data), b.data ? static_cast<size_t>(b.len) : 0);
      };
      static_cast<Context*>(c)->seen.headers.emplace_back(copy(n), copy(value));
    };
    v.attribute = [](void* c, uint32_t index, dragoman_bytes value) {
      auto& self = *static_cast<Context*>(c);
      if (index < self.t.attribute_count)
        self.attributes.emplace_back(
            self.t.attributes[index],
            std::string(reinterpret_cast<const char*>(value.data), static_cast<size_t>(value.len)));
    };
  }
  context.seen.ok = t.view(t.context, state.get(), bytes_at(frame.bytes), &frame.f, want, &v) == 0;
  context.seen.service = text(v.service);
  context.seen.method = text(v.method);
  context.seen.opaque = v.flags & DRAGOMAN_VIEW_OPAQUE;
  if (context.seen.opaque) context.seen.headers.clear();
  for (auto& attribute : context.attributes) {
    std::erase_if(context.seen.headers,
                  [&](const auto& header) { return same_name(header.first, attribute.first); });
    context.seen.headers.push_back(std::move(attribute));
  }
  context.seen.attributes = context.attributes.size();
  return std::move(context.seen);
}

std::string difference(const dragoman_frame& now, const dragoman_frame& before) {
  const std::tuple<const char*, int64_t, int64_t> fields[] = {
      {"kind", now.kind, before.kind},
      {"total_len", static_cast<int64_t>(now.total_len), static_cast<int64_t>(before.total_len)},
      {"head_len", now.head_len, before.head_len},
      {"id_type", now.id_type, before.id_type},
      {"id_offset", now.id_offset, before.id_offset},
      {"id_len", now.id_len, before.id_len},
      {"id", static_cast<int64_t>(now.id), static_cast<int64_t>(before.id)},
      {"timeout_ms", now.timeout_ms, before.timeout_ms},
      {"status", now.status, before.status},
      {"variant", now.variant, before.variant},
      {"checksum", now.checksum, before.checksum},
      {"checksum_offset", static_cast<int64_t>(now.checksum_offset),
       static_cast<int64_t>(before.checksum_offset)},
      {"flags", now.flags, before.flags}};
  for (const auto& [name, a, b] : fields)
    if (a != b) return std::string(name) + " " + std::to_string(a) + ", before " + std::to_string(b);
  return {};
}

std::string status_of(const dragoman_codec& t, const Frame& response) {
  if (!t.status_text) return std::to_string(response.f.status);
  State state(t);
  dragoman_bytes text{};
  if (t.status_text(t.context, state.get(), bytes_at(response.bytes), &response.f, &text) != 0) return "";
  return std::string(reinterpret_cast<const char*>(text.data), static_cast<size_t>(text.len));
}

const char* kind_name(uint32_t kind) {
  static constexpr const char* kNames[] = {"none",          "request", "oneway",      "response",
                                             "heartbeat",
                                           "heartbeat_ack", "goaway",  "stream_data", "stream_end",
                                               "stream_cancel"};
  return kind < std::size(kNames) ? kNames[kind] : "unknown";
}

const char* verdict_name(int verdict) {
  static constexpr const char* kNames[] = {"frame", "need", "not_mine", "malformed", "too_big",
                                           "unsupported"};
  return verdict >= 0 && verdict < static_cast<int>(std::size(kNames)) ? kNames[verdict] : "no verdict";
}

const char* outcome_name(uint32_t outcome) {
  static constexpr const char* kNames[] = {"ok",       "client_error", "server_error", "overloaded",
                                           "timeout",
                                           "unavailable", "no_route",  "denied",       "reset",
                                                    "codec_error",
                                           "too_large", "unknown",     "rate_limited"};
  return outcome < std::size(kNames) ? kNames[outcome] : "out of range";
}

std::optional<std::string> written(const std::function<int64_t(uint8_t* out, uint64_t cap)>& f) {
  constexpr int64_t kMost = 256 << 10;
  std::string out(4096, '\0');
  int64_t n = f(reinterpret_cast<uint8_t*>(out.data()), out.size());
  if (n > static_cast<int64_t>(out.size()) && n <= kMost) {
    out.assign(static_cast<size_t>(n), '\0');
    if (f(reinterpret_cast<uint8_t*>(out.data()), out.size()) != n) return std::nullopt;
  }
  if (n < 0 || n > kMost) return std::nullopt;
  out.resize(static_cast<size_t>(n));
  return out;
}

std::optional<Frame> with_id(const dragoman_codec& t, const Frame& frame, uint64_t id, const std::string&
                             text) {
  const dragoman_frame& f = frame.f;
  std::string head = frame.bytes.substr(0, f.head_len), body = frame.bytes.substr(f.head_len);
  State state(t);
  if (f.id_type == DRAGOMAN_ID_NONE) return frame;
  if (f.id_type == DRAGOMAN_ID_BE || f.id_type == DRAGOMAN_ID_LE) {
    for (uint32_t i = 0; i < f.id_len; ++i) {
      uint32_t shift = 8 * (f.id_type == DRAGOMAN_ID_BE ? f.id_len - 1 - i : i);
      head[f.id_offset + i] = static_cast<char>(id >> shift);
    }
  } else {
    if (!t.set_id) return std::nullopt;
    uint8_t number[8];
    store_be<uint64_t>(number, id);
    dragoman_bytes given = f.id_type == DRAGOMAN_ID_CODED ? dragoman_bytes{number, 8}
                                                          : dragoman_bytes{bytes_at(text), text.size()};
    auto made = written([&](uint8_t* out, uint64_t cap) {
      return t.set_id(t.context, state.get(), bytes_at(head), &f, given, out, cap);
    });
    if (!made) return std::nullopt;
    head = std::move(*made);
  }
  std::string bytes = head + body;
  State again(t);
  auto read = first_frame(t, again, bytes, f.from);
  if (!read || read->bytes.size() != bytes.size()) return std::nullopt;
  Frame changed = std::move(*read);
  if (changed.f.checksum == DRAGOMAN_CHECKSUM_CRC32 && changed.f.checksum_offset + 4 == bytes.size()) {
    auto* p = reinterpret_cast<uint8_t*>(bytes.data());
    store_be<uint32_t>(p + changed.f.checksum_offset,
                       crc32_of(p, static_cast<size_t>(changed.f.checksum_offset)));
  }
  if (changed.f.checksum == DRAGOMAN_CHECKSUM_CUSTOM && t.checksum)
    t.checksum(t.context, again.get(), reinterpret_cast<uint8_t*>(bytes.data()), &changed.f, 1);
  changed.bytes = std::move(bytes);
  return changed;
}

void Run::fail(std::string_view rule, std::string what, const std::string& bytes) {
  Result result;
  result.verdict = Verdict::kFailed;
  result.what = std::move(what);
  result.bytes = bytes;
  failed.emplace(std::string(rule), std::move(result));
}

bool Run::settle(const std::string& bytes, std::string_view as) {
  auto violation = watched.take();
  if (!violation) return true;
  if (as.empty())
    fail(violation->rule, violation->what, bytes);
  else
    fail(as, violation->rule + ": " + violation->what, bytes);
  return false;
}

}  // namespace dragoman::kit
