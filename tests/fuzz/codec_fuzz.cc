// One fuzz target for every framed codec: CMakeLists.txt makes <name>_codec_fuzz of it for each that is linked in.
//
// The input is a stream of frames; how the host is set up follows from its size. The table is asked directly; a server-role
// and a client-role connection are joined as the engine would, and what one got comes back as an answer; and a connection
// that is fed whole and one that is fed byte by byte must answer alike.
#include "protocols/codec_fuzz.hpp"
#include "proxy/base/cursor.h"
#include "tests/fuzz/framed_fuzz_support.h"
#include "tests/fuzz/second_reader.h"

namespace dragoman {
const dragoman_codec* DRAGOMAN_FUZZED_CODEC();
}

namespace {

using namespace dragoman;
using namespace dragoman::fuzz;

constexpr size_t kBytesMax = 2048;  // of a stream through the host

const dragoman_codec& table() { return *DRAGOMAN_FUZZED_CODEC(); }

CodecOptions options_from(size_t n) {
  CodecOptions o;
  o.framed.mode = table().abilities & DRAGOMAN_ONLY_BOUND || n % 8 == 2 ? PoolMode::kBound
                  : n % 8 == 1                                          ? PoolMode::kPingPong
                                                                        : PoolMode::kMultiplex;
  constexpr uint32_t kWants[] = {7, 3, 7, 0};
  o.framed.want = kWants[n / 8 % 4];
  o.framed.streams_max = n / 32 % 4 == 3 ? 3 : 100;
  o.framed.frame_bytes_max = n % 5 == 4 ? 400 : 1 << 20;
  return o;
}

void edit(Head& h) {
  h.set_header("k", "edited");
  h.remove_header("group");
  h.add_header("x", std::string(40, 'x'));
}

/// The first frame of `bytes` with the id of the first frame of `sent`, if both are frames.
std::string as_answer(std::string_view bytes, std::string_view sent) {
  alignas(16) uint8_t memory[DRAGOMAN_CONN_STATE_MAX] = {}, other[DRAGOMAN_CONN_STATE_MAX] = {};
  auto probe = [](std::string_view b, uint8_t* conn, uint32_t from) {
    dragoman_frame f{};
    f.size = sizeof f;
    f.want = 7;
    f.from = from;
    if (b.empty() ||
        table().probe(table().context, conn, reinterpret_cast<const uint8_t*>(b.data()), b.size(), &f) !=
            DRAGOMAN_FRAME ||
        f.head_len > b.size())
      f.kind = 0;
    return f;
  };
  const dragoman_frame answer = probe(bytes, memory, DRAGOMAN_FROM_SERVER),
                       call = probe(sent, other, DRAGOMAN_FROM_CLIENT);
  std::string out(bytes);
  if (answer.kind != DRAGOMAN_RESPONSE || call.kind == 0) return out;
  if (answer.id_type == DRAGOMAN_ID_BE) {
    for (uint32_t i = 0; i < answer.id_len; ++i)
      out[answer.id_offset + answer.id_len - 1 - i] = static_cast<char>(call.id >> 8 * i);
  } else if (answer.id_type == DRAGOMAN_ID_CODED) {
    uint8_t number[8];
    store_be<uint64_t>(number, call.id);
    std::string head(answer.head_len + 64, '\0');
    int64_t n = table().set_id(table().context, memory, reinterpret_cast<const uint8_t*>(bytes.data()),
                               &answer, {number, 8}, reinterpret_cast<uint8_t*>(head.data()), head.size());
    if (n > 0 && n <= static_cast<int64_t>(head.size()))
      return head.substr(0, static_cast<size_t>(n)) + out.substr(answer.head_len);
  }
  return out;
}

void joined(const CodecOptions& options, std::string_view stream, size_t step) {
  Connection down(table(), Role::kServer, options), up(table(), Role::kClient, options);
  std::vector<std::unique_ptr<Call>> calls;
  join(down, up, calls, edit);
  join(up, down, calls);
  down.feed_in_steps(stream, step);
  const std::string sent = up.sink.take();
  // What is left of the stream, from each of its first bytes that begin an answer, answers the first call.
  for (size_t at = 0; at < std::min<size_t>(stream.size(), 64); at += 16)
    up.feed_in_steps(as_answer(stream.substr(at), sent), step);
  down.sink.take();
  up.codec->heartbeat();
  down.codec->drain();
  down.codec->on_eof();
  up.codec->on_transport_closed(Reason::kUpstreamReset);
  for (auto& c : calls)
    if (c) c->finish();
  REQUIRE(down.codec->open_exchanges() == 0 && up.codec->open_exchanges() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  codec::fuzz_once(table(), data, size);
  for (uint32_t from : {DRAGOMAN_FROM_CLIENT, DRAGOMAN_FROM_SERVER}) {
    const std::string differs = two_readings(table(), {reinterpret_cast<const char*>(data), size}, from);
    if (!differs.empty()) std::fprintf(stderr, "from %u: %s\n", from, differs.c_str());
    REQUIRE(differs.empty());
  }
  const size_t chunks = live_chunks();
  const std::string_view stream(reinterpret_cast<const char*>(data), std::min(size, kBytesMax));
  const CodecOptions options = options_from(size);
  joined(options, stream, size % 3 == 0 ? 7 : kBytesMax);
  REQUIRE(answers_alike(table(), Role::kServer, options, stream));
  REQUIRE(live_framed_exchanges() == 0);
  REQUIRE(live_chunks() == chunks);
  return 0;
}
