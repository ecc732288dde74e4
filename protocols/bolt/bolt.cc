#include "protocols/bolt/bolt.h"

#include <algorithm>
#include <string_view>

#include "protocols/bolt/sofa_body.h"
#include "protocols/codec.hpp"

namespace dragoman {
namespace {

using codec::Frame;
using codec::Message;
using codec::Once;
using codec::View;

enum Type : uint8_t { kResponse = 0, kRequest = 1, kOneWay = 2 };
enum Command : uint16_t { kHeartbeat = 0, kRpcRequest = 1, kRpcResponse = 2, kGoAway = 100 };
enum Status : uint16_t {
  kSuccess = 0,
  kError = 1,
  kServerException = 2,
  kUnknown = 3,
  kServerThreadpoolBusy = 4,
  kErrorComm = 5,
  kNoProcessor = 6,
  kTimeout = 7,
  kClientSendError = 8,
  kCodecException = 9,
  kConnectionClosed = 16,
  kServerSerialException = 17,
  kServerDeserialException = 18,
};

constexpr uint8_t kCommandVersion = 1;
constexpr uint8_t kHessian2 = 1;
constexpr uint8_t kSwitchCrc = 0x01;
constexpr uint8_t kSwitchSign = 0x80;  // a Java peer throws on it
// Java and Node read class_len and header_len as signed 16 bits, content_len as signed 32.
constexpr uint32_t kSectionBytesMax = 0x7fff;
constexpr uint32_t kContentBytesMax = 0x7fffffff;
constexpr size_t kLengthsBytes = 8;  // class_len, header_len, content_len end every fixed header
// How far a request's body is looked into, and how much more of it is waited for at a time.
constexpr uint32_t kBodyBytesMax = 32 * 1024;
constexpr uint32_t kBodyStep = 1024;

constexpr std::string_view kRequestClass = "com.alipay.sofa.rpc.core.request.SofaRequest";
constexpr std::string_view kResponseClass = "com.alipay.sofa.rpc.core.response.SofaResponse";
constexpr std::string_view kService = "service";
constexpr std::string_view kTargetService = "sofa_head_target_service";
constexpr std::string_view kMethod = "sofa_head_method_name";
constexpr std::string_view kResponseError = "sofa_head_response_error";
enum Attribute : uint32_t { kXid, kTraceId, kRpcId };

/// v1 and v2 differ by the byte ver1 behind proto, and by the switch byte behind codec.
constexpr size_t fixed_bytes(uint8_t proto, uint8_t type) {
  return (type == kResponse ? 20 : 22) + (proto == 2 ? 2 : 0);
}

/// The fixed header, of either version. `p` must hold fixed_bytes().
struct Fixed {
  uint8_t proto;
  uint8_t ver1;  // 0 in v1
  uint8_t type;
  uint16_t command;
  uint8_t ver2;
  uint32_t id;
  uint8_t codec;
  uint8_t flags;       // v2's switch byte, 0 in v1
  int32_t timeout_ms;  // requests
  uint16_t status;     // responses
  uint32_t class_len;
  uint32_t header_len;
  uint32_t content_len;
  size_t size;

  // In place: each caller needs a few of them.
  [[gnu::always_inline]] explicit Fixed(const uint8_t* p) {
    proto = p[0];
    size_t at = 1;
    ver1 = proto == 2 ? p[at++] : 0;
    type = p[at];
    command = load_be<uint16_t>(p + at + 1);
    ver2 = p[at + 3];
    id = load_be<uint32_t>(p + at + 4);
    codec = p[at + 8];
    at += 9;
    flags = proto == 2 ? p[at++] : 0;
    timeout_ms = type == kResponse ? 0 : static_cast<int32_t>(load_be<uint32_t>(p + at));
    status = type == kResponse ? load_be<uint16_t>(p + at) : 0;
    at += type == kResponse ? 2 : 4;
    class_len = load_be<uint16_t>(p + at);
    header_len = load_be<uint16_t>(p + at + 2);
    content_len = load_be<uint32_t>(p + at + 4);
    size = at + kLengthsBytes;
  }
  size_t id_offset() const { return proto == 2 ? 6 : 5; }
  /// A checksum follows the frame only if both say so: Java clients set the switch with ver1 = 1 as well, and
  /// send none.
  bool has_crc() const { return ver1 == 2 && (flags & kSwitchCrc); }
};

/// Writes the fixed header of a frame without sections. `rest` is timeout_ms, or the status of a response.
void write_bare(ByteWriter& out, uint8_t proto, uint8_t ver1, uint8_t type, uint16_t command, uint8_t ver2,
                uint32_t id, uint8_t codec_byte, uint32_t rest) {
  out.u8(proto);
  if (proto == 2) out.u8(ver1);
  out.u8(type);
  out.be<uint16_t>(command);
  out.u8(ver2);
  out.be<uint32_t>(id);
  out.u8(codec_byte);
  if (proto == 2) out.u8(0);  // no checksum: the switch is per frame
  if (type == kResponse)
    out.be<uint16_t>(static_cast<uint16_t>(rest));
  else
    out.be<uint32_t>(rest);
  out.be<uint64_t>(0);
}

/// Calls pair(key, value, whole pair) for every pair of a key-value section. False, at any point, when it is
/// none. Pairs with a null key or value are reported with `null` set.
template <class F>
bool walk(std::span<const uint8_t> section, F&& pair) {
  ByteReader in(section);
  while (in.remaining() > 0) {
    size_t from = in.position();
    bool null = false;
    std::string_view text[2];
    for (std::string_view& t : text) {
      uint32_t len = in.be<uint32_t>();
      if (len > INT32_MAX)  // -1; Java takes any negative one for null
        null = true;
      else
        t = in.text(len);
    }
    if (!in.ok()) return false;
    pair(text[0], text[1], section.subspan(from, in.position() - from), null);
  }
  return true;
}

/// A complete head in its parts.
struct Parts {
  Fixed fixed;
  std::string_view class_name;
  std::span<const uint8_t> section;
  std::span<const uint8_t> body;  // as much of it as is part of the head

  [[gnu::always_inline]] explicit Parts(const Message& m) : fixed(m.head.data()) {
    class_name = {reinterpret_cast<const char*>(m.head.data()) + fixed.size, fixed.class_len};
    section = m.head.subspan(fixed.size + fixed.class_len, fixed.header_len);
    body = m.head.subspan(fixed.size + fixed.class_len + fixed.header_len);
  }
  /// Only these two classes put key-value pairs into the header section; JRaft has protobuf there.
  bool is_sofa() const { return class_name == kRequestClass || class_name == kResponseClass; }
  /// An answer that is only a status, as reply() makes them: peers look at nothing else in it, so pairs may stand there.
  bool is_bare_answer() const {
    return fixed.type == kResponse && fixed.class_len == 0 && fixed.content_len == 0;
  }
};

struct Bolt {
  static constexpr const char* kName = "bolt";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 24 + 2 * kSectionBytesMax + kBodyBytesMax;
  static constexpr const char* kAttributes[] = {"xid", "trace_id", "rpc_id"};
  static constexpr uint32_t kDetectBytesMax = 24;
  static constexpr uint32_t kIdLen = 4;

  int probe(std::span<const uint8_t> bytes, Frame& f) {
    uint8_t proto = bytes[0];
    if (proto != 1 && proto != 2) return codec::not_mine();
    size_t type_at = proto;
    if (bytes.size() <= type_at) return codec::need(f, type_at + 1);
    uint8_t type = bytes[type_at];
    if (type > kOneWay) return codec::refuse(f, DRAGOMAN_MALFORMED, "bolt: unknown type");
    // Responses are two bytes shorter, and may be the last bytes for a long time: never wait for a request's
    // length.
    size_t fixed_len = fixed_bytes(proto, type);
    if (bytes.size() < fixed_len) return codec::need(f, fixed_len);

    const Fixed h(bytes.data());
    f.kind = type == kRequest ? DRAGOMAN_REQUEST : type == kOneWay ? DRAGOMAN_ONEWAY : DRAGOMAN_RESPONSE;
    f.head_len = static_cast<uint32_t>(h.size);  // what reply() needs
    f.id_type = DRAGOMAN_ID_BE;
    f.id_offset = static_cast<uint32_t>(h.id_offset());
    f.id_len = 4;
    f.id = h.id;
    f.timeout_ms = h.timeout_ms;
    f.status = h.status;
    f.variant = uint32_t{h.proto} << 8 | h.ver1;
    if (proto == 2 && h.ver1 != 1 && h.ver1 != 2)  // a Java peer would wait for ever
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "bolt: unknown ver1");
    if (h.flags & kSwitchSign) return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "bolt: unknown switch");
    if (h.class_len > kSectionBytesMax)
      return codec::refuse(f, DRAGOMAN_TOO_BIG, "bolt: class name over 32767 bytes");
    if (h.header_len > kSectionBytesMax)
      return codec::refuse(f, DRAGOMAN_TOO_BIG, "bolt: header over 32767 bytes");
    if (h.content_len > kContentBytesMax)
      return codec::refuse(f, DRAGOMAN_TOO_BIG, "bolt: content over 2^31-1 bytes");

    f.head_len += h.class_len + h.header_len;
    f.total_len = uint64_t{f.head_len} + h.content_len;
    if (h.has_crc()) {
      f.checksum = DRAGOMAN_CHECKSUM_CRC32;
      f.checksum_offset = f.total_len;
      f.total_len += 4;
    }
    if (h.ver2 != kCommandVersion)
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "bolt: unknown command version");
    switch (h.command) {
      case kRpcRequest:
        if (type != kResponse) return with_body(bytes, h, f);
        break;
      case kRpcResponse:
        if (type == kResponse) return codec::found(f);
        break;
      case kHeartbeat:
        if (type == kOneWay) break;
        f.kind = type == kRequest ? DRAGOMAN_HEARTBEAT : DRAGOMAN_HEARTBEAT_ACK;
        return codec::found(f);
      case kGoAway:
        if (type == kResponse) break;
        f.kind = DRAGOMAN_GOAWAY;
        return codec::found(f);
    }
    return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "bolt: unknown command");
  }

  bool view(const Message& m, uint32_t want, View& v) {
    const Parts parts(m);
    Once service_header, target, method_header;
    bool once = true;
    SofaContext context;
    bool sofa = (parts.is_sofa() || (parts.is_bare_answer() && !parts.section.empty())) &&
                walk(parts.section, [&](std::string_view key, std::string_view value, auto, bool null) {
                  if (null) return;
                  if (want & DRAGOMAN_WANT_HEADERS) {
                    v.header(key, value);
                    context.see_header(key, value);
                  }
                  // Java takes the last of several, MOSN the first.
                  if (key == kService)
                    once = service_header.take(value) && once;
                  else if (key == kTargetService)
                    once = target.take(value) && once;
                  else if (key == kMethod)
                    once = method_header.take(value) && once;
                });
    if (!sofa) {
      v.opaque();
      v.service(parts.class_name);
      v.method(parts.class_name.substr(parts.class_name.find_last_of("$.") + 1));
      return true;
    }
    // Peers look into one of these or the other, by release and by the codec of the content.
    std::string_view service = service_header.value(), method = method_header.value();
    if (service.empty()) service = target.value();
    if (!once || (!target.value().empty() && target.value() != service)) return false;
    if (reads_body(parts.fixed, want)) {
      SofaBody body;
      if (!body.read(parts.body)) v.unread();
      if (body.ambiguous) return false;
      if (service.empty()) service = body.service;
      if (!body.service.empty() && body.service != service) return false;
      if (method.empty()) method = body.method;
      context.add(body.context);
    }
    v.service(service);
    v.method(method);
    if (!context.xid.empty()) v.attribute(kXid, context.xid);
    if (!context.trace_id.empty()) v.attribute(kTraceId, context.trace_id);
    if (!context.rpc_id.empty()) v.attribute(kRpcId, context.rpc_id);
    return true;
  }

  uint32_t outcome(const Message& m) {
    switch (m.frame.status) {
      case kSuccess: {
        // SOFARPC reports business errors, and "no such service", with status 0 and this header only.
        const Parts parts(m);
        std::string_view error;
        bool sofa = parts.is_sofa() &&
                    walk(parts.section, [&](std::string_view key, std::string_view value, auto, bool null) {
                      if (!null && key == kResponseError) error = value;
                    });
        return sofa && error == "true" ? DRAGOMAN_OUTCOME_SERVER_ERROR : DRAGOMAN_OUTCOME_OK;
      }
      case kError:
      case kServerException:
      case kUnknown:
      case kServerSerialException:
        return DRAGOMAN_OUTCOME_SERVER_ERROR;
      case kServerThreadpoolBusy:
        return DRAGOMAN_OUTCOME_OVERLOADED;
      case kErrorComm:
      case kClientSendError:
      case kConnectionClosed:
        return DRAGOMAN_OUTCOME_RESET;
      case kNoProcessor:
        return DRAGOMAN_OUTCOME_NO_ROUTE;
      case kTimeout:
        return DRAGOMAN_OUTCOME_TIMEOUT;
      case kCodecException:
        return DRAGOMAN_OUTCOME_CODEC_ERROR;
      case kServerDeserialException:
        return DRAGOMAN_OUTCOME_CLIENT_ERROR;
      default:
        return DRAGOMAN_OUTCOME_UNKNOWN;
    }
  }

  /// Header-only responses, which every client takes. Only statuses of the enum: a Java client closes the
  /// connection on any other. Never SUCCESS: without a body a Java client returns null and a Node client
  /// closes.
  bool reply(const Message& m, uint32_t outcome, std::string_view, ByteWriter& out) {
    uint16_t status = kUnknown;
    switch (outcome) {
      case DRAGOMAN_OUTCOME_CLIENT_ERROR:
        status = kServerDeserialException;
        break;
      case DRAGOMAN_OUTCOME_OVERLOADED:
      case DRAGOMAN_OUTCOME_RATE_LIMITED:
        status = kServerThreadpoolBusy;
        break;
      case DRAGOMAN_OUTCOME_TIMEOUT:
        status = kTimeout;
        break;
      case DRAGOMAN_OUTCOME_UNAVAILABLE:
      case DRAGOMAN_OUTCOME_NO_ROUTE:
        status = kNoProcessor;
        break;
      case DRAGOMAN_OUTCOME_DENIED:
        status = kServerException;
        break;
      case DRAGOMAN_OUTCOME_RESET:
        status = kConnectionClosed;
        break;
      case DRAGOMAN_OUTCOME_CODEC_ERROR:
      case DRAGOMAN_OUTCOME_TOO_LARGE:
        status = kCodecException;
        break;
    }
    // In the request's form, but a valid frame even where the request's versions were not.
    const Fixed h(m.head.data());
    uint8_t ver1 = h.ver1 == 2 ? 2 : 1;
    write_bare(out, h.proto, ver1, kResponse, kRpcResponse, kCommandVersion, h.id, h.codec, status);
    return true;
  }

  /// Names compare without regard to ASCII case, like everywhere in the proxy.
  bool edit(const Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    const Parts parts(m);
    if (!parts.is_sofa() && !parts.is_bare_answer()) return false;
    size_t fixed_and_class = parts.fixed.size + parts.fixed.class_len;
    out.bytes(m.head.first(fixed_and_class));
    bool done = codec::apply_edits(
        edits, out,
        [&](auto&& keep) {
          return walk(parts.section,
                      [&](std::string_view key, std::string_view, std::span<const uint8_t> whole, bool) {
                        keep(key, codec::text_of(whole));
                      });
        },
        [&](std::string_view name, std::string_view value) {
          if (name.size() > kSectionBytesMax || value.size() > kSectionBytesMax) return false;
          out.be<uint32_t>(static_cast<uint32_t>(name.size()));
          out.text(name);
          out.be<uint32_t>(static_cast<uint32_t>(value.size()));
          out.text(value);
          return true;
        });
    if (!done) return false;
    size_t header_len = out.size() - fixed_and_class;
    if (header_len > kSectionBytesMax) return false;
    out.patch_be<uint16_t>(parts.fixed.size - 6, static_cast<uint16_t>(header_len));
    out.bytes(parts.body);
    return true;
  }

  bool heartbeat(uint32_t variant, uint64_t id, ByteWriter& out) {
    write_bare(out, proto_of(variant), static_cast<uint8_t>(variant), kRequest, kHeartbeat, kCommandVersion,
               static_cast<uint32_t>(id), kHessian2, UINT32_MAX);
    return true;
  }
  bool heartbeat_reply(const Message& m, ByteWriter& out) {
    const Fixed h(m.head.data());
    write_bare(out, h.proto, h.ver1, kResponse, kHeartbeat, kCommandVersion, h.id, h.codec, kSuccess);
    return true;
  }
  /// Not part of SOFA Bolt: MOSN's. sofa-bolt peers close the connection on it.
  bool goaway(uint32_t variant, ByteWriter& out) {
    write_bare(out, proto_of(variant), static_cast<uint8_t>(variant), kRequest, kGoAway, kCommandVersion, 0,
               kHessian2, 0);
    return true;
  }

 private:
  /// Whether a request of a SOFARPC class has a body to look into.
  static bool reads_body(const Fixed& h, uint32_t want) {
    return (want & DRAGOMAN_WANT_BODY) && h.type != kResponse && h.codec == kHessian2 && h.content_len > 0;
  }
  /// Makes the beginning of the body part of the head, as far as it has to be read. That does not depend on what the header
  /// section says, which edits may change.
  static int with_body(std::span<const uint8_t> bytes, const Fixed& h, Frame& f) {
    if (!reads_body(h, f.want) || h.class_len != kRequestClass.size()) return codec::found(f);
    const uint32_t limit = std::min(h.content_len, kBodyBytesMax);
    if (bytes.size() < f.head_len) return codec::need(f, f.head_len + std::min(limit, kBodyStep));
    const auto name = bytes.subspan(h.size, h.class_len);
    if (!std::equal(name.begin(), name.end(), kRequestClass.begin())) return codec::found(f);
    const auto here = static_cast<uint32_t>(std::min<size_t>(bytes.size() - f.head_len, limit));
    SofaBody body;
    if (body.read(bytes.subspan(f.head_len, here))) {
      f.head_len += static_cast<uint32_t>(body.bytes);
    } else if (here < limit) {
      return codec::need(f, f.head_len + std::min(limit, 2 * here + kBodyStep));
    } else {
      f.head_len += limit;  // not to be read: view() comes to the same
    }
    return codec::found(f);
  }
  /// Variant 0: nothing was said yet.
  static uint8_t proto_of(uint32_t variant) { return variant >> 8 == 2 ? 2 : 1; }
};

}  // namespace

const dragoman_codec* bolt_codec() { return codec_table<Bolt>(); }

}  // namespace dragoman
