#include "protocols/descriptor/descriptor.h"

#include "config/document.h"
#include "config/strict.h"
#include "protocols/descriptor/compiler.h"
#include "protocols/framed.h"
#include "proxy/base/file.h"

namespace dragoman::descriptor {

Descriptor::Descriptor(std::unique_ptr<Program> program) : program_(std::move(program)) {}
Descriptor::~Descriptor() = default;
const dragoman_codec& Descriptor::table() const { return program_->table; }

Loaded load_string(std::string_view text, const std::string& filename) {
  config::Context context(filename);
  Loaded loaded;
  loaded.source = text.substr(0, kSourceBytesMax);
  auto program = std::make_unique<Program>();
  if (text.size() > kSourceBytesMax) {
    context.error({}, "the file is larger than 256KiB");
  } else if (config::check_yaml(text, context)) {
    std::optional<config::Node> root = config::build_tree(text, context);
    if (root && !context.failed()) {
      if (root->kind == config::Node::Kind::kNull)
        context.error({}, "the file has nothing in it");
      else
        Compiler(context, *program).compile(*root);
    }
  }
  if (!context.failed()) {
    if (auto right = check_codec(program->table); !right) context.error({}, right.error());
  }
  bool failed = context.failed();
  loaded.diagnostics = context.take();
  if (!failed) loaded.descriptor = std::make_shared<const Descriptor>(std::move(program));
  return loaded;
}

Loaded load_file(const std::string& path) {
  auto failed = [&](std::string message) {
    config::Context context(path);
    context.error({}, std::move(message));
    Loaded loaded;
    loaded.diagnostics = context.take();
    return loaded;
  };
  const auto text = read_file(path, kSourceBytesMax);
  if (!text) return failed(text.error());
  return load_string(*text, path);
}

}  // namespace dragoman::descriptor
