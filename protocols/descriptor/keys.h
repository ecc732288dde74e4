// Every key of the language, once: the compiler refuses others, and the reference is written from it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dragoman::descriptor {

struct Key {
  std::string_view where;    // the block it stands in
  std::string_view name;     // "" = any name of one's own
  std::string_view value;    // what may be written
  std::string_view meaning;
  std::string_view example;  // as it stands in a descriptor
  bool required = false;
};

std::span<const Key> keys();
std::vector<std::string_view> names_in(std::string_view where);

/// The reference as Markdown: protocols/descriptors/README.md between its two marks.
std::string reference_markdown();

}  // namespace dragoman::descriptor
