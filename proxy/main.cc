#include <cstdio>
#include <new>

#ifdef DRAGOMAN_MIMALLOC
#include <mimalloc.h>
#endif

#include "proxy/cli/cli.h"

namespace {

/// Whoever frees pages gives them back to the system at once. By default they are left for whichever thread allocates next: a
/// worker would get 32 MB of what reading a configuration needed, and give them back on its loop, for several milliseconds.
void set_up_allocator() {
#ifdef DRAGOMAN_MIMALLOC
#if MI_MALLOC_VERSION < 212
  mi_option_set_default(mi_option_segment_decommit_delay, 0);
#else
  mi_option_set_default(mi_option_arena_purge_mult, 0);
#endif
#endif
}

}  // namespace

int main(int argc, char** argv) {
  set_up_allocator();
  try {
    return dragoman::cli_main(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs("dragoman: not enough memory\n", stderr);
    return 1;
  }
}
