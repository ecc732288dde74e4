#include "protocols/brpc/brpc.h"

#include <algorithm>
#include <charconv>

#include "protocols/codec.hpp"

namespace dragoman {
namespace {

using codec::Frame;
using codec::Message;
using codec::Once;
using codec::text_of;
using codec::View;

constexpr std::string_view kMagic = "PRPC", kStreamMagic = "STRM";
constexpr size_t kPrefixBytes = 12;           // magic, body size, meta size
constexpr uint32_t kBodyBytesMax = INT32_MAX;  // brpc's own limit is a setting, 64 MiB when left out
constexpr uint32_t kMetaBytesMax = 64 << 10;
constexpr uint32_t kMetaSlack = 64;  // an id or header may be added to the longest meta
constexpr size_t kReplyTextMax = 1000;
constexpr uint32_t kUserFieldsMax = 1024;

// Fields of RpcMeta and of the messages in it.
enum MetaField : uint32_t { kRequest = 1, kResponse = 2, kId = 4, kStreamSettings = 8, kUserFields = 9 };
enum RequestField : uint32_t { kService = 1, kMethod = 2, kLogId = 3, kRequestId = 7, kTimeoutMs = 8 };
enum ResponseField : uint32_t { kErrorCode = 1, kErrorText = 2 };
enum PairField : uint32_t { kKey = 1, kValue = 2 };

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// errno.h's and brpc's own.
enum Error : int32_t {
  kEPipe = 32,
  kEConnReset = 104,
  kETimedOut = 110,
  kEConnRefused = 111,
  kEHostDown = 112,
  kENoService = 1001,
  kENoMethod = 1002,
  kERequest = 1003,
  kERpcAuth = 1004,
  kERpcTimedOut = 1008,
  kEFailedSocket = 1009,
  kEOverCrowded = 1011,
  kEEof = 1014,
  kEReject = 1018,
  kEInternal = 2001,
  kELogOff = 2003,
  kELimit = 2004,
  kEClose = 2005,
};

enum Attribute : uint32_t { kLogIdAttribute, kRequestIdAttribute };

/// One field of a protobuf message: `number` of a varint, `text` of what has a length.
struct Field {
  uint32_t tag = 0, wire = 0;
  uint64_t number = 0;
  std::string_view text;
  size_t begin = 0, end = 0;  // with its tag
};

/// Reads the fields of a message; groups, which brpc's messages never had, are refused.
class Fields {
 public:
  explicit Fields(std::string_view message)
      : in_(reinterpret_cast<const uint8_t*>(message.data()), message.size()) {}

  /// False at the end and at what is no field: see ok().
  bool next(Field& f) {
    if (!ok_ || in_.remaining() == 0) return false;
    f.begin = in_.position();
    uint64_t key = varint();
    f.tag = static_cast<uint32_t>(key >> 3);
    f.wire = key & 7;
    f.text = {};
    if (key > UINT32_MAX || f.tag == 0) ok_ = false;
    if (f.wire == kVarint)
      f.number = varint();
    else if (f.wire == kFixed64)
      in_.skip(8);
    else if (f.wire == kFixed32)
      in_.skip(4);
    else if (f.wire == kBytes)
      f.text = in_.text(static_cast<size_t>(std::min<uint64_t>(varint(), SIZE_MAX)));
    else
      ok_ = false;
    ok_ = ok_ && in_.ok();
    f.end = in_.position();
    return ok_;
  }
  bool ok() const { return ok_; }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      uint8_t byte = in_.u8();
      if (shift == 63 && byte > 1) break;  // over 64 bits
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }
  ByteReader in_;
  bool ok_ = true;
};

void write_varint(ByteWriter& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.u8(static_cast<uint8_t>(value | 0x80));
  out.u8(static_cast<uint8_t>(value));
}
size_t varint_len(uint64_t value) {
  size_t n = 1;
  while (value >>= 7) ++n;
  return n;
}
void write_number(ByteWriter& out, uint32_t tag, uint64_t value) {
  write_varint(out, tag << 3 | kVarint);
  write_varint(out, value);
}
void write_text(ByteWriter& out, uint32_t tag, std::string_view text) {
  write_varint(out, tag << 3 | kBytes);
  write_varint(out, text.size());
  out.text(text);
}

bool read_pair(std::string_view message, std::string_view& key, std::string_view& value) {
  Once once[2];
  Fields fields(message);
  for (Field f; fields.next(f);) {
    if (f.tag != kKey && f.tag != kValue) continue;
    if (f.wire != kBytes || !once[f.tag - kKey].take(f.text)) return false;
  }
  key = once[0].value();
  value = once[1].value();
  return fields.ok();
}

/// RpcMeta. Of what peers act on nothing is there twice, since readers take the last, the first, or (of messages) both
/// together; but for the id, of which protobuf takes the last: proxies append another, and set_id() leaves one.
struct Meta {
  bool ok = true;
  bool has_request = false, has_response = false, opens_stream = false;
  std::string_view service, method, request_id;
  uint64_t log_id = 0, id = 0;
  bool has_log_id = false;
  int32_t timeout_ms = 0, error_code = 0;
  size_t id_begin, id_end;  // the field in the meta; its end when it is left out

  explicit Meta(std::string_view bytes) : id_begin(bytes.size()), id_end(bytes.size()) {
    Fields fields(bytes);
    uint32_t pairs = 0, seen = 0;
    for (Field f; fields.next(f);) {
      bool message = f.wire == kBytes;
      if (f.tag == kRequest || f.tag == kResponse || f.tag == kStreamSettings) ok = ok && first(seen, f.tag);
      if (f.tag == kRequest) {
        ok = ok && message && request(f.text);
      } else if (f.tag == kResponse) {
        ok = ok && message && response(f.text);
      } else if (f.tag == kStreamSettings) {
        ok = ok && message;
        opens_stream = true;
      } else if (f.tag == kUserFields) {
        std::string_view key, value;
        ok = ok && message && ++pairs <= kUserFieldsMax && read_pair(f.text, key, value);
      } else if (f.tag == kId) {
        ok = ok && f.wire == kVarint;
        id = f.number;
        id_begin = f.begin;
        id_end = f.end;
      }
    }
    ok = ok && fields.ok();
  }

 private:
  /// Whether a field with this tag, below 32, is the first one.
  static bool first(uint32_t& seen, uint32_t tag) {
    const uint32_t bit = 1u << tag;
    return (seen & bit) ? false : (seen |= bit, true);
  }
  bool request(std::string_view bytes) {
    has_request = true;
    uint32_t seen = 0;
    Fields fields(bytes);
    for (Field f; fields.next(f);) {
      bool text = f.tag == kService || f.tag == kMethod || f.tag == kRequestId;
      bool number = f.tag == kLogId || f.tag == kTimeoutMs;
      if ((text && f.wire != kBytes) || (number && f.wire != kVarint)) return false;
      if ((text || number) && !first(seen, f.tag)) return false;
      if (f.tag == kService) service = f.text;
      if (f.tag == kMethod) method = f.text;
      if (f.tag == kRequestId) request_id = f.text;
      if (f.tag == kLogId) log_id = f.number, has_log_id = true;
      if (f.tag == kTimeoutMs) timeout_ms = static_cast<int32_t>(f.number);
    }
    return fields.ok();
  }
  bool response(std::string_view bytes) {
    has_response = true;
    uint32_t seen = 0;
    Fields fields(bytes);
    for (Field f; fields.next(f);) {
      if (f.tag != kErrorCode) continue;
      if (f.wire != kVarint || !first(seen, f.tag)) return false;
      error_code = static_cast<int32_t>(f.number);
    }
    return fields.ok();
  }
};

std::string_view meta_of(const Message& m) { return text_of(m.head.subspan(kPrefixBytes)); }

struct Brpc {
  static constexpr const char* kName = "brpc";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = kPrefixBytes + kMetaBytesMax + kMetaSlack;
  static constexpr uint32_t kDetectBytesMax = kPrefixBytes;
  static constexpr uint32_t kIdLen = 8;
  static constexpr uint32_t kIdBits = 53;  // int64, which some languages read into a double
  static constexpr const char* kAttributes[] = {"log_id", "request_id"};

  int probe(std::span<const uint8_t> bytes, Frame& f) {
    std::string_view magic = text_of(bytes.first(std::min(bytes.size(), kMagic.size())));
    if (!kMagic.starts_with(magic)) {
      if (magic != kStreamMagic)
        return kStreamMagic.starts_with(magic) ? codec::need(f, kMagic.size()) : codec::not_mine();
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "brpc: frames of streams");
    }
    if (bytes.size() < kPrefixBytes)
      return codec::need(f, bytes.size() < kMagic.size() ? kMagic.size() : kPrefixBytes);
    uint32_t body = load_be<uint32_t>(bytes.data() + 4);
    uint32_t meta_size = load_be<uint32_t>(bytes.data() + 8);
    if (meta_size > body) return codec::refuse(f, DRAGOMAN_MALFORMED, "brpc: meta longer than the body");
    if (body > kBodyBytesMax) return codec::refuse(f, DRAGOMAN_MALFORMED, "brpc: body over 2^31-1 bytes");
    if (meta_size > kMetaBytesMax + kMetaSlack)
      return codec::refuse(f, DRAGOMAN_TOO_BIG, "brpc: meta over 64 KiB");
    size_t head = kPrefixBytes + meta_size;
    if (bytes.size() < head) return codec::need(f, head);

    Meta meta(text_of(bytes.subspan(kPrefixBytes, meta_size)));
    if (!meta.ok) return codec::refuse(f, DRAGOMAN_MALFORMED, "brpc: meta is no RpcMeta");
    f.total_len = uint64_t{kPrefixBytes} + body;
    f.head_len = static_cast<uint32_t>(head);
    f.id_type = DRAGOMAN_ID_CODED;
    f.id_offset = static_cast<uint32_t>(kPrefixBytes + meta.id_begin);
    f.id_len = static_cast<uint32_t>(meta.id_end - meta.id_begin);
    f.id = meta.id;
    // An answer that tells nothing but its id is one of success.
    if (meta.has_response ? !meta.has_request || f.from == DRAGOMAN_FROM_SERVER
                          : !meta.has_request && f.from == DRAGOMAN_FROM_SERVER) {
      f.kind = DRAGOMAN_RESPONSE;
      f.status = meta.error_code;
      return codec::found(f);
    }
    if (!meta.has_request) return codec::refuse(f, DRAGOMAN_MALFORMED, "brpc: neither request nor response");
    f.kind = DRAGOMAN_REQUEST;
    f.timeout_ms = meta.timeout_ms;
    if (meta.opens_stream) return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "brpc: opens a stream");
    return codec::found(f);
  }

  bool view(const Message& m, uint32_t want, View& v) {
    Meta meta(meta_of(m));
    v.service(meta.service);
    v.method(meta.method);
    if (!(want & DRAGOMAN_WANT_HEADERS)) return true;
    Fields fields(meta_of(m));
    std::string_view key, value;
    for (Field f; fields.next(f);)
      if (f.tag == kUserFields && read_pair(f.text, key, value)) v.header(key, value);
    if (meta.has_log_id) {
      char digits[20];
      auto end = std::to_chars(digits, digits + sizeof digits, static_cast<int64_t>(meta.log_id)).ptr;
      v.attribute(kLogIdAttribute, {digits, static_cast<size_t>(end - digits)});
    }
    if (!meta.request_id.empty()) v.attribute(kRequestIdAttribute, meta.request_id);
    return true;
  }

  uint32_t outcome(const Message& m) {
    switch (m.frame.status) {
      case 0: return DRAGOMAN_OUTCOME_OK;
      case kENoService:
      case kENoMethod: return DRAGOMAN_OUTCOME_NO_ROUTE;
      case kERequest: return DRAGOMAN_OUTCOME_CLIENT_ERROR;
      case kERpcAuth: return DRAGOMAN_OUTCOME_DENIED;
      case kERpcTimedOut:
      case kETimedOut: return DRAGOMAN_OUTCOME_TIMEOUT;
      case kEHostDown:
      case kEConnRefused:
      case kELogOff:
      case kEClose: return DRAGOMAN_OUTCOME_UNAVAILABLE;
      case kEFailedSocket:
      case kEEof:
      case kEPipe:
      case kEConnReset: return DRAGOMAN_OUTCOME_RESET;
      case kEOverCrowded:
      case kEReject:
      case kELimit: return DRAGOMAN_OUTCOME_OVERLOADED;
      default: return DRAGOMAN_OUTCOME_SERVER_ERROR;
    }
  }

  bool reply(const Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    int32_t code = kEInternal;
    switch (outcome) {
      case DRAGOMAN_OUTCOME_CLIENT_ERROR:
      case DRAGOMAN_OUTCOME_CODEC_ERROR:
      case DRAGOMAN_OUTCOME_TOO_LARGE: code = kERequest; break;
      case DRAGOMAN_OUTCOME_OVERLOADED:
      case DRAGOMAN_OUTCOME_RATE_LIMITED: code = kELimit; break;
      case DRAGOMAN_OUTCOME_TIMEOUT: code = kERpcTimedOut; break;
      case DRAGOMAN_OUTCOME_UNAVAILABLE: code = kEHostDown; break;
      case DRAGOMAN_OUTCOME_NO_ROUTE: code = kENoService; break;
      case DRAGOMAN_OUTCOME_DENIED: code = kERpcAuth; break;
      case DRAGOMAN_OUTCOME_RESET: code = kEFailedSocket; break;
    }
    text = text.substr(0, kReplyTextMax);
    auto number = static_cast<uint32_t>(code);
    size_t len = 1 + varint_len(number) + (text.empty() ? 0 : 1 + varint_len(text.size()) + text.size());
    out.text(kMagic);
    out.be<uint64_t>(0);
    write_varint(out, kResponse << 3 | kBytes);
    write_varint(out, len);
    write_number(out, kErrorCode, number);
    if (!text.empty()) write_text(out, kErrorText, text);
    if (m.frame.id != 0) write_number(out, kId, m.frame.id);
    auto meta = static_cast<uint32_t>(out.size() - kPrefixBytes);
    out.patch_be<uint32_t>(4, meta);
    out.patch_be<uint32_t>(8, meta);
    return true;
  }

  /// User fields. New ones go to the end of the meta, everything else stays as it is.
  bool edit(const Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    std::string_view bytes = meta_of(m);
    out.bytes(m.head.first(kPrefixBytes));
    bool done = codec::apply_edits(
        edits, out,
        [&](auto&& keep) {
          Fields fields(bytes);
          std::string_view key, value;
          for (Field f; fields.next(f);) {
            std::string_view field = bytes.substr(f.begin, f.end - f.begin);
            if (f.tag != kUserFields)
              out.text(field);
            else if (read_pair(f.text, key, value))
              keep(key, field);
          }
          return fields.ok();
        },
        [&](std::string_view name, std::string_view value) {
          write_varint(out, kUserFields << 3 | kBytes);
          write_varint(out,
                       2 + varint_len(name.size()) + name.size() + varint_len(value.size()) + value.size());
          write_text(out, kKey, name);
          write_text(out, kValue, value);
          return true;
        });
    return done && finish_sizes(m, out);
  }

  /// In the place of the last one; those before it go. 0 is left out, that is its default.
  bool set_id(const Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    out.bytes(m.head.first(kPrefixBytes));
    uint64_t value = load_be<uint64_t>(id.data());
    std::string_view before = text_of(m.head.subspan(kPrefixBytes, m.frame.id_offset - kPrefixBytes));
    Fields fields(before);
    for (Field f; fields.next(f);)
      if (f.tag != kId) out.text(before.substr(f.begin, f.end - f.begin));
    if (value != 0) write_number(out, kId, value);
    out.bytes(m.head.subspan(m.frame.id_offset + m.frame.id_len));
    return finish_sizes(m, out);
  }

 private:
  static bool finish_sizes(const Message& m, ByteWriter& out) {
    uint64_t body = m.frame.total_len - m.head.size() + out.size() - kPrefixBytes;
    if (body > kBodyBytesMax) return false;
    out.patch_be<uint32_t>(4, static_cast<uint32_t>(body));
    out.patch_be<uint32_t>(8, static_cast<uint32_t>(out.size() - kPrefixBytes));
    return true;
  }
};

}  // namespace

const dragoman_codec* brpc_codec() { return codec_table<Brpc>(); }

}  // namespace dragoman
