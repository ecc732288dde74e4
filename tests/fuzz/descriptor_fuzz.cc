// Descriptors: the compiler on any text, and those that are shipped or tested on any bytes.
//
// Input: one byte that chooses.
//   0: the rest is a descriptor. Whatever loads is run over its own text.
//   1..13: the rest is a stream for one of these descriptors, through the framed host in both roles: fed whole and byte by
//         byte, the answers must be the same. What the short way says of it the long way says as well.
//   14..: `u8 where, u8 value` changes such a descriptor's text, which is then loaded and run over the rest.
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
#include "protocols/descriptor/program.h"
#include "tests/fuzz/framed_fuzz_support.h"
#include "tests/fuzz/second_reader.h"
#include "tests/support/source_dir.h"

namespace {

using namespace dragoman;
using namespace dragoman::fuzz;

const char* const kDescriptors[] = {"protocols/descriptors/bolt1",
                                    "protocols/descriptors/baidu_std",
                                    "protocols/descriptors/motan2",
                                    "protocols/descriptors/ttheader_lite",
                                    "protocols/descriptors/rocketmq_binary",
                                    "protocols/descriptors/bankxml",
                                    "protocols/descriptors/tradeline",
                                    "protocols/descriptors/pulse",
                                    "tests/descriptor/axis",
                                    "tests/descriptor/lumen",
                                    "tests/descriptor/kafka",
                                    "tests/descriptor/kitex_protobuf",
                                    "tests/descriptor/mesh_header"};

const std::string& text_of(size_t index) {
  static const std::vector<std::string> texts = [] {
    std::vector<std::string> all;
    for (const char* name : kDescriptors) {
      std::ifstream in((source_dir() + "/") + name + ".yaml");
      all.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
      REQUIRE(!all.back().empty());
    }
    return all;
  }();
  return texts[index % std::size(kDescriptors)];
}

const dragoman_codec& codec(size_t index) {
  static const std::vector<descriptor::Loaded> all = [] {
    std::vector<descriptor::Loaded> loaded;
    for (size_t i = 0; i < std::size(kDescriptors); ++i) {
      loaded.push_back(descriptor::load_string(text_of(i), kDescriptors[i]));
      REQUIRE(loaded.back().descriptor);
    }
    return loaded;
  }();
  return all[index % std::size(kDescriptors)].descriptor->table();
}

/// Everything that is said of the frame at `p`.
std::string said(const dragoman_codec& t, const uint8_t* p, size_t n) {
  dragoman_frame f{};
  f.size = sizeof f;
  int verdict = t.probe(t.context, nullptr, p, n, &f);
  std::string out = std::to_string(verdict) + (f.reason ? f.reason : "");
  for (uint64_t v : {uint64_t{f.kind}, f.total_len, f.need, uint64_t{f.head_len}, uint64_t{f.id_offset},
                     uint64_t{f.id_len}, uint64_t{f.id_type}, f.id, static_cast<uint64_t>(f.timeout_ms),
                     static_cast<uint64_t>(f.status), uint64_t{f.checksum}, f.checksum_offset})
    out += " " + std::to_string(v);
  if (verdict != DRAGOMAN_FRAME || n < f.head_len) return out;
  out += " outcome " + std::to_string(t.outcome(t.context, nullptr, p, &f));
  dragoman_view v{};
  v.size = sizeof v;
  v.ctx = &out;
  static constexpr auto text = [](dragoman_bytes b) {
    return std::string(reinterpret_cast<const char*>(b.data), static_cast<size_t>(b.len));
  };
  v.header = [](void* ctx, dragoman_bytes name, dragoman_bytes value) {
    *static_cast<std::string*>(ctx) += " " + text(name) + ":" + text(value);
  };
  v.attribute = [](void* ctx, uint32_t index, dragoman_bytes value) {
    *static_cast<std::string*>(ctx) += " " + std::to_string(index) + "=" + text(value);
  };
  out += " view " + std::to_string(t.view(t.context, nullptr, p, &f, 7, &v));
  return out + " " + std::to_string(v.flags) + " " + text(v.service) + " " + text(v.method);
}

/// Both ways say the same.
void compare(const dragoman_codec& t, std::string_view stream) {
  auto& openings =
      const_cast<descriptor::Program*>(static_cast<const descriptor::Program*>(t.context))->openings;
  for (size_t n : {stream.size(), stream.size() / 2, std::min<size_t>(stream.size(), 20)}) {
    if (n == 0) continue;
    std::vector<uint8_t> bytes(stream.begin(), stream.begin() + static_cast<std::ptrdiff_t>(n));
    std::string one = said(t, bytes.data(), n);
    std::vector<descriptor::Opening> closed;
    closed.swap(openings);
    std::string two = said(t, bytes.data(), n);
    closed.swap(openings);
    REQUIRE(one == two);
  }
}

CodecOptions options() {
  CodecOptions o;
  o.framed.want = 7;
  o.framed.frame_bytes_max = 1 << 20;
  return o;
}

void run(const dragoman_codec& table, std::string_view stream) {
  stream = stream.substr(0, 2048);
  for (Role role : {Role::kServer, Role::kClient}) REQUIRE(answers_alike(table, role, options(), stream));
  // What is a request can be edited and given another id, and stays what it is.
  dragoman_frame f{};
  f.size = sizeof f;
  auto* p = reinterpret_cast<const uint8_t*>(stream.data());
  if (stream.empty() || table.probe(table.context, nullptr, p, stream.size(), &f) != DRAGOMAN_FRAME ||
      f.head_len > stream.size())
    return;
  std::vector<uint8_t> head(p, p + f.head_len), out(200'000);
  auto bytes = [](std::string_view s) {
    return dragoman_bytes{reinterpret_cast<const uint8_t*>(s.data()), s.size()};
  };
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
    check(table.set_id(table.context, nullptr, head.data(), &f, bytes({"\0\0\0\0\0\1\2\3", 8}), out.data(),
                       out.size()),
          false);
  if (table.set_id && f.id_type == DRAGOMAN_ID_BYTES)
    check(table.set_id(table.context, nullptr, head.data(), &f, bytes("00112233445566778899"), out.data(),
                       out.size()),
          false);
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
    if (verdict == DRAGOMAN_FRAME)
      REQUIRE(f.head_len > 0 && f.head_len <= f.total_len && f.head_len <= t.head_bytes_max);
  }
  for (Role role : {Role::kServer, Role::kClient}) answers(t, role, options(), stream.substr(0, 1024), 1024);
  compare(t, stream.substr(0, 1024));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 0) {
    compile(rest, rest);
  } else if (data[0] <= std::size(kDescriptors)) {
    for (uint32_t from : {DRAGOMAN_FROM_CLIENT, DRAGOMAN_FROM_SERVER})
      REQUIRE(two_readings(codec(data[0] - 1u), rest, from).empty());
    run(codec(data[0] - 1u), rest);
    compare(codec(data[0] - 1u), rest.substr(0, 2048));
  } else if (rest.size() >= 2) {
    std::string text = text_of(data[0]);
    auto at = static_cast<size_t>(static_cast<uint8_t>(rest[0])) * text.size() / 256;
    text[at] = rest[1];
    compile(text, rest.substr(2));
  }
  REQUIRE(live_framed_exchanges() == 0);
  return 0;
}
