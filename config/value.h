// The kinds of values a setting can have. Each kind knows four things: how to read it from YAML, how to write
// it back, its JSON Schema, and how to say in words what may be written. fields.cc combines them into the
// table of settings.
#pragma once

#include <cassert>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/config.h"
#include "config/context.h"
#include "config/json_writer.h"
#include "config/node.h"

namespace dragoman::config {

class Block;
using BlockVisitor = std::function<void(const std::string& path, const Block& block)>;

/// `void*` is the struct member the value is stored in; In<T> below makes sure that it has the right type.
class Value {
 public:
  virtual ~Value() = default;

  /// Stores what `node` says, or reports why it can't be. Leaves `out` alone on a fault of the value itself.
  virtual void read(Context& context, const Node& node, const Place& place, void* out) const = 0;
  /// Writes one JSON value.
  virtual void dump(JsonWriter& json, const void* value) const = 0;
  /// Writes members of the JSON object that is open.
  virtual void schema(JsonWriter& json) const = 0;
  /// What may be written: "a whole number 1..256".
  virtual std::string allowed() const = 0;
  /// Not worth a line in a dump: absent, or an empty text or list.
  virtual bool absent(const void* value) const { return false; }
  /// Calls visit for each kind of block directly below.
  virtual void visit_blocks(const std::string& path, const BlockVisitor& visit) const {}
};

/// A value whose home is a T.
template <class T>
struct In {
  std::shared_ptr<const Value> value;
};

/// The kind of text a setting takes: one regular expression for the loader and the schema.
struct TextFormat {
  std::string_view what;     // "a name"
  std::string_view pattern;  // RE2 and ECMA 262 read it alike
  std::string_view detail;   // "1 to 128 letters, digits, '_', '.' or '-'"; may be empty
  /// Further check; says what is wrong, or nothing.
  std::string (*check)(std::string_view text) = nullptr;
  bool secret = false;  // never repeat the text in a message
  bool hidden = false;  // nor in a dump
  size_t bytes_max = 4'096;
};

In<bool> boolean();
/// `word` stands for 0, which is not in first..last then.
In<uint32_t> whole(uint32_t first, uint32_t last, std::string_view word = {});
In<uint32_t> one_of_numbers(std::initializer_list<uint32_t> numbers);
In<double> percent();
/// first_ms..last_ms; with `zero`, "0" as well, whose meaning it is ("none").
In<int64_t> duration(int64_t first_ms, int64_t last_ms, std::string_view zero = {});
In<uint64_t> size(uint64_t first, uint64_t last, std::string_view zero = {});
In<std::string> text(const TextFormat& format);
In<std::string> word(std::vector<std::string_view> words);
enum class AddressKind : uint8_t {
  kServer,    // an IP address with a port
  kListener,  // the same, or a unix socket
  kEndpoint,  // a name too
};
In<Address> address(AddressKind kind);
In<StatusRange> status_range();
/// A list of words, each of which is a bit.
In<uint32_t> bits(std::vector<std::pair<std::string_view, uint32_t>> rows);
/// A list of texts; with `or_single`, one text may stand without brackets.
In<std::vector<std::string>> texts(const TextFormat& format, size_t items_min, bool or_single = false);
/// A map of texts. A dump hides values whose key is_secret_name().
In<std::vector<std::pair<std::string, std::string>>> text_map(const TextFormat& keys,
                                                              const TextFormat& values);

/// True when a header called `name` usually carries a secret.
bool is_secret_name(std::string_view name);
/// "250ms", "5s", "1h"; "16KiB", "1000".
std::string duration_text(int64_t ms);
std::string size_text(uint64_t bytes);

/// An enumeration: its words in the order of the enumerators, which count from 0.
class EnumValue : public Value {
 public:
  explicit EnumValue(std::vector<std::string_view> words) : words_(std::move(words)) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override;
  void dump(JsonWriter& json, const void* value) const override;
  void schema(JsonWriter& json) const override;
  std::string allowed() const override;

 private:
  std::vector<std::string_view> words_;
};

template <class E>
In<E> choice(std::vector<std::string_view> words) {
  static_assert(sizeof(E) == sizeof(uint8_t));
  return {std::make_shared<EnumValue>(std::move(words))};
}

// ----------------------------------------------------------------------------------------------------------
// lists

/// What a list does with its vector, whatever the items are.
class ListValue : public Value {
 public:
  ListValue(std::shared_ptr<const Value> item, size_t items_min)
      : item_(std::move(item)), items_min_(items_min) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override;
  void dump(JsonWriter& json, const void* value) const override;
  void schema(JsonWriter& json) const override;
  std::string allowed() const override { return "a list, each item " + item_->allowed(); }
  bool absent(const void* value) const override { return count(value) == 0; }
  void visit_blocks(const std::string& path, const BlockVisitor& visit) const override {
    item_->visit_blocks(path + "[]", visit);
  }

 protected:
  virtual void resize(void* list, size_t n) const = 0;
  virtual size_t count(const void* list) const = 0;
  virtual void* at(void* list, size_t i) const = 0;
  virtual const void* at(const void* list, size_t i) const = 0;

 private:
  std::shared_ptr<const Value> item_;
  size_t items_min_;
};

template <class T>
class ListOf final : public ListValue {
 public:
  using ListValue::ListValue;

 protected:
  void resize(void* list, size_t n) const override {
    static_cast<std::vector<T>*>(list)->clear();
    static_cast<std::vector<T>*>(list)->resize(n);
  }
  size_t count(const void* list) const override { return static_cast<const std::vector<T>*>(list)->size(); }
  void* at(void* list, size_t i) const override { return &(*static_cast<std::vector<T>*>(list))[i]; }
  const void* at(const void* list, size_t i) const override {
    return &(*static_cast<const std::vector<T>*>(list))[i];
  }
};

template <class T>
In<std::vector<T>> list(In<T> item, size_t items_min = 0) {
  return {std::make_shared<ListOf<T>>(std::move(item.value), items_min)};
}

// ---------------------------------------------------------------------------------------------------------
// blocks

/// One row of the table: a key of a block.
struct Field {
  std::string_view key;
  std::shared_ptr<const Value> value;
  std::string_view doc;  // what it does and what it costs, in sentences
  void* (*member)(void* owner);
  bool required = false;
  bool (*applies)(const void* owner) = nullptr;  // a dump leaves the key out where this says no

  Field&& must() && {
    required = true;
    return std::move(*this);
  }
  /// `Predicate` is a bool(const Owner&).
  template <class Owner, bool (*Predicate)(const Owner&)>
  Field&& where() && {
    applies = [](const void* owner) { return Predicate(*static_cast<const Owner*>(owner)); };
    return std::move(*this);
  }
  const void* of(const void* owner) const { return member(const_cast<void*>(owner)); }
};

namespace internal {
template <class M>
struct MemberOf;
template <class O, class T>
struct MemberOf<T O::*> {
  using Owner = O;
  using Type = T;
};
}  // namespace internal

/// field<&Listener::backlog>("backlog", whole(1, 65535), "..."): the value must fit the member's type.
template <auto M>
Field field(std::string_view key, In<typename internal::MemberOf<decltype(M)>::Type> value,
            std::string_view doc) {
  using Owner = typename internal::MemberOf<decltype(M)>::Owner;
  return {.key = key, .value = std::move(value.value), .doc = doc, .member = [](void* owner) -> void* {
            return &(static_cast<Owner*>(owner)->*M);
          }};
}

/// How many keys of a group may be there.
enum class Pick : uint8_t { kExactlyOne, kAtMostOne, kAtLeastOne };
struct Group {
  Pick pick;
  std::vector<std::string_view> keys;
};

/// A block of keys: a struct.
class Block final : public Value {
 public:
  struct Options {
    std::vector<Group> groups;
    std::string_view shorthand;  // a plain value stands for a block with only this key
    std::string_view type;       // the value of the key `type` that selects this block
  };
  /// `fresh` is an instance with all defaults.
  Block(std::string_view name, std::string_view doc, std::vector<Field> fields, Options options,
        std::shared_ptr<const void> fresh, Position& (*position)(void*));

  void read(Context& context, const Node& node, const Place& place, void* out) const override;
  void dump(JsonWriter& json, const void* value) const override;
  void schema(JsonWriter& json) const override;
  std::string allowed() const override;
  void visit_blocks(const std::string& path, const BlockVisitor& visit) const override { visit(path, *this); }

  /// Writes the members of this block's entry among the definitions of the schema.
  void definition(JsonWriter& json) const;

  std::string_view name() const { return name_; }
  std::string_view doc() const { return doc_; }
  std::string_view type() const { return options_.type; }
  const std::vector<Field>& fields() const { return fields_; }
  const std::vector<Group>& groups() const { return options_.groups; }
  const void* fresh() const { return fresh_.get(); }

 private:
  const Field* find(std::string_view key) const;
  void check_groups(Context& context, const Node& node, const Place& place) const;
  void group_schema(JsonWriter& json) const;

  std::string_view name_;
  std::string_view doc_;
  std::vector<Field> fields_;
  std::vector<std::string_view> keys_;  // of fields_
  Options options_;
  std::shared_ptr<const void> fresh_;
  Position& (*position_)(void*);
};

template <class T>
In<T> block(std::string_view name, std::string_view doc, std::vector<Field> fields,
            Block::Options options = {}) {
  return {std::make_shared<Block>(name, doc, std::move(fields), std::move(options),
                                  std::make_shared<const T>(),
                                  [](void* owner) -> Position& { return static_cast<T*>(owner)->pos; })};
}

/// A block that may be left out: it has no value then, rather than defaults.
template <class T>
class OptionalValue final : public Value {
 public:
  explicit OptionalValue(std::shared_ptr<const Value> inner) : inner_(std::move(inner)) {}
  void read(Context& context, const Node& node, const Place& place, void* out) const override {
    inner_->read(context, node, place, &static_cast<std::optional<T>*>(out)->emplace());
  }
  void dump(JsonWriter& json, const void* value) const override {
    inner_->dump(json, &**static_cast<const std::optional<T>*>(value));
  }
  void schema(JsonWriter& json) const override { inner_->schema(json); }
  std::string allowed() const override { return inner_->allowed(); }
  bool absent(const void* value) const override {
    return !static_cast<const std::optional<T>*>(value)->has_value();
  }
  void visit_blocks(const std::string& path, const BlockVisitor& visit) const override {
    inner_->visit_blocks(path, visit);
  }

 private:
  std::shared_ptr<const Value> inner_;
};

template <class T>
In<std::optional<T>> optional(In<T> inner) {
  return {std::make_shared<OptionalValue<T>>(std::move(inner.value))};
}

/// A block whose key `type` selects one of several, kept in a std::variant.
class TypedBlockValue final : public Value {
 public:
  struct Alternative {
    std::shared_ptr<const Block> block;
    void* (*emplace)(void* variant);
    const void* (*get)(const void* variant);  // null when it holds another
  };
  explicit TypedBlockValue(std::vector<Alternative> alternatives) : alternatives_(std::move(alternatives)) {}

  void read(Context& context, const Node& node, const Place& place, void* out) const override;
  void dump(JsonWriter& json, const void* value) const override;
  void schema(JsonWriter& json) const override;
  std::string allowed() const override;
  void visit_blocks(const std::string& path, const BlockVisitor& visit) const override;

 private:
  std::vector<Alternative> alternatives_;
};

/// One block per alternative; each must have Options::type.
template <class... T>
In<std::variant<T...>> typed_block(In<T>... blocks) {
  using Variant = std::variant<T...>;
  return {std::make_shared<TypedBlockValue>(std::vector<TypedBlockValue::Alternative>{
      {.block = std::static_pointer_cast<const Block>(blocks.value),
       .emplace = [](void* variant) -> void* {
         return &static_cast<Variant*>(variant)->template emplace<T>();
       },
       .get = [](const void* variant) -> const void* {
         return std::get_if<T>(static_cast<const Variant*>(variant));
       }}...})};
}

}  // namespace dragoman::config
