#include "protocols/dubbo/dubbo.h"

#include <algorithm>
#include <charconv>

#include "protocols/codec.hpp"
#include "protocols/dubbo/names.h"
#include "protocols/hessian/hessian.h"

namespace dragoman {
namespace {

using codec::Frame;
using codec::Message;
using codec::View;
using hessian::Grammar;
using hessian::Reader;
using hessian::Text;

constexpr uint8_t kMagic0 = 0xda;
constexpr uint8_t kMagic1 = 0xbb;
constexpr size_t kFixedBytes = 16;
constexpr uint8_t kFlagRequest = 0x80;
constexpr uint8_t kFlagTwoWay = 0x40;
constexpr uint8_t kFlagEvent = 0x20;
constexpr uint8_t kSerialization = 0x1f;
constexpr uint8_t kHessian2 = 2;
constexpr uint8_t kNullValue = 'N';
constexpr size_t kEventBytesMax = 64;      // longer ones are no events of this protocol
constexpr size_t kPrefixStep = 256;        // bytes asked for to find the end of the call's description
constexpr size_t kPrefixBytesMax = 16384;  // beyond, it is not looked for
constexpr uint32_t kArgumentsMax = 255;    // as in Java
constexpr size_t kReplyTextMax = 1000;

enum Status : uint8_t {
  kOk = 20,
  kSerializationError = 25,
  kClientTimeout = 30,
  kServerTimeout = 31,
  kChannelInactive = 35,
  kBadRequest = 40,
  kBadResponse = 50,
  kServiceNotFound = 60,
  kServiceError = 70,
  kServerError = 80,
  kClientError = 90,
  kThreadpoolExhausted = 100,
};

enum Attribute : uint32_t { kVersionAttribute, kGenericMethodAttribute };

/// A listener port of Dubbo also takes commands by hand: lines of text.
bool is_telnet(uint8_t first) { return (first >= 0x20 && first < 0x7f) || first == '\r' || first == '\n' || first == 0xff; }

/// The values before the arguments.
struct Prefix {
  Text dubbo_version, path, version, method, descriptor;
  size_t end = 0;  // from the body's beginning; 0 when they could not be read
  bool truncated = false;

  Prefix() = default;
  explicit Prefix(Reader& in) {
    int32_t extra = 0;
    bool good = in.string(dubbo_version) && in.string(path) && in.string(version) && in.string(method) &&
                (in.string(descriptor) || (in.integer(extra) && in.string(descriptor)));  // dubbox has a number there
    truncated = in.truncated();
    if (good && in.ok()) end = in.position();
  }
};

/// How many values a parameter descriptor announces; -1 when it is none.
int count_arguments(std::string_view descriptor) {
  uint32_t n = 0;
  for (size_t i = 0; i < descriptor.size(); ++i) {
    char c = descriptor[i];
    if (c == '[') {
      if (i + 1 == descriptor.size()) return -1;
      continue;
    }
    if (c == 'L') {
      i = descriptor.find(';', i);
      if (i == descriptor.npos) return -1;
    } else if (std::string_view("ZBCDFIJSV").find(c) == std::string_view::npos) {
      return -1;
    }
    if (++n > kArgumentsMax) return -1;
  }
  return static_cast<int>(n);
}

/// The attachments of a body: pair(key, value, string or not, number, from, to, has containers) for each.
struct Pair {
  std::string_view key;
  std::string_view value;   // strings
  int64_t number = 0;       // integers
  bool is_text = false;
  size_t begin = 0;         // in the body
  size_t end = 0;
  bool referable = false;   // later values may refer into it by number
};

constexpr size_t kChunkBytes = 0x8000;  // writers put shorter strings into one piece

struct Attachments {
  bool ambiguous = false;  // a name or value in a form that readers could take for another
  enum class Kind : uint8_t { kUnknown, kNull, kMap } kind = Kind::kUnknown;
  size_t begin = 0;  // the value, in the body
  size_t first = 0;  // its first pair
  size_t last = 0;   // behind its last pair
};

/// Reads the map that must be the last value of `in`.
template <class OnPair>
Attachments read_attachments(Reader& in, OnPair&& on_pair) {
  Attachments out;
  out.begin = in.position();
  if (!in.ok()) return out;
  if (in.at_null()) {
    in.skip();
    if (in.remaining() == 0) out.kind = Attachments::Kind::kNull;
    return out;
  }
  if (!in.begin_map()) return out;
  out.first = in.position();
  for (;;) {
    out.last = in.position();
    if (in.end_map()) break;
    Pair p;
    p.begin = in.position();
    uint32_t references = in.references();
    Text key, value;
    if (in.string(key)) {
      if (!key.plain()) out.ambiguous = true;
      if (key.whole) p.key = key.text;
    } else if (!in.ok() || !in.skip()) {
      return out;
    }
    int32_t number = 0;
    const size_t value_at = in.position();
    if (in.string(value)) {
      if (!value.plain() && (value.whole || in.position() - value_at < kChunkBytes)) out.ambiguous = true;
      p.is_text = key.whole && value.whole && !key.null && !value.null;
      p.value = value.text;
    } else if (in.integer(number)) {
      p.number = number;
    } else if (!in.ok() || !in.skip()) {
      return out;
    }
    p.end = in.position();
    p.referable = in.references() != references;
    if (!in.ok()) return out;
    on_pair(p);
  }
  if (in.remaining() == 0) out.kind = Attachments::Kind::kMap;
  return out;
}

bool is_request(uint8_t flags) { return flags & kFlagRequest; }
bool is_hessian(const Message& m) { return (m.head[2] & kSerialization) == kHessian2; }
bool is_whole(const Message& m) { return m.head.size() == m.frame.total_len; }
std::span<const uint8_t> body_of(const Message& m) { return m.head.subspan(kFixedBytes); }

/// Leaves `in` before the attachments of an answer. False when there are none to be found.
bool skip_result(Reader& in) {
  int32_t kind = 0;
  if (!in.integer(kind)) return false;
  if (kind == 3 || kind == 4) return in.skip();
  return kind == 5;
}

/// The same of an answer that is only a message. Peers read no further than that, so attachments may stand behind it.
bool skip_message(Reader& in) {
  Text message;
  return in.string(message);
}

/// The same of a request whose prefix was read. `first`: of its arguments, if it is a string.
bool skip_arguments(const Prefix& prefix, Reader& in, Text* first = nullptr) {
  if (!prefix.end) return false;
  int arguments = prefix.descriptor.null ? 0 : prefix.descriptor.whole ? count_arguments(prefix.descriptor.text) : -1;
  if (arguments < 0) return false;
  for (int i = 0; i < arguments; ++i) {
    Text text;
    if (i == 0 && first && in.string(text)) {
      if (text.whole) *first = text;
      continue;
    }
    if (!in.ok() || !in.skip()) return false;
  }
  return true;
}

/// The same of either, from the body's beginning.
bool find_attachments(const Message& m, Reader& in) {
  if (is_request(m.head[2])) return skip_arguments(Prefix(in), in);
  return m.frame.status == kOk ? skip_result(in) : skip_message(in);
}

/// No version, and 0.0.0, are one and the same to providers.
std::string_view version_of(std::string_view text) { return text.empty() ? "0.0.0" : text; }

/// Whether every provider finds the call that routes see. Providers put path and version first into the attachments and
/// let those of the body, which come later, take their place.
bool names_one_call(const Prefix& prefix, const Pair& p) {
  if (!p.is_text) return true;
  if (p.key == "path") return p.value == prefix.path.text;
  return p.key != "version" || version_of(p.value) == version_of(prefix.version.text);
}

/// The deadline in an attachment: `_TO` (what is left of it) before `timeout`.
struct Deadline {
  int64_t left = 0;
  int64_t timeout = 0;
  void see(const Pair& p) {
    int64_t ms = p.number;
    if (p.is_text && std::from_chars(p.value.data(), p.value.data() + p.value.size(), ms).ec != std::errc()) return;
    if (p.key == "_TO")
      left = ms;
    else if (p.key == "timeout")
      timeout = ms;
  }
  int64_t value() const { return left > 0 ? left : timeout; }
};

void write_fixed(ByteWriter& out, uint8_t flags, uint8_t status, uint64_t id, uint32_t body_len) {
  out.u8(kMagic0);
  out.u8(kMagic1);
  out.u8(flags);
  out.u8(status);
  out.be<uint64_t>(id);
  out.be<uint32_t>(body_len);
}

struct Dubbo {
  static constexpr const char* kName = "dubbo";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 128 * 1024;
  static constexpr uint32_t kDetectBytesMax = 2;
  static constexpr uint32_t kIdLen = 8;
  static constexpr uint32_t kIdBits = 53;  // Node peers read it into a double
  static constexpr const char* kAttributes[] = {"version", "generic_method"};

  char names_[dubbo::kNamesRoom];  // of the request being viewed, where they stand in another form

  int probe(std::span<const uint8_t> bytes, Frame& f) {
    if (bytes[0] != kMagic0) {
      if (!is_telnet(bytes[0])) return codec::not_mine();
      f.kind = DRAGOMAN_REQUEST;
      f.head_len = 1;
      return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo: text commands are not served");
    }
    if (bytes.size() < 2) return codec::need(f, 2);
    if (bytes[1] != kMagic1) return codec::not_mine();
    if (bytes.size() < kFixedBytes) return codec::need(f, kFixedBytes);
    const uint8_t flags = bytes[2];
    uint32_t body_len = load_be<uint32_t>(&bytes[12]);
    f.kind = !is_request(flags) ? DRAGOMAN_RESPONSE : flags & kFlagTwoWay ? DRAGOMAN_REQUEST : DRAGOMAN_ONEWAY;
    f.head_len = kFixedBytes;
    f.id_type = DRAGOMAN_ID_BE;
    f.id_offset = 4;
    f.id_len = 8;
    f.id = load_be<uint64_t>(&bytes[4]);
    f.status = is_request(flags) ? 0 : bytes[3];
    if (body_len > INT32_MAX) return codec::refuse(f, DRAGOMAN_MALFORMED, "dubbo: negative body length");
    f.total_len = kFixedBytes + uint64_t{body_len};
    if (flags & kFlagEvent) return probe_event(bytes, flags, f);

    if (!is_request(flags)) {
      // The first value of a good answer tells an exception from a result.
      bool whole = f.want & DRAGOMAN_WANT_HEADERS && f.total_len <= kHeadBytesMax;
      uint64_t head = f.status != kOk ? kFixedBytes : std::min<uint64_t>(f.total_len, kFixedBytes + 1);
      f.head_len = static_cast<uint32_t>(whole ? f.total_len : head);
      return codec::found(f);
    }
    if (!f.want) return codec::found(f);
    if ((flags & kSerialization) != kHessian2) return probe_names(bytes, flags & kSerialization, body_len, f);
    // Routes by service want the attachments as well: see names_one_call().
    if (f.total_len <= kFixedBytes + kPrefixStep ||
        (f.want & (DRAGOMAN_WANT_HEADERS | DRAGOMAN_WANT_SERVICE) && f.total_len <= kHeadBytesMax)) {
      f.head_len = static_cast<uint32_t>(f.total_len);
      if (f.want & DRAGOMAN_WANT_HEADERS && bytes.size() >= f.total_len)
        f.timeout_ms = deadline(bytes.subspan(kFixedBytes, body_len));
      return codec::found(f);
    }
    auto here = std::min<size_t>({bytes.size() - kFixedBytes, body_len, kPrefixBytesMax});
    Reader in(bytes.subspan(kFixedBytes, here), Grammar::kFinal);
    const Prefix prefix(in);
    if (prefix.end) {
      f.head_len += static_cast<uint32_t>(prefix.end);
    } else if (prefix.truncated && here < body_len && here < kPrefixBytesMax) {
      return codec::need(f, std::min<uint64_t>({f.total_len, kFixedBytes + 2 * here + kPrefixStep,
                                                kFixedBytes + kPrefixBytesMax}));
    }
    return codec::found(f);
  }

  bool view(const Message& m, uint32_t want, View& v) {
    const uint8_t flags = m.head[2];
    if (!is_hessian(m)) {
      v.opaque();
      if (!is_request(flags)) return true;
      if (want & (DRAGOMAN_WANT_SERVICE | DRAGOMAN_WANT_HEADERS)) v.unread();  // attachments
      const dubbo::Names names = dubbo::read_names(flags & kSerialization, body_of(m), names_, true);
      if (names.end == 0) return true;
      v.service(names.path);
      v.method(names.method);
      v.attribute(kVersionAttribute, version_of(names.version));
      return true;
    }
    Reader in(body_of(m), Grammar::kFinal);
    Prefix prefix;
    if (is_request(flags)) {
      prefix = Prefix(in);
      if (prefix.end) {
        if (!prefix.path.plain() || !prefix.version.plain() || !prefix.method.plain()) return false;
        v.service(prefix.path.text);
        v.method(prefix.method.text);
        v.attribute(kVersionAttribute, version_of(prefix.version.text));
      }
    }
    const bool headers = want & DRAGOMAN_WANT_HEADERS;
    const bool names = is_request(flags) && want & DRAGOMAN_WANT_SERVICE;
    if (!headers && !names) return true;
    Text first;
    const auto skip_answer = [&] {
      return m.frame.status == kOk ? skip_result(in) : skip_message(in) && in.remaining() != 0;
    };
    if (!is_whole(m) || !(is_request(flags) ? skip_arguments(prefix, in, &first) : skip_answer())) {
      if (headers) v.opaque();
      if (is_request(flags)) v.unread();
      return true;
    }
    bool one_call = true;
    auto found = read_attachments(in, [&](const Pair& p) {
      if (is_request(flags)) one_call = one_call && names_one_call(prefix, p);
      if (headers && p.is_text) v.header(p.key, p.value);
    });
    if (is_request(flags) && (!one_call || found.ambiguous)) return false;
    if (is_request(flags) && found.kind == Attachments::Kind::kUnknown) v.unread();
    if (!headers) return true;
    if (found.kind == Attachments::Kind::kUnknown) v.opaque();
    if (is_request(flags) && !first.text.empty() && is_generic(prefix)) {
      if (!first.plain()) return false;
      v.attribute(kGenericMethodAttribute, first.text);
    }
    return true;
  }

  uint32_t outcome(const Message& m) {
    switch (m.frame.status) {
      case kOk: {
        if (!is_hessian(m) || m.head.size() <= kFixedBytes) return DRAGOMAN_OUTCOME_OK;
        uint8_t kind = m.head[kFixedBytes];  // 0 and 3: an exception
        return kind == 0x90 || kind == 0x93 ? DRAGOMAN_OUTCOME_SERVER_ERROR : DRAGOMAN_OUTCOME_OK;
      }
      case kClientTimeout:
      case kServerTimeout:
        return DRAGOMAN_OUTCOME_TIMEOUT;
      case kChannelInactive:
      case kClientError:
        return DRAGOMAN_OUTCOME_RESET;
      case kBadRequest:
        return DRAGOMAN_OUTCOME_CLIENT_ERROR;
      case kBadResponse:
        return DRAGOMAN_OUTCOME_CODEC_ERROR;
      case kServiceNotFound:
        return DRAGOMAN_OUTCOME_NO_ROUTE;
      case kSerializationError:
      case kServiceError:
      case kServerError:
        return DRAGOMAN_OUTCOME_SERVER_ERROR;
      case kThreadpoolExhausted:
        return DRAGOMAN_OUTCOME_OVERLOADED;
      default:
        return DRAGOMAN_OUTCOME_UNKNOWN;
    }
  }

  bool reply(const Message& m, uint32_t outcome, std::string_view text, ByteWriter& out) {
    if (m.head[0] != kMagic0) {
      out.text("text commands are not served here\r\n");
      return true;
    }
    uint8_t status = kServerError;
    std::string_view words = "mesh: error";
    switch (outcome) {
      case DRAGOMAN_OUTCOME_CLIENT_ERROR:
      case DRAGOMAN_OUTCOME_CODEC_ERROR:
      case DRAGOMAN_OUTCOME_TOO_LARGE:
        status = kBadRequest;
        words = "mesh: bad request";
        break;
      case DRAGOMAN_OUTCOME_OVERLOADED:
      case DRAGOMAN_OUTCOME_RATE_LIMITED:
        status = kThreadpoolExhausted;
        words = "mesh: overflow";
        break;
      case DRAGOMAN_OUTCOME_TIMEOUT:
        status = kServerTimeout;
        words = "mesh: upstream timeout";
        break;
      case DRAGOMAN_OUTCOME_UNAVAILABLE:
        words = "mesh: no healthy upstream";
        break;
      case DRAGOMAN_OUTCOME_NO_ROUTE:
        status = kServiceNotFound;
        words = "mesh: no route";
        break;
      case DRAGOMAN_OUTCOME_DENIED:
        words = "mesh: denied";
        break;
      case DRAGOMAN_OUTCOME_RESET:
        status = kClientError;
        words = "mesh: upstream lost";
        break;
    }
    if (text.empty()) text = words;
    write_fixed(out, kHessian2, status, m.frame.id, 0);
    if (!hessian::write_string(text.substr(0, kReplyTextMax), out, Grammar::kFinal) &&
        !hessian::write_string(words, out, Grammar::kFinal))
      return false;
    out.patch_be<uint32_t>(12, static_cast<uint32_t>(out.size() - kFixedBytes));
    return true;
  }

  /// Attachments of requests, and of answers that have them. Names compare without regard to ASCII case.
  bool edit(const Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    if (!is_hessian(m) || !is_whole(m)) return false;
    std::span<const uint8_t> body = body_of(m);
    Reader finder(body, Grammar::kFinal);
    if (!find_attachments(m, finder)) return false;
    const bool message_only =
        finder.ok() && finder.remaining() == 0 && !is_request(m.head[2]) && m.frame.status != kOk;
    // Two walks: everything before the pairs is known only after the first.
    Reader in = finder;
    bool shifts = false;
    Attachments found;
    if (message_only) {
      found.kind = Attachments::Kind::kNull;
      found.begin = body.size();
    } else {
      found = read_attachments(in, [&](const Pair& p) {
        shifts |= p.referable && !p.key.empty() && codec::replaced_from(edits, 0, p.key);
      });
    }
    if (found.kind == Attachments::Kind::kUnknown || shifts) return false;
    out.bytes(m.head.first(kFixedBytes));
    bool none = found.kind == Attachments::Kind::kNull;
    out.bytes(body.first(none ? found.begin : found.first));
    if (none) out.u8('H');
    bool done = codec::apply_edits(
        edits, out,
        [&](auto&& keep) {
          if (none) return true;
          Reader again = finder;
          read_attachments(again, [&](const Pair& p) {
            auto bytes = body.subspan(p.begin, p.end - p.begin);
            if (p.key.empty())  // no text
              out.bytes(bytes);
            else
              keep(p.key, codec::text_of(bytes));
          });
          return true;
        },
        [&](std::string_view name, std::string_view value) {
          return hessian::write_string(name, out, Grammar::kFinal) &&
                 hessian::write_string(value, out, Grammar::kFinal);
        });
    if (!done) return false;
    out.u8('Z');
    out.patch_be<uint32_t>(12, static_cast<uint32_t>(out.size() - kFixedBytes));
    return true;
  }

  bool heartbeat(uint32_t, uint64_t id, ByteWriter& out) {
    write_fixed(out, kFlagRequest | kFlagTwoWay | kFlagEvent | kHessian2, 0, id, 1);
    out.u8(kNullValue);
    return true;
  }
  /// The body is the request's: null, in whatever serialization the peer speaks.
  bool heartbeat_reply(const Message& m, ByteWriter& out) {
    uint8_t serialization = m.head[2] & kSerialization;
    auto body = body_of(m);
    if (serialization == kHessian2) {
      write_fixed(out, kFlagEvent | kHessian2, kOk, m.frame.id, 1);
      out.u8(kNullValue);
    } else {
      write_fixed(out, kFlagEvent | serialization, kOk, m.frame.id, static_cast<uint32_t>(body.size()));
      out.bytes(body);
    }
    return true;
  }
  /// The read-only event: consumers stop choosing this connection and wait for what is under way.
  bool goaway(uint32_t, ByteWriter& out) {
    write_fixed(out, kFlagRequest | kFlagEvent | kHessian2, 0, 0, 2);
    out.u8(1);
    out.u8('R');
    return true;
  }

 private:
  /// Another serialization: as far as its bytes tell.
  int probe_names(std::span<const uint8_t> bytes, uint8_t serialization, uint32_t body_len, Frame& f) {
    const auto here = std::min<size_t>({bytes.size() - kFixedBytes, body_len, kPrefixBytesMax});
    const dubbo::Names names = dubbo::read_names(serialization, bytes.subspan(kFixedBytes, here), names_,
                          here == body_len || here == kPrefixBytesMax);
    if (names.end)
      f.head_len += static_cast<uint32_t>(names.end);
    else if (names.truncated && here < body_len && here < kPrefixBytesMax)
      return codec::need(f, std::min<uint64_t>({f.total_len, kFixedBytes + 2 * here + kPrefixStep,
                                                kFixedBytes + kPrefixBytesMax}));
    return codec::found(f);
  }
  static int probe_event(std::span<const uint8_t> bytes, uint8_t flags, Frame& f) {
    f.kind = DRAGOMAN_HEARTBEAT_ACK;
    if (f.total_len > kFixedBytes + kEventBytesMax) return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "dubbo: unknown event");
    f.head_len = static_cast<uint32_t>(f.total_len);
    if (!is_request(flags)) return codec::found(f);
    if (bytes.size() < f.total_len) return codec::need(f, f.total_len);
    auto body = bytes.subspan(kFixedBytes, f.head_len - kFixedBytes);
    bool hessian = (flags & kSerialization) == kHessian2;
    if (hessian && body.size() == 2 && body[0] == 1 && body[1] == 'R') {
      f.kind = DRAGOMAN_GOAWAY;
      return codec::found(f);
    }
    if (!(flags & kFlagTwoWay))  // "writeable" among them: the connection was given up, a new one takes its place
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "dubbo: unknown event");
    f.kind = DRAGOMAN_HEARTBEAT;
    return codec::found(f);
  }

  static int64_t deadline(std::span<const uint8_t> body) {
    Reader in(body, Grammar::kFinal);
    Deadline found;
    if (skip_arguments(Prefix(in), in)) read_attachments(in, [&](const Pair& p) { found.see(p); });
    return found.value();
  }

  static bool is_generic(const Prefix& prefix) {
    return (prefix.method.text == "$invoke" || prefix.method.text == "$invokeAsync") &&
           count_arguments(prefix.descriptor.text) == 3;
  }
};

}  // namespace

const dragoman_codec* dubbo_codec() { return codec_table<Dubbo>(); }

}  // namespace dragoman
