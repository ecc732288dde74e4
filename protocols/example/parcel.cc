// Parcel, the protocol of the author's guide (protocols/README.md). All numbers are big-endian.
//   0  'P' 'C' 1    magic and version
//   3  u8           1 request, 2 one-way, 3 answer, 4 ping, 5 pong, 6 bye
//   4  u32          id: an answer has that of its request
//   8  u32          requests: timeout in ms, 0 = none; answers: status, 0 = ok
//  12  u16          bytes of the headers: lines of "name=value\n", "service" and "method" among them
//  14  u32          bytes of the body
//  18  headers, body
#include "protocols/codec.hpp"

namespace {
namespace codec = dragoman::codec;
using dragoman::ByteWriter, dragoman::load_be;
enum Kind : uint8_t { kRequest = 1, kOneWay, kAnswer, kPing, kPong, kBye };
enum Status : uint32_t { kOk, kFailed, kNowhere, kBusy, kTimeout };
constexpr size_t kFixed = 18;

bool write(ByteWriter& out, Kind kind, uint64_t id, uint32_t value, std::string_view body) {
  out.text({"PC\1", 3});
  out.u8(kind);
  out.be<uint32_t>(static_cast<uint32_t>(id));
  out.be<uint32_t>(value);
  out.be<uint16_t>(0);
  out.be<uint32_t>(static_cast<uint32_t>(body.size()));
  out.text(body);
  return true;
}

/// f(name, value, whole line) for each header; false when they are no lines.
template <class F>
bool for_each_header(const codec::Message& m, F f) {
  std::string_view rest(reinterpret_cast<const char*>(&m.head[0]) + kFixed, m.head.size() - kFixed);
  while (!rest.empty()) {
    size_t end = rest.find('\n'), equals = rest.find('=');
    if (end == rest.npos || equals > end) return false;
    f(rest.substr(0, equals), rest.substr(equals + 1, end - equals - 1), rest.substr(0, end + 1));
    rest.remove_prefix(end + 1);
  }
  return true;
}

struct Parcel {
  static constexpr const char *kName = "parcel", *kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = kFixed + 0xffff, kDetectBytesMax = 3, kIdLen = 4;

  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] != 'P' || (b.size() > 1 && b[1] != 'C') || (b.size() > 2 && b[2] != 1)) return codec::not_mine();
    if (b.size() < kFixed) return codec::need(f, kFixed);
    constexpr uint32_t kKinds[] = {DRAGOMAN_REQUEST,   DRAGOMAN_ONEWAY,        DRAGOMAN_RESPONSE,
                                   DRAGOMAN_HEARTBEAT, DRAGOMAN_HEARTBEAT_ACK, DRAGOMAN_GOAWAY};
    if (b[3] < kRequest || b[3] > kBye) return codec::refuse(f, DRAGOMAN_MALFORMED, "parcel: unknown kind");
    f.kind = kKinds[b[3] - 1];
    f.id_type = DRAGOMAN_ID_BE;
    f.id_offset = f.id_len = 4;
    f.id = load_be<uint32_t>(&b[4]);
    if (b[3] == kRequest) f.timeout_ms = load_be<uint32_t>(&b[8]);
    if (b[3] == kAnswer) f.status = static_cast<int32_t>(load_be<uint32_t>(&b[8]));
    f.head_len = kFixed + load_be<uint16_t>(&b[12]);
    f.total_len = uint64_t{f.head_len} + load_be<uint32_t>(&b[14]);
    return codec::found(f);
  }
  bool view(const codec::Message& m, uint32_t, codec::View& v) {
    return for_each_header(m, [&](std::string_view name, std::string_view value, auto) {
      name == "service" ? v.service(value) : name == "method" ? v.method(value) : v.header(name, value);
    });
  }
  uint32_t outcome(const codec::Message& m) {
    constexpr uint32_t kOutcomes[] = {DRAGOMAN_OUTCOME_OK, DRAGOMAN_OUTCOME_SERVER_ERROR,
                                      DRAGOMAN_OUTCOME_NO_ROUTE, DRAGOMAN_OUTCOME_OVERLOADED,
                                      DRAGOMAN_OUTCOME_TIMEOUT};
    uint32_t status = static_cast<uint32_t>(m.frame.status);
    return status <= kTimeout ? kOutcomes[status] : +DRAGOMAN_OUTCOME_UNKNOWN;
  }
  bool reply(const codec::Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    Status status = outcome == DRAGOMAN_OUTCOME_TIMEOUT ? kTimeout : kFailed;
    if (outcome == DRAGOMAN_OUTCOME_OVERLOADED || outcome == DRAGOMAN_OUTCOME_RATE_LIMITED) status = kBusy;
    if (outcome == DRAGOMAN_OUTCOME_NO_ROUTE || outcome == DRAGOMAN_OUTCOME_UNAVAILABLE) status = kNowhere;
    return write(out, kAnswer, m.frame.id, status, text);
  }
  bool edit(const codec::Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    out.bytes(m.head.first(kFixed));
    auto walk = [&](auto keep) {
      return for_each_header(m, [&](auto name, auto, auto line) { keep(name, line); });
    };
    auto pair = [&](std::string_view name, std::string_view value) {
      out.text(name), out.text("="), out.text(value), out.text("\n");
      return name.find_first_of("=\n") == name.npos && value.find('\n') == value.npos;
    };
    if (!codec::apply_edits(edits, out, walk, pair) || out.size() > kHeadBytesMax) return false;
    out.patch_be<uint16_t>(12, static_cast<uint16_t>(out.size() - kFixed));
    return true;
  }
  bool heartbeat(uint32_t, uint64_t id, ByteWriter& out) { return write(out, kPing, id, 0, ""); }
  bool heartbeat_reply(const codec::Message& m, ByteWriter& out) {
    return write(out, kPong, m.frame.id, 0, "");
  }
  bool goaway(uint32_t, ByteWriter& out) { return write(out, kBye, 0, 0, ""); }
};
}  // namespace
DRAGOMAN_PLUGIN(Parcel)
