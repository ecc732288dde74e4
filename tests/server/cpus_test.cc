#include "proxy/server/cpus.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "tests/server/server_support.h"

namespace dragoman::testing {
namespace {

/// Files of a root of its own.
struct Root {
  explicit Root(const std::map<std::string, std::string>& files) {
    for (const auto& [path, text] : files) {
      const std::filesystem::path at = dir.file(path);
      std::filesystem::create_directories(at.parent_path());
      std::ofstream(at) << text;
    }
  }
  std::string path() const { return dir.file(""); }
  TempDir dir;
};

const char kV2[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const char kV1[] =
    "31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n";

TEST(Cpus, TheLeastOfMaskAndQuotas) {
  struct Case {
    const char* what;
    std::map<std::string, std::string> files;
    int in_mask;
    int expected;
  };
  const std::string mounts = "proc/self/mountinfo", self = "proc/self/cgroup", v2 = "sys/fs/cgroup",
                    v1 = "sys/fs/cgroup/cpu,cpuacct";
  for (const Case& c : {
           Case{"nothing is known", {}, 6, 6},
           Case{"no quota", {{mounts, kV2}, {self, "0::/a\n"}, {v2 + "/a/cpu.max", "max 100000\n"}}, 6, 6},
           Case{"a quota", {{mounts, kV2}, {self, "0::/a\n"}, {v2 + "/a/cpu.max", "200000 100000\n"}}, 6, 2},
           Case{"a part of a CPU counts",
                {{mounts, kV2}, {self, "0::/a\n"}, {v2 + "/a/cpu.max", "250000 100000\n"}},
                6,
                3},
           Case{"less than one",
                {{mounts, kV2}, {self, "0::/a\n"}, {v2 + "/a/cpu.max", "10000 100000\n"}},
                6,
                1},
           Case{"another period",
                {{mounts, kV2}, {self, "0::/a\n"}, {v2 + "/a/cpu.max", "200000 50000\n"}},
                6,
                4},
           Case{"no period", {{mounts, kV2}, {self, "0::/a\n"}, {v2 + "/a/cpu.max", "200000\n"}}, 6, 2},
           Case{"more than the mask",
                {{mounts, kV2}, {self, "0::/a\n"}, {v2 + "/a/cpu.max", "900000 100000\n"}},
                3,
                3},
           Case{"the one above is less",
                {{mounts, kV2},
                 {self, "0::/a/b/c\n"},
                 {v2 + "/a/b/c/cpu.max", "400000 100000"},
                 {v2 + "/a/cpu.max", "300000 100000"}},
                8,
                3},
           Case{"a container that sees its cgroup as the top",
                {{mounts, kV2}, {self, "0::/\n"}, {v2 + "/cpu.max", "200000 100000"}},
                8,
                2},
           Case{"a container that sees the path outside",
                {{mounts, "30 23 0:26 /pods/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
                 {self, "0::/pods/x\n"},
                 {v2 + "/cpu.max", "200000 100000"}},
                8,
                2},
           Case{"a part of what a container sees",
                {{mounts, "30 23 0:26 /pods /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
                 {self, "0::/pods/x\n"},
                 {v2 + "/x/cpu.max", "200000 100000"}},
                8,
                2},
           Case{"outside of what is mounted",
                {{mounts, kV2}, {self, "0::/../x\n"}, {v2 + "/cpu.max", "500000 100000"}},
                8,
                5},
           Case{"version 1",
                {{mounts, kV1},
                 {self, "5:memory:/m\n4:cpu,cpuacct:/a/b\n"},
                 {v1 + "/a/b/cpu.cfs_quota_us", "150000\n"},
                 {v1 + "/a/b/cpu.cfs_period_us", "100000\n"}},
                6,
                2},
           Case{"version 1, none",
                {{mounts, kV1},
                 {self, "4:cpu,cpuacct:/\n"},
                 {v1 + "/cpu.cfs_quota_us", "-1\n"},
                 {v1 + "/cpu.cfs_period_us", "100000\n"}},
                6,
                6},
           Case{"version 1, the one above",
                {{mounts, kV1},
                 {self, "4:cpu,cpuacct:/a/b\n"},
                 {v1 + "/a/b/cpu.cfs_quota_us", "-1\n"},
                 {v1 + "/a/b/cpu.cfs_period_us", "100000\n"},
                 {v1 + "/a/cpu.cfs_quota_us", "200000\n"},
                 {v1 + "/a/cpu.cfs_period_us", "100000\n"}},
                6,
                2},
           Case{"both versions",
                {{mounts, std::string(kV1) + "40 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
                 {self, "4:cpu,cpuacct:/a\n0::/a\n"},
                 {v1 + "/a/cpu.cfs_quota_us", "300000\n"},
                 {v1 + "/a/cpu.cfs_period_us", "100000\n"}},
                6,
                3},
           Case{"nonsense",
                {{mounts, "x - y\n" + std::string(kV2)}, {self, "x\n0::/a\n"}, {v2 + "/a/cpu.max", "many"}},
                6,
                6},
       })
    EXPECT_EQ(usable_cpus(Root(c.files).path(), c.in_mask), c.expected) << c.what;
}

TEST(Cpus, TheAffinityMaskOfThisThreadCounts) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  const Root nothing({});
  EXPECT_EQ(usable_cpus(nothing.path()), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_cpus(nothing.path()), 1);
  sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace dragoman::testing
