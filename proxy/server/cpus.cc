#include "proxy/server/cpus.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string_view>
#include <vector>

namespace dragoman {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

int cpus_in_mask() {
  // The kernel's mask may be longer than cpu_set_t.
  for (int bits = 1024; bits <= 1 << 20; bits *= 4) {
    cpu_set_t* set = CPU_ALLOC(bits);
    const size_t bytes = CPU_ALLOC_SIZE(bits);
    const int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return 1;
}

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
  return parts;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

double ratio(const std::string& quota, const std::string& period) {
  char* end = nullptr;
  const double q = std::strtod(quota.c_str(), &end);
  if (end == quota.c_str() || q <= 0) return kNoLimit;  // "max", -1
  const double p = std::strtod(period.c_str(), &end);
  return end == period.c_str() || p <= 0 ? kNoLimit : q / p;
}

/// cpu.max: "max 100000", "250000 100000".
double quota_v2(const std::string& folder) {
  std::istringstream words(first_line(folder + "/cpu.max"));
  std::string quota, period = "100000";
  words >> quota >> period;
  return ratio(quota, period);
}

double quota_v1(const std::string& folder) {
  return ratio(first_line(folder + "/cpu.cfs_quota_us"), first_line(folder + "/cpu.cfs_period_us"));
}

struct Mount {
  std::string at;    // where it is seen
  std::string root;  // what of the hierarchy is seen there
  bool v2;
};

/// Mounts of cgroup2, and of the cgroup hierarchy that has the cpu controller.
std::vector<Mount> cgroup_mounts(const std::string& root) {
  std::vector<Mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  // 36 35 98:0 /root /mount/point options tags - type source super-options
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const auto front = split(line.substr(0, dash), ' '), back = split(line.substr(dash + 3), ' ');
    if (front.size() < 5 || back.size() < 3) continue;
    const auto options = split(back[2], ',');
    const bool v2 = back[0] == "cgroup2";
    if (v2 || (back[0] == "cgroup" && std::find(options.begin(), options.end(), "cpu") != options.end()))
      mounts.push_back({front[4], front[3], v2});
  }
  return mounts;
}

/// Where the process is in that hierarchy: "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
std::string cgroup_path(const std::string& root, bool v2) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const auto names = split(controllers, ',');
    if (v2 ? line.substr(0, first) == "0" && controllers.empty()
           : std::find(names.begin(), names.end(), "cpu") != names.end())
      return line.substr(second + 1);
  }
  return {};
}

/// The least quota on the way from the process's cgroup to the top of what is mounted.
double quota(const std::string& root) {
  double least = kNoLimit;
  for (const Mount& mount : cgroup_mounts(root)) {
    std::string path = cgroup_path(root, mount.v2);
    if (path.empty()) continue;
    // A container sees its own cgroup, or one above, as the top.
    if (mount.root != "/" && path.starts_with(mount.root) &&
        (path.size() == mount.root.size() || path[mount.root.size()] == '/'))
      path.erase(0, mount.root.size());
    else if (mount.root != "/" || path.starts_with("/.."))
      path.clear();
    for (;;) {
      const std::string folder = root + mount.at + (path == "/" ? "" : path);
      least = std::min(least, mount.v2 ? quota_v2(folder) : quota_v1(folder));
      if (path.empty() || path == "/") break;
      path.erase(path.rfind('/'));
    }
  }
  return least;
}

}  // namespace

int usable_cpus(const std::string& root, int in_mask) {
  const int mask = in_mask > 0 ? in_mask : cpus_in_mask();
  const double limit = quota(root);
  if (limit >= mask) return mask;
  return std::max(1, static_cast<int>(std::ceil(limit - 1e-9)));
}

}  // namespace dragoman
