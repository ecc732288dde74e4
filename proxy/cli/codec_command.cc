#include "proxy/cli/codec_command.h"

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "protocols/capabilities.h"
#include "protocols/catalog.h"
#include "protocols/kit/kit.h"

namespace dragoman {
namespace {

/// The tutorial codec's files, put here by CMake: the beginning of every new codec.
struct SkeletonFile {
  const char* path;
  const char* text;
};
constexpr SkeletonFile kSkeleton[] = {
#include "proxy/cli/skeleton.inc"
};

/// Whether a new codec gets the file: those in YAML have no C++, and read lines without '=' as headers without value.
bool belongs(std::string_view path, bool descriptor) {
  if (path == "parcel.yaml" || path == "README.descriptor.md") return descriptor;
  return !descriptor || (!path.ends_with(".cc") && path != "README.md" && path != "vectors/bad-headers.hex");
}

int failed(const std::string& why) {
  std::fprintf(stderr, "dragoman codec: %s\n", why.c_str());
  return 1;
}

/// A codec, and what keeps it.
struct Target {
  const dragoman_codec* table = nullptr;
  std::string what;  // "bolt 1 (built in)"
  ProtocolRef keep;
};

Result<Target> find_codec(CodecCatalog& catalog, const std::string& name) {
  Target target;
  if (const Protocol* built_in = find_protocol(name); built_in && built_in->table) {
    target.table = built_in->table;
    target.what = name + " " + target.table->version + " (built in)";
    return target;
  }
  const bool descriptor = name.ends_with(".yaml") || name.ends_with(".yml");
  if (!descriptor && name.find('/') == name.npos && !name.ends_with(".so"))
    return unexpected("no framed protocol called " + name + " is built in; a file ends in .so or .yaml");
  config::Codec codec;
  codec.name = "codec";
  (descriptor ? codec.descriptor : codec.path) = name;
  DeclaredProtocols declared;
  config::DeclaredCodec loaded = catalog.load(codec, name, declared);
  std::string faults;
  for (const config::CodecFault& f : loaded.faults) {
    if (!faults.empty()) faults += "\n";
    if (!f.file.empty()) faults += f.file + ":" + std::to_string(f.line) + ":" + std::to_string(f.column) +
        ": ";
    faults += f.message;
  }
  if (!faults.empty()) return unexpected(faults);
  target.keep = declared["codec"];
  target.table = target.keep->table;
  target.what = std::string(target.table->name) + " " + target.table->version + " (" + name + ")";
  return target;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) text.replace(at, from.size(),
      to);
  return text;
}

bool write_file(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << text;
  return out.good();
}

}  // namespace

int codec_list(const CodecCommand& command) {
  std::fputs(capability_matrix(protocols(), command.markdown).c_str(), stdout);
  return 0;
}

int codec_check(const CodecCommand& command) {
  CodecCatalog catalog;
  auto target = find_codec(catalog, command.codec);
  if (!target) return failed(target.error());
  if (!command.instead_of.empty() && !find_protocol(command.instead_of))
    return failed("no protocol called " + command.instead_of + " is built in");
  auto vectors = kit::read_vectors(command.vectors);
  if (!vectors) return failed(vectors.error());
  kit::Options options;
  options.seconds = command.seconds;
  options.seed = command.seed;
  for (const std::string& folder : command.others) {
    auto others = kit::read_vectors(folder);
    if (!others) return failed(others.error());
    for (kit::Vector& v : *others) options.others.push_back(std::move(v));
  }
  for (const Protocol& p : protocols())
    if (p.table && p.table != target->table && std::string_view(p.table->name) != target->table->name &&
        p.name != command.instead_of)
      options.neighbours.push_back(p.table);
  std::printf("%s: %zu vectors\n", target->what.c_str(), vectors->size());
  kit::Report report = kit::check(*target->table, *vectors, options);
  std::fputs(kit::report_text(report, command.only_failed).c_str(), stdout);
  return report.passed() ? 0 : 1;
}

int codec_decode(const CodecCommand& command) {
  auto vector = kit::read_vector(command.file);
  if (!vector) return failed(vector.error());
  CodecCatalog catalog;
  if (!command.codec.empty()) {
    auto target = find_codec(catalog, command.codec);
    if (!target) return failed(target.error());
    std::fputs(kit::decode_text(*target->table, *vector).c_str(), stdout);
    return 0;
  }
  for (const Protocol& p : protocols()) {
    if (!p.table) continue;
    std::string text = kit::decode_text(*p.table, *vector);
    if (text.starts_with("at 0: not_mine") || text.starts_with("at 0: need") ||
        text.starts_with("at 0: malformed") ||
        text.starts_with("at 0: unsupported") || text.starts_with("at 0: too_big"))
      continue;
    std::printf("%s\n%s", std::string(p.name).c_str(), text.c_str());
    return 0;
  }
  return failed(command.file + " begins with no frame of a built-in protocol; name a codec with --codec");
}

int codec_bench(const CodecCommand& command) {
  auto vectors = kit::read_vectors(command.vectors);
  if (!vectors) return failed(vectors.error());
  CodecCatalog catalog;
  std::printf("%-32s %10s %12s %10s %10s\n", "ns a frame", "probe", "probe+view", "reply", "edit");
  for (const std::string& name : command.codecs) {
    auto target = find_codec(catalog, name);
    if (!target) return failed(target.error());
    kit::Cost cost = kit::measure(*target->table, *vectors, command.seconds);
    std::printf("%-32s %10.1f %12.1f %10.1f %10.1f\n", name.c_str(), cost.probe_ns, cost.view_ns,
                cost.reply_ns,
                cost.edit_ns);
  }
  return 0;
}

int codec_new(const CodecCommand& command) {
  const std::string& name = command.name;
  bool good = !name.empty() && name.size() <= 32 && std::isalpha(static_cast<unsigned char>(name[0]));
  for (char c : name) good = good && (std::islower(c) || std::isdigit(static_cast<unsigned char>(c)) ||
                                      c == '_');
  if (!good) {
    std::fprintf(stderr, "dragoman codec new: a name has 1 to 32 lower-case letters, digits or '_', a letter first\n");
    return 2;
  }
  std::string type;
  bool upper = true;
  for (char c : name) {
    if (c != '_') type += static_cast<char>(upper ? std::toupper(c) : c);
    upper = c == '_';
  }
  const std::filesystem::path folder = std::filesystem::path(command.folder) / name;
  if (std::filesystem::exists(folder)) return failed(folder.string() + " is there already");
  for (const SkeletonFile& file : kSkeleton) {
    if (!belongs(file.path, command.descriptor)) continue;
    std::string text = replaced(replaced(file.text, "parcel", name), "Parcel", type);
    std::string path = replaced(replaced(file.path, "parcel", name), "README.descriptor", "README");
    if (!write_file(folder / path, text)) return failed("can't write " + (folder / path).string());
    if (command.descriptor || !path.ends_with(".hex")) continue;
    // The fuzzer starts from the bytes of the vectors.
    std::string stem = std::filesystem::path(path).stem();
    auto vector = kit::parse_vector(stem, text);
    if (!vector || !write_file(folder / "corpus" / stem,
                               vector->bytes)) return failed("can't write the corpus");
  }
  if (command.descriptor) {
    std::printf(
        "%s is ready. Next:\n"
        "  cd %s\n"
        "  dragoman codec check %s.yaml --vectors vectors\n",
        folder.c_str(), folder.c_str(), name.c_str());
    return 0;
  }
  std::printf("%s is ready. Next:\n"
              "  cd %s\n"
              "  g++ -shared -fPIC $(pkg-config --cflags dragoman-codec) %s.cc -o lib%s.so\n"
              "  dragoman codec check ./lib%s.so --vectors vectors\n",
              folder.c_str(), folder.c_str(), name.c_str(), name.c_str(), name.c_str());
  return 0;
}

}  // namespace dragoman
