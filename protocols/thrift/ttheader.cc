#include "protocols/thrift/ttheader.h"

#include <charconv>

#include "protocols/codec.hpp"
#include "protocols/thrift/message.h"

namespace dragoman {
namespace {

using codec::Frame;
using codec::Once;
using codec::View;
using thrift::Encoding;
using thrift::Parsed;

constexpr uint32_t kLengthMax = 0x3fffffff;
constexpr size_t kInfoAt = 14;      // encoding, transforms, sections
constexpr size_t kSectionsAt = 16;  // without transforms
constexpr size_t kIdAt = 8;
constexpr uint32_t kInfoBytesMax = 96 << 10;
constexpr size_t kExceptionMax =
    4096;  // answers of this kind with payloads up to here are read for their type
constexpr uint32_t kPairsMax = 1024;
constexpr uint16_t kMagic = 0x1000, kStreaming = 2;

enum Payload : uint8_t { kThriftBinary = 0, kProtobuf = 4, kStreamStruct = 16 };
enum Section : uint8_t { kPadding = 0, kTextPairs = 1, kNumberPairs = 16, kToken = 17 };
enum Key : uint16_t {
  kLogId = 2,
  kFrom = 3,
  kToService = 6,
  kToCluster = 7,
  kToMethod = 9,
  kEnv = 10,
  kTimeout = 12,
  kMessageType = 22,
  kFrameType = 27
};
constexpr std::string_view kReset = "crrst", kChecksum = "crc32c", kBizStatus = "biz-status",
                           kServiceName = "isn";
constexpr std::string_view kStreamHeader = "2", kStreamReset = "5";
constexpr auto kUnknownService = static_cast<thrift::ErrorType>(20);

enum Attribute : uint32_t { kFromAttribute, kClusterAttribute, kEnvAttribute, kLogIdAttribute };

/// Calls pair(section, key, name, value, begin, end) for each pair (key of numbers, else name) and section(id, begin, end)
/// for each section. False when they go past the end or are unknown.
template <class Pair, class Whole>
bool walk(std::string_view sections, Pair&& pair, Whole&& section) {
  ByteReader in(reinterpret_cast<const uint8_t*>(sections.data()), sections.size());
  uint32_t pairs = 0;
  while (in.remaining() > 0) {
    size_t begin = in.position();
    uint8_t id = in.u8();
    if (id == kPadding) continue;
    if (id == kToken) {
      in.skip(in.be<uint16_t>());
    } else if (id == kTextPairs || id == kNumberPairs) {
      for (uint32_t n = in.be<uint16_t>(); n > 0 && in.ok(); --n) {
        if (++pairs > kPairsMax) return false;
        size_t at = in.position();
        uint16_t key = in.be<uint16_t>();
        std::string_view name = id == kTextPairs ? in.text(key) : std::string_view();
        std::string_view value = in.text(in.be<uint16_t>());
        if (in.ok()) pair(id, key, name, value, at, in.position());
      }
    } else {
      return false;
    }
    if (!in.ok()) return false;
    section(id, begin, in.position());
  }
  return in.ok();
}

/// What the sections say. Kitex takes the last of several values of a key and other peers may not: what is read here must
/// be the same every time.
struct Info {
  bool ok;
  bool once = true;
  Once service, service_name, method, from, cluster, env, log_id, message_type, frame_type, timeout,
      resets_now, status;
  int64_t timeout_ms = 0;
  int32_t biz_status = 0;
  bool resets = false, has_checksum = false;

  explicit Info(std::string_view sections) {
    ok = walk(
        sections,
        [this](uint8_t section, uint16_t key, std::string_view name, std::string_view value, size_t, size_t) {
          if (section == kNumberPairs)
            number_pair(key, value);
          else
            text_pair(name, value);
        },
        [](uint8_t, size_t, size_t) {});
    auto number = [](const Once& text, auto& out) {
      std::string_view t = text.value();
      std::from_chars(t.data(), t.data() + t.size(), out);
    };
    number(timeout, timeout_ms);
    number(status, biz_status);
    resets = resets_now.value() == "1";
    ok = ok && once;
  }

 private:
  void take(Once& to, std::string_view value) { once = to.take(value) && once; }
  void number_pair(uint16_t key, std::string_view value) {
    switch (key) {
      case kLogId: take(log_id, value); break;
      case kFrom: take(from, value); break;
      case kToService: take(service, value); break;
      case kToCluster: take(cluster, value); break;
      case kToMethod: take(method, value); break;
      case kEnv: take(env, value); break;
      case kTimeout: take(timeout, value); break;
      case kMessageType: take(message_type, value); break;
      case kFrameType: take(frame_type, value); break;
      default: break;
    }
  }
  void text_pair(std::string_view name, std::string_view value) {
    if (name == kServiceName) take(service_name, value);
    if (name == kReset) take(resets_now, value);
    if (name == kChecksum) has_checksum = true;
    if (name == kBizStatus) take(status, value);
  }
};

size_t info_end(std::span<const uint8_t> head) { return kInfoAt + size_t{4} * load_be<uint16_t>(&head[12]); }
std::string_view sections_of(std::span<const uint8_t> head) {
  return codec::text_of(head.subspan(kSectionsAt, info_end(head) - kSectionsAt));
}
bool is_stream(std::span<const uint8_t> head) { return load_be<uint16_t>(&head[6]) & kStreaming; }

/// The message behind the info of a complete head, or of as much of a frame as is there.
struct Inner {
  size_t at;
  bool framed = false, protobuf = false;
  thrift::Message message;
  Parsed parsed = Parsed::kMalformed;

  Inner(std::span<const uint8_t> bytes, uint64_t total) : at(info_end(bytes)) {
    if (at >= total) return;
    message.need = 1;
    parsed = Parsed::kNeed;
    if (at >= bytes.size()) return;
    framed = bytes[at] < 0x80;
    if (framed) {
      message.need = 5;
      bool fits = total - at >= 5;
      if (fits && bytes.size() - at < 5) return;
      if (!fits || load_be<uint32_t>(&bytes[at]) != total - at - 4) {
        parsed = Parsed::kMalformed;
        return;
      }
      at += 4;
    }
    message.need = 0;
    protobuf = bytes[at] == 0x90;
    parsed = protobuf ? thrift::parse_kitex_protobuf(bytes.subspan(at), total - at, message)
                      : thrift::parse_message(bytes.subspan(at), Encoding::kBinary, total - at, message);
  }
};

struct TtHeader {
  static constexpr const char* kName = "ttheader";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax =
      kInfoAt + kInfoBytesMax + 4 + thrift::kMessageHeadMax + kExceptionMax;
  static constexpr uint32_t kDetectBytesMax = 6;
  static constexpr uint32_t kIdLen = 4;
  static constexpr const char* kAttributes[] = {"from", "cluster", "env", "log_id"};

  int probe(std::span<const uint8_t> b, Frame& f) {
    if (b.size() > 4 && b[4] != kMagic >> 8) return codec::not_mine();
    if (b.size() < 6) return codec::need(f, 6);
    if (load_be<uint16_t>(&b[4]) != kMagic) return codec::not_mine();
    uint64_t total = uint64_t{4} + load_be<uint32_t>(b.data());
    if (total - 4 > kLengthMax) return codec::refuse(f, DRAGOMAN_MALFORMED, "ttheader: length over 2^30-1");
    if (total < kSectionsAt) return codec::refuse(f, DRAGOMAN_MALFORMED, "ttheader: frame too short");
    if (b.size() < kSectionsAt) return codec::need(f, kSectionsAt);
    size_t end = info_end(b);
    if (end < kSectionsAt || end > total)
      return codec::refuse(f, DRAGOMAN_MALFORMED, "ttheader: bad header size");
    if (end > kInfoAt + kInfoBytesMax)
      return codec::refuse(f, DRAGOMAN_TOO_BIG, "ttheader: header over 96 KiB");
    if (b[15] != 0) return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "ttheader: transforms");
    if (b.size() < end) return codec::need(f, end);
    Info info(sections_of(b));
    if (!info.ok)
      return codec::refuse(
          f, DRAGOMAN_MALFORMED,
          info.once ? "ttheader: sections past the header" : "ttheader: two values of one key");
    f.id_type = DRAGOMAN_ID_CODED;
    f.id_offset = kIdAt;
    f.id_len = 4;
    f.id = load_be<uint32_t>(&b[kIdAt]);
    if (is_stream(b)) {
      bool opens = info.frame_type.value() == kStreamHeader && f.from != DRAGOMAN_FROM_SERVER;
      f.kind = opens ? DRAGOMAN_REQUEST : DRAGOMAN_ONEWAY;
      f.total_len = total;
      f.head_len = static_cast<uint32_t>(end);
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "ttheader: streams");
    }

    Inner inner(b, total);
    switch (inner.parsed) {
      case Parsed::kDone: break;
      case Parsed::kNeed: return codec::need(f, inner.at + inner.message.need);
      case Parsed::kTooBig: return codec::refuse(f, DRAGOMAN_TOO_BIG, "ttheader: name too long");
      case Parsed::kNotMine:
        return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "ttheader: message in another encoding");
      default: return codec::refuse(f, DRAGOMAN_MALFORMED, "ttheader: not a message");
    }
    const thrift::Message& message = inner.message;
    f.total_len = total;
    f.head_len = static_cast<uint32_t>(inner.at + message.size);
    // Clients compare the message's number with theirs, but an exception's may be anything.
    if (message.type != thrift::kException) f.id = message.sequence;
    if (message.type == thrift::kCall || message.type == thrift::kOneWay) {
      bool one_way = message.type == thrift::kOneWay || info.message_type.value() == "4";
      // Kitex calls the method that the message names; what reads the header only must find the same.
      if (info.method.there() && !info.method.value().empty() && info.method.value() != message.name)
        return codec::refuse(f, DRAGOMAN_MALFORMED, "ttheader: header and message name different methods");
      f.kind = one_way ? DRAGOMAN_ONEWAY : DRAGOMAN_REQUEST;
      f.flags |=
          DRAGOMAN_FRAME_LOOSE;  // some servers answer with the number 0, also what their interface says is a call
      f.timeout_ms = info.timeout_ms;
      return codec::found(f);
    }
    f.kind = DRAGOMAN_RESPONSE;
    if (f.id == 0) f.flags |= DRAGOMAN_FRAME_LOOSE;
    f.status = info.biz_status;
    if (message.type == thrift::kReply) {
      if (f.id == 0 && load_be<uint32_t>(&b[kIdAt]) == 0 && info.resets) f.kind = DRAGOMAN_GOAWAY;
      return codec::found(f);
    }
    f.status = 0;
    if (total - end > kExceptionMax) return codec::found(f);
    f.head_len = static_cast<uint32_t>(total);
    if (b.size() < total) return codec::need(f, total);
    f.status = exception_type(inner, b.first(static_cast<size_t>(total)));
    return codec::found(f);
  }

  bool view(const codec::Message& m, uint32_t want, View& v) {
    const Info info(sections_of(m.head));
    v.service(info.service.value().empty() ? info.service_name.value() : info.service.value());
    v.method(info.method.value());
    if (info.method.value().empty()) v.method(Inner(m.head, m.frame.total_len).message.name);
    if (!(want & DRAGOMAN_WANT_HEADERS)) return true;
    walk(
        sections_of(m.head),
        [&](uint8_t section, uint16_t, std::string_view name, std::string_view value, size_t, size_t) {
          if (section == kTextPairs) v.header(name, value);
        },
        [](uint8_t, size_t, size_t) {});
    auto give = [&](Attribute attribute, const Once& text) {
      if (!text.value().empty()) v.attribute(attribute, text.value());
    };
    give(kFromAttribute, info.from);
    give(kClusterAttribute, info.cluster);
    give(kEnvAttribute, info.env);
    give(kLogIdAttribute, info.log_id);
    return true;
  }

  uint32_t outcome(const codec::Message& m) {
    // An error of the business travels as a reply.
    if (Inner(m.head, m.frame.total_len).message.type == thrift::kReply) return DRAGOMAN_OUTCOME_OK;
    if (m.frame.status == kUnknownService) return DRAGOMAN_OUTCOME_NO_ROUTE;
    return thrift::outcome_of(m.frame.status);
  }

  bool reply(const codec::Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    thrift::ErrorType type =
        outcome == DRAGOMAN_OUTCOME_NO_ROUTE ? kUnknownService : thrift::error_for(outcome);
    text = text.empty() ? thrift::words_for(outcome) : text.substr(0, thrift::kReplyTextMax);
    auto id = static_cast<uint32_t>(m.frame.id);
    out.be<uint32_t>(0);
    out.be<uint16_t>(kMagic);
    if (is_stream(m.head)) {
      std::string_view method = Info(sections_of(m.head)).method.value();
      out.be<uint16_t>(kStreaming);
      out.be<uint32_t>(id);
      out.be<uint16_t>(0);
      out.u8(kStreamStruct);
      out.u8(0);
      write_section_head(out, kTextPairs, 1);
      write_text(out, "ttscp");  // who cancelled it
      write_text(out, "mesh");
      write_section_head(out, kNumberPairs, 2);
      out.be<uint16_t>(kToMethod);
      write_text(out, method);
      out.be<uint16_t>(kFrameType);
      write_text(out, kStreamReset);
      finish_info(out);
      thrift::write_exception(method, id, text, type, Encoding::kBinary, out);
      return finish_length(out, out.size());
    }
    Inner inner(m.head, m.frame.total_len);
    out.be<uint16_t>(0);
    out.be<uint32_t>(id);
    out.be<uint16_t>(0);
    out.u8(inner.protobuf ? kProtobuf : kThriftBinary);
    out.u8(0);
    write_section_head(out, kNumberPairs, 1);
    out.be<uint16_t>(kMessageType);
    write_text(out, "3");
    finish_info(out);
    size_t frame_at = out.size();
    if (inner.framed) out.be<uint32_t>(0);
    size_t payload_at = out.size();
    if (inner.protobuf)
      write_protobuf_exception(inner.message.name, id, text, type, out);
    else
      thrift::write_exception(inner.message.name, id, text, type, Encoding::kBinary, out);
    if (inner.framed) out.patch_be<uint32_t>(frame_at, static_cast<uint32_t>(out.size() - payload_at));
    return finish_length(out, out.size());
  }

  /// Pairs with text keys; they are written as one section, behind the others.
  bool edit(const codec::Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    std::string_view sections = sections_of(m.head);
    auto text_pairs = [&](auto&& keep) {
      return walk(
          sections,
          [&](uint8_t section, uint16_t, std::string_view name, std::string_view, size_t begin, size_t end) {
            if (section == kTextPairs) keep(name, sections.substr(begin, end - begin));
          },
          [](uint8_t, size_t, size_t) {});
    };
    uint32_t count = 0;
    if (!codec::count_edited(edits, text_pairs, count) || count > kPairsMax) return false;
    out.bytes(m.head.first(kSectionsAt));
    walk(
        sections, [](uint8_t, uint16_t, std::string_view, std::string_view, size_t, size_t) {},
        [&](uint8_t section, size_t begin, size_t end) {
          if (section != kTextPairs) out.text(sections.substr(begin, end - begin));
        });
    if (count > 0) {
      write_section_head(out, kTextPairs, static_cast<uint16_t>(count));
      bool done =
          codec::apply_edits(edits, out, text_pairs, [&](std::string_view name, std::string_view value) {
            if (name.size() > UINT16_MAX || value.size() > UINT16_MAX) return false;
            write_text(out, name);
            write_text(out, value);
            return true;
          });
      if (!done) return false;
    }
    if (!finish_info(out)) return false;
    out.bytes(m.head.subspan(info_end(m.head)));
    return finish_length(out, m.frame.total_len + out.size() - m.head.size());
  }

  /// Both numbers. A checksum over the payload, which holds one of them, is left out: peers check it only where it is.
  bool set_id(const codec::Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    if (Info(sections_of(m.head)).has_checksum) {
      auto name = reinterpret_cast<const uint8_t*>(kChecksum.data());
      dragoman_edit remove = {DRAGOMAN_EDIT_REMOVE, 0, {name, kChecksum.size()}, {nullptr, 0}};
      if (!edit(m, {&remove, 1}, out)) return false;
    } else {
      out.bytes(m.head);
    }
    Inner inner(m.head, m.frame.total_len);
    size_t from_end = m.head.size() - (inner.at + inner.message.sequence_offset);
    auto number = static_cast<uint32_t>(load_be<uint64_t>(id.data()));
    out.patch_be<uint32_t>(kIdAt, number);
    out.patch_be<uint32_t>(out.size() - from_end, number);
    return true;
  }

  /// What clients of Kitex's multiplexed transport take as the sign to open another connection.
  bool goaway(uint32_t, ByteWriter& out) {
    out.be<uint32_t>(0);
    out.be<uint16_t>(kMagic);
    out.be<uint16_t>(0);
    out.be<uint32_t>(0);
    out.be<uint32_t>(0);  // header size, encoding, transforms
    write_section_head(out, kTextPairs, 1);
    write_text(out, kReset);
    write_text(out, "1");
    finish_info(out);
    out.be<uint32_t>(0x80010000u | thrift::kReply);
    out.be<uint32_t>(4);
    out.text("none");
    out.be<uint32_t>(0);
    out.u8(0);
    return finish_length(out, out.size());
  }

 private:
  static int32_t exception_type(const Inner& inner, std::span<const uint8_t> frame) {
    auto body = frame.subspan(inner.at + inner.message.size);
    if (!inner.protobuf) return thrift::exception_type(body, Encoding::kBinary);
    ByteReader in(body);  // ErrorProto: field 1 is the type
    if (in.u8() != 0x08) return 0;
    uint64_t type = thrift::read_varint(in, 10);
    return in.ok() ? static_cast<int32_t>(type) : 0;
  }
  static void write_protobuf_exception(std::string_view name, uint32_t id, std::string_view text,
                                       thrift::ErrorType type, ByteWriter& out) {
    out.be<uint32_t>(0x90010000u | thrift::kException);
    out.be<uint32_t>(static_cast<uint32_t>(name.size()));
    out.text(name);
    out.be<uint32_t>(id);
    out.u8(0x08);
    thrift::write_varint(type, out);
    out.u8(0x12);
    thrift::write_varint(text.size(), out);
    out.text(text);
  }

  static void write_section_head(ByteWriter& out, Section section, uint16_t pairs) {
    out.u8(section);
    out.be<uint16_t>(pairs);
  }
  static void write_text(ByteWriter& out, std::string_view text) {
    out.be<uint16_t>(static_cast<uint16_t>(text.size()));
    out.text(text);
  }
  /// `out` ends with the last section.
  static bool finish_info(ByteWriter& out) {
    while ((out.size() - kInfoAt) % 4 != 0) out.u8(kPadding);
    size_t size = out.size() - kInfoAt;
    out.patch_be<uint16_t>(12, static_cast<uint16_t>(size / 4));
    return size <= kInfoBytesMax;
  }
  static bool finish_length(ByteWriter& out, uint64_t total) {
    out.patch_be<uint32_t>(0, static_cast<uint32_t>(total - 4));
    return total - 4 <= kLengthMax;
  }
};

}  // namespace

const dragoman_codec* ttheader_codec() { return codec_table<TtHeader>(); }

}  // namespace dragoman
