#include "protocols/seata/seata.h"

#include <algorithm>
#include <iterator>

#include "protocols/codec.hpp"

namespace dragoman {
namespace {

using codec::Frame;
using codec::Message;
using codec::View;

constexpr size_t kFixedBytes = 16;
constexpr size_t kPeekBytes = 256;            // of the body, for its code, result and xid
constexpr uint8_t kSeataCodec = 1;

enum MessageType : uint8_t { kSync = 0, kResponse = 1, kOneWay = 2, kPing = 3, kPong = 4 };
enum Code : uint16_t { kGlobalBegin = 1, kGlobalBeginResult = 2, kMerged = 59 };

struct Name {
  uint16_t code;
  std::string_view name;
  bool xid_first;  // the transaction's id is the first field
  bool is_result;  // the first field is a result: 0 failed
};
constexpr Name kNames[] = {
    {1, "global_begin", false, false},        {2, "global_begin_result", false, true},
    {3, "branch_commit", true, false},        {4, "branch_commit_result", false, true},
    {5, "branch_rollback", true, false},      {6, "branch_rollback_result", false, true},
    {7, "global_commit", true, false},        {8, "global_commit_result", false, true},
    {9, "global_rollback", true, false},      {10, "global_rollback_result", false, true},
    {11, "branch_register", true, false},     {12, "branch_register_result", false, true},
    {13, "branch_report", true, false},       {14, "branch_report_result", false, true},
    {15, "global_status", true, false},       {16, "global_status_result", false, true},
    {17, "global_report", true, false},       {18, "global_report_result", false, true},
    {21, "lock_query", true, false},          {22, "lock_query_result", false, true},
    {kMerged, "merged", false, false},        {60, "merged_result", false, false},
    {101, "register_tm", false, false},       {102, "register_tm_result", false, true},
    {103, "register_rm", false, false},       {104, "register_rm_result", false, true},
    {111, "delete_undo_log", false, false},   {121, "batch_result", false, false},
};

const Name* find_name(uint16_t code) {
  for (const Name& n : kNames)
    if (n.code == code) return &n;
  return nullptr;
}

/// What can be known of a body without its message classes.
struct Body {
  const Name* name = nullptr;
  std::string_view xid;
  uint8_t result = 1;

  Body(std::span<const uint8_t> head) {
    size_t at = load_be<uint16_t>(&head[7]);
    if (head[10] != kSeataCodec || head[11] != 0) return;  // another codec, or compressed
    ByteReader in(head.subspan(std::min(at, head.size())));
    name = find_name(in.be<uint16_t>());
    if (!in.ok()) name = nullptr;
    if (!name) return;
    if (name->is_result) {
      result = in.u8();
      if (!in.ok()) result = 1;
    }
    const Name* holder = name;
    if (name->code == kMerged) {  // the first of several
      in.skip(6);
      holder = find_name(in.be<uint16_t>());
    } else if (name->code == kGlobalBeginResult && result != 0) {
      in.skip(1);
    }
    if (!holder || (!holder->xid_first && holder->code != kGlobalBeginResult) || (holder->is_result && result == 0)) return;
    std::string_view text = in.text(in.be<uint16_t>());
    if (in.ok()) xid = text;
  }
};

/// Calls pair(key, value, whole, null) for the pairs of the head map. False when it is none.
template <class OnPair>
bool walk_map(std::span<const uint8_t> head, OnPair&& on_pair) {
  size_t end = load_be<uint16_t>(&head[7]);
  auto map = head.subspan(kFixedBytes, end - kFixedBytes);
  ByteReader in(map);
  while (in.remaining() > 0) {
    size_t from = in.position();
    bool null = false;
    std::string_view text[2];
    for (std::string_view& t : text) {
      uint16_t len = in.be<uint16_t>();
      if (len == 0xffff)
        null = true;
      else
        t = in.text(
            len <= INT16_MAX ? len : SIZE_MAX);  // signed in the peers, which take any negative one for null
    }
    if (!in.ok()) return false;
    on_pair(text[0], text[1], map.subspan(from, in.position() - from), null);
  }
  return true;
}

struct Seata {
  static constexpr const char* kName = "seata";
  static constexpr const char* kVersion = "1";
  static constexpr uint32_t kHeadBytesMax = UINT16_MAX + kPeekBytes;
  static constexpr uint32_t kDetectBytesMax = 3;
  static constexpr uint32_t kIdLen = 4;
  static constexpr bool kOnlyBound = true;  // the coordinator knows its managers by their connections
  static constexpr const char* kAttributes[] = {"xid"};
  static constexpr uint32_t kLacks = DRAGOMAN_WANT_SERVICE;

  char method[24];  // of the message being viewed

  int probe(std::span<const uint8_t> b, Frame& f) {
    for (size_t i = 0; i < std::min<size_t>(b.size(), 2); ++i)
      if (b[i] != 0xda) return codec::not_mine();
    if (b.size() < 3) return codec::need(f, 3);
    if (b[2] == 0)  // no length anywhere
      return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "seata: version 0 can't be framed; use protocol tcp");
    if (b[2] > 2) return codec::not_mine();
    if (b.size() < kFixedBytes) return codec::need(f, kFixedBytes);
    uint32_t total = load_be<uint32_t>(&b[3]);
    uint32_t head = load_be<uint16_t>(&b[7]);
    if (total < kFixedBytes || head < kFixedBytes || head > total)
      return codec::refuse(f, DRAGOMAN_MALFORMED, "seata: lengths that can't be");
    if (total > INT32_MAX) return codec::refuse(f, DRAGOMAN_MALFORMED, "seata: negative length");
    f.total_len = total;
    f.head_len = static_cast<uint32_t>(std::min<size_t>(total, head + (f.want ? kPeekBytes : 3)));
    f.id_type = DRAGOMAN_ID_BE;
    f.id_offset = 12;
    f.id_len = 4;
    f.id = load_be<uint32_t>(&b[12]);
    switch (b[9]) {
      case kSync:
      case kPing:  // both ends close after silence: pings must reach the other one
        f.kind = DRAGOMAN_REQUEST;
        break;
      case kResponse:
      case kPong:
        f.kind = DRAGOMAN_RESPONSE;
        break;
      case kOneWay:
        f.kind = DRAGOMAN_ONEWAY;
        return codec::found(f);
      default:
        f.kind = DRAGOMAN_HEARTBEAT_ACK;
        return codec::refuse(f, DRAGOMAN_UNSUPPORTED, "seata: unknown message type");
    }
    if (b.size() < std::min<size_t>(total, head + 2u)) return codec::need(f, std::min<size_t>(total, head + 2u));
    // What was merged may be answered one by one, with ids that only the bodies know.
    if (f.kind == DRAGOMAN_REQUEST && total >= head + 2u && b[10] == kSeataCodec && b[11] == 0 &&
        load_be<uint16_t>(&b[head]) == kMerged)
      f.kind = DRAGOMAN_ONEWAY;
    return codec::found(f);
  }

  bool view(const Message& m, uint32_t want, View& v) {
    const Body body(m.head);
    std::string_view name = m.head[9] == kPing || m.head[9] == kPong ? "heartbeat" : body.name ? body.name->name : "";
    name = name.substr(0, sizeof method);
    std::copy(name.begin(), name.end(), method);
    v.method({method, name.size()});
    if (!(want & DRAGOMAN_WANT_HEADERS)) return true;
    if (!body.xid.empty()) v.attribute(0, body.xid);
    bool map = walk_map(m.head, [&](std::string_view key, std::string_view value, auto, bool null) {
      if (!null) v.header(key, value);
    });
    if (!map) v.opaque();
    return true;
  }

  uint32_t outcome(const Message& m) {
    return Body(m.head).result == 0 ? DRAGOMAN_OUTCOME_SERVER_ERROR : DRAGOMAN_OUTCOME_OK;
  }

  /// Answers are typed results, and a made-up one would be taken for the coordinator's word: none.
  bool reply(const Message&, uint32_t, std::string_view, ByteWriter&) { return true; }

  bool edit(const Message& m, std::span<const dragoman_edit> edits, ByteWriter& out) {
    size_t end = load_be<uint16_t>(&m.head[7]);
    out.bytes(m.head.first(kFixedBytes));
    bool done = codec::apply_edits(
        edits, out,
        [&](auto&& keep) {
          return walk_map(m.head, [&](std::string_view key, std::string_view, std::span<const uint8_t> whole,
                                      bool) { keep(key, codec::text_of(whole)); });
        },
        [&](std::string_view key, std::string_view value) {
          if (key.size() > INT16_MAX || value.size() > INT16_MAX) return false;
          out.be<uint16_t>(static_cast<uint16_t>(key.size()));
          out.text(key);
          out.be<uint16_t>(static_cast<uint16_t>(value.size()));
          out.text(value);
          return true;
        });
    if (!done) return false;
    // The length is signed in the peers.
    if (out.size() > INT16_MAX) return false;
    auto grown = static_cast<int64_t>(out.size()) - static_cast<int64_t>(end);
    out.patch_be<uint32_t>(3, static_cast<uint32_t>(static_cast<int64_t>(m.frame.total_len) + grown));
    out.patch_be<uint16_t>(7, static_cast<uint16_t>(out.size()));
    out.bytes(m.head.subspan(end));
    return true;
  }
};

}  // namespace

const dragoman_codec* seata_codec() { return codec_table<Seata>(); }

}  // namespace dragoman
