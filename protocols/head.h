// The head of a message, the same for every protocol: what routing, filters and logs read and edit.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "protocols/plugin.h"
#include "proxy/base/arena.h"
#include "proxy/base/reason.h"

namespace dragoman {

/// Well-known field names get an id so that nobody compares strings for them on the hot path.
enum class HeaderId : uint8_t {
  kOther = 0,
  kHost,
  kConnection,
  kContentLength,
  kContentType,
  kTransferEncoding,
  kTe,
  kTrailer,
  kUpgrade,
  kKeepAlive,
  kProxyConnection,
  kExpect,
  kDate,
  kServer,
  kUserAgent,
  kAccept,
  kXForwardedFor,
  kXForwardedProto,
  kXForwardedHost,
  kXRequestId,
  kAuthorization,
  kCookie,
  kLocation,
  kHttp2Settings,
  kGrpcTimeout,
  kGrpcStatus,
  kTriServiceTimeout,
  kTriServiceGroup,
  kTriServiceVersion,
  kTriProtocolVersion,
  kHops,
  kPeerReason,
};

/// How many proxies of this kind a request has passed (listener key hops_max).
inline constexpr std::string_view kHopsHeader = "x-dragoman-hops";
/// Why a proxy of this kind answered in its backend's place (listener key tell_reason).
inline constexpr std::string_view kReasonHeader = "x-dragoman-reason";

/// Id of `name` in any letter case.
HeaderId header_id(std::string_view name);

/// A name that is often seen, with or without an id.
struct KnownName {
  std::string_view name;  // lower case, in memory that lasts; empty when it is none of them
  HeaderId id = HeaderId::kOther;
};
KnownName known_name(std::string_view name);
/// The name of a field in memory that lasts, and in lower case, where it has an id or comes from known_name();
/// else empty.
std::string_view lasting_name(std::string_view name, HeaderId id);

/// ASCII case-insensitive equality.
bool equals_ignore_case(std::string_view a, std::string_view b);

struct Header {
  std::string_view name;
  std::string_view value;
  HeaderId id = HeaderId::kOther;
};

/// Flat list in wire order; duplicates allowed. Memory (array and copied text) comes from the arena.
class HeaderList {
 public:
  /// `first`: fields there is room for from the first one on.
  explicit HeaderList(Arena& arena, uint32_t first = 8) : arena_(&arena), first_(first) {}
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Header* begin() { return items_; }
  Header* end() { return items_ + size_; }
  const Header* begin() const { return items_; }
  const Header* end() const { return items_ + size_; }
  Header& operator[](size_t i) { return items_[i]; }

  /// Appends without copying text: the views must live as long as the arena.
  void push(std::string_view name, std::string_view value, HeaderId id) {
    if (size_ == capacity_) grow();
    items_[size_++] = {name, value, id};
  }
  /// Appends a copy.
  void add(std::string_view name, std::string_view value) { push(arena_->copy(name), arena_->copy(value), header_id(name)); }
  /// Appends a copy of `name` with a value that lives as long as the arena.
  void add_name(std::string_view name, std::string_view value) { push(arena_->copy(name), value, header_id(name)); }
  /// Replaces every field of that name by one (at the first one's place), or appends.
  void set(std::string_view name, std::string_view value);
  /// Returns how many were removed. Order is kept.
  size_t remove(std::string_view name);
  size_t remove(HeaderId id);
  /// First field, or null.
  const Header* find(HeaderId id) const;
  const Header* find(std::string_view name) const;
  void clear() { size_ = 0; }
  /// Forgets everything, to be called when the arena was reset.
  void reset() {
    items_ = nullptr;
    size_ = capacity_ = 0;
  }
  Arena& arena() { return *arena_; }

 private:
  void grow();
  Arena* arena_;
  Header* items_ = nullptr;
  uint32_t size_ = 0;
  uint32_t capacity_ = 0;
  const uint32_t first_;
};

enum class EditOp : uint8_t { kSet, kAdd, kRemove };

/// One requested change of a framed message's header section; applied by the codec when the message is encoded.
struct HeaderEdit {
  EditOp op;
  std::string_view name;
  std::string_view value;
  HeaderEdit* next;
  bool needed = true;     // kRemove: there was such a header, or none could be read
  bool optional = false;  // nobody asked for it: left out without a word where there is no place for it
};

/// What the route table, filters, and logs of a listener need from a framed head (bits of `want` in the plugin ABI).
using Want = uint32_t;

/// One message head. Lives in the codec's exchange; every view is valid until the exchange is released.
struct Head {
  Head() : headers(arena) {}

  Arena arena;
  HeaderList headers;           // HTTP: end-to-end fields only (hop-by-hop ones are the codec's business)

  // Request attributes (empty when the protocol has no such thing).
  std::string_view method;      // HTTP method, RPC method
  std::string_view path;        // HTTP: path and query as forwarded (normalised); starts with '/' or is '*'
  std::string_view authority;   // HTTP: host[:port] (never in `headers`)
  std::string_view scheme;      // HTTP: "http", "https"
  std::string_view service;     // RPC service name
  std::string_view rpc_method;  // gRPC, Triple: the method of `service`; `method` is HTTP's
  std::string_view group;       // Triple: of the service
  std::string_view version;     // Triple: of the service, never empty with `service`
  std::string_view sni;         // server name of the client's TLS hello, lower case; set by the engine

  // Response attributes.
  uint32_t status = 0;          // native status: HTTP code, Bolt status
  Outcome outcome = Outcome::kOk;
  std::string_view status_text;  // HTTP reason phrase; RPC: a status that is a text; null: a number
  int32_t rpc_status = -1;      // gRPC: grpc-status, known at the answer's end at the latest; -1 = none
  static constexpr int64_t kNoRepeat = -2;
  int64_t repeat_after_ms =
      -1;  // of a failure: how long a repeat has to wait; -1 = not said, kNoRepeat = never

  int64_t content_length = -1;  // body bytes when known, else -1; with end=true on the head there is no body
  int64_t timeout_ms = -1;      // the caller's own deadline carried on the wire; -1 = none
  bool is_request = true;
  bool one_way = false;         // no answer will come
  bool must_remove = false;     // edits that remove what is there: without them the message is not sent
  bool is_http = false;
  bool grpc = false;            // HTTP: part of a gRPC call
  bool triple = false;          // HTTP: a request of Triple's HTTP face
  bool upgrade = false;         // request: wants to leave HTTP for `upgrade_token`; response: status 101
  bool expect_continue = false; // request carried Expect: 100-continue (not in `headers`)
  bool te_trailers = false;     // the sender announced that it takes trailers
  bool http10 = false;
  std::string_view upgrade_token;

  // Framed protocols only: the head as it came, in memory of `arena`.
  std::span<const uint8_t> wire;     // frame.head_len bytes
  dragoman_frame frame{};            // as the codec's probe described it
  const void* table = nullptr;       // whose probe that was; null: the sending codec's own
  bool opaque = false;               // no header section that could be read or edited: edits would fail
  bool hops_unread = false;          // a request in which nobody has looked for kHopsHeader
  HeaderEdit* edits = nullptr;       // in order
  HeaderEdit** edits_tail = &edits;

  /// Header edits that work for every protocol: HTTP changes the list, framed heads record an edit as well.
  void set_header(std::string_view name, std::string_view value);
  void add_header(std::string_view name, std::string_view value);
  /// As set_header(), of ours alone: a message that has no place for it passes as it came, and nobody counts that.
  void offer_header(std::string_view name, std::string_view value);
  void remove_header(std::string_view name);
  /// First header value, or an empty view with found=false.
  std::string_view header(std::string_view name, bool* found = nullptr) const;

  /// Back to the state after construction; keeps no memory but the inline block.
  void reset();

 private:
  HeaderEdit* record(EditOp op, std::string_view name, std::string_view value, bool needed = true);
};

}  // namespace dragoman
