// Reads Hessian 2 without building anything: skips values, and gives the strings and numbers asked for as spans.
// Two grammars share the name, and nothing in the bytes tells them apart: the protocol decides (README.md).
//
// Bounded: work and depth are limited by the bytes and by the constants below, whatever the bytes say. The first
// thing that is wrong makes ok() false for good. truncated() tells bytes that are merely not all there.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "proxy/base/cursor.h"

namespace dragoman::hessian {

enum class Grammar : uint8_t {
  kFinal,  // Hessian 2.0: Dubbo's serialization 2
  kDraft,  // before it: SOFARPC's bodies
};

inline constexpr uint32_t kDepthMax = 100;
inline constexpr uint32_t kClassesMax = 256;
inline constexpr uint32_t kFieldsMax = 1024;

/// A string as it stands: bytes are UTF-8 or CESU-8. Strings in several chunks have no text.
struct Text {
  std::string_view text;
  bool null = false;
  bool whole = true;
  bool ascii = false;  // surely nothing else; not looked at where it is false
  /// Whether all readers find the same text: one chunk, and no character in a longer form than it needs, which decoders
  /// in Java take for the shorter one.
  bool plain() const;
};

class Reader {
 public:
  Reader(std::span<const uint8_t> bytes, Grammar grammar) : in_(bytes), bytes_(bytes), grammar_(grammar) {}

  bool ok() const { return ok_ && in_.ok(); }
  bool truncated() const { return !in_.ok() && ok_; }
  size_t position() const { return in_.position(); }
  size_t remaining() const { return in_.remaining(); }
  /// Maps, lists and objects begun so far, and class and type names: what later values may refer to by number.
  uint32_t references() const { return containers_ + classes_ + types_; }

  /// The next value, whatever it is.
  bool skip();
  /// The next value if it is a string or null; else false and nothing is read.
  bool string(Text& out);
  /// The next value if it is a 32-bit integer; else false and nothing is read.
  bool integer(int32_t& out);
  /// Whether the next value is null. Reads nothing.
  bool at_null() const { return peek() == 'N'; }
  /// Reads the beginning of a map, if there is one, up to its first key.
  bool begin_map();
  /// Reads the end of a map, if it is there.
  bool end_map();
  /// Reads class definitions up to an object, and the object's beginning. `class_name` and `fields` tell of its
  /// class: field names are given in order, the values follow. False, nothing read, when there is none.
  template <class OnField>
  bool begin_object(std::string_view& class_name, uint32_t& fields, OnField&& on_field) {
    if (!at_definition() || !begin_definition(class_name, fields)) return false;
    for (uint32_t i = 0; i < fields; ++i) {
      Text name;
      if (!string(name) || name.null || !name.whole) return fail();
      on_field(i, name.text);
    }
    return end_definition(fields) && begin_instance(fields);
  }

 private:
  int peek() const { return in_.remaining() > 0 ? bytes_[in_.position()] : -1; }
  bool is_final() const { return grammar_ == Grammar::kFinal; }
  bool fail() {
    ok_ = false;
    return false;
  }
  bool ascii_string(Text& out);
  bool units(uint32_t count);
  bool length_ok(int32_t n) { return n >= 0 && static_cast<uint32_t>(n) <= in_.remaining() ? true : fail(); }
  bool value(uint32_t& children, bool& open_ended, bool& map, bool& again);
  bool final_value(uint8_t b, uint32_t& children, bool& open_ended, bool& map, bool& again);
  bool draft_value(uint8_t b, uint32_t& children, bool& open_ended, bool& map, bool& again);
  bool string_chunks(uint8_t code, Text* out);
  bool binary_chunks(uint8_t code);
  bool type();
  bool draft_type(bool& there);
  bool reference(int64_t index) {
    return index >= 0 && static_cast<uint64_t>(index) < containers_ ? true : fail();
  }
  bool fields_of(int64_t index, uint32_t& children);
  bool at_definition() const { return peek() == (is_final() ? 'C' : 'O'); }
  bool begin_definition(std::string_view& name, uint32_t& fields);
  bool end_definition(uint32_t fields);
  bool begin_instance(uint32_t fields);
  bool skip_definition();

  ByteReader in_;
  std::span<const uint8_t> bytes_;
  Grammar grammar_;
  bool ok_ = true;
  uint32_t containers_ = 0;
  uint32_t types_ = 0;
  uint32_t classes_ = 0;
  uint16_t fields_
      [kClassesMax];  // of the first classes_; a reader is made for every message, so the rest stays as it is
};

/// Writes `utf8` as a string value of both grammars, supplementary characters as surrogate pairs. False when it is
/// no UTF-8 or longer than 32767 units.
bool write_string(std::string_view utf8, ByteWriter& out, Grammar grammar);

}  // namespace dragoman::hessian
