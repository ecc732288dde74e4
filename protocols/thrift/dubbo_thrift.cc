#include "protocols/thrift/dubbo_thrift.h"

#include "protocols/codec.hpp"
#include "protocols/thrift/message.h"

namespace dragoman {
namespace {

using codec::Frame;
using codec::View;
using thrift::Encoding;
using thrift::Parsed;

constexpr size_t kServiceAt = 13;           // its length
constexpr size_t kFixedBytes = 17;          // up to the service's text
constexpr size_t kIdBytes = 8;              // the header's last
constexpr uint32_t kHeaderBytesMin = 21;    // counted from offset 4, as on the wire: no service, no path
constexpr size_t kExceptionHeadMax = 4096;  // answers of this kind up to here are read for their type
constexpr uint8_t kVersionByte = 1;

/// The parts of a complete head.
struct Parts {
  size_t message_at;
  std::string_view service;
  thrift::Message message;

  explicit Parts(std::span<const uint8_t> head) {
    message_at = size_t{4} + load_be<uint16_t>(&head[10]);
    service = {reinterpret_cast<const char*>(head.data()) + kFixedBytes, load_be<uint32_t>(&head[kServiceAt])};
    thrift::parse_message(head.subspan(message_at), Encoding::kBinary, 0, message);
  }
};

struct DubboThrift {
  static constexpr const char* kName = "dubbo_thrift";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 4 + UINT16_MAX + thrift::kMessageHeadMax;
  static constexpr uint32_t kDetectBytesMax = 6;
  static constexpr uint32_t kIdLen = 8;
  static constexpr uint32_t kIdBits = 53;  // Node peers read it into a double

  int probe(std::span<const uint8_t> b, Frame& f) {
    if (b.size() < 6) return codec::need(f, 6);
    if (b[4] != 0xda || b[5] != 0xbc) return codec::not_mine();
    uint32_t len = load_be<uint32_t>(b.data());
    if (len > INT32_MAX) return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo_thrift: negative length");
    if (len < kHeaderBytesMin) return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo_thrift: frame too short");
    f.total_len = uint64_t{4} + len;
    if (b.size() < kFixedBytes) return codec::need(f, kFixedBytes);
    if (load_be<uint32_t>(&b[6]) != len)
      return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo_thrift: two different lengths");
    uint32_t header = load_be<uint16_t>(&b[10]);
    uint32_t service = load_be<uint32_t>(&b[kServiceAt]);
    if (b[12] != kVersionByte || header < kHeaderBytesMin || header > len || service > header - kHeaderBytesMin)
      return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo_thrift: bad header");
    size_t message_at = size_t{4} + header;
    if (b.size() < message_at) return codec::need(f, message_at);
    // Between service and id stands nothing, or 2.7's path. 2.6 reads the id right behind the service.
    const size_t path_at = kFixedBytes + service, id_at = message_at - kIdBytes;
    if (id_at != path_at && (id_at - path_at < 4 || load_be<uint32_t>(&b[path_at]) != id_at - path_at - 4))
      return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo_thrift: header with more than service, path and id");
    thrift::Message message;
    if (len == header) return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo_thrift: no message");
    switch (thrift::parse_message(b.subspan(message_at), Encoding::kBinary, len - header, message)) {
      case Parsed::kDone:
        break;
      case Parsed::kNeed:
        return codec::need(f, message_at + message.need);
      case Parsed::kTooBig:
        return codec::refuse(f, DRAGOMAN_TOO_BIG, "dubbo_thrift: name too long");
      default:
        return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo_thrift: not a message");
    }
    f.kind = message.type == thrift::kCall     ? DRAGOMAN_REQUEST
             : message.type == thrift::kOneWay ? DRAGOMAN_ONEWAY
                                               : DRAGOMAN_RESPONSE;
    f.status = f.kind == DRAGOMAN_RESPONSE ? message.type : 0;
    bool small = message.type == thrift::kException && f.total_len <= kExceptionHeadMax;
    f.head_len = static_cast<uint32_t>(small ? f.total_len : message_at + message.size);
    f.id_type = DRAGOMAN_ID_BE;
    f.id_offset = static_cast<uint32_t>(message_at - kIdBytes);  // wherever 2.7's path ends
    f.id_len = kIdBytes;
    f.id = load_be<uint64_t>(&b[f.id_offset]);
    return codec::found(f);
  }

  bool view(const codec::Message& m, uint32_t, View& v) {
    const Parts parts(m.head);
    v.service(parts.service);
    v.method(parts.message.name);
    v.opaque();
    return true;
  }

  uint32_t outcome(const codec::Message& m) {
    if (m.frame.status != thrift::kException) return DRAGOMAN_OUTCOME_OK;
    const Parts parts(m.head);
    bool whole = m.head.size() == m.frame.total_len;
    return thrift::outcome_of(
        whole ? thrift::exception_type(m.head.subspan(parts.message_at + parts.message.size), Encoding::kBinary) : 0);
  }

  /// With the service, without the path: 2.6 writes none, and 2.7 can't read its own.
  bool reply(const codec::Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    const Parts parts(m.head);
    auto header = static_cast<uint16_t>(kHeaderBytesMin + parts.service.size());
    out.be<uint32_t>(0);
    out.be<uint16_t>(0xdabc);
    out.be<uint32_t>(0);
    out.be<uint16_t>(header);
    out.u8(kVersionByte);
    out.be<uint32_t>(static_cast<uint32_t>(parts.service.size()));
    out.text(parts.service);
    out.be<uint64_t>(m.frame.id);
    text = text.empty() ? thrift::words_for(outcome) : text.substr(0, thrift::kReplyTextMax);
    thrift::write_exception(parts.message.name, parts.message.sequence, text, thrift::error_for(outcome),
                            Encoding::kBinary, out);
    out.patch_be<uint32_t>(0, static_cast<uint32_t>(out.size() - 4));
    out.patch_be<uint32_t>(6, static_cast<uint32_t>(out.size() - 4));
    return true;
  }
};

}  // namespace

const dragoman_codec* dubbo_thrift_codec() { return codec_table<DubboThrift>(); }

}  // namespace dragoman
