#include "protocols/plugin_image.h"

#include <elf.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "protocols/plugin.h"

namespace dragoman {
namespace {

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#else
#error "name this machine's ELF number here"
#endif

constexpr std::string_view kSymbol = DRAGOMAN_PLUGIN_SYMBOL;
constexpr std::string_view kSymbolStem = "dragoman_codec_v";

std::string machine_name(uint16_t machine) {
  switch (machine) {
    case EM_X86_64:
      return "x86-64";
    case EM_AARCH64:
      return "aarch64";
    case EM_RISCV:
      return "RISC-V";
    case EM_386:
      return "x86";
    default:
      return "machine " + std::to_string(machine);
  }
}

/// Reads structures at offsets that the file gives; a null or an empty span where there is nothing.
class Image {
 public:
  explicit Image(std::span<const uint8_t> file) : file_(file) {}

  template <class T>
  bool read(uint64_t at, T& out) const {
    if (at > file_.size() || file_.size() - at < sizeof(T)) return false;
    std::memcpy(&out, file_.data() + at, sizeof(T));
    return true;
  }
  /// A text that ends within the section.
  std::string_view text(const Elf64_Shdr& strings, uint64_t at) const {
    if (at >= strings.sh_size || strings.sh_offset > file_.size() ||
        strings.sh_size > file_.size() - strings.sh_offset)
      return {};
    const char* begin = reinterpret_cast<const char*>(file_.data()) + strings.sh_offset + at;
    return {begin, strnlen(begin, strings.sh_size - at)};
  }
  bool section(const Elf64_Ehdr& header, uint64_t index, Elf64_Shdr& out) const {
    return header.e_shentsize == sizeof(Elf64_Shdr) && index < header.e_shnum &&
           read(header.e_shoff + index * sizeof(Elf64_Shdr), out);
  }

 private:
  std::span<const uint8_t> file_;
};

/// Why a symbol that a library takes from others keeps it from being a codec; null when it doesn't.
const char* why_not(std::string_view name) {
  if (name == "pthread_create" || name == "thrd_create" || name.starts_with("_ZNSt6thread15_M_start_thread"))
    return "makes threads, which would run code that is unloaded";
  if (name == "__cxa_thread_atexit" || name == "__cxa_thread_atexit_impl")
    return "has thread-local objects with destructors, which would keep it from being unloaded";
  return nullptr;
}

}  // namespace

Result<void> check_plugin_image(std::span<const uint8_t> file) {
  const Image image(file);
  Elf64_Ehdr header;
  if (!image.read(0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return unexpected("is not a shared library");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != kMachine)
    return unexpected("is for " + machine_name(header.e_machine) + ", this program for " +
                      machine_name(kMachine));
  if (header.e_type != ET_DYN) return unexpected("is not a shared library but an ELF file of another type");

  bool symbols = false, exported = false;
  std::string other;
  for (uint64_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section, strings;
    if (!image.section(header, i, section)) return unexpected("is cut off");
    if (section.sh_type == SHT_DYNAMIC) {
      for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= section.sh_size; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn entry;
        if (!image.read(section.sh_offset + at, entry)) return unexpected("is cut off");
        if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_NODELETE))
          return unexpected("can't be unloaded: it is linked with -z nodelete");
      }
    }
    if (section.sh_type != SHT_DYNSYM) continue;
    symbols = true;
    if (!image.section(header, section.sh_link, strings)) return unexpected("is cut off");
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      if (!image.read(section.sh_offset + at, symbol)) return unexpected("is cut off");
      std::string_view name = image.text(strings, symbol.st_name);
      if (symbol.st_shndx == SHN_UNDEF) {
        if (const char* why = why_not(name))
          return unexpected("can't be unloaded: it " + std::string(why) + " (it uses " + std::string(name) +
                            ")");
        continue;
      }
      if (ELF64_ST_BIND(symbol.st_info) == STB_GNU_UNIQUE)
        return unexpected("can't be unloaded: its symbol " + std::string(name) +
                          " is unique in the process; compile with -fvisibility=hidden or -fno-gnu-unique");
      if (name == kSymbol)
        exported = true;
      else if (name.starts_with(kSymbolStem))
        other = name;
    }
  }
  if (!symbols) return unexpected("has no dynamic symbols");
  if (exported) return {};
  std::string says = other.empty() ? "exports no " + std::string(kSymbol) + " (is DRAGOMAN_PLUGIN in it?)"
                                   : "exports " + other + ", this program takes " + std::string(kSymbol);
  return unexpected(std::move(says));
}

}  // namespace dragoman
