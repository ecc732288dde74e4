// Small protocols, each with something that Bolt has not: no ids, text ids, a checksum of its own, memory of
// a connection, attributes, ids in decimal, frames without a length.
#pragma once

#include <numeric>
#include <string>

#include "protocols/codec.hpp"

namespace dragoman::testing {

/// 'N' kind u16 length, body. No ids: answers come in order.
struct NoId {
  static constexpr const char* kName = "noid";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 4;
  static constexpr uint32_t kDetectBytesMax = 1;

  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] != 'N') return codec::not_mine();
    if (b.size() < 4) return codec::need(f, 4);
    f.kind = b[1];
    f.head_len = 4;
    f.total_len = 4 + load_be<uint16_t>(&b[2]);
    return codec::found(f);
  }
  bool view(const codec::Message&, uint32_t, codec::View&) { return true; }
  uint32_t outcome(const codec::Message&) { return DRAGOMAN_OUTCOME_OK; }
  bool reply(const codec::Message&, uint32_t outcome, std::string_view text, ByteWriter& out) {
    out.text(std::string{'N', DRAGOMAN_RESPONSE, 0, static_cast<char>(1 + text.size())});
    out.u8(static_cast<uint8_t>('0' + outcome));
    out.text(text);
    return true;
  }
  static std::string frame(uint32_t kind, std::string_view body) {
    return std::string{'N', static_cast<char>(kind), static_cast<char>(body.size() >> 8),
                       static_cast<char>(body.size())} +
           std::string(body);
  }
};

/// 'S' kind u8 id length, u16 body length, id, body. Ids are text of any length.
struct TextId {
  static constexpr const char* kName = "textid";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 300;
  static constexpr uint32_t kDetectBytesMax = 1;

  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] != 'S') return codec::not_mine();
    if (b.size() < 5) return codec::need(f, 5);
    f.kind = b[1];
    f.head_len = 5u + b[2];
    f.total_len = f.head_len + load_be<uint16_t>(&b[3]);
    f.id_type = DRAGOMAN_ID_BYTES;
    f.id_offset = 5;
    f.id_len = b[2];
    return codec::found(f);
  }
  bool view(const codec::Message&, uint32_t, codec::View&) { return true; }
  uint32_t outcome(const codec::Message&) { return DRAGOMAN_OUTCOME_OK; }
  bool reply(const codec::Message& m, uint32_t, std::string_view, ByteWriter& out) {
    out.u8('S');
    out.u8(DRAGOMAN_RESPONSE);
    out.u8(static_cast<uint8_t>(m.frame.id_len));
    out.be<uint16_t>(0);
    out.bytes(m.head.subspan(5, m.frame.id_len));
    return true;
  }
  bool set_id(const codec::Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    if (id.size() > 255) return false;
    out.bytes(m.head.first(2));
    out.u8(static_cast<uint8_t>(id.size()));
    out.bytes(m.head.subspan(3, 2));
    out.bytes(id);
    return true;
  }
  static std::string frame(uint32_t kind, std::string_view id, std::string_view body) {
    return std::string{'S', static_cast<char>(kind), static_cast<char>(id.size()),
                       static_cast<char>(body.size() >> 8), static_cast<char>(body.size())} +
           std::string(id) + std::string(body);
  }
};

/// 'D' kind, decimal id and ';' (nothing but ';' = 0), u8 body length, body. Ids are numbers of any length.
struct DecimalId {
  static constexpr const char* kName = "decimalid";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 30;
  static constexpr uint32_t kDetectBytesMax = 1;
  static constexpr uint32_t kIdLen = 4;

  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] != 'D') return codec::not_mine();
    for (size_t i = 2;; ++i) {
      if (i > 12) return codec::refuse(f, DRAGOMAN_MALFORMED, "decimalid: id");
      if (b.size() < i + 2) return codec::need(f, i + 2);
      if (b[i] == ';') {
        f.kind = b[1];
        f.head_len = static_cast<uint32_t>(i + 2);
        f.total_len = f.head_len + b[i + 1];
        f.id_type = DRAGOMAN_ID_CODED;
        f.id_offset = 2;
        f.id_len = static_cast<uint32_t>(i - 2);
        return codec::found(f);
      }
      f.id = f.id * 10 + (b[i] - '0');
    }
  }
  bool view(const codec::Message&, uint32_t, codec::View&) { return true; }
  uint32_t outcome(const codec::Message&) { return DRAGOMAN_OUTCOME_OK; }
  bool reply(const codec::Message& m, uint32_t, std::string_view, ByteWriter& out) {
    out.text(frame(DRAGOMAN_RESPONSE, std::to_string(m.frame.id), ""));
    return true;
  }
  bool set_id(const codec::Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    out.text(std::string{'D', static_cast<char>(m.frame.kind)} +
             std::to_string(load_be<uint64_t>(id.data())) + ';');
    out.u8(m.head.back());
    return true;
  }
  static std::string frame(uint32_t kind, std::string_view id, std::string_view body) {
    return std::string{'D', static_cast<char>(kind)} + std::string(id) + ';' + static_cast<char>(body.size()) +
           std::string(body);
  }
};

/// 'C' kind u16le id, u8 body length, body, u8 sum of all before it. Remembers how many heads it was shown.
struct Summed {
  static constexpr const char* kName = "summed";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 300;
  static constexpr uint32_t kDetectBytesMax = 1;
  static constexpr uint32_t kIdLen = 2;

  uint32_t heads_seen;

  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] != 'C') return codec::not_mine();
    if (b.size() < 5) return codec::need(f, 5);
    f.kind = b[1];
    f.total_len = f.head_len = 6u + b[4];
    f.id_type = DRAGOMAN_ID_LE;
    f.id_offset = 2;
    f.id_len = 2;
    f.id = load_le<uint16_t>(&b[2]);
    f.checksum = DRAGOMAN_CHECKSUM_CUSTOM;
    return codec::found(f);
  }
  bool view(const codec::Message& m, uint32_t, codec::View& v) {
    ++heads_seen;
    v.method({reinterpret_cast<const char*>(m.head.data()) + 5, m.head.size() - 6});
    return heads_seen <= 3;  // for the test of its memory
  }
  uint32_t outcome(const codec::Message&) { return DRAGOMAN_OUTCOME_OK; }
  bool reply(const codec::Message& m, uint32_t, std::string_view, ByteWriter& out) {
    out.text(frame(DRAGOMAN_RESPONSE, static_cast<uint16_t>(m.frame.id), "R"));
    return true;
  }
  bool checksum(std::span<uint8_t> b, const codec::Message&, bool fix) {
    auto sum = static_cast<uint8_t>(std::accumulate(b.begin(), b.end() - 1, 0));
    if (fix) b.back() = sum;
    return b.back() == sum;
  }
  static std::string frame(uint32_t kind, uint16_t id, std::string_view body) {
    std::string out{'C', static_cast<char>(kind), static_cast<char>(id), static_cast<char>(id >> 8),
                    static_cast<char>(body.size())};
    out += body;
    return out + static_cast<char>(std::accumulate(
                     out.begin(), out.end(), 0, [](int a, char c) { return a + static_cast<uint8_t>(c); }));
  }
};

/// 'T' kind id, u8 zone length, u8 pair length, zone, pair: 'name=value'. Attributes: the zone; the kind in
/// words; `deep`, given for the zone 'deep' only.
struct Tagged {
  static constexpr const char* kName = "tagged";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 600;
  static constexpr uint32_t kDetectBytesMax = 1;
  static constexpr uint32_t kIdLen = 1;
  static constexpr const char* kAttributes[] = {"zone", "kind", "deep"};

  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] != 'T') return codec::not_mine();
    if (b.size() < 5) return codec::need(f, 5);
    f.kind = b[1];
    f.id_type = DRAGOMAN_ID_BE;
    f.id_offset = 2;
    f.id_len = 1;
    f.id = b[2];
    f.total_len = 5u + b[3] + b[4];
    // The pair is part of the head only where somebody reads it.
    f.head_len = f.want & DRAGOMAN_WANT_HEADERS ? static_cast<uint32_t>(f.total_len) : 5u;
    return codec::found(f);
  }
  bool view(const codec::Message& m, uint32_t want, codec::View& v) {
    if (!(want & DRAGOMAN_WANT_HEADERS)) return true;
    std::string_view text(reinterpret_cast<const char*>(m.head.data()) + 5, m.head.size() - 5);
    std::string_view zone = text.substr(0, m.head[3]), pair = text.substr(m.head[3]);
    v.attribute(0, zone);
    if (size_t eq = pair.find('='); eq != pair.npos)
      v.header(pair.substr(0, eq), pair.substr(eq + 1));
    else
      v.opaque();
    std::string kind = m.frame.kind == DRAGOMAN_REQUEST ? "request" : "other";
    v.attribute(1, kind);
    if (zone == "deep") v.attribute(2, "");
    return true;
  }
  uint32_t outcome(const codec::Message&) { return DRAGOMAN_OUTCOME_OK; }
  bool reply(const codec::Message& m, uint32_t, std::string_view, ByteWriter& out) {
    out.text(frame(DRAGOMAN_RESPONSE, static_cast<uint8_t>(m.frame.id), "", ""));
    return true;
  }
  bool edit(const codec::Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    std::string_view zone(reinterpret_cast<const char*>(m.head.data()) + 5, m.head[3]);
    std::string pair =
        std::string(codec::text_of(edits[0].name)) + "=" + std::string(codec::text_of(edits[0].value));
    out.text(frame(m.frame.kind, static_cast<uint8_t>(m.frame.id), zone, pair));
    return true;
  }
  static std::string frame(uint32_t kind, uint8_t id, std::string_view zone, std::string_view pair) {
    return std::string{'T', static_cast<char>(kind), static_cast<char>(id), static_cast<char>(zone.size()),
                       static_cast<char>(pair.size())} +
           std::string(zone) + std::string(pair);
  }
};

/// 'U' kind, id in decimal digits, ';', text, '.'. A backslash in the text protects the byte after it. Requests
/// with id 0 are answered in order. 'X' instead of 'U': an exclusive variant. 'L': answers may have id 0 instead of
/// their own. '!' in the text is malformed.
struct Unsized {
  static constexpr const char* kName = "unsized";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = 16;
  static constexpr uint32_t kDetectBytesMax = 1;
  static constexpr uint32_t kIdLen = 2;

  bool escaped;

  int probe(std::span<const uint8_t> b, codec::Frame& f) {
    if (b[0] != 'U' && b[0] != 'X' && b[0] != 'L') return codec::not_mine();
    uint64_t id = 0;
    size_t at = 2;
    for (;; ++at) {
      if (at >= b.size()) return at > 8 ? codec::not_mine() : codec::need(f, at + 1);
      if (b[at] == ';') break;
      if (b[at] < '0' || b[at] > '9' || id > 6553) return codec::refuse(f, DRAGOMAN_MALFORMED, "unsized: id");
      id = id * 10 + b[at] - '0';
    }
    f.kind = b[1];
    f.head_len = static_cast<uint32_t>(at + 1);
    f.total_len = DRAGOMAN_LENGTH_UNKNOWN;
    f.id_type = DRAGOMAN_ID_CODED;
    f.id_offset = 2;
    f.id_len = static_cast<uint32_t>(at - 2);
    f.id = id;
    if (id == 0) f.flags = DRAGOMAN_FRAME_ORDERED;
    if (b[0] == 'L' && (f.kind != DRAGOMAN_RESPONSE || id == 0)) f.flags |= DRAGOMAN_FRAME_LOOSE;
    if (b[0] == 'X') f.variant = DRAGOMAN_VARIANT_EXCLUSIVE;
    return codec::found(f);
  }
  int extent(const codec::Frame&, uint64_t offset, std::span<const uint8_t> b, uint64_t& used) {
    if (offset == 0) escaped = false;
    for (used = 0; used < b.size();) {
      uint8_t c = b[used++];
      if (c == '!') return DRAGOMAN_MALFORMED;
      if (c == '.' && !escaped) return DRAGOMAN_FRAME;
      escaped = c == '\\' && !escaped;
    }
    return DRAGOMAN_NEED;
  }
  bool view(const codec::Message&, uint32_t, codec::View&) { return true; }
  uint32_t outcome(const codec::Message&) { return DRAGOMAN_OUTCOME_OK; }
  bool reply(const codec::Message& m, uint32_t outcome, std::string_view, ByteWriter& out) {
    if (outcome == DRAGOMAN_OUTCOME_RESET) return true;  // no words for that
    out.text(frame(DRAGOMAN_RESPONSE, m.frame.id, "error"));
    return true;
  }
  bool set_id(const codec::Message& m, std::span<const uint8_t> id, ByteWriter& out) {
    out.bytes(m.head.first(2));
    out.text(std::to_string(load_be<uint64_t>(id.data())));
    out.u8(';');
    return true;
  }
  static std::string frame(uint32_t kind, uint64_t id, std::string_view text, char first = 'U') {
    return std::string{first, static_cast<char>(kind)} + std::to_string(id) + ";" + std::string(text) + ".";
  }
  /// The id of the frame at the beginning of `bytes`.
  static uint64_t id_of(const std::string& bytes) { return std::stoull(bytes.substr(2)); }
};

}  // namespace dragoman::testing
