// Lists and blocks: the values that hold other values.
#include <algorithm>

#include "config/value.h"
#include "proxy/base/suggest.h"

namespace dragoman::config {
namespace {

void read_value(Context& context, const Value& value, const Node& node, const Place& place, void* out) {
  if (!node.broken) value.read(context, node, place, out);
}

void wrong_type(Context& context, const Node& node, const Place& place, std::string allowed) {
  context.error(place, {.message = "found " + describe(node),
                        .found = node.is_scalar() ? printable(node.text) : describe(node),
                        .allowed = std::move(allowed)});
}

std::string quoted(std::span<const std::string_view> keys) {
  std::string out;
  for (std::string_view key : keys) out += (out.empty() ? "\"" : ", \"") + std::string(key) + "\"";
  return out;
}

void required_schema(JsonWriter& json, std::span<const std::string_view> keys) {
  json.begin_object();
  json.key("required");
  json.begin_array();
  for (std::string_view key : keys) json.text(key);
  json.end_array();
  json.end_object();
}

}  // namespace

void ListValue::read(Context& context, const Node& node, const Place& place, void* out) const {
  if (!node.is_sequence()) return wrong_type(context, node, place, allowed());
  if (node.items.size() < items_min_) {
    return context.error(place, {.message = "the list is empty", .found = "[]", .allowed = allowed()});
  }
  resize(out, node.items.size());
  for (size_t i = 0; i < node.items.size(); ++i) {
    const Node& item = node.items[i];
    const Place& at = context.keep({.parent = &place, .index = static_cast<int>(i), .pos = item.pos});
    context.bind(this->at(out, i), at);
    read_value(context, *item_, item, at, this->at(out, i));
  }
}

void ListValue::dump(JsonWriter& json, const void* value) const {
  json.begin_array();
  for (size_t i = 0; i < count(value); ++i) item_->dump(json, at(value, i));
  json.end_array();
}

void ListValue::schema(JsonWriter& json) const {
  json.member("type", "array");
  if (items_min_ > 0) {
    json.key("minItems");
    json.integer(static_cast<int64_t>(items_min_));
  }
  json.key("items");
  json.begin_object();
  item_->schema(json);
  json.end_object();
}

Block::Block(std::string_view name, std::string_view doc, std::vector<Field> fields, Options options,
             std::shared_ptr<const void> fresh, Position& (*position)(void*))
    : name_(name),
      doc_(doc),
      fields_(std::move(fields)),
      options_(std::move(options)),
      fresh_(std::move(fresh)),
      position_(position) {
  if (!options_.type.empty()) keys_.push_back("type");
  for (const Field& field : fields_) keys_.push_back(field.key);
}

const Field* Block::find(std::string_view key) const {
  const auto it =
      std::find_if(fields_.begin(), fields_.end(), [&](const Field& field) { return field.key == key; });
  return it == fields_.end() ? nullptr : &*it;
}

void Block::read(Context& context, const Node& node, const Place& place, void* out) const {
  position_(out) = node.pos;
  if (node.is_scalar() && !options_.shorthand.empty()) {
    const Field& field = *find(options_.shorthand);
    context.bind(field.member(out), place);
    return field.value->read(context, node, place, field.member(out));
  }
  if (!node.is_map()) return wrong_type(context, node, place, allowed());
  for (const Member& member : node.members) {
    if (!options_.type.empty() && member.key == "type") continue;
    const Field* field = find(member.key);
    if (!field) {
      const Place at{.parent = &place, .key = member.key, .pos = member.pos};
      if (member.key == "<<") {
        context.error(at, {.message = "merge keys are not supported", .found = "<<"});
      } else {
        context.error(at, unknown_word("key", member.key, keys_));
      }
      continue;
    }
    const Place& at = context.keep({.parent = &place, .key = member.key, .pos = member.value.pos});
    context.bind(field->member(out), at);
    read_value(context, *field->value, member.value, at, field->member(out));
  }
  for (const Field& field : fields_) {
    if (!field.required || node.find(field.key)) continue;
    context.error(place, node.pos,
                  {.message = "the key \"" + std::string(field.key) + "\" is missing (" +
                              field.value->allowed() + ")"});
  }
  check_groups(context, node, place);
}

void Block::check_groups(Context& context, const Node& node, const Place& place) const {
  for (const Group& group : options_.groups) {
    std::vector<std::string_view> given;
    const Member* last = nullptr;
    for (const Member& member : node.members) {
      if (std::find(group.keys.begin(), group.keys.end(), member.key) == group.keys.end()) continue;
      given.push_back(member.key);
      last = &member;
    }
    if (given.size() > 1 && group.pick != Pick::kAtLeastOne) {
      context.error({.parent = &place, .key = last->key, .pos = last->pos},
                    {.message = quoted(given) + " exclude each other",
                     .found = join(given),
                     .allowed = (group.pick == Pick::kExactlyOne ? "exactly one of " : "at most one of ") +
                                join(group.keys)});
    }
    if (given.empty() && group.pick != Pick::kAtMostOne) {
      const char* how_many = group.pick == Pick::kExactlyOne ? "exactly one of " : "at least one of ";
      context.error(place, node.pos, {.message = how_many + quoted(group.keys) + " must be given"});
    }
  }
}

void Block::dump(JsonWriter& json, const void* value) const {
  json.begin_object();
  if (!options_.type.empty()) json.member("type", options_.type);
  for (const Field& field : fields_) {
    if (field.applies && !field.applies(value)) continue;
    if (field.value->absent(field.of(value))) continue;
    json.key(field.key);
    field.value->dump(json, field.of(value));
  }
  json.end_object();
}

void Block::schema(JsonWriter& json) const {
  // In draft 7 everything beside a $ref is ignored, so it gets an object of its own.
  json.key(options_.shorthand.empty() ? "allOf" : "anyOf");
  json.begin_array();
  json.begin_object();
  json.member("$ref", "#/definitions/" + std::string(name_));
  json.end_object();
  if (!options_.shorthand.empty()) {
    json.begin_object();
    find(options_.shorthand)->value->schema(json);
    json.end_object();
  }
  json.end_array();
}

void Block::definition(JsonWriter& json) const {
  json.member("type", "object");
  json.member("description", doc_);
  json.key("additionalProperties");
  json.boolean(false);
  json.key("properties");
  json.begin_object();
  if (!options_.type.empty()) {
    json.key("type");
    json.begin_object();
    json.member("const", options_.type);
    json.end_object();
  }
  for (const Field& field : fields_) {
    json.key(field.key);
    json.begin_object();
    json.member("description", field.doc);
    const void* fresh = field.of(fresh_.get());
    bool blocks = false;
    field.value->visit_blocks("", [&](const std::string&, const Block&) { blocks = true; });
    if (!field.required && !blocks && !field.value->absent(fresh)) {
      json.key("default");
      field.value->dump(json, fresh);
    }
    field.value->schema(json);
    json.end_object();
  }
  json.end_object();
  std::vector<std::string_view> required;
  if (!options_.type.empty()) required.push_back("type");
  for (const Field& field : fields_) {
    if (field.required) required.push_back(field.key);
  }
  if (!required.empty()) {
    json.key("required");
    json.begin_array();
    for (std::string_view key : required) json.text(key);
    json.end_array();
  }
  group_schema(json);
}

void Block::group_schema(JsonWriter& json) const {
  if (options_.groups.empty()) return;
  json.key("allOf");
  json.begin_array();
  for (const Group& group : options_.groups) {
    json.begin_object();
    if (group.pick == Pick::kAtMostOne) {
      json.key("not");
      json.begin_object();
    }
    json.key(group.pick == Pick::kExactlyOne ? "oneOf" : "anyOf");
    json.begin_array();
    for (size_t i = 0; i < group.keys.size(); ++i) {
      if (group.pick != Pick::kAtMostOne) {
        required_schema(json, {&group.keys[i], 1});
        continue;
      }
      for (size_t k = i + 1; k < group.keys.size(); ++k) {
        const std::string_view pair[] = {group.keys[i], group.keys[k]};
        required_schema(json, pair);
      }
    }
    json.end_array();
    if (group.pick == Pick::kAtMostOne) json.end_object();
    json.end_object();
  }
  json.end_array();
}

std::string Block::allowed() const {
  const std::string keys = "a block of keys";
  return options_.shorthand.empty() ? keys : find(options_.shorthand)->value->allowed() + ", or " + keys;
}

void TypedBlockValue::read(Context& context, const Node& node, const Place& place, void* out) const {
  if (!node.is_map()) return wrong_type(context, node, place, allowed());
  std::vector<std::string_view> types;
  for (const Alternative& alternative : alternatives_) types.push_back(alternative.block->type());
  const Node* type = node.find("type");
  if (!type) {
    return context.error(place, node.pos, {.message = "the key \"type\" is missing (" + join(types) + ")"});
  }
  if (type->broken) return;
  const Place at{.parent = &place, .key = "type", .pos = type->pos};
  if (!type->is_scalar()) return wrong_type(context, *type, at, join(types));
  const auto it = std::find(types.begin(), types.end(), type->text);
  if (it == types.end()) return context.error(at, unknown_word("type", type->text, types));
  const Alternative& alternative = alternatives_[static_cast<size_t>(it - types.begin())];
  alternative.block->read(context, node, place, alternative.emplace(out));
}

void TypedBlockValue::dump(JsonWriter& json, const void* value) const {
  for (const Alternative& alternative : alternatives_) {
    if (const void* held = alternative.get(value)) return alternative.block->dump(json, held);
  }
}

void TypedBlockValue::schema(JsonWriter& json) const {
  json.key("anyOf");
  json.begin_array();
  for (const Alternative& alternative : alternatives_) {
    json.begin_object();
    alternative.block->schema(json);
    json.end_object();
  }
  json.end_array();
}

std::string TypedBlockValue::allowed() const {
  std::string out;
  for (const Alternative& alternative : alternatives_) {
    out += (out.empty() ? "a block of keys with type " : " or ") + std::string(alternative.block->type());
  }
  return out;
}

void TypedBlockValue::visit_blocks(const std::string& path, const BlockVisitor& visit) const {
  for (const Alternative& alternative : alternatives_) visit(path, *alternative.block);
}

}  // namespace dragoman::config
