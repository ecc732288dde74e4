#include "proxy/cli/cli.h"
#include "proxy/version.h"

#include <unistd.h>

namespace dragoman {

std::string program_path() {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return "dragoman";
  std::string full(path, static_cast<size_t>(n));
  char cwd[4096];
  if (getcwd(cwd, sizeof cwd) && full.rfind(std::string(cwd) + "/", 0) == 0) return full.substr(std::string(cwd).size() + 1);
  return full;
}

std::string version_text(bool json) {
#if defined(__clang__)
  const std::string compiler = "clang " __clang_version__;
#else
  const std::string compiler = "g++ " __VERSION__;
#endif
  std::string version(kVersion);
  if (json)
    return "{\"version\":\"" + version + "\",\"commit\":\"" DRAGOMAN_COMMIT "\",\"compiler\":\"" + compiler + "\"}\n";
  return "dragoman " + version + " (" DRAGOMAN_COMMIT ", " + compiler + ")\n";
}

}  // namespace dragoman
