// Writes the files that are generated from the table of settings: config_write SOURCE_DIR
#include <cstdio>
#include <fstream>
#include <string>

#include "config/load.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: config_write SOURCE_DIR\n", stderr);
    return 2;
  }
  const std::string folder = std::string(argv[1]) + "/config/";
  const auto write = [](const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::binary);
    file << text;
    return static_cast<bool>(file.flush());
  };
  const bool written = write(folder + "dragoman.schema.json", dragoman::config::schema_json()) &&
                       write(folder + "REFERENCE.md", dragoman::config::reference_markdown());
  if (!written) std::fprintf(stderr, "can't write to %s\n", folder.c_str());
  return written ? 0 : 1;
}
