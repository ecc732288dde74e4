#include "protocols/thrift/thrift.h"

#include <algorithm>

#include "protocols/codec.hpp"
#include "protocols/thrift/header.h"
#include "protocols/thrift/message.h"
#include "protocols/thrift/walker.h"

namespace dragoman {
namespace {

using codec::Frame;
using codec::View;
using thrift::Encoding;
using thrift::Parsed;

constexpr uint32_t kLengthMax = 256 << 20;  // and so no TLS record looks like a frame
constexpr size_t kExceptionHeadMax = 4096;  // answers of this kind up to here are read for their type
constexpr size_t kZlibHeadMax = 8192;       // compressed bytes in which a message's beginning is looked for

enum class Transport : uint8_t { kNone, kFramed, kUnframed, kHeader };

/// What a frame is, from its first bytes.
struct Form {
  Transport transport = Transport::kNone;
  Encoding encoding = Encoding::kBinary;
  thrift::Header header;
  size_t message_at = 0;  // in the frame
  thrift::Message message;
  bool compressed = false;                         // `message` was found behind a transform, in `plain`
  bool unreadable = false;  // in an unknown encoding, or behind transforms that can't be undone here
  uint8_t plain[thrift::kMessageHeadMax];

  Form() {}  // `plain` is not cleared
  bool unframed() const { return transport == Transport::kUnframed; }
  std::string_view service() const {
    size_t colon = message.name.find(':');
    return colon == std::string_view::npos ? std::string_view() : message.name.substr(0, colon);
  }
  std::string_view method() const {
    size_t colon = message.name.find(':');
    return colon == std::string_view::npos ? message.name : message.name.substr(colon + 1);
  }
};

/// Finds the message in a frame. `total` is 0 for unframed ones. `need` counts from the frame's beginning.
Parsed find_message(std::span<const uint8_t> bytes, uint64_t total, Form& form, size_t& need) {
  uint64_t limit = total ? total - form.message_at : 0;
  if (total && limit == 0) return Parsed::kMalformed;
  auto here = bytes.subspan(std::min(form.message_at, bytes.size()));
  Parsed parsed = thrift::parse_message(here, form.encoding, limit, form.message);
  need = form.message_at + form.message.need;
  return parsed;
}

Parsed find_in_header(std::span<const uint8_t> bytes, uint64_t total, Form& form, size_t& need) {
  if (Parsed p = thrift::parse_header(bytes, total, form.header, need); p != Parsed::kDone) return p;
  form.message_at = form.header.end;
  form.encoding = form.header.encoding;
  form.unreadable = !form.header.known || form.header.transforms != 0;
  if (!form.unreadable) return find_message(bytes, total, form, need);
  if (!form.header.zlib || !form.header.known) return Parsed::kDone;
  need = static_cast<size_t>(std::min<uint64_t>(total, form.message_at + kZlibHeadMax));
  if (bytes.size() < need) return Parsed::kNeed;
  size_t n = thrift::inflate_beginning(bytes.subspan(form.message_at, need - form.message_at), form.plain);
  if (n == 0) return Parsed::kMalformed;
  Parsed p = thrift::parse_message({form.plain, n}, form.encoding, n, form.message);
  if (p != Parsed::kDone) return Parsed::kMalformed;
  form.compressed = true;
  form.unreadable = false;
  return Parsed::kDone;
}

Parsed find_form(std::span<const uint8_t> b, Form& form, uint64_t& total, size_t& need) {
  total = 0;
  auto unframed = [&](Encoding encoding) {
    form.transport = Transport::kUnframed;
    form.encoding = encoding;
    return find_message(b, 0, form, need);
  };
  if (b[0] == 0x80) return unframed(Encoding::kBinary);
  if (b[0] == 0x82) return unframed(Encoding::kCompact);
  need = 5;
  if (b.size() < 4) return Parsed::kNeed;
  uint32_t len = load_be<uint32_t>(b.data());
  if (len == 0) {
    total = 4;
    return Parsed::kDone;
  }
  if (b.size() < 5) return Parsed::kNeed;
  if (b[4] != 0x80 && b[4] != 0x82 && b[4] != 0x0f && b[4] != 0x00) return unframed(Encoding::kOldBinary);
  total = uint64_t{4} + len;
  form.transport = Transport::kFramed;
  form.message_at = 4;
  if (b[4] == 0x0f) {
    need = 6;
    if (b.size() < 6) return Parsed::kNeed;
    if (b[5] != 0xff) return Parsed::kNotMine;
    form.transport = Transport::kHeader;
  }
  if (len > kLengthMax) return Parsed::kMalformed;
  if (form.transport == Transport::kHeader) return find_in_header(b, total, form, need);
  form.encoding = b[4] == 0x80 ? Encoding::kBinary : b[4] == 0x82 ? Encoding::kCompact : Encoding::kOldBinary;
  Parsed parsed = find_message(b, total, form, need);
  // Nothing but the name tells old frames from other protocols': a length that can't be true says that it is none.
  return parsed == Parsed::kMalformed && form.encoding == Encoding::kOldBinary ? Parsed::kNotMine : parsed;
}

/// The form of a complete head.
void read_form(std::span<const uint8_t> head, Form& form) {
  uint64_t total = 0;
  size_t need = 0;
  find_form(head, form, total, need);
}

struct Thrift {
  static constexpr const char* kName = "thrift";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax =
      thrift::kHeaderFixed + 4 * thrift::kHeaderWordsMax + std::max(thrift::kMessageHeadMax, kZlibHeadMax);
  static constexpr uint32_t kDetectBytesMax = 24;
  static constexpr uint32_t kIdLen = 4;

  Transport transport;  // of the connection's first frame: peers keep to it
  uint8_t encoding;     // 1 + that of the first frame; old binary counts as binary. Not for THeader
  thrift::Walker walker;
  char name[256];  // of the compressed request being viewed

  int probe(std::span<const uint8_t> b, Frame& f) {
    Form form;
    uint64_t total = 0;
    size_t need = 0;
    Parsed parsed = find_form(b, form, total, need);
    if (total) f.total_len = total;
    switch (parsed) {
      case Parsed::kNeed:
        return codec::need(f, need);
      case Parsed::kNotMine:
        f.total_len = 0;
        return codec::not_mine();
      case Parsed::kMalformed:
        return codec::refuse(f, DRAGOMAN_MALFORMED, "thrift: not a message");
      case Parsed::kTooBig: return codec::refuse(f, DRAGOMAN_TOO_BIG, "thrift: name too long");
      case Parsed::kDone:
        break;
    }
    if (form.transport == Transport::kNone) {  // an empty frame: legal, and nothing
      f.kind = DRAGOMAN_HEARTBEAT_ACK;
      f.head_len = 4;
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "thrift: empty frame");
    }
    describe(form, f);
    auto encoding_now = static_cast<uint8_t>(form.encoding == Encoding::kCompact ? 2 : 1);
    bool header = form.transport == Transport::kHeader;
    if (transport == Transport::kNone) {
      transport = form.transport;
      encoding = header ? 0 : encoding_now;
    } else if (transport != form.transport || (!header && encoding != encoding_now)) {
      f.kind = 0;
      return codec::refuse(f, DRAGOMAN_MALFORMED, "thrift: transport or encoding changed");
    }
    if (header && form.unreadable)
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "thrift: unknown transform or encoding");
    return codec::found(f);
  }

  int extent(const Frame& f, uint64_t offset, std::span<const uint8_t> bytes, uint64_t& used) {
    if (offset == 0) walker.begin(f.variant & 1 ? Encoding::kCompact : Encoding::kBinary);
    size_t n = 0;
    thrift::Walk walk = walker.feed(bytes, n);
    used = n;
    return walk == thrift::Walk::kEnd       ? DRAGOMAN_FRAME
           : walk == thrift::Walk::kMore    ? DRAGOMAN_NEED
           : walk == thrift::Walk::kTooDeep ? DRAGOMAN_TOO_BIG
                                            : DRAGOMAN_MALFORMED;
  }

  bool view(const codec::Message& m, uint32_t want, View& v) {
    Form form;
    read_form(m.head, form);
    std::string_view service = form.service(), method = form.method();
    if (form.compressed) {  // the name stands nowhere in the head
      service = service.substr(0, sizeof name / 2);
      method = method.substr(0, sizeof name / 2);
      std::copy(service.begin(), service.end(), name);
      std::copy(method.begin(), method.end(), name + sizeof name / 2);
      service = {name, service.size()};
      method = {name + sizeof name / 2, method.size()};
    }
    v.service(service);
    v.method(method);
    if (form.transport != Transport::kHeader) {
      v.opaque();
      return true;
    }
    if (want & DRAGOMAN_WANT_HEADERS)
      thrift::walk_info(m.head, form.header,
                        [&](std::string_view key, std::string_view value, auto) { v.header(key, value); });
    return true;
  }

  uint32_t outcome(const codec::Message& m) {
    if (m.frame.status != thrift::kException) return DRAGOMAN_OUTCOME_OK;  // exceptions of the interface are answers
    Form form;
    read_form(m.head, form);
    int32_t type = 0;
    if (!form.compressed && !form.unframed() && m.head.size() == m.frame.total_len)
      type = thrift::exception_type(m.head.subspan(form.message_at + form.message.size), form.encoding);
    return thrift::outcome_of(type);
  }

  bool reply(const codec::Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    Form form;
    read_form(m.head, form);
    thrift::ErrorType type = thrift::error_for(outcome);
    if (type == thrift::kProtocolError && form.unreadable)
      type = form.header.known_encoding ? thrift::kInvalidTransform : thrift::kInvalidProtocol;
    text = text.empty() ? thrift::words_for(outcome) : text.substr(0, thrift::kReplyTextMax);
    if (form.transport != Transport::kUnframed) out.be<uint32_t>(0);
    if (form.transport == Transport::kHeader) {  // no transforms, no pairs
      out.be<uint32_t>(0x0fff0000);
      out.be<uint32_t>(form.header.sequence);
      out.be<uint16_t>(1);
      out.u8(form.encoding == Encoding::kCompact ? 2 : 0);
      out.u8(0);
      out.be<uint16_t>(0);
    }
    thrift::write_exception(form.method(), static_cast<uint32_t>(m.frame.id), text, type, form.encoding, out);
    if (form.transport != Transport::kUnframed) out.patch_be<uint32_t>(0, static_cast<uint32_t>(out.size() - 4));
    return true;
  }

  /// The pairs of a THeader; other transports have nothing of the kind. Names compare without regard to ASCII case.
  bool edit(const codec::Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    Form form;
    read_form(m.head, form);
    if (form.transport != Transport::kHeader || !form.header.known) return false;
    auto walk = [&](auto&& keep) {
      return thrift::walk_info(m.head, form.header,
                               [&](std::string_view key, std::string_view, std::span<const uint8_t> whole) {
                                 keep(key, codec::text_of(whole));
                               });
    };
    uint32_t kept = 0;
    if (!codec::count_edited(edits, walk, kept) || kept > thrift::kInfoPairsMax) return false;
    out.bytes(m.head.first(form.header.info));
    if (kept > 0) {
      thrift::write_varint(1, out);
      thrift::write_varint(kept, out);
    }
    codec::apply_edits(edits, out, walk, [&](std::string_view key, std::string_view value) {
      thrift::write_varint(key.size(), out);
      out.text(key);
      thrift::write_varint(value.size(), out);
      out.text(value);
      return true;
    });
    while ((out.size() - thrift::kHeaderFixed) % 4 != 0) out.u8(0);
    size_t words = (out.size() - thrift::kHeaderFixed) / 4;
    if (words > thrift::kHeaderWordsMax) return false;
    int64_t grown = static_cast<int64_t>(out.size()) - static_cast<int64_t>(form.header.end);
    out.bytes(m.head.subspan(form.header.end));
    out.patch_be<uint16_t>(12, static_cast<uint16_t>(words));
    out.patch_be<uint32_t>(0, static_cast<uint32_t>(static_cast<int64_t>(m.frame.total_len) - 4 + grown));
    return true;
  }

  /// The id of compact messages changes their length; that of a THeader stands in two places.
  bool set_id(const codec::Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    Form form;
    read_form(m.head, form);
    uint64_t sequence = load_be<uint64_t>(id.data());
    if (sequence > UINT32_MAX || form.unreadable) return false;
    if (form.compressed) {  // can't be reached; it never has to be on connections of one call at a time
      out.bytes(m.head);
      return sequence == m.frame.id;
    }
    size_t at = form.message_at + form.message.sequence_offset;
    out.bytes(m.head.first(at));
    if (form.encoding == Encoding::kCompact)
      thrift::write_varint(sequence, out);
    else
      out.be<uint32_t>(static_cast<uint32_t>(sequence));
    int64_t grown = static_cast<int64_t>(out.size() - at) - static_cast<int64_t>(form.message.sequence_len);
    out.bytes(m.head.subspan(at + form.message.sequence_len));
    if (!form.unframed())
      out.patch_be<uint32_t>(0, static_cast<uint32_t>(static_cast<int64_t>(m.frame.total_len) - 4 + grown));
    // Servers leave the header's own number 0 in answers: what was not there is not put there.
    if (form.transport == Transport::kHeader && (m.frame.kind != DRAGOMAN_RESPONSE || form.header.sequence != 0))
      out.patch_be<uint32_t>(8, static_cast<uint32_t>(sequence));
    return true;
  }

 private:
  static void describe(const Form& form, Frame& f) {
    const thrift::Message& message = form.message;
    bool header = form.transport == Transport::kHeader;
    f.kind = message.type == thrift::kCall     ? DRAGOMAN_REQUEST
             : message.type == thrift::kOneWay ? DRAGOMAN_ONEWAY
                                               : DRAGOMAN_RESPONSE;
    size_t head = form.message_at + message.size;
    if (form.unreadable) {
      // From a client it is answered with an error, whatever it was. Servers only answer.
      f.kind = f.from == DRAGOMAN_FROM_CLIENT ? DRAGOMAN_REQUEST : DRAGOMAN_RESPONSE;
      head = form.header.end;
    } else if (form.compressed) {
      head = static_cast<size_t>(std::min<uint64_t>(f.total_len, form.message_at + kZlibHeadMax));
    } else if (message.type == thrift::kException && !form.unframed() && f.total_len <= kExceptionHeadMax) {
      head = static_cast<size_t>(f.total_len);
    }
    f.status = f.kind == DRAGOMAN_RESPONSE ? message.type : 0;
    f.head_len = static_cast<uint32_t>(head);
    if (form.unframed()) f.total_len = DRAGOMAN_LENGTH_UNKNOWN;

    bool in_place = !header && form.encoding != Encoding::kCompact;
    bool own = form.compressed || form.unreadable;  // the header's number stands for the message's
    f.id_type = in_place ? DRAGOMAN_ID_BE : DRAGOMAN_ID_CODED;
    f.id_offset = static_cast<uint32_t>(own ? 8 : form.message_at + message.sequence_offset);
    f.id_len = static_cast<uint32_t>(own ? 4 : message.sequence_len);
    f.id = form.unreadable ? form.header.sequence : message.sequence;
    // C++ and Python clients give every call the number 0 and take answers as they come.
    if (f.kind == DRAGOMAN_REQUEST && f.id == 0) f.flags = DRAGOMAN_FRAME_ORDERED;
    if (f.kind == DRAGOMAN_RESPONSE) f.flags |= DRAGOMAN_FRAME_FORM;
    // Some servers answer with the number 0, and any server may answer a one-way message: it goes by its interface.
    if (f.kind != DRAGOMAN_RESPONSE || f.id == 0) f.flags |= DRAGOMAN_FRAME_LOOSE;
    // A THeader names the encoding of each message, so an answer may have another than its request.
    const bool compact = form.encoding == Encoding::kCompact && form.transport != Transport::kHeader;
    f.variant = static_cast<uint32_t>(form.transport) << 1 | (compact ? 1 : 0);
    if (form.unframed() || form.compressed) f.variant |= DRAGOMAN_VARIANT_EXCLUSIVE;
  }
};

}  // namespace

const dragoman_codec* thrift_codec() { return codec_table<Thrift>(); }

}  // namespace dragoman
