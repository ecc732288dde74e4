#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dragoman::test {

/// A directory that is removed with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string file(std::string_view name) const;

 private:
  std::string path_;
};

/// Makes a FIFO at `path` that takes nothing more: nobody reads it and it is full. Returns the reading end,
/// for the caller to close, or -1.
int make_stuck_fifo(const std::string& path);

std::string read_file(const std::string& path);
/// Without their newlines; an unfinished last line is kept as "UNFINISHED: ...".
std::vector<std::string> read_lines(const std::string& path);

}  // namespace dragoman::test
