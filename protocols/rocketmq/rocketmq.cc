#include "protocols/rocketmq/rocketmq.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "protocols/codec.hpp"
#include "protocols/rocketmq/command.h"

namespace dragoman {
namespace {

using codec::Frame;
using codec::Message;
using codec::Once;
using codec::text_of;
using codec::View;
using rocketmq::Command;
using rocketmq::Encoding;
using rocketmq::JsonValue;
using rocketmq::Value;

constexpr size_t kPrefixBytes = 8;             // length, encoding, header length
// No frame of a peer is so long, and so no TLS record looks like one, nor any magic number.
constexpr uint32_t kLengthMax = 256 << 20;
constexpr uint32_t kHeaderBytesMax = 96 << 10;
// Binary headers have at most 32 KiB of properties. A bound under 64 KiB tells them from Bolt's first bytes.
constexpr uint32_t kBinaryHeaderBytesMax = 60 << 10;
constexpr uint32_t kHeaderSlack = 64;  // an id may take more digits in the longest header
constexpr size_t kDetectBytes = 11;
constexpr uint8_t kLanguages = 32;  // 14 are known
constexpr size_t kReplyTextMax = 1000;

enum RequestCode : int32_t { kSendMessageV2 = 310, kSendBatch = 320, kGetRouteInfo = 105 };
enum ResponseCode : int32_t {
  kSuccess = 0,
  kSystemError = 1,
  kSystemBusy = 2,
  kNotSupported = 3,
  kFlushDiskTimeout = 10,
  kSlaveNotAvailable = 11,
  kFlushSlaveTimeout = 12,
  kMessageIllegal = 13,
  kServiceNotAvailable = 14,
  kVersionNotSupported = 15,
  kNoPermission = 16,
  kTopicNotExist = 17,
  kTopicExists = 18,
  kPullNotFound = 19,
  kPullRetryImmediately = 20,
  kPullOffsetMoved = 21,
  kQueryNotFound = 22,
  kSubscriptionParseFailed = 23,
  kSubscriptionNotExist = 24,
  kSubscriptionNotLatest = 25,
  kSubscriptionGroupNotExist = 26,
  kPollingFull = 209,
  kPollingTimeout = 210,
  kFlowControl = 215,
  kGoAway = 1500,
};

enum Attribute : uint32_t { kCodeAttribute, kGroupAttribute, kBrokerAttribute };

std::string_view header_of(const Message& m) { return text_of(m.head.subspan(kPrefixBytes)); }
Command command_of(const Message& m) { return {header_of(m), static_cast<Encoding>(m.head[4])}; }

/// What a value stands for; its text until the next one is asked for. Only long values with escapes need the heap.
class Decoded {
 public:
  std::string_view operator()(const Value& value) {
    if (!value.is_escaped()) return value.text;
    char* to = small_;
    if (value.text.size() > sizeof small_) {
      large_.resize(value.text.size());
      to = large_.data();
    }
    return {to, rocketmq::unescape_json(value.text, to)};
  }

 private:
  char small_[2048];
  std::string large_;
};

struct RocketMq {
  char topic_[512];  // of the head being viewed, where it was written with escapes

  static constexpr const char* kName = "rocketmq";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = kPrefixBytes + kHeaderBytesMax + kHeaderSlack;
  static constexpr uint32_t kDetectBytesMax = kDetectBytes;
  static constexpr uint32_t kIdLen = 4;
  static constexpr const char* kAttributes[] = {"code", "group", "broker"};
  static constexpr uint32_t kLacks = DRAGOMAN_WANT_METHOD;  // a code is a number

  int probe(std::span<const uint8_t> bytes, Frame& f) {
    if (bytes.size() < 5) return codec::need(f, 5);
    uint8_t encoding = bytes[4];
    if (encoding > rocketmq::kBinary) return codec::not_mine();
    uint64_t length = load_be<uint32_t>(bytes.data());
    if (length > kLengthMax) return codec::refuse(f, DRAGOMAN_MALFORMED, "rocketmq: length over 256 MiB");
    if (bytes.size() < kPrefixBytes) return codec::need(f, kPrefixBytes);
    uint32_t header = load_be<uint32_t>(bytes.data() + 4) & 0xffffff;
    if (uint64_t{4} + header > length)
      return codec::refuse(f, DRAGOMAN_MALFORMED, "rocketmq: header longer than the frame");
    bool binary = encoding == rocketmq::kBinary;
    // Bolt's version and type; the peers' own default, 16 MiB, is below all such lengths.
    const bool bolt = (bytes[0] == 1 || bytes[0] == 2) && bytes[1] <= 2;
    if (bolt && f.from == DRAGOMAN_FROM_UNKNOWN) return codec::not_mine();
    if (header < (binary ? rocketmq::kBinaryHeaderMin : 2))
      return codec::refuse(f, DRAGOMAN_MALFORMED, "rocketmq: header too short");
    if (header > header_bytes_max(binary))
      return codec::refuse(f, DRAGOMAN_TOO_BIG, "rocketmq: header over 96 KiB, or 60 KiB of a binary one");
    if (bytes.size() < (binary ? kDetectBytes : kPrefixBytes + 1))
      return codec::need(f, binary ? kDetectBytes : kPrefixBytes + 1);
    uint8_t first = bytes[kPrefixBytes];
    if (binary ? bytes[kDetectBytes - 1] >= kLanguages
               : first != '{' && first != ' ' && first != '\n' && first != '\r' && first != '\t')
      return codec::not_mine();
    size_t head = kPrefixBytes + header;
    if (bytes.size() < head) return codec::need(f, head);

    Command c(text_of(bytes.subspan(kPrefixBytes, header)), static_cast<Encoding>(encoding));
    if (!c.ok) return codec::refuse(f, DRAGOMAN_MALFORMED, "rocketmq: header is no command");
    f.total_len = 4 + length;
    f.head_len = static_cast<uint32_t>(head);
    f.id_type = binary ? DRAGOMAN_ID_BE : DRAGOMAN_ID_CODED;
    f.id_offset = static_cast<uint32_t>(kPrefixBytes + c.id_at);
    f.id_len = static_cast<uint32_t>(c.id_len);
    f.id = static_cast<uint32_t>(c.id);
    if (c.flag & rocketmq::kAnswer) {
      f.kind = DRAGOMAN_RESPONSE;
      f.status = c.code;
    } else {
      f.kind = c.flag & rocketmq::kOneWay ? DRAGOMAN_ONEWAY : DRAGOMAN_REQUEST;
    }
    return codec::found(f);
  }

  bool view(const Message& m, uint32_t want, View& v) {
    Command c = command_of(m);
    bool short_names =
        m.frame.kind != DRAGOMAN_RESPONSE && (c.code == kSendMessageV2 || c.code == kSendBatch);
    const bool request = m.frame.kind != DRAGOMAN_RESPONSE;
    Once topic, group, broker;
    bool headers = want & DRAGOMAN_WANT_HEADERS, once = true;
    Decoded decoded;
    c.pairs(header_of(m), [&](std::string_view name, const Value& value, size_t, size_t) {
      if (headers && !value.is_null()) v.header(name, decoded(value));
      // Names that routes match: text, and the same wherever it stands.
      auto take = [&](Once& to) {
        once = once && value.kind == JsonValue::kString && codec::is_utf8(value.text) && to.take(value.text);
      };
      if (!request || value.is_null()) return;
      if (name == (short_names ? "b" : "topic")) take(topic);
      if (short_names ? name == "a" : name == "producerGroup" || name == "consumerGroup" || name == "group")
        take(group);
      if (name == (short_names ? "n" : "bname")) take(broker);
    });
    if (!once) return false;
    if (!request) return true;
    bool escaped = c.encoding == rocketmq::kJson && topic.value().find('\\') != std::string_view::npos;
    if (escaped) {
      if (topic.value().size() > sizeof topic_) return false;
      v.service({topic_, rocketmq::unescape_json(topic.value(), topic_)});
    } else {
      v.service(topic.value());
    }
    if (!headers) return true;
    char digits[12];
    auto end = std::to_chars(digits, digits + sizeof digits, c.code).ptr;
    v.attribute(kCodeAttribute, {digits, static_cast<size_t>(end - digits)});
    const bool json = c.encoding == rocketmq::kJson;
    auto give = [&](Attribute attribute, std::string_view text) {
      text = decoded({text, JsonValue::kString, json});
      if (text.size() > DRAGOMAN_ATTRIBUTE_BYTES_MAX) return false;
      if (!text.empty()) v.attribute(attribute, text);
      return true;
    };
    return give(kGroupAttribute, group.value()) && give(kBrokerAttribute, broker.value());
  }

  uint32_t outcome(const Message& m) {
    switch (m.frame.status) {
      case kSuccess:
      case kFlushDiskTimeout:  // the message was taken
      case kSlaveNotAvailable:
      case kFlushSlaveTimeout:
      case kPullNotFound:  // no news
      case kPullRetryImmediately:
      case kPullOffsetMoved:
      case kQueryNotFound:
      case kPollingTimeout: return DRAGOMAN_OUTCOME_OK;
      case kSystemBusy:
      case kPollingFull: return DRAGOMAN_OUTCOME_OVERLOADED;
      case kFlowControl: return DRAGOMAN_OUTCOME_RATE_LIMITED;
      case kNotSupported:
      case kTopicNotExist: return DRAGOMAN_OUTCOME_NO_ROUTE;
      case kMessageIllegal:
      case kVersionNotSupported:
      case kTopicExists:
      case kSubscriptionParseFailed:
      case kSubscriptionNotExist:
      case kSubscriptionNotLatest:
      case kSubscriptionGroupNotExist: return DRAGOMAN_OUTCOME_CLIENT_ERROR;
      case kServiceNotAvailable:
      case kGoAway: return DRAGOMAN_OUTCOME_UNAVAILABLE;
      case kNoPermission: return DRAGOMAN_OUTCOME_DENIED;
      default: return DRAGOMAN_OUTCOME_SERVER_ERROR;
    }
  }

  bool reply(const Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    Command c = command_of(m);
    int32_t code = kSystemError;
    switch (outcome) {
      case DRAGOMAN_OUTCOME_CLIENT_ERROR:
      case DRAGOMAN_OUTCOME_TOO_LARGE: code = kMessageIllegal; break;
      case DRAGOMAN_OUTCOME_OVERLOADED: code = kSystemBusy; break;
      case DRAGOMAN_OUTCOME_RATE_LIMITED: code = kFlowControl; break;
      case DRAGOMAN_OUTCOME_UNAVAILABLE: code = kServiceNotAvailable; break;
      case DRAGOMAN_OUTCOME_NO_ROUTE: code = c.code == kGetRouteInfo ? kTopicNotExist : kNotSupported; break;
      case DRAGOMAN_OUTCOME_DENIED: code = kNoPermission; break;
    }
    out.be<uint32_t>(0);
    out.be<uint32_t>(uint32_t{c.encoding} << 24);
    rocketmq::write_answer(out, c.encoding, code, c.id, text.substr(0, kReplyTextMax));
    return finish_lengths(out, out.size() - 4, c.encoding == rocketmq::kBinary);
  }

  /// Pairs of extFields, where no signature covers them. Names compare without regard to ASCII case.
  bool edit(const Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    Command c = command_of(m);
    if (c.is_signed) return false;
    std::string_view header = header_of(m);
    out.bytes(m.head.first(kPrefixBytes));
    bool json = c.encoding == rocketmq::kJson;
    out.text(header.substr(0, c.has_ext ? c.ext_begin : c.close_at));
    if (json && !c.has_ext) out.text(c.empty ? "\"extFields\":" : ",\"extFields\":");
    size_t begin = out.size();
    if (json)
      out.u8('{');
    else
      out.be<uint32_t>(0);
    size_t first = out.size();
    bool done = codec::apply_edits(
        edits, out,
        [&](auto&& keep) {
          return c.pairs(header, [&](std::string_view name, const Value&, size_t from, size_t to) {
            if (json) keep(name, ",");
            keep(name, header.substr(from, to - from));
          });
        },
        [&](std::string_view name, std::string_view value) {
          if (json) {
            if (!rocketmq::is_plain(name)) return false;  // would not be read as a name again
            out.u8(',');
            rocketmq::write_json_string(out, name);
            out.u8(':');
            rocketmq::write_json_string(out, value);
            return true;
          }
          if (name.size() > INT16_MAX) return false;
          out.be<uint16_t>(static_cast<uint16_t>(name.size()));
          out.text(name);
          out.be<uint32_t>(static_cast<uint32_t>(value.size()));
          out.text(value);
          return true;
        });
    if (!done) return false;
    if (json) {
      if (out.size() > first) out.patch_be<uint8_t>(first, ' ');  // the first comma is one too many
      out.u8('}');
    } else {
      out.patch_be<uint32_t>(begin, static_cast<uint32_t>(out.size() - first));
    }
    out.text(header.substr(c.has_ext ? c.ext_end : c.close_at));
    return finish_lengths(out, m.frame.total_len - 4 + out.size() - m.head.size(), !json);
  }

  /// JSON only: binary ids are rewritten by the host.
  bool set_id(const Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    const Frame& f = m.frame;
    out.bytes(m.head.first(f.id_offset));
    rocketmq::write_number(out, static_cast<int32_t>(load_be<uint64_t>(id.data())));
    out.bytes(m.head.subspan(f.id_offset + f.id_len));
    return finish_lengths(out, f.total_len - 4 + out.size() - m.head.size(), false);
  }

 private:
  static constexpr uint32_t header_bytes_max(bool binary) {
    return (binary ? kBinaryHeaderBytesMax : kHeaderBytesMax) + kHeaderSlack;
  }

  /// `out` is a head whose encoding byte is right.
  static bool finish_lengths(ByteWriter& out, uint64_t length, bool binary) {
    size_t header = out.size() - kPrefixBytes;
    if (length > kLengthMax || header > header_bytes_max(binary)) return false;
    out.patch_be<uint32_t>(0, static_cast<uint32_t>(length));
    out.patch_be<uint8_t>(5, static_cast<uint8_t>(header >> 16));
    out.patch_be<uint16_t>(6, static_cast<uint16_t>(header));
    return true;
  }
};

}  // namespace

const dragoman_codec* rocketmq_codec() { return codec_table<RocketMq>(); }

}  // namespace dragoman
