// The C++ face of plugin.h. A codec is a struct with a few member functions; codec_table<C>() turns it into
// the table of functions the host calls. What a codec can do follows from the functions it has: a missing
// required function is a compile error, an optional one that is missing simply sets no ability bit.
//
//   struct Echo {
//     static constexpr const char* kName = "echo";
//     static constexpr const char* kVersion = "1";
//     static constexpr uint32_t kHeadBytesMax = 1024;    // no head is longer
//     static constexpr uint32_t kDetectBytesMax = 8;     // bytes that tell mine from not mine
//     static constexpr uint32_t kIdLen = 4;              // optional: bytes of the integer id
//     static constexpr uint32_t kIdBits = 31;            // optional: bits of it that every peer keeps
//     static constexpr bool kOnlyBound = true;           // optional: DRAGOMAN_ONLY_BOUND
//     static constexpr const char* kAttributes[] = {"zone"};  // optional: names for view.attribute()
//     static constexpr uint32_t kLacks = DRAGOMAN_WANT_METHOD;  // optional: what the protocol does not have
//
//     // Required:
//     int probe(std::span<const uint8_t> bytes, Frame& frame);
//     bool view(const Message& message, uint32_t want, View& view);
//     uint32_t outcome(const Message& response);
//     bool reply(const Message& request, uint32_t outcome, std::string_view text, ByteWriter& out);
//
//     // Optional:
//     bool edit(const Message& message, std::span<const dragoman_edit> edits, ByteWriter& out);
//     bool heartbeat(uint32_t variant, uint64_t id, ByteWriter& out);      // with heartbeat_reply
//     bool heartbeat_reply(const Message& heartbeat, ByteWriter& out);
//     bool goaway(uint32_t variant, ByteWriter& out);
//     bool set_id(const Message& message, std::span<const uint8_t> id, ByteWriter& out);
//     bool checksum(std::span<uint8_t> frame_bytes, const Message& message, bool fix);
//     int extent(const Frame& frame, uint64_t offset, std::span<const uint8_t> bytes, uint64_t& used);
//     std::string_view status_text(const Message& response);               // statuses that are texts; part of the head
//   };
//
// Data members of the struct are its memory of one connection: the host keeps one zeroed object a connection
// (at most 1024 bytes, no constructor, no destructor). A struct without members costs nothing. Functions
// return false when they can't do what was asked; reply() that returns true and wrote nothing makes the host
// close the connection. Exceptions are caught here and mean the same.
//
// DRAGOMAN_PLUGIN(Echo) at the end of the file makes it a codec to load:
//   g++ -std=c++20 -shared -fPIC $(pkg-config --cflags dragoman-codec) echo.cc -o libecho.so
#pragma once

#include <concepts>
#include <iterator>
#include <span>
#include <string_view>
#include <type_traits>

#include "protocols/plugin.h"
#include "proxy/base/cursor.h"

// Nothing of a codec is seen from outside but what DRAGOMAN_PLUGIN exports: two versions of one codec must
// not share a symbol when both are loaded.
#pragma GCC visibility push(hidden)

namespace dragoman::codec {

using Frame = dragoman_frame;

/// A complete head: `head` is frame.head_len bytes.
struct Message {
  std::span<const uint8_t> head;
  const Frame& frame;
};

/// Where view() puts what it found. All text must be spans into the head; service and method may also be the
/// codec's own members, and values of headers and attributes anything, for what stands in another form than it means.
class View {
 public:
  explicit View(dragoman_view& raw) : raw_(raw) {}
  /// A second value that is another one makes the head no good: peers differ about which of the two counts.
  void service(std::string_view text) { set(raw_.service, text); }
  void method(std::string_view text) { set(raw_.method, text); }
  void header(std::string_view name, std::string_view value) {
    if (raw_.header) raw_.header(raw_.ctx, as_bytes(name), as_bytes(value));
  }
  /// Something that has no name on the wire, by its place in kAttributes. Values up to 1 KiB may be made up.
  void attribute(uint32_t index, std::string_view value) {
    if (raw_.attribute) raw_.attribute(raw_.ctx, index, as_bytes(value));
  }
  /// This head has no header section that can be read or edited; headers already given are forgotten.
  void opaque() { raw_.flags |= DRAGOMAN_VIEW_OPAQUE; }
  /// The body was to be read (DRAGOMAN_WANT_BODY) and could not be.
  void unread() { raw_.flags |= DRAGOMAN_VIEW_UNREAD; }
  bool contradicts() const { return contradicts_; }

 private:
  void set(dragoman_bytes& to, std::string_view text) {
    if (to.len > 0 &&
        std::string_view(reinterpret_cast<const char*>(to.data), static_cast<size_t>(to.len)) != text)
      contradicts_ = true;
    to = as_bytes(text);
  }
  static dragoman_bytes as_bytes(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  }
  dragoman_view& raw_;
  bool contradicts_ = false;
};

inline std::string_view text_of(dragoman_bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data), static_cast<size_t>(bytes.len)};
}
inline std::string_view text_of(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// probe()'s answers.
inline int found(Frame&) { return DRAGOMAN_FRAME; }
inline int need(Frame& frame, uint64_t bytes) {
  frame.need = bytes;
  return DRAGOMAN_NEED;
}
inline int not_mine() { return DRAGOMAN_NOT_MINE; }
/// `why` must be a literal.
inline int refuse(Frame& frame, int verdict, const char* why) {
  frame.reason = why;
  return verdict;
}

/// ASCII case does not matter in the names of headers.
inline bool same_name(std::string_view a, std::string_view b) {
  auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (lower(a[i]) != lower(b[i])) return false;
  return true;
}

/// A value that routes, names a call or tells what a frame is: where it stands more than once, some peers take the first
/// and others the last, so both must say the same.
class Once {
 public:
  /// False: it was there before, with another value.
  [[nodiscard]] bool take(std::string_view value) {
    if (there_) return value == value_;
    there_ = true;
    value_ = value;
    return true;
  }
  bool there() const { return there_; }
  std::string_view value() const { return value_; }

 private:
  std::string_view value_;
  bool there_ = false;
};

/// Whether `text` is UTF-8 in its one and shortest form. Lenient decoders read `c1 b3` as `s`, so a name that is not
/// can be another one to them.
inline bool is_utf8(std::string_view text) {
  auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const uint8_t lead = at(i++);
    if (lead < 0x80) continue;
    const size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < more) return false;
    const uint8_t next = at(i);
    if ((lead == 0xe0 && next < 0xa0) || (lead == 0xf0 && next < 0x90) || (lead == 0xf4 && next > 0x8f))
      return false;
    for (size_t end = i + more; i < end; ++i)
      if ((at(i) & 0xc0) != 0x80) return false;
  }
  return true;
}

/// Whether an edit from the i-th on sets or removes `name`: what comes before it is gone, headers that were there
/// included.
inline bool replaced_from(std::span<const dragoman_edit> edits, size_t i, std::string_view name) {
  for (; i < edits.size(); ++i)
    if (edits[i].op != DRAGOMAN_EDIT_ADD && same_name(text_of(edits[i].name), name)) return true;
  return false;
}

/// Writes a header section with edits applied. walk(keep) calls keep(name, bytes) for each header that is
/// there, with the bytes that it takes, and returns false when they are broken; pair(name, value) writes a
/// new one and returns false when it can't stand there.
template <class Walk, class Pair>
bool apply_edits(std::span<const dragoman_edit> edits, ByteWriter& out, Walk&& walk, Pair&& pair) {
  auto keep = [&](std::string_view name, std::string_view bytes) {
    if (!replaced_from(edits, 0, name)) out.text(bytes);
  };
  if (!walk(keep)) return false;
  for (size_t i = 0; i < edits.size(); ++i) {
    std::string_view name = text_of(edits[i].name);
    if (edits[i].op == DRAGOMAN_EDIT_REMOVE || replaced_from(edits, i + 1, name)) continue;
    if (!pair(name, text_of(edits[i].value))) return false;
  }
  return true;
}

/// How many headers apply_edits() writes, for sections that begin with their number. `walk` as there.
template <class Walk>
bool count_edited(std::span<const dragoman_edit> edits, Walk&& walk, uint32_t& count) {
  count = 0;
  if (!walk([&](std::string_view name, std::string_view) { count += !replaced_from(edits, 0, name); }))
    return false;
  for (size_t i = 0; i < edits.size(); ++i)
    count += edits[i].op != DRAGOMAN_EDIT_REMOVE && !replaced_from(edits, i + 1, text_of(edits[i].name));
  return true;
}

namespace detail {

template <class C>
C& self(void* conn) {
  if constexpr (std::is_empty_v<C>) {
    static C empty;
    return empty;
  } else {
    return *static_cast<C*>(conn);
  }
}

inline Message message(const uint8_t* head, const Frame* frame) { return {{head, frame->head_len}, *frame}; }

/// Runs a function that writes and turns its answer into the ABI's.
template <class F>
int64_t written(uint8_t* out, uint64_t cap, F&& f) {
  ByteWriter writer(out, static_cast<size_t>(cap));
  try {
    if (!f(writer)) return -1;
  } catch (...) {
    return -1;
  }
  return static_cast<int64_t>(writer.size());
}

template <class C>
concept CanEdit = requires(C c, const Message& m, std::span<const dragoman_edit> e, ByteWriter& w) {
  { c.edit(m, e, w) } -> std::same_as<bool>;
};
template <class C>
concept CanHeartbeat = requires(C c, uint32_t v, uint64_t id, ByteWriter& w) {
  { c.heartbeat(v, id, w) } -> std::same_as<bool>;
};
template <class C>
concept CanAnswerHeartbeat = requires(C c, const Message& m, ByteWriter& w) {
  { c.heartbeat_reply(m, w) } -> std::same_as<bool>;
};
template <class C>
concept CanGoAway = requires(C c, uint32_t v, ByteWriter& w) {
  { c.goaway(v, w) } -> std::same_as<bool>;
};
template <class C>
concept CanSetId = requires(C c, const Message& m, std::span<const uint8_t> id, ByteWriter& w) {
  { c.set_id(m, id, w) } -> std::same_as<bool>;
};
template <class C>
concept CanChecksum = requires(C c, std::span<uint8_t> b, const Message& m, bool fix) {
  { c.checksum(b, m, fix) } -> std::same_as<bool>;
};

template <class C>
concept CanMeasure = requires(C c, const Frame& f, std::span<const uint8_t> b, uint64_t& used) {
  { c.extent(f, uint64_t{0}, b, used) } -> std::same_as<int>;
};

template <class C>
concept HasTextStatus = requires(C c, const Message& m) {
  { c.status_text(m) } -> std::same_as<std::string_view>;
};

template <class C>
constexpr uint32_t id_len() {
  if constexpr (requires { C::kIdLen; })
    return C::kIdLen;
  else
    return 0;
}

template <class C>
dragoman_codec make_table() {
  static_assert(std::is_trivially_copyable_v<C> && std::is_trivially_destructible_v<C>,
                "a codec's members are plain memory of one connection");
  static_assert(std::is_empty_v<C> || (sizeof(C) <= DRAGOMAN_CONN_STATE_MAX && alignof(C) <= 16),
                "connection state is at most 1024 bytes");
  static_assert(CanHeartbeat<C> == CanAnswerHeartbeat<C>, "heartbeat and heartbeat_reply come together");

  dragoman_codec t{};
  t.size = sizeof(dragoman_codec);
  t.abi_major = DRAGOMAN_ABI_MAJOR;
  t.abi_minor = DRAGOMAN_ABI_MINOR;
  t.name = C::kName;
  t.version = C::kVersion;
  t.conn_state_size = std::is_empty_v<C> ? 0 : sizeof(C);
  t.head_bytes_max = C::kHeadBytesMax;
  t.detect_bytes_max = C::kDetectBytesMax;
  t.id_len = id_len<C>();
  if constexpr (requires { C::kIdBits; }) t.id_bits = C::kIdBits;
  if constexpr (requires { C::kLacks; }) t.lacks = C::kLacks;
  if constexpr (requires { C::kAttributes; }) {
    t.attributes = C::kAttributes;
    t.attribute_count = std::size(C::kAttributes);
  }
  if constexpr (requires { C::kOnlyBound; })
    t.abilities |= DRAGOMAN_ONLY_BOUND;
  else if (t.id_len > 0 || CanSetId<C>)
    t.abilities |= DRAGOMAN_CAN_MULTIPLEX;

  t.probe = [](const void*, void* conn, const uint8_t* data, uint64_t len, Frame* out) -> int {
    try {
      return self<C>(conn).probe(std::span<const uint8_t>(data, static_cast<size_t>(len)), *out);
    } catch (...) {
      return refuse(*out, DRAGOMAN_MALFORMED, "the codec threw");
    }
  };
  t.view = [](const void*, void* conn, const uint8_t* head, const Frame* frame, uint32_t want,
              dragoman_view* out) -> int {
    try {
      View view(*out);
      return self<C>(conn).view(message(head, frame), want, view) && !view.contradicts() ? 0 : -1;
    } catch (...) {
      return -1;
    }
  };
  t.outcome = [](const void*, void* conn, const uint8_t* head, const Frame* frame) -> uint32_t {
    try {
      return self<C>(conn).outcome(message(head, frame));
    } catch (...) {
      return DRAGOMAN_OUTCOME_UNKNOWN;
    }
  };
  t.reply = [](const void*, void* conn, const uint8_t* head, const Frame* frame, uint32_t outcome,
               dragoman_bytes text,
               uint8_t* out, uint64_t cap) -> int64_t {
    return written(out, cap, [&](ByteWriter& w) {
      return self<C>(conn).reply(message(head, frame), outcome, text_of(text), w);
    });
  };
  if constexpr (CanEdit<C>) {
    t.abilities |= DRAGOMAN_CAN_EDIT;
    t.edit = [](const void*, void* conn, const uint8_t* head, const Frame* frame, const dragoman_edit* edits,
                uint32_t count, uint8_t* out, uint64_t cap) -> int64_t {
      return written(out, cap, [&](ByteWriter& w) {
        return self<C>(conn).edit(message(head, frame), std::span<const dragoman_edit>(edits, count), w);
      });
    };
  }
  if constexpr (CanHeartbeat<C> && CanAnswerHeartbeat<C>) {
    t.abilities |= DRAGOMAN_CAN_HEARTBEAT;
    t.heartbeat = [](const void*, void* conn, uint32_t variant, uint64_t id, uint8_t* out,
                     uint64_t cap) -> int64_t {
      return written(out, cap, [&](ByteWriter& w) { return self<C>(conn).heartbeat(variant, id, w); });
    };
    t.heartbeat_reply = [](const void*, void* conn, const uint8_t* head, const Frame* frame, uint8_t* out,
                           uint64_t cap) -> int64_t {
      return written(out, cap,
                     [&](ByteWriter& w) { return self<C>(conn).heartbeat_reply(message(head, frame), w); });
    };
  }
  if constexpr (CanGoAway<C>) {
    t.abilities |= DRAGOMAN_CAN_GOAWAY;
    t.goaway = [](const void*, void* conn, uint32_t variant, uint8_t* out, uint64_t cap) -> int64_t {
      return written(out, cap, [&](ByteWriter& w) { return self<C>(conn).goaway(variant, w); });
    };
  }
  if constexpr (CanSetId<C>) {
    t.set_id = [](const void*, void* conn, const uint8_t* head, const Frame* frame, dragoman_bytes id,
                  uint8_t* out,
                  uint64_t cap) -> int64_t {
      return written(out, cap, [&](ByteWriter& w) {
        return self<C>(conn).set_id(message(head, frame),
                                    std::span<const uint8_t>(id.data, static_cast<size_t>(id.len)), w);
      });
    };
  }
  if constexpr (CanChecksum<C>) {
    t.abilities |= DRAGOMAN_CAN_CHECKSUM;
    t.checksum = [](const void*, void* conn, uint8_t* bytes, const Frame* frame, int fix) -> int {
      try {
        return self<C>(conn).checksum(std::span<uint8_t>(bytes, static_cast<size_t>(frame->total_len)),
                                      message(bytes, frame), fix != 0);
      } catch (...) {
        return 0;
      }
    };
  }
  if constexpr (CanMeasure<C>) {
    t.extent = [](const void*, void* conn, const Frame* frame, uint64_t offset, const uint8_t* data,
                  uint64_t len, uint64_t* used) -> int {
      try {
        return self<C>(conn).extent(*frame, offset,
                                    std::span<const uint8_t>(data, static_cast<size_t>(len)), *used);
      } catch (...) {
        return DRAGOMAN_MALFORMED;
      }
    };
  }
  if constexpr (HasTextStatus<C>) {
    t.status_text = [](const void*, void* conn, const uint8_t* head, const Frame* frame,
                       dragoman_bytes* out) -> int {
      try {
        std::string_view text = self<C>(conn).status_text(message(head, frame));
        if (text.empty()) return -1;
        *out = {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
        return 0;
      } catch (...) {
        return -1;
      }
    };
  }
  return t;
}

}  // namespace detail

}  // namespace dragoman::codec

namespace dragoman {

/// The one table of codec C.
template <class C>
const dragoman_codec* codec_table() {
  static const dragoman_codec table = codec::detail::make_table<C>();
  return &table;
}

}  // namespace dragoman

#pragma GCC visibility pop

/// Makes codec C the one that a shared library holds.
#define DRAGOMAN_PLUGIN(C)                                                                               \
  extern "C" __attribute__((visibility("default"))) const dragoman_codec* dragoman_codec_v1(void) {      \
    return ::dragoman::codec_table<C>();                                                                 \
  }
