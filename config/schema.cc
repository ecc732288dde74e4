#include <set>

#include "config/fields.h"
#include "config/load.h"

namespace dragoman::config {
namespace {

void write_definitions(JsonWriter& json, const Block& block, std::set<std::string_view>& written) {
  if (!written.insert(block.name()).second) return;
  json.key(block.name());
  json.begin_object();
  block.definition(json);
  json.end_object();
  for (const Field& field : block.fields()) {
    field.value->visit_blocks(
        "", [&](const std::string&, const Block& child) { write_definitions(json, child, written); });
  }
}

}  // namespace

std::string schema_json() {
  JsonWriter json;
  json.begin_object();
  json.member("$schema", "http://json-schema.org/draft-07/schema#");
  json.member("title", "Dragoman configuration");
  root_block().schema(json);
  json.key("definitions");
  json.begin_object();
  json.key("substitution");
  json.begin_object();
  json.member("description", "A value with ${VAR}, ${VAR:-default} or ${VAR:?message} from the environment.");
  json.member("type", "string");
  json.member("pattern", R"(\$\{)");
  json.end_object();
  std::set<std::string_view> written;
  write_definitions(json, root_block(), written);
  json.end_object();
  json.end_object();
  return json.str() + "\n";
}

std::string dump_json(const Config& config) {
  JsonWriter json;
  json.hide(config.secrets);
  root_block().dump(json, &config);
  return json.str() + "\n";
}

}  // namespace dragoman::config
