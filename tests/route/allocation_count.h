#pragma once

#include <cstddef>

namespace dragoman::test {

/// Calls of operator new so far, in the whole test binary.
size_t allocation_count();

}  // namespace dragoman::test
