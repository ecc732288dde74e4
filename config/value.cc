#include "config/value.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <re2/re2.h>

#include <algorithm>
#include <cassert>
#include <charconv>
#include <map>
#include <memory>
#include <mutex>

namespace dragoman::config {
namespace {

void wrong_type(Context& context, const Node& node, const Place& place, const Value& value,
                std::string hint = {}) {
  context.error(place, {.message = "found " + describe(node) + hint,
                        .found = node.is_scalar() ? printable(node.text) : describe(node),
                        .allowed = value.allowed()});
}

void out_of_range(Context& context, const Node& node, const Place& place, const Value& value) {
  const std::string found = printable(node.text);
  context.error(place, {.message = found + " is out of range", .found = found, .allowed = value.allowed()});
}

/// Whether `node` can be a number or boolean: quotes make it text, unless a variable needed them.
bool is_plain(const Node& node) { return node.is_scalar() && (!node.quoted || node.substituted); }

/// Whether `node` is text as YAML sees it.
bool is_text(const Node& node) {
  return node.is_scalar() && (node.quoted || node.substituted || scalar_type(node.text) == ScalarType::kText);
}

/// `own` or a ${...} that stands for it.
template <class F>
void substitutable(JsonWriter& json, F&& own) {
  json.key("anyOf");
  json.begin_array();
  own();
  json.begin_object();
  json.member("$ref", "#/definitions/substitution");
  json.end_object();
  json.end_array();
}

void string_schema(JsonWriter& json, std::string_view pattern, size_t length_max = 0) {
  json.begin_object();
  json.member("type", "string");
  json.member("pattern", pattern);
  if (length_max > 0) {
    json.key("maxLength");
    json.integer(static_cast<int64_t>(length_max));
  }
  json.end_object();
}

void integer_schema(JsonWriter& json, uint64_t first, uint64_t last) {
  json.begin_object();
  json.member("type", "integer");
  json.key("minimum");
  json.integer(static_cast<int64_t>(first));
  json.key("maximum");
  json.integer(static_cast<int64_t>(last));
  json.end_object();
}

void zero_schema(JsonWriter& json) {
  json.begin_object();
  json.key("const");
  json.integer(0);
  json.end_object();
}

void enum_schema(JsonWriter& json, const std::vector<std::string_view>& words) {
  json.begin_object();
  json.key("enum");
  json.begin_array();
  for (std::string_view word : words) json.text(word);
  json.end_array();
  json.end_object();
}

enum class Parsed : uint8_t { kGood, kNotANumber, kTooBig };

/// Digits with an optional sign, or 0x..., 0o... as in the YAML core schema.
Parsed parse_integer(std::string_view text, int64_t& out) {
  if (scalar_type(text) != ScalarType::kInteger) return Parsed::kNotANumber;
  int base = 10;
  if (text.starts_with("0x")) base = 16;
  if (text.starts_with("0o")) base = 8;
  if (base != 10) text.remove_prefix(2);
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), out, base);
  return failure == std::errc() && end == text.data() + text.size() ? Parsed::kGood : Parsed::kTooBig;
}

struct Unit {
  std::string_view name;
  int64_t factor;
};
constexpr Unit kDurationUnits[] = {{"ms", 1}, {"s", 1'000}, {"m", 60'000}, {"h", 3'600'000}};
constexpr Unit kSizeUnits[] = {{"B", 1},           {"kB", 1'000},         {"KB", 1'000},
                               {"MB", 1'000'000},  {"GB", 1'000'000'000}, {"KiB", 1ll << 10},
                               {"MiB", 1ll << 20}, {"GiB", 1ll << 30}};

/// Digits and one of `units`, nothing between.
Parsed parse_quantity(std::string_view text, std::span<const Unit> units, int64_t& out) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::string_view name = text.substr(digits);
  const auto unit = std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == name; });
  if (digits == 0 || unit == units.end()) return Parsed::kNotANumber;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + digits, out);
  if (failure != std::errc() || out > INT64_MAX / unit->factor) return Parsed::kTooBig;
  out *= unit->factor;
  return Parsed::kGood;
}

std::string quantity_pattern(std::span<const Unit> units) {
  std::string names;
  for (const Unit& unit : units) names += (names.empty() ? "" : "|") + std::string(unit.name);
  return "^[0-9]+(" + names + ")$";
}

class BooleanValue final : public Value {
 public:
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!is_plain(node) || scalar_type(node.text) != ScalarType::kBool) {
      const bool yes = node.is_scalar() && (node.text == "yes" || node.text == "on");
      const bool no = node.is_scalar() && (node.text == "no" || node.text == "off");
      return wrong_type(context, node, place, *this, yes ? "; write true" : no ? "; write false" : "");
    }
    *static_cast<bool*>(out) = node.text[0] == 't' || node.text[0] == 'T';
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.boolean(*static_cast<const bool*>(value));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] {
      json.begin_object();
      json.member("type", "boolean");
      json.end_object();
    });
  }
  std::string allowed() const override { return "true or false"; }
};

class WholeValue final : public Value {
 public:
  WholeValue(uint32_t first, uint32_t last, std::string_view word)
      : first_(first), last_(last), word_(word) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (node.is_scalar() && !word_.empty() && node.text == word_) {
      *static_cast<uint32_t*>(out) = 0;
      return;
    }
    int64_t number = 0;
    const Parsed parsed = is_plain(node) ? parse_integer(node.text, number) : Parsed::kNotANumber;
    if (parsed == Parsed::kNotANumber) return wrong_type(context, node, place, *this);
    if (parsed == Parsed::kTooBig || number < first_ || number > last_)
      return out_of_range(context, node, place, *this);
    *static_cast<uint32_t*>(out) = static_cast<uint32_t>(number);
  }
  void dump(JsonWriter& json, const void* value) const override {
    const uint32_t number = *static_cast<const uint32_t*>(value);
    if (number == 0 && !word_.empty()) return json.text(word_);
    json.integer(number);
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] {
      integer_schema(json, first_, last_);
      if (!word_.empty()) enum_schema(json, {word_});
    });
  }
  std::string allowed() const override {
    const std::string range = "a whole number " + std::to_string(first_) + ".." + std::to_string(last_);
    return word_.empty() ? range : std::string(word_) + ", or " + range;
  }

 private:
  uint32_t first_;
  uint32_t last_;
  std::string_view word_;
};

class NumbersValue final : public Value {
 public:
  explicit NumbersValue(std::vector<uint32_t> numbers) : numbers_(std::move(numbers)) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    int64_t number = 0;
    const Parsed parsed = is_plain(node) ? parse_integer(node.text, number) : Parsed::kNotANumber;
    if (parsed == Parsed::kNotANumber) return wrong_type(context, node, place, *this);
    const bool known = std::find(numbers_.begin(), numbers_.end(), number) != numbers_.end();
    if (parsed == Parsed::kTooBig || !known) return out_of_range(context, node, place, *this);
    *static_cast<uint32_t*>(out) = static_cast<uint32_t>(number);
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.integer(*static_cast<const uint32_t*>(value));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] {
      json.begin_object();
      json.key("enum");
      json.begin_array();
      for (uint32_t number : numbers_) json.integer(number);
      json.end_array();
      json.end_object();
    });
  }
  std::string allowed() const override {
    std::string out;
    for (uint32_t number : numbers_) out += (out.empty() ? "" : ", ") + std::to_string(number);
    return out;
  }

 private:
  std::vector<uint32_t> numbers_;
};

class PercentValue final : public Value {
 public:
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    const ScalarType type = is_plain(node) ? scalar_type(node.text) : ScalarType::kText;
    if (type != ScalarType::kInteger && type != ScalarType::kFloat)
      return wrong_type(context, node, place, *this);
    std::string_view digits = node.text;
    if (digits.starts_with('+')) digits.remove_prefix(1);
    double number = -1;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const bool whole_text = failure == std::errc() && end == digits.data() + digits.size();
    if (!whole_text || !(number >= 0 && number <= 100)) return out_of_range(context, node, place, *this);
    *static_cast<double*>(out) = number;
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.number(*static_cast<const double*>(value));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] {
      json.begin_object();
      json.member("type", "number");
      json.key("minimum");
      json.integer(0);
      json.key("maximum");
      json.integer(100);
      json.end_object();
    });
  }
  std::string allowed() const override { return "a number 0..100"; }
};

class DurationValue final : public Value {
 public:
  DurationValue(int64_t first, int64_t last, std::string_view zero)
      : first_(first), last_(last), zero_(zero) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    int64_t ms = 0;
    Parsed parsed = node.is_scalar() ? parse_quantity(node.text, kDurationUnits, ms) : Parsed::kNotANumber;
    if (is_plain(node) && node.text == "0") parsed = Parsed::kGood;
    if (parsed == Parsed::kNotANumber) {
      int64_t number = 0;
      const bool unitless = is_plain(node) && parse_integer(node.text, number) == Parsed::kGood;
      return wrong_type(context, node, place, *this, unitless ? " without a unit" : "");
    }
    const bool in_range = (ms >= first_ && ms <= last_) || (ms == 0 && !zero_.empty());
    if (parsed == Parsed::kTooBig || !in_range) return out_of_range(context, node, place, *this);
    *static_cast<int64_t*>(out) = ms;
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.text(duration_text(*static_cast<const int64_t*>(value)));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] {
      string_schema(json, quantity_pattern(kDurationUnits));
      if (first_ == 0 || !zero_.empty()) zero_schema(json);
    });
  }
  std::string allowed() const override {
    const std::string range = "a duration " + duration_text(first_) + ".." + duration_text(last_);
    return zero_.empty() ? range : range + ", or 0 = " + std::string(zero_);
  }

 private:
  int64_t first_;
  int64_t last_;
  std::string_view zero_;
};

class SizeValue final : public Value {
 public:
  SizeValue(uint64_t first, uint64_t last, std::string_view zero) : first_(first), last_(last), zero_(zero) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    int64_t bytes = 0;
    Parsed parsed = is_plain(node) ? parse_integer(node.text, bytes) : Parsed::kNotANumber;
    if (parsed == Parsed::kNotANumber && node.is_scalar())
      parsed = parse_quantity(node.text, kSizeUnits, bytes);
    if (parsed == Parsed::kNotANumber) return wrong_type(context, node, place, *this);
    const auto count = static_cast<uint64_t>(bytes);
    const bool in_range =
        bytes >= 0 && ((count >= first_ && count <= last_) || (count == 0 && !zero_.empty()));
    if (parsed == Parsed::kTooBig || !in_range) return out_of_range(context, node, place, *this);
    *static_cast<uint64_t*>(out) = count;
  }
  void dump(JsonWriter& json, const void* value) const override {
    const uint64_t bytes = *static_cast<const uint64_t*>(value);
    const std::string with_unit = size_text(bytes);
    if (with_unit.back() == 'B') return json.text(with_unit);
    json.integer(static_cast<int64_t>(bytes));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] {
      integer_schema(json, first_, last_);
      string_schema(json, quantity_pattern(kSizeUnits));
      if (!zero_.empty()) zero_schema(json);
    });
  }
  std::string allowed() const override {
    const std::string range =
        "a size " + size_text(first_) + ".." + size_text(last_) + " (bytes, or with KiB, MiB, GiB)";
    return zero_.empty() ? range : range + ", or 0 = " + std::string(zero_);
  }

 private:
  uint64_t first_;
  uint64_t last_;
  std::string_view zero_;
};

// Compiled when first asked for: most of a process's configuration uses few of all formats, and it should start fast.
const RE2& compiled(std::string_view pattern) {
  static std::mutex mutex;
  static std::map<std::string_view, std::unique_ptr<RE2>> all;
  const std::lock_guard lock(mutex);
  std::unique_ptr<RE2>& found = all[pattern];
  if (!found) found = std::make_unique<RE2>(re2::StringPiece(pattern.data(), pattern.size()));
  assert(found->ok());
  return *found;
}

class TextValue final : public Value {
 public:
  explicit TextValue(const TextFormat& format) : format_(format) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!is_text(node)) {
      if (format_.secret && node.is_scalar()) {
        return context.error(
            place, {.message = "found a number or boolean; put it in quotes", .allowed = allowed()});
      }
      return wrong_type(context, node, place, *this, node.is_scalar() ? "; put it in quotes" : "");
    }
    if (check(context, node.text, place)) *static_cast<std::string*>(out) = node.text;
  }
  /// The part that the keys of a map need, too.
  bool check(Context& context, const std::string& text, const Place& place) const {
    if (text.size() > format_.bytes_max) {
      const std::string length = std::to_string(text.size());
      context.error(place, {.message = "the text has " + length + " bytes",
                            .found = length,
                            .allowed = "at most " + std::to_string(format_.bytes_max)});
      return false;
    }
    if (!RE2::PartialMatch(text, compiled(format_.pattern))) {
      const std::string shown = format_.secret ? "the text" : "\"" + printable(text) + "\"";
      context.error(place, {.message = shown + " is not " + std::string(format_.what),
                            .found = format_.secret ? "" : printable(text),
                            .allowed = std::string(format_.detail)});
      return false;
    }
    std::string problem = format_.check ? format_.check(text) : "";
    if (problem.empty()) return true;
    context.error(place, {.message = std::move(problem), .found = format_.secret ? "" : printable(text)});
    return false;
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.text(format_.hidden ? kRedacted : std::string_view(*static_cast<const std::string*>(value)));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] { string_schema(json, format_.pattern, format_.bytes_max); });
  }
  std::string allowed() const override {
    std::string out(format_.what);
    if (!format_.detail.empty()) out += " (" + std::string(format_.detail) + ")";
    return out;
  }
  bool absent(const void* value) const override { return static_cast<const std::string*>(value)->empty(); }
  const TextFormat& format() const { return format_; }

 private:
  TextFormat format_;
};

class WordValue final : public Value {
 public:
  explicit WordValue(std::vector<std::string_view> words) : words_(std::move(words)) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!node.is_scalar()) return wrong_type(context, node, place, *this);
    if (std::find(words_.begin(), words_.end(), node.text) == words_.end()) {
      return context.error(place, unknown_word("value", node.text, words_));
    }
    *static_cast<std::string*>(out) = node.text;
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.text(*static_cast<const std::string*>(value));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] { enum_schema(json, words_); });
  }
  std::string allowed() const override { return join(words_); }
  bool absent(const void* value) const override { return static_cast<const std::string*>(value)->empty(); }

 private:
  std::vector<std::string_view> words_;
};

class AddressValue final : public Value {
 public:
  explicit AddressValue(AddressKind kind) : kind_(kind) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!is_text(node)) return wrong_type(context, node, place, *this);
    if (kind_ != AddressKind::kServer && node.text.starts_with(kUnix))
      return read_unix(context, node, place, *static_cast<Address*>(out));
    if (!parse(node.text, *static_cast<Address*>(out))) {
      const std::string found = printable(node.text);
      context.error(place,
                    {.message = "\"" + found + "\" is not " + what(), .found = found, .allowed = allowed()});
    }
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.text(static_cast<const Address*>(value)->text());
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] { string_schema(json, pattern()); });
  }
  std::string allowed() const override {
    switch (kind_) {
      case AddressKind::kServer: return "IP:port such as 127.0.0.1:8080 or [::1]:8080";
      case AddressKind::kListener: return "IP:port such as 127.0.0.1:8080 or [::1]:8080, or unix:/path";
      case AddressKind::kEndpoint: break;
    }
    return "host:port such as 127.0.0.1:80, [::1]:80, or api.example:80, or unix:/path";
  }

 private:
  static constexpr std::string_view kUnix = "unix:";
  static constexpr size_t kUnixPathMax = 107;  // sun_path of unix(7), without its zero

  std::string what() const {
    return kind_ == AddressKind::kEndpoint ? "a host with a port" : "an IP address with a port";
  }
  std::string pattern() const {
    const std::string ip = R"((\[[0-9A-Fa-f:.]+(%[^\]]{1,15})?\]|[A-Za-z0-9._-]+):[0-9]{1,5})";
    return kind_ == AddressKind::kServer ? "^" + ip + "$" : "^(" + ip + R"(|unix:[/@].{1,106})$)";
  }

  void read_unix(Context& context, const Node& node, const Place& place, Address& out) const {
    const std::string_view path = std::string_view(node.text).substr(kUnix.size());
    const auto fail = [&](std::string what) {
      const std::string found = printable(node.text);
      context.error(place,
                    {.message = std::move(what), .found = found, .allowed = "unix:/path or unix:@name"});
    };
    if (path.empty() || (path[0] != '/' && path[0] != '@'))
      return fail("a unix socket has a path that begins with '/', or '@' and a name");
    if (path.size() < 2 || path.find('\0') != std::string_view::npos)
      return fail("this names no unix socket");
    if (path.size() > kUnixPathMax)
      return fail("the path of a unix socket has at most 107 bytes, this one " + std::to_string(path.size()));
    out = {.host = node.text, .port = 0};
  }

  bool parse(std::string_view text, Address& out) const {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) return false;
    std::string host(text.substr(0, colon));
    const std::string_view digits = text.substr(colon + 1);
    uint16_t port = 0;
    const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (digits.empty() || digits.size() > 5 || failure != std::errc() || end != digits.data() + digits.size())
      return false;
    unsigned char ip[sizeof(in6_addr)];
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
      host = host.substr(1, host.size() - 2);
      const size_t zone = host.find('%');
      if (zone != std::string::npos && (host.size() - zone < 2 || host.size() - zone > IF_NAMESIZE))
        return false;
      if (inet_pton(AF_INET6, host.substr(0, zone).c_str(), ip) != 1) return false;
    } else if (inet_pton(AF_INET, host.c_str(), ip) != 1) {
      // Labels of a name; all digits and dots is an IPv4 address gone wrong.
      static const RE2 kName(
          R"(^[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?$)");
      if (kind_ != AddressKind::kEndpoint || host.size() > 253 || !RE2::PartialMatch(host, kName))
        return false;
      if (host.find_first_not_of("0123456789.") == std::string::npos) return false;
    }
    out = {.host = std::move(host), .port = port};
    return true;
  }

  AddressKind kind_;
};

class StatusRangeValue final : public Value {
 public:
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!node.is_scalar() || !parse(node.text, *static_cast<StatusRange*>(out)))
      wrong_type(context, node, place, *this);
  }
  void dump(JsonWriter& json, const void* value) const override {
    const auto& range = *static_cast<const StatusRange*>(value);
    if (range.first == range.last) return json.integer(range.first);
    json.text(std::to_string(range.first) + "-" + std::to_string(range.last));
  }
  void schema(JsonWriter& json) const override {
    substitutable(json, [&] {
      integer_schema(json, 100, 599);
      string_schema(json, "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$");
    });
  }
  std::string allowed() const override { return "a status 100..599, or a range such as 200-299"; }

 private:
  static bool parse(std::string_view text, StatusRange& out) {
    static const RE2 kPattern("^([1-5][0-9][0-9])(?:-([1-5][0-9][0-9]))?$");
    StatusRange range;
    std::string last;
    if (!RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), kPattern, &range.first, &last))
      return false;
    range.last = range.first;
    if (!last.empty()) std::from_chars(last.data(), last.data() + last.size(), range.last);
    if (range.first > range.last) return false;
    out = range;
    return true;
  }
};

class BitsValue final : public Value {
 public:
  explicit BitsValue(std::vector<std::pair<std::string_view, uint32_t>> rows) : rows_(std::move(rows)) {
    for (const auto& row : rows_) words_.push_back(row.first);
  }
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!node.is_sequence()) return wrong_type(context, node, place, *this);
    if (node.items.empty()) {
      return context.error(place, {.message = "the list is empty", .found = "[]", .allowed = allowed()});
    }
    uint32_t bits = 0;
    for (size_t i = 0; i < node.items.size(); ++i) {
      const Node& item = node.items[i];
      const Place at{.parent = &place, .index = static_cast<int>(i), .pos = item.pos};
      if (item.broken) continue;
      const auto row =
          std::find_if(rows_.begin(), rows_.end(), [&](const auto& r) { return r.first == item.text; });
      if (!item.is_scalar()) {
        wrong_type(context, item, at, *this);
      } else if (row == rows_.end()) {
        context.error(at, unknown_word("value", item.text, words_));
      } else {
        bits |= row->second;
      }
    }
    *static_cast<uint32_t*>(out) = bits;
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.begin_array();
    for (const auto& [word, bit] : rows_) {
      if (*static_cast<const uint32_t*>(value) & bit) json.text(word);
    }
    json.end_array();
  }
  void schema(JsonWriter& json) const override {
    json.member("type", "array");
    json.key("minItems");
    json.integer(1);
    json.key("items");
    json.begin_object();
    substitutable(json, [&] { enum_schema(json, words_); });
    json.end_object();
  }
  std::string allowed() const override { return "a list of " + join(words_); }

 private:
  std::vector<std::pair<std::string_view, uint32_t>> rows_;
  std::vector<std::string_view> words_;
};

/// A list of texts that may be a single text, too.
class TextOrListValue final : public Value {
 public:
  TextOrListValue(In<std::string> item, size_t items_min)
      : item_(item.value), list_(list<std::string>(item, items_min).value) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!node.is_scalar()) return list_->read(context, node, place, out);
    auto& texts = *static_cast<std::vector<std::string>*>(out);
    texts.assign(1, {});
    item_->read(context, node, place, &texts[0]);
  }
  void dump(JsonWriter& json, const void* value) const override { list_->dump(json, value); }
  void schema(JsonWriter& json) const override {
    json.key("anyOf");
    json.begin_array();
    for (const auto& value : {item_, list_}) {
      json.begin_object();
      value->schema(json);
      json.end_object();
    }
    json.end_array();
  }
  std::string allowed() const override { return item_->allowed() + ", or a list of them"; }
  bool absent(const void* value) const override { return list_->absent(value); }

 private:
  std::shared_ptr<const Value> item_;
  std::shared_ptr<const Value> list_;
};

class TextMapValue final : public Value {
 public:
  using Map = std::vector<std::pair<std::string, std::string>>;
  TextMapValue(const TextFormat& keys, const TextFormat& values) : keys_(keys), values_(values) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    if (!node.is_map()) return wrong_type(context, node, place, *this);
    Map& map = *static_cast<Map*>(out);
    map.assign(node.members.size(), {});
    for (size_t i = 0; i < node.members.size(); ++i) {
      const Member& member = node.members[i];
      const Place& at = context.keep({.parent = &place, .key = member.key, .pos = member.value.pos});
      context.bind(&map[i], at);
      map[i].first = member.key;
      keys_.check(context, member.key, {.parent = &place, .key = member.key, .pos = member.pos});
      if (!member.value.broken) values_.read(context, member.value, at, &map[i].second);
    }
  }
  void dump(JsonWriter& json, const void* value) const override {
    json.begin_object();
    for (const auto& [key, text] : *static_cast<const Map*>(value)) {
      json.member(key, is_secret_name(key) ? kRedacted : std::string_view(text));
    }
    json.end_object();
  }
  void schema(JsonWriter& json) const override {
    json.member("type", "object");
    json.key("propertyNames");
    json.begin_object();
    json.member("pattern", keys_.format().pattern);
    json.end_object();
    json.key("additionalProperties");
    json.begin_object();
    values_.schema(json);
    json.end_object();
  }
  std::string allowed() const override {
    return "a map from " + std::string(keys_.format().what) + " to " + std::string(values_.format().what);
  }
  bool absent(const void* value) const override { return static_cast<const Map*>(value)->empty(); }

 private:
  TextValue keys_;
  TextValue values_;
};

}  // namespace

In<bool> boolean() { return {std::make_shared<BooleanValue>()}; }
In<uint32_t> whole(uint32_t first, uint32_t last, std::string_view word) {
  return {std::make_shared<WholeValue>(first, last, word)};
}
In<uint32_t> one_of_numbers(std::initializer_list<uint32_t> numbers) {
  return {std::make_shared<NumbersValue>(std::vector<uint32_t>(numbers))};
}
In<double> percent() { return {std::make_shared<PercentValue>()}; }
In<int64_t> duration(int64_t first_ms, int64_t last_ms, std::string_view zero) {
  return {std::make_shared<DurationValue>(first_ms, last_ms, zero)};
}
In<uint64_t> size(uint64_t first, uint64_t last, std::string_view zero) {
  return {std::make_shared<SizeValue>(first, last, zero)};
}
In<std::string> text(const TextFormat& format) { return {std::make_shared<TextValue>(format)}; }
In<std::string> word(std::vector<std::string_view> words) {
  return {std::make_shared<WordValue>(std::move(words))};
}
In<Address> address(AddressKind kind) { return {std::make_shared<AddressValue>(kind)}; }
In<StatusRange> status_range() { return {std::make_shared<StatusRangeValue>()}; }
In<uint32_t> bits(std::vector<std::pair<std::string_view, uint32_t>> rows) {
  return {std::make_shared<BitsValue>(std::move(rows))};
}
In<std::vector<std::string>> texts(const TextFormat& format, size_t items_min, bool or_single) {
  if (or_single) return {std::make_shared<TextOrListValue>(text(format), items_min)};
  return list<std::string>(text(format), items_min);
}
In<std::vector<std::pair<std::string, std::string>>> text_map(const TextFormat& keys,
                                                              const TextFormat& values) {
  return {std::make_shared<TextMapValue>(keys, values)};
}

bool is_secret_name(std::string_view name) {
  std::string lower(name);
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  for (std::string_view part :
       {"authorization", "cookie", "api-key", "apikey", "token", "secret", "password"}) {
    if (lower.find(part) != std::string::npos) return true;
  }
  return false;
}

std::string duration_text(int64_t ms) {
  if (ms == 0) return "0s";
  for (size_t i = std::size(kDurationUnits); i-- > 0;) {
    const Unit& unit = kDurationUnits[i];
    if (ms % unit.factor == 0) return std::to_string(ms / unit.factor) + std::string(unit.name);
  }
  return std::to_string(ms) + "ms";
}

std::string size_text(uint64_t bytes) {
  constexpr std::pair<std::string_view, int> kUnits[] = {{"GiB", 30}, {"MiB", 20}, {"KiB", 10}};
  for (const auto& [name, shift] : kUnits) {
    if (bytes != 0 && bytes % (1ull << shift) == 0) return std::to_string(bytes >> shift) + std::string(name);
  }
  return std::to_string(bytes);
}

void EnumValue::read(Context& context, const Node& node, const Place& place, void* out) const {
  if (!node.is_scalar()) return wrong_type(context, node, place, *this);
  const auto it = std::find(words_.begin(), words_.end(), node.text);
  if (it == words_.end()) return context.error(place, unknown_word("value", node.text, words_));
  *static_cast<uint8_t*>(out) = static_cast<uint8_t>(it - words_.begin());
}
void EnumValue::dump(JsonWriter& json, const void* value) const {
  json.text(words_[*static_cast<const uint8_t*>(value)]);
}
void EnumValue::schema(JsonWriter& json) const {
  substitutable(json, [&] { enum_schema(json, words_); });
}
std::string EnumValue::allowed() const { return join(words_); }

}  // namespace dragoman::config
