#include "protocols/tars/tars.h"

#include <algorithm>
#include <charconv>

#include "protocols/codec.hpp"
#include "protocols/tars/jce.h"

namespace dragoman {
namespace {

using codec::Frame;
using codec::Message;
using codec::View;
using jce::Field;
using jce::Reader;

constexpr size_t kLengthBytes = 4;            // counts itself
constexpr uint32_t kFrameBytesMax = 256 << 20;  // and so no TLS record looks like a frame
constexpr size_t kFrameBytesMin = 8;          // length, version, and anything at all
constexpr size_t kWholeBytesMax = 8192;       // what follows the id is wanted whole up to here
constexpr size_t kNamesBytesMax = 16384;      // all before the buffer
constexpr size_t kStep = 128;
constexpr uint32_t kPairsMax = 1024;
constexpr size_t kReplyTextMax = 1000;

enum Version : int64_t { kTars = 1, kTupComplex = 2, kTupSimple = 3, kJson = 5 };
// The two packets number their fields differently.
enum RequestTag : uint8_t { kTagId = 4, kTagServant = 5, kTagFunc = 6, kTagBuffer = 7, kTagTimeout = 8, kTagContext = 9, kTagStatus = 10 };
enum ResponseTag : uint8_t { kTagAnswerId = 3, kTagRet = 5, kTagAnswerBuffer = 6, kTagAnswerStatus = 7, kTagDesc = 8 };

enum Ret : int32_t {
  kSuccess = 0,
  kDecodeError = -1,
  kEncodeError = -2,
  kNoFunc = -3,
  kNoServant = -4,
  kResetGrid = -5,
  kQueueTimeout = -6,
  kInvokeTimeout = -7,
  kProxyConnect = -8,
  kOverload = -9,
  kAdapterNull = -10,
  kInvalidSet = -11,
  kClientDecode = -12,
  kSendError = -13,
  kUnknownError = -99,
};

constexpr std::string_view kPing = "tars_ping";
constexpr std::string_view kReconnect = "_reconnect_";
constexpr std::string_view kResultCode = "STATUS_RESULT_CODE";
constexpr std::string_view kResultDesc = "STATUS_RESULT_DESC";
constexpr std::string_view kDyeKey = "STATUS_DYED_KEY";
constexpr std::string_view kSetKey = "STATUS_SETNAME_VALUE";

enum Attribute : uint32_t { kDyeAttribute, kSetAttribute };

bool is_tup(int64_t version) { return version == kTupComplex || version == kTupSimple; }

/// A packet as far as it is there.
struct Packet {
  int64_t version = 0, type = 0, id = 0, ret = 0, timeout = 0;
  std::string_view servant, func, desc, result_code;
  size_t id_begin = 0, id_end = 0;      // the whole field; 0 = not there
  size_t names_end = 0;                 // request: behind tag 6; answer: behind tag 5; 0 = not there yet
  size_t context_begin = 0, context_end = 0;
  size_t context_at = 0;                // where a context would stand
  uint32_t context_pairs = 0;
  size_t context_first = 0;             // its first pair
  bool has_context = false, has_status = false;
  uint32_t status_pairs = 0;
  codec::Once dye, set;
  bool is_request = false;              // its layout: answers of TUP have it too
  bool truncated = false, broken = false;

  /// `whole`: read past the buffer.
  Packet(std::span<const uint8_t> bytes, bool whole) {
    Reader in(bytes, kLengthBytes);
    read(in, whole);
    truncated = in.truncated();
    broken |= in.broken();
    if (!has_context && context_at == 0) context_at = in.position();
  }

 private:
  void read(Reader& in, bool whole) {
    Field f;
    bool know = false;  // which of the two packets it is
    int64_t three = 0, four = 0;
    size_t three_begin = 0, three_end = 0, four_begin = 0, four_end = 0;
    int last = -1;
    // What reads a number must not take one that a peer's field is too small for.
    auto number = [&in](const Field& field, int64_t& value) {
      return field.type != jce::kInt64 && in.integer(field, value);
    };
    while (in.next(f)) {
      // Every encoder writes fields in order. Of others, and of two with one tag, peers read what they come to first.
      if (f.tag <= last) {
        broken = true;
        return;
      }
      last = f.tag;
      bool took = false;
      if (f.tag < kTagServant) {
        int64_t value = 0;
        if (f.tag == 0) {
          took = in.skip(f);
        } else if ((took = number(f, value))) {
          if (f.tag == 1) version = value;
          if (f.tag == 2) type = value;
          if (f.tag == 3) three = value, three_begin = f.begin, three_end = in.position();
          if (f.tag == 4) four = value, four_begin = f.begin, four_end = in.position();
        }
      } else if (!know) {
        know = true;
        if (f.tag != kTagServant) {
          broken = true;
          return;
        }
        is_request = jce::is_string(f.type);
        id = is_request ? four : three;
        id_begin = is_request ? four_begin : three_begin;
        id_end = is_request ? four_end : three_end;
        if (is_request) {
          took = in.string(f, servant);
        } else if (is_tup(version)) {
          broken = true;  // its answers have the other layout: peers would look for the id there
          return;
        } else if ((took = number(f, ret))) {
          names_end = in.position();
          if (!whole) return;
        }
      } else if (is_request && f.tag == kTagFunc) {
        if ((took = in.string(f, func))) {
          names_end = in.position();
          if (!whole) return;
        }
      } else if (is_request && f.tag == kTagTimeout) {
        took = number(f, timeout);
      } else if (!is_request && f.tag == kTagDesc) {
        took = in.string(f, desc);
      } else if (f.tag == kTagContext) {
        took = context(in, f);
      } else if (f.tag == (is_request ? uint8_t{kTagStatus} : uint8_t{kTagAnswerStatus})) {
        took = status(in, f);
      } else {
        took = in.skip(f);
      }
      if (!took) {
        broken |= in.ok();  // read, but not what it should be
        return;
      }
    }
  }

  bool context(Reader& in, const Field& f) {
    has_context = true;
    context_begin = context_at = f.begin;
    bool took = in.map(f, context_pairs);
    context_first = in.position();
    took = took && pairs(in, context_pairs, [](std::string_view, std::string_view, size_t, size_t) {});
    context_end = in.position();
    return took;
  }
  bool status(Reader& in, const Field& f) {
    has_status = true;
    if (is_request && !has_context) context_at = f.begin;
    bool took = in.map(f, status_pairs);
    bool read_once = true;
    codec::Once code;
    took = took && pairs(in, status_pairs, [&](std::string_view key, std::string_view value, size_t, size_t) {
             if (key == kResultCode) read_once &= code.take(value);
             if (key == kDyeKey) read_once &= dye.take(value);
             if (key == kSetKey) read_once &= set.take(value);
           });
    result_code = code.value();
    return took && read_once;
  }

 public:
  /// Calls pair(key, value, begin, end) for each pair of a map of texts.
  template <class Pair>
  static bool pairs(Reader& in, uint32_t n, Pair&& pair) {
    if (n > kPairsMax) return false;
    for (; n > 0; --n) {
      Field key, value;
      std::string_view k, v;
      if (!in.next(key) || key.tag != 0 || !in.string(key, k)) return false;
      if (!in.next(value) || value.tag != 1 || !in.string(value, v)) return false;
      pair(k, v, key.begin, in.position());
    }
    return true;
  }
  template <class Pair>
  bool context_of(std::span<const uint8_t> bytes, Pair&& pair) const {
    Reader in(bytes, context_first);
    return pairs(in, context_pairs, pair);
  }

  bool is_answer(uint32_t from) const {
    if (!is_request) return true;
    if (!is_tup(version)) return false;
    return from == DRAGOMAN_FROM_SERVER || (from == DRAGOMAN_FROM_UNKNOWN && !result_code.empty());
  }
  /// `whole`: control frames are only what is all here.
  uint32_t kind(uint32_t from, bool whole) const {
    if (is_answer(from))
      return id == 0 && !is_request && desc == kReconnect ? +DRAGOMAN_GOAWAY : +DRAGOMAN_RESPONSE;
    if (func == kPing && whole) return DRAGOMAN_HEARTBEAT;
    return type == 1 ? DRAGOMAN_ONEWAY : DRAGOMAN_REQUEST;
  }
  int32_t result() const {
    if (!is_request) return static_cast<int32_t>(ret);
    int32_t code = kSuccess;  // left out when all is well
    std::from_chars(result_code.data(), result_code.data() + result_code.size(), code);
    return code;
  }
};

void finish_length(ByteWriter& out) { out.patch_be<uint32_t>(0, static_cast<uint32_t>(out.size())); }


struct Tars {
  static constexpr const char* kName = "tars";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 128 * 1024;
  static constexpr uint32_t kDetectBytesMax = 7;
  static constexpr uint32_t kIdLen = 4;
  static constexpr const char* kAttributes[] = {"dye", "set"};

  int probe(std::span<const uint8_t> bytes, Frame& f) {
    if (bytes.size() <= kLengthBytes) return codec::need(f, kLengthBytes + 1);
    uint8_t head = bytes[kLengthBytes];
    if (head >> 4 != 1 || (head & 15) > jce::kInt32) return codec::not_mine();
    uint32_t length = load_be<uint32_t>(bytes.data());
    if (length > kFrameBytesMax) return codec::refuse(f, DRAGOMAN_MALFORMED, "tars: length over 256 MiB");
    if (length < kFrameBytesMin)
      return codec::refuse(f, DRAGOMAN_MALFORMED, "tars: length below that of any packet");
    size_t version_end = kLengthBytes + 1 + (size_t{1} << (head & 15));
    if (bytes.size() < std::max<size_t>(version_end, 7)) return codec::need(f, std::max<size_t>(version_end, 7));
    uint8_t version = bytes[version_end - 1];
    if (version == 0 || version > kJson || !std::ranges::all_of(bytes.subspan(5, version_end - 6), [](uint8_t b) { return b == 0; }))
      return codec::not_mine();

    f.total_len = length;
    size_t here = std::min<size_t>(bytes.size(), length);
    auto there = bytes.first(here);
    Packet packet(there, false);
    if (!packet.broken && packet.names_end == 0) {
      if (here == length || here >= kNamesBytesMax) return codec::refuse(f, DRAGOMAN_MALFORMED, "tars: no servant, function or result");
      return codec::need(f, std::min<size_t>(length, here + std::max(here, kStep)));
    }
    if (packet.broken) return codec::refuse(f, DRAGOMAN_MALFORMED, "tars: fields that are none");
    if (packet.id_end == 0) return codec::refuse(f, DRAGOMAN_MALFORMED, "tars: no request id");
    f.id_type = DRAGOMAN_ID_CODED;
    f.id_offset = static_cast<uint32_t>(packet.id_begin);
    f.id_len = static_cast<uint32_t>(packet.id_end - packet.id_begin);
    f.id = static_cast<uint32_t>(packet.id);

    // Whether the rest is wanted depends on what an id of another width does not change.
    size_t rest = length - packet.id_end;
    bool whole = rest <= kWholeBytesMax || (f.want & DRAGOMAN_WANT_HEADERS && rest <= kHeadBytesMax - 64) ||
                 (packet.is_request && is_tup(packet.version) && rest <= kHeadBytesMax - 64);
    f.head_len = static_cast<uint32_t>(whole ? length : packet.names_end);
    f.kind = packet.kind(f.from, whole);  // a frame over the limit is answered, or not, by what is here
    if (whole) {
      if (here < length) return codec::need(f, length);
      packet = Packet(there, true);
      if (packet.broken || packet.truncated) return codec::refuse(f, DRAGOMAN_MALFORMED, "tars: fields past the frame");
      f.kind = packet.kind(f.from, whole);
    }
    if (packet.is_answer(f.from))
      f.status = packet.result();
    else
      f.timeout_ms = packet.timeout;
    return codec::found(f);
  }

  bool view(const Message& m, uint32_t want, View& v) {
    bool whole = m.head.size() == m.frame.total_len;
    Packet packet(m.head, whole);
    v.service(packet.servant);
    v.method(packet.func);
    if (!(want & DRAGOMAN_WANT_HEADERS)) return true;
    if (!whole) {
      v.opaque();
      return true;
    }
    packet.context_of(m.head, [&](std::string_view key, std::string_view value, size_t, size_t) { v.header(key, value); });
    if (packet.dye.there()) v.attribute(kDyeAttribute, packet.dye.value());
    if (packet.set.there()) v.attribute(kSetAttribute, packet.set.value());
    return true;
  }

  uint32_t outcome(const Message& m) {
    switch (m.frame.status) {
      case kSuccess:
        return DRAGOMAN_OUTCOME_OK;
      case kDecodeError:
      case kClientDecode:
        return DRAGOMAN_OUTCOME_CODEC_ERROR;
      case kNoFunc:
        return DRAGOMAN_OUTCOME_CLIENT_ERROR;
      case kNoServant:
      case kInvalidSet:
        return DRAGOMAN_OUTCOME_NO_ROUTE;
      case kResetGrid:
      case kAdapterNull:
        return DRAGOMAN_OUTCOME_UNAVAILABLE;
      case kQueueTimeout:
      case kInvokeTimeout:
        return DRAGOMAN_OUTCOME_TIMEOUT;
      case kProxyConnect:
      case kSendError:
        return DRAGOMAN_OUTCOME_RESET;
      case kOverload:
        return DRAGOMAN_OUTCOME_OVERLOADED;
      default:
        return DRAGOMAN_OUTCOME_SERVER_ERROR;
    }
  }

  bool reply(const Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    int32_t ret = kUnknownError;
    switch (outcome) {
      case DRAGOMAN_OUTCOME_CLIENT_ERROR:
      case DRAGOMAN_OUTCOME_CODEC_ERROR:
      case DRAGOMAN_OUTCOME_TOO_LARGE:
        ret = kDecodeError;
        break;
      case DRAGOMAN_OUTCOME_OVERLOADED:
      case DRAGOMAN_OUTCOME_RATE_LIMITED:
        ret = kOverload;
        break;
      case DRAGOMAN_OUTCOME_TIMEOUT:
        ret = kInvokeTimeout;
        break;
      case DRAGOMAN_OUTCOME_UNAVAILABLE:
        ret = kAdapterNull;
        break;
      case DRAGOMAN_OUTCOME_NO_ROUTE:
        ret = kNoServant;
        break;
      case DRAGOMAN_OUTCOME_RESET:
        ret = kProxyConnect;
        break;
    }
    answer(m, ret, {}, text.substr(0, kReplyTextMax), out);
    return true;
  }

  /// Pairs of the context. Names compare without regard to ASCII case.
  bool edit(const Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    if (m.head.size() != m.frame.total_len) return false;
    Packet packet(m.head, true);
    auto walk = [&](auto&& keep) {
      return packet.context_of(m.head, [&](std::string_view key, std::string_view, size_t begin, size_t end) {
        keep(key, codec::text_of(m.head.subspan(begin, end - begin)));
      });
    };
    uint32_t count = 0;
    if (!codec::count_edited(edits, walk, count) || count > kPairsMax) return false;
    out.bytes(m.head.first(packet.context_at));
    jce::write_head(out, kTagContext, jce::kMap);
    jce::write_integer(out, 0, count);
    codec::apply_edits(edits, out, walk, [&](std::string_view name, std::string_view value) {
      jce::write_string(out, 0, name);
      jce::write_string(out, 1, value);
      return true;
    });
    out.bytes(m.head.subspan(packet.has_context ? packet.context_end : packet.context_at));
    finish_length(out);
    return true;
  }

  /// Servers answer by the function's name alone.
  bool heartbeat(uint32_t, uint64_t id, ByteWriter& out) {
    out.be<uint32_t>(0);
    jce::write_integer(out, 1, kTars);
    jce::write_integer(out, 2, 0);
    jce::write_integer(out, 3, 0);
    jce::write_integer(out, kTagId, static_cast<int32_t>(id));
    jce::write_string(out, kTagServant, "");
    jce::write_string(out, kTagFunc, kPing);
    write_buffer(out, kTagBuffer, {});
    jce::write_integer(out, kTagTimeout, 3000);
    write_map_head(out, kTagContext, 0);
    write_map_head(out, kTagStatus, 0);
    finish_length(out);
    return true;
  }
  /// TarsGo's keep-alive is one-way: nothing is written for it.
  bool heartbeat_reply(const Message& m, ByteWriter& out) {
    Packet packet(m.head, true);
    if (packet.type != 1) answer(m, kSuccess, {}, {}, out);
    return true;
  }
  /// TarsGo clients open another connection when they get this, and finish on the old one.
  bool goaway(uint32_t, ByteWriter& out) {
    out.be<uint32_t>(0);
    jce::write_integer(out, 1, kTars);
    for (uint8_t tag = 2; tag <= kTagRet; ++tag) jce::write_integer(out, tag, 0);
    write_buffer(out, kTagAnswerBuffer, {});
    write_map_head(out, kTagAnswerStatus, 0);
    jce::write_string(out, kTagDesc, kReconnect);
    finish_length(out);
    return true;
  }

  bool set_id(const Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    const Frame& f = m.frame;
    out.bytes(m.head.first(f.id_offset));
    jce::write_integer(out, m.head[f.id_offset] >> 4, static_cast<int32_t>(load_be<uint64_t>(id.data())));
    out.bytes(m.head.subspan(f.id_offset + f.id_len));
    out.patch_be<uint32_t>(0, static_cast<uint32_t>(f.total_len + out.size() - m.head.size()));
    return true;
  }

 private:
  static void write_buffer(ByteWriter& out, uint8_t tag, std::string_view bytes) {
    jce::write_head(out, tag, jce::kBytes);
    jce::write_head(out, 0, jce::kInt8);
    jce::write_integer(out, 0, static_cast<int64_t>(bytes.size()));
    out.text(bytes);
  }
  static void write_map_head(ByteWriter& out, uint8_t tag, uint32_t pairs) {
    jce::write_head(out, tag, jce::kMap);
    jce::write_integer(out, 0, pairs);
  }

  /// An answer to the request `m`, in the layout its version asks for.
  static void answer(const Message& m, int32_t ret, std::string_view buffer, std::string_view text, ByteWriter& out) {
    Packet packet(m.head, false);
    out.be<uint32_t>(0);
    jce::write_integer(out, 1, packet.version);
    jce::write_integer(out, 2, 0);
    if (!is_tup(packet.version)) {
      jce::write_integer(out, kTagAnswerId, packet.id);
      jce::write_integer(out, 4, 0);
      jce::write_integer(out, kTagRet, ret);
      write_buffer(out, kTagAnswerBuffer, buffer);
      write_map_head(out, kTagAnswerStatus, 0);
      jce::write_string(out, kTagDesc, text);
    } else {
      jce::write_integer(out, 3, 0);
      jce::write_integer(out, kTagId, packet.id);
      jce::write_string(out, kTagServant, packet.servant);
      jce::write_string(out, kTagFunc, packet.func);
      write_buffer(out, kTagBuffer, std::string_view("\x08\x0c", 2));  // a map of no attributes
      jce::write_integer(out, kTagTimeout, 0);
      write_map_head(out, kTagContext, 0);
      char digits[12];
      auto end = std::to_chars(digits, digits + sizeof digits, ret).ptr;
      write_map_head(out, kTagStatus, text.empty() ? 1 : 2);
      jce::write_string(out, 0, kResultCode);
      jce::write_string(out, 1, {digits, static_cast<size_t>(end - digits)});
      if (!text.empty()) {
        jce::write_string(out, 0, kResultDesc);
        jce::write_string(out, 1, text);
      }
    }
    finish_length(out);
  }
};

}  // namespace

const dragoman_codec* tars_codec() { return codec_table<Tars>(); }

}  // namespace dragoman
