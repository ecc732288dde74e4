// Descriptors: the compiler on any text, and the shipped descriptors on any bytes.
//
// Input: one byte that chooses.
//   0: the rest is a descriptor. Whatever loads is run over its own text.
//   1..8: the rest is a stream for a shipped descriptor, through the framed host in both roles: fed whole and byte by
//         byte, the answers must be the same.
//   9..: `u8 where, u8 value` changes a shipped descriptor's text, which is then loaded and run over the rest.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/descriptor/descriptor.h"
#include "protocols/framed.h"

namespace {

using namespace dragoman;

#define REQUIRE(condition) \
  do {                     \
    if (!(condition)) {    \
      __builtin_trap();    \
    }                      \
  } while (0)

const char* const kShipped[] = {"bolt1",           "baidu_std", "motan2",    "ttheader",
                                "rocketmq_binary", "bankxml",   "tradeline", "pulse"};

const std::string& text_of(size_t index) {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> all;
    for (const char* name : kShipped) {
      std::ifstream in(std::string(DRAGOMAN_SOURCE_DIR "/protocols/descriptors/") + name + ".yaml");
      all.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
      REQUIRE(!all.back().empty());
    }
    return all;
  }();
  return texts[index % std::size(kShipped)];
}

const dragoman_codec& shipped(size_t index) {
  static const std::vector<descriptor::Loaded> all = [] {
    std::vector<descriptor::Loaded> loaded;
    for (size_t i = 0; i < std::size(kShipped); ++i) {
      loaded.push_back(descriptor::load_string(text_of(i), kShipped[i]));
      REQUIRE(loaded.back().descriptor);
    }
    return loaded;
  }();
  return all[index % std::size(kShipped)].descriptor->table();
}

class Sink final : public ByteSink {
 public:
  std::string take() {
    std::string text(out.size(), '\0');
    out.copy_to(reinterpret_cast<uint8_t*>(text.data()));
    out.clear();
    dirty_ = false;
    return text;
  }

 private:
  void on_dirty() override {}
};

/// Answers every request, at its end.
struct End final : MessageSink {
  Exchange* exchange = nullptr;
  Head* head = nullptr;

  void reply() {
    LocalReply r;
    r.reason = Reason::kNoRoute;
    r.text = "no \"route\" <here>";
    exchange->send_reply(*head, r);
    release();
  }
  void on_head(Head& h, bool end) override {
    size_t read = h.service.size() + h.method.size();
    for (const Header& field : h.headers) read += field.name.size() + field.value.size();
    REQUIRE(read <= 64 * h.wire.size() + 4096);
    head = &h;
    if (end) reply();
  }
  void on_body(std::span<const uint8_t>, bool end) override {
    if (end) reply();
  }
  void on_trailers(HeaderList&) override { REQUIRE(false); }
  void on_reset(Reason) override { release(); }
  void on_write_blocked(bool) override {}
  void release() {
    if (Exchange* x = exchange) {
      exchange = nullptr;
      x->release();
    }
  }
};

struct Connection final : ConnectionEvents {
  Sink sink;
  std::vector<std::unique_ptr<End>> ends;
  bool broken = false;
  std::string reason;
  std::unique_ptr<ConnectionCodec> codec;
  std::vector<uint8_t> buffer;

  explicit Connection(const dragoman_codec& table, Role role) {
    Protocol protocol;
    protocol.table = &table;
    CodecOptions options;
    options.framed.want = 7;
    options.framed.frame_bytes_max = 1 << 20;
    codec = make_framed_codec(protocol, role, sink, *this, options);
  }
  ~Connection() {
    for (auto& e : ends) e->release();
  }
  void feed(std::string_view bytes) {
    if (bytes.empty()) return;
    // At the very end of its memory, so that reading past it is noticed.
    buffer.resize(ConnectionCodec::kHeadroom + bytes.size());
    buffer.shrink_to_fit();
    std::memcpy(buffer.data() + ConnectionCodec::kHeadroom, bytes.data(), bytes.size());
    codec->on_data(buffer.data() + ConnectionCodec::kHeadroom, bytes.size());
  }
  MessageSink* on_exchange(Exchange& x) override {
    ends.push_back(std::make_unique<End>());
    ends.back()->exchange = &x;
    return ends.back().get();
  }
  void on_goaway() override {}
  void on_broken(Reason r, std::string_view detail) override {
    // What the host calls a lie would be the descriptor's fault, never the peer's.
    REQUIRE(!detail.starts_with("codec:"));
    (void)r;
    broken = true;
  }
  void on_finished() override {}
  void on_capacity() override {}
  void pause_reading() override {}
  void resume_reading() override {}
  void on_event(CodecEvent) override {}
  uint64_t now_ms() const override { return 1000; }
};

std::string answers(const dragoman_codec& table, Role role, std::string_view stream, bool whole) {
  Connection c(table, role);
  if (whole)
    c.feed(stream);
  else
    for (char byte : stream) c.feed({&byte, 1});
  return c.sink.take() + (c.broken ? "broken" : "");
}

void run(const dragoman_codec& table, std::string_view stream) {
  stream = stream.substr(0, 2048);
  for (Role role : {Role::kServer, Role::kClient})
    REQUIRE(answers(table, role, stream, true) == answers(table, role, stream, false));
  // What is a request can be edited and given another id, and stays what it is.
  dragoman_frame f{};
  f.size = sizeof f;
  auto* p = reinterpret_cast<const uint8_t*>(stream.data());
  if (stream.empty() || table.probe(table.context, nullptr, p, stream.size(), &f) != DRAGOMAN_FRAME ||
      f.head_len > stream.size())
    return;
  std::vector<uint8_t> head(p, p + f.head_len), out(200'000);
  auto bytes = [](std::string_view s) { return dragoman_bytes{reinterpret_cast<const uint8_t*>(s.data()), s.size()}; };
  dragoman_edit edits[] = {{DRAGOMAN_EDIT_SET, 0, bytes("zone"), bytes("eu")},
                           {DRAGOMAN_EDIT_ADD, 0, bytes("X"), bytes("<1>")},
                           {DRAGOMAN_EDIT_REMOVE, 0, bytes("a"), bytes("")}};
  auto check = [&](int64_t n, bool same_id) {
    if (n <= 0) return;
    REQUIRE(n <= static_cast<int64_t>(out.size()));
    std::vector<uint8_t> changed(out.begin(), out.begin() + n);
    dragoman_frame g{};
    g.size = sizeof g;
    if (table.probe(table.context, nullptr, changed.data(), changed.size(), &g) != DRAGOMAN_FRAME) return;
    REQUIRE(g.kind == f.kind && g.total_len - g.head_len == f.total_len - f.head_len);
    REQUIRE(!same_id || g.id == f.id);
  };
  // The host changes requests and answers only: what else a frame is may rest on its id (TTHeader's goaway has id 0).
  if (f.kind > DRAGOMAN_RESPONSE) return;
  if (table.edit && f.kind != DRAGOMAN_ONEWAY)
    check(table.edit(table.context, nullptr, head.data(), &f, edits, 3, out.data(), out.size()), true);
  if (table.set_id && f.id_type == DRAGOMAN_ID_CODED)
    check(table.set_id(table.context, nullptr, head.data(), &f, bytes({"\0\0\0\0\0\1\2\3", 8}), out.data(), out.size()), false);
  if (table.set_id && f.id_type == DRAGOMAN_ID_BYTES)
    check(table.set_id(table.context, nullptr, head.data(), &f, bytes("00112233445566778899"), out.data(), out.size()), false);
}

void compile(std::string_view text, std::string_view stream) {
  auto loaded = descriptor::load_string(text, "fuzz.yaml");
  REQUIRE((loaded.descriptor == nullptr) == !loaded.diagnostics.empty());
  // Any descriptor that loads keeps the contract on any bytes; whether an edit is possible is another matter.
  if (!loaded.descriptor) return;
  const dragoman_codec& t = loaded.descriptor->table();
  for (size_t n = 1; n <= std::min<size_t>(stream.size(), 64); ++n) {
    std::vector<uint8_t> bytes(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(n));
    dragoman_frame f{};
    f.size = sizeof f;
    int verdict = t.probe(t.context, nullptr, bytes.data(), n, &f);
    if (verdict == DRAGOMAN_NEED) REQUIRE(f.need > n && f.need <= t.head_bytes_max);
    if (verdict == DRAGOMAN_FRAME) REQUIRE(f.head_len > 0 && f.head_len <= f.total_len && f.head_len <= t.head_bytes_max);
  }
  for (Role role : {Role::kServer, Role::kClient}) answers(t, role, stream.substr(0, 1024), true);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 0) {
    compile(rest, rest);
  } else if (data[0] <= std::size(kShipped)) {
    run(shipped(data[0] - 1u), rest);
  } else if (rest.size() >= 2) {
    std::string text = text_of(data[0]);
    auto at = static_cast<size_t>(static_cast<uint8_t>(rest[0])) * text.size() / 256;
    text[at] = rest[1];
    compile(text, rest.substr(2));
  }
  REQUIRE(live_framed_exchanges() == 0);
  return 0;
}
