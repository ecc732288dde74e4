// How many CPUs this process may use.
#pragma once

#include <cstddef>
#include <string>

namespace dragoman {

/// By the affinity mask (`in_mask`; 0 = ask the kernel) and the CPU quotas of the process's cgroup and those it is in, version 1
/// and 2: a quota of 2.5 CPUs gives 3, since two threads could not use it up. At least 1. `root` is in front of /proc and /sys.
int usable_cpus(const std::string& root = "", int in_mask = 0);

}  // namespace dragoman
