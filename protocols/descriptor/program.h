// What a descriptor is compiled to: flat tables that run.cc and build.cc walk. Every index was checked when it was
// made; every offset is checked against the bytes that are there when it is used. Nothing here recurses, and every
// loop moves forward over bounded bytes or over these tables.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/plugin.h"
#include "proxy/base/cursor.h"

namespace dragoman::descriptor {

inline constexpr size_t kItemsMax = 48;    // items of a layout
inline constexpr size_t kSlotsMax = 64;    // items and bit fields of a layout
inline constexpr size_t kLookupsMax = 32;  // names looked up in one block
inline constexpr size_t kBlocksMax = 4;    // blocks of a layout
inline constexpr size_t kPartsMax = 8;     // variable items of a plain layout
inline constexpr size_t kLengthsMax = 63;  // lengths of names that are told apart
inline constexpr size_t kPathMax = 4;      // numbers of a protobuf path
inline constexpr size_t kXmlDepthMax = 32;
inline constexpr uint8_t kNowhere = 0xff;  // no item, no block

// ---------------------------------------------------------------- numbers and where they are

enum class Coding : uint8_t { kFixed, kVarint, kZigzag, kDecimal, kHex };

/// How a number stands on the wire. `width`: bytes (kFixed) or digits.
struct Number {
  Coding coding = Coding::kFixed;
  uint8_t width = 0;
  bool big = true;
  bool is_signed = false;
};

enum class Op : uint8_t { kEqual, kNotEqual, kLess, kAtMost, kMore, kAtLeast, kIn, kRange, kPresent, kAbsent };

/// Where a test, an attribute, an id ... takes its value from.
enum class From : uint8_t {
  kAbsolute,  // a number at `offset` of the frame
  kNext,      // a number at `offset` from the item being read
  kBytes,     // `size` bytes at `offset` of the frame
  kSlot,      // a number item or a bit field
  kItem,      // the bytes of an item
  kLookup,    // what was looked up in a block
  kSender,    // DRAGOMAN_FROM_CLIENT or _SERVER: who sent the frame
  kMissing,   // this layout has no such thing
};

struct Source {
  From from = From::kMissing;
  uint8_t index = 0;  // slot, item or lookup
  uint8_t block = 0;  // kLookup
  Number number{};
  uint32_t offset = 0;
  uint32_t size = 0;
  uint64_t mask = 0;  // 0 = all
  uint8_t shift = 0;
};

struct Test {
  Source source;
  Op op = Op::kEqual;
  bool text = false;  // compares bytes
  int64_t low = 0;    // or the only one
  int64_t high = 0;
  uint64_t small = 0;  // kIn: bit n = n is in, when `only_small`
  bool only_small = false;
  std::vector<int64_t> numbers{};
  std::vector<std::string> texts{};  // kIn, or the only one
};

using Tests = std::vector<Test>;  // all must hold

/// A test on a number that is surely there, in a form that is quick to ask.
struct QuickTest {
  uint16_t at = 0;    // of an absolute number
  uint8_t width = 1;
  bool big = true;
  uint8_t slot = 0;   // of a number of the fixed part
  uint8_t shift = 0;
  Op op = Op::kEqual;
  uint64_t mask = UINT64_MAX;
  int64_t low = 0, high = 0;
  uint64_t small = 0;

  bool holds(int64_t v) const {
    switch (op) {
      case Op::kEqual:
        return v == low;
      case Op::kIn:
        return static_cast<uint64_t>(v) < 64 && (small >> v & 1);
      case Op::kNotEqual:
        return v != low;
      case Op::kLess:
        return v < low;
      case Op::kAtMost:
        return v <= low;
      case Op::kMore:
        return v > low;
      case Op::kAtLeast:
        return v >= low;
      case Op::kRange:
        return v >= low && v <= high;
      default:
        return false;
    }
  }
};
/// Quick forms of some tests; `all` = false: there is none, ask the tests themselves.
struct QuickTests {
  bool all = false;
  std::vector<QuickTest> list{};
};

// ---------------------------------------------------------------- text taken apart

enum class Cut : uint8_t { kBefore, kAfter, kBeforeLast, kAfterLast, kSegment };

struct Filter {
  Cut cut = Cut::kBefore;
  uint8_t segment = 0;
  std::string mark{};
};

/// A text: the first of several that is there and not empty.
struct Reference {
  Source source{};
  std::vector<Filter> filters{};
};
using References = std::vector<Reference>;

// ---------------------------------------------------------------- blocks of names and values

enum class Block : uint8_t { kNone, kPairs, kTextPairs, kSplit, kXml, kProtobuf, kSections, kList };

/// One end of a pair: a text behind its length, or a number.
struct Term {
  Number number{};
  bool text = false;
};

struct Section {
  std::string name{};  // empty: padding
  uint32_t id = 0;
  enum class Kind : uint8_t { kPad, kPairs, kText } kind = Kind::kPad;
  Term key{}, value{};
  Number count{};
  bool headers = false;  // its pairs are the message's headers
};

/// A name wanted from a block.
struct Lookup {
  std::string name{};     // kPairs with text keys, kTextPairs, kXml
  int64_t number = 0;     // kPairs with number keys, kSplit, kList: the place
  uint8_t slot = kNowhere;  // kList: the number that says the place, unless it is constant,
  uint8_t slot_item = 0;    // and the item it belongs to
  uint32_t section = 0;   // kSections: which
  uint32_t path[kPathMax] = {};
  uint8_t path_len = 0;   // kProtobuf
  bool is_number = false;  // its value is a number on the wire
  bool presence = false;   // kProtobuf: only whether it is there
  bool is_map = false;     // kProtobuf: a map of texts, which can be the headers
};

struct BlockPlan {
  Block kind = Block::kNone;
  uint8_t item = 0;
  Term key{}, value{};
  bool counted = false;
  Number count{};
  std::string between{}, after{};
  uint8_t words = 0;          // kSplit
  Number section_id{};
  std::vector<Section> sections{};
  uint32_t map_field = 0;     // kProtobuf: the field whose entries are the headers; 0 = none
  std::vector<Lookup> lookups{};
  uint32_t by_length[kLengthsMax + 1] =
      {};  // look-ups whose names have so many bytes, or kLengthsMax and more
  uint8_t id_lookup =
      kNowhere;  // of the message's id, when it is one of its headers: nobody sees or edits it there
  uint8_t plain_width = 0;  // kPairs of texts behind lengths of so many bytes, big-endian, uncounted; else 0
};

// ---------------------------------------------------------------- a layout

/// sum of slots and ends of items, each times a factor, and a constant
struct Expression {
  struct Part {
    bool end = false;  // the offset behind item `index`, not its value
    uint8_t index = 0;
    int32_t factor = 1;
  };
  std::vector<Part> parts{};
  int64_t constant = 0;
  uint8_t owner = kNowhere;  // the item that a change of the length is written to
  int32_t owner_factor = 1;
};

enum class ItemKind : uint8_t { kNumber, kBytes, kLength, kPrefix, kUntil, kRest, kChecksum };
enum class Sum : uint8_t { kCrc32, kCrc32c, kAdler32, kSum8, kXor8 };

/// What can be wrong with one item of a frame.
enum class ItemFault : uint8_t {
  kPast,
  kNoNumber,
  kNegative,
  kLength,
  kNoMarkInLimit,
  kNoMark,
  kOver,
  kNoRoom
};
inline constexpr size_t kItemFaults = 8;

struct Item {
  std::string name{};
  ItemKind kind = ItemKind::kNumber;
  Number number{};           // kNumber, and the length in front of kPrefix
  uint32_t size = 0;         // kBytes, kChecksum
  int32_t fixed_at = -1;     // offset when it is the same in every frame
  bool body = false;         // streams; not part of the head
  bool has_value = false;
  int64_t value = 0;         // a constant
  std::string text{};        // a constant of kBytes; the mark of kUntil
  Expression length{};       // kLength
  bool derived = false;      // a number that always equals `equals`
  Expression equals{};
  uint32_t pad = 1;          // kLength: written lengths are made a multiple by zero bytes
  uint64_t max = 0;          // of variable lengths
  uint8_t block = kNowhere;
  Tests when{};              // optional items
  Sum sum = Sum::kCrc32;
  uint8_t sum_from = kNowhere;  // kChecksum: first item it covers; kNowhere = the frame's start
  uint8_t first_bit = 0, bits = 0;  // its bit fields: slots
  std::string whys[kItemFaults]{};  // by ItemFault: the reasons of refusals, with the item's name
};

/// A number item at a fixed offset whose value somebody wants: read in one sweep.
struct Load {
  uint16_t at;
  uint8_t slot;
  uint8_t width;
  bool big;
  bool is_signed;
};
struct Bits {
  std::string name{};
  uint8_t slot;
  uint8_t of;  // item
  uint64_t mask;
  uint8_t shift;
};

struct Check {
  Test test;
  int verdict = DRAGOMAN_MALFORMED;
  std::string why{};
  uint8_t optional = kNowhere;  // only when that item is there
};

struct Kind {
  uint32_t kind = 0;
  Tests when{};
  int verdict = DRAGOMAN_FRAME;  // or how such frames are refused
  std::string why{};
};

struct OutcomeRule {
  uint32_t outcome = 0;
  Tests when{};
};

/// One item of a layout in which lengths of the fixed part follow each other.
struct Step {
  uint64_t max;
  uint8_t item;
  uint8_t slot;  // its length
};

/// A number of the fixed part, of any width, byte order, sign and mask: taken out of eight bytes that are surely there.
struct Field {
  uint64_t mask = 0;
  uint64_t sign = 0;  // the sign's bit of a signed number
  uint16_t at = 0;
  uint8_t shift = 0;
  bool big = true;

  int64_t of(const uint8_t* p) const {
    uint64_t v = big ? load_be<uint64_t>(p + at) : load_le<uint64_t>(p + at);
    v = v >> shift & mask;
    return static_cast<int64_t>((v ^ sign) - sign);
  }
};

/// A layout whose every place and field follows from its fixed part: the frames of most protocols. They are read by
/// straight code (plain.cc), which gives up whatever is not entirely in order to the functions that take any layout.
struct Plain {
  struct Part {  // an item behind the fixed part, its length in it
    Field length;
    uint64_t max = 0;
  };
  struct Check {  // a number
    Field field;
    QuickTest test;
  };
  struct Text {
    enum class Kind : uint8_t { kFixed, kPart, kLookup } kind = Kind::kFixed;
    uint8_t index = 0;  // part or look-up
    uint32_t at = 0, size = 0;
    std::vector<Filter> filters{};
  };
  struct Texts {
    std::vector<Text> list{};
    uint32_t lookups = 0;  // bit set of those at the front of the list
    uint32_t behind = 0;   // the first that is none
  };
  /// Bit sets of the look-ups that somebody wants, by the length of their names.
  using Names = std::array<uint32_t, kLengthsMax + 1>;
  struct Condition {
    bool is_text = false;
    Check number{};
    Text text{};
    Op op = Op::kEqual;
    std::vector<std::string> texts{};
  };
  struct Rule {
    uint32_t outcome = 0;
    std::vector<Condition> when{};
  };
  bool yes = false;
  bool has_body = false, has_id = false, has_timeout = false, has_status = false;
  std::vector<Part> parts{};  // of the head
  Part body{};
  std::vector<Check> checks{};  // that Opening::check_value leaves
  Field id{}, timeout{}, status{};
  uint32_t id_offset = 0, id_len = 0;
  bool views = false;          // the rest is there as well: what view() and outcome() want
  uint8_t headers = kNowhere;  // the part that holds them
  std::vector<Condition> headers_when{};
  Texts service{}, method{};
  std::vector<Texts> attributes{}, same{};
  std::vector<Rule> rules{};
  Names view_names{}, rule_names{};
};

/// The first bytes of frames of one layout and kind, as the tests of match, layout and kind want them: all of them in
/// one comparison.
struct Opening {
  uint64_t mask = 0, value = 0;              // of the eight bytes at Program::opening_at
  uint64_t check_mask = 0, check_value = 0;  // what the layout's checks want of the same bytes
  uint8_t layout = 0;
  bool plain = false;  // else such frames go the long way
  uint32_t kind = 0;
};

struct Layout {
  std::string name{};
  Tests when{};
  QuickTests quick_when{};
  std::vector<Item> items{};
  std::vector<Bits> bits{};
  std::vector<Load> loads{};       // of the fixed part: all numbers,
  std::vector<Load> probe_loads{};  // those that probe() wants,
  std::vector<Load> head_loads{};   // and those that view() and outcome() want
  bool simple = false;              // `steps` are all there is behind the fixed part
  std::vector<Step> steps{};
  Plain plain{};
  std::vector<BlockPlan> blocks{};
  std::vector<Check> checks{};       // on the fixed part
  QuickTests quick_checks{};
  std::vector<Check> late_checks{};  // on what comes behind it
  uint32_t fixed_items = 0;       // items before the first of variable size
  uint32_t fixed_bytes = 0;
  bool has_frame = false;
  uint8_t frame_after = 0;        // items that must be read before `frame` can be computed
  Expression frame{};
  uint8_t body_item = kNowhere;
  uint8_t checksum_item = kNowhere;
  bool host_crc = false;          // the host verifies the checksum
  std::vector<uint8_t> derived{};  // numbers that follow from the places of items
  bool until = false;             // the length is known only when a mark is found

  std::vector<Kind> kinds{};
  std::vector<QuickTests> quick_kinds{};
  bool fixed_kinds = false;       // the kind follows from the fixed part
  bool whole_head = false;        // kind, id, status or deadline need the whole head
  Source id{};
  uint32_t id_type = DRAGOMAN_ID_NONE;
  std::vector<Source> also{};
  Source status{};
  std::vector<OutcomeRule> outcome_rules{};
  Source timeout{};
  References service{}, method{};
  std::vector<References> attributes{};
  std::vector<References> same{};  // of requests: those of one list that are there have one text
  uint8_t headers_block = kNowhere;
  uint8_t headers_item = kNowhere;
  Tests headers_when{};
  bool headers_broken_opaque = false;
  bool headers_editable = true;
};

// ---------------------------------------------------------------- frames made here

enum class Escape : uint8_t { kNone, kXml, kJson, kLine };

struct Piece {
  enum class Kind : uint8_t { kLiteral, kId, kStatus, kText, kRequest } kind = Kind::kLiteral;
  Escape escape = Escape::kNone;
  std::string literal{};
  std::vector<Reference> of_request{};  // by the request's layout
};

struct Setting {
  uint8_t slot = 0;  // item or bit field
  std::vector<Piece> pieces{};
  struct Pair {
    std::string name{};
    std::vector<Piece> pieces{};
    uint32_t section = 0;   // kSections
    uint8_t lookup = kNowhere;  // kProtobuf: how it is written
  };
  std::vector<Pair> pairs{};  // for blocks
  bool whole = false;         // a block is given as one text: `pieces`
};

struct Template {
  bool there = false;
  uint8_t layout = 0;
  std::vector<Setting> settings{};
};

struct StatusRow {
  int64_t number = 0;
  std::string text{};
  uint32_t outcome = 0;
};

// ---------------------------------------------------------------- the whole

struct Program {
  std::string name{};
  std::string version = "1";
  uint64_t frame_bytes_max = uint64_t{1} << 32;
  uint32_t head_bytes_max = 64u << 10;
  uint32_t pairs_max = 1024;
  Tests match{};
  QuickTests quick_match{};
  bool any_rules = false;
  uint32_t match_bytes = 0;  // with so many bytes no test of `match` needs a bounds check
  std::vector<Layout> layouts{};
  uint32_t when_bytes = 0;   // the same for the layouts' tests
  std::vector<Opening> openings{};  // the first that fits tells layout and kind; none: ask the tests
  uint32_t opening_at = 0;
  uint32_t id_len = 0;
  uint32_t id_bits = 0;  // that peers keep; 0 = all of id_len

  bool status_is_text = false;
  bool has_absent = false;
  int64_t absent = 0;
  std::vector<StatusRow> statuses{};
  std::vector<uint8_t> by_status{};  // outcome of 0..size-1, kNowhere = not in the table
  uint32_t other_outcome = DRAGOMAN_OUTCOME_UNKNOWN;
  struct Reply {
    bool there = false;
    int64_t number = 0;
    std::string text{};
  };
  Reply replies[13]{};
  Reply other_reply{};
  std::vector<int64_t> no_timeout{};
  int64_t timeout_multiply = 1, timeout_divide = 1;

  Template reply{}, heartbeat{}, heartbeat_reply{}, goaway{};

  std::vector<std::string> attribute_names{};
  std::vector<const char*> attribute_pointers{};
  dragoman_codec table{};
};

}  // namespace dragoman::descriptor
