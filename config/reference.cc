#include <map>

#include "config/fields.h"
#include "config/load.h"

namespace dragoman::config {
namespace {

struct Section {
  const Block* block;
  std::vector<std::string> paths;
};

/// Blocks in the order of their first use.
void collect(const std::string& path, const Block& block, std::vector<Section>& sections) {
  for (Section& section : sections) {
    if (section.block->name() != block.name()) continue;
    section.paths.push_back(path);
    return;
  }
  sections.push_back({&block, {path}});
  for (const Field& field : block.fields()) {
    const std::string prefix = path.empty() ? "" : path + ".";
    field.value->visit_blocks(
        prefix + std::string(field.key),
        [&](const std::string& at, const Block& child) { collect(at, child, sections); });
  }
}

/// Text inside a table cell.
std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|' || c == '<' || c == '*') out += '\\';
    out += c;
  }
  return out;
}

std::string value_cell(const Value& value) {
  std::string links;
  bool list = false;
  value.visit_blocks("", [&](const std::string& at, const Block& block) {
    list = at.ends_with("[]");
    links += (links.empty() ? "" : " or ") +
             ("[" + std::string(block.name()) + "](#" + std::string(block.name()) + ")");
  });
  if (links.empty()) return cell(value.allowed());
  return (list ? "list of " : "block ") + links;
}

std::string default_cell(const Field& field, const void* fresh) {
  if (field.required) return "required";
  bool blocks = false;
  field.value->visit_blocks("", [&](const std::string&, const Block&) { blocks = true; });
  if (blocks || field.value->absent(field.of(fresh))) return "";
  JsonWriter json;
  field.value->dump(json, field.of(fresh));
  std::string text = json.str();
  if (text.starts_with('"')) text = text.substr(1, text.size() - 2);
  return "`" + text + "`";
}

void write_groups(const Block& block, std::string& out) {
  for (const Group& group : block.groups()) {
    switch (group.pick) {
      case Pick::kExactlyOne:
        out += "Exactly one of ";
        break;
      case Pick::kAtMostOne:
        out += "At most one of ";
        break;
      case Pick::kAtLeastOne:
        out += "At least one of ";
        break;
    }
    for (size_t i = 0; i < group.keys.size(); ++i)
      out += (i ? ", `" : "`") + std::string(group.keys[i]) + "`";
    out += ".\n\n";
  }
}

}  // namespace

std::string reference_markdown() {
  std::vector<Section> sections;
  collect("", root_block(), sections);
  std::string out =
      "# Configuration reference\n\n"
      "Generated from the table of settings (`config/fields.cc`); do not edit by hand.\n\n"
      "Durations are written `250ms`, `5s`, `1m`, `1h`; sizes `16384`, `64KiB`, `1MiB`, `16MB`. Every value "
      "may contain\n"
      "`${VAR}`, `${VAR:-default}` (when unset or empty) or `${VAR:?message}` from the environment; `$$` is "
      "a dollar sign.\n"
      "Unknown keys are errors.\n";
  for (const Section& section : sections) {
    out += "\n## " + std::string(section.block->name()) + "\n\n";
    out += std::string(section.block->doc()) + "\n\n";
    if (!section.paths[0].empty()) {
      out += "Found at ";
      for (size_t i = 0; i < section.paths.size(); ++i) out += (i ? ", `" : "`") + section.paths[i] + "`";
      out += ".\n\n";
    }
    write_groups(*section.block, out);
    out += "| Key | Value | Default | Meaning |\n|---|---|---|---|\n";
    if (!section.block->type().empty()) {
      out += "| `type` | " + std::string(section.block->type()) +
             " | required | Selects this kind of block. |\n";
    }
    for (const Field& field : section.block->fields()) {
      out += "| `" + std::string(field.key) + "` | " + value_cell(*field.value) + " | " +
             default_cell(field, section.block->fresh()) + " | " + cell(field.doc) + " |\n";
    }
  }
  return out;
}

}  // namespace dragoman::config
