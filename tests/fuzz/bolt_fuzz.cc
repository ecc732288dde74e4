// Bolt on the framed host, both roles.
//
// Input: one byte of options. Bit 7 of it chooses what follows:
//   0: records `u8 action, u16 number (big-endian)`, then `number` bytes for the actions that feed. A
//   server-role and a
//      client-role connection are joined as the engine would; records feed either side and end things.
//   1: all bytes are one client's stream; a connection fed whole and one fed byte by byte must answer alike.
#include "protocols/bolt/bolt.h"
#include "tests/fuzz/framed_fuzz_support.h"

namespace {

using namespace dragoman;
using namespace dragoman::fuzz;

/// The ids of the whole frames in `bytes`; traps when they are not whole Bolt frames (the last may be cut if
/// `cut_ok`).
std::vector<uint32_t> frames(std::string_view bytes, bool cut_ok) {
  std::vector<uint32_t> ids;
  while (!bytes.empty()) {
    dragoman_frame f{};
    f.size = sizeof f;
    int verdict =
        bolt_codec()->probe(nullptr, nullptr, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(),
                            &f);
    if (cut_ok && (verdict == DRAGOMAN_NEED || f.total_len > bytes.size())) return ids;
    REQUIRE(verdict == DRAGOMAN_FRAME && f.total_len <= bytes.size());
    if (f.kind == DRAGOMAN_REQUEST) ids.push_back(static_cast<uint32_t>(f.id));
    bytes.remove_prefix(static_cast<size_t>(f.total_len));
  }
  return ids;
}

/// Edits that always fit, or never.
void edit(Head& h) {
  if (h.frame.id % 3 != 0) return;
  h.set_header("service", "edited");
  h.remove_header("app");
  h.add_header("x", std::string(h.frame.id % 2 ? 33000 : 3, 'x'));
}

CodecOptions options_from(uint8_t bits) {
  CodecOptions o;
  o.framed.mode = bits % 4 == 1   ? PoolMode::kPingPong
                  : bits % 4 == 2 ? PoolMode::kBound
                                  : PoolMode::kMultiplex;
  o.framed.verify_checksums = !(bits & 4);
  o.framed.want = bits & 8 ? 7 : 3;
  o.framed.streams_max = bits & 16 ? 3 : 100;
  o.framed.frame_bytes_max = bits & 32 ? 400 : 1 << 20;
  o.framed.heartbeats_per_second_max = 20;
  o.framed.goaway = bits & 64;
  return o;
}

void joined(uint8_t bits, std::string_view input) {
  Connection down(*bolt_codec(), Role::kServer, options_from(bits)),
      up(*bolt_codec(), Role::kClient, options_from(bits));
  std::vector<std::unique_ptr<Call>> calls;
  join(down, up, calls, edit);
  join(up, down, calls, edit);  // requests of the server
  const bool streams = bits % 4 == 1 || bits % 4 == 2;
  std::string up_out;
  std::vector<uint32_t> asked;  // ids that were sent upstream
  while (input.size() >= 3) {
    auto action = static_cast<uint8_t>(input[0]);
    size_t n = static_cast<size_t>(static_cast<uint8_t>(input[1])) << 8 | static_cast<uint8_t>(input[2]);
    input.remove_prefix(3);
    std::string bytes(action % 16 <= 5 ? input.substr(0, n) : std::string_view());
    input.remove_prefix(bytes.size());
    Call* some = calls.empty() ? nullptr : calls[n % calls.size()].get();
    if (some && some->done) some = nullptr;
    switch (action % 16) {
      case 0:
      case 1:
        down.feed(bytes);
        break;
      case 2: down.feed_in_steps(bytes, 1); break;
      case 3:
        up.feed(bytes);
        break;
      case 4:  // an answer, given the id of a request that was sent
      case 5:
        if (!asked.empty() && bytes.size() > 10) {
          uint32_t id = asked[n % asked.size()];
          size_t at = bytes[0] == 2 ? 6 : 5;
          for (size_t i = 0; i < 4; ++i) bytes[at + i] = static_cast<char>(id >> (24 - 8 * i));
        }
        if (action % 16 == 4)
          up.feed(bytes);
        else
          up.feed_in_steps(bytes, 1);
        break;
      case 6:
        (n % 2 ? down : up).codec->on_eof();
        break;
      case 7:
        (n % 2 ? down : up).codec->heartbeat();
        break;
      case 8:
        if (some) some->finish();
        break;
      case 9:
        if (some && some->request.head) {
          LocalReply reply;
          reply.reason = static_cast<Reason>(n % kReasonCount);
          some->request.exchange->send_reply(*some->request.head, reply);
          some->finish();
        }
        break;
      case 10:
        if (some) n % 2 ? some->request.exchange->pause_reading() : some->request.exchange->resume_reading();
        break;
      case 11:
        (n % 2 ? down : up).codec->on_write_blocked(n % 4 < 2);
        if (n % 8 == 7) down.codec->find_hops();
        break;
      case 12:
        (n % 2 ? down : up).codec->drain();
        break;
      case 13:
        (n % 2 ? down : up).codec->fail(Reason::kFrameTimeout);
        break;
      case 14:
        (n % 2 ? down : up).codec->on_transport_closed(Reason::kUpstreamReset);
        break;
      case 15:
        down.now += n * 100;
        up.now += n * 100;
        break;
    }
    up_out += up.sink.take();
    asked = frames(up_out, streams);
    // Answers are always whole. Requests of the server stream through to nobody: the server role collects
    // them.
    frames(down.sink.take(), false);
    REQUIRE(down.codec->phase() != ReadPhase::kHead || !down.broken);
  }
  for (auto& c : calls)
    if (c) c->finish();
  REQUIRE(down.codec->open_exchanges() == 0 && up.codec->open_exchanges() == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  size_t chunks = live_chunks();
  std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] & 128) {
    input = input.substr(0, 4096);
    REQUIRE(answers_alike(*bolt_codec(), Role::kServer, options_from(data[0]), input));
  } else {
    joined(data[0], input);
  }
  REQUIRE(live_framed_exchanges() == 0);
  REQUIRE(live_chunks() == chunks);
  return 0;
}
