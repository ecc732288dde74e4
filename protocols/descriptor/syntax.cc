#include "protocols/descriptor/syntax.h"

#include <bit>
#include <charconv>

namespace dragoman::descriptor {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/// Goes through one text, left to right.
class Scanner {
 public:
  Scanner(std::string_view text, SyntaxFault& fault) : text_(text), fault_(fault) {}

  bool failed() const { return failed_; }
  size_t at() const { return at_; }
  void fail(std::string message) { fail(at_, std::move(message)); }
  void fail(size_t at, std::string message) {
    if (!failed_) fault_ = {at, std::move(message)};
    failed_ = true;
  }
  void spaces() {
    while (at_ < text_.size() && text_[at_] == ' ') ++at_;
  }
  bool done() {
    spaces();
    return at_ == text_.size();
  }
  char peek() {
    spaces();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(std::string_view mark) {
    spaces();
    if (!text_.substr(at_).starts_with(mark)) return false;
    at_ += mark.size();
    return true;
  }
  /// Letters, digits and '_', beginning with a letter; empty when there is none.
  std::string word() {
    spaces();
    size_t from = at_;
    if (at_ < text_.size() && is_letter(text_[at_]))
      while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }
  /// What may follow a '.': also digits and '-'.
  std::string key() {
    size_t from = at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]) || text_[at_] == '-')) ++at_;
    return std::string(text_.substr(from, at_ - from));
  }
  bool integer(int64_t& out) {
    spaces();
    size_t from = at_;
    if (at_ < text_.size() && text_[at_] == '-') ++at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) ++at_;
    auto v = parse_integer(text_.substr(from, at_ - from));
    if (!v) {
      fail(from, "a whole number is expected here");
      return false;
    }
    out = *v;
    return true;
  }
  /// A text in single or double quotes; \\ \" \' \n \r \t \0 \xNN.
  bool quoted(std::string& out) {
    spaces();
    size_t from = at_;
    char mark = at_ < text_.size() ? text_[at_] : '\0';
    if (mark != '"' && mark != '\'') {
      fail("a text in quotes is expected here");
      return false;
    }
    for (++at_; at_ < text_.size(); ++at_) {
      char c = text_[at_];
      if (c == mark) {
        ++at_;
        return true;
      }
      if (c == '\\' && at_ + 1 < text_.size()) {
        char e = text_[++at_];
        if (e == 'x') {
          unsigned v = 0;
          auto hex = text_.substr(at_ + 1, 2);
          auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), v, 16);
          if (hex.size() != 2 || end != hex.data() + 2) {
            fail(at_ - 1, "\\x needs two hexadecimal digits");
            return false;
          }
          c = static_cast<char>(v);
          at_ += 2;
        } else {
          c = e == 'n' ? '\n' : e == 'r' ? '\r' : e == 't' ? '\t' : e == '0' ? '\0' : e;
        }
      }
      out += c;
    }
    fail(from, "this text has no end mark");
    return false;
  }
  Path path() {
    Path p;
    spaces();
    p.at = at_;
    std::string first = word();
    if (first.empty()) {
      fail("a name is expected here");
      return p;
    }
    p.steps.push_back(std::move(first));
    while (!failed_ && at_ < text_.size()) {
      if (text_[at_] == '.') {
        ++at_;
        p.steps.push_back(key());
        if (p.steps.back().empty()) fail("a name is expected behind '.'");
      } else if (text_[at_] == '[') {
        ++at_;
        std::string name;
        char mark = peek();
        p.indexed = is_letter(mark) || is_digit(mark);
        if (p.indexed)
          name = key();
        else if (!quoted(name))
          break;
        if (!take("]")) fail("']' is expected here");
        p.steps.push_back(std::move(name));
        if (p.indexed) break;
      } else {
        break;
      }
    }
    if (p.steps.size() > 3) fail(p.at, "a name has at most three steps");
    return p;
  }
  std::vector<Filter> filters() {
    std::vector<Filter> list;
    while (!failed_ && take("|")) {
      spaces();
      size_t from = at_;
      std::string name = word();
      Filter f;
      if (name == "before")
        f.cut = Cut::kBefore;
      else if (name == "after")
        f.cut = Cut::kAfter;
      else if (name == "before_last")
        f.cut = Cut::kBeforeLast;
      else if (name == "after_last")
        f.cut = Cut::kAfterLast;
      else if (name == "segment")
        f.cut = Cut::kSegment;
      else
        fail(from, "unknown filter; allowed: before, after, before_last, after_last, segment");
      if (failed_) break;
      if (!take("(")) fail("'(' is expected here");
      if (!failed_) quoted(f.mark);
      if (!failed_ && f.mark.empty()) fail("a mark of at least one byte is expected");
      if (!failed_ && f.cut == Cut::kSegment) {
        int64_t n = 0;
        if (!take(",")) fail("',' and a number are expected here");
        if (!failed_ && integer(n) && (n < 0 || n > 63)) fail("a segment is 0..63");
        f.segment = static_cast<uint8_t>(n);
      }
      if (!failed_ && !take(")")) fail("')' is expected here");
      list.push_back(std::move(f));
      if (list.size() > 4) fail("at most 4 filters");
    }
    return list;
  }

 private:
  std::string_view text_;
  SyntaxFault& fault_;
  size_t at_ = 0;
  bool failed_ = false;
};

bool read_literal(Scanner& s, TestText& test, bool first) {
  char c = s.peek();
  bool text = c == '"' || c == '\'';
  if (!first && text != test.text) {
    s.fail("numbers and texts can't stand in one list");
    return false;
  }
  test.text = text;
  if (text) {
    test.texts.emplace_back();
    return s.quoted(test.texts.back());
  }
  int64_t v = 0;
  if (!s.integer(v)) return false;
  test.numbers.push_back(v);
  return true;
}

/// TYPE@OFFSET[&MASK]; `type` was read, and the '@'.
bool read_absolute(Scanner& s, std::string_view type, size_t at, bool big, Source& out) {
  bool next = s.take("next");
  int64_t offset = 0;
  if (next) {
    if (s.take("+") && !s.integer(offset)) return false;
  } else if (!s.integer(offset)) {
    return false;
  }
  if (offset < 0 || offset > 65535) {
    s.fail("an offset is 0..65535");
    return false;
  }
  out.offset = static_cast<uint32_t>(offset);
  out.from = next ? From::kNext : From::kAbsolute;
  if (auto bytes = bytes_type(type); bytes && !next) {
    out.from = From::kBytes;
    out.size = *bytes;
    return true;
  }
  auto number = number_type(type, big);
  if (!number || number->coding != Coding::kFixed) {
    s.fail(at, "a type of fixed width is expected: u8, i16, u32le ... or bytes4");
    return false;
  }
  out.number = *number;
  if (s.take("&")) {
    int64_t mask = 0;
    if (!s.integer(mask)) return false;
    if (mask == 0) {
      s.fail("a mask of no bits");
      return false;
    }
    out.mask = static_cast<uint64_t>(mask);
    out.shift = static_cast<uint8_t>(std::countr_zero(out.mask));
  }
  return true;
}

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text) {
  bool minus = text.starts_with("-");
  if (minus) text.remove_prefix(1);
  int base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text.remove_prefix(2);
  }
  uint64_t v = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (base == 10 && v > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  if (minus) v = ~v + 1;
  return static_cast<int64_t>(v);
}

std::optional<Number> number_type(std::string_view text, bool big) {
  Number n;
  n.big = big;
  auto digits = [](std::string_view t, int from, int to) -> std::optional<uint8_t> {
    int v = 0;
    auto [end, error] = std::from_chars(t.data(), t.data() + t.size(), v);
    if (t.empty() || error != std::errc() || end != t.data() + t.size() || v < from || v > to) return std::nullopt;
    return static_cast<uint8_t>(v);
  };
  if (text == "varint" || text == "zigzag") {
    n.coding = text == "varint" ? Coding::kVarint : Coding::kZigzag;
    n.is_signed = text == "zigzag";
    return n;
  }
  if (text.starts_with("dec") || text.starts_with("hex")) {
    auto width = digits(text.substr(3), 1, text[0] == 'd' ? 18 : 16);
    if (!width) return std::nullopt;
    n.coding = text[0] == 'd' ? Coding::kDecimal : Coding::kHex;
    n.width = *width;
    return n;
  }
  if (!text.starts_with("u") && !text.starts_with("i")) return std::nullopt;
  n.is_signed = text[0] == 'i';
  text.remove_prefix(1);
  if (text.ends_with("le") || text.ends_with("be")) {
    n.big = text.ends_with("be");
    text.remove_suffix(2);
  }
  auto bits = digits(text, 8, 64);
  if (!bits || *bits % 8 != 0) return std::nullopt;
  n.width = *bits / 8;
  return n;
}

std::optional<uint32_t> bytes_type(std::string_view text) {
  if (!text.starts_with("bytes")) return std::nullopt;
  text.remove_prefix(5);
  uint32_t v = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || v == 0 || v > 4096)
    return std::nullopt;
  return v;
}

std::optional<Term> term_type(std::string_view text, bool big) {
  Term t;
  t.text = text.ends_with("s");
  if (text == "varints") {
    t.number.coding = Coding::kVarint;
    return t;
  }
  if (t.text) text.remove_suffix(1);
  auto number = number_type(text, big);
  if (!number) return std::nullopt;
  t.number = *number;
  return t;
}

std::optional<TestText> parse_test(std::string_view text, bool big, SyntaxFault& fault) {
  Scanner s(text, fault);
  TestText test;
  s.spaces();
  size_t at = s.at();
  // A type and '@', or a name: both begin with a word.
  SyntaxFault ignored;
  Scanner look(text, ignored);
  std::string type = look.word();
  if (!type.empty() && look.take("@")) {
    s.word();
    s.take("@");
    if (!read_absolute(s, type, at, big, test.source)) return std::nullopt;
  } else {
    test.path = s.path();
  }
  if (s.failed()) return std::nullopt;
  const bool sender = test.path.steps == std::vector<std::string>{"sender"};
  s.spaces();
  size_t op_at = s.at();
  if (s.take("==")) {
    test.op = Op::kEqual;
  } else if (s.take("!=")) {
    test.op = Op::kNotEqual;
  } else if (s.take("<=")) {
    test.op = Op::kAtMost;
  } else if (s.take(">=")) {
    test.op = Op::kAtLeast;
  } else if (s.take("<")) {
    test.op = Op::kLess;
  } else if (s.take(">")) {
    test.op = Op::kMore;
  } else {
    std::string word = s.word();
    if (word == "in") {
      test.op = Op::kIn;
    } else if (word == "present" || word == "absent") {
      test.op = word == "present" ? Op::kPresent : Op::kAbsent;
    } else {
      s.fail(op_at, "a comparison is expected here; allowed: ==, !=, <, <=, >, >=, in, present, absent");
      return std::nullopt;
    }
  }
  if (sender) {
    test.source.from = From::kSender;
    if (test.op != Op::kEqual && test.op != Op::kNotEqual)
      s.fail(op_at, "sender can be compared with == and !=");
    s.spaces();
    size_t word_at = s.at();
    std::string word = s.word();
    if (word != "client" && word != "server") s.fail(word_at, "client or server is expected here");
    test.numbers.push_back(word == "server" ? DRAGOMAN_FROM_SERVER : DRAGOMAN_FROM_CLIENT);
  } else if (test.op == Op::kIn && s.take("[")) {
    do {
      if (!read_literal(s, test, test.numbers.empty() && test.texts.empty())) return std::nullopt;
      if (test.numbers.size() + test.texts.size() > 256) s.fail("at most 256 values");
    } while (!s.failed() && s.take(","));
    if (!s.failed() && !s.take("]")) s.fail("']' is expected here");
  } else if (test.op == Op::kIn) {
    if (!read_literal(s, test, true)) return std::nullopt;
    if (test.text || !s.take("..")) {
      s.fail("a list in brackets or a range (1..9) is expected behind in");
    } else {
      test.op = Op::kRange;
      read_literal(s, test, false);
    }
  } else if (test.op != Op::kPresent && test.op != Op::kAbsent) {
    if (!read_literal(s, test, true)) return std::nullopt;
    if (test.text && test.op != Op::kEqual && test.op != Op::kNotEqual)
      s.fail(op_at, "texts can be compared with ==, != and in");
  }
  if (!s.failed() && !s.done()) s.fail("nothing more is expected here");
  if (s.failed()) return std::nullopt;
  if (test.source.from == From::kBytes && !test.text && test.op != Op::kPresent && test.op != Op::kAbsent) {
    fault = {at, "bytes are compared with texts in quotes"};
    return std::nullopt;
  }
  if (test.source.from != From::kMissing && test.source.from != From::kBytes && test.text) {
    fault = {at, "a number is compared with numbers"};
    return std::nullopt;
  }
  if (test.source.from == From::kBytes) {
    for (const std::string& t : test.texts) {
      if (t.size() == test.source.size) continue;
      fault = {at, "the text has " + std::to_string(t.size()) + " bytes, not " + std::to_string(test.source.size)};
      return std::nullopt;
    }
  }
  return test;
}

std::optional<ExpressionText> parse_expression(std::string_view text, SyntaxFault& fault) {
  Scanner s(text, fault);
  ExpressionText e;
  int sign = 1;
  do {
    char c = s.peek();
    int64_t v = 0;
    if (is_digit(c)) {
      if (!s.integer(v)) return std::nullopt;
      if (v < 0 || v > (int64_t{1} << 40)) {
        s.fail("a constant is 0..2^40");
        return std::nullopt;
      }
      e.constant += sign * v;
    } else {
      ExpressionText::Part part;
      s.spaces();
      part.at = s.at();
      part.name = s.word();
      if (part.name == "end" && s.take("(")) {
        part.end = true;
        s.spaces();
        part.at = s.at();
        part.name = s.word();
        if (!s.take(")")) s.fail("')' is expected here");
      }
      if (part.name.empty()) s.fail("a name or a number is expected here");
      if (!s.failed() && s.take("*")) {
        if (!s.integer(v)) return std::nullopt;
        if (v < 1 || v > 65535 || part.end) s.fail("a factor is 1..65535, of a field");
      } else {
        v = 1;
      }
      part.factor = static_cast<int32_t>(sign * v);
      e.parts.push_back(std::move(part));
      if (e.parts.size() > 8) s.fail("at most 8 names");
    }
    if (s.failed()) return std::nullopt;
    if (s.done()) return e;
    if (s.take("+"))
      sign = 1;
    else if (s.take("-"))
      sign = -1;
    else
      s.fail("'+' or '-' is expected here");
  } while (!s.failed());
  return std::nullopt;
}

std::optional<ReferenceText> parse_reference(std::string_view text, SyntaxFault& fault) {
  Scanner s(text, fault);
  ReferenceText r;
  r.path = s.path();
  if (!s.failed()) r.filters = s.filters();
  if (!s.failed() && !s.done()) s.fail("nothing more is expected here");
  if (s.failed()) return std::nullopt;
  return r;
}

std::optional<std::vector<PieceText>> parse_template(std::string_view text, SyntaxFault& fault) {
  std::vector<PieceText> pieces;
  size_t at = 0;
  while (at < text.size()) {
    size_t next = text.find("${", at);
    if (next != at) {
      PieceText p;
      p.at = at;
      p.piece.literal = text.substr(at, next - at);
      pieces.push_back(std::move(p));
      if (next == std::string_view::npos) break;
    }
    size_t end = text.find('}', next);
    if (end == std::string_view::npos) {
      fault = {next, "'${' without '}'"};
      return std::nullopt;
    }
    std::string_view inside = text.substr(next + 2, end - next - 2);
    PieceText p;
    p.at = next + 2;
    // An escape stands last.
    size_t bar = inside.rfind('|');
    if (bar != std::string_view::npos) {
      std::string_view word = inside.substr(bar + 1);
      while (word.starts_with(" ")) word.remove_prefix(1);
      if (word == "json" || word == "xml" || word == "line") {
        p.piece.escape = word == "json" ? Escape::kJson : word == "xml" ? Escape::kXml : Escape::kLine;
        inside = inside.substr(0, bar);
        while (inside.ends_with(" ")) inside.remove_suffix(1);
      }
    }
    if (inside == "id") {
      p.piece.kind = Piece::Kind::kId;
    } else if (inside == "status") {
      p.piece.kind = Piece::Kind::kStatus;
    } else if (inside == "text") {
      p.piece.kind = Piece::Kind::kText;
    } else if (inside.starts_with("request.")) {
      p.piece.kind = Piece::Kind::kRequest;
      SyntaxFault inner;
      p.request = parse_reference(inside.substr(8), inner);
      if (!p.request) {
        fault = {next + 10 + inner.at, inner.message};
        return std::nullopt;
      }
      p.request->path.at += next + 10;
    } else {
      fault = {next + 2, "unknown value; allowed: id, status, text, request.NAME"};
      return std::nullopt;
    }
    pieces.push_back(std::move(p));
    if (pieces.size() > 32) {
      fault = {next, "at most 32 pieces"};
      return std::nullopt;
    }
    at = end + 1;
  }
  return pieces;
}

bool parse_protobuf_path(std::string_view text, std::vector<uint32_t>& out) {
  while (true) {
    size_t dot = text.find('.');
    auto v = parse_integer(text.substr(0, dot));
    if (!v || *v < 1 || *v > 0x1fffffff || out.size() == kPathMax) return false;
    out.push_back(static_cast<uint32_t>(*v));
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

}  // namespace dragoman::descriptor
