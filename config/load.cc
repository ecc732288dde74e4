#include "config/load.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "config/document.h"
#include "config/fields.h"
#include "config/strict.h"
#include "config/substitute.h"
#include "config/validate.h"
#include "proxy/base/file.h"

namespace dragoman::config {
namespace {

std::string too_big() { return "the file is larger than " + size_text(kSourceBytesMax); }

/// What a codec is whose file nobody looks at.
constexpr Protocol kAnyCodec{"", false, true, true, true, true};

/// Relative to the folder of the configuration.
std::string codec_file(const Codec& codec, const std::string& filename) {
  const std::string& file = codec.path.empty() ? codec.descriptor : codec.path;
  const size_t slash = filename.rfind('/');
  if (file.starts_with('/') || slash == std::string::npos) return file;
  return filename.substr(0, slash + 1) + file;
}

void load_codecs(Config& config, const std::string& filename, const CodecLoader& loader, Context& context) {
  check_unique_names(config.codecs, "codec", context);
  for (Codec& codec : config.codecs) {
    if (codec.name.empty() || context.protocols().declared(codec.name)) continue;
    if (codec.codec.empty()) codec.codec = codec.name;
    if (find_protocol(codec.name)) {
      fail_at(context, &codec.name, &codec, "a protocol called \"" + codec.name + "\" is built in",
              codec.name);
      continue;
    }
    DeclaredCodec loaded{.protocol = kAnyCodec};
    const bool has_file = codec.path.empty() != codec.descriptor.empty();
    if (loader && has_file) loaded = loader(codec, codec_file(codec, filename));
    const void* field = codec.path.empty() ? &codec.descriptor : &codec.path;
    for (CodecFault& fault : loaded.faults) {
      if (fault.file.empty())
        fail_at(context, field, &codec, std::move(fault.message));
      else
        context.error_elsewhere(std::move(fault.file), {fault.line, fault.column}, std::move(fault.message));
    }
    context.protocols().declare(codec.name, loaded.faults.empty() ? loaded.protocol : std::nullopt);
  }
}

std::optional<Config> load(std::string_view text, const std::string& filename, const EnvLookup& env,
                           const CodecLoader& codecs, const Check& check, Context& context) {
  if (text.size() > kSourceBytesMax) {
    context.error({}, too_big());
    return std::nullopt;
  }
  if (!check_yaml(text, context)) return std::nullopt;
  std::optional<Node> root = build_tree(text, context);
  if (!root) return std::nullopt;
  if (root->kind == Node::Kind::kNull) {
    context.error({}, "the file has no settings in it");
    return std::nullopt;
  }
  substitute(*root, env, context);
  // On the heap, and not moved before validation is done: the context knows settings by their address.
  const auto config = std::make_unique<Config>();
  const Place& place = context.keep({.pos = root->pos});
  context.bind(config.get(), place);
  root_block().read(context, *root, place, config.get());
  load_codecs(*config, filename, codecs, context);
  validate(*config, context);
  if (check && !context.failed()) {
    check(*config, [&context](const void* field, const void* owner, std::string message) {
      fail_at(context, field, owner, std::move(message));
    });
  }
  if (context.failed()) return std::nullopt;
  complete(*config);
  config->secrets = context.secrets();
  return std::move(*config);
}

}  // namespace

EnvLookup process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (!value) return std::nullopt;
    return value;
  };
}

LoadResult load_string(std::string_view text, const std::string& filename, const EnvLookup& env,
                       const CodecLoader& codecs, const Check& check) {
  Context context(filename);
  LoadResult result;
  result.config = load(text, filename, env, codecs, check, context);
  result.diagnostics = context.take();
  for (Diagnostic& d : result.diagnostics) {
    for (std::string* part : {&d.message, &d.found, &d.nearest})
      *part = redact(std::move(*part), context.secrets());
  }
  result.source = text.substr(0, kSourceBytesMax);
  return result;
}

Result<std::string> read_source(const std::string& path) {
  if (path != "-") return read_file(path, kSourceBytesMax);
  std::string text;
  char piece[64 << 10];
  while (text.size() <= kSourceBytesMax) {
    const size_t n = std::fread(piece, 1, sizeof(piece), stdin);
    if (n == 0) break;
    text.append(piece, n);
  }
  if (std::ferror(stdin)) return unexpected(std::string("can't be read: ") + std::strerror(errno));
  return text;
}

LoadResult load_file(const std::string& path, const EnvLookup& env, const CodecLoader& codecs,
                     const Check& check) {
  const std::string name = path == "-" ? "<stdin>" : path;
  Result<std::string> text = read_source(path);
  if (text) return load_string(*text, name, env, codecs, check);
  Context context(name);
  context.error({}, std::move(text.error()));
  LoadResult result;
  result.diagnostics = context.take();
  return result;
}

}  // namespace dragoman::config
