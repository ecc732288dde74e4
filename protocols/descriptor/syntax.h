// The small texts inside a descriptor: types, tests, lengths, references, templates. Parsed into plain data with
// names not yet looked up; every fault has the offset at which it was found.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/descriptor/program.h"

namespace dragoman::descriptor {

struct SyntaxFault {
  size_t at = 0;  // byte offset in the text
  std::string message{};
};

/// "u16le", "varint", "dec8". Nothing when it is none of those.
std::optional<Number> number_type(std::string_view text, bool big);
/// "bytes4" -> 4; nothing when it is no such type, or of more than 4096 bytes or none.
std::optional<uint32_t> bytes_type(std::string_view text);
/// "u16s" (a text behind its length) or a number type.
std::optional<Term> term_type(std::string_view text, bool big);

/// `item`, `item.key`, `item["any key"]`, `item.section.key`, `item[number]`
struct Path {
  std::vector<std::string> steps{};
  bool indexed = false;  // the last step is a place in a list: a constant, or the name of a number
  size_t at = 0;
};

struct TestText {
  Source source{};  // kAbsolute, kNext, kBytes, kSender; kMissing: `path` says
  Path path{};
  Op op = Op::kEqual;
  bool text = false;
  std::vector<int64_t> numbers{};
  std::vector<std::string> texts{};
};
std::optional<TestText> parse_test(std::string_view text, bool big, SyntaxFault& fault);

struct ExpressionText {
  struct Part {
    std::string name{};
    bool end = false;
    int32_t factor = 1;
    size_t at = 0;
  };
  std::vector<Part> parts{};
  int64_t constant = 0;
};
std::optional<ExpressionText> parse_expression(std::string_view text, SyntaxFault& fault);

struct ReferenceText {
  Path path{};
  std::vector<Filter> filters{};
};
std::optional<ReferenceText> parse_reference(std::string_view text, SyntaxFault& fault);

struct PieceText {
  Piece piece{};
  std::optional<ReferenceText> request{};
  size_t at = 0;
};
std::optional<std::vector<PieceText>> parse_template(std::string_view text, SyntaxFault& fault);

/// "1.2" -> {1, 2}
bool parse_protobuf_path(std::string_view text, std::vector<uint32_t>& out);
/// A whole number, decimal or 0x; nothing when it is none or does not fit.
std::optional<int64_t> parse_integer(std::string_view text);

}  // namespace dragoman::descriptor
