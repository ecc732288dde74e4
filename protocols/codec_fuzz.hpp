// A fuzz target for any codec: it is asked about the fuzzer's bytes as the host would ask, and whatever
// can't be true ends the run. A file that includes its codec and this, and says
//
//   DRAGOMAN_FUZZ(dragoman_codec_v1())
//
// is complete: clang++ -std=c++20 -g -fsanitize=fuzzer,address,undefined $(pkg-config --cflags
// dragoman-codec) it.cc
#pragma once

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "protocols/plugin.h"

namespace dragoman::codec {

inline void require(bool true_of_it, const char* what) {
  if (true_of_it) return;
  std::fprintf(stderr, "the codec breaks the contract: %s\n", what);
  std::abort();
}

/// Reads the frames that `data` begins with, in memory of exactly their size.
inline void fuzz_once(const dragoman_codec& t, const uint8_t* data, size_t size) {
  alignas(16) uint8_t memory[DRAGOMAN_CONN_STATE_MAX] = {};
  void* conn = t.conn_state_size ? memory : nullptr;
  std::vector<uint8_t> left(data, data + size);
  for (int frames = 0; frames < 16 && !left.empty(); ++frames) {
    dragoman_frame f{};
    f.size = sizeof f;
    f.want = DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_METHOD | DRAGOMAN_WANT_HEADERS |
             DRAGOMAN_WANT_BODY;
    int verdict = t.probe(t.context, conn, left.data(), left.size(), &f);
    require(verdict >= DRAGOMAN_FRAME && verdict <= DRAGOMAN_UNSUPPORTED, "an unknown verdict");
    if (verdict == DRAGOMAN_NEED) require(f.need > left.size() && f.need <= t.head_bytes_max,
                                          "need out of range");
    if (verdict != DRAGOMAN_FRAME) return;
    require(f.head_len > 0 && f.head_len <= f.total_len, "the head's length");
    require(f.kind >= DRAGOMAN_REQUEST && f.kind <= DRAGOMAN_STREAM_CANCEL, "the kind");
    require(f.id_type == DRAGOMAN_ID_NONE || (f.id_offset <= f.head_len &&
                                              f.id_len <= f.head_len - f.id_offset),
            "an id outside the head");
    if (f.head_len > left.size() || f.head_len > t.head_bytes_max) return;
    std::vector<uint8_t> head(left.begin(), left.begin() + f.head_len);
    std::vector<uint8_t> out(4096);
    auto made = [&](int64_t n) { require(n <= 1 << 20, "an answer of impossible length"); };
    if (f.kind == DRAGOMAN_REQUEST || f.kind == DRAGOMAN_ONEWAY || f.kind == DRAGOMAN_RESPONSE) {
      dragoman_view v{};
      v.size = sizeof v;
      v.ctx = &head;
      v.header = [](void* c, dragoman_bytes name, dragoman_bytes value) {
        auto& h = *static_cast<std::vector<uint8_t>*>(c);
        auto inside = [&](dragoman_bytes b) {
          return b.len == 0 || (b.data >= h.data() && b.data + b.len <= h.data() + h.size());
        };
        require(inside(name), "a header outside");
        require(inside(value) || value.len <= h.size(), "a value that is longer than the head");
      };
      v.attribute = [](void*, uint32_t, dragoman_bytes) {};
      bool understood = t.view(t.context, conn, head.data(), &f, f.want, &v) == 0;
      auto* remembered = static_cast<const uint8_t*>(conn);
      for (dragoman_bytes b : {v.service, v.method})
        require(b.len == 0 || (b.data >= head.data() && b.data + b.len <= head.data() + head.size()) ||
                    (b.data >= remembered && b.data + b.len <= remembered + t.conn_state_size),
                "a span outside");
      if (f.kind == DRAGOMAN_RESPONSE)
        require(t.outcome(t.context, conn, head.data(), &f) <= DRAGOMAN_OUTCOME_RATE_LIMITED, "the outcome");
      static const uint8_t text[] = "x-fuzz";
      const dragoman_edit edits[] = {{DRAGOMAN_EDIT_SET, 0, {text, 6}, {text, 3}},
                                     {DRAGOMAN_EDIT_REMOVE, 0, v.method, {text, 0}}};
      if (understood && t.edit) made(t.edit(t.context, conn, head.data(), &f, edits, 2, out.data(),
                                            out.size()));
    }
    if (f.kind == DRAGOMAN_REQUEST)
      made(t.reply(t.context, conn, head.data(), &f, DRAGOMAN_OUTCOME_TIMEOUT, {head.data(),
          head.size() / 2}, out.data(),
                   out.size()));
    if (f.kind == DRAGOMAN_HEARTBEAT && t.heartbeat_reply)
      made(t.heartbeat_reply(t.context, conn, head.data(), &f, out.data(), out.size()));
    uint64_t total = f.total_len;
    if (total == DRAGOMAN_LENGTH_UNKNOWN) {
      if (!t.extent || left.size() == f.head_len) return;
      uint64_t used = 0;
      if (t.extent(t.context, conn, &f, 0, left.data() + f.head_len, left.size() - f.head_len,
                   &used) != DRAGOMAN_FRAME)
        return;
      require(used > 0 && used <= left.size() - f.head_len, "the extent");
      total = f.head_len + used;
    }
    if (total > left.size()) return;
    if (f.checksum == DRAGOMAN_CHECKSUM_CUSTOM && t.checksum) {
      std::vector<uint8_t> whole(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(total));
      t.checksum(t.context, conn, whole.data(), &f, 0);
    }
    left.erase(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(total));
  }
}

}  // namespace dragoman::codec

#define DRAGOMAN_FUZZ(table)                                                \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    static const dragoman_codec* const codec = (table);                     \
    dragoman::codec::fuzz_once(*codec, data, size);                         \
    return 0;                                                               \
  }
