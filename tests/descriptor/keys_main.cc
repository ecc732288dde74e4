// Writes the tables of keys into protocols/descriptors/README.md under the folder given.
#include <cstdio>
#include <fstream>
#include <iterator>

#include "protocols/descriptor/keys.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: descriptor_keys SOURCE_FOLDER\n");
    return 2;
  }
  std::string path = std::string(argv[1]) + "/protocols/descriptors/README.md";
  std::ifstream in(path);
  std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::string begin = "<!-- keys: written by descriptor_keys -->\n", end = "\n<!-- end of keys -->";
  size_t from = text.find(begin), to = text.find(end);
  if (from == std::string::npos || to == std::string::npos || to < from) {
    std::fprintf(stderr, "%s has no marks\n", path.c_str());
    return 1;
  }
  from += begin.size();
  text.replace(from, to - from, dragoman::descriptor::reference_markdown());
  std::ofstream out(path);
  out << text;
  return out.good() ? 0 : 1;
}
