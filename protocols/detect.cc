#include "protocols/detect.h"

#include <algorithm>
#include <array>
#include <cstddef>


namespace dragoman {
namespace {

constexpr size_t kHttp1LineMax = 8192;

uint16_t u16(std::span<const uint8_t> b, size_t at) { return static_cast<uint16_t>(b[at] << 8 | b[at + 1]); }

/// RFC 8446 section 5.1: a handshake record of any version with a ClientHello at its beginning.
Verdict ask_tls(std::span<const uint8_t> b) {
  if (b.size() >= 1 && b[0] != 22) return Verdict::kNo;
  if (b.size() >= 2 && b[1] != 3) return Verdict::kNo;
  if (b.size() >= 3 && b[2] > 4) return Verdict::kNo;
  if (b.size() >= 5 && (u16(b, 3) < 4 || u16(b, 3) > 16384)) return Verdict::kNo;
  if (b.size() < 6) return Verdict::kMore;
  return b[5] == 1 ? Verdict::kYes : Verdict::kNo;
}

Verdict ask_text(std::span<const uint8_t> b, std::string_view text) {
  const size_t n = std::min(b.size(), text.size());
  if (!std::equal(b.begin(), b.begin() + static_cast<ptrdiff_t>(n), text.begin(),
                  [](uint8_t x, char y) { return x == static_cast<uint8_t>(y); }))
    return Verdict::kNo;
  return n == text.size() ? Verdict::kYes : Verdict::kMore;
}

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";  // RFC 9113 section 3.4
Verdict ask_http2(std::span<const uint8_t> b) { return ask_text(b, kPreface); }

/// A Redis command as an array of strings: "*", its length, CRLF, "$". Inline commands could be anything.
Verdict ask_redis(std::span<const uint8_t> b) {
  constexpr size_t kDigitsMax = 7;
  if (b[0] != '*') return Verdict::kNo;
  size_t at = 1;
  while (at < b.size() && at <= kDigitsMax && b[at] >= '0' && b[at] <= '9') ++at;
  if (b.size() >= 2 && (b[1] < '1' || b[1] > '9')) return Verdict::kNo;
  if (at == b.size()) return Verdict::kMore;
  return ask_text(b.subspan(at), "\r\n$");
}
constexpr size_t kRedisBytesMax = 1 + 7 + 3;

/// The server speaks first: what a client sends says nothing.
Verdict ask_mysql(std::span<const uint8_t>) { return Verdict::kNo; }

bool is_method_char(uint8_t c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' || c == '_'; }

/// A known method and a target that begins like one, or else a whole request line that ends in HTTP/1.x.
Verdict ask_http1(std::span<const uint8_t> b) {
  constexpr size_t kMethodMax = 24;
  const std::string_view text(reinterpret_cast<const char*>(b.data()), b.size());
  size_t method = 0;
  while (method < b.size() && is_method_char(b[method])) ++method;
  if (method > kMethodMax || (method == 0 && !b.empty())) return Verdict::kNo;
  if (method == b.size()) return Verdict::kMore;
  if (b[method] != ' ') return Verdict::kNo;
  const std::string_view target = text.substr(method + 1);
  static constexpr std::string_view kMethods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"};
  if (target.starts_with('/') && std::find(std::begin(kMethods), std::end(kMethods), text.substr(0, method)) != std::end(kMethods))
    return Verdict::kYes;
  if (target.starts_with("http://") || target.starts_with("https://")) return Verdict::kYes;
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) return b.size() < kHttp1LineMax ? Verdict::kMore : Verdict::kNo;
  const std::string_view line = text.substr(0, end);
  const size_t space = line.rfind(' ');
  return line.substr(space + 1).starts_with("HTTP/1.") ? Verdict::kYes : Verdict::kNo;
}

}  // namespace

std::optional<DetectRule> DetectRule::built_in(std::string_view name) {
  if (name == "tls") return DetectRule(ask_tls, {}, 6);
  if (name == "http1") return DetectRule(ask_http1, "GET / HTTP/1.1\r\n", kHttp1LineMax);
  if (name == "redis") return DetectRule(ask_redis, "*1\r\n$4\r\nPING\r\n", kRedisBytesMax);
  if (name == "mysql") return DetectRule(ask_mysql, {}, 1);
  if (name == "http2") return DetectRule(ask_http2, kPreface, kPreface.size());
  return std::nullopt;
}

DetectRule DetectRule::of(const dragoman_codec& table) { return DetectRule(table); }

Verdict DetectRule::ask(std::span<const uint8_t> bytes) const {
  if (bytes.empty()) return Verdict::kMore;
  if (!table_) return ask_(bytes);
  // Never more than it takes to tell: what a longer prefix would say must not depend on how much came at once.
  const size_t n = std::min(bytes.size(), bytes_max_);
  alignas(16) std::array<std::byte, DRAGOMAN_CONN_STATE_MAX> memory{};  // of a connection, as fresh as this one is
  dragoman_frame frame{};
  frame.size = sizeof(frame);
  switch (table_->probe(table_->context, memory.data(), bytes.data(), n, &frame)) {
    case DRAGOMAN_FRAME:
      return Verdict::kYes;
    case DRAGOMAN_NEED:
      return n < bytes_max_ ? Verdict::kMore : Verdict::kYes;
    default:
      return Verdict::kNo;
  }
}

Detection detect(std::span<const DetectRule> rules, std::span<const uint8_t> bytes, bool final) {
  bool open = false;
  for (size_t i = 0; i < rules.size(); ++i) {
    switch (rules[i].ask(bytes)) {
      case Verdict::kYes:
        return {Verdict::kYes, i};
      case Verdict::kMore:
        if (!final) return {Verdict::kMore, i};
        open = true;
        break;
      case Verdict::kNo:
        break;
    }
  }
  return {open && !final ? Verdict::kMore : Verdict::kNo, 0};
}

std::optional<std::vector<uint8_t>> find_conflict(const DetectRule& a, const DetectRule& b) {
  struct Prefix {
    std::vector<uint8_t> bytes;
    bool claimed;   // by one of the two: the likelier ones
    uint32_t rank;  // by chance, but the same every time: no early byte pushes the later ones out
    bool operator<(const Prefix& other) const {
      return claimed != other.claimed ? claimed : rank < other.rank;
    }
  };
  for (std::string_view sample : {a.sample(), b.sample()}) {
    const std::vector<uint8_t> bytes(sample.begin(), sample.end());
    for (size_t n = 1; n <= bytes.size(); ++n) {
      const auto prefix = std::span(bytes).first(n);
      if (a.ask(prefix) == Verdict::kYes && b.ask(prefix) == Verdict::kYes)
        return std::vector<uint8_t>(prefix.begin(), prefix.end());
    }
  }
  constexpr size_t kKept = 128;  // prefixes of one length
  constexpr size_t kDepthMax = 64;
  const size_t depth = std::min(kDepthMax, std::max(a.bytes_max(), b.bytes_max()));
  std::vector<Prefix> open = {{{}, false, 1}};
  for (size_t length = 1; length <= depth && !open.empty(); ++length) {
    std::vector<Prefix> next;
    for (const Prefix& prefix : open) {
      std::vector<uint8_t> bytes = prefix.bytes;
      bytes.push_back(0);
      int first[3][3], second[3][3], last[3][3], count[3][3] = {};
      for (int value = 0; value < 256; ++value) {
        bytes.back() = static_cast<uint8_t>(value);
        const auto va = static_cast<size_t>(a.ask(bytes));
        const auto vb = static_cast<size_t>(b.ask(bytes));
        if (va == static_cast<size_t>(Verdict::kYes) && vb == va) return bytes;
        const int n = count[va][vb]++;
        if (n == 0) first[va][vb] = value;
        if (n == 1) second[va][vb] = value;
        last[va][vb] = value;
      }
      const auto keep = [&](size_t va, size_t vb, int value) {
        bytes.back() = static_cast<uint8_t>(value);
        const bool claimed = va == static_cast<size_t>(Verdict::kYes) || vb == static_cast<size_t>(Verdict::kYes);
        next.push_back({bytes, claimed, (prefix.rank ^ static_cast<uint32_t>(value)) * 2654435761u + 40503u});
      };
      for (size_t va : {size_t{1}, size_t{2}}) {
        for (size_t vb : {size_t{1}, size_t{2}}) {
          const int n = count[va][vb];
          if (n > 0) keep(va, vb, first[va][vb]);
          if (n > 1) keep(va, vb, second[va][vb]);
          if (n > 2 && n < 256) keep(va, vb, last[va][vb]);  // a byte that says something
        }
      }
    }
    if (next.size() > kKept) {
      std::nth_element(next.begin(), next.begin() + kKept, next.end());
      next.resize(kKept);
    }
    open.swap(next);
  }
  return std::nullopt;
}

// --- the server name ------------------------------------------------------------------------------------------------

namespace {

constexpr size_t kHelloBytesMax = 16 << 10;

/// Reads lengths and skips; once something does not fit, everything is refused.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  bool empty() const { return bytes_.empty(); }
  size_t number(size_t width) {
    size_t value = 0;
    for (uint8_t byte : take(width)) value = value << 8 | byte;
    return value;
  }
  std::span<const uint8_t> take(size_t n) {
    if (!ok_ || n > bytes_.size()) {
      ok_ = false;
      return {};
    }
    const auto piece = bytes_.first(n);
    bytes_ = bytes_.subspan(n);
    return piece;
  }
  std::span<const uint8_t> vector(size_t width) { return take(number(width)); }

 private:
  std::span<const uint8_t> bytes_;
  bool ok_ = true;
};

}  // namespace

HelloName hello_server_name(std::span<const uint8_t> bytes) {
  // The handshake message out of its records.
  std::vector<uint8_t> message;
  size_t want = 4;
  for (size_t at = 0; message.size() < want;) {
    if (bytes.size() - at < 5) return {Verdict::kMore, {}};
    const size_t length = u16(bytes, at + 3);
    if (bytes[at] != 22 || length == 0 || length > 16384) return {Verdict::kNo, {}};
    const size_t there = std::min(length, bytes.size() - at - 5);
    message.insert(message.end(), bytes.begin() + static_cast<ptrdiff_t>(at + 5),
                   bytes.begin() + static_cast<ptrdiff_t>(at + 5 + there));
    at += 5 + there;
    if (message.size() >= 4) {
      want = 4 + (static_cast<size_t>(message[1]) << 16 | static_cast<size_t>(message[2]) << 8 | message[3]);
      if (message[0] != 1 || want > kHelloBytesMax) return {Verdict::kNo, {}};
    }
    if (there < length && message.size() < want) return {Verdict::kMore, {}};
  }
  Reader hello(std::span<const uint8_t>(message).first(want).subspan(4));
  hello.take(2 + 32);  // legacy_version, random
  hello.vector(1);     // legacy_session_id
  hello.vector(2);     // cipher_suites
  hello.vector(1);     // legacy_compression_methods
  if (!hello.ok()) return {Verdict::kNo, {}};
  if (hello.empty()) return {Verdict::kYes, {}};  // no extensions: TLS 1.2 and older
  Reader extensions(hello.vector(2));
  while (hello.ok() && extensions.ok() && !extensions.empty()) {
    const size_t type = extensions.number(2);
    Reader body(extensions.vector(2));
    if (type != 0 || !extensions.ok()) continue;
    Reader list(body.vector(2));
    while (body.ok() && list.ok() && !list.empty()) {
      const size_t name_type = list.number(1);
      const auto name = list.vector(2);
      if (!list.ok() || name_type != 0) continue;
      std::string text(name.begin(), name.end());
      for (char& c : text) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        if (c <= ' ' || c >= 0x7f) return {Verdict::kNo, {}};
      }
      return {Verdict::kYes, std::move(text)};
    }
    return {Verdict::kNo, {}};
  }
  return {hello.ok() && extensions.ok() ? Verdict::kYes : Verdict::kNo, {}};
}

}  // namespace dragoman
