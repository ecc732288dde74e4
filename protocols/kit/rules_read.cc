// Rules of the functions that read: probe(), view(), outcome().
#include <algorithm>
#include <random>

#include "protocols/kit/run.h"

namespace dragoman::kit {
namespace {

bool same(const dragoman_frame& a, const dragoman_frame& b) { return difference(a, b).empty(); }

/// What a field of an expectation should be compared with; nothing for a name that there is not.
std::optional<std::string> actual(Run& run, const Frame& frame, const Seen& seen, const std::string& name) {
  if (name == "id") {
    if (frame.f.id_type != DRAGOMAN_ID_BYTES) return std::to_string(frame.f.id);
    return frame.bytes.substr(frame.f.id_offset, frame.f.id_len);
  }
  if (name == "total_len") return std::to_string(frame.bytes.size());
  if (name == "head_len") return std::to_string(frame.f.head_len);
  if (name == "timeout_ms") return std::to_string(frame.f.timeout_ms);
  if (name == "status") return status_of(run.t, frame);
  if (name == "variant") return std::to_string(frame.f.variant);
  if (name == "service") return seen.service;
  if (name == "method") return seen.method;
  if (name == "outcome") {
    State state(run.t);
    return outcome_name(run.t.outcome(run.t.context, state.get(), bytes_at(frame.bytes), &frame.f));
  }
  if (name.starts_with("header.")) {
    const std::string* value = seen.find(name.substr(7));
    return value ? *value : "(none)";
  }
  return std::nullopt;
}

bool has_head(const Frame& frame) {
  return frame.f.kind == DRAGOMAN_REQUEST || frame.f.kind == DRAGOMAN_ONEWAY ||
      frame.f.kind == DRAGOMAN_RESPONSE;
}

/// `what`: the vector, and which of its frames.
void check_expected(Run& run, const std::string& what, const Expectation& e, const Frame& frame) {
  if (e.kind != kind_name(frame.f.kind))
    return run.fail("decode", what + " is a " + kind_name(frame.f.kind) + ", not a " + e.kind, frame.bytes);
  State state(run.t);
  Seen seen;
  if (has_head(frame)) seen = view(run.t, state, frame);
  for (const auto& [name, wanted] : e.fields) {
    auto found = actual(run, frame, seen, name);
    if (!found)
      run.fail("decode", what + " expects " + name + ", which the kit does not know", frame.bytes);
    else if (*found != wanted)
      run.fail("decode", what + ": " + name + " is \"" + *found + "\", not \"" + wanted + "\"", frame.bytes);
  }
}

void decode(Run& run) {
  for (const Vector& v : run.vectors) {
    if (v.bad) continue;
    std::string rest;
    std::vector<Frame> frames = all_frames(run.t, v.bytes, v.from, &rest);
    if (!rest.empty()) {
      State state(run.t);
      dragoman_frame f;
      int verdict = probe(run.t, state, rest, v.from, f);
      run.fail("decode",
               v.name + " is not made of whole frames: the answer to what begins at " +
                   std::to_string(v.bytes.size() - rest.size()) + " is " + verdict_name(verdict) +
                   (f.reason ? std::string(" (") + f.reason + ")" : ""),
               rest);
    }
    if (!v.expected.empty() && v.expected.size() != frames.size())
      run.fail("decode", v.name + " has " + std::to_string(frames.size()) + " frames, not " +
                             std::to_string(v.expected.size()),
               v.bytes);
    size_t at = 0;
    for (size_t i = 0; i < std::min(frames.size(), v.expected.size()); ++i) {
      const std::string what =
          frames.size() == 1 ? v.name
                             : v.name + ", frame " + std::to_string(i + 1) + " at " + std::to_string(at);
      check_expected(run, what, v.expected[i], frames[i]);
      at += frames[i].bytes.size();
    }
    for (Frame& f : frames) run.frames.push_back(std::move(f));
    run.settle(v.bytes);
  }
}

void refuse(Run& run) {
  bool any = false;
  for (const Vector& v : run.vectors) {
    if (!v.bad) continue;
    any = true;
    State state(run.t);
    dragoman_frame f;
    int verdict = probe(run.t, state, v.bytes, v.from, f);
    // What only shows in the head's contents, or in the whole frame.
    bool fits = verdict == DRAGOMAN_FRAME && f.head_len > 0 && f.head_len <= v.bytes.size();
    Frame frame{v.bytes, f};
    if (fits && has_head(frame) && !view(run.t, state, frame).ok) verdict = DRAGOMAN_MALFORMED;
    if (fits && f.checksum == DRAGOMAN_CHECKSUM_CUSTOM && run.t.checksum && f.total_len == v.bytes.size()) {
      std::string copy = v.bytes;
      if (run.t.checksum(run.t.context, state.get(), reinterpret_cast<uint8_t*>(copy.data()), &f, 0) == 0)
        verdict = DRAGOMAN_MALFORMED;
    }
    if (fits && f.checksum == DRAGOMAN_CHECKSUM_CRC32) continue;  // the host's business
    bool whole = verdict == DRAGOMAN_FRAME && f.total_len <= v.bytes.size();
    if (whole) run.fail("refuse", v.name + " is taken for a whole " + kind_name(f.kind), v.bytes);
    if (!v.expected.empty() && v.expected[0].kind != verdict_name(verdict))
      run.fail("refuse", v.name + " is " + verdict_name(verdict) + ", not " + v.expected[0].kind, v.bytes);
    run.settle(v.bytes);
  }
  if (!any) run.skip("refuse", "no vectors called bad-*");
}

/// Every beginning of a frame: more is needed, or it is the same frame already.
void split(Run& run) {
  for (const Frame& frame : run.frames) {
    size_t most = std::min<size_t>(frame.bytes.size(), size_t{frame.f.head_len} + 1);
    for (size_t n = 1; n <= most; ++n) {
      State state(run.t);
      std::string part = frame.bytes.substr(0, n);
      dragoman_frame f;
      int verdict = probe(run.t, state, part, frame.f.from, f);
      if (!run.settle(part)) break;
      if (verdict == DRAGOMAN_NEED) {
        if (f.need > frame.bytes.size()) {
          run.fail("progress", "with " + std::to_string(n) + " bytes it needs " + std::to_string(f.need) +
                                   " of a frame of " + std::to_string(frame.bytes.size()),
                   frame.bytes);
          break;
        }
        continue;
      }
      // While the head is incomplete its length may be a guess; the host asks again.
      bool like = n < frame.f.head_len ? f.kind == frame.f.kind && f.total_len == frame.f.total_len &&
          f.id == frame.f.id
                                       : same(f, frame.f);
      if (verdict != DRAGOMAN_FRAME || !like) {
        run.fail("split",
                 "the first " + std::to_string(n) + " bytes are " +
                     (verdict == DRAGOMAN_FRAME ? "another frame: " + difference(f, frame.f)
                                                : std::string(verdict_name(verdict)) +
                                                      (f.reason ? std::string(": ") + f.reason : "")),
                 frame.bytes);
        break;
      }
    }
    // Asked often, with memory of the connection: the answer must not depend on how often.
    State state(run.t);
    dragoman_frame once, often;
    int first = probe(run.t, state, frame.bytes, frame.f.from, once);
    for (int i = 0; i < 8; ++i) {
      int verdict = probe(run.t, state, frame.bytes, frame.f.from, often);
      if (verdict != first || !same(once, often))
        run.fail("pure", "probe() says something else of the same bytes the next time", frame.bytes);
    }
    run.settle(frame.bytes);
  }
}

void ids(Run& run) {
  bool any = false;
  for (const Frame& frame : run.frames) {
    const dragoman_frame& f = frame.f;
    if (f.id_type != DRAGOMAN_ID_BE && f.id_type != DRAGOMAN_ID_LE) continue;
    any = true;
    uint64_t id = 0;
    for (uint32_t i = 0; i < f.id_len; ++i) {
      uint32_t at = f.id_type == DRAGOMAN_ID_BE ? i : f.id_len - 1 - i;
      id = id << 8 | static_cast<uint8_t>(frame.bytes[f.id_offset + at]);
    }
    if (f.id_len != run.t.id_len)
      run.fail("id-place", "an id of " + std::to_string(f.id_len) + " bytes, but the table says " +
                               std::to_string(run.t.id_len),
               frame.bytes);
    else if (id != f.id)
      run.fail("id-place", "the id is " + std::to_string(f.id) + ", but where it should be is " +
               std::to_string(id),
               frame.bytes);
  }
  if (!any) run.skip("id-place", "no integer ids");
}

void views(Run& run) {
  bool service = false, method = false, headers = false, requests = false;
  for (const Frame& frame : run.frames) {
    if (!has_head(frame)) continue;
    State state(run.t);
    Seen all = view(run.t, state, frame);
    if (!run.settle(frame.bytes)) continue;
    if (!all.ok) run.fail("view", "view() refuses the head of a good frame", frame.bytes);
    if (frame.f.kind != DRAGOMAN_RESPONSE) {
      requests = true;
      service = service || !all.service.empty();
      method = method || !all.method.empty();
      headers = headers || !all.headers.empty() || all.opaque;
    }
    for (uint32_t want : {+DRAGOMAN_WANT_SERVICE, +DRAGOMAN_WANT_METHOD, +DRAGOMAN_WANT_HEADERS}) {
      State other(run.t);
      dragoman_frame f;
      if (probe(run.t, other, frame.bytes, frame.f.from, f, want | DRAGOMAN_WANT_BODY) != DRAGOMAN_FRAME ||
          f.head_len > frame.bytes.size())
        continue;
      Seen some = view(run.t, other, Frame{frame.bytes, f}, want | DRAGOMAN_WANT_BODY);
      bool right = want == DRAGOMAN_WANT_SERVICE  ? some.service == all.service
                   : want == DRAGOMAN_WANT_METHOD ? some.method == all.method
                                                  : some.headers == all.headers;
      if (!right)
        run.fail("want", "view() gives something else when only " +
                             std::string(want == DRAGOMAN_WANT_SERVICE  ? "the service"
                                         : want == DRAGOMAN_WANT_METHOD ? "the method"
                                                                        : "headers") +
                             " is wanted",
                 frame.bytes);
    }
    if (frame.f.kind == DRAGOMAN_RESPONSE)
      static_cast<void>(run.t.outcome(run.t.context, state.get(), bytes_at(frame.bytes), &frame.f));
    run.settle(frame.bytes);
  }
  if (!requests) return run.skip("lacks", "no vectors of requests");
  auto lacks = [&](uint32_t bit, bool seen, const char* what) {
    bool said = run.t.lacks & bit;
    if (said && seen) run.fail("lacks", std::string("the table says that there are no ") + what +
                               ", but there are", "");
    if (!said && !seen)
      run.fail("lacks", std::string("no request has any ") + what +
               ": should the table say that it lacks them?", "");
  };
  lacks(DRAGOMAN_WANT_SERVICE, service, "services");
  lacks(DRAGOMAN_WANT_METHOD, method, "methods");
  lacks(DRAGOMAN_WANT_HEADERS, headers, "headers");
}

/// Reads whatever frame `bytes` begin with, as the host would.
void read_all(Run& run, const std::string& bytes, uint32_t from) {
  State state(run.t);
  dragoman_frame f;
  if (bytes.empty() || probe(run.t, state, bytes, from, f) != DRAGOMAN_FRAME) return;
  if (f.head_len == 0 || f.head_len > bytes.size() || f.head_len > f.total_len) return;
  Frame frame{bytes, f};
  if (has_head(frame)) static_cast<void>(view(run.t, state, frame));
  if (f.kind == DRAGOMAN_RESPONSE)
    static_cast<void>(run.t.outcome(run.t.context, state.get(), bytes_at(bytes), &f));
}

/// Each number in a head at the edges of what it can hold, whatever its width and place.
void lengths(Run& run) {
  constexpr size_t kPlacesMax = 96;
  for (const Frame& frame : run.frames) {
    size_t places = std::min<size_t>(frame.f.head_len, kPlacesMax);
    for (size_t width : {1, 2, 4, 8}) {
      for (size_t at = 0; at + width <= places; ++at) {
        for (int edge = 0; edge < 8; ++edge) {
          std::string changed = frame.bytes;
          auto* p = reinterpret_cast<uint8_t*>(changed.data()) + at;
          auto fill = [&](uint8_t first, uint8_t others) {
            for (size_t i = 0; i < width; ++i) p[i] = i == 0 ? first : others;
          };
          switch (edge) {
            case 0: fill(0, 0); break;
            case 1: fill(0xff, 0xff); break;
            case 2: fill(0x7f, 0xff); break;
            case 3: fill(0x80, 0x00); break;
            case 4: p[width - 1]++; break;
            case 5: p[width - 1]--; break;
            case 6: p[0]++; break;
            case 7: p[0]--; break;
          }
          read_all(run, changed, frame.f.from);
          if (!run.settle(changed, "lengths")) return;
        }
      }
    }
  }
}

struct Foreign {
  const char* name;
  std::string_view bytes;
};
using namespace std::string_view_literals;  // the zeros are bytes like others
constexpr std::string_view kHttp2 = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"sv;
constexpr std::string_view kTls =
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x5a\x11\x7c\x20\x99\x41\x02\xd8\x33\x0f\x77"
    "\x56\xaa\x90\x12\x34\x56\x78\x9a\xbc\xde\xf0\x21\x43\x65\x87\xa9\xcb\xed\x0f\x20"sv;
constexpr Foreign kForeign[] = {
    {"HTTP/1.1", "GET /cart/items?id=7 HTTP/1.1\r\nHost: shop.example\r\nAccept: */*\r\n\r\n"},
    {"HTTP/1.1", "POST /cart HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 2\r\n\r\n{}"},
    {"HTTP/2", kHttp2},
    {"TLS", kTls},
    {"SSH", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n"},
    {"SMTP", "EHLO client.example\r\nMAIL FROM:<a@client.example>\r\n"},
    {"Redis", "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"},
};

void detect(Run& run) {
  auto foreign = [&](const std::string& name, const std::string& bytes) {
    State state(run.t);
    dragoman_frame f;
    std::string part = bytes.substr(0, std::min<size_t>(bytes.size(), 64));
    int verdict = probe(run.t, state, part, DRAGOMAN_FROM_UNKNOWN, f);
    run.settle(part);
    if (verdict == DRAGOMAN_FRAME) run.fail("conflict", "takes " + name + " for a " + kind_name(f.kind),
                                            part);
    if (part.size() < run.t.detect_bytes_max) return;
    part.resize(run.t.detect_bytes_max);
    State other(run.t);
    if (probe(run.t, other, part, DRAGOMAN_FROM_UNKNOWN, f) == DRAGOMAN_NEED)
      run.fail("detect", "can't tell " + name + " from its own frames with detect_bytes_max = " +
                             std::to_string(run.t.detect_bytes_max) + " bytes",
               part);
    run.settle(part);
  };
  for (const Foreign& f : kForeign) foreign(f.name, std::string(f.bytes));
  for (const Vector& v : run.options.others)
    if (!v.bad) foreign(v.name, v.bytes);
  for (const dragoman_codec* neighbour : run.options.neighbours) {
    for (const Frame& frame : run.frames) {
      State state(*neighbour);
      dragoman_frame f;
      std::string part = frame.bytes.substr(0, std::min<size_t>(frame.bytes.size(), 64));
      if (probe(*neighbour, state, part, DRAGOMAN_FROM_UNKNOWN, f) == DRAGOMAN_FRAME)
        run.fail("conflict", std::string(neighbour->name) + " takes a " + kind_name(frame.f.kind) +
                 " for a " +
                                 kind_name(f.kind) + " of its own",
                 frame.bytes);
    }
  }
}

}  // namespace

void read_rules(Run& run) {
  decode(run);
  refuse(run);
  split(run);
  ids(run);
  views(run);
  lengths(run);
  detect(run);
}

}  // namespace dragoman::kit
