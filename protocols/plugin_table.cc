#include "protocols/plugin_table.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace dragoman {
namespace {

std::string abi_text(unsigned major, unsigned minor, size_t bytes, const char* what) {
  return std::to_string(major) + "." + std::to_string(minor) + " (" + what + std::to_string(bytes) +
         " bytes)";
}

}  // namespace

Result<dragoman_codec> read_table(const dragoman_codec& given) {
  if (given.abi_major != DRAGOMAN_ABI_MAJOR || given.size < DRAGOMAN_TABLE_BYTES_MIN)
    return unexpected(
        "was built for codec ABI " + abi_text(given.abi_major, given.abi_minor, given.size, "a table of ") +
        ", this program has " +
        abi_text(DRAGOMAN_ABI_MAJOR, DRAGOMAN_ABI_MINOR, DRAGOMAN_TABLE_BYTES_MIN, "tables of at least "));
  dragoman_codec table{};
  // Behind the required functions there are only pointers: a size between two of them counts down.
  const size_t n = std::min<size_t>(given.size, sizeof table) / sizeof(void*) * sizeof(void*);
  std::memcpy(&table, &given, n);
  table.size = sizeof table;
  return table;
}

}  // namespace dragoman
